"""What a slice gets from the recorded market, and at which cost. The order leaves the recorded prices alone.

A slice takes at most a tenth of what its minute traded, all of the order's slices in it together, and
pays the half-spread and the temporary impact of Almgren, Thum, Hauptmann and Li at its share of the minute's
volume. Permanent impact is left out: the recorded prices cannot answer the order.

- Minute bars say nothing of the touch within the minute: a slice trades at the minute's average price, within
  low and high, plus the estimated half-spread, as one that follows the touch for the minute.
- Recorded quotes: a slice takes the far side as it stands `LATENCY_NS` after the decision, at most the size
  displayed, and nothing when that is beyond its price; the impact comes on top.

Source: R. Almgren, C. Thum, E. Hauptmann, H. Li, Risk 18 (2005), 57-62.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.impact.power_law import impact
from qtinfra.runtime.lab.days import LabDay, Minute

#: Largest part of a minute's volume that an order takes, as 1 / this.
MINUTE_PARTS = 10
#: From the decision to the venue.
LATENCY_NS = 10_000_000
_BPS = 10_000


class LabFill(msgspec.Struct, frozen=True, gc=False):
    """Shares at a price in dollars, all costs in it; when, UTC nanoseconds."""

    ts_ns: int
    qty: int
    price: Decimal


class Street:
    """The market's side of a day for one order."""

    def __init__(self, day: LabDay, buy: bool, volatility: float, spread_bps: float) -> None:
        """`volatility` per day as a fraction, `spread_bps` of the price: from earlier days."""
        self._day, self._sign = day, 1 if buy else -1
        self._volatility, self._half = volatility, spread_bps / 2 / _BPS
        self._number, self._taken = -1, 0

    def take(self, now_ns: int, wanted: int, limit: Decimal | None) -> LabFill | None:
        """Trade up to `wanted` shares of a slice decided at `now_ns`; None when nothing trades."""
        minute = self._day.minute_at(now_ns)
        if minute is None:
            return None
        self._turn_to((now_ns - self._day.open_ns) // 60_000_000_000)
        room = minute.volume // MINUTE_PARTS - self._taken
        if self._day.quotes is None:
            qty, price = min(wanted, room), minute.tradable * (1 + self._sign * self._half)
        else:
            found = self._touch(now_ns, limit)
            if found is None:
                return None
            qty, price = min(wanted, room, found[1]), found[0]
        if qty <= 0:
            return None
        self._taken += qty
        paid = price * (1 + self._sign * self._impact(minute))
        return LabFill(now_ns, qty, Decimal(f"{paid:.6f}"))

    def _turn_to(self, number: int) -> None:
        if number != self._number:
            self._number, self._taken = number, 0

    def _touch(self, now_ns: int, limit: Decimal | None) -> tuple[float, int] | None:
        quotes = self._day.quotes
        quote = quotes.at(now_ns + LATENCY_NS) if quotes is not None else None
        if quote is None:
            return None
        price, size = (quote.ask, quote.ask_size) if self._sign > 0 else (quote.bid, quote.bid_size)
        beyond = limit is not None and self._sign * (price - float(limit)) > 1e-9
        return None if beyond else (price, size)

    def _impact(self, minute: Minute) -> float:
        """Temporary impact at the order's share of the minute so far, as a fraction of the price."""
        return impact(self._taken / minute.volume, 1.0, self._volatility, 1.0).temporary
