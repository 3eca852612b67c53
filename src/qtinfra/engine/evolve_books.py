"""The part of evolve that keeps the books: start-of-day positions, cash, commissions and levies.

Commissions are those of the fee book's tickets: a bust takes its own back, a correction reckons it again, and
what the other executions of the ticket owe by then follows. Cash is kept for accounts that have loaded it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from qtinfra.core import book_events as be
from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.events import OrderFilled
from qtinfra.core.extended_models import Execution
from qtinfra.core.models import Money, Order, signed
from qtinfra.engine.evolve_pnl import contribute, follow, keeps_pnl
from qtinfra.engine.fee_terms import levies_only, priced
from qtinfra.engine.invariants import InvariantBrokenError, invariant
from qtinfra.engine.risk_sums import count_position
from qtinfra.engine.state import State
from qtinfra.positions.cash import CashLedger, Flow
from qtinfra.positions.fee_book import FeeBook, Recharge
from qtinfra.positions.fees import Charge


def _position_loaded(state: State, event: be.PositionLoaded) -> None:
    instrument, old = state.instruments[event.symbol], state.positions.get(event.account, event.symbol)
    replaced = old.cost if old is not None else ZERO
    multiplier = instrument.multiplier
    state.positions.load(event.account, event.symbol, event.qty, event.avg_cost, multiplier)
    capital = event.qty * event.avg_cost * multiplier - replaced
    contribute(state, event.account, capital, instrument.currency)
    count_position(state, event.account, event.symbol, event.avg_cost if event.qty else None)


def _fee_schedule_set(state: State, event: be.FeeScheduleSet) -> None:
    if state.fees is None:
        state.fees = FeeBook()
    state.fees.add_schedule(event.schedule)


def _regulatory_fees_set(state: State, event: be.RegulatoryFeesSet) -> None:
    if state.fees is None:
        state.fees = FeeBook()
    state.fees.add_levies(event.rows)
    for row in event.rows:
        state.fees.add_schedule(levies_only(row.currency))


def _cash_loaded(state: State, event: be.CashLoaded) -> None:
    if state.cash is None:
        state.cash = CashLedger()
    before = state.cash.balance(event.account, event.currency).amount
    state.cash.load(event.account, Money(event.amount, event.currency))
    contribute(state, event.account, event.amount - before, event.currency)


def _cash(state: State) -> CashLedger:
    cash = state.cash
    if cash is None:
        raise InvariantBrokenError("cash moves where it is kept")
    return cash


def _cash_paid(state: State, event: be.CashPaid) -> None:
    state.books.payments[event.payment_id] = payment_text(event)
    _cash(state).post(event.account, Money(event.amount, event.currency), Flow.TRANSFER)
    contribute(state, event.account, event.amount, event.currency)


def _cash_exchanged(state: State, event: be.CashExchanged) -> None:
    state.books.payments[event.payment_id] = payment_text(event)
    sold, bought = Money(event.sold_amount, event.sold), Money(event.bought_amount, event.bought)
    _cash(state).exchange(event.account, sold, bought)
    if state.pnl is not None and keeps_pnl(state, event.account):
        missing = state.pnl.exchange(event.account, sold, bought, state.fx_rates)
        invariant(missing is None, "an exchange has its rate", missing)


def payment_text(payment: be.CashPaid | be.CashExchanged) -> str:
    """What a payment or exchange is, for telling whether one comes again."""
    if isinstance(payment, be.CashPaid):
        return f"{payment.account}|{payment.amount} {payment.currency}"
    sold, bought = f"{payment.sold_amount} {payment.sold}", f"{payment.bought_amount} {payment.bought}"
    return f"{payment.account}|{sold}|{bought}"


def charge_fill(state: State, event: OrderFilled) -> Decimal:
    """Book the commission of an execution; all that it costs, in the instrument's currency."""
    booked = event.commission or ZERO
    if state.fees is not None:
        order = state.orders[event.order_id]
        owed = state.fees.book(
            priced(state, order, event.key, event.qty, event.px, event.liquidity, event.trade_date)
        )
        due = owed.total if isinstance(owed, Charge) else ZERO
        invariant(due == booked, "the commission is what was decided", due, booked)
    return event.fee + booked


def post_change(state: State, order: Order, value: Decimal, fee: Decimal) -> None:
    """Post to the account's cash that its order executed `value` more (per multiplier), with more fees."""
    if state.cash is None or order.account not in state.cash.accounts:
        return
    instrument = state.instruments[order.symbol]
    spent = signed(order.side, value) * instrument.multiplier
    if spent:
        state.cash.post(order.account, Money(canonical(-spent), instrument.currency), Flow.TRADE)
    if fee:
        state.cash.post(order.account, Money(canonical(-fee), instrument.currency), Flow.FEE)


def rebook(
    state: State, order: Order, execution: Execution, qty: Decimal, px: Decimal, fee: Decimal | None = None
) -> None:
    """An execution counts with other values, or with quantity 0 not at all: position, fees and cash follow.

    Call it while the execution still has its old values. `fee` is the venue's; None keeps the old one.
    """
    key = execution.key
    before = execution.fee + execution.commission
    if qty:
        execution.fee = execution.fee if fee is None else fee
        due = execution.fee + execution.commission
        state.positions.correct(order.account, order.symbol, key, qty, px, due)
    else:
        due = ZERO
        state.positions.bust(order.account, order.symbol, key)
    post_change(state, order, qty * px - execution.value, due - before)
    if state.fees is not None and state.fees.holds(order.order_id, key):
        for change in state.fees.correct(order.order_id, key, qty, px):
            _recharge(state, order, change)
    follow(state, order.account, order.symbol)


def _recharge(state: State, order: Order, change: Recharge) -> None:
    execution, due = state.executions[change.key], change.charge.total
    shift = due - execution.commission
    execution.commission = due
    state.positions.set_fee(order.account, order.symbol, change.key, execution.fee + due)
    post_change(state, order, ZERO, shift)


BOOKS: dict[type, Callable[[State, Any], None]] = {
    be.PositionLoaded: _position_loaded,
    be.FeeScheduleSet: _fee_schedule_set,
    be.RegulatoryFeesSet: _regulatory_fees_set,
    be.CashPaid: _cash_paid,
    be.CashExchanged: _cash_exchanged,
    be.CashLoaded: _cash_loaded,
}
