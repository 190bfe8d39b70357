"""Is bf16 right here? Some releases of oneDNN had shapes for which it was not.

bf16 halves the bytes and doubles the rate of a matrix product, on a CPU that has instructions for
it (AVX512-BF16, AMX, ARM's BF16) and on a GPU of compute capability 8.0 or more. Kernels that were
wrong (pytorch#163347, #169688) show in the gradients of the variant's own network and images.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet_lab.data.datasets import Dataset, load
from alexnet_lab.learning.models import Classifier, build
from alexnet_lab.learning.training import check_fit
from alexnet_lab.machine.devices import make_deterministic, within_memory
from alexnet_lab.machine.hardware import Device
from alexnet_lab.params.recipes import Arithmetic, Cnn, Recipe


def gradient_error(recipe: Recipe, folder: Path, threads: int, device: Device) -> float:
    """How far off is one batch's gradient in bf16? |difference| / |gradient in fp32|.

    ``folder`` is that of a prepared data set. UserError if the recipe does not fit the images or
    the memory.
    """
    make_deterministic(threads)
    with within_memory():
        data = load(folder).to(torch.device(device))
        check_fit(recipe, data)
        return error_on(recipe, data)


def error_on(recipe: Recipe, data: Dataset) -> float:
    """The gradient's error, on the first batch of a data set."""
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
