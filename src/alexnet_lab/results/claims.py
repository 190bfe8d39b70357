"""Which of the text's claims hold? Each one in claims.yaml is checked against what was measured.

A number of the text is that of one run. It is compatible with ours if one more run of ours could
have given it: if the 95 % prediction interval contains it and is narrow enough to exclude another
number that the text gives, or that there is no effect. What the text says in words is a step, or
several: each holds, fails or is undecided as the comparisons are, at the level of the exercise.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from alexnet_lab.params import claims as kinds
from alexnet_lab.params.claims import Claim, Topic
from alexnet_lab.params.study import Quantity
from alexnet_lab.results.statistics import (
    FEWEST,
    LEVEL,
    NOTHING,
    Estimate,
    Sample,
    estimate,
    judge,
    paired,
)

COMPATIBLE, INCOMPATIBLE = "compatible", "incompatible"  # numbers
CONFIRMED, PARTLY, CONTRADICTED = "confirmed", "partly", "contradicted"  # statements
ITSELF = "contradicts itself"
UNDECIDED, NOT_MEASURED = "undecided", "not measured"
VERDICTS = {  # in the report's order; the page shows each by a symbol and a colour of page.css
    COMPATIBLE: ("✓", "good"),
    INCOMPATIBLE: ("✗", "bad"),
    CONFIRMED: ("✓", "good"),
    PARTLY: ("◐", "part"),
    CONTRADICTED: ("✗", "bad"),
    ITSELF: ("≠", "bad"),
    UNDECIDED: ("?", "open"),
    NOT_MEASURED: ("–", "open"),
}
ROUNDING = 0.02  # the text prints three digits; a quotient that is further off does not follow
Measured = Mapping[str, Sample]  # by quantity
Margins = Mapping[Quantity, float]  # the smallest difference that matters
Number = kinds.Value | kinds.Difference | kinds.Ratio
Statement = kinds.Order | kinds.More


@dataclass(frozen=True)
class Finding:
    """A claim, what was measured, and the verdict."""

    claim: Claim
    verdict: str
    estimate: Estimate = NOTHING  # of a number; of a statement, that of its weakest step
    off: float = math.nan  # the text's number less our mean, or over it for a ratio
    steps: tuple[int, int, int] = (0, 0, 0)  # of a statement: how many hold, fail, and there are
    note: str = ""
    dots: tuple[float, ...] = ()  # what the estimate is of, run by run
    exercise: str = ""

    @property
    def unit(self) -> str:
        """× after a ratio."""
        speed_up = isinstance(self.claim, kinds.Value) and self.claim.quantity == "speed_up"
        return "×" if speed_up or isinstance(self.claim, kinds.Ratio) else ""

    def row(self) -> dict[str, float | int | str]:
        """The claim's entry in metrics/claims.json."""
        holding, failing, count = self.steps
        return {
            "exercise": self.exercise,
            "says": self.claim.says,
            "place": self.claim.place,
            "measured": round(self.estimate.mean, 6),
            "low": round(self.estimate.low, 6),
            "high": round(self.estimate.high, 6),
            "n": self.estimate.n,
            "off": round(self.off, 6),
            "steps": f"{holding} of {count} hold, {failing} fail" if count else "",
            "note": self.note,
            "verdict": self.verdict,
        }


Ledger = dict[str, Finding]  # by the claim's id


def check_all(
    exercise: str,
    topic: Topic,
    measured: Measured,
    level: float = LEVEL,
    margins: Margins | None = None,
) -> Ledger:
    """Check all claims of an exercise; ``level`` is that of each interval of its statements."""
    return {
        f"{exercise}_{name}": replace(
            check(claim, topic, measured, level, margins), exercise=exercise
        )
        for name, claim in topic.claims.items()
    }


def check(
    claim: Claim,
    topic: Topic,
    measured: Measured,
    level: float = LEVEL,
    margins: Margins | None = None,
) -> Finding:
    """Check one claim; it is not measured if its quantity or a variant is missing."""
    match claim:
        case kinds.Within():
            return _within(claim)
    values = measured.get(claim.quantity)
    if values is None or not {*claim.variants} <= {*values.runs}:
        return Finding(claim, NOT_MEASURED)
    if all(values.runs[name].isna().all() for name in claim.variants):
        return _never(claim, values, measured.get("above_threshold"))
    match claim:
        case kinds.Value() | kinds.Difference() | kinds.Ratio():
            return _number(claim, topic, values)
        case kinds.Below():
            return _below(claim, values, level)
    return _steps(claim, values, level, (margins or {}).get(claim.quantity))


def _within(claim: kinds.Within) -> Finding:
    """Whether a number of the text follows from two others of its own."""
    follows = claim.quotient[0] / claim.quotient[1]
    holds = abs(claim.value / follows - 1) <= ROUNDING
    note = f"{claim.quotient[0]:g} / {claim.quotient[1]:g} = {follows:.4g}"
    return Finding(claim, CONFIRMED if holds else ITSELF, note=note)


def _never(
    claim: Number | Statement | kinds.Below, values: Sample, above: Sample | None
) -> Finding:
    """No run has the quantity: it was not recorded, or no run gets to the threshold.

    A number of epochs is incompatible if one more run's best accuracy would be below it, too.
    """
    if claim.quantity != "epochs_to_threshold":
        return Finding(claim, NOT_MEASURED, note="these runs did not record it")
    of = claim.variants[0]
    below = above is not None and above.mean(of, more=1).high < 0
    decided = isinstance(claim, kinds.Value) and below
    return Finding(claim, INCOMPATIBLE if decided else UNDECIDED, estimate(values.runs[of]))


def _number(claim: Number, topic: Topic, values: Sample) -> Finding:
    """A number of the text against where one more run of ours would fall."""
    others: set[float] = {0.0}
    dots: Iterable[float]
    match claim:
        case kinds.Value(of=of):
            ours, dots = values.mean(of, more=1), values.runs[of]
            stated = topic.stated(claim.quantity).items()
            others = {number for variant, number in stated if variant != of} or others
        case kinds.Difference(of=of, less=less):
            ours, dots = values.unpaired(of, less), paired(values.values, of, less)
        case kinds.Ratio(of=of, over=over):
            logs = values.values.where(values.values > 0).map(math.log)
            log = Sample(logs, values.places, values.pool).unpaired(of, over)
            with np.errstate(over="ignore"):  # an interval may reach beyond any float
                ratios = np.exp([log.mean, log.low, log.high, *paired(logs, of, over)])
            mean, low, high, *dots = ratios.tolist()
            ours, others = Estimate(mean, low, high, log.n), {1.0}
    off = claim.value / ours.mean if isinstance(claim, kinds.Ratio) else claim.value - ours.mean
    inside = ours.low <= claim.value <= ours.high
    verdict, note = INCOMPATIBLE, ""
    if ours.n < FEWEST or math.isnan(ours.half):
        verdict = UNDECIDED
    elif inside and all(ours.low <= other <= ours.high for other in others):
        verdict, note = UNDECIDED, "our interval is too wide to exclude anything"
    elif inside:
        verdict = COMPATIBLE
    return Finding(claim, verdict, ours, off, note=note, dots=tuple(dots))


def _below(claim: kinds.Below, values: Sample, level: float) -> Finding:
    """A bound; one that every variant keeps says nothing of this one."""
    ours = values.mean(claim.of, level)
    held = [name for name in values.runs if values.mean(name, level).high < claim.below]
    alike = len(held) == len(values.runs) > 1
    note = f"so does each of the {len(held)}: it says nothing of this one" if alike else ""
    verdict = (
        CONFIRMED if claim.of in held else CONTRADICTED if ours.low >= claim.below else UNDECIDED
    )
    return Finding(claim, verdict, ours, note=note, dots=tuple(values.runs[claim.of]))


def _steps(claim: Statement, values: Sample, level: float, margin: float | None) -> Finding:
    """A statement of one or several steps, each judged as a comparison is."""
    found = {(more, less): values.difference(more, less, level) for more, less in claim.steps}
    words = [judge(each, margin, "higher") for each in found.values()]
    holding = words.count("better")
    failing = words.count("worse") + words.count("equivalent")
    verdict = UNDECIDED
    if holding == len(words):
        verdict = CONFIRMED
    elif failing:
        verdict = PARTLY if holding else CONTRADICTED
    (more, less), weakest = min(found.items(), key=lambda item: _sureness(item[1]))
    note = f"{more} minus {less}"
    if "not comparable" in words:
        note += ", which ran in other arithmetic or on other hardware"
    steps, dots = (holding, failing, len(words)), tuple(paired(values.values, more, less))
    return Finding(claim, verdict, weakest, steps=steps, note=note, dots=dots)


def _sureness(step: Estimate) -> tuple[bool, float]:
    """A key that sorts a step the other way first, then an undefined one."""
    return not step.high < 0, -math.inf if math.isnan(step.low) else step.low


def facts(ledger: Ledger) -> dict[str, set[str]]:
    """The facts behind the claims of each verdict."""
    found: dict[str, set[str]] = {verdict: set() for verdict in VERDICTS}
    for name, finding in ledger.items():
        found[finding.verdict].add(finding.claim.fact or name)
    return found
