"""Our orders over a recorded book: what they take, where they queue, and when recorded trading reaches them.

The rule is in `recorded`. Here prices are integers in 1/10,000 dollar and quantities whole shares; reports,
decimals and order handling are the venue's business.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from qtinfra.core.market import Level
from qtinfra.marketdata.lobster import (
    BUY,
    EXECUTION,
    HIDDEN_EXECUTION,
    SELL,
    LobsterMessage,
    RecordedBook,
    RecordedOrder,
    dollars,
)

#: Price levels that are displayed on each side.
DISPLAYED_LEVELS = 10

_EVERY_KEY = 1 << 62
_TRADES = (EXECUTION, HIDDEN_EXECUTION)


class OverlayOrder(msgspec.Struct, eq=False):
    """The working part of one of our orders.

    Attributes:
        number: the caller's; tells whose order it is.
        side: BUY or SELL.
        price: limit; None takes at any price and never rests.
        leaves: open shares.
        arrival: recorded orders up to this sequence are ahead of it at its price.
        place: time order among ours.
        queue_ahead: shares that stood before it when it began to rest.
    """

    number: int
    side: int
    price: int | None
    leaves: int
    arrival: int = 0
    place: int = 0
    queue_ahead: int = 0

    @property
    def key(self) -> int:
        """Ascends from the best price of the side."""
        return -self.side * (self.price or 0)


#: Shares of a resting order of ours that recorded trading filled.
OverlayFill = tuple[OverlayOrder, int]


class Overlay:
    """Our orders and what they took, over a recorded book that only `apply` moves, as recorded.

    Attributes:
        book: the recorded book.
        consumed: shares that arriving orders of ours took, by the recorded order's `seq`.
        version: grows when what `depth` shows may have changed; `changed_ns` is when that was last.
    """

    def __init__(self, book: RecordedBook) -> None:
        self.book = book
        self.consumed: dict[int, int] = {}
        self.version = 0
        self.changed_ns = book.ts_ns
        self._resting: dict[int, list[OverlayOrder]] = {BUY: [], SELL: []}
        self._touched: dict[int, dict[int, dict[int, RecordedOrder]]] = {BUY: {}, SELL: {}}
        self._ladders: dict[int, tuple[Level, ...] | None] = {BUY: None, SELL: None}
        self._edges = {BUY: _EVERY_KEY, SELL: _EVERY_KEY}  # key of the last level that a ladder shows
        self._places = 0

    # --- what is displayed ------------------------------------------------------------------------------

    def available(self, order: RecordedOrder) -> int:
        """Shares of a recorded order that are still there after what we took."""
        return max(0, order.size - self.consumed.get(order.seq, 0))

    def depth(self, side: int) -> tuple[Level, ...]:
        """The best recorded levels less what we took: dollars per share and shares."""
        cached = self._ladders[side]
        if cached is not None:
            return cached
        touched = self._touched[side]
        found: list[Level] = []
        edge = _EVERY_KEY
        for level in self.book.side(side).ladder():
            size = level.size
            if level.price in touched:
                hit = touched[level.price].values()
                size -= sum(order.size - self.available(order) for order in hit)
            if size:
                found.append((dollars(level.price), Decimal(size)))
            if len(found) == DISPLAYED_LEVELS:
                edge = -side * level.price
                break
        self._edges[side] = edge
        ladder = self._ladders[side] = tuple(found)
        return ladder

    def _changed(self, side: int, price: int, ts_ns: int) -> None:
        if self._ladders[side] is None or -side * price <= self._edges[side]:
            self._ladders[side] = None
            self.version += 1
            self.changed_ns = ts_ns

    # --- the recording ----------------------------------------------------------------------------------

    def apply(self, message: LobsterMessage) -> list[OverlayFill]:
        """Let one recorded message happen; the fills of our resting orders, whose `leaves` shrink.

        Raises:
            RecordedDataError: the message contradicts the recorded book.
        """
        kind, side = message.kind, message.side
        if kind < HIDDEN_EXECUTION:
            self._changed(side, message.price, message.ts_ns)
        if kind not in _TRADES or not self._resting[side]:
            self.book.apply(message)
            return []
        hit = self.book.target(message) if kind == EXECUTION else None
        taken = hit.size - self.available(hit) if hit is not None else 0
        self.book.apply(message)
        still_taken = hit.size - self.available(hit) if hit is not None else 0
        shares = message.size - (taken - still_taken)  # shares that we took before trade with nobody again
        return [] if self.book.halted else self._reach(message, hit, shares)

    def _reach(self, message: LobsterMessage, hit: RecordedOrder | None, shares: int) -> list[OverlayFill]:
        key = -message.side * message.price
        fills: list[OverlayFill] = []
        for order in tuple(self._resting[message.side]):
            if not shares or order.key > key:
                break
            if order.key == key and not self._is_first(order, message, hit):
                continue
            units = min(shares, order.leaves)
            shares -= units
            order.leaves -= units
            fills.append((order, units))
            if not order.leaves:
                self.remove(order)
        return fills

    def _is_first(self, order: OverlayOrder, message: LobsterMessage, hit: RecordedOrder | None) -> bool:
        """Whether ours is before what was executed at its price. Unknown recorded orders are the oldest."""
        if message.kind == HIDDEN_EXECUTION:
            return not self._recorded_ahead(order)
        return hit is not None and hit.seq > order.arrival

    # --- our orders -------------------------------------------------------------------------------------

    def reachable(self, order: OverlayOrder) -> int:
        """Shares that the order could take now, however many it wants."""
        return sum(units for _, units in self._displayed(order))

    def take(self, order: OverlayOrder, now_ns: int) -> list[tuple[int, int]]:
        """Take what is displayed within the limit: prices and shares, one pair per recorded order."""
        takes: list[tuple[int, int]] = []
        for recorded, displayed in self._displayed(order):
            units = min(displayed, order.leaves)
            order.leaves -= units
            self.consumed[recorded.seq] = self.consumed.get(recorded.seq, 0) + units
            self._touched[recorded.side].setdefault(recorded.price, {})[recorded.seq] = recorded
            self._changed(recorded.side, recorded.price, now_ns)
            takes.append((recorded.price, units))
            if not order.leaves:
                break
        return takes

    def _displayed(self, order: OverlayOrder) -> Iterator[tuple[RecordedOrder, int]]:
        """Recorded orders within the limit and their shares for us: best price first, then oldest first."""
        side = -order.side
        for level in self.book.side(side).ladder():
            if order.price is not None and (level.price - order.price) * side < 0:
                return
            for recorded in level.orders.values():
                units = self.available(recorded)
                if units:
                    yield recorded, units

    def rest(self, order: OverlayOrder) -> None:
        """Queue behind everything that is displayed at the price now, and behind our earlier orders there."""
        self._places += 1
        order.place, order.arrival = self._places, self.book.seq
        order.queue_ahead = self.ahead(order)
        insort(self._resting[order.side], order, key=lambda resting: (resting.key, resting.place))

    def remove(self, order: OverlayOrder) -> None:
        """Take an order of ours out of its queue, if it rests."""
        queue = self._resting[order.side]
        if order in queue:
            queue.remove(order)

    def ahead(self, order: OverlayOrder) -> int:
        """Shares that stand before a resting order of ours now: recorded ones and our earlier ones."""
        ours = (
            other.leaves
            for other in self._resting[order.side]
            if other.price == order.price and other.place < order.place
        )
        return self._recorded_ahead(order) + sum(ours)

    def _recorded_ahead(self, order: OverlayOrder) -> int:
        level = self.book.side(order.side).levels.get(order.price or 0)
        if level is None:
            return 0
        older = (recorded for recorded in level.orders.values() if recorded.seq <= order.arrival)
        return sum(self.available(recorded) for recorded in older)
