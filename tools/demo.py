"""Make a copy of the project a demo: `python -m tools.demo FOLDER`.

The text's five exercises are left, each with the recipe that tools/demo.yaml gives it for the small
sample in git. The controls go, and so do the text's claims, which are about other recipes. A
control is an exercise that claims.yaml puts under another.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

CHANGES = Path(__file__).with_suffix(".yaml")
WHOLE = {"variants", "schedule", "margins"}  # given anew, not added to
Tree = dict[str, Any]


def make_demo(folder: Path) -> None:
    """Change params.yaml, claims.yaml and dvc.yaml in a folder.

    dvc.lock goes: every stage runs anyway, and DVC would rewrite all of it after each.
    """
    (folder / "dvc.lock").unlink(missing_ok=True)
    leave_out_controls(folder)
    params, claims = folder / "params.yaml", folder / "claims.yaml"
    tree = read(params)
    write(params, changed(tree, {k: v for k, v in read(CHANGES).items() if k in tree}))
    asked = ("question", "what_if", "picture", "effect", "names")
    topics = {
        name: {key: topic[key] for key in asked if key in topic}
        for name, topic in read(claims).items()
    }
    write(claims, topics)


def leave_out_controls(folder: Path) -> None:
    """Take them out of params.yaml, claims.yaml and dvc.yaml."""
    params, claims, pipeline = (
        read(folder / f"{name}.yaml") for name in ("params", "claims", "dvc")
    )
    controls = {name for name, topic in claims.items() if topic.get("under")}
    for tree in (params, claims):
        for name in controls & tree.keys():
            del tree[name]
    stages, gone = pipeline["stages"], set[str]()
    for name, stage in list(stages.items()):
        of_a_control = any(f"${{{control}." in str(stage) for control in controls)
        if of_a_control or gone & {*stage.get("cmd", "").split()}:
            gone |= outputs(stages.pop(name))
    stages["compare"]["foreach"] = [e for e in stages["compare"]["foreach"] if e not in controls]
    if "show" in stages:
        shown = stages["show"]["foreach"]
        gone |= {f"plots/{key}.png" for key, name in shown.items() if name in controls}
        stages["show"]["foreach"] = {key: v for key, v in shown.items() if v not in controls}
    stages["report"]["deps"] = [path for path in stages["report"]["deps"] if path not in gone]
    pipeline["plots"] = [plot for plot in pipeline["plots"] if not controls & plot.keys()]
    for name, tree in (("params", params), ("claims", claims), ("dvc", pipeline)):
        write(folder / f"{name}.yaml", tree)


def outputs(stage: Tree) -> set[str]:
    """The paths that a stage writes."""
    every = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, ())]
    return {path for out in every for path in ([out] if isinstance(out, str) else out)}


def changed(tree: Tree, changes: Tree) -> Tree:
    """A tree with what is changed in it; a list, or one of WHOLE, is given anew."""
    new = dict(tree)
    for key, value in changes.items():
        deeper = isinstance(value, dict) and key not in WHOLE
        new[key] = changed(tree[key], value) if deeper else value
    return new


def read(path: Path) -> Tree:
    """A YAML file's tree."""
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def write(path: Path, tree: Tree) -> None:
    """Write a tree as YAML."""
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    make_demo(Path(sys.argv[1]))
