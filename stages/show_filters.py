"""Draw the first layer's filters of each variant."""

import argparse
from pathlib import Path

from alexnet_lab import cli
from alexnet_lab.machine.files import replace
from alexnet_lab.results.runs import read_csv
from alexnet_lab.results.sheet import filter_sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=Path, required=True)
    parser.add_argument("--plot", type=Path, required=True)
    args = parser.parse_args()

    replace(args.plot, filter_sheet(read_csv(args.filters)).savefig)


if __name__ == "__main__":
    cli.run(main)
