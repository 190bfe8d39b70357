"""One training run, in plain sight: the loop that every exercise's variants go through.

The data set stays on the device as uint8; a batch is an index into it, augmented and normalised
there. benchmarks/README.md says what makes it fast, and what did not.
"""

import io
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.errors import UserError
from alexnet_lab.learning.augment import augment
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.learning.models import Classifier, build
from alexnet_lab.learning.random_streams import stream, stream_seed
from alexnet_lab.learning.schedules import learning_rate
from alexnet_lab.machine.devices import synchronize
from alexnet_lab.params import recipes
from alexnet_lab.params.recipes import Arithmetic, Optimizer, Recipe

TEST_BATCH = 128  # images; small enough to stay in cache. It changes only the last bits of a result


class Learner:
    """A network in training, after ``done`` epochs, on the device that ``data`` is on.

    UserError if the recipe does not fit the images.
    """

    def __init__(self, recipe: Recipe, data: Dataset, seed: int, precision: Arithmetic) -> None:
        check_fit(recipe, data)
        self.recipe, self.data, self.seed, self.done = recipe, data, seed, 0
        network = build(recipe.model, data.image_shape, data.classes, seed)
        self.classifier = Classifier(network, recipe.normalize, precision).to(data.device)
        self.optimizer = make_optimizer(recipe.optimizer, self.classifier, recipe.lr)

    def epoch(self) -> Epoch:
        """Train for one epoch and measure what it gave."""
        epoch = run_epoch(
            self.classifier, self.optimizer, self.recipe, self.data, self.seed, self.done
        )
        self.done += 1
        return epoch

    def state(self) -> bytes:
        """Weights, and what the optimiser remembers: all that the next epoch needs.

        Random streams are derived from the epoch's number and need not be kept.
        """
        buffer = io.BytesIO()  # torch.save to a file hides why a disk refuses
        parts = {
            "classifier": self.classifier.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(parts, buffer)
        return buffer.getvalue()

    def restore(self, state: bytes, done: int) -> None:
        """Go on from a state after ``done`` epochs. UnpicklingError if it is something else."""
        parts = torch.load(io.BytesIO(state), "cpu", weights_only=True)
        self.classifier.load_state_dict(parts["classifier"])
        self.optimizer.load_state_dict(parts["optimizer"])
        self.done = done


def train(recipe: Recipe, data: Dataset, seed: int, precision: Arithmetic) -> Iterator[Epoch]:
    """Train one network from nothing, on the device that ``data`` is on, epoch by epoch.

    UserError if the recipe does not fit the images.
    """
    learner = Learner(recipe, data, seed, precision)
    while learner.done < recipe.epochs:
        yield learner.epoch()


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
    clean_loss = train_accuracy = held_back = None
    if recipe.clean_train_loss:
        clean_loss, train_accuracy = evaluate(classifier, data.train_images, data.train_labels)
    if data.held_images is not None and data.held_labels is not None:
        _, held_back = evaluate(classifier, data.held_images, data.held_labels)
    test_loss, accuracy = evaluate(classifier, data.test_images, data.test_labels)
    return Epoch(
        seed,
        epoch + 1,
        lr,
        train_loss,
        clean_loss,
        test_loss,
        accuracy,
        gradient_norm,
        seconds,
        train_accuracy,
        held_back,
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
