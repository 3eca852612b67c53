"""Clocks: UTC that is anchored to the monotonic clock and slewed, never stepped; and a clock set by hand."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Fastest correction, in parts per million of elapsed time: what NTP daemons use (RFC 5905, 500 ppm).
MAX_SLEW_PPM = 500
#: How often the wall clock is looked at.
CHECK_EVERY_NS = 1_000_000_000


class SystemClock:
    """Implements `core.ports.Clock`: monotonic time plus an offset that follows the wall clock slowly.

    A wall clock that jumps (leap smear, operator, virtual machine) never makes this one jump or run
    backwards: the difference is worked off at 500 ppm of the time that passes, between any two readings.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        started_ns = monotonic_ns()
        #: Monotonic time of the last look at the wall clock; offset then; error found then.
        self._anchor = (started_ns, wall_ns() - started_ns, 0)
        #: Until when the offset stands: no look is due and no error is being worked off (then 0).
        self._steady = (started_ns + CHECK_EVERY_NS, self._anchor[1])

    def now_ns(self) -> int:
        """UTC nanoseconds, never less than any earlier answer."""
        monotonic = self._monotonic_ns()
        until_ns, offset = self._steady
        if monotonic < until_ns:
            return monotonic + offset
        return self._slewed_ns(monotonic)

    def _slewed_ns(self, monotonic: int) -> int:
        """The answer while an error is worked off, or with a look at the wall clock that is due."""
        offset = self._offset_at(monotonic)
        checked_ns, found, error = self._anchor
        if monotonic - checked_ns >= CHECK_EVERY_NS:
            checked_ns, found, error = monotonic, offset, self._wall_ns() - monotonic - offset
            self._anchor = (checked_ns, found, error)
        self._steady = (checked_ns + CHECK_EVERY_NS if offset == found + error else 0, offset)
        return monotonic + offset

    @property
    def behind_ns(self) -> int:
        """How far the wall clock is ahead of this one; alert when it stays large."""
        monotonic = self._monotonic_ns()
        return self._wall_ns() - monotonic - self._offset_at(monotonic)

    def _offset_at(self, monotonic: int) -> int:
        """The offset now: what was found at the last look is worked off as time passes, and no more."""
        checked_ns, offset, error = self._anchor
        if not error:
            return offset
        most = (monotonic - checked_ns) * MAX_SLEW_PPM // 1_000_000
        return offset + max(-most, min(most, error))


class ManualClock:
    """A clock that stands still until it is moved; it cannot be moved back."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move to a later moment; an earlier one leaves it where it is."""
        self._now_ns = max(self._now_ns, now_ns)
