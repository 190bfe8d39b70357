"""Compare the devices of the benchmark: the metrics to diff, the figure, the answer."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import replace, write_json
from alexnet_lab.results.figures import benchmark_figure
from alexnet_lab.results.runs import read_runs
from alexnet_lab.results.sections import benchmark_answer
from alexnet_lab.results.throughput import benchmark_metrics, throughput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("runs", "timing", "metrics", "plot"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()

    variants = params.load().benchmark.variants
    timing = read_runs(args.timing, variants)
    facts = read_runs(args.runs, variants)
    write_json(benchmark_metrics(facts), args.metrics)
    replace(args.plot, benchmark_figure(timing, facts).savefig)
    rates = throughput(timing).set_index("variant").round(3)
    console.show_table("benchmark: training steps of AlexNet", rates)
    console.say(benchmark_answer(timing))


if __name__ == "__main__":
    cli.run(main)
