"""The numbered behaviours 1 to 15 of an order's life, one test per rule, with a scripted venue."""

from decimal import Decimal

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.events import DuplicateRefused
from qtinfra.core.extended_models import (
    ChainedReplace,
    Policies,
)
from qtinfra.core.models import OrderStatus, TimeInForce
from qtinfra.core.reports import (
    CXL_ALREADY_PENDING,
    CXL_TOO_LATE,
    CXL_UNKNOWN_ORDER,
    ExecType,
    ReportKind,
)
from tests.support.builders import (
    ALPHA,
    BETA,
    FOK,
    GTC,
    IOC,
    SYMBOL,
    Desk,
    dec,
    kinds,
    only,
    submit,
    values,
)

pytestmark = pytest.mark.unit

QUEUE = Policies(chained_replace=ChainedReplace.QUEUE)


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
        assert values(report.order_qty, report.cum_qty) == (10_000, cum)
    desk.replaced(desk.child())
    report = desk.last()
    assert (report.exec_type, report.status) == (ExecType.REPLACED, OrderStatus.PARTIALLY_FILLED)
    assert values(report.order_qty, report.cum_qty, report.leaves_qty) == (8_000, 1_600, 6_400)
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
    assert values(desk.figures()[0], desk.order().avg_px) == ("FILLED", 109)
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
    assert values(desk.figures()[0], desk.order().avg_px) == ("FILLED", 102)
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
    assert values(report.order_qty, report.cum_qty, report.leaves_qty) == (10_000, 2_000, 8_000)
    order = desk.order()
    assert values(order.day_order_qty, order.day_cum_qty) == (8_000, 0)
    desk.fill(desk.child(), 500)
    assert (order := desk.order()).day_cum_qty == 500 and order.cum_qty == 2_500


def test_behaviour_14_an_execution_of_yesterday_that_is_reported_today_is_not_counted_today() -> None:
    desk = Desk()
    desk.working("X", 10_000, tif=GTC)
    desk.next_day()
    desk.fill(desk.child(), 300, trade_date="2024-07-08")
    assert values(desk.order().day_cum_qty, desk.order().day_order_qty) == (0, 9_700)


def test_behaviour_14_a_gtc_order_filled_while_done_for_the_day_is_filled_the_next_morning() -> None:
    desk = Desk()
    desk.working("X", 100, tif=GTC)
    desk.close_day()
    desk.fill(desk.child(), 100)
    assert desk.figures()[0] == "DONE_FOR_DAY"
    desk.next_day()
    assert desk.figures() == ("FILLED", 100, 100, 0)


def test_behaviour_14_a_gtc_order_that_its_venue_refuses_after_the_close_is_rejected() -> None:
    """The status table (FIX order of precedence): a refusal that was late ends the order, not the shard."""
    desk = Desk()
    desk.run(submit("X", 100, tif=GTC))
    desk.close_day()
    desk.say(ReportKind.REJECT, "XNAS", desk.child().cl_ord_id, reason="closed")
    assert (desk.last().exec_type, desk.last().ord_status) == (ExecType.REJECTED, "8")
    assert desk.figures() == ("REJECTED", 100, 0, 0)


def test_behaviour_15_a_two_for_one_split_doubles_quantities_and_halves_prices() -> None:
    desk = Desk()
    desk.working("X", 300, tif=GTC)
    desk.fill(desk.child(), 100, 50)
    desk.say(ReportKind.RESTATED, "XNAS", desk.child().cl_ord_id, qty=dec(600), reason="corporate_action")
    assert desk.figures() == ("PARTIALLY_FILLED", 600, 200, 400)
    assert values(desk.order().price, desk.order().avg_px, desk.child().price) == (25, 25, 25)
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
