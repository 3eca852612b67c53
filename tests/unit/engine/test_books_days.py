"""The books from day to day: levies, cash that is paid and rolls, dividends, splits, trades that fold."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from qtinfra.core import book_events as be
from qtinfra.core import commands as cmd
from qtinfra.core import events as ev
from qtinfra.core import special_events as sp
from qtinfra.core.commands import ActionKind
from qtinfra.core.events import BreakRaised, CommandRefused
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier, RegulatoryFee
from qtinfra.core.models import SELL_SIDES, Currency, OrderSide
from qtinfra.engine.kernel import Kernel, Outcome, replay
from qtinfra.engine.state import State
from qtinfra.positions.position import Position
from qtinfra.runtime.blotter import blotter
from tests.support.builders import (
    ALPHA,
    BETA,
    DAYS,
    SELL,
    START_NS,
    SYMBOL,
    Desk,
    Number,
    dec,
    kinds,
    only,
    venue,
)
from tests.support.facts import facts

pytestmark = pytest.mark.unit

USD, EUR = Currency.USD, Currency.EUR
SEC_31 = RegulatoryFee("SEC_31", USD, DAYS[0], per_value=dec("0.0000278"), sides=SELL_SIDES)
TAF = RegulatoryFee("FINRA_TAF", USD, DAYS[0], per_unit=dec("0.000166"), cap=dec("8.30"))


#: What a journal holds that knows nothing of entitlements.
_BEFORE_ACTIONS = (ev.Event, be.PositionLoaded, sp.CorporateActionTaken)


def levy(desk: Desk, *rows: RegulatoryFee) -> Outcome:
    return desk.run(cmd.SetRegulatoryFees(rows or (SEC_31, TAF)))


def cash(desk: Desk, amount: Number = 100_000, currency: Currency = USD) -> Outcome:
    return desk.run(cmd.LoadCash(ALPHA, currency, dec(amount), DAYS[0]))


def pay(desk: Desk, amount: Number, payment_id: str = "P1") -> Outcome:
    return desk.run(cmd.PayCash(payment_id, ALPHA, USD, dec(amount)))


def balance(desk: Desk, currency: Currency = USD) -> Decimal:
    assert desk.state.cash is not None
    return desk.state.cash.balance(ALPHA, currency).amount


def load(desk: Desk, qty: Number, avg_cost: Number = 40, name: str = ALPHA) -> None:
    desk.run(cmd.LoadPosition(name, SYMBOL, dec(qty), dec(avg_cost), DAYS[0]))


def position(desk: Desk, name: str = ALPHA) -> Position:
    found = desk.state.positions.get(name, SYMBOL)
    assert found is not None
    return found


def traded(
    desk: Desk, qty: Number, px: Number = 50, cl_ord_id: str = "X", exec_id: str = "F1", **more: Any
) -> None:
    price = 200 if more.get("side", OrderSide.BUY) is OrderSide.BUY else 1
    desk.working(cl_ord_id, qty, price, **more)
    desk.fill(desk.child(cl_ord_id), qty, px, exec_id)


def priced(desk: Desk, px: Number) -> None:
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(px)),)))


def act(desk: Desk, kind: ActionKind, *terms: Number, ex: int = 1, action_id: str = "CA1") -> Outcome:
    numbers = [dec(value) for value in terms]
    if kind is ActionKind.CASH_DIVIDEND:
        return desk.run(cmd.CorporateAction(action_id, SYMBOL, kind, DAYS[ex], amount=numbers[0]))
    num, den = numbers
    return desk.run(cmd.CorporateAction(action_id, SYMBOL, kind, DAYS[ex], ratio_num=num, ratio_den=den))


def refusal(outcome: Outcome) -> tuple[str, str]:
    assert kinds(outcome) == ["CommandRefused"]
    refused = only(outcome, CommandRefused)
    return refused.code, refused.field


def open_day(desk: Desk, date: str) -> Outcome:
    return desk.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, date))


# --- regulatory fees ---------------------------------------------------------------------------------------


def test_a_sale_pays_the_levies_without_any_schedule_and_a_purchase_pays_none() -> None:
    desk = Desk()
    levy(desk)
    traded(desk, 1000, 100)
    assert position(desk).fees == 0
    traded(desk, 1000, 100, "S", "F2", side=SELL)
    assert position(desk).fees == dec("2.78") + dec("0.17")


def test_the_activity_fee_is_capped_per_execution_and_joins_the_commission() -> None:
    desk = Desk()
    levy(desk, TAF)
    line = FeeLine((FeeTier(dec(0), dec("0.001")),))
    desk.run(cmd.SetFeeSchedule(FeeSchedule("S1", f"client-{ALPHA}", USD, DAYS[0], (line,))))
    traded(desk, 100_000, 10, side=SELL)
    execution = next(iter(desk.state.executions.values()))
    assert execution.commission == 100 + dec("8.30")


def test_behaviour_08_levies_follow_corrections_and_busts() -> None:
    desk = Desk((venue("XNAS", "0.003"),))
    levy(desk)
    cash(desk)
    traded(desk, 1000, 100, side=SELL)
    desk.correct(desk.child(), "F1", 500, 100)
    assert position(desk).fees == dec("1.39") + dec("0.08") + dec("1.5")
    desk.bust(desk.child(), "F1")
    assert facts(balance(desk), desk.state.positions.get(ALPHA, SYMBOL)) == (100_000, None)


def test_a_later_rate_counts_from_its_date() -> None:
    desk = Desk()
    levy(desk, SEC_31, RegulatoryFee("SEC_31", USD, DAYS[1], per_value=dec("0.0000500")))
    traded(desk, 1000, 100, side=SELL)
    desk.next_day()
    traded(desk, 1000, 100, "Y", "F2", side=SELL)
    assert [item.commission for item in desk.state.executions.values()] == [dec("2.78"), 5]


def test_rows_that_are_known_change_nothing() -> None:
    desk = Desk()
    assert kinds(levy(desk)) == ["RegulatoryFeesSet"]
    assert levy(desk).entry is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "COMMISSION"},
        {"effective_from": "soon"},
        {"per_value": Decimal("1.1")},
        {"per_unit": Decimal(-1)},
        {"cap": Decimal("NaN")},
    ],
    ids=str,
)
def test_a_levy_that_charges_nonsense_is_refused(changes: dict[str, Any]) -> None:
    assert refusal(levy(Desk(), msgspec.structs.replace(SEC_31, **changes))) == (
        "bad_regulatory_fee",
        "rows",
    )


def test_a_schedule_may_not_take_the_name_of_levies_alone() -> None:
    line = FeeLine((FeeTier(dec(0)),))
    schedule = FeeSchedule("levies only|USD", "*", USD, DAYS[0], (line,))
    assert refusal(Desk().run(cmd.SetFeeSchedule(schedule))) == ("bad_fee_schedule", "schedule")


# --- cash --------------------------------------------------------------------------------------------------


def test_a_payment_moves_cash_once_and_another_of_its_id_is_refused() -> None:
    desk = Desk()
    cash(desk)
    assert only(pay(desk, -400), be.CashPaid).amount == -400
    assert pay(desk, -400).entry is None
    assert refusal(pay(desk, -500)) == ("payment_exists", "payment_id")
    assert balance(desk) == 99_600


def test_an_exchange_moves_two_currencies_at_the_dealt_amounts() -> None:
    desk = Desk()
    cash(desk)
    deal = cmd.ExchangeCash("X1", ALPHA, USD, dec(1100), EUR, dec(1000))
    assert kinds(desk.run(deal)) == ["CashExchanged"]
    assert desk.run(deal).entry is None
    assert facts(balance(desk), balance(desk, EUR)) == (98_900, 1000)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"account": "nobody"}, ("unknown_account", "account")),
        ({"account": BETA}, ("cash_not_kept", "account")),
        ({"amount": Decimal("NaN")}, ("out_of_range", "amount")),
        ({"amount": Decimal(0)}, ("out_of_range", "amount")),
        ({"payment_id": ""}, ("value_required", "payment_id")),
    ],
)
def test_a_wrong_payment_is_refused_with_its_field(
    changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    desk = Desk()
    cash(desk)
    right = cmd.PayCash("P1", ALPHA, USD, dec(5))
    assert refusal(desk.run(msgspec.structs.replace(right, **changes))) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sold_amount": Decimal(-1)}, ("must_be_positive", "sold_amount")),
        ({"bought_amount": Decimal("Infinity")}, ("out_of_range", "bought_amount")),
        ({"bought": USD}, ("same_currency", "bought")),
    ],
)
def test_a_wrong_exchange_is_refused_with_its_field(
    changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    desk = Desk()
    cash(desk)
    right = cmd.ExchangeCash("X1", ALPHA, USD, dec(1100), EUR, dec(1000))
    assert refusal(desk.run(msgspec.structs.replace(right, **changes))) == expected


def test_balances_roll_at_the_open_and_yesterdays_trade_can_still_be_busted() -> None:
    desk = Desk()
    cash(desk)
    traded(desk, 100, 50)
    desk.next_day()
    assert desk.state.cash is not None
    kept = desk.state.cash.accounts[ALPHA][USD]
    assert facts(kept.opening, kept.trades, kept.posted) == (95_000, 0, 0)
    desk.bust(desk.child(), "F1")
    assert balance(desk) == 100_000
    assert refusal(cash(desk, 7)) == ("already_traded", "amount")


# --- dividends ---------------------------------------------------------------------------------------------


def test_behaviour_15_a_dividend_is_income_on_what_was_held_at_the_open_of_the_ex_date() -> None:
    desk = Desk()
    cash(desk)
    load(desk, 300)
    load(desk, -50, name=BETA)
    act(desk, ActionKind.CASH_DIVIDEND, "0.125")
    traded(desk, 100, 40)
    outcome = desk.next_day()
    posted = [event for event in outcome.events if isinstance(event, be.IncomePosted)]
    assert [facts(event.account, event.qty, event.amount) for event in posted] == [
        (ALPHA, 400, 50),
        (BETA, -50, dec("-6.25")),
    ]
    assert balance(desk) == 100_000 - 4_000 + 50
    assert desk.state.books.actions == {}
    assert "IncomePosted" not in kinds(open_day(desk, DAYS[2]))


def test_behaviour_15_a_dividend_said_on_the_ex_date_counts_nothing_traded_since_the_open() -> None:
    desk = Desk()
    load(desk, 300)
    traded(desk, 100, 40)
    outcome = act(desk, ActionKind.CASH_DIVIDEND, 1, ex=0)
    assert only(outcome, be.IncomePosted).amount == 300


# --- splits ------------------------------------------------------------------------------------------------


def test_behaviour_15_a_split_scales_positions_and_the_reference_and_keeps_what_they_are_worth() -> None:
    desk = Desk()
    priced(desk, 50)
    load(desk, 300, 40)
    act(desk, ActionKind.SPLIT, 2, 1)
    assert position(desk).qty == 300
    desk.next_day()
    assert facts(position(desk).qty, position(desk).avg_cost) == (600, 20)
    assert desk.state.reference_prices[SYMBOL] == 25
    cell = desk.state.risk.cell(ALPHA, SYMBOL)
    assert cell is not None
    assert facts(cell.position, cell.mark, cell.long) == (600, 25, 15_000)


def test_behaviour_15_the_position_limit_counts_the_units_after_the_split() -> None:
    desk = Desk()
    load(desk, 300, 40)
    act(desk, ActionKind.SPLIT, 2, 1)
    desk.next_day()
    desk.limit(LimitRule.POSITION_LIMIT, 650)
    desk.new("A", 51)
    desk.new("B", 50)
    assert [desk.figures(name)[0] for name in "AB"] == ["REJECTED", "ROUTED"]


def test_behaviour_15_a_reverse_split_pays_the_fraction_in_cash_and_the_event_says_how_much() -> None:
    desk = Desk()
    priced(desk, 5)
    cash(desk, 1_000)
    load(desk, 105, 4)
    load(desk, -25, 4, name=BETA)
    act(desk, ActionKind.REVERSE_SPLIT, 1, 10)
    outcome = desk.next_day()
    scaled = [event for event in outcome.events if isinstance(event, be.PositionScaled)]
    assert [facts(event.account, event.qty, event.in_lieu_qty, event.in_lieu_px) for event in scaled] == [
        (ALPHA, 10, dec("0.5"), 50),
        (BETA, -2, dec("-0.5"), 50),
    ]
    assert facts(balance(desk), position(desk).qty, position(desk).realised) == (1_025, 10, 5)
    assert position(desk, BETA).realised == -5


def test_behaviour_15_without_a_reference_price_the_fraction_stays_and_staff_are_told() -> None:
    desk = Desk()
    load(desk, 105, 4)
    act(desk, ActionKind.REVERSE_SPLIT, 1, 10)
    outcome = desk.next_day()
    assert only(outcome, BreakRaised).kind == "cash_in_lieu"
    assert position(desk).qty == dec("10.5")


def test_behaviour_15_a_bust_after_the_split_takes_the_old_trade_back_in_new_units() -> None:
    desk = Desk()
    cash(desk)
    load(desk, 300, 40)
    traded(desk, 100, 50)
    act(desk, ActionKind.SPLIT, 3, 1)
    desk.next_day()
    assert position(desk).qty == 1_200
    desk.bust(desk.child(), "F1")
    assert facts(position(desk).qty, balance(desk)) == (900, 100_000)


def test_behaviour_15_trades_of_the_ex_date_are_in_new_units_already() -> None:
    desk = Desk()
    load(desk, 300, 40)
    traded(desk, 100, 20)
    act(desk, ActionKind.SPLIT, 2, 1, ex=0)
    assert facts(position(desk).qty, desk.state.positions.held_before(ALPHA, SYMBOL, DAYS[0])) == (700, 600)


def test_two_actions_on_one_day_are_applied_in_their_order() -> None:
    desk = Desk()
    load(desk, 100, 40)
    act(desk, ActionKind.SPLIT, 2, 1)
    act(desk, ActionKind.CASH_DIVIDEND, 1, action_id="CA2")
    outcome = desk.next_day()
    assert only(outcome, be.IncomePosted).qty == 200
    assert desk.state.books.actions == {}


def test_the_blotter_agrees_after_a_split_with_cash_in_lieu() -> None:
    desk = Desk()
    priced(desk, 5)
    traded(desk, 105, 4)
    act(desk, ActionKind.REVERSE_SPLIT, 1, 10)
    desk.next_day()
    (line,) = (item for item in blotter(desk.state, {SYMBOL: dec(60)}).accounts if item.account == ALPHA)
    assert facts(line.net, line.agrees) == (25 + 600 - 420, True)


def test_a_split_survives_a_restart_from_the_journal_and_from_the_snapshot() -> None:
    desk = Desk()
    load(desk, 300, 40)
    act(desk, ActionKind.SPLIT, 2, 1)
    desk.restart(from_journal=True)
    desk.next_day()
    desk.restart()
    assert position(desk).qty == 600


# --- trades that fold --------------------------------------------------------------------------------------


def aged(desk: Desk, days: int) -> None:
    for number in range(days):
        open_day(desk, f"2024-08-{number + 1:02}")


def test_trades_stay_open_to_a_bust_for_the_retention_and_fold_after_it() -> None:
    desk = Desk()
    traded(desk, 100, 50)
    aged(desk, 5)
    assert desk.state.positions.holds(ALPHA, SYMBOL, next(iter(desk.state.executions)))
    open_day(desk, "2024-08-06")
    folded = position(desk)
    assert folded.opening is not None
    assert facts(folded.qty, folded.opening.qty, folded.trades) == (100, 100, [])


def test_a_bust_of_a_folded_trade_changes_nothing_and_is_handed_to_staff() -> None:
    desk = Desk()
    desk.run(cmd.SetRetention(1))
    cash(desk)
    traded(desk, 100, 50)
    aged(desk, 2)
    outcome = desk.bust(desk.child(), "F1")
    assert kinds(outcome) == ["ReportIgnored", "BreakRaised"]
    assert only(outcome, BreakRaised).kind == "folded_execution"
    assert desk.alert_kinds()[-1] == "folded_execution"
    assert kinds(desk.correct(desk.child(), "F1", 50, 50)) == ["ReportIgnored", "BreakRaised"]
    assert facts(position(desk).qty, balance(desk)) == (100, 95_000)


def test_folding_changes_no_figure_and_the_blotter_still_agrees() -> None:
    desk = Desk((venue("XNAS", "0.003"),))
    desk.run(cmd.SetRetention(1))
    traded(desk, 100, 50)
    traded(desk, 40, 55, "S", "F2", side=SELL)
    before = facts(position(desk).qty, position(desk).realised, position(desk).fees)
    aged(desk, 2)
    assert facts(position(desk).qty, position(desk).realised, position(desk).fees) == before
    traded(desk, 10, 60, "Y", "F3")
    (line,) = (item for item in blotter(desk.state, {SYMBOL: dec(60)}).accounts if item.account == ALPHA)
    assert line.agrees


def test_fee_tickets_and_the_volumes_of_past_months_are_forgotten_with_the_trades() -> None:
    desk = Desk()
    desk.run(cmd.SetRetention(1))
    line = FeeLine((FeeTier(dec(0), dec("0.01")),))
    desk.run(cmd.SetFeeSchedule(FeeSchedule("S1", "*", USD, DAYS[0], (line,))))
    traded(desk, 100, 50)
    assert desk.state.fees is not None
    assert desk.state.fees.volume(f"client-{ALPHA}", "2024-07") == 100
    aged(desk, 2)
    assert facts(desk.state.fees.tickets, desk.state.fees.volumes) == ({}, {})


@pytest.mark.parametrize("days", [0, -1, 401])
def test_a_retention_of_no_days_or_of_too_many_is_refused(days: int) -> None:
    assert refusal(Desk().run(cmd.SetRetention(days))) == ("out_of_range", "days")


def test_a_journal_from_before_positions_followed_actions_pays_and_scales_nothing_afterwards() -> None:
    desk = Desk()
    load(desk, 300)
    act(desk, ActionKind.CASH_DIVIDEND, 1)
    desk.next_day()
    older = [
        msgspec.structs.replace(
            entry, events=tuple(event for event in entry.events if isinstance(event, _BEFORE_ACTIONS))
        )
        for entry in desk.entries
    ]
    state = State()
    for entry in older:
        replay(state, msgspec.structs.replace(entry, seq=state.seq + 1))
    assert list(state.books.actions) == ["CA1"]
    outcome = Kernel(state).execute(
        cmd.Inbound(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[2])), START_NS * 2, desk.market
    )
    assert facts(kinds(outcome), state.books.actions) == (["DayOpened"], {})


def test_the_same_retention_again_changes_nothing() -> None:
    desk = Desk()
    assert desk.run(cmd.SetRetention(5)).entry is None
    assert only(desk.run(cmd.SetRetention(3)), be.RetentionSet).days == 3
