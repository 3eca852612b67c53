"""What happened. Events are past tense and frozen; `engine.evolve` turns them into state, nothing else does.

An event holds all that evolve needs, so that a journal replays without deciding anything again.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.algo_events import AnyFurtherEvent
from qtinfra.core.commands import AnyCommand, SubmitOrder, Terms
from qtinfra.core.extended_models import (
    Account,
    Instrument,
    KillScope,
    LimitRule,
    Locate,
    PartyKind,
    RiskPolicy,
    Venue,
    VenueStatus,
)
from qtinfra.core.legs import Leg
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.models import Capacity, Currency, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.reports import Reported, VenueReport
from qtinfra.core.special import SpecialTerms
from qtinfra.core.special_events import AnySpecialEvent


class Event(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of all events. The tag carries the version once a type has a second one ("Name@2")."""


# --- the owner, reference data and controls --------------------------------------------------------------


class EpochStarted(Event, frozen=True, gc=False):
    epoch: int
    owner: str


class ReferenceSet(Event, frozen=True, gc=False):
    instruments: tuple[Instrument, ...]
    accounts: tuple[Account, ...]
    venues: tuple[Venue, ...]
    prices: tuple[tuple[str, Decimal], ...]
    ts_ns: int = 0


class LimitSet(Event, frozen=True, gc=False):
    rule: LimitRule
    value: Decimal | None
    account: str
    symbol: str
    author: str = ""
    reason: str = ""


class SymbolRestricted(Event, frozen=True, gc=False):
    symbol: str
    account: str
    restricted: bool


class FxRateSet(Event, frozen=True, gc=False):
    base: Currency
    quote: Currency
    rate: Decimal
    ts_ns: int = 0


class InstrumentHalted(Event, frozen=True, gc=False):
    symbol: str
    halted: bool
    reason: str


class VenueStatusSet(Event, frozen=True, gc=False):
    venue: str
    status: VenueStatus
    reason: str


class KillSwitchEngaged(Event, frozen=True, gc=False):
    scope: KillScope
    value: str
    reason: str


class KillSwitchReleased(Event, frozen=True, gc=False):
    scope: KillScope
    value: str
    reason: str


class DayClosed(Event, frozen=True, gc=False):
    trade_date: str
    venue: str


class DayOpened(Event, frozen=True, gc=False):
    """A new trading date: day quantities start again, done-for-day orders work again."""

    trade_date: str


class CommandRefused(Event, frozen=True, gc=False):
    """A command that concerns no order we could name was refused; nothing changed."""

    account: str
    cl_ord_id: str
    code: str
    field: str
    limit: str
    observed: str
    text: str


class Unfrozen(Event, frozen=True, gc=False):
    """A person has looked at what a fault had frozen; it may work again."""

    subject: str
    reason: str


class CommandQuarantined(Event, frozen=True, gc=False):
    """Our own code failed on this command. What it concerns is frozen until a person has looked.

    `venue` and `seq` advance the inbound sequence when the command was a venue's report.
    """

    stage: str
    error: str
    order_id: str
    account: str
    venue: str = ""
    seq: int = 0


class BreakRaised(Event, frozen=True, gc=False):
    """Our record and somebody else's disagree, or something happened that should not; a person decides."""

    kind: str
    order_id: str
    subject: str
    text: str


# --- a client order --------------------------------------------------------------------------------------


class OrderAccepted(Event, Terms, frozen=True, tag="OrderAccepted@2", gc=False):
    """Rules and risk passed; the order exists, with the terms of its command, which are not said twice.

    Attributes:
        command: what was asked. A `min_qty` of None is 0, here and wherever orders have one.
        special, algo: as they count from now on.
        reference: the price that the controls measured it against, and the value of an order without a limit.
    """

    order_id: str
    command: SubmitOrder
    ts_ns: int
    special: SpecialTerms | None = None
    reference: Decimal | None = None
    algo: AlgoTerms | None = None


class OrderRejected(Event, frozen=True, gc=False):
    """A new order was refused by a rule or by risk: it exists as REJECTED and keeps its client id."""

    order_id: str
    account: str
    cl_ord_id: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal | None
    capacity: Capacity
    trader: str
    origin: Origin
    ts_ns: int
    code: str
    field: str
    limit: str
    observed: str
    text: str
    fix_reason: int
    special: SpecialTerms | None = None
    algo: AlgoTerms | None = None


class DuplicateRefused(Event, frozen=True, gc=False):
    """A client id came again with other content; the first order is untouched."""

    account: str
    cl_ord_id: str
    order_id: str
    text: str


class OrderRouted(Event, frozen=True, tag="OrderRouted@2", gc=False):
    """Children to send. `touch` is the best bid and offer that the router went by; None: those of the book
    that the record has of the symbol, if it has one.
    """

    order_id: str
    children: tuple[Leg, ...]
    reason: str
    ts_ns: int
    touch: tuple[Decimal | None, Decimal | None] | None = None


class CancelLeg(msgspec.Struct, frozen=True, array_like=True, gc=False):
    child_id: str
    cl_ord_id: str


class CancelRequested(Event, frozen=True, gc=False):
    """A cancel was taken and goes to every venue that still holds a part."""

    order_id: str
    cl_ord_id: str
    orig_cl_ord_id: str
    origin: Origin
    legs: tuple[CancelLeg, ...]
    reason: str
    ts_ns: int


class ReplaceLeg(msgspec.Struct, frozen=True, array_like=True, gc=False):
    child_id: str
    cl_ord_id: str
    qty: Decimal
    price: Decimal | None


class ReplaceRequested(Event, frozen=True, gc=False):
    order_id: str
    cl_ord_id: str
    orig_cl_ord_id: str
    origin: Origin
    qty: Decimal
    price: Decimal | None
    legs: tuple[ReplaceLeg, ...]
    ts_ns: int


class ReplaceQueued(Event, frozen=True, gc=False):
    """Taken, to be worked after the replace in flight."""

    order_id: str
    cl_ord_id: str
    orig_cl_ord_id: str
    origin: Origin
    qty: Decimal
    price: Decimal | None
    ts_ns: int


class ReplaceUnqueued(Event, frozen=True, gc=False):
    """The queued replace leaves the queue; what follows in the same record says what became of it."""

    order_id: str
    cl_ord_id: str


class AmendRefused(Event, frozen=True, gc=False):
    """A cancel (`response_to` 1) or replace (2) was refused, by us or by the venue.

    The order id is "NONE" when there is no such order. `clears`: the pending request of that kind is over.
    """

    order_id: str
    account: str
    cl_ord_id: str
    orig_cl_ord_id: str
    response_to: int
    reason: int
    code: str
    field: str
    limit: str
    observed: str
    text: str
    clears: bool
    ts_ns: int
    qty: Decimal | None = None
    price: Decimal | None = None


class OrderReplaced(Event, frozen=True, gc=False):
    """The new terms count. `qty` is what was asked, or what had traded if that was more."""

    order_id: str
    cl_ord_id: str
    orig_cl_ord_id: str
    qty: Decimal
    price: Decimal | None
    ts_ns: int


class OrderCancelled(Event, frozen=True, gc=False):
    """Over, with what had traded. `cl_ord_id` is the cancel's, empty when nobody asked."""

    order_id: str
    cl_ord_id: str
    reason: str
    ts_ns: int


class OrderRefusedByVenues(Event, frozen=True, gc=False):
    """Every venue that could take it refused, and nothing traded."""

    order_id: str
    reason: str
    ts_ns: int


class OrderSuspended(Event, frozen=True, gc=False):
    order_id: str
    reason: str
    ts_ns: int


class OrderReinstated(Event, frozen=True, gc=False):
    order_id: str
    reason: str
    ts_ns: int


# --- a child at its venue; `venue` and `seq` advance the inbound sequence of that venue ------------------


class VenueEvent(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of events that a venue's message caused: `seq` is its inbound sequence, 0 when it had none."""

    venue: str
    seq: int


class VenueSessionStarted(VenueEvent, frozen=True, gc=False):
    """The venue began a new session: its report numbers start again from 1."""

    session: str


class ReportIgnored(VenueEvent, frozen=True, gc=False):
    """A report that changes nothing: a repetition, or news we had already."""

    cl_ord_id: str
    reason: str


class ChildAcked(Event, Reported, frozen=True, tag="ChildAcked@2", gc=False):
    """The venue has the child, by its report. `first`: of its order, no other acknowledgement came before."""

    report: VenueReport
    child_id: str
    order_id: str
    first: bool
    ts_ns: int


class ChildRejected(VenueEvent, frozen=True, gc=False):
    child_id: str
    order_id: str
    reason: str
    ts_ns: int


class OrderFilled(Event, Reported, frozen=True, tag="OrderFilled@2", gc=False):
    """One execution, booked: what the venue reported of it, which is not said twice, and what is ours.

    Attributes:
        key: what makes it unique; `engine.decide.venue.execution_key`.
        trade_date: the report's, or the day's where it says none.
        fee, commission: the venue's and ours, in the instrument's currency; a commission of None is 0.
        late: order or child had ended.
    """

    report: VenueReport
    child_id: str
    order_id: str
    key: str
    trade_date: str
    fee: Decimal
    late: bool
    ts_ns: int
    commission: Decimal | None = None


class ExecutionBusted(VenueEvent, frozen=True, gc=False):
    order_id: str
    key: str
    ts_ns: int


class ExecutionCorrected(VenueEvent, frozen=True, gc=False):
    order_id: str
    key: str
    qty: Decimal
    px: Decimal
    ts_ns: int
    fee: Decimal | None = None  # the venue's, for the new quantity; None: the old one


class ChildEnded(VenueEvent, frozen=True, gc=False):
    """The venue no longer works the child; `status` says how (CANCELLED, EXPIRED, NOT_RECEIVED)."""

    child_id: str
    order_id: str
    status: str
    reason: str
    ts_ns: int


class ChildReplaced(VenueEvent, frozen=True, gc=False):
    child_id: str
    order_id: str
    cl_ord_id: str
    qty: Decimal
    price: Decimal | None
    ts_ns: int


class ChildAmendRejected(VenueEvent, frozen=True, gc=False):
    """The venue refused the cancel or replace that it knew as `cl_ord_id`."""

    child_id: str
    order_id: str
    cl_ord_id: str
    reason: int
    ts_ns: int


class ChildUnknown(VenueEvent, frozen=True, gc=False):
    """Sent, outcome in doubt: counted as exposure, resolved by asking, never sent again."""

    child_id: str
    order_id: str
    reason: str
    ts_ns: int


class ChildConfirmed(VenueEvent, frozen=True, gc=False):
    """A child in doubt is live at the venue after all."""

    child_id: str
    order_id: str
    ts_ns: int


class OrderStopped(VenueEvent, frozen=True, gc=False):
    """The venue guarantees a price for a quantity; nothing has traded yet."""

    order_id: str
    qty: Decimal
    px: Decimal | None
    ts_ns: int


class OrderExpired(VenueEvent, frozen=True, gc=False):
    order_id: str
    reason: str
    ts_ns: int


class OrderDoneForDay(VenueEvent, frozen=True, gc=False):
    """No more today. `closes`: a DAY order ends with it, a GTC order goes on tomorrow."""

    order_id: str
    closes: bool
    ts_ns: int


class OrderRestated(VenueEvent, frozen=True, gc=False):
    """New terms nobody requested by message.

    `ratio_num`/`ratio_den` scale executed quantity (and prices inversely): 2/1 for a two-for-one split. The
    quantities of children follow: `child_id`, when given, names the one that changed with the order.
    """

    order_id: str
    qty: Decimal
    price: Decimal | None
    ratio_num: Decimal
    ratio_den: Decimal
    child_id: str
    reason: str
    ts_ns: int


# --- risk controls ---------------------------------------------------------------------------------------


class RiskPolicySet(Event, frozen=True, gc=False):
    policy: RiskPolicy
    author: str
    reason: str


class PartyApproved(Event, frozen=True, gc=False):
    kind: PartyKind
    party: str
    approved: bool
    author: str


class LocateGranted(Event, frozen=True, gc=False):
    locate: Locate


class PriceTestSet(Event, frozen=True, gc=False):
    symbol: str
    active: bool
    reason: str


class AlgoDisabled(Event, frozen=True, gc=False):
    """The execution throttle has stopped the algo (RTS 6 Art. 15(3)); only staff let it go on."""

    algo: str
    reason: str
    ts_ns: int


class AlgoEnabled(Event, frozen=True, gc=False):
    algo: str
    staff: str
    reason: str


class OverrideRequested(Event, frozen=True, gc=False):
    override_id: str
    rule: LimitRule
    account: str
    symbol: str
    value: Decimal
    expires_ns: int
    staff: str
    reason: str


class OverrideApproved(Event, frozen=True, gc=False):
    override_id: str
    staff: str


class OverrideUsed(Event, frozen=True, gc=False):
    """The order of this client id passed a soft limit by the override, which is now used up."""

    override_id: str
    account: str
    cl_ord_id: str


# --- answers: they go out when what they rest on is durable, and are never journaled ----------------------


class StatusAnswered(msgspec.Struct, frozen=True, gc=False):
    """The order as it stands; `order_id` "NONE" when no such order exists."""

    account: str
    cl_ord_id: str
    order_id: str


class DuplicateAnswered(msgspec.Struct, frozen=True, gc=False):
    """The same request again: the first answer, nothing created."""

    account: str
    cl_ord_id: str
    order_id: str


Answer = StatusAnswered | DuplicateAnswered

AnyEvent = (
    EpochStarted
    | ReferenceSet
    | LimitSet
    | SymbolRestricted
    | FxRateSet
    | InstrumentHalted
    | VenueStatusSet
    | KillSwitchEngaged
    | KillSwitchReleased
    | DayClosed
    | DayOpened
    | CommandRefused
    | CommandQuarantined
    | Unfrozen
    | BreakRaised
    | OrderAccepted
    | OrderRejected
    | DuplicateRefused
    | OrderRouted
    | CancelRequested
    | ReplaceRequested
    | ReplaceQueued
    | ReplaceUnqueued
    | AmendRefused
    | OrderReplaced
    | OrderCancelled
    | OrderRefusedByVenues
    | OrderExpired
    | OrderDoneForDay
    | OrderRestated
    | OrderSuspended
    | OrderReinstated
    | VenueSessionStarted
    | ReportIgnored
    | ChildAcked
    | ChildRejected
    | OrderFilled
    | ExecutionBusted
    | ExecutionCorrected
    | ChildEnded
    | ChildReplaced
    | ChildAmendRejected
    | ChildUnknown
    | ChildConfirmed
    | OrderStopped
    | AnySpecialEvent
    | RiskPolicySet
    | PartyApproved
    | LocateGranted
    | PriceTestSet
    | AlgoDisabled
    | AlgoEnabled
    | OverrideRequested
    | OverrideApproved
    | OverrideUsed
    | AnyFurtherEvent
)


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record of the journal: a command, what it saw, and everything it caused, in one piece.

    Sequence numbers count events, without gaps: the record holds `seq` to `last_seq`.

    Attributes:
        seq: sequence number of the first event.
        ts_ns: when it was decided, UTC nanoseconds: the `now` of the decision.
        market: the books that the decision read.
    """

    shard: int
    epoch: int
    seq: int
    ts_ns: int
    received_ns: int
    actor: str
    correlation_id: str
    command: AnyCommand
    market: tuple[ConsolidatedBook, ...]
    events: tuple[AnyEvent, ...]

    @property
    def last_seq(self) -> int:
        return self.seq + len(self.events) - 1


def touch_of(routed: OrderRouted, entry: Entry, symbol: str) -> tuple[Decimal | None, Decimal | None]:
    """The best bid and offer that the router went by; None for a side that nobody displayed."""
    if routed.touch is not None:
        return routed.touch
    book = next((seen for seen in entry.market if seen.symbol == symbol), None)
    return book.touch() if book is not None else (None, None)
