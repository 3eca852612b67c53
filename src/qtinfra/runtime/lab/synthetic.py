"""Generated stock-days for benchmarks and tests: a U-shaped volume curve and a random walk, by seed."""

from __future__ import annotations

from random import Random

from qtinfra.marketdata.bars import MINUTE_NS
from qtinfra.runtime.lab.days import LabDay, Minute, totals_of

_DAY_NS = 86_400 * 10**9
_MINUTES = 390
_OPEN_NS = 1_704_205_800 * 10**9  # 2024-01-02 14:30 UTC


def synthetic_days(count: int, seed: int, *, mean_volume: int = 1_000, thin: float = 0.2) -> list[LabDay]:
    """Days of one generated symbol, named by their number.

    Args:
        mean_volume: shares of a minute. thin: part of the minutes without trades.
    """
    rng, price = Random(seed), 100.0
    days = []
    for number in range(count):
        minutes: dict[int, Minute] = {}
        for place in range(_MINUTES):
            price *= 1 + rng.gauss(0, 0.0007)
            if place and rng.random() < thin:
                continue
            shape = 0.5 + 3 * (2 * place / _MINUTES - 1) ** 4
            volume = max(1, round(mean_volume * shape * rng.lognormvariate(0, 0.6)))
            minutes[place] = Minute(volume, price, price * 0.9997, price * 1.0003)
        days.append(day_of(f"D{number:04}", _OPEN_NS + number * _DAY_NS, minutes))
    return days


def day_of(trade_date: str, open_ns: int, minutes: dict[int, Minute]) -> LabDay:
    """A session of 390 minutes from its minutes; the price after each is its average price."""
    volumes = tuple(minute.volume for minute in minutes.values())
    return LabDay(
        "GEN",
        trade_date,
        open_ns,
        open_ns + _MINUTES * MINUTE_NS,
        False,
        tuple(open_ns + (number + 1) * MINUTE_NS for number in minutes),
        volumes,
        tuple(minute.vwap for minute in minutes.values()),
        totals_of(volumes),
        minutes,
    )
