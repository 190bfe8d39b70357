"""The text's claims as a wall of tiles: in front what is claimed, turned over what was measured."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from alexnet_lab.params.claims import (
    Below,
    Claim,
    Difference,
    Measurable,
    More,
    Order,
    Unmeasured,
    Value,
    Within,
)
from alexnet_lab.results import claims
from alexnet_lab.results.claims import VERDICTS, Finding, Ledger
from alexnet_lab.results.pieces import Track, draw, signed, table_html
from alexnet_lab.results.sections import Section
from alexnet_lab.results.tables import (
    asides_table,
    measured_words,
    off_words,
    verdict_counts,
    verdict_words,
)

COLOURS = ("good", "part", "bad", "open")  # of verdicts, in the order of the wall


def template(name: str) -> str:
    """A file of the page that lies beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def wall(sections: Sequence[Section], ledger: Ledger) -> str:
    """All claims of a ledger, which fare as these sections say."""
    tiles = [_tile(finding) for finding in ledger.values()]
    counts = "".join(
        f'<li data-verdict="{verdict}">{_verdict(verdict)} {count}</li>'
        for verdict, count in by_colour(ledger).items()
    )
    asides = tuple(aside for s in sections for aside in s.topic.asides)
    return Template(template("wall.html")).substitute(
        count=len(tiles),
        counts=counts,
        prizes="".join(f"<li>{prize}</li>" for prize in _prizes(ledger)),
        tiles="".join(tiles),
        asides=table_html(asides_table(asides)) if asides else "",
    )


def by_colour(ledger: Ledger) -> dict[str, int]:
    """How many claims have each verdict that any has, the good ones first."""
    counts = verdict_counts(ledger)
    order = sorted(VERDICTS, key=lambda verdict: COLOURS.index(VERDICTS[verdict][1]))
    return {verdict: counts[verdict] for verdict in order if counts[verdict]}


def _verdict(verdict: str) -> str:
    symbol, look = VERDICTS[verdict]
    return f'<span class="verdict {look}"><b aria-hidden="true">{symbol}</b> {verdict}</span>'


def _tile(finding: Finding) -> str:
    """A claim: in front what it says and the verdict; turned over, our numbers and the run."""
    claim = finding.claim
    said, off = measured_words(finding), off_words(finding)
    whose = "By its own numbers" if isinstance(claim, Within) else "Ours"
    whose = "Not measured" if isinstance(claim, Unmeasured) else whose
    runs = f", n = {finding.estimate.n}" if finding.estimate.n else ""
    far = f" The text is off by {off}." if off else ""
    back = [f"<p>{whose}: {escape(said)}{runs}.{far}</p>"]
    text: float | None = getattr(claim, "below", getattr(claim, "value", None))
    track = Track(
        finding.estimate, finding.dots, text, isinstance(claim, Order | More | Difference)
    )
    if finding.estimate.n and len(track.numbers) > 1:
        at = "" if text is None else f"; the text: {text:g}"
        back.insert(0, draw(track, f"ours: {said}{at}"))
    if finding.verdict != verdict_words(finding):
        back.append(f"<p>{escape(verdict_words(finding))}.</p>")
    back.append(f"<p>In the text: {escape(claim.place)}.</p>")
    if command := _command(finding):
        back.append(f'<p><code class="copy">{escape(command)}</code></p>')
    big = " direction" if isinstance(claim, Order | More | Below) else ""
    off = "" if math.isnan(finding.off) else f' data-off="{_far(finding):.4g}"'
    return (
        f'<details class="tile{big}" data-exercise="{finding.exercise}" '
        f'data-verdict="{finding.verdict}"{off}><summary>{_verdict(finding.verdict)} '
        f'<span class="says">{escape(claim.says)}</span> '
        f"<small>{finding.exercise}</small></summary>"
        f'<div class="back">{"".join(back)}</div></details>'
    )


def _far(finding: Finding) -> float:
    """How far off the text is, in half widths of our interval."""
    ours = finding.estimate
    return abs(finding.off) / ours.half if ours.half > 0 else 0.0


def _command(finding: Finding) -> str:
    """What reruns the claim's runs."""
    if not isinstance(finding.claim, Measurable):
        return ""
    if finding.exercise == "benchmark":
        return "dvc repro --force --single-item benchmark"
    names = " ".join(f"{finding.exercise}@{name}" for name in finding.claim.variants)
    return f"dvc repro --force --single-item {names}"


def _prizes(ledger: Ledger) -> list[str]:
    """The furthest number, the luckiest one, and the statement that is most upside down."""
    points = [f for f in ledger.values() if isinstance(f.claim, Value) and _is_accuracy(f.claim)]
    points = [f for f in points if not math.isnan(f.off)]
    upside = [
        f
        for f in ledger.values()
        if f.verdict == claims.CONTRADICTED and _is_accuracy(f.claim) and f.steps[2]
    ]
    prizes = []
    if points:
        far = max(points, key=lambda f: abs(f.off))
        near = min(points, key=lambda f: abs(f.off))
        for title, found in (("Furthest off", far), ("Nearest", near)):
            said, ours = escape(found.claim.says), found.estimate.mean
            off = signed(found.off, " points")
            prizes.append(f"<b>{title}</b>: {said}; ours {ours:.2f} %, so {off}.")
    if upside:
        found = min(upside, key=lambda f: f.estimate.mean)
        prizes.append(f"<b>Upside down</b>: {escape(found.claim.says)}.")
    return prizes


def _is_accuracy(claim: Claim) -> bool:
    return isinstance(claim, Measurable) and claim.quantity in ("final_accuracy", "window_accuracy")
