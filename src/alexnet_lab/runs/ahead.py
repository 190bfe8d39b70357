"""Which stages will DVC run after this one? An idle core can work for them, since the store keeps.

A guess costs nothing but idle time: DVC alone decides, and what it asks for is looked up by name.
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from alexnet_lab import cli
from alexnet_lab.params.study import Study

Tree = dict[str, Any]  # of a YAML file
ABSENT = object()
VALUED = {"-n", "--name", "-m", "--message", "-S", "--set-param"}  # DVC's options before a value


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """In C if that is there, since dvc.lock is long; 5e-05, as DVC writes it, is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+$"), list("-+0123456789")
)


def stages_to_come(study: Study, exercise: str, variant: str) -> list[tuple[str, str]]:
    """The training stages (exercise, variant) that DVC has still to run; none without DVC.

    A stage runs if its parameters are not those of dvc.lock. If the parameters of the present
    stage are, then it runs for its code or its data, and so will all others.
    """
    if "DVC_STAGE" not in os.environ:
        return []
    every = [(e, v) for e, content in study.exercises.items() for v in content.variants]
    command = cli.dvc_command()
    if not command:  # no /proc: nobody knows what was asked for
        return []
    lock, raw = read_yaml(Path("dvc.lock")).get("stages", {}), read_yaml(Path("params.yaml"))
    asked = _asked_for(command, study, lock)
    all_run = not changed_parameters(lock, raw, exercise, variant)
    return [
        (e, v)
        for e, v in every
        if (e, v) != (exercise, variant)
        and (not asked or asked & {e, f"{e}@{v}"})
        and (all_run or changed_parameters(lock, raw, e, v))
    ]


def _asked_for(command: list[str], study: Study, lock: Tree) -> set[str]:
    """The exercises or stages that DVC's command names, and what makes them; none means all."""
    words = {w for option, w in zip(["", *command], command, strict=False) if option not in VALUED}
    named = {word.removeprefix("compare@") for word in words}
    named = {word for word in named if word.split("@")[0] in study.exercises}
    left = [name for name in lock if {name, name.split("@")[0]} & words]
    while left:
        named.add(name := left.pop())
        needed = [dep["path"] for dep in lock[name].get("deps", [])]
        named |= {  # dvc.lock does not know a new variant
            f"{e}@{v}"
            for e, content in study.exercises.items()
            for v in content.variants
            if any(_overlap(f"metrics/runs/{e}/{v}.csv", path) for path in needed)
        }
        left += [
            other
            for other in {*lock} - named
            if any(
                _overlap(out["path"], path)
                for out in lock[other].get("outs", [])
                for path in needed
            )
        ]
    return named


def _overlap(path: str, other: str) -> bool:
    """Whether two paths are one, or one is in the other."""
    return f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")


def changed_parameters(lock: Tree, raw: Tree, exercise: str, variant: str) -> bool:
    """Whether a stage's parameters differ from those that dvc.lock has for it."""
    recorded = lock.get(f"{exercise}@{variant}", {}).get("params", {}).get("params.yaml")
    return recorded is None or any(at(raw, key) != value for key, value in recorded.items())


def at(tree: Any, key: str) -> Any:
    """The value at a dotted key; ABSENT if there is none."""
    for part in key.split("."):
        tree = tree.get(part, ABSENT) if isinstance(tree, dict) else ABSENT
    return tree


def read_yaml(path: Path) -> Tree:
    """What a YAML file holds; nothing if it cannot be read."""
    try:
        return dict(yaml.load(path.read_text(encoding="utf-8"), _Loader) or {})  # noqa: S506  # a safe loader
    except (OSError, ValueError, yaml.YAMLError):
        return {}
