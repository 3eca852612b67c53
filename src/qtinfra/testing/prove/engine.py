"""The engine as a process that gets killed: a parent with everything imported forks one engine per life.

    python -m qtinfra.testing.prove.engine JOURNAL SOCKET VENUES

VENUES is JSON: `{MIC: [port, session]}`. The parent says 0 when it is ready. Each line on stdin is a `Life`;
the answer on stdout is the child's process id. `"reap"` waits for the child and answers its exit status. The
child connects to SOCKET, reads `Request`s and writes `Reply`s, one JSON object a line; a command is
acknowledged when its outcome is durable.

`Life.bug` plants a bug, to show that it is found: `early_release` lets answers and messages to venues go
before the append; `blind_resend` sends what was in flight again, without asking; `retry_sync` (a log) syncs
again when a sync has failed; `no_sync` makes nothing durable.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from qtinfra.core.commands import AnyCommand, SetLimit, SetReference, TimerFired, TimerKind
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.extended_models import US_EQUITY_TICKS, Account, Instrument, LimitRule, Venue, VenueStatus
from qtinfra.core.models import AssetClass, Child, ChildStatus, Currency
from qtinfra.core.reports import Alert, ExecutionReport, OrderCancelReject, VenueNewOrder
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.state import State, state_hash
from qtinfra.infra.clock import SystemClock
from qtinfra.runtime.recovery import recover
from qtinfra.runtime.snapshots import SnapshotPolicy
from qtinfra.testing.prove.steps import STEPS, EarlyReleaseShard, SteppedShard, open_stepped
from qtinfra.venues.simulated.gateway import TcpVenueGateway, Timing

VENUES = ("XNAS", "ARCX", "BATS")
SYMBOLS = ("AAPL", "IBM", "MSFT")
ACCOUNTS = ("alpha", "beta", "gamma")
TRADE_DATE = "2024-01-08"
MAX_ORDER_QTY = Decimal(300)

_TIMING = Timing(dead_after_s=30.0, first_backoff_s=0.002, max_backoff_s=0.02)
_SNAPSHOT_EVERY = 100
_SETTLE_POLL_S = 0.005
_SETTLE_POLLS = 1500
#: Alerts that killing an engine causes; any other is written to stderr.
EXPECTED_ALERTS = ("outcome_unknown", "not_sent", "cancel_refused", "shard_stopped", "snapshot_failed")


class Life(msgspec.Struct, frozen=True):
    """One life of the engine.

    Attributes:
        number: names the owner.
        snapshots: recover from the newest one, and take more; else replay all and take none.
        step, nth: kill yourself when that step is passed for the nth time (`steps.STEPS`).
        faults: settings of `fsfault.c`, which must be preloaded when there are any.
        bug: the planted one, or none.
        memory_bytes: from the first request on the process gets no more than so much beside what it has, and
            its errors are not shown. 0: as much as there is.
    """

    number: int
    snapshots: bool
    step: str = ""
    nth: int = 0
    faults: dict[str, str] = {}
    bug: str = ""
    memory_bytes: int = 0


class Request(msgspec.Struct, frozen=True):
    """A command, acknowledged under `n`. Without one, `settle` asks for word when everything in flight has
    been answered, and `echo` for an answer at once."""

    n: int
    command: AnyCommand | None = None
    ask: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """`kind`: started, ready, ack, refused (with `code`), report, settled, stuck (with `text`), stopped,
    closed, failed (it could not begin), echo. `disk` is what the shim has counted, by `DISK_COUNTS`."""

    kind: str
    n: int = 0
    reports: tuple[ExecutionReport | OrderCancelReject, ...] = ()
    code: str = ""
    text: str = ""
    seq: int = 0
    state_hash: str = ""
    from_snapshot: bool = False
    disk: tuple[int, ...] = ()


#: What `fsfault_count` counts.
DISK_COUNTS = ("syncs", "writes", "bytes", "faults", "syncs_after_fault", "writes_after_fault")


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


class Engine:
    """One life: recover, serve, be killed."""

    def __init__(self, path: str, venues: dict[str, tuple[int, str]], life: Life) -> None:
        self._journal = open_stepped(path, f"life {life.number}", snapshots=life.snapshots, bug=life.bug)
        recovery = recover(self._journal)
        STEPS.passed("recovered")
        self._bug = life.bug
        self._memory_bytes = life.memory_bytes
        self._from_snapshot = recovery.snapshot_seq > 0
        self._doubtful = [child for child in recovery.state.children.values() if _sent(child)]
        shard_type = EarlyReleaseShard if life.bug == "early_release" else SteppedShard
        self._shard = shard_type(
            recovery.state,
            self._journal,
            SystemClock(),
            epoch=self._journal.epoch,
            batch=64,
            on_report=self._on_report,
            on_alert=_ignore if life.bug else _write_alert,
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

    async def run(self, line: socket.socket) -> None:
        """Serve until the client ends the connection.

        Raises:
            OutcomeUnknownError: the shard stopped while it began.
        """
        reader, self._writer = await asyncio.open_unix_connection(sock=line, limit=1 << 24)
        await self._shard.start("prove", setup(self._shard.state))
        STEPS.passed("started")
        for gateway in self._gateways:
            self._shard.connect(gateway)
            await gateway.start()
        self._reply(Reply("started", from_snapshot=self._from_snapshot))
        self._tasks.append(asyncio.create_task(self._say_ready()))
        self._tasks.append(asyncio.create_task(self._say_stopped()))
        while text := await reader.readline():
            self._take(self._decoder.decode(text))

    def _take(self, request: Request) -> None:
        STEPS.passed("received")
        if self._memory_bytes:
            _limit_memory(self._memory_bytes)
            self._memory_bytes = 0
        if request.command is None:
            if request.ask == "echo":
                self._reply(Reply("echo", request.n, disk=disk_counts()))
            else:
                self._tasks.append(asyncio.create_task(self._settle(request.n)))
            return
        try:
            outcome = self._shard.offer(request.command, "client")
        except QtInfraError as error:
            self._reply(Reply("refused", request.n, code=error.error_code))
            return
        outcome.add_done_callback(lambda done: self._acknowledge(request.n, done))
        STEPS.passed("offered")

    def _acknowledge(self, n: int, done: asyncio.Future[Outcome]) -> None:
        error = done.exception()
        if error is not None:
            code = error.error_code if isinstance(error, QtInfraError) else type(error).__name__
            self._reply(Reply("refused", n, code=code))
            return
        reports = [e for e in done.result().effects if isinstance(e, ExecutionReport | OrderCancelReject)]
        self._reply(Reply("ack", n, tuple(reports)))
        STEPS.passed("acknowledged")

    def _on_report(self, report: ExecutionReport | OrderCancelReject) -> None:
        if isinstance(report, ExecutionReport) and report.exec_id:
            self._reply(Reply("report", reports=(report,)))

    def _reply(self, reply: Reply) -> None:
        self._writer.write(self._encoder.encode(reply) + b"\n")

    async def _say_ready(self) -> None:
        while not all(self._shard.state.connected(mic) for mic in VENUES):
            await asyncio.sleep(0.001)
        if self._bug == "blind_resend":
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
        """Say that the shard has stopped, then let go of the journal as an owner does that ends."""
        await self._shard.wait_stopped()
        self._reply(Reply("stopped", text=repr(self._shard.stopped), disk=disk_counts()))
        await self._writer.drain()
        self._journal.close()
        self._reply(Reply("closed", disk=disk_counts()))

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
                self._reply(Reply("settled", n, seq=state.seq, state_hash=state_hash(state)))
                return
        self._reply(Reply("stuck", n, text="; ".join(unsettled[:10]) or "not durable"))


def _sent(child: Child) -> bool:
    return child.status is ChildStatus.SENT


def _ignore(_: Alert) -> None:
    """A planted bug raises more alerts than anybody would read."""


def _write_alert(alert: Alert) -> None:
    if alert.kind not in EXPECTED_ALERTS:
        sys.stderr.write(f"alert {alert.kind} {alert.subject}: {alert.text}\n")


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


def disk_counts() -> tuple[int, ...]:
    """What the preloaded shim has counted since it was armed; empty without one."""
    count = getattr(ctypes.CDLL(None), "fsfault_count", None)
    if count is None:
        return ()
    count.restype = ctypes.c_long
    return tuple(count(which) for which in range(len(DISK_COUNTS)))


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes more than it has now, and speak no more of it."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stderr.fileno())
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _arm(life: Life) -> None:
    """Make this life fail as it says."""
    STEPS.arm(life.step, life.nth)
    if life.faults:
        os.environ.update(life.faults)
        ctypes.CDLL(None).fsfault_arm()


def live(path: str, socket_path: str, venues: dict[str, tuple[int, str]], life: Life) -> None:
    """The child's whole life; returns when the client has closed the connection."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(socket_path)
        _arm(life)
        try:
            engine = Engine(path, venues, life)
            asyncio.run(engine.run(line.dup()))
        except (QtInfraError, OSError) as error:
            reply = Reply("failed", text=repr(error), disk=disk_counts())
            line.setblocking(True)
            line.sendall(msgspec.json.encode(reply) + b"\n")
            while line.recv(1 << 16):
                continue


def serve(path: str, socket_path: str, venues: dict[str, tuple[int, str]]) -> None:
    """Fork an engine for every line that comes; the parent keeps no thread and opens no journal."""
    decoder: Callable[[bytes | str], Any] = msgspec.json.Decoder(Life | str).decode
    gc.freeze()
    child = 0
    _answer(0)
    for line in sys.stdin:
        order = decoder(line)
        if isinstance(order, Life):
            child = os.fork()
            if not child:
                _live_and_exit(path, socket_path, venues, order)
            _answer(child)
        else:
            _answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _live_and_exit(path: str, socket_path: str, venues: dict[str, tuple[int, str]], life: Life) -> None:
    """Never returns: an error is written to stderr, and the child must not go on as its parent."""
    try:
        live(path, socket_path, venues, life)
    finally:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> None:
    """Serve on stdin and stdout."""
    path, socket_path, venues = arguments
    serve(path, socket_path, msgspec.json.decode(venues, type=dict[str, tuple[int, str]]))


if __name__ == "__main__":
    main(sys.argv[1:])
