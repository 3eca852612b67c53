"""First in, first out: which quantity of which trade is still open.

Under first in, first out the n-th unit bought is matched with the n-th unit sold, whichever came first. What
is open of a long position are therefore the units bought last, of a short one those sold last, and the lots
need not be kept: they follow from the trades.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, average, canonical, quotient
from qtinfra.positions.trades import Scaling, Trade


class Lot(msgspec.Struct, frozen=True, array_like=True, gc=False):
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


def lots_after(lots: Sequence[Lot], trades: Sequence[Trade]) -> list[Lot]:
    """What is open after these trades of the lots before them and of the trades, the oldest first.

    The caller enters `core.decimals.exact()`.
    """
    left = total(lot.qty for lot in lots) + total(trade.qty for trade in trades)
    long, found = left > ZERO, []
    for trade in reversed(trades):
        if not left:
            break
        if (trade.qty > ZERO) is long:
            qty = trade.qty if abs(trade.qty) < abs(left) else left
            found.append(Lot(qty, trade.px * trade.multiplier))
            left -= qty
    for lot in reversed(lots):
        if not left:
            break
        qty = lot.qty if abs(lot.qty) < abs(left) else left
        found.append(Lot(qty, lot.unit_cost, lot.residue))
        left -= qty
    found.reverse()
    return found


def lots_through(
    lots: Sequence[Lot], trades: Sequence[Trade], scalings: Sequence[Scaling] | None
) -> list[Lot]:
    """What is open after these trades with corporate actions between them; for the rest like `lots_after`."""
    done = 0
    for scaling in scalings or ():
        lots = scaled_lots(lots_after(lots, trades[done : scaling.after]), scaling.num, scaling.den)
        done = scaling.after
    return lots_after(lots, trades[done:] if done else trades)


def scaled_lots(lots: Sequence[Lot], num: Decimal, den: Decimal) -> list[Lot]:
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
            scaled.append(lot_of(reached - new_sum, carried))
            new_sum, carried = reached, ZERO
    if carried and scaled:
        last = scaled.pop()
        scaled.append(lot_of(last.qty, last.cost + carried))
    return scaled


def lot_of(qty: Decimal, cost: Decimal) -> Lot:
    """A lot of this quantity and cost, whether or not the one divides the other."""
    unit_cost = average(cost, qty)
    return Lot(qty, unit_cost, canonical(cost - qty * unit_cost))


def total(values: Iterable[Decimal]) -> Decimal:
    """The exact sum, in any decimal context."""
    found = ZERO
    for value in values:
        found = EXACT.add(found, value)
    return found
