"""The estimate before the order: what moves it, and which way; and quantities that follow volume."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import sqrt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.impact.estimate import ALGOS, CostEstimate, CostInputs, estimate_cost, timing_risk
from qtinfra.core.impact.participation import capped_schedule, own_at_rate
from qtinfra.core.impact.power_law import impact

pytestmark = pytest.mark.unit

D = Decimal
ORDER = CostInputs(100_000, 2_000_000, 0.02, 4.0, 0.5)


def estimate(algo: str, confidence: float = 0.95, **values: Any) -> CostEstimate:
    return estimate_cost(algo, msgspec.structs.replace(ORDER, **values), confidence)


def test_an_even_schedule_costs_what_the_power_law_says() -> None:
    found = estimate("twap", outstanding_shares=4e8)
    known = impact(0.05, 0.5, 0.02, 200)
    assert found.components.permanent == pytest.approx(known.permanent / 2 * 1e4)
    assert found.components.temporary == pytest.approx(known.temporary * 1e4)
    assert found.components.timing_risk == pytest.approx(200 * sqrt(0.5 / 3))
    assert found.horizon_days == 0.5


@pytest.mark.parametrize("algo", ALGOS)
def test_the_parts_make_the_expected_cost_and_the_band_lies_around_it(algo: str) -> None:
    found = estimate(algo, fee_bps=0.3)
    parts = found.components
    total = parts.spread + parts.fees + parts.permanent + parts.temporary
    assert found.expected_bps == pytest.approx(total)
    assert found.high - found.expected_bps == pytest.approx(found.expected_bps - found.low)
    width = 1.959964 * sqrt(parts.timing_risk**2 + parts.model_error**2)
    assert found.high - found.expected_bps == pytest.approx(width, rel=1e-6)
    assert estimate(algo, 0.5).high < found.high


@pytest.mark.parametrize("algo", ALGOS)
@given(st.floats(1e3, 4e5), st.floats(1.1, 3))
def test_a_larger_order_costs_more(algo: str, shares: float, times: float) -> None:
    assert estimate(algo, shares=shares * times).expected_bps > estimate(algo, shares=shares).expected_bps


@pytest.mark.parametrize("algo", ["twap", "vwap", "shortfall"])
def test_more_time_costs_less_and_risks_more(algo: str) -> None:
    quick, slow = estimate(algo, horizon_days=0.1), estimate(algo, horizon_days=1.0)
    assert quick.expected_bps > slow.expected_bps
    assert quick.components.timing_risk < slow.components.timing_risk


def test_urgency_pays_impact_for_less_risk() -> None:
    patient, urgent = estimate("shortfall", urgency=0.0), estimate("shortfall", urgency=0.1)
    assert patient.components.temporary == pytest.approx(estimate("twap").components.temporary)
    assert urgent.components.temporary > patient.components.temporary
    assert urgent.components.timing_risk < patient.components.timing_risk


def test_following_the_volume_is_cheapest_in_impact() -> None:
    curve = (0.2, 0.05, 0.05, 0.2)
    assert (
        estimate("vwap", curve=curve).components.temporary
        < estimate("twap", curve=curve).components.temporary
    )


def test_a_rate_sets_the_time_that_is_needed() -> None:
    found = estimate("pov", participation=0.2, horizon_days=1.0)
    assert found.horizon_days == pytest.approx(0.05 * 0.8 / 0.2)
    slow = estimate("pov", participation=0.02, horizon_days=1.0)
    assert slow.horizon_days == pytest.approx(0.05 * 0.98 / 0.02)
    assert slow.components.temporary < found.components.temporary
    with pytest.raises(ValueError, match="participation: at most 1000 horizons"):
        estimate("pov", participation=1e-6)


def test_a_bin_without_volume_only_takes_time() -> None:
    found = estimate("pov", participation=0.2, curve=(0.1, 0.0, 0.4), horizon_days=0.3)
    assert found.horizon_days == pytest.approx(0.1 + 0.1 + 0.1 * (0.2 - 0.1) / 0.4)


def test_waiting_for_the_close_bears_the_risk_of_the_whole_wait() -> None:
    found = estimate("close")
    assert found.components.timing_risk == pytest.approx(200 * sqrt(0.5))
    assert found.components.spread == 0


def test_timing_risk_of_trading_at_once_is_nothing_and_of_waiting_everything() -> None:
    assert timing_risk([1.0, 0.0], [0.0, 1.0], 0.02) == 0
    assert timing_risk([0.0, 1.0], [1.0, 0.0], 0.02) == pytest.approx(0.02)
    assert timing_risk([0.25] * 4, [0.25] * 4, 0.02) == pytest.approx(0.02 / sqrt(3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shares": 0}, "shares: above 0"),
        ({"horizon_days": 1.5}, "horizon_days: at most 1"),
        ({"participation": 1}, "participation: above 0 and below 1"),
        ({"curve": (0.0,)}, "curve: shares of at least 0"),
        ({"spread_bps": float("inf")}, "spread_bps: at least 0"),
    ],
)
def test_what_has_no_estimate_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate("twap", **values)


def test_an_unknown_algo_and_a_certain_band_are_refused() -> None:
    with pytest.raises(ValueError, match="algo: one of twap, vwap, pov, shortfall, close, not 'x'"):
        estimate("x")
    with pytest.raises(ValueError, match="confidence"):
        estimate("twap", 1.0)


# -- quantities that follow volume -----------------------------------------------------------------


def test_own_volume_counts_in_the_denominator() -> None:
    assert own_at_rate(D("0.1"), D(9000), D(1)) == 1000
    assert own_at_rate(D("0.1"), D(8999), D(1)) == 999
    assert own_at_rate(D("0.1"), D(9000), D(300)) == 900
    assert own_at_rate(D(0), D(9000), D(1)) == 0
    with pytest.raises(ValueError, match="rate: at least 0 and below 1"):
        own_at_rate(D(1), D(1), D(1))


@given(st.decimals("0", "0.95", places=3), st.integers(0, 10**7), st.sampled_from([1, 10, 100]))
def test_the_rate_is_never_passed_and_one_lot_more_would_pass_it(
    rate: Decimal, others: int, lot: int
) -> None:
    own = own_at_rate(rate, D(others), D(lot))
    assert Fraction(own) <= Fraction(rate) * (Fraction(own) + others)
    more = Fraction(own) + lot
    assert more > Fraction(rate) * (more + others)


def test_what_a_cap_holds_back_is_caught_up_within_later_caps() -> None:
    curve, volumes = (
        [D("0.3"), D("0.2"), D("0.2"), D("0.1"), D("0.2")],
        [D(v) for v in (2000, 3000, 2500, 1500, 9000)],
    )
    children = capped_schedule(D(3000), curve, volumes, D("0.2"), D(1))
    assert list(map(int, children)) == [400, 600, 500, 300, 1200]
    assert sum(capped_schedule(D(3000), curve, volumes, D("0.1"), D(1))) == 1800
    with pytest.raises(ValueError, match="volumes: one for each of 5 bins, not 1"):
        capped_schedule(D(3000), curve, [D(1)], D("0.2"), D(1))


@given(
    st.integers(0, 10**5),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10**5)), min_size=1, max_size=12).filter(
        lambda bins: any(weight for weight, _ in bins)
    ),
    st.decimals("0", "0.5", places=2),
    st.sampled_from([1, 100]),
)
def test_no_bin_passes_its_cap_and_no_schedule_the_order(
    qty: int, bins: list[tuple[int, int]], cap: Decimal, lot: int
) -> None:
    volumes = [D(volume) for _, volume in bins]
    children = capped_schedule(D(qty), [D(weight) for weight, _ in bins], volumes, cap, D(lot))
    assert all(0 <= child <= cap * volume for child, volume in zip(children, volumes, strict=True))
    assert sum(children) <= qty
