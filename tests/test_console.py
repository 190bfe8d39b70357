"""What a terminal of 80 columns shows of runs under way, with colour and without."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from alexnet_lab import console, params
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.results.tables import summary_table
from alexnet_lab.runs.records import Record

TITLES = {seed: f"schedules warmup_cosine seed {seed}" for seed in range(5)}


def records() -> Iterator[tuple[Record, bool]]:
    numbers = dict.fromkeys(("train_loss", "train_loss_clean", "test_loss"), 1.5)
    for n in range(1, 51):
        for seed in TITLES:
            epoch = Epoch(
                seed=seed,
                epoch=n,
                lr=0.1,
                **numbers,
                test_accuracy=70 + n / 10,
                train_accuracy=None,
                held_back_accuracy=None,
                gradient_norm=0.1,
                layer_gradients="",
                seconds=12.3,
            )
            yield Record(epoch, "", "bf16", "a CPU"), True


def shown(monkeypatch: pytest.MonkeyPatch, terminal: bool = True, **more: str) -> str:
    for name, value in ({"COLUMNS": "80"} | more).items():
        monkeypatch.setenv(name, value)
    file = io.StringIO()
    made = console.Console(file=file, force_terminal=terminal, width=80, soft_wrap=True)
    monkeypatch.setattr(console, "console", made)
    assert len(list(console.follow(records(), TITLES, 50))) == 250
    return file.getvalue()


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}, {"TERM": "xterm"}], ids=str)
def test_a_runs_line_fits_80_columns_with_colour_and_without(
    more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(monkeypatch, **{"TERM": "xterm-256color"} | more)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    last = [line for line in lines if line.strip()][-5:]
    for seed, line in enumerate(last):
        assert re.match(rf"schedules warmup_cosine seed {seed} 50/50 [▁-█]{{16}} 75.00 %", line), (
            line
        )
    if "NO_COLOR" in more:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)


@pytest.mark.parametrize("terminal", [False, True])
def test_without_a_terminal_or_on_a_dumb_one_each_epoch_is_a_line(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(monkeypatch, terminal, TERM="dumb", NO_COLOR="1").splitlines()
    assert len(lines) == 250
    assert lines[-1].endswith("seed 4 epoch 50/50: loss 1.5000, test accuracy 75.00 %, 12.3 s")


def test_the_heads_of_a_wide_table_wrap_and_its_numbers_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "console", console.Console(file=file, width=80, soft_wrap=True))
    cells = {f"a quantity of some kind, {n}": "-0.1510 ± 0.0150" for n in range(3)}
    console.show_table("wide", pd.DataFrame([cells], index=["alexnet_style"]))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-2].split("-0.1510 ± 0.0150") == [" alexnet_style  ", "  ", "  ", "  "]


@pytest.mark.parametrize("name", params.load().exercises)
def test_every_exercises_table_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "console", console.Console(file=file, width=80, soft_wrap=True))
    compare = params.load().exercise(name).compare
    summary = json.loads(Path(f"metrics/summary/{name}.json").read_text())
    console.show_table("", summary_table(summary, compare, brief=True))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert len(re.findall(r"\d ± \d", text)) >= 2 * len(summary)  # no number is cut in two
