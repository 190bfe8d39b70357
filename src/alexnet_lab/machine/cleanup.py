"""Has DVC recorded a stage's outputs? Then its checkpoints are no longer needed.

This is a program of its own, which a training stage leaves behind when it ends, since DVC writes
dvc.lock only then. It runs until that moment, or for a minute at most.
"""

import shutil
import sys
import time
from pathlib import Path

from filelock import FileLock

PATIENCE = 60  # seconds; if DVC was killed it records nothing, and a rerun needs the checkpoints
DVC_LOCK = Path("dvc.lock")


def lock_of(folder: Path) -> Path:
    """The lock of a variant's folder: its holder may read and write the checkpoints."""
    return folder.with_name(f"{folder.name}.lock")


def remove_when_recorded(folder: Path, digest: str, patience: float = PATIENCE) -> None:
    """Remove a complete variant's folder as soon as dvc.lock has an output of that MD5."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if DVC_LOCK.is_file() and digest in DVC_LOCK.read_text():
            with FileLock(lock_of(folder), timeout=patience):
                shutil.rmtree(folder, ignore_errors=True)
                lock_of(folder).unlink(missing_ok=True)
            return
        time.sleep(0.1)


if __name__ == "__main__":
    remove_when_recorded(Path(sys.argv[1]), sys.argv[2])
