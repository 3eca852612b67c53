"""A volume curve that follows the day: what is still expected, and what an order that is behind asks for."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum


def expected_volumes(
    curve: Sequence[float], place: int, part: float, seen: float, daily_volume: float, prior_days: float
) -> list[float]:
    """Volume of each bin from number `place` on: the curve at the level that the day has shown.

    The level is the mean of a gamma prior with the day before's expectation and the weight of `prior_days`
    days, updated with counts: volume so far against the share of the day that it should be.

    Args:
        curve: shares of a day, summing to 1. part: of the running bin, still to come.
        seen: shares printed since the open. daily_volume: shares expected before the open.

    Source:
        Gelman et al., Bayesian Data Analysis (2013), section 2.6: Poisson counts with exposure.
    """
    exposure = fsum(curve[:place]) + curve[place] * (1 - part)
    level = (daily_volume * prior_days + seen) / (prior_days + exposure)
    return [level * share for share in curve[place:]]


def steered(expected: Sequence[float], part: float, seen: float, done: float) -> tuple[float, ...]:
    """Volumes from which `Vwap.plan` holds, at the end of the first bin, the day's part of the order.

    A plan made in mid-day spreads what is left over the volume still to come, so that what the order is
    behind or ahead of the day's volume stays. These volumes bring it back within the running bin and no
    faster: an order that is ahead waits there.

    Args:
        expected: of the bins from the running one to the order's end, as whole bins, any unit.
        part: how much of the running bin is still to come, above 0 and up to 1.
        seen: printed from the order's start until now, in the same unit.
        done: executed part of the order, from 0 to 1.

    Source:
        Konishi (2002): the error is that of the executed part against the day's; where the price is a
        martingale the best aim is the expected share of the volume at every moment.
    """
    after = sum(expected[1:])
    total = seen + expected[0] * part + after
    now = max(0.0, total * (1 - done) - after)
    return (now / part, *expected[1:]) if now or after else tuple(expected)
