"""One order over several venues: sweep, re-route, replace and cancel in parts, doubt, kills."""

from decimal import Decimal

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.extended_models import KillScope
from qtinfra.core.models import ChildStatus, OrderType, TimeInForce
from qtinfra.core.reports import (
    ExecType,
    ReportKind,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from qtinfra.venues.simulated.model import VenueSession
from tests.support.builders import (
    ALPHA,
    DAYS,
    FOK,
    GTC,
    IOC,
    STAFF,
    SYMBOL,
    Desk,
    dec,
    kinds,
    quote,
    values,
    venue,
)

pytestmark = pytest.mark.unit

THREE = (venue("XNAS", make="0.002"), venue("XNYS", make="0.001"), venue("BATS"))


def sweeping() -> Desk:
    """Three venues that offer 30 each at 50.00, 50.01 and 50.02."""
    desk = Desk(THREE)
    for mic, price in (("XNAS", "50.00"), ("XNYS", "50.01"), ("BATS", "50.02")):
        desk.market.quotes[mic] = quote(mic, [("49.90", 50)], [(price, 30)])
    return desk


def parts(desk: Desk) -> list[tuple[str, str, int]]:
    return [(child.venue, child.tif.value, int(child.leaves)) for child in desk.children()]


# --- sweep and re-route ---


def test_a_sweep_takes_each_venue_s_display_and_posts_the_rest_where_posting_is_cheapest() -> None:
    desk = sweeping()
    desk.new("X", 120, "50.02")
    assert parts(desk) == [("XNAS", "IOC", 30), ("XNYS", "IOC", 30), ("BATS", "DAY", 60)]
    prices = [message.price for message in desk.sent if isinstance(message, VenueNewOrder)]
    assert prices == [dec("50.00"), dec("50.01"), dec("50.02")], "each leg at the worst price it needs"
    assert desk.order().unallocated == 0


def test_what_a_sweep_leg_could_not_take_goes_elsewhere_and_the_order_fills() -> None:
    desk = sweeping()
    desk.new("X", 90, "50.02")
    first, second, third = desk.children()
    desk.market.quotes["XNAS"] = quote("XNAS", [], [])
    desk.fill(first, 10, "50.00")
    desk.canceled(first, "ioc")
    assert [int(child.leaves) for child in desk.children()] == [0, 30, 30, 20]
    for child in desk.children():
        if child.working:
            desk.fill(child, child.leaves)
    assert desk.figures() == ("FILLED", 90, 90, 0)
    assert not desk.alerts
    assert {second.status, third.status} == {ChildStatus.FILLED}


def test_a_venue_that_refuses_is_not_tried_again_for_that_order() -> None:
    desk = Desk(("XNAS", "XNYS", "BATS"))
    desk.new("X", 100)
    tried = []
    while desk.order().open:
        child = desk.children()[-1]
        tried.append(child.venue)
        desk.reject(child)
    assert sorted(tried) == ["BATS", "XNAS", "XNYS"]
    assert desk.figures() == ("REJECTED", 100, 0, 0)
    assert (desk.last().exec_type, desk.last().code) == (ExecType.REJECTED, "refused_by_venue")
    desk.new("Y", 100)
    assert desk.child("Y").venue == tried[0], "the refusal counts for that order alone"


def test_an_order_that_traded_before_all_venues_refused_the_rest_is_cancelled_with_cum_kept() -> None:
    desk = sweeping()
    desk.new("X", 90, "50.02")
    desk.fill(desk.child(), 30, "50.00")
    for _ in range(4):
        for child in desk.children():
            if child.working:
                desk.reject(child)
    assert desk.figures() == ("CANCELLED", 90, 30, 0)


def test_the_rest_of_an_ioc_order_is_not_sent_on() -> None:
    desk = sweeping()
    desk.new("X", 60, "50.01", tif=IOC)
    first, second = desk.children()
    desk.fill(first, 20, "50.00")
    desk.canceled(first, "ioc")
    desk.fill(second, 30, "50.01")
    assert len(desk.children()) == 2
    assert desk.order().cum_qty == 50


def overfilled() -> Desk:
    """An immediate order for 60 over two venues, of which the first executes 60 instead of 30."""
    desk = sweeping()
    desk.new("X", 60, "50.01", tif=IOC)
    desk.fill(desk.children()[0], 60, "50.00", exec_id="E1")
    assert desk.order().filled
    assert isinstance(desk.sent[-1], VenueCancel), "the other venue holds more than is left"
    return desk


@pytest.mark.parametrize("executed", [0, 30])
def test_an_immediate_order_whose_overfill_is_busted_ends_when_the_last_venue_has_answered(
    executed: int,
) -> None:
    desk = overfilled()
    first, second = desk.children()
    desk.bust(first, "E1")
    assert desk.order().open, "a venue still holds 30 of it"
    if executed:
        desk.fill(second, executed, "50.01")
        desk.cancel_refused(first)
        desk.cancel_refused(second)
    else:
        desk.canceled(second)
    assert desk.figures() == ("CANCELLED", 60, executed, 0)


def test_venues_are_asked_again_to_cancel_what_a_bust_leaves_of_an_immediate_order() -> None:
    desk = overfilled()
    first, second = desk.children()
    desk.cancel_refused(first)
    desk.cancel_refused(second)
    sent = len(desk.sent)
    desk.bust(first, "E1")
    assert [type(message) for message in desk.sent[sent:]] == [VenueCancel]
    desk.canceled(second)
    assert desk.figures() == ("CANCELLED", 60, 0, 0)


def test_an_unsolicited_cancel_of_a_resting_child_is_not_overruled() -> None:
    desk = Desk(("XNAS", "XNYS"))
    desk.working("X", 100)
    desk.canceled(desk.child(), "risk desk of the venue")
    assert desk.figures() == ("CANCELLED", 100, 0, 0)
    assert len(desk.children()) == 1


def test_a_late_fill_of_a_child_whose_rest_was_placed_again_cancels_what_is_too_much() -> None:
    desk = sweeping()
    desk.new("X", 30, "50.00")
    first = desk.child()
    desk.canceled(first, "ioc")
    again = desk.children()[-1]
    assert again is not first
    desk.fill(first, 30, "50.00")
    assert "venues_hold_too_much" in desk.alert_kinds()
    assert isinstance(desk.sent[-1], VenueCancel)
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == 30, "what a venue holds is exposure"
    desk.canceled(again)
    assert desk.figures() == ("FILLED", 30, 30, 0)
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == 0


# --- replace with several children ---


def resting_at_two() -> Desk:
    """100 in all: 30 taken from XNAS is pending as IOC, 70 rest at BATS; both acknowledged."""
    desk = Desk(THREE)
    desk.market.quotes["XNAS"] = quote("XNAS", [], [("50.00", 30)])
    desk.market.quotes["BATS"] = quote("BATS", [], [])
    desk.working("X", 100)
    assert parts(desk) == [("XNAS", "IOC", 30), ("BATS", "DAY", 70)]
    return desk


def test_a_decrease_takes_from_the_youngest_child_first() -> None:
    desk = resting_at_two()
    desk.replace("R", qty=60)
    message = desk.sent[-1]
    assert isinstance(message, VenueReplace)
    assert values(message.venue, message.qty) == ("BATS", 30)
    assert not desk.child(index=0).replace_id
    desk.replaced(desk.child(index=1))
    assert desk.figures("R") == ("ROUTED", 60, 0, 60)
    assert parts(desk) == [("XNAS", "IOC", 30), ("BATS", "DAY", 30)]


def test_a_decrease_that_takes_all_of_a_child_cancels_it_there() -> None:
    desk = resting_at_two()
    desk.replace("R", qty=20)
    cancel, smaller = desk.sent[-2:]
    assert isinstance(cancel, VenueCancel) and cancel.venue == "BATS"
    assert isinstance(smaller, VenueReplace) and values(smaller.venue, smaller.qty) == ("XNAS", 20)
    gone = desk.child(index=1)
    desk.say(ReportKind.CANCELED, "BATS", gone.replace_id, orig_cl_ord_id=gone.cl_ord_id)
    desk.replaced(desk.child(index=0))
    assert desk.figures("R") == ("ROUTED", 20, 0, 20)
    assert parts(desk) == [("XNAS", "IOC", 20), ("BATS", "DAY", 0)]


def test_a_decrease_takes_first_from_what_no_venue_holds() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 30, exec_id="E1")
    desk.bust(desk.child(), "E1")
    sent = len(desk.sent)
    desk.replace("R", qty=75)
    assert len(desk.sent) == sent
    assert desk.figures("R") == ("ROUTED", 75, 0, 75)
    assert values(desk.order().unallocated, desk.child().leaves) == (5, 70)


def test_executions_that_cross_a_decrease_are_taken_from_the_other_venues_by_asking_again() -> None:
    desk = resting_at_two()
    desk.replace("R", qty=60)
    desk.fill(desk.child(index=1), 50)
    desk.replaced(desk.child(index=1))
    again = desk.sent[-1]
    assert isinstance(again, VenueReplace)
    assert values(again.venue, again.qty) == ("XNAS", 10), "60 less the 50 that have traded"
    assert desk.figures()[0] == "PENDING_REPLACE"
    desk.replaced(desk.child(index=0))
    assert desk.figures("R") == ("PARTIALLY_FILLED", 60, 50, 10)


def test_an_increase_is_routed_anew_when_the_order_has_several_children() -> None:
    desk = resting_at_two()
    desk.market.quotes["XNAS"] = quote("XNAS", [], [])
    desk.replace("R", qty=150)
    assert desk.figures("R") == ("ROUTED", 150, 0, 150)
    assert [int(child.qty) for child in desk.children()] == [30, 70, 50]


def test_a_new_price_goes_to_every_child_and_counts_when_all_have_said_yes() -> None:
    desk = resting_at_two()
    desk.replace("R", price=51)
    sent = [values(m.venue, m.price) for m in desk.sent[-2:] if isinstance(m, VenueReplace)]
    assert sent == [("BATS", 51), ("XNAS", 51)]
    desk.replaced(desk.child(index=1))
    assert desk.figures()[0] == "PENDING_REPLACE"
    desk.replaced(desk.child(index=0))
    assert desk.order("R").price == 51
    assert desk.last().exec_type is ExecType.REPLACED


def test_a_new_price_with_more_quantity_is_taken_to_all_and_the_increase_routed_anew() -> None:
    desk = resting_at_two()
    desk.replace("R", qty=150, price=51)
    desk.market.quotes["XNAS"] = quote("XNAS", [], [])
    desk.replaced(desk.child(index=1))
    desk.replaced(desk.child(index=0))
    assert desk.figures("R") == ("ROUTED", 150, 0, 150)
    assert values(desk.children()[-1].qty, desk.children()[-1].price) == (50, 51)


def test_a_replace_that_one_venue_took_and_one_refused_is_a_break_and_told_as_refused() -> None:
    desk = resting_at_two()
    desk.replace("R", price=51)
    desk.replaced(desk.child(index=1))
    desk.replace_refused(desk.child(index=0), "broker_option")
    assert "replace_half_done" in desk.alert_kinds()
    assert desk.last_reject().code == "refused_by_venue"
    assert desk.figures("X") == ("ROUTED", 100, 0, 100)


def test_a_replace_that_came_too_late_for_a_finished_child_counts_for_the_rest() -> None:
    desk = resting_at_two()
    desk.replace("R", price=51)
    desk.fill(desk.child(index=0), 30)
    desk.replaced(desk.child(index=1))
    desk.replace_refused(desk.child(index=0), "too_late")
    assert desk.figures("R") == ("PARTIALLY_FILLED", 100, 30, 70)
    assert desk.order().price == 51


def test_a_child_that_ends_while_its_replace_is_out_does_not_leave_the_order_pending() -> None:
    desk = resting_at_two()
    desk.market.quotes["XNAS"] = quote("XNAS", [], [])
    desk.replace("R", price=51)
    desk.replaced(desk.child(index=1))
    desk.canceled(desk.child(index=0), "ioc")
    assert desk.figures("R") == ("ROUTED", 100, 0, 100)
    assert sum(child.leaves for child in desk.children()) == 100, "its rest was placed again"


def test_a_child_refused_at_birth_while_its_replace_is_out_does_not_leave_the_order_pending() -> None:
    desk = Desk(("XNAS", "XNYS"))
    desk.new("X", 100)
    desk.replace("R", qty=80)
    desk.reject(desk.child())
    assert desk.figures()[0] == "ROUTED"
    assert desk.child(index=1).leaves == 100
    assert any(getattr(r, "code", "") == "too_late" for r in desk.reports)


def test_staff_may_shrink_an_order_below_one_child_s_part() -> None:
    desk = resting_at_two()
    desk.replace("", "X", qty=20, origin=STAFF)
    assert desk.figures() == ("ROUTED", 20, 0, 20)
    assert parts(desk) == [("XNAS", "IOC", 20), ("BATS", "DAY", 0)]


# --- cancel with several children ---


def test_a_cancel_is_over_when_the_last_venue_has_answered() -> None:
    desk = resting_at_two()
    desk.cancel("C")
    assert [m.venue for m in desk.sent[-2:] if isinstance(m, VenueCancel)] == ["XNAS", "BATS"]
    desk.canceled(desk.child(index=0))
    assert desk.figures()[0] == "PENDING_CANCEL"
    desk.canceled(desk.child(index=1))
    assert desk.figures() == ("CANCELLED", 100, 0, 0)
    cancels = [r for r in desk.reports if getattr(r, "exec_type", "") is ExecType.CANCELED]
    assert len(cancels) == 1


def test_one_child_cancels_one_fills_one_refuses_and_the_cancel_is_refused() -> None:
    desk = sweeping()
    desk.working("X", 120, "50.02")
    first, second, third = desk.children()
    desk.cancel("C")
    desk.canceled(first)
    desk.fill(second, 30, "50.01")
    desk.cancel_refused(second, "too_late")
    assert desk.figures()[0] == "PENDING_CANCEL"
    desk.cancel_refused(third, "broker_option")
    assert (desk.last_reject().reason, desk.last_reject().code) == (2, "refused_by_venue")
    assert desk.figures() == ("PARTIALLY_FILLED", 120, 30, 90)
    assert values(desk.order().unallocated, third.leaves) == (30, 60)
    desk.cancel("D")
    desk.canceled(third)
    assert desk.figures() == ("CANCELLED", 120, 30, 0)


def test_one_child_cancels_one_fills_and_the_order_is_canceled() -> None:
    desk = resting_at_two()
    desk.cancel("C")
    desk.fill(desk.child(index=0), 30)
    desk.canceled(desk.child(index=1))
    desk.cancel_refused(desk.child(index=0), "too_late")
    assert desk.figures() == ("CANCELLED", 100, 30, 0)


def test_mass_cancel_asks_for_every_open_order_of_the_account_once() -> None:
    desk = resting_at_two()
    desk.working("Y", 10)
    desk.cancel("C", "Y")
    outcome = desk.run(cmd.MassCancel(ALPHA, "M"))
    assert kinds(outcome) == ["CancelRequested"]
    assert desk.run(cmd.MassCancel(ALPHA, "M2", "NOPE")).entry is None


def test_an_increase_that_a_cancel_overtook_is_not_sent_out() -> None:
    desk = resting_at_two()
    desk.replace("R", qty=150, price=51)
    desk.cancel("C")
    sent = len(desk.sent)
    desk.replaced(desk.child(index=1))
    desk.replaced(desk.child(index=0))
    assert len(desk.sent) == sent
    desk.canceled(desk.child(index=0))
    desk.canceled(desk.child(index=1))
    assert desk.figures("R") == ("CANCELLED", 150, 0, 0)


def test_a_venue_that_replaces_on_a_request_already_answered_is_a_break() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.replace("R", qty=150)
    asked, orig = desk.child().replace_id, desk.child().cl_ord_id
    desk.replace_refused(desk.child(), "broker_option")
    desk.say(ReportKind.REPLACED, "XNAS", asked, orig_cl_ord_id=orig)
    assert desk.alert_kinds() == ["unexpected_replace"]
    assert desk.figures() == ("ROUTED", 100, 0, 100)


def test_a_reject_of_an_order_that_was_accepted_is_a_break_and_a_repeated_one_is_not() -> None:
    desk = Desk()
    desk.new("X", 100)
    desk.reject(desk.child())
    desk.reject(desk.child())
    assert not desk.alerts
    desk.working("Y", 100)
    desk.reject(desk.child("Y"))
    assert desk.alert_kinds() == ["late_reject"]
    assert desk.figures("Y") == ("ROUTED", 100, 0, 100)


# --- doubt ---


def test_only_what_is_in_flight_is_in_doubt_when_a_line_dies() -> None:
    desk = Desk(("XNAS", "XNYS"))
    desk.working("RESTS", 10)
    desk.new("SENT", 10)
    desk.working("CANCELLING", 10)
    desk.cancel("C", "CANCELLING")
    desk.working("REPLACING", 10)
    desk.replace("R", "REPLACING", qty=20)
    desk.disconnect("XNAS")
    doubtful = {n: desk.child(n).status for n in ("RESTS", "SENT", "CANCELLING", "REPLACING")}
    assert doubtful == {
        "RESTS": ChildStatus.LIVE,
        "SENT": ChildStatus.UNKNOWN,
        "CANCELLING": ChildStatus.UNKNOWN,
        "REPLACING": ChildStatus.UNKNOWN,
    }
    assert desk.alert_kinds() == ["outcome_unknown"] * 3
    desk.connect("XNAS")
    asked = [m.cl_ord_id for m in desk.sent if isinstance(m, VenueStatusRequest)]
    assert asked == [desk.child(n).cl_ord_id for n in ("SENT", "CANCELLING", "REPLACING")]


def test_a_lost_cancel_goes_out_again_under_its_own_id() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.cancel("C")
    lost = desk.sent[-1]
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.status(desk.child(), live=True)
    assert desk.sent[-1] == lost
    desk.canceled(desk.child())
    assert desk.figures()[0] == "CANCELLED"


@pytest.mark.parametrize("news", ["ack", "fill"])
def test_resent_news_do_not_hide_that_a_cancel_or_replace_was_lost(news: str) -> None:
    desk = Desk()
    for name in ("X", "Y"):
        desk.new(name, 100)
    desk.cancel("C", "X")
    desk.replace("R", "Y", qty=50)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    for name in ("X", "Y"):
        if news == "ack":
            desk.ack(desk.child(name))
        else:
            desk.fill(desk.child(name), 10)
        cum = desk.child(name).cum
        desk.status(desk.child(name), live=True, cum=cum, leaves=100 - cum)
    assert isinstance(desk.sent[-1], VenueCancel)
    assert desk.last_reject().cl_ord_id == "R"
    assert desk.order("Y").pending_replace is None


def test_a_cancel_lost_on_an_order_that_filled_meanwhile_does_not_pend_for_ever() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.cancel("C")
    desk.fill(desk.child(), 100)
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.status(desk.child(), live=False, cum=100)
    assert desk.figures() == ("FILLED", 100, 100, 0)
    assert desk.last_reject().reason == 0
    assert desk.child().status is ChildStatus.FILLED


def test_a_lost_replace_that_was_to_open_a_filled_order_again_is_refused_when_the_venue_is_back() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 100)
    desk.replace("R", qty=150)
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == 50
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.status(desk.child(), live=False, cum=100)
    assert desk.figures() == ("FILLED", 100, 100, 0)
    assert desk.last_reject().cl_ord_id == "R"
    assert desk.state.open_quantity(ALPHA, SYMBOL).buy == 0


def test_an_order_is_filled_though_a_silent_venue_holds_a_doubtful_part() -> None:
    desk = resting_at_two()
    desk.disconnect("BATS")
    desk.cancel("C")
    assert desk.child(index=1).status is ChildStatus.UNKNOWN
    desk.canceled(desk.child(index=0))
    assert desk.figures()[0] == "PENDING_CANCEL"
    desk.connect("BATS")
    desk.status(desk.child(index=1), live=False)
    assert desk.figures()[0] == "CANCELLED"


def test_a_kill_at_one_venue_cancels_the_whole_order_there_and_elsewhere() -> None:
    desk = resting_at_two()
    desk.kill(KillScope.VENUE, "BATS")
    assert len([m for m in desk.sent if isinstance(m, VenueCancel)]) == 2
    desk.new("Y", 10)
    assert desk.child("Y").venue != "BATS"


def test_a_venue_that_lost_an_order_it_had_acknowledged_is_a_break() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.cancel("C")
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    desk.unknown_order(desk.child())
    assert "order_lost_by_venue" in desk.alert_kinds()
    assert desk.figures()[0] == "PENDING_CANCEL", "still counted, never called cancelled"


def test_a_price_guarantee_on_an_order_that_is_over_is_ignored() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.cancel("C")
    desk.canceled(desk.child())
    assert kinds(desk.say(ReportKind.STOPPED, "XNAS", desk.child().cl_ord_id, qty=dec(10))) == [
        "ReportIgnored"
    ]
    assert desk.figures()[0] == "CANCELLED"


def test_an_order_is_placed_again_a_bounded_number_of_times() -> None:
    desk = sweeping()
    desk.new("X", 30, "50.02")
    while desk.order().open:
        desk.canceled(desk.children()[-1], "ioc")
    assert len(desk.children()) == 16
    assert desk.figures()[0] == "CANCELLED"


# --- 12 and 13 on the simulated venue ---


class Exchange:
    """The simulated venue wired to a desk, with `displayed` on offer at 50."""

    def __init__(self, displayed: int) -> None:
        self.desk = Desk()
        self.model = MatchingVenue("XNAS", [Listing(SYMBOL)], DAYS[0])
        self.session = VenueSession(self.model, "S1")
        if displayed:
            self.model.background_add(SYMBOL, BookOrder(1, False, displayed, 5_000, True), 1)
        self._sent = 0

    def new(self, qty: int, tif: TimeInForce, min_qty: int = 0, price: int | None = 50) -> None:
        kind = OrderType.LIMIT if price is not None else OrderType.MARKET
        self.desk.new("X", qty, price, tif=tif, min_qty=Decimal(min_qty), order_type=kind)
        self.flow()

    def flow(self) -> None:
        """Carry messages both ways until nothing moves."""
        while self._sent < len(self.desk.sent):
            message = self.desk.sent[self._sent]
            self._sent += 1
            self.report(self.session.submit(message, 2))

    def report(self, reports: list[VenueReport]) -> None:
        for report in reports:
            self.desk.run(cmd.RecordVenueReport(report))


def test_behaviour_12_fok_for_more_than_is_there_does_not_trade_and_is_canceled() -> None:
    exchange = Exchange(900)
    exchange.new(1_000, FOK)
    assert exchange.desk.figures() == ("CANCELLED", 1_000, 0, 0)
    assert exchange.desk.last().exec_type is ExecType.CANCELED


def test_behaviour_12_fok_for_what_is_there_fills() -> None:
    exchange = Exchange(1_000)
    exchange.new(1_000, FOK)
    assert exchange.desk.figures() == ("FILLED", 1_000, 1_000, 0)


def test_behaviour_12_ioc_takes_what_is_there_and_the_rest_is_canceled() -> None:
    exchange = Exchange(900)
    exchange.new(1_000, IOC)
    assert exchange.desk.figures() == ("CANCELLED", 1_000, 900, 0)


@pytest.mark.parametrize(("displayed", "traded"), [(400, 0), (499, 0), (500, 500), (600, 600)])
def test_behaviour_13_ioc_with_a_minimum_trades_at_least_that_or_nothing(displayed: int, traded: int) -> None:
    exchange = Exchange(displayed)
    exchange.new(1_000, IOC, min_qty=500)
    assert exchange.desk.figures() == ("CANCELLED", 1_000, traded, 0)


def test_a_market_order_takes_the_book_and_ends() -> None:
    exchange = Exchange(900)
    exchange.new(1_000, TimeInForce.DAY, price=None)
    assert exchange.desk.figures() == ("CANCELLED", 1_000, 900, 0)


def test_a_resting_order_lives_through_replace_fill_bust_and_the_close_at_the_simulated_venue() -> None:
    exchange = Exchange(0)
    desk = exchange.desk
    exchange.new(100, GTC)
    desk.replace("R", "X", qty=80)
    exchange.flow()
    assert desk.figures("R") == ("ROUTED", 80, 0, 80)
    trades = exchange.model.background_add(SYMBOL, BookOrder(7, False, 30, 5_000, True), 3)
    exchange.report(exchange.session.stamp(trades))
    assert desk.figures("R") == ("PARTIALLY_FILLED", 80, 30, 50)
    exec_id = desk.state.executions[desk.order().executions[0]].exec_id
    exchange.report(exchange.session.stamp(exchange.model.bust(exec_id)))
    assert desk.figures("R") == ("ROUTED", 80, 0, 80)
    assert desk.order().unallocated == 30
    exchange.report(exchange.session.stamp(exchange.model.end_day(4)))
    desk.close_day()
    assert desk.figures("R")[0] == "DONE_FOR_DAY"
    desk.cancel("C", "R")
    exchange.flow()
    assert desk.figures("R") == ("CANCELLED", 80, 0, 0)
