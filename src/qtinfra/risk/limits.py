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
    found: Decimal | None = None
    for key in (account, ANY):
        by_symbol = by_account.get(key)
        if by_symbol is None:
            continue
        for name in (symbol, ANY):
            value = by_symbol.get(name)
            if value is not None and (found is None or value < found):
                found = value
    return found


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The limits that apply to one account and symbol; None where none is set."""

    max_order_qty: Decimal | None
    max_order_value: Decimal | None
    price_collar: Decimal | None
    position_limit: Decimal | None


def limits_for(table: LimitTable, account: str, symbol: str) -> Limits:
    return Limits(
        tightest(table, "max_order_qty", account, symbol),
        tightest(table, "max_order_value", account, symbol),
        tightest(table, "price_collar", account, symbol),
        tightest(table, "position_limit", account, symbol),
    )
