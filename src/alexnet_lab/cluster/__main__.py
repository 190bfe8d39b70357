"""Train a what-if's epochs, or those of a sweep, side by side; DVC's experiments find them.

python -m alexnet_lab.cluster -S 'schedules.train.lr=0.003,0.01,0.03' compare@schedules
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from dvc.utils.hydra import get_hydra_sweeps

from alexnet_lab import cli, console, params
from alexnet_lab.cluster.hand_over import INSTALL
from alexnet_lab.errors import UserError
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.plan import PARAMS, due_stages, with_overrides
from alexnet_lab.runs.ahead import read_yaml
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.store import the_store


def main() -> None:
    """Let the engine train what `dvc exp run` with these words would train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE,…")
    parser.add_argument("targets", nargs="*", help="stages or exercises; by default, all")
    args = parser.parse_args()
    os.environ.setdefault("ALEXNET_LAB_CLUSTER", "auto")
    try:
        from alexnet_lab.cluster.head import train_all
    except ModuleNotFoundError as error:
        raise UserError(INSTALL) from error
    here = Site(params.load(), Path("data"), this_machine(), the_store())
    studies = []
    for overrides in sweeps(args.set_param):
        with tempfile.TemporaryDirectory() as folder:
            raw = read_yaml(with_overrides(overrides[PARAMS.name], Path(folder) / PARAMS.name))
        site = replace(here, study=params.parse(raw))
        if site.study.data.source != here.study.data.source:
            raise UserError(
                "A sweep is of the data that is prepared: set data.source in params.yaml."
            )
        due = due_stages(site.study, raw, args.targets)
        console.say(f"{' '.join(overrides[PARAMS.name])}: {len(due)} training stages")
        studies.append((site, due))
    if not any(due for _, due in studies):
        console.say("Every training stage is up to date: nothing is to be trained.")
        return
    _, errors = train_all(studies)
    if errors:
        raise UserError("\n".join(errors.values()))


def sweeps(words: list[str]) -> list[dict[str, list[str]]]:
    """The what-ifs of a sweep, as DVC makes them. UserError if it cannot read one."""
    try:
        return list(get_hydra_sweeps({PARAMS.name: words}))
    except Exception as error:  # hydra's, which DVC lets through
        text = f"{error}".partition("\n")[0]
        raise UserError(f"-S {' -S '.join(words)} cannot be read: {text}") from error


if __name__ == "__main__":
    cli.run(main)
