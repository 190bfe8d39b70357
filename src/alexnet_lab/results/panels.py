"""The panels of an exercise's figure: which ones there are, as data, and how they are drawn.

A thin line or a dot is one seed. A thick line or a bar is the mean over seeds, the line through
the bar its 95 % interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import median
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alexnet_lab.params.study import Panel, Quantity
from alexnet_lab.results.analysis import Comparison
from alexnet_lab.results.quantities import QUANTITIES, Measure, sample
from alexnet_lab.results.runs import Runs
from alexnet_lab.results.statistics import Estimate, paired

FAR = 20  # times as large as the others': then the axis is logarithmic beyond what does not matter
Colours = Mapping[str, str]  # by variant
Comparisons = Sequence[Comparison]


@dataclass(frozen=True)
class Lines:
    """Columns of the curves, by epoch."""

    title: str
    unit: str
    columns: Mapping[str, str]  # and their line styles
    axis: Mapping[str, Any] = field(default_factory=dict)  # as matplotlib's Axes.set takes it

    def draw(self, axis: Axes, runs: Runs, colour: Colours, _: Comparisons) -> None:
        """A thin line per seed and their mean, with markers if there are few epochs."""
        curves = runs.curves
        few = curves["epoch"].max() <= 10
        for column, linestyle in self.columns.items():
            for place, (variant, rows) in enumerate(curves.groupby("variant", sort=False)):
                by_seed = rows.pivot(index="epoch", columns="seed", values=column)
                look: Any = {"color": colour[str(variant)], "linestyle": linestyle}
                look["drawstyle"] = "steps-mid" if column == "lr" else "default"
                axis.plot(by_seed, lw=0.7, alpha=0.5, **look)
                width = max(1.4, 2.6 - 0.3 * place)  # if curves coincide, the lower one still shows
                mean = by_seed.mean(axis=1)
                axis.plot(mean, lw=width, marker="o" if few else "", markersize=4, **look)
        if "test_accuracy" in self.columns and runs.compare.threshold is not None:
            axis.axhline(runs.compare.threshold, color="grey", lw=1, ls=":")
        axis.set(title=self.title, ylabel=self.unit, xlabel="epoch", **self.axis)
        steps = [1, 2, 5, 10]
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=steps))
        if curves[[*self.columns]].isna().all(axis=None):
            axis.text(0.5, 0.5, "every run diverged", ha="center", transform=axis.transAxes)
            axis.set(xticks=[], yticks=[], xlabel="")


@dataclass(frozen=True)
class Dots:
    """Quantities, one row per variant; {threshold} and {last_epochs} are the exercise's."""

    title: str
    unit: str
    quantities: Mapping[Quantity, str]  # and their markers
    from_zero: bool = False
    zero_line: bool = False

    def draw(self, axis: Axes, runs: Runs, colour: Colours, _: Comparisons) -> None:
        """Draw every seed of every variant, their mean and its interval."""
        count = len(self.quantities)
        for place, (name, marker) in enumerate(self.quantities.items()):
            values, quantity = sample(name, runs), QUANTITIES[name]
            offset = 0.34 * ((count - 1) / 2 - place)
            for row, variant in enumerate(colour):
                by_seed, mean = values.runs[variant], values.mean(variant)
                text, tall = number(by_seed, quantity), 7 if count == 1 else 6
                draw_row(axis, row - offset, by_seed, mean, text, colour[variant], marker, tall)
        label_rows(axis, [runs.starred(variant) for variant in colour])
        if self.zero_line:
            axis.axvline(0, color="grey", lw=1)
        texts = runs.compare.model_dump()
        axis.set(title=self.title.format(**texts), xlabel=self.unit.format(**texts))
        if self.from_zero:
            largest = max(QUANTITIES[name].compute(runs).max() for name in self.quantities)
            if "epochs_to_threshold" in self.quantities:
                largest = runs.curves["epoch"].max()
            axis.set_xlim(0, 1.15 * largest)


class Differences:
    """What the verdicts are read from: each variant's accuracy less the baseline's."""

    def draw(self, axis: Axes, runs: Runs, colour: Colours, comparisons: Comparisons) -> None:
        """Draw every pair of seeds, the mean with its interval, and what does not matter."""
        found = [each for each in comparisons if each.quantity == "window_accuracy"]
        values = sample("window_accuracy", runs).values
        for row, each in enumerate(found):
            mean = each.difference
            pairs = paired(values, each.variant, each.other)[: mean.n]  # none if not comparable
            text = f"{mean.mean:+.2f}: {each.verdict}" if mean.n else each.verdict
            draw_row(axis, row, pairs, mean, text, colour[each.variant])
        unit = "points, last epochs; lines hold together at 95 %"
        if found:
            margin, means = found[0].margin, [each.difference.mean for each in found]
            sizes = [abs(mean) for mean in means if isfinite(mean)] or [0.0]
            axis.axvspan(-margin, margin, color="grey", alpha=0.18, lw=0)
            if max(sizes) > FAR * median(sizes) > 0:
                axis.set_xscale("symlog", linthresh=margin)
                axis.xaxis.set_major_formatter("{x:g}")
                unit = "points, last epochs, logarithmic outside the grey"
        axis.axvline(0, color="grey", lw=1)
        title = f"Accuracy minus that of {runs.compare.baseline}"
        labels, size = [runs.starred(each.variant) for each in found], 10
        if runs.compare.against:
            title = "Accuracy minus that of the other"
            labels, size = [f"{runs.starred(c.variant)}\n− {c.other}" for c in found], 8
        label_rows(axis, labels, size)
        axis.set(title=title)
        axis.set_xlabel(f"{unit}\nbetter, worse: line misses 0; equivalent: in grey", fontsize=9)


NATS = "cross-entropy (nats)"
PANELS: dict[Panel, Lines | Dots | Differences] = {
    "train_loss": Lines("Training loss", NATS, {"train_loss": "-"}),
    "test_loss": Lines("Test loss", NATS, {"test_loss": "-"}),
    "train_and_test_loss": Lines(
        "Loss: test (solid), training (dashed)", NATS, {"train_loss": "--", "test_loss": "-"}
    ),
    "test_accuracy": Lines("Test accuracy", "accuracy (%)", {"test_accuracy": "-"}),
    "gradient_norm": Lines(
        "Gradient of the first layer",
        "norm, mean over batches",
        {"gradient_norm": "-"},
        {"ylim": (0, None)},
    ),
    "learning_rate": Lines("Learning rate", "learning rate", {"lr": "-"}, {"yscale": "log"}),
    "window_accuracy": Dots(
        "Test accuracy",
        "accuracy, mean over the last {last_epochs} epochs (%)",
        {"window_accuracy": "o"},
    ),
    "final_accuracy": Dots(
        "Final test accuracy", "accuracy after the last epoch (%)", {"final_accuracy": "o"}
    ),
    "differences": Differences(),
    "epochs_to_threshold": Dots(
        "Epochs to {threshold:g} % test accuracy",
        "epochs",
        {"epochs_to_threshold": "o"},
        from_zero=True,
    ),
    "gap": Dots(
        "Generalisation gap (last {last_epochs} epochs)",
        "test less training loss (nats)\n● while learning, ◆ on clean images",
        {"gap": "o", "gap_clean": "D"},
        zero_line=True,
    ),
    "seconds": Dots("Training time", "seconds per epoch", {"seconds": "o"}, from_zero=True),
}


def draw_row(
    axis: Axes,
    place: float,
    by_seed: "pd.Series[float]",
    mean: Estimate,
    text: str,
    colour: str,
    marker: str = "o",
    tall: int = 7,
) -> None:
    """A dot per seed, a bar at their mean, its interval, and a text above them all.

    ``tall`` is half the bar, in points.
    """
    defined = by_seed.dropna()
    # Equal values would hide each other, so they stand beside each other.
    beside = place - 0.12 * defined.groupby(defined).cumcount()
    axis.plot(defined, beside, marker, color=colour, alpha=0.6, ms=6)
    x = 0.0 if defined.empty else float(defined.mean())
    if len(defined) > 1:
        axis.plot(x, place, "|", color=colour, ms=2 * tall, mew=2.5)
    if isfinite(mean.half):
        axis.hlines(place, mean.low, mean.high, color=colour, lw=1.2)
    shift = (4, 0) if defined.empty else (0, tall + 2)
    align = "left" if defined.empty else "center"
    top = place if defined.empty else min(place, beside.min())
    axis.annotate(text, (x, top), xytext=shift, textcoords="offset points", ha=align, fontsize=8.5)


def number(by_seed: "pd.Series[float]", quantity: Measure) -> str:
    """The mean of what is defined, and of how many seeds if not all are."""
    defined = by_seed.dropna()
    if defined.empty:
        return quantity.missing
    of = f" ({len(defined)} of {len(by_seed)} seeds)" if len(defined) < len(by_seed) else ""
    return f"{defined.mean():.{quantity.digits}f}{of}"


def label_rows(axis: Axes, names: Sequence[str], size: int = 10) -> None:
    """Name the rows of dots, from the top."""
    axis.set_yticks(range(len(names)), names, fontsize=size)
    axis.set_ylim(max(len(names), 1) - 0.5, -0.75)
    axis.margins(x=0.15)
    axis.grid(axis="y", visible=False)
