"""Which names does the code of this folder give to the epochs of a stage that ran somewhere?

`python -m tools.naming activation@relu DATA "bf16 2.14.1 2.4.6 AMD EPYC (…)"` prints them as JSON,
by place and seed. A place is a precision, the versions of torch and numpy, and a kind of hardware.
"""

import json
import sys
from pathlib import Path

from alexnet_lab import cli, params
from alexnet_lab.machine.hardware import Hardware
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.store import Store


def names(stage: str, data: Path, places: list[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """The names by place and seed. UserError if the data is not there."""
    study, (exercise, variant) = params.load(), stage.split("@")
    result = {}
    for place in places:
        precision, torch, numpy, kind = place.split(" ", 3)
        hardware, packages = Hardware("cpu", kind, bf16=True), {"torch": torch, "numpy": numpy}
        site = Site(study, data, hardware, Store(Path("none")), packages)
        runs = site.runs(exercise, variant, "bf16" if precision == "bf16" else "fp32")
        result[place] = {str(run.seed): run.names for run in runs}
    return result


def main() -> None:
    """Print the names."""
    stage, data, *places = sys.argv[1:]
    print(json.dumps(names(stage, Path(data), places)))


if __name__ == "__main__":
    cli.run(main)
