"""What happened to the books: positions and cash loaded, paid and scaled, fees, marks, days. See `events`."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.fees import FeeSchedule, RegulatoryFee
from qtinfra.core.marking import MarkPolicy, MarkSource
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


class RegulatoryFeesSet(BookEvent, frozen=True, gc=False):
    rows: tuple[RegulatoryFee, ...]
    author: str


class CashPaid(BookEvent, frozen=True, gc=False):
    """Paid in, or out when negative."""

    payment_id: str
    account: str
    currency: Currency
    amount: Decimal
    author: str
    reason: str


class CashExchanged(BookEvent, frozen=True, gc=False):
    payment_id: str
    account: str
    sold: Currency
    sold_amount: Decimal
    bought: Currency
    bought_amount: Decimal
    author: str


class MarkPolicySet(BookEvent, frozen=True, gc=False):
    policy: MarkPolicy
    author: str


class MarkSet(BookEvent, frozen=True, gc=False):
    symbol: str
    px: Decimal | None
    source: MarkSource
    observed_ns: int
    author: str


class RetentionSet(BookEvent, frozen=True, gc=False):
    days: int
    author: str


class TradesFolded(BookEvent, frozen=True, gc=False):
    """Trades from before a trade date (ISO 8601) are part of their positions' opening now."""

    before: str


class IncomePosted(BookEvent, frozen=True, gc=False):
    """A cash dividend on what was held before the first trade of the ex-date; negative: a short pays it.

    `qty` is signed, `per_unit` and `amount` are in the instrument's currency, the amount in minor units.
    """

    action_id: str
    account: str
    symbol: str
    ex_date: str
    qty: Decimal
    per_unit: Decimal
    currency: Currency
    amount: Decimal


class SharesSplit(BookEvent, frozen=True, gc=False):
    """A split or reverse split takes effect; what it makes of each position follows in the record.

    `reference` is the reference price in new units, half-even to 8 places; None when there is none.
    """

    action_id: str
    symbol: str
    ex_date: str
    ratio_num: Decimal
    ratio_den: Decimal
    reference: Decimal | None


class PositionScaled(BookEvent, frozen=True, gc=False):
    """A position after a split, without the fraction of a unit that is paid in cash.

    Attributes:
        qty: signed, trades of the ex-date included.
        in_lieu_qty: the fraction taken out, signed like the position; 0 for none.
        in_lieu_px: what it was paid at, per new unit.
    """

    action_id: str
    account: str
    symbol: str
    ex_date: str
    ratio_num: Decimal
    ratio_den: Decimal
    qty: Decimal
    in_lieu_qty: Decimal
    in_lieu_px: Decimal


class ActionSettled(BookEvent, frozen=True, gc=False):
    """A corporate action has been applied to every position."""

    action_id: str


class PriceTestTriggered(BookEvent, frozen=True, gc=False):
    """A covered security fell by a tenth or more: the short-sale price test binds this day and the next.

    Source: 17 CFR 242.201(b)(1). `close` is the previous close, `px` what was seen as `by` says ("last",
    "mid" or "reference").
    """

    symbol: str
    close: Decimal
    px: Decimal
    by: str
    trade_date: str
    ts_ns: int


AnyBookEvent = (
    PositionLoaded
    | FeeScheduleSet
    | CashLoaded
    | RegulatoryFeesSet
    | CashPaid
    | CashExchanged
    | MarkPolicySet
    | MarkSet
    | RetentionSet
    | TradesFolded
    | IncomePosted
    | SharesSplit
    | PositionScaled
    | ActionSettled
    | PriceTestTriggered
)
