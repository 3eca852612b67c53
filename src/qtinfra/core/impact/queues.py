"""How much to take and how much to post where: optimal placement after Cont and Kukanov.

An order of S shares takes M at the market and posts L_k on venue k behind a queue Q_k, of which a random
outflow xi_k leaves before the deadline. Filled is `A = M + sum B_k` with `B_k = min(max(xi_k - Q_k, 0),
L_k)`, and the expected cost

    E[(h + f) M - sum (h + r_k) B_k + theta (M + sum L_k + (S - A)+) + lambda_u (S - A)+ + lambda_o (A - S)+]

is minimised over 0 <= M <= S, 0 <= L_k <= S - M, M + sum L_k >= S. The outflows of different venues are
taken as independent.

Source: R. Cont, A. Kukanov, "Optimal order placement in limit order markets", Quantitative Finance 17 (2017),
21-39: eq. 3 (cost), proposition 1 (the region), proposition 2 (one venue), proposition 3 (several).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise, product
from math import fsum, isfinite

import msgspec

from qtinfra.core.impact.outflow import Outflow

#: More venues than this need more time than a placement is worth.
MAX_VENUES = 8
#: Up to here the probabilities are integrals, to about 1e-9; above, averages over as many scenarios.
EXACT_VENUES = 3
SCENARIOS = 512
MAX_SWEEPS = 60

#: Nodes and weights of the Gauss-Legendre rule with 12 points on [0, 1], one half (Abramowitz, Stegun, table
#: 25.4).
_HALF_RULE = (
    (0.1252334085114689, 0.2491470458134028),
    (0.3678314989981802, 0.2334925365383548),
    (0.5873179542866175, 0.2031674267230659),
    (0.7699026741943047, 0.1600783285433462),
    (0.9041172563704749, 0.1069393259953184),
    (0.9815606342467192, 0.0471753363865118),
)
_RULE = tuple(((1 + sign * node) / 2, weight / 2) for node, weight in _HALF_RULE for sign in (-1, 1))


class Queue(msgspec.Struct, frozen=True):
    """A venue to post on: shares ahead of the order, rebate for a fill (currency per share), outflow."""

    ahead: float
    rebate: float
    outflow: Outflow

    def __post_init__(self) -> None:
        if not isfinite(self.ahead) or self.ahead < 0:
            raise ValueError(f"ahead: at least 0, not {self.ahead}")

    def filled_below(self, shares: float, posted: float) -> float:
        """Probability that fewer than so many of the posted shares are filled."""
        if shares <= 0:
            return 0.0
        return 1.0 if shares > posted else self.outflow.cdf(self.ahead + shares)

    def fills_all(self, posted: float) -> float:
        """Probability that the outflow reaches the last posted share."""
        return 1 - self.outflow.cdf(self.ahead + posted)


class PlacementTerms(msgspec.Struct, frozen=True):
    """The order and its penalties, currency per share.

    Attributes:
        quantity: S, shares, above 0.
        half_spread: h.
        market_fee: f, for taking.
        theta: impact per share sent.
        lambda_under, lambda_over: penalty per share short of and beyond the quantity.
    """

    quantity: float
    half_spread: float
    market_fee: float
    theta: float
    lambda_under: float
    lambda_over: float

    def __post_init__(self) -> None:
        if not isfinite(self.quantity) or self.quantity <= 0:
            raise ValueError(f"quantity: above 0, not {self.quantity}")
        for name in ("half_spread", "theta", "lambda_under", "lambda_over"):
            value = getattr(self, name)
            if not isfinite(value) or value < 0:
                raise ValueError(f"{name}: at least 0, not {value}")


class Placement(msgspec.Struct, frozen=True):
    """Shares to take and to post, the latter in the order of the venues."""

    market: float
    limits: tuple[float, ...]


def place(terms: PlacementTerms, queues: Sequence[Queue]) -> Placement:
    """The placement of least expected cost.

    Raises:
        ValueError: more venues than `MAX_VENUES`.
    """
    if len(queues) > MAX_VENUES:
        raise ValueError(f"venues: at most {MAX_VENUES}, not {len(queues)}")
    if not queues:
        return Placement(terms.quantity, ())
    if len(queues) == 1:
        return place_on_one(terms, queues[0])
    return _Search(terms, tuple(queues)).run()


def thresholds(terms: PlacementTerms, queue: Queue) -> tuple[float, float]:
    """The penalties for falling short up to which all is posted, and from which all is taken (one venue).

    `(2h + f + r) / F(Q + S) - (h + r + theta)` and `(2h + f + r) / F(Q) - (h + r + theta)`.
    """
    gain = 2 * terms.half_spread + terms.market_fee + queue.rebate
    offset = terms.half_spread + queue.rebate + terms.theta
    posted = queue.outflow.cdf(queue.ahead + terms.quantity)
    taken = queue.outflow.cdf(queue.ahead)
    return tuple(gain / chance - offset if chance else float("inf") for chance in (posted, taken))  # type: ignore[return-value]


def place_on_one(terms: PlacementTerms, queue: Queue) -> Placement:
    """One venue, in closed form: between the thresholds part is posted.

    `L = F^-1((2h + f + r) / (lambda_u + h + r + theta)) - Q`, `M = S - L`.
    """
    low, high = thresholds(terms, queue)
    if terms.lambda_under <= low:
        return Placement(0.0, (terms.quantity,))
    if terms.lambda_under >= high:
        return Placement(terms.quantity, (0.0,))
    gain = 2 * terms.half_spread + terms.market_fee + queue.rebate
    weight = terms.lambda_under + terms.half_spread + queue.rebate + terms.theta
    posted = min(max(queue.outflow.quantile(gain / weight) - queue.ahead, 0.0), terms.quantity)
    return Placement(terms.quantity - posted, (posted,))


def chance_below(queues: Sequence[Queue], posted: Sequence[float], shares: float) -> float:
    """Probability that the venues together fill fewer than so many shares.

    The first venue fills nothing, all, or something between; for the last case the integral over its
    outflow's probability is split where the distribution of the others has a kink.
    """
    if shares <= 0:
        return 0.0
    if shares > fsum(posted):
        return 1.0
    queue, limit = queues[0], posted[0]
    if len(queues) == 1:
        return queue.filled_below(shares, limit)
    rest, rest_posted = queues[1:], posted[1:]
    none, short = queue.outflow.cdf(queue.ahead), 1 - queue.fills_all(limit)
    total = none * chance_below(rest, rest_posted, shares)
    if short < 1:
        total += (1 - short) * chance_below(rest, rest_posted, shares - limit)
    kinks = (shares - fsum(part) for size in range(len(rest) + 1) for part in combinations(rest_posted, size))
    cuts = sorted(queue.outflow.cdf(queue.ahead + kink) for kink in kinks if 0 < kink < limit)
    edges = [none, *cuts, short]
    for start, end in pairwise(edges):
        if end - start <= 1e-15:
            continue
        for node, weight in _RULE:
            filled = queue.outflow.quantile(start + (end - start) * node) - queue.ahead
            total += (end - start) * weight * chance_below(rest, rest_posted, shares - filled)
    return total


class _Search:
    """Line searches along the coordinates, their differences and, for few venues, all other sign patterns.

    The cost has kinks where a subset of the orders just completes the quantity; along a kink it is smooth,
    and the directions contain those that stay on one.
    """

    def __init__(self, terms: PlacementTerms, queues: tuple[Queue, ...]) -> None:
        self.terms, self.queues = terms, queues
        self.scenarios = _scenarios(queues) if len(queues) > EXACT_VENUES else ()
        self.directions = _directions(len(queues) + 1)

    def run(self) -> Placement:
        size, count = self.terms.quantity, len(self.queues)
        settled = (1e-3 if self.scenarios else 1e-7) * size
        point = [size / (count + 1)] * (count + 1)
        for _ in range(MAX_SWEEPS):
            before = point
            for direction in self.directions:
                point = self._along(point, direction)
            moved = [new - old for new, old in zip(point, before, strict=True)]
            if max(map(abs, moved)) < settled:
                break
            point = self._along(point, moved)
        return Placement(point[0], tuple(point[1:]))

    def _along(self, point: list[float], direction: Sequence[float]) -> list[float]:
        """The point of least cost on the line, within the region: where the slope changes its sign."""
        low, high = self._reach(point, direction)
        if high - low < 1e-12 * self.terms.quantity:
            return point
        for _ in range(36):
            middle = (low + high) / 2
            if self._slope(_moved(point, direction, middle), direction) < 0:
                low = middle
            else:
                high = middle
        return _moved(point, direction, (low + high) / 2)

    def _reach(self, point: list[float], direction: Sequence[float]) -> tuple[float, float]:
        """How far the line stays within 0 <= M, 0 <= L_k, M + L_k <= S and M + sum L_k >= S."""
        size, market, step = self.terms.quantity, point[0], direction[0]
        bounds = list(zip(point, direction, strict=True))
        bounds += [
            (size - market - limit, -step - change)
            for limit, change in zip(point[1:], direction[1:], strict=True)
        ]
        bounds.append((fsum(point) - size, fsum(direction)))
        low, high = float("-inf"), float("inf")
        for room, change in bounds:
            if change > 1e-12:
                low = max(low, -max(room, 0.0) / change)
            elif change < -1e-12:
                high = min(high, max(room, 0.0) / -change)
        return (low, high) if isfinite(low) and isfinite(high) else (0.0, 0.0)

    def _slope(self, point: Sequence[float], direction: Sequence[float]) -> float:
        """Directional derivative of the expected cost."""
        terms, limits = self.terms, point[1:]
        short, over = self._chances(range(len(limits)), limits, point[0])
        under = terms.lambda_under + terms.theta
        slope = direction[0] * (
            terms.half_spread + terms.market_fee + terms.theta - under * short + terms.lambda_over * over
        )
        for place_, (queue, limit, change) in enumerate(zip(self.queues, limits, direction[1:], strict=True)):
            if not change:
                continue
            others = [index for index in range(len(limits)) if index != place_]
            short, over = self._chances(others, limits, point[0] + limit)
            gain = terms.half_spread + queue.rebate + under * short - terms.lambda_over * over
            slope += change * (terms.theta - queue.fills_all(limit) * gain)
        return slope

    def _chances(self, venues: Sequence[int], limits: Sequence[float], certain: float) -> tuple[float, float]:
        """Probabilities that the certain shares and some venues' fills stay below, and pass, the quantity."""
        need, margin = self.terms.quantity - certain, 1e-9 * self.terms.quantity
        if not self.scenarios:
            queues, posted = [self.queues[index] for index in venues], [limits[index] for index in venues]
            return chance_below(queues, posted, need - margin), 1 - chance_below(
                queues, posted, need + margin
            )
        short = over = 0
        for scenario in self.scenarios:
            filled = 0.0
            for index in venues:
                filled += min(scenario[index], limits[index])
            short += filled < need - margin
            over += filled > need + margin
        return short / len(self.scenarios), over / len(self.scenarios)


def _moved(point: Sequence[float], direction: Sequence[float], step: float) -> list[float]:
    return [max(value + step * change, 0.0) for value, change in zip(point, direction, strict=True)]


def _directions(count: int) -> list[tuple[int, ...]]:
    """One of each pair of opposite sign patterns: all for three coordinates, else those of one or two."""
    patterns = [
        pattern
        for pattern in product((0, 1, -1), repeat=count)
        if any(pattern) and next(filter(None, pattern)) > 0
    ]
    if count > EXACT_VENUES:
        patterns = [
            pattern for pattern in patterns if (sum(map(abs, pattern)), sum(pattern)) in ((1, 1), (2, 0))
        ]
    return sorted(patterns, key=lambda pattern: sum(map(abs, pattern)))


def _scenarios(queues: Sequence[Queue]) -> tuple[tuple[float, ...], ...]:
    """What leaves each queue beyond the shares ahead, in evenly spread scenarios: a rank-1 lattice.

    Source: the generators are powers of the root of x^(d+1) = x + 1 (the R_d sequence of M. Roberts, 2018).
    """
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (len(queues) + 1))
    steps = [root ** -(index + 1) for index in range(len(queues))]
    return tuple(
        tuple(
            max(queue.outflow.quantile((0.5 + number * step) % 1) - queue.ahead, 0.0)
            for queue, step in zip(queues, steps, strict=True)
        )
        for number in range(1, SCENARIOS + 1)
    )
