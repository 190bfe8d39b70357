"""What `make unchanged` takes for the same code; the slow half is in test_walkthroughs.py."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_lab import params
from alexnet_lab.params.study import Study
from alexnet_lab.runs.ahead import ABSENT, at
from alexnet_lab.runs.names import versions
from alexnet_lab.runs.site import Site
from tests.conftest import ROOT
from tools import unchanged
from tools.closure import closure, imports
from tools.naming import names
from tools.unchanged import place_of, same_bytes, tree

BEFORE = '''"""A docstring."""

import math

from alexnet_lab.learning.random_streams import stream


def area(radius: float) -> float:
    """Of a circle."""
    return math.pi * radius**2  # in square metres
'''


def of(text: str, folder: Path) -> str:
    path = folder / "x.py"
    path.write_text(text)
    return tree(path, folder / "alexnet_lab")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two places for the same module, and a third for another of that name."""
    for place, content in {"learning": "A = 1", "data": "A = 1  # moved", "other": "A = 2"}.items():
        file = tmp_path / f"alexnet_lab/{place}/random_streams.py"
        file.parent.mkdir(parents=True)
        file.write_text(f"{content}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("A docstring.", "Another.", True),
        ('    """Of a circle."""\n', "", True),
        ("  # in square metres", "", True),
        ("alexnet_lab.learning", "alexnet_lab.data", True),
        ("alexnet_lab.learning", "alexnet_lab.other", False),
        ("radius**2", "radius**3", False),
        ("import math\n", "import cmath as math\n", False),
        ("import stream", "import other as stream", False),
        ("def area", "def surface", False),
    ],
)
def test_only_docstrings_comments_and_import_paths_may_differ(
    package: Path, old: str, new: str, same: bool
) -> None:
    assert old in BEFORE
    assert (of(BEFORE.replace(old, new), package) == of(BEFORE, package)) is same


def test_a_training_stage_stands_on_learning_and_not_on_results() -> None:
    source = ROOT / "src/alexnet_lab"
    files = {str(file.relative_to(source)) for file in closure(ROOT / "stages/train.py", source)}
    assert {"learning/training.py", "learning/augment.py", "runs/store.py"} <= files
    assert not [file for file in files if file.startswith(("results", "params", "console"))]


@pytest.mark.parametrize(
    "line", ["import alexnet_lab.learning.training as t", "from .models import build"]
)
def test_an_import_that_cannot_be_followed_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.py").write_text(f"{line}\n")
    with pytest.raises(ValueError, match="cannot be followed"):
        imports(tmp_path / "x.py", ROOT / "src/alexnet_lab")


def test_a_dotted_key_that_is_absent_is_not_null() -> None:
    assert at({"a": {"b": None}}, "a.b") is None
    assert at({"a": {"b": None}}, "a.c") is ABSENT and at({"a": 1}, "a.b") is ABSENT


def test_folders_are_compared_file_by_file(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    for root in (before, now):
        (root / "data").mkdir(parents=True)
        (root / "data/x.npy").write_bytes(b"1")
    assert same_bytes(before, now, "data") and same_bytes(before, now, "data/x.npy")
    (now / "data/y.npy").write_bytes(b"2")
    assert not same_bytes(before, now, "data")


def test_the_names_of_epochs_may_differ_and_nothing_else(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    for root in (before, now):
        root.mkdir()
        (root / "filters.csv").write_text("variant,name,weights\nplain,old,1 2\n")
    for row, same in (("plain,new,1 2", True), ("plain,old,1 3", False), ("other,old,1 2", False)):
        (now / "filters.csv").write_text(f"variant,name,weights\n{row}\n")
        assert same_bytes(before, now, "filters.csv") is same


def test_epochs_and_the_weights_at_their_end_get_the_same_new_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those that the old code gives: what came from elsewhere keeps its own."""
    monkeypatch.chdir(tmp_path)
    timing, filters = Path("metrics/timing/modern/plain.csv"), Path("filters.csv")
    timing.parent.mkdir(parents=True)
    head = "seed,epoch,seconds,precision,hardware,torch,numpy,name\n"
    timing.write_text(f"{head}0,1,1.5,fp32,a CPU,2.14,2.4,a1\n0,2,1.5,fp32,a CPU,2.14,2.4,other\n")
    filters.write_text("variant,name,weights\nplain,a1,1 2\nplain,other,3 4\n")
    answers = {str(tmp_path): ["a1", "a2"], ".": ["b1", "b2"]}

    def run(*_: str, folder: Path) -> str:
        return json.dumps({"fp32 2.14 2.4 a CPU": {"0": answers[str(folder)]}})

    monkeypatch.setattr(unchanged, "run", run)
    stage = SimpleNamespace(name="modern@plain", outs=[SimpleNamespace(def_path=str(timing))])
    names = unchanged.rename_epochs(stage, tmp_path)
    unchanged.rename_filters(filters, names)
    assert names == {"a1": "b1"}
    assert re.findall(r",(\w+)$", timing.read_text(), re.M) == ["name", "b1", "other"]
    assert filters.read_text() == "variant,name,weights\nplain,b1,1 2\nplain,other,3 4\n"


PREPARED = all((ROOT / "data" / name).is_dir() for name in ("mnist", "cifar10"))


@pytest.mark.skipif(not PREPARED, reason="the data is not prepared")
def test_every_committed_epoch_has_the_name_that_this_code_gives(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a further seed or epoch costs what is new alone, on the machine that it ran on."""
    monkeypatch.chdir(ROOT)
    unnamed, epochs = [], 0
    for stage in (f"{e}@{v}" for e, content in study.exercises.items() for v in content.variants):
        with Path(f"metrics/timing/{stage.replace('@', '/')}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        given = names(stage, Path("data"), [*{*map(place_of, rows)}])
        for row in rows:
            if row["name"] != given[place_of(row)][row["seed"]][int(row["epoch"]) - 1]:
                unnamed.append((stage, row["seed"], row["epoch"]))
        epochs += len(rows)
    assert not unnamed and epochs > 1000


def test_the_names_of_a_place_are_those_that_its_machine_would_give(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    torch, numpy = versions().values()
    here, other = f"fp32 {torch} {numpy} a CPU", f"fp32 2.11.0 {numpy} a CPU"
    given = names("activation@relu", site.data, [here, other])
    site = replace(site, study=params.load(ROOT / "params.yaml"))
    assert given[here]["0"] == site.runs("activation", "relu", "fp32")[0].names
    site = replace(site, packages={"torch": "2.11.0", "numpy": numpy})
    assert given[other]["0"] == site.runs("activation", "relu", "fp32")[0].names
    assert given[here]["0"][0] != given[other]["0"][0]


def test_rows_without_versions_keep_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    timing, rows = Path("metrics/timing/x.csv"), "seed,epoch,hardware,torch,name\n0,1,a CPU,2,a1\n"
    timing.parent.mkdir(parents=True)
    timing.write_text(rows)
    stage = SimpleNamespace(name="x@y", outs=[SimpleNamespace(def_path=str(timing))])
    assert unchanged.rename_epochs(stage, tmp_path) == {}
    assert timing.read_text() == rows and "x@y: its epochs have no names" in capsys.readouterr().out
