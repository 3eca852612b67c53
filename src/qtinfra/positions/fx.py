"""Conversion between currencies at journaled rates: direct, inverse, or one cross via the US dollar.

Rates are kept as the engine keeps them: `"BASE/QUOTE"` to the units of QUOTE that 1 unit of BASE is worth. A
conversion that only multiplies is exact. One that divides rounds once, half-even to 8 places, at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation

import msgspec

from qtinfra.core.decimals import ONE, PRECISION, canonical, quotient
from qtinfra.core.models import Currency, Money

#: FX rates by pair, "EUR/USD": 1 euro in dollars.
FxRates = Mapping[str, Decimal]

#: The currency that a cross goes through.
VEHICLE = Currency.USD

# An amount times two rates may need more digits than an amount.
_WIDE = Context(prec=2 * PRECISION, traps=[Inexact, InvalidOperation])


class MissingRate(msgspec.Struct, frozen=True, gc=False):
    """No rate leads from `base` to `quote`, neither direct nor inverse nor through the dollar."""

    base: Currency
    quote: Currency

    @property
    def pair(self) -> str:
        """The pair as it is written, "EUR/USD"."""
        return pair(self.base, self.quote)


class Conversion(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """1 unit of `base` is worth `num / den` units of `quote`: a ratio, so that nothing is rounded early."""

    base: Currency
    quote: Currency
    num: Decimal
    den: Decimal

    def apply(self, amount: Decimal) -> Decimal:
        """An amount of `base` in `quote`: exact when `den` is 1, else half-even to 8 places."""
        product = _WIDE.multiply(amount, self.num)
        return canonical(product if self.den == ONE else quotient(product, self.den))


def pair(base: Currency, quote: Currency) -> str:
    """The key of a rate: "EUR/USD"."""
    return f"{base}/{quote}"


def conversion(rates: FxRates, base: Currency, quote: Currency) -> Conversion | MissingRate:
    """How `base` becomes `quote`: the direct rate, else the inverse one, else both legs via the dollar."""
    if base is quote:
        return Conversion(base, quote, ONE, ONE)
    leg = _leg(rates, base, quote)
    if leg is not None:
        return Conversion(base, quote, *leg)
    first, second = _leg(rates, base, VEHICLE), _leg(rates, VEHICLE, quote)
    if first is None or second is None:
        return MissingRate(base, quote)
    return Conversion(base, quote, _WIDE.multiply(first[0], second[0]), _WIDE.multiply(first[1], second[1]))


def _leg(rates: FxRates, base: Currency, quote: Currency) -> tuple[Decimal, Decimal] | None:
    direct = rates.get(pair(base, quote))
    if direct is not None:
        return direct, ONE
    inverse = rates.get(pair(quote, base))
    return None if inverse is None else (ONE, inverse)


def convert(rates: FxRates, amount: Money, quote: Currency) -> Money | MissingRate:
    """An amount in another currency; 0 needs no rate."""
    if not amount.amount:
        return Money(amount.amount, quote)
    found = conversion(rates, amount.currency, quote)
    return found if isinstance(found, MissingRate) else Money(found.apply(amount.amount), quote)
