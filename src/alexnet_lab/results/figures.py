"""One figure per exercise, and one for all of them. Nothing is saved here.

A variant has the same colour in every panel, by its place in params.yaml. The palette is Okabe and
Ito's, which colour-blind readers can tell apart, with its light and its black colours changed so
that each has a contrast of 3 on white paper and on the page's dark one. A run that diverged ends
there, except for its accuracy, and the legend says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alexnet_lab.params.claims import Topic, Topics
from alexnet_lab.results import throughput
from alexnet_lab.results.analysis import before_divergence, compare_variants, divergences
from alexnet_lab.results.finding import benchmark_finding, finding
from alexnet_lab.results.panels import PANELS, Colours, draw_row, label_rows, number
from alexnet_lab.results.quantities import QUANTITIES, epochs_to_threshold, sample
from alexnet_lab.results.runs import Runs, read_csv

mpl.use("Agg")
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#C0649A",
    "#A87900",
    "#3A94C8",
    "#7F7F7F",
    "#8458BE",
    "#9A6152",
)
STYLE = Path(__file__).with_name("study.mplstyle")
WIDTH = 9.0  # inches: 990 pixels, so text stays readable in a README column
ROW = 2.9  # inches
WIDEST = 86  # letters of a title in one line


def colours(variants: Sequence[str]) -> dict[str, str]:
    """One colour per variant, by order; after nine they repeat."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(variants)}


def after(above: Iterable[str], own: Sequence[str]) -> list[str]:
    """The order by which a control's colours go, so that a variant has that of the exercise above.

    One that repeats none of its variants has an order of its own.
    """
    first = list(above)
    if not {*own} & {*first}:
        return list(own)
    return [*first, *(variant for variant in own if variant not in first)]


def training_figure(
    runs: Runs, variants: Sequence[str] | None = None, topic: Topic | None = None
) -> Figure:
    """The exercise's panels, two per row, under one legend of its variants.

    ``variants`` are all of the exercise's, and perhaps others: colours go by their order.
    The finding is its title if there is a ``topic``; the verdicts on the text's claims are of one
    family with those of the comparisons.
    """
    every = colours(variants or runs.variants)
    colour = {variant: every[variant] for variant in runs.variants}
    shown, empty = replace(runs, curves=before_divergence(runs)), set[str]()
    if epochs_to_threshold(runs).isna().all():
        empty.add("epochs_to_threshold")
    if "window_accuracy" not in runs.compare.margins:
        empty.add("differences")
    panels = tuple(name for name in runs.compare.panels if name not in empty) or runs.compare.panels
    with mpl.rc_context(fname=STYLE):
        figure, axes = _grid(len(panels), len(runs.variants))
        claims = topic.claims.values() if topic else ()
        comparisons = compare_variants(runs, claims) if "differences" in panels else []
        for name, axis in zip(panels, axes, strict=False):
            PANELS[name].draw(axis, shown, colour, comparisons)
        seeds = runs.curves["seed"].nunique()
        several = f"{seeds} seeds: thin lines, dots; bar and line: mean, 95 % interval"
        note = several if seeds > 1 else "one run each"
        if runs.apart:
            stars = f"* in other arithmetic or on other hardware than {runs.compare.baseline}"
            figure.supxlabel(stars, fontsize=9)
        title = fill(finding(runs, topic), WIDEST) if topic else ""
        _legend(figure, axes, _labelled(colour, divergences(runs)), note, title)
    return figure


def overview_figure(exercises: Mapping[str, Runs], topics: Topics) -> Figure:
    """The final test accuracy of every variant beside the text's, one panel per exercise."""
    cross: Any = {"color": "black", "marker": "x", "ms": 8, "mew": 1.8, "ls": ""}
    quantity = QUANTITIES["final_accuracy"]
    stated = {name: topics[name].stated("final_accuracy") for name in exercises}
    with mpl.rc_context(fname=STYLE):
        figure, axes = _grid(len(exercises))
        for axis in axes[len(exercises) :]:
            axis.set_axis_off()
        for axis, (name, runs) in zip(axes, exercises.items(), strict=False):
            values, colour = sample("final_accuracy", runs), colours(runs.variants)
            text = stated[name]
            for row, variant in enumerate(runs.variants):
                by_seed, more = values.runs[variant], values.mean(variant, more=1)
                draw_row(axis, row, by_seed, more, number(by_seed, quantity), colour[variant])
                if variant in text:
                    axis.plot(text[variant], row, **cross)
            label_rows(axis, [runs.starred(variant) for variant in colour])
            if runs.apart:
                figure.supxlabel("* in other arithmetic or on other hardware", fontsize=9)
            title = fill(f"{finding(runs, topics[name])} (last epochs)", 46)
            axis.set_title(f"{name.capitalize()}\n{title}", fontsize=9)
            axis.set_xlabel("test accuracy after the last epoch (%; scales differ)")
        marks: Any = {"color": "grey", "marker": "o", "alpha": 0.6, "lw": 1.2}
        ours = "a dot per seed; bar: mean; line: where one more run would fall (95 %)"
        handles = [Line2D([], [], **marks, label=ours)]
        if any(stated.values()):
            handles.append(Line2D([], [], **cross, label="the text says (one number)"))
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _labelled(colour: Colours, diverged: "pd.Series[float]") -> Colours:
    """The colours by the text of the legend, which says which variants diverged."""
    labels = {}
    for variant, shade in colour.items():
        epochs, note = diverged.xs(variant, level="variant"), ""
        if epochs.notna().any():
            note = f": diverged at epoch {epochs.min():g} ({epochs.count()} of {len(epochs)})"
        labels[f"{variant}{note}"] = shade
    return labels


def _grid(panels: int, variants: int = 1) -> tuple[Figure, list[Axes]]:
    rows = -(-panels // 2)
    height = max(ROW, 0.6 * variants)  # so that a row of dots has room for its words
    figure = Figure(figsize=(WIDTH, height * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).flatten().tolist()
    for axis in axes:
        axis.set_title("", wrap=True)  # the layout makes no room for words wider than a panel
        axis.set_xlabel("", wrap=True)
    return figure, axes


def _legend(figure: Figure, axes: list[Axes], colour: Colours, note: str, title: str = "") -> None:
    """Put the legend in the last cell if it is free, else above all panels; the title on top."""
    bold: Any = {"weight": "bold", "size": 12}
    handles = [Line2D([], [], color=shade, lw=3, label=name) for name, shade in colour.items()]
    handles.append(Line2D([], [], color="none", label=f"({note})"))
    if axes[-1].has_data() or axes[-1].texts:
        short = max(map(len, colour)) < 20
        columns = 2 if not short else 6 if len("".join(colour)) < 30 else 3
        place: Any = {"loc": "outside upper center", "ncols": columns}
        figure.legend(handles=handles, **place, title=title or None, title_fontproperties=bold)
    else:
        figure.suptitle(title, **bold)
        handles[-1].set_label(f"({note})".replace("; ", "\n"))  # wider, it would narrow a column
        axes[-1].set_axis_off()
        axes[-1].legend(handles=handles, loc="center", fontsize=11)


def benchmark_figure(timing: pd.DataFrame, layers: pd.DataFrame) -> Figure:
    """Images per second, speed-up, arithmetic and memory by batch size; memory by layer."""
    colour = colours(list(timing["variant"].unique()))
    rates = throughput.arithmetic(timing, layers)
    gains = throughput.speed_up(rates)
    with mpl.rc_context(fname=STYLE):
        figure, axes = _grid(6)
        axes[0].set(title="Training throughput", ylabel="images per second", yscale="log")
        _by_batch(axes[0], rates, "img_per_s", colour)
        for device, year, speed, _ in read_csv(throughput.PUBLISHED).itertuples(index=False):
            _dashed(axes[0], speed, f"{device}, {year}: {speed:,.0f}")
        _say_not_measured(axes[0], timing)
        if gains.empty:
            axes[1].text(0.5, 0.5, "GPU not measured", ha="center", transform=axes[1].transAxes)
            axes[1].set(xticks=[], yticks=[])
        else:
            axes[1].plot(gains, "o-", color="black", lw=2)
            _batch_axis(axes[1], rates)
            axes[1].set(ylabel="× the CPU's images per second", ylim=(0, 1.1 * gains.max()))
        axes[1].set_title("Speed-up, GPU over CPU")
        axes[2].set(title="Arithmetic", ylabel="GFLOP/s", yscale="log")
        _by_batch(axes[2], rates, "gflop_per_s", colour)
        for stage, peak in rates.dropna(subset=["peak"]).groupby("stage")["peak"].first().items():
            _dashed(axes[2], peak, f"measured peak beside {stage}: {peak:,.0f}")
        rates["peak_memory_gib"] = rates["peak_memory_mib"] / 1024
        _by_batch(axes[3], rates, "peak_memory_gib", colour)
        sizes = sorted(timing["batch_size"].unique())
        needed = throughput.memory(layers, sizes)["computed"]
        for network, style in zip(layers["network"].unique(), ("--", ":"), strict=True):
            axes[3].plot(sizes, needed[network] / 1024, style, color="black", lw=1.5)
        axes[3].axhline(throughput.GTX_580 / 1024, color="grey", lw=1)
        axes[3].set_ylim(0, max(1.2 * throughput.GTX_580 / 1024, axes[3].get_ylim()[1]))
        note = "grey: memory of a GTX 580 (2012)\nblack: computed minimum, -- one tower, ·· two"
        axes[3].annotate(note, (0.03, 0.98), xycoords="axes fraction", va="top", fontsize=8.5)
        axes[3].set(title="Peak memory", ylabel="GiB (CPU: whole process)")
        for axis, network in zip(axes[4:], layers["network"].unique(), strict=True):
            _by_layer(axis, network, layers[layers["network"] == network])
        axes[4].legend(loc="center right", fontsize=8.5)
        shown = {text: colour[str(name)] for name, text in _devices(rates).items()}
        note = "whiskers: slowest and fastest step"
        _legend(figure, axes, shown, note, benchmark_finding(rates))
    return figure


def _devices(rates: pd.DataFrame) -> "pd.Series[str]":
    """Such as "cpu (one tower): Intel Xeon Processor, 16 cores", by variant."""
    of = " (" + rates["network"].str.replace("_", " ") + "): "
    named = rates["variant"] + of.where(rates["stage"] == rates["variant"], ": ")
    short = rates["hardware"].str.replace(r" *\([^)]*\)", "", regex=True)
    return (named + short).groupby(rates["variant"], sort=False).first()


def _dashed(axis: Axes, value: float, text: str) -> None:
    """A dashed line across a panel, with its text above its right end."""
    axis.axhline(value, color="dimgrey", lw=1, ls=(0, (4, 3)))
    at: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axis.annotate(text, (1, value), (0, 2), **at, ha="right", fontsize=8, color="dimgrey")


def _by_layer(axis: Axes, network: str, rows: pd.DataFrame) -> None:
    """Bars: what each layer holds of a training step at the batch size of 2012, with momentum."""
    weights = 3 * 4 * rows["parameters"] / throughput.MIB
    kept = throughput.BATCH_OF_2012 * rows["kept_bytes"] / throughput.MIB
    axis.barh(rows["layer"], weights, color=PALETTE[-1], label="weights, gradients, momentum")
    axis.barh(
        rows["layer"], kept, left=weights, color=PALETTE[5], label="kept for the backward pass"
    )
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", labelsize=8.5)
    total = f"{weights.sum() + kept.sum():,.0f} MiB"
    name = network.replace("_", " ").capitalize()
    axis.set(title=f"{name}: {total} at batch {throughput.BATCH_OF_2012}", xlabel="MiB, computed")


def _say_not_measured(axis: Axes, timing: pd.DataFrame) -> None:
    """One line per variant and reason, such as "gpu 256: does not fit"."""
    lines = []
    missing = throughput.not_measured(timing).groupby(["variant", "status"], sort=False)
    for (name, status), rows in missing:
        some = len(rows) < timing.loc[timing["variant"] == name, "batch_size"].nunique()
        sizes = " " + ", ".join(map(str, rows["batch_size"])) if some else ""
        lines.append(f"{name}{sizes}: {status}")
    axis.text(0.03, 0.03, "\n".join(lines), transform=axis.transAxes, fontsize=8, color="dimgrey")


def _by_batch(axis: Axes, rates: pd.DataFrame, column: str, colour: Colours) -> None:
    for variant, rows in rates.groupby("variant", sort=False):
        axis.plot(rows["batch_size"], rows[column], "o-", color=colour[str(variant)], lw=2)
        if column == "img_per_s":
            whiskers = rows["batch_size"], rows["lowest"], rows["highest"]
            axis.vlines(*whiskers, color=colour[str(variant)], lw=1.2)
    _batch_axis(axis, rates)
    if axis.get_yscale() == "linear":
        axis.set_ylim(0, 1.1 * rates[column].max() if len(rates) else 1)
    else:
        axis.set_ylim(bottom=rates[column].min() / 6 if len(rates) else 1)  # room for words


def _batch_axis(axis: Axes, rates: pd.DataFrame) -> None:
    axis.set_xscale("log", base=2)
    sizes = sorted(rates["batch_size"].unique())
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axis.set_xlabel("batch size (images)")
