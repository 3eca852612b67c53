"""The trades of a position, as they count and as the bytes that they are kept in."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ONE


class Trade(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One execution as it counts today. `qty` is signed (a buy is positive) and, like `px`, as traded.

    `fee` is in the instrument's currency, positive when paid; `trade_date` is ISO 8601.
    """

    key: str
    qty: Decimal
    px: Decimal
    fee: Decimal
    multiplier: Decimal
    trade_date: str


class Scaling(msgspec.Struct, array_like=True, gc=False):
    """A corporate action that came after the first `after` trades: quantity times `num / den`."""

    after: int
    num: Decimal
    den: Decimal


class Written(msgspec.Struct, array_like=True, gc=False):
    """A trade as it is written: without a multiplier and a date it has those of the one before it."""

    key: str
    qty: Decimal
    px: Decimal
    fee: Decimal
    multiplier: Decimal | None = None
    trade_date: str = ""


# --- trades as bytes -------------------------------------------------------------------------------------

encode = msgspec.msgpack.Encoder().encode
_TRADES = msgspec.msgpack.Decoder(list[Written])
#: A MessagePack array whose length follows in four bytes.
_ARRAY = b"\xdd"


def written(data: bytes | bytearray, count: int) -> list[Written]:
    """So many trades that were written one after the other, as they were written."""
    return _TRADES.decode(_ARRAY + count.to_bytes(4, "big") + data) if count else []


def completed(items: list[Written]) -> list[Trade]:
    """Written trades, the first of them with all it has, as trades."""
    multiplier, trade_date, trades = ONE, "", []
    for item in items:
        if item.multiplier is not None:
            multiplier, trade_date = item.multiplier, item.trade_date
        trades.append(Trade(item.key, item.qty, item.px, item.fee, multiplier, trade_date))
    return trades
