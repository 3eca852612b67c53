"""Behaviours 11, 14 and 26: when orders end, by journaled calendars; auctions and cut-offs."""

from datetime import UTC, datetime

import msgspec
import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.calendar import CUTOFFS, TradingSession, VenueCalendar
from qtinfra.core.events import CommandRefused
from qtinfra.core.models import OrderStatus, OrderType, TimeInForce
from qtinfra.core.reports import ExecType, VenueCancel, VenueNewOrder
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.kernel import Outcome
from tests.support.builders import ALPHA, DAY, GTC, SELL, SYMBOL, Desk, dec, kinds, only, quote, submit, venue
from tests.support.facts import facts

pytestmark = pytest.mark.unit

GTD, AT_OPEN, AT_CLOSE = TimeInForce.GTD, TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE
EXPIRY = cmd.TimerFired(cmd.TimerKind.EXPIRY, "")


def utc(text: str) -> int:
    """A moment as UTC nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def session(date: str, opens: str, closes: str) -> TradingSession:
    return TradingSession(date, utc(f"{date}T{opens}"), utc(f"{date}T{closes}"))


#: NYSE: standard time, a half day in summer, two days of daylight saving.
NYSE = VenueCalendar(
    "XNYS",
    "2024-01-08",
    "2024-07-10",
    (
        session("2024-01-08", "14:30", "21:00"),
        session("2024-07-03", "13:30", "17:00"),
        session("2024-07-08", "13:30", "20:00"),
        session("2024-07-09", "13:30", "20:00"),
    ),
    CUTOFFS["XNYS"],
)


class TimedDesk(Desk):
    """A desk on NYSE whose commands come at the moments that a test names."""

    def __init__(self, at: str, calendar: VenueCalendar | None = NYSE) -> None:
        tifs = ("DAY", "GTC", "IOC", "FOK", "AT_OPEN", "AT_CLOSE")
        super().__init__([msgspec.structs.replace(venue("XNYS"), time_in_force=tifs), "XNAS"])
        self.at(at)
        if calendar is not None:
            self.run(cmd.SetCalendar(calendar))

    def at(self, text: str) -> None:
        self._now_ns = utc(text) - 1_000_000

    def expire(self, text: str) -> Outcome:
        self.at(text)
        return self.run(EXPIRY)


@pytest.mark.parametrize(
    ("date", "close"),
    [
        ("2024-07-03", "2024-07-03T17:00"),
        ("2024-07-08", "2024-07-08T20:00"),
        ("2024-01-08", "2024-01-08T21:00"),
    ],
)
def test_behaviour_11_a_day_order_expires_at_its_venues_close(date: str, close: str) -> None:
    desk = TimedDesk(f"{date}T14:45")
    desk.working("X")
    desk.at(close)
    desk._now_ns -= 1  # a nanosecond before it
    assert "OrderExpired" not in kinds(desk.run(EXPIRY))
    assert "OrderExpired" in kinds(desk.expire(close))
    assert (desk.last().exec_type, desk.figures()) == (ExecType.EXPIRED, ("EXPIRED", 100, 0, 0))


def test_behaviour_11_a_day_order_that_traded_is_done_for_the_day_at_the_close() -> None:
    desk = TimedDesk("2024-07-08T14:00")
    desk.working("X")
    desk.fill(desk.child(), 40)
    desk.expire("2024-07-08T20:00")
    assert desk.figures() == ("DONE_FOR_DAY", 100, 40, 0)


def test_behaviour_11_an_order_entered_after_the_close_belongs_to_the_next_session() -> None:
    desk = TimedDesk("2024-07-08T20:30")
    desk.working("X")
    desk.expire("2024-07-08T21:00")
    assert desk.figures()[0] == "ROUTED"
    desk.expire("2024-07-09T20:00")
    assert desk.figures()[0] == "EXPIRED"


def test_behaviour_11_gtd_ends_at_its_time_after_its_venues_have_let_it_go() -> None:
    desk = TimedDesk("2024-07-08T14:00")
    terms = SpecialTerms(expire_ns=utc("2024-07-09T15:00"))
    desk.run(submit("X", tif=GTD, special=terms))
    desk.ack(desk.child())
    assert desk.child().tif is GTC
    assert "CancelRequested" not in kinds(desk.expire("2024-07-09T14:59"))
    desk.expire("2024-07-09T15:00")
    assert isinstance(desk.sent[-1], VenueCancel)
    desk.canceled(desk.child())
    assert (desk.last().exec_type, desk.figures()) == (ExecType.EXPIRED, ("EXPIRED", 100, 0, 0))


def test_behaviour_11_a_held_gtd_order_ends_at_once_and_one_that_ends_today_stands_for_the_day() -> None:
    desk = TimedDesk("2024-07-08T14:00")
    terms = SpecialTerms(stop_px=dec(60), expire_ns=utc("2024-07-08T15:00"))
    desk.run(submit("X", 100, None, tif=GTD, order_type=OrderType.STOP, special=terms))
    desk.run(submit("Y", tif=GTD, special=SpecialTerms(expire_ns=utc("2024-07-08T15:00"))))
    assert desk.child("Y").tif is DAY
    desk.expire("2024-07-08T15:00")
    assert desk.figures("X")[0] == "EXPIRED"
    assert desk.state.watched == {}


def test_behaviour_14_gtc_and_gtd_orders_rest_after_the_close_and_go_on_the_next_day() -> None:
    desk = TimedDesk("2024-07-08T14:00")
    desk.market.quotes["XNYS"] = quote("XNYS", [(50, 100)], [(51, 100)])
    stop = SpecialTerms(stop_px=dec(45))
    desk.run(submit("S", 100, None, side=SELL, tif=GTC, order_type=OrderType.STOP, special=stop))
    desk.run(submit("G", 100, 40, tif=GTD, special=SpecialTerms(expire_ns=utc("2024-07-10T15:00"))))
    outcome = desk.expire("2024-07-08T20:00")
    assert kinds(outcome).count("OrderDoneForDay") == 2
    assert desk.expire("2024-07-08T20:01").entry is None
    desk.market.quotes["XNYS"] = quote("XNYS", [(44, 100)], [(45, 100)])
    assert desk.run(cmd.MarketMoved(SYMBOL)).entry is None  # nothing triggers overnight
    desk.restart(from_journal=True)
    desk.at("2024-07-09T13:30")
    desk.next_day()
    assert (desk.figures("S")[0], desk.figures("G")[0]) == ("ROUTED", "ROUTED")


def test_nothing_is_journaled_when_nothing_is_due_and_without_a_calendar_nothing_expires() -> None:
    desk = TimedDesk("2024-07-08T14:00", None)
    desk.working("X")
    assert desk.expire("2024-07-20T00:00").entry is None


def test_an_order_in_doubt_waits_for_its_venues_word() -> None:
    desk = TimedDesk("2024-07-08T14:00")
    desk.new("X")
    desk.disconnect(desk.child().venue)
    desk.expire("2024-07-08T20:00")
    assert desk.order().status is OrderStatus.UNKNOWN


# --- auctions ---


@pytest.mark.parametrize(
    ("price", "at", "taken"),
    [(50, "19:49:59", True), (50, "19:50", False), (None, "19:49:59", True), (None, "19:50", False)],
)
def test_behaviour_26_on_close_orders_go_to_the_listing_venue_before_its_cut_off_only(
    price: int | None, at: str, taken: bool
) -> None:
    desk = TimedDesk(f"2024-07-08T{at}")
    desk.market.quotes["XNAS"] = quote("XNAS", [(49, 900)], [(50, 900)])
    desk.new("X", 100, price, tif=AT_CLOSE)
    if not taken:
        assert (desk.last().code, desk.sent) == ("auction_cutoff", [])
        return
    sent = desk.sent[-1]
    assert isinstance(sent, VenueNewOrder)
    assert facts(sent.venue, sent.tif, sent.qty) == ("XNYS", AT_CLOSE, 100)
    desk.reject(desk.child())
    assert desk.figures()[0] == "REJECTED"  # never to another venue


def test_behaviour_26_on_open_orders_are_refused_after_the_open() -> None:
    desk = TimedDesk("2024-07-08T13:29")
    desk.new("X", tif=AT_OPEN)
    assert desk.child().tif is AT_OPEN
    desk.at("2024-07-08T13:30")
    desk.new("Y", tif=AT_OPEN)
    assert desk.last().code == "auction_cutoff"


def test_an_auction_order_without_a_calendar_or_a_venue_that_takes_it_is_refused() -> None:
    desk = TimedDesk("2024-07-08T14:00", None)
    desk.new("X", tif=AT_CLOSE)
    assert desk.last().code == "calendar_unknown"
    plain = Desk()
    plain.new("X", tif=AT_CLOSE)
    assert plain.last().code == "unsupported_time_in_force"


def test_the_same_auction_order_again_gets_the_first_answer() -> None:
    desk = TimedDesk("2024-07-08T14:00")
    desk.new("X", tif=AT_CLOSE)
    assert desk.new("X", tif=AT_CLOSE).entry is None


def test_a_calendar_of_an_unknown_venue_is_refused_and_a_known_one_is_journaled_once() -> None:
    desk = TimedDesk("2024-07-08T14:00")
    assert desk.run(cmd.SetCalendar(NYSE)).entry is None
    other = msgspec.structs.replace(NYSE, mic="XXXX")
    assert only(desk.run(cmd.SetCalendar(other)), CommandRefused).code == "unknown_venue"
    assert list(desk.state.calendars) == ["XNYS"]
    assert ALPHA in desk.state.accounts
