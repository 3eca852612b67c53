"""Placement that never sends more than the order: proposition 2 for one venue, the cheapest of several."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.impact.outflow import Exponential
from qtinfra.core.impact.queues import PlacementTerms, Queue, place_on_one
from qtinfra.core.impact.within import place_within

pytestmark = pytest.mark.unit

amounts = st.floats(0.001, 0.1)
queues = st.builds(
    Queue, st.floats(0, 2_000), st.floats(-0.003, 0.003), st.builds(Exponential, st.floats(50, 3_000))
)


def posted_and_filled(queue: Queue, posted: float) -> float:
    """E[min(max(xi - Q, 0), L)] of an exponential outflow, in closed form."""
    mean = queue.outflow.mean  # type: ignore[attr-defined]
    return float(
        mean * ((1 - queue.outflow.cdf(queue.ahead)) - (1 - queue.outflow.cdf(queue.ahead + posted)))
    )


def cost(terms: PlacementTerms, found: list[Queue], taken: float, posts: tuple[float, ...]) -> float:
    total = (terms.half_spread + terms.market_fee) * taken
    for queue, posted in zip(found, posts, strict=True):
        filled = posted_and_filled(queue, posted)
        total += terms.lambda_under * posted
        total -= (terms.half_spread + queue.rebate + terms.lambda_under) * filled
    return total


@given(amounts, amounts, queues)
def test_for_one_venue_it_is_the_closed_form(half: float, under: float, queue: Queue) -> None:
    terms = PlacementTerms(500.0, half, 0.003, 0.0, under, under)
    found, known = place_within(terms, [queue]), place_on_one(terms, queue)
    assert found.limits == pytest.approx(known.limits, abs=1e-6)


def test_what_is_worth_posting_is_posted_to_the_last_share() -> None:
    """737 and 887 shares ahead of an outflow of 50 on average: 1 - F is 1e-7 and below, a float's last digit
    moves F^-1 by 1e-5 shares and more, and all 500 are posted, with mu the same on both."""
    terms = PlacementTerms(500.0, 0.0625, 0.003, 0.0, 0.001953125, 0.001953125)
    found = [Queue(ahead, 0.0, Exponential(50.0)) for ahead in (737.0, 887.0)]
    best = place_within(terms, found)
    assert best.market <= 1e-9
    # equal rebates: exp(-(737 + a) / 50) = exp(-(887 + b) / 50) with a + b = 500, so that a = 325, b = 175
    assert best.limits == pytest.approx((325.0, 175.0), abs=0.05)
    assert cost(terms, found, best.market, best.limits) <= cost(terms, found, 0.0, (325.0, 175.0)) + 1e-12


@given(amounts, amounts, st.lists(queues, min_size=2, max_size=4), st.data())
def test_no_other_split_of_the_quantity_costs_less(
    half: float, under: float, found: list[Queue], data: st.DataObject
) -> None:
    terms = PlacementTerms(500.0, half, 0.003, 0.0, under, under)
    best = place_within(terms, found)
    assert best.market + sum(best.limits) == pytest.approx(500.0)
    weights = data.draw(st.lists(st.integers(0, 1_000), min_size=len(found) + 1, max_size=len(found) + 1))
    scale = 500.0 / (sum(weights) or 1.0)
    other = [weight * scale for weight in weights] if sum(weights) else [500.0, *(0.0 for _ in found)]
    assert (
        cost(terms, found, best.market, best.limits) <= cost(terms, found, other[0], tuple(other[1:])) + 1e-6
    )
