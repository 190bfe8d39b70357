"""One section of the report per exercise: its answer in words, its tables, its claims."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from alexnet_lab.params.claims import Topic
from alexnet_lab.results.analysis import (
    CI,
    Summary,
    compare_variants,
    measure,
    summarize,
)
from alexnet_lab.results.claims import Ledger, check_all
from alexnet_lab.results.quantities import QUANTITIES
from alexnet_lab.results.runs import Runs
from alexnet_lab.results.statistics import FEWEST, OPEN, Comparison
from alexnet_lab.results.tables import (
    comparison_table,
    difference,
    seeds_that_might_tell,
    summary_table,
    throughput_table,
)
from alexnet_lab.results.throughput import not_measured, speed_up, speed_up_by_step, throughput


@dataclass(frozen=True)
class Section:
    """One exercise's part of the report."""

    name: str
    topic: Topic
    brief: str  # the answer for the table at a glance
    answer: str
    tables: tuple[pd.DataFrame, ...]
    measured_on: str
    ledger: Ledger


def training_section(name: str, topic: Topic, runs: Runs) -> Section:
    """The section of a training exercise."""
    summary, comparisons = summarize(runs), compare_variants(runs)
    table = summary_table(summary, runs.compare)
    if "seconds" in runs.compare.panels:
        seconds = QUANTITIES["seconds"]
        mean = seconds.compute(runs).groupby("variant", sort=False).mean()
        table[seconds.label] = mean.round(seconds.digits)
    tables = [table]
    if comparisons:
        tables.append(comparison_table(comparisons, runs.compare))
    return Section(
        name,
        topic,
        extremes(summary),
        training_answer(summary, comparisons, runs.compare.baseline),
        tuple(tables),
        f"{places(runs.timing)}: {spent(runs.timing)} of training, all runs added up",
        check_all(name, topic.claims, measure(runs)),
    )


def places(timing: pd.DataFrame) -> str:
    """Hardware and precision; if variants differ in them, which variant ran where."""
    place = timing["hardware"] + " in " + timing["precision"]
    variants = timing.groupby(place, sort=False)["variant"].unique()
    if len(variants) == 1:
        return str(variants.index[0])
    return "; ".join(f"{where} ({', '.join(names)})" for where, names in variants.items())


def spent(timing: pd.DataFrame) -> str:
    """How long all epochs of all runs trained; seeds that ran side by side are added up.

    An epoch that was computed once for several variants counts once.
    """
    named = timing[timing["name"].notna()]
    again = named[named.duplicated(["name", "seconds"])]
    minutes = timing["seconds"].drop(again.index).sum() / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def extremes(summary: Summary) -> str:
    """The highest and the lowest final accuracy of the variants that did not wholly diverge."""
    learnt = _learnt(summary)
    if not learnt:
        return "every run diverged"
    ranked = sorted(learnt, key=lambda name: learnt[name]["final_accuracy"] or 0.0, reverse=True)
    best, worst = (f"**{name}**, {_accuracy(learnt[name])} %" for name in (ranked[0], ranked[-1]))
    return f"highest final test accuracy: {best}; lowest: {worst}"


def _learnt(summary: Summary) -> Summary:
    return {k: row for k, row in summary.items() if row.get("seeds_diverged") != row["seeds"]}


def _accuracy(row: Mapping[str, float | None]) -> str:
    """The mean and, if there are several seeds, half the width of its interval."""
    mean, half = row["final_accuracy"], row[f"final_accuracy{CI}"]
    if mean is None:
        return "–"
    return f"{mean:.2f}" if half is None else f"{mean:.2f} ± {half:.2f}"


def training_answer(summary: Summary, comparisons: list[Comparison], baseline: str) -> str:
    """The best and worst final accuracy, how sure that is, and what diverged."""
    diverged = [
        f"**{name}** from epoch {row['diverged_from_epoch']:g} "
        f"({row['seeds_diverged']:g} of {row['seeds']:g} seeds)"
        for name, row in summary.items()
        if "seeds_diverged" in row
    ]
    learnt = _learnt(summary)
    if not learnt:
        return f"Every run diverged: {', '.join(diverged)}."
    runs = next(iter(learnt.values()))["seeds"] or 0
    sentences = [f"H{extremes(summary)[1:]}."]
    if runs < FEWEST:
        sentences.append("One run each: no uncertainty, so no verdict.")
    else:
        sentences.append(f"(Means of {runs:g} seeds with their 95 % intervals.)")
        verdicts = [_verdict(each) for each in comparisons if each.quantity == "final_accuracy"]
        sentences.append(f"Against **{baseline}**, paired by seed: {'; '.join(verdicts)}.")
    if diverged:
        sentences.append(f"Diverged: {', '.join(diverged)}.")
    return " ".join(sentences)


def _verdict(comparison: Comparison) -> str:
    """Such as "**tanh** not distinguishable (-0.06 ± 1.10 points, 250 seeds might tell)"."""
    details = f"{difference(comparison)} points"
    if comparison.verdict == OPEN:
        details += f", {seeds_that_might_tell(comparison)} seeds might tell"
    return f"**{comparison.variant}** {comparison.verdict} ({details})"


def benchmark_section(topic: Topic, timing: pd.DataFrame) -> Section:
    """The section of the benchmark; batches that were not measured say why."""
    hardware = " and ".join(timing["hardware"].dropna().unique())
    answer = benchmark_answer(timing)
    return Section(
        "benchmark",
        topic,
        answer.removesuffix("."),
        answer,
        (throughput_table(throughput(timing), not_measured(timing)),),
        f"{hardware} in fp32",
        check_all("benchmark", topic.claims, speed_up_by_step(timing)),
    )


def benchmark_answer(timing: pd.DataFrame) -> str:
    """The speed-up by batch size, the best of each device, and plainly what is missing."""
    rates = throughput(timing)
    gains = speed_up(rates)
    best = rates.groupby("variant", sort=False)["img_per_s"].max()
    parts = [f"{str(name).upper()} up to {top:.1f} img/s" for name, top in best.items()]
    if not gains.empty:
        by_batch = ", ".join(f"{gain:.1f}× at batch {batch}" for batch, gain in gains.items())
        parts.insert(0, f"GPU over CPU {by_batch}")
    for name, rows in not_measured(timing).groupby("variant", sort=False):
        if name not in best.index:
            parts.append(f"{str(name).upper()} not measured ({', '.join(rows['status'].unique())})")
    return "; ".join(parts) + "."
