"""What the terminal shows: live bars, one line per epoch without a terminal, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

if TYPE_CHECKING:  # only for annotations: a stage should not wait for torch before its first line
    import numpy as np
    import pandas as pd

    from alexnet_lab.benchmark.steps import Measurement
    from alexnet_lab.learning.epoch import Epoch
    from alexnet_lab.runs.records import Record

console = Console(soft_wrap=True, markup=False)  # a line of a log stays one line


def say(line: str) -> None:
    """Print one line that is not a result."""
    console.print(line)


def follow(
    records: Iterable[tuple[Record, bool]], titles: Mapping[int, str], total: int
) -> Iterator[Record]:
    """Pass each record on, and show one line per seed, with its accuracy as a curve.

    Without a terminal, or on a dumb one, print one line per epoch that was trained.
    """
    live = console.is_terminal and not console.is_dumb_terminal
    plain = Column(no_wrap=True)
    shown = ("description}", "completed}/{task.total}", "fields[curve]:<16}", "fields[numbers]}")
    columns = [TextColumn(f"{{task.{field}", table_column=plain) for field in shown]
    accuracies: dict[int, list[float]] = {seed: [] for seed in titles}
    left = TimeRemainingColumn(compact=True)
    with Progress(*columns, left, console=console, disable=not live) as progress:
        bars = {
            seed: progress.add_task(title, total=total, numbers="", curve="")
            for seed, title in titles.items()
        }
        for record, trained in records:
            epoch, so_far = record.epoch, accuracies[record.epoch.seed]
            so_far[epoch.epoch - 1 :] = [epoch.test_accuracy]
            progress.update(
                bars[epoch.seed],
                completed=epoch.epoch,
                curve=sparkline(so_far),
                numbers=f"{epoch.test_accuracy:5.2f} %",
            )
            if trained and not live:
                say(line_of(titles[epoch.seed], epoch, total))
            yield record


def line_of(title: str, epoch: Epoch, total: int) -> str:
    """An epoch in one line of a log."""
    return (
        f"{title} epoch {epoch.epoch}/{total}: loss {epoch.train_loss:.4f}, "
        f"test accuracy {epoch.test_accuracy:.2f} %, {epoch.seconds:.1f} s"
    )


def sparkline(values: Sequence[float], width: int = 16, top: float = 0) -> str:
    """A curve in one line of text, from 0 to ``top`` or the highest value.

    If there are more values than fit, each part's last is shown.
    """
    ends = [len(values) * (n + 1) // width for n in range(width)]
    parts = [values[end - 1] for end in ends] if len(values) > width else values
    top = top or max(parts, default=0) or 1
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / top))] for value in parts)


def show_table(title: str, frame: pd.DataFrame) -> None:
    """Print a table; the index is its first column. If it is too wide, its heads wrap first."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(str(frame.index.name or ""), no_wrap=True)
    heads = [str(name).replace("_", " ") for name in frame.columns]
    rows = [(str(label), *map(_cell, cells)) for label, *cells in frame.itertuples()]
    cells = [max(map(len, column)) for column in zip(*rows, strict=True)] or [0]
    whole = sum(map(max, cells[1:], map(len, heads))) + cells[0] + 2 * len(cells)
    for head, width in zip(heads, cells[1:], strict=True):
        narrow = max([width, *map(len, head.split())])
        table.add_column(head, justify="right", width=narrow if whole > console.width - 2 else None)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cell(value: object) -> str:
    return "–" if value is None or value != value else f"{value}"


def show_arrays(dataset: str, source: str, arrays: dict[str, np.ndarray]) -> None:
    """Print one line that says what was prepared."""
    train, test = len(arrays["train_labels"]), len(arrays["test_labels"])
    console.print(f"{dataset} ({source}): {train:,} training and {test:,} test images")


def show_measurement(variant: str, measurement: Measurement) -> None:
    """Print one line per network and batch size."""
    text = measurement.status
    if measurement.seconds:
        seconds = sum(measurement.seconds) / len(measurement.seconds)
        text = f"{seconds:.3f} s per step, {measurement.batch_size / seconds:.1f} img/s"
    name = f"{variant} {measurement.network}"
    console.print(f"benchmark {name} batch {measurement.batch_size}: {text}")
