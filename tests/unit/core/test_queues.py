"""Optimal placement: the closed form, the search against it and against its own neighbours."""

from __future__ import annotations

from itertools import product
from math import fsum

import msgspec
import pytest

from qtinfra.core.impact.outflow import Empirical, Exponential, Normal, Outflow, Pareto, Uniform
from qtinfra.core.impact.queues import (
    MAX_VENUES,
    Placement,
    PlacementTerms,
    Queue,
    chance_below,
    place,
    place_on_one,
    thresholds,
)

pytestmark = pytest.mark.unit

TERMS = PlacementTerms(1000, 0.02, 0.003, 0.0005, 0.05, 0.05)
ONE = Queue(2000, 0.002, Exponential(2500))
#: A queue that fills nothing: with it, the search for several venues must find the answer for one.
HOPELESS = Queue(1e9, 0.002, Exponential(1))


def expected_cost(terms: PlacementTerms, queues: list[Queue], placement: Placement) -> float:
    """The cost by brute force: the mean over a grid of the outflows' probabilities."""
    grid = 100
    outflows = [[queue.outflow.quantile((n + 0.5) / grid) for n in range(grid)] for queue in queues]
    total = []
    for outcome in product(*outflows):
        fills = [
            min(max(outflow - queue.ahead, 0), limit)
            for outflow, queue, limit in zip(outcome, queues, placement.limits, strict=True)
        ]
        filled = placement.market + fsum(fills)
        short, over = max(terms.quantity - filled, 0), max(filled - terms.quantity, 0)
        rebates = fsum((terms.half_spread + q.rebate) * f for q, f in zip(queues, fills, strict=True))
        total.append(
            (terms.half_spread + terms.market_fee) * placement.market
            - rebates
            + terms.theta * (placement.market + fsum(placement.limits) + short)
            + terms.lambda_under * short
            + terms.lambda_over * over
        )
    return fsum(total) / len(total)


def test_between_the_thresholds_part_is_taken_and_part_is_posted() -> None:
    found = place(TERMS, [ONE])
    assert found.market == pytest.approx(576.4986, abs=1e-4)
    assert found.limits == pytest.approx([423.5014], abs=1e-4)


@pytest.mark.parametrize(("penalty", "posted"), [(0.0418, 1000), (0.0420, 990.627), (10.0, 0)])
def test_the_penalty_for_falling_short_decides_how_much_is_posted(penalty: float, posted: float) -> None:
    found = place(msgspec.structs.replace(TERMS, lambda_under=penalty), [ONE])
    assert found.limits[0] == pytest.approx(posted, abs=1e-3)
    assert found.market == pytest.approx(1000 - found.limits[0])


def test_the_thresholds_are_where_the_closed_form_meets_its_ends() -> None:
    low, high = thresholds(TERMS, ONE)
    assert low == pytest.approx(0.0419, abs=1e-4)
    for edge, posted in ((low, 1000.0), (high, 0.0)):
        for side in (1 - 1e-9, 1 + 1e-9):
            terms = msgspec.structs.replace(TERMS, lambda_under=edge * side)
            assert place_on_one(terms, ONE).limits[0] == pytest.approx(posted, abs=1e-3)


def test_a_queue_that_always_clears_gets_everything_and_a_hopeless_one_nothing() -> None:
    assert place(TERMS, [Queue(0, 0.002, Uniform(5000, 6000))]) == Placement(0.0, (1000,))
    assert place(TERMS, [HOPELESS]).market == 1000
    assert place(TERMS, []) == Placement(1000, ())


@pytest.mark.parametrize(
    "outflow",
    [
        Exponential(2500),
        Normal(2600, 700),
        Pareto(1500, 2.0),
        Uniform(1000, 4000),
        Empirical([500, 1500, 2400, 2500, 5000]),
    ],
    ids=lambda outflow: type(outflow).__name__,
)
def test_the_search_finds_the_closed_form(outflow: Outflow) -> None:
    queue = Queue(2000, 0.002, outflow)
    searched = place(TERMS, [queue, HOPELESS])
    assert searched.limits[1] == pytest.approx(0, abs=1e-3)
    assert searched.limits[0] == pytest.approx(place(TERMS, [queue]).limits[0], abs=0.01)
    assert searched.market == pytest.approx(place(TERMS, [queue]).market, abs=0.01)


@pytest.mark.parametrize("over", [0.03, 0.2])
@pytest.mark.parametrize(
    "queues",
    [
        [ONE, Queue(1500, 0.0025, Exponential(2000))],
        [Queue(200, 0.002, Exponential(2500)), Queue(150, 0.0025, Exponential(2000))],
        [Queue(2000, 0.002, Normal(2500, 500)), Queue(1500, 0.0025, Normal(2000, 600))],
        [Queue(900, -0.001, Exponential(1500)), Queue(100, 0.003, Uniform(0, 600))],
    ],
)
def test_no_neighbour_of_the_answer_costs_less(queues: list[Queue], over: float) -> None:
    terms = msgspec.structs.replace(TERMS, lambda_over=over)
    found = place(terms, queues)
    best, size = expected_cost(terms, queues, found), terms.quantity
    assert found.market + sum(found.limits) >= size - 1e-6
    for market, first, second in product((-40, 0, 40), repeat=3):
        other = Placement(found.market + market, (found.limits[0] + first, found.limits[1] + second))
        allowed = min(other.market, *other.limits) >= 0 and other.market + max(other.limits) <= size
        if allowed and other.market + sum(other.limits) >= size:
            assert expected_cost(terms, queues, other) >= best - 2e-3


def test_venues_of_equal_terms_share_equally() -> None:
    queue = Queue(300, 0.002, Exponential(1500))
    found = place(TERMS, [queue, queue])
    assert found.limits[0] == pytest.approx(found.limits[1], abs=0.5)


def test_many_venues_are_placed_by_scenarios_that_agree_with_the_integrals() -> None:
    queues = [Queue(300, 0.002, Exponential(900)), Queue(200, 0.0025, Exponential(700))]
    exact = place(TERMS, [*queues, HOPELESS])
    scenarios = place(TERMS, [*queues, HOPELESS, HOPELESS])
    assert scenarios.market == pytest.approx(exact.market, abs=15)
    assert scenarios.limits[:2] == pytest.approx(exact.limits[:2], abs=15)


def test_the_chance_of_a_sum_is_the_share_of_outcomes_below() -> None:
    queues = [Queue(300, 0, Exponential(900)), Queue(100, 0, Uniform(0, 800)), Queue(50, 0, Normal(300, 200))]
    posted, grid = [400.0, 300.0, 250.0], 90
    outcomes = [
        [min(max(q.outflow.quantile((n + 0.5) / grid) - q.ahead, 0), most) for n in range(grid)]
        for q, most in zip(queues, posted, strict=True)
    ]
    sums = [sum(outcome) for outcome in product(*outcomes)]
    for shares in (1.0, 250.0, 399.0, 500.0, 700.0, 949.0):
        counted = sum(value < shares for value in sums) / len(sums)
        assert chance_below(queues, posted, shares) == pytest.approx(counted, abs=0.01)
    assert (chance_below(queues, posted, 0), chance_below(queues, posted, 950.001)) == (0, 1)


@pytest.mark.parametrize(
    "outflow",
    [Exponential(50), Pareto(20, 1.5), Normal(100, 30), Uniform(10, 60), Empirical([1, 5, 6, 30])],
    ids=lambda outflow: type(outflow).__name__,
)
def test_quantile_and_distribution_undo_each_other(outflow: Outflow) -> None:
    for chance in (0.01, 0.4, 0.9, 0.999):
        assert outflow.cdf(outflow.quantile(chance)) == pytest.approx(chance, abs=1e-9)
    assert outflow.cdf(-1e9) == pytest.approx(0)
    assert outflow.cdf(1e12) == pytest.approx(1)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="quantity: above 0"):
        msgspec.structs.replace(TERMS, quantity=0)
    with pytest.raises(ValueError, match="lambda_over: at least 0"):
        msgspec.structs.replace(TERMS, lambda_over=-1)
    with pytest.raises(ValueError, match=f"venues: at most {MAX_VENUES}"):
        place(TERMS, [ONE] * (MAX_VENUES + 1))
    with pytest.raises(ValueError, match="ahead: at least 0"):
        Queue(-1, 0, Exponential(1))
    with pytest.raises(ValueError, match="mean: above 0"):
        Exponential(0)
    with pytest.raises(ValueError, match="two different outflows"):
        Empirical([3, 3])
    with pytest.raises(ValueError, match="high: above low"):
        Uniform(2, 2)
