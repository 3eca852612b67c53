"""Behaviour 26 for orders that hang together: OCO and bracket lists."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.events import CommandRefused, OrderRejected
from qtinfra.core.extended_models import AckPolicy, LimitRule, Policies
from qtinfra.core.models import ChildStatus, OrderSide, OrderStatus, OrderType, TimeInForce
from qtinfra.core.reports import ExecType, VenueCancel, VenueReplace
from qtinfra.core.special import Link, SpecialTerms
from qtinfra.engine.kernel import Outcome
from tests.support.builders import BUY, GTC, SELL, SYMBOL, Desk, Number, dec, kinds, quote, submit
from tests.support.facts import facts

pytestmark = pytest.mark.unit

STOP = OrderType.STOP


def leg(
    cl_ord_id: str,
    price: Number | None = None,
    stop: Number | None = None,
    qty: Number = 100,
    side: OrderSide = SELL,
    **more: Any,
) -> cmd.SubmitOrder:
    """A limit order, or a stop."""
    if stop is None:
        return submit(cl_ord_id, qty, price, side=side, tif=GTC, **more)
    terms = SpecialTerms(stop_px=dec(stop))
    kind = STOP if price is None else OrderType.STOP_LIMIT
    return submit(cl_ord_id, qty, price, side=side, tif=GTC, order_type=kind, special=terms, **more)


def market(desk: Desk, bid: Number, ask: Number) -> Outcome:
    desk.market.quotes["XNAS"] = quote("XNAS", [(bid, 1_000)], [(ask, 1_000)])
    return desk.run(cmd.MarketMoved(SYMBOL))


def oco(desk: Desk, *orders: cmd.SubmitOrder) -> Outcome:
    market(desk, 100, 101)
    return desk.run(cmd.SubmitList(Link.OCO, orders))


def bracket(desk: Desk, entry: cmd.SubmitOrder | None = None) -> Outcome:
    """Buy 100 at 101; take profit at 110, stop the loss at 95."""
    market(desk, 100, 101)
    first = entry if entry is not None else leg("E", 101, side=BUY)
    return desk.run(cmd.SubmitList(Link.BRACKET, (first, leg("P", 110), leg("L", stop=95))))


def long_desk(**terms: Any) -> Desk:
    """A desk whose account owns 100 shares."""
    desk = Desk(**terms)
    desk.working("OWN", 100, 100)
    desk.fill(desk.child("OWN"), 100, 100)
    return desk


# --- OCO ---


def test_behaviour_26_an_execution_of_one_oco_order_cancels_the_other() -> None:
    desk = long_desk()
    oco(desk, leg("P", 110), leg("L", stop=95))
    desk.ack(desk.child("P"))
    outcome = desk.fill(desk.child("P"), 100, 110)
    assert kinds(outcome) == ["OrderFilled", "OrderCancelled"]
    assert (desk.figures("P")[0], desk.figures("L")) == ("FILLED", ("CANCELLED", 100, 0, 0))
    assert market(desk, 90, 91).entry is None


def test_behaviour_26_a_partial_execution_reduces_the_other_by_as_much() -> None:
    desk = long_desk()
    oco(desk, leg("P", 110), leg("L", stop=95))
    desk.ack(desk.child("P"))
    desk.fill(desk.child("P"), 30, 110)
    assert desk.figures("L") == ("VALIDATED", 70, 0, 70)
    assert (desk.last().cl_ord_id, desk.last().exec_type) == ("L", ExecType.RESTATED)
    market(desk, 94, 95)
    assert [child.qty for child in desk.children("L")] == [70]


def test_behaviour_26_a_rival_at_a_venue_is_reduced_and_cancelled_there() -> None:
    desk = Desk()
    oco(desk, leg("A", 99, side=BUY), leg("B", 98, side=BUY))
    for name in "AB":
        desk.ack(desk.child(name))
    desk.fill(desk.child("A"), 40, 99)
    sent = desk.sent[-1]
    assert isinstance(sent, VenueReplace)
    assert facts(sent.qty, desk.order("B").pending_replace is not None) == (60, True)
    desk.fill(desk.child("A"), 20, 99)  # while the first reduction is out
    desk.replaced(desk.child("B"))
    assert facts(desk.order("B").qty, desk.child("B").replace_qty) == (60, 40)
    desk.replaced(desk.child("B"))
    assert desk.figures("B") == ("ROUTED", 40, 0, 40)
    desk.fill(desk.child("A"), 40, 99)
    assert isinstance(desk.sent[-1], VenueCancel)
    desk.canceled(desk.child("B"))
    assert (desk.figures("B")[0], desk.state.breaks) == ("CANCELLED", 0)


def test_behaviour_26_an_execution_in_flight_beyond_the_list_is_booked_and_raises_a_break() -> None:
    desk = Desk()
    oco(desk, leg("A", 99, side=BUY), leg("B", 98, side=BUY))
    for name in "AB":
        desk.ack(desk.child(name))
    desk.fill(desk.child("A"), 100, 99)
    desk.fill(desk.child("B"), 10, 98)
    assert facts(desk.order("B").cum_qty, desk.alert_kinds()) == (10, ["list_overfill"])
    desk.canceled(desk.child("B"))
    assert desk.figures("B") == ("CANCELLED", 100, 10, 0)


def test_cancelling_one_oco_order_leaves_the_other() -> None:
    desk = long_desk()
    oco(desk, leg("P", 110), leg("L", stop=95))
    desk.cancel("C", "L")
    desk.ack(desk.child("P"))
    assert (desk.figures("L")[0], desk.figures("P")) == ("CANCELLED", ("ROUTED", 100, 0, 100))


# --- brackets ---


def test_behaviour_26_the_exits_of_a_bracket_rest_unplaced_until_the_entry_executes() -> None:
    desk = Desk()
    bracket(desk)
    assert [len(desk.children(name)) for name in "EPL"] == [1, 0, 0]
    assert market(desk, 90, 91).entry is None
    desk.ack(desk.child("E"))
    market(desk, 100, 101)
    desk.fill(desk.child("E"), 100, 101)
    assert facts(desk.child("P").qty, desk.state.watched[SYMBOL]) == (100, {desk.order("L").order_id: None})
    desk.ack(desk.child("P"))
    desk.fill(desk.child("P"), 100, 110)
    assert [desk.figures(name)[0] for name in "EPL"] == ["FILLED", "FILLED", "CANCELLED"]


def test_behaviour_26_exits_live_for_what_the_entry_has_executed() -> None:
    desk = Desk()
    bracket(desk)
    desk.ack(desk.child("E"))
    desk.fill(desk.child("E"), 40, 101)
    assert [child.qty for child in desk.children("P")] == [40]
    desk.ack(desk.child("P"))
    desk.fill(desk.child("E"), 60, 101)
    assert [child.qty for child in desk.children("P")] == [40, 60]
    market(desk, 94, 95)
    assert [child.qty for child in desk.children("L")] == [100]


def test_behaviour_26_a_stop_that_triggers_early_sends_on_what_the_entry_executes_later() -> None:
    desk = Desk()
    bracket(desk)
    desk.ack(desk.child("E"))
    desk.fill(desk.child("E"), 40, 101)
    market(desk, 94, 95)
    desk.fill(desk.child("E"), 60, 101)
    assert [child.qty for child in desk.children("L")] == [40, 60]


def test_behaviour_26_exits_follow_an_entry_that_ends_early() -> None:
    desk = Desk()
    bracket(desk)
    desk.ack(desk.child("E"))
    desk.fill(desk.child("E"), 40, 101)
    desk.canceled(desk.child("E"))
    assert [desk.order(name).qty for name in "EPL"] == [100, 40, 40]
    empty = Desk()
    bracket(empty)
    empty.cancel("C", "E")
    empty.canceled(empty.child("E"))
    assert [empty.figures(name)[0] for name in "EPL"] == ["CANCELLED"] * 3


def test_exits_add_nothing_to_risk_that_the_entry_has_not() -> None:
    desk = Desk()
    desk.limit(LimitRule.POSITION_LIMIT, 100)
    bracket(desk)
    assert [desk.order(name).status for name in "PL"] == [OrderStatus.VALIDATED] * 2


# --- all or nothing ---


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("list_symbol", leg("B", 111, symbol="OTHER")),
        ("list_quantity", leg("B", 111, qty=50)),
        ("tick_size", leg("B", "111.001")),
        ("stop_px_required", leg("B", order_type=STOP, special=SpecialTerms())),
        ("link_not_allowed", leg("B", 111, special=SpecialTerms(link=Link.OCO))),
    ],
)
def test_one_wrong_order_refuses_the_whole_list(code: str, wrong: cmd.SubmitOrder) -> None:
    desk = long_desk()
    sent = len(desk.sent)
    outcome = oco(desk, leg("A", 110), wrong)
    refused = [event for event in outcome.events if isinstance(event, OrderRejected)]
    assert [event.code for event in refused] == ["list_refused", code]
    assert (len(desk.sent), desk.state.lists, desk.state.specials) == (sent, {}, {})


@pytest.mark.parametrize(
    ("code", "orders"),
    [
        ("list_length", ()),
        ("list_length", (leg("A", 110),)),
        ("duplicate_client_order_id", (leg("A", 110), leg("A", 111))),
        ("list_account", (leg("A", 110), leg("B", 110, name="beta"))),
        ("unknown_account", (leg("A", 110, name="none"), leg("B", 110, name="none"))),
    ],
)
def test_a_list_that_is_none_is_refused(code: str, orders: tuple[cmd.SubmitOrder, ...]) -> None:
    outcome = oco(Desk(), *orders)
    assert [event.code for event in outcome.events if isinstance(event, CommandRefused)] == [code]


def test_exits_on_the_side_of_the_entry_and_orders_that_cannot_stand_are_refused() -> None:
    desk = Desk()
    bracket(desk, leg("E", 101, side=SELL))
    assert desk.order("P").status is OrderStatus.REJECTED
    oco(desk, leg("A", 99, side=BUY), submit("B", 100, 99, tif=TimeInForce.IOC))
    assert desk.last().code == "list_time_in_force"


def test_behaviour_07_the_same_list_again_gets_the_first_answers() -> None:
    desk = Desk(policies=Policies(ack=AckPolicy.ON_ACCEPT))
    bracket(desk)
    assert bracket(desk).entry is None
    oco(desk, leg("P", 112), leg("Q", 113))
    assert [report.code for report in desk.reports[-2:] if hasattr(report, "code")] == [
        "duplicate_client_order_id",
        "list_refused",
    ]


def test_an_order_says_by_itself_that_it_is_linked_is_refused() -> None:
    desk = Desk()
    desk.run(leg("X", 99, side=BUY, special=SpecialTerms(link=Link.OCO, link_id="mine")))
    assert desk.last().code == "link_not_allowed"


# --- properties ---

STEPS = st.lists(
    st.tuples(st.sampled_from(["fill", "ack", "move", "replaced", "canceled", "cancel"]), st.integers(0, 60)),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_a_bracket_keeps_every_invariant_whatever_comes(steps: list[tuple[str, int]]) -> None:
    desk = Desk()
    bracket(desk)
    for kind, number in steps:
        children = [child for name in "EPL" for child in desk.children(name) if child.working]
        if kind == "replaced":
            children = [child for child in children if child.replace_id]
        elif kind == "ack":
            children = [child for child in children if child.status is ChildStatus.SENT]
        if kind == "move":
            market(desk, 70 + number, 71 + number)
        elif kind == "cancel":
            desk.cancel(f"C{len(desk.entries)}", "EPL"[number % 3])
        elif children:
            child = children[number % len(children)]
            if kind == "fill":
                desk.fill(child, min(dec(number + 1), child.leaves), 100)
            else:
                getattr(desk, kind)(child)
    exits = desk.order("P").cum_qty + desk.order("L").cum_qty
    assert exits <= desk.order("E").cum_qty or desk.state.breaks
