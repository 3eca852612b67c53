"""The read side of a server: a process of its own tails the journal's file into the read tables.

    python -m qtinfra.bootstrap.projection JOURNAL TABLES

It shares no interpreter with the order path, which would otherwise wait for it. A line on its standard input
says that the journal has grown; a line on its standard output says up to which sequence the tables are. When
its standard input ends it projects what is left and goes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from qtinfra.core.ports import Head, Snapshot
from qtinfra.core.reports import Alert
from qtinfra.infra.heap import LongLivedHeap, prepare_heap
from qtinfra.journal.codec import GENESIS
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.repository.progress import Progress
from qtinfra.repository.projector import Projector
from qtinfra.repository.readmodel import ReadModel
from qtinfra.repository.tables import writing_engine

#: How long the process may take to project the rest and go, seconds.
STOP_S = 10.0
#: A projector that has died is started again after this many seconds, doubled each time.
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0

#: How long the projector's waking is put off when nobody reads, seconds.
LINGER_S = 0.02

#: How much the projector gives way where it shares a processor with the order path (nice(2)).
GIVES_WAY = 5

_GROWN = b"\n"


class TailedJournal(SqliteJournal):
    """A journal that another process writes, read as it grows."""

    def refresh(self) -> int:
        """Take in what was appended since, each record checked against the chain; the new last sequence.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
        """
        head = self._head
        known = head.seq > 0 and head.hash != GENESIS
        self._verify(Snapshot(head.shard, head.seq, head.hash, b"") if known else None)
        return self._head.seq


def tail(journal_path: Path, tables_path: Path) -> int:
    """Project until the standard input ends; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server, which gets it too, closes our input
    projector = Projector(writing_engine(tables_path), Progress())
    journal = TailedJournal.open_readonly(journal_path, verify="tail")
    heap = LongLivedHeap()
    try:
        growing = True
        while growing:
            heap.note(projector.catch_up(journal))
            os.write(1, b"%d\n" % projector.checkpoint.seq)
            select.select([0], [], [])
            growing = bool(os.read(0, 65_536))
            journal.refresh()
        projector.catch_up(journal)
    except BrokenPipeError:
        return 1
    finally:
        journal.close()
        projector.close()
    return 0


class Projection:
    """The projector's process, and the read model on what it writes.

    Args:
        tables: the read tables' file; it may be deleted while the server is down, and is made again.
        journal: the journal's file.
        on_alert: told when the projector dies.
    """

    def __init__(self, tables: Path, journal: Path, on_alert: Callable[[Alert], None]) -> None:
        self.progress = Progress()
        self.readmodel = ReadModel.on(tables, secrets.token_bytes(32), self.progress)
        self._command = (sys.executable, "-m", "qtinfra.bootstrap.projection", str(journal), str(tables))
        self._on_alert = on_alert
        self._process: asyncio.subprocess.Process | None = None
        self._told = True
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def grown(self, head: Head) -> None:
        """The journal is durable up to this head; the projector hears of it a little later, and of many heads
        at once: waking it for every one would take the processor from the order path."""
        if self._timer is None and not self._told and head.seq > self.progress.seq:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._tell)

    async def reach(self, seq: int, timeout_s: float) -> None:
        """Return once the tables hold what was journaled up to `seq`.

        Raises:
            TimeoutError: `projection_behind`: it was not so within `timeout_s` seconds.
            OverloadedError: too many readers wait.
        """
        if self._timer is not None and self.progress.seq < seq:
            self._tell()
        await self.progress.wait_for(seq, timeout_s)

    def _tell(self) -> None:
        """Wake the projector; not again before it has answered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            self._told = True
            process.stdin.write(_GROWN)

    async def run(self, durable: Callable[[], Head]) -> None:
        """Keep a projector running until `close`.

        Args:
            durable: the journal's durable head now.
        """
        backoff_s = FIRST_BACKOFF_S
        while not self._closing:
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
            if await self._listen(self._process, durable):
                backoff_s = FIRST_BACKOFF_S
            status = await self._process.wait()
            if not self._closing:
                self._on_alert(Alert("projector_died", str(status), f"started again in {backoff_s} s"))
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _listen(self, process: asyncio.subprocess.Process, durable: Callable[[], Head]) -> bool:
        """Follow how far it is until it ends; whether it ever answered."""
        answered = False
        while process.stdout is not None and (line := await process.stdout.readline()):
            answered = True
            self.progress.advance(int(line))
            self._told = False
            self.grown(durable())
        return answered

    async def close(self) -> None:
        """Let the projector finish, and close the tables."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        process = self._process
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await self.readmodel.close()


def main(arguments: Sequence[str]) -> int:
    """Run the projector's process."""
    journal, tables = arguments
    os.nice(GIVES_WAY)
    prepare_heap()
    return tail(Path(journal), Path(tables))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
