"""Confidence intervals of paired comparisons by block bootstrap.

The unit is a trading date with everything that was measured on it: symbols of one day move together. Dates
are drawn in blocks of consecutive ones, wrapped around the end, so that what lasts for days stays together;
both sides of a pair are always drawn together. Equal seeds give equal intervals.

Source: D. Politis, J. Romano, "A circular block-resampling procedure for stationary data", in Exploring
the Limits of Bootstrap (1992); percentile interval: B. Efron, R. Tibshirani, An Introduction to the
Bootstrap (1993).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import msgspec

T = TypeVar("T")

#: Trading days of one block: a week.
BLOCK_DAYS = 5
RESAMPLES = 2_000


class Interval(msgspec.Struct, frozen=True):
    """A statistic of the sample, and the bounds within which its resamples fall with the confidence."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


def block_bootstrap(
    days: Sequence[Sequence[T]],
    statistic: Callable[[Sequence[T]], float],
    seed: int,
    *,
    block: int = BLOCK_DAYS,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """The interval of a statistic over all items.

    Args:
        days: the items of each date, dates in order.
        block: consecutive dates drawn together, at least 1; more than there are counts as all.

    Raises:
        ValueError: no items, or a number out of its range.
    """
    if not any(days) or block < 1 or resamples < 1 or not 0 < confidence < 1:
        raise ValueError("items on at least one day, a block and resamples of at least 1, 0 < confidence < 1")
    rng, count = Random(seed), len(days)
    length = min(block, count)
    draws = []
    for _ in range(resamples):
        found: list[T] = []
        taken = 0
        while taken < count or not found:
            start = rng.randrange(count)
            for offset in range(min(length, max(1, count - taken))):
                found.extend(days[(start + offset) % count])
            taken += length
        draws.append(statistic(found))
    draws.sort()
    cut = (1 - confidence) / 2
    low, high = draws[int(cut * resamples)], draws[min(resamples - 1, int((1 - cut) * resamples))]
    return Interval(statistic([item for day in days for item in day]), low, high)
