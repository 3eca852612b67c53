"""One position: its trades, and what is read from them.

All amounts are exact and in the instrument's currency. Signed cash flow (a buy is negative, fees apart) and
open cost under either method are what trades come to; realised P&L is their sum, so no amount can get lost
between the two, and realised plus unrealised P&L is the same under both methods. Reading is exact in any
decimal context and changes nothing.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import EXACT, ONE, ZERO, average, canonical, exact
from qtinfra.core.writes import quick_writes
from qtinfra.positions.lots import Lot, lots_through, total
from qtinfra.positions.trades import Scaling, Trade, completed, encode, written

#: Trades that a position keeps beside what lies behind it, in no more bytes than they need.
RECENT = 16


class CostMethod(StrEnum):
    """Which open quantity a closing trade is set against."""

    AVERAGE = "AVERAGE"
    FIFO = "FIFO"


class Opening(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a position was before the first of its trades: loaded, or left by trades that were folded.

    Attributes:
        multiplier, qty, cost, bought_qty, bought_value, sold_value, fees: those of the position then.
        lots: what was open, the oldest first.
        folded_before: the trade date up to which (itself not included) trades were folded, ISO 8601; empty
            when the position was only loaded.
    """

    multiplier: Decimal
    qty: Decimal
    cost: Decimal
    bought_qty: Decimal
    bought_value: Decimal
    sold_value: Decimal
    fees: Decimal
    lots: tuple[Lot, ...]
    folded_before: str = ""

    @property
    def cash(self) -> Decimal:
        """Signed cash flow until then, fees apart; what was loaded counts as bought or sold at its cost."""
        return EXACT.subtract(self.sold_value, self.bought_value)


class Past(msgspec.Struct, array_like=True, gc=False):
    """What lies behind the latest trades of a position.

    Attributes:
        packed: the oldest trades, one after the other; `packed_count` is how many.
        listed: the trades after them, while a bust or a corporate action has them in a list; else None.
        scalings: the corporate actions between the trades.
        opening: what stood before the first trade; None for a position that began with it.
    """

    packed: bytearray = msgspec.field(default_factory=bytearray)
    packed_count: int = 0
    listed: list[Trade] | None = None
    scalings: list[Scaling] | None = None
    opening: Opening | None = None


@quick_writes
class Position(msgspec.Struct, gc=False):
    """What one account holds of one instrument, and every trade that led to it.

    A quantity loaded at the start of day counts as bought (short: sold) at its cost, so that it has earned
    nothing yet; `cash`, `bought_qty` and what follows from them contain it.

    Most of the memory of a large shard is in its positions, and most orders find theirs cold. So the trades
    are kept as bytes, and no number that follows from others: cash from what was bought and sold, the open
    lots and their cost from the trades.

    Attributes:
        qty: net quantity, negative when short.
        cost: open cost under the average-cost method, signed like `qty`.
        bought_qty, bought_value: totals of the buys, fees apart.
        sold_value: total value of the sells, fees apart.
        fees: total fees, positive when paid.
        multiplier: currency value of a price move of 1 per unit, of the latest trade.
        recent: the latest trades, one after the other, the first with all it has; `recent_count` is how many.
        trade_date: of the latest trade in `recent`, ISO 8601; empty when `recent` is.
        past: what was before them; None for nothing.
    """

    qty: Decimal = ZERO
    cost: Decimal = ZERO
    bought_qty: Decimal = ZERO
    bought_value: Decimal = ZERO
    sold_value: Decimal = ZERO
    fees: Decimal = ZERO
    multiplier: Decimal = ONE
    recent: bytes = b""
    recent_count: int = 0
    trade_date: str = ""
    past: Past | None = None

    @property
    def cash(self) -> Decimal:
        """Signed cash flow of all trades, fees apart: sales less purchases."""
        return EXACT.subtract(self.sold_value, self.bought_value)

    @property
    def fifo_cost(self) -> Decimal:
        """Open cost under first in, first out, signed like `qty`. Goes through all trades."""
        return total(lot.cost for lot in self.open_lots)

    @property
    def sold_qty(self) -> Decimal:
        """Total quantity sold, never negative."""
        return canonical(EXACT.subtract(self.bought_qty, self.qty))

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
    def scalings(self) -> list[Scaling]:
        """The corporate actions between the trades, in their order."""
        return [] if self.past is None else self.past.scalings or []

    @property
    def opening(self) -> Opening | None:
        """What stood before the first trade; None for a position that began with it."""
        return None if self.past is None else self.past.opening

    @property
    def trades(self) -> list[Trade]:
        """Every trade, in the order of their arrival; busted and folded ones left out."""
        older = [] if self.past is None else _older_trades(self.past)
        return older + completed(written(self.recent, self.recent_count))

    @property
    def open_lots(self) -> list[Lot]:
        """The open lots, the oldest first. Goes through all trades."""
        if not self.qty:
            return []
        with exact():
            opening = self.opening
            return lots_through(() if opening is None else opening.lots, self.trades, self.scalings)


def has_traded(position: Position) -> bool:
    """Whether it has trades, folded ones included: its start-of-day quantity then stands."""
    past = position.past
    if position.recent_count or past is None or past.opening is None:
        return True
    return bool(past.packed_count or past.listed or past.opening.folded_before)


# --- trades in and out -----------------------------------------------------------------------------------


def put_away(position: Position) -> None:
    """Let the latest trades go to those of the past. No number changes.

    While trades are in the list, these go behind them, and some of its oldest to the bytes; a position with
    corporate actions, which count the trades before them, keeps all of its trades in the list.
    """
    past = past_of(position)
    if past.listed is None and past.scalings is None:
        past.packed += position.recent
        past.packed_count += position.recent_count
    else:
        past.listed = (past.listed or []) + completed(written(position.recent, position.recent_count))
        _pack_listed(past)
    position.recent, position.recent_count, position.trade_date = b"", 0, ""


def past_of(position: Position) -> Past:
    """What lies behind its latest trades, begun when nothing does."""
    past = position.past
    if past is None:
        past = position.past = Past()
    return past


def _pack_listed(past: Past) -> None:
    """Write the oldest trades of the list, more than come meanwhile, to the bytes."""
    listed = past.listed
    if not listed or past.scalings is not None:
        return
    count = RECENT + len(listed) // 4
    for trade in listed[:count]:
        past.packed += encode(trade)
        past.packed_count += 1
    past.listed = listed[count:] or None


def _older_trades(past: Past) -> list[Trade]:
    """Those that lie behind the latest, in a new list."""
    return completed(written(past.packed, past.packed_count)) + (past.listed or [])


def unpacked_trades(position: Position) -> list[Trade]:
    """Every trade: the position's own list if all are there, else a new one."""
    past = position.past
    if past is not None and past.listed is not None and not past.packed_count and not position.recent_count:
        return past.listed
    return position.trades


def list_trades(position: Position, trades: list[Trade]) -> None:
    """Let these be the trades, all in the list. No number changes."""
    past = past_of(position)
    past.listed = trades or None
    past.packed, past.packed_count = bytearray(), 0
    position.recent, position.recent_count, position.trade_date = b"", 0, ""


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
