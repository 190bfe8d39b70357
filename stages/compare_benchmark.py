"""Compare the devices of the benchmark: the summary that is diffed, the figure, a table."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import read_runs, replace, write_json
from alexnet_lab.results.analysis import summarize_benchmark, throughput
from alexnet_lab.results.figures import benchmark_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--plot", type=Path, required=True)
    args = parser.parse_args()

    variants = params.load().benchmark.variants
    timing = read_runs(args.timing, variants)
    write_json(summarize_benchmark(read_runs(args.runs, variants)), args.metrics)
    replace(args.plot, benchmark_figure(timing).savefig)
    rates = throughput(timing).set_index("variant").round(3)
    console.show_table("benchmark: training steps of AlexNet", rates)


if __name__ == "__main__":
    cli.run(main)
