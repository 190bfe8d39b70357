"""The report's tables: numbers with their intervals, comparisons, claims."""

from collections import Counter
from collections.abc import Mapping
from math import isnan
from typing import Any, Literal

import pandas as pd

from alexnet_lab.params.claims import Aside, Ratio
from alexnet_lab.params.study import Compare, Quantity
from alexnet_lab.results.analysis import CI, FINAL_LOSSES, Comparison, Summary
from alexnet_lab.results.claims import VERDICTS, Finding, Ledger
from alexnet_lab.results.quantities import QUANTITIES, label
from alexnet_lab.results.runs import read_csv
from alexnet_lab.results.throughput import GTX_580, MIB, PUBLISHED


def frame(rows: list[dict[str, Any]] | pd.DataFrame, index: str) -> pd.DataFrame:
    """A table; what is undefined is None, so that nothing is shown there."""
    table = pd.DataFrame(rows, dtype=object).set_index(index)
    return table.where(table.notna(), None)


def markdown(table: pd.DataFrame) -> str:
    """The table as Markdown; – stands for nothing."""
    return table.to_markdown(missingval="–", disable_numparse=True)


def summary_table(summary: Summary, compare: Compare, brief: bool = False) -> pd.DataFrame:
    """One row per variant: what is shown of it, with intervals, and, if not brief, final losses."""
    rows = []
    reaching = [row.get("seeds_reaching_threshold") for row in summary.values()]
    some = any(reaching) and reaching != [row["seeds"] for row in summary.values()]
    for variant, numbers in summary.items():
        row: dict[str, Any] = {"variant": f"{variant}*" if "apart" in numbers else variant}
        for name in QUANTITIES:
            if f"{name}{CI}" in numbers:
                row[label(name, compare)] = with_interval(numbers, name)
            if name == "epochs_to_threshold" and some:
                head = f"seeds reaching {compare.threshold:g} %"
                row[head] = numbers["seeds_reaching_threshold"]
        row |= {} if brief else {label(name, compare): numbers[name] for name in FINAL_LOSSES}
        for key in ("seeds_diverged", "diverged_from_epoch"):
            row[key.replace("_", " ")] = numbers.get(key)
        rows.append(row)
    return frame(rows, "variant").dropna(axis=1, how="all")  # where no variant has anything


def plus_minus(
    mean: float | None, half: float | None, digits: int, sign: Literal["", "+"] = ""
) -> str | None:
    """Such as "97.75 ± 0.23"; without the interval if that is undefined, None if the mean is."""
    if mean is None or isnan(mean):
        return None
    interval = "" if half is None or isnan(half) else f" ± {half:.{digits}f}"
    return f"{mean:{sign}.{digits}f}{interval}"


def with_interval(row: Mapping[str, Any], name: Quantity) -> str | None:
    """A number of a summary with its interval."""
    return plus_minus(row.get(name), row.get(f"{name}{CI}"), QUANTITIES[name].digits)


def comparison_table(comparisons: list[Comparison], compare: Compare) -> pd.DataFrame:
    """One row per variant and quantity: the paired difference, what would matter, the verdict."""
    rows = [
        {
            "variant": each.variant,
            **({"minus": each.other} if compare.against else {}),
            "in": label(each.quantity, compare),
            "difference" if compare.against else f"minus {compare.baseline}": difference(each),
            "matters from": f"{each.margin:g}",
            "verdict": each.verdict,
        }
        for each in comparisons
        if each.verdict != "undefined"
    ]
    return frame(rows, "variant") if rows else pd.DataFrame()


def difference(comparison: Comparison) -> str | None:
    """Such as "-0.30 ± 0.29", with the quantity's digits; None if undefined."""
    found, digits = comparison.difference, QUANTITIES[comparison.quantity].digits
    return plus_minus(found.mean, found.half, digits, "+")


def claims_table(ledger: Ledger) -> pd.DataFrame:
    """One row per claim: what it says and where, what was measured, the verdict."""
    rows = [
        {
            "the text says": finding.claim.says,
            "where": finding.claim.place,
            "measured": measured_words(finding),
            "the text is off by": off_words(finding),
            "n": finding.estimate.n or None,
            "verdict": verdict_words(finding),
        }
        for finding in ledger.values()
    ]
    return frame(rows, "the text says")


def asides_table(asides: tuple[Aside, ...]) -> pd.DataFrame:
    """What the text says that is not for measuring, and why."""
    rows = [{"the text says": a.says, "where": a.place, "because": a.because} for a in asides]
    return frame(rows, "the text says")


def measured_words(finding: Finding) -> str:
    """Such as "1.95 (1.7 to 2.2)", for a statement its weakest step; if nothing was, why."""
    estimate, claim = finding.estimate, finding.claim
    if estimate.n == 0 or isnan(estimate.mean):
        measure = QUANTITIES.get(getattr(claim, "quantity", "speed_up"))
        missing = measure.missing if measure else "undefined"
        return finding.note or (missing if estimate.n else "–")
    interval = "" if isnan(estimate.low) else f" ({estimate.low:.4g} to {estimate.high:.4g})"
    note = f"; {finding.note}" if finding.note else ""
    return f"{estimate.mean:.4g}{finding.unit}{interval}{note}"


def off_words(finding: Finding) -> str | None:
    """By how much the text differs from ours, such as "+0.70" or "9.2-fold"; None if undefined."""
    if isnan(finding.off):
        return None
    return f"{finding.off:.3g}-fold" if isinstance(finding.claim, Ratio) else f"{finding.off:+.4g}"


def verdict_words(finding: Finding) -> str:
    """The verdict, and of several steps how many hold."""
    holding, _, count = finding.steps
    return f"{finding.verdict} ({holding} of {count} steps)" if count > 1 else finding.verdict


def verdict_counts(ledger: Ledger) -> dict[str, int]:
    """How many claims have each verdict."""
    counts = Counter(finding.verdict for finding in ledger.values())
    return {verdict: counts[verdict] for verdict in VERDICTS}


def layers_table(layers: pd.DataFrame) -> pd.DataFrame:
    """One row per layer of a network, and their sum: what it costs."""
    every = pd.concat([layers, layers.sum(numeric_only=True).to_frame().T.assign(layer="all")])
    mib = 4 * every["parameters"] / MIB
    first = f"{layers['network'].iloc[0]}: layer".replace("_", " ")
    table = pd.DataFrame({first: every["layer"], "output": every["output"]})
    for name, column, text in (
        ("parameters", every["parameters"], "{:,.0f}"),
        ("weights and gradients (MiB)", 2 * mib, "{:.1f}"),
        ("with momentum", 3 * mib, "{:.1f}"),
        ("kept per image (MiB)", every["kept_bytes"] / MIB, "{:.3f}"),
        ("output's gradient per image", every["gradient_bytes"] / MIB, "{:.3f}"),
        ("GFLOP per image", every["flop"] / 1e9, "{:.3f}"),
    ):
        table[name] = column.map(text.format).where(column > 0)
    return frame(table, first)


def memory_table(computed: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """One row per network and batch size: the memory needed at least, and the measured peaks."""
    table = computed.drop(columns="momentum").rename(
        columns={"kept": "kept for the backward pass", "computed": "sum"}
    )
    for stage, rows in rates.groupby("stage", sort=False):
        where = " (whole process)" if rows["variant"].iloc[0].endswith("cpu") else ""
        peak = rows.set_index(["network", "batch_size"])["peak_memory_mib"]
        table[f"measured, {stage}{where}"] = peak
    whole = table["with momentum"] = computed["computed"] + computed["momentum"]
    table = table.map("{:.0f}".format).where(table.notna())
    table[f"fits {GTX_580:,}"] = ["yes" if each <= GTX_580 else "no" for each in whole]
    names = [f"{network.replace('_', ' ')}, {batch}" for network, batch in table.index]
    return frame(table.assign(**{"MiB at batch size": names}), "MiB at batch size")


def throughput_table(rates: pd.DataFrame, missing: pd.DataFrame) -> pd.DataFrame:
    """One row per variant and batch size; what was not measured says why, in a row of its own."""
    rows = [
        {
            "variant": row["variant"],
            "batch size": f"{row['batch_size']}",
            "steps": f"{row['steps']}",
            "seconds": f"{row['seconds']:.2f}",
            "img/s, median": f"{row['img_per_s']:.1f}",
            "slowest to fastest": f"{row['lowest']:.1f} to {row['highest']:.1f}",
            "GFLOP/s": f"{row['gflop_per_s']:,.0f}",
            "of the measured peak": None
            if isnan(row["peak"])
            else f"{100 * row['gflop_per_s'] / row['peak']:.0f} % of {row['peak']:,.0f}",
            "peak memory (MiB)": f"{row['peak_memory_mib']:.0f}",
        }
        for row in rates.to_dict("records")
    ]
    for (variant, status), some in missing.groupby(["variant", "status"], sort=False):
        sizes = ", ".join(map(str, some["batch_size"]))
        rows.append({"variant": variant, "batch size": sizes, "img/s, median": status})
    return frame(rows, "variant")


def published_table() -> pd.DataFrame:
    """What others measured, by whom and when."""
    table = read_csv(PUBLISHED).astype({"year": str})
    return frame(table.assign(**{"img/s": table["img/s"].map("{:,.0f}".format)}), "published")
