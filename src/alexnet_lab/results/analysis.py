"""What do an exercise's runs say? Runs in, numbers out; nothing is read or saved here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from alexnet_lab.params.claims import Claim, Measurable
from alexnet_lab.params.study import Compare, Quantity
from alexnet_lab.results.quantities import QUANTITIES, RUN, UNBOUNDED, sample
from alexnet_lab.results.runs import Runs
from alexnet_lab.results.statistics import Estimate, Sample, Verdict, judge, level_of_each

Summary = dict[str, dict[str, float | None]]  # variant -> name -> number
FINAL_LOSSES: tuple[Quantity, ...] = ("final_train_loss", "final_test_loss")
CI = "_ci95"  # the suffix of half the width of a 95 % interval


@dataclass(frozen=True)
class Comparison:
    """How a variant differs from another in one quantity, paired by seed."""

    quantity: Quantity
    variant: str
    other: str  # the baseline, or what the exercise compares the variant with instead
    difference: Estimate  # its interval holds together with all others of the exercise
    margin: float  # the smallest difference that matters
    verdict: Verdict


def measure(runs: Runs) -> dict[str, Sample]:
    """Every quantity, each by (variant, seed): what claims are about.

    Where there is a threshold, ``above_threshold`` is the best accuracy less it, in points.
    """
    measured: dict[str, Sample] = {name: sample(name, runs) for name in QUANTITIES}
    if runs.compare.threshold is not None:
        best = measured["best_accuracy"]
        measured["above_threshold"] = replace(best, values=best.values - runs.compare.threshold)
    return measured


def family(compare: Compare, variants: Iterable[str], claims: Iterable[Claim]) -> int:
    """How many differences and bounds of an exercise get a verdict, claims of the text included.

    Each is counted once, and beforehand: also one that turns out to be undefined.
    """
    compared = {
        (quantity, frozenset(pair))
        for quantity in compare.margins
        for pair in compare.pairs(variants)
    }
    claimed = {
        (claim.quantity, frozenset(step))
        for claim in claims
        if isinstance(claim, Measurable)
        for step in claim.steps
    }
    return len(compared | claimed)


def compare_variants(
    runs: Runs, claims: Iterable[Claim], pairs: Sequence[tuple[str, str]] | None = None
) -> list[Comparison]:
    """Compare every variant with the other one, or these ``pairs``, in what has a margin.

    A pair of which one has no runs is left out.
    """
    pairs = runs.compare.pairs(runs.variants) if pairs is None else pairs
    pairs = [pair for pair in pairs if {*pair} <= {*runs.variants}]
    level = level_of_each(family(runs.compare, runs.variants, claims))
    comparisons = []
    for name, margin in runs.compare.margins.items():
        values = sample(name, runs)
        for variant, other in pairs:
            difference = values.difference(variant, other, level)
            verdict = judge(difference, margin, QUANTITIES[name].better)
            comparisons.append(Comparison(name, variant, other, difference, margin, verdict))
    return comparisons


def summarize(runs: Runs) -> Summary:
    """Means over seeds per variant, rounded; null if undefined.

    A name that ends in ``_ci95`` is half the width of the 95 % interval, undefined for one seed.
    ``apart`` marks what ran elsewhere than the baseline.
    """
    samples = {name: sample(name, runs) for name in (*shown(runs), *FINAL_LOSSES)}
    summary: Summary = {}
    for variant, epochs in divergences(runs).groupby("variant", sort=False):
        row = summary[str(variant)] = dict[str, float | None](seeds=len(epochs))
        if variant in runs.apart:
            row["apart"] = True
        for name, values in samples.items():
            mean = values.mean(str(variant))
            row[name] = _rounded(name, mean.mean)
            if name in shown(runs):
                row[f"{name}{CI}"] = _rounded(name, mean.half)
            if name == "epochs_to_threshold":
                row["seeds_reaching_threshold"] = int(values.runs[str(variant)].notna().sum())
        if epochs.notna().any():
            row["seeds_diverged"] = int(epochs.count())
            row["diverged_from_epoch"] = int(epochs.min())
    return summary


def shown(runs: Runs) -> tuple[Quantity, ...]:
    """What an exercise's summary shows; first what one may choose by, if images were held back."""
    if runs.curves["held_back_accuracy"].notna().any():
        return ("held_back_accuracy", *runs.compare.shown)
    return runs.compare.shown


def _rounded(quantity: Quantity, value: float) -> float | None:
    return round(float(value), QUANTITIES[quantity].digits) if math.isfinite(value) else None


def metrics(summary: Summary, runs: Runs) -> dict[str, dict[str, float]]:
    """The few numbers per variant that `dvc metrics diff` shows; none that is undefined.

    The accuracy at the end, that of the last epochs with its interval, the first other quantity
    that the exercise is about, and whether seeds diverged.
    """
    names = ["final_accuracy", "window_accuracy", f"window_accuracy{CI}"]
    names += [name for name in shown(runs) if name not in names][:1]
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
    return curves.assign(**{name: curves[name].mask(after) for name in UNBOUNDED})
