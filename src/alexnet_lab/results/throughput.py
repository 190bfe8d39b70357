"""What do the benchmark's timed steps say? DataFrames in, numbers out.

Timing has one row per (variant, batch size, step); a batch that was not measured has one row
without seconds, whose ``status`` says why.
"""

import pandas as pd

from alexnet_lab.results.statistics import Sample

GTX_580 = 3072  # MiB of the GPU that AlexNet was trained on (Krizhevsky et al., 2012), two of them


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


def by_step(timing: pd.DataFrame) -> dict[str, Sample]:
    """What the benchmark's claims are about, by (batch size, step): a step is a run here.

    ``cpu_seconds`` and ``gpu_seconds`` of all timed steps, were they as long as this one;
    ``cpu_rate`` and ``gpu_rate`` in images per second; ``speed_up``, GPU over CPU, also for "mean",
    the mean over batch sizes. What was not measured is left out.
    """
    timed = timing.dropna(subset=["seconds"])
    steps = timed["iteration"].max()
    found: dict[str, pd.Series[float]] = {}
    for name, rows in timed.groupby("variant"):
        index = pd.MultiIndex.from_arrays(
            [rows["batch_size"].map(str), rows["iteration"]], names=["variant", "seed"]
        )
        seconds = pd.Series(rows["seconds"].to_numpy(), index)
        found[f"{name}_seconds"] = seconds * steps
        found[f"{name}_rate"] = pd.Series(rows["batch_size"].to_numpy(), index) / seconds
    if {"cpu_seconds", "gpu_seconds"} <= found.keys():
        ratios = (found["cpu_seconds"] / found["gpu_seconds"]).dropna()
        mean = pd.concat({"mean": ratios.groupby("seed").mean()}, names=["variant"])
        found["speed_up"] = pd.concat([ratios, mean])
    return {name: Sample(values, pool=False) for name, values in found.items()}


def memory(facts: pd.DataFrame) -> pd.DataFrame:
    """MiB in float32 by batch size: weights and their gradients, what the forward pass keeps.

    ``facts`` are what the benchmark counted. It is a lower bound: workspaces and the gradients of
    activations come on top, and momentum would be half as much again as weights and gradients.
    """
    rows = facts.drop_duplicates("batch_size").set_index("batch_size")
    both = 2 * 4 * rows["parameters"] / 2**20
    kept = rows["kept_mib_per_image"] * rows.index
    return pd.DataFrame({"weights and gradients": both, "kept": kept, "computed": both + kept})


def benchmark_metrics(runs: pd.DataFrame) -> dict[str, dict[str, int]]:
    """The largest batch that was measured on each device; nothing if none was."""
    measured = runs[runs["status"] == "measured"].groupby("variant", sort=False)["batch_size"]
    largest = measured.max()
    return {
        str(variant): {"largest_batch": int(largest[variant])} if variant in largest else {}
        for variant in runs["variant"].unique()
    }
