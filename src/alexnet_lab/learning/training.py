"""One training run, in plain sight: the loop that every exercise's variants go through.

The data set stays on the device as uint8; a batch is an index into it, augmented and normalised
there. Losses are means over images, accuracy is in percent, seconds cover the training pass
alone. benchmarks/README.md says what makes it fast, and what did not.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.errors import UserError
from alexnet_lab.learning.augment import augment
from alexnet_lab.learning.models import Classifier, build
from alexnet_lab.learning.random_streams import stream, stream_seed
from alexnet_lab.learning.schedules import learning_rate
from alexnet_lab.machine.checkpoint import Checkpoints
from alexnet_lab.machine.devices import synchronize
from alexnet_lab.params import recipes
from alexnet_lab.params.recipes import Arithmetic, Optimizer, Recipe

TEST_BATCH = 128  # images; small enough to stay in cache. It changes only the last bits of a result


@dataclass(frozen=True, order=True)
class Epoch:
    """What one epoch (from 1) of one seed's run gave: a row of the curves."""

    seed: int
    epoch: int
    lr: float
    train_loss: float  # while learning: dropout and augmentation on
    train_loss_clean: float | None  # after the epoch: both off, as for test_loss
    test_loss: float
    test_accuracy: float  # %
    gradient_norm: float  # of the first layer's weights, mean over the batches
    seconds: float


def curves(epochs: Iterable[Epoch]) -> list[dict[str, Any]]:
    """Rows of the numbers that are the same whenever the run is repeated."""
    return [{key: value for key, value in vars(e).items() if key != "seconds"} for e in epochs]


def timing(epochs: Iterable[Epoch], **where: str) -> list[dict[str, Any]]:
    """Rows of the seconds, which differ at every run, with ``where`` the run took place."""
    return [{"seed": e.seed, "epoch": e.epoch, "seconds": e.seconds, **where} for e in epochs]


def train(
    recipe: Recipe,
    data: Dataset,
    seed: int,
    precision: Arithmetic,
    checkpoints: Checkpoints | None = None,
) -> Iterator[Epoch]:
    """Train one network on the device that ``data`` is on, yielding each epoch once it is saved.

    The epochs that the checkpoints hold come first, at once. UserError if the recipe does not fit
    the images or a checkpoint cannot be read or written.
    """
    check_fit(recipe, data)
    state = checkpoints.load() if checkpoints else None
    done: list[dict[str, Any]] = state["epochs"] if state else []
    yield from (Epoch(**row) for row in done)
    if len(done) == recipe.epochs:
        return
    network = build(recipe.model, data.image_shape, data.classes, seed)
    classifier = Classifier(network, recipe.normalize, precision).to(data.device)
    optimizer = make_optimizer(recipe.optimizer, classifier, recipe.lr)
    if state:
        classifier.load_state_dict(state["classifier"])
        optimizer.load_state_dict(state["optimizer"])
    for number in range(len(done), recipe.epochs):
        epoch = run_epoch(classifier, optimizer, recipe, data, seed, number)
        done.append(asdict(epoch))
        if checkpoints:
            state = {"epochs": done}
            if len(done) < recipe.epochs:  # after the last epoch, no run needs the weights
                state["classifier"] = classifier.state_dict()
                state["optimizer"] = optimizer.state_dict()
            checkpoints.save(len(done), state)
        yield epoch


def run_epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    data: Dataset,
    seed: int,
    epoch: int,
) -> Epoch:
    """Train for one epoch (from 0) and measure what it gave."""
    lr = learning_rate(recipe.schedule, recipe.lr, epoch, recipe.epochs)
    for group in optimizer.param_groups:
        group["lr"] = lr
    start = time.perf_counter()
    train_loss, gradient_norm = train_epoch(classifier, optimizer, recipe, data, seed, epoch)
    synchronize(data.device)
    seconds = time.perf_counter() - start
    clean = None
    if recipe.clean_train_loss:
        clean, _ = evaluate(classifier, data.train_images, data.train_labels)
    test_loss, accuracy = evaluate(classifier, data.test_images, data.test_labels)
    return Epoch(
        seed, epoch + 1, lr, train_loss, clean, test_loss, accuracy, gradient_norm, seconds
    )


def train_epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    data: Dataset,
    seed: int,
    epoch: int,
) -> tuple[float, float]:
    """Pass once over the training images: mean loss, and mean gradient norm of the first layer."""
    device = data.device
    order = torch.randperm(len(data.train_images), generator=stream(seed, "order", epoch))
    augmentation = stream(seed, "augment", epoch)
    torch.manual_seed(stream_seed(seed, "dropout", epoch))  # dropout draws from torch's own stream
    losses, norms = [], []
    classifier.train()
    for batch in torch.split(order.to(device), recipe.batch_size):
        images = augment(data.train_images[batch], recipe.augment, augmentation)
        logits = classifier(images)
        loss = F.cross_entropy(logits, data.train_labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(loss.detach() * len(batch))
        norms.append(torch.linalg.vector_norm(classifier.first_weight.grad))
    # Read once per epoch: .item() in the loop would wait for the device each time.
    return float(torch.stack(losses).sum() / len(order)), float(torch.stack(norms).mean())


@torch.inference_mode()
def evaluate(classifier: Classifier, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Measure mean loss and accuracy (%) in evaluation mode, without augmentation."""
    classifier.eval()
    loss = correct = torch.zeros((), device=images.device)
    for batch, truth in zip(
        torch.split(images, TEST_BATCH), torch.split(labels, TEST_BATCH), strict=True
    ):
        logits = classifier(batch)
        loss = loss + F.cross_entropy(logits, truth, reduction="sum")
        correct = correct + (logits.argmax(1) == truth).sum()
    return float(loss / len(images)), float(100 * correct / len(images))


def make_optimizer(optimizer: Optimizer, network: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Make torch's own optimiser, which updates all parameters in one fused pass."""
    match optimizer:
        case recipes.Sgd(momentum=momentum):
            return torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, fused=True)
        case recipes.Adam():
            return torch.optim.Adam(network.parameters(), lr=lr, fused=True)


def check_fit(recipe: Recipe, data: Dataset) -> None:
    """Raise a UserError if the recipe and the images do not go together."""
    channels, scale = data.image_shape[0], recipe.normalize
    if not len(scale.mean) == len(scale.std) == channels:
        raise UserError(
            f"params.yaml: train.normalize needs {channels} means and stds, one per channel of "
            f"the images, not {len(scale.mean)} and {len(scale.std)}."
        )
    last_batch = len(data.train_images) % recipe.batch_size or recipe.batch_size
    if isinstance(recipe.model, recipes.Cnn) and recipe.model.batch_norm and last_batch == 1:
        raise UserError(
            f"params.yaml: batch_size {recipe.batch_size} leaves a batch of one image, which has "
            "no statistics for batch_norm; choose another."
        )
