"""The text's claims as a wall of tiles: what page.html says of each, and of all of them."""

import math
from math import isnan

from alexnet_lab.params.claims import Claim, Difference, Measurable, More, Order, Value
from alexnet_lab.results.claims import CONTRADICTED, VERDICTS, Finding, Ledger
from alexnet_lab.results.pieces import Track, signed
from alexnet_lab.results.tables import verdict_counts

COLOURS = ("good", "part", "bad", "open")  # of verdicts, in the order of the wall


def by_colour(ledger: Ledger) -> dict[str, int]:
    """How many claims have each verdict that any has, the good ones first."""
    counts = verdict_counts(ledger)
    order = sorted(VERDICTS, key=lambda verdict: COLOURS.index(VERDICTS[verdict][1]))
    return {verdict: counts[verdict] for verdict in order if counts[verdict]}


def track_of(finding: Finding) -> Track:
    """A claim's numbers on one line: each of our runs, the interval, the text's own number."""
    text: float | None = getattr(finding.claim, "below", getattr(finding.claim, "value", None))
    zero = isinstance(finding.claim, Order | More | Difference)
    return Track(finding.estimate, finding.dots, text, zero)


def half_widths_off(finding: Finding) -> float:
    """How far off the text is, in half widths of our interval."""
    half, value = finding.estimate.half, getattr(finding.claim, "value", math.nan)
    return abs(value - finding.estimate.mean) / half if half > 0 else 0.0


def prizes(ledger: Ledger) -> list[tuple[str, str]]:
    """The furthest number, the nearest one, and the statement that is most upside down."""
    accuracies = [finding for finding in ledger.values() if _is_accuracy(finding.claim)]
    points = [f for f in accuracies if isinstance(f.claim, Value) and not isnan(f.off)]
    upside = [f for f in accuracies if f.verdict == CONTRADICTED and f.steps[2]]
    found = []
    if points:
        far = max(points, key=lambda f: abs(f.off))
        near = min(points, key=lambda f: abs(f.off))
        for title, each in (("Furthest off", far), ("Nearest", near)):
            ours, off = f"ours {each.estimate.mean:.2f} %", signed(each.off, " points")
            found.append((title, f"{each.claim.says}; {ours}, so {off}"))
    if upside:
        found.append(("Upside down", min(upside, key=lambda f: f.estimate.mean).claim.says))
    return found


def _is_accuracy(claim: Claim) -> bool:
    return isinstance(claim, Measurable) and claim.quantity in ("final_accuracy", "window_accuracy")
