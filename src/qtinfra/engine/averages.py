"""Average prices as reports have them, of what was executed at one price."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ONE, average
from qtinfra.core.validation.rules import in_range

#: Prices that are remembered.
MAX_KNOWN = 4096

_known: dict[str, Decimal] = {}

#: The average at a price, given as its text, if it has been asked for before: prices come again and again.
known_average = _known.get


def average_at(text: str) -> Decimal | None:
    """The average of what was executed at one price, given as its text; None when that is out of range."""
    px = Decimal(text)
    if not in_range(px):
        return None
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    found = _known[text] = average(px, ONE)
    return found
