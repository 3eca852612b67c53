"""The live shard: the engine on real time, one asyncio loop, one thread for the disk.

While a frame syncs, the next one is computed. A caller's answer, a client's report and a message to a venue
leave when what they rest on is durable, and not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from qtinfra.core.commands import AnyCommand, Inbound, RecordVenueReport, SetVenueStatus, StartEpoch
from qtinfra.core.exceptions import ExternalServiceError, JournalError, OutcomeUnknownError
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.market import NO_MARKET, MarketView
from qtinfra.core.ports import Clock, Head, Journal, VenueGateway
from qtinfra.core.reports import (
    Alert,
    Effect,
    ExecutionReport,
    OrderCancelReject,
    ToVenue,
    VenueReport,
)
from qtinfra.engine.kernel import Kernel, Outcome
from qtinfra.engine.state import State
from qtinfra.runtime.inbox import Inbox, Item
from qtinfra.runtime.loop import Frame, ShardLoop

Waiter = asyncio.Future[Outcome] | None
ClientSink = Callable[[ExecutionReport | OrderCancelReject], None]
AlertSink = Callable[[Alert], None]


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
        on_report: gets each client report, in order, once it is durable.
        on_alert: gets what a person should look at.
        on_durable: gets the journal's head after each frame (to anchor it, to take a snapshot).
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
    ) -> None:
        self.stopped: BaseException | None = None
        self._loop: ShardLoop[Waiter] = ShardLoop(Kernel(state), journal, clock, market)
        self._inbox: Inbox[Waiter] = Inbox(capacity)
        self._clock = clock
        self._epoch = epoch
        self._batch = batch
        self._on_report = on_report
        self._on_alert = on_alert
        self._on_durable = on_durable
        self._gateways: dict[str, VenueGateway] = {}
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._wake = asyncio.Event()
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
        """Use this gateway for the venue it names."""
        self._gateways[gateway.venue] = gateway

    # --- in -----------------------------------------------------------------------------------------------

    async def start(self, owner: str = "", setup: Sequence[AnyCommand] = ()) -> None:
        """Take over: begin the epoch, put what was in flight in doubt, then serve.

        Every venue counts as disconnected until its gateway says otherwise, so that children whose sending
        may have been cut off are asked about and never sent again.
        """
        self._put(StartEpoch(self._epoch, owner), "system", None)
        for mic in self.state.venues:
            self._put(SetVenueStatus(mic, VenueStatus.DISCONNECTED, "restart"), "system", None)
        for command in setup:
            self._put(command, "system", None)
        self._task = asyncio.create_task(self._serve(), name="shard")

    async def submit(self, command: AnyCommand, actor: str, correlation_id: str = "") -> Outcome:
        """Have a command decided; returns when its outcome is durable.

        Raises:
            OverloadedError: refused before anything was journaled.
            OutcomeUnknownError: the shard stopped first; ask again after the restart.
        """
        return await self.offer(command, actor, correlation_id)

    def offer(self, command: AnyCommand, actor: str, correlation_id: str = "") -> asyncio.Future[Outcome]:
        """Like `submit`, without waiting: the order of calls is the order of commands in their lane."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._put(command, actor, waiter, correlation_id)
        return waiter

    def report(self, report: VenueReport) -> None:
        """A venue's report; the callback for gateways. Never refused."""
        self._put(RecordVenueReport(report), f"venue:{report.venue}", None)

    def venue_status(self, venue: str, status: VenueStatus, reason: str) -> None:
        """A venue's link changed; the callback for gateways."""
        self._put(SetVenueStatus(venue, status, reason), f"venue:{venue}", None)

    def _put(self, command: AnyCommand, actor: str, waiter: Waiter, correlation_id: str = "") -> None:
        if self.stopped is not None or self._closing:
            raise OutcomeUnknownError("the shard has stopped", context={"reason": str(self.stopped)})
        self._inbox.put(Inbound(command, actor, correlation_id, self._clock.now_ns()), waiter)
        self._wake.set()

    # --- the loop -----------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Compute a frame while the one before it syncs; release each when it is durable."""
        syncing: tuple[Frame[Waiter], asyncio.Future[None]] | None = None
        while True:
            if not self._inbox and syncing is None:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._inbox.take(self._batch)
            frame = self._loop.compute(batch) if batch else None
            if syncing is not None and not await self._finish(*syncing, frame, batch):
                return
            syncing = (frame, self._sync(frame)) if frame is not None else None
            if frame is not None and frame.stopped is not None and syncing is not None:
                if await self._finish(*syncing, None, []):
                    self._fail(frame.stopped, frame.unknown)
                return

    def _sync(self, frame: Frame[Waiter]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if not frame.entries:
            done: asyncio.Future[None] = loop.create_future()
            done.set_result(None)
            return done
        return loop.run_in_executor(self._disk, self._loop.append, frame)

    async def _finish(
        self,
        frame: Frame[Waiter],
        sync: asyncio.Future[None],
        following: Frame[Waiter] | None,
        batch: list[Item[Waiter]],
    ) -> bool:
        """Wait for a frame's sync and release it. When it fails the shard stops: nothing leaves any more."""
        try:
            await sync
        except (JournalError, OSError) as error:
            waiters = [waiter for _, waiter in frame.results] + frame.unknown
            if following is not None:
                waiters += [waiter for _, waiter in batch]
            self._fail(error, waiters)
            return False
        self._release(frame)
        return True

    def _release(self, frame: Frame[Waiter]) -> None:
        self._loop.release(frame, self._send)
        for outcome, waiter in frame.results:
            if waiter is not None and not waiter.done():
                waiter.set_result(outcome)
        if frame.entries:
            self._on_durable(self._loop.journal.head)

    def _fail(self, error: BaseException, waiters: Sequence[Waiter]) -> None:
        """Stop the shard: every caller that has no durable answer is told that it is unknown."""
        self.stopped = error
        rest = [waiter for _, waiter in self._inbox.take(len(self._inbox))]
        for waiter in [*waiters, *rest]:
            if waiter is not None and not waiter.done():
                waiter.set_exception(OutcomeUnknownError(f"the shard stopped: {error}"))
        self._on_alert(Alert("shard_stopped", str(self.state.shard), str(error)))

    # --- out ----------------------------------------------------------------------------------------------

    def _send(self, effect: Effect) -> None:
        if isinstance(effect, ExecutionReport | OrderCancelReject):
            self._on_report(effect)
        elif isinstance(effect, Alert):
            self._on_alert(effect)
        else:
            self._send_to_venue(effect)

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
        if not self._closing:
            self._closing = True
            self._wake.set()
        if self._task is not None:
            await self._task
        self._disk.shutdown(wait=True)

    async def wait_stopped(self) -> None:
        """Return when the shard has stopped by itself or was closed."""
        if self._task is not None:
            await self._task
