"""The text's claims as a wall of tiles: in front what is claimed, turned over what was measured."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from alexnet_lab.params.claims import (
    Below,
    Claim,
    Difference,
    Measurable,
    More,
    Order,
    Ratio,
    Unmeasured,
    Value,
    Within,
)
from alexnet_lab.results import claims
from alexnet_lab.results.claims import Finding, Ledger, Measured
from alexnet_lab.results.pieces import Track, draw, signed, table_html
from alexnet_lab.results.sections import Section
from alexnet_lab.results.statistics import paired
from alexnet_lab.results.tables import asides_table, measured_words, off_words, verdict_words

LOOKS = {  # of a verdict: its symbol, and which colour of page.css it has
    claims.COMPATIBLE: ("✓", "good"),
    claims.CONFIRMED: ("✓", "good"),
    claims.PARTLY: ("◐", "part"),
    claims.INCOMPATIBLE: ("✗", "bad"),
    claims.CONTRADICTED: ("✗", "bad"),
    claims.ITSELF: ("≠", "bad"),
    claims.UNDECIDED: ("?", "open"),
    claims.NOT_MEASURED: ("–", "open"),
}


def template(name: str) -> str:
    """A file of the page that lies beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def wall(sections: Sequence[Section], ledger: Ledger) -> str:
    """All claims of a ledger, which fare as these sections say."""
    measured = {section.name: section.measured for section in sections}
    tiles = [_tile(finding, measured.get(finding.exercise, {})) for finding in ledger.values()]
    verdicts = [finding.verdict for finding in ledger.values()]
    counts = "".join(
        f'<li data-verdict="{v}">{_verdict(v)} {verdicts.count(v)}</li>'
        for v in LOOKS
        if v in verdicts
    )
    asides = tuple(aside for s in sections for aside in s.topic.asides)
    return Template(template("wall.html")).substitute(
        count=len(tiles),
        counts=counts,
        prizes="".join(f"<li>{prize}</li>" for prize in _prizes(ledger)),
        tiles="".join(tiles),
        asides=table_html(asides_table(asides)) if asides else "",
    )


def _verdict(verdict: str) -> str:
    symbol, look = LOOKS[verdict]
    return f'<span class="verdict {look}"><b aria-hidden="true">{symbol}</b> {verdict}</span>'


def _tile(finding: Finding, measured: Measured) -> str:
    """A claim: in front what it says and the verdict; turned over, our numbers and the run."""
    claim, track = finding.claim, track_of(finding, measured)
    said, off = measured_words(finding), off_words(finding)
    whose = "By its own numbers" if isinstance(claim, Within) else "Ours"
    whose = "Not measured" if isinstance(claim, Unmeasured) else whose
    runs = f", n = {finding.estimate.n}" if finding.estimate.n else ""
    far = f" The text is off by {off}." if off else ""
    back = [f"<p>{whose}: {escape(said)}{runs}.{far}</p>"]
    if track and len(track.numbers) > 1:
        at = "" if track.text is None else f"; the text: {track.text:g}"
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


def track_of(finding: Finding, measured: Measured) -> Track | None:
    """A claim's numbers on one line: each of our runs, the interval, the text's own number."""
    claim = finding.claim
    if (
        not isinstance(claim, Measurable)
        or claim.quantity not in measured
        or not finding.estimate.n
    ):
        return None
    values, dots = measured[claim.quantity].values, pd.Series(dtype=float)
    text: float | None = getattr(claim, "value", None)
    match claim:
        case Value(of=of) | Below(of=of):
            dots = values.xs(of, level="variant")
            text = claim.below if isinstance(claim, Below) else text
        case Difference(of=of, less=less):
            dots = paired(values, of, less)
        case Ratio(of=of, over=over):
            dots = paired(values[values > 0].map(math.log), of, over).map(math.exp)
        case Order() | More():
            dots = paired(values, *finding.note.split(",")[0].split(" less "))
    zero = isinstance(claim, Order | More | Difference)
    return Track(finding.estimate, dots.tolist(), text, zero)


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
