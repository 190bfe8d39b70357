"""The images in memory: four arrays per data set, as `prepare` wrote them."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alexnet_lab.errors import UserError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) uint8 and labels (N,) int64, for training and for test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    held_images: Tensor | None = None  # of the training images, held back to choose by
    held_labels: Tensor | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def classes(self) -> int:
        """How many classes the training labels have, which count from 0."""
        return int(self.train_labels.max()) + 1

    @property
    def device(self) -> torch.device:
        """The device that holds all four arrays."""
        return self.train_images.device

    def to(self, device: torch.device) -> "Dataset":
        """Copy the data to another device; labels become int64, as the loss wants them."""
        return Dataset(
            self.train_images.to(device),
            self.train_labels.to(device, torch.int64),
            self.test_images.to(device),
            self.test_labels.to(device, torch.int64),
            None if self.held_images is None else self.held_images.to(device),
            None if self.held_labels is None else self.held_labels.to(device, torch.int64),
        )


def load(folder: Path, held_back: int = 0) -> Dataset:
    """Read a prepared folder, and hold back so many training images, evenly spread.

    UserError if a file is missing or is not an array, or if too few images are left.
    """
    data = Dataset(*(torch.from_numpy(_array(folder / f"{name}.npy")) for name in ARRAYS))
    count = len(data.train_images)
    if not held_back:
        return data
    if held_back >= count:
        raise UserError(
            f"params.yaml: data.held_back is {held_back}, but {folder.name} has only {count} "
            "training images."
        )
    held = torch.zeros(count, dtype=torch.bool)
    held[torch.arange(held_back) * count // held_back] = True
    images, labels = data.train_images, data.train_labels
    return replace(
        data,
        train_images=images[~held],
        train_labels=labels[~held],
        held_images=images[held],
        held_labels=labels[held],
    )


def _array(path: Path) -> np.ndarray:
    """Map a file into memory, copy on write, so that processes side by side share its pages."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `dvc repro prepare` makes it.") from error
    return array
