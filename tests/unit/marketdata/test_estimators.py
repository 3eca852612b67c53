"""Volatility, spread and depth estimators on prices whose answer is known, and on the recorded ticks."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from math import exp, log, sqrt
from random import Random

import pytest

from qtinfra.marketdata.estimators import (
    DAY_MINUTES,
    DayPrices,
    QuoteTape,
    bar_volatility,
    bipower_variance,
    corwin_schultz_bps,
    parkinson,
    quote_averages,
    realised_variance,
    roll_spread_bps,
    yang_zhang,
)
from qtinfra.marketdata.nbbo import ASK, BID, NbboQuote, hours_ns, read_quotes
from tests.support.requirements import require_data

pytestmark = pytest.mark.unit

D = Decimal


def walk(count: int, step: float, seed: int = 1, start: float = 100.0) -> list[float]:
    chance, value, prices = Random(seed), log(start), [start]
    for _ in range(count):
        value += chance.gauss(0, step)
        prices.append(exp(value))
    return prices


def random_days(count: int, inside: float, overnight: float, spread: float = 0.0) -> list[DayPrices]:
    chance, value, days = Random(5), log(100), []
    for _ in range(count):
        value += chance.gauss(0, overnight)
        path = walk(DAY_MINUTES, inside / sqrt(DAY_MINUTES), chance.randrange(10**9), exp(value))
        value = log(path[-1])
        low, high = min(path) * (1 - spread / 2), max(path) * (1 + spread / 2)
        days.append(DayPrices(path[0], high, low, path[-1]))
    return days


def quote(ts_ns: int, side: int, price: int, size: int = 100, suspicious: bool = False) -> NbboQuote:
    return NbboQuote(ts_ns, side, price, size, "N", 1, suspicious)


def test_realised_variance_is_the_sum_of_squared_log_returns() -> None:
    assert realised_variance([100, 110, 99]) == pytest.approx(log(1.1) ** 2 + log(0.9) ** 2)
    assert realised_variance([100]) == 0
    with pytest.raises(ValueError, match="prices: finite and above 0"):
        realised_variance([100, 0])


def test_a_jump_counts_in_the_realised_variance_and_not_in_the_bipower_one() -> None:
    calm = walk(5000, 0.001)
    jumped = [*calm[:2500], *(price * 1.2 for price in calm[2500:])]
    assert bipower_variance(calm) == pytest.approx(realised_variance(calm), rel=0.05)
    assert realised_variance(jumped) > 5 * realised_variance(calm)
    assert bipower_variance(jumped) == pytest.approx(bipower_variance(calm), rel=0.15)


def test_the_volatility_of_bars_is_scaled_to_the_day() -> None:
    assert bar_volatility(walk(20_000, 0.001)) == pytest.approx(0.001 * sqrt(390), rel=0.02)
    assert bar_volatility(walk(20_000, 0.001), 15) == pytest.approx(0.001 * sqrt(26), rel=0.02)
    with pytest.raises(ValueError, match="prices: at least 2"):
        bar_volatility([100])


def test_parkinson_and_yang_zhang_find_the_volatility_of_a_random_walk() -> None:
    days = random_days(250, 0.02, 0.01)
    # A range of 390 steps is a little below that of a continuous path.
    assert parkinson(days) == pytest.approx(0.02, rel=0.08)
    assert yang_zhang(days) == pytest.approx(sqrt(0.02**2 + 0.01**2), rel=0.08)


def test_yang_zhang_follows_its_formula() -> None:
    days = [DayPrices(100, 103, 99, 101), DayPrices(102, 104, 100, 103), DayPrices(101, 102, 98, 99)]
    nights, moves = [log(102 / 101), log(101 / 103)], [log(103 / 102), log(99 / 101)]
    inside = log(104 / 103) * log(104 / 102) + log(100 / 103) * log(100 / 102)
    inside += log(102 / 99) * log(102 / 101) + log(98 / 99) * log(98 / 101)
    k = 0.34 / (1.34 + 3)
    variance = (nights[0] - nights[1]) ** 2 / 2 + k * (moves[0] - moves[1]) ** 2 / 2 + (1 - k) * inside / 2
    assert yang_zhang(days) == pytest.approx(sqrt(variance))
    with pytest.raises(ValueError, match="days: at least 3, not 2"):
        yang_zhang(days[:2])
    with pytest.raises(ValueError, match="open, high, low, close"):
        DayPrices(100, 99, 98, 99)


def test_rolls_estimator_finds_the_spread_of_bouncing_trades() -> None:
    chance, mids = Random(3), walk(20_000, 0.0001)
    trades = [mid * (1 + 0.0010 * chance.choice((-1, 1))) for mid in mids]
    assert roll_spread_bps(trades) == pytest.approx(20, rel=0.05)
    assert roll_spread_bps([100, 101, 102.5, 104.5, 107]) is None
    with pytest.raises(ValueError, match="prices: at least 4"):
        roll_spread_bps([1, 2, 3])


def test_a_spread_in_highs_and_lows_is_seen() -> None:
    wide, none = (
        corwin_schultz_bps(random_days(250, 0.02, 0.0, 0.02)),
        corwin_schultz_bps(random_days(250, 0.02, 0.0)),
    )
    assert wide - none == pytest.approx(150, abs=50)


def test_spread_and_depth_are_averaged_over_the_time_they_stood() -> None:
    quotes = [
        quote(0, BID, 9_990, 100),
        quote(0, ASK, 10_010, 300),
        quote(60, ASK, 10_030, 900),
        quote(80, BID, 10_050, 50),
        quote(90, BID, 9_990, 100, suspicious=True),
    ]
    found = quote_averages(quotes, 20, 100)
    assert found.firm_share == pytest.approx(60 / 80)
    assert found.spread_bps == pytest.approx((40 * 20 + 20 * 20_000 * 40 / 20_020) / 60)
    assert [found.bid_size, found.ask_size] == pytest.approx([100, 500])
    with pytest.raises(ValueError, match="no firm quote"):
        quote_averages(quotes, 80, 100)


def test_the_quote_at_a_moment_is_the_last_one_before_it() -> None:
    tape = QuoteTape([quote(10, BID, 99_000), quote(20, ASK, 101_000), quote(30, BID, 100_000)])
    assert (tape.at(20), tape.mid(20)) == (None, None)
    assert tape.at(20, strictly_before=False) == (D("9.9"), D("10.1"))
    assert tape.mid(30) == D("10")
    assert tape.mid(31) == D("10.05")


def test_a_tape_of_firm_quotes_passes_over_crossed_ones() -> None:
    quotes = [
        quote(10, BID, 99_000),
        quote(20, ASK, 101_000),
        quote(30, BID, 102_000),
        quote(40, BID, 98_000),
    ]
    assert QuoteTape(quotes).at(35) == (D("10.2"), D("10.1"))
    assert QuoteTape(quotes, firm_only=True).at(35) == (D("9.9"), D("10.1"))
    assert QuoteTape(quotes, firm_only=True).at(45) == (D("9.8"), D("10.1"))


def test_the_recorded_quotes_have_a_spread_of_a_few_cents() -> None:
    day = date(2013, 10, 8)
    found = quote_averages(read_quotes(require_data("nbbo_ticks/ibm_20131008_quote.zip")), *hours_ns(day))
    assert 1 < found.spread_bps < 5
    assert found.firm_share > 0.9
    assert found.bid_size > 100
