"""The boundary between decimals and the integers that books count in."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from qtinfra.core.decimals import EXACT, ONE, canonical

K = TypeVar("K")
V = TypeVar("V")

#: Prices and quantities that a grid remembers each way.
MAX_REMEMBERED = 10_000


class Remembered(dict[K, V]):
    """What `find` says of a key, found when it is asked for first; that there is None is found each time."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[K], V]) -> None:
        self._find = find

    def __missing__(self, key: K) -> V:
        value = self._find(key)
        if value is not None:
            if len(self) >= MAX_REMEMBERED:
                self.clear()
            self[key] = value
        return value


class Grid:
    """Exact conversion between decimals and the book's integers.

    Args:
        tick: smallest price step, in currency per unit.
        lot: smallest quantity step, in units of the instrument.

    Attributes:
        sizes: a quantity in lots, and canonical, in the object that was asked about first if it is; None as
            for `units`. TypeError for a signaling NaN.
        prices, quantities: as `price` and `quantity`.
    """

    __slots__ = ("_ticks", "lot", "prices", "quantities", "sizes", "tick")

    def __init__(self, tick: Decimal, lot: Decimal = ONE) -> None:
        if tick <= 0 or lot <= 0:
            raise ValueError(f"tick and lot must be positive, not {tick} and {lot}")
        self.tick = tick
        self.lot = lot
        self._ticks = Remembered[Decimal, int | None](lambda price: _multiples(price, tick))
        self.prices = Remembered[int, Decimal](lambda ticks: canonical(EXACT.multiply(tick, ticks)))
        self.quantities = Remembered[int, Decimal](lambda units: canonical(EXACT.multiply(lot, units)))
        self.sizes = Remembered[Decimal, tuple[int, Decimal] | None](self._size)

    def ticks(self, price: Decimal) -> int | None:
        """The price in ticks; None when it is not a positive multiple of the tick."""
        try:
            return self._ticks[price]
        except TypeError:  # a signaling NaN has no hash
            return None

    def units(self, quantity: Decimal) -> int | None:
        """The quantity in lots; None when it is not a positive multiple of the lot."""
        try:
            size = self.sizes[quantity]
        except TypeError:  # a signaling NaN has no hash
            return None
        return None if size is None else size[0]

    def _size(self, quantity: Decimal) -> tuple[int, Decimal] | None:
        units = _multiples(quantity, self.lot)
        if units is None:
            return None
        exact = self.quantities[units]
        return units, exact if quantity.compare_total(exact) else quantity

    def price(self, ticks: int) -> Decimal:
        """The canonical decimal price."""
        return self.prices[ticks]

    def quantity(self, units: int) -> Decimal:
        """The canonical decimal quantity."""
        return self.quantities[units]


def _multiples(value: Decimal, step: Decimal) -> int | None:
    if not value.is_finite() or value <= 0:
        return None
    count, rest = EXACT.divmod(value, step)
    return None if rest else int(count)
