"""What an order's day came to: tracking of VWAP, shortfall against its forecast, participation."""

from __future__ import annotations

from decimal import Decimal
from math import fsum

import msgspec

from qtinfra.core.models import OrderSide
from qtinfra.marketdata.bars import MINUTE_NS
from qtinfra.posttrade.shortfall import average_price, implementation_shortfall
from qtinfra.runtime.lab.days import LabDay, Past
from qtinfra.runtime.lab.forecast import forecast_cost
from qtinfra.runtime.lab.history import DayFacts
from qtinfra.runtime.lab.play import LabOrder, Played, Setup, arrival_mid

_BPS = 10_000


class Score(msgspec.Struct, frozen=True):
    """One order's figures.

    Attributes:
        ordered, filled: shares.
        tracking_bps: |average price - VWAP of the order's time| over that VWAP; None without fills.
        schedule_bps: the same with the fills at their minutes' recorded VWAP: what the schedule decides.
        cost_bps: what the fills paid beyond those prices, half-spread and impact: what execution decides.
        spread_bps: the half-spread in it, the same for every schedule; None where quotes were recorded.
        shortfall_bps: against the arrival mid, what was not filled valued at the last price; costs positive.
        predicted_bps, low_bps, high_bps: its forecast before the order, with a band of 95%.
        rate: own / (own + others) until the order was over.
        finish: how the schedule ended.
    """

    symbol: str
    trade_date: str
    algo: str
    buy: bool
    ordered: int
    filled: int
    tracking_bps: float | None
    schedule_bps: float | None
    cost_bps: float | None
    spread_bps: float | None
    shortfall_bps: float
    predicted_bps: float
    low_bps: float
    high_bps: float
    rate: float
    finish: str

    @property
    def in_band(self) -> bool:
        """Whether the shortfall lies within the forecast's band."""
        return self.low_bps <= self.shortfall_bps <= self.high_bps


def score(setup: Setup, order: LabOrder, day: LabDay, facts: DayFacts, played: Played) -> Score:
    """Measure an order's day."""
    _, vwap = day.traded(order.start_ns, order.end_ns)
    forecast = forecast_cost(setup, order, day, facts, played)
    average = float(average_price((Decimal(fill.qty), fill.price) for fill in played.fills))
    undisturbed = _undisturbed(day, played)
    return Score(
        day.symbol,
        day.trade_date,
        setup.algo,
        order.buy,
        order.qty,
        played.filled,
        _tracking(average, vwap),
        _tracking(undisturbed, vwap),
        (1 if order.buy else -1) * (average / undisturbed - 1) * _BPS if undisturbed else None,
        facts.spread_bps / 2 if day.quotes is None else None,
        _shortfall_bps(order, day, played),
        forecast.expected_bps,
        forecast.low,
        forecast.high,
        realised_rate(order, day, played),
        played.finish.value,
    )


def realised_rate(order: LabOrder, day: LabDay, played: Played) -> float:
    """own / (own + others) from the start until the order was over, the minute of its last fill included."""
    end = played.over_ns
    if played.filled == order.qty:
        end = day.open_ns - (day.open_ns - played.fills[-1].ts_ns - 1) // MINUTE_NS * MINUTE_NS
    others, _ = day.traded(order.start_ns, end)
    return played.filled / (played.filled + others) if played.filled else 0.0


def _shortfall_bps(order: LabOrder, day: LabDay, played: Played) -> float:
    end = arrival_mid(Past(day, order.end_ns)) or played.arrival
    shortfall = implementation_shortfall(
        OrderSide.BUY if order.buy else OrderSide.SELL,
        Decimal(order.qty),
        played.arrival,
        played.arrival,
        [(Decimal(fill.qty), fill.price) for fill in played.fills],
        end,
    )
    return float(shortfall.total_bps)


def _undisturbed(day: LabDay, played: Played) -> float:
    """The average over the fills of their minutes' recorded VWAP, dollars; 0 without fills."""
    found = [(fill.qty, minute.vwap) for fill in played.fills if (minute := day.minute_at(fill.ts_ns))]
    return fsum(qty * price for qty, price in found) / played.filled if found else 0.0


def _tracking(average: float, vwap: float) -> float | None:
    return abs(average - vwap) / vwap * _BPS if average and vwap else None
