"""The engine as a process that gets killed: a parent with everything imported forks one engine per round.

    python -m tests.support.crash_engine JOURNAL SOCKET VENUES

VENUES is JSON: `{MIC: [port, session]}`. Each line on stdin is a `Round`; the answer on stdout is the child's
process id. `"reap"` waits for the child and answers its exit status. The child connects to SOCKET, reads
`Request`s and writes `Reply`s, one JSON object a line; a command is acknowledged when its outcome is durable.

QTINFRA_CRASH_BUG plants a bug, to show that the reconciliation finds it: `early_release` lets answers and
messages to venues go before the append; `blind_resend` sends what was in flight again, without asking.
"""

import asyncio
import gc
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from qtinfra.core.commands import AnyCommand, SetLimit, SetReference, TimerFired, TimerKind
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.extended_models import US_EQUITY_TICKS, Account, Instrument, LimitRule, Venue, VenueStatus
from qtinfra.core.models import AssetClass, Child, ChildStatus, Currency
from qtinfra.core.ports import Snapshot
from qtinfra.core.reports import Alert, ExecutionReport, OrderCancelReject, VenueNewOrder
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.state import State, state_hash
from qtinfra.infra.clock import SystemClock
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.live import LiveShard, Waiter
from qtinfra.runtime.loop import Frame
from qtinfra.runtime.recovery import recover
from qtinfra.runtime.snapshots import SnapshotPolicy
from qtinfra.venues.simulated.gateway import TcpVenueGateway, Timing

VENUES = ("XNAS", "ARCX", "BATS")
SYMBOLS = ("AAPL", "IBM", "MSFT")
ACCOUNTS = ("alpha", "beta", "gamma")
TRADE_DATE = "2024-01-08"
MAX_ORDER_QTY = Decimal(300)
BUG = os.environ.get("QTINFRA_CRASH_BUG", "")

_TIMING = Timing(dead_after_s=30.0, first_backoff_s=0.002, max_backoff_s=0.02)
_SNAPSHOT_EVERY = 100
_SETTLE_POLL_S = 0.005
_SETTLE_POLLS = 1500


class Round(msgspec.Struct, frozen=True):
    """One life of the engine. `snapshots`: recover from the newest one, and take more; else replay all."""

    number: int
    snapshots: bool


class Request(msgspec.Struct, frozen=True):
    """A command, acknowledged under `n`; without one: say when everything in flight has been answered."""

    n: int
    command: AnyCommand | None = None


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """`kind`: started, ready, ack, refused (with `code`), report, settled, stuck (with `text`), stopped."""

    kind: str
    n: int = 0
    reports: tuple[ExecutionReport | OrderCancelReject, ...] = ()
    code: str = ""
    text: str = ""
    seq: int = 0
    state_hash: str = ""
    alerts: dict[str, int] = {}
    from_snapshot: bool = False


def setup(state: State) -> list[AnyCommand]:
    """What an empty journal needs first. Primary listings differ, so that all venues get orders."""
    commands: list[AnyCommand] = []
    if not state.instruments:
        listed = [VENUES[i:] + VENUES[:i] for i in range(len(SYMBOLS))]
        instruments = tuple(
            Instrument(symbol, AssetClass.EQUITY, Currency.USD, mics, US_EQUITY_TICKS)
            for symbol, mics in zip(SYMBOLS, listed, strict=True)
        )
        accounts = tuple(Account(name, f"client of {name}", Currency.USD) for name in ACCOUNTS)
        venues = tuple(Venue(mic, mic, Currency.USD, Decimal("0.003"), Decimal("-0.002")) for mic in VENUES)
        commands.append(SetReference(instruments, accounts, venues))
    if not state.limits:
        commands.append(SetLimit(LimitRule.MAX_ORDER_QTY, MAX_ORDER_QTY))
    if not state.trade_date:
        commands.append(TimerFired(TimerKind.DAY_OPEN, TRADE_DATE))
    return commands


class NoSnapshots(SqliteJournal):
    """The same journal, recovered by replaying all of it."""

    def latest_snapshot(self) -> Snapshot | None:
        return None


class EarlyReleaseShard(LiveShard):
    """The planted bug: what waits for a frame goes out before the frame is appended.

    The append begins this much later, so that kills at random moments hit the gap between the two: by itself
    it is a fraction of a millisecond.
    """

    GAP_S = 0.003

    def _sync(self, frame: Frame[Waiter]) -> asyncio.Future[None]:
        entries, frame.entries = frame.entries, []
        self._release(frame)
        frame.results = []
        frame.entries = entries
        late = asyncio.ensure_future(self._append_late(frame))
        late.add_done_callback(lambda _: self._wake.set())
        return late

    async def _append_late(self, frame: Frame[Waiter]) -> None:
        await asyncio.sleep(self.GAP_S)
        await super()._sync(frame)


class Engine:
    """One life: recover, serve, be killed."""

    def __init__(self, path: str, venues: dict[str, tuple[int, str]], life: Round) -> None:
        kind, verify = (SqliteJournal, "tail") if life.snapshots else (NoSnapshots, "full")
        self._journal = kind.open(path, owner=f"round {life.number}", verify=verify)  # type: ignore[arg-type]
        recovery = recover(self._journal)
        self._from_snapshot = recovery.snapshot_seq > 0
        self._doubtful = [child for child in recovery.state.children.values() if _sent(child)]
        self._alerts: Counter[str] = Counter()
        shard_type = EarlyReleaseShard if BUG == "early_release" else LiveShard
        self._shard = shard_type(
            recovery.state,
            self._journal,
            SystemClock(),
            epoch=self._journal.epoch,
            batch=64,
            on_report=self._on_report,
            on_alert=self._on_alert,
            snapshots=SnapshotPolicy(_SNAPSHOT_EVERY) if life.snapshots else None,
            not_before_ns=recovery.last_ns,
        )
        self._gateways = [self._gateway(mic, *venues[mic], life.number) for mic in VENUES]
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Request)
        self._tasks: list[asyncio.Task[None]] = []

    def _gateway(self, mic: str, port: int, session: str, number: int) -> TcpVenueGateway:
        return TcpVenueGateway(
            mic,
            "127.0.0.1",
            port,
            session=session,
            epoch=self._journal.epoch,
            next_seq=self._shard.state.inbound.get(mic, 0) + 1,
            on_report=self._shard.report,
            on_status=lambda status, reason: self._shard.venue_status(mic, status, reason),
            rng=random.Random(number),
            timing=_TIMING,
        )

    async def run(self, socket_path: str) -> None:
        reader, self._writer = await asyncio.open_unix_connection(socket_path, limit=1 << 24)
        await self._shard.start("crash test", setup(self._shard.state))
        for gateway in self._gateways:
            self._shard.connect(gateway)
            await gateway.start()
        self._reply(Reply("started", from_snapshot=self._from_snapshot))
        self._tasks.append(asyncio.create_task(self._say_ready()))
        self._tasks.append(asyncio.create_task(self._say_stopped()))
        while line := await reader.readline():
            self._take(self._decoder.decode(line))

    def _take(self, request: Request) -> None:
        if request.command is None:
            self._tasks.append(asyncio.create_task(self._settle(request.n)))
            return
        try:
            outcome = self._shard.offer(request.command, "client")
        except QtInfraError as error:
            self._reply(Reply("refused", request.n, code=error.error_code))
            return
        outcome.add_done_callback(lambda done: self._acknowledge(request.n, done))

    def _acknowledge(self, n: int, done: "asyncio.Future[Outcome]") -> None:
        error = done.exception()
        if error is not None:
            code = error.error_code if isinstance(error, QtInfraError) else type(error).__name__
            self._reply(Reply("refused", n, code=code))
            return
        reports = [e for e in done.result().effects if isinstance(e, ExecutionReport | OrderCancelReject)]
        self._reply(Reply("ack", n, tuple(reports)))

    def _on_report(self, report: ExecutionReport | OrderCancelReject) -> None:
        if isinstance(report, ExecutionReport) and report.exec_id:
            self._reply(Reply("report", reports=(report,)))

    def _on_alert(self, alert: Alert) -> None:
        self._alerts[alert.kind] += 1
        if alert.kind not in ("outcome_unknown", "not_sent", "cancel_refused"):
            sys.stderr.write(f"alert {alert.kind} {alert.subject}: {alert.text}\n")

    def _reply(self, reply: Reply) -> None:
        self._writer.write(self._encoder.encode(reply) + b"\n")

    async def _say_ready(self) -> None:
        while not all(self._shard.state.connected(mic) for mic in VENUES):
            await asyncio.sleep(0.001)
        if BUG == "blind_resend":
            self._resend_blindly()
        self._reply(Reply("ready"))

    def _resend_blindly(self) -> None:
        """The planted bug: orders that were in flight go out once more, under new ids."""
        gateways = {gateway.venue: gateway for gateway in self._gateways}
        for child in self._doubtful:
            terms = (child.order_type, child.tif, child.qty, child.price, child.min_qty)
            again = VenueNewOrder(child.venue, f"{child.child_id}r", child.symbol, child.side, *terms)
            gateways[child.venue].send(again)

    async def _say_stopped(self) -> None:
        await self._shard.wait_stopped()
        self._reply(Reply("stopped", text=repr(self._shard.stopped)))

    async def _settle(self, n: int) -> None:
        """Answer when every venue is connected, nothing is in flight and all of it is durable."""
        quiet = 0
        for _ in range(_SETTLE_POLLS):
            await asyncio.sleep(_SETTLE_POLL_S)
            unsettled = in_flight(self._shard.state)
            durable = self._journal.head.seq == self._shard.state.seq and not self._shard.waiting
            quiet = quiet + 1 if durable and not unsettled else 0
            if quiet == 4:
                state = self._shard.state
                digest = state_hash(state)
                self._reply(Reply("settled", n, seq=state.seq, state_hash=digest, alerts=dict(self._alerts)))
                return
        self._reply(Reply("stuck", n, text="; ".join(unsettled[:10]) or "not durable"))


def _sent(child: Child) -> bool:
    return child.status is ChildStatus.SENT


def in_flight(state: State) -> list[str]:
    """What has not been answered yet, in words."""
    found = [f"{mic} not connected" for mic in VENUES if state.venue_status.get(mic) != VenueStatus.CONNECTED]
    for order_id in state.open_orders:
        order = state.orders[order_id]
        for child in state.working_children(order):
            if child.status is not ChildStatus.LIVE or child.cancel_id or child.replace_id:
                pending = f"cancel {child.cancel_id!r} replace {child.replace_id!r}"
                found.append(f"child {child.child_id} {child.status} {pending}")
        if order.pending_cancel is not None or order.pending_replace is not None:
            found.append(f"order {order.cl_ord_id} {order.status}")
    return found


def live(path: str, socket_path: str, venues: dict[str, tuple[int, str]], life: Round) -> None:
    """The child's whole life; returns when the client has closed the connection."""
    engine = Engine(path, venues, life)
    asyncio.run(engine.run(socket_path))


def serve(path: str, socket_path: str, venues: dict[str, tuple[int, str]]) -> None:
    """Fork an engine for every line that comes; the parent keeps no thread and opens no journal."""
    decoder: Callable[[bytes | str], Any] = msgspec.json.Decoder(Round | str).decode
    gc.freeze()
    child = 0
    for line in sys.stdin:
        order = decoder(line)
        if isinstance(order, Round):
            child = os.fork()
            if not child:
                try:
                    live(path, socket_path, venues, order)
                finally:
                    sys.stderr.flush()
                    if sys.exc_info()[0] is not None:
                        sys.excepthook(*sys.exc_info())
                    os._exit(1)
            answer = child
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def main(arguments: Sequence[str]) -> None:
    path, socket_path, venues = arguments
    serve(path, socket_path, msgspec.json.decode(venues, type=dict[str, tuple[int, str]]))


if __name__ == "__main__":
    main(sys.argv[1:])
