"""Leave the controls out of a copy of the project: `python -m tools.spine FOLDER`.

`make demo` does, since it should take minutes. A control is an exercise that claims.yaml puts
under another.
"""

import sys
from pathlib import Path
from typing import Any

import yaml


def leave_out_controls(folder: Path) -> None:
    """Take them out of params.yaml, claims.yaml and dvc.yaml."""
    files = {name: folder / f"{name}.yaml" for name in ("params", "claims", "dvc")}
    trees: dict[str, Any] = {k: yaml.safe_load(path.read_text()) for k, path in files.items()}
    controls = {name for name, topic in trees["claims"].items() if topic.get("under")}
    pipeline = trees["dvc"]
    for tree in (trees["params"], trees["claims"], pipeline["stages"]):
        for name in controls & tree.keys():
            del tree[name]
    compared = pipeline["stages"]["compare"]
    compared["foreach"] = [name for name in compared["foreach"] if name not in controls]
    pipeline["plots"] = [plot for plot in pipeline["plots"] if not controls & plot.keys()]
    for name, path in files.items():
        path.write_text(yaml.safe_dump(trees[name], sort_keys=False, allow_unicode=True))


if __name__ == "__main__":
    leave_out_controls(Path(sys.argv[1]))
