"""A schedule in time that the day's volume steers: ahead where more has printed than expected, else behind.

The plan stands as it was journaled. What moves is how far along it the order shall be: the part of the day's
volume that has printed, of what is expected of the whole day at the level that the day has shown so far.
The engine and the simulation lab call the same function.
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal

from qtinfra.core.algo import Schedule
from qtinfra.core.decimals import EXACT, ONE, ZERO

#: Weight of the volume expected beforehand against what prints, as a part of the order's own time.
PRIOR = Decimal("0.25")
#: Intervals' worth that may be due in one interval beyond what was done before it.
CATCH_UP = 5
#: How far the order may be from its plan at most, as a part of it: a wrong profile or a feed that has died
#: costs no more than this.
STRAY = Decimal("0.15")
#: Places of an expected rate.
_RATE_PLACES = 18


def expected_rate(own: Decimal, others: Decimal) -> Decimal | None:
    """own / (own + others), cut off after 18 places; None where nothing else is expected or it is below that.

    Args:
        own: units to trade. others: units that others are expected to trade in the same time.
    """
    if not (own > ZERO and others > ZERO):
        return None
    rate = EXACT.divide_int(EXACT.scaleb(own, _RATE_PLACES), EXACT.add(own, others))
    return EXACT.scaleb(rate, -_RATE_PLACES) or None


def steered_target(
    schedule: Schedule, now_ns: int, seen: Decimal, done: Decimal, lot: Decimal
) -> Decimal | None:
    """Units that shall be executed or at venues in the running interval, cumulative over the parent's life.

    With x = volume seen over volume expected in the order's time, s the part of it that the plan expects
    before the interval, ds in the interval, and p the prior's weight, the day's level is (p + x) / (p + s),
    and the target at the interval's end is the part (x + level ds) / (x + level (1 - s)) of the order.
    What it is behind is made up at no more than `CATCH_UP` times the pace that finishes the rest on plan,
    and the target stays within `STRAY` of the plan's.

    Args:
        schedule: with the rate that its plan expected; its targets are the expected parts.
        seen: units that others printed from the plan until the running interval began.
        done: units of the parent executed when the interval began.
        lot: units of a round lot.

    Returns:
        The target, half-up to the lot where no bound decides; None where the plan's own counts: it expects no
        rate, nothing has printed yet, or its first or last interval runs.

    Source:
        Gelman et al., Bayesian Data Analysis (2013), section 2.6 (Poisson counts with exposure); Konishi,
        Optimal slice of a VWAP trade (2002): the best aim is the expected part of the volume at every moment.
    """
    rate, place = schedule.rate, bisect_right(schedule.releases, now_ns) - 1
    if rate is None or seen <= ZERO or not 0 < place < len(schedule.targets) - 1:
        return None
    start, end = schedule.base_qty + schedule.open_qty, schedule.targets[-1]
    whole, before = end - start, schedule.targets[place - 1] - start
    due, rest = schedule.targets[place] - schedule.targets[place - 1], whole - before
    if rest <= ZERO:
        return None
    # x = printed / expected, s = before / whole: everything over one denominator keeps the numbers whole.
    printed, expected = seen * rate, whole * (ONE - rate)
    come = printed * (PRIOR * whole + before)
    level = PRIOR * expected + printed
    target = start + _lots(whole * (come + level * due), come + level * rest, lot)
    stray = STRAY * whole
    target = min(max(target, schedule.targets[place] - stray), schedule.targets[place] + stray)
    most = done + max(lot, _lots(CATCH_UP * (end - done) * due, rest, lot))
    return min(target, most, end)


def _lots(numerator: Decimal, denominator: Decimal, lot: Decimal) -> Decimal:
    """The quotient, half-up to the lot."""
    parts = denominator * lot
    return EXACT.divide_int(2 * numerator + parts, 2 * parts) * lot
