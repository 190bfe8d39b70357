"""Which of the original's claims hold? Each is data in params.yaml, checked on what was measured.

A number is reproduced where the 95 % interval over seeds holds it, contradicted where not. A
ratio or a difference also has to show an effect: an interval that holds 1, or 0, as well is too
wide to decide. An order, or a bound, is reproduced where the interval lies wholly on its side,
contradicted where wholly on the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from alexnet_lab.params.claims import Below, Claim, Difference, Order, Ratio, Unmeasured, Value
from alexnet_lab.results.statistics import NEEDS, OPEN, Estimate, estimate, paired

REPRODUCED, CONTRADICTED, NOT_MEASURED = "reproduced", "contradicted", "not measured"
VERDICTS = (REPRODUCED, CONTRADICTED, OPEN, NOT_MEASURED)
NOTHING = Estimate(math.nan, math.nan, math.nan, 0)
NO_VALUES = pd.Series(dtype=float, index=pd.MultiIndex.from_tuples([], names=["variant", "seed"]))
Measured = Mapping[str, "pd.Series[float]"]  # quantity -> values by (variant, seed)


@dataclass(frozen=True)
class Finding:
    """A claim and what stands against it; ``original`` is its number, or its words."""

    exercise: str
    says: str
    original: float | str
    quantity: str | None
    found: Estimate
    verdict: str
    unit: str = ""

    def row(self) -> dict[str, float | int | str]:
        """For metrics/claims.json."""
        return {
            "exercise": self.exercise,
            "original": self.original,
            "measured": round(self.found.mean, 6),
            "low": round(self.found.low, 6),
            "high": round(self.found.high, 6),
            "n": self.found.n,
            "verdict": self.verdict,
        }


Ledger = dict[str, Finding]  # by the claim's id


def check_all(exercise: str, claims: Mapping[str, Claim], measured: Measured) -> Ledger:
    """The exercise's ledger."""
    return {f"{exercise}_{name}": check(exercise, c, measured) for name, c in claims.items()}


def check(exercise: str, claim: Claim, measured: Measured) -> Finding:
    """One claim; not measured where a quantity or a variant is missing."""
    if isinstance(claim, Unmeasured):
        return Finding(exercise, claim.says, claim.because, None, NOTHING, NOT_MEASURED)
    values = measured.get(claim.quantity, NO_VALUES)
    mine = values[values.index.get_level_values("variant").isin(_variants(claim))]
    if set(mine.index.get_level_values("variant")) < set(_variants(claim)):
        return Finding(
            exercise, claim.says, _original(claim), claim.quantity, NOTHING, NOT_MEASURED
        )
    found = _estimate(claim, mine)
    verdict = _verdict(claim, found)
    never = claim.quantity == "epochs_to_threshold" and bool(mine.isna().all())
    if never and isinstance(claim, Value) and found.n >= NEEDS:
        verdict = CONTRADICTED  # a number of epochs, and no run gets there
    is_ratio = isinstance(claim, Ratio) or claim.quantity == "speed_up"
    unit = "×" if is_ratio and not isinstance(claim, Order) else ""
    return Finding(exercise, claim.says, _original(claim), claim.quantity, found, verdict, unit)


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
        case Order(order=order):  # its weakest step, or one that goes the other way
            steps = [estimate(paired(values, more, less)) for more, less in pairwise(order)]
            return min(steps, key=_sureness)
    return estimate(values)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def _exp(value: float) -> float:
    return math.exp(value) if not value > 700 else math.inf  # beyond, Python raises


def _sureness(step: Estimate) -> tuple[bool, float]:
    """What goes the other way comes first, then what is undefined."""
    return not step.high < 0, -math.inf if math.isnan(step.low) else step.low


def _verdict(claim: Claim, found: Estimate) -> str:
    if found.n < NEEDS or math.isnan(found.mean):
        return OPEN
    match claim:
        case Order():
            holds, fails = found.low > 0, found.high < 0
        case Below(below=below):
            holds, fails = found.high < below, found.low >= below
        case Value(value=value):
            holds = found.low <= value <= found.high
            fails = not holds
        case Difference(value=value) | Ratio(value=value):
            fails = not found.low <= value <= found.high
            no_effect = 1 if isinstance(claim, Ratio) else 0
            holds = not fails and not found.low <= no_effect <= found.high
        case Unmeasured():
            return NOT_MEASURED
    return REPRODUCED if holds else CONTRADICTED if fails else OPEN
