"""How sure is a number? Intervals over seeds, and comparisons paired by seed.

All intervals are 95 %, by Student's t. A value that is not finite (its run diverged) makes every
number that depends on it undefined; a single run has no interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from alexnet_lab.params.study import Quantity

LEVEL = 0.95
POWER = 0.8  # of the test that seeds_needed plans
MANY = 1000  # seeds; a difference that needs more is as good as none
FEWEST = 2  # runs for an interval


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` runs and the ends of its interval; NaN if undefined."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def estimate(values: "Sequence[float] | pd.Series[float]") -> Estimate:
    """The mean and its interval; undefined if any value is not finite."""
    series = pd.Series(values, dtype=float)
    n, mean, half = len(series), math.nan, math.nan
    if n and series.map(math.isfinite).all():
        mean = float(series.mean())
        if n >= FEWEST:
            half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * series.std() / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Comparison:
    """How a variant differs from the baseline in one quantity, paired by seed."""

    quantity: Quantity
    variant: str
    difference: Estimate
    p: float  # two-sided, corrected; NaN if undefined
    verdict: str
    seeds_needed: int | None  # if not distinguishable; None: more than MANY


BETTER, WORSE, OPEN = "better", "worse", "not distinguishable"


def paired(values: "pd.Series[float]", variant: str, baseline: str) -> "pd.Series[float]":
    """The differences variant - baseline by seed, for the seeds that both have."""
    mine, base = values.xs(variant, level="variant"), values.xs(baseline, level="variant")
    shared = mine.index.intersection(base.index)
    return mine[shared] - base[shared]


def p_value(differences: "pd.Series[float]") -> float:
    """The p value of the paired t-test; NaN for a single pair or an undefined difference."""
    if len(differences) < FEWEST or not differences.map(math.isfinite).all():
        return math.nan
    if differences.std() <= 1e-9 * abs(differences.mean()):  # the same in every pair
        return 1.0 if differences.mean() == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, 1979), in their order; NaN stays, uncounted."""
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected = list(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected


def seeds_needed(differences: "pd.Series[float]") -> int | None:
    """How many pairs a t-test needs to detect this mean difference with a power of 0.8.

    None if more than MANY, or if the spread is unknown.
    """
    n, spread = len(differences), differences.std()
    effect = abs(differences.mean()) / spread if n >= FEWEST and spread > 0 else math.nan
    if not math.isfinite(effect) or effect == 0:
        return None
    return next((m for m in range(FEWEST, MANY + 1) if _power(effect, m) >= POWER), None)


def _power(effect: float, n: int) -> float:
    critical = stats.t.ppf((1 + LEVEL) / 2, n - 1)
    shift = effect * math.sqrt(n)
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))


def compare_all(
    quantities: "Mapping[Quantity, tuple[pd.Series[float], bool]]", baseline: str
) -> list[Comparison]:
    """Compare every variant with the baseline in every quantity: one family for the correction.

    ``quantities``: for each, its values by (variant, seed) and whether higher is better.
    """
    pairs = [
        (quantity, higher_is_better, variant, paired(values, variant, baseline))
        for quantity, (values, higher_is_better) in quantities.items()
        for variant in values.index.get_level_values("variant").unique()
        if variant != baseline
    ]
    corrected = holm([p_value(differences) for *_, differences in pairs])
    return [_compare(*pair, p) for pair, p in zip(pairs, corrected, strict=True)]


def _compare(
    quantity: Quantity,
    higher_is_better: bool,
    variant: str,
    differences: "pd.Series[float]",
    p: float,
) -> Comparison:
    difference = estimate(differences)
    if p < 1 - LEVEL:
        verdict = BETTER if (difference.mean > 0) == higher_is_better else WORSE
        return Comparison(quantity, variant, difference, p, verdict, None)
    return Comparison(quantity, variant, difference, p, OPEN, seeds_needed(differences))
