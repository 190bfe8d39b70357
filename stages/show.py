"""Draw one of the pictures that explain an exercise."""

import argparse
from pathlib import Path

from alexnet_lab import cli, params
from alexnet_lab.machine.files import replace
from alexnet_lab.results.pictures import PICTURES
from alexnet_lab.results.runs import read_curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", choices=PICTURES)
    parser.add_argument("exercise")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--plot", type=Path, required=True)
    args = parser.parse_args()

    exercise = params.load().exercise(args.exercise)
    models = {name: recipe.model for name, recipe in exercise.variants.items()}
    picture = PICTURES[args.picture](read_curves(exercise, args.runs), models)
    replace(args.plot, picture.savefig)


if __name__ == "__main__":
    cli.run(main)
