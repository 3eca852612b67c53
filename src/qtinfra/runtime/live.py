"""The live shard: the engine on real time, one asyncio loop, one thread for the disk.

While a frame syncs, the next one is computed. A caller's answer, a client's report and a message to a venue
leave when what they rest on is durable, and not before. Whatever ends the shard, every caller without a
durable answer is told that its outcome is unknown.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal

from qtinfra.core.commands import (
    AnyCommand,
    Inbound,
    RecordVenueReport,
    ReplaceOrder,
    SetVenueStatus,
    StartEpoch,
    SubmitList,
    SubmitOrder,
    TimerFired,
    TimerKind,
)
from qtinfra.core.events import Entry
from qtinfra.core.exceptions import (
    ExternalServiceError,
    JournalError,
    OutcomeUnknownError,
    OverloadedError,
    QtInfraError,
)
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.market import NO_MARKET, MarketView
from qtinfra.core.ports import Clock, Head, Journal, VenueGateway
from qtinfra.core.reports import (
    Alert,
    ExecutionReport,
    OrderCancelReject,
    ToVenue,
    VenueReport,
)
from qtinfra.core.strategies.registry import Registry
from qtinfra.engine.kernel import Kernel, Outcome
from qtinfra.engine.state import State
from qtinfra.infra.heap import LongLivedHeap
from qtinfra.router.strategies import RoutingRegistry
from qtinfra.runtime.algo_timer import NOTED as ALGO_NOTED
from qtinfra.runtime.algo_timer import AlgoTimer
from qtinfra.runtime.disk_thread import DiskThread
from qtinfra.runtime.inbox import Inbox
from qtinfra.runtime.loop import Frame, ShardLoop
from qtinfra.runtime.offered import Offered
from qtinfra.runtime.recovery import UNFIT
from qtinfra.runtime.snapshots import Replica, SnapshotPolicy
from qtinfra.runtime.timers import NOTED as EXPIRY_NOTED
from qtinfra.runtime.timers import ExpiryTimer

Waiter = asyncio.Future[Outcome] | Offered | None

_REPLIES = frozenset((ExecutionReport, OrderCancelReject))
ClientSink = Callable[[ExecutionReport | OrderCancelReject], None]
AlertSink = Callable[[Alert], None]


#: What is refused while the journal has little space left.
_NEW_FLOW = frozenset((SubmitOrder, SubmitList, ReplaceOrder))
#: Events that a timer looks at.
_TIMED = EXPIRY_NOTED | ALGO_NOTED
#: Commands decided before the loop has another turn, in which it sees that a sync has ended: about 3 ms.
SLICE = 64


def _disk_is_full() -> OverloadedError:
    return OverloadedError("the disk is full: cancels only", code="disk_full")


def _ignore(_: object) -> None:
    """A sink for what nobody listens to."""


class LiveShard:
    """One shard, live. Everything but the disk happens in the loop's thread.

    Args:
        state: the recovered state; the journal's head is at its sequence.
        journal: open for writing under `epoch`.
        clock: UTC nanoseconds.
        market: what is known of the market; empty means stale.
        epoch: of this owner.
        batch: most commands in a frame.
        capacity: most orders that wait; further ones are refused.
        on_report: gets each client report, in order, once it is durable. A sink that raises stops the shard.
        on_alert: gets what a person should look at.
        on_durable: gets the journal's head after each frame (to anchor it).
        on_decided: gets the records of each decision round while the state stands right after them, before
            they are durable; nothing of them may leave before `on_durable`. It must not raise.
        snapshots: when to save a snapshot into the journal; None for never.
        not_before_ns: no decision is dated before this moment: the recovery's `last_ns`.
        disk_full: whether the journal lives on its reserve; then new orders and replaces are refused, while
            cancels and controls go on.
        strategies: what plans algo orders; None for those that come with the engine.
        routing: what routes orders; likewise.
        disk: what does the journal's work; None for a thread of its own.
    """

    def __init__(
        self,
        state: State,
        journal: Journal,
        clock: Clock,
        *,
        epoch: int,
        market: MarketView = NO_MARKET,
        batch: int = 256,
        capacity: int = 10_000,
        on_report: ClientSink = _ignore,
        on_alert: AlertSink = _ignore,
        on_durable: Callable[[Head], None] = _ignore,
        on_decided: Callable[[Sequence[Entry]], None] = _ignore,
        snapshots: SnapshotPolicy | None = None,
        not_before_ns: int = 0,
        disk_full: Callable[[], bool] = lambda: False,
        strategies: Registry | None = None,
        routing: RoutingRegistry | None = None,
        disk: DiskThread | None = None,
    ) -> None:
        self.stopped: BaseException | None = None
        kernel = Kernel(state, strategies, routing)
        self._loop: ShardLoop[Waiter] = ShardLoop(kernel, journal, clock, market, not_before_ns=not_before_ns)
        self._inbox: Inbox[Waiter] = Inbox(capacity, self._order_id)
        self._taken: deque[Waiter] = deque()
        self._clock = clock
        self._epoch = epoch
        self._batch = batch
        self._on_report = on_report
        self._on_alert = on_alert
        self._on_durable = on_durable
        self._on_decided = on_decided
        self._disk_full = disk_full
        self._told_full = False
        self._gateways: dict[str, VenueGateway] = {}
        self._disk = disk if disk is not None else DiskThread("journal")
        self._head = journal.head  # of the last frame that is durable
        self._replica = Replica(state, snapshots) if snapshots is not None else None
        self._snapshot: asyncio.Task[None] | None = None
        self._heap = LongLivedHeap()
        self._expiry = ExpiryTimer(lambda: self.state, clock, self._expire)
        self._algos = AlgoTimer(lambda: self.state, clock, self._work_algos)
        self._looking = False
        self._woken = False
        self._wake: asyncio.Future[None] | None = None  # while the loop waits to be woken
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """The state in memory; it may be ahead of what is durable. Read only."""
        return self._loop.kernel.state

    @property
    def waiting(self) -> int:
        """How many commands wait to be decided."""
        return len(self._inbox)

    def connect(self, gateway: VenueGateway) -> None:
        """Use this gateway for the venue it names. Start it after the shard."""
        self._gateways[gateway.venue] = gateway

    # --- in -----------------------------------------------------------------------------------------------

    async def start(self, owner: str = "", setup: Sequence[AnyCommand] = ()) -> None:
        """Take over: begin the epoch, put what was in flight in doubt, then serve. Returns when that and
        `setup` are durable; gateways may be started then.

        Every venue counts as disconnected until its gateway says otherwise, so that children whose sending
        may have been cut off are asked about and never sent again.

        Raises:
            OutcomeUnknownError: the shard stopped before it was durable.
        """
        taking_over: list[AnyCommand] = [StartEpoch(self._epoch, owner)]
        for mic in self.state.venues:
            taking_over.append(SetVenueStatus(mic, VenueStatus.DISCONNECTED, "restart"))
        begun = [self.offer(command, "system") for command in [*taking_over, *setup]]
        self._task = asyncio.create_task(self._serve(), name="shard")
        self._task.add_done_callback(self._ended)
        await asyncio.gather(*begun)
        self._expiry.arm()
        self._algos.arm()

    async def submit(self, command: AnyCommand, actor: str, correlation_id: str = "") -> Outcome:
        """Have a command decided; returns when its outcome is durable.

        Raises:
            OverloadedError: refused before anything was journaled (`disk_full` when only cancels have room).
            OutcomeUnknownError: the shard stopped first; ask again after the restart.
        """
        return await self.offer(command, actor, correlation_id)

    def offer(self, command: AnyCommand, actor: str, correlation_id: str = "") -> asyncio.Future[Outcome]:
        """Like `submit`, without waiting: the order of calls is the order of commands in their lane."""
        if self._closing or self.stopped is not None:
            raise self._stopped()
        if type(command) in _NEW_FLOW and self._disk_full():
            raise _disk_is_full()
        waiter: Future[Outcome] = Future()
        self._inbox.put(Inbound(command, actor, correlation_id, self._clock.now_ns()), waiter)
        if not self._woken:
            self._rouse()
        return waiter

    def offer_all(self, commands: Sequence[SubmitOrder], actor: str, correlation_id: str = "") -> Offered:
        """Hand over new orders that are answered together. Those that there is no room for are refused, each
        as it would have been alone; the others are decided in their order, one after the other.
        """
        refusal: QtInfraError | None = None
        if self._over or self._disk_full():
            return Offered(len(commands), 0, self._stopped() if self._over else _disk_is_full())
        taken = min(len(commands), self._inbox.room)
        if taken < len(commands):
            refusal = self._inbox.overloaded()
        offered, now_ns = Offered(len(commands), taken, refusal), self._clock.now_ns()
        self._inbox.put_orders(
            [Inbound(command, actor, correlation_id, now_ns) for command in commands[:taken]], offered
        )
        self._rouse()
        return offered

    def _stopped(self) -> OutcomeUnknownError:
        return OutcomeUnknownError("the shard has stopped", context={"reason": str(self.stopped)})

    def report(self, report: VenueReport) -> None:
        """A venue's report; the callback for gateways. Never refused.

        One that comes when the shard has stopped is not taken: it is not journaled, so that the next owner's
        gateway asks for it again.
        """
        if not self._over:
            self._put(RecordVenueReport(report), f"venue:{report.venue}")

    def report_all(self, reports: Sequence[VenueReport]) -> None:
        """Reports of one venue that came together, in their order; as `report` of each."""
        if not self._over and reports:
            self._inbox.put_reports(reports, f"venue:{reports[0].venue}", self._clock.now_ns(), None)
            self._rouse()

    def venue_status(self, venue: str, status: VenueStatus, reason: str) -> None:
        """A venue's link changed; the callback for gateways. The next owner starts with all disconnected."""
        if not self._over:
            self._put(SetVenueStatus(venue, status, reason), f"venue:{venue}")

    def market_moved(self, symbol: str, last_px: Decimal | None = None) -> None:
        """A symbol's market has changed; the callback for feeds. Never refused, and decided after the venues'
        reports that wait.

        At most one such news waits for each symbol: while it does, newer news takes its place, so that held
        orders are looked at by the market as it stands then. A symbol without held orders is passed over.

        Args:
            last_px: price of the last trade, where one is known.
        """
        if not self._over and symbol in self.state.watched:
            self._inbox.put_move(symbol, last_px, None, self._clock.now_ns(), "market")
            self._rouse()

    def _expire(self) -> None:
        """The next order or session ends: the EXPIRY timer enters like any command; when it has been decided,
        the timer is set anew."""
        if not self._over:
            done = self.offer(TimerFired(TimerKind.EXPIRY, ""), "timer")
            done.add_done_callback(self._expired)

    def _work_algos(self, part: int, parts: int) -> None:
        """The ALGO timer enters like any command, one at a time: while the shard is behind, looks are left
        out, and the next one sees the market as it is then."""
        if not self._over and not self._looking:
            self._looking = True
            done = self.offer(TimerFired(TimerKind.ALGO, "", "", part, parts), "timer")
            done.add_done_callback(self._looked)

    def _looked(self, done: asyncio.Future[Outcome]) -> None:
        self._looking = False
        if not done.cancelled():
            done.exception()  # who stopped the shard has said so

    def _expired(self, done: asyncio.Future[Outcome]) -> None:
        if not done.cancelled() and done.exception() is None and not self._over:
            self._expiry.arm()

    @property
    def _over(self) -> bool:
        return self._closing or self.stopped is not None

    def _put(self, command: AnyCommand, actor: str) -> None:
        """Queue what nobody waits for."""
        self._inbox.put(Inbound(command, actor, "", self._clock.now_ns()), None)
        self._rouse()

    def _rouse(self) -> None:
        """There is something to do."""
        self._woken = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _roused(self) -> None:
        """Return when there has been something to do since the loop last looked."""
        if not self._woken:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def _order_id(self, account: str, cl_ord_id: str) -> str:
        order = self.state.find_order(account, cl_ord_id)
        return order.order_id if order is not None else ""

    # --- the loop -----------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """While a frame syncs, what comes is decided into the next one; release each when it is durable."""
        syncing: tuple[Frame[Waiter], asyncio.Future[Head]] | None = None
        following: Frame[Waiter] = Frame()
        while True:
            self._woken = False
            if syncing is not None and syncing[1].done():
                frame, sync = syncing
                if not self._written(sync):
                    return
                syncing = None
                if frame.stopped is None and following:  # first the disk's work, then what waits for its end
                    syncing, following = (following, self._sync(following)), Frame()
                self._release(frame)
                if frame.stopped is not None:
                    self._fail(frame.stopped)
                    return
            waiting = bool(self._inbox)
            if waiting:
                self._decide(following)
                if syncing is None and following:
                    syncing, following = (following, self._sync(following)), Frame()
                waiting = bool(self._inbox)
            if waiting and self._room(following):
                await asyncio.sleep(0)  # what was released goes out before the next slice
            elif syncing is None and self._closing and not waiting:
                return
            elif syncing is None or not syncing[1].done():
                await self._roused()

    def _decide(self, frame: Frame[Waiter]) -> None:
        """Decide what waits, as far as the frame has room, and no more than a slice."""
        room = self._room(frame)
        if not room:
            return
        batch = self._inbox.take(min(room, SLICE))
        self._taken.extend([waiter for _, waiter in batch])
        before = len(frame.entries)
        self._loop.compute(batch, frame)
        if len(frame.entries) > before and frame.stopped is None:
            self._on_decided(frame.entries[before:])

    def _room(self, frame: Frame[Waiter]) -> int:
        """How many more commands the frame takes."""
        return max(0, self._batch - len(frame)) if frame.stopped is None else 0

    def _sync(self, frame: Frame[Waiter]) -> asyncio.Future[Head]:
        """Begin to make it durable; wakes the loop when that has ended.

        It is encoded here and not in the disk's thread, which would compete for the interpreter with what
        the loop computes meanwhile, and drag the frame's objects through another processor's cache.
        """
        done: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        if not frame.entries:
            done.set_result(self._loop.journal.head)
            return done
        try:
            write = self._loop.journal.seal(frame.entries)
        except JournalError as error:
            done.set_exception(error)
            return done
        return self._disk.begin(write, self._rouse)

    def _written(self, sync: asyncio.Future[Head]) -> bool:
        """Whether the frame whose sync has ended is durable; else the shard stops."""
        try:
            self._head = sync.result()
        except (JournalError, OSError) as error:
            self._fail(error)
            return False
        return True

    def _release(self, frame: Frame[Waiter]) -> None:
        self._let_go(frame)
        self._heap.note(len(frame.results))
        popleft = self._taken.popleft
        for outcome, _ in frame.results:
            waiter = popleft()
            if waiter is None:
                continue
            if type(waiter) is Offered:
                waiter.note(outcome)
            elif not waiter.done():  # type: ignore[union-attr]
                waiter.set_result(outcome)  # type: ignore[union-attr]
        if frame.entries:
            self._set_timers(frame)
            self._on_durable(self._head)
            self._watch_disk()
            self._follow(frame.entries, self._head)

    def _set_timers(self, frame: Frame[Waiter]) -> None:
        """Bring the timers in line with what the frame has changed."""
        if self._over:
            return
        events = [event for entry in frame.entries for event in entry.events if type(event) in _TIMED]
        if events:
            self._expiry.note(events)
            self._algos.note(events)

    def _watch_disk(self) -> None:
        """Say once that the disk is full."""
        if self._disk_full() and not self._told_full:
            self._told_full = True
            self._on_alert(Alert("disk_full", str(self.state.shard), "new orders are refused"))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The loop is over. If by a fault or a cancellation, nobody is left waiting."""
        if task.cancelled():
            self._fail(asyncio.CancelledError("the shard was cancelled"))
        elif (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Stop the shard: every caller that has no durable answer is told that it is unknown."""
        if self.stopped is not None:
            return
        self.stopped = error
        self._expiry.cancel()
        self._algos.cancel()
        rest: list[Waiter] = []
        while self._inbox:
            rest += [waiter for _, waiter in self._inbox.take(len(self._inbox))]
        for waiter in [*self._taken, *rest]:
            if isinstance(waiter, Offered):
                waiter.note(OutcomeUnknownError(f"the shard stopped: {error}"))
            elif waiter is not None and not waiter.done():
                waiter.set_exception(OutcomeUnknownError(f"the shard stopped: {error}"))
        self._taken.clear()
        self._on_alert(Alert("shard_stopped", str(self.state.shard), str(error)))

    # --- snapshots ----------------------------------------------------------------------------------------

    def _follow(self, entries: Sequence[Entry], head: Head) -> None:
        """Feed the replica; begin a snapshot when one is due and none is being taken."""
        if self._replica is None:
            return
        self._replica.feed(entries, head)
        if self._replica.due and (self._snapshot is None or self._snapshot.done()):
            self._snapshot = asyncio.create_task(self._take_snapshot(self._replica), name="snapshot")

    async def _take_snapshot(self, replica: Replica) -> None:
        """Encode in a thread of its own, save between two appends. A failure costs the snapshot only."""
        try:
            snapshot = await asyncio.to_thread(replica.take, *replica.begin())
            await asyncio.get_running_loop().run_in_executor(
                self._disk, self._loop.journal.save_snapshot, snapshot
            )
        except (JournalError, OSError, RuntimeError) as error:  # RuntimeError: no memory for a thread
            self._on_alert(Alert("snapshot_failed", str(self.state.shard), str(error)))
        except MemoryError as error:
            self._replica = None  # it may have stopped in the middle of a record
            self._on_alert(Alert("snapshot_failed", str(self.state.shard), repr(error)))
        except UNFIT as error:
            self._replica = None
            self._on_alert(Alert("replica_differs", str(self.state.shard), str(error)))

    # --- out ----------------------------------------------------------------------------------------------

    def _let_go(self, frame: Frame[Waiter]) -> None:
        """The effects of a durable frame leave, in order."""
        on_report = self._on_report
        for outcome, _ in frame.results:
            for effect in outcome.effects:
                if type(effect) in _REPLIES:
                    on_report(effect)  # type: ignore[arg-type]
                elif isinstance(effect, ToVenue):
                    self._send_to_venue(effect)
                else:
                    self._on_alert(effect)  # type: ignore[arg-type]

    def _send_to_venue(self, message: ToVenue) -> None:
        """Hand a durable message to its gateway. One that refuses has said DISCONNECTED, and that puts the
        child in doubt: it is asked about later, and not kept for sending.
        """
        gateway = self._gateways.get(message.venue)
        if gateway is None:
            self.venue_status(message.venue, VenueStatus.DISCONNECTED, "no gateway")
            return
        try:
            gateway.send(message)
        except ExternalServiceError as error:
            self._on_alert(Alert("not_sent", message.cl_ord_id, error.message))

    async def close(self) -> None:
        """Decide and make durable what waits, then stop. The journal stays open for its owner to close."""
        self._closing = True
        self._expiry.cancel()
        self._algos.cancel()
        self._rouse()
        try:
            if self._task is not None:
                await self._task
            if self._snapshot is not None:
                await self._snapshot
        finally:
            self._disk.shutdown(wait=True)

    async def wait_stopped(self) -> None:
        """Return when the shard has stopped by itself or was closed."""
        if self._task is not None:
            await asyncio.wait([self._task])
