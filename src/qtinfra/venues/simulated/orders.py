"""A venue's order database: every order we sent it, under every id, with its executions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from qtinfra.core.decimals import EXACT, ONE, ZERO, canonical
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueNewOrder, VenueReport
from qtinfra.venues.simulated import reasons
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.grid import Grid

# Members by name: looking them up in their class costs more than comparing them.
_KIND_ACK = ReportKind.ACK
_KIND_FILL = ReportKind.FILL
_BUY = OrderSide.BUY
_LIQUIDITY_ADDED = Liquidity.ADDED
_LIQUIDITY_REMOVED = Liquidity.REMOVED
_LIQUIDITY_UNKNOWN = Liquidity.UNKNOWN
_KIND_BUST = ReportKind.BUST
_KIND_CORRECT = ReportKind.CORRECT
_KIND_UNKNOWN_ORDER = ReportKind.UNKNOWN_ORDER
_KIND_STATUS = ReportKind.STATUS
_KIND_MASS_STATUS_END = ReportKind.MASS_STATUS_END
_KIND_RESTATED = ReportKind.RESTATED

#: A number's last three digits, by what they say.
LAST_DIGITS = tuple(f"{number:03d}" for number in range(1000))

_UNLISTED = Grid(ONE)  # of orders for symbols that the venue does not know; nothing of them ever trades


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


class WholeTrade(msgspec.Struct, frozen=True, gc=False):
    """A plain order that traded in full on arrival, with all that its venue may still be asked about it.

    Attributes:
        number, execution: of the order and of its execution at the venue, which their ids end in.
        qty, price: as ordered; `px` is what it traded at.
        trade_date, source_ns: of both its reports.
    """

    number: int
    execution: int
    cl_ord_id: str
    symbol: str
    side: OrderSide
    tif: TimeInForce
    qty: Decimal
    price: Decimal
    px: Decimal
    trade_date: str
    source_ns: int

    def order(self, mic: str, grid: Grid) -> VenueOrder:
        """As any other order, closed."""
        number, qty, price, ids = self.number, self.qty, self.price, [self.cl_ord_id]
        terms = VenueNewOrder(mic, ids[0], self.symbol, self.side, OrderType.LIMIT, self.tif, qty, price)
        entry = BookOrder(-number, self.side is _BUY, 0, None, own=True)
        exec_id, qty = f"{exec_prefix(mic)}{self.execution}", canonical(qty)
        done = ExecutionRecord(exec_id, qty, self.px, _LIQUIDITY_REMOVED, self.source_ns)
        venue_order_id = f"{order_prefix(mic)}{number}"
        return VenueOrder(ids, venue_order_id, terms, entry, grid, False, False, ZERO, [done])

    def ack(self, mic: str, session: str, seq: int) -> VenueReport:
        """The first of its reports, once more."""
        return VenueReport(
            _KIND_ACK, mic, self.cl_ord_id, seq, session, self.trade_date, "",
            f"{order_prefix(mic)}{self.number}", source_ns=self.source_ns,
        )  # fmt: skip

    def fill(self, mic: str, session: str, seq: int) -> VenueReport:
        """The second of its reports, once more."""
        exec_id = f"{exec_prefix(mic)}{self.execution}"
        return replace(
            self.ack(mic, session, seq), kind=_KIND_FILL, exec_id=exec_id, qty=canonical(self.qty),
            px=self.px, liquidity=_LIQUIDITY_REMOVED,
        )  # fmt: skip


class VenueOrder(msgspec.Struct, eq=False):
    """One of our orders while the venue works on it, and afterwards; `terms` follow replaces."""

    ids: list[str]
    venue_order_id: str
    terms: VenueNewOrder
    entry: BookOrder
    grid: Grid
    live: bool
    rejected: bool
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
        return self.grid.quantity(self.entry.leaves) if self.live else ZERO

    def record(self) -> OrderRecord:
        terms, ids, executions = self.terms, tuple(self.ids), tuple(self.executions)
        said = terms.symbol, terms.side, terms.qty, terms.price
        state = self.cum, self.leaves, self.live, self.rejected
        return OrderRecord(ids, self.venue_order_id, *said, *state, executions)


def order_prefix(mic: str) -> str:
    """What a venue's order ids begin with; the order's number follows."""
    return f"{mic}-O"


def exec_prefix(mic: str) -> str:
    """What a venue's execution ids begin with; the execution's number follows."""
    return f"{mic}-E"


class RunningIds:
    """Ids that end in a number which grows; what a thousand of them have in common is put together once.

    The id of a number below `until` is `head` and its last three digits, once `begin` has seen one of the
    same thousand; two long texts joined take half of what formatting a number does.
    """

    __slots__ = ("_prefix", "head", "until")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.head = ""
        self.until = 0

    def begin(self, number: int) -> str:
        """The id of a number as large as any before."""
        thousands = number // 1000
        if thousands:
            self.head, self.until = f"{self._prefix}{thousands}", 1000 * thousands + 1000
        return f"{self._prefix}{number}"


class OrderDatabase:
    """Keeps what a venue knows of our orders and words its reports.

    The number of an order is minus the id of its `entry`, from 1 in order of arrival.

    A plain order that has traded in full on arrival (`MatchingVenue.trade_whole`) is kept as a `WholeTrade`
    and becomes a `VenueOrder` when somebody asks for it.

    Args:
        mic: ISO 10383 code of the venue.
        trade_date: ISO 8601 date that reports carry; may be changed for the next day.
        grids: of the symbols in which orders may trade in full on arrival.

    Attributes:
        known: an order's number by every id that was ever sent here; 0: the id concerned no order.
        kept: orders by number.
        execs: by the execution's number, the order's; 0 for what busted or corrected an execution.
        order_ids, exec_ids: of this venue.
    """

    def __init__(self, mic: str, trade_date: str, grids: Mapping[str, Grid] | None = None) -> None:
        self.mic = mic
        self.trade_date = trade_date
        self._grids = grids or {}
        self.kept: list[VenueOrder | WholeTrade] = []
        self.known: dict[str, int] = {}
        self._live: dict[int, VenueOrder] = {}  # by number, in order of arrival
        self.execs: list[int] = []
        self.order_ids, self.exec_ids = RunningIds(order_prefix(mic)), RunningIds(exec_prefix(mic))

    # --- orders -----------------------------------------------------------------------------------------

    @property
    def next_number(self) -> int:
        return len(self.kept) + 1

    def enter(self, message: VenueNewOrder, entry: BookOrder | None, grid: Grid | None) -> VenueOrder:
        """Keep a new order; without an entry it is one that was refused."""
        number, accepted, cl_ord_id = len(self.kept) + 1, entry is not None, message.cl_ord_id
        own = VenueOrder(
            [cl_ord_id],
            self.order_ids.begin(number),
            message,
            entry or BookOrder(-number, False, 0, None, own=True),
            grid or _UNLISTED,
            accepted,
            not accepted,
        )
        self.kept.append(own)
        self.known[cl_ord_id] = number
        if accepted:
            self._live[number] = own
        return own

    def get(self, entry_id: int) -> VenueOrder:
        """The order whose entry has this (negative) id."""
        place = -entry_id - 1
        own = self.kept[place]
        if isinstance(own, WholeTrade):
            own = self.kept[place] = own.order(self.mic, self._grids[own.symbol])
        return own

    def find(self, cl_ord_id: str) -> VenueOrder | None:
        """The order that any of its ids names."""
        number = self.known.get(cl_ord_id)
        return self.get(-number) if number else None

    def live(self) -> list[VenueOrder]:
        """Orders that can still trade, in order of arrival."""
        return list(self._live.values())

    def close(self, own: VenueOrder) -> None:
        own.live = False
        self._live.pop(-own.entry.order_id, None)

    def target(self, cl_ord_id: str, orig_cl_ord_id: str) -> tuple[VenueOrder | None, str]:
        """The order a request names by any of its ids, and why the request must be refused, if so."""
        if cl_ord_id in self.known:
            return self.find(orig_cl_ord_id), reasons.DUPLICATE_CL_ORD_ID
        own = self.find(orig_cl_ord_id)
        self.known[cl_ord_id] = -own.entry.order_id if own is not None else 0
        if own is None:
            return None, reasons.UNKNOWN_ORDER
        return own, "" if own.live else reasons.TOO_LATE

    def records(self) -> tuple[OrderRecord, ...]:
        """All our orders, refused ones included, in order of arrival."""
        return tuple(self.get(-number).record() for number in range(1, len(self.kept) + 1))

    # --- executions -------------------------------------------------------------------------------------

    def fill(
        self, own: VenueOrder, units: int, px: Decimal, liquidity: Liquidity, now_ns: int, flag: str = ""
    ) -> VenueReport:
        """Book one execution; an order that has nothing left is closed."""
        exec_id, qty = self._next_exec(-own.entry.order_id), own.grid.quantity(units)
        own.executions.append(ExecutionRecord(exec_id, qty, px, liquidity, now_ns))
        if not own.entry.leaves:
            self.close(own)
        ahead = own.queue_ahead if liquidity is _LIQUIDITY_ADDED else None
        return VenueReport(
            _KIND_FILL, self.mic, own.ids[-1], 0, "", self.trade_date, "", own.venue_order_id, exec_id, "",
            qty, px, None, None, False, liquidity, ahead, "", "", now_ns, flag,
        )  # fmt: skip

    def bust(self, exec_id: str, now_ns: int) -> VenueReport:
        """Cancel an execution.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before.
        """
        own, index = self._unbusted(exec_id)
        own.executions[index] = replace(own.executions[index], busted=True)
        said = self.say(_KIND_BUST, own.ids[-1], now_ns, own)
        return replace(said, exec_id=self._next_exec(), ref_exec_id=exec_id)

    def correct(self, exec_id: str, qty: Decimal, px: Decimal, now_ns: int) -> VenueReport:
        """Change quantity and price of an execution, which keeps its id.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before, or quantity or price is not positive.
        """
        if qty <= 0 or px <= 0:
            raise ValueError(f"not a valid correction: {qty} at {px}")
        own, index = self._unbusted(exec_id)
        own.executions[index] = replace(own.executions[index], qty=qty, px=px)
        said = self.say(_KIND_CORRECT, own.ids[-1], now_ns, own)
        return replace(said, exec_id=self._next_exec(), ref_exec_id=exec_id, qty=qty, px=px)

    def _unbusted(self, exec_id: str) -> tuple[VenueOrder, int]:
        place = _number_in(exec_id)
        number = self.execs[place - 1] if 0 < place <= len(self.execs) else 0
        if number:
            own = self.get(-number)
            for index, done in enumerate(own.executions):
                if done.exec_id == exec_id and done.busted:
                    raise ValueError(f"{exec_id} was busted before")
                if done.exec_id == exec_id:
                    return own, index
        raise KeyError(exec_id)

    def _next_exec(self, number: int = 0) -> str:
        """An execution's id, given for the order with this number; 0: for what busts or corrects one."""
        self.execs.append(number)
        return self.exec_ids.begin(len(self.execs))

    # --- reports ----------------------------------------------------------------------------------------

    def acked(self, own: VenueOrder, now_ns: int) -> VenueReport:
        """A new order was taken."""
        return VenueReport(
            _KIND_ACK, self.mic, own.ids[0], 0, "", self.trade_date, "", own.venue_order_id, "", "", None,
            None, None, None, False, _LIQUIDITY_UNKNOWN, None, "", "", now_ns,
        )  # fmt: skip

    def status(self, cl_ord_id: str, now_ns: int) -> VenueReport:
        """What the venue knows under an id."""
        own = self.find(cl_ord_id)
        if own is None:
            reason = reasons.UNKNOWN_ORDER
            return self.say(_KIND_UNKNOWN_ORDER, cl_ord_id, now_ns, reason=reason)
        said, record = self.say(_KIND_STATUS, cl_ord_id, now_ns, own), own.record()
        cum, leaves = record.cum_qty, record.leaves_qty
        return replace(
            said, qty=record.qty, px=record.price, cum_qty=cum, leaves_qty=leaves, live=record.live
        )

    def mass_status(self, cl_ord_id: str, now_ns: int) -> list[VenueReport]:
        """Every live order, then the end of the answer."""
        answers = [self.status(own.ids[-1], now_ns) for own in self._live.values()]
        return [*answers, self.say(_KIND_MASS_STATUS_END, cl_ord_id, now_ns)]

    def decrement(self, own: VenueOrder, units: int, now_ns: int) -> VenueReport:
        """An order has lost units to self-match prevention: its new total quantity."""
        qty = EXACT.subtract(own.terms.qty, own.grid.quantity(units))
        own.terms = replace(own.terms, qty=qty)
        said = self.say(_KIND_RESTATED, own.ids[-1], now_ns, own, reason=reasons.SELF_MATCH)
        return replace(said, qty=qty, px=own.terms.price)

    def end(self, own: VenueOrder, kind: ReportKind, reason: str, now_ns: int) -> VenueReport:
        """Close an order without having been asked."""
        self.close(own)
        return self.say(kind, own.ids[-1], now_ns, own, reason=reason)

    def say(
        self,
        kind: ReportKind,
        cl_ord_id: str,
        now_ns: int,
        own: VenueOrder | None = None,
        *,
        reason: str = "",
        orig: str = "",
    ) -> VenueReport:
        venue_order_id = own.venue_order_id if own is not None else ""
        return VenueReport(
            kind, self.mic, cl_ord_id, 0, "", self.trade_date, orig, venue_order_id, "", "", None,
            None, None, None, False, _LIQUIDITY_UNKNOWN, None, reason, "", now_ns,
        )  # fmt: skip


def _number_in(exec_id: str) -> int:
    """The number of an execution; 0 for an id of another form."""
    count = exec_id.rpartition("-E")[2]
    return int(count) if count.isdecimal() else 0
