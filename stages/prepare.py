"""Fetch one data set and write its four arrays: images and labels, for training and for test."""

import argparse
from pathlib import Path

import numpy as np

from alexnet_lab import cli, console, params
from alexnet_lab.data.fetch import fetch
from alexnet_lab.data.sample import read_sample
from alexnet_lab.machine.files import replace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--sample", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    data = params.load().data
    arrays = read_sample(args.sample) if data.source == "sample" else fetch(args.dataset)
    replace(args.out, lambda new: save(arrays, new))
    console.show_arrays(args.dataset, data.source, arrays)


def save(arrays: dict[str, np.ndarray], folder: Path) -> None:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


if __name__ == "__main__":
    cli.run(main)
