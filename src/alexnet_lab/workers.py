"""The seeds of one variant, side by side: a process a seed, the same bits as one by one."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import Queue

from alexnet_lab.datasets import load
from alexnet_lab.devices import choose_device, core_count, make_deterministic
from alexnet_lab.errors import UserError
from alexnet_lab.params import Arithmetic, Recipe
from alexnet_lab.training import Epoch, train


@dataclass(frozen=True)
class Job:
    """What all seeds of one variant share."""

    recipe: Recipe
    data: Path  # a prepared folder
    threads: int  # CPU threads of one run
    precision: Arithmetic


def train_seeds(job: Job, seeds: Sequence[int]) -> Iterator[Epoch]:
    """Every epoch of every seed, as it is done; seeds may interleave.

    UserError if the recipe does not fit the data.
    """
    workers = worker_count(len(seeds), job.threads)
    if workers == 1:
        for seed in seeds:
            yield from _run(job, seed)
        return
    context = get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        queue = manager.Queue()
        yield from _received(queue, [pool.submit(_send, job, seed, queue) for seed in seeds])


def worker_count(seeds: int, threads: int) -> int:
    """One on a GPU, else as many as the cores bear; ALEXNET_LAB_WORKERS overrides."""
    asked = os.environ.get("ALEXNET_LAB_WORKERS")
    if asked is not None:
        if not asked.isdecimal() or int(asked) < 1:
            raise UserError(f"ALEXNET_LAB_WORKERS is '{asked}'; it should be a number from 1.")
        return min(seeds, int(asked))
    if choose_device().type == "cuda":
        return 1
    return max(1, min(seeds, core_count() // threads))


def _run(job: Job, seed: int) -> Iterator[Epoch]:
    make_deterministic(job.threads)
    yield from train(job.recipe, load(job.data).to(choose_device()), seed, job.precision)


def _send(job: Job, seed: int, queue: "Queue[Epoch | None]") -> None:
    for epoch in _run(job, seed):
        queue.put(epoch)


def _received(queue: "Queue[Epoch | None]", jobs: "list[Future[None]]") -> Iterator[Epoch]:
    """What the jobs send until all are done; raises what any of them raised."""
    for job in jobs:
        job.add_done_callback(lambda _: queue.put(None))
    running = len(jobs)
    while running:
        epoch = queue.get()
        if epoch is None:
            running -= 1
        else:
            yield epoch
    for job in jobs:
        job.result()
