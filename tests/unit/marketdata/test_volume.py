"""Volume curves: static, stretched to half days, updated through the day; and what counts as volume."""

from __future__ import annotations

from datetime import date
from math import log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.marketdata.kalman import VolumeModel, filter_days, start_state
from qtinfra.marketdata.lobster import RecordedDataError
from qtinfra.marketdata.nbbo import NbboTrade, hours_ns, read_trades, volume_and_vwap
from qtinfra.marketdata.volume import (
    DynamicCurve,
    binned_volume,
    is_continuous,
    log_volumes,
    normalised,
    read_volume_table,
    rolling_log_mean,
    static_profile,
    stretched,
    with_close,
)
from tests.support.requirements import require_data

pytestmark = pytest.mark.unit

MODEL = VolumeModel((0.5, -0.3, 0.1), 0.1, 0.95, 0.6, 0.05, 0.04, (8.0, 0.0), (0.2, 0.01, 0.1))


def table(folder: Path, text: str) -> Path:
    path = folder / "v.csv"
    path.write_text(text)
    return path


def test_the_recorded_table_has_26_bins_of_124_days() -> None:
    found = read_volume_table(require_data("intraday_volume_15m/ACN_15min_volume_2019H1.csv"))
    assert (len(found.bins), len(found.days), {len(day) for day in found.days}) == (26, 124, {26})
    assert (found.dates[0], found.dates[-1]) == (date(2019, 1, 2), date(2019, 6, 28))
    assert (found.bins[0], found.bins[-1]) == ("09:30", "15:45")
    assert found.days[0][0] == pytest.approx(137532)


def test_an_empty_cell_is_a_missing_bin(tmp_path: Path) -> None:
    found = read_volume_table(table(tmp_path, ",2019-01-02,2019-01-03\n09:30,5,\n09:45,0,7.5\n"))
    assert found.days == ((5.0, 0.0), (None, 7.5))
    assert log_volumes(found.days[0]) == [log(5), None]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (",2019-01-02\n09:30,x\n", "v.csv:2: column 2"),
        (",2019-01-02\n09:30,-1\n", "v.csv:2: column 2"),
        (",2019-01-02\n09:30,inf\n", "v.csv:2: column 2"),
        (",2019-01-02\n09:45,1\n09:30,1\n", "v.csv:3: column 1"),
        (",2019-01-02\n09:30,1,2\n", "v.csv:2: column 1"),
        (",2019-13-02\n09:30,1\n", "v.csv:1: column 2"),
        (",2019-01-03,2019-01-02\n09:30,1,2\n", "v.csv:1: column 2"),
        (",2019-01-02\n", "v.csv:1: column 1"),
        ("", "not a table"),
    ],
)
def test_a_damaged_table_is_refused_with_file_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(RecordedDataError, match=place):
        read_volume_table(table(tmp_path, text))


def test_the_static_profile_is_the_mean_of_shares_of_the_last_days() -> None:
    days: list[list[float | None]] = [[9, 1, 0], [1, 1, 2], [100, 100, 200], [0, None, 0]]
    assert static_profile(days, window=3) == pytest.approx((0.25, 0.25, 0.5))
    assert static_profile(days) == pytest.approx(((0.9 + 0.5) / 3, (0.1 + 0.5) / 3, 1 / 3))
    with pytest.raises(ValueError, match="at least one with volume among the last 1"):
        static_profile(days, window=1)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda curve: sum(curve) > 1e-3),
    st.integers(1, 60),
)
def test_a_stretched_curve_keeps_the_course_and_sums_to_one(curve: list[float], bins: int) -> None:
    found = stretched(curve, bins)
    assert sum(found) == pytest.approx(1)
    half = stretched(curve, 2)
    if bins % 2 == 0:
        assert sum(found[: bins // 2]) == pytest.approx(half[0])
    assert stretched(curve, len(curve)) == pytest.approx(normalised(curve))


def test_the_closing_auction_is_one_more_bin() -> None:
    assert with_close((1, 3), 0.2) == pytest.approx((0.2, 0.6, 0.2))
    with pytest.raises(ValueError, match="auction_share"):
        with_close((1, 3), 1)
    with pytest.raises(ValueError, match="weights"):
        normalised([0, 0])


def test_the_rolling_mean_is_of_logs_and_skips_what_is_missing() -> None:
    days: list[list[float | None]] = [[100.0, 1.0], [1.0, None], [3.0, None]]
    assert rolling_log_mean(days, 2) == [2.0, None]


def trade(conditions: int = 0, suspicious: bool = False, size: int = 100, ts_ns: int = 5) -> NbboTrade:
    return NbboTrade(ts_ns, 1_000_000, size, "N", conditions, suspicious)


def test_blocks_crosses_and_suspicious_prints_are_no_continuous_volume() -> None:
    assert is_continuous(trade())
    assert is_continuous(trade(0x20 | 0x80000000))
    for flag in (0x80000, 0x40, 0x80, 0x100, 0x200000, 0x1000000, 0x4000000):
        assert not is_continuous(trade(flag | 1))
    assert not is_continuous(trade(suspicious=True))


def test_prints_are_counted_in_the_bin_of_their_time() -> None:
    prints = [
        trade(ts_ns=0),
        trade(ts_ns=9),
        trade(ts_ns=10),
        trade(0x80, ts_ns=11),
        trade(ts_ns=24),
        trade(ts_ns=25),
    ]
    assert binned_volume(prints, 0, 25, 10) == [200, 100, 100]
    assert binned_volume(prints, 0, 25, 10, continuous_only=False) == [200, 200, 100]
    with pytest.raises(ValueError, match="bins of 0 ns"):
        binned_volume(prints, 0, 25, 0)


def test_the_recorded_days_have_their_volume_and_less_without_blocks_and_crosses() -> None:
    day, hours = date(2013, 10, 8), hours_ns(date(2013, 10, 8))
    trades = read_trades(require_data(f"nbbo_ticks/ibm_{day:%Y%m%d}_trade.zip"))
    everything = binned_volume(trades, *hours, 900 * 10**9, continuous_only=False)
    assert (len(everything), sum(everything)) == (26, 5_203_752)
    assert sum(everything) == volume_and_vwap(trades, hours)[0]
    continuous = binned_volume(trades, *hours, 900 * 10**9)
    assert 0 < sum(continuous) < sum(everything)
    assert all(part <= whole for part, whole in zip(continuous, everything, strict=True))


# -- the curve of the day --------------------------------------------------------------------------


def test_before_the_open_the_curve_is_the_forecast_of_the_whole_day() -> None:
    curve = DynamicCurve(MODEL, start_state(MODEL))
    assert sum(curve.curve()) == pytest.approx(1)
    assert curve.rest() == curve.curve()
    assert curve.curve()[0] > curve.curve()[2] > curve.curve()[1]


def test_a_busy_first_bin_raises_the_rest_of_the_day() -> None:
    quiet, busy = DynamicCurve(MODEL, start_state(MODEL)), DynamicCurve(MODEL, start_state(MODEL))
    quiet.observe(2_000)
    busy.observe(20_000)
    assert busy.expected()[0] > quiet.expected()[0]
    assert len(busy.rest()) == 2
    assert sum(busy.rest()) == pytest.approx(1)
    assert busy.curve()[0] == pytest.approx(20_000 / (20_000 + sum(busy.expected())))


def test_a_forecast_does_not_depend_on_what_comes_later() -> None:
    one, other = DynamicCurve(MODEL, start_state(MODEL)), DynamicCurve(MODEL, start_state(MODEL))
    for curve in (one, other):
        curve.observe(3_000)
    before = one.expected()
    one.observe(999_999)
    assert other.expected() == before


def test_a_bin_without_volume_is_missing_and_the_day_ends_in_the_next_state() -> None:
    curve = DynamicCurve(MODEL, start_state(MODEL))
    for volume in (3_000, 0, 1_000):
        curve.observe(volume)
    assert (curve.seen, curve.expected(), curve.rest()) == ((3_000, 0, 1_000), (), ())
    days: list[list[float | None]] = [[8.0, 8.0, 8.0], log_volumes([3_000, 0, 1_000])]
    known = DynamicCurve(MODEL, filter_days(MODEL, days[:1]))
    for volume in (3_000, 0, 1_000):
        known.observe(volume)
    assert known.state == filter_days(MODEL, days)
    with pytest.raises(ValueError, match="bin 3 of 3"):
        curve.observe(1)
    with pytest.raises(ValueError, match="no volume -1"):
        DynamicCurve(MODEL, start_state(MODEL)).observe(-1)
