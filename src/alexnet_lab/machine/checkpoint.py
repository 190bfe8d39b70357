"""Where an interrupted run goes on: its state after each epoch, outside DVC's outputs.

A variant's folder is named by a hash of all that its numbers come from, so a stale state is
never found. Random streams are derived from the epoch, so there is none to be kept.
"""

import hashlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import torch
from filelock import FileLock, Timeout

from alexnet_lab.errors import UserError
from alexnet_lab.machine import cleanup
from alexnet_lab.machine.cleanup import lock_of
from alexnet_lab.machine.files import discard, replace

KEPT = 2  # the newest, and the one before in case the newest is damaged
DIGEST = hashlib.sha256().digest_size  # bytes before the content of a file


class DamageError(Exception):
    """A checkpoint is not what was written, or no state of ours."""


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
        self.keep(KEPT)

    def load(self, say: Callable[[str], None] = lambda _: None) -> dict[str, Any] | None:
        """The newest whole state, on the CPU; says which are damaged, and removes them.

        UserError where one cannot be read: it may be whole.
        """
        found = self._newest_first()
        for path in found:
            try:
                return _read(path)
            except DamageError:
                discard(path)
                last = path == found[-1]
                then = "the run starts over" if last else "the one before is used"
                say(f"Checkpoint {path} is damaged: {then}.")
        return None

    def keep(self, newest: int) -> None:
        """Remove all but so many."""
        for path in self._newest_first()[newest:]:
            discard(path)

    def _newest_first(self) -> list[Path]:
        try:
            found = sorted(self.folder.iterdir(), reverse=True)
        except FileNotFoundError:
            return []
        except OSError as error:  # glob would find nothing
            raise UserError(f"{self.folder} cannot be read: {error.strerror}.") from error
        return [path for path in found if path.match("epoch-*.pt")]


def _read(path: Path) -> dict[str, Any]:
    try:
        signed = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}. Mend that, or remove the file to train "
            "from the checkpoint before it."
        ) from error
    content = signed[DIGEST:]
    if hashlib.sha256(content).digest() != signed[:DIGEST]:
        raise DamageError
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamageError from error
    return state


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Have a variant's folder to oneself; whoever else trains the same waits.

    UserError where the lock cannot be written.
    """
    lock = FileLock(lock_of(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Waiting for the process that trains the same ({folder})")
            lock.acquire()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        discard(Path(lock.lock_file))  # still held: who waits for it sees that it is gone
        lock.release()


def close(folder: Path, output: Path) -> None:
    """All of a variant's epochs are in ``output``: its weights go, its rows once DVC has noted it.

    Were the rows removed at once, a kill in between would cost the whole training.
    """
    if "DVC_STAGE" not in os.environ:
        discard(folder)
        return
    for run in folder.glob("seed*"):
        Checkpoints(run).keep(newest=1)
    digest = hashlib.md5(output.read_bytes(), usedforsecurity=False).hexdigest()
    watch = [sys.executable, "-m", cleanup.__name__, str(folder), digest]
    subprocess.Popen(  # noqa: S603  # our own words
        watch, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
    )


def folder_of(name: str, data: Path, *settings: object) -> Path:
    """Where a variant is kept that has this name, this data, these settings and this code."""
    digest = hashlib.sha256(f"{settings} {torch.__version__}".encode())
    for path in (*sorted(Path(__file__).parent.glob("*.py")), *sorted(data.iterdir())):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return _home() / f"{name.replace(' ', '-')}-{digest.hexdigest()[:16]}"


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
