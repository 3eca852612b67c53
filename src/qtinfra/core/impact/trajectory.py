"""Optimal liquidation after Almgren and Chriss: trajectory, expected cost, variance, efficient frontier.

Source: R. Almgren, N. Chriss, "Optimal execution of portfolio transactions", Journal of Risk 3 (2000), 5-39;
for impact by a power of the rate R. Almgren, "Optimal execution with nonlinear impact functions and
trading-enhanced risk", Applied Mathematical Finance 10 (2003), 1-18.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import asinh, exp, expm1, fsum, isfinite, sqrt

import msgspec

#: Steps of a bisection on floats: more than the 53 bits of a mantissa and the range of exponents asked for.
_BISECTIONS = 200


class Liquidation(msgspec.Struct, frozen=True):
    """What is to be traded and what it does to the price.

    Attributes:
        shares: to sell when positive, to buy when negative: the position that must reach 0.
        horizon: time for it, days.
        periods: number of equal intervals, at least 1.
        sigma: volatility, currency per share per square root of a day.
        epsilon: fixed cost per share (half the spread and fees), currency per share.
        gamma: permanent impact, currency per share per share.
        eta: temporary impact, currency per share per (share per day) to the power of `beta`.
        risk_aversion: weight of the variance, per currency unit; 0 is risk neutral.
        beta: power of the trading rate in the temporary impact; 1 is the model of 2000.

    Raises:
        ValueError: a value is not finite, has the wrong sign, or (with `beta` 1) the temporary impact is not
            above `gamma * tau / 2`, so that the cost has no minimum.
    """

    shares: float
    horizon: float
    periods: int
    sigma: float
    epsilon: float
    gamma: float
    eta: float
    risk_aversion: float
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.periods < 1:
            raise ValueError(f"periods: at least 1, not {self.periods}")
        for name in ("shares", "horizon", "sigma", "epsilon", "gamma", "eta", "risk_aversion", "beta"):
            value = getattr(self, name)
            if not isfinite(value) or (value < 0 and name != "shares"):
                raise ValueError(f"{name}: a finite number of at least 0, not {value}")
        for name in ("horizon", "eta", "beta"):
            if not getattr(self, name):
                raise ValueError(f"{name}: above 0, not 0")
        if self.beta == 1 and self.eta_tilde <= 0:
            raise ValueError(f"eta: above gamma * tau / 2 = {self.gamma * self.tau / 2:g}, not {self.eta:g}")

    @property
    def tau(self) -> float:
        """Length of an interval, days."""
        return self.horizon / self.periods

    @property
    def eta_tilde(self) -> float:
        """Temporary impact less what the permanent impact gives back within an interval (eq. 9)."""
        return self.eta - self.gamma * self.tau / 2


class Trajectory(msgspec.Struct, frozen=True):
    """A solved liquidation.

    Attributes:
        holdings: shares left at the times 0, tau, ... horizon: `periods` + 1 values, the last 0.
        expected_cost: expected shortfall, currency.
        variance: of the shortfall, currency squared.
        kappa: how fast the position decays, per day; None where impact is not linear in the rate.
        kappa_tilde: its limit for small intervals, per day; None as above.
    """

    holdings: tuple[float, ...]
    expected_cost: float
    variance: float
    kappa: float | None = None
    kappa_tilde: float | None = None

    @property
    def trades(self) -> tuple[float, ...]:
        """Shares traded in each interval, signed as the position."""
        return tuple(before - after for before, after in pairwise(self.holdings))

    @property
    def std(self) -> float:
        """Timing risk: standard deviation of the shortfall, currency."""
        return sqrt(self.variance)


def solve(problem: Liquidation) -> Trajectory:
    """The trajectory that minimises expected cost + risk aversion x variance.

    With impact linear in the rate, eqs. 16 to 18: `x_j = X sinh(kappa (T - t_j)) / sinh(kappa T)`, a
    straight line for a risk aversion of 0. With another power the first-order conditions are solved by
    shooting.
    """
    if problem.beta != 1:
        return _solved(problem, _by_shooting(problem), None, None)
    tau = problem.tau
    kappa_tilde = sqrt(problem.risk_aversion / problem.eta_tilde) * problem.sigma
    kappa = 2 * asinh(kappa_tilde * tau / 2) / tau  # cosh(kappa tau) = 1 + (kappa_tilde tau)^2 / 2
    inner = tuple(
        decayed(problem.shares, kappa * tau, problem.periods - step, problem.periods)
        for step in range(1, problem.periods)
    )
    return _solved(problem, (problem.shares, *inner, 0.0), kappa, kappa_tilde)


def resolve(problem: Liquidation, after_periods: int, holding: float | None = None) -> Trajectory:
    """Solve again for what is left after some intervals.

    From the planned holding the answer is the tail of the first plan (the solution is consistent in time).

    Args:
        after_periods: intervals that have passed, below `periods`.
        holding: shares left by then; those of the plan by default.

    Raises:
        ValueError: no interval is left.
    """
    if not 0 <= after_periods < problem.periods:
        raise ValueError(f"after_periods: from 0 to {problem.periods - 1}, not {after_periods}")
    left = solve(problem).holdings[after_periods] if holding is None else holding
    periods = problem.periods - after_periods
    fresh = msgspec.structs.replace(problem, shares=left, horizon=problem.tau * periods, periods=periods)
    return solve(fresh)


def frontier(problem: Liquidation, aversions: Sequence[float]) -> tuple[Trajectory, ...]:
    """The efficient frontier: the solution for each risk aversion; cost rises and variance falls with it."""
    return tuple(solve(msgspec.structs.replace(problem, risk_aversion=aversion)) for aversion in aversions)


def cost_and_variance(problem: Liquidation, holdings: Sequence[float]) -> tuple[float, float]:
    """Expected cost (currency) and variance of any trajectory, eqs. 6, 7 and 10.

    Args:
        holdings: `periods` + 1 values in shares.

    Raises:
        ValueError: another number of values.
    """
    if len(holdings) != problem.periods + 1:
        raise ValueError(f"holdings: {problem.periods + 1} values, not {len(holdings)}")
    tau, beta = problem.tau, problem.beta
    trades = [before - after for before, after in pairwise(holdings)]
    permanent = problem.gamma * holdings[0] ** 2 / 2
    if beta == 1:
        temporary = problem.eta_tilde / tau * fsum(trade * trade for trade in trades)
    else:
        temporary = problem.eta * tau**-beta * fsum(abs(trade) ** (1 + beta) for trade in trades)
    fixed = problem.epsilon * fsum(map(abs, trades))
    variance = problem.sigma**2 * tau * fsum(holding * holding for holding in holdings[1:])
    return permanent + fixed + temporary, variance


def decayed(shares: float, step: float, left: int, whole: int) -> float:
    """`shares sinh(step left) / sinh(step whole)`, without overflow; a straight line for a step of 0."""
    if step * whole < 1e-9:
        return shares * left / whole
    return shares * exp(step * (left - whole)) * expm1(-2 * step * left) / expm1(-2 * step * whole)


def _solved(
    problem: Liquidation, holdings: tuple[float, ...], kappa: float | None, kappa_tilde: float | None
) -> Trajectory:
    cost, variance = cost_and_variance(problem, holdings)
    return Trajectory(holdings, cost, variance, kappa, kappa_tilde)


def _by_shooting(problem: Liquidation) -> tuple[float, ...]:
    """Holdings under power-law impact: the last trade is sought whose plan starts at `shares`.

    Plans are run backwards from it. With `g(n) = (1 + beta) eta tau^-beta n^beta` the conditions are
    `g(n_k) = g(n_k+1) + 2 lambda sigma^2 tau x_k`: each earlier trade, hence the start, grows with the last
    one.
    """
    size, beta, periods = abs(problem.shares), problem.beta, problem.periods
    slope = (1 + beta) * problem.eta * problem.tau**-beta
    pull = 2 * problem.risk_aversion * problem.sigma**2 * problem.tau / slope

    def backwards(last: float) -> list[float]:
        held, trade = [0.0, last], last
        while len(held) <= periods:
            trade = (trade**beta + pull * held[-1]) ** (1 / beta)
            held.append(held[-1] + trade)
            if held[-1] > size:
                break
        return held

    low, high = 0.0, size
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        held = backwards(middle)
        low, high = (low, middle) if held[-1] > size else (middle, high)
    held = backwards(low)
    scale = problem.shares / held[-1] if held[-1] else 0.0
    return (problem.shares, *(scale * value for value in held[-2:0:-1]), 0.0)
