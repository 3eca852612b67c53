"""From ids to numbers of rows or blocks: what a packed order is found by.

An id has a hash of 32 bits, whose upper part is the number of a slot. An entry is a hash; entries are
numbered as they come, and each knows the number of the one before it in its slot, so that a slot is a chain
from its newest entry to its oldest. Nearly all ids that are asked for are new, and most are told so by an
empty slot. The entries of one row stand together, and so the number of an entry tells its row. There are
always as many slots, and nothing moves from one to another, so that no addition takes longer than others. An
entry says which row may hold an id, never that it does: the caller looks into the row. Equal histories give
equal bytes, in any process.

Hashes are CRC-32, fast, and well spread for ids that count up. A client may choose ids that collide: once the
chain of a slot is full, further ids of it are noted under their BLAKE2s hash instead, so that no look-up has
more than a few rows to read.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2s
from zlib import crc32

#: Rows that can be numbered.
MAX_ROWS = 1 << 32

#: Bits of a hash that the number of its slot leaves out.
_LOW = 10
_SLOTS = 1 << 32 - _LOW
#: Entries in a chain from which on ids of its slot are noted under the other hash.
_FULL = 8

#: An index as it is written, numbers of four bytes, little-endian: hashes of entries, numbers of the entries
#: before them, rows, and the numbers at which their entries begin.
Written = tuple[bytes, bytes, bytes, bytes]

#: The slots of an index that has nothing; never written.
_NONE = bytes(_SLOTS)


def strong_hash(text: str) -> int:
    """The hash that nobody can cheaply give to many ids."""
    return int.from_bytes(blake2s(text.encode(), digest_size=4).digest(), "little")


def salt_of(account: str) -> int:
    """What the hashes of all client ids of an account begin with."""
    return crc32(account.encode())


class KeyIndex:
    """Row numbers by the hashes of ids; several rows may share a hash, several ids may name a row.

    `_newest` has the number of the newest entry of each slot, 0 without one; `_hashes` and `_older`, by the
    number of an entry, its hash and the number of the entry before it in its slot (entry 0 is nobody's). The
    entries from `_firsts` on belong to `_rows`.
    """

    __slots__ = ("_firsts", "_hashes", "_newest", "_older", "_rows")

    def __init__(self, written: Written | None = None) -> None:
        self._newest: bytes | array[int] = _NONE
        self._hashes, self._older = array("I", (0,)), array("I", (0,))
        self._rows, self._firsts = array("I"), array("I")
        if written is not None and written[2]:
            self._hashes, self._older, self._rows, self._firsts = map(_read, written)
            newest = self._slots()
            for number, hashed in enumerate(self._hashes):
                newest[hashed >> _LOW] = number

    def _slots(self) -> array[int]:
        """The slots, to be written; with the first entry they are made."""
        newest = self._newest
        if isinstance(newest, bytes):
            newest = self._newest = array("I", (0,)) * _SLOTS
        return newest

    def add_ids(self, ids: Sequence[str], row: int) -> None:
        """Note that row number `row` (below `MAX_ROWS`) may hold these ids."""
        hashes = [*map(crc32, map(str.encode, ids))]
        newest, older, first, low = self._slots(), self._older, len(self._hashes), _LOW
        older.frombytes(bytes(older.itemsize * len(hashes)))
        for number, hashed in enumerate(hashes, first):
            slot = hashed >> low
            before = newest[slot]
            if before:
                if older[before] and self._is_full(before):
                    place = number - first
                    hashes[place] = strong_hash(ids[place])
                    slot = hashes[place] >> low
                    before = newest[slot]
                older[number] = before
            newest[slot] = number
        self._hashes.fromlist(hashes)
        self._rows.append(row)
        self._firsts.append(first)

    def _is_full(self, number: int) -> bool:
        """Whether a chain, told by its newest entry, has so many that further ids go elsewhere."""
        older, length = self._older, 0
        while number and length < _FULL:
            number, length = older[number], length + 1
        return length >= _FULL

    def rows_of(self, text: str) -> Sequence[int]:
        """The rows that may hold an id, the oldest first; mostly none."""
        hashed = crc32(text.encode())
        return self._noted(text, hashed) if self._newest[hashed >> _LOW] else ()

    def rows_of_client(self, account: str, cl_ord_id: str, salt: int) -> Sequence[int]:
        """As `rows_of`, of an id that a client chose. What stands for it is the account and the id in one; if
        those of two accounts run together to the same, the row tells which it holds.

        Args:
            salt: `salt_of` the account.
        """
        hashed = crc32(cl_ord_id.encode(), salt)
        return self._noted(account + cl_ord_id, hashed) if self._newest[hashed >> _LOW] else ()

    def _noted(self, text: str, hashed: int) -> Sequence[int]:
        """The rows under a hash and, if its chain is full, under the other hash."""
        newest, hashes, older = self._newest[hashed >> _LOW], self._hashes, self._older
        number, found = newest, []
        while number:
            if hashes[number] == hashed:
                found.append(self._rows[bisect_right(self._firsts, number) - 1])
            number = older[number]
        found.reverse()
        if older[older[newest]] and self._is_full(newest):
            strong = strong_hash(text)
            if strong != hashed:
                found += self._noted(text, strong)
        return found

    def dump(self) -> Written:
        """Everything, to be written; a new index can be made of it."""
        return _bytes(self._hashes), _bytes(self._older), _bytes(self._rows), _bytes(self._firsts)


def _read(written: bytes) -> array[int]:
    """Inverse of `_bytes`."""
    numbers = array("I", written)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _bytes(numbers: array[int]) -> bytes:
    """Numbers as they are written."""
    return numbers.tobytes() if sys.byteorder == "little" else _read(numbers.tobytes()).tobytes()
