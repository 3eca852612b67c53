"""Venue calendars from the `exchange_calendars` library (the extra `calendars`), as data for the core.

The library is asked once, when reference data is made; what it said is journaled with its version.
"""

from __future__ import annotations

from datetime import date, timedelta
from importlib import import_module
from types import ModuleType
from typing import Any

from qtinfra.core.calendar import CUTOFFS, NO_CUTOFFS, TradingSession, VenueCalendar
from qtinfra.core.exceptions import ExternalServiceError

_LIBRARY = "exchange_calendars"
INSTALL_LINE = "'make venv' installs it, or pip install '.[calendars]' in the clone"


class CalendarUnavailableError(ExternalServiceError):
    """No calendar: the library is not installed, or does not know the venue (`unknown_calendar`)."""

    code = "calendar_unavailable"
    retryable = False


def build_calendar(mic: str, first: date, last: date) -> VenueCalendar:
    """The sessions of a venue from `first` to `last`, both inclusive, in UTC nanoseconds.

    A session is a half day when the library lists it as an early close. A range without any session gives a
    calendar without sessions.

    Args:
        mic: ISO 10383 code of the venue.

    Raises:
        ValueError: `last` is before `first`, or the library does not reach that far.
        CalendarUnavailableError: the extra `calendars` is missing, or the MIC is unknown to the library.
    """
    if last < first:
        raise ValueError(f"{last} is before {first}")
    library = _library()
    errors = library.errors
    try:
        # The library wants two days at least.
        end = max(last, first + timedelta(days=1))
        calendar = library.get_calendar(mic, start=first.isoformat(), end=end.isoformat())
        sessions = _sessions(calendar, last)
    except errors.NoSessionsError:
        sessions = ()
    except errors.InvalidCalendarName as fault:
        text = f"no calendar for {mic}"
        raise CalendarUnavailableError(text, code="unknown_calendar", context={"mic": mic}) from fault
    return VenueCalendar(
        mic,
        first.isoformat(),
        last.isoformat(),
        sessions,
        CUTOFFS.get(mic, NO_CUTOFFS),
        f"{_LIBRARY} {library.__version__}",
    )


def _library() -> ModuleType:
    try:
        return import_module(_LIBRARY)
    except ModuleNotFoundError as fault:
        if fault.name != _LIBRARY:
            raise
        message = f"{_LIBRARY} is not installed: {INSTALL_LINE}"
        raise CalendarUnavailableError(message) from fault


def _sessions(calendar: Any, last: date) -> tuple[TradingSession, ...]:
    early = {day.date() for day in calendar.early_closes}
    return tuple(
        TradingSession(
            day.date().isoformat(),
            _ns(calendar.session_open(day)),
            _ns(calendar.session_close(day)),
            day.date() in early,
            _breaks(calendar, day),
        )
        for day in calendar.sessions
        if day.date() <= last
    )


def _breaks(calendar: Any, day: Any) -> tuple[tuple[int, int], ...]:
    if not calendar.session_has_break(day):
        return ()
    return ((_ns(calendar.session_break_start(day)), _ns(calendar.session_break_end(day))),)


def _ns(moment: Any) -> int:
    """A pandas Timestamp as UTC nanoseconds, whatever its unit is."""
    return int(moment.as_unit("ns").value)
