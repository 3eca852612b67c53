"""Routing strategies behind one protocol, and their registry.

A strategy turns one approved quantity into legs. It is a pure function: what it knows stands in the request.
Users' own come by the entry point group "qtinfra.routing"; the engine checks every plan before it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from math import fsum, log
from types import MappingProxyType
from typing import Protocol

import msgspec

from qtinfra.core.decimals import EXACT, ONE, ZERO, canonical
from qtinfra.core.decisions import RouteLeg, RoutePlan
from qtinfra.core.impact.outflow import Exponential
from qtinfra.core.impact.queues import MAX_VENUES, PlacementTerms, Queue
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import PPM, SWEEP
from qtinfra.router.placement import VenueQueue, plan_placement
from qtinfra.router.scoring import Candidate, RouteRequest, best_opposite, wrong_plan
from qtinfra.router.sor import RESTING, Offer, plan_over, ranked, within

#: Where a package announces its own strategies: each entry is a class without arguments or an instance.
ENTRY_POINT_GROUP = "qtinfra.routing"

PLACEMENT = "PLACEMENT"
DARK_FIRST = "DARK_FIRST"
POST = "POST"

_BUY = OrderSide.BUY
_LIMIT = OrderType.LIMIT
_MARKET = OrderType.MARKET
_IOC = TimeInForce.IOC
_FOK = TimeInForce.FOK
#: How much dearer falling short is at urgency 1 than at urgency 0, in half spreads with the fee.
_URGENCY_WEIGHT = 8


class RoutingStrategy(Protocol):
    """Plans where an approved quantity goes."""

    @property
    def name(self) -> str:
        """1 to 32 printable ASCII characters, unique in a registry."""
        ...

    def plan(self, ask: RouteRequest) -> RoutePlan:
        """Legs that sum to the quantity, none beyond the limit, on the request's venues only; no legs when it
        cannot be placed. Equal requests give equal plans.
        """
        ...


RoutingRegistry = Mapping[str, RoutingStrategy]


class Sweep:
    """Take what is displayed within the limit at the best all-in price, post the rest where that is cheapest.

    Under a protection rule better displayed prices come first. What limits of venues do not let through goes
    to the next best; what then cannot be placed at all is not routed.
    """

    name = SWEEP

    def plan(self, ask: RouteRequest) -> RoutePlan:
        """See `RoutingStrategy.plan`."""
        sight = ask.sight
        plan = plan_over(
            ask.order,
            ask.quotes,
            ask.bid,
            ask.ask,
            ask.field.showing,
            ask.lot,
            bool(ask.protected),
            sight.offers if sight is not None else None,
        )
        if ask.field.plain and not (ask.protected and (ask.order.tif is _FOK or ask.order.min_qty)):
            return plan
        fitted = RoutePlan(tuple(_mapped(ask, leg) for leg in plan.legs), plan.reason, ask.bid, ask.ask)
        if plan.legs and _accepted(ask, fitted.legs) and not wrong_plan(ask, fitted):
            return fitted
        if ask.order.tif is _FOK or ask.order.min_qty:
            return _in_one_piece(ask)
        limited = _limited_sweep(ask)
        wrong = wrong_plan(ask, limited)
        return limited if not wrong else RoutePlan((), wrong, ask.bid, ask.ask)


class DarkFirst:
    """Ask the venues without display at the midpoint, one after the other, then sweep.

    Each gets the whole quantity as an immediate-or-cancel order that accepts no less than the least execution
    of the policy; what comes back is routed again and goes to the next one. An order that may not rest is
    swept at once, since it has no second round.
    """

    name = DARK_FIRST

    def plan(self, ask: RouteRequest) -> RoutePlan:
        """See `RoutingStrategy.plan`."""
        order = ask.order
        if order.tif not in RESTING or order.min_qty or ask.bid is None or ask.ask is None:
            return _SWEEP.plan(ask)
        price = _midpoint(ask)
        least = min(ask.dark_min_qty, order.qty)
        best: Candidate | None = None
        for venue in ask.field.venues:
            fits = venue.takes and (venue.room is None or venue.room >= order.qty)
            if not venue.hidden or venue.mic in ask.asked or not fits:
                continue
            if best is None or venue.dark.share_ppm > best.dark.share_ppm:
                best = venue
        if best is None or price is None:
            return _SWEEP.plan(ask)
        leg = RouteLeg(best.mic, _LIMIT, _IOC, order.qty, price, least)
        return RoutePlan((leg,), f"midpoint at {best.mic}", ask.bid, ask.ask)


def _midpoint(ask: RouteRequest) -> Decimal | None:
    """The midpoint on the tick at or behind it, no worse than the limit; None in a crossed market."""
    bid, offer, buying = ask.bid, ask.ask, ask.order.side is _BUY
    if bid is None or offer is None or bid > offer:
        return None
    middle = (bid + offer) * Decimal("0.5")
    beyond = middle % ask.tick
    price = middle - beyond if buying or not beyond else middle - beyond + ask.tick
    limit = ask.order.price
    if limit is not None:
        price = min(price, limit) if buying else max(price, limit)
    return canonical(price)


class Post:
    """Rest at the own side's best price, or the limit when that is less; never take."""

    name = POST

    def plan(self, ask: RouteRequest) -> RoutePlan:
        """See `RoutingStrategy.plan`."""
        order, buying = ask.order, ask.order.side is _BUY
        touch = ask.bid if buying else ask.ask
        if order.tif not in RESTING or order.order_type is not _LIMIT or touch is None or order.price is None:
            return _SWEEP.plan(ask)
        price = min(order.price, touch) if buying else max(order.price, touch)
        best = _posting(ask, order.qty)
        if best is None:
            return _SWEEP.plan(ask)
        leg = RouteLeg(best.mic, _LIMIT, order.tif, order.qty, price, order.min_qty)
        return RoutePlan((leg,), f"post at {best.mic}", ask.bid, ask.ask)


class OptimalPlacement:
    """Split between taking and posting at least expected cost (Cont, Kukanov 2017: `core.impact.within`).

    It posts at its own side's best price, at no more than `MAX_VENUES` venues, the cheapest to post at. The
    queue there is what the venue displays at that price; its outflow is exponential, with the chance to clear
    that queue and one lot that the venue's statistics give an order at the touch. Falling short costs the
    half spread and the fee, and with urgency up to nine times that. No more than the quantity is ever sent.
    An order that may not rest, whose limit does not reach the other side, or whose quantity no binary
    fraction holds exactly, is swept.
    """

    name = PLACEMENT

    def plan(self, ask: RouteRequest) -> RoutePlan:
        """See `RoutingStrategy.plan`."""
        order, buying = ask.order, ask.order.side is _BUY
        own, other = (ask.bid, ask.ask) if buying else (ask.ask, ask.bid)
        if order.tif not in RESTING or order.order_type is not _LIMIT or order.min_qty or order.price is None:
            return _SWEEP.plan(ask)
        if own is None or other is None or (own >= other if buying else own <= other):
            return _SWEEP.plan(ask)
        if order.price < other if buying else order.price > other:
            return _SWEEP.plan(ask)
        split = self._split(ask, own, other)
        if split is None:
            return _SWEEP.plan(ask)
        take, posts = split
        legs = [RouteLeg(mic, _LIMIT, order.tif, qty, own, ZERO) for mic, qty in posts]
        taken: tuple[RouteLeg, ...] = ()
        if take:
            part = msgspec.structs.replace(order, qty=take)
            taken = _SWEEP.plan(msgspec.structs.replace(ask, order=part)).legs
            if not taken:
                return _SWEEP.plan(ask)
        plan = RoutePlan((*taken, *legs), f"take {take}, post {order.qty - take}", ask.bid, ask.ask)
        return plan if not wrong_plan(ask, plan) else _SWEEP.plan(ask)

    def _split(
        self, ask: RouteRequest, own: Decimal, other: Decimal
    ) -> tuple[Decimal, tuple[tuple[str, Decimal], ...]] | None:
        """Units to take and to post by venue; None when nothing may be posted."""
        order, buying = ask.order, ask.order.side is _BUY
        posting = [
            venue for venue in ask.field.venues if venue.posts and not venue.hidden and not venue.probe
        ]
        posting.sort(key=lambda venue: venue.fees.make_fee)
        chosen = posting[:MAX_VENUES]
        taking = min(
            (venue.charged.take_fee for venue in ask.field.venues if _shows(ask, venue, other)), default=None
        )
        wanted = fsum((order.qty,))
        if not chosen or taking is None or Fraction(wanted) != Fraction(order.qty):
            return None
        half = (other - own if buying else own - other) * Decimal("0.5")
        short = max(ZERO, half + taking) * (ONE + _URGENCY_WEIGHT * ask.style.urgency)
        terms = PlacementTerms(
            wanted, fsum((half,)), fsum((taking,)), fsum(()), fsum((short,)), fsum((short,))
        )
        queues = [VenueQueue(venue.mic, _queue(ask, venue, own)) for venue in chosen]
        plan = plan_placement(order.qty, ask.lot, terms, queues, oversend=False)
        return plan.take, plan.posts


def _shows(ask: RouteRequest, venue: Candidate, price: Decimal) -> bool:
    best = best_opposite(
        ask.quotes.get(venue.mic) if ask.quotes is not None else None, ask.order.side is _BUY
    )
    return best is not None and best[0] == price


def _queue(ask: RouteRequest, venue: Candidate, own: Decimal) -> Queue:
    """The queue at the touch: it clears with one lot more, `exp(-(ahead + lot) / mean)`, as often as orders
    posted there have executed.
    """
    best = best_opposite(
        ask.quotes.get(venue.mic) if ask.quotes is not None else None, ask.order.side is not _BUY
    )
    ahead = best[1] if best is not None and best[0] == own else ZERO
    clears = min(max(venue.post.share_ppm, 1), PPM - 1)
    mean = fsum((ahead + ask.lot,)) / -log(Fraction(clears, PPM))
    return Queue(fsum((ahead,)), fsum((-venue.charged.make_fee,)), Exponential(mean))


# --- within the limits of venues -------------------------------------------------------------------------


def _posting(ask: RouteRequest, qty: Decimal) -> Candidate | None:
    """The cheapest venue to post so much at."""
    best: Candidate | None = None
    for venue in ask.field.venues:
        fits = venue.posts and not venue.hidden and (venue.room is None or venue.room >= qty)
        if fits and (best is None or venue.fees.make_fee < best.fees.make_fee):
            best = venue
    return best


def _mapped(ask: RouteRequest, leg: RouteLeg) -> RouteLeg:
    """A market order as a limit order at the best opposite price and the collar, where a venue needs that."""
    venue = ask.field.by_mic[leg.venue]
    if leg.order_type is not _MARKET or venue.markets:
        return leg
    buying = ask.order.side is _BUY
    other = ask.ask if buying else ask.bid
    if other is None:
        return leg
    price = canonical(other + ask.collar if buying else max(ask.tick, other - ask.collar))
    tif = leg.tif if leg.tif is _FOK else _IOC
    return RouteLeg(leg.venue, _LIMIT, tif, leg.qty, price, leg.min_qty)


def _accepted(ask: RouteRequest, legs: tuple[RouteLeg, ...]) -> bool:
    """Whether every venue takes the type and time in force of its leg."""
    for leg in legs:
        venue = ask.field.by_mic[leg.venue]
        fine = venue.takes if leg.tif is _IOC else venue.posts
        if not fine or (leg.order_type is _MARKET and not venue.markets):
            return False
    return True


def _in_one_piece(ask: RouteRequest) -> RoutePlan:
    """All at one venue: the one that displays most within a price that trades through no protected quote."""
    order, buying = ask.order, ask.order.side is _BUY
    best: tuple[Decimal, int, RouteLeg] | None = None
    for rank, venue in enumerate(ask.field.venues):
        if not venue.posts or (venue.room is not None and venue.room < order.qty):
            continue
        leg = _mapped(
            ask, RouteLeg(venue.mic, order.order_type, order.tif, order.qty, order.price, order.min_qty)
        )
        tops = (
            best_opposite(ask.quotes.get(mic) if ask.quotes is not None else None, buying)
            for mic in ask.protected
            if mic != venue.mic
        )
        for top in tops:
            if top is not None and (
                leg.price is None or (leg.price > top[0] if buying else leg.price < top[0])
            ):
                leg = RouteLeg(leg.venue, _LIMIT, leg.tif, leg.qty, top[0], leg.min_qty)
        if leg.order_type is _MARKET and not venue.markets:
            continue
        quote = ask.quotes.get(venue.mic) if ask.quotes is not None else None
        levels = () if quote is None else quote.asks if buying else quote.bids
        limit = leg.price
        depth = sum(
            (size for at, size in levels if limit is None or (at <= limit if buying else at >= limit)), ZERO
        )
        if best is None or (depth, -rank) > (best[0], -best[1]):
            best = (depth, rank, leg)
    if best is None:
        return RoutePlan((), "no venue within its limits", ask.bid, ask.ask)
    return RoutePlan((best[2],), "in one piece", ask.bid, ask.ask)


def _limited_sweep(ask: RouteRequest) -> RoutePlan:
    """Sweep and post no more at each venue than its limits leave, in whole lots."""
    order, buying = ask.order, ask.order.side is _BUY
    rooms = {venue.mic: _lots(venue.room, ask.lot) for venue in ask.field.venues}
    take: dict[str, Decimal] = {}
    worst: dict[str, Decimal] = {}
    left, barrier = order.qty, _out_of_reach(ask)
    for _, _, price, size, mic in _takeable(ask):
        if barrier is not None and (price > barrier if buying else price < barrier):
            break
        room = rooms[mic]
        part = min(left, size) if room is None else min(left, size, room)
        if part < min(left, size) and mic in ask.protected:
            barrier = price
        if part:
            take[mic], worst[mic] = take.get(mic, ZERO) + part, price
            left -= part
            rooms[mic] = None if room is None else room - part
        if not left:
            break
    legs = [RouteLeg(mic, _LIMIT, _IOC, qty, worst[mic], ZERO) for mic, qty in take.items()]
    if left:
        legs += _rest(ask, left, rooms, barrier)
        if sum((leg.qty for leg in legs), ZERO) != order.qty:
            return RoutePlan((), "no room at any venue", ask.bid, ask.ask)
    return RoutePlan(tuple(legs), f"within limits, {len(legs)} legs", ask.bid, ask.ask)


def _out_of_reach(ask: RouteRequest) -> Decimal | None:
    """The best protected quote at a venue that takes no order for it; None without one."""
    buying = ask.order.side is _BUY
    prices = []
    for mic in ask.protected:
        venue = ask.field.by_mic.get(mic)
        best = best_opposite(ask.quotes.get(mic) if ask.quotes is not None else None, buying)
        if venue is not None and not venue.takes and best is not None:
            prices.append(best[0])
    return (min if buying else max)(prices, default=None)


def _takeable(ask: RouteRequest) -> list[Offer]:
    if not ask.quotes:
        return []
    fees = tuple(venue.fees for venue in ask.field.venues if venue.takes and not venue.hidden)
    return within(ask.order, ranked(ask.order.side is _BUY, ask.quotes, fees, ask.lot, bool(ask.protected)))


def _rest(
    ask: RouteRequest, left: Decimal, rooms: dict[str, Decimal | None], barrier: Decimal | None
) -> list[RouteLeg]:
    """Legs for what nothing displayed covers: posted, or sent on with the order's own terms."""
    order, buying = ask.order, ask.order.side is _BUY
    rests = order.tif in RESTING and order.order_type is _LIMIT
    venues = [venue for venue in ask.field.venues if venue.posts and not venue.hidden]
    if rests:
        venues.sort(key=lambda venue: venue.fees.make_fee)
    limit = order.price
    if barrier is not None:
        inside = barrier - ask.tick if buying else barrier + ask.tick
        limit = inside if limit is None else min(limit, inside) if buying else max(limit, inside)
    legs = []
    for venue in venues:
        room = rooms[venue.mic]
        part = left if room is None else min(left, room)
        kind = order.order_type if limit is None else _LIMIT
        leg = _mapped(ask, RouteLeg(venue.mic, kind, order.tif, part, limit, ZERO))
        if part and (leg.order_type is not _MARKET or venue.markets):
            legs.append(leg)
            left -= part
        if not left:
            break
    return legs


def _lots(room: Decimal | None, lot: Decimal) -> Decimal | None:
    return None if room is None else EXACT.subtract(room, EXACT.remainder(room, lot))


# --- the registry ----------------------------------------------------------------------------------------

_SWEEP = Sweep()


def routing_registry(strategies: Iterable[RoutingStrategy]) -> RoutingRegistry:
    """A registry of these strategies.

    Raises:
        ValueError: two have one name, or a name is not 1 to 32 printable ASCII characters.
    """
    found: dict[str, RoutingStrategy] = {}
    for strategy in strategies:
        name = strategy.name
        if not (1 <= len(name) <= 32 and name.isascii() and name.isprintable()):
            raise ValueError(f"name: 1 to 32 printable ASCII characters, not {name!r}")
        if name in found:
            raise ValueError(f"name: one strategy each, {name!r} has two")
        found[name] = strategy
    return MappingProxyType(found)


#: The strategies that come with the engine.
BUILT_IN_ROUTING = routing_registry((_SWEEP, OptimalPlacement(), DarkFirst(), Post()))
