"""A schedule that the day's volume steers: on plan on a plain day, ahead on an early one, else behind."""

from decimal import Decimal
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.strategies.inputs import MINUTE_NS, PlanInputs, target_in_time
from qtinfra.core.strategies.registry import BUILT_IN
from qtinfra.core.strategies.steering import CATCH_UP, PRIOR, STRAY, expected_rate, steered_target
from qtinfra.core.strategies.vwap import Vwap

pytestmark = pytest.mark.unit

D = Decimal
OPEN = 1_000_000 * MINUTE_NS
SLICES = 10
EVEN = (1,) * SLICES
LATE, EARLY = (1, 1, 1, 1, 1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 1, 1, 1, 1)


def planned(
    qty: int,
    volume: int | None = 100_000,
    curve: tuple[int, ...] = EVEN,
    lot: int = 1,
    vwap: Vwap | None = None,
) -> Schedule:
    """Ten minutes of a session of ten minutes."""
    inputs = PlanInputs(
        True,
        D(qty),
        D(0),
        D(lot),
        OPEN,
        OPEN,
        OPEN + SLICES * MINUTE_NS,
        curve=tuple(map(D, curve)),
        daily_volume=D(volume) if volume is not None else None,
    )
    asked = AlgoTerms("VWAP", OPEN, OPEN + SLICES * MINUTE_NS, slices=SLICES)
    return (vwap or Vwap()).plan(asked, inputs)


def worked(plan: Schedule, volumes: tuple[int, ...], lot: int = 1) -> list[Decimal]:
    """What is executed at the end of each interval when all that is due trades."""
    done, reached = D(0), []
    for place, seen in enumerate([0, *accumulate(volumes)][:-1]):
        now = plan.times[place]
        target = steered_target(plan, now, D(seen), done, D(lot))
        done = max(done, target_in_time(plan, now) if target is None else target)
        reached.append(done)
    return reached


def distance(reached: list[Decimal], volumes: tuple[int, ...]) -> Fraction:
    """Mean distance of the executed part from the part of the day's volume that has printed."""
    total, qty = sum(volumes), Fraction(reached[-1])
    gaps = (
        abs(Fraction(r) / qty - Fraction(v, total)) for r, v in zip(reached, accumulate(volumes), strict=True)
    )
    return sum(gaps, Fraction(0)) / len(volumes)


def test_a_day_that_comes_as_expected_leaves_the_plan_as_it_is() -> None:
    plan = planned(10_000)
    assert worked(plan, (10_000,) * SLICES) == list(plan.targets)


@pytest.mark.parametrize("level", [0.75, 1, 1.25])
@pytest.mark.parametrize("shape", [LATE, EARLY])
def test_a_day_whose_volume_comes_late_or_early_is_followed_closer_than_by_the_curve(
    shape: tuple[int, ...], level: float
) -> None:
    volumes = tuple(int(4_000 * level * part) for part in shape)
    plan = planned(10_000)
    assert distance(worked(plan, volumes), volumes) < distance(list(plan.targets), volumes)


def test_the_target_is_the_part_of_the_day_at_the_level_that_it_has_shown() -> None:
    """Half the time gone, twice the volume seen: level (1/4 + 1) / (1/4 + 1/2), target by hand."""
    plan = planned(1_000_000, 1_000_000)
    level = Fraction(5, 3)
    aim = (1 + level / 10) / (1 + level / 2)
    assert (D("0.25"), D("0.15")) == (PRIOR, STRAY)
    assert steered_target(plan, plan.times[5], D(1_000_000), D(600_000), D(1)) == int(
        aim * 1_000_000 + Fraction(1, 2)
    )


@given(
    qty=st.integers(1, 50_000),
    lot=st.sampled_from([1, 100]),
    curve=st.lists(st.integers(0, 50), min_size=SLICES, max_size=SLICES).filter(any),
    volumes=st.lists(st.integers(0, 40_000), min_size=SLICES, max_size=SLICES),
    daily=st.integers(1, 10**7),
)
def test_a_steered_order_never_passes_its_size_catches_up_within_its_bound_and_ends_complete(
    qty: int, lot: int, curve: list[int], volumes: list[int], daily: int
) -> None:
    plan = planned(qty, daily, tuple(curve), lot)
    reached = worked(plan, tuple(volumes), lot)
    assert reached == sorted(reached)
    assert reached[-1] == qty
    before = D(0)
    for place, now in enumerate(reached[:-1]):
        rest = plan.targets[-1] - (plan.targets[place - 1] if place else D(0))
        worth = Fraction(plan.targets[place] - plan.targets[place - 1] if place else plan.targets[0])
        bound = (
            Fraction(CATCH_UP) * (qty - Fraction(before)) * worth / Fraction(rest) if rest else Fraction(0)
        )
        assert Fraction(now - before) <= max(Fraction(lot), Fraction(worth), bound + Fraction(lot, 2))
        before = now


@pytest.mark.parametrize("scale", [D("0.01"), D(100)], ids=["a hundredth", "a hundredfold"])
def test_a_profile_of_another_scale_or_a_dead_feed_keeps_the_order_near_its_plan(scale: Decimal) -> None:
    plan = planned(10_000)
    volumes = [(10_000 * scale).to_integral_value()] * SLICES
    for day in (volumes, [*volumes[:3], *[D(0)] * 7]):
        reached = worked(plan, tuple(map(int, day)))
        assert all(
            abs(have - want) <= STRAY * 10_000 for have, want in zip(reached, plan.targets, strict=True)
        )


def test_without_volume_without_an_expectation_and_at_the_ends_the_plan_itself_counts() -> None:
    plan = planned(10_000)
    assert steered_target(plan, plan.times[5], D(0), D(0), D(1)) is None
    assert steered_target(plan, plan.times[0], D(100), D(0), D(1)) is None
    assert steered_target(plan, plan.times[-1], D(100), D(0), D(1)) is None
    assert steered_target(plan, OPEN - 1, D(100), D(0), D(1)) is None
    for fixed in (planned(10_000, None), planned(10_000, vwap=Vwap(steered=False))):
        assert fixed.rate is None
        assert steered_target(fixed, fixed.times[5], D(100), D(0), D(1)) is None


def test_the_expected_rate_is_of_the_order_s_own_time() -> None:
    assert planned(1_000, 99_000).rate == D("0.01")
    inputs = PlanInputs(
        True,
        D(1_000),
        D(0),
        D(1),
        OPEN,
        OPEN,
        OPEN + 20 * MINUTE_NS,
        curve=(D(3), D(1)),
        daily_volume=D(12_000),
    )
    half = AlgoTerms("VWAP", OPEN, OPEN + 10 * MINUTE_NS)
    assert BUILT_IN["VWAP"].plan(half, inputs).rate == D("0.1")
    assert expected_rate(D(0), D(5)) is None
    assert expected_rate(D(5), D(0)) is None
    assert expected_rate(D(1), D(10) ** 30) is None
