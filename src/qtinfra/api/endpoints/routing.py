"""Routing: what the router would do with an order, and what was measured of the venues."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from qtinfra.api.deps import Caller, answer
from qtinfra.api.docs import ETAG, LOCATION, answers, body, ref
from qtinfra.api.errors import refusal
from qtinfra.api.order_entry import OrderEntry
from qtinfra.api.replies import raise_refused, rejected
from qtinfra.api.requests import own_account
from qtinfra.api.routing_views import analytics_view
from qtinfra.api.views import RoutingDecision, most_of, routing_decision, written
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import canonical
from qtinfra.core.events import AnyEvent, DuplicateRefused, OrderRejected, OrderRouted
from qtinfra.core.legs import limit, units
from qtinfra.core.market import ConsolidatedBook, Level
from qtinfra.core.routing_events import RouteScored
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.wire import read_new_order
from qtinfra.repository.query import EVERYTHING

#: Client order id of a question: no order has it, since an order's id is never empty of letters.
DRY_RUN_ID = "dry-run"
_LIVE = {"true": True, "false": False}

router = APIRouter(tags=["Routing"])


class LegView(msgspec.Struct, frozen=True):
    """One venue order of a plan."""

    venue: str
    quantity: Decimal
    price: Decimal | None
    order_type: str
    time_in_force: str


class LevelView(msgspec.Struct, frozen=True):
    """One price level that a venue displays."""

    price: Decimal
    quantity: Decimal


class QuoteView(msgspec.Struct, frozen=True):
    """What one venue displays, best first."""

    venue: str
    live: bool
    bids: list[LevelView]
    asks: list[LevelView]


class RouteView(msgspec.Struct, frozen=True):
    """What an order would lead to now. Nothing was sent or kept.

    Attributes:
        reason: why the router chose so; null when the order would be held and not routed.
    """

    symbol: str
    side: str
    quantity: Decimal
    best_bid: Decimal | None
    best_ask: Decimal | None
    reason: str | None
    legs: list[LegView]
    book: list[QuoteView]
    routing_decision: RoutingDecision | None


_LIVE_PARAMETER = {
    "name": "live",
    "in": "query",
    "required": False,
    "schema": {"type": "boolean", "default": False},
    "description": "Submit the order instead of asking: the same as POST /orders.",
}


@router.post(
    "/route",
    responses=answers(
        {"anyOf": [ref("RouteView"), ref("OrderView")]},
        *(409, 413, 415, 422, 500),
        text="The plan of a dry run; live: the first answer again.",
    )
    | {201: answers(ref("OrderView"), status=201, text="Live: accepted.", headers={**ETAG, **LOCATION})[201]},
    openapi_extra={"parameters": [_LIVE_PARAMETER], **body(ref("OrderCreateRequest"))},
)
async def route(request: Request) -> Response:
    """How an order would be routed now, or with live=true the order itself."""
    caller = Caller(request)
    caller.require(Permission.ROUTE_READ)
    live = _live(request)
    text = await caller.json()
    stand_in = None if live else DRY_RUN_ID
    command, _ = read_new_order(text, account=own_account(caller.identity), cl_ord_id=stand_in)
    caller.require(Permission.ORDERS_READ, command.account)
    if live:
        caller.require(Permission.ORDERS_WRITE, command.account)
        entry = OrderEntry(caller.platform)
        reply = await entry.place(command, caller.identity, caller.correlation_id)
        headers = {name.decode(): value.decode() for name, value in reply.headers}
        return Response(reply.body, reply.status, headers)
    events = caller.platform.plan(command)
    return answer(_plan(command, events, caller.platform.book(command.symbol)))


def _live(request: Request) -> bool:
    """The one query parameter.

    Raises:
        Problem: 422 for another one, for two, or another value.
    """
    items = request.query_params.multi_items()
    for name, _ in items:
        if name != "live":
            raise refusal(422, "unknown_filter", "only live may be asked for", field=name[:60])
    if len(items) > 1:
        raise refusal(422, "duplicate_parameter", "live must stand once", field="live", limit="1")
    value = items[0][1] if items else "false"
    if value not in _LIVE:
        raise refusal(422, "type", "live is true or false", field="live", value=value[:60])
    return _LIVE[value]


def _plan(command: SubmitOrder, events: Sequence[AnyEvent], book: ConsolidatedBook | None) -> RouteView:
    legs: list[LegView] = []
    reason: str | None = None
    scored: tuple[int, int] | None = None
    for event in events:
        match event:
            case OrderRejected():
                problem = rejected(event)
                problem.order_id = ""
                raise problem
            case OrderRouted(children=children):
                reason = event.reason
                legs += [
                    LegView(
                        child.venue,
                        units(child, command.qty),
                        limit(child, command.price),
                        child.order_type,
                        child.tif,
                    )
                    for child in children
                ]
            case RouteScored():
                scored = event.confidence_ppm, event.expected_fill_ppm
            case DuplicateRefused():
                pass
            case _:
                raise_refused(event)
    bid, ask = book.touch() if book is not None else (None, None)
    quotes = [
        QuoteView(quote.venue, quote.live, _levels(quote.bids), _levels(quote.asks))
        for quote in (book.quotes if book is not None else ())
    ]
    venue = most_of((leg.venue, leg.quantity) for leg in legs)
    decision = routing_decision(venue, scored) if venue else None
    return RouteView(
        command.symbol, command.side, command.qty, written(bid), written(ask), reason, legs, quotes, decision
    )


def _levels(levels: Sequence[Level]) -> list[LevelView]:
    return [LevelView(canonical(price), canonical(size)) for price, size in levels]


@router.get("/routing/analytics", responses=answers(ref("AnalyticsView")))
async def analytics(request: Request) -> Response:
    """How orders fare at each venue, the best ranked first, and how far the router's predictions hold."""
    caller = Caller(request)
    everything = caller.scope(Permission.ANALYTICS_READ) is EVERYTHING
    platform = caller.platform
    links = {gateway.venue: gateway.stats for gateway in platform.gateways}
    return answer(analytics_view(platform.state, links, everything))
