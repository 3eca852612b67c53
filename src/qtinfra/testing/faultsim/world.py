"""One machine, its disk, its venues and its clients in virtual time: all that a run consists of."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any

from qtinfra.core.commands import AnyCommand, CancelOrder, OrderStatusRequest, ReplaceOrder, SubmitOrder
from qtinfra.core.exceptions import FencedError, JournalCorruptError, JournalError, QtInfraError
from qtinfra.core.extended_models import Policies
from qtinfra.core.models import OrderSide
from qtinfra.core.reports import (
    Alert,
    ExecutionReport,
    OrderCancelReject,
    ToVenue,
    VenueNewOrder,
    VenueReplace,
)
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.state import state_hash
from qtinfra.infra.clock import SystemClock
from qtinfra.testing.faultsim.checks import Durable
from qtinfra.testing.faultsim.client import Clients
from qtinfra.testing.faultsim.disk import FaultDisk
from qtinfra.testing.faultsim.engine import (
    CAPACITY,
    JOURNAL,
    POSITION_LIMIT,
    SYMBOLS,
    TRADE_DATE,
    VENUES,
    Life,
)
from qtinfra.testing.faultsim.eventloop import OUTSIDE, PowerCut, VirtualLoop
from qtinfra.testing.faultsim.network import Network
from qtinfra.testing.faultsim.venue import VenueHost

#: 2024-01-08T14:30:00Z.
START_NS = 1_704_724_200_000_000_000
_BOOT_NS = 3_000_000
_RETRY_NS = 20_000_000
#: More lives than this in one run, and the engine restarts without end.
_MOST_LIVES = 160
_PORT = 7_000


class World:
    """The state of a run. `actions` does things to it; it watches what follows.

    Attributes:
        found: violations, in the order in which they were seen.
        counts: what happened, by name.
        life: the engine that owns the shard or is taking it over; None while none runs.
        stopped: an engine that was stopped in the middle of its work and waits to be continued.
    """

    def __init__(self, seed: int, policies: Policies) -> None:
        self.policies = policies
        self.found: list[str] = []
        self.counts: Counter[str] = Counter()
        self.loop = VirtualLoop()  # type: ignore[abstract]  # asyncio asks for these alone
        self.disk = FaultDisk()
        self.durable = Durable(self.disk, JOURNAL)
        self.clients = Clients(self._may_be_told, CAPACITY, self.counts)
        self.life: Life | None = None
        self.stopped: Life | None = None
        self.running: list[Life] = []
        self.lives = 0
        self.last_epoch = 0
        self.wall_ns = START_NS
        self.turns_left: int | None = None
        self.effects_left: int | None = None
        self.power = True
        self.planted: Callable[[World], None] | None = None
        self._rng = Random(f"delays/{seed}")
        self._drawn = self._rng.randrange(1 << 30)
        self.net = Network(self.loop, self._net_ns, self.counts)
        self.hosts = {
            mic: VenueHost(mic, _PORT + number, SYMBOLS, TRADE_DATE, self.net)
            for number, mic in enumerate(VENUES)
        }
        self.loop.disk_ns = self._disk_ns
        self.loop.before_turn = self._before_turn
        self.disk.on_durable = self.durable.follow
        self._boots_at = 0
        self._boot_handle: asyncio.Handle | None = None

    # --- delays -------------------------------------------------------------------------------------------

    def draw(self, most: int) -> int:
        """The next number of the world's own sequence, below `most`."""
        self._drawn = (self._drawn * 1_103_515_245 + 12_345) % (1 << 31)
        return (self._drawn >> 8) % most

    def _net_ns(self) -> int:
        return 40_000 + self.draw(16) * 30_000

    def _disk_ns(self) -> int:
        return 30_000 + self.draw(16) * 50_000

    # --- running ------------------------------------------------------------------------------------------

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this world's loop the running one."""
        asyncio._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    @contextmanager
    def acting_as(self, owner: int) -> Iterator[None]:
        """What is planned in here belongs to an engine."""
        before, self.loop.owner = self.loop.owner, owner
        try:
            yield
        finally:
            self.loop.owner = before

    def start(self) -> None:
        """Open the venues and start the first engine."""
        for host in self.hosts.values():
            host.venue.told_to = self._reaches_venue
            self.spawn(host.start())
            for number, symbol in enumerate(SYMBOLS):
                for side in (True, False):
                    ticks = 5_000 + number + (-2 if side else 2)
                    host.venue.stranger(symbol, side, 60, ticks, 0)
        self.boot_later(0)

    def spawn(self, work: Any) -> None:
        """Begin something that belongs to the outside."""
        with self.acting_as(OUTSIDE):
            self.loop.create_task(work)

    def run_for(self, time_ns: int) -> None:
        """Let time pass, through crashes and restarts."""
        until_ns = self.loop.now_ns + time_ns
        while True:
            try:
                self.loop.run_until(until_ns)
                return
            except PowerCut:
                self.crash(power=self.power)

    def _before_turn(self) -> None:
        life = self.life
        if self.turns_left is None or life is None or self.loop.owner != life.number:
            return
        self.turns_left -= 1
        if self.turns_left < 0:
            self.turns_left = None
            raise PowerCut("between two steps")

    # --- lives of the engine ------------------------------------------------------------------------------

    def boot_later(self, after_ns: int) -> None:
        """Plan the next start of an engine."""
        if self._boot_handle is not None:
            self._boot_handle.cancel()
        self._boot_handle = self.loop.call_for(OUTSIDE, after_ns, self._boot)

    def _boot(self) -> None:
        self._boot_handle = None
        self.lives += 1
        if self.lives > _MOST_LIVES:
            self.found.append(f"the engine has started {_MOST_LIVES} times: it crashes again and again")
            return
        clock = SystemClock(lambda: self.wall_ns + self.loop.now_ns, lambda: self.loop.now_ns)
        life = Life(self.lives, self, clock)
        self.life = life
        self.running.append(life)
        self.loop.owner = life.number
        try:
            life.begin()
        except JournalCorruptError as error:
            self.found.append(f"recovery refuses an undamaged journal: {error}")
            self.life = None
            return
        except (FencedError, JournalError):
            self._never_began(life)
            return
        self._check_recovery(life)
        life.serve()

    def _never_began(self, life: Life) -> None:
        """The disk refused: nothing was served; try again."""
        self.counts["failed_starts"] += 1
        self.life = None
        self.running.remove(life)
        self.loop.drop(life.number)
        if not self.running:
            self.disk.processes_die()
        self.disk.free()
        self.boot_later(_RETRY_NS)

    def _check_recovery(self, life: Life) -> None:
        """What was durable is back, and nothing else."""
        self.counts["recoveries"] += 1
        self.durable.follow(JOURNAL)
        head, durable = life.journal.head, self.durable
        if head.epoch <= self.last_epoch:
            self.found.append(f"a new owner has epoch {head.epoch}, the one before had {self.last_epoch}")
        self.last_epoch = max(self.last_epoch, head.epoch)
        if head.seq < durable.seq or life.journal.head_at(durable.seq) != durable.hash:
            self.found.append(f"recovered to sequence {head.seq}, durable is {durable.seq}")
        elif head.seq == durable.seq and state_hash(life.recovered) != state_hash(durable.state):
            self.found.append(f"the recovered state at {head.seq} is not what the durable records make")

    def crash(self, *, power: bool, delay_ns: int = _BOOT_NS) -> None:
        """The machine stops: by a power cut, or the processes only, so that written bytes stay."""
        self.counts["power_cuts" if power else "kills"] += 1
        for life in self.running:
            life.over = True
            self.loop.drop(life.number)
            self.net.die(life.number, power=power)
        self.running.clear()
        self.loop.owner = OUTSIDE
        self.life = self.stopped = None
        self.turns_left = self.effects_left = None
        if power:
            self.disk.crash()
        else:
            self.disk.processes_die()
        self.durable.follow(JOURNAL)
        self.boot_later(delay_ns)

    def _exit(self, life: Life) -> None:
        """A shard that has stopped ends its process; the next one starts."""
        if life.over:
            return
        life.over = True
        self.running.remove(life)
        self.counts["stops"] += 1
        self.loop.drop(life.number)
        self.net.die(life.number, power=False)
        life.journal.close()
        if self.stopped is life:
            self.stopped = None
        if self.life is life:
            self.life = None
            self.turns_left = self.effects_left = None
            self.disk.free()
            if not self.running:
                self.disk.processes_die()
            self.boot_later(_BOOT_NS)

    def end(self) -> None:
        """Forget everything that is still planned."""
        for owner in range(self.lives + 1):
            self.loop.drop(owner)

    def look_at_sessions(self) -> None:
        """A person looks at sessions that a venue has refused for good, and begins its new one."""
        life = self.life
        if life is not None and life.ready and not life.over:
            for mic in life.refused():
                self.counts["new_sessions"] += 1
                with self.acting_as(life.number):
                    self.loop.create_task(life.reconnect(mic))

    def set_line(self, port: int, up: bool) -> None:
        """Let a venue be reached, or not."""
        self.net.down[port] = not up
        if not up:
            self.net.sever(port)

    # --- what leaves the engine ---------------------------------------------------------------------------

    def _effect(self, life: Life) -> None:
        if self.effects_left is None or life is not self.life:
            return
        self.effects_left -= 1
        if self.effects_left < 0:
            self.effects_left = None
            raise PowerCut("between two effects")

    def leaves(self, life: Life, message: ToVenue) -> None:
        self._note(self.durable.covers_message(message))
        self._effect(life)

    def told(self, life: Life, report: ExecutionReport | OrderCancelReject) -> None:
        self.counts["reports"] += 1
        self._note(self.durable.covers_report(report))
        self._effect(life)

    def alerted(self, life: Life, alert: Alert) -> None:
        self.counts[f"alert_{alert.kind}"] += 1
        if alert.kind == "shard_stopped":
            self.loop.call_for(OUTSIDE, 1_000, self._exit, life)
        elif alert.kind == "replica_differs":
            self.found.append(f"the replica differs: {alert.text}")

    def _may_be_told(self, outcome: Outcome) -> str:
        return self.durable.holds(outcome.entry, outcome.depends_on)

    def _note(self, why: str) -> None:
        if why:
            self.found.append(why)

    # --- what reaches the venues --------------------------------------------------------------------------

    def _reaches_venue(self, message: ToVenue) -> None:
        """No account may come to hold more than its limit, by the venues' own records."""
        self.counts["messages"] += 1
        if isinstance(message, VenueNewOrder):
            self._limit(message.account, message.symbol, message.side, message.qty)
        elif isinstance(message, VenueReplace):
            venue = self.hosts[message.venue].venue
            own = venue._db.find(message.orig_cl_ord_id)
            if own is not None and own.live and message.qty > own.terms.qty:
                terms = own.terms
                self._limit(terms.account, terms.symbol, terms.side, message.qty - terms.qty)

    def _limit(self, account: str, symbol: str, side: OrderSide, more: Decimal) -> None:
        key = (account, symbol)
        net = working = Decimal(0)
        for host in self.hosts.values():
            if key in host.venue.disturbed:
                return
            sums = host.venue.holdings().get(key)
            if sums is not None:
                net += sums[0] if side is OrderSide.BUY else -sums[0]
                working += sums[1] if side is OrderSide.BUY else sums[2]
        if net + working + more > POSITION_LIMIT:
            worst = net + working + more
            self.found.append(
                f"{account} may come to hold {worst} of {symbol}, the limit is {POSITION_LIMIT}"
            )

    # --- clients ------------------------------------------------------------------------------------------

    def send(self, command: AnyCommand, number: int = 0, to: Life | None = None) -> None:
        """A client sends a command, or sends it again, to the engine that it takes for the owner."""
        number = number or self.clients.new(command)
        life = to or self.life
        if life is None or not life.ready or life.over:
            return
        with self.acting_as(life.number):
            try:
                done = life.shard.offer(command, "client")
            except QtInfraError as error:
                self.clients.refused(number, error, life.cancels)
                self.counts[f"refused_{error.error_code}"] += 1
                return
            self.clients.expect(number, done, behind=self._behind(life, command))
            if not isinstance(command, SubmitOrder | ReplaceOrder | OrderStatusRequest):
                life.cancels += 1
                done.add_done_callback(life.cancel_answered)

    def _behind(self, life: Life, command: AnyCommand) -> bool:
        """Whether this life has been handed the order that the command is about."""
        if isinstance(command, SubmitOrder):
            life.offered[command.account, command.cl_ord_id] = command.cl_ord_id.startswith("O")
        if not isinstance(command, CancelOrder | ReplaceOrder):
            return False
        return life.offered.get((command.account, command.orig_cl_ord_id), False)

    # --- the digest ---------------------------------------------------------------------------------------

    def digest(self) -> str:
        """SHA-256 over everything that a repetition must give again."""
        parts = [self.durable.hash.hex(), str(self.loop.now_ns), str(self.loop.turns), str(self.lives)]
        parts += [f"{key}={value}" for key, value in sorted(self.counts.items())]
        parts += [f"{key}={value}" for key, value in sorted(self.clients.answers.items())]
        for host in self.hosts.values():
            parts += [repr(report) for session in host.sessions for report in session.resend(0)]
        return hashlib.sha256("\n".join(parts + self.violations()).encode()).hexdigest()

    def violations(self) -> list[str]:
        """Everything that was found so far."""
        return [*self.found, *self.durable.found, *self.clients.found, *self.loop.errors]
