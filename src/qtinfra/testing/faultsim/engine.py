"""One life of the engine: the live shard and its gateways, from opening the journal to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Protocol

from qtinfra.core.commands import AnyCommand, SetLimit, SetReference, TimerFired, TimerKind
from qtinfra.core.exceptions import OutcomeUnknownError
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    Instrument,
    LimitRule,
    Policies,
    Venue,
    VenueStatus,
)
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import AssetClass, Currency
from qtinfra.core.ports import Clock
from qtinfra.core.reports import Alert, ExecutionReport, OrderCancelReject, ToVenue
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.state import State
from qtinfra.journal.log import LogJournal
from qtinfra.runtime.disk_thread import DiskThread, T
from qtinfra.runtime.live import LiveShard
from qtinfra.runtime.recovery import recover
from qtinfra.runtime.snapshots import SnapshotPolicy
from qtinfra.testing.faultsim.disk import FaultDisk
from qtinfra.testing.faultsim.venue import VenueHost
from qtinfra.venues.simulated.gateway import TcpVenueGateway, Timing

JOURNAL = Path("journal")
VENUES = ("XNAS", "ARCX", "BATS")
SYMBOLS = ("AAPL", "IBM", "MSFT")
ACCOUNTS = ("alpha", "beta", "gamma")
TRADE_DATE = "2024-01-08"
MAX_ORDER_QTY = Decimal(300)
POSITION_LIMIT = Decimal(300)
CAPACITY = 12
BATCH = 16

_TIMING = Timing(dead_after_s=4.0, first_backoff_s=0.002, max_backoff_s=0.25)
_SNAPSHOT_EVERY = 90
_MOST_UNSENT = 1_200
_RESERVE_BYTES = 1 << 16


class Surroundings(Protocol):
    """What a life finds outside, and whom it tells."""

    disk: FaultDisk
    hosts: dict[str, VenueHost]
    policies: Policies

    def leaves(self, life: Life, message: ToVenue) -> None:
        """A message is about to be handed to its gateway."""
        ...

    def told(self, life: Life, report: ExecutionReport | OrderCancelReject) -> None:
        """A client's report has been released."""
        ...

    def alerted(self, life: Life, alert: Alert) -> None: ...


class VenueView:
    """The market as the venues display it now."""

    def __init__(self, hosts: dict[str, VenueHost]) -> None:
        self._hosts = hosts

    def book(self, symbol: str) -> ConsolidatedBook | None:
        quotes: list[VenueQuote] = []
        for host in self._hosts.values():
            quote = host.quote(symbol)
            if quote is not None:
                quotes.append(quote)
        return ConsolidatedBook(symbol, tuple(quotes)) if quotes else None


class WatchedGateway(TcpVenueGateway):
    """The gateway, with somebody who looks at each message before it is handed over."""

    watch: Callable[[ToVenue], None]

    def send(self, message: ToVenue) -> None:
        self.watch(message)
        super().send(message)


class LoopDisk(DiskThread):
    """The disk's work as the loop does what is meant for another thread; a simulated loop has none."""

    def begin(self, work: Callable[[], T], after: Callable[[], None]) -> asyncio.Future[T]:
        done = asyncio.get_running_loop().run_in_executor(None, work)
        done.add_done_callback(lambda _: after())
        return done


def reference(policies: Policies) -> list[AnyCommand]:
    """What an empty journal needs first. Primary listings differ, so that all venues get orders."""
    listed = [VENUES[i:] + VENUES[:i] for i in range(len(SYMBOLS))]
    instruments = tuple(
        Instrument(symbol, AssetClass.EQUITY, Currency.USD, mics, US_EQUITY_TICKS)
        for symbol, mics in zip(SYMBOLS, listed, strict=True)
    )
    accounts = tuple(
        Account(name, f"client-{name}", Currency.USD, desk="desk", firm="firm", policies=policies)
        for name in ACCOUNTS
    )
    venues = tuple(Venue(mic, mic, Currency.USD, Decimal("0.003"), Decimal("-0.002")) for mic in VENUES)
    return [
        SetReference(instruments, accounts, venues),
        SetLimit(LimitRule.MAX_ORDER_QTY, MAX_ORDER_QTY),
        SetLimit(LimitRule.POSITION_LIMIT, POSITION_LIMIT),
    ]


def setup(state: State, policies: Policies) -> list[AnyCommand]:
    """What this state still needs before it can trade."""
    commands: list[AnyCommand] = []
    if not state.instruments or len(state.limits) < 2:
        commands += reference(policies)
    if not state.trade_date:
        commands.append(TimerFired(TimerKind.DAY_OPEN, TRADE_DATE))
    return commands


class Life:
    """One owner of the shard. `begin` does all its disk work; `serve` runs until something ends it.

    Attributes:
        ready: it serves, and its gateways have begun. over: its process has ended.
        offered: orders that it was handed, by account and client id. cancels: how many
            cancels and controls it has not answered.
        recovered: the state that it began with.
    """

    def __init__(self, number: int, world: Surroundings, clock: Clock) -> None:
        self.number = number
        self.ready = False
        self.over = False
        self.shard: LiveShard
        self.journal: LogJournal
        self.recovered: State
        self.gateways: dict[str, TcpVenueGateway] = {}
        self.cancels = 0
        self.offered: dict[tuple[str, str], bool] = {}
        self._world = world
        self.clock = clock
        self._task: asyncio.Task[None]

    def begin(self) -> None:
        """Take the journal, recover, and make the shard.

        Raises:
            JournalError, JournalCorruptError, FencedError: as opening and recovery do.
        """
        world = self._world
        self.journal = LogJournal.open(
            JOURNAL, owner=f"life {self.number}", disk=world.disk, reserve_bytes=_RESERVE_BYTES
        )
        recovery = recover(self.journal)
        self.recovered = recovery.state
        self.shard = LiveShard(
            recovery.state,
            self.journal,
            self.clock,
            epoch=self.journal.epoch,
            market=VenueView(world.hosts),
            batch=BATCH,
            capacity=CAPACITY,
            on_report=lambda report: world.told(self, report),
            on_alert=lambda alert: world.alerted(self, alert),
            snapshots=SnapshotPolicy(_SNAPSHOT_EVERY),
            not_before_ns=recovery.last_ns,
            disk_full=lambda: self.journal.on_reserve,
            disk=LoopDisk("journal"),
        )

    def cancel_answered(self, done: asyncio.Future[Outcome]) -> None:
        """One cancel less waits in this life."""
        del done
        self.cancels -= 1

    def serve(self) -> None:
        """Start the shard, then the gateways."""
        self._task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        try:
            await self.shard.start(f"life {self.number}", setup(self.shard.state, self._world.policies))
        except OutcomeUnknownError:
            return  # the alert has told why
        for mic in VENUES:
            await self.connect(mic)
        self.ready = True

    async def connect(self, mic: str) -> None:
        """A gateway for the session that the venue has now."""
        host = self._world.hosts[mic]
        state = self.shard.state
        same = state.sessions.get(mic, host.session.name) == host.session.name
        gateway = WatchedGateway(
            mic,
            "venue",
            host.port,
            session=host.session.name,
            epoch=self.journal.epoch,
            next_seq=state.inbound.get(mic, 0) + 1 if same else 1,
            on_report=self.shard.report,
            on_status=lambda status, reason: self._link(mic, status, reason),
            rng=Random(self.number),
            timing=_TIMING,
            max_unsent_bytes=_MOST_UNSENT,
        )
        gateway.watch = lambda message: self._world.leaves(self, message)
        self.gateways[mic] = gateway
        self.shard.connect(gateway)
        await gateway.start()

    def _link(self, mic: str, status: VenueStatus, reason: str) -> None:
        self.shard.venue_status(mic, status, reason)

    def refused(self) -> list[str]:
        """Venues whose session this life has lost for good."""
        return [mic for mic, gateway in self.gateways.items() if gateway.refused]

    async def reconnect(self, mic: str) -> None:
        """A person has looked: begin the venue's new session."""
        old = self.gateways.pop(mic, None)
        if old is not None:
            await old.close()
        await self.connect(mic)
