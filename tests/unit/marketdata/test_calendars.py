"""Calendars from the library, checked against closes that are known from the exchanges' notices."""

import importlib
import os
from datetime import UTC, date, datetime
from types import ModuleType

import pytest

from qtinfra.core.calendar import VenueCalendar
from qtinfra.marketdata.calendars import INSTALL_LINE, CalendarUnavailableError, build_calendar

pytestmark = [
    pytest.mark.unit,
    # the library's own use of pandas
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
YEAR = (date(2024, 1, 1), date(2024, 12, 31))


@pytest.fixture(scope="module")
def nyse() -> VenueCalendar:
    _require_library()
    return build_calendar("XNYS", *YEAR)


def _require_library() -> None:
    try:
        importlib.import_module("exchange_calendars")
    except ModuleNotFoundError:
        reason = f"needs exchange_calendars: {INSTALL_LINE}"
        if os.environ.get("QTINFRA_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def utc(moment_ns: int | None) -> str:
    assert moment_ns is not None
    return datetime.fromtimestamp(moment_ns // 1_000_000_000, UTC).isoformat()


@pytest.mark.parametrize(
    ("trade_date", "closes", "half_day"),
    [
        ("2024-07-03", "2024-07-03T17:00:00+00:00", True),
        ("2024-07-08", "2024-07-08T20:00:00+00:00", False),
        ("2024-01-08", "2024-01-08T21:00:00+00:00", False),
        ("2024-11-29", "2024-11-29T18:00:00+00:00", True),
        ("2024-12-24", "2024-12-24T18:00:00+00:00", True),
        ("2024-03-11", "2024-03-11T20:00:00+00:00", False),
    ],
)
def test_behaviour_11_nyse_closes_follow_half_days_and_daylight_saving(
    nyse: VenueCalendar, trade_date: str, closes: str, half_day: bool
) -> None:
    session = nyse.session_on(trade_date)
    assert session is not None
    assert (utc(session.close_ns), session.half_day) == (closes, half_day)


@pytest.mark.parametrize("holiday", ["2024-01-01", "2024-03-29", "2024-07-04", "2024-12-25", "2024-07-06"])
def test_nyse_has_no_session_on_holidays_and_weekends(nyse: VenueCalendar, holiday: str) -> None:
    assert nyse.session_on(holiday) is None


def test_a_calendar_names_its_range_its_cut_offs_and_its_source(nyse: VenueCalendar) -> None:
    assert (nyse.mic, nyse.first_date, nyse.last_date) == ("XNYS", "2024-01-01", "2024-12-31")
    assert len(nyse.sessions) == 252
    assert sum(session.half_day for session in nyse.sessions) == 3
    assert nyse.cutoffs.market_on_close_ns == 600 * 1_000_000_000
    assert nyse.source.startswith("exchange_calendars ")


def test_the_on_close_cut_off_of_the_nyse_is_1550_new_york_time_on_full_and_1250_on_half_days(
    nyse: VenueCalendar,
) -> None:
    lead_ns = nyse.cutoffs.limit_on_close_ns
    full, half = nyse.close_of("2024-07-08"), nyse.close_of("2024-07-03")
    assert full is not None
    assert half is not None
    assert (utc(full - lead_ns), utc(half - lead_ns)) == (
        "2024-07-08T19:50:00+00:00",
        "2024-07-03T16:50:00+00:00",
    )


def test_a_lunch_break_comes_with_the_session() -> None:
    _require_library()
    session = build_calendar("XHKG", date(2024, 1, 2), date(2024, 1, 2)).sessions[0]
    assert [(utc(start), utc(end)) for start, end in session.breaks] == [
        ("2024-01-02T04:00:00+00:00", "2024-01-02T05:00:00+00:00")
    ]


def test_a_range_without_a_session_is_an_empty_calendar() -> None:
    _require_library()
    assert build_calendar("XNYS", date(2024, 1, 6), date(2024, 1, 7)).sessions == ()


def test_a_venue_that_the_library_does_not_know_has_no_calendar() -> None:
    _require_library()
    with pytest.raises(CalendarUnavailableError) as caught:
        build_calendar("XXXX", *YEAR)
    assert caught.value.context == {"mic": "XXXX"}


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="before"):
        build_calendar("XNYS", YEAR[1], YEAR[0])


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("qtinfra.marketdata.calendars.import_module", missing)
    with pytest.raises(CalendarUnavailableError, match=r"make venv.*\[calendars\]"):
        build_calendar("XNYS", *YEAR)
