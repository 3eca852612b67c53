"""What happened to parent orders that an algorithm works. See `events`."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.algo import AlgoTerms, FinishReason, Schedule, SliceReason
from qtinfra.core.book_events import AnyBookEvent
from qtinfra.core.routing_events import AnyRoutingEvent


class AlgoEvent(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of these events. The tag carries the version once a type has a second one ("Name@2")."""


class RecallLeg(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A child that its venue is asked to cancel, under a new id."""

    child_id: str
    cl_ord_id: str


class VolumeCurveSet(AlgoEvent, frozen=True, gc=False):
    symbol: str
    trade_date: str
    open_ns: int
    close_ns: int
    bins: tuple[Decimal, ...]


class MarketProfileSet(AlgoEvent, frozen=True, gc=False):
    symbol: str
    daily_volume: Decimal | None
    daily_volatility: Decimal | None
    spread: Decimal | None
    close_volume: Decimal | None


class AlgoPlanned(AlgoEvent, frozen=True, gc=False):
    """The schedule that counts from now on, with the terms it was planned by.

    Attributes:
        reason: why now: "accepted", or what has changed.
        arrival_mid: midpoint seen; kept from the first plan on.
        traded: volume of the symbol's day printed by now; None when it is not known, and before the schedule
            begins: then volume counts from its first interval on.
    """

    order_id: str
    terms: AlgoTerms
    schedule: Schedule
    reason: str
    arrival_mid: Decimal | None
    traded: Decimal | None
    ts_ns: int


class AlgoTermsReplaced(AlgoEvent, frozen=True, gc=False):
    """The algo terms that count from now on; the replace that asked for them follows in the record."""

    order_id: str
    terms: AlgoTerms
    ts_ns: int


class AlgoIntervalBegan(AlgoEvent, frozen=True, gc=False):
    """A new interval of a parent whose volume counts: what had printed in the symbol when it began."""

    order_id: str
    interval: int
    traded: Decimal
    ts_ns: int


class SliceSent(AlgoEvent, frozen=True, gc=False):
    """Why the children of the record's OrderRouted before it were sent."""

    order_id: str
    children: tuple[str, ...]
    qty: Decimal
    reason: SliceReason
    ts_ns: int


class ChildrenRecalled(AlgoEvent, frozen=True, gc=False):
    """Venues are asked to cancel children of a parent that goes on."""

    order_id: str
    legs: tuple[RecallLeg, ...]
    reason: str
    ts_ns: int


class AlgoPaused(AlgoEvent, frozen=True, gc=False):
    """Nothing more is sent until it is resumed; the end time stays."""

    order_id: str
    reason: str
    ts_ns: int


class AlgoResumed(AlgoEvent, frozen=True, gc=False):
    order_id: str
    reason: str
    ts_ns: int


class AlgoFinished(AlgoEvent, frozen=True, gc=False):
    """The schedule is over. `filled` and `left` are units of the parent at that moment."""

    order_id: str
    reason: FinishReason
    filled: Decimal
    left: Decimal
    text: str
    ts_ns: int


AnyAlgoEvent = (
    VolumeCurveSet
    | MarketProfileSet
    | AlgoPlanned
    | AlgoTermsReplaced
    | AlgoIntervalBegan
    | SliceSent
    | ChildrenRecalled
    | AlgoPaused
    | AlgoResumed
    | AlgoFinished
)

#: The events that are kept in modules of their own: of algos, of the books and of routing.
AnyFurtherEvent = AnyAlgoEvent | AnyBookEvent | AnyRoutingEvent
