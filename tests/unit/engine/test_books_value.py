"""What positions are worth: the marks policy, valuation, and profit and loss kept in the base currency."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core import book_events as be
from qtinfra.core import commands as cmd
from qtinfra.core.events import CommandRefused
from qtinfra.core.extended_models import Policies, RealisedAt
from qtinfra.core.marking import MarkPolicy, MarkRule, MarkSource
from qtinfra.core.models import Currency
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.valuation import AccountValue, valuation
from qtinfra.positions.marks import MarkedPnl, NoMark
from tests.support.builders import (
    ALPHA,
    DAYS,
    SELL,
    START_NS,
    SYMBOL,
    Desk,
    Number,
    account,
    dec,
    kinds,
    only,
    quote,
    venue,
)
from tests.support.facts import facts

pytestmark = pytest.mark.unit

USD, EUR = Currency.USD, Currency.EUR
M = MarkSource
LATER_NS = START_NS + 60_000_000_000


def load(desk: Desk, qty: Number, avg_cost: Number = 40) -> Outcome:
    return desk.run(cmd.LoadPosition(ALPHA, SYMBOL, dec(qty), dec(avg_cost), DAYS[0]))


def policy(desk: Desk, *rules: MarkRule) -> Outcome:
    return desk.run(cmd.SetMarkPolicy(MarkPolicy(rules)))


def mark(desk: Desk, px: Number | None, source: MarkSource = M.MANUAL, **more: Any) -> Outcome:
    return desk.run(cmd.SetMark(SYMBOL, None if px is None else dec(px), source, **more))


def valued(desk: Desk, now_ns: int = LATER_NS) -> AccountValue:
    return next(line for line in valuation(desk.state, desk.market, now_ns) if line.account == ALPHA)


def marked(desk: Desk, now_ns: int = LATER_NS) -> tuple[object, ...]:
    (line,) = valued(desk, now_ns).lines
    assert isinstance(line.pnl, MarkedPnl), line.pnl
    assert line.pnl.mark is not None
    return facts(line.pnl.mark.px, line.pnl.mark.source)


def rate(desk: Desk, usd_eur: Number) -> None:
    desk.run(cmd.SetFxRate(USD, EUR, dec(usd_eur)))


def in_euro(desk: Desk, realised_at: RealisedAt | None = RealisedAt.TRADE_TIME) -> Outcome:
    policies = Policies(realised_at=realised_at)
    return desk.run(cmd.SetReference(accounts=(account(ALPHA, policies, base_currency=EUR),)))


def traded(desk: Desk, qty: Number, px: Number, exec_id: str, **more: Any) -> None:
    name = f"O{exec_id}"
    desk.working(name, qty, 1 if more else 500, **more)
    desk.fill(desk.child(name), qty, px, exec_id)


def refusal(outcome: Outcome) -> tuple[str, str]:
    assert kinds(outcome) == ["CommandRefused"]
    refused = only(outcome, CommandRefused)
    return refused.code, refused.field


# --- marks -------------------------------------------------------------------------------------------------


def test_the_first_source_of_the_policy_that_has_a_price_gives_the_mark() -> None:
    desk = Desk()
    load(desk, 100)
    mark(desk, 43, M.MANUAL)
    assert marked(desk) == (43, M.MANUAL)
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(41)),)))
    assert marked(desk) == (41, M.CLOSE)
    mark(desk, 42, M.CLOSE)
    assert marked(desk) == (42, M.CLOSE)
    mark(desk, 44, M.LAST)
    assert marked(desk) == (44, M.LAST)
    desk.market.quotes["XNAS"] = quote("XNAS", [(45, 100)], [("45.02", 100)])
    assert marked(desk) == (dec("45.01"), M.MID)


def test_a_last_trade_that_is_too_old_gives_way_to_the_next_source() -> None:
    desk = Desk()
    load(desk, 100)
    policy(desk, MarkRule(M.LAST, 1_000), MarkRule(M.MANUAL))
    mark(desk, 44, M.LAST, observed_ns=START_NS)
    mark(desk, 43, M.MANUAL)
    assert marked(desk, START_NS + 1_000) == (44, M.LAST)
    assert marked(desk, START_NS + 1_001) == (43, M.MANUAL)
    mark(desk, None, M.MANUAL)
    assert isinstance(valued(desk).lines[0].pnl, NoMark)


def test_an_account_without_a_mark_has_no_total_and_says_for_which_symbol() -> None:
    desk = Desk()
    load(desk, 100)
    found = valued(desk)
    assert facts(found.total, found.unmarked) == (None, (SYMBOL,))


def test_the_policy_survives_a_restart_from_the_journal_and_the_same_again_changes_nothing() -> None:
    desk = Desk()
    rules = (MarkRule(M.MANUAL),)
    assert only(policy(desk, *rules), be.MarkPolicySet).policy == MarkPolicy(rules)
    desk.restart(from_journal=True)
    assert policy(desk, *rules).entry is None


@pytest.mark.parametrize(
    "rules",
    [(), (MarkRule(M.MID), MarkRule(M.MID)), (MarkRule(M.LAST, -1),)],
    ids=["no source", "a source twice", "a negative age"],
)
def test_a_policy_that_marks_nothing_or_twice_is_refused(rules: tuple[MarkRule, ...]) -> None:
    assert kinds(policy(Desk(), *rules)) == ["CommandRefused"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"symbol": "NONE"}, ("unknown_symbol", "symbol")),
        ({"source": M.MID}, ("bad_source", "source")),
        ({"px": Decimal("NaN")}, ("out_of_range", "px")),
        ({"observed_ns": LATER_NS}, ("bad_time", "observed_ns")),
    ],
)
def test_a_wrong_mark_is_refused_with_its_field(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    right = cmd.SetMark(SYMBOL, dec(43))
    assert refusal(Desk().run(msgspec.structs.replace(right, **changes))) == expected


# --- profit and loss in base --------------------------------------------------------------------------------


def test_at_the_rates_of_now_nothing_is_said_of_fx() -> None:
    desk = Desk()
    in_euro(desk, None)
    rate(desk, "0.9")
    load(desk, 100, 40)
    traded(desk, 50, 50, "F1", side=SELL)
    mark(desk, 60)
    total = valued(desk).total
    assert total is not None
    assert facts(total.realised, total.unrealised, total.fx, total.net) == (450, 900, 0, 1350)


def test_a_missing_rate_is_named_in_place_of_the_total() -> None:
    desk = Desk()
    in_euro(desk, None)
    load(desk, 100, 40)
    mark(desk, 60)
    found = valued(desk)
    assert facts(found.total, found.missing) == (None, ("USD/EUR",))


def test_at_trade_time_realised_profit_keeps_its_rate_and_the_rest_is_fx() -> None:
    desk = Desk((venue("XNAS", "0.01"),))
    in_euro(desk)
    rate(desk, "0.9")
    load(desk, 100, 40)
    traded(desk, 50, 50, "F1", side=SELL)
    rate(desk, "0.8")
    mark(desk, 60)
    total = valued(desk).total
    assert total is not None
    assert facts(total.realised, total.unrealised, total.fees) == (450, 800, dec("0.45"))
    worth_now, capital = (4_000 + 500 + 1_000 - dec("0.5")) * dec("0.8"), 4_000 * dec("0.9")
    assert total.net == worth_now - capital
    assert total.fx == total.net - (450 + 800 - dec("0.45"))


def test_at_the_end_of_day_the_closing_rate_converts_what_the_day_has_realised() -> None:
    desk = Desk()
    in_euro(desk, RealisedAt.END_OF_DAY)
    rate(desk, "0.9")
    load(desk, 100, 40)
    traded(desk, 50, 50, "F1", side=SELL)
    rate(desk, "0.8")
    desk.close_day()
    desk.next_day()
    rate(desk, "0.5")
    mark(desk, 40)
    total = valued(desk).total
    assert total is not None
    assert facts(total.realised, total.unrealised) == (400, 0)


def test_busts_corrections_and_dividends_reach_the_ledger() -> None:
    desk = Desk((venue("XNAS", "0.01"),))
    in_euro(desk)
    rate(desk, "0.5")
    desk.run(cmd.LoadCash(ALPHA, USD, dec(10_000), DAYS[0]))
    load(desk, 100, 40)
    traded(desk, 50, 50, "F1", side=SELL)
    traded(desk, 20, 60, "F2", side=SELL)
    desk.bust(desk.child("OF1"), "F1")
    desk.correct(desk.child("OF2"), "F2", 10, 70)
    kind = cmd.ActionKind.CASH_DIVIDEND
    desk.run(cmd.CorporateAction("D1", SYMBOL, kind, DAYS[1], amount=dec(1)))
    desk.next_day()
    assert desk.state.pnl is not None
    line = desk.state.pnl.accounts[ALPHA].currencies[USD]
    assert facts(line.earned, line.fees, line.capital) == (300 + 90, dec("0.1"), 14_000)


def test_payments_and_exchanges_are_capital_and_need_a_rate() -> None:
    desk = Desk()
    in_euro(desk)
    assert refusal(desk.run(cmd.LoadCash(ALPHA, USD, dec(100), DAYS[0]))) == ("missing_rate", "currency")
    assert refusal(load(desk, 100)) == ("missing_rate", "currency")
    desk.run(cmd.LoadCash(ALPHA, EUR, dec(1_000), DAYS[0]))
    assert refusal(desk.run(cmd.PayCash("P1", ALPHA, USD, dec(100)))) == ("missing_rate", "currency")
    rate(desk, "0.5")
    desk.run(cmd.PayCash("P1", ALPHA, USD, dec(100)))
    desk.run(cmd.ExchangeCash("X1", ALPHA, EUR, dec(100), USD, dec(150)))
    total = valued(desk).total
    assert total is not None
    assert facts(total.realised, total.fx, total.net) == (0, -25, -25)


def test_an_account_begins_its_ledger_before_it_has_anything_and_keeps_its_terms() -> None:
    desk = Desk()
    load(desk, 100)
    assert refusal(in_euro(desk)) == ("bad_reference", "accounts")
    load(desk, 0)
    assert kinds(in_euro(desk)) == ["ReferenceSet"]
    assert kinds(in_euro(desk)) == ["ReferenceSet"]
    assert refusal(in_euro(desk, RealisedAt.END_OF_DAY)) == ("bad_reference", "accounts")
    assert refusal(in_euro(desk, None)) == ("bad_reference", "accounts")


_STEPS = st.lists(
    st.tuples(st.sampled_from(["buy", "sell", "bust", "rate", "pay", "day"]), st.integers(1, 40)), max_size=12
)


@given(steps=_STEPS)
def test_whatever_happens_capital_and_profit_are_in_cash_and_positions(steps: list[tuple[str, int]]) -> None:
    """The audit that the desk runs after every command says so; here it meets what may come in any order."""
    desk = Desk((venue("XNAS", "0.003"),))
    in_euro(desk)
    rate(desk, "0.9")
    desk.run(cmd.SetRetention(2))
    desk.run(cmd.LoadCash(ALPHA, USD, dec(10_000), DAYS[0]))
    done: list[str] = []
    for number, (what, size) in enumerate(steps):
        if what in ("buy", "sell"):
            done.append(f"F{number}")
            more = {"side": SELL} if what == "sell" else {}
            traded(desk, size, 40 + size % 7, f"F{number}", **more)
        elif what == "bust" and done:
            name = done.pop(size % len(done))
            desk.bust(desk.child(f"O{name}"), name)
        elif what == "rate":
            rate(desk, f"0.{50 + size}")
        elif what == "pay":
            desk.run(cmd.PayCash(f"P{number}", ALPHA, USD, dec(size - 20 or 1)))
        elif what == "day":
            desk.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, f"2024-08-{number + 1:02}"))
    mark(desk, 40)
    assert valued(desk).total is not None
