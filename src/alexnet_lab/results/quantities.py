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
from alexnet_lab.results.statistics import Sample

RUN = ["variant", "seed"]  # what identifies a run

COLUMNS = {
    "lr": "learning rate",
    "train_loss": "training loss (nats)",
    "train_loss_clean": "training loss, clean (nats)",
    "test_loss": "test loss (nats)",
    "test_accuracy": "test accuracy (%)",
    "gradient_norm": "gradient norm of the first layer",
    "train_accuracy": "training accuracy, clean (%)",
    "held_back_accuracy": "accuracy on held-back images (%)",
}
# They explode when a run diverges, and are not shown from there.
UNBOUNDED = {"train_loss", "train_loss_clean", "test_loss", "gradient_norm"}


@dataclass(frozen=True)
class Measure:
    """How a quantity is shown, judged and computed."""

    label: str
    digits: int
    better: Literal["higher", "lower"] | None  # None: neither
    compute: Callable[[Runs], "pd.Series[float]"]  # one number per run; NaN if undefined
    missing: str = "undefined"  # what is shown if it is


def _final(column: str) -> Callable[[Runs], "pd.Series[float]"]:
    """A column in the last row of each run."""
    return lambda runs: runs.curves.groupby(RUN, sort=False).tail(1).set_index(RUN)[column]


def epochs_to_threshold(runs: Runs) -> "pd.Series[float]":
    """The first epoch, from 1, with at least the threshold's accuracy; NaN if there is none."""
    level = math.inf if runs.compare.threshold is None else runs.compare.threshold
    rows = runs.curves.set_index(RUN)
    epochs = rows["epoch"].where(rows["test_accuracy"] >= level)
    return epochs.groupby(level=RUN, sort=False).min()


def _window(column: str, less: str | None = None) -> Callable[[Runs], "pd.Series[float]"]:
    """A column, less another, as a mean over each run's ``last_epochs``."""

    def compute(runs: Runs) -> "pd.Series[float]":
        rows = runs.curves.set_index(RUN)
        values: pd.Series[float] = rows[column] - (rows[less] if less else 0)
        last = values.groupby(level=RUN, sort=False).tail(runs.compare.last_epochs)
        return last.groupby(level=RUN, sort=False).mean(skipna=False)

    return compute


def _roughness(runs: Runs) -> "pd.Series[float]":
    """The largest change of test accuracy from one epoch to the next, after the fifth."""
    late = runs.curves[runs.curves["epoch"] >= 5].set_index(RUN)["test_accuracy"]
    steps: pd.Series[float] = late.groupby(level=RUN, sort=False).diff().abs()
    return steps.groupby(level=RUN, sort=False).max()


def layer_norms(texts: "pd.Series[str]") -> pd.DataFrame:
    """The norms that curves hold as text: a row for each text, a column for each layer, from 1."""
    norms = texts.str.split(expand=True).astype(float)
    return norms.set_axis(range(1, norms.shape[1] + 1), axis=1)


def _gradient_reach(runs: Runs) -> "pd.Series[float]":
    """log10 of the gradient's norm in the first layer over that in the last, before any step."""
    start = runs.curves[runs.curves["epoch"] == 1].set_index(RUN)["layer_gradients"].str.split()
    ratio = start.str[0].astype(float) / start.str[-1].astype(float)
    return ratio.map(lambda value: math.log10(value) if value > 0 else math.nan)


def _seconds(how: Literal["mean", "sum"]) -> Callable[[Runs], "pd.Series[float]"]:
    return lambda runs: runs.timing.groupby(RUN, sort=False)["seconds"].agg(how)


# `gap` is taken with the loss while learning (dropout and augmentation on), as the original
# exercise has it (and with label smoothing, if there is any); `gap_clean` with the loss of the same
# images in evaluation mode.
QUANTITIES: dict[Quantity, Measure] = {
    "window_accuracy": Measure(
        "accuracy, last {last_epochs} epochs (%)", 2, "higher", _window("test_accuracy")
    ),
    "final_accuracy": Measure("at the end (%)", 2, "higher", _final("test_accuracy")),
    "held_back_accuracy": Measure(
        "held-back images (%)", 2, "higher", _window("held_back_accuracy")
    ),
    "train_accuracy": Measure("training accuracy (%)", 2, "higher", _window("train_accuracy")),
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
    "gap": Measure("gap", 4, "lower", _window("test_loss", "train_loss")),
    "gap_clean": Measure("gap, clean", 4, "lower", _window("test_loss", "train_loss_clean")),
    "gradient_reach": Measure(
        "first over last layer's gradient (powers of 10)", 2, "higher", _gradient_reach
    ),
    "roughness": Measure("largest change between epochs (points)", 2, "lower", _roughness),
    "seconds": Measure("s/epoch", 2, "lower", _seconds("mean")),
    "run_seconds": Measure("s/run", 1, "lower", _seconds("sum")),
    "final_train_loss": Measure("train loss", 4, "lower", _final("train_loss")),
    "final_test_loss": Measure("test loss", 4, "lower", _final("test_loss")),
}


def label(quantity: Quantity, compare: Compare) -> str:
    """A quantity's label, for the head of a table."""
    return QUANTITIES[quantity].label.format(**compare.model_dump())


def sample(quantity: Quantity, runs: Runs) -> Sample:
    """A quantity of all runs, with the places where they ran."""
    return Sample(QUANTITIES[quantity].compute(runs), runs.places)
