"""Time AlexNet's training step on one kind of device after the other."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.benchmark.steps import measure_all, network_facts
from alexnet_lab.machine.files import write_csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    args = parser.parse_args()

    benchmark = params.load().benchmark
    facts = network_facts(benchmark)
    for variant, target in benchmark.variants.items():
        all_sizes = []
        for measurement in measure_all(benchmark, target.device):
            console.show_measurement(variant, measurement)
            all_sizes.append(measurement)
        runs = [{"batch_size": m.batch_size, "status": m.status, **facts} for m in all_sizes]
        write_csv(runs, args.runs / f"{variant}.csv")
        write_csv((row for m in all_sizes for row in m.steps()), args.timing / f"{variant}.csv")


if __name__ == "__main__":
    cli.run(main)
