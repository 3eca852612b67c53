"""Timers of a live shard: the EXPIRY timer, set to when the next order or session ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from qtinfra.core.events import (
    AnyEvent,
    DayOpened,
    ExecutionBusted,
    ExecutionCorrected,
    OrderAccepted,
    OrderReplaced,
)
from qtinfra.core.models import TimeInForce
from qtinfra.core.ports import Clock
from qtinfra.core.special_events import CalendarSet, OrderAdjusted, TermsReplaced
from qtinfra.engine.decide.expiry import expires_at, next_expiry_ns
from qtinfra.engine.state import State

_SECOND = 1_000_000_000
#: How soon what was due and could not end yet is looked at again.
RETRY_NS = _SECOND
#: Longest sleep: a clock that is slewed, or a machine that slept, is noticed within it.
LONGEST_NS = 60 * _SECOND
#: Shortest sleep: the loop's own timer may be early by less than this.
SHORTEST_NS = 1_000_000

_GTD = TimeInForce.GTD
#: Events after which any order may end at another time than before.
_CHANGES = (CalendarSet, DayOpened, TermsReplaced, OrderAdjusted)
#: Events that may open a filled order again; while it was filled, nobody waited for its end.
_REOPENS = (ExecutionBusted, ExecutionCorrected, OrderReplaced)
#: All events that `ExpiryTimer.note` looks at; what else it is given changes nothing.
NOTED: frozenset[type] = frozenset((OrderAccepted, *_CHANGES, *_REOPENS))


class ExpiryTimer:
    """Calls `fire` when the next order or session ends by the injected clock; nothing runs until `arm`.

    Args:
        state: the shard's state as it is now.
        clock: decides whether the moment has come; the loop's timer only says when to look.
        fire: hands the EXPIRY timer to the shard. It is called again every `RETRY_NS` while something that
            was due has not ended.
    """

    def __init__(self, state: Callable[[], State], clock: Clock, fire: Callable[[], None]) -> None:
        self._state = state
        self._clock = clock
        self._fire = fire
        self._fired_ns = -1
        self._at_ns: int | None = None
        self._handle: asyncio.TimerHandle | None = None

    @property
    def at_ns(self) -> int | None:
        """When it fires next, UTC nanoseconds; None while nothing is due to end."""
        return self._at_ns

    def arm(self) -> None:
        """Look through the state and set the timer anew."""
        state = self._state()
        at_ns = next_expiry_ns(state)
        if at_ns is not None and at_ns <= self._fired_ns:
            at_ns = self._fired_ns + RETRY_NS
            later_ns = next_expiry_ns(state, self._fired_ns)
            at_ns = at_ns if later_ns is None else min(at_ns, later_ns)
        self._set(at_ns)

    def note(self, events: Iterable[AnyEvent]) -> None:
        """Bring the timer in line with events: a new order may end before all others."""
        state = self._state()
        for event in events:
            if type(event) is OrderAccepted:
                if event.tif is _GTD or state.calendars:
                    self._consider(state, event.order_id)
            elif isinstance(event, _REOPENS):
                self._consider(state, event.order_id)
            elif isinstance(event, _CHANGES):
                self.arm()
                return

    def cancel(self) -> None:
        """No more firing."""
        self._set(None)

    def _consider(self, state: State, order_id: str) -> None:
        order = state.orders.get(order_id)
        at_ns = expires_at(state, order) if order is not None and order.open else None
        if at_ns is not None and (self._at_ns is None or at_ns < self._at_ns):
            self._set(at_ns)

    def _set(self, at_ns: int | None) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._at_ns = at_ns
        if at_ns is None:
            return
        wait_ns = max(SHORTEST_NS, min(LONGEST_NS, at_ns - self._clock.now_ns()))
        self._handle = asyncio.get_running_loop().call_later(wait_ns / _SECOND, self._look)

    def _look(self) -> None:
        """The loop's timer came: fire when the moment has come by the clock, else sleep on."""
        now_ns = self._clock.now_ns()
        if self._at_ns is None or now_ns < self._at_ns:
            self._set(self._at_ns)
            return
        self._fired_ns = now_ns
        self._set(now_ns + RETRY_NS)  # unless the answer to this one sets it before
        self._fire()
