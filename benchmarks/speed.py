"""How much faster than the usual way is our engine, and how near is it to the machine's peak?

For each case, reference and engine take turns in one run, each in processes of its own that are
warm before the first turn. A turn is an epoch on a fraction of the data: training and all
evaluations. The engine trains several seeds side by side, as a stage does, so its seconds are
those of the turn divided by the seeds. The peak is the rate of a matrix product in as many
processes and threads, measured in the same turns.
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
from alexnet_lab.data.datasets import Dataset, load
from alexnet_lab.learning.models import build
from alexnet_lab.learning.training import train
from alexnet_lab.machine.devices import make_deterministic, synchronize
from alexnet_lab.machine.files import write_json
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.machine.processes import Remote
from alexnet_lab.params.recipes import Arithmetic, Recipe
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import worker_count
from alexnet_lab.runs.store import the_store
from benchmarks import reference

CASES = {  # stage: the fraction of the data that a turn takes
    "activation@relu": 0.5,
    "schedules@constant": 0.1,
    "augmentation@none": 0.1,
    "augmentation@basic": 0.1,
    "augmentation@strong": 0.1,
    "augmentation@alexnet_style": 0.1,
    "batchnorm@without_bn": 0.1,
    "batchnorm@with_bn": 0.1,
}
SIDE = 2048  # rows and columns of the matrices that the peak is measured with


def the_device() -> torch.device:
    """Where both sides compute."""
    return torch.device(this_machine().device)


class Side:
    """One of those that take turns: processes that each take one step of their own iterator."""

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
        """Let every process take a step. Returns the seconds until the last one is done."""
        start = time.perf_counter()
        for remote in self._remotes:
            remote.ask()
        peaks = [remote.answer() or 0.0 for remote in self._remotes]
        seconds = time.perf_counter() - start
        self.peak_mib = max(peaks)
        return seconds


def _memory_mib(iterate: Callable[[int], Iterator[Any]], seed: int) -> Iterator[float]:
    """Yield the most memory that this process has held, after each step."""
    for _ in iterate(seed):
        yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reference_epochs(recipe: Recipe, folder: Path, fraction: float, seed: int) -> Iterator[Any]:
    """Train in the usual way, with torch's own choice of threads."""
    yield from reference.train(recipe, part(load(folder), fraction), seed, the_device())


def engine_epochs(
    recipe: Recipe, folder: Path, fraction: float, threads: int, precision: Arithmetic, seed: int
) -> Iterator[Any]:
    """Train with our engine, as a worker of a stage does."""
    make_deterministic(threads)
    yield from train(recipe, part(load(folder), fraction), seed, precision)


def products(precision: torch.dtype, threads: int, seed: int) -> Iterator[None]:
    """Multiply matrices without end: ``2 SIDE**3`` FLOP per step."""
    make_deterministic(threads)
    device = the_device()
    left, right = (torch.randn(SIDE, SIDE, device=device).to(precision) for _ in range(2))
    while True:
        left @ right
        synchronize(device)
        yield


def part(data: Dataset, fraction: float) -> Dataset:
    """Take the first images of both sets, on the device, with labels as the loss wants them."""
    arrays = (
        array[: round(len(array) * fraction)]
        for array in (data.train_images, data.train_labels, data.test_images, data.test_labels)
    )
    return Dataset(*arrays).to(the_device())


def epoch_flop(recipe: Recipe, data: Dataset) -> float:
    """Count an epoch's FLOP in convolutions and matrix products, padding included."""
    with torch.device("meta"):
        network = build(recipe.model, data.image_shape, data.classes, seed=0).eval()
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
    """Measure some turns; return one row per turn, and the most MiB that an engine's process held.

    A row has the seconds per epoch of one seed for each side, and the peak in GFLOP/s.
    """
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


def medians(turns: pd.DataFrame, gflop: float) -> dict[str, float]:
    """Medians over the turns; each ratio is taken within its turn."""
    ratio, ratio_fp32 = (turns["reference"] / turns[name] for name in ("engine", "engine_fp32"))
    rate = gflop / turns["engine"]
    columns = {
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
    return {key: round(float(value), 3) for key, value in columns.items()}


def main() -> None:
    """Measure the cases, print a table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="STAGE")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    study = params.load()
    make_deterministic(study.threads)
    site = Site(study, Path("data"), this_machine(), the_store())
    results: dict[str, dict[str, Any]] = {}
    for case in args.cases:
        fraction = CASES[case]
        exercise, variant = case.split("@")
        folder = Path("data", study.exercise(exercise).images)
        recipe, data = study.recipe(exercise, variant), load(folder)
        workers = worker_count(study.threads, site.hardware)
        seeds = min(len(study.seeds_of(exercise)), workers)
        precision = site.precision(exercise, variant, console.say)
        turns, mib = take_turns(
            recipe, folder, fraction, study.threads, precision, seeds, args.turns
        )
        results[case] = medians(turns, epoch_flop(recipe, data) / 1e9)
        results[case] |= {"precision": precision, "memory_mib": round(mib)}
        console.say(f"{case}: {results[case]['ratio']:.2f} times as fast as the reference")
    console.show_table(
        f"Seconds per epoch, and their ratio, on {site.hardware.name}", table(results)
    )
    write_json(results, args.out)


def table(results: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A table that fits a terminal: seconds per epoch, and their ratio to the reference."""
    frame = pd.DataFrame(results).T
    two_digits, one_digit = "{:.2f}".format, "{:.1f}".format
    shown = {
        "usual": frame["reference_s"].map(one_digit),
        "ours": frame["engine_s"].map(one_digit),
        "ratio": frame["ratio"].map(two_digits),
        "from": frame["ratio_min"].map(two_digits),
        "to": frame["ratio_max"].map(two_digits),
        "fp32": frame["ratio_fp32"].map(two_digits),
        "peak": frame["share_of_peak"].map(two_digits),
        "MiB": frame["memory_mib"],
    }
    return pd.DataFrame(shown).rename_axis("stage")


if __name__ == "__main__":
    cli.run(main)
