"""What is remembered beside the state follows the state, and is no part of it."""

from decimal import Decimal

import pytest

from qtinfra.core.commands import (
    AnyCommand,
    EngageKillSwitch,
    Inbound,
    ReleaseKillSwitch,
    SetReference,
    SetVenueStatus,
    StartEpoch,
)
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    Instrument,
    KillScope,
    Venue,
    VenueStatus,
)
from qtinfra.core.market import NO_MARKET, ConsolidatedBook, VenueQuote
from qtinfra.core.models import AssetClass, Currency
from qtinfra.engine.decide.routing import top_of
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.lookup import open_venues
from qtinfra.engine.state import State, decode_state, encode_state, state_hash

pytestmark = pytest.mark.unit

MICS = ("XAAA", "XBBB")


@pytest.fixture
def kernel() -> Kernel:
    kernel = Kernel(State())
    instrument = Instrument("TEST", AssetClass.EQUITY, Currency.USD, MICS, US_EQUITY_TICKS)
    accounts = (Account("a", "c", Currency.USD), Account("b", "c", Currency.USD))
    venues = tuple(Venue(mic, mic, Currency.USD) for mic in MICS)
    run(kernel, StartEpoch(1), SetReference((instrument,), accounts, venues))
    run(kernel, *(SetVenueStatus(mic, VenueStatus.CONNECTED) for mic in MICS))
    return kernel


def run(kernel: Kernel, *commands: AnyCommand) -> None:
    for command in commands:
        assert kernel.execute(Inbound(command), 1, NO_MARKET).events


def mics(kernel: Kernel) -> tuple[str, ...]:
    return tuple(venue.mic for venue in open_venues(kernel.state, "TEST"))


def test_a_disconnected_or_killed_venue_is_not_open_and_comes_back(kernel: Kernel) -> None:
    assert mics(kernel) == MICS
    run(kernel, SetVenueStatus("XAAA", VenueStatus.DISCONNECTED))
    assert mics(kernel) == ("XBBB",)
    run(kernel, SetVenueStatus("XAAA", VenueStatus.CONNECTED))
    assert mics(kernel) == MICS
    run(kernel, EngageKillSwitch(KillScope.VENUE, "XBBB"))
    assert mics(kernel) == ("XAAA",)
    run(kernel, ReleaseKillSwitch(KillScope.VENUE, "XBBB"))
    assert mics(kernel) == MICS


def test_new_fees_and_listings_count_from_the_next_order_on(kernel: Kernel) -> None:
    assert mics(kernel) == MICS
    turned = Instrument("TEST", AssetClass.EQUITY, Currency.USD, MICS[::-1], US_EQUITY_TICKS)
    dear = Venue("XBBB", "dear", Currency.USD, Decimal(1))
    run(kernel, SetReference((turned,), (), (dear,)))
    assert mics(kernel) == MICS[::-1]
    assert open_venues(kernel.state, "TEST")[0].take_fee == 1


def test_what_is_remembered_is_neither_encoded_nor_hashed(kernel: Kernel) -> None:
    before = state_hash(kernel.state)
    open_venues(kernel.state, "TEST")
    assert state_hash(kernel.state) == before
    assert decode_state(encode_state(kernel.state)) == kernel.state


def best(kernel: Kernel, book: ConsolidatedBook) -> str | None:
    """The venue that a buy goes to first."""
    offer = top_of(kernel.state, book, True).offer
    return offer[4] if offer is not None else None


def test_the_best_offer_that_is_remembered_follows_the_book_and_the_venues(kernel: Kernel) -> None:
    def quote(mic: str, price: str) -> VenueQuote:
        return VenueQuote(mic, (), ((Decimal(price), Decimal(100)),), 1)

    book = ConsolidatedBook("TEST", (quote("XAAA", "10.01"), quote("XBBB", "10.02")))
    assert (best(kernel, book), best(kernel, book)) == ("XAAA", "XAAA")
    run(kernel, SetVenueStatus("XAAA", VenueStatus.DISCONNECTED))
    assert best(kernel, book) is None, "with one venue left nothing is to be chosen"
    run(kernel, SetVenueStatus("XAAA", VenueStatus.CONNECTED))
    run(kernel, SetReference((), (), (Venue("XAAA", "dear", Currency.USD, Decimal(1)),)))
    assert best(kernel, book) == "XBBB"
    moved = ConsolidatedBook("TEST", (quote("XAAA", "8.01"), quote("XBBB", "10.02")))
    assert best(kernel, moved) == "XAAA"
    assert best(kernel, ConsolidatedBook("TEST", ())) is None
