"""What is there to do? Runs are cut where they part: each stretch is one task of the engine."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from alexnet_lab.runs.records import keep
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.stage import known_epochs
from alexnet_lab.runs.store import Store


@dataclass(frozen=True)
class Stretch:
    """Some epochs that runs have in common, from one branching to the next."""

    run: Run  # one of those runs, up to where the stretch ends
    first: int  # how many epochs come before it
    before: str  # the name of the stretch that ends there, if there is one

    @property
    def name(self) -> str:
        """The name of its last epoch."""
        return self.run.names[-1]

    def start(self, store: Store) -> int:
        """After how many epochs it can begin, by what is known and by the states that are kept."""
        known = self.run.known(store, {})
        return self.run.start(known.index(None) if None in known else len(known), store)


def stretches(runs: Iterable[Run], wanted: frozenset[str], store: Store) -> dict[str, Stretch]:
    """What must be trained so that the runs are known: trunks before branches.

    ``wanted`` are the epochs where runs part or end. A stretch that is known is there too if a
    branch needs its last state and that is gone. What git knows is put into the store.
    """
    every, due = dict[str, Stretch](), set[str]()
    for run in runs:
        known = known_epochs(run, store)
        first, before = 0, ""
        for end, (name, record) in enumerate(zip(run.names, known, strict=True), 1):
            if record and not run.find(end - 1, store, {}):
                keep(store, record)
            if name in wanted:
                if name not in every or run.recipe.clean_train_loss:  # this one measures more
                    every[name] = Stretch(replace(run, names=run.names[:end]), first, before)
                if None in known[first:end]:
                    due.add(name)
                first, before = end, name
    for name in list(due):
        while every[name].start(store) < every[name].first:
            name = every[name].before
            due.add(name)
    return {name: piece for name, piece in every.items() if name in due}


def paths(due: dict[str, Stretch]) -> dict[str, int]:
    """How many epochs there are from each stretch's beginning to the end of the longest run."""
    longest = dict.fromkeys(due, 0)
    for name in sorted(due, key=lambda name: -len(due[name].run.names)):  # branches first
        piece = due[name]
        longest[name] += len(piece.run.names) - piece.first
        if piece.before in due:
            longest[piece.before] = max(longest[piece.before], longest[name])
    return longest
