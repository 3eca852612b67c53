"""Schedules and impact models: the published figures, the optimality that defines them, and their edges."""

from __future__ import annotations

from math import exp, sqrt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.impact.power_law import PowerLaw, impact
from qtinfra.core.impact.trajectory import Liquidation, cost_and_variance, frontier, resolve, solve
from qtinfra.core.impact.transient import RefillingBook, constant_rate_cost, optimal_plan

pytestmark = pytest.mark.unit

PAPER = Liquidation(1e6, 5, 5, 0.95, 0.0625, 2.5e-7, 2.5e-6, 1e-6)


def changed(**values: float) -> Liquidation:
    return msgspec.structs.replace(PAPER, **values)


def utility(problem: Liquidation, holdings: list[float]) -> float:
    cost, variance = cost_and_variance(problem, holdings)
    return cost + problem.risk_aversion * variance


def test_the_example_of_the_paper_comes_out() -> None:
    plan = solve(PAPER)
    assert plan.kappa == pytest.approx(0.607076, abs=1e-6)
    assert plan.kappa_tilde == pytest.approx(0.616441, abs=1e-6)
    assert plan.holdings == pytest.approx([1e6, 541955.6, 289854.2, 147897.5, 62141.8, 0], abs=0.1)
    assert plan.expected_cost == pytest.approx(911226.99, abs=0.01)
    assert plan.std == pytest.approx(603430.67, abs=0.01)
    assert sum(plan.trades) == pytest.approx(1e6)


@pytest.mark.parametrize("beta", [1.0, 0.6, 1.5])
@pytest.mark.parametrize("aversion", [0.0, 1e-7, 1e-5])
def test_moving_any_holding_makes_the_plan_worse(beta: float, aversion: float) -> None:
    gamma = 2.5e-7 if beta == 1 else 0.0
    problem = changed(risk_aversion=aversion, beta=beta, gamma=gamma, periods=6)
    plan = list(solve(problem).holdings)
    best = utility(problem, plan)
    for place in range(1, 6):
        for step in (-500.0, 500.0):
            other = [*plan]
            other[place] += step
            assert utility(problem, other) > best


@given(
    st.integers(1, 60),
    st.floats(0, 1e-3),
    st.floats(0.01, 5),
    st.sampled_from([1.0, 0.6]),
    st.sampled_from([1e6, -1e6, 37.0]),
)
def test_a_plan_goes_from_the_position_to_nothing_without_turning(
    periods: int, aversion: float, sigma: float, beta: float, shares: float
) -> None:
    plan = solve(changed(periods=periods, risk_aversion=aversion, sigma=sigma, beta=beta, shares=shares))
    sizes = [abs(holding) for holding in plan.holdings]
    assert len(plan.holdings) == periods + 1
    assert (plan.holdings[0], plan.holdings[-1]) == (shares, 0)
    assert sizes == sorted(sizes, reverse=True)
    assert all(holding * shares >= 0 for holding in plan.holdings)


def test_a_purchase_costs_what_the_sale_of_as_much_costs() -> None:
    sale, purchase = solve(PAPER), solve(changed(shares=-1e6))
    assert purchase.holdings == tuple(-holding for holding in sale.holdings)
    assert (purchase.expected_cost, purchase.variance) == (sale.expected_cost, sale.variance)


@pytest.mark.parametrize("values", [{"risk_aversion": 0.0}, {"sigma": 0.0}, {"risk_aversion": 1e-25}])
def test_without_risk_or_aversion_to_it_the_plan_is_a_straight_line(values: dict[str, float]) -> None:
    plan = solve(changed(periods=8, **values))
    assert plan.holdings == tuple(1e6 * left / 8 for left in range(8, -1, -1))


def test_an_extreme_aversion_trades_at_once_and_overflows_nothing() -> None:
    plan = solve(changed(risk_aversion=1e30, periods=1000))
    assert plan.holdings[1] == pytest.approx(0, abs=1e-3)
    assert plan.expected_cost > solve(PAPER).expected_cost


def test_one_period_trades_everything_in_it() -> None:
    plan = solve(changed(periods=1))
    assert (plan.holdings, plan.variance) == ((1e6, 0.0), 0.0)


def test_solving_again_from_the_plan_gives_its_tail() -> None:
    for beta, gamma in ((1.0, 2.5e-7), (0.6, 0.0)):
        problem = changed(beta=beta, gamma=gamma)
        assert resolve(problem, 2).holdings == pytest.approx(solve(problem).holdings[2:], rel=1e-9)


def test_solving_again_from_another_holding_scales_the_linear_plan() -> None:
    tail = solve(PAPER).holdings[2:]
    ahead = resolve(PAPER, 2, tail[0] / 2)
    assert ahead.holdings == pytest.approx([holding / 2 for holding in tail])
    with pytest.raises(ValueError, match="after_periods: from 0 to 4, not 5"):
        resolve(PAPER, 5)


def test_the_power_law_with_power_one_is_the_linear_model() -> None:
    linear = solve(changed(gamma=0.0))
    nearly = solve(changed(gamma=0.0, beta=1 + 1e-12))
    assert nearly.kappa is None
    assert nearly.holdings == pytest.approx(linear.holdings, rel=1e-6)
    assert nearly.expected_cost == pytest.approx(linear.expected_cost, rel=1e-6)


def test_along_the_frontier_cost_rises_and_risk_falls() -> None:
    plans = frontier(PAPER, [0, 1e-8, 1e-7, 1e-6, 1e-5])
    costs, risks = [plan.expected_cost for plan in plans], [plan.std for plan in plans]
    assert costs == sorted(costs)
    assert risks == sorted(risks, reverse=True)
    assert [costs[0], risks[0]] == pytest.approx([662500, 1040672.86], abs=0.01)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"periods": 0}, "periods: at least 1"),
        ({"horizon": 0.0}, "horizon: above 0"),
        ({"sigma": -1.0}, "sigma: a finite number"),
        ({"risk_aversion": float("nan")}, "risk_aversion: a finite number"),
        ({"eta": 1.25e-7}, "eta: above gamma"),
        ({"beta": 0.0}, "beta: above 0"),
    ],
)
def test_a_model_without_a_minimum_or_meaning_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**values)


def test_holdings_of_another_length_have_no_cost() -> None:
    with pytest.raises(ValueError, match="holdings: 6 values, not 2"):
        cost_and_variance(PAPER, [1.0, 0.0])


# -- power law -------------------------------------------------------------------------------------


def test_the_ibm_example_of_the_power_law_comes_out() -> None:
    found = impact(0.1, 0.2, 0.0157, 1728 / 6.561)
    assert found.permanent * 1e4 == pytest.approx(19.8597, abs=1e-4)
    assert found.temporary * 1e4 == pytest.approx(14.7086, abs=1e-4)
    assert found.cost * 1e4 == pytest.approx(24.6384, abs=1e-4)


def test_a_sale_moves_the_price_down_and_costs_as_much() -> None:
    bought, sold = impact(0.1, 0.5, 0.02, 200), impact(-0.1, 0.5, 0.02, 200)
    assert (sold.permanent, sold.temporary) == (-bought.permanent, -bought.temporary)
    assert sold.cost == bought.cost > 0


def test_other_coefficients_are_taken() -> None:
    found = impact(0.04, 1.0, 0.01, 16, PowerLaw(1, 1, 0.5, 0.25))
    assert found.permanent == pytest.approx(0.01 * 0.04 * 2)
    assert found.temporary == pytest.approx(0.01 * 0.2)


@pytest.mark.parametrize("bad", [(0.1, 0, 0.01, 200), (0.1, 1, -0.01, 200), (0.1, 1, 0.01, 0)])
def test_a_power_law_without_time_or_volume_is_refused(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"horizon_days|daily_volatility|outstanding_over_adv"):
        impact(*bad)


# -- refilling book --------------------------------------------------------------------------------

BOOK = RefillingBook(5000, 1e-4, 2)


def block_cost(first: float, rate: float, last: float, book: RefillingBook, horizon: float) -> float:
    """Transient cost of blocks around a constant rate, by integrating the deviation of the price."""
    steps = 20_000
    step, deviation, cost = horizon / steps, 0.0, 0.0

    def trade(shares: float) -> None:
        nonlocal deviation, cost
        cost += shares * (deviation + book.kappa * shares / 2)
        deviation += book.kappa * shares

    trade(first)
    for _ in range(steps):
        deviation *= exp(-book.resilience * step / 2)
        trade(rate * step)
        deviation *= exp(-book.resilience * step / 2)
    trade(last)
    return cost


def test_the_blocks_and_their_cost_come_out() -> None:
    plan = optimal_plan(1e5, 1, BOOK)
    assert (plan.first_block, plan.continuous, plan.last_block) == (25000, 50000, 25000)
    assert plan.transient_cost == pytest.approx(250000)
    assert plan.permanent_cost == pytest.approx(500000)
    assert plan.transient_cost == pytest.approx(block_cost(25000, 50000, 25000, BOOK, 1), rel=1e-4)


def test_other_blocks_cost_more() -> None:
    best = block_cost(25000, 50000, 25000, BOOK, 1)
    for first, last in ((24000, 26000), (26000, 26000), (20000, 20000), (0, 0)):
        assert block_cost(first, 1e5 - first - last, last, BOOK, 1) > best


@pytest.mark.parametrize("pull", [0.0, 1e-9, 5e-5, 2e-4, 1.0, 50.0])
def test_the_cost_of_a_constant_rate_is_the_integral_at_any_resilience(pull: float) -> None:
    book = RefillingBook(5000, 0, pull)
    assert constant_rate_cost(-1e5, 1, book) == pytest.approx(block_cost(0, 1e5, 0, book, 1), rel=1e-4)


def test_a_book_that_never_refills_is_hit_half_at_each_end() -> None:
    plan = optimal_plan(-1000, 3, RefillingBook(100, 0, 0))
    assert (plan.first_block, plan.continuous, plan.last_block) == (-500, 0, -500)
    assert plan.transient_cost == pytest.approx(0.01 * 1e6 / 2)


@pytest.mark.parametrize("bad", [(0, 0, 1), (5000, 1, 1), (5000, 0, -1)])
def test_a_book_without_depth_or_with_more_permanent_impact_than_depth_is_refused(
    bad: tuple[float, float, float],
) -> None:
    with pytest.raises(ValueError, match=r"depth|permanent|resilience"):
        RefillingBook(*bad)


def test_timing_risk_of_the_paper_is_the_root_of_its_variance() -> None:
    plan = solve(PAPER)
    assert plan.std == sqrt(plan.variance)
