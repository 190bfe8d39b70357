"""Augmentation of a whole batch, drawn per image.

Each op has two halves: ``draw`` gives one set of parameters per image, with the distribution
of the torchvision class below; ``apply`` does with them what torchvision does to a PIL image of
uint8, rounding to uint8 after every op as PIL does. torchvision's own v2 classes cannot be used:
they draw once for a whole batch (vision#8484). Nearest warps, flips and colour are PIL's own
arithmetic, exactly; bilinear perspective is within one level, except for pixels whose source is
the image's very edge.

| op          | torchvision class                          |
| flip        | RandomHorizontalFlip(p)                    |
| rotate      | RandomRotation(degrees)                    |
| translate   | RandomAffine(0, translate=(fraction,) * 2) |
| jitter      | ColorJitter(brightness, contrast, saturation) |
| perspective | RandomPerspective(distortion, p)           |
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from alexnet_lab.params import recipes

GREY = (19595, 38470, 7471)  # the weights of PIL's RGB to L: ITU-R 601-2 luma in 1/65536


def augment(images: Tensor, ops: Sequence[recipes.Op], generator: Generator) -> Tensor:
    """Apply the ops in order to images (B, C, H, W) uint8, which themselves stay as they are."""
    for op in ops:
        images = apply(images, op, draw(op, images.shape, generator))
    return images


def draw(op: recipes.Op, shape: Sequence[int], generator: Generator) -> tuple[Tensor, ...]:
    """Draw the op's parameters for each image of a batch of ``shape`` (B, C, H, W), on the CPU."""
    count, _, height, width = shape
    match op:
        case recipes.Flip(p=p):
            return (torch.rand(count, generator=generator) < p,)
        case recipes.Rotate(degrees=degrees):
            return (_uniform(-degrees, degrees, (count,), generator),)
        case recipes.Translate(fraction=fraction):
            across = _uniform(-fraction * width, fraction * width, (count,), generator)
            down = _uniform(-fraction * height, fraction * height, (count,), generator)
            return across.round().long(), down.round().long()
        case recipes.Jitter():
            return _draw_jitter(op, count, generator)
        case recipes.Perspective():
            return _draw_perspective(op, count, height, width, generator)


def apply(images: Tensor, op: recipes.Op, drawn: tuple[Tensor, ...]) -> Tensor:
    """Do what torchvision's op does to images (B, C, H, W) uint8, each with its own parameters."""
    parameters = [parameter.to(images.device) for parameter in drawn]
    match op:
        case recipes.Flip():
            return torch.where(parameters[0].view(-1, 1, 1, 1), images.flip(-1), images)
        case recipes.Rotate():
            return rotate(images, parameters[0])
        case recipes.Translate():
            return translate(images, parameters[0], parameters[1])
        case recipes.Jitter():
            return jitter(images, parameters[0], parameters[1])
        case recipes.Perspective():
            return perspective(images, parameters[0], parameters[1])


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _draw_jitter(op: recipes.Jitter, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw factors (B, 3) of brightness, contrast, saturation, and the order (B, 3) of these."""
    strengths = (op.brightness, op.contrast, op.saturation)
    factors = [_uniform(max(0.0, 1 - x), 1 + x, (count,), generator) for x in strengths]
    order = torch.rand(count, 3, generator=generator).argsort(dim=1)
    return torch.stack(factors, dim=1).float(), order


def _draw_perspective(
    op: recipes.Perspective, count: int, height: int, width: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw whether (B,) and how far (B, 4, 2) the corners move inwards, in whole pixels (x, y)."""
    chosen = torch.rand(count, generator=generator) < op.p
    reach = [int(op.distortion * (side // 2)) + 1 for side in (width, height)]
    inward = [torch.randint(0, r, (count, 4), generator=generator) for r in reach]
    return chosen, torch.stack(inward, dim=2)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn counter-clockwise about the centre by degrees (B,): nearest pixel, 0 outside."""
    height, width = images.shape[-2:]
    angle = torch.deg2rad(degrees.double())
    cos, sin = angle.cos(), angle.sin()
    # From output (x, y) to input: the inverse turn about the centre, as the rows of a 2×3 matrix.
    across = width / 2 - cos * width / 2 + sin * height / 2
    down = height / 2 - sin * width / 2 - cos * height / 2
    x = _fixed_point(cos, -sin, across, height, width)
    y = _fixed_point(sin, cos, down, height, width)
    return _nearest(images, x, y)


def translate(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Move right by ``across`` (B,) and down by ``down`` (B,) whole pixels: 0 outside."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) - across.view(-1, 1, 1)  # (B, 1, W)
    y = torch.arange(height, device=images.device).view(-1, 1) - down.view(-1, 1, 1)  # (B, H, 1)
    return _nearest(images, x, y)


def _fixed_point(a: Tensor, b: Tensor, c: Tensor, height: int, width: int) -> Tensor:
    """Compute floor(a (x + ½) + b (y + ½) + c) per pixel (B, H, W), in PIL's 16.16 arithmetic."""
    a, b, c = (
        (v * 65536 + 0.5).floor().int().view(-1, 1, 1) for v in (a, b, c + a * 0.5 + b * 0.5)
    )
    x = torch.arange(width, dtype=torch.int32, device=a.device)
    y = torch.arange(height, dtype=torch.int32, device=a.device).view(-1, 1)
    return ((a * x + c) + b * y) >> 16


def _nearest(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Look up pixels (B, C, H, W) at (x, y), which broadcast to (B, H, W); 0 outside."""
    height, width = images.shape[-2:]
    bordered = F.pad(images, (1, 1, 1, 1))  # zeros: every pixel outside is looked up there
    return _pixels(bordered, x.clamp(-1, width) + 1, y.clamp(-1, height) + 1)


def _pixels(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Look up pixels (B, C, h, w) at (x, y), which broadcast to (B, h, w) and lie inside."""
    channels, width = images.shape[1], images.shape[-1]
    index = (y * width + x).long()  # into an image's rows, laid end to end
    pixels = images.flatten(2).gather(2, index.flatten(1).unsqueeze(1).expand(-1, channels, -1))
    return pixels.view(*images.shape[:2], *index.shape[1:])


def jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Change brightness, contrast and saturation by factors (B, 3), in each image's order (B, 3).

    Each blends the image with a reference: black, its mean grey, its own grey. As in PIL, that is
    done in single precision, clipped and truncated to whole levels.
    """
    levels = images.float()
    for choice in order.unbind(1):  # (B,): 0 is brightness, 1 contrast, 2 saturation
        factor, contrasts, saturates = (
            value.view(-1, 1, 1, 1)
            for value in (factors.gather(1, choice.view(-1, 1)), choice == 1, choice == 2)
        )
        grey = _grey(levels)
        reference = contrasts * _mean(grey) + saturates * grey  # (B, 1, H, W); black for brightness
        levels = (reference + factor * (levels - reference)).clamp_(0, 255).floor_()
    return levels.to(torch.uint8)


def _grey(levels: Tensor) -> Tensor:
    """Convert (B, 3, H, W) to grey (B, 1, H, W), in whole levels, as PIL's convert("L").

    Single precision is exact here: no sum reaches 2**24. Grey images stay as they are.
    """
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.unbind(1)
    weighted = red * GREY[0] + green * GREY[1] + blue * GREY[2]
    return ((weighted + 0x8000) / 65536).floor_().unsqueeze(1)


def _mean(grey: Tensor) -> Tensor:
    """The mean of each grey image (B, 1, H, W), rounded half up: (B, 1, 1, 1)."""
    mean: Tensor = grey.mean(dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    return (mean + 0.5).floor().float()


def perspective(images: Tensor, chosen: Tensor, inward: Tensor) -> Tensor:
    """Move the corners of the chosen (B,) images inwards by (B, 4, 2) pixels: bilinear, 0 outside.

    Corners run clockwise from the top left.
    """
    images = images.clone()
    index = chosen.nonzero().squeeze(1)
    if len(index):
        images[index] = _warp_bilinear(images[index], _homography(images, inward[index]))
    return images


def _homography(images: Tensor, inward: Tensor) -> Tensor:
    """Solve for the eight coefficients (B, 8) from output to input pixels, as torchvision does."""
    height, width = images.shape[-2:]
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    signs = [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    start = torch.tensor(corners, dtype=torch.float64, device=images.device)
    end = start + inward * torch.tensor(signs, device=images.device)  # (B, 4, 2)
    start = start.expand_as(end)
    (x, y), (u, v) = end.unbind(-1), start.unbind(-1)
    ones, zeros = torch.ones_like(x), torch.zeros_like(x)
    rows_u = torch.stack([x, y, ones, zeros, zeros, zeros, -u * x, -u * y], dim=-1)  # (B, 4, 8)
    rows_v = torch.stack([zeros, zeros, zeros, x, y, ones, -v * x, -v * y], dim=-1)
    matrix, target = torch.cat([rows_u, rows_v], dim=1), torch.cat([u, v], dim=1)
    # If corners meet (distortion near 1) there is no solution: solve_ex does not check, and the
    # image turns black.
    solution: Tensor = torch.linalg.solve_ex(matrix, target).result
    return solution.float().double()  # torchvision hands PIL single precision


def _warp_bilinear(images: Tensor, coefficients: Tensor) -> Tensor:
    """Do PIL's perspective transform with BILINEAR, edges clamped inside the image."""
    height, width = images.shape[-2:]
    a, b, c, d, e, f, g, h = coefficients.view(-1, 8, 1, 1).unbind(1)  # each (B, 1, 1)
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device).view(-1, 1) + 0.5
    scale = g * x + (h * y + 1)
    u, v = (a * x + (b * y + c)) / scale, (d * x + (e * y + f)) / scale  # (B, H, W)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v = u - 0.5, v - 0.5
    across, down = (u - u.floor()).float().unsqueeze(1), (v - v.floor()).float().unsqueeze(1)
    left = u.floor().int().clamp(-1, width - 1) + 1  # int first: u is nan if corners meet
    top = v.floor().int().clamp(-1, height - 1) + 1
    edged = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")  # one column, one row before
    upper, lower = (
        torch.lerp(_pixels(edged, left, row), _pixels(edged, left + 1, row), across)
        for row in (top, top + 1)
    )
    warped = torch.lerp(upper, lower, down)
    return torch.where(inside.unsqueeze(1), warped, 0).to(torch.uint8)
