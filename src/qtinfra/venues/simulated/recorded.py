"""A venue whose market is a recording: real messages move the book, and our orders lie over it.

The rule of the overlay. It is deliberately conservative: whatever history cannot prove to have reached us
does not trade with us.

1. The recorded book is never altered by us. It shows the same states with our orders as without them.
2. An order of ours that rests queues behind every recorded share displayed at its price when it arrived, and
   behind our own earlier orders at that price. Executions and cancellations of the recorded orders ahead
   move it up; recorded orders that come later stand behind it.
3. Recorded trading reaches a resting order of ours when, on its side of the book,
   - a displayed order at a worse price is executed;
   - a displayed order at its price that stands behind it is executed;
   - a hidden order is executed at a worse price, or at its price once no recorded share is ahead.
   Those shares would have been ours first: they fill our orders at our price, best price first, then in
   time order. An execution of an order ahead only moves the queue. Each executed share fills at most one
   share of ours.
4. A recorded new order priced through a resting order of ours does not fill it: in history it met somebody
   else or rested, and the trading that followed reaches us by clause 3. The two just pass.
5. An order of ours that arrives takes displayed recorded size within its limit, best price first, then
   oldest first. What it took is remembered per recorded order (a seed level's anonymous rest is one order):
   nobody takes it again, quotes leave it out, it stands ahead of nobody, and when history later executes
   or cancels that order, only the shares that we left count. Recorded executions of shares we took
   therefore fill no resting order of ours.
6. Our orders never trade with each other: an arriving one passes our resting ones. Self-match prevention
   is decided before orders come here.
7. While the recording is halted nothing of ours trades; new orders and replaces are refused.

Order handling is that of any venue here (`matching`): a day or good-till-cancelled limit order rests, the
remainder of any other is cancelled; fewer units at the same price keep the queue place, everything else
re-queues and may take; fill-or-kill and minimum quantity are met at once or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.market import VenueQuote
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
from qtinfra.marketdata.lobster import (
    BUY,
    EXECUTION,
    HIDDEN_EXECUTION,
    SELL,
    BboCounter,
    BboState,
    BookRow,
    LobsterMessage,
    RecordedBook,
    RecordedDataError,
    describe,
    dollars,
    read_messages,
    read_orderbook,
)
from qtinfra.venues.simulated import reasons
from qtinfra.venues.simulated.grid import Grid
from qtinfra.venues.simulated.model import VenueSession
from qtinfra.venues.simulated.orders import ExecutionRecord, OrderRecord
from qtinfra.venues.simulated.overlay import Overlay, OverlayOrder

_RESTING = (TimeInForce.DAY, TimeInForce.GTC)
_SUPPORTED_TIF = (*_RESTING, TimeInForce.IOC, TimeInForce.FOK)
_SUPPORTED_TYPES = (OrderType.LIMIT, OrderType.MARKET)


class _Own(msgspec.Struct, eq=False):
    """One of our orders while the venue works on it, and afterwards."""

    ids: list[str]
    venue_order_id: str
    terms: VenueNewOrder
    entry: OverlayOrder
    live: bool
    minimum: int = 0
    cum: int = 0
    executions: list[ExecutionRecord] = msgspec.field(default_factory=list)


class RecordedVenue:
    """One symbol at one venue, played from a recording; implements `VenueModel`.

    Args:
        book: the recorded book; `apply` alone moves it, as recorded.
        symbol: the only one traded here.
        trade_date: ISO 8601 date that reports carry.
        mic: ISO 10383 code.
        tick: price step of our orders, in dollars; a multiple of 0.0001.
    """

    def __init__(
        self,
        book: RecordedBook,
        symbol: str,
        trade_date: str = "",
        mic: str = "XNAS",
        tick: Decimal = Decimal("0.01"),
    ) -> None:
        self.symbol = symbol
        self.overlay = Overlay(book)
        self._mic = mic
        self.trade_date = trade_date
        self._grid = Grid(tick)
        self._step = int(tick.scaleb(4))
        self._open = True
        self._orders: list[_Own] = []
        self._by_id: dict[str, _Own | None] = {}  # every id we ever sent; None: it concerned no order
        self._quoted, self._quoted_version = VenueQuote(mic, (), (), 0), -1
        self._execs = 0
        self._printed, self._last_price = 0, 0

    @property
    def mic(self) -> str:
        return self._mic

    @property
    def book(self) -> RecordedBook:
        """The recorded book, to read."""
        return self.overlay.book

    def quote(self, symbol: str, now_ns: int) -> VenueQuote | None:
        """The ten best recorded levels less what we took; `ts_ns` is when what is displayed last changed."""
        del now_ns  # the book is as of the last message
        if symbol != self.symbol:
            return None
        overlay = self.overlay
        if self._quoted_version != overlay.version:
            bids, asks = overlay.depth(BUY), overlay.depth(SELL)
            self._quoted = VenueQuote(self._mic, bids, asks, overlay.changed_ns)
            self._quoted_version = overlay.version
        return self._quoted

    def printed(self, symbol: str) -> tuple[Decimal, Decimal | None]:
        """Shares executed against the recorded book, ours that took included, and the last price."""
        last = dollars(self._last_price) if self._last_price and symbol == self.symbol else None
        return Decimal(self._printed if symbol == self.symbol else 0), last

    def queue_ahead(self, cl_ord_id: str) -> Decimal | None:
        """Shares that stand before a resting order of ours now, our own earlier ones included; else None."""
        own = self._by_id.get(cl_ord_id)
        return Decimal(self.overlay.ahead(own.entry)) if own is not None and own.live else None

    def orders(self) -> tuple[OrderRecord, ...]:
        """The venue's record of all our orders, refused ones included, in order of arrival."""
        return tuple(_record(own) for own in self._orders)

    def apply(self, message: LobsterMessage) -> list[VenueReport]:
        """Let one recorded message happen; the fills of our resting orders that it causes.

        Raises:
            RecordedDataError: the message contradicts the recorded book.
        """
        fills = self.overlay.apply(message)
        if message.kind in (EXECUTION, HIDDEN_EXECUTION):
            self._printed += message.size
            self._last_price = message.price
        return [self._fill_resting(order, units, message.ts_ns) for order, units in fills]

    def end_day(self, now_ns: int) -> list[VenueReport]:
        """Close: DAY orders expire and new orders are refused."""
        self._open = False
        ending = [own for own in self._orders if own.live and own.terms.tif is not TimeInForce.GTC]
        for own in ending:
            self._close(own)
        kind = ReportKind.EXPIRED
        return [self._say(kind, own.ids[-1], now_ns, own, reason=reasons.END_OF_DAY) for own in ending]

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
                return [self._status(self._by_id.get(message.cl_ord_id), message.cl_ord_id, now_ns)]
            case VenueMassStatusRequest():
                live = [self._status(own, own.ids[-1], now_ns) for own in self._orders if own.live]
                return [*live, self._say(ReportKind.MASS_STATUS_END, message.cl_ord_id, now_ns)]
        raise TypeError(f"not a message to a venue: {type(message).__name__}")

    def _new(self, message: VenueNewOrder, now_ns: int) -> list[VenueReport]:
        cl_ord_id = message.cl_ord_id
        if cl_ord_id in self._by_id:
            return [self._say(ReportKind.REJECT, cl_ord_id, now_ns, reason=reasons.DUPLICATE_CL_ORD_ID)]
        refusal = self._refusal(message)
        own = self._enter(message, live=not refusal)
        if refusal:
            return [self._say(ReportKind.REJECT, cl_ord_id, now_ns, own, reason=refusal)]
        return [self._say(ReportKind.ACK, cl_ord_id, now_ns, own), *self._arrive(own, now_ns)]

    def _enter(self, message: VenueNewOrder, live: bool) -> _Own:
        units = int(message.qty) if live else 0
        limit = live and message.order_type is OrderType.LIMIT
        price = self._units(message.price) if limit and message.price is not None else None
        side = BUY if message.side is OrderSide.BUY else SELL
        number = len(self._orders)
        own = _Own(
            ids=[message.cl_ord_id],
            venue_order_id=f"{self._mic}-O{number + 1}",
            terms=message,
            entry=OverlayOrder(number, side, price, units),
            live=live,
            minimum=units if message.tif is TimeInForce.FOK else int(message.min_qty) if live else 0,
        )
        self._orders.append(own)
        self._by_id[message.cl_ord_id] = own
        return own

    def _refusal(self, message: VenueNewOrder) -> str:
        """Why a new order is refused; empty when it is taken."""
        if message.symbol != self.symbol:
            return reasons.UNKNOWN_SYMBOL
        if not self._open:
            return reasons.CLOSED
        if self.book.halted:
            return reasons.HALTED
        if message.order_type not in _SUPPORTED_TYPES or message.tif not in _SUPPORTED_TIF:
            return reasons.UNSUPPORTED
        if self._grid.units(message.qty) is None:
            return reasons.INVALID_QTY
        limit = message.order_type is OrderType.LIMIT
        if limit and (message.price is None or self._grid.ticks(message.price) is None):
            return reasons.INVALID_PRICE
        if not message.min_qty:
            return ""
        if _rests(message):
            return (
                reasons.UNSUPPORTED
            )  # a displayed order cannot promise a minimum to those who trade with it
        valid = self._grid.units(message.min_qty) is not None and message.min_qty <= message.qty
        return "" if valid else reasons.INVALID_QTY

    def _units(self, price: Decimal) -> int:
        return (self._grid.ticks(price) or 0) * self._step

    def _arrive(self, own: _Own, now_ns: int) -> list[VenueReport]:
        """Take what is displayed within the limit, then rest or end."""
        entry = own.entry
        enough = not own.minimum or self.overlay.reachable(entry) >= own.minimum
        takes = self.overlay.take(entry, now_ns) if enough else []
        for price, units in takes:
            self._printed += units
            self._last_price = price
        reports = [self._fill(own, units, price, Liquidity.REMOVED, now_ns) for price, units in takes]
        if not entry.leaves:
            self._close(own)
        elif _rests(own.terms):
            self.overlay.rest(entry)
        else:
            self._close(own)
            reason = _why_cancelled(own)
            reports.append(self._say(ReportKind.CANCELED, own.ids[-1], now_ns, own, reason=reason))
        return reports

    def _close(self, own: _Own) -> None:
        own.live = False
        self.overlay.remove(own.entry)

    def _cancel(self, message: VenueCancel, now_ns: int) -> VenueReport:
        own, reason = self._target(message)
        if own is None or reason:
            orig, kind = message.orig_cl_ord_id, ReportKind.CANCEL_REJECT
            return self._say(kind, message.cl_ord_id, now_ns, own, orig_cl_ord_id=orig, reason=reason)
        self._close(own)
        return self._say(ReportKind.CANCELED, message.cl_ord_id, now_ns, own, orig_cl_ord_id=own.ids[-1])

    def _replace(self, message: VenueReplace, now_ns: int) -> list[VenueReport]:
        own, reason = self._target(message)
        if own is None or reason or (reason := self._replace_refusal(message)):
            orig, kind = message.orig_cl_ord_id, ReportKind.REPLACE_REJECT
            return [self._say(kind, message.cl_ord_id, now_ns, own, orig_cl_ord_id=orig, reason=reason)]
        orig, entry = own.ids[-1], own.entry
        price = own.terms.price if message.price is None else message.price
        own.ids.append(message.cl_ord_id)
        own.terms = msgspec.structs.replace(own.terms, qty=message.qty, price=price)
        replaced = self._say(ReportKind.REPLACED, message.cl_ord_id, now_ns, own, orig_cl_ord_id=orig)
        leaves = int(message.qty) - own.cum
        units = entry.price if message.price is None else self._units(message.price)
        if leaves <= 0:
            self._close(own)
        elif units == entry.price and leaves <= entry.leaves:
            entry.leaves = leaves
        else:
            self.overlay.remove(entry)
            entry.leaves, entry.price = leaves, units
            return [replaced, *self._arrive(own, now_ns)]
        return [replaced]

    def _replace_refusal(self, message: VenueReplace) -> str:
        if not self._open:
            return reasons.CLOSED
        if self.book.halted:
            return reasons.HALTED
        if message.price is not None and self._grid.ticks(message.price) is None:
            return reasons.INVALID_PRICE
        return reasons.INVALID_QTY if self._grid.units(message.qty) is None else ""

    def _target(self, message: VenueCancel | VenueReplace) -> tuple[_Own | None, str]:
        """The order a request names by any of its ids, and why the request must be refused, if so."""
        own = self._by_id.get(message.orig_cl_ord_id)
        if message.cl_ord_id in self._by_id:
            return own, reasons.DUPLICATE_CL_ORD_ID
        self._by_id[message.cl_ord_id] = own
        if own is None:
            return None, reasons.UNKNOWN_ORDER
        return own, "" if own.live else reasons.TOO_LATE

    def _status(self, own: _Own | None, cl_ord_id: str, now_ns: int) -> VenueReport:
        if own is None:
            return self._say(ReportKind.UNKNOWN_ORDER, cl_ord_id, now_ns, reason=reasons.UNKNOWN_ORDER)
        said, record = self._say(ReportKind.STATUS, cl_ord_id, now_ns, own), _record(own)
        cum, leaves = record.cum_qty, record.leaves_qty
        return msgspec.structs.replace(
            said, qty=record.qty, px=record.price, cum_qty=cum, leaves_qty=leaves, live=record.live
        )

    def _fill_resting(self, entry: OverlayOrder, units: int, ts_ns: int) -> VenueReport:
        own = self._orders[entry.number]
        if not entry.leaves:
            self._close(own)
        return self._fill(own, units, entry.price or 0, Liquidity.ADDED, ts_ns)

    def _fill(self, own: _Own, units: int, price: int, liquidity: Liquidity, ts_ns: int) -> VenueReport:
        self._execs += 1
        own.cum += units
        exec_id, qty = f"{self._mic}-E{self._execs}", Decimal(units)
        own.executions.append(ExecutionRecord(exec_id, qty, dollars(price), liquidity, ts_ns))
        passive = liquidity is Liquidity.ADDED
        return VenueReport(
            ReportKind.FILL,
            self._mic,
            own.ids[-1],
            trade_date=self.trade_date,
            venue_order_id=own.venue_order_id,
            exec_id=exec_id,
            qty=qty,
            px=dollars(price),
            liquidity=liquidity,
            queue_ahead=Decimal(own.entry.queue_ahead) if passive else None,
            source_ns=ts_ns,
        )

    def _say(
        self,
        kind: ReportKind,
        cl_ord_id: str,
        now_ns: int,
        own: _Own | None = None,
        *,
        reason: str = "",
        orig_cl_ord_id: str = "",
    ) -> VenueReport:
        return VenueReport(
            kind,
            self._mic,
            cl_ord_id,
            trade_date=self.trade_date,
            orig_cl_ord_id=orig_cl_ord_id,
            venue_order_id=own.venue_order_id if own is not None else "",
            reason=reason,
            source_ns=now_ns,
        )


def _rests(terms: VenueNewOrder) -> bool:
    return terms.order_type is OrderType.LIMIT and terms.tif in _RESTING


def _why_cancelled(own: _Own) -> str:
    if own.terms.tif is TimeInForce.FOK:
        return reasons.FOK
    if own.minimum and not own.cum:
        return reasons.MIN_QTY
    return reasons.IOC if own.terms.tif is TimeInForce.IOC else reasons.NO_LIQUIDITY


def _record(own: _Own) -> OrderRecord:
    return OrderRecord(
        cl_ord_ids=tuple(own.ids),
        venue_order_id=own.venue_order_id,
        symbol=own.terms.symbol,
        side=own.terms.side,
        qty=own.terms.qty,
        price=own.terms.price,
        cum_qty=Decimal(own.cum),
        leaves_qty=Decimal(own.entry.leaves) if own.live else ZERO,
        live=own.live,
        rejected=not own.live and not own.entry.leaves and not own.cum,
        executions=tuple(own.executions),
    )


class LobsterMarket:
    """A recorded hour or day of one symbol as a market that moves by itself; implements `SimulatedMarket`.

    Args:
        messages: the recording; it begins with the message of the seed row.
        seed_messages, seed_book: a message file and its orderbook file; only the first line of each is
            used: the book just after the first message, hence that message is not applied again.
        trade_date: ISO 8601 date in New York.
        mic: ISO 10383 code of the venue.

    Raises:
        RecordedDataError: nothing recorded, or the recording does not begin with the seed row's message.
    """

    def __init__(
        self,
        messages: Sequence[LobsterMessage],
        seed_messages: Sequence[LobsterMessage],
        seed_book: Sequence[BookRow],
        *,
        symbol: str,
        trade_date: str,
        mic: str = "XNAS",
    ) -> None:
        if not messages or not seed_book or messages[0] not in seed_messages[:1]:
            raise RecordedDataError("the recording does not begin with the message of the seed row")
        self.venue = RecordedVenue(RecordedBook(seed_book[0], seed_messages[0]), symbol, trade_date, mic)
        self._messages = messages
        self._next = 1
        self._session = VenueSession(self.venue, f"{mic}-{trade_date}")
        self._bbo = BboCounter()
        self._bbo.observe(self.venue.book.bbo())

    @classmethod
    def from_files(
        cls, messages: str | Path, seed_messages: str | Path, seed_book: str | Path, mic: str = "XNAS"
    ) -> LobsterMarket:
        """Read the three files; symbol and date are in their names.

        Raises:
            RecordedDataError: a file is malformed, or they are of different symbols or dates.
            OSError: a file cannot be read.
        """
        named = describe(messages)
        for other in (describe(seed_messages), describe(seed_book)):
            if (other.symbol, other.trade_date) != (named.symbol, named.trade_date):
                raise RecordedDataError("the recorded files are of different symbols or dates")
        return cls(
            read_messages(messages),
            read_messages(seed_messages),
            read_orderbook(seed_book),
            symbol=named.symbol,
            trade_date=named.trade_date.isoformat(),
            mic=mic,
        )

    @property
    def sessions(self) -> Mapping[str, VenueSession]:
        return {self.venue.mic: self._session}

    @property
    def symbols(self) -> tuple[str, ...]:
        return (self.venue.symbol,)

    @property
    def bbo_states(self) -> Sequence[BboState]:
        """States of the recorded best bid and offer so far, consecutive repeats removed."""
        return self._bbo.states

    @property
    def bbo_changes(self) -> int:
        """How many such states there were, the first one included."""
        return self._bbo.changes

    @property
    def bbo_crossed(self) -> int:
        """How many of them had a bid at or above the ask."""
        return self._bbo.crossed

    @property
    def span_ns(self) -> tuple[int, int]:
        """Times of the first and the last message (UTC nanoseconds)."""
        return self._messages[0].ts_ns, self._messages[-1].ts_ns

    @property
    def played(self) -> int:
        """How many messages have happened, the one of the seed row included."""
        return self._next

    def next_ns(self) -> int | None:
        """Time of the next message (UTC nanoseconds); None at the end of the recording."""
        return self._messages[self._next].ts_ns if self._next < len(self._messages) else None

    def step(self) -> list[VenueReport]:
        """Let the next message happen; the numbered reports of our own fills.

        Raises:
            IndexError: the recording has ended.
        """
        message = self._messages[self._next]
        self._next += 1
        reports = self.venue.apply(message)
        self._bbo.observe(self.venue.book.bbo())
        return self._session.stamp(reports) if reports else reports
