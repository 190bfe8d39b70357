"""Files are complete or absent, whatever the disk does and whoever else writes."""

import errno
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import digits, read_json, replace, write_csv, write_json

ROOT = Path(__file__).parent.parent


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x.csv"
    write_csv([{"a": 1.23456789}], target)
    assert target.read_text() == "a\n1.23457\n"

    def fail(new: Path) -> None:
        new.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        UserError, match=r"x\.csv cannot be written: No space left on device\. Free some"
    ):
        replace(target, fail)
    assert target.read_text() == "a\n1.23457\n"
    assert [path.name for path in target.parent.iterdir()] == ["x.csv"]


COMMITTED = sorted(ROOT.glob("metrics/*/*/*.csv"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: "/".join(path.parts[-3:]))
def test_a_csv_file_that_is_read_and_written_again_has_the_same_bytes(
    path: Path, tmp_path: Path
) -> None:
    """Whichever library wrote it."""
    frame = pd.read_csv(path)
    write_csv(frame.to_dict("records"), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


def test_a_csv_file_has_what_pandas_would_write(tmp_path: Path) -> None:
    rows = [
        {"seed": 0, "loss": 1.23456789, "clean": None, "hardware": "AMD EPYC, 2 cores"},
        {"seed": 1, "loss": math.nan, "clean": 0.1, "hardware": 'a "fast" one'},
        {"seed": 2, "loss": math.inf, "clean": -math.inf, "hardware": "Intel(R)"},
        {"seed": 2**40, "loss": 1e-7, "clean": 123456789.0, "hardware": ""},
    ]
    write_csv(rows, tmp_path / "ours.csv")
    pd.DataFrame(rows).to_csv(tmp_path / "pandas.csv", index=False, float_format="%.6g")
    text = (tmp_path / "ours.csv").read_text()
    assert text == (tmp_path / "pandas.csv").read_text()
    assert text.splitlines()[1:3] == [
        '0,1.23457,,"AMD EPYC, 2 cores"',
        '1,,0.1,"a ""fast"" one"',
    ]
    assert [digits(value) for value in (math.inf, -math.inf, math.nan, None, 7, 0.1)] == [
        *("inf", "-inf", "", None, 7, "0.1")
    ]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x\.csv cannot be written"):
        write_csv([], tmp_path / "file" / "x.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder\.csv cannot be written"):
        write_csv([], tmp_path / "folder.csv")


def test_files_that_a_killed_process_left_are_removed_and_those_of_a_living_one_stay(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".x.{pid}.new.csv" for pid in (dead.pid, os.getppid())]
    (tmp_path / f".x.{os.getpid()}.new.csv").mkdir()  # left by a dead process that had our number
    for name in (*names, ".y.1.new.csv"):
        (tmp_path / name).write_text("half")
    write_csv([], tmp_path / "x.csv")
    names_left = {path.name for path in tmp_path.iterdir()}
    assert names_left == {"x.csv", names[1], ".y.1.new.csv"}


def folder_of(number: int, path: Path) -> None:
    path.mkdir()
    for name in "abc":
        np.save(path / f"{name}.npy", np.full(1000, number))


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for number in (1, 2):
        replace(tmp_path / "data", lambda new, number=number: folder_of(number, new))
    assert [np.load(path)[0] for path in (tmp_path / "data").iterdir()] == [2, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


REPEAT = """
import sys
from pathlib import Path
from alexnet_lab.machine.files import replace
from tests.test_files import folder_of
for _ in range(50):
    replace(Path(sys.argv[1]), lambda new: folder_of(int(sys.argv[2]), new))
"""


def test_a_folder_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(tmp_path / "data", lambda new: folder_of(1, new))
    real, calls = Path.replace, []

    def first_in_the_way_then_broken(new: Path, path: Path) -> Path:
        calls.append(path.exists())
        return real(new, path) if path.exists() else real(new / "missing", path)

    monkeypatch.setattr(Path, "replace", first_in_the_way_then_broken)
    with pytest.raises(UserError, match="data cannot be written"):
        replace(tmp_path / "data", lambda new: folder_of(2, new))
    assert calls == [True, False]
    assert [np.load(path)[0] for path in (tmp_path / "data").iterdir()] == [1, 1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_in_the_way_that_is_gone_a_moment_later_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Path.replace, []

    def in_the_way_once(new: Path, path: Path) -> Path:
        calls.append(path)
        if len(calls) == 1:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        return real(new, path)

    monkeypatch.setattr(Path, "replace", in_the_way_once)
    replace(tmp_path / "data", lambda new: folder_of(1, new))
    assert [np.load(path)[0] for path in (tmp_path / "data").iterdir()] == [1, 1, 1]


def test_a_number_that_is_not_finite_is_null_wherever_it_stands(tmp_path: Path) -> None:
    write_json({"a": [float("nan"), {"b": (float("inf"), 1.5)}]}, tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") == {"a": [None, {"b": [None, 1.5]}]}


def test_two_processes_replacing_one_folder_do_no_harm(tmp_path: Path) -> None:
    place = str(tmp_path / "data")
    both = [subprocess.Popen([sys.executable, "-c", REPEAT, place, number]) for number in "12"]
    assert [process.wait() for process in both] == [0, 0]
    values = {np.load(path)[0] for path in (tmp_path / "data").iterdir()}
    assert len(values) == 1 and len(list((tmp_path / "data").iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
