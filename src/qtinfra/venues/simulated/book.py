"""One symbol's limit order book with price-display-time priority.

A better price trades first; at one price, what is displayed before what is hidden, and then who came first.
An iceberg shows a slice; when that has traded, the next slice is displayed as if it had just arrived.

The book counts prices in ticks and quantities in units, both plain integers: matching is then exact and fast.
`Grid` is the boundary to decimals. The book knows nothing of clients, messages or time of day.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.venues.simulated.grid import Grid
from qtinfra.venues.simulated.selfmatch import Prevented, SmpMode, prevention

__all__ = ["BookOrder", "Grid", "Level", "OrderBook", "TickLevel", "Trade"]

#: One level of depth: price in ticks, quantity in units.
TickLevel = tuple[int, int]

_NO_LIMIT = -(1 << 200)  # below every key: a market order trades at any price


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
        display: units that an iceberg shows at a time; 0 shows all. `reserve`: units that wait behind them.
        hidden: nothing of it is displayed; at its price it trades after everything that is.
        smp: orders under the same one do not trade with each other; `mode` says what happens then.
        blocked: self-match prevention has ended it.
        level: the queue it rests in, None while it does not rest. `before`, `behind`: its neighbours there.
    """

    order_id: int
    buy: bool
    leaves: int
    price: int | None
    rests: bool = True
    minimum: int = 0
    own: bool = False
    display: int = 0
    hidden: bool = False
    smp: str = ""
    mode: SmpMode = SmpMode.CANCEL_NEWEST
    reserve: int = 0
    blocked: bool = False
    level: Level | None = None
    before: BookOrder | None = None
    behind: BookOrder | None = None

    @property
    def shown(self) -> int:
        """Units in the queue now: all but an iceberg's reserve."""
        return self.leaves - self.reserve


class Level:
    """A first-in-first-out queue at one price: `units` in it, `own` of them ours, and `reserve` behind it.

    A price has one queue for what is displayed and a `dark` one for hidden orders, which trades later. The
    limit of the last order that traded whole here is `reached_by`: the same object reaches it again. `px` is
    the price in currency per unit, once one has.
    """

    __slots__ = ("dark", "head", "own", "price", "px", "reached_by", "reserve", "tail", "units")

    def __init__(self, price: int, dark: bool) -> None:
        self.price = price
        self.dark = dark
        self.units = 0
        self.own = 0
        self.reserve = 0
        self.head: BookOrder | None = None
        self.tail: BookOrder | None = None
        self.reached_by: Decimal | None = None
        self.px = ZERO


def _key(buy: bool, price: int, dark: bool) -> int:
    """Grows towards the touch; at one price the dark queue lies just behind the displayed one."""
    return 2 * (price if buy else -price) + (not dark)


class Side:
    """Levels of one side by `_key`; `first` is the one that trades next, of the last of the sorted `keys`."""

    __slots__ = ("first", "keys", "levels")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}
        self.first: Level | None = None

    def open(self, key: int, level: Level) -> None:
        self.levels[key] = level
        insort(self.keys, key)
        if self.keys[-1] == key:
            self.first = level

    def drop(self, key: int) -> None:
        del self.levels[key]
        if self.keys[-1] == key:
            self.keys.pop()
            self.first = self.levels[self.keys[-1]] if self.keys else None
        else:
            del self.keys[bisect_left(self.keys, key)]

    def available(self, floor: int, wanted: int) -> int:
        """Units that trade at `floor` or better; counting stops once `wanted` is reached."""
        found = 0
        for key in reversed(self.keys):
            if key < floor or found >= wanted:
                break
            found += self.levels[key].units + self.levels[key].reserve
        return found

    def best(self) -> int | None:
        """The best displayed price."""
        for key in reversed(self.keys):
            if not self.levels[key].dark:
                return self.levels[key].price
        return None

    def depth(self, count: int, own: bool) -> tuple[TickLevel, ...]:
        found: list[TickLevel] = []
        for key in reversed(self.keys):
            if len(found) >= count:
                break
            level = self.levels[key]
            units = level.units if own else level.units - level.own
            if units and not level.dark:
                found.append((level.price, units))
        return tuple(found)


class OrderBook:
    """Price-display-time priority for one symbol.

    Trades print at the resting order's price. `version` grows with every change, `others` with those that
    concern more than our own resting orders; `trades` and `traded_units` count what has matched; `prevented`
    lists the self-matches that the last `add` or `amend` did not make. `MatchingVenue.trade_whole` reads and
    writes sides and counters itself.
    """

    __slots__ = (
        "_orders",
        "asks",
        "bids",
        "last_price",
        "others",
        "prevented",
        "traded_units",
        "trades",
        "version",
    )

    def __init__(self) -> None:
        self.bids = Side()
        self.asks = Side()
        self._orders: dict[int, BookOrder] = {}
        self.version = 0
        self.others = 0
        self.trades = 0
        self.traded_units = 0
        self.last_price: int | None = None
        self.prevented: list[Prevented] = []

    # --- commands ---------------------------------------------------------------------------------------

    def add(self, order: BookOrder) -> list[Trade]:
        """Match an arriving order; what is left rests or, by its terms, is cancelled.

        Afterwards `order.leaves` is what did not trade, and `order.level` is set when it rests.

        Raises:
            ValueError: the id rests already, or quantity or price is not positive; nothing changed.
        """
        price = order.price
        if order.order_id in self._orders or order.leaves <= 0 or (price is not None and price <= 0):
            raise _not_new(order)
        other = self.asks if order.buy else self.bids
        floor = _NO_LIMIT if price is None else _key(not order.buy, price, True)
        keys = other.keys
        trades: list[Trade] = []
        self.version += 1
        if self.prevented:
            self.prevented = []
        if keys and keys[-1] >= floor:
            if order.minimum and self._tradable(order, other, floor) < order.minimum:
                return trades
            self.others += 1
            self._match(order, other, floor, trades)
        elif order.minimum:
            return trades
        if order.leaves and order.rests and price is not None and not order.blocked:
            self._rest(order, price)
        return trades

    def enqueue(self, order: BookOrder) -> None:
        """Let a limit order rest without matching, as before an auction: the book may cross.

        Raises:
            ValueError: as `add`, or it has no limit price; nothing changed.
        """
        price = order.price
        if order.order_id in self._orders or order.leaves <= 0 or (price is not None and price <= 0):
            raise _not_new(order)
        if price is None:
            raise ValueError(f"an order without a price cannot rest: {order.order_id}")
        self.version += 1
        self._rest(order, price)

    def execute(self, order_id: int, units: int) -> None:
        """Trade units of a resting order, as in an auction; the rest keeps its place.

        Raises:
            KeyError: no such order rests here.
            ValueError: not between 1 and its open units; nothing changed.
        """
        order = self._orders[order_id]
        if not 0 < units <= order.leaves:
            raise ValueError(f"{units} of {order.leaves} units")
        if units == order.leaves:
            self.cancel(order_id)
            order.leaves = 0
            return
        self.version += 1
        self._shrink(order, units)

    def print_auction(self, price: int, units: int) -> None:
        """Count an auction's one print, whose orders traded by `execute` or never rested here."""
        self.trades += 1
        self.traded_units += units
        self.last_price = price

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
            self.prevented = []
            self.version += 1
            self._shrink(order, order.leaves - units)
            return []
        self.cancel(order_id)
        order.leaves, order.price, order.minimum = units, price, 0
        return self.add(order)

    # --- queries ----------------------------------------------------------------------------------------

    def best_bid(self) -> int | None:
        """Highest displayed bid in ticks."""
        return self.bids.best()

    def best_ask(self) -> int | None:
        """Lowest displayed offer in ticks."""
        return self.asks.best()

    @property
    def crossed(self) -> bool:
        """Whether orders rest that could trade with each other, as they may before an auction."""
        bids, asks = self.bids, self.asks
        if not bids.keys or not asks.keys:
            return False
        return bids.levels[bids.keys[-1]].price >= asks.levels[asks.keys[-1]].price

    def resting(self, buy: bool) -> Iterator[BookOrder]:
        """All orders of one side as they would trade. The book must not change meanwhile."""
        side = self.bids if buy else self.asks
        for key in reversed(side.keys):
            order = side.levels[key].head
            while order is not None:
                yield order
                order = order.behind

    def depth(self, levels: int, *, own: bool = True) -> tuple[tuple[TickLevel, ...], tuple[TickLevel, ...]]:
        """Bids and asks, best first, at most `levels` each; `own=False` leaves our orders out."""
        return self.bids.depth(levels, own), self.asks.depth(levels, own)

    def level_count(self, buy: bool) -> int:
        """How many prices one side displays."""
        side = self.bids if buy else self.asks
        return sum(not level.dark for level in side.levels.values())

    def units_at(self, buy: bool, price: int, *, own: bool = True) -> int:
        """Units displayed at one price."""
        side = self.bids if buy else self.asks
        level = side.levels.get(2 * price + 1 if buy else 1 - 2 * price)
        if level is None:
            return 0
        return level.units if own else level.units - level.own

    def better_than(self, buy: bool, price: int) -> list[BookOrder]:
        """Resting orders of one side that are priced strictly better, best first, in time order."""
        side, bound = self.bids if buy else self.asks, _key(buy, price, False)
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

        The reserve of icebergs is not counted before displayed orders, and it is before hidden ones.

        Raises:
            KeyError: no such order rests here.
        """
        order = self._orders[order_id]
        orders = units = 0
        before = order.before
        while before is not None:
            orders += 1
            units += before.shown
            before = before.before
        if order.hidden:
            side = self.bids if order.buy else self.asks
            level = side.levels.get(_key(order.buy, order.price or 0, False))
            before = level.tail if level is not None else None
            while before is not None:
                orders += 1
                units += before.leaves
                before = before.before
        return orders, units

    # --- mechanics --------------------------------------------------------------------------------------

    def _match(self, taker: BookOrder, other: Side, floor: int, trades: list[Trade]) -> None:
        keys, levels, leaves, traded = other.keys, other.levels, taker.leaves, 0
        while leaves and keys and keys[-1] >= floor:
            level = levels[keys[-1]]
            maker = level.head
            while leaves and maker is not None:
                if taker.smp and maker.smp == taker.smp:
                    leaves -= self._prevent(taker, maker, level, leaves)
                    maker = level.head
                    continue
                shown = maker.leaves - maker.reserve
                units = shown if shown < leaves else leaves
                leaves -= units
                traded += units
                maker.leaves -= units
                level.units -= units
                if maker.own:
                    level.own -= units
                trades.append(Trade(maker.order_id, taker.order_id, level.price, units))
                if units < shown:
                    break
                maker = self._pop_head(maker, level)
            if level.head is None:
                other.drop(keys[-1])
        if trades:
            self.last_price = trades[-1].price
        self.trades += len(trades)
        self.traded_units += traded
        if not taker.blocked:
            taker.leaves = leaves

    def _prevent(self, taker: BookOrder, maker: BookOrder, level: Level, leaves: int) -> int:
        """Keep the two from trading; the units that the arriving order loses, all when it is over."""
        done = prevention(taker.mode, (maker.order_id, maker.leaves), (taker.order_id, leaves))
        self.prevented.append(done)
        if done.maker_ends:
            level.units -= maker.shown
            level.own -= maker.shown if maker.own else 0
            level.reserve -= maker.reserve
            maker.reserve, maker.blocked = 0, True
            self._pop_head(maker, level)
        elif done.maker_units:
            self._shrink(maker, done.maker_units)
        if done.taker_ends:
            taker.blocked, taker.leaves = True, leaves
        return done.taker_units

    def _tradable(self, taker: BookOrder, other: Side, floor: int) -> int:
        """Units that an arriving order would trade; without self-matches, counted up to its minimum."""
        if not taker.smp:
            return other.available(floor, taker.minimum)
        traded, leaves = 0, taker.leaves
        for key in reversed(other.keys):
            if key < floor or not leaves:
                break
            queue = deque(_queue(other.levels[key]))
            while queue and leaves:
                smp, shown, reserve, display = queue.popleft()
                if smp == taker.smp:
                    done = prevention(taker.mode, (0, shown + reserve), (0, leaves))
                    leaves -= done.taker_units
                    if not done.maker_units:
                        break
                    continue
                units = min(shown, leaves)
                leaves, traded = leaves - units, traded + units
                if reserve:
                    following = min(display, reserve)
                    queue.append((smp, following, reserve - following, display))
        return traded

    def _pop_head(self, maker: BookOrder, level: Level) -> BookOrder | None:
        """The first of the queue has traded what it showed; who is first now."""
        following = maker.behind
        level.head = following
        if following is None:
            level.tail = None
        else:
            following.before = None
            maker.behind = None
        if maker.reserve:
            units = min(maker.display, maker.reserve)
            maker.reserve -= units
            level.reserve -= units
            self._append(maker, level)
            return level.head
        maker.level = None
        del self._orders[maker.order_id]
        return following

    def _shrink(self, order: BookOrder, units: int) -> None:
        """Take units off a resting order, from its reserve first; at least one stays."""
        self.others += not order.own
        level = order.level
        if level is None:
            raise KeyError(order.order_id)
        hidden = min(units, order.reserve)
        order.leaves -= units
        order.reserve -= hidden
        level.reserve -= hidden
        level.units -= units - hidden
        if order.own:
            level.own -= units - hidden

    def _rest(self, order: BookOrder, price: int) -> None:
        buy, dark = order.buy, order.hidden
        side, key = (self.bids, 2 * price) if buy else (self.asks, -2 * price)  # as `_key` has it
        if not dark:
            key += 1
        level = side.levels.get(key)
        if level is None:
            level = Level(price, dark)
            side.open(key, level)
        if not order.own:
            self.others += 1
        if order.display:
            order.reserve = max(0, order.leaves - order.display)
            level.reserve += order.reserve
        self._append(order, level)
        self._orders[order.order_id] = order

    def _append(self, order: BookOrder, level: Level) -> None:
        """Put an order at the end of the queue with what it shows."""
        tail = level.tail
        if tail is None:
            level.head = order
        else:
            tail.behind = order
            order.before = tail
        level.tail = order
        shown = order.leaves - order.reserve
        level.units += shown
        if order.own:
            level.own += shown
        order.level = level

    def _unlink(self, order: BookOrder, level: Level) -> None:
        self.others += not order.own
        before, behind = order.before, order.behind
        if before is None:
            level.head = behind
        else:
            before.behind = behind
        if behind is None:
            level.tail = before
        else:
            behind.before = before
        shown = order.leaves - order.reserve
        level.units -= shown
        if order.own:
            level.own -= shown
        if order.reserve:
            level.reserve -= order.reserve
            order.reserve = 0
        order.before = order.behind = order.level = None
        if level.head is None:
            (self.bids if order.buy else self.asks).drop(_key(order.buy, level.price, level.dark))


def _not_new(order: BookOrder) -> ValueError:
    return ValueError(f"id in use, or quantity or price not positive: {order.order_id}")


def _queue(level: Level) -> Iterator[tuple[str, int, int, int]]:
    """What self-match prevention needs to know of each order in a queue."""
    order = level.head
    while order is not None:
        yield order.smp, order.shown, order.reserve, order.display
        order = order.behind
