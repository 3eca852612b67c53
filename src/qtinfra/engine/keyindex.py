"""From ids to numbers of rows or blocks: what a packed order is found by.

An id has a hash of 32 bits. Its upper part is the number of a bucket, a run of entries of eight bytes: four
of a row's number and four of the hash. In front of the buckets stands one byte for each of four million
values that the upper bits can have, set once an entry has them: nearly all ids that are asked for are new,
and most are told so by that. Nothing ever moves elsewhere, so that no addition takes longer than others. An
entry says which row may hold an id, never that it does: the caller looks into the row. Equal histories give
equal bytes, in any process.

Hashes are CRC-32, fast, and well spread for ids that count up. A client may choose ids that collide: once so
many rows share a hash, or a bucket has grown so large, further client ids of it are noted under their BLAKE2s
hash instead, so that no look-up has more than a few rows to read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2s
from operator import iadd
from struct import Struct
from zlib import crc32

#: Rows that entries can number.
MAX_ROWS = 1 << 32

#: Bits of a hash, and how many of the lower ones the number of a bucket and the byte in front leave out.
_BITS, _BUCKET, _SEEN = 32, 18, 10
_BUCKETS = 1 << _BITS - _BUCKET
_NUMBER, _ENTRY = 4, 8
#: Rows under one CRC-32, and bytes in a bucket, from which on client ids are noted under the other hash.
_SHARED, _FULL = 4, 16_384

_tag = Struct("<I").pack
#: An entry, a row's number and the hash of an id; all entries of a bucket.
_entry, _entries = Struct("<II").pack, Struct("<II").iter_unpack
#: Bucket and tag in a digest.
_split = Struct("<I4s24x").unpack

#: A hash: the number of the bucket, and the tag in it.
Key = tuple[int, bytes]
#: One bucket as it is written: its number and its entries.
Part = tuple[int, bytes]

#: The buckets of an index that has nothing, and the bytes in front of them; never written.
_EMPTY: list[bytearray | None] = [None] * _BUCKETS
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

    __slots__ = ("_buckets", "_seen")

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._buckets: list[bytearray | None] = _EMPTY
        self._seen: bytes | bytearray = _UNSEEN
        for number, entries in parts:
            buckets, seen = self._open()
            bucket = buckets[number] = bytearray(entries)
            for _, hashed in _entries(entries):
                seen[hashed >> _SEEN] = 1
            if len(bucket) >= _FULL:
                self._see_all(number)

    def _open(self) -> tuple[list[bytearray | None], bytearray]:
        if isinstance(self._seen, bytes):
            self._buckets, self._seen = _EMPTY.copy(), bytearray(_UNSEEN)
        return self._buckets, self._seen

    def _see_all(self, number: int) -> None:
        """Of a full bucket any id may be noted under the other hash."""
        size = 1 << _BUCKET - _SEEN
        self._open()[1][number * size : (number + 1) * size] = b"\1" * size

    def add(self, key: Key, row: int) -> None:
        """Note that row number `row` (below `MAX_ROWS`) may hold the id of this hash."""
        (buckets, seen), (number, tag) = self._open(), key
        bucket, entry = buckets[number], row.to_bytes(_NUMBER, "little") + tag
        if bucket is None:
            bucket = buckets[number] = bytearray()
        bucket += entry
        seen[int.from_bytes(tag, "little") >> _SEEN] = 1
        if len(bucket) >= _FULL:
            self._see_all(number)

    def add_ids(self, ids: Sequence[str], rows: Sequence[int]) -> None:
        """As `add`, for many ids that we or venues have made, and their rows."""
        self._put(list(map(crc32, map(str.encode, ids))), rows)

    def add_clients(self, texts: Sequence[str], rows: Sequence[int]) -> None:
        """As `add_ids`, for ids that clients chose, by their `client_text`."""
        hashes = list(map(crc32, map(str.encode, texts)))
        seen = self._open()[1]
        known = [hashed for hashed in hashes if seen[hashed >> _SEEN]]
        if len(set(hashes)) == len(hashes) and not any(map(self._crowded, known)):
            self._put(hashes, rows)
            return
        for text, hashed, row in zip(texts, hashes, rows, strict=True):
            if self._crowded(hashed):
                self.add(strong_key(text), row)
            else:
                self._put([hashed], [row])

    def _crowded(self, hashed: int) -> bool:
        """Whether so much is noted under a hash, or beside it, that further client ids go elsewhere."""
        bucket = self._buckets[hashed >> _BUCKET]
        full = bucket is not None and len(bucket) >= _FULL
        return full or len(self.rows((hashed >> _BUCKET, _tag(hashed)))) >= _SHARED

    def _put(self, hashes: Sequence[int], rows: Sequence[int]) -> None:
        """Add entries, one for each hash and row, with as little as possible done for each in Python."""
        buckets, seen = self._open()
        places = [hashed >> _BUCKET for hashed in hashes]
        found = [buckets[place] for place in places]
        if None in found:
            for place in places:
                if buckets[place] is None:
                    buckets[place] = bytearray()
            found = [buckets[place] for place in places]
        deque(map(iadd, found, map(_entry, rows, hashes)), 0)
        for hashed in hashes:
            seen[hashed >> _SEEN] = 1
        if max(map(len, found), default=0) >= _FULL:  # type: ignore[arg-type]
            for place in places:
                if len(buckets[place] or b"") >= _FULL:
                    self._see_all(place)

    def rows(self, key: Key) -> Sequence[int]:
        """The rows that may hold the id of this hash, the oldest first; mostly none."""
        bucket = self._buckets[key[0]]
        return () if bucket is None else _found(bucket, key[1])

    def rows_of(self, text: str) -> Sequence[int]:
        """As `rows`, of an id that we or a venue has made."""
        hashed = crc32(text.encode())
        return self.rows((hashed >> _BUCKET, _tag(hashed))) if self._seen[hashed >> _SEEN] else ()

    def rows_of_client(self, account: str, cl_ord_id: str) -> Sequence[int]:
        """As `rows`, of an id that a client chose."""
        text = f"{account}\0{cl_ord_id}"
        hashed = crc32(text.encode())
        if not self._seen[hashed >> _SEEN]:
            return ()
        number = hashed >> _BUCKET
        found = [*self.rows((number, _tag(hashed)))]
        if len(found) >= _SHARED or len(self._buckets[number] or b"") >= _FULL:
            found += self.rows(strong_key(text))
        return found

    def dump(self) -> list[Part]:
        """Everything, to be written; a new index can be made of it."""
        return [
            (number, bytes(entries)) for number, entries in enumerate(self._buckets) if entries is not None
        ]
