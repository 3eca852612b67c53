"""A venue with a real book per symbol: our orders and other people's meet under price-time priority.

Our side speaks `submit` and gets reports; the other side is the market that drives it (`background_*`).
What an exchange would call its order database is `orders()`: the venue's own record, for reconciliation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from qtinfra.core.decimals import EXACT, ONE, ZERO
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.market import Level, VenueQuote
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    ToVenue,
    VenueCancel,
    VenueMassStatusRequest,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.venues.simulated.book import BookOrder, Grid, OrderBook, TickLevel, Trade

#: Price levels that a quote displays on each side.
DISPLAYED_LEVELS = 5

# Reasons of REJECT, CANCEL_REJECT and REPLACE_REJECT.
UNKNOWN_SYMBOL = "unknown_symbol"
DUPLICATE_CL_ORD_ID = "duplicate_cl_ord_id"
UNSUPPORTED = "unsupported"
INVALID_PRICE = "invalid_price"
INVALID_QTY = "invalid_qty"
HALTED = "halted"
CLOSED = "closed"
TOO_LATE = "too_late"
UNKNOWN_ORDER = "unknown_order"
# Reasons of an unsolicited CANCELED.
IOC = "ioc"
FOK = "fok"
MIN_QTY = "min_qty"
NO_LIQUIDITY = "no_liquidity"
# Reason of EXPIRED.
END_OF_DAY = "end_of_day"

_RESTING = (TimeInForce.DAY, TimeInForce.GTC)
_SUPPORTED_TIF = (*_RESTING, TimeInForce.IOC, TimeInForce.FOK)
_SUPPORTED_TYPES = (OrderType.LIMIT, OrderType.MARKET)


class Listing(msgspec.Struct, frozen=True):
    """A symbol that the venue trades, its price step and its quantity step."""

    symbol: str
    tick: Decimal = Decimal("0.01")
    lot: Decimal = ONE


class ExecutionRecord(msgspec.Struct, frozen=True, gc=False):
    """One execution as it counts today: after corrections, or busted."""

    exec_id: str
    qty: Decimal
    px: Decimal
    liquidity: Liquidity
    source_ns: int
    busted: bool = False


class OrderRecord(msgspec.Struct, frozen=True):
    """The venue's record of one of our orders. `cl_ord_ids`: first to last accepted.

    `cum_qty` counts unbusted executions; `leaves_qty` is what can still trade here.
    """

    cl_ord_ids: tuple[str, ...]
    venue_order_id: str
    symbol: str
    side: OrderSide
    qty: Decimal
    price: Decimal | None
    cum_qty: Decimal
    leaves_qty: Decimal
    live: bool
    rejected: bool
    executions: tuple[ExecutionRecord, ...]


class _Market(msgspec.Struct, eq=False):
    """One symbol at this venue."""

    symbol: str
    grid: Grid
    book: OrderBook
    halted: bool = False
    changed_ns: int = 0
    quoted_version: int = -1
    quoted: VenueQuote | None = None


class _Own(msgspec.Struct, eq=False):
    """One of our orders while the venue works on it, and afterwards."""

    ids: list[str]
    venue_order_id: str
    symbol: str
    side: OrderSide
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    live: bool
    rejected: bool
    entry: BookOrder
    market: _Market | None
    queue_ahead: Decimal = ZERO
    executions: list[ExecutionRecord] = msgspec.field(default_factory=list)

    @property
    def cum(self) -> Decimal:
        total = ZERO
        for execution in self.executions:
            if not execution.busted:
                total = EXACT.add(total, execution.qty)
        return total

    @property
    def leaves(self) -> Decimal:
        return self.market.grid.quantity(self.entry.leaves) if self.live and self.market else ZERO


class MatchingVenue:
    """A continuous limit order book venue; implements `VenueModel`.

    Args:
        mic: ISO 10383 code.
        listings: what it trades.
        trade_date: ISO 8601 date that its reports carry, until `start_day`.
    """

    def __init__(self, mic: str, listings: Iterable[Listing], trade_date: str = "") -> None:
        self._mic = mic
        self._trade_date = trade_date
        self._open = True
        self._markets = {
            item.symbol: _Market(item.symbol, Grid(item.tick, item.lot), OrderBook()) for item in listings
        }
        self._all: list[_Own] = []
        self._by_id: dict[str, _Own | None] = {}  # every id we ever sent; None: it concerned no order
        self._live: dict[int, _Own] = {}  # by book id, in order of arrival
        self._execs: dict[str, tuple[_Own, int]] = {}
        self._exec_count = 0

    @property
    def mic(self) -> str:
        return self._mic

    def submit(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        """Take one message; the reports it causes for our orders, in order, not yet numbered.

        Raises:
            TypeError: a message that no venue knows.
        """
        match message:
            case VenueNewOrder():
                return self._new(message, now_ns)
            case VenueCancel():
                return [self._cancel(message, now_ns)]
            case VenueReplace():
                return self._replace(message, now_ns)
            case VenueStatusRequest():
                return [self._status_of(message.cl_ord_id, now_ns)]
            case VenueMassStatusRequest():
                answers = [self._status_of(own.ids[-1], now_ns) for own in self._live.values()]
                return [*answers, self._say(ReportKind.MASS_STATUS_END, message.cl_ord_id, now_ns)]
        raise TypeError(f"not a message to a venue: {type(message).__name__}")

    def quote(self, symbol: str, now_ns: int) -> VenueQuote | None:
        """The five best levels without our own orders; `ts_ns` is when the book last changed."""
        del now_ns  # the book is as of the last message
        market = self._markets.get(symbol)
        if market is None:
            return None
        if market.quoted is None or market.quoted_version != market.book.version:
            bids, asks = market.book.depth(DISPLAYED_LEVELS, own=False)
            grid = market.grid
            market.quoted = VenueQuote(self._mic, _levels(grid, bids), _levels(grid, asks), market.changed_ns)
            market.quoted_version = market.book.version
        return market.quoted

    def orders(self) -> tuple[OrderRecord, ...]:
        """The venue's record of all our orders, refused ones included, in order of arrival."""
        return tuple(_record(own) for own in self._all)

    def background_add(self, symbol: str, order: BookOrder, now_ns: int) -> list[VenueReport]:
        """Somebody else's order enters; the fills of our resting orders that it causes.

        `order` carries a positive id, unique per symbol; it tells afterwards what rests. While the symbol
        is halted or the venue closed, nothing happens and `order.level` stays None.

        Raises:
            KeyError: the symbol is not listed.
            ValueError: id not positive or in use, quantity or price not positive.
        """
        market = self._markets[symbol]
        if order.order_id <= 0:
            raise ValueError("ids of other people's orders are positive")
        if market.halted or not self._open:
            return []
        market.changed_ns = now_ns
        return self._fill_ours(market.book.add(order), now_ns)

    def background_cancel(self, symbol: str, order_id: int, now_ns: int) -> bool:
        """Somebody else's order leaves; False when it no longer rests."""
        market = self._markets[symbol]
        if order_id <= 0 or market.book.order(order_id) is None:
            return False
        market.book.cancel(order_id)
        market.changed_ns = now_ns
        return True

    def _fill_ours(self, trades: list[Trade], now_ns: int) -> list[VenueReport]:
        ours = [trade for trade in trades if trade.maker < 0]
        return [self._fill(self._live[trade.maker], trade, Liquidity.ADDED, now_ns) for trade in ours]

    def book(self, symbol: str) -> OrderBook:
        """The symbol's book, to read. KeyError when not listed."""
        return self._markets[symbol].book

    def halt(self, symbol: str, halted: bool) -> None:
        """Stop or resume trading in a symbol; while halted, resting orders may still be cancelled."""
        self._markets[symbol].halted = halted

    def is_halted(self, symbol: str) -> bool:
        return self._markets[symbol].halted

    def start_day(self, trade_date: str) -> None:
        """Open for a trading date (ISO 8601). GTC orders of the day before still rest."""
        self._trade_date = trade_date
        self._open = True

    def end_day(self, now_ns: int) -> list[VenueReport]:
        """Close: DAY orders expire, new orders are refused until `start_day`."""
        self._open = False
        ending = [own for own in self._live.values() if own.tif is not TimeInForce.GTC]
        for own in ending:
            self._take_out(own, now_ns)
        kind = ReportKind.EXPIRED
        return [self._say(kind, own.ids[-1], now_ns, own, reason=END_OF_DAY) for own in ending]

    def bust(self, exec_id: str, now_ns: int = 0) -> list[VenueReport]:
        """Cancel an execution. The quantity does not come back into the book.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before.
        """
        own, index = self._unbusted(exec_id)
        own.executions[index] = replace(own.executions[index], busted=True)
        said = self._say(ReportKind.BUST, own.ids[-1], now_ns, own)
        return [replace(said, exec_id=self._next_exec(), ref_exec_id=exec_id)]

    def correct(self, exec_id: str, qty: Decimal, px: Decimal, now_ns: int = 0) -> list[VenueReport]:
        """Change quantity and price of an execution, which keeps its id.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before, or quantity or price is not positive.
        """
        if qty <= 0 or px <= 0:
            raise ValueError(f"not a valid correction: {qty} at {px}")
        own, index = self._unbusted(exec_id)
        own.executions[index] = replace(own.executions[index], qty=qty, px=px)
        said = self._say(ReportKind.CORRECT, own.ids[-1], now_ns, own)
        return [replace(said, exec_id=self._next_exec(), ref_exec_id=exec_id, qty=qty, px=px)]

    def _unbusted(self, exec_id: str) -> tuple[_Own, int]:
        own, index = self._execs[exec_id]
        if own.executions[index].busted:
            raise ValueError(f"{exec_id} was busted before")
        return own, index

    def _new(self, message: VenueNewOrder, now_ns: int) -> list[VenueReport]:
        if message.cl_ord_id in self._by_id:
            return [self._say(ReportKind.REJECT, message.cl_ord_id, now_ns, reason=DUPLICATE_CL_ORD_ID)]
        market = self._markets.get(message.symbol)
        number = len(self._all) + 1
        terms = self._terms(message, market, number)
        own = _Own(
            ids=[message.cl_ord_id],
            venue_order_id=f"{self._mic}-O{number}",
            symbol=message.symbol,
            side=message.side,
            tif=message.tif,
            qty=message.qty,
            price=message.price,
            live=not isinstance(terms, str),
            rejected=isinstance(terms, str),
            entry=terms if isinstance(terms, BookOrder) else BookOrder(-number, False, 0, None, own=True),
            market=market,
        )
        self._all.append(own)
        self._by_id[message.cl_ord_id] = own
        if isinstance(terms, str) or market is None:
            return [self._say(ReportKind.REJECT, message.cl_ord_id, now_ns, reason=str(terms))]
        self._live[terms.order_id] = own
        ack = self._say(ReportKind.ACK, message.cl_ord_id, now_ns, own)
        return [ack, *self._settle(own, market, market.book.add(terms), now_ns)]

    def _terms(self, message: VenueNewOrder, market: _Market | None, number: int) -> BookOrder | str:
        """The order for the book, or the reason to refuse it."""
        if market is None:
            return UNKNOWN_SYMBOL
        if not self._open:
            return CLOSED
        if market.halted:
            return HALTED
        if message.order_type not in _SUPPORTED_TYPES or message.tif not in _SUPPORTED_TIF:
            return UNSUPPORTED
        units = market.grid.units(message.qty)
        if units is None:
            return INVALID_QTY
        limit = message.order_type is OrderType.LIMIT
        ticks = market.grid.ticks(message.price) if limit and message.price is not None else None
        if limit and ticks is None:
            return INVALID_PRICE
        rests = limit and message.tif in _RESTING
        minimum = units if message.tif is TimeInForce.FOK else 0
        if message.min_qty and not minimum:
            if rests:
                return UNSUPPORTED  # a displayed order cannot promise a minimum to those who trade with it
            minimum = market.grid.units(message.min_qty) or 0
            if not 0 < minimum <= units:
                return INVALID_QTY
        return BookOrder(-number, message.side is OrderSide.BUY, units, ticks, rests, minimum, own=True)

    def _settle(self, own: _Own, market: _Market, trades: Sequence[Trade], now_ns: int) -> list[VenueReport]:
        """Reports for what an order of ours did on arrival; its end if it does not rest."""
        market.changed_ns = now_ns
        reports: list[VenueReport] = []
        for trade in trades:
            reports.append(self._fill(own, trade, Liquidity.REMOVED, now_ns))
            if trade.maker < 0:
                reports.append(self._fill(self._live[trade.maker], trade, Liquidity.ADDED, now_ns))
        entry = own.entry
        if entry.level is not None:
            own.queue_ahead = market.grid.quantity(entry.level.units - entry.leaves)
            return reports
        self._close(own)
        if entry.leaves:
            reason = _why_cancelled(own, bool(trades))
            reports.append(self._say(ReportKind.CANCELED, own.ids[-1], now_ns, own, reason=reason))
        return reports

    def _cancel(self, message: VenueCancel, now_ns: int) -> VenueReport:
        own, reason = self._target(message.cl_ord_id, message.orig_cl_ord_id)
        if own is None or reason:
            kind, orig = ReportKind.CANCEL_REJECT, message.orig_cl_ord_id
            return self._say(kind, message.cl_ord_id, now_ns, own, reason=reason, orig=orig)
        orig = own.ids[-1]
        self._take_out(own, now_ns)
        return self._say(ReportKind.CANCELED, message.cl_ord_id, now_ns, own, orig=orig)

    def _replace(self, message: VenueReplace, now_ns: int) -> list[VenueReport]:
        own, reason = self._target(message.cl_ord_id, message.orig_cl_ord_id)
        market = own.market if own else None
        if own and market:
            reason = reason or self._replace_refusal(message, own, market)
        if own is None or market is None or reason:
            kind, orig = ReportKind.REPLACE_REJECT, message.orig_cl_ord_id
            return [self._say(kind, message.cl_ord_id, now_ns, own, reason=reason, orig=orig)]
        orig, cum = own.ids[-1], own.cum
        own.ids.append(message.cl_ord_id)
        own.qty = message.qty
        own.price = own.price if message.price is None else message.price
        replaced = self._say(ReportKind.REPLACED, message.cl_ord_id, now_ns, own, orig=orig)
        if message.qty <= cum:
            self._take_out(own, now_ns)
            return [replaced]
        units = market.grid.units(EXACT.subtract(message.qty, cum))
        ticks = market.grid.ticks(own.price) if own.price is not None else None
        if units is None or ticks is None:
            raise ValueError("a checked replace has valid terms")
        keeps = ticks == own.entry.price and units <= own.entry.leaves
        trades = market.book.amend(own.entry.order_id, units, ticks)
        market.changed_ns = now_ns
        return [replaced] if keeps else [replaced, *self._settle(own, market, trades, now_ns)]

    def _replace_refusal(self, message: VenueReplace, own: _Own, market: _Market) -> str:
        if not self._open:
            return CLOSED
        if market.halted:
            return HALTED
        if message.price is not None and market.grid.ticks(message.price) is None:
            return INVALID_PRICE
        rest = EXACT.subtract(message.qty, own.cum)
        if market.grid.units(message.qty) is None or (rest > 0 and market.grid.units(rest) is None):
            return INVALID_QTY
        return ""

    def _target(self, cl_ord_id: str, orig_cl_ord_id: str) -> tuple[_Own | None, str]:
        """The order a request names by any of its ids, and why the request must be refused, if so."""
        if cl_ord_id in self._by_id:
            return self._by_id.get(orig_cl_ord_id), DUPLICATE_CL_ORD_ID
        own = self._by_id.get(orig_cl_ord_id)
        self._by_id[cl_ord_id] = own
        if own is None:
            return None, UNKNOWN_ORDER
        return own, "" if own.live else TOO_LATE

    def _take_out(self, own: _Own, now_ns: int) -> None:
        if own.market is not None:
            own.market.book.cancel(own.entry.order_id)
            own.market.changed_ns = now_ns
        self._close(own)

    def _close(self, own: _Own) -> None:
        own.live = False
        self._live.pop(own.entry.order_id, None)

    def _status_of(self, cl_ord_id: str, now_ns: int) -> VenueReport:
        own = self._by_id.get(cl_ord_id)
        if own is None:
            return self._say(ReportKind.UNKNOWN_ORDER, cl_ord_id, now_ns, reason=UNKNOWN_ORDER)
        said = self._say(ReportKind.STATUS, cl_ord_id, now_ns, own)
        return replace(said, qty=own.qty, px=own.price, cum_qty=own.cum, leaves_qty=own.leaves, live=own.live)

    def _next_exec(self) -> str:
        self._exec_count += 1
        return f"{self._mic}-E{self._exec_count}"

    def _fill(self, own: _Own, trade: Trade, liquidity: Liquidity, now_ns: int) -> VenueReport:
        """Book one execution of ours; closes the order when nothing is left."""
        if own.market is None:
            raise ValueError("an order that trades has a market")
        grid, exec_id = own.market.grid, self._next_exec()
        qty, px = grid.quantity(trade.units), grid.price(trade.price)
        self._execs[exec_id] = (own, len(own.executions))
        own.executions.append(ExecutionRecord(exec_id, qty, px, liquidity, now_ns))
        if not own.entry.leaves and liquidity is Liquidity.ADDED:
            self._close(own)
        return VenueReport(
            ReportKind.FILL,
            self._mic,
            own.ids[-1],
            trade_date=self._trade_date,
            venue_order_id=own.venue_order_id,
            exec_id=exec_id,
            qty=qty,
            px=px,
            liquidity=liquidity,
            queue_ahead=own.queue_ahead if liquidity is Liquidity.ADDED else ZERO,
            source_ns=now_ns,
        )

    def _say(
        self,
        kind: ReportKind,
        cl_ord_id: str,
        now_ns: int,
        own: _Own | None = None,
        *,
        reason: str = "",
        orig: str = "",
    ) -> VenueReport:
        return VenueReport(
            kind,
            self._mic,
            cl_ord_id,
            trade_date=self._trade_date,
            orig_cl_ord_id=orig,
            venue_order_id=own.venue_order_id if own else "",
            reason=reason,
            source_ns=now_ns,
        )


def _why_cancelled(own: _Own, traded: bool) -> str:
    if own.tif is TimeInForce.FOK:
        return FOK
    if own.entry.minimum and not traded:
        return MIN_QTY
    return IOC if own.tif is TimeInForce.IOC else NO_LIQUIDITY


def _levels(grid: Grid, levels: tuple[TickLevel, ...]) -> tuple[Level, ...]:
    return tuple((grid.price(ticks), grid.quantity(units)) for ticks, units in levels)


def _record(own: _Own) -> OrderRecord:
    ids, executions = tuple(own.ids), tuple(own.executions)
    terms = own.symbol, own.side, own.qty, own.price
    return OrderRecord(
        ids, own.venue_order_id, *terms, own.cum, own.leaves, own.live, own.rejected, executions
    )
