"""The invariants of orders that are not plain: what is watched, what lists may execute."""

from __future__ import annotations

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.models import OrderType
from qtinfra.core.special import Link
from qtinfra.core.validation.special import TRIGGERED
from qtinfra.engine.state import OrderList, State


def audit_special(state: State) -> list[str]:
    """Every broken invariant as a sentence; empty when the state is sound."""
    found = [
        f"order {order.order_id}: open with special terms, and not looked after"
        for order in state.orders.values()
        if order.special is not None and order.open != (order.order_id in state.specials)
    ]
    found += _audit_watched(state)
    for link_id, members in state.lists.items():
        found += [f"list {link_id}: {text}" for text in _audit_list(state, members)]
    return found


def _audit_watched(state: State) -> list[str]:
    """What waits for the market is open, of a type that waits, and with no venue before its trigger."""
    found = []
    for symbol, waiting in state.watched.items():
        for order_id, watermark in waiting.items():
            order = state.orders[order_id]
            if order.symbol != symbol or not order.open:
                found.append(f"order {order_id}: watched in {symbol}, {order.status}")
            elif order.order_type in TRIGGERED and order.children:
                found.append(f"order {order_id}: waits for its trigger while a venue has it")
            elif order.order_type not in (*TRIGGERED, OrderType.PEGGED):
                found.append(f"order {order_id}: a {order.order_type} order waits for nothing")
            if watermark is not None and order.order_type is not OrderType.TRAILING_STOP:
                found.append(f"order {order_id}: only a trailing stop has a watermark")
    return found


def _audit_list(state: State, members: OrderList) -> list[str]:
    """A list executes no more than it may, unless something in flight did, which raised a break; and venues
    hold no more of an exit than the entry has executed, unless they were asked for it back.
    """
    if state.breaks:
        return []
    orders = [state.orders[order_id] for order_id in members.orders]
    entry, sharing = orders[0], orders
    may = members.qty
    if members.link is Link.BRACKET:
        may, sharing = entry.cum_qty, orders[1:]
    executed = sum((order.cum_qty for order in sharing), ZERO)
    found = []
    if executed > may:
        found.append(f"executed {plain(executed)}, it may {plain(may)}")
    for order in sharing:
        held = sum((child.leaves for child in state.working_children(order)), ZERO)
        asked = order.pending_cancel is not None or order.pending_replace is not None
        reachable = all(state.connected(child.venue) for child in state.working_children(order))
        if executed + held > may and not asked and reachable and not order.unknown_children:
            found.append(f"{order.cl_ord_id} has {plain(held)} at venues, {plain(may - executed)} is left")
    return found
