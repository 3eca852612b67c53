"""POST /orders:batch: up to 1,000 new orders in one request, each with its own outcome, in order.

    {"orders": [{...}, {...}]}  →  200 {"results": [{"status": 201, "order": {...}},
                                                    {"status": 422, "problem": {...}}]}

The orders are decided one after the other; none is held back because another was refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from qtinfra.api.errors import Problem, problem_of, refusal
from qtinfra.api.order_entry import Call, OrderEntry
from qtinfra.api.replies import JSON, Reply, new_order
from qtinfra.api.requests import allow, identify, own_account, read_json, require
from qtinfra.api.views import Measured, OrderView, encode, order_view
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.models import OrderStatus
from qtinfra.core.security.identity import Identity
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.wire import read_new_order
from qtinfra.runtime.offered import Offered, Result

MAX_ORDERS = 1_000
MAX_BATCH_BYTES = 1024 * 1024

_START = re.compile(rb'\s*\{\s*"orders"\s*:\s*')
_END = re.compile(rb"\s*\}\s*")


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    orders: Raw


class Item(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The outcome of one order: what POST /orders would have answered."""

    status: int
    order: OrderView | None = None
    problem: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


class Pending(msgspec.Struct, frozen=True):
    """Orders of one request on their way.

    Attributes:
        read: each order as it was read, or why it was refused at once.
        offered: those that were read, handed over.
    """

    read: Sequence[SubmitOrder | Problem]
    offered: Offered

    def taken(self) -> list[SubmitOrder]:
        """The orders that the engine took."""
        return [one for one in self.read if not isinstance(one, Problem)][: self.offered.taken]


class BatchEntry:
    """The batch operation.

    Args:
        entry: the operations on single orders, on the same platform.
    """

    def __init__(self, platform: Platform, entry: OrderEntry) -> None:
        self._platform = platform
        self._entry = entry
        self._measured = Measured(platform.routes)

    async def submit(self, call: Call) -> Reply:
        """POST /orders:batch."""
        platform = self._platform
        identity = identify(platform, call.scope)
        body = await read_json(call.headers, call.receive, MAX_BATCH_BYTES)
        parts = split(body)
        allow(platform, identity, len(parts))
        pending = self.offer(parts, identity, call.correlation_id)
        items = await self.items(pending, call.correlation_id)
        return Reply(200, [JSON], encode({"results": items}))

    def offer(self, parts: Sequence[Raw | bytes], identity: Identity, correlation_id: str) -> Pending:
        """Hand orders to the engine in their order, but for those that are refused at once."""
        account, accounts = own_account(identity), set[str]()
        read: list[SubmitOrder | Problem] = []
        for part in parts:
            try:
                command, _ = read_new_order(bytes(part), account=account)
                if command.account not in accounts:
                    require(identity, Permission.ORDERS_WRITE, command.account)
                    accounts.add(command.account)
                read.append(command)
            except Problem as problem:
                read.append(problem)
            except QtInfraError as error:
                read.append(problem_of(error))
        commands = [one for one in read if type(one) is SubmitOrder]
        return Pending(read, self._platform.shard.offer_all(commands, identity.subject, correlation_id))

    async def items(self, pending: Pending, correlation_id: str) -> list[Item]:
        """What became of orders that were handed over, once all of that is durable."""
        results = iter(await pending.offered.results())
        found: list[Item] = []
        for one in pending.read:
            if isinstance(one, Problem):
                found.append(_refused(one, correlation_id))
                continue
            item = _settled(one, next(results), correlation_id)
            found.append(await self._again(item, correlation_id) if isinstance(item, str) else item)
        return found

    async def _again(self, order_id: str, correlation_id: str) -> Item:
        """The answer to the same order once more."""
        try:
            state = self._platform.state
            order = state.orders[order_id]
            if order.status is OrderStatus.REJECTED:
                await self._entry.again(order_id)
            view, seq = order_view(state, order, self._measured), state.seq
            await self._platform.durable.wait(seq)
            return Item(200, view)
        except (Problem, QtInfraError) as error:
            return _refused(error, correlation_id)


def _settled(command: SubmitOrder, result: Result, correlation_id: str) -> Item | str:
    """What became of an order that was decided; the id of the one that the same request made before."""
    if isinstance(result, QtInfraError):
        return _refused(result, correlation_id)
    try:
        found = new_order(command, result)
    except (Problem, QtInfraError) as error:
        return _refused(error, correlation_id)
    return Item(201, found) if isinstance(found, OrderView) else found


def _refused(error: Problem | QtInfraError, correlation_id: str) -> Item:
    problem = error if isinstance(error, Problem) else problem_of(error)
    return Item(problem.status, problem=problem.to_json(correlation_id))


def split(body: bytes) -> list[Raw]:
    """The orders of a batch as they were sent.

    Raises:
        Problem: 400 when the form is wrong; 422 for no order or too many.
    """
    try:
        envelope = _decode(body)
        parts = _decode_list(envelope.orders)
    except msgspec.ValidationError as error:
        raise refusal(422, _code_of(str(error)), f"not a batch of orders: {error}", field="orders") from error
    except msgspec.DecodeError as error:
        raise refusal(400, "invalid_json", f"not JSON: {error}", limit="RFC 8259") from error
    except RecursionError as error:
        raise refusal(400, "nesting_depth", "nested too deep", limit="16") from error
    start = _START.match(body)
    after = start.end() + len(bytes(envelope.orders)) if start is not None else 0
    if start is None or _END.fullmatch(body, after) is None:
        raise refusal(400, "duplicate_key", "orders must stand once", field="orders", limit="1")
    if not 1 <= len(parts) <= MAX_ORDERS:
        text = f"a batch has 1 to {MAX_ORDERS} orders"
        raise refusal(422, "batch_size", text, field="orders", limit=str(MAX_ORDERS), value=str(len(parts)))
    return parts


def _code_of(message: str) -> str:
    if "unknown field" in message:
        return "unknown_field"
    return "missing_field" if "missing required" in message else "type"
