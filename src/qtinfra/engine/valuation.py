"""What accounts are worth by the journaled marks policy: each position at its mark, and totals in base.

Pure: live quotes come from the market view, other prices from the state. A position without a mark or a
currency without a rate leaves the total out and is named, rather than guessed.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, canonical, exact
from qtinfra.core.market import MarketView
from qtinfra.core.marking import MarkSource, Observed
from qtinfra.core.models import Currency, Money
from qtinfra.engine.state import State
from qtinfra.positions.base_pnl import BasePnl
from qtinfra.positions.fx import MissingRate, convert
from qtinfra.positions.marks import MarkedPnl, MarkInputs, NoMark, marked_pnl


class SymbolValue(msgspec.Struct, frozen=True, gc=False):
    """A position in the instrument's currency, with its mark or with why there is none."""

    symbol: str
    currency: Currency
    pnl: MarkedPnl | NoMark


class AccountValue(msgspec.Struct, frozen=True, gc=False):
    """An account's positions and its profit and loss in base.

    Attributes:
        lines: in order of the first trade in each symbol.
        total: None when a mark or a rate is missing. For an account whose policy keeps profit and loss in
            base it stands at the rates of that policy; for others everything converts at the rates of now
            and `fx` is 0.
        unmarked: symbols with a position and no mark.
        missing: pairs without a rate, "EUR/USD".
    """

    account: str
    base: Currency
    lines: tuple[SymbolValue, ...]
    total: BasePnl | None
    unmarked: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def mark_inputs(state: State, market: MarketView, symbol: str) -> MarkInputs:
    """What is known about a symbol's price. The close is the one that was set, else the reference price."""
    marks = state.books.marks
    last = marks.get(MarkSource.LAST.value, {}).get(symbol)
    manual = marks.get(MarkSource.MANUAL.value, {}).get(symbol)
    close, reference = marks.get(MarkSource.CLOSE.value, {}).get(symbol), state.reference_prices.get(symbol)
    if close is None and reference is not None:
        close = Observed(reference, state.risk.reference_ns.get(symbol, 0))
    return MarkInputs(symbol, market.book(symbol), last, close, manual)


def valuation(state: State, market: MarketView, now_ns: int) -> tuple[AccountValue, ...]:
    """Every account at the marks of a moment.

    Args:
        market: what is known of the market; an empty view leaves the state's prices.
        now_ns: UTC nanoseconds, for the age of marks.
    """
    inputs: dict[str, MarkInputs] = {}
    with exact():
        return tuple(_account(state, market, account, inputs, now_ns) for account in state.accounts)


def _account(
    state: State, market: MarketView, account: str, inputs: dict[str, MarkInputs], now_ns: int
) -> AccountValue:
    lines: list[SymbolValue] = []
    for symbol, position in state.positions.accounts.get(account, {}).items():
        known = inputs.get(symbol)
        if known is None:
            known = inputs[symbol] = mark_inputs(state, market, symbol)
        found = marked_pnl(position, known, state.books.mark_policy, now_ns)
        lines.append(SymbolValue(symbol, state.instruments[symbol].currency, found))
    base = state.accounts[account].base_currency
    unmarked = tuple(line.symbol for line in lines if isinstance(line.pnl, NoMark))
    if unmarked:
        return AccountValue(account, base, tuple(lines), None, unmarked)
    total = _total(state, account, base, lines)
    if isinstance(total, BasePnl):
        return AccountValue(account, base, tuple(lines), total)
    return AccountValue(account, base, tuple(lines), None, (), total)


def _total(state: State, account: str, base: Currency, lines: list[SymbolValue]) -> BasePnl | tuple[str, ...]:
    """Profit and loss in base, or the pairs that have no rate."""
    sums: dict[Currency, list[Decimal]] = {}
    for currency, amount in state.books.income.get(account, {}).items():
        sums.setdefault(currency, [ZERO, ZERO, ZERO])[0] += amount
    for line in lines:
        if isinstance(line.pnl, MarkedPnl):
            of = sums.setdefault(line.currency, [ZERO, ZERO, ZERO])
            for index, amount in enumerate((line.pnl.line.realised, line.pnl.line.unrealised)):
                of[index] += amount
            of[2] += line.pnl.line.fees
    if state.pnl is not None and account in state.pnl.accounts:
        unrealised = {currency: of[1] for currency, of in sums.items()}
        found = state.pnl.read(account, unrealised, state.fx_rates)
        return (found.pair,) if isinstance(found, MissingRate) else found
    totals, missing = [ZERO, ZERO, ZERO], []
    for currency, of in sums.items():
        for index, amount in enumerate(of):
            worth = convert(state.fx_rates, Money(amount, currency), base)
            if isinstance(worth, MissingRate):
                missing.append(worth.pair)
            else:
                totals[index] += worth.amount
    if missing:
        return tuple(dict.fromkeys(missing))
    realised, floating, fees = (canonical(total) for total in totals)
    return BasePnl(base, realised, floating, fees, ZERO, canonical(realised + floating - fees))
