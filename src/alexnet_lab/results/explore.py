"""What the page's script draws: every seed's curves, draws of one run each, what can be changed."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import inf, isfinite, prod
from typing import Any

import pandas as pd

from alexnet_lab.params.claims import Topic, Topics
from alexnet_lab.params.recipes import Cnn, Exponential, Mlp, Recipe, Sgd, Step, WarmupCosine
from alexnet_lab.params.study import Study
from alexnet_lab.results.analysis import before_divergence
from alexnet_lab.results.figures import after, colours
from alexnet_lab.results.quantities import COLUMNS, sample
from alexnet_lab.results.runs import Runs

Chart = dict[str, Any]  # as JSON
SECOND = {  # what is drawn beside the accuracy, by a panel that the exercise's figure has
    "gradient_norm": "gradient_norm",
    "learning_rate": "lr",
    "gap": "gap_clean",
    "train_loss": "train_loss",
    "test_loss": "test_loss",
}
IMAGES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


def charts(runs: Mapping[str, Runs], topics: Topics, steps: pd.DataFrame) -> dict[str, Chart]:
    """The charts of all exercises, the benchmark's from its timed steps."""
    training = {
        name: training_chart(each, topics[name], runs.get(topics[name].under, each).variants)
        for name, each in runs.items()
    }
    return {"benchmark": benchmark_chart(steps)} | training


def training_chart(runs: Runs, topic: Topic, above: Sequence[str] = ()) -> Chart:
    """An exercise's curves: values[quantity][variant] has one list per seed, by epoch.

    A control has the colours of the exercise ``above`` it.
    """
    curves = before_divergence(runs)
    curves["gap_clean"] = curves["test_loss"] - curves["train_loss_clean"]
    labels = COLUMNS | {"gap_clean": "test less training loss, clean (nats)"}
    values = {name: _by_variant(curves, name) for name in labels if curves[name].any()}
    panels = runs.compare.panels
    second = next((column for panel, column in SECOND.items() if panel in panels), "train_loss")
    return {
        "x": sorted(curves["epoch"].unique().tolist()),
        "axis": "epoch",
        "each": "seed",
        "middle": "mean",
        "colours": {v: colours(after(above, runs.variants))[v] for v in runs.variants},
        "labels": {name: labels[name] for name in values},
        "log": ["lr"],
        "steps": ["lr"],
        "threshold": runs.compare.threshold,
        "first": [name for name in ("test_accuracy", second) if name in values],
        "values": values,
        "ranks": runs.compare.ranks,
        "draw": _draws(runs, topic),
    }


def benchmark_chart(timing: pd.DataFrame) -> Chart:
    """Images per second of every timed step by batch size; empty if nothing was measured."""
    steps = timing.dropna(subset=["seconds"])
    if steps.empty:
        return {}
    steps = steps.assign(rate=steps["batch_size"] / steps["seconds"], epoch=steps["batch_size"])
    steps = steps.rename(columns={"iteration": "seed"})
    return {
        "x": sorted(steps["batch_size"].unique().tolist()),
        "axis": "batch size (images)",
        "each": "timed step",
        "middle": "median",
        "colours": colours(list(timing["variant"].unique())),
        "labels": {"rate": "images per second, median", "seconds": "seconds per step, median"},
        "log": ["rate", "seconds"],
        "steps": [],
        "threshold": None,
        "first": ["rate", "seconds"],
        "values": {name: _by_variant(steps, name) for name in ("rate", "seconds")},
        "draw": None,
    }


def _by_variant(rows: pd.DataFrame, column: str) -> dict[str, list[list[float | None]]]:
    found = {}
    epochs = sorted(rows["epoch"].unique())
    for variant, some in rows.groupby("variant", sort=False):
        table = some.pivot(index="seed", columns="epoch", values=column).reindex(columns=epochs)
        found[str(variant)] = [[_number(v) for v in row] for row in table.to_numpy(dtype=float)]
    return found


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if isfinite(value) else None


def means(chart: Chart, quantity: str) -> dict[str, list[float | None]]:
    """The mean over seeds, or median over steps, of each variant at each x; None if all are."""
    frames = {
        v: pd.DataFrame(rows, dtype=float).agg(chart["middle"])
        for v, rows in chart["values"][quantity].items()
    }
    return {v: [_number(value) for value in frame] for v, frame in frames.items()}


def leaders(chart: Chart) -> list[tuple[str, int, int]]:
    """Which variant has the highest mean test accuracy, from which epoch to which.

    Empty if variants are not ranked.
    """
    if "test_accuracy" not in chart.get("values", {}) or not chart["ranks"]:
        return []
    by_epoch = pd.DataFrame(means(chart, "test_accuracy"), chart["x"], dtype=float)
    best = by_epoch.dropna(how="all").idxmax(axis=1)
    spans = [(str(name), [*epochs]) for name, epochs in groupby(best.index, key=best.get)]
    return [(name, epochs[0], epochs[-1]) for name, epochs in spans]


def _draws(runs: Runs, topic: Topic) -> Chart | None:
    """Every seed's accuracy at the end, and how often one run of each gives the text's order."""
    text = topic.stated("final_accuracy")
    final = sample("final_accuracy", runs).runs
    if len(text) < 2 or not {*text} <= {*final} or any(f.isna().any() for f in final.values()):
        return None
    order = sorted(text, key=lambda variant: -text[variant])
    values = {variant: final[variant].tolist() for variant in order}
    return {"order": order, "values": values, "share": share(values)}


def share(values: Mapping[str, list[float]]) -> float:
    """Of all draws of one run per variant, the share in which each beats the next."""
    falling = [(-inf, 1)]  # how many falling draws begin with a value, from the last variant on
    for each in reversed([*values.values()]):
        falling = [(more, sum(n for less, n in falling if more > less)) for more in each]
    return sum(n for _, n in falling) / prod(map(len, values.values()))


def setting(study: Study, exercise: str) -> str:
    """Such as "MNIST; MLP 512-256-128; activation by variant; Adam; rate 0.001; …", from params."""
    variants = study.exercise(exercise).variants
    recipes = [_facets(study.recipe(exercise, variant)) for variant in variants]
    seeds = len(study.seeds_of(exercise))
    images = study.exercise(exercise).images
    words = [IMAGES.get(images, images)]
    for facet in dict.fromkeys(name for recipe in recipes for name in recipe):
        texts = {recipe.get(facet, "") for recipe in recipes}
        words.append(texts.pop() if len(texts) == 1 else f"{facet} by variant")
    return "; ".join([*filter(None, words), f"{seeds} seed{'s' if seeds > 1 else ''}"])


def _facets(recipe: Recipe) -> dict[str, str]:
    match recipe.model:
        case Mlp(hidden=hidden, activation=activation):
            model = {"layers": f"MLP {'-'.join(map(str, hidden))}", "activation": activation}
        case Cnn() as cnn:
            channels = "-".join(str(layer.channels) for layer in cnn.convolutions)
            model = {
                "layers": f"convolutions of {channels} channels, {cnn.hidden} hidden units",
                "dropout": f"dropout {cnn.dropout:g}",
                "padding": "padded poolings" if cnn.pool_padding else "",
                "batch normalisation": "batch normalisation" if cnn.batch_norm else "",
                "residual connections": "residual connections" if cnn.residual else "",
            }
    match recipe.schedule:
        case Step(every=every, gamma=gamma):
            schedule = f"times {gamma:g} every {every} epochs"
        case Exponential(gamma=gamma):
            schedule = f"times {gamma:g} every epoch"
        case WarmupCosine(warmup_epochs=epochs):
            schedule = f"cosine after {epochs} epochs of warm-up"
        case other:
            schedule = other.kind
    momentum = f" with momentum {m.momentum:g}" if isinstance(m := recipe.optimizer, Sgd) else ""
    decay = m.weight_decay if isinstance(m, Sgd) else 0
    augmentation = ", ".join(" ".join(map(str, dict(op).values())) for op in recipe.augment)
    return model | {
        "optimizer": f"{m.kind.upper() if momentum else m.kind.capitalize()}{momentum}",
        "weight decay": f"weight decay {decay:g}" if decay else "",
        "rate": f"rate {recipe.lr:g}",
        "schedule": f"schedule {schedule}",
        "augmentation": f"augmented by {augmentation}" if augmentation else "no augmentation",
        "batch": f"batches of {recipe.batch_size}",
        "label smoothing": f"labels smoothed by {s:g}" if (s := recipe.label_smoothing) else "",
        "epochs": f"{recipe.epochs} epochs",
        "precision": f"in {recipe.precision}" if recipe.precision else "",
    }


def changeable(study: Study) -> dict[str, dict[str, Any]]:
    """By exercise, the keys that `-S` can set for all its variants, and their values now.

    What the variants differ in is left out, since setting it in `train` would not reach them; so is
    what a what-if at the top overrides.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, exercise in study.exercises.items():
        recipes = [leaves(each.model_dump(mode="json")) for each in exercise.variants.values()]
        same = {k: v for k, v in recipes[0].items() if all(other.get(k) == v for other in recipes)}
        keys = {
            f"train.{key}": value
            for key, value in same.items()
            if key != "precision"
            and key not in study.overridden
            and not key.endswith("kind")
            and not (isinstance(value, list) and any(isinstance(each, dict) for each in value))
        }
        if study.seeds is None:
            keys["seeds"] = list(exercise.seeds)
        found[name] = keys
    return found


def leaves(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values of a tree of mappings, by their paths, such as "optimizer.momentum"."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
