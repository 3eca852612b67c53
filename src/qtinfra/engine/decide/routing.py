"""Placing quantity at venues: eligible venues, the router's plan, child orders."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decisions import RiskApproved, RiskRefused, RouteLeg, RoutePlan
from qtinfra.core.events import OrderRouted
from qtinfra.core.ids import of_leg
from qtinfra.core.legs import ChildOrder, Leg, TakingOrder
from qtinfra.core.market import ConsolidatedBook, MarketView
from qtinfra.core.models import Order, OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import RouteStyle
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.placing import child_terms
from qtinfra.engine.decide.risk_gate import reapprove, view_of
from qtinfra.engine.decide.smart_routing import smart_route
from qtinfra.engine.lookup import open_venues
from qtinfra.engine.state import State
from qtinfra.router.sor import Offers, Top, VenueTerms, fill_from, plan_over, plan_route

# Members by name: looking them up in their class costs more than comparing them.
_BUY = OrderSide.BUY
_LIMIT = OrderType.LIMIT
_IOC = TimeInForce.IOC

#: How often one order may be placed again after venues refused or cancelled parts of it.
MAX_ROUTE_ATTEMPTS = 16


def eligible_venues(state: State, symbol: str, refused: Sequence[str]) -> tuple[VenueTerms, ...]:
    """Venues that list the symbol, are connected, not killed, and have not refused this order."""
    venues = open_venues(state, symbol)
    return tuple(venue for venue in venues if venue.mic not in refused) if refused else venues


def route(
    state: State,
    order_id: str,
    approved: RiskApproved,
    refused: Sequence[str],
    now_ns: int,
    market: MarketView,
    out: Decision,
    style: RouteStyle | None = None,
    new: SubmitOrder | None = None,
) -> bool:
    """Add the OrderRouted event for an approved quantity, the last of what it adds; False when no venue can
    take it.

    Args:
        style: how the order asks to be routed, None when it does not.
        new: the new order, all of which is approved.
    """
    routing = state.routing
    if routing is not None:
        return smart_route(state, routing, order_id, approved, refused, style, now_ns, market, out)
    symbol = approved.symbol
    book = market.book(symbol)
    if book is None or refused:
        plan = _plan_anew(state, approved, book, refused)
    else:
        top = top_of(state, book, approved.side is _BUY)
        lot = state.instruments[symbol].lot_size
        plan = plan_over(approved, top.quotes, top.bid, top.ask, top.venues, lot, offers=top.offers)
    return _add_plan(order_id, plan, now_ns, out, new)


def met_first(
    state: State, market: MarketView, symbol: str, price: Decimal | None, buying: bool
) -> Top | None:
    """What an order on this side meets first, if it takes that; None where routing looks for itself."""
    if state.routing is not None:
        return None
    book = market.book(symbol)
    top = top_of(state, book, buying) if book is not None else None
    return top if top is not None and top.takes(price, buying) else None


def sweep(top: Top, order: SubmitOrder, child_id: str) -> tuple[TakingOrder, ...]:
    """The children of a plain order that takes from several offers, each venue's at the worst price it needs;
    none when what is displayed within the limit is not enough.

    Args:
        order: its quantity is written in units.
        child_id: the venue id of the first.
    """
    legs: list[TakingOrder] = []
    venues: list[str] = []
    price, buying, left = order.price, order.side is _BUY, order.qty
    for _, _, px, size, mic in top.offers.ranking():
        if price is not None and (px > price if buying else px < price):
            continue
        if mic in venues:
            return _sweep_levels(top, order, child_id)
        venues.append(mic)
        leg_id = of_leg(child_id, len(legs)) if legs else child_id
        if size >= left:
            if not legs:
                return (_only_leg(child_id, mic, px, left, order),)
            legs.append(TakingOrder(leg_id, mic, px, left))
            return tuple(legs)
        legs.append(TakingOrder(leg_id, mic, px, size))
        left -= size
    return ()


def _sweep_levels(top: Top, order: SubmitOrder, child_id: str) -> tuple[TakingOrder, ...]:
    """`sweep` where a venue gives more than its best price."""
    take, worst, left = fill_from(top.offers.ranking(), order.price, order.side is _BUY, order.qty)
    if left:
        return ()
    if len(take) == 1:
        ((mic, part),) = take.items()
        return (_only_leg(child_id, mic, worst[mic], part, order),)
    return tuple(
        [
            TakingOrder(of_leg(child_id, number) if number else child_id, mic, worst[mic], part)
            for number, (mic, part) in enumerate(take.items())
        ]
    )


def top_of(state: State, book: ConsolidatedBook, buying: bool) -> Top:
    """What an order on this side meets first, found once for all that look at the same book."""
    memo, symbol = state.risk.memo, book.symbol
    tops = memo.buys if buying else memo.sells
    top = tops.get(symbol)
    if top is None or top.book is not book:
        venues, view = open_venues(state, symbol), view_of(state, book)
        lot = state.instruments[symbol].lot_size
        offers = Offers(buying, view.quotes, venues, lot)
        best = offers.best() if len(venues) > 1 else None
        top = tops[symbol] = Top(book, offers, best, venues, view.quotes, view.bid, view.ask)
    return top


def _plan_anew(
    state: State, approved: RiskApproved, book: ConsolidatedBook | None, refused: Sequence[str]
) -> RoutePlan:
    """The plan without a book, or for an order that has been to venues before."""
    venues = eligible_venues(state, approved.symbol, refused)
    lot = state.instruments[approved.symbol].lot_size
    if book is None:
        return plan_route(approved, None, venues, lot)
    view = view_of(state, book)
    return plan_over(approved, view.quotes, view.bid, view.ask, venues, lot)


def _add_plan(order_id: str, plan: RoutePlan, now_ns: int, out: Decision, new: SubmitOrder | None) -> bool:
    """Add the OrderRouted event of a plan; False when it has no legs."""
    if not plan.legs:
        return False
    first = out.venue_id()
    alone = new if len(plan.legs) == 1 else None
    legs = tuple(
        [_leg(of_leg(first, number) if number else first, leg, alone) for number, leg in enumerate(plan.legs)]
    )
    out.add(OrderRouted(order_id, legs, plan.reason, now_ns))
    return True


def _leg(child_id: str, leg: RouteLeg, alone: SubmitOrder | None) -> Leg:
    """A leg as it is journaled: in a short form if it takes, the shortest if a new order has it alone."""
    price, qty = leg.price, leg.qty
    if price is None or leg.order_type is not _LIMIT or leg.tif is not _IOC or leg.min_qty:
        return ChildOrder(child_id, leg.venue, leg.order_type, leg.tif, qty, price, leg.min_qty or None)
    if alone is not None:
        return _only_leg(child_id, leg.venue, price, qty, alone)
    return TakingOrder(child_id, leg.venue, price, qty)


def _only_leg(child_id: str, mic: str, px: Decimal, qty: Decimal, order: SubmitOrder) -> TakingOrder:
    """The only leg of a new order, without what is the order's own."""
    return TakingOrder(child_id, mic, _unless(px, order.price), _unless(qty, order.qty))


def _unless(number: Decimal, own: Decimal | None) -> Decimal | None:
    """The number; None if it is `own`, written alike."""
    return None if own is not None and not number.compare_total(own) else number


def reroute(
    state: State,
    order: Order,
    qty: Decimal,
    refused: Sequence[str],
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
