"""Settings of the books: regulatory fees, the marks policy and its prices, how long trades stay open."""

from __future__ import annotations

from datetime import date

from qtinfra.core.book_events import MarkPolicySet, MarkSet, RegulatoryFeesSet, RetentionSet
from qtinfra.core.commands import SetMark, SetMarkPolicy, SetRegulatoryFees, SetRetention
from qtinfra.core.decimals import ONE, ZERO, canonical
from qtinfra.core.events import CommandRefused
from qtinfra.core.extended_models import Account
from qtinfra.core.fees import RegulatoryFee
from qtinfra.core.market import MarketView
from qtinfra.core.marking import MarkSource
from qtinfra.core.validation.rules import in_range
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.state import State
from qtinfra.positions.position import has_traded

#: Rows of regulatory fees that a shard holds.
MAX_LEVIES = 1_000
#: Trading days that trades may stay open to a bust.
MAX_RETENTION = 400


def _refuse(out: Decision, code: str, field: str, limit: str, observed: str, text: str) -> None:
    out.add(CommandRefused("", "", code, field, limit, observed[:60], text))


# --- regulatory fees ---------------------------------------------------------------------------------------


def set_regulatory_fees(
    state: State, command: SetRegulatoryFees, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Bring rows in, all or none; those that are known already change nothing."""
    del now_ns, market
    known = state.fees.levies if state.fees is not None else []
    rows = tuple(row for row in dict.fromkeys(command.rows) if row not in known)
    for row in rows:
        wrong = _wrong_levy(row)
        if wrong:
            text = f"regulatory fee {row.name[:40]!r}: {wrong}"
            _refuse(out, "bad_regulatory_fee", "rows", "", row.name, text)
            return
    if len(known) + len(rows) > MAX_LEVIES:
        text = "too many rows of regulatory fees"
        _refuse(out, "too_many_rows", "rows", str(MAX_LEVIES), str(len(known) + len(rows)), text)
    elif rows:
        out.add(RegulatoryFeesSet(rows, command.author))


def _wrong_levy(row: RegulatoryFee) -> str:
    """What is wrong with a row; empty when nothing is."""
    if not row.name or row.name == "COMMISSION" or len(row.name) > 40:
        return "it needs a name of its own, of at most 40 characters"
    try:
        iso = date.fromisoformat(row.effective_from).isoformat()
    except ValueError:
        iso = ""
    if iso != row.effective_from:
        return "effective_from must be a date (YYYY-MM-DD)"
    numbers = [row.per_value, row.per_unit] + ([row.cap] if row.cap is not None else [])
    if not all(in_range(number) and number >= ZERO for number in numbers):
        return "rates and caps must be finite and not negative"
    return "per_value is a fraction of the value" if row.per_value > ONE else ""


# --- marks -------------------------------------------------------------------------------------------------


def set_mark_policy(
    state: State, command: SetMarkPolicy, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Sources in order of preference, each named once."""
    del now_ns, market
    rules = command.policy.rules
    sources = [rule.source for rule in rules]
    ages = [rule.max_age_ns for rule in rules if rule.max_age_ns is not None]
    if not rules or len(dict.fromkeys(sources)) != len(sources):
        text = "a marks policy names at least one source, and each once"
        _refuse(out, "bad_mark_policy", "policy", "", ", ".join(sources), text)
    elif any(age < 0 for age in ages):
        text = "the age of a mark is not negative"
        _refuse(out, "must_not_be_negative", "policy", "0", str(min(ages)), text)
    elif command.policy != state.books.mark_policy:
        out.add(MarkPolicySet(command.policy, command.author))


def set_mark(state: State, command: SetMark, now_ns: int, market: MarketView, out: Decision) -> None:
    """A price of a symbol by hand, of a last trade, or a close; a midpoint is nobody's to set."""
    del market
    symbol, px = command.symbol, command.px
    if symbol not in state.instruments:
        text = f"symbol {symbol[:24]!r} is not known"
        _refuse(out, "unknown_symbol", "symbol", "", symbol[:24], text)
    elif command.source is MarkSource.MID:
        _refuse(out, "bad_source", "source", "", command.source, "a midpoint is read from live quotes")
    elif px is not None and not in_range(px):
        _refuse(out, "out_of_range", "px", "", str(px), "px is not a usable number")
    elif command.observed_ns < 0 or command.observed_ns > now_ns:
        text = "a mark was made before it is set"
        _refuse(out, "bad_time", "observed_ns", str(now_ns), str(command.observed_ns), text)
    else:
        price = canonical(px) if px is not None else None
        out.add(MarkSet(symbol, price, command.source, command.observed_ns or now_ns, command.author))


# --- days and profit and loss ------------------------------------------------------------------------------


def set_retention(
    state: State, command: SetRetention, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    if not 1 <= command.days <= MAX_RETENTION:
        text = f"trades stay open from 1 to {MAX_RETENTION} trading days"
        _refuse(out, "out_of_range", "days", str(MAX_RETENTION), str(command.days), text)
    elif command.days != state.books.retention:
        out.add(RetentionSet(command.days, command.author))


def wrong_pnl_terms(state: State, account: Account) -> str:
    """Why an account cannot keep its profit and loss in base as its policy says; empty when it can.

    It begins before the first trade and before cash is loaded, and stays as it began.
    """
    asked, name = account.policies.realised_at, account.account
    kept = state.pnl.accounts.get(name) if state.pnl is not None else None
    if kept is not None:
        same = (kept.base, kept.policy) == (account.base_currency, asked)
        return "" if same else f"profit and loss of {name} is kept in {kept.base} at {kept.policy}"
    if asked is None:
        return ""
    positions = state.positions.accounts.get(name, {}).values()
    cash = state.cash is not None and name in state.cash.accounts
    if cash or any(has_traded(position) or position.qty for position in positions):
        return f"{name} has positions or cash: its profit and loss in base begins before them"
    return ""
