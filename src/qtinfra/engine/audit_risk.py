"""The invariants of what the pre-trade controls count: every sum is the sum over orders and positions."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.models import OrderSide
from qtinfra.engine.risk_sums import open_price, scope_keys
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
    """An order counts its open units at its price, multiplier included, and nothing when it has none."""
    found = []
    for order in state.orders.values():
        px = open_price(order) if order.reserved else None
        value = order.reserved * px * state.instruments[order.symbol].multiplier if px is not None else ZERO
        if order.reserved and px is None:
            found.append(f"order {order.order_id} is open and not counted")
        elif (order.open_px, order.open_value) != (px, value):
            found.append(f"order {order.order_id} is counted with {plain(order.open_value)}")
    return found


def _audit_cells(state: State) -> list[str]:
    """Cells hold the position with its value, the open value by side, and the larger of both outcomes."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for order in state.orders.values():
        if order.open_value:
            sides = sums.setdefault((order.account, order.symbol), [ZERO, ZERO])
            sides[order.side is not OrderSide.BUY] += order.open_value
    found = []
    for account, by_symbol in state.risk.cells.items():
        for symbol, cell in by_symbol.items():
            buy, sell = sums.pop((account, symbol), [ZERO, ZERO])
            units = state.net_position(account, symbol)
            held = units * cell.mark * state.instruments[symbol].multiplier
            expected = (units, held, buy, sell, max(abs(held + buy), abs(sell - held)))
            if (cell.position, cell.held, cell.buy_value, cell.sell_value, cell.gross) != expected:
                found.append(f"exposure of {account} in {symbol} is not the sum over orders and position")
    left = [key for key, sides in sums.items() if any(sides)]
    return found + [f"open orders of {account} in {symbol} are not counted" for account, symbol in left]


def _audit_totals(state: State) -> list[str]:
    """Totals are the sums of their cells; what clients and firms have traded is what their accounts have.
    Until sums of clients and firms are read, their bounds are what the accounts' parts in them come to.
    """
    risk = state.risk
    expected: dict[str, dict[str, list[Decimal]]] = {}
    for account, by_symbol in risk.cells.items():
        for symbol, cell in by_symbol.items():
            currency = state.instruments[symbol].currency.value
            for key in (account, *risk.members[account]):
                sums = _sums(expected, key, currency)
                for index, part in enumerate((cell.gross, cell.long, cell.short)):
                    sums[index] += part
    for account, scopes in risk.members.items():
        for currency, amounts in _by_currency(state, risk.totals[account]).items():
            for key in (account, *scopes):
                _sums(expected, key, currency)[3] += amounts.traded
    kept = [(key, _by_currency(state, totals)) for key, totals in risk.totals.items()]
    for key, wide in risk.wide.items():
        exact = {state.risk.policy.base_currency.value: wide.home.bounds} if wide.home.exact else {}
        kept.append((key, exact | wide.foreign))
    found = [
        f"totals of {key} in {currency} are not the sums of its cells and accounts"
        for key, by_currency in kept
        for currency, amounts in by_currency.items()
        if [amounts.gross, amounts.long, amounts.short, amounts.traded] != _sums(expected, key, currency)
    ]
    return found + _audit_bounds(state)


def _audit_bounds(state: State) -> list[str]:
    """No account's sums are more than its parts of the bounds above, which are made of these parts."""
    risk = state.risk
    found = []
    for account, standing in risk.standings.items():
        own, followed = standing.own, [wide.bounds for wide in standing.above if wide.exact]
        if own is not risk.totals[account].home or own.gross > standing.gross or own.traded > standing.traded:
            found.append(f"sums of {account} are beyond its parts of the bounds above")
        if {id(sums) for sums in standing.followed} != {id(sums) for sums in followed}:
            found.append(f"not all exact sums above follow those of {account}")
    for key, wide in risk.wide.items():
        home = wide.home
        parts = [sum((getattr(of, name) for of in home.members), ZERO) for name in ("gross", "traded")]
        if not home.exact and [home.bounds.gross, home.bounds.traded] != parts:
            found.append(f"bounds of {key} are not what its accounts have in them")
    return found


def _sums(expected: dict[str, dict[str, list[Decimal]]], key: str, currency: str) -> list[Decimal]:
    return expected.setdefault(key, {}).setdefault(currency, [ZERO, ZERO, ZERO, ZERO])


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
