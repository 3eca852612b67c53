"""A circuit breaker per venue, as a pure state machine; `engine.evolve_routing` applies events to it.

CLOSED counts failures; enough of them within the window open it. OPEN lets nothing through until its
cool-down is over; then the next order that would go there is its probe and makes it HALF_OPEN, which lets
nothing through until the probe is answered, or for another cool-down when it is not: success closes it,
failure opens it for twice as long. Lost links still count after it has closed.

Source: M. Nygard, Release It!, 2nd ed. (2018), chapter 5, "Circuit Breaker".
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from qtinfra.core.routing import BreakerTerms


class BreakerPhase(StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Breaker(msgspec.Struct):
    """One venue's breaker.

    Attributes:
        refused, lost: when orders were refused or left in doubt, and when links broke, UTC nanoseconds, the
            oldest first; no more than open it.
        until_ns: end of the cool-down, or of the wait for the probe's answer.
        trips: openings since the venue was last sound.
        probe: child that tries the venue; empty for none.
    """

    phase: BreakerPhase = BreakerPhase.CLOSED
    refused: list[int] = []
    lost: list[int] = []
    until_ns: int = 0
    trips: int = 0
    probe: str = ""

    def blocks(self, now_ns: int) -> bool:
        """Whether nothing may go to the venue now."""
        if self.phase is BreakerPhase.CLOSED:
            return False
        return now_ns < self.until_ns

    def failed(self, lost_link: bool, now_ns: int, terms: BreakerTerms) -> None:
        """Count a failure."""
        times = self.lost if lost_link else self.refused
        times.append(now_ns)
        del times[: -terms.failures]

    def answered(self, now_ns: int, terms: BreakerTerms) -> None:
        """The venue has worked an order: refusals before it count no more, lost links until they are old."""
        self.refused.clear()
        self.lost = [when for when in self.lost if when > now_ns - terms.window_ns]

    @property
    def clear(self) -> bool:
        """Whether there is nothing to remember."""
        return self.phase is BreakerPhase.CLOSED and not self.refused and not self.lost


def failures_with(breaker: Breaker | None, now_ns: int, terms: BreakerTerms) -> int:
    """Failures within the window when one more has come now."""
    if breaker is None:
        return 1
    oldest = now_ns - terms.window_ns
    return 1 + sum(when > oldest for when in (*breaker.refused, *breaker.lost))


def opens(breaker: Breaker | None, now_ns: int, terms: BreakerTerms) -> bool:
    """Whether one more failure opens the breaker: enough have come, or a probe is out.

    A failure while it is open (of an order sent before) keeps it as it is.
    """
    if breaker is not None and breaker.phase is not BreakerPhase.CLOSED:
        return breaker.phase is BreakerPhase.HALF_OPEN
    return failures_with(breaker, now_ns, terms) >= terms.failures


def cooldown_ns(breaker: Breaker | None, terms: BreakerTerms) -> int:
    """How long the next opening lasts."""
    trips = breaker.trips if breaker is not None else 0
    return terms.cooldown_ns << min(trips, terms.max_doublings)
