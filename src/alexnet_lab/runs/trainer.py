"""Train what is not known of a run, and keep it. A run has a process of its own for this."""

import pickle
from collections.abc import Iterator

import torch

from alexnet_lab.data.datasets import load
from alexnet_lab.errors import UserError
from alexnet_lab.learning.training import Learner
from alexnet_lab.machine.devices import make_deterministic, within_memory
from alexnet_lab.machine.files import digits
from alexnet_lab.runs.records import Record, curves, keep
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.store import Store

KEPT = 2  # states of a run under way: the newest, and the one before in case that is damaged


def carry_out(run: Run, store: Store, wanted: frozenset[str]) -> Iterator[tuple[Record, bool]]:
    """Yield every epoch's record in order, and whether it was trained for this.

    Only what the store does not have is trained; if its state of the epoch before is gone, earlier
    epochs are trained again, and yielded again. The states of the ``wanted`` epochs stay, besides
    the newest. If another process is training an epoch, this one waits for it. UserError if memory
    is too small, the recipe does not fit the data, the store cannot be read or written, or an
    epoch that is trained again differs.
    """
    make_deterministic(run.threads)
    with within_memory():
        yield from _carry_out(run, store, wanted)


def _carry_out(run: Run, store: Store, wanted: frozenset[str]) -> Iterator[tuple[Record, bool]]:
    learner: Learner | None = None
    passing: list[str] = []  # states that are kept for a crash alone
    for epoch, name in enumerate(run.names):
        if record := run.find(epoch, store, {}):
            yield record, False
            continue
        with store.lock(name):
            if record := run.find(epoch, store, {}):  # by the process that we waited for
                yield record, False
                continue
            if learner is None or learner.done != epoch:
                learner = _restored(run, store, epoch)
            while learner.done <= epoch:  # first those whose state is gone, again
                record = _trained(learner, run)
                known = run.find(learner.done - 1, store, {})
                _check(record, known, run)
                store.keep_state(record.name, learner.state())
                if not known:
                    keep(store, record)
                yield record, True
                passing += [] if record.name in wanted else [record.name]
                while len(passing) > (KEPT if learner.done < len(run.names) else 0):
                    store.drop_state(passing.pop(0))


def _restored(run: Run, store: Store, epochs: int) -> Learner:
    """The network after at most this many epochs: the newest whole state, or its beginning."""
    data = load(run.data, run.held_back).to(torch.device(run.hardware.device))
    while start := run.start(epochs, store):
        name, learner = run.names[start - 1], Learner(run.recipe, data, run.seed, run.precision)
        try:
            if state := store.state(name):
                learner.restore(state, start)
                return learner
        except (pickle.UnpicklingError, RuntimeError, LookupError, ValueError):  # another's state
            store.drop_state(name)
        epochs = start - 1
    return Learner(run.recipe, data, run.seed, run.precision)


def _trained(learner: Learner, run: Run) -> Record:
    """Train one epoch more."""
    epoch = learner.epoch()
    return Record(epoch, run.names[epoch.epoch - 1], run.precision, run.hardware.name)


def _check(again: Record, known: Record | None, run: Run) -> None:
    """UserError if an epoch that was trained again has other numbers than it had."""
    for key, value in curves([known])[0].items() if known else ():
        now = getattr(again.epoch, key)
        if digits(now) != digits(value):
            raise UserError(
                f"{run.title} epoch {again.epoch.epoch}: trained again, its {key} is "
                f"{digits(now)}, not {digits(value)} as before, so this machine does not repeat "
                "itself. To train everything again, name an empty folder in ALEXNET_LAB_RUNS and "
                "set ALEXNET_LAB_COMMITTED=0."
            )
