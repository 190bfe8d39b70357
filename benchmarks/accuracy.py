"""Does the engine, in its own precision, reach the accuracy of the usual way?

It trains one variant both ways on the prepared data, with every seed of params.yaml, and prints
the mean test accuracy per epoch. The random streams of the two differ, so their means can only
agree within the seeds' spread: python -m benchmarks.accuracy schedules step --epochs 3
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from alexnet_lab import cli, console, params
from alexnet_lab.data.datasets import load
from alexnet_lab.learning.training import Epoch
from alexnet_lab.learning.workers import plan, train_seeds
from alexnet_lab.machine.checkpoint import exclusive
from alexnet_lab.machine.devices import choose_device
from alexnet_lab.machine.files import discard
from benchmarks import reference


def main() -> None:
    """Train both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("variant")
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    study = params.load()
    study = study.model_copy(update={"epochs": args.epochs})
    seeds = study.seeds_of(args.exercise)
    folder = Path("data", study.exercise(args.exercise).images)
    job = plan(study, args.exercise, args.variant, folder, console.say)
    with exclusive(job.checkpoints, console.say):
        engine = accuracies(train_seeds(job, seeds))
        discard(job.checkpoints)
    data = load(folder).to(choose_device())
    usual = accuracies(
        epoch
        for seed in seeds
        for epoch in reference.train(job.recipe, data, seed, choose_device())
    )
    names = (f"engine, {job.precision}", "reference")
    frame = pd.DataFrame(dict(zip(names, map(mean_and_spread, (engine, usual)), strict=True)))
    frame["difference of means"] = (engine.mean() - usual.mean()).map("{:+.2f}".format)
    console.show_table(f"{args.exercise} {args.variant}: test accuracy (%)", frame)


def accuracies(epochs: Iterable[Epoch]) -> pd.DataFrame:
    """Test accuracy (%): one row per seed, one column per epoch."""
    frame = pd.DataFrame([vars(epoch) for epoch in epochs])
    return frame.pivot_table(index="seed", columns="epoch", values="test_accuracy")


def mean_and_spread(accuracy: pd.DataFrame) -> pd.Series:
    """Mean and standard deviation over the seeds, per epoch, as text."""
    return accuracy.mean().map("{:.2f}".format) + " ± " + accuracy.std().map("{:.2f}".format)


if __name__ == "__main__":
    cli.run(main)
