"""A change in code review: what moved is paired by seed and judged, what cannot be is said."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from alexnet_lab.errors import UserError
from alexnet_lab.params.study import Study
from alexnet_lab.results import review as module
from alexnet_lab.results.review import (
    LEDGER,
    Change,
    changes,
    chart,
    files_at,
    headline,
    ledger,
    table,
    what_changed,
    workspace,
)
from tests.conftest import ROOT
from tests.test_analysis import run

RELU = [Path(f"metrics/{kind}/activation/relu.csv") for kind in ("runs", "timing")]


@pytest.fixture
def base(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[Path, str]:
    """Small results of every variant, as they were in the base and are in the workspace."""
    monkeypatch.chdir(tmp_path)
    texts = {}
    for name, exercise in study.exercises.items():
        for variant in exercise.variants:
            for path, text in results(name, variant, [90.0, 91.0, 92.5]).items():
                texts[path] = text
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    return texts


def results(name: str, variant: str, accuracies: list[float], **place: str) -> dict[Path, str]:
    """Runs of one epoch, a seed for each accuracy, and their timing."""
    curves = pd.concat([run(variant, seed, [value]) for seed, value in enumerate(accuracies)])
    where = {"hardware": "a CPU, 2 cores", "precision": "fp32", "name": ""} | place
    timing = curves[["seed", "epoch"]].assign(seconds=1.0, **where)
    frames = {"runs": curves.drop(columns="variant"), "timing": timing}
    return {
        Path(f"metrics/{kind}/{name}/{variant}.csv"): frame.to_csv(index=False)
        for kind, frame in frames.items()
    }


def now(name: str, variant: str, accuracies: list[float], **place: str) -> None:
    for path, text in results(name, variant, accuracies, **place).items():
        path.write_text(text)


def moved(study: Study, base: dict[Path, str]) -> list[Change]:
    return changes(study, base, workspace())[0]


def said(study: Study, base: dict[Path, str]) -> list[str]:
    return changes(study, base, workspace())[1]


def test_what_did_not_move_is_left_out(study: Study, base: dict[Path, str]) -> None:
    assert changes(study, base, workspace()) == ([], [])
    now("activation", "relu", [90.0, 91.0, 92.5], precision="fp32")
    assert changes(study, base, workspace()) == ([], [])


def test_what_moved_is_paired_by_seed_and_judged(study: Study, base: dict[Path, str]) -> None:
    now("activation", "relu", [80.0, 81.2, 82.4])
    now("activation", "tanh", [90.01, 91.0, 92.51])
    now("schedules", "step", [9.9, 10.1, 10.0])
    rows = table(moved(study, base))
    assert rows["verdict"].to_dict() == {
        "activation relu": "worse",
        "activation tanh": "equivalent",
        "schedules step": "no better than guessing",
    }
    assert rows.loc["activation relu", "difference (points)"].startswith("-9.97 ± ")
    assert rows.loc["activation relu", "seeds"] == 3
    line = headline("lr 0.001 → 0.05", rows)
    assert line.startswith(
        "**lr 0.001 → 0.05**: schedules step no better than guessing, activation"
    )
    picture = chart(moved(study, base)[0])
    assert "line [91.17]" in picture and "line [81.20]" in picture


def test_one_seed_is_not_called_guessing(study: Study, base: dict[Path, str]) -> None:
    """It has no interval, so nothing is known of it."""
    now("activation", "relu", [80.0])
    assert table(moved(study, base))["verdict"].to_dict() == {"activation relu": "undecided"}


def test_one_seed_that_fell_to_chance_is_not_all_of_them(
    study: Study, base: dict[Path, str]
) -> None:
    """The interval is then wide, and holds chance and all that was before."""
    now("activation", "relu", [80.0, 80.2, 10.0])
    assert table(moved(study, base))["verdict"].to_dict() == {"activation relu": "undecided"}


def test_what_cannot_be_compared_is_said(study: Study, base: dict[Path, str]) -> None:
    now("activation", "relu", [80.0, 81.2, 82.4], precision="bf16")
    now("activation", "tanh", [90.0, 91.0, 92.5, 93.0])
    lacking = {path: text for path, text in base.items() if "schedules/step" not in f"{path}"}
    assert [each.variant for each in moved(study, lacking)] == ["relu"]
    assert said(study, lacking) == [
        "activation relu is not paired: fp32 on a CPU before, bf16 on a CPU now.",
        "activation tanh: new seeds 3.",
        "schedules step: the base has no metrics/runs/schedules/step.csv.",
    ]
    older = {path: text.replace("precision", "arithmetic") for path, text in base.items()}
    assert said(study, older)[0] == "activation relu: the base's files have no precision yet."
    for path in RELU:
        path.unlink()
    assert said(study, base)[0] == (
        "activation relu: the workspace has no metrics/runs/activation/relu.csv."
    )


def test_what_ran_elsewhere_is_compared_without_pairs_and_starred(
    study: Study, base: dict[Path, str]
) -> None:
    """The interval is Welch's, as scipy has it."""
    now("activation", "relu", [80.0, 81.2, 82.4], precision="bf16")
    rows = table(moved(study, base))
    assert list(rows.index) == ["activation relu*"]
    before = moved(study, base)[0].values.xs("before").to_numpy()
    welch = stats.ttest_ind([80.0, 81.2, 82.4], before, equal_var=False).confidence_interval()
    difference, half = rows["difference (points)"].item().split(" ± ")
    assert float(difference) == pytest.approx((welch.low + welch.high) / 2, abs=0.005)
    assert float(half) == pytest.approx((welch.high - welch.low) / 2, abs=0.005)


def test_the_first_line_names_the_parameters_that_moved_it(
    study: Study, base: dict[Path, str]
) -> None:
    now("activation", "relu", [80.0, 81.2, 82.4])
    found = moved(study, base)
    assert what_changed(study, study.model_copy(update={"lr": 0.05}), found) == "lr 0.001 → 0.05"
    assert "code" in what_changed(study, study, found)
    fp32 = study.model_copy(update={"precision": "fp32"})
    assert what_changed(study, fp32, found) == "precision auto → fp32"
    assert "cannot read" in what_changed(None, study, found)


@pytest.mark.usefixtures("base")
def test_verdicts_are_those_of_the_runs_as_they_are_now(study: Study) -> None:
    """Not those of metrics/claims.json: the report may not have run since."""
    claim = "{kind: below, says: x, place: y, quantity: final_accuracy, of: relu, below: 97}"
    within = "{kind: within, says: x, place: y, value: 1, quotient: [1, 1]}"
    Path("claims.yaml").write_text(
        f"activation: {{claims: {{a: {claim}}}}}\nbenchmark: {{claims: {{b: {within}}}}}"
    )
    old = {key: {"verdict": "old"} for key in ("activation_a", "benchmark_b", "activation_gone")}
    LEDGER.write_text(json.dumps(old))

    def verdicts() -> list[str]:
        return [row["verdict"] for row in ledger(study).values()]

    assert verdicts() == ["confirmed", "old"]
    now("activation", "relu", [99.0, 99.1, 99.0])
    assert verdicts() == ["contradicted", "old"]
    RELU[0].unlink()
    assert verdicts() == ["old", "old"]


def test_the_text_has_the_notes_and_the_verdicts_the_right_way_round(
    base: dict[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", ".")
    Path("claims.yaml").write_text("{}")
    old = {LEDGER: '{"gone": {"verdict": "confirmed"}}'}
    monkeypatch.setattr(module, "files_at", lambda _: base | old)
    now("activation", "tanh", [90.0, 91.0, 92.5, 93.0])
    text = module.review("x")
    assert text.startswith("No accuracy moved against x.")
    assert "- activation tanh: new seeds 3." in text
    assert re.search(r"\| gone +\| confirmed +\| – +\|", text)
    monkeypatch.setattr("sys.argv", ["review"])
    with pytest.raises(UserError, match="Name one revision"):
        module.main()


def test_a_revision_is_read_from_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    files = files_at("HEAD")
    shown = subprocess.run(
        ["git", "show", f"HEAD:{RELU[0]}"], capture_output=True, text=True, check=True
    )
    assert files[RELU[0]] == shown.stdout and Path("params.yaml") in files
    with pytest.raises(UserError, match="no revision 'nowhere'"):
        files_at("nowhere")
