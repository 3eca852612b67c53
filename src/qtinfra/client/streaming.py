"""The stream as the clients see it: what goes out, how messages are read, where to go on after a break.

`Feed` is the conversation without I/O, shared by the two streams; they connect, wait and connect again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Unpack

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from qtinfra.client import calls
from qtinfra.client.errors import (
    Answer,
    ApiError,
    BadAnswerError,
    ForbiddenError,
    NotAuthenticatedError,
    SubmissionUnknownError,
    TransportError,
    problem,
)
from qtinfra.client.models import Execution, Order, OrderList, Position
from qtinfra.client.retries import Request
from qtinfra.client.terms import Number, SpecialTerms
from qtinfra.client.transport import Token, headers_for
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.special import Link

SUBPROTOCOLS = (Subprotocol("qtinfra.v1"),)
#: How long iterating waits at a time, seconds; pings of the connection find out whether the server is there.
SILENCE_S = 30.0
#: Messages of the server are shorter.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_NOT_AUTHENTICATED, _POLICY = 4401, 1008


class Level(msgspec.Struct, frozen=True):
    """A price and what all venues together display there."""

    price: Decimal
    quantity: Decimal


class Book(msgspec.Struct, frozen=True):
    """The consolidated book of a symbol, best first."""

    symbol: str
    best_bid: Decimal | None
    best_ask: Decimal | None
    mid: Decimal | None
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class AlgoStep(msgspec.Struct, frozen=True):
    """What an algorithm did with a parent order."""

    kind: str
    order_id: str
    account_id: str
    symbol: str
    at: datetime
    detail: Any = None


class AlertNote(msgspec.Struct, frozen=True):
    """Something a person should look at."""

    kind: str
    subject: str
    text: str


Record = Order | Execution | Position | Book | AlgoStep | AlertNote

_RECORDS: Mapping[str, type[Record]] = {
    "orders": Order,
    "executions": Execution,
    "positions": Position,
    "book": Book,
    "algo": AlgoStep,
    "alerts": AlertNote,
}


class Update(msgspec.Struct, frozen=True):
    """News of one topic.

    Attributes:
        snapshot: a part of what there is, not of what has changed.
        fresh: the first part of a snapshot: what was held of the topic before counts no more.
        complete: not a snapshot, or its last part.
        seq: the topic's sequence.
        records: whole, each replacing the earlier one of its id.
    """

    topic: str
    snapshot: bool
    fresh: bool
    complete: bool
    seq: int
    records: tuple[Any, ...]


class NewOrder(msgspec.Struct, frozen=True):
    """An order to send over a stream or in a list; `new_order` makes it."""

    client_order_id: str
    body: bytes


class Outcome(msgspec.Struct, frozen=True):
    """What became of one order: the order, or the error that POST would have raised."""

    status: int
    client_order_id: str
    order: Order | None = None
    error: ApiError | None = None


class _Item(msgspec.Struct):
    seq: int = 0
    data: msgspec.Raw = msgspec.Raw()
    status: int = 0
    client_order_id: str = ""
    order: msgspec.Raw = msgspec.Raw()
    list: msgspec.Raw = msgspec.Raw()
    problem: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    op: str
    id: str | None = None
    topic: str = ""
    seq: int = 0
    n: int = 0
    last: bool = True
    items: tuple[_Item, ...] = ()
    problem: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Message).decode


def new_order(
    symbol: str,
    side: OrderSide | str,
    quantity: Number,
    *,
    price: Number | None = None,
    order_type: OrderType | str | None = None,
    time_in_force: TimeInForce | str = TimeInForce.DAY,
    account_id: str | None = None,
    client_order_id: str | None = None,
    min_quantity: Number | None = None,
    **terms: Unpack[SpecialTerms],
) -> NewOrder:
    """An order for `submit` of a stream and for `Client.submit_list`; arguments as of `Client.submit`."""
    named = client_order_id or calls.new_id()
    call = calls.submit(
        symbol,
        side,
        quantity,
        price=price,
        order_type=order_type,
        time_in_force=time_in_force,
        account_id=account_id,
        client_order_id=named,
        min_quantity=min_quantity,
        text="",
        terms=terms,
    )
    return NewOrder(named, call.request.body)


class Feed:
    """What a stream has asked for and how far it is.

    Args:
        topics: to follow, from the first connection on.
        accounts, symbols: only these; empty for all within the token's reach. The book needs symbols.
        grace_s: cancel the orders of this stream so many seconds after its connection has ended; None: keep
            them.
        session: its name, by which another connection goes on with it; a new one unless given.
    """

    def __init__(
        self,
        topics: Sequence[str],
        accounts: Sequence[str],
        symbols: Sequence[str],
        grace_s: int | None = None,
        session: str = "",
    ) -> None:
        unknown = sorted(set(topics) - _RECORDS.keys())
        if unknown:
            raise ValueError(f"no such topic: {', '.join(unknown)}; there are {', '.join(_RECORDS)}")
        if "book" in topics and not symbols:
            raise ValueError("the book topic needs symbols")
        self._topics = tuple(dict.fromkeys(topics))
        self._accounts = tuple(accounts)
        self._symbols = tuple(symbols)
        self._seq: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._expecting: dict[str, bool] = {}
        self._frames = 0
        self._grace_s = grace_s
        self._session = session or f"s-{calls.new_id()}"

    def hello(self) -> list[str]:
        """The frames of a new connection: its session, and every topic from where it was left."""
        self._numbers = dict.fromkeys(self._topics, 0)
        self._expecting = dict.fromkeys(self._topics, True)
        return [*self._protect(), *(self._subscribe(topic) for topic in self._topics)]

    def _protect(self) -> list[str]:
        if self._grace_s is None:
            return []
        frame = {"op": "session", "id": self._session, "cancel_on_disconnect": True, "grace_s": self._grace_s}
        return [_text(frame)]

    def _subscribe(self, topic: str) -> str:
        frame: dict[str, Any] = {"op": "subscribe", "id": topic, "topic": topic}
        if self._accounts and topic not in ("book", "alerts"):
            frame["accounts"] = self._accounts
        if self._symbols and topic != "alerts":
            frame["symbols"] = self._symbols
        if topic in self._seq and topic not in ("book", "alerts"):
            frame["resume"] = self._seq[topic]
        return _text(frame)

    def entry(self, orders: Sequence[NewOrder]) -> tuple[str, str]:
        """A frame with orders, and its id."""
        return self._entry("orders", [msgspec.Raw(order.body) for order in orders])

    def list_entry(self, link: Link | str, orders: Sequence[NewOrder]) -> tuple[str, str]:
        """A frame with one list of orders, and its id."""
        return self._entry("lists", [calls.list_body(link, [order.body for order in orders])])

    def _entry(self, op: str, items: Sequence[object]) -> tuple[str, str]:
        self._frames += 1
        name = f"f{self._frames}"
        return name, _text({"op": op, "id": name, "items": items})

    def read(self, text: str | bytes) -> tuple[Update | None, str | None, str | None]:
        """What a message says: news, the frame to send for it, and the id of the frame that it answers.

        Raises:
            ApiError: a subscription was refused.
            BadAnswerError: it is no message of this stream.
        """
        try:
            found = _decode(text)
            if found.op in ("snapshot", "delta"):
                return self._news(found)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadAnswerError(f"the server's message cannot be read: {error}") from error
        if found.op == "resync":
            self._expecting[found.id or ""] = True
        if found.op == "error" and ((found.id or "") in self._numbers or found.id == self._session):
            raise _problem(bytes(found.problem))
        return None, None, found.id if found.op in ("outcome", "error") else None

    def _news(self, found: _Message) -> tuple[Update | None, str | None, str | None]:
        topic, snapshot = found.id or "", found.op == "snapshot"
        if not snapshot:
            expected = self._numbers.get(topic, 0) + 1
            self._numbers[topic] = found.n
            if found.n != expected:
                return None, _text({"op": "resync", "id": topic}), None
        fresh = snapshot and self._expecting.get(topic, False)
        if snapshot:
            self._expecting[topic] = False
        if not snapshot or found.last:
            self._seq[topic] = found.seq
        kind = _RECORDS[found.topic]
        records = tuple(msgspec.json.decode(item.data, type=kind) for item in found.items)
        complete = not snapshot or found.last
        return Update(topic, snapshot, fresh, complete, found.seq, records), None, None


def outcomes(text: str | bytes) -> tuple[Outcome, ...]:
    """What became of the orders of a frame.

    Raises:
        ApiError: the frame was refused as a whole; none of its orders was taken.
    """
    found = _decode(text)
    if found.op == "error":
        raise _problem(bytes(found.problem))
    return tuple(_outcome(item) for item in found.items)


def listed(text: str | bytes) -> OrderList:
    """What became of the list of a frame.

    Raises:
        ApiError: it was refused, or the frame was.
    """
    found = _decode(text)
    if found.op == "error":
        raise _problem(bytes(found.problem))
    if not 200 <= found.items[0].status < 300:
        raise problem(Answer(found.items[0].status, {}, bytes(found.items[0].problem)))
    return msgspec.json.decode(found.items[0].list, type=OrderList)


def _outcome(item: _Item) -> Outcome:
    if 200 <= item.status < 300:
        order = msgspec.json.decode(item.order, type=Order)
        return Outcome(item.status, item.client_order_id, order)
    error = problem(Answer(item.status, {}, bytes(item.problem)))
    return Outcome(item.status, item.client_order_id, error=error)


def _problem(body: bytes) -> ApiError:
    status = msgspec.json.decode(body, type=dict[str, Any]).get("status", 0)
    return problem(Answer(status if isinstance(status, int) else 0, {}, body))


def _text(frame: Mapping[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


# --- connecting -------------------------------------------------------------------------------------------


def address(url: str) -> str:
    """The stream's address on a server."""
    return f"ws{url.rstrip('/').removeprefix('http')}/stream"


def handshake(token: Token) -> dict[str, str]:
    """The headers of the handshake."""
    headers = headers_for(Request("GET", "/stream"), token, calls.new_id())
    return {name: headers[name] for name in ("authorization", "x-correlation-id") if name in headers}


def refused(error: OSError | InvalidHandshake) -> ApiError:
    """Why a connection could not be opened."""
    if isinstance(error, InvalidStatus):
        return problem(Answer(error.response.status_code, {}, bytes(error.response.body or b"")))
    return TransportError(f"no stream from the server: {str(error) or type(error).__name__}")


def ended(closed: ConnectionClosed) -> ApiError:
    """Why a connection ended; a `TransportError` may be followed by another connection."""
    code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (0, "")
    text = f"the stream was closed with {code} {reason}".rstrip() if code else "the stream broke off"
    if code == _NOT_AUTHENTICATED:
        return NotAuthenticatedError(text, code=reason or None, status=401)
    if code == _POLICY:
        return ForbiddenError(text, code=reason or None, status=403)
    return TransportError(text, code=reason or None)


def in_doubt(orders: Sequence[NewOrder], error: ApiError) -> SubmissionUnknownError:
    """The connection broke while orders were under way."""
    ids = ",".join(order.client_order_id for order in orders)
    return SubmissionUnknownError(
        f"it is not known what became of {len(orders)} orders: {error.message}",
        context={"client_order_ids": ids},
    )
