"""The whole order path at a given pace: a live shard under orders that come whether it keeps up or not.

A process of its own sends the orders over a socket, each at its time (`bench.pace`); shard and venues share
one event loop, as in `qtinfra serve`.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop

from qtinfra.bench import pace
from qtinfra.bench.desk import encode_reply
from qtinfra.bench.harness import BenchResult, Progress, frozen_heap, percentile, sized
from qtinfra.bench.mix import (
    OPEN_ORDERS,
    Mix,
    resting_orders,
    scaled_mix,
    setup_commands,
    standing_market,
    taking_orders,
    wire_bytes,
)
from qtinfra.bench.street import MatchingStreet
from qtinfra.core.exceptions import OverloadedError
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.reports import ExecutionReport, OrderCancelReject, ToVenue, VenueReport
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.state import State
from qtinfra.infra.clock import SystemClock
from qtinfra.infra.process import prompt_threads
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.live import LiveShard

_PACE_PER_S = 10_000
_PACED_SECONDS = 8.0
_DRAIN_SECONDS = 30.0
#: From the word to begin to the first order.
_LEAD_NS = 50_000_000


class Lateness(msgspec.Struct, frozen=True):
    """How late the sender handed its orders over, in microseconds."""

    p50_us: float
    p99_us: float


class Sender:
    """The process that sends orders at their times; `run` lets it go."""

    def __init__(self, process: subprocess.Popen[bytes], gap_ns: float) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the sender has no pipes")
        self.gap_ns = gap_ns
        self._in, self._out = process.stdin, process.stdout
        if self._out.readline() != b"ready\n":
            raise RuntimeError("the sender did not start")

    def run(self) -> int:
        """Let it begin; the monotonic clock's nanosecond at which the first order is due."""
        start_ns = time.monotonic_ns() + _LEAD_NS
        self._in.write(f"{start_ns}\n".encode())
        self._in.flush()
        return start_ns

    def lateness(self) -> Lateness:
        """What it says at its end, which this waits for."""
        return msgspec.json.decode(self._out.readline(), type=Lateness)


@contextmanager
def sender_of(
    messages: Sequence[bytes], per_s: float, folder: Path
) -> Iterator[tuple[Sender, socket.socket]]:
    """A sender of these messages, a line each, and the socket that they come from."""
    lines = folder / "orders"
    lines.write_bytes(b"".join([data + b"\n" for data in messages]))
    ours, theirs = socket.socketpair()
    gap_ns = 1e9 / per_s
    command = [sys.executable, str(pace.__file__), str(lines), str(theirs.fileno()), str(gap_ns)]
    pipe = subprocess.PIPE
    with ours, subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        try:
            yield Sender(process, gap_ns), ours
        finally:
            process.kill()


class _LocalVenue:
    """A gateway to a venue in this process; its reports come back as from a socket, together at each turn."""

    def __init__(self, venue: str, street: MatchingStreet, shard: LiveShard, clock: SystemClock) -> None:
        self._venue = venue
        self._street = street
        self._shard = shard
        self._clock = clock
        self._said: list[VenueReport] = []

    @property
    def venue(self) -> str:
        return self._venue

    def send(self, message: ToVenue) -> None:
        if not self._said:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._said += self._street.send(message, self._clock.now_ns())

    def _deliver(self) -> None:
        said, self._said = self._said, []
        self._shard.report_all(said)


class OrderEntry(asyncio.Protocol):
    """A client's connection: offers each line as a new order, and notes when each order is through.

    An order is through when the reply that leaves nothing open is encoded: its last fill, or its refusal.
    Latency counts from the moment at which the order should have been sent, so that a sender or a socket
    that is held up does not hide the wait (coordinated omission).
    """

    def __init__(self, count: int, gap_ns: float) -> None:
        self.through_us: list[float] = []
        self.filled = 0
        self.reply_bytes = 0
        self.overloaded = 0
        self.start_ns = 0
        self._left = count
        self._gap_ns = gap_ns
        self._number = 0
        self._intended: dict[str, float] = {}
        self._rest = b""
        self._shard: LiveShard | None = None
        self._through = asyncio.Event()

    def serve(self, shard: LiveShard) -> None:
        """Offer what comes to this shard."""
        self._shard = shard

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        shard = self._shard
        if shard is None:
            raise RuntimeError("an order came before there was a shard")
        for line in lines:
            order = parse_new_order(line)
            intended = self.start_ns + self._number * self._gap_ns
            self._number += 1
            try:
                shard.offer(order, "client")
            except OverloadedError:
                self.overloaded += 1
                self._count_down()
            else:
                self._intended[order.cl_ord_id] = intended

    def hear(self, report: ExecutionReport | OrderCancelReject) -> None:
        """A durable reply."""
        self.reply_bytes += len(encode_reply(report))
        if not isinstance(report, ExecutionReport) or report.leaves_qty:
            return
        intended = self._intended.pop(report.cl_ord_id, None)
        if intended is not None:
            self.through_us.append((time.monotonic_ns() - intended) / 1_000)
            self.filled += bool(report.cum_qty)
            self._count_down()

    def _count_down(self) -> None:
        self._left -= 1
        if not self._left:
            self._through.set()

    async def all_through(self, patience_s: float) -> None:
        """Return when every order is through, or was turned away by a full inbox.

        Raises:
            TimeoutError: some never were.
        """
        async with asyncio.timeout(patience_s):
            await self._through.wait()


def bench_paced_10k(scale: float, progress: Progress) -> BenchResult:
    """10,000 orders a second sent to a live shard; the control is the pace itself."""
    progress("paced_10k: open orders")
    mix = scaled_mix(scale)
    count = sized(int(_PACE_PER_S * _PACED_SECONDS), scale, 200)
    messages = [wire_bytes(order) for order in taking_orders(mix, count)]
    with TemporaryDirectory(prefix="qtinfra-bench-") as name, prompt_threads():
        folder = Path(name)
        journal = SqliteJournal.open(folder / "journal.db", owner="bench")
        with (
            sender_of(messages, _PACE_PER_S, folder) as (sender, client),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,  # the loop that the server runs on
        ):
            progress("paced_10k: orders")
            paced = _paced(mix, journal, count, sized(OPEN_ORDERS, scale, 20), sender, client)
            entry, wall_s, cpu_s = runner.run(paced)
            late = sender.lateness()
        journal.close()
    through = sorted(entry.through_us)
    p50, p99 = percentile(through, 0.5), percentile(through, 0.99)
    return BenchResult(
        name="paced_10k",
        unit="order",
        ops_per_s=count / wall_s,
        cpu_us_per_op=cpu_s / count * 1e6,
        p50_us=p50,
        p99_us=p99,
        control=_PACE_PER_S,
        ratio=count / wall_s / _PACE_PER_S,
        control_name="the pace offered (open loop)",
        note="latency from the intended moment of sending to the reply that leaves nothing open; a process "
        "of its own sends over a socket, shard and venues share one event loop (uvloop)",
        target="p50 < 2 ms, p99 < 10 ms",
        met=p50 < 2_000 and p99 < 10_000 and not entry.overloaded if scale >= 1 else None,
        figures={
            "sender_late_p50_us": late.p50_us,
            "sender_late_p99_us": late.p99_us,
            "max_us": through[-1],
            "refused_share": 1 - entry.filled / count,
            "turned_away_when_overloaded": float(entry.overloaded),
            "reply_bytes_per_order": entry.reply_bytes / count,
        },
    )


async def _paced(
    mix: Mix, journal: SqliteJournal, count: int, resting: int, sender: Sender, client: socket.socket
) -> tuple[OrderEntry, float, float]:
    """Set a live shard up, have the orders sent to it; their entry, wall and CPU seconds of the pacing."""
    clock, street = SystemClock(), MatchingStreet(mix)
    entry = OrderEntry(count, sender.gap_ns)
    shard = LiveShard(
        State(),
        journal,
        clock,
        epoch=journal.epoch,
        market=standing_market(mix),
        on_report=entry.hear,
    )
    for mic in street.sessions:
        shard.connect(_LocalVenue(mic, street, shard, clock))
    setup = setup_commands(mix, journal.epoch)[1:]
    await shard.start("bench", setup)
    for mic in street.sessions:
        shard.venue_status(mic, VenueStatus.CONNECTED, "bench")
    await _rest(shard, mix, resting)
    entry.serve(shard)
    client.setblocking(False)
    connection, _ = await asyncio.get_running_loop().create_connection(lambda: entry, sock=client)
    with frozen_heap():
        entry.start_ns = sender.run()
        wall, cpu = time.perf_counter(), time.process_time()
        await entry.all_through(count / _PACE_PER_S + _DRAIN_SECONDS)
        wall, cpu = time.perf_counter() - wall - _LEAD_NS / 1e9, time.process_time() - cpu
    connection.close()
    await shard.close()
    return entry, wall, cpu


async def _rest(shard: LiveShard, mix: Mix, count: int) -> None:
    """Let so many orders rest in the market, and wait until the venues have said so."""
    waiting = [shard.offer(order, "client") for order in resting_orders(mix, count)]
    await asyncio.gather(*waiting)
    while shard.waiting:
        await asyncio.sleep(0.001)
