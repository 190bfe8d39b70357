"""One run: one seed of one variant. What it is made of, and what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alexnet_lab.machine.hardware import Hardware
from alexnet_lab.params.recipes import Arithmetic, Recipe
from alexnet_lab.runs.records import Record, find
from alexnet_lab.runs.store import Store


@dataclass(frozen=True)
class Run:
    """What a run is made of, and the names of its epochs."""

    title: str  # such as "activation relu seed 0"
    recipe: Recipe
    data: Path  # the folder of a prepared data set
    held_back: int  # of its training images
    seed: int
    threads: int  # CPU threads
    precision: Arithmetic
    hardware: Hardware
    names: tuple[str, ...]

    def find(self, epoch: int, store: Store, others: Mapping[str, Record]) -> Record | None:
        """An epoch's record (from 0), from the store or from others; None if it is not known."""
        return find(store, self.names[epoch], others, self.recipe.clean_train_loss)

    def known(self, store: Store, others: Mapping[str, Record]) -> list[Record | None]:
        """Each epoch's record, or None."""
        return [self.find(epoch, store, others) for epoch in range(len(self.names))]

    def start(self, epoch: int, store: Store) -> int:
        """How many epochs training can start after, to get to one: there is a state of the last."""
        return next((n for n in range(epoch, 0, -1) if store.has_state(self.names[n - 1])), 0)
