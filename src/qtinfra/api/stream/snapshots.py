"""Where a subscription begins: what there is now, page by page, from the read tables or from memory.

Rows come from the read tables once these hold everything up to the snapshot's sequence; a row may be newer
than that, which its own `seq` says.

    orders      those that are not over, the newest first, then the `MAX_CLOSED` that were over last
    executions  the newest `MAX_EXECUTIONS`
    positions   all, flat ones that have traded included
    book        the symbols that were asked for        alerts   those that are kept        algo   none
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from qtinfra.api.endpoints.reads import listed_execution, listed_order, listed_position
from qtinfra.api.stream.hub import Hub
from qtinfra.api.stream.items import item
from qtinfra.api.stream.outbox import Subscription
from qtinfra.api.stream.protocol import Topic, message
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.models import OrderStatus
from qtinfra.repository.base import Page
from qtinfra.repository.query import EVERYTHING, MAX_LIMIT, Op, Query, Scope

#: Executions that a snapshot lists at most; the rest has pages of its own at GET /executions.
MAX_EXECUTIONS = 1_000
#: Orders that are over, of which a snapshot has the last ones: who was away learns how they ended.
MAX_CLOSED = 500
#: How long a snapshot waits for the read tables, seconds.
READ_WAIT_S = 5.0

_OVER = (
    OrderStatus.FILLED,
    OrderStatus.CANCELLED,
    OrderStatus.REJECTED,
    OrderStatus.EXPIRED,
)

_Fetch = Callable[[Query, Scope], Awaitable[Page[Any]]]


class Snapshots:
    """Makes snapshots.

    Args:
        hub: knows the books and the alerts.
    """

    def __init__(self, platform: Platform, hub: Hub) -> None:
        self._platform = platform
        self._hub = hub

    async def pages(
        self, subscription: Subscription, accounts: Sequence[str] | None, seq: int
    ) -> AsyncIterator[bytes]:
        """The messages of a snapshot, the last one marked.

        Args:
            accounts: whose rows; None for every account.
            seq: of the journal; the rows hold everything up to it.

        Raises:
            TimeoutError: `projection_behind`.
            DatabaseError: the read tables did not answer.
            OutcomeUnknownError: the engine has stopped.
        """
        before: list[bytes] | None = None
        async for bodies in self._parts(subscription, accounts, seq):
            if before is not None:
                yield _page(subscription, seq, before, last=False)
            before = bodies
        yield _page(subscription, seq, before or [], last=True)

    async def _parts(
        self, subscription: Subscription, accounts: Sequence[str] | None, seq: int
    ) -> AsyncIterator[list[bytes]]:
        topic, symbols = subscription.topic, subscription.symbols
        if topic is Topic.BOOK:
            books = [self._hub.book(symbol) for symbol in symbols or ()]
            subscription.after = self._hub.seq(topic)
            yield [book.body for book in books if book is not None]
        elif topic is Topic.ALERTS:
            yield [alert.body for alert in self._hub.alerts()]
        elif topic is not Topic.ALGO:
            await self._platform.durable.wait(seq)
            await self._platform.projection.reach(seq, READ_WAIT_S)
            scope = EVERYTHING if accounts is None else Scope(tuple(accounts))
            query = Query(limit=MAX_LIMIT)
            if symbols is not None:
                query = query.where("symbol", Op.IN, *symbols)
            async for rows in self._rows(topic, query, scope):
                yield rows

    async def _rows(self, topic: Topic, query: Query, scope: Scope) -> AsyncIterator[list[bytes]]:
        """The bodies of one page of rows after the other."""
        tables = self._platform.readmodel
        left = MAX_EXECUTIONS if topic is Topic.EXECUTIONS else None
        fetch: _Fetch
        if topic is Topic.ORDERS:
            open_ones = (status.value for status in OrderStatus if status not in _OVER)
            fetch, closed = tables.orders, query.where("status", Op.IN, *_OVER).order_by("-updated_at")
            query = query.where("status", Op.IN, *open_ones)
        else:
            fetch = tables.executions if topic is Topic.EXECUTIONS else tables.positions
        while True:
            page = await fetch(query, scope)
            rows = page.rows if left is None else page.rows[:left]
            yield [item(topic, "", "", "", row.seq, self._view(topic, row)).body for row in rows]
            left = None if left is None else left - len(rows)
            if page.next_cursor is None or left == 0:
                break
            query = query.after(page.next_cursor)
        if topic is Topic.ORDERS:
            page = await fetch(closed.take(MAX_CLOSED), scope)
            yield [item(topic, "", "", "", row.seq, self._view(topic, row)).body for row in page.rows]

    def _view(self, topic: Topic, row: Any) -> Any:
        if topic is Topic.ORDERS:
            return listed_order(row)
        if topic is Topic.EXECUTIONS:
            return listed_execution(row)
        book = self._platform.book(row.symbol)
        return listed_position(row, book.mid() if book is not None else None)


def _page(subscription: Subscription, seq: int, bodies: Sequence[bytes], *, last: bool) -> bytes:
    head = message("snapshot", id=subscription.name, topic=subscription.topic, seq=seq, last=last)
    return b'%b,"items":[%b]}' % (head[:-1], b",".join(bodies))
