"""How a command of ours starts and ends: signals, DVC's death, and errors as one sentence.

A stage imports this first, so that Ctrl-C is handled while torch is being imported.
"""

import codecs
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from alexnet_lab.errors import Stopped, UserError


def _dvc() -> int:
    """The nearest ancestor that is not a shell: not every shell is replaced by its command."""
    pid = os.getppid()
    with suppress(OSError):  # no /proc: the parent
        while Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").rstrip().endswith("sh"):
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            pid = int(status.rpartition(")")[2].split()[1])
    return pid


# DVC has removed the outputs of a stage that runs.
BACK = (
    "To go back to what is committed: git checkout params.yaml dvc.lock metrics plots REPORT.md && "
    "git clean -fdq metrics plots && dvc checkout --allow-missing"
)
# What a terminal shows whose encoding lacks a character.
PLAIN = dict(zip("▁▂▃▄▅▆▇█▲▼–—×′…", ".:-=+*##^v--x'.", strict=True)) | {"±": "+-", "→": "->"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler for encoding."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101  # only ever used for output
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in lacking), error.end


codecs.register_error("plain", _plain)
DVC = _dvc()  # before a stage imports torch


def run(main: Callable[[], None]) -> None:
    """Run a command's main function. A UserError ends it as one sentence, with status 1.

    SIGINT and SIGTERM end it, and its processes, with one line and the signal's own status.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored: a job in the background
            signal.signal(number, _stop)
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_stop_with_dvc, daemon=True).start()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    try:
        main()
    except UserError as error:
        removed = "DVC_STAGE" in os.environ and "git checkout" not in f"{error}"
        sys.exit(f"{error}\n{BACK if removed and _results_are_committed() else ''}".rstrip())
    except Stopped as stopped:
        _end(stopped.signal)


def dvc_command() -> list[str]:
    """The words of the command that DVC, which runs this stage, was started with.

    None without /proc, and in DVC's queue: what was asked for is not among its process's words.
    """
    try:
        words = os.fsdecode(Path(f"/proc/{DVC}/cmdline").read_bytes()).split("\0")
    except OSError:
        return []
    return [] if "exec-run" in words else words


def _results_are_committed() -> bool:
    """A first run, as that of the demo, has nothing to go back to."""
    command = ["git", "cat-file", "-e", "HEAD:./dvc.lock"]
    with suppress(OSError):  # no git
        return not subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603  # user's git
    return False


def _stop(number: int, frame: FrameType | None) -> None:
    while frame:  # an import may swallow what is raised in it, and leave half a module
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end(number)
        frame = frame.f_back
    raise Stopped(number)


def _stop_with_dvc() -> None:
    """End this stage if DVC was killed: if it went on, it would meet its own rerun."""
    while _dvc() == DVC:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _end(number: int, _: FrameType | None = None) -> None:
    """Print the line, then end as the signal would have ended the process."""
    print(Stopped(number), file=sys.stderr, flush=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if "DVC_STAGE" in os.environ and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, _end)  # torch's import may swallow an exception raised in it
