"""A journal in a SQLite file: write-ahead log, synchronous=FULL, one row per frame.

`<path>.lock` keeps a second writer out while the first lives. The owner's epoch and the expected end are
checked in the transaction that appends. Commits lost with a damaged or deleted `-wal` file look like a
journal that ends earlier: only a snapshot or an anchored head shows that (`journal.anchor`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from qtinfra.core.exceptions import JournalCorruptError, JournalError
from qtinfra.core.ports import Head
from qtinfra.journal.base import Follower, FrameJournal, StoredFrame, Verify, holder_note
from qtinfra.journal.codec import GENESIS, Blob, FrameHeader, SealedFrame, corrupt
from qtinfra.journal.disk import RealDisk, drop_cached, sync_folder
from qtinfra.journal.reserve import Reserve, reserve_path
from qtinfra.journal.versions import UPCASTERS, Upcasters

_SCHEMA = """
CREATE TABLE frame (
    shard INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    prev_hash BLOB NOT NULL,
    hash BLOB NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (shard, first_seq)
) STRICT;
CREATE TABLE owner (
    shard INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    name TEXT NOT NULL
) STRICT;
CREATE TABLE snapshot (
    shard INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    blob BLOB NOT NULL,
    PRIMARY KEY (shard, seq)
) STRICT;
"""
#: "QTIJ": marks the file as ours; user_version is the layout's version.
_APPLICATION_ID = 0x5154494A
_LAYOUT = 1
_PAGE_ROWS = 64
_BUSY_SECONDS = 5
#: When the write-ahead log is moved into the file: SQLite's own default, in pages of its default size. A
#: commit writes about this many beside those that hold its blob.
_CHECKPOINT_PAGES = 1000
_PAGE_BYTES = 4096
_PAGES_PER_COMMIT = 3

_END = "SELECT last_seq, hash FROM frame WHERE shard = ? ORDER BY first_seq DESC LIMIT 1"
_EPOCH = "SELECT epoch FROM owner WHERE shard = ?"
#: One statement, so that it is a transaction by itself: the owner's epoch and the end are looked at under the
#: write lock, and the thread gives the interpreter away once instead of at each of five statements. The epoch
#: that is written is the owner's, if that is ours and the journal ends where we left it; else there is none,
#: and a row needs one. With these conditions in a WHERE, SQLite writes the row into a temporary table first.
_INSERT = (
    "INSERT INTO frame (shard, first_seq, last_seq, prev_hash, hash, blob, epoch) VALUES (?, ?, ?, ?, ?, ?, "
    "(SELECT epoch FROM owner WHERE shard = ? AND epoch = ? AND coalesce("
    "(SELECT last_seq = ? AND hash = ? FROM frame WHERE shard = ? ORDER BY first_seq DESC LIMIT 1), ? = 0)))"
)
_PAGE = (
    "SELECT shard, epoch, first_seq, last_seq, prev_hash, hash, blob FROM frame "
    "WHERE shard = ? AND first_seq >= ? ORDER BY first_seq LIMIT ?"
)
_ROW_TYPES = (int, int, int, int, bytes, bytes, bytes)
_FIRST = "SELECT max(first_seq) FROM frame WHERE shard = ? AND first_seq <= ?"
_TAKE = (
    "INSERT INTO owner (shard, epoch, name) VALUES (?, ?, ?) "
    "ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch, name = excluded.name"
)


class SqliteJournal(FrameJournal):
    """`Journal` in a SQLite file. Use `open` or `open_readonly`."""

    def __init__(
        self, db: sqlite3.Connection, shard: int, *, writable: bool, upcasters: Upcasters = UPCASTERS
    ) -> None:
        super().__init__(shard, writable=writable, upcasters=upcasters)
        self._db = db
        self._unchecked_pages = 0
        self._held = ExitStack()
        self._held.callback(db.close)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        shard: int = 0,
        owner: str = "",
        verify: Verify = "full",
        upcasters: Upcasters = UPCASTERS,
        reserve_bytes: int = 0,
        follower: Follower | None = None,
    ) -> Self:
        """Take the shard for writing: lock the file, verify, begin a new epoch.

        Args:
            follower: gets the records that a recovery needs as they are verified, if those are among them.
            reserve_bytes: space held back for a full disk; `reserve.RESERVE_BYTES` is for 10,000 cancels.
            verify: "full" checks every record and the file's structure; "tail" the records since the newest
                intact snapshot.

        Raises:
            FencedError: a living writer holds the file; the message names it.
            JournalCorruptError: names the first sequence that does not verify; nothing was changed.
            JournalError: the file could not be used.
        """
        place = Path(path)
        with ExitStack() as stack:
            try:
                lock = RealDisk().lock(place.with_name(place.name + ".lock"), holder_note(owner))
            except OSError as error:
                raise JournalError(f"cannot open {place}: {error}") from error
            stack.callback(lock.release)
            _read_from_disk(place)
            with _explained(f"open {place}", 1):
                db = _connect(str(place), uri=False)
                stack.callback(db.close)
                _prepare(db)
                sync_folder(place.absolute().parent)
            journal = cls(db, shard, writable=True, upcasters=upcasters)
            journal._load(verify, follower)
            with _explained(f"open {place}", journal._head.seq + 1):
                journal._take(owner)
            journal._reserve = Reserve(RealDisk(), reserve_path(place), reserve_bytes)
            journal._reserve.hold()
            stack.pop_all()
            journal._held = ExitStack()
            journal._held.callback(lock.release)
            journal._held.callback(db.close)
        return journal

    @classmethod
    def open_readonly(
        cls,
        path: str | os.PathLike[str],
        *,
        shard: int = 0,
        verify: Verify = "full",
        upcasters: Upcasters = UPCASTERS,
        follower: Follower | None = None,
    ) -> Self:
        """Verify and read without taking the shard; a writer may go on meanwhile.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
            JournalError: no such file, or it could not be used.
        """
        place = Path(path)
        if not place.is_file():
            raise JournalError(f"no journal at {place}")
        with ExitStack() as stack:
            with _explained(f"open {place}", 1):
                db = _connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)
                stack.callback(db.close)
                _check_kind(db)
            journal = cls(db, shard, writable=False, upcasters=upcasters)
            journal._load(verify, follower)
            stack.pop_all()
        return journal

    def close(self) -> None:
        self._refusal = self._refusal or "it is closed"
        self._held.close()

    # --- opening ------------------------------------------------------------------------------------------

    def _load(self, verify: Verify, follower: Follower | None) -> None:
        """Verify the chain; in full, also that SQLite finds its own structure sound."""
        newest = self._newest_intact()
        if verify == "tail":
            self._verify(newest, follower)
        else:
            self._verify(None, follower if newest is None else None)
        self._refuse_shorter_than(newest)
        if verify == "full":
            with _explained("check the file", self._head.seq + 1):
                verdict = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise corrupt(self._head.seq + 1, f"SQLite's integrity check says: {verdict}")

    def _take(self, owner: str) -> None:
        """Begin a new epoch, if the journal still ends where it was verified to end."""
        with _transaction(self._db):
            epoch, seq, digest = self._stored_end()
            if (seq, digest) != (self._head.seq, self._head.hash):
                raise self._fenced(epoch=epoch, seq=seq)
            mine = max(epoch, self._epoch) + 1
            self._db.execute(_TAKE, (self._shard, mine, owner))
        self._epoch = mine
        self._head = Head(self._shard, mine, self._head.seq, self._head.hash)

    def _stored_end(self) -> tuple[int, int, bytes]:
        """Epoch of the owner, last sequence and its hash, as stored."""
        epoch = self._db.execute(_EPOCH, (self._shard,)).fetchone()
        end = self._db.execute(_END, (self._shard,)).fetchone()
        seq, digest = end if end else (0, GENESIS)
        return (epoch[0] if epoch else 0), seq, digest

    # --- frames -------------------------------------------------------------------------------------------

    def _write(self, frame: SealedFrame) -> None:
        header = frame.header
        row = (
            header.shard,
            header.first_seq,
            header.last_seq,
            header.prev_hash,
            frame.last_hash,
            frame.blob,
        )
        with _explained("append", header.first_seq):
            try:
                self._insert(row)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._give_up_reserve():
                    raise
                self._insert(row)
            self._note_written(frame.blob)
            if self._unchecked_pages >= _CHECKPOINT_PAGES:
                self._checkpoint()

    def _note_written(self, blob: Blob) -> None:
        self._unchecked_pages += len(blob) // _PAGE_BYTES + _PAGES_PER_COMMIT

    def _checkpoint(self) -> None:
        """Move what is in the write-ahead log into the file.

        SQLite keeps quiet about the errors of a checkpoint that it begins by itself; here a disk that fails
        stops the journal. On a full disk the log goes on growing, and the next append tries again.
        """
        try:
            _, in_log, moved = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError as error:
            if _disk_failed(error):
                raise
        else:
            self._unchecked_pages = max(0, in_log - moved)

    def _insert(self, row: tuple[object, ...]) -> None:
        """One transaction: the frame, if the shard is ours and ends where we left it."""
        shard, head = self._shard, self._head
        expected = (shard, self._epoch, head.seq, head.hash, shard, head.seq)
        try:
            self._db.execute(_INSERT, row + expected)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_NOTNULL:
                raise
            epoch, seq, _ = self._stored_end()
            raise self._fenced(epoch=epoch, seq=seq) from error

    def _give_up_reserve(self) -> bool:
        try:
            return self._reserve is not None and self._reserve.release()
        except OSError as error:
            raise JournalError(f"cannot give up the reserve: {error}") from error

    def _stored(self, seq: int) -> Iterator[StoredFrame]:
        expected = max(seq, 1)
        with _explained("read", expected):
            start = self._db.execute(_FIRST, (self._shard, expected)).fetchone()[0]
        first = 0 if start is None or seq <= 1 else start
        while True:
            with _explained("read", expected):
                rows = self._db.execute(_PAGE, (self._shard, first, _PAGE_ROWS)).fetchall()
            for row in rows:
                if tuple(map(type, row)) != _ROW_TYPES:
                    raise corrupt(expected, "the row holds no frame")
                header = FrameHeader(*row[:5])
                yield StoredFrame(row[6], header, row[5])
                expected, first = header.last_seq + 1, header.first_seq + 1
            if len(rows) < _PAGE_ROWS:
                return

    # --- snapshots ----------------------------------------------------------------------------------------

    def _snapshots(self) -> list[tuple[int, bytes]]:
        with _explained("read the snapshots", self._head.seq + 1):
            rows = self._db.execute(
                "SELECT seq, blob FROM snapshot WHERE shard = ? ORDER BY seq DESC", (self._shard,)
            ).fetchall()
        return rows

    def _keep_snapshots(self, seq: int, blob: bytes, drop: list[int]) -> None:
        with _explained("save a snapshot", self._head.seq + 1):
            try:
                with _transaction(self._db):
                    row = (self._shard, seq, blob)
                    self._db.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)", row)
                    for old in drop:
                        self._db.execute(
                            "DELETE FROM snapshot WHERE shard = ? AND seq = ?", (self._shard, old)
                        )
            except sqlite3.OperationalError as error:
                if _disk_failed(error):
                    self._refusal = f"the disk failed under a snapshot: {error}"
                raise
        self._note_written(blob)


def _connect(where: str, *, uri: bool) -> sqlite3.Connection:
    return sqlite3.connect(
        where, uri=uri, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
    )


def _read_from_disk(place: Path) -> None:
    """What an opening verifies has to come from the disk.

    Raises:
        JournalError: it failed again.
    """
    try:
        for path in (place, place.with_name(f"{place.name}-wal")):
            drop_cached(path)
    except OSError as error:
        raise JournalError(f"cannot open {place}: {error}") from error


def _prepare(db: sqlite3.Connection) -> None:
    """Settings and tables. A file with another application's id or layout is left alone."""
    empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not empty:
        _check_kind(db)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    if not empty:
        return
    with _transaction(db):
        for statement in _SCHEMA.split(";")[:-1]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_LAYOUT}")


def _disk_failed(error: sqlite3.OperationalError) -> bool:
    """Whether the disk gave an error, of which "full" is not one."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR


def _check_kind(db: sqlite3.Connection) -> None:
    kind = db.execute("PRAGMA application_id").fetchone()[0]
    layout = db.execute("PRAGMA user_version").fetchone()[0]
    if (kind, layout) != (_APPLICATION_ID, _LAYOUT):
        raise JournalError(f"not a journal of layout {_LAYOUT}: application id {kind:#x}, version {layout}")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, durable at the end; takes the write lock at the start."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _is_damage(error: sqlite3.Error) -> bool:
    """ "Malformed", "not a database", or a text that is none, where a damaged row says that it is one. Other
    subclasses mean other things."""
    return type(error) is sqlite3.DatabaseError or str(error).startswith("Could not decode to UTF-8")


@contextmanager
def _explained(what: str, seq: int) -> Iterator[None]:
    """SQLite's errors in our terms: damage names the sequence it concerns, all else is a JournalError."""
    try:
        yield
    except sqlite3.Error as error:
        if _is_damage(error):
            raise JournalCorruptError(f"cannot {what}: {error}", first_bad_seq=seq) from error
        raise JournalError(f"cannot {what}: {error}") from error
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message
        raise JournalCorruptError(f"cannot {what}: the schema is damaged", first_bad_seq=seq) from error
