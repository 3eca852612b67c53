"""The invariants of the books: positions, fees and cash are the sums of what was loaded and executed."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.extended_models import ExecutionState
from qtinfra.core.models import Currency, signed
from qtinfra.engine.book_state import InLieu, Rolled
from qtinfra.engine.state import State
from qtinfra.positions.base_pnl import CurrencyPnl
from qtinfra.positions.booking import violations
from qtinfra.positions.position import Position


class _Sums(msgspec.Struct):
    """What the unbusted executions of an account in a symbol come to; `scaled` by a corporate action."""

    qty: Decimal = ZERO
    value: Decimal = ZERO
    fees: Decimal = ZERO
    scaled: bool = False


def audit_books(state: State) -> list[str]:
    """Every broken invariant as a sentence; the caller enters `core.decimals.exact()`."""
    sums = _sums(state)
    for (account, symbol), _ in state.positions.positions():
        sums.setdefault((account, symbol), _Sums())
    found = []
    for (account, symbol), executed in sums.items():
        position = state.positions.get(account, symbol) or Position()
        where = f"{account} in {symbol}"
        found += [f"position of {where}: {text}" for text in violations(position)]
        opening = position.opening
        if opening is not None and opening.folded_before:
            continue
        qty, fees = (ZERO, ZERO) if opening is None else (opening.qty, opening.fees)
        qty += _in_lieu(state, account, symbol).qty
        if not executed.scaled and not position.scalings and position.qty != qty + executed.qty:
            found.append(f"position of {where} is not the sum of its executions")
        if position.fees != fees + executed.fees:
            found.append(f"fees of {where} are {plain(position.fees)}, not the sum of its executions'")
    return found + _audit_cash(state, sums) + _audit_pnl(state)


def _in_lieu(state: State, account: str, symbol: str) -> InLieu:
    """The fractions that splits have paid in cash."""
    return state.books.in_lieu.get(account, {}).get(symbol) or InLieu()


def _sums(state: State) -> dict[tuple[str, str], _Sums]:
    sums: dict[tuple[str, str], _Sums] = {}
    for execution in state.executions.values():
        order = state.orders[execution.order_id]
        of = sums.setdefault((order.account, order.symbol), _Sums())
        if execution.state is ExecutionState.LIVE and execution.qty != execution.reported_qty:
            of.scaled = True
        if execution.state is not ExecutionState.BUSTED:
            of.qty += signed(order.side, execution.qty)
            of.value += signed(order.side, execution.value)
            of.fees += execution.fee + execution.commission
    return sums


def _audit_cash(state: State, sums: dict[tuple[str, str], _Sums]) -> list[str]:
    """The cash of an account that has loaded it is the sum of its executions, by currency."""
    if state.cash is None:
        return []
    expected: dict[tuple[str, Currency], list[Decimal]] = {}
    for (account, symbol), executed in sums.items():
        instrument = state.instruments[symbol]
        flows = expected.setdefault((account, instrument.currency), [ZERO, ZERO])
        flows[0] += _in_lieu(state, account, symbol).cash - executed.value * instrument.multiplier
        flows[1] -= executed.fees
    found = []
    for account, balances in state.cash.accounts.items():
        for currency, balance in balances.items():
            earlier = state.books.rolled.get(account, {}).get(currency) or Rolled()
            moved = [balance.trades + earlier.trades, balance.fees + earlier.fees]
            if moved != expected.get((account, currency), [ZERO, ZERO]):
                found.append(f"{currency} cash of {account} is not the sum of its executions")
    return found


def _audit_pnl(state: State) -> list[str]:
    """The ledger in base has what positions have realised and cost and what was paid on them; with cash, that
    what came in and what was earned is there, in cash or in positions at cost.
    """
    found = []
    for account, owner in state.pnl.accounts.items() if state.pnl is not None else ():
        sums: dict[Currency, list[Decimal]] = {currency: [ZERO, ZERO, ZERO] for currency in owner.currencies}
        for symbol, position in state.positions.accounts.get(account, {}).items():
            of = sums.setdefault(state.instruments[symbol].currency, [ZERO, ZERO, ZERO])
            of[0] += position.realised
            of[1] += position.fees
            of[2] += position.cost
        for currency, (earned, fees, cost) in sums.items():
            line = owner.currencies.get(currency) or CurrencyPnl()
            income = state.books.income.get(account, {}).get(currency, ZERO)
            if (line.earned, line.fees) != (earned + income, fees):
                found.append(f"{currency} profit of {account} in base is not that of its positions")
            cash = state.cash.accounts.get(account) if state.cash is not None else None
            worth = line.capital + line.earned - line.fees
            if cash is not None and currency in cash and cash[currency].total + cost != worth:
                found.append(f"{currency} capital and profit of {account} are not in cash and positions")
    return found
