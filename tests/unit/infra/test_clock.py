"""The system clock: UTC that never runs backwards and is corrected by 500 ppm at most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.infra.clock import CHECK_EVERY_NS, MAX_SLEW_PPM, ManualClock, SystemClock

pytestmark = pytest.mark.unit

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START_NS = 1_720_000_000 * SECOND


class Machine:
    """A wall clock and a monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.wall_ns = START_NS
        self.monotonic_ns = 77 * SECOND

    def clock(self) -> SystemClock:
        return SystemClock(lambda: self.wall_ns, lambda: self.monotonic_ns)

    def pass_time(self, ns: int) -> None:
        self.wall_ns += ns
        self.monotonic_ns += ns


def test_it_begins_with_the_wall_clocks_time() -> None:
    assert Machine().clock().now_ns() == START_NS


def test_it_follows_time_that_passes() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_time(90 * SECOND + 7)
    assert clock.now_ns() == START_NS + 90 * SECOND + 7


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_wall_clock_that_jumps_an_hour_does_not_step_it(jump: int) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_time(2 * SECOND)
    before = clock.now_ns()
    machine.wall_ns += jump
    machine.pass_time(CHECK_EVERY_NS)
    assert abs(clock.now_ns() - before - CHECK_EVERY_NS) <= CHECK_EVERY_NS * MAX_SLEW_PPM // 1_000_000
    assert abs(clock.behind_ns) > HOUR - SECOND


def test_an_hour_is_worked_off_in_two_thousand_hours() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns += HOUR
    machine.pass_time(CHECK_EVERY_NS)
    clock.now_ns()
    for _ in range(2000):
        machine.pass_time(HOUR)
        clock.now_ns()
    assert clock.behind_ns == 0


def test_a_small_difference_is_worked_off_and_not_beyond_however_rarely_it_is_asked() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ns += 1_000_000
    machine.pass_time(CHECK_EVERY_NS)
    clock.now_ns()
    machine.pass_time(HOUR)
    assert clock.now_ns() == machine.wall_ns
    assert clock.behind_ns == 0


Step = tuple[int, int]
STEPS = st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(-HOUR, HOUR)), min_size=1, max_size=60)


@given(STEPS)
def test_between_any_two_readings_it_advances_with_real_time_within_500_ppm(steps: list[Step]) -> None:
    machine = Machine()
    clock = machine.clock()
    last = clock.now_ns()
    for elapsed, jump in steps:
        machine.pass_time(elapsed)
        machine.wall_ns += jump
        now = clock.now_ns()
        assert now >= last
        assert abs(now - last - elapsed) <= elapsed * MAX_SLEW_PPM // 1_000_000 + 1
        last = now


def test_the_real_clocks_are_used_by_default() -> None:
    clock = SystemClock()
    assert clock.now_ns() <= clock.now_ns()


def test_a_manual_clock_moves_forwards_only() -> None:
    clock = ManualClock(5)
    clock.advance_to(9)
    clock.advance_to(3)
    assert clock.now_ns() == 9
