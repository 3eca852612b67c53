"""Orders: their enumerations, their transition table, and the two views (ours and FIX) of one state."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.decimals import ZERO, average, canonical
from qtinfra.core.special import SpecialTerms
from qtinfra.core.writes import quick_writes

#: A quantity in units of the instrument (shares, contracts); never negative unless said.
Quantity = Decimal
#: A price in the instrument's currency per unit.
Price = Decimal


class OrderStatus(StrEnum):
    """The status a client reads. The FIX view of the same order is `fix_status`."""

    RECEIVED = "RECEIVED"
    VALIDATED = "VALIDATED"
    ROUTED = "ROUTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_REPLACE = "PENDING_REPLACE"
    SUSPENDED = "SUSPENDED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"


class OrderSide(StrEnum):
    BUY = "BUY"
    SELL = "SELL"
    SELL_SHORT = "SELL_SHORT"
    SELL_SHORT_EXEMPT = "SELL_SHORT_EXEMPT"


# Members by name: looking them up in their class costs more than comparing them.
_BUY = OrderSide.BUY
_PENDING_CANCEL = OrderStatus.PENDING_CANCEL
_PENDING_REPLACE = OrderStatus.PENDING_REPLACE
_DONE_FOR_DAY = OrderStatus.DONE_FOR_DAY
_FILLED = OrderStatus.FILLED
_REJECTED = OrderStatus.REJECTED
_UNKNOWN = OrderStatus.UNKNOWN
_STOPPED = OrderStatus.STOPPED
_SUSPENDED = OrderStatus.SUSPENDED
_PARTIALLY_FILLED = OrderStatus.PARTIALLY_FILLED
_ROUTED = OrderStatus.ROUTED
_VALIDATED = OrderStatus.VALIDATED


class OrderType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"
    TRAILING_STOP = "TRAILING_STOP"
    ICEBERG = "ICEBERG"
    PEGGED = "PEGGED"


class TimeInForce(StrEnum):
    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"
    AT_OPEN = "AT_OPEN"
    AT_CLOSE = "AT_CLOSE"


class AssetClass(StrEnum):
    EQUITY = "EQUITY"
    ETF = "ETF"
    OPTION = "OPTION"
    FUTURE = "FUTURE"
    FX = "FX"
    FIXED_INCOME = "FIXED_INCOME"
    COMMODITY = "COMMODITY"
    CRYPTO = "CRYPTO"


class Capacity(StrEnum):
    """In what capacity the firm trades (FIX 528)."""

    AGENCY = "AGENCY"
    PRINCIPAL = "PRINCIPAL"
    RISKLESS_PRINCIPAL = "RISKLESS_PRINCIPAL"


class Currency(StrEnum):
    """ISO 4217 codes of the currencies that orders, accounts and limits may be in."""

    USD = "USD"
    EUR = "EUR"
    GBP = "GBP"
    JPY = "JPY"
    CHF = "CHF"
    CAD = "CAD"
    AUD = "AUD"
    NZD = "NZD"
    SEK = "SEK"
    NOK = "NOK"
    DKK = "DKK"
    PLN = "PLN"
    CZK = "CZK"
    HUF = "HUF"
    TRY = "TRY"
    ZAR = "ZAR"
    ILS = "ILS"
    HKD = "HKD"
    SGD = "SGD"
    CNY = "CNY"
    KRW = "KRW"
    INR = "INR"
    TWD = "TWD"
    THB = "THB"
    MXN = "MXN"
    BRL = "BRL"
    CLP = "CLP"
    KWD = "KWD"
    BHD = "BHD"
    JOD = "JOD"


_MINOR_UNITS = {
    Currency.JPY: 0,
    Currency.KRW: 0,
    Currency.CLP: 0,
    Currency.KWD: 3,
    Currency.BHD: 3,
    Currency.JOD: 3,
}


def minor_units(currency: Currency) -> int:
    """Decimal places of the currency's smallest unit (ISO 4217): 2 for USD, 0 for JPY, 3 for KWD."""
    return _MINOR_UNITS.get(currency, 2)


class Origin(StrEnum):
    """Who asked. Staff act for the client by phone; the system acts by rule (halt, kill, disconnect)."""

    CLIENT = "CLIENT"
    STAFF = "STAFF"
    SYSTEM = "SYSTEM"


class Money(msgspec.Struct, frozen=True, order=False):
    """An exact amount in one currency. Amounts of different currencies do not add or compare."""

    amount: Decimal
    currency: Currency

    def _same(self, other: Money) -> Decimal:
        if other.currency is not self.currency:
            raise ValueError(f"currencies differ: {self.currency} and {other.currency}")
        return other.amount

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __mul__(self, factor: Decimal | int) -> Money:
        return Money(self.amount * factor, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other)

    def __str__(self) -> str:
        return f"{canonical(self.amount):f} {self.currency}"


BUY_SIDES = (OrderSide.BUY,)
SELL_SIDES = (OrderSide.SELL, OrderSide.SELL_SHORT, OrderSide.SELL_SHORT_EXEMPT)


def is_buy(side: OrderSide) -> bool:
    return side is _BUY


def signed(side: OrderSide, quantity: Decimal) -> Decimal:
    """The quantity as a change of position: positive for a buy, negative for any sell."""
    return quantity if side is _BUY else -quantity


class ChildStatus(StrEnum):
    """Where a venue order stands. SENT: on its way, no answer yet. UNKNOWN: sent, outcome in doubt."""

    SENT = "SENT"
    LIVE = "LIVE"
    UNKNOWN = "UNKNOWN"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    NOT_RECEIVED = "NOT_RECEIVED"


WORKING_CHILD = (ChildStatus.SENT, ChildStatus.LIVE, ChildStatus.UNKNOWN)


@quick_writes
class Child(msgspec.Struct, array_like=True, gc=False):
    """One order at one venue on behalf of a client order. `cl_ord_id` is the venue's last accepted id.

    `requests` are the venue ids of its cancels and replaces, answered ones included; None before the first.
    """

    child_id: str
    order_id: str
    venue: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal
    cl_ord_id: str
    leaves: Decimal
    cum: Decimal = ZERO
    status: ChildStatus = ChildStatus.SENT
    venue_order_id: str = ""
    cancel_id: str = ""
    replace_id: str = ""
    replace_qty: Decimal = ZERO
    replace_price: Decimal | None = None
    requests: list[str] | None = None

    @property
    def working(self) -> bool:
        """Whether the venue may still execute it."""
        return self.status in WORKING_CHILD


class PendingCancel(msgspec.Struct, gc=False):
    """A cancel sent on to `waiting` venues that have not all answered."""

    cl_ord_id: str
    orig_cl_ord_id: str
    origin: Origin
    waiting: int
    reason: str = ""
    reject_reason: int = -1


class PendingReplace(msgspec.Struct, gc=False):
    """A replace sent on to `waiting` venues; `qty` and `price` are the terms asked for."""

    cl_ord_id: str
    orig_cl_ord_id: str
    origin: Origin
    qty: Decimal
    price: Decimal | None
    waiting: int
    accepted: int = 0
    reject_reason: int = -1


class QueuedReplace(msgspec.Struct, frozen=True, gc=False):
    """A replace that waits for the one in flight (`chained_replace = queue`)."""

    cl_ord_id: str
    orig_cl_ord_id: str
    qty: Decimal
    price: Decimal | None
    origin: Origin


class Amend(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cancel or replace that was asked for under its own client id, whatever became of it.

    `reject_reason` is CxlRejReason (FIX 102) once it was refused, -1 before; `code` and `text` are ours.
    """

    cl_ord_id: str
    orig_cl_ord_id: str
    cancel: bool
    qty: Decimal | None = None
    price: Decimal | None = None
    reject_reason: int = -1
    code: str = ""
    text: str = ""


class _Kept:
    """What an order keeps beside its fields, not encoded: the figures that it is counted in, its account's in
    its symbol and in its currency. Unset until the engine has noted them (`engine.risk_sums`), None once it
    was executed at once.
    """

    __slots__ = ("cell", "standing")

    cell: Any
    standing: Any


@quick_writes
class Order(msgspec.Struct, _Kept, array_like=True, gc=False):
    """A client's order. Mutated by `engine.evolve` only; every figure is exact.

    `cum_qty` is the sum of unbusted executions, `notional` the sum of their price times quantity,
    `unallocated` what no venue holds, `reserved` what risk counts as open, at `open_px` a unit and with
    `open_value` in all, the multiplier in it (None and zero when nothing is). `closed` is the status that
    ended it, if one did; a filled order is not closed by it, since a bust or a larger replace opens it again.
    `special` has the terms of an order that is not plain, as they count now; `algo` those of one that an
    algorithm works.
    """

    order_id: str
    account: str
    cl_ord_id: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal
    capacity: Capacity
    trader: str
    origin: Origin
    created_ns: int
    updated_ns: int
    unallocated: Decimal
    submitted_qty: Decimal
    submitted_price: Decimal | None
    reserved: Decimal = ZERO
    open_px: Decimal | None = None
    open_value: Decimal = ZERO
    acked: bool = False
    version: int = 1
    status: OrderStatus = OrderStatus.VALIDATED
    children: tuple[str, ...] = ()
    route_attempts: int = 0
    cum_qty: Decimal = ZERO
    notional: Decimal = ZERO
    closed: OrderStatus | None = None
    done_for_day: bool = False
    suspended: bool = False
    stopped: bool = False
    unknown_children: int = 0
    day_base_cum: Decimal = ZERO
    pending_cancel: PendingCancel | None = None
    pending_replace: PendingReplace | None = None
    queued: tuple[QueuedReplace, ...] = ()
    amends: tuple[Amend, ...] = ()
    refused_venues: tuple[str, ...] = ()
    executions: tuple[str, ...] = ()
    special: SpecialTerms | None = None
    algo: AlgoTerms | None = None

    @property
    def filled(self) -> bool:
        return self.cum_qty >= self.qty

    @property
    def open(self) -> bool:
        """Whether it may still trade by itself: not closed, not filled."""
        return self.closed is None and self.cum_qty < self.qty

    @property
    def leaves_qty(self) -> Decimal:
        if self.closed is not None or self.cum_qty >= self.qty:
            return ZERO
        return self.qty - self.cum_qty

    @property
    def avg_px(self) -> Decimal:
        return average(self.notional, self.cum_qty)

    @property
    def day_order_qty(self) -> Decimal:
        """What was left to do when the trading day began (FIX 424)."""
        return self.qty - self.day_base_cum

    @property
    def day_cum_qty(self) -> Decimal:
        """What traded on the current trading day (FIX 425)."""
        return self.cum_qty - self.day_base_cum


def order_status(order: Order) -> OrderStatus:
    """The status by precedence: the highest that applies is reported.

    Source: FIX 5.0 SP2 appendix D, order of precedence of OrdStatus; UNKNOWN is ours and ranks below FILLED,
    because an order whose executions are complete is filled whatever a silent venue still holds.
    """
    if order.pending_cancel is not None:
        return _PENDING_CANCEL
    if order.pending_replace is not None:
        return _PENDING_REPLACE
    if order.done_for_day:
        return _DONE_FOR_DAY
    if order.cum_qty >= order.qty and order.closed is not _REJECTED:
        return _FILLED
    if order.unknown_children and order.closed is None:
        return _UNKNOWN
    if order.stopped:
        return _STOPPED
    if order.suspended:
        return _SUSPENDED
    if order.closed is not None:
        return order.closed
    if order.cum_qty:
        return _PARTIALLY_FILLED
    return _ROUTED if order.children else _VALIDATED


_FIX_STATUS = {
    OrderStatus.RECEIVED: "A",
    OrderStatus.PARTIALLY_FILLED: "1",
    OrderStatus.FILLED: "2",
    OrderStatus.DONE_FOR_DAY: "3",
    OrderStatus.CANCELLED: "4",
    OrderStatus.PENDING_CANCEL: "6",
    OrderStatus.STOPPED: "7",
    OrderStatus.REJECTED: "8",
    OrderStatus.SUSPENDED: "9",
    OrderStatus.EXPIRED: "C",
    OrderStatus.PENDING_REPLACE: "E",
}


def fix_status(order: Order) -> str:
    """OrdStatus (FIX 39) of the order: the code of its status; while unknown, the last one known."""
    code = _FIX_STATUS.get(order.status)
    if code is not None:
        return code
    if order.status is _UNKNOWN:
        if order.stopped:
            return "7"
        if order.suspended:
            return "9"
        if order.cum_qty:
            return "1"
    return "0" if order.acked else "A"


_NORMAL = "the usual course"
_LATE = "an execution reported after the end is booked (late fill)"
_BUST = "a bust or a correction takes executed quantity back"
_REOPEN = "a larger replace of a filled order opens it again"
_ANSWER = "the venue answered; the status underneath shows again"
_DAY = "the next trading day begins"
_S = OrderStatus


def _edges(reason: str, *targets: OrderStatus) -> dict[OrderStatus, str]:
    return dict.fromkeys(targets, reason)


_WORKING_ENDS = _edges(
    _NORMAL,
    _S.PARTIALLY_FILLED,
    _S.FILLED,
    _S.CANCELLED,
    _S.REJECTED,
    _S.EXPIRED,
    _S.DONE_FOR_DAY,
    _S.PENDING_CANCEL,
    _S.PENDING_REPLACE,
    _S.SUSPENDED,
    _S.STOPPED,
    _S.UNKNOWN,
)
_AFTER_ANSWER = _edges(
    _ANSWER,
    _S.VALIDATED,
    _S.ROUTED,
    _S.PARTIALLY_FILLED,
    _S.FILLED,
    _S.CANCELLED,
    _S.REJECTED,
    _S.EXPIRED,
    _S.DONE_FOR_DAY,
    _S.SUSPENDED,
    _S.STOPPED,
    _S.UNKNOWN,
)

#: Every change of status that may happen, with its reason; `check_transition` refuses any other.
TRANSITIONS: dict[OrderStatus, dict[OrderStatus, str]] = {
    _S.RECEIVED: _edges(_NORMAL, _S.VALIDATED, _S.ROUTED, _S.REJECTED),
    _S.VALIDATED: {_S.ROUTED: _NORMAL, **_WORKING_ENDS},
    _S.ROUTED: {_S.VALIDATED: "every child was refused or never received", **_WORKING_ENDS},
    _S.PARTIALLY_FILLED: {**_WORKING_ENDS, **_edges(_BUST, _S.ROUTED, _S.VALIDATED)},
    _S.FILLED: {
        **_edges(_BUST, _S.PARTIALLY_FILLED, _S.ROUTED, _S.VALIDATED, _S.CANCELLED, _S.EXPIRED),
        **_edges(_BUST, _S.DONE_FOR_DAY, _S.SUSPENDED, _S.STOPPED, _S.UNKNOWN),
        _S.PENDING_REPLACE: _REOPEN,
    },
    _S.CANCELLED: {**_edges(_LATE, _S.FILLED)},
    _S.REJECTED: {},
    _S.EXPIRED: {**_edges(_LATE, _S.FILLED)},
    _S.DONE_FOR_DAY: {
        **_edges(_DAY, _S.VALIDATED, _S.ROUTED, _S.PARTIALLY_FILLED, _S.SUSPENDED, _S.STOPPED, _S.UNKNOWN),
        **_edges(_NORMAL, _S.PENDING_CANCEL, _S.PENDING_REPLACE, _S.CANCELLED, _S.EXPIRED),
        _S.REJECTED: "the venue's refusal came after the close",
        _S.FILLED: _LATE,
    },
    _S.PENDING_CANCEL: {_S.PENDING_REPLACE: "cancel refused, a replace is still out", **_AFTER_ANSWER},
    _S.PENDING_REPLACE: {_S.PENDING_CANCEL: "a cancel overtakes the replace in flight", **_AFTER_ANSWER},
    _S.SUSPENDED: {**_WORKING_ENDS, **_edges("reinstated", _S.VALIDATED, _S.ROUTED)},
    _S.STOPPED: {**_WORKING_ENDS, **_edges("the guarantee lapsed", _S.ROUTED)},
    _S.UNKNOWN: {**_AFTER_ANSWER, **_edges(_NORMAL, _S.PENDING_CANCEL, _S.PENDING_REPLACE)},
}


def may_become(current: OrderStatus, target: OrderStatus) -> bool:
    """Whether the table allows the change (staying is always allowed)."""
    return current is target or target in TRANSITIONS[current]
