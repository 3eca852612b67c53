"""What a planner gets, and what every planner does with time: intervals, curves, auctions, randomisation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Protocol

import msgspec

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.decimals import EXACT, ZERO
from qtinfra.core.strategies.schedule import ScheduleError, integer_schedule, whole_numbers

#: Most intervals of a schedule: one a minute over a day of six and a half hours.
MAX_SLICES = 390
MINUTE_NS = 60_000_000_000

_MASK = (1 << 64) - 1


class PlanInputs(msgspec.Struct, frozen=True, gc=False):
    """The facts that a plan rests on, as they are when it is made.

    Attributes:
        buy: whether the parent buys.
        qty: units of the parent. filled: of them executed.
        lot: units of a round lot.
        now_ns: the moment of planning, UTC nanoseconds.
        open_ns, close_ns: the session's ends; 0 where no calendar says.
        close_cutoff_ns: until when the closing auction takes orders; 0 where there is none to use.
        open_cutoff_ns: likewise for the opening auction.
        curve: volume of equally long bins from `open_ns` to `close_ns`, of any scale; empty for unknown.
        close_volume: units expected in the closing auction; None for unknown.
        daily_volume: units expected in the day; None for unknown.
        daily_volatility: standard deviation of a day's return (0.02 is two percent); None for unknown.
        spread: in price units; None for unknown.
        price: per unit, to turn returns into price units; None for unknown.
    """

    buy: bool
    qty: Decimal
    filled: Decimal
    lot: Decimal
    now_ns: int
    open_ns: int = 0
    close_ns: int = 0
    close_cutoff_ns: int = 0
    open_cutoff_ns: int = 0
    curve: tuple[Decimal, ...] = ()
    close_volume: Decimal | None = None
    daily_volume: Decimal | None = None
    daily_volatility: Decimal | None = None
    spread: Decimal | None = None
    price: Decimal | None = None


class Strategy(Protocol):
    """An execution algorithm: a pure planner, and what it wants at a moment.

    `follows_market`: it has no targets in time and is asked with the volume printed. `resolves`: a change of
    the market's profile or of the progress is worth a new plan.
    """

    @property
    def name(self) -> str: ...

    @property
    def follows_market(self) -> bool: ...

    @property
    def resolves(self) -> bool: ...

    def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
        """Plan what is left of the parent from `inputs.now_ns` on.

        Raises:
            ScheduleError: these terms cannot be planned from these inputs.
        """
        ...

    def target(self, schedule: Schedule, now_ns: int, others: Decimal) -> Decimal:
        """Units that shall be executed or at venues now, cumulative over the parent's life.

        Args:
            others: units that others have printed since the schedule was planned.
        """
        ...


def edges(terms: AlgoTerms, inputs: PlanInputs, end_ns: int = 0) -> tuple[int, ...]:
    """The intervals' ends: equally long parts of what is left of the time, UTC nanoseconds.

    Args:
        end_ns: in place of the terms' end.

    Raises:
        ScheduleError: the end has passed.
    """
    start, end = max(terms.start_ns, inputs.now_ns), end_ns or terms.end_ns
    if end <= start:
        raise ScheduleError("end_ns", f"{end} is not after {start}")
    whole = end - terms.start_ns
    wanted = terms.slices or max(1, min(MAX_SLICES, whole // MINUTE_NS))
    count = max(1, min(wanted, -(-wanted * (end - start) // whole)))
    return tuple(start + (end - start) * place // count for place in range(count + 1))


def split_auctions(terms: AlgoTerms, inputs: PlanInputs) -> tuple[Decimal, Decimal, Decimal]:
    """What is left, as (opening auction, continuous trading, closing auction) in units.

    A part whose auction cannot be reached any more stays with continuous trading.
    """
    left = EXACT.subtract(inputs.qty, inputs.filled)
    opening = inputs.open_cutoff_ns > inputs.now_ns and not inputs.filled
    at_open = _share(inputs.qty, terms.open_share, inputs.lot, left) if opening else ZERO
    left = EXACT.subtract(left, at_open)
    closing = inputs.close_cutoff_ns > inputs.now_ns
    at_close = _share(inputs.qty, terms.close_share, inputs.lot, left) if closing else ZERO
    return at_open, EXACT.subtract(left, at_close), at_close


def _share(qty: Decimal, share: Decimal, lot: Decimal, left: Decimal) -> Decimal:
    """A share of the quantity in whole lots, half-up; all of it when the share is 1."""
    if not share:
        return ZERO
    parts = int(Fraction(qty) * Fraction(share) / Fraction(lot) + Fraction(1, 2))
    return left if share == 1 else min(left, EXACT.multiply(Decimal(parts), lot))


def close_send_ns(terms: AlgoTerms, inputs: PlanInputs) -> int:
    """When the closing auction's part goes out: a minute before the cut-off, or now if that has passed."""
    del terms
    return max(inputs.now_ns, inputs.close_cutoff_ns - MINUTE_NS)


def curve_weights(inputs: PlanInputs, ends: tuple[int, ...]) -> tuple[list[int], int]:
    """The curve's volume between consecutive moments, exactly: whole numbers, and what one stands for.

    Within a bin volume is even. Volume in the curve's own unit is the number divided by the second result.

    Raises:
        ScheduleError: there is no curve, or it has no volume between the first and the last moment.
    """
    volumes, scale = whole_numbers(inputs.curve)
    opened, bins, length = inputs.open_ns, len(volumes), inputs.close_ns - inputs.open_ns
    if length <= 0:
        raise ScheduleError("curve", "a curve needs the session's open and close")
    before = [0, *accumulate(volumes)]
    volumes.append(0)
    reached = []
    for moment in ends:
        place, rest = divmod(min(max(moment - opened, 0), length) * bins, length)
        reached.append(before[place] * length + volumes[place] * rest)
    if reached[-1] == reached[0]:
        raise ScheduleError("curve", "it has no volume in the order's time")
    return [after - start for start, after in pairwise(reached)], scale * length


def in_lots(
    terms: AlgoTerms,
    inputs: PlanInputs,
    ends: tuple[int, ...],
    weights: Sequence[float],
    basis: str,
    split: tuple[Decimal, Decimal, Decimal] | None = None,
    rate: Decimal | None = None,
) -> Schedule:
    """A schedule in time from weights for the intervals between `ends`, with auctions and randomisation.

    Args:
        rate: own / (own + others) that the order is expected to be, for one that the day's volume steers.

    Raises:
        ScheduleError: the weights make no schedule.
    """
    at_open, continuous, at_close = split if split is not None else split_auctions(terms, inputs)
    slices = list(integer_schedule(weights, continuous, inputs.lot))
    if terms.randomise_size:
        slices = _shifted(slices, terms, inputs.lot)
    targets, reached = [], EXACT.add(inputs.filled, at_open)
    for part in slices:
        reached = EXACT.add(reached, part)
        targets.append(reached)
    times = ends[:-1]
    releases = times
    if terms.randomise_time:
        releases = tuple(
            start + int(Fraction(terms.randomise_time) * (end - start) * chance(terms.seed, 2 * place))
            for place, (start, end) in enumerate(pairwise(ends))
        )
    close_ns = close_send_ns(terms, inputs) if at_close else 0
    return Schedule(
        times, releases, tuple(targets), ends[-1], at_open, at_close, close_ns, rate, inputs.filled, basis
    )


def _shifted(slices: list[Decimal], terms: AlgoTerms, lot: Decimal) -> list[Decimal]:
    """Move lots between neighbours: each slice stays within `randomise_size` of its plan, the sum is kept."""
    bound = Fraction(terms.randomise_size) / 2
    moved = list(slices)
    for place in range(len(slices) - 1):
        most = int(bound * Fraction(min(slices[place], slices[place + 1])) / Fraction(lot))
        shift = int(chance(terms.seed, 2 * place + 1) * (2 * most + 1)) - most
        change = EXACT.multiply(Decimal(shift), lot)
        moved[place] = EXACT.add(moved[place], change)
        moved[place + 1] = EXACT.subtract(moved[place + 1], change)
    return moved


def chance(seed: int, draw: int) -> Fraction:
    """A number from 0 (inclusive) to 1 (exclusive), the same for the same seed and draw everywhere.

    Source:
        SplitMix64: Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014).
    """
    value = (seed + (draw + 1) * 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return Fraction(value ^ value >> 31, 1 << 64)


def target_in_time(schedule: Schedule, now_ns: int) -> Decimal:
    """The target of the last release that has come; before the first, what was done when it was planned."""
    place = bisect_right(schedule.releases, now_ns) - 1
    return schedule.targets[place] if place >= 0 else EXACT.add(schedule.base_qty, schedule.open_qty)
