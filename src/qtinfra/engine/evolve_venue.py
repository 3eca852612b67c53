"""The part of evolve that keeps what venues report: children and executions."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from qtinfra.core import events as ev
from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Execution, ExecutionState
from qtinfra.core.models import (
    Child,
    ChildStatus,
    Order,
)
from qtinfra.core.reports import CXL_UNKNOWN_ORDER
from qtinfra.engine.evolve_books import rebook
from qtinfra.engine.evolve_fill import apply_fill
from qtinfra.engine.settle import fill_up, heard, known, release, settle
from qtinfra.engine.state import State

# Members by name: looking them up in their class costs more than comparing them.
_CHILD_SENT = ChildStatus.SENT
_CHILD_LIVE = ChildStatus.LIVE
_CHILD_UNKNOWN = ChildStatus.UNKNOWN


def note_inbound(state: State, event: ev.VenueEvent) -> None:
    """The report behind the event has been taken."""
    if event.seq:
        state.inbound[event.venue] = event.seq


def _venue_session_started(state: State, event: ev.VenueSessionStarted) -> None:
    state.sessions[event.venue] = event.session
    state.inbound[event.venue] = 0


def _report_ignored(state: State, event: ev.ReportIgnored) -> None:
    note_inbound(state, event)


def _child_acked(state: State, event: ev.ChildAcked) -> None:
    apply_ack(state, event, state.orders[event.order_id], state.children[event.child_id])


def apply_ack(state: State, event: ev.ChildAcked, order: Order, child: Child) -> None:
    """Apply a venue's acknowledgement of the order's child."""
    report = event.report
    if report.seq:
        state.inbound[report.venue] = report.seq
    child.venue_order_id = report.venue_order_id
    order.acked = True
    if child.status is _CHILD_SENT:  # as live as before in all that is derived from it
        child.status = _CHILD_LIVE
        order.version += 1
        order.updated_ns = event.ts_ns
        return
    heard(order, child)
    settle(state, order, event.ts_ns)


def _child_rejected(state: State, event: ev.ChildRejected) -> None:
    note_inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    release(order, child, ChildStatus.REJECTED)
    order.refused_venues += (child.venue,)
    settle(state, order, event.ts_ns)


def _order_filled(state: State, event: ev.OrderFilled) -> None:
    order, child, report = state.orders[event.order_id], state.children[event.child_id], event.report
    qty, whole = report.quantity, order.qty
    at_once = child.status is _CHILD_LIVE and child.leaves == whole and qty == whole and order.special is None
    apply_fill(
        state, event, order, child, report, qty, event.px, event.key, event.fee, event.trade_date,
        order.order_id, order.account, order.symbol, at_once, None,
    )  # fmt: skip


def _execution_busted(state: State, event: ev.ExecutionBusted) -> None:
    note_inbound(state, event)
    order, execution = state.orders[event.order_id], state.executions[event.key]
    rebook(state, order, execution, ZERO, ZERO)
    _take_back(state, order, execution, ZERO, ZERO, event.ts_ns)
    execution.state = ExecutionState.BUSTED


def _execution_corrected(state: State, event: ev.ExecutionCorrected) -> None:
    note_inbound(state, event)
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
    fill_up(child)
    if qty:
        execution.qty, execution.px, execution.value = qty, px, qty * px
    settle(state, order, ts_ns)


def _child_ended(state: State, event: ev.ChildEnded) -> None:
    note_inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    release(order, child, ChildStatus(event.status))
    settle(state, order, event.ts_ns)


def _child_replaced(state: State, event: ev.ChildReplaced) -> None:
    note_inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    child.replace_id = ""
    heard(order, child)
    child.leaves = max(ZERO, event.qty - child.cum)
    child.qty, child.price, child.cl_ord_id = event.qty, event.price, event.cl_ord_id
    fill_up(child)
    if order.pending_replace is not None:
        order.pending_replace.waiting -= 1
        order.pending_replace.accepted += 1
    settle(state, order, event.ts_ns)


def _child_amend_rejected(state: State, event: ev.ChildAmendRejected) -> None:
    note_inbound(state, event)
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
        fill_up(child)
    settle(state, order, event.ts_ns)


def _child_unknown(state: State, event: ev.ChildUnknown) -> None:
    note_inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    if child.status is not _CHILD_UNKNOWN:
        child.status = _CHILD_UNKNOWN
        order.unknown_children += 1
    settle(state, order, event.ts_ns)


def _child_confirmed(state: State, event: ev.ChildConfirmed) -> None:
    note_inbound(state, event)
    order, child = state.orders[event.order_id], state.children[event.child_id]
    known(order, child)
    child.status = _CHILD_LIVE
    order.acked = True
    settle(state, order, event.ts_ns)


def _order_stopped(state: State, event: ev.OrderStopped) -> None:
    note_inbound(state, event)
    order = state.orders[event.order_id]
    order.stopped = True
    settle(state, order, event.ts_ns)


#: Handlers that the event's order and child, and what else is known of it, may be handed to, by those that
#: look them up.
AT_HAND: dict[Callable[..., None], Callable[..., None]] = {
    _child_acked: apply_ack,
    _order_filled: apply_fill,
}

VENUE_REPORTS: dict[type, Callable[[State, Any], None]] = {
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
}
