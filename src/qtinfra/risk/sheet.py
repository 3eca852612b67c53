"""Limits laid out for comparing an order with all of them in one pass.

A limit that is not set stands as one that no order reaches, so that nothing has to be asked before comparing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache

import msgspec

from qtinfra.core.calendar import VenueCalendar
from qtinfra.core.decimals import ONE
from qtinfra.risk.ledger import MAX_WINDOW, Amounts, Sums
from qtinfra.risk.limits import AccountLimits, Limits, ScopeLimit

UNLIMITED = Decimal("Infinity")
#: More messages than a window ever holds.
_NO_COUNT = 4 * MAX_WINDOW
_HALF = Decimal("0.5")


class LimitSheet(msgspec.Struct, frozen=True, gc=False):
    """What applies to one account and symbol in the base currency; quantities in units, amounts in money.

    Attributes:
        most_long, most_short: up to these positions, what is open counted, no single purchase and no single
            sale can reach the limit on the position.
        clear_worth: likewise for the value in the symbol and the concentration.
        collared: whether a collar is set: `collar`, `period_collar` say which, and after each follow its
            factors on the reference, for a buy and a sell.
        closed: a count of zero is set: nothing passes.
    """

    order_qty: Decimal
    order_value: Decimal
    position: Decimal
    most_long: Decimal
    most_short: Decimal
    concentration: Decimal
    clear_worth: Decimal
    collared: bool
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

    home: Amounts | Sums
    foreign: Mapping[str, Amounts | Sums]
    gross: Decimal
    net: Decimal
    credit: Decimal
    clear_gross: Decimal
    clear_traded: Decimal


class Hours(msgspec.Struct, frozen=True, gc=False):
    """A time in which the rules that need context take plain orders of a type and time in force.

    Attributes:
        since_ns, until_ns: from (inclusive) and to (exclusive), UTC nanoseconds.
        mic, calendar: the primary listing and its calendar then; None: it has no hours.
        venues: where the instrument could trade then; known by identity.
    """

    since_ns: int
    until_ns: int
    mic: str
    calendar: VenueCalendar | None
    venues: object


#: Numbers by themselves; they are asked for None too, the price of an order that has none.
Numbers = dict[Decimal | None, Decimal]


class Fits(msgspec.Struct, gc=False):
    """Numbers of orders in a symbol that the rules have passed: written the same way they need not be looked
    at again while the instrument's terms stand.

    Attributes:
        sizes, prices: each number by itself. A size is written in units, as it is sent on.
        hours: when orders may come, by type and time in force, where calendars are journaled.
    """

    sizes: Numbers = {}
    prices: Numbers = {}
    hours: dict[tuple[str, str], Hours] = {}


@lru_cache(maxsize=1_024)
def _clear(limit: Decimal, largest: Decimal) -> Decimal:
    """What is so far from the limit that the largest order cannot reach it; one object for many accounts."""
    return -UNLIMITED if largest == UNLIMITED else limit - largest


def _or_unlimited(value: Decimal | None) -> Decimal:
    return UNLIMITED if value is None else value


def _count(value: int | None) -> int:
    return _NO_COUNT if value is None else value


def sheet_of(limits: Limits) -> LimitSheet:
    """The limits of an account and symbol; those of scopes are in `scope_sheets`."""
    collar, period = limits.price_collar, limits.period_collar
    counts = (limits.messages, limits.book_messages, limits.duplicates)
    qty, position = _or_unlimited(limits.max_order_qty), _or_unlimited(limits.position_limit)
    value = min(_or_unlimited(limits.max_order_value), _or_unlimited(limits.max_order_value_base))
    concentration = _or_unlimited(limits.concentration)
    clear = _clear(position, qty)
    return LimitSheet(
        qty,
        value,
        position,
        clear,
        clear.copy_negate(),
        concentration,
        _clear(concentration, value),
        collar is not None or period is not None,
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


def scope_sheets(
    limits: AccountLimits, known: dict[tuple[object, ...], ScopeSheet]
) -> tuple[ScopeSheet, ...]:
    """The limits on exposure and credit by scope, the account's first.

    Args:
        known: sheets made before: accounts of one client or firm share its sheet, as far as theirs are alike.
    """
    found: dict[str, list[ScopeLimit | None]] = {}
    for column, scoped in enumerate((limits.gross, limits.net, limits.credit)):
        for limit in scoped:
            found.setdefault(limit.key, [None, None, None])[column] = limit
    most = _or_unlimited(limits.max_order_value)
    return tuple(_scope(row, most, known) for row in found.values())


def _scope(
    row: list[ScopeLimit | None], most: Decimal, known: dict[tuple[object, ...], ScopeSheet]
) -> ScopeSheet:
    of = next(limit for limit in row if limit is not None)
    gross, net, credit = (UNLIMITED if limit is None else limit.value for limit in row)
    key = (of.key, gross, net, credit, most)
    sheet = known.get(key)
    if sheet is None:
        clear = _clear_sums(min(gross, net), credit, most)
        sheet = known[key] = ScopeSheet(of.home, of.foreign, gross, net, credit, *clear)
    return sheet


@lru_cache(maxsize=1_024)
def _clear_sums(exposure: Decimal, credit: Decimal, largest: Decimal) -> tuple[Decimal, Decimal]:
    """`ScopeSheet.clear_gross` and `clear_traded`; the same objects for many accounts."""
    if largest == UNLIMITED:
        return -UNLIMITED, -UNLIMITED
    half = (credit - largest) * _HALF
    return min(exposure - largest, half * _HALF), half
