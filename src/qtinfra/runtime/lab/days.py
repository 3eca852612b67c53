"""A recorded day for the lab: what printed, minute by minute, and a view of it that ends at a moment.

The market's side (`LabDay`) holds the whole day. A decision is only ever given a `Past`, which answers from
prints and quotes that were known by its moment and refuses questions about later ones.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from qtinfra.marketdata.bars import MINUTE_NS, BarDay


class LookAheadError(ValueError):
    """A decision asked for something that was not known at its moment."""


class Minute(msgspec.Struct, frozen=True, gc=False):
    """One minute of the tape.

    Attributes:
        volume: shares, above 0.
        vwap: volume-weighted price as recorded, dollars; late prints can move it out of low and high.
        low, high: dollars.
    """

    volume: int
    vwap: float
    low: float
    high: float

    @property
    def tradable(self) -> float:
        """The average price, no further out than the prices at which the minute traded."""
        return min(max(self.vwap, self.low), self.high)


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A best bid and offer in dollars, with displayed shares; sizes are 0 where the feed has none."""

    bid: float
    ask: float
    bid_size: int = 0
    ask_size: int = 0


class QuoteTimes(msgspec.Struct, frozen=True):
    """Quotes by the moment from which they stand, UTC nanoseconds, ascending; None where none is firm."""

    times: tuple[int, ...]
    states: tuple[Quote | None, ...]

    def at(self, ts_ns: int, strictly_before: bool = False) -> Quote | None:
        """The quote that stands at this moment; None before the first one and while none is firm."""
        find = bisect_left if strictly_before else bisect_right
        place = find(self.times, ts_ns) - 1
        return self.states[place] if place >= 0 else None


class LabDay(msgspec.Struct, frozen=True):
    """One symbol's session.

    Attributes:
        trade_date: ISO 8601, the venue's.
        open_ns, close_ns: UTC nanoseconds; the close is exclusive.
        known_ns: when each print (of a bar feed, each bar) was known, ascending: the end of a bar.
        volumes, lasts: shares of each print, and the price after it, dollars.
        totals: shares printed up to and with each print.
        minutes: of the session by their number since the open; absent ones had no trades.
        quotes: recorded quotes; None for feeds without.
        step_ns: how often an order can be looked at.
    """

    symbol: str
    trade_date: str
    open_ns: int
    close_ns: int
    half_day: bool
    known_ns: tuple[int, ...]
    volumes: tuple[int, ...]
    lasts: tuple[float, ...]
    totals: tuple[int, ...]
    minutes: dict[int, Minute]
    quotes: QuoteTimes | None = None
    step_ns: int = MINUTE_NS

    @property
    def volume(self) -> int:
        """Shares of the session, auctions at the close left out."""
        return self.totals[-1] if self.totals else 0

    def minute_at(self, ts_ns: int) -> Minute | None:
        """The minute that runs at this moment; None where nothing traded in it or outside the session."""
        if not self.open_ns <= ts_ns < self.close_ns:
            return None
        return self.minutes.get((ts_ns - self.open_ns) // MINUTE_NS)

    def traded(self, start_ns: int, end_ns: int) -> tuple[int, float]:
        """Shares and VWAP (dollars, 0 without trades) of the minutes that begin in this time."""
        first, last = _minute(self, start_ns), _minute(self, end_ns)
        found = [minute for number, minute in self.minutes.items() if first <= number < last]
        shares = sum(minute.volume for minute in found)
        notional = sum(minute.volume * minute.vwap for minute in found)
        return shares, notional / shares if shares else 0.0

    def binned(self, minutes: int) -> list[int]:
        """Shares per bin of so many minutes, 0 where nothing traded."""
        bins = [0] * -((self.open_ns - self.close_ns) // (minutes * MINUTE_NS))
        for number, minute in self.minutes.items():
            bins[number // minutes] += minute.volume
        return bins


class Past:
    """What was known of a day at a moment: prints that were over, quotes from before."""

    def __init__(self, day: LabDay, now_ns: int) -> None:
        self._day, self.now_ns = day, now_ns
        self._count = bisect_right(day.known_ns, now_ns)

    @property
    def last(self) -> float | None:
        """The last price known, dollars; None before the first print."""
        return self._day.lasts[self._count - 1] if self._count else None

    @property
    def quote(self) -> Quote | None:
        """The recorded quote from before this moment; None where none stands or the feed has none."""
        quotes = self._day.quotes
        return None if quotes is None else quotes.at(self.now_ns, strictly_before=True)

    def volume(self, start_ns: int, end_ns: int | None = None) -> int:
        """Shares of the prints that became known after `start_ns`, up to and with `end_ns` (default: now).

        Raises:
            LookAheadError: the end is after this view's moment.
        """
        day, end = self._day, self.now_ns if end_ns is None else end_ns
        if end > self.now_ns:
            raise LookAheadError(f"volume until {end}: at {self.now_ns} it is not known")
        first = bisect_right(day.known_ns, min(start_ns, end))
        last = self._count if end == self.now_ns else bisect_right(day.known_ns, end)
        return _total(day.totals, last) - _total(day.totals, first)


def _total(totals: Sequence[int], count: int) -> int:
    return totals[count - 1] if count else 0


def _minute(day: LabDay, ts_ns: int) -> int:
    """The number of the first minute that begins at this moment or later."""
    return -((day.open_ns - ts_ns) // MINUTE_NS)


def totals_of(volumes: Sequence[int]) -> tuple[int, ...]:
    """Running sums."""
    return tuple(accumulate(volumes))


def from_bars(symbol: str, day: BarDay) -> LabDay:
    """A session of minute bars; a bar is known when its minute is over."""
    session = day.session
    volumes = tuple(bar.volume for bar in day.bars)
    return LabDay(
        symbol,
        session.trade_date,
        session.open_ns,
        session.close_ns,
        session.half_day,
        tuple(bar.ts_ns + MINUTE_NS for bar in day.bars),
        volumes,
        tuple(float(bar.close) for bar in day.bars),
        totals_of(volumes),
        {
            (bar.ts_ns - session.open_ns) // MINUTE_NS: Minute(
                bar.volume, float(bar.vwap), float(bar.low), float(bar.high)
            )
            for bar in day.bars
        },
    )
