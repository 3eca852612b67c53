"""The arithmetic of a position: what a trade or a corporate action does to its numbers.

Runs under `core.decimals.exact()`, which the caller enters.
"""

from __future__ import annotations

from collections.abc import Sequence
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

from qtinfra.core.decimals import AVERAGE_PLACES, PRECISION, ZERO, canonical, exact, quotient
from qtinfra.positions.lots import Lot, total
from qtinfra.positions.position import RECENT, Opening, Position, put_away
from qtinfra.positions.trades import Scaling, Trade, encode

#: The numbers of a position that its trades add up to.
SUMS = ("multiplier", "qty", "cost", "bought_qty", "bought_value", "sold_value", "fees")
# Holds cost times quantity, one factor more than the amounts that EXACT is made for.
_multiply = Context(prec=2 * PRECISION, traps=[Inexact, InvalidOperation]).multiply
# `core.decimals.quotient` taken apart: bound methods make a closing trade a third of a microsecond faster.
_divide = Context(
    prec=PRECISION, rounding=ROUND_05UP, traps=[InvalidOperation, DivisionByZero, Overflow]
).divide
_quantize = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow]).quantize
_QUANTUM = Decimal(1).scaleb(-AVERAGE_PLACES)


def book_trade(
    position: Position,
    key: str,
    sells: bool,
    qty: Decimal,
    px: Decimal,
    fee: Decimal,
    value: Decimal,
    multiplier: Decimal,
    trade_date: str,
) -> Decimal:
    """Book one execution: the position keeps the trade, and its numbers change as by `add_trade`.

    Args:
        key: unique; the caller sees to it, it is not looked up here.
        qty: units, whichever side.
        px: price per unit in the instrument's currency; may be zero or negative.
        fee: in the same currency, positive when paid, negative for a rebate.
        value: quantity times price times multiplier.
        multiplier: currency value of a price move of 1 per unit (1 for shares).
        trade_date: ISO 8601.

    Returns:
        The net quantity after it, negative when short.

    Raises:
        ValueError: the quantity is zero.
    """
    if not qty:
        raise ValueError(f"trade {key!r} has no quantity")
    signed = qty.copy_negate() if sells else qty
    count, held = position.recent_count, position.qty
    if (
        count
        and trade_date == position.trade_date
        and (multiplier is position.multiplier or multiplier == position.multiplier)
    ):
        position.recent += encode((key, signed, px, fee))
    else:
        position.multiplier, position.trade_date = multiplier, trade_date
        position.recent += encode((key, signed, px, fee, multiplier, trade_date))
    position.recent_count = count = count + 1
    if count == RECENT:
        put_away(position)
    if fee:
        position.fees = fee if position.fees is ZERO else position.fees + fee
    if sells:
        sold = position.sold_value
        position.sold_value = sold + value if sold else value
    elif position.cost is position.bought_value and held is position.bought_qty:  # it has only bought so far
        position.qty = position.bought_qty = total = held + qty if held else qty
        position.cost = position.bought_value = position.cost + value if held else value
        return total
    else:
        position.bought_qty += qty
        position.bought_value += value
    if held:
        total = position.qty = held + signed
        if held.is_signed() is not sells:
            position.cost = _cost_left(position.cost, held, signed, total, px, multiplier)
        else:
            position.cost = position.cost - value if sells else position.cost + value
        return total
    position.qty, position.cost = signed, value.copy_negate() if sells else value
    return signed


def add_trade(position: Position, qty: Decimal, px: Decimal, fee: Decimal, multiplier: Decimal) -> None:
    """Let one trade, bought positive, change the numbers of the position; it is kept already.

    A trade that reduces the position takes out `cost * qty / held`, half-even to 8 places; what rounding left
    stays in the open cost. One that ends it takes all of the cost, and opens the other side with the rest.
    """
    value, held = qty * (px * multiplier), position.qty
    if fee:
        position.fees = fee if position.fees is ZERO else position.fees + fee
    sells = qty.is_signed()
    if sells:
        position.sold_value -= value
    else:
        position.bought_qty += qty
        position.bought_value += value
    if not held:  # nor any cost
        position.qty, position.cost = qty, value
        return
    position.qty = held + qty
    if held.is_signed() is sells:
        position.cost += value
    else:
        position.cost = _cost_left(position.cost, held, qty, position.qty, px, multiplier)


def _cost_left(
    cost: Decimal, held: Decimal, qty: Decimal, rest: Decimal, px: Decimal, multiplier: Decimal
) -> Decimal:
    """What of the cost is left by a trade against the position that leaves `rest` units of it."""
    if not rest:
        return ZERO
    if rest.is_signed() is qty.is_signed():
        return rest * (px * multiplier)
    try:
        product = cost * qty
    except Inexact:  # it may be longer than the amounts that EXACT is made for
        product = _multiply(cost, qty)
    return cost + _quantize(_divide(product, held), _QUANTUM)


def scale_numbers(position: Position, num: Decimal, den: Decimal) -> None:
    """Quantities times `num / den`; cost and cash stay. What is scaled down to nothing realises its cost."""
    position.qty = canonical(quotient(position.qty * num, den))
    position.bought_qty = canonical(quotient(position.bought_qty * num, den))
    if not position.qty:
        position.cost = ZERO


def numbers_through(
    opening: Opening | None, trades: Sequence[Trade], scalings: Sequence[Scaling]
) -> Position:
    """A position with the numbers after these trades and corporate actions; it holds none of them itself."""
    fresh, done = Position(), 0
    if opening is not None:
        copy_numbers(opening, fresh)
    for scaling in scalings:
        _add_all(fresh, trades[done : scaling.after])
        scale_numbers(fresh, scaling.num, scaling.den)
        done = scaling.after
    _add_all(fresh, trades[done:] if done else trades)
    return fresh


def _add_all(position: Position, trades: Sequence[Trade]) -> None:
    for trade in trades:
        position.multiplier = trade.multiplier
        add_trade(position, trade.qty, trade.px, trade.fee, trade.multiplier)


def copy_numbers(source: Position | Opening, target: Position) -> None:
    """Give a position the numbers of another one; trades and lots are not touched."""
    for name in SUMS:
        setattr(target, name, getattr(source, name))


def opening_of(position: Position, lots: Sequence[Lot], folded_before: str = "") -> Opening:
    """The numbers of a position, with its lots, as what stands before the trades to come."""
    return Opening(
        position.multiplier,
        position.qty,
        position.cost,
        position.bought_qty,
        position.bought_value,
        position.sold_value,
        position.fees,
        tuple(lots),
        folded_before,
    )


def violations(position: Position) -> list[str]:
    """What is wrong with a position, in words; empty when its two views and its totals agree."""
    lots = position.open_lots
    with exact():
        anew = numbers_through(position.opening, position.trades, position.scalings)
    found: list[str] = []
    misplaced = [lot for lot in lots if (lot.qty > ZERO) is not (position.qty > ZERO) or not lot.qty]
    if misplaced:
        found.append(f"{len(misplaced)} open lots have no quantity or the wrong side")
    if total(lot.qty for lot in lots) != position.qty:
        found.append("the open lots do not sum to the quantity")
    for name in SUMS:
        if getattr(position, name) != getattr(anew, name):
            found.append(f"{name} is not what the trades come to")
    if not position.qty and position.cost:
        found.append("a flat position has open cost")
    if position.sold_qty < ZERO:
        found.append("less bought than held")
    return found
