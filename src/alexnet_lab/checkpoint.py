"""Where an interrupted run goes on: its state after each epoch, outside DVC's outputs.

A run's folder is named by a hash of all that its numbers come from, so a stale state is
never found. Random streams are derived from the epoch, so there is none to be kept.
"""

import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alexnet_lab.files import replace

KEPT = 2  # the newest, and the one before in case the newest is damaged
DIGEST = hashlib.sha256().digest_size  # bytes before the content of a file


class DamageError(Exception):
    """A checkpoint is not what was written."""


@dataclass(frozen=True)
class Checkpoints:
    """Those of one run (one seed); ``folder`` need not exist."""

    folder: Path

    def save(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Write the state after an epoch (from 1) and keep the one before. UserError as replace."""
        buffer = io.BytesIO()  # torch.save to a file hides why a disk refuses
        torch.save(state, buffer)
        content = buffer.getvalue()
        signed = hashlib.sha256(content).digest() + content
        replace(self.folder / f"epoch-{epoch:06}.pt", lambda new: new.write_bytes(signed))
        for path in self._newest_first()[KEPT:]:
            path.unlink(missing_ok=True)

    def load(
        self, device: torch.device, say: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any] | None:
        """The newest whole state; says which are damaged, and removes them."""
        found = self._newest_first()
        for path in found:
            try:
                return _read(path, device)
            except DamageError:
                path.unlink(missing_ok=True)
                last = path == found[-1]
                then = "the run starts over" if last else "the one before is used"
                say(f"Checkpoint {path} is damaged: {then}.")
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.pt"), reverse=True)


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        signed = path.read_bytes()
        content = signed[DIGEST:]
        if hashlib.sha256(content).digest() != signed[:DIGEST]:
            raise DamageError
        state: dict[str, Any] = torch.load(io.BytesIO(content), device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DamageError from error
    return state


def folder_of(name: str, data: Path, *settings: object) -> Path:
    """Where a run is kept that has this name, this data, these settings and this code."""
    digest = hashlib.sha256(f"{settings} {torch.__version__}".encode())
    for path in (*sorted(Path(__file__).parent.glob("*.py")), *sorted(data.iterdir())):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return _home() / f"{name.replace(' ', '-')}-{digest.hexdigest()[:16]}"


def remove(folder: Path) -> None:
    """A run is complete: its checkpoints go."""
    shutil.rmtree(folder, ignore_errors=True)


def _home() -> Path:
    """ALEXNET_LAB_CHECKPOINTS or the project's .checkpoints, an experiment's in the project's."""
    asked = os.environ.get("ALEXNET_LAB_CHECKPOINTS")
    if asked:
        return Path(asked)
    here = Path.cwd()
    for project in here.parents:  # `dvc exp run --temp` works in .dvc/tmp/exps/<name>
        if here.is_relative_to(project / ".dvc" / "tmp" / "exps"):
            return project / ".checkpoints"
    return Path(".checkpoints")
