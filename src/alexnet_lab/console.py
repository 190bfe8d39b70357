"""What the terminal shows: live bars, one line an epoch without a terminal, tables."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from alexnet_lab.errors import Stopped, UserError

if TYPE_CHECKING:  # for their types alone: a stage should not wait for torch to say a word
    import numpy as np
    import pandas as pd

    from alexnet_lab.benchmark import Measurement
    from alexnet_lab.learning.training import Epoch


def _dvc() -> int:
    """The nearest ancestor that is no shell: not every /bin/sh gives way to its command."""
    pid = os.getppid()
    with suppress(OSError):  # no /proc: the parent
        while Path(f"/proc/{pid}/comm").read_text().rstrip().endswith("sh"):
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


DVC = _dvc()  # before a stage imports torch
console = Console(soft_wrap=True)  # a line of a log stays one line


def run(stage: Callable[[], None]) -> None:
    """Run a stage's main; what is the user's to mend ends as one sentence and status 1.

    SIGINT and SIGTERM end it, and its processes, with one line and the signal's status.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # so it is for a job in the background
            signal.signal(number, _stop)
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_stop_with_dvc, daemon=True).start()
    try:
        stage()
    except UserError as error:
        sys.exit(f"{error}")
    except Stopped as stopped:
        _end(stopped.signal)


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)


def _stop_with_dvc() -> None:
    """Where DVC was killed, a stage that went on would meet its own rerun."""
    while _dvc() == DVC:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _end(number: int, _: FrameType | None = None) -> None:
    """Say it, and end as the signal would have ended the process."""
    print(Stopped(number), file=sys.stderr, flush=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if "DVC_STAGE" in os.environ and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, _end)  # an exception inside torch's import may be caught there


def say(line: str) -> None:
    """One line that is not a result."""
    console.print(line)


def follow(
    epochs: Iterable[Epoch], done: Mapping[int, int], titles: Mapping[int, str], total: int
) -> Iterator[Epoch]:
    """Pass each epoch on, showing a bar a seed.

    Without a terminal, a line an epoch but for as many of each seed as were done before.
    """
    if not console.is_terminal:
        for epoch in epochs:
            if epoch.epoch > done[epoch.seed]:
                console.print(f"{titles[epoch.seed]} epoch {epoch.epoch}/{total}: {_said(epoch)}")
            yield epoch
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total} epochs {task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = {seed: progress.add_task(titles[seed], total=total, said="") for seed in titles}
        for epoch in epochs:
            progress.update(bars[epoch.seed], completed=epoch.epoch, said=_said(epoch))
            yield epoch


def _said(epoch: Epoch) -> str:
    return (
        f"loss {epoch.train_loss:.4f}, test accuracy {epoch.test_accuracy:.2f} %, "
        f"{epoch.seconds:.1f} s"
    )


def show_table(title: str, frame: pd.DataFrame) -> None:
    """One row a variant; the index is the first column."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(str(frame.index.name or ""), no_wrap=True)
    for name in frame.columns:
        table.add_column(str(name).replace("_", " "), justify="right")
    for label, *row in frame.itertuples():
        table.add_row(str(label), *map(_cell, row))
    console.print(table)


def _cell(value: object) -> str:
    return "–" if value is None or value != value else f"{value}"


def show_arrays(dataset: str, source: str, arrays: dict[str, np.ndarray]) -> None:
    """One line that says what was prepared."""
    train, test = len(arrays["train_labels"]), len(arrays["test_labels"])
    console.print(f"{dataset} ({source}): {train:,} training and {test:,} test images")


def show_measurement(device: str, found: Measurement) -> None:
    """One line a batch size."""
    said = found.status
    if found.seconds:
        seconds = sum(found.seconds) / len(found.seconds)
        said = f"{seconds:.3f} s a step, {found.batch_size / seconds:.1f} img/s"
    console.print(f"benchmark {device} batch {found.batch_size}: {said}")
