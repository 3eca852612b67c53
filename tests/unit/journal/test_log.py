"""The log journal under crashes, torn writes and flipped bits, on a disk in memory."""

import errno
from pathlib import Path

import pytest

from qtinfra.core.exceptions import FencedError, JournalCorruptError, JournalError
from qtinfra.core.ports import Snapshot
from qtinfra.journal.disk import MemoryDisk, _Image
from qtinfra.journal.log import LogJournal
from qtinfra.journal.memory import MemoryJournal
from qtinfra.testing.journal_contract import fill, follow

pytestmark = pytest.mark.unit

PATH = Path("journal")


def written_log(frames: int) -> tuple[bytes, list[int], list[int]]:
    """A log's bytes, the offset and the first sequence of each frame."""
    journal = MemoryJournal.fresh()
    offsets, firsts = [], []
    for number in range(frames):
        offsets.append(journal.disk.size(PATH))
        firsts.append(journal.head.seq + 1)
        journal.append(follow(journal, 2, seed=number))
    return journal.disk.read(PATH), offsets, firsts


def disk_with(data: bytes) -> MemoryDisk:
    disk = MemoryDisk()
    disk.replace(PATH, data)
    return disk


def test_a_tail_torn_at_any_byte_of_the_last_frame_is_cut_and_said() -> None:
    data, offsets, firsts = written_log(3)
    for end in range(offsets[-1] + 1, len(data)):
        disk = disk_with(data[:end])
        journal = MemoryJournal.open(PATH, disk=disk)
        assert journal.head.seq == firsts[-1] - 1
        assert journal.recovered is not None
        assert f"{end - offsets[-1]} bytes after sequence {firsts[-1] - 1}" in journal.recovered
        assert disk.read(PATH) == data[: offsets[-1]]
        fill(journal, frames=1)
        journal.close()
        again = MemoryJournal.open(PATH, disk=disk)
        assert again.recovered is None
        assert len(list(again.read())) == 7


def test_a_log_that_ends_with_a_whole_frame_needs_no_repair() -> None:
    data, offsets, _ = written_log(3)
    for end in (0, *offsets[1:], len(data)):
        assert MemoryJournal.open(PATH, disk=disk_with(data[:end])).recovered is None


def test_a_last_frame_of_right_length_with_wrong_bytes_is_a_torn_tail() -> None:
    data, offsets, firsts = written_log(2)
    for at in range(offsets[-1], len(data)):
        disk = disk_with(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        journal = MemoryJournal.open(PATH, disk=disk)
        assert journal.head.seq == firsts[-1] - 1
        assert journal.recovered is not None


def test_zeros_after_the_last_frame_are_a_torn_tail() -> None:
    data, _, _ = written_log(2)
    journal = MemoryJournal.open(PATH, disk=disk_with(data + bytes(4096)))
    assert journal.recovered is not None
    assert "4096 bytes" in journal.recovered


def test_reading_only_reports_a_torn_tail_and_leaves_it() -> None:
    data, _, _ = written_log(2)
    disk = disk_with(data[:-1])
    journal = MemoryJournal.open_readonly(PATH, disk=disk)
    assert journal.recovered is not None
    assert "left as they are" in journal.recovered
    assert len(list(journal.read())) == 2
    assert disk.read(PATH) == data[:-1]


def test_a_flipped_bit_before_the_last_frame_refuses_names_the_sequence_and_changes_nothing() -> None:
    data, offsets, firsts = written_log(3)
    for at in range(offsets[-1]):
        flipped = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        disk = disk_with(flipped)
        frame = max(number for number, offset in enumerate(offsets) if offset <= at)
        with pytest.raises(JournalCorruptError) as error:
            MemoryJournal.open(PATH, disk=disk)
        assert firsts[frame] <= error.value.first_bad_seq < firsts[frame + 1]
        assert disk.read(PATH) == flipped
        assert not disk.exists(Path("journal.epoch"))


def test_corruption_within_a_frame_names_the_record_and_not_only_the_frame() -> None:
    journal = MemoryJournal.fresh()
    entries = follow(journal, 5)
    journal.append(entries)
    fill(journal, frames=1)
    data = bytearray(journal.disk.read(PATH))
    at = data.find(entries[3].correlation_id.encode())
    data[at] ^= 1
    with pytest.raises(JournalCorruptError) as error:
        MemoryJournal.open(PATH, disk=disk_with(bytes(data)))
    assert error.value.first_bad_seq == entries[3].seq


def test_swapped_missing_or_repeated_whole_frames_are_corruption_also_at_the_end() -> None:
    data, offsets, firsts = written_log(3)
    a, b, c = data[: offsets[1]], data[offsets[1] : offsets[2]], data[offsets[2] :]
    for wrong, bad_seq in (
        (b + a + c, firsts[0]),
        (a + c + b, firsts[1]),
        (a + c, firsts[1]),
        (a + b + b, firsts[2]),
        (a + a, firsts[1]),
    ):
        with pytest.raises(JournalCorruptError) as error:
            MemoryJournal.open(PATH, disk=disk_with(wrong))
        assert error.value.first_bad_seq == bad_seq


def test_damage_that_comes_after_opening_is_found_while_reading() -> None:
    data, offsets, firsts = written_log(3)
    disk = disk_with(data)
    journal = MemoryJournal.open(PATH, disk=disk)
    disk.replace(PATH, data[: offsets[1] + 30] + b"?" + data[offsets[1] + 31 :])
    read = []
    with pytest.raises(JournalCorruptError) as error:
        for entry in journal.read():
            read.append(entry)
    assert error.value.first_bad_seq == firsts[1]
    assert len(read) == 2


def test_a_log_of_another_shard_is_refused() -> None:
    data, _, _ = written_log(1)
    with pytest.raises(JournalCorruptError):
        MemoryJournal.open(PATH, disk=disk_with(data), shard=1)


def test_a_crash_loses_nothing_that_append_has_returned() -> None:
    journal = MemoryJournal.fresh()
    written = fill(journal, frames=4)
    journal.disk.crash()
    with pytest.raises(JournalError):
        journal.append(follow(journal, 1))
    again = MemoryJournal.open(PATH, disk=journal.disk)
    assert list(again.read()) == written
    assert again.epoch == 2


def test_a_lost_epoch_file_does_not_let_an_epoch_come_twice() -> None:
    journal = MemoryJournal.fresh()
    fill(journal, frames=1)
    journal.close()
    journal.disk.remove(Path("journal.epoch"))
    assert MemoryJournal.open(PATH, disk=journal.disk).epoch == 2


def test_a_file_that_grew_under_the_writer_fences_it() -> None:
    journal = MemoryJournal.fresh()
    fill(journal, frames=1)
    stranger = journal.disk.append_to(PATH)
    stranger.write(b"x")
    with pytest.raises(FencedError):
        journal.append(follow(journal, 1))
    assert journal.disk.read(PATH).endswith(b"x")


class FailingDisk(MemoryDisk):
    """Writes half of the next frame, or fails its sync, with the given error."""

    fail_write = 0
    fail_sync = 0

    def _write(self, path: Path, image: _Image, data: bytes) -> None:
        if self.fail_write:
            super()._write(path, image, data[: len(data) // 2])
            raise OSError(self.fail_write, "injected")
        super()._write(path, image, data)

    def _sync(self, path: Path, image: _Image) -> None:
        if self.fail_sync:
            raise OSError(self.fail_sync, "injected")
        super()._sync(path, image)

    def _surviving(self, path: Path, unsynced: bytes) -> bytes:
        return unsynced[:-1]


@pytest.mark.parametrize(("write", "sync"), [(errno.ENOSPC, 0), (0, errno.EIO)])
def test_after_a_failed_append_the_journal_refuses_until_reopened(write: int, sync: int) -> None:
    disk = FailingDisk()
    journal = MemoryJournal.open(PATH, disk=disk)
    written = fill(journal, frames=2)
    disk.fail_write, disk.fail_sync = write, sync
    with pytest.raises(JournalError, match="injected"):
        journal.append(follow(journal, 1))
    disk.fail_write = disk.fail_sync = 0
    with pytest.raises(JournalError, match="reopen"):
        journal.append(follow(journal, 1))
    with pytest.raises(JournalError, match="reopen"):
        journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, b""))
    assert list(journal.read()) == written
    disk.crash()
    again = MemoryJournal.open(PATH, disk=disk)
    assert again.recovered is not None
    assert list(again.read()) == written


def test_a_log_of_several_megabytes_is_read_from_the_middle(tmp_path: Path) -> None:
    journal = LogJournal.open(tmp_path / "log")
    for number in range(31):
        journal.append(follow(journal, 400, seed=number))
    records = list(journal.records())
    assert len(journal._marks) > 2
    for at in (0, 299, 5_000, len(records) - 2):
        seq = records[at].entry.last_seq
        assert journal.head_at(seq) == records[at].hash
        assert next(journal.read(seq)) == records[at + 1].entry
    journal.close()
    reader = LogJournal.open_readonly(tmp_path / "log")
    assert next(reader.read(records[5_000].entry.last_seq)) == records[5_001].entry
