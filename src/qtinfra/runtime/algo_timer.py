"""The ALGO timer of a live shard: every parent is looked at once a second, a part of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from qtinfra.core.algo_events import AlgoPlanned
from qtinfra.core.events import AnyEvent
from qtinfra.core.ports import Clock
from qtinfra.engine.decide.algos import first_look_ns, next_look_ns
from qtinfra.engine.state import State
from qtinfra.execution.parent import LOOK_NS
from qtinfra.runtime.timers import LONGEST_NS, SHORTEST_NS

_SECOND = 1_000_000_000
#: Most parents looked at by one command, so that an order that comes waits for no more than those.
MOST_AT_ONCE = 128
#: All events that `AlgoTimer.note` looks at; what else it is given changes nothing.
NOTED: frozenset[type] = frozenset((AlgoPlanned,))


class AlgoTimer:
    """Calls `fire` with the part of the parents to look at; nothing runs until there is a parent.

    A shard of 5,000 parents is looked at in 40 parts, 25 ms apart. A clock that jumps, or a machine that
    slept, brings one look and not those that were missed.

    Args:
        state: the shard's state as it is now.
        clock: decides whether the moment has come; the loop's timer only says when to look.
        fire: hands an ALGO timer for part (first argument) of so many parts (second) to the shard.
    """

    def __init__(self, state: Callable[[], State], clock: Clock, fire: Callable[[int, int], None]) -> None:
        self._state = state
        self._clock = clock
        self._fire = fire
        self._part = 0
        self._at_ns: int | None = None
        self._handle: asyncio.TimerHandle | None = None

    @property
    def at_ns(self) -> int | None:
        """When it fires next, UTC nanoseconds; None without parents."""
        return self._at_ns

    @property
    def parts(self) -> int:
        """In how many parts the parents are looked at."""
        return max(1, -(-len(self._state().algos.parents) // MOST_AT_ONCE))

    def arm(self) -> None:
        """Look through the parents and set the timer anew: after a restart they are looked at at once."""
        self._set(next_look_ns(self._state(), self._clock.now_ns() - LOOK_NS))

    def note(self, events: Iterable[AnyEvent]) -> None:
        """Bring the timer in line with events: a new parent may begin before all others."""
        for event in events:
            if type(event) is AlgoPlanned:
                at_ns = first_look_ns(event.schedule, self._clock.now_ns())
                if self._at_ns is None or at_ns < self._at_ns:
                    self._set(at_ns)

    def cancel(self) -> None:
        """No more firing."""
        self._set(None)

    def _set(self, at_ns: int | None) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._at_ns = at_ns
        if at_ns is not None:
            wait_ns = max(SHORTEST_NS, min(LONGEST_NS, at_ns - self._clock.now_ns()))
            self._handle = asyncio.get_running_loop().call_later(wait_ns / _SECOND, self._look)

    def _look(self) -> None:
        """The loop's timer came: fire the next part when the moment has come by the clock, else sleep on."""
        now_ns = self._clock.now_ns()
        if self._at_ns is None or now_ns < self._at_ns:
            self._set(self._at_ns)
            return
        parts = self.parts
        part = self._part % parts
        self._part = part + 1
        every_ns = LOOK_NS // parts
        self._set(next_look_ns(self._state(), now_ns - LOOK_NS + every_ns))
        if self._state().algos.parents:
            self._fire(part, parts)
