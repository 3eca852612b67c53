"""The projector in a thread of its own, fed by the live shard, and out of its way.

`offer` takes each frame once it is durable and returns at once. When more waits than the queue may hold, what
waits is dropped and read from the journal's file instead; a projector that fails is made anew, a bounded
number of times, and continues after its last committed batch. Nothing of this reaches the order path.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from qtinfra.core.events import Entry
from qtinfra.core.exceptions import DatabaseError
from qtinfra.core.ports import Head
from qtinfra.journal.base import FrameJournal
from qtinfra.repository.projector import BATCH_RECORDS, ProjectionError, Projector

#: Most records that wait for the projector; beyond that it reads the file.
MAX_QUEUED_RECORDS = 65_536
#: A failed projector is made anew so many times in a row, after so many seconds.
MAX_RESTARTS = 5
RESTART_AFTER_S = 1

#: Failures that another attempt would meet again.
_LASTING = ("other_journal", "projection_error")

OpenJournal = Callable[[], AbstractContextManager[FrameJournal]]
_Frame = tuple[Sequence[Entry], Head]


class ProjectionStatus(msgspec.Struct, frozen=True):
    """How the projection is doing.

    Attributes:
        seq: committed; `head_seq`: durable in the journal, as far as was offered.
        seq_behind, ns_behind: between the two, in events and in journaled nanoseconds; 0 when level.
        overflows: how often the queue was full and the file was read.
        restarts: how often a failed projector was made anew.
        failure: why it gave up; empty while it works.
    """

    seq: int
    head_seq: int
    seq_behind: int
    ns_behind: int
    queued_records: int
    records: int
    overflows: int
    restarts: int
    failure: str


class Follower:
    """Runs a projector in a thread.

    Args:
        make: makes a projector from the committed tables; called in the thread.
        open_journal: opens the journal's file for reading, verified since its newest snapshot.
        capacity: most records that wait.
        max_restarts, restart_after_s: see the module's constants.
    """

    def __init__(
        self,
        make: Callable[[], Projector],
        open_journal: OpenJournal,
        *,
        capacity: int = MAX_QUEUED_RECORDS,
        max_restarts: int = MAX_RESTARTS,
        restart_after_s: float = RESTART_AFTER_S,
    ) -> None:
        self._make = make
        self._open_journal = open_journal
        self._capacity = capacity
        self._max_restarts = max_restarts
        self._restart_after_s = restart_after_s
        self._changed = threading.Condition()
        self._frames: deque[_Frame] = deque()
        self._queued = 0
        self._head_seq = self._head_ns = 0
        self._seq = self._ns = self._records = 0
        self._overflows = self._restarts = 0
        self._failure = ""
        self._stopping = False
        self._thread: threading.Thread | None = None

    def offer(self, entries: Sequence[Entry], head: Head) -> None:
        """Take a durable frame: its records and the journal's head after it. Never blocks on the database."""
        if not entries:
            return
        with self._changed:
            self._head_seq, self._head_ns = head.seq, entries[-1].ts_ns
            if self._thread is None or self._failure:
                return
            if self._queued + len(entries) > self._capacity:
                self._overflows += 1
                self._frames.clear()
                self._queued = 0
            self._frames.append((entries, head))
            self._queued += len(entries)
            self._changed.notify()

    def start(self) -> None:
        """Catch up from the file, then follow. Also begins again after it gave up.

        Raises:
            ValueError: it runs already.
        """
        if self._thread is not None and self._thread.is_alive():
            raise ValueError("the follower runs already")
        self._stopping, self._failure, self._restarts = False, "", 0
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30) -> None:
        """Project what waits, then end the thread; gives up waiting after `timeout_s` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def status(self) -> ProjectionStatus:
        """How it is doing now."""
        with self._changed:
            behind = max(0, self._head_seq - self._seq)
            return ProjectionStatus(
                seq=self._seq,
                head_seq=max(self._head_seq, self._seq),
                seq_behind=behind,
                ns_behind=max(0, self._head_ns - self._ns) if behind else 0,
                queued_records=self._queued,
                records=self._records,
                overflows=self._overflows,
                restarts=self._restarts,
                failure=self._failure,
            )

    # --- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        """One projector after the other, until it is told to stop or has failed too often in a row."""
        failed = 0
        ended = False
        try:
            while not ended:
                before = self._seq
                try:
                    self._follow()
                    ended = True
                except (DatabaseError, OSError) as error:
                    failed = failed + 1 if self._seq == before else 1
                    ended = not self._may_restart(error, failed)
        finally:
            if not ended:
                self._give_up("a fault of its own ended the thread")

    def _may_restart(self, error: Exception, failed: int) -> bool:
        """Wait before the next attempt; false when there is none."""
        lasting = isinstance(error, ProjectionError) and error.error_code in _LASTING
        if lasting or failed > self._max_restarts or self._stopping:
            self._give_up(f"{type(error).__name__}: {error}")
            return False
        with self._changed:
            self._restarts += 1
            self._changed.wait_for(lambda: self._stopping, self._restart_after_s)
        return True

    def _give_up(self, why: str) -> None:
        with self._changed:
            self._failure = why
            self._frames.clear()
            self._queued = 0

    def _follow(self) -> None:
        """Catch up from the file, then project what is offered; from the file again after a gap."""
        projector = self._make()
        try:
            self._catch_up(projector)
            while (frames := self._take()) is not None:
                fresh = [frame for frame in frames if frame[1].seq > projector.checkpoint.seq]
                if not fresh:
                    continue
                if fresh[0][0][0].seq > projector.checkpoint.seq + 1:
                    self._catch_up(projector)
                    fresh = [frame for frame in fresh if frame[1].seq > projector.checkpoint.seq]
                self._apply(projector, fresh)
        finally:
            projector.close()

    def _catch_up(self, projector: Projector) -> None:
        with self._open_journal() as journal:
            projector.catch_up(journal)
        self._note(projector)

    def _apply(self, projector: Projector, frames: Sequence[_Frame]) -> None:
        """What a catch-up took the first part of is cut to what is left."""
        if frames:
            at = projector.checkpoint.seq
            entries = [entry for part, _ in frames for entry in part if entry.seq > at]
            projector.apply(entries, frames[-1][1])
            self._note(projector)

    def _note(self, projector: Projector) -> None:
        at = projector.checkpoint
        with self._changed:
            self._seq, self._ns, self._records = at.seq, at.ts_ns, projector.records

    def _take(self) -> list[_Frame] | None:
        """Frames of about one batch, waiting for the first; None when it is time to end."""
        taken: list[_Frame] = []
        size = 0
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._stopping)
            while self._frames and size < BATCH_RECORDS:
                frame = self._frames.popleft()
                taken.append(frame)
                size += len(frame[0])
            self._queued -= size
        return taken or None
