"""What planners are told of a session on the synthetic market is what the market brings."""

from decimal import Decimal

from qtinfra.core.commands import SetMarketProfile, SetVolumeCurve
from qtinfra.runtime.expectations import BINS, activity_bins, expected_session
from qtinfra.venues.simulated.flow import FULL_DAY_S, US_INSTRUMENTS, US_VENUES, SyntheticMarket

OPEN, SECOND = 1_783_468_800 * 10**9, 10**9


def market(length_s: int) -> SyntheticMarket:
    return SyntheticMarket(
        1,
        US_INSTRUMENTS,
        US_VENUES,
        open_ns=OPEN,
        close_ns=OPEN + length_s * SECOND,
        trade_date="2026-07-08",
    )


def test_a_curve_is_busiest_at_the_ends_and_averages_the_session() -> None:
    bins = activity_bins(market(FULL_DAY_S), OPEN, OPEN + FULL_DAY_S * SECOND, BINS)
    assert bins == bins[::-1]
    assert (max(bins), min(bins)) == (bins[0], bins[BINS // 2])
    assert max(bins) > 1_700
    assert min(bins) <= 601
    assert abs(sum(bins, Decimal(0)) - 1_000 * len(bins)) < BINS


def test_volume_grows_with_the_session_and_volatility_with_its_square_root() -> None:
    found = list(expected_session(market(4 * FULL_DAY_S), "2026-07-08", OPEN, OPEN + 4 * FULL_DAY_S * SECOND))
    assert [item.symbol for item in found if isinstance(item, SetVolumeCurve)] == [
        spec.symbol for spec in US_INSTRUMENTS
    ]
    for spec, profile in zip(
        US_INSTRUMENTS, (item for item in found if isinstance(item, SetMarketProfile)), strict=True
    ):
        assert profile.daily_volume == 4 * spec.average_daily_volume
        assert profile.daily_volatility == Decimal(str(spec.daily_volatility)) * 2
        assert profile.spread == spec.spread_ticks * spec.tick
