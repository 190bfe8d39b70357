"""Intervals, paired tests and corrections, against published and hand-computed figures."""

import math

import pandas as pd
import pytest

from alexnet_lab.results.statistics import (
    BETTER,
    OPEN,
    WORSE,
    compare_all,
    estimate,
    holm,
    p_value,
    paired,
    seeds_needed,
)

# "Student" (1908), The probable error of a mean: hours of sleep gained, ten patients, two drugs.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def by_seed(**variants: list[float]) -> "pd.Series[float]":
    values = {(name, seed): v for name, runs in variants.items() for seed, v in enumerate(runs)}
    return pd.Series(values).rename_axis(["variant", "seed"])


def test_students_own_example() -> None:
    """R's t.test(extra ~ group, sleep, paired): 1.58, 0.7001 to 2.4599, p = 0.002833."""
    differences = paired(by_seed(one=DRUG_1, two=DRUG_2), "two", "one")
    mean = estimate(differences)
    assert (mean.mean, mean.n) == (pytest.approx(1.58), 10)
    assert (mean.low, mean.high) == (
        pytest.approx(0.7001, abs=5e-5),
        pytest.approx(2.4599, abs=5e-5),
    )
    assert p_value(differences) == pytest.approx(0.002833, abs=5e-7)


def test_pairing_takes_the_shared_seeds_in_any_order() -> None:
    values = by_seed(a=[1.0, 2.0, 3.0], b=[5.0, 7.0]).sample(frac=1, random_state=0)
    assert paired(values, "b", "a").sort_index().tolist() == [4.0, 5.0]


def test_holms_correction() -> None:
    """R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm"): 0.03, 0.06, 0.06, 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = holm([0.01, math.nan, 0.9, 0.8])
    assert corrected[0] == pytest.approx(0.03) and math.isnan(corrected[1])
    assert corrected[2:] == [1.0, 1.0]


def test_the_seeds_that_are_needed() -> None:
    """R's power.t.test(delta = 0.5, sd = 1, power = 0.8, type = "one.sample"): n = 33.37."""
    unit = pd.Series([0.5 - math.sqrt(0.5), 0.5 + math.sqrt(0.5)])
    assert unit.std() == pytest.approx(1)
    assert seeds_needed(unit) == 34
    assert seeds_needed(pd.Series([1.0, -1.0])) is None  # no difference is ever found
    assert seeds_needed(pd.Series([2.0])) is None  # the spread is unknown
    assert seeds_needed(pd.Series([0.001, 1.0, -1.0])) is None  # over a thousand


def test_one_run_has_no_interval_and_a_diverged_one_no_mean() -> None:
    single = estimate([97.0])
    assert single.mean == 97 and math.isnan(single.half)
    assert math.isnan(p_value(pd.Series([1.0])))
    for lost in (math.nan, math.inf):
        mean = estimate([1.0, lost, 2.0])
        assert math.isnan(mean.mean) and math.isnan(mean.half) and mean.n == 3
        assert math.isnan(p_value(pd.Series([1.0, lost, 2.0])))
    assert math.isnan(estimate([]).mean)


def test_identical_values_are_no_division_by_zero() -> None:
    assert estimate([10.0, 10.0]).half == 0
    assert p_value(pd.Series([0.0, 0.0])) == 1 and p_value(pd.Series([0.5, 0.5])) == 0


def test_verdicts_follow_the_direction_and_count_all_comparisons() -> None:
    accuracy = by_seed(base=[70.0, 71.0, 72.0], up=[80.1, 81.0, 82.0], near=[70.5, 70.0, 73.0])
    gap = by_seed(base=[0.1, 0.2, 0.3], up=[0.6, 0.7, 0.8], near=[0.2, 0.1, 0.3])
    family = {"final_accuracy": (accuracy, True), "gap": (gap, False)}
    by_name = {(c.quantity, c.variant): c for c in compare_all(family, "base")}
    assert by_name["final_accuracy", "up"].verdict == BETTER
    assert by_name["gap", "up"].verdict == WORSE
    assert by_name["final_accuracy", "near"].verdict == OPEN
    assert (by_name["final_accuracy", "near"].seeds_needed or 0) > 3
    assert by_name["final_accuracy", "up"].seeds_needed is None
    smaller = compare_all({"final_accuracy": (accuracy, True)}, "base")
    assert smaller[0].p < by_name["final_accuracy", "up"].p  # two in the family, not four
