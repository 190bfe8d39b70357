"""Write the first layer's weights after training, of one run per variant."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import write_csv
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import runs_of
from alexnet_lab.runs.store import the_store
from alexnet_lab.weights import first_layer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data sets")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    site, rows = Site(params.load(), args.data, this_machine(), the_store()), []
    for variant in site.study.exercise(args.exercise).variants:
        run = runs_of(site, args.exercise, variant, console.say)[0]
        rows += [{"variant": variant} | row for row in first_layer(run, site.store, args.out)]
    write_csv(rows, args.out)


if __name__ == "__main__":
    cli.run(main)
