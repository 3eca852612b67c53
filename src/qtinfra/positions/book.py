"""Positions by account and symbol, with average-cost and FIFO P&L that follow busts and corrections.

The arithmetic of `PositionBook` belongs to the engine and runs under `core.decimals.exact()`, which the
caller enters. What a position is and what is read from it stands in `positions.position`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, canonical
from qtinfra.positions.booking import (
    book_trade,
    copy_numbers,
    numbers_through,
    opening_of,
    scale_numbers,
    violations,
)
from qtinfra.positions.lots import Lot, lot_of, lots_through
from qtinfra.positions.position import (
    CostMethod,
    Opening,
    PnlLine,
    Position,
    cost_price,
    has_traded,
    list_trades,
    past_of,
    pnl,
    realised,
    unpacked_trades,
    unrealised,
)
from qtinfra.positions.trades import Scaling, Trade

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
    ) -> Decimal:
        """Book one execution.

        Args:
            key: the execution's unique key. The caller sees to it that it is new; it is not looked up here.
            signed_qty: units, positive for a buy.
            px: price per unit in the instrument's currency; may be zero or negative.
            fee: in the same currency, positive when paid, negative for a rebate.
            trade_date: ISO 8601.
            multiplier: currency value of a price move of 1 per unit (1 for shares).

        Returns:
            The net quantity after it, negative when short.

        Raises:
            ValueError: the quantity is zero.
        """
        position = self.get(account, symbol) or Position()
        value = abs(signed_qty) * px * multiplier
        units = book_trade(
            position, key, signed_qty.is_signed(), abs(signed_qty), px, fee, value, multiplier, trade_date
        )
        self.accounts.setdefault(account, {})[symbol] = position
        return units

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
        self.accounts.setdefault(account, {})[symbol] = _opened(_loaded(qty, value, multiplier))

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
        after = _begin_of(trades, ex_date) if ex_date else len(trades)
        scalings = [*position.scalings, Scaling(after, ratio_num, ratio_den)]
        scalings.sort(key=lambda scaling: scaling.after)
        past_of(position).scalings = scalings
        if after == len(trades):
            scale_numbers(position, ratio_num, ratio_den)
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


def _shift_scalings(position: Position, removed: int) -> None:
    """Let the corporate actions follow when a trade leaves the list."""
    for scaling in position.scalings:
        if scaling.after > removed:
            scaling.after -= 1
    _absorb_scalings(position)


def _absorb_scalings(position: Position) -> None:
    """A corporate action before every listed trade goes into the opening; without one it does nothing."""
    scalings = position.scalings
    early = [scaling for scaling in scalings if not scaling.after]
    if early:
        past = past_of(position)
        if past.opening is not None:
            past.opening = _later(past.opening, (), early, past.opening.folded_before)
        past.scalings = scalings[len(early) :] or None


def _rebuild(position: Position, trades: list[Trade]) -> None:
    """Compute the position again from its opening, these trades and the corporate actions, in their order."""
    list_trades(position, trades)
    copy_numbers(numbers_through(position.opening, trades, position.scalings), position)


# --- openings and folding --------------------------------------------------------------------------------


def _loaded(qty: Decimal, cost: Decimal, multiplier: Decimal) -> Opening:
    lots = (lot_of(qty, cost),)
    if qty > ZERO:
        return Opening(multiplier, qty, cost, qty, cost, ZERO, ZERO, lots)
    return Opening(multiplier, qty, cost, ZERO, ZERO, -cost, ZERO, lots)


def _opened(opening: Opening) -> Position:
    """A position that begins with an opening, no trade booked yet."""
    position = numbers_through(opening, (), ())
    past_of(position).opening = opening
    return position


def _later(
    opening: Opening | None, trades: Sequence[Trade], scalings: Sequence[Scaling], folded_before: str
) -> Opening:
    """The opening that an opening, trades and corporate actions after it come to."""
    lots = lots_through(() if opening is None else opening.lots, trades, scalings)
    return opening_of(numbers_through(opening, trades, scalings), lots, folded_before)


def _fold(position: Position, trade_date: str) -> int:
    """Put the leading trades from before the date into the opening; how many they were."""
    trades, scalings, opening = position.trades, position.scalings, position.opening
    count = next((i for i, trade in enumerate(trades) if trade.trade_date >= trade_date), len(trades))
    if not count:
        return 0
    early = [scaling for scaling in scalings if scaling.after <= count]
    earlier = "" if opening is None else opening.folded_before
    past = past_of(position)
    past.opening = _later(opening, trades[:count], early, max(trade_date, earlier))
    past.scalings = [Scaling(s.after - count, s.num, s.den) for s in scalings[len(early) :]] or None
    list_trades(position, trades[count:])
    return count
