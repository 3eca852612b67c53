"""The invariants of parents that algorithms work."""

from __future__ import annotations

from itertools import pairwise

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.models import Order, OrderSide
from qtinfra.engine.state import State


def audit_algos(state: State) -> list[str]:
    """Every broken invariant as a sentence; empty when the state is sound."""
    found = []
    for order_id, parent in state.algos.parents.items():
        order = state.orders.get(order_id)
        if order is None or order.algo is None:
            found.append(f"parent {order_id}: no algo order")
            continue
        if not order.open:
            found.append(f"parent {order_id}: worked while {order.status}")
        unknown = [child_id for child_id in parent.children if child_id not in order.children]
        found += [f"parent {order_id}: child {child_id} is not the order's" for child_id in unknown]
        targets = parent.schedule.targets
        if any(after < before for before, after in pairwise(targets)):
            found.append(f"parent {order_id}: its targets fall")
    for order in state.orders.values():
        if order.algo is not None:
            found += _audit_children(state, order)
    return found


def _audit_children(state: State, order: Order) -> list[str]:
    """What works never exceeds what is left, and never goes through the parent's limit."""
    found = []
    working = state.working_children(order)
    held = sum((child.leaves for child in working), ZERO)
    if held > order.qty - order.cum_qty and not state.breaks and order.open:
        found.append(f"parent {order.order_id}: venues hold {plain(held)} of {plain(order.leaves_qty)}")
    if order.pending_replace is not None:
        return found
    for child in working:
        if order.price is None or child.price is None or child.cancel_id or child.replace_id:
            continue
        buying = order.side is OrderSide.BUY
        if child.price > order.price if buying else child.price < order.price:
            found.append(f"parent {order.order_id}: a child at {child.price} is through {order.price}")
    return found
