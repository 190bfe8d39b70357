"""Intervals, pooled spreads and verdicts, against published figures and by simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alexnet_lab.results.statistics import (
    NOTHING,
    Estimate,
    Sample,
    estimate,
    judge,
    level_of_each,
    paired,
    without_outliers,
)
from benchmarks.verdicts import honest_texts, simulate

# "Student" (1908), The probable error of a mean: hours of sleep gained, ten patients, two drugs.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def by_seed(**variants: list[float]) -> "pd.Series[float]":
    values = {(name, seed): v for name, runs in variants.items() for seed, v in enumerate(runs)}
    return pd.Series(values).rename_axis(["variant", "seed"])


SLEEP = Sample(by_seed(one=DRUG_1, two=DRUG_2))


def test_students_own_example() -> None:
    """R's t.test(extra ~ group, sleep, paired): 1.58, 0.7001 to 2.4599."""
    for mean in (SLEEP.difference("two", "one"), estimate(paired(SLEEP.values, "two", "one"))):
        assert (mean.mean, mean.n) == (pytest.approx(1.58), 10)
        assert (mean.low, mean.high) == pytest.approx((0.7001, 2.4599), abs=5e-5)


def test_two_one_sided_tests_on_students_example() -> None:
    """R's TOSTER, t_TOST(extra ~ group, sleep, paired, eqb = 0.5): p 0.989 and < 0.001.

    An interval at 95 % lies within a margin if and only if both one-sided tests, here of scipy,
    reject at 2.5 %.
    """
    differences = paired(SLEEP.values, "two", "one")
    upper = stats.ttest_1samp(differences, 0.5, alternative="less").pvalue
    lower = stats.ttest_1samp(differences, -0.5, alternative="greater").pvalue
    assert (upper, lower) == (pytest.approx(0.989, abs=5e-4), pytest.approx(0.0002, abs=5e-5))
    interval = SLEEP.difference("two", "one")
    for margin in np.linspace(0.1, 5, 50):
        tests = [
            stats.ttest_1samp(differences, margin, alternative="less").pvalue,
            stats.ttest_1samp(differences, -margin, alternative="greater").pvalue,
        ]
        assert (judge(interval, margin, "higher") == "equivalent") == (max(tests) < 0.025)


def test_a_prediction_interval() -> None:
    """By hand, with R's sd(DRUG_1) = 1.78901 and qt(0.975, 9) = 2.262157."""
    alone = Sample(by_seed(one=DRUG_1)).mean("one", more=1)
    half = 2.262157 * 1.78901 * math.sqrt(1 + 1 / 10)
    assert (alone.mean, alone.half) == (pytest.approx(0.75), pytest.approx(half, rel=1e-5))


def test_a_pooled_spread_is_that_of_the_analysis_of_variance() -> None:
    """One way for means, with 2 (n - 1) degrees of freedom; with blocks for paired differences."""
    few = Sample(by_seed(one=DRUG_1[:4], two=DRUG_2[:4]))
    variance = np.var(DRUG_1[:4], ddof=1) + np.var(DRUG_2[:4], ddof=1)
    assert few.mean("one").half == pytest.approx(stats.t.ppf(0.975, 6) * math.sqrt(variance / 8))
    one_more = stats.t.ppf(0.975, 6) * math.sqrt(variance * 5 / 4)
    assert few.unpaired("two", "one").half == pytest.approx(one_more)
    assert SLEEP.pools == [] and SLEEP.mean("one") == estimate(DRUG_1)  # ten runs are enough
    third = Sample(by_seed(a=[1.0, 2, 3], b=[2.0, 3, 5], c=[4.0, 4, 7]))
    table = np.array([[1.0, 2, 3], [2, 3, 5], [4, 4, 7]])
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    expected = stats.t.ppf(0.975, 4) * math.sqrt(2 * (rest**2).sum() / 4 / 3)
    assert third.pools == [("a", "b", "c")]
    assert third.difference("c", "a").half == pytest.approx(expected)


def test_unequal_spreads_are_not_pooled() -> None:
    """Welch's degrees of freedom, as scipy has them, for the difference of two further runs."""
    wild, calm = [10.0, 30.0, 20.0, 50.0], [1.0, 1.1, 0.9, 1.05]
    sample = Sample(by_seed(wild=wild, calm=calm))
    assert sample.pools == [("calm",)] and sample.pool_of("wild", "calm") == ()
    assert sample.mean("wild").half == pytest.approx(estimate(wild).half)
    factor = 5 / 4 * 4  # one more run of each, against a difference of means
    welch = stats.ttest_ind(wild, calm, equal_var=False).confidence_interval()
    half = (welch.high - welch.low) / 2
    assert sample.unpaired("wild", "calm").half == pytest.approx(half * math.sqrt(factor))


def test_cochrans_test_removes_what_stands_out() -> None:
    rng = np.random.default_rng(0)
    runs = {f"v{i}": pd.Series(rng.standard_normal(8)) for i in range(4)}
    assert without_outliers(runs) == ("v0", "v1", "v2", "v3")
    assert without_outliers(runs | {"wild": pd.Series(rng.standard_normal(8) * 20)}) == tuple(runs)
    both = {name: pd.Series(rng.standard_normal(8) * by) for name, by in (("b", 20), ("c", 400))}
    assert without_outliers(runs | both) == tuple(runs)
    assert without_outliers({"a": pd.Series([1.0, 1.0]), "b": pd.Series([2.0, 2.0])}) == ("a", "b")


def test_runs_of_other_places_are_neither_paired_nor_pooled() -> None:
    values = by_seed(a=[1.0, 2.0, 3.0], b=[2.0, 3.0, 4.5], c=[1.0, 2.5, 3.0])
    sample = Sample(values, {"a": "bf16 on X", "b": "bf16 on X", "c": "fp32 on X"})
    assert sample.pools == [("a", "b"), ("c",)]
    assert sample.difference("c", "a") == NOTHING and sample.difference("b", "a").n == 3
    assert judge(sample.difference("c", "a"), 0.1, "higher") == "not comparable"
    assert math.isnan(sample.unpaired("c", "a").half)


def test_pairing_takes_the_shared_seeds_in_any_order() -> None:
    values = by_seed(a=[1.0, 2.0, 3.0], b=[5.0, 7.0]).sample(frac=1, random_state=0)
    assert paired(values, "b", "a").sort_index().tolist() == [4.0, 5.0]


def test_one_run_has_no_interval_and_a_diverged_one_no_mean() -> None:
    single = Sample(by_seed(a=[97.0], b=[98.0]))
    assert single.mean("a").mean == 97 and math.isnan(single.mean("a").half)
    assert math.isnan(single.mean("a", more=1).half)
    assert judge(single.difference("b", "a"), 1, "higher") == "undecided"
    for lost in (math.nan, math.inf):
        sample = Sample(by_seed(a=[1.0, lost, 2.0], b=[1.0, 2.0, 3.0]))
        mean = sample.mean("a")
        assert math.isnan(mean.mean) and math.isnan(mean.half) and mean.n == 3
        assert judge(sample.difference("b", "a"), 1, "higher") == "undefined"
        assert sample.pools == [("b",)]
    assert math.isnan(estimate([]).mean)


def test_identical_values_are_no_division_by_zero() -> None:
    same = Sample(by_seed(a=[10.0, 10.0], b=[11.0, 11.0]))
    assert same.mean("a").half == 0 and same.difference("b", "a").half == 0
    assert same.unpaired("b", "a").half == 0


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.6, 2.0, "better"),
        (-2.0, -0.6, "worse"),
        (-0.4, 0.4, "equivalent"),
        (0.1, 0.4, "equivalent"),  # it is there, and too small to matter
        (0.1, 0.6, "better"),
        (-0.1, 0.6, "undecided"),
        (-0.6, 0.6, "undecided"),
    ],
)
def test_a_verdict_is_read_from_the_interval(low: float, high: float, verdict: str) -> None:
    difference = Estimate((low + high) / 2, low, high, 3)
    assert judge(difference, 0.5, "higher") == verdict
    turned = {"better": "worse", "worse": "better"}
    assert judge(difference, 0.5, "lower") == turned.get(verdict, verdict)
    if verdict in turned:
        assert judge(difference, 0.5, None) == ("higher" if low > 0 else "lower")


def test_intervals_of_a_family_are_wider() -> None:
    assert level_of_each(1) == 0.95 == level_of_each(0)
    assert level_of_each(10) == pytest.approx(0.995)


def test_by_simulation_intervals_hold_and_families_are_rarely_wrong() -> None:
    """Six hundred draws: 95 ± 2.5 of a hundred; benchmarks/verdicts.py draws ten thousand."""
    found = simulate("four variants, three seeds", "normal", 600)
    for kind in ("mean", "one more run", "difference"):
        assert 92.5 < found[kind] < 97.5
    assert found["false family"] < 8 and found["false equal"] < 4.5


def test_by_simulation_an_honest_text_is_rarely_called_incompatible() -> None:
    found = honest_texts(8)
    assert found["numbers"] > 15 and found["incompatible"] < 11
