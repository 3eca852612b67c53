"""What a shard remembers of its venues for routing: statistics, costs, what stands there, breakers."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import TimeInForce
from qtinfra.core.routing import (
    Activity,
    OrderProtection,
    RouteStyle,
    RoutingPolicy,
    VenueLimit,
    VenueScore,
)
from qtinfra.core.writes import quick_writes
from qtinfra.router.breaker import Breaker
from qtinfra.router.scoring import Candidate, Field, Sight
from qtinfra.router.sor import Offer
from qtinfra.router.stats import Chance, Tally, chance, percentile_ns

# Members by name: looking them up in their class costs more than comparing them.
_TAKE, _POST = Activity.TAKE, Activity.POST
_BEHIND, _DARK = Activity.BEHIND, Activity.DARK


@quick_writes
class Sent(msgspec.Struct, gc=False):
    """A venue order that has not ended.

    Attributes:
        sent_ns: when it was routed.
        full_ppm: probability that it executes in full, as it was reckoned then.
        px: what a unit of it counts in the venue's open notional.
        touch: best opposite price when it was routed; None when there was none.
        held: its part of the venue's open notional.
        answered: the venue has answered it.
    """

    venue: str
    activity: Activity
    sent_ns: int
    full_ppm: int
    px: Decimal
    touch: Decimal | None
    held: Decimal = ZERO
    answered: bool = False


@quick_writes
class VenueRecord(msgspec.Struct):
    """What routing knows of one venue. Amounts are in the currency of what trades there.

    Attributes:
        tallies: how orders ended, by activity.
        delays: first answers by bucket of their delay (`router.stats.bucket_of`).
        open_notional: of orders there that are not executed; `traded` of today's executions.
        executed: notional of all executions; `qty` their units.
        fees, rebates: what the venue charged and paid.
        slippage: what executions cost against the best opposite price seen at routing; negative when
            they were better.
        probes: orders that tried it after a failure; `openings` of its breaker.
    """

    tallies: dict[Activity, Tally] = {}
    delays: dict[int, int] = {}
    open_notional: Decimal = ZERO
    traded: Decimal = ZERO
    executed: Decimal = ZERO
    qty: Decimal = ZERO
    fees: Decimal = ZERO
    rebates: Decimal = ZERO
    slippage: Decimal = ZERO
    openings: int = 0
    probes: int = 0


class Prospect(msgspec.Struct, frozen=True, gc=False):
    """What a venue's statistics say of the next order there.

    Attributes:
        take, post, behind, dark: what to expect of each activity.
        latency_us: median delay of its answers in microseconds, 0 when unknown.
    """

    take: Chance
    post: Chance
    behind: Chance
    dark: Chance
    latency_us: int


def prospect_of(record: VenueRecord | None) -> Prospect:
    """What a record says; with none the priors alone."""
    tallies = record.tallies if record is not None else {}
    delay_ns = percentile_ns(record.delays, 50) if record is not None else None
    return Prospect(
        chance(tallies.get(_TAKE), _TAKE),
        chance(tallies.get(_POST), _POST),
        chance(tallies.get(_BEHIND), _BEHIND),
        chance(tallies.get(_DARK), _DARK),
        (delay_ns or 0) // 1_000,
    )


@quick_writes
class Bin(msgspec.Struct, gc=False):
    """Ended orders whose probability fell in one tenth: how many, the sum of the probabilities in parts of a
    million, and how many executed in full.
    """

    trials: int = 0
    predicted_ppm: int = 0
    filled: int = 0


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """What is left of a symbol's quotes without the old ones, and its touch.

    Attributes:
        source: all of the quotes; `quotes` is the same object while none is old.
        dropped_ns: the youngest of the old ones, -1 when there is none.
        kept_ns: the oldest of the others, None when there is none.
    """

    source: dict[str, VenueQuote]
    quotes: dict[str, VenueQuote]
    bid: Decimal | None
    ask: Decimal | None
    dropped_ns: int
    kept_ns: int | None

    def holds(self, source: dict[str, VenueQuote], since_ns: int) -> bool:
        """Whether these are the quotes of the source that are not older than `since_ns`."""
        if self.source is not source or self.dropped_ns >= since_ns:
            return False
        return self.kept_ns is None or self.kept_ns >= since_ns


#: The venues that list a symbol, time in force and tick.
FieldKey = tuple[tuple[str, ...], TimeInForce, Decimal]


@quick_writes
class Outlook(msgspec.Struct, gc=False):
    """What orders of one side in a symbol meet while nothing of it changes.

    Attributes:
        fields: the memo's fields that `field` is one of; other ones when a prospect has changed since.
        low, high: `tick` applies from the one on and below the other.
        quotes: those that `sight` is over; `touch` is their best bid and offer.
        collar: price units that a market order may go beyond the touch.
        best: the offer that a sweep takes first; None where each plan has to look for itself: when not every
            venue takes everything, there is one only, or nothing whole is displayed.
        expected: what to expect of taking it.
        post: the venue where it is cheapest to rest; None when not every venue takes everything, or there is
            one only.
        book: the one that has the quotes; None where old ones of it are left out.
        limit: the last that `holds_at` held at; `taken` says whether it reaches `best`, `rests` whether
            nothing displayed is within it, and `scores` are those of orders that have it.
    """

    fields: dict[FieldKey, Field]
    tif: TimeInForce
    tick: Decimal
    low: Decimal
    high: Decimal
    quotes: dict[str, VenueQuote]
    field: Field
    sight: Sight
    collar: Decimal
    touch: tuple[Decimal | None, Decimal | None]
    best: Offer | None
    expected: Chance
    post: Candidate | None
    book: ConsolidatedBook | None
    buying: bool
    limit: Decimal | None = None
    taken: bool = False
    rests: bool = False
    scores: tuple[VenueScore, ...] = ()

    def holds_at(self, limit: Decimal) -> bool:
        """Whether the tick applies at a limit; then what an order with it meets is remembered."""
        if not self.low <= limit < self.high:
            return False
        best, (bid, ask) = self.best, self.touch
        if self.buying:
            self.taken = best is not None and best[2] <= limit
            self.rests = ask is not None and limit < ask
        else:
            self.taken = best is not None and best[2] >= limit
            self.rests = bid is not None and limit > bid
        self.limit, self.scores = limit, self.sight.scores_at(limit)
        return True


class RoutingMemo:
    """Derived from the state, dropped when it changes.

    What follows from a venue's statistics goes in steps, so that nothing is made again from what has not
    changed: its record; its prospect, looked at again in the first decision after `forget`; its candidates,
    dropped when the prospect is another one; the fields that candidates are in, all dropped with any of
    them; and the outlooks, which hold as long as their field and their quotes do. Everything but the record
    also follows from policy and reference data, and is dropped by `clear`.

    Attributes:
        stale: venues whose record has changed since their prospect was looked at; the values say nothing.
        prospects: by venue.
        candidates: by time in force and tick, then venue.
        fields: by listings, time in force and tick; another dictionary after each change of a prospect.
        buys, sells: the last outlook by symbol.
        fresh: the quotes that were not too old when a symbol was routed last.
        swept: the orders of all accounts that ask for nothing else are planned by the built-in sweep; None
            until that was asked.
    """

    __slots__ = (
        "buys",
        "candidates",
        "fields",
        "fresh",
        "prospects",
        "protected",
        "sells",
        "stale",
        "styles",
        "swept",
    )

    def __init__(self) -> None:
        self.stale: dict[str, None] = {}
        self.prospects: dict[str, Prospect] = {}
        self.candidates: dict[tuple[TimeInForce, Decimal], dict[str, Candidate]] = {}
        self.fields: dict[FieldKey, Field] = {}
        self.buys: dict[str, Outlook] = {}
        self.sells: dict[str, Outlook] = {}
        self.fresh: dict[str, Fresh] = {}
        self.protected: dict[str, tuple[str, ...]] = {}
        self.styles: dict[str, RouteStyle] | None = None
        self.swept: bool | None = None

    def forget(self, mic: str) -> None:
        """The statistics of a venue have changed."""
        self.stale[mic] = None

    def refresh(self, records: dict[str, VenueRecord]) -> None:
        """Look at the records that have changed; what is built on prospects that have not stays."""
        for mic in self.stale:
            found = prospect_of(records.get(mic))
            if self.prospects.get(mic) != found:
                self.prospects[mic] = found
                for alike in self.candidates.values():
                    alike.pop(mic, None)
                self.fields = {}
        self.stale.clear()

    def clear(self) -> None:
        """Policy or reference data has changed."""
        self.stale.clear()
        self.prospects.clear()
        self.candidates.clear()
        self.fields = {}
        self.buys.clear()
        self.sells.clear()
        self.fresh.clear()
        self.protected.clear()
        self.styles = None
        self.swept = None


class RoutingState(msgspec.Struct, dict=True):
    """Everything about routing that decisions read.

    Attributes:
        rules: protection rules in force or to come.
        sent: venue orders that have not ended, by child id.
        breakers: of venues that have failed lately.
        reliability: by tenth of the predicted probability, 0 to 9.
    """

    policy: RoutingPolicy = RoutingPolicy()
    limits: dict[str, VenueLimit] = {}
    rules: list[OrderProtection] = []
    venues: dict[str, VenueRecord] = {}
    sent: dict[str, Sent] = {}
    breakers: dict[str, Breaker] = {}
    reliability: dict[int, Bin] = {}

    @cached_property
    def memo(self) -> RoutingMemo:
        """Not encoded, not hashed."""
        return RoutingMemo()

    def record(self, mic: str) -> VenueRecord:
        """The venue's record, made when it has none."""
        found = self.venues.get(mic)
        if found is None:
            found = self.venues[mic] = VenueRecord()
        return found
