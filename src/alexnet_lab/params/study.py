"""params.yaml as a whole: the exercises, the benchmark, and the what-ifs above them."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from alexnet_lab.errors import UserError
from alexnet_lab.params.fields import Count, Integer, Name, Number, Positive, Seeds, Strict, shown
from alexnet_lab.params.recipes import Arithmetic, Recipe

OVERRIDES = ("lr", "epochs", "batch_size")  # top-level keys that override every recipe

# What an exercise's figure can show: results/panels.py draws each.
_Lines = Literal["train_loss", "test_loss", "train_and_test_loss", "test_accuracy"]
_Measured = Literal["gradient_norm", "learning_rate", "seconds"]
_Dots = Literal["window_accuracy", "final_accuracy", "differences", "epochs_to_threshold", "gap"]
Panel = Literal[_Lines, _Measured, _Dots]

# One number per run, which variants are compared in and claims are about: results/quantities.py
# computes each, results/throughput.py those of the benchmark.
_Accuracy = Literal["window_accuracy", "final_accuracy", "best_accuracy", "held_back_accuracy"]
_Fit = Literal["train_accuracy", "final_train_loss", "final_test_loss", "gap", "gap_clean"]
_Gradient = Literal["gradient_norm", "gradient_reach"]
_Course = Literal["epochs_to_threshold", "roughness", "seconds", "run_seconds"]
_OfBenchmark = Literal["speed_up", "cpu_seconds", "gpu_seconds", "cpu_rate", "gpu_rate"]
Quantity = Literal[_Accuracy, _Fit, _Gradient, _Course, _OfBenchmark]
OF_THE_BENCHMARK = {*get_args(_OfBenchmark)}


class Compare(Strict):
    """How an exercise's variants are compared, and what its figure shows."""

    baseline: str  # the variant that the others are compared with
    # Or this other one, by variant; null: none.
    against: dict[Name, Name | None] = Field(default_factory=dict)
    last_epochs: Count  # the window: what is compared are means over so many last epochs
    margins: dict[Quantity, Positive]  # the smallest difference that matters, in what is compared
    quantities: tuple[Quantity, ...]  # what is shown besides; the first of all is a metric too
    panels: Annotated[tuple[Panel, ...], Field(min_length=1)]
    threshold: Annotated[Number, Field(gt=0, lt=100)] | None = None  # % test accuracy

    @field_validator("margins", "quantities")
    @classmethod
    def _of_training(cls, quantities: Any) -> Any:
        if strange := {*quantities} & OF_THE_BENCHMARK:
            raise ValueError(f"should not name {min(strange)}, which is the benchmark's")
        if len({*quantities}) < len(quantities):
            raise ValueError("should not repeat a quantity")
        return quantities

    def pairs(self, variants: Iterable[str]) -> list[tuple[str, str]]:
        """Each variant that is compared with another one, and that one."""
        others = {v: self.against.get(v, self.baseline) for v in variants if v != self.baseline}
        return [(variant, other) for variant, other in others.items() if other]

    @property
    def ranks(self) -> bool:
        """Whether variants may be ranked: none is of another recipe, and so compared with none."""
        return None not in self.against.values()

    def judges(self, variant: str, other: str, variants: Iterable[str]) -> bool:
        """Whether these two, which may be missing, are compared with each other."""
        pairs = self.pairs(variants)
        return (variant, other) in pairs or (other, variant) in pairs

    @property
    def shown(self) -> tuple[Quantity, ...]:
        """What a summary shows: accuracies, then what is compared, then the other quantities."""
        every = ("window_accuracy", "final_accuracy", *self.margins, *self.quantities)
        return tuple(dict.fromkeys(every))

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if "epochs_to_threshold" in {*self.panels, *self.shown} and self.threshold is None:
            raise ValueError("shows epochs_to_threshold, so it needs a threshold (in %)")
        return self


class Exercise(Strict):
    """A base recipe, and variants that differ from it."""

    images: Name  # the data set, by its name in data/
    seeds: Seeds
    train: Recipe
    compare: Compare
    variants: Annotated[dict[Name, Recipe], Field(min_length=1)]

    @field_validator("variants", mode="before")
    @classmethod
    def _complete(cls, variants: Any, info: ValidationInfo) -> Any:
        """A variant is written as its difference from the base; it is read as a whole recipe."""
        base = info.data.get("train")
        if not isinstance(variants, dict) or base is None:
            return variants
        whole = base.model_dump()
        return {v: merge(whole, {} if diff is None else diff) for v, diff in variants.items()}

    @model_validator(mode="after")
    def _has_baseline(self) -> Self:
        if self.compare.baseline not in self.variants:
            raise ValueError(f"has no variant {shown(self.compare.baseline)}, its compare.baseline")
        for variant, other in self.compare.against.items():
            if unknown := {variant, other or variant} - {*self.variants}:
                raise ValueError(
                    f"has no variant {shown(min(unknown))}, which compare.against names"
                )
            if variant in (other, self.compare.baseline):
                raise ValueError(
                    f"should not name '{variant}' in compare.against: it would be compared with "
                    "itself, or is the baseline"
                )
        return self


# What the benchmark can time: benchmark/networks.py builds each.
Network = Literal["one_tower", "two_towers"]


class Target(Strict):
    """What a benchmark variant times, and where; here the device is what is studied."""

    device: Literal["cpu", "cuda"]
    # Several take turns, batch size by batch size, so whatever slows the machine slows them all.
    networks: Annotated[tuple[Network, ...], Field(min_length=1)] = ("one_tower",)


class Benchmark(Strict):
    """AlexNet training steps on random images."""

    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)]
    warmup_iterations: Count
    iterations: Count
    lr: Positive
    image_pixels: Annotated[Integer, Field(ge=63, le=10**4)]  # below, AlexNet pools to nothing
    classes: Annotated[Integer, Field(ge=2, le=10**9)]
    variants: Annotated[dict[Name, Target], Field(min_length=1)]


class Data(Strict):
    """Which images: all of them, or the sample that is in git."""

    source: Literal["official", "sample"]
    held_back: Annotated[Integer, Field(ge=0, le=10**6)]  # training images


class Study(Strict):
    """The whole of params.yaml. Every other top-level key is an exercise."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Exercise] = Field(init=False)

    lr: Positive | None
    epochs: Count | None
    batch_size: Count | None
    seeds: Seeds | None
    threads: Count
    precision: Literal["auto", "fp32", "bf16"]
    data: Data
    benchmark: Benchmark

    @property
    def exercises(self) -> dict[str, Exercise]:
        """The training exercises, in the file's order."""
        return dict(self.__pydantic_extra__)

    def exercise(self, name: str) -> Exercise:
        """The exercise of that name. UserError if there is none."""
        if name not in self.exercises:
            raise UserError(f"params.yaml has no exercise '{name}'; it has {list(self.exercises)}")
        return self.exercises[name]

    def recipe(self, exercise: str, variant: str) -> Recipe:
        """The variant's recipe with the top-level what-ifs applied."""
        variants = self.exercise(exercise).variants
        if variant not in variants:
            raise UserError(f"params.yaml: {exercise}.variants has no '{variant}'")
        return variants[variant].model_copy(update=self.overridden)

    def precision_of(self, exercise: str, variant: str) -> Literal["auto"] | Arithmetic:
        """What a variant should compute in: its own precision, or else the study's."""
        return self.recipe(exercise, variant).precision or self.precision

    def seeds_of(self, exercise: str) -> tuple[int, ...]:
        """The seeds of an exercise: one run of every variant for each."""
        return self.seeds or self.exercise(exercise).seeds

    @property
    def overridden(self) -> dict[str, float]:
        """The top-level what-ifs that are set."""
        return {key: value for key in OVERRIDES if (value := getattr(self, key)) is not None}


def merge(base: Any, diff: Any) -> Any:
    """Lay a difference over a base.

    Mappings merge key by key; one that names another ``kind`` replaces the base's.
    """
    if not (isinstance(base, dict) and isinstance(diff, dict)):
        return diff
    if diff.get("kind", base.get("kind")) != base.get("kind"):
        return diff
    return base | {key: merge(base.get(key), value) for key, value in diff.items()}
