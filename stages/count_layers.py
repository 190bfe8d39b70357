"""Count what each layer of the benchmark's networks costs, without computing anything."""

import argparse
from dataclasses import asdict
from pathlib import Path

from alexnet_lab import cli, params
from alexnet_lab.benchmark.layers import layers_of
from alexnet_lab.benchmark.networks import NETWORKS
from alexnet_lab.machine.files import write_csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    benchmark = params.load().benchmark
    write_csv(
        (
            {"network": network} | asdict(layer)
            for network in NETWORKS
            for layer in layers_of(benchmark, network)
        ),
        args.out,
    )


if __name__ == "__main__":
    cli.run(main)
