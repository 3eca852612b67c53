"""What the topics send: items, each made and encoded once, whoever gets it.

An item of orders, executions or positions is the whole row as the GET view shows it, after the records of one
decision round; `seq` is the journal sequence of the last record that changed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec

from qtinfra.api.endpoints.reads import OrderExecution, PositionView
from qtinfra.api.stream.protocol import Topic, encode
from qtinfra.api.views import Measured, order_view, rfc3339, written
from qtinfra.core.algo_events import AlgoEvent
from qtinfra.core.decimals import canonical, exact
from qtinfra.core.events import Entry
from qtinfra.core.market import ConsolidatedBook, Level
from qtinfra.core.reports import Alert
from qtinfra.core.runs import each
from qtinfra.engine.state import State
from qtinfra.repository.touched import Touched, note, opens_day

#: Levels a side that the book topic shows.
BOOK_LEVELS = 10


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing to send.

    Attributes:
        key: what it replaces an earlier item of; unique within the topic.
        account: whose it is; "" for what belongs to nobody.
        seq: the topic's sequence.
        body: the JSON, `{"seq": ..., "data": {...}}`.
    """

    topic: Topic
    key: str
    account: str
    symbol: str
    seq: int
    body: bytes


def item(topic: Topic, key: str, account: str, symbol: str, seq: int, view: Any) -> Item:
    """An item with its view encoded."""
    return Item(topic, key, account, symbol, seq, b'{"seq":%d,"data":%b}' % (seq, encode(view)))


class LevelView(msgspec.Struct, frozen=True):
    """A price and what all venues together display there."""

    price: Decimal
    quantity: Decimal


class BookView(msgspec.Struct, frozen=True):
    """The consolidated book of a symbol, best first; at most `BOOK_LEVELS` a side, live venues only."""

    symbol: str
    best_bid: Decimal | None
    best_ask: Decimal | None
    mid: Decimal | None
    bids: list[LevelView]
    asks: list[LevelView]


class AlertView(msgspec.Struct, frozen=True):
    """Something a person should look at."""

    kind: str
    subject: str
    text: str


class AlgoView(msgspec.Struct, frozen=True):
    """What an algorithm did with a parent order: the kind of event, its fields as journaled."""

    kind: str
    order_id: str
    account_id: str
    symbol: str
    at: str
    detail: Any


#: Gives the midpoint of a symbol now; None without one.
Mid = Callable[[str], Decimal | None]


def journal_items(
    state: State,
    entries: Sequence[Entry],
    wanted: Iterable[Topic],
    measured: Measured,
    mid: Mid,
) -> Iterator[Item]:
    """The items of the records that were just decided, from the state right after them.

    Args:
        wanted: the topics that somebody follows; nothing is made for others.
        mid: gives the midpoint of a symbol, or None.
    """
    touched = Touched()
    for entry in chain.from_iterable(map(each, entries)):
        note(touched, state, entry, tuple(state.open_orders) if opens_day(entry) else ())
    with exact():
        for topic in wanted:
            if topic is Topic.ORDERS:
                yield from _orders(state, touched, measured)
            elif topic is Topic.EXECUTIONS:
                yield from _executions(state, touched)
            elif topic is Topic.POSITIONS:
                yield from _positions(state, touched, mid)
            elif topic is Topic.ALGO:
                yield from _algo(state, touched)


def _orders(state: State, touched: Touched, measured: Measured) -> Iterator[Item]:
    for order_id, seq in touched.orders.items():
        order = state.orders[order_id]
        view = order_view(state, order, measured)
        yield item(Topic.ORDERS, order_id, order.account, order.symbol, seq, view)


def _executions(state: State, touched: Touched) -> Iterator[Item]:
    for key, seq in touched.executions.items():
        found = state.executions[key]
        order = state.orders[found.order_id]
        view = OrderExecution(
            found.key,
            found.exec_id,
            found.venue,
            canonical(found.qty),
            canonical(found.px),
            canonical(found.fee),
            canonical(found.commission),
            found.liquidity,
            found.state,
            found.trade_date,
            rfc3339(found.ts_ns),
            found.order_id,
            order.account,
            order.symbol,
            order.side,
            found.late,
        )
        yield item(Topic.EXECUTIONS, key, order.account, order.symbol, seq, view)


def _positions(state: State, touched: Touched, mid: Mid) -> Iterator[Item]:
    for (account, symbol), (seq, updated_ns) in touched.positions.items():
        position = state.positions.get(account, symbol)
        if position is None:
            continue
        mark = mid(symbol)
        qty, cost = canonical(position.qty), canonical(position.avg_cost)
        unrealised = None if mark is None else (qty * mark - qty * cost) * position.multiplier
        view = PositionView(
            account,
            symbol,
            state.instruments[symbol].currency,
            qty,
            cost,
            canonical(position.realised),
            canonical(position.fees),
            written(mark),
            written(unrealised),
            rfc3339(updated_ns),
        )
        yield item(Topic.POSITIONS, f"{account}/{symbol}", account, symbol, seq, view)


def _algo(state: State, touched: Touched) -> Iterator[Item]:
    for seq, order_id, event, entry in touched.events:
        if isinstance(event, AlgoEvent):
            kind = type(event).__name__
            order = state.orders[order_id]
            detail = _named(event)
            view = AlgoView(kind, order_id, order.account, order.symbol, rfc3339(entry.ts_ns), detail)
            yield item(Topic.ALGO, f"{order_id}/{seq}", order.account, order.symbol, seq, view)


def _named(record: Any) -> Any:
    """A struct's fields by name, those of structs inside it likewise."""
    if isinstance(record, msgspec.Struct):
        return {name: _named(value) for name, value in msgspec.structs.asdict(record).items()}
    if isinstance(record, tuple | list):
        return [_named(part) for part in record]
    return record


def book_item(book: ConsolidatedBook, seq: int) -> Item:
    """The book of a symbol, venues joined."""
    bid, ask = book.touch()
    live = [quote for quote in book.quotes if quote.live]
    view = BookView(
        book.symbol,
        written(bid),
        written(ask),
        written(book.mid()),
        _levels([level for quote in live for level in quote.bids], highest_first=True),
        _levels([level for quote in live for level in quote.asks], highest_first=False),
    )
    return item(Topic.BOOK, book.symbol, "", book.symbol, seq, view)


def _levels(levels: Iterable[Level], *, highest_first: bool) -> list[LevelView]:
    joined: dict[Decimal, Decimal] = {}
    for price, qty in levels:
        joined[price] = joined.get(price, Decimal(0)) + qty
    best = sorted(joined, reverse=highest_first)[:BOOK_LEVELS]
    return [LevelView(canonical(price), canonical(joined[price])) for price in best]


def alert_item(alert: Alert, seq: int) -> Item:
    """An alert."""
    return item(Topic.ALERTS, str(seq), "", "", seq, AlertView(alert.kind, alert.subject, alert.text))
