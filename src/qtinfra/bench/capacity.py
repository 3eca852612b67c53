"""What a long day does to a process: memory, pauses of the garbage collector, and cost per order."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec

from qtinfra.bench.harness import BenchResult, Laps, Progress, frozen_heap, percentile, sized
from qtinfra.bench.mix import Mix, make_mix, scaled_mix, setup_commands, standing_market, taking_orders
from qtinfra.bench.street import ScriptedStreet
from qtinfra.core.commands import AnyCommand, Inbound, RecordVenueReport, SubmitOrder
from qtinfra.core.reports import VenueNewOrder, VenueReport
from qtinfra.engine.archive import Packing
from qtinfra.engine.kernel import Kernel, Outcome
from qtinfra.engine.state import State
from qtinfra.infra.heap import LongLivedHeap
from qtinfra.journal.codec import encode_entry

_MILLION = 1_000_000
_MEMORY_TARGET_MB = 500.0
_PAUSE_TARGET_MS = 50.0
#: Time from one command to the next: 100,000 a second, so that what looks back over a second stays bounded.
STEP_NS = 10_000


class Engine:
    """Kernel, record encoding and scripted venues, without a disk: what grows with the orders.

    Args:
        keep: closed orders that stay unpacked; as many as ever by default.
    """

    def __init__(self, mix: Mix, keep: int | None = None) -> None:
        self.kernel = Kernel(State() if keep is None else State(packing=Packing(keep=keep)))
        self.journal_bytes = 0
        self._market = standing_market(mix)
        self._street = ScriptedStreet()
        self._now_ns = 1
        self._heap = LongLivedHeap()
        for command in setup_commands(mix, 1):
            self._execute(command)

    def order(self, command: SubmitOrder) -> None:
        """Take an order through: decided, routed, acknowledged, filled."""
        outcome = self._execute(command)
        said: list[VenueReport] = []
        for effect in outcome.effects:
            if isinstance(effect, VenueNewOrder):
                said += self._street.send(effect, self._now_ns)
        for report in said:
            self._execute(RecordVenueReport(report))

    def _execute(self, command: AnyCommand) -> Outcome:
        self._now_ns += STEP_NS
        outcome = self.kernel.execute(Inbound(command, "bench"), self._now_ns, self._market)
        self._heap.note(1)
        if outcome.entry is not None:
            self.journal_bytes += len(encode_entry(outcome.entry))
        return outcome


# --- a million orders ------------------------------------------------------------------------------------


class MemoryReport(msgspec.Struct, frozen=True):
    """What a process saw of itself after taking orders through.

    `base_mb` is its peak resident set before the first order, `peak_mb` after the last.
    """

    orders: int
    wall_s: float
    cpu_s: float
    base_mb: float
    peak_mb: float
    longest_pause_ms: float
    longest_pause_cpu_ms: float
    collections: int
    slice_us: list[float]


class PauseWatch:
    """Times every pass of the garbage collector, by its callbacks: wall time, and CPU time of the thread."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.longest_cpu_ms = 0.0
        self.count = 0
        self._start_ns = 0
        self._start_cpu_ns = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._start_ns, self._start_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
            return
        self.count += 1
        self.longest_ms = max(self.longest_ms, (time.perf_counter_ns() - self._start_ns) / 1e6)
        self.longest_cpu_ms = max(self.longest_cpu_ms, (time.thread_time_ns() - self._start_cpu_ns) / 1e6)


def peak_rss_mb() -> float:
    """Peak resident set of this process in megabytes.

    On Linux from /proc: `getrusage` there still counts the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1_024 / 1e6
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used / 1e3


def take_through(mix: Mix, orders: int, slices: int = 100) -> MemoryReport:
    """Take so many orders through an engine in this process."""
    engine = Engine(mix)
    flow = taking_orders(mix, orders)
    laps = Laps()
    with frozen_heap():
        base_mb, watch = peak_rss_mb(), PauseWatch()
        gc.callbacks.append(watch)
        for size in _shares(orders, slices):
            offered = [*islice(flow, size)]
            cpu, wall = time.process_time(), time.perf_counter()
            _take(engine, offered)
            laps.add(size, time.perf_counter() - wall, time.process_time() - cpu)
        gc.callbacks.remove(watch)
    slice_us = [wall_s * 1e6 for wall_s in laps.wall]
    mean = sum(slice_us) / len(slice_us) / 1e6
    cpu_s = sum(laps.cpu) / len(laps.cpu) * orders
    return MemoryReport(
        orders,
        mean * orders,
        cpu_s,
        base_mb,
        peak_rss_mb(),
        watch.longest_ms,
        watch.longest_cpu_ms,
        watch.count,
        slice_us,
    )


def _shares(total: int, parts: int) -> Iterator[int]:
    for number in range(parts):
        share = total * (number + 1) // parts - total * number // parts
        if share:
            yield share


_CHILD = "import sys; from qtinfra.bench.capacity import child; sys.stdout.write(child(float(sys.argv[1])))"


def child(scale: float) -> str:
    """What the measured process does; its report as JSON."""
    report = take_through(scaled_mix(scale), sized(_MILLION, scale, 200))
    return msgspec.json.encode(report).decode()


def bench_memory_1m(scale: float, progress: Progress) -> BenchResult:
    """A million orders through one process, from start to peak; the control is its first hundredth."""
    progress("memory_1m: a process of its own takes the orders")
    answer = subprocess.run([sys.executable, "-c", _CHILD, repr(scale)], check=True, capture_output=True)
    report = msgspec.json.decode(answer.stdout, type=MemoryReport)
    ordered = sorted(report.slice_us)
    first = 1e6 / report.slice_us[0]
    speed = report.orders / report.wall_s
    met = report.peak_mb < _MEMORY_TARGET_MB and report.longest_pause_ms <= _PAUSE_TARGET_MS
    return BenchResult(
        name="memory_1m",
        unit="order",
        ops_per_s=speed,
        cpu_us_per_op=report.cpu_s / report.orders * 1e6,
        p50_us=percentile(ordered, 0.5),
        p99_us=percentile(ordered, 0.99),
        control=first,
        ratio=speed / first,
        control_name="the first hundredth of the same orders",
        note="p50 and p99 are means per order over hundredths of the run; engine and record encoding, "
        "scripted venues, no disk",
        target="< 500 MB, no GC pause > 50 ms",
        met=met if scale >= 1 else None,
        figures={
            "orders": float(report.orders),
            "peak_mb": report.peak_mb,
            "base_mb": report.base_mb,
            "bytes_per_order": (report.peak_mb - report.base_mb) * 1e6 / report.orders,
            "longest_gc_pause_ms": report.longest_pause_ms,
            "longest_gc_pause_cpu_ms": report.longest_pause_cpu_ms,
            "gc_passes": float(report.collections),
        },
    )


# --- flatness --------------------------------------------------------------------------------------------

_SMALL_ORDERS, _SMALL_ACCOUNTS = 1_000, 10
#: So that a state of a thousand orders packs what closes, as one of a million does.
_SMALL_KEEP = 512
_LARGE_ACCOUNTS = 10_000
_STEP = 1_000
_ROUNDS = 20


def bench_flatness(scale: float, progress: Progress) -> BenchResult:
    """CPU per order with a million orders and 10,000 accounts in the state, against 1,000 and 10.

    Packing what has closed costs an order the same whenever it is done, but a state with so few orders has
    not begun with it. Here it has, so that the ratio is what the size of the state does; beside it stands the
    ratio to one that does not pack yet.
    """
    large_orders = sized(_MILLION, scale, 2_000)
    large_mix, small_mix = make_mix(sized(_LARGE_ACCOUNTS, scale, 10)), make_mix(_SMALL_ACCOUNTS)
    progress("flatness: filling the large state")
    step, rounds = sized(_STEP, scale, 100), sized(_ROUNDS, scale, 3)
    flow = taking_orders(large_mix, large_orders + step * (rounds + 1))
    large = Engine(large_mix)
    _take(large, islice(flow, large_orders))
    progress("flatness: in turns")
    ours, theirs, unpacked = Laps(), Laps(), Laps()
    with frozen_heap():
        for number in range(rounds):
            for laps, keep in ((theirs, _SMALL_KEEP), (unpacked, None)):
                small = _small_engine(small_mix, keep)
                more = [*taking_orders(small_mix, step, seed=number, name="more")]
                laps.run(lambda small=small, more=more: _take(small, more))  # type: ignore[misc]
            more = [*islice(flow, step)]
            ours.run(lambda more=more: _take(large, more))  # type: ignore[misc]
    ratio = median(ours.cpu) / median(theirs.cpu)
    speed, base = ours.speed(), theirs.speed()
    ordered = sorted(wall * 1e6 for wall in ours.wall)
    return BenchResult(
        name="flatness",
        unit="order",
        ops_per_s=speed.ops_per_s,
        cpu_us_per_op=speed.cpu_us,
        p50_us=percentile(ordered, 0.5),
        p99_us=percentile(ordered, 0.99),
        control=base.ops_per_s,
        ratio=speed.ops_per_s / base.ops_per_s,
        control_name=f"the same with {_SMALL_ORDERS:,} orders and {_SMALL_ACCOUNTS} accounts",
        note="p50 and p99 are means per order over rounds; engine and record encoding, no disk; what is in "
        "the state beforehand is frozen for the garbage collector; both states pack what closes "
        f"(the small one keeps {_SMALL_KEEP} closed orders), cpu_ratio_to_unpacked is to a small one that "
        "has not begun to",
        target="cpu_ratio <= 1.2",
        met=ratio <= 1.2 if scale >= 1 else None,
        figures={
            "cpu_ratio": ratio,
            "cpu_ratio_to_unpacked": median(ours.cpu) / median(unpacked.cpu),
            "small_cpu_us_per_order": base.cpu_us,
            "orders": float(len(large.kernel.state.orders)),
            "accounts": float(len(large_mix.accounts)),
        },
    )


def _small_engine(mix: Mix, keep: int | None) -> Engine:
    engine = Engine(mix, keep)
    _take(engine, taking_orders(mix, _SMALL_ORDERS))
    return engine


def _take(engine: Engine, orders: Iterable[SubmitOrder]) -> int:
    """Take orders through an engine; how many."""
    count = 0
    for order in orders:
        engine.order(order)
        count += 1
    return count
