"""The invariants of what the pre-trade controls count: every sum is the sum over orders and positions."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.models import Order, OrderSide
from qtinfra.engine.evolve_risk import open_price, scope_keys
from qtinfra.engine.state import State
from qtinfra.risk.ledger import Amounts, Totals


def audit_risk(state: State) -> list[str]:
    """Every broken invariant as a sentence; the caller enters `core.decimals.exact()`."""
    found = _audit_open(state) + _audit_cells(state)
    for account in state.risk.members:
        client, firm = state.risk.members[account]
        if (account, client, firm) != scope_keys(state, account):
            found.append(f"{account} is counted under {client} and {firm}")
    return found + _audit_totals(state) + _audit_locates(state)


def _audit_open(state: State) -> list[str]:
    found = []
    for order in state.orders.values():
        counted = state.risk.open.get(order.order_id)
        if counted is None:
            if order.reserved:
                found.append(f"order {order.order_id} is open and not counted")
        elif counted.value != _value(state, order):
            found.append(f"order {order.order_id} is counted with {plain(counted.value)}")
    return found


def _value(state: State, order: Order) -> Decimal:
    counted = state.risk.open[order.order_id]
    return order.reserved * open_price(order, counted) * state.instruments[order.symbol].multiplier


def _audit_cells(state: State) -> list[str]:
    """Cells hold the open value by side, the position at its mark, and the larger outcome of the two."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for order_id, counted in state.risk.open.items():
        order = state.orders[order_id]
        sides = sums.setdefault((order.account, order.symbol), [ZERO, ZERO])
        sides[order.side is not OrderSide.BUY] += counted.value
    found = []
    for account, by_symbol in state.risk.cells.items():
        for symbol, cell in by_symbol.items():
            buy, sell = sums.pop((account, symbol), [ZERO, ZERO])
            held = state.net_position(account, symbol) * cell.mark * state.instruments[symbol].multiplier
            gross = max(abs(held + buy), abs(held - sell))
            if (cell.held, cell.buy, cell.sell, cell.gross) != (held, buy, sell, gross):
                found.append(f"exposure of {account} in {symbol} is not the sum over orders and position")
    left = [key for key, sides in sums.items() if any(sides)]
    return found + [f"open orders of {account} in {symbol} are not counted" for account, symbol in left]


def _audit_totals(state: State) -> list[str]:
    risk = state.risk
    expected: dict[str, dict[str, list[Decimal]]] = {}
    for account, by_symbol in risk.cells.items():
        for symbol, cell in by_symbol.items():
            currency = state.instruments[symbol].currency.value
            for key in (account, *risk.members[account]):
                sums = expected.setdefault(key, {}).setdefault(currency, [ZERO, ZERO, ZERO, ZERO])
                parts = (cell.gross, cell.held + cell.buy, cell.sell - cell.held, cell.buy + cell.sell)
                for index, part in enumerate(parts):
                    sums[index] += part
    found = []
    for key, totals in risk.totals.items():
        for currency, amounts in _by_currency(state, totals).items():
            sums = expected.get(key, {}).pop(currency, [ZERO, ZERO, ZERO, ZERO])
            if [amounts.gross, amounts.long, amounts.short, amounts.used - amounts.traded] != sums:
                found.append(f"totals of {key} in {currency} are not the sums of its cells")
    return found


def _by_currency(state: State, totals: Totals) -> dict[str, Amounts]:
    return {state.risk.policy.base_currency.value: totals.home, **totals.foreign}


def _audit_locates(state: State) -> list[str]:
    taken: dict[str, Decimal] = {}
    for borrowed in state.risk.borrowed.values():
        taken[borrowed.locate_id] = taken.get(borrowed.locate_id, ZERO) + borrowed.taken
    return [
        f"locate {locate_id} has {plain(locate.left)} left of {plain(locate.qty)}"
        for locate_id, locate in state.risk.locates.items()
        if locate.qty - taken.get(locate_id, ZERO) < locate.left
    ]
