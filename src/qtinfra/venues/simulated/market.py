"""One symbol at a matching venue: its book, and the orders that wait beside it for a price or an auction."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from qtinfra.core.decimals import EXACT
from qtinfra.core.market import Level, VenueQuote
from qtinfra.core.models import TimeInForce
from qtinfra.core.writes import quick_writes
from qtinfra.venues.simulated.auction import AuctionOrder
from qtinfra.venues.simulated.book import BookOrder, OrderBook, TickLevel
from qtinfra.venues.simulated.grid import Grid
from qtinfra.venues.simulated.orders import Listing
from qtinfra.venues.simulated.terms import PegTerms, peg_price

#: Price levels that a quote displays on each side.
DISPLAYED_LEVELS = 5
#: A quote that stays as it is gets a new time with the first change of its book after so many nanoseconds.
CONFIRMED_EVERY_NS = 100_000_000


class HaltEntry(StrEnum):
    """New orders while a symbol is halted: refused, or queued for the re-opening auction."""

    REJECT = "reject"
    QUEUE = "queue"


class AuctionTimes(msgspec.Struct, frozen=True, gc=False):
    """From these moments (UTC nanoseconds) on, orders for an auction can be neither entered nor changed.

    None: until the auction itself. NYSE's for the close is 10 minutes before it (NYSE Rule 7.35B).
    """

    on_open_cutoff_ns: int | None = None
    on_close_cutoff_ns: int | None = None

    def over(self, tif: TimeInForce, now_ns: int) -> bool:
        """Whether the cut-off of the auction has come."""
        opening = tif is TimeInForce.AT_OPEN
        cutoff_ns = self.on_open_cutoff_ns if opening else self.on_close_cutoff_ns
        return cutoff_ns is not None and now_ns >= cutoff_ns


@quick_writes
class Market(msgspec.Struct, eq=False):
    """One symbol's state.

    Attributes:
        halted: nothing trades. `call`: orders are collected for the opening. `close_held`: the closing was.
        stops: trigger price in ticks and entry by entry id, in order of arrival.
        pegs: what pegged orders follow and their entries by entry id, whether or not they rest now.
        on_auction: orders for the opening and the closing, in order of arrival.
    """

    symbol: str
    grid: Grid
    book: OrderBook
    halted: bool = False
    call: bool = False
    close_held: bool = False
    changed_ns: int = 0
    quoted_version: int = -1
    quoted_others: int = -1
    quoted_depth: tuple[tuple[TickLevel, ...], tuple[TickLevel, ...]] = ((), ())
    quoted: VenueQuote | None = None
    stops: dict[int, tuple[int, BookOrder]] = {}
    pegs: dict[int, tuple[PegTerms, BookOrder]] = {}
    on_auction: list[tuple[TimeInForce, BookOrder]] = []

    @classmethod
    def of(cls, listing: Listing) -> Market:
        return cls(listing.symbol, Grid(listing.tick, listing.lot), OrderBook())

    def quote(self, mic: str) -> VenueQuote:
        """The best levels without our own orders.

        While the book changes and what it displays to others does not, the quote stays the same object, for
        `CONFIRMED_EVERY_NS` at most; the next change after that confirms it with a new time.
        """
        book, quoted = self.book, self.quoted
        if quoted is not None and self.quoted_version == book.version:
            return quoted
        self.quoted_version = book.version
        recent = quoted is not None and self.changed_ns - quoted.ts_ns < CONFIRMED_EVERY_NS
        if quoted is not None and recent and self.quoted_others == book.others:
            return quoted
        self.quoted_others = book.others
        depth = book.depth(DISPLAYED_LEVELS, own=False)
        if quoted is None or not recent or depth != self.quoted_depth:
            bids, asks = _levels(self.grid, depth[0]), _levels(self.grid, depth[1])
            self.quoted = quoted = VenueQuote(mic, bids, asks, self.changed_ns)
            self.quoted_depth = depth
        return quoted

    def queue_ahead(self, entry: BookOrder) -> Decimal:
        """What stands before an order that has just begun to rest, at its price."""
        if entry.hidden or entry.level is None:
            return self.grid.quantity(self.book.ahead(entry.order_id)[1])
        return self.grid.quantity(entry.level.units - entry.shown)

    # --- orders that wait -----------------------------------------------------------------------------------

    def triggered(self) -> int | None:
        """The oldest stop order that the last trade brings to life: at or through its price."""
        last = self.book.last_price
        if last is None:
            return None
        for entry_id, (trigger, entry) in self.stops.items():
            if last >= trigger if entry.buy else last <= trigger:
                return entry_id
        return None

    def moved_peg(self) -> tuple[int, int | None] | None:
        """The oldest pegged order that is not where it should be, and where that is (None: nowhere)."""
        if not self.pegs:
            return None
        bid, ask = self._unpegged(True), self._unpegged(False)
        for entry_id, (terms, entry) in self.pegs.items():
            price = peg_price(terms, entry.buy, bid, ask)
            if price != (entry.price if entry.level is not None else None):
                return entry_id, price
        return None

    def _unpegged(self, buy: bool) -> int | None:
        """The best displayed price without pegged orders: a peg must not follow itself."""
        for order in self.book.resting(buy):
            if not order.hidden and order.order_id not in self.pegs:
                return order.price
        return None

    def lift(self, entry: BookOrder) -> None:
        """Take an order out of the book, if it rests there."""
        if entry.level is not None:
            self.book.cancel(entry.order_id)

    def remove(self, entry: BookOrder) -> None:
        """Take an order out of wherever it waits."""
        self.lift(entry)
        self.stops.pop(entry.order_id, None)
        self.pegs.pop(entry.order_id, None)
        self.on_auction = [item for item in self.on_auction if item[1] is not entry]

    def amend_peg(self, entry: BookOrder, units: int, limit: int | None) -> None:
        """New open units and a new limit for a pegged order; it arrives anew where it belongs then."""
        terms, _ = self.pegs[entry.order_id]
        self.lift(entry)
        entry.leaves, entry.price = units, None
        self.pegs[entry.order_id] = (replace(terms, limit=limit), entry)

    def amend_waiting(self, entry: BookOrder, units: int, price: int | None) -> None:
        """New terms for a stop order or one for an auction, where only fewer units keep the place."""
        worse = units > entry.leaves or (entry.price is not None and price != entry.price)
        entry.leaves = units
        if entry.price is not None:
            entry.price = price
        if worse:
            later = [item for item in self.on_auction if item[1] is entry]
            self.on_auction = [item for item in self.on_auction if item[1] is not entry] + later

    # --- auctions -------------------------------------------------------------------------------------------

    def reference(self, price: Decimal | None) -> int | None:
        """A reference price in ticks, rounded down; by default the last trade here."""
        return self.book.last_price if price is None else int(EXACT.divide_int(price, self.grid.tick))

    def auction_orders(self, tif: TimeInForce | None) -> list[AuctionOrder]:
        """Everything that takes part: at one price what rests in the book, then orders for this auction."""
        resting = [*self.book.resting(True), *self.book.resting(False)]
        special = [entry for kind, entry in self.on_auction if kind is tif]
        return [
            AuctionOrder(o.order_id, o.buy, o.price, o.leaves, -o.order_id, o.smp, o.mode)
            for o in (*resting, *special)
        ]

    def execute(self, order_id: int, units: int) -> None:
        """Trade units of an order that takes part."""
        if self.book.order(order_id) is None:
            self._special(order_id).leaves -= units
            return
        self.book.execute(order_id, units)
        if self.book.order(order_id) is None:
            self.pegs.pop(order_id, None)

    def withdraw(self, order_id: int, units: int) -> None:
        """Take units off an order that takes part; with none left it is out."""
        entry = self.book.order(order_id) or self._special(order_id)
        left = entry.leaves - units
        if not left:
            self.remove(entry)
        elif entry.level is not None:
            self.book.amend(order_id, left, entry.price or 0)
        else:
            entry.leaves = left

    def end_auction(self, tif: TimeInForce | None) -> list[BookOrder]:
        """The orders that were for this auction alone; what is left of them goes."""
        over = [entry for kind, entry in self.on_auction if kind is tif]
        self.on_auction = [item for item in self.on_auction if item[0] is not tif]
        return over

    def _special(self, order_id: int) -> BookOrder:
        return next(entry for _, entry in self.on_auction if entry.order_id == order_id)


def _levels(grid: Grid, levels: tuple[TickLevel, ...]) -> tuple[Level, ...]:
    return tuple((grid.price(ticks), grid.quantity(units)) for ticks, units in levels)
