"""Write the report, as Markdown and as a page, and the verdict on each of the text's claims."""

import argparse
from pathlib import Path

from alexnet_lab import cli, params
from alexnet_lab.machine.files import replace, write_json
from alexnet_lab.results.explore import charts
from alexnet_lab.results.figures import overview_figure
from alexnet_lab.results.page import Content, page, read_pictures
from alexnet_lab.results.report import ledger, remarks, report
from alexnet_lab.results.runs import read, read_csv
from alexnet_lab.results.sections import benchmark_section, training_section
from alexnet_lab.results.throughput import read_benchmark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("runs", "timing", "layers", "topics", "claims", "plots", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args, study = parser.parse_args(), params.load()
    topics = params.load_claims(study, args.topics)
    steps = read_benchmark(args.timing / "benchmark", study.benchmark.variants)
    runs = {n: read(e, args.runs / n, args.timing / n) for n, e in study.exercises.items()}
    said = remarks(study, topics)
    sections = [training_section(n, topics[n], each, in_short=not said) for n, each in runs.items()]
    sections.insert(0, benchmark_section(topics["benchmark"], steps, read_csv(args.layers)))
    write_json(ledger(sections), args.claims)
    spine = {n: each for n, each in runs.items() if not topics[n].under}
    replace(args.plots / "overview.png", overview_figure(spine, topics).savefig)
    text = report(study, sections, topics, said)
    replace(args.out, lambda new: new.write_text(text, encoding="utf-8"))
    pictures = read_pictures(args.plots, text)
    html = page(Content(study, topics, sections, charts(runs, topics, steps), pictures))
    replace(args.plots / "report.html", lambda new: new.write_text(html, encoding="utf-8"))


if __name__ == "__main__":
    cli.run(main)
