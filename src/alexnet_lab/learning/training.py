"""One training run, in plain sight: the loop that every exercise's variants go through.

The data set stays on the device as uint8; a batch is an index into it, augmented and normalised
there. benchmarks/README.md says what makes it fast, and what did not.
"""

import inspect
import io
import time
from collections.abc import Iterator
from typing import TypeVar, cast

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
from alexnet_lab.learning.steps import Replay, Step
from alexnet_lab.machine.devices import synchronize
from alexnet_lab.params import recipes
from alexnet_lab.params.recipes import Arithmetic, Optimizer, Recipe

# Images per batch of a test: what stays in a CPU's cache, what keeps a GPU busy. It changes only
# the last bits of a result.
TEST_BATCH = {"cpu": 128, "cuda": 2000}
Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


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
        self.step = Step(self.classifier, self.optimizer, recipe.label_smoothing)
        on_gpu = data.device.type == "cuda"
        self.replay = Replay(self.step, recipe.batch_size) if on_gpu else self.step

    def epoch(self) -> Epoch:
        """Train for one epoch and measure what it gave."""
        recipe, data, epoch = self.recipe, self.data, self.done
        lr = learning_rate(recipe.schedule, recipe.lr, epoch, recipe.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        start = time.perf_counter()
        train_loss, gradient_norm, layer_gradients = self.train_epoch()
        synchronize(data.device)
        seconds = time.perf_counter() - start
        clean_loss = train_accuracy = held_back = None
        if recipe.clean_train_loss:
            clean_loss, train_accuracy = self.evaluate(data.train_images, data.train_labels)
        if data.held_images is not None and data.held_labels is not None:
            _, held_back = self.evaluate(data.held_images, data.held_labels)
        test_loss, accuracy = self.evaluate(data.test_images, data.test_labels)
        self.done += 1
        return Epoch(
            self.seed,
            self.done,
            lr,
            train_loss,
            clean_loss,
            test_loss,
            accuracy,
            gradient_norm,
            seconds,
            train_accuracy,
            held_back,
            layer_gradients,
        )

    def train_epoch(self) -> tuple[float, float, str]:
        """Pass once over the training images.

        Returns the mean loss, the mean gradient norm of the first layer, and the norms of all
        layers in the first batch.
        """
        data, recipe, seed = self.data, self.recipe, self.seed
        order = torch.randperm(len(data.train_images), generator=stream(seed, "order", self.done))
        augmentation = stream(seed, "augment", self.done)
        # Dropout draws from torch's own stream.
        torch.manual_seed(stream_seed(seed, "dropout", self.done))
        losses: list[Tensor] = []
        norms: list[Tensor] = []
        layers = torch.empty(0)
        self.classifier.train()
        for batch in torch.split(order.to(data.device), recipe.batch_size):
            images = augment(data.train_images[batch], recipe.augment, augmentation)
            take = self.replay if losses else self.step
            loss, norm = take(images, data.train_labels[batch])
            if not losses:
                layers = layer_norms(self.classifier)
            losses.append(loss * len(batch))
            norms.append(norm)
        # Read once per epoch: .item() in the loop would wait for the device each time.
        mean_loss = float(torch.stack(losses).sum() / len(order))
        each = " ".join(f"{norm:.4g}" for norm in layers.tolist())
        return mean_loss, float(torch.stack(norms).mean()), each

    @torch.inference_mode()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Measure mean loss and accuracy (%) in evaluation mode, without augmentation."""
        self.classifier.eval()
        loss = correct = torch.zeros((), device=images.device)
        size = TEST_BATCH[images.device.type]
        for batch, truth in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            logits = self.classifier(batch)
            loss = loss + F.cross_entropy(logits, truth, reduction="sum")
            correct = correct + (logits.argmax(1) == truth).sum()
        return float(loss / len(images)), float(100 * correct / len(images))

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


def layer_norms(classifier: Classifier) -> Tensor:
    """The norms of the gradients of each layer's weights, without biases and batch norm: (L,)."""
    weights = [parameter for parameter in classifier.parameters() if parameter.dim() > 1]
    return torch.stack([torch.linalg.vector_norm(cast(Tensor, w.grad)) for w in weights])


def make_optimizer(optimizer: Optimizer, network: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Make torch's own optimiser, which updates all parameters in one fused pass."""
    parameters = list(network.parameters())
    match optimizer:
        case recipes.Sgd(momentum=momentum, weight_decay=decay):
            sgd = without_compiler(torch.optim.SGD)
            return sgd(parameters, lr, momentum, weight_decay=decay, fused=True)
        case recipes.Adam():
            recorded = parameters[0].is_cuda  # steps.Replay
            adam = without_compiler(torch.optim.Adam)
            return adam(parameters, lr, fused=True, capturable=recorded)


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """An optimiser of torch's that does not import torch's compiler, which takes two seconds.

    torch wraps these methods in lines that import it only to switch it off.
    """
    names = ("add_param_group", "zero_grad", "step", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])  # as its wrapper does
    return type(kind.__name__, (kind,), methods)


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
