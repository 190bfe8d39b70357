"""The ledger: what holds, what does not, and what nobody measured."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter

from alexnet_lab import params
from alexnet_lab.errors import UserError
from alexnet_lab.params.claims import Claim
from alexnet_lab.params.study import Study
from alexnet_lab.results.analysis import measure
from alexnet_lab.results.claims import CONTRADICTED, NOT_MEASURED, REPRODUCED, VERDICTS, check
from alexnet_lab.results.review import changed
from alexnet_lab.results.statistics import OPEN
from alexnet_lab.results.throughput import speed_up_by_step
from tests.conftest import ROOT
from tests.test_analysis import compare_of, run, runs_of, steps
from tests.test_statistics import by_seed

ACCURACY = by_seed(low=[70.0, 70.5, 71.0], high=[80.0, 80.6, 81.1], near=[70.2, 70.4, 71.3])


def claim(kind: str, **fields: Any) -> Claim:
    quantity = {} if kind == "unmeasured" else {"quantity": "final_accuracy"}
    written = {"kind": kind, "says": "so"} | quantity | fields
    found: Claim = TypeAdapter(Claim).validate_python(written)
    return found


def verdict(made: Claim, values: "pd.Series[float]" = ACCURACY) -> str:
    quantity = getattr(made, "quantity", "")
    return check("demo", made, {quantity: values}).verdict


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("value", {"of": "low", "value": 70.6}, REPRODUCED),
        ("value", {"of": "low", "value": 75}, CONTRADICTED),
        ("difference", {"of": "high", "less": "low", "value": 10}, REPRODUCED),
        ("difference", {"of": "high", "less": "low", "value": 7.22}, CONTRADICTED),
        ("ratio", {"of": "high", "over": "low", "value": 1.142}, REPRODUCED),
        ("ratio", {"of": "high", "over": "low", "value": 19}, CONTRADICTED),
        ("ratio", {"of": "near", "over": "low", "value": 1.001}, OPEN),  # it holds 1 as well
        ("difference", {"of": "near", "less": "low", "value": 0.2}, OPEN),  # or 0
        ("difference", {"of": "near", "less": "low", "value": 2}, CONTRADICTED),
        ("order", {"order": ["high", "low"]}, REPRODUCED),
        ("order", {"order": ["low", "high"]}, CONTRADICTED),
        ("order", {"order": ["near", "low"]}, OPEN),
        ("order", {"order": ["high", "near", "low"]}, OPEN),  # as sure as its weakest step
        ("order", {"order": ["near", "low", "high"]}, CONTRADICTED),  # one wrong step is enough
        ("below", {"of": "low", "below": 80}, REPRODUCED),
        ("below", {"of": "high", "below": 70}, CONTRADICTED),
        ("below", {"of": "low", "below": 71}, OPEN),
        ("value", {"of": "absent", "value": 1}, NOT_MEASURED),
        ("order", {"order": ["high", "absent"]}, NOT_MEASURED),
    ],
)
def test_a_verdict_follows_from_the_interval(
    kind: str, fields: dict[str, Any], expected: str
) -> None:
    assert verdict(claim(kind, **fields)) == expected


def test_one_run_or_an_undefined_one_decides_nothing() -> None:
    one = ACCURACY[ACCURACY.index.get_level_values("seed") == 0]
    lost = ACCURACY.where(ACCURACY != 70.5)
    for values in (one, lost):
        assert verdict(claim("value", of="low", value=75), values) == OPEN
        assert verdict(claim("order", order=["high", "low"]), values) == OPEN


def test_a_threshold_that_no_run_reaches_contradicts_a_number_of_epochs() -> None:
    made = claim("value", quantity="epochs_to_threshold", of="a", value=28)
    assert verdict(made, by_seed(a=[math.nan] * 3, b=[1.0, 2.0, 3.0])) == CONTRADICTED
    assert verdict(made, by_seed(a=[27.0, math.nan, 29.0])) == OPEN
    assert verdict(made, by_seed(a=[math.nan])) == OPEN  # one run decides nothing
    ratio = claim("ratio", quantity="epochs_to_threshold", of="a", over="b", value=2.6)
    assert verdict(ratio, by_seed(a=[math.nan] * 3, b=[math.nan] * 3)) == OPEN


def test_a_ratio_is_the_geometric_mean() -> None:
    made = claim("ratio", of="a", over="b", value=2)
    finding = check("demo", made, {"final_accuracy": by_seed(a=[2.0, 4.0, 8.0], b=[1.0] * 3)})
    assert finding.estimate.mean == pytest.approx(4)
    assert (finding.estimate.low, finding.estimate.high) == pytest.approx((0.715, 22.38), rel=1e-3)
    row = finding.row()
    assert set(row) == {"exercise", "original", "measured", "low", "high", "n", "verdict"}
    assert (row["original"], row["n"], row["verdict"]) == (2, 3, OPEN)


def test_a_run_that_died_is_no_crash_of_the_report() -> None:
    """Its gradient is 0, or the interval of a ratio is beyond any float."""
    ratio = claim("ratio", of="a", over="b", value=2)
    assert verdict(ratio, by_seed(a=[1.0, 2.0, 1.0], b=[0.0, 1.0, 1.0])) == OPEN
    assert verdict(ratio, by_seed(a=[1e300, 1e-300], b=[1.0, 1.0])) == OPEN
    order = claim("order", order=["a", "b", "c"])
    lost = by_seed(a=[9.0, 9.1, 9.2], b=[math.nan] * 3, c=[1.0, 1.1, 1.2])
    assert verdict(order, lost) == OPEN


def test_what_no_exercise_measures_says_why() -> None:
    made = claim("unmeasured", because="nobody did")
    finding = check("demo", made, {})
    assert (finding.verdict, finding.original) == (NOT_MEASURED, "nobody did")


def test_jumps_are_where_the_rate_is_halved_or_more() -> None:
    """Rates 1, 1, 0.1, 0.1, 0.09: one jump, before the third epoch, from 50 to 44 %."""
    curves = run("step", 0, [40.0, 50.0, 44.0, 60.0, 10.0])
    curves["lr"] = [1.0, 1.0, 0.1, 0.1, 0.09]
    timing = curves[["variant", "seed", "epoch"]].assign(seconds=[1.0, 2, 3, 4, 5])
    compare = compare_of(baseline="step", threshold=50, gap_epochs=None)
    measured = measure(runs_of(curves, timing, compare))
    assert measured["change_at_jumps"].item() == -6
    assert (measured["best_accuracy"].item(), measured["final_accuracy"].item()) == (60, 10)
    assert (measured["seconds"].item(), measured["epochs_to_threshold"].item()) == (3, 2)
    assert measured["gap"].item() == pytest.approx(1 - 1 / 5)


def test_speed_ups_need_both_devices_and_pair_the_steps() -> None:
    cpu = [steps("cpu", 32, [2.0, 4.0]), steps("cpu", 64, [8.0, 8.0])]
    gpu = [steps("gpu", 32, [0.1, 0.1]), steps("gpu", 64, [0.1, 0.3])]
    ratios = speed_up_by_step(pd.concat([*cpu, *gpu]))["speed_up"]
    assert ratios["32"].tolist() == pytest.approx([20, 40])
    assert ratios["all"].tolist() == pytest.approx([50, 30])
    assert speed_up_by_step(pd.concat([*cpu, steps("gpu", 32, [None])])) == {}


def test_every_number_of_the_original_is_claimed(study: Study) -> None:
    topics = params.load_claims(study, ROOT / "claims.yaml")
    claims = [claim.model_dump() for topic in topics.values() for claim in topic.claims.values()]
    numbers = {claim.get("value") for claim in claims}
    for number in (98.45, 96.23, 97.12, 19, 75.23, 82.45, 80.89, 83.12, 84.01, 28, 32, 24, 20):
        assert number in numbers
    for number in (0.4521, 0.2134, 0.1876, 0.1243, 68.34, 72.45, 73.12, 75.89, 2.6, 18, 7, 7.22):
        assert number in numbers
    assert len(VERDICTS) == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "schedules: {claims: {new: {kind: value, says: x, quantity: speed}}}",
            r": schedules\.claims\.new\.quantity should be",
        ),
        ("dropout: {question: Why}", ": 'dropout' is not an exercise; there are benchmark,"),
        ("schedules: {claim: {}}", ": schedules has the unknown key 'claim'; allowed here:"),
        ("actvation: 5", ": unknown key 'actvation'; allowed at the top are benchmark, activation"),
        ("[1]", " should be a mapping"),
    ],
)
def test_a_wrong_claim_is_one_sentence(
    study: Study, tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"claims\.yaml{sentence}") as error:
        params.load_claims(study, path)
    assert "\n" not in str(error.value)


def test_a_review_names_the_verdicts_that_changed() -> None:
    before = {"a": {"verdict": OPEN}, "b": {"verdict": REPRODUCED}, "gone": {"verdict": OPEN}}
    now = {"a": {"verdict": CONTRADICTED}, "b": {"verdict": REPRODUCED}, "c": {"verdict": OPEN}}
    assert changed(before, now).to_dict("index") == {
        "a": {"before": OPEN, "now": CONTRADICTED},
        "gone": {"before": OPEN, "now": "–"},
        "c": {"before": "–", "now": OPEN},
    }
    assert changed(now, now).empty and changed({}, {}).empty
