"""Draw one of the pictures that explain an exercise."""

import argparse
from pathlib import Path

from alexnet_lab import cli, params
from alexnet_lab.machine.files import replace
from alexnet_lab.results.pictures import PICTURES
from alexnet_lab.results.runs import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", choices=PICTURES)
    parser.add_argument("exercise")
    for name in ("runs", "timing", "plot"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()

    exercise = params.load().exercise(args.exercise)
    runs = read(exercise, args.runs, args.timing)
    replace(args.plot, PICTURES[args.picture](runs, exercise.variants).savefig)


if __name__ == "__main__":
    cli.run(main)
