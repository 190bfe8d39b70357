"""Every exercise's question and answer, on one screen: python -m alexnet_lab.results.answers"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from alexnet_lab import cli, console, params
from alexnet_lab.params.claims import Claim
from alexnet_lab.results.analysis import compare_variants, summarize
from alexnet_lab.results.quantities import label
from alexnet_lab.results.runs import Runs, read
from alexnet_lab.results.sections import benchmark_answer
from alexnet_lab.results.statistics import Verdict
from alexnet_lab.results.tables import difference, frame, with_interval
from alexnet_lab.results.throughput import read_benchmark, throughput

RUNS, TIMING, TOPICS = Path("metrics/runs"), Path("metrics/timing"), Path("claims.yaml")
WIDTH = 8  # of a bar or a curve
SIGNS: dict[Verdict, str] = {"better": "▲", "worse": "▼", "equivalent": "=", "undecided": "?"}
LEGEND = "▲ better  ▼ worse  = no difference that matters  ? undecided  ± 95 % interval"


def main() -> None:
    """Print them, without the controls."""
    study = params.load()
    topics = params.load_claims(study, TOPICS)
    steps = read_benchmark(TIMING / "benchmark", study.benchmark.variants)
    console.show_table(topics["benchmark"].question or "benchmark", speeds(steps))
    console.say(benchmark_answer(steps, brief=True))
    for name, exercise in study.exercises.items():
        if topics[name].under:
            continue
        runs = read(exercise, RUNS / name, TIMING / name)
        claims = topics[name].claims.values()
        console.show_table(topics[name].question or name, answer(runs, claims))
    console.say(LEGEND)


def speeds(steps: pd.DataFrame) -> pd.DataFrame:
    """One row per device and batch size that was measured: images per second, and a bar."""
    rates = throughput(steps[steps["stage"] == steps["variant"]])  # one network, one device
    label = rates["variant"] + ", batch " + rates["batch_size"].map(str)
    speed, top = rates["img_per_s"], rates["img_per_s"].max()
    bars = ["█" * max(1, round(WIDTH * rate / top)) for rate in speed]
    return pd.DataFrame({"": label, "img/s": speed.map("{:.1f}".format), " ": bars}).set_index("")


def answer(runs: Runs, claims: Iterable[Claim]) -> pd.DataFrame:
    """One row per variant: its accuracy as a curve and a number, and what it differs by."""
    summary, compare = summarize(runs), runs.compare
    means = runs.curves.groupby(["variant", "epoch"], sort=False)["test_accuracy"].mean()
    rows = {
        variant: {
            "": runs.starred(variant),
            "by epoch": console.sparkline(means[variant].tolist(), WIDTH, 100),
            "test accuracy (%)": with_interval(numbers, "window_accuracy"),
        }
        for variant, numbers in summary.items()
    }
    for each in compare_variants(runs, claims):
        name = "points" if each.quantity == "window_accuracy" else label(each.quantity, compare)
        less = f", minus {compare.baseline}" if each.other == compare.baseline else ""
        rows[each.variant][f"{name}{less}"] = (
            f"{difference(each) or '–'} {SIGNS.get(each.verdict, each.verdict)}"
        )
    return frame(list(rows.values()), "")


if __name__ == "__main__":
    cli.run(main)
