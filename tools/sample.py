"""Make the sample in git from the full data, which it fetches: python -m tools.sample [NAME …]."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_lab import cli
from alexnet_lab.data.fetch import fetch
from alexnet_lab.data.sample import COLUMNS
from alexnet_lab.data.sources import IMAGE_SETS

PER_CLASS = {"train": 200, "test": 50}


def choose(labels: np.ndarray, per_class: int) -> np.ndarray:
    """The indices of the first ``per_class`` images of each class, in the data's own order."""
    firsts = [np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(firsts))


def write_sample(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """Make the sheets and labels from the full data."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, per_class in PER_CLASS.items():
        chosen = choose(arrays[f"{split}_labels"], per_class)
        labels = arrays[f"{split}_labels"][chosen]
        sheet = Image.fromarray(_lay(arrays[f"{split}_images"][chosen]))
        sheet.save(folder / f"{split}.png", optimize=True)
        (folder / f"{split}_labels.txt").write_text(
            "".join(f"{label}\n" for label in labels), encoding="utf-8"
        )


def _lay(images: np.ndarray) -> np.ndarray:
    """Lay images (N, C, H, W) out on a sheet (N / 50 · H, 50 · W[, 3])."""
    count, channels, height, width = images.shape
    grid = images.reshape(count // COLUMNS, COLUMNS, channels, height, width)
    sheet = grid.transpose(0, 3, 1, 4, 2)  # -> (rows, H, columns, W, C)
    return sheet.reshape(-1, COLUMNS * width, channels).squeeze(-1 if channels == 1 else ())


def main() -> None:
    """Make those that are named, or all."""
    for name in sys.argv[1:] or IMAGE_SETS:
        write_sample(fetch(name), Path("data/sample", name))


if __name__ == "__main__":
    cli.run(main)
