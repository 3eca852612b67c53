"""The part of evolve that keeps what routing learns: `engine.evolve` has `ROUTING` in its table, and calls
`note_routing` after every event while routing is on; `engine.usual_reports` calls `note_ack` and `note_fill`.

Every venue order is a trial of its activity from OrderRouted to its end; counts, delays, costs and what
stands at a venue follow the events that report them.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from qtinfra.core import events as ev
from qtinfra.core import routing_events as re
from qtinfra.core.decimals import ZERO, canonical, quotient
from qtinfra.core.decisions import RouteLeg
from qtinfra.core.legs import Leg
from qtinfra.core.models import Child, ChildStatus, Order, OrderSide, TimeInForce
from qtinfra.core.routing import PPM, Activity
from qtinfra.engine.risk_sums import place_in
from qtinfra.engine.routing_state import Bin, RoutingState, Sent, VenueRecord
from qtinfra.engine.state import State
from qtinfra.router.breaker import Breaker, BreakerPhase
from qtinfra.router.scoring import activity_of
from qtinfra.router.stats import Tally, bucket_of, chance_in_full

Handler = Callable[[State, Any], None]
_After = Callable[[State, RoutingState, Any], None]

_BUY, _IOC = OrderSide.BUY, TimeInForce.IOC
_CHILD_LIVE = ChildStatus.LIVE
_DARK, _TAKE = Activity.DARK, Activity.TAKE
_NO_TOUCH = None, None

_BUY = OrderSide.BUY


def _opened_routing(state: State) -> RoutingState:
    if state.routing is None:
        state.routing = RoutingState()
    return state.routing


def _policy_set(state: State, event: re.RoutingPolicySet) -> None:
    routing = _opened_routing(state)
    routing.policy = event.policy
    if event.policy.breaker is None:
        routing.breakers.clear()
    routing.memo.clear()


def _limit_set(state: State, event: re.VenueLimitSet) -> None:
    routing = _opened_routing(state)
    limit = event.limit
    if limit.open_notional is None and limit.credit is None:
        routing.limits.pop(event.venue, None)
    else:
        routing.limits[event.venue] = limit
    routing.memo.clear()


def _protection_set(state: State, event: re.OrderProtectionSet) -> None:
    routing, rule = _opened_routing(state), event.rule
    key = (rule.rule_id, rule.from_date)
    routing.rules = [known for known in routing.rules if (known.rule_id, known.from_date) != key]
    routing.rules.append(rule)
    routing.memo.clear()


# --- what becomes of a venue order -----------------------------------------------------------------------


def _routed(state: State, routing: RoutingState, event: ev.OrderRouted) -> None:
    order = state.orders[event.order_id]
    to = state.risk.memo.of_symbols.get(order.symbol) or place_in(state, order.symbol)
    note_sent(state, routing, event, order.side is _BUY, to.factor)


def note_sent(
    state: State, routing: RoutingState, event: ev.OrderRouted, buying: bool, factor: Decimal | None
) -> None:
    """What routing makes of venue orders that have been sent: each begins a trial.

    Args:
        factor: the symbol's multiplier; None where that is a plain 1.
    """
    bid, ask = event.touch or _NO_TOUCH
    touch, dark = ask if buying else bid, routing.policy.dark
    for planned in event.children:
        mic, child_id = planned.venue, planned.child_id
        child = state.children[child_id]
        record = routing.venues.get(mic) or routing.record(mic)
        if planned.tif is _IOC and mic not in dark:
            activity = _TAKE
        else:
            activity = _tried(routing, planned, child, buying, bid, ask)
        tally = record.tallies.get(activity)
        expected = chance_in_full(tally, activity)
        if tally is None:
            tally = record.tallies[activity] = Tally()
        tally.sent += 1
        px = child.price if child.price is not None else touch
        if px is None:
            px = state.reference_prices.get(child.symbol, ZERO)
        held = child.leaves * px or ZERO
        if factor is not None:
            held = held * factor or ZERO
        if held is not ZERO:
            record.open_notional += held
        routing.sent[child_id] = Sent(mic, activity, event.ts_ns, expected, px, touch, held)
        breaker = routing.breakers.get(mic) if routing.breakers else None
        if breaker is not None and breaker.phase is BreakerPhase.HALF_OPEN and not breaker.probe:
            breaker.probe = child_id
            record.probes += 1


def _tried(
    routing: RoutingState, planned: Leg, child: Child, buying: bool, bid: Decimal | None, ask: Decimal | None
) -> Activity:
    """What a venue order tries, against the touch that it was planned by."""
    if planned.venue in routing.policy.dark:
        return _DARK
    if planned.tif is _IOC:
        return _TAKE
    least = planned.min_qty or ZERO
    leg = RouteLeg(planned.venue, planned.order_type, planned.tif, child.qty, child.price, least)
    return activity_of(leg, buying, bid, ask)


def _hold(state: State, routing: RoutingState, sent: Sent, child: Child) -> None:
    """What the venue may still execute counts at its price."""
    px = child.price if child.price is not None else sent.px
    held = child.leaves * px * state.instruments[child.symbol].multiplier if child.working else ZERO
    if held != sent.held:
        routing.record(sent.venue).open_notional += held - sent.held
        sent.held = held


def _follow(state: State, routing: RoutingState, child_id: str) -> None:
    """A venue order has changed; when it has ended its trial is counted."""
    sent = routing.sent.get(child_id)
    if sent is None:
        return
    child = state.children[child_id]
    if child.working:
        _hold(state, routing, sent, child)
        return
    _end(routing, routing.record(sent.venue), sent, child)
    routing.memo.forget(sent.venue)


def _end(routing: RoutingState, record: VenueRecord, sent: Sent, child: Child) -> None:
    """Count the trial of a venue order that has ended: nothing of it stands at its venue, whose record it is.

    The caller has the memo forget the venue.
    """
    if sent.held:
        record.open_notional -= sent.held
    del routing.sent[child.child_id]
    tally, qty, cum = record.tallies[sent.activity], child.qty, child.cum
    filled = cum >= qty > ZERO
    if filled:
        tally.filled += 1
        tally.share_ppm += PPM
    elif cum > ZERO:
        tally.partly += 1
        tally.share_ppm += min(PPM, int(quotient(cum * PPM, qty)))
    else:
        tally.missed += 1
    part = sent.full_ppm * 10 // PPM
    if part > 9:  # noqa: PLR1730 - `min` costs ten times as much
        part = 9
    counted = routing.reliability.get(part)
    if counted is None:
        counted = routing.reliability[part] = Bin()
    counted.trials += 1
    counted.predicted_ppm += sent.full_ppm
    counted.filled += filled


def _time_answer(record: VenueRecord, sent: Sent, ts_ns: int) -> None:
    """Time the venue's first answer; the caller has the memo forget the venue, whose record it is."""
    sent.answered = True
    delays, bucket = record.delays, bucket_of(ts_ns - sent.sent_ns)
    delays[bucket] = delays.get(bucket, 0) + 1


def _worked(routing: RoutingState, mic: str, ts_ns: int) -> None:
    """The venue works an order: what it refused before counts no more."""
    breaker = routing.breakers.get(mic)
    if breaker is None:
        return
    if routing.policy.breaker is not None:
        breaker.answered(ts_ns, routing.policy.breaker)
    if breaker.clear:
        del routing.breakers[mic]


def note_ack(routing: RoutingState, child_id: str, ts_ns: int) -> None:
    """What an acknowledgement that has been applied tells of its venue."""
    sent = routing.sent.get(child_id)
    if sent is None:
        return
    if not sent.answered:
        _time_answer(routing.record(sent.venue), sent, ts_ns)
        routing.memo.forget(sent.venue)
    if routing.breakers:
        _worked(routing, sent.venue, ts_ns)


def note_fill(
    state: State, routing: RoutingState, order: Order, child: Child, qty: Decimal, px: Decimal, fee: Decimal,
    ts_ns: int,
) -> None:  # fmt: skip
    """What an execution of the order's child that has been applied tells of its venue.

    It may be the venue's first answer: an acknowledgement of the same moment is then noted with it.
    """
    mic, symbol = child.venue, order.symbol
    record = routing.venues.get(mic) or routing.record(mic)
    factor = (state.risk.memo.of_symbols.get(symbol) or place_in(state, symbol)).factor
    value = qty * px if factor is None else qty * px * factor
    record.traded += value
    record.executed += value
    record.qty += qty
    if fee >= ZERO:
        record.fees += fee
    else:
        record.rebates -= fee
    sent = routing.sent.get(child.child_id)
    if sent is None:
        return
    touch = sent.touch
    if touch is not None:
        worse = (px - touch if order.side is _BUY else touch - px) * qty
        record.slippage += worse if factor is None else worse * factor
    learned = not sent.answered
    if learned:
        _time_answer(record, sent, ts_ns)
    if routing.breakers:
        _worked(routing, mic, ts_ns)
    if child.status is _CHILD_LIVE or child.working:
        _hold(state, routing, sent, child)
    else:
        _end(routing, record, sent, child)
        learned = True
    if learned:
        routing.memo.forget(mic)


def _acked(state: State, routing: RoutingState, event: ev.ChildAcked) -> None:
    del state
    note_ack(routing, event.child_id, event.ts_ns)


def _filled(state: State, routing: RoutingState, event: ev.OrderFilled) -> None:
    order, child = state.orders[event.order_id], state.children[event.child_id]
    note_fill(state, routing, order, child, event.qty, event.px, event.fee, event.ts_ns)


def _rejected(state: State, routing: RoutingState, event: ev.ChildRejected) -> None:
    sent = routing.sent.get(event.child_id)
    if sent is not None and not sent.answered:
        _time_answer(routing.record(sent.venue), sent, event.ts_ns)
    _follow(state, routing, event.child_id)


def _of_child(state: State, routing: RoutingState, event: Any) -> None:
    _follow(state, routing, event.child_id)


def _of_order(state: State, routing: RoutingState, event: Any) -> None:
    for child_id in state.orders[event.order_id].children:
        _follow(state, routing, child_id)


def _day_opened(state: State, routing: RoutingState, event: ev.DayOpened) -> None:
    del event
    for child_id in list(routing.sent):
        _follow(state, routing, child_id)
    for record in routing.venues.values():
        record.traded = ZERO
    routing.memo.clear()


# --- breakers --------------------------------------------------------------------------------------------


def _venue_failed(state: State, event: re.VenueFailed) -> None:
    routing = _opened_routing(state)
    terms = routing.policy.breaker
    if terms is None:
        return
    routing.breakers.setdefault(event.venue, Breaker()).failed(event.lost_link, event.ts_ns, terms)


def _breaker_opened(state: State, event: re.BreakerOpened) -> None:
    routing = _opened_routing(state)
    breaker = routing.breakers.setdefault(event.venue, Breaker())
    breaker.phase, breaker.until_ns, breaker.probe = BreakerPhase.OPEN, event.until_ns, ""
    breaker.trips += 1
    routing.record(event.venue).openings += 1


def _breaker_probed(state: State, event: re.BreakerProbed) -> None:
    breaker = _opened_routing(state).breakers[event.venue]
    breaker.phase, breaker.until_ns, breaker.probe = BreakerPhase.HALF_OPEN, event.until_ns, ""


def _breaker_closed(state: State, event: re.BreakerClosed) -> None:
    routing = _opened_routing(state)
    breaker = routing.breakers[event.venue]
    breaker.phase, breaker.probe = BreakerPhase.CLOSED, ""
    breaker.refused.clear()
    if breaker.clear:
        del routing.breakers[event.venue]


def _nothing(state: State, event: re.RouteScored) -> None:
    del state, event


ROUTING: dict[type, Handler] = {
    re.RoutingPolicySet: _policy_set,
    re.VenueLimitSet: _limit_set,
    re.OrderProtectionSet: _protection_set,
    re.RouteScored: _nothing,
    re.VenueFailed: _venue_failed,
    re.BreakerOpened: _breaker_opened,
    re.BreakerProbed: _breaker_probed,
    re.BreakerClosed: _breaker_closed,
}

_AFTER: dict[type, _After] = {
    ev.OrderRouted: _routed,
    ev.ChildAcked: _acked,
    ev.OrderFilled: _filled,
    ev.ChildRejected: _rejected,
    ev.ChildEnded: _of_child,
    ev.ChildReplaced: _of_child,
    ev.ChildAmendRejected: _of_child,
    ev.ChildConfirmed: _of_child,
    ev.OrderExpired: _of_order,
    ev.OrderDoneForDay: _of_order,
    ev.OrderRestated: _of_order,
    ev.DayOpened: _day_opened,
}


def note_routing(state: State, routing: RoutingState, event: Any) -> None:
    """What routing makes of an event that has been applied."""
    after = _AFTER.get(type(event))
    if after is not None:
        after(state, routing, event)


def held_at(state: State, mic: str) -> Decimal:
    """Open notional of a venue reckoned from its orders, for audits of the running figure."""
    found = state.routing.sent.items() if state.routing is not None else ()
    children = ((state.children[child_id], sent) for child_id, sent in found if sent.venue == mic)
    total = ZERO
    for child, sent in children:
        px = child.price if child.price is not None else sent.px
        if child.working:
            total += child.leaves * px * state.instruments[child.symbol].multiplier
    return canonical(total)
