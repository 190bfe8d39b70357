"""How much faster than the usual way is our engine, and how near is it to the machine?

For each case, reference and engine take turns in one run, each in processes of its own that
are warm before the first turn: an epoch of a fraction of the data, training and all
evaluations. The engine trains several seeds side by side, as a stage does, so its seconds
are those of the turn divided by the seeds. The peak is a matrix product of the same number
of processes and threads, measured in the same turns.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from alexnet_lab import cli, console, params
from alexnet_lab.data.datasets import CLASSES, Dataset, load
from alexnet_lab.learning.models import build
from alexnet_lab.learning.precision import choose
from alexnet_lab.learning.training import train
from alexnet_lab.learning.workers import worker_count
from alexnet_lab.machine.devices import (
    choose_device,
    hardware_name,
    make_deterministic,
    synchronize,
)
from alexnet_lab.machine.files import write_json
from alexnet_lab.machine.processes import Remote
from alexnet_lab.params.recipes import Arithmetic, Recipe
from benchmarks import reference

CASES = {  # stage: data set, and the fraction of an epoch that a turn takes
    "activation@relu": ("mnist", 0.5),
    "schedules@constant": ("cifar10", 0.1),
    "augmentation@none": ("cifar10", 0.1),
    "augmentation@basic": ("cifar10", 0.1),
    "augmentation@strong": ("cifar10", 0.1),
    "augmentation@alexnet_style": ("cifar10", 0.1),
    "batchnorm@without_bn": ("cifar10", 0.1),
    "batchnorm@with_bn": ("cifar10", 0.1),
}
SIDE = 2048  # of the square matrices that the peak is measured with


class Side:
    """Processes that each take one step of their own iterator at every turn."""

    def __init__(self, iterate: Callable[[int], Iterator[Any]], processes: int) -> None:
        steps = (partial(_memory_mib, iterate, seed) for seed in range(processes))
        self._stack = ExitStack()
        self._remotes = [self._stack.enter_context(Remote(step)) for step in steps]
        self.peak_mib = 0.0

    def __enter__(self) -> Self:
        self.turn()  # the warm-up
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def turn(self) -> float:
        """Seconds until the last process is done."""
        start = time.perf_counter()
        for remote in self._remotes:
            remote.ask()
        peaks = [remote.answer() or 0.0 for remote in self._remotes]
        seconds = time.perf_counter() - start
        self.peak_mib = max(peaks)
        return seconds


def _memory_mib(iterate: Callable[[int], Iterator[Any]], seed: int) -> Iterator[float]:
    """The most that this process held, after each step."""
    for _ in iterate(seed):
        yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reference_epochs(recipe: Recipe, folder: Path, fraction: float, seed: int) -> Iterator[Any]:
    """The usual way, with torch's own choice of threads."""
    yield from reference.train(recipe, part(load(folder), fraction), seed, choose_device())


def engine_epochs(
    recipe: Recipe, folder: Path, fraction: float, threads: int, precision: Arithmetic, seed: int
) -> Iterator[Any]:
    """Ours, as a worker of a stage runs it."""
    make_deterministic(threads)
    yield from train(recipe, part(load(folder), fraction), seed, precision)


def products(precision: torch.dtype, threads: int, seed: int) -> Iterator[None]:
    """Matrix products without end, ``2 SIDE**3`` FLOP a step."""
    make_deterministic(threads)
    device = choose_device()
    one, other = (torch.randn(SIDE, SIDE, device=device).to(precision) for _ in range(2))
    while True:
        one @ other
        synchronize(device)
        yield


def part(data: Dataset, fraction: float) -> Dataset:
    """The first images of both sets, on the device, labels as the loss wants them."""
    some = (
        array[: round(len(array) * fraction)]
        for array in (data.train_images, data.train_labels, data.test_images, data.test_labels)
    )
    return Dataset(*some).to(choose_device())


def epoch_flop(recipe: Recipe, data: Dataset) -> float:
    """Of convolutions and matrix products in an epoch, padding counted as if it were image."""
    with torch.device("meta"):
        network = build(recipe.model, data.image_shape, CLASSES, seed=0).eval()
        image = torch.empty(1, *data.image_shape)
    with FlopCounterMode(display=False) as forward:
        logits = network(image)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    train, test = len(data.train_labels), len(data.test_labels)
    evaluated = test + (train if recipe.clean_train_loss else 0)
    ahead, back = forward.get_total_flops(), backward.get_total_flops()
    return float(train * (ahead + back) + evaluated * ahead)


def take_turns(
    recipe: Recipe,
    folder: Path,
    fraction: float,
    threads: int,
    precision: Arithmetic,
    seeds: int,
    count: int,
) -> tuple[pd.DataFrame, float]:
    """A row a turn: seconds per epoch of a seed, and the peak in GFLOP/s; the engine's MiB."""
    recipe = recipe.model_copy(update={"epochs": count + 1})  # the first is the warm-up
    ours = partial(engine_epochs, recipe, folder, fraction, threads)
    rows = []
    with (
        Side(partial(reference_epochs, recipe, folder, fraction), 1) as usual,
        Side(partial(ours, precision), seeds) as engine,
        Side(partial(ours, "fp32"), seeds) as engine_fp32,
        Side(partial(products, torch.bfloat16, threads), seeds) as bf16,
        Side(partial(products, torch.float32, threads), seeds) as fp32,
    ):
        for _ in range(count):
            row = {
                "reference": usual.turn() / fraction,
                "engine": engine.turn() / fraction / seeds,
                "engine_fp32": engine_fp32.turn() / fraction / seeds,
            }
            fastest = min(side.turn() for side in (bf16, fp32) for _ in range(5))
            rows.append(row | {"peak": seeds * 2 * SIDE**3 / fastest / 1e9})
        return pd.DataFrame(rows), max(engine.peak_mib, engine_fp32.peak_mib)


def measured(turns: pd.DataFrame, gflop: float) -> dict[str, float]:
    """Medians over the turns; a ratio is taken within its turn."""
    ratio, ratio_fp32 = (turns["reference"] / turns[name] for name in ("engine", "engine_fp32"))
    rate = gflop / turns["engine"]
    found = {
        "reference_s": turns["reference"].median(),
        "engine_s": turns["engine"].median(),
        "ratio": ratio.median(),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "fp32_s": turns["engine_fp32"].median(),
        "ratio_fp32": ratio_fp32.median(),
        "gflops": rate.median(),  # per second
        "share_of_peak": (rate / turns["peak"]).median(),
    }
    return {key: round(float(value), 3) for key, value in found.items()}


def main() -> None:
    """Measure the cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="STAGE")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    study = params.load()
    make_deterministic(study.threads)
    results: dict[str, dict[str, Any]] = {}
    for case in args.cases:
        dataset, fraction = CASES[case]
        folder = Path("data", dataset)
        exercise, variant = case.split("@")
        recipe, data = study.recipe(exercise, variant), load(folder)
        seeds = worker_count(len(study.seeds_of(exercise)), study.threads)
        precision = choose(study.precision, recipe, data.to(choose_device()), console.say)
        turns, mib = take_turns(
            recipe, folder, fraction, study.threads, precision, seeds, args.turns
        )
        results[case] = measured(turns, epoch_flop(recipe, data) / 1e9)
        results[case] |= {"precision": precision, "memory_mib": round(mib)}
        console.say(f"{case}: {results[case]['ratio']:.2f} times as fast as the reference")
    console.show_table(
        f"Seconds an epoch, and their ratio, on {hardware_name(choose_device())}", table(results)
    )
    write_json(results, args.out)


def table(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """What fits a terminal: seconds per epoch, and how many times as fast as the reference."""
    frame = pd.DataFrame(results).T
    two, one = "{:.2f}".format, "{:.1f}".format
    shown = {
        "usual": frame["reference_s"].map(one),
        "ours": frame["engine_s"].map(one),
        "ratio": frame["ratio"].map(two),
        "from": frame["ratio_min"].map(two),
        "to": frame["ratio_max"].map(two),
        "fp32": frame["ratio_fp32"].map(two),
        "peak": frame["share_of_peak"].map(two),
        "MiB": frame["memory_mib"],
    }
    return pd.DataFrame(shown).rename_axis("stage")


if __name__ == "__main__":
    cli.run(main)
