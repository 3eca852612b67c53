"""Behaviours 23, 26 and 27 for orders that the engine holds: stops, trailing stops, icebergs, pegs."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.events import OrderCancelled, OrderRejected
from qtinfra.core.extended_models import AckPolicy, HaltPolicy, KillScope, LimitRule, Policies
from qtinfra.core.market import NO_MARKET
from qtinfra.core.models import ChildStatus, OrderSide, OrderStatus, OrderType, TimeInForce
from qtinfra.core.reports import ExecType, VenueNewOrder, VenueReplace
from qtinfra.core.special import Peg, SpecialTerms
from qtinfra.core.special_events import OrderTriggered, PegRepriced, WatermarkMoved
from qtinfra.engine.kernel import Outcome
from tests.support.builders import (
    BUY,
    DAY,
    GTC,
    IOC,
    SELL,
    SYMBOL,
    Desk,
    Number,
    dec,
    kinds,
    only,
    quote,
    submit,
    venue,
)
from tests.support.facts import facts

pytestmark = pytest.mark.unit

STOP, STOP_LIMIT = OrderType.STOP, OrderType.STOP_LIMIT
TRAIL, ICEBERG, PEGGED = OrderType.TRAILING_STOP, OrderType.ICEBERG, OrderType.PEGGED


def special(
    cl_ord_id: str,
    kind: OrderType,
    price: Number | None = None,
    qty: Number = 100,
    *,
    side: OrderSide = BUY,
    tif: TimeInForce = DAY,
    **terms: Any,
) -> cmd.SubmitOrder:
    """An order with special terms; numbers are given as text or integers."""
    numbers = ("stop_px", "trail", "display_qty", "peg_offset")
    exact: dict[str, Any] = {name: dec(value) if name in numbers else value for name, value in terms.items()}
    return submit(cl_ord_id, qty, price, side=side, tif=tif, order_type=kind, special=SpecialTerms(**exact))


def quotes(desk: Desk, bid: Number, ask: Number, mic: str = "XNAS", live: bool = True) -> None:
    desk.market.quotes[mic] = quote(mic, [(bid, 1_000)], [(ask, 1_000)], live)


def moved(desk: Desk, bid: Number, ask: Number, last: Number | None = None, live: bool = True) -> Outcome:
    """The market moves and the engine is told."""
    quotes(desk, bid, ask, live=live)
    return desk.run(cmd.MarketMoved(SYMBOL, None if last is None else dec(last)))


def held(order: cmd.SubmitOrder, bid: Number = 100, ask: Number = 101, **desk_terms: Any) -> Desk:
    """A desk that has taken the order under these quotes."""
    desk = Desk(**desk_terms)
    quotes(desk, bid, ask)
    desk.run(order)
    return desk


def new_terms(
    desk: Desk, cl_ord_id: str, orig: str = "X", qty: Number | None = None, **terms: Any
) -> Outcome:
    exact: dict[str, Any] = {name: dec(value) for name, value in terms.items()}
    asked = SpecialTerms(**exact)
    return desk.run(
        cmd.ReplaceOrder("alpha", cl_ord_id, orig, None if qty is None else dec(qty), special=asked)
    )


# --- 26: stops ---


@pytest.mark.parametrize(
    ("side", "stop", "before", "after", "by"),
    [
        (BUY, 105, (103, 104), (104, 105), "ask"),
        (SELL, 95, (96, 97), (95, 96), "bid"),
    ],
)
def test_behaviour_26_a_stop_is_held_until_the_quote_reaches_it_and_then_goes_out_as_a_market_order(
    side: OrderSide, stop: int, before: tuple[int, int], after: tuple[int, int], by: str
) -> None:
    desk = held(special("X", STOP, side=side, stop_px=stop))
    assert (desk.figures(), desk.sent) == (("VALIDATED", 100, 0, 100), [])
    assert moved(desk, *before).entry is None
    outcome = moved(desk, *after)
    triggered = only(outcome, OrderTriggered)
    assert (triggered.stop_px, triggered.px, triggered.by) == (stop, stop, by)
    assert kinds(outcome) == ["OrderTriggered", "OrderRouted"]
    sent = desk.sent[-1]
    assert isinstance(sent, VenueNewOrder)
    assert facts(sent.order_type, sent.qty, sent.price, sent.tif) == (OrderType.MARKET, 100, None, DAY)
    desk.ack(desk.child())
    desk.fill(desk.child(), 100, stop)
    assert desk.figures() == ("FILLED", 100, 100, 0)
    assert not desk.state.watched


def test_behaviour_26_a_trade_at_the_stop_triggers_it_and_the_record_says_so() -> None:
    desk = held(special("X", STOP, side=SELL, stop_px=95))
    assert moved(desk, 96, 97, last="95.01").entry is None
    assert only(moved(desk, 96, 97, last=95), OrderTriggered).by == "last"
    assert [r.text for r in desk.reports if r.code == "triggered"] == ["triggered at 95: last 95"]


def test_behaviour_26_a_stop_that_the_market_has_passed_already_goes_out_at_once() -> None:
    desk = held(special("X", STOP, stop_px=101))
    assert desk.figures()[0] == "ROUTED"
    assert kinds_of_last(desk) == ["OrderAccepted", "OrderHeld", "OrderTriggered", "OrderRouted"]


def kinds_of_last(desk: Desk) -> list[str]:
    return [type(event).__name__ for event in desk.entries[-1].events]


def test_behaviour_26_a_stop_limit_becomes_a_limit_order_at_its_limit() -> None:
    desk = held(special("X", STOP_LIMIT, 106, stop_px=105, tif=GTC))
    moved(desk, 104, 105)
    sent = desk.sent[-1]
    assert isinstance(sent, VenueNewOrder)
    assert facts(sent.order_type, sent.price, sent.tif, sent.stop_px) == (OrderType.LIMIT, 106, GTC, None)


def test_behaviour_26_a_venue_that_takes_stops_gets_the_stop_itself() -> None:
    takes = msgspec.structs.replace(venue("XNAS"), order_types=("LIMIT", "MARKET", "STOP"))
    desk = held(special("X", STOP, stop_px=105, tif=GTC), venues=[takes])
    sent = desk.sent[-1]
    assert isinstance(sent, VenueNewOrder)
    assert facts(sent.order_type, sent.stop_px, sent.tif) == (STOP, 105, GTC)
    assert moved(desk, 106, 107).entry is None
    desk.reject(desk.child())
    assert desk.figures()[0] == "REJECTED"


def test_behaviour_26_a_held_order_is_new_when_the_policy_says_so() -> None:
    for ack, exec_type in ((AckPolicy.ON_ACCEPT, ExecType.NEW), (AckPolicy.ON_VENUE, ExecType.PENDING_NEW)):
        desk = held(special("X", STOP, stop_px=105), policies=Policies(ack=ack))
        assert desk.last().exec_type is exec_type


def test_behaviour_26_a_held_order_is_cancelled_and_replaced_without_any_venue() -> None:
    desk = held(special("X", STOP, stop_px=105))
    new_terms(desk, "Y", stop_px=110, qty=200)
    assert facts(desk.last().exec_type, desk.last().order_qty) == (ExecType.REPLACED, 200)
    assert moved(desk, 105, 106).entry is None
    desk.cancel("C", "Y")
    assert (desk.last().exec_type, desk.sent, desk.state.watched) == (ExecType.CANCELED, [], {})


def test_a_new_stop_price_that_the_market_has_reached_triggers_at_once() -> None:
    desk = held(special("X", STOP, stop_px=105))
    new_terms(desk, "Y", stop_px=101)
    assert desk.figures("Y")[0] == "ROUTED"


def test_the_stop_price_of_a_triggered_stop_cannot_change() -> None:
    desk = held(special("X", STOP, stop_px=101))
    new_terms(desk, "Y", stop_px=110)
    assert (desk.last_reject().code, desk.last_reject().reason) == ("too_late", 0)


def test_a_repeated_stop_is_answered_with_the_first_and_other_terms_are_refused() -> None:
    order = special("X", STOP, stop_px=105)
    desk = held(order)
    new_terms(desk, "Y", stop_px=106)
    assert desk.run(order).entry is None
    desk.run(special("X", STOP, stop_px=106))
    assert desk.last().code == "duplicate_client_order_id"


def test_behaviour_19_exposure_of_a_held_order_counts_from_acceptance_and_the_limit_itself_passes() -> None:
    desk = held(special("X", STOP, stop_px=105))
    assert desk.state.open_quantity("alpha", SYMBOL).buy == 100
    desk.limit(LimitRule.POSITION_LIMIT, 150)
    desk.run(special("Y", STOP, qty=51, stop_px=105))
    assert desk.last().code == "position_limit"
    desk.run(special("Z", STOP, qty=50, stop_px=105))
    assert desk.figures("Z")[0] == "VALIDATED"


def test_a_stop_limit_is_collared_from_its_stop_price() -> None:
    desk = Desk()
    quotes(desk, 100, 101)
    desk.limit(LimitRule.PRICE_COLLAR, "0.01")
    desk.run(special("X", STOP_LIMIT, "121.20", stop_px=120))
    desk.run(special("Y", STOP_LIMIT, "121.21", stop_px=120))
    assert (desk.order("X").status, desk.last().code) == (OrderStatus.VALIDATED, "price_collar")


def test_behaviour_18_permissions_bind_again_when_a_stop_triggers() -> None:
    desk = held(special("X", STOP, stop_px=105))
    desk.run(cmd.RestrictSymbol(SYMBOL))
    outcome = moved(desk, 105, 106)
    assert kinds(outcome) == ["OrderTriggered", "OrderCancelled"]
    assert "restricted" in only(outcome, OrderCancelled).reason
    assert desk.sent == []


def test_behaviour_20_a_kill_switch_cancels_held_orders_at_once() -> None:
    desk = held(special("X", STOP, stop_px=105))
    desk.kill(KillScope.FIRM)
    assert desk.figures() == ("CANCELLED", 100, 0, 0)


def test_a_stop_waits_while_no_venue_could_take_it_and_goes_when_one_is_back() -> None:
    desk = held(special("X", STOP, stop_px=105))
    desk.disconnect("XNAS")
    assert moved(desk, 106, 107).entry is None
    desk.connect("XNAS")
    assert desk.figures()[0] == "ROUTED"


def test_behaviour_27_a_quote_of_a_feed_that_is_not_live_triggers_nothing() -> None:
    desk = held(special("X", STOP, stop_px=105))
    assert moved(desk, 110, 111, live=False).entry is None
    assert desk.figures()[0] == "VALIDATED"


# --- 23: halts ---


def test_behaviour_23_nothing_triggers_in_a_halt_and_afterwards_the_market_as_it_stands_decides() -> None:
    desk = held(special("X", STOP, stop_px=105), policies=Policies(halt=HaltPolicy.SUSPEND))
    desk.halt()
    assert desk.figures()[0] == "SUSPENDED"
    assert moved(desk, 110, 111, last=110).entry is None
    quotes(desk, 100, 101)
    desk.halt(False)
    assert desk.figures()[0] == "VALIDATED"
    assert desk.sent == []
    moved(desk, 105, 106)
    assert desk.figures()[0] == "ROUTED"


def test_behaviour_23_a_halt_cancels_held_orders_where_the_policy_says_so() -> None:
    desk = held(special("X", STOP, stop_px=105), policies=Policies(halt=HaltPolicy.CANCEL))
    desk.halt()
    assert desk.figures()[0] == "CANCELLED"


def test_behaviour_23_an_iceberg_shows_one_slice_after_a_halt_and_no_burst() -> None:
    desk = held(
        special("X", ICEBERG, 50, 500, display_qty=100), 49, 51, policies=Policies(halt=HaltPolicy.SUSPEND)
    )
    desk.ack(desk.child())
    desk.halt()
    desk.fill(desk.child(), 100)
    assert len(desk.children()) == 1
    desk.halt(False)
    assert [child.qty for child in desk.children()] == [100, 100]


# --- 26: trailing stops ---


def test_behaviour_26_a_trailing_stop_follows_the_best_price_by_ticks_and_triggers_behind_it() -> None:
    desk = held(special("X", TRAIL, side=SELL, trail=2), 100, 101)
    assert desk.state.watched[SYMBOL][desk.order().order_id] == 100
    assert only(moved(desk, 105, 106), WatermarkMoved).watermark == 105
    assert moved(desk, "105.005", 106).entry is None
    assert moved(desk, "103.01", 104).entry is None
    assert only(moved(desk, 103, 104), OrderTriggered).stop_px == 103


def test_behaviour_26_a_trailing_buy_stop_follows_the_offer_down() -> None:
    desk = held(special("X", TRAIL, trail="1.50"), 100, 101)
    moved(desk, 97, 98)
    assert moved(desk, 98, "99.49").entry is None
    assert only(moved(desk, 98, "99.50"), OrderTriggered).stop_px == dec("99.5")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(80, 120), min_size=1, max_size=25), st.integers(1, 15))
def test_a_trailing_sell_stop_triggers_exactly_when_the_bid_falls_by_its_trail(
    bids: list[int], trail: int
) -> None:
    desk = held(special("X", TRAIL, side=SELL, trail=trail), 100, 101)
    best = 100
    for bid in bids:
        outcome = moved(desk, bid, bid + 1)
        triggers = bid <= best - trail
        assert ("OrderTriggered" in kinds(outcome)) == triggers
        if triggers:
            return
        best = max(best, bid)


def test_a_trailing_stop_survives_a_restart_with_its_watermark() -> None:
    desk = held(special("X", TRAIL, side=SELL, trail=2, tif=GTC), 100, 101)
    moved(desk, 110, 111)
    desk.restart(from_journal=True)
    outcome = desk.kernel.execute(cmd.Inbound(cmd.MarketMoved(SYMBOL, dec(108))), 2**61, NO_MARKET)
    assert only(outcome, OrderTriggered).stop_px == 108


# --- 26: icebergs ---


def test_behaviour_26_an_iceberg_shows_its_slices_one_after_the_other() -> None:
    desk = held(special("X", ICEBERG, 50, 250, display_qty=100), 49, 51)
    for number, size in enumerate((100, 100, 50)):
        child = desk.child(index=number)
        assert facts(child.qty, child.order_type, child.price) == (size, OrderType.LIMIT, 50)
        desk.ack(child)
        desk.fill(child, size)
    assert desk.figures() == ("FILLED", 250, 250, 0)


def test_a_slice_is_not_topped_up_before_it_is_gone() -> None:
    desk = held(special("X", ICEBERG, 50, 250, display_qty=100), 49, 51)
    desk.ack(desk.child())
    desk.fill(desk.child(), 99)
    assert len(desk.children()) == 1
    desk.fill(desk.child(), 1)
    assert len(desk.children()) == 2


def test_an_iceberg_of_many_slices_goes_on_to_its_end() -> None:
    desk = held(special("X", ICEBERG, 50, 40, display_qty=1), 49, 51)
    for number in range(40):
        desk.ack(desk.child(index=number))
        desk.fill(desk.child(index=number), 1)
    assert desk.figures() == ("FILLED", 40, 40, 0)


def test_a_new_display_quantity_counts_from_the_next_slice_on() -> None:
    desk = held(special("X", ICEBERG, 50, 300, display_qty=100), 49, 51)
    desk.ack(desk.child())
    new_terms(desk, "Y", display_qty=150)
    assert desk.last().exec_type is ExecType.REPLACED
    desk.fill(desk.child("Y"), 100)
    assert desk.child("Y", 1).qty == 150


def test_more_or_less_quantity_of_an_iceberg_changes_its_hidden_part_first() -> None:
    desk = held(special("X", ICEBERG, 50, 300, display_qty=100), 49, 51)
    desk.ack(desk.child())
    desk.replace("Y", "X", qty=400)
    assert (desk.figures("Y"), len(desk.sent)) == (("ROUTED", 400, 0, 400), 1)
    desk.replace("Z", "Y", qty=120)
    assert (desk.figures("Z"), len(desk.sent)) == (("ROUTED", 120, 0, 120), 1)
    desk.replace("W", "Z", qty=60)
    assert isinstance(desk.sent[-1], VenueReplace)
    desk.replaced(desk.child("Z"))
    assert desk.figures("W") == ("ROUTED", 60, 0, 60)


def test_what_a_bust_opens_again_is_not_shown_by_itself() -> None:
    desk = held(special("X", ICEBERG, 50, 200, display_qty=100), 49, 51)
    desk.ack(desk.child())
    desk.fill(desk.child(), 100, exec_id="F1")
    desk.ack(desk.child(index=1))
    desk.bust(desk.child(), "F1")
    desk.fill(desk.child(index=1), 100)
    assert (desk.figures(), len(desk.children())) == (("PARTIALLY_FILLED", 200, 100, 100), 2)


def test_a_venue_that_takes_icebergs_gets_the_whole_with_its_display() -> None:
    takes = msgspec.structs.replace(venue("XNAS"), order_types=("LIMIT", "ICEBERG"))
    desk = held(special("X", ICEBERG, 50, 500, display_qty=100), 49, 51, venues=[takes])
    sent = desk.sent[-1]
    assert isinstance(sent, VenueNewOrder)
    assert facts(sent.order_type, sent.qty, sent.display_qty) == (ICEBERG, 500, 100)


# --- 26: pegs ---


@pytest.mark.parametrize(
    ("side", "peg", "offset", "price"),
    [
        (BUY, Peg.PRIMARY, "0", "100"),
        (BUY, Peg.PRIMARY, "0.05", "99.95"),
        (BUY, Peg.MARKET, "0.10", "101.01"),
        (BUY, Peg.MIDPOINT, "0", "100.55"),
        (SELL, Peg.PRIMARY, "0", "101.11"),
        (SELL, Peg.PRIMARY, "-0.01", "101.10"),
        (SELL, Peg.MIDPOINT, "0", "100.56"),
    ],
)
def test_behaviour_26_a_pegged_order_stands_where_its_peg_says(
    side: OrderSide, peg: Peg, offset: str, price: str
) -> None:
    desk = held(special("X", PEGGED, side=side, peg=peg, peg_offset=offset), 100, "101.11")
    assert desk.child().price == dec(price)


def test_behaviour_26_a_pegged_order_follows_the_quotes_by_replaces_up_to_its_limit() -> None:
    desk = held(special("X", PEGGED, 102, peg=Peg.PRIMARY), 100, 101)
    desk.ack(desk.child())
    reports = len(desk.reports)
    outcome = moved(desk, 101, 102)
    assert only(outcome, PegRepriced).legs[0].price == 101
    assert isinstance(desk.sent[-1], VenueReplace)
    assert moved(desk, 103, 104).entry is None  # one replace at a time
    desk.replaced(desk.child())  # and then to the market as it is by now, within the limit
    assert facts(desk.child().price, desk.child().replace_price) == (101, 102)
    desk.replaced(desk.child())
    assert facts(desk.child().price, moved(desk, 103, 104).entry) == (102, None)
    assert len(desk.reports) == reports  # the client's order has not changed


def test_a_peg_without_a_market_waits_for_one() -> None:
    desk = Desk()
    desk.run(special("X", PEGGED, peg=Peg.MIDPOINT))
    assert desk.sent == []
    moved(desk, 100, 101)
    assert desk.child().price == dec("100.50")


def test_a_refused_peg_replace_is_tried_again_with_the_next_move() -> None:
    desk = held(special("X", PEGGED, peg=Peg.PRIMARY), 100, 101)
    desk.ack(desk.child())
    moved(desk, 99, 101)
    quotes(desk, 100, 101)
    desk.replace_refused(desk.child())
    assert desk.child().replace_id == ""
    moved(desk, 98, 101)
    assert desk.child().replace_price == 98


def test_the_limit_of_a_pegged_order_binds_its_child_at_once_and_its_quantity_goes_to_the_venue() -> None:
    desk = held(special("X", PEGGED, 105, peg=Peg.PRIMARY), 100, 101)
    desk.ack(desk.child())
    desk.replace("Y", "X", qty=150, price=99)
    sent = desk.sent[-1]
    assert isinstance(sent, VenueReplace)
    assert facts(sent.qty, sent.price) == (150, 99)
    desk.replaced(desk.child())
    assert facts(desk.order("Y").price, desk.figures("Y")) == (99, ("ROUTED", 150, 0, 150))


# --- refusals ---


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("stop_px_required", special("N", STOP)),
        ("stop_px_not_allowed", special("N", OrderType.LIMIT, 50, stop_px=49)),
        ("must_be_positive", special("N", STOP, stop_px=0)),
        ("tick_size", special("N", STOP, stop_px="10.005")),
        ("price_not_allowed", special("N", STOP, 50, stop_px=49)),
        ("price_required", special("N", STOP_LIMIT, stop_px=49)),
        ("trail_required", special("N", TRAIL)),
        ("tick_size", special("N", TRAIL, trail="0.005")),
        ("display_qty_required", special("N", ICEBERG, 50)),
        ("display_qty", special("N", ICEBERG, 50, display_qty=101)),
        ("peg_required", special("N", PEGGED)),
        ("peg_offset_not_allowed", special("N", OrderType.LIMIT, 50, peg_offset=1)),
        ("type_tif", special("N", STOP, stop_px=49, tif=IOC)),
        ("expire_time_required", special("N", OrderType.LIMIT, 50, tif=TimeInForce.GTD)),
        ("expire_time_not_allowed", special("N", OrderType.LIMIT, 50, expire_ns=2**61)),
        ("min_qty", msgspec.structs.replace(special("N", STOP, stop_px=49), min_qty=Decimal(10))),
        ("unknown_symbol", msgspec.structs.replace(special("N", STOP, stop_px=49), symbol="NOPE")),
    ],
)
def test_wrong_special_terms_are_refused_by_name_and_change_nothing(
    code: str, order: cmd.SubmitOrder
) -> None:
    desk = Desk()
    rejected = only(desk.run(order), OrderRejected)
    assert (rejected.code, desk.sent, desk.state.specials) == (code, [], {})


def test_an_increase_beyond_the_venue_and_new_terms_in_one_replace_are_refused_by_name() -> None:
    desk = held(special("X", ICEBERG, 50, 300, display_qty=100), 49, 51)
    desk.ack(desk.child())
    new_terms(desk, "Y", qty=50, display_qty=10)
    assert desk.last_reject().code == "held_by_venue"


def test_the_market_of_a_symbol_without_held_orders_is_not_even_read() -> None:
    desk = Desk()
    desk.working("X")
    assert moved(desk, 1, 2).entry is None
    assert desk.run(cmd.MarketMoved(SYMBOL, Decimal("NaN"))).events


# --- properties ---

SPECIALS = (
    special("A", STOP, stop_px=104, side=BUY, tif=GTC),
    special("B", STOP_LIMIT, 95, stop_px=96, side=SELL),
    special("C", TRAIL, trail=3, side=SELL, tif=GTC),
    special("D", ICEBERG, 101, 90, display_qty=20, tif=GTC),
    special("F", PEGGED, 103, peg=Peg.MIDPOINT),
    special("G", PEGGED, peg=Peg.PRIMARY, peg_offset="0.02", side=SELL, tif=GTC),
    special("H", OrderType.LIMIT, 99, tif=TimeInForce.GTD, expire_ns=2**62),
)
ACTIONS = ("move", "fill", "ack", "answer", "reject", "end", "bust", "cancel", "grow", "halt", "day", "link")


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 60)), max_size=40))
def test_held_orders_keep_every_invariant_whatever_comes(steps: list[tuple[str, int]]) -> None:
    desk = Desk(["XNAS", "XNYS"], policies=Policies(halt=HaltPolicy.SUSPEND))
    quotes(desk, 100, 101)
    for order in SPECIALS:
        desk.run(order)
    for number, (action, whim) in enumerate(steps):
        step(desk, action, whim, number)
    assert not [alert for alert in desk.alerts if alert.kind == "quarantined"]


def step(desk: Desk, action: str, whim: int, number: int) -> None:
    """One thing that may happen; the desk checks every invariant after it."""
    name = SPECIALS[whim % len(SPECIALS)].cl_ord_id
    if action == "move":
        quotes(desk, 85 + whim // 2, 86 + whim // 2, ("XNAS", "XNYS")[whim % 2])
        desk.run(cmd.MarketMoved(SYMBOL))
    elif action == "cancel":
        desk.cancel(f"N{number}", name)
    elif action == "grow":
        desk.replace(f"N{number}", name, qty=50 + 2 * whim)
    elif action == "halt":
        desk.halt(whim % 2 == 0)
    elif action == "day" and desk.day < 3:
        desk.close_day()
        desk.next_day()
    elif action == "link":
        (desk.disconnect if whim % 3 == 0 else desk.connect)("XNAS")
    else:
        speak(desk, action, whim)


def speak(desk: Desk, action: str, whim: int) -> None:
    """A venue says something about one of the children."""
    children = [child for child in desk.state.children.values() if child.working]
    if not children:
        return
    child = children[whim % len(children)]
    if action == "fill" and child.leaves:
        desk.fill(child, min(dec(1 + whim), child.leaves), 100)
    elif action == "ack":
        desk.ack(child)
    elif action == "reject" and child.status is ChildStatus.SENT:
        desk.reject(child)
    elif action == "end":
        desk.canceled(child)
    elif action == "answer" and child.replace_id:
        (desk.replaced if whim % 3 else desk.replace_refused)(child)
    elif action == "bust":
        done = [item for item in desk.state.executions.values() if item.state == "LIVE"]
        if done:
            desk.bust(desk.state.children[done[0].child_id], done[0].exec_id)
