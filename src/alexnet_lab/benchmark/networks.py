"""AlexNet, as it is built today and as it was in 2012: sequences of named layers.

``one_tower`` is the single-column network of Krizhevsky's "One weird trick" (arXiv:1404.5997), as
in torchvision: 61.1 M parameters. ``two_towers`` is that of Krizhevsky, Sutskever and Hinton
(2012), 60.97 M parameters: two halves, one for each GPU, which meet in the third convolution and
in the linear layers. Here both halves are groups of one convolution on one device.
"""

from collections.abc import Callable

from torch import nn

from alexnet_lab.params.study import Network


def one_tower(classes: int) -> nn.Sequential:
    """Map images (B, 3, 224, 224) to logits (B, classes); other sizes are pooled to 6×6."""
    layers = {
        "conv1": nn.Conv2d(3, 64, 11, stride=4, padding=2),  # -> (B, 64, 55, 55)
        "relu1": nn.ReLU(inplace=True),
        "pool1": nn.MaxPool2d(3, stride=2),  # -> (B, 64, 27, 27)
        "conv2": nn.Conv2d(64, 192, 5, padding=2),
        "relu2": nn.ReLU(inplace=True),
        "pool2": nn.MaxPool2d(3, stride=2),  # -> (B, 192, 13, 13)
        "conv3": nn.Conv2d(192, 384, 3, padding=1),
        "relu3": nn.ReLU(inplace=True),
        "conv4": nn.Conv2d(384, 256, 3, padding=1),
        "relu4": nn.ReLU(inplace=True),
        "conv5": nn.Conv2d(256, 256, 3, padding=1),
        "relu5": nn.ReLU(inplace=True),
        "pool5": nn.MaxPool2d(3, stride=2),  # -> (B, 256, 6, 6)
        "average": nn.AdaptiveAvgPool2d((6, 6)),
        "flat": nn.Flatten(),  # -> (B, 9216)
        "dropout6": nn.Dropout(0.5),
        "fc6": nn.Linear(256 * 6 * 6, 4096),
        "relu6": nn.ReLU(inplace=True),
        "dropout7": nn.Dropout(0.5),
        "fc7": nn.Linear(4096, 4096),
        "relu7": nn.ReLU(inplace=True),
        "fc8": nn.Linear(4096, classes),
    }
    return _named(layers)


def two_towers(classes: int) -> nn.Sequential:
    """Map images (B, 3, 224, 224) to logits (B, classes); other sizes are pooled to 6×6.

    The paper's layers: local response normalisation before the first two poolings, dropout after
    the two hidden linear layers.
    """
    layers = {
        "conv1": nn.Conv2d(3, 96, 11, stride=4, padding=2),  # -> (B, 96, 55, 55)
        "relu1": nn.ReLU(inplace=True),
        "norm1": _normalisation(),
        "pool1": nn.MaxPool2d(3, stride=2),  # -> (B, 96, 27, 27)
        "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2),
        "relu2": nn.ReLU(inplace=True),
        "norm2": _normalisation(),
        "pool2": nn.MaxPool2d(3, stride=2),  # -> (B, 256, 13, 13)
        "conv3": nn.Conv2d(256, 384, 3, padding=1),  # the towers meet
        "relu3": nn.ReLU(inplace=True),
        "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=2),
        "relu4": nn.ReLU(inplace=True),
        "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=2),
        "relu5": nn.ReLU(inplace=True),
        "pool5": nn.MaxPool2d(3, stride=2),  # -> (B, 256, 6, 6)
        "average": nn.AdaptiveAvgPool2d((6, 6)),
        "flat": nn.Flatten(),  # -> (B, 9216)
        "fc6": nn.Linear(256 * 6 * 6, 4096),
        "relu6": nn.ReLU(inplace=True),
        "dropout6": nn.Dropout(0.5),
        "fc7": nn.Linear(4096, 4096),
        "relu7": nn.ReLU(inplace=True),
        "dropout7": nn.Dropout(0.5),
        "fc8": nn.Linear(4096, classes),
    }
    return _named(layers)


NETWORKS: dict[Network, Callable[[int], nn.Sequential]] = {
    "one_tower": one_tower,
    "two_towers": two_towers,
}


def _normalisation() -> nn.LocalResponseNorm:
    """Over five channels, with the paper's constants: torch divides alpha by the five."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)


def _named(layers: dict[str, nn.Module]) -> nn.Sequential:
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network
