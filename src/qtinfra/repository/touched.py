"""Which rows a journal record changes: read off its events, before anything is written.

Evolve changes more than the order that an event names: the day's opening changes every open order, a bust may
move the commission of other executions. What each kind of event may change stands in the table at the end; a
property test compares the rows with the whole state after every record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from qtinfra.core import book_events as be
from qtinfra.core import events as ev
from qtinfra.core import special_events as sp
from qtinfra.core.events import Entry
from qtinfra.core.models import Order
from qtinfra.core.reports import NO_ORDER
from qtinfra.core.routing_events import RouteScored
from qtinfra.engine.state import State


@dataclass(slots=True)
class Touched:
    """The rows that a batch of records changes, each with the last sequence of the last record that did.

    Attributes:
        positions: by account and symbol, with sequence and moment (UTC nanoseconds).
        new_children: child id to its number within the order and when it was sent.
        first_ids: order id to the client id it was sent under, for orders new in the batch.
        reasons: order id to rule (None: no rule) and words of the last reason given.
        routes: order id to the confidence and expected fill that the router said last, parts of a million.
        events: every event that concerns an order: sequence, order id, event, record.
    """

    orders: dict[str, int] = field(default_factory=dict)
    children: dict[str, int] = field(default_factory=dict)
    executions: dict[str, int] = field(default_factory=dict)
    positions: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    accounts: dict[str, int] = field(default_factory=dict)
    venues: dict[str, int] = field(default_factory=dict)
    instruments: dict[str, int] = field(default_factory=dict)
    new_children: dict[str, tuple[int, int]] = field(default_factory=dict)
    first_ids: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    routes: dict[str, tuple[int, int]] = field(default_factory=dict)
    events: list[tuple[int, str, Any, Entry]] = field(default_factory=list)

    def order(self, order: Order, seq: int, *, children: bool = False, executions: bool = False) -> None:
        """The order's row changes, and the rows of all its children or executions if so said."""
        self.orders[order.order_id] = seq
        if children:
            for child_id in order.children:
                self.children[child_id] = seq
        if executions:
            for key in order.executions:
                self.executions[key] = seq


def opens_day(entry: Entry) -> bool:
    """Whether the record changes every order that was open before it."""
    return any(type(event) is ev.DayOpened for event in entry.events)


def note(touched: Touched, state: State, entry: Entry, open_before: Iterable[str] = ()) -> None:
    """Note what a record has changed.

    Args:
        state: after the record.
        open_before: the orders that were open before it, if it `opens_day`.
    """
    last = entry.last_seq
    for order_id in open_before:
        touched.orders[order_id] = last
    seq = entry.seq
    for event in entry.events:
        order_id = getattr(event, "order_id", "")
        order = state.orders.get(order_id) if order_id and order_id != NO_ORDER else None
        if order is not None:
            touched.events.append((seq, order_id, event, entry))
            _ORDER_EVENTS.get(type(event), _order)(touched, state, order, event, last)
        other = _OTHER_EVENTS.get(type(event))
        if other is not None:
            other(touched, state, event, entry)
        seq += 1


# --- events of an order ------------------------------------------------------------------------------------


def _order(touched: Touched, state: State, order: Order, event: Any, seq: int) -> None:
    """Its own row; the child's where the event names one, else those of all its children."""
    del state
    child_id = getattr(event, "child_id", "")
    touched.order(order, seq, children=not child_id)
    if child_id:
        touched.children[child_id] = seq


def _only_order(touched: Touched, state: State, order: Order, event: Any, seq: int) -> None:
    del state, event
    touched.orders[order.order_id] = seq


def _nothing(touched: Touched, state: State, order: Order, event: Any, seq: int) -> None:
    del touched, state, order, event, seq


def _accepted(touched: Touched, state: State, order: Order, event: ev.OrderAccepted, seq: int) -> None:
    del state
    touched.orders[order.order_id] = seq
    touched.first_ids[order.order_id] = event.cl_ord_id


def _rejected(touched: Touched, state: State, order: Order, event: ev.OrderRejected, seq: int) -> None:
    del state
    touched.orders[order.order_id] = seq
    touched.first_ids[order.order_id] = event.cl_ord_id
    touched.reasons[order.order_id] = (event.code, event.text)


def _routed(touched: Touched, state: State, order: Order, event: ev.OrderRouted, seq: int) -> None:
    touched.orders[order.order_id] = seq
    for planned in event.children:
        touched.children[planned.child_id] = seq
        number = order.children.index(planned.child_id) if len(order.children) > 1 else 0
        touched.new_children[planned.child_id] = (number, event.ts_ns)


def _scored(touched: Touched, state: State, order: Order, event: RouteScored, seq: int) -> None:
    del state
    touched.orders[order.order_id] = seq
    touched.routes[order.order_id] = event.confidence_ppm, event.expected_fill_ppm


def _with_reason(touched: Touched, state: State, order: Order, event: Any, seq: int) -> None:
    _order(touched, state, order, event, seq)
    if event.reason:
        touched.reasons[order.order_id] = (None, event.reason)


def _filled(touched: Touched, state: State, order: Order, event: ev.OrderFilled, seq: int) -> None:
    _order(touched, state, order, event, seq)
    touched.executions[event.key] = seq
    _booked(touched, state, order, event, seq)


def _changed_execution(touched: Touched, state: State, order: Order, event: Any, seq: int) -> None:
    touched.order(order, seq, children=True, executions=True)
    _booked(touched, state, order, event, seq)


def _booked(touched: Touched, state: State, order: Order, event: Any, seq: int) -> None:
    touched.positions[order.account, order.symbol] = (seq, event.ts_ns)
    if state.cash is not None and order.account in state.cash.accounts:
        touched.accounts[order.account] = seq


def _rescaled(touched: Touched, state: State, order: Order, event: Any, seq: int) -> None:
    del state, event
    touched.order(order, seq, children=True, executions=True)


_OrderEvent = Callable[[Touched, State, Order, Any, int], None]

_ORDER_EVENTS: dict[type, _OrderEvent] = {
    ev.OrderAccepted: _accepted,
    ev.OrderRejected: _rejected,
    ev.DuplicateRefused: _nothing,
    ev.BreakRaised: _nothing,
    ev.CommandQuarantined: _only_order,
    ev.OrderRouted: _routed,
    RouteScored: _scored,
    ev.OrderCancelled: _with_reason,
    ev.OrderExpired: _with_reason,
    ev.OrderRefusedByVenues: _with_reason,
    ev.OrderSuspended: _with_reason,
    ev.OrderFilled: _filled,
    ev.ExecutionBusted: _changed_execution,
    ev.ExecutionCorrected: _changed_execution,
    ev.OrderRestated: _rescaled,
    sp.OrderAdjusted: _rescaled,
}


# --- events of anything else -------------------------------------------------------------------------------


def _reference(touched: Touched, state: State, event: ev.ReferenceSet, entry: Entry) -> None:
    del state
    seq = entry.last_seq
    for instrument in event.instruments:
        touched.instruments[instrument.symbol] = seq
    for account in event.accounts:
        touched.accounts[account.account] = seq
    for venue in event.venues:
        touched.venues[venue.mic] = seq
    for symbol, _ in event.prices:
        touched.instruments[symbol] = seq


def _halted(touched: Touched, state: State, event: ev.InstrumentHalted, entry: Entry) -> None:
    del state
    touched.instruments[event.symbol] = entry.last_seq


def _venue_status(touched: Touched, state: State, event: ev.VenueStatusSet, entry: Entry) -> None:
    del state
    touched.venues[event.venue] = entry.last_seq


def _quarantined(touched: Touched, state: State, event: ev.CommandQuarantined, entry: Entry) -> None:
    del state
    if event.account:
        touched.accounts[event.account] = entry.last_seq


def _unfrozen(touched: Touched, state: State, event: ev.Unfrozen, entry: Entry) -> None:
    if event.subject in state.orders:
        touched.orders[event.subject] = entry.last_seq
    touched.accounts[event.subject] = entry.last_seq


def _position_loaded(touched: Touched, state: State, event: be.PositionLoaded, entry: Entry) -> None:
    del state
    touched.positions[event.account, event.symbol] = (entry.last_seq, entry.ts_ns)


def _position_scaled(touched: Touched, state: State, event: be.PositionScaled, entry: Entry) -> None:
    del state
    touched.positions[event.account, event.symbol] = (entry.last_seq, entry.ts_ns)
    touched.accounts[event.account] = entry.last_seq


def _shares_split(touched: Touched, state: State, event: be.SharesSplit, entry: Entry) -> None:
    del state
    touched.instruments[event.symbol] = entry.last_seq


def _cash_loaded(touched: Touched, state: State, event: Any, entry: Entry) -> None:
    del state
    touched.accounts[event.account] = entry.last_seq


_OTHER_EVENTS: dict[type, Callable[[Touched, State, Any, Entry], None]] = {
    ev.ReferenceSet: _reference,
    ev.InstrumentHalted: _halted,
    ev.VenueStatusSet: _venue_status,
    ev.CommandQuarantined: _quarantined,
    ev.Unfrozen: _unfrozen,
    be.PositionLoaded: _position_loaded,
    be.CashLoaded: _cash_loaded,
    be.CashPaid: _cash_loaded,
    be.CashExchanged: _cash_loaded,
    be.IncomePosted: _cash_loaded,
    be.PositionScaled: _position_scaled,
    be.SharesSplit: _shares_split,
}
