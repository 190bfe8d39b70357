"""The sample in git: the first 200 training and 50 test images of each class.

A split is a contact sheet, 50 images per row in official order, and a text file of its labels.
`python -m alexnet_lab.data.sample` makes them from the full data in data/.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_lab.data.datasets import ARRAYS
from alexnet_lab.data.sources import IMAGE_SETS
from alexnet_lab.errors import UserError

PER_CLASS = {"train": 200, "test": 50}
COLUMNS = 50  # images per row of a sheet


def read_sample(folder: Path) -> dict[str, np.ndarray]:
    """Four uint8 arrays, images (N, C, H, W) and labels (N,), as the full data has them.

    UserError if a file cannot be read.
    """
    arrays = {}
    for split in PER_CLASS:
        try:
            labels = np.array(
                (folder / f"{split}_labels.txt").read_text(encoding="utf-8").split(), np.uint8
            )
            sheet = np.asarray(Image.open(folder / f"{split}.png"))
        except (OSError, ValueError) as error:
            raise UserError(f"The sample in {folder} cannot be read: {error}.") from error
        arrays[f"{split}_images"] = _cut(sheet, len(labels) // COLUMNS)
        arrays[f"{split}_labels"] = labels
    return arrays


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


def _cut(sheet: np.ndarray, rows: int) -> np.ndarray:
    """Cut a sheet into images: the inverse of ``_lay``."""
    sheet = sheet.reshape(*sheet.shape[:2], -1)
    height, width = sheet.shape[0] // rows, sheet.shape[1] // COLUMNS
    grid = sheet.reshape(rows, height, COLUMNS, width, -1)
    return grid.transpose(0, 2, 4, 1, 3).reshape(rows * COLUMNS, -1, height, width)


if __name__ == "__main__":
    for name in IMAGE_SETS:
        full = {key: np.load(Path("data", name, f"{key}.npy")) for key in ARRAYS}
        write_sample(full, Path("data/sample", name))
