"""One stage of training: a variant's runs, side by side, and what an idle core does meanwhile."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from alexnet_lab.errors import UserError
from alexnet_lab.machine.hardware import Hardware, core_count, memory_left
from alexnet_lab.machine.processes import preload, side_by_side
from alexnet_lab.runs.ahead import stages_to_come
from alexnet_lab.runs.committed import committed, committed_places
from alexnet_lab.runs.records import Record, keep
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.store import Store

SPARE_MEMORY = 4 * 2**30  # bytes that are left before an idle core takes what is not asked for yet
Task = Callable[[], Iterator[tuple[Record, bool]]]


def runs_of(site: Site, exercise: str, variant: str, say: Callable[[str], None]) -> list[Run]:
    """A variant's runs. UserError if its data is not there or its recipe does not fit.

    If all their epochs are known, bf16's gradient was compared when they were trained.
    """
    preload("alexnet_lab.runs.trainer")
    runs = site.runs(exercise, variant, site.likely_precision(exercise, variant))
    if all(None not in known_epochs(run, site.store) for run in runs):
        return runs
    return site.runs(exercise, variant, site.precision(exercise, variant, say))


def train_runs(
    site: Site, exercise: str, variant: str, runs: Sequence[Run]
) -> Iterator[tuple[Record, bool]]:
    """Yield every epoch of a variant's runs, and whether it was trained for this.

    What is known comes first; the rest is trained, with runs side by side. UserError if a recipe
    does not fit the data or the memory, or if the store cannot be read or written.
    """
    left = []
    for run in runs:
        known = known_epochs(run, site.store)
        if None not in known:
            yield from ((record, False) for record in known if record)
            continue
        left.append(run)
        for epoch, record in enumerate(known):
            if record and not run.find(epoch, site.store, {}):
                keep(site.store, record)
    if not left:
        return
    study = list(site.all_runs())
    wanted = branchings([run for _, _, others in study for run in others] + left)
    come = stages_to_come(site.study, exercise, variant)
    later = [run for *stage, others in study if tuple(stage) in come for run in others]
    tasks = [partial(_carry_out, run, site.store, wanted) for run in left]
    workers = worker_count(site.study.threads, site.hardware)
    yield from side_by_side(tasks, workers, spare_tasks(left, later, site.store, wanted))


def known_epochs(run: Run, store: Store) -> list[Record | None]:
    """Each epoch's record, from the store and else from git, or None."""
    known = run.known(store, {})
    return run.known(store, committed()) if None in known else known


def branchings(runs: Iterable[Run]) -> frozenset[str]:
    """The epochs whose states are worth keeping: where runs part, and where each ends."""
    after: dict[str, set[str]] = {}
    for run in runs:
        for name, following in zip(run.names, (*run.names[1:], ""), strict=True):
            after.setdefault(name, set()).add(following)
    return frozenset(name for name, next_ in after.items() if len(next_) > 1 or "" in next_)


def spare_tasks(
    running: Sequence[Run], later: list[Run], store: Store, wanted: frozenset[str]
) -> Callable[[], Task | None]:
    """What an idle core can do: the first later run that no running one is computing already."""
    busy = {name for run in running for name in run.names}

    def spare() -> Task | None:
        if memory_left() < SPARE_MEMORY:
            return None
        for run in list(later):
            known = run.known(store, {})
            if None not in known:
                later.remove(run)
            elif run.names[known.index(None)] not in busy:
                later.remove(run)
                busy.update(run.names)
                return partial(_carry_out, run, store, wanted)
        return None

    return spare


def _carry_out(run: Run, store: Store, wanted: frozenset[str]) -> Iterator[tuple[Record, bool]]:
    from alexnet_lab.runs.trainer import carry_out  # imports torch, in a process of its own

    return carry_out(run, store, wanted)


def worker_count(threads: int, hardware: Hardware) -> int:
    """One process on a GPU, else as many as there are cores for; ALEXNET_LAB_WORKERS overrides.

    UserError if that is no whole number from 1.
    """
    setting = os.environ.get("ALEXNET_LAB_WORKERS")
    if not setting:
        return 1 if hardware.device == "cuda" else max(1, core_count() // threads)
    if not setting.isdecimal() or int(setting) < 1:
        raise UserError(f"ALEXNET_LAB_WORKERS is '{setting}'; it should be a whole number from 1.")
    return int(setting)


def outlook(runs: Sequence[Run], store: Store, exercise: str, variant: str) -> Iterator[str]:
    """What is known of a variant's runs and what is left, one line for seeds that are alike."""
    texts: dict[str, list[int]] = {}
    for run in runs:
        texts.setdefault(_outlook(run, store), []).append(run.seed)
    for text, seeds in texts.items():
        yield f"{exercise} {variant}, seed{'s' * (len(seeds) > 1)} {_listed(seeds)}: {text}"
    nothing_known = all(record is None for run in runs for record in known_epochs(run, store))
    if nothing_known and (why := _why_not_from_git(runs[0], exercise, variant)):
        yield f"The epochs of {exercise} {variant} in git do not count here: {why}."


def _listed(seeds: list[int]) -> str:
    together = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}–{seeds[-1]}" if together else ", ".join(map(str, seeds))


def _outlook(run: Run, store: Store) -> str:
    known = known_epochs(run, store)
    if None not in known:
        return f"all {_count(len(known))} known"
    first, missing = known.index(None), known.count(None)
    start = run.start(first, store)
    text = f"{_count(missing)} to train"
    if missing < len(known):
        gaps = missing + first < len(known)
        before = _count(len(known) - missing) if gaps else _epochs(1, first)
        text = f"{before} known, {missing} to train"
    if start < first:
        again = _epochs(start + 1, first).removeprefix("epochs ")
        text += f", and {again} again, since no state after epoch {first} is kept here"
    return text


def _count(epochs: int) -> str:
    return f"{epochs} epoch{'s' * (epochs != 1)}"


def _epochs(first: int, last: int) -> str:
    return f"epoch {first}" if first == last else f"epochs {first}–{last}"


def _why_not_from_git(run: Run, exercise: str, variant: str) -> str:
    places = committed_places(exercise, variant)
    here = [p for p, name in places if p == run.precision and run.hardware.is_kind_of(name)]
    if here or not places:
        return "they have other parameters, data, code or versions" if here else ""
    others = " and ".join(sorted(f"{name} in {precision}" for precision, name in places))
    return f"they ran on {others}, and this is {run.hardware.name} in {run.precision}"
