"""The sample in git: the first 200 training and 50 test images of each class.

A split is a contact sheet, 50 images a row in official order, and its labels in a text
file. `python -m alexnet_lab.data.sample` made them from data/mnist and data/cifar10.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_lab.data.datasets import ARRAYS, CLASSES

PER_CLASS = {"train": 200, "test": 50}
COLUMNS = 50  # images in a row of a sheet


def read_sample(folder: Path) -> dict[str, np.ndarray]:
    """Four uint8 arrays, images (N, C, H, W) and labels (N,), as the full data has them."""
    arrays = {}
    for split, per_class in PER_CLASS.items():
        labels = [int(line) for line in (folder / f"{split}_labels.txt").read_text().split()]
        sheet = np.asarray(Image.open(folder / f"{split}.png"))
        arrays[f"{split}_images"] = _cut(sheet, per_class * CLASSES // COLUMNS)
        arrays[f"{split}_labels"] = np.array(labels, dtype=np.uint8)
    return arrays


def choose(labels: np.ndarray, per_class: int) -> np.ndarray:
    """The indices of the first ``per_class`` of each class, in the data's own order."""
    firsts = [np.flatnonzero(labels == label)[:per_class] for label in range(CLASSES)]
    return np.sort(np.concatenate(firsts))


def write_sample(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """Make the sheets and labels from the full data."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, per_class in PER_CLASS.items():
        chosen = choose(arrays[f"{split}_labels"], per_class)
        labels = arrays[f"{split}_labels"][chosen]
        sheet = Image.fromarray(_lay(arrays[f"{split}_images"][chosen]))
        sheet.save(folder / f"{split}.png", optimize=True)
        (folder / f"{split}_labels.txt").write_text("".join(f"{label}\n" for label in labels))


def _lay(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) to a sheet (N / 50 · H, 50 · W[, 3])."""
    count, channels, height, width = images.shape
    grid = images.reshape(count // COLUMNS, COLUMNS, channels, height, width)
    sheet = grid.transpose(0, 3, 1, 4, 2)  # -> (rows, H, columns, W, C)
    return sheet.reshape(-1, COLUMNS * width, channels).squeeze(-1 if channels == 1 else ())


def _cut(sheet: np.ndarray, rows: int) -> np.ndarray:
    """The inverse of ``_lay``."""
    sheet = sheet.reshape(*sheet.shape[:2], -1)
    height, width = sheet.shape[0] // rows, sheet.shape[1] // COLUMNS
    grid = sheet.reshape(rows, height, COLUMNS, width, -1)
    return grid.transpose(0, 2, 4, 1, 3).reshape(rows * COLUMNS, -1, height, width)


if __name__ == "__main__":
    for dataset in ("mnist", "cifar10"):
        full = {name: np.load(Path("data", dataset, f"{name}.npy")) for name in ARRAYS}
        write_sample(full, Path("data/sample", dataset))
