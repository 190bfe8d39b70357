"""The loop learns real images, repeats itself, and handles every kind of what a recipe names."""

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from torch import nn
from torch.nn import functional as F
from torchvision import transforms

from alexnet_lab import params
from alexnet_lab.data import datasets
from alexnet_lab.data.datasets import Dataset
from alexnet_lab.errors import UserError
from alexnet_lab.learning import training
from alexnet_lab.learning.augment import augment
from alexnet_lab.learning.models import Classifier, build
from alexnet_lab.learning.random_streams import stream, stream_seed
from alexnet_lab.learning.schedules import learning_rate
from alexnet_lab.learning.training import Learner, make_optimizer, train
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.machine.hardware import Hardware
from alexnet_lab.params import recipes
from alexnet_lab.params.fields import Strict
from alexnet_lab.params.recipes import Arithmetic, Recipe
from alexnet_lab.params.study import Study
from alexnet_lab.runs import stage
from alexnet_lab.runs.records import curves
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import train_runs, worker_count
from alexnet_lab.runs.trainer import carry_out
from tests.conftest import with_residual

VARIANTS = [
    ("activation", "relu"),
    ("activation", "tanh"),
    ("schedules", "warmup_cosine"),
    ("augmentation", "alexnet_style"),
    ("batchnorm", "with_bn"),
    ("batchnorm", "residual"),
]


@pytest.fixture
def study(raw: dict[str, Any]) -> Study:
    return with_residual(raw)


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    make_deterministic(threads=1)


def short(study: Study, exercise: str, variant: str, **changes: Any) -> Recipe:
    return study.recipe(exercise, variant).model_copy(update={"epochs": 2, **changes})


def first_images(data: Dataset) -> Dataset:
    return Dataset(
        data.train_images[:150],
        data.train_labels[:150],
        data.test_images[:50],
        data.test_labels[:50],
    )


def curve(
    recipe: Recipe, data: Dataset, seed: int = 0, precision: Arithmetic = "fp32"
) -> list[dict[str, Any]]:
    rows = [asdict(epoch) for epoch in train(recipe, data, seed, precision)]
    return [{key: row[key] for key in row if key != "seconds"} for row in rows]


@pytest.mark.parametrize(("exercise", "variant"), VARIANTS)
def test_the_same_seed_gives_the_same_curve(
    exercise: str, variant: str, study: Study, mnist: Dataset, cifar10: Dataset
) -> None:
    data = mnist if exercise == "activation" else cifar10
    few = first_images(data)
    recipe = short(study, exercise, variant)
    first = curve(recipe, few)
    assert first == curve(recipe, few)
    assert first != curve(recipe, few, seed=1)
    assert [row["epoch"] for row in first] == [1, 2]


def test_mnist_is_learnt_from_the_sample(study: Study, mnist: Dataset) -> None:
    last = curve(short(study, "activation", "relu", epochs=5), mnist)[-1]
    assert last["test_accuracy"] > 80  # chance is 10


def test_cifar10_is_learnt_from_the_sample(study: Study, cifar10: Dataset) -> None:
    last = curve(short(study, "batchnorm", "with_bn", batch_size=64), cifar10)[-1]
    assert last["test_accuracy"] > 30  # chance is 10; 500 images, so ± 2 by chance
    assert last["train_loss"] < 1.8  # chance is 2.3


def test_the_loop_is_a_plain_loop(study: Study, cifar10: Dataset) -> None:
    """Losses of an epoch equal those of a loop written out, fed the same batches."""
    recipe = short(study, "schedules", "constant", lr=0.01, batch_size=64)
    data = first_images(cifar10)
    epoch = next(iter(train(recipe, data, 3, "fp32")))
    network = build(recipe.model, data.image_shape, 10, seed=3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    order = torch.randperm(150, generator=stream(3, "order"))
    torch.manual_seed(stream_seed(3, "dropout"))
    losses, norms = [], []
    for start in range(0, 150, 64):
        batch = order[start : start + 64]
        images = (data.train_images[batch] / 255 - 0.5) / 0.5
        loss = F.cross_entropy(network.train()(images), data.train_labels[batch])
        optimizer.zero_grad()
        loss.backward()
        norms.append(network.features[0].weight.grad.norm().item())
        optimizer.step()
        losses += [loss.item()] * len(batch)
    assert epoch.train_loss == pytest.approx(np.mean(losses), abs=1e-4)
    assert epoch.gradient_norm == pytest.approx(np.mean(norms), rel=1e-3)
    logits = network.eval()((data.test_images / 255 - 0.5) / 0.5)
    expected = F.cross_entropy(logits, data.test_labels).item()
    assert epoch.test_loss == pytest.approx(expected, abs=1e-4)
    correct = (logits.argmax(1) == data.test_labels).float().mean().item()
    assert epoch.test_accuracy == pytest.approx(100 * correct, abs=1e-3)


def test_clean_training_loss_is_without_dropout_and_augmentation(
    study: Study, cifar10: Dataset
) -> None:
    recipe = short(study, "augmentation", "alexnet_style")
    last = list(train(recipe, first_images(cifar10), 0, "fp32"))[-1]
    assert last.train_loss_clean is not None and last.train_loss_clean < last.train_loss
    plain = short(study, "schedules", "constant", epochs=1)
    assert next(iter(train(plain, first_images(cifar10), 0, "fp32"))).train_loss_clean is None


def test_training_accuracy_is_measured_with_the_clean_loss(study: Study, mnist: Dataset) -> None:
    recipe = short(study, "activation", "relu", clean_train_loss=True, epochs=3)
    last = list(train(recipe, mnist, 0, "fp32"))[-1]
    assert last.train_accuracy is not None and last.train_accuracy > last.test_accuracy > 70
    plain = recipe.model_copy(update={"clean_train_loss": False, "epochs": 1})
    assert next(iter(train(plain, mnist, 0, "fp32"))).train_accuracy is None


def test_held_back_images_are_measured_and_never_trained_on(study: Study, few: Path) -> None:
    whole, parted = datasets.load(few / "mnist"), datasets.load(few / "mnist", 30)
    assert parted.held_images is not None and parted.held_labels is not None
    assert (len(parted.train_images), len(parted.held_images)) == (120, 30)
    assert torch.equal(parted.held_images, whole.train_images[::5])  # evenly spread
    assert sorted(torch.cat([parted.train_labels, parted.held_labels])) == sorted(
        whole.train_labels
    )
    recipe = short(study, "activation", "relu", epochs=1)
    kept = next(iter(train(recipe, parted.to(torch.device("cpu")), 0, "fp32")))
    alone = replace(parted, held_images=None, held_labels=None).to(torch.device("cpu"))
    without = next(iter(train(recipe, alone, 0, "fp32")))
    assert kept.held_back_accuracy is not None and without.held_back_accuracy is None
    assert replace(kept, held_back_accuracy=None, seconds=0.0) == replace(without, seconds=0.0)
    with pytest.raises(UserError, match=r"data\.held_back is 150, but mnist has only 150"):
        datasets.load(few / "mnist", 150)


def test_the_rate_that_is_written_is_the_rate_that_was_used(study: Study, mnist: Dataset) -> None:
    recipe = short(
        study,
        "schedules",
        "warmup_cosine",
        normalize=study.recipe("activation", "relu").normalize,
        epochs=3,
    )
    assert [row["lr"] for row in curve(recipe, first_images(mnist))] == pytest.approx(
        [0.02, 0.04, 0.06]
    )


def test_a_run_that_diverges_goes_on_to_its_end(study: Study, cifar10: Dataset) -> None:
    rows = curve(short(study, "schedules", "constant", lr=1e6), first_images(cifar10))
    assert len(rows) == 2 and not np.isfinite(rows[-1]["train_loss"])


def test_normalisation_is_per_channel(study: Study, cifar10: Dataset) -> None:
    equal = study.recipe("schedules", "step").normalize
    unequal = equal.model_copy(update={"mean": (0.0, 0.5, 1.0), "std": (1.0, 0.5, 2.0)})
    for normalize in (equal, unequal):
        tensor = transforms.Normalize(normalize.mean, normalize.std)
        expected = tensor(cifar10.test_images[:8] / 255)
        ours = Classifier(nn.Identity(), normalize, "fp32")(cifar10.test_images[:8])
        assert torch.allclose(ours, expected, atol=1e-6)
    wrong = short(study, "activation", "relu")
    with pytest.raises(UserError, match=r"train\.normalize needs 3"):
        next(iter(train(wrong, cifar10, 0, "fp32")))


def test_a_batch_of_one_image_has_no_statistics(study: Study, cifar10: Dataset) -> None:
    recipe = short(study, "batchnorm", "with_bn", batch_size=1999)
    with pytest.raises(UserError, match="batch_size 1999 leaves a batch of one image"):
        next(iter(train(recipe, cifar10, 0, "fp32")))


def test_evaluation_does_not_change_the_network(study: Study, cifar10: Dataset) -> None:
    data = first_images(cifar10)
    learner = Learner(short(study, "batchnorm", "with_bn"), data, 0, "fp32")
    learner.train_epoch()
    before = {name: value.clone() for name, value in learner.classifier.state_dict().items()}
    learner.evaluate(data.test_images, data.test_labels)
    for name, value in learner.classifier.state_dict().items():
        assert torch.equal(before[name], value), name


# --- every kind that a recipe can name is handled ---

CANDIDATES = (3, 0.5, True, (8,), ({"channels": 8, "kernel": 3, "pool": True},))


def kinds(union: Any) -> list[type[Strict]]:
    """The classes of an annotated union of params/recipes.py."""
    return list(get_args(get_args(union)[0]))


def example(kind: type[Strict]) -> Any:
    """An instance whose fields each have the first candidate that is valid there."""
    fields = kind.model_fields.items()
    return kind.model_validate({name: first_valid(field) for name, field in fields})


def first_valid(field: FieldInfo) -> Any:
    words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    for value in (*words, *CANDIDATES):
        with suppress(ValidationError):
            TypeAdapter(Annotated[field.annotation, field]).validate_python(value)
            return value
    raise AssertionError(f"add a candidate for {field}")


@pytest.mark.parametrize("kind", kinds(recipes.Op))
def test_every_op_is_applied(kind: type[Strict], cifar10: Dataset) -> None:
    op, images = example(kind), cifar10.train_images[:50]
    augmented = augment(images, [op], stream(0, "augment"))
    assert augmented.shape == images.shape and augmented.dtype == torch.uint8
    assert not torch.equal(augmented, images)


@pytest.mark.parametrize(
    ("recipe", "own"),
    [
        (recipes.Sgd(kind="sgd", momentum=0.9, weight_decay=0.01), torch.optim.SGD),
        (recipes.Adam(kind="adam"), torch.optim.Adam),
    ],
)
def test_the_optimiser_is_torchs_own_but_for_its_compiler(
    recipe: recipes.Optimizer, own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits, also after a state is taken up again; importing the compiler would fail."""

    def trained(make: Callable[[nn.Module], torch.optim.Optimizer]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = nn.Linear(5, 3)
        optimizer = make(network)
        for step in range(4):
            if step == 2:
                state, optimizer = optimizer.state_dict(), make(network)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            network(torch.randn(8, 5)).square().sum().backward()
            optimizer.step()
        return [parameter.detach() for parameter in network.parameters()]

    constants = recipe.model_dump(exclude={"kind"})
    theirs = trained(lambda network: own(network.parameters(), 0.1, fused=True, **constants))
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    ours = trained(lambda network: make_optimizer(recipe, network, 0.1))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", kinds(recipes.Optimizer))
def test_every_optimizer_moves_the_weights(kind: type[Strict]) -> None:
    network = nn.Linear(4, 2)
    before = network.weight.clone()
    optimizer = make_optimizer(example(kind), network, 0.1)
    network(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert not torch.equal(network.weight, before)


@pytest.mark.parametrize("kind", kinds(recipes.Model))
def test_every_model_gives_one_logit_per_class(kind: type[Strict]) -> None:
    network = build(example(kind), (3, 32, 32), classes=7, seed=0)
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("kind", kinds(recipes.Schedule))
def test_every_schedule_gives_a_rate(kind: type[Strict]) -> None:
    rates = [learning_rate(example(kind), 0.1, epoch, 10) for epoch in range(10)]
    assert all(0 < rate < np.inf for rate in rates)


# --- one variant's seeds, in processes of their own ---


def runs_of(site: Site, precision: Arithmetic = "bf16", **changes: Any) -> tuple[Site, list[Run]]:
    """Two seeds of `activation tanh` for two epochs."""
    study = site.study.model_copy(update={"seeds": (0, 1), "epochs": 2, **changes})
    site = replace(site, study=study)
    return site, site.runs("activation", "tanh", precision)


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes side by side give what one loop gives, seed by seed."""
    monkeypatch.setenv("ALEXNET_LAB_WORKERS", "2")
    site, runs = runs_of(site, threads=2)
    results = list(train_runs(site, "activation", "tanh", runs))
    assert [trained for _, trained in results] == [True] * 4
    rows = curves(sorted(record for record, _ in results))
    data = datasets.load(runs[0].data)
    assert rows == [row for run in runs for row in curve(run.recipe, data, run.seed, "bf16")]


def test_an_error_while_training_reaches_the_caller(site: Site, tmp_path: Path) -> None:
    site, (run, _) = runs_of(site)
    with pytest.raises(UserError, match=r"train_images\.npy cannot be read"):
        list(carry_out(replace(run, data=tmp_path), site.store, frozenset()))


def test_a_model_that_memory_cannot_hold_names_the_key_to_lower(
    raw: dict[str, Any], site: Site
) -> None:
    """Three terabytes of weights are refused by the allocator itself, for real."""
    raw["activation"]["train"]["model"]["hidden"] = [10**9]
    site = replace(site, study=params.parse(raw))
    with pytest.raises(UserError, match="does not fit in memory: lower batch_size"):
        list(carry_out(site.runs("activation", "tanh", "fp32")[0], site.store, frozenset()))
    site = replace(site, hardware=Hardware("cpu", "a CPU", bf16=True))
    with pytest.raises(UserError, match="does not fit in memory: lower batch_size"):
        site.precision("activation", "tanh", print)


@pytest.mark.parametrize("workers", ["0", "-1", "many", "1.5"])
def test_a_wrong_worker_count_is_named(workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_LAB_WORKERS", workers)
    with pytest.raises(UserError, match="ALEXNET_LAB_WORKERS"):
        worker_count(1, Hardware("cpu", "a CPU", bf16=False))


def test_each_worker_has_its_threads_and_a_gpu_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = Hardware("cpu", "a CPU", bf16=False), Hardware("cuda", "a GPU", bf16=True)
    monkeypatch.setattr(stage, "core_count", lambda: 8)
    assert [worker_count(threads, cpu) for threads in (1, 3, 99)] == [8, 2, 1]
    assert worker_count(1, gpu) == 1
    monkeypatch.setenv("ALEXNET_LAB_WORKERS", "5")
    assert worker_count(3, cpu) == worker_count(3, gpu) == 5


def test_an_array_that_is_a_pickle_is_refused(few: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(few / "mnist", tmp_path / "mnist")
    np.save(folder / "train_images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"train_images\.npy cannot be read"):
        datasets.load(folder)


@pytest.mark.gpu
def test_the_gpu_repeats_itself_and_agrees_with_the_cpu(study: Study, cifar10: Dataset) -> None:
    recipe = short(study, "batchnorm", "with_bn")
    on_gpu = cifar10.to(torch.device("cuda"))
    first = curve(recipe, on_gpu)
    assert first == curve(recipe, on_gpu)
    assert first[0]["train_loss"] == pytest.approx(curve(recipe, cifar10)[0]["train_loss"], abs=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("exercise", "variant"), VARIANTS)
def test_a_recorded_step_computes_the_bits_of_the_step(
    exercise: str,
    variant: str,
    precision: Arithmetic,
    study: Study,
    mnist: Dataset,
    cifar10: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = (mnist if exercise == "activation" else cifar10).to(torch.device("cuda"))
    schedule = recipes.Exponential(kind="exponential", gamma=0.5)  # recorded in each epoch anew
    recipe = short(study, exercise, variant, epochs=2, schedule=schedule)
    replayed = curve(recipe, data, precision=precision)
    monkeypatch.setattr(training, "Replay", lambda step, batch_size: step)
    assert curve(recipe, data, precision=precision) == replayed
