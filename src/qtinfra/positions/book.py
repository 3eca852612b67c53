"""Positions by account and symbol, with average-cost and FIFO P&L that follow busts and corrections.

The arithmetic of `PositionBook` belongs to the engine and runs under `core.decimals.exact()`, which the
caller enters. What a position is and what is read from it stands in `positions.position`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import (
    ROUND_05UP,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)

import msgspec

from qtinfra.core.decimals import AVERAGE_PLACES, ONE, PRECISION, ZERO, average, canonical, quotient
from qtinfra.positions.position import (
    CostMethod,
    Lot,
    Opening,
    PnlLine,
    Position,
    Scaling,
    Trade,
    add_lot,
    clear_lots,
    cost_price,
    has_traded,
    list_trades,
    next_lot,
    note_trade,
    pnl,
    realised,
    unpacked_trades,
    unrealised,
    violations,
)

__all__ = [
    "CostMethod",
    "FoldedTradeError",
    "Lot",
    "Opening",
    "PnlLine",
    "Position",
    "PositionBook",
    "Scaling",
    "Trade",
    "cost_price",
    "pnl",
    "realised",
    "unrealised",
    "violations",
]

# Holds cost times quantity, one factor more than the amounts that EXACT is made for.
_multiply = Context(prec=2 * PRECISION, traps=[Inexact, InvalidOperation]).multiply
# `core.decimals.quotient` taken apart: bound methods make a closing trade a third of a microsecond faster.
_divide = Context(
    prec=PRECISION, rounding=ROUND_05UP, traps=[InvalidOperation, DivisionByZero, Overflow]
).divide
_quantize = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow]).quantize
_QUANTUM = Decimal(1).scaleb(-AVERAGE_PLACES)
#: How the keys of trades begin that stand for cash in lieu of a fraction.
IN_LIEU = "in lieu|"


class FoldedTradeError(ValueError):
    """A bust or correction names no listed trade of a position whose older trades have been folded.

    The trade is one of those, or unknown: what it did can no longer be taken apart. Attributes name the
    account, symbol, key, and the trade date before which trades were folded (ISO 8601).
    """

    def __init__(self, account: str, symbol: str, key: str, folded_before: str) -> None:
        super().__init__(
            f"no trade {key!r} in {symbol} of {account}: folded (before {folded_before}), busted, or unknown"
        )
        self.account, self.symbol, self.key, self.folded_before = account, symbol, key, folded_before


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
        note_trade(position, key, signed_qty, px, fee, multiplier, trade_date)
        _book(position, signed_qty, px, fee, multiplier)

    def load(
        self,
        account: str,
        symbol: str,
        qty: Decimal,
        avg_cost: Decimal,
        multiplier: Decimal,
        cost: Decimal | None = None,
    ) -> None:
        """Begin a position with what was held at the start of day; under FIFO it is one lot, the oldest.

        A position that has only been loaded takes the new values instead; quantity 0 takes the load back.

        Args:
            qty: units held, negative when short, after every corporate action so far.
            avg_cost: price per unit in the instrument's currency.
            multiplier: currency value of a price move of 1 per unit (1 for shares).
            cost: the exact open cost, signed like `qty`, where the average has been rounded; else
                `qty * avg_cost * multiplier`.

        Raises:
            ValueError: the position has traded; nothing is replaced.
        """
        position = self.get(account, symbol)
        if position is not None and has_traded(position):
            raise ValueError(f"{symbol} of {account} has traded: its start-of-day position stands")
        if not qty:
            if position is not None:
                self._remove(account, symbol)
            return
        value = qty * avg_cost * multiplier if cost is None else cost
        opening = _loaded(qty, value, multiplier)
        self.accounts.setdefault(account, {})[symbol] = _opened(opening)

    def fold_before(self, trade_date: str) -> int:
        """Let trades from before a trade date (ISO 8601) leave every position. No figure changes.

        A trade that arrived after one that stays, stays too, whatever its date. Afterwards the folded trades
        cannot be busted or corrected. Corporate actions between folded trades go with them.

        Returns:
            How many trades have left.
        """
        return sum(_fold(position, trade_date) for _, position in self.positions())

    def holds(self, account: str, symbol: str, key: str) -> bool:
        """Whether a bust or correction of the trade can be booked: it is listed."""
        position = self.get(account, symbol)
        return position is not None and _index(position.trades, key) is not None

    def bust(self, account: str, symbol: str, key: str) -> None:
        """Take an execution back, its fee included: the position becomes what it would be without it.

        A position that this trade began is gone when it was the only one.

        Raises:
            FoldedTradeError: the trade is not listed in a position whose older trades were folded.
            ValueError: names a key that is unknown or busted already.
        """
        position, trades, index = self._locate(account, symbol, key)
        del trades[index]
        _shift_scalings(position, index)
        if trades or position.opening is not None:
            _rebuild(position, trades)
        else:
            self._remove(account, symbol)

    def correct(
        self,
        account: str,
        symbol: str,
        key: str,
        qty: Decimal,
        px: Decimal,
        fee: Decimal | None = None,
    ) -> None:
        """Give an execution other values, as if it had had them from the start. The side stays.

        Args:
            qty: unsigned, in the units of the trade (before any later split); 0 is a bust.
            px: in the units of the trade.
            fee: the fee by the new values; None keeps the old one.

        Raises:
            FoldedTradeError: the trade is not listed in a position whose older trades were folded.
            ValueError: names a key that is unknown or busted already, or the quantity is negative.
        """
        if qty < ZERO:
            raise ValueError(f"correction of trade {key!r} to a negative quantity: {qty}")
        if not qty:
            self.bust(account, symbol, key)
            return
        position, trades, index = self._locate(account, symbol, key)
        trade = trades[index]
        signed_qty = qty if trade.qty > ZERO else -qty
        due = trade.fee if fee is None else fee
        trades[index] = msgspec.structs.replace(trade, qty=signed_qty, px=px, fee=due)
        _rebuild(position, trades)

    def set_fee(self, account: str, symbol: str, key: str, fee: Decimal) -> None:
        """Give an execution another fee: when one of its order is busted, the others may owe another share.

        Raises:
            FoldedTradeError: the trade is not listed in a position whose older trades were folded.
            ValueError: names a key that is unknown or busted already.
        """
        position, trades, index = self._locate(account, symbol, key)
        trade = trades[index]
        trades[index] = msgspec.structs.replace(trade, fee=fee)
        position.fees += fee - trade.fee

    def scale(
        self, account: str, symbol: str, ratio_num: Decimal, ratio_den: Decimal, ex_date: str = ""
    ) -> None:
        """Apply a corporate action: quantity times `ratio_num / ratio_den`, price divided by it, cost kept.

        2/1 is a two-for-one split. A quantity that does not come out even is rounded half-even to 8 places;
        cash in lieu of a fraction is a trade of its own. An account without a position is left alone.

        Args:
            ex_date: trade date (ISO 8601) that is traded in new units: its trades, and those booked after the
                first of them, stay as they are. Empty: everything booked so far scales.

        Raises:
            ValueError: the ratio is not positive.
        """
        if ratio_num <= ZERO or ratio_den <= ZERO:
            raise ValueError(f"ratio must be positive: {ratio_num}/{ratio_den}")
        position = self.get(account, symbol)
        if position is None:
            return
        trades = unpacked_trades(position)
        list_trades(position, trades)
        count = len(trades)
        after = _begin_of(trades, ex_date) if ex_date else count
        scalings = [*(position.scalings or ()), Scaling(after, ratio_num, ratio_den)]
        scalings.sort(key=lambda scaling: scaling.after)
        position.scalings = scalings
        if after == count:
            _scale(position, ratio_num, ratio_den)
        else:
            _rebuild(position, trades)
        _absorb_scalings(position)

    def held_before(self, account: str, symbol: str, trade_date: str) -> Decimal:
        """What was held before the first trade of a trade date, ISO 8601; in the units of that date."""
        position = self.get(account, symbol)
        if position is None:
            return ZERO
        trades = position.trades
        later = trades[_begin_of(trades, trade_date) :]
        return canonical(position.qty - sum((trade.qty for trade in later), ZERO))

    def get(self, account: str, symbol: str) -> Position | None:
        """The position, flat ones included; None when the account has never traded the symbol."""
        symbols = self.accounts.get(account)
        return None if symbols is None else symbols.get(symbol)

    def positions(self) -> Iterator[tuple[tuple[str, str], Position]]:
        """All positions as ((account, symbol), position), flat ones included."""
        for account, symbols in self.accounts.items():
            for symbol, position in symbols.items():
                yield (account, symbol), position

    def _locate(self, account: str, symbol: str, key: str) -> tuple[Position, list[Trade], int]:
        """The position, its trades, which are in its list from now on, and which one it is."""
        position = self.get(account, symbol)
        if position is not None:
            trades = unpacked_trades(position)
            index = _index(trades, key)
            if index is not None:
                list_trades(position, trades)
                return position, trades, index
            if position.opening is not None and position.opening.folded_before:
                raise FoldedTradeError(account, symbol, key, position.opening.folded_before)
        raise ValueError(f"no trade {key!r} in {symbol} of {account}: unknown, or busted already")

    def _remove(self, account: str, symbol: str) -> None:
        del self.accounts[account][symbol]
        if not self.accounts[account]:
            del self.accounts[account]


def _begin_of(trades: list[Trade], trade_date: str) -> int:
    """Where the trades of a date begin in the list; cash for fractions, which the open settles, aside."""
    for index, trade in enumerate(trades):
        if trade.trade_date >= trade_date and not trade.key.startswith(IN_LIEU):
            return index
    return len(trades)


def _index(trades: list[Trade], key: str) -> int | None:
    """Where the trade stands in the list; the latest are looked at first."""
    for index in range(len(trades) - 1, -1, -1):
        if trades[index].key == key:
            return index
    return None


def _book(position: Position, qty: Decimal, px: Decimal, fee: Decimal, multiplier: Decimal) -> None:
    """Let one trade change the figures of the position; keeping the trade is the caller's."""
    unit_cost = px if multiplier is ONE else px * multiplier
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
        cost, fifo_cost = position.cost, position.fifo_cost
        position.cost = cost + value
        position.fifo_cost = position.cost if fifo_cost is cost else fifo_cost + value
        add_lot(position, Lot(qty, unit_cost))
    else:
        _close(position, held, qty, unit_cost)


def _close(position: Position, held: Decimal, qty: Decimal, unit_cost: Decimal) -> None:
    """A trade against the position: it reduces it, or ends it and opens the other side with the rest.

    Reducing takes out `cost * qty / held`, half-even to 8 places; what rounding left stays in the open cost.
    """
    rest = position.qty
    if rest and (rest > ZERO) is (held > ZERO):
        closed = -qty
        position.cost -= _quantize(_divide(_multiply(position.cost, closed), held), _QUANTUM)
        position.fifo_cost -= _consume(position, closed, held > ZERO)
        return
    clear_lots(position)
    if rest:
        position.cost = position.fifo_cost = rest * unit_cost
        position.oldest = Lot(rest, unit_cost)
    else:
        position.cost = position.fifo_cost = ZERO


def _consume(position: Position, qty: Decimal, long: bool) -> Decimal:
    """Take `qty` (signed like the lots, less than all of them) from the oldest lots; the cost taken out."""
    lot, taken = position.oldest, ZERO
    while lot is not None:
        there = lot.qty
        if there > qty if long else there < qty:
            lot.qty = there - qty
            return taken + qty * lot.unit_cost
        qty -= there
        taken += there * lot.unit_cost
        if lot.residue:
            taken += lot.residue
        lot = next_lot(position)
        if not qty:
            break
    return taken


def _scale(position: Position, num: Decimal, den: Decimal) -> None:
    """Scale the quantities; costs and cash stay. A position scaled down to nothing realises its cost."""
    _set_lots(position, _scaled_lots(position.open_lots, num, den))
    position.qty = canonical(quotient(position.qty * num, den))
    position.bought_qty = canonical(quotient(position.bought_qty * num, den))
    if not position.qty:
        position.cost = position.fifo_cost = ZERO


def _set_lots(position: Position, lots: Iterable[Lot]) -> None:
    clear_lots(position)
    for lot in lots:
        add_lot(position, lot)


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
    """Let the corporate actions follow when a trade leaves the list."""
    for scaling in position.scalings or ():
        if scaling.after > removed:
            scaling.after -= 1
    _absorb_scalings(position)


def _absorb_scalings(position: Position) -> None:
    """A corporate action before every listed trade goes into the opening; without one it does nothing."""
    scalings = position.scalings
    if scalings and not scalings[0].after:
        early = [scaling for scaling in scalings if not scaling.after]
        if position.opening is not None:
            before = _opened(position.opening)
            for scaling in early:
                _scale(before, scaling.num, scaling.den)
            position.opening = _opening(before, position.opening.folded_before)
        position.scalings = scalings[len(early) :] or None


def _rebuild(position: Position, trades: list[Trade]) -> None:
    """Compute the position again from its opening, these trades and the corporate actions, in their order."""
    fresh = _replayed(position.opening, trades, position.scalings or [])
    list_trades(fresh, trades)
    fresh.scalings = position.scalings
    for name in position.__struct_fields__:
        setattr(position, name, getattr(fresh, name))


def _replayed(opening: Opening | None, trades: list[Trade], scalings: list[Scaling]) -> Position:
    """The figures after the trades and corporate actions; it holds none of them itself."""
    fresh = Position() if opening is None else _opened(opening)
    done = 0
    for scaling in scalings:
        _book_all(fresh, trades[done : scaling.after])
        _scale(fresh, scaling.num, scaling.den)
        done = scaling.after
    _book_all(fresh, trades[done:] if done else trades)
    return fresh


def _book_all(position: Position, trades: list[Trade]) -> None:
    for trade in trades:
        _book(position, trade.qty, trade.px, trade.fee, trade.multiplier)


# --- openings and folding --------------------------------------------------------------------------------


def _loaded(qty: Decimal, cost: Decimal, multiplier: Decimal) -> Opening:
    lot = _lot(qty, cost)
    long = qty > ZERO
    return Opening(
        multiplier=multiplier,
        qty=qty,
        cash=-cost,
        cost=cost,
        fifo_cost=cost,
        bought_qty=qty if long else ZERO,
        bought_value=cost if long else ZERO,
        fees=ZERO,
        lots=((lot.qty, lot.unit_cost, lot.residue),),
    )


def _opened(opening: Opening) -> Position:
    """A position that begins with an opening, no trade booked yet."""
    position = Position(
        multiplier=opening.multiplier,
        qty=opening.qty,
        cash=opening.cash,
        cost=opening.cost,
        fifo_cost=opening.fifo_cost,
        bought_qty=opening.bought_qty,
        bought_value=opening.bought_value,
        fees=opening.fees,
        opening=opening,
    )
    _set_lots(position, (Lot(*lot) for lot in opening.lots))
    return position


def _opening(position: Position, folded_before: str) -> Opening:
    """The figures of a position as the opening of the trades to come."""
    return Opening(
        multiplier=position.multiplier,
        qty=position.qty,
        cash=position.cash,
        cost=position.cost,
        fifo_cost=position.fifo_cost,
        bought_qty=position.bought_qty,
        bought_value=position.bought_value,
        fees=position.fees,
        lots=tuple((lot.qty, lot.unit_cost, lot.residue) for lot in position.open_lots),
        folded_before=folded_before,
    )


def _fold(position: Position, trade_date: str) -> int:
    """Put the leading trades from before the date into the opening; how many they were."""
    trades, scalings = position.trades, position.scalings or []
    count = next((i for i, trade in enumerate(trades) if trade.trade_date >= trade_date), len(trades))
    if not count:
        return 0
    early = [scaling for scaling in scalings if scaling.after <= count]
    before = _replayed(position.opening, trades[:count], early)
    earlier = "" if position.opening is None else position.opening.folded_before
    position.opening = _opening(before, max(trade_date, earlier))
    list_trades(position, trades[count:])
    later = [Scaling(s.after - count, s.num, s.den) for s in scalings[len(early) :]]
    position.scalings = later or None
    return count
