"""Optimal trading against a limit order book that refills.

Source: A. Obizhaeva, J. Wang, "Optimal trading strategy and supply/demand dynamics", Journal of Financial
Markets 16 (2013), 1-32, proposition 2 and section 6.
"""

from __future__ import annotations

from math import expm1, isfinite

import msgspec


class RefillingBook(msgspec.Struct, frozen=True):
    """A block-shaped book.

    Attributes:
        depth: q, shares per currency unit of price.
        permanent: lambda, currency per share per share; below 1 / depth.
        resilience: rho, how fast the book refills, per unit of time.

    Raises:
        ValueError: a value is out of its range.
    """

    depth: float
    permanent: float
    resilience: float

    def __post_init__(self) -> None:
        if not isfinite(self.depth) or self.depth <= 0:
            raise ValueError(f"depth: above 0, not {self.depth}")
        if not 0 <= self.permanent <= 1 / self.depth:
            raise ValueError(f"permanent: from 0 to 1 / depth = {1 / self.depth:g}, not {self.permanent}")
        if not isfinite(self.resilience) or self.resilience < 0:
            raise ValueError(f"resilience: at least 0, not {self.resilience}")

    @property
    def kappa(self) -> float:
        """Transient impact, currency per share per share: `1/q - lambda`."""
        return 1 / self.depth - self.permanent


class BlockPlan(msgspec.Struct, frozen=True):
    """A block at the start, a constant rate, a block at the end; shares, signed as the order.

    Attributes:
        transient_cost: what consuming the book faster than it refills costs, currency.
        permanent_cost: `lambda X^2 / 2`, the same for every plan.
    """

    first_block: float
    continuous: float
    last_block: float
    transient_cost: float
    permanent_cost: float


def optimal_plan(shares: float, horizon: float, book: RefillingBook) -> BlockPlan:
    """The plan of least expected cost: `x_0 = x_T = X / (rho T + 2)`, between them a constant rate.

    Args:
        shares: X; negative for a sell.
        horizon: T, in the book's unit of time, at least 0.
    """
    pull = book.resilience * _checked(horizon)
    block = shares / (pull + 2)
    transient = book.kappa * shares * shares / (pull + 2)
    return BlockPlan(block, pull * block, block, transient, book.permanent * shares * shares / 2)


def constant_rate_cost(shares: float, horizon: float, book: RefillingBook) -> float:
    """Transient cost of trading at a constant rate, currency.

    `kappa X^2 (rho T - 1 + exp(-rho T)) / (rho T)^2`: the double integral of the rate against the decaying
    impact.
    """
    pull = book.resilience * _checked(horizon)
    # Below 1e-4 the difference has lost its digits; the series has more than enough.
    share = (pull + expm1(-pull)) / pull**2 if pull > 1e-4 else 0.5 - pull / 6 + pull * pull / 24
    return book.kappa * shares * shares * share


def _checked(horizon: float) -> float:
    if not isfinite(horizon) or horizon < 0:
        raise ValueError(f"horizon: at least 0, not {horizon}")
    return horizon
