"""Decimals as text whose byte order is their numeric order, without a width that a value could outgrow.

A number is stored twice: as plain text, which people read and which comes back exactly, and as this key,
which the database compares. The key of a non-negative number is "1", the count of its integer digits (two
places), and its digits without leading or trailing zeros; that of a negative number is "0" and the same with
every digit complemented, closed by "~", which sorts after any digit. Byte order is meant: the BINARY
collation of SQLite, "C" in PostgreSQL. The empty key stands for no number and sorts before all.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from qtinfra.core.decimals import PRECISION, canonical, plain

#: The key of an absent number, and of one that is none (a refused order may hold NaN or 1E+400).
NO_KEY = ""
#: Integer digits, and places after the point, of a number that can be compared.
MAX_DIGITS = PRECISION

_COMPLEMENT = str.maketrans("0123456789", "9876543210")
#: Quantities and prices repeat; the cache holds about as many as one batch of orders brings.
_CACHED = 1 << 16


@lru_cache(maxsize=_CACHED)
def number_columns(value: Decimal) -> tuple[str, str]:
    """Both columns of a number: its plain text in canonical form, and its key.

    What cannot be compared (not finite, or with more digits than the engine reckons with) keeps its text and
    has no key.
    """
    if not _comparable(value):
        return str(value), NO_KEY
    text = plain(canonical(value))
    negative = text.startswith("-")
    whole, _, fraction = text.lstrip("-").partition(".")
    whole = whole.lstrip("0")
    key = f"{len(whole):02d}{whole}{fraction}"
    return text, f"0{key.translate(_COMPLEMENT)}~" if negative else f"1{key}"


def _comparable(value: Decimal) -> bool:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or exponent < -MAX_DIGITS or len(digits) > PRECISION:
        return False
    return value.adjusted() < MAX_DIGITS


def optional_columns(value: Decimal | None) -> tuple[str | None, str]:
    """As `number_columns`, where there may be no number."""
    return (None, NO_KEY) if value is None else number_columns(value)
