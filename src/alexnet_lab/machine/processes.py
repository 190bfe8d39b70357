"""Iterators that each run in a process of their own, so that no memory and no crash is shared.

They are forked from one server, which has imported what ``preload`` names: torch alone takes
seconds. A process works only when it is asked for its next item. None outlives its parent: it is
killed when it is no longer needed, and it ends itself if its parent was killed.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import connection, resource_tracker
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from alexnet_lab.errors import UserError
from alexnet_lab.machine.hardware import SMALLER

FORKS = multiprocessing.get_context("forkserver")
# These reach every process of a terminal or a group; ours leave them to their parent.
SIGNALS = {signal.SIGINT, signal.SIGTERM}
Item = TypeVar("Item")


class DeathError(UserError):
    """A process ended without an answer; ``killed``, as Linux does when memory runs out."""

    def __init__(self, exit_code: int) -> None:
        self.killed = exit_code == -signal.SIGKILL
        how = "was killed" if self.killed else f"ended with status {exit_code}"
        advice = f"if memory ran out, {SMALLER}" if self.killed else "its own message is above."
        super().__init__(f"A process of this stage {how}; {advice}")


class Remote(Generic[Item]):
    """The iterator that ``iterate`` makes, in a new process.

    ``iterate`` and the items are pickled; an item is never None.
    """

    def __init__(self, iterate: Callable[[], Iterator[Item]]) -> None:
        self.pipe, far_end = multiprocessing.Pipe()
        self._process = FORKS.Process(target=_serve, args=(iterate, far_end), daemon=True)
        resource_tracker.ensure_running()  # first, since its start unblocks the signals again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the server inherits this
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            far_end.close()  # if our copy stayed open, its death would not end our wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def ask(self) -> None:
        """Let it work on its next item."""
        with suppress(OSError):  # if it has died, the answer says so
            self.pipe.send(None)

    def answer(self) -> Item | None:
        """Wait for the item that was asked for; None after the last one.

        A UserError of the process is raised here. DeathError if the process has ended; it prints
        any other error itself.
        """
        try:
            answer: Item | UserError | None = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise DeathError(self._process.exitcode or 0) from None
        if isinstance(answer, UserError):
            raise answer
        return answer


def preload(*modules: str) -> None:
    """Let the server import these when it starts."""
    FORKS.set_forkserver_preload(list(modules))


def _serve(iterate: Callable[[], Iterator[Any]], pipe: connection.Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):  # if memory runs out, Linux should end this process first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    items = iterate()
    answer: Any = ...
    while answer is not None:
        try:
            pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        try:
            answer = next(items, None)
        except UserError as error:
            answer = error
        with suppress(BrokenPipeError):
            pipe.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  # only ever called in a child
    parent.join()
    os._exit(1)


def side_by_side(
    iterators: Sequence[Callable[[], Iterator[Item]]],
    at_once: int,
    spare: Callable[[], Callable[[], Iterator[Item]] | None] = lambda: None,
) -> Iterator[Item]:
    """Yield the items of all iterators as they come, running ``at_once`` processes at a time.

    While fewer iterators are left than that, processes run what ``spare`` gives, if anything:
    nobody waits for these, sees their items or hears of their errors. It raises what
    Remote.answer raises.
    """
    waiting = list(iterators)
    running: dict[Any, Remote[Item]] = {}
    ours: set[Any] = set()
    with ExitStack() as stack:
        while waiting or ours:
            while len(running) < at_once and (iterate := waiting[0] if waiting else spare()):
                remote = stack.enter_context(Remote(iterate))
                remote.ask()
                running[remote.pipe] = remote
                if not waiting:
                    break  # one at a time, so that memory is seen to go
                waiting.pop(0)
                ours.add(remote.pipe)
            for pipe in connection.wait(list(running)):
                try:
                    item = running[pipe].answer()
                except UserError:
                    if pipe in ours:
                        raise
                    item = None
                if item is None:
                    del running[pipe]
                    ours.discard(pipe)
                    continue
                running[pipe].ask()
                if pipe in ours:
                    yield item
