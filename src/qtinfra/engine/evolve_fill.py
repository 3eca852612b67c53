"""The part of evolve that applies an execution: child and order, position, books, and the sums of risk.

What takes the most is done once: the places of the account's and the symbol's figures are found here, and
each step is handed what the one before it has found.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO
from qtinfra.core.events import ChildAcked, OrderFilled
from qtinfra.core.extended_models import Execution, ExecutionState
from qtinfra.core.models import Child, ChildStatus, Order, OrderSide, OrderStatus
from qtinfra.core.reports import VenueReport
from qtinfra.engine.evolve_books import charge_fill, post_change
from qtinfra.engine.evolve_pnl import follow
from qtinfra.engine.risk_sums import count_bought, count_sold, figures_of
from qtinfra.engine.settle import settle, settle_part
from qtinfra.engine.state import State
from qtinfra.positions.booking import book_trade
from qtinfra.positions.position import Position

# Members by name: looking them up in their class costs more than comparing them.
_ROUTED, _FILLED = OrderStatus.ROUTED, OrderStatus.FILLED
_CHILD_LIVE, _CHILD_FILLED = ChildStatus.LIVE, ChildStatus.FILLED
_EXECUTION_LIVE = ExecutionState.LIVE
_BUY = OrderSide.BUY


def apply_fill(
    state: State, event: OrderFilled, order: Order, child: Child, report: VenueReport, qty: Decimal,
    px: Decimal, key: str, fee: Decimal, trade_date: str, order_id: str, account: str, symbol: str,
    at_once: bool, acked: ChildAcked | None,
) -> None:  # fmt: skip
    """Apply an execution of the order's child.

    Mostly it is all of a plain order, by one child: then nothing is to come any more, and the order waits to
    be packed.

    Args:
        report, qty, px, key, fee, trade_date: the event's.
        order_id, account, symbol: the order's.
        at_once: whether it is all of a plain order at once, by a live child that has all of it.
        acked: the first that was heard of a child that was sent, not applied yet: the execution follows.
    """
    mic, seq, ts_ns = report.venue, report.seq, event.ts_ns
    value, whole, memo = qty * px, order.qty, state.risk.memo
    try:
        cell, standing, to = order.cell, order.standing, memo.of_symbols[symbol]
        at_hand = not standing.forgotten
    except (AttributeError, KeyError):
        at_hand = False
    if not at_hand:
        cell, standing, to = figures_of(state, order)
    if seq:
        state.inbound[mic] = seq
    state.executions[key] = Execution(
        key, report.exec_id, order_id, event.child_id, mic, trade_date, ts_ns, qty, px, qty, px, value,
        report.liquidity, fee, _EXECUTION_LIVE, event.late, event.commission or ZERO,
    )  # fmt: skip
    order.executions += (key,)
    if acked is not None:
        child.venue_order_id, child.status = acked.report.venue_order_id, _CHILD_LIVE
        order.version += 1
    left: Decimal | None = ZERO
    if at_once and order.status is _ROUTED and (order.reserved is whole or order.reserved == whole):
        order.version += 1
        order.updated_ns = ts_ns
        child.cum = order.cum_qty = whole
        child.status, order.status = _CHILD_FILLED, _FILLED
        order.notional = value
        child.leaves = order.unallocated = ZERO
        order.acked = True
        order.cell = order.standing = None  # by the time it is packed they would be cold
        state.closing[order_id] = state.open_orders.pop(order_id)
    else:
        left = settle_part(state, order, child, qty, value, ts_ns)
    if state.fees is not None:
        fee = charge_fill(state, event)
    worth = traded = value if to.factor is None else value * to.factor
    if trade_date < state.trade_date:
        _count_before(state, order, qty)
        traded = ZERO
    position: Position | None = cell.holding
    if position is None:
        position = cell.holding = _position(state, account, symbol)
    sells = order.side is not _BUY
    units = book_trade(position, key, sells, qty, px, fee, worth, to.instrument.multiplier, trade_date)
    if state.cash is not None:
        post_change(state, order, value, fee)
    if state.pnl is not None:
        follow(state, account, symbol)
    if left is None:
        settle(state, order, ts_ns)
        left = order.reserved
    count = count_sold if sells else count_bought
    count(order, cell, standing, to, qty, px, traded, units, left)


def _count_before(state: State, order: Order, qty: Decimal) -> None:
    """Count what was executed on a day before this one, which is more than usually happens to an order."""
    order.day_base_cum += qty
    for waiting in (state.open_orders, state.closing):
        if order.order_id in waiting:
            waiting[order.order_id] = True


def _position(state: State, account: str, symbol: str) -> Position:
    """The account's position in the symbol, found or begun."""
    held = state.positions.accounts.setdefault(account, {})
    position = held.get(symbol)
    if position is None:
        position = held[symbol] = Position()
    return position
