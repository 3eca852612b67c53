"""When the trading date moves: what a calendar and the journaled state say comes next, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.core.commands import TimerKind
from qtinfra.engine.state import State

_SECOND = 1_000_000_000
_DAY_NS = 86_400 * _SECOND


class DayStep(msgspec.Struct, frozen=True):
    """The next move of the trading date.

    Attributes:
        kind: DAY_CLOSE ends `trade_date`, DAY_OPEN begins it.
        at_ns: when it is due, UTC nanoseconds; long ago when nobody ran to do it.
        session: the session that begins or ends; None for a date that the calendar does not know.
    """

    kind: TimerKind
    trade_date: str
    at_ns: int
    session: TradingSession | None


def day_is_open(state: State) -> bool:
    """Whether a trading date has begun and not ended."""
    return bool(state.trade_date) and state.closed_days.get("") != state.trade_date


def next_step(calendar: VenueCalendar, trade_date: str, is_open: bool, now_ns: int) -> DayStep | None:
    """What comes after trading date `trade_date`, which is open or has ended.

    A session of which nobody saw the open and that is over by now is passed over: nothing was traded in it.
    The first date of all begins at once, before its session does.

    Args:
        trade_date: ISO 8601; empty before the first.

    Returns:
        None when the calendar does not reach the next session.
    """
    if is_open and trade_date:
        session = calendar.session_on(trade_date)
        at_ns = now_ns if session is None else session.close_ns
        return DayStep(TimerKind.DAY_CLOSE, trade_date, at_ns, session)
    following = next_session(calendar, trade_date, now_ns)
    if following is None:
        return None
    at_ns = following.open_ns if trade_date else min(following.open_ns, now_ns)
    return DayStep(TimerKind.DAY_OPEN, following.trade_date, at_ns, following)


def next_session(calendar: VenueCalendar, after_date: str, now_ns: int) -> TradingSession | None:
    """The running or else the next session of a later date than `after_date`."""
    found = calendar.session_at(now_ns) or calendar.next_session(now_ns)
    while found is not None and found.trade_date <= after_date:
        found = calendar.next_session(found.open_ns)
    return found


def around_the_clock(mic: str, now_ns: int, days: int = 8) -> VenueCalendar:
    """A calendar of a market that never sleeps: every UTC day is one session, the next begins as it ends.

    Args:
        now_ns: it reaches from the day before this moment to `days` days after it.
    """
    today = datetime.fromtimestamp(now_ns // _SECOND, UTC).date()
    midnight_ns = now_ns - now_ns % _DAY_NS
    sessions = tuple(
        TradingSession(
            (today + timedelta(days=offset)).isoformat(),
            midnight_ns + offset * _DAY_NS,
            midnight_ns + (offset + 1) * _DAY_NS,
        )
        for offset in range(-1, days + 1)
    )
    first, last = sessions[0].trade_date, sessions[-1].trade_date
    return VenueCalendar(mic, first, last, sessions, source="around the clock")
