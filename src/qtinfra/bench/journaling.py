"""Appending to the SQLite journal: by frames, one event at a time, and against a plain file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from qtinfra.bench.desk import Desk, rest
from qtinfra.bench.harness import BenchResult, Laps, Progress, Speed, frozen_heap, percentile, sized
from qtinfra.bench.mix import OPEN_ORDERS, Mix, scaled_mix, taking_orders, wire_bytes
from qtinfra.bench.street import ScriptedStreet
from qtinfra.core.commands import MAX_REPORTS
from qtinfra.core.events import Entry
from qtinfra.core.ports import Head
from qtinfra.core.runs import each as by_order
from qtinfra.infra.clock import SystemClock
from qtinfra.journal.codec import Blob, Chain, WrittenBooks, encode_frame
from qtinfra.journal.disk import MemoryDisk
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.sqlite import SqliteJournal

#: Events per frame.
FRAME_EVENTS = 100
_EVENTS = 200_000
_SINGLE = 4_000
_ROUNDS = 8


class RawFile:
    """The control of everything durable: append bytes to a file, `fdatasync`."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def append(self, data: Blob) -> None:
        """Durable when the call returns."""
        os.write(self._file, data)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


class _KeepingJournal(MemoryJournal):
    """Keeps the entries as they were handed over: a book that stood is the same object in all that saw it."""

    kept: list[Entry]

    def append(self, entries: Sequence[Entry]) -> Head:
        self.kept += entries
        return super().append(entries)


def recorded_entries(
    mix: Mix, events: int, open_orders: int, reports_per_record: int = MAX_REPORTS
) -> list[Entry]:
    """Records of the mix's flow as a shard appends them, from 1 in epoch 1, at least so many events."""
    journal = _KeepingJournal.open("journal", disk=MemoryDisk())
    journal.kept = []
    street = ScriptedStreet()
    desk = Desk(
        mix, journal, SystemClock(), street, epoch=journal.epoch, reports_per_record=reports_per_record
    )
    rest(street, desk, open_orders)
    orders = taking_orders(mix, events)
    while desk.state.seq < events:
        desk.turn([wire_bytes(next(orders)) for _ in range(64)])
    return journal.kept


def frames_of(entries: Sequence[Entry], events: int) -> Iterator[list[Entry]]:
    """The entries in frames of so many events (or a record's more: an entry is never split)."""
    frame: list[Entry] = []
    held = 0
    for entry in entries:
        frame.append(entry)
        held += len(entry.events)
        if held >= events:
            yield frame
            frame, held = [], 0
    if frame:
        yield frame


def written_bytes(frames: Sequence[Sequence[Entry]]) -> list[Blob]:
    """The frames as a journal of shard 0 in epoch 1 writes them."""
    chain, books = Chain(0, epoch=1), WrittenBooks()
    return [encode_frame(chain.seal(frame, books)) for frame in frames]


def bench_journal(scale: float, progress: Progress) -> BenchResult:
    """Frames of 100 events into SQLite with synchronous=FULL, in turns with the same bytes to a file."""
    progress("journal: recording the flow")
    mix = scaled_mix(scale)
    entries = recorded_entries(mix, sized(_EVENTS, scale, 2_000), sized(OPEN_ORDERS, scale, 20))
    frames = list(frames_of(entries, FRAME_EVENTS))
    began = time.process_time()
    blobs = written_bytes(frames)
    written_s = time.process_time() - began
    single = sized(_SINGLE, scale, 50)
    recorded = recorded_entries(mix, 3 * single, 0, reports_per_record=1)
    singles = list(frames_of(list(chain.from_iterable(map(by_order, recorded)))[:single], 1))
    progress("journal: appending")
    with TemporaryDirectory(prefix="qtinfra-bench-") as folder, frozen_heap():
        ours, theirs = _by_frame(Path(folder), frames, blobs)
        alone = _one_at_a_time(Path(folder), singles)
    by_frame, raw = ours.speed(), theirs.speed()
    each = sorted(ours.each_us)
    records = sum(map(len, frames))
    return BenchResult(
        name="journal",
        unit="event",
        ops_per_s=by_frame.ops_per_s,
        cpu_us_per_op=by_frame.cpu_us,
        p50_us=percentile(each, 0.5),
        p99_us=percentile(each, 0.99),
        control=raw.ops_per_s,
        ratio=by_frame.ops_per_s / raw.ops_per_s,
        control_name="the same bytes appended to a file, fdatasync per frame",
        note="p50 and p99 are of one durable frame; hashed, fenced and checked like any append",
        target=">= 250,000/s, >= 20x one at a time, >= 0.4x raw",
        met=_met(by_frame.ops_per_s, alone.ops_per_s, raw.ops_per_s) if scale >= 1 else None,
        figures={
            "one_at_a_time_per_s": alone.ops_per_s,
            "by_frame_over_one_at_a_time": by_frame.ops_per_s / alone.ops_per_s,
            "events_per_frame": ours.ops / len(frames),
            "records_per_frame": records / len(frames),
            "bytes_per_event": sum(map(len, blobs)) / ours.ops,
            "encode_and_hash_cpu_us_per_event": written_s / ours.ops * 1e6,
        },
    )


def _met(by_frame: float, alone: float, raw: float) -> bool:
    return by_frame >= 250_000 and by_frame >= 20 * alone and by_frame >= 0.4 * raw


def _by_frame(folder: Path, frames: list[list[Entry]], blobs: list[Blob]) -> tuple[Laps, Laps]:
    """Rounds in turns: a share of the frames to the journal, the same share of the bytes to the file.

    Raises:
        ValueError: the journal does not hold what was appended.
    """
    ours, theirs = Laps(), Laps()
    raw = RawFile(folder / "raw")
    journal = SqliteJournal.open(folder / "journal.db", owner="bench")
    size = max(1, -(-len(frames) // _ROUNDS))
    for start in range(0, len(frames), size):
        part = slice(start, start + size)
        counts = [sum(len(entry.events) for entry in frame) for frame in frames[part]]
        ours.run_each(counts, frames[part], journal.append)
        theirs.run_each(counts, blobs[part], raw.append)
    raw.close()
    last = sum(1 for _ in journal.read(frames[-1][0].seq - 1))
    if journal.head.seq != frames[-1][-1].last_seq or last != len(frames[-1]):
        raise ValueError("the journal does not end with what was appended last")
    journal.close()
    return ours, theirs


def _one_at_a_time(folder: Path, singles: list[list[Entry]]) -> Speed:
    laps = Laps()
    journal = SqliteJournal.open(folder / "single.db", owner="bench")
    size = max(1, -(-len(singles) // _ROUNDS))
    for start in range(0, len(singles), size):
        part = singles[start : start + size]
        laps.run_each([len(frame[0].events) for frame in part], part, journal.append)
    journal.close()
    return laps.speed()
