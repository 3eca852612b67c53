"""Evolve for orders that are not plain: held orders, lists, calendars, corporate actions.

Part of evolve: `engine.evolve` has these functions in its table.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from qtinfra.core import special_events as sp
from qtinfra.core.models import Order
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.book_state import PendingAction
from qtinfra.engine.scaling import scale_order, scaled
from qtinfra.engine.settle import name_request, settle
from qtinfra.engine.state import OrderList, State


def admit(state: State, order: Order, terms: SpecialTerms) -> None:
    """A new order with special terms; the first order of a list begins it."""
    state.specials[order.order_id] = True
    if terms.link is None:
        return
    found = state.lists.get(terms.link_id)
    if found is None:
        state.lists[terms.link_id] = OrderList(terms.link, order.qty, [order.order_id])
    else:
        found.orders.append(order.order_id)


def _calendar_set(state: State, event: sp.CalendarSet) -> None:
    state.calendars[event.calendar.mic] = event.calendar


def _order_held(state: State, event: sp.OrderHeld) -> None:
    symbol = state.orders[event.order_id].symbol
    state.watched.setdefault(symbol, {})[event.order_id] = event.watermark


def _order_triggered(state: State, event: sp.OrderTriggered) -> None:
    order = state.orders[event.order_id]
    waiting = state.watched[order.symbol]
    del waiting[event.order_id]
    if not waiting:
        del state.watched[order.symbol]
    settle(state, order, event.ts_ns)


def _watermark_moved(state: State, event: sp.WatermarkMoved) -> None:
    symbol = state.orders[event.order_id].symbol
    state.watched[symbol][event.order_id] = event.watermark


def _peg_repriced(state: State, event: sp.PegRepriced) -> None:
    for leg in event.legs:
        child = state.children[leg.child_id]
        child.replace_id, child.replace_qty, child.replace_price = leg.cl_ord_id, leg.qty, leg.price
        name_request(state, leg.child_id, leg.cl_ord_id)
    settle(state, state.orders[event.order_id], event.ts_ns)


def _new_terms(state: State, order: Order, terms: SpecialTerms | None) -> None:
    if terms != order.special:
        state.submitted_terms.setdefault(order.order_id, order.special)
        order.special = terms


def _terms_replaced(state: State, event: sp.TermsReplaced) -> None:
    order = state.orders[event.order_id]
    _new_terms(state, order, event.special)
    settle(state, order, event.ts_ns)


def _action_taken(state: State, event: sp.CorporateActionTaken) -> None:
    state.corporate_actions[event.action_id] = True
    state.books.actions[event.action_id] = PendingAction(
        event.symbol, event.kind, event.ex_date, event.amount, event.ratio_num, event.ratio_den
    )


def _order_adjusted(state: State, event: sp.OrderAdjusted) -> None:
    order = state.orders[event.order_id]
    num, den = event.ratio_num, event.ratio_den
    rested = {child.child_id: child.price for child in state.working_children(order)}
    if num != den:
        scale_order(state, order, num, den)
        lot = state.instruments[order.symbol].lot_size
        for child in state.working_children(order):
            child.leaves -= child.leaves % lot
            child.qty = child.cum + child.leaves
        _scale_list(state, order, num, den, lot)
    for child in state.working_children(order):
        if rested[child.child_id] is not None and event.price is not None:
            same = rested[child.child_id] == order.price
            child.price = event.price if same else _on_tick(state, order, child.price)
    order.qty, order.price = event.qty, event.price
    _new_terms(state, order, event.special)
    if event.watermark is not None:
        state.watched[order.symbol][order.order_id] = event.watermark
    settle(state, order, event.ts_ns)


def _on_tick(state: State, order: Order, price: Decimal | None) -> Decimal | None:
    return state.instruments[order.symbol].nearest_prices(price)[0] if price is not None else None


def _scale_list(state: State, order: Order, num: Decimal, den: Decimal, lot: Decimal) -> None:
    """What a list may execute scales once, with its first order."""
    terms = order.special
    if terms is None or terms.link is None or state.lists[terms.link_id].orders[0] != order.order_id:
        return
    found = state.lists[terms.link_id]
    found.qty = scaled(found.qty, num, den)
    found.qty -= found.qty % lot


HELD: dict[type, Callable[[State, Any], None]] = {
    sp.CalendarSet: _calendar_set,
    sp.OrderHeld: _order_held,
    sp.OrderTriggered: _order_triggered,
    sp.WatermarkMoved: _watermark_moved,
    sp.PegRepriced: _peg_repriced,
    sp.TermsReplaced: _terms_replaced,
    sp.CorporateActionTaken: _action_taken,
    sp.OrderAdjusted: _order_adjusted,
}
