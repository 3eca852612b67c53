"""What planners may expect of a session on the synthetic market: when its volume comes, and how much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

from qtinfra.core.commands import AnyCommand, SetMarketProfile, SetVolumeCurve
from qtinfra.venues.simulated.flow import FULL_DAY_S, SyntheticMarket

_SECOND_NS = 1_000_000_000
#: Bins of a curve: a quarter of an hour each where a session lasts around the clock.
BINS = 96


def activity_bins(market: SyntheticMarket, open_ns: int, close_ns: int, count: int) -> tuple[Decimal, ...]:
    """How busy the market is in equally long parts of a time; 1,000 is the average of its session."""
    length = close_ns - open_ns
    middles = (open_ns + length * (2 * place + 1) // (2 * count) for place in range(count))
    return tuple(Decimal(round(1_000 * market.activity(middle))) for middle in middles)


def expected_session(
    market: SyntheticMarket, trade_date: str, open_ns: int, close_ns: int
) -> Iterator[AnyCommand]:
    """A volume curve and a profile for each symbol, for the session between two moments.

    The market's own figures are for a day of six and a half hours: volume grows with the session's length,
    volatility with its square root.
    """
    bins = activity_bins(market, open_ns, close_ns, BINS)
    days = (close_ns - open_ns) / (FULL_DAY_S * _SECOND_NS)
    for spec in market.instruments:
        yield SetVolumeCurve(spec.symbol, trade_date, open_ns, close_ns, bins)
        yield SetMarketProfile(
            spec.symbol,
            Decimal(max(1, round(spec.average_daily_volume * days))),
            Decimal(f"{spec.daily_volatility * math.sqrt(days):.9f}"),
            spec.spread_ticks * spec.tick,
        )
