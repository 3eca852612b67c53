"""Revoked tokens on disk, so that a restart forgets none.

They decide who may come in and nothing about orders, so they are kept beside the journal and not in it; see
docs/adr/0011-revocations.md. The register in memory (`infra.security.revocation`) is asked at every use of a
token; it is filled from here at the start.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

from qtinfra.core.exceptions import DatabaseError
from qtinfra.infra.security.revocation import Revocations

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS revocations (kind TEXT NOT NULL, name TEXT NOT NULL, "
    "moment_s INTEGER NOT NULL, ends_s INTEGER NOT NULL, at_s INTEGER NOT NULL, "
    "author TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID"
)
_KEEP = (
    "INSERT INTO revocations VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "moment_s = max(moment_s, excluded.moment_s), ends_s = max(ends_s, excluded.ends_s), "
    "at_s = excluded.at_s, author = excluded.author, reason = excluded.reason"
)
_COLUMNS = "SELECT kind, name, moment_s, ends_s, at_s, author, reason FROM revocations"
_FORGET = "DELETE FROM revocations WHERE ends_s <= ?"


class Kind(StrEnum):
    """What an entry names: one token by its `jti`, or all that a subject was issued before a moment."""

    JTI = "JTI"
    SUBJECT = "SUBJECT"


class Revocation(msgspec.Struct, frozen=True):
    """One entry.

    Attributes:
        name: the token's `jti`, or the subject.
        moment_s: of a subject: tokens issued before this UTC second are refused; 0 for a token.
        ends_s: when the entry is of no use any more, because what it names has ended; UTC seconds.
        at_s: when it was revoked, UTC seconds.
        author: who revoked it.
    """

    kind: Kind
    name: str
    moment_s: int
    ends_s: int
    at_s: int
    author: str
    reason: str


class RevokedTokens:
    """Revocations in a SQLite file. Safe from several threads.

    Args:
        path: the file; it is made when it does not exist.

    Raises:
        DatabaseError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with _explained():
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_SCHEMA)

    def restore(self, register: Revocations, now_s: float) -> None:
        """Fill the register, and forget what names only tokens that have ended.

        Raises:
            DatabaseError: they are not known.
            OverloadedError: the register has no room for all.
        """
        with self._lock, _explained():
            self._db.execute(_FORGET, (int(now_s),))
            rows = self._db.execute(_COLUMNS).fetchall()
        for row in rows:
            apply(_read(row), register, now_s)

    def keep(self, revocation: Revocation) -> None:
        """Durable when this returns; of two entries for one name the wider counts.

        Raises:
            DatabaseError: it is not known to be kept.
        """
        with self._lock, _explained():
            self._db.execute(_KEEP, msgspec.structs.astuple(revocation))

    def newest(self, count: int, now_s: float) -> list[Revocation]:
        """The latest entries that are still of use, the newest first.

        Raises:
            DatabaseError: they cannot be read.
        """
        query = f"{_COLUMNS} WHERE ends_s > ? ORDER BY at_s DESC, kind, name LIMIT ?"
        with self._lock, _explained():
            return [_read(row) for row in self._db.execute(query, (int(now_s), count)).fetchall()]

    def close(self) -> None:
        self._db.close()


def apply(revocation: Revocation, register: Revocations, now_s: float) -> None:
    """Put an entry in force.

    Raises:
        OverloadedError: the register is full.
    """
    if revocation.kind is Kind.JTI:
        register.revoke_token(revocation.name, revocation.ends_s, now_s)
    else:
        register.revoke_subject(revocation.name, revocation.moment_s, now_s)


def _read(row: tuple[str, str, int, int, int, str, str]) -> Revocation:
    return Revocation(Kind(row[0]), *row[1:])


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(f"revoked tokens: {error}") from error
