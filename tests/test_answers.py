"""The last screen of `make repro` and `make demo`, and what the demo changes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from alexnet_lab import console, params
from alexnet_lab.results import answers
from alexnet_lab.results.runs import read
from tools.demo import changed, make_demo

SPINE = ("activation", "schedules", "augmentation", "batchnorm")
FILES = ("params.yaml", "claims.yaml", "dvc.yaml")


def test_five_questions_are_answered_on_a_screen_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console.console, "_width", 80)
    answers.main()
    shown = capsys.readouterr().out
    topics = yaml.safe_load(Path("claims.yaml").read_text())
    for name in ("benchmark", *SPINE):
        assert topics[name]["question"] in shown
    tables = [line for line in shown.splitlines() if "img/s;" not in line]
    assert max(map(len, tables)) <= 80 and "…" not in shown
    assert "rates" not in shown  # a control


@pytest.mark.parametrize("name", SPINE)
def test_its_numbers_are_those_of_the_metrics(name: str) -> None:
    study = params.load()
    exercise = study.exercise(name)
    topic = params.load_claims(study, Path("claims.yaml"))[name]
    runs = read(exercise, answers.RUNS / name, answers.TIMING / name)
    table = answers.answer(runs, topic.claims.values())
    summary = json.loads(Path(f"metrics/summary/{name}.json").read_text())
    for variant, numbers in summary.items():
        shown = table.loc[variant, "test accuracy (%)"]
        assert shown == f"{numbers['window_accuracy']:.2f} ± {numbers['window_accuracy_ci95']:.2f}"
    report = Path("REPORT.md").read_text()
    words = {"▲": "better", "▼": "worse", "=": "equivalent", "?": "undecided"}
    cells = table.drop(index=exercise.compare.baseline).filter(like="minus").to_numpy().ravel()
    assert len(cells) == len(exercise.compare.margins) * (len(exercise.variants) - 1)
    for cell in cells:
        number, _, sign = cell.rpartition(" ")
        assert re.search(rf"\| {re.escape(number)} +\| [\d.]+ +\| {words[sign]} ", report), cell


def test_the_demo_has_the_five_exercises_their_questions_and_none_of_the_texts_claims(
    tmp_path: Path,
) -> None:
    for name in FILES:
        shutil.copy(name, tmp_path)
    make_demo(tmp_path)
    raw = {name: yaml.safe_load((tmp_path / name).read_text()) for name in FILES}
    study = params.parse(raw["params.yaml"])
    assert tuple(study.exercises) == SPINE and study.data.source == "sample"
    topics = params.load_claims(study, tmp_path / "claims.yaml")
    assert not any(topic.claims or topic.asides for topic in topics.values())
    assert all(topics[name].question for name in ("benchmark", *SPINE))
    changes = yaml.safe_load(Path("tools/demo.yaml").read_text())
    assert all(len(changes[name]["seeds"]) >= 3 for name in SPINE)
    for name in SPINE:
        for variant in study.exercise(name).variants:
            assert study.recipe(name, variant).epochs == changes[name]["train"]["epochs"]
    stages = raw["dvc.yaml"]["stages"]
    assert stages["compare"]["foreach"] == list(SPINE)
    assert stages["show"]["foreach"] == {"loss_and_rate": "schedules"}  # depth is a control
    assert "plots/loss_and_rate.png" in stages["report"]["deps"]
    assert "plots/layer_gradients.png" not in stages["report"]["deps"]


def test_a_study_that_lacks_an_exercise_and_pictures_has_a_demo_too(tmp_path: Path) -> None:
    trees = {name: yaml.safe_load(Path(name).read_text()) for name in FILES}
    for name in ("params.yaml", "claims.yaml"):
        del trees[name]["augmentation"], trees[name]["dropout"]
    for gone in ("augmentation", "dropout", "show"):
        del trees["dvc.yaml"]["stages"][gone]
    for name, tree in trees.items():
        (tmp_path / name).write_text(yaml.safe_dump(tree))
    make_demo(tmp_path)
    found = params.load(tmp_path / "params.yaml").exercises
    assert {*found} == {*SPINE} - {"augmentation"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"a": {"b": 2}}, {"a": {"b": 2, "c": [1, 2]}, "variants": {"x": 1}}),
        ({"a": {"c": [3]}}, {"a": {"b": 1, "c": [3]}, "variants": {"x": 1}}),
        ({"variants": {"y": 2}}, {"a": {"b": 1, "c": [1, 2]}, "variants": {"y": 2}}),
    ],
)
def test_a_change_reaches_into_the_tree_and_gives_variants_anew(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    tree = {"a": {"b": 1, "c": [1, 2]}, "variants": {"x": 1}}
    assert changed(tree, changes) == expected
    assert tree["a"] == {"b": 1, "c": [1, 2]}
