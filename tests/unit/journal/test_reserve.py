"""FM-06: on a full disk cancels are still journaled, from space that was held back."""

import errno
import sqlite3
from pathlib import Path

import pytest

from qtinfra.core.commands import CancelOrder
from qtinfra.core.events import CommandRefused, Entry
from qtinfra.core.exceptions import JournalError
from qtinfra.journal.disk import MemoryDisk, _Image
from qtinfra.journal.log import LogJournal
from qtinfra.journal.reserve import RESERVE_BYTES, Reserve, no_space, reserve_path
from qtinfra.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.unit

PLACE = Path("journal")


class SmallDisk(MemoryDisk):
    """A disk of so many bytes."""

    room = 1 << 30

    def _used(self) -> int:
        return sum(len(image.written) for image in self._images.values())

    def _write(self, path: Path, image: _Image, data: bytes) -> None:
        left = self.room - self._used()
        super()._write(path, image, data[: max(0, left)])
        if left < len(data):
            raise OSError(errno.ENOSPC, "full", str(path))

    def replace(self, path: Path, data: bytes) -> None:
        if len(data) > self.room - self._used():
            raise OSError(errno.ENOSPC, "full", str(path))
        super().replace(path, data)


def cancel(seq: int, epoch: int) -> Entry:
    """A record about as long as a cancel's."""
    command = CancelOrder("account-0001", f"client-cancel-{seq:09}", f"client-order-{seq:09}")
    told = CommandRefused("account-0001", command.cl_ord_id, "x" * 20, "field", "1", "2", "text " * 20)
    return Entry(0, epoch, seq, 1_700_000_000_000_000_000 + seq, 0, "client", "", command, (), (told,))


def test_fm_06_a_full_disk_takes_ten_thousand_cancels_from_the_reserve() -> None:
    disk = SmallDisk()
    journal = LogJournal.open(PLACE, disk=disk, reserve_bytes=RESERVE_BYTES)
    disk.room = disk._used() + 10
    assert not journal.on_reserve
    for seq in range(1, 10_001):
        journal.append([cancel(seq, 1)])
    assert journal.on_reserve and journal.head.seq == 10_000
    journal.close()
    disk.crash()
    again = LogJournal.open(PLACE, disk=disk)
    assert (again.head.seq, again.recovered) == (10_000, None)


def test_fm_06_when_the_reserve_is_gone_too_the_append_fails_and_the_journal_stops() -> None:
    disk = SmallDisk()
    journal = LogJournal.open(PLACE, disk=disk, reserve_bytes=4_096)
    disk.room = disk._used()
    with pytest.raises(JournalError, match="append to journal failed"):
        for seq in range(1, 100):
            journal.append([cancel(seq, 1)])
    with pytest.raises(JournalError, match="takes no more entries"):
        journal.append([cancel(50, 1)])


def test_a_journal_without_a_reserve_fails_at_once_on_a_full_disk() -> None:
    disk = SmallDisk()
    journal = LogJournal.open(PLACE, disk=disk)
    disk.room = disk._used() + 10
    with pytest.raises(JournalError, match="full"):
        journal.append([cancel(1, 1)])
    assert not journal.on_reserve


def test_opening_on_a_full_disk_counts_the_reserve_as_used_and_holds_it_when_there_is_space() -> None:
    disk = SmallDisk()
    LogJournal.open(PLACE, disk=disk).close()
    disk.room = disk._used() + 100
    journal = LogJournal.open(PLACE, disk=disk, reserve_bytes=4_096)
    assert journal.on_reserve
    journal.close()
    disk.room += 8_192
    journal = LogJournal.open(PLACE, disk=disk, reserve_bytes=4_096)
    assert not journal.on_reserve and disk.size(reserve_path(PLACE)) == 4_096


def test_fm_06_sqlite_gives_up_its_reserve_when_the_database_is_full(tmp_path: Path) -> None:
    place = tmp_path / "journal.db"
    journal = SqliteJournal.open(place, reserve_bytes=1 << 16)
    try:
        assert reserve_path(place).stat().st_size == 1 << 16
        real, calls = journal._insert, []

        def full_once(row: tuple[object, ...]) -> None:
            calls.append(row)
            if len(calls) == 1:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            real(row)

        journal._insert = full_once  # type: ignore[method-assign]
        journal.append([cancel(1, journal.epoch)])
        assert journal.on_reserve and journal.head.seq == 1
        assert not reserve_path(place).exists()
    finally:
        journal.close()


def test_a_reserve_of_negative_size_is_refused_and_only_a_lack_of_space_releases_it() -> None:
    with pytest.raises(ValueError, match="no negative size"):
        Reserve(MemoryDisk(), PLACE, -1)
    assert no_space(OSError(errno.ENOSPC, "")) and no_space(OSError(errno.EDQUOT, ""))
    assert not no_space(OSError(errno.EIO, ""))
