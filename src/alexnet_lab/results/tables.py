"""The report's tables: numbers with their intervals, comparisons, claims."""

from collections import Counter
from math import isnan
from typing import Any

import pandas as pd

from alexnet_lab.params.study import Compare
from alexnet_lab.results.analysis import FINAL_LOSSES, Summary, with_interval
from alexnet_lab.results.claims import VERDICTS, Finding, Ledger
from alexnet_lab.results.quantities import QUANTITIES, compared_in, label
from alexnet_lab.results.statistics import MANY, OPEN, Comparison


def frame(rows: list[dict[str, Any]], index: str) -> pd.DataFrame:
    """A table; None stays None, so that nothing is shown there."""
    return pd.DataFrame(rows, dtype=object).set_index(index)


def markdown(table: pd.DataFrame) -> str:
    """The table as Markdown; – stands for nothing."""
    return table.to_markdown(missingval="–", disable_numparse=True)


def summary_table(summary: Summary, compare: Compare) -> pd.DataFrame:
    """One row per variant: what it is compared in, with intervals, and its final losses."""
    rows = []
    for variant, numbers in summary.items():
        row: dict[str, Any] = {"variant": variant}
        for name in compared_in(compare):
            row[label(name, compare)] = with_interval(numbers, name)
            if name == "epochs_to_threshold":
                reaching = f"seeds reaching {compare.threshold:g} %"
                row[reaching] = numbers["seeds_reaching_threshold"]
        row |= {label(name, compare): numbers[name] for name in FINAL_LOSSES}
        for key in ("seeds_diverged", "diverged_from_epoch"):
            if any(key in others for others in summary.values()):
                row[key.replace("_", " ")] = numbers.get(key)
        rows.append(row)
    return frame(rows, "variant")


def comparison_table(comparisons: list[Comparison], compare: Compare) -> pd.DataFrame:
    """One row per variant and quantity: the paired difference, its corrected p, the verdict."""
    return frame([_comparison_row(each, compare) for each in comparisons], "variant")


def _comparison_row(comparison: Comparison, compare: Compare) -> dict[str, Any]:
    p, undefined = comparison.p, isnan(comparison.p)
    open_ = comparison.verdict == OPEN and not undefined
    return {
        "variant": comparison.variant,
        "in": label(comparison.quantity, compare),
        f"difference from {compare.baseline}": None if undefined else difference(comparison),
        "p (Holm)": None if undefined else "< 0.001" if p < 0.001 else f"{p:.3f}",
        "verdict": "undefined" if undefined else comparison.verdict,
        "seeds that might tell": seeds_that_might_tell(comparison) if open_ else None,
    }


def difference(comparison: Comparison) -> str:
    """Such as "-0.30 ± 0.29", with the quantity's digits."""
    mean, half = comparison.difference.mean, comparison.difference.half
    digits = QUANTITIES[comparison.quantity].digits
    return f"{mean:+.{digits}f} ± {half:.{digits}f}"


def seeds_that_might_tell(comparison: Comparison) -> str:
    """How many seeds a clear verdict is likely to need."""
    needed = comparison.seeds_needed
    return f"over {MANY}" if needed is None else str(needed)


def claims_table(ledger: Ledger) -> pd.DataFrame:
    """One row per claim: what it says, what was measured with its interval, the verdict."""
    rows = [
        {
            "the text says": finding.says,
            "measured": _measured(finding),
            "n": finding.estimate.n or None,
            "verdict": finding.verdict,
        }
        for finding in ledger.values()
    ]
    return frame(rows, "the text says")


def _measured(finding: Finding) -> str:
    """Such as "1.95 (1.7 to 2.2)"; for an order its weakest step; if nothing was measured, why."""
    estimate = finding.estimate
    if estimate.n == 0:
        return str(finding.original) if finding.quantity is None else "–"
    if isnan(estimate.mean):
        return (
            QUANTITIES[finding.quantity].missing if finding.quantity in QUANTITIES else "undefined"
        )
    interval = "" if isnan(estimate.low) else f" ({estimate.low:.4g} to {estimate.high:.4g})"
    return f"{estimate.mean:.4g}{finding.unit}{interval}"


def verdict_counts(ledger: Ledger) -> dict[str, int]:
    """How many claims have each verdict."""
    counts = Counter(finding.verdict for finding in ledger.values())
    return {verdict: counts[verdict] for verdict in VERDICTS}


def throughput_table(rates: pd.DataFrame, missing: pd.DataFrame) -> pd.DataFrame:
    """One row per device and batch size; one that was not measured says why."""
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
    absent = pd.DataFrame(
        {
            "device": missing["variant"],
            "batch size": missing["batch_size"],
            "img/s, median": missing["status"],
        }
    )
    table = pd.concat([measured, absent], ignore_index=True).set_index("device")
    return table.astype(object).where(table.notna(), None)
