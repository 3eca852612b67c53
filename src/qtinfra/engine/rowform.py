"""How a packed order is written: what nearly all of them have in common is left out.

Most orders are plain ones that venues have filled, and nothing else ever happened to them: a `Short` says all
there is to say of such an order in half of the bytes. Any other is written as it is. Which form a row takes
depends on its values alone, to the last digit that is written, so equal histories give equal bytes.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import EXACT, ZERO
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
from qtinfra.engine.invariants import InvariantBrokenError

#: How the written form of a short row begins.
_SHORT = 1
_ORDER_FILLED = OrderStatus.FILLED
_CHILD_FILLED, _EXECUTION_LIVE = ChildStatus.FILLED, ExecutionState.LIVE
_multiply, _add = EXACT.multiply, EXACT.add


class Row(msgspec.Struct, array_like=True, tag=0, gc=False):
    """One packed order; `client_ids` are those that name it, its own and its requests'."""

    order: Order
    children: list[Child]
    executions: list[Execution]
    client_ids: list[str]


class ShortChild(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A child that its venue has filled as it was sent; `cum` follows from its executions."""

    child_id: str
    venue: str
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    venue_order_id: str


class ShortExecution(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An execution that stands as it was reported; `child` counts the order's children from 0, `after_ns`
    the nanoseconds since the order's creation. `qty` and `px` are None where they are those of the child,
    `commission` where it is zero.
    """

    key: str
    exec_id: str
    child: int
    trade_date: str
    after_ns: int
    qty: Decimal | None
    px: Decimal | None
    liquidity: Liquidity
    fee: Decimal
    commission: Decimal | None


class Short(msgspec.Struct, array_like=True, frozen=True, tag=_SHORT, gc=False):
    """A plain order that is filled, with its children and executions; `lasted_ns` is from its creation to its
    last change. What was executed, and for how much, follows from the executions.
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
    capacity: Capacity
    trader: str
    origin: Origin
    created_ns: int
    lasted_ns: int
    version: int
    route_attempts: int
    children: list[ShortChild]
    executions: list[ShortExecution]


def shortened(row: Row) -> object:
    """The row as it is to be written: the fields of a `Short` if that says all, else the row itself. To be
    called under `core.decimals.exact()`.
    """
    order, sent = row.order, row.children
    if row.client_ids != [order.cl_ord_id] or not _plain(order):
        return row
    names, created_ns = order.children, order.created_ns
    children: list[object] = []
    for child in sent:
        if not _filled(child):
            return row
        children.append(
            (
                child.child_id,
                child.venue,
                child.order_type,
                child.tif,
                child.qty,
                child.price,
                child.venue_order_id,
            )
        )
    executions: list[object] = []
    for item in row.executions:
        place = names.index(item.child_id)
        if not _standing(item, sent[place]):
            return row
        executions.append(_short_execution(item, sent[place], place, created_ns))
    if not _summed(order, sent, row.executions):
        return row
    return (
        _SHORT, order.order_id, order.account, order.cl_ord_id, order.symbol, order.side, order.order_type,
        order.tif, order.qty, order.price, order.capacity, order.trader, order.origin, created_ns,
        order.updated_ns - created_ns, order.version, order.route_attempts, children, executions,
    )  # fmt: skip


def restored(written: Short | Row) -> Row:
    """Order, children and executions again, as they were."""
    if isinstance(written, Row):
        return written
    children = [_child(written, short) for short in written.children]
    executions, cum, notional = [], ZERO, ZERO
    for short in written.executions:
        child = children[short.child]
        item = _execution(written, child, short)
        executions.append(item)
        child.cum = _add(child.cum, item.qty)
        cum, notional = _add(cum, item.qty), _add(notional, item.value)
    qty, price, created_ns = written.qty, written.price, written.created_ns
    order = Order(
        written.order_id, written.account, written.cl_ord_id, written.symbol, written.side,
        written.order_type, written.tif, qty, price, ZERO, written.capacity, written.trader,
        written.origin, created_ns, created_ns + written.lasted_ns, ZERO, qty, price, acked=True,
        cum_qty=cum, notional=notional, version=written.version, status=_ORDER_FILLED,
        route_attempts=written.route_attempts,
        children=[child.child_id for child in children], executions=[item.key for item in executions],
    )  # fmt: skip
    return Row(order, children, executions, [order.cl_ord_id])


# --- what may be left out --------------------------------------------------------------------------------
#
# Sums and products are left out where evolve's own arithmetic gives them again. All else is compared as it is
# written: 2 and 2.0 differ. Whether it is the same object is asked first, and without a call.


def _plain(order: Order) -> bool:
    qty, price, first, zero = order.qty, order.price, order.submitted_price, ZERO
    return (
        order.status is _ORDER_FILLED
        and order.acked
        and order.closed is None
        and order.special is None
        and order.algo is None
        and order.pending_cancel is None
        and order.pending_replace is None
        and not (order.amends or order.queued or order.refused_venues)
        and not (order.done_for_day or order.suspended or order.stopped or order.unknown_children)
        and (order.submitted_qty is qty or not qty.compare_total(order.submitted_qty))
        and (first is price or not (first is None or price is None or price.compare_total(first)))
        and ((left := order.unallocated) is zero or not zero.compare_total(left))
        and ((least := order.min_qty) is zero or not zero.compare_total(least))
        and order.open_px is None
        and ((held := order.reserved) is zero or not zero.compare_total(held))
        and ((value := order.open_value) is zero or not zero.compare_total(value))
        and ((before := order.day_base_cum) is zero or not zero.compare_total(before))
    )


def _summed(order: Order, children: list[Child], executions: list[Execution]) -> bool:
    """Whether what was executed of the order and its children is the sum of the executions."""
    if len(executions) == 1 == len(children):
        item = executions[0]
        qty = item.qty
        return order.cum_qty == qty and order.notional == item.value and children[0].cum == qty
    by_child = dict.fromkeys(order.children, ZERO)
    cum = notional = ZERO
    for item in executions:
        by_child[item.child_id] += item.qty
        cum += item.qty
        notional += item.value
    if order.cum_qty != cum or order.notional != notional:
        return False
    return all(child.cum == by_child[child.child_id] for child in children)


def _filled(child: Child) -> bool:
    zero = ZERO
    return (
        child.status is _CHILD_FILLED
        and child.requests is None
        and child.replace_price is None
        and not (child.cancel_id or child.replace_id)
        and child.cl_ord_id == child.child_id
        and ((left := child.leaves) is zero or not zero.compare_total(left))
        and ((least := child.min_qty) is zero or not zero.compare_total(least))
        and ((asked := child.replace_qty) is zero or not zero.compare_total(asked))
    )


def _standing(item: Execution, child: Child) -> bool:
    qty, px = item.qty, item.px
    return (
        item.state is _EXECUTION_LIVE
        and not item.late
        and item.venue == child.venue
        and ((said := item.reported_qty) is qty or not qty.compare_total(said))
        and ((said := item.reported_px) is px or not px.compare_total(said))
        and item.value == qty * px
    )


def _short_execution(item: Execution, child: Child, place: int, created_ns: int) -> tuple[object, ...]:
    """The fields of a `ShortExecution`."""
    qty, px, sent, limit, commission = item.qty, item.px, child.qty, child.price, item.commission
    same = px is limit or not (limit is None or limit.compare_total(px))
    return (
        item.key, item.exec_id, place, item.trade_date, item.ts_ns - created_ns,
        None if qty is sent or not sent.compare_total(qty) else qty, None if same else px,
        item.liquidity, item.fee,
        None if commission is ZERO or not ZERO.compare_total(commission) else commission,
    )  # fmt: skip


def _child(of: Short, short: ShortChild) -> Child:
    """The child before its executions."""
    return Child(
        short.child_id, of.order_id, short.venue, of.symbol, of.side, short.order_type, short.tif, short.qty,
        short.price, ZERO, short.child_id, ZERO, ZERO, _CHILD_FILLED, short.venue_order_id,
    )  # fmt: skip


def _execution(of: Short, child: Child, short: ShortExecution) -> Execution:
    qty = child.qty if short.qty is None else short.qty
    px = child.price if short.px is None else short.px
    if px is None:
        raise InvariantBrokenError(f"an execution has a price ({short.key})")
    return Execution(
        short.key, short.exec_id, of.order_id, child.child_id, child.venue, short.trade_date,
        of.created_ns + short.after_ns, qty, px, qty, px, _multiply(qty, px), short.liquidity, short.fee,
        commission=ZERO if short.commission is None else short.commission,
    )  # fmt: skip
