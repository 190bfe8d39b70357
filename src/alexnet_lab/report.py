"""REPORT.md: each exercise's question, what was measured, and where that was."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from alexnet_lab.analysis import Summary, not_measured, speed_up, summary_frame, throughput

HEADINGS = {
    "final_train_loss": "train loss",
    "final_test_loss": "test loss",
    "gap_clean": "gap, clean",
}


@dataclass(frozen=True)
class Section:
    """One exercise's part: its title, question, answer in a sentence, and table."""

    name: str
    question: str
    answer: str
    table: pd.DataFrame
    measured_on: str


def report(sections: list[Section], remarks: list[str], seeds: tuple[int, ...]) -> str:
    """The whole page as Markdown."""
    banner = "\n".join(f"> **{remark}**\n>" for remark in remarks).removesuffix("\n>")
    parts = ["# AlexNet Lab: what was measured", banner, *map(_section, sections)]
    parts.append(f"Seeds: {', '.join(map(str, seeds))}. Made by the `report` stage; do not edit.")
    return "\n\n".join(part for part in parts if part) + "\n"


def remarks(source: str, overridden: Mapping[str, float]) -> list[str]:
    """What a reader must know before the first number."""
    found = []
    if source == "sample":
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
            _markdown(section.table),
            f"Figure: `plots/{section.name}.png`. Measured on {section.measured_on}.",
        ]
    )


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(missingval="–", disable_numparse=True)


def training_section(name: str, question: str, summary: Summary, timing: pd.DataFrame) -> Section:
    """From metrics/<exercise>.json and the timing of its runs."""
    table = summary_frame(summary).drop(columns=["seeds", "final_accuracy", "final_accuracy_std"])
    table.insert(0, "accuracy (%)", [_accuracy(row) for row in summary.values()])
    table["s/epoch"] = timing.groupby("variant", sort=False)["seconds"].mean().round(2)
    where = f"{_listed(timing['hardware'])} in {_listed(timing['precision'])}"
    return Section(name, question, training_answer(summary), _headed(table), where)


def training_answer(summary: Summary) -> str:
    """Best and worst final accuracy, with the spread over seeds, and what diverged."""
    diverged = [
        f"**{name}** from epoch {row['diverged_from_epoch']:g} "
        f"({row['seeds_diverged']:g} of {row['seeds']:g} seeds)"
        for name, row in summary.items()
        if "seeds_diverged" in row
    ]
    learnt = {k: row for k, row in summary.items() if row.get("seeds_diverged") != row["seeds"]}
    if not learnt:
        return f"Every run diverged: {', '.join(diverged)}."
    ranked = sorted(learnt, key=lambda name: learnt[name]["final_accuracy"] or 0.0, reverse=True)
    best, worst = (f"**{name}**, {_accuracy(learnt[name])} %" for name in (ranked[0], ranked[-1]))
    runs = next(iter(learnt.values()))["seeds"]
    doubt = "one run each: no uncertainty" if runs == 1 else f"mean ± s.d. of {runs:g} seeds"
    said = f"Highest final test accuracy: {best}; lowest: {worst} ({doubt})."
    return f"{said} Diverged: {', '.join(diverged)}." if diverged else said


def _accuracy(row: Mapping[str, float | None]) -> str:
    """The mean, and where there are several seeds their standard deviation."""
    mean, spread = row["final_accuracy"], row["final_accuracy_std"]
    if mean is None:
        return "–"
    return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"


def benchmark_section(question: str, timing: pd.DataFrame) -> Section:
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
    return Section("benchmark", question, benchmark_answer(timing), table, where)


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
    return table.rename(columns=lambda name: HEADINGS.get(name, str(name).replace("_", " ")))


def _listed(values: pd.Series) -> str:
    return " and ".join(values.dropna().unique())
