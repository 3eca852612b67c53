"""What a simulated venue says has printed: other people's trades and ours, nothing twice."""

from decimal import Decimal

import pytest

from qtinfra.core.models import OrderSide
from qtinfra.marketdata.lobster import EXECUTION, HIDDEN_EXECUTION, NEW
from qtinfra.marketdata.nbbo import OFF_EXCHANGE
from qtinfra.venues.simulated.dark import DarkVenue
from qtinfra.venues.simulated.matching import MatchingVenue
from qtinfra.venues.simulated.model import PrintsVolume
from qtinfra.venues.simulated.recorded import RecordedVenue
from tests.unit.venues.test_nbbo import Desk as NbboDesk
from tests.unit.venues.test_recorded import Desk as RecordedDesk

pytestmark = pytest.mark.unit


def printed(qty: int, price: str | None) -> tuple[Decimal, Decimal | None]:
    return Decimal(qty), None if price is None else Decimal(price)


def test_a_recorded_book_counts_its_executions_and_what_we_take() -> None:
    desk = RecordedDesk()
    assert desk.venue.printed("ABC") == printed(0, None)
    desk.tape(NEW, 1, 10, "100")
    desk.tape(EXECUTION, 1, 4, "100")
    desk.tape(HIDDEN_EXECUTION, 0, 5, "100.5")
    assert desk.venue.printed("ABC") == printed(9, "100.5")
    desk.buy("A", 30, "101")
    assert desk.venue.printed("ABC") == printed(39, "101")
    assert desk.venue.printed("XYZ") == printed(0, None)


def test_a_recorded_tape_counts_trades_at_the_market_and_what_we_take() -> None:
    desk = NbboDesk()
    assert desk.venue.printed("ABC") == printed(0, None)
    desk.trade("100.01", 300)
    desk.trade("100.02", 5_000, exchange=OFF_EXCHANGE)
    assert desk.venue.printed("ABC") == printed(300, "100.01")
    desk.new("A", OrderSide.BUY, 200, "100.02")
    assert desk.venue.printed("ABC") == printed(500, "100.02")


def test_a_dark_pool_prints_nothing_that_a_schedule_follows() -> None:
    assert issubclass(MatchingVenue, PrintsVolume)
    assert issubclass(RecordedVenue, PrintsVolume)
    assert not issubclass(DarkVenue, PrintsVolume)
