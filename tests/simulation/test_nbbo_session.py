"""Sessions against recorded trades and the national best bid and offer: determinism and the proof."""

from __future__ import annotations

import msgspec
import pytest

from qtinfra.journal.memory import MemoryJournal
from qtinfra.runtime.nbbo_session import NbboSessionResult, run_nbbo_session
from qtinfra.runtime.session import RandomFlow
from qtinfra.venues.simulated.nbbo import NbboMarket
from tests.support.requirements import require_data

pytestmark = pytest.mark.simulation


def market(day: str = "20131007") -> NbboMarket:
    return NbboMarket.from_files(
        require_data(f"nbbo_ticks/ibm_{day}_quote.zip"), require_data(f"nbbo_ticks/ibm_{day}_trade.zip")
    )


def session(*, orders: int, seed: int, batch: int = 64, day: str = "20131007") -> NbboSessionResult:
    journal = MemoryJournal.fresh()
    recording = market(day)
    return run_nbbo_session(recording, journal, RandomFlow(orders, seed, batch), epoch=journal.epoch)


@pytest.mark.parametrize(
    ("day", "crossed", "locked"),
    [("20131007", 86, 648), ("20131008", 79, 1_037), ("20131009", 107, 586)],
)
def test_a_recorded_day_trades_and_its_journal_leads_to_its_state(
    day: str, crossed: int, locked: int
) -> None:
    result = session(orders=300, seed=1, day=day)
    assert (result.crossed, result.locked) == (crossed, locked)
    assert result.orders > 250
    assert result.passive_fills >= 50
    assert result.queued_fills > 0
    assert result.violations == ()
    assert result.invariant_violations == 0
    assert result.state_hash == result.replay_state_hash
    assert result.decide_equal


def test_the_size_of_frames_changes_nothing_but_their_number() -> None:
    small, large = session(orders=120, seed=7, batch=1), session(orders=120, seed=7, batch=64)
    assert small.frames > large.frames
    forgiven = {"batch", "frames"}
    one, other = msgspec.structs.asdict(small), msgspec.structs.asdict(large)
    assert {key: one[key] for key in one.keys() - forgiven} == {
        key: other[key] for key in other.keys() - forgiven
    }


def test_our_orders_do_not_alter_the_recorded_quote() -> None:
    few, many = session(orders=3, seed=5), session(orders=300, seed=6)
    assert (few.bbo_changes, few.bbo_distinct) == (many.bbo_changes, many.bbo_distinct)
    assert few.state_hash != many.state_hash
