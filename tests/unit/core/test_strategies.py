"""Planners: integer lots that sum to the parent, by time, volume, risk and the close."""

import math
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.strategies.inputs import MINUTE_NS, PlanInputs, chance, curve_weights, target_in_time
from qtinfra.core.strategies.pov import own_volume
from qtinfra.core.strategies.registry import BUILT_IN, registry
from qtinfra.core.strategies.schedule import ScheduleError, integer_schedule
from qtinfra.core.strategies.shortfall import almgren_chriss, power_law_holdings, trades
from qtinfra.core.strategies.twap import Twap

pytestmark = pytest.mark.unit

D = Decimal
OPEN, HOUR = 1_000_000 * MINUTE_NS, 60 * MINUTE_NS
TABLE_1 = {"sigma": 0.95, "epsilon": 0.0625, "gamma": 2.5e-7, "eta": 2.5e-6}


def terms(algo: str = "TWAP", **other: object) -> AlgoTerms:
    return AlgoTerms(algo, OPEN, OPEN + HOUR, **other)  # type: ignore[arg-type]


def facts(qty: int = 10_000, **other: object) -> PlanInputs:
    known: dict[str, object] = {
        "open_ns": OPEN,
        "close_ns": OPEN + 6 * HOUR,
        "close_cutoff_ns": OPEN + 6 * HOUR - 10 * MINUTE_NS,
        "curve": tuple(map(D, (5, 3, 1, 1, 2, 6))),
        "daily_volume": D(1_000_000),
        "daily_volatility": D("0.02"),
        "price": D(50),
        "spread": D("0.02"),
    }
    return PlanInputs(True, D(qty), D(0), D(100), OPEN, **(known | other))  # type: ignore[arg-type]


# --- rounding ---------------------------------------------------------------------------------------------


def test_the_cumulative_target_is_rounded_half_up_and_the_last_slice_takes_the_residual() -> None:
    slices = integer_schedule([1] * 7, D(1050), D(100))
    assert slices == tuple(map(D, (200, 100, 200, 100, 200, 100, 150)))


def test_weights_of_every_kind_round_as_the_exact_fractions_they_are() -> None:
    for weights in ([D("0.3"), D("0.7")], [Fraction(3, 10), Fraction(7, 10)], [0.75, 1.75]):
        assert sum(integer_schedule(weights, D(1000), D(100))) == 1000
    assert integer_schedule([D("0.15"), D("0.85")], D(1000), D(100)) == (D(200), D(800))


@given(
    st.lists(st.fractions(0, 1000, max_denominator=997), min_size=1, max_size=40),
    st.integers(0, 10**6),
    st.sampled_from([D(1), D(100), D("0.001"), D(7)]),
)
def test_slices_sum_exactly_and_stay_within_half_a_lot_of_the_exact_target(
    weights: list[Fraction], qty: int, lot: Decimal
) -> None:
    total = sum(weights)
    if not total:
        weights, total = [Fraction(1)], Fraction(1)
    slices = integer_schedule(weights, D(qty), lot)
    assert sum(slices) == qty
    assert min(slices) >= 0
    assert all(part % lot == 0 for part in slices[:-1])
    done, wanted = Fraction(0), Fraction(0)
    for part, weight in zip(slices[:-1], weights, strict=False):
        done, wanted = done + Fraction(part), wanted + weight
        exact = Fraction(qty) * wanted / total
        assert exact - Fraction(lot) < done <= exact + Fraction(lot) / 2


@given(
    volumes=st.lists(st.decimals(0, 10**6, places=3), min_size=1, max_size=30).filter(any),
    cuts=st.lists(st.integers(-HOUR, 7 * HOUR), min_size=2, max_size=60, unique=True),
    qty=st.decimals(0, 10**7, places=2),
    lot=st.sampled_from([D(1), D(100), D("0.01"), D(7)]),
)
def test_whole_numbers_plan_what_exact_fractions_plan_to_the_last_share(
    volumes: list[Decimal], cuts: list[int], qty: Decimal, lot: Decimal
) -> None:
    ends = tuple(OPEN + cut for cut in sorted(cuts))
    reference = fractions_between(volumes, ends)
    inputs = facts(curve=tuple(volumes))
    if not sum(reference):
        with pytest.raises(ScheduleError):
            curve_weights(inputs, ends)
        return
    parts, unit = curve_weights(inputs, ends)
    assert [Fraction(part, unit) for part in parts] == reference
    assert integer_schedule(parts, qty, lot) == in_fractions(reference, qty, lot)


def fractions_between(volumes: list[Decimal], ends: tuple[int, ...]) -> list[Fraction]:
    """Volume between the moments, even within a bin, bin by bin in fractions."""
    length = Fraction(6 * HOUR, len(volumes))

    def upto(moment: int) -> Fraction:
        bins = max(Fraction(0), Fraction(moment - OPEN) / length)
        return sum(
            (
                Fraction(volume) * min(Fraction(1), max(Fraction(0), bins - at))
                for at, volume in enumerate(volumes)
            ),
            Fraction(0),
        )

    return [upto(after) - upto(start) for start, after in pairwise(ends)]


def in_fractions(weights: list[Fraction], qty: Decimal, lot: Decimal) -> tuple[Decimal, ...]:
    """The cumulative target half-up to the lot, at most the whole lots; the residual last."""
    total, most, done, reached, slices = sum(weights), qty // lot, Fraction(0), D(0), []
    for weight in weights[:-1]:
        done += weight
        target = min(D(int(Fraction(qty) / Fraction(lot) * done / total + Fraction(1, 2))), most)
        slices.append((target - reached) * lot)
        reached = target
    return (*slices, qty - reached * lot)


@pytest.mark.parametrize(
    ("weights", "qty", "lot", "field"),
    [
        ([], 1, 1, "weights"),
        ([0, 0], 1, 1, "weights"),
        ([1, -1], 1, 1, "weights"),
        ([math.nan], 1, 1, "weights"),
        ([math.inf], 1, 1, "weights"),
        ([1], -1, 1, "qty"),
        ([1], 1, 0, "lot"),
    ],
)
def test_what_makes_no_schedule_is_refused_by_name(
    weights: list[float], qty: int, lot: int, field: str
) -> None:
    with pytest.raises(ScheduleError) as refused:
        integer_schedule(weights, D(qty), D(lot))
    assert refused.value.field == field


# --- every planner ----------------------------------------------------------------------------------------


@given(
    algo=st.sampled_from(["TWAP", "VWAP", "IS", "TARGET_CLOSE"]),
    qty=st.integers(1, 100_000),
    filled=st.integers(0, 100_000),
    lot=st.sampled_from([D(1), D(100)]),
    minutes=st.integers(0, 59),
    slices=st.integers(0, 60),
    size=st.sampled_from([D(0), D("0.3"), D(1)]),
    time=st.sampled_from([D(0), D("0.5"), D(1)]),
    seed=st.integers(0, 2**64 - 1),
    shares=st.tuples(st.sampled_from([D(0), D("0.1"), D(1)]), st.sampled_from([D(0), D("0.25"), D(1)])),
)
def test_a_plan_covers_exactly_what_is_left_in_ascending_lots_inside_its_time(
    algo: str,
    qty: int,
    filled: int,
    lot: Decimal,
    minutes: int,
    slices: int,
    size: Decimal,
    time: Decimal,
    seed: int,
    shares: tuple[Decimal, Decimal],
) -> None:
    asked = terms(
        algo,
        slices=slices,
        randomise_size=size,
        randomise_time=time,
        seed=seed,
        open_share=shares[0],
        close_share=shares[1],
    )
    now = OPEN + minutes * MINUTE_NS
    done = min(filled, qty)
    plan = BUILT_IN[algo].plan(
        asked,
        PlanInputs(
            True,
            D(qty),
            D(done),
            lot,
            now,
            OPEN,
            OPEN + 6 * HOUR,
            OPEN + 6 * HOUR - 10 * MINUTE_NS,
            OPEN + MINUTE_NS // 2,
            tuple(map(D, (5, 3, 1, 1, 2, 6))),
            D(50_000),
            D(1_000_000),
            D("0.02"),
            D("0.02"),
            D(50),
        ),
    )
    assert plan.targets[-1] + plan.close_qty == qty
    assert list(plan.targets) == sorted(plan.targets)
    assert plan.targets[0] >= plan.base_qty == done
    assert all(begin <= late for begin, late in zip(plan.times, plan.releases, strict=True))
    assert all(late <= end for late, end in zip(plan.releases, (*plan.times[1:], plan.end_ns), strict=True))
    assert plan.times[0] == now
    assert plan.end_ns == asked.end_ns


def test_twap_trades_equal_lots_in_equal_times() -> None:
    plan = Twap().plan(terms(slices=4), facts(1000))
    assert plan.targets == tuple(map(D, (300, 500, 800, 1000)))
    assert plan.times == tuple(OPEN + place * HOUR // 4 for place in range(4))
    assert [target_in_time(plan, OPEN + part * HOUR // 8) for part in (0, 1, 2, 7)] == [300, 300, 500, 1000]


def test_vwap_follows_the_curve_and_is_even_within_a_bin() -> None:
    asked = AlgoTerms("VWAP", OPEN, OPEN + 2 * HOUR, slices=4)
    plan = BUILT_IN["VWAP"].plan(asked, facts(8000))
    assert plan.targets == tuple(map(D, (2500, 5000, 6500, 8000)))


def test_vwap_without_a_curve_is_refused_by_name() -> None:
    with pytest.raises(ScheduleError) as refused:
        BUILT_IN["VWAP"].plan(terms("VWAP"), facts(curve=()))
    assert refused.value.field == "weights"


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_one() -> None:
    asked = [terms(randomise_size=D("0.5"), randomise_time=D("0.9"), seed=seed) for seed in (1, 1, 2)]
    first, again, other = (Twap().plan(one, facts(100_000)) for one in asked)
    assert first == again
    assert first.targets != other.targets
    assert first.releases != other.releases


@given(st.integers(0, 2**64 - 1), st.sampled_from([D("0.1"), D("0.5"), D(1)]))
def test_a_randomised_slice_stays_within_its_bound(seed: int, bound: Decimal) -> None:
    plain, random = (
        Twap().plan(terms(randomise_size=size, seed=seed, slices=20), facts(100_000))
        for size in (D(0), bound)
    )
    for one, other in zip(_sizes(plain.targets), _sizes(random.targets), strict=True):
        assert abs(one - other) <= bound * one


def _sizes(targets: tuple[Decimal, ...]) -> list[Decimal]:
    return [after - before for before, after in zip((D(0), *targets), targets, strict=False)]


@given(st.integers(0, 2**64 - 1), st.integers(0, 10_000))
def test_draws_lie_from_zero_to_below_one(seed: int, draw: int) -> None:
    assert 0 <= chance(seed, draw) < 1


def test_draws_are_spread_evenly() -> None:
    draws = [chance(7, draw) for draw in range(10_000)]
    assert [sum(place <= 10 * value < place + 1 for value in draws) for place in range(10)] == pytest.approx(
        [1000] * 10, rel=0.12
    )


# --- POV --------------------------------------------------------------------------------------------------


@given(st.decimals("0.001", "0.9", places=3), st.integers(0, 10**7), st.sampled_from([D(1), D(100)]))
def test_own_volume_is_the_most_whole_lots_that_keep_the_rate(
    rate: Decimal, others: int, lot: Decimal
) -> None:
    own = own_volume(rate, D(others), lot)
    assert own * (1 - rate) <= rate * others < (own + lot) * (1 - rate)


def test_pov_counts_own_volume_in_the_whole() -> None:
    assert own_volume(D("0.1"), D(9000), D(1)) == 1000
    plan = BUILT_IN["POV"].plan(terms("POV", target_rate=D("0.1")), facts())
    assert BUILT_IN["POV"].target(plan, OPEN, D(9000)) == 1000


@pytest.mark.parametrize("rate", [None, D(0), D(1), D("1.5")])
def test_pov_needs_a_rate_between_none_and_all(rate: Decimal | None) -> None:
    with pytest.raises(ScheduleError, match="target_rate"):
        BUILT_IN["POV"].plan(terms("POV", target_rate=rate), facts())


# --- implementation shortfall -----------------------------------------------------------------------------


def test_almgren_and_chriss_table_1() -> None:
    path = almgren_chriss(1e6, 5, 5, **TABLE_1, risk_aversion=1e-6)
    assert path.holdings == pytest.approx((1e6, 541955.6, 289854.2, 147897.5, 62141.8, 0), rel=1e-6)
    assert (path.kappa, path.kappa_tilde) == pytest.approx((0.607076, 0.616441), rel=1e-5)
    assert (path.expected_cost, path.std) == pytest.approx((911226.99, 603430.67), rel=1e-8)
    assert integer_schedule(trades(path.holdings), D(1_000_000), D(100)) == tuple(
        map(D, (458000, 252100, 142000, 85800, 62100))
    )


def test_without_risk_aversion_the_optimal_path_is_a_straight_line() -> None:
    path = almgren_chriss(1e6, 5, 5, **TABLE_1, risk_aversion=0)
    assert path.holdings == pytest.approx((1e6, 8e5, 6e5, 4e5, 2e5, 0))
    assert (path.expected_cost, path.std) == pytest.approx((662500.0, 1040672.86), rel=1e-8)


def test_solving_again_in_the_middle_gives_the_tail_of_the_first_plan() -> None:
    first = almgren_chriss(1e6, 5, 5, **TABLE_1, risk_aversion=1e-6).holdings
    again = almgren_chriss(first[2], 3, 3, **TABLE_1, risk_aversion=1e-6).holdings
    assert again == pytest.approx(first[2:], rel=1e-9)


def test_an_extreme_urgency_overflows_nowhere() -> None:
    path = almgren_chriss(1e6, 5, 50, sigma=50, epsilon=0.01, gamma=1e-9, eta=1e-6, risk_aversion=1)
    assert path.holdings[1] < 1
    assert all(map(math.isfinite, path.holdings))


def test_the_power_law_of_exponent_one_is_the_linear_solution() -> None:
    fine = almgren_chriss(1e6, 5, 5000, sigma=0.95, epsilon=0, gamma=0, eta=2.5e-6, risk_aversion=1e-6)
    power = power_law_holdings(1e6, 5, 5, sigma=0.95, eta=2.5e-6, exponent=1, risk_aversion=1e-6)
    assert power == pytest.approx(fine.holdings[::1000], rel=5e-4)


@pytest.mark.parametrize("exponent", [0.6, 1.5])
def test_no_neighbour_of_a_power_law_path_costs_less(exponent: float) -> None:
    eta, risk, days, periods = 0.05 / (1e4**exponent), 1e-5, 1.0, 40
    path = power_law_holdings(1e5, days, periods, sigma=1.0, eta=eta, exponent=exponent, risk_aversion=risk)

    def cost(holdings: list[float]) -> float:
        tau = days / periods
        pairs = list(pairwise(holdings))
        impact = math.fsum(
            eta * math.pow((before - after) / tau, exponent + 1) * tau for before, after in pairs
        )
        return impact + risk * sum(((before + after) / 2) ** 2 * tau for before, after in pairs)

    best = cost(list(path))
    for stretch in (0.9, 0.97, 1.03, 1.1):
        other = [1e5 * (held / 1e5) ** stretch for held in path]
        assert cost(other) > best


def test_more_risk_aversion_and_more_volatility_trade_sooner() -> None:
    calm, bold, wild = (
        BUILT_IN["IS"].plan(
            terms("IS", slices=6, risk_aversion=D(aversion)), facts(daily_volatility=D(sigma))
        )
        for aversion, sigma in (("0.000001", "0.02"), ("0.001", "0.02"), ("0.000001", "0.5"))
    )
    assert calm.targets[0] < min(bold.targets[0], wild.targets[0])


@pytest.mark.parametrize("field", ["daily_volume", "daily_volatility", "price"])
def test_shortfall_without_a_market_profile_is_refused_by_name(field: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        BUILT_IN["IS"].plan(terms("IS"), replace(facts(), **{field: None}))
    assert refused.value.field == field


# --- the close --------------------------------------------------------------------------------------------


def test_target_close_leaves_all_to_the_auction_unless_the_cap_says_otherwise() -> None:
    plan = BUILT_IN["TARGET_CLOSE"].plan(terms("TARGET_CLOSE"), facts())
    assert (plan.close_qty, set(plan.targets)) == (D(10_000), {D(0)})
    capped = terms("TARGET_CLOSE", max_participation=D("0.1"), slices=4)
    part = BUILT_IN["TARGET_CLOSE"].plan(capped, facts(close_volume=D(36_000)))
    assert part.close_qty == 4000
    sizes = _sizes(part.targets)
    assert sum(sizes) == 6000
    assert sizes == sorted(sizes)


def test_target_close_after_the_cut_off_is_refused_by_name() -> None:
    with pytest.raises(ScheduleError) as refused:
        BUILT_IN["TARGET_CLOSE"].plan(terms("TARGET_CLOSE"), facts(close_cutoff_ns=OPEN))
    assert refused.value.field == "close_cutoff_ns"


def test_a_plan_after_the_end_is_refused_by_name() -> None:
    late = PlanInputs(True, D(100), D(0), D(1), OPEN + HOUR)
    with pytest.raises(ScheduleError) as refused:
        Twap().plan(terms(), late)
    assert refused.value.field == "end_ns"


# --- the registry -----------------------------------------------------------------------------------------


def test_the_registry_has_the_five_algos_and_takes_others_by_name() -> None:
    assert tuple(BUILT_IN) == ("TWAP", "VWAP", "POV", "IS", "TARGET_CLOSE")

    class Mine(Twap):
        name = "MINE"

    assert tuple(registry((*BUILT_IN.values(), Mine()))) == (*BUILT_IN, "MINE")
    with pytest.raises(ValueError, match="two strategies are called TWAP"):
        registry((Twap(), Twap()))
