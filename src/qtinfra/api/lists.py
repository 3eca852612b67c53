"""POST /orders:list: orders that hang together (OCO, BRACKET), accepted all or none.

    {"link": "OCO", "orders": [{...}, {...}]}  →  201 {"link": "OCO", "list_id": "...", "orders": [...]}

A refusal is the one of the order that caused it, with its field as "orders[1].price"; all orders of the list
exist as REJECTED then.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

import msgspec

from qtinfra.api.errors import Problem
from qtinfra.api.order_entry import Call, OrderEntry, idempotency_key, key_order_id
from qtinfra.api.replies import JSON, Reply, raise_refused, rejected
from qtinfra.api.requests import allow, identify, own_account, read_json, require
from qtinfra.api.views import Measured, OrderView, encode, new_order_view, order_view
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.commands import SubmitList
from qtinfra.core.events import OrderAccepted, OrderRejected
from qtinfra.core.models import OrderStatus
from qtinfra.core.security.identity import Identity
from qtinfra.core.security.permissions import Permission
from qtinfra.core.validation.wire_list import parse_order_list
from qtinfra.engine.kernel import Outcome

_WITH_ANOTHER = "list_refused"


class ListView(msgspec.Struct, frozen=True):
    """The orders of a list, in order; a bracket's entry is the first."""

    link: str
    list_id: str
    orders: list[OrderView]


class ListEntry:
    """The list operation.

    Args:
        entry: the operations on single orders, on the same platform.
    """

    def __init__(self, platform: Platform, entry: OrderEntry) -> None:
        self._platform = platform
        self._entry = entry
        self._measured = Measured(platform.routes)

    async def submit(self, call: Call) -> Reply:
        """POST /orders:list."""
        platform = self._platform
        identity = identify(platform, call.scope)
        body = await read_json(call.headers, call.receive)
        key = idempotency_key(call.headers)
        command = self.read(body, identity, key)
        allow(platform, identity, len(command.orders))
        if key is not None:
            await self._entry.bind(identity, key, command)
        return await self.answer(
            command, platform.shard.offer(command, identity.subject, call.correlation_id)
        )

    def read(self, body: bytes, identity: Identity, key: bytes | None = None) -> SubmitList:
        """The list in a body, within what the caller may do.

        Args:
            key: gives the ids of orders that bring none.

        Raises:
            MessageRefused: with everything found.
            Problem: 403 `forbidden`.
        """
        stand_in = None if key is None else partial(_key_order_id, identity.subject, key)
        command = parse_order_list(body, account=own_account(identity), cl_ord_id=stand_in)
        for account in dict.fromkeys(order.account for order in command.orders):
            require(identity, Permission.ORDERS_WRITE, account)
        return command

    async def answer(self, command: SubmitList, decided: Awaitable[Outcome]) -> Reply:
        """What became of a list that was handed over, once that is durable.

        Raises:
            Problem: it was refused.
        """
        outcome = await decided
        if outcome.answers:
            return await self._again([answer.order_id for answer in outcome.answers], command)
        return Reply(201, [JSON], encode(self._new(command, outcome)))

    def _new(self, command: SubmitList, outcome: Outcome) -> ListView:
        """The new orders as their own events made them.

        Raises:
            Problem: the list was refused.
        """
        refused = [event for event in outcome.events if isinstance(event, OrderRejected)]
        for event in outcome.events:
            raise_refused(event)
        if refused:
            raise _refusal(command, refused)
        accepted = [event for event in outcome.events if isinstance(event, OrderAccepted)]
        views = [
            new_order_view(order, event, outcome.events)
            for order, event in zip(command.orders, accepted, strict=True)
        ]
        return _view(command, views)

    async def _again(self, order_ids: list[str], command: SubmitList) -> Reply:
        """The answer to the same list once more.

        Raises:
            Problem: the first answer was a refusal.
        """
        state = self._platform.state
        orders = [state.orders[order_id] for order_id in order_ids]
        refused = [order for order in orders if order.status is OrderStatus.REJECTED]
        reasons = [(order, await self._entry.rejection(order)) for order in refused]
        if reasons:
            order, why = min(reasons, key=lambda reason: reason[1].code == _WITH_ANOTHER)
            raise Problem(422, why.code, why.message, order_id=order.order_id)
        views, seq = [order_view(state, order, self._measured) for order in orders], state.seq
        await self._platform.durable.wait(seq)
        return Reply(200, [JSON], encode(_view(command, views)))


def _key_order_id(subject: str, key: bytes, place: int) -> str:
    """The id of an order of a list that brings none. A key has no spaces, so no other key gives it."""
    return key_order_id(subject, b"%b %d" % (key, place))


def _view(command: SubmitList, views: list[OrderView]) -> ListView:
    return ListView(command.link, str(views[0].list_id), views)


def _refusal(command: SubmitList, refused: list[OrderRejected]) -> Problem:
    """The refusal of the order that the others were refused with."""
    cause = min(refused, key=lambda event: event.code == _WITH_ANOTHER)
    ids = [order.cl_ord_id for order in command.orders]
    return rejected(cause, f"orders[{ids.index(cause.cl_ord_id)}].")
