"""How often orders to a venue execute: Beta-Binomial statistics per activity, in whole numbers.

Every venue order is one trial. It is *filled* when it executed in full, *partly* when it executed something
and ended, *missed* when it ended with nothing, refusals included. With a Beta(a, b) prior and n trials of
which k succeeded, the posterior is Beta(a + k, b + n - k), its mean (a + k) / (a + b + n).

The priors are worth four to ten trials, so that a venue's first dozen orders decide about it. They are
assumptions, no measurements: displayed size can be had nine times in ten, an order at the touch executes
every other time, one behind it every fourth and one in the dark every fifth time.

Source: A. Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), section 2.4.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache

import msgspec

from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.routing import PPM, Activity
from qtinfra.core.writes import quick_writes

#: Beta(a, b) by activity, in trials.
PRIORS: dict[Activity, tuple[int, int]] = {
    Activity.TAKE: (9, 1),
    Activity.POST: (2, 2),
    Activity.BEHIND: (1, 3),
    Activity.DARK: (1, 4),
}

_NUMERIC = Context(prec=40, rounding=ROUND_HALF_EVEN)
_MAX_TERMS = 5_000
_BISECTIONS = 34  # to 1e-10, less than a thousandth of what is shown
_DONE = Decimal("1e-18")


@quick_writes
class Tally(msgspec.Struct, gc=False):
    """Trials of one activity at one venue.

    Attributes:
        sent: orders sent; those that have not ended count in nothing else.
        filled, partly, missed: how they ended.
        share_ppm: executed parts of their quantities, added up, in parts of a million.
    """

    sent: int = 0
    filled: int = 0
    partly: int = 0
    missed: int = 0
    share_ppm: int = 0

    @property
    def ended(self) -> int:
        return self.filled + self.partly + self.missed


class Chance(msgspec.Struct, frozen=True, gc=False):
    """Posterior means in parts of a million: of executing in full, and of the part that executes."""

    full_ppm: int
    share_ppm: int


#: What to expect where nothing was tried yet: the mean of the prior.
_AT_FIRST = {
    activity: Chance(yes * PPM // (yes + no), yes * PPM // (yes + no))
    for activity, (yes, no) in PRIORS.items()
}


def chance(tally: Tally | None, activity: Activity) -> Chance:
    """What to expect of the next order; with no tally the prior alone."""
    if tally is None:
        return _AT_FIRST[activity]
    yes, no = PRIORS[activity]
    trials = yes + no + tally.ended
    return Chance((yes + tally.filled) * PPM // trials, (yes * PPM + tally.share_ppm) // trials)


def chance_in_full(tally: Tally | None, activity: Activity) -> int:
    """The `full_ppm` of `chance` alone, for the many that need no more."""
    yes, no = PRIORS[activity]
    if tally is None:
        return yes * PPM // (yes + no)
    filled = tally.filled
    return (yes + filled) * PPM // (yes + no + filled + tally.partly + tally.missed)


def interval(tally: Tally | None, activity: Activity, level: Decimal = Decimal("0.95")) -> tuple[int, int]:
    """Equal-tailed credible interval of the probability of executing in full, in parts of a million.

    Args:
        level: probability inside, between 0 and 1.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    if not ZERO < level < ONE:
        raise ValueError(f"level: between 0 and 1, not {level}")
    yes, no = PRIORS[activity]
    filled, ended = (tally.filled, tally.ended) if tally is not None else (0, 0)
    return _interval(yes + filled, no + ended - filled, level)


@lru_cache(maxsize=4096)
def _interval(yes: int, no: int, level: Decimal) -> tuple[int, int]:
    with localcontext(_NUMERIC):
        tail = (ONE - level) / 2
        return _ppm(beta_quantile(tail, yes, no)), _ppm(beta_quantile(ONE - tail, yes, no))


def _ppm(part: Decimal) -> int:
    return int((part * PPM).to_integral_value())


def beta_quantile(probability: Decimal, a: int, b: int) -> Decimal:
    """Where the distribution function of Beta(a, b) reaches a probability, to 1e-10. By bisection."""
    low, high = ZERO, ONE
    with localcontext(_NUMERIC):
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if beta_cdf(middle, a, b) < probability:
                low = middle
            else:
                high = middle
        return (low + high) / 2


def beta_cdf(x: Decimal, a: int, b: int) -> Decimal:
    """Regularised incomplete beta function I_x(a, b) for whole a, b of at least 1, to about 1e-15.

    The continued fraction of DiDonato and Morris (NIST DLMF 8.17.22), by Lentz's method.

    Raises:
        ArithmeticError: the fraction did not settle.
    """
    if x <= 0:
        return ZERO
    if x >= 1:
        return ONE
    with localcontext(_NUMERIC):
        if x * (a + b + 2) >= a + 1:
            return ONE - _by_fraction(ONE - x, b, a)
        return _by_fraction(x, a, b)


def _by_fraction(x: Decimal, a: int, b: int) -> Decimal:
    front = (a * x.ln() + b * (ONE - x).ln() - _log_beta(a, b)).exp() / a
    c, d = ONE, ONE / (ONE - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = ONE / (ONE + top * d)
            c = ONE + top / c
            value *= c * d
        if abs(c * d - 1) < _DONE:
            return front * value
    raise ArithmeticError(f"I_x({a}, {b}) did not settle")


def _log_beta(a: int, b: int) -> Decimal:
    return _log_factorial(a - 1) + _log_factorial(b - 1) - _log_factorial(a + b - 1)


@lru_cache(maxsize=4096)
def _log_factorial(n: int) -> Decimal:
    """ln n!: the product for small n, Stirling's series (NIST DLMF 5.11.1) above."""
    if n < 50:
        product = 1
        for factor in range(2, n + 1):
            product *= factor
        return Decimal(product).ln()
    x = Decimal(n + 1)
    half_log_two_pi = Decimal("0.9189385332046727417803297364056176398614")
    series = ONE / (12 * x) - ONE / (360 * x**3) + ONE / (1260 * x**5) - ONE / (1680 * x**7)
    return (x - Decimal("0.5")) * x.ln() - x + half_log_two_pi + series


# --- delays ----------------------------------------------------------------------------------------------

#: Parts that a power of two is divided into: a delay is known to within an eighth.
_PARTS = 8


def bucket_of(delay_ns: int) -> int:
    """Number of the histogram's bucket that a delay falls in."""
    if delay_ns < _PARTS:
        return max(0, delay_ns)
    shift = delay_ns.bit_length() - 4
    return _PARTS * shift + (delay_ns >> shift)


def bucket_top_ns(bucket: int) -> int:
    """The longest delay of a bucket, nanoseconds."""
    if bucket < 2 * _PARTS:
        return bucket
    shift = bucket // _PARTS - 1
    return ((bucket - _PARTS * shift + 1) << shift) - 1


def percentile_ns(buckets: dict[int, int], percent: int) -> int | None:
    """A percentile of counted delays, nanoseconds, never understated; None when nothing was counted."""
    total = sum(buckets.values())
    if not total:
        return None
    need, seen = -(-total * percent // 100), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= need:
            return bucket_top_ns(bucket)
    raise ValueError(f"percent: at most 100, not {percent}")
