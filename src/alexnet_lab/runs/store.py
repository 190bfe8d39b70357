"""The store: what has been computed, kept by name, outside DVC's outputs and outside git.

A record (a few numbers) is tiny and stays. A state (a network in training) is large: the least
recently used go when all together exceed a bound. Every file begins with a digest of its name and
content: one that is damaged or misplaced counts as absent. Many may read and write at once.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import discard, folder_setting

DIGEST = hashlib.sha256().digest_size * 2  # hexadecimal digits, then a line's end
BOUND = 2 * 2**30  # bytes
LEFT_BEHIND = 24 * 3600  # seconds after which a file that a killed process left is swept


@dataclass(frozen=True)
class Store:
    """A folder, which need not exist; ``bound`` is for the states, in bytes.

    UserError if a file cannot be read (it may be whole) or written; it names the file.
    """

    folder: Path
    bound: int = BOUND

    def record(self, name: str) -> dict[str, Any] | None:
        """The record of that name; None if there is none that is whole."""
        content = self._read(self._record(name))
        record: dict[str, Any] | None = json.loads(content) if content else None
        return record

    def keep_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record, or replace it."""
        self._write(self._record(name), json.dumps(record).encode())

    def has_state(self, name: str) -> bool:
        """Whether there is a state of that name; it may turn out to be damaged."""
        return self._state(name).exists()

    def state(self, name: str) -> bytes | None:
        """The state of that name; None if there is none that is whole."""
        with suppress(OSError):  # a store that is only read
            os.utime(self._state(name))  # it was used last now
        return self._read(self._state(name))

    def keep_state(self, name: str, state: bytes) -> None:
        """Write a state, and remove the least recently used ones if it becomes too much."""
        self._write(self._state(name), state)
        self._shrink(self._state(name))

    def drop_state(self, name: str) -> None:
        """Remove a state if that can be done."""
        discard(self._state(name))

    def rename(self, old: str, new: str) -> None:
        """Let what is known by one name be known by another, too."""
        if record := self.record(old):
            self.keep_record(new, record)
        if state := self.state(old):
            self.keep_state(new, state)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a name while computing what it stands for; wait if another process holds it."""
        path = self.folder / "locks" / name
        lock = FileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            os.utime(path)  # it is not left behind
        except (OSError, Timeout) as error:
            raise self._cannot(path, "written", error) from error
        try:
            yield
        finally:
            discard(path)  # still held, so a process that waits sees that it is gone
            lock.release()

    def _record(self, name: str) -> Path:
        return self.folder / "records" / name[:2] / name

    def _state(self, name: str) -> Path:
        return self.folder / "states" / name

    def _read(self, path: Path) -> bytes | None:
        try:
            sealed = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._cannot(path, "read", error) from error
        content = sealed[DIGEST + 1 :]
        if sealed[:DIGEST] == _seal(path, content):
            return content
        discard(path)
        return None

    def _write(self, path: Path, content: bytes) -> None:
        """Write beside the place, then rename. Not flushed: the digest shows what a crash tore."""
        new = self.folder / f"{uuid4().hex}.new"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("xb") as file:
                file.write(_seal(path, content) + b"\n")
                file.write(content)
            new.replace(path)
        except OSError as error:
            discard(new)
            raise self._cannot(path, "written", error) from error

    def _shrink(self, newest: Path) -> None:
        """Remove the least recently used states above the bound, and what killed processes left."""
        files = {path: _status(path) for path in self.folder.glob("states/*") if path != newest}
        states = sorted(((used, size, path) for path, (used, size) in files.items()), reverse=True)
        total = _status(newest)[1]
        for _, size, path in states:
            total += size
            if total > self.bound:
                discard(path)
        for path in (*self.folder.glob("*.new"), *self.folder.glob("locks/*")):
            if _status(path)[0] < time.time() - LEFT_BEHIND:
                discard(path)

    def _cannot(self, path: Path, done: str, error: Exception) -> UserError:
        reason = getattr(error, "strerror", None) or error
        return UserError(
            f"{path} cannot be {done}: {reason}. Free some disk space, fix the permissions, or "
            "name another folder in ALEXNET_LAB_RUNS, then run the same command again."
        )


def _seal(path: Path, content: bytes) -> bytes:
    """What a file begins with."""
    return hashlib.sha256(path.name.encode() + b"\n" + content).hexdigest().encode()


def _status(path: Path) -> tuple[float, int]:
    """When a file was used last, and its bytes; 0 if it has just gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime, status.st_size


def the_store() -> Store:
    """The store in ALEXNET_LAB_RUNS or .runs; ALEXNET_LAB_RUNS_GIB bounds its states.

    UserError if that is no number, or no folder.
    """
    bound = os.environ.get("ALEXNET_LAB_RUNS_GIB", "")
    try:
        size = round(float(bound) * 2**30) if bound else BOUND
        if size < 0:
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"ALEXNET_LAB_RUNS_GIB is '{bound}'; it should be a number of GiB, such as 2."
        ) from error
    return Store(_project() / (folder_setting("ALEXNET_LAB_RUNS") or ".runs"), size)


def _project() -> Path:
    """The project, also from .dvc/tmp/exps/<name>, where `dvc exp run --temp` works."""
    here = Path.cwd()
    inside = (p for p in here.parents if here.is_relative_to(p / ".dvc" / "tmp" / "exps"))
    return next(inside, Path())
