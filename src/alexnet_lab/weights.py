"""The weights that a run ended with: from the store, or trained again."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from alexnet_lab import console
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.store import Store
from alexnet_lab.runs.trainer import carry_out


def first_layer(run: Run, store: Store) -> list[dict[str, str]]:
    """The first layer's weights, four digits of each: one row per unit or filter.

    Keys: shape (of one filter, such as "3 5 5"), weights (in that order, C first). If no state
    of the run's end is kept here, it is trained again. UserError as carry_out raises it.
    """
    end = run.names[-1]
    if not store.has_state(end):
        console.say(f"{run.title}: trained again, for its weights")
        with TemporaryDirectory() as folder:
            again = Store(Path(folder))
            for _ in carry_out(run, again, frozenset([end])):
                pass
            store.keep_state(end, again.state(end) or b"")
    parts = torch.load(io.BytesIO(store.state(end) or b""), "cpu", weights_only=True)
    weights = next(iter(parts["classifier"].values()))
    shape = " ".join(map(str, weights.shape[1:]))
    texts = (" ".join(f"{w:.4g}" for w in row.tolist()) for row in weights.flatten(1))
    return [{"shape": shape, "weights": text} for text in texts]
