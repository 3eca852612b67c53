"""Recovery: from the file on disk to a running state, with and without a snapshot."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from qtinfra.bench.desk import Desk, rest
from qtinfra.bench.harness import BenchResult, Laps, Progress, Round, percentile, sized
from qtinfra.bench.mix import OPEN_ORDERS, Mix, scaled_mix, taking_orders, wire_bytes
from qtinfra.bench.street import ScriptedStreet
from qtinfra.engine.state import encode_state, state_hash
from qtinfra.infra.clock import SystemClock
from qtinfra.journal.base import Verify
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.recovery import Recovery, open_and_recover, snapshot_of

_EVENTS = 1_000_000
_ROUNDS = 3
#: Events after the snapshot, as a live shard has them when one is taken every so often.
_AFTER_SNAPSHOT = 10_000
_BATCH = 256


class Written(msgspec.Struct, frozen=True):
    """A journal on disk and the state that wrote it."""

    path: Path
    events: int
    state_hash: str
    state_bytes: int
    file_bytes: int


def write_journal(mix: Mix, path: Path, events: int, open_orders: int, snapshot_before: int) -> Written:
    """A journal of at least so many events of the mix's flow.

    Args:
        snapshot_before: a snapshot is saved this many events before the end; 0 for none.
    """
    journal = SqliteJournal.open(path, owner="bench")
    street = ScriptedStreet()
    desk = Desk(mix, journal, SystemClock(), street, epoch=journal.epoch)
    rest(street, desk, open_orders)
    orders = taking_orders(mix, events)
    saved = not snapshot_before
    while desk.state.seq < events:
        desk.turn([wire_bytes(order) for _, order in zip(range(_BATCH), orders, strict=False)])
        desk.replies.clear()
        if not saved and desk.state.seq >= events - snapshot_before:
            journal.save_snapshot(snapshot_of(desk.state, journal.head.hash))
            saved = True
    encoded = len(encode_state(desk.state))
    journal.close()
    return Written(path, desk.state.seq, state_hash(desk.state), encoded, path.stat().st_size)


def _timed(written: Written, verify: Verify, laps: Laps) -> int:
    """Open, verify, rebuild; how many records were replayed. The check afterwards is not timed.

    Raises:
        ValueError: the state is not the one that wrote the journal.
    """
    found: list[Recovery] = []

    def work() -> int:
        opening = partial(SqliteJournal.open, written.path, owner="bench", verify=verify)
        journal, recovery = open_and_recover(opening)
        found.append(recovery)
        journal.close()
        return written.events

    laps.run(work)
    if state_hash(found[0].state) != written.state_hash:
        raise ValueError("the recovered state differs from the one that wrote the journal")
    return found[0].records


def _read_file(written: Written) -> Round:
    """The control: read the same file from front to back."""

    def work() -> int:
        written.path.read_bytes()
        return written.events

    return work


def bench_recovery_cold(scale: float, progress: Progress) -> BenchResult:
    """No snapshot: verify the whole chain, then evolve every event."""
    return _bench("recovery_cold", "full", 0, 15.0, scale, progress)


def bench_recovery_snapshot(scale: float, progress: Progress) -> BenchResult:
    """The newest snapshot, then the events after it; the chain is verified from the snapshot on."""
    return _bench("recovery_snapshot", "tail", sized(_AFTER_SNAPSHOT, scale, 100), 2.0, scale, progress)


def _bench(
    name: str, verify: Verify, snapshot_before: int, target_s: float, scale: float, progress: Progress
) -> BenchResult:
    progress(f"{name}: writing the journal")
    events = sized(_EVENTS, scale, 1_000)
    with TemporaryDirectory(prefix="qtinfra-bench-") as folder:
        path = Path(folder) / "journal.db"
        resting = sized(OPEN_ORDERS, scale, 20)
        written = write_journal(scaled_mix(scale), path, events, resting, snapshot_before)
        ours, theirs = Laps(), Laps()
        records = 0
        for number in range(_ROUNDS):
            progress(f"{name}: round {number + 1} of {_ROUNDS}")
            records = _timed(written, verify, ours)
            theirs.run(_read_file(written))
    took = sorted(wall * written.events for wall in ours.wall)
    speed, raw = ours.speed(), theirs.speed()
    return BenchResult(
        name=name,
        unit="event",
        ops_per_s=speed.ops_per_s,
        cpu_us_per_op=speed.cpu_us,
        p50_us=percentile(took, 0.5) * 1e6,
        p99_us=took[-1] * 1e6,
        control=raw.ops_per_s,
        ratio=speed.ops_per_s / raw.ops_per_s,
        control_name="the same file read from front to back",
        note=f"p50 and p99 are of a whole recovery (median and worst of {_ROUNDS}), verification "
        f"({verify}) included; the state's hash is compared afterwards",
        target=f"<= {target_s:g} s for 1,000,000 events",
        met=percentile(took, 0.5) <= target_s if scale >= 1 else None,
        figures={
            "recovery_s": percentile(took, 0.5),
            "events": float(written.events),
            "records_replayed": float(records),
            "file_mb": written.file_bytes / 1e6,
            "state_mb": written.state_bytes / 1e6,
        },
    )
