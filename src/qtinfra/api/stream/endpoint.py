"""The door of the stream: where a browser comes from, how many there are, and the end of each connection."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import MutableMapping
from typing import Any

from qtinfra.api.batch import BatchEntry
from qtinfra.api.errors import Problem, refusal
from qtinfra.api.lists import ListEntry
from qtinfra.api.metrics import Metrics
from qtinfra.api.order_entry import OrderEntry
from qtinfra.api.stream.hub import Hub
from qtinfra.api.stream.orders import Entry
from qtinfra.api.stream.protection import Protection
from qtinfra.api.stream.protocol import NOT_AUTHENTICATED, SUBPROTOCOL, TRY_LATER
from qtinfra.api.stream.session import CLOSE_WAIT_S, Closed, Receive, Send, Session
from qtinfra.api.stream.snapshots import Snapshots
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.exceptions import AuthenticationError
from qtinfra.infra.security.tokens import single_authorization

PATH = "/stream"
#: Connections of one subject.
MAX_PER_SUBJECT = 32

Scope = MutableMapping[str, Any]
_ORIGIN = re.compile(
    rb"https?://([A-Za-z0-9.\-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?)"
)


class Stream:
    """The stream of one running server.

    Args:
        entry, batch, lists: the operations that requests use, on the same platform.
        metrics: gets how many clients there are, and how many were too slow.
    """

    def __init__(
        self,
        platform: Platform,
        entry: OrderEntry,
        batch: BatchEntry,
        lists: ListEntry,
        metrics: Metrics,
    ) -> None:
        self._platform = platform
        self.hub = Hub(platform)
        self._entry = Entry(platform, entry, batch, lists)
        self._snapshots = Snapshots(platform, self.hub)
        self.protection = Protection(platform)
        self._clients = self._slow = 0
        self._by_subject: Counter[str] = Counter()
        metrics.gauge("qtinfra_stream_clients", "Open stream connections.", lambda: self._clients)
        metrics.gauge(
            "qtinfra_stream_slow_consumers",
            "Stream connections that were closed because they did not read.",
            lambda: self._slow,
        )

    async def close(self) -> None:
        """Cancel the orders of protected sessions, and follow the engine no more."""
        await self.protection.close()
        self.hub.close()

    async def serve(self, scope: Scope, receive: Receive, send: Send, correlation_id: str) -> None:
        """Serve one connection until it ends."""
        await receive()
        settings = self._platform.settings
        refused = _refused_origin(scope, settings.stream_origins)
        if refused is None and not _offers(scope):
            text = f"the subprotocol is {SUBPROTOCOL}"
            refused = refusal(400, "subprotocol", text, field="Sec-WebSocket-Protocol", limit=SUBPROTOCOL)
        if refused is None and self._clients >= settings.stream_clients:
            refused = Problem(503, "too_many_connections", "too many clients", retry_after_s=1)
        if refused is not None:
            await reject(send, refused, correlation_id)
            return
        offered = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
        await send({"type": "websocket.accept", "subprotocol": offered})
        self._clients += 1
        try:
            await self._converse(scope, receive, send, correlation_id)
        except Closed as closed:
            self._slow += closed.reason == "slow_consumer"
            await _close(send, closed)
        finally:
            self._clients -= 1

    async def _converse(self, scope: Scope, receive: Receive, send: Send, correlation_id: str) -> None:
        try:
            authorization = single_authorization(scope["headers"])
        except AuthenticationError as error:
            raise Closed(NOT_AUTHENTICATED, error.error_code) from error
        session = Session(
            self._platform,
            self.hub,
            self._entry,
            self._snapshots,
            self.protection,
            receive,
            send,
            authorization=authorization,
            correlation_id=correlation_id,
            max_items=self._platform.settings.stream_queue,
        )
        subject = (await session.authenticate()).subject
        if self._by_subject[subject] >= MAX_PER_SUBJECT:
            raise Closed(TRY_LATER, "too_many_connections")
        self._by_subject[subject] += 1
        try:
            await session.run()
        finally:
            self._by_subject[subject] -= 1
            if not self._by_subject[subject]:
                del self._by_subject[subject]


def _offers(scope: Scope) -> bool:
    """Whether a client that offers subprotocols offers ours."""
    offered = scope.get("subprotocols", ())
    return not offered or SUBPROTOCOL in offered


def _refused_origin(scope: Scope, allowed: str) -> Problem | None:
    """Browsers say where a page comes from: it must be from this host or from the list."""
    headers = [(name.lower(), value) for name, value in scope["headers"]]
    origins = [value for name, value in headers if name == b"origin"]
    if not origins:
        return None
    hosts = [value for name, value in headers if name == b"host"]
    found = _ORIGIN.fullmatch(origins[0]) if len(origins) == 1 else None
    listed = [part.strip().encode() for part in allowed.split(",")]
    if found is not None and (origins[0] in listed or [found[1].lower()] == [host.lower() for host in hosts]):
        return None
    return refusal(403, "origin", "this origin may not open the stream", field="Origin", limit=allowed)


async def reject(send: Send, problem: Problem, correlation_id: str) -> None:
    """Refuse the handshake with a problem document."""
    own = (b"x-correlation-id", correlation_id.encode())
    start = {"type": "websocket.http.response.start", "status": problem.status}
    await send({**start, "headers": [*problem.headers(), own]})
    await send({"type": "websocket.http.response.body", "body": problem.body(correlation_id)})


async def _close(send: Send, closed: Closed) -> None:
    """Say why. One who does not read has some time to take it."""
    if not closed.code:
        return
    try:
        async with asyncio.timeout(CLOSE_WAIT_S):
            await send({"type": "websocket.close", "code": closed.code, "reason": closed.reason})
    except OSError:
        return
