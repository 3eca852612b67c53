"""The ASGI app: `uvicorn qtinfra.api.main:app`.

Importing it connects nothing and reads no setting; that happens when the server starts it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from qtinfra import __version__
from qtinfra.api import docs
from qtinfra.api.batch import Item
from qtinfra.api.endpoints import access, books, reads, risk, routing, service
from qtinfra.api.errors import Problem, internal_error, problem_of, refusal
from qtinfra.api.gateway import Gateway
from qtinfra.api.lists import ListView
from qtinfra.api.middleware import CORRELATION, SECURITY_HEADERS, Edge
from qtinfra.api.order_entry import MassCancelView
from qtinfra.api.routing_views import AnalyticsView
from qtinfra.api.views import OrderDetailView, OrderView
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.ports import Clock
from qtinfra.infra.config import Settings

LOG = logging.getLogger("qtinfra.api")

#: Characters of a path or method that an answer repeats.
_SHOWN = 80

#: The structs that answers are made of, for the description.
VIEWS = (
    OrderView,
    OrderDetailView,
    Item,
    MassCancelView,
    ListView,
    reads.OrderExecution,
    reads.PositionView,
    reads.AccountView,
    reads.VenueView,
    reads.InstrumentView,
    routing.RouteView,
    AnalyticsView,
    risk.LimitView,
    risk.LimitsView,
    risk.KillSwitchesView,
    risk.KillOutcome,
    risk.LocateView,
    risk.LocatesView,
    access.RevocationView,
    access.RevocationsView,
    books.BookedView,
    service.VersionView,
    service.HealthView,
    service.DayView,
    service.TokenView,
)
_DESCRIPTION = """Orders in, durable decisions out.

Every answer to an order is on disk before it is sent. Numbers are exact: send and read them as strings.
Errors are problem documents (RFC 9457); `code` is stable and says which rule refused.

To try requests, on /docs: send `POST /auth/token` (below, under Service), copy the `access_token` of the
answer, and give it to Authorize. The WebSocket `/stream` tells of orders, executions and positions as they
change, and takes orders too; it is described in docs/reference/stream.md."""
#: The groups of operations in the order of the page.
_TAGS = (
    ("Orders", "Place, change, cancel and look at orders."),
    ("Executions", "What has traded."),
    ("Positions", "What is held, and its profit and loss."),
    ("Routing", "Where an order would go, and how orders fare at each venue."),
    ("Risk", "Limits, kill switches, and locates for short sales."),
    ("Accounts", "Who trades."),
    ("Instruments", "What can be traded."),
    ("Venues", "Where."),
    (
        "Books",
        "What an operator sets or books by hand: the trading date, marks, rates, cash, positions, fees.",
    ),
    ("Access", "Tokens that are refused."),
    ("Service", "The service about itself, and tokens of the development login."),
)


class _App(FastAPI):
    """The framework's app without what its entry does for telemetry at every request (0.165: 3 to 6 us)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        stack = self.middleware_stack = self.middleware_stack or self.build_middleware_stack()
        await stack(scope, receive, send)


def create_app(settings: Callable[[], Settings] = Settings, clock: Clock | None = None) -> FastAPI:
    """The app, with nothing behind it until its lifespan begins.

    Args:
        settings: gives the settings when the server starts; by default they come from the environment.
        clock: UTC nanoseconds; the system's by default.
    """
    gateway = Gateway()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with gateway.open(settings(), clock):
            yield

    app = FastAPIOffline(
        title="qtinfra",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_tags=[{"name": name, "description": text} for name, text in _TAGS],
        generate_unique_id_function=lambda route: route.name,
    )
    app.__class__ = _App
    app.state.gateway = gateway
    for routes in (reads.router, routing.router, risk.router, access.router, books.router, service.router):
        app.include_router(routes)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(QtInfraError, _error)
    app.add_exception_handler(HTTPException, _http_error)
    app.openapi = partial(docs.document, app, VIEWS)  # type: ignore[method-assign]
    inner = app.build_middleware_stack
    app.build_middleware_stack = partial(_stack, inner, gateway)  # type: ignore[method-assign]
    return app


def _stack(inner: Callable[[], ASGIApp], gateway: Gateway) -> ASGIApp:
    """Our edge around the framework's own stack, so that the short path passes through none of it."""
    return ServerErrorMiddleware(Edge(inner(), gateway), handler=_fault)


def _correlation_id(request: Request) -> str:
    return str(request.scope.get(CORRELATION, ""))


def _answer(request: Request, problem: Problem, more: dict[str, str] | None = None) -> Response:
    headers = {name.decode(): value.decode() for name, value in problem.headers()}
    return Response(problem.body(_correlation_id(request)), problem.status, {**headers, **(more or {})})


async def _problem(request: Request, error: Exception) -> Response:
    return _answer(request, cast(Problem, error))


async def _error(request: Request, error: Exception) -> Response:
    return _answer(request, problem_of(cast(QtInfraError, error)))


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such path, another method."""
    found = cast(HTTPException, error)
    path, method = request.url.path[:_SHOWN], request.method[:_SHOWN]
    code, text = {
        404: ("no_such_path", f"there is no path {path}; /docs has those that there are"),
        405: ("method_not_allowed", f"{path} does not take {method}; /docs says what it takes"),
    }.get(found.status_code, ("http_error", str(found.detail)))
    problem = refusal(found.status_code, code, text, field="path")
    return _answer(request, problem, dict(found.headers or {}))


async def _fault(request: Request, error: Exception) -> Response:
    """A fault of ours: the log has it, the client gets its correlation id and nothing of our inside."""
    correlation_id = _correlation_id(request)
    LOG.error("fault in request %s", correlation_id, exc_info=error)
    answer = _answer(request, internal_error())
    more: dict[str, Any] = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
    answer.headers.update({**more, "x-correlation-id": correlation_id})
    return answer


app = create_app()
