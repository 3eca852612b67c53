"""The invariants of the whole state, for simulations and tests: what `order-semantics` promises, in code.

Too slow for every event of a live shard; the fault simulation and the tests run it after each one.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO, exact, plain
from qtinfra.core.extended_models import ExecutionState
from qtinfra.core.models import ChildStatus, Order, order_status
from qtinfra.engine.audit_algos import audit_algos
from qtinfra.engine.audit_books import audit_books
from qtinfra.engine.audit_packing import audit_packing
from qtinfra.engine.audit_risk import audit_risk
from qtinfra.engine.audit_special import audit_special
from qtinfra.engine.state import State


def audit(state: State) -> list[str]:
    """Every broken invariant as a sentence; empty when the state is sound. Where packed orders are not found,
    nothing else is looked at.
    """
    with exact():
        unreadable = audit_packing(state)
        if unreadable:
            return unreadable
        found: list[str] = []
        for order in state.orders.values():
            found.extend(f"order {order.order_id}: {text}" for text in audit_order(state, order))
        return [
            *found,
            *_audit_exposure(state),
            *audit_books(state),
            *audit_special(state),
            *audit_risk(state),
            *audit_algos(state),
        ]


def audit_order(state: State, order: Order) -> list[str]:
    """The broken invariants of one order."""
    found: list[str] = []
    executed = [state.executions[key] for key in order.executions]
    counted = [execution for execution in executed if execution.state is not ExecutionState.BUSTED]
    cum = sum((execution.qty for execution in counted), ZERO)
    if order.cum_qty != cum:
        found.append(f"cum_qty {plain(order.cum_qty)} is not the sum of executions {plain(cum)}")
    notional = sum((execution.value for execution in counted), ZERO)
    if order.notional != notional:
        found.append(f"notional {plain(order.notional)} is not the sum of executions {plain(notional)}")
    children_cum = sum((state.children[child_id].cum for child_id in order.children), ZERO)
    if children_cum != order.cum_qty:
        found.append(f"children executed {plain(children_cum)}, the order {plain(order.cum_qty)}")
    if order.status is not order_status(order):
        found.append(f"status {order.status}, by precedence {order_status(order)}")
    return found + _audit_leaves(state, order)


def _audit_leaves(state: State, order: Order) -> list[str]:
    found: list[str] = []
    children = [state.children[child_id] for child_id in order.children]
    working = sum((child.leaves for child in children), ZERO)
    expected = order.leaves_qty
    if order.closed is not None:
        if order.unallocated or order.leaves_qty:
            found.append("closed with quantity left")
        if working:
            found.append(f"closed while venues hold {plain(working)}")
    elif order.unallocated != max(ZERO, expected - working):
        found.append(
            f"children hold {plain(working)} and {plain(order.unallocated)} is unallocated, "
            f"leaves are {plain(expected)}"
        )
    if working > expected and not _may_hold_more(state, order):
        found.append(f"venues hold {plain(working)}, {plain(expected)} is left")
    if any(child.leaves < ZERO for child in children) or order.unallocated < ZERO:
        found.append("negative remainder")
    unknown = sum(1 for child in children if child.status is ChildStatus.UNKNOWN)
    if unknown != order.unknown_children:
        found.append(f"{unknown} children unknown, counted {order.unknown_children}")
    return found


def _may_hold_more(state: State, order: Order) -> bool:
    """Whether a venue's late word explains that venues hold more than is left: it was executed after its
    end, corrected, or beyond the child's quantity. The engine cancels what is too much.
    """
    executed = [state.executions[key] for key in order.executions]
    return any(
        execution.late or execution.state is ExecutionState.CORRECTED for execution in executed
    ) or any(state.children[child_id].cum > state.children[child_id].qty for child_id in order.children)


def _audit_exposure(state: State) -> list[str]:
    """Open quantity by account, symbol and side is the sum over the orders."""
    buy: dict[tuple[str, str], Decimal] = {}
    sell: dict[tuple[str, str], Decimal] = {}
    for order in state.orders.values():
        side = buy if order.side == "BUY" else sell
        key = (order.account, order.symbol)
        side[key] = side.get(key, ZERO) + order.reserved
        held = sum((state.children[child_id].leaves for child_id in order.children), ZERO)
        if order.reserved < max(order.leaves_qty, held):
            return [f"order {order.order_id}: less is reserved than is open"]
    found = []
    for account, by_symbol in state.risk.cells.items():
        for symbol, cell in by_symbol.items():
            expected = (buy.pop((account, symbol), ZERO), sell.pop((account, symbol), ZERO))
            if (cell.buy, cell.sell) != expected:
                found.append(f"exposure of {account} in {symbol} is not the sum over its orders")
    left = [key for side in (buy, sell) for key, units in side.items() if units]
    return found + [f"exposure of {account} in {symbol} is not counted" for account, symbol in left]
