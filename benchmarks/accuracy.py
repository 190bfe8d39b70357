"""Does the engine, in its own precision, reach the accuracy of the usual way?

It trains one variant both ways on the prepared data, with every seed of params.yaml, and prints
the mean test accuracy per epoch. The random streams of the two differ, so their means can only
agree within the seeds' spread: python -m benchmarks.accuracy schedules step --epochs 3
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch

from alexnet_lab import cli, console, params
from alexnet_lab.data.datasets import load
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import runs_of, train_runs
from alexnet_lab.runs.store import the_store
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
    stage = (args.exercise, args.variant)
    site = Site(study, Path("data"), this_machine(), the_store())
    runs = runs_of(site, *stage, console.say)
    engine = accuracies(record.epoch for record, _ in train_runs(site, *stage, runs))
    device = torch.device(site.hardware.device)
    data = load(runs[0].data).to(device)
    usual = accuracies(
        epoch for run in runs for epoch in reference.train(run.recipe, data, run.seed, device)
    )
    names = (f"engine, {runs[0].precision}", "reference")
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
