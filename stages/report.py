"""Write REPORT.md from the runs and the timing of all exercises."""

import argparse
from pathlib import Path

from alexnet_lab import console, params
from alexnet_lab.files import read_runs, replace
from alexnet_lab.report import benchmark_section, remarks, report, training_section


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    study = params.load()
    asked = study.benchmark
    steps = read_runs(args.timing / "benchmark", asked.variants)
    sections = [benchmark_section(asked.question, steps)]
    for name, exercise in study.exercises.items():
        folders = (args.runs / name, args.timing / name)
        curves, timing = (read_runs(folder, exercise.variants) for folder in folders)
        found = training_section(name, exercise.question, exercise.compare, curves, timing)
        sections.append(found)
    page = report(sections, remarks(study.data.source, study.overridden), study.seeds)
    replace(args.out, lambda new: new.write_text(page))


if __name__ == "__main__":
    console.run(main)
