"""Price collars: order by order against the market now, and over a period against where it began."""

from __future__ import annotations

from qtinfra.core.decimals import ONE
from qtinfra.core.decisions import Refusal
from qtinfra.risk.facts import RiskFacts, over, reduces, stale_reference


def check_price_collar(facts: RiskFacts) -> Refusal | None:
    """A limit price within a fraction of the reference on the aggressive side (RTS 6 Art. 15(1)(a)).

    Only the side that could do harm is bounded: a buy may not be too high, a sell not too low. Without a live
    reference the control fails closed, except for an order that only reduces risk.
    """
    collar = facts.limits.price_collar
    if collar is None:
        return None
    if facts.reference is None:
        return None if reduces(facts) else stale_reference("price_collar")
    price = facts.price
    if price is None:
        return None
    if facts.buying:
        bound = facts.reference * (ONE + collar)
        return None if price <= bound else over("price_collar", "price", bound, price)
    bound = facts.reference * (ONE - collar)
    return None if price >= bound else over("price_collar", "price", bound, price)


def check_period_collar(facts: RiskFacts) -> Refusal | None:
    """A price within a fraction of the extreme reference of the period (RTS 6 Art. 15(1)(a)).

    It stops flow that drives the market step by step, each step inside the order-by-order collar: a buy is
    measured against the lowest reference at which anybody's order was accepted in the period, a sell
    against the highest.
    """
    collar = facts.limits.period_collar
    if collar is None:
        return None
    price = facts.price if facts.price is not None else facts.reference
    if price is None:
        return None if reduces(facts) else stale_reference("period_collar")
    anchor = facts.drift_low if facts.buying else facts.drift_high
    if anchor is None:
        return None
    bound = anchor * (ONE + collar if facts.buying else ONE - collar)
    inside = price <= bound if facts.buying else price >= bound
    return None if inside else over("period_collar", "price", bound, price)
