"""Time training steps of one variant of the benchmark, batch size by batch size."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.benchmark.layers import network_facts
from alexnet_lab.benchmark.steps import measure_all
from alexnet_lab.machine.files import write_csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    args = parser.parse_args()

    benchmark = params.load().benchmark
    target = benchmark.variants[args.variant]
    facts = {network: network_facts(benchmark, network) for network in target.networks}
    measured = []
    for each in measure_all(benchmark, target):
        console.show_measurement(args.variant, each)
        measured.append(each)
    keys = ("network", "batch_size", "status")
    runs = [{key: getattr(m, key) for key in keys} | facts[m.network] for m in measured]
    write_csv(runs, args.runs)
    write_csv((row for each in measured for row in each.steps()), args.timing)


if __name__ == "__main__":
    cli.run(main)
