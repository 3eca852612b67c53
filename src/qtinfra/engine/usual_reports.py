"""Reports that need no further thought: decided, applied and told to the client, one exchange after another.

They are a child's first acknowledgement, an execution that a plain order and its live child have room for,
and one right after the other. `decide.venue` decides the same one event for each such report, `evolve_all`
applies it likewise, with what routing learns of it, and `engine.effects` tells the same of it; nothing is to
follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from qtinfra.core.decimals import ONE, ZERO, average
from qtinfra.core.events import AnyEvent, ChildAcked, OrderFilled
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import Child, ChildStatus, Order, OrderStatus, fix_status
from qtinfra.core.reports import Effect, ExecType, ExecutionReport, ReportKind, VenueReport
from qtinfra.core.validation.rules import in_range
from qtinfra.engine.averages import average_at, known_average
from qtinfra.engine.decide import books
from qtinfra.engine.decide.venue import execution_head
from qtinfra.engine.effects import report_ack
from qtinfra.engine.evolve import at_hand
from qtinfra.engine.evolve_routing import note_ack, note_fill
from qtinfra.engine.packing import pack_closed
from qtinfra.engine.state import State

# Members by name: looking them up in their class costs more than comparing them.
_KIND_ACK, _KIND_FILL = ReportKind.ACK, ReportKind.FILL
_CHILD_SENT, _CHILD_LIVE = ChildStatus.SENT, ChildStatus.LIVE
_ROUTED, _FILLED = OrderStatus.ROUTED, OrderStatus.FILLED
_LIQUIDITY_ADDED = Liquidity.ADDED
_EXEC_NEW, _EXEC_TRADE = ExecType.NEW, ExecType.TRADE

#: Finds the entries of a table that are live; packed ones are left to the general way.
_live_of = dict.get.__get__

#: Applies an acknowledgement of an order's child.
_Acknowledge = Callable[[State, ChildAcked, Order, Child], None]
#: Applies an execution of an order's child: `evolve_fill.apply_fill`.
_Fill = Callable[..., None]
#: Takes an acknowledgement of an order's child.
_TakeAck = Callable[[ChildAcked, Order, Child], None]
#: Takes an execution, and before it the acknowledgement that came with it, of an order's child.
_Execute = Callable[[ChildAcked | None, VenueReport, Order, Child], bool]


def take_usual(
    state: State, reports: Sequence[VenueReport], now_ns: int, effects: list[Effect], events: list[AnyEvent]
) -> None:
    """Take reports up to the first that needs further thought. Their events join `events` and what the
    client is told `effects`, an execution's when it has been applied; to advance the state's sequence is the
    caller's.

    Raises:
        InvariantBrokenError, KeyError: an event could not be applied; `Tables.writing` is set.
        Exception: whatever our own code failed with as it decided; all of `events` has been applied.
    """
    acknowledge, fill, routing = at_hand(ChildAcked), at_hand(OrderFilled), state.routing
    if acknowledge is None or fill is None:
        return
    failed = routing.breakers if routing is not None else {}
    take_ack = _acknowledgements(state, acknowledge, effects, events)
    execute = _executions(state, now_ns, take_ack, fill, effects, events)
    child_of: Callable[[str], Child | None] = _live_of(state.children)
    order_of: Callable[[str], Order | None] = _live_of(state.orders)
    venue, session, seq = "", "", 0
    place, count = 0, len(reports)
    while place < count:
        report = reports[place]
        mic, cl_ord_id, number = report.venue, report.cl_ord_id, report.seq
        if mic != venue:
            venue, session, seq = mic, state.sessions.get(mic, ""), state.inbound.get(mic, 0)
        child = child_of(cl_ord_id)
        if number <= seq or report.session != session or child is None or child.venue != mic:
            return
        order = order_of(child.order_id)
        if order is None or order.special is not None or order.algo is not None or mic in failed:
            return  # where a venue has failed, its breaker may wait for this very answer
        seq, place = number, place + 1
        kind, status = report.kind, child.status
        if kind is _KIND_FILL and status is _CHILD_LIVE:
            if not execute(None, report, order, child):
                return
            continue
        if kind is not _KIND_ACK or status is not _CHILD_SENT or report.qty or report.px is not None:
            return
        if report.cum_qty is not None or report.leaves_qty is not None or report.queue_ahead is not None:
            return
        acked = ChildAcked(report, child.child_id, order.order_id, not order.acked, now_ns)
        if place < count:
            report = reports[place]
            number = report.seq
            if (
                report.cl_ord_id == cl_ord_id
                and report.kind is _KIND_FILL
                and number > seq
                and report.venue == mic
                and report.session == session
                and execute(acked, report, order, child)
            ):
                seq, place = number, place + 1
                continue
        state.tables.writing = True
        take_ack(acked, order, child)
        state.tables.writing = False
        if len(state.closing) >= state.packing.keep + state.packing.block:
            pack_closed(state)


def _acknowledgements(
    state: State, acknowledge: _Acknowledge, effects: list[Effect], events: list[AnyEvent]
) -> _TakeAck:
    """What takes acknowledgements, whatever the order has become since it was sent."""
    routing = state.routing

    def take(acked: ChildAcked, order: Order, child: Child) -> None:
        acknowledge(state, acked, order, child)
        if routing is not None:
            note_ack(routing, acked.child_id, acked.ts_ns)
        if acked.first:
            effects.append(report_ack(acked, order))
        events.append(acked)

    return take


def _has_room(qty: Decimal, left: Decimal, executed: Decimal, whole: Decimal) -> bool:
    """Whether a quantity is no more than child and order have left, and one that the books can hold."""
    if not ZERO < qty <= left or (executed + qty if executed else qty) > whole:
        return False
    return qty.same_quantum(ONE) or in_range(qty)  # its size is that of what is left, at most


def _executions(
    state: State, now_ns: int, take_ack: _TakeAck, fill: _Fill, effects: list[Effect], events: list[AnyEvent]
) -> _Execute:
    """What takes executions, and says whether it did: one that needs further thought is left as it is."""
    tables, closing, full = state.tables, state.closing, state.packing.keep + state.packing.block
    executed_now, may_be_packed = dict.keys(state.executions), tables.archive.index.rows_of
    today, free, tell, routing = state.trade_date, state.fees is None, effects.append, state.routing
    venue, day, head, take_fee, make_fee = "", "", "", ZERO, ZERO

    def execute(acked: ChildAcked | None, report: VenueReport, order: Order, child: Child) -> bool:
        nonlocal venue, day, head, take_fee, make_fee
        qty, px, ahead = report.qty, report.px, report.queue_ahead
        left, whole, executed = child.leaves, order.qty, order.cum_qty
        if (
            (px is None or qty is None or order.closed is not None)
            or (report.cum_qty is not None or report.leaves_qty is not None)
            or (ahead is not None and not in_range(ahead))
        ):  # fmt: skip
            return False
        at_once = (left is whole or left == whole) and not executed
        if at_once := at_once and (qty is whole or not qty.compare_total(whole)):
            qty = whole  # all of the order, and in one object from now on
        elif not _has_room(qty, left, executed, whole):
            return False
        average_px = known_average(px) or average_at(px)
        mic, exec_id, trade_date = report.venue, report.exec_id, report.trade_date or today
        if mic != venue or trade_date != day:
            head, of = execution_head(mic, report.session, trade_date), state.venues[mic]
            venue, day, take_fee, make_fee = mic, trade_date, of.take_fee, of.make_fee
        key = head + exec_id
        if average_px is None or key in executed_now or may_be_packed(key):
            return False
        order_id, account, symbol, name = order.order_id, order.account, order.symbol, order.cl_ord_id
        fee = (make_fee if report.liquidity is _LIQUIDITY_ADDED else take_fee) * qty
        filled = OrderFilled(
            report, child.child_id, order_id, key, trade_date, fee, False, now_ns,
            None if free else books.commission(state, order, report, key, trade_date, px),
        )  # fmt: skip
        tables.writing = True
        if acked is not None:
            if order.status is _ROUTED and not executed:
                if acked.first:
                    tell(ExecutionReport(
                        account, order_id, name, _EXEC_NEW, "0", _ROUTED, whole, symbol, mic, whole,
                    ))  # fmt: skip
                events.append(acked)
            else:
                take_ack(acked, order, child)
                acked = None
        fill(
            state, filled, order, child, report, qty, px, key, fee, trade_date, order_id, account, symbol,
            at_once or qty == left == whole, acked,
        )  # fmt: skip
        if routing is not None:
            note_fill(state, routing, order, child, qty, px, fee, now_ns)
        status, total = order.status, order.cum_qty
        if executed and px * total != order.notional:
            average_px = average(order.notional, total)
        done = status is _FILLED
        tell(ExecutionReport(
            account, order_id, name, _EXEC_TRADE, "2" if done else fix_status(order), status, whole, symbol,
            mic, ZERO if done else order.leaves_qty, total, average_px, qty, px, exec_id,
        ))  # fmt: skip
        events.append(filled)
        tables.writing = False
        if len(closing) >= full:
            pack_closed(state)
        return True

    return execute
