"""The steps of an engine's life, and the one at which it kills itself.

A step is passed between any two things that may be cut apart: receiving, deciding, appending, syncing,
answering, sending, recovering, taking a snapshot. `STEPS.arm` names one; when it is passed for the n-th time
the process gets SIGKILL. What a sync or a write is cut in two by is `fsfault.c`'s.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from qtinfra.core.events import Entry
from qtinfra.core.ports import Happened, Head, Snapshot
from qtinfra.core.reports import ToVenue, VenueReport
from qtinfra.journal.base import FrameJournal
from qtinfra.journal.codec import SealedFrame
from qtinfra.journal.disk import RealAppendFile, RealDisk
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.live import LiveShard, Waiter
from qtinfra.runtime.loop import Frame

#: Steps passed once in a life, then those passed again and again.
ONCE = ("owner_taken", "opened", "recovered", "started")
REPEATED = (
    "replaying",
    "received",
    "offered",
    "report_received",
    "decided",
    "append_begin",
    "append_inserting",
    "append_committing",
    "appended",
    "before_release",
    "before_send",
    "sent",
    "released",
    "acknowledged",
    "snapshot_begin",
    "snapshot_inserting",
    "snapshot_saved",
)
#: What only one of the two kinds of journal passes is called alike in both.
_STATEMENTS = {
    "INSERT INTO frame": "append_inserting",
    "INSERT OR REPLACE INTO snapshot": "snapshot_inserting",
    "COMMIT": "append_committing",
}


class Steps:
    """Counts the steps of this process; at most one of them is armed."""

    def __init__(self) -> None:
        self.armed = ""
        self._left = 0

    def arm(self, name: str, nth: int) -> None:
        """Kill this process when `name` is passed for the `nth` time from now; an empty name disarms."""
        if name and name not in ONCE and name not in REPEATED:
            raise ValueError(f"there is no step {name!r}")
        self.armed, self._left = name, nth

    def passed(self, name: str) -> None:
        """A step has been reached. Any thread may say so."""
        if name == self.armed:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def passed_statement(self, sql: str) -> None:
        """SQLite is about to run a statement."""
        for start, name in _STATEMENTS.items():
            if sql.startswith(start):
                self.passed(name)


STEPS = Steps()


class _SteppedJournal(FrameJournal):
    """What both kinds do alike. Without `use_snapshots` a recovery replays all of it."""

    use_snapshots = True

    def _commit(self, frame: SealedFrame) -> Head:
        STEPS.passed("append_begin")
        head = super()._commit(frame)
        STEPS.passed("appended")
        return head

    def read(self, after_seq: int = 0) -> Iterator[Entry]:
        for entry in super().read(after_seq):
            STEPS.passed("replaying")
            yield entry

    def happened(self, after_seq: int = 0) -> Iterator[Happened | Entry]:
        for entry in super().happened(after_seq):
            STEPS.passed("replaying")
            yield entry

    def save_snapshot(self, snapshot: Snapshot) -> None:
        STEPS.passed("snapshot_begin")
        super().save_snapshot(snapshot)
        STEPS.passed("snapshot_saved")

    def latest_snapshot(self) -> Snapshot | None:
        return super().latest_snapshot() if self.use_snapshots else None


class SteppedSqlite(_SteppedJournal, SqliteJournal):
    """SQLite's journal, with the statements inside its transactions as steps."""

    def _take(self, owner: str) -> None:
        super()._take(owner)
        STEPS.passed("owner_taken")
        if STEPS.armed in _STATEMENTS.values():
            self._db.set_trace_callback(STEPS.passed_statement)

    def _insert(self, row: tuple[object, ...]) -> None:
        """The statement commits by itself; to be cut between the two it is run in a transaction."""
        if STEPS.armed != "append_committing":
            super()._insert(row)
            return
        self._db.execute("BEGIN IMMEDIATE")
        super()._insert(row)
        self._db.execute("COMMIT")

    def stop_syncing(self) -> None:
        """A planted bug: from now on a commit is not made durable."""
        self._db.execute("PRAGMA synchronous = OFF")


class SteppedLog(_SteppedJournal, LogJournal):
    """The log, with the moment between write and sync as a step."""

    def _take(self, owner: str) -> None:
        super()._take(owner)
        STEPS.passed("owner_taken")


class SteppedDisk(RealDisk):
    """The operating system's files, with steps around what a log writes."""

    def __init__(self, file: Callable[[Path], RealAppendFile]) -> None:
        self._file = file

    def append_to(self, path: Path) -> RealAppendFile:
        return self._file(path)

    def replace(self, path: Path, data: bytes) -> None:
        if ".snapshot." in path.name:
            STEPS.passed("snapshot_inserting")
        super().replace(path, data)


class _SteppedFile(RealAppendFile):
    def write(self, data: bytes) -> None:
        STEPS.passed("append_inserting")
        super().write(data)

    def sync(self) -> None:
        STEPS.passed("append_committing")
        super().sync()


class _RetryingFile(_SteppedFile):
    """A planted bug: a sync that fails is done again. Linux then says that all is well."""

    def sync(self) -> None:
        try:
            super().sync()
        except OSError:
            super().sync()


class _UnsyncedFile(_SteppedFile):
    """A planted bug: a sync does nothing."""

    def sync(self) -> None:
        STEPS.passed("append_committing")


_FILES: dict[str, Callable[[Path], RealAppendFile]] = {"retry_sync": _RetryingFile, "no_sync": _UnsyncedFile}


def open_stepped(path: str, owner: str, *, snapshots: bool, bug: str = "") -> SteppedSqlite | SteppedLog:
    """Take a journal for writing, a log when the name ends with `.log`, else SQLite's.

    Args:
        snapshots: recover from the newest one; else verify and replay everything.
        bug: `retry_sync` (a log) or `no_sync` plants one.

    Raises:
        JournalError: as the journals' own `open` says.
    """
    journal: SteppedSqlite | SteppedLog
    if path.endswith(".log"):
        disk = SteppedDisk(_FILES.get(bug, _SteppedFile))
        journal = SteppedLog.open(path, owner=owner, disk=disk)
    else:
        journal = SteppedSqlite.open(path, owner=owner, verify="tail" if snapshots else "full")
        if bug == "no_sync":
            journal.stop_syncing()
    journal.use_snapshots = snapshots
    STEPS.passed("opened")
    return journal


class SteppedShard(LiveShard):
    """The live shard, with its steps."""

    def report(self, report: VenueReport) -> None:
        STEPS.passed("report_received")
        super().report(report)

    def _decide(self, frame: Frame[Waiter]) -> None:
        before = len(frame)
        super()._decide(frame)
        if len(frame) > before:
            STEPS.passed("decided")

    def _release(self, frame: Frame[Waiter]) -> None:
        STEPS.passed("before_release")
        super()._release(frame)
        STEPS.passed("released")

    def _send_to_venue(self, message: ToVenue) -> None:
        STEPS.passed("before_send")
        super()._send_to_venue(message)
        STEPS.passed("sent")


class EarlyReleaseShard(SteppedShard):
    """A planted bug: what waits for a frame goes out before the frame is appended."""

    def _sync(self, frame: Frame[Waiter]) -> asyncio.Future[Head]:
        entries, frame.entries = frame.entries, []
        self._release(frame)
        frame.results = []
        frame.entries = entries
        return super()._sync(frame)
