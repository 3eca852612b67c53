"""What comes next for the trading date, by the calendar and the journaled state."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.core.commands import TimerKind
from qtinfra.marketdata.calendars import build_calendar
from qtinfra.runtime.days import DayStep, around_the_clock, next_step

pytestmark = [
    pytest.mark.unit,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the calendar library's own use of pandas
]

HOUR = 3600 * 10**9
DAY = 24 * HOUR
MONDAY = 1_783_296_000 * 10**9  # 2026-07-06T00:00:00Z
FRIDAY_SESSION = TradingSession("2026-07-03", MONDAY - 3 * DAY + 14 * HOUR, MONDAY - 3 * DAY + 20 * HOUR)
WEEK = VenueCalendar(
    "XTST",
    "2026-06-29",
    "2026-07-10",
    (
        FRIDAY_SESSION,
        TradingSession("2026-07-06", MONDAY + 14 * HOUR, MONDAY + 20 * HOUR),
        TradingSession("2026-07-07", MONDAY + DAY + 14 * HOUR, MONDAY + DAY + 18 * HOUR, half_day=True),
    ),
)


def step(trade_date: str, is_open: bool, now_ns: int) -> tuple[str, str, int] | None:
    found = next_step(WEEK, trade_date, is_open, now_ns)
    return None if found is None else (found.kind.value, found.trade_date, found.at_ns)


def test_the_first_date_of_all_begins_at_once_before_its_session() -> None:
    assert step("", False, MONDAY) == ("DAY_OPEN", "2026-07-06", MONDAY)
    assert step("", False, MONDAY + 15 * HOUR) == ("DAY_OPEN", "2026-07-06", MONDAY + 14 * HOUR)


def test_an_open_date_ends_at_its_close_a_half_day_earlier() -> None:
    assert step("2026-07-06", True, MONDAY + 15 * HOUR) == ("DAY_CLOSE", "2026-07-06", MONDAY + 20 * HOUR)
    closes = MONDAY + DAY + 18 * HOUR
    assert step("2026-07-07", True, MONDAY + DAY) == ("DAY_CLOSE", "2026-07-07", closes)


def test_after_the_close_the_next_session_is_waited_for_over_a_weekend() -> None:
    opens = MONDAY + 14 * HOUR
    assert step("2026-07-03", False, MONDAY - 2 * DAY) == ("DAY_OPEN", "2026-07-06", opens)


def test_a_missed_close_is_due_and_sessions_that_nobody_saw_are_passed_over() -> None:
    late = MONDAY + DAY + 15 * HOUR
    closed = step("2026-07-03", True, late)
    assert closed == ("DAY_CLOSE", "2026-07-03", FRIDAY_SESSION.close_ns)
    assert step("2026-07-03", False, late) == ("DAY_OPEN", "2026-07-07", MONDAY + DAY + 14 * HOUR)


def test_a_date_that_was_ended_before_its_time_is_not_begun_again() -> None:
    opens = MONDAY + DAY + 14 * HOUR
    assert step("2026-07-06", False, MONDAY + 15 * HOUR) == ("DAY_OPEN", "2026-07-07", opens)


def test_a_date_that_the_calendar_does_not_know_ends_at_once() -> None:
    assert step("2026-07-04", True, MONDAY) == ("DAY_CLOSE", "2026-07-04", MONDAY)


def test_a_calendar_that_ends_has_no_next_step() -> None:
    assert step("2026-07-07", False, MONDAY + 2 * DAY) is None


@given(st.integers(0, 4 * 365 * DAY), st.integers(0, 8))
def test_around_the_clock_every_moment_is_in_the_session_of_its_utc_date(offset_ns: int, days: int) -> None:
    now_ns = MONDAY + offset_ns
    calendar = around_the_clock("XXXX", now_ns, days)
    session = calendar.session_at(now_ns)
    assert session is not None
    assert session.trade_date == date.fromordinal(date(2026, 7, 6).toordinal() + offset_ns // DAY).isoformat()
    assert session.close_ns - session.open_ns == DAY


def test_a_year_of_steps_visits_every_exchange_session_once_and_in_order() -> None:
    calendar = build_calendar("XNYS", date(2026, 1, 1), date(2026, 12, 31))
    trade_date, is_open, now_ns = "", False, calendar.sessions[0].open_ns - HOUR
    done: list[DayStep] = []
    while (found := next_step(calendar, trade_date, is_open, now_ns)) is not None:
        done.append(found)
        now_ns = max(now_ns, found.at_ns)
        trade_date, is_open = found.trade_date, found.kind is TimerKind.DAY_OPEN
    dates = [session.trade_date for session in calendar.sessions]
    assert [item.trade_date for item in done if item.kind is TimerKind.DAY_OPEN] == dates
    assert [item.trade_date for item in done if item.kind is TimerKind.DAY_CLOSE] == dates
    closes = [item.at_ns for item in done if item.kind is TimerKind.DAY_CLOSE]
    assert closes == [session.close_ns for session in calendar.sessions]
