"""What the routes share: the running platform, its metrics, and the table of the short path."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from qtinfra.api.batch import BatchEntry
from qtinfra.api.errors import Problem, refusal
from qtinfra.api.lists import ListEntry
from qtinfra.api.metrics import Metrics
from qtinfra.api.order_entry import ORDER_ID, Call, OrderEntry
from qtinfra.api.replies import JSON, Reply
from qtinfra.api.short import Arrived, Begin, refused
from qtinfra.api.stream.endpoint import PATH, Stream, reject
from qtinfra.bootstrap.serving import Platform, serving
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.ports import Clock
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.infra.config import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: What a correlation id may be; another one is refused, never repeated into logs and headers.
_CORRELATION = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_ORDER = re.compile(rb"/orders/" + ORDER_ID.pattern.encode())
_HEALTHY = Reply(200, [JSON], b'{"status":"ok"}')

Handler = Callable[[Call], Awaitable[Reply]]


class Gateway:
    """One server's gateway. Made at import with nothing in it; `open` brings the platform.

    Attributes:
        failure: why `open` could not bring it.
    """

    def __init__(self) -> None:
        self._platform: Platform | None = None
        self._stream: Stream | None = None
        self.failure: QtInfraError | OSError | None = None
        self.metrics = Metrics()
        self._fixed: dict[tuple[str, str], tuple[str, Handler]] = {}
        self._by_id: dict[str, Callable[[Call, str], Awaitable[Reply]]] = {}
        self._whole: dict[tuple[bytes, bytes], tuple[str, Begin]] = {}
        self._entry: OrderEntry | None = None
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    @property
    def platform(self) -> Platform:
        """What runs.

        Raises:
            Problem: 503 `not_serving`; the server starts or stops.
        """
        if self._platform is None:
            raise Problem(503, "not_serving", "the service is starting or stopping", retry_after_s=1)
        return self._platform

    @asynccontextmanager
    async def open(self, settings: Settings, clock: Clock | None = None) -> AsyncIterator[None]:
        """Serve the settings' data directory until the block ends."""
        self.metrics = Metrics()
        async with AsyncExitStack() as stack:
            try:
                platform = await stack.enter_async_context(serving(settings, clock))
            except (QtInfraError, OSError) as error:
                self.failure = error
                raise
            entry = OrderEntry(platform)
            batch, lists = BatchEntry(platform, entry), ListEntry(platform, entry)
            self._fixed = {
                **entry.fixed,
                ("POST", "/orders:batch"): ("/orders:batch", batch.submit),
                ("POST", "/orders:list"): ("/orders:list", lists.submit),
                ("GET", "/healthz"): ("/healthz", self.healthz),
            }
            self._by_id = entry.by_id
            self._entry = entry
            self._whole = {
                (b"POST", b"/orders"): ("/orders", entry.submit_whole),
                (b"GET", b"/healthz"): ("/healthz", self.healthy),
            }
            self._watch(platform)
            stream = self._stream = Stream(platform, entry, batch, lists, self.metrics)
            self._platform = platform
            try:
                yield
            finally:
                self._platform = self._stream = None
                await stream.close()
                self._fixed, self._by_id, self._whole, self._entry = {}, {}, {}, None

    def _watch(self, platform: Platform) -> None:
        gauge = self.metrics.gauge
        gauge("qtinfra_inbox_waiting", "Commands that wait for the engine.", lambda: platform.shard.waiting)
        gauge("qtinfra_durable_sequence", "Last durable journal sequence.", lambda: platform.durable.seq)
        gauge(
            "qtinfra_projection_behind_events",
            "Durable events that the read tables do not have yet.",
            lambda: platform.behind,
        )
        gauge("qtinfra_open_orders", "Orders that are open.", lambda: len(platform.state.open_orders))

    async def healthz(self, call: Call) -> Reply:
        """GET /healthz: whether orders are taken."""
        del call
        return self._health()

    def healthy(self, request: Arrived) -> Reply:
        """GET /healthz: whether orders are taken."""
        del request
        return self._health()

    def _health(self) -> Reply:
        stopped = self.platform.shard.stopped
        if stopped is not None:
            raise Problem(503, "shard_stopped", "the engine has stopped", retry_after_s=1)
        return _HEALTHY

    def refused(self, error: Problem | QtInfraError, correlation_id: str) -> Reply:
        """A refusal as the answer; a symbol with letters that look like others is counted."""
        if isinstance(error, MessageRefused) and any(item.confusable for item in error.errors):
            self.metrics.confusable.inc()
        return refused(error, correlation_id)

    async def websocket(self, scope: Any, receive: Any, send: Any) -> None:
        """The stream; no other path has a WebSocket."""
        correlation_id = self.new_correlation_id()
        if self._stream is None or scope["path"] != PATH:
            await receive()
            known = scope["path"] == PATH
            closed = Problem(503, "not_serving", "the service is starting or stopping", retry_after_s=1)
            missing = refusal(404, "no_such_path", "there is no such stream", field="path")
            await reject(send, closed if known else missing, correlation_id)
            return
        await self._stream.serve(scope, receive, send, correlation_id)

    def find(self, method: str, path: str) -> tuple[str, Handler] | None:
        """The route template and handler of the short path; None leaves the request to the others.

        Raises:
            Problem: 404 for what cannot be an order's id; 405 for another method on an order.
        """
        known = self._fixed.get((method, path))
        if known is not None:
            return known
        if not path.startswith("/orders/") or not self._by_id:
            return None
        order_id = path[8:]
        if ORDER_ID.fullmatch(order_id) is None:
            raise refusal(404, "order_not_found", "there is no such order", field="id")
        operation = self._by_id.get(method)
        if operation is None:
            raise refusal(
                405, "method_not_allowed", "orders take GET, PUT and DELETE", limit="GET, PUT, DELETE"
            )
        return "/orders/{id}", lambda call: operation(call, order_id)

    def short(self, method: bytes, target: bytes) -> tuple[str, Begin] | None:
        """The route template and operation for a request that may arrive whole; None for all others, which
        take `find`.

        Args:
            target: as it stands in the request line; one with a query or escapes is not known here.
        """
        known = self._whole.get((method, target))
        if known is not None:
            return known
        entry = self._entry
        if entry is None or method != b"GET" or _ORDER.fullmatch(target) is None:
            return None
        order_id = str(target[8:], "ascii")
        return "/orders/{id}", lambda request: entry.get_whole(request, order_id)

    def correlation_id(self, headers: Any) -> str:
        """The id that the client gave, or a new one.

        Raises:
            Problem: 400 `invalid_correlation_id`.
        """
        for name, value in headers:
            if name == b"x-correlation-id":
                if _CORRELATION.fullmatch(value) is None:
                    text = "X-Correlation-ID is 1 to 64 letters, digits and ._:-"
                    raise refusal(400, "invalid_correlation_id", text, field="X-Correlation-ID", limit="64")
                return str(value, "ascii")
        return self.new_correlation_id()

    def new_correlation_id(self) -> str:
        """A correlation id of our own."""
        return f"{self._prefix}-{next(self._numbers):x}"
