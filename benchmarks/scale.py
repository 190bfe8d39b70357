"""How well does the engine fill two cores, and how well would it fill more?

On the sample in git, so that an epoch takes less than a second. What is measured is compared with
plain loops, without a store and without an engine, in two processes at once, before and after it:
two virtual cores may share one real core, so one process alone would be no fair basis. The engine
and its workers are running already; their start is measured apart.

More cores and GPUs than there are here are simulated: the study's runs, slice by slice, in the
order that the engine has for them, with times that are committed and the overhead that is measured
here.
"""

import argparse
import heapq
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import yaml
from distributed import Client

from alexnet_lab import cli, console, params
from alexnet_lab.cluster import head
from alexnet_lab.cluster.worker import SLICE, Terms
from alexnet_lab.data.datasets import load
from alexnet_lab.data.sample import read_sample
from alexnet_lab.learning.training import train
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.machine.files import read_json, write_json
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.machine.processes import side_by_side
from alexnet_lab.params.recipes import Arithmetic
from alexnet_lab.params.study import Study
from alexnet_lab.runs.names import code
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import branchings
from alexnet_lab.runs.store import Store

CORES = 2  # of this machine
SEEDS, EPOCHS = 4, 15  # of the schedules, cut every three epochs as in the text every 10 of 50
PLAIN = 8  # epochs of one plain loop
FEW = 1000  # images
START = 5.0  # seconds until a worker trains: Python, torch
LIKE = {  # its networks
    "rates": "batchnorm",
    "repair": "batchnorm",
    "modern": "batchnorm",
    "dropout": "augmentation",
    "longer": "augmentation",
    "low_rate": "schedules",
    "arithmetic": "schedules",
    "depth": "activation",
}


def plain(run: Run) -> Iterator[float]:
    """The seconds of each epoch but the first, with all evaluations."""
    make_deterministic(run.threads)
    epochs = train(run.recipe, load(run.data), run.seed, run.precision)
    next(epochs)
    for _ in range(PLAIN):
        start = time.perf_counter()
        next(epochs)
        yield time.perf_counter() - start


def one_epoch(runs: list[Run]) -> float:
    """The mean seconds of an epoch in plain loops, as many at once as there are cores."""
    loops = [partial(plain, run) for run in runs[:CORES]]
    return mean(side_by_side(loops, CORES))


def timed(client: Client, site: Site, runs: list[Run], wanted: frozenset[str]) -> tuple[float, int]:
    """The seconds that the engine takes from nothing, and of how many tasks: each ends in one of
    the wanted epochs, since none takes a minute.
    """
    shutil.rmtree(site.store.folder, ignore_errors=True)
    start = time.perf_counter()
    errors = head.carry_out(client, runs, wanted, site.store, "here", shared=True)
    if errors:
        raise RuntimeError(errors)
    return time.perf_counter() - start, len(wanted & {name for run in runs for name in run.names})


def small_study() -> Study:
    """With the schedules in small."""
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    raw["schedules"]["variants"]["step"]["schedule"]["every"] = EPOCHS // 5
    raw["schedules"]["train"]["epochs"], raw["schedules"]["seeds"] = EPOCHS, list(range(SEEDS))
    return params.parse(raw)


def measure(site: Site) -> dict[str, float]:
    """Efficiency, overhead of a task and makespan on this machine."""
    start = time.perf_counter()
    with head.engine(CORES, site.hardware) as client:
        site.store.keep_record("here", {"waits": True})
        head.admit(client, Terms(code(), {}, {}, "here", site.hardware.kind), site.hardware)
        started = time.perf_counter() - start
        variants = site.study.exercise("schedules").variants
        how: Arithmetic = "bf16" if site.hardware.bf16 else "fp32"
        runs = [run for variant in variants for run in site.runs("schedules", variant, how)]
        constant = site.runs("schedules", "constant", how)[: 2 * CORES]
        ends = frozenset(run.names[-1] for run in constant)
        timed(client, site, constant[:CORES], ends)  # each worker imports torch
        before = one_epoch(constant)
        whole, few = timed(client, site, constant, ends)
        between = one_epoch(constant)
        every = frozenset(name for run in constant for name in run.names)
        cut, many = timed(client, site, constant, every)
        wanted = branchings(runs)
        makespan, tasks = timed(client, site, runs, wanted)
        after = one_epoch(constant)
    epoch = mean((before, between, after))
    longest = max(len(run.names) for run in runs)
    bound = epoch * max(longest, len({name for run in runs for name in run.names}) / CORES)
    return {
        "start_s": started,
        "plain_epoch_s": epoch,
        "plain_epoch_s_least": min(before, between, after),
        "plain_epoch_s_most": max(before, between, after),
        "efficiency": len(constant) * EPOCHS * mean((before, between)) / CORES / whole,
        "overhead_per_task_s": CORES * (cut - whole) / (many - few),
        "schedules_tasks": tasks,
        "schedules_bound_s": bound,
        "schedules_makespan_s": makespan,
        "schedules_makespan_ratio": makespan / bound,
    }


def whole_study(site: Site, lr: float | None) -> list[Run]:
    """The runs of all exercises and variants, at their own rates or at one."""
    site = replace(site, study=site.study.model_copy(update={"lr": lr}))
    variants = [(e, v) for e, content in site.study.exercises.items() for v in content.variants]
    return [run for stage in variants for run in site.runs(*stage, "fp32")]


def simulated(
    runs: list[Run], seconds: Callable[[Run], float], workers: int, overhead: float
) -> dict[str, float]:
    """Give each free worker a slice of the run that has the longest way to go."""
    runs = sorted(runs, key=lambda run: run.recipe.clean_train_loss)
    due, kin = {run.names[-1]: run for run in runs}, dict[str, list[str]]()
    for name, run in due.items():
        kin.setdefault(run.names[0], []).append(name)
    wanted, done, under_way = branchings(runs), set[str](), dict[str, list[str]]()
    queue, running = list[tuple[int, str]](), list[tuple[float, str, list[str]]]()
    now, work, tasks = START, 0.0, 0

    def submit(names: list[str]) -> None:
        left = {n: [e for e in due[n].names if e not in done] for n in names if n not in under_way}
        for name in head.ready(due, left, [under_way[n] for n in names if n in under_way]):
            under_way[name] = left[name]
            longest = max(len(some) for some in left.values() if some and some[0] in left[name])
            heapq.heappush(queue, (-longest, name))

    for names in kin.values():
        submit(names)
    while queue or running:
        while queue and len(running) < workers:
            _, name = heapq.heappop(queue)
            epochs, each = under_way[name], seconds(due[name])
            ends = (n for n, epoch in enumerate(epochs, 1) if epoch in wanted or n * each > SLICE)
            epochs = epochs[: next(ends)]
            tasks, work = tasks + 1, work + len(epochs) * each
            heapq.heappush(running, (now + len(epochs) * each + overhead, name, epochs))
        now, name, epochs = heapq.heappop(running)
        done.update(epochs)
        del under_way[name]
        submit(kin[due[name].names[0]])
    longest = max(len(run.names) * seconds(run) for run in runs)
    return {
        "tasks": tasks,
        "work_s": work,
        "longest_run_s": longest,
        "makespan_s": now,
        "efficiency": work / (workers * now),
        "of_the_bound": max(longest, work / workers) / now,
    }


def on_a_gpu(run: Run) -> float:
    """The least seconds of the variant's committed epochs: 30 runs shared that GPU, at the end few.

    If it ran on a CPU, those of the exercise with its networks; for the small networks these are
    of a CPU core, which is no faster than a GPU.
    """
    exercise, variant, *_ = run.title.split()
    rows = pd.read_csv(f"metrics/timing/{exercise}/{variant}.csv")
    if not rows["hardware"].str.contains("NVIDIA").all():
        files = Path("metrics/timing", LIKE.get(exercise, exercise)).glob("*.csv")
        rows = pd.concat([pd.read_csv(path) for path in files])
    return float(rows["seconds"].min())


def on_a_core(run: Run) -> float:
    """Twice what metrics/speed.json has for such a network, since there two cores share a run's."""
    exercise, variant, *_ = run.title.split()
    cases, like = read_json(Path("metrics/speed.json")), LIKE.get(exercise, exercise)
    normalised = "with_bn" if variant.startswith("with_bn") else "without_bn"
    names = (f"{like}@{name}" for name in (variant, normalised, "none", "relu", "constant"))
    return 2 * float(next(cases[name]["engine_s"] for name in names if name in cases))


def main() -> None:
    """Measure, simulate, print and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    os.environ["ALEXNET_LAB_CLUSTER"] = "auto"
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for images in ("mnist", "cifar10"):
            (folder / images).mkdir()
            for key, array in read_sample(Path("data/sample") / images).items():
                np.save(folder / images / f"{key}.npy", array[:FEW])
        os.environ["ALEXNET_LAB_RUNS"] = str(folder / "runs")
        study = params.load()
        site = Site(study, folder, this_machine(), Store(folder / "runs"))
        measured = measure(replace(site, study=small_study()))
        one = whole_study(site, None)
        three = [run for lr in (0.003, 0.01, 0.03) for run in whole_study(site, lr)]
    overhead = measured["overhead_per_task_s"]
    projected = {
        "8 GPUs": simulated(one, on_a_gpu, 8, overhead),
        "64 cores": simulated(one, on_a_core, 64, overhead),
        "64 cores, three rates": simulated(three, on_a_core, 64, overhead),
    }
    for case in (measured, *projected.values()):
        for key, value in case.items():
            case[key] = round(value, 4 if abs(value) < 10 else 1)
    console.show_table("On this machine", pd.DataFrame({"": measured}))
    console.show_table("Simulated: the whole study", pd.DataFrame(projected))
    hardware = {"hardware": this_machine().name, "load_before": round(load_before, 1)}
    write_json({**hardware, "measured": measured, "simulated": projected}, args.out)


if __name__ == "__main__":
    cli.run(main)
