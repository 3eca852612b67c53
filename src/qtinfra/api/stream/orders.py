"""Order entry over the stream: each item of a frame is what one request would be, with its own outcome.

New orders of a frame are handed to the engine in their order before anything else of the connection is read,
as are replaces and cancels without a version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from qtinfra.api.batch import BatchEntry, Pending
from qtinfra.api.errors import Problem, problem_of, refusal
from qtinfra.api.lists import ListEntry
from qtinfra.api.order_entry import ORDER_ID, Call, OrderEntry, cancel_id
from qtinfra.api.requests import allow
from qtinfra.api.stream.protection import Guard
from qtinfra.api.stream.protocol import Frame, Op, echo, encode, read_cancel, read_replace
from qtinfra.api.views import OrderView
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.commands import CancelOrder, ReplaceOrder, SubmitList
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.models import Order
from qtinfra.core.security.identity import Identity
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.wire_special import terms_of
from qtinfra.engine.kernel import Outcome as Decided

#: Makes the answer of a frame once its outcomes are durable.
Answer = Callable[[], Awaitable[bytes]]
#: A list that was handed over and its decision to come, or why it was not.
PendingList = tuple[SubmitList, "asyncio.Future[Decided]"] | Problem


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item: what the request would have answered, and whose item it was."""

    status: int
    client_order_id: str = ""
    order_id: str = ""
    order: OrderView | msgspec.Raw | None = None
    list: msgspec.Raw | None = None
    problem: dict[str, Any] | None = None


class Entry:
    """The frames with orders.

    Args:
        entry, batch, lists: the operations that requests use, on the same platform.
    """

    def __init__(self, platform: Platform, entry: OrderEntry, batch: BatchEntry, lists: ListEntry) -> None:
        self._platform = platform
        self._entry = entry
        self._batch = batch
        self._lists = lists

    async def begin(
        self, frame: Frame, identity: Identity, correlation_id: str, guard: Guard | None = None
    ) -> Answer:
        """Hand a frame's items to the engine; what makes its answer.

        Args:
            guard: hears of the new orders, when the session is protected.

        Raises:
            Problem: 429 `rate_limited`, 422 `protected_orders`; nothing was handed over.
        """
        if frame.op is Op.LISTS:
            return self._begin_lists(frame, identity, correlation_id, guard)
        if frame.op is Op.ORDERS:
            if guard is not None:
                guard.require_room(len(frame.items))
            allow(self._platform, identity, len(frame.items))
            pending = self._batch.offer(frame.items, identity, correlation_id)
            if guard is not None:
                for command in pending.taken():
                    guard.note(command, pending.offered.decided)
            return lambda: self._placed(frame, pending, correlation_id)
        amend = self._cancel if frame.op is Op.CANCEL else self._replace
        tasks = [asyncio.create_task(amend(item, identity, correlation_id)) for item in frame.items]
        await asyncio.sleep(0)
        return lambda: _gathered(frame, tasks)

    async def _placed(self, frame: Frame, pending: Pending, correlation_id: str) -> bytes:
        found = []
        items = await self._batch.items(pending, correlation_id)
        for sent, read, item in zip(frame.items, pending.read, items, strict=True):
            cl_ord_id = echo(sent)[0] if isinstance(read, Problem) else read.cl_ord_id
            found.append(Outcome(item.status, cl_ord_id, order=item.order, problem=item.problem))
        return _answer(frame, found)

    def _begin_lists(
        self, frame: Frame, identity: Identity, correlation_id: str, guard: Guard | None
    ) -> Answer:
        """Lists of orders, each accepted all or none, handed over one after the other."""
        read = [self._read_list(item, identity) for item in frame.items]
        count = sum(len(one.orders) if isinstance(one, SubmitList) else 1 for one in read)
        if guard is not None:
            guard.require_room(count)
        allow(self._platform, identity, count)
        pending = [
            self._offer_list(one, identity, correlation_id) if isinstance(one, SubmitList) else one
            for one in read
        ]
        if guard is not None:
            for one in pending:
                if isinstance(one, tuple):
                    for order in one[0].orders:
                        guard.note(order, one[1])
        return lambda: self._listed(frame, pending, correlation_id)

    def _read_list(self, item: bytes, identity: Identity) -> SubmitList | Problem:
        try:
            return self._lists.read(item, identity)
        except Problem as problem:
            return problem
        except QtInfraError as error:
            return problem_of(error)

    def _offer_list(self, command: SubmitList, identity: Identity, correlation_id: str) -> PendingList:
        try:
            return command, self._platform.shard.offer(command, identity.subject, correlation_id)
        except QtInfraError as error:
            return problem_of(error)

    async def _listed(self, frame: Frame, pending: Sequence[PendingList], correlation_id: str) -> bytes:
        found = []
        for waits in pending:
            cl_ord_id = waits[0].orders[0].cl_ord_id if isinstance(waits, tuple) else ""
            try:
                if isinstance(waits, Problem):
                    raise waits
                reply = await self._lists.answer(*waits)
                found.append(Outcome(reply.status, cl_ord_id, list=msgspec.Raw(reply.body)))
            except Problem as problem:
                said = problem.to_json(correlation_id)
                found.append(Outcome(problem.status, cl_ord_id, problem=said))
            except QtInfraError as error:
                refused = problem_of(error)
                said = refused.to_json(correlation_id)
                found.append(Outcome(refused.status, cl_ord_id, problem=said))
        return _answer(frame, found)

    async def _cancel(self, item: bytes, identity: Identity, correlation_id: str) -> Outcome:
        async def amend() -> Outcome:
            values = read_cancel(item)
            order = self._order(identity, values, Permission.ORDERS_CANCEL)
            command = CancelOrder(order.account, cancel_id(order), order.cl_ord_id)
            return await self._amend(identity, order, command, values, correlation_id)

        return await _told(amend, item, correlation_id)

    async def _replace(self, item: bytes, identity: Identity, correlation_id: str) -> Outcome:
        async def amend() -> Outcome:
            values: dict[str, Any] = read_replace(item)
            order = self._order(identity, values, Permission.ORDERS_WRITE)
            command = ReplaceOrder(
                order.account,
                values["client_order_id"],
                order.cl_ord_id,
                values.get("quantity"),
                values.get("price"),
                special=terms_of(values),
            )
            return await self._amend(identity, order, command, values, correlation_id)

        return await _told(amend, item, correlation_id)

    def _order(self, identity: Identity, values: dict[str, Any], permission: Permission) -> Order:
        order_id = values["order_id"]
        if ORDER_ID.fullmatch(order_id) is None:
            raise refusal(404, "order_not_found", "there is no such order", field="order_id")
        return self._entry.find(identity, order_id, permission)

    async def _amend(
        self,
        identity: Identity,
        order: Order,
        command: ReplaceOrder | CancelOrder,
        values: dict[str, Any],
        correlation_id: str,
    ) -> Outcome:
        version = values.get("version")
        headers = [] if version is None else [(b"if-match", b'"%d"' % version)]
        call = Call({"headers": headers}, None, correlation_id)
        reply = await self._entry.amend(call, identity, order, command)
        return Outcome(
            reply.status, str(values.get("client_order_id", "")), order.order_id, msgspec.Raw(reply.body)
        )


async def _told(amend: Callable[[], Awaitable[Outcome]], item: bytes, correlation_id: str) -> Outcome:
    """What an amendment led to, its refusal included."""
    try:
        return await amend()
    except Problem as problem:
        refused = problem
    except QtInfraError as error:
        refused = problem_of(error)
    cl_ord_id, order_id = echo(item)
    return Outcome(refused.status, cl_ord_id, order_id, problem=refused.to_json(correlation_id))


async def _gathered(frame: Frame, tasks: Sequence[asyncio.Task[Outcome]]) -> bytes:
    return _answer(frame, [await task for task in tasks])


def _answer(frame: Frame, found: Sequence[Outcome]) -> bytes:
    return encode({"op": "outcome", "id": frame.id, "items": found})
