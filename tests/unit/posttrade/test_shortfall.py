"""What execution cost: components that sum exactly, for buys and sells, full and partial."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.models import OrderSide
from qtinfra.posttrade.shortfall import (
    DelayBasis,
    Fill,
    OpportunityFrom,
    Shortfall,
    average_price,
    effective_half_spread_bps,
    implementation_shortfall,
    interval_vwap,
    markout_bps,
    participation,
    reversion_bps,
    slippage_bps,
    spread_capture,
)

pytestmark = pytest.mark.unit

D = Decimal
BUY, SELL = OrderSide.BUY, OrderSide.SELL
PAIRS = (
    (DelayBasis.EXECUTED, OpportunityFrom.DECISION),
    (DelayBasis.ORDERED, OpportunityFrom.ARRIVAL),
)

price = st.decimals("0.0001", "9999", places=4)
size = st.decimals("1", "5000", places=0)


def measured(
    side: OrderSide = BUY,
    fills: tuple[Fill, ...] = ((D(700), D("10.07")),),
    pair: tuple[DelayBasis, OpportunityFrom] = PAIRS[0],
) -> Shortfall:
    return implementation_shortfall(side, D(1000), D(10), D("10.05"), fills, D("10.08"), D(14), *pair)


def test_the_textbook_example_splits_into_its_parts() -> None:
    found = measured()
    assert (found.delay, found.trading, found.opportunity, found.fees) == (D(35), D(14), D(24), D(14))
    assert (found.total, found.total_bps, found.paper_minus_real) == (D(87), D(87), D(87))


def test_the_same_prices_are_gains_for_a_sale() -> None:
    for side in (SELL, OrderSide.SELL_SHORT, OrderSide.SELL_SHORT_EXEMPT):
        found = measured(side)
        assert (found.delay, found.trading, found.opportunity) == (D(-35), D(-14), D(-24))
        assert found.total == D(-59)


def test_the_expanded_form_charges_the_delay_on_all_and_the_rest_from_arrival() -> None:
    found = measured(pair=PAIRS[1])
    assert (found.delay, found.trading, found.opportunity) == (D(50), D(14), D(9))
    assert found.total == found.paper_minus_real == D(87)


def test_an_order_without_fills_costs_what_it_missed() -> None:
    found = measured(fills=())
    assert (found.delay, found.trading) == (D(0), D(0))
    assert (found.opportunity, found.total) == (D(80), D(94))


@given(
    st.sampled_from([BUY, SELL]),
    price,
    price,
    price,
    st.lists(st.tuples(size, price), max_size=6),
    st.decimals("-50", "50", places=2),
    size,
    st.sampled_from(PAIRS),
)
def test_the_components_sum_to_paper_minus_real_exactly(
    side: OrderSide,
    decision: Decimal,
    arrival: Decimal,
    end: Decimal,
    fills: list[Fill],
    fees: Decimal,
    rest: Decimal,
    pair: tuple[DelayBasis, OpportunityFrom],
) -> None:
    ordered = sum((filled for filled, _ in fills), rest)
    found = implementation_shortfall(side, ordered, decision, arrival, fills, end, fees, *pair)
    assert found.total == found.delay + found.trading + found.opportunity + found.fees
    assert found.total == found.paper_minus_real


def test_a_mixed_pairing_is_off_by_the_delay_of_what_was_missed() -> None:
    found = measured(pair=(DelayBasis.EXECUTED, OpportunityFrom.ARRIVAL))
    assert found.paper_minus_real - found.total == D(300) * D("0.05")


def test_impossible_fills_are_refused() -> None:
    with pytest.raises(ValueError, match="fills: at most the 1000 ordered, not 1001"):
        measured(fills=((D(1001), D(10)),))
    with pytest.raises(ValueError, match="fill 0: above 0"):
        measured(fills=((D(0), D(10)),))
    with pytest.raises(ValueError, match="quantity: above 0"):
        implementation_shortfall(BUY, D(0), D(1), D(1), (), D(1))


def test_the_interval_takes_its_start_and_leaves_its_end() -> None:
    prints = [(9, D(1), D(50)), (10, D(2), D(10)), (19, D(1), D(13)), (20, D(9), D(99))]
    assert interval_vwap(prints, 10, 20) == (D(3), D(11))
    assert interval_vwap(prints, 30, 40) == (D(0), D(0))
    assert average_price([(D(1), D(1)), (D(2), D(2))]) == D("1.66666667")


def test_slippage_is_a_cost_when_positive_for_either_side() -> None:
    assert slippage_bps(BUY, D("10.01"), D(10)) == slippage_bps(SELL, D("9.99"), D(10)) == D(10)
    assert slippage_bps(BUY, D("9.99"), D(10)) == D(-10)


def test_the_effective_half_spread_is_weighted_by_quantity() -> None:
    fills = [(D(100), D("10.01")), (D(300), D("10.00"))]
    assert effective_half_spread_bps(BUY, fills, [D(10), D(10)]) == D("2.5")
    assert effective_half_spread_bps(SELL, fills, [D(10), D(10)]) == D("-2.5")
    with pytest.raises(ValueError, match="a value for each of 2 fills, not 1"):
        effective_half_spread_bps(BUY, fills, [D(10)])


@pytest.mark.parametrize(
    ("side", "paid", "captured"),
    [(BUY, "9.99", 1), (BUY, "10.01", -1), (BUY, "10", 0), (SELL, "10.01", 1), (SELL, "9.99", -1)],
)
def test_spread_capture_runs_from_the_far_to_the_near_side(side: OrderSide, paid: str, captured: int) -> None:
    quotes = [(D("9.99"), D("10.01")), (D("10.02"), D("10.01"))]
    assert spread_capture(side, [(D(5), D(paid)), (D(5), D(9))], quotes) == captured
    assert spread_capture(side, [], []) == 0


def test_a_markout_is_a_gain_when_the_price_went_the_orders_way() -> None:
    fills = [(D(100), D(10)), (D(100), D(20))]
    assert markout_bps(BUY, fills, [D("10.03"), D(20)]) == D(10)
    assert markout_bps(SELL, fills, [D("10.03"), D(20)]) == D(-10)
    assert markout_bps(BUY, [], []) == 0


def test_reversion_is_positive_when_the_price_falls_back_after_a_purchase() -> None:
    assert reversion_bps(BUY, D("10.01"), D(10)) == -reversion_bps(SELL, D("10.01"), D(10)) > 0


def test_participation_counts_own_volume_in_the_market() -> None:
    assert participation(D(1000), D(10000)) == D("0.1")
    assert participation(D(0), D(0)) == 0
    with pytest.raises(ValueError, match="own volume: at most"):
        participation(D(2), D(1))
