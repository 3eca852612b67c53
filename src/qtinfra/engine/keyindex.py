"""From ids to row numbers: what a packed order is found by.

The hash of an id has a bucket and a tag. A bucket is a run of entries of eight bytes: four of a row's number
and four of a tag; looking up is a search over its bytes. There are so many buckets that a million orders
leave some hundred bytes in each, and nothing ever moves elsewhere, so that no addition takes longer than
others. An entry says which row may hold an id, never that it does: the caller looks into the row. Equal
histories give equal bytes, in any process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2s
from itertools import chain
from struct import Struct, pack
from zlib import crc32

#: Rows that entries can number.
MAX_ROWS = 1 << 32

_BUCKETS = 1 << 16
_LAST = _BUCKETS - 1
_NUMBER, _ENTRY = 4, 8
#: Bucket and tag in a digest.
_split = Struct("<H4s26x").unpack
_entries = Struct(f"{_ENTRY}s").iter_unpack
_tag = Struct("<I").pack

#: A hash: the number of the bucket, and the tag in it.
Key = tuple[int, bytes]
#: One bucket as it is written: its number and its entries.
Part = tuple[int, bytes]


def id_key(text: str) -> Key:
    """The hash of an id that we or venues have made: CRC-32, fast, and well spread for ids that count up."""
    hashed = crc32(text.encode())
    return hashed & _LAST, _tag(hashed)


def client_key(account: str, cl_ord_id: str) -> Key:
    """The hash of an id that a client chose: BLAKE2s, so that nobody can cheaply give many ids one tag."""
    key: Key = _split(blake2s(f"{account}\0{cl_ord_id}".encode()).digest())
    return key


class KeyIndex:
    """Row numbers by the hashes of ids; several rows may share a hash, several ids may name a row."""

    __slots__ = ("_buckets",)

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._buckets: list[bytearray | None] = []
        for number, entries in parts:
            self._open()[number] = bytearray(entries)

    def _open(self) -> list[bytearray | None]:
        if not self._buckets:
            self._buckets = [None] * _BUCKETS
        return self._buckets

    def add(self, key: Key, row: int) -> None:
        """Note that row number `row` (below `MAX_ROWS`) may hold the id of this hash."""
        self._put([key[0]], row.to_bytes(_NUMBER, "little") + key[1])

    def add_ids(self, ids: Sequence[str], rows: Sequence[int]) -> None:
        """As `add` with `id_key`, for many ids and their rows."""
        hashes = list(map(crc32, map(str.encode, ids)))
        words = chain.from_iterable(zip(rows, hashes, strict=True))
        self._put(hashes, pack(f"<{2 * len(hashes)}I", *words))

    def _put(self, hashes: Sequence[int], written: bytes) -> None:
        """Add entries; the last bits of the hashes are the numbers of their buckets."""
        buckets = self._buckets or self._open()
        for hashed, (entry,) in zip(hashes, _entries(written), strict=True):
            bucket = buckets[hashed & _LAST]
            if bucket is None:
                buckets[hashed & _LAST] = bytearray(entry)
            else:
                bucket += entry

    def rows_of(self, text: str) -> Sequence[int]:
        """As `rows` of `id_key(text)`: the short way to no row, which is what most look-ups find."""
        buckets, hashed = self._buckets, crc32(text.encode())
        bucket = buckets[hashed & _LAST] if buckets else None
        if bucket is None or bucket.find(tag := _tag(hashed)) < 0:
            return ()
        return self.rows((hashed & _LAST, tag))

    def rows(self, key: Key) -> Sequence[int]:
        """The rows that may hold the id of this hash, the oldest first; mostly none."""
        buckets = self._buckets
        bucket = buckets[key[0]] if buckets else None
        if bucket is None:
            return ()
        tag = key[1]
        at = bucket.find(tag)
        if at < 0:
            return ()
        found = []
        while at >= 0:
            if at % _ENTRY == _NUMBER:
                found.append(int.from_bytes(bucket[at - _NUMBER : at], "little"))
            at = bucket.find(tag, at + 1)
        return found

    def dump(self) -> list[Part]:
        """Everything, to be written; a new index can be made of it."""
        return [
            (number, bytes(entries)) for number, entries in enumerate(self._buckets) if entries is not None
        ]
