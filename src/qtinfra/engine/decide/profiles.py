"""What planners expect of a symbol's day, as journaled commands: volume curve, volume, volatility, spread."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.algo_events import MarketProfileSet, VolumeCurveSet
from qtinfra.core.commands import SetMarketProfile, SetVolumeCurve
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import CommandRefused
from qtinfra.core.market import MarketView
from qtinfra.core.validation.rules import in_range
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.state import State

#: Most bins of a curve: one for each minute of a day.
MAX_BINS = 1440


def _refuse(out: Decision, code: str, field: str, limit: str, observed: object, text: str) -> None:
    out.add(CommandRefused("", "", code, field, limit, str(observed)[:60], text))


def set_volume_curve(
    state: State, command: SetVolumeCurve, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Take a curve whose bins are numbers, none negative and not all 0, over a time that runs forwards."""
    del now_ns, market
    if command.symbol not in state.instruments:
        text = f"symbol {command.symbol[:24]!r} is not known"
        _refuse(out, "unknown_symbol", "symbol", "", command.symbol, text)
    elif not 0 < len(command.bins) <= MAX_BINS:
        text = f"a curve has 1 to {MAX_BINS} bins"
        _refuse(out, "bad_curve", "bins", str(MAX_BINS), len(command.bins), text)
    elif not all(in_range(volume) and volume >= ZERO for volume in command.bins) or not any(command.bins):
        _refuse(out, "bad_curve", "bins", "0", "", "volumes must not be negative, and not all be 0")
    elif not 0 <= command.open_ns < command.close_ns:
        text = "a curve ends after it begins"
        _refuse(out, "bad_curve", "close_ns", str(command.open_ns), command.close_ns, text)
    else:
        out.add(
            VolumeCurveSet(
                command.symbol, command.trade_date, command.open_ns, command.close_ns, command.bins
            )
        )


def set_market_profile(
    state: State, command: SetMarketProfile, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Take a profile of numbers above 0; the closing auction's volume may be 0."""
    del now_ns, market
    if command.symbol not in state.instruments:
        text = f"symbol {command.symbol[:24]!r} is not known"
        _refuse(out, "unknown_symbol", "symbol", "", command.symbol, text)
        return
    for field in ("daily_volume", "daily_volatility", "spread", "close_volume"):
        value: Decimal | None = getattr(command, field)
        if value is None:
            continue
        least = value >= ZERO if field == "close_volume" else value > ZERO
        if not in_range(value) or not least:
            _refuse(out, "must_be_positive", field, "0", value, f"{field} must be greater than 0")
            return
    out.add(
        MarketProfileSet(
            command.symbol,
            command.daily_volume,
            command.daily_volatility,
            command.spread,
            command.close_volume,
        )
    )
