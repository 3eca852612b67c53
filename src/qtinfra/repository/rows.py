"""What the read model returns: one frozen struct per kind of row, in the words of the engine.

Numbers are exact decimals, times UTC nanoseconds. `seq` is the journal sequence of the last record that
touched the row: a caller who was answered at sequence n has read his own write when the projection is at n.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from qtinfra.core.extended_models import (
    ExecutionState,
    Liquidity,
    Policies,
    TickBand,
    VenueStatus,
)
from qtinfra.core.models import (
    AssetClass,
    Capacity,
    ChildStatus,
    Currency,
    OrderSide,
    OrderStatus,
    OrderType,
    Origin,
    TimeInForce,
)
from qtinfra.core.special import SpecialTerms

_SECOND_NS = 1_000_000_000


class OrderRow(msgspec.Struct, frozen=True):
    """A client's order as it stands.

    Attributes:
        cl_ord_id: the client's last accepted id; `first_cl_ord_id` the one it was sent under.
        venues: MICs of the venues it was sent to, in order of the first child there.
        reason_code: the rule that refused it; None when no rule did.
        reason: the last reason given for a refusal, an end, a suspension; None when there was none.
        confidence_ppm, expected_fill_ppm: what the router expected when it last routed the order, in parts of
            a million (`RouteScored`); None when it said nothing.
        frozen: a fault of our own concerns it, and a person has not looked yet.
        version: grows with every change (ETag).
    """

    order_id: str
    account: str
    cl_ord_id: str
    first_cl_ord_id: str
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
    status: OrderStatus
    fix_status: str
    cum_qty: Decimal
    leaves_qty: Decimal
    avg_px: Decimal
    notional: Decimal
    algo: str
    special: SpecialTerms | None
    venues: tuple[str, ...]
    reason_code: str | None
    reason: str | None
    confidence_ppm: int | None
    expected_fill_ppm: int | None
    frozen: bool
    version: int
    created_ns: int
    updated_ns: int
    seq: int


class ChildRow(msgspec.Struct, frozen=True):
    """One order at one venue. `number` counts the children of the order from 0."""

    child_id: str
    order_id: str
    account: str
    venue: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal
    cl_ord_id: str
    venue_order_id: str
    status: ChildStatus
    cum_qty: Decimal
    leaves_qty: Decimal
    number: int
    sent_ns: int
    seq: int


class ExecutionRow(msgspec.Struct, frozen=True):
    """One execution. `qty` and `px` follow corrections and corporate actions, `reported_*` do not."""

    key: str
    exec_id: str
    order_id: str
    child_id: str
    account: str
    symbol: str
    side: OrderSide
    venue: str
    trade_date: str
    currency: Currency
    liquidity: Liquidity
    state: ExecutionState
    qty: Decimal
    px: Decimal
    value: Decimal
    reported_qty: Decimal
    reported_px: Decimal
    fee: Decimal
    commission: Decimal
    late: bool
    ts_ns: int
    seq: int


class PositionRow(msgspec.Struct, frozen=True):
    """What an account holds of an instrument, in the instrument's currency; P&L under average cost."""

    account: str
    symbol: str
    currency: Currency
    qty: Decimal
    avg_cost: Decimal
    realised: Decimal
    cost: Decimal
    fees: Decimal
    bought_qty: Decimal
    bought_value: Decimal
    sold_qty: Decimal
    sold_value: Decimal
    multiplier: Decimal
    updated_ns: int
    seq: int


class HistoryRow(msgspec.Struct, frozen=True):
    """One event of an order's life. `detail` has the event's fields by name, numbers as text."""

    shard: int
    seq: int
    order_id: str
    account: str
    kind: str
    command: str
    actor: str
    correlation_id: str
    detail: dict[str, Any]
    ts_ns: int


class AccountRow(msgspec.Struct, frozen=True):
    """An account. `cash` has the balance by currency; None when none was ever loaded."""

    account: str
    client: str
    base_currency: Currency
    desk: str
    firm: str
    enabled: bool
    frozen: bool
    policies: Policies
    cash: dict[Currency, Decimal] | None
    seq: int


class VenueRow(msgspec.Struct, frozen=True):
    """A venue and how it is connected."""

    mic: str
    name: str
    currency: Currency
    status: VenueStatus
    take_fee: Decimal
    make_fee: Decimal
    order_types: tuple[str, ...]
    time_in_force: tuple[str, ...]
    seq: int


class InstrumentRow(msgspec.Struct, frozen=True):
    """An instrument. `halted` is the reason of a halt, None while it trades."""

    symbol: str
    asset_class: AssetClass
    currency: Currency
    isin: str
    name: str
    lot_size: Decimal
    multiplier: Decimal
    listings: tuple[str, ...]
    ticks: tuple[TickBand, ...]
    halted: str | None
    reference_price: Decimal | None
    seq: int


class OrderDetail(msgspec.Struct, frozen=True):
    """An order with what became of it, each list in order of time."""

    order: OrderRow
    children: tuple[ChildRow, ...]
    executions: tuple[ExecutionRow, ...]
    history: tuple[HistoryRow, ...]


def rfc3339(ts_ns: int) -> str:
    """A moment as RFC 3339 text in UTC, with as many decimal places as it needs (0, 3, 6 or 9)."""
    seconds, rest = divmod(ts_ns, _SECOND_NS)
    stem = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if not rest:
        return f"{stem}Z"
    digits = f"{rest:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{stem}.{digits}Z"
