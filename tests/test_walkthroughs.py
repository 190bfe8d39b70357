"""CONTRIBUTING's walk-throughs, applied as written: do they run, and rerun what it says?"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.test_pipeline import (
    EXERCISES,
    ROOT,
    call,
    commit,
    make_project,
    run_and_commit,
    stages_run,
    variants,
)
from tools.sample import write_sample

SECTIONS = {
    title: re.findall(r"```diff\n(.*?)```", text, re.DOTALL)
    for title, text in re.findall(
        r"^## (Add .*?)\n(.*?)(?=^## )", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S
    )
}
WALKS = [title for title, diffs in SECTIONS.items() if diffs]


def apply(project: Path, title: str) -> None:
    """Apply a section's diff to the project, which is one place per hunk."""
    (diff,) = SECTIONS[title]
    command = ["git", "apply", "--unidiff-zero", "-"]
    ran = subprocess.run(command, cwd=project, input=diff, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_every_walk_through_still_fits_the_code(tmp_path: Path) -> None:
    assert len(WALKS) == 4
    for title in WALKS:
        project = make_project(tmp_path / title)
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        apply(project, title)
        yaml.safe_load((project / "params.yaml").read_text())
        command = ["python", "-c", "from alexnet_lab import params; params.load()"]
        subprocess.run(
            command, cwd=project, check=True, env=os.environ | {"DVC_ROOT": str(project)}
        )


# --- through DVC: minutes ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_and_commit(make_project(tmp_path_factory.mktemp("dvc") / "project"))


@pytest.fixture
def done(finished: Path) -> Iterator[Path]:
    """A project whose whole pipeline has run once, as it was committed."""
    head = git(finished, "rev-parse", "HEAD")
    yield finished
    git(finished, "reset", "--quiet", "--hard", head)
    git(finished, "clean", "-qfd")


def git(project: Path, *words: str) -> str:
    ran = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def said(title: str) -> set[str]:
    """The stages that the section says are rerun."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split(f"## {title}")[1].split("\n## ")[0]
    sentence = re.search(r"[Rr]eruns (`.*`)", text.replace("\n", " "))
    assert sentence
    return set(re.findall("`([a-z_]+(?:@[a-z_]+)?)`", sentence[1]))


def unchanged(project: Path) -> subprocess.CompletedProcess[str]:
    """`make unchanged`, with two epochs in place of twelve."""
    program = "from tools import unchanged as u; u.SMALL['epochs'] = 2; u.cli.run(u.main)"
    return call(project, "python", "-c", program)


@pytest.mark.slow
@pytest.mark.parametrize("title", ["Add a variant", "Add an exercise on known layers"])
def test_what_is_new_runs_alone(done: Path, title: str) -> None:
    apply(done, title)
    assert stages_run(call(done, "dvc", "repro")) == said(title)
    assert "ERROR" not in call(done, "dvc", "plots", "show", "--json").stderr


@pytest.mark.slow
def test_a_new_op_is_proved_to_move_no_number_and_trains_alone(done: Path) -> None:
    title = "Add an augmentation op"
    apply(done, title)
    proof = unchanged(done)
    assert "The same bytes from both" in proof.stdout, proof.stdout + proof.stderr
    assert stages_run(call(done, "dvc", "repro")) == said(title)


@pytest.mark.slow
def test_a_new_data_set_of_five_classes_trains(done: Path) -> None:
    arrays = {path.stem: np.load(path) for path in (done / "data/mnist").glob("*.npy")}
    for split in ("train", "test"):
        kept = arrays[f"{split}_labels"] < 5
        arrays |= {name: arrays[name][kept] for name in (f"{split}_images", f"{split}_labels")}
    write_sample(arrays, done / "data/sample/digits5")
    apply(done, "Add a data set")
    ran = stages_run(call(done, "dvc", "repro"))
    prepared = {"prepare@mnist", "prepare@cifar10", "prepare@digits5"}
    compared = {"compare_benchmark", *(f"compare@{exercise}" for exercise in EXERCISES)}
    shown = {"show_augmentation", "show_filters", "show@loss_and_rate", "show@layer_gradients"}
    assert ran == prepared | compared | shown | variants("activation") | {"report"}
    accuracy = pd.read_csv(done / "metrics/runs/activation/relu.csv")["test_accuracy"].item()
    assert accuracy > 60  # chance is 20


# --- make unchanged ---


@pytest.mark.slow
def test_a_comment_trains_nothing_and_a_moved_number_is_refused(done: Path) -> None:
    path = done / "src/alexnet_lab/learning/training.py"
    path.write_text(
        path.read_text().replace("layers = torch.empty(0)", "layers = torch.empty(0)  #")
    )
    proof = unchanged(done)
    assert "activation@relu: the same syntax trees as in HEAD" in proof.stdout, proof.stderr
    assert stages_run(call(done, "dvc", "repro")) == set()  # the epochs have their names
    commit(done)
    path.write_text(path.read_text().replace("loss * len(batch)", "loss * 2 * len(batch)"))
    proof = unchanged(done)
    assert proof.returncode == 1
    assert "This change moves numbers (metrics/runs/activation/relu.csv, " in proof.stderr
    commit(done)
    proof = unchanged(done)  # HEAD's code is not that of HEAD's results
    assert proof.returncode == 1
    assert "does not say which code made the results of activation@relu" in proof.stderr


@pytest.mark.slow
def test_a_change_of_params_is_left_to_dvc(done: Path) -> None:
    params = done / "params.yaml"
    params.write_text(params.read_text().replace("gamma: 0.95", "gamma: 0.9"))
    commit(done)
    proof = unchanged(done)
    assert "schedules@exponential: schedules.variants.exponential has changed" in proof.stdout
    assert "nothing to prove" in proof.stdout
