"""Average prices as reports have them, of what was executed at one price."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ONE, average
from qtinfra.core.validation.rules import in_range

#: Prices that are remembered.
MAX_KNOWN = 4096

_known: dict[Decimal, Decimal] = {}

#: The average at a price, if it has been asked for before: prices come again and again, and those that are
#: equal have one average, in its canonical form.
known_average = _known.get


def average_at(px: Decimal) -> Decimal | None:
    """The average of what was executed at one price; None when that is out of range."""
    if not in_range(px):
        return None
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    found = _known[px] = average(px, ONE)
    return found
