"""The circuit breaker's arithmetic."""

import pytest

from qtinfra.core.routing import BreakerTerms
from qtinfra.router.breaker import Breaker, BreakerPhase, cooldown_ns, failures_with, opens

pytestmark = pytest.mark.unit

TERMS = BreakerTerms(failures=3, window_ns=100, cooldown_ns=10, max_doublings=2)


def failed(*times: int, lost: bool = False) -> Breaker:
    breaker = Breaker()
    for when in times:
        breaker.failed(lost, when, TERMS)
    return breaker


def test_it_opens_with_the_failure_that_is_one_too_many() -> None:
    assert not opens(None, 5, TERMS)
    assert not opens(failed(1), 5, TERMS)
    assert opens(failed(1, 2), 5, TERMS)


def test_failures_outside_the_window_are_forgotten() -> None:
    assert not opens(failed(1, 2), 101, TERMS)
    assert failures_with(failed(1, 2), 101, TERMS) == 2


def test_an_answer_clears_refusals_but_not_lost_links() -> None:
    refused, lost = failed(1, 2), failed(1, 2, lost=True)
    refused.answered(3, TERMS)
    lost.answered(3, TERMS)
    assert not opens(refused, 5, TERMS)
    assert opens(lost, 5, TERMS)
    lost.answered(200, TERMS)
    assert lost.clear


def test_no_more_failures_are_kept_than_open_it() -> None:
    assert len(failed(*range(50)).refused) == TERMS.failures


def test_it_blocks_until_its_cool_down_is_over_and_reopens_when_the_probe_fails() -> None:
    breaker = Breaker(BreakerPhase.OPEN, until_ns=20)
    assert breaker.blocks(19)
    assert not breaker.blocks(20)
    assert not opens(breaker, 5, TERMS)
    assert opens(Breaker(BreakerPhase.HALF_OPEN), 5, TERMS)


def test_the_cool_down_doubles_up_to_a_limit() -> None:
    assert [cooldown_ns(Breaker(trips=trips), TERMS) for trips in range(5)] == [10, 20, 40, 40, 40]
