"""Exact decimal arithmetic: one context for the core, one rounding rule for derived averages.

Quantities, prices and amounts are `decimal.Decimal`. Sums and products are exact: the core runs under
`EXACT`, which traps any inexact result instead of rounding it in silence. Only two things divide, an average
and a cost split, and both say how they round.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from decimal import (
    ROUND_05UP,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)

ZERO = Decimal(0)
ONE = Decimal(1)

#: Decimal places of a derived average (price, cost).
AVERAGE_PLACES = 8

PRECISION = 80
EXACT = Context(prec=PRECISION, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
# ROUND_05UP at high precision followed by half-even at few places gives the correctly rounded quotient.
_DIVIDE = Context(prec=PRECISION, rounding=ROUND_05UP, traps=[InvalidOperation, DivisionByZero, Overflow])
_ROUND = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
_QUANTUM = Decimal(1).scaleb(-AVERAGE_PLACES)

#: The grammar of a number on the wire: plain ASCII, no sign, no exponent, at most 18 + 9 digits.
NUMBER_GRAMMAR = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?", re.ASCII)


def exact() -> AbstractContextManager[Context]:
    """A block in which every Decimal operator is exact or raises `decimal.Inexact`."""
    return localcontext(EXACT)


def canonical(value: Decimal) -> Decimal:
    """The same number in its one written form: no exponent, no trailing zeros, no negative zero.

    Equal numbers then have equal text, hence equal bytes in the journal.
    """
    if not value:
        return ZERO
    if value.same_quantum(ONE):
        return value
    if not value.is_finite():
        raise InvalidOperation(f"not a finite number: {value}")
    stripped = value.normalize(EXACT)
    return stripped if EXACT.remainder(stripped, ONE) else stripped.quantize(ONE, context=EXACT)


def parse_decimal(text: str) -> Decimal:
    """Read a number by `NUMBER_GRAMMAR`.

    Raises:
        ValueError: the text does not follow the grammar.
    """
    if NUMBER_GRAMMAR.fullmatch(text) is None:
        raise ValueError(f"not a plain decimal number: {text[:40]!r}")
    return canonical(Decimal(text))


def quotient(numerator: Decimal, denominator: Decimal) -> Decimal:
    """`numerator / denominator`, rounded half-even to 8 places."""
    return _DIVIDE.divide(numerator, denominator).quantize(_QUANTUM, context=_ROUND)


def average(notional: Decimal, quantity: Decimal) -> Decimal:
    """Average price: notional over quantity, half-even to 8 places; 0 when the quantity is 0."""
    return canonical(quotient(notional, quantity)) if quantity else ZERO


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether `value` is a whole number of `step`s (a tick, a lot)."""
    return not value % step


def plain(value: Decimal) -> str:
    """The number as text without exponent."""
    text = str(value)
    return text if "E" not in text else format(value, "f")
