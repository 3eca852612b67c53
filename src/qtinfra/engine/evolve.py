"""The only writer of state: one function per event. No decision is taken here, and nothing is refused.

An event that does not fit the state breaks an invariant and stops the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from qtinfra.core import events as ev
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.legs import ChildOrder, Leg, limit, units
from qtinfra.core.models import (
    Amend,
    Child,
    ChildStatus,
    Order,
    OrderSide,
    OrderStatus,
    OrderType,
    Origin,
    PendingCancel,
    PendingReplace,
    QueuedReplace,
    TimeInForce,
)
from qtinfra.core.reports import NO_ORDER, Effect, ExecType, ExecutionReport, VenueNewOrder
from qtinfra.core.routing_events import RouteScored
from qtinfra.engine.evolve_algos import ALGOS
from qtinfra.engine.evolve_books import BOOKS
from qtinfra.engine.evolve_control import CONTROLS
from qtinfra.engine.evolve_days import DAYS
from qtinfra.engine.evolve_held import HELD, admit
from qtinfra.engine.evolve_risk import count_flow, count_special, with_risk
from qtinfra.engine.evolve_routing import ROUTING, note_routing, note_sent
from qtinfra.engine.evolve_venue import AT_HAND, VENUE_REPORTS, note_inbound
from qtinfra.engine.invariants import invariant
from qtinfra.engine.packing import pack_closed
from qtinfra.engine.risk_state import PlainPass
from qtinfra.engine.risk_sums import accepted_price, count_new, place_in, place_of
from qtinfra.engine.scaling import scale_order
from qtinfra.engine.settle import close, end_children, fill_up, name_request, settle
from qtinfra.engine.state import State

_VALIDATED, _ROUTED, _REJECTED = OrderStatus.VALIDATED, OrderStatus.ROUTED, OrderStatus.REJECTED
_STAFF = Origin.STAFF
_CHILD_SENT, _CHILD_LIVE = ChildStatus.SENT, ChildStatus.LIVE
_BUY = OrderSide.BUY
_LIMIT, _IOC = OrderType.LIMIT, TimeInForce.IOC
_EXEC_NEW, _EXEC_PENDING_NEW = ExecType.NEW, ExecType.PENDING_NEW

#: What an event of a kind makes leave, with the state after it.
Seen = Mapping[type, Callable[[State, Any], Sequence[Effect]]]


def evolve_all(state: State, events: Sequence[Any], seen: Seen, effects: list[Effect]) -> None:
    """Apply event by event, and after each what it makes leave: `effects` grows by what `seen` says, which
    for a replay is nothing. The sequence advances when all have been applied.

    Raises:
        InvariantBrokenError: an event does not fit the state; the events before have been applied.
        KeyError: likewise, when there is no such kind of event, or it names something that does not exist.
    """
    if not events:
        return
    tables, packing, closing = state.tables, state.packing, state.closing
    full = packing.keep + packing.block
    for event in events:
        kind = type(event)
        tables.writing = True
        _EVOLVE[kind](state, event)
        if state.routing is not None:
            note_routing(state, state.routing, event)
        tables.writing = False
        leaves = seen.get(kind)
        if leaves is not None:
            effects += leaves(state, event)
        if len(closing) >= full:
            pack_closed(state)
    state.seq += len(events)


def evolve_plain(state: State, events: tuple[Any, ...], passed: PlainPass) -> list[Effect] | None:
    """`evolve_all` for the events of a plain new order, OrderAccepted and OrderRouted, with what was found
    when it was decided: both handlers and their effects in one. A RouteScored between them changes nothing.
    Nothing is to be packed afterwards: such events end nothing.

    Returns:
        What leaves. None when nothing was done: such events are not handled in the usual way, or venues are
        told which orders of the account must not meet.

    Raises:
        InvariantBrokenError: as `evolve_all`; the state's sequence is that of before then.
    """
    of, to, _, worth, value, _, flow, stamps, cell = passed
    if of.self_match or not _EVOLVE.usual:
        return None
    event, routed = events[0], events[-1]
    order_id, asked, legs = event.order_id, event.command, routed.children
    account, symbol, origin = of.account, asked.symbol, asked.origin
    name, side, price = asked.cl_ord_id, asked.side, asked.price
    qty, leg, acked = asked.qty, legs[0], of.acks or origin is _STAFF
    child_ids: tuple[str, ...]
    report = ExecutionReport(
        account, order_id, name, _EXEC_NEW if acked else _EXEC_PENDING_NEW, "0" if acked else "A",
        _VALIDATED, qty, symbol, "", qty,
    )  # fmt: skip
    if leg.qty is None or (leg.qty is qty and len(legs) == 1):  # all of it goes out at once
        child_id, venue, px = leg.child_id, leg.venue, leg.price
        order_type, tif, least = _LIMIT, _IOC, ZERO
        if type(leg) is ChildOrder:
            order_type, tif, least = leg.order_type, leg.tif, leg.min_qty or ZERO
        elif px is None:
            px = price
        state.children[child_id] = Child(
            child_id, order_id, venue, symbol, side, order_type, tif, qty, px, least, child_id, qty
        )
        sent = VenueNewOrder(venue, child_id, symbol, side, order_type, tif, qty, px, least, account)
        effects: list[Effect] = [report, sent]
        left, child_ids = ZERO, (child_id,)
    else:
        effects = [report]
        left, child_ids = _send_legs(state, order_id, asked, legs, effects)
    order = state.orders[order_id] = Order(
        order_id, account, name, symbol, side, asked.order_type, asked.tif, qty, price, ZERO, asked.capacity,
        asked.trader, origin, event.ts_ns, routed.ts_ns, left, qty, price, qty, worth, value, acked, 2,
        _ROUTED, child_ids, 1,
    )  # fmt: skip
    if name:
        names = of.names
        if names is None:
            names = of.names = _names(state, account)
        names[name] = order_id  # deciding has found that it names no order
    state.open_orders[order_id] = False
    order.cell, order.standing = count_new(state, account, symbol, side is _BUY, qty, value, of, to, cell)
    count_flow(state, event, of, to, flow, stamps)
    if state.routing is not None:
        note_sent(state, state.routing, routed, side is _BUY, to.factor)
    state.seq += len(events)
    return effects


def _send_legs(
    state: State, order_id: str, asked: SubmitOrder, legs: Sequence[Leg], effects: list[Effect]
) -> tuple[Decimal, tuple[str, ...]]:
    """The children of a plain new order that goes out in parts, or under other terms than a leg that takes.

    Args:
        effects: grows by what venues are sent.

    Returns:
        What is sent nowhere, and the children's ids.
    """
    account, symbol, side = asked.account, asked.symbol, asked.side
    left, children = asked.qty, state.children
    for leg in legs:
        child_id, venue, px = leg.child_id, leg.venue, leg.price
        order_type, tif, min_qty = _LIMIT, _IOC, ZERO
        if type(leg) is ChildOrder:
            order_type, tif, min_qty = leg.order_type, leg.tif, leg.min_qty or ZERO
        qty = asked.qty if leg.qty is None else leg.qty
        children[child_id] = Child(
            child_id, order_id, venue, symbol, side, order_type, tif, qty, px, min_qty, child_id, qty
        )
        effects.append(
            VenueNewOrder(venue, child_id, symbol, side, order_type, tif, qty, px, min_qty, account)
        )
        left = ZERO if qty is left else left - qty or ZERO
    if left is not ZERO:
        invariant(left > ZERO, "no more is routed than is left", order_id)
    return left, (child_id,) if len(legs) == 1 else tuple([leg.child_id for leg in legs])


def at_hand(kind: type) -> Callable[..., None] | None:
    """What applies events of a kind, for those that have looked up the order and the child; None where there
    is no such thing, or a fault is planted. It is for the caller to set `Tables.writing` meanwhile, to pack
    what has ended, and to advance the sequence.
    """
    return AT_HAND.get(_EVOLVE[kind])


# --- shared ----------------------------------------------------------------------------------------------


def _register(state: State, order: Order, cl_ord_id: str) -> None:
    if cl_ord_id:
        _names(state, order.account).setdefault(cl_ord_id, order.order_id)


def _names(state: State, account: str) -> dict[str, str]:
    """The orders of an account by their live client ids."""
    names = state.client_ids.get(account)
    if names is None:
        names = state.client_ids[account] = {}
    return names


# --- client orders ---------------------------------------------------------------------------------------


def _order_accepted(state: State, event: ev.OrderAccepted) -> None:
    memo, special, order_id, asked = state.risk.memo, event.special, event.order_id, event.command
    of = memo.of_accounts.get(asked.account) or place_of(state, asked.account)
    to = memo.of_symbols.get(asked.symbol) or place_in(state, asked.symbol)
    qty, price, ts_ns, worth = asked.qty, asked.price, event.ts_ns, asked.price
    if worth is None:
        worth = accepted_price(state, event)
    value = qty * worth if to.factor is None else qty * worth * to.factor
    order = state.orders[order_id] = Order(
        order_id, asked.account, asked.cl_ord_id, asked.symbol, asked.side, asked.order_type, asked.tif, qty,
        price, asked.min_qty or ZERO, asked.capacity, asked.trader, asked.origin, ts_ns, ts_ns, qty, qty,
        price, qty, worth, value, of.acks or asked.origin is _STAFF,
    )  # fmt: skip
    _register(state, order, order.cl_ord_id)
    state.open_orders[order_id] = False
    order.cell, order.standing = count_new(
        state, asked.account, asked.symbol, asked.side is _BUY, qty, value, of, to
    )
    count_flow(state, event, of, to)
    order.algo = event.algo
    if special is not None:
        order.special = special
        admit(state, order, special)
        count_special(state, order, event, special)


def _order_rejected(state: State, event: ev.OrderRejected) -> None:
    qty, price, ts_ns = event.qty, event.price, event.ts_ns
    order = Order(
        event.order_id, event.account, event.cl_ord_id, event.symbol, event.side, event.order_type, event.tif,
        qty, price, event.min_qty or ZERO, event.capacity, event.trader, event.origin, ts_ns, ts_ns, ZERO,
        qty, price, ZERO, None, ZERO, False, 1, _REJECTED, (), 0, ZERO, ZERO, _REJECTED,
    )  # fmt: skip
    order.special, order.algo = event.special, event.algo
    state.orders[event.order_id] = order
    _register(state, order, event.cl_ord_id)
    state.closing[event.order_id] = True


def _order_routed(state: State, event: ev.OrderRouted) -> None:
    order = state.orders[event.order_id]
    left, children = order.unallocated, state.children
    for planned in event.children:
        child_id, qty = planned.child_id, units(planned, order.qty)
        children[child_id] = Child(
            child_id,
            order.order_id,
            planned.venue,
            order.symbol,
            order.side,
            planned.order_type,
            planned.tif,
            qty,
            limit(planned, order.price),
            planned.min_qty or ZERO,
            child_id,
            qty,
        )
        order.children += (child_id,)
        left = left - qty or ZERO
    if left:
        invariant(left > ZERO, "no more is routed than is left", order.order_id)
    order.unallocated = left
    order.route_attempts += 1
    if order.version == 1 and order.status is _VALIDATED and order.special is None and event.children:
        order.version, order.updated_ns = 2, event.ts_ns  # as open as it was accepted: nothing else changes
        order.status = _ROUTED
        return
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
        order.amends += (amend,)
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
    order.queued += (queued,)
    amend = Amend(event.cl_ord_id, event.orig_cl_ord_id, False, event.qty, event.price)
    _remember_amend(state, order, amend)
    settle(state, order, event.ts_ns)


def _replace_unqueued(state: State, event: ev.ReplaceUnqueued) -> None:
    order = state.orders[event.order_id]
    order.queued = tuple([queued for queued in order.queued if queued.cl_ord_id != event.cl_ord_id])


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
    order.amends = tuple(
        [
            _refused_alike(amend, refused)
            if amend.cl_ord_id == refused.cl_ord_id and amend.reject_reason < 0
            else amend
            for amend in order.amends
        ]
    )


def _refused_alike(amend: Amend, refused: Amend) -> Amend:
    return Amend(
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
    note_inbound(state, event)
    order = state.orders[event.order_id]
    end_children(state, order)
    close(order, OrderStatus.EXPIRED)
    settle(state, order, event.ts_ns)


def _order_done_for_day(state: State, event: ev.OrderDoneForDay) -> None:
    note_inbound(state, event)
    order = state.orders[event.order_id]
    if event.closes:
        end_children(state, order)
        close(order, OrderStatus.DONE_FOR_DAY)
    else:
        order.done_for_day = True
    settle(state, order, event.ts_ns)


def _order_restated(state: State, event: ev.OrderRestated) -> None:
    note_inbound(state, event)
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
        fill_up(child)
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


#: What the events of plain new orders do.
_OF_PLAIN_ORDERS: dict[type, Callable[[State, Any], None]] = {
    ev.OrderAccepted: _order_accepted,
    RouteScored: ROUTING[RouteScored],
    ev.OrderRouted: _order_routed,
}


class _Handlers(dict[type, Callable[[State, Any], None]]):
    """What applies events, by kind. `usual`: new orders are applied as above; planted faults change that."""

    __slots__ = ("usual",)

    def __init__(self, handlers: dict[type, Callable[[State, Any], None]]) -> None:
        super().__init__(handlers)
        self._look()

    def __setitem__(self, kind: type, handler: Callable[[State, Any], None]) -> None:
        super().__setitem__(kind, handler)
        self._look()

    def _look(self) -> None:
        self.usual = all(self[kind] is handler for kind, handler in _OF_PLAIN_ORDERS.items())


_CLIENTS: dict[type, Callable[[State, Any], None]] = {
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
    **CONTROLS,
    **VENUE_REPORTS,
    **HELD,
    **BOOKS,
    **DAYS,
    **ALGOS,
}
_EVOLVE = _Handlers({**with_risk(_CLIENTS), **ROUTING})
