"""How sure is a number? Intervals over seeds, of a mean, of one more run, of a difference.

All intervals are Student's t. A few runs say little of their spread, so it is pooled over the
variants of an exercise that ran alike and whose spreads do not clearly differ; five are enough. A
value that is not finite (its run diverged) makes every number that depends on it undefined; a
single run has no interval.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.95
OUTLYING = 0.2  # the level of the test for a spread that stands out: few runs seldom show it
FEWEST = 2  # runs for an interval
ENOUGH = 5  # runs for a spread of their own
Verdict = Literal[
    "better", "worse", "higher", "lower", "equivalent", "undecided", "undefined", "not comparable"
]


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` runs and the ends of an interval around it; NaN if undefined."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Spread:
    """The variance of one run, or of one difference, and the degrees of freedom behind it."""

    variance: float
    freedom: float


def estimate(values: "Iterable[float] | pd.Series[float]", level: float = LEVEL) -> Estimate:
    """The mean of values and its interval, from their own spread; undefined if any is."""
    array = np.asarray(list(values), dtype=float)
    if not len(array) or not np.isfinite(array).all():
        return Estimate(math.nan, math.nan, math.nan, len(array))
    return _around(float(array.mean()), _spread(array), 1 / len(array), len(array), level)


def paired(values: "pd.Series[float]", variant: str, baseline: str) -> "pd.Series[float]":
    """The differences variant - baseline by seed, for the seeds that both have."""
    mine, base = values.xs(variant, level="variant"), values.xs(baseline, level="variant")
    shared = mine.index.intersection(base.index)
    return mine[shared] - base[shared]


@dataclass(frozen=True)
class Sample:
    """One quantity of an exercise's runs, by (variant, seed), and where each variant ran.

    ``pool``: whether spreads may be pooled. ``places`` are arithmetic and kind of hardware; a
    variant that it does not list ran where all others did that are not listed.
    """

    values: "pd.Series[float]"
    places: Mapping[str, str] = field(default_factory=dict)
    pool: bool = True

    @cached_property
    def runs(self) -> "dict[str, pd.Series[float]]":
        """Each variant's values by seed; the variants in their order."""
        by_variant = self.values.groupby(level="variant", sort=False)
        return {str(name): runs.droplevel("variant").sort_index() for name, runs in by_variant}

    @cached_property
    def pools(self) -> list[tuple[str, ...]]:
        """The groups of variants that share a spread: same place, same seeds, none outlying."""
        groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for name, runs in self.runs.items():
            if self.pool and FEWEST <= len(runs) < ENOUGH and np.isfinite(runs).all():
                groups.setdefault((self.places.get(name, ""), tuple(runs.index)), []).append(name)
        return [without_outliers({name: self.runs[name] for name in g}) for g in groups.values()]

    def pool_of(self, *variants: str) -> tuple[str, ...]:
        """The group that these variants are in together; empty if there is none."""
        return next((group for group in self.pools if {*variants} <= {*group}), ())

    def mean(self, variant: str, level: float = LEVEL, more: int = 0) -> Estimate:
        """The mean of a variant's runs and its interval.

        With ``more`` = 1 it is that in which one more run would fall (a prediction interval).
        """
        runs = self.runs[variant]
        mean = float(runs.mean()) if np.isfinite(runs).all() else math.nan
        if len(runs) < FEWEST or math.isnan(mean):
            return Estimate(mean, math.nan, math.nan, len(runs))
        return _around(mean, self.spread_of(variant), more + 1 / len(runs), len(runs), level)

    def unpaired(self, variant: str, other: str, more: int = 1, level: float = LEVEL) -> Estimate:
        """The difference variant - other, and where that of one more run of each would fall.

        With ``more`` = 0 it is that of the means. Unequal spreads: Welch's degrees of freedom. It
        has no interval if the two ran in different places.
        """
        first, second = (self.mean(name, level, more) for name in (variant, other))
        n = min(first.n, second.n)
        if n < FEWEST or not self.comparable(variant, other):
            return Estimate(first.mean - second.mean, math.nan, math.nan, n)
        spreads = [self.spread_of(name) for name in (variant, other)]
        factors = [more + 1 / len(self.runs[name]) for name in (variant, other)]
        parts = [s.variance * factor for s, factor in zip(spreads, factors, strict=True)]
        freedom, total = spreads[0].freedom, math.fsum(parts)
        if total and not self.pool_of(variant, other):
            own = zip(parts, spreads, strict=True)
            freedom = total**2 / math.fsum(part**2 / s.freedom for part, s in own)
        return _around(first.mean - second.mean, Spread(total, freedom), 1, n, level)

    def comparable(self, variant: str, other: str) -> bool:
        """Whether both ran in one arithmetic and on one kind of hardware."""
        return self.places.get(variant, "") == self.places.get(other, "")

    def difference(self, variant: str, other: str, level: float = LEVEL) -> Estimate:
        """The mean difference variant - other, paired by seed, and its interval.

        NOTHING if the two ran in different arithmetic or on different kinds of hardware: a pair
        with the same seed then differs in more than the variant.
        """
        if not self.comparable(variant, other):
            return NOTHING
        differences = paired(self.values, variant, other)
        group, n = self.pool_of(variant, other), len(differences)
        if not group or not np.isfinite(differences).all():
            return estimate(differences, level)
        table = np.array([self.runs[name] for name in group])
        noise = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        freedom = (len(group) - 1) * (n - 1)
        spread = Spread(2 * float((noise**2).sum()) / freedom, freedom)
        return _around(float(differences.mean()), spread, 1 / n, n, level)

    def spread_of(self, variant: str) -> Spread:
        """The variance of a variant's runs, pooled with those of its group."""
        own = [_spread(self.runs[name].to_numpy()) for name in self.pool_of(variant) or (variant,)]
        return Spread(float(np.mean([s.variance for s in own])), sum(s.freedom for s in own))


def without_outliers(runs: "Mapping[str, pd.Series[float]]") -> tuple[str, ...]:
    """The names whose variances do not clearly differ: Cochran's test, again and again."""
    variances = {name: float(values.var()) for name, values in runs.items()}
    while len(variances) > 1 and (total := sum(variances.values())):
        largest = max(variances, key=lambda name: variances[name])
        n, k = len(runs[largest]), len(variances)
        share = variances[largest] / total
        ratio = math.inf if share == 1 else (k - 1) * share / (1 - share)
        if k * special.fdtrc(n - 1, (k - 1) * (n - 1), ratio) > OUTLYING:
            break
        del variances[largest]
    return tuple(variances)


def _spread(values: "np.ndarray") -> Spread:
    n = len(values)
    return Spread(float(values.var(ddof=1)) if n >= FEWEST else math.nan, n - 1)


def _around(mean: float, spread: Spread, factor: float, n: int, level: float) -> Estimate:
    half = math.nan
    if spread.freedom > 0:
        half = float(special.stdtrit(spread.freedom, (1 + level) / 2))
        half *= math.sqrt(spread.variance * factor)
    return Estimate(mean, mean - half, mean + half, n)


def level_of_each(family: int) -> float:
    """The level of each of so many intervals that hold together at LEVEL (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, family)


def judge(
    difference: Estimate, margin: float | None, better: Literal["higher", "lower"] | None
) -> Verdict:
    """What an interval of a difference says.

    Equivalent if it lies wholly within the smallest difference that matters, which is more than
    two one-sided tests ask; better or worse if it excludes zero.
    """
    if not difference.n:
        return "not comparable"
    if math.isnan(difference.mean):
        return "undefined"
    if margin is not None and -margin < difference.low and difference.high < margin:
        return "equivalent"
    if difference.low > 0 or difference.high < 0:
        up = difference.low > 0
        if better is None:
            return "higher" if up else "lower"
        return "better" if up == (better == "higher") else "worse"
    return "undecided"
