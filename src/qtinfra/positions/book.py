"""Positions by account and symbol, with average-cost and FIFO P&L that follow busts and corrections.

All amounts are exact and in the instrument's currency. A position keeps its signed cash flow (a buy is
negative, fees apart) and its open cost under either method; realised P&L is their sum, so no amount can get
lost between the two, and realised plus unrealised P&L is the same under both methods.

The arithmetic of `PositionBook` belongs to the engine and runs under `core.decimals.exact()`, which the
caller enters. What only reads (`Position`'s properties, `unrealised`, `pnl`) is exact in any context.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import EXACT, ONE, PRECISION, ZERO, average, canonical, quotient

# Holds cost times quantity, one factor more than the amounts that EXACT is made for.
_WIDE = Context(prec=2 * PRECISION, traps=[Inexact, InvalidOperation])
# Consumed lots are cut off the front of the list once there are this many and they are half of it.
_COMPACT_AFTER = 32


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


class Position(msgspec.Struct, gc=False):
    """What one account holds of one instrument, and every trade that led to it.

    Attributes:
        multiplier: currency value of a price move of 1 per unit, of the latest trade.
        qty: net quantity, negative when short.
        cash: signed cash flow of all trades, fees apart: sales less purchases.
        cost: open cost under the average-cost method, signed like `qty`.
        fifo_cost: open cost under first in, first out, signed like `qty`.
        bought_qty, bought_value: totals of the buys; those of the sells follow from them.
        fees: total fees, positive when paid.
        lots: open lots, the oldest at index `first_lot`; what stands before it is used up.
        trades: in the order of their arrival, busted ones left out.
        scalings: the corporate actions between the trades.
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


class PositionBook(msgspec.Struct, gc=False):
    """All positions of a shard: by account, then by symbol, both in order of their first trade."""

    accounts: dict[str, dict[str, Position]] = {}

    def apply(
        self,
        account: str,
        symbol: str,
        key: str,
        signed_qty: Decimal,
        px: Decimal,
        fee: Decimal,
        trade_date: str,
        multiplier: Decimal,
    ) -> None:
        """Book one execution.

        Args:
            key: the execution's unique key. The caller sees to it that it is new; it is not looked up here.
            signed_qty: units, positive for a buy.
            px: price per unit in the instrument's currency; may be zero or negative.
            fee: in the same currency, positive when paid, negative for a rebate.
            trade_date: ISO 8601.
            multiplier: currency value of a price move of 1 per unit (1 for shares).

        Raises:
            ValueError: the quantity is zero.
        """
        if not signed_qty:
            raise ValueError(f"trade {key!r} has no quantity")
        symbols = self.accounts.get(account)
        if symbols is None:
            symbols = self.accounts[account] = {}
        position = symbols.get(symbol)
        if position is None:
            position = symbols[symbol] = Position()
        position.trades.append(Trade(key, signed_qty, px, fee, multiplier, trade_date))
        _book(position, signed_qty, px, fee, multiplier)

    def bust(self, account: str, symbol: str, key: str) -> None:
        """Take an execution back, its fee included: the position becomes what it would be without it.

        A position whose only trade this was is gone.

        Raises:
            ValueError: names a key that is unknown or busted already.
        """
        position, index = self._locate(account, symbol, key)
        del position.trades[index]
        _shift_scalings(position, index)
        if position.trades:
            _rebuild(position)
            return
        del self.accounts[account][symbol]
        if not self.accounts[account]:
            del self.accounts[account]

    def correct(self, account: str, symbol: str, key: str, qty: Decimal, px: Decimal) -> None:
        """Give an execution other values, as if it had had them from the start. Side and fee stay.

        Args:
            qty: unsigned, in the units of the trade (before any later split); 0 is a bust.
            px: in the units of the trade.

        Raises:
            ValueError: names a key that is unknown or busted already, or the quantity is negative.
        """
        if qty < ZERO:
            raise ValueError(f"correction of trade {key!r} to a negative quantity: {qty}")
        if not qty:
            self.bust(account, symbol, key)
            return
        position, index = self._locate(account, symbol, key)
        trade = position.trades[index]
        signed_qty = qty if trade.qty > ZERO else -qty
        position.trades[index] = msgspec.structs.replace(trade, qty=signed_qty, px=px)
        _rebuild(position)

    def scale(self, account: str, symbol: str, ratio_num: Decimal, ratio_den: Decimal) -> None:
        """Apply a corporate action: quantity times `ratio_num / ratio_den`, price divided by it, cost kept.

        2/1 is a two-for-one split. A quantity that does not come out even is rounded half-even to 8 places;
        cash in lieu of a fraction is a trade of its own. An account without a position is left alone.

        Raises:
            ValueError: the ratio is not positive.
        """
        if ratio_num <= ZERO or ratio_den <= ZERO:
            raise ValueError(f"ratio must be positive: {ratio_num}/{ratio_den}")
        position = self.get(account, symbol)
        if position is None:
            return
        position.scalings.append(Scaling(len(position.trades), ratio_num, ratio_den))
        _scale(position, ratio_num, ratio_den)

    def get(self, account: str, symbol: str) -> Position | None:
        """The position, flat ones included; None when the account has never traded the symbol."""
        symbols = self.accounts.get(account)
        return None if symbols is None else symbols.get(symbol)

    def positions(self) -> Iterator[tuple[tuple[str, str], Position]]:
        """All positions as ((account, symbol), position), flat ones included."""
        for account, symbols in self.accounts.items():
            for symbol, position in symbols.items():
                yield (account, symbol), position

    def _locate(self, account: str, symbol: str, key: str) -> tuple[Position, int]:
        position = self.get(account, symbol)
        if position is not None:
            trades = position.trades
            for index in range(len(trades) - 1, -1, -1):
                if trades[index].key == key:
                    return position, index
        raise ValueError(f"no trade {key!r} in {symbol} of {account}: unknown, or busted already")


def _book(position: Position, qty: Decimal, px: Decimal, fee: Decimal, multiplier: Decimal) -> None:
    """Let one trade change the figures of the position; its list of trades is the caller's."""
    unit_cost = px * multiplier
    value = qty * unit_cost
    held = position.qty
    position.multiplier = multiplier
    position.cash -= value
    position.qty = held + qty
    if fee:
        position.fees += fee
    buys = qty > ZERO
    if buys:
        position.bought_qty += qty
        position.bought_value += value
    if not held or (held > ZERO) is buys:
        position.cost += value
        position.fifo_cost += value
        position.lots.append(Lot(qty, unit_cost))
    else:
        _close(position, held, qty, unit_cost)


def _close(position: Position, held: Decimal, qty: Decimal, unit_cost: Decimal) -> None:
    """A trade against the position: it reduces it, or ends it and opens the other side with the rest.

    Reducing takes out `cost * qty / held`, half-even to 8 places; what rounding left stays in the open cost.
    """
    rest = position.qty
    if rest and (rest > ZERO) is (held > ZERO):
        position.cost -= quotient(_WIDE.multiply(position.cost, -qty), held)
        position.fifo_cost -= _consume(position, -qty)
        return
    position.first_lot = 0
    position.lots.clear()
    if rest:
        position.cost = position.fifo_cost = rest * unit_cost
        position.lots.append(Lot(rest, unit_cost))
    else:
        position.cost = position.fifo_cost = ZERO


def _consume(position: Position, qty: Decimal) -> Decimal:
    """Take `qty` (signed like the lots, less than all of them) from the oldest lots; the cost taken out."""
    lots, index, taken = position.lots, position.first_lot, ZERO
    while qty:
        lot = lots[index]
        if abs(lot.qty) > abs(qty):
            lot.qty -= qty
            taken += qty * lot.unit_cost
            break
        qty -= lot.qty
        taken += lot.qty * lot.unit_cost + lot.residue
        index += 1
    if index >= _COMPACT_AFTER and index * 2 >= len(lots):
        del lots[:index]
        index = 0
    position.first_lot = index
    return taken


def _scale(position: Position, num: Decimal, den: Decimal) -> None:
    """Scale the quantities; costs and cash stay. A position scaled down to nothing realises its cost."""
    position.lots = _scaled_lots(position.open_lots, num, den)
    position.first_lot = 0
    position.qty = canonical(quotient(position.qty * num, den))
    position.bought_qty = canonical(quotient(position.bought_qty * num, den))
    if not position.qty:
        position.cost = position.fifo_cost = ZERO


def _scaled_lots(lots: list[Lot], num: Decimal, den: Decimal) -> list[Lot]:
    """Lots of the same total cost whose quantities sum to the scaled total: the running sum is rounded.

    A lot that vanishes leaves its cost to the next one, the last to the one before.
    """
    scaled: list[Lot] = []
    old_sum = new_sum = carried = ZERO
    for lot in lots:
        old_sum += lot.qty
        carried += lot.cost
        reached = canonical(quotient(old_sum * num, den))
        if reached != new_sum:
            scaled.append(_lot(reached - new_sum, carried))
            new_sum, carried = reached, ZERO
    if carried and scaled:
        last = scaled.pop()
        scaled.append(_lot(last.qty, last.cost + carried))
    return scaled


def _lot(qty: Decimal, cost: Decimal) -> Lot:
    unit_cost = average(cost, qty)
    return Lot(qty, unit_cost, canonical(cost - qty * unit_cost))


def _shift_scalings(position: Position, removed: int) -> None:
    """Let the corporate actions follow when a trade leaves the list; one before every trade does nothing."""
    for scaling in position.scalings:
        if scaling.after > removed:
            scaling.after -= 1
    position.scalings = [scaling for scaling in position.scalings if scaling.after]


def _rebuild(position: Position) -> None:
    """Compute the position again from its trades and corporate actions, in their order."""
    fresh = Position()
    done = 0
    for scaling in position.scalings:
        _book_all(fresh, position.trades[done : scaling.after])
        _scale(fresh, scaling.num, scaling.den)
        done = scaling.after
    _book_all(fresh, position.trades[done:] if done else position.trades)
    fresh.trades, fresh.scalings = position.trades, position.scalings
    for name in position.__struct_fields__:
        setattr(position, name, getattr(fresh, name))


def _book_all(position: Position, trades: list[Trade]) -> None:
    for trade in trades:
        _book(position, trade.qty, trade.px, trade.fee, trade.multiplier)


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
