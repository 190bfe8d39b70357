"""An interrupted run ends as the uninterrupted one, bit for bit, and never trusts a file."""

import hashlib
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexnet_lab import checkpoint
from alexnet_lab.checkpoint import Checkpoints, folder_of
from alexnet_lab.datasets import Dataset
from alexnet_lab.devices import make_deterministic
from alexnet_lab.params import Arithmetic, Recipe, Study
from alexnet_lab.training import curves, train
from alexnet_lab.workers import Job, restore

CPU = torch.device("cpu")
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
    before = curves(islice(train(recipe, data, 0, *how, store), after))
    return before + curves(train(recipe, data, 0, *how, store))


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
    state = store.load(CPU, said.append)
    assert state is not None and len(state["epochs"]) == 2
    if damage is not Path.unlink:
        assert len(said) == 1 and said[0].endswith("is damaged: the one before is used.")
    assert curves(train(recipe, data, 0, "fp32", store)) == whole[2:]


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
    assert restore(job, (0,), said.append) == []
    if damage is not Path.unlink:
        assert said[-1].endswith("is damaged: the run starts over.")
    assert curves(train(recipe, data, 0, "fp32", store)) == whole
    assert [p.name for p in sorted(store.folder.iterdir())] == [
        "epoch-000003.pt",
        "epoch-000004.pt",
    ]


def test_where_each_seed_goes_on_is_said_in_one_line(
    recipe: Recipe, mnist: Dataset, tmp_path: Path
) -> None:
    said: list[str] = []
    job = Job("activation relu", recipe, tmp_path, 2, "fp32", "a CPU", tmp_path)
    done = list(islice(train(recipe, first(mnist), 1, "fp32", job.checkpoints_of(1)), 3))
    assert restore(job, (0, 1, 2), said.append) == done
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
    assert Checkpoints(tmp_path).load(CPU, said.append) is None
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
