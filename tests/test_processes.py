"""An iterator in another process hands over its items and errors, and dies with its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import pytest

from alexnet_lab.errors import UserError
from alexnet_lab.machine.processes import DeathError, Remote, side_by_side


def count(start: int, numbers: int) -> Iterator[tuple[int, int]]:
    for number in range(start, start + numbers):
        yield number, os.getpid()


def die(number: int) -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), number)


def survive(number: int) -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), number)
    yield 2


def complain() -> Iterator[int]:
    yield 1
    raise UserError("The key is wrong.")


def break_down() -> Iterator[int]:
    yield 1
    raise ZeroDivisionError("a fault of ours")


def test_the_items_of_all_come_each_from_its_own_process() -> None:
    items = list(side_by_side([partial(count, start, 2) for start in (0, 10, 20)], at_once=2))
    assert sorted(number for number, _ in items) == [0, 1, 10, 11, 20, 21]
    assert len({pid for _, pid in items} - {os.getpid()}) == 3


def slow(seconds: float, mark: Path) -> Iterator[int]:
    time.sleep(seconds)
    mark.touch()
    yield 7


def waiting_for(mark: Path) -> Iterator[int]:
    end = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < end:
        time.sleep(0.01)
    yield mark.exists()


def test_an_idle_process_does_spare_work_whose_items_and_errors_nobody_hears(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Three pieces of it, two of which fail; the one item that counts waits for the third."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # a new one has this test's stderr
    mark = tmp_path / "done"
    work = [complain, break_down, partial(slow, 0, mark)]
    items = side_by_side([partial(waiting_for, mark)], 2, lambda: work.pop(0) if work else None)
    assert list(items) == [True] and work == []
    assert "The key is wrong" not in capfd.readouterr().err


def test_nobody_waits_for_spare_work_and_none_is_begun_while_there_is_other(
    tmp_path: Path,
) -> None:
    asked: list[int] = []

    def spare() -> partial[Iterator[int]] | None:
        asked.append(1)
        return partial(slow, 60, tmp_path / "done") if len(asked) == 1 else None

    start = time.monotonic()
    tasks = [partial(numbers_of, number) for number in range(2)]
    assert sorted(side_by_side(tasks, 1, spare)) == [0, 1] and asked == []
    assert sorted(side_by_side(tasks, 3, spare)) == [0, 1] and asked
    assert time.monotonic() - start < 30 and not (tmp_path / "done").exists()


def numbers_of(number: int) -> Iterator[int]:
    yield number


def test_it_works_only_when_asked(tmp_path: Path) -> None:
    with Remote(partial(slow, 0, tmp_path / "mark")) as remote:
        assert not remote.pipe.poll(1.0) and not (tmp_path / "mark").exists()
    with Remote(partial(count, 0, 2)) as remote:
        for _ in range(2):
            remote.ask()
            assert remote.answer() is not None
        remote.ask()
        assert remote.answer() is None


def test_the_users_errors_are_raised_here() -> None:
    with pytest.raises(UserError, match=r"^The key is wrong\.$"):
        list(side_by_side([complain], 1))


@pytest.mark.parametrize(
    ("how", "killed", "advice"),
    [
        (partial(die, 9), True, "was killed; if memory ran out, lower batch_size"),
        (partial(die, 11), False, "status -11; its own message is above"),
        (break_down, False, "status 1; its own message is above"),
    ],
)
def test_a_death_is_reported_with_advice_and_a_kill_is_distinguished(
    how: partial[Iterator[int]], killed: bool, advice: str, capfd: pytest.CaptureFixture[str]
) -> None:
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # a new one has this test's stderr
    with pytest.raises(DeathError, match=advice) as error:
        list(side_by_side([how], 1))
    assert error.value.killed == killed
    assert ("a fault of ours" in capfd.readouterr().err) == (how is break_down)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_whole_group_are_left_to_the_parent(number: signal.Signals) -> None:
    assert list(side_by_side([partial(survive, number)], 1)) == [1, 2]


PARENT = """
from functools import partial
from alexnet_lab.machine.processes import Remote
from tests.test_processes import count
if __name__ == "__main__":
    remote = Remote(partial(count, 0, 10))
    remote.ask()
    print(remote.answer()[1], flush=True)
    remote.ask()
    input()
"""


def test_a_killed_parent_leaves_no_process_behind() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=-1, stdin=-1, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("the child lives on")


def test_ctrl_c_in_an_import_that_swallows_it_ends_the_command(tmp_path: Path) -> None:
    """As in that of torch, which a stage imports late on a machine with bf16."""
    (tmp_path / "late.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    sum(range(10))\n"
        "except BaseException:\n"
        "    pass\n"
    )
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from alexnet_lab import cli\n"
        "def main():\n"
        "    import late\n"
        "    print('went on')\n"
        "cli.run(main)\n"
    )
    where = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGINT and ran.stdout == ""
    assert ran.stderr.startswith("Stopped by SIGINT") and ran.stderr.count("\n") == 1
