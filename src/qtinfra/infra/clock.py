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
    backwards: the difference is worked off at 500 ppm.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._checked_ns = monotonic_ns()
        self._offset_ns = wall_ns() - self._checked_ns
        self._last_ns = self._checked_ns + self._offset_ns

    def now_ns(self) -> int:
        """UTC nanoseconds, never less than any earlier answer."""
        monotonic = self._monotonic_ns()
        if monotonic - self._checked_ns >= CHECK_EVERY_NS:
            self._slew(monotonic)
        now = monotonic + self._offset_ns
        self._last_ns = max(self._last_ns, now)
        return self._last_ns

    @property
    def behind_ns(self) -> int:
        """How far the wall clock is ahead of this one; alert when it stays large."""
        return self._wall_ns() - self._monotonic_ns() - self._offset_ns

    def _slew(self, monotonic: int) -> None:
        error = self._wall_ns() - monotonic - self._offset_ns
        most = (monotonic - self._checked_ns) * MAX_SLEW_PPM // 1_000_000
        self._offset_ns += max(-most, min(most, error))
        self._checked_ns = monotonic


class ManualClock:
    """A clock that stands still until it is moved; it cannot be moved back."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move to a later moment; an earlier one leaves it where it is."""
        self._now_ns = max(self._now_ns, now_ns)
