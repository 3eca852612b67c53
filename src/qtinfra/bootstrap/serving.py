"""The server's inside: one live shard, simulated venues on real time, journal, evidence, access.

`serving` builds it, recovers it from its data directory, runs it, and stops it in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from functools import partial

from qtinfra.bootstrap.anchoring import Anchoring, anchorer_of
from qtinfra.bootstrap.days import Sessions, TradingDays, carried_on
from qtinfra.bootstrap.projection import Projection
from qtinfra.bootstrap.routes import RouteScores
from qtinfra.bootstrap.sessions import Evidence, installed_routing, installed_strategies
from qtinfra.bootstrap.taps import Taps
from qtinfra.core.commands import (
    AnyCommand,
    SetLimit,
    SetOrderProtection,
    SetReference,
    SetRoutingPolicy,
    SetVenueStatus,
    SubmitOrder,
)
from qtinfra.core.decimals import exact
from qtinfra.core.events import AnyEvent, Entry
from qtinfra.core.exceptions import OutcomeUnknownError, SecurityError, TimeoutError
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    Instrument,
    LimitRule,
    Venue,
    VenueStatus,
)
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.models import AssetClass, Currency
from qtinfra.core.ports import Clock, Head
from qtinfra.core.reports import Alert
from qtinfra.core.routing import OrderProtection, RoutingPolicy
from qtinfra.engine.decide import decide
from qtinfra.engine.state import State
from qtinfra.engine.valuation import AccountValue, valuation
from qtinfra.infra.clock import SystemClock
from qtinfra.infra.config import AuthMode, Settings
from qtinfra.infra.security.keys import KeyRing
from qtinfra.infra.security.login import DevLogin
from qtinfra.infra.security.ratelimit import RateLimiter
from qtinfra.infra.security.tokens import TokenVerifier
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.marketdata.calendars import CalendarUnavailableError
from qtinfra.repository.idempotency import IdempotencyKeys
from qtinfra.repository.revocations import RevokedTokens
from qtinfra.runtime.days import day_is_open, next_session
from qtinfra.runtime.live import LiveShard
from qtinfra.runtime.recovery import Recovery, open_and_recover, snapshot_of
from qtinfra.venues.simulated.flow import (
    US_INSTRUMENTS,
    US_VENUES,
    SyntheticInstrument,
    SyntheticMarket,
)
from qtinfra.venues.simulated.local import LocalMarketView, LocalVenueGateway

_SECOND_NS = 1_000_000_000
#: The server begins after so many seconds at the latest, whether or not there are read tables by then.
PROJECTOR_START_S = 10.0
#: Alerts that are kept for a person to look at; older ones go first.
KEPT_ALERTS = 1_000

#: What the simulated market trades: six US names and one below a dollar, with its finer tick.
INSTRUMENTS = (
    *US_INSTRUMENTS,
    SyntheticInstrument("PNNY", Decimal("0.9000"), 0.03, 5_000_000, 4, tick=Decimal("0.0001")),
)
#: Two clients own the three accounts.
ACCOUNTS = {"ACC-1": "north", "ACC-2": "north", "ACC-3": "south"}
#: The limits of a new data directory, for every account and symbol.
LIMITS = (
    (LimitRule.MAX_ORDER_QTY, Decimal(100_000)),
    (LimitRule.MAX_ORDER_VALUE, Decimal(10_000_000)),
    (LimitRule.PRICE_COLLAR, Decimal("0.1")),
    (LimitRule.POSITION_LIMIT, Decimal(10_000_000)),
)


class DurableSeq:
    """How far the journal is durable, to wait for. Sequences are waited for in ascending order."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self._stopped = False
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    def note(self, head: Head) -> None:
        """The journal is durable up to this head."""
        self.seq = head.seq
        while self._waiters and self._waiters[0][0] <= head.seq:
            waiter = self._waiters.popleft()[1]
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seq: int) -> None:
        """Return when `seq`, the engine's latest, is durable.

        Raises:
            OutcomeUnknownError: the shard has stopped before that.
        """
        if seq > self.seq:
            if self._stopped:
                raise OutcomeUnknownError("the engine has stopped; ask again after its restart")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((seq, waiter))
            await waiter

    def stop(self) -> None:
        """The shard has stopped: nobody waits for what will not come."""
        self._stopped = True
        while self._waiters:
            waiter = self._waiters.popleft()[1]
            if not waiter.done():
                waiter.set_exception(
                    OutcomeUnknownError("the engine has stopped; ask again after its restart")
                )


class Platform:
    """Everything that a request may need, while the server runs.

    Attributes:
        started_ns: when this life of the process began, UTC nanoseconds.
        login: the development login; None where tokens come from elsewhere.
        alerts: the latest things that a person should look at.
        taps: for who looks on.
        revoked: tokens that were revoked, on disk.
        routes: what the router expected of the orders it routed in this life.
        days: the trading date and what comes next.
        trade_date: that the market was made for when this life began.
    """

    days: TradingDays

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        shard: LiveShard,
        market: SyntheticMarket,
        trade_date: str,
        view: LocalMarketView,
        durable: DurableSeq,
        alerts: deque[Alert],
        taps: Taps,
        projection: Projection,
        routes: RouteScores,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.shard = shard
        self.market = market
        self.trade_date = trade_date
        self.view = view
        self.durable = durable
        self.alerts = alerts
        self.taps = taps
        self.projection = projection
        self.routes = routes
        self.readmodel = projection.readmodel
        self.started_ns = clock.now_ns()
        self.gateways: tuple[LocalVenueGateway, ...] = ()
        self.login, self.verifier = _access(settings)
        self.limiter = RateLimiter(settings.rate_limit)
        self.revoked = RevokedTokens(settings.data_dir / "revocations.sqlite")
        self.idempotency_lock = asyncio.Lock()
        self.idempotency = IdempotencyKeys(settings.data_dir / "idempotency.sqlite", self.started_ns)

    @property
    def state(self) -> State:
        """The state in memory; it may be ahead of what is durable. Read only."""
        return self.shard.state

    @property
    def behind(self) -> int:
        """How many durable events the read tables do not have yet."""
        return max(0, self.durable.seq - self.projection.progress.seq)

    def book(self, symbol: str) -> ConsolidatedBook | None:
        """The consolidated book now."""
        return self.view.book(symbol)

    def valuation(self) -> tuple[AccountValue, ...]:
        """Every account's positions and profit and loss at the marks of now."""
        return valuation(self.state, self.view, self.clock.now_ns())

    def plan(self, command: SubmitOrder) -> Sequence[AnyEvent]:
        """What a new order would lead to now; nothing is changed, sent or journaled."""
        with exact():
            return decide(self.state, command, self.clock.now_ns(), self.view).events


def _access(settings: Settings) -> tuple[DevLogin | None, TokenVerifier]:
    """Who may come in: the development login's users, or the bearers of tokens under the given keys."""
    if settings.auth is AuthMode.DEV:
        login = DevLogin(settings.environment, settings.data_dir)
        return login, TokenVerifier(login.keys(), login.issuer, login.audience)
    if settings.jwks_file is None:
        raise SecurityError(
            "auth=jwks needs QTINFRA_JWKS_FILE",
            code="jwks_file_missing",
            context={"field": "jwks_file", "rule": "required with auth=jwks"},
        )
    keys = KeyRing.from_jwks(settings.jwks_file.read_bytes())
    return None, TokenVerifier(keys, settings.token_issuer, settings.token_audience)


@asynccontextmanager
async def serving(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Platform]:
    """Recover what the data directory holds and serve it until the block ends.

    Raises:
        CalendarUnavailableError: the setting `calendar` names none; the data directory is as it was.
        JournalCorruptError: a record does not verify; names its sequence.
        JournalError: the journal cannot be used, or another process holds it.
        SecurityError: the access settings do not fit the environment.
    """
    clock = clock or SystemClock()
    sessions = _sessions(settings.calendar, clock.now_ns())
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    files = Evidence.of(settings.data_dir / "journal.sqlite")
    async with AsyncExitStack() as stack:
        reserve_bytes = settings.journal_reserve_bytes
        opening = partial(
            SqliteJournal.open, files.journal, owner="serve", verify="tail", reserve_bytes=reserve_bytes
        )
        journal, recovery = open_and_recover(opening)
        stack.callback(journal.close)
        alerts: deque[Alert] = deque(maxlen=KEPT_ALERTS)
        taps = Taps()
        on_alert = partial(_alert, alerts, taps)
        tables = files.journal.with_name(f"{files.journal.name}.tables.sqlite")
        projection = Projection(tables, files.journal, on_alert)
        platform = _platform(settings, clock, journal, recovery, projection, alerts, taps, sessions)
        stack.callback(platform.idempotency.close)
        stack.callback(platform.revoked.close)
        platform.revoked.restore(platform.verifier.revocations, clock.now_ns() / _SECOND_NS)
        await platform.shard.start("serve", _reference(platform.state, platform.market))
        stack.push_async_callback(_stop, platform, journal)
        await _score_routes(platform)
        await _connect(platform, journal.epoch)
        platform.days = _days(platform, sessions, on_alert)
        await platform.days.catch_up()
        anchoring = Anchoring(anchorer_of(files, journal), lambda: journal.head, clock, on_alert)
        stack.push_async_callback(anchoring.end)
        days = platform.days
        for work in (anchoring.run(), days.run(), days.play(), _watch(platform)):
            task = asyncio.create_task(work)
            task.add_done_callback(partial(_report_failure, on_alert))
            stack.push_async_callback(_cancelled, task)
        reading = asyncio.create_task(projection.run(lambda: journal.head))
        stack.push_async_callback(_cancelled, reading)
        stack.push_async_callback(projection.close)
        with suppress(TimeoutError):
            await projection.progress.wait_for(1, PROJECTOR_START_S)
        yield platform


def _sessions(mic: str, now_ns: int) -> Sessions:
    """The sessions that the setting `calendar` asks for; a refusal names the setting."""
    try:
        return Sessions(mic, now_ns)
    except CalendarUnavailableError as error:
        context = {"field": "calendar", "rule": error.error_code, "limit": "a known MIC", "value": mic}
        text = f"QTINFRA_CALENDAR: {error.message}"
        raise CalendarUnavailableError(text, code=error.error_code, context=context) from error


def _platform(
    settings: Settings,
    clock: Clock,
    journal: SqliteJournal,
    recovery: Recovery,
    projection: Projection,
    alerts: deque[Alert],
    taps: Taps,
    sessions: Sessions,
) -> Platform:
    now_ns = max(clock.now_ns(), recovery.last_ns)
    market, trade_date = _market(settings.market_seed, recovery.state, sessions, now_ns)
    view, durable, routes = LocalMarketView(market), DurableSeq(journal.head.seq), RouteScores()

    def on_durable(head: Head) -> None:
        durable.note(head)
        projection.grown(head)
        taps.durable(head)

    def on_decided(entries: Sequence[Entry]) -> None:
        routes.note(entries)
        taps.decided(entries)

    shard = LiveShard(
        recovery.state,
        journal,
        clock,
        epoch=journal.epoch,
        market=view,
        capacity=settings.max_waiting,
        on_alert=partial(_alert, alerts, taps),
        on_durable=on_durable,
        on_decided=on_decided,
        not_before_ns=recovery.last_ns,
        disk_full=lambda: journal.on_reserve,
        strategies=installed_strategies(),
        routing=installed_routing(),
    )
    return Platform(
        settings, clock, shard, market, trade_date, view, durable, alerts, taps, projection, routes
    )


def _market(seed: int, state: State, sessions: Sessions, now_ns: int) -> tuple[SyntheticMarket, str]:
    """The market of the session that runs, else of the next one, and its trading date.

    Raises:
        CalendarUnavailableError: the calendar has no session ahead.
    """
    calendar = sessions.at(now_ns)
    session = calendar.session_on(state.trade_date) if day_is_open(state) else None
    if session is None or session.close_ns <= now_ns:
        session = next_session(calendar, state.trade_date, now_ns)
    if session is None:
        text = f"the calendar of {sessions.mic} has no session after now"
        raise CalendarUnavailableError(text, context={"mic": sessions.mic})
    prices = state.reference_prices
    instruments = [carried_on(spec, prices.get(spec.symbol)) for spec in INSTRUMENTS]
    open_ns, day = max(now_ns, session.open_ns), session.trade_date
    market = SyntheticMarket(
        seed, instruments, US_VENUES, open_ns=open_ns, close_ns=session.close_ns, trade_date=day
    )
    if session.open_ns > now_ns:
        market.call()
    return market, day


def _days(platform: Platform, sessions: Sessions, on_alert: Callable[[Alert], None]) -> TradingDays:
    return TradingDays(
        platform.shard,
        platform.market,
        platform.trade_date,
        platform.view,
        platform.gateways,
        sessions,
        platform.clock,
        on_alert,
    )


def _reference(state: State, market: SyntheticMarket) -> list[AnyCommand]:
    """What an empty journal needs first."""
    if state.instruments:
        return []
    mics = tuple(sorted(market.sessions))
    instruments = tuple(
        Instrument(spec.symbol, AssetClass.EQUITY, Currency.USD, mics, US_EQUITY_TICKS, spec.lot)
        for spec in market.instruments
    )
    accounts = tuple(Account(name, client, Currency.USD, firm="demo") for name, client in ACCOUNTS.items())
    venues = tuple(Venue(v.mic, v.mic, Currency.USD, v.take_fee, v.make_fee) for v in market.venues)
    prices = tuple((spec.symbol, spec.start_price) for spec in market.instruments)
    limits = [SetLimit(rule, value, author="setup", reason="first start") for rule, value in LIMITS]
    return [SetReference(instruments, accounts, venues, prices), *limits]


async def _score_routes(platform: Platform) -> None:
    """Turn scored routing on, with protected quotes, in a journal without it."""
    if platform.state.routing is not None:
        return
    rule = OrderProtection("611", "US", tuple(sorted(platform.market.sessions)), platform.trade_date)
    policy = SetRoutingPolicy(RoutingPolicy(), author="setup", reason="scored routing")
    await platform.shard.submit(SetOrderProtection(rule, author="setup"), "serve")
    await platform.shard.submit(policy, "serve")


async def _connect(platform: Platform, epoch: int) -> None:
    """Open the venues' sessions of this life."""
    shard, market, state = platform.shard, platform.market, platform.state
    gateways = []
    for mic, session in market.sessions.items():
        session.name = f"{mic}-{epoch}"
        gateways.append(
            LocalVenueGateway(
                session,
                epoch=epoch,
                clock=platform.clock,
                latency_ns=platform.settings.venue_latency_us * 1_000,
                on_reports=shard.report_all,
                ended=_held_by(state, mic),
            )
        )
    platform.gateways = tuple(gateways)
    for gateway in gateways:
        shard.connect(gateway)
        gateway.start()
        connected = SetVenueStatus(gateway.venue, VenueStatus.CONNECTED, "session opened")
        await shard.submit(connected, f"venue:{gateway.venue}")


def _held_by(state: State, mic: str) -> list[str]:
    """Our ids of the orders that a venue had acknowledged and that were not over."""
    held = []
    for order_id in state.open_orders:
        for child in state.working_children(state.orders[order_id]):
            if child.venue == mic and (child.venue_order_id or child.cum):
                held.append(child.cl_ord_id)
    return held


async def _watch(platform: Platform) -> None:
    """When the engine stops, whoever waits for it is told."""
    await platform.shard.wait_stopped()
    platform.durable.stop()


def _alert(alerts: deque[Alert], taps: Taps, alert: Alert) -> None:
    """Keep an alert and show it to who looks on."""
    alerts.append(alert)
    taps.alerted(alert)


def _report_failure(on_alert: Callable[[Alert], None], task: asyncio.Task[None]) -> None:
    """A part of the server has failed: it shows in the alerts at once, and ends the server's stop with it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        on_alert(Alert("task_failed", task.get_coro().__qualname__, repr(error)))  # type: ignore[union-attr]


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def _stop(platform: Platform, journal: SqliteJournal) -> None:
    """Decide what waits, stop, and leave a snapshot from which the next start is quick."""
    for gateway in platform.gateways:
        gateway.close()
    await platform.shard.close()
    if platform.shard.stopped is None and journal.head.seq == platform.state.seq:
        journal.save_snapshot(snapshot_of(platform.state, journal.head.hash))
