"""Compare an exercise's variants: metrics to diff, the whole summary, curves, figure, table."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import replace, write_json
from alexnet_lab.results.analysis import metrics, summarize
from alexnet_lab.results.figures import training_figure
from alexnet_lab.results.runs import read
from alexnet_lab.results.tables import summary_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    for name in ("runs", "timing", "metrics", "summary", "curves", "plot"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()

    exercise = params.load().exercise(args.exercise)
    runs = read(exercise, args.runs, args.timing)
    summary = summarize(runs)
    write_json(metrics(summary, runs), args.metrics)
    write_json(summary, args.summary)
    replace(args.curves, runs.curves.set_index("variant").to_csv)
    replace(args.plot, training_figure(runs).savefig)
    console.show_table(args.exercise, summary_table(summary, runs.compare))


if __name__ == "__main__":
    cli.run(main)
