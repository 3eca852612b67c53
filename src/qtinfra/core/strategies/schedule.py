"""From weights to integer lots: the one rounding rule that every planner's schedule follows."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import lcm

from qtinfra.core.decimals import EXACT, canonical


class ScheduleError(ValueError):
    """A schedule cannot be made from these numbers; `field` names the one that is wrong."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


def integer_schedule(
    weights: Sequence[Decimal | Fraction | float], qty: Decimal, lot: Decimal
) -> tuple[Decimal, ...]:
    """Split a quantity by weights into slices that sum to it exactly.

    The cumulative target after each slice is rounded half-up to the lot; the last slice takes the residual,
    an odd lot included. Where rounding up would pass the quantity, the whole lots in it are the target.

    Args:
        weights: one number >= 0 for each slice, of any scale (fractions of volume, shares, seconds).
        qty: units to split, >= 0.
        lot: units of a round lot, > 0.

    Returns:
        One quantity >= 0 for each weight; all but the last are whole lots.

    Raises:
        ScheduleError: no weights, one that is negative or not finite, none above 0, or a bad quantity or lot.

    Source:
        The lot_rounding cases of the conformance file; cumulative rounding bounds the error at every
        moment by half a lot, where rounding each slice by itself lets it grow.
    """
    whole_weights, _ = whole_numbers(weights)
    total = sum(whole_weights)
    if not total:
        raise ScheduleError("weights", "at least one must be above 0")
    if not lot.is_finite() or lot <= 0:
        raise ScheduleError("lot", f"{lot} is not above 0")
    if not qty.is_finite() or qty < 0:
        raise ScheduleError("qty", f"{qty} is below 0")
    whole = Fraction(qty) / Fraction(lot)
    most = int(whole)
    # Over one denominator the sums are whole numbers: the same targets, without a fraction per slice.
    double, least = 2 * whole.numerator, whole.denominator * total
    done, reached, slices = 0, 0, []
    for weight in whole_weights[:-1]:
        done += weight
        target = min((done * double + least) // (2 * least), most)
        slices.append(canonical(EXACT.multiply(Decimal(target - reached), lot)))
        reached = target
    slices.append(canonical(EXACT.subtract(qty, EXACT.multiply(Decimal(reached), lot))))
    return tuple(slices)


def lots_of(weights: Sequence[Decimal | Fraction | float], qty: Decimal, lot: Decimal) -> tuple[int, ...]:
    """The same in whole lots; what is left of an odd lot is not in it.

    Raises:
        ScheduleError: as `integer_schedule`.
    """
    return tuple(int(part // lot) for part in integer_schedule(weights, qty, lot))


def whole_numbers(weights: Sequence[Decimal | Fraction | float]) -> tuple[list[int], int]:
    """The weights as whole numbers, exactly, and the number that each was multiplied by.

    Raises:
        ScheduleError: there are none, or one is negative or not finite.
    """
    if not weights:
        raise ScheduleError("weights", "there are none")
    ratios = []
    for place, weight in enumerate(weights):
        try:
            ratio = weight.as_integer_ratio()
        except (ValueError, OverflowError) as error:
            raise ScheduleError("weights", f"number {place} is {weight}, not a finite number") from error
        if ratio[0] < 0:
            raise ScheduleError("weights", f"number {place} is {weight}, below 0")
        ratios.append(ratio)
    scale = lcm(*dict.fromkeys(denominator for _, denominator in ratios))
    return [numerator * (scale // denominator) for numerator, denominator in ratios], scale
