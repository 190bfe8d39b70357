"""The images in memory: four arrays per data set, as `prepare` wrote them."""

from dataclasses import dataclass
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
        )


def load(folder: Path) -> Dataset:
    """Read a prepared folder. UserError if a file is missing or is not an array."""
    return Dataset(*(torch.from_numpy(_array(folder / f"{name}.npy")) for name in ARRAYS))


def _array(path: Path) -> np.ndarray:
    """Map a file into memory, copy on write, so that processes side by side share its pages."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `dvc repro prepare` makes it.") from error
    return array
