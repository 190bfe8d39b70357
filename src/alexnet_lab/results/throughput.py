"""What do the benchmark's timed steps say? DataFrames in, numbers out.

Timing has one row per (variant, batch size, step); a batch that was not measured has one row
without seconds, whose ``status`` says why.
"""

import pandas as pd


def throughput(timing: pd.DataFrame) -> pd.DataFrame:
    """Images per second by (variant, batch_size): median, lowest and highest step.

    Also ``seconds``, of all timed steps together, and the peak memory in MiB. Batches that were
    not measured are left out.
    """
    steps = timing.dropna(subset=["seconds"])
    groups = steps.groupby(["variant", "batch_size"], sort=False)
    frame = pd.DataFrame(
        {
            "steps": groups["seconds"].count(),
            "seconds": groups["seconds"].sum(),
            "step": groups["seconds"].median(),
            "slowest": groups["seconds"].max(),
            "fastest": groups["seconds"].min(),
            "peak_memory_mib": groups["peak_memory_mib"].max(),
        }
    ).reset_index()
    for rate, step in (("img_per_s", "step"), ("lowest", "slowest"), ("highest", "fastest")):
        frame[rate] = frame["batch_size"] / frame[step]
    return frame.drop(columns=["step", "slowest", "fastest"])


def not_measured(timing: pd.DataFrame) -> pd.DataFrame:
    """The (variant, batch_size) that have no times, and in ``status`` why."""
    return timing.loc[timing["seconds"].isna(), ["variant", "batch_size", "status"]]


def speed_up(rates: pd.DataFrame) -> "pd.Series[float]":
    """GPU over CPU images per second by batch size; empty unless both were measured."""
    wide = rates.pivot(index="batch_size", columns="variant", values="img_per_s")
    if not {"cpu", "gpu"} <= set(wide.columns):
        return pd.Series(dtype=float, index=pd.Index([], name="batch_size"))
    return (wide["gpu"] / wide["cpu"]).dropna()


def speed_up_by_step(timing: pd.DataFrame) -> "dict[str, pd.Series[float]]":
    """``speed_up``, GPU over CPU by (batch size, step): what the benchmark's claims are about.

    Empty unless both were measured. For batch "all", the seconds of all sizes are added up.
    """
    seconds = timing.dropna(subset=["seconds"]).pivot(
        index=["batch_size", "iteration"], columns="variant", values="seconds"
    )
    if not {"cpu", "gpu"} <= set(seconds.columns):
        return {}
    both = seconds.dropna()
    together = both.groupby("iteration").sum()
    parts = {str(batch): rows.droplevel(0) for batch, rows in both.groupby("batch_size")}
    parts["all"] = together
    ratios = {name: rows["cpu"] / rows["gpu"] for name, rows in parts.items()}
    return {"speed_up": pd.concat(ratios, names=["variant", "seed"])}


def benchmark_metrics(runs: pd.DataFrame) -> dict[str, dict[str, int]]:
    """The largest batch that was measured on each device; nothing if none was."""
    measured = runs[runs["status"] == "measured"].groupby("variant", sort=False)["batch_size"]
    largest = measured.max()
    return {
        str(variant): {"largest_batch": int(largest[variant])} if variant in largest else {}
        for variant in runs["variant"].unique()
    }
