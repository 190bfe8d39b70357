"""Train one variant of an exercise, once per seed, and write its curves."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.learning.training import curves, timing
from alexnet_lab.learning.workers import done_before, plan, train_seeds
from alexnet_lab.machine.checkpoint import exclusive, finish
from alexnet_lab.machine.files import write_csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("variant")
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data sets")
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    args = parser.parse_args()

    study = params.load()
    seeds = study.seeds_of(args.exercise)
    data = args.data / study.exercise(args.exercise).images
    job = plan(study, args.exercise, args.variant, data, console.say)
    titles = {seed: job.title(seed) for seed in seeds}
    where = {"precision": job.precision, "hardware": job.hardware}
    with exclusive(job.checkpoints, console.say):
        done = done_before(job, seeds, console.say)
        now = train_seeds(job, seeds)
        epochs = sorted(console.follow(now, done, titles, job.recipe.epochs))
        write_csv(timing(epochs, **where), args.timing)
        write_csv(curves(epochs), args.curves)
        finish(job.checkpoints, args.timing)


if __name__ == "__main__":
    cli.run(main)
