"""Which experiments were run, and what moved? A table that fits a terminal, unlike `dvc exp show`.

One row per parameter that differs and per variant whose accuracy differs, one column per
experiment: `python -m alexnet_lab.results.experiments`.
"""

import re
from pathlib import Path
from typing import Any

import dvc.api
import pandas as pd
import yaml

from alexnet_lab import cli, console

NAME = re.compile(r"^metrics/|\.json(?=:)")  # before a metric that several files have
BREAK = re.compile(r"[.:]|_(?=accuracy)")  # between its words
ACCURACIES = (".held_back_accuracy", ".window_accuracy")  # to choose by, and to report


def table(experiments: list[dict[str, Any]], parameters: set[str]) -> pd.DataFrame:
    """What differs between experiments, as `dvc.api.exp_show` lists them.

    ``parameters`` are the top-level keys of params.yaml.
    """
    columns = {row["Experiment"] or row["rev"]: row for row in experiments}
    columns.pop("workspace", None)  # it is listed as an experiment, or is the committed state
    frame = pd.DataFrame(columns, dtype=object).map(_text)
    changed = frame[frame.nunique(axis=1) > 1]
    names = [name for name in changed.index if name.split(".")[0] in parameters]
    accuracies = {
        name: f"{BREAK.sub(' ', NAME.sub('', name))} (%)"
        for name in changed.index
        if name.endswith(ACCURACIES)
    }
    rows = changed.loc[[*names, *accuracies]].rename(index=accuracies)
    return rows.rename_axis("what differs")


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def main() -> None:
    """Print the table, or that there is no experiment."""
    experiments = dvc.api.exp_show()
    parameters = set(yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8")))
    if not any(row["Experiment"] for row in experiments):
        console.say("There is no experiment yet: dvc exp run -S lr=0.05 makes one.")
        return
    console.show_table("Experiments", table(experiments, parameters))


if __name__ == "__main__":
    cli.run(main)
