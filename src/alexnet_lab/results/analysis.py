"""What do the runs say? DataFrames in, numbers out; nothing is read or saved here.

Curves have a row per (variant, seed, epoch).
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from alexnet_lab.params.study import Compare
from alexnet_lab.results.statistics import Comparison, compare_all, estimate

Summary = dict[str, dict[str, float | None]]  # variant -> name -> number
GUESSING = math.log(10)  # nats: the loss of equal odds for each of ten classes
CHANCE = 0.999 * GUESSING  # and no better; MNIST's classes are not quite equally frequent
CI = "_ci95"
UNBOUNDED = ["train_loss", "train_loss_clean", "test_loss", "gradient_norm"]
DIGITS = {"accuracy": 2, "loss": 4, "gradient": 4, "gap": 4, "epochs": 1}


def quantities(curves: pd.DataFrame, compare: Compare) -> "dict[str, pd.Series[float]]":
    """What an exercise's variants are compared in, each by (variant, seed)."""
    final = at_last_epoch(curves).set_index(["variant", "seed"])
    found = {"final_accuracy": final["test_accuracy"]}
    if "gradient_norm" in compare.panels:
        found["gradient_norm"] = final["gradient_norm"]
    if compare.threshold is not None:
        found[f"epochs_to_{compare.threshold:g}"] = epochs_to_threshold(curves, compare.threshold)
    if compare.gap_epochs is not None:
        gaps = generalisation_gaps(curves, compare.gap_epochs)
        found |= {str(name): gaps[name] for name in gaps}
    return found


def claimed(
    curves: pd.DataFrame, timing: pd.DataFrame, compare: Compare
) -> "dict[str, pd.Series[float]]":
    """What an exercise's claims speak of, each by (variant, seed).

    ``change_at_jumps``: by how many points the test accuracy changes, on average, in the epochs
    for which the rate was at least halved; ``seconds`` per epoch; ``gap`` at the last epoch
    where the exercise has no `gap_epochs`.
    """
    groups = curves.groupby(["variant", "seed"], sort=False)
    final = at_last_epoch(curves).set_index(["variant", "seed"])
    change = groups["test_accuracy"].diff().where(curves["lr"] <= groups["lr"].shift() / 2)
    runs = [curves["variant"], curves["seed"]]
    return {
        "final_accuracy": final["test_accuracy"],
        "best_accuracy": groups["test_accuracy"].max(),
        "gradient_norm": final["gradient_norm"],
        "epochs_to_threshold": epochs_to_threshold(curves, compare.threshold or math.inf),
        "gap": generalisation_gaps(curves, compare.gap_epochs or 1)["gap"],
        "change_at_jumps": change.groupby(runs, sort=False).mean(),
        "seconds": timing.groupby(["variant", "seed"], sort=False)["seconds"].mean(),
    }


def claimed_of_benchmark(timing: pd.DataFrame) -> "dict[str, pd.Series[float]]":
    """``speed_up``, GPU over CPU by (batch size, step), nothing where one was not measured.

    Of batch "all": of the seconds of all sizes together.
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


def more_is_better(quantity: str) -> bool | None:
    """None where it is neither."""
    if quantity == "gradient_norm":
        return None
    return quantity == "final_accuracy"


def compared(curves: pd.DataFrame, compare: Compare) -> list[Comparison]:
    """Every variant with the exercise's baseline, paired by seed, corrected together."""
    some = {
        (name, better): values
        for name, values in quantities(curves, compare).items()
        if (better := more_is_better(name)) is not None
    }
    return compare_all(some, compare.baseline)


def summarize(curves: pd.DataFrame, compare: Compare) -> Summary:
    """The few numbers per variant that `dvc metrics diff` shows.

    Means over seeds; ``_ci95`` is half the width of the 95 % interval, undefined for one seed.
    """
    groups = curves.groupby("variant", sort=False)
    return {str(variant): _summarize_variant(runs, compare) for variant, runs in groups}


def _summarize_variant(runs: pd.DataFrame, compare: Compare) -> dict[str, float | None]:
    final = at_last_epoch(runs)
    summary: dict[str, float] = {"seeds": len(final)}
    for name, values in quantities(runs, compare).items():
        found = estimate(values)
        summary |= {name: found.mean, f"{name}{CI}": found.half}
        if name.startswith("epochs_to_"):
            summary[name.replace("epochs_to", "seeds_reaching")] = int(values.notna().sum())
    for loss in ("train_loss", "test_loss"):
        summary[f"final_{loss}"] = final[loss].mean(skipna=False)
    diverged = divergences(runs).dropna()
    if len(diverged):
        summary["seeds_diverged"] = len(diverged)
        summary["diverged_from_epoch"] = int(diverged.min())
    return {name: _rounded(name, value) for name, value in summary.items()}


def at_last_epoch(runs: pd.DataFrame) -> pd.DataFrame:
    """The row of each (variant, seed) whose epoch is its last."""
    last = runs.groupby(["variant", "seed"], sort=False)["epoch"].transform("max")
    return runs[runs["epoch"] == last]


def epochs_to_threshold(runs: pd.DataFrame, threshold: float) -> "pd.Series[float]":
    """The first epoch, from 1, with at least that accuracy (%), by (variant, seed); NaN if none."""
    epochs = runs["epoch"].where(runs["test_accuracy"] >= threshold)
    return epochs.groupby([runs["variant"], runs["seed"]], sort=False).min()


def divergences(curves: pd.DataFrame) -> "pd.Series[float]":
    """The epoch, from 1, from which each (variant, seed) diverged; NaN where it did not.

    From there to the end its training loss is not finite or no better than guessing, though
    it had been better, or is worse: what has not begun to learn has not diverged.
    """
    runs = curves.groupby(["variant", "seed"], sort=False)[["epoch", "train_loss"]]
    found: pd.Series[float] = runs.apply(_diverged_from)
    return found


def _diverged_from(run: pd.DataFrame) -> float:
    loss = run["train_loss"]
    lost = ~(loss < CHANCE)[::-1].cummax()[::-1]  # never again better
    had_learnt = (loss < 0.95 * GUESSING).any()
    has_grown = not (loss[lost] <= 1.1 * GUESSING).all()
    return run["epoch"][lost].min() if had_learnt or has_grown else math.nan


def until(curves: pd.DataFrame, diverged: "pd.Series[float]") -> pd.DataFrame:
    """The curves without the losses and gradients of a run from where it diverged."""
    ends = curves[["variant", "seed"]].merge(diverged.rename("end").reset_index(), how="left")
    after = curves["epoch"].to_numpy() >= ends["end"].to_numpy()
    unbounded = curves.columns.intersection(UNBOUNDED)
    return curves.assign(**{name: curves[name].mask(after) for name in unbounded})


def generalisation_gaps(runs: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """By (variant, seed), means over the last epochs.

    ``gap``: test loss less the loss while learning (dropout, augmentation on), as the
    original exercise has it; ``gap_clean``: less the loss on the clean training images.
    """
    last = runs[runs["epoch"] > runs["epoch"].max() - epochs]
    gaps = pd.DataFrame(
        {
            "variant": last["variant"],
            "seed": last["seed"],
            "gap": last["test_loss"] - last["train_loss"],
            "gap_clean": last["test_loss"] - last["train_loss_clean"],
        }
    )
    return gaps.groupby(["variant", "seed"], sort=False).mean(skipna=False)


def throughput(timing: pd.DataFrame) -> pd.DataFrame:
    """By (variant, batch_size): images per second (median, lowest, highest step), memory.

    Also ``seconds``, of all timed steps together. Batches that were not measured are left out.
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
    """The (variant, batch_size) without times, and in ``status`` why."""
    return timing.loc[timing["seconds"].isna(), ["variant", "batch_size", "status"]]


def speed_up(rates: pd.DataFrame) -> "pd.Series[float]":
    """GPU over CPU images per second by batch size; empty unless both were measured."""
    wide = rates.pivot(index="batch_size", columns="variant", values="img_per_s")
    if not {"cpu", "gpu"} <= set(wide.columns):
        return pd.Series(dtype=float, index=pd.Index([], name="batch_size"))
    return (wide["gpu"] / wide["cpu"]).dropna()


def summarize_benchmark(runs: pd.DataFrame) -> Summary:
    """By device: the network's facts and the largest batch that was measured (None: none)."""
    summary: Summary = {}
    for variant, rows in runs.groupby("variant", sort=False):
        measured = rows.loc[rows["status"] == "measured", "batch_size"]
        summary[str(variant)] = {
            "parameters": int(rows["parameters"].iloc[0]),
            "gflop_per_image": float(rows["gflop_per_image"].iloc[0]),
            "batches_measured": len(measured),
            "largest_batch": None if measured.empty else int(measured.max()),
        }
    return summary


def summary_frame(summary: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row a variant, for tables: means with their intervals; nothing where undefined."""
    rows = {variant: _with_intervals(row) for variant, row in summary.items()}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "variant"
    return frame.astype(object).where(frame.notna(), None)


def _with_intervals(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if row.get(f"{name}{CI}") is None else f"{value} ± {row[f'{name}{CI}']}"
        for name, value in row.items()
        if not name.endswith(CI)
    }


def _rounded(name: str, value: float) -> float | None:
    if not math.isfinite(value):
        return None
    if isinstance(value, int):
        return value
    return round(float(value), digits_of(name))


def digits_of(name: str) -> int:
    """Decimals that a quantity is shown with."""
    return next((digits for word, digits in DIGITS.items() if word in name), 4)
