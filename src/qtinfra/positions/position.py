"""One position: its trades, lots and figures, and what is read from them.

All amounts are exact and in the instrument's currency. A position keeps its signed cash flow (a buy is
negative, fees apart) and its open cost under either method; realised P&L is their sum, so no amount can get
lost between the two, and realised plus unrealised P&L is the same under both methods. Reading is exact in any
decimal context.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import EXACT, ONE, ZERO, average, canonical


class CostMethod(StrEnum):
    """Which open quantity a closing trade is set against."""

    AVERAGE = "AVERAGE"
    FIFO = "FIFO"


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


class Lot(msgspec.Struct, array_like=True, gc=False):
    """Open quantity (signed) from one trade. Its cost is `qty * unit_cost + residue`.

    `unit_cost` is price times multiplier. `residue` is zero, unless a corporate action left a cost that its
    quantity does not divide: the last unit of the lot takes it.
    """

    qty: Decimal
    unit_cost: Decimal
    residue: Decimal = ZERO

    @property
    def cost(self) -> Decimal:
        """Signed like the quantity: negative for a short lot, the proceeds of the sale."""
        return EXACT.add(EXACT.multiply(self.qty, self.unit_cost), self.residue)


class Opening(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a position was before the first trade of its list: loaded, or left by trades that were folded.

    The fields are those of `Position` at that moment. `folded_before` is the trade date up to which (itself
    not included) trades were folded, ISO 8601; empty when the position was only loaded.
    """

    multiplier: Decimal
    qty: Decimal
    cash: Decimal
    cost: Decimal
    fifo_cost: Decimal
    bought_qty: Decimal
    bought_value: Decimal
    fees: Decimal
    lots: tuple[tuple[Decimal, Decimal, Decimal], ...]
    folded_before: str = ""


class Position(msgspec.Struct, gc=False):
    """What one account holds of one instrument, and every trade that led to it.

    A quantity loaded at the start of day counts as bought (short: sold) at its cost, so that it has earned
    nothing yet; `cash`, `bought_qty` and what follows from them contain it.

    Most of the memory of a large shard is in its positions, so what the next trade does not need is kept as
    bytes: the trades (`packed`), and the open lots behind the oldest (`later`).

    Attributes:
        multiplier: currency value of a price move of 1 per unit, of the latest trade.
        qty: net quantity, negative when short.
        cash: signed cash flow of all trades, fees apart: sales less purchases.
        cost: open cost under the average-cost method, signed like `qty`.
        fifo_cost: open cost under first in, first out, signed like `qty`.
        bought_qty, bought_value: totals of the buys; those of the sells follow from them.
        fees: total fees, positive when paid.
        oldest: the oldest open lot; None when there is none.
        later: the open lots after it, the oldest at byte `later_at`; what stands before is used up.
        packed: the oldest trades, one after the other; `packed_count` is how many, `packed_multiplier` and
            `packed_date` are those of the last one.
        listed: the trades after them, while a bust or a corporate action has them in a list; else None.
        scalings: the corporate actions between the trades.
        opening: what stood before the first trade; None for a position that began with it.
    """

    multiplier: Decimal = ONE
    qty: Decimal = ZERO
    cash: Decimal = ZERO
    cost: Decimal = ZERO
    fifo_cost: Decimal = ZERO
    bought_qty: Decimal = ZERO
    bought_value: Decimal = ZERO
    fees: Decimal = ZERO
    oldest: Lot | None = None
    later: bytearray | None = None
    later_at: int = 0
    packed: bytearray | None = None
    packed_count: int = 0
    packed_multiplier: Decimal = ONE
    packed_date: str = ""
    listed: list[Trade] | None = None
    scalings: list[Scaling] | None = None
    opening: Opening | None = None

    @property
    def sold_qty(self) -> Decimal:
        """Total quantity sold, never negative."""
        return canonical(EXACT.subtract(self.bought_qty, self.qty))

    @property
    def sold_value(self) -> Decimal:
        """Total value of the sells, fees apart."""
        return canonical(EXACT.add(self.bought_value, self.cash))

    @property
    def avg_cost(self) -> Decimal:
        """Average cost as a price, half-even to 8 places; 0 when flat."""
        return cost_price(self, CostMethod.AVERAGE)

    @property
    def realised(self) -> Decimal:
        """Realised P&L under average cost, fees not deducted."""
        return realised(self, CostMethod.AVERAGE)

    @property
    def realised_fifo(self) -> Decimal:
        """Realised P&L under first in, first out, fees not deducted."""
        return realised(self, CostMethod.FIFO)

    @property
    def open_lots(self) -> list[Lot]:
        """The open lots, the oldest first."""
        return [] if self.oldest is None else [self.oldest, *_later_lots(self)]

    @property
    def trades(self) -> list[Trade]:
        """Every trade, in the order of their arrival; busted and folded ones left out."""
        return packed_trades(self) + (self.listed or [])


def has_traded(position: Position) -> bool:
    """Whether it has trades, folded ones included: its start-of-day quantity then stands."""
    if position.listed or position.packed_count or position.opening is None:
        return True
    return bool(position.opening.folded_before)


# --- trades as bytes -------------------------------------------------------------------------------------


class _Packed(msgspec.Struct, array_like=True, gc=False):
    """A trade as it is written: without what it has in common with the one before."""

    key: str
    qty: Decimal
    px: Decimal
    fee: Decimal
    multiplier: Decimal | None = None
    trade_date: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_encode = _ENCODER.encode
_TRADES = msgspec.msgpack.Decoder(list[_Packed])
_LOT = msgspec.msgpack.Decoder(Lot)
#: A MessagePack array whose length follows in four bytes.
_ARRAY = b"\xdd"
#: Bytes that say how long a written lot is.
_LENGTH = 2


def note_trade(
    position: Position,
    key: str,
    qty: Decimal,
    px: Decimal,
    fee: Decimal,
    multiplier: Decimal,
    trade_date: str,
) -> None:
    """Keep one more trade. No figure changes.

    It is written to the bytes at once, unless trades are in the list: then the oldest few of those are. A
    position that lists corporate actions, which count the trades before them, keeps all of its trades there.
    """
    listed = position.listed
    if listed is None and position.scalings is None:
        _pack(position, key, qty, px, fee, multiplier, trade_date)
        return
    if listed is None:
        listed = position.listed = []
    listed.append(Trade(key, qty, px, fee, multiplier, trade_date))
    pack_trades(position, 1 + len(listed) // 64)


def _pack(
    position: Position,
    key: str,
    qty: Decimal,
    px: Decimal,
    fee: Decimal,
    multiplier: Decimal,
    trade_date: str,
) -> None:
    packed = position.packed
    if packed is None:
        packed = position.packed = bytearray()
    if trade_date == position.packed_date and multiplier == position.packed_multiplier:
        packed += _encode((key, qty, px, fee))
    else:
        position.packed_date, position.packed_multiplier = trade_date, multiplier
        packed += _encode((key, qty, px, fee, multiplier, trade_date))
    position.packed_count += 1


def pack_trades(position: Position, count: int) -> None:
    """Write the oldest `count` trades of the list, or all there are, to the bytes. No figure changes."""
    listed = position.listed
    if listed is None or position.scalings is not None:
        return
    for trade in listed[:count]:
        _pack(position, trade.key, trade.qty, trade.px, trade.fee, trade.multiplier, trade.trade_date)
    del listed[:count]
    if not listed:
        position.listed = None


def packed_trades(position: Position) -> list[Trade]:
    """The trades that are packed, in the order of their arrival."""
    if not position.packed_count or position.packed is None:
        return []
    written = _TRADES.decode(_ARRAY + position.packed_count.to_bytes(4, "big") + position.packed)
    multiplier, trade_date, trades = ONE, "", []
    for item in written:
        if item.multiplier is not None:
            multiplier, trade_date = item.multiplier, item.trade_date
        trades.append(Trade(item.key, item.qty, item.px, item.fee, multiplier, trade_date))
    return trades


def unpacked_trades(position: Position) -> list[Trade]:
    """Every trade: the position's own list if none is packed, else a new one."""
    if position.listed is not None and not position.packed_count:
        return position.listed
    return position.trades


def list_trades(position: Position, trades: list[Trade]) -> None:
    """Let these be the trades, all in the list."""
    position.listed = trades or None
    position.packed, position.packed_count = None, 0
    position.packed_multiplier, position.packed_date = ONE, ""


# --- lots as bytes ---------------------------------------------------------------------------------------


def add_lot(position: Position, lot: Lot) -> None:
    """Put a lot behind those that are open."""
    if position.oldest is None:
        position.oldest = lot
        return
    later = position.later
    if later is None:
        later = position.later = bytearray()
    written = _encode((lot.qty, lot.unit_cost, lot.residue) if lot.residue else (lot.qty, lot.unit_cost))
    later += len(written).to_bytes(_LENGTH, "big")
    later += written


def next_lot(position: Position) -> Lot:
    """The oldest lot is used up: the one after it, which is the oldest now.

    Raises:
        ValueError: there is none.
    """
    later, at = position.later, position.later_at
    if later is None:
        raise ValueError("more is closed than the lots hold")
    begin = at + _LENGTH
    end = begin + int.from_bytes(later[at:begin], "big")
    lot = position.oldest = _LOT.decode(later[begin:end])
    if end == len(later):
        position.later, position.later_at = None, 0
    elif end * 2 >= len(later):
        del later[:end]
        position.later_at = 0
    else:
        position.later_at = end
    return lot


def clear_lots(position: Position) -> None:
    """No lot is open any more."""
    position.oldest = position.later = None
    position.later_at = 0


def _later_lots(position: Position) -> list[Lot]:
    later, at = position.later, position.later_at
    found: list[Lot] = []
    while later is not None and at < len(later):
        begin = at + _LENGTH
        at = begin + int.from_bytes(later[at:begin], "big")
        found.append(_LOT.decode(later[begin:at]))
    return found


# --- reading ---------------------------------------------------------------------------------------------


def _cost(position: Position, method: CostMethod) -> Decimal:
    return position.cost if method is CostMethod.AVERAGE else position.fifo_cost


def cost_price(position: Position, method: CostMethod = CostMethod.AVERAGE) -> Decimal:
    """Open cost per unit as a price, comparable with a mark: half-even to 8 places, 0 when flat."""
    return average(_cost(position, method), EXACT.multiply(position.qty, position.multiplier))


def realised(position: Position, method: CostMethod = CostMethod.AVERAGE) -> Decimal:
    """Realised P&L, exact, fees not deducted: the cash flow plus what the open position has cost."""
    return canonical(EXACT.add(position.cash, _cost(position, method)))


def unrealised(position: Position, mark: Decimal, method: CostMethod = CostMethod.AVERAGE) -> Decimal:
    """Unrealised P&L at a price: value at the mark less open cost, exact; 0 when flat."""
    value = EXACT.multiply(EXACT.multiply(position.qty, mark), position.multiplier)
    return canonical(EXACT.subtract(value, _cost(position, method)))


class PnlLine(msgspec.Struct, frozen=True, gc=False):
    """A position as a blotter shows it. `net` is realised plus unrealised P&L less fees."""

    qty: Decimal
    avg_cost: Decimal
    mark: Decimal
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    net: Decimal


def pnl(position: Position, mark: Decimal, method: CostMethod = CostMethod.AVERAGE) -> PnlLine:
    """The blotter line of a position at a price. `net` does not depend on the method."""
    earned, floating = realised(position, method), unrealised(position, mark, method)
    return PnlLine(
        qty=canonical(position.qty),
        avg_cost=cost_price(position, method),
        mark=mark,
        realised=earned,
        unrealised=floating,
        fees=canonical(position.fees),
        net=canonical(EXACT.subtract(EXACT.add(earned, floating), position.fees)),
    )


def violations(position: Position) -> list[str]:
    """What is wrong with a position, in words; empty when its two views and its totals agree."""
    lots = position.open_lots
    found: list[str] = []
    misplaced = [lot for lot in lots if (lot.qty > ZERO) is not (position.qty > ZERO) or not lot.qty]
    if misplaced:
        found.append(f"{len(misplaced)} open lots have no quantity or the wrong side")
    if _sum(lot.qty for lot in lots) != position.qty:
        found.append("the open lots do not sum to the quantity")
    if _sum(lot.cost for lot in lots) != position.fifo_cost:
        found.append("the open lots do not sum to the FIFO cost")
    if not position.qty and (position.cost or position.fifo_cost):
        found.append("a flat position has open cost")
    if position.sold_qty < ZERO:
        found.append("less bought than held")
    return found


def _sum(values: Iterator[Decimal]) -> Decimal:
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total
