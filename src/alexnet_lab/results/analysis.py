"""What do an exercise's runs say? Runs in, numbers out; nothing is read or saved here."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from alexnet_lab.params.study import Quantity
from alexnet_lab.results.quantities import COLUMNS, QUANTITIES, RUN, compared_in
from alexnet_lab.results.runs import Runs
from alexnet_lab.results.statistics import Comparison, compare_all, estimate

Summary = dict[str, dict[str, float | None]]  # variant -> name -> number
FINAL_LOSSES: tuple[Quantity, ...] = ("final_train_loss", "final_test_loss")
CI = "_ci95"  # the suffix of half the width of a 95 % interval


def measure(runs: Runs) -> "dict[str, pd.Series[float]]":
    """Every quantity, each by (variant, seed): what claims are about."""
    return {name: quantity.compute(runs) for name, quantity in QUANTITIES.items()}


def compare_variants(runs: Runs) -> list[Comparison]:
    """Compare every variant with the baseline, paired by seed, p corrected over all of them."""
    values = {
        name: (QUANTITIES[name].compute(runs), better == "higher")
        for name in compared_in(runs.compare)
        if (better := QUANTITIES[name].better)
    }
    return compare_all(values, runs.compare.baseline)


def summarize(runs: Runs) -> Summary:
    """Means over seeds per variant, rounded; null if undefined.

    A name that ends in ``_ci95`` is half the width of the 95 % interval, undefined for one seed.
    """
    summary: Summary = {v: {"seeds": seeds_of(runs, v)} for v in runs.variants}
    for name in compared_in(runs.compare):
        for variant, values in _by_variant(QUANTITIES[name].compute(runs)):
            mean = estimate(values)
            summary[variant][name] = _rounded(name, mean.mean)
            summary[variant][f"{name}{CI}"] = _rounded(name, mean.half)
            if name == "epochs_to_threshold":
                summary[variant]["seeds_reaching_threshold"] = int(values.notna().sum())
    for name in FINAL_LOSSES:
        for variant, values in _by_variant(QUANTITIES[name].compute(runs)):
            summary[variant][name] = _rounded(name, values.mean(skipna=False))
    for variant, epochs in _by_variant(divergences(runs)):
        if epochs.notna().any():
            summary[variant]["seeds_diverged"] = int(epochs.count())
            summary[variant]["diverged_from_epoch"] = int(epochs.min())
    return summary


def seeds_of(runs: Runs, variant: str) -> int:
    """How many runs a variant has."""
    return runs.curves.loc[runs.curves["variant"] == variant, "seed"].nunique()


def _by_variant(values: "pd.Series[float]") -> "Iterator[tuple[str, pd.Series[float]]]":
    for variant, by_seed in values.groupby("variant", sort=False):
        yield str(variant), by_seed


def _rounded(quantity: Quantity, value: float) -> float | None:
    return round(float(value), QUANTITIES[quantity].digits) if math.isfinite(value) else None


def metrics(summary: Summary, runs: Runs) -> dict[str, dict[str, float]]:
    """The few numbers per variant that `dvc metrics diff` shows; none that is undefined.

    The final accuracy with its interval, the first quantity that the exercise is about, and
    whether seeds diverged.
    """
    names = ["final_accuracy", f"final_accuracy{CI}", *runs.compare.quantities[:1]]
    names += ["seeds_diverged", "diverged_from_epoch"]
    return {
        variant: {name: value for name in names if (value := row.get(name)) is not None}
        for variant, row in summary.items()
    }


def divergences(runs: Runs) -> "pd.Series[float]":
    """The epoch, from 1, from which each (variant, seed) diverged; NaN if it did not.

    From there to the end its training loss is not finite or no better than guessing, though it
    had been better, or is worse: a run that has not begun to learn has not diverged.
    """
    guessing = math.log(runs.classes)  # nats: the loss of equal odds for every class
    by_run = runs.curves.groupby(RUN, sort=False)[["epoch", "train_loss"]]
    epochs: pd.Series[float] = by_run.apply(_diverged_from, guessing)
    return epochs


def _diverged_from(run: pd.DataFrame, guessing: float) -> float:
    loss = run["train_loss"]
    # 0.999: classes are not quite equally frequent, so a constant guess can be a little better.
    lost = ~(loss < 0.999 * guessing)[::-1].cummax()[::-1]  # never better again
    had_learnt = (loss < 0.95 * guessing).any()
    has_grown = not (loss[lost] <= 1.1 * guessing).all()
    return run["epoch"][lost].min() if had_learnt or has_grown else math.nan


def before_divergence(runs: Runs) -> pd.DataFrame:
    """The curves, with what explodes left out from where a run diverged."""
    curves, diverged = runs.curves, divergences(runs)
    ends = curves[RUN].merge(diverged.rename("end").reset_index(), how="left")
    after = curves["epoch"].to_numpy() >= ends["end"].to_numpy()
    unbounded = [name for name, column in COLUMNS.items() if not column.bounded and name in curves]
    return curves.assign(**{name: curves[name].mask(after) for name in unbounded})


def with_interval(row: Mapping[str, Any], name: str) -> str | None:
    """A number of a summary with its interval, such as "97.75 ± 0.23"; None if undefined."""
    value, half = row.get(name), row.get(f"{name}{CI}")
    return None if value is None else f"{value}" if half is None else f"{value} ± {half}"
