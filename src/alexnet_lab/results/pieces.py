"""Pieces of the page that need no script: numbers on a line, small curves, the main effects."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import NamedTuple

from alexnet_lab.results.explore import Chart, means
from alexnet_lab.results.sections import Section
from alexnet_lab.results.statistics import Estimate


class Mark(NamedTuple):
    """A mark on a line: its class in page.css, and where it stands, in percent of the line."""

    kind: str
    left: float
    width: float | None = None


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
        given = [self.ours.low, self.ours.mean, self.ours.high, *self.dots]
        given += [] if self.text is None else [self.text]
        given += [0.0] if self.zero else []
        return [number for number in given if isfinite(number)]

    def marks(self, scale: Iterable[float] = ()) -> Iterator[Mark]:
        """What is drawn; ``scale`` are other numbers that the line has to reach."""
        numbers = [*self.numbers, *scale]
        low, high = min(numbers), max(numbers)
        room = 0.06 * (high - low) or 1.0

        def at(number: float) -> float:
            return 100 * (number - low + room) / (high - low + 2 * room)

        if self.zero:
            yield Mark("zero", at(0))
        if isfinite(self.ours.low):
            left = at(self.ours.low)
            yield Mark("range", left, at(self.ours.high) - left)
        yield from (Mark("dot", at(dot)) for dot in self.dots if isfinite(dot))
        if isfinite(self.ours.mean):
            yield Mark("mean", at(self.ours.mean))
        if self.text is not None:
            yield Mark("text", at(self.text))


def sparks(chart: Chart) -> list[tuple[str, str]]:
    """A small curve of each variant's means: its colour, and its points for SVG."""
    lines = means(chart, chart["first"][0])
    known = [value for line in lines.values() for value in line if value is not None]
    low, height = min(known, default=0), (max(known, default=0) - min(known, default=0)) or 1
    drawn = []
    for variant, line in lines.items():
        step = 100 / max(1, len(line) - 1)
        points = [
            f"{i * step:.1f},{38 - 36 * (value - low) / height:.1f}"
            for i, value in enumerate(line)
            if value is not None
        ]
        drawn.append((chart["colours"][variant], " ".join(points)))
    return drawn


def signed(number: float, unit: str = "") -> str:
    """Such as "+4.69 points" or "31.6×"."""
    if isnan(number):
        return "–"
    return f"{number:.1f}×" if unit == "×" else f"{number:+.2f}{unit}".replace("-", "−")


@dataclass(frozen=True)
class MainEffect:
    """The one difference that shows an exercise's answer: ours, the text's, and what is asked."""

    name: str
    pair: str
    ours: Estimate
    text: float | None
    in_points: bool  # else a ratio
    asked: str
    cuts: tuple[float, float] | None

    @property
    def track(self) -> Track:
        """It on a line; what is in points has a zero."""
        return Track(self.ours, text=self.text, zero=self.in_points)

    @property
    def unit(self) -> str:
        """What follows the number."""
        return " points" if self.in_points else "×"

    @property
    def measured(self) -> str:
        """Ours, as a guess is answered."""
        return signed(self.ours.mean, self.unit)

    @property
    def words(self) -> str:
        """The text's and ours, with its interval."""
        said = "" if self.text is None else f"the text {signed(self.text, self.unit)}, "
        words = f"{said}ours {self.measured}"
        if isnan(self.ours.low):
            return words
        low, high = (signed(end, self.unit).split()[0] for end in (self.ours.low, self.ours.high))
        return f"{words} ({low} to {high})"

    @property
    def options(self) -> list[tuple[str, bool]]:
        """Three answers to guess from, and which one is right; none if nothing is asked."""
        if not self.cuts:
            return []
        low, high = self.cuts
        right = (self.ours.mean >= low) + (self.ours.mean > high)
        options = (f"less than {low:g}", f"{low:g} to {high:g}", f"more than {high:g}")
        return [(each.replace("-", "−"), i == right) for i, each in enumerate(options)]


def main_effect(section: Section, with_text: bool) -> MainEffect | None:
    """An exercise's main effect, beside the text's if that is shown; None if it has none."""
    effect, topic = section.topic.effect, section.topic
    if effect is None or isnan(section.effect.mean):
        return None
    pair, text = "GPU ÷ CPU", topic.stated("speed_up").get(effect.of)
    if effect.less:
        pair, stated = f"{effect.of} − {effect.less}", topic.stated("final_accuracy")
        both = {effect.of, effect.less} <= {*stated}
        text = stated[effect.of] - stated[effect.less] if both else None
    return MainEffect(
        section.name,
        pair,
        section.effect,
        text if with_text else None,
        in_points=section.name != "benchmark",
        asked=effect.ask,
        cuts=effect.cuts,
    )
