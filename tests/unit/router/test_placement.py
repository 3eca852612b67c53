"""From an optimal placement to whole lots."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.impact.outflow import Exponential
from qtinfra.core.impact.queues import PlacementTerms, Queue
from qtinfra.router.placement import VenueQueue, plan_placement

pytestmark = pytest.mark.unit

D = Decimal


def terms(quantity: float, under: float = 0.05) -> PlacementTerms:
    return PlacementTerms(quantity, 0.02, 0.003, 0.0005, under, 0.05)


def venues(count: int, ahead: float = 2000) -> list[VenueQueue]:
    return [VenueQueue(f"V{n}", Queue(ahead - 300 * n, 0.002, Exponential(2500))) for n in range(count)]


def test_the_split_of_one_venue_is_rounded_to_lots_and_adds_up() -> None:
    plan = plan_placement(D(1050), D(100), terms(1050), venues(1))
    assert plan.posts == (("V0", D(400)),)
    assert (plan.take, plan.sent) == (D(650), D(1050))


def test_an_order_that_should_wait_posts_its_whole_lots_and_takes_the_odd_one() -> None:
    plan = plan_placement(D(1050), D(100), terms(1050, 0.03), venues(1))
    assert (plan.posts, plan.take) == ((("V0", D(1000)),), D(50))


def test_less_than_a_lot_is_taken() -> None:
    plan = plan_placement(D(7), D(100), terms(7), venues(2))
    assert (plan.posts, plan.take) == ((), D(7))


def test_several_venues_may_rest_more_than_the_order_unless_told_not_to() -> None:
    more = plan_placement(D(1000), D(100), terms(1000), venues(2))
    assert more.sent > 1000
    exact = plan_placement(D(1000), D(100), terms(1000), venues(2), oversend=False)
    assert exact.sent == 1000
    assert len(exact.posts) == 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([1, 10, 100]), st.floats(0.001, 0.2), st.integers(0, 2))
def test_nothing_is_lost_and_only_the_odd_lot_is_not_whole(
    qty: int, lot: int, under: float, count: int
) -> None:
    plan = plan_placement(D(qty), D(lot), terms(qty, under), venues(count, 1000), oversend=False)
    assert plan.sent == qty
    assert all(part > 0 and part % lot == 0 for _, part in plan.posts)
    over = plan_placement(D(qty), D(lot), terms(qty, under), venues(count, 1000))
    assert over.sent >= qty
    assert all(part % lot == 0 and part <= qty for _, part in over.posts)


def test_terms_of_another_quantity_are_refused() -> None:
    with pytest.raises(ValueError, match=r"terms\.quantity: 1000 as ordered, not 900"):
        plan_placement(D(1000), D(100), terms(900), venues(1))
    with pytest.raises(ValueError, match="quantity and lot: above 0"):
        plan_placement(D(0), D(100), terms(900), venues(1))
