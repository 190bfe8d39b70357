"""claims.yaml: what the original text claims, and the question that each exercise answers."""

from typing import Annotated, Literal

from pydantic import Field

from alexnet_lab.params.fields import Name, Number, Positive, Strict
from alexnet_lab.params.study import Quantity


class Value(Strict):
    """A quantity of one variant has this value."""

    kind: Literal["value"]
    says: str
    quantity: Quantity
    of: str
    value: Number


class Difference(Strict):
    """A quantity of one variant less that of another."""

    kind: Literal["difference"]
    says: str
    quantity: Quantity
    of: str
    less: str
    value: Number


class Ratio(Strict):
    """A quantity of one variant divided by that of another."""

    kind: Literal["ratio"]
    says: str
    quantity: Quantity
    of: str
    over: str
    value: Positive


class Order(Strict):
    """A quantity ranks the variants in this order, the largest first."""

    kind: Literal["order"]
    says: str
    quantity: Quantity
    order: Annotated[tuple[str, ...], Field(min_length=2)]


class Below(Strict):
    """A quantity of one variant is less than a number."""

    kind: Literal["below"]
    says: str
    quantity: Quantity
    of: str
    below: Number


class Unmeasured(Strict):
    """No exercise measures this."""

    kind: Literal["unmeasured"]
    says: str
    because: str


Claim = Annotated[
    Value | Difference | Ratio | Order | Below | Unmeasured, Field(discriminator="kind")
]


class Topic(Strict):
    """An exercise's question, a suggestion of what to change next, and the text's claims.

    An exercise of your own needs none of them.
    """

    question: str = ""
    what_if: str = ""  # as `dvc exp run -S` takes it
    claims: dict[Name, Claim] = Field(default_factory=dict)

    def stated(self, quantity: Quantity) -> dict[str, float]:
        """The text's own numbers of a quantity, by variant."""
        values = [claim for claim in self.claims.values() if isinstance(claim, Value)]
        return {claim.of: claim.value for claim in values if claim.quantity == quantity}


Topics = dict[str, Topic]  # by exercise; "takeaways" are what the text concludes from all of them
