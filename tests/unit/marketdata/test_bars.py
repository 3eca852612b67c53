"""The minute bar reader, and the figures that the recorded year is known to give."""

from __future__ import annotations

import gzip
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.marketdata.bars import HEADER, MINUTE_NS, by_session, read_bars
from qtinfra.marketdata.calendars import build_calendar
from qtinfra.marketdata.lobster import RecordedDataError
from tests.support.requirements import require_data

pytestmark = [
    pytest.mark.unit,
    # The calendar library uses what newer versions of pandas deprecate.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

D = Decimal
FIRST = "Tue, 02 Jan 2024 14:30:00 GMT;1704205800000;2584.43;2590;2584.43;2590;2589.1714;2345"
SECOND = "Tue, 02 Jan 2024 14:32:00 GMT;1704205920000;2571.62;2582.955;2571.62;2582.955;2577.8341;542"
OPEN_NS = 1704205800000 * 10**6


def packed(folder: Path, *rows: str, header: str = HEADER, end: str = "\n") -> Path:
    path = folder / "x.csv.gz"
    path.write_bytes(gzip.compress(end.join([header, *rows, ""]).encode()))
    return path


def session(minutes: int = 390, half_day: bool = False) -> VenueCalendar:
    only = TradingSession("2024-01-02", OPEN_NS, OPEN_NS + minutes * MINUTE_NS, half_day)
    return VenueCalendar("XNYS", "2024-01-01", "2024-01-03", (only,))


def row(minute: int, volume: int = 100, price: str = "10") -> str:
    stamp = 1704205800000 + minute * 60_000
    hour, minutes = divmod(14 * 60 + 30 + minute, 60)
    return f"Tue, 02 Jan 2024 {hour:02}:{minutes:02}:00 GMT;{stamp};10;11;9;10;{price};{volume}"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_is_read_in_the_order_of_its_header(tmp_path: Path, end: str) -> None:
    first, second = read_bars(packed(tmp_path, FIRST, SECOND, end=end))
    assert (first.ts_ns, first.open, first.high, first.low) == (OPEN_NS, D(2590), D(2590), D("2584.43"))
    assert (first.close, first.vwap, first.volume) == (D("2584.43"), D("2589.1714"), 2345)
    assert second.ts_ns - first.ts_ns == 2 * MINUTE_NS


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (SECOND.replace("14:32", "14:33"), "date"),
        (SECOND.replace("1704205920000", "1704205920001"), "timestamp"),
        (FIRST, "timestamp"),
        (SECOND.replace(";542", ";0"), "volume"),
        (SECOND.replace(";542", ";5.4"), "volume"),
        (SECOND.replace("2577.8341", "0"), "price"),
        (SECOND.replace("2577.8341", "2577,8"), "price"),
        (SECOND.replace("2571.62;2582.955;2571.62", "2571.62;2582.955;2572"), "open, high, low, close"),
        (SECOND + ";1", r"number of fields \(9, not 8\)"),
        (SECOND.replace("2571.62", "1e3", 1), "close"),
        ("", r"number of fields \(1, not 8\)"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_field(tmp_path: Path, line: str, field: str) -> None:
    with pytest.raises(RecordedDataError, match=rf"x\.csv\.gz:3: bad {field}"):
        read_bars(packed(tmp_path, FIRST, line))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordedDataError, match=r"x\.csv\.gz:1: bad header"):
        read_bars(packed(tmp_path, FIRST, header="date;close"))
    with pytest.raises(RecordedDataError, match="no bars"):
        read_bars(packed(tmp_path))
    path = packed(tmp_path, FIRST)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordedDataError, match="damaged gzip file"):
        read_bars(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(RecordedDataError, match="damaged gzip file"):
        read_bars(path)


def test_bars_are_cut_at_open_and_close_and_the_closing_bar_stands_apart(tmp_path: Path) -> None:
    lines = [row(minute) for minute in (-30, 0, 1, 209)] + [row(210, 5_000), row(211)]
    (day,) = by_session(read_bars(packed(tmp_path, *lines)), session(210, half_day=True))
    assert day.session.half_day
    assert [bar.ts_ns for bar in day.bars] == [OPEN_NS + m * MINUTE_NS for m in (0, 1, 209)]
    assert day.closing is not None
    assert (day.closing.volume, len(day.before), len(day.after)) == (5_000, 1, 1)
    assert day.volume == 300
    assert day.auction_share == pytest.approx(5_000 / 5_300)


def test_a_day_without_a_closing_bar_says_so(tmp_path: Path) -> None:
    (day,) = by_session(read_bars(packed(tmp_path, row(0), row(391))), session())
    assert (day.closing, day.auction_share, len(day.after)) == (None, None, 1)
    assert by_session(read_bars(packed(tmp_path, row(391))), session()) == []


def test_absent_minutes_count_as_no_volume(tmp_path: Path) -> None:
    (day,) = by_session(read_bars(packed(tmp_path, row(0), row(16, 50), row(389, 7))), session())
    assert len(day.volumes()) == 390
    assert day.volumes(15)[:2] == [100, 50]
    assert (len(day.volumes(15)), sum(day.volumes(15)), day.volumes(100)[-1]) == (26, 157, 7)
    with pytest.raises(ValueError, match="minutes: at least 1"):
        day.volumes(0)


def test_the_average_price_of_a_session_is_weighted_by_volume(tmp_path: Path) -> None:
    (day,) = by_session(read_bars(packed(tmp_path, row(0, 1, "9.5"), row(1, 2, "11"))), session())
    assert day.vwap == D("10.5")


@pytest.mark.parametrize(
    ("symbol", "rows", "days"), [("AZO", 25_833, 252), ("CPAY", 48_622, 195), ("NDSN", 39_507, 252)]
)
def test_the_recorded_year_has_its_rows_and_sessions(symbol: str, rows: int, days: int) -> None:
    pytest.importorskip("exchange_calendars")
    bars = read_bars(require_data(f"minute_bars_2024/{symbol}_1min_2024.csv.gz"))
    assert len(bars) == rows
    sessions = by_session(bars, build_calendar("XNYS", date(2024, 1, 1), date(2024, 12, 31)))
    assert len(sessions) == days
    half = [day.session.trade_date for day in sessions if day.session.half_day]
    assert half == ["2024-07-03", "2024-11-29", "2024-12-24"]
    assert {len(day.volumes(15)) for day in sessions if day.session.half_day} == {14}
    kept = sum(
        len(day.bars) + (day.closing is not None) + len(day.before) + len(day.after) for day in sessions
    )
    assert kept == rows
    outside = sum(not bar.low <= bar.vwap <= bar.high for bar in bars) / rows
    assert 0.4 < outside < 0.75
    assert any(day.closing is None for day in sessions)


@pytest.mark.parametrize(
    ("symbol", "rows"),
    [("BKNG", 38_525), ("FDS", 42_127), ("GWW", 38_604), ("LII", 45_422), ("TDG", 39_613), ("TYL", 37_337)],
)
def test_the_other_recorded_files_have_their_rows(symbol: str, rows: int) -> None:
    assert len(read_bars(require_data(f"minute_bars_2024/{symbol}_1min_2024.csv.gz"))) == rows
