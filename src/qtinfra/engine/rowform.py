"""How a packed order is written: what nearly all of them have in common is left out.

Most orders are plain ones that venues have filled, and nothing else ever happened to them: a `Short` says all
there is to say of such an order in half of the bytes. Any other is written as it is. Which form a row takes
depends on its values alone, to the last digit that is written, so equal histories give equal bytes.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Execution, ExecutionState, Liquidity
from qtinfra.core.models import (
    Capacity,
    Child,
    ChildStatus,
    Order,
    OrderSide,
    OrderStatus,
    OrderType,
    Origin,
    TimeInForce,
)

#: How the written form of a short row begins.
_SHORT = 1
_CHILD_FILLED, _EXECUTION_LIVE = ChildStatus.FILLED, ExecutionState.LIVE


class Row(msgspec.Struct, array_like=True, tag=0, gc=False):
    """One packed order; `client_ids` are those that name it, its own and its requests'."""

    order: Order
    children: list[Child]
    executions: list[Execution]
    client_ids: list[str]


class ShortChild(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A child that its venue has filled as it was sent."""

    child_id: str
    venue: str
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    cum: Decimal
    price: Decimal | None
    venue_order_id: str


class ShortExecution(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An execution that stands as it was reported; `child` counts the order's children from 0."""

    key: str
    exec_id: str
    child: int
    trade_date: str
    ts_ns: int
    qty: Decimal
    px: Decimal
    value: Decimal
    liquidity: Liquidity
    fee: Decimal
    commission: Decimal


class Short(msgspec.Struct, array_like=True, frozen=True, tag=_SHORT, gc=False):
    """A plain order that is filled, with its children and executions."""

    order_id: str
    account: str
    cl_ord_id: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    capacity: Capacity
    trader: str
    origin: Origin
    created_ns: int
    updated_ns: int
    unallocated: Decimal
    cum_qty: Decimal
    notional: Decimal
    version: int
    status: OrderStatus
    route_attempts: int
    children: list[ShortChild]
    executions: list[ShortExecution]


def shortened(row: Row) -> object:
    """The row as it is to be written: the fields of a `Short` if that says all, else the row itself."""
    order = row.order
    if row.client_ids != [order.cl_ord_id] or not _plain(order):
        return row
    children = []
    for child in row.children:
        if not _filled(child):
            return row
        children.append(
            (
                child.child_id,
                child.venue,
                child.order_type,
                child.tif,
                child.qty,
                child.cum,
                child.price,
                child.venue_order_id,
            )
        )
    executions = []
    for item in row.executions:
        place = order.children.index(item.child_id)
        if not _standing(item) or item.venue != row.children[place].venue:
            return row
        executions.append(
            (
                item.key,
                item.exec_id,
                place,
                item.trade_date,
                item.ts_ns,
                item.qty,
                item.px,
                item.value,
                item.liquidity,
                item.fee,
                item.commission,
            )
        )
    return (
        _SHORT, order.order_id, order.account, order.cl_ord_id, order.symbol, order.side, order.order_type,
        order.tif, order.qty, order.price, order.capacity, order.trader, order.origin, order.created_ns,
        order.updated_ns, order.unallocated, order.cum_qty, order.notional, order.version, order.status,
        order.route_attempts, children, executions,
    )  # fmt: skip


def restored(written: Short | Row) -> Row:
    """Order, children and executions again, as they were."""
    if isinstance(written, Row):
        return written
    children = [_child(written, short) for short in written.children]
    executions = [_execution(written, short) for short in written.executions]
    order = Order(
        written.order_id, written.account, written.cl_ord_id, written.symbol, written.side,
        written.order_type, written.tif, written.qty, written.price, ZERO, written.capacity, written.trader,
        written.origin, written.created_ns, written.updated_ns, written.unallocated, written.qty,
        written.price, acked=True, cum_qty=written.cum_qty, notional=written.notional,
        version=written.version, status=written.status, route_attempts=written.route_attempts,
        children=[child.child_id for child in children], executions=[item.key for item in executions],
    )  # fmt: skip
    return Row(order, children, executions, [order.cl_ord_id])


# --- what may be left out --------------------------------------------------------------------------------


def _alike(one: Decimal | None, other: Decimal | None) -> bool:
    """Whether two numbers are written alike: 2 and 2.0 are not. Ask for the same object first."""
    return one is not None and other is not None and not one.compare_total(other)


def _plain(order: Order) -> bool:
    qty, price, zero = order.qty, order.price, ZERO
    return (
        order.acked
        and order.closed is None
        and order.special is None
        and order.algo is None
        and order.pending_cancel is None
        and order.pending_replace is None
        and not (order.amends or order.queued or order.refused_venues)
        and not (order.done_for_day or order.suspended or order.stopped or order.unknown_children)
        and (order.submitted_qty is qty or _alike(order.submitted_qty, qty))
        and (order.submitted_price is price or _alike(order.submitted_price, price))
        and (order.min_qty is zero or _alike(order.min_qty, zero))
        and (order.reserved is zero or _alike(order.reserved, zero))
        and (order.day_base_cum is zero or _alike(order.day_base_cum, zero))
    )


def _filled(child: Child) -> bool:
    zero = ZERO
    return (
        child.status is _CHILD_FILLED
        and child.requests is None
        and child.replace_price is None
        and not (child.cancel_id or child.replace_id)
        and child.cl_ord_id == child.child_id
        and (child.leaves is zero or _alike(child.leaves, zero))
        and (child.min_qty is zero or _alike(child.min_qty, zero))
        and (child.replace_qty is zero or _alike(child.replace_qty, zero))
    )


def _standing(item: Execution) -> bool:
    return (
        item.state is _EXECUTION_LIVE
        and not item.late
        and (item.reported_qty is item.qty or _alike(item.reported_qty, item.qty))
        and (item.reported_px is item.px or _alike(item.reported_px, item.px))
    )


def _child(of: Short, short: ShortChild) -> Child:
    return Child(
        short.child_id, of.order_id, short.venue, of.symbol, of.side, short.order_type, short.tif, short.qty,
        short.price, ZERO, short.child_id, ZERO, short.cum, _CHILD_FILLED, short.venue_order_id,
    )  # fmt: skip


def _execution(of: Short, short: ShortExecution) -> Execution:
    child = of.children[short.child]
    return Execution(
        short.key, short.exec_id, of.order_id, child.child_id, child.venue, short.trade_date, short.ts_ns,
        short.qty, short.px, short.qty, short.px, short.value, short.liquidity, short.fee,
        commission=short.commission,
    )  # fmt: skip
