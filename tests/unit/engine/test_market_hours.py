"""Behaviour 11 at the door: hours, types and times in force of plain orders, by journaled calendars."""

import msgspec
import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.core.decimals import exact
from qtinfra.core.events import OrderRejected
from qtinfra.core.extended_models import Venue
from qtinfra.core.models import Currency, OrderType, TimeInForce
from qtinfra.core.reports import REJ_EXCHANGE_CLOSED
from qtinfra.engine.kernel import Outcome
from tests.support.builders import (
    ALPHA,
    BETA,
    DAY,
    FOK,
    GTC,
    IOC,
    Desk,
    Number,
    account,
    dec,
    instrument,
    kinds,
    only,
    quote,
    submit,
)
from tests.support.short_way import pass_plain
from tests.unit.engine.test_expiry import NYSE, TimedDesk, utc

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


# --- remembered hours -------------------------------------------------------------------------------------


def quick(desk: Desk, moment: str, **fields: object) -> bool:
    """Whether an order like those before it would be approved without a closer look then."""
    order = msgspec.structs.replace(submit("quick", 100, 50), **fields)
    with exact():
        return pass_plain(desk.state, desk.market, order, utc(moment)) is not None


def known(calendar: VenueCalendar | None = NYSE) -> TimedDesk:
    """A desk that has taken a DAY order in the session and remembers all about it."""
    desk = TimedDesk(OPEN, calendar)
    for cl_ord_id in ("gathers", "plans"):
        assert not code(desk.new(cl_ord_id, 100, 50))
    assert quick(desk, OPEN)
    return desk


def test_hours_are_remembered_to_the_close_and_by_type_and_time_in_force() -> None:
    desk = known()
    assert quick(desk, "2024-07-08T19:59")
    assert not quick(desk, "2024-07-08T20:00")
    assert not quick(desk, BEFORE)
    assert not quick(desk, OPEN, tif=IOC)
    desk.new("immediate", 100, 50, tif=IOC)
    assert quick(desk, OPEN, tif=IOC)
    desk.market.quotes["XNAS"] = quote("XNAS", [(49, 100)], [(51, 100)])
    assert not quick(desk, OPEN, order_type=OrderType.MARKET, price=None)
    assert not code(desk.new("market", 100, None))
    assert quick(desk, OPEN, order_type=OrderType.MARKET, price=None)
    assert not quick(desk, BEFORE, order_type=OrderType.MARKET, price=None)


def test_outside_a_session_and_in_one_with_breaks_nothing_is_remembered() -> None:
    desk = TimedDesk(BEFORE)
    for cl_ord_id in ("gathers", "plans"):
        assert not code(desk.new(cl_ord_id, 100, 50))
    assert not quick(desk, BEFORE)
    lunch = (utc("2024-07-08T16:00"), utc("2024-07-08T17:00"))
    session = TradingSession("2024-07-08", utc("2024-07-08T13:30"), utc("2024-07-08T20:00"), breaks=(lunch,))
    desk = TimedDesk(OPEN, VenueCalendar("XNYS", "2024-07-08", "2024-07-08", (session,)))
    for cl_ord_id in ("gathers", "plans"):
        assert not code(desk.new(cl_ord_id, 100, 50))
    assert not quick(desk, OPEN)


def test_remembered_hours_end_with_the_calendar_the_venues_and_their_terms() -> None:
    desk = known()
    desk.disconnect("XNAS")
    assert not quick(desk, OPEN)
    desk.new("again", 100, 50)
    assert quick(desk, OPEN)
    desk.run(cmd.SetCalendar(VenueCalendar("XNYS", "2024-07-08", "2024-07-08", ())))
    assert not quick(desk, OPEN)
    desk = known()
    desk.run(cmd.SetReference(venues=changed(desk, time_in_force=("IOC",))))
    assert not quick(desk, OPEN)
    assert code(desk.new("none takes it", 100, 50)) == "unsupported_time_in_force"


def test_a_listing_venue_without_a_calendar_has_no_hours_to_remember_but_until_it_gets_one() -> None:
    desk = known(calendar=None)
    desk.run(cmd.SetCalendar(msgspec.structs.replace(NYSE, mic="XNAS")))
    desk.new("beside one that has a calendar", 100, 50)
    assert quick(desk, AFTER_ALL)
    desk.run(cmd.SetCalendar(NYSE))
    assert not quick(desk, AFTER_ALL)


def test_an_account_of_another_currency_is_looked_at_each_time() -> None:
    desk = known()
    euro = account(BETA, base_currency=Currency.EUR)
    desk.run(cmd.SetReference(accounts=(euro,)))
    assert code(desk.new("no rate", 100, 50, name=BETA)) == "fx_rate_missing"
    desk.run(cmd.SetFxRate(Currency.USD, Currency.EUR, dec("0.8")))
    for number in range(2):
        for name in (ALPHA, BETA):
            assert not code(desk.new(f"order {number}", 100, 50, name=name))
    assert quick(desk, OPEN)
    assert not quick(desk, OPEN, account=BETA)
