"""How much time does the store save, and what does it cost?

The real commands are timed, in a copy of this checkout. More seeds and the five schedules are on
the sample in git, with fewer epochs in the same proportions; more epochs are on the full MNIST,
since on the sample they would take no longer than the start of a process. Each case is a ratio of
two times that are measured in turn in one run.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from alexnet_lab import cli, console, params
from alexnet_lab.data.datasets import load
from alexnet_lab.learning.training import Learner
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.machine.files import write_json
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.runs.records import Record, keep
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.store import Store
from tools.unchanged import copy_of_this

SCHEDULES = ("constant", "step", "exponential", "cosine", "warmup_cosine")
FORCED = ("repro", "--force", "--single-item")
SAVES = 20  # how often a state is kept to time it


class Project:
    """A copy of this checkout that trains on the sample, with no epoch known."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stores = copy_of_this(folder), 0
        self.forget()
        self.set(data={"source": "sample", "held_back": 0}, threads=1)
        self.dvc("repro", "--quiet", "prepare")

    def forget(self) -> None:
        """Begin a store of its own."""
        self.stores += 1
        self.store = self.folder.parent / f"runs{self.stores}"

    def set(self, **values: Any) -> None:
        """Change top-level keys of params.yaml."""
        path = self.folder / "params.yaml"
        path.write_text(
            yaml.safe_dump(
                yaml.safe_load(path.read_text(encoding="utf-8")) | values, sort_keys=False
            ),
            encoding="utf-8",
        )

    def cut_every(self, epochs: int) -> None:
        """Change when the step schedule cuts the rate."""
        path = self.folder / "params.yaml"
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        raw["schedules"]["variants"]["step"]["schedule"]["every"] = epochs
        path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")

    def dvc(self, *command: str) -> float:
        """Run dvc; return its seconds."""
        where = {"DVC_ROOT": str(self.folder), "ALEXNET_LAB_RUNS": str(self.store)}
        start = time.perf_counter()
        subprocess.run(  # noqa: S603  # fixed words
            ["dvc", *command],  # noqa: S607
            cwd=self.folder,
            env=os.environ | where | {"ALEXNET_LAB_COMMITTED": "0"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - start


def more_seeds(project: Project) -> dict[str, float]:
    """Two more seeds on three, against all five."""
    stage = (*FORCED, "schedules@constant")
    project.set(seeds=[0, 1, 2, 3, 4], epochs=20)
    project.forget()
    whole = project.dvc(*stage)
    project.forget()
    project.set(seeds=[0, 1, 2])
    project.dvc(*stage)
    project.set(seeds=[0, 1, 2, 3, 4])
    return {"whole_s": whole, "reused_s": project.dvc(*stage)}


def more_epochs(project: Project) -> dict[str, float]:
    """A fifth more epochs, as sixty after fifty, against all of them."""
    stage = (*FORCED, "activation@relu")
    shutil.copytree("data/mnist", project.folder / "data/mnist", dirs_exist_ok=True)
    project.set(seeds=[0, 1], epochs=120)
    project.forget()
    whole = project.dvc(*stage)
    project.forget()
    project.set(epochs=100)
    project.dvc(*stage)
    project.set(epochs=120)
    return {"whole_s": whole, "reused_s": project.dvc(*stage)}


def study(project: Project) -> dict[str, float]:
    """The five schedules: run by run, with what they share, and with the idle core at work."""
    project.set(seeds=[0, 1, 2], epochs=20)
    project.cut_every(4)  # the text: every 10 of 50
    stages = [f"schedules@{name}" for name in SCHEDULES]
    whole = shared = 0.0
    for stage in stages:
        project.forget()
        whole += project.dvc(*FORCED, stage)
    project.forget()
    for stage in stages:
        shared += project.dvc(*FORCED, stage)
    project.forget()
    return {"whole_s": whole, "shared_s": shared, "reused_s": project.dvc(*FORCED, *stages)}


def cost(exercise: str, variant: str, folder: Path) -> dict[str, float]:
    """The seconds of keeping one epoch, against those of training and measuring it in full."""
    site = Site(params.load(), Path("data"), this_machine(), Store(folder))
    run = site.runs(exercise, variant, site.likely_precision(exercise, variant))[0]
    make_deterministic(run.threads)
    learner = Learner(run.recipe, load(run.data).to(torch.device("cpu")), 0, run.precision)
    learner.epoch()
    start = time.perf_counter()
    record = Record(learner.epoch(), run.names[1], run.precision, site.hardware.name)
    trained = time.perf_counter()
    for _ in range(SAVES):
        with site.store.lock(record.name):
            site.store.keep_state(record.name, learner.state())
            keep(site.store, record)
    kept = (time.perf_counter() - trained) / SAVES
    return {"whole_s": trained - start, "reused_s": kept}


def main() -> None:
    """Measure the cases, print a table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "project")
        cases = {
            "two more seeds on three": more_seeds(project),
            "five schedules": study(project),
            "a fifth more epochs": more_epochs(project),
            "keeping an epoch of activation@relu": cost("activation", "relu", Path(folder)),
            "keeping an epoch of schedules@step": cost("schedules", "step", Path(folder)),
        }
    for case in cases.values():
        for name, seconds in list(case.items()):
            case[name.replace("_s", "_ratio")] = round(seconds / case["whole_s"], 4)
            case[name] = round(seconds, 3)
        del case["whole_ratio"]
    frame = pd.DataFrame(cases).T
    console.show_table(f"Seconds, and their share of the whole, on {this_machine().name}", frame)
    write_json({"hardware": this_machine().name, **cases}, args.out)


if __name__ == "__main__":
    cli.run(main)
