"""Placing quantity at venues: eligible venues, the router's plan, child orders."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decisions import RiskApproved, RiskRefused
from qtinfra.core.events import ChildOrder, OrderRouted
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order, OrderSide
from qtinfra.core.routing import RouteStyle
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.placing import child_terms
from qtinfra.engine.decide.risk_gate import reapprove, view_of
from qtinfra.engine.decide.smart_routing import smart_route
from qtinfra.engine.lookup import open_venues
from qtinfra.engine.state import State
from qtinfra.router.sor import VenueTerms, covers, offers, plan_at, plan_over, plan_route

_BUY = OrderSide.BUY

#: How often one order may be placed again after venues refused or cancelled parts of it.
MAX_ROUTE_ATTEMPTS = 16


def eligible_venues(state: State, symbol: str, refused: list[str]) -> tuple[VenueTerms, ...]:
    """Venues that list the symbol, are connected, not killed, and have not refused this order."""
    venues = open_venues(state, symbol)
    return tuple(venue for venue in venues if venue.mic not in refused) if refused else venues


def route(
    state: State,
    order_id: str,
    approved: RiskApproved,
    refused: list[str],
    now_ns: int,
    market: MarketView,
    out: Decision,
    style: RouteStyle | None = None,
) -> bool:
    """Add the OrderRouted event for an approved quantity, the last of what it adds; False when no venue can
    take it. `style` is how the order asks to be routed, None when it does not.
    """
    if state.routing is not None:
        routing = state.routing
        return smart_route(state, routing, order_id, approved, refused, style, now_ns, market, out)
    venues = eligible_venues(state, approved.symbol, refused)
    lot = state.instruments[approved.symbol].lot_size
    book = market.book(approved.symbol)
    if book is None:
        plan = plan_route(approved, None, venues, lot)
    else:
        view = view_of(state, book)
        best = view.best_of(venues, lot, approved.side is _BUY) if len(venues) > 1 else None
        if best is not None and covers(best, approved):
            plan = plan_at(approved, best, view.bid, view.ask)
        else:
            known = offers(approved, view.quotes, venues, lot) if best is not None else None
            plan = plan_over(approved, view.quotes, view.bid, view.ask, venues, lot, taken=known)
    if not plan.legs:
        return False
    children = []
    for number, leg in enumerate(plan.legs):
        child_id = out.venue_id(number)
        children.append(
            ChildOrder(child_id, leg.venue, leg.order_type, leg.tif, leg.qty, leg.price, leg.min_qty)
        )
    out.events.append(
        OrderRouted(order_id, tuple(children), plan.reason, plan.best_bid, plan.best_ask, now_ns)
    )
    return True


def reroute(
    state: State,
    order: Order,
    qty: Decimal,
    refused: list[str],
    now_ns: int,
    market: MarketView,
    out: Decision,
) -> bool:
    """Place quantity that came back from a venue; False when it may not or cannot go elsewhere."""
    if order.algo is not None:
        return False  # its schedule decides what is sent again
    attempts = order.route_attempts
    if order.special is not None:
        attempts -= len(order.executions)  # slices that traded are no failed attempts
    if attempts >= MAX_ROUTE_ATTEMPTS or order.symbol in state.halted:
        return False
    verdict = reapprove(state, order, qty)
    if isinstance(verdict, RiskRefused):
        return False
    if order.special is not None:
        part = child_terms(state, order, verdict, now_ns, market)
        return part is not None and route(state, order.order_id, part, refused, now_ns, market, out)
    return route(state, order.order_id, verdict, refused, now_ns, market, out)


def place_increase(
    state: State, now_ns: int, market: MarketView, out: Decision, *, order_id: str, qty: Decimal
) -> None:
    """Follow-up: send on what a replace has added and no venue holds yet."""
    order = state.orders[order_id]
    part = min(qty, order.unallocated)
    if order.open and not order.suspended and order.pending_cancel is None and part:
        reroute(state, order, part, order.refused_venues, now_ns, market, out)
