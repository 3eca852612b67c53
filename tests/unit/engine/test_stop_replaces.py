"""Behaviour 19: a replace that moves only the trigger of a stop passes the controls again."""

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import OrderType
from qtinfra.core.reports import OrderCancelReject
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.kernel import Outcome
from tests.support.builders import ALPHA, GTC, SYMBOL, Desk, Number, dec, kinds, submit
from tests.support.facts import facts

pytestmark = pytest.mark.unit

STOP, STOP_LIMIT = OrderType.STOP, OrderType.STOP_LIMIT


def stopped(desk: Desk, kind: OrderType = STOP, stop_px: Number = 50, price: Number | None = None) -> None:
    desk.run(submit("X", 100, price, order_type=kind, tif=GTC, special=SpecialTerms(stop_px=dec(stop_px))))


def move(desk: Desk, name: str = "R1", *, stop_px: Number) -> Outcome:
    return desk.run(cmd.ReplaceOrder(ALPHA, name, "X", special=SpecialTerms(stop_px=dec(stop_px))))


def refused(desk: Desk) -> str:
    report = desk.reports[-1]
    assert isinstance(report, OrderCancelReject), report
    return report.code


def open_value(desk: Desk) -> tuple[object, ...]:
    cell = desk.state.risk.cell(ALPHA, SYMBOL)
    assert cell is not None
    return facts(cell.long, cell.gross)


def test_behaviour_19_a_trigger_that_makes_a_stop_worth_too_much_is_refused_and_one_at_the_limit_passes() -> (
    None
):
    desk = Desk()
    desk.limit(LimitRule.MAX_ORDER_VALUE, 6_000)
    stopped(desk)
    assert kinds(move(desk, stop_px="60.01")) == ["AmendRefused"]
    assert refused(desk) == "max_order_value"
    assert kinds(move(desk, "R2", stop_px=60)) == ["TermsReplaced", "OrderReplaced"]


def test_behaviour_19_the_limit_of_a_stop_limit_is_measured_from_its_new_trigger() -> None:
    desk = Desk()
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(50)),)))
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    stopped(desk, STOP_LIMIT, 55, 57)
    move(desk, stop_px=51)
    assert refused(desk) == "price_collar"
    assert kinds(move(desk, "R2", stop_px="51.82")) == ["TermsReplaced", "OrderReplaced"]


def test_behaviour_19_credit_counts_a_stop_at_the_trigger_it_is_moved_to() -> None:
    desk = Desk()
    desk.limit(LimitRule.CREDIT_THRESHOLD, 5_500)
    stopped(desk)
    move(desk, stop_px=56)
    assert refused(desk) == "credit_threshold"
    assert kinds(move(desk, "R2", stop_px=55)) == ["TermsReplaced", "OrderReplaced"]
    assert open_value(desk) == (5_500, 5_500)


def test_what_is_reserved_follows_the_trigger_down_and_is_free_again_with_the_cancel() -> None:
    desk = Desk()
    stopped(desk)
    assert open_value(desk) == (5_000, 5_000)
    move(desk, stop_px=45)
    assert open_value(desk) == (4_500, 4_500)
    desk.cancel("C", "R1")
    assert open_value(desk) == (0, 0)


def test_the_value_of_a_stop_limit_stays_at_its_limit() -> None:
    desk = Desk()
    stopped(desk, STOP_LIMIT, 50, 52)
    move(desk, stop_px=51)
    assert open_value(desk) == (5_200, 5_200)


def test_every_control_looks_again_when_a_trigger_moves() -> None:
    desk = Desk()
    stopped(desk)
    desk.limit(LimitRule.MAX_ORDER_QTY, 50)
    move(desk, stop_px=51)
    assert refused(desk) == "max_order_qty"


def test_display_does_not_change_while_a_venue_must_agree_to_the_rest() -> None:
    desk = Desk()
    special = SpecialTerms(display_qty=dec(20))
    desk.run(submit("X", 100, 50, order_type=OrderType.ICEBERG, tif=GTC, special=special))
    desk.ack(desk.child())
    again = cmd.ReplaceOrder(ALPHA, "R1", "X", price=dec(49), special=SpecialTerms(display_qty=dec(30)))
    assert kinds(desk.run(again)) == ["AmendRefused"]
    assert refused(desk) == "held_by_venue"
