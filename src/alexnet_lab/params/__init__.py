"""What does params.yaml say? A typed, frozen view; the only reader of that file.

Nothing here has a default that could change a result: a value stands in params.yaml
or is asked for by name. Whatever is wrong becomes one sentence that names the key.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from alexnet_lab.errors import UserError

OVERRIDES = ("lr", "epochs", "batch_size")  # top-level keys that override every recipe


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


# DVC writes 5e-05, which PyYAML reads as a string; pydantic turns it into the number.
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Integer = Annotated[int, BeforeValidator(_no_bool)]
Count = Annotated[Integer, Field(ge=1, le=10**9)]
Positive = Annotated[Number, Field(gt=0)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
# YAML 1.1 reads the first line's as booleans and null, DVC's run-cache overlooks the second's.
RESERVED = {"on", "off", "yes", "no", "y", "n", "true", "false", "null"}
RESERVED |= {"size", "nfiles", "isexec"}


def _name(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch("[a-z][a-z0-9_]*", value):
        raise ValueError(f"the name {value!r} should be a-z, 0-9 and _, and start with a letter")
    if value in RESERVED:
        raise ValueError(f"the name '{value}' is something else to YAML or DVC; choose another")
    return value


Name = Annotated[str, BeforeValidator(_name)]


class Strict(BaseModel):
    """Frozen, and an unknown key is an error that lists the known ones."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        unknown = sorted(map(str, set(data) - set(cls.model_fields))) if _is_map(data) else []
        if unknown and not cls.model_config.get("extra"):
            known = ", ".join(cls.model_fields)
            raise ValueError(f"has the unknown key {unknown[0]!r}; allowed here: {known}")
        return data


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
    """A small AlexNet: convolutions, one hidden layer with dropout, the classes."""

    kind: Literal["cnn"]
    convolutions: Annotated[tuple[Convolution, ...], Field(min_length=1)]
    hidden: Count
    dropout: Fraction
    batch_norm: bool


class Sgd(Strict):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    momentum: Fraction


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
    clean_train_loss: bool


Panel = Literal[
    "train_loss",
    "test_loss",
    "train_and_test_loss",
    "test_accuracy",
    "gradient_norm",
    "learning_rate",
    "final_accuracy",
    "epochs_to_threshold",
    "gap",
    "seconds",
]


class Compare(Strict):
    """What the comparison of an exercise's variants shows; None leaves it out."""

    baseline: str  # the variant that the others are compared with
    panels: Annotated[tuple[Panel, ...], Field(min_length=1)]
    threshold: Annotated[Number, Field(gt=0, lt=100)] | None = None
    gap_epochs: Count | None = None

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if "epochs_to_threshold" in self.panels and self.threshold is None:
            raise ValueError("has the panel epochs_to_threshold, so it needs a threshold (in %)")
        if "gap" in self.panels and self.gap_epochs is None:
            raise ValueError("has the panel gap, so it needs gap_epochs")
        return self


Quantity = Literal[
    "final_accuracy",
    "best_accuracy",
    "gradient_norm",
    "epochs_to_threshold",
    "gap",
    "change_at_jumps",
    "seconds",
    "speed_up",
]


class Value(Strict):
    """A quantity of one variant."""

    kind: Literal["value"]
    says: str
    quantity: Quantity
    of: str
    value: Number


class Difference(Strict):
    """Of one variant less another."""

    kind: Literal["difference"]
    says: str
    quantity: Quantity
    of: str
    less: str
    value: Number


class Ratio(Strict):
    """Of one variant over another."""

    kind: Literal["ratio"]
    says: str
    quantity: Quantity
    of: str
    over: str
    value: Positive


class Order(Strict):
    """Of variants, the largest first."""

    kind: Literal["order"]
    says: str
    quantity: Quantity
    order: Annotated[tuple[str, ...], Field(min_length=2)]


class Below(Strict):
    """A quantity of one variant is less than a number."""

    kind: Literal["below"]
    says: str
    quantity: Quantity
    of: str
    below: Number


class Unmeasured(Strict):
    """No exercise measures it."""

    kind: Literal["unmeasured"]
    says: str
    because: str


Claim = Annotated[
    Value | Difference | Ratio | Order | Below | Unmeasured, Field(discriminator="kind")
]
Claims = dict[Name, Claim]


def _unique(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("should not repeat a seed: the same seed gives the same run")
    return seeds


Seeds = Annotated[
    tuple[Annotated[Integer, Field(ge=0, lt=2**63)], ...],
    Field(min_length=1),
    AfterValidator(_unique),
]


class Exercise(Strict):
    """A base recipe, and variants that differ from it."""

    question: str
    what_if: str  # what a curious reader changes next, as `dvc exp run -S` takes it
    seeds: Seeds
    train: Recipe
    compare: Compare
    claims: Claims = Field(default_factory=dict)  # of the original; an exercise of yours has none
    variants: Annotated[dict[Name, Recipe], Field(min_length=1)]

    @field_validator("variants", mode="before")
    @classmethod
    def _complete(cls, variants: Any, info: ValidationInfo) -> Any:
        """A variant is written as its difference from the base, and read as a recipe."""
        base = info.data.get("train")
        if not _is_map(variants) or base is None:
            return variants
        return {
            name: merge(base.model_dump(), {} if diff is None else diff)
            for name, diff in variants.items()
        }

    @model_validator(mode="after")
    def _has_baseline(self) -> Self:
        if self.compare.baseline not in self.variants:
            raise ValueError(f"has no variant '{self.compare.baseline}', its compare.baseline")
        return self

    def claimed(self, quantity: Quantity) -> dict[str, float]:
        """The original's numbers of a quantity, by variant."""
        values = [claim for claim in self.claims.values() if isinstance(claim, Value)]
        return {claim.of: claim.value for claim in values if claim.quantity == quantity}


class Target(Strict):
    """Where a benchmark variant runs; here the device is what is studied."""

    device: Literal["cpu", "cuda"]


class Benchmark(Strict):
    """AlexNet training steps on random images."""

    question: str
    what_if: str
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)]
    warmup_iterations: Count
    iterations: Count
    lr: Positive
    image_pixels: Annotated[Integer, Field(ge=63, le=10**4)]  # below, AlexNet pools to nothing
    classes: Annotated[Integer, Field(ge=2, le=10**9)]
    claims: Claims
    variants: Annotated[dict[Name, Target], Field(min_length=1)]


class Data(Strict):
    """Which images: all of them, or the sample that is in git."""

    source: Literal["official", "sample"]


class Study(Strict):
    """The whole of params.yaml. Every other top-level key is an exercise."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Exercise] = Field(init=False)

    lr: Positive | None
    epochs: Count | None
    batch_size: Count | None
    seeds: Seeds | None
    threads: Count
    precision: Literal["auto"] | Arithmetic
    data: Data
    takeaways: Claims
    benchmark: Benchmark

    @property
    def exercises(self) -> dict[str, Exercise]:
        """The training exercises, in the file's order."""
        return dict(self.__pydantic_extra__)

    def exercise(self, name: str) -> Exercise:
        """One exercise; UserError if there is none of that name."""
        if name not in self.exercises:
            raise UserError(f"params.yaml has no exercise '{name}'; it has {list(self.exercises)}")
        return self.exercises[name]

    def recipe(self, exercise: str, variant: str) -> Recipe:
        """The variant's recipe with the top-level what-ifs applied."""
        variants = self.exercise(exercise).variants
        if variant not in variants:
            raise UserError(f"params.yaml: {exercise}.variants has no '{variant}'")
        return variants[variant].model_copy(update=self.overridden)

    def seeds_of(self, exercise: str) -> tuple[int, ...]:
        """One run of every variant for each; the top-level what-if overrides."""
        return self.seeds or self.exercise(exercise).seeds

    @property
    def overridden(self) -> dict[str, float]:
        """The top-level what-ifs that are set."""
        return {key: value for key in OVERRIDES if (value := getattr(self, key)) is not None}


KNOWN = tuple(Study.model_fields)  # the top-level keys that are not exercises


def load(path: Path = Path("params.yaml")) -> Study:
    """Read and check the whole file. UserError, one sentence, if anything is wrong."""
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return parse(raw, str(path))


def parse(raw: Any, name: str = "params.yaml") -> Study:
    """Check what a YAML file held. UserError, one sentence, if anything is wrong."""
    if not _is_map(raw):
        raise UserError(f"{name} should be a mapping of names to values.")
    try:
        for key in raw:
            _name(key)
    except ValueError as error:
        raise UserError(f"{name}: {error}.") from error
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{name}: {' '.join(_sentence(error, raw).split())}") from error


def merge(base: Any, diff: Any) -> Any:
    """The base with the difference laid over it.

    Mappings merge key by key; one that names another ``kind`` replaces the base's.
    """
    if (
        not _is_map(base)
        or not _is_map(diff)
        or diff.get("kind", base.get("kind")) != base.get("kind")
    ):
        return diff
    merged = {key: merge(base[key], diff[key]) if key in diff else base[key] for key in base}
    return merged | {key: diff[key] for key in diff if key not in base}


def _is_map(data: Any) -> bool:
    return isinstance(data, Mapping)


def _sentence(error: ValidationError, raw: Any) -> str:
    """The first fault, in words: the key as the user wrote it, and what is allowed."""
    fault = error.errors(include_url=False)[0]
    location = fault["loc"]
    if fault["type"] == "model_type" and len(location) == 1 and location[0] not in KNOWN:
        return (
            f"unknown key '{location[0]}'; allowed at the top are {', '.join(KNOWN)} and exercises "
            "with question, train, compare and variants."
        )
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = re.sub("dictionary.*", "mapping", message.replace("tuple", "list"))
    key = _written(location, raw, fault["type"] == "missing")
    if location[-1] == "[key]":  # the message names it
        return f"{_written(location[:-2], raw, missing=False)}: {message}."
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        tag = context["discriminator"].strip("'")
        return f"{key}.{tag} should be one of {context['expected_tags']}, not '{context['tag']}'."
    if fault["type"] == "too_short":
        message = "should have at least one entry"
    got = fault["input"]
    shown = fault["type"] not in ("missing", "too_short") and not isinstance(got, Mapping)
    return f"{key} {message[0].lower()}{message[1:]}{f', not {got!r}' if shown else ''}."


def _written(location: tuple[int | str, ...], raw: Any, missing: bool) -> str:
    """The location without the union tags that pydantic puts in."""
    path, node = "", raw
    for index, step in enumerate(location):
        if isinstance(node, Mapping) and step in node:
            path, node = f"{path}.{step}", node[step]
        elif isinstance(node, list | tuple) and isinstance(step, int) and step < len(node):
            path, node = f"{path}[{step}]", node[step]
        elif index == len(location) - 1 and missing:
            path = f"{path}.{step}"
    return path.removeprefix(".")
