"""How a stage ends early: the user has something to correct, or has stopped it."""

import signal


class UserError(Exception):
    """Says in one sentence which key, file or value is wrong, and what to do."""


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(
            f"Stopped by {self.signal.name}: nothing is lost, the same command goes on from the "
            "last finished epoch."
        )
