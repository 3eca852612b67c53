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

    A quantity loaded at the start of day counts as bought (short: sold) at its cost, so that it has earned
    nothing yet; `cash`, `bought_qty` and what follows from them contain it.

    Attributes:
        multiplier: currency value of a price move of 1 per unit, of the latest trade.
        qty: net quantity, negative when short.
        cash: signed cash flow of all trades, fees apart: sales less purchases.
        cost: open cost under the average-cost method, signed like `qty`.
        fifo_cost: open cost under first in, first out, signed like `qty`.
        bought_qty, bought_value: totals of the buys; those of the sells follow from them.
        fees: total fees, positive when paid.
        lots: open lots, the oldest at index `first_lot`; what stands before it is used up.
        trades: in the order of their arrival, busted and folded ones left out; the oldest may be packed.
        scalings: the corporate actions between the trades.
        opening: what stood before the first trade; None for a position that began with it.
        packed: the oldest trades as MessagePack, one after the other; `packed_count` is how many.
    """

    multiplier: Decimal = ONE
    qty: Decimal = ZERO
    cash: Decimal = ZERO
    cost: Decimal = ZERO
    fifo_cost: Decimal = ZERO
    bought_qty: Decimal = ZERO
    bought_value: Decimal = ZERO
    fees: Decimal = ZERO
    first_lot: int = 0
    lots: list[Lot] = []
    trades: list[Trade] = []
    scalings: list[Scaling] = []
    opening: Opening | None = None
    packed: bytearray | None = None
    packed_count: int = 0

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
        return self.lots[self.first_lot :]


def has_traded(position: Position) -> bool:
    """Whether it has trades, folded ones included: its start-of-day quantity then stands."""
    if position.trades or position.packed_count or position.opening is None:
        return True
    return bool(position.opening.folded_before)


_ENCODER = msgspec.msgpack.Encoder()
_TRADES = msgspec.msgpack.Decoder(list[Trade])
#: A MessagePack array whose length follows in four bytes.
_ARRAY = b"\xdd"


def pack_trades(position: Position, count: int) -> None:
    """Keep the oldest `count` trades of the list, or all there are, as bytes. No figure changes.

    Corporate actions count the trades before them, so a position that lists any keeps its trades as they are.
    """
    if position.scalings:
        return
    trades = position.trades
    count = min(count, len(trades))
    packed = position.packed
    if packed is None:
        packed = position.packed = bytearray()
    for trade in trades[:count]:
        _ENCODER.encode_into(trade, packed, -1)
    del trades[:count]
    position.packed_count += count


def packed_trades(position: Position) -> list[Trade]:
    """The trades that are packed, in the order of their arrival."""
    if not position.packed_count or position.packed is None:
        return []
    return _TRADES.decode(_ARRAY + position.packed_count.to_bytes(4, "big") + position.packed)


def unpack_trades(position: Position) -> None:
    """Have every trade in the list again."""
    if position.packed_count:
        position.trades = packed_trades(position) + position.trades
        position.packed, position.packed_count = None, 0


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
