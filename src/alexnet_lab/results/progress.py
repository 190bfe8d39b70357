"""What is known so far, while runs are under way: a table, and each exercise's figure.

From another terminal, or after an interruption: python -m alexnet_lab.results.progress
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import replace
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.params.study import Exercise
from alexnet_lab.results.figures import after, training_figure
from alexnet_lab.results.panels import PANELS, Lines
from alexnet_lab.results.runs import runs_of
from alexnet_lab.runs.records import Record, curves, timing
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import known_epochs
from alexnet_lab.runs.store import the_store


def main() -> None:
    """Print the table and draw the figures of the exercises that have begun."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("progress"))
    args = parser.parse_args()
    study = params.load()
    site = Site(study, Path("data"), this_machine(), the_store())
    rows, begun = {}, dict[str, dict[str, list[Record]]]()
    for exercise, variant, runs in site.all_runs():
        known = [record for run in runs for record in known_epochs(run, site.store) if record]
        curve = [r.epoch.test_accuracy for r in known if r.epoch.seed == known[0].epoch.seed]
        rows[f"{exercise} {variant}"] = {
            "known": len(known),
            "of": sum(len(run.names) for run in runs),
            "accuracy": console.sparkline(curve),
        }
        if known:
            begun.setdefault(exercise, {})[variant] = known
    console.show_table("Epochs known so far", pd.DataFrame(rows).T)
    topics = params.load_claims(study)
    for name, records in begun.items():
        path, own = args.out / f"{name}.png", study.exercise(name)
        above = study.exercises.get(topics[name].under, own).variants
        replace(path, figure_of(own, records, list(above)).savefig)
        console.say(f"{path}")


def figure_of(
    exercise: Exercise, known: dict[str, list[Record]], above: Sequence[str] = ()
) -> Figure:
    """The exercise's curves, from the epochs of each variant that has any.

    The panels of dots are left out: they stand for runs that have ended.
    """
    panels = [name for name in exercise.compare.panels if isinstance(PANELS[name], Lines)]
    compare = exercise.compare.model_copy(update={"panels": panels or ["test_accuracy"]})
    frames = [
        pd.concat([pd.DataFrame(rows(records)).assign(variant=v) for v, records in known.items()])
        for rows in (curves, timing)
    ]
    runs = runs_of(exercise.model_copy(update={"compare": compare}), *frames)
    return training_figure(runs, after(above, list(exercise.variants)))


if __name__ == "__main__":
    cli.run(main)
