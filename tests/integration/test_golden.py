"""FM-27, FM-28, FM-36: what earlier versions wrote, or a backup holds, leads to the state and facts of then.

`tests/golden` has one numbered folder for each version of the records that was ever kept. None is written
again. When an event type is added, write the next one: `python -m qtinfra.testing.prove.golden write DIR`.
"""

import gzip
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from qtinfra.bootstrap import reading
from qtinfra.core import commands as cmd
from qtinfra.core.events import ChildAcked, Entry, EpochStarted, OrderFilled
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State, state_hash, state_version
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.replay import replay_journal
from qtinfra.testing.prove.golden import (
    EXPECTED,
    JOURNALS,
    NOT_COVERED,
    check,
    current_format,
    entries_in,
    event_names,
    expected,
    main,
    not_in,
    rehash,
    write,
    write_journal,
)
from qtinfra.testing.prove.golden_story import tell
from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.integration

CORPUS = REPO_ROOT / "tests" / "golden"
FORMATS = sorted((path for path in CORPUS.iterdir() if path.is_dir()), key=lambda path: int(path.name))
NEWEST = FORMATS[-1]
MOST_BYTES = 300_000

#: What differs from environment to environment: variables, options of the interpreter, umask, folder.
ENVIRONMENTS: dict[str, tuple[dict[str, str], tuple[str, ...], int, str]] = {
    "hash seed 0": ({"PYTHONHASHSEED": "0"}, (), 0o022, "a"),
    "hash seed 1": ({"PYTHONHASHSEED": "1"}, (), 0o022, "a"),
    "hash seed 4294967295": ({"PYTHONHASHSEED": "4294967295"}, (), 0o022, "a"),
    "random hash seed": ({"PYTHONHASHSEED": "random"}, (), 0o022, "a"),
    "New York": ({"TZ": "America/New_York"}, (), 0o022, "a"),
    "Kathmandu": ({"TZ": "Asia/Kathmandu"}, (), 0o022, "a"),
    "Kiritimati": ({"TZ": "Pacific/Kiritimati"}, (), 0o022, "a"),
    "no time zone": ({"TZ": ""}, (), 0o022, "a"),
    "locale C": ({"LC_ALL": "C"}, (), 0o022, "a"),
    "locale C.UTF-8": ({"LC_ALL": "C.UTF-8"}, (), 0o022, "a"),
    "German locale": ({"LC_ALL": "de_DE.UTF-8"}, (), 0o022, "a"),
    "Turkish locale": ({"LC_ALL": "tr_TR.UTF-8"}, (), 0o022, "a"),
    "UTF-8 mode": ({}, ("-X", "utf8"), 0o022, "a"),
    "no UTF-8 mode": ({"LC_ALL": "POSIX"}, ("-X", "utf8=0"), 0o022, "a"),
    "optimised": ({}, ("-O",), 0o022, "a"),
    "optimised twice": ({}, ("-OO",), 0o022, "a"),
    "development mode": ({}, ("-X", "dev"), 0o022, "a"),
    "umask 077": ({}, (), 0o077, "a"),
    "folder with blanks": ({}, (), 0o022, "ä folder with ünicode and blanks"),
    "everything": (
        {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        ("-O", "-X", "utf8"),
        0o027,
        "b/c",
    ),
}


def test_fm_28_the_newest_journals_have_the_format_that_this_version_writes() -> None:
    assert [path.name for path in FORMATS] == [str(number) for number in range(1, len(FORMATS) + 1)]
    assert expected(NEWEST).format == current_format()


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_fm_28_journals_of_every_version_lead_to_the_recorded_state_and_facts(folder: Path) -> None:
    golden, found = expected(folder), check(folder)
    assert [one.file for one in found] == list(JOURNALS)
    assert [one for one in found if not one.is_as(golden)] == []
    assert golden.records > 0


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_fm_28_what_a_venue_reported_is_held_by_its_event_in_every_version(folder: Path) -> None:
    """Version 1 had parts of the report as fields of its own; those after it hold the command's, as read."""
    held = 0
    for entry in entries_in(folder):
        if isinstance(entry.command, cmd.RecordVenueReport | cmd.RecordVenueReports):
            command = entry.command
            told = (command.report,) if isinstance(command, cmd.RecordVenueReport) else command.reports
            events = [event for event in entry.events if isinstance(event, ChildAcked | OrderFilled)]
            assert all(any(event.report is report for report in told) for event in events)
            held += len(events)
    assert held > 10


def test_fm_28_recovery_begins_at_the_snapshot_where_this_version_can_read_it(tmp_path: Path) -> None:
    by_file = {one.file: one.snapshot_seq for one in check(NEWEST)}
    assert by_file["journal.log"] == 0
    readable = state_version().encode() in gzip.decompress((NEWEST / "journal.sqlite.gz").read_bytes())
    assert bool(by_file["journal.sqlite"]) is readable
    write(tmp_path / "new")
    assert {one.file: bool(one.snapshot_seq) for one in check(tmp_path / "new")} == {
        "journal.log": False,
        "journal.sqlite": True,
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_fm_27_a_replay_gives_the_same_state_in_every_environment(name: str, tmp_path: Path) -> None:
    variables, options, umask, below = ENVIRONMENTS[name]
    place = tmp_path / below
    (place / "temporary").mkdir(parents=True)
    command = [sys.executable, *options, "-m", "qtinfra.testing.prove.golden", "check"]
    done = subprocess.run(
        [*command, str(NEWEST)],
        cwd=place,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPO_ROOT / "src"),
            "TMPDIR": str(place / "temporary"),
            **variables,
        },
        umask=umask,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = msgspec.json.decode(done.stdout)
    hashes = {one[kind] for one in answer["found"] for kind in ("state_hash", "recovered_hash")}
    assert hashes == {expected(NEWEST).state_hash}
    assert list((place / "temporary").iterdir()) == []


def test_there_are_twenty_environments_and_they_differ() -> None:
    assert len(ENVIRONMENTS) == 20
    assert len({msgspec.json.encode(terms) for terms in ENVIRONMENTS.values()}) == 20


def test_every_event_type_is_in_the_newest_journals_or_listed_with_a_reason() -> None:
    assert not_in(entries_in(NEWEST)) == sorted(NOT_COVERED)
    assert not_in(tell()) == sorted(NOT_COVERED)
    assert all(NOT_COVERED.values())
    assert len(event_names()) > 60


def test_an_event_type_that_is_missing_from_the_session_is_named() -> None:
    entries = [entry for entry in tell() if not any(isinstance(event, OrderFilled) for event in entry.events)]
    assert "OrderFilled" in not_in(entries)


def test_writing_the_corpus_twice_gives_the_same_log_byte_for_byte(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert first == second
    assert (tmp_path / "a" / "journal.log.gz").read_bytes() == (
        tmp_path / "b" / "journal.log.gz"
    ).read_bytes()


def test_a_corpus_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "a")
    with pytest.raises(FileExistsError):
        write(tmp_path / "a")


def test_a_journal_that_leads_elsewhere_than_recorded_fails_the_check(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    golden = write(tmp_path / "a")
    assert main(["check", str(tmp_path / "a")]) == 0
    other = msgspec.structs.replace(golden, state_hash="0" * 64)
    (tmp_path / "a" / EXPECTED).write_bytes(msgspec.json.encode(other))
    assert main(["check", str(tmp_path / "a")]) == 1
    assert golden.state_hash in capfd.readouterr().out


def test_a_changed_state_hash_is_recorded_anew_only_where_the_facts_are_the_same(tmp_path: Path) -> None:
    golden = write(tmp_path / "a")
    for change, fits in (({"state_hash": "0" * 64}, True), ({"facts_hash": "0" * 64}, False)):
        other = msgspec.structs.replace(golden, **change)
        (tmp_path / "a" / EXPECTED).write_bytes(msgspec.json.encode(other))
        if fits:
            assert rehash(tmp_path / "a") == golden
        else:
            with pytest.raises(ValueError, match="no change of layout"):
                rehash(tmp_path / "a")


@pytest.mark.parametrize("kept", [1, 40, 90])
def test_fm_36_a_restored_backup_leads_to_the_state_that_was_recorded_at_its_sequence(
    tmp_path: Path, kept: int
) -> None:
    entries = tell()[:kept]
    live, backup = tmp_path / "live.sqlite", tmp_path / "backup.sqlite"
    write_journal(live, entries)
    state = State()
    for entry in entries:
        replay(state, entry)
    with closing(sqlite3.connect(live)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    with closing(SqliteJournal.open(live, owner="later")) as journal:
        later = cmd.StartEpoch(journal.epoch, "later")
        event = EpochStarted(journal.epoch, "later")
        journal.append([Entry(0, journal.epoch, state.seq + 1, 0, 0, "", "", later, (), (event,))])
    with reading(backup) as restored:
        found = replay_journal(restored)
    assert (found.last_seq, found.state_hash) == (state.seq, state_hash(state))
    with reading(live) as grown:
        assert replay_journal(grown).state_hash != state_hash(state)


def test_the_corpus_is_small_enough_to_be_kept_for_ever() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*.gz")) < MOST_BYTES
