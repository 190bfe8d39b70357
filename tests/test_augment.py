"""Every op is compared with torchvision's own on PIL images, and the draws with their laws."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF  # torchvision's own idiom

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.learning.augment import apply, augment, draw
from alexnet_lab.params.recipes import Flip, Jitter, Op, Perspective, Rotate, Translate
from alexnet_lab.params.study import Study
from benchmarks import reference

SHAPE = (100_000, 3, 32, 32)
CORNERS = torch.tensor([[0, 0], [31, 0], [31, 31], [0, 31]])
INWARD = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
JITTERS = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)
ALPHA = 0.001  # draws are seeded, so a test that passes keeps passing


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def torchvision_result(image: Image.Image, op: Op, drawn: Sequence[Tensor]) -> Image.Image:
    match op:
        case Flip():
            return TF.hflip(image) if drawn[0] else image
        case Rotate():
            return TF.rotate(image, float(drawn[0]))
        case Translate():
            return TF.affine(image, 0.0, [int(drawn[0]), int(drawn[1])], 1.0, [0.0, 0.0])
        case Jitter():
            for index in drawn[1]:
                image = JITTERS[index](image, float(drawn[0][index]))
            return image
        case Perspective():
            ends = (CORNERS + INWARD * drawn[1]).tolist()
            bilinear = InterpolationMode.BILINEAR
            return TF.perspective(image, CORNERS.tolist(), ends, bilinear) if drawn[0] else image


@pytest.mark.parametrize(
    "op",
    [
        Flip(op="flip", p=0.5),
        Rotate(op="rotate", degrees=15),
        Rotate(op="rotate", degrees=180),
        Translate(op="translate", fraction=0.15),
        Translate(op="translate", fraction=1),
        Jitter(op="jitter", brightness=0.3, contrast=0.3, saturation=0.2),
        Jitter(op="jitter", brightness=1, contrast=1, saturation=1),
        Perspective(op="perspective", distortion=0.2, p=0.5),
        Perspective(op="perspective", distortion=0.5, p=1),
    ],
    ids=repr,
)
def test_an_op_does_to_every_pixel_what_torchvision_does(op: Op, cifar10: Dataset) -> None:
    images = cifar10.test_images[:300]
    drawn = draw(op, images.shape, generator())
    ours = apply(images, op, drawn)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    results = [
        torchvision_result(picture, op, parameters)
        for picture, parameters in zip(pictures, zip(*drawn, strict=True), strict=True)
    ]
    expected = torch.stack([torch.from_numpy(np.array(t)).permute(2, 0, 1) for t in results])
    off = (ours.int() - expected.int()).abs()
    if isinstance(op, Perspective):
        # Another routine solves the equations of the corners, so a pixel whose source lies on
        # the very edge of the image may fall on the other side of the edge and be black.
        assert (off > 1).float().mean() < 0.0005
    else:
        assert off.max() == 0
    assert not torch.equal(ours, images)


@pytest.mark.parametrize("op", [Rotate(op="rotate", degrees=20), Flip(op="flip", p=0.5)], ids=repr)
def test_grey_images_go_through_too(op: Op, mnist: Dataset) -> None:
    images = mnist.test_images[:50]
    drawn = draw(op, images.shape, generator())
    rgb = apply(images.expand(-1, 3, -1, -1), op, drawn)
    assert torch.equal(apply(images, op, drawn), rgb[:, :1])


def test_flips_have_their_probability() -> None:
    (flipped,) = draw(Flip(op="flip", p=0.3), SHAPE, generator())
    assert stats.binomtest(int(flipped.sum()), len(flipped), 0.3).pvalue > ALPHA


def test_angles_are_uniform() -> None:
    (degrees,) = draw(Rotate(op="rotate", degrees=15), SHAPE, generator())
    assert stats.kstest(degrees.numpy(), stats.uniform(-15, 30).cdf).pvalue > ALPHA


def test_translations_are_torchvisions() -> None:
    """round(U(-4.8, 4.8)): the outermost pixels come at 0.3 of the others' rate."""
    for pixels in draw(Translate(op="translate", fraction=0.15), SHAPE, generator()):
        counts = np.bincount(pixels.numpy() + 5, minlength=11)
        expected = np.array([0.3, *[1.0] * 9, 0.3]) / 9.6 * len(pixels)
        assert stats.chisquare(counts, expected).pvalue > ALPHA


def test_jitter_factors_and_their_order_are_uniform() -> None:
    op = Jitter(op="jitter", brightness=0.3, contrast=0.2, saturation=1)
    factors, order = draw(op, SHAPE, generator())
    for column, strength in zip(factors.double().T, (0.3, 0.2, 1.0), strict=True):
        law = stats.uniform(1 - strength, 2 * strength)
        assert stats.kstest(column.numpy(), law.cdf).pvalue > ALPHA
    orders = [tuple(o) for o in itertools.permutations(range(3))]
    codes = [orders.index(tuple(row)) for row in order.tolist()]
    assert stats.chisquare(np.bincount(codes, minlength=6)).pvalue > ALPHA


def test_perspective_corners_are_torchvisions() -> None:
    """Against torchvision's own generator: the same law for each corner and axis."""
    chosen, inward = draw(Perspective(op="perspective", distortion=0.2, p=0.5), SHAPE, generator())
    assert stats.binomtest(int(chosen.sum()), len(chosen), 0.5).pvalue > ALPHA
    torch.manual_seed(0)
    get = transforms.RandomPerspective.get_params
    ends = torch.tensor([get(32, 32, 0.2)[1] for _ in range(5_000)])
    expected = (ends - CORNERS) * INWARD
    for corner, axis in itertools.product(range(4), range(2)):
        table = [
            np.bincount(pixels[:, corner, axis].numpy(), minlength=4)
            for pixels in (inward, expected)
        ]
        assert all(len(row) == 4 for row in table)
        assert stats.chi2_contingency(table).pvalue > ALPHA


def test_a_whole_pipeline_has_torchvisions_distribution(study: Study, cifar10: Dataset) -> None:
    """Means and spreads of 4,000 augmented images follow one law, ours and torchvision's."""
    ops = study.recipe("augmentation", "alexnet_style").augment
    pipeline = transforms.Compose([reference.transform(op) for op in ops])
    images = cifar10.train_images
    ours = torch.cat([augment(images, ops, generator(seed)) for seed in (1, 2)])
    torch.manual_seed(3)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images] * 2
    expected = torch.stack(
        [torch.from_numpy(np.array(pipeline(p))).permute(2, 0, 1) for p in pictures]
    )
    for measure in (
        lambda x: x.float().mean((1, 2, 3)),
        lambda x: x.float().std((1, 2, 3)),
        lambda x: (x.sum(1) == 0).float().mean((1, 2)),  # how much was filled with black
    ):
        assert stats.ks_2samp(measure(ours).numpy(), measure(expected).numpy()).pvalue > ALPHA


def test_corners_that_meet_make_no_error(cifar10: Dataset) -> None:
    op = Perspective(op="perspective", distortion=1, p=1)
    warped = augment(cifar10.train_images[:1000], [op], generator())
    assert warped.float().mean() > 1  # most images still show something


def test_no_ops_leave_images_alone_and_draws_repeat(study: Study, cifar10: Dataset) -> None:
    images = cifar10.test_images[:64]
    assert augment(images, (), generator()) is images
    ops = study.recipe("augmentation", "strong").augment
    before = images.clone()
    first, again = (augment(images, ops, generator(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(images, ops, generator(6)))
    assert torch.equal(images, before)
