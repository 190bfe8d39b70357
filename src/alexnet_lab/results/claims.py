"""Which of the text's claims hold? Each one in claims.yaml is checked against what was measured.

A number is reproduced if the 95 % interval over seeds contains it, and contradicted if not. A
ratio or a difference must show an effect as well: an interval that also contains 1, or 0, is too
wide to decide. An order, or a bound, is reproduced if the interval lies wholly on its side, and
contradicted if it lies wholly on the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from alexnet_lab.params.claims import Below, Claim, Difference, Order, Ratio, Unmeasured, Value
from alexnet_lab.results.statistics import FEWEST, OPEN, Estimate, estimate, paired

REPRODUCED, CONTRADICTED, NOT_MEASURED = "reproduced", "contradicted", "not measured"
VERDICTS = (REPRODUCED, CONTRADICTED, OPEN, NOT_MEASURED)
NOTHING = Estimate(math.nan, math.nan, math.nan, 0)
NO_VALUES = pd.Series(dtype=float, index=pd.MultiIndex.from_tuples([], names=["variant", "seed"]))
Measured = Mapping[str, "pd.Series[float]"]  # quantity -> values by (variant, seed)


@dataclass(frozen=True)
class Finding:
    """A claim, what was measured, and the verdict; ``original`` is the claim's number or words."""

    exercise: str
    says: str
    original: float | str
    quantity: str | None
    estimate: Estimate
    verdict: str
    unit: str = ""

    def row(self) -> dict[str, float | int | str]:
        """The claim's entry in metrics/claims.json."""
        return {
            "exercise": self.exercise,
            "original": self.original,
            "measured": round(self.estimate.mean, 6),
            "low": round(self.estimate.low, 6),
            "high": round(self.estimate.high, 6),
            "n": self.estimate.n,
            "verdict": self.verdict,
        }


Ledger = dict[str, Finding]  # by the claim's id


def check_all(exercise: str, claims: Mapping[str, Claim], measured: Measured) -> Ledger:
    """Check all claims of an exercise."""
    return {f"{exercise}_{name}": check(exercise, c, measured) for name, c in claims.items()}


def check(exercise: str, claim: Claim, measured: Measured) -> Finding:
    """Check one claim; it is not measured if its quantity or a variant is missing."""
    if isinstance(claim, Unmeasured):
        return Finding(exercise, claim.says, claim.because, None, NOTHING, NOT_MEASURED)
    values = measured.get(claim.quantity, NO_VALUES)
    mine = values[values.index.get_level_values("variant").isin(_variants(claim))]
    if set(mine.index.get_level_values("variant")) < set(_variants(claim)):
        return Finding(
            exercise, claim.says, _original(claim), claim.quantity, NOTHING, NOT_MEASURED
        )
    measured_value = _estimate(claim, mine)
    verdict = _verdict(claim, measured_value)
    never = claim.quantity == "epochs_to_threshold" and bool(mine.isna().all())
    if never and isinstance(claim, Value) and measured_value.n >= FEWEST:
        verdict = CONTRADICTED  # it claims a number of epochs, and no run gets there
    is_ratio = isinstance(claim, Ratio) or claim.quantity == "speed_up"
    unit = "×" if is_ratio and not isinstance(claim, Order) else ""
    return Finding(
        exercise, claim.says, _original(claim), claim.quantity, measured_value, verdict, unit
    )


def _variants(claim: Claim) -> tuple[str, ...]:
    match claim:
        case Value(of=of) | Below(of=of):
            return (of,)
        case Difference(of=of, less=other) | Ratio(of=of, over=other):
            return (of, other)
        case Order(order=order):
            return order
        case Unmeasured():
            return ()


def _original(claim: Claim) -> float | str:
    match claim:
        case Value(value=value) | Difference(value=value) | Ratio(value=value):
            return value
        case Below(below=below):
            return f"below {below:g}"
        case Order(order=order):
            return " > ".join(order)
        case Unmeasured(because=because):
            return because


def _estimate(claim: Claim, values: "pd.Series[float]") -> Estimate:
    match claim:
        case Difference(of=of, less=less):
            return estimate(paired(values, of, less))
        case Ratio(of=of, over=over):  # the geometric mean over seeds
            log = estimate(paired(values.map(_log), of, over))
            return Estimate(_exp(log.mean), _exp(log.low), _exp(log.high), log.n)
        case Order(order=order):  # the weakest step, or one that goes the other way
            steps = [estimate(paired(values, more, less)) for more, less in pairwise(order)]
            return min(steps, key=_sureness)
    return estimate(values)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def _exp(value: float) -> float:
    return math.exp(value) if not value > 700 else math.inf  # beyond, Python raises


def _sureness(step: Estimate) -> tuple[bool, float]:
    """A key that sorts a step the other way first, then an undefined one."""
    return not step.high < 0, -math.inf if math.isnan(step.low) else step.low


def _verdict(claim: Claim, measured: Estimate) -> str:
    if measured.n < FEWEST or math.isnan(measured.mean):
        return OPEN
    match claim:
        case Order():
            holds, fails = measured.low > 0, measured.high < 0
        case Below(below=below):
            holds, fails = measured.high < below, measured.low >= below
        case Value(value=value):
            holds = measured.low <= value <= measured.high
            fails = not holds
        case Difference(value=value) | Ratio(value=value):
            fails = not measured.low <= value <= measured.high
            no_effect = 1 if isinstance(claim, Ratio) else 0
            holds = not fails and not measured.low <= no_effect <= measured.high
        case Unmeasured():
            return NOT_MEASURED
    return REPRODUCED if holds else CONTRADICTED if fails else OPEN
