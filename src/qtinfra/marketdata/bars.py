"""Recorded one-minute bars: a strict reader, and the sessions in them.

A file is gzipped text separated by semicolons: `date;timestamp;close;high;low;open;price;volume`, the
timestamp in milliseconds UTC at the start of the minute, the date the same moment in words, `price` the
volume-weighted price of the bar. Minutes without trades are absent. `price` may lie outside low and high:
late prints are in it.
"""

from __future__ import annotations

import gzip
import re
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.core.decimals import canonical, quotient
from qtinfra.marketdata.lobster import RecordedDataError

HEADER: Final = "date;timestamp;close;high;low;open;price;volume"
MINUTE_NS: Final = 60_000_000_000
#: Larger files are refused: a year of one symbol has about 10 MB of text.
MAX_BYTES: Final = 256 * 1024 * 1024

_MS_NS = 1_000_000
_DAY_NS = 86_400 * 10**9
#: How long before the open a bar belongs to the session's date.
_BEFORE_NS = 8 * 3_600 * 10**9
_PRICE = r"(\d{1,9}(?:\.\d{1,9})?)"
_FIELDS = (
    ("date", r"([A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT)"),
    ("timestamp", r"(\d{1,14})"),
    *((name, _PRICE) for name in ("close", "high", "low", "open", "price")),
    ("volume", r"(\d{1,12})"),
)
_ROW = re.compile(";".join(pattern for _, pattern in _FIELDS), re.ASCII)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class MinuteBar(msgspec.Struct, frozen=True, gc=False):
    """One minute with trades.

    Attributes:
        ts_ns: its start, UTC nanoseconds since 1970.
        open, high, low, close: dollars per share.
        vwap: volume-weighted price; late prints are in it, so that it may lie outside low and high.
        volume: shares, above 0.
    """

    ts_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: int


class BarDay(msgspec.Struct, frozen=True):
    """The bars of one session.

    Attributes:
        session: of the calendar; a half day says so.
        bars: from open up to, not including, the close; absent minutes are absent.
        closing: the bar that starts at the close, which carries the closing auction; None when there is none.
        before, after: bars from eight hours before the open, and after the closing bar, within 24 hours.
    """

    session: TradingSession
    bars: tuple[MinuteBar, ...]
    closing: MinuteBar | None
    before: tuple[MinuteBar, ...] = ()
    after: tuple[MinuteBar, ...] = ()

    def volumes(self, minutes: int = 1) -> list[int]:
        """Shares per bin of so many minutes, 0 where nothing traded, without the closing auction.

        Raises:
            ValueError: not at least one minute.
        """
        if minutes < 1:
            raise ValueError(f"minutes: at least 1, not {minutes}")
        width, start = minutes * MINUTE_NS, self.session.open_ns
        bins = [0] * -((start - self.session.close_ns) // width)
        for bar in self.bars:
            bins[(bar.ts_ns - start) // width] += bar.volume
        return bins

    @property
    def volume(self) -> int:
        """Shares of the session without the closing auction."""
        return sum(bar.volume for bar in self.bars)

    @property
    def vwap(self) -> Decimal | None:
        """Volume-weighted price of the session without the closing auction, 8 places; None without bars."""
        if not self.bars:
            return None
        return canonical(
            quotient(sum((bar.vwap * bar.volume for bar in self.bars), Decimal(0)), Decimal(self.volume))
        )

    @property
    def auction_share(self) -> float | None:
        """The closing bar's share of the volume of session and close; None when there is no closing bar."""
        if self.closing is None:
            return None
        return self.closing.volume / (self.closing.volume + self.volume)


def read_bars(path: str | Path) -> list[MinuteBar]:
    """All bars of a file, in order.

    Raises:
        RecordedDataError: the header, a row or the compression is damaged, the two times of a row differ,
            time does not ascend by whole minutes, a price is 0, open or close lies outside low and high, a
            volume is 0, there are no rows, or the text is larger than `MAX_BYTES`; file, line and field are
            named.
        OSError: the file cannot be read.
    """
    name = Path(path).name
    lines = _lines(path, name)
    if not lines or lines[0] != HEADER:
        raise _bad_row(name, 1, "header", lines[0] if lines else "")
    bars: list[MinuteBar] = []
    last_ms = -1
    for number, line in enumerate(lines[1:], 2):
        bar, stamp = _bar(name, number, line)
        if stamp <= last_ms:
            raise _bad_row(name, number, "timestamp", line)
        last_ms = stamp
        bars.append(bar)
    if not bars:
        raise RecordedDataError(f"{name}: no bars", context={"file": name})
    return bars


def by_session(bars: Sequence[MinuteBar], calendar: VenueCalendar) -> list[BarDay]:
    """The bars of every session of the calendar that has any, oldest first.

    Bars on dates without a session are left out.
    """
    starts = [bar.ts_ns for bar in bars]
    days = []
    for session in calendar.sessions:
        dawn = session.open_ns - _BEFORE_NS
        begin, end = bisect_left(starts, dawn), bisect_left(starts, dawn + _DAY_NS)
        first, close = bisect_left(starts, session.open_ns), bisect_left(starts, session.close_ns)
        if first == close:
            continue
        at_close = close < end and starts[close] == session.close_ns
        days.append(
            BarDay(
                session,
                tuple(bars[first:close]),
                bars[close] if at_close else None,
                tuple(bars[begin:first]),
                tuple(bars[close + at_close : end]),
            )
        )
    return days


def _lines(path: str | Path, name: str) -> list[str]:
    try:
        with gzip.open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise RecordedDataError(f"{name}: damaged gzip file: {error}", context={"file": name}) from error
    if len(data) > MAX_BYTES:
        raise RecordedDataError(f"{name}: more than {MAX_BYTES} bytes", context={"file": name})
    lines = data.decode("ascii", errors="surrogateescape").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _bar(name: str, number: int, line: str) -> tuple[MinuteBar, int]:
    match = _ROW.fullmatch(line)
    if match is None:
        raise _bad_row(name, number, _wrong_field(line), line)
    stamp, volume = int(match[2]), int(match[8])
    if stamp * _MS_NS % MINUTE_NS:
        raise _bad_row(name, number, "timestamp", line)
    if match[1] != _in_words(stamp):
        raise _bad_row(name, number, "date", line)
    close, high, low, opened, vwap = (Decimal(match[place]) for place in range(3, 8))
    if not 0 < low <= min(opened, close) or max(opened, close) > high:
        raise _bad_row(name, number, "open, high, low, close", line)
    if not vwap:
        raise _bad_row(name, number, "price", line)
    if not volume:
        raise _bad_row(name, number, "volume", line)
    return MinuteBar(stamp * _MS_NS, opened, high, low, close, vwap, volume), stamp


def _in_words(stamp_ms: int) -> str:
    moment = datetime.fromtimestamp(stamp_ms // 1000, UTC)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02} {month} {moment.year} {moment:%H:%M:%S} GMT"


def _wrong_field(line: str) -> str:
    texts = line.split(";")
    if len(texts) != len(_FIELDS):
        return f"number of fields ({len(texts)}, not {len(_FIELDS)})"
    pairs = zip(_FIELDS, texts, strict=True)
    return next(field for (field, shape), text in pairs if re.fullmatch(shape, text, re.ASCII) is None)


def _bad_row(name: str, number: int, field: str, line: str) -> RecordedDataError:
    return RecordedDataError(
        f"{name}:{number}: bad {field}: {line[:80]!a}",
        context={"file": name, "line": number, "field": field},
    )
