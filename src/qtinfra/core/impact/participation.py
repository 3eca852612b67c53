"""Quantities that follow volume, exact and in whole lots: at a rate of it, or along a curve under a cap."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.strategies.schedule import integer_schedule


def own_at_rate(rate: Decimal, others: Decimal, lot: Decimal) -> Decimal:
    """The most whole lots with `own / (own + others) <= rate`: own volume counts in the denominator.

    Args:
        rate: from 0 up to, not including, 1.
        others: volume of everybody else, units, at least 0.
        lot: units of a round lot, above 0.

    Raises:
        ValueError: a value is out of its range.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate: at least 0 and below 1, not {rate}")
    if others < 0 or lot <= 0:
        raise ValueError(f"others and lot: at least 0 and above 0, not {others} and {lot}")
    exact = Fraction(rate) * Fraction(others) / ((1 - Fraction(rate)) * Fraction(lot))
    return _units(int(exact), lot)


def capped_schedule(
    qty: Decimal,
    curve: Sequence[Decimal | Fraction | float],
    volumes: Sequence[Decimal],
    cap: Decimal,
    lot: Decimal,
) -> tuple[Decimal, ...]:
    """Children along a curve, each within a cap of its bin's volume.

    Each is `min(cumulative target - done, cap x volume)`.

    What a cap holds back is caught up in later bins within their caps; what is left after the last bin stays
    undone and is for the completion policy. The cap is rounded down to whole lots, targets half-up
    (`integer_schedule`).

    Args:
        qty: units to trade.
        curve: weight of each bin, of any scale.
        volumes: volume of each bin in units, as given: own volume is not added to it.
        cap: share of a bin's volume, at least 0.

    Raises:
        ValueError: another number of volumes than weights, or a value out of its range.
    """
    if len(curve) != len(volumes):
        raise ValueError(f"volumes: one for each of {len(curve)} bins, not {len(volumes)}")
    if cap < 0 or min(volumes, default=ZERO) < 0:
        raise ValueError("cap and volumes: at least 0")
    target = done = ZERO
    children = []
    for wanted, volume in zip(integer_schedule(curve, qty, lot), volumes, strict=True):
        target = EXACT.add(target, wanted)
        room = _units(int(Fraction(cap) * Fraction(volume) / Fraction(lot)), lot)
        child = min(EXACT.subtract(target, done), room)
        done = EXACT.add(done, child)
        children.append(canonical(child))
    return tuple(children)


def _units(lots: int, lot: Decimal) -> Decimal:
    return canonical(EXACT.multiply(Decimal(lots), lot))
