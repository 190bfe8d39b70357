"""fp32 or bf16? The faster one here, where it is right; found out, not assumed.

bf16 halves the bytes and, on a CPU with AVX512-BF16 or AMX and on a GPU, doubles the rate
of a matrix product. Elsewhere it is emulated and slow, and some releases of oneDNN have
had shapes for which it was wrong (pytorch#163347, #169688). So `auto` runs the variant's own
network, on its own images, both ways.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet_lab.data.datasets import CLASSES, Dataset
from alexnet_lab.learning.models import Classifier, build
from alexnet_lab.learning.training import check_fit
from alexnet_lab.machine.devices import synchronize, within_memory
from alexnet_lab.params.recipes import Arithmetic, Cnn, Recipe

PRECISIONS: tuple[Arithmetic, ...] = ("fp32", "bf16")
WORTH_IT = 1.15  # bf16 has to be this many times as fast as fp32; noise alone should not decide
TOLERANCE = 0.2  # relative error of the gradient: bf16 rounds to 8 bits, a wrong kernel is off by 1
REPEATS, SECONDS = 5, 0.5  # at least so many of each, for at least so long; the fastest counts


@dataclass(frozen=True)
class Trial:
    """bf16 against fp32 on one batch, forwards and backwards."""

    speed_up: float  # fp32 seconds / bf16 seconds
    error: float  # |gradient difference| / |fp32 gradient|

    @property
    def choice(self) -> Arithmetic:
        """bf16 where it is both worth it and right."""
        return "bf16" if self.speed_up >= WORTH_IT and self.error <= TOLERANCE else "fp32"

    def __str__(self) -> str:
        return (
            f"precision: {self.choice}, since bf16 is {self.speed_up:.2f} times as fast here and "
            f"its gradient {100 * self.error:.1f} % off (bf16 needs {WORTH_IT} times and "
            f"{100 * TOLERANCE:.0f} %)"
        )


def choose(
    asked: Literal["auto"] | Arithmetic,
    recipe: Recipe,
    data: Dataset,
    say: Callable[[str], None],
) -> Arithmetic:
    """What was asked for; for `auto` the better one here, saying why where that is not bf16.

    UserError if the recipe does not fit the images.
    """
    if asked != "auto":
        return asked
    check_fit(recipe, data)
    with within_memory():
        found = trial(recipe, data)
    if found.choice != "bf16":
        say(str(found))
    return found.choice


def trial(recipe: Recipe, data: Dataset) -> Trial:
    """Run one batch both ways in turn, in one thread, on the device that ``data`` is on."""
    classifiers = {precision: _classifier(recipe, data, precision) for precision in PRECISIONS}
    images, labels = data.train_images[: recipe.batch_size], data.train_labels[: recipe.batch_size]
    seconds: dict[Arithmetic, list[float]] = {precision: [] for precision in PRECISIONS}
    gradients = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the clock counts one
    end = time.perf_counter() + SECONDS
    while len(seconds["fp32"]) < REPEATS or time.perf_counter() < end:
        for precision, classifier in classifiers.items():
            start = clock(data.device)
            gradients[precision] = gradient(classifier, images, labels)
            seconds[precision].append(clock(data.device) - start)
    torch.set_num_threads(threads)
    error = torch.dist(gradients["bf16"], gradients["fp32"]) / gradients["fp32"].norm()
    return Trial(min(seconds["fp32"]) / min(seconds["bf16"]), float(error))


def _classifier(recipe: Recipe, data: Dataset, precision: Arithmetic) -> Classifier:
    """The same weights for each precision, and no dropout: it would differ between runs."""
    model = recipe.model
    if isinstance(model, Cnn):
        model = model.model_copy(update={"dropout": 0.0})
    network = build(model, data.image_shape, CLASSES, seed=0)
    return Classifier(network, recipe.normalize, precision).to(data.device)


def clock(device: torch.device) -> float:
    """Seconds; on a CPU those that this thread computed, whatever else the machine is doing."""
    if device.type == "cpu":
        return time.thread_time()
    synchronize(device)
    return time.perf_counter()


def gradient(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Of the loss by every weight, laid end to end."""
    loss = F.cross_entropy(classifier(images), labels)
    found = torch.autograd.grad(loss, list(classifier.parameters()))
    return torch.cat([one.flatten() for one in found])
