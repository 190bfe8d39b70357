"""Files that are complete or absent: each is written beside its place, flushed, then renamed."""

import csv
import errno
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from alexnet_lab.errors import UserError

FIX = "Free some disk space or fix the permissions, then run the same command again."


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write one line per row, with six significant digits, and nothing for an undefined value."""
    rows, text = list(rows), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    writer.writerows([digits(value) for value in row.values()] for row in rows)
    replace(path, lambda new: new.write_text(text.getvalue(), encoding="utf-8"))


def digits(value: Any) -> Any:
    """A value as a CSV file shows it: a float in six significant digits, empty if undefined."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def write_json(content: Any, path: Path) -> None:
    """Write valid JSON: a number that is not finite becomes null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    replace(path, lambda new: new.write_text(text + "\n", encoding="utf-8"))


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a file or a folder beside ``path``, then put it in its place.

    UserError if the disk is full or the place is not writable; ``path`` is then as it was.
    """
    new = path.with_name(f".{path.stem}.{os.getpid()}.new{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        discard(new)  # left by a dead process that had this one's number
        write(new)
        for file in (*new.iterdir(), new) if new.is_dir() else (new,):
            _flush(file)
        _move(new, path)
        _flush(path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}. {FIX}") from error
    finally:
        discard(new)


def _move(new: Path, path: Path) -> None:
    """Rename. A folder that is in the way is moved aside until the new one has its place."""
    old = path.with_name(f".{path.stem}.{os.getpid()}.old.new{path.suffix}")
    while True:
        try:
            new.replace(path)
            break
        except OSError as error:
            # What was in the way may be gone by now, moved aside by another process.
            full = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if not full and not (new.is_dir() and path.is_dir()):
                with suppress(OSError):
                    old.rename(path)
                raise
        discard(old)  # it is out of date: another process was quicker
        with suppress(FileNotFoundError):
            path.rename(old)
    discard(old)


def _sweep(path: Path) -> None:
    """Remove the unfinished versions of ``path`` that killed processes left."""
    for leftover in path.parent.glob(f".{path.stem}.*.new{path.suffix}"):
        pid = leftover.name.removeprefix(f".{path.stem}.").split(".")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            discard(leftover)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def discard(path: Path) -> None:
    """Remove a file or a folder if that can be done; nothing depends on it."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some file systems flush only files
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def folder_setting(variable: str) -> Path | None:
    """The folder that an environment variable names, which need not exist; None without one.

    UserError if it is a file, or ``~`` leads nowhere.
    """
    setting = os.environ.get(variable, "")
    try:
        folder = Path(setting).expanduser()
    except RuntimeError as error:
        raise UserError(f"{variable} is '{setting}': {error}") from error
    if folder.is_file():
        raise UserError(f"{variable} names {setting}, which is a file; it should name a folder.")
    return folder if setting else None


def read_json(path: Path) -> Any:
    """Read a JSON file. UserError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `dvc repro` makes it.") from error
