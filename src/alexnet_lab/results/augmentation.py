"""What augmentation does: the same images, one row per op. Nothing is saved here."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from alexnet_lab.learning.augment import augment
from alexnet_lab.learning.random_streams import stream
from alexnet_lab.params import recipes
from alexnet_lab.params.recipes import Op
from alexnet_lab.results.sheet import sheet


def augmentation_sheet(images: Tensor, variants: Mapping[str, Sequence[Op]]) -> Figure:
    """Draw images (N, 3, H, W) uint8 as they are, after each op of any variant, and after all."""
    rows = {"as they are": images}  # an op that several variants share has one row
    for name, ops in variants.items():
        rows |= {words(op): augment(images, [op], stream(0, "augment")) for op in ops}
        if len(ops) > 1:
            rows[f"{name}: all its ops"] = augment(images, ops, stream(0, "augment"))
    return sheet([(label, some.permute(0, 2, 3, 1).numpy()) for label, some in rows.items()])


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
