"""Recorded NASDAQ order books in the LOBSTER format: strict readers, and the book as it was.

A day of one symbol is a *message* file (one line per event in the limit order book) and an *orderbook* file
(the book after each of those events). Inside this module a price is an integer in 1/10,000 dollar, a size
an integer number of shares, a side 1 (buy) or -1 (sell): exact, small and fast. `dollars` is the boundary.

Source: LOBSTER sample files readme, 1 Sept 2013 (lobsterdata.com): columns, event types, dummy prices.
"""

from __future__ import annotations

import gzip
import re
import zlib
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from qtinfra.core.decimals import canonical
from qtinfra.core.exceptions import QtInfraError

# Event types of a message.
NEW: Final = 1
PARTIAL_CANCEL: Final = 2
DELETE: Final = 3
EXECUTION: Final = 4
HIDDEN_EXECUTION: Final = 5
HALT: Final = 7

# What a HALT message says in its price column.
HALTED: Final = -1
QUOTING: Final = 0
RESUMED: Final = 1

BUY: Final = 1
SELL: Final = -1

#: Prices of an unoccupied level in the orderbook files; the size there is 0.
NO_ASK: Final = 9_999_999_999
NO_BID: Final = -9_999_999_999

#: How far `found_in_order` looks ahead for a state before it gives the state up.
SEARCH_AHEAD: Final = 2_000

_NS: Final = 1_000_000_000
_EXCHANGE_ZONE: Final = "America/New_York"

#: Best ask price, ask size, best bid price, bid size: the columns of an `_orderbook_1` file.
BboState = tuple[int, int, int, int]
#: One line of an orderbook file: the four columns of a level, once per level, best level first.
BookRow = tuple[int, ...]


class RecordedDataError(QtInfraError):
    """A recorded file is not what its format says; context has file, line and field where they apply."""

    code = "recorded_data"


class LobsterMessage(msgspec.Struct, frozen=True, gc=False):
    """One event of the recorded book.

    Attributes:
        ts_ns: UTC nanoseconds since 1970.
        kind: event type (NEW, PARTIAL_CANCEL, DELETE, EXECUTION, HIDDEN_EXECUTION, HALT).
        order_id: the exchange's reference number of the order; 0 for hidden orders and halts.
        size: shares.
        price: 1/10,000 dollar; for a HALT message HALTED, QUOTING or RESUMED.
        side: side of the resting order, BUY or SELL (an executed SELL was a buyer's trade).
    """

    ts_ns: int
    kind: int
    order_id: int
    size: int
    price: int
    side: int


class LobsterFile(msgspec.Struct, frozen=True):
    """What a file's name says: whose book, which New York date, which content, how many levels."""

    symbol: str
    trade_date: date
    content: str
    levels: int


@lru_cache(maxsize=1 << 16)
def dollars(price: int) -> Decimal:
    """The price in dollars per share of an integer price in 1/10,000 dollar."""
    return canonical(Decimal(price).scaleb(-4))


def midnight_ns(day: date) -> int:
    """Midnight in New York at the start of the day, as UTC nanoseconds since 1970."""
    start = datetime.combine(day, time(0), ZoneInfo(_EXCHANGE_ZONE))
    return (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) * _NS


def time_ns(seconds: str, fraction: str) -> int:
    """Nanoseconds of a time written as whole seconds and decimal digits, by integer arithmetic alone.

    Digits beyond the ninth are an artefact of the program that wrote the file; the nearest nanosecond
    counts (half up).
    """
    nanos = int(fraction[:9].ljust(9, "0")) if fraction else 0
    return int(seconds) * _NS + nanos + (fraction[9:10] >= "5")


#: What the fields of a line are called, and what each must look like.
Fields = Sequence[tuple[str, re.Pattern[str]]]

_FILE_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9.\-]{1,24})_(?P<day>\d{4}-\d{2}-\d{2})(?:_\d+_\d+)?"
    r"_(?P<content>message|orderbook)_(?P<levels>[1-9]\d{0,2})(?:_[A-Za-z0-9]+)?\.csv(?:\.gz)?",
    re.ASCII,
)
_MESSAGE_FIELDS: Fields = (
    ("time", re.compile(r"(\d{1,5})(?:\.(\d{1,15}))?", re.ASCII)),
    ("type", re.compile(r"([123457])")),
    ("order id", re.compile(r"(\d{1,18})", re.ASCII)),
    ("size", re.compile(r"(\d{1,12})", re.ASCII)),
    ("price", re.compile(r"(-1|\d{1,12})", re.ASCII)),
    ("direction", re.compile(r"(-?1)")),
)
_PRICE, _SIZE = re.compile(r"-?\d{1,12}", re.ASCII), re.compile(r"\d{1,12}", re.ASCII)
_COLUMNS: Fields = (("ask price", _PRICE), ("ask size", _SIZE), ("bid price", _PRICE), ("bid size", _SIZE))


def describe(path: str | Path) -> LobsterFile:
    """Read a file's name, such as `AAPL_2012-06-21_34200000_37800000_message_50.csv.gz`.

    Raises:
        RecordedDataError: the name does not follow the format.
    """
    name = Path(path).name
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        raise RecordedDataError(f"{name}: not the name of a LOBSTER file", context={"file": name})
    try:
        day = date.fromisoformat(match["day"])
    except ValueError as error:
        raise RecordedDataError(f"{name}: no such date: {match['day']}", context={"file": name}) from error
    return LobsterFile(match["symbol"], day, match["content"], int(match["levels"]))


def read_messages(path: str | Path) -> list[LobsterMessage]:
    """All messages of a message file, plain or gzip, lines ended by LF or CRLF.

    Raises:
        RecordedDataError: a line or the name breaks the format, time runs backwards, the file is empty
            or its compression is damaged; file, line number and field are named.
        OSError: the file cannot be read.
    """
    origin = midnight_ns(_expect(path, "message").trade_date)
    name = Path(path).name
    shape = _whole_line(_MESSAGE_FIELDS)
    messages: list[LobsterMessage] = []
    last_ns = 0
    for number, line in _lines(path):
        match = shape.fullmatch(line)
        if match is None:
            raise _bad_line(name, number, line, _MESSAGE_FIELDS)
        seconds, fraction, kind, order_id, size, price, side = match.groups("")
        message = LobsterMessage(
            origin + time_ns(seconds, fraction), int(kind), int(order_id), int(size), int(price), int(side)
        )
        wrong = _wrong_field(message, last_ns)
        if wrong:
            raise _bad_field(name, number, wrong, line)
        last_ns = message.ts_ns
        messages.append(message)
    return messages


def read_orderbook(path: str | Path) -> list[BookRow]:
    """All rows of an orderbook file, plain or gzip: ask price, ask size, bid price, bid size per level.

    Raises:
        RecordedDataError: as `read_messages`.
        OSError: the file cannot be read.
    """
    return list(_book_rows(path))


def _book_rows(path: str | Path) -> Iterator[BookRow]:
    levels = range(1, _expect(path, "orderbook").levels + 1)
    fields = [(f"{column} {at}", pattern) for at in levels for column, pattern in _COLUMNS]
    shape = _whole_line(fields)
    name = Path(path).name
    for number, line in _lines(path):
        if shape.fullmatch(line) is None:
            raise _bad_line(name, number, line, fields)
        yield tuple(map(int, line.split(",")))


def _whole_line(fields: Fields) -> re.Pattern[str]:
    return re.compile(",".join(pattern.pattern for _, pattern in fields), re.ASCII)


def _expect(path: str | Path, content: str) -> LobsterFile:
    described = describe(path)
    if described.content != content:
        raise RecordedDataError(f"{path}: a {content} file is needed", context={"file": Path(path).name})
    return described


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their end; bytes outside ASCII stay visible as bad characters."""
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="ascii", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, 1):
                yield number, line.removesuffix("\n").removesuffix("\r")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RecordedDataError(
            f"{path.name}: damaged compression after line {number}: {error}",
            context={"file": path.name, "line": number},
        ) from error
    if not number:
        raise RecordedDataError(f"{path.name}: the file is empty", context={"file": path.name})


def _wrong_field(message: LobsterMessage, last_ns: int) -> str:
    """The name of the field whose value makes no sense in its place, empty when all do."""
    if message.ts_ns < last_ns:
        return "time"
    if message.kind == HALT:
        return "" if message.price in (HALTED, QUOTING, RESUMED) else "price"
    if message.size <= 0:
        return "size"
    return "price" if message.price <= 0 else ""


def _bad_line(name: str, number: int, line: str, fields: Fields) -> RecordedDataError:
    """The error for a line that does not match: its first field that does not, or their number."""
    texts = line.split(",")
    if len(texts) != len(fields):
        return _bad_field(name, number, f"number of fields ({len(texts)}, not {len(fields)})", line)
    pairs = zip(fields, texts, strict=True)
    wrong = next(field for (field, pattern), text in pairs if pattern.fullmatch(text) is None)
    return _bad_field(name, number, wrong, line)


def _bad_field(name: str, number: int, field: str, line: str) -> RecordedDataError:
    return RecordedDataError(
        f"{name}, line {number}: bad {field}: {line[:80]!a}",
        context={"file": name, "line": number, "field": field},
    )


class RecordedOrder(msgspec.Struct, gc=False, eq=False):
    """A resting order of the recording.

    Attributes:
        seq: number of the message that brought it, from 1; negative for the anonymous rest of a seed level.
        order_id: the exchange's number; 0 for the anonymous rest of a seed level.
        size: shares displayed now; 0 once it is gone.
    """

    seq: int
    order_id: int
    side: int
    price: int
    size: int


class RecordedLevel(msgspec.Struct, eq=False):
    """One price: the total displayed and its orders by `seq`, oldest first."""

    price: int
    size: int = 0
    orders: dict[int, RecordedOrder] = {}
    anonymous: RecordedOrder | None = None


class RecordedSide:
    """The levels of one side. `keys` ascends, best first: the price of an ask, minus the price of a bid."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.keys: list[int] = []
        self.levels: dict[int, RecordedLevel] = {}

    def best(self) -> RecordedLevel | None:
        return self.levels[-self.side * self.keys[0]] if self.keys else None

    def ladder(self) -> Iterator[RecordedLevel]:
        """The levels, best first. The side must not change meanwhile."""
        levels, sign = self.levels, -self.side
        return (levels[sign * key] for key in self.keys)

    def add(self, order: RecordedOrder) -> RecordedLevel:
        level = self.levels.get(order.price)
        if level is None:
            level = self.levels[order.price] = RecordedLevel(order.price)
            insort(self.keys, -self.side * order.price)
        level.orders[order.seq] = order
        level.size += order.size
        return level

    def reduce(self, order: RecordedOrder, shares: int) -> None:
        """Take shares off an order; what is empty leaves the book."""
        level = self.levels[order.price]
        order.size -= shares
        level.size -= shares
        if order.size:
            return
        del level.orders[order.seq]
        if order is level.anonymous:
            level.anonymous = None
        if not level.orders:
            del self.levels[order.price]
            del self.keys[bisect_left(self.keys, -self.side * order.price)]


class RecordedBook:
    """The limit order book exactly as recorded; nothing of ours ever enters it.

    It starts from one row of an orderbook file and applies the messages that follow that row. A row has
    no order ids, so each of its levels is one anonymous order, older than all others at its price. A
    message about an order that the book does not know is about an order from before the recording: it
    acts on the anonymous rest at its price, and only as far as that reaches.

    Args:
        row: a row of the orderbook file: the book just after its message.
        row_message: that message. When it brought an order, the order is known by its id from the start.

    Attributes:
        seq: messages so far, that of the row included; the last one was at `ts_ns`.
        halted: whether trading is halted (also while only quoting has resumed).
        unknown_messages: how many were about orders from before the recording.

    Raises:
        RecordedDataError: the row is no list of levels.
    """

    def __init__(self, row: BookRow, row_message: LobsterMessage | None = None) -> None:
        if not row or len(row) % 4:
            raise RecordedDataError(f"a book row has 4 columns per level, not {len(row)} columns in all")
        self.bids = RecordedSide(BUY)
        self.asks = RecordedSide(SELL)
        self.orders: dict[int, RecordedOrder] = {}
        self.seq = self.ts_ns = self.unknown_messages = 0
        self.halted = False
        named = row_message if row_message is not None and row_message.kind == NEW else None
        for at in range(0, len(row), 4):
            self._seed(SELL, row[at], row[at + 1], named)
            self._seed(BUY, row[at + 2], row[at + 3], named)
        if row_message is not None:
            self.seq, self.ts_ns = 1, row_message.ts_ns

    def _seed(self, side: int, price: int, size: int, named: LobsterMessage | None) -> None:
        if size <= 0:
            return
        own = self.side(side)
        order = None
        if named is not None and (named.side, named.price) == (side, price) and named.size <= size:
            size -= named.size
            order = self.orders[named.order_id] = RecordedOrder(1, named.order_id, side, price, named.size)
        if size:
            rest = RecordedOrder(-1 - len(self.bids.keys) - len(self.asks.keys), 0, side, price, size)
            own.add(rest).anonymous = rest
        if order is not None:
            own.add(order)

    def side(self, side: int) -> RecordedSide:
        return self.bids if side == BUY else self.asks

    def bbo(self) -> BboState:
        """The best ask and bid with their sizes; the format's dummy price and 0 for an empty side."""
        ask, bid = self.asks.best(), self.bids.best()
        return (
            *((ask.price, ask.size) if ask is not None else (NO_ASK, 0)),
            *((bid.price, bid.size) if bid is not None else (NO_BID, 0)),
        )

    def target(self, message: LobsterMessage) -> RecordedOrder | None:
        """The order that a cancel, deletion or execution acts on; None when nothing displayed is meant."""
        level = self.side(message.side).levels.get(message.price)
        return self.orders.get(message.order_id) or (level.anonymous if level is not None else None)

    def apply(self, message: LobsterMessage) -> None:
        """Let one message happen. Hidden executions change nothing that is displayed.

        Raises:
            RecordedDataError: the message contradicts the book: a known order at another price or side,
                fewer shares than it takes away, or a new order under an id that is in use.
        """
        self.seq += 1
        self.ts_ns = message.ts_ns
        kind = message.kind
        if kind == NEW:
            self._add(message)
        elif kind == HALT:
            self.halted = message.price != RESUMED
        elif kind != HIDDEN_EXECUTION:
            self._reduce(message)

    def _add(self, message: LobsterMessage) -> None:
        if message.order_id in self.orders:
            raise self._contradiction(message, "the id is in use")
        order = RecordedOrder(self.seq, message.order_id, message.side, message.price, message.size)
        self.orders[message.order_id] = order
        self.side(message.side).add(order)

    def _reduce(self, message: LobsterMessage) -> None:
        order = self.orders.get(message.order_id)
        if order is None:
            self.unknown_messages += 1
            order = self.target(message)
            if order is not None:
                self.side(order.side).reduce(order, min(order.size, message.size))
            return
        if (order.price, order.side) != (message.price, message.side):
            raise self._contradiction(message, "its order is at another price or side")
        if message.size > order.size or (message.kind == DELETE and message.size != order.size):
            raise self._contradiction(message, f"its order has {order.size} shares")
        self.side(order.side).reduce(order, message.size)
        if not order.size:
            del self.orders[message.order_id]

    def _contradiction(self, message: LobsterMessage, why: str) -> RecordedDataError:
        return RecordedDataError(
            f"message {self.seq} about order {message.order_id} contradicts the book: {why}",
            context={"line": self.seq, "order_id": message.order_id},
        )


class BboCounter:
    """Best-bid/offer states as they follow one another; a repeat of the last one is no new state.

    Attributes:
        states: the states in order, the first one included.
        crossed: how many of them have a bid at or above the ask.
    """

    def __init__(self) -> None:
        self.states: list[BboState] = []
        self.crossed = 0
        self._last: BboState | None = None

    @property
    def changes(self) -> int:
        """How many states there were."""
        return len(self.states)

    def observe(self, state: BboState) -> None:
        if state == self._last:
            return
        self._last = state
        self.states.append(state)
        if state[2] >= state[0]:
            self.crossed += 1


def found_in_order(states: Sequence[BboState], official: Sequence[BboState]) -> int:
    """How many of the states occur in `official` one after the other, each behind the one before.

    A state is looked for among the next `SEARCH_AHEAD` official states; one that is not there is skipped
    and does not move the search.
    """
    found = position = 0
    for state in states:
        try:
            position = official.index(state, position, position + SEARCH_AHEAD) + 1
        except ValueError:
            continue
        found += 1
    return found


def official_share(states: Sequence[BboState], official_file: str | Path) -> float:
    """The share (0 to 1) of the states found in order among those of an `_orderbook_1` file.

    Both sides are compared without consecutive repeats; see `found_in_order`. No states: 0.

    Raises:
        RecordedDataError: the file is malformed or has more than one level.
    """
    if describe(official_file).levels != 1:
        raise RecordedDataError(f"{official_file}: a file of one level is needed")
    official = BboCounter()
    for ask, ask_size, bid, bid_size in _book_rows(official_file):
        official.observe((ask, ask_size, bid, bid_size))
    return found_in_order(states, official.states) / len(states) if states else 0.0
