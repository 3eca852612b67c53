"""The pre-trade controls in one place. At the limit passes, one unit over fails.

Each control is one function from the facts to a refusal or None; `CONTROLS` lists them in the order in
which they run, and the first refusal counts. A soft limit gives way to an override that two persons
granted for one order, in its scope, up to its value, before it expires (RTS 6 Art. 15(6)).

Sources: 17 CFR 240.15c3-5 (market access), Commission Delegated Regulation (EU) 2017/589 (RTS 6) Art. 12
and 15, 17 CFR 242.200-203 (Regulation SHO).
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decisions import Refusal, RiskApproved, RiskRefused
from qtinfra.core.extended_models import ANY, LimitRule
from qtinfra.risk.exposure import (
    check_concentration,
    check_credit,
    check_gross_exposure,
    check_net_exposure,
    check_position_limit,
)
from qtinfra.risk.facts import Control, RiskFacts, RiskProfile, Waivers
from qtinfra.risk.flow import check_algo_executions, check_book_messages, check_duplicates, check_messages
from qtinfra.risk.ledger import Override
from qtinfra.risk.permission import check_approved, check_frozen, check_kill_switch, check_restricted
from qtinfra.risk.price import check_period_collar, check_price_collar
from qtinfra.risk.short_sale import check_locate, check_price_test, check_short_mark
from qtinfra.risk.size import check_max_order_qty, check_max_order_value, check_max_order_value_base

__all__ = [
    "CONTROLS",
    "PERMISSIONS",
    "SOFT",
    "Control",
    "RiskFacts",
    "RiskPassed",
    "RiskProfile",
    "approve",
    "controls_for",
    "may_pass",
    "signature",
]

#: Controls on who may trade and what: they bind every child and every re-route as well.
PERMISSIONS: tuple[Control, ...] = (check_frozen, check_kill_switch, check_restricted, check_approved)

_SHORT_SALE: tuple[Control, ...] = (check_short_mark, check_locate, check_price_test)
#: Controls that look at several scopes, each of which an override may lift by itself.
_SCOPED: tuple[Control, ...] = (check_gross_exposure, check_net_exposure, check_credit)

#: All controls on a new order or a replace, in order.
CONTROLS: tuple[Control, ...] = (
    *PERMISSIONS,
    check_algo_executions,
    check_messages,
    check_book_messages,
    check_duplicates,
    check_max_order_qty,
    check_max_order_value,
    check_max_order_value_base,
    check_price_collar,
    check_period_collar,
    *_SHORT_SALE,
    check_position_limit,
    check_concentration,
    *_SCOPED,
)

#: Limits that an override may lift. Kills, restrictions, approvals and short-sale rules never give way.
SOFT: tuple[LimitRule, ...] = (
    LimitRule.MAX_ORDER_QTY,
    LimitRule.MAX_ORDER_VALUE,
    LimitRule.MAX_ORDER_VALUE_BASE,
    LimitRule.PRICE_COLLAR,
    LimitRule.PERIOD_COLLAR,
    LimitRule.POSITION_LIMIT,
    LimitRule.CONCENTRATION,
    LimitRule.GROSS_EXPOSURE,
    LimitRule.NET_EXPOSURE,
    LimitRule.CREDIT_THRESHOLD,
)


class RiskPassed(RiskApproved, frozen=True, gc=False):
    """An approval with what it rests on: the reference price, and the overrides that it uses up."""

    reference: Decimal | None = None
    overrides: tuple[str, ...] = ()


def signature(profile: RiskProfile) -> tuple[bool, ...]:
    """Which controls can refuse under a profile: one whose limit is not set never does."""
    limits = profile.limits
    return (
        profile.frozen != "",
        profile.restricted or bool(profile.restricted_for),
        limits.messages is not None,
        limits.book_messages is not None,
        limits.duplicates is not None,
        limits.max_order_qty is not None,
        limits.max_order_value is not None,
        limits.max_order_value_base is not None,
        limits.price_collar is not None,
        limits.period_collar is not None,
        limits.position_limit is not None,
        limits.concentration is not None,
        limits.gross != (),
        limits.net != (),
        limits.credit != (),
        profile.short_sale,
    )


_SIGNED: tuple[Control, ...] = (
    check_frozen,
    check_restricted,
    check_messages,
    check_book_messages,
    check_duplicates,
    check_max_order_qty,
    check_max_order_value,
    check_max_order_value_base,
    check_price_collar,
    check_period_collar,
    check_position_limit,
    check_concentration,
    *_SCOPED,
)


def controls_for(signed: tuple[bool, ...], *, approvals: bool, kills: bool) -> tuple[Control, ...]:
    """The controls of a signature.

    Args:
        approvals: whether the policy wants any party approved.
        kills: whether any kill switch is engaged.
    """
    without = [control for needed, control in zip(signed, _SIGNED, strict=False) if not needed]
    without += [] if signed[-1] else _SHORT_SALE
    without += [] if approvals else [check_approved]
    without += [] if kills else [check_kill_switch]
    return tuple(control for control in CONTROLS if control not in without)


def approve(facts: RiskFacts, controls: tuple[Control, ...] = CONTROLS) -> RiskPassed | RiskRefused:
    """Run the controls; the approval is for `adds`, the quantity that the request would send."""
    for control in controls:
        refusal = control(facts)
        if refusal is not None and (facts.waivers is None or not _lifted(facts, control, refusal)):
            return RiskRefused(refusal)
    return RiskPassed(
        facts.profile.account,
        facts.profile.symbol,
        facts.side,
        facts.order_type,
        facts.tif,
        facts.adds,
        facts.price,
        facts.min_qty,
        facts.reference,
        facts.waivers.used if facts.waivers is not None else (),
    )


def _lifted(facts: RiskFacts, control: Control, refusal: Refusal | None) -> bool:
    """Whether overrides lift everything that the control has against the request; they are noted as used."""
    waivers = facts.waivers
    while refusal is not None and waivers is not None:
        scope = facts.scope if control in _SCOPED else facts.profile.account
        found = _find_override(facts, waivers, refusal, scope)
        if found is None:
            return False
        waivers.used = (*waivers.used, found)
        waivers.waived = (*waivers.waived, (refusal.code, scope))
        refusal = control(facts) if control in _SCOPED else None
    return True


def _find_override(facts: RiskFacts, waivers: Waivers, refusal: Refusal, scope: str) -> str | None:
    for override_id, override in waivers.known.items():
        if override_id in waivers.used or override.account != scope:
            continue
        if override.symbol in (ANY, facts.profile.symbol) and may_pass(override, refusal, facts.now_ns):
            return override_id
    return None


def may_pass(override: Override, refusal: Refusal, now_ns: int) -> bool:
    """Whether an override covers a refusal: approved, in time, of the rule, and not beyond its value."""
    if not override.approved_by or now_ns > override.expires_ns or override.rule != refusal.code:
        return False
    limit, observed = Decimal(refusal.limit), Decimal(refusal.observed)
    return observed <= override.value if observed > limit else observed >= override.value
