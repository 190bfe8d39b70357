"""Pieces of the page that need no script: numbers on a line, small curves, effects, claims."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan

from alexnet_lab.params.claims import Difference, Effect, More, Order, Value
from alexnet_lab.results.claims import CONTRADICTED, VERDICTS, Finding, Ledger
from alexnet_lab.results.explore import Chart, means
from alexnet_lab.results.sections import Section
from alexnet_lab.results.statistics import Estimate
from alexnet_lab.results.tables import verdict_counts

COLOURS = ("good", "part", "bad", "open")  # of verdicts, in the order of the wall of claims


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

    def marks(self, scale: Iterable[float] = ()) -> Iterator[tuple[str, float, float | None]]:
        """What is drawn: its class in page.css, its left end and its width, in percent of the line.

        ``scale`` are other numbers that the line has to reach.
        """
        numbers = [*self.numbers, *scale]
        low, high = min(numbers), max(numbers)
        room = 0.06 * (high - low) or 1.0

        def at(number: float) -> float:
            return 100 * (number - low + room) / (high - low + 2 * room)

        if self.zero:
            yield "zero", at(0), None
        if isfinite(self.ours.low):
            left = at(self.ours.low)
            yield "range", left, at(self.ours.high) - left
        yield from (("dot", at(dot), None) for dot in self.dots if isfinite(dot))
        if isfinite(self.ours.mean):
            yield "mean", at(self.ours.mean), None
        if self.text is not None:
            yield "text", at(self.text), None


def sparks(chart: Chart) -> list[tuple[str, str]]:
    """A small curve of each variant's means: its colour, and its points for SVG."""
    lines = means(chart, chart["first"][0])
    known = [value for line in lines.values() for value in line if value is not None]
    low, high = min(known, default=0), max(known, default=0)
    height = (high - low) or 1
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
    return f"{number:.1f}×" if unit == "×" else f"{number:+.2f}{unit}".replace("-", "−")


@dataclass(frozen=True)
class MainEffect:
    """The one difference that shows an exercise's answer: ours, and the text's if it is shown."""

    section: Section
    effect: Effect
    text: float | None

    @property
    def in_points(self) -> bool:
        """Else it is a ratio."""
        return self.section.name != "benchmark"

    @property
    def track(self) -> Track:
        """It on a line; what is in points has a zero."""
        return Track(self.section.effect, text=self.text, zero=self.in_points)

    @property
    def measured(self) -> str:
        """Ours, as a guess is answered."""
        return self._signed(self.section.effect.mean)

    @property
    def words(self) -> str:
        """The text's and ours, with its interval."""
        ours = self.section.effect
        words = "" if self.text is None else f"the text {self._signed(self.text)}, "
        words += f"ours {self.measured}"
        if isnan(ours.low):
            return words
        low, high = (self._signed(end).removesuffix(" points") for end in (ours.low, ours.high))
        return f"{words} ({low} to {high})"

    @property
    def options(self) -> list[tuple[str, bool]]:
        """Three answers to guess from, and which one is right; none if nothing is asked."""
        if not self.effect.cuts:
            return []
        (low, high), ours = self.effect.cuts, self.section.effect.mean
        options = {
            f"less than {low:g}": ours < low,
            f"{low:g} to {high:g}": low <= ours <= high,
            f"more than {high:g}": ours > high,
        }
        return [(option.replace("-", "−"), right) for option, right in options.items()]

    def _signed(self, number: float) -> str:
        return signed(number, " points" if self.in_points else "×")


def main_effect(section: Section, with_text: bool) -> MainEffect | None:
    """An exercise's main effect, beside the text's if that is shown; None if it has none."""
    effect = section.topic.effect
    if effect is None or isnan(section.effect.mean):
        return None
    stated = section.topic.stated("final_accuracy" if effect.less else "speed_up")
    stated |= {"": 0}  # nothing is taken off a speed-up
    both = {effect.of, effect.less} <= {*stated}
    text = stated[effect.of] - stated[effect.less] if with_text and both else None
    return MainEffect(section, effect, text)


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
    half, value = finding.estimate.half, getattr(finding.claim, "value", nan)
    return abs(value - finding.estimate.mean) / half if half > 0 else 0.0


def prizes(ledger: Ledger) -> list[tuple[str, str]]:
    """The furthest number, the nearest one, and the statement that is most upside down."""
    kinds = ("final_accuracy", "window_accuracy")
    accuracies = [f for f in ledger.values() if getattr(f.claim, "quantity", "") in kinds]
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
