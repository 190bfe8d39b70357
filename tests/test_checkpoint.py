"""An interrupted run ends as the uninterrupted one, bit for bit, and never trusts a file."""

import hashlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.data.sample import read_sample
from alexnet_lab.errors import UserError
from alexnet_lab.learning import workers
from alexnet_lab.learning.training import Epoch, curves, timing, train
from alexnet_lab.learning.workers import Job, done_before, plan
from alexnet_lab.machine import checkpoint, cleanup
from alexnet_lab.machine.checkpoint import Checkpoints, folder_of
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.machine.files import write_csv
from alexnet_lab.params.recipes import Arithmetic, Recipe
from alexnet_lab.params.study import Study

ROOT = Path(__file__).parent.parent
EPOCHS = 4


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    make_deterministic(threads=2)


@pytest.fixture
def recipe(study: Study) -> Recipe:
    return study.recipe("activation", "relu").model_copy(update={"epochs": EPOCHS})


def first(data: Dataset) -> Dataset:
    parts = (data.train_images[:150], data.train_labels[:150])
    return Dataset(*parts, data.test_images[:50], data.test_labels[:50])


def interrupted(recipe: Recipe, data: Dataset, store: Checkpoints, after: int, *how: Any) -> Any:
    """The curve of a run that is left after some epochs and begun again."""
    before = list(islice(train(recipe, data, 0, *how, store), after))
    found = list(train(recipe, data, 0, *how, store))
    assert found[:after] == before  # the seconds too: they were not trained again
    return curves(found)


@pytest.mark.parametrize(
    ("exercise", "variant", "precision"),
    [
        ("activation", "relu", "fp32"),
        ("schedules", "warmup_cosine", "bf16"),
        ("augmentation", "alexnet_style", "fp32"),
        ("batchnorm", "with_bn", "bf16"),
    ],
)
def test_a_run_goes_on_to_the_same_bits(
    exercise: str,
    variant: str,
    precision: Arithmetic,
    study: Study,
    mnist: Dataset,
    cifar10: Dataset,
    tmp_path: Path,
) -> None:
    data = first(mnist if exercise == "activation" else cifar10)
    recipe = study.recipe(exercise, variant).model_copy(update={"epochs": EPOCHS})
    whole = curves(train(recipe, data, 0, precision))
    for after in (1, EPOCHS - 1, EPOCHS):
        store = Checkpoints(tmp_path / str(after))
        assert interrupted(recipe, data, store, after, precision) == whole


def test_the_last_two_are_kept(recipe: Recipe, mnist: Dataset, tmp_path: Path) -> None:
    list(train(recipe, first(mnist), 0, "fp32", Checkpoints(tmp_path)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-000003.pt", "epoch-000004.pt"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE = pytest.mark.parametrize("damage", [flip, cut, empty, Path.unlink])


@DAMAGE
def test_a_damaged_newest_gives_way_to_the_one_before(
    damage: Callable[[Path], None], recipe: Recipe, mnist: Dataset, tmp_path: Path
) -> None:
    data, store, said = first(mnist), Checkpoints(tmp_path), []
    whole = curves(train(recipe, data, 0, "fp32"))
    list(islice(train(recipe, data, 0, "fp32", store), 3))
    damage(tmp_path / "epoch-000003.pt")
    state = store.load(said.append)
    assert state is not None and len(state["epochs"]) == 2
    if damage is not Path.unlink:
        assert len(said) == 1 and said[0].endswith("is damaged: the one before is used.")
    assert curves(train(recipe, data, 0, "fp32", store)) == whole


@DAMAGE
def test_with_both_damaged_the_run_starts_over_and_says_so(
    damage: Callable[[Path], None], recipe: Recipe, mnist: Dataset, tmp_path: Path
) -> None:
    data, said = first(mnist), []
    job = Job("activation relu", recipe, tmp_path, 2, "fp32", "a CPU", tmp_path)
    store = job.checkpoints_of(0)
    whole = curves(train(recipe, data, 0, "fp32", store))
    for path in store.folder.iterdir():
        damage(path)
    assert done_before(job, (0,), said.append) == {0: 0}
    if damage is not Path.unlink:
        assert said[-1].endswith("is damaged: the run starts over.")
    assert curves(train(recipe, data, 0, "fp32", store)) == whole
    assert [p.name for p in sorted(store.folder.iterdir())] == [
        "epoch-000003.pt",
        "epoch-000004.pt",
    ]


def test_what_cannot_be_read_is_no_damage(
    recipe: Recipe, mnist: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk's or the memory's failure passes; a checkpoint deleted for it would not come back."""
    job = Job("activation relu", recipe, tmp_path, 2, "fp32", "a CPU", tmp_path)
    store = job.checkpoints_of(0)
    list(islice(train(recipe, first(mnist), 0, "fp32", store), 2))
    before = sorted(store.folder.iterdir())

    def broken(*_: Any, **__: Any) -> bytes:
        raise OSError(5, "Input/output error")

    def full(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", broken)
        with pytest.raises(UserError, match=r"epoch-000002\.pt cannot be read: Input/output error"):
            store.load()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", full)
        with pytest.raises(UserError, match="does not fit in memory"):
            done_before(job, (0,), print)
    assert sorted(store.folder.iterdir()) == before


def test_an_interrupted_run_keeps_the_precision_that_auto_found(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a trial by the clock, which may fall otherwise the second time."""
    data = tmp_path / "mnist"
    data.mkdir()
    for key, array in read_sample(ROOT / "data/sample/mnist").items():
        np.save(data / f"{key}.npy", array)
    monkeypatch.setenv("ALEXNET_LAB_CHECKPOINTS", str(tmp_path / "checkpoints"))

    def begin(asked: str, found: str, variant: str = "relu") -> Job:
        monkeypatch.setattr(workers, "choose", lambda *_: found)
        changed = study.model_copy(update={"precision": asked})
        job = plan(changed, "activation", variant, data, print)
        job.checkpoints.mkdir(parents=True, exist_ok=True)
        return job

    assert begin("fp32", "fp32").precision == "fp32"
    assert begin("auto", "bf16").precision == "bf16"  # what was asked for before is not a finding
    assert begin("auto", "fp32").precision == "bf16"
    assert begin("auto", "fp32", "tanh").precision == "fp32"
    shutil.rmtree(data)
    with pytest.raises(UserError, match=r"dvc repro prepare"):
        begin("auto", "fp32")


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Checkpoints(tmp_path / "none").load() is None

    def forbidden(_: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        Checkpoints(tmp_path).load()


def test_the_rows_of_a_complete_run_stay_until_dvc_has_noted_them(
    recipe: Recipe, mnist: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, folder, output = first(mnist), tmp_path / "of" / "relu", tmp_path / "timing.csv"
    store = Checkpoints(folder / "seed0")
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))

    def run() -> list[Epoch]:
        with checkpoint.alone(folder, print):
            epochs = list(train(recipe, data, 0, "fp32", store))
            write_csv(timing(epochs), output)
            checkpoint.close(folder, output)
        return epochs

    monkeypatch.setenv("DVC_STAGE", "activation@relu")
    once = run()
    (row,) = store.folder.iterdir()  # no weights are kept
    assert row.stat().st_size < 10_000
    assert run() == once  # so DVC died before it noted them
    (_, _, module, place, digest) = started[-1]
    assert (module, place) == ("alexnet_lab.machine.cleanup", str(folder))
    Path("dvc.lock").write_text("md5: 0123")
    cleanup.remove_when_noted(folder, digest, patience=0.3)
    assert row.exists()
    Path("dvc.lock").write_text(f"md5: {hashlib.md5(output.read_bytes()).hexdigest()}")
    cleanup.remove_when_noted(folder, digest, patience=0.3)
    assert list((tmp_path / "of").iterdir()) == []
    again = run()  # so someone forces it
    assert curves(again) == curves(once) and again != once
    monkeypatch.delenv("DVC_STAGE")
    run()
    assert list((tmp_path / "of").iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from alexnet_lab.machine import checkpoint
with checkpoint.alone(Path(sys.argv[1]), print):
    print("held", flush=True)
    input()
    time.sleep(0.5)
    Path(sys.argv[2]).touch()
"""


def test_who_trains_the_same_waits(tmp_path: Path) -> None:
    folder, done, said = tmp_path / "of" / "relu", tmp_path / "done", list[str]()
    command = [sys.executable, "-c", HOLD, str(folder), str(done)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdin and other.stdout and other.stdout.readline() == "held\n"
        go_on = other.stdin

        def say(line: str) -> None:
            said.append(line)
            go_on.write("go on\n")
            go_on.flush()
            assert not done.exists()

        with checkpoint.alone(folder, say):
            assert done.exists()
            assert checkpoint.lock_of(folder).exists()
    assert said == [f"Waiting for the process that trains the same ({folder})"]
    assert list(folder.parent.iterdir()) == []


def test_where_each_seed_goes_on_is_said_in_one_line(
    recipe: Recipe, mnist: Dataset, tmp_path: Path
) -> None:
    said: list[str] = []
    job = Job("activation relu", recipe, tmp_path, 2, "fp32", "a CPU", tmp_path)
    list(islice(train(recipe, first(mnist), 1, "fp32", job.checkpoints_of(1)), 3))
    assert done_before(job, (0, 1, 2), said.append) == {0: 0, 1: 3, 2: 0}
    assert said == ["activation relu seed 1 goes on after epoch 3/4"]


class Gadget:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("dump", [torch.save, partial(pickle.dump, protocol=2)])
def test_a_pickle_in_a_checkpoint_never_runs(dump: Any, tmp_path: Path) -> None:
    mark, said = tmp_path / "ran", []
    with (tmp_path / "gadget").open("wb") as file:
        dump({"epochs": Gadget(mark)}, file)
    content = (tmp_path / "gadget").read_bytes()
    signed = hashlib.sha256(content).digest() + content
    (tmp_path / "epoch-000001.pt").write_bytes(signed)
    assert Checkpoints(tmp_path).load(said.append) is None
    assert "starts over" in said[0] and not mark.exists()
    torch.load(tmp_path / "gadget", weights_only=False) if dump is torch.save else pickle.loads(
        content
    )
    assert mark.exists()  # so the gadget was a real one


def test_another_recipe_data_or_code_is_another_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "train_images.npy", np.zeros(9))
    found = [folder_of("activation relu", data, recipe, 1)]
    assert folder_of("activation relu", data, recipe, 1) == found[0]
    found.append(folder_of("activation tanh", data, recipe, 1))
    found.append(folder_of("activation relu", data, recipe.model_copy(update={"lr": 0.2}), 1))
    found.append(folder_of("activation relu", data, recipe, 2))
    np.save(data / "train_images.npy", np.ones(9))
    found.append(folder_of("activation relu", data, recipe, 1))
    shutil.copytree(Path(checkpoint.__file__).parent, tmp_path / "code")
    with (tmp_path / "code" / "augment.py").open("a") as file:
        file.write("# another code\n")
    monkeypatch.setattr(checkpoint, "__file__", str(tmp_path / "code" / "checkpoint.py"))
    found.append(folder_of("activation relu", data, recipe, 1))
    monkeypatch.setattr(torch, "__version__", "0.1")
    found.append(folder_of("activation relu", data, recipe, 1))
    assert len(set(found)) == len(found) == 7


def test_a_temporary_experiment_finds_the_projects_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALEXNET_LAB_CHECKPOINTS", raising=False)
    inner = tmp_path / ".dvc" / "tmp" / "exps" / "abc123"
    inner.mkdir(parents=True)
    found = []
    for folder in (tmp_path, inner):
        monkeypatch.chdir(folder)
        found.append(folder_of("a b", inner, 1).resolve())
    assert found[0] == found[1] and found[0].parent == tmp_path / ".checkpoints"
    monkeypatch.setenv("ALEXNET_LAB_CHECKPOINTS", "/else/where")
    assert folder_of("a b", inner, 1).parent == Path("/else/where")
