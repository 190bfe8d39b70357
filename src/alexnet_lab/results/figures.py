"""One figure an exercise: panels of curves and of final numbers. Nothing is saved here.

A variant has the same colour in every panel, by its place in params.yaml (Okabe and
Ito's palette, readable with colour-blind eyes). A thin line or a dot is one seed; the
thick line or the bar is the mean over seeds, the line through it its 95 % interval. A run
that diverged ends there, but for its accuracy, and the legend says so.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from alexnet_lab.params.study import Compare, Exercise
from alexnet_lab.results.analysis import (
    at_last_epoch,
    divergences,
    epochs_to_threshold,
    generalisation_gaps,
    not_measured,
    speed_up,
    throughput,
    until,
)
from alexnet_lab.results.statistics import estimate

mpl.use("Agg")
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
STYLE: Any = {  # rcParams; matplotlib's own type lists every key
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.dpi": 110,
    "font.size": 10,
    "grid.alpha": 0.25,
    "svg.hashsalt": "alexnet-lab",
}
WIDTH = 9.0  # inches: 990 pixels, so text stays readable in a README column
ROW = 2.9  # inches
Colours = Mapping[str, str]


def colours(variants: Sequence[str]) -> dict[str, str]:
    """A colour a variant, by order; beyond eight they repeat."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(variants)}


def training_figure(curves: pd.DataFrame, timing: pd.DataFrame, compare: Compare) -> Figure:
    """The exercise's panels, two a row, under one legend of its variants."""
    colour = colours(list(curves["variant"].unique()))
    diverged = divergences(curves)
    curves = until(curves, diverged)
    with mpl.rc_context(STYLE):
        figure, axes = _grid(len(compare.panels))
        for name, axis in zip(compare.panels, axes, strict=False):
            PANELS[name](axis, curves, timing, colour, compare)
        seeds = curves["seed"].nunique()
        note = "one run each" if seeds == 1 else f"{seeds} seeds: thin lines, dots; 95 % intervals"
        _legend(figure, axes, _labelled(colour, diverged), note)
    return figure


def overview_figure(runs: Mapping[str, pd.DataFrame], exercises: Mapping[str, Exercise]) -> Figure:
    """Final test accuracy, a panel an exercise, with the original's numbers."""
    cross: Any = {"color": "black", "marker": "x", "ms": 8, "mew": 1.8, "ls": ""}
    with mpl.rc_context(STYLE):
        figure, axes = _grid(len(runs))
        for axis in axes[len(runs) :]:
            axis.set_axis_off()
        for axis, (name, curves) in zip(axes, runs.items(), strict=False):
            colour = colours(list(curves["variant"].unique()))
            _final_accuracy(axis, curves, None, colour, None)
            claimed = exercises[name].claimed("final_accuracy")
            for row, variant in enumerate(colour):
                if variant in claimed:
                    axis.plot(claimed[variant], row, **cross)
            axis.set(title=name.capitalize(), xlabel="final test accuracy (%; scales differ)")
        marks: Any = {"color": "grey", "marker": "o", "alpha": 0.6, "lw": 1.2}
        handles = [
            Line2D([], [], **marks, label="measured: a dot a seed, the mean, its 95 % interval"),
            Line2D([], [], **cross, label="the text says (one number)"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _labelled(colour: Colours, diverged: "pd.Series[float]") -> Colours:
    """Variants by the text of the legend."""
    labels = {}
    for variant, c in colour.items():
        runs = diverged[diverged.index.get_level_values("variant") == variant]
        said = ""
        if runs.notna().any():
            said = f": diverged at epoch {runs.min():g} ({runs.count()} of {len(runs)})"
        labels[f"{variant}{said}"] = c
    return labels


def _grid(panels: int) -> tuple[Figure, list[Axes]]:
    rows = -(-panels // 2)
    figure = Figure(figsize=(WIDTH, ROW * rows + 0.3), layout="constrained")
    return figure, figure.subplots(rows, 2, squeeze=False).flatten().tolist()


def _legend(figure: Figure, axes: list[Axes], colour: Colours, note: str) -> None:
    """In the last cell where it is free, else above all panels."""
    handles = [Line2D([], [], color=c, lw=3, label=name) for name, c in colour.items()]
    handles.append(Line2D([], [], color="none", label=f"({note})"))
    if axes[-1].has_data() or axes[-1].texts:
        short = max(map(len, colour)) < 20
        columns = 2 if not short else 6 if len("".join(colour)) < 40 else 3
        figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    else:
        axes[-1].set_axis_off()
        axes[-1].legend(handles=handles, loc="center", frameon=False, fontsize=11)


def _curve(axis: Axes, curves: pd.DataFrame, column: str, colour: Colours, **style: str) -> None:
    """A thin line a seed and their mean in matplotlib's ``style``; dots where epochs are few."""
    marker = "o" if curves["epoch"].max() <= 10 else ""
    for place, (variant, runs) in enumerate(curves.groupby("variant", sort=False)):
        by_seed = runs.pivot(index="epoch", columns="seed", values=column)
        look: Any = {"color": colour[str(variant)], **style}
        axis.plot(by_seed, lw=0.7, alpha=0.5, **look)
        width = max(1.4, 2.6 - 0.3 * place)  # where curves coincide, the lower one still shows
        axis.plot(by_seed.mean(axis=1), lw=width, marker=marker, markersize=4, **look)
    if curves[column].isna().all():
        axis.text(0.5, 0.5, "every run diverged", ha="center", transform=axis.transAxes)
        axis.set(xticks=[], yticks=[])
        return
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _train_loss(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, _compare: Compare
) -> None:
    _curve(axis, curves, "train_loss", colour)
    axis.set(title="Training loss", ylabel="cross-entropy (nats)")


def _test_loss(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, _compare: Compare
) -> None:
    _curve(axis, curves, "test_loss", colour)
    axis.set(title="Test loss", ylabel="cross-entropy (nats)")


def _train_and_test_loss(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, _compare: Compare
) -> None:
    _curve(axis, curves, "train_loss", colour, linestyle="--")
    _curve(axis, curves, "test_loss", colour)
    axis.set(title="Loss: test (solid), training (dashed)", ylabel="cross-entropy (nats)")


def _test_accuracy(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, compare: Compare
) -> None:
    _curve(axis, curves, "test_accuracy", colour)
    if compare.threshold is not None:
        axis.axhline(compare.threshold, color="grey", lw=1, ls=":")
    axis.set(title="Test accuracy", ylabel="accuracy (%)")


def _gradient_norm(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, _compare: Compare
) -> None:
    _curve(axis, curves, "gradient_norm", colour)
    axis.set(title="Gradient of the first layer", ylabel="norm, mean over batches")
    axis.set_ylim(bottom=0)


def _learning_rate(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, _compare: Compare
) -> None:
    _curve(axis, curves, "lr", colour, drawstyle="steps-mid")
    axis.set(title="Learning rate", ylabel="learning rate", yscale="log")


def _final_accuracy(
    axis: Axes, curves: pd.DataFrame, _timing: object, colour: Colours, _compare: object
) -> None:
    final = at_last_epoch(curves).set_index(["variant", "seed"])["test_accuracy"]
    _dots(axis, final, colour, "{:.2f}")
    axis.set(title="Final test accuracy", xlabel="accuracy after the last epoch (%)")


def _epochs_to_threshold(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, compare: Compare
) -> None:
    level = compare.threshold or 0.0
    _dots(axis, epochs_to_threshold(curves, level), colour, "{:.1f}", missing="not reached")
    axis.set(title=f"Epochs to {level:g} % test accuracy", xlabel="epochs")
    axis.set_xlim(0, curves["epoch"].max() * 1.15)


def _gap(
    axis: Axes, curves: pd.DataFrame, _timing: pd.DataFrame, colour: Colours, compare: Compare
) -> None:
    gaps = generalisation_gaps(curves, compare.gap_epochs or 1)
    _dots(axis, gaps["gap"], colour, "{:.3f}", offset=0.17, marker="o")
    _dots(axis, gaps["gap_clean"], colour, "{:.3f}", offset=-0.17, marker="D")
    axis.axvline(0, color="grey", lw=1)
    axis.set(
        title=f"Generalisation gap (last {compare.gap_epochs} epochs)",
        xlabel="test loss less training loss: ● while learning, ◆ clean",
    )


def _seconds(
    axis: Axes, _curves: pd.DataFrame, timing: pd.DataFrame, colour: Colours, _compare: Compare
) -> None:
    seconds = timing.groupby(["variant", "seed"], sort=False)["seconds"].mean()
    _dots(axis, seconds, colour, "{:.2f}")
    axis.set(title="Training time", xlabel="seconds per epoch")
    axis.set_xlim(0, 1.15 * seconds.max())


Panel = Callable[[Axes, pd.DataFrame, pd.DataFrame, Colours, Compare], None]
PANELS: dict[str, Panel] = {
    "train_loss": _train_loss,
    "test_loss": _test_loss,
    "train_and_test_loss": _train_and_test_loss,
    "test_accuracy": _test_accuracy,
    "gradient_norm": _gradient_norm,
    "learning_rate": _learning_rate,
    "final_accuracy": _final_accuracy,
    "epochs_to_threshold": _epochs_to_threshold,
    "gap": _gap,
    "seconds": _seconds,
}


def _dots(
    axis: Axes,
    values: "pd.Series[float]",
    colour: Colours,
    label: str,
    *,
    missing: str = "–",
    offset: float = 0.0,
    marker: str = "o",
) -> None:
    """A row a variant: a dot a seed, a bar at the mean, its 95 % interval, its figure."""
    tall = 10 if offset == 0 else 6  # points, half of the bar; the figure stands on it
    for row, variant in enumerate(colour):
        all_seeds = values[values.index.get_level_values("variant") == variant]
        some = all_seeds.dropna()
        place = row - offset
        text = missing if some.empty else label.format(some.mean())
        if 0 < len(some) < len(all_seeds):
            text += f" ({len(some)} of {len(all_seeds)} seeds)"
        beside = place - 0.12 * some.groupby(some).cumcount()  # equal values would hide each other
        axis.plot(some, beside, marker, color=colour[variant], alpha=0.6, ms=6)
        x = 0.0 if some.empty else some.mean()
        found = estimate(all_seeds)
        if len(some) > 1:
            axis.plot(x, place, "|", color=colour[variant], ms=2 * tall, mew=2.5)
        if isfinite(found.half):
            axis.hlines(place, found.low, found.high, color=colour[variant], lw=1.2)
        shift = (4, 0) if some.empty else (0, tall + 2)
        align = "left" if some.empty else "center"
        axis.annotate(
            text, (x, place), xytext=shift, textcoords="offset points", ha=align, fontsize=8.5
        )
    axis.set_yticks(range(len(colour)), list(colour))
    axis.set_ylim(len(colour) - 0.5, -0.75)
    axis.margins(x=0.15)
    axis.grid(axis="y", visible=False)


def benchmark_figure(timing: pd.DataFrame) -> Figure:
    """Seconds, speed-up, images per second and peak memory, by batch size."""
    colour = colours(list(timing["variant"].unique()))
    rates = throughput(timing)
    gains = speed_up(rates)
    with mpl.rc_context(STYLE):
        figure, axes = _grid(4)
        _by_batch(axes[0], rates, "seconds", colour)
        steps = timing["iteration"].max()
        axes[0].set(title=f"Time of {steps} training steps", ylabel="seconds")
        if gains.empty:
            axes[1].text(0.5, 0.5, "GPU not measured", ha="center", transform=axes[1].transAxes)
            axes[1].set(xticks=[], yticks=[])
        else:
            axes[1].plot(gains, "o-", color="black", lw=2)
            axes[1].set(xlabel="batch size (images)", ylabel="× the CPU's images per second")
            axes[1].set_ylim(bottom=0)
        axes[1].set_title("Speed-up, GPU over CPU")
        _by_batch(axes[2], rates, "img_per_s", colour, spread=("lowest", "highest"))
        axes[2].set(title="Training throughput", ylabel="images per second")
        rates["peak_memory_gib"] = rates["peak_memory_mib"] / 1024
        _by_batch(axes[3], rates, "peak_memory_gib", colour)
        _say_not_measured(axes[2], timing)
        axes[3].set(title="Peak memory", ylabel="GiB (CPU: whole process)")
        shown = {v: c for v, c in colour.items() if v in set(rates["variant"])}
        _legend(figure, axes, shown, "whiskers: slowest and fastest step")
    return figure


def _say_not_measured(axis: Axes, timing: pd.DataFrame) -> None:
    """A line a device and reason, such as "gpu 256: does not fit"."""
    groups = not_measured(timing).groupby(["variant", "status"], sort=False)["batch_size"]
    lines = [
        f"{variant} {', '.join(map(str, sizes))}: {status}" for (variant, status), sizes in groups
    ]
    axis.text(0.03, 0.05, "\n".join(lines), transform=axis.transAxes, fontsize=9, color="dimgrey")


def _by_batch(
    axis: Axes,
    rates: pd.DataFrame,
    column: str,
    colour: Colours,
    spread: tuple[str, str] | None = None,
) -> None:
    for variant, rows in rates.groupby("variant", sort=False):
        axis.plot(rows["batch_size"], rows[column], "o-", color=colour[str(variant)], lw=2)
        if spread:
            low, high = (rows[name] for name in spread)
            axis.vlines(rows["batch_size"], low, high, color=colour[str(variant)], lw=1.2)
    axis.set_xscale("log", base=2)
    sizes = sorted(rates["batch_size"].unique())
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axis.set_xlabel("batch size (images)")
    top = "highest" if spread else column
    axis.set_ylim(0, 1.1 * rates[top].max() if len(rates) else 1)
