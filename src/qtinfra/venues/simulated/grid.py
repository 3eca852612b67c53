"""The boundary between decimals and the integers that books count in."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

from qtinfra.core.decimals import EXACT, ONE, canonical

K = TypeVar("K")
V = TypeVar("V")

#: Prices and quantities that a grid remembers each way.
MAX_REMEMBERED = 10_000


class Grid:
    """Exact conversion between decimals and the book's integers.

    Args:
        tick: smallest price step, in currency per unit.
        lot: smallest quantity step, in units of the instrument.
    """

    __slots__ = ("_prices", "_quantities", "_ticks", "_units", "_whole", "lot", "tick")

    def __init__(self, tick: Decimal, lot: Decimal = ONE) -> None:
        if tick <= 0 or lot <= 0:
            raise ValueError(f"tick and lot must be positive, not {tick} and {lot}")
        self.tick = tick
        self.lot = lot
        self._whole = lot == ONE
        self._prices: dict[int, Decimal] = {}
        self._quantities: dict[int, Decimal] = {}
        self._ticks: dict[
            str, int
        ] = {}  # by the number's text: a decimal's own hash costs five times as much
        self._units: dict[str, int] = {}

    def ticks(self, price: Decimal) -> int | None:
        """The price in ticks; None when it is not a positive multiple of the tick."""
        known = self._ticks.get(str(price))
        return known if known is not None else _counted(self._ticks, price, self.tick)

    def units(self, quantity: Decimal) -> int | None:
        """The quantity in lots; None when it is not a positive multiple of the lot."""
        known = self._units.get(str(quantity))
        return known if known is not None else _counted(self._units, quantity, self.lot)

    def price(self, ticks: int) -> Decimal:
        """The canonical decimal price."""
        price = self._prices.get(ticks)
        if price is None:
            price = _remembered(self._prices, ticks, canonical(EXACT.multiply(self.tick, ticks)))
        return price

    def quantity(self, units: int) -> Decimal:
        """The canonical decimal quantity."""
        quantity = self._quantities.get(units)
        if quantity is None:
            exact = Decimal(units) if self._whole else canonical(EXACT.multiply(self.lot, units))
            quantity = _remembered(self._quantities, units, exact)
        return quantity


def _remembered(known: dict[K, V], key: K, value: V) -> V:
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known[key] = value
    return value


def _counted(known: dict[str, int], value: Decimal, step: Decimal) -> int | None:
    count = _multiples(value, step)
    return None if count is None else _remembered(known, str(value), count)


def _multiples(value: Decimal, step: Decimal) -> int | None:
    if not value.is_finite() or value <= 0:
        return None
    count, rest = EXACT.divmod(value, step)
    return None if rest else int(count)
