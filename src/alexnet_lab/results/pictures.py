"""Pictures that explain an exercise: what its own figure has no room for. Nothing is saved here.

A line is the mean over seeds, on a logarithmic axis their median; a band reaches from the lowest
seed to the highest.
"""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from alexnet_lab.params.recipes import Mlp, Model
from alexnet_lab.results.analysis import before_divergence
from alexnet_lab.results.figures import ROW, STYLE, WIDTH, colours
from alexnet_lab.results.quantities import COLUMNS, layer_norms
from alexnet_lab.results.runs import Runs

Models = Mapping[str, Model]  # by variant


def loss_and_rate(runs: Runs, _: Models) -> Figure:
    """Training and test loss above, the learning rate beneath, on one axis of epochs."""
    curves, colour = before_divergence(runs), colours(runs.variants)
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=(WIDTH, 3 * ROW), layout="constrained")
        axes = figure.subplots(3, 1, sharex=True, height_ratios=(4, 3, 3))
        for axis, column in zip(axes, ("train_loss", "test_loss", "lr"), strict=True):
            for variant, rows in curves.groupby("variant", sort=False):
                by_seed = rows.pivot(index="epoch", columns="seed", values=column)
                drawn = _band(axis, by_seed, by_seed.mean(axis=1), colour[str(variant)])
                drawn.set_drawstyle("steps-mid" if column == "lr" else "default")
            axis.set_ylabel(COLUMNS[column])
        axes[0].set_title("Loss, and the rate beneath it")
        axes[2].set(yscale="log", xlabel="epoch")
        axes[2].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes[2].set_xlim(curves["epoch"].min() - 0.5, curves["epoch"].max() + 0.5)
        _legend(figure, colour, "mean", 6)
    return figure


def layer_gradients(runs: Runs, models: Models) -> Figure:
    """The gradient's norm by layer, a line per epoch; a panel per depth and activation.

    Other networks than those of dense layers are left out.
    """
    dense = {name: model for name, model in models.items() if isinstance(model, Mlp)}
    depths = sorted({len(model.hidden) for model in dense.values()})
    kinds = list(dict.fromkeys(model.activation for model in dense.values()))
    epochs = sorted(runs.curves["epoch"].unique())
    spread = np.linspace(0.2, 1, len(epochs))  # paler is hard to see
    shades = dict(zip(epochs, map(to_hex, mpl.colormaps["viridis_r"](spread)), strict=True))
    with mpl.rc_context(fname=STYLE):
        size = (WIDTH, 2.5 * len(depths) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(depths), len(kinds), sharey=True, squeeze=False)
        for name, model in dense.items():
            axis = axes[depths.index(len(model.hidden)), kinds.index(model.activation)]
            by_epoch = runs.curves[runs.curves["variant"] == name].groupby("epoch")
            for epoch, texts in by_epoch["layer_gradients"]:
                norms = layer_norms(texts)
                _band(axis, norms.T, norms.median(), shades[epoch])
            axis.set(title=f"{model.activation}, {len(model.hidden)} hidden layers", yscale="log")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in axes[-1]:
            axis.set_xlabel("layer, from the image")
        for axis in axes[:, 0]:
            axis.set_ylabel("norm of the weights' gradient")
        words = ["before the first step", *(f"after epoch {epoch - 1}" for epoch in epochs[1:])]
        _legend(figure, dict(zip(words, shades.values(), strict=True)), "median", 5)
    return figure


def _legend(figure: Figure, colour: Mapping[str, str], what: str, columns: int) -> None:
    lines = [Line2D([], [], color=shade, lw=3, label=name) for name, shade in colour.items()]
    note = f"line: {what} over seeds; band: lowest to highest seed"
    place: Any = {"loc": "outside upper center", "ncols": columns}
    figure.legend(handles=lines, **place, title=note, title_fontsize=9)


def _band(axis: Axes, by_seed: pd.DataFrame, line: "pd.Series[float]", shade: str) -> Line2D:
    """Draw a line, and a band from the lowest to the highest of the columns."""
    low, high = by_seed.min(axis=1), by_seed.max(axis=1)
    axis.fill_between(by_seed.index, low, high, color=shade, alpha=0.2, lw=0)
    (drawn,) = axis.plot(line, color=shade, lw=1.8)
    return drawn


PICTURES: dict[str, Callable[[Runs, Models], Figure]] = {
    "loss_and_rate": loss_and_rate,
    "layer_gradients": layer_gradients,
}
