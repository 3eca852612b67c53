"""Controls on who may trade and what. They bind new orders, replaces, children and re-routes alike."""

from __future__ import annotations

from qtinfra.core.decisions import Refusal
from qtinfra.risk.facts import RiskFacts


def check_frozen(facts: RiskFacts) -> Refusal | None:
    """An account whose state our own fault made doubtful takes no new orders until a person has looked."""
    frozen = facts.profile.frozen or facts.frozen
    if not frozen:
        return None
    return Refusal("frozen", f"frozen after a fault: {frozen}", "account", "", facts.profile.account)


def check_kill_switch(facts: RiskFacts) -> Refusal | None:
    """No new flow under an engaged kill switch (RTS 6 Art. 12)."""
    killed = facts.profile.killed or facts.killed
    if not killed:
        return None
    return Refusal("kill_switch", f"kill switch {killed} is engaged", "", killed, facts.profile.symbol)


def check_restricted(facts: RiskFacts) -> Refusal | None:
    """No orders in a symbol restricted for the account, its client, desk or trader, or for everybody.

    Source: 17 CFR 240.15c3-5(c)(2)(ii).
    """
    profile = facts.profile
    if not profile.restricted and f"TRADER:{facts.trader}" not in profile.restricted_for:
        return None
    text = f"{profile.symbol} is restricted"
    return Refusal("restricted_symbol", text, "symbol", "", profile.symbol)


def check_approved(facts: RiskFacts) -> Refusal | None:
    """Only traders, accounts and algos approved before (17 CFR 240.15c3-5(c)(2)(iii))."""
    missing = facts.profile.unapproved or facts.unapproved
    if not missing:
        return None
    kind, _, party = missing.partition(":")
    text = f"{kind.lower()} {party[:40]!r} is not approved"
    return Refusal("unauthorised", text, kind.lower(), "approved", party)
