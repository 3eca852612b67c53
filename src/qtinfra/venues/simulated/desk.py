"""Order handling that venues have in common whatever their rule: ids, cancels, replaces, status."""

from __future__ import annotations

from abc import ABC, abstractmethod
from decimal import Decimal

from msgspec.structs import replace

from qtinfra.core.decimals import EXACT
from qtinfra.core.models import TimeInForce
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
from qtinfra.venues.simulated import reasons
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.grid import Grid
from qtinfra.venues.simulated.orders import OrderDatabase, OrderRecord, VenueOrder


class OrderDesk(ABC):
    """What a venue does with messages, whatever its rule of trading; subclasses bring the rule.

    Args:
        mic: ISO 10383 code.
        trade_date: ISO 8601 date that reports carry.
    """

    def __init__(self, mic: str, trade_date: str) -> None:
        self._mic = mic
        self._open = True
        self._db = OrderDatabase(mic, trade_date)

    @property
    def mic(self) -> str:
        return self._mic

    @property
    def trade_date(self) -> str:
        return self._db.trade_date

    def orders(self) -> tuple[OrderRecord, ...]:
        """The venue's record of all our orders, refused ones included, in order of arrival."""
        return self._db.records()

    def bust(self, exec_id: str, now_ns: int = 0) -> list[VenueReport]:
        """Cancel an execution. The quantity does not come back.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before.
        """
        return [self._db.bust(exec_id, now_ns)]

    def correct(self, exec_id: str, qty: Decimal, px: Decimal, now_ns: int = 0) -> list[VenueReport]:
        """Change quantity and price of an execution, which keeps its id.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before, or quantity or price is not positive.
        """
        return [self._db.correct(exec_id, qty, px, now_ns)]

    def start_day(self, trade_date: str) -> None:
        """Open for a trading date (ISO 8601). GTC orders of the day before still rest."""
        self._db.trade_date = trade_date
        self._open = True

    def end_day(self, now_ns: int) -> list[VenueReport]:
        """Close: DAY orders expire and new orders are refused."""
        self._open = False
        expired: list[VenueReport] = []
        for own in self._db.live():
            if own.terms.tif is not TimeInForce.GTC:
                self._withdraw(own)
                expired.append(self._db.end(own, ReportKind.EXPIRED, reasons.END_OF_DAY, now_ns))
        return expired

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
                return [self._db.status(message.cl_ord_id, now_ns)]
            case VenueMassStatusRequest():
                return self._db.mass_status(message.cl_ord_id, now_ns)
        raise TypeError(f"not a message to a venue: {type(message).__name__}")

    # --- the rule of trading --------------------------------------------------------------------------------

    @abstractmethod
    def _read(self, message: VenueNewOrder, now_ns: int) -> tuple[BookOrder, Grid] | str:
        """A new order in ticks and units with its grid, or the reason to refuse it."""

    @abstractmethod
    def _arrive(self, own: VenueOrder, now_ns: int) -> list[VenueReport]:
        """Let an order trade, then rest or end."""

    @abstractmethod
    def _withdraw(self, own: VenueOrder) -> None:
        """Take an order out of wherever it rests."""

    @abstractmethod
    def _price(self, own: VenueOrder, price: Decimal) -> int | None:
        """A limit price as the order's entry holds it; None when it is not a valid price."""

    @abstractmethod
    def _trading(self, now_ns: int) -> bool:
        """Whether the venue takes new orders and replaces now."""

    # --- messages -------------------------------------------------------------------------------------------

    def _new(self, message: VenueNewOrder, now_ns: int) -> list[VenueReport]:
        db, cl_ord_id = self._db, message.cl_ord_id
        if cl_ord_id in db.known:
            reason = reasons.DUPLICATE_CL_ORD_ID
            return [db.say(ReportKind.REJECT, cl_ord_id, now_ns, reason=reason)]
        read = self._read(message, now_ns) if self._trading(now_ns) else reasons.CLOSED
        if isinstance(read, str):
            db.enter(message, None, None)
            return [db.say(ReportKind.REJECT, cl_ord_id, now_ns, reason=read)]
        own = db.enter(message, *read)
        return [db.say(ReportKind.ACK, cl_ord_id, now_ns, own), *self._arrive(own, now_ns)]

    def _cancel(self, message: VenueCancel, now_ns: int) -> VenueReport:
        own, reason = self._db.target(message.cl_ord_id, message.orig_cl_ord_id)
        if own is None or reason:
            kind, orig = ReportKind.CANCEL_REJECT, message.orig_cl_ord_id
            return self._db.say(kind, message.cl_ord_id, now_ns, own, reason=reason, orig=orig)
        self._withdraw(own)
        self._db.close(own)
        return self._db.say(ReportKind.CANCELED, message.cl_ord_id, now_ns, own, orig=own.ids[-1])

    def _replace(self, message: VenueReplace, now_ns: int) -> list[VenueReport]:
        own, reason = self._db.target(message.cl_ord_id, message.orig_cl_ord_id)
        reason = reason or (self._replace_refusal(message, own, now_ns) if own is not None else "")
        if own is None or reason:
            kind, orig = ReportKind.REPLACE_REJECT, message.orig_cl_ord_id
            return [self._db.say(kind, message.cl_ord_id, now_ns, own, reason=reason, orig=orig)]
        orig, entry = own.ids[-1], own.entry
        own.ids.append(message.cl_ord_id)
        price = own.terms.price if message.price is None else message.price
        own.terms = replace(own.terms, qty=message.qty, price=price)
        replaced = self._db.say(ReportKind.REPLACED, message.cl_ord_id, now_ns, own, orig=orig)
        ticks = entry.price if message.price is None else self._price(own, message.price)
        rest = EXACT.subtract(message.qty, own.cum)
        units = (own.grid.units(rest) or 0) if rest > 0 else 0
        if not units:
            self._withdraw(own)
            self._db.close(own)
        elif ticks == entry.price and units <= entry.leaves:
            entry.leaves = units
        else:
            self._withdraw(own)
            entry.leaves, entry.price = units, ticks
            return [replaced, *self._arrive(own, now_ns)]
        return [replaced]

    def _replace_refusal(self, message: VenueReplace, own: VenueOrder, now_ns: int) -> str:
        if not self._trading(now_ns):
            return reasons.CLOSED
        if message.price is not None and self._price(own, message.price) is None:
            return reasons.INVALID_PRICE
        if own.grid.units(message.qty) is None:
            return reasons.INVALID_QTY
        rest = EXACT.subtract(message.qty, own.cum)
        return reasons.INVALID_QTY if rest > 0 and own.grid.units(rest) is None else ""
