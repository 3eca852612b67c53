"""Trading sessions as data: lookups at every edge, and what a calendar refuses to be."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.calendar import CUTOFFS, TradingSession, VenueCalendar

pytestmark = pytest.mark.unit


def ns(text: str) -> int:
    """UTC nanoseconds of an ISO 8601 time without zone."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def session(day: str, opens: str, closes: str, **more: object) -> TradingSession:
    return msgspec.structs.replace(TradingSession(day, ns(f"{day}T{opens}"), ns(f"{day}T{closes}")), **more)


JULY = VenueCalendar(
    "XNYS",
    "2024-07-01",
    "2024-07-08",
    (
        session("2024-07-01", "13:30", "20:00"),
        session("2024-07-02", "13:30", "20:00"),
        session("2024-07-03", "13:30", "17:00", half_day=True),
        session("2024-07-05", "13:30", "20:00"),
        session("2024-07-08", "13:30", "20:00"),
    ),
    CUTOFFS["XNYS"],
)
LUNCH = VenueCalendar(
    "XHKG",
    "2024-01-02",
    "2024-01-02",
    (session("2024-01-02", "01:30", "08:00", breaks=((ns("2024-01-02T04:00"), ns("2024-01-02T05:00")),)),),
)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2024-07-02T13:29:59", False),
        ("2024-07-02T13:30:00", True),
        ("2024-07-02T19:59:59", True),
        ("2024-07-02T20:00:00", False),
        ("2024-07-03T16:59:59", True),
        ("2024-07-03T17:00:00", False),
        ("2024-07-04T15:00:00", False),
        ("2024-07-06T15:00:00", False),
        ("2030-01-02T15:00:00", False),
    ],
)
def test_a_venue_is_open_from_its_open_until_just_before_its_close(moment: str, is_open: bool) -> None:
    assert JULY.is_open(ns(moment)) is is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [("03:59:59", True), ("04:00:00", False), ("04:59:59", False), ("05:00:00", True)],
)
def test_a_lunch_break_is_inside_the_session_but_not_open(moment: str, is_open: bool) -> None:
    now_ns = ns(f"2024-01-02T{moment}")
    assert LUNCH.is_open(now_ns) is is_open
    assert LUNCH.session_at(now_ns) is LUNCH.sessions[0]


def test_the_close_of_a_trading_date_knows_half_days_and_holidays() -> None:
    assert JULY.close_of("2024-07-03") == ns("2024-07-03T17:00")
    assert JULY.close_of("2024-07-08") == ns("2024-07-08T20:00")
    assert JULY.close_of("2024-07-04") is None
    assert JULY.close_of("2025-07-08") is None


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2024-07-01T13:29:59", "2024-07-01T13:30"),
        ("2024-07-01T13:30:00", "2024-07-02T13:30"),
        ("2024-07-03T18:00:00", "2024-07-05T13:30"),
        ("2024-07-05T20:00:00", "2024-07-08T13:30"),
    ],
)
def test_the_next_open_is_strictly_later_and_skips_days_without_a_session(moment: str, opens: str) -> None:
    assert JULY.next_open(ns(moment)) == ns(opens)


def test_the_next_close_is_that_of_the_running_or_else_the_next_session() -> None:
    assert JULY.next_close(ns("2024-07-03T16:00")) == ns("2024-07-03T17:00")
    assert JULY.next_close(ns("2024-07-03T17:00")) == ns("2024-07-05T20:00")
    assert JULY.next_close(ns("2024-07-08T20:00")) is None


def test_outside_its_range_a_calendar_knows_nothing() -> None:
    assert JULY.next_open(ns("2024-07-08T13:30")) is None
    assert JULY.next_open(ns("2024-06-30T23:59:59")) is None
    assert JULY.sessions_after("2024-06-30", 1) is None
    assert JULY.sessions_after("2024-07-08", 1) is None


def test_settlement_days_are_counted_in_sessions() -> None:
    assert JULY.sessions_after("2024-07-03", 1) == "2024-07-05"
    assert JULY.sessions_after("2024-07-02", 2) == "2024-07-05"
    assert JULY.sessions_after("2024-07-04", 1) == "2024-07-05"
    assert JULY.sessions_after("2024-07-05", 0) == "2024-07-05"


@pytest.mark.parametrize(
    "sessions",
    [
        (session("2024-07-02", "13:30", "13:30"),),
        (session("2024-07-02", "13:30", "20:00"), session("2024-07-02", "20:00", "21:00")),
        (session("2024-07-02", "13:30", "20:00"), session("2024-07-03", "13:30", "20:00", open_ns=1)),
        (session("2024-07-09", "13:30", "20:00"),),
        (session("2024-06-28", "13:30", "20:00"),),
        (session("2024-07-02", "13:30", "20:00", breaks=((1, 2),)),),
    ],
)
def test_sessions_that_overlap_run_backwards_or_leave_the_range_are_refused(
    sessions: tuple[TradingSession, ...],
) -> None:
    with pytest.raises(ValueError, match="2024-07"):
        VenueCalendar("XNYS", "2024-07-01", "2024-07-08", sessions)


def test_a_calendar_is_data_and_survives_the_journal_unchanged() -> None:
    for calendar in (JULY, LUNCH):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(calendar), type=VenueCalendar) == calendar


@given(st.integers(ns("2024-07-01T00:00"), ns("2024-07-09T00:00")))
def test_lookups_agree_with_a_plain_search(now_ns: int) -> None:
    running = [s for s in JULY.sessions if s.open_ns <= now_ns < s.close_ns]
    later = [s for s in JULY.sessions if s.open_ns > now_ns]
    assert JULY.session_at(now_ns) == (running[0] if running else None)
    assert JULY.is_open(now_ns) == bool(running)
    assert JULY.next_session(now_ns) == (later[0] if later else None)
