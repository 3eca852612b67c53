"""Behaviour 11 at the door: hours, types and times in force of plain orders, by journaled calendars."""

import msgspec
import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.events import OrderRejected
from qtinfra.core.extended_models import Venue
from qtinfra.core.models import Currency, OrderType, TimeInForce
from qtinfra.core.reports import REJ_EXCHANGE_CLOSED
from qtinfra.engine.kernel import Outcome
from tests.support.builders import DAY, FOK, GTC, IOC, Desk, Number, dec, instrument, kinds, only, submit
from tests.unit.engine.test_expiry import TimedDesk

pytestmark = pytest.mark.unit

OPEN, BEFORE, AFTER_ALL = "2024-07-08T14:00", "2024-07-08T13:00", "2024-07-09T20:00"


def code(outcome: Outcome) -> str:
    found = [event for event in outcome.events if isinstance(event, OrderRejected)]
    return found[0].code if found else ""


def at(moment: str, tif: TimeInForce = DAY, price: Number | None = 50) -> str:
    """What an order that comes then is refused with."""
    return code(TimedDesk(moment).new("X", 100, price, tif=tif))


def changed(desk: Desk, **fields: object) -> tuple[Venue, ...]:
    """The desk's venues with other terms."""
    return tuple(msgspec.structs.replace(place, **fields) for place in desk.state.venues.values())


@pytest.mark.parametrize(("tif", "price"), [(IOC, 50), (FOK, 50), (DAY, None), (IOC, None)])
def test_outside_the_session_what_wants_a_market_now_is_refused(
    tif: TimeInForce, price: Number | None
) -> None:
    assert at(BEFORE, tif, price) == "market_closed"
    assert at(OPEN, tif, price) == ""
    desk = TimedDesk(BEFORE)
    event = only(desk.new("X", 100, price, tif=tif), OrderRejected)
    assert (event.limit, event.fix_reason) == ("1720445400000000000", REJ_EXCHANGE_CLOSED)


@pytest.mark.parametrize("tif", [DAY, GTC])
def test_outside_the_session_a_resting_order_is_taken_for_the_next_one(tif: TimeInForce) -> None:
    assert at(BEFORE, tif) == ""


def test_a_day_order_from_before_the_open_expires_at_the_close_of_that_session() -> None:
    desk = TimedDesk("2024-07-08T21:00")
    desk.working("X")
    assert "OrderExpired" not in kinds(desk.expire("2024-07-09T19:59"))
    assert "OrderExpired" in kinds(desk.expire("2024-07-09T20:00"))


def test_beyond_the_calendar_nobody_guesses_opening_hours() -> None:
    assert at(AFTER_ALL) == "calendar_unknown"
    assert at(AFTER_ALL, IOC) == "market_closed"


@pytest.mark.parametrize("tif", [GTC, TimeInForce.GTD])
def test_a_market_order_never_rests_beyond_its_day(tif: TimeInForce) -> None:
    assert at(OPEN, tif, None) == "type_tif"


def test_without_a_calendar_of_the_listing_venue_hours_are_not_checked() -> None:
    assert code(TimedDesk(BEFORE, calendar=None).new("X", 100, 50, tif=IOC)) == ""
    assert code(Desk().new("X", 100, None, tif=GTC)) == ""


def test_a_refusal_lists_everything_that_is_wrong_and_names_the_first() -> None:
    desk = TimedDesk(BEFORE)
    desk.halt()
    wrong = msgspec.structs.replace(submit("X", "100.5", "50.001", tif=IOC), min_qty=dec(200))
    event = only(desk.run(wrong), OrderRejected)
    assert (event.code, event.field) == ("instrument_halted", "symbol")
    assert event.text.split("; ")[0] == "ACME is halted"
    told = ["is halted", "min_quantity must", "quantity must be a multiple", "price must be a multiple"]
    places = [event.text.index(part) for part in [*told, "XNYS is closed to LIMIT IOC orders"]]
    assert places == sorted(places)
    assert desk.sent == []


def test_numbers_out_of_range_end_the_search() -> None:
    desk = TimedDesk(BEFORE)
    event = only(desk.run(submit("X", -1, 50, tif=IOC)), OrderRejected)
    assert (event.code, event.text) == ("must_be_positive", "quantity must be greater than 0")


def test_a_type_that_needs_special_terms_is_refused_though_a_venue_takes_it() -> None:
    desk = TimedDesk(OPEN)
    places = tuple(
        msgspec.structs.replace(place, order_types=("LIMIT", "MARKET", "STOP"))
        for place in desk.state.venues.values()
    )
    desk.run(cmd.SetReference(venues=places))
    assert code(desk.new("X", 100, None, order_type=OrderType.STOP)) == "unsupported_order_type"


def test_an_account_trades_another_currency_only_with_a_rate_into_its_own() -> None:
    desk = TimedDesk(OPEN)
    shares = instrument(venues=desk.venues, currency=Currency.EUR)
    desk.run(cmd.SetReference((shares,), venues=changed(desk, currency=Currency.EUR)))
    assert code(desk.new("A")) == "fx_rate_missing"
    desk.run(cmd.SetFxRate(Currency.USD, Currency.EUR, dec("0.8")))
    assert code(desk.new("B")) == ""


def test_a_share_that_no_venue_trades_in_its_currency_is_refused() -> None:
    desk = TimedDesk(OPEN)
    desk.run(cmd.SetReference((instrument(venues=desk.venues, currency=Currency.EUR),)))
    desk.run(cmd.SetFxRate(Currency.EUR, Currency.USD, dec(1)))
    assert code(desk.new("A")) == "currency_mismatch"
