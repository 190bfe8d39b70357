"""Draw what each augmentation of an exercise does to the same eight training images."""

import argparse
from pathlib import Path

from alexnet_lab import cli, params
from alexnet_lab.data.datasets import load
from alexnet_lab.machine.files import replace
from alexnet_lab.results.augmentation import augmentation_sheet

IMAGES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data sets")
    parser.add_argument("--plot", type=Path, required=True)
    args = parser.parse_args()

    exercise = params.load().exercise(args.exercise)
    images = load(args.data / exercise.images).train_images[:IMAGES]
    ops = {name: recipe.augment for name, recipe in exercise.variants.items()}
    replace(args.plot, augmentation_sheet(images, ops).savefig)


if __name__ == "__main__":
    cli.run(main)
