"""One HTTP connection of the server: uvicorn's, with a short way for whole requests of the short path.

Such a request is answered without a task, a scope and messages in between, in one write. Only what the
short path knows goes that way, and only when it has arrived whole, nothing else of the connection is under
way and nothing waits to be written; all else is handed to uvicorn's own protocol as if it had just been
read. One parser reads both, and both give the same answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from time import perf_counter
from typing import Any, ClassVar

from fastapi import FastAPI
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from qtinfra.api.errors import Problem, internal_error
from qtinfra.api.gateway import Gateway
from qtinfra.api.middleware import SECURITY_HEADERS
from qtinfra.api.replies import Header, Reply
from qtinfra.api.requests import named_once
from qtinfra.api.short import Answer, Arrived, Begin, Waits
from qtinfra.core.exceptions import QtInfraError
from qtinfra.engine.kernel import Outcome

LOG = logging.getLogger("qtinfra.api")

#: What our own code raises when it is wrong: answered with 500 and logged, like any fault of an app.
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_ANSWERED = (Problem, QtInfraError, *FAULTS)
_CLOSE: Header = (b"connection", b"close")
_HEAD_END = b"\r\n\r\n"
#: How many heads of requests a connection remembers, and the bytes of the longest.
KEPT_HEADS = 8
MAX_KEPT_HEAD = 2_048
#: Headers that are new with each request: a head with one of them does not come again.
_ONCE_ONLY = (b"idempotency-key", b"x-correlation-id")


def connections(app: FastAPI) -> type[asyncio.Protocol]:
    """The protocol for uvicorn's option `http`, on the app that it serves."""

    class Bound(Connection):
        gateway = app.state.gateway

    return Bound


def lines(headers: Iterable[Header]) -> bytes:
    """Headers as they are sent."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


_SECURITY = lines(SECURITY_HEADERS)


class _Head:
    """What a request begins with, up to its body, and what it means.

    Attributes:
        raw, headers: the headers, names in lower case, and the same by name; None when a name stands twice.
        length: of the body, in bytes; None without a content-length.
    """

    __slots__ = ("begin", "headers", "length", "method", "raw", "route")

    def __init__(self, method: str, found: tuple[str, Begin], raw: list[Header]) -> None:
        self.method = method
        self.route, self.begin = found
        self.raw = raw
        by_name = dict(raw)
        self.headers = by_name if len(by_name) == len(raw) else None
        length = by_name.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() else None

    @property
    def comes_again(self) -> bool:
        """Whether the next request may begin with the same bytes, and its length is known by them."""
        headers = self.headers
        if headers is None or self.length is None or b"transfer-encoding" in headers:
            return False
        return not any(name in headers for name in _ONCE_ONLY)


class Connection(HttpToolsProtocol):
    """A connection. `connections` gives it its gateway."""

    gateway: ClassVar[Gateway]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._plain = not (self.root_path or self.access_log or self.limit_concurrency is not None)
        self._found: tuple[str, Begin] | None = None
        self._parts: list[bytes] = []
        self._heads: dict[bytes, _Head] = {}
        self._read = b""
        self._between = True  # the parser has not begun with a request
        self._idle_since_s: float | None = None
        self._default: tuple[list[Header] | None, bytes] = (None, b"")

    # --- in -----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes have come. A request whose body they do not complete takes the ordinary way."""
        if self._between and self._free and self._again(data):
            return
        self._read = data if self._between else b""
        super().data_received(data)
        self._read = b""
        if self._found is not None:
            self._found = None
            if not self.transport.is_closing():
                self._ordinary()
                super().on_body(b"".join(self._parts))

    def _again(self, data: bytes) -> bool:
        """Begin a whole request whose head was parsed before; false leaves the bytes to the parser, which is
        between two requests and stays there otherwise.
        """
        end = data.find(_HEAD_END) + 4
        head = self._heads.get(data[:end])
        if head is None or len(data) - end != head.length or self.transport.is_closing():
            return False
        self._unset_keepalive_if_required()
        self._begin(head, data[end:], keep_alive=True)
        return True

    def _begin(self, head: _Head, body: bytes, keep_alive: bool) -> None:
        self.cycle = under_way = _UnderWay(self, head.method, head.route, keep_alive)  # type: ignore[assignment]
        under_way.begin(head, body)

    def on_message_begin(self) -> None:
        """A request begins; its scope is made when it takes the ordinary way."""
        self._between = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """The headers are there: which way? What follows the last request of a connection is not served (RFC
        9112, section 9.6).
        """
        self._parts = []
        self._found = None
        if not self.transport.is_closing():
            self._found = self._short()
            if self._found is None:
                self._ordinary()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._found is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """A request has arrived whole."""
        self._between = True
        found = self._found
        if found is None:
            super().on_message_complete()
            return
        self._found = None
        keep_alive: bool = self.parser.should_keep_alive()
        head = _Head(self.parser.get_method().decode(), found, self.headers)
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if keep_alive and head.comes_again:
            self._remember(head)
        self._begin(head, body, keep_alive)

    def _remember(self, head: _Head) -> None:
        """Remember a head, if it came in one piece with its body and nothing else before or behind."""
        end = self._read.find(_HEAD_END) + 4
        if 4 <= end <= MAX_KEPT_HEAD and len(self._read) - end == head.length:
            if len(self._heads) >= KEPT_HEADS:
                self._heads.clear()
            self._heads[self._read[:end]] = head

    @property
    def _free(self) -> bool:
        """Whether nothing of the connection is under way, and what is answered can be written."""
        cycle: Any = self.cycle  # None before the first request
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused

    def _short(self) -> tuple[str, Begin] | None:
        """What to do with the request on the short way; None when it does not take that."""
        parser = self.parser
        if (
            not self._plain
            or not self._free
            or self.expect_100_continue
            or parser.should_upgrade()
            or parser.get_http_version() != "1.1"
        ):
            return None
        return self.gateway.short(parser.get_method(), self.url)

    def _ordinary(self) -> None:
        """Hand the request's beginning to uvicorn's protocol."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    # --- between requests ---------------------------------------------------------------------------------

    def _unset_keepalive_if_required(self) -> None:
        """Bytes have come: the connection is not idle. The timer stays, and looks at that when it is due."""
        self._idle_since_s = None

    def on_response_complete(self) -> None:
        """A request has been answered: on with the next one, or idle from now on."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def _look_again(self, after_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(after_s, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for so long; else look again when it will have been. While
        a request is under way its answer begins that anew.
        """
        self.timeout_keep_alive_task = None
        if self._idle_since_s is None:
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._look_again(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _look_no_more(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._look_no_more()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """The connection is the stream's from now on."""
        self._look_no_more()
        super().handle_websocket_upgrade()

    # --- out ----------------------------------------------------------------------------------------------

    def send(self, reply: Reply, correlation_id: str, keep_alive: bool) -> None:
        """Write an answer, headers and body at once."""
        body, own = reply.body, lines(reply.headers)
        if not keep_alive and _CLOSE not in reply.headers:
            own += lines([_CLOSE])
        status, default = STATUS_LINE[reply.status], self._defaults()
        self.transport.write(
            b"%b%b%bcontent-length: %d\r\nx-correlation-id: %b\r\n%b\r\n%b"
            % (status, default, own, len(body), correlation_id.encode(), _SECURITY, body)
        )

    def _defaults(self) -> bytes:
        """The headers that the server adds to each answer; it makes new ones every second."""
        headers = self.server_state.default_headers
        if self._default[0] is not headers:
            self._default = headers, lines(headers)
        return self._default[1]


class _Unheard:
    """Stands where uvicorn's own requests have an event: nobody waits for more of a whole request."""

    def set(self) -> None:
        """Nobody waits."""


class _UnderWay:
    """A request on the short way. It has what uvicorn's protocol looks at in its own.

    Args:
        method, route: for the metrics; the route is a template.
        keep_alive: false when the connection ends with its answer.
    """

    __slots__ = (
        "_connection",
        "_correlation_id",
        "_method",
        "_route",
        "_started",
        "_waits",
        "disconnected",
        "keep_alive",
        "response_complete",
    )
    message_event = _Unheard()

    def __init__(self, connection: Connection, method: str, route: str, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.response_complete = self.disconnected = False
        self._connection = connection
        self._method = method
        self._route = route
        self._started = perf_counter()
        self._correlation_id = ""
        self._waits: Waits

    def begin(self, head: _Head, body: bytes) -> None:
        """Have the operation begun."""
        gateway, raw, headers = self._connection.gateway, head.raw, head.headers
        try:
            if headers is not None and b"x-correlation-id" not in headers:
                self._correlation_id = gateway.new_correlation_id()
            else:
                self._correlation_id = gateway.correlation_id(raw)
                headers = named_once(raw)
            begun = head.begin(Arrived(raw, headers, body, self._correlation_id))
        except _ANSWERED as error:
            self._refuse(error)
            return
        if isinstance(begun, Waits):
            self._waits = begun
            begun.decided.add_done_callback(self._decided)
        else:
            self._answer(begun)

    def _decided(self, decided: asyncio.Future[Outcome]) -> None:
        """The outcome is durable, or the shard has stopped."""
        try:
            answer = self._waits.answer(decided.result())
        except asyncio.CancelledError:
            self._connection.transport.close()
        except _ANSWERED as error:
            self._refuse(error)
        else:
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        """Send the answer, or have it made first."""
        if isinstance(answer, Reply):
            self._send(answer)
            return
        connection = self._connection
        task = connection.loop.create_task(self._later(answer))
        task.add_done_callback(connection.tasks.discard)
        connection.tasks.add(task)

    async def _later(self, answer: Awaitable[Reply]) -> None:
        try:
            reply = await answer
        except _ANSWERED as error:
            self._refuse(error)
        else:
            self._send(reply)

    def _refuse(self, error: Exception) -> None:
        gateway = self._connection.gateway
        self._correlation_id = self._correlation_id or gateway.new_correlation_id()
        if not isinstance(error, Problem | QtInfraError):
            LOG.error("fault in request %s", self._correlation_id, exc_info=error)
            error = internal_error()
        self._send(gateway.refused(error, self._correlation_id))

    def _send(self, reply: Reply) -> None:
        connection = self._connection
        if not self.disconnected:
            connection.send(reply, self._correlation_id, self.keep_alive)
        self.response_complete = True
        if not self.keep_alive or _CLOSE in reply.headers:
            connection.transport.close()
        seconds = perf_counter() - self._started
        connection.gateway.metrics.note(self._method, self._route, reply.status, seconds)
        connection.on_response_complete()
