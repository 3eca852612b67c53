"""Measuring: subject and control in alternating rounds of one process, medians over the rounds.

A figure alone says more of the machine than of the code. Here every subject runs next to a control, something
that the same machine does with the same input, and what travels between machines is their ratio.
"""

from __future__ import annotations

import gc
import platform
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TypeVar

import msgspec

from qtinfra.infra.heap import prepare_heap

T = TypeVar("T")

#: One round of work; returns how many operations it did.
Round = Callable[[], int]
#: Told what is going on, for a person who waits.
Progress = Callable[[str], None]


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark found.

    Attributes:
        unit: what one operation is.
        ops_per_s: operations per second of wall time.
        cpu_us_per_op: CPU time of the whole process per operation, in microseconds.
        p50_us, p99_us: latency of one operation (what that is, `note` says), in microseconds.
        control: the control's operations per second; `control_name` says what it does.
        ratio: `ops_per_s` over `control`.
        target: the figure aimed at, as text, and whether it was met in this run at full scale; None at
            another scale.
        figures: further numbers by name, the unit at the end of the name.
    """

    name: str
    unit: str
    ops_per_s: float
    cpu_us_per_op: float
    p50_us: float
    p99_us: float
    control: float
    ratio: float
    note: str
    control_name: str
    target: str = ""
    met: bool | None = None
    figures: dict[str, float] = {}


class Speed(msgspec.Struct, frozen=True):
    """Medians over rounds: wall and CPU seconds per operation."""

    wall_s: float
    cpu_s: float

    @property
    def ops_per_s(self) -> float:
        return 1 / self.wall_s if self.wall_s else 0.0

    @property
    def cpu_us(self) -> float:
        return self.cpu_s * 1e6


class Laps:
    """Collects the rounds of one side."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.each_us: list[float] = []
        self.ops = 0

    def run(self, work: Round) -> None:
        """Time one round; garbage of the one before is collected first and is not counted."""
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        done = work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.add(done, wall, cpu)

    def run_each(self, counts: Sequence[int], items: Sequence[T], function: Callable[[T], object]) -> None:
        """Time one round of calls, and each call; `counts` says how many operations each one is."""
        gc.collect()
        clock, each = time.perf_counter_ns, self.each_us
        cpu, wall = time.process_time(), time.perf_counter()
        for item in items:
            start = clock()
            function(item)
            each.append((clock() - start) / 1_000)
        self.add(sum(counts), time.perf_counter() - wall, time.process_time() - cpu)

    def add(self, done: int, wall_s: float, cpu_s: float) -> None:
        """Note a round that was timed elsewhere. Raises ValueError when it did nothing."""
        if done <= 0:
            raise ValueError("a round without operations measures nothing")
        self.ops += done
        self.wall.append(wall_s / done)
        self.cpu.append(cpu_s / done)

    def speed(self) -> Speed:
        return Speed(median(self.wall), median(self.cpu))


def compare(subject: Round, control: Round, rounds: int) -> tuple[Speed, Speed]:
    """Run subject and control in turns (A B A B ...), after one round of each that is not counted."""
    subject()
    control()
    first, second = Laps(), Laps()
    for _ in range(rounds):
        first.run(subject)
        second.run(control)
    return first.speed(), second.speed()


def over(items: Sequence[tuple[object, ...]], function: Callable[..., object]) -> Round:
    """A round that calls the function once with each tuple of arguments."""

    def work() -> int:
        for arguments in items:
            function(*arguments)
        return len(items)

    return work


def latencies_us(items: Sequence[tuple[object, ...]], function: Callable[..., object]) -> list[float]:
    """Wall time of each single call, sorted, in microseconds; includes reading the clock (about 0.05)."""
    clock = time.perf_counter_ns
    found = []
    for arguments in items:
        start = clock()
        function(*arguments)
        found.append((clock() - start) / 1_000)
    found.sort()
    return found


def interpreter(configured: str | None = None) -> str:
    """What runs the benchmarks: implementation, version, compiler, and how its build was configured.

    An interpreter with profile-guided and link-time optimisation takes a sixth off everything here. A
    distribution may optimise its build by other means than `configure`; then this cannot say so.

    Args:
        configured: the arguments of its `configure`; those of this interpreter by default, "" when unknown.
    """
    if configured is None:
        configured = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    used = [option for option in ("--enable-optimizations", "--with-lto") if option in configured]
    built = f"configured with {' '.join(used)}" if used else "configured without --enable-optimizations"
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{name} ({platform.python_compiler()}), {built}"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of a sorted sample lies (nearest rank); 0 for an empty sample."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def sized(count: int, scale: float, least: int = 1) -> int:
    """A size of the fixed mix at another scale."""
    return max(least, int(count * scale))


@contextmanager
def frozen_heap() -> Iterator[None]:
    """What exists now is long-lived: the collector leaves it alone, as in a live process (`infra.heap`)."""
    thresholds = gc.get_threshold()
    prepare_heap()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def micro(
    name: str,
    unit: str,
    items: Sequence[tuple[object, ...]],
    subject: Callable[..., object],
    controlled: tuple[str, Sequence[tuple[object, ...]], Callable[..., object]],
    *,
    rounds: int,
    target_per_s: float,
    at_scale: bool,
    note: str,
    figures: dict[str, float] | None = None,
) -> BenchResult:
    """A benchmark of one small function against a control function (name, items, function)."""
    control_name, control_items, control = controlled
    with frozen_heap():
        ours, theirs = compare(over(items, subject), over(control_items, control), rounds)
        ordered = latencies_us(items, subject)
    return BenchResult(
        name=name,
        unit=unit,
        ops_per_s=ours.ops_per_s,
        cpu_us_per_op=ours.cpu_us,
        p50_us=percentile(ordered, 0.5),
        p99_us=percentile(ordered, 0.99),
        control=theirs.ops_per_s,
        ratio=ours.ops_per_s / theirs.ops_per_s,
        note=note,
        control_name=control_name,
        target=f">= {target_per_s:,.0f}/s",
        met=ours.ops_per_s >= target_per_s if at_scale else None,
        figures=figures or {},
    )
