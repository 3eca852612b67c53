"""Rate limits: exact at the limit, per identity, bounded, and not to be reset by anybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.exceptions import OrderValidationError
from qtinfra.infra.security.ratelimit import LOG_LENGTH, RateLimiter

pytestmark = pytest.mark.unit

SECOND = 1_000_000_000
MS = 1_000_000


def test_bi_051_the_hundredth_in_a_second_passes_and_the_hundred_and_first_waits() -> None:
    limiter = RateLimiter(100)
    assert [limiter.take("t-7", 1, n * 9 * MS) for n in range(100)] == [None] * 100
    assert limiter.take("t-7", 1, 999 * MS) == pytest.approx(0.001)
    assert limiter.take("t-7", 1, SECOND - 1) == pytest.approx(1e-9)
    assert limiter.take("t-7", 1, SECOND) is None


def test_the_wait_is_the_time_after_which_it_passes() -> None:
    limiter = RateLimiter(3)
    for at in (0, 100 * MS, 200 * MS):
        assert limiter.take("t", 1, at) is None
    assert limiter.take("t", 1, 300 * MS) == pytest.approx(0.7)
    assert limiter.take("t", 2, 300 * MS) == pytest.approx(0.8)
    assert limiter.take("t", 3, 300 * MS) == pytest.approx(0.9)
    assert limiter.take("t", 2, 300 * MS + 800 * MS) is None


def test_what_is_refused_costs_nothing() -> None:
    limiter = RateLimiter(2)
    assert limiter.take("t", 2, 0) is None
    for n in range(50):
        assert limiter.take("t", 1, n * MS) is not None
    assert limiter.take("t", 2, SECOND) is None


def test_each_subject_has_its_own_limit() -> None:
    limiter = RateLimiter(1)
    assert [limiter.take(name, 1, 0) for name in ("a", "b", "c")] == [None] * 3
    assert limiter.take("a", 1, 1) is not None


def test_a_cost_of_nothing_passes_and_leaves_no_trace() -> None:
    limiter = RateLimiter(1)
    assert limiter.take("a", 0, 0) is None
    assert len(limiter) == 0


def test_a_cost_above_the_limit_can_never_pass_and_says_so() -> None:
    with pytest.raises(OrderValidationError) as refused:
        RateLimiter(10).take("a", 11, 0)
    assert refused.value.error_code == "rate_cost"
    assert refused.value.context == {"field": "cost", "rule": "rate_cost", "limit": 10, "value": 11}


@pytest.mark.parametrize(
    "settings", [{"limit": 0}, {"limit": 1, "window_ns": 0}, {"limit": 1, "max_subjects": 0}]
)
def test_a_limiter_without_room_cannot_be_made(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 1 or more, is 0"):
        RateLimiter(**settings)
    with pytest.raises(ValueError, match="cost must be 0 or more"):
        RateLimiter(1).take("a", -1, 0)


def test_time_that_goes_back_gives_nothing_back() -> None:
    limiter = RateLimiter(1)
    assert limiter.take("a", 1, 5 * SECOND) is None
    assert limiter.take("a", 1, 0) == pytest.approx(1.0)
    assert limiter.take("a", 1, 6 * SECOND) is None


def test_a_subject_cannot_be_pushed_out_while_its_window_lasts() -> None:
    limiter = RateLimiter(1, max_subjects=3)
    assert limiter.take("victim-of-itself", 1, 0) is None
    waits = [limiter.take(f"sybil-{n}", 1, n + 1) for n in range(10)]
    assert waits[:2] == [None, None]
    assert all(wait is not None and wait == pytest.approx(1.0, abs=1e-6) for wait in waits[2:])
    assert limiter.take("victim-of-itself", 1, 20) is not None
    assert len(limiter) == 3


def test_a_subject_whose_window_has_passed_makes_room() -> None:
    limiter = RateLimiter(2, max_subjects=2)
    for name, at in (("a", 0), ("b", 1), ("a", 2)):
        assert limiter.take(name, 1, at) is None
    assert limiter.take("c", 1, SECOND) == pytest.approx(1e-9)
    assert limiter.take("c", 1, SECOND + 1) is None
    assert limiter.take("a", 1, SECOND + 1) is None
    assert limiter.take("a", 1, SECOND + 1) is not None  # its spending at 2 ns was kept


requests = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 5)), max_size=80)


@given(limit=st.integers(5, 30), steps=requests)
def test_a_limit_up_to_the_log_s_length_is_the_exact_sliding_window(
    limit: int, steps: list[tuple[int, int]]
) -> None:
    limiter, now = RateLimiter(limit, window_ns=1000), 0
    passed: list[tuple[int, int]] = []
    for step, cost in steps:
        now += step
        spent = sum(paid for at, paid in passed if at > now - 1000)
        wait = limiter.take("t", cost, now)
        assert (wait is None) == (spent + cost <= limit)
        if wait is None:
            passed.append((now, cost))
        else:
            later = now + round(wait * SECOND)
            assert sum(paid for at, paid in passed if at > later - 1000) + cost <= limit
            assert sum(paid for at, paid in passed if at > later - 1 - 1000) + cost > limit


@given(steps=st.lists(st.tuples(st.integers(0, 3 * MS), st.integers(1, 900)), max_size=300))
def test_a_high_limit_never_lets_more_through_and_holds_few_entries(steps: list[tuple[int, int]]) -> None:
    limit = 5_000
    limiter, now = RateLimiter(limit), 0
    passed: list[tuple[int, int]] = []
    for step, cost in steps:
        now += step
        if limiter.take("t", cost, now) is None:
            passed.append((now, cost))
            assert sum(paid for at, paid in passed if at > now - SECOND) <= limit
    assert len({-(-at // (-(-SECOND // LOG_LENGTH))) for at, _ in passed}) <= LOG_LENGTH + 1


def test_a_high_limit_passes_whole_within_a_window_and_again_a_grain_later() -> None:
    limiter = RateLimiter(20_000)
    assert all(limiter.take("t", 1, n * 40_000) is None for n in range(20_000))
    assert limiter.take("t", 1, 800 * MS) is not None
    grain = -(-SECOND // LOG_LENGTH)
    assert limiter.take("t", 1, SECOND + grain) is None


def test_a_high_limit_counts_from_the_end_of_a_grain_so_that_nothing_ends_early() -> None:
    grain = -(-SECOND // LOG_LENGTH)
    limiter = RateLimiter(5_000)
    assert limiter.take("t", 5_000, grain - 1) is None
    assert limiter.take("t", 1, SECOND + grain - 2) is not None
    assert limiter.take("t", 1, SECOND + grain) is None
