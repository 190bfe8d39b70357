"""What an interrupted run needs to go on: its state after each epoch, outside DVC's outputs.

A variant's folder is named by a hash of everything that its numbers come from, so a stale state is
never used. Random streams are derived from the epoch and need not be kept.
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
from alexnet_lab.machine.files import FIX, discard, replace

KEPT = 2  # the newest, and the one before in case the newest is damaged
DIGEST_BYTES = hashlib.sha256().digest_size  # a file starts with the digest of its content
PACKAGE = Path(__file__).parent.parent  # all of its code is part of a folder's name


class DamageError(Exception):
    """A file is not the checkpoint that was written."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run (one seed); ``folder`` need not exist."""

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
        """The newest whole state, on the CPU, or None; damaged ones are reported and removed.

        UserError if a file cannot be read: it may be whole.
        """
        paths = self._newest_first()
        for path in paths:
            try:
                return _read(path)
            except DamageError:
                discard(path)
                then = "the run starts over" if path == paths[-1] else "the one before is used"
                say(f"Checkpoint {path} is damaged: {then}.")
        return None

    def keep(self, newest: int) -> None:
        """Remove all but the newest few."""
        for path in self._newest_first()[newest:]:
            discard(path)

    def _newest_first(self) -> list[Path]:
        try:
            paths = sorted(self.folder.iterdir(), reverse=True)
        except FileNotFoundError:
            return []
        except OSError as error:  # glob would return nothing
            raise UserError(f"{self.folder} cannot be read: {error.strerror}. {FIX}") from error
        return [path for path in paths if path.match("epoch-*.pt")]


def _read(path: Path) -> dict[str, Any]:
    try:
        signed = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}. Fix that and run the same command again, or "
            "remove the file to train from the checkpoint before it."
        ) from error
    content = signed[DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != signed[:DIGEST_BYTES]:
        raise DamageError
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamageError from error
    return state


@contextmanager
def exclusive(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a variant's folder. If another process is training the same variant, wait for it.

    UserError if the lock cannot be written.
    """
    lock = FileLock(lock_of(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Another process is training the same variant ({folder}): waiting for it.")
            lock.acquire()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}. {FIX}") from error
    try:
        yield
    finally:
        discard(Path(lock.lock_file))  # still held, so a waiting process sees that it is gone
        lock.release()


def finish(folder: Path, output: Path) -> None:
    """Give up a variant's checkpoints, since ``output`` has all of its epochs.

    The weights go at once. Under DVC the rows stay until dvc.lock records the output: if they went
    earlier, a kill in between would cost the whole training.
    """
    if "DVC_STAGE" not in os.environ:
        discard(folder)
        return
    for run in folder.glob("seed*"):
        Checkpoints(run).keep(newest=1)
    digest = hashlib.md5(output.read_bytes(), usedforsecurity=False).hexdigest()
    watch = [sys.executable, "-m", cleanup.__name__, str(folder), digest]
    subprocess.Popen(  # noqa: S603  # every argument is ours
        watch, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
    )


def folder_of(name: str, data: Path, *settings: object) -> Path:
    """The folder for a variant of this name, with this data, these settings and this code."""
    digest = hashlib.sha256(f"{settings} {torch.__version__}".encode())
    for path in (*sorted(PACKAGE.rglob("*.py")), *sorted(data.iterdir())):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return _home() / f"{name.replace(' ', '-')}-{digest.hexdigest()[:16]}"


def _home() -> Path:
    """ALEXNET_LAB_CHECKPOINTS or .checkpoints; an experiment uses the project's own."""
    setting = os.environ.get("ALEXNET_LAB_CHECKPOINTS")
    if setting:
        return Path(setting)
    here = Path.cwd()
    for project in here.parents:  # `dvc exp run --temp` works in .dvc/tmp/exps/<name>
        if here.is_relative_to(project / ".dvc" / "tmp" / "exps"):
            return project / ".checkpoints"
    return Path(".checkpoints")
