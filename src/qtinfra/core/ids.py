"""Identifiers derived from (shard, epoch, sequence): unique, and the same in every replay.

Ids that follow each other share all but their last digits: that head is remembered, and an id is the head
and a pair of digits from a table.
"""

from __future__ import annotations

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_HEX_PAIRS = tuple(f"{pair:02x}" for pair in range(256))


def base36(number: int) -> str:
    """A non-negative number in base 36, lower case."""
    text = ""
    while number >= 1296:
        number, pair = divmod(number, 1296)
        text = _PAIRS[pair] + text
    return (_PAIRS[number] if number >= 36 else _DIGITS[number]) + text


#: Shard, epoch, high digits of the sequence, and the head that they make.
_Head = tuple[int, int, int, str]
_NO_HEAD: _Head = (-1, -1, -1, "")

#: The head used last, of order ids and of venue ids. One item that is replaced as a whole, so that threads
#: with shards of their own may share it.
_order_heads = [_NO_HEAD]
_venue_heads = [_NO_HEAD]


def _order_head(shard: int, epoch: int, high: int) -> str:
    """An order id without its last two digits; `high` is the sequence without its last eight bits."""
    before = f"{shard << 32 | epoch:012x}"
    after = f"{0b10 << 54 | high & 0x3FF_FFFF_FFFF:014x}"
    text = f"{before[:8]}-{before[8:]}-8{high >> 42 & 0xFFF:03x}-{after[:4]}-{after[4:]}"
    _order_heads[0] = (shard, epoch, high, text)
    return text


def _venue_head(shard: int, epoch: int, high: int) -> str:
    """A venue id without the last two digits of its sequence, of which `high` are the others."""
    text = f"{base36(shard)}-{base36(epoch)}-{base36(high)}"
    _venue_heads[0] = (shard, epoch, high, text)
    return text


def order_id(shard: int, epoch: int, seq: int) -> str:
    """The public order id: a UUID version 8 (RFC 9562) whose free bits are shard, epoch and sequence.

    Layout: shard 16 bits, epoch 32, version, 12 high bits of the sequence, variant, 50 low bits. Ids of one
    epoch sort by sequence.
    """
    last_shard, last_epoch, last_high, text = _order_heads[0]
    high = seq >> 8
    if high != last_high or epoch != last_epoch or shard != last_shard:
        text = _order_head(shard, epoch, high)
    return text + _HEX_PAIRS[seq & 255]


def venue_cl_ord_id(shard: int, epoch: int, seq: int, leg: int = 0) -> str:
    """A client order id for a venue (FIX 11): short, and new for every order, cancel and replace."""
    last_shard, last_epoch, last_high, text = _venue_heads[0]
    high = seq // 1296
    if not high:
        text = f"{base36(shard)}-{base36(epoch)}-{base36(seq)}"
    else:
        if high != last_high or epoch != last_epoch or shard != last_shard:
            text = _venue_head(shard, epoch, high)
        text += _PAIRS[seq - high * 1296]
    return f"{text}-{base36(leg)}" if leg else text
