"""The whole order path, as fast as it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from qtinfra.bench.desk import Desk, Tally, open_orders
from qtinfra.bench.harness import BenchResult, Laps, Progress, frozen_heap, percentile, sized
from qtinfra.bench.journaling import RawFile
from qtinfra.bench.mix import (
    OPEN_ORDERS,
    scaled_mix,
    scored_routing,
    taking_orders,
    wire_bytes,
)
from qtinfra.bench.street import MatchingStreet
from qtinfra.core.commands import AnyCommand
from qtinfra.infra.clock import SystemClock
from qtinfra.journal.sqlite import SqliteJournal

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
    return _bench("end_to_end", (), ">= 30,000/s", 30_000, scale, progress)


def bench_end_to_end_scored(scale: float, progress: Progress) -> BenchResult:
    """The same where orders are routed by scores, as in `qtinfra serve`: every venue is scored for each
    order, and each answer and execution counts in its venue's statistics.
    """
    return _bench("end_to_end_scored", scored_routing(), "", 0, scale, progress)


def _bench(
    name: str, setting: Sequence[AnyCommand], target: str, per_s: float, scale: float, progress: Progress
) -> BenchResult:
    """The whole order path after these commands."""
    progress(f"{name}: open orders")
    mix = scaled_mix(scale)
    messages = [wire_bytes(order) for order in taking_orders(mix, sized(_ORDERS, scale, 400))]
    with (
        TemporaryDirectory(prefix="qtinfra-bench-") as folder,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal") as disk,
    ):
        journal = SqliteJournal.open(Path(folder) / "journal.db", owner="bench")
        street = MatchingStreet(mix)
        desk = Desk(mix, journal, SystemClock(), street, epoch=journal.epoch, disk=disk)
        if setting:
            desk.decide(setting, "bench")
        open_orders(desk, sized(OPEN_ORDERS, scale, 20))
        raw = RawFile(Path(folder) / "raw")
        progress(f"{name}: orders")
        with frozen_heap():
            through = _through(desk, raw, messages, Path(folder))
        raw.close()
        journal.close()
    met = through.ours.speed().ops_per_s >= per_s if scale >= 1 and per_s else None
    return _result(name, target, met, through, len(messages))


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
        _round(desk, part, through)
        if through.counted.orders != start + len(part) or desk.state.breaks:
            raise ValueError("orders were lost, or the venues' word differs from ours")
        through.theirs.run_each(
            [min(BATCH, len(part) - at) for at in range(0, len(part), BATCH)],
            [part[at : at + BATCH] for at in range(0, len(part), BATCH)],
            lambda batch: _read_and_append(batch, raw),
        )
    through.bytes_journaled = _journal_bytes(folder) - before
    return through


def _round(desk: Desk, part: Sequence[bytes], through: _Through) -> None:
    """Orders through the desk; each frame and its replies are let go of, as a shard does. What has happened
    is counted afterwards, as the journal has it.
    """
    ends: list[int] = []
    counted, before, seq = through.counted, desk.frames, desk.state.seq
    clock = time.perf_counter_ns
    cpu, wall = time.process_time(), clock()
    for at in range(0, len(part), BATCH):
        ends.append(clock())
        desk.turn(part[at : at + BATCH])
        counted.send(desk.replies)
    desk.settle()
    counted.send(desk.replies)
    end = clock()
    through.ours.add(len(part), (end - wall) / 1e9, time.process_time() - cpu)
    through.frames += desk.frames - before
    counted.read(desk.loop.journal.read(seq))
    through.turns_us += [(done - begun) / 1_000 for begun, done in zip(ends, ends[_TURNS:], strict=False)]
    if len(ends) <= _TURNS:
        through.turns_us.append((end - wall) / 1_000)


def _read_and_append(batch: Sequence[bytes], raw: RawFile) -> None:
    for data in batch:
        json.loads(data)
    raw.append(b"\n".join(batch))


def _journal_bytes(folder: Path) -> int:
    """Size of the database and what its write-ahead log holds beyond it (an upper bound)."""
    return sum(path.stat().st_size for path in folder.glob("journal.db*"))


def _result(name: str, target: str, met: bool | None, through: _Through, orders: int) -> BenchResult:
    ours, theirs = through.ours.speed(), through.theirs.speed()
    turns = sorted(through.turns_us)
    counted = through.counted
    return BenchResult(
        name=name,
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
        target=target,
        met=met,
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
