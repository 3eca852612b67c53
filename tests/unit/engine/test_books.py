"""Behaviour 8 in the books: positions, P&L, commissions and cash follow loads, fills, busts, corrections."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.book_events import CashLoaded, FeeScheduleSet, PositionLoaded
from qtinfra.core.decimals import exact
from qtinfra.core.events import CommandRefused, ExecutionCorrected, OrderFilled
from qtinfra.core.extended_models import ExecutionState, LimitRule
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier, TicketScope
from qtinfra.core.models import Currency
from qtinfra.engine.kernel import Outcome
from qtinfra.positions.position import Position
from qtinfra.runtime.blotter import BaseLine, blotter
from tests.support.builders import (
    ALPHA,
    BETA,
    DAYS,
    SELL,
    SYMBOL,
    Desk,
    Number,
    account,
    dec,
    kinds,
    only,
    venue,
)
from tests.support.facts import facts

pytestmark = pytest.mark.unit

USD = Currency.USD


def load(desk: Desk, qty: Number, avg_cost: Number = 40) -> Outcome:
    return desk.run(cmd.LoadPosition(ALPHA, SYMBOL, dec(qty), dec(avg_cost), DAYS[0]))


def cash(desk: Desk, amount: Number, currency: Currency = USD) -> Outcome:
    return desk.run(cmd.LoadCash(ALPHA, currency, dec(amount), DAYS[0]))


def schedule(per_unit: Number = "0.01", schedule_id: str = "S1", **changes: Any) -> FeeSchedule:
    """A cent per share and at least a dollar per order."""
    line = FeeLine((FeeTier(dec(0), dec(per_unit)),))
    made = FeeSchedule(schedule_id, f"client-{ALPHA}", USD, DAYS[0], (line,), minimum=dec(1))
    return msgspec.structs.replace(made, **changes)


def charge(desk: Desk, *schedules: FeeSchedule) -> None:
    for item in schedules or (schedule(),):
        desk.run(cmd.SetFeeSchedule(item))


def position(desk: Desk, name: str = ALPHA) -> Position:
    found = desk.state.positions.get(name, SYMBOL)
    assert found is not None
    return found


def commissions(desk: Desk) -> list[str]:
    """What each execution that counts is charged, in order."""
    live = [item for item in desk.state.executions.values() if item.state is not ExecutionState.BUSTED]
    return [str(item.commission) for item in live]


def traded(desk: Desk, *quantities: Number, px: Number = 50, **more: Any) -> None:
    desk.working("X", sum((int(item) for item in quantities), 0), 120, **more)
    for number, qty in enumerate(quantities, 1):
        desk.fill(desk.child(), qty, px, f"F{number}")


def refusal(outcome: Outcome) -> tuple[str, str]:
    refused = only(outcome, CommandRefused)
    assert kinds(outcome) == ["CommandRefused"]
    return refused.code, refused.field


# --- start-of-day positions ------------------------------------------------------------------------------


def test_a_loaded_position_is_held_at_its_cost_and_has_earned_nothing() -> None:
    desk = Desk()
    assert only(load(desk, 300, "40.25"), PositionLoaded).qty == 300
    held = position(desk)
    assert facts(held.qty, held.avg_cost, held.realised, held.fees) == (300, dec("40.25"), 0, 0)


def test_trades_go_on_from_the_loaded_position() -> None:
    desk = Desk()
    load(desk, 300, 40)
    traded(desk, 100, px=50, side=SELL)
    held = position(desk)
    assert facts(held.qty, held.avg_cost, held.realised) == (200, 40, 1000)
    desk.bust(desk.child(), "F1")
    assert facts(position(desk).qty, position(desk).realised) == (300, 0)


def test_the_position_limit_counts_what_was_loaded() -> None:
    desk = Desk()
    desk.limit(LimitRule.POSITION_LIMIT, 400)
    load(desk, 300)
    desk.new("A", 101)
    assert desk.figures("A")[0] == "REJECTED"
    desk.new("B", 100)
    assert desk.figures("B")[0] == "ROUTED"


def test_a_second_load_before_any_trade_replaces_the_first_and_zero_takes_it_back() -> None:
    desk = Desk()
    load(desk, 300)
    load(desk, -50, 41)
    assert facts(position(desk).qty, position(desk).avg_cost) == (-50, 41)
    load(desk, 0)
    assert desk.state.positions.get(ALPHA, SYMBOL) is None


def test_what_has_traded_is_not_loaded_until_its_last_trade_is_busted() -> None:
    desk = Desk()
    traded(desk, 100)
    assert refusal(load(desk, 300)) == ("already_traded", "qty")
    assert position(desk).qty == 100
    desk.bust(desk.child(), "F1")
    assert kinds(load(desk, 300)) == ["PositionLoaded"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"account": "nobody"}, ("unknown_account", "account")),
        ({"symbol": "NONE"}, ("unknown_symbol", "symbol")),
        ({"qty": Decimal("NaN")}, ("out_of_range", "qty")),
        ({"qty": Decimal("1e30")}, ("out_of_range", "qty")),
        ({"avg_cost": Decimal("Infinity")}, ("out_of_range", "avg_cost")),
        ({"avg_cost": Decimal("-0.01")}, ("out_of_range", "avg_cost")),
        ({"trade_date": "2024-02-30"}, ("bad_date", "trade_date")),
        ({"trade_date": "20240708"}, ("bad_date", "trade_date")),
        ({"trade_date": "2024-07-05"}, ("date_past", "trade_date")),
    ],
)
def test_a_wrong_load_is_refused_with_its_field(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    right = cmd.LoadPosition(ALPHA, SYMBOL, dec(300), dec(40), DAYS[0])
    assert refusal(Desk().run(msgspec.structs.replace(right, **changes))) == expected


def test_a_loaded_position_survives_a_restart_from_the_journal() -> None:
    desk = Desk()
    load(desk, 300)
    traded(desk, 100)
    desk.restart(from_journal=True)
    assert position(desk).qty == 400


# --- commissions -----------------------------------------------------------------------------------------


def test_without_a_schedule_an_execution_costs_the_venues_fee_alone() -> None:
    desk = Desk((venue("XNAS", "0.003"),))
    traded(desk, 100)
    assert facts(position(desk).fees, commissions(desk)) == (dec("0.3"), ["0"])


def test_an_execution_is_charged_by_the_clients_schedule_and_the_event_says_how_much() -> None:
    desk = Desk((venue("XNAS", "0.003"),))
    charge(desk)
    desk.working("X", 300)
    filled = only(desk.fill(desk.child(), 300), OrderFilled)
    assert facts(filled.fee, filled.commission, position(desk).fees) == (dec("0.9"), 3, dec("3.9"))


def test_another_clients_schedule_and_a_later_one_charge_nothing() -> None:
    desk = Desk()
    charge(desk, schedule(client=f"client-{BETA}"), schedule(schedule_id="S2", effective_from=DAYS[1]))
    traded(desk, 100)
    assert commissions(desk) == ["0"]
    desk.next_day()
    desk.working("Y", 100)
    desk.fill(desk.child("Y"), 100)
    assert commissions(desk) == ["0", "1"]


def test_a_minimum_is_charged_once_per_order() -> None:
    desk = Desk()
    charge(desk)
    traded(desk, 30, 30, 140)
    assert commissions(desk) == ["1", "0", "1"]


def test_behaviour_8_a_bust_gives_its_commission_back_and_the_rest_owe_what_they_would_alone() -> None:
    desk = Desk((venue("XNAS", "0.003"),))
    charge(desk)
    traded(desk, 30, 30, 140)
    desk.bust(desk.child(), "F1")
    assert commissions(desk) == ["1", "0.7"]
    assert position(desk).fees == dec("1.70") + dec("0.51")
    desk.bust(desk.child(), "F2")
    desk.bust(desk.child(), "F3")
    assert desk.state.positions.get(ALPHA, SYMBOL) is None


def test_behaviour_8_a_correction_computes_commission_and_venue_fee_again() -> None:
    desk = Desk((venue("XNAS", "0.003"),))
    charge(desk)
    traded(desk, 300, 100)
    corrected = only(desk.correct(desk.child(), "F1", 200, 51), ExecutionCorrected)
    assert corrected.fee == dec("0.6")
    assert commissions(desk) == ["2", "1"]
    assert position(desk).fees == dec("3.00") + dec("0.9")


def test_behaviour_8_position_and_pnl_follow_a_bust_a_correction_and_a_further_fill() -> None:
    desk = Desk()
    charge(desk, schedule(scope=TicketScope.EXECUTION, minimum=None))
    desk.working("X", 10_000, 120)
    desk.fill(desk.child(), 1_000, 100, "F1")
    desk.fill(desk.child(), 9_000, 110, "F2")
    assert facts(position(desk).avg_cost, position(desk).fees) == (109, 100)
    desk.bust(desk.child(), "F1")
    assert facts(position(desk).avg_cost, position(desk).fees) == (110, 90)
    desk.correct(desk.child(), "F2", 9_000, 100)
    desk.fill(desk.child(), 1_000, 120, "F3")
    assert facts(position(desk).avg_cost, position(desk).fees) == (102, 100)
    (line,) = (item for item in blotter(desk.state, {SYMBOL: dec(103)}).accounts if item.account == ALPHA)
    assert facts(line.net, line.agrees) == (9_900, True)


def test_a_bust_of_an_execution_from_before_the_schedule_gives_no_commission_back() -> None:
    desk = Desk()
    desk.working("X", 300)
    desk.fill(desk.child(), 100, 50, "F1")
    charge(desk)
    desk.fill(desk.child(), 100, 50, "F2")
    desk.bust(desk.child(), "F1")
    assert facts(commissions(desk), position(desk).fees) == (["1"], 1)


def test_the_same_schedule_again_changes_nothing_and_another_under_its_id_is_refused() -> None:
    desk = Desk()
    assert only(desk.run(cmd.SetFeeSchedule(schedule())), FeeScheduleSet).schedule == schedule()
    assert desk.run(cmd.SetFeeSchedule(schedule())).entry is None
    outcome = desk.run(cmd.SetFeeSchedule(schedule("0.02")))
    assert refusal(outcome) == ("schedule_exists", "schedule_id")


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule_id": ""},
        {"client": ""},
        {"effective_from": "soon"},
        {"lines": ()},
        {"lines": (FeeLine((FeeTier(Decimal(1)),)),)},
        {"lines": (FeeLine((FeeTier(Decimal(0), Decimal("NaN")),)),)},
        {"lines": (FeeLine((FeeTier(Decimal(0), bps=Decimal(10_001)),)),)},
        {"minimum": Decimal(5), "maximum": Decimal(4)},
        {"maximum_bps": Decimal("Infinity")},
    ],
    ids=str,
)
def test_a_schedule_that_prices_nothing_or_nonsense_is_refused(changes: dict[str, Any]) -> None:
    outcome = Desk().run(cmd.SetFeeSchedule(schedule(**changes)))
    assert refusal(outcome) == ("bad_fee_schedule", "schedule")


# --- cash ------------------------------------------------------------------------------------------------


def balance(desk: Desk, currency: Currency = USD) -> Decimal:
    assert desk.state.cash is not None
    return desk.state.cash.balance(ALPHA, currency).amount


def test_cash_follows_fills_fees_busts_and_corrections() -> None:
    desk = Desk((venue("XNAS", "0.003"),))
    charge(desk)
    assert only(cash(desk, 100_000), CashLoaded).amount == 100_000
    traded(desk, 300, 100, px=50)
    assert balance(desk) == 100_000 - 20_000 - 4 - dec("1.2")
    desk.correct(desk.child(), "F1", 200, 51)
    assert balance(desk) == 100_000 - 15_200 - 3 - dec("0.9")
    desk.bust(desk.child(), "F1")
    desk.bust(desk.child(), "F2")
    assert balance(desk) == 100_000


def test_cash_is_kept_for_the_accounts_that_loaded_it() -> None:
    desk = Desk()
    cash(desk, 1_000)
    desk.working("X", 100, name=BETA)
    desk.fill(desk.children("X", BETA)[0], 100)
    assert desk.state.cash is not None
    assert list(desk.state.cash.accounts) == [ALPHA]


def test_cash_that_has_moved_is_not_loaded() -> None:
    desk = Desk()
    cash(desk, 1_000)
    cash(desk, -2_000)
    traded(desk, 100)
    assert refusal(cash(desk, 5)) == ("already_traded", "amount")
    assert balance(desk) == -7_000
    assert kinds(cash(desk, 5, currency=Currency.EUR)) == ["CashLoaded"]


def test_an_account_that_traded_before_cash_was_kept_cannot_load_it() -> None:
    desk = Desk()
    traded(desk, 100)
    assert refusal(cash(desk, 5)) == ("already_traded", "amount")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"account": "nobody"}, ("unknown_account", "account")),
        ({"amount": Decimal("NaN")}, ("out_of_range", "amount")),
        ({"trade_date": "2024-07-05"}, ("date_past", "trade_date")),
    ],
)
def test_a_wrong_cash_load_is_refused_with_its_field(
    changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    right = cmd.LoadCash(ALPHA, USD, dec(5), DAYS[0])
    assert refusal(Desk().run(msgspec.structs.replace(right, **changes))) == expected


# --- base currency ---------------------------------------------------------------------------------------


def based(desk: Desk) -> BaseLine:
    return next(line for line in blotter(desk.state, {SYMBOL: dec(60)}).base if line.account == ALPHA)


def test_pnl_stands_in_the_accounts_base_currency_at_the_journaled_rate() -> None:
    desk = Desk((venue("XNAS", "0.01"),))
    desk.run(cmd.SetReference(accounts=(account(ALPHA, base_currency=Currency.EUR),)))
    load(desk, 100, 40)
    traded(desk, 50, px=50, side=SELL)
    assert based(desk) == BaseLine(ALPHA, Currency.EUR, None, None, None, None, ("USD/EUR",))
    desk.run(cmd.SetFxRate(USD, Currency.EUR, dec("0.9")))
    line = based(desk)
    assert facts(line.realised, line.unrealised, line.fees) == (450, 900, dec("0.45"))
    assert facts(line.net, line.missing) == (dec("1349.55"), ())
    desk.run(cmd.SetFxRate(USD, Currency.EUR, dec("0.8")))
    assert based(desk).realised == 400


def test_an_account_without_positions_needs_no_rate() -> None:
    desk = Desk()
    desk.run(cmd.SetReference(accounts=(account(ALPHA, base_currency=Currency.EUR),)))
    assert facts(based(desk).net, based(desk).missing) == (0, ())


# --- all together ----------------------------------------------------------------------------------------

_FILLS = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 60)), min_size=1, max_size=4)
_CHANGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(1, 60)), max_size=4)


@given(fills=_FILLS, changes=_CHANGES)
def test_any_busts_and_corrections_leave_the_books_as_if_they_had_been_so_from_the_start(
    fills: list[tuple[int, int]], changes: list[tuple[int, int, int]]
) -> None:
    desk, counted = _bookkeeping(), dict(enumerate(fills))
    for number, (qty, px) in counted.items():
        desk.fill(desk.child(), qty, px, f"F{number}")
    for number, qty, px in changes:
        if number in counted:
            desk.correct(desk.child(), f"F{number}", qty, px)
            counted[number] = (qty, px)
            if not qty:
                del counted[number]
    fresh = _bookkeeping()
    for number, (qty, px) in counted.items():
        fresh.fill(fresh.child(), qty, px, f"F{number}")
    assert commissions(desk) == commissions(fresh)
    with exact():
        assert balance(desk) == balance(fresh)
    assert position(desk).fees == position(fresh).fees


def test_the_blotter_reckons_loaded_positions_and_commissions_from_cash_to_the_last_digit() -> None:
    desk = _bookkeeping()
    desk.fill(desk.child(), 300, "50.01", "F1")
    desk.fill(desk.child(), 70, "50.02", "F2")
    desk.bust(desk.child(), "F1")
    (line,) = (item for item in blotter(desk.state, {SYMBOL: dec(55)}).accounts if item.account == ALPHA)
    assert facts(line.fees, line.agrees) == (dec("1.21"), True)


def test_the_books_survive_a_restart_from_the_snapshot_and_go_on() -> None:
    desk = _bookkeeping()
    desk.fill(desk.child(), 30, 50, "F1")
    desk.restart()
    desk.fill(desk.child(), 170, 50, "F2")
    assert commissions(desk) == ["1", "1"]


def _bookkeeping() -> Desk:
    desk = Desk((venue("XNAS", "0.003"),))
    load(desk, 10)
    cash(desk, 1_000_000)
    charge(desk)
    desk.working("X", 10_000, 120)
    return desk
