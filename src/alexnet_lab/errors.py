"""How a stage ends early: what is the user's to mend, and what the user asked for."""

import signal


class UserError(Exception):
    """Says in one sentence which key, file or value is wrong and what to do."""


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM came."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(
            f"Stopped by {self.signal.name}: nothing is lost, the same command goes on from the "
            "last finished epoch."
        )
