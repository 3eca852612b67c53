"""The numbered behaviours 18 to 25: controls, kills, halts, overfills and doubt, one test per rule."""

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.events import OrderExpired, OrderFilled
from qtinfra.core.extended_models import (
    Account,
    AckPolicy,
    HaltPolicy,
    KillScope,
    LimitRule,
    Policies,
)
from qtinfra.core.models import ChildStatus, OrderStatus
from qtinfra.core.reports import (
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
    SELL,
    STAFF,
    SYMBOL,
    Desk,
    dec,
    kinds,
    only,
    values,
)

pytestmark = pytest.mark.unit

SUSPEND = Policies(halt=HaltPolicy.SUSPEND)


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
    assert values(desk.child().qty, desk.child().leaves, len(desk.sent)) == (60, 60, sent)


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
    assert values(message.qty, message.price, message.orig_cl_ord_id) == (150, 51, desk.child().cl_ord_id)
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
