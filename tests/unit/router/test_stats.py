"""Beta-Binomial statistics in whole numbers, their intervals, and the histogram of delays."""

from decimal import Decimal
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.routing import PPM, Activity
from qtinfra.router.stats import (
    PRIORS,
    Tally,
    beta_cdf,
    beta_quantile,
    bucket_of,
    bucket_top_ns,
    chance,
    chance_in_full,
    interval,
    percentile_ns,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("activity", list(Activity))
def test_without_trials_the_prior_speaks(activity: Activity) -> None:
    yes, no = PRIORS[activity]
    assert chance(None, activity).full_ppm == chance(Tally(), activity).full_ppm == yes * PPM // (yes + no)


def test_the_posterior_mean_counts_the_trials_that_have_ended() -> None:
    tally = Tally(sent=40, filled=6, partly=2, missed=22, share_ppm=7 * PPM)
    found = chance(tally, Activity.TAKE)
    assert found.full_ppm == (9 + 6) * PPM // 40
    assert found.share_ppm == (9 + 7) * PPM // 40


@pytest.mark.parametrize("activity", list(Activity))
@pytest.mark.parametrize("tally", [None, Tally(), Tally(40, 6, 2, 22, 7 * PPM), Tally(9, 0, 1, 3, 5)])
def test_the_chance_in_full_alone_is_the_same(tally: Tally | None, activity: Activity) -> None:
    assert chance_in_full(tally, activity) == chance(tally, activity).full_ppm


def binomial_tail(x: Fraction, a: int, b: int) -> Fraction:
    """I_x(a, b) = P(at least a of a + b - 1 trials succeed), exactly."""
    n = a + b - 1
    return sum((comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1)), Fraction(0))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 99))
def test_the_incomplete_beta_function_is_the_binomial_tail(a: int, b: int, percent: int) -> None:
    x = Fraction(percent, 100)
    assert abs(Fraction(beta_cdf(Decimal(percent) / 100, a, b)) - binomial_tail(x, a, b)) < Fraction(
        1, 10**14
    )


@pytest.mark.parametrize(("a", "b"), [(1, 1), (9, 1), (2, 30), (4_000, 900), (90_000, 250_000)])
def test_a_quantile_is_where_the_distribution_function_reaches_it(a: int, b: int) -> None:
    for probability in (Decimal("0.025"), Decimal("0.5"), Decimal("0.975")):
        reached = beta_cdf(beta_quantile(probability, a, b), a, b)
        assert abs(reached - probability) < Decimal("1e-6")


def test_an_interval_narrows_with_trials_and_holds_the_mean() -> None:
    few, many = Tally(20, 15, 0, 5), Tally(2_000, 1_500, 0, 500)
    (low, high), (lower, higher) = interval(few, Activity.POST), interval(many, Activity.POST)
    assert low < lower < chance(many, Activity.POST).full_ppm < higher < high
    with pytest.raises(ValueError, match="level"):
        interval(few, Activity.POST, Decimal(1))


@given(st.integers(0, 10**15))
def test_a_delay_falls_in_a_bucket_that_overstates_it_by_an_eighth_at_most(delay_ns: int) -> None:
    top = bucket_top_ns(bucket_of(delay_ns))
    assert delay_ns <= top <= delay_ns + delay_ns // 8
    assert bucket_of(top) == bucket_of(delay_ns) < bucket_of(top + 1)


def test_percentiles_are_those_of_what_was_counted() -> None:
    counts = {bucket_of(value): 25 for value in (1_000, 2_000, 4_000, 8_000)}
    assert percentile_ns({}, 50) is None
    assert [bucket_of(percentile_ns(counts, p) or 0) for p in (25, 50, 99)] == [
        bucket_of(1_000),
        bucket_of(2_000),
        bucket_of(8_000),
    ]
