"""What augmentation does: the same eight images, one row per op. Nothing is saved here."""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import pad

from alexnet_lab.learning.augment import augment
from alexnet_lab.learning.random_streams import stream
from alexnet_lab.params import recipes
from alexnet_lab.params.recipes import Op
from alexnet_lab.results.figures import STYLE, WIDTH

LABEL = 2.2  # inches, for the words at the left


def augmentation_sheet(images: Tensor, variants: Mapping[str, Sequence[Op]]) -> Figure:
    """Draw images (N, 3, H, W) uint8 as they are, after each op of any variant, and after all."""
    rows = list(_rows(images, variants))
    side = (WIDTH - LABEL) / len(images)
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=(WIDTH, side * len(rows)), dpi=80)  # 32 pixels need no more
        left = LABEL / WIDTH
        for place, (label, row) in enumerate(rows):
            height = 1 / len(rows)
            bottom = 1 - (place + 1) * height
            axis = figure.add_axes((left, bottom, 1 - left, 0.95 * height))
            axis.imshow(_side_by_side(row), interpolation="nearest", aspect="auto")
            axis.set_axis_off()
            weight = "bold" if ":" in label or not place else "normal"
            figure.text(0.005, bottom + height / 2, label, va="center", fontweight=weight)
    return figure


def _rows(images: Tensor, variants: Mapping[str, Sequence[Op]]) -> Iterator[tuple[str, Tensor]]:
    yield "as they are", images
    shown: set[Op] = set()
    for name, ops in variants.items():
        for op in ops:
            if op not in shown:
                yield words(op), augment(images, [op], stream(0, "augment"))
            shown.add(op)
        if len(ops) > 1:
            yield f"{name}: all its ops", augment(images, ops, stream(0, "augment"))


def words(op: Op) -> str:
    """Such as "rotate up to 10°": the op and its numbers."""
    match op:
        case recipes.Flip(p=p):
            return f"flip, chance {p:g}"
        case recipes.Rotate(degrees=degrees):
            return f"rotate up to {degrees:g}°"
        case recipes.Translate(fraction=fraction):
            return f"shift up to {100 * fraction:g} %"
        case recipes.Perspective(distortion=distortion, p=p):
            return f"perspective {distortion:g}, chance {p:g}"
        case recipes.Jitter(brightness=brightness, contrast=contrast, saturation=saturation):
            parts = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
            return "\n".join(f"{name} ± {100 * part:g} %" for name, part in parts.items())
    return f"{op.op} {', '.join(f'{n:g}' for n in op.model_dump(exclude={'op'}).values())}"


def _side_by_side(images: Tensor) -> Tensor:
    """One picture (H, N·(W+1), 3) of images (N, 3, H, W), with white lines between."""
    return torch.cat(list(pad(images, (0, 1), value=255).permute(0, 2, 3, 1)), dim=1)
