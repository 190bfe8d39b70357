"""fp32 or bf16? `auto` is bf16 if the device computes in it, and computes it right.

bf16 halves the bytes and doubles the rate of a matrix product, on a CPU that has instructions for
it (AVX512-BF16, AMX, ARM's BF16) and on a GPU of compute capability 8.0 or more. Elsewhere it is
emulated, and slow. Some releases of oneDNN had shapes for which it was wrong (pytorch#163347,
#169688), so `auto` also compares the gradients of the variant's own network, on its own images.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.learning.models import Classifier, build
from alexnet_lab.learning.training import check_fit
from alexnet_lab.machine.devices import has_bf16, within_memory
from alexnet_lab.params.recipes import Arithmetic, Cnn, Recipe

TOLERANCE = 0.2  # relative error of the gradient: bf16 rounds to 8 bits, a wrong kernel is off by 1
NO_BF16 = {
    "cpu": "this CPU has no bf16 instructions (avx512_bf16 or amx_bf16; on ARM, bf16)",
    "cuda": "this GPU has no bf16 arithmetic (its compute capability is less than 8.0)",
}


def choose(
    setting: Literal["auto"] | Arithmetic,
    recipe: Recipe,
    data: Dataset,
    say: Callable[[str], None],
) -> Arithmetic:
    """The precision that params.yaml names, or that `auto` means on the device of ``data``.

    If `auto` is not bf16, say why. UserError if the recipe does not fit the images or the memory.
    """
    if setting != "auto":
        return setting
    check_fit(recipe, data)
    reason = reason_against_bf16(recipe, data)
    if reason:
        say(f"precision: fp32, because {reason}")
    return "fp32" if reason else "bf16"


def reason_against_bf16(recipe: Recipe, data: Dataset) -> str:
    """Why not bf16? Empty if nothing is against it. UserError if it does not fit in memory."""
    if not has_bf16(data.device):
        return NO_BF16[data.device.type]
    with within_memory():
        error = gradient_error(recipe, data)
    if error <= TOLERANCE:
        return ""
    return f"bf16's gradient is {100 * error:.0f} % off here, more than {100 * TOLERANCE:.0f} %"


def gradient_error(recipe: Recipe, data: Dataset) -> float:
    """How far off is one batch's gradient in bf16? |difference| / |gradient in fp32|."""
    images, labels = data.train_images[: recipe.batch_size], data.train_labels[: recipe.batch_size]
    exact = _gradient(_classifier(recipe, data, "fp32"), images, labels)
    rounded = _gradient(_classifier(recipe, data, "bf16"), images, labels)
    return float(torch.dist(rounded, exact) / exact.norm())


def _classifier(recipe: Recipe, data: Dataset, precision: Arithmetic) -> Classifier:
    """Build the same weights for each precision, without dropout, which would differ."""
    model = recipe.model
    if isinstance(model, Cnn):
        model = model.model_copy(update={"dropout": 0.0})
    network = build(model, data.image_shape, data.classes, seed=0)
    return Classifier(network, recipe.normalize, precision).to(data.device)


def _gradient(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient with respect to all weights, as one vector."""
    loss = F.cross_entropy(classifier(images), labels)
    gradients = torch.autograd.grad(loss, list(classifier.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])
