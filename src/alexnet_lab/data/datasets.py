"""The images in memory: four arrays a dataset, as `prepare` wrote them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alexnet_lab.errors import UserError

CLASSES = 10  # MNIST and CIFAR-10 alike
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

    @property
    def device(self) -> torch.device:
        """Where all four are."""
        return self.train_images.device

    def to(self, device: torch.device) -> "Dataset":
        """The same data on another device; labels widened to int64 for the loss."""
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
    """Memory-mapped, copy on write: processes side by side share the pages."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `dvc repro prepare` makes it.") from error
    return array
