"""A corporate action's ratio applied to what an order has executed and what venues hold of it.

Part of evolve: only `engine.evolve` and `engine.evolve_held` call it.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO, canonical, quotient
from qtinfra.core.extended_models import ExecutionState
from qtinfra.core.models import Order
from qtinfra.engine.state import State


def scaled(value: Decimal, num: Decimal, den: Decimal) -> Decimal:
    """`value` times num/den, half-even to 8 places."""
    return canonical(quotient(value * num, den))


def executed_after(state: State, order: Order, num: Decimal, den: Decimal) -> Decimal:
    """What counts as executed once each unbusted execution is scaled by num/den."""
    executions = [state.executions[key] for key in order.executions]
    live = [item for item in executions if item.state is not ExecutionState.BUSTED]
    return sum((scaled(item.qty, num, den) for item in live), ZERO)


def scale_order(state: State, order: Order, num: Decimal, den: Decimal) -> None:
    """A corporate action: quantities times num/den, notional unchanged."""
    cum = ZERO
    for key in order.executions:
        execution = state.executions[key]
        execution.qty = scaled(execution.qty, num, den)
        execution.px = scaled(execution.px, den, num)
        if execution.state is not ExecutionState.BUSTED:
            cum += execution.qty
    order.cum_qty = cum
    order.min_qty = scaled(order.min_qty, num, den)
    order.day_base_cum = scaled(order.day_base_cum, num, den)
    for child_id in order.children:
        child = state.children[child_id]
        child.cum = sum(
            (
                state.executions[key].qty
                for key in order.executions
                if state.executions[key].child_id == child_id
                and state.executions[key].state is not ExecutionState.BUSTED
            ),
            ZERO,
        )
        child.qty = scaled(child.qty, num, den)
        child.leaves = scaled(child.leaves, num, den)
        if child.price is not None:
            child.price = scaled(child.price, den, num)
