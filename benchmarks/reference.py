"""The usual way, to compare with: PIL images through torchvision, a DataLoader, fp32.

It is written as a course or a tutorial writes it, and computes what our engine computes: the
same network, optimiser, rates and results per epoch. `make bench` measures the engine against
it, and a test compares their losses.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.errors import UserError
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.learning.models import build
from alexnet_lab.learning.schedules import learning_rate
from alexnet_lab.params import recipes
from alexnet_lab.params.recipes import Op, Optimizer, Recipe


class Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Transformed PIL images and their labels, as torchvision's CIFAR10 and MNIST give them."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable[..., Tensor]) -> None:
        self.pixels = images.permute(0, 2, 3, 1).squeeze(-1).contiguous().numpy()
        self.labels: list[int] = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def train(recipe: Recipe, data: Dataset, seed: int, device: torch.device) -> Iterator[Epoch]:
    """Train one network, yielding each epoch's results. Their seconds are 0: the caller times."""
    torch.manual_seed(seed)
    network = plain_network(recipe, data, seed).to(device)
    optimizer = make_optimizer(recipe.optimizer, network, recipe.lr)
    training, clean, test = loaders(recipe, data)
    first = next(network.parameters())
    for epoch in range(recipe.epochs):
        lr = learning_rate(recipe.schedule, recipe.lr, epoch, recipe.epochs)
        for group in optimizer.param_groups:
            group["lr"] = lr
        network.train()
        losses, norms, seen = 0.0, 0.0, 0
        for images, labels in training:
            moved = images.to(device), labels.to(device)
            loss = step(network, optimizer, *moved, recipe.label_smoothing)
            losses += loss * len(labels)
            norms += float(torch.linalg.vector_norm(first.grad))
            seen += len(labels)
        clean_loss = evaluate(network, clean, device)[0] if recipe.clean_train_loss else None
        test_loss, accuracy = evaluate(network, test, device)
        yield Epoch(
            seed,
            epoch + 1,
            lr,
            losses / seen,
            clean_loss,
            test_loss,
            accuracy,
            norms / len(training),
            seconds=0.0,
        )


def step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.0,
) -> float:
    """Take one training step, and return the batch's mean loss."""
    optimizer.zero_grad()
    loss: Tensor = nn.functional.cross_entropy(
        network(images), labels, label_smoothing=label_smoothing
    )
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimizer.step()
    return loss.item()


@torch.no_grad()
def evaluate(
    network: nn.Module, loader: DataLoader[Any], device: torch.device
) -> tuple[float, float]:
    """Measure mean loss and accuracy (%) in evaluation mode."""
    network.eval()
    loss, correct, seen = 0.0, 0, 0
    for images, labels in loader:
        logits, truth = network(images.to(device)), labels.to(device)
        loss += nn.functional.cross_entropy(logits, truth, reduction="sum").item()
        correct += int((logits.argmax(1) == truth).sum().item())
        seen += len(labels)
    return loss / seen, 100 * correct / seen


def loaders(
    recipe: Recipe, data: Dataset
) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
    """Load the training images augmented and shuffled, then both sets as they are."""
    scaled = [
        transforms.ToTensor(),
        transforms.Normalize(recipe.normalize.mean, recipe.normalize.std),
    ]
    plain = transforms.Compose(scaled)
    augmented = transforms.Compose([*map(transform, recipe.augment), *scaled])
    train_set = data.train_images, data.train_labels
    return (
        DataLoader(Images(*train_set, augmented), recipe.batch_size, shuffle=True),
        DataLoader(Images(*train_set, plain), recipe.batch_size),
        DataLoader(Images(data.test_images, data.test_labels, plain), recipe.batch_size),
    )


def transform(op: Op) -> Any:
    """Make the torchvision transform that one of our ops stands for."""
    match op:
        case recipes.Flip(p=p):
            return transforms.RandomHorizontalFlip(p)
        case recipes.Rotate(degrees=degrees):
            return transforms.RandomRotation(degrees)
        case recipes.Translate(fraction=fraction):
            return transforms.RandomAffine(0, translate=(fraction, fraction))
        case recipes.Jitter(brightness=brightness, contrast=contrast, saturation=saturation):
            return transforms.ColorJitter(brightness, contrast, saturation)
        case recipes.Perspective(distortion=distortion, p=p):
            return transforms.RandomPerspective(distortion, p)
        case _:
            raise UserError(f"The reference has no transform for {op}: add it to transform().")


def plain_network(recipe: Recipe, data: Dataset, seed: int) -> nn.Module:
    """Build our layers and weights with the pooling after the ReLU, as it is usually written."""
    network = build(recipe.model, data.image_shape, data.classes, seed)
    if not isinstance(recipe.model, recipes.Cnn):
        return network
    layers = list(network.get_submodule("features").children())
    for index, (layer, following) in enumerate(pairwise(tuple(layers))):
        if isinstance(layer, nn.MaxPool2d):
            layers[index : index + 2] = [following, layer]
    return nn.Sequential(*layers, *network.get_submodule("classifier").children())


def make_optimizer(optimizer: Optimizer, network: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Make torch's optimiser, with its defaults."""
    match optimizer:
        case recipes.Sgd(momentum=momentum, weight_decay=decay):
            return torch.optim.SGD(network.parameters(), lr, momentum, weight_decay=decay)
        case recipes.Adam():
            return torch.optim.Adam(network.parameters(), lr=lr)
        case _:
            raise UserError(f"The reference has no {optimizer}: add it to make_optimizer().")
