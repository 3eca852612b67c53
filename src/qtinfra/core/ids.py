"""Identifiers derived from (shard, epoch, sequence): unique, and the same in every replay."""

from __future__ import annotations

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def base36(number: int) -> str:
    """A non-negative number in base 36, lower case."""
    if number < 36:
        return _DIGITS[number]
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text


def order_id(shard: int, epoch: int, seq: int) -> str:
    """The public order id: a UUID version 8 (RFC 9562) whose free bits are shard, epoch and sequence.

    Layout: shard 16 bits, epoch 32, version, 12 high bits of the sequence, variant, 50 low bits. Ids of one
    epoch sort by sequence.
    """
    high, low = seq >> 50 & 0xFFF, seq & 0x3_FFFF_FFFF_FFFF
    text = f"{shard << 32 | epoch:012x}8{high:03x}{0b10 << 62 | low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def venue_cl_ord_id(shard: int, epoch: int, seq: int, leg: int = 0) -> str:
    """A client order id for a venue (FIX 11): short, and new for every order, cancel and replace."""
    text = f"{base36(shard)}-{base36(epoch)}-{base36(seq)}"
    return f"{text}-{base36(leg)}" if leg else text


def order_seq(text: str) -> int | None:
    """The sequence in an `order_id`; None for a text that cannot be one."""
    if len(text) != 36 or text[14] != "8":
        return None
    try:
        return int(text[15:18], 16) << 50 | int(text[19:23] + text[24:], 16) & 0x3_FFFF_FFFF_FFFF
    except ValueError:
        return None


def venue_seq(text: str) -> int | None:
    """The sequence in a `venue_cl_ord_id`; None for a text that cannot be one."""
    parts = text.split("-", 3)
    try:
        return int(parts[2], 36) if len(parts) > 2 and parts[2].isalnum() else None
    except ValueError:
        return None
