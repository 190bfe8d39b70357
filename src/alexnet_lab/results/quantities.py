"""Every quantity, once: its name, label and digits, which way is better, how it is computed.

A column is measured after each epoch and stands in the curves. A quantity is one number per run,
computed from the run's rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from alexnet_lab.params.study import Compare, Quantity
from alexnet_lab.results.runs import Runs

RUN = ["variant", "seed"]  # what identifies a run


@dataclass(frozen=True)
class Column:
    """A number measured after each epoch."""

    label: str
    bounded: bool = True  # if not, it explodes when a run diverges, and is not shown from there


COLUMNS = {
    "lr": Column("learning rate"),
    "train_loss": Column("training loss (nats)", bounded=False),
    "train_loss_clean": Column("training loss, clean (nats)", bounded=False),
    "test_loss": Column("test loss (nats)", bounded=False),
    "test_accuracy": Column("test accuracy (%)"),
    "gradient_norm": Column("gradient norm of the first layer", bounded=False),
}


@dataclass(frozen=True)
class Measure:
    """How a quantity is shown, judged and computed."""

    label: str
    digits: int
    better: Literal["higher", "lower"] | None  # None: neither
    compute: Callable[[Runs], "pd.Series[float]"]  # one number per run; NaN if undefined
    missing: str = "undefined"  # what is shown if it is


def at_last_epoch(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of each run."""
    last = curves.groupby(RUN, sort=False)["epoch"].transform("max")
    return curves[curves["epoch"] == last]


def _final(column: str) -> Callable[[Runs], "pd.Series[float]"]:
    return lambda runs: at_last_epoch(runs.curves).set_index(RUN)[column]


def epochs_to_threshold(runs: Runs) -> "pd.Series[float]":
    """The first epoch, from 1, with at least the threshold's accuracy; NaN if there is none."""
    level = math.inf if runs.compare.threshold is None else runs.compare.threshold
    epochs = runs.curves["epoch"].where(runs.curves["test_accuracy"] >= level)
    return epochs.groupby([runs.curves[key] for key in RUN], sort=False).min()


def _gap(loss: str) -> Callable[[Runs], "pd.Series[float]"]:
    """Test loss less a training loss, the mean over the last ``gap_epochs`` (by default one)."""

    def compute(runs: Runs) -> "pd.Series[float]":
        curves = runs.curves
        last = curves[curves["epoch"] > curves["epoch"].max() - (runs.compare.gap_epochs or 1)]
        gaps: pd.Series[float] = last["test_loss"] - last[loss]
        return gaps.groupby([last[key] for key in RUN], sort=False).mean(skipna=False)

    return compute


def _change_at_jumps(runs: Runs) -> "pd.Series[float]":
    """The mean change of test accuracy in the epochs for which the rate was at least halved."""
    curves, groups = runs.curves, runs.curves.groupby(RUN, sort=False)
    jumped = curves["lr"] <= groups["lr"].shift() / 2
    change = groups["test_accuracy"].diff().where(jumped)
    mean: pd.Series[float] = change.groupby([curves[key] for key in RUN], sort=False).mean()
    return mean


# `gap` is taken with the loss while learning (dropout and augmentation on), as the original
# exercise has it; `gap_clean` with the loss of the same images in evaluation mode.
QUANTITIES: dict[Quantity, Measure] = {
    "final_accuracy": Measure("accuracy (%)", 2, "higher", _final("test_accuracy")),
    "best_accuracy": Measure(
        "best accuracy (%)",
        2,
        "higher",
        lambda runs: runs.curves.groupby(RUN, sort=False)["test_accuracy"].max(),
    ),
    "gradient_norm": Measure("gradient norm", 4, None, _final("gradient_norm")),
    "epochs_to_threshold": Measure(
        "epochs to {threshold:g} %", 1, "lower", epochs_to_threshold, missing="not reached"
    ),
    "gap": Measure("gap", 4, "lower", _gap("train_loss")),
    "gap_clean": Measure("gap, clean", 4, "lower", _gap("train_loss_clean")),
    "change_at_jumps": Measure("change at the cuts (points)", 2, "higher", _change_at_jumps),
    "seconds": Measure(
        "s/epoch",
        2,
        "lower",
        lambda runs: runs.timing.groupby(RUN, sort=False)["seconds"].mean(),
    ),
    "final_train_loss": Measure("train loss", 4, "lower", _final("train_loss")),
    "final_test_loss": Measure("test loss", 4, "lower", _final("test_loss")),
}


def compared_in(compare: Compare) -> tuple[Quantity, ...]:
    """What an exercise's variants are compared in: the final accuracy, then its own quantities."""
    return ("final_accuracy", *compare.quantities)


def label(quantity: Quantity, compare: Compare) -> str:
    """A quantity's label, for the head of a table."""
    return QUANTITIES[quantity].label.format(threshold=compare.threshold)
