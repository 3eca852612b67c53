"""How much leaves a queue before the deadline: executions and cancellations ahead of a limit order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import erf, exp, expm1, isfinite, log, log1p, sqrt
from statistics import NormalDist
from typing import Protocol

import msgspec


class Outflow(Protocol):
    """Distribution of a queue outflow in shares."""

    def cdf(self, shares: float) -> float:
        """Probability that at most so much leaves."""
        ...

    def quantile(self, probability: float) -> float:
        """The outflow that is not passed with this probability; infinite at 1 without a bound."""
        ...


class Exponential(msgspec.Struct, frozen=True):
    """`F(x) = 1 - exp(-x / mean)`."""

    mean: float

    def __post_init__(self) -> None:
        _positive("mean", self.mean)

    def cdf(self, shares: float) -> float:
        return -expm1(-shares / self.mean) if shares > 0 else 0.0

    def quantile(self, probability: float) -> float:
        return -self.mean * log1p(-probability) if probability < 1 else float("inf")


class Pareto(msgspec.Struct, frozen=True):
    """`F(x) = 1 - (scale / x)^shape` above the scale: a heavy tail."""

    scale: float
    shape: float

    def __post_init__(self) -> None:
        _positive("scale", self.scale)
        _positive("shape", self.shape)

    def cdf(self, shares: float) -> float:
        return -expm1(self.shape * log(self.scale / shares)) if shares > self.scale else 0.0

    def quantile(self, probability: float) -> float:
        if probability >= 1:
            return float("inf")
        return self.scale * exp(-log1p(-probability) / self.shape)


class Normal(msgspec.Struct, frozen=True):
    """The normal distribution; what it gives below 0 counts as no outflow."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        _positive("std", self.std)

    def cdf(self, shares: float) -> float:
        return (1 + erf((shares - self.mean) / (self.std * sqrt(2)))) / 2

    def quantile(self, probability: float) -> float:
        if not 0 < probability < 1:
            return float("inf") if probability >= 1 else float("-inf")
        return NormalDist(self.mean, self.std).inv_cdf(probability)


class Uniform(msgspec.Struct, frozen=True):
    """Every outflow from `low` to `high` is as likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"high: above low = {self.low}, not {self.high}")

    def cdf(self, shares: float) -> float:
        return min(max((shares - self.low) / (self.high - self.low), 0.0), 1.0)

    def quantile(self, probability: float) -> float:
        return self.low + (self.high - self.low) * min(max(probability, 0.0), 1.0)


class Empirical:
    """Outflows that were observed, joined by straight lines between their order statistics."""

    def __init__(self, observed: Sequence[float]) -> None:
        if len(observed) < 2 or min(observed) == max(observed):
            raise ValueError("observed: two different outflows at least")
        self._sorted = sorted(map(float, observed))

    def cdf(self, shares: float) -> float:
        known, last = self._sorted, len(self._sorted) - 1
        if shares <= known[0]:
            return 0.0
        if shares >= known[-1]:
            return 1.0
        above = bisect_right(known, shares)
        below = above - 1
        return (below + (shares - known[below]) / (known[above] - known[below])) / last

    def quantile(self, probability: float) -> float:
        known, last = self._sorted, len(self._sorted) - 1
        place = min(max(probability, 0.0), 1.0) * last
        below = min(int(place), last - 1)
        return known[below] + (place - below) * (known[below + 1] - known[below])


def _positive(name: str, value: float) -> None:
    if not isfinite(value) or value <= 0:
        raise ValueError(f"{name}: above 0, not {value}")
