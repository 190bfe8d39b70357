"""claims.yaml: what the original text claims, and the question that each exercise answers.

Epochs count from 1 here and from 0 in the text, so its numbers of epochs are one higher here.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from alexnet_lab.params.fields import Name, Number, Positive, Strict
from alexnet_lab.params.study import Quantity

Compared = Literal["better", "worse", "higher", "lower", "equivalent", "undecided"]
Checked = Literal["compatible", "incompatible", "confirmed", "partly", "contradicted", "undecided"]


class Stated(Strict):
    """Something that the text says."""

    says: str
    place: str  # in the text, such as "3, insight 1"


class Claimed(Stated):
    """A claim, which is counted. Those of one ``fact`` stand or fall together."""

    fact: str = ""


class Measurable(Claimed):
    """A claim about a quantity."""

    quantity: Quantity

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """The pairs of which the first is said to have more; a bound has one variant alone."""
        match self:
            case Order():
                return tuple(pairwise(self.order))
            case More(kind="more"):
                return tuple((self.of, other) for other in self.than)
            case More():
                return tuple((other, self.of) for other in self.than)
            case Below():
                return ((self.of,),)
        return ()

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that it names, each once."""
        named = (getattr(self, key, None) for key in ("of", "less", "over"))
        stepped = (name for step in self.steps for name in step)
        return tuple(dict.fromkeys(name for name in (*named, *stepped) if name))


class Value(Measurable):
    """A quantity of one variant has this value."""

    kind: Literal["value"]
    of: str
    value: Number


class Difference(Measurable):
    """A quantity of one variant less that of another."""

    kind: Literal["difference"]
    of: str
    less: str
    value: Number


class Ratio(Measurable):
    """A quantity of one variant divided by that of another."""

    kind: Literal["ratio"]
    of: str
    over: str
    value: Positive


class Order(Measurable):
    """A quantity ranks the variants in this order, the largest first: each step is a claim."""

    kind: Literal["order"]
    order: Annotated[tuple[str, ...], Field(min_length=2)]


class More(Measurable):
    """A quantity of one variant is more, or less, than that of each of the others."""

    kind: Literal["more", "less"]
    of: str
    than: Annotated[tuple[str, ...], Field(min_length=1)]


class Below(Measurable):
    """A quantity of one variant is less than a number."""

    kind: Literal["below"]
    of: str
    below: Number


class Within(Claimed):
    """A number that the text prints, and the two of its own that it should be the quotient of."""

    kind: Literal["within"]
    value: Number
    quotient: tuple[Number, Positive]


class Aside(Stated):
    """Nothing to measure: a fact of record, a judgement. Not counted."""

    because: str


Claim = Annotated[
    Value | Difference | Ratio | Order | More | Below | Within,
    Field(discriminator="kind"),
]


class Effect(Strict):
    """The one difference that shows an exercise's answer: more of ``of``, less of ``less``.

    ``ask`` asks for its size beforehand, and ``cuts`` part the three answers to choose from. Of the
    benchmark, ``of`` is a batch size, and the speed-up is asked for.
    """

    of: str
    less: str = ""
    ask: str = ""
    cuts: tuple[Number, Number] | None = None


class Short(Strict):
    """An exercise's answer in a few words, said only while all these are the verdicts."""

    says: str
    compared: dict[Quantity, dict[Name, Compared]] = Field(default_factory=dict)  # by variant
    claims: dict[Name, Checked] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rests_on_something(self) -> Self:
        if not any([*self.compared.values(), self.claims]):
            raise ValueError("should list a verdict under compared or claims")
        return self


class Topic(Strict):
    """An exercise's question, a suggestion of what to change next, and what the text says of it.

    An exercise of your own needs none of them. ``under`` names the exercise that a control tests:
    the report shows it there.
    """

    question: str = ""
    short: Short | None = None
    under: str = ""
    picture: str = ""  # one more of plots/, by its name, which explains what was done
    what_if: str = ""  # as `dvc exp run -S` takes it
    effect: Effect | None = None
    names: dict[Name, str] = Field(default_factory=dict)  # of variants, in a sentence
    setting: dict[str, Any] = Field(default_factory=dict)  # the text's, by keys of its recipes
    claims: dict[Name, Claim] = Field(default_factory=dict)
    asides: tuple[Aside, ...] = ()

    def stated(self, quantity: Quantity) -> dict[str, float]:
        """The text's own numbers of a quantity, by variant."""
        values = [claim for claim in self.claims.values() if isinstance(claim, Value)]
        return {claim.of: claim.value for claim in values if claim.quantity == quantity}


Topics = dict[str, Topic]  # by exercise; "takeaways" holds asides of the text's last page
