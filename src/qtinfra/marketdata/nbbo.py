"""Recorded trades and national best bid and offer in the LEAN tick format: strict readers, the quote then.

A day of one symbol is a zip file of quotes and one of trades, each with one CSV file inside. A quote row
carries one side, the other is 0: the other side stands as last said (fill forward). The exchange of a quote
row is the holder of that side, so depth per venue cannot be rebuilt. Inside this module a price is an integer
in 1/10,000 dollar, a size an integer number of shares, a side 1 (bid) or -1 (ask); `lobster.dollars` is the
boundary.

Source: QuantConnect LEAN, Data/equity/readme.md, "Tick File Format", and its tables of condition flags.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from qtinfra.core.decimals import average
from qtinfra.core.exceptions import QtInfraError
from qtinfra.marketdata.lobster import RecordedDataError, midnight_ns

BID: Final = 1
ASK: Final = -1
#: The side of a row that quotes neither, such as the end of a participant's halt.
NO_SIDE: Final = 0

#: Regular hours of US equities in milliseconds after midnight in New York: 09:30 up to, not including, 16:00.
REGULAR_HOURS_MS: Final = (34_200_000, 57_600_000)
#: The exchange letter of trades that were reported to FINRA: they happened off the exchanges.
OFF_EXCHANGE: Final = "D"

#: Conditions of a print whose price is not the market's at its moment.
NOT_AT_MARKET: Final = (
    0x2 | 0x4 | 0x8  # settled otherwise: cash, next day, seller's option
    | 0x40 | 0x80 | 0x100  # opening, closing and reopening crosses
    | 0x200 | 0x100000 | 0x2000000  # derivatively priced, average price, prior reference price
    | 0x400 | 0x2000 | 0x4000  # extended hours
    | 0x800  # sold last: reported late
    | 0x40000 | 0x200000  # contingent on an option, crossing session
    | 0x1000000 | 0x4000000  # official close, official open
)  # fmt: skip

_MS_NS: Final = 1_000_000
_DAY_NS: Final = 86_400_000 * _MS_NS
_REGULAR_QUOTE: Final = 1

_SYMBOL = r"(?P<symbol>[A-Za-z0-9.\-]{1,24})"
_FILE_NAME = re.compile(rf"(?:{_SYMBOL}_)?(?P<day>\d{{8}})_(?P<content>quote|trade)\.zip", re.ASCII)
_MEMBER_NAME = re.compile(
    rf"(?P<day>\d{{8}})_{_SYMBOL}_(?P<content>quote|trade)_tick\.csv", re.ASCII | re.IGNORECASE
)
_TIME, _NUMBER = r"(\d{1,8})(?:\.(\d{1,6}))?", r"(\d{1,10})"
_TAIL = (("exchange", r"([A-Z]?)"), ("conditions", r"([0-9A-Fa-f]{1,8})"), ("suspicious", r"([01])"))
_QUOTE_FIELDS = (
    ("time", _TIME),
    ("bid price", _NUMBER),
    ("bid size", _NUMBER),
    ("ask price", _NUMBER),
    ("ask size", _NUMBER),
    *_TAIL,
)
_TRADE_FIELDS = (("time", _TIME), ("price", _NUMBER), ("size", _NUMBER), *_TAIL)

_Fields = Sequence[tuple[str, str]]


class NbboQuote(msgspec.Struct, frozen=True, gc=False):
    """One side of the national best bid and offer from a moment on.

    Attributes:
        ts_ns: UTC nanoseconds since 1970.
        side: BID, ASK, or NO_SIDE when the row quotes nothing.
        exchange: letter of the exchange that holds this side.
        conditions: flags of LEAN's QuoteConditionFlags.
        suspicious: the vendor doubts it.
    """

    ts_ns: int
    side: int
    price: int
    size: int
    exchange: str
    conditions: int
    suspicious: bool


class NbboTrade(msgspec.Struct, frozen=True, gc=False):
    """One print on the consolidated tape; `conditions` are flags of LEAN's TradeConditionFlags."""

    ts_ns: int
    price: int
    size: int
    exchange: str
    conditions: int
    suspicious: bool

    @property
    def at_market(self) -> bool:
        """Whether it traded at its moment's price on an exchange: where a displayed order could meet it."""
        return not (self.suspicious or self.conditions & NOT_AT_MARKET or self.exchange == OFF_EXCHANGE)


class NbboFile(msgspec.Struct, frozen=True):
    """What a recorded file's names say: whose ticks, which New York date, "quote" or "trade"."""

    symbol: str
    trade_date: date
    content: str


class NbboCount(msgspec.Struct, frozen=True):
    """Rows after which, filled forward, the bid was above the ask (crossed) or equal to it (locked)."""

    rows: int
    crossed: int
    locked: int


# -- reading ---------------------------------------------------------------------------------------


def describe(path: str | Path) -> NbboFile:
    """What the file is, by the name of the CSV file in it; its own name must not say otherwise.

    Raises:
        RecordedDataError: a name does not follow the format, the two contradict each other, or the zip file
            is damaged or does not hold exactly one file.
        OSError: the file cannot be read.
    """
    name = Path(path).name
    outer = _FILE_NAME.fullmatch(name)
    if outer is None:
        raise _error(f"{name}: not the name of a tick file", name)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _error(f"{name}: damaged zip file: {error}", name) from error
    inner = _MEMBER_NAME.fullmatch(members[0]) if len(members) == 1 else None
    if inner is None:
        raise _error(f"{name}: must hold one tick file, not {members[:3]}", name)
    symbol = inner["symbol"].upper()
    same = outer["day"] == inner["day"] and outer["content"] == inner["content"].lower()
    if not same or (outer["symbol"] or symbol).upper() != symbol:
        raise _error(f"{name}: holds {members[0]}", name)
    day = inner["day"]
    try:
        trade_date = date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError as error:
        raise _error(f"{name}: no such date: {day}", name) from error
    return NbboFile(symbol, trade_date, outer["content"])


def read_quotes(path: str | Path) -> list[NbboQuote]:
    """All quotes of a day, in order.

    Raises:
        RecordedDataError: a row or a name breaks the format, a row carries both sides, time runs backwards,
            the file is empty or damaged; file, line number and field are named.
        OSError: the file cannot be read.
    """
    quotes: list[NbboQuote] = []
    for number, ts_ns, values in _rows(path, "quote", _QUOTE_FIELDS):
        bid, bid_size, ask, ask_size = map(int, values[:4])
        exchange, conditions, suspicious = values[4], int(values[5], 16), values[6] == "1"
        side = BID if bid else ASK if ask else NO_SIDE
        both = bool(bid or bid_size) and bool(ask or ask_size)
        empty = side == NO_SIDE and (bid_size or ask_size or not conditions & ~_REGULAR_QUOTE)
        if both or empty:
            raise _bad_row(Path(path).name, number, "sides: a quote carries one", values)
        price, size = (bid, bid_size) if side == BID else (ask, ask_size)
        quotes.append(NbboQuote(ts_ns, side, price, size, exchange, conditions, suspicious))
    return quotes


def read_trades(path: str | Path) -> list[NbboTrade]:
    """All trades of a day, in order.

    Raises:
        RecordedDataError: as `read_quotes`, or a price or size is 0.
        OSError: the file cannot be read.
    """
    trades: list[NbboTrade] = []
    for number, ts_ns, values in _rows(path, "trade", _TRADE_FIELDS):
        price, size = int(values[0]), int(values[1])
        if not price or not size:
            raise _bad_row(Path(path).name, number, "price or size", values)
        trades.append(NbboTrade(ts_ns, price, size, values[2], int(values[3], 16), values[4] == "1"))
    return trades


def _rows(path: str | Path, content: str, fields: _Fields) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Line number, time and the other fields of every row."""
    described = describe(path)
    name = Path(path).name
    if described.content != content:
        raise _error(f"{name}: a file of {content}s is needed", name)
    origin, last_ns = midnight_ns(described.trade_date), 0
    shape = re.compile(",".join(pattern for _, pattern in fields), re.ASCII)
    number = 0
    for number, line in enumerate(_lines(path), 1):
        match = shape.fullmatch(line)
        if match is None:
            raise _bad_row(name, number, _wrong_field(line, fields), line.split(","))
        ms, fraction, *values = match.groups("")
        offset_ns = int(ms) * _MS_NS + int(fraction.ljust(6, "0") if fraction else 0)
        ts_ns = origin + offset_ns
        if ts_ns < last_ns or offset_ns >= _DAY_NS:
            raise _bad_row(name, number, "time", line.split(","))
        last_ns = ts_ns
        yield number, ts_ns, tuple(values)
    if not number:
        raise _error(f"{name}: the file is empty", name)


def _lines(path: str | Path) -> list[str]:
    name = Path(path).name
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode("ascii", errors="surrogateescape")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _error(f"{name}: damaged zip file: {error}", name) from error
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _wrong_field(line: str, fields: _Fields) -> str:
    texts = line.split(",")
    if len(texts) != len(fields):
        return f"number of fields ({len(texts)}, not {len(fields)})"
    pairs = zip(fields, texts, strict=True)
    return next(field for (field, pattern), text in pairs if re.fullmatch(pattern, text, re.ASCII) is None)


def _bad_row(name: str, number: int, field: str, values: Sequence[str]) -> QtInfraError:
    text = ",".join(values)[:80]
    return RecordedDataError(
        f"{name}, line {number}: bad {field}: {text!a}",
        context={"file": name, "line": number, "field": field},
    )


def _error(text: str, name: str) -> QtInfraError:
    return RecordedDataError(text, context={"file": name})


# -- the quote as it was ---------------------------------------------------------------------------


class Nbbo:
    """The national best bid and offer, filled forward; 0 where a side is not known yet.

    Suspicious rows and rows without a side change nothing.
    """

    __slots__ = ("ask", "ask_size", "bid", "bid_size", "ts_ns")

    def __init__(self) -> None:
        self.bid = self.bid_size = self.ask = self.ask_size = self.ts_ns = 0

    def apply(self, quote: NbboQuote) -> bool:
        """Let a row count; whether price or size of a side changed."""
        if quote.suspicious or quote.side == NO_SIDE:
            return False
        before = self.state
        if quote.side == BID:
            self.bid, self.bid_size = quote.price, quote.size
        else:
            self.ask, self.ask_size = quote.price, quote.size
        if self.state == before:
            return False
        self.ts_ns = quote.ts_ns
        return True

    @property
    def state(self) -> tuple[int, int, int, int]:
        """Ask, its size, bid, its size."""
        return self.ask, self.ask_size, self.bid, self.bid_size

    @property
    def crossed(self) -> bool:
        """Whether the bid is above the ask."""
        return bool(self.ask) and self.bid > self.ask

    @property
    def locked(self) -> bool:
        """Whether bid and ask are equal."""
        return bool(self.ask) and self.bid == self.ask

    @property
    def firm(self) -> bool:
        """Whether both sides are there, the bid below the ask."""
        return 0 < self.bid < self.ask


def hours_ns(day: date, hours_ms: tuple[int, int] = REGULAR_HOURS_MS) -> tuple[int, int]:
    """First moment of a session and the first after it (UTC nanoseconds)."""
    origin = midnight_ns(day)
    return origin + hours_ms[0] * _MS_NS, origin + hours_ms[1] * _MS_NS


def count_quotes(quotes: Iterable[NbboQuote], hours: tuple[int, int]) -> NbboCount:
    """Rows within the hours (UTC nanoseconds), and after how many of them the quote was crossed or locked.

    Rows before count for the state that is filled forward.
    """
    nbbo = Nbbo()
    rows = crossed = locked = 0
    for quote in quotes:
        nbbo.apply(quote)
        if hours[0] <= quote.ts_ns < hours[1]:
            rows += 1
            crossed += nbbo.crossed
            locked += nbbo.locked
    return NbboCount(rows, crossed, locked)


def volume_and_vwap(trades: Iterable[NbboTrade], hours: tuple[int, int]) -> tuple[int, Decimal]:
    """Shares traded within the hours (UTC nanoseconds), suspicious prints left out, and their average price.

    The price is in dollars per share, half-even to 8 places; 0 without trades.
    """
    shares = notional = 0
    for trade in trades:
        if hours[0] <= trade.ts_ns < hours[1] and not trade.suspicious:
            shares += trade.size
            notional += trade.price * trade.size
    return shares, average(Decimal(notional).scaleb(-4), Decimal(shares))
