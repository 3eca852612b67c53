"""Limits laid out for comparing an order with all of them in one pass.

A limit that is not set stands as one that no order reaches, so that nothing has to be asked before comparing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ONE
from qtinfra.risk.ledger import MAX_WINDOW, Amounts
from qtinfra.risk.limits import AccountLimits, Limits, ScopeLimit

UNLIMITED = Decimal("Infinity")
#: More messages than a window ever holds.
_NO_COUNT = 4 * MAX_WINDOW
_HALF = Decimal("0.5")


class LimitSheet(msgspec.Struct, frozen=True, gc=False):
    """What applies to one account and symbol in the base currency; quantities in units, amounts in money.

    Attributes:
        closed: a count of zero is set: nothing passes.
        collar, period_collar: whether they are set; factors on the reference follow, for a buy and a sell.
    """

    order_qty: Decimal
    order_value: Decimal
    position: Decimal
    concentration: Decimal
    collar: bool
    collar_up: Decimal
    collar_down: Decimal
    period_collar: bool
    period_up: Decimal
    period_down: Decimal
    messages: int
    book_messages: int
    duplicates: int | None
    closed: bool


class ScopeSheet(msgspec.Struct, frozen=True, gc=False):
    """The limits on the totals of an account, its client or its firm, with these totals, live.

    Attributes:
        clear_gross, clear_traded: up to these totals no single order can reach any of the limits, as large as
            the account's orders may be. Neither `long` nor `short` is ever more than `gross`, so a quarter of
            the credit is left to each of them, and half of it to what was traded.
    """

    home: Amounts
    foreign: Mapping[str, Amounts]
    gross: Decimal
    net: Decimal
    credit: Decimal
    clear_gross: Decimal
    clear_traded: Decimal


def _or_unlimited(value: Decimal | None) -> Decimal:
    return UNLIMITED if value is None else value


def _count(value: int | None) -> int:
    return _NO_COUNT if value is None else value


def sheet_of(limits: Limits) -> LimitSheet:
    """The limits of an account and symbol; those of scopes are in `scope_sheets`."""
    collar, period = limits.price_collar, limits.period_collar
    counts = (limits.messages, limits.book_messages, limits.duplicates)
    return LimitSheet(
        _or_unlimited(limits.max_order_qty),
        min(_or_unlimited(limits.max_order_value), _or_unlimited(limits.max_order_value_base)),
        _or_unlimited(limits.position_limit),
        _or_unlimited(limits.concentration),
        collar is not None,
        ONE + collar if collar is not None else ONE,
        ONE - collar if collar is not None else ONE,
        period is not None,
        ONE + period if period is not None else ONE,
        ONE - period if period is not None else ONE,
        _count(limits.messages),
        _count(limits.book_messages),
        limits.duplicates,
        any(count is not None and count <= 0 for count in counts),
    )


def scope_sheets(limits: AccountLimits) -> tuple[ScopeSheet, ...]:
    """The limits on exposure and credit by scope, the account's first."""
    found: dict[str, list[ScopeLimit | None]] = {}
    for column, scoped in enumerate((limits.gross, limits.net, limits.credit)):
        for limit in scoped:
            found.setdefault(limit.key, [None, None, None])[column] = limit
    return tuple(_scope(row, limits.max_order_value) for row in found.values())


def _scope(row: list[ScopeLimit | None], largest: Decimal | None) -> ScopeSheet:
    known = next(limit for limit in row if limit is not None)
    gross, net, credit = (UNLIMITED if limit is None else limit.value for limit in row)
    if largest is None:
        return ScopeSheet(known.home, known.foreign, gross, net, credit, -UNLIMITED, -UNLIMITED)
    half = (credit - largest) * _HALF
    clear_gross = min(gross - largest, net - largest, half * _HALF)
    return ScopeSheet(known.home, known.foreign, gross, net, credit, clear_gross, half)
