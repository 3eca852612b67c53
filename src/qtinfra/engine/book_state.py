"""What the books remember besides positions, fees and cash: a part of the shard's state."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.commands import ActionKind
from qtinfra.core.decimals import ZERO
from qtinfra.core.marking import DEFAULT_POLICY, MarkPolicy, Observed
from qtinfra.core.models import Currency

#: Trading days that trades stay open to a bust, unless told otherwise: settlement (T+1) and a margin.
DEFAULT_RETENTION = 5


class PendingAction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A corporate action that positions have still to follow; the fields are those of its command."""

    symbol: str
    kind: ActionKind
    ex_date: str
    amount: Decimal
    ratio_num: Decimal
    ratio_den: Decimal


class Rolled(msgspec.Struct, array_like=True, gc=False):
    """What moved in a cash balance on the days before this one: proceeds, fees, number of postings."""

    trades: Decimal = ZERO
    fees: Decimal = ZERO
    posted: int = 0


class InLieu(msgspec.Struct, array_like=True, gc=False):
    """Fractions that were paid in cash: signed change of the position, and its cash flow."""

    qty: Decimal = ZERO
    cash: Decimal = ZERO


class Seen(msgspec.Struct, array_like=True, gc=False):
    """Realised profit and fees of a position as the base-currency ledger has them."""

    realised: Decimal = ZERO
    fees: Decimal = ZERO


class BookState(msgspec.Struct):
    """Beside the books.

    Attributes:
        retention: trading days that trades stay open to a bust.
        days: the latest trade dates, as many as the retention and the day itself.
        actions: corporate actions by id that wait for their ex-date.
        payments: payments and exchanges by id, as text.
        income: dividends by account and currency, all days.
        in_lieu: by account and symbol, all days.
        rolled: cash flows of earlier days by account and currency.
        seen: by account and symbol, for accounts whose profit and loss is kept in base.
        marks: prices by source, then symbol.
    """

    retention: int = DEFAULT_RETENTION
    days: list[str] = []
    actions: dict[str, PendingAction] = {}
    payments: dict[str, str] = {}
    income: dict[str, dict[Currency, Decimal]] = {}
    in_lieu: dict[str, dict[str, InLieu]] = {}
    rolled: dict[str, dict[Currency, Rolled]] = {}
    seen: dict[str, dict[str, Seen]] = {}
    mark_policy: MarkPolicy = DEFAULT_POLICY
    marks: dict[str, dict[str, Observed]] = {}
