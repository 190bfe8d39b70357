"""The seeds of one variant, side by side: one process per seed, the same bits as one by one."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet_lab.data.datasets import load
from alexnet_lab.errors import UserError
from alexnet_lab.learning.precision import choose
from alexnet_lab.learning.training import Epoch, train
from alexnet_lab.machine.checkpoint import Checkpoints, folder_of
from alexnet_lab.machine.devices import (
    SMALLER,
    choose_device,
    core_count,
    hardware_name,
    make_deterministic,
    within_memory,
)
from alexnet_lab.machine.processes import DeathError, side_by_side
from alexnet_lab.params.recipes import Arithmetic, Recipe
from alexnet_lab.params.study import Study

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What all seeds of one variant share."""

    name: str
    recipe: Recipe
    data: Path  # the folder of a prepared data set
    threads: int  # CPU threads of one run
    precision: Arithmetic
    hardware: str
    checkpoints: Path  # a folder, named by a hash of all of the above and of the code

    def title(self, seed: int) -> str:
        """The name of one run, such as "activation relu seed 0"."""
        return f"{self.name} seed {seed}"

    def checkpoints_of(self, seed: int) -> Checkpoints:
        """The checkpoints of one seed, in a folder beneath."""
        return Checkpoints(self.checkpoints / f"seed{seed}")


def plan(study: Study, exercise: str, variant: str, data: Path, say: Say) -> Job:
    """The variant's job on this machine; ``data`` is the folder of its prepared data set.

    UserError if the recipe does not fit the data or the memory.
    """
    name, recipe = f"{exercise} {variant}", study.recipe(exercise, variant)
    make_deterministic(study.threads)
    device, images = choose_device(), load(data)
    with within_memory():
        precision = choose(study.precision, recipe, images.to(device), say)
    settings = (recipe, data, study.threads, precision, hardware_name(device))
    return Job(name, *settings, folder_of(name, data, *settings))


def train_seeds(job: Job, seeds: Sequence[int]) -> Iterator[Epoch]:
    """Yield every epoch of every seed, those of checkpoints at once; seeds may interleave.

    UserError if the recipe does not fit the data or the memory, or if a disk is full.
    """
    workers = worker_count(len(seeds), job.threads)
    if workers == 1:
        for seed in seeds:
            yield from _run(job, seed)
        return
    try:
        yield from side_by_side([partial(_run, job, seed) for seed in seeds], workers)
    except DeathError as death:
        advice = f"if memory ran out, {SMALLER}" if death.killed else "its own message is above."
        raise UserError(f"{death}; {advice}") from death


def done_before(job: Job, seeds: Sequence[int], say: Say) -> dict[int, int]:
    """Count the epochs of each seed that the checkpoints hold, and say where the seed goes on."""
    done = {}
    for seed in seeds:
        with within_memory():
            state = job.checkpoints_of(seed).load(say)
        done[seed] = len(state["epochs"]) if state else 0
        if state:
            say(f"{job.title(seed)} goes on after epoch {done[seed]}/{job.recipe.epochs}")
    return done


def worker_count(seeds: int, threads: int) -> int:
    """One process on a GPU, else as many as there are cores for; ALEXNET_LAB_WORKERS overrides."""
    setting = os.environ.get("ALEXNET_LAB_WORKERS")
    if setting is not None:
        if not setting.isdecimal() or int(setting) < 1:
            raise UserError(
                f"ALEXNET_LAB_WORKERS is '{setting}'; it should be a whole number from 1."
            )
        return min(seeds, int(setting))
    if choose_device().type == "cuda":
        return 1
    return max(1, min(seeds, core_count() // threads))


def _run(job: Job, seed: int) -> Iterator[Epoch]:
    make_deterministic(job.threads)
    with within_memory():
        data = load(job.data).to(choose_device())
        yield from train(job.recipe, data, seed, job.precision, job.checkpoints_of(seed))
