"""Trading sessions as data: when a venue opens and closes, half days, breaks and auction cut-offs included.

Nothing here computes a holiday or a time zone. Calendars are built outside (`marketdata.calendars`) and reach
the core as journaled reference data, so that a new release of a calendar library or of the time zone database
never changes a replay. All times are UTC nanoseconds; trading dates are the venue's, ISO 8601.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime

import msgspec

_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND


class TradingSession(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One trading day of a venue: open at `open_ns` (inclusive), closed at `close_ns` (exclusive).

    Attributes:
        trade_date: the venue's date; a session may begin on the day before it.
        half_day: closes earlier than usual.
        breaks: pauses inside the session (a lunch break), each from (inclusive) to (exclusive).
    """

    trade_date: str
    open_ns: int
    close_ns: int
    half_day: bool = False
    breaks: tuple[tuple[int, int], ...] = ()

    def trades_at(self, now_ns: int) -> bool:
        """Whether continuous trading runs: between open and close, and in no break."""
        if not self.open_ns <= now_ns < self.close_ns:
            return False
        return not any(start <= now_ns < end for start, end in self.breaks)


class AuctionCutoffs(msgspec.Struct, frozen=True, gc=False):
    """How long before the auction its orders must be in, in nanoseconds; at the cut-off is too late.

    Measured from the open and the close, so that a half day moves them with it.
    """

    market_on_open_ns: int = 0
    limit_on_open_ns: int = 0
    market_on_close_ns: int = 0
    limit_on_close_ns: int = 0


NO_CUTOFFS = AuctionCutoffs()

#: Entry cut-offs by MIC. NYSE: on-close orders until 15:50 ET (Rule 7.35B). Nasdaq: market-on-open 9:28,
#: limit-on-open 9:29:30, market-on-close 15:55, limit-on-close 15:58 ET (Equity 4, Rules 4702, 4752 and
#: 4754). Data as of 2024, to be replaced by reference data where a venue changes its rules.
CUTOFFS = {
    "XNYS": AuctionCutoffs(market_on_close_ns=10 * _MINUTE, limit_on_close_ns=10 * _MINUTE),
    "XNAS": AuctionCutoffs(2 * _MINUTE, 30 * _SECOND, 5 * _MINUTE, 2 * _MINUTE),
}


class VenueCalendar(msgspec.Struct, frozen=True, gc=False):
    """The sessions of one venue over a range of dates, ascending.

    Outside that range it knows nothing: lookups return None there, and rules refuse instead of guessing.

    Attributes:
        mic: ISO 10383 code.
        first_date, last_date: the range of trading dates it covers, both inclusive.
        source: what it was built from, with its version.

    Raises:
        ValueError: sessions overlap, run backwards or leave the range.
    """

    mic: str
    first_date: str
    last_date: str
    sessions: tuple[TradingSession, ...]
    cutoffs: AuctionCutoffs = NO_CUTOFFS
    source: str = ""

    def __post_init__(self) -> None:
        last_date, last_close = "", -1
        for session in self.sessions:
            if session.open_ns < last_close or session.close_ns <= session.open_ns:
                raise ValueError(f"{self.mic} {session.trade_date}: sessions overlap or run backwards")
            if session.trade_date <= last_date:
                raise ValueError(f"{self.mic} {session.trade_date}: trading dates must ascend")
            if not _breaks_fit(session):
                raise ValueError(f"{self.mic} {session.trade_date}: breaks leave the session")
            last_date, last_close = session.trade_date, session.close_ns
        if (
            self.sessions
            and not self.first_date <= self.sessions[0].trade_date <= last_date <= self.last_date
        ):
            raise ValueError(f"{self.mic}: sessions outside {self.first_date} to {self.last_date}")

    def session_on(self, trade_date: str) -> TradingSession | None:
        """The session of a trading date; None on a holiday and outside the range."""
        place = bisect_left(self.sessions, trade_date, key=_date)
        if place < len(self.sessions) and self.sessions[place].trade_date == trade_date:
            return self.sessions[place]
        return None

    def session_at(self, now_ns: int) -> TradingSession | None:
        """The session that runs, a break included; None between sessions."""
        place = bisect_right(self.sessions, now_ns, key=_open) - 1
        if place >= 0 and now_ns < self.sessions[place].close_ns:
            return self.sessions[place]
        return None

    def is_open(self, now_ns: int) -> bool:
        """Whether continuous trading runs at this moment."""
        session = self.session_at(now_ns)
        return session is not None and session.trades_at(now_ns)

    def close_of(self, trade_date: str) -> int | None:
        """When that trading date closes, UTC nanoseconds: the moment DAY orders expire."""
        session = self.session_on(trade_date)
        return None if session is None else session.close_ns

    def next_session(self, now_ns: int) -> TradingSession | None:
        """The first session that opens after this moment; None when the calendar does not reach it.

        A moment before `first_date` (as a UTC date) has no next session here: others may lie between.
        """
        if datetime.fromtimestamp(now_ns // _SECOND, UTC).date().isoformat() < self.first_date:
            return None
        place = bisect_right(self.sessions, now_ns, key=_open)
        return self.sessions[place] if place < len(self.sessions) else None

    def next_open(self, now_ns: int) -> int | None:
        """When the next session opens, strictly after this moment."""
        session = self.next_session(now_ns)
        return None if session is None else session.open_ns

    def next_close(self, now_ns: int) -> int | None:
        """When the session that runs, or else the next one, closes."""
        session = self.session_at(now_ns) or self.next_session(now_ns)
        return None if session is None else session.close_ns

    def sessions_after(self, trade_date: str, count: int) -> str | None:
        """The trading date `count` sessions later (T+1, T+2); None when the calendar ends before.

        A date without a session counts as the session before it.
        """
        place = bisect_right(self.sessions, trade_date, key=_date) - 1 + count
        known = self.first_date <= trade_date and 0 <= place < len(self.sessions)
        return self.sessions[place].trade_date if known else None


def _breaks_fit(session: TradingSession) -> bool:
    edge = session.open_ns
    for start, end in session.breaks:
        if not edge <= start < end <= session.close_ns:
            return False
        edge = end
    return True


def _date(session: TradingSession) -> str:
    return session.trade_date


def _open(session: TradingSession) -> int:
    return session.open_ns
