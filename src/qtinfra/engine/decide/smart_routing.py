"""Scored routing: which venues there are to choose from, the strategy's plan, and breakers of venues.

It works where a routing policy is in force; `decide.routing` is the way there.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from qtinfra.core import events as ev
from qtinfra.core import routing_events as re
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import RiskApproved, RoutePlan
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.ids import of_leg
from qtinfra.core.legs import ChildOrder
from qtinfra.core.market import MarketView
from qtinfra.core.models import ChildStatus, OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import SWEEP, RouteStyle, RoutingPolicy
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.risk_gate import view_of
from qtinfra.engine.lookup import open_venues, routing_of
from qtinfra.engine.risk_state import BookView
from qtinfra.engine.routing_state import Fresh, Outlook, RoutingState, VenueRecord, prospect_of
from qtinfra.engine.state import State
from qtinfra.router.breaker import Breaker, BreakerPhase, cooldown_ns, failures_with, opens
from qtinfra.router.costs import all_in
from qtinfra.router.scoring import (
    Candidate,
    Field,
    RouteRequest,
    Sight,
    expectation,
    field_of,
    posting_chance,
    scores,
    taking_chance,
    together,
    wrong_plan,
)
from qtinfra.router.sor import RESTING, VenueTerms, covers, fill_from, posts
from qtinfra.router.stats import Chance
from qtinfra.router.strategies import BUILT_IN_ROUTING, DARK_FIRST, RoutingStrategy

_BUY = OrderSide.BUY
_LIMIT = OrderType.LIMIT
_IOC, _FOK = TimeInForce.IOC, TimeInForce.FOK
_CLOSED = BreakerPhase.CLOSED
_NOTHING = VenueRecord()
#: Events that may be a venue's failure, and those that may also be its answer to a probe.
_FAILURES = frozenset((ev.ChildRejected, ev.ChildUnknown, ev.VenueStatusSet))
_ANSWERS_TOO = _FAILURES | {ev.ChildAcked, ev.OrderFilled, ev.ChildEnded}
_NO_CHANCE = Chance(0, 0)
_SWEEP = BUILT_IN_ROUTING[SWEEP]


def smart_route(
    state: State,
    routing: RoutingState,
    order_id: str,
    approved: RiskApproved,
    refused: Sequence[str],
    style: RouteStyle | None,
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> bool:
    """Add RouteScored and OrderRouted (the latter last) for an approved quantity; False when no venue can
    take it.
    """
    style = style or _asked_style(state, order_id) or style_of(routing, approved.account)
    strategy = _strategy(state, style)
    if routing.memo.stale:
        routing.memo.refresh(routing.venues)
    view = _view(state, routing, approved.symbol, now_ns, market)
    px = _priced(state, approved, view)
    free = _unhindered(state, routing, approved, refused, px)
    seen = None
    if free and view is not None:
        buying = approved.side is _BUY
        seen = _outlook(state, routing, approved.symbol, approved.tif, buying, view, px)
    if seen is not None and strategy is _SWEEP and _goes_whole(seen, order_id, approved, now_ns, out):
        return True
    tick = seen.tick if seen is not None else state.instruments[approved.symbol].tick_at(px)
    if seen is not None:
        field = seen.field
    elif free:
        field = _usual_field(state, routing, approved.symbol, approved.tif, tick)
    else:
        field = _field(state, routing, approved, refused, px, tick, now_ns)
    if not field.venues:
        return False
    ask = _request(state, routing, order_id, approved, style, view, tick, field, seen)
    return _carry_out(routing, strategy, ask, order_id, now_ns, out)


def route_plain(
    state: State, routing: RoutingState, order_id: str, child_id: str, command: SubmitOrder, now_ns: int,
    market: MarketView,
) -> tuple[re.RouteScored, ev.OrderRouted] | None:  # fmt: skip
    """What `smart_route` adds for a plain new order that passes all controls, where no venue stands back and
    the built-in sweep takes all of it or lets it rest as a whole; None for any other.

    Args:
        child_id: the venue id of what the second of the two events sends first.
        command: its quantity is written in units.
    """
    memo, symbol, price, tif = routing.memo, command.symbol, command.price, command.tif
    buying = command.side is _BUY
    if memo.stale:
        memo.refresh(routing.venues)
    if memo.swept is None:
        memo.swept = not routing.policy.accounts and _strategy(state, routing.policy.style) is _SWEEP
    if price is None or not memo.swept or routing.breakers or routing.limits:
        return None
    seen = (memo.buys if buying else memo.sells).get(symbol)
    if (
        (seen is None or seen.fields is not memo.fields or seen.tif is not tif or seen.book is None)
        or not (price is seen.limit or seen.holds_at(price))
        or market.book(symbol) is not seen.book
    ):
        view = _view(state, routing, symbol, now_ns, market)
        if view is None:
            return None
        seen = _outlook(state, routing, symbol, tif, buying, view, price)
        seen.holds_at(price)
    best, post, qty, touch = seen.best, seen.post, command.qty, seen.touch
    if best is not None and seen.taken and tif is not _FOK:
        if qty > best[3]:
            by_price = bool(_protected(state, routing, symbol))
            return _sweep_alike(seen, by_price, order_id, child_id, command, now_ns)
        expected, mic, tif, at, reason = seen.expected, best[4], _IOC, best[2], "sweep 1"
    elif post is not None and seen.rests and tif in RESTING:
        expected, mic = posting_chance(post, price, buying, touch[0 if buying else 1]), post.fees.mic
        at, reason = price, f"post at {mic}"
    else:
        return None
    child = ChildOrder(child_id, mic, _LIMIT, tif, qty, at, None)
    return (
        re.RouteScored(order_id, SWEEP, seen.scores, expected.full_ppm, expected.share_ppm, False, now_ns),
        ev.OrderRouted(order_id, (child,), reason, now_ns, touch),
    )


def _sweep_alike(
    seen: Outlook, by_price: bool, order_id: str, child_id: str, command: SubmitOrder, now_ns: int
) -> tuple[re.RouteScored, ev.OrderRouted] | None:
    """`route_plain` of an order that takes from several offers; None if it wants more than is displayed."""
    take, worst, left = fill_from(seen.sight.offers.ranking(), command.price, seen.buying, command.qty)
    if left:
        return None
    legs: list[ChildOrder] = []
    chances: list[tuple[Chance, Decimal]] = []
    for mic, qty in take.items():
        leg_id = of_leg(child_id, len(legs)) if legs else child_id
        legs.append(ChildOrder(leg_id, mic, _LIMIT, _IOC, qty, worst[mic], None))
        chances.append((taking_chance(seen.field.by_mic[mic]), qty))
    confidence, expected = together(chances)
    iso = by_price and len(legs) > 1
    return (
        re.RouteScored(order_id, SWEEP, seen.scores, confidence, expected, iso, now_ns),
        ev.OrderRouted(order_id, tuple(legs), f"sweep {len(worst)}", now_ns, seen.touch),
    )


def _goes_whole(seen: Outlook, order_id: str, approved: RiskApproved, now_ns: int, out: Decision) -> bool:
    """Send all of an order to one venue if that is all that a sweep of these venues would plan: the best
    offer covers it, or it rests and nothing is displayed within its limit.
    """
    best, post, price = seen.best, seen.post, approved.price
    if best is not None and covers(best, approved):
        mic, expected, reason = best[4], seen.expected, "sweep 1"
        tif, qty, at = _IOC, ZERO + approved.qty, best[2]
    elif post is not None and price is not None and posts(approved, *seen.touch):
        mic, buying = post.fees.mic, approved.side is _BUY
        expected, reason = (
            posting_chance(post, price, buying, seen.touch[0 if buying else 1]),
            f"post at {mic}",
        )
        tif, qty, at = approved.tif, approved.qty, price
    else:
        return False
    scored = seen.sight.scores_at(price)
    out.add(re.RouteScored(order_id, SWEEP, scored, expected.full_ppm, expected.share_ppm, False, now_ns))
    child = ChildOrder(out.venue_id(), mic, _LIMIT, tif, qty, at, None)
    out.add(ev.OrderRouted(order_id, (child,), reason, now_ns, seen.touch))
    return True


def _carry_out(
    routing: RoutingState,
    strategy: RoutingStrategy,
    ask: RouteRequest,
    order_id: str,
    now_ns: int,
    out: Decision,
) -> bool:
    """Add the events of the strategy's plan, or of a sweep when that may not be sent; False without legs."""
    plan, name = strategy.plan(ask), strategy.name
    if strategy is not BUILT_IN_ROUTING.get(name):
        wrong = wrong_plan(ask, plan)
        if wrong:
            plan, name = _SWEEP.plan(ask), SWEEP
            reason = f"{ask.style.strategy}: {wrong}; {plan.reason}"
            plan = RoutePlan(plan.legs, reason, ask.bid, ask.ask)
    if not plan.legs:
        return False
    if len(ask.field.venues) > 1:
        out.add(_scored(ask, plan, order_id, name, now_ns))
    if routing.breakers:
        _probe(routing, plan, order_id, now_ns, out)
    children = _children(plan, out)
    out.add(ev.OrderRouted(order_id, children, plan.reason, now_ns, (plan.best_bid, plan.best_ask)))
    return True


def _children(plan: RoutePlan, out: Decision) -> tuple[ChildOrder, ...]:
    """The venue orders of a plan, for an OrderRouted that is added next."""
    child_id = first = out.venue_id()
    children: list[ChildOrder] = []
    for leg in plan.legs:
        if children:
            child_id = of_leg(first, len(children))
        children.append(
            ChildOrder(child_id, leg.venue, leg.order_type, leg.tif, leg.qty, leg.price, leg.min_qty or None)
        )
    return tuple(children)


def _scored(ask: RouteRequest, plan: RoutePlan, order_id: str, name: str, now_ns: int) -> re.RouteScored:
    confidence, expected = expectation(ask, plan)
    iso = bool(ask.protected) and len(plan.legs) > 1
    return re.RouteScored(order_id, name, scores(ask), confidence, expected, iso, now_ns)


def _asked_style(state: State, order_id: str) -> RouteStyle | None:
    special = state.orders[order_id].special if order_id in state.specials else None
    return special.routing if special is not None else None


def _strategy(state: State, style: RouteStyle) -> RoutingStrategy:
    """The strategy of a style; a sweep where there is none of that name."""
    return routing_of(state).get(style.strategy) or _SWEEP


def style_of(routing: RoutingState, account: str) -> RouteStyle:
    """How orders of an account are routed that ask for nothing else."""
    styles = routing.memo.styles
    if styles is None:
        styles = routing.memo.styles = dict(routing.policy.accounts)
    return styles.get(account, routing.policy.style)


def _view(
    state: State, routing: RoutingState, symbol: str, now_ns: int, market: MarketView
) -> BookView | Fresh | None:
    """The symbol's quotes that are routed to, and their touch; None without a book."""
    book = market.book(symbol)
    if book is None:
        return None
    view = view_of(state, book)
    if not routing.policy.max_quote_age_ns:
        return view
    since_ns = now_ns - routing.policy.max_quote_age_ns
    fresh = routing.memo.fresh.get(symbol)
    if fresh is None or not fresh.holds(view.quotes, since_ns):
        fresh = routing.memo.fresh[symbol] = _fresh(view, since_ns)
    return fresh


def _priced(state: State, approved: RiskApproved, view: BookView | Fresh | None) -> Decimal:
    """The order's limit, or the price that it meets; 0 when there is neither."""
    if approved.price is not None:
        return approved.price
    met = None
    if view is not None:
        met = view.ask if approved.side is _BUY else view.bid
    return met or state.reference_prices.get(approved.symbol) or ZERO


def _outlook(
    state: State, routing: RoutingState, symbol: str, tif: TimeInForce, buying: bool,
    view: BookView | Fresh, px: Decimal,
) -> Outlook:  # fmt: skip
    """What an order meets where no venue stands back, found once for all that meet the same."""
    memo, quotes = routing.memo, view.quotes
    outlooks = memo.buys if buying else memo.sells
    seen = outlooks.get(symbol)
    alike = seen is not None and seen.quotes is quotes and seen.low <= px < seen.high
    if seen is not None and alike and seen.fields is memo.fields and seen.tif is tif:
        return seen
    instrument = state.instruments[symbol]
    if seen is not None and alike:
        tick, low, high, collar, touch = seen.tick, seen.low, seen.high, seen.collar, seen.touch
    else:
        tick, (low, high) = instrument.tick_at(px), instrument.tick_bounds(px)
        collar, touch = tick * routing.policy.market_collar_ticks, (view.bid, view.ask)
    field = _usual_field(state, routing, symbol, tif, tick)
    by_price = bool(_protected(state, routing, symbol))
    sight = Sight(field, quotes, buying, instrument.lot_size, by_price)
    usual = field.plain and len(field.showing) > 1
    best = sight.offers.best() if usual else None
    post = field.by_mic[field.cheapest] if usual else None
    expected = _NO_CHANCE if best is None else taking_chance(field.by_mic[best[4]])
    book = view.book if isinstance(view, BookView) else None
    seen = outlooks[symbol] = Outlook(
        memo.fields, tif, tick, low, high, quotes, field, sight, collar, touch, best, expected, post, book,
        buying,
    )  # fmt: skip
    return seen


def _request(
    state: State,
    routing: RoutingState,
    order_id: str,
    approved: RiskApproved,
    style: RouteStyle,
    view: BookView | Fresh | None,
    tick: Decimal,
    field: Field,
    seen: Outlook | None,
) -> RouteRequest:
    """What a strategy is asked: the order, the venues that may take it, and the fresh quotes."""
    policy, symbol = routing.policy, approved.symbol
    return RouteRequest(
        approved,
        field,
        style,
        view.quotes if view is not None else None,
        view.bid if view is not None else None,
        view.ask if view is not None else None,
        state.instruments[symbol].lot_size,
        tick,
        seen.collar if seen is not None else tick * policy.market_collar_ticks,
        _protected(state, routing, symbol) if routing.rules else (),
        _asked(state, policy, order_id) if style.strategy == DARK_FIRST else (),
        policy.dark_min_qty,
        seen.sight if seen is not None else None,
    )


def _fresh(view: BookView, since_ns: int) -> Fresh:
    """The quotes that are not older than that, and their touch."""
    times = [quote.ts_ns for quote in view.quotes.values()]
    dropped_ns = max((ts_ns for ts_ns in times if ts_ns < since_ns), default=-1)
    kept_ns = min((ts_ns for ts_ns in times if ts_ns >= since_ns), default=None)
    if dropped_ns < 0:
        return Fresh(view.quotes, view.quotes, view.bid, view.ask, dropped_ns, kept_ns)
    quotes = {mic: quote for mic, quote in view.quotes.items() if quote.ts_ns >= since_ns}
    bids = [quote.bids[0][0] for quote in quotes.values() if quote.bids]
    asks = [quote.asks[0][0] for quote in quotes.values() if quote.asks]
    bid, ask = max(bids, default=None), min(asks, default=None)
    return Fresh(view.quotes, quotes, bid, ask, dropped_ns, kept_ns)


def _protected(state: State, routing: RoutingState, symbol: str) -> tuple[str, ...]:
    """MICs whose quotes in the symbol are protected today."""
    known = routing.memo.protected.get(symbol)
    if known is None:
        found: dict[str, None] = {}
        for rule in routing.rules:
            if rule.covers(symbol, state.trade_date):
                found.update(dict.fromkeys(rule.venues))
        known = routing.memo.protected[symbol] = tuple(found)
    return known


def _asked(state: State, policy: RoutingPolicy, order_id: str) -> tuple[str, ...]:
    """Venues without display that the order has been to."""
    order = state.orders.get(order_id)
    if order is None:
        return ()
    been = (state.children[child_id].venue for child_id in order.children)
    return tuple(mic for mic in been if mic in policy.dark)


# --- candidates ------------------------------------------------------------------------------------------


def _unhindered(
    state: State, routing: RoutingState, approved: RiskApproved, refused: Sequence[str], px: Decimal
) -> bool:
    """Whether no open venue stands back: none has refused the order, failed, or is near its limits."""
    if refused:
        return False
    if routing.breakers and any(breaker.phase is not _CLOSED for breaker in routing.breakers.values()):
        return False
    return not routing.limits or _fits_everywhere(state, routing, approved, px)


def _field(
    state: State,
    routing: RoutingState,
    approved: RiskApproved,
    refused: Sequence[str],
    px: Decimal,
    tick: Decimal,
    now_ns: int,
) -> Field:
    """The venues that may take the order: open, not refused, not behind an open breaker, with their rooms."""
    symbol, tif, found = approved.symbol, approved.tif, []
    known = routing.memo.candidates.setdefault((tif, tick), {})
    for terms in open_venues(state, symbol):
        breaker = routing.breakers.get(terms.mic)
        if terms.mic in refused or (breaker is not None and breaker.blocks(now_ns)):
            continue
        venue = known.get(terms.mic) or _candidate(state, routing, terms, tif, tick)
        room = _room(state, routing, terms.mic, symbol, px) if terms.mic in routing.limits else None
        probe = breaker is not None and breaker.phase is not _CLOSED
        if room is not None or probe:
            venue = _restricted(venue, room, probe)
        if room is None or room > ZERO:
            found.append(venue)
    return field_of(tuple(found))


def _usual_field(state: State, routing: RoutingState, symbol: str, tif: TimeInForce, tick: Decimal) -> Field:
    """All open venues, none of which stands back; one field for all symbols that are listed alike."""
    memo = routing.memo
    key = state.instruments[symbol].listings, tif, tick
    field = memo.fields.get(key)
    if field is None:
        known = memo.candidates.setdefault((tif, tick), {})
        venues = [
            known.get(terms.mic) or _candidate(state, routing, terms, tif, tick)
            for terms in open_venues(state, symbol)
        ]
        field = memo.fields[key] = field_of(tuple(venues))
    return field


def _fits_everywhere(state: State, routing: RoutingState, approved: RiskApproved, px: Decimal) -> bool:
    """Whether no venue's limit would hold back any of the order, wherever it goes."""
    value = px * state.instruments[approved.symbol].multiplier * approved.qty
    if value <= ZERO:
        return False
    for mic, limit in routing.limits.items():
        record = routing.venues.get(mic, _NOTHING)
        standing = record.open_notional + value
        if limit.open_notional is not None and standing > limit.open_notional:
            return False
        if limit.credit is not None and standing + record.traded > limit.credit:
            return False
    return True


def _restricted(venue: Candidate, room: Decimal | None, probe: bool) -> Candidate:
    return Candidate(
        venue.fees,
        venue.charged,
        venue.take,
        venue.post,
        venue.behind,
        venue.dark,
        venue.latency_us,
        venue.hidden,
        venue.takes,
        venue.posts,
        venue.markets,
        room,
        probe,
    )


def _candidate(
    state: State, routing: RoutingState, terms: VenueTerms, tif: TimeInForce, tick: Decimal
) -> Candidate:
    """Make a venue's candidate, and remember it, as its statistics and reference data are."""
    memo, mic = routing.memo, terms.mic
    prospect = memo.prospects.get(mic)
    if prospect is None:
        prospect = memo.prospects[mic] = prospect_of(routing.venues.get(mic))
    take, post, venue = prospect.take, prospect.post, state.venues[mic]
    made = memo.candidates[tif, tick][mic] = Candidate(
        all_in(routing.policy, terms, take, post, prospect.latency_us, tick),
        terms,
        take,
        post,
        prospect.behind,
        prospect.dark,
        prospect.latency_us,
        mic in routing.policy.dark,
        "LIMIT" in venue.order_types and _IOC in venue.time_in_force,
        "LIMIT" in venue.order_types and tif in venue.time_in_force,
        "MARKET" in venue.order_types,
    )
    return made


def _room(state: State, routing: RoutingState, mic: str, symbol: str, px: Decimal) -> Decimal:
    """Units that the venue's limits leave; none when nothing prices the order."""
    limit, record = routing.limits[mic], routing.venues.get(mic, _NOTHING)
    unit = px * state.instruments[symbol].multiplier
    if unit <= ZERO:
        return ZERO
    left = []
    if limit.open_notional is not None:
        left.append(limit.open_notional - record.open_notional)
    if limit.credit is not None:
        left.append(limit.credit - record.open_notional - record.traded)
    units = max(ZERO, min(left)) // unit
    return units - units % state.instruments[symbol].lot_size


# --- breakers --------------------------------------------------------------------------------------------


def _probe(routing: RoutingState, plan: RoutePlan, order_id: str, now_ns: int, out: Decision) -> None:
    """Say of each venue in the plan that is being tried again that it is."""
    terms = routing.policy.breaker
    for mic in dict.fromkeys(leg.venue for leg in plan.legs):
        breaker = routing.breakers.get(mic)
        if terms is not None and breaker is not None and breaker.phase is not _CLOSED:
            out.add(re.BreakerProbed(mic, order_id, now_ns + cooldown_ns(breaker, terms), now_ns))


def routing_aftermath(state: State, events: Sequence[ev.AnyEvent], out: Decision) -> None:
    """Add the follow-ups that breakers need after these events; `state` is after them."""
    routing = state.routing
    if routing is None or routing.policy.breaker is None:
        return
    telling = _ANSWERS_TOO if routing.breakers else _FAILURES
    for event in events:
        if type(event) not in telling:
            continue
        if isinstance(event, ev.ChildRejected):
            out.then(partial(review_failure, venue=event.venue, lost=False, reason=event.reason))
        elif isinstance(event, ev.ChildUnknown):
            if state.connected(event.venue):  # otherwise the lost link is the failure
                out.then(partial(review_failure, venue=event.venue, lost=False, reason=event.reason))
        elif isinstance(event, ev.VenueStatusSet):
            if event.status is VenueStatus.DISCONNECTED:
                out.then(partial(review_failure, venue=event.venue, lost=True, reason=event.reason))
        elif isinstance(event, ev.ChildAcked | ev.OrderFilled | ev.ChildEnded):
            breaker = routing.breakers.get(event.venue)
            if breaker is not None and _answers(breaker, event):
                out.then(partial(close_breaker, venue=event.venue))


def _answers(breaker: Breaker, event: ev.ChildAcked | ev.OrderFilled | ev.ChildEnded) -> bool:
    """Whether the event is the venue's good answer to its probe."""
    if breaker.phase is not BreakerPhase.HALF_OPEN or breaker.probe != event.child_id:
        return False
    return not (isinstance(event, ev.ChildEnded) and event.status == ChildStatus.NOT_RECEIVED)


def review_failure(
    state: State, now_ns: int, market: MarketView, out: Decision, *, venue: str, lost: bool, reason: str
) -> None:
    """Follow-up: count a failure of a venue, and open its breaker when it was one too many."""
    del market
    routing = state.routing
    terms = routing.policy.breaker if routing is not None else None
    if routing is None or terms is None:
        return
    breaker = routing.breakers.get(venue)
    out.add(re.VenueFailed(venue, lost, reason, now_ns))
    if opens(breaker, now_ns, terms):
        until_ns = now_ns + cooldown_ns(breaker, terms)
        out.add(re.BreakerOpened(venue, failures_with(breaker, now_ns, terms), until_ns, reason, now_ns))


def close_breaker(state: State, now_ns: int, market: MarketView, out: Decision, *, venue: str) -> None:
    """Follow-up: the probe was answered."""
    del market
    routing = state.routing
    breaker = routing.breakers.get(venue) if routing is not None else None
    if breaker is not None and breaker.phase is BreakerPhase.HALF_OPEN:
        out.add(re.BreakerClosed(venue, now_ns))
