"""What a unit costs all in at a venue: its fee or rebate by role, and the price of failing and waiting."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import canonical
from qtinfra.core.routing import PPM, RoutingPolicy
from qtinfra.router.sor import VenueTerms
from qtinfra.router.stats import Chance

_THOUSANDTH = Decimal("0.001")
_MILLIONTH = Decimal("0.000001")


def miss_penalty(policy: RoutingPolicy, share_ppm: int, latency_us: int) -> Decimal:
    """Ticks per unit that an order is expected to lose by coming back unfilled and by the wait.

    `miss_ticks * (1 - expected part filled) + latency_ticks_per_ms * latency`, exactly.

    Args:
        share_ppm: expected part that executes, parts of a million.
        latency_us: median delay of the venue's answers, microseconds.
    """
    missed = policy.miss_ticks * Decimal(PPM - share_ppm) * _MILLIONTH
    return missed + policy.latency_ticks_per_ms * Decimal(latency_us) * _THOUSANDTH


def all_in(
    policy: RoutingPolicy, fees: VenueTerms, take: Chance, post: Chance, latency_us: int, tick: Decimal
) -> VenueTerms:
    """The venue's fees per unit with the penalties added, to rank it by: taking, and posting at the touch.

    Args:
        fees: what the venue charges, negative for a rebate.
        take, post: what to expect of either.
        tick: price units.
    """
    taking = fees.take_fee + tick * miss_penalty(policy, take.share_ppm, latency_us)
    posting = fees.make_fee + tick * miss_penalty(policy, post.share_ppm, latency_us)
    return VenueTerms(fees.mic, canonical(taking), canonical(posting))
