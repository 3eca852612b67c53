"""Identifiers derived from (shard, epoch, sequence): unique, and the same in every replay.

Ids that follow each other share all but their last digits: that head is remembered, and an id is the head
and a pair of digits from a table.
"""

from __future__ import annotations

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
#: All pairs of digits, by what they stand for.
PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
HEX_PAIRS = tuple(f"{pair:02x}" for pair in range(256))


def base36(number: int) -> str:
    """A non-negative number in base 36, lower case."""
    text = ""
    while number >= 1296:
        number, pair = divmod(number, 1296)
        text = PAIRS[pair] + text
    return (PAIRS[number] if number >= 36 else _DIGITS[number]) + text


#: Shard, epoch, the first sequence that a head serves, and the head.
_Head = tuple[int, int, int, str]

#: The head used last, of order ids and of venue ids. One item that is replaced as a whole, so that threads
#: with shards of their own may share it.
_order_heads: list[_Head] = [(-1, -1, 0, "")]
_venue_heads: list[_Head] = [(-1, -1, 0, "")]


def order_id(shard: int, epoch: int, seq: int) -> str:
    """The public order id: a UUID version 8 (RFC 9562) whose free bits are shard, epoch and sequence.

    Layout: shard 16 bits, epoch 32, version, 12 high bits of the sequence, variant, 50 low bits. Ids of one
    epoch sort by sequence.
    """
    of_shard, of_epoch, first, head = _order_heads[0]
    last = seq - first
    if 0 <= last < 256 and epoch == of_epoch and shard == of_shard:
        return head + HEX_PAIRS[last]
    return _order_head(shard, epoch, seq >> 8) + HEX_PAIRS[seq & 255]


class Heads:
    """What the ids of the orders of one shard, and those of their first children, share for a while.

    For a sequence from `first` (inclusive) to `end` (exclusive), of an epoch, the order's id is `order` and
    `HEX_PAIRS[seq & 255]`; that of what the next event sends first is `child` and `PAIRS[seq - begin]`.
    """

    __slots__ = ("begin", "child", "end", "epoch", "first", "order")

    def __init__(self) -> None:
        self.epoch, self.first, self.end = -1, 0, 0
        self.order, self.child, self.begin = "", "", 0

    def order_and_child(self, shard: int, epoch: int, seq: int) -> tuple[str, str]:
        """`order_id` of an order, and `venue_cl_ord_id` of what the event after it sends first; the heads
        serve what comes next.
        """
        order, child = order_id(shard, epoch, seq), venue_cl_ord_id(shard, epoch, seq + 1)
        if seq >= 1296:
            block, begin = seq & ~255, (seq + 1) // 1296 * 1296 - 1
            self.epoch, self.first, self.end = epoch, max(block, begin), min(block + 256, begin + 1296)
            self.order, self.child, self.begin = order[:-2], child[:-2], begin
        return order, child

    def third(self, shard: int, epoch: int, seq: int) -> str:
        """`venue_cl_ord_id` of what the second event after that of an order sends first."""
        place = seq + 1 - self.begin
        if epoch == self.epoch and 0 <= place < len(PAIRS):
            return self.child + PAIRS[place]
        return venue_cl_ord_id(shard, epoch, seq + 2)


def venue_cl_ord_id(shard: int, epoch: int, seq: int, leg: int = 0) -> str:
    """A client order id for a venue (FIX 11): short, and new for every order, cancel and replace."""
    of_shard, of_epoch, first, head = _venue_heads[0]
    last = seq - first
    if not (0 <= last < 1296 and epoch == of_epoch and shard == of_shard):
        high, last = divmod(seq, 1296)
        head = _venue_head(shard, epoch, high)
    text = head + PAIRS[last] if seq >= 1296 else head + base36(seq)
    return of_leg(text, leg) if leg else text


def of_leg(first: str, leg: int) -> str:
    """The venue id of a later leg, from that of leg 0."""
    return f"{first}-{_DIGITS[leg] if leg < 36 else base36(leg)}"


def _order_head(shard: int, epoch: int, high: int) -> str:
    """An order id without its last two digits; `high` is the sequence without its last eight bits."""
    before = f"{shard << 32 | epoch:012x}"
    after = f"{0b10 << 54 | high & 0x3FF_FFFF_FFFF:014x}"
    head = f"{before[:8]}-{before[8:]}-8{high >> 42 & 0xFFF:03x}-{after[:4]}-{after[4:]}"
    _order_heads[0] = (shard, epoch, high << 8, head)
    return head


def _venue_head(shard: int, epoch: int, high: int) -> str:
    """A venue id without the last two digits of its sequence, of which `high` are the others."""
    head = f"{base36(shard)}-{base36(epoch)}-{base36(high) if high else ''}"
    _venue_heads[0] = (shard, epoch, high * 1296, head)
    return head
