"""The read side of a server: a process of its own tails the journal's file into the read tables.

    python -m qtinfra.bootstrap.projection JOURNAL TABLES

It shares no interpreter with the order path, which would otherwise wait for it. A line on its standard input
says that the journal has grown; a line on its standard output says up to which sequence the tables are. When
its standard input ends it projects what is left and goes. When storage refuses, its last line is `!` with the
reason, and its exit status `REFUSED`; the server starts another one after ever longer pauses.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from qtinfra.core.exceptions import DatabaseError
from qtinfra.core.ports import Head, Snapshot
from qtinfra.core.reports import Alert
from qtinfra.infra.heap import LongLivedHeap, prepare_heap
from qtinfra.journal.codec import GENESIS
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.repository.progress import Progress
from qtinfra.repository.projector import Projector
from qtinfra.repository.readmodel import ReadModel
from qtinfra.repository.tables import writing_engine

LOG = logging.getLogger("qtinfra.projection")

#: How long the process may take to project the rest and go, seconds.
STOP_S = 10.0
#: A projector that has died is started again after this many seconds, doubled each time.
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
#: An outage is over when the tables were complete and the projector has lived so long since, seconds.
STEADY_S = 30.0
#: Exit status of a projector whose storage refused, EX_IOERR of sysexits.h.
REFUSED = 74

#: How long the projector's waking is put off when nobody reads, seconds.
LINGER_S = 0.02

#: How much the projector gives way where it shares a processor with the order path (nice(2)).
GIVES_WAY = 5

_GROWN = b"\n"
_SORRY = b"!"
_REASON_BYTES = 400


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
    for number in (signal.SIGINT, signal.SIGTERM):  # the server, which gets it too, closes our input
        signal.signal(number, signal.SIG_IGN)
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


class Outages:
    """Deaths of projectors: those that follow one another closely are one outage."""

    def __init__(self) -> None:
        self._pause_s = 0.0

    def died(self, steady_s: float) -> tuple[bool, float]:
        """A projector has died.

        Args:
            steady_s: how long it had lived since the tables were complete, seconds; 0 when they never were.

        Returns:
            Whether this death begins an outage, and how many seconds to wait before the next start.
        """
        begins = self._pause_s == 0 or steady_s >= STEADY_S
        self._pause_s = FIRST_BACKOFF_S if begins else min(2 * self._pause_s, MAX_BACKOFF_S)
        return begins, self._pause_s


class Projection:
    """The projector's process, and the read model on what it writes.

    Args:
        tables: the read tables' file; it may be deleted while the server is down, and is made again.
        journal: the journal's file.
        on_alert: told of the first death of each outage, `projector_died`.
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
        outages = Outages()
        while not self._closing:
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
            steady_s, reason = await self._listen(self._process, durable)
            status = await self._process.wait()
            if not self._closing:
                begins, pause_s = outages.died(steady_s)
                if begins:
                    LOG.warning("the projector ended with status %d: %s", status, reason)
                    again = f"{reason}; started again in {pause_s} s, then after up to {MAX_BACKOFF_S} s"
                    self._on_alert(Alert("projector_died", str(status), again))
                await asyncio.sleep(pause_s)

    async def _listen(
        self, process: asyncio.subprocess.Process, durable: Callable[[], Head]
    ) -> tuple[float, str]:
        """Follow it until it ends: for how many seconds the tables had been complete, and its reason."""
        now, complete_s, reason = asyncio.get_running_loop().time, None, "it gave no reason"
        while process.stdout is not None and (line := await process.stdout.readline()):
            if line.startswith(_SORRY):
                reason = line[len(_SORRY) :].decode(errors="replace").strip()
                continue
            self.progress.advance(int(line))
            self._told = False
            self.grown(durable())
            if complete_s is None and self.progress.seq >= durable().seq:
                complete_s = now()
        return (0.0 if complete_s is None else now() - complete_s), reason

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
    try:
        return tail(Path(journal), Path(tables))
    except DatabaseError as error:
        reason = " ".join(error.message.split()).encode()[:_REASON_BYTES]
        with suppress(BrokenPipeError):
            os.write(1, _SORRY + reason + b"\n")
        return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
