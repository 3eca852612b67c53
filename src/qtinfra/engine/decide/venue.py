"""What a venue's report means for the child and for the client's order."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from qtinfra.core.commands import RecordVenueReport, ResolveUnknown
from qtinfra.core.decimals import ONE, ZERO, plain
from qtinfra.core.events import (
    BreakRaised,
    ChildAcked,
    ChildAmendRejected,
    ChildConfirmed,
    ChildEnded,
    ChildRejected,
    ChildReplaced,
    CommandRefused,
    OrderDoneForDay,
    OrderExpired,
    OrderFilled,
    OrderRestated,
    OrderStopped,
    ReportIgnored,
    VenueSessionStarted,
)
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.market import MarketView
from qtinfra.core.models import Child, ChildStatus, Order, OrderType, TimeInForce
from qtinfra.core.reports import (
    CXL_BROKER_OPTION,
    CXL_OTHER,
    CXL_TOO_LATE,
    CXL_UNKNOWN_ORDER,
    ReportKind,
    VenueReport,
)
from qtinfra.core.validation.rules import in_range
from qtinfra.engine.decide import books, outcome
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.lists import check_list
from qtinfra.engine.decide.outcome import Situation
from qtinfra.engine.state import State

# Members by name: looking them up in their class costs more than comparing them.
_KIND_MASS_STATUS_END = ReportKind.MASS_STATUS_END
_CHILD_SENT = ChildStatus.SENT
_CHILD_UNKNOWN = ChildStatus.UNKNOWN
_CHILD_LIVE = ChildStatus.LIVE
_CHILD_FILLED = ChildStatus.FILLED
_LIQUIDITY_ADDED = Liquidity.ADDED

Handler = Callable[[Situation, VenueReport], None]


def record_venue_report(
    state: State, command: RecordVenueReport, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Apply one report. A number that was seen before changes nothing; an unknown order raises a break.

    A new session of the venue counts its reports from 1 again.
    """
    report = command.report
    mic, session, seq = report.venue, report.session, report.seq
    if session and session != state.sessions.get(mic, ""):
        out.add(VenueSessionStarted(mic, 0, session))
    elif seq and seq <= state.inbound.get(mic, 0):
        return
    if report.kind is _KIND_MASS_STATUS_END:
        out.add(ReportIgnored(report.venue, report.seq, report.cl_ord_id, "end of mass status"))
        return
    del market
    if not _well_formed(report):
        out.add(ReportIgnored(report.venue, report.seq, report.cl_ord_id, "malformed numbers"))
        text = f"{report.venue} reports {report.kind} with numbers out of range"
        out.add(BreakRaised("malformed_report", "", report.cl_ord_id, text))
        return
    child = _child_of(state, report)
    if child is None or child.venue != mic:
        out.add(ReportIgnored(report.venue, report.seq, report.cl_ord_id, "unknown order"))
        text = f"{report.venue} reports {report.kind} for an order that is not ours"
        out.add(BreakRaised("unknown_order_at_venue", "", report.cl_ord_id, text))
        return
    order = state.orders[child.order_id]
    _HANDLERS[report.kind](Situation(state, order, child, now_ns, out), report)


def _child_of(state: State, report: VenueReport) -> Child | None:
    """The child that the report names: mostly by the id it was sent under, else by that of a request."""
    child = dict.get(state.children, report.cl_ord_id)
    if child is not None:
        return child
    child_id = state.venue_ids.get(report.cl_ord_id) or state.venue_ids.get(report.orig_cl_ord_id)
    return state.children.get(child_id) if child_id is not None else None


def _well_formed(report: VenueReport) -> bool:
    """Whether every number is finite and of a size that the books can hold exactly."""
    qty, px = report.qty, report.px
    if (qty and not in_range(qty)) or (px is not None and not in_range(px)):
        return False
    return _rest_well_formed(report)


def _rest_well_formed(report: VenueReport) -> bool:
    """`_well_formed` of the numbers that only some reports have."""
    cum_qty, leaves_qty, ahead = report.cum_qty, report.leaves_qty, report.queue_ahead
    if cum_qty is None and leaves_qty is None and ahead is None:
        return True
    return all(number is None or in_range(number) for number in (cum_qty, leaves_qty, ahead))


def _ignore(report: VenueReport, reason: str, out: Decision) -> None:
    out.add(ReportIgnored(report.venue, report.seq, report.cl_ord_id, reason))


# --- the order at the venue ------------------------------------------------------------------------------


def _ack(at: Situation, report: VenueReport) -> None:
    order, child = at.order, at.child
    if child.status is not _CHILD_SENT and child.status is not _CHILD_UNKNOWN:
        _ignore(report, "acknowledged before", at.out)
        return
    at.out.add(ChildAcked(report, child.child_id, order.order_id, not order.acked, at.now_ns))


def _pending(at: Situation, report: VenueReport) -> None:
    _ignore(report, "pending at the venue", at.out)


def _reject(at: Situation, report: VenueReport) -> None:
    if at.child.status not in (_CHILD_SENT, _CHILD_UNKNOWN):
        _ignore(report, "rejected after it was accepted", at.out)
        accepted = at.child.status in (_CHILD_LIVE, _CHILD_FILLED) or at.child.venue_order_id
        if not accepted and not at.child.cum:
            return
        text = f"{report.venue} rejects an order that it had accepted: {report.reason}"
        at.out.add(BreakRaised("late_reject", at.order.order_id, report.cl_ord_id, text))
        return
    reason = report.reason or report.text
    at.out.add(
        ChildRejected(report.venue, report.seq, at.child.child_id, at.order.order_id, reason, at.now_ns)
    )
    at.out.then(partial(outcome.review_end, ended=outcome.Ended.of(at.child, reason, refused=True)))


def _canceled(at: Situation, report: VenueReport) -> None:
    if at.child.replace_id and report.cl_ord_id == at.child.replace_id:
        _replaced(at, report)
        return
    _ended(at, report, ChildStatus.CANCELLED)


def _ended(at: Situation, report: VenueReport, status: ChildStatus) -> None:
    """The venue works the child no more: solicited or not, what is left comes back to the order."""
    if not at.child.working:
        _ignore(report, f"{report.kind.lower()} after its end", at.out)
        return
    reason = report.reason or report.text
    at.out.add(
        ChildEnded(report.venue, report.seq, at.child.child_id, at.order.order_id, status, reason, at.now_ns)
    )
    never = status is ChildStatus.NOT_RECEIVED
    ended = outcome.Ended.of(at.child, reason, never_received=never)
    at.out.then(partial(outcome.review_end, ended=ended))


def _expired(at: Situation, report: VenueReport) -> None:
    others = at.others_working() or at.order.order_id in at.state.algos.parents
    if others or not at.child.working or at.order.closed is not None:
        _ended(at, report, ChildStatus.EXPIRED)
        return
    at.out.add(OrderExpired(report.venue, report.seq, at.order.order_id, report.reason, at.now_ns))
    outcome.refuse_pending(at.order, at.now_ns, at.out)


def _done_for_day(at: Situation, report: VenueReport) -> None:
    if at.order.order_id in at.state.algos.parents:
        _ended(at, report, ChildStatus.EXPIRED)
        return
    if at.others_working() or not at.child.working or at.order.closed is not None:
        _ignore(report, "done for day, other venues go on", at.out)
        return
    closes = at.order.tif not in (TimeInForce.GTC, TimeInForce.GTD)
    at.out.add(OrderDoneForDay(report.venue, report.seq, at.order.order_id, closes, at.now_ns))
    if closes:
        outcome.refuse_pending(at.order, at.now_ns, at.out)


def _stopped(at: Situation, report: VenueReport) -> None:
    if not at.order.open or not at.child.working:
        _ignore(report, "stopped after its end", at.out)
        return
    at.out.add(
        OrderStopped(report.venue, report.seq, at.order.order_id, report.quantity, report.px, at.now_ns)
    )


# --- executions ------------------------------------------------------------------------------------------


def execution_key(report: VenueReport, exec_id: str, trade_date: str) -> str:
    """What makes an execution unique: venue, session, trade date and the venue's execution id."""
    return execution_head(report.venue, report.session, trade_date) + exec_id


def execution_head(venue: str, session: str, trade_date: str) -> str:
    """What the keys of all executions begin with that a venue reports in a session, of one trade date."""
    return f"{venue}|{session}|{trade_date}|"


def _fill(at: Situation, report: VenueReport) -> None:
    state, order, child = at.state, at.order, at.child
    trade_date = report.trade_date or state.trade_date
    key = execution_key(report, report.exec_id, trade_date)
    qty, px = report.quantity, report.px
    if px is None or qty <= ZERO:
        _ignore(report, "execution without quantity or price", at.out)
        at.out.add(BreakRaised("bad_execution", order.order_id, key, "an execution needs quantity and price"))
        return
    known = state.executions.get(key)
    if known is not None:
        _ignore(report, "execution booked before", at.out)
        if (known.order_id, known.reported_qty, known.reported_px) != (order.order_id, qty, px):
            text = f"execution {report.exec_id} came again with other content"
            at.out.add(BreakRaised("execution_differs", order.order_id, key, text))
        return
    if qty > child.leaves:
        outcome.cancel_excess(at, qty, key)
    late = order.closed is not None or (child.status is not _CHILD_LIVE and not child.working)
    at.out.add(_execution(state, order, child, report, key, trade_date, px, at.now_ns, late))
    if order.special is not None:
        check_list(state, order, qty, key, at.out)
    cum_qty = order.cum_qty + qty
    if cum_qty > order.qty:
        text = f"executed {plain(cum_qty - order.qty)} more than ordered"
        at.out.add(BreakRaised("overfill", order.order_id, key, text))


def _execution(
    state: State,
    order: Order,
    child: Child,
    report: VenueReport,
    key: str,
    trade_date: str,
    px: Decimal,
    now_ns: int,
    late: bool,
) -> OrderFilled:
    venue = state.venues[report.venue]
    return OrderFilled(
        report,
        child.child_id,
        order.order_id,
        key,
        trade_date,
        (venue.make_fee if report.liquidity is _LIQUIDITY_ADDED else venue.take_fee) * report.quantity,
        late,
        now_ns,
        None if state.fees is None else books.commission(state, order, report, key, trade_date, px),
    )


def _find_execution(state: State, order: Order, report: VenueReport) -> str | None:
    """The booked execution that a bust or correction names: the youngest of the order with that id."""
    for key in reversed(order.executions):
        execution = state.executions[key]
        if execution.exec_id == report.ref_exec_id and execution.venue == report.venue:
            return key
    return None


def _bust(at: Situation, report: VenueReport) -> None:
    outcome.take_back(at, report, _find_execution(at.state, at.order, report), ZERO, ZERO)


def _correct(at: Situation, report: VenueReport) -> None:
    key = _find_execution(at.state, at.order, report)
    if report.px is None or report.quantity < ZERO:
        _ignore(report, "correction without quantity or price", at.out)
        text = "a correction needs quantity and price"
        at.out.add(BreakRaised("bad_execution", at.order.order_id, report.ref_exec_id, text))
        return
    outcome.take_back(at, report, key, report.quantity, report.px)


# --- answers to cancel and replace -----------------------------------------------------------------------


def _cancel_reject(at: Situation, report: VenueReport) -> None:
    """A refusal of a cancel or of a replace: which one, the id says."""
    if report.cl_ord_id not in (at.child.cancel_id, at.child.replace_id):
        _ignore(report, "nothing pending under this id", at.out)
        return
    reason = _cxl_reason(report, at.child)
    cancel = report.cl_ord_id == at.child.cancel_id
    at.out.add(
        ChildAmendRejected(
            report.venue,
            report.seq,
            at.child.child_id,
            at.order.order_id,
            report.cl_ord_id,
            reason,
            at.now_ns,
        )
    )
    review = outcome.review_cancel_reject if cancel else outcome.review_replace
    at.out.then(partial(review, order_id=at.order.order_id, text=report.text))


_CXL_WORDS = {
    "too_late": CXL_TOO_LATE,
    "unknown_order": CXL_UNKNOWN_ORDER,
    "broker_option": CXL_BROKER_OPTION,
}


def _cxl_reason(report: VenueReport, child: Child) -> int:
    """CxlRejReason (FIX 102): the venue's code or word; too late when nothing was left to change."""
    if report.reason.isdecimal():
        return int(report.reason)
    word = _CXL_WORDS.get(report.reason)
    if word is not None:
        return word
    return CXL_BROKER_OPTION if child.leaves else CXL_TOO_LATE


def _replaced(at: Situation, report: VenueReport) -> None:
    """The venue's yes. With the last venue's, the order has its new terms: never less than has traded."""
    pending = at.order.pending_replace
    by_engine = pending is None and at.order.special is not None  # a pegged child follows the market
    unasked = pending is None and not by_engine
    if not at.child.replace_id or report.cl_ord_id != at.child.replace_id or unasked:
        _ignore(report, "nothing pending under this id", at.out)
        if at.child.working and report.cl_ord_id != at.child.cl_ord_id:
            text = f"{report.venue} replaced an order on a request that had been answered"
            at.out.add(BreakRaised("unexpected_replace", at.order.order_id, report.cl_ord_id, text))
        return
    qty = max(at.child.replace_qty, at.child.cum)
    child_replaced = ChildReplaced(
        report.venue,
        report.seq,
        at.child.child_id,
        at.order.order_id,
        at.child.replace_id,
        qty,
        at.child.replace_price,
        at.now_ns,
    )
    last = pending is not None and pending.waiting == 1 and pending.reject_reason < 0
    larger = qty - at.child.qty > ZERO
    # No venue may hold more than is left, at no moment: a larger order first, a smaller child first.
    if pending is not None and last and larger:
        at.out.add(outcome.order_replaced(at.order, pending, at.now_ns))
        at.out.add(child_replaced)
    else:
        at.out.add(child_replaced)
    at.out.then(partial(outcome.review_replace, order_id=at.order.order_id, text=report.text))
    if larger:
        at.out.then(partial(outcome.enforce_kill, order_id=at.order.order_id))


def _restated(at: Situation, report: VenueReport) -> None:
    """New terms by the venue's word: partial decline, renewal, corporate action."""
    if at.order.closed is not None or not at.child.working:
        _ignore(report, "restated after its end", at.out)
        return
    if report.quantity < ZERO or (report.reason == "corporate_action" and not report.quantity):
        _ignore(report, "restated without quantity", at.out)
        text = f"{report.venue} restates to {plain(report.quantity)}"
        at.out.add(BreakRaised("bad_restatement", at.order.order_id, report.cl_ord_id, text))
        return
    if report.reason == "corporate_action":
        price = report.px
        if price is None and at.order.price is not None:
            price = outcome.scaled_price(at.order.price, at.order.qty, report.quantity)
        ratio_num, ratio_den, qty = report.quantity, at.order.qty, report.quantity
    else:
        pegged = at.order.order_type is OrderType.PEGGED  # its price is a limit, the venue's where it stands
        price = at.order.price if pegged or report.px is None else report.px
        ratio_num = ratio_den = ONE
        qty = at.order.qty + (report.quantity - at.child.qty) if report.quantity else at.order.qty
    child_qty = report.quantity or at.child.qty
    below = qty < at.order.cum_qty or child_qty < at.child.cum
    if below and report.reason != "corporate_action":
        _ignore(report, "restated below what has traded", at.out)
        text = f"{report.venue} restates to {plain(qty)}, {plain(at.order.cum_qty)} has traded"
        at.out.add(BreakRaised("restated_below_filled", at.order.order_id, report.cl_ord_id, text))
        return
    reason = report.reason or report.text
    at.out.add(
        OrderRestated(
            report.venue,
            report.seq,
            at.order.order_id,
            qty,
            price,
            ratio_num,
            ratio_den,
            at.child.child_id,
            reason,
            at.now_ns,
        )
    )


# --- in doubt --------------------------------------------------------------------------------------------


def _status(at: Situation, report: VenueReport) -> None:
    """The venue's answer about a at.child: alive, over, or at odds with what we have booked."""
    if report.live and at.child.status in (ChildStatus.SENT, ChildStatus.UNKNOWN):
        at.out.add(ChildConfirmed(report.venue, report.seq, at.child.child_id, at.order.order_id, at.now_ns))
        if at.child.replace_id:
            _replace_never_arrived(at, report)
    elif not report.live and at.child.working:
        filled = at.child.cum >= at.child.qty
        _ended(at, report, ChildStatus.FILLED if filled else ChildStatus.CANCELLED)
    else:
        _ignore(report, "status as known", at.out)
    cum_qty = ZERO if report.cum_qty is None else report.cum_qty
    if cum_qty != at.child.cum:
        text = f"{report.venue} has {plain(cum_qty)} executed, we have {plain(at.child.cum)}"
        at.out.add(BreakRaised("cum_qty_differs", at.order.order_id, at.child.child_id, text))


def _replace_never_arrived(at: Situation, report: VenueReport) -> None:
    """The venue has caught up and knows the order, not the replace: it was lost on the way."""
    at.out.add(
        ChildAmendRejected(
            report.venue, 0, at.child.child_id, at.order.order_id, at.child.replace_id, CXL_OTHER, at.now_ns
        )
    )
    text = "the replace never reached the venue"
    at.out.then(partial(outcome.review_replace, order_id=at.order.order_id, text=text))


def _unknown_order(at: Situation, report: VenueReport) -> None:
    """The venue never had it. Only a child in doubt may end so: one it once acknowledged is a break."""
    if at.child.status is ChildStatus.UNKNOWN and not at.child.venue_order_id and not at.child.cum:
        _ended(at, report, ChildStatus.NOT_RECEIVED)
        return
    _ignore(report, "unknown to the venue", at.out)
    if at.child.working:
        text = f"{report.venue} does not know an order that it acknowledged"
        at.out.add(BreakRaised("order_lost_by_venue", at.order.order_id, at.child.child_id, text))


def resolve_unknown(
    state: State, command: ResolveUnknown, now_ns: int, market: MarketView, out: Decision
) -> None:
    """A person's word on a child in doubt. It ends the child; executions that come later still book."""
    del market
    child = state.children.get(command.child_id)
    if child is None or child.status is not ChildStatus.UNKNOWN:
        text = "only a child whose outcome is unknown can be resolved by hand"
        observed = child.status if child is not None else "none"
        out.add(CommandRefused("", "", "not_unknown", "child_id", "UNKNOWN", observed, text))
        return
    outcomes = (ChildStatus.NOT_RECEIVED, ChildStatus.CANCELLED)
    if command.outcome not in outcomes:
        text = f"outcome must be one of {', '.join(outcomes)}"
        limit = ", ".join(outcomes)
        out.add(CommandRefused("", "", "bad_outcome", "outcome", limit, command.outcome, text))
        return
    order = state.orders[child.order_id]
    out.add(
        ChildEnded(child.venue, 0, child.child_id, order.order_id, command.outcome, command.reason, now_ns)
    )
    never = command.outcome == ChildStatus.NOT_RECEIVED
    ended = outcome.Ended.of(child, command.reason, never_received=never)
    out.then(partial(outcome.review_end, ended=ended))


_HANDLERS: dict[ReportKind, Handler] = {
    ReportKind.ACK: _ack,
    ReportKind.PENDING: _pending,
    ReportKind.REJECT: _reject,
    ReportKind.FILL: _fill,
    ReportKind.CANCELED: _canceled,
    ReportKind.CANCEL_REJECT: _cancel_reject,
    ReportKind.REPLACED: _replaced,
    ReportKind.REPLACE_REJECT: _cancel_reject,
    ReportKind.BUST: _bust,
    ReportKind.CORRECT: _correct,
    ReportKind.RESTATED: _restated,
    ReportKind.STOPPED: _stopped,
    ReportKind.DONE_FOR_DAY: _done_for_day,
    ReportKind.EXPIRED: _expired,
    ReportKind.STATUS: _status,
    ReportKind.UNKNOWN_ORDER: _unknown_order,
}
