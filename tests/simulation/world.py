"""Truthful venues for the property test: they tell late, twice and out of order, and lose messages."""

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from qtinfra.core.decimals import ZERO
from qtinfra.core.models import OrderSide, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    ToVenue,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)

#: Reports that may overtake each other; what is asked for in doubt, busts and corrections never do.
_LOOSE = (
    ReportKind.ACK,
    ReportKind.FILL,
    ReportKind.CANCELED,
    ReportKind.CANCEL_REJECT,
    ReportKind.REPLACED,
    ReportKind.REPLACE_REJECT,
    ReportKind.EXPIRED,
)
#: Reports that a venue may repeat under a new number without saying anything new.
_REPEATABLE = (ReportKind.ACK, ReportKind.FILL, ReportKind.CANCELED, ReportKind.REJECT)


class Print(msgspec.Struct):
    """One execution at the venue; `told` is what the engine has been told of it."""

    exec_id: str
    qty: Decimal
    px: Decimal
    told: Decimal = ZERO
    busted: bool = False


class Held(msgspec.Struct):
    """One of our orders as the venue has it."""

    first_id: str
    cl_ord_id: str
    account: str
    side: OrderSide
    tif: TimeInForce
    qty: Decimal
    live: bool
    leaves: Decimal
    prints: list[Print] = msgspec.field(default_factory=list)

    @property
    def cum(self) -> Decimal:
        return sum((item.qty for item in self.prints if not item.busted), ZERO)

    @property
    def told(self) -> Decimal:
        """What the engine must have booked by now."""
        return sum((item.told for item in self.prints), ZERO)


class TruthfulVenue:
    """Holds orders, queues what it has to say, numbers each message when it leaves."""

    def __init__(self, mic: str) -> None:
        self.mic = mic
        self.reachable = True
        self.orders: dict[str, Held] = {}
        self.outbox: list[VenueReport] = []
        self.delivered: list[VenueReport] = []
        self.trade_date = ""
        self._ids: dict[str, Held] = {}
        self._seq = 0
        self._execs = 0

    def receive(self, message: ToVenue, whim: int) -> None:
        """Take one message; `whim` decides where a venue has a choice. An unreachable venue loses it."""
        if not self.reachable:
            return
        if isinstance(message, VenueNewOrder):
            self._new(message, whim)
        elif isinstance(message, VenueStatusRequest):
            self._status(message.cl_ord_id)
        elif isinstance(message, VenueCancel | VenueReplace):
            self._amend(message, whim)

    def _say(self, kind: ReportKind, cl_ord_id: str, **fields: object) -> None:
        report = VenueReport(kind, self.mic, cl_ord_id, session="S", trade_date=self.trade_date)
        self.outbox.append(replace(report, **fields))

    def _new(self, message: VenueNewOrder, whim: int) -> None:
        held = Held(
            message.cl_ord_id,
            message.cl_ord_id,
            message.account,
            message.side,
            message.tif,
            message.qty,
            True,
            message.qty,
        )
        self.orders[held.first_id] = self._ids[held.first_id] = held
        if whim % 8 == 0:
            held.live, held.leaves = False, ZERO
            self._say(ReportKind.REJECT, held.first_id, reason="refused")
            return
        self._say(ReportKind.ACK, held.first_id, venue_order_id=f"V{held.first_id}")
        if held.tif in (TimeInForce.IOC, TimeInForce.FOK):
            if whim % 3:
                self.trade(held, held.leaves if held.tif is TimeInForce.FOK else _part(held.leaves, whim))
            if held.live:
                self.end(held, ReportKind.CANCELED)

    def _amend(self, message: VenueCancel | VenueReplace, whim: int) -> None:
        cancel = isinstance(message, VenueCancel)
        refused = ReportKind.CANCEL_REJECT if cancel else ReportKind.REPLACE_REJECT
        held = self._ids.get(message.orig_cl_ord_id)
        if message.cl_ord_id in self._ids:
            return
        if held is not None:
            self._ids[message.cl_ord_id] = held
        if held is None or not held.live or whim % 6 == 0:
            reason = "unknown_order" if held is None else "broker_option" if held.live else "too_late"
            self._say(refused, message.cl_ord_id, orig_cl_ord_id=message.orig_cl_ord_id, reason=reason)
            return
        orig, held.cl_ord_id = held.cl_ord_id, message.cl_ord_id
        if isinstance(message, VenueCancel):
            held.live, held.leaves = False, ZERO
            self._say(ReportKind.CANCELED, message.cl_ord_id, orig_cl_ord_id=orig)
            return
        held.qty = message.qty
        held.leaves = max(ZERO, message.qty - held.cum)
        held.live = held.leaves > ZERO
        self._say(ReportKind.REPLACED, message.cl_ord_id, orig_cl_ord_id=orig)

    def _status(self, cl_ord_id: str) -> None:
        held = self._ids.get(cl_ord_id)
        if held is None:
            self._say(ReportKind.UNKNOWN_ORDER, cl_ord_id)
        else:
            self._say(ReportKind.STATUS, cl_ord_id, live=held.live, cum_qty=held.cum, leaves_qty=held.leaves)

    # --- the market and the venue's staff ---

    def trade(self, held: Held, qty: Decimal) -> None:
        if not held.live or not qty:
            return
        self._execs += 1
        item = Print(f"E{self._execs}", qty, Decimal(50))
        held.prints.append(item)
        held.leaves -= qty
        held.live = held.leaves > ZERO
        self._say(ReportKind.FILL, held.cl_ord_id, exec_id=item.exec_id, qty=qty, px=item.px)

    def end(self, held: Held, kind: ReportKind) -> None:
        held.live, held.leaves = False, ZERO
        self._say(kind, held.cl_ord_id, reason="unsolicited")

    def bust(self, held: Held, item: Print) -> None:
        item.busted = True
        self._say(ReportKind.BUST, held.cl_ord_id, ref_exec_id=item.exec_id)

    def correct(self, held: Held, item: Print, qty: Decimal) -> None:
        more = qty - item.qty
        if item.busted or qty <= ZERO or more > held.leaves:
            return
        item.qty = qty
        if more > ZERO:
            held.leaves -= more
            held.live = held.leaves > ZERO
        self._say(ReportKind.CORRECT, held.cl_ord_id, ref_exec_id=item.exec_id, qty=qty, px=Decimal(51))

    def decline(self, held: Held, qty: Decimal) -> None:
        """Partial decline: the venue takes the order for less than was asked."""
        if not held.live or not held.cum < qty < held.qty:
            return
        held.leaves -= min(held.leaves, held.qty - qty)
        held.live = held.leaves > ZERO
        held.qty = qty
        self._say(ReportKind.RESTATED, held.cl_ord_id, qty=qty)

    # --- the line ---

    def next_report(self, whim: int) -> VenueReport | None:
        """The next message: mostly the oldest, sometimes the one behind it, sometimes a repetition."""
        if self.delivered and whim % 7 == 0:
            again = self.delivered[whim % len(self.delivered)]
            if whim % 2 and again.kind in _REPEATABLE:
                self._seq += 1
                again = replace(again, seq=self._seq)
            return again
        if not self.outbox:
            return None
        first = self.outbox[:2]
        swap = len(first) == 2 and whim % 5 == 0 and all(report.kind in _LOOSE for report in first)
        self._seq += 1
        report = replace(self.outbox.pop(1 if swap else 0), seq=self._seq)
        self.delivered.append(report)
        self._tell(report)
        return report

    def _tell(self, report: VenueReport) -> None:
        held = self._ids.get(report.cl_ord_id)
        exec_id = report.exec_id or report.ref_exec_id
        if held is None or not exec_id:
            return
        for item in held.prints:
            if item.exec_id == exec_id:
                item.told = ZERO if report.kind is ReportKind.BUST else report.quantity


def _part(qty: Decimal, whim: int) -> Decimal:
    """A whole part of a quantity, by chance all of it."""
    return min(qty, Decimal(1 + whim % int(qty))) if qty >= 1 else ZERO
