"""What a routing strategy sees of an order and its venues, and how a plan is scored."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, quotient
from qtinfra.core.decisions import RiskApproved, RouteLeg, RoutePlan
from qtinfra.core.market import VenueQuote
from qtinfra.core.models import OrderSide, TimeInForce
from qtinfra.core.routing import PPM, Activity, RouteStyle, VenueScore
from qtinfra.router.sor import Offers, VenueTerms, cheapest_to_post
from qtinfra.router.stats import Chance

_BUY = OrderSide.BUY
_IOC = TimeInForce.IOC
_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A venue that may take the order now.

    Attributes:
        fees: per unit, all in: with the penalties of failing and waiting there.
        charged: per unit, as the venue charges them.
        take, post, behind, dark: what to expect of each activity.
        latency_us: median delay of its answers in microseconds, 0 when unknown.
        hidden: it executes without displaying.
        takes, posts, markets: whether it accepts immediate-or-cancel limit orders, the order's own time in
            force, market orders.
        room: units that may be sent there under its limits; None for no limit.
        probe: it has failed, and this would be the one order that tries it again.
    """

    fees: VenueTerms
    charged: VenueTerms
    take: Chance
    post: Chance
    behind: Chance
    dark: Chance
    latency_us: int = 0
    hidden: bool = False
    takes: bool = True
    posts: bool = True
    markets: bool = True
    room: Decimal | None = None
    probe: bool = False

    @property
    def mic(self) -> str:
        return self.fees.mic

    @property
    def plain(self) -> bool:
        """Whether it takes everything in any quantity."""
        return self.takes and self.posts and self.markets and self.room is None


class Field(msgspec.Struct, frozen=True, gc=False):
    """The venues to choose from, the primary listing first.

    Attributes:
        lit: all-in fees of those that display.
        showing: the same, or of all when none displays.
        plain: whether all of them take everything in any quantity.
        rows: MIC, all-in fee of taking, chance to execute in full and delay: what a score is made of.
        cheapest: the MIC of those showing where it is cheapest to post; empty without venues.
    """

    venues: tuple[Candidate, ...]
    lit: tuple[VenueTerms, ...]
    showing: tuple[VenueTerms, ...]
    plain: bool
    by_mic: dict[str, Candidate]
    rows: tuple[tuple[str, Decimal, int, int], ...]
    cheapest: str


def field_of(venues: tuple[Candidate, ...]) -> Field:
    """The venues with what strategies look up in them."""
    lit, rows, plain = [], [], True
    by_mic: dict[str, Candidate] = {}
    for venue in venues:
        fees = venue.fees
        mic = fees.mic
        by_mic[mic] = venue
        if not venue.hidden:
            lit.append(fees)
        rows.append((mic, fees.take_fee, taking_chance(venue).full_ppm, venue.latency_us))
        plain = plain and venue.plain
    showing = lit or [venue.fees for venue in venues]
    cheapest = cheapest_to_post(tuple(showing)).mic if showing else ""
    return Field(venues, tuple(lit), tuple(showing), plain, by_mic, tuple(rows), cheapest)


class Sight:
    """What orders of one side meet in one book at the venues of a field, found once for all of them.

    Attributes:
        offers: what they take from.
        reach: each venue's best displayed price, None without one, and its score for an order up to there.
        scores: of the orders that reach all of these prices.
    """

    __slots__ = ("_buying", "_prices", "_within", "offers", "reach", "scores")

    def __init__(
        self, field: Field, quotes: dict[str, VenueQuote], buying: bool, lot: Decimal, by_price: bool
    ) -> None:
        self._buying = buying
        self.offers = Offers(buying, quotes, field.showing, lot, by_price)
        self.reach: list[tuple[Decimal | None, VenueScore]] = []
        prices: list[Decimal] = []
        for mic, fee, full_ppm, latency_us in field.rows:
            quote = quotes.get(mic)
            levels = () if quote is None else quote.asks if buying else quote.bids
            if levels:
                price = levels[0][0]
                prices.append(price)
                cost = price + fee if buying else price - fee
                self.reach.append((price, VenueScore(mic, cost, full_ppm, latency_us)))
            else:
                self.reach.append((None, VenueScore(mic, None, full_ppm, latency_us)))
        prices.sort()
        self._prices = prices
        self._within: dict[int, tuple[VenueScore, ...]] = {}
        self.scores = tuple([score for _, score in self.reach])

    def scores_at(self, limit: Decimal | None) -> tuple[VenueScore, ...]:
        """Every candidate's score for an order with this limit, in their order."""
        prices, buying = self._prices, self._buying
        if limit is None or not prices or (prices[-1] <= limit if buying else prices[0] >= limit):
            return self.scores
        # Limits between the same two prices reach the same venues.
        place = bisect_right(prices, limit) if buying else bisect_left(prices, limit)
        known = self._within.get(place)
        if known is None:
            known = self._within[place] = self._scores_within(limit)
        return known

    def _scores_within(self, limit: Decimal) -> tuple[VenueScore, ...]:
        found, buying = [], self._buying
        for price, score in self.reach:
            if price is not None and (price > limit if buying else price < limit):
                found.append(VenueScore(score.venue, None, score.fill_ppm, score.latency_us))
            else:
                found.append(score)
        return tuple(found)


class RouteRequest(msgspec.Struct, frozen=True, gc=False):
    """One approved quantity to be routed.

    Attributes:
        quotes: live and fresh, by venue; None when there is no book.
        bid, ask: the touch.
        protected: MICs whose best displayed quotes may not be traded through; none means no such rule.
        asked: venues without display that this order has asked before.
        lot, tick: units, price units. `collar`: price units that a market order may go beyond the touch.
        dark_min_qty: smallest execution accepted in the dark, units.
        sight: what the order meets, where it is at hand already; it follows from the rest.
    """

    order: RiskApproved
    field: Field
    style: RouteStyle
    quotes: dict[str, VenueQuote] | None
    bid: Decimal | None
    ask: Decimal | None
    lot: Decimal
    tick: Decimal
    collar: Decimal
    protected: Collection[str] = ()
    asked: tuple[str, ...] = ()
    dark_min_qty: Decimal = ZERO
    sight: Sight | None = None


def best_opposite(quote: VenueQuote | None, buying: bool) -> tuple[Decimal, Decimal] | None:
    """Price and size of the best quote that an order on this side takes from."""
    if quote is None:
        return None
    levels = quote.asks if buying else quote.bids
    return levels[0] if levels else None


def activity_of(leg: RouteLeg, buying: bool, bid: Decimal | None, ask: Decimal | None) -> Activity:
    """What a venue order without immediate execution elsewhere tries, by its price against the touch."""
    if leg.price is None or leg.tif in _IMMEDIATE:
        return Activity.TAKE
    own, other = (bid, ask) if buying else (ask, bid)
    if other is not None and (leg.price >= other if buying else leg.price <= other):
        return Activity.TAKE
    behind = own is not None and (leg.price < own if buying else leg.price > own)
    return Activity.BEHIND if behind else Activity.POST


def taking_chance(venue: Candidate) -> Chance:
    """What to expect of an order there that is immediate or cancel."""
    return venue.dark if venue.hidden else venue.take


def posting_chance(venue: Candidate, price: Decimal, buying: bool, own: Decimal | None) -> Chance:
    """What to expect of an order that rests there; `own` is the best price displayed on its side."""
    if venue.hidden:
        return venue.dark
    behind = own is not None and (price < own if buying else price > own)
    return venue.behind if behind else venue.post


def chance_of(venue: Candidate, leg: RouteLeg, ask: RouteRequest) -> Chance:
    """What to expect of a leg."""
    if venue.hidden or leg.tif is _IOC:
        return taking_chance(venue)
    tries = activity_of(leg, ask.order.side is _BUY, ask.bid, ask.ask)
    if tries is Activity.TAKE:
        return venue.take
    return venue.post if tries is Activity.POST else venue.behind


def expectation(ask: RouteRequest, plan: RoutePlan) -> tuple[int, int]:
    """Probability that every leg executes in full, and the expected part of the quantity that executes, in
    parts of a million. Legs are taken as independent.
    """
    found = ask.field.by_mic
    return together([(chance_of(found[leg.venue], leg, ask), leg.qty) for leg in plan.legs])


def together(legs: Sequence[tuple[Chance, Decimal]]) -> tuple[int, int]:
    """`expectation` of what is to be expected of each leg, and its quantity."""
    if len(legs) == 1:
        only = legs[0][0]
        return only.full_ppm, only.share_ppm
    confidence, filled, total = PPM, ZERO, ZERO
    for chance, qty in legs:
        confidence = confidence * chance.full_ppm // PPM
        filled += qty * chance.share_ppm
        total += qty
    return confidence, int(quotient(filled, total))


def scores(ask: RouteRequest) -> tuple[VenueScore, ...]:
    """Every candidate's score, in their order."""
    sight = ask.sight
    if sight is None:
        buying, by_price = ask.order.side is _BUY, bool(ask.protected)
        sight = Sight(ask.field, ask.quotes or {}, buying, ask.lot, by_price)
    return sight.scores_at(ask.order.price)


def traded_through(ask: RouteRequest, legs: tuple[RouteLeg, ...]) -> str:
    """The protected venue whose best quote the legs would trade through; empty for none.

    A leg whose limit is worse than a protected quote is allowed if legs to that venue take all of it (as
    intermarket sweep orders). Source: 17 CFR 242.611(a)(1), (b)(5), (b)(6).
    """
    buying = ask.order.side is _BUY
    for mic in ask.protected:
        best = best_opposite(ask.quotes.get(mic) if ask.quotes is not None else None, buying)
        if best is None or mic not in ask.field.by_mic:
            continue
        price, size = best
        size -= size % ask.lot
        there = sum((leg.qty for leg in legs if leg.venue == mic and _reaches(leg, price, buying)), ZERO)
        beyond = (leg for leg in legs if leg.venue != mic and _worse(leg.price, price, buying))
        if there < size and next(beyond, None) is not None:
            return mic
    return ""


def _worse(limit: Decimal | None, price: Decimal, buying: bool) -> bool:
    return limit is None or (limit > price if buying else limit < price)


def _reaches(leg: RouteLeg, price: Decimal, buying: bool) -> bool:
    return leg.price is None or (leg.price >= price if buying else leg.price <= price)


def wrong_plan(ask: RouteRequest, plan: RoutePlan) -> str:
    """Why a plan may not be sent; empty when it may. A plan without legs says that it cannot be placed."""
    order, buying = ask.order, ask.order.side is _BUY
    if not plan.legs:
        return ""
    if sum((leg.qty for leg in plan.legs), ZERO) != order.qty or any(leg.qty <= ZERO for leg in plan.legs):
        return "its legs do not sum to the quantity"
    held: dict[str, Decimal] = {}
    for leg in plan.legs:
        venue = ask.field.by_mic.get(leg.venue)
        if venue is None:
            return f"{leg.venue} is not eligible"
        if order.price is not None and _worse(leg.price, order.price, buying):
            return f"a leg to {leg.venue} is beyond the limit"
        held[leg.venue] = held.get(leg.venue, ZERO) + leg.qty
        if venue.room is not None and held[leg.venue] > venue.room:
            return f"the limit of {leg.venue}"
    through = traded_through(ask, plan.legs) if ask.protected else ""
    return f"it trades through {through}" if through else ""
