"""What the end of a child, or a venue's yes or no, means for the client's order.

Reviews are follow-ups: they read the order after the venue's news has been applied.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import msgspec

from qtinfra.core.commands import ReplaceOrder
from qtinfra.core.decimals import ZERO, canonical, plain, quotient
from qtinfra.core.events import (
    AmendRefused,
    BreakRaised,
    ExecutionBusted,
    ExecutionCorrected,
    OrderCancelled,
    OrderExpired,
    OrderRefusedByVenues,
    OrderReplaced,
    ReplaceLeg,
    ReplaceRequested,
    ReplaceUnqueued,
    ReportIgnored,
)
from qtinfra.core.extended_models import ExecutionState
from qtinfra.core.market import MarketView
from qtinfra.core.models import Child, Order, Origin, PendingReplace, TimeInForce
from qtinfra.core.reports import CXL_TOO_LATE, VenueReport
from qtinfra.engine.decide.amend import CANCEL, REPLACE, begin_replace, cancel_if_open, excess_legs
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.expiry import EXPIRED
from qtinfra.engine.decide.lists import check_list
from qtinfra.engine.decide.risk_gate import engaged_kill
from qtinfra.engine.decide.routing import place_increase, reroute
from qtinfra.engine.state import State

_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)
_PAST_ITS_TIME = "past its time in force"


class Situation(msgspec.Struct, gc=False):
    """A report's place: the child it is about, its order, and where the events go."""

    state: State
    order: Order
    child: Child
    now_ns: int
    out: Decision

    def others_working(self) -> bool:
        """Whether another child of the order still works."""
        return any(child is not self.child for child in self.state.working_children(self.order))


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A child that stopped working, with what it had left. `elsewhere`: that may go to another venue."""

    order_id: str
    leaves: Decimal
    reason: str
    elsewhere: bool
    refused: bool

    @staticmethod
    def of(child: Child, reason: str, *, refused: bool = False, never_received: bool = False) -> Ended:
        """Describe the end of a child; call it before the end has been applied."""
        elsewhere = refused or never_received or child.tif in _IMMEDIATE
        return Ended(child.order_id, child.leaves, reason, elsewhere, refused)


# --- follow-ups ------------------------------------------------------------------------------------------


def review_end(state: State, now_ns: int, market: MarketView, out: Decision, *, ended: Ended) -> None:
    """After a child ended: place what it had left again, or end the order if nobody works it any more.

    An unsolicited cancel of a resting child is somebody's decision and is not overruled by sending the
    quantity elsewhere; a refusal, a child that never arrived and the rest of a sweep are.
    """
    order = state.orders[ended.order_id]
    if order.closed is not None:
        return
    working = state.working_children(order)
    if order.pending_cancel is not None:
        _review_cancel(order, bool(working), ended.reason, now_ns, out)
        return
    pending = order.pending_replace
    part = min(ended.leaves, order.unallocated) if _may_go_elsewhere(order, ended) else ZERO
    if pending is not None and pending.waiting <= 0 and (working or order.filled or part):
        _resolve_replace(state, order, pending, "", now_ns, out)
        out.then(partial(review_end, ended=ended))
        out.then(partial(work_queued, order_id=order.order_id))
        return
    if part and reroute(state, order, part, order.refused_venues, now_ns, market, out):
        return
    if working or order.filled or order.order_id in state.algos.parents:
        return
    if ended.refused and not order.cum_qty:
        out.add(OrderRefusedByVenues(order.order_id, ended.reason, now_ns))
    else:
        out.add(OrderCancelled(order.order_id, "", ended.reason, now_ns))
    refuse_pending(order, now_ns, out)


def _may_go_elsewhere(order: Order, ended: Ended) -> bool:
    if not order.open or order.suspended:
        return False
    return ended.refused or (ended.elsewhere and order.tif not in _IMMEDIATE)


def _review_cancel(order: Order, working: bool, reason: str, now_ns: int, out: Decision) -> None:
    pending = order.pending_cancel
    if pending is None:
        return
    if not working and not order.filled:
        if pending.reason == EXPIRED:
            out.add(OrderExpired("", 0, order.order_id, EXPIRED, now_ns))
        else:
            out.add(OrderCancelled(order.order_id, pending.cl_ord_id, pending.reason or reason, now_ns))
        refuse_pending(order, now_ns, out, cancel=False)
    elif pending.waiting <= 0:
        code = "too_late" if pending.reject_reason <= CXL_TOO_LATE else "refused_by_venue"
        out.add(
            _refused(
                order,
                pending.cl_ord_id,
                pending.orig_cl_ord_id,
                CANCEL,
                max(pending.reject_reason, CXL_TOO_LATE),
                code,
                reason,
                now_ns,
            )
        )
        out.then(partial(review_replace, order_id=order.order_id, text=""))


def review_cancel_reject(
    state: State, now_ns: int, market: MarketView, out: Decision, *, order_id: str, text: str
) -> None:
    """After a venue refused a cancel: the client hears when the last venue has answered."""
    del market
    order = state.orders[order_id]
    if order.pending_cancel is not None and order.closed is None:
        _review_cancel(order, bool(state.working_children(order)), text, now_ns, out)


def review_replace(
    state: State, now_ns: int, market: MarketView, out: Decision, *, order_id: str, text: str
) -> None:
    """After a venue answered a replace: the client's answer, then the next replace in the queue."""
    del market
    order = state.orders[order_id]
    pending = order.pending_replace
    if order.closed is not None or (pending is not None and pending.waiting > 0):
        return
    if pending is not None:
        _resolve_replace(state, order, pending, text, now_ns, out)
    if order.queued:
        out.then(partial(work_queued, order_id=order_id))


def _resolve_replace(
    state: State, order: Order, pending: PendingReplace, text: str, now_ns: int, out: Decision
) -> None:
    """All venues have answered: the new terms count when one said yes and none refused in earnest.

    Executions that crossed a decrease may leave venues with more than the new quantity allows; then they
    are asked again for the difference, or a cancel that is out decides.
    """
    if pending.accepted and pending.reject_reason > CXL_TOO_LATE:
        why = "some venues took the replace and some refused it"
        out.add(BreakRaised("replace_half_done", order.order_id, pending.cl_ord_id, why))
    elif pending.accepted:
        legs = excess_legs(state, order, max(pending.qty, order.cum_qty), pending.price, out)
        if legs:
            if order.pending_cancel is None:
                out.add(_ask_again(order, pending, legs, now_ns))
            return
        out.add(order_replaced(order, pending, now_ns))
        if pending.qty > order.qty:
            grown = pending.qty - order.qty
            out.then(partial(place_increase, order_id=order.order_id, qty=grown))
        return
    code = "too_late" if pending.reject_reason <= CXL_TOO_LATE else "refused_by_venue"
    out.add(
        _refused(
            order,
            pending.cl_ord_id,
            pending.orig_cl_ord_id,
            REPLACE,
            max(pending.reject_reason, CXL_TOO_LATE),
            code,
            text,
            now_ns,
        )
    )


def _ask_again(
    order: Order, pending: PendingReplace, legs: tuple[ReplaceLeg, ...], now_ns: int
) -> ReplaceRequested:
    return ReplaceRequested(
        order.order_id,
        pending.cl_ord_id,
        pending.orig_cl_ord_id,
        pending.origin,
        pending.qty,
        pending.price,
        legs,
        now_ns,
    )


def order_replaced(order: Order, pending: PendingReplace, now_ns: int) -> OrderReplaced:
    """The client's order under its new terms: never less than has traded."""
    qty = max(pending.qty, order.cum_qty)
    return OrderReplaced(order.order_id, pending.cl_ord_id, order.cl_ord_id, qty, pending.price, now_ns)


def work_queued(state: State, now_ns: int, market: MarketView, out: Decision, *, order_id: str) -> None:
    """The oldest queued replace is checked and sent on, as if it had come now."""
    order = state.orders[order_id]
    busy = order.pending_replace is not None or order.pending_cancel is not None
    if not order.queued or busy or order.closed is not None:
        return
    queued = order.queued[0]
    out.add(ReplaceUnqueued(order_id, queued.cl_ord_id))
    command = ReplaceOrder(
        order.account, queued.cl_ord_id, queued.orig_cl_ord_id, queued.qty, queued.price, queued.origin
    )
    begin_replace(state, order, command, now_ns, market, out)
    out.then(partial(review_replace, order_id=order_id, text=""))


def enforce_kill(state: State, now_ns: int, market: MarketView, out: Decision, *, order_id: str) -> None:
    """A replace in flight may open a filled order again after a kill switch went over it: cancel it then."""
    del market
    order = state.orders[order_id]
    algo = order.special.algo if order.special is not None else ""
    killed = engaged_kill(state, order.account, order.symbol, order.trader, algo)
    if killed and order.closed is None:
        cancel_if_open(state, order, Origin.SYSTEM, "kill switch", now_ns, out)


def cancel_excess(at: Situation, qty: Decimal, key: str) -> None:
    """An execution of `qty` that the child had no room for leaves other venues with more than is left (its
    remainder was placed again before this late report): raise a break and cancel what they hold.

    Call it before the execution's own event: the cancel belongs to the order while it is open.
    """
    if qty <= at.child.leaves:
        return
    held = sum((child.leaves for child in at.state.working_children(at.order)), ZERO) - at.child.leaves
    left = max(ZERO, at.order.qty - at.order.cum_qty - qty)
    if held <= left or at.order.closed is not None:
        return
    text = f"venues hold {plain(held)}, {plain(left)} is left"
    at.out.add(BreakRaised("venues_hold_too_much", at.order.order_id, key, text))
    cancel_if_open(at.state, at.order, Origin.SYSTEM, "venues hold more than is left", at.now_ns, at.out)


def past_its_time(state: State, order: Order) -> bool:
    """Whether a filled order's time in force is over, so that a bust cannot open it again."""
    if order.tif in (TimeInForce.GTC, TimeInForce.GTD):
        return False
    if order.tif is not TimeInForce.DAY or not order.executions:
        return True
    listing = state.instruments[order.symbol].listings[0]
    ended = (state.closed_days.get(""), state.closed_days.get(listing))
    return state.trade_date in ended or state.executions[order.executions[0]].trade_date < state.trade_date


def refuse_pending(order: Order, now_ns: int, out: Decision, *, cancel: bool = True) -> None:
    """The order has ended while requests were out: each is told that it came too late."""
    pending = order.pending_replace
    late = "the order ended first"
    if cancel and order.pending_cancel is not None:
        asked = order.pending_cancel
        out.add(
            _refused(
                order, asked.cl_ord_id, asked.orig_cl_ord_id, CANCEL, CXL_TOO_LATE, "too_late", late, now_ns
            )
        )
    if pending is not None:
        out.add(
            _refused(
                order,
                pending.cl_ord_id,
                pending.orig_cl_ord_id,
                REPLACE,
                CXL_TOO_LATE,
                "too_late",
                late,
                now_ns,
            )
        )
    for queued in order.queued:
        out.add(
            _refused(
                order,
                queued.cl_ord_id,
                queued.orig_cl_ord_id,
                REPLACE,
                CXL_TOO_LATE,
                "too_late",
                late,
                now_ns,
            )
        )


def _refused(
    order: Order,
    cl_ord_id: str,
    orig_cl_ord_id: str,
    response_to: int,
    reason: int,
    code: str,
    text: str,
    now_ns: int,
) -> AmendRefused:
    return AmendRefused(
        order.order_id,
        order.account,
        cl_ord_id,
        orig_cl_ord_id,
        response_to,
        reason,
        code,
        "",
        "",
        order.status,
        text,
        True,
        now_ns,
    )


# --- executions taken back -------------------------------------------------------------------------------


def take_back(at: Situation, report: VenueReport, key: str | None, qty: Decimal, px: Decimal) -> None:
    """Bust (quantity 0) or correct an execution. What we never booked, or took back before, is a break."""
    execution = at.state.executions.get(key) if key is not None else None
    if key is None or execution is None or execution.state is ExecutionState.BUSTED:
        at.out.add(ReportIgnored(report.venue, report.seq, report.cl_ord_id, "no such live execution"))
        text = f"{report.kind} of execution {report.ref_exec_id}, which is not booked"
        at.out.add(BreakRaised("unknown_execution", at.order.order_id, report.ref_exec_id, text))
        return
    if not at.state.positions.holds(at.order.account, at.order.symbol, key):
        at.out.add(ReportIgnored(report.venue, report.seq, report.cl_ord_id, "the trade has folded"))
        text = f"{report.kind} of execution {report.ref_exec_id} of {execution.trade_date}, which has folded"
        at.out.add(BreakRaised("folded_execution", at.order.order_id, key, f"{text}: for staff to book"))
        return
    order_id = at.order.order_id
    change = qty - execution.qty
    if at.order.special is not None:
        check_list(at.state, at.order, change, key, at.out)
    if change > ZERO:
        cancel_excess(at, change, key)
    elif at.order.closed is None and at.order.filled and past_its_time(at.state, at.order):
        if at.state.working_children(at.order):  # venues that were sent more than is left still hold it
            at.out.then(partial(end_overdue, order_id=order_id))
        else:
            _close_filled(at.order, at.now_ns, at.out)
    if qty <= ZERO:
        at.out.add(ExecutionBusted(report.venue, report.seq, order_id, key, at.now_ns))
    else:
        fee = canonical(quotient(execution.fee * qty, execution.qty)) if execution.qty else None
        at.out.add(ExecutionCorrected(report.venue, report.seq, order_id, key, qty, px, at.now_ns, fee))


def end_overdue(state: State, now_ns: int, market: MarketView, out: Decision, *, order_id: str) -> None:
    """An execution was taken back from a filled order whose time is over while venues hold children of it:
    these are cancelled, if that is not asked for already, and the order ends with the last of them.
    """
    del market
    order = state.orders[order_id]
    reason = EXPIRED if order.tif is TimeInForce.DAY else _PAST_ITS_TIME
    cancel_if_open(state, order, Origin.SYSTEM, reason, now_ns, out)


def _close_filled(order: Order, now_ns: int, out: Decision) -> None:
    """A filled order whose time is over, and which no venue works any more, ends before an execution is taken
    back: only cum changes then.
    """
    if order.tif is TimeInForce.DAY:
        out.add(OrderExpired("", 0, order.order_id, _PAST_ITS_TIME, now_ns))
    else:
        out.add(OrderCancelled(order.order_id, "", _PAST_ITS_TIME, now_ns))
    refuse_pending(order, now_ns, out)


def scaled_price(price: Decimal, old_qty: Decimal, new_qty: Decimal) -> Decimal:
    """A limit price after a corporate action: inversely to the quantity, 8 places."""
    return canonical(quotient(price * old_qty, new_qty))
