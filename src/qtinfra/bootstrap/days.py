"""Trading days of a running server: the date rolls by the calendar, also over midnight and after a restart.

At a close the venues end their day, the engine ends DAY orders and rests GTC ones (`TimerFired` DAY_CLOSE),
the last midpoints become closing marks and reference prices, and the venues collect orders for the next
session. At its open the engine begins the next date (DAY_OPEN), the venues trade again, and planners are told
what to expect of the session: its volume curve, volume, volatility and spread. All of it is journaled; what
was missed while nobody ran is done at the start, one date for any number of days.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from qtinfra.core.calendar import CUTOFFS, NO_CUTOFFS, VenueCalendar
from qtinfra.core.commands import AnyCommand, SetCalendar, SetMark, SetReference, TimerFired, TimerKind
from qtinfra.core.events import CommandRefused
from qtinfra.core.exceptions import OrderStateError, OutcomeUnknownError, OverloadedError
from qtinfra.core.market import MarketView
from qtinfra.core.marking import MarkSource
from qtinfra.core.ports import Clock
from qtinfra.core.reports import Alert
from qtinfra.engine.decide.price_test import looked_at
from qtinfra.marketdata.calendars import build_calendar
from qtinfra.runtime.days import DayStep, around_the_clock, day_is_open, next_step
from qtinfra.runtime.expectations import expected_session
from qtinfra.runtime.live import LiveShard
from qtinfra.venues.simulated.flow import SyntheticInstrument, SyntheticMarket
from qtinfra.venues.simulated.local import LocalVenueGateway, run_market

LOG = logging.getLogger("qtinfra.days")

_SECOND_NS = 1_000_000_000
#: The clock is looked at so often: one that is slewed, or a machine that slept, is noticed within it.
LOOK_S = 1.0
#: At each open the calendar is made to reach so far; off the loop's thread, so that no order waits for it.
AHEAD_DAYS = 7
#: A command that finds the lane of controls full is tried again so often, after so many seconds.
MAX_ATTEMPTS = 100
PAUSE_S = 0.1
_ACTOR = "timer"


class Sessions:
    """The calendar of this server, built anew as time moves on.

    Args:
        mic: whose exchange calendar; empty for a market around the clock.

    Raises:
        CalendarUnavailableError: the library is not installed, or does not know the MIC.
    """

    def __init__(self, mic: str, now_ns: int) -> None:
        self.mic = mic
        self._known = self._build(now_ns)

    def at(self, now_ns: int) -> VenueCalendar:
        """The calendar around a moment: from the day before it to days or months after it."""
        self.reach(now_ns, 2)
        return self._known

    def reach(self, now_ns: int, days: int) -> None:
        """Build the calendar anew unless it reaches so many days ahead; an exchange's takes a while."""
        ahead = _date(now_ns + days * 86_400 * _SECOND_NS)
        if ahead > self._known.last_date or _date(now_ns) < self._known.first_date:
            self._known = self._build(now_ns)

    def _build(self, now_ns: int) -> VenueCalendar:
        if not self.mic:
            return around_the_clock("XXXX", now_ns)  # ISO 10383: no market
        ahead = datetime.fromtimestamp(now_ns // _SECOND_NS + 30 * 86_400, UTC).year
        first = datetime.fromtimestamp(now_ns // _SECOND_NS - 30 * 86_400, UTC).year
        return build_calendar(self.mic, date(first, 1, 1), date(ahead, 12, 31))

    def commands(self, mics: Sequence[str], known: dict[str, VenueCalendar], now_ns: int) -> list[AnyCommand]:
        """What journals the exchange's calendar for its venues, where that has changed."""
        if not self.mic:
            return []
        base = self.at(now_ns)
        made = [msgspec.structs.replace(base, mic=mic, cutoffs=CUTOFFS.get(mic, NO_CUTOFFS)) for mic in mics]
        return [SetCalendar(calendar) for calendar in made if known.get(calendar.mic) != calendar]


def carried_on(spec: SyntheticInstrument, price: Decimal | None) -> SyntheticInstrument:
    """An instrument that begins where it was journaled last, on its tick."""
    if price is None or price < spec.tick * 10:
        return spec
    ticks = (price / spec.tick).quantize(Decimal(1), ROUND_HALF_EVEN)
    return msgspec.structs.replace(spec, start_price=ticks * spec.tick)


class TradingDays:
    """Rolls the trading date of one shard on simulated venues.

    Args:
        date: the trading date that the market is made for.
        gateways: of the market's venues; their status follows the day.
        sessions: says when trading dates begin and end.
        on_alert: told when the calendar ends.
    """

    def __init__(
        self,
        shard: LiveShard,
        market: SyntheticMarket,
        date: str,
        view: MarketView,
        gateways: Sequence[LocalVenueGateway],
        sessions: Sessions,
        clock: Clock,
        on_alert: Callable[[Alert], None],
    ) -> None:
        self._shard = shard
        self._market = market
        self._date = date
        self._view = view
        self._gateways = {gateway.venue: gateway for gateway in gateways}
        self._sessions = sessions
        self._clock = clock
        self._on_alert = on_alert
        #: The date whose session planners have been told of in this life.
        self._told_of = ""
        self._moved = asyncio.Event()
        self._rolling = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the trading date has begun and not ended."""
        return day_is_open(self._shard.state)

    def next(self) -> DayStep | None:
        """What comes next and when; None when the calendar does not reach it."""
        state, now_ns = self._shard.state, self._clock.now_ns()
        return next_step(self._sessions.at(now_ns), state.trade_date, self.is_open, now_ns)

    async def catch_up(self) -> None:
        """Do what was missed; returns when date and journaled calendars are those of now."""
        for command in self._calendars():
            await self._submit(command)
        while (step := self.next()) is not None and step.at_ns <= self._clock.now_ns():
            await self.roll(step)
        await self._expect()

    async def run(self) -> None:
        """Roll when it is due, until cancelled or the shard stops."""
        told = False
        while self._shard.stopped is None:
            step, now_ns = self.next(), self._clock.now_ns()
            if step is not None and step.at_ns <= now_ns:
                await self.roll(step)
                continue
            if step is None and not told:
                told = True
                self._on_alert(Alert("calendar_ended", self._sessions.mic, "no session is known ahead"))
            self._begin_session()
            await self._expect()
            left_s = LOOK_S if step is None else (step.at_ns - now_ns) / _SECOND_NS
            await asyncio.sleep(min(LOOK_S, left_s))

    async def play(self) -> None:
        """Let the market move while its sessions run, until cancelled."""
        while True:
            await run_market(self._market, self._clock, tuple(self._gateways.values()), self._look)
            self._moved.clear()
            await self._moved.wait()

    async def roll(self, step: DayStep, actor: str = _ACTOR) -> bool:
        """Do a step now; false when it is not, or no longer, the next one.

        Args:
            actor: who is responsible for it in the journal.

        Raises:
            OrderStateError: the engine refused it.
        """
        async with self._rolling:
            found = self.next()
            if found is None or (found.kind, found.trade_date) != (step.kind, step.trade_date):
                return False
            try:
                do = self._close if found.kind is TimerKind.DAY_CLOSE else self._open
                await do(found, actor)
            except OutcomeUnknownError:
                if self._shard.stopped is None:
                    raise
            return True

    # --- the steps ----------------------------------------------------------------------------------------

    async def _close(self, step: DayStep, actor: str) -> None:
        ours = self._date == step.trade_date  # the market of this process has traded the date
        prices = self._prices() if ours else ()
        if ours:
            for report in self._market.end_day(self._clock.now_ns()):
                self._gateways[report.venue].hear([report])
        await self._submit(TimerFired(TimerKind.DAY_CLOSE, step.trade_date), actor)
        for symbol, price in prices:
            await self._submit(SetMark(symbol, price, MarkSource.CLOSE, author=_ACTOR))
        if prices:
            await self._submit(SetReference(prices=prices))
        LOG.info("trading date %s has ended; %d closing marks", step.trade_date, len(prices))
        following = self.next()
        if ours and following is not None:
            self._prepare(following)

    async def _open(self, step: DayStep, actor: str) -> None:
        await asyncio.to_thread(self._sessions.reach, self._clock.now_ns(), AHEAD_DAYS)
        for command in self._calendars():
            await self._submit(command)
        await self._submit(TimerFired(TimerKind.DAY_OPEN, step.trade_date), actor)
        LOG.info("trading date %s has begun", step.trade_date)
        self._prepare(step)
        self._begin_session()

    def _prepare(self, step: DayStep) -> None:
        """The venues collect orders for the session of a date that has not begun."""
        if step.session is not None and step.trade_date != self._date:
            self._market.start_day(step.session.close_ns, step.trade_date)
            self._date = step.trade_date

    def _begin_session(self) -> None:
        """The session of the open date has begun: the call ends and the market moves."""
        if self._market.calling and self.in_session:
            for report in self._market.open(self._clock.now_ns()):
                self._gateways[report.venue].hear([report])
            LOG.info("trading of %s begins", self._date)
            self._moved.set()

    async def _expect(self) -> None:
        """Journal what planners may expect of the session that runs, once in each life and date."""
        step = self.next()
        if self._told_of == self._date or not self.in_session or step is None or step.session is None:
            return
        self._told_of = self._date
        now_ns, close_ns = self._clock.now_ns(), step.session.close_ns
        with suppress(OutcomeUnknownError):  # the shard has stopped: there is nothing to plan
            for command in expected_session(self._market, self._date, now_ns, close_ns):
                await self._submit(command)

    def _calendars(self) -> list[AnyCommand]:
        known = self._shard.state.calendars
        return self._sessions.commands(tuple(self._gateways), known, self._clock.now_ns())

    def _prices(self) -> tuple[tuple[str, Decimal], ...]:
        """The midpoints of the market, on the tick."""
        found = []
        for spec in self._market.instruments:
            book = self._view.book(spec.symbol)
            mid = book.mid() if book is not None else None
            if mid is not None:
                found.append((spec.symbol, mid - mid % spec.tick))
        return tuple((symbol, price) for symbol, price in found if price > 0)

    @property
    def in_session(self) -> bool:
        """Whether trading of the open date has begun; around the clock it begins with the date."""
        step = self.next()
        if step is None or step.kind is not TimerKind.DAY_CLOSE or step.session is None:
            return False
        return not self._sessions.mic or step.session.open_ns <= self._clock.now_ns()

    def _look(self) -> None:
        for symbol in looked_at(self._shard.state):
            self._shard.market_moved(symbol)

    async def _submit(self, command: AnyCommand, actor: str = _ACTOR) -> None:
        """Have a command decided; when too much waits, a little later.

        Raises:
            OrderStateError: it was refused.
            OverloadedError: too much waited all the time.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                outcome = await self._shard.submit(command, actor)
                break
            except OverloadedError:
                if attempt == MAX_ATTEMPTS:
                    raise
                await asyncio.sleep(PAUSE_S)
        for event in outcome.events:
            if isinstance(event, CommandRefused):
                raise OrderStateError(event.text, code=event.code)


def _date(moment_ns: int) -> str:
    return datetime.fromtimestamp(moment_ns // _SECOND_NS, UTC).date().isoformat()
