"""The kinds of values that params.yaml and claims.yaml are made of, and their checks."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


# DVC writes 5e-05, which PyYAML reads as a string; pydantic turns it into the number.
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Integer = Annotated[int, BeforeValidator(_no_bool)]
Count = Annotated[Integer, Field(ge=1, le=10**9)]
Positive = Annotated[Number, Field(gt=0)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
# YAML 1.1 reads the first line's as booleans and null, DVC's run-cache ignores those of the second.
RESERVED = {"on", "off", "yes", "no", "y", "n", "true", "false", "null"}
RESERVED |= {"size", "nfiles", "isexec"}


def shown(value: Any) -> str:
    """A value as a message shows it: its beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def name_of(value: Any) -> Any:
    """The value, if YAML and DVC both take it for a name. ValueError if not."""
    if not isinstance(value, str) or not re.fullmatch("[a-z][a-z0-9_]*", value):
        raise ValueError(
            f"the name {shown(value)} should be a-z, 0-9 and _, and start with a letter"
        )
    if value in RESERVED:
        raise ValueError(f"the name '{value}' means something else to YAML or DVC; choose another")
    return value


Name = Annotated[str, BeforeValidator(name_of)]


def _unique(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("should not repeat a seed: the same seed gives the same run")
    return seeds


Seeds = Annotated[
    tuple[Annotated[Integer, Field(ge=0, lt=2**63)], ...],
    Field(min_length=1),
    AfterValidator(_unique),
]


class Strict(BaseModel):
    """Frozen, and an unknown key is an error that lists the known ones."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        here = set(data) if isinstance(data, dict) else set()
        unknown = sorted(map(str, here - set(cls.model_fields)))
        if unknown and not cls.model_config.get("extra"):
            known = ", ".join(cls.model_fields)
            raise ValueError(f"has the unknown key {shown(unknown[0])}; allowed here: {known}")
        return data
