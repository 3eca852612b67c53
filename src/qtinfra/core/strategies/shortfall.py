"""Implementation shortfall: impact against timing risk, by Almgren and Chriss, in floats; lots leave it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.strategies.inputs import PlanInputs, edges, in_lots, split_auctions, target_in_time
from qtinfra.core.strategies.schedule import ScheduleError

#: Risk aversion where the terms name none, per currency unit of variance.
RISK_AVERSION = Decimal("0.000001")
#: Length of the session where no calendar says, nanoseconds: six and a half hours.
DAY_NS = 23_400_000_000_000
#: Points at which the time to trade is integrated, and halvings when its constant is sought.
QUADRATURE, BISECTIONS = 256, 80


class Trajectory(msgspec.Struct, frozen=True, gc=False):
    """An optimal liquidation: holdings at the periods' ends (the first is the start), cost and its deviation.

    `kappa` is the urgency per day, `kappa_tilde` the one that its discrete form starts from.
    """

    holdings: tuple[float, ...]
    expected_cost: float
    std: float
    kappa: float
    kappa_tilde: float


def almgren_chriss(
    shares: float,
    horizon_days: float,
    periods: int,
    *,
    sigma: float,
    epsilon: float,
    gamma: float,
    eta: float,
    risk_aversion: float,
) -> Trajectory:
    """The trajectory that minimises expected cost + risk_aversion x variance under linear impact.

        kappa_tilde^2 = lambda sigma^2 / eta_tilde,  eta_tilde = eta - gamma tau / 2
        2 (cosh(kappa tau) - 1) / tau^2 = kappa_tilde^2
        x_j = X sinh(kappa (T - t_j)) / sinh(kappa T)
        E = gamma X^2 / 2 + epsilon sum |n_k| + eta_tilde / tau sum n_k^2,  V = sigma^2 tau sum x_k^2

    Args:
        shares: X, units to trade, >= 0. horizon_days: T. periods: N equal ones of tau = T / N.
        sigma: price units per square root of a day.
        epsilon: fixed cost in price units per unit (half the spread and fees).
        gamma: permanent impact, price units per unit.
        eta: temporary impact, price units per (unit per day).
        risk_aversion: lambda, per currency unit, >= 0; 0 gives equal slices.

    Raises:
        ScheduleError: periods or horizon are not positive, or the temporary impact is not large enough.

    Source:
        Almgren and Chriss, Optimal execution of portfolio transactions (2000), equations 16 to 20.
    """
    if periods < 1 or not horizon_days > 0:
        raise ScheduleError("horizon", "it needs at least one period of a positive length")
    tau = horizon_days / periods
    eta_tilde = eta - gamma * tau / 2
    if not eta_tilde > 0:
        raise ScheduleError("eta", "temporary impact must exceed gamma x tau / 2")
    tilde_sq = risk_aversion * sigma * sigma / eta_tilde
    kappa = math.acosh(1 + tilde_sq * tau * tau / 2) / tau
    left = [_remaining(kappa, horizon_days, period * tau) for period in range(periods)]
    holdings = (*(shares * part for part in left), 0.0)
    trades = [before - after for before, after in pairwise(holdings)]
    cost = gamma * shares * shares / 2 + epsilon * sum(map(abs, trades))
    cost += eta_tilde / tau * sum(trade * trade for trade in trades)
    variance = sigma * sigma * tau * sum(held * held for held in holdings[1:])
    return Trajectory(holdings, cost, math.sqrt(variance), kappa, math.sqrt(tilde_sq))


def _remaining(kappa: float, horizon: float, moment: float) -> float:
    """sinh(kappa (T - t)) / sinh(kappa T), without overflow; its limit 1 - t / T at kappa = 0."""
    if kappa * horizon < 1e-9:
        return 1 - moment / horizon
    rest = horizon - moment
    return math.exp(-kappa * moment) * math.expm1(-2 * kappa * rest) / math.expm1(-2 * kappa * horizon)


def power_law_holdings(
    shares: float,
    horizon_days: float,
    periods: int,
    *,
    sigma: float,
    eta: float,
    exponent: float,
    risk_aversion: float,
) -> tuple[float, ...]:
    """Holdings that minimise impact + risk when the temporary impact is eta v^k per unit at rate v.

    The first integral of the optimal path is k eta v^(k+1) = lambda sigma^2 x^2 + C. C >= 0 is found by
    bisection so that the position is gone at T; where the path ends earlier by itself, C is 0.

    Args:
        shares, horizon_days, periods, sigma, risk_aversion: as in `almgren_chriss`.
        eta: price units per (unit per day)^exponent. exponent: k > 0; 1 is linear.

    Source:
        Almgren, Optimal execution with nonlinear impact functions and trading-enhanced risk (2003).
    """
    if not exponent > 0 or not eta > 0:
        raise ScheduleError("impact_exponent", "exponent and impact must be above 0")
    if not shares > 0 or not risk_aversion * sigma > 0:
        return tuple(shares * (periods - period) / periods for period in range(periods + 1))
    risk = risk_aversion * sigma * sigma
    steps = [shares * (1 - (place / QUADRATURE) ** 2) for place in range(QUADRATURE + 1)]

    def times(constant: float) -> list[float]:
        reached = [0.0]
        for high, low in pairwise(steps):
            held = (high + low) / 2
            rate = ((risk * held * held + constant) / (exponent * eta)) ** (1 / (exponent + 1))
            reached.append(reached[-1] + (high - low) / rate)
        return reached

    low, high = 0.0, exponent * eta * (shares / horizon_days) ** (exponent + 1)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if times(middle)[-1] > horizon_days else (low, middle)
    return _at_times(times(high), steps, [horizon_days * period / periods for period in range(periods + 1)])


def _at_times(reached: list[float], held: list[float], moments: list[float]) -> tuple[float, ...]:
    """The path read at the moments, linear between its points; nothing is held after its last one."""
    found, place = [], 0
    for moment in moments[:-1]:
        while place < len(reached) - 2 and reached[place + 1] <= moment:
            place += 1
        length = reached[place + 1] - reached[place]
        part = min(1.0, (moment - reached[place]) / length) if length > 0 else 1.0
        found.append(held[place] + part * (held[place + 1] - held[place]))
    return (*found, 0.0)


class Shortfall:
    """Implementation shortfall (arrival price): trades faster the more volatile and the more averse to risk.

    The impact is scaled to the symbol as Almgren and Chriss do (section 3.4): trading one percent of the
    daily volume moves the price by one spread for the moment, ten percent move it for good.
    """

    name = "IS"
    follows_market = False
    resolves = True

    def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
        """See `Strategy.plan`; it needs daily volume, volatility and a price.

        A plan made in the middle, for what is left, is the tail of the first one while nothing has changed.
        """
        ends = edges(terms, inputs)
        split = split_auctions(terms, inputs)
        holdings = self._holdings(terms, inputs, ends, float(split[1]))
        weights = trades(holdings)
        if not sum(weights) > 0:
            weights = [1.0] * len(weights)
        basis = f"volatility {inputs.daily_volatility}, daily volume {inputs.daily_volume}"
        return in_lots(terms, inputs, ends, weights, basis, split)

    def _holdings(
        self, terms: AlgoTerms, inputs: PlanInputs, ends: tuple[int, ...], shares: float
    ) -> Sequence[float]:
        volume, sigma, spread = market_scale(inputs)
        aversion = float(terms.risk_aversion if terms.risk_aversion is not None else RISK_AVERSION)
        day_ns = inputs.close_ns - inputs.open_ns if inputs.close_ns > inputs.open_ns else DAY_NS
        horizon, periods = (ends[-1] - ends[0]) / day_ns, len(ends) - 1
        eta, exponent = spread / (0.01 * volume), float(terms.impact_exponent or 1)
        if exponent != 1:
            scaled = spread / (0.01 * volume) ** exponent
            return power_law_holdings(
                shares, horizon, periods, sigma=sigma, eta=scaled, exponent=exponent, risk_aversion=aversion
            )
        path = almgren_chriss(
            shares,
            horizon,
            periods,
            sigma=sigma,
            epsilon=spread / 2,
            gamma=spread / (0.1 * volume),
            eta=eta,
            risk_aversion=aversion,
        )
        return path.holdings

    def target(self, schedule: Schedule, now_ns: int, others: Decimal) -> Decimal:
        """See `Strategy.target`."""
        del others
        return target_in_time(schedule, now_ns)


def trades(holdings: Sequence[float]) -> list[float]:
    """What is traded in each period; a rounding error below 0 counts as 0."""
    return [max(0.0, before - after) for before, after in pairwise(holdings)]


def market_scale(inputs: PlanInputs) -> tuple[float, float, float]:
    """(daily volume in units, volatility in price units per square root of a day, spread in price units).

    Raises:
        ScheduleError: volume, volatility or price is not known or not above 0.
    """
    facts = (
        ("daily_volume", inputs.daily_volume),
        ("daily_volatility", inputs.daily_volatility),
        ("price", inputs.price),
    )
    known = []
    for field, value in facts:
        if value is None or not value > 0:
            raise ScheduleError(field, "IS needs it above 0: SetMarketProfile brings it")
        known.append(float(value))
    volume, volatility, price = known
    spread = float(inputs.spread) if inputs.spread else price / 10_000
    return volume, volatility * price, spread
