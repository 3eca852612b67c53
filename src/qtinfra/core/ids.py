"""Identifiers derived from (shard, epoch, sequence): unique, and the same in every replay."""

from __future__ import annotations

from functools import lru_cache

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_TRIPLES = tuple(f"{number:03x}" for number in range(0x1000))


def base36(number: int) -> str:
    """A non-negative number in base 36, lower case."""
    text = ""
    while number >= 1296:
        number, pair = divmod(number, 1296)
        text = _PAIRS[pair] + text
    return (_PAIRS[number] if number >= 36 else _DIGITS[number]) + text


@lru_cache(maxsize=256)
def _order_prefix(shard: int, epoch: int, high: int) -> str:
    """All but the last three digits of a public order id, which many ids have in common.

    Args:
        high: the sequence number without its low 12 bits.
    """
    text, seq = f"{shard << 32 | epoch:012x}", high << 12
    top, low = seq >> 50 & 0xFFF, f"{0b10 << 62 | seq & 0x3_FFFF_FFFF_FFFF:016x}"
    return f"{text[:8]}-{text[8:]}-8{top:03x}-{low[:4]}-{low[4:-3]}"


@lru_cache(maxsize=256)
def _venue_prefix(shard: int, epoch: int, high: int) -> str:
    """Shard, epoch and all but the last two digits of the sequence, which many ids have in common."""
    return f"{base36(shard)}-{base36(epoch)}-{base36(high) if high else ''}"


def order_id(shard: int, epoch: int, seq: int) -> str:
    """The public order id: a UUID version 8 (RFC 9562) whose free bits are shard, epoch and sequence.

    Layout: shard 16 bits, epoch 32, version, 12 high bits of the sequence, variant, 50 low bits. Ids of one
    epoch sort by sequence.
    """
    return _order_prefix(shard, epoch, seq >> 12) + _TRIPLES[seq & 0xFFF]


def venue_cl_ord_id(shard: int, epoch: int, seq: int, leg: int = 0) -> str:
    """A client order id for a venue (FIX 11): short, and new for every order, cancel and replace."""
    high, pair = divmod(seq, 1296)
    text = _venue_prefix(shard, epoch, high) + (_PAIRS[pair] if high else base36(pair))
    return f"{text}-{base36(leg)}" if leg else text
