"""The blotter: a shard's state as the tables that a desk reads. Pure data; whoever shows it decides how.

All amounts are exact and in the instruments' currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, canonical, exact
from qtinfra.core.events import AmendRefused, CommandRefused, DuplicateRefused, Entry, OrderRejected
from qtinfra.core.extended_models import Execution, ExecutionState, Liquidity
from qtinfra.core.models import Currency, Order, OrderSide, OrderStatus, OrderType, TimeInForce, signed
from qtinfra.engine.state import State
from qtinfra.positions.book import pnl
from qtinfra.positions.fx import MissingRate, conversion


class OrderLine(msgspec.Struct, frozen=True):
    """One client order. `venues` are those that it traded at or, untraded, was sent to."""

    account: str
    cl_ord_id: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    cum_qty: Decimal
    leaves_qty: Decimal
    avg_px: Decimal
    status: OrderStatus
    venues: tuple[str, ...]
    created_ns: int
    updated_ns: int


class PositionLine(msgspec.Struct, frozen=True):
    """One account's position in one symbol under average cost; `net` is realised + unrealised - fees."""

    account: str
    symbol: str
    qty: Decimal
    avg_cost: Decimal
    mark: Decimal
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    net: Decimal


class AccountLine(msgspec.Struct, frozen=True):
    """An account's total P&L, and the same figure reckoned from cash.

    Attributes:
        cash_flow: proceeds of sales less cost of purchases less fees, from the executions that count.
        market_value: what the positions are worth at the marks.
        agrees: whether `cash_flow + market_value` is `net`, to the last digit.
    """

    account: str
    client: str
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    net: Decimal
    cash_flow: Decimal
    market_value: Decimal
    agrees: bool


class BaseLine(msgspec.Struct, frozen=True):
    """An account's P&L in its base currency, at the journaled FX rates of now.

    A currency is converted as a whole: exactly, or where its rate divides half-even to 8 places. What changes
    of the rate have earned is not told apart.

    Attributes:
        base: the account's base currency.
        missing: pairs ("EUR/USD") without a rate; the figures are then None rather than a part of the whole.
    """

    account: str
    base: Currency
    realised: Decimal | None
    unrealised: Decimal | None
    fees: Decimal | None
    net: Decimal | None
    missing: tuple[str, ...] = ()


class VenueLine(msgspec.Struct, frozen=True):
    """What was executed at one venue, busted executions left out; `fees` negative: a rebate."""

    venue: str
    fills: int
    added: int
    qty: Decimal
    value: Decimal
    fees: Decimal


class RefusalLine(msgspec.Struct, frozen=True):
    """A request that was refused: by which rule, at which limit, with what observed.

    `account` is whoever asked when the request concerns no account.
    """

    seq: int
    ts_ns: int
    account: str
    cl_ord_id: str
    symbol: str
    rule: str
    limit: str
    observed: str
    text: str


class Blotter(msgspec.Struct, frozen=True):
    """All tables. `statuses` counts the orders by account, then by status, in the statuses' own order."""

    statuses: dict[str, dict[str, int]]
    orders: tuple[OrderLine, ...]
    positions: tuple[PositionLine, ...]
    accounts: tuple[AccountLine, ...]
    venues: tuple[VenueLine, ...]
    refusals: tuple[RefusalLine, ...]
    base: tuple[BaseLine, ...] = ()


def blotter(state: State, marks: Mapping[str, Decimal], refusals: Iterable[RefusalLine] = ()) -> Blotter:
    """The tables of a state.

    Args:
        marks: the price at which each traded symbol is valued.
        refusals: as collected by `refusals_in` from the journal's records.

    Raises:
        KeyError: a symbol with a position has no mark.
    """
    with exact():
        counted = _counted(state)
        positions = tuple(_positions(state, marks))
        return Blotter(
            _statuses(state),
            tuple(order_line(state, order) for order in state.orders.values()),
            positions,
            tuple(_account(state, account, positions, marks, counted) for account in state.accounts),
            tuple(_venue(venue, counted) for venue in state.venues),
            tuple(refusals),
            tuple(base_line(state, account, positions) for account in state.accounts),
        )


def order_line(state: State, order: Order) -> OrderLine:
    """One order as a line."""
    return OrderLine(
        order.account,
        order.cl_ord_id,
        order.symbol,
        order.side,
        order.order_type,
        order.tif,
        canonical(order.qty),
        order.price,
        canonical(order.cum_qty),
        canonical(order.leaves_qty),
        order.avg_px,
        order.status,
        tuple(venue_quantities(state, order)) or _sent_to(state, order),
        order.created_ns,
        order.updated_ns,
    )


def venue_quantities(state: State, order: Order) -> dict[str, Decimal]:
    """What the order has executed at each venue, in order of its first execution there."""
    found: dict[str, Decimal] = {}
    for key in order.executions:
        execution = state.executions[key]
        if execution.state is not ExecutionState.BUSTED:
            found[execution.venue] = found.get(execution.venue, ZERO) + execution.qty
    return found


def _sent_to(state: State, order: Order) -> tuple[str, ...]:
    return tuple(dict.fromkeys(state.children[child_id].venue for child_id in order.children))


def _statuses(state: State) -> dict[str, dict[str, int]]:
    counts = {
        account: dict.fromkeys((status.value for status in OrderStatus), 0) for account in state.accounts
    }
    for order in state.orders.values():
        counts[order.account][order.status.value] += 1
    return {
        account: {status: number for status, number in by_status.items() if number}
        for account, by_status in counts.items()
    }


def _positions(state: State, marks: Mapping[str, Decimal]) -> Iterable[PositionLine]:
    for (account, symbol), position in sorted(state.positions.positions(), key=lambda item: item[0]):
        line = pnl(position, marks[symbol])
        yield PositionLine(
            account,
            symbol,
            line.qty,
            line.avg_cost,
            line.mark,
            line.realised,
            line.unrealised,
            line.fees,
            line.net,
        )


def _account(
    state: State,
    account: str,
    positions: Iterable[PositionLine],
    marks: Mapping[str, Decimal],
    counted: Iterable[tuple[Order, Execution]],
) -> AccountLine:
    """Totals of the position lines, beside a reckoning from executions and what was loaded.

    A position that a split has scaled, or whose old trades have folded, counts with its own cash flow.
    """
    own = [line for line in positions if line.account == account]
    cash_flow = market_value = ZERO
    held = state.positions.accounts.get(account, {})
    changed = {symbol: position for symbol, position in held.items() if _changed(state, account, symbol)}
    for symbol, position in changed.items():
        cash_flow += position.cash - position.fees
        market_value += position.qty * marks[symbol] * position.multiplier
    for order, execution in counted:
        if order.account == account and order.symbol not in changed:
            multiplier = state.instruments[order.symbol].multiplier
            traded = signed(order.side, execution.qty)
            cash_flow -= signed(order.side, execution.value) * multiplier
            cash_flow -= execution.fee + execution.commission
            market_value += traded * marks[order.symbol] * multiplier
    for symbol, position in held.items():
        if position.opening is not None and symbol not in changed:
            cash_flow += position.opening.cash
            market_value += position.opening.qty * marks[symbol] * position.opening.multiplier
    net = _total(line.net for line in own)
    return AccountLine(
        account,
        state.accounts[account].client,
        _total(line.realised for line in own),
        _total(line.unrealised for line in own),
        _total(line.fees for line in own),
        net,
        canonical(cash_flow),
        canonical(market_value),
        cash_flow + market_value == net,
    )


def _changed(state: State, account: str, symbol: str) -> bool:
    """Whether a position is more than its executions and what was loaded."""
    position = state.positions.get(account, symbol)
    if position is None or symbol in state.books.in_lieu.get(account, {}):
        return position is not None
    return bool(position.scalings) or (position.opening is not None and position.opening.folded_before != "")


def base_line(state: State, account: str, positions: Iterable[PositionLine]) -> BaseLine:
    """The position lines of one account in its base currency."""
    base = state.accounts[account].base_currency
    sums: dict[Currency, list[Decimal]] = {}
    for line in positions:
        if line.account == account:
            amounts = sums.setdefault(state.instruments[line.symbol].currency, [ZERO, ZERO, ZERO])
            for index, amount in enumerate((line.realised, line.unrealised, line.fees)):
                amounts[index] += amount
    totals, missing = [ZERO, ZERO, ZERO], []
    for currency, amounts in sums.items():
        rate = conversion(state.fx_rates, currency, base)
        if isinstance(rate, MissingRate):
            missing += [rate.pair] if any(amounts) else []
            continue
        for index, amount in enumerate(amounts):
            totals[index] += rate.apply(amount)
    if missing:
        return BaseLine(account, base, None, None, None, None, tuple(missing))
    realised, unrealised, fees = (canonical(total) for total in totals)
    return BaseLine(account, base, realised, unrealised, fees, canonical(realised + unrealised - fees))


def _venue(venue: str, executed: Iterable[tuple[Order, Execution]]) -> VenueLine:
    counted = [execution for _, execution in executed if execution.venue == venue]
    return VenueLine(
        venue,
        len(counted),
        sum(execution.liquidity is Liquidity.ADDED for execution in counted),
        _total(execution.qty for execution in counted),
        _total(execution.value for execution in counted),
        _total(execution.fee for execution in counted),
    )


def _counted(state: State) -> list[tuple[Order, Execution]]:
    """Every execution that was not busted, with its order."""
    executed = ((order, state.executions[key]) for order in state.orders.values() for key in order.executions)
    return [(order, item) for order, item in executed if item.state is not ExecutionState.BUSTED]


def _total(values: Iterable[Decimal]) -> Decimal:
    return canonical(sum(values, ZERO))


def refusals_in(entry: Entry) -> list[RefusalLine]:
    """The refusals that a journal record holds."""
    found: list[RefusalLine] = []
    for seq, event in enumerate(entry.events, entry.seq):
        at = seq, entry.ts_ns
        if isinstance(event, OrderRejected):
            terms = event.code, event.limit, event.observed, event.text
            found.append(RefusalLine(*at, event.account, event.cl_ord_id, event.symbol, *terms))
        elif isinstance(event, DuplicateRefused):
            rule = "duplicate_client_order_id"
            terms = rule, "once per account", event.cl_ord_id, event.text
            found.append(RefusalLine(*at, event.account, event.cl_ord_id, "", *terms))
        elif isinstance(event, AmendRefused | CommandRefused):
            terms = event.code, event.limit, event.observed, event.text
            found.append(RefusalLine(*at, event.account or entry.actor, event.cl_ord_id, "", *terms))
    return found
