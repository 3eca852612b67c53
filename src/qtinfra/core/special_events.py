"""What happened to orders that are not plain, and to the calendars that they live by. See `events`."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.calendar import VenueCalendar
from qtinfra.core.commands import ActionKind
from qtinfra.core.special import SpecialTerms


class SpecialEvent(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of these events. The tag carries the version once a type has a second one ("Name@2")."""


class PegLeg(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A child that is asked for a new price, under a new id; its quantity stays."""

    child_id: str
    cl_ord_id: str
    qty: Decimal
    price: Decimal


class CalendarSet(SpecialEvent, frozen=True, gc=False):
    calendar: VenueCalendar


class OrderHeld(SpecialEvent, frozen=True, gc=False):
    """The engine watches the market for the order. `watermark`: a trailing stop's best price."""

    order_id: str
    watermark: Decimal | None
    ts_ns: int


class OrderTriggered(SpecialEvent, frozen=True, gc=False):
    """A stop came to life: `px` was seen at or through `stop_px`, as `by` says ("bid", "ask" or "last")."""

    order_id: str
    stop_px: Decimal
    px: Decimal
    by: str
    ts_ns: int


class WatermarkMoved(SpecialEvent, frozen=True, gc=False):
    """The best price that a trailing stop follows has moved by a tick or more."""

    order_id: str
    watermark: Decimal
    ts_ns: int


class PegRepriced(SpecialEvent, frozen=True, gc=False):
    """Venues are asked to let the children of a pegged order follow the market."""

    order_id: str
    legs: tuple[PegLeg, ...]
    best_bid: Decimal | None
    best_ask: Decimal | None
    ts_ns: int


class TermsReplaced(SpecialEvent, frozen=True, gc=False):
    """The special terms that count from now on; the replace that asked for them follows in the record."""

    order_id: str
    special: SpecialTerms
    ts_ns: int


class CorporateActionTaken(SpecialEvent, frozen=True, gc=False):
    """An issuer's action; what it changes in each order follows in the record."""

    action_id: str
    symbol: str
    kind: ActionKind
    ex_date: str
    amount: Decimal
    ratio_num: Decimal
    ratio_den: Decimal


class OrderAdjusted(SpecialEvent, frozen=True, gc=False):
    """An order under the terms that a corporate action leaves it (ExecutionReport Restated, reason 0).

    Quantities executed and left scale by the ratio; children rest under the terms that their venue's equal
    rule gives them.
    """

    order_id: str
    action_id: str
    qty: Decimal
    price: Decimal | None
    special: SpecialTerms | None
    watermark: Decimal | None
    ratio_num: Decimal
    ratio_den: Decimal
    ts_ns: int


AnySpecialEvent = (
    CalendarSet
    | OrderHeld
    | OrderTriggered
    | WatermarkMoved
    | PegRepriced
    | TermsReplaced
    | CorporateActionTaken
    | OrderAdjusted
)
