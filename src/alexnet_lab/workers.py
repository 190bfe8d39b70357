"""The seeds of one variant, side by side: a process a seed, the same bits as one by one."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from queue import Queue

from alexnet_lab.datasets import load
from alexnet_lab.devices import choose_device, core_count, make_deterministic
from alexnet_lab.errors import UserError
from alexnet_lab.params import Recipe
from alexnet_lab.training import Epoch, train


def train_seeds(
    recipe: Recipe, folder: Path, seeds: Sequence[int], threads: int
) -> Iterator[Epoch]:
    """Every epoch of every seed, as it is done; seeds may interleave.

    UserError if the recipe does not fit the data.
    """
    workers = worker_count(len(seeds), threads)
    if workers == 1:
        for seed in seeds:
            yield from _run(recipe, folder, seed, threads)
        return
    context = get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        queue = manager.Queue()
        jobs = [pool.submit(_send, recipe, folder, seed, threads, queue) for seed in seeds]
        yield from _received(queue, jobs)


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


def _run(recipe: Recipe, folder: Path, seed: int, threads: int) -> Iterator[Epoch]:
    make_deterministic(threads)
    yield from train(recipe, load(folder).to(choose_device()), seed)


def _send(
    recipe: Recipe, folder: Path, seed: int, threads: int, queue: "Queue[Epoch | None]"
) -> None:
    for epoch in _run(recipe, folder, seed, threads):
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
