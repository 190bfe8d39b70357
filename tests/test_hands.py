"""What breaks in users' hands: where the project lies, how git and pip are set, what is gone."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from alexnet_lab.data.fetch import from_folder
from alexnet_lab.data.sources import IMAGE_SETS, SourceError
from alexnet_lab.errors import UserError
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.results.review import files_at
from alexnet_lab.runs import committed
from alexnet_lab.runs.stage import worker_count
from alexnet_lab.runs.store import the_store
from tests.conftest import ROOT, forget

# Every character that a folder's name can have and make setup takes; tried with the real one, too.
NAME = "a b'c\"d#e&f;g(h)i*j[k]l%m,n!o~p@q=r+s`t|u<v>w?x^yü"
STUB = """#!/bin/sh
case "$*" in
  *getsitepackages*) echo .venv ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *) { echo "$@"; env | grep -E '^(PIP_|PYTHONPATH)'; } >> said.txt ;;
esac
"""
Ran = subprocess.CompletedProcess[str]


def run(folder: Path, *command: str, **more: str) -> Ran:
    # Without what a make around this test hands down.
    others = {"DVC_ROOT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    environment = {key: value for key, value in os.environ.items() if key not in others}
    return subprocess.run(
        command, cwd=folder, env=environment | more, capture_output=True, text=True
    )


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org")
    ran = run(folder, "git", *who, "-c", "commit.gpgsign=false", *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def copy_of_this(folder: Path) -> Path:
    """The files of this checkout that git knows, without data."""
    for name in git(ROOT, "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def commit(folder: Path) -> Path:
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "state")
    return folder


def stubbed(folder: Path) -> Path:
    """The Makefile and what it reads, and commands that only say how they are called."""
    folder.mkdir(parents=True)
    for name in ("Makefile", "params.yaml", "pyproject.toml", "constraints.txt", "environment.pth"):
        shutil.copy(ROOT / name, folder)
    (folder / "python").write_text(STUB)
    (folder / "python").chmod(0o755)
    return folder


def with_environment(folder: Path) -> Path:
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("python", "dvc", "pytest", "ruff", "mypy"):
        shutil.copy(folder / "python", folder / ".venv/bin" / name)
    (folder / ".venv/.ready").touch()
    return folder


def test_without_data_make_status_lists_what_is_stale(tmp_path: Path) -> None:
    """As CI has it; `dvc repro --dry` would read the data, and says that it is not there."""
    project = copy_of_this(tmp_path / "project")
    git(project, "init", "-q")
    params, module = project / "params.yaml", project / "src/alexnet_lab/results/figures.py"
    params.write_text(params.read_text().replace("gamma: 0.95", "gamma: 0.9"))
    module.write_text(module.read_text() + "# a comment\n")
    (project / "metrics/summary/depth.json").unlink()
    ran = run(project, sys.executable, "-m", "tools.status", DVC_ROOT=str(project))
    assert ran.returncode == 1 and "These would run again" in ran.stderr
    expected = {"schedules@exponential", "compare@batchnorm", "compare@depth", "report"}
    assert expected <= {*ran.stdout.splitlines()} and "No such file" not in ran.stdout
    assert "prepare@" not in ran.stdout  # check is stale, but what it writes never changes


def test_of_an_edit_of_check_make_status_lists_check_alone(tmp_path: Path) -> None:
    project = copy_of_this(tmp_path / "project")
    git(project, "init", "-q")
    script = project / "stages/check.py"
    script.write_text(f"{script.read_text()}# a comment\n")
    ran = run(project, sys.executable, "-m", "tools.status", DVC_ROOT=str(project))
    assert ran.returncode == 1 and ran.stdout == "check\n"


def test_a_clone_with_autocrlf_has_the_same_bytes(tmp_path: Path) -> None:
    project = commit(copy_of_this(tmp_path / "project"))
    git(tmp_path, "clone", "-q", "-c", "core.autocrlf=true", "project", "clone")
    for name in git(project, "ls-files", "-z").split("\0")[:-1]:
        assert (tmp_path / "clone" / name).read_bytes() == (project / name).read_bytes(), name


def test_make_works_in_a_folder_of_any_name(tmp_path: Path) -> None:
    project = commit(with_environment(stubbed(tmp_path / NAME)))
    targets = ("status", "plan", "progress", "experiments", "unchanged", "review", "check", "test")
    for target in (*targets, "bench", "repro"):
        ran = run(project, "make", target, "BASE=HEAD~1")
        assert ran.returncode == 0, (target, ran.stderr)
    said = (project / "said.txt").read_text()
    assert "-m tools.status" in said and "-m alexnet_lab.results.review HEAD~1" in said


@pytest.mark.parametrize("letter", [":", "$", "\\", "{"])
def test_a_name_that_pythons_tools_cannot_take_is_refused(letter: str, tmp_path: Path) -> None:
    project = stubbed(tmp_path / f"a{letter}b")
    ran = run(project, "make", "setup", "PYTHON=./python")
    assert ran.returncode != 0 and "cannot take. Move the project" in ran.stdout
    assert not (project / ".venv").exists()


def test_setup_installs_into_its_own_environment_whatever_pip_is_set_to(tmp_path: Path) -> None:
    project = stubbed(tmp_path / "project")
    settings = {"PIP_USER": "1", "PIP_TARGET": "x", "PIP_PREFIX": "x", "PYTHONPATH": "x"}
    index = {"PIP_INDEX_URL": "file:///index"}  # where packages come from is the user's business
    ran = run(project, "make", "setup", "PYTHON=./python", **settings, **index)
    assert ran.returncode == 0, ran.stderr
    said = (project / "said.txt").read_text()
    assert "-m pip install --no-user" in said and "PIP_INDEX_URL=file:///index" in said
    assert not [line for line in said.splitlines() if line.split("=")[0] in settings]


def test_without_git_make_says_in_one_sentence_what_is_missing(tmp_path: Path) -> None:
    project = with_environment(stubbed(tmp_path / "project"))
    for target in ("demo", "repro", "plan", "status", "unchanged", "experiments", "review"):
        ran = run(project, "make", target, GIT_CEILING_DIRECTORIES=str(tmp_path))
        assert ran.returncode != 0 and ran.stdout.startswith("git has no commit of this folder")
        assert ran.stdout.count("\n") == 1 and not (project / "said.txt").exists()


def test_make_does_without_dvcs_temporary_folder(tmp_path: Path) -> None:
    """What it once wrote there is in .venv, so that `dvc plots` finds its template."""
    assert ".dvc/tmp" not in (ROOT / "Makefile").read_text()
    project = stubbed(tmp_path / "project")
    assert run(project, "make", "setup", "PYTHON=./python").returncode == 0
    assert (project / ".venv/plots.html").exists()
    assert "html_template = ../.venv/plots.html" in (ROOT / ".dvc/config").read_text()


# --- settings ---


def test_a_setting_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALEXNET_LAB_RUNS", "~/runs")
    assert the_store().folder == tmp_path / "runs"
    monkeypatch.setenv("ALEXNET_LAB_DATA", "~/data")
    (tmp_path / "data").mkdir()
    with pytest.raises(SourceError, match=f"{tmp_path}/data has neither the files nor"):
        from_folder(IMAGE_SETS["mnist"])


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("RUNS", "file", "ALEXNET_LAB_RUNS names file, which is a file; it should name a folder"),
        ("RUNS", "~nobody-here/x", "ALEXNET_LAB_RUNS is '~nobody-here/x': "),
        ("DATA", "file", "ALEXNET_LAB_DATA names file, which is a file; it should name a folder"),
        ("DATA", "nowhere", "ALEXNET_LAB_DATA names nowhere, which is not there"),
        ("DATA", "~nobody-here/x", "ALEXNET_LAB_DATA is '~nobody-here/x': "),
        ("COMMITTED", "false", "ALEXNET_LAB_COMMITTED is 'false'; it should be 0 or 1"),
        ("WORKERS", "many", "ALEXNET_LAB_WORKERS is 'many'; it should be a whole number from 1"),
        ("DEVICE", "tpu", "ALEXNET_LAB_DEVICE is 'tpu'; it should be cpu or cuda"),
        ("RUNS_GIB", "lots", "ALEXNET_LAB_RUNS_GIB is 'lots'; it should be a number of GiB"),
    ],
)
def test_a_setting_that_cannot_be_is_named_in_one_sentence(
    setting: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    read(setting)  # not set, it says nothing
    monkeypatch.setenv(f"ALEXNET_LAB_{setting}", "")
    read(setting)
    monkeypatch.setenv(f"ALEXNET_LAB_{setting}", value)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read(setting)
    assert "\n" not in str(error.value)


def read(setting: str) -> None:
    forget()
    match setting:
        case "RUNS" | "RUNS_GIB":
            the_store()
        case "DATA":
            with suppress(SourceError):
                from_folder(IMAGE_SETS["mnist"])
        case "COMMITTED":
            committed.committed()
        case "WORKERS":
            worker_count(1, this_machine())
        case "DEVICE":
            this_machine()


# --- in a subfolder of a bigger repository ---


@pytest.fixture
def subfolder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = copy_of_this(tmp_path / "bigger/sub folder")
    commit(tmp_path / "bigger")
    monkeypatch.chdir(project)
    return project


def test_in_a_subfolder_committed_epochs_are_known(
    subfolder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALEXNET_LAB_COMMITTED")
    forget()
    assert len(committed.committed()) > 1000


def test_in_a_subfolder_review_reads_what_was_committed(subfolder: Path) -> None:
    files = files_at("HEAD")
    for name in ("params.yaml", "metrics/claims.json", "metrics/runs/activation/relu.csv"):
        assert files[Path(name)] == (subfolder / name).read_text("utf-8")


def test_in_a_subfolder_unchanged_compares_the_project(subfolder: Path, tmp_path: Path) -> None:
    from tools import unchanged

    (subfolder / "new.txt").write_text("not committed")
    before = unchanged.checkout("HEAD", tmp_path / "before")
    now = unchanged.copy_of_this(tmp_path / "now")
    assert (before / "params.yaml").exists() and not (before / "new.txt").exists()
    assert (now / "params.yaml").exists() and (now / "new.txt").exists()


def test_in_a_subfolder_the_demo_is_a_repository_of_its_own(subfolder: Path) -> None:
    shutil.copy(stubbed(subfolder / "x") / "python", subfolder)
    with_environment(subfolder)
    (subfolder / ".venv/plots.html").touch()
    (subfolder / "claims.yaml").write_text("{}")
    ran = run(subfolder, "make", "demo")
    assert ran.returncode == 0, ran.stderr
    demo = subfolder / "demo"
    assert git(demo, "rev-parse", "--show-toplevel").strip() == str(demo)
    assert git(demo, "show", "HEAD:claims.yaml") == "{}"
