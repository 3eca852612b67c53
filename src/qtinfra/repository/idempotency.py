"""Which request an Idempotency-Key was first used for, kept on disk so that a restart forgets none.

A key is bound before its order goes to the engine. If the process dies between, the same request finds its
own binding, goes to the engine under the same client order id, and is accepted once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from qtinfra.core.exceptions import DatabaseError

#: Nanoseconds that a key is kept: 30 days.
KEEP_NS = 30 * 86_400 * 1_000_000_000

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS idempotency (subject TEXT NOT NULL, key TEXT NOT NULL, "
    "fingerprint BLOB NOT NULL, ts_ns INTEGER NOT NULL, PRIMARY KEY (subject, key)) WITHOUT ROWID"
)
_BIND = "INSERT INTO idempotency VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_FIND = "SELECT fingerprint FROM idempotency WHERE subject = ? AND key = ?"
_FORGET = "DELETE FROM idempotency WHERE ts_ns < ?"


class Binding(msgspec.Struct, frozen=True):
    """A use of a key: whose, the key, and the SHA-256 of the canonical request."""

    subject: str
    key: str
    fingerprint: bytes


class IdempotencyKeys:
    """Keys in a SQLite file. Calls come from one thread at a time, whichever.

    Args:
        path: the file; it is made when it does not exist.
        now_ns: keys older than `KEEP_NS` are forgotten.

    Raises:
        DatabaseError: the file cannot be used.
    """

    def __init__(self, path: Path, now_ns: int) -> None:
        with _explained():
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_SCHEMA)
            self._db.execute(_FORGET, (now_ns - KEEP_NS,))

    def bind(self, use: Binding, now_ns: int) -> bool:
        """Bind the key to the request, durably; False when it belongs to another request.

        Raises:
            DatabaseError: it is not known to be bound.
        """
        with _explained():
            self._db.execute(_BIND, (use.subject, use.key, use.fingerprint, now_ns))
            row = self._db.execute(_FIND, (use.subject, use.key)).fetchone()
        return row is not None and bytes(row[0]) == use.fingerprint

    def close(self) -> None:
        self._db.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(f"idempotency keys: {error}") from error
