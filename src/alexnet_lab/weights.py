"""The weights that a run ended with: from the store, from git, or trained again."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import torch

from alexnet_lab import console
from alexnet_lab.runs.committed import committed
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.store import Store
from alexnet_lab.runs.trainer import carry_out

Row = dict[str, str]


def first_layer(run: Run, store: Store, kept: Path) -> list[Row]:
    """The first layer's weights, four digits of each: one row per unit or filter.

    Keys: name (of the run's last epoch), shape (of one filter, such as "3 5 5"), weights (in that
    order, C first). If no state of the run's end is here, they are those that git has in the file
    ``kept``, or else it is trained again. UserError as carry_out raises it.
    """
    end = run.names[-1]
    state = store.state(end)
    if not state:
        if rows := [row for row in _committed(kept) if row.get("name") == end]:
            variant = rows[0]["variant"]  # another one of the same recipe has the same rows
            rows = [row for row in rows if row["variant"] == variant]
            return [{key: row[key] for key in ("name", "shape", "weights")} for row in rows]
        console.say(f"{run.title}: trained again, for its weights")
        state = _trained_again(run, store)
    parts = torch.load(io.BytesIO(state), "cpu", weights_only=True)
    weights = next(iter(parts["classifier"].values()))
    shape = " ".join(map(str, weights.shape[1:]))
    texts = (" ".join(f"{w:.4g}" for w in row.tolist()) for row in weights.flatten(1))
    return [{"name": end, "shape": shape, "weights": text} for text in texts]


def _trained_again(run: Run, store: Store) -> bytes:
    """The state of a run's end, in a store without records: what is known would not be trained."""
    end = run.names[-1]
    with store.lock(end):
        if state := store.state(end):  # by the process that we waited for
            return state
        again = Store(store.folder / "again" / end)
        for _ in carry_out(run, again, frozenset([end])):
            pass
        state = again.state(end) or b""
        store.keep_state(end, state)
        shutil.rmtree(again.folder, ignore_errors=True)
        return state


def _committed(path: Path) -> list[Row]:
    """The rows of a CSV file in the last commit; none if committed epochs do not count."""
    if not committed():
        return []
    command = ("git", "show", f"HEAD:./{path.as_posix()}")
    shown = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # fixed words
    return list(csv.DictReader(io.StringIO(shown.stdout.decode(errors="replace"))))
