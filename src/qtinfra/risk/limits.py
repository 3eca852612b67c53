"""Limits as data: set by journaled commands, looked up by rule, account and symbol."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import ANY, LimitRule
from qtinfra.risk.ledger import Amounts, Sums, Totals

#: rule → account (or "*", "CLIENT:…", "FIRM:…", "ALGO:…") → symbol or "*" → value
LimitTable = dict[str, dict[str, dict[str, Decimal]]]


def set_limit(table: LimitTable, rule: LimitRule, account: str, symbol: str, value: Decimal | None) -> None:
    """Set one limit, or remove it with None."""
    by_symbol = table.setdefault(rule.value, {}).setdefault(account, {})
    if value is None:
        by_symbol.pop(symbol, None)
    else:
        by_symbol[symbol] = value


def tightest(table: LimitTable, rule: str, account: str, symbol: str, every: str = ANY) -> Decimal | None:
    """The smallest of the limits that apply: the account's or everybody's, for the symbol or for any.

    `every` is the key of everybody's limit: "*" among accounts, "CLIENT:*" among clients.
    """
    by_account = table.get(rule)
    if by_account is None:
        return None
    found: Decimal | None = None
    for key in (account, every):
        by_symbol = by_account.get(key)
        if by_symbol is None:
            continue
        for name in (symbol, ANY):
            value = by_symbol.get(name)
            if value is not None and (found is None or value < found):
                found = value
    return found


class Scope(msgspec.Struct, frozen=True, gc=False):
    """Where totals are kept: an account, its client ("CLIENT:…") or its firm ("FIRM:…")."""

    key: str
    every: str
    totals: Totals


class ScopeLimit(msgspec.Struct, frozen=True, gc=False):
    """A limit on the totals of one scope, in base currency; `home` and `foreign` are those totals, live."""

    key: str
    value: Decimal
    home: Amounts | Sums
    foreign: Mapping[str, Amounts | Sums]


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The limits that apply to one account and symbol; None, or no scope, where none is set.

    `concentration` is an amount in base currency: the fraction times the capital, 0 when no capital is set.
    """

    max_order_qty: Decimal | None = None
    max_order_value: Decimal | None = None
    max_order_value_base: Decimal | None = None
    price_collar: Decimal | None = None
    period_collar: Decimal | None = None
    position_limit: Decimal | None = None
    concentration: Decimal | None = None
    messages: int | None = None
    book_messages: int | None = None
    duplicates: int | None = None
    gross: tuple[ScopeLimit, ...] = ()
    net: tuple[ScopeLimit, ...] = ()
    credit: tuple[ScopeLimit, ...] = ()


#: Rules whose limit may differ by account and by symbol.
_BY_BOTH = (
    LimitRule.MAX_ORDER_QTY.value,
    LimitRule.MAX_ORDER_VALUE.value,
    LimitRule.MAX_ORDER_VALUE_BASE.value,
    LimitRule.PRICE_COLLAR.value,
    LimitRule.PERIOD_COLLAR.value,
    LimitRule.POSITION_LIMIT.value,
    LimitRule.CONCENTRATION.value,
    LimitRule.DUPLICATE_FLOW.value,
)

#: A value per rule of `_BY_BOTH`.
Values = tuple[Decimal | None, ...]


class AccountLimits(msgspec.Struct, frozen=True, gc=False):
    """What applies to an account in any symbol. `pairs`: it has limits of its own in single symbols too."""

    values: Values
    pairs: bool
    capital: Decimal
    messages: int | None
    gross: tuple[ScopeLimit, ...]
    net: tuple[ScopeLimit, ...]
    credit: tuple[ScopeLimit, ...]

    @property
    def max_order_value(self) -> Decimal | None:
        """The largest value of one order in any symbol, in the instrument's currency."""
        return self.values[_BY_BOTH.index(LimitRule.MAX_ORDER_VALUE.value)]


class SymbolLimits(msgspec.Struct, frozen=True, gc=False):
    """What applies to everybody in a symbol; `values` is empty when nothing does."""

    values: Values
    book_messages: int | None


def _count(value: Decimal | None) -> int | None:
    return None if value is None else int(value)


def _tighter(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or (other is not None and other < one):
        return other
    return one


def account_limits(table: LimitTable, account: str, scopes: tuple[Scope, ...] = ()) -> AccountLimits:
    """Gather what applies to an account in any symbol."""
    own = [table.get(rule, {}).get(account, {}) for rule in _BY_BOTH]
    capital = tightest(table, LimitRule.CAPITAL.value, account, ANY)
    return AccountLimits(
        tuple(tightest(table, rule, account, ANY) for rule in _BY_BOTH),
        any(name != ANY for by_symbol in own for name in by_symbol),
        ZERO if capital is None else capital,
        _count(tightest(table, LimitRule.MAX_MESSAGES.value, account, ANY)),
        _scoped(table, LimitRule.GROSS_EXPOSURE, scopes),
        _scoped(table, LimitRule.NET_EXPOSURE, scopes),
        _scoped(table, LimitRule.CREDIT_THRESHOLD, scopes),
    )


def symbol_limits(table: LimitTable, symbol: str) -> SymbolLimits:
    """Gather what applies to everybody in a symbol."""
    values = tuple(table.get(rule, {}).get(ANY, {}).get(symbol) for rule in _BY_BOTH)
    found = tightest(table, LimitRule.MAX_BOOK_MESSAGES.value, ANY, symbol)
    return SymbolLimits(values if any(value is not None for value in values) else (), _count(found))


def combined(table: LimitTable, account: str, symbol: str, of: AccountLimits, to: SymbolLimits) -> Limits:
    """The tightest of what applies to the account, to the symbol, and to the two together."""
    values = of.values
    if to.values:
        values = tuple(map(_tighter, values, to.values))
    if of.pairs:
        own = (table.get(rule, {}).get(account, {}).get(symbol) for rule in _BY_BOTH)
        values = tuple(map(_tighter, values, own))
    qty, value, base, collar, period, position, fraction, duplicates = values
    return Limits(
        qty,
        value,
        base,
        collar,
        period,
        position,
        None if fraction is None else fraction * of.capital,
        of.messages,
        to.book_messages,
        _count(duplicates),
        of.gross,
        of.net,
        of.credit,
    )


def limits_for(table: LimitTable, account: str, symbol: str, scopes: tuple[Scope, ...] = ()) -> Limits:
    """Gather what applies to an account and symbol, the tightest of each rule."""
    of, to = account_limits(table, account, scopes), symbol_limits(table, symbol)
    return combined(table, account, symbol, of, to)


def _scoped(table: LimitTable, rule: LimitRule, scopes: tuple[Scope, ...]) -> tuple[ScopeLimit, ...]:
    found = []
    for scope in scopes:
        value = tightest(table, rule.value, scope.key, ANY, scope.every)
        if value is not None:
            found.append(ScopeLimit(scope.key, value, scope.totals.home, scope.totals.foreign))
    return tuple(found)
