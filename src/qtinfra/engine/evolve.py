"""The only writer of state: one function per event. No decision is taken here, and nothing is refused.

An event that does not fit the state breaks an invariant and stops the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from qtinfra.core import events as ev
from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Execution, ExecutionState, VenueStatus
from qtinfra.core.models import (
    Amend,
    Child,
    ChildStatus,
    Order,
    OrderSide,
    OrderStatus,
    PendingCancel,
    PendingReplace,
    QueuedReplace,
)
from qtinfra.core.reports import CXL_UNKNOWN_ORDER, NO_ORDER, Effect
from qtinfra.engine.evolve_algos import ALGOS
from qtinfra.engine.evolve_books import BOOKS, charge_fill, post_change, rebook
from qtinfra.engine.evolve_held import HELD, admit
from qtinfra.engine.evolve_risk import with_risk
from qtinfra.engine.invariants import invariant
from qtinfra.engine.lookup import forget, kill_key
from qtinfra.engine.packing import pack_closed
from qtinfra.engine.scaling import scale_order
from qtinfra.engine.settle import close, end_children, expose, heard, known, name_request, release, settle
from qtinfra.engine.state import State
from qtinfra.risk.limits import set_limit

# Members by name: looking them up in their class costs more than comparing them.
_CHILD_SENT = ChildStatus.SENT
_CHILD_LIVE = ChildStatus.LIVE
_EXECUTION_LIVE = ExecutionState.LIVE
_BUY = OrderSide.BUY
_CHILD_UNKNOWN = ChildStatus.UNKNOWN
_CHILD_FILLED = ChildStatus.FILLED


#: What an event of a kind makes leave, with the state after it.
Seen = Mapping[type, Callable[[State, Any], list[Effect]]]


def evolve(state: State, event: Any) -> None:
    """Apply one event and advance the sequence by one.

    Raises:
        InvariantBrokenError: the event does not fit the state.
        KeyError: no such kind of event, or it names something that does not exist.
    """
    tables = state.tables
    tables.writing = True
    _EVOLVE[type(event)](state, event)
    tables.writing = False
    state.seq += 1
    if len(state.closing) >= state.packing.keep + state.packing.block:
        pack_closed(state)


def evolve_all(state: State, events: list[Any], seen: Seen, effects: list[Effect]) -> None:
    """`evolve` event by event, and after each what it makes leave: `effects` grows by what `seen` says.

    Raises:
        InvariantBrokenError, KeyError: as `evolve`; the events before have been applied.
    """
    tables, packing = state.tables, state.packing
    for event in events:
        kind = type(event)
        tables.writing = True
        _EVOLVE[kind](state, event)
        tables.writing = False
        state.seq += 1
        effect_of = seen.get(kind)
        if effect_of is not None:
            effects += effect_of(state, event)
        if len(state.closing) >= packing.keep + packing.block:
            pack_closed(state)


# --- shared ----------------------------------------------------------------------------------------------


def _inbound(state: State, event: ev.VenueEvent) -> None:
    if event.seq:
        state.inbound[event.venue] = event.seq


def _register(state: State, order: Order, cl_ord_id: str) -> None:
    if cl_ord_id:
        ids = state.client_ids.get(order.account)
        if ids is None:
            ids = state.client_ids[order.account] = {}
        ids.setdefault(cl_ord_id, order.order_id)


# --- owner, reference data, controls ---------------------------------------------------------------------


def _epoch_started(state: State, event: ev.EpochStarted) -> None:
    invariant(event.epoch > state.epoch, "epochs grow", state.epoch, event.epoch)
    state.epoch = event.epoch


def _reference_set(state: State, event: ev.ReferenceSet) -> None:
    forget(state)
    for instrument in event.instruments:
        state.instruments[instrument.symbol] = instrument.as_of(state.trade_date)
    for account in event.accounts:
        state.accounts[account.account] = account
    for venue in event.venues:
        state.venues[venue.mic] = venue
        state.venue_status.setdefault(venue.mic, VenueStatus.DISCONNECTED)
    for symbol, price in event.prices:
        state.reference_prices[symbol] = price


def _limit_set(state: State, event: ev.LimitSet) -> None:
    forget(state)
    set_limit(state.limits, event.rule, event.account, event.symbol, event.value)


def _symbol_restricted(state: State, event: ev.SymbolRestricted) -> None:
    accounts = state.restricted.setdefault(event.symbol, {})
    if event.restricted:
        accounts[event.account] = True
    else:
        accounts.pop(event.account, None)


def _fx_rate_set(state: State, event: ev.FxRateSet) -> None:
    state.fx_rates[f"{event.base}/{event.quote}"] = event.rate


def _instrument_halted(state: State, event: ev.InstrumentHalted) -> None:
    if event.halted:
        state.halted[event.symbol] = event.reason
    else:
        state.halted.pop(event.symbol, None)


def _venue_status_set(state: State, event: ev.VenueStatusSet) -> None:
    forget(state)
    state.venue_status[event.venue] = event.status


def _kill_engaged(state: State, event: ev.KillSwitchEngaged) -> None:
    forget(state)
    state.kills[kill_key(event.scope, event.value)] = event.reason


def _kill_released(state: State, event: ev.KillSwitchReleased) -> None:
    forget(state)
    state.kills.pop(kill_key(event.scope, event.value), None)


def _day_closed(state: State, event: ev.DayClosed) -> None:
    state.closed_days[event.venue] = event.trade_date


def _day_opened(state: State, event: ev.DayOpened) -> None:
    state.trade_date = event.trade_date
    for symbol, instrument in state.instruments.items():
        if instrument.changes:
            state.instruments[symbol] = instrument.as_of(event.trade_date)
    for order_id in list(state.open_orders):
        order = state.orders[order_id]
        order.day_base_cum = order.cum_qty
        order.done_for_day = False
        settle(state, order, order.updated_ns)


def _nothing(state: State, event: ev.CommandRefused | ev.DuplicateRefused) -> None:
    del state, event


def _quarantined(state: State, event: ev.CommandQuarantined) -> None:
    for subject in (event.order_id, event.account):
        if subject:
            state.frozen[subject] = event.error
    if event.seq:
        state.inbound[event.venue] = event.seq


def _unfrozen(state: State, event: ev.Unfrozen) -> None:
    state.frozen.pop(event.subject, None)
    if event.subject in state.orders:
        state.closing[event.subject] = True


def _break_raised(state: State, event: ev.BreakRaised) -> None:
    del event
    state.breaks += 1


# --- client orders ---------------------------------------------------------------------------------------


def _new_order(event: ev.OrderAccepted | ev.OrderRejected) -> Order:
    qty, price, ts_ns = event.qty, event.price, event.ts_ns
    order = Order(
        event.order_id,
        event.account,
        event.cl_ord_id,
        event.symbol,
        event.side,
        event.order_type,
        event.tif,
        qty,
        price,
        event.min_qty,
        event.capacity,
        event.trader,
        event.origin,
        ts_ns,
        ts_ns,
        qty,
        qty,
        price,
    )
    order.special = event.special
    order.algo = event.algo
    return order


def _order_accepted(state: State, event: ev.OrderAccepted) -> None:
    order = _new_order(event)
    order.acked = state.acks_on_accept(event.account, event.origin)
    state.orders[event.order_id] = order
    _register(state, order, event.cl_ord_id)
    expose(state, order, event.qty)
    state.open_orders[event.order_id] = True
    if event.special is not None:
        admit(state, order, event.special)


def _order_rejected(state: State, event: ev.OrderRejected) -> None:
    order = _new_order(event)
    close(order, OrderStatus.REJECTED)
    order.status = OrderStatus.REJECTED
    state.orders[event.order_id] = order
    _register(state, order, event.cl_ord_id)
    state.closing[event.order_id] = True


def _order_routed(state: State, event: ev.OrderRouted) -> None:
    order = state.orders[event.order_id]
    for planned in event.children:
        child_id, qty = planned.child_id, planned.qty
        state.children[child_id] = Child(
            child_id,
            order.order_id,
            planned.venue,
            order.symbol,
            order.side,
            planned.order_type,
            planned.tif,
            qty,
            planned.price,
            planned.min_qty,
            child_id,
            qty,
        )
        state.venue_ids[child_id] = child_id
        order.children.append(child_id)
        order.unallocated -= qty
    invariant(order.unallocated >= ZERO, "no more is routed than is left", order.order_id)
    order.route_attempts += 1
    settle(state, order, event.ts_ns)


def _cancel_requested(state: State, event: ev.CancelRequested) -> None:
    order = state.orders[event.order_id]
    for leg in event.legs:
        state.children[leg.child_id].cancel_id = leg.cl_ord_id
        name_request(state, leg.child_id, leg.cl_ord_id)
    order.pending_cancel = PendingCancel(
        event.cl_ord_id, event.orig_cl_ord_id, event.origin, len(event.legs), event.reason
    )
    _remember_amend(state, order, Amend(event.cl_ord_id, event.orig_cl_ord_id, cancel=True))
    settle(state, order, event.ts_ns)


def _remember_amend(state: State, order: Order, amend: Amend) -> None:
    if amend.cl_ord_id:
        order.amends.append(amend)
        if state.find_order(order.account, amend.cl_ord_id) is None:
            _register(state, order, amend.cl_ord_id)


def _replace_requested(state: State, event: ev.ReplaceRequested) -> None:
    order = state.orders[event.order_id]
    for leg in event.legs:
        child = state.children[leg.child_id]
        child.replace_id, child.replace_qty, child.replace_price = leg.cl_ord_id, leg.qty, leg.price
        name_request(state, leg.child_id, leg.cl_ord_id)
    before = order.pending_replace
    order.pending_replace = PendingReplace(
        event.cl_ord_id, event.orig_cl_ord_id, event.origin, event.qty, event.price, len(event.legs)
    )
    if before is not None:  # asked again for what executions have crossed
        order.pending_replace.accepted = before.accepted
        order.pending_replace.reject_reason = before.reject_reason
        settle(state, order, event.ts_ns)
        return
    amend = Amend(event.cl_ord_id, event.orig_cl_ord_id, False, event.qty, event.price)
    _remember_amend(state, order, amend)
    settle(state, order, event.ts_ns)


def _replace_queued(state: State, event: ev.ReplaceQueued) -> None:
    order = state.orders[event.order_id]
    queued = QueuedReplace(event.cl_ord_id, event.orig_cl_ord_id, event.qty, event.price, event.origin)
    order.queued.append(queued)
    amend = Amend(event.cl_ord_id, event.orig_cl_ord_id, False, event.qty, event.price)
    _remember_amend(state, order, amend)
    settle(state, order, event.ts_ns)


def _replace_unqueued(state: State, event: ev.ReplaceUnqueued) -> None:
    order = state.orders[event.order_id]
    order.queued = [queued for queued in order.queued if queued.cl_ord_id != event.cl_ord_id]


def _amend_refused(state: State, event: ev.AmendRefused) -> None:
    if event.order_id == NO_ORDER:
        return
    order = state.orders[event.order_id]
    cancel = event.response_to == 1
    refused = Amend(
        event.cl_ord_id,
        event.orig_cl_ord_id,
        cancel,
        event.qty,
        event.price,
        event.reason,
        event.code,
        event.text,
    )
    if not event.clears:
        if all(amend.cl_ord_id != event.cl_ord_id for amend in order.amends):
            _remember_amend(state, order, refused)
        settle(state, order, event.ts_ns)
        return
    _mark_refused(order, refused)
    if cancel:
        order.pending_cancel = None
    else:
        order.pending_replace = None
    settle(state, order, event.ts_ns)


def _mark_refused(order: Order, refused: Amend) -> None:
    """The request that was sent on came back refused: remember why, for whoever asks again."""
    for position, amend in enumerate(order.amends):
        if amend.cl_ord_id == refused.cl_ord_id and amend.reject_reason < 0:
            order.amends[position] = Amend(
                amend.cl_ord_id,
                amend.orig_cl_ord_id,
                amend.cancel,
                amend.qty,
                amend.price,
                refused.reject_reason,
                refused.code,
                refused.text,
            )


def _order_replaced(state: State, event: ev.OrderReplaced) -> None:
    order = state.orders[event.order_id]
    order.qty = event.qty
    order.price = event.price
    if event.cl_ord_id:
        order.cl_ord_id = event.cl_ord_id
        if all(amend.cl_ord_id != event.cl_ord_id for amend in order.amends):
            amend = Amend(event.cl_ord_id, event.orig_cl_ord_id, False, event.qty, event.price)
            _remember_amend(state, order, amend)
    order.pending_replace = None
    settle(state, order, event.ts_ns)


def _order_cancelled(state: State, event: ev.OrderCancelled) -> None:
    order = state.orders[event.order_id]
    close(order, OrderStatus.CANCELLED)
    settle(state, order, event.ts_ns)


def _order_refused_by_venues(state: State, event: ev.OrderRefusedByVenues) -> None:
    order = state.orders[event.order_id]
    close(order, OrderStatus.REJECTED)
    settle(state, order, event.ts_ns)


def _order_expired(state: State, event: ev.OrderExpired) -> None:
    _inbound(state, event)
    order = state.orders[event.order_id]
    end_children(state, order)
    close(order, OrderStatus.EXPIRED)
    settle(state, order, event.ts_ns)


def _order_done_for_day(state: State, event: ev.OrderDoneForDay) -> None:
    _inbound(state, event)
    order = state.orders[event.order_id]
    if event.closes:
        end_children(state, order)
        close(order, OrderStatus.DONE_FOR_DAY)
    else:
        order.done_for_day = True
    settle(state, order, event.ts_ns)


def _order_restated(state: State, event: ev.OrderRestated) -> None:
    _inbound(state, event)
    order = state.orders[event.order_id]
    if event.ratio_num != event.ratio_den:
        scale_order(state, order, event.ratio_num, event.ratio_den)
    else:
        _resize(state, order, event.qty - order.qty, event.child_id)
    order.qty = event.qty
    order.price = event.price
    order.done_for_day = False
    settle(state, order, event.ts_ns)


def _resize(state: State, order: Order, change: Decimal, child_id: str) -> None:
    """The order grows or shrinks by agreement: the named child with it, then what no venue holds, then the
    other children, the youngest first.
    """
    if not child_id:
        change = min(ZERO, change + order.unallocated)
    named = [state.children[child_id]] if child_id else []
    for child in (*named, *reversed(state.working_children(order))):
        part = max(change, -child.leaves)
        child.qty += part
        child.leaves += part
        _fill_up(child)
        change -= part
        if child_id:
            change, child_id = min(ZERO, change + order.unallocated), ""


def _order_suspended(state: State, event: ev.OrderSuspended) -> None:
    order = state.orders[event.order_id]
    order.suspended = True
    settle(state, order, event.ts_ns)


def _order_reinstated(state: State, event: ev.OrderReinstated) -> None:
    order = state.orders[event.order_id]
    order.suspended = False
    settle(state, order, event.ts_ns)


# --- children and executions -----------------------------------------------------------------------------


def _venue_session_started(state: State, event: ev.VenueSessionStarted) -> None:
    state.sessions[event.venue] = event.session
    state.inbound[event.venue] = 0


def _report_ignored(state: State, event: ev.ReportIgnored) -> None:
    _inbound(state, event)


def _child_acked(state: State, event: ev.ChildAcked) -> None:
    if event.seq:
        state.inbound[event.venue] = event.seq
    order, child = state.orders[event.order_id], state.children[event.child_id]
    child.venue_order_id = event.venue_order_id
    order.acked = True
    if child.status is _CHILD_SENT:  # as live as before in all that is derived from it
        child.status = _CHILD_LIVE
        order.version += 1
        order.updated_ns = event.ts_ns
        return
    heard(order, child)
    settle(state, order, event.ts_ns)


def _child_rejected(state: State, event: ev.ChildRejected) -> None:
    _inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    release(order, child, ChildStatus.REJECTED)
    order.refused_venues.append(child.venue)
    settle(state, order, event.ts_ns)


def _order_filled(state: State, event: ev.OrderFilled) -> None:
    if event.seq:
        state.inbound[event.venue] = event.seq
    order, child = state.orders[event.order_id], state.children[event.child_id]
    qty, px = event.qty, event.px
    value = qty * px
    state.executions[event.key] = Execution(
        event.key,
        event.exec_id,
        event.order_id,
        event.child_id,
        event.venue,
        event.trade_date,
        event.ts_ns,
        qty,
        px,
        qty,
        px,
        value,
        event.liquidity,
        event.fee,
        _EXECUTION_LIVE,
        event.late,
        event.commission,
    )
    order.executions.append(event.key)
    order.cum_qty += qty
    order.notional += value
    order.acked = True
    if event.trade_date < state.trade_date:
        order.day_base_cum += qty
    _take_from_child(order, child, qty)
    fee = event.fee if state.fees is None else charge_fill(state, event)
    state.positions.apply(
        event.account,
        event.symbol,
        event.key,
        qty if event.side is _BUY else -qty,
        event.px,
        fee,
        event.trade_date,
        state.instruments[event.symbol].multiplier,
    )
    if state.cash is not None:
        post_change(state, order, value, fee)
    settle(state, order, event.ts_ns)


def _take_from_child(order: Order, child: Child, qty: Decimal) -> None:
    """An execution uses up the child's remainder; more than that was executed late or beyond its quantity."""
    child.cum += qty
    left = child.leaves - qty
    child.leaves = left if left > ZERO else ZERO
    if child.status is not _CHILD_LIVE and child.status in (_CHILD_SENT, _CHILD_UNKNOWN):
        heard(order, child)
    _fill_up(child)


def _fill_up(child: Child) -> None:
    """A live child that has nothing left is filled."""
    if not child.leaves and child.status is _CHILD_LIVE:
        child.status = _CHILD_FILLED


def _execution_busted(state: State, event: ev.ExecutionBusted) -> None:
    _inbound(state, event)
    order, execution = state.orders[event.order_id], state.executions[event.key]
    rebook(state, order, execution, ZERO, ZERO)
    _take_back(state, order, execution, ZERO, ZERO, event.ts_ns)
    execution.state = ExecutionState.BUSTED


def _execution_corrected(state: State, event: ev.ExecutionCorrected) -> None:
    _inbound(state, event)
    order, execution = state.orders[event.order_id], state.executions[event.key]
    rebook(state, order, execution, event.qty, event.px, event.fee)
    _take_back(state, order, execution, event.qty, event.px, event.ts_ns)
    execution.state = ExecutionState.CORRECTED


def _take_back(
    state: State, order: Order, execution: Execution, qty: Decimal, px: Decimal, ts_ns: int
) -> None:
    """Executed quantity changes afterwards. What re-opens is held for staff: no venue gets it by itself.

    More than was reported at first came out of what the venue still held.
    """
    change = qty - execution.qty
    order.cum_qty += change
    order.notional += qty * px - execution.value
    if execution.trade_date < state.trade_date:
        order.day_base_cum += change
    child = state.children[execution.child_id]
    child.cum += change
    if change > ZERO:
        child.leaves = max(ZERO, child.leaves - change)
    _fill_up(child)
    if qty:
        execution.qty, execution.px, execution.value = qty, px, qty * px
    settle(state, order, ts_ns)


def _child_ended(state: State, event: ev.ChildEnded) -> None:
    _inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    release(order, child, ChildStatus(event.status))
    settle(state, order, event.ts_ns)


def _child_replaced(state: State, event: ev.ChildReplaced) -> None:
    _inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    child.replace_id = ""
    heard(order, child)
    child.leaves = max(ZERO, event.qty - child.cum)
    child.qty, child.price, child.cl_ord_id = event.qty, event.price, event.cl_ord_id
    _fill_up(child)
    if order.pending_replace is not None:
        order.pending_replace.waiting -= 1
        order.pending_replace.accepted += 1
    settle(state, order, event.ts_ns)


def _child_amend_rejected(state: State, event: ev.ChildAmendRejected) -> None:
    _inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    if event.cl_ord_id == child.cancel_id:
        child.cancel_id = ""
        if order.pending_cancel is not None:
            order.pending_cancel.waiting -= 1
            order.pending_cancel.reject_reason = max(order.pending_cancel.reject_reason, event.reason)
    else:
        child.replace_id = ""
        if order.pending_replace is not None:
            order.pending_replace.waiting -= 1
            order.pending_replace.reject_reason = max(order.pending_replace.reject_reason, event.reason)
    if child.status is _CHILD_UNKNOWN and event.reason != CXL_UNKNOWN_ORDER:
        heard(order, child)
        _fill_up(child)
    settle(state, order, event.ts_ns)


def _child_unknown(state: State, event: ev.ChildUnknown) -> None:
    _inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    if child.status is not _CHILD_UNKNOWN:
        child.status = _CHILD_UNKNOWN
        order.unknown_children += 1
    settle(state, order, event.ts_ns)


def _child_confirmed(state: State, event: ev.ChildConfirmed) -> None:
    _inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    known(order, child)
    child.status = _CHILD_LIVE
    order.acked = True
    settle(state, order, event.ts_ns)


def _order_stopped(state: State, event: ev.OrderStopped) -> None:
    _inbound(state, event)
    order = state.orders[event.order_id]
    order.stopped = True
    settle(state, order, event.ts_ns)


_EVOLVE: dict[type, Callable[[State, Any], None]] = {
    ev.EpochStarted: _epoch_started,
    ev.ReferenceSet: _reference_set,
    ev.LimitSet: _limit_set,
    ev.SymbolRestricted: _symbol_restricted,
    ev.FxRateSet: _fx_rate_set,
    ev.InstrumentHalted: _instrument_halted,
    ev.VenueStatusSet: _venue_status_set,
    ev.KillSwitchEngaged: _kill_engaged,
    ev.KillSwitchReleased: _kill_released,
    ev.DayClosed: _day_closed,
    ev.DayOpened: _day_opened,
    ev.CommandRefused: _nothing,
    ev.DuplicateRefused: _nothing,
    ev.CommandQuarantined: _quarantined,
    ev.Unfrozen: _unfrozen,
    ev.BreakRaised: _break_raised,
    ev.OrderAccepted: _order_accepted,
    ev.OrderRejected: _order_rejected,
    ev.OrderRouted: _order_routed,
    ev.CancelRequested: _cancel_requested,
    ev.ReplaceRequested: _replace_requested,
    ev.ReplaceQueued: _replace_queued,
    ev.ReplaceUnqueued: _replace_unqueued,
    ev.AmendRefused: _amend_refused,
    ev.OrderReplaced: _order_replaced,
    ev.OrderCancelled: _order_cancelled,
    ev.OrderRefusedByVenues: _order_refused_by_venues,
    ev.OrderExpired: _order_expired,
    ev.OrderDoneForDay: _order_done_for_day,
    ev.OrderRestated: _order_restated,
    ev.OrderSuspended: _order_suspended,
    ev.OrderReinstated: _order_reinstated,
    ev.VenueSessionStarted: _venue_session_started,
    ev.ReportIgnored: _report_ignored,
    ev.ChildAcked: _child_acked,
    ev.ChildRejected: _child_rejected,
    ev.OrderFilled: _order_filled,
    ev.ExecutionBusted: _execution_busted,
    ev.ExecutionCorrected: _execution_corrected,
    ev.ChildEnded: _child_ended,
    ev.ChildReplaced: _child_replaced,
    ev.ChildAmendRejected: _child_amend_rejected,
    ev.ChildUnknown: _child_unknown,
    ev.ChildConfirmed: _child_confirmed,
    ev.OrderStopped: _order_stopped,
    **HELD,
    **BOOKS,
    **ALGOS,
}
_EVOLVE.update(with_risk(_EVOLVE))
