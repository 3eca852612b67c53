"""What risk staff do: policy, approvals, locates, the price test, algos, overrides.

Once the policy wants RISK_STAFF approved, only approved persons may act here, and two different ones grant an
override (RTS 6 Art. 15(3) and 15(6)).
"""

from __future__ import annotations

from qtinfra.core.commands import (
    ApproveOverride,
    ApproveParty,
    EnableAlgo,
    GrantLocate,
    RequestOverride,
    SetPriceTest,
    SetRiskPolicy,
)
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import (
    AlgoEnabled,
    CommandRefused,
    LocateGranted,
    OverrideApproved,
    OverrideRequested,
    PartyApproved,
    PriceTestSet,
    RiskPolicySet,
)
from qtinfra.core.extended_models import LimitRule, PartyKind
from qtinfra.core.market import MarketView
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.state import State
from qtinfra.risk.checks import SOFT
from qtinfra.risk.ledger import MAX_WINDOW

#: Overrides that may wait to be used.
MAX_OVERRIDES = 1_000

_COUNTS = (
    LimitRule.MAX_MESSAGES,
    LimitRule.MAX_BOOK_MESSAGES,
    LimitRule.DUPLICATE_FLOW,
    LimitRule.ALGO_EXECUTIONS,
)
_BY_ACCOUNT = (
    LimitRule.MAX_MESSAGES,
    LimitRule.ALGO_EXECUTIONS,
    LimitRule.CAPITAL,
    LimitRule.GROSS_EXPOSURE,
    LimitRule.NET_EXPOSURE,
    LimitRule.CREDIT_THRESHOLD,
)
_SCOPED = (LimitRule.GROSS_EXPOSURE, LimitRule.NET_EXPOSURE, LimitRule.CREDIT_THRESHOLD)


def _refuse(out: Decision, code: str, field: str, limit: str, observed: str, text: str) -> None:
    out.add(CommandRefused("", "", code, field, limit, observed[:60], text))


def is_risk_staff(state: State, person: str) -> bool:
    """Whether the person may act on controls: anybody with a name, or approved ones if the policy says so."""
    if PartyKind.RISK_STAFF not in state.risk.policy.approved_only:
        return bool(person)
    return person in state.risk.approved.get(PartyKind.RISK_STAFF.value, {})


def _staff_only(state: State, person: str, field: str, out: Decision) -> bool:
    if is_risk_staff(state, person):
        return True
    text = f"{person[:40]!r} is not designated risk staff"
    _refuse(out, "unauthorised", field, PartyKind.RISK_STAFF, person, text)
    return False


def wrong_limit(rule: LimitRule, account: str, symbol: str) -> str:
    """Why a limit of the rule cannot be set for this account and symbol; empty when it can."""
    if rule in _BY_ACCOUNT and symbol != "*":
        return f"{rule} is not set by symbol"
    if rule is LimitRule.MAX_BOOK_MESSAGES and account != "*":
        return f"{rule} counts everybody: the account is *"
    if rule is LimitRule.ALGO_EXECUTIONS and not account.startswith("ALGO:"):
        return f"{rule} is set for ALGO:<id> or ALGO:*"
    if account.startswith(("CLIENT:", "FIRM:")) and rule not in _SCOPED:
        return f"{rule} is set by account"
    return ""


def wrong_count(rule: LimitRule, value: object) -> str:
    """Why the value cannot be a number of messages or orders; empty when it can, or need not be."""
    if rule not in _COUNTS or value is None:
        return ""
    number = str(value)
    if not number.isdecimal() or int(number) > MAX_WINDOW:
        return f"{rule} is a whole number up to {MAX_WINDOW}"
    return ""


def set_risk_policy(
    state: State, command: SetRiskPolicy, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    policy = command.policy
    if PartyKind.RISK_STAFF in state.risk.policy.approved_only and not _staff_only(
        state, command.author, "author", out
    ):
        return
    windows = (policy.message_window_ns, policy.duplicate_window_ns, policy.drift_window_ns)
    if min(windows) <= 0 or min(policy.reference_max_age_ns, policy.fx_max_age_ns) < 0:
        text = "windows must be positive, ages must not be negative"
        _refuse(out, "must_be_positive", "policy", "0", str(min(windows)), text)
        return
    out.add(RiskPolicySet(policy, command.author, command.reason))


def approve_party(
    state: State, command: ApproveParty, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    if not command.party:
        _refuse(out, "value_required", "party", "", "", f"an approval of a {command.kind} must name which")
    elif PartyKind.RISK_STAFF not in state.risk.policy.approved_only or _staff_only(
        state, command.author, "author", out
    ):
        out.add(PartyApproved(command.kind, command.party, command.approved, command.author))


def grant_locate(state: State, command: GrantLocate, now_ns: int, market: MarketView, out: Decision) -> None:
    del now_ns, market
    locate = command.locate
    if not locate.qty.is_finite() or locate.qty <= ZERO:
        _refuse(out, "must_be_positive", "qty", "0", str(locate.qty), "a locate is for a positive quantity")
    elif not locate.locate_id or locate.locate_id in state.risk.locates:
        text = "a locate has an id, which is used once"
        _refuse(out, "duplicate_locate", "locate_id", "", locate.locate_id, text)
    elif locate.account not in state.accounts:
        text = f"account {locate.account[:40]!r} is not known"
        _refuse(out, "unknown_account", "account", "", locate.account, text)
    elif locate.symbol not in state.instruments:
        text = f"symbol {locate.symbol[:24]!r} is not known"
        _refuse(out, "unknown_symbol", "symbol", "", locate.symbol, text)
    else:
        out.add(LocateGranted(locate))


def set_price_test(
    state: State, command: SetPriceTest, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    if command.symbol not in state.instruments:
        text = f"symbol {command.symbol[:24]!r} is not known"
        _refuse(out, "unknown_symbol", "symbol", "", command.symbol, text)
        return
    out.add(PriceTestSet(command.symbol, command.active, command.reason))


def enable_algo(state: State, command: EnableAlgo, now_ns: int, market: MarketView, out: Decision) -> None:
    """Only designated staff; without any designated nobody may, since the throttle must hold."""
    del now_ns, market
    approved = state.risk.approved.get(PartyKind.RISK_STAFF.value, {})
    if command.staff not in approved:
        text = f"{command.staff[:40]!r} is not designated to re-enable algos"
        _refuse(out, "unauthorised", "staff", PartyKind.RISK_STAFF, command.staff, text)
        return
    run = state.risk.algos.get(command.algo)
    if run is None or not run.disabled:
        text = f"algo {command.algo[:40]!r} is not disabled"
        _refuse(out, "not_disabled", "algo", "", command.algo, text)
        return
    out.add(AlgoEnabled(command.algo, command.staff, command.reason))


def request_override(
    state: State, command: RequestOverride, now_ns: int, market: MarketView, out: Decision
) -> None:
    del market
    if not _staff_only(state, command.staff, "staff", out):
        return
    live = [item for item in state.risk.overrides.values() if item.expires_ns >= now_ns]
    if command.rule not in SOFT:
        text = f"{command.rule} is a hard control: it has no override"
        _refuse(out, "hard_limit", "rule", "", command.rule, text)
    elif not command.override_id or command.override_id in state.risk.overrides:
        text = "an override has an id, which no other has"
        _refuse(out, "duplicate_override", "override_id", "", command.override_id, text)
    elif not command.value.is_finite() or command.value < ZERO:
        text = "an override goes up to a value that is not negative"
        _refuse(out, "must_not_be_negative", "value", "0", str(command.value), text)
    elif command.expires_ns <= now_ns:
        text = "an override must expire in the future"
        _refuse(out, "already_expired", "expires_ns", str(now_ns), str(command.expires_ns), text)
    elif len(live) >= MAX_OVERRIDES:
        text = "too many overrides wait to be used"
        _refuse(out, "too_many_overrides", "override_id", str(MAX_OVERRIDES), str(len(live)), text)
    else:
        out.add(_requested(command))


def _requested(command: RequestOverride) -> OverrideRequested:
    return OverrideRequested(
        command.override_id,
        command.rule,
        command.account,
        command.symbol,
        command.value,
        command.expires_ns,
        command.staff,
        command.reason,
    )


def approve_override(
    state: State, command: ApproveOverride, now_ns: int, market: MarketView, out: Decision
) -> None:
    """The second person's word."""
    del market
    known = state.risk.overrides.get(command.override_id)
    if known is None or known.expires_ns < now_ns or known.approved_by:
        text = f"no override {command.override_id[:40]!r} waits for approval"
        _refuse(out, "unknown_override", "override_id", "", command.override_id, text)
    elif command.staff == known.requested_by:
        text = "an override is granted by two persons"
        _refuse(out, "four_eyes", "staff", f"not {known.requested_by}", command.staff, text)
    elif _staff_only(state, command.staff, "staff", out):
        out.add(OverrideApproved(command.override_id, command.staff))
