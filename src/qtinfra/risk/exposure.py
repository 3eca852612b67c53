"""Position, concentration, exposure and credit, open orders counted at once.

Amounts are in the one base currency of the shard. A check adds what the request would add to totals that
are kept incrementally, so it costs the same whatever is open. Where bounds of these totals show that a
limit is far off, the totals themselves are not asked for.

Sources: 17 CFR 240.15c3-5(c)(1)(i), RTS 6 Art. 15(2) and 15(4).
"""

from __future__ import annotations

from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import Refusal
from qtinfra.risk.facts import (
    RiskFacts,
    foreign,
    in_base,
    over,
    reduces,
    stale_fx,
    stale_reference,
    waived,
)


def check_position_limit(facts: RiskFacts) -> Refusal | None:
    """Net position if everything open on this side were executed (17 CFR 240.15c3-5(c)(1)(i)).

    Open orders count at once, on their own side only: orders of the other side may never trade. An order
    that only takes the position towards zero is within any limit that the position itself is within.
    """
    limit = facts.limits.position_limit
    if limit is None:
        return None
    if facts.buying:
        worst = facts.position + facts.open_buy + facts.adds
        exceeded = worst > limit
    else:
        worst = facts.position - facts.open_sell - facts.adds
        exceeded = worst < -limit
    return over("position_limit", "quantity", limit, abs(worst)) if exceeded else None


def check_concentration(facts: RiskFacts) -> Refusal | None:
    """Value in one symbol, open orders with it, as a fraction of the account's capital.

    What does not raise the value is never refused. Without a capital nothing passes.
    """
    limit = facts.limits.concentration
    if limit is None:
        return None
    worst = facts.worst
    if worst is None:
        return None if reduces(facts) else stale_reference("concentration")
    if worst <= facts.profile.cell.gross:
        return None
    converted = in_base(facts, worst) if facts.profile.currency else worst
    if converted is None:
        return stale_fx(facts, "concentration")
    return None if converted <= limit else over("concentration", "quantity", limit, converted)


def check_gross_exposure(facts: RiskFacts) -> Refusal | None:
    """Sum over the symbols of the largest absolute value that the position may take.

    Bound per account, client and firm. An order that only reduces a position adds nothing to it.
    """
    limits = facts.limits.gross
    if not limits:
        return None
    if facts.worst is None:
        return None if reduces(facts) else stale_reference("gross_exposure")
    adds = facts.worst - facts.profile.cell.gross
    if adds <= ZERO:
        return None
    converted = in_base(facts, adds) if facts.profile.currency else adds
    if converted is None:
        return stale_fx(facts, "gross_exposure")
    for limit in limits:
        if not limit.foreign and limit.home.bounds.gross + converted <= limit.value:
            continue
        observed = limit.home.gross + converted
        if limit.foreign:
            others = foreign(facts, limit.foreign, "gross")
            if others is None:
                return stale_fx(facts, "gross_exposure")
            observed += others
        if observed > limit.value and not waived(facts, "gross_exposure", limit.key):
            facts.scope = limit.key
            return over("gross_exposure", "quantity", limit.value, observed, limit.key)
    return None


def check_net_exposure(facts: RiskFacts) -> Refusal | None:
    """Net value of all positions if everything open on this side were executed, long or short.

    Bound per account, client and firm; an order is measured in its own direction only.
    """
    limits = facts.limits.net
    if not limits:
        return None
    if facts.value is None:
        return None if reduces(facts) else stale_reference("net_exposure")
    adds = facts.base_value
    if adds is None:
        return None if reduces(facts) else stale_fx(facts, "net_exposure")
    buying = facts.buying
    for limit in limits:
        if not limit.foreign and adds + limit.home.bounds.gross <= limit.value:
            continue  # neither end is ever more than the gross exposure
        observed = adds + (limit.home.long if buying else limit.home.short)
        if limit.foreign:
            others = foreign(facts, limit.foreign, "long" if buying else "short")
            if others is None:
                return None if reduces(facts) else stale_fx(facts, "net_exposure")
            observed += others
        if observed > limit.value and not waived(facts, "net_exposure", limit.key):
            facts.scope = limit.key
            return over("net_exposure", "quantity", limit.value, observed, limit.key)
    return None


def check_credit(facts: RiskFacts) -> Refusal | None:
    """Value traded today plus value of all open orders, both sides (17 CFR 240.15c3-5(c)(1)(i)).

    Bound per account, client and firm: the aggregate pre-set credit or capital threshold.
    """
    limits = facts.limits.credit
    if not limits:
        return None
    if facts.value is None:
        return None if reduces(facts) else stale_reference("credit_threshold")
    adds = facts.base_value
    if adds is None:
        return None if reduces(facts) else stale_fx(facts, "credit_threshold")
    for limit in limits:
        bounds = limit.home.bounds
        if not limit.foreign and adds + bounds.traded + bounds.gross + bounds.gross <= limit.value:
            continue  # what is open is no more than both ends together
        observed = adds + limit.home.used
        if limit.foreign:
            others = foreign(facts, limit.foreign, "used")
            if others is None:
                return None if reduces(facts) else stale_fx(facts, "credit_threshold")
            observed += others
        if observed > limit.value and not waived(facts, "credit_threshold", limit.key):
            facts.scope = limit.key
            return over("credit_threshold", "quantity", limit.value, observed, limit.key)
    return None
