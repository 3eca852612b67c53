"""The demonstration shows what it promises, for any seed, and its figures add up."""

from collections import Counter
from decimal import Decimal
from functools import cache

import pytest

from qtinfra.bootstrap import SYNTHETIC_SYMBOLS, synthetic_market
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import AnyEvent as Event
from qtinfra.core.events import ChildAcked, ChildConfirmed, ChildEnded, ChildUnknown, VenueStatusSet
from qtinfra.core.models import ChildStatus
from qtinfra.journal.memory import MemoryJournal
from qtinfra.runtime.demo import CLOSE_NS, DemoResult, run_demo

pytestmark = pytest.mark.simulation

FIRST_SET = {
    "max_order_qty",
    "max_order_value",
    "price_collar",
    "position_limit",
    "restricted_symbol",
    "tick_size",
    "lot_size",
    "duplicate_client_order_id",
    "unknown_symbol",
    "kill_switch",
}


@cache
def session(seed: int, batch: int = 64) -> tuple[DemoResult, tuple[Event, ...]]:
    journal = MemoryJournal.fresh()
    market = synthetic_market(seed, SYNTHETIC_SYMBOLS, CLOSE_NS)
    result = run_demo(market, journal, epoch=journal.epoch, orders=120, seed=seed, batch=batch)
    return result, tuple(event for entry in journal.read() for event in entry.events)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_control_of_the_first_set_refuses_something_and_names_itself(seed: int) -> None:
    result, _ = session(seed)
    assert set(result.refusal_rules) >= FIRST_SET


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_orders_trade_on_every_venue_and_break_no_invariant(seed: int) -> None:
    result, _ = session(seed)
    assert result.orders >= 100
    assert len(result.blotter.venues) == 3
    assert all(line.fills for line in result.blotter.venues)
    assert len({line.symbol for line in result.blotter.positions}) >= 4
    assert result.replaced and result.cancelled and result.busted == 1 and result.corrected == 1
    assert result.violations == ()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_in_doubt_when_the_link_broke_is_resolved_by_resend_and_status(seed: int) -> None:
    result, events = session(seed)
    back = max(place for place, event in enumerate(events) if isinstance(event, VenueStatusSet))
    doubtful = {event.child_id for event in events if isinstance(event, ChildUnknown)}
    resent = [event for event in events if isinstance(event, ChildAcked) and event.child_id in doubtful]
    after = events[back:]
    confirmed = [event for event in after if isinstance(event, ChildConfirmed)]
    never = [
        event for event in after if isinstance(event, ChildEnded) and event.status == ChildStatus.NOT_RECEIVED
    ]
    assert len(doubtful) >= 3
    assert resent and confirmed and never
    assert result.unresolved == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_journal_replays_and_decides_to_the_same_bytes(seed: int) -> None:
    result, _ = session(seed)
    assert result.decide_equal
    assert result.state_hash == result.replay_state_hash


def test_batches_of_one_and_of_sixty_four_give_equal_histories() -> None:
    one, sixty_four = session(1, 1)[0], session(1)[0]
    assert one.state_hash == sixty_four.state_hash
    assert one.chain_hash == sixty_four.chain_hash
    assert one.timeline == sixty_four.timeline


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_profit_and_loss_by_account_equals_the_reckoning_from_cash(seed: int) -> None:
    blotter = session(seed)[0].blotter
    for account in blotter.accounts:
        own = [line for line in blotter.positions if line.account == account.account]
        assert account.net == sum((line.net for line in own), ZERO)
        assert account.net == account.realised + account.unrealised - account.fees
        assert account.net == account.cash_flow + account.market_value
        assert account.agrees
    fees = sum((line.fees for line in blotter.venues), Decimal(0))
    assert fees == sum((line.fees for line in blotter.accounts), Decimal(0))


def test_the_blotter_counts_every_order_once() -> None:
    result, _ = session(1)
    by_line = Counter((line.account, line.status.value) for line in result.blotter.orders)
    by_status = {
        (account, status): number
        for account, counts in result.blotter.statuses.items()
        for status, number in counts.items()
    }
    assert by_line == by_status
    assert sum(by_status.values()) == result.orders


def test_the_timeline_tells_the_whole_script_in_order() -> None:
    result, _ = session(1)
    told = [moment.ts_ns for moment in result.timeline]
    assert told == sorted(told)
    asked = " | ".join(moment.asked for moment in result.timeline)
    for word in (
        "busts its fill",
        "corrects its fill",
        "the link breaks",
        "kill switch",
        "mass cancel",
        "close",
    ):
        assert word in asked
