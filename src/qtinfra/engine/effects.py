"""What an event makes leave the engine: messages to venues, reports to clients, alerts.

Pure functions of the event and the state right after it. Effects are released when the event is durable,
and they are not recovered by sending again: after a crash the venue is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from qtinfra.core import algo_events as al
from qtinfra.core import events as ev
from qtinfra.core import special_events as sp
from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.legs import Leg, limit, units
from qtinfra.core.models import Amend, ChildStatus, Order, OrderSide, OrderStatus, fix_status
from qtinfra.core.reports import (
    NO_ORDER,
    REJ_DUPLICATE_ORDER,
    REJ_OTHER,
    REJ_UNKNOWN_ORDER,
    Alert,
    Effect,
    ExecType,
    ExecutionReport,
    OrderCancelReject,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueStatusRequest,
)
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.special import NO_TERMS
from qtinfra.engine.state import State

# Members by name: looking them up in their class costs more than comparing them.
_ROUTED = OrderStatus.ROUTED
_VALIDATED, _REJECTED = OrderStatus.VALIDATED, OrderStatus.REJECTED
_EXEC_NEW = ExecType.NEW
_EXEC_REJECTED = ExecType.REJECTED
_EXEC_PENDING_NEW = ExecType.PENDING_NEW
_EXEC_TRADE = ExecType.TRADE


def effects_of_answer(state: State, answer: ev.Answer) -> list[Effect]:
    """The report that answers a status request or a repeated request."""
    order = state.orders.get(answer.order_id)
    if order is None:
        return [_no_such_order(answer.account, answer.cl_ord_id)]
    if isinstance(answer, ev.DuplicateAnswered):
        for amend in order.amends:
            if amend.cl_ord_id == answer.cl_ord_id and amend.reject_reason >= 0:
                return [_refused_before(order, amend)]
    text = "nothing done" if not order.cum_qty else ""
    return [execution_report(order, ExecType.ORDER_STATUS, cl_ord_id=answer.cl_ord_id, text=text)]


def _refused_before(order: Order, amend: Amend) -> OrderCancelReject:
    """The first answer to a request that was refused."""
    return OrderCancelReject(
        order.account,
        order.order_id,
        amend.cl_ord_id,
        order.cl_ord_id,
        fix_status(order),
        1 if amend.cancel else 2,
        amend.reject_reason,
        amend.code,
        amend.text,
    )


def execution_report(
    order: Order,
    exec_type: ExecType,
    *,
    cl_ord_id: str = "",
    orig_cl_ord_id: str = "",
    last_qty: Decimal = ZERO,
    last_px: Decimal | None = None,
    exec_id: str = "",
    ref_exec_id: str = "",
    reason: int | None = None,
    code: str = "",
    text: str = "",
    venue: str = "",
) -> ExecutionReport:
    """The order as it stands, as a FIX execution report; of zeros the one that it leaves out when written."""
    return ExecutionReport(
        order.account,
        order.order_id,
        cl_ord_id or order.cl_ord_id,
        exec_type,
        fix_status(order),
        order.status,
        order.qty,
        order.symbol,
        venue,
        order.leaves_qty or ZERO,
        order.cum_qty or ZERO,
        order.avg_px or ZERO,
        last_qty or ZERO,
        last_px,
        exec_id,
        orig_cl_ord_id,
        ref_exec_id,
        reason,
        code,
        text,
    )


def _no_such_order(account: str, cl_ord_id: str) -> ExecutionReport:
    return _nothing(
        account, cl_ord_id, ExecType.ORDER_STATUS, REJ_UNKNOWN_ORDER, "unknown_order", "unknown order"
    )


def _nothing(
    account: str, cl_ord_id: str, exec_type: ExecType, reason: int, code: str, text: str
) -> ExecutionReport:
    """A report about an order that does not exist: order id "NONE", status Rejected."""
    return ExecutionReport(
        account,
        NO_ORDER,
        cl_ord_id,
        exec_type,
        "8",
        OrderStatus.REJECTED,
        ZERO,
        reason=reason,
        code=code,
        text=text,
    )


# --- client orders ---------------------------------------------------------------------------------------


def _accepted(state: State, event: ev.OrderAccepted) -> Sequence[Effect]:
    return (_welcome(state.orders[event.order_id]),)


def _welcome(order: Order) -> ExecutionReport:
    """The first report of an order: New where that is said at acceptance, else Pending New."""
    qty, acked = order.qty, order.acked
    return ExecutionReport(
        order.account, order.order_id, order.cl_ord_id, _EXEC_NEW if acked else _EXEC_PENDING_NEW,
        "0" if acked else "A", _VALIDATED, qty, order.symbol, "", qty,
    )  # fmt: skip


def _rejected(state: State, event: ev.OrderRejected) -> Sequence[Effect]:
    """As `execution_report` of an order that has never been anything but refused."""
    del state
    return (
        ExecutionReport(
            event.account, event.order_id, event.cl_ord_id, _EXEC_REJECTED, "8", _REJECTED, event.qty,
            event.symbol, reason=event.fix_reason, code=event.code, text=event.text,
        ),
    )  # fmt: skip


def _duplicate_refused(state: State, event: ev.DuplicateRefused) -> list[Effect]:
    return [
        execution_report(
            state.orders[event.order_id],
            ExecType.REJECTED,
            cl_ord_id=event.cl_ord_id,
            reason=REJ_DUPLICATE_ORDER,
            code="duplicate_client_order_id",
            text=event.text,
        )
    ]


def _command_refused(state: State, event: ev.CommandRefused) -> list[Effect]:
    del state
    if not event.cl_ord_id:
        return []
    return [_nothing(event.account, event.cl_ord_id, ExecType.REJECTED, REJ_OTHER, event.code, event.text)]


def _routed(state: State, event: ev.OrderRouted) -> Sequence[Effect]:
    order = state.orders[event.order_id]
    if order.special is not None:
        known = state.accounts[order.account]
        mode = known.policies.self_match
        firm = known.firm if mode else ""
        return [special_order(order, order.special, child, firm, mode) for child in event.children]
    account = state.accounts[order.account]
    mode = account.policies.self_match
    if mode:
        return [special_order(order, NO_TERMS, child, account.firm, mode) for child in event.children]
    children = event.children
    if len(children) == 1:
        return (_sent(order, children[0]),)
    return [_sent(order, child) for child in children]


def _sent(order: Order, child: Leg) -> VenueNewOrder:
    """A plain child as its venue gets it."""
    return VenueNewOrder(
        child.venue,
        child.child_id,
        order.symbol,
        order.side,
        child.order_type,
        child.tif,
        units(child, order.qty),
        limit(child, order.price),
        child.min_qty or ZERO,
        order.account,
    )


def _cancel_requested(state: State, event: ev.CancelRequested) -> list[Effect]:
    order = state.orders[event.order_id]
    effects: list[Effect] = [
        execution_report(
            order,
            ExecType.PENDING_CANCEL,
            cl_ord_id=event.cl_ord_id,
            orig_cl_ord_id=event.orig_cl_ord_id if event.cl_ord_id else "",
            text=event.reason,
        )
    ]
    for leg in event.legs:
        child = state.children[leg.child_id]
        if child.status is not ChildStatus.UNKNOWN and state.connected(child.venue):
            effects.append(VenueCancel(child.venue, leg.cl_ord_id, child.cl_ord_id))
    return effects


def _replace_requested(state: State, event: ev.ReplaceRequested) -> list[Effect]:
    """A child that is to give up all it has is cancelled: no venue takes a quantity of zero."""
    order = state.orders[event.order_id]
    effects: list[Effect] = [
        execution_report(
            order,
            ExecType.PENDING_REPLACE,
            cl_ord_id=event.cl_ord_id,
            orig_cl_ord_id=event.orig_cl_ord_id,
        )
    ]
    for leg in event.legs:
        child = state.children[leg.child_id]
        if leg.qty:
            effects.append(VenueReplace(child.venue, leg.cl_ord_id, child.cl_ord_id, leg.qty, leg.price))
        else:
            effects.append(VenueCancel(child.venue, leg.cl_ord_id, child.cl_ord_id))
    return effects


def _amend_refused(state: State, event: ev.AmendRefused) -> list[Effect]:
    if not event.cl_ord_id:
        text = f"{event.code}: {event.text}"
        return [Alert("cancel_refused", event.order_id, text)]
    order = state.orders.get(event.order_id)
    return [
        OrderCancelReject(
            event.account,
            event.order_id,
            event.cl_ord_id,
            order.cl_ord_id if order is not None else event.orig_cl_ord_id,
            fix_status(order) if order is not None else "8",
            event.response_to,
            event.reason,
            event.code,
            event.text,
        )
    ]


def _replaced(state: State, event: ev.OrderReplaced) -> list[Effect]:
    order = state.orders[event.order_id]
    return [
        execution_report(
            order,
            ExecType.REPLACED,
            cl_ord_id=event.cl_ord_id,
            orig_cl_ord_id=event.orig_cl_ord_id,
        )
    ]


def _cancelled(state: State, event: ev.OrderCancelled) -> list[Effect]:
    order = state.orders[event.order_id]
    if order.filled and not event.cl_ord_id:
        return []
    orig = order.cl_ord_id if event.cl_ord_id else ""
    return [
        execution_report(
            order,
            ExecType.CANCELED,
            cl_ord_id=event.cl_ord_id,
            orig_cl_ord_id=orig,
            text=event.reason,
        )
    ]


def _refused_by_venues(state: State, event: ev.OrderRefusedByVenues) -> list[Effect]:
    order = state.orders[event.order_id]
    return [
        execution_report(
            order,
            ExecType.REJECTED,
            reason=REJ_OTHER,
            code="refused_by_venue",
            text=event.reason,
        )
    ]


def _expired(state: State, event: ev.OrderExpired) -> list[Effect]:
    order = state.orders[event.order_id]
    if order.filled:
        return []
    return [execution_report(order, ExecType.EXPIRED, text=event.reason)]


def _done_for_day(state: State, event: ev.OrderDoneForDay) -> list[Effect]:
    return [execution_report(state.orders[event.order_id], ExecType.DONE_FOR_DAY)]


def _restated(state: State, event: ev.OrderRestated | ev.OrderSuspended | ev.OrderReinstated) -> list[Effect]:
    order = state.orders[event.order_id]
    return [execution_report(order, ExecType.RESTATED, text=event.reason)]


# --- orders with special terms ---------------------------------------------------------------------------


def special_order(
    order: Order, terms: SpecialTerms, child: Leg, firm: str = "", self_match: str = ""
) -> VenueNewOrder:
    """A child as its venue gets it: with the special terms when the venue takes the order's type.

    A peg's offset points towards the own side with us; at a venue it is added to the price. Orders of one
    firm do not trade with each other where its account says so, unless the order names an id of its own.

    Args:
        firm: whose orders do not meet; empty for an account that does not ask for it.
        self_match: what happens instead (FIX 2964); empty is the venue's default.
    """
    smp_id = terms.smp_id or firm
    whole = child.order_type is order.order_type
    buying = order.side is OrderSide.BUY
    return VenueNewOrder(
        child.venue,
        child.child_id,
        order.symbol,
        order.side,
        child.order_type,
        child.tif,
        units(child, order.qty),
        limit(child, order.price),
        child.min_qty or ZERO,
        order.account,
        display_qty=terms.display_qty or ZERO if whole else ZERO,
        stop_px=terms.stop_px if whole else None,
        peg=terms.peg or "" if whole else "",
        peg_offset=(-terms.peg_offset if buying else terms.peg_offset) if whole else ZERO,
        smp_id=smp_id,
        smp_mode=self_match if smp_id else "",
    )


def _triggered(state: State, event: sp.OrderTriggered) -> list[Effect]:
    text = f"triggered at {plain(event.stop_px)}: {event.by} {plain(event.px)}"
    return [execution_report(state.orders[event.order_id], ExecType.RESTATED, code="triggered", text=text)]


def _adjusted(state: State, event: sp.OrderAdjusted) -> list[Effect]:
    """Restated with ExecRestatementReason (FIX 378) 0: GT corporate action."""
    order = state.orders[event.order_id]
    text = f"corporate action {event.action_id}"
    return [execution_report(order, ExecType.RESTATED, reason=0, code="corporate_action", text=text)]


def _peg_repriced(state: State, event: sp.PegRepriced) -> list[Effect]:
    return [
        VenueReplace(child.venue, leg.cl_ord_id, child.cl_ord_id, leg.qty, leg.price)
        for leg, child in ((leg, state.children[leg.child_id]) for leg in event.legs)
    ]


# --- children and executions -----------------------------------------------------------------------------


def _child_acked(state: State, event: ev.ChildAcked) -> Sequence[Effect]:
    return (report_ack(event, state.orders[event.order_id]),) if event.first else ()


def report_ack(event: ev.ChildAcked, order: Order) -> ExecutionReport:
    """What the client is told of an order's first acknowledgement, right after it."""
    qty, status = order.qty, order.status
    if status is not _ROUTED or order.cum_qty:
        return execution_report(order, _EXEC_NEW, venue=event.venue)
    return ExecutionReport(
        order.account, order.order_id, order.cl_ord_id, _EXEC_NEW, "0", status, qty, order.symbol,
        event.venue, qty,
    )  # fmt: skip


def _filled(state: State, event: ev.OrderFilled) -> list[Effect]:
    return [
        execution_report(
            state.orders[event.order_id],
            _EXEC_TRADE,
            last_qty=event.qty,
            last_px=event.px,
            exec_id=event.exec_id,
            text="late fill" if event.late else "",
            venue=event.venue,
        )
    ]


def _busted(state: State, event: ev.ExecutionBusted) -> list[Effect]:
    order = state.orders[event.order_id]
    execution = state.executions[event.key]
    ref = execution.exec_id
    return [execution_report(order, ExecType.TRADE_CANCEL, ref_exec_id=ref, venue=execution.venue)]


def _corrected(state: State, event: ev.ExecutionCorrected) -> list[Effect]:
    order = state.orders[event.order_id]
    execution = state.executions[event.key]
    return [
        execution_report(
            order,
            ExecType.TRADE_CORRECT,
            last_qty=event.qty,
            last_px=event.px,
            ref_exec_id=execution.exec_id,
            venue=execution.venue,
        )
    ]


def _stopped(state: State, event: ev.OrderStopped) -> list[Effect]:
    order = state.orders[event.order_id]
    return [
        execution_report(order, ExecType.STOPPED, last_qty=event.qty, last_px=event.px, venue=event.venue)
    ]


def _child_unknown(state: State, event: ev.ChildUnknown) -> list[Effect]:
    del state
    text = f"outcome unknown at {event.venue}: {event.reason}"
    return [Alert("outcome_unknown", event.order_id, text)]


def _child_confirmed(state: State, event: ev.ChildConfirmed) -> list[Effect]:
    """A cancel that was lost on the way goes out again under its own id: cancels do no harm twice."""
    child = state.children[event.child_id]
    if not child.cancel_id:
        return []
    return [VenueCancel(child.venue, child.cancel_id, child.cl_ord_id)]


def _venue_status(state: State, event: ev.VenueStatusSet) -> list[Effect]:
    """A venue that is back is asked about every child in doubt there."""
    if event.status is not VenueStatus.CONNECTED:
        return []
    effects: list[Effect] = []
    for order_id in state.open_orders:
        for child in state.working_children(state.orders[order_id]):
            if child.venue == event.venue and child.status is ChildStatus.UNKNOWN:
                effects.append(VenueStatusRequest(event.venue, child.cl_ord_id))
    return effects


def _break(state: State, event: ev.BreakRaised) -> list[Effect]:
    del state
    return [Alert(event.kind, event.order_id or event.subject, event.text)]


def _quarantined(state: State, event: ev.CommandQuarantined) -> list[Effect]:
    del state
    return [Alert("quarantined", event.order_id or event.account, event.error)]


def _recalled(state: State, event: al.ChildrenRecalled) -> list[Effect]:
    legs = ((leg, state.children[leg.child_id]) for leg in event.legs)
    return [VenueCancel(child.venue, leg.cl_ord_id, child.cl_ord_id) for leg, child in legs]


def _algo_paused(state: State, event: al.AlgoPaused) -> list[Effect]:
    del state
    return [Alert("algo_paused", event.order_id, event.reason)]


def _algo_finished(state: State, event: al.AlgoFinished) -> list[Effect]:
    del state
    return [Alert("algo_finished", event.order_id, event.text)]


#: By kind of event; a kind that is missing makes nothing leave.
EFFECTS: dict[type, Callable[[State, Any], Sequence[Effect]]] = {
    ev.OrderAccepted: _accepted,
    ev.OrderRejected: _rejected,
    ev.DuplicateRefused: _duplicate_refused,
    ev.CommandRefused: _command_refused,
    ev.OrderRouted: _routed,
    ev.CancelRequested: _cancel_requested,
    ev.ReplaceRequested: _replace_requested,
    ev.AmendRefused: _amend_refused,
    ev.OrderReplaced: _replaced,
    ev.OrderCancelled: _cancelled,
    ev.OrderRefusedByVenues: _refused_by_venues,
    ev.OrderExpired: _expired,
    ev.OrderDoneForDay: _done_for_day,
    ev.OrderRestated: _restated,
    ev.OrderSuspended: _restated,
    ev.OrderReinstated: _restated,
    ev.ChildAcked: _child_acked,
    ev.OrderFilled: _filled,
    ev.ExecutionBusted: _busted,
    ev.ExecutionCorrected: _corrected,
    ev.OrderStopped: _stopped,
    ev.ChildUnknown: _child_unknown,
    ev.ChildConfirmed: _child_confirmed,
    ev.VenueStatusSet: _venue_status,
    sp.OrderTriggered: _triggered,
    sp.OrderAdjusted: _adjusted,
    sp.PegRepriced: _peg_repriced,
    al.ChildrenRecalled: _recalled,
    al.AlgoPaused: _algo_paused,
    al.AlgoFinished: _algo_finished,
    ev.BreakRaised: _break,
    ev.CommandQuarantined: _quarantined,
}
