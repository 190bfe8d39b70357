"""Layers and parameter counts are torchvision's, or those worked out by hand."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from alexnet_lab.benchmark.layers import Layer, layers_of, network_facts
from alexnet_lab.benchmark.networks import one_tower, two_towers
from alexnet_lab.errors import UserError
from alexnet_lab.learning.models import build
from alexnet_lab.params.recipes import Cnn, Convolution
from alexnet_lab.params.study import Network, Study

CIFAR = (3, 32, 32)


def network(study: Study, exercise: str, variant: str, seed: int = 0) -> nn.Module:
    shape = (1, 28, 28) if exercise == "activation" else CIFAR
    return build(study.recipe(exercise, variant).model, shape, 10, seed)


def first(net: nn.Module) -> nn.Parameter:
    return next(net.parameters())


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_one_tower_is_torchvisions_alexnet() -> None:
    ours, theirs = one_tower(1000), torchvision.models.alexnet(weights=None)
    weights = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), weights, strict=True)))
    images = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_neither_tower_sees_the_other_before_the_third_convolution() -> None:
    """What is done to one tower's channels after the first convolution leaves the other's alone."""
    network = two_towers(10).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        first = network.conv1(images)
        other = torch.cat([first[:, :48], torch.rand_like(first[:, 48:])], 1)
        ours, theirs = (network.conv2(network.pool1(x.clone())) for x in (first, other))
        assert torch.equal(ours[:, :128], theirs[:, :128])
        assert not torch.equal(ours[:, 128:], theirs[:, 128:])
        assert not torch.equal(*(network.conv3(network.pool2(x))[:, :192] for x in (ours, theirs)))


def test_the_normalisation_is_the_papers() -> None:
    """b = a / (2 + 0.0001 * sum of a² over five neighbouring channels) ** 0.75, at 0.1 or so."""
    a = 30 * torch.rand(1, 96, 1, 1)
    padded = torch.nn.functional.pad(a.flatten(), (2, 2))
    sums = padded.square().unfold(0, 5, 1).sum(1)
    expected = a.flatten() / (2 + 1e-4 * sums) ** 0.75
    assert torch.allclose(two_towers(10).norm1(a).flatten(), expected)


ONE_TOWER = {  # channels out, what each output sees, outputs per channel
    "conv1": (64, 3 * 11**2, 55**2),
    "conv2": (192, 64 * 5**2, 27**2),
    "conv3": (384, 192 * 3**2, 13**2),
    "conv4": (256, 384 * 3**2, 13**2),
    "conv5": (256, 256 * 3**2, 13**2),
    "fc6": (4096, 256 * 6**2, 1),
    "fc7": (4096, 4096, 1),
    "fc8": (1000, 4096, 1),
}
TWO_TOWERS = {
    "conv1": (96, 3 * 11**2, 55**2),
    "conv2": (256, 48 * 5**2, 27**2),  # half of 96
    "conv3": (384, 256 * 3**2, 13**2),
    "conv4": (384, 192 * 3**2, 13**2),
    "conv5": (256, 192 * 3**2, 13**2),
    **{name: ONE_TOWER[name] for name in ("fc6", "fc7", "fc8")},
}


@pytest.mark.parametrize(
    ("network", "expected", "parameters"),
    [("one_tower", ONE_TOWER, 61_100_840), ("two_towers", TWO_TOWERS, 60_965_224)],
)
def test_a_layer_has_the_weights_and_the_arithmetic_that_a_hand_counts(
    study: Study,
    network: Network,
    expected: dict[str, Any],
    parameters: int,
) -> None:
    rows = {row.layer: row for row in layers_of(study.benchmark, network)}
    assert {name for name, row in rows.items() if row.parameters} == expected.keys()
    for name, (channels, sees, places) in expected.items():
        assert rows[name].parameters == channels * (sees + 1)
        passes = 2 if name == "conv1" else 3  # the image needs no gradient
        assert rows[name].flop == passes * 2 * channels * sees * places
    facts = network_facts(study.benchmark, network)
    assert facts["parameters"] == parameters == sum(row.parameters for row in rows.values())


def test_the_arithmetic_is_what_torch_counts(study: Study) -> None:
    """Of one tower: torch's counter takes no account of groups on the way back."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        one_tower(1000)(torch.empty(1, 3, 224, 224)).sum().backward()
    rows = layers_of(study.benchmark, "one_tower")
    assert sum(row.flop for row in rows) == counter.get_total_flops()


def test_a_kept_tensor_counts_with_the_layer_that_made_it_and_once(study: Study) -> None:
    """A ReLU works in place, a pooling keeps indices of eight bytes, dropout a mask of floats."""
    rows = {row.layer: row for row in layers_of(study.benchmark, "one_tower")}
    assert rows["image"] == Layer("image", "3×224×224", kept_bytes=4 * 3 * 224**2)
    assert (rows["conv1"].output, rows["conv1"].kept_bytes) == ("64×55×55", 4 * 64 * 55**2)
    assert rows["pool1"].kept_bytes == (4 + 8) * 64 * 27**2
    assert (rows["fc7"].kept_bytes, rows["fc8"].kept_bytes) == (4 * 4096, 0)
    assert rows["fc6"].kept_bytes == 3 * 4 * 4096  # with what dropout makes of it, and its mask
    towers = {row.layer: row for row in layers_of(study.benchmark, "two_towers")}
    assert towers["norm1"].gradient_bytes == 4 * 96 * 55**2
    assert 4 < towers["norm1"].kept_bytes / towers["norm1"].gradient_bytes < 4.1


@pytest.mark.parametrize(
    ("exercise", "variant", "count"),
    [
        ("activation", "relu", 784 * 512 + 512 + 512 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10),
        (
            "schedules",
            "constant",
            (3 * 25 + 1) * 32 + (32 * 25 + 1) * 64 + (64 * 49 + 1) * 256 + 2570,
        ),
        (
            "batchnorm",
            "without_bn",
            (3 * 25 + 1) * 32
            + (32 * 25 + 1) * 64
            + (64 * 9 + 1) * 128
            + (128 * 49 + 1) * 256
            + 2570,
        ),
    ],
)
def test_parameter_counts(study: Study, exercise: str, variant: str, count: int) -> None:
    assert parameter_count(network(study, exercise, variant)) == count


def test_batch_norm_stands_after_each_convolution_and_the_hidden_layer(study: Study) -> None:
    layers = [m for m in network(study, "batchnorm", "with_bn").modules() if not list(m.children())]
    kinds = [type(layer).__name__ for layer in layers]
    block = ["Conv2d", "BatchNorm2d"]
    head = ["Flatten", "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    pooled = [*block, "MaxPool2d", "ReLU"]
    assert kinds == [*pooled, *pooled, *block, "ReLU", *head]


def test_a_seed_gives_every_variant_the_same_weights_where_shapes_allow(study: Study) -> None:
    plain, normed = (network(study, "batchnorm", v) for v in ("without_bn", "with_bn"))
    pairs = [
        [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for net in (plain, normed)
    ]
    assert len(pairs[0]) == 5
    for a, b in zip(*pairs, strict=True):
        assert torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias)
    relu, tanh = (network(study, "activation", v) for v in ("relu", "tanh"))
    assert torch.equal(first(relu), first(tanh))


def test_another_seed_gives_other_weights_and_the_callers_stream_is_left_alone(
    study: Study,
) -> None:
    before = torch.get_rng_state()
    weights = [first(network(study, "schedules", "step", seed)) for seed in (0, 1)]
    assert not torch.equal(*weights)
    assert torch.equal(before, torch.get_rng_state())


def test_more_poolings_than_pixels_is_a_users_error() -> None:
    layers = (Convolution(channels=4, kernel=3, pool=True),) * 6
    model = Cnn(
        kind="cnn",
        convolutions=layers,
        pool_padding=0,
        hidden=8,
        dropout=0,
        batch_norm=False,
        residual=False,
    )
    with pytest.raises(UserError, match="more poolings than pixels; pool fewer times"):
        build(model, CIFAR, 10, 0)
