"""How sure is a number? Intervals over seeds, and comparisons paired by seed.

All intervals are 95 % by Student's t. A value that is not finite (a run that diverged) makes
what stands on it undefined; one run has no interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

LEVEL = 0.95
POWER = 0.8  # of the test that `seeds_needed` plans
MANY = 1000  # seeds; beyond, a difference is as good as none
NEEDS = 2  # runs, for an interval


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` runs and the ends of its interval, NaN where undefined."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def estimate(values: "Sequence[float] | pd.Series[float]") -> Estimate:
    """Mean and interval; undefined if any value is not finite."""
    found = pd.Series(values, dtype=float)
    n, mean, half = len(found), math.nan, math.nan
    if n and found.map(math.isfinite).all():
        mean = float(found.mean())
        if n >= NEEDS:
            half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * found.std() / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Comparison:
    """Of a variant with its baseline in one quantity: the difference, paired by seed."""

    quantity: str
    variant: str
    difference: Estimate
    p: float  # two-sided, corrected; NaN where undefined
    verdict: str
    seeds_needed: int | None  # where not distinguishable; None: more than MANY


BETTER, WORSE, OPEN = "better", "worse", "not distinguishable"


def paired(values: "pd.Series[float]", variant: str, baseline: str) -> "pd.Series[float]":
    """Differences variant - baseline by seed, of values by (variant, seed); shared seeds alone."""
    one, other = values.xs(variant, level="variant"), values.xs(baseline, level="variant")
    shared = one.index.intersection(other.index)
    return one[shared] - other[shared]


def p_value(differences: "pd.Series[float]") -> float:
    """Of the paired t-test against no difference; NaN for one pair or an undefined one."""
    if len(differences) < NEEDS or not differences.map(math.isfinite).all():
        return math.nan
    if differences.std() <= 1e-9 * abs(differences.mean()):  # the same in every pair
        return 1.0 if differences.mean() == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm (1979): corrected for their number, in their order; NaN stays and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected = list(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected


def seeds_needed(differences: "pd.Series[float]") -> int | None:
    """Pairs for which a t-test would find this mean difference with a power of 0.8.

    None if more than MANY, or if nothing is known of the spread.
    """
    n, spread = len(differences), differences.std()
    effect = abs(differences.mean()) / spread if n >= NEEDS and spread > 0 else math.nan
    if not math.isfinite(effect) or effect == 0:
        return None
    return next((m for m in range(NEEDS, MANY + 1) if _power(effect, m) >= POWER), None)


def _power(effect: float, n: int) -> float:
    critical = stats.t.ppf((1 + LEVEL) / 2, n - 1)
    shift = effect * math.sqrt(n)
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))


def compare_all(
    quantities: "Mapping[tuple[str, bool], pd.Series[float]]", baseline: str
) -> list[Comparison]:
    """Every variant with the baseline in every quantity: one family for Holm's correction.

    ``quantities``: values by (variant, seed); the key says whether more is better.
    """
    pairs = [
        (quantity, better, variant, paired(values, variant, baseline))
        for (quantity, better), values in quantities.items()
        for variant in values.index.get_level_values("variant").unique()
        if variant != baseline
    ]
    corrected = holm([p_value(differences) for *_, differences in pairs])
    return [_compare(*pair, p) for pair, p in zip(pairs, corrected, strict=True)]


def _compare(
    quantity: str, more_is_better: bool, variant: str, differences: "pd.Series[float]", p: float
) -> Comparison:
    difference = estimate(differences)
    if p < 1 - LEVEL:
        verdict = BETTER if (difference.mean > 0) == more_is_better else WORSE
        return Comparison(quantity, variant, difference, p, verdict, None)
    return Comparison(quantity, variant, difference, p, OPEN, seeds_needed(differences))
