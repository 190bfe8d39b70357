"""Compare an exercise's variants: metrics to diff, the summary, curves, figure, the answer."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import replace, write_json
from alexnet_lab.results.analysis import compare_variants, metrics, summarize
from alexnet_lab.results.figures import after, training_figure
from alexnet_lab.results.finding import finding
from alexnet_lab.results.runs import read
from alexnet_lab.results.sections import training_answer
from alexnet_lab.results.tables import summary_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    for name in ("runs", "timing", "topics", "metrics", "summary", "curves", "plot"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args, study = parser.parse_args(), params.load()
    exercise = study.exercise(args.exercise)
    topic = params.load_claims(study, args.topics)[args.exercise]
    above = study.exercises.get(topic.under, exercise).variants
    claims = topic.claims.values()
    runs = read(exercise, args.runs, args.timing)
    summary = summarize(runs)
    write_json(metrics(summary, runs), args.metrics)
    write_json(summary, args.summary)
    titles = [finding(runs, topic)] + [""] * (len(runs.curves) - 1)  # of `dvc plots`
    replace(args.curves, runs.curves.assign(title=titles).set_index("variant").to_csv)
    replace(args.plot, training_figure(runs, after(above, runs.variants), topic).savefig)
    table = summary_table(summary, runs.compare, brief=True)
    console.show_table(topic.question or args.exercise, table)
    answer = training_answer(summary, compare_variants(runs, claims), runs)
    console.say(f"{titles[0]}. {answer}".replace("**", "").rstrip())


if __name__ == "__main__":
    cli.run(main)
