"""The journal's contract, kept by every adapter."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from qtinfra.journal.base import FrameJournal, Verify
from qtinfra.journal.disk import Disk, MemoryDisk, RealDisk
from qtinfra.journal.log import LogJournal, wrap
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.journal_contract import JournalContract

pytestmark = pytest.mark.contract


def cut_log(disk: Disk, place: Path, count: int) -> None:
    journal = LogJournal.open_readonly(place, disk=disk)
    blobs = [stored.blob for stored in journal._stored(0)]
    disk.replace(place, b"".join(wrap(blob) for blob in blobs[:-count]))


def plant_beside_log(disk: Disk, place: Path, seq: int, blob: bytes) -> None:
    disk.replace(place.with_name(f"{place.name}.snapshot.{seq:020}"), blob)


class TestMemoryJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def with_a_disk(self) -> None:
        self.disk = MemoryDisk()

    def open(self, place: Path, *, shard: int = 0, owner: str = "", verify: Verify = "full") -> FrameJournal:
        return MemoryJournal.open(place, shard=shard, owner=owner, disk=self.disk, verify=verify)

    def open_readonly(self, place: Path) -> FrameJournal:
        return MemoryJournal.open_readonly(place, disk=self.disk)

    def break_lock(self, place: Path) -> None:
        self.disk.remove(place.with_name(place.name + ".lock"))

    def plant_snapshot(self, place: Path, seq: int, blob: bytes) -> None:
        plant_beside_log(self.disk, place, seq, blob)

    def cut_frames(self, place: Path, count: int) -> None:
        cut_log(self.disk, place, count)


class TestLogJournalOnDisk(JournalContract):
    def open(self, place: Path, *, shard: int = 0, owner: str = "", verify: Verify = "full") -> FrameJournal:
        return LogJournal.open(place, shard=shard, owner=owner, verify=verify)

    def open_readonly(self, place: Path) -> FrameJournal:
        return LogJournal.open_readonly(place)

    def break_lock(self, place: Path) -> None:
        place.with_name(place.name + ".lock").unlink()

    def plant_snapshot(self, place: Path, seq: int, blob: bytes) -> None:
        plant_beside_log(RealDisk(), place, seq, blob)

    def cut_frames(self, place: Path, count: int) -> None:
        cut_log(RealDisk(), place, count)


class TestSqliteJournal(JournalContract):
    def open(self, place: Path, *, shard: int = 0, owner: str = "", verify: Verify = "full") -> FrameJournal:
        return SqliteJournal.open(place, shard=shard, owner=owner, verify=verify)

    def open_readonly(self, place: Path) -> FrameJournal:
        return SqliteJournal.open_readonly(place)

    def break_lock(self, place: Path) -> None:
        place.with_name(place.name + ".lock").unlink()

    def plant_snapshot(self, place: Path, seq: int, blob: bytes) -> None:
        with closing(sqlite3.connect(place)) as db, db:
            db.execute("INSERT INTO snapshot VALUES (0, ?, ?)", (seq, blob))

    def cut_frames(self, place: Path, count: int) -> None:
        with closing(sqlite3.connect(place)) as db, db:
            db.execute(
                "DELETE FROM frame WHERE first_seq IN (SELECT first_seq FROM frame ORDER BY 1 DESC LIMIT ?)",
                (count,),
            )
