"""What follows every change of an order: status by the table, unallocated quantity, exposure, the open set.

Part of evolve: only `engine.evolve` calls it.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO
from qtinfra.core.models import (
    Child,
    ChildStatus,
    Order,
    OrderStatus,
    may_become,
    order_status,
)
from qtinfra.engine.invariants import invariant
from qtinfra.engine.risk_sums import borrow, recount
from qtinfra.engine.state import State

# Members by name: looking them up in their class costs more than comparing them.
_ROUTED, _PARTIALLY_FILLED = OrderStatus.ROUTED, OrderStatus.PARTIALLY_FILLED
_FILLED = OrderStatus.FILLED
_DONE_FOR_DAY = OrderStatus.DONE_FOR_DAY
_CHILD_EXPIRED = ChildStatus.EXPIRED
_CHILD_UNKNOWN = ChildStatus.UNKNOWN
_CHILD_SENT = ChildStatus.SENT
_CHILD_LIVE = ChildStatus.LIVE
_CHILD_FILLED = ChildStatus.FILLED


def settle(state: State, order: Order, ts_ns: int) -> None:
    """Bring everything derived in line with the order: the last step of every change of one.

    What no venue holds is unallocated. Counted as exposure is the largest of what is left, what venues hold
    (a late execution can make that more than what is left) and what a replace in flight may make of it.

    Raises:
        InvariantBrokenError: the table does not allow the change of status.
    """
    order.version += 1
    order.updated_ns = ts_ns
    status = order_status(order)
    if status is not order.status:
        invariant(may_become(order.status, status), "status follows the table", order.status, status)
        order.status = status
    held = _held(state, order)
    open_now, cum_qty, qty = order.closed is None, order.cum_qty, order.qty
    leaves = qty - cum_qty if open_now and cum_qty < qty else ZERO
    reserved = held if held > leaves else leaves
    pending = order.pending_replace
    if open_now:
        order.unallocated = reserved - held if held else reserved
        if pending is not None and pending.qty - cum_qty > reserved:
            reserved = pending.qty - cum_qty
    if open_now and (reserved or _awaited(order)):
        state.open_orders[order.order_id] = True
    else:
        state.open_orders.pop(order.order_id, None)
        state.closing[order.order_id] = True
    if reserved != order.reserved or pending is not None or (reserved and order.price is not order.open_px):
        recount(state, order, reserved)
    if order.special is not None:
        _track(state, order)
        borrow(state, order)


def settle_part(
    state: State, order: Order, child: Child, qty: Decimal, value: Decimal, ts_ns: int
) -> Decimal | None:
    """Count an execution in the order and its child; `settle` it too, but for the risk sums, if it is one of
    a plain order that venues work, by a live child, and within what both have left.

    Such an execution takes as much from what venues hold as from what is left of the order: what no venue
    holds stays, and what risk counts as open becomes less by just that.

    Args:
        child: of the order, the one that was executed.
        value: quantity times price of the execution, per multiplier.

    Returns:
        The units that risk is to count as open, of which `risk_sums` is to be told; None for an order that is
        yet to be settled.
    """
    status, executed, whole = order.status, order.cum_qty, order.qty
    room = child.leaves
    total = executed + qty if executed else qty
    if (
        (status is not _ROUTED and status is not _PARTIALLY_FILLED)
        or child.status is not _CHILD_LIVE
        or qty > room
        or total > whole
        or order.special is not None
    ):
        count_in_order(order, child, qty, value)
        return None
    order.version += 1
    order.updated_ns = ts_ns
    child.cum = total if child.cum is executed else child.cum + qty  # one sum for an order's only child
    order.cum_qty, order.notional = total, order.notional + value if executed else value
    order.acked = True
    if qty == room:
        child.leaves, child.status = ZERO, _CHILD_FILLED
    else:
        child.leaves = room - qty
    order.status = _FILLED if total == whole else _PARTIALLY_FILLED
    left = order.reserved - qty
    if left:
        return left
    # nothing is to come any more: the order waits to be packed
    state.closing[order.order_id] = state.open_orders.pop(order.order_id)
    return ZERO


def count_in_order(order: Order, child: Child, qty: Decimal, value: Decimal) -> None:
    """An execution adds to what order and child have executed, and uses up the child's remainder; more than
    that was executed late or beyond its quantity.
    """
    child.cum += qty
    order.cum_qty += qty
    order.notional += value
    order.acked = True
    if child.status is not _CHILD_LIVE and child.status in (_CHILD_SENT, _CHILD_UNKNOWN):
        heard(order, child)
    left = child.leaves
    if qty < left:
        child.leaves = left - qty
        return
    child.leaves = ZERO
    fill_up(child)


def fill_up(child: Child) -> None:
    """A live child that has nothing left is filled."""
    if not child.leaves and child.status is _CHILD_LIVE:
        child.status = _CHILD_FILLED


def _held(state: State, order: Order) -> Decimal:
    """What venues hold of the order."""
    held, children = ZERO, state.children
    for child_id in order.children:
        leaves = children[child_id].leaves
        if leaves:
            held += leaves
    return held


def _track(state: State, order: Order) -> None:
    """An order with special terms is looked after as long as it is open."""
    order_id = order.order_id
    if order.open:
        state.specials[order_id] = True
        return
    state.specials.pop(order_id, None)
    waiting = state.watched.get(order.symbol)
    if waiting is not None:
        waiting.pop(order_id, None)
        if not waiting:
            del state.watched[order.symbol]


def _awaited(order: Order) -> bool:
    """Whether something is still to come for an order that has nothing left: an answer, the next day."""
    return bool(
        order.pending_cancel is not None
        or order.pending_replace is not None
        or order.unknown_children
        or order.done_for_day
    )


def close(order: Order, status: OrderStatus) -> None:
    """The order is over: nothing pends, nothing is left."""
    order.closed = status
    order.pending_cancel = None
    order.pending_replace = None
    order.queued = ()
    order.suspended = False
    order.stopped = False
    order.done_for_day = status is _DONE_FOR_DAY
    order.unallocated = ZERO


def release(order: Order, child: Child, status: ChildStatus) -> None:
    """The child stops working; what it had left is the order's again, requests on it are answered."""
    known(order, child)
    if child.cancel_id and order.pending_cancel is not None:
        order.pending_cancel.waiting -= 1
    if child.replace_id and order.pending_replace is not None:
        order.pending_replace.waiting -= 1
    child.leaves = ZERO
    child.status = status
    child.cancel_id = child.replace_id = ""


def end_children(state: State, order: Order) -> None:
    """All children end with the order's day."""
    for child in state.working_children(order):
        release(order, child, _CHILD_EXPIRED)


def name_request(state: State, child_id: str, venue_id: str) -> None:
    """A cancel or replace of the child goes out under this id: answers that name it, late ones too, are the
    child's.
    """
    child = state.children[child_id]
    if child.requests is None:
        child.requests = []
    child.requests.append(venue_id)
    state.venue_ids[venue_id] = child_id


def known(order: Order, child: Child) -> None:
    """The child's outcome is in doubt no more; the caller sets its status."""
    if child.status is _CHILD_UNKNOWN:
        order.unknown_children -= 1


def heard(order: Order, child: Child) -> None:
    """News of the child show that its venue works it; a request on it that may be lost keeps it in doubt."""
    if child.status is _CHILD_UNKNOWN and (child.cancel_id or child.replace_id):
        return
    known(order, child)
    child.status = _CHILD_LIVE
