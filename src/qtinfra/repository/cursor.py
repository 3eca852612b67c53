"""Cursors that nobody can make, change, or use for another query than the one they came from.

A cursor holds where a page ended: the values of its last row in the sort's columns. It is authenticated
(HMAC-SHA256) together with the rows' name, the caller's scope, the filters and the sort, so that one of
another tenant or another query fails like one that was edited. It is signed, not secret: it tells its
holder nothing that the page did not.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from qtinfra.repository.query import Query, QueryError, Scope, plain_form

MIN_KEY_BYTES = 32
_MAC_BYTES = 32

Place = list[str | int | bool | None]


class CursorCodec:
    """Writes and reads cursors under one key.

    Args:
        key: at least 32 secret bytes. Gateways that serve the same clients share it; a new key ends every
            cursor that is out.

    Raises:
        ValueError: the key is shorter.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"the cursor key has {len(key)} bytes, at least {MIN_KEY_BYTES} are needed")
        self._key = key

    def write(self, rows: str, query: Query, scope: Scope, place: Place) -> str:
        """The cursor that continues after `place`.

        Args:
            rows: name of the kind of rows.
            place: the last row's values in the sort's columns.
        """
        body = msgspec.msgpack.encode(place)
        return urlsafe_b64encode(self._mac(rows, query, scope, body) + body).rstrip(b"=").decode("ascii")

    def read(self, rows: str, query: Query, scope: Scope) -> Place:
        """Where the query's cursor stands.

        Raises:
            QueryError: `bad_cursor`: edited, of another query, scope or key.
        """
        try:
            text = query.cursor.encode("ascii")
            if (
                urlsafe_b64encode(raw := urlsafe_b64decode(text + b"=" * (-len(text) % 4))).rstrip(b"=")
                != text
            ):
                raise _bad()
        except (UnicodeEncodeError, binascii.Error, ValueError) as error:
            raise _bad() from error
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(rows, query, scope, body)):
            raise _bad()
        return msgspec.msgpack.decode(body, type=list[str | int | bool | None])

    def _mac(self, rows: str, query: Query, scope: Scope, body: bytes) -> bytes:
        accounts = None if scope.accounts is None else sorted(set(scope.accounts))
        bound = msgspec.msgpack.encode([1, rows, accounts, plain_form(query), body])
        return hmac.new(self._key, bound, hashlib.sha256).digest()


def _bad() -> QueryError:
    return QueryError(
        "cursor: it is not one that this query gave to you",
        code="bad_cursor",
        context={"field": "cursor", "rule": "as an earlier page of the same query gave it"},
    )
