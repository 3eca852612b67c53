"""The projector's thread: it follows, falls back to the file, restarts, gives up, holds nobody up."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from qtinfra.bootstrap.rebuild import rebuild_tables
from qtinfra.cli import main
from qtinfra.core.events import Entry
from qtinfra.core.exceptions import DatabaseError, TimeoutError
from qtinfra.core.ports import Head
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State
from qtinfra.journal.base import FrameJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.repository import EVERYTHING, Progress, Projector, Query, ReadModel, tables
from qtinfra.repository.follower import Follower
from tests.support.builders import Desk
from tests.support.read_tables import compare, stored

pytestmark = pytest.mark.integration

WAIT_S = 30


class Live:
    """A SQLite journal that is being written, and the desk whose records it gets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite"
        self.tables = folder / "tables.sqlite"
        self.desk = Desk(checked=False)
        self.journal = SqliteJournal.open(self.path)
        self._written = 0

    def write(self, orders: int) -> tuple[list[Entry], Head]:
        """Some more orders, durable in one frame."""
        for _ in range(orders):
            self.desk.new(f"X{len(self.desk.entries)}", 10)
        entries = self.desk.entries[self._written :]
        self._written = len(self.desk.entries)
        return entries, self.journal.append(entries)

    def open_journal(self) -> AbstractContextManager[FrameJournal]:
        return closing(SqliteJournal.open_readonly(self.path, verify="tail"))

    def check(self) -> None:
        """The tables hold what was written."""
        state = State()
        for entry in self.desk.entries[: self._written]:
            replay(state, entry)
        engine = tables.writing_engine(self.tables)
        compare(engine, state)
        engine.dispose()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path)
    yield made
    made.journal.close()


def following(live: Live, progress: Progress) -> Follower:
    return Follower(lambda: Projector(tables.writing_engine(live.tables), progress), live.open_journal)


def reached(progress: Progress, seq: int) -> None:
    asyncio.run(progress.wait_for(seq, WAIT_S))


def test_it_catches_up_from_the_file_and_then_follows_what_is_offered(live: Live) -> None:
    live.write(5)
    progress = Progress()
    running = following(live, progress)
    running.start()
    for _ in range(10):
        entries, head = live.write(3)
        running.offer(entries, head)
    reached(progress, live.journal.head.seq)
    running.stop()
    status = running.status()
    assert (status.seq, status.seq_behind, status.ns_behind, status.failure) == (
        live.journal.head.seq,
        0,
        0,
        "",
    )
    live.check()


def test_when_its_queue_is_full_it_reads_the_file(live: Live) -> None:
    hold = threading.Event()
    progress = Progress()

    def make() -> Projector:
        assert hold.wait(WAIT_S)
        return Projector(tables.writing_engine(live.tables), progress)

    running = Follower(make, live.open_journal, capacity=5)
    running.start()
    for _ in range(6):
        entries, head = live.write(2)
        running.offer(entries, head)
    assert running.status().overflows > 0
    assert running.status().queued_records <= 5
    assert running.status().seq_behind == live.journal.head.seq
    hold.set()
    reached(progress, live.journal.head.seq)
    entries, head = live.write(1)
    running.offer(entries, head)
    reached(progress, head.seq)
    running.stop()
    live.check()


def test_a_frame_that_was_never_offered_is_read_from_the_file(live: Live) -> None:
    progress = Progress()
    running = following(live, progress)
    running.start()
    reached(progress, 0)
    running.offer(*live.write(2))
    live.write(2)
    running.offer(*live.write(2))
    reached(progress, live.journal.head.seq)
    running.stop()
    live.check()


def failing(times: int, make: Callable[[], Projector]) -> Callable[[], Projector]:
    left = [times]

    def made() -> Projector:
        left[0] -= 1
        if left[0] >= 0:
            raise DatabaseError("the disk is full")
        return make()

    return made


def test_a_projector_that_fails_is_made_anew_and_continues(live: Live) -> None:
    progress = Progress()
    make = failing(2, lambda: Projector(tables.writing_engine(live.tables), progress))
    running = Follower(make, live.open_journal, restart_after_s=0)
    running.start()
    running.offer(*live.write(3))
    reached(progress, live.journal.head.seq)
    running.stop()
    assert running.status().restarts == 2
    live.check()


def test_after_so_many_failures_it_gives_up_says_why_and_can_be_started_again(live: Live) -> None:
    progress = Progress()
    make = failing(3, lambda: Projector(tables.writing_engine(live.tables), progress))
    running = Follower(make, live.open_journal, max_restarts=2, restart_after_s=0)
    running.start()
    running.stop()
    assert "the disk is full" in running.status().failure
    running.offer(*live.write(3))
    assert running.status().queued_records == 0
    running.start()
    reached(progress, live.journal.head.seq)
    running.stop()
    assert running.status().failure == ""
    live.check()


def test_a_journal_of_another_chain_ends_it_at_once(live: Live, tmp_path: Path) -> None:
    live.write(3)
    (tmp_path / "other").mkdir()
    other = Live(tmp_path / "other")
    other.desk.new("different", 77)
    other.write(9)
    rebuild_tables(other.path, live.tables)
    other.journal.close()
    running = following(live, Progress())
    running.start()
    running.stop()
    assert "another journal" in running.status().failure
    assert running.status().restarts == 0


def test_a_reader_reads_his_own_write_or_is_told_in_time_that_he_cannot(live: Live) -> None:
    progress = Progress()
    running = following(live, progress)
    running.start()

    async def reading() -> int:
        model = ReadModel.on(live.tables, b"k" * 32, progress)
        try:
            entries, head = live.write(4)
            running.offer(entries, head)
            await model.wait_for(head.seq, WAIT_S)
            assert await model.checkpoint_seq() == head.seq
            with pytest.raises(TimeoutError) as caught:
                await model.wait_for(head.seq + 1, 0)
            assert caught.value.error_code == "projection_behind"
            return await model.count(Query(), EVERYTHING)
        finally:
            await model.close()

    assert asyncio.run(reading()) == 4
    running.stop()


def test_a_rebuild_by_command_gives_the_rows_that_following_gave(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    running = following(live, progress)
    running.start()
    for _ in range(5):
        running.offer(*live.write(2))
    reached(progress, live.journal.head.seq)
    running.stop()
    engine = tables.writing_engine(live.tables)
    before = stored(engine)
    assert main(["projector", "rebuild", str(live.path), "--tables", str(live.tables), "--json"]) == 0
    assert f'"seq": {live.journal.head.seq}' in capsys.readouterr().out
    assert stored(engine) == before
    engine.dispose()
