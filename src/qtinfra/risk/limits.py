"""Limits as data: set by journaled commands, looked up by rule, account and symbol."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.extended_models import ANY, LimitRule

#: rule → account or "*" → symbol or "*" → value
LimitTable = dict[str, dict[str, dict[str, Decimal]]]


def set_limit(table: LimitTable, rule: LimitRule, account: str, symbol: str, value: Decimal | None) -> None:
    """Set one limit, or remove it with None."""
    by_symbol = table.setdefault(rule.value, {}).setdefault(account, {})
    if value is None:
        by_symbol.pop(symbol, None)
    else:
        by_symbol[symbol] = value


def tightest(table: LimitTable, rule: str, account: str, symbol: str) -> Decimal | None:
    """The smallest of the limits that apply: the account's or everybody's, for the symbol or for any."""
    by_account = table.get(rule)
    if by_account is None:
        return None
    own, all_accounts = by_account.get(account), by_account.get(ANY)
    found = None if own is None else _tighter(own.get(symbol), own.get(ANY))
    if all_accounts is None:
        return found
    return _tighter(found, _tighter(all_accounts.get(symbol), all_accounts.get(ANY)))


def _tighter(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None:
        return other
    return one if other is None or one <= other else other


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The limits that apply to one account and symbol; None where none is set."""

    max_order_qty: Decimal | None
    max_order_value: Decimal | None
    price_collar: Decimal | None
    position_limit: Decimal | None


def tighter_limits(one: Limits, other: Limits) -> Limits:
    """Of every limit the tighter one; of equal ones that of `one`."""
    return Limits(
        _tighter(one.max_order_qty, other.max_order_qty),
        _tighter(one.max_order_value, other.max_order_value),
        _tighter(one.price_collar, other.price_collar),
        _tighter(one.position_limit, other.position_limit),
    )


def limits_for(table: LimitTable, account: str, symbol: str) -> Limits:
    return Limits(
        tightest(table, "max_order_qty", account, symbol),
        tightest(table, "max_order_value", account, symbol),
        tightest(table, "price_collar", account, symbol),
        tightest(table, "position_limit", account, symbol),
    )
