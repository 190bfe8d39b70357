"""Train a what-if's epochs, or those of a sweep, side by side; DVC's experiments find them.

python -m alexnet_lab.cluster -S 'schedules.train.lr=0.003,0.01,0.03' compare@schedules
"""

import argparse
import os

from dvc.utils.hydra import get_hydra_sweeps

from alexnet_lab import cli, console
from alexnet_lab.cluster.hand_over import INSTALL
from alexnet_lab.errors import UserError
from alexnet_lab.plan import what_if


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
    studies = []
    for overrides in sweeps(args.set_param):
        studies.append(what_if(overrides, args.targets))
        console.say(f"{' '.join(overrides)}: {len(studies[-1][1])} training stages")
    if not any(due for _, due in studies):
        console.say("Every training stage is up to date: nothing is to be trained.")
        return
    _, errors = train_all(studies)
    if errors:
        raise UserError("\n".join(errors.values()))


def sweeps(words: list[str]) -> list[list[str]]:
    """The what-ifs of a sweep, as DVC makes them. UserError if it cannot read one."""
    try:
        return [each["params.yaml"] for each in get_hydra_sweeps({"params.yaml": words})]
    except Exception as error:  # hydra's, which DVC lets through
        text = f"{error}".partition("\n")[0]
        raise UserError(f"-S {' -S '.join(words)} cannot be read: {text}") from error


if __name__ == "__main__":
    cli.run(main)
