"""Compare an exercise's variants: the summary that is diffed, the figure, a table."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import read_runs, replace, write_json
from alexnet_lab.results.analysis import summarize, summary_frame
from alexnet_lab.results.figures import training_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--plot", type=Path, required=True)
    args = parser.parse_args()

    exercise = params.load().exercise(args.exercise)
    curves = read_runs(args.runs, exercise.variants)
    timing = read_runs(args.timing, exercise.variants)
    summary = summarize(curves, exercise.compare)
    write_json(summary, args.metrics)
    figure = training_figure(curves, timing, exercise.compare)
    replace(args.plot, figure.savefig)
    console.show_table(args.exercise, summary_frame(summary))


if __name__ == "__main__":
    cli.run(main)
