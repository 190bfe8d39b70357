"""The sample in git: the first 200 training and 50 test images of each class.

A split is a contact sheet, 50 images per row in official order, and a text file of its labels.
`python -m tools.sample` makes them from the full data in data/.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_lab.errors import UserError

COLUMNS = 50  # images per row of a sheet


def read_sample(folder: Path) -> dict[str, np.ndarray]:
    """Four uint8 arrays, images (N, C, H, W) and labels (N,), as the full data has them.

    UserError if a file cannot be read.
    """
    arrays = {}
    for split in ("train", "test"):
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


def _cut(sheet: np.ndarray, rows: int) -> np.ndarray:
    """Cut a sheet (N / 50 · H, 50 · W[, 3]) into images (N, C, H, W)."""
    sheet = sheet.reshape(*sheet.shape[:2], -1)
    height, width = sheet.shape[0] // rows, sheet.shape[1] // COLUMNS
    grid = sheet.reshape(rows, height, COLUMNS, width, -1)
    return grid.transpose(0, 2, 4, 1, 3).reshape(rows * COLUMNS, -1, height, width)
