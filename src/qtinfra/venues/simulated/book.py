"""One symbol's limit order book with price-time priority.

The book counts prices in ticks and quantities in units, both plain integers: matching is then exact and fast.
`Grid` is the boundary to decimals. The book knows nothing of clients, messages or time of day.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import EXACT, ONE, canonical

#: One level of depth: price in ticks, quantity in units.
TickLevel = tuple[int, int]

_NO_LIMIT = -(1 << 200)  # below every key: a market order trades at any price


class Grid:
    """Exact conversion between decimals and the book's integers.

    Args:
        tick: smallest price step, in currency per unit.
        lot: smallest quantity step, in units of the instrument.
    """

    __slots__ = ("_prices", "_whole", "lot", "tick")

    def __init__(self, tick: Decimal, lot: Decimal = ONE) -> None:
        if tick <= 0 or lot <= 0:
            raise ValueError(f"tick and lot must be positive, not {tick} and {lot}")
        self.tick = tick
        self.lot = lot
        self._whole = lot == ONE
        self._prices: dict[int, Decimal] = {}

    def ticks(self, price: Decimal) -> int | None:
        """The price in ticks; None when it is not a positive multiple of the tick."""
        return _multiples(price, self.tick)

    def units(self, quantity: Decimal) -> int | None:
        """The quantity in lots; None when it is not a positive multiple of the lot."""
        return _multiples(quantity, self.lot)

    def price(self, ticks: int) -> Decimal:
        """The canonical decimal price."""
        price = self._prices.get(ticks)
        if price is None:
            price = self._prices[ticks] = canonical(EXACT.multiply(self.tick, ticks))
        return price

    def quantity(self, units: int) -> Decimal:
        """The canonical decimal quantity."""
        return Decimal(units) if self._whole else canonical(EXACT.multiply(self.lot, units))


def _multiples(value: Decimal, step: Decimal) -> int | None:
    if not value.is_finite() or value <= 0:
        return None
    count, rest = EXACT.divmod(value, step)
    return None if rest else int(count)


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One match, at the resting order's price. `maker` rested, `taker` arrived; both are order ids."""

    maker: int
    taker: int
    price: int
    units: int


class BookOrder(msgspec.Struct, eq=False):
    """An order as the book sees it; the same object rests in the queue and tells what is left of it.

    Attributes:
        order_id: the caller's, never used twice while the order rests.
        leaves: open units; 0 once filled. What a cancel or kill left open stays readable here.
        price: limit in ticks; None for a market order.
        rests: what is left after matching stays in the book (DAY, GTC). False cancels it (IOC, FOK, market).
        minimum: units that must trade at once, else nothing does; equal to `leaves` it means fill or kill.
        own: one of ours: `depth(own=False)` leaves it out.
        level: the queue it rests in, None while it does not rest. `before`, `behind`: its neighbours there.
    """

    order_id: int
    buy: bool
    leaves: int
    price: int | None
    rests: bool = True
    minimum: int = 0
    own: bool = False
    level: Level | None = None
    before: BookOrder | None = None
    behind: BookOrder | None = None


class Level(msgspec.Struct, eq=False):
    """A first-in-first-out queue of the orders at one price; `own` of its `units` are ours."""

    price: int
    units: int = 0
    own: int = 0
    head: BookOrder | None = None
    tail: BookOrder | None = None


class _Side:
    """Levels of one side. Keys grow towards the touch: the price for bids, its negative for asks."""

    __slots__ = ("keys", "levels")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}

    def drop(self, key: int) -> None:
        del self.levels[key]
        if self.keys[-1] == key:
            self.keys.pop()
        else:
            del self.keys[bisect_left(self.keys, key)]

    def available(self, floor: int, wanted: int) -> int:
        """Units that trade at `floor` or better; counting stops once `wanted` is reached."""
        found = 0
        for key in reversed(self.keys):
            if key < floor or found >= wanted:
                break
            found += self.levels[key].units
        return found

    def depth(self, count: int, own: bool) -> tuple[TickLevel, ...]:
        found: list[TickLevel] = []
        for key in reversed(self.keys):
            if len(found) >= count:
                break
            level = self.levels[key]
            units = level.units if own else level.units - level.own
            if units:
                found.append((level.price, units))
        return tuple(found)


class OrderBook:
    """Price-time priority for one symbol.

    A better price trades first; at one price, who came first. Trades print at the resting order's price.
    `version` grows with every change; `trades` and `traded_units` count what has matched.
    """

    __slots__ = ("_asks", "_bids", "_orders", "last_price", "traded_units", "trades", "version")

    def __init__(self) -> None:
        self._bids = _Side()
        self._asks = _Side()
        self._orders: dict[int, BookOrder] = {}
        self.version = 0
        self.trades = 0
        self.traded_units = 0
        self.last_price: int | None = None

    # --- commands ---------------------------------------------------------------------------------------

    def add(self, order: BookOrder) -> list[Trade]:
        """Match an arriving order; what is left rests or, by its terms, is cancelled.

        Afterwards `order.leaves` is what did not trade, and `order.level` is set when it rests.

        Raises:
            ValueError: the id rests already, or quantity or price is not positive; nothing changed.
        """
        price = order.price
        if order.order_id in self._orders or order.leaves <= 0 or (price is not None and price <= 0):
            raise ValueError(f"id in use, or quantity or price not positive: {order.order_id}")
        other = self._asks if order.buy else self._bids
        floor = _NO_LIMIT if price is None else -price if order.buy else price
        keys = other.keys
        trades: list[Trade] = []
        self.version += 1
        if keys and keys[-1] >= floor:
            if order.minimum and other.available(floor, order.minimum) < order.minimum:
                return trades
            self._match(order, other, floor, trades)
        elif order.minimum:
            return trades
        if order.leaves and order.rests and price is not None:
            self._rest(order, price)
        return trades

    def cancel(self, order_id: int) -> BookOrder:
        """Take a resting order out of the book; its `leaves` says what was still open.

        Raises:
            KeyError: no such order rests here.
        """
        order = self._orders.pop(order_id)
        level = order.level
        if level is None:
            raise KeyError(order_id)
        self.version += 1
        self._unlink(order, level)
        return order

    def amend(self, order_id: int, units: int, price: int) -> list[Trade]:
        """Give a resting order new open units and a new price in ticks; the trades this causes.

        Fewer units at the same price keep time priority. More units or another price lose it: the order
        enters again as if it had just arrived.

        Raises:
            KeyError: no such order rests here.
            ValueError: units or price is not positive; nothing changed.
        """
        order = self._orders[order_id]
        level = order.level
        if units <= 0 or price <= 0 or level is None:
            raise ValueError(f"not a valid amendment: {units} units at {price} ticks")
        if price == order.price and units <= order.leaves:
            removed = order.leaves - units
            order.leaves = units
            level.units -= removed
            if order.own:
                level.own -= removed
            self.version += 1
            return []
        self.cancel(order_id)
        order.leaves, order.price, order.minimum = units, price, 0
        return self.add(order)

    # --- queries ----------------------------------------------------------------------------------------

    def best_bid(self) -> int | None:
        """Highest bid in ticks."""
        return self._bids.keys[-1] if self._bids.keys else None

    def best_ask(self) -> int | None:
        """Lowest offer in ticks."""
        return -self._asks.keys[-1] if self._asks.keys else None

    def depth(self, levels: int, *, own: bool = True) -> tuple[tuple[TickLevel, ...], tuple[TickLevel, ...]]:
        """Bids and asks, best first, at most `levels` each; `own=False` leaves our orders out."""
        return self._bids.depth(levels, own), self._asks.depth(levels, own)

    def level_count(self, buy: bool) -> int:
        """How many prices one side has."""
        return len(self._bids.keys if buy else self._asks.keys)

    def units_at(self, buy: bool, price: int, *, own: bool = True) -> int:
        """Units displayed at one price."""
        level = self._bids.levels.get(price) if buy else self._asks.levels.get(-price)
        if level is None:
            return 0
        return level.units if own else level.units - level.own

    def better_than(self, buy: bool, price: int) -> list[BookOrder]:
        """Resting orders of one side that are priced strictly better, best first, in time order."""
        side, bound = (self._bids, price) if buy else (self._asks, -price)
        found: list[BookOrder] = []
        for key in reversed(side.keys):
            if key <= bound:
                break
            order = side.levels[key].head
            while order is not None:
                found.append(order)
                order = order.behind
        return found

    def order(self, order_id: int) -> BookOrder | None:
        """The resting order, if it rests."""
        return self._orders.get(order_id)

    def ahead(self, order_id: int) -> tuple[int, int]:
        """Queue position: how many orders, and how many units, trade before this one at its price.

        Raises:
            KeyError: no such order rests here.
        """
        orders = units = 0
        before = self._orders[order_id].before
        while before is not None:
            orders += 1
            units += before.leaves
            before = before.before
        return orders, units

    # --- mechanics --------------------------------------------------------------------------------------

    def _match(self, taker: BookOrder, other: _Side, floor: int, trades: list[Trade]) -> None:
        keys, levels, leaves = other.keys, other.levels, taker.leaves
        while leaves and keys and keys[-1] >= floor:
            level = levels[keys[-1]]
            maker = level.head
            while leaves and maker is not None:
                units = maker.leaves if maker.leaves < leaves else leaves
                leaves -= units
                maker.leaves -= units
                level.units -= units
                if maker.own:
                    level.own -= units
                trades.append(Trade(maker.order_id, taker.order_id, level.price, units))
                if maker.leaves:
                    break
                maker = self._pop_head(maker, level)
            if level.head is None:
                del levels[keys.pop()]
            self.last_price = level.price
        self.trades += len(trades)
        self.traded_units += taker.leaves - leaves
        taker.leaves = leaves

    def _pop_head(self, maker: BookOrder, level: Level) -> BookOrder | None:
        following = maker.behind
        level.head = following
        if following is None:
            level.tail = None
        else:
            following.before = None
            maker.behind = None
        maker.level = None
        del self._orders[maker.order_id]
        return following

    def _rest(self, order: BookOrder, price: int) -> None:
        side, key = (self._bids, price) if order.buy else (self._asks, -price)
        level = side.levels.get(key)
        if level is None:
            level = side.levels[key] = Level(price)
            insort(side.keys, key)
        tail = level.tail
        if tail is None:
            level.head = order
        else:
            tail.behind = order
            order.before = tail
        level.tail = order
        level.units += order.leaves
        if order.own:
            level.own += order.leaves
        order.level = level
        self._orders[order.order_id] = order

    def _unlink(self, order: BookOrder, level: Level) -> None:
        before, behind = order.before, order.behind
        if before is None:
            level.head = behind
        else:
            before.behind = behind
        if behind is None:
            level.tail = before
        else:
            behind.before = before
        order.before = order.behind = order.level = None
        level.units -= order.leaves
        if order.own:
            level.own -= order.leaves
        if level.head is None:
            side, key = (self._bids, level.price) if order.buy else (self._asks, -level.price)
            side.drop(key)
