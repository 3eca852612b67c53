"""Volatility, spread and depth from recorded prices and quotes, and the price at a moment.

Volatilities are standard deviations of log returns as fractions (0.01 is 1%), per day unless a name says
otherwise; spreads are in basis points of the mid. Prices may be of any one unit.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from math import exp, fsum, isfinite, log, sqrt

import msgspec

from qtinfra.core.decimals import canonical
from qtinfra.marketdata.lobster import dollars
from qtinfra.marketdata.nbbo import Nbbo, NbboQuote

#: Regular US trading time in minutes: what a day of returns is scaled to.
DAY_MINUTES = 390


class DayPrices(msgspec.Struct, frozen=True):
    """Open, high, low and close of one day.

    Raises:
        ValueError: a price is not above 0, or open or close lies outside low and high.
    """

    open: float
    high: float
    low: float
    close: float

    def __post_init__(self) -> None:
        inside = 0 < self.low <= min(self.open, self.close) and max(self.open, self.close) <= self.high
        if not inside or not isfinite(self.high):
            raise ValueError(f"open, high, low, close: {self.open}, {self.high}, {self.low}, {self.close}")


# -- volatility ------------------------------------------------------------------------------------


def realised_variance(prices: Sequence[float]) -> float:
    """Sum of squared log returns of consecutive prices; 0 for fewer than two.

    Source: T. Andersen, T. Bollerslev, F. Diebold, P. Labys, Econometrica 71 (2003), 579-625.
    """
    logs = _logs(prices)
    return fsum((after - before) ** 2 for before, after in pairwise(logs))


def bipower_variance(prices: Sequence[float]) -> float:
    """Realised variance without jumps: `pi/2 sum |r_i| |r_i-1|`; 0 for fewer than three prices.

    Source: O. Barndorff-Nielsen, N. Shephard, Journal of Financial Econometrics 2 (2004), 1-37.
    """
    returns = [abs(after - before) for before, after in pairwise(_logs(prices))]
    return 1.5707963267948966 * fsum(before * after for before, after in pairwise(returns))


def bar_volatility(prices: Sequence[float], minutes_per_bar: float = 1.0) -> float:
    """Volatility per day from the prices of equally long bars: `sqrt(mean r^2 x bars per day)`.

    Raises:
        ValueError: fewer than two prices, one not above 0, or no length of a bar.
    """
    if len(prices) < 2 or minutes_per_bar <= 0:
        raise ValueError(
            f"prices: at least 2 of bars above 0 minutes, not {len(prices)} of {minutes_per_bar}"
        )
    return sqrt(realised_variance(prices) / (len(prices) - 1) * DAY_MINUTES / minutes_per_bar)


def parkinson(days: Sequence[DayPrices]) -> float:
    """Volatility within the day from its range: `sqrt(mean (ln H/L)^2 / (4 ln 2))`.

    Source: M. Parkinson, Journal of Business 53 (1980), 61-65.
    """
    _at_least(days, 1)
    return sqrt(fsum(log(day.high / day.low) ** 2 for day in days) / (4 * log(2) * len(days)))


def yang_zhang(days: Sequence[DayPrices]) -> float:
    """Volatility from close to close, overnight included, whatever the drift.

    `sqrt(V_overnight + k V_open_to_close + (1 - k) V_rs)` with `k = 0.34 / (1.34 + (n + 1) / (n - 1))` and
    the estimator of Rogers and Satchell in the last term; the first day only gives its close.

    Raises:
        ValueError: fewer than three days.

    Source: D. Yang, Q. Zhang, Journal of Business 73 (2000), 477-491.
    """
    _at_least(days, 3)
    nights = [log(after.open / before.close) for before, after in pairwise(days)]
    moves = [log(day.close / day.open) for day in days[1:]]
    count = len(moves)
    inside = fsum(
        log(day.high / day.close) * log(day.high / day.open)
        + log(day.low / day.close) * log(day.low / day.open)
        for day in days[1:]
    )
    weight = 0.34 / (1.34 + (count + 1) / (count - 1))
    return sqrt(_sample_variance(nights) + weight * _sample_variance(moves) + (1 - weight) * inside / count)


# -- spread and depth ------------------------------------------------------------------------------


class QuoteAverages(msgspec.Struct, frozen=True):
    """Averages over the time in which the quote was firm, the bid below the ask.

    Attributes:
        spread_bps: quoted spread in basis points of the mid.
        bid_size, ask_size: displayed size at the best bid and offer, shares.
        firm_share: share of the time with a firm quote.
    """

    spread_bps: float
    bid_size: float
    ask_size: float
    firm_share: float


def quote_averages(quotes: Iterable[NbboQuote], start_ns: int, end_ns: int) -> QuoteAverages:
    """Time-weighted spread and depth from `start_ns` to `end_ns`, quotes filled forward.

    Raises:
        ValueError: the time is empty, or the quote was never firm in it.
    """
    nbbo, now = Nbbo(), start_ns
    held: list[tuple[int, float, int, int]] = []

    def hold(until: int) -> None:
        if nbbo.firm and until > now:
            spread = 20_000 * (nbbo.ask - nbbo.bid) / (nbbo.ask + nbbo.bid)
            held.append((until - now, spread, nbbo.bid_size, nbbo.ask_size))

    for quote in quotes:
        if quote.ts_ns >= end_ns:
            break
        if quote.ts_ns > now:
            hold(quote.ts_ns)
            now = quote.ts_ns
        nbbo.apply(quote)
    hold(end_ns)
    time = sum(part[0] for part in held)
    if end_ns <= start_ns or not time:
        raise ValueError(f"no firm quote from {start_ns} to {end_ns}")
    spread, bid, ask = (fsum(part[0] * part[place] for part in held) / time for place in (1, 2, 3))
    return QuoteAverages(spread, bid, ask, time / (end_ns - start_ns))


def roll_spread_bps(prices: Sequence[float]) -> float | None:
    """Effective spread from trade prices alone: `2 sqrt(-cov(dp_t, dp_t-1))` of log prices, basis points.

    None where the covariance is not negative, as in a third of samples: the estimator then says nothing.

    Raises:
        ValueError: fewer than four prices.

    Source: R. Roll, Journal of Finance 39 (1984), 1127-1139.
    """
    if len(prices) < 4:
        raise ValueError(f"prices: at least 4, not {len(prices)}")
    moves = [after - before for before, after in pairwise(_logs(prices))]
    first, second = moves[:-1], moves[1:]
    mean_first, mean_second = fsum(first) / len(first), fsum(second) / len(second)
    cross = fsum((a - mean_first) * (b - mean_second) for a, b in zip(first, second, strict=True))
    covariance = cross / (len(first) - 1)
    return 20_000 * sqrt(-covariance) if covariance < 0 else None


def corwin_schultz_bps(days: Sequence[DayPrices]) -> float:
    """Spread from daily highs and lows in basis points: mean over pairs of days, negative ones as 0.

    `S = 2 (exp(a) - 1) / (1 + exp(a))`, `a = (sqrt(2 b) - sqrt(b)) / (3 - 2 sqrt 2) - sqrt(g / (3 - 2 sqrt
    2))`; the second day is moved by the gap overnight.

    Raises:
        ValueError: fewer than two days.

    Source: S. Corwin, P. Schultz, Journal of Finance 67 (2012), 719-760.
    """
    _at_least(days, 2)
    return (
        fsum(max(_pair_spread(one, other), 0.0) for one, other in pairwise(days)) / (len(days) - 1) * 10_000
    )


def _pair_spread(one: DayPrices, other: DayPrices) -> float:
    gap = max(other.low - one.close, 0.0) - max(one.close - other.high, 0.0)
    high, low = other.high - gap, other.low - gap
    beta = log(one.high / one.low) ** 2 + log(high / low) ** 2
    gamma = log(max(one.high, high) / min(one.low, low)) ** 2
    scale = 3 - 2 * sqrt(2)
    alpha = (sqrt(2 * beta) - sqrt(beta)) / scale - sqrt(gamma / scale)
    return 2 * (exp(alpha) - 1) / (1 + exp(alpha))


# -- the quote at a moment -------------------------------------------------------------------------


class QuoteTape:
    """The national best bid and offer at any moment of a day, filled forward.

    Suspicious rows change nothing; a locked or crossed quote stands as it was, `firm_only` passes over it.
    """

    def __init__(self, quotes: Iterable[NbboQuote], firm_only: bool = False) -> None:
        nbbo = Nbbo()
        self._times: list[int] = []
        self._states: list[tuple[int, int]] = []
        for quote in quotes:
            if nbbo.apply(quote) and (nbbo.firm if firm_only else nbbo.bid and nbbo.ask):
                self._times.append(quote.ts_ns)
                self._states.append((nbbo.bid, nbbo.ask))

    def at(self, ts_ns: int, strictly_before: bool = True) -> tuple[Decimal, Decimal] | None:
        """Best bid and ask in dollars as known at this moment; None before both are known.

        Args:
            strictly_before: leave out quotes of this very moment.
        """
        find = bisect_left if strictly_before else bisect_right
        place = find(self._times, ts_ns) - 1
        if place < 0:
            return None
        bid, ask = self._states[place]
        return dollars(bid), dollars(ask)

    def mid(self, ts_ns: int, strictly_before: bool = True) -> Decimal | None:
        """The midpoint, dollars: the arrival price of an order that comes then."""
        quote = self.at(ts_ns, strictly_before)
        return None if quote is None else canonical((quote[0] + quote[1]) / 2)


def _logs(prices: Sequence[float]) -> list[float]:
    if any(not isfinite(price) or price <= 0 for price in prices):
        raise ValueError("prices: finite and above 0")
    return [log(price) for price in prices]


def _sample_variance(values: Sequence[float]) -> float:
    mean = fsum(values) / len(values)
    return fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _at_least(days: Sequence[DayPrices], count: int) -> None:
    if len(days) < count:
        raise ValueError(f"days: at least {count}, not {len(days)}")
