"""The edge of the server, pure ASGI: correlation id, security headers, metrics, errors, the short path."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from qtinfra.api.errors import Problem
from qtinfra.api.metrics import NO_ROUTE
from qtinfra.api.order_entry import Call
from qtinfra.api.replies import Header, Reply
from qtinfra.core.exceptions import QtInfraError

if TYPE_CHECKING:
    from qtinfra.api.gateway import Gateway

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("qtinfra.api")
#: Where the correlation id of a request stands in its scope.
CORRELATION = "qtinfra.correlation_id"

SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_DOCS_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
)
DOCS_HEADERS: tuple[Header, ...] = (
    *SECURITY_HEADERS[:-1],
    (b"content-security-policy", _DOCS_POLICY),
)
_DOCS = ("/docs", "/redoc", "/static-offline-docs/")


class Edge:
    """Everything that every request goes through once.

    Args:
        app: the other routes.
        gateway: the platform and the short path's table.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._gateway.websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        gateway, method, path = self._gateway, scope["method"], scope["path"]
        route, correlation_id = NO_ROUTE, ""
        try:
            correlation_id = scope[CORRELATION] = gateway.correlation_id(scope["headers"])
            found = gateway.find(method, path)
            if found is None:
                await self._others(scope, receive, send, correlation_id, started)
                return
            route = found[0]
            reply = await found[1](Call(scope, receive, correlation_id))
        except (Problem, QtInfraError) as error:
            correlation_id = correlation_id or gateway.new_correlation_id()
            reply = gateway.refused(error, correlation_id)
        await _send(send, reply, correlation_id, method == "HEAD")
        gateway.metrics.note(method, route, reply.status, perf_counter() - started)

    async def _others(
        self, scope: Scope, receive: Receive, send: Send, correlation_id: str, started: float
    ) -> None:
        """The framework's routes, with our headers on their answers."""
        gateway, method = self._gateway, scope["method"]
        extra = DOCS_HEADERS if scope["path"].startswith(_DOCS) else SECURITY_HEADERS
        status = 500

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-correlation-id", correlation_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), *extra, own]}
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            gateway.metrics.note(method, route, status, perf_counter() - started)


async def _send(send: Send, reply: Reply, correlation_id: str, head: bool) -> None:
    headers = [
        *reply.headers,
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-correlation-id", correlation_id.encode()),
        *SECURITY_HEADERS,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else reply.body})
