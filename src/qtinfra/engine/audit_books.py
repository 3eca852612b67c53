"""The invariants of the books: positions, fees and cash are the sums of what was loaded and executed."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.extended_models import ExecutionState
from qtinfra.core.models import Currency, signed
from qtinfra.engine.state import State
from qtinfra.positions.position import Position, violations


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
        if not executed.scaled and not position.scalings and position.qty != qty + executed.qty:
            found.append(f"position of {where} is not the sum of its executions")
        if position.fees != fees + executed.fees:
            found.append(f"fees of {where} are {plain(position.fees)}, not the sum of its executions'")
    return found + _audit_cash(state, sums)


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
        flows[0] -= executed.value * instrument.multiplier
        flows[1] -= executed.fees
    return [
        f"{currency} cash of {account} is not the sum of its executions"
        for account, balances in state.cash.accounts.items()
        for currency, balance in balances.items()
        if [balance.trades, balance.fees] != expected.get((account, currency), [ZERO, ZERO])
    ]
