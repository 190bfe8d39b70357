"""Write the report, as Markdown and as a page, and the ledger of the original's claims."""

import argparse
from pathlib import Path

from alexnet_lab import console, params
from alexnet_lab.claims import check_all
from alexnet_lab.files import read_runs, replace, write_json
from alexnet_lab.page import benchmark_charts, page, read_pictures, training_charts
from alexnet_lab.report import benchmark_section, made_of, remarks, report, training_section


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("runs", "timing", "claims", "plots", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()

    study = params.load()
    steps = read_runs(args.timing / "benchmark", study.benchmark.variants)
    sections = [benchmark_section(study.benchmark, steps)]
    charts = {"benchmark": benchmark_charts(steps)}
    for name, exercise in study.exercises.items():
        folders = (args.runs / name, args.timing / name)
        runs = [read_runs(folder, exercise.variants) for folder in folders]
        sections.append(training_section(name, exercise, *runs))
        charts[name] = training_charts(name, runs[0])
    takeaways = check_all("takeaways", study.takeaways, {})
    ledgers = [*(section.ledger for section in sections), takeaways]
    write_json({key: f.row() for ledger in ledgers for key, f in ledger.items()}, args.claims)
    notes = remarks(study.data.source, study.overridden)
    text = report(sections, takeaways, notes, made_of(study))
    html = page(text, read_pictures(args.plots, charts), charts)
    replace(args.out, lambda new: new.write_text(text))
    replace(args.plots / "report.html", lambda new: new.write_text(html))


if __name__ == "__main__":
    console.run(main)
