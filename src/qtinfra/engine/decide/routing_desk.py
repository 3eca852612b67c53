"""Commands of the routing desk: policy, limits of venues, protection rules."""

from __future__ import annotations

from datetime import date

from qtinfra.core.commands import SetOrderProtection, SetRoutingPolicy, SetVenueLimit
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.decisions import Refusal
from qtinfra.core.events import CommandRefused
from qtinfra.core.market import MarketView
from qtinfra.core.routing import RouteStyle, RoutingPolicy
from qtinfra.core.routing_events import OrderProtectionSet, RoutingPolicySet, VenueLimitSet
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.lookup import routing_of
from qtinfra.engine.state import State

#: More failures than this are no breaker.
MAX_FAILURES = 100


def _refuse(out: Decision, code: str, field: str, limit: str, observed: str, text: str) -> None:
    out.add(CommandRefused("", "", code, field, limit, observed, text))


def set_routing_policy(
    state: State, command: SetRoutingPolicy, now_ns: int, market: MarketView, out: Decision
) -> None:
    """All or nothing: one wrong value refuses the policy."""
    del now_ns, market
    policy = command.policy
    for field, style in (
        ("style", policy.style),
        *((f"accounts.{name}", one) for name, one in policy.accounts),
    ):
        wrong = _wrong_style(state, style)
        if wrong:
            _refuse(out, "bad_routing_policy", field, "", style.strategy, wrong)
            return
    wrong = _wrong_number(policy) or _wrong_breaker(policy)
    unknown = [mic for mic in policy.dark if mic not in state.venues]
    if wrong or unknown:
        text = wrong or f"venue {unknown[0][:24]!r} is not known"
        _refuse(out, "bad_routing_policy", "policy", "", "", text)
        return
    out.add(RoutingPolicySet(policy, command.author, command.reason))


def wrong_routing(state: State, special: SpecialTerms | None) -> Refusal | None:
    """Why an order may not be routed as it asks; None when it may."""
    style = special.routing if special is not None else None
    wrong = _wrong_style(state, style) if style is not None else ""
    if style is None or not wrong:
        return None
    return Refusal("bad_routing", wrong, "routing", ", ".join(routing_of(state)), style.strategy[:40])


def _wrong_style(state: State, style: RouteStyle) -> str:
    known = routing_of(state)
    if style.strategy not in known:
        return f"strategy {style.strategy[:40]!r} is not installed; there are {', '.join(known)}"
    if not (style.urgency.is_finite() and ZERO <= style.urgency <= ONE):
        return f"urgency: 0 to 1, not {style.urgency}"
    return ""


def _wrong_number(policy: RoutingPolicy) -> str:
    for name in ("miss_ticks", "latency_ticks_per_ms", "dark_min_qty"):
        value = getattr(policy, name)
        if not value.is_finite() or value < ZERO:
            return f"{name}: at least 0, not {value}"
    for name in ("max_quote_age_ns", "market_collar_ticks"):
        if getattr(policy, name) < 0:
            return f"{name}: at least 0, not {getattr(policy, name)}"
    return ""


def _wrong_breaker(policy: RoutingPolicy) -> str:
    terms = policy.breaker
    if terms is None:
        return ""
    if not 1 <= terms.failures <= MAX_FAILURES:
        return f"breaker.failures: 1 to {MAX_FAILURES}, not {terms.failures}"
    if terms.window_ns <= 0 or terms.cooldown_ns <= 0 or not 0 <= terms.max_doublings <= 20:
        return "breaker: window and cool-down above 0, 0 to 20 doublings"
    return ""


def set_venue_limit(
    state: State, command: SetVenueLimit, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    if command.venue not in state.venues:
        text = f"venue {command.venue[:24]!r} is not known"
        _refuse(out, "unknown_venue", "venue", "", command.venue[:24], text)
        return
    for name in ("open_notional", "credit"):
        value = getattr(command.limit, name)
        if value is not None and (not value.is_finite() or value < ZERO):
            _refuse(out, "must_not_be_negative", name, "0", str(value), f"{name} must not be negative")
            return
    out.add(VenueLimitSet(command.venue, command.limit, command.author, command.reason))


def set_order_protection(
    state: State, command: SetOrderProtection, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    rule = command.rule
    unknown = [mic for mic in rule.venues if mic not in state.venues]
    if unknown:
        text = f"venue {unknown[0][:24]!r} is not known"
        _refuse(out, "unknown_venue", "rule.venues", "", unknown[0][:24], text)
        return
    for name in ("from_date", "to_date"):
        text = getattr(rule, name)
        if not _is_date(text) and (text or name == "from_date"):
            _refuse(out, "bad_date", f"rule.{name}", "ISO 8601", text[:24], f"{name} is an ISO 8601 date")
            return
    out.add(OrderProtectionSet(rule, command.author))


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
