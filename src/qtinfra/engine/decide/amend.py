"""Requests on existing orders: cancel, replace, status, mass cancel.

A refusal names the reason in FIX terms (CxlRejReason): 0 too late, 1 unknown order, 3 already pending,
6 duplicate id, 99 other, with our code beside it.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import msgspec

from qtinfra.core.algo_events import AlgoTermsReplaced
from qtinfra.core.commands import CancelOrder, MassCancel, OrderStatusRequest, ReplaceOrder
from qtinfra.core.decimals import ONE, ZERO, plain
from qtinfra.core.decisions import Refusal, RiskApproved
from qtinfra.core.events import (
    AmendRefused,
    CancelLeg,
    CancelRequested,
    ChildUnknown,
    CommandRefused,
    DuplicateAnswered,
    OrderCancelled,
    OrderReplaced,
    OrderRestated,
    ReplaceLeg,
    ReplaceQueued,
    ReplaceRequested,
    StatusAnswered,
)
from qtinfra.core.extended_models import ChainedReplace
from qtinfra.core.market import MarketView
from qtinfra.core.models import Amend, Child, ChildStatus, Order, Origin
from qtinfra.core.reports import (
    CXL_ALREADY_PENDING,
    CXL_DUPLICATE_CL_ORD_ID,
    CXL_OTHER,
    CXL_TOO_LATE,
    CXL_UNKNOWN_ORDER,
    NO_ORDER,
)
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.rules import check_client_id, check_instrument, check_round_lot, check_terms
from qtinfra.core.validation.special import merged
from qtinfra.engine.decide.algo_replacing import check_algo_replace, parent_legs, recall_through
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.placing import is_waiting
from qtinfra.engine.decide.replacing import (
    announce_terms,
    check_special_replace,
    child_change,
    held_by_venue,
    keeps_to_itself,
    moves_trigger,
    terms_change,
)
from qtinfra.engine.decide.risk_gate import check_stop_risk, gate
from qtinfra.engine.decide.routing import place_increase
from qtinfra.engine.state import State

CANCEL, REPLACE = 1, 2


def order_status_request(
    state: State, command: OrderStatusRequest, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    order = state.find_order(command.account, command.cl_ord_id)
    order_id = order.order_id if order is not None else NO_ORDER
    out.answer(StatusAnswered(command.account, command.cl_ord_id, order_id))


# --- cancel ----------------------------------------------------------------------------------------------


def cancel_order(state: State, command: CancelOrder, now_ns: int, market: MarketView, out: Decision) -> None:
    del market
    order = state.find_order(command.account, command.orig_cl_ord_id)
    if order is None:
        _refuse_unknown(command, CANCEL, now_ns, out)
        return
    if _answered_before(state, order, command, out, now_ns, CANCEL):
        return
    if order.pending_cancel is not None:
        _refuse(order, command, CANCEL, CXL_ALREADY_PENDING, "cancel_pending", now_ns, out)
    elif order.closed is not None or order.filled:
        _refuse(order, command, CANCEL, CXL_TOO_LATE, "too_late", now_ns, out)
    else:
        request_cancel(state, order, command.cl_ord_id, command.origin, command.reason, now_ns, out)


def request_cancel(
    state: State,
    order: Order,
    cl_ord_id: str,
    origin: Origin,
    reason: str,
    now_ns: int,
    out: Decision,
) -> None:
    """Cancel an open order: at every venue that works a part, at once when none does.

    A venue that cannot be reached keeps its child, as UNKNOWN: it is never called cancelled.
    """
    working = state.working_children(order)
    if not working:
        out.add(OrderCancelled(order.order_id, cl_ord_id, reason, now_ns))
        return
    legs = tuple(CancelLeg(child.child_id, out.venue_id(number)) for number, child in enumerate(working))
    out.add(CancelRequested(order.order_id, cl_ord_id, order.cl_ord_id, origin, legs, reason, now_ns))
    for child in working:
        if child.status is not ChildStatus.UNKNOWN and not state.connected(child.venue):
            why = "cancel not sent: venue disconnected"
            out.add(ChildUnknown(child.venue, 0, child.child_id, order.order_id, why, now_ns))


def mass_cancel(state: State, command: MassCancel, now_ns: int, market: MarketView, out: Decision) -> None:
    del market
    if command.account not in state.accounts:
        text = f"account {command.account[:40]!r} is not known"
        out.add(
            CommandRefused(
                command.account, command.request_id, "unknown_account", "account", "", command.account, text
            )
        )
        return
    for order_id in state.open_orders:
        order = state.orders[order_id]
        if order.account != command.account or (command.symbol and order.symbol != command.symbol):
            continue
        cancel_if_open(state, order, command.origin, "mass cancel", now_ns, out)


def cancel_if_open(
    state: State, order: Order, origin: Origin, reason: str, now_ns: int, out: Decision
) -> None:
    """Ask for the cancel of an order that is open and has none pending."""
    if order.open and order.pending_cancel is None:
        request_cancel(state, order, "", origin, reason, now_ns, out)


# --- replace ---------------------------------------------------------------------------------------------


def replace_order(
    state: State, command: ReplaceOrder, now_ns: int, market: MarketView, out: Decision
) -> None:
    order = state.find_order(command.account, command.orig_cl_ord_id)
    if order is None:
        _refuse_unknown(command, REPLACE, now_ns, out)
        return
    if _answered_before(state, order, command, out, now_ns, REPLACE):
        return
    if order.pending_cancel is not None:
        _refuse(order, command, REPLACE, CXL_ALREADY_PENDING, "cancel_pending", now_ns, out)
        return
    if order.pending_replace is not None and command.origin is Origin.CLIENT:
        _chain(state, order, command, now_ns, out)
        return
    begin_replace(state, order, command, now_ns, market, out)


def _chain(state: State, order: Order, command: ReplaceOrder, now_ns: int, out: Decision) -> None:
    special = command.special is not None
    if special or state.policies(order.account).chained_replace is ChainedReplace.REJECT:
        _refuse(order, command, REPLACE, CXL_ALREADY_PENDING, "replace_pending", now_ns, out)
        return
    qty, price = _terms(order, command)
    refusal = check_terms(qty, price, order.order_type)
    if refusal is not None:
        _refuse(order, command, REPLACE, refusal.fix_reason, refusal.code, now_ns, out, refusal)
        return
    out.add(
        ReplaceQueued(
            order.order_id, command.cl_ord_id, command.orig_cl_ord_id, command.origin, qty, price, now_ns
        )
    )


def begin_replace(
    state: State, order: Order, command: ReplaceOrder, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Check a replace against the order as it stands and send it on, apply it, or refuse it."""
    qty, price = _terms(order, command)
    terms = merged(order.special, command.special)
    refusal = _check_replace(state, order, qty, price, terms, now_ns, market)
    special = order.special is not None or command.special is not None
    if refusal is None and special:
        refusal = check_special_replace(state, order, command, qty, price)
    if refusal is None and (order.algo is not None or command.algo is not None):
        refusal = check_algo_replace(state, order, command, qty, price, now_ns)
    if refusal is not None:
        _refuse(order, command, REPLACE, refusal.fix_reason, refusal.code, now_ns, out, refusal)
        return
    if order.order_id in state.algos.parents:
        _replace_parent(state, order, command, qty, price, now_ns, out)
        return
    if command.origin is Origin.STAFF:
        announce_terms(order, command, now_ns, out)
        restate_by_staff(state, order, qty, price, now_ns, out)
        return
    legs = _replace_legs(state, order, qty, price, out)
    if legs and terms_change(order, command):
        refusal = held_by_venue(order)
        _refuse(order, command, REPLACE, refusal.fix_reason, refusal.code, now_ns, out, refusal)
        return
    if not legs:
        announce_terms(order, command, now_ns, out)
        out.add(OrderReplaced(order.order_id, command.cl_ord_id, order.cl_ord_id, qty, price, now_ns))
        if qty > order.qty:
            out.then(partial(place_increase, order_id=order.order_id, qty=qty - order.qty))
        return
    orig = order.cl_ord_id
    out.add(
        ReplaceRequested(order.order_id, command.cl_ord_id, orig, command.origin, qty, price, legs, now_ns)
    )


def _replace_parent(
    state: State,
    order: Order,
    command: ReplaceOrder,
    qty: Decimal,
    price: Decimal | None,
    now_ns: int,
    out: Decision,
) -> None:
    """New terms of a parent that is worked count at once, unless venues must give something up first."""
    if command.algo is not None:
        out.add(AlgoTermsReplaced(order.order_id, command.algo, now_ns))
    recall_through(state, order, price, now_ns, out)
    orig = order.cl_ord_id
    legs = parent_legs(state, order, qty, out)
    if not legs:
        out.add(OrderReplaced(order.order_id, command.cl_ord_id, orig, qty, price, now_ns))
        return
    out.add(
        ReplaceRequested(order.order_id, command.cl_ord_id, orig, command.origin, qty, price, legs, now_ns)
    )


def _terms(order: Order, command: ReplaceOrder) -> tuple[Decimal, Decimal | None]:
    qty = command.qty if command.qty is not None else order.qty
    return qty, command.price if command.price is not None else order.price


def _check_replace(
    state: State,
    order: Order,
    qty: Decimal,
    price: Decimal | None,
    terms: SpecialTerms | None,
    now_ns: int,
    market: MarketView,
) -> Refusal | None:
    refusal = check_terms(qty, price, order.order_type)
    if refusal is not None:
        return refusal
    if order.closed is not None or (order.filled and qty <= order.cum_qty):
        return Refusal("too_late", f"the order is {order.status}", "", "", order.status, CXL_TOO_LATE)
    if qty < order.cum_qty:
        text = f"quantity {plain(qty)} is below the {plain(order.cum_qty)} already executed"
        cum = plain(order.cum_qty)
        return Refusal("qty_below_filled", text, "quantity", cum, plain(qty), CXL_OTHER)
    instrument = state.instruments[order.symbol]
    refusal = check_instrument(instrument, qty, price)
    if refusal is None and not instrument.odd_lots and qty != order.qty:
        refusal = check_round_lot(instrument, qty, state.reference_prices.get(order.symbol, price))
    if refusal is None and order.symbol in state.halted:
        text = f"{order.symbol} is halted"
        refusal = Refusal("instrument_halted", text, "symbol", "", order.symbol, CXL_OTHER)
    refusal = refusal or _check_replace_venues(state, order)
    if refusal is not None:
        return refusal
    frozen = state.frozen.get(order.order_id)
    if frozen is not None:
        return Refusal("frozen", f"frozen after a fault: {frozen}", "order_id", "", order.order_id, CXL_OTHER)
    return _check_replace_risk(state, order, qty, price, terms, now_ns, market)


def _check_replace_venues(state: State, order: Order) -> Refusal | None:
    """Every venue that would be asked must be connected, and know of the order for certain."""
    for child in _to_replace(state, order):
        if not state.connected(child.venue):
            text = "a venue that holds part of the order is not connected"
            return Refusal("venue_disconnected", text, "venue", "", child.venue, CXL_OTHER)
        if child.status is ChildStatus.UNKNOWN:
            text = "the outcome of an earlier request is not known"
            return Refusal("outcome_unknown", text, "venue", "", child.venue, CXL_OTHER)
    return None


def _to_replace(state: State, order: Order) -> list[Child]:
    """The children that a replace may concern: those that work, or a filled order's last one."""
    children = state.working_children(order)
    if not children and order.children and order.filled:
        return [state.children[order.children[-1]]]
    return children


def _check_replace_risk(
    state: State,
    order: Order,
    qty: Decimal,
    price: Decimal | None,
    terms: SpecialTerms | None,
    now_ns: int,
    market: MarketView,
) -> Refusal | None:
    """Risk on the new terms; less quantity at the same or a safer price is never refused by a limit.

    A stop that waits is worth its trigger, as when it came; a limit price is measured from there.
    """
    adds = max(ZERO, qty - order.cum_qty - order.reserved)
    if not adds and price == order.price and not moves_trigger(order, terms):
        return None
    waits = is_waiting(state, order)
    if waits:
        refusal = check_stop_risk(state, order.account, order.symbol, order.side, qty, price, terms)
        if refusal is not None:
            return msgspec.structs.replace(refusal, fix_reason=CXL_OTHER)
    verdict = gate(
        state,
        market,
        account=order.account,
        trader=order.trader,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        tif=order.tif,
        qty=qty,
        adds=adds,
        price=None if waits else price,
        min_qty=order.min_qty,
        now_ns=now_ns,
        special=terms,
        order=order,
        worth=price,
    )
    if isinstance(verdict, RiskApproved):
        return None
    refused = verdict.refusal
    return Refusal(refused.code, refused.text, refused.field, refused.limit, refused.observed, CXL_OTHER)


def _replace_legs(
    state: State, order: Order, qty: Decimal, price: Decimal | None, out: Decision
) -> tuple[ReplaceLeg, ...]:
    """Which children change: a decrease takes from what no venue holds, then from the youngest child; an
    increase goes to an only child, else it is routed anew; a new price goes to all that work. A filled
    order's last child is asked to open again. A quantity at or below what a child has traded cancels the
    balance.
    """
    children = _to_replace(state, order)
    if not children:
        return ()
    change = qty - order.qty
    if change < ZERO:
        change = min(ZERO, change + order.unallocated)
    elif len(children) > 1 or keeps_to_itself(state, order):
        change = ZERO
    repriced = price != order.price
    every = repriced or qty == order.qty
    if order.special is not None:
        price, every = child_change(state, order, children, price, every)
    return _legs(children, change, price, every, out)


def excess_legs(
    state: State, order: Order, qty: Decimal, price: Decimal | None, out: Decision
) -> tuple[ReplaceLeg, ...]:
    """What venues must give up so that they hold no more than an order of `qty` has left; mostly nothing."""
    children = state.working_children(order)
    held = sum((child.leaves for child in children), ZERO)
    excess = held - (qty - order.cum_qty)
    if excess > ZERO and order.special is not None:
        price, _ = child_change(state, order, children, price, False)
    return _legs(children, -excess, price, False, out) if excess > ZERO else ()


def _legs(
    children: list[Child], change: Decimal, price: Decimal | None, every: bool, out: Decision
) -> tuple[ReplaceLeg, ...]:
    """Legs for a change of quantity, the youngest child first; `every`: also for those it leaves as is."""
    legs: list[tuple[Child, Decimal]] = []
    for child in reversed(children):
        cut = max(change, -child.leaves)
        if cut or every:
            legs.append((child, child.qty + cut))
        change -= cut
    return tuple(
        ReplaceLeg(child.child_id, out.venue_id(number), new_qty, price)
        for number, (child, new_qty) in enumerate(legs)
    )


def restate_by_staff(
    state: State, order: Order, qty: Decimal, price: Decimal | None, now_ns: int, out: Decision
) -> None:
    """New terms agreed by voice with client and venue: they count at once."""
    working = state.working_children(order)
    child_id = working[-1].child_id if working else ""
    out.add(OrderRestated("", 0, order.order_id, qty, price, ONE, ONE, child_id, "verbal change", now_ns))


# --- shared ----------------------------------------------------------------------------------------------


def _answered_before(
    state: State,
    order: Order,
    command: CancelOrder | ReplaceOrder,
    out: Decision,
    now_ns: int,
    response_to: int,
) -> bool:
    """Whether the request's own id was used before; then it is answered here, and creates nothing."""
    if not command.cl_ord_id:
        if command.origin is Origin.CLIENT:
            refusal = check_client_id("")
            _refuse(order, command, response_to, CXL_OTHER, "max_length", now_ns, out, refusal)
            return True
        return False
    known = state.find_order(command.account, command.cl_ord_id)
    if known is None:
        refusal = check_client_id(command.cl_ord_id)
        if refusal is None:
            return False
        _refuse(order, command, response_to, CXL_OTHER, refusal.code, now_ns, out, refusal)
        return True
    if known.order_id == order.order_id and _same_request(order, command):
        out.answer(DuplicateAnswered(command.account, command.cl_ord_id, order.order_id))
    else:
        code = "duplicate_client_order_id"
        _refuse(order, command, response_to, CXL_DUPLICATE_CL_ORD_ID, code, now_ns, out)
    return True


def _same_request(order: Order, command: CancelOrder | ReplaceOrder) -> bool:
    for amend in order.amends:
        if amend.cl_ord_id != command.cl_ord_id:
            continue
        if isinstance(command, CancelOrder):
            return amend.cancel
        return not amend.cancel and (amend.qty, amend.price) == _terms_asked(command, amend)
    return False


def _terms_asked(command: ReplaceOrder, amend: Amend) -> tuple[Decimal | None, Decimal | None]:
    """The terms of a repeated request; what it leaves open is what it left open the first time."""
    qty = command.qty if command.qty is not None else amend.qty
    return qty, command.price if command.price is not None else amend.price


def _refuse_unknown(
    command: CancelOrder | ReplaceOrder, response_to: int, now_ns: int, out: Decision
) -> None:
    out.add(
        AmendRefused(
            NO_ORDER,
            command.account,
            command.cl_ord_id,
            command.orig_cl_ord_id,
            response_to,
            CXL_UNKNOWN_ORDER,
            "unknown_order",
            "orig_client_order_id",
            "",
            command.orig_cl_ord_id,
            f"no order of this account has the client order id {command.orig_cl_ord_id!r}",
            False,
            now_ns,
        )
    )


def _refuse(
    order: Order,
    command: CancelOrder | ReplaceOrder,
    response_to: int,
    reason: int,
    code: str,
    now_ns: int,
    out: Decision,
    refusal: Refusal | None = None,
) -> None:
    """Refuse before anything was sent on. The id is remembered, the order's own id stays what it was."""
    out.add(
        AmendRefused(
            order.order_id,
            order.account,
            command.cl_ord_id,
            order.cl_ord_id,
            response_to,
            reason,
            code,
            refusal.field if refusal is not None else "",
            refusal.limit if refusal is not None else "",
            refusal.observed if refusal is not None else order.status,
            refusal.text if refusal is not None else f"{code}: the order is {order.status}",
            False,
            now_ns,
            command.qty if isinstance(command, ReplaceOrder) else None,
            command.price if isinstance(command, ReplaceOrder) else None,
        )
    )
