"""The books: start-of-day positions and cash, fee schedules, and the commission of an execution."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from qtinfra.core.book_events import CashLoaded, FeeScheduleSet, PositionLoaded
from qtinfra.core.commands import LoadCash, LoadPosition, SetFeeSchedule
from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.decisions import Refusal
from qtinfra.core.events import CommandRefused
from qtinfra.core.fees import FeeSchedule
from qtinfra.core.market import MarketView
from qtinfra.core.models import Order
from qtinfra.core.reports import VenueReport
from qtinfra.core.validation.rules import in_range
from qtinfra.engine.decide.cash import missing_rate
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.fee_terms import LEVIES_ONLY, priced
from qtinfra.engine.state import State
from qtinfra.positions.fees import Charge, problems
from qtinfra.positions.position import has_traded

#: The highest rate by value, a hundred percent in basis points: no more than was traded.
MAX_BPS = Decimal(10_000)


def load_position(
    state: State, command: LoadPosition, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Begin a position with what was held before the first trade in it."""
    del now_ns, market
    refusal = _wrong_load(state, command)
    if refusal is not None:
        _refuse(out, command.account, refusal)
        return
    qty, avg_cost = canonical(command.qty), canonical(command.avg_cost)
    out.add(PositionLoaded(command.account, command.symbol, qty, avg_cost, command.trade_date))


def _wrong_load(state: State, command: LoadPosition) -> Refusal | None:
    symbol = command.symbol
    if command.account not in state.accounts:
        return _unknown_account(command.account)
    if symbol not in state.instruments:
        return Refusal("unknown_symbol", f"symbol {symbol[:24]!r} is not known", "symbol", "", symbol[:24])
    if not in_range(command.qty):
        return _out_of_range("qty", command.qty)
    if not in_range(command.avg_cost) or command.avg_cost < ZERO:
        return _out_of_range("avg_cost", command.avg_cost)
    missing = missing_rate(state, command.account, state.instruments[symbol].currency)
    if missing is not None:
        return missing
    position = state.positions.get(command.account, symbol)
    if position is not None and has_traded(position):
        text = f"{command.account} has traded {symbol}: its start-of-day position stands"
        return Refusal("already_traded", text, "qty", str(position.qty)[:60], str(command.qty)[:60])
    return _wrong_date(state, "trade_date", command.trade_date)


def load_cash(state: State, command: LoadCash, now_ns: int, market: MarketView, out: Decision) -> None:
    """Begin an account's cash in a currency, before its first trade."""
    del now_ns, market
    refusal = _wrong_cash(state, command)
    if refusal is not None:
        _refuse(out, command.account, refusal)
        return
    amount = canonical(command.amount)
    out.add(CashLoaded(command.account, command.currency, amount, command.trade_date))


def _wrong_cash(state: State, command: LoadCash) -> Refusal | None:
    account = command.account
    if account not in state.accounts:
        return _unknown_account(account)
    if not in_range(command.amount):
        return _out_of_range("amount", command.amount)
    kept = state.cash.accounts.get(account) if state.cash is not None else None
    if kept is None:  # nothing was posted so far: that would be wrong if it has traded
        moved = any(has_traded(position) for position in state.positions.accounts.get(account, {}).values())
    else:
        balance = kept.get(command.currency)
        earlier = state.books.rolled.get(account, {}).get(command.currency)
        moved = (balance is not None and balance.posted > 0) or (earlier is not None and earlier.posted > 0)
    if moved:
        text = f"{command.currency} cash of {account} has moved: its start-of-day balance stands"
        return Refusal("already_traded", text, "amount", "", str(command.amount)[:60])
    missing = missing_rate(state, account, command.currency)
    return missing or _wrong_date(state, "trade_date", command.trade_date)


def set_fee_schedule(
    state: State, command: SetFeeSchedule, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Bring a schedule in; the same one again changes nothing. What was charged already stays charged."""
    del now_ns, market
    schedule = command.schedule
    known = state.fees.schedules.get(schedule.schedule_id) if state.fees is not None else None
    if known == schedule:
        return
    name, text = schedule.schedule_id[:60], ""
    if known is not None:
        text = f"another fee schedule is called {name!r}"
        _refuse(out, "", Refusal("schedule_exists", text, "schedule_id", "", name))
        return
    wrong = _wrong_schedule(schedule)
    if wrong:
        text = f"fee schedule {name!r}: {wrong}"
        _refuse(out, "", Refusal("bad_fee_schedule", text, "schedule", "", name))
        return
    out.add(FeeScheduleSet(schedule, command.author))


def _wrong_schedule(schedule: FeeSchedule) -> str:
    """What is wrong with a schedule; empty when nothing is."""
    if not schedule.schedule_id or not schedule.client:
        return "it needs an id and a client"
    if schedule.schedule_id.startswith(LEVIES_ONLY):
        return f"an id does not begin with {LEVIES_ONLY!r}"
    if not _is_date(schedule.effective_from):
        return "effective_from must be a date (YYYY-MM-DD)"
    tiers = [tier for line in schedule.lines for tier in line.tiers]
    bounds = (schedule.minimum, schedule.maximum, schedule.maximum_bps)
    numbers = [number for tier in tiers for number in (tier.floor, tier.per_unit, tier.bps)]
    numbers += [bound for bound in bounds if bound is not None]
    if not all(in_range(number) for number in numbers):
        return "numbers must be finite, with at most 18 digits before the point and 9 after it"
    rates = [tier.bps for tier in tiers] + [schedule.maximum_bps or ZERO]
    if any(abs(rate) > MAX_BPS for rate in rates):
        return f"a rate by value is at most {MAX_BPS} basis points"
    return "; ".join(problems(schedule))


def commission(
    state: State, order: Order, report: VenueReport, key: str, trade_date: str, px: Decimal
) -> Decimal:
    """What the client owes for an execution by its schedule, in the instrument's currency; 0 without one."""
    if state.fees is None:
        return ZERO
    owed = state.fees.quote(priced(state, order, key, report.quantity, px, report.liquidity, trade_date))
    return owed.total if isinstance(owed, Charge) else ZERO


def _refuse(out: Decision, account: str, refusal: Refusal) -> None:
    name = account[:60]
    out.add(
        CommandRefused(name, "", refusal.code, refusal.field, refusal.limit, refusal.observed, refusal.text)
    )


def _unknown_account(account: str) -> Refusal:
    return Refusal("unknown_account", f"account {account[:24]!r} is not known", "account", "", account[:24])


def _out_of_range(field: str, value: Decimal) -> Refusal:
    return Refusal("out_of_range", f"{field} is not a usable number", field, "", str(value)[:60])


def _wrong_date(state: State, field: str, text: str) -> Refusal | None:
    if not _is_date(text):
        return Refusal("bad_date", f"{field} must be a date (YYYY-MM-DD)", field, "", text[:24])
    if text < state.trade_date:
        return Refusal("date_past", f"the day {text} has passed", field, state.trade_date, text)
    return None


def _is_date(text: str) -> bool:
    """Whether the text is a calendar date, YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
