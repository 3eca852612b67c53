"""A midpoint dark pool: nothing is displayed, and everything trades at the middle of a reference quote.

- Orders trade at the midpoint of the reference's best bid and offer, to the half tick, when both limits allow
  it. While the reference is one-sided, locked, crossed or not live nothing trades.
- An arriving order meets resting ones in time order. A resting order takes part only when its share is at
  least its minimum quantity (or all that is left of it); the arriving one trades only when its total is at
  least its own minimum. Otherwise nothing trades, and a day order rests.
- When the reference moves (`reference_changed`), resting orders try each other again, the oldest first.
- Self-match prevention is done as orders meet, whether or not a minimum then keeps the rest from trading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.market import VenueQuote
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueNewOrder, VenueReport
from qtinfra.venues.simulated import reasons
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.desk import OrderDesk
from qtinfra.venues.simulated.grid import Grid
from qtinfra.venues.simulated.orders import Listing, VenueOrder
from qtinfra.venues.simulated.selfmatch import SmpMode, prevention
from qtinfra.venues.simulated.terms import ON_AUCTION, Peg, read_terms

#: The quote that the pool prices from: symbol and time (UTC nanoseconds) to a quote, None when there is none.
Reference = Callable[[str, int], VenueQuote | None]

_HALF = Decimal("0.5")


def midpoint(quote: VenueQuote | None) -> Decimal | None:
    """The exact middle of a live quote whose bid is below its ask; else None."""
    if quote is None or not quote.live or not quote.bids or not quote.asks:
        return None
    bid, ask = quote.bids[0][0], quote.asks[0][0]
    return canonical(EXACT.multiply(EXACT.add(bid, ask), _HALF)) if bid < ask else None


class _Pool(msgspec.Struct, eq=False):
    """One symbol: its grid and the resting orders of both sides in time order."""

    grid: Grid
    orders: list[BookOrder] = []


class DarkVenue(OrderDesk):
    """A midpoint pool; implements `VenueModel`. Takes limit, market and midpoint-pegged orders.

    Args:
        mic: ISO 10383 code.
        listings: what it trades.
        reference: the quote that its prices come from.
        smp_mode: self-match prevention of orders that carry an id but no mode.
    """

    def __init__(
        self,
        mic: str,
        listings: Iterable[Listing],
        reference: Reference,
        trade_date: str = "",
        *,
        smp_mode: SmpMode = SmpMode.CANCEL_NEWEST,
    ) -> None:
        super().__init__(mic, trade_date)
        self._pools = {item.symbol: _Pool(Grid(item.tick, item.lot)) for item in listings}
        self._reference = reference
        self._smp_mode = smp_mode

    def quote(self, symbol: str, now_ns: int) -> VenueQuote | None:
        """Empty: the pool displays nothing. None for a symbol that it does not trade."""
        return VenueQuote(self._mic, (), (), now_ns) if symbol in self._pools else None

    def background_add(self, symbol: str, order: BookOrder, now_ns: int) -> list[VenueReport]:
        """Somebody else's order enters, its limit in ticks (None: any midpoint); the reports about ours.

        Raises:
            KeyError: the symbol is not listed.
            ValueError: the id or the quantity is not positive.
        """
        if order.order_id <= 0 or order.leaves <= 0:
            raise ValueError("ids of other people's orders are positive, and so are quantities")
        pool = self._pools[symbol]
        if not self._open:
            return []
        reports = self._cross(symbol, pool, order, now_ns)
        if order.leaves and order.rests and not order.blocked:
            pool.orders.append(order)
        return reports

    def background_cancel(self, symbol: str, order_id: int) -> bool:
        """Somebody else's order leaves; False when it no longer rests."""
        pool = self._pools[symbol]
        left = [order for order in pool.orders if order.order_id != order_id or order_id <= 0]
        found = len(left) < len(pool.orders)
        pool.orders = left
        return found

    def reference_changed(self, symbol: str, now_ns: int) -> list[VenueReport]:
        """The reference has moved: resting orders that it lets trade do."""
        pool, reports = self._pools[symbol], list[VenueReport]()
        for order in tuple(pool.orders):
            if self._open and order in pool.orders:
                reports += self._cross(symbol, pool, order, now_ns)
                if order.blocked or not order.leaves:
                    pool.orders = [other for other in pool.orders if other is not order]
                if order.blocked and order.order_id < 0:
                    own = self._db.get(order.order_id)
                    reports.append(self._db.end(own, ReportKind.CANCELED, reasons.SELF_MATCH, now_ns))
        return reports

    # --- the desk's hooks -----------------------------------------------------------------------------------

    def _trading(self, now_ns: int) -> bool:
        del now_ns
        return self._open

    def _read(self, message: VenueNewOrder, now_ns: int) -> tuple[BookOrder, Grid] | str:
        del now_ns
        pool = self._pools.get(message.symbol)
        if pool is None:
            return reasons.UNKNOWN_SYMBOL
        pegged = message.order_type is OrderType.PEGGED
        kinds = (OrderType.LIMIT, OrderType.MARKET, OrderType.PEGGED)
        if message.order_type not in kinds or message.tif in ON_AUCTION or message.display_qty:
            return reasons.UNSUPPORTED
        if pegged and (message.peg != Peg.MIDPOINT or message.peg_offset):
            return reasons.INVALID_PEG
        plain = msgspec.structs.replace(message, min_qty=ZERO)
        terms = read_terms(plain, pool.grid, self._db.next_number, self._smp_mode)
        if isinstance(terms, str):
            return terms
        entry = terms.entry
        if message.min_qty and not entry.minimum:
            minimum = pool.grid.units(message.min_qty)
            if minimum is None or minimum > entry.leaves:
                return reasons.INVALID_QTY
            entry.minimum = minimum
        return entry, pool.grid

    def _price(self, own: VenueOrder, price: Decimal) -> int | None:
        return own.grid.ticks(price)

    def _withdraw(self, own: VenueOrder) -> None:
        pool = self._pools[own.terms.symbol]
        pool.orders = [order for order in pool.orders if order is not own.entry]

    def _arrive(self, own: VenueOrder, now_ns: int) -> list[VenueReport]:
        entry, pool = own.entry, self._pools[own.terms.symbol]
        reports = self._cross(own.terms.symbol, pool, entry, now_ns)
        if not entry.leaves:
            return reports
        if entry.rests and not entry.blocked:
            pool.orders.append(entry)
            return reports
        reason = reasons.SELF_MATCH if entry.blocked else _why_cancelled(own)
        return [*reports, self._db.end(own, ReportKind.CANCELED, reason, now_ns)]

    # --- matching -------------------------------------------------------------------------------------------

    def _cross(self, symbol: str, pool: _Pool, taker: BookOrder, now_ns: int) -> list[VenueReport]:
        """Let one order meet the resting ones; the reports about ours."""
        price = midpoint(self._reference(symbol, now_ns))
        if price is None or not _allows(taker, price, pool.grid):
            return []
        reports: list[VenueReport] = []
        plan: list[tuple[BookOrder, int]] = []
        left = taker.leaves
        for maker in tuple(pool.orders):
            if maker.buy is taker.buy or not _allows(maker, price, pool.grid):
                continue
            if taker.smp and maker.smp == taker.smp:
                lost, said = self._prevent(pool, maker, taker, left, now_ns)
                left, reports = left - lost, reports + said
            elif (units := min(maker.leaves, left)) >= min(maker.minimum, maker.leaves):
                plan.append((maker, units))
                left -= units
            if not left:
                break
        total = sum(units for _, units in plan)
        if total < min(taker.minimum, taker.leaves):
            return reports
        for maker, units in plan:
            reports += self._execute(pool, maker, taker, (units, price), now_ns)
        return reports

    def _prevent(
        self, pool: _Pool, maker: BookOrder, taker: BookOrder, left: int, now_ns: int
    ) -> tuple[int, list[VenueReport]]:
        """Keep two orders of one id apart: what the arriving one loses of `left`, and the reports."""
        done = prevention(taker.mode, (maker.order_id, maker.leaves), (taker.order_id, left))
        reports: list[VenueReport] = []
        if done.maker_ends:
            pool.orders = [order for order in pool.orders if order is not maker]
        elif done.maker_units:
            maker.leaves -= done.maker_units
        if maker.order_id < 0 and done.maker_units:
            own = self._db.get(maker.order_id)
            if done.maker_ends:
                reports.append(self._db.end(own, ReportKind.CANCELED, reasons.SELF_MATCH, now_ns))
            else:
                reports.append(self._db.decrement(own, done.maker_units, now_ns))
        if done.taker_ends:
            taker.blocked = True
        elif done.taker_units:
            taker.leaves -= done.taker_units
            if taker.order_id < 0:
                own = self._db.get(taker.order_id)
                reports.append(self._db.decrement(own, done.taker_units, now_ns))
        return done.taker_units, reports

    def _execute(
        self, pool: _Pool, maker: BookOrder, taker: BookOrder, trade: tuple[int, Decimal], now_ns: int
    ) -> list[VenueReport]:
        units, px = trade
        maker.leaves -= units
        taker.leaves -= units
        if not maker.leaves:
            pool.orders = [order for order in pool.orders if order is not maker]
        sides = ((taker, Liquidity.REMOVED), (maker, Liquidity.ADDED))
        return [
            self._db.fill(self._db.get(order.order_id), units, px, liquidity, now_ns, reasons.MIDPOINT_FLAG)
            for order, liquidity in sides
            if order.order_id < 0
        ]


def _allows(order: BookOrder, price: Decimal, grid: Grid) -> bool:
    """Whether the order's limit lets it trade at the price."""
    if order.price is None:
        return True
    limit = grid.price(order.price)
    return price <= limit if order.buy else price >= limit


def _why_cancelled(own: VenueOrder) -> str:
    if own.terms.tif is TimeInForce.FOK:
        return reasons.FOK
    if own.entry.minimum and not own.cum:
        return reasons.MIN_QTY
    return reasons.IOC if own.terms.tif is TimeInForce.IOC else reasons.NO_LIQUIDITY
