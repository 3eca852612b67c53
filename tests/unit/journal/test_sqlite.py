"""What only the SQLite adapter can get wrong: its transactions, its file, its process."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from qtinfra.core.exceptions import FencedError, JournalCorruptError, JournalError
from qtinfra.core.ports import Snapshot
from qtinfra.journal.codec import Chain, encode_frame, encode_snapshot
from qtinfra.journal.sqlite import _INSERT, SqliteJournal
from qtinfra.testing.journal_contract import fill, follow, sample_entries

pytestmark = pytest.mark.integration


@contextmanager
def edit(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as db, db:
        yield db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shard.db"


def written(path: Path, frames: int, per_frame: int = 3) -> list[int]:
    """A closed journal of so many frames; the first sequence of each."""
    journal = SqliteJournal.open(path)
    firsts = []
    for number in range(frames):
        firsts.append(journal.head.seq + 1)
        journal.append(follow(journal, per_frame, seed=number))
    journal.close()
    return firsts


def test_commits_are_synced_in_a_write_ahead_log(path: Path) -> None:
    journal = SqliteJournal.open(path)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    journal.close()
    again = SqliteJournal.open(path)
    assert again._db.execute("PRAGMA synchronous").fetchone() == (2,)
    again.close()


def test_a_frame_is_one_row_and_the_tables_are_strict(path: Path) -> None:
    firsts = written(path, frames=4)
    with edit(path) as db:
        assert [row[0] for row in db.execute("SELECT first_seq FROM frame ORDER BY 1")] == firsts
        assert {row[5] for row in db.execute("PRAGMA table_list") if not row[1].startswith("sqlite")} == {1}
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO frame SELECT * FROM frame LIMIT 1")


def test_a_writer_whose_epoch_was_taken_is_fenced_in_the_transaction(path: Path) -> None:
    journal = SqliteJournal.open(path)
    fill(journal, frames=1)
    with edit(path) as db:
        db.execute("UPDATE owner SET epoch = 9")
    with pytest.raises(FencedError) as error:
        journal.append(follow(journal, 1))
    assert error.value.context["stored_epoch"] == 9
    journal.close()
    with reading(path) as reader:
        assert len(list(reader.read())) == 3


@contextmanager
def reading(path: Path) -> Iterator[SqliteJournal]:
    reader = SqliteJournal.open_readonly(path)
    yield reader
    reader.close()


def test_an_append_onto_another_end_than_expected_is_fenced_and_not_written(path: Path) -> None:
    journal = SqliteJournal.open(path)
    stranger = Chain(0, epoch=1).seal(sample_entries(2, seed=77))
    header = stranger.header
    with edit(path) as db:
        row = (0, header.first_seq, header.last_seq, 1, header.prev_hash, stranger.last_hash)
        db.execute("INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, encode_frame(stranger)))
    with pytest.raises(FencedError) as error:
        journal.append(follow(journal, 1))
    assert (error.value.context["expected_seq"], error.value.context["stored_seq"]) == (0, header.last_seq)
    journal.close()
    with reading(path) as reader:
        assert reader.head.hash == stranger.last_hash


def test_a_rolled_back_end_is_fenced_too(path: Path) -> None:
    journal = SqliteJournal.open(path)
    fill(journal, frames=2)
    with edit(path) as db:
        db.execute("DELETE FROM frame WHERE first_seq > 1")
    with pytest.raises(FencedError):
        journal.append(follow(journal, 1))
    journal.close()


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM frame",
        "DELETE FROM owner",
        "UPDATE frame SET hash = zeroblob(32) WHERE first_seq > 1",
        "UPDATE frame SET last_seq = last_seq + 1 WHERE first_seq > 1",
    ],
)
def test_any_other_end_or_owner_than_the_one_left_behind_is_fenced_and_nothing_is_written(
    path: Path, change: str
) -> None:
    journal = SqliteJournal.open(path)
    fill(journal, frames=2)
    with edit(path) as db:
        db.execute(change)
        before = db.execute("SELECT count(*) FROM frame").fetchone()
    with pytest.raises(FencedError):
        journal.append(follow(journal, 1))
    journal.close()
    with edit(path) as db:
        assert db.execute("SELECT count(*) FROM frame").fetchone() == before


def test_a_row_refused_for_another_reason_than_its_epoch_is_not_called_fenced(path: Path) -> None:
    journal = SqliteJournal.open(path)
    fill(journal, frames=2)
    with edit(path) as db:
        db.execute("UPDATE frame SET first_seq = last_seq + 1 WHERE first_seq > 1")
    with pytest.raises(JournalError, match="UNIQUE constraint failed") as error:
        journal.append(follow(journal, 1))
    assert not isinstance(error.value, FencedError)
    journal.close()


def test_an_append_goes_into_the_table_without_a_temporary_one(path: Path) -> None:
    written(path, frames=1)
    with edit(path) as db:
        steps = {row[1] for row in db.execute(f"EXPLAIN {_INSERT}", (0,) * _INSERT.count("?"))}
    assert "Insert" in steps
    assert "OpenEphemeral" not in steps


def test_after_a_failed_append_the_journal_refuses_until_reopened(path: Path) -> None:
    journal = SqliteJournal.open(path)
    fill(journal, frames=1)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match="full"):
        journal.append(follow(journal, 400))
    journal._db.execute("PRAGMA max_page_count = 1000000")
    with pytest.raises(JournalError, match="reopen"):
        journal.append(follow(journal, 1))
    journal.close()
    again = SqliteJournal.open(path)
    assert len(list(again.read())) == 3
    fill(again, frames=1)
    again.close()


@pytest.mark.parametrize("column", ["last_seq", "epoch", "prev_hash", "hash", "blob"])
def test_an_edited_row_is_refused_at_opening_and_names_the_sequence(path: Path, column: str) -> None:
    firsts = written(path, frames=5)
    with edit(path) as db:
        change = (
            "last_seq + 1" if column == "last_seq" else "epoch + 1" if column == "epoch" else "zeroblob(32)"
        )
        db.execute(f"UPDATE frame SET {column} = {change} WHERE first_seq = ?", (firsts[2],))
    for opening in (SqliteJournal.open, SqliteJournal.open_readonly):
        with pytest.raises(JournalCorruptError) as error:
            opening(path)
        assert error.value.first_bad_seq == firsts[2]
    with edit(path) as db:
        assert db.execute("SELECT epoch FROM owner").fetchone() == (1,)


def test_a_flipped_bit_in_a_blob_names_the_record_that_it_hit(path: Path) -> None:
    firsts = written(path, frames=5)
    entries = sample_entries(3, after_seq=firsts[2] - 1, seed=2)
    with edit(path) as db:
        blob = bytearray(db.execute("SELECT blob FROM frame WHERE first_seq = ?", (firsts[2],)).fetchone()[0])
        blob[blob.find(f"r{entries[1].seq}".encode())] ^= 1
        db.execute("UPDATE frame SET blob = ? WHERE first_seq = ?", (bytes(blob), firsts[2]))
    with pytest.raises(JournalCorruptError) as error:
        SqliteJournal.open(path)
    assert error.value.first_bad_seq == entries[1].seq


def test_a_flipped_bit_anywhere_in_the_file_is_found_or_harmless(path: Path) -> None:
    written(path, frames=12, per_frame=8)
    good = path.read_bytes()
    with reading(path) as reader:
        whole = [record.hash for record in reader.records()]
    for at in range(101, len(good), 487):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x08]) + good[at + 1 :])
        try:
            journal = SqliteJournal.open_readonly(path)
        except JournalError:
            continue
        assert [record.hash for record in journal.records()] == whole
        journal.close()


def test_tail_verification_starts_at_the_newest_intact_snapshot(path: Path) -> None:
    journal = SqliteJournal.open(path)
    fill(journal, frames=3)
    journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, b"s"))
    after = journal.head.seq + 1
    fill(journal, frames=3)
    journal.close()
    with edit(path) as db:
        db.execute("UPDATE frame SET blob = zeroblob(9) WHERE first_seq = 1")
    SqliteJournal.open(path, verify="tail").close()
    with pytest.raises(JournalCorruptError) as error:
        SqliteJournal.open(path, verify="full")
    assert error.value.first_bad_seq == 1
    with edit(path) as db:
        db.execute("UPDATE frame SET blob = zeroblob(9) WHERE first_seq = ?", (after,))
    with pytest.raises(JournalCorruptError) as error:
        SqliteJournal.open(path, verify="tail")
    assert error.value.first_bad_seq == after


def test_tail_verification_does_not_start_at_a_snapshot_off_the_chain(path: Path) -> None:
    firsts = written(path, frames=3)
    end = firsts[2] - 1
    with edit(path) as db:
        stray = encode_snapshot(Snapshot(0, end, bytes(32), b"other chain"))
        db.execute("INSERT INTO snapshot VALUES (0, ?, ?)", (end, stray))
        db.execute("UPDATE frame SET blob = zeroblob(9) WHERE first_seq = 1")
    with pytest.raises(JournalCorruptError) as error:
        SqliteJournal.open(path, verify="tail")
    assert error.value.first_bad_seq == 1


def test_a_last_row_that_the_index_has_lost_is_not_taken_for_the_end(path: Path) -> None:
    firsts = written(path, frames=3)
    with edit(path) as db:
        name = "sqlite_autoindex_frame_1"
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    cells = (root - 1) * size + 3
    assert data[cells : cells + 2] == b"\x00\x03"
    data[cells + 1] = 2
    path.write_bytes(data)
    with pytest.raises(JournalCorruptError, match="integrity check") as error:
        SqliteJournal.open(path)
    assert error.value.first_bad_seq == firsts[2]


def test_a_schema_that_sqlite_cannot_even_quote_is_damage_and_no_crash(path: Path) -> None:
    journal = SqliteJournal.open(path)
    journal.append(sample_entries(2))
    journal.close()
    data = path.read_bytes()
    assert data.count(b"CREATE TABLE snapshot") == 1
    path.write_bytes(data.replace(b"CREATE TABLE snapshot", b"CREATE T\x95BLE snapshot"))
    for opened in (SqliteJournal.open, SqliteJournal.open_readonly):
        with pytest.raises(JournalCorruptError, match="the schema is damaged"):
            opened(path)


def test_files_that_are_no_journal_are_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 50)
    with pytest.raises(JournalError):
        SqliteJournal.open(path)
    path.unlink()
    with edit(path) as db:
        db.execute("CREATE TABLE other (x)")
    with pytest.raises(JournalError, match="not a journal"):
        SqliteJournal.open(path)
    with edit(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("other",)]


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        SqliteJournal.open(tmp_path / "missing" / "shard.db")


def test_shards_in_one_file_have_chains_of_their_own(path: Path) -> None:
    for shard in (0, 1):
        journal = SqliteJournal.open(path, shard=shard)
        journal.append(sample_entries(2, shard=shard))
        journal.close()
    again = SqliteJournal.open(path, shard=1)
    assert (again.epoch, len(list(again.read()))) == (2, 2)
    again.close()


HOLDER = """
import sys
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.journal_contract import fill
journal = SqliteJournal.open(sys.argv[1], owner="holder")
fill(journal, frames=2)
sys.stdout.write("open\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_living_process_keeps_others_out_and_a_killed_one_does_not(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(FencedError, match=f"pid {holder.pid} holder"):
            SqliteJournal.open(path)
        holder.kill()
        holder.wait()
    journal = SqliteJournal.open(path)
    assert (journal.epoch, len(list(journal.read()))) == (2, 6)
    journal.close()
