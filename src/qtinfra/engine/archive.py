"""Closed orders as packed rows: what an order, its children and its executions were when it was packed.

A block is so many rows, written by columns and compressed; it never changes. A row that is needed again
for writing leaves the archive (its number is noted as gone) and gets a new number when it is packed again.
What the state's hash covers is `Packing`, with a digest over the rows as written: how they are compressed and
found again is a matter of this process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple

import msgspec

from qtinfra.core.models import Child
from qtinfra.engine.invariants import invariant
from qtinfra.engine.keyindex import MAX_ROWS, KeyIndex, Written, salt_of
from qtinfra.engine.rowform import Block, Leaving, Row, compressed, decompressed, write_block

#: What is common to ids of orders of events that came one after another: all but their last characters.
_ORDERS = itemgetter(slice(-2))
#: Parts of a venue id without a leg, the last digits in which those of a block differ, and how lines end with
#: the legs that most orders have at most.
_PARTS, _DIGITS, _LEGS = 3, 3, ("-1\n", "-2\n", "-3\n")
#: Sorts after all characters of our ids.
_AFTER = "~"
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
    """

    keep: int = 2_048
    block: int = 64
    rows: int = 0
    digest: bytes = bytes(32)
    gone: dict[int, bool] = {}

    def __post_init__(self) -> None:
        if self.keep < 0 or self.block < 1:
            raise ValueError(f"keep at least 0 and pack at least 1, not {self.keep} and {self.block}")


class Ids(NamedTuple):
    """What a block's orders, children and executions are found by.

    Attributes:
        orders: ids of the orders.
        clients: account and client id in one, of all client ids.
        sent: of the children.
        asked: venue ids of requests on children.
        keys: of the executions.
    """

    orders: list[str]
    clients: list[str]
    sent: list[str]
    asked: list[str]
    keys: list[str]


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
        index: Written | None = None,
    ) -> None:
        self.packing = packing
        self.blocks = list(blocks)
        self.index = KeyIndex(index)
        self._read: dict[int, Row] = {}
        self._block: tuple[int, Block | None] = (-1, None)

    # --- writing ---

    def add(self, leaving: Leaving, ids: Ids) -> None:
        """Pack a block of orders.

        Raises:
            InvariantBrokenError: there are not as many as a block has, or no numbers are left.
        """
        packing, size = self.packing, len(leaving.orders)
        number = packing.rows
        invariant(size == packing.block, "blocks are full", size)
        invariant(number + size < MAX_ROWS, "rows can be numbered", number)
        written = write_block(leaving)
        packing.digest = sha256(packing.digest + written).digest()
        self.blocks.append(compressed(written))
        self._note(ids, number // size)
        packing.rows = number + size

    def _note(self, ids: Ids, block: int) -> None:
        """Index the ids of a block's orders, children and executions."""
        texts = ids.keys + ids.clients
        texts += _heads_of_orders(sorted(ids.orders))
        texts += _heads_of_sent(ids.sent)
        texts += [*dict.fromkeys(map(_head_of_sent, ids.asked))]
        self.index.add_ids(texts, block)

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
            at, place = divmod(number, self.packing.block)
            found = self._read[number] = self._block_at(at).row(place)
            if len(self._read) > _MAX_READ:
                del self._read[next(iter(self._read))]
        return found

    def _block_at(self, at: int) -> Block:
        """A block's rows; those of the block that was read last stay at hand."""
        number, block = self._block
        if block is None or number != at:
            block = Block(decompressed(self.blocks[at]))
            self._block = (at, block)
        return block

    def all_rows(self) -> Iterator[Row]:
        """Every row that is packed now, in the order of packing; none stays unpacked."""
        gone, number = self.packing.gone, 0
        for block in self.blocks:
            for row in Block(decompressed(block)):
                if number not in gone:
                    yield row
                number += 1

    def __len__(self) -> int:
        return self.packing.rows - len(self.packing.gone)

    def of_order(self, order_id: str) -> int | None:
        """Number of the row of an order."""
        return self._found(self.index.rows_of(_ORDERS(order_id)), Block.of_order, order_id)

    def of_execution(self, key: str) -> int | None:
        """Number of the row that holds an execution."""
        return self._found(self.index.rows_of(key), Block.of_execution, key)

    def of_client_id(self, account: str, cl_ord_id: str) -> int | None:
        """Number of the row of the order that a client id names."""
        blocks = self.index.rows_of_client(account, cl_ord_id, salt_of(account))
        return self._found(blocks, Block.of_client_id, account, cl_ord_id) if blocks else None

    def of_venue_id(self, venue_id: str) -> tuple[int, Child] | None:
        """The child that a venue's client order id names, its own or a request's; its row's number first."""
        number = self._found(self.index.rows_of(_head_of_sent(venue_id)), Block.of_venue_id, venue_id)
        if number is None:
            return None
        children = self.row(number).children
        named = (child for child in children if venue_id in (child.child_id, *(child.requests or ())))
        return number, next(named)

    def _found(self, blocks: Iterable[int], place_of: Callable[..., int | None], *wanted: str) -> int | None:
        """Number of the row that is packed now in one of the blocks, at the place that the block says."""
        size, gone = self.packing.block, self.packing.gone
        for block in blocks:
            place = place_of(self._block_at(block), *wanted)
            if place is not None and block * size + place not in gone:
                return block * size + place
        return None

    # --- the written form ---

    @property
    def complete(self) -> bool:
        """Whether it holds the rows that the packing counts."""
        return len(self.blocks) * self.packing.block == self.packing.rows

    def dump(self) -> tuple[list[bytes], Written]:
        """Blocks and index; with the packing they make an equal archive."""
        return self.blocks, self.index.dump()

    def copy(self) -> Archive:
        """An equal archive that changes by itself; the blocks, which never change, are shared."""
        packing = msgspec.structs.replace(self.packing, gone=dict(self.packing.gone))
        return Archive(packing, *self.dump())


def _heads_of_orders(order_ids: list[str]) -> list[str]:
    """The heads of sorted order ids, each once. All order ids are of one length (`core.ids`), so between two
    of one head there are no others.
    """
    heads, at = [], 0
    while at < len(order_ids):
        head = _ORDERS(order_ids[at])
        heads.append(head)
        at = bisect_left(order_ids, head + _AFTER, at + 1)
    return heads


def _head_of_sent(venue_id: str) -> str:
    """What is common to venue ids of events that came one after another, whatever their legs: shard, epoch
    and sequence without its last digit.
    """
    parts = venue_id.split("-")
    return venue_id[:-1] if len(parts) <= _PARTS else "-".join(parts[:_PARTS])[:-1]


def _heads_of_sent(venue_ids: list[str]) -> list[str]:
    """The heads of venue ids, each once."""
    return _heads_alike(venue_ids) or [*dict.fromkeys(map(_head_of_sent, venue_ids))]


def _heads_alike(venue_ids: list[str]) -> list[str]:
    """`_heads_of_sent` of ids that without their legs are of one length and differ in their last three digits
    only, as those of nearly every block; nothing for any others.
    """
    text, size = "\n".join([*venue_ids, ""]), len(venue_ids)
    for leg in _LEGS:
        text = text.replace(leg, "\n")
    width = text.find("\n")
    step, fixed = width + 1, width - _DIGITS
    if fixed < 0 or len(text) != step * size or text[width::step] != "\n" * size:
        return []
    if text.count("-", 0, fixed) != _PARTS - 1 or text.count("-") != size * (_PARTS - 1):
        return []
    for at in range(fixed):
        if text[at::step] != text[at] * size:
            return []
    high, low = text[fixed::step], text[fixed + 1 :: step]
    if high == high[0] * size:
        return [text[: fixed + 1] + digit for digit in sorted(set(low))]
    return sorted([text[:fixed] + one + other for one, other in {*zip(high, low, strict=True)}])
