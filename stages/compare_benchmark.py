"""Compare the devices of the benchmark: the metrics to diff, the figure, the answer."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import replace, write_json
from alexnet_lab.results.figures import benchmark_figure
from alexnet_lab.results.runs import read_csv
from alexnet_lab.results.sections import benchmark_answer
from alexnet_lab.results.throughput import benchmark_metrics, read_benchmark, throughput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("runs", "timing", "layers", "metrics", "plot"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()

    variants = params.load().benchmark.variants
    timing, facts = (read_benchmark(at, variants) for at in (args.timing, args.runs))
    write_json(benchmark_metrics(facts), args.metrics)
    replace(args.plot, benchmark_figure(timing, read_csv(args.layers)).savefig)
    shown = ["batch_size", "img_per_s", "lowest", "highest", "peak_memory_mib"]
    rates = throughput(timing).set_index("variant")[shown].round(1)
    console.show_table("benchmark: training steps of AlexNet", rates)
    console.say(benchmark_answer(timing))


if __name__ == "__main__":
    cli.run(main)
