"""The LEAN tick readers, and the figures that the three recorded days are known to give."""

from __future__ import annotations

import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from qtinfra.marketdata.lobster import RecordedDataError, midnight_ns
from qtinfra.marketdata.nbbo import (
    ASK,
    BID,
    NO_SIDE,
    Nbbo,
    NbboCount,
    NbboQuote,
    NbboTrade,
    count_quotes,
    describe,
    hours_ns,
    read_quotes,
    read_trades,
    volume_and_vwap,
)
from tests.support.requirements import require_data

pytestmark = pytest.mark.unit

DAY = date(2013, 10, 7)
D = Decimal


def zipped(
    folder: Path, text: str, kind: str = "quote", name: str = "abc_20131007_{}.zip", member: str = ""
) -> Path:
    """A zip file named like the recorded ones."""
    path = folder / name.format(kind)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member or f"20131007_abc_{kind.title()}_Tick.csv", text)
    return path


# -- the recorded days -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "crossed", "locked", "shares", "vwap"),
    [
        ("20131007", 86, 648, 3_753_440, "182.52904"),
        ("20131008", 79, 1_037, 5_203_752, "179.86976"),
        ("20131009", 107, 586, 4_104_666, "180.40782"),
    ],
)
def test_a_recorded_day_gives_its_known_crossings_volume_and_average_price(
    day: str, crossed: int, locked: int, shares: int, vwap: str
) -> None:
    quotes = require_data(f"nbbo_ticks/ibm_{day}_quote.zip")
    trades = require_data(f"nbbo_ticks/ibm_{day}_trade.zip")
    described = describe(trades)
    assert (described.symbol, described.trade_date.strftime("%Y%m%d")) == ("IBM", day)
    hours = hours_ns(described.trade_date)
    count = count_quotes(read_quotes(quotes), hours)
    assert (count.crossed, count.locked) == (crossed, locked)
    volume, price = volume_and_vwap(read_trades(trades), hours)
    assert (volume, price.quantize(D("0.00001"))) == (shares, D(vwap))


# -- rows ------------------------------------------------------------------------------------------


def test_a_quote_row_is_one_side_with_time_exchange_and_hex_conditions(tmp_path: Path) -> None:
    rows = "34200000,1825000,300,0,0,P,1,0\r\n34200001.25,0,0,1825100,200,N,4A0,1\r\n"
    origin = midnight_ns(DAY)
    assert read_quotes(zipped(tmp_path, rows)) == [
        NbboQuote(origin + 34_200_000_000_000, BID, 1825000, 300, "P", 0x1, False),
        NbboQuote(origin + 34_200_001_250_000, ASK, 1825100, 200, "N", 0x4A0, True),
    ]


def test_a_trade_row_has_price_size_exchange_and_hex_conditions(tmp_path: Path) -> None:
    path = zipped(tmp_path, "34200000,1825050,17,D,20002020,0\n", "trade")
    (trade,) = read_trades(path)
    assert (trade.price, trade.size, trade.exchange, trade.conditions) == (1825050, 17, "D", 0x20002020)


def test_a_row_without_sides_is_taken_only_when_its_conditions_say_why(tmp_path: Path) -> None:
    (quote,) = read_quotes(zipped(tmp_path, "34200000,0,0,0,0,N,2000,0\n"))
    assert quote.side == NO_SIDE
    with pytest.raises(RecordedDataError):
        read_quotes(zipped(tmp_path, "34200000,0,0,0,0,N,1,0\n"))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("34200000,1825000,300,1825100,200,P,1,0", "sides"),
        ("34200000,1825000,300,0,200,P,1,0", "sides"),
        ("34200000,1825000,300,0,0,P,1", "number of fields (7, not 8)"),
        ("-1,1825000,300,0,0,P,1,0", "time"),
        ("86400000,1825000,300,0,0,P,1,0", "time"),
        ("34200000,182.5,300,0,0,P,1,0", "bid price"),
        ("34200000,1825000,3e2,0,0,P,1,0", "bid size"),
        ("34200000,1825000,300,0,0,p,1,0", "exchange"),
        ("34200000,1825000,300,0,0,P,1G,0", "conditions"),
        ("34200000,1825000,300,0,0,P,1,2", "suspicious"),
        ("34200000,١٨٢٥٠٠٠,300,0,0,P,1,0", "bid price"),
        ("", "number of fields"),
    ],
)
def test_a_bad_quote_row_is_refused_with_its_line_and_field(tmp_path: Path, row: str, field: str) -> None:
    good = "34200000,1825000,300,0,0,P,1,0\n"
    with pytest.raises(RecordedDataError) as caught:
        read_quotes(zipped(tmp_path, f"{good}{row}\n{good}"))
    assert "line 2: bad " + field in str(caught.value)
    assert caught.value.context["line"] == 2


@pytest.mark.parametrize("row", ["34200000,0,17,D,0,0", "34200000,1825050,0,D,0,0"])
def test_a_trade_without_price_or_size_is_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(RecordedDataError, match="price or size"):
        read_trades(zipped(tmp_path, row + "\n", "trade"))


def test_time_that_runs_backwards_is_refused(tmp_path: Path) -> None:
    rows = "34200001,1825000,300,0,0,P,1,0\n34200000,1825000,300,0,0,P,1,0\n"
    with pytest.raises(RecordedDataError, match="line 2: bad time"):
        read_quotes(zipped(tmp_path, rows))


# -- files -----------------------------------------------------------------------------------------


def test_symbol_and_date_come_from_the_file_inside(tmp_path: Path) -> None:
    path = zipped(tmp_path, "", name="20131007_{}.zip")
    assert (describe(path).symbol, describe(path).trade_date, describe(path).content) == ("ABC", DAY, "quote")


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("abc_20131007_{}.csv", ""),
        ("abc_20131008_{}.zip", ""),
        ("xyz_20131007_{}.zip", ""),
        ("abc_20131007_{}.zip", "20131007_abc_Trade_Tick.csv"),
        ("abc_20131007_{}.zip", "20131007_abc_minute_quote.csv"),
        ("abc_20131332_{}.zip", "20131332_abc_Quote_Tick.csv"),
    ],
)
def test_names_that_break_the_format_or_contradict_each_other_are_refused(
    tmp_path: Path, name: str, member: str
) -> None:
    with pytest.raises(RecordedDataError):
        describe(zipped(tmp_path, "", name=name, member=member))


def test_a_damaged_empty_or_crowded_zip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "abc_20131007_quote.zip"
    path.write_bytes(b"PK not a zip")
    with pytest.raises(RecordedDataError, match="damaged"):
        read_quotes(path)
    with pytest.raises(RecordedDataError, match="empty"):
        read_quotes(zipped(tmp_path, ""))
    with pytest.raises(RecordedDataError, match="trades is needed"):
        read_trades(zipped(tmp_path, ""))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("second.csv", "")
    with pytest.raises(RecordedDataError, match="must hold one"):
        read_quotes(path)


# -- the quote filled forward ----------------------------------------------------------------------


def quote(ts_ns: int, side: int, price: int, size: int = 100, suspicious: bool = False) -> NbboQuote:
    return NbboQuote(ts_ns, side, price, size, "N", 1, suspicious)


def test_a_side_stands_until_it_is_said_again_and_suspicious_rows_change_nothing() -> None:
    nbbo = Nbbo()
    assert nbbo.apply(quote(1, BID, 1000))
    assert not nbbo.firm
    assert nbbo.apply(quote(2, ASK, 1002))
    assert not nbbo.apply(quote(3, ASK, 1002))
    assert not nbbo.apply(quote(4, BID, 1003, suspicious=True))
    assert (nbbo.state, nbbo.ts_ns, nbbo.firm) == ((1002, 100, 1000, 100), 2, True)


def test_every_row_within_the_hours_counts_with_the_state_it_leaves() -> None:
    rows = [
        quote(1, BID, 1000),
        quote(2, ASK, 1000),
        quote(5, BID, 1000),
        quote(6, BID, 1001),
        quote(7, ASK, 1002),
    ]
    assert count_quotes(rows, (5, 7)) == NbboCount(rows=2, crossed=1, locked=1)


def test_volume_and_average_price_leave_out_suspicious_prints_and_other_hours() -> None:
    trades = [
        NbboTrade(4, 9_000_000, 100, "N", 1, False),
        NbboTrade(5, 1_000_000, 100, "N", 1, False),
        NbboTrade(6, 1_030_000, 200, "D", 0x2000, False),
        NbboTrade(6, 9_000_000, 100, "N", 1, True),
        NbboTrade(7, 9_000_000, 100, "N", 1, False),
    ]
    assert volume_and_vwap(trades, (5, 7)) == (300, D(102))
    assert volume_and_vwap([], (5, 7)) == (0, D(0))


@pytest.mark.parametrize(
    ("exchange", "conditions", "meets"),
    [
        ("N", 0x1, True),
        ("P", 0x20000020, True),
        ("D", 0x1, False),
        ("N", 0x40, False),
        ("Q", 0x1000000, False),
        ("Q", 0x20100200, False),
        ("K", 0x2000, False),
        ("N", 0x80000000, True),
    ],
)
def test_only_prints_at_the_market_on_an_exchange_could_meet_a_displayed_order(
    exchange: str, conditions: int, meets: bool
) -> None:
    assert NbboTrade(1, 1000, 100, exchange, conditions, False).at_market is meets
