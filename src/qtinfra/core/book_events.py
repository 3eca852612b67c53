"""What happened to the books: start-of-day positions and cash, and fee schedules. See `events`."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.fees import FeeSchedule
from qtinfra.core.models import Currency


class BookEvent(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of these events. The tag carries the version once a type has a second one ("Name@2")."""


class PositionLoaded(BookEvent, frozen=True, gc=False):
    account: str
    symbol: str
    qty: Decimal
    avg_cost: Decimal
    trade_date: str


class FeeScheduleSet(BookEvent, frozen=True, gc=False):
    schedule: FeeSchedule
    author: str


class CashLoaded(BookEvent, frozen=True, gc=False):
    account: str
    currency: Currency
    amount: Decimal
    trade_date: str


AnyBookEvent = PositionLoaded | FeeScheduleSet | CashLoaded
