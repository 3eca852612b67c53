"""When a closed order is packed: part of evolve, which alone calls it.

An order that has ended waits in `State.closing`, in the order of its end, until so many have ended after it;
then the oldest are packed together. Only events decide that, never a clock. What has become live again
meanwhile is passed over, and waits again after its next end.

Of an order that was sent once, acknowledged and executed, each as is usual, `State.open_orders` and then
`State.closing` say False: nothing else has happened to it. Any other change of an order is settled
(`settle.settle`), and that says True for good.
"""

from __future__ import annotations

from itertools import chain, compress, islice

from qtinfra.core.models import WORKING_CHILD, ChildStatus, Order, OrderStatus
from qtinfra.engine.state import State

_ORDER_FILLED, _CHILD_FILLED = OrderStatus.FILLED, ChildStatus.FILLED


def pack_closed(state: State) -> None:
    """Pack full blocks of the orders that ended longest ago, as long as more wait than are to stay."""
    tables, packing, closing = state.tables, state.packing, state.closing
    size = packing.block
    while len(closing) >= packing.keep + size:
        ready = [*islice(closing, size)]
        changed = map(state.orders.__getitem__, compress(ready, closing.values()))
        if not may_all_be_packed(state, ready, [*changed]):
            ready = _chosen(state)
            if len(ready) < size:
                return
        tables.archive.add(*tables.leave(ready))


def may_all_be_packed(state: State, order_ids: list[str], changed: list[Order]) -> bool:
    """Whether `may_pack` is true of all orders with these ids, `changed` among them; false where that is not
    plain to see.
    """
    if not state.open_orders.keys().isdisjoint(order_ids):
        return False
    if state.frozen and not state.frozen.keys().isdisjoint(order_ids):
        return False
    for order in changed:
        if (
            (order.status is not _ORDER_FILLED and order.closed is None)
            or order.unknown_children
            or order.pending_cancel is not None
            or order.pending_replace is not None
        ):
            return False
    sent = map(state.children.__getitem__, chain.from_iterable([order.children for order in changed]))
    statuses = [child.status for child in sent]
    return statuses.count(_CHILD_FILLED) == len(statuses) or not any(map(statuses.count, WORKING_CHILD))


def _chosen(state: State) -> list[str]:
    """Of the orders that ended longest ago as many as one block has, or fewer. The others no longer wait."""
    orders, closing, size = state.orders, state.closing, state.packing.block
    ready: list[str] = []
    passed: list[str] = []
    for order_id in closing:
        order = orders[order_id]
        if may_pack(state, order):
            ready.append(order_id)
            if len(ready) == size:
                break
        else:
            passed.append(order_id)
    for order_id in passed:
        del closing[order_id]
    return ready


def may_pack(state: State, order: Order) -> bool:
    """Whether nothing is open of the order: it has ended, no venue may execute any of it, nothing pends, and
    it is not frozen after a fault.
    """
    if order.status is not _ORDER_FILLED and order.closed is None and order.cum_qty < order.qty:
        return False
    if order.unknown_children or order.pending_cancel is not None or order.pending_replace is not None:
        return False
    if order.order_id in state.open_orders or order.order_id in state.frozen:
        return False
    children = state.children
    for child_id in order.children:
        status = children[child_id].status
        if status is not _CHILD_FILLED and status in WORKING_CHILD:
            return False
    return True
