"""Closed orders as packed rows: what an order, its children and its executions were when it was packed.

A block is so many rows, written by MessagePack and compressed; it never changes. A row that is needed again
for writing leaves the archive (its number is noted as gone) and gets a new number when it is packed again.
What the state's hash covers is `Packing`, with a digest over the rows as written: how they are compressed and
found again is a matter of this process.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256

import msgspec

from qtinfra.core.models import Child
from qtinfra.engine.invariants import invariant
from qtinfra.engine.keyindex import MAX_ROWS, KeyIndex, Part, client_text
from qtinfra.engine.rowform import Row, Short, restored, shortened

#: Level of zlib: what a higher one saves in memory it costs in time.
_LEVEL = 1
#: No header and no checksum of its own: the state's hash covers what is written.
_RAW = -zlib.MAX_WBITS
#: Rows kept unpacked because they were read.
_MAX_READ = 64


class Packing(msgspec.Struct):
    """What the state knows of its packed orders.

    Attributes:
        keep: closed orders that stay unpacked, for what comes late.
        block: orders that are packed together.
        rows: how many rows were ever packed.
        digest: SHA-256 over the digest before and the newest block as written; 32 zero bytes before.
        gone: numbers of rows that were unpacked for good.
        last_ns: latest time of an order that was packed (UTC nanoseconds).
    """

    keep: int = 2_048
    block: int = 64
    rows: int = 0
    digest: bytes = bytes(32)
    gone: dict[int, bool] = {}
    last_ns: int = 0

    def __post_init__(self) -> None:
        if self.keep < 0 or self.block < 1:
            raise ValueError(f"keep at least 0 and pack at least 1, not {self.keep} and {self.block}")


_ENCODER = msgspec.msgpack.Encoder()
_ROWS = msgspec.msgpack.Decoder(list[msgspec.Raw])
_ROW = msgspec.msgpack.Decoder(Short | Row)


def compressed(written: bytes, level: int = _LEVEL) -> bytes:
    """Rows as written, as a block is kept."""
    return zlib.compress(written, level, _RAW)


def decompressed(block: bytes) -> bytes:
    """Inverse of `compressed`.

    Raises:
        zlib.error: the bytes are no block.
    """
    return zlib.decompress(block, _RAW)


class Archive:
    """The packed orders of one state.

    Args:
        packing: the state's; changed here only.
        blocks: packed before.
        index: of their rows, as `dump` gave it.
    """

    __slots__ = ("_block", "_read", "blocks", "index", "packing")

    def __init__(
        self,
        packing: Packing,
        blocks: Sequence[bytes] = (),
        index: Sequence[Part] = (),
    ) -> None:
        self.packing = packing
        self.blocks = list(blocks)
        self.index = KeyIndex(index)
        self._read: dict[int, Row] = {}
        self._block: tuple[int, list[msgspec.Raw]] = (-1, [])

    # --- writing ---

    def add(self, rows: list[Row]) -> None:
        """Pack a block of rows.

        Raises:
            InvariantBrokenError: there are not as many as a block has, or no numbers are left.
        """
        packing = self.packing
        number = packing.rows
        invariant(len(rows) == packing.block, "blocks are full", len(rows))
        invariant(number + len(rows) < MAX_ROWS, "rows can be numbered", number)
        written = _ENCODER.encode([shortened(row) for row in rows])
        packing.digest = sha256(packing.digest + written).digest()
        self.blocks.append(compressed(written))
        self._note(rows, number)
        packing.last_ns = max(packing.last_ns, *(row.order.updated_ns for row in rows))
        packing.rows = number + len(rows)

    def _note(self, rows: list[Row], number: int) -> None:
        """Index the rows, which are numbered from `number`."""
        ids: list[str] = []
        numbers: list[int] = []
        texts: list[str] = []
        naming: list[int] = []
        for row in rows:
            order, before = row.order, len(ids)
            ids.append(order.order_id)
            ids += order.children
            ids += order.executions
            for child in row.children:
                if child.requests is not None:
                    ids += child.requests
            numbers += [number] * (len(ids) - before)
            for name in row.client_ids:
                texts.append(client_text(order.account, name))
                naming.append(number)
            number += 1
        self.index.add_ids(ids, numbers)
        self.index.add_clients(texts, naming)

    def take(self, number: int) -> Row:
        """Unpack a row for good."""
        row = self.row(number)
        del self._read[number]
        self.packing.gone[number] = True
        return row

    # --- reading ---

    def row(self, number: int) -> Row:
        """A row for reading: the same object as long as it is among those read last."""
        found = self._read.get(number)
        if found is None:
            block, place = divmod(number, self.packing.block)
            if self._block[0] != block:
                self._block = (block, self._rows_of(block))
            found = restored(_ROW.decode(self._block[1][place]))
            if len(self._read) >= _MAX_READ:
                del self._read[next(iter(self._read))]
            self._read[number] = found
        return found

    def _rows_of(self, block: int) -> list[msgspec.Raw]:
        return _ROWS.decode(decompressed(self.blocks[block]))

    def all_rows(self) -> Iterator[Row]:
        """Every row that is packed now, in the order of packing; none stays unpacked."""
        gone, number = self.packing.gone, 0
        for block in range(len(self.blocks)):
            for data in self._rows_of(block):
                if number not in gone:
                    yield restored(_ROW.decode(data))
                number += 1

    def __len__(self) -> int:
        return self.packing.rows - len(self.packing.gone)

    def of_order(self, order_id: str) -> int | None:
        """Number of the row of an order."""
        for number in self.index.rows_of(order_id):
            if number not in self.packing.gone and self.row(number).order.order_id == order_id:
                return number
        return None

    def of_execution(self, key: str) -> int | None:
        """Number of the row that holds an execution."""
        for number in self.index.rows_of(key):
            if number not in self.packing.gone and key in self.row(number).order.executions:
                return number
        return None

    def of_client_id(self, account: str, cl_ord_id: str) -> int | None:
        """Number of the row of the order that a client id names."""
        for number in self.index.rows_of_client(client_text(account, cl_ord_id)):
            if number not in self.packing.gone:
                row = self.row(number)
                if row.order.account == account and cl_ord_id in row.client_ids:
                    return number
        return None

    def of_venue_id(self, venue_id: str) -> tuple[int, Child] | None:
        """The child that a venue's client order id names, its own or a request's; its row's number first."""
        for number in self.index.rows_of(venue_id):
            if number not in self.packing.gone:
                for child in self.row(number).children:
                    if venue_id == child.child_id or venue_id in (child.requests or ()):
                        return number, child
        return None

    # --- the written form ---

    @property
    def complete(self) -> bool:
        """Whether it holds the rows that the packing counts."""
        return len(self.blocks) * self.packing.block == self.packing.rows

    def dump(self) -> tuple[list[bytes], list[Part]]:
        """Blocks and index; with the packing they make an equal archive."""
        return self.blocks, self.index.dump()

    def copy(self) -> Archive:
        """An equal archive that changes by itself; the blocks, which never change, are shared."""
        packing = msgspec.structs.replace(self.packing, gone=dict(self.packing.gone))
        return Archive(packing, *self.dump())
