"""From ids to row numbers in flat arrays: what a packed order is found by.

Ids that the engine has made hold the sequence of their event, which belongs to one order: `SeqIndex` has an
entry per event. `KeyIndex` is for ids that others make: open addressing, 16 bytes a key, in many small tables
instead of one large one, so that growing never stops the shard for longer than one of them takes. Its slots
hold 36 bits of the key's hash and the row's number. Either says which rows may hold an id, never that one
does: the caller looks into the row. Equal histories give equal arrays, in any process.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b

#: Rows that slots can number.
MAX_ROWS = 1 << 28

_ROW_BITS, _TAG_BITS = 28, 36
_ROW_MASK = MAX_ROWS - 1
#: A hash: 10 bits choose the part, the next 36 are kept in the slot, the first of them choose it.
_PART_SHIFT = 54
_PARTS, _REST, _DROPPED = 1 << 10, (1 << _PART_SHIFT) - 1, _PART_SHIFT - _TAG_BITS
_FIRST_BITS = 3
#: The table of an empty part: one free slot.
_NONE = array("Q", bytes(8))
_MERSENNE = (1 << 61) - 1
_GOLDEN, _WORD = 0x9E37_79B9_7F4A_7C15, (1 << 64) - 1

_PAGE_BITS = 12
_PAGE_MASK = (1 << _PAGE_BITS) - 1

#: One part as it is written: its number, how many slots are taken, the slots as little-endian words.
Part = tuple[int, int, bytes]


def venue_hash(text: str) -> int:
    """64 bits of a key that venues choose: fast, and well spread for ids that count up.

    Source: D. Knuth, The Art of Computer Programming 3, section 6.4 (multiplicative hashing).
    """
    return int.from_bytes(text.encode(), "big") % _MERSENNE * _GOLDEN & _WORD


def client_hash(account: str, cl_ord_id: str) -> int:
    """64 bits of a key that clients choose: BLAKE2b, so that nobody can make many ids share one slot."""
    return int.from_bytes(blake2b(f"{account}\0{cl_ord_id}".encode(), digest_size=8).digest(), "little")


class KeyIndex:
    """Row numbers by 64-bit hashes; several rows may share a hash."""

    __slots__ = ("_tables", "_used")

    def __init__(self) -> None:
        self._tables: list[array[int]] = [_NONE] * _PARTS
        self._used: list[int] = [0] * _PARTS

    def add(self, keys: Iterable[int], row: int) -> None:
        """Note that row number `row` (below `MAX_ROWS`) may hold the keys of these hashes."""
        tables, used = self._tables, self._used
        row += 1
        for key in keys:
            part = key >> _PART_SHIFT
            table = tables[part]
            used[part] = count = used[part] + 1
            last = len(table) - 1
            if count * 3 > last * 2:
                table = tables[part] = _grown(table)
                last = len(table) - 1
            place = (key & _REST) >> (_PART_SHIFT - last.bit_length())
            while table[place]:
                place = place + 1 & last
            table[place] = (key & _REST) >> _DROPPED << _ROW_BITS | row

    def rows(self, key: int) -> Sequence[int]:
        """The rows that may hold the key of this hash, in the order of the slots; mostly none."""
        table = self._tables[key >> _PART_SHIFT]
        last = len(table) - 1
        place = (key & _REST) >> (_PART_SHIFT - last.bit_length())
        slot = table[place]
        if not slot:
            return ()
        tag = (key & _REST) >> _DROPPED
        found = []
        while slot:
            if slot >> _ROW_BITS == tag:
                found.append((slot & _ROW_MASK) - 1)
            place = place + 1 & last
            slot = table[place]
        return found

    def dump(self) -> list[Part]:
        """Everything, to be written; `load` reads it."""
        return [
            (part, used, _little(self._tables[part]).tobytes())
            for part, used in enumerate(self._used)
            if used
        ]

    @staticmethod
    def load(parts: Iterable[Part]) -> KeyIndex:
        """Inverse of `dump`.

        Raises:
            ValueError: a part is not a whole number of slots.
        """
        index = KeyIndex()
        for part, used, data in parts:
            table = array("Q")
            table.frombytes(data)
            index._tables[part], index._used[part] = _little(table), used
        return index


class SeqIndex:
    """Row numbers by sequence; a later row takes the place of an earlier one."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def put(self, seq: int, row: int) -> None:
        """The order that event `seq` belongs to is in row number `row`."""
        page = self._pages.get(seq >> _PAGE_BITS)
        if page is None:
            page = self._pages[seq >> _PAGE_BITS] = array("I", bytes(4 << _PAGE_BITS))
        page[seq & _PAGE_MASK] = row + 1

    def row(self, seq: int) -> int | None:
        """The row that was last put there."""
        page = self._pages.get(seq >> _PAGE_BITS)
        entry = page[seq & _PAGE_MASK] if page is not None else 0
        return entry - 1 if entry else None

    def dump(self) -> list[tuple[int, bytes]]:
        """Everything, to be written; `load` reads it."""
        return [(number, _little(page).tobytes()) for number, page in self._pages.items()]

    @staticmethod
    def load(pages: Iterable[tuple[int, bytes]]) -> SeqIndex:
        """Inverse of `dump`.

        Raises:
            ValueError: a page is not a whole number of entries.
        """
        index = SeqIndex()
        for number, data in pages:
            page = array("I")
            page.frombytes(data)
            index._pages[number] = _little(page)
        return index


def _grown(table: array[int]) -> array[int]:
    """The slots in a table twice as long, at least 8; the part of a hash that a slot holds is enough."""
    bits = max(_FIRST_BITS, len(table).bit_length())
    larger = array("Q", bytes(8 << bits))
    last, shift = len(larger) - 1, _ROW_BITS + _TAG_BITS - bits
    for slot in table:
        if slot:
            place = slot >> shift
            while larger[place]:
                place = place + 1 & last
            larger[place] = slot
    return larger


def _little(table: array[int]) -> array[int]:
    """The same words with the bytes of a little-endian machine, or back."""
    if sys.byteorder == "little":
        return table
    table = array(table.typecode, table)
    table.byteswap()
    return table
