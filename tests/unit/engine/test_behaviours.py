"""The numbered behaviours of an order's life, one test per rule, on the kernel with a scripted venue."""

from decimal import Decimal

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.events import DuplicateRefused, OrderExpired, OrderFilled
from qtinfra.core.extended_models import (
    Account,
    AckPolicy,
    ChainedReplace,
    HaltPolicy,
    KillScope,
    LimitRule,
    Policies,
)
from qtinfra.core.models import ChildStatus, OrderStatus, TimeInForce
from qtinfra.core.reports import (
    CXL_ALREADY_PENDING,
    CXL_TOO_LATE,
    CXL_UNKNOWN_ORDER,
    ExecType,
    ReportKind,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueStatusRequest,
)
from tests.support.builders import (
    ALPHA,
    BETA,
    FOK,
    GTC,
    IOC,
    SELL,
    STAFF,
    SYMBOL,
    Desk,
    dec,
    kinds,
    only,
    submit,
)

pytestmark = pytest.mark.unit

QUEUE = Policies(chained_replace=ChainedReplace.QUEUE)
SUSPEND = Policies(halt=HaltPolicy.SUSPEND)


# --- 1 to 5: cancel and replace against fills that cross them ---


def test_behaviour_01_fills_that_cross_a_replace_report_the_old_quantity_then_the_new_terms_count() -> None:
    desk = Desk()
    desk.working("X", 10_000)
    desk.fill(desk.child(), 1_000)
    desk.replace("Y", "X", qty=8_000)
    for qty, cum in ((500, 1_500), (100, 1_600)):
        desk.fill(desk.child(), qty)
        report = desk.last()
        assert (report.exec_type, report.ord_status) == (ExecType.TRADE, "E")
        assert (report.order_qty, report.cum_qty) == (10_000, cum)
    desk.replaced(desk.child())
    report = desk.last()
    assert (report.exec_type, report.status) == (ExecType.REPLACED, OrderStatus.PARTIALLY_FILLED)
    assert (report.order_qty, report.cum_qty, report.leaves_qty) == (8_000, 1_600, 6_400)
    assert (report.cl_ord_id, report.orig_cl_ord_id) == ("Y", "X")
    assert desk.child().leaves == 6_400


def test_behaviour_02_a_replace_that_crosses_the_fill_up_to_its_quantity_ends_filled() -> None:
    desk = Desk()
    desk.working("X", 10_000)
    desk.replace("Y", "X", qty=7_000)
    desk.fill(desk.child(), 7_000)
    desk.replaced(desk.child())
    assert desk.last().exec_type is ExecType.REPLACED
    assert desk.figures("Y") == ("FILLED", 7_000, 7_000, 0)


def test_behaviour_02_a_quantity_below_what_has_traded_is_refused_when_it_is_decided() -> None:
    desk = Desk()
    desk.working("X", 10_000)
    desk.fill(desk.child(), 7_000)
    desk.replace("Y", "X", qty=6_999)
    assert desk.last_reject().code == "qty_below_filled"
    assert desk.figures("X") == ("PARTIALLY_FILLED", 10_000, 7_000, 3_000)
    desk.replace("Z", "X", qty=7_000)
    assert desk.figures("X")[0] == "PENDING_REPLACE"


def test_behaviour_02_a_fill_that_crosses_below_amends_the_order_to_what_has_traded() -> None:
    desk = Desk()
    desk.working("X", 10_000)
    desk.replace("Y", "X", qty=7_000)
    desk.fill(desk.child(), 8_000)
    desk.replaced(desk.child())
    assert desk.figures("Y") == ("FILLED", 8_000, 8_000, 0)


def test_behaviour_03_price_only_replace_that_crosses_the_last_fill_is_refused_as_too_late() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.replace("Y", "X", price=51)
    desk.fill(desk.child(), 100)
    desk.replace_refused(desk.child(), "too_late")
    reject = desk.last_reject()
    assert (reject.ord_status, reject.reason, reject.response_to) == ("2", CXL_TOO_LATE, 2)
    assert desk.figures("X") == ("FILLED", 100, 100, 0)
    assert desk.order("X").price == 50


def test_behaviour_04_a_second_replace_is_refused_while_the_first_is_pending() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.replace("Y", "X", qty=200)
    desk.replace("Z", "Y", qty=300)
    reject = desk.last_reject()
    assert (reject.ord_status, reject.reason) == ("E", CXL_ALREADY_PENDING)
    assert (reject.cl_ord_id, reject.orig_cl_ord_id) == ("Z", "X"), "the last accepted id"
    desk.replaced(desk.child())
    assert desk.figures("Y") == ("ROUTED", 200, 0, 200)


def test_behaviour_04_with_the_queue_policy_replaces_are_worked_in_order() -> None:
    desk = Desk(policies=QUEUE)
    desk.working("X", 100)
    for name, orig, qty in (("Y", "X", 200), ("Z", "Y", 300), ("W", "Z", 250)):
        desk.replace(name, orig, qty=qty)
    seen = []
    for _ in range(3):
        desk.replaced(desk.child())
        report = [r for r in desk.reports if getattr(r, "exec_type", "") is ExecType.REPLACED][-1]
        seen.append((report.cl_ord_id, report.orig_cl_ord_id, int(desk.order().qty)))
    assert seen == [("Y", "X", 200), ("Z", "Y", 300), ("W", "Z", 250)]
    assert not desk.order().queued


def test_behaviour_04_a_queued_replace_that_no_longer_fits_is_refused_when_its_turn_comes() -> None:
    desk = Desk(policies=QUEUE)
    desk.working("X", 100)
    desk.replace("Y", "X", qty=200)
    desk.replace("Z", "Y", qty=60)
    desk.replace("W", "Z", qty=150)
    desk.fill(desk.child(), 80)
    desk.replaced(desk.child())
    reject = next(r for r in desk.reports if r.cl_ord_id == "Z" and hasattr(r, "response_to"))
    assert reject.code == "qty_below_filled"
    desk.replaced(desk.child())
    assert desk.figures("W") == ("PARTIALLY_FILLED", 150, 80, 70)


def test_behaviour_04_what_is_queued_waits_for_a_cancel_and_goes_on_when_that_is_refused() -> None:
    desk = Desk(policies=QUEUE)
    desk.working("X", 100)
    desk.replace("Y", "X", qty=200)
    desk.replace("Z", "Y", qty=300)
    desk.cancel("C")
    desk.replaced(desk.child())
    assert desk.child().replace_id == ""
    desk.cancel_refused(desk.child(), "broker_option")
    desk.replaced(desk.child())
    assert desk.figures("Z") == ("ROUTED", 300, 0, 300)


def test_behaviour_05_a_fill_during_a_pending_cancel_says_pending_cancel_then_the_rest_is_canceled() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.cancel("C")
    desk.fill(desk.child(), 40)
    assert (desk.last().exec_type, desk.last().ord_status) == (ExecType.TRADE, "6")
    desk.canceled(desk.child())
    report = desk.last()
    assert (report.exec_type, report.ord_status) == (ExecType.CANCELED, "4")
    assert (report.cl_ord_id, report.orig_cl_ord_id) == ("C", "X")
    assert desk.figures() == ("CANCELLED", 100, 40, 0)


def test_behaviour_06_a_cancel_after_the_last_fill_is_refused_as_too_late() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 100)
    desk.cancel("C")
    reject = desk.last_reject()
    assert (reject.ord_status, reject.reason, reject.response_to) == ("2", CXL_TOO_LATE, 1)


@pytest.mark.parametrize("name", [ALPHA, BETA, "nobody"])
def test_behaviour_06_cancel_and_replace_of_an_unknown_order_name_no_order(name: str) -> None:
    desk = Desk()
    desk.working("X", 100)
    orig = "missing" if name == ALPHA else "X"  # an order of another account is as unknown as none
    desk.run(cmd.CancelOrder(name, "C", orig))
    first = desk.last_reject()
    desk.run(cmd.ReplaceOrder(name, "R", orig, dec(5)))
    for reject, kind in ((first, 1), (desk.last_reject(), 2)):
        assert (reject.order_id, reject.reason, reject.ord_status) == ("NONE", CXL_UNKNOWN_ORDER, "8")
        assert reject.response_to == kind


# --- 7: the same client order id again ---


@pytest.mark.parametrize("restarted", ["no", "from the snapshot", "from the journal"])
def test_behaviour_07_the_same_id_with_the_same_content_gets_the_first_answer(restarted: str) -> None:
    desk = Desk()
    desk.working("X", 100)
    if restarted != "no":
        desk.restart(from_journal=restarted == "from the journal")
    outcome = desk.run(submit("X", "100.0", "50.00"))
    assert outcome.entry is None and not outcome.events, "nothing is created"
    assert outcome.depends_on == desk.state.seq
    assert desk.last().order_id == desk.order().order_id
    assert len(desk.state.orders) == 1


@pytest.mark.parametrize("restarted", ["no", "from the snapshot", "from the journal"])
def test_behaviour_07_the_same_id_with_other_content_is_refused_and_the_first_order_is_untouched(
    restarted: str,
) -> None:
    desk = Desk()
    desk.working("X", 100)
    if restarted != "no":
        desk.restart(from_journal=restarted == "from the journal")
    before = desk.order().version
    outcome = desk.run(submit("X", 101))
    refused = only(outcome, DuplicateRefused)
    assert refused.order_id == desk.order().order_id
    report = desk.last()
    assert (report.code, report.reason, report.exec_type) == (
        "duplicate_client_order_id",
        6,
        ExecType.REJECTED,
    )
    assert desk.order().version == before
    assert desk.figures() == ("ROUTED", 100, 0, 100)


def test_behaviour_07_after_a_replace_the_id_still_stands_for_what_was_first_submitted() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.replace("Y", "X", qty=200)
    desk.replaced(desk.child())
    assert not desk.new("X", 100).events, "the first content again is a repetition"
    assert kinds(desk.new("X", 200)) == ["DuplicateRefused"]
    assert kinds(desk.new("Y", 200)) == ["DuplicateRefused"], "a replace's id cannot become an order"


def test_behaviour_07_a_refused_order_keeps_its_id_too() -> None:
    desk = Desk()
    desk.new("X", 100, "50.005")
    assert desk.order().status is OrderStatus.REJECTED
    assert not desk.new("X", 100, "50.005").events
    assert kinds(desk.new("X", 100, "50.01")) == ["DuplicateRefused"]


def test_behaviour_07_ids_are_unique_per_account_not_across_accounts() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.new("X", 100, name=BETA)
    assert desk.order("X", BETA).order_id != desk.order("X", ALPHA).order_id


def test_behaviour_07_a_repeated_cancel_or_replace_is_answered_and_not_done_again() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.replace("Y", "X", qty=200)
    assert not desk.replace("Y", "X", qty=200).events
    assert kinds(desk.replace("Y", "X", qty=300)) == ["AmendRefused"]
    assert desk.last_reject().reason == 6
    desk.replaced(desk.child())
    desk.cancel("C", "Y")
    assert not desk.cancel("C", "Y").events


# --- 8 to 10: executions taken back, exact figures ---


def test_behaviour_08_bust_and_correction_give_the_averages_of_the_book() -> None:
    desk = Desk()
    desk.working("X", 10_000, 200)
    desk.fill(desk.child(), 1_000, 100, "E1")
    desk.fill(desk.child(), 9_000, 110, "E2")
    assert (desk.figures()[0], desk.order().avg_px) == ("FILLED", 109)
    desk.bust(desk.child(), "E1")
    assert desk.last().exec_type is ExecType.TRADE_CANCEL
    assert desk.last().ref_exec_id == "E1"
    assert desk.figures() == ("PARTIALLY_FILLED", 10_000, 9_000, 1_000)
    assert desk.order().avg_px == 110
    assert desk.order().unallocated == 1_000, "re-opened quantity is held for staff"
    desk.correct(desk.child(), "E2", 9_000, 100)
    assert desk.last().exec_type is ExecType.TRADE_CORRECT
    assert desk.order().avg_px == 100
    desk.fill(desk.child(), 1_000, 120, "E3")
    assert (desk.figures()[0], desk.order().avg_px) == ("FILLED", 102)
    position = desk.state.positions.get(ALPHA, SYMBOL)
    assert position is not None and position.qty == 10_000
    assert -position.cash == 9_000 * 100 + 1_000 * 120
    originals = [desk.state.executions[key] for key in desk.order().executions]
    assert [(e.exec_id, int(e.reported_px)) for e in originals] == [("E1", 100), ("E2", 110), ("E3", 120)]


@pytest.mark.parametrize("tif", [IOC, FOK])
def test_behaviour_08_a_bust_of_a_filled_immediate_order_only_changes_what_has_traded(
    tif: TimeInForce,
) -> None:
    desk = Desk()
    desk.working("X", 100, tif=tif)
    desk.fill(desk.child(), 100, exec_id="E1")
    desk.bust(desk.child(), "E1")
    assert desk.figures() == ("CANCELLED", 100, 0, 0)
    assert [r.exec_type for r in desk.reports[-2:]] == [ExecType.TRADE, ExecType.TRADE_CANCEL]  # type: ignore[union-attr]


def test_behaviour_08_a_bust_after_the_day_order_s_day_only_changes_what_has_traded() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 100, exec_id="E1")
    desk.close_day()
    assert desk.figures()[0] == "FILLED"
    desk.next_day()
    desk.bust(desk.child(), "E1")
    assert desk.figures() == ("EXPIRED", 100, 0, 0)
    assert desk.last().exec_type is ExecType.TRADE_CANCEL


def test_behaviour_08_a_bust_on_the_next_day_opens_a_gtc_order_again() -> None:
    desk = Desk()
    desk.working("X", 100, tif=GTC)
    desk.fill(desk.child(), 100, exec_id="E1")
    desk.next_day()
    desk.bust(desk.child(), "E1")
    assert desk.figures() == ("ROUTED", 100, 0, 100)
    assert desk.order().unallocated == 100


def test_behaviour_08_a_second_bust_or_one_of_an_unknown_execution_is_a_break() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 40, exec_id="E1")
    desk.bust(desk.child(), "E1")
    desk.bust(desk.child(), "E1")
    desk.correct(desk.child(), "E9", 10, 50)
    assert desk.alert_kinds() == ["unknown_execution", "unknown_execution"]
    assert desk.order().cum_qty == 0


def test_behaviour_08_a_correction_without_a_price_is_a_break_and_changes_nothing() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 40, exec_id="E1")
    desk.say(ReportKind.CORRECT, "XNAS", desk.child().cl_ord_id, ref_exec_id="E1", qty=dec(40))
    assert desk.alert_kinds() == ["bad_execution"]
    assert desk.order().avg_px == 50


def test_behaviour_09_a_bust_on_a_canceled_order_leaves_it_canceled_with_nothing_left() -> None:
    desk = Desk()
    desk.working("X", 10_000)
    desk.fill(desk.child(), 5_000, exec_id="E1")
    desk.cancel("C")
    desk.canceled(desk.child())
    assert desk.figures() == ("CANCELLED", 10_000, 5_000, 0)
    desk.bust(desk.child(), "E1")
    assert desk.figures() == ("CANCELLED", 10_000, 0, 0)


def test_behaviour_10_notional_is_exact_and_the_average_is_half_even_to_eight_places() -> None:
    desk = Desk()
    desk.working("X", 303, "10.04")
    for qty, px in ((100, "10.01"), (200, "10.02"), (3, "10.035")):
        desk.fill(desk.child(), qty, px)
    assert desk.order().notional == Decimal("3035.105")
    assert desk.order().avg_px == Decimal("10.01684818")
    assert desk.last().avg_px == Decimal("10.01684818")


# --- 11, 14, 15: the end of the day, the next day, restatements ---


def test_behaviour_11_a_day_order_that_did_not_trade_expires_at_the_close() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.close_day()
    assert desk.figures() == ("EXPIRED", 100, 0, 0)
    assert desk.last().exec_type is ExecType.EXPIRED
    desk.fill(desk.child(), 30)
    assert desk.figures() == ("EXPIRED", 100, 30, 0), "a late fill still books"
    assert desk.last().text == "late fill"


def test_behaviour_11_a_day_order_that_traded_is_done_for_the_day_and_over() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 30)
    desk.close_day()
    assert desk.figures() == ("DONE_FOR_DAY", 100, 30, 0)
    desk.next_day()
    assert desk.figures() == ("DONE_FOR_DAY", 100, 30, 0)


def test_behaviour_11_a_venue_s_close_ends_the_orders_that_work_there_alone() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.working("X", 100)
    desk.close_day("XNYS")
    assert desk.figures()[0] == "ROUTED"
    desk.close_day("XNAS")
    assert desk.figures()[0] == "EXPIRED"


def test_behaviour_11_requests_that_are_out_at_the_close_are_told_that_they_came_too_late() -> None:
    desk = Desk(policies=QUEUE)
    desk.working("X", 100)
    desk.replace("R", "X", qty=200)
    desk.replace("S", "R", qty=300)
    desk.cancel("C")
    desk.close_day()
    assert desk.figures()[0] == "EXPIRED"
    late = [(r.cl_ord_id, r.code) for r in desk.reports[-3:]]
    assert late == [("C", "too_late"), ("R", "too_late"), ("S", "too_late")]


def test_behaviour_11_an_order_in_doubt_waits_for_its_venue_at_the_close() -> None:
    desk = Desk()
    desk.new("X", 100)
    desk.disconnect("XNAS")
    desk.close_day()
    assert desk.figures()[0] == "UNKNOWN"
    desk.connect("XNAS")
    desk.say(ReportKind.EXPIRED, "XNAS", desk.child().cl_ord_id)
    assert desk.figures()[0] == "EXPIRED"


@pytest.mark.parametrize("kind", [cmd.TimerKind.DAY_OPEN, cmd.TimerKind.DAY_CLOSE])
def test_behaviour_11_a_timer_of_an_earlier_date_is_refused(kind: cmd.TimerKind) -> None:
    desk = Desk()
    desk.next_day()
    desk.working("X", 100)
    assert kinds(desk.run(cmd.TimerFired(kind, "2024-07-08"))) == ["CommandRefused"]
    assert desk.figures()[0] == "ROUTED"


def test_behaviour_14_a_gtc_order_survives_the_night_and_a_restart_with_its_day_quantities_restated() -> None:
    desk = Desk()
    desk.working("X", 10_000, tif=GTC)
    desk.fill(desk.child(), 2_000)
    desk.close_day()
    assert desk.figures() == ("DONE_FOR_DAY", 10_000, 2_000, 8_000)
    desk.restart()
    desk.next_day()
    desk.say(ReportKind.RESTATED, "XNAS", desk.child().cl_ord_id, qty=dec(10_000), reason="renewed")
    report = desk.last()
    assert report.exec_type is ExecType.RESTATED
    assert (report.order_qty, report.cum_qty, report.leaves_qty) == (10_000, 2_000, 8_000)
    order = desk.order()
    assert (order.day_order_qty, order.day_cum_qty) == (8_000, 0)
    desk.fill(desk.child(), 500)
    assert (order := desk.order()).day_cum_qty == 500 and order.cum_qty == 2_500


def test_behaviour_14_an_execution_of_yesterday_that_is_reported_today_is_not_counted_today() -> None:
    desk = Desk()
    desk.working("X", 10_000, tif=GTC)
    desk.next_day()
    desk.fill(desk.child(), 300, trade_date="2024-07-08")
    assert (desk.order().day_cum_qty, desk.order().day_order_qty) == (0, 9_700)


def test_behaviour_14_a_gtc_order_filled_while_done_for_the_day_is_filled_the_next_morning() -> None:
    desk = Desk()
    desk.working("X", 100, tif=GTC)
    desk.close_day()
    desk.fill(desk.child(), 100)
    assert desk.figures()[0] == "DONE_FOR_DAY"
    desk.next_day()
    assert desk.figures() == ("FILLED", 100, 100, 0)


def test_behaviour_15_a_two_for_one_split_doubles_quantities_and_halves_prices() -> None:
    desk = Desk()
    desk.working("X", 300, tif=GTC)
    desk.fill(desk.child(), 100, 50)
    desk.say(ReportKind.RESTATED, "XNAS", desk.child().cl_ord_id, qty=dec(600), reason="corporate_action")
    assert desk.figures() == ("PARTIALLY_FILLED", 600, 200, 400)
    assert (desk.order().price, desk.order().avg_px, desk.child().price) == (25, 25, 25)
    assert desk.last().exec_type is ExecType.RESTATED


def test_behaviour_15_a_restatement_without_quantity_or_below_what_has_traded_is_a_break() -> None:
    desk = Desk()
    desk.working("X", 300, tif=GTC)
    desk.fill(desk.child(), 100)
    child = desk.child().cl_ord_id
    desk.say(ReportKind.RESTATED, "XNAS", child, qty=dec(0), reason="corporate_action")
    desk.say(ReportKind.RESTATED, "XNAS", child, qty=dec(99))
    assert desk.alert_kinds() == ["bad_restatement", "restated_below_filled"]
    desk.say(ReportKind.RESTATED, "XNAS", child, qty=dec(100))
    assert desk.figures() == ("FILLED", 100, 100, 0)


# --- 18 to 21: the first set of controls ---


def test_behaviour_18_a_restricted_symbol_is_refused_for_orders_and_replaces_and_goes_nowhere() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.run(cmd.RestrictSymbol(SYMBOL, ALPHA))
    sent = len(desk.sent)
    desk.new("Y", 10)
    assert (desk.order("Y").status, desk.last().code) == (OrderStatus.REJECTED, "restricted_symbol")
    desk.replace("R", "X", qty=200)
    assert desk.last_reject().code == "restricted_symbol"
    assert len(desk.sent) == sent
    desk.new("Y", 10, name=BETA)
    assert desk.order("Y", BETA).status is OrderStatus.ROUTED, "another account's list is its own"
    desk.replace("S", "X", qty=50)
    assert desk.figures()[0] == "PENDING_REPLACE", "less is always allowed"


def test_behaviour_18_a_restriction_binds_children_alike() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.new("X", 100)
    desk.run(cmd.RestrictSymbol(SYMBOL))
    desk.reject(desk.child())
    assert desk.figures()[0] == "REJECTED"
    assert len(desk.children()) == 1, "not sent on to the other venue"


@pytest.mark.parametrize(
    ("rule", "limit", "at_the_limit", "over"),
    [
        (LimitRule.MAX_ORDER_QTY, 100, (100, 50), (101, 50)),
        (LimitRule.MAX_ORDER_VALUE, 5_000, (100, 50), (100, "50.01")),
        (LimitRule.PRICE_COLLAR, "0.1", (100, 55), (100, "55.01")),
        (LimitRule.POSITION_LIMIT, 100, (100, 50), (101, 50)),
    ],
)
def test_behaviour_19_at_the_limit_passes_and_one_unit_over_fails(
    rule: LimitRule, limit: int | str, at_the_limit: tuple[int, int], over: tuple[int, int | str]
) -> None:
    desk = Desk()
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(50)),)))
    desk.limit(rule, limit)
    desk.new("OVER", *over)
    assert desk.order("OVER").status is OrderStatus.REJECTED
    rejected = desk.entries[-1].events[0]
    assert getattr(rejected, "code", "") == rule.value
    assert getattr(rejected, "limit", "") and getattr(rejected, "observed", "")
    assert not desk.sent
    desk.new("AT", *at_the_limit)
    assert desk.order("AT").status is OrderStatus.ROUTED


def test_behaviour_19_the_collar_on_a_sell_bounds_it_from_below() -> None:
    desk = Desk()
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(50)),)))
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    for name, price, status in (("A", "44.99", "REJECTED"), ("B", "45.00", "ROUTED"), ("C", 99, "ROUTED")):
        desk.new(name, 10, price, side=SELL)
        assert desk.order(name).status == status


def test_behaviour_19_without_a_reference_the_collar_and_the_value_of_a_market_order_fail_closed() -> None:
    desk = Desk()
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    desk.new("A", 10)
    desk.limit(LimitRule.PRICE_COLLAR, None)
    desk.limit(LimitRule.MAX_ORDER_VALUE, 1_000)
    desk.new("B", 10, None)
    assert [r.code for r in desk.reports[-2:]] == ["stale_reference", "stale_reference"]


def test_behaviour_19_open_orders_count_at_once_against_the_position_limit() -> None:
    desk = Desk()
    desk.limit(LimitRule.POSITION_LIMIT, 100)
    desk.new("A", 60)
    desk.new("B", 41)
    assert desk.order("B").status is OrderStatus.REJECTED, "counted before any venue has answered"
    desk.new("C", 40)
    desk.replace("R", "A", qty=61)
    assert desk.last_reject().code == "position_limit"
    desk.new("S", 100, side=SELL)
    assert desk.order("S").status is OrderStatus.ROUTED, "the other side counts on its own"


def test_behaviour_19_a_replace_in_flight_counts_with_its_larger_quantity() -> None:
    desk = Desk()
    desk.limit(LimitRule.POSITION_LIMIT, 100)
    desk.working("A", 50)
    desk.replace("R", "A", qty=90)
    desk.new("B", 11)
    assert desk.order("B").status is OrderStatus.REJECTED
    desk.replace_refused(desk.child("A"), "broker_option")
    desk.new("C", 50)
    assert desk.order("C").status is OrderStatus.ROUTED


def test_behaviour_19_a_child_in_doubt_counts_in_full_and_a_canceled_one_not_at_all() -> None:
    desk = Desk()
    desk.limit(LimitRule.POSITION_LIMIT, 100)
    desk.new("A", 100)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.new("B", 1)
    assert desk.order("B").status is OrderStatus.REJECTED
    desk.unknown_order(desk.child("A"))
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == desk.order("A").leaves_qty
    desk.cancel("C", "A")
    for child in desk.children("A"):
        if child.working:
            desk.canceled(child)
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == 0


def test_behaviour_19_the_limits_hold_after_a_restart() -> None:
    desk = Desk()
    desk.limit(LimitRule.POSITION_LIMIT, 100)
    desk.working("A", 100)
    desk.fill(desk.child("A"), 30)
    for from_journal in (False, True):
        desk.restart(from_journal)
        desk.new(f"B{from_journal}", 1)
        assert desk.order(f"B{from_journal}").status is OrderStatus.REJECTED


@pytest.mark.parametrize(
    ("scope", "value"),
    [
        (KillScope.FIRM, ""),
        (KillScope.CLIENT, "client-alpha"),
        (KillScope.DESK, "desk-alpha"),
        (KillScope.TRADER, "tom"),
        (KillScope.ACCOUNT, ALPHA),
        (KillScope.SYMBOL, SYMBOL),
        (KillScope.VENUE, "XNAS"),
    ],
)
def test_behaviour_20_a_kill_blocks_new_flow_in_its_scope_and_cancels_what_is_open(
    scope: KillScope, value: str
) -> None:
    desk = Desk()
    desk.working("X", 100, trader="tom")
    desk.working("O", 100, name=BETA)
    outcome = desk.kill(scope, value)
    assert kinds(outcome)[:2] == ["KillSwitchEngaged", "CancelRequested"], "in one record"
    assert any(isinstance(message, VenueCancel) for message in desk.sent)
    assert desk.figures()[0] == "PENDING_CANCEL"
    desk.new("Y", 10, trader="tom")
    expected = "no_venue" if scope is KillScope.VENUE else "kill_switch"
    assert (desk.order("Y").status, desk.last().code) == (OrderStatus.REJECTED, expected)
    others = scope in (KillScope.FIRM, KillScope.SYMBOL, KillScope.VENUE)
    assert (desk.order("O", BETA).pending_cancel is not None) is others
    desk.fill(desk.child(), 30)
    desk.canceled(desk.child())
    assert desk.figures() == ("CANCELLED", 100, 30, 0), "late fills still book"
    desk.run(cmd.ReleaseKillSwitch(scope, value))
    desk.new("Z", 10, trader="tom")
    assert desk.order("Z").status is OrderStatus.ROUTED


def test_behaviour_20_what_a_kill_cannot_reach_is_unknown_and_never_called_cancelled() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.working("X", 100)
    desk.disconnect("XNAS")
    desk.kill(KillScope.FIRM)
    assert desk.child().status is ChildStatus.UNKNOWN
    assert desk.figures()[0] == "PENDING_CANCEL"
    assert not [m for m in desk.sent if isinstance(m, VenueCancel)]
    assert "outcome_unknown" in desk.alert_kinds()
    desk.connect("XNAS")
    desk.status(desk.child(), live=True)
    assert isinstance(desk.sent[-1], VenueCancel), "the cancel goes out when the venue is back"
    desk.canceled(desk.child())
    assert desk.figures()[0] == "CANCELLED"


def test_behaviour_20_a_replace_in_flight_cannot_open_a_filled_order_under_an_engaged_kill() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 100)
    desk.replace("R", "X", qty=150)
    desk.kill(KillScope.FIRM)
    desk.replaced(desk.child())
    assert desk.figures("R") == ("PENDING_CANCEL", 150, 100, 50)


def test_behaviour_20_the_kill_holds_after_a_restart() -> None:
    desk = Desk()
    desk.kill(KillScope.ACCOUNT, ALPHA)
    desk.restart()
    desk.new("Y", 10)
    assert desk.last().code == "kill_switch"


def test_behaviour_21_a_price_off_the_tick_is_refused_and_the_nearest_valid_prices_are_named() -> None:
    desk = Desk()
    desk.new("X", 100, "10.005")
    report = desk.last()
    assert report.code == "tick_size"
    assert "10.00" in report.text and "10.01" in report.text
    desk.new("Y", 100, "0.9999")
    assert desk.order("Y").status is OrderStatus.ROUTED


# --- 23: halts ---


def test_behaviour_23_with_the_cancel_policy_resting_orders_are_canceled_on_a_halt() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.halt()
    assert desk.figures()[0] == "PENDING_CANCEL"
    desk.canceled(desk.child())
    assert desk.figures()[0] == "CANCELLED"
    desk.new("Y", 10)
    assert desk.last().code == "instrument_halted"


def test_behaviour_23_with_the_suspend_policy_resting_orders_are_suspended_then_reinstated() -> None:
    desk = Desk(policies=SUSPEND)
    desk.working("X", 100)
    desk.fill(desk.child(), 30)
    desk.halt()
    assert desk.figures() == ("SUSPENDED", 100, 30, 70)
    desk.replace("R", "X", qty=90)
    assert desk.last_reject().code == "instrument_halted"
    assert not desk.halt().events, "halting twice does nothing"
    desk.halt(False)
    assert desk.figures() == ("PARTIALLY_FILLED", 100, 30, 70)
    assert desk.last().exec_type is ExecType.RESTATED


def test_behaviour_23_a_suspended_order_may_be_canceled_and_is_not_routed_elsewhere() -> None:
    desk = Desk(["XNAS", "XNYS"], policies=SUSPEND)
    desk.new("X", 100)
    desk.halt()
    desk.reject(desk.child())
    assert desk.figures()[0] == "REJECTED"
    assert len(desk.children()) == 1
    desk.halt(False)
    desk.working("Y", 100)
    desk.halt()
    desk.cancel("C", "Y")
    desk.canceled(desk.child("Y"))
    assert desk.figures("Y")[0] == "CANCELLED"


def test_behaviour_23_a_halt_of_another_symbol_touches_nothing() -> None:
    desk = Desk()
    desk.working("X", 100)
    assert kinds(desk.run(cmd.HaltInstrument("NOPE", True))) == ["CommandRefused"]
    assert desk.figures()[0] == "ROUTED"


# --- 24 and 25: overfills, repetitions, doubt ---


def test_behaviour_24_an_overfill_is_booked_and_raises_a_break() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 100, exec_id="E1")
    desk.fill(desk.child(), 10, exec_id="E2")
    assert desk.figures() == ("FILLED", 100, 110, 0)
    assert desk.alert_kinds() == ["overfill"]
    assert desk.state.net_position(ALPHA, SYMBOL) == 110
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == 0


def test_behaviour_24_the_same_execution_again_is_ignored_and_other_content_is_a_break() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 40, exec_id="E1")
    assert kinds(desk.fill(desk.child(), 40, exec_id="E1")) == ["ReportIgnored"]
    assert not desk.alerts
    desk.fill(desk.child(), 41, exec_id="E1")
    assert desk.alert_kinds() == ["execution_differs"]
    assert desk.order().cum_qty == 40


def test_behaviour_24_a_report_with_a_number_seen_before_leaves_no_trace() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 40)
    again = desk.entries[-1].command
    assert desk.run(again).entry is None


def test_behaviour_24_a_late_fill_after_canceled_is_applied_and_flagged() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.cancel("C")
    desk.canceled(desk.child())
    outcome = desk.fill(desk.child(), 30)
    assert only(outcome, OrderFilled).late
    assert desk.last().text == "late fill"
    assert desk.figures() == ("CANCELLED", 100, 30, 0)
    desk.fill(desk.child(), 70)
    assert desk.figures() == ("FILLED", 100, 100, 0)


def test_behaviour_25_a_child_in_flight_when_the_line_dies_is_unknown_and_never_sent_again() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.new("X", 100)
    desk.disconnect("XNAS")
    assert desk.figures() == ("UNKNOWN", 100, 0, 100)
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == 100, "full exposure"
    desk.restart()
    desk.connect("XNAS")
    assert isinstance(desk.sent[-1], VenueStatusRequest), "the venue is asked"
    assert len([m for m in desk.sent if isinstance(m, VenueNewOrder)]) == 1
    desk.status(desk.child(), live=True)
    assert desk.figures()[0] == "ROUTED"


def test_behaviour_25_resent_reports_resolve_the_doubt_by_themselves() -> None:
    desk = Desk()
    desk.new("X", 100)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.ack(desk.child())
    assert desk.figures()[0] == "ROUTED"
    desk.fill(desk.child(), 100)
    assert desk.figures()[0] == "FILLED"


def test_behaviour_25_an_order_that_never_arrived_goes_to_another_venue_once_that_is_known() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.new("X", 100)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.unknown_order(desk.child())
    assert desk.child().status is ChildStatus.NOT_RECEIVED
    assert desk.child(index=1).qty == 100


@pytest.mark.parametrize(
    ("outcome", "status", "children"), [("NOT_RECEIVED", "ROUTED", 2), ("CANCELLED", "CANCELLED", 1)]
)
def test_behaviour_25_a_person_may_resolve_what_stays_unknown(
    outcome: str, status: str, children: int
) -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.new("X", 100)
    desk.disconnect("XNAS")
    desk.run(cmd.ResolveUnknown(desk.child().child_id, outcome, "by phone"))
    assert desk.figures()[0] == status
    assert len(desk.children()) == children
    desk.fill(desk.child(), 20)
    assert desk.order().cum_qty == 20, "executions that come later still book"


def test_behaviour_25_a_status_that_differs_from_our_books_is_a_break() -> None:
    desk = Desk()
    desk.new("X", 100)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.status(desk.child(), live=True, cum=30, leaves=70)
    assert "cum_qty_differs" in desk.alert_kinds()


# --- acknowledgement and staff ---


@pytest.mark.parametrize(("policy", "first"), [(AckPolicy.ON_VENUE, "A"), (AckPolicy.ON_ACCEPT, "0")])
def test_new_is_said_at_acceptance_or_when_the_first_venue_answers(policy: AckPolicy, first: str) -> None:
    desk = Desk(policies=Policies(ack=policy))
    desk.new("X", 100)
    assert desk.last().ord_status == first
    desk.ack(desk.child())
    news = [r for r in desk.reports if getattr(r, "exec_type", "") is ExecType.NEW]
    assert len(news) == 1


def test_staff_change_terms_at_once_and_the_venue_is_not_asked() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.working("X", 100)
    sent = len(desk.sent)
    desk.replace("", "X", qty=60, price=49, origin=STAFF)
    assert desk.figures() == ("ROUTED", 60, 0, 60)
    assert (desk.child().qty, desk.child().leaves, len(desk.sent)) == (60, 60, sent)


def test_a_report_of_numbers_out_of_range_is_a_break_and_changes_nothing() -> None:
    desk = Desk()
    desk.working("X", 100)
    for qty, px in (("NaN", "50"), ("10", "NaN"), ("1e30", "50"), ("10", "0.12345678901"), ("-5", "50")):
        desk.fill(desk.child(), qty, px)
    assert desk.order().cum_qty == 0
    assert desk.alert_kinds() == ["malformed_report"] * 4 + ["bad_execution"]
    assert not desk.state.frozen


def test_a_venue_s_replace_goes_out_with_the_new_total_and_under_a_new_id() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.replace("Y", "X", qty=150, price=51)
    message = desk.sent[-1]
    assert isinstance(message, VenueReplace)
    assert (message.qty, message.price, message.orig_cl_ord_id) == (150, 51, desk.child().cl_ord_id)
    assert message.cl_ord_id not in ("", desk.child().cl_ord_id)


def test_accounts_of_one_desk_keep_their_own_policies() -> None:
    desk = Desk(policies=SUSPEND)
    assert isinstance(desk.state.accounts[BETA], Account)
    desk.working("X", 100)
    desk.working("O", 100, name=BETA)
    desk.halt()
    assert desk.figures()[0] == "SUSPENDED"
    assert desk.order("O", BETA).status is OrderStatus.PENDING_CANCEL


def test_expiry_by_the_venue_counts_before_the_engine_s_own_close() -> None:
    desk = Desk()
    desk.working("X", 100)
    outcome = desk.say(ReportKind.EXPIRED, "XNAS", desk.child().cl_ord_id)
    assert only(outcome, OrderExpired).venue == "XNAS"
    assert not [event for event in desk.close_day().events if isinstance(event, OrderExpired)]
