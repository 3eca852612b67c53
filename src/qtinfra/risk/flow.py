"""How much and how often: message rate, duplicate flow, repeated executions of an algo."""

from __future__ import annotations

from qtinfra.core.decisions import Refusal
from qtinfra.core.reports import REJ_EXCEEDS_LIMIT
from qtinfra.risk.facts import RiskFacts
from qtinfra.risk.ledger import window_full


def check_messages(facts: RiskFacts) -> Refusal | None:
    """Messages of the account within the window (RTS 6 Art. 15(1)(d)): N pass, the next is refused.

    New orders, replaces and the client's cancels count; cancels and kills are never refused.
    """
    limit, stamps = facts.limits.messages, facts.messages
    if limit is None or (stamps is not None and len(stamps) < limit):
        return None
    if not window_full(stamps, limit, facts.message_since_ns):
        return None
    return _too_many("max_messages", "account", limit, facts.profile.account)


def check_book_messages(facts: RiskFacts) -> Refusal | None:
    """Messages of everybody to one order book within the window (RTS 6 Art. 15(1)(d))."""
    limit, stamps = facts.limits.book_messages, facts.book_messages
    if limit is None or (stamps is not None and len(stamps) < limit):
        return None
    if not window_full(stamps, limit, facts.message_since_ns):
        return None
    return _too_many("max_messages", "symbol", limit, facts.profile.symbol)


def check_duplicates(facts: RiskFacts) -> Refusal | None:
    """Orders equal in account, symbol, side, quantity and price within the window.

    Source: 17 CFR 240.15c3-5(c)(1)(ii).
    """
    limit = facts.limits.duplicates
    if limit is None or not facts.new or facts.duplicates < limit:
        return None
    text = f"duplicate_flow: {facts.duplicates + 1} equal orders within the window, {limit} may be"
    observed = str(facts.duplicates + 1)
    return Refusal("duplicate_flow", text, "quantity", str(limit), observed, REJ_EXCEEDS_LIMIT)


def check_algo_executions(facts: RiskFacts) -> Refusal | None:
    """An algo sends so often and is then disabled until staff re-enable it (RTS 6 Art. 15(3))."""
    run = facts.algo
    if run is None or not facts.new:
        return None
    if run.disabled:
        text = f"algo {run.algo} is disabled until staff re-enable it"
        return Refusal("algo_disabled", text, "algo", "", run.algo)
    if run.limit is None or run.executions < run.limit:
        return None
    text = f"algo_executions: algo {run.algo} has used up its {run.limit} executions"
    observed = str(run.executions + 1)
    return Refusal("algo_executions", text, "algo", str(run.limit), observed, REJ_EXCEEDS_LIMIT)


def _too_many(code: str, field: str, limit: int, who: str) -> Refusal:
    text = f"{code}: {who} has sent {limit} messages within the window"
    return Refusal(code, text, field, str(limit), str(limit + 1), REJ_EXCEEDS_LIMIT)
