"""The two disks: what is synced survives, what is not does not, and a lock has one holder."""

import os
from pathlib import Path

import pytest

from qtinfra.core.exceptions import FencedError
from qtinfra.journal.disk import Disk, MemoryDisk, RealDisk

pytestmark = pytest.mark.unit


@pytest.fixture(params=[RealDisk, MemoryDisk])
def disk(request: pytest.FixtureRequest) -> Disk:
    made: Disk = request.param()
    return made


def test_appended_bytes_are_read_back_whole_and_in_parts(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a"
    file = disk.append_to(path)
    file.write(b"hello ")
    file.write(b"world")
    file.sync()
    assert disk.read(path) == b"hello world"
    assert disk.read(path, 6) == b"world"
    assert disk.read(path, 4, 3) == b"o w"
    assert disk.read(path, 99, 3) == b""
    file.truncate(5)
    file.write(b"!")
    file.close()
    assert (disk.read(path), disk.size(path)) == (b"hello!", 6)
    again = disk.append_to(path)
    again.write(b"?")
    again.close()
    assert disk.read(path) == b"hello!?"


def test_a_closed_file_takes_no_more(disk: Disk, tmp_path: Path) -> None:
    file = disk.append_to(tmp_path / "a")
    file.close()
    file.close()
    with pytest.raises(OSError, match=r"[Bb]ad file"):
        file.write(b"x")


def test_replace_remove_and_siblings(disk: Disk, tmp_path: Path) -> None:
    for name in ("j.2", "j.1", "k"):
        disk.replace(tmp_path / name, b"old")
        disk.replace(tmp_path / name, name.encode())
    assert disk.siblings(tmp_path / "j.") == [tmp_path / "j.1", tmp_path / "j.2"]
    assert disk.read(tmp_path / "j.1") == b"j.1"
    disk.remove(tmp_path / "j.1")
    assert not disk.exists(tmp_path / "j.1")
    for missing in (disk.read, disk.size, disk.remove):
        with pytest.raises(FileNotFoundError):
            missing(tmp_path / "j.1")


def test_a_lock_has_one_holder_whose_note_the_others_read(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = disk.lock(path, "pid 1 a")
    with pytest.raises(FencedError, match="pid 1 a"):
        disk.lock(path, "pid 2 b")
    lock.release()
    lock.release()
    disk.lock(path, "pid 2 b").release()


def test_a_released_lock_is_free_although_a_forked_process_has_a_copy_of_its_file(tmp_path: Path) -> None:
    path, disk = tmp_path / "lock", RealDisk()
    lock = disk.lock(path, "pid 1 a")
    copy = os.dup(lock._handle)
    lock.release()
    disk.lock(path, "pid 2 b").release()
    os.close(copy)


def test_a_crash_takes_unsynced_bytes_open_files_and_locks() -> None:
    disk, path = MemoryDisk(), Path("a")
    file = disk.append_to(path)
    file.write(b"synced")
    file.sync()
    file.write(b" lost")
    disk.lock(Path("lock"), "me")
    disk.crash()
    assert disk.read(path) == b"synced"
    with pytest.raises(OSError, match=r"[Bb]ad file"):
        file.write(b"x")
    disk.lock(Path("lock"), "you")


def test_a_truncation_that_was_not_synced_is_undone_by_a_crash() -> None:
    disk, path = MemoryDisk(), Path("a")
    file = disk.append_to(path)
    file.write(b"abcdef")
    file.sync()
    file.truncate(2)
    file.write(b"X")
    disk.crash()
    assert disk.read(path) == b"abcdef"
    file = disk.append_to(path)
    file.truncate(2)
    file.write(b"X")
    file.sync()
    disk.crash()
    assert disk.read(path) == b"abX"


def test_what_a_crash_leaves_of_unsynced_bytes_is_for_a_fault_model_to_say() -> None:
    class Torn(MemoryDisk):
        def _surviving(self, path: Path, unsynced: bytes) -> bytes:
            return unsynced[:2]

    disk, path = Torn(), Path("a")
    file = disk.append_to(path)
    file.write(b"12")
    file.sync()
    file.write(b"3456")
    disk.crash()
    assert disk.read(path) == b"1234"
