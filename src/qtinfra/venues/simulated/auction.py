"""Call auctions: the price at which most trades, and who trades at it.

The price is the one that (1) executes most units, (2) leaves the smallest imbalance, (3) leaves no limit
order over that is priced better than it, (4) is nearest to the reference price, the lower of two
equally near. At the price, market orders trade first, then better limits, then who came first.

Source: Nasdaq Equity 4, Rule 4754(b)(2): (A) maximise shares, (B) minimise imbalance, (C) the entered price
at which shares will remain unexecuted, (D) nearest to the benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from qtinfra.venues.simulated.selfmatch import Prevented, SmpMode, prevention


class AuctionOrder(msgspec.Struct, frozen=True, gc=False):
    """An order in a call; `price` in ticks, None at the market; `arrival` orders the two of a self-match."""

    order_id: int
    buy: bool
    price: int | None
    units: int
    arrival: int = 0
    smp: str = ""
    mode: SmpMode = SmpMode.CANCEL_NEWEST


class Clearing(msgspec.Struct, frozen=True, gc=False):
    """An auction's price in ticks, units that trade at it, and the imbalance: positive when buys are left."""

    price: int
    units: int
    imbalance: int


#: Units executed by order id, in the order of priority, buys first.
Allocation = tuple[tuple[int, int], ...]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How an auction ended; no clearing means that nothing trades."""

    clearing: Clearing | None
    fills: Allocation
    prevented: tuple[Prevented, ...]


class _Curve:
    """Units that one side would trade at a price; limit orders apart from those at the market."""

    def __init__(self, orders: Iterable[AuctionOrder], buy: bool) -> None:
        self._buy = buy
        self.market = 0
        self.limits: dict[int, int] = {}
        for order in orders:
            if order.buy is not buy:
                continue
            if order.price is None:
                self.market += order.units
            else:
                self.limits[order.price] = self.limits.get(order.price, 0) + order.units

    def at(self, price: int) -> int:
        """Units that trade at the price."""
        return self.market + self._limits(price, strict=False)

    def better(self, price: int) -> int:
        """Units that trade at the price and come before any limit there; 0 without such a limit order."""
        limits = self._limits(price, strict=True)
        return self.market + limits if limits else 0

    def _limits(self, price: int, *, strict: bool) -> int:
        sign = 1 if self._buy else -1
        return sum(n for limit, n in self.limits.items() if (limit - price) * sign >= strict)


def clear(orders: Sequence[AuctionOrder], reference: int | None) -> Clearing | None:
    """The auction's price by the rule above; None when nothing can trade.

    Args:
        orders: all of the call.
        reference: price in ticks that decides between equals; without limit orders it is the price.
    """
    buys, sells = _Curve(orders, True), _Curve(orders, False)
    limits = sorted({**buys.limits, **sells.limits})
    near = reference if reference is not None else limits[0] if limits else None
    if near is None:
        return None
    # Between two limits nothing changes: limits, their neighbours and the reference stand for all prices.
    prices = {near: None}
    for limit in limits:
        prices |= dict.fromkeys((limit - 1, limit, limit + 1))

    def rank(price: int) -> tuple[int, int, bool, int, int]:
        demand, supply = buys.at(price), sells.at(price)
        volume = min(demand, supply)
        left_over = buys.better(price) > volume or sells.better(price) > volume
        return -volume, abs(demand - supply), left_over, abs(price - near), price

    best = min((price for price in prices if price > 0), key=rank)
    demand, supply = buys.at(best), sells.at(best)
    units = min(demand, supply)
    return Clearing(best, units, demand - supply) if units else None


def allocate(orders: Sequence[AuctionOrder], clearing: Clearing) -> Allocation:
    """Who trades how much. Orders of equal price stand in the order of their priority."""
    fills: list[tuple[int, int]] = []
    for buy in (True, False):
        left, sign = clearing.units, -1 if buy else 1
        side = [order for order in orders if order.buy is buy]
        for order in sorted(side, key=lambda o: (o.price is not None, sign * (o.price or 0))):
            inside = order.price is None or (order.price - clearing.price) * sign <= 0
            units = min(order.units, left) if inside else 0
            if units:
                left -= units
                fills.append((order.order_id, units))
    return tuple(fills)


def run(orders: Sequence[AuctionOrder], reference: int | None) -> Outcome:
    """Clear and allocate. An id that would trade on both sides is prevented from it first, pair by pair."""
    present = {order.order_id: order for order in orders}
    prevented: list[Prevented] = []
    while True:
        standing = tuple(present.values())
        clearing = clear(standing, reference)
        fills = allocate(standing, clearing) if clearing is not None else ()
        pair = _self_match([present[order_id] for order_id, _ in fills])
        if pair is None:
            return Outcome(clearing, fills, tuple(prevented))
        older, newer = sorted(pair, key=lambda order: order.arrival)
        done = prevention(newer.mode, (older.order_id, older.units), (newer.order_id, newer.units))
        prevented.append(done)
        for order, lost in ((older, done.maker_units), (newer, done.taker_units)):
            left = order.units - lost
            if left:
                present[order.order_id] = msgspec.structs.replace(order, units=left)
            else:
                del present[order.order_id]


def _self_match(trading: Sequence[AuctionOrder]) -> tuple[AuctionOrder, AuctionOrder] | None:
    """The first buy and sell under one id that would both trade."""
    buys: dict[str, AuctionOrder] = {}
    for order in trading:
        if order.buy and order.smp:
            buys.setdefault(order.smp, order)
    for order in trading:
        if not order.buy and order.smp in buys:
            return buys[order.smp], order
    return None
