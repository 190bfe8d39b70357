"""Epochs that are known: their numbers, their names, and where they were computed."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.runs.names import versions
from alexnet_lab.runs.store import Store


@dataclass(frozen=True, order=True)
class Record:
    """An epoch that is known."""

    epoch: Epoch
    name: str
    precision: str
    hardware: str

    def serves(self, clean: bool) -> bool:
        """Whether everything was measured that a run measures; ``clean`` is its recipe's."""
        measured = (self.epoch.train_loss_clean, self.epoch.train_accuracy)
        return not clean or None not in measured

    def measured(self, clean: bool) -> "Record":
        """The record with what a run measures, and no more."""
        if clean:
            return self
        return replace(self, epoch=replace(self.epoch, train_loss_clean=None, train_accuracy=None))


def keep(store: Store, record: Record) -> None:
    """Write a record into the store."""
    store.keep_record(record.name, asdict(record))


def find(store: Store, name: str, others: Mapping[str, Record], clean: bool) -> Record | None:
    """The record of an epoch from the store, or from others; None if it is not known."""
    content = store.record(name)
    candidates = []
    if content:
        candidates.append(Record(Epoch(**content.pop("epoch")), **content | {"name": name}))
    candidates += [others[name]] if name in others else []
    return next((record.measured(clean) for record in candidates if record.serves(clean)), None)


def curves(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows of the numbers that are the same whenever the run is repeated."""
    rows = (vars(record.epoch) for record in records)
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def timing(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows of the seconds, which differ at every run, with where it took place, and the name.

    The name says these versions too, so that a known epoch was trained with them.
    """
    return [
        {
            "seed": record.epoch.seed,
            "epoch": record.epoch.epoch,
            "seconds": record.epoch.seconds,
            "precision": record.precision,
            "hardware": record.hardware,
            **versions(),
            "name": record.name,
        }
        for record in records
    ]
