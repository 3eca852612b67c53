"""The invariants of packed orders: each is found by all of its ids, and nothing of it is live."""

from __future__ import annotations

from qtinfra.core.decimals import exact
from qtinfra.core.models import Order
from qtinfra.engine.packing import may_pack
from qtinfra.engine.rowform import Leaving, Row, write_block
from qtinfra.engine.state import State


def audit_packing(state: State) -> list[str]:
    """Every broken invariant as a sentence."""
    found = [*_audit_live(state)]
    for row in state.tables.archive.all_rows():
        found += [f"packed order {row.order.order_id}: {text}" for text in _audit_row(state, row)]
    if not state.tables.archive.complete:
        found.append("the archive does not hold the rows that the state counts")
    return found


def _audit_live(state: State) -> list[str]:
    """What is live belongs to live orders, and only what has ended waits to be packed."""
    orders, children = state.tables.orders.live(), state.tables.children.live()
    found = [
        f"child {child.child_id} has no live order"
        for child in children.values()
        if child.order_id not in orders
    ]
    found += [
        f"execution {item.key} has no live order"
        for item in state.tables.executions.live().values()
        if item.order_id not in orders
    ]
    found += [
        f"{name} names no live child"
        for name, child in state.tables.venue_ids.live().items()
        if child not in children
    ]
    for account, names in state.client_ids.items():
        found += [
            f"{name} of {account} names no live order" for name, order in names.items() if order not in orders
        ]
    found += [
        f"{order_id} waits to be packed and is not live"
        for order_id in state.closing
        if order_id not in orders
    ]
    found += [
        f"{order_id} was not just sent once, acknowledged and executed"
        for order_id, changed in state.closing.items()
        if not changed and order_id in orders and order_id not in state.open_orders
        if not _says_all(state, orders[order_id])
    ]
    waiting = (order for order in orders.values() if order.order_id not in state.closing)
    found += [
        f"{order.order_id} has ended and does not wait to be packed"
        for order in waiting
        if may_pack(state, order)
    ]
    return found


def _says_all(state: State, order: Order) -> bool:
    """Whether the order is packed alike if nothing of it is taken for granted."""
    if not order.children or not order.executions:
        return False
    sent = [state.children[child_id] for child_id in order.children]
    filled = [state.executions[key] for key in order.executions]
    with exact():
        short, asked = (
            write_block(Leaving([order], sent, filled, [changed], {})) for changed in (False, True)
        )
    return short == asked


def _audit_row(state: State, row: Row) -> list[str]:
    archive, order = state.tables.archive, row.order
    number = archive.of_order(order.order_id)
    if number is None:
        return ["not found by its id"]
    found = []
    for name in row.client_ids:
        if archive.of_client_id(order.account, name) != number:
            found.append(f"not found by the client id {name!r}")
    for child in row.children:
        for venue_id in (child.child_id, *(child.requests or ())):
            named = archive.of_venue_id(venue_id)
            if named is None or named[0] != number or named[1].child_id != child.child_id:
                found.append(f"not found by the venue id {venue_id}")
        if child.working:
            found.append(f"a venue may still execute {child.child_id}")
    for key in order.executions:
        if archive.of_execution(key) != number:
            found.append(f"not found by its execution {key}")
    if order.open or order.order_id in state.open_orders:
        found.append("it is open")
    return found
