"""The small networks that the exercises train.

Convolutions are made in the same order in every variant, so the same seed gives the same initial
weights.
"""

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import Tensor, nn

from alexnet_lab.errors import UserError
from alexnet_lab.learning.random_streams import stream_seed
from alexnet_lab.params import recipes
from alexnet_lab.params.recipes import Arithmetic, Model, Normalize

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class Classifier(nn.Module):
    """A network with its input and its arithmetic: uint8 images in, float32 logits out.

    Images are laid out channels last, which makes oneDNN's convolutions up to twice as fast.
    Under bf16, convolutions and matrix products are bf16, weights and loss fp32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalize: Normalize, precision: Arithmetic) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.bf16 = precision == "bf16"
        for name, values in (("mean", normalize.mean), ("std", normalize.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) uint8 to logits (B, classes) float32."""
        scaled = self.normalized(images).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.network(scaled)
        return logits.to(self.mean.dtype)

    def normalized(self, images: Tensor) -> Tensor:
        """Scale images (B, C, H, W) uint8 to (x / 255 - mean) / std, per channel."""
        return images.to(self.mean.dtype).div_(255).sub_(self.mean).div_(self.std)

    @property
    def first_weight(self) -> nn.Parameter:
        """The weights of the first layer, which see the image."""
        return next(self.network.parameters())


def build(model: Model, image_shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """Build the network for images (C, H, W), its weights drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "weights"))
        match model:
            case recipes.Mlp():
                return mlp(model, image_shape, classes)
            case recipes.Cnn():
                return cnn(model, image_shape, classes)


def mlp(model: recipes.Mlp, image_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Build a linear layer and an activation per hidden layer, then one to the classes."""
    channels, height, width = image_shape
    widths = [channels * height * width, *model.hidden]
    layers: list[nn.Module] = [nn.Flatten()]  # (B, C, H, W) -> (B, C·H·W)
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[model.activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def cnn(model: recipes.Cnn, image_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Build the convolutions, a hidden layer with dropout, and a linear layer to the classes.

    Batch norm, if any, stands before each ReLU. Max pooling and ReLU commute, so the pooling
    comes first: ReLU then sees a quarter of the pixels. UserError if nothing is left to pool.
    """
    channels, height, width = image_shape
    features: list[nn.Module] = []
    shortcuts: list[Shortcut] = []
    padding = model.pool_padding
    for layer in model.convolutions:
        convolution: list[nn.Module] = [
            nn.Conv2d(channels, layer.channels, layer.kernel, padding=layer.kernel // 2)
        ]
        convolution += [nn.BatchNorm2d(layer.channels)] if model.batch_norm else []
        if model.residual and features:
            shortcuts.append(Shortcut(nn.Sequential(*convolution), channels, layer.channels))
            convolution = [shortcuts[-1]]
        features += convolution
        channels = layer.channels
        if layer.pool:
            features.append(nn.MaxPool2d(3, stride=2, padding=padding))
            height, width = ((side + 2 * padding - 3) // 2 + 1 for side in (height, width))
        features.append(nn.ReLU(inplace=True))
        if min(height, width) < 1:
            raise UserError(
                "params.yaml: model.convolutions has more poolings than pixels; pool fewer times."
            )
    classifier = [
        nn.Flatten(),
        nn.Linear(channels * height * width, model.hidden),
        *([nn.BatchNorm1d(model.hidden)] if model.batch_norm else []),
        nn.ReLU(inplace=True),
        nn.Dropout(model.dropout),
        nn.Linear(model.hidden, classes),
    ]
    for shortcut in shortcuts:  # last, so that all other weights are those without it
        shortcut.add_projection()
    parts = {"features": nn.Sequential(*features), "classifier": nn.Sequential(*classifier)}
    return nn.Sequential(OrderedDict(parts))


class Shortcut(nn.Module):
    """A convolution, plus its input: projected by 1×1 if the channels differ.

    He, Zhang, Ren and Sun, "Deep Residual Learning" (arXiv:1512.03385), option B.
    """

    def __init__(self, body: nn.Module, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body, self.channels = body, (channels_in, channels_out)
        self.projection: nn.Module = nn.Identity()

    def add_projection(self) -> None:
        """Draw the weights of the projection, if one is needed."""
        if self.channels[0] != self.channels[1]:
            self.projection = nn.Conv2d(*self.channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, H, W) to (B, channels_out, H, W)."""
        added: Tensor = self.body(x) + self.projection(x)
        return added
