"""A study at the place where it is run: its runs, with their names, and how they compute."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet_lab.machine.hardware import Device, Hardware
from alexnet_lab.machine.processes import side_by_side
from alexnet_lab.params.recipes import Arithmetic, Recipe
from alexnet_lab.params.study import Study
from alexnet_lab.runs import names
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.store import Store

TOLERANCE = 0.2  # relative error of the gradient: bf16 rounds to 8 bits, a wrong kernel is off by 1
NO_BF16 = {
    "cpu": "this CPU has no bf16 instructions (avx512_bf16 or amx_bf16; on ARM, bf16)",
    "cuda": "this GPU has no bf16 arithmetic (its compute capability is less than 8.0)",
}


@dataclass(frozen=True)
class Site:
    """A study, its data, the machine and the store."""

    study: Study
    data: Path  # the folder of all prepared data sets
    hardware: Hardware
    store: Store
    packages: Mapping[str, str] | None = None  # versions, if not those here

    def runs(self, exercise: str, variant: str, precision: Arithmetic) -> list[Run]:
        """A variant's runs, one per seed. UserError if its data is not there."""
        recipe, folder = self.study.recipe(exercise, variant), self._folder(exercise)
        root = self._root(recipe, folder, precision)
        return [
            Run(
                f"{exercise} {variant} seed {seed}",
                recipe,
                folder,
                self.study.data.held_back,
                seed,
                self.study.threads,
                precision,
                self.hardware,
                names.chain(recipe, seed, root),
            )
            for seed in self.study.seeds_of(exercise)
        ]

    def all_runs(self) -> Iterator[tuple[str, str, list[Run]]]:
        """The runs of every exercise and variant whose data is there, in params.yaml's order."""
        for exercise, content in self.study.exercises.items():
            for variant in content.variants if self._folder(exercise).is_dir() else ():
                precision = self.likely_precision(exercise, variant)
                yield exercise, variant, self.runs(exercise, variant, precision)

    def precision(self, exercise: str, variant: str, say: Callable[[str], None]) -> Arithmetic:
        """The precision that params.yaml names, or that `auto` means here.

        `auto` is bf16 if the hardware computes in it, and computes it right: the variant's own
        gradient is compared once, and the result is kept. If it is not bf16, or bf16 that
        is emulated, say why. UserError if the recipe does not fit the images or the memory.
        """
        wanted = self.study.precision_of(exercise, variant)
        if wanted != "auto" or not self.hardware.bf16:
            if wanted == "auto":
                say(f"precision: fp32, because {NO_BF16[self.hardware.device]}")
            elif wanted == "bf16" and not self.hardware.bf16:
                say(f"precision: bf16, emulated and slow, because {NO_BF16[self.hardware.device]}")
            return self.likely_precision(exercise, variant)
        error = self._known_error(exercise, variant)
        if error is None:
            recipe, folder = self.study.recipe(exercise, variant), self._folder(exercise)
            threads, device = self.study.threads, self.hardware.device
            (error,) = side_by_side([partial(_gradient_error, recipe, folder, threads, device)], 1)
            name = self._root(recipe, folder, "auto")
            self.store.keep_record(name, {"gradient_error": error})
        if error <= TOLERANCE:
            return "bf16"
        say(
            f"precision: fp32, because bf16's gradient is {100 * error:.0f} % off here, more than "
            f"{100 * TOLERANCE:.0f} %"
        )
        return "fp32"

    def likely_precision(self, exercise: str, variant: str) -> Arithmetic:
        """The precision, if bf16's gradient is right wherever it was not compared yet."""
        wanted = self.study.precision_of(exercise, variant)
        if wanted != "auto":
            return wanted
        right = self.hardware.bf16 and (self._known_error(exercise, variant) or 0.0) <= TOLERANCE
        return "bf16" if right else "fp32"

    def _known_error(self, exercise: str, variant: str) -> float | None:
        recipe = self.study.recipe(exercise, variant)
        record = self.store.record(self._root(recipe, self._folder(exercise), "auto"))
        return float(record["gradient_error"]) if record else None

    def _root(self, recipe: Recipe, folder: Path, precision: str) -> str:
        study, kind = self.study, self.hardware.kind
        images, held_back = names.images(folder), study.data.held_back
        return names.root(recipe, images, held_back, study.threads, kind, precision, self.packages)

    def _folder(self, exercise: str) -> Path:
        return self.data / self.study.exercise(exercise).images


def _gradient_error(recipe: Recipe, folder: Path, threads: int, device: Device) -> Iterator[float]:
    from alexnet_lab.learning import precision  # imports torch, in a process of its own

    yield precision.gradient_error(recipe, folder, threads, device)
