"""REPORT.md: each exercise's question, what was measured, and where that was."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan
from platform import python_version
from typing import Any

import pandas as pd

from alexnet_lab.params.study import Benchmark, Exercise, Study
from alexnet_lab.results.analysis import (
    CI,
    Summary,
    claimed,
    claimed_of_benchmark,
    compared,
    digits_of,
    not_measured,
    speed_up,
    summarize,
    summary_frame,
    throughput,
)
from alexnet_lab.results.claims import VERDICTS, Finding, Ledger, check_all
from alexnet_lab.results.statistics import MANY, NEEDS, OPEN, Comparison

HEADINGS = {
    "final_accuracy": "accuracy (%)",
    "final_train_loss": "train loss",
    "final_test_loss": "test loss",
    "gap_clean": "gap, clean",
}


@dataclass(frozen=True)
class Section:
    """One exercise's part: its title, question, answer in brief and in full, tables, ledger."""

    name: str
    question: str
    brief: str
    answer: str
    tables: tuple[pd.DataFrame, ...]
    measured_on: str
    ledger: Ledger
    what_if: str


def report(
    sections: list[Section],
    takeaways: Ledger,
    remarks: list[str],
    made_of: Mapping[str, str],
) -> str:
    """The whole page as Markdown; ``made_of`` says what the runs were made with."""
    everything = [f for section in sections for f in section.ledger.values()]
    banner = "\n".join(f"> **{remark}**\n>" for remark in remarks).removesuffix("\n>")
    parts = [
        "# AlexNet Lab: what was measured",
        banner,
        _verdicts([*everything, *takeaways.values()], of_the_study=not remarks),
        "![Final test accuracy of every variant, and the text's number](plots/overview.png)",
        _markdown(glance(sections, takeaways)),
        *map(_section, sections),
        *(["## Takeaways", _markdown(claims_table(takeaways))] if takeaways else []),
        "## Made with",
        "\n".join(f"- {name}: {value}" for name, value in made_of.items()),
        "Written by the `report` stage; do not edit.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdicts(findings: list[Finding], of_the_study: bool) -> str:
    """How many of the original's claims hold, in a line."""
    if not of_the_study:
        return "The original's claims are checked below, though these runs are not its setting."
    counted = Counter(one.verdict for one in findings)
    said = ", ".join(f"**{counted[verdict]} {verdict}**" for verdict in VERDICTS)
    return f"The original text makes {len(findings)} claims: {said}."


def glance(sections: list[Section], takeaways: Ledger) -> pd.DataFrame:
    """A row an exercise: its question, the answer in brief, how the text's claims fare."""
    answered: list[tuple[str, str | None, Ledger]] = [
        (section.question, section.brief, section.ledger) for section in sections
    ]
    if takeaways:
        answered.append(("(The text's takeaways)", None, takeaways))
    rows = []
    for question, brief, claims in answered:
        counted = Counter(finding.verdict for finding in claims.values())
        verdicts = {verdict: counted[verdict] or None for verdict in VERDICTS}
        rows.append({"question": question, "measured": brief, **verdicts})
    return _frame(rows, "question")


def claims_table(ledger: Ledger) -> pd.DataFrame:
    """A row a claim: its words, what was measured with its interval, the verdict."""
    rows = [
        {
            "the text says": one.says,
            "measured": _measured(one),
            "n": one.found.n or None,
            "verdict": one.verdict,
        }
        for one in ledger.values()
    ]
    return _frame(rows, "the text says")


def _frame(rows: list[dict[str, Any]], index: str) -> pd.DataFrame:
    """None stays None, so that a table shows nothing there."""
    return pd.DataFrame(rows, dtype=object).set_index(index)


def _measured(one: Finding) -> str:
    """Such as "1.95 (1.7 to 2.2)"; of an order its weakest step; why where nothing was."""
    found = one.found
    if found.n == 0:
        return str(one.original) if one.quantity is None else "–"
    if isnan(found.mean):
        return "not reached" if one.quantity == "epochs_to_threshold" else "undefined"
    interval = "" if isnan(found.low) else f" ({found.low:.4g} to {found.high:.4g})"
    return f"{found.mean:.4g}{one.unit}{interval}"


def made_of(study: Study) -> dict[str, str]:
    """Data, seeds and the versions of the packages that numbers depend on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy"))
    return {
        "data": f"{study.data.source} (every file checked by SHA-256)",
        "seeds": "; ".join(
            f"{name} {', '.join(map(str, study.seeds_of(name)))}" for name in study.exercises
        ),
        "versions": f"{packages}, Python {python_version()}",
    }


def ledger(sections: list[Section], takeaways: Ledger) -> dict[str, Any]:
    """Every claim's row of metrics/claims.json, by its id."""
    ledgers = [*(section.ledger for section in sections), takeaways]
    return {key: finding.row() for ledger in ledgers for key, finding in ledger.items()}


def remarks(study: Study) -> list[str]:
    """What a reader must know before the first number."""
    found, overridden = [], study.overridden
    if study.data.source == "sample":
        found.append("Results on the sample in git (2,000 training images), not on the full data.")
    if overridden:
        what = ", ".join(f"{key} = {value:g}" for key, value in overridden.items())
        found.append(f"A what-if: every training exercise was overridden with {what}.")
    return found


def _section(section: Section) -> str:
    return "\n\n".join(
        [
            f"## {section.name.capitalize()}",
            section.question,
            section.answer,
            f"![{section.name}: {section.question}](plots/{section.name}.png)",
            *map(_markdown, section.tables),
            *([_markdown(claims_table(section.ledger))] if section.ledger else []),
            f"Measured on {section.measured_on}. What if? "
            f"`dvc exp run -S '{section.what_if}'`, then `dvc metrics diff`.",
        ]
    )


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(missingval="–", disable_numparse=True)


def training_section(
    name: str, exercise: Exercise, curves: pd.DataFrame, timing: pd.DataFrame
) -> Section:
    """Of a training exercise, from its runs."""
    compare = exercise.compare
    summary, found = summarize(curves, compare), compared(curves, compare)
    table = summary_frame(summary).drop(columns=["seeds"])
    if "seconds" in compare.panels:
        table["s/epoch"] = timing.groupby("variant", sort=False)["seconds"].mean().round(2)
    where = f"{places(timing)}: {spent(timing)} of training, all runs added up"
    brief = extremes(summary)
    answer = training_answer(summary, found, compare.baseline)
    tables = [_headed(table)]
    if found:
        tables.append(comparison_table(found, compare.baseline))
    ledger = check_all(name, exercise.claims, claimed(curves, timing, compare))
    about = exercise.question, brief, answer, tuple(tables), where
    return Section(name, *about, ledger, exercise.what_if)


def places(timing: pd.DataFrame) -> str:
    """Hardware and precision; where variants differ in them, which ran where."""
    place = timing["hardware"] + " in " + timing["precision"]
    variants = timing.groupby(place, sort=False)["variant"].unique()
    if len(variants) == 1:
        return str(variants.index[0])
    return "; ".join(f"{where} ({', '.join(names)})" for where, names in variants.items())


def spent(timing: pd.DataFrame) -> str:
    """All epochs of all runs, evaluations included; seeds that ran side by side add up."""
    minutes = timing["seconds"].sum() / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def extremes(summary: Summary) -> str:
    """The highest and the lowest final accuracy of those that did not diverge altogether."""
    learnt = _learnt(summary)
    if not learnt:
        return "every run diverged"
    ranked = sorted(learnt, key=lambda name: learnt[name]["final_accuracy"] or 0.0, reverse=True)
    best, worst = (f"**{name}**, {_accuracy(learnt[name])} %" for name in (ranked[0], ranked[-1]))
    return f"highest final test accuracy: {best}; lowest: {worst}"


def _learnt(summary: Summary) -> Summary:
    return {k: row for k, row in summary.items() if row.get("seeds_diverged") != row["seeds"]}


def training_answer(summary: Summary, found: list[Comparison], baseline: str) -> str:
    """Best and worst final accuracy, how sure that is, and what diverged."""
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
    said = [f"H{extremes(summary)[1:]}."]
    if runs < NEEDS:
        said.append("One run each: no uncertainty, so no verdict.")
    else:
        said.append(f"(Means of {runs:g} seeds with their 95 % intervals.)")
        verdicts = [_verdict(one) for one in found if one.quantity == "final_accuracy"]
        said.append(f"Against **{baseline}**, paired by seed: {'; '.join(verdicts)}.")
    if diverged:
        said.append(f"Diverged: {', '.join(diverged)}.")
    return " ".join(said)


def _accuracy(row: Mapping[str, float | None]) -> str:
    """The mean, and where there are several seeds half the width of its interval."""
    mean, half = row["final_accuracy"], row[f"final_accuracy{CI}"]
    if mean is None:
        return "–"
    return f"{mean:.2f}" if half is None else f"{mean:.2f} ± {half:.2f}"


def _verdict(one: Comparison) -> str:
    """Such as "**tanh** not distinguishable (-0.06 ± 1.10 points, 250 seeds might tell)"."""
    said = f"{_difference(one)} points"
    if one.verdict == OPEN:
        said += f", {_seeds(one)} seeds might tell"
    return f"**{one.variant}** {one.verdict} ({said})"


def _difference(one: Comparison) -> str:
    digits = digits_of(one.quantity)
    return f"{one.difference.mean:+.{digits}f} ± {one.difference.half:.{digits}f}"


def _seeds(one: Comparison) -> str:
    return f"over {MANY}" if one.seeds_needed is None else str(one.seeds_needed)


def comparison_table(found: list[Comparison], baseline: str) -> pd.DataFrame:
    """A row a variant and quantity: the paired difference, its corrected p, the verdict."""
    rows = [
        {
            "variant": one.variant,
            "in": _heading(one.quantity),
            f"difference from {baseline}": None if isnan(one.p) else _difference(one),
            "p (Holm)": None if isnan(one.p) else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}",
            "verdict": "undefined" if isnan(one.p) else one.verdict,
            "seeds that might tell": _seeds(one)
            if one.verdict == OPEN and one.p == one.p
            else None,
        }
        for one in found
    ]
    return _frame(rows, "variant")


def benchmark_section(benchmark: Benchmark, timing: pd.DataFrame) -> Section:
    """From the timed steps; batches that were not measured say why."""
    rates = throughput(timing)
    measured = pd.DataFrame(
        {
            "device": rates["variant"],
            "batch size": rates["batch_size"],
            "steps": rates["steps"].map(str),
            "seconds": rates["seconds"].map("{:.2f}".format),
            "img/s, median": rates["img_per_s"].map("{:.1f}".format),
            "slowest to fastest": [
                f"{low:.1f} to {high:.1f}"
                for low, high in zip(rates["lowest"], rates["highest"], strict=True)
            ],
            "peak memory (MiB)": rates["peak_memory_mib"].map("{:.0f}".format),
        }
    )
    others = not_measured(timing)
    absent = pd.DataFrame(
        {
            "device": others["variant"],
            "batch size": others["batch_size"],
            "img/s, median": others["status"],
        }
    )
    table = pd.concat([measured, absent], ignore_index=True).set_index("device")
    table = table.astype(object).where(table.notna(), None)
    where = f"{_listed(timing['hardware'])} in fp32"
    ledger = check_all("benchmark", benchmark.claims, claimed_of_benchmark(timing))
    answer = benchmark_answer(timing)
    about = benchmark.question, answer.removesuffix("."), answer, (table,), where
    return Section("benchmark", *about, ledger, benchmark.what_if)


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


def _headed(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=_heading)


def _heading(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " "))


def _listed(values: pd.Series) -> str:
    return " and ".join(values.dropna().unique())
