"""Write the report, as Markdown and as a page, and the ledger of the original's claims."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import read_runs, replace, write_json
from alexnet_lab.results.claims import check_all
from alexnet_lab.results.figures import overview_figure
from alexnet_lab.results.page import benchmark_charts, page, read_pictures, training_charts
from alexnet_lab.results.report import (
    benchmark_section,
    ledger,
    made_of,
    remarks,
    report,
    training_section,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("runs", "timing", "claims", "plots", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()

    study = params.load()
    steps = read_runs(args.timing / "benchmark", study.benchmark.variants)
    sections = [benchmark_section(study.benchmark, steps)]
    charts = {"benchmark": benchmark_charts(steps)}
    curves = {}
    for name, exercise in study.exercises.items():
        curves[name] = read_runs(args.runs / name, exercise.variants)
        timing = read_runs(args.timing / name, exercise.variants)
        sections.append(training_section(name, exercise, curves[name], timing))
        charts[name] = training_charts(name, curves[name])
    takeaways = check_all("takeaways", study.takeaways, {})
    write_json(ledger(sections, takeaways), args.claims)
    text = report(sections, takeaways, remarks(study), made_of(study))
    replace(args.plots / "overview.png", overview_figure(curves, study.exercises).savefig)
    html = page(text, read_pictures(args.plots, [*charts, "overview"]), charts)
    replace(args.out, lambda new: new.write_text(text))
    replace(args.plots / "report.html", lambda new: new.write_text(html))


if __name__ == "__main__":
    cli.run(main)
