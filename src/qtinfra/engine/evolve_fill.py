"""The part of evolve that applies an execution: child and order, position, books, and the sums of risk.

What takes the most is done once: the places of the account's and the symbol's figures are found here, and
each step is handed what the one before it has found.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO
from qtinfra.core.events import OrderFilled
from qtinfra.core.extended_models import Execution, ExecutionState
from qtinfra.core.models import Child, ChildStatus, Order, OrderSide, OrderStatus
from qtinfra.engine.evolve_books import charge_fill, post_change
from qtinfra.engine.evolve_pnl import follow
from qtinfra.engine.risk_state import AccountPlace
from qtinfra.engine.risk_sums import count_bought, count_sold, places
from qtinfra.engine.settle import settle, settle_part
from qtinfra.engine.state import State
from qtinfra.positions.booking import book_trade
from qtinfra.positions.position import Position

# Members by name: looking them up in their class costs more than comparing them.
_ROUTED, _FILLED = OrderStatus.ROUTED, OrderStatus.FILLED
_CHILD_LIVE, _CHILD_FILLED = ChildStatus.LIVE, ChildStatus.FILLED
_EXECUTION_LIVE = ExecutionState.LIVE
_BUY = OrderSide.BUY


def apply_fill(state: State, event: OrderFilled, order: Order, child: Child) -> None:
    """Apply an execution of the order's child.

    Mostly it is all of a plain order, by one child: then nothing is to come any more, and the order waits to
    be packed.
    """
    mic, key, seq = event.venue, event.key, event.seq
    qty, px, fee = event.qty, event.px, event.fee
    account, symbol, order_id = event.account, event.symbol, event.order_id
    trade_date, ts_ns, value = event.trade_date, event.ts_ns, qty * px
    whole, memo = order.qty, state.risk.memo
    if seq:
        state.inbound[mic] = seq
    state.executions[key] = Execution(
        key, event.exec_id, order_id, event.child_id, mic, trade_date, ts_ns, qty, px, qty, px, value,
        event.liquidity, fee, _EXECUTION_LIVE, event.late, event.commission or ZERO,
    )  # fmt: skip
    order.executions += (key,)
    left: Decimal | None = ZERO
    if (
        order.status is _ROUTED
        and child.status is _CHILD_LIVE
        and (child.leaves is whole or child.leaves == whole)
        and (order.reserved is whole or order.reserved == whole)
        and (qty is whole or qty == whole)
        and order.special is None
    ):
        order.version += 1
        order.updated_ns = ts_ns
        child.cum = order.cum_qty = whole
        child.status, order.status = _CHILD_FILLED, _FILLED
        order.notional = value
        child.leaves = order.unallocated = ZERO
        order.acked = True
        state.closing[order_id] = state.open_orders.pop(order_id)
    else:
        left = settle_part(state, order, child, qty, value, ts_ns)
    if state.fees is not None:
        fee = charge_fill(state, event)
    try:
        of, to = memo.of_accounts[account], memo.of_symbols[symbol]
    except KeyError:
        of, to = places(state, account, symbol)
    worth = traded = value if to.factor is None else value * to.factor
    if trade_date < state.trade_date:
        order.day_base_cum += qty
        for waiting in (state.open_orders, state.closing):
            if order_id in waiting:
                waiting[order_id] = True
        traded = ZERO
    try:
        position = of.positions[symbol]
    except KeyError:
        position = _position(state, account, symbol, of)
    sells = event.side is not _BUY
    units = book_trade(position, key, sells, qty, px, fee, worth, to.instrument.multiplier, trade_date)
    if state.cash is not None:
        post_change(state, order, value, fee)
    if state.pnl is not None:
        follow(state, account, symbol)
    if left is None:
        settle(state, order, ts_ns)
        left = order.reserved
    count = count_sold if sells else count_bought
    count(state, order, of, to, qty, px, traded, units, left)


def _position(state: State, account: str, symbol: str, of: AccountPlace) -> Position:
    """The account's position in the symbol, found or begun; where the account's positions are is noted."""
    held = of.positions = state.positions.accounts.setdefault(account, {})
    position = held.get(symbol)
    if position is None:
        position = held[symbol] = Position()
    return position
