"""What may be left out of a packed order: which orders have short forms, and these.

Sums and products are left out where evolve's own arithmetic gives them again. All else is compared as it is
written: 2 and 2.0 differ. Whether it is the same object is asked first, and without a call. Of an order that
may be packed nothing pends or is in doubt (`packing.may_pack`), and whatever a venue was asked about a child
stands under an id among its `requests`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

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

_ORDER_FILLED, _ORDER_REJECTED = OrderStatus.FILLED, OrderStatus.REJECTED
_CHILD_FILLED, _EXECUTION_LIVE = ChildStatus.FILLED, ExecutionState.LIVE


#: What a price is written as that is the order's.
AS_ORDERED: tuple[()] = ()


class ShortOrder(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A plain order that is filled, or that was refused; `lasted_ns` is from its creation to its last change.
    What was executed, and for how much, follows from the executions.
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


class ShortChild(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A child that its venue has filled as it was sent: venue and what was executed are its executions'. The
    price is `AS_ORDERED` where it is the order's.
    """

    child_id: str
    order_type: OrderType
    tif: TimeInForce
    price: Decimal | tuple[()] | None
    venue_order_id: str


class ShortExecution(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An execution that stands as it was reported; `before_ns` are the nanoseconds to the order's last
    change. A commission other than zero is noted apart.
    """

    key: str
    exec_id: str
    venue: str
    trade_date: str
    before_ns: int
    px: Decimal
    liquidity: Liquidity
    fee: Decimal


class Several(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a short order is made up that has not just one child and one execution of its whole quantity.

    Attributes:
        children: the quantity of each; an order without children was refused.
        executions: the quantity of each.
        places: of each execution the place of its child, from 0; None if there is one of each child, in their
            order.
    """

    children: list[Decimal]
    executions: list[Decimal]
    places: list[int] | None


class ShortRows:
    """What is short of a block: orders, children and executions, field by field and line by line; by an
    order's number among them how it is made up, and by an execution's its commission.
    """

    __slots__ = ("children", "commissions", "executions", "orders", "several")

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.children: list[Any] = []
        self.executions: list[Any] = []
        self.several: dict[int, Several] = {}
        self.commissions: dict[int, Decimal] = {}


#: How an order is made up that was refused.
_NOTHING_SENT = Several([], [], None)
#: Fields of an execution's short form.
_WIDTH = len(ShortExecution.__struct_fields__)


def shorten(
    order: Order, sent: list[Child], filled: list[Execution], changed: bool, number: int, short: ShortRows
) -> bool:
    """Add an order, `number` among the short ones, and all of its own, if the short forms say all of them.

    Args:
        changed: whether more may have happened to it than that it was sent, acknowledged and executed.
    """
    if not sent:
        if not plain_refused(order):
            return False
        short.orders += _short_order(order)
        short.several[number] = _NOTHING_SENT
        return True
    if not (plain_filled if changed else _nothing_special)(order, sent, filled):
        return False
    updated_ns, names, width = order.updated_ns, order.children, _WIDTH
    places: list[int] = []
    for item in filled:
        commission = item.commission
        if commission is not ZERO and ZERO.compare_total(commission):
            short.commissions[len(short.executions) // width] = commission
        places.append(names.index(item.child_id))
        short.executions += (
            item.key, item.exec_id, item.venue, item.trade_date, updated_ns - item.ts_ns, item.px,
            item.liquidity, item.fee,
        )  # fmt: skip
    for child in sent:
        price = _child_price(child, order)
        short.children += (child.child_id, child.order_type, child.tif, price, child.venue_order_id)
    short.orders += _short_order(order)
    qty, sizes, executed = order.qty, [child.qty for child in sent], [item.qty for item in filled]
    in_turn = places == [*range(len(sent))]
    if not in_turn or len(sent) > 1 or not (_same(sizes[0], qty) and _same(executed[0], qty)):
        short.several[number] = Several(sizes, executed, None if in_turn else places)
    return True


def shorten_pair(
    order: Order, sent: list[Child], filled: list[Execution], number: int, short: ShortRows
) -> bool:
    """`shorten` of an order with two children that was sent, acknowledged and executed, and nothing else:
    False if they were not executed one after the other, each at once, as is usual.
    """
    if len(filled) != 2 or order.algo is not None or order.min_qty is not ZERO:
        return False
    zero, (one, two), (first, last) = ZERO, sent, filled
    venue, other = first.venue, last.venue
    if (
        first.child_id != one.child_id
        or last.child_id != two.child_id
        or one.venue != venue
        or two.venue != other
        or first.late
        or last.late
        or one.min_qty is not zero
        or two.min_qty is not zero
        or first.commission is not zero
        or last.commission is not zero
    ):
        return False
    updated_ns = order.updated_ns
    short.orders += _short_order(order)
    short.children += (
        one.child_id, one.order_type, one.tif, _child_price(one, order), one.venue_order_id,
        two.child_id, two.order_type, two.tif, _child_price(two, order), two.venue_order_id,
    )  # fmt: skip
    short.executions += (
        first.key, first.exec_id, venue, first.trade_date, updated_ns - first.ts_ns, first.px,
        first.liquidity, first.fee,
        last.key, last.exec_id, other, last.trade_date, updated_ns - last.ts_ns, last.px,
        last.liquidity, last.fee,
    )  # fmt: skip
    short.several[number] = Several([one.qty, two.qty], [first.qty, last.qty], None)
    return True


def _short_order(order: Order) -> tuple[Any, ...]:
    """The fields of a `ShortOrder`."""
    created_ns = order.created_ns
    return (
        order.order_id, order.account, order.cl_ord_id, order.symbol, order.side, order.order_type,
        order.tif, order.qty, order.price, order.capacity, order.trader, order.origin, created_ns,
        order.updated_ns - created_ns, order.version, order.route_attempts,
    )  # fmt: skip


def _child_price(child: Child, order: Order) -> Decimal | tuple[()] | None:
    """The price of a short child."""
    price, whole = child.price, order.price
    return AS_ORDERED if price is whole or price_is_same(price, whole) else price


def price_is_same(one: Decimal | None, other: Decimal | None) -> bool:
    """Whether two prices, which are other objects, are written alike."""
    return one is not None and other is not None and not one.compare_total(other)


def _same(one: Decimal, other: Decimal) -> bool:
    """Whether two numbers are written alike."""
    return one is other or not one.compare_total(other)


def _nothing_special(order: Order, sent: list[Child], filled: list[Execution]) -> bool:
    """`plain_filled` of an order that was sent, acknowledged and executed, and nothing else: what is left to
    be asked.
    """
    for child in sent:
        if not _is_zero(child.min_qty):
            return False
    for item in filled:
        if item.late or item.venue != sent[order.children.index(item.child_id)].venue:
            return False
    return order.algo is None and _is_zero(order.min_qty)


def _is_zero(number: Decimal) -> bool:
    """Whether a number is written as zero is."""
    return number is ZERO or not ZERO.compare_total(number)


def plain_filled(order: Order, sent: list[Child], filled: list[Execution]) -> bool:
    """Whether nothing else has happened to the order than that venues filled it, each as it was asked to; all
    that the short forms leave out is then as they give it again.
    """
    if not sent or not _plain(order):
        return False
    for child in sent:
        if not _plain_child(child):
            return False
    cums = [ZERO] * len(sent)
    cum = notional = ZERO
    for item in filled:
        qty, value, at = item.qty, item.value, order.children.index(item.child_id)
        if not _plain_execution(item, sent[at]):
            return False
        cums[at] = cums[at] + qty if cums[at] else qty
        cum = cum + qty if cum else qty
        notional = notional + value if notional else value
    if not all(cums) or order.cum_qty != cum or order.notional != notional:
        return False
    return cums == [child.cum for child in sent]


def plain_refused(order: Order) -> bool:
    """Whether nothing else has happened to the order than that it was refused as it came."""
    return (
        order.status is _ORDER_REJECTED
        and order.closed is _ORDER_REJECTED
        and not (order.acked or order.children or order.executions)
        and _is_zero(order.cum_qty)
        and _is_zero(order.notional)
        and _as_submitted(order)
    )


def _plain(order: Order) -> bool:
    return order.status is _ORDER_FILLED and order.acked and order.closed is None and _as_submitted(order)


def _as_submitted(order: Order) -> bool:
    """Whether the order has the plain terms that it came with, and risk counts nothing of it as open."""
    qty, price, first, zero = order.qty, order.price, order.submitted_price, ZERO
    return (
        order.special is None
        and order.algo is None
        and not (order.amends or order.queued or order.refused_venues)
        and not (order.done_for_day or order.suspended or order.stopped)
        and (order.submitted_qty is qty or not qty.compare_total(order.submitted_qty))
        and (first is price or not (first is None or price is None or price.compare_total(first)))
        and ((left := order.unallocated) is zero or not zero.compare_total(left))
        and ((least := order.min_qty) is zero or not zero.compare_total(least))
        and order.open_px is None
        and ((held := order.reserved) is zero or not zero.compare_total(held))
        and ((value := order.open_value) is zero or not zero.compare_total(value))
        and ((before := order.day_base_cum) is zero or not zero.compare_total(before))
    )


def _plain_child(child: Child) -> bool:
    zero = ZERO
    return (
        child.status is _CHILD_FILLED
        and child.requests is None
        and child.cl_ord_id == child.child_id
        and ((left := child.leaves) is zero or not zero.compare_total(left))
        and ((least := child.min_qty) is zero or not zero.compare_total(least))
    )


def _plain_execution(item: Execution, child: Child) -> bool:
    qty, px = item.qty, item.px
    return (
        item.state is _EXECUTION_LIVE
        and not item.late
        and item.venue == child.venue
        and ((said := item.reported_qty) is qty or not qty.compare_total(said))
        and ((said := item.reported_px) is px or not px.compare_total(said))
        and item.value == qty * px
    )
