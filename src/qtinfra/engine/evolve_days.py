"""The part of evolve that turns the books from day to day: cash rolls, old trades fold, actions take effect.

Old means before the trading day that lies the retention back. A trade that has folded is part of its
position's opening: a bust of it is refused by decide, with a break, since it can no longer be taken apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtinfra.core import book_events as be
from qtinfra.core.decimals import ZERO, canonical, quotient
from qtinfra.core.events import ReferenceSet
from qtinfra.core.marking import Observed
from qtinfra.core.models import Money
from qtinfra.engine.book_state import InLieu, Rolled
from qtinfra.engine.evolve_pnl import earn, follow
from qtinfra.engine.invariants import invariant
from qtinfra.engine.risk_sums import count_position
from qtinfra.engine.state import State
from qtinfra.positions.book import IN_LIEU
from qtinfra.positions.cash import Flow
from qtinfra.positions.fee_book import FeeBook

#: Days that a price test binds which a fall has triggered: its own and the next (17 CFR 242.201(b)(1)(ii)).
PRICE_TEST_DAYS = 2


# --- days ------------------------------------------------------------------------------------------------


def end_day(state: State) -> None:
    """What waits for the end of the day is converted at the rates in force."""
    if state.pnl is not None:
        state.pnl.end_of_day(state.fx_rates)


def begin_day(state: State) -> None:
    """The day has begun; `state.trade_date` is its date."""
    end_day(state)
    _roll_cash(state)
    books, date = state.books, state.trade_date
    _drop_passed(state)
    books.days = latest_days(state, date)
    _begin_price_tests(state)


def latest_days(state: State, date: str) -> list[str]:
    """The trade dates up to a new one: itself, and as many before it as trades stay open."""
    return [*state.books.days, date][-(state.books.retention + 1) :]


def _drop_passed(state: State) -> None:
    """An action that its ex-date has left behind was journaled before positions followed actions."""
    books = state.books
    last = books.days[-1] if books.days else ""
    for action_id in [key for key, action in books.actions.items() if action.ex_date <= last]:
        del books.actions[action_id]


def _roll_cash(state: State) -> None:
    if state.cash is None:
        return
    for account, balances in state.cash.accounts.items():
        kept = state.books.rolled.setdefault(account, {})
        for currency, balance in balances.items():
            before = kept.setdefault(currency, Rolled())
            before.trades += balance.trades
            before.fees += balance.fees
            before.posted += balance.posted
    state.cash.roll()


def _trades_folded(state: State, event: be.TradesFolded) -> None:
    """Trades from before a date fold; nothing can change their fees any more either."""
    before = event.before
    state.positions.fold_before(before)
    fees = state.fees
    if fees is None:
        return
    for order_id in list(fees.tickets):
        if order_id not in state.open_orders and _all_before(fees, order_id, before):
            fees.close(order_id)
    fees.forget_months_before(before[:7])


def _all_before(fees: FeeBook, order_id: str, date: str) -> bool:
    tickets = fees.tickets[order_id].values()
    return all(execution.trade_date < date for ticket in tickets for execution in ticket.executions)


def _retention_set(state: State, event: be.RetentionSet) -> None:
    state.books.retention = event.days


# --- the short-sale price test -----------------------------------------------------------------------------


def note_closes(state: State, event: ReferenceSet) -> None:
    """A covered security without a previous close has the first price that is known of it."""
    closes = state.risk.closes
    for symbol in (*(item.symbol for item in event.instruments), *(symbol for symbol, _ in event.prices)):
        known, price = state.instruments.get(symbol), state.reference_prices.get(symbol)
        if known is not None and known.covered and price is not None:
            closes.setdefault(symbol, price)


def _begin_price_tests(state: State) -> None:
    """Previous closes are the reference prices at the open; a test that a fall began ends after its days."""
    risk = state.risk
    for symbol, price in state.reference_prices.items():
        known = state.instruments.get(symbol)
        if known is not None and known.covered:
            risk.closes[symbol] = price
    for symbol in list(risk.falls):
        risk.falls[symbol] -= 1
        if not risk.falls[symbol]:
            del risk.falls[symbol]
            risk.price_tests.pop(symbol, None)


def _price_test_triggered(state: State, event: be.PriceTestTriggered) -> None:
    state.risk.falls[event.symbol] = PRICE_TEST_DAYS
    state.risk.price_tests[event.symbol] = f"{event.by} {event.px} against the close {event.close}"


# --- corporate actions -------------------------------------------------------------------------------------


def _income_posted(state: State, event: be.IncomePosted) -> None:
    account, amount = event.account, Money(event.amount, event.currency)
    totals = state.books.income.setdefault(account, {})
    totals[event.currency] = totals.get(event.currency, ZERO) + event.amount
    if state.cash is not None and account in state.cash.accounts:
        state.cash.post(account, amount, Flow.INCOME)
    earn(state, account, amount)


def _shares_split(state: State, event: be.SharesSplit) -> None:
    """Prices of old units are of no use any more: the reference scales, others are forgotten."""
    risk, symbol = state.risk, event.symbol
    if event.reference is not None:
        state.reference_prices[symbol] = event.reference
        if symbol in risk.marks:
            risk.marks[symbol] = event.reference
    if symbol in risk.closes:
        risk.closes[symbol] = canonical(quotient(risk.closes[symbol] * event.ratio_den, event.ratio_num))
    risk.drift.pop(symbol, None)
    risk.memo.clear()
    for by_symbol in state.books.marks.values():
        by_symbol.pop(symbol, None)


def _position_scaled(state: State, event: be.PositionScaled) -> None:
    account, symbol, num, den = event.account, event.symbol, event.ratio_num, event.ratio_den
    state.positions.scale(account, symbol, num, den, event.ex_date)
    if event.in_lieu_qty:
        _pay_in_lieu(state, event)
    position = state.positions.get(account, symbol)
    held = position.qty if position is not None else ZERO
    invariant(held == event.qty, "the position is what was decided", held, event.qty)
    cell = state.risk.cell(account, symbol)
    old_mark = cell.mark if cell is not None else ZERO
    count_position(state, account, symbol, canonical(quotient(old_mark * den, num)))
    follow(state, account, symbol)


def _pay_in_lieu(state: State, event: be.PositionScaled) -> None:
    """The fraction is sold (bought back by a short) at the price that the event names."""
    account, symbol = event.account, event.symbol
    instrument = state.instruments[symbol]
    key = f"{IN_LIEU}{event.action_id}"
    state.positions.apply(
        account, symbol, key, -event.in_lieu_qty, event.in_lieu_px, ZERO, event.ex_date, instrument.multiplier
    )
    paid = canonical(event.in_lieu_qty * event.in_lieu_px * instrument.multiplier)
    total = state.books.in_lieu.setdefault(account, {}).setdefault(symbol, InLieu())
    total.qty -= event.in_lieu_qty
    total.cash += paid
    if state.cash is not None and account in state.cash.accounts:
        state.cash.post(account, Money(paid, instrument.currency), Flow.TRADE)


def _action_settled(state: State, event: be.ActionSettled) -> None:
    del state.books.actions[event.action_id]


# --- marks -------------------------------------------------------------------------------------------------


def _mark_policy_set(state: State, event: be.MarkPolicySet) -> None:
    state.books.mark_policy = event.policy


def _mark_set(state: State, event: be.MarkSet) -> None:
    by_symbol = state.books.marks.setdefault(event.source.value, {})
    if event.px is None:
        by_symbol.pop(event.symbol, None)
    else:
        by_symbol[event.symbol] = Observed(event.px, event.observed_ns)


DAYS: dict[type, Callable[[State, Any], None]] = {
    be.RetentionSet: _retention_set,
    be.TradesFolded: _trades_folded,
    be.PriceTestTriggered: _price_test_triggered,
    be.IncomePosted: _income_posted,
    be.SharesSplit: _shares_split,
    be.PositionScaled: _position_scaled,
    be.ActionSettled: _action_settled,
    be.MarkPolicySet: _mark_policy_set,
    be.MarkSet: _mark_set,
}
