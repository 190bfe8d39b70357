"""The ledger: what holds, what does not, and what nobody measured."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter

from alexnet_lab import params
from alexnet_lab.errors import UserError
from alexnet_lab.params.claims import Claim, Topic
from alexnet_lab.params.study import Study
from alexnet_lab.results.analysis import measure
from alexnet_lab.results.claims import (
    COMPATIBLE,
    CONFIRMED,
    CONTRADICTED,
    INCOMPATIBLE,
    ITSELF,
    NOT_MEASURED,
    PARTLY,
    UNDECIDED,
    Finding,
    check,
    facts,
)
from alexnet_lab.results.review import changed
from alexnet_lab.results.statistics import Sample
from alexnet_lab.results.throughput import by_step
from tests.conftest import ROOT
from tests.test_analysis import compare_of, run, runs_of, steps
from tests.test_statistics import by_seed

ACCURACY = by_seed(
    low=[70.0, 70.5, 71.0, 70.5],
    high=[80.0, 80.6, 81.1, 80.5],
    near=[70.2, 70.4, 71.3, 70.4],
    middle=[75.0, 75.4, 76.1, 75.5],
)


def claim(kind: str, **fields: Any) -> Claim:
    quantity = {} if kind == "within" else {"quantity": "final_accuracy"}
    written = {"kind": kind, "says": "so", "place": "1, output"} | quantity | fields
    found: Claim = TypeAdapter(Claim).validate_python(written)
    return found


def finding(
    made: Claim,
    values: "pd.Series[float]" = ACCURACY,
    margin: float = 0.05,
    topic: Topic | None = None,
    above: "pd.Series[float] | None" = None,
) -> Finding:
    quantity = getattr(made, "quantity", "final_accuracy")
    measured = {quantity: Sample(values)}
    if above is not None:
        measured["above_threshold"] = Sample(above)
    return check(made, topic or Topic(), measured, margins={quantity: margin})


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("value", {"of": "low", "value": 69.5}, COMPATIBLE),  # outside the interval of the mean
        ("value", {"of": "low", "value": 75}, INCOMPATIBLE),
        ("difference", {"of": "high", "less": "low", "value": 10}, COMPATIBLE),
        # Outside the interval of the means, inside that of one more run.
        ("difference", {"of": "high", "less": "low", "value": 11.2}, COMPATIBLE),
        ("ratio", {"of": "high", "over": "low", "value": 1.16}, COMPATIBLE),
        ("difference", {"of": "high", "less": "low", "value": 7.22}, INCOMPATIBLE),
        ("ratio", {"of": "high", "over": "low", "value": 1.142}, COMPATIBLE),
        ("ratio", {"of": "high", "over": "low", "value": 19}, INCOMPATIBLE),
        ("ratio", {"of": "near", "over": "low", "value": 1.001}, UNDECIDED),  # it holds 1 as well
        ("difference", {"of": "near", "less": "low", "value": 0.2}, UNDECIDED),  # or 0
        ("difference", {"of": "near", "less": "low", "value": 3}, INCOMPATIBLE),
        ("order", {"order": ["high", "middle", "low"]}, CONFIRMED),
        ("order", {"order": ["low", "high"]}, CONTRADICTED),
        ("order", {"order": ["near", "low"]}, UNDECIDED),
        ("order", {"order": ["high", "near", "low"]}, UNDECIDED),
        ("order", {"order": ["near", "low", "high"]}, CONTRADICTED),  # none holds, one is reversed
        ("order", {"order": ["low", "high", "middle"]}, PARTLY),
        ("more", {"of": "high", "than": ["low", "near"]}, CONFIRMED),
        ("more", {"of": "middle", "than": ["low", "high"]}, PARTLY),
        ("less", {"of": "low", "than": ["high", "middle"]}, CONFIRMED),
        ("less", {"of": "high", "than": ["low"]}, CONTRADICTED),
        ("below", {"of": "low", "below": 80}, CONFIRMED),
        ("below", {"of": "high", "below": 70}, CONTRADICTED),
        ("below", {"of": "low", "below": 70.9}, UNDECIDED),
        ("value", {"of": "absent", "value": 1}, NOT_MEASURED),
        ("order", {"order": ["high", "absent"]}, NOT_MEASURED),
        ("within", {"value": 136.7, "quotient": [320, 0.2341]}, ITSELF),
        ("within", {"value": 62.4, "quotient": [320, 5.1234]}, CONFIRMED),
    ],
)
def test_a_verdict_follows_from_the_interval(
    kind: str, fields: dict[str, Any], expected: str
) -> None:
    assert finding(claim(kind, **fields)).verdict == expected


def test_an_interval_that_excludes_no_other_number_of_the_text_decides_nothing() -> None:
    low, high = (
        claim("value", of=name, value=value) for name, value in (("low", 70.6), ("high", 71))
    )
    topic = Topic(claims={"a": low, "b": high})
    alike = finding(low, topic=topic)
    assert alike.verdict == UNDECIDED and "too wide" in alike.note
    assert finding(low, topic=Topic(claims={"a": low})).verdict == COMPATIBLE  # it excludes 0
    assert alike.off == pytest.approx(0.1)
    third = claim("value", of="middle", value=75)  # excluded, so the interval decides
    assert finding(low, topic=Topic(claims={"a": low, "b": high, "c": third})).verdict == COMPATIBLE


def test_a_step_too_small_to_matter_fails() -> None:
    tiny = by_seed(a=[70.3, 71.3, 72.3, 73.31], b=[70.0, 71.0, 72.0, 73.0])
    made = claim("order", order=["a", "b"])
    assert finding(made, tiny, margin=0.2).verdict == CONFIRMED
    assert finding(made, tiny, margin=0.5).verdict == CONTRADICTED


def test_a_statement_says_how_many_steps_hold_and_which_is_the_weakest() -> None:
    found = finding(claim("order", order=["high", "middle", "near", "low"]))
    assert found.steps == (2, 0, 3) and found.note == "near minus low"
    assert found.row()["steps"] == "2 of 3 hold, 0 fail"
    assert found.verdict == UNDECIDED


def test_a_bound_that_all_keep_says_nothing_of_one() -> None:
    assert "says nothing" in finding(claim("below", of="low", below=90)).note
    assert finding(claim("below", of="low", below=80)).note == ""


def test_a_bound_is_held_at_the_level_of_its_exercise() -> None:
    def verdict(level: float) -> str:
        bound = claim("below", of="low", below=71.2)
        return check(bound, Topic(), {"final_accuracy": Sample(ACCURACY)}, level).verdict

    assert (verdict(0.95), verdict(0.999)) == (CONFIRMED, UNDECIDED)


def test_one_run_or_an_undefined_one_decides_nothing() -> None:
    one = ACCURACY[ACCURACY.index.get_level_values("seed") == 0]
    lost = ACCURACY.where(ACCURACY != 70.5)
    for values in (one, lost):
        assert finding(claim("value", of="low", value=75), values).verdict == UNDECIDED
        assert finding(claim("order", order=["high", "low"]), values).verdict == UNDECIDED


def test_a_threshold_that_no_run_reaches_is_incompatible_with_a_number_of_epochs() -> None:
    made = claim("value", quantity="epochs_to_threshold", of="a", value=28)
    never = by_seed(a=[math.nan] * 3, b=[1.0, 2.0, 3.0])
    far, near = by_seed(a=[-9.0, -8.0, -9.0]), by_seed(a=[-0.1, -0.5, -2.0])
    assert finding(made, never, above=far).verdict == INCOMPATIBLE
    assert finding(made, never, above=near).verdict == UNDECIDED  # one more run may reach it
    assert finding(made, by_seed(a=[27.0, math.nan, 29.0])).verdict == UNDECIDED
    one = by_seed(a=[-9.0])
    assert finding(made, by_seed(a=[math.nan]), above=one).verdict == UNDECIDED
    ratio = claim("ratio", quantity="epochs_to_threshold", of="a", over="b", value=2.6)
    assert finding(ratio, by_seed(a=[math.nan] * 3, b=[math.nan] * 3)).verdict == UNDECIDED


def test_what_runs_did_not_record_is_not_measured() -> None:
    made = claim("more", quantity="train_accuracy", of="a", than=["b"])
    found = finding(made, by_seed(a=[math.nan] * 3, b=[math.nan] * 3))
    assert found.verdict == NOT_MEASURED and "did not record" in found.note


def test_a_ratio_is_the_geometric_mean() -> None:
    found = finding(
        claim("ratio", of="a", over="b", value=2), by_seed(a=[2.0, 4.0, 8.0], b=[1.0] * 3)
    )
    assert found.estimate.mean == pytest.approx(4) and found.off == pytest.approx(0.5)
    row = found.row()
    assert (row["n"], row["verdict"], row["place"]) == (3, UNDECIDED, "1, output")


def test_a_run_that_died_is_no_crash_of_the_report() -> None:
    """Its gradient is 0, or the interval of a ratio is beyond any float."""
    ratio = claim("ratio", of="a", over="b", value=2)
    assert finding(ratio, by_seed(a=[1.0, 2.0, 1.0], b=[0.0, 1.0, 1.0])).verdict == UNDECIDED
    assert finding(ratio, by_seed(a=[1e300, 1e-300], b=[1.0, 1.0])).verdict == UNDECIDED
    order = claim("order", order=["a", "b", "c"])
    lost = by_seed(a=[9.0, 9.1, 9.2], b=[math.nan] * 3, c=[1.0, 1.1, 1.2])
    assert finding(order, lost).verdict == UNDECIDED


def test_claims_of_one_fact_count_once() -> None:
    made = [
        claim("value", of="low", value=value, fact=fact)
        for value, fact in ((9, "x"), (8, "x"), (7, ""))
    ]
    ledger = {f"c{number}": finding(each) for number, each in enumerate(made)}
    assert facts(ledger)[INCOMPATIBLE] == {"x", "c2"}


def test_what_claims_are_about_is_computed_run_by_run() -> None:
    curves = run("step", 0, [40.0, 90.0, 44.0, 60.0, 10.0, 12.0, 7.0])
    timing = curves[["variant", "seed", "epoch"]].assign(
        seconds=[1.0, 2, 3, 4, 5, 6, 7], hardware="a CPU, 2 cores", precision="fp32"
    )
    compare = compare_of(baseline="step", threshold=50, last_epochs=1)
    measured = measure(runs_of(curves, timing, compare))
    expected = {
        "roughness": 5.0,  # after the fifth epoch
        "best_accuracy": 90.0,
        "above_threshold": 40.0,
        "final_accuracy": 7.0,
        "seconds": 4.0,
        "epochs_to_threshold": 2.0,
        "gap": pytest.approx(1 - 1 / 7),
    }
    assert {name: measured[name].values.item() for name in expected} == expected


def test_the_benchmarks_claims_are_about_its_steps() -> None:
    cpu = [steps("cpu", 32, [2.0, 4.0]), steps("cpu", 64, [8.0, 8.0])]
    gpu = [steps("gpu", 32, [0.1, 0.1]), steps("gpu", 64, [0.1, 0.4])]
    found = by_step(pd.concat([*cpu, *gpu]))
    assert found["speed_up"].runs["32"].tolist() == pytest.approx([20, 40])
    assert found["speed_up"].runs["mean"].tolist() == pytest.approx([50, 24])  # of sums
    assert found["cpu_seconds"].runs["32"].tolist() == [20, 40]  # ten steps, were all like it
    assert found["gpu_rate"].runs["64"].tolist() == pytest.approx([640, 160])
    assert found["cpu_rate"].pools == []
    assert by_step(pd.concat([*cpu, steps("gpu", 32, [None])])).keys() == {
        "cpu_seconds",
        "cpu_rate",
    }


TEXT = "98.45 96.23 97.12 0.004521 0.000234 0.001123 19 12.34 18.76 15.92 75.23 82.45 80.89 83.12"
TEXT += (
    " 84.01 29 33 25 21 0.4521 0.2134 0.1876 0.1243 68.34 72.45 73.12 75.89 19 8 71.23 78.45 7.22"
)
TEXT += (
    " 0.2341 136.7 5.1234 62.4 21.9 0.3452 185.5 9.8765 64.8 28.6 1.2341 207.6 38.4567 66.6 31.1"
)
TEXT += " 27.2"


def test_every_number_of_the_original_is_claimed(study: Study) -> None:
    """Its epochs count from 0, ours from 1."""
    topics = params.load_claims(study, ROOT / "claims.yaml")
    claims = [claim.model_dump() for topic in topics.values() for claim in topic.claims.values()]
    numbers = {claim.get("value") for claim in claims}
    assert [number for number in TEXT.split() if float(number) not in numbers] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "schedules: {claims: {new: {kind: value, says: x, place: y, quantity: speed}}}",
            r": schedules\.claims\.new\.quantity should be",
        ),
        (
            "depth: {short: {says: x, compared: {gap: {r: better}}}}",
            r": depth\.short\.compared\.gap names the variant 'r'; it should be one of relu_3",
        ),
        (
            "depth: {short: {says: x, compared: {gapp: {relu_5: better}}}}",
            r": depth\.short\.compared should be one of .*, not 'gapp'",
        ),
        ("depth: {short: {says: x}}", r": depth\.short should list a verdict"),
        (
            "benchmark: {short: {says: x, claims: {grows: confirmed}}}",
            r": benchmark\.short should go",
        ),
        (
            "takeaways: {claims: {a: "
            "{kind: within, says: x, place: y, value: 1, quotient: [1, 1]}}}",
            ": takeaways holds asides alone",
        ),
        ("depth: {short: {says: x, claims: {r: confirmed}}}", r": depth\.short\.claims names 'r'"),
        (
            "depth: {short: {says: x, compared: {gap: {relu_5: good}}}}",
            r": depth\.short\.compared\.gap\.relu_5 should be 'better'",
        ),
        ("drop: {question: Why}", ": 'drop' is not an exercise; there are benchmark,"),
        (
            "dropout: {under: rates}\nrates: {under: batchnorm}",
            r": dropout\.under should be",
        ),
        ("dropout: {under: takeaways}", r": dropout\.under should be"),
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


def test_a_control_may_stand_under_an_exercise_without_a_topic(
    study: Study, tmp_path: Path
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text("dropout: {under: augmentation}")
    assert params.load_claims(study, path)["dropout"].under == "augmentation"


def test_a_review_names_the_verdicts_that_changed() -> None:
    before = {"a": {"verdict": "x"}, "b": {"verdict": "y"}, "gone": {"verdict": "x"}}
    now = {"a": {"verdict": "z"}, "b": {"verdict": "y"}, "c": {"verdict": "x"}}
    assert changed(before, now).to_dict("index") == {
        "a": {"before": "x", "now": "z"},
        "gone": {"before": "x", "now": "–"},
        "c": {"before": "–", "now": "x"},
    }
    assert changed(now, now).empty and changed({}, {}).empty
