"""What crosses the boundary to venues and clients: venue orders, venue reports, client reports, alerts.

The field names are FIX's. A venue gateway translates these to its protocol and back; nothing else does.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import OrderSide, OrderStatus, OrderType, TimeInForce


class ToVenue(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Base of every message to a venue. `cl_ord_id` is ours, short and never used twice."""

    venue: str
    cl_ord_id: str


class VenueNewOrder(ToVenue, frozen=True, gc=False):
    """An order for a venue; what follows `account` only some venues take.

    Attributes:
        display_qty: what an iceberg shows at a time (FIX 1138); 0 shows all.
        stop_px: last-trade price that brings a stop order to life (FIX 99).
        peg: "PRIMARY" (own side's best), "MARKET" (the other side's) or "MIDPOINT" (FIX 1094 5, 4 and 2).
        peg_offset: added to the peg's price, in currency per unit; negative is less.
        hidden: nothing of it is displayed.
        smp_id: orders under the same one never trade with each other (FIX 2362).
        smp_mode: what happens instead, by the word of the venue (FIX 2964); empty is the venue's default.
    """

    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal = ZERO
    account: str = ""
    display_qty: Decimal = ZERO
    stop_px: Decimal | None = None
    peg: str = ""
    peg_offset: Decimal = ZERO
    hidden: bool = False
    smp_id: str = ""
    smp_mode: str = ""


class VenueCancel(ToVenue, frozen=True, gc=False):
    orig_cl_ord_id: str


class VenueReplace(ToVenue, frozen=True, gc=False):
    """New total quantity and price; a quantity at or below what has traded cancels the balance."""

    orig_cl_ord_id: str
    qty: Decimal
    price: Decimal | None


class VenueStatusRequest(ToVenue, frozen=True, gc=False):
    """What do you know of this order? Answered by a STATUS report, or UNKNOWN_ORDER."""


class VenueMassStatusRequest(ToVenue, frozen=True, gc=False):
    """What do you know of all our orders? `cl_ord_id` names the request. Ends with MASS_STATUS_END."""


class ReportKind(StrEnum):
    """What a venue says."""

    ACK = "ACK"
    PENDING = "PENDING"
    REJECT = "REJECT"
    FILL = "FILL"
    CANCELED = "CANCELED"
    CANCEL_REJECT = "CANCEL_REJECT"
    REPLACED = "REPLACED"
    REPLACE_REJECT = "REPLACE_REJECT"
    BUST = "BUST"
    CORRECT = "CORRECT"
    RESTATED = "RESTATED"
    STOPPED = "STOPPED"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    EXPIRED = "EXPIRED"
    STATUS = "STATUS"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    MASS_STATUS_END = "MASS_STATUS_END"


class VenueReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message from a venue about one of our orders.

    Attributes:
        session: the venue's session name; `seq` counts its messages from 1, without gaps.
        cl_ord_id: our id that the report answers: the order's, or the cancel's or replace's.
        orig_cl_ord_id: for CANCELED and REPLACED on request, the id before; empty when unsolicited.
        qty, px: FILL and CORRECT: the execution; RESTATED and REPLACED: the new order terms (None where the
            venue just confirms what was asked); STOPPED: the guarantee. A `qty` of None is 0.
        cum_qty, leaves_qty, live: STATUS: the venue's view of the order; None is 0.
        exec_id, ref_exec_id: FILL: the execution's id; BUST and CORRECT: `ref_exec_id` names the original.
        reason: venue's reason code or word; `corporate_action` on RESTATED scales what has traded.
        queue_ahead: on a passive fill, displayed quantity that stood before us when our order arrived; else
            None, in the first records 0.
        flag: on a fill, the venue's liquidity flag where it is more than ADDED or REMOVED (auction, hidden).
    """

    kind: ReportKind
    venue: str
    cl_ord_id: str
    seq: int = 0
    session: str = ""
    trade_date: str = ""
    orig_cl_ord_id: str = ""
    venue_order_id: str = ""
    exec_id: str = ""
    ref_exec_id: str = ""
    qty: Decimal | None = None
    px: Decimal | None = None
    cum_qty: Decimal | None = None
    leaves_qty: Decimal | None = None
    live: bool = False
    liquidity: Liquidity = Liquidity.UNKNOWN
    queue_ahead: Decimal | None = None
    reason: str = ""
    text: str = ""
    source_ns: int = 0
    flag: str = ""

    @property
    def quantity(self) -> Decimal:
        """`qty` as a number: 0 where it is not said."""
        return ZERO if self.qty is None else self.qty


class Reported:
    """What a venue said, by the same names, for an event that holds the report.

    A property costs as much as a call: who reads several takes them from `report`.
    """

    __slots__ = ()

    report: VenueReport

    @property
    def venue(self) -> str:
        return self.report.venue

    @property
    def seq(self) -> int:
        """The report's inbound sequence, 0 when it had none."""
        return self.report.seq

    @property
    def venue_order_id(self) -> str:
        return self.report.venue_order_id

    @property
    def exec_id(self) -> str:
        return self.report.exec_id

    @property
    def qty(self) -> Decimal:
        return self.report.quantity

    @property
    def px(self) -> Decimal:
        """The execution's price.

        Raises:
            ValueError: the report has none.
        """
        if (px := self.report.px) is None:
            raise ValueError("a report without a price is of no execution")
        return px

    @property
    def liquidity(self) -> Liquidity:
        return self.report.liquidity

    @property
    def queue_ahead(self) -> Decimal | None:
        return self.report.queue_ahead


class ExecType(StrEnum):
    """FIX 4.4 ExecType (150)."""

    NEW = "0"
    DONE_FOR_DAY = "3"
    CANCELED = "4"
    REPLACED = "5"
    PENDING_CANCEL = "6"
    STOPPED = "7"
    REJECTED = "8"
    SUSPENDED = "9"
    PENDING_NEW = "A"
    EXPIRED = "C"
    RESTATED = "D"
    PENDING_REPLACE = "E"
    TRADE = "F"
    TRADE_CORRECT = "G"
    TRADE_CANCEL = "H"
    ORDER_STATUS = "I"


class ExecutionReport(msgspec.Struct, frozen=True, tag=True, omit_defaults=True, gc=False):
    """What a client is told about an order (FIX 8). Order id "NONE" when the order is not known.

    As JSON it leaves out what does not apply: a member that is absent has its default (a quantity or average
    price 0, a text empty, `reason` and `last_px` null). Whoever decodes one gets the equal report.
    """

    account: str
    order_id: str
    cl_ord_id: str
    exec_type: ExecType
    ord_status: str
    status: OrderStatus
    order_qty: Decimal
    symbol: str = ""
    venue: str = ""
    leaves_qty: Decimal = ZERO
    cum_qty: Decimal = ZERO
    avg_px: Decimal = ZERO
    last_qty: Decimal = ZERO
    last_px: Decimal | None = None
    exec_id: str = ""
    orig_cl_ord_id: str = ""
    ref_exec_id: str = ""
    reason: int | None = None
    code: str = ""
    text: str = ""


class OrderCancelReject(msgspec.Struct, frozen=True, tag=True, omit_defaults=True, gc=False):
    """A cancel or replace was refused (FIX 9). `response_to`: 1 cancel, 2 replace.

    As JSON it leaves out an empty `code` and `text`.
    """

    account: str
    order_id: str
    cl_ord_id: str
    orig_cl_ord_id: str
    ord_status: str
    response_to: int
    reason: int
    code: str = ""
    text: str = ""


class Alert(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Something a person must look at: a break with a venue, an order frozen, an outcome unknown."""

    kind: str
    subject: str
    text: str


#: What leaves the engine once its cause is durable.
Effect = (
    VenueNewOrder
    | VenueCancel
    | VenueReplace
    | VenueStatusRequest
    | VenueMassStatusRequest
    | ExecutionReport
    | OrderCancelReject
    | Alert
)

# CxlRejReason (FIX 102).
CXL_TOO_LATE = 0
CXL_UNKNOWN_ORDER = 1
CXL_BROKER_OPTION = 2
CXL_ALREADY_PENDING = 3
CXL_DUPLICATE_CL_ORD_ID = 6
CXL_OTHER = 99

# OrdRejReason (FIX 103).
REJ_BROKER_OPTION = 0
REJ_UNKNOWN_SYMBOL = 1
REJ_EXCHANGE_CLOSED = 2
REJ_EXCEEDS_LIMIT = 3
REJ_UNKNOWN_ORDER = 5
REJ_DUPLICATE_ORDER = 6
REJ_OTHER = 99

NO_ORDER = "NONE"
