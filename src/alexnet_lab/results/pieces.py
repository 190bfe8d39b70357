"""Pieces of the page that need no script: numbers on a line, small curves, tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, isnan

import pandas as pd

from alexnet_lab.results.statistics import Estimate


@dataclass(frozen=True)
class Track:
    """Numbers on one line: ours as dots with their interval, the text's own, and zero."""

    ours: Estimate
    dots: Sequence[float] = ()
    text: float | None = None
    zero: bool = False

    @property
    def numbers(self) -> list[float]:
        """All that has to fit on the line."""
        ends = [self.ours.low, self.ours.mean, self.ours.high]
        given = [*ends, *self.dots, *([] if self.text is None else [self.text])]
        return [number for number in [*given, *([0.0] if self.zero else [])] if isfinite(number)]


def draw(track: Track, label: str, scale: Iterable[float] = ()) -> str:
    """One track; ``scale`` are other numbers that it has to reach, ``label`` says what it shows."""
    numbers = [*track.numbers, *scale]
    low, high = min(numbers), max(numbers)
    room = 0.06 * (high - low) or 1.0

    def at(number: float) -> float:
        return 100 * (number - low + room) / (high - low + 2 * room)

    def mark(kind: str, number: float) -> str:
        return f'<i class="{kind}" style="left:{at(number):.1f}%"></i>'

    ours, parts = track.ours, []
    if track.zero:
        parts.append(mark("zero", 0))
    if isfinite(ours.low):
        left, right = at(ours.low), at(ours.high)
        parts.append(f'<i class="range" style="left:{left:.1f}%;width:{right - left:.1f}%"></i>')
    parts += [mark("dot", dot) for dot in track.dots if isfinite(dot)]
    if isfinite(ours.mean):
        parts.append(mark("mean", ours.mean))
    if track.text is not None:
        parts.append(mark("text", track.text))
    return f'<span class="track" role="img" aria-label="{escape(label)}">{"".join(parts)}</span>'


def spark(lines: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """Small curves without axes, each with its colour; None is left out."""
    known = [value for _, line in lines for value in line if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    paths = []
    for colour, line in lines:
        step = 100 / max(1, len(line) - 1)
        places = [
            f"{i * step:.1f},{38 - 36 * (value - low) / ((high - low) or 1):.1f}"
            for i, value in enumerate(line)
            if value is not None
        ]
        paths.append(f'<polyline points="{" ".join(places)}" stroke="{colour}"/>')
    return (
        '<svg class="spark" viewBox="0 0 100 40" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(paths)}</svg>"
    )


def table_html(table: pd.DataFrame) -> str:
    """A table whose rows become cards on a narrow screen: every cell knows its column."""
    head = [str(name) for name in (table.index.name, *table.columns)]
    rows = [
        "".join(
            f'<td data-label="{escape(label)}">{_cell(value)}</td>'
            for label, value in zip(head, (index, *values), strict=True)
        )
        for index, values in zip(table.index, table.to_numpy(dtype=object), strict=True)
    ]
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return "–" if value is None or value != value else escape(str(value))


def signed(number: float, unit: str = "") -> str:
    """Such as "+4.69 points" or "31.6×"."""
    if isnan(number):
        return "–"
    return f"{number:.1f}×" if unit == "×" else f"{number:+.2f}{unit}".replace("-", "−")
