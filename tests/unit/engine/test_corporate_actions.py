"""Behaviour 15: corporate actions on open orders (FINRA Rule 5330)."""

from typing import Any

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.commands import ActionKind
from qtinfra.core.decimals import canonical
from qtinfra.core.events import CommandRefused
from qtinfra.core.models import OrderSide, OrderType
from qtinfra.core.reports import ExecType
from qtinfra.core.special import SpecialTerms
from qtinfra.core.special_events import CorporateActionTaken
from qtinfra.engine.kernel import Outcome
from tests.support.builders import BUY, DAY, GTC, SELL, SYMBOL, Desk, Number, dec, kinds, only, quote, submit
from tests.support.facts import facts

pytestmark = pytest.mark.unit

STOP = OrderType.STOP


def act(desk: Desk, kind: ActionKind, *terms: Number, action_id: str = "CA1", **more: Any) -> Outcome:
    """A dividend of an amount, or a split of new for old."""
    numbers = [dec(value) for value in terms]
    fields = {"ex_date": "2024-07-09", **more}
    if kind is ActionKind.CASH_DIVIDEND:
        return desk.run(cmd.CorporateAction(action_id, SYMBOL, kind, amount=numbers[0], **fields))
    return desk.run(
        cmd.CorporateAction(action_id, SYMBOL, kind, ratio_num=numbers[0], ratio_den=numbers[1], **fields)
    )


def dividend(desk: Desk, amount: Number, **more: Any) -> Outcome:
    return act(desk, ActionKind.CASH_DIVIDEND, amount, **more)


def split(desk: Desk, num: Number, den: Number, **more: Any) -> Outcome:
    return act(desk, ActionKind.SPLIT, num, den, **more)


def stop(cl_ord_id: str, price: Number, side: OrderSide, **terms: Any) -> cmd.SubmitOrder:
    special = SpecialTerms(stop_px=dec(price), **terms)
    return submit(cl_ord_id, 300, None, side=side, tif=GTC, order_type=STOP, special=special)


def figures(desk: Desk, cl_ord_id: str = "X") -> tuple[int, str]:
    order = desk.order(cl_ord_id)
    assert order.price is not None
    return int(order.qty), str(canonical(order.price))


def test_behaviour_15_a_dividend_reduces_an_open_buy_limit_and_rounds_down() -> None:
    desk = Desk()
    desk.working("X", 300, "50.00", tif=GTC)
    dividend(desk, "0.125")
    assert figures(desk) == (300, "49.87")
    report = desk.last()
    assert (report.exec_type, report.reason, report.code) == (ExecType.RESTATED, 0, "corporate_action")
    assert desk.child().price == dec("49.87")


def test_behaviour_15_a_split_reduces_the_price_and_increases_the_quantity() -> None:
    desk = Desk()
    desk.working("X", 300, "50.00", tif=GTC)
    split(desk, 2, 1)
    assert figures(desk) == (600, "25")
    assert facts(desk.child().qty, desk.child().price, desk.last().reason) == (600, 25, 0)


def test_behaviour_15_a_reverse_split_cancels_every_open_order() -> None:
    desk = Desk()
    desk.working("X", 300, "50.00", tif=GTC)
    desk.run(stop("S", 60, BUY))
    act(desk, ActionKind.REVERSE_SPLIT, 1, 10)
    desk.canceled(desk.child())
    assert [desk.figures(name)[0] for name in "XS"] == ["CANCELLED", "CANCELLED"]


def test_behaviour_15_sell_stops_are_reduced_and_sell_limits_and_buy_stops_are_not() -> None:
    desk = Desk()
    desk.working("X", 300, "60.00", side=SELL, tif=GTC)
    desk.run(stop("S", 45, SELL))
    desk.run(stop("B", 55, BUY))
    dividend(desk, "0.50")
    assert figures(desk) == (300, "60")
    stops = [desk.order(name).special for name in "SB"]
    assert [terms.stop_px for terms in stops if terms is not None] == [dec("44.5"), 55]
    desk.market.quotes["XNAS"] = quote("XNAS", [("44.50", 100)], [("44.60", 100)])
    desk.run(cmd.MarketMoved(SYMBOL))
    assert desk.figures("S")[0] == "ROUTED"


def test_behaviour_15_do_not_reduce_is_exempt_from_cash_and_not_from_stock() -> None:
    desk = Desk()
    desk.run(submit("X", 300, 50, tif=GTC, special=SpecialTerms(do_not_reduce=True)))
    assert kinds(dividend(desk, "0.125")) == ["CorporateActionTaken"]
    split(desk, 2, 1, action_id="CA2")
    assert figures(desk) == (600, "25")


def test_behaviour_15_do_not_increase_keeps_the_quantity_and_follows_the_price() -> None:
    desk = Desk()
    desk.run(submit("X", 300, 50, tif=GTC, special=SpecialTerms(do_not_increase=True)))
    split(desk, 2, 1)
    assert figures(desk) == (300, "25")
    assert desk.child().price == 25


@pytest.mark.parametrize(("amount", "price"), [("0.0099", "50"), ("0.01", "49.99")])
def test_behaviour_15_a_dividend_under_a_cent_changes_nothing(amount: str, price: str) -> None:
    desk = Desk()
    desk.working("X", 300, 50, tif=GTC)
    dividend(desk, amount)
    assert figures(desk) == (300, price)


def test_behaviour_15_an_order_for_the_day_is_no_open_order() -> None:
    desk = Desk()
    desk.working("X", 300, 50, tif=DAY)
    assert kinds(dividend(desk, 1)) == ["CorporateActionTaken"]


def test_behaviour_15_what_has_executed_scales_with_its_order_and_the_value_stays() -> None:
    desk = Desk()
    desk.working("X", 10_000, 50, tif=GTC)
    desk.fill(desk.child(), 2_000, 50)
    split(desk, 2, 1)
    assert desk.figures() == ("PARTIALLY_FILLED", 20_000, 4_000, 16_000)
    assert facts(desk.order().avg_px, desk.order().notional) == (25, 100_000)


def test_behaviour_15_a_split_into_broken_lots_is_rounded_down_to_the_lot() -> None:
    desk = Desk(lot=100)
    desk.working("X", 300, "50.01", tif=GTC)
    split(desk, 3, 2)
    assert figures(desk) == (400, "33.34")
    assert facts(desk.child().leaves, desk.order().unallocated) == (400, 0)


def test_the_display_of_an_iceberg_and_the_trail_of_a_stop_follow_a_split() -> None:
    desk = Desk()
    desk.market.quotes["XNAS"] = quote("XNAS", [(100, 100)], [(101, 100)])
    iceberg = SpecialTerms(display_qty=dec(100))
    desk.run(submit("X", 300, 50, tif=GTC, order_type=OrderType.ICEBERG, special=iceberg))
    trailing = SpecialTerms(trail=dec(4))
    kind = OrderType.TRAILING_STOP
    desk.run(submit("T", 300, None, side=SELL, tif=GTC, order_type=kind, special=trailing))
    split(desk, 2, 1)
    shown, trail = desk.order("X").special, desk.order("T").special
    assert shown is not None
    assert trail is not None
    assert facts(shown.display_qty, desk.order("X").unallocated) == (200, 400)
    assert facts(trail.trail, desk.state.watched[SYMBOL][desk.order("T").order_id]) == (2, 50)


def test_an_order_with_a_request_in_flight_is_cancelled_and_a_person_is_told() -> None:
    desk = Desk()
    desk.working("X", 300, 50, tif=GTC)
    desk.replace("Y", "X", price=49)
    dividend(desk, 1)
    assert desk.alert_kinds() == ["corporate_action"]
    assert desk.order().pending_cancel is not None


def test_a_dividend_that_leaves_no_price_cancels_the_order() -> None:
    desk = Desk()
    desk.working("X", 300, 1, tif=GTC)
    dividend(desk, 1)
    assert (desk.order().pending_cancel is not None, desk.alert_kinds()) == (True, ["corporate_action"])


def test_the_same_action_again_changes_nothing() -> None:
    desk = Desk()
    desk.working("X", 300, 50, tif=GTC)
    assert only(split(desk, 2, 1), CorporateActionTaken).action_id == "CA1"
    assert split(desk, 2, 1).entry is None
    assert figures(desk) == (600, "25")


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("must_be_positive", (ActionKind.CASH_DIVIDEND, 0)),
        ("bad_ratio", (ActionKind.SPLIT, 1, 2)),
        ("bad_ratio", (ActionKind.REVERSE_SPLIT, 2, 1)),
        ("bad_ratio", (ActionKind.SPLIT, "NaN", 1)),
    ],
)
def test_a_wrong_action_is_refused(code: str, command: tuple[Any, ...]) -> None:
    assert only(act(Desk(), *command), CommandRefused).code == code


def test_an_action_after_its_ex_date_is_refused() -> None:
    assert only(dividend(Desk(), 1, ex_date="2024-07-05"), CommandRefused).code == "ex_date_past"
