"""Who looks on while the engine works: the stream. Nothing waits for them, and they must not raise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtinfra.core.events import Entry
from qtinfra.core.ports import Head
from qtinfra.core.reports import Alert


def _ignore(_: object) -> None:
    """Nobody looks on."""


class Taps:
    """One place to look on, called in the loop's thread.

    Attributes:
        decided: gets the records of each decision round while the state stands right after them; they are
            not durable yet, and nothing of them may leave.
        durable: gets the journal's head when it is.
        alerted: gets each alert.
    """

    def __init__(self) -> None:
        self.decided: Callable[[Sequence[Entry]], None] = _ignore
        self.durable: Callable[[Head], None] = _ignore
        self.alerted: Callable[[Alert], None] = _ignore

    def clear(self) -> None:
        """Nobody looks on any more."""
        self.decided = self.durable = self.alerted = _ignore
