"""Train one variant of an exercise, once per seed, and write its curves."""

import argparse
from dataclasses import asdict
from pathlib import Path

from alexnet_lab import console, params
from alexnet_lab.datasets import load
from alexnet_lab.devices import choose_device, hardware_name, make_deterministic
from alexnet_lab.files import write_csv
from alexnet_lab.precision import choose
from alexnet_lab.workers import Job, train_seeds

TIMED = ("seed", "epoch", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("variant")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    args = parser.parse_args()
    study = params.load()
    recipe = study.recipe(args.exercise, args.variant)
    make_deterministic(study.threads)
    data = load(args.data).to(choose_device())
    precision = choose(study.precision, recipe, data, console.say)
    epochs = train_seeds(Job(recipe, args.data, study.threads, precision), study.seeds)
    titles = {seed: f"{args.exercise} {args.variant} seed {seed}" for seed in study.seeds}
    rows = [asdict(epoch) for epoch in console.follow(epochs, titles, recipe.epochs)]
    rows.sort(key=lambda row: (row["seed"], row["epoch"]))
    where = {"precision": precision, "hardware": hardware_name(data.device)}
    write_csv(({key: row[key] for key in TIMED} | where for row in rows), args.timing)
    write_csv(({key: row[key] for key in row if key != "seconds"} for row in rows), args.curves)


if __name__ == "__main__":
    console.run(main)
