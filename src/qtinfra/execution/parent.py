"""One look at a parent order: what to send, what to cancel, when to look again, how it ends. Pure.

The engine and the simulation lab call the same `evaluate`. What it knows of the past stands in its arguments,
so that a restart, a pause or a jump of the clock cannot be seen in what it does but through the schedule: a
backlog of more than two intervals is never sent at once, it asks for a new plan of what is left.
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal

import msgspec

from qtinfra.core.algo import AlgoTerms, Completion, FinishReason, Schedule, SliceKind, SliceReason
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.strategies.inputs import Strategy
from qtinfra.core.strategies.pov import own_volume
from qtinfra.core.strategies.steering import steered_target

#: How soon a parent that has something to do is looked at again.
LOOK_NS = 1_000_000_000
#: From this part of its interval on (thousandths) a slice crosses instead of resting.
CROSS_FROM = 750
#: Intervals' worth of quantity that may be due at once; more is a gap and is planned anew.
BACKLOG = 2

_AUCTIONS = (SliceKind.OPEN, SliceKind.CLOSE)
_RESTS = (SliceKind.PASSIVE,)
_MICRO_NUM, _MICRO_DEN = 4, 5


class Working(msgspec.Struct, frozen=True, gc=False):
    """A child that a venue may still execute. `cancelling`: it was asked back already."""

    child_id: str
    kind: SliceKind
    price: Decimal | None
    leaves: Decimal
    sent_ns: int
    cancelling: bool = False


class ParentView(msgspec.Struct, gc=False):
    """A parent as it stands.

    Attributes:
        limit: its limit price; None for a market order.
        lot: units of a round lot.
        arrival_mid: midpoint when it was accepted.
        paused: by a person, a halt or a kill; children are asked back and nothing is sent.
        crossed: the final slice at the end has been sent.
        open_sent, close_sent: the auction's part of this plan has been sent.
        dark_sent: undisplayed venues were asked in this interval.
    """

    terms: AlgoTerms
    schedule: Schedule
    buy: bool
    limit: Decimal | None
    qty: Decimal
    filled: Decimal
    lot: Decimal
    working: tuple[Working, ...] = ()
    arrival_mid: Decimal | None = None
    paused: bool = False
    crossed: bool = False
    open_sent: bool = False
    close_sent: bool = False
    dark_sent: bool = False


class Inputs(msgspec.Struct, gc=False):
    """The market as the look sees it. Volume is regular volume printed by now: no blocks, no crosses.

    Attributes:
        bid, ask, bid_size, ask_size: the best displayed quote; None and 0 where a side is empty or stale.
        others: units that others have printed since the plan was made.
        seen: of them, printed when the running interval began; what steers a schedule that expects a rate.
        missed: intervals that began and passed without a look that saw the market; of such a schedule only.
        interval_others, interval_own: units that others have printed, and that the parent has executed, in
            the interval that the cap is held on.
        known: there is a market to see; without one nothing is sent, asked back or caught up.
        trading: continuous trading runs and the symbol is not halted.
        dark: a venue without displayed quotes can be asked.
        open_auction, close_auction: the auction still takes orders.
    """

    bid: Decimal | None = None
    ask: Decimal | None = None
    bid_size: Decimal = ZERO
    ask_size: Decimal = ZERO
    others: Decimal = ZERO
    interval_others: Decimal = ZERO
    interval_own: Decimal = ZERO
    known: bool = True
    trading: bool = True
    dark: bool = False
    open_auction: bool = False
    close_auction: bool = False
    seen: Decimal = ZERO
    missed: int = 0

    @property
    def quoted(self) -> bool:
        """Whether there is a quote on both sides that is not crossed."""
        return self.bid is not None and self.ask is not None and self.bid <= self.ask


class Slice(msgspec.Struct, frozen=True, gc=False):
    """A child to send. `price` None is a market order."""

    qty: Decimal
    price: Decimal | None
    order_type: OrderType
    tif: TimeInForce
    reason: SliceReason


class Actions(msgspec.Struct, gc=False):
    """What follows from a look.

    Attributes:
        slices: to send, in order; their sum and all that works never exceed what is left.
        cancels: ids of children to ask back.
        wake_ns: when to look again at the latest, UTC nanoseconds.
        finished: the schedule has ended so; None while it goes on.
        replan: plan what is left anew, then look again.
    """

    wake_ns: int
    slices: tuple[Slice, ...] = ()
    cancels: tuple[str, ...] = ()
    finished: FinishReason | None = None
    replan: bool = False

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.slices or self.cancels or self.finished or self.replan)


def evaluate(strategy: Strategy, parent: ParentView, market: Inputs, now_ns: int) -> Actions:
    """Look at a parent once.

    Args:
        strategy: the one that planned `parent.schedule`.
        parent: as it stands, all its working children included.
        market: as known at `now_ns`.
        now_ns: UTC nanoseconds.
    """
    schedule, left = parent.schedule, parent.qty - parent.filled
    if left <= ZERO:
        done = FinishReason.CROSSED if parent.crossed else FinishReason.COMPLETED
        return Actions(schedule.end_ns, finished=done)
    if now_ns >= schedule.end_ns:
        return _complete(parent, market, left, now_ns)
    if parent.paused:
        return Actions(schedule.end_ns, cancels=_ask_back(parent.working))
    auctions = _auction_slices(parent, market, left, now_ns)
    if auctions:
        return Actions(now_ns + LOOK_NS, auctions)
    if market.trading and not market.known:
        return Actions(now_ns + LOOK_NS)
    if not market.trading or now_ns < schedule.times[0]:
        return Actions(_wake(parent, market, now_ns), cancels=_ask_back(_continuous(parent)))
    return _continue(strategy, parent, market, left, now_ns)


def cap_room(terms: AlgoTerms, market: Inputs, working: Decimal) -> Decimal | None:
    """Units that the cap still allows in this interval by what has printed so far; None without a cap.

    own / (own + others) <= cap is own <= others x cap / (1 - cap); what is at venues counts as own. Below 0
    when venues hold more than it allows.
    """
    cap = terms.max_participation
    if cap is None and terms.target_rate is not None:
        cap = catch_up_cap(terms.target_rate)
    if cap is None or cap >= ONE:
        return None
    return own_volume(cap, market.interval_others, ONE) - market.interval_own - working


def catch_up_cap(rate: Decimal) -> Decimal:
    """The cap of a POV order that names none: one and a half times its rate, at most halfway to all."""
    return min(rate * 3 / 2, (ONE + rate) / 2)


# --- in continuous trading --------------------------------------------------------------------------------


def _continue(strategy: Strategy, parent: ParentView, market: Inputs, left: Decimal, now_ns: int) -> Actions:
    terms, schedule = parent.terms, parent.schedule
    resting = _continuous(parent)
    working = sum((child.leaves for child in resting), ZERO)
    held = sum((child.leaves for child in parent.working), ZERO)
    opening = sum((child.leaves for child in parent.working if child.kind is SliceKind.OPEN), ZERO)
    room = cap_room(terms, market, working)
    would = _would(parent, market)
    target = _target(strategy, parent, market, would, now_ns)
    due = min(target - parent.filled - working - opening, left - held)
    urgency = _urgency(schedule, now_ns)
    timed = market.quoted and not would and not strategy.follows_market
    if timed and _is_gap(parent, market, target, due, now_ns):
        return Actions(now_ns, replan=True)
    cross = not terms.passive or urgency >= CROSS_FROM or (market.quoted and _adverse(parent.buy, market))
    cancels = _to_cancel(parent, resting, market, cross or would, due, room)
    wake_ns = _wake(parent, market, now_ns, busy=bool(resting) or due > ZERO or strategy.follows_market)
    size = _size(terms, parent.lot, due, room, left - held)
    if not size or not market.quoted or cancels:
        return Actions(wake_ns, cancels=cancels)
    kind = SliceKind.WOULD if would else SliceKind.CROSS if cross else SliceKind.PASSIVE
    if terms.dark_first and market.dark and not parent.dark_sent and not would:
        kind = SliceKind.DARK
    made = _slice(parent, market, kind, size, target, working, room, urgency)
    return Actions(now_ns + LOOK_NS, (made,))


def _target(strategy: Strategy, parent: ParentView, market: Inputs, would: bool, now_ns: int) -> Decimal:
    """What shall be executed or at venues now: the schedule's, the floor's or, at the would-price, all."""
    schedule = parent.schedule
    if would:
        return parent.qty
    target = strategy.target(schedule, now_ns, market.others)
    if schedule.rate is not None and not strategy.follows_market:
        done = parent.filled - market.interval_own
        steered = steered_target(schedule, now_ns, market.seen, done, parent.lot)
        target = target if steered is None else steered
    floor = parent.terms.min_participation
    if floor is not None and floor < ONE:
        target = max(target, schedule.base_qty + own_volume(floor, market.others, ONE))
    return min(target, parent.qty - schedule.close_qty)


def _would(parent: ParentView, market: Inputs) -> bool:
    """Whether the market offers the would-price or better."""
    price = parent.terms.would_price
    if price is None or not market.quoted:
        return False
    far = market.ask if parent.buy else market.bid
    return far is not None and (far <= price if parent.buy else far >= price)


def _urgency(schedule: Schedule, now_ns: int) -> int:
    """Part of the running interval that has passed since its quantity was released, in thousandths."""
    place = max(0, bisect_right(schedule.times, now_ns) - 1)
    begin = max(schedule.times[place], min(schedule.releases[place], now_ns))
    end = schedule.times[place + 1] if place + 1 < len(schedule.times) else schedule.end_ns
    return 1000 * (now_ns - begin) // max(1, end - begin)


def _is_gap(parent: ParentView, market: Inputs, target: Decimal, due: Decimal, now_ns: int) -> bool:
    """Whether more is due than the last intervals and the least clip can have left: time passed unseen.

    What a steered schedule has due is bounded by itself and says nothing; there the intervals are counted.
    """
    schedule = parent.schedule
    if schedule.rate is not None and market.seen > ZERO:
        return market.missed >= BACKLOG
    place = bisect_right(schedule.releases, now_ns) - 1
    if place < BACKLOG:
        return False
    waited = parent.terms.min_clip if parent.terms.min_clip is not None else ZERO
    return due > max(target - schedule.targets[place - BACKLOG], parent.lot) + waited


def _adverse(buy: bool, market: Inputs) -> bool:
    """Whether the microprice says that the price is about to move away: most of the size is on our side.

    Source:
        Stoikov, The micro-price (2018): the imbalance of the best sizes predicts the next move of the mid.
    """
    own, other = (market.bid_size, market.ask_size) if buy else (market.ask_size, market.bid_size)
    return other > ZERO and own * _MICRO_DEN > (own + other) * _MICRO_NUM


def _to_cancel(
    parent: ParentView,
    resting: tuple[Working, ...],
    market: Inputs,
    cross: bool,
    due: Decimal,
    room: Decimal | None,
) -> tuple[str, ...]:
    """Resting children to ask back: too much by cap or target, behind the market, or it is time to cross."""
    too_much = due < ZERO or (room is not None and room < ZERO)
    found = []
    for child in resting:
        if child.cancelling or child.kind not in _RESTS:
            continue
        if too_much or (cross and _reaches(parent, market)) or _behind(parent, child, market):
            found.append(child.child_id)
    return tuple(found)


def _reaches(parent: ParentView, market: Inputs) -> bool:
    """Whether the limit lets the parent take what the other side shows."""
    if not market.quoted:
        return False
    far = market.ask if parent.buy else market.bid
    if parent.limit is None or far is None:
        return far is not None
    return far <= parent.limit if parent.buy else far >= parent.limit


def _behind(parent: ParentView, child: Working, market: Inputs) -> bool:
    """Whether the market has moved away from a resting child that the limit would let follow."""
    if child.price is None or not market.quoted:
        return False
    price = _near(parent, market)
    return child.price < price if parent.buy else child.price > price


def _near(parent: ParentView, market: Inputs) -> Decimal:
    """The own side's best price, no worse than the limit."""
    near = market.bid if parent.buy else market.ask
    return _bounded(parent, near if near is not None else ZERO)


def _bounded(parent: ParentView, price: Decimal) -> Decimal:
    if parent.limit is None:
        return price
    return min(price, parent.limit) if parent.buy else max(price, parent.limit)


def _size(terms: AlgoTerms, lot: Decimal, due: Decimal, room: Decimal | None, free: Decimal) -> Decimal:
    """Units of the next slice: whole lots, within clip and cap; less than that only when it is all."""
    size = due if room is None else min(due, room)
    if terms.max_clip is not None:
        size = min(size, terms.max_clip)
    if size <= ZERO:
        return ZERO
    if size < free:
        size -= size % lot
        if terms.min_clip is not None and size < min(terms.min_clip, free):
            return ZERO
    return size


def _slice(
    parent: ParentView,
    market: Inputs,
    kind: SliceKind,
    size: Decimal,
    target: Decimal,
    working: Decimal,
    room: Decimal | None,
    urgency: int,
) -> Slice:
    """The slice as an order: never through the parent's limit; one that cannot take rests at the limit."""
    far = market.ask if parent.buy else market.bid
    price = _bounded(parent, far if far is not None else ZERO)
    tif = TimeInForce.IOC
    if kind is SliceKind.WOULD and parent.terms.would_price is not None:
        price = _bounded(parent, parent.terms.would_price)
    if kind is SliceKind.PASSIVE or not _reaches(parent, market):
        kind, price, tif = SliceKind.PASSIVE, _near(parent, market), TimeInForce.DAY
    return Slice(
        size, price, OrderType.LIMIT, tif, _reason(parent, market, kind, target, working, room, urgency)
    )


def _reason(
    parent: ParentView,
    market: Inputs,
    kind: SliceKind,
    target: Decimal,
    working: Decimal,
    room: Decimal | None,
    urgency: int,
) -> SliceReason:
    left = parent.qty - parent.filled
    return SliceReason(
        kind, parent.arrival_mid, target, parent.filled, working, left, market.bid, market.ask, room, urgency
    )


# --- auctions, pauses, the end ----------------------------------------------------------------------------


def _continuous(parent: ParentView) -> tuple[Working, ...]:
    return tuple(child for child in parent.working if child.kind not in _AUCTIONS)


def _ask_back(children: tuple[Working, ...]) -> tuple[str, ...]:
    return tuple(child.child_id for child in children if not child.cancelling)


def _auction_slices(parent: ParentView, market: Inputs, left: Decimal, now_ns: int) -> tuple[Slice, ...]:
    """The auctions' parts, once each, when their time has come."""
    schedule = parent.schedule
    free = left - sum((child.leaves for child in parent.working), ZERO)
    opening = schedule.open_qty and not parent.open_sent and market.open_auction
    closing = schedule.close_qty and not parent.close_sent and market.close_auction
    if opening and free > ZERO:
        return (_auction(parent, market, SliceKind.OPEN, min(free, schedule.open_qty)),)
    if closing and now_ns >= schedule.close_ns and free > ZERO:
        return (_auction(parent, market, SliceKind.CLOSE, min(free, schedule.close_qty)),)
    return ()


def _auction(parent: ParentView, market: Inputs, kind: SliceKind, qty: Decimal) -> Slice:
    order_type = OrderType.MARKET if parent.limit is None else OrderType.LIMIT
    tif = TimeInForce.AT_OPEN if kind is SliceKind.OPEN else TimeInForce.AT_CLOSE
    held = sum((child.leaves for child in parent.working), ZERO)
    reason = _reason(parent, market, kind, parent.filled + held + qty, held, None, 0)
    return Slice(qty, parent.limit, order_type, tif, reason)


def _complete(parent: ParentView, market: Inputs, left: Decimal, now_ns: int) -> Actions:
    """At the end: children come back first, then what is left follows the completion policy."""
    again = now_ns + LOOK_NS
    resting = _continuous(parent)
    if resting:
        return Actions(again, cancels=_ask_back(resting))
    auction = sum((child.leaves for child in parent.working), ZERO)
    free = left - auction
    stopped = parent.paused or not market.trading
    completion = parent.terms.completion
    if completion is Completion.CLOSE and market.close_auction and free > ZERO and not parent.paused:
        made = _auction(parent, market, SliceKind.CLOSE, free)
        return Actions(again, (made,), finished=FinishReason.HANDED_TO_CLOSE)
    if completion is Completion.CROSS and free > ZERO and not parent.crossed and not stopped:
        room = cap_room(parent.terms, market, ZERO)
        size = free if room is None or room >= free else room - room % parent.lot
        if size > ZERO:
            return Actions(again, (_final(parent, market, size, room),))
    if auction:
        return Actions(again, finished=FinishReason.HANDED_TO_CLOSE)
    return Actions(again, finished=FinishReason.RESIDUAL_CANCELLED)


def _final(parent: ParentView, market: Inputs, size: Decimal, room: Decimal | None) -> Slice:
    """What is left, at the limit or at the market, immediate or cancelled."""
    reason = _reason(parent, market, SliceKind.FINAL, parent.qty, ZERO, room, 1000)
    order_type = OrderType.MARKET if parent.limit is None else OrderType.LIMIT
    return Slice(size, parent.limit, order_type, TimeInForce.IOC, reason)


def _wake(parent: ParentView, market: Inputs, now_ns: int, *, busy: bool = False) -> int:
    """When to look again: soon while something is to do or the market decides, else at the next release."""
    terms, schedule = parent.terms, parent.schedule
    if busy or terms.would_price is not None or terms.min_participation is not None:
        return min(now_ns + LOOK_NS, schedule.end_ns)
    moments = [schedule.end_ns]
    place = bisect_right(schedule.releases, now_ns)
    if place < len(schedule.releases):
        moments.append(schedule.releases[place])
    if schedule.close_ns > now_ns:
        moments.append(schedule.close_ns)
    if not market.trading:
        moments.append(now_ns + LOOK_NS)
    return min(moments)
