"""Read params.yaml and claims.yaml. Whatever is wrong becomes one sentence that names the key."""

import re
import subprocess
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from alexnet_lab.errors import UserError
from alexnet_lab.params.claims import Measurable, Short, Topic, Topics
from alexnet_lab.params.fields import name_of, shown
from alexnet_lab.params.study import Study

LONGEST = 285  # characters of a message after the file's name


def load(path: Path = Path("params.yaml")) -> Study:
    """Read and check params.yaml. UserError, one sentence, if anything is wrong."""
    return parse(_yaml(path), str(path))


def load_claims(study: Study, path: Path = Path("claims.yaml")) -> Topics:
    """Read and check claims.yaml. UserError, one sentence, if anything is wrong.

    Every exercise has a topic in the result, an empty one if the file does not mention it.
    """
    known = ["benchmark", *study.exercises, "takeaways"]
    nothing = "nothing else: each with question, what_if and claims"
    topics: Topics = _validated(TypeAdapter(Topics), _yaml(path), str(path), known, nothing)
    unknown = [name for name in topics if name not in known]
    if unknown:
        raise UserError(f"{path}: '{unknown[0]}' is not an exercise; there are {', '.join(known)}.")
    for name, topic in topics.items():
        main = topics.get(topic.under, Topic())
        if topic.under and (topic.under not in known[:-1] or main.under):
            raise UserError(f"{path}: {name}.under should be an exercise, not '{topic.under}'.")
        if topic.claims and name == "takeaways":
            raise UserError(f"{path}: takeaways holds asides alone; a claim is an exercise's.")
        for claim, content in topic.claims.items():
            if isinstance(content, Measurable):
                _check_variants(study, f"{path}: {name}.claims.{claim}", name, content.variants)
        if topic.short:
            _check_short(study, f"{path}: {name}.short", name, topic, topic.short)
    return {name: topics.get(name, Topic()) for name in known}


def _check_short(study: Study, where: str, name: str, topic: Topic, short: Short) -> None:
    """UserError if an answer in short rests on a verdict that there is not."""
    if name not in study.exercises:
        raise UserError(f"{where} should go: only an exercise that trains has one.")
    for quantity, verdicts in short.compared.items():
        _check_variants(study, f"{where}.compared.{quantity}", name, [*verdicts])
    if unknown := [claim for claim in short.claims if claim not in topic.claims]:
        raise UserError(f"{where}.claims names '{unknown[0]}', which {name}.claims does not have.")


def _check_variants(study: Study, claim: str, name: str, named: Sequence[str]) -> None:
    """UserError if a claim names a variant that is not there and was not in the last commit.

    `dvc exp run -S '~schedules.variants.step'` takes one away: its claims are then not measured.
    """
    if name == "benchmark":
        known, allowed = {v for v in named if re.fullmatch(r"\d+|mean", v)}, "a batch size or mean"
    else:
        variants = study.exercise(name).variants
        known, allowed = {*variants}, f"one of {', '.join(variants)}"
        if not known.issuperset(named):
            known |= _committed_variants(name)
    for variant in named:
        if variant not in known:
            sentence = f"{claim} names the variant {shown(variant)}; it should be {allowed}"
            raise UserError(f"{sentence[: LONGEST + 15]}.")


def _committed_variants(exercise: str) -> set[str]:
    """Those of the last commit; none without git."""
    command = ("git", "show", "HEAD:./params.yaml")
    try:
        text = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603  # fixed words
        return {*yaml.safe_load(text)[exercise]["variants"]}
    except (OSError, subprocess.CalledProcessError, yaml.YAMLError, KeyError, TypeError):
        return set()


def parse(raw: Any, name: str = "params.yaml") -> Study:
    """Check what a YAML file held. UserError, one sentence, if anything is wrong."""
    exercises = "exercises with images, seeds, train, compare and variants"
    study: Study = _validated(TypeAdapter(Study), raw, name, tuple(Study.model_fields), exercises)
    return study


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {_one_line(str(error))}") from error


def _one_line(text: str) -> str:
    """At most LONGEST characters of it."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _validated(kind: TypeAdapter[Any], raw: Any, name: str, known: Sequence[str], rest: str) -> Any:
    if not isinstance(raw, dict):
        raise UserError(f"{name} should be a mapping of names to values.")
    try:
        for key in raw:
            name_of(key)
    except ValueError as error:
        raise UserError(f"{name}: {error}.") from error
    try:
        return kind.validate_python(raw)
    except ValidationError as error:
        raise UserError(f"{name}: {_one_line(_sentence(error, raw, known, rest))}") from error


def _sentence(error: ValidationError, raw: Any, known: Sequence[str], rest: str) -> str:
    """Describe the first fault: the key as the user wrote it, and what is allowed there.

    ``known`` are the keys at the top; ``rest`` says what others may stand there.
    """
    fault = error.errors(include_url=False)[0]
    location = fault["loc"]
    if fault["type"] == "model_type" and len(location) == 1 and location[0] not in known:
        top = f"allowed at the top are {', '.join(known)} and {rest}"
        return f"unknown key {shown(location[0])}; {top}."
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = re.sub("dictionary.*", "mapping", message.replace("tuple", "list"))
    key = _written(location, raw, fault["type"] == "missing")
    got = fault["input"]
    if location[-1] == "[key]":
        key = _written(location[:-2], raw, missing=False)
        if fault["type"] != "literal_error":  # else the message names it
            return f"{key}: {message}."
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        tag = context["discriminator"].strip("'")
        got = shown(context["tag"])
        return f"{key}.{tag} should be one of {context['expected_tags']}, not {got}."
    if fault["type"] == "too_short":
        message = "should have at least one entry"
    if fault["type"] == "literal_error" and len(f"{key} {message}, not {shown(got)}.") > LONGEST:
        words = re.findall(r"'\w+'", message)
        near = ", ".join(get_close_matches(f"'{got}'"[:60], words, cutoff=0))
        message = f"should be one of {len(words)} words that params/study.py lists, such as {near}"
    echoed = fault["type"] not in ("missing", "too_short") and not isinstance(got, dict)
    return f"{key} {message[0].lower()}{message[1:]}{f', not {shown(got)}' if echoed else ''}."


def _written(location: tuple[int | str, ...], raw: Any, missing: bool) -> str:
    """The location as a dotted key, without the union tags that pydantic adds."""
    path, node, tagged = "", raw, False
    for index, step in enumerate(location):
        if isinstance(node, dict) and not tagged and step in (node.get("kind"), node.get("op")):
            tagged = True  # a key may have the same name as the tag
            continue
        tagged = False
        if isinstance(node, dict) and step in node:
            path, node = f"{path}.{step}", node[step]
        elif isinstance(node, list | tuple) and isinstance(step, int) and step < len(node):
            path, node = f"{path}[{step}]", node[step]
        elif index == len(location) - 1 and missing:
            path = f"{path}.{step}"
    path = path.removeprefix(".")
    return path if len(path) <= LONGEST // 2 else f"{path[: LONGEST // 2 - 1]}…"
