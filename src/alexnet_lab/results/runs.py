"""All runs of one exercise, as they are read from metrics/."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from alexnet_lab.data.sources import image_set
from alexnet_lab.errors import UserError
from alexnet_lab.params.study import Compare, Exercise

CORES = r", \d+ cores?$"  # at the end of the name of the hardware


@dataclass(frozen=True)
class Runs:
    """What was measured, and how the exercise wants it compared."""

    curves: pd.DataFrame  # one row per (variant, seed, epoch): quantities.COLUMNS
    timing: pd.DataFrame  # likewise: seconds, hardware, precision
    compare: Compare
    classes: int  # of the images
    asked: Mapping[str, str] = field(default_factory=dict)  # the precision of variants that set one

    @cached_property
    def places(self) -> dict[str, str]:
        """Where each variant ran: kind of hardware without its number of cores, and arithmetic.

        Without the arithmetic if variants differ in it because they ask for it.
        """
        place = self.timing["hardware"].str.replace(CORES, "", regex=True)
        if not self._computed_as_asked():
            place = self.timing["precision"] + " on " + place
        by_variant = place.groupby(self.timing["variant"], sort=False).unique()
        return {str(name): " and ".join(sorted(found)) for name, found in by_variant.items()}

    def _computed_as_asked(self) -> bool:
        """Whether a variant that sets a precision ran in it, and all others in the same one."""
        precisions = self.timing.groupby("variant")["precision"].unique()
        free = {
            each for name, some in precisions.items() if name not in self.asked for each in some
        }
        asked = [{*precisions.get(name, ())} == {each} for name, each in self.asked.items()]
        return bool(asked) and all(asked) and len(free) <= 1

    @property
    def apart(self) -> set[str]:
        """The variants that ran elsewhere than the baseline, so are not comparable with it."""
        here = self.places.get(self.compare.baseline)
        return {name for name, place in self.places.items() if here and place != here}

    def starred(self, variant: str) -> str:
        """The name, with a star if it ran elsewhere than the baseline."""
        return f"{variant}*" if variant in self.apart else variant

    @property
    def variants(self) -> list[str]:
        """The names of the variants, in the order of params.yaml."""
        return list(self.curves["variant"].unique())


def read(exercise: Exercise, curves: Path, timing: Path) -> Runs:
    """Read an exercise's runs from two folders of CSV files. UserError if one is missing."""
    return replace(read_curves(exercise, curves), timing=read_runs(timing, exercise.variants))


def read_curves(exercise: Exercise, curves: Path) -> Runs:
    """Read an exercise's runs without their times. UserError if a file is missing."""
    return runs_of(exercise, read_runs(curves, exercise.variants), pd.DataFrame())


def runs_of(exercise: Exercise, curves: pd.DataFrame, timing: pd.DataFrame) -> Runs:
    """An exercise's runs from their rows; its last epochs are all there are, if there are fewer."""
    last = min(exercise.compare.last_epochs, int(curves["epoch"].max()))
    compare = exercise.compare.model_copy(update={"last_epochs": last})
    asked = {
        name: recipe.precision for name, recipe in exercise.variants.items() if recipe.precision
    }
    return Runs(curves, timing, compare, image_set(exercise.images).classes, asked)


def read_runs(folder: Path, variants: Iterable[str]) -> pd.DataFrame:
    """Read the variants' CSV files as one frame with a column ``variant``; ignore other files.

    UserError if one is missing or is no CSV file.
    """
    frames = [read_csv(folder / f"{name}.csv").assign(variant=name) for name in variants]
    return pd.concat(frames, ignore_index=True)


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file. UserError if it is missing or is no such file."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `dvc repro` makes it.") from error
