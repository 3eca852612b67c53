"""Parents that algorithms work: taken, planned, looked at by the timer, paused, amended, ended.

An accepted algo order is not routed. Its schedule is journaled, and a look at it decides what goes to venues,
by the pure runtime in `execution.parent`. A look that decides nothing leaves no record.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from qtinfra.core import algo_events as al
from qtinfra.core import events as ev
from qtinfra.core.algo import AlgoTerms, FinishReason, Schedule, SliceKind
from qtinfra.core.commands import PauseAlgo, ResumeAlgo, SubmitOrder, TimerFired
from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.decisions import Refusal, RiskApproved, RiskRefused
from qtinfra.core.extended_models import Account, Instrument
from qtinfra.core.market import ConsolidatedBook, MarketView, peek
from qtinfra.core.models import Order
from qtinfra.core.strategies.registry import BUILT_IN
from qtinfra.core.strategies.schedule import ScheduleError
from qtinfra.core.validation.algo import algo_special, check_algo
from qtinfra.core.validation.rules import check_new
from qtinfra.core.validation.special import ON_AUCTION
from qtinfra.engine.algo_state import ParentState
from qtinfra.engine.decide.algo_inputs import auction_open, displaying, look_inputs, parent_view, plan_inputs
from qtinfra.engine.decide.algo_replacing import recall
from qtinfra.engine.decide.context import check_in_context
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.placing import send_whole
from qtinfra.engine.decide.risk_gate import gate, reapprove, seen_reference, use_overrides
from qtinfra.engine.decide.routing import eligible_venues, route
from qtinfra.engine.evolve_algos import interval_of
from qtinfra.engine.lookup import strategies_of
from qtinfra.engine.state import State
from qtinfra.execution.parent import LOOK_NS, Actions, Slice, evaluate

_TAKEN_BACK = "an execution was taken back: what it re-opened is held for staff"


# --- taking an order --------------------------------------------------------------------------------------


def submit_algo(
    state: State,
    command: SubmitOrder,
    account: Account,
    instrument: Instrument | None,
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> Refusal | None:
    """Accept and plan a new algo order; the refusal when it may not be."""
    terms = command.algo
    refusal = check_new(command, account, instrument, command.symbol in state.halted)
    if state.calendars and instrument is not None:
        refusal = check_in_context(state, command, account, instrument, now_ns, refusal)
    if refusal is not None or instrument is None or terms is None:
        return refusal
    refusal = check_algo(command, instrument, now_ns, strategies_of(state))
    if refusal is not None:
        return refusal
    special = algo_special(command.special, terms)
    verdict = gate(
        state,
        market,
        account=command.account,
        trader=command.trader,
        symbol=command.symbol,
        side=command.side,
        order_type=command.order_type,
        tif=command.tif,
        qty=command.qty,
        adds=command.qty,
        price=command.price,
        min_qty=command.min_qty or ZERO,
        now_ns=now_ns,
        special=special,
    )
    if isinstance(verdict, RiskRefused):
        return verdict.refusal
    bare = _order_to_be(command, now_ns)
    schedule = plan(state, bare, terms, now_ns, market)
    if isinstance(schedule, Refusal):
        return schedule
    use_overrides(verdict, command.account, command.cl_ord_id, out)
    order_id = out.order_id()
    out.add(
        ev.OrderAccepted(
            order_id,
            command,
            now_ns,
            special,
            seen_reference(verdict),
            terms,
        )
    )
    _add_plan(order_id, terms, schedule, "accepted", now_ns, market.book(command.symbol), out)
    return None


def _order_to_be(command: SubmitOrder, now_ns: int) -> Order:
    """The order as it will be, for planning it before it exists."""
    return Order(
        "",
        command.account,
        command.cl_ord_id,
        command.symbol,
        command.side,
        command.order_type,
        command.tif,
        command.qty,
        command.price,
        command.min_qty or ZERO,
        command.capacity,
        command.trader,
        command.origin,
        now_ns,
        now_ns,
        command.qty,
        command.qty,
        command.price,
    )


def plan(state: State, order: Order, terms: AlgoTerms, now_ns: int, market: MarketView) -> Schedule | Refusal:
    """A schedule for what is left of the order."""
    strategy = strategies_of(state).get(terms.algo)
    if strategy is None:
        return Refusal("unknown_algo", f"algo {terms.algo} is not installed", "algo", "", terms.algo)
    inputs = plan_inputs(state, order, terms, now_ns, market)
    try:
        return strategy.plan(terms, inputs)
    except ScheduleError as error:
        return Refusal("algo_not_planned", f"{terms.algo} cannot be planned: {error}", f"algo.{error.field}")


def _add_plan(
    order_id: str,
    terms: AlgoTerms,
    schedule: Schedule,
    reason: str,
    now_ns: int,
    book: ConsolidatedBook | None,
    out: Decision,
) -> None:
    mid = book.mid() if book is not None else None
    begun = schedule.times[0] <= now_ns
    traded = book.traded if book is not None and begun else None
    out.add(al.AlgoPlanned(order_id, terms, schedule, reason, mid, traded, now_ns))


def _replan(state: State, order: Order, reason: str, now_ns: int, market: MarketView, out: Decision) -> None:
    """Plan what is left anew. Where that fails the parent pauses; with no time left its end decides."""
    if order.algo is None or now_ns >= order.algo.end_ns:
        return
    schedule = plan(state, order, order.algo, now_ns, market)
    if isinstance(schedule, Refusal):
        out.add(al.AlgoPaused(order.order_id, schedule.text, now_ns))
    else:
        _add_plan(order.order_id, order.algo, schedule, reason, now_ns, market.book(order.symbol), out)


# --- looking ----------------------------------------------------------------------------------------------


def work_parents(state: State, command: TimerFired, now_ns: int, market: MarketView, out: Decision) -> None:
    """Look at the parents that are this timer's part."""
    parts = max(1, command.parts)
    for order_id, parent in state.algos.parents.items():
        if parent.number % parts == command.part % parts:
            look(state, state.orders[order_id], parent, now_ns, market, out)


def first_look_ns(schedule: Schedule, now_ns: int) -> int:
    """When a parent with this schedule is looked at first: at its start, at once for an opening auction."""
    return now_ns if schedule.open_qty else max(now_ns, schedule.times[0])


def next_look_ns(state: State, fired_ns: int) -> int | None:
    """When the ALGO timer should fire next, UTC nanoseconds; None without parents.

    Args:
        fired_ns: when it fired last. A parent that works is looked at `LOOK_NS` later.
    """
    again_ns = fired_ns + LOOK_NS
    return min(
        (first_look_ns(parent.schedule, again_ns) for parent in state.algos.parents.values()), default=None
    )


def look(
    state: State, order: Order, parent: ParentState, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Look at one parent and do what follows. While a cancel or replace is out, its answer comes first."""
    terms = order.algo
    if terms is None or order.pending_cancel is not None or order.pending_replace is not None:
        return
    early = now_ns < parent.schedule.times[0] and not parent.schedule.open_qty
    if early and not parent.children:
        return
    stopped = _stopped(state, order, parent)
    if stopped and not parent.paused:
        out.add(al.AlgoPaused(order.order_id, stopped, now_ns))
    book = peek(market, order.symbol)
    seen_before = parent.interval
    if book is not None and _counts_volume(terms, parent.schedule) and not parent.paused:
        parent = _roll(order, parent, book, now_ns, market, out)
    view = parent_view(state, order, terms, parent, now_ns)
    view.paused = view.paused or bool(stopped)
    inputs = look_inputs(state, order, terms, parent, view, book, now_ns)
    inputs.missed = max(0, parent.interval - seen_before - 1)
    strategy = strategies_of(state).get(terms.algo) or BUILT_IN["TWAP"]  # unread while it is paused
    actions = evaluate(strategy, view, inputs, now_ns)
    if not actions.idle:
        market.book(order.symbol)
        _act(state, order, actions, now_ns, market, out)


def _stopped(state: State, order: Order, parent: ParentState) -> str:
    """Why the parent may not go on: its algo is disabled or not installed; empty when it may."""
    if parent.paused:
        return parent.paused
    algo = order.algo.algo if order.algo is not None else ""
    run = state.risk.algos.get(algo)
    if run is not None and run.disabled:
        return f"algo {algo} is disabled"
    if algo not in strategies_of(state):
        return f"algo {algo} is not installed"
    return ""


def _counts_volume(terms: AlgoTerms, schedule: Schedule) -> bool:
    """Whether printed volume decides anything for the parent."""
    return not (terms.max_participation is None and terms.min_participation is None and schedule.rate is None)


def _roll(
    order: Order, parent: ParentState, book: ConsolidatedBook, now_ns: int, market: MarketView, out: Decision
) -> ParentState:
    """Begin the interval that has come: volume counts from now. The parent as it is then."""
    interval = interval_of(parent, now_ns)
    if interval < 0 or interval == parent.interval or now_ns >= parent.schedule.end_ns:
        return parent
    market.book(order.symbol)
    out.add(al.AlgoIntervalBegan(order.order_id, interval, book.traded, now_ns))
    changes = {"interval": interval, "interval_traded": book.traded, "interval_cum": order.cum_qty}
    if parent.base_traded is None:
        changes |= {"base_traded": book.traded, "base_cum": order.cum_qty}
    return msgspec.structs.replace(parent, **changes)


def _act(
    state: State, order: Order, actions: Actions, now_ns: int, market: MarketView, out: Decision
) -> None:
    if actions.replan:
        _replan(state, order, "behind its schedule by more than two intervals", now_ns, market, out)
        return
    if actions.cancels:
        recall(state, order, actions.cancels, "algo", now_ns, out)
    for one in actions.slices:
        if not _send(state, order, one, now_ns, market, out):
            if actions.finished is not None:
                _finish(order, FinishReason.RESIDUAL_CANCELLED, now_ns, out)
            return
    if actions.finished is not None:
        _finish(order, actions.finished, now_ns, out)


def _send(state: State, order: Order, one: Slice, now_ns: int, market: MarketView, out: Decision) -> bool:
    """Send a slice, if permissions still hold and a venue takes it."""
    verdict = reapprove(state, order, one.qty)
    if isinstance(verdict, RiskRefused):
        out.add(al.AlgoPaused(order.order_id, verdict.refusal.text, now_ns))
        return False
    part = msgspec.structs.replace(
        verdict, order_type=one.order_type, tif=one.tif, qty=one.qty, price=one.price, min_qty=ZERO
    )
    if not _place(state, order, one.reason.kind, part, now_ns, market, out):
        return False
    routed = out.events[-1]
    children = (
        tuple(child.child_id for child in routed.children) if isinstance(routed, ev.OrderRouted) else ()
    )
    out.add(al.SliceSent(order.order_id, children, one.qty, one.reason, now_ns))
    return True


def _place(
    state: State,
    order: Order,
    kind: SliceKind,
    part: RiskApproved,
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> bool:
    """Add the OrderRouted event of a slice: at the auction's venue, where nothing is displayed, or by the
    router. Venues that refused a child are passed over as long as others remain."""
    if part.tif in ON_AUCTION:
        if not auction_open(state, order, part.tif, now_ns):
            return False
        mic = state.instruments[order.symbol].listings[0]
        why = "auction at the listing venue"
        send_whole(out, order.order_id, mic, part.order_type, part.tif, part, why, now_ns)
        return True
    refused = order.refused_venues
    if refused and not eligible_venues(state, order.symbol, refused):
        refused = ()
    if kind is SliceKind.DARK:
        book = market.book(order.symbol)
        shown = displaying(book)
        dark = [item.mic for item in eligible_venues(state, order.symbol, refused) if item.mic not in shown]
        if dark:
            why = f"nothing is displayed at {dark[0]}"
            send_whole(out, order.order_id, dark[0], part.order_type, part.tif, part, why, now_ns)
            return True
    return route(state, order.order_id, part, refused, now_ns, market, out)


def _finish(order: Order, reason: FinishReason, now_ns: int, out: Decision) -> None:
    """The schedule is over, and says so; what is left ends with it unless an auction has it."""
    left = order.leaves_qty
    text = f"{order.algo.algo if order.algo is not None else ''} {reason}: {plain(left)} left"
    out.add(al.AlgoFinished(order.order_id, reason, order.cum_qty, left, text, now_ns))
    if reason is FinishReason.RESIDUAL_CANCELLED and order.open:
        out.add(ev.OrderCancelled(order.order_id, "", f"algo: {reason}", now_ns))


# --- pause, resume, amend ---------------------------------------------------------------------------------


def pause_algo(state: State, command: PauseAlgo, now_ns: int, market: MarketView, out: Decision) -> None:
    del market
    order = _parent_of(state, command, out)
    if order is None or state.algos.parents[order.order_id].paused:
        return
    out.add(al.AlgoPaused(order.order_id, command.reason or "paused", now_ns))
    out.then(partial(review_parents, order_ids=(order.order_id,)))


def resume_algo(state: State, command: ResumeAlgo, now_ns: int, market: MarketView, out: Decision) -> None:
    del market
    order = _parent_of(state, command, out)
    if order is None or not state.algos.parents[order.order_id].paused:
        return
    out.add(al.AlgoResumed(order.order_id, command.reason, now_ns))
    out.then(partial(review_parents, order_ids=(order.order_id,), replan="resumed"))


def _parent_of(state: State, command: PauseAlgo | ResumeAlgo, out: Decision) -> Order | None:
    """The parent that a command names; None, and the refusal, when it is not worked."""
    order = state.find_order(command.account, command.cl_ord_id)
    if order is not None and order.order_id in state.algos.parents:
        return order
    text = f"no algo works an order {command.cl_ord_id[:64]!r} of account {command.account[:40]!r}"
    observed = order.status if order is not None else "none"
    out.add(ev.CommandRefused(command.account, "", "not_worked", "client_order_id", "", observed, text))
    return None


# --- after other events -----------------------------------------------------------------------------------

_ENDS = (
    ev.OrderFilled,
    ev.OrderCancelled,
    ev.OrderExpired,
    ev.OrderDoneForDay,
    ev.OrderRefusedByVenues,
    ev.OrderSuspended,
)
_TAKES_BACK = (ev.ExecutionBusted, ev.ExecutionCorrected)
_PLANS = (ev.OrderReinstated, ev.OrderReplaced)
_CONCERNS = (*_ENDS, *_TAKES_BACK, *_PLANS)


def algo_aftermath(state: State, events: Sequence[ev.AnyEvent], out: Decision) -> None:
    """Add the follow-ups that parents need after these events; `state` is after them."""
    parents = state.algos.parents
    reviewed: dict[str, None] = {}
    planned: dict[str, None] = {}
    for event in events:
        if isinstance(event, al.MarketProfileSet | al.VolumeCurveSet):
            planned.update(dict.fromkeys(_moved(state, event)))
        elif not isinstance(event, _CONCERNS) or event.order_id not in parents:
            continue
        elif isinstance(event, _PLANS):
            planned[event.order_id] = None
        elif isinstance(event, _TAKES_BACK):
            out.then(partial(hold_for_staff, order_id=event.order_id))
        else:
            reviewed[event.order_id] = None
    if reviewed:
        out.then(partial(review_parents, order_ids=tuple(reviewed)))
    if planned:
        out.then(partial(review_parents, order_ids=tuple(planned), replan="its facts have changed"))


def _moved(state: State, event: al.MarketProfileSet | al.VolumeCurveSet) -> list[str]:
    """Parents whose plan the new facts are worth: those of strategies that resolve."""
    strategies = strategies_of(state)
    found = []
    for order_id in state.algos.parents:
        order = state.orders[order_id]
        strategy = strategies.get(order.algo.algo) if order.algo is not None else None
        if order.symbol == event.symbol and strategy is not None and strategy.resolves:
            found.append(order_id)
    return found


def hold_for_staff(state: State, now_ns: int, market: MarketView, out: Decision, *, order_id: str) -> None:
    """Follow-up: quantity that a bust re-opens is not sent by itself."""
    del market
    parent = state.algos.parents.get(order_id)
    if parent is not None and not parent.paused:
        out.add(al.AlgoPaused(order_id, _TAKEN_BACK, now_ns))


def review_parents(
    state: State,
    now_ns: int,
    market: MarketView,
    out: Decision,
    *,
    order_ids: tuple[str, ...],
    replan: str = "",
) -> None:
    """Follow-up: a parent whose order has ended is finished; another one is planned anew or looked at."""
    for order_id in order_ids:
        parent, order = state.algos.parents.get(order_id), state.orders[order_id]
        if parent is None:
            continue
        if not order.open:
            _finish(order, _ended_as(order, parent), now_ns, out)
        elif replan and not parent.paused:
            _replan(state, order, replan, now_ns, market, out)
        elif parent.paused or order.suspended:
            look(state, order, parent, now_ns, market, out)


def _ended_as(order: Order, parent: ParentState) -> FinishReason:
    if not order.filled:
        return FinishReason.ORDER_ENDED
    return FinishReason.CROSSED if parent.crossed else FinishReason.COMPLETED
