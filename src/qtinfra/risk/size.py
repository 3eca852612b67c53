"""Quantity and value of one order."""

from __future__ import annotations

from qtinfra.core.decisions import Refusal
from qtinfra.risk.facts import RiskFacts, in_base, over, reduces, stale_fx, stale_reference


def check_max_order_qty(facts: RiskFacts) -> Refusal | None:
    """Quantity of one order (RTS 6 Art. 15(1)(c))."""
    limit = facts.limits.max_order_qty
    if limit is None or facts.qty <= limit:
        return None
    return over("max_order_qty", "quantity", limit, facts.qty)


def check_max_order_value(facts: RiskFacts) -> Refusal | None:
    """Value of one order in the instrument's currency (RTS 6 Art. 15(1)(b)).

    Fails closed without a price, except for an order that only reduces risk.
    """
    limit = facts.limits.max_order_value
    if limit is None:
        return None
    value = facts.order_value
    if value is None:
        return None if reduces(facts) else stale_reference("max_order_value")
    return None if value <= limit else over("max_order_value", "quantity", limit, value)


def check_max_order_value_base(facts: RiskFacts) -> Refusal | None:
    """Value of one order in the base currency, through the journaled rate (RTS 6 Art. 15(1)(b)).

    Fails closed without a price or a fresh rate, except for an order that only reduces risk.
    """
    limit = facts.limits.max_order_value_base
    if limit is None:
        return None
    value = facts.order_value
    if value is None:
        return None if reduces(facts) else stale_reference("max_order_value_base")
    converted = in_base(facts, value) if facts.profile.currency else value
    if converted is None:
        return None if reduces(facts) else stale_fx(facts, "max_order_value_base")
    return None if converted <= limit else over("max_order_value_base", "quantity", limit, converted)
