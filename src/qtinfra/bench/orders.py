"""The whole order path: as fast as it goes, and at a given pace."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop

from qtinfra.bench.desk import Desk, Tally, encode_reply, open_orders, tally
from qtinfra.bench.harness import BenchResult, Laps, Progress, frozen_heap, percentile, sized
from qtinfra.bench.journaling import RawFile
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
from qtinfra.runtime.loop import Frame

_ORDERS = 60_000
_ROUNDS = 6
#: Orders per frame when as many come as can be taken.
BATCH = 256
#: Turns from an order's bytes to its last reply, when one frame syncs while the next is computed.
_TURNS = 4

# --- as fast as it goes ----------------------------------------------------------------------------------


class _Through(msgspec.Struct):
    """What a run of the whole path gave."""

    ours: Laps
    theirs: Laps
    turns_us: list[float]
    counted: Tally
    frames: int
    bytes_journaled: int


def bench_end_to_end(scale: float, progress: Progress) -> BenchResult:
    """Bytes in, reply bytes out, everything durable in between, against real matching engines.

    The control reads the same bytes with `json.loads` and appends them to a plain file, durable per batch.
    """
    progress("end_to_end: open orders")
    mix = scaled_mix(scale)
    messages = [wire_bytes(order) for order in taking_orders(mix, sized(_ORDERS, scale, 400))]
    with (
        TemporaryDirectory(prefix="qtinfra-bench-") as folder,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal") as disk,
    ):
        journal = SqliteJournal.open(Path(folder) / "journal.db", owner="bench")
        street = MatchingStreet(mix)
        desk = Desk(mix, journal, SystemClock(), street, epoch=journal.epoch, disk=disk)
        open_orders(desk, sized(OPEN_ORDERS, scale, 20))
        raw = RawFile(Path(folder) / "raw")
        progress("end_to_end: orders")
        with frozen_heap():
            through = _through(desk, raw, messages, Path(folder))
        raw.close()
        journal.close()
    return _end_to_end_result(through, len(messages), scale)


def _through(desk: Desk, raw: RawFile, messages: Sequence[bytes], folder: Path) -> _Through:
    """Run everything in rounds, subject and control in turns.

    Raises:
        ValueError: not every order was answered and either filled or refused.
    """
    before = _journal_bytes(folder)
    through = _Through(Laps(), Laps(), [], Tally(), 0, 0)
    size = max(BATCH, -(-len(messages) // _ROUNDS))
    for start in range(0, len(messages), size):
        part = messages[start : start + size]
        frames = _round(desk, part, through)
        counted = tally(frames, desk.replies)
        _add(through.counted, counted)
        through.frames += len(frames)
        desk.replies.clear()
        if counted.orders != len(part) or desk.state.breaks:
            raise ValueError("orders were lost, or the venues' word differs from ours")
        through.theirs.run_each(
            [min(BATCH, len(part) - at) for at in range(0, len(part), BATCH)],
            [part[at : at + BATCH] for at in range(0, len(part), BATCH)],
            lambda batch: _read_and_append(batch, raw),
        )
    through.bytes_journaled = _journal_bytes(folder) - before
    return through


def _round(desk: Desk, part: Sequence[bytes], through: _Through) -> list[Frame[None]]:
    frames: list[Frame[None]] = []
    ends: list[int] = []
    clock = time.perf_counter_ns
    cpu, wall = time.process_time(), clock()
    for at in range(0, len(part), BATCH):
        ends.append(clock())
        frames.append(desk.turn(part[at : at + BATCH]))
    frames += desk.settle()
    end = clock()
    through.ours.add(len(part), (end - wall) / 1e9, time.process_time() - cpu)
    through.turns_us += [(done - begun) / 1_000 for begun, done in zip(ends, ends[_TURNS:], strict=False)]
    if len(ends) <= _TURNS:
        through.turns_us.append((end - wall) / 1_000)
    return frames


def _read_and_append(batch: Sequence[bytes], raw: RawFile) -> None:
    for data in batch:
        json.loads(data)
    raw.append(b"\n".join(batch))


def _add(total: Tally, part: Tally) -> None:
    for name in part.__struct_fields__:
        setattr(total, name, getattr(total, name) + getattr(part, name))


def _journal_bytes(folder: Path) -> int:
    """Size of the database and what its write-ahead log holds beyond it (an upper bound)."""
    return sum(path.stat().st_size for path in folder.glob("journal.db*"))


def _end_to_end_result(through: _Through, orders: int, scale: float) -> BenchResult:
    ours, theirs = through.ours.speed(), through.theirs.speed()
    turns = sorted(through.turns_us)
    counted = through.counted
    return BenchResult(
        name="end_to_end",
        unit="order",
        ops_per_s=ours.ops_per_s,
        cpu_us_per_op=ours.cpu_us,
        p50_us=percentile(turns, 0.5),
        p99_us=percentile(turns, 0.99),
        control=theirs.ops_per_s,
        ratio=ours.ops_per_s / theirs.ops_per_s,
        control_name="json.loads of the same bytes, appended to a file, fdatasync per batch",
        note=f"p50 and p99 from bytes to the fill's reply, {_TURNS} batches of {BATCH}; one thread for all "
        "but the disk, the venues' matching included",
        target=">= 30,000/s",
        met=ours.ops_per_s >= 30_000 if scale >= 1 else None,
        figures={
            "refused_share": counted.refused / orders,
            "fills_per_order": counted.fills / orders,
            "events_per_order": counted.events / orders,
            "journal_bytes_per_order": through.bytes_journaled / orders,
            "replies_per_order": counted.replies / orders,
            "reply_bytes_per_order": counted.reply_bytes / orders,
            "orders_per_frame": orders / through.frames,
        },
    )


# --- at a pace -------------------------------------------------------------------------------------------

_PACE_PER_S = 10_000
_PACED_SECONDS = 8.0
_DRAIN_SECONDS = 30.0
#: What has become due is sent this often: uvloop's timers count in whole milliseconds.
_SEND_EVERY_S = 0.001


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


class Pacer:
    """Sends orders at their intended times, whatever becomes of them, and notes when each is through.

    An order is through when the reply that leaves nothing open is encoded: its last fill, or its refusal.
    Latency counts from the moment at which the order should have been sent, so that a sender that is held
    up does not hide the wait (coordinated omission).
    """

    def __init__(self, messages: Sequence[tuple[str, bytes]], per_s: float) -> None:
        self._messages = messages
        self._gap_ns = 1e9 / per_s
        self._intended: dict[str, int] = {}
        self.through_us: list[float] = []
        self.filled = 0
        self.late_us: list[float] = []
        self.reply_bytes = 0
        self.overloaded = 0

    def hear(self, report: ExecutionReport | OrderCancelReject) -> None:
        """A durable reply."""
        self.reply_bytes += len(encode_reply(report))
        if not isinstance(report, ExecutionReport) or report.leaves_qty:
            return
        intended = self._intended.pop(report.cl_ord_id, None)
        if intended is not None:
            self.through_us.append((time.perf_counter_ns() - intended) / 1_000)
            self.filled += bool(report.cum_qty)

    async def send(self, shard: LiveShard) -> None:
        """Offer every order at its time, then wait until all are through; those that the full inbox turns
        away are counted.

        Raises:
            TimeoutError: some never were.
        """
        start = time.perf_counter_ns()
        sent = 0
        while sent < len(self._messages):
            now = time.perf_counter_ns()
            due = min(len(self._messages), int((now - start) / self._gap_ns) + 1)
            for number in range(sent, due):
                cl_ord_id, data = self._messages[number]
                intended = start + int(number * self._gap_ns)
                self.late_us.append((now - intended) / 1_000)
                try:
                    shard.offer(parse_new_order(data), "client")
                except OverloadedError:
                    self.overloaded += 1
                    continue
                self._intended[cl_ord_id] = intended
            sent = due
            await asyncio.sleep(_SEND_EVERY_S)
        async with asyncio.timeout(_DRAIN_SECONDS):
            while len(self.through_us) + self.overloaded < len(self._messages):
                await asyncio.sleep(0.001)


def bench_paced_10k(scale: float, progress: Progress) -> BenchResult:
    """10,000 orders a second offered to a live shard; the control is the pacer's own lateness."""
    progress("paced_10k: open orders")
    mix = scaled_mix(scale)
    count = sized(int(_PACE_PER_S * _PACED_SECONDS), scale, 200)
    messages = [(order.cl_ord_id, wire_bytes(order)) for order in taking_orders(mix, count)]
    with TemporaryDirectory(prefix="qtinfra-bench-") as folder, prompt_threads():
        journal = SqliteJournal.open(Path(folder) / "journal.db", owner="bench")
        pacer = Pacer(messages, _PACE_PER_S)
        progress("paced_10k: orders")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the loop that the server runs on
            wall_s, cpu_s = runner.run(_paced(mix, journal, pacer, sized(OPEN_ORDERS, scale, 20)))
        journal.close()
    through, late = sorted(pacer.through_us), sorted(pacer.late_us)
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
        note="latency from the intended moment of sending to the reply that leaves nothing open; sender, "
        "shard and venues share one event loop (uvloop)",
        target="p50 < 2 ms, p99 < 10 ms",
        met=p50 < 2_000 and p99 < 10_000 and not pacer.overloaded if scale >= 1 else None,
        figures={
            "sender_late_p50_us": percentile(late, 0.5),
            "sender_late_p99_us": percentile(late, 0.99),
            "max_us": through[-1],
            "refused_share": 1 - pacer.filled / count,
            "turned_away_when_overloaded": float(pacer.overloaded),
            "reply_bytes_per_order": pacer.reply_bytes / count,
        },
    )


async def _paced(mix: Mix, journal: SqliteJournal, pacer: Pacer, resting: int) -> tuple[float, float]:
    """Set a live shard up, pace the orders through it; wall and CPU seconds of the pacing."""
    clock = SystemClock()
    street = MatchingStreet(mix)
    shard = LiveShard(
        State(),
        journal,
        clock,
        epoch=journal.epoch,
        market=standing_market(mix),
        on_report=pacer.hear,
    )
    for mic in street.sessions:
        shard.connect(_LocalVenue(mic, street, shard, clock))
    setup = setup_commands(mix, journal.epoch)[1:]
    await shard.start("bench", setup)
    for mic in street.sessions:
        shard.venue_status(mic, VenueStatus.CONNECTED, "bench")
    await _rest(shard, mix, resting)
    with frozen_heap():
        wall, cpu = time.perf_counter(), time.process_time()
        await pacer.send(shard)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await shard.close()
    return wall, cpu


async def _rest(shard: LiveShard, mix: Mix, count: int) -> None:
    """Let so many orders rest in the market, and wait until the venues have said so."""
    waiting = [shard.offer(order, "client") for order in resting_orders(mix, count)]
    await asyncio.gather(*waiting)
    while shard.waiting:
        await asyncio.sleep(0.001)
