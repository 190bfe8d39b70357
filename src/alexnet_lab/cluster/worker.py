"""On a worker: may it take part? If so, it trains a minute of one run after the other."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from alexnet_lab.errors import UserError
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.runs import names
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.store import Store, the_store

OURS = "alexnet-lab"  # the plugin, the topic of what workers say, and what a task takes one of
SLICE = 60  # seconds after which a worker asks what is most urgent, and sends home what it has
Findings = tuple[dict[str, dict[str, Any]], dict[str, bytes]]  # records and states by name


@dataclass
class Terms(WorkerPlugin):  # type: ignore[misc]
    """What a worker must have; one that comes later is asked too.

    ``kind`` is of hardware (empty: any), ``data`` has the digest of each folder, and ``token`` is
    a state in the head's store: who finds it shares that store.
    """

    code: str
    versions: dict[str, str]
    data: dict[Path, str]
    token: str
    kind: str
    name = OURS

    async def setup(self, worker: Worker) -> None:
        """Let the worker take tasks, or say why not."""
        self.shares = False
        try:
            self.hardware = this_machine()
            self.shares = the_store().state(self.token) is not None
            reason = next(self.objections(), "")
        except UserError as error:
            reason = str(error)
        self.refused = f"Worker {worker.name} is left out. {reason}" if reason else ""
        if reason:
            worker.log_event(OURS, {"refused": self.refused})
        await worker.set_resources(**{OURS: float(not reason)})

    def objections(self) -> Iterator[str]:
        """Why the worker cannot take part."""
        if names.code() != self.code:
            yield "It has other code: check out the same commit there, and start it again."
        for package, wanted in self.versions.items():
            if (here := version(package)) != wanted:
                yield f"It has {package} {here}, and this study has {wanted}: install that there."
        if self.kind not in ("", self.hardware.kind):
            yield (
                f"It is {self.hardware.kind}, and this study runs on {self.kind}: the last digits "
                "would differ. ALEXNET_LAB_CLUSTER_MIX=1 takes it nonetheless."
            )
        for folder, digest in self.data.items():
            if names.images.__wrapped__(folder) != digest:
                yield f"Its {folder} is not the data of this study: copy that folder there."


def take(store: Store, findings: Findings) -> None:
    """Keep what the store does not have."""
    for name, record in findings[0].items():
        known = store.record(name)
        more = record["epoch"]["train_accuracy"] is not None
        if not known or (more and known["epoch"]["train_accuracy"] is None):
            store.keep_record(name, record)
    for name, state in findings[1].items():
        if not store.has_state(name):
            store.keep_state(name, state)


def give(store: Store, records: tuple[str, ...], states: tuple[str, ...]) -> Findings:
    """What a store has of these names."""
    return (
        {name: record for name in records if (record := store.record(name))},
        {name: state for name in states if (state := store.state(name))},
    )


def train(run: Run, first: int, wanted: frozenset[str], known: Findings, token: str) -> Findings:
    """Train a slice of a run: for a minute or so, or to a wanted epoch, whose state stays.

    What the head's study trains of the run begins after its ``first`` epochs. Returns what the
    head's store may lack. UserError as carry_out raises it.
    """
    from alexnet_lab.runs.trainer import carry_out  # imports torch, which the head does without

    worker, store = get_worker(), the_store()
    terms, key = worker.plugins[OURS], worker.get_current_task()
    if terms.token != token:
        raise UserError("Another study has begun on this scheduler; one at a time, please.")
    if names.code.__wrapped__() != terms.code:
        raise UserError("The code has changed under a worker: start it again.")
    take(store, known)
    run, stop = replace(run, hardware=terms.hardware), time.monotonic() + SLICE
    for record, trained in carry_out(run, store, wanted):
        if trained:
            said = {"end": run.names[-1], "by": str(worker.name), "record": asdict(record)}
            worker.log_event(OURS, said)
        if (task := worker.state.tasks.get(key)) is None or task.state != "executing":
            raise UserError("Nobody waits for this any more: the head is gone.")
        if trained and (record.name in wanted or time.monotonic() > stop):
            break
    newest = run.start(run.names.index(record.name) + 1, store)  # a later one is of another study
    for name in run.names[first : max(0, newest - 1)]:
        if name not in wanted:
            store.drop_state(name)
    states = run.names[max(0, newest - 1) : newest]
    return ({}, {}) if terms.shares else give(store, run.names[first:], states)


def gradient_error(run: Run) -> float:
    """How far off bf16's gradient is here: what Site.precision asks."""
    from alexnet_lab.learning import precision

    device = get_worker().plugins[OURS].hardware.device
    return precision.gradient_error(run.recipe, run.data, run.threads, device)
