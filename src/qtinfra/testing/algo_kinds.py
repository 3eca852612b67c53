"""The kinds of algorithm cases: from a case's inputs to the public function it asks, and back to its keys.

Only translation happens here. The formulas stand in the functions that are called, and with their sources in
docs/reference/execution-models.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import fsum, sqrt
from pathlib import Path
from typing import Any

from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import RiskApproved
from qtinfra.core.impact.outflow import Empirical, Exponential, Normal, Outflow, Pareto, Uniform
from qtinfra.core.impact.participation import capped_schedule, own_at_rate
from qtinfra.core.impact.power_law import PowerLaw, impact
from qtinfra.core.impact.queues import PlacementTerms, Queue, place
from qtinfra.core.impact.trajectory import Liquidation, resolve, solve
from qtinfra.core.impact.transient import RefillingBook, constant_rate_cost, optimal_plan
from qtinfra.core.market import ConsolidatedBook, Level, VenueQuote
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.strategies.schedule import integer_schedule
from qtinfra.marketdata.estimators import QuoteTape
from qtinfra.marketdata.kalman import VolumeModel, fit, one_step_forecasts
from qtinfra.marketdata.lobster import midnight_ns
from qtinfra.marketdata.nbbo import describe, read_quotes, read_trades, volume_and_vwap
from qtinfra.marketdata.volume import PROFILE_DAYS, log_volumes, read_volume_table, rolling_log_mean
from qtinfra.posttrade.shortfall import (
    DelayBasis,
    OpportunityFrom,
    average_price,
    effective_half_spread_bps,
    implementation_shortfall,
    markout_bps,
    sign_of,
    slippage_bps,
)
from qtinfra.router.sor import VenueTerms, plan_route

#: Takes a case's inputs and the folder of the market data; returns at least the keys that are expected.
AlgoFunction = Callable[[Mapping[str, Any], Path], Mapping[str, object]]


# -- schedules and impact --------------------------------------------------------------------------


def _liquidation(inputs: Mapping[str, Any]) -> Liquidation:
    return Liquidation(
        shares=float(inputs["shares"]),
        horizon=float(inputs["horizon_days"]),
        periods=int(inputs["periods"]),
        sigma=float(inputs["sigma"]),
        epsilon=float(inputs["epsilon"]),
        gamma=float(inputs["gamma"]),
        eta=float(inputs["eta"]),
        risk_aversion=float(inputs["risk_aversion"]),
    )


def almgren_chriss(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.impact.trajectory.solve`."""
    plan = solve(_liquidation(inputs))
    return {
        "kappa": plan.kappa,
        "kappa_tilde": plan.kappa_tilde,
        "holdings": plan.holdings,
        "trades": plan.trades,
        "expected_cost": plan.expected_cost,
        "variance": plan.variance,
        "std": plan.std,
    }


def almgren_chriss_lots(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """The trades of the trajectory as whole lots; a position to buy back is worked by its size."""
    shares = _decimal(inputs["shares"])
    trades = [abs(trade) for trade in solve(_liquidation(inputs)).trades]
    if not shares:
        return {"children": (ZERO,) * len(trades)}
    return {"children": integer_schedule(trades, abs(shares), _lot(inputs))}


def almgren_chriss_resolve(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.impact.trajectory.resolve`."""
    plan = resolve(_liquidation(inputs), int(inputs["resolve_after_periods"]))
    return {"holdings": plan.holdings, "expected_cost": plan.expected_cost, "std": plan.std}


def athl_impact(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.impact.power_law.impact`, in basis points, for each horizon."""
    known = PowerLaw()
    law = PowerLaw(*(float(inputs.get(name, getattr(known, name))) for name in known.__struct_fields__))
    adv = float(inputs["adv_shares"])
    found = [
        impact(
            float(inputs["shares_over_adv"]),
            float(horizon),
            float(inputs["daily_volatility"]),
            float(inputs["shares_outstanding"]) / adv,
            law,
        )
        for horizon in inputs["horizons_days"]
    ]
    return {
        "permanent_bp": found[0].permanent * 1e4,
        "temporary_bp": [one.temporary * 1e4 for one in found],
        "cost_bp": [one.cost * 1e4 for one in found],
    }


def obizhaeva_wang(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.impact.transient.optimal_plan` and `constant_rate_cost`."""
    book = RefillingBook(
        *(float(inputs[key]) for key in ("book_depth_q", "permanent_lambda", "resilience_rho"))
    )
    shares, horizon = float(inputs["shares"]), float(inputs["horizon"])
    plan = optimal_plan(shares, horizon, book)
    return {
        "first_block": plan.first_block,
        "continuous": plan.continuous,
        "last_block": plan.last_block,
        "transient_cost": plan.transient_cost,
        "permanent_cost": plan.permanent_cost,
        "constant_rate_transient_cost": constant_rate_cost(shares, horizon, book),
    }


def lot_rounding(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.strategies.schedule.integer_schedule`."""
    return {"children": integer_schedule(inputs["weights"], _decimal(inputs["quantity"]), _lot(inputs))}


def vwap_schedule(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.impact.participation.capped_schedule`; without a cap the lot schedule itself."""
    quantity, curve, lot = _decimal(inputs["quantity"]), inputs["curve"], _lot(inputs)
    cap = inputs.get("participation_cap")
    if cap is None:
        children = integer_schedule(curve, quantity, lot)
    else:
        basis = inputs.get("cap_basis", "market_volume_of_bin")
        if basis != "market_volume_of_bin":
            raise ValueError(f"cap_basis: market_volume_of_bin, not {basis!r}")
        volumes = [_decimal(volume) for volume in inputs["market_volume"]]
        children = capped_schedule(quantity, curve, volumes, _decimal(cap), lot)
    return {"children": children, "unfilled": quantity - sum(children, ZERO)}


def pov(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.impact.participation.own_at_rate`."""
    return {"own": own_at_rate(_decimal(inputs["rate"]), _decimal(inputs["others_volume"]), _lot(inputs))}


# -- routing ---------------------------------------------------------------------------------------


def _outflow(spec: Mapping[str, Any]) -> Outflow:
    values = {key: float(value) for key, value in spec.items() if key not in ("distribution", "samples")}
    match spec["distribution"]:
        case "exponential":
            return Exponential(**values)
        case "pareto":
            return Pareto(**values)
        case "normal":
            return Normal(**values)
        case "uniform":
            return Uniform(**values)
        case "empirical":
            return Empirical([float(value) for value in spec["samples"]])
        case other:
            raise ValueError(f"outflow: no distribution {other!r}")


def cont_kukanov(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.core.impact.queues.place`."""
    terms = PlacementTerms(
        *(
            float(inputs[key])
            for key in ("quantity", "half_spread", "market_fee", "theta", "lambda_under", "lambda_over")
        )
    )
    queues = [
        Queue(float(venue["queue"]), float(venue["rebate"]), _outflow(venue["outflow"]))
        for venue in inputs["venues"]
    ]
    found = place(terms, queues)
    return {"market": found.market, "limits": found.limits}


def sweep(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.router.sor.plan_route`, an immediate-or-cancel order against what is displayed.

    `net_cost` is what a buy pays and a sell receives, fees included; what is not displayed is not routed.
    """
    side, limit = OrderSide(inputs["side"]), inputs.get("limit_price")
    price = None if limit is None else _decimal(limit)
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    quantity, sign = _decimal(inputs["quantity"]), sign_of(side)
    levels: dict[str, list[Level]] = {}
    fees: dict[str, Decimal] = {}
    for venue in inputs["venues"]:
        levels.setdefault(venue["venue"], []).append((_decimal(venue["price"]), _decimal(venue["size"])))
        fees[venue["venue"]] = _decimal(venue.get("take_fee_per_share", 0))
    shown = {
        name: tuple(sorted(offers, key=lambda offer: sign * offer[0])) for name, offers in levels.items()
    }
    book = ConsolidatedBook("X", tuple(_quote(name, side, offers) for name, offers in shown.items()))
    order = RiskApproved("", "X", side, kind, TimeInForce.IOC, quantity, price, ZERO)
    plan = plan_route(
        order, book, tuple(VenueTerms(name, fee, ZERO) for name, fee in fees.items()), _lot(inputs)
    )
    route: list[tuple[str, Decimal]] = []
    net = ZERO
    for leg in plan.legs:
        within = [offer for offer in shown[leg.venue] if price is None or sign * (price - offer[0]) >= 0]
        taken, notional = _taken(leg.qty, within)
        if taken:
            route.append((leg.venue, taken))
            net += notional + sign * taken * fees[leg.venue]
    return {"route": route, "net_cost": net, "unfilled": quantity - sum((qty for _, qty in route), ZERO)}


def _quote(name: str, side: OrderSide, offers: tuple[Level, ...]) -> VenueQuote:
    return VenueQuote(name, (), offers, 0) if side is OrderSide.BUY else VenueQuote(name, offers, (), 0)


def _taken(quantity: Decimal, offers: Sequence[Level]) -> tuple[Decimal, Decimal]:
    """How much the levels of a venue fill, and its notional."""
    taken = notional = ZERO
    for price, size in offers:
        part = min(quantity - taken, size)
        taken += part
        notional += part * price
    return taken, notional


# -- what it cost ----------------------------------------------------------------------------------


def shortfall(inputs: Mapping[str, Any], _: Path) -> Mapping[str, object]:
    """`qtinfra.posttrade.shortfall.implementation_shortfall`."""
    found = implementation_shortfall(
        OrderSide(inputs["side"]),
        _decimal(inputs["quantity"]),
        _decimal(inputs["decision_price"]),
        _decimal(inputs["arrival_price"]),
        [(_decimal(filled), _decimal(price)) for filled, price in inputs["fills"]],
        _decimal(inputs.get("end_price", inputs["arrival_price"])),
        _decimal(inputs.get("fees", 0)),
        DelayBasis(inputs.get("delay_basis", DelayBasis.EXECUTED)),
        OpportunityFrom(inputs.get("opportunity_from", OpportunityFrom.DECISION)),
    )
    return {
        "delay": found.delay,
        "trading": found.trading,
        "opportunity": found.opportunity,
        "fees": found.fees,
        "total": found.total,
        "total_pct": found.total_bps / 100,
        "total_bp": found.total_bps,
    }


def tca_ticks(inputs: Mapping[str, Any], data_root: Path) -> Mapping[str, object]:
    """Equal children at the quote, one every so often, against arrival, interval VWAP, mid and later mid."""
    _only(inputs, "suspicious", (False,))
    side, prefix = OrderSide(inputs["side"]), str(data_root / str(inputs["files"]))
    quote_file, trade_file = Path(f"{prefix}_quote.zip"), Path(f"{prefix}_trade.zip")
    day, tape = describe(quote_file).trade_date, QuoteTape(read_quotes(quote_file))
    times = _times(inputs, day)
    prices = [_quoted(tape, str(inputs["price"]), moment) for moment in times]
    fills = [(_decimal(inputs["child_quantity"]), price) for price in prices]
    arrival_at = re.fullmatch(r"mid at (\d\d:\d\d:\d\d)", str(inputs["arrival"]))
    if arrival_at is None:
        raise ValueError(f"arrival: 'mid at HH:MM:SS', not {inputs['arrival']!r}")
    arrival = _mid(tape, _moment(day, arrival_at[1]))
    start, end = (_moment(day, str(text)) for text in inputs["vwap_window"])
    volume, vwap = volume_and_vwap(read_trades(trade_file), (start, end))
    later = [_mid(tape, moment + int(inputs["markout_s"]) * 10**9) for moment in times]
    average = average_price(fills)
    return {
        "arrival_mid": arrival,
        "average_price": average,
        "interval_vwap": vwap,
        "interval_volume": volume,
        "slippage_vs_arrival_bp": slippage_bps(side, average, arrival),
        "slippage_vs_vwap_bp": slippage_bps(side, average, vwap),
        "effective_half_spread_bp": effective_half_spread_bps(
            side, fills, [_mid(tape, moment) for moment in times]
        ),
        "markout_bp": markout_bps(side, fills, later),
    }


def _times(inputs: Mapping[str, Any], day: date) -> list[int]:
    """When children are sent, UTC nanoseconds: from first to last, both included."""
    first, last = _moment(day, str(inputs["first"])), _moment(day, str(inputs["last"]))
    return list(range(first, last + 1, int(inputs["every_s"]) * 10**9))


def _moment(day: date, text: str) -> int:
    """UTC nanoseconds of a time of the day in New York."""
    passed = datetime.strptime(text, "%H:%M:%S") - datetime.strptime("0", "%H")  # noqa: DTZ007 - a duration
    return midnight_ns(day) + passed // timedelta(seconds=1) * 10**9


def _quoted(tape: QuoteTape, rule: str, moment: int) -> Decimal:
    known = re.fullmatch(
        r"national (ask|bid|mid) of the last quote (strictly before|at or before) the time", rule
    )
    if known is None:
        raise ValueError(f"price: national ask, bid or mid of the last quote before the time, not {rule!r}")
    strictly = known[2] == "strictly before"
    if known[1] == "mid":
        return _mid(tape, moment, strictly)
    quote = tape.at(moment, strictly)
    if quote is None:
        raise ValueError(f"no quote before {moment}")
    return quote[known[1] == "ask"]


def _mid(tape: QuoteTape, moment: int, strictly_before: bool = True) -> Decimal:
    mid = tape.mid(moment, strictly_before)
    if mid is None:
        raise ValueError(f"no quote before {moment}")
    return mid


# -- volume ----------------------------------------------------------------------------------------


def volume_kalman(inputs: Mapping[str, Any], data_root: Path) -> Mapping[str, object]:
    """One-step forecasts of log volume after the warm-up, and those of the mean of the last 20 days' logs.

    Parameters are the published ones of the symbol; where there are none the model is fitted on the warm-up
    days.
    """
    folder, symbol, warmup = (
        data_root / str(inputs["files"]),
        str(inputs["symbol"]),
        int(inputs["warmup_days"]),
    )
    (path,) = sorted(folder.glob(f"{symbol}_*.csv"))
    days = [log_volumes(day) for day in read_volume_table(path).days]
    published = json.loads((folder / "expected_fit_and_prediction.json").read_text("utf-8"))
    model = _published(published[symbol]) if symbol in published else fit(days[:warmup]).model
    forecasts = one_step_forecasts(model, days)[warmup:]
    benchmark = [rolling_log_mean(days[:at], PROFILE_DAYS) for at in range(warmup, len(days))]
    mae, rmse = _errors(forecasts, days[warmup:])
    mean_mae, mean_rmse = _errors(benchmark, days[warmup:])
    return {
        "log_mae": mae,
        "log_rmse": rmse,
        "rolling_mean20_log_mae": mean_mae,
        "rolling_mean20_log_rmse": mean_rmse,
    }


def _published(entry: Mapping[str, Any]) -> VolumeModel:
    return VolumeModel(
        phi=tuple(entry["phi"]),
        r=entry["r"],
        a_eta=entry["a_eta"],
        a_mu=entry["a_mu"],
        var_eta=entry["var_eta"],
        var_mu=entry["var_mu"],
        x0=tuple(entry["x0"]),
        v0=tuple(entry["V0"]),
    )


def _errors(forecasts: list[list[Any]], days: list[list[float | None]]) -> tuple[float, float]:
    """Mean absolute and root mean squared error over the bins with volume and a forecast."""
    misses = [
        observed - forecast
        for row, day in zip(forecasts, days, strict=True)
        for forecast, observed in zip(row, day, strict=True)
        if observed is not None and forecast is not None
    ]
    return fsum(map(abs, misses)) / len(misses), sqrt(fsum(miss * miss for miss in misses) / len(misses))


# -- inputs ----------------------------------------------------------------------------------------


def _decimal(value: object) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _lot(inputs: Mapping[str, Any]) -> Decimal:
    return _decimal(inputs.get("lot", 1))


def _only(inputs: Mapping[str, Any], key: str, known: tuple[object, ...]) -> None:
    if key in inputs and inputs[key] not in known:
        raise ValueError(f"{key}: one of {known}, not {inputs[key]!r}")


KINDS: dict[str, AlgoFunction] = {
    function.__name__: function
    for function in (
        almgren_chriss,
        almgren_chriss_lots,
        almgren_chriss_resolve,
        athl_impact,
        cont_kukanov,
        lot_rounding,
        obizhaeva_wang,
        pov,
        shortfall,
        sweep,
        tca_ticks,
        volume_kalman,
        vwap_schedule,
    )
}
