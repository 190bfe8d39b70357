"""An interrupted run gives what the uninterrupted one gives, bit for bit, and trusts no file."""

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
from alexnet_lab.learning import precision
from alexnet_lab.learning.training import Epoch, curves, timing, train
from alexnet_lab.learning.workers import Job, done_before, plan
from alexnet_lab.machine import checkpoint, cleanup
from alexnet_lab.machine.checkpoint import PACKAGE, Checkpoints, folder_of
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
    epochs = list(train(recipe, data, 0, *how, store))
    assert epochs[:after] == before  # the seconds too: they were not trained again
    return curves(epochs)


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
    data, store, lines = first(mnist), Checkpoints(tmp_path), []
    whole = curves(train(recipe, data, 0, "fp32"))
    list(islice(train(recipe, data, 0, "fp32", store), 3))
    damage(tmp_path / "epoch-000003.pt")
    state = store.load(lines.append)
    assert state is not None and len(state["epochs"]) == 2
    if damage is not Path.unlink:
        assert len(lines) == 1 and lines[0].endswith("is damaged: the one before is used.")
    assert curves(train(recipe, data, 0, "fp32", store)) == whole


@DAMAGE
def test_with_both_damaged_the_run_starts_over_and_says_so(
    damage: Callable[[Path], None], recipe: Recipe, mnist: Dataset, tmp_path: Path
) -> None:
    data, lines = first(mnist), []
    job = Job("activation relu", recipe, tmp_path, 2, "fp32", "a CPU", tmp_path)
    store = job.checkpoints_of(0)
    whole = curves(train(recipe, data, 0, "fp32", store))
    for path in store.folder.iterdir():
        damage(path)
    assert done_before(job, (0,), lines.append) == {0: 0}
    if damage is not Path.unlink:
        assert lines[-1].endswith("is damaged: the run starts over.")
    assert curves(train(recipe, data, 0, "fp32", store)) == whole
    assert [p.name for p in sorted(store.folder.iterdir())] == [
        "epoch-000003.pt",
        "epoch-000004.pt",
    ]


def test_a_file_that_cannot_be_read_is_not_called_damaged(
    recipe: Recipe, mnist: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure may pass, but a checkpoint that was deleted for it would not come back."""
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


def test_auto_goes_on_from_the_checkpoints_of_the_precision_that_it_means(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "mnist"
    data.mkdir()
    for key, array in read_sample(ROOT / "data/sample/mnist").items():
        np.save(data / f"{key}.npy", array)
    monkeypatch.setenv("ALEXNET_LAB_CHECKPOINTS", str(tmp_path / "checkpoints"))

    def begin(setting: str, capable: bool) -> Job:
        monkeypatch.setattr(precision, "has_bf16", lambda _: capable)
        changed = study.model_copy(update={"precision": setting})
        return plan(changed, "activation", "relu", data, print)

    for capable, meant, other in ((True, "bf16", "fp32"), (False, "fp32", "bf16")):
        assert begin("auto", capable) == begin(meant, capable)
        assert begin("auto", capable).checkpoints != begin(other, capable).checkpoints
    shutil.rmtree(data)
    with pytest.raises(UserError, match=r"dvc repro prepare"):
        begin("auto", capable=True)


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Checkpoints(tmp_path / "none").load() is None

    def forbidden(_: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        Checkpoints(tmp_path).load()


def test_the_rows_of_a_complete_run_stay_until_dvc_has_recorded_them(
    recipe: Recipe, mnist: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, folder, output = first(mnist), tmp_path / "of" / "relu", tmp_path / "timing.csv"
    store = Checkpoints(folder / "seed0")
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))

    def run() -> list[Epoch]:
        with checkpoint.exclusive(folder, print):
            epochs = list(train(recipe, data, 0, "fp32", store))
            write_csv(timing(epochs), output)
            checkpoint.finish(folder, output)
        return epochs

    monkeypatch.setenv("DVC_STAGE", "activation@relu")
    once = run()
    (row,) = store.folder.iterdir()  # no weights are kept
    assert row.stat().st_size < 10_000
    assert run() == once  # as if DVC had died before it recorded them
    (_, _, module, place, digest) = started[-1]
    assert (module, place) == ("alexnet_lab.machine.cleanup", str(folder))
    Path("dvc.lock").write_text("md5: 0123")
    cleanup.remove_when_recorded(folder, digest, patience=0.3)
    assert row.exists()
    Path("dvc.lock").write_text(f"md5: {hashlib.md5(output.read_bytes()).hexdigest()}")
    cleanup.remove_when_recorded(folder, digest, patience=0.3)
    assert list((tmp_path / "of").iterdir()) == []
    again = run()  # as if someone forced it
    assert curves(again) == curves(once) and again != once
    monkeypatch.delenv("DVC_STAGE")
    run()
    assert list((tmp_path / "of").iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from alexnet_lab.machine import checkpoint
with checkpoint.exclusive(Path(sys.argv[1]), print):
    print("held", flush=True)
    input()
    time.sleep(0.5)
    Path(sys.argv[2]).touch()
"""


def test_a_second_process_waits_for_the_one_that_trains_the_same_variant(tmp_path: Path) -> None:
    folder, done, lines = tmp_path / "of" / "relu", tmp_path / "done", list[str]()
    command = [sys.executable, "-c", HOLD, str(folder), str(done)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdin and other.stdout and other.stdout.readline() == "held\n"
        go_on = other.stdin

        def say(line: str) -> None:
            lines.append(line)
            go_on.write("go on\n")
            go_on.flush()
            assert not done.exists()

        with checkpoint.exclusive(folder, say):
            assert done.exists()
            assert checkpoint.lock_of(folder).exists()
    assert lines == [f"Another process is training the same variant ({folder}): waiting for it."]
    assert list(folder.parent.iterdir()) == []


def test_one_line_says_where_each_seed_goes_on(
    recipe: Recipe, mnist: Dataset, tmp_path: Path
) -> None:
    lines: list[str] = []
    job = Job("activation relu", recipe, tmp_path, 2, "fp32", "a CPU", tmp_path)
    list(islice(train(recipe, first(mnist), 1, "fp32", job.checkpoints_of(1)), 3))
    assert done_before(job, (0, 1, 2), lines.append) == {0: 0, 1: 3, 2: 0}
    assert lines == ["activation relu seed 1 goes on after epoch 3/4"]


class Gadget:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("dump", [torch.save, partial(pickle.dump, protocol=2)])
def test_a_pickle_in_a_checkpoint_never_runs(dump: Any, tmp_path: Path) -> None:
    mark, lines = tmp_path / "ran", []
    with (tmp_path / "gadget").open("wb") as file:
        dump({"epochs": Gadget(mark)}, file)
    content = (tmp_path / "gadget").read_bytes()
    signed = hashlib.sha256(content).digest() + content
    (tmp_path / "epoch-000001.pt").write_bytes(signed)
    assert Checkpoints(tmp_path).load(lines.append) is None
    assert "starts over" in lines[0] and not mark.exists()
    torch.load(tmp_path / "gadget", weights_only=False) if dump is torch.save else pickle.loads(
        content
    )
    assert mark.exists()  # this shows that the gadget is a real one


def test_another_recipe_data_or_code_is_another_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "train_images.npy", np.zeros(9))
    folders = [folder_of("activation relu", data, recipe, 1)]
    assert folder_of("activation relu", data, recipe, 1) == folders[0]
    folders.append(folder_of("activation tanh", data, recipe, 1))
    folders.append(folder_of("activation relu", data, recipe.model_copy(update={"lr": 0.2}), 1))
    folders.append(folder_of("activation relu", data, recipe, 2))
    np.save(data / "train_images.npy", np.ones(9))
    folders.append(folder_of("activation relu", data, recipe, 1))
    monkeypatch.setattr(checkpoint, "PACKAGE", shutil.copytree(PACKAGE, tmp_path / "code"))
    assert folder_of("activation relu", data, recipe, 1) == folders[-1]
    with (tmp_path / "code" / "learning" / "augment.py").open("a") as file:
        file.write("# other code\n")
    folders.append(folder_of("activation relu", data, recipe, 1))
    monkeypatch.setattr(torch, "__version__", "0.1")
    folders.append(folder_of("activation relu", data, recipe, 1))
    assert len(set(folders)) == len(folders) == 7


def test_a_temporary_experiment_finds_the_projects_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALEXNET_LAB_CHECKPOINTS", raising=False)
    inner = tmp_path / ".dvc" / "tmp" / "exps" / "abc123"
    inner.mkdir(parents=True)
    folders = []
    for place in (tmp_path, inner):
        monkeypatch.chdir(place)
        folders.append(folder_of("a b", inner, 1).resolve())
    assert folders[0] == folders[1] and folders[0].parent == tmp_path / ".checkpoints"
    monkeypatch.setenv("ALEXNET_LAB_CHECKPOINTS", "/else/where")
    assert folder_of("a b", inner, 1).parent == Path("/else/where")
