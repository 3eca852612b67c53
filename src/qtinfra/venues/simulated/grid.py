"""The boundary between decimals and the integers that books count in."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import EXACT, ONE, canonical


class Grid:
    """Exact conversion between decimals and the book's integers.

    Args:
        tick: smallest price step, in currency per unit.
        lot: smallest quantity step, in units of the instrument.
    """

    __slots__ = ("_prices", "_whole", "lot", "tick")

    def __init__(self, tick: Decimal, lot: Decimal = ONE) -> None:
        if tick <= 0 or lot <= 0:
            raise ValueError(f"tick and lot must be positive, not {tick} and {lot}")
        self.tick = tick
        self.lot = lot
        self._whole = lot == ONE
        self._prices: dict[int, Decimal] = {}

    def ticks(self, price: Decimal) -> int | None:
        """The price in ticks; None when it is not a positive multiple of the tick."""
        return _multiples(price, self.tick)

    def units(self, quantity: Decimal) -> int | None:
        """The quantity in lots; None when it is not a positive multiple of the lot."""
        return _multiples(quantity, self.lot)

    def price(self, ticks: int) -> Decimal:
        """The canonical decimal price."""
        price = self._prices.get(ticks)
        if price is None:
            price = self._prices[ticks] = canonical(EXACT.multiply(self.tick, ticks))
        return price

    def quantity(self, units: int) -> Decimal:
        """The canonical decimal quantity."""
        return Decimal(units) if self._whole else canonical(EXACT.multiply(self.lot, units))


def _multiples(value: Decimal, step: Decimal) -> int | None:
    if not value.is_finite() or value <= 0:
        return None
    count, rest = EXACT.divmod(value, step)
    return None if rest else int(count)
