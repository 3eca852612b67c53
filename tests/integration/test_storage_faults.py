"""Disks that fail under a real engine, by our own preloaded library (FM-01, FM-03, FM-05, FM-06).

QTINFRA_STORAGE_FAULTS sets the number of faults (default 16), QTINFRA_CRASH_SEED the seed.
"""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from qtinfra.journal.disk import drop_cached
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.journal_contract import sample_entries
from qtinfra.testing.prove import shim
from qtinfra.testing.prove.shim import Fault, StorageReport, build_shim, run_storage_faults, settings

pytestmark = pytest.mark.integration

FAULTS = int(os.environ.get("QTINFRA_STORAGE_FAULTS", "16"))
SEED = int(os.environ.get("QTINFRA_CRASH_SEED", "1"))
JOURNALS = ("journal.db", "journal.log")
FRAMES = 700
FRAME_ENTRIES = 2

# Appends frames, one line "acknowledged N" each; the plan (JSON) is armed when the journal is open.
WRITER = """
import ctypes, json, os, sys
from qtinfra.core.exceptions import JournalError
from qtinfra.core.ports import Snapshot
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.journal_contract import sample_entries

path, plan, frames, each, snapshots = sys.argv[1], json.loads(sys.argv[2]), *map(int, sys.argv[3:])
entries = sample_entries(frames * each)
disk = ctypes.CDLL(None)
disk.fsfault_count.restype = ctypes.c_long
journal = (LogJournal if path.endswith(".log") else SqliteJournal).open(path)
os.environ.update(plan)
disk.fsfault_arm()
say = lambda text: print(text, flush=True)
try:
    for i in range(frames):
        head = journal.append(entries[i * each : (i + 1) * each])
        say(f"acknowledged {i + 1}")
        if snapshots and i == 2:
            try:
                journal.save_snapshot(Snapshot(0, head.seq, head.hash, bytes(20_000)))
            except JournalError:
                say("no snapshot")
except JournalError as error:
    say(f"stopped {type(error).__name__}")
    say(f"syncs_after_fault {disk.fsfault_count(4)}")
    try:
        journal.append(entries[:each])
    except JournalError as again:
        say("refuses" if "reopen it" in str(again) else "again")
say(f"faults {disk.fsfault_count(3)}")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shim.compiler():
        pytest.skip("no C compiler")
    return build_shim(tmp_path_factory.mktemp("shim"))


def write(library: Path, path: Path, fault: Fault, *, snapshots: bool = False) -> tuple[list[str], int]:
    """What a writer says on a disk with this fault, and its exit status."""
    plan = msgspec.json.encode(settings(fault, path)).decode()
    arguments = [str(path), plan, str(FRAMES), str(FRAME_ENTRIES), str(int(snapshots))]
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    command = [sys.executable, "-c", WRITER, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout.splitlines(), done.returncode


def recovered(path: Path) -> int:
    """Frames that a restart finds, each verified and as it was written."""
    kind: type[LogJournal] | type[SqliteJournal] = LogJournal if path.suffix == ".log" else SqliteJournal
    with closing(kind.open(path)) as journal:
        found = list(journal.read())
    assert found == sample_entries(FRAMES * FRAME_ENTRIES)[: len(found)]
    assert len(found) % FRAME_ENTRIES == 0
    return len(found) // FRAME_ENTRIES


def acknowledged(said: list[str]) -> int:
    return sum(line.startswith("acknowledged") for line in said)


# -- the engine, whole -----------------------------------------------------------------------------------


def test_an_engine_on_a_failing_disk_stops_and_its_next_life_has_all_that_was_acknowledged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = run_storage_faults(FAULTS, SEED)
    if report.skipped:
        pytest.skip(report.skipped)
    with capsys.disabled():
        sys.stdout.write(f"\n{msgspec.json.encode(report).decode()}\n")
    assert report.passed, report.examples
    assert sum(report.fired.values()) + report.not_reached == FAULTS
    assert report.fired and report.stops and report.told_unknown
    assert [control.bug for control in report.controls] == ["retry_sync"]
    assert msgspec.json.decode(msgspec.json.encode(report), type=StorageReport) == report


def test_without_a_compiler_nothing_is_run_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    report = run_storage_faults(10, SEED)
    assert (report.skipped, report.lives, report.passed) == ("no C compiler", 0, False)
    with pytest.raises(FileNotFoundError, match="no C compiler"):
        build_shim(Path())


# -- the journals alone, at exact places -----------------------------------------------------------------


@pytest.mark.parametrize("journal", JOURNALS)
def test_fm_05_a_refused_sync_stops_the_journal_and_is_not_tried_again(
    library: Path, tmp_path: Path, journal: str
) -> None:
    path = tmp_path / journal
    said, _ = write(library, path, Fault("FAIL_SYNC", "5"))
    assert said[-4:] == ["stopped JournalError", "syncs_after_fault 0", "refuses", "faults 1"]
    assert acknowledged(said) <= 4
    assert acknowledged(said) <= recovered(path) <= acknowledged(said) + 1


def test_fm_05_a_sync_that_is_refused_in_sqlites_checkpoint_stops_the_journal(
    library: Path, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    said, _ = write(library, path, Fault("FAIL_SYNC", "1", suffix=""))
    assert said[-4:] == ["stopped JournalError", "syncs_after_fault 0", "refuses", "faults 1"]
    assert 0 < acknowledged(said) <= recovered(path) <= acknowledged(said) + 1


@pytest.mark.parametrize("journal", JOURNALS)
def test_fm_05_a_sync_that_is_refused_under_a_snapshot_stops_the_journal_too(
    library: Path, tmp_path: Path, journal: str
) -> None:
    path = tmp_path / journal
    said, _ = write(library, path, Fault("FAIL_SYNC", "4"), snapshots=True)
    assert said[3:] == ["no snapshot", "stopped JournalError", "syncs_after_fault 0", "refuses", "faults 1"]
    assert recovered(path) == 3


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("room", [0, 1, 5_000, 40_000])
def test_fm_06_a_full_disk_stops_the_journal_and_loses_nothing(
    library: Path, tmp_path: Path, journal: str, room: int
) -> None:
    path = tmp_path / journal
    said, _ = write(library, path, Fault("NO_SPACE", str(room)))
    assert "stopped JournalError" in said and "refuses" in said
    assert acknowledged(said) <= recovered(path) <= acknowledged(said) + 1


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("torn", ["1:0", "2:1", "3:7", "4:24", "9:100", "30:4000"])
def test_fm_03_a_torn_write_leaves_what_was_acknowledged_and_nothing_half(
    library: Path, tmp_path: Path, journal: str, torn: str
) -> None:
    path = tmp_path / journal
    said, status = write(library, path, Fault("TORN_WRITE", torn))
    assert status == -signal.SIGKILL
    assert acknowledged(said) <= recovered(path) <= acknowledged(said) + 1


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("kind", ["KILL_BEFORE_SYNC", "KILL_AFTER_SYNC"])
@pytest.mark.parametrize("nth", [1, 2, 7])
def test_fm_01_death_on_either_side_of_a_sync_loses_nothing_acknowledged(
    library: Path, tmp_path: Path, journal: str, kind: str, nth: int
) -> None:
    path = tmp_path / journal
    said, status = write(library, path, Fault(kind, str(nth)))
    assert status == -signal.SIGKILL
    assert acknowledged(said) <= nth
    assert acknowledged(said) <= recovered(path) <= acknowledged(said) + 1


def test_the_write_ahead_log_is_moved_into_the_file_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    largest = 0
    with closing(SqliteJournal.open(path)) as journal:
        for entry in sample_entries(1500):
            journal.append([entry])
            largest = max(largest, path.with_name("journal.db-wal").stat().st_size)
        assert largest < 6 << 20
        assert path.stat().st_size > 100_000


def test_an_opening_reads_sqlites_files_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    dropped: list[str] = []

    def note(handle: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        dropped.append(Path(f"/proc/self/fd/{handle}").readlink().name)

    with closing(SqliteJournal.open(path)) as journal:
        journal.append(sample_entries(1))
        for name in ("journal.db", "journal.db-wal"):
            (tmp_path / "copy").mkdir(exist_ok=True)
            (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    monkeypatch.setattr(os, "posix_fadvise", note)
    with closing(SqliteJournal.open(tmp_path / "copy" / "journal.db")) as journal:
        assert journal.head.seq == sample_entries(1)[-1].last_seq
    assert dropped == ["journal.db", "journal.db-wal"]
    drop_cached(tmp_path / "absent")


def test_a_fault_concerns_the_files_below_its_path_only() -> None:
    plan = settings(Fault("FAIL_SYNC", "3", suffix="-wal"), Path("/a/journal.db"))
    assert (plan["FSFAULT_PATH"], plan["FSFAULT_EXACT"]) == ("/a/journal.db-wal", "1")
    assert (plan["FSFAULT_FAIL_SYNC"], plan["FSFAULT_NO_SPACE"]) == ("3", "")
    assert settings(None, Path("/a/journal.log"))["FSFAULT_PATH"] == "/a/"
