"""Layers and parameter counts are torchvision's, or those worked out by hand."""

import pytest
import torch
import torchvision
from torch import nn

from alexnet_lab.benchmark.networks import AlexNet, parameter_count
from alexnet_lab.errors import UserError
from alexnet_lab.learning.models import build
from alexnet_lab.params.recipes import Cnn, Convolution
from alexnet_lab.params.study import Study

CIFAR = (3, 32, 32)


def network(study: Study, exercise: str, variant: str, seed: int = 0) -> nn.Module:
    shape = (1, 28, 28) if exercise == "activation" else CIFAR
    return build(study.recipe(exercise, variant).model, shape, 10, seed)


def first(net: nn.Module) -> nn.Parameter:
    return next(net.parameters())


def test_alexnet_is_torchvisions() -> None:
    ours, theirs = AlexNet(), torchvision.models.alexnet(weights=None)
    assert parameter_count(ours) == 61_100_840
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


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
