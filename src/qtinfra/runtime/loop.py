"""Group commit: compute a frame in memory, make it durable, and only then let its effects go.

`ShardLoop` does no I/O of its own and keeps no thread: `compute` and `append` and `release` are called by a
runtime. The live one appends in a thread while the next frame is computed; simulations call them in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import getcontext, setcontext
from itertools import chain
from typing import Generic, TypeVar

from qtinfra.core.events import Entry
from qtinfra.core.market import MarketView
from qtinfra.core.ports import Clock, Journal
from qtinfra.core.reports import Effect
from qtinfra.engine.kernel import Kernel, KernelStoppedError, Outcome
from qtinfra.runtime.inbox import Item

T = TypeVar("T")

#: Where effects go once they are durable.
EffectSink = Callable[[Effect], None]


@dataclass(slots=True)
class Frame(Generic[T]):
    """What one batch of commands led to: records to append together, and what waits for them.

    Attributes:
        results: outcome and token of each command, in order.
        unknown: tokens of commands whose outcome nobody will learn, because the shard stopped.
        stopped: why the shard must stop after this frame, if it must; nothing may be added to it then.
    """

    results: list[tuple[Outcome, T]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    unknown: list[T] = field(default_factory=list)
    stopped: KernelStoppedError | None = None

    def effects(self) -> Iterable[Effect]:
        """What leaves once the frame is durable, in the order of the commands."""
        return chain.from_iterable([outcome.effects for outcome, _ in self.results])

    def __len__(self) -> int:
        return len(self.results) + len(self.unknown)


class ShardLoop(Generic[T]):
    """Joins kernel, journal and effects of one shard.

    Args:
        not_before_ns: no decision is dated earlier; the last journaled moment, so that time never runs
            backwards over a restart.
    """

    def __init__(
        self, kernel: Kernel, journal: Journal, clock: Clock, market: MarketView, *, not_before_ns: int = 0
    ) -> None:
        self.kernel = kernel
        self.journal = journal
        self.clock = clock
        self.market = market
        self._last_ns = not_before_ns

    def compute(self, batch: list[Item[T]], frame: Frame[T] | None = None) -> Frame[T]:
        """Decide and apply a batch in memory. Nothing has left and nothing is durable yet.

        Args:
            frame: one that is not being appended yet, to which this batch is added; None begins one.
        """
        frame = frame if frame is not None else Frame()
        before = getcontext()
        setcontext(self.kernel.context)
        try:
            self._compute(batch, frame)
        finally:
            setcontext(before)
        return frame

    def _compute(self, batch: list[Item[T]], frame: Frame[T]) -> None:
        results, entries, read_clock = frame.results, frame.entries, self.clock.now_ns
        before = len(results)
        try:
            self._last_ns = self.kernel.execute_all(
                batch, read_clock, self.market, results, entries, self._last_ns
            )
        except KernelStoppedError as stopped:
            self._last_ns = stopped.entry.ts_ns
            entries.append(stopped.entry)
            frame.unknown.extend(item[1] for item in batch[len(results) - before :])
            frame.stopped = stopped

    def append(self, frame: Frame[T]) -> None:
        """Make the frame durable.

        Raises:
            JournalError: it is not known to be; the shard must stop and no effect may leave.
        """
        if frame.entries:
            self.journal.append(frame.entries)

    def release(self, frame: Frame[T], sink: EffectSink) -> None:
        """Let the effects of a durable frame go, in order."""
        for effect in frame.effects():
            sink(effect)
