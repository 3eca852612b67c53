"""From ids to row numbers: what a packed order is found by.

An id has a hash of 32 bits. Its low half is the number of a bucket, a run of entries of eight bytes: four of
a row's number and four of the hash; looking up is a search over its bytes. There are so many buckets that a
million orders leave some hundred bytes in each, and nothing ever moves elsewhere, so that no addition takes
longer than others. An entry says which row may hold an id, never that it does: the caller looks into the row.
Equal histories give equal bytes, in any process.

Hashes are CRC-32, fast, and well spread for ids that count up. A client may choose ids that collide: once so
many rows share a hash, or a bucket has grown so large, further client ids of it are noted under their BLAKE2s
hash instead, so that no look-up has more than a few rows to read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2s
from operator import contains, iadd
from struct import Struct
from zlib import crc32

#: Rows that entries can number.
MAX_ROWS = 1 << 32

_BUCKETS = 1 << 14
_LAST = _BUCKETS - 1
_NUMBER, _ENTRY = 4, 8
#: Rows under one CRC-32, and bytes in a bucket, from which on client ids are noted under the other hash.
_SHARED, _FULL = 4, 16_384

_tag = Struct("<I").pack
#: A row's number and the hash of an id.
_entry = Struct("<II").pack
#: Bucket and tag in a digest.
_split = Struct("<H4s26x").unpack

#: A hash: the number of the bucket, and the tag in it.
Key = tuple[int, bytes]
#: One bucket as it is written: its number and its entries.
Part = tuple[int, bytes]

#: The buckets of an index that has nothing; never written.
_EMPTY: list[bytearray | None] = [None] * _BUCKETS


def client_text(account: str, cl_ord_id: str) -> str:
    """What stands for an id that a client chose: no two of an account and an id have the same."""
    return f"{account}\0{cl_ord_id}"


def strong_key(text: str) -> Key:
    """The hash that nobody can cheaply give to many ids."""
    number, tag = _split(blake2s(text.encode()).digest())
    return number & _LAST, tag


def _found(bucket: bytearray, tag: bytes) -> list[int]:
    """The rows that a bucket has under a tag, the oldest first."""
    found = []
    at = bucket.find(tag)
    while at >= 0:
        if at % _ENTRY == _NUMBER:
            found.append(int.from_bytes(bucket[at - _NUMBER : at], "little"))
        at = bucket.find(tag, at + 1)
    return found


class KeyIndex:
    """Row numbers by the hashes of ids; several rows may share a hash, several ids may name a row."""

    __slots__ = ("_buckets",)

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._buckets = _EMPTY
        for number, entries in parts:
            self._open()[number] = bytearray(entries)

    def _open(self) -> list[bytearray | None]:
        if self._buckets is _EMPTY:
            self._buckets = _EMPTY.copy()
        return self._buckets

    def add(self, key: Key, row: int) -> None:
        """Note that row number `row` (below `MAX_ROWS`) may hold the id of this hash."""
        buckets, (number, tag) = self._open(), key
        bucket = buckets[number]
        if bucket is None:
            bucket = buckets[number] = bytearray()
        bucket += row.to_bytes(_NUMBER, "little") + tag

    def add_ids(self, ids: Sequence[str], rows: Sequence[int]) -> None:
        """As `add` with `text_hash`, for many ids that we or venues have made, and their rows."""
        self._put(list(map(crc32, map(str.encode, ids))), rows)

    def add_clients(self, texts: Sequence[str], rows: Sequence[int]) -> None:
        """As `add_ids`, for ids that clients chose, by their `client_text`."""
        hashes = list(map(crc32, map(str.encode, texts)))
        buckets = self._open()
        found = [buckets[hashed & _LAST] or b"" for hashed in hashes]
        known = len(set(hashes)) < len(hashes) or any(map(contains, found, map(_tag, hashes)))
        if not known and max(map(len, found), default=0) < _FULL:
            self._put(hashes, rows)
            return
        for text, hashed, row in zip(texts, hashes, rows, strict=True):
            bucket, tag = buckets[hashed & _LAST], _tag(hashed)
            crowded = bucket is not None and (len(bucket) >= _FULL or len(_found(bucket, tag)) >= _SHARED)
            self.add(strong_key(text) if crowded else (hashed & _LAST, tag), row)

    def _put(self, hashes: Sequence[int], rows: Sequence[int]) -> None:
        """Add entries, one for each hash and row, with as little as possible done for each in Python."""
        buckets, places = self._open(), [hashed & _LAST for hashed in hashes]
        found = [buckets[place] for place in places]
        if None in found:
            for place in places:
                if buckets[place] is None:
                    buckets[place] = bytearray()
            found = [buckets[place] for place in places]
        deque(map(iadd, found, map(_entry, rows, hashes)), 0)

    def rows(self, key: Key) -> Sequence[int]:
        """The rows that may hold the id of this hash, the oldest first; mostly none."""
        bucket = self._buckets[key[0]]
        return () if bucket is None else _found(bucket, key[1])

    def rows_of(self, text: str) -> Sequence[int]:
        """As `rows`, of an id that we or a venue has made."""
        hashed = crc32(text.encode())
        bucket = self._buckets[hashed & _LAST]
        if not bucket or (tag := _tag(hashed)) not in bucket:
            return ()
        return _found(bucket, tag)

    def rows_of_client(self, text: str) -> Sequence[int]:
        """As `rows`, of an id that a client chose, by its `client_text`."""
        hashed = crc32(text.encode())
        bucket = self._buckets[hashed & _LAST]
        if not bucket or ((tag := _tag(hashed)) not in bucket and len(bucket) < _FULL):
            return ()
        found = _found(bucket, tag)
        if len(found) >= _SHARED or len(bucket) >= _FULL:
            found += self.rows(strong_key(text))
        return found

    def dump(self) -> list[Part]:
        """Everything, to be written; a new index can be made of it."""
        return [
            (number, bytes(entries)) for number, entries in enumerate(self._buckets) if entries is not None
        ]
