"""The invariants of what the pre-trade controls count: every sum is the sum over orders and positions."""

from __future__ import annotations

from decimal import Decimal
from operator import add

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.models import OrderSide
from qtinfra.engine.risk_sums import open_price, scope_keys
from qtinfra.engine.state import State
from qtinfra.risk.ledger import Sums


def audit_risk(state: State) -> list[str]:
    """Every broken invariant as a sentence; the caller enters `core.decimals.exact()`."""
    found = _audit_open(state) + _audit_cells(state) + _audit_noted(state)
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
            if cell.holding is not None and cell.holding is not state.positions.get(account, symbol):
                found.append(f"executions of {account} in {symbol} go to another position than the state's")
    left = [key for key, sides in sums.items() if any(sides)]
    return found + [f"open orders of {account} in {symbol} are not counted" for account, symbol in left]


def _audit_noted(state: State) -> list[str]:
    """What an order has noted of where it is counted is where it is counted, or known to be forgotten."""
    risk, found = state.risk, []
    for order in state.tables.orders.live().values():
        standing = getattr(order, "standing", None)
        if standing is None or standing.forgotten:
            continue
        place = (order.account, state.instruments[order.symbol].currency.value)
        if order.cell is not risk.cell(order.account, order.symbol) or standing is not risk.standings[place]:
            found.append(f"order {order.order_id} has noted other figures than it is counted in")
    return found


def _audit_totals(state: State) -> list[str]:
    """What is known of an account is what its cells come to."""
    risk, found = state.risk, []
    grosses: dict[tuple[str, str], Decimal] = {}
    for account, by_symbol in risk.cells.items():
        for symbol, cell in by_symbol.items():
            place = (account, state.instruments[symbol].currency.value)
            grosses[place] = grosses.get(place, ZERO) + cell.gross
    for account, by_currency in risk.figures.items():
        for currency, own in by_currency.items():
            if own.gross != grosses.pop((account, currency), ZERO):
                found.append(f"gross exposure of {account} in {currency} is not the sum over its cells")
    found += [f"cells of {account} in {currency} are not counted" for account, currency in grosses]
    return found + _audit_sums(state)


def _audit_sums(state: State) -> list[str]:
    """Totals that were read are the sums of cells and of what accounts have traded; until then the bounds of
    clients and firms are the accounts' parts in them, and these are no less than the accounts' figures.
    """
    risk, found = state.risk, []
    expected: dict[Sums, list[Decimal]] = {}
    for (account, currency), standing in risk.standings.items():
        keys, base = (account, *risk.members[account]), risk.policy.base_currency.value
        of_own, *above = sums = [risk.totals[key].sums_in(currency, base) for key in keys]
        own = risk.figures[account][currency]
        cells = [
            cell
            for symbol, cell in risk.cells.get(account, {}).items()
            if state.instruments[symbol].currency.value == currency
        ]
        same = own is of_own.bounds and own is standing.own and tuple(above) == standing.above
        if not same or {*map(id, cells)} != {*map(id, standing.cells)}:
            found.append(f"not all figures of {account} in {currency} are counted")
        if {id(of.kept) for of in sums if of.exact} != {*map(id, standing.followed)}:
            found.append(f"not all exact sums follow the figures of {account} in {currency}")
        if own.gross > standing.gross or own.traded > standing.traded:
            found.append(f"figures of {account} in {currency} are beyond their parts of the bounds")
        long, short = sum((cell.long for cell in cells), ZERO), sum((cell.short for cell in cells), ZERO)
        for of in sums:
            row = expected.setdefault(of, [ZERO, ZERO, ZERO, ZERO])
            parts = (standing.gross, ZERO, ZERO, standing.traded)
            row[:] = map(add, row, (own.gross, long, short, own.traded) if of.exact else parts)
        if not of_own.exact:
            del expected[of_own]  # its figures are its bounds
    for key, totals in risk.totals.items():
        for of in (totals.home, *totals.foreign.values()):
            kept, row = of.kept, expected.get(of, [ZERO, ZERO, ZERO, ZERO])
            if [kept.gross, kept.long, kept.short, kept.traded] != row:
                found.append(f"totals of {key} are not the sums of its cells and accounts")
    return found


def _audit_locates(state: State) -> list[str]:
    taken: dict[str, Decimal] = {}
    for borrowed in state.risk.borrowed.values():
        taken[borrowed.locate_id] = taken.get(borrowed.locate_id, ZERO) + borrowed.taken
    return [
        f"locate {locate_id} has {plain(locate.left)} left of {plain(locate.qty)}"
        for locate_id, locate in state.risk.locates.items()
        if locate.qty - taken.get(locate_id, ZERO) < locate.left
    ]
