"""Train one variant of an exercise, once per seed, and write its curves."""

import argparse
from pathlib import Path

from alexnet_lab import console, params
from alexnet_lab.checkpoint import remove
from alexnet_lab.files import write_csv
from alexnet_lab.training import curves, timing
from alexnet_lab.workers import plan, restore, train_seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("variant")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    args = parser.parse_args()

    study = params.load()
    job = plan(study, args.exercise, args.variant, args.data, console.say)
    before = restore(job, study.seeds, console.say)
    titles = {seed: job.title(seed) for seed in study.seeds}
    now = console.follow(train_seeds(job, study.seeds), before, titles, job.recipe.epochs)
    epochs = sorted([*before, *now])
    where = {"precision": job.precision, "hardware": job.hardware}
    write_csv(timing(epochs, **where), args.timing)
    write_csv(curves(epochs), args.curves)
    remove(job.checkpoints)


if __name__ == "__main__":
    console.run(main)
