"""From ids to numbers of rows or blocks: what a packed order is found by.

An id has a hash of 32 bits. Its upper part is the number of a bucket, a run of entries of eight bytes: four
of a row's number and four of the hash. In front of the buckets stands one byte for each of four million
values that the upper bits can have, set once an entry has them: nearly all ids that are asked for are new,
and most are told so by that. Nothing ever moves elsewhere, so that no addition takes longer than others. An
entry says which row may hold an id, never that it does: the caller looks into the row. Equal histories give
equal bytes, in any process.

Hashes are CRC-32, fast, and well spread for ids that count up. A client may choose ids that collide: once so
many rows share a hash, or a bucket has grown so large, further ids of it are noted under their BLAKE2s hash
instead, so that no look-up has more than a few rows to read.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Sequence
from hashlib import blake2s
from itertools import repeat
from operator import iadd
from struct import Struct
from zlib import crc32

#: Rows that entries can number.
MAX_ROWS = 1 << 32

#: Bits of a hash, and how many of the lower ones the number of a bucket and the byte in front leave out.
_BITS, _BUCKET, _SEEN = 32, 18, 10
_BUCKETS = 1 << _BITS - _BUCKET
#: Values that the upper half of a hash has for one bucket.
_HALVES = 1 << _BITS // 2 - (_BITS - _BUCKET)
_NUMBER, _ENTRY = 4, 8
#: Rows under one CRC-32, and bytes in a bucket, from which on ids are noted under the other hash.
_SHARED, _FULL = 4, 16_384

#: Which of a hash's halves is the upper one in memory.
_UPPER = 1 if sys.byteorder == "little" else 0

_tag = Struct("<I").pack
#: An entry, a row's number and the hash of an id; all entries of a bucket.
_entry, _entries = Struct("<II").pack, Struct("<II").iter_unpack
#: Bucket and tag in a digest.
_split = Struct("<I4s24x").unpack

#: A hash: the number of the bucket, and the tag in it.
Key = tuple[int, bytes]
#: One bucket as it is written: its number and its entries.
Part = tuple[int, bytes]

#: The bytes in front of the buckets of an index that has nothing; never written.
_UNSEEN = bytes(1 << _BITS - _SEEN)


def client_text(account: str, cl_ord_id: str) -> str:
    """What stands for an id that a client chose: no two of an account and an id have the same."""
    return f"{account}\0{cl_ord_id}"


def strong_key(text: str) -> Key:
    """The hash that nobody can cheaply give to many ids."""
    hashed, tag = _split(blake2s(text.encode()).digest())
    return hashed >> _BUCKET, tag


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

    __slots__ = ("_buckets", "_halves", "_seen")

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self._buckets: list[bytearray] = []
        self._halves: list[bytearray] = []
        self._seen: bytes | bytearray = _UNSEEN
        for number, entries in parts:
            seen = self._open()
            self._buckets[number] += entries
            for _, hashed in _entries(entries):
                seen[hashed >> _SEEN] = 1
            if len(entries) >= _FULL:  # any id of it may be noted under the other hash
                size = 1 << _BUCKET - _SEEN
                seen[number * size : (number + 1) * size] = b"\1" * size

    def _open(self) -> bytearray:
        """The bytes in front of the buckets, to be written; with the first of them the buckets are made."""
        seen = self._seen
        if isinstance(seen, bytes):
            self._buckets = [bytearray() for _ in range(_BUCKETS)]
            self._halves = [bucket for bucket in self._buckets for _ in range(_HALVES)]
            seen = self._seen = bytearray(seen)
        return seen

    def add(self, key: Key, row: int) -> None:
        """Note that row number `row` (below `MAX_ROWS`) may hold the id of this hash."""
        seen, (number, tag) = self._open(), key
        self._buckets[number] += row.to_bytes(_NUMBER, "little") + tag
        seen[int.from_bytes(tag, "little") >> _SEEN] = 1

    def add_ids(self, ids: Sequence[str], row: int) -> None:
        """As `add`, for many ids, with as little as possible done for each in Python."""
        hashes, seen, known = [*map(crc32, map(str.encode, ids))], self._open(), []
        for hashed in hashes:
            at = hashed >> _SEEN
            if seen[at]:
                known.append(hashed)
            else:
                seen[at] = 1
        if len(set(known)) == len(known) and not any(map(self._crowded, known)):
            halves = memoryview(array("I", hashes)).cast("B").cast("H")[_UPPER::2].tolist()
            found = map(self._halves.__getitem__, halves)
            deque(map(iadd, found, map(_entry, repeat(row), hashes)), 0)
            return
        for text, hashed in zip(ids, hashes, strict=True):
            crowded = self._crowded(hashed)
            self.add(strong_key(text) if crowded else (hashed >> _BUCKET, _tag(hashed)), row)

    def _crowded(self, hashed: int) -> bool:
        """Whether so much is noted under a hash, or beside it, that further ids go elsewhere."""
        number = hashed >> _BUCKET
        return len(self._buckets[number]) >= _FULL or len(self.rows((number, _tag(hashed)))) >= _SHARED

    def rows(self, key: Key) -> Sequence[int]:
        """The rows that may hold the id of this hash, the oldest first; mostly none."""
        return _found(self._buckets[key[0]], key[1]) if self._buckets else ()

    def rows_of(self, text: str) -> Sequence[int]:
        """As `rows`, of an id."""
        hashed = crc32(text.encode())
        return self._noted(text, hashed) if self._seen[hashed >> _SEEN] else ()

    def rows_of_client(self, account: str, cl_ord_id: str) -> Sequence[int]:
        """As `rows`, of the `client_text` of an id that a client chose."""
        text = f"{account}\0{cl_ord_id}"
        hashed = crc32(text.encode())
        return self._noted(text, hashed) if self._seen[hashed >> _SEEN] else ()

    def _noted(self, text: str, hashed: int) -> Sequence[int]:
        """The rows under a hash and, if it is crowded, under the other hash."""
        number = hashed >> _BUCKET
        found = _found(self._buckets[number], _tag(hashed))
        if len(found) >= _SHARED or len(self._buckets[number]) >= _FULL:
            found += self.rows(strong_key(text))
        return found

    def dump(self) -> list[Part]:
        """Everything, to be written; a new index can be made of it."""
        return [(number, bytes(entries)) for number, entries in enumerate(self._buckets) if entries]
