"""Order entry: strict parse, permission, the engine's inbox, durable, reply. No framework in between.

Each operation takes a `Call` and returns a `Reply`; a `Problem` or one of our errors is the answer otherwise.
`routes` gives the operation of a method and path.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from qtinfra.api.errors import Problem, refusal
from qtinfra.api.replies import JSON, Reply, amended, detail_reply, etag, new_order, order_reply
from qtinfra.api.requests import (
    Scope,
    allow,
    bearer,
    header_map,
    identify,
    own_account,
    read_json,
    require,
    whole_json,
)
from qtinfra.api.short import Answer, Arrived, Begun, Waits, completed
from qtinfra.api.views import (
    Measured,
    OrderDetailView,
    OrderView,
    Rejection,
    detail_view,
    encode,
    kept_decision,
    order_view,
)
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.commands import AnyCommand, CancelOrder, MassCancel, ReplaceOrder, SubmitList, SubmitOrder
from qtinfra.core.events import CancelRequested, OrderCancelled
from qtinfra.core.models import Order, OrderStatus
from qtinfra.core.security.identity import Identity
from qtinfra.core.security.permissions import Permission, may
from qtinfra.core.validation.fields import Field, id_field, symbol_field
from qtinfra.core.validation.wire import parse_replace, read_fields, read_new_order
from qtinfra.engine.kernel import Outcome
from qtinfra.repository.idempotency import Binding
from qtinfra.repository.query import EVERYTHING
from qtinfra.repository.rows import OrderRow

ORDER_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_KEY = re.compile(rb"[!-~]{1,64}")
_TAG = re.compile(rb'\*|"[0-9]{1,9}"(?:\s*,\s*"[0-9]{1,9}"){0,9}')
_NO_BODY = (b"content-length", b"transfer-encoding")

#: How long the reason of an old refusal is waited for, seconds.
READ_WAIT_S = 5.0

MASS_CANCEL = (
    Field("account_id", id_field, required=True),
    Field("symbol", symbol_field),
    Field("request_id", id_field),
)


class MassCancelView(msgspec.Struct, frozen=True):
    """What a mass cancel led to.

    Attributes:
        cancelled: orders that no venue held: they are over.
        requested: orders whose venues have been asked.
    """

    account_id: str
    symbol: str | None
    request_id: str
    cancelled: list[str]
    requested: list[str]


class Call:
    """One request on the short path."""

    __slots__ = ("correlation_id", "headers", "receive", "scope")

    def __init__(self, scope: Scope, receive: Any, correlation_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.correlation_id = correlation_id
        self.headers = header_map(scope)


Operation = Callable[[Call], Awaitable[Reply]]


class OrderEntry:
    """The operations on orders.

    Args:
        platform: what runs; the server's lifespan makes one of these for it.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._measured = Measured(platform.routes)
        self._amending: dict[str, asyncio.Future[Outcome]] = {}
        self.fixed: dict[tuple[str, str], tuple[str, Operation]] = {
            ("POST", "/orders"): ("/orders", self.submit),
            ("POST", "/orders:cancel"): ("/orders:cancel", self.cancel_many),
        }
        self.by_id: dict[str, Callable[[Call, str], Awaitable[Reply]]] = {
            "GET": self.get,
            "PUT": self.replace,
            "DELETE": self.cancel,
        }

    # --- new orders ---------------------------------------------------------------------------------------

    async def submit(self, call: Call) -> Reply:
        """POST /orders."""
        identity = identify(self._platform, call.scope)
        body = await read_json(call.headers, call.receive)
        now_ns = self._platform.clock.now_ns()
        return await completed(self._taken(identity, call.headers, body, call.correlation_id, now_ns))

    def submit_whole(self, request: Arrived) -> Begun:
        """POST /orders."""
        now_ns, headers = self._platform.clock.now_ns(), request.headers
        identity = bearer(self._platform, request.raw, headers, now_ns)
        body = whole_json(headers, request.body)
        return self._taken(identity, headers, body, request.correlation_id, now_ns)

    def _taken(
        self, identity: Identity, headers: dict[bytes, bytes], body: bytes, correlation_id: str, now_ns: int
    ) -> Begun:
        """Hand a new order to the engine."""
        key = idempotency_key(headers)
        stand_in = None if key is None else key_order_id(identity.subject, key)
        command, _ = read_new_order(body, account=own_account(identity), cl_ord_id=stand_in)
        require(identity, Permission.ORDERS_WRITE, command.account)
        allow(self._platform, identity, 1, now_ns)
        if key is not None:
            return self._bound(identity, key, command, correlation_id)
        decided = self._platform.shard.offer(command, identity.subject, correlation_id)
        return Waits(decided, partial(self._placed, command))

    async def _bound(
        self, identity: Identity, key: bytes, command: SubmitOrder, correlation_id: str
    ) -> Reply:
        await self.bind(identity, key, command)
        return await self.place(command, identity, correlation_id)

    async def place(self, command: SubmitOrder, identity: Identity, correlation_id: str) -> Reply:
        """Have a new order decided; its answer when that is durable."""
        decided = self._platform.shard.offer(command, identity.subject, correlation_id)
        return await completed(Waits(decided, partial(self._placed, command)))

    def _placed(self, command: SubmitOrder, outcome: Outcome) -> Answer:
        """The answer to a new order from its durable outcome."""
        found = new_order(command, outcome)
        return order_reply(201, found) if isinstance(found, OrderView) else self.again(found)

    async def again(self, order_id: str) -> Reply:
        """The answer to the same new order once more.

        Raises:
            Problem: the first answer was a refusal.
        """
        order = self._platform.state.orders[order_id]
        if order.status is OrderStatus.REJECTED:
            why = await self.rejection(order)
            raise Problem(422, why.code, why.message, order_id=order_id)
        return await self.standing(200, order)

    async def standing(self, status: int, order: Order) -> Reply:
        """An order as it stands, once that is durable."""
        state = self._platform.state
        view, seq = order_view(state, order, self._measured), state.seq
        await self._platform.durable.wait(seq)
        return order_reply(status, view)

    async def bind(self, identity: Identity, key: bytes, command: SubmitOrder | SubmitList) -> None:
        """Bind an idempotency key to this order or list.

        Raises:
            Problem: 409 `idempotency_mismatch`; the key was used for another one.
        """
        use = Binding(identity.subject, key.decode(), sha256(msgspec.msgpack.encode(command)).digest())
        store, now_ns = self._platform.idempotency, self._platform.clock.now_ns()
        async with self._platform.idempotency_lock:
            same = await asyncio.to_thread(store.bind, use, now_ns)
        if not same:
            text = "this Idempotency-Key was used for another request"
            raise refusal(409, "idempotency_mismatch", text, field="Idempotency-Key")

    # --- one order ----------------------------------------------------------------------------------------

    def find(self, identity: Identity, order_id: str, permission: Permission) -> Order:
        """The order, if the caller may see it and may do this with it.

        Raises:
            Problem: 404 for an unknown order and one that is out of reach alike; 403 for one that may be seen
                only.
        """
        order = self._platform.state.orders.get(order_id)
        if order is None or not may(identity, Permission.ORDERS_READ, order.account):
            raise refusal(404, "order_not_found", "there is no such order", field="id")
        require(identity, permission, order.account)
        return order

    async def get(self, call: Call, order_id: str) -> Reply:
        """GET /orders/{id}: the order, its children and executions."""
        identity = identify(self._platform, call.scope)
        return await completed(self._seen(identity, order_id, self._platform.clock.now_ns()))

    def get_whole(self, request: Arrived, order_id: str) -> Answer:
        """GET /orders/{id}."""
        now_ns = self._platform.clock.now_ns()
        return self._seen(bearer(self._platform, request.raw, request.headers, now_ns), order_id, now_ns)

    def _seen(self, identity: Identity, order_id: str, now_ns: int) -> Answer:
        """An order in full as it stands, once that is durable."""
        platform = self._platform
        allow(platform, identity, 1, now_ns)
        order = self.find(identity, order_id, Permission.ORDERS_READ)
        state = platform.state
        view, seq = detail_view(state, order, self._measured), state.seq
        kept = view.routing_decision is not None and self._forgot(order)
        if kept or view.status == OrderStatus.REJECTED or seq > platform.durable.seq:
            return self._seen_later(view, seq, order)
        return detail_reply(view)

    async def _seen_later(self, view: OrderDetailView, seq: int, order: Order) -> Reply:
        await self._platform.durable.wait(seq)
        if view.status == OrderStatus.REJECTED:
            view = msgspec.structs.replace(view, rejection=await self.rejection(order))
        decision = view.routing_decision
        if decision is not None and self._forgot(order):
            row = await self._row(order)
            if row is not None:
                kept = kept_decision(row, decision.selected_venue)
                view = msgspec.structs.replace(view, routing_decision=kept)
        return detail_reply(view)

    def _forgot(self, order: Order) -> bool:
        """Whether only the read tables still have what the router expected of the order."""
        platform = self._platform
        return platform.routes.forgot(order.order_id, order.created_ns < platform.started_ns)

    async def _row(self, order: Order) -> OrderRow | None:
        """The order's row once the read tables have what is durable now."""
        platform = self._platform
        await platform.projection.reach(platform.durable.seq, READ_WAIT_S)
        return await platform.readmodel.order_rows.get(order.order_id, scope=EVERYTHING)

    async def rejection(self, order: Order) -> Rejection:
        """Why an order was refused, from the read tables: the state keeps no reasons."""
        row = await self._row(order)
        code = row.reason_code if row is not None and row.reason_code else "rejected"
        return Rejection(code, (row.reason if row is not None else None) or "the order was refused")

    async def replace(self, call: Call, order_id: str) -> Reply:
        """PUT /orders/{id}."""
        identity = identify(self._platform, call.scope)
        body = await read_json(call.headers, call.receive)
        order = self.find(identity, order_id, Permission.ORDERS_WRITE)
        key = idempotency_key(call.headers)
        stand_in = None if key is None else key_order_id(identity.subject, key)
        command = parse_replace(
            body, account=order.account, orig_cl_ord_id=order.cl_ord_id, cl_ord_id=stand_in
        )
        return await self.amend(call, identity, order, command)

    async def cancel(self, call: Call, order_id: str) -> Reply:
        """DELETE /orders/{id}."""
        identity = identify(self._platform, call.scope)
        await refuse_body(call)
        order = self.find(identity, order_id, Permission.ORDERS_CANCEL)
        key = idempotency_key(call.headers)
        cl_ord_id = cancel_id(order) if key is None else key_order_id(identity.subject, key)
        command = CancelOrder(order.account, cl_ord_id, order.cl_ord_id)
        return await self.amend(call, identity, order, command)

    async def amend(
        self, call: Call, identity: Identity, order: Order, command: ReplaceOrder | CancelOrder
    ) -> Reply:
        """Have a replace or cancel decided on the version that the caller has seen."""
        allow(self._platform, identity)
        wanted = call.headers.get(b"if-match")
        if wanted is not None:
            before = self._amending.get(order.order_id)
            while before is not None and not before.done():
                await asyncio.wait([before])
                before = self._amending.get(order.order_id)
            check_version(wanted, order.version)
        decided = self._platform.shard.offer(command, identity.subject, call.correlation_id)
        self._amending[order.order_id] = decided
        try:
            outcome = await decided
        finally:
            if self._amending.get(order.order_id) is decided:
                del self._amending[order.order_id]
        return await self.standing(amended(command.cl_ord_id, outcome), order)

    # --- many orders --------------------------------------------------------------------------------------

    async def cancel_many(self, call: Call) -> Reply:
        """POST /orders:cancel: every open order of an account, or of one symbol in it."""
        platform = self._platform
        identity = identify(platform, call.scope)
        body = await read_json(call.headers, call.receive)
        values = read_fields(body, MASS_CANCEL, given={"account_id": own_account(identity)})
        account, symbol = str(values["account_id"]), str(values.get("symbol", ""))
        request_id = str(values.get("request_id", call.correlation_id))
        require(identity, Permission.ORDERS_CANCEL, account)
        allow(platform, identity)
        command: AnyCommand = MassCancel(account, request_id, symbol)
        outcome = await platform.shard.offer(command, identity.subject, call.correlation_id)
        status = amended(request_id, outcome) if outcome.events else 200
        cancelled = [e.order_id for e in outcome.events if isinstance(e, OrderCancelled)]
        requested = [e.order_id for e in outcome.events if isinstance(e, CancelRequested)]
        said = MassCancelView(account, symbol or None, request_id, cancelled, requested)
        return Reply(202 if requested else status, [JSON], encode(said))


def idempotency_key(headers: dict[bytes, bytes]) -> bytes | None:
    """The Idempotency-Key header.

    Raises:
        Problem: 422 `idempotency_key`; it is not 1 to 64 printable ASCII characters without spaces.
    """
    key = headers.get(b"idempotency-key")
    if key is not None and _KEY.fullmatch(key) is None:
        text = "an Idempotency-Key is 1 to 64 printable ASCII characters without spaces"
        raise refusal(422, "idempotency_key", text, field="Idempotency-Key", limit="64")
    return key


def cancel_id(order: Order) -> str:
    """The client order id of a cancel that brings none: the same until the order is amended."""
    return f"cxl-{order.order_id}-{len(order.amends)}"


def key_order_id(subject: str, key: bytes) -> str:
    """The client order id of a message that has none, from its key: the same for ever."""
    return "ik-" + sha256(subject.encode() + b"\0" + key).hexdigest()[:40]


def check_version(wanted: bytes, version: int) -> None:
    """Refuse a change that was made for another version of the order.

    Raises:
        Problem: 412 `version_conflict`; 422 `if_match` for a header that is no entity tag.
    """
    if _TAG.fullmatch(wanted.strip()) is None:
        text = 'If-Match is "*" or entity tags as an answer gave them'
        raise refusal(422, "if_match", text, field="If-Match", limit='"<version>"')
    tags = [tag.strip() for tag in wanted.split(b",")]
    if b"*" not in tags and etag(version) not in tags:
        text = f"the order has version {version}"
        found = wanted.decode("latin-1")[:60]
        raise refusal(412, "version_conflict", text, field="If-Match", limit=str(version), value=found)


async def refuse_body(call: Call) -> None:
    """Refuse content where none has a meaning.

    Raises:
        Problem: 422 `unknown_field`.
    """
    if any(name in call.headers for name in _NO_BODY) and call.headers.get(b"content-length") != b"0":
        message = await call.receive()
        if message.get("body") or message.get("more_body"):
            raise refusal(422, "unknown_field", "this request has no body", limit="0 bytes", close=True)
