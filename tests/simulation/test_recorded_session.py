"""Sessions against a recorded and a generated market, in one process: determinism and the proof."""

import pytest

from qtinfra.bootstrap import synthetic_market
from qtinfra.journal.memory import MemoryJournal
from qtinfra.runtime.recorded_session import run_recorded_session
from qtinfra.runtime.session import RandomFlow, SessionResult
from qtinfra.runtime.synthetic_session import OPEN_NS, SECOND_NS, run_synthetic_session
from qtinfra.venues.simulated.recorded import LobsterMarket
from tests.support.requirements import require_data

pytestmark = pytest.mark.simulation

RECORDING = "lobster/AAPL_2012-06-21_"


def recorded(*, orders: int, seed: int, batch: int = 64) -> SessionResult:
    """The first thousand messages of the recording, against which some orders are sent."""
    messages = require_data(f"{RECORDING}message_10_first1000.csv.gz")
    book = require_data(f"{RECORDING}orderbook_10_first1000.csv.gz")
    market = LobsterMarket.from_files(
        require_data(f"{RECORDING}34200000_37800000_message_50.csv.gz"), messages, book
    )
    journal = MemoryJournal.fresh()
    return run_recorded_session(market, journal, RandomFlow(orders, seed, batch), epoch=journal.epoch)


def generated(*, orders: int, seed: int, batch: int = 64) -> SessionResult:
    journal = MemoryJournal.fresh()
    market = synthetic_market(seed, ("KO", "JPM"), OPEN_NS + 120 * SECOND_NS)
    return run_synthetic_session(
        market, journal, RandomFlow(orders, seed, batch), epoch=journal.epoch, minutes=2
    )


def test_our_orders_do_not_alter_the_recorded_book() -> None:
    few, many = recorded(orders=3, seed=5), recorded(orders=300, seed=6)
    assert few.bbo_changes == many.bbo_changes == 23_439
    assert few.bbo_distinct == many.bbo_distinct
    assert (few.orders, many.orders) == (3, 300)


def test_a_recorded_session_proves_itself_whatever_its_seed() -> None:
    result = recorded(orders=150, seed=9)
    assert result.decide_equal
    assert result.state_hash == result.replay_state_hash
    assert result.violations == ()


@pytest.mark.parametrize("batch", [1, 7])
def test_batching_changes_no_decision(batch: int) -> None:
    base, other = generated(orders=60, seed=3), generated(orders=60, seed=3, batch=batch)
    assert other.chain_hash == base.chain_hash
    assert other.state_hash == base.state_hash
    assert other.frames >= base.frames


def test_another_seed_gives_another_session() -> None:
    assert generated(orders=30, seed=1).chain_hash != generated(orders=30, seed=2).chain_hash


def test_the_quotes_of_a_generated_market_are_watched_and_never_crossed() -> None:
    result = generated(orders=30, seed=1)
    assert result.messages > 500
    assert result.bbo_changes >= result.bbo_distinct > 0
    assert result.bbo_crossed == 0
    assert result.bbo_official_share is None
