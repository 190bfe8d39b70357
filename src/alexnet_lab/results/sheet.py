"""Sheets of small images, one labelled row below the other. Nothing is saved here."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alexnet_lab.results.figures import STYLE, WIDTH

LABEL = 2.2  # inches, for the words at the left
IN_A_ROW = 16  # filters
ZOOM = 8  # pixels for each of a filter's
Row = tuple[str, np.ndarray]  # a label; images (N, H, W, 3) uint8


def sheet(rows: Sequence[Row]) -> Figure:
    """Draw rows of images; labels with a colon, and the first one, are bold."""
    most = max(len(images) for _, images in rows)
    side = (WIDTH - LABEL) / most
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=(WIDTH, side * len(rows)), dpi=80)  # 32 pixels need no more
        left = LABEL / WIDTH
        for place, (label, images) in enumerate(rows):
            height = 1 / len(rows)
            bottom = 1 - (place + 1) * height
            axis = figure.add_axes((left, bottom, 1 - left, 0.95 * height))
            room = ((0, most - len(images)), (0, 0), (0, 1), (0, 0))  # white between and after
            padded = np.pad(images, room, constant_values=255)  # (N, H, W, 3) -> (most, H, W+1, 3)
            axis.imshow(np.hstack(list(padded)), interpolation="nearest", aspect="auto")
            axis.set_axis_off()
            weight = "bold" if ":" in label or not place else "normal"
            figure.text(0.005, bottom + height / 2, label, va="center", fontweight=weight)
    return figure


def filter_sheet(filters: pd.DataFrame) -> Figure:
    """Draw each variant's filters, the one of the largest norm first.

    Columns: variant, shape, weights, as weights.first_layer gives them. Grey is zero; each filter
    is scaled to its own largest weight, so only its pattern is seen.
    """
    rows = list[Row]()
    for name, some in filters.groupby("variant", sort=False):
        shape = [int(size) for size in some["shape"].iloc[0].split()]
        weights = some["weights"].str.split(expand=True).to_numpy(float).reshape(-1, *shape)
        images = _patterns(weights)
        lines = np.split(images, range(IN_A_ROW, len(images), IN_A_ROW))
        rows += [("" if number else f"{name}:", line) for number, line in enumerate(lines)]
    return sheet(rows)


def _patterns(weights: np.ndarray) -> np.ndarray:
    """Filters (N, 1 or 3, H, W) as images (N, ZOOM·H, ZOOM·W, 3) uint8."""
    order = np.argsort(-np.linalg.norm(weights.reshape(len(weights), -1), axis=1))
    largest = np.abs(weights).max((1, 2, 3), keepdims=True).clip(1e-12)
    grey = np.rint(127.5 * (1 + weights / largest)).astype(np.uint8)[order]
    grey = grey.repeat(ZOOM, 2).repeat(ZOOM, 3).transpose(0, 2, 3, 1)
    images: np.ndarray = grey.repeat(3 // grey.shape[-1], -1)
    return images
