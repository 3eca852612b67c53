"""When a closed order is packed: part of evolve, which alone calls it.

An order that has ended waits in `State.closing`, in the order of its end, until so many have ended after it;
then the oldest are packed together. Only events decide that, never a clock. What has become live again
meanwhile is passed over, and waits again after its next end.
"""

from __future__ import annotations

from qtinfra.core.models import WORKING_CHILD, ChildStatus, Order, OrderStatus
from qtinfra.engine.state import State

_ORDER_FILLED, _CHILD_FILLED = OrderStatus.FILLED, ChildStatus.FILLED


def pack_closed(state: State) -> None:
    """Pack full blocks of the orders that ended longest ago, as long as more wait than are to stay."""
    tables, packing, closing = state.tables, state.packing, state.closing
    while len(closing) >= packing.keep + packing.block:
        ready: list[Order] = []
        passed: list[str] = []
        orders, size = tables.orders, packing.block
        for order_id in closing:
            order = orders[order_id]
            if may_pack(state, order):
                ready.append(order)
                if len(ready) == size:
                    break
            else:
                passed.append(order_id)
        for order_id in passed:
            del closing[order_id]
        if len(ready) < packing.block:
            return
        tables.archive.add(tables.leave(ready))


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
