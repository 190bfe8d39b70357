"""What one training run is made of: model, optimiser, schedule, augmentation.

Nothing here has a default: every value stands in params.yaml.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from alexnet_lab.params.fields import Count, Fraction, Number, Positive, Probability, Strict


class Mlp(Strict):
    """Fully connected layers on the flattened image, then one to the classes."""

    kind: Literal["mlp"]
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)]
    activation: Literal["relu", "sigmoid", "tanh"]


class Convolution(Strict):
    """Stride 1, padded to keep the size; ``pool`` adds a 3×3 max pooling of stride 2."""

    channels: Count
    kernel: Count
    pool: bool

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("should be odd, so that padding keeps the size")
        return kernel


class Cnn(Strict):
    """A small AlexNet: convolutions, one hidden layer with dropout, the classes.

    ``residual`` adds a shortcut around each convolution after the first.
    """

    kind: Literal["cnn"]
    convolutions: Annotated[tuple[Convolution, ...], Field(min_length=1)]
    pool_padding: Literal[0, 1]  # pixels: 32 -> 15 -> 7 without, 32 -> 16 -> 8 with
    hidden: Count
    dropout: Fraction
    batch_norm: bool
    residual: bool


class Sgd(Strict):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    momentum: Fraction
    weight_decay: Annotated[Number, Field(ge=0)]  # of all weights and biases, as torch has it


class Adam(Strict):
    """Adam with torch's own betas (0.9, 0.999) and epsilon (1e-8)."""

    kind: Literal["adam"]


class Constant(Strict):
    """The base rate throughout."""

    kind: Literal["constant"]


class Step(Strict):
    """Times ``gamma`` every ``every`` epochs."""

    kind: Literal["step"]
    every: Count
    gamma: Positive


class Exponential(Strict):
    """Times ``gamma`` after each epoch."""

    kind: Literal["exponential"]
    gamma: Positive


class Cosine(Strict):
    """Half a cosine, from the base rate towards 0 over all epochs."""

    kind: Literal["cosine"]


class WarmupCosine(Strict):
    """Linear over ``warmup_epochs``, then half a cosine over the others."""

    kind: Literal["warmup_cosine"]
    warmup_epochs: Count


class Flip(Strict):
    """Horizontal, with probability ``p``."""

    op: Literal["flip"]
    p: Probability


class Rotate(Strict):
    """About the centre by U(-degrees, degrees), nearest pixel, black corners."""

    op: Literal["rotate"]
    degrees: Annotated[Number, Field(ge=0, le=180)]


class Translate(Strict):
    """Whole pixels, each axis by U(-fraction, fraction) of the size, black edges."""

    op: Literal["translate"]
    fraction: Probability


class Jitter(Strict):
    """Brightness, contrast, saturation by U(1-x, 1+x), in random order."""

    op: Literal["jitter"]
    brightness: Probability
    contrast: Probability
    saturation: Probability


class Perspective(Strict):
    """Corners moved inwards by up to ``distortion``/2 of the size, with probability ``p``."""

    op: Literal["perspective"]
    distortion: Probability
    p: Probability


Model = Annotated[Mlp | Cnn, Field(discriminator="kind")]
Optimizer = Annotated[Sgd | Adam, Field(discriminator="kind")]
Schedule = Annotated[
    Constant | Step | Exponential | Cosine | WarmupCosine, Field(discriminator="kind")
]
Op = Annotated[Flip | Rotate | Translate | Jitter | Perspective, Field(discriminator="op")]


class Normalize(Strict):
    """(x - mean) / std per channel, of pixels in 0..1."""

    mean: tuple[Number, ...]
    std: tuple[Positive, ...]


Arithmetic = Literal["fp32", "bf16"]  # of the network; its weights are fp32 in both


class Recipe(Strict):
    """Everything that one training run is made of, but its data and its seed."""

    normalize: Normalize
    model: Model
    optimizer: Optimizer
    lr: Positive
    schedule: Schedule
    batch_size: Count
    epochs: Count
    augment: tuple[Op, ...]
    label_smoothing: Fraction
    clean_train_loss: bool
    precision: Arithmetic | None  # null: that of the whole study
