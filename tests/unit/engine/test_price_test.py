"""Behaviour 17: the short-sale price test that begins by itself, for covered securities (17 CFR 242.201)."""

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.book_events import PriceTestTriggered
from qtinfra.core.extended_models import Locate, RiskPolicy
from qtinfra.core.models import OrderSide
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.kernel import Outcome
from tests.support.builders import (
    ALPHA,
    SYMBOL,
    Desk,
    Number,
    dec,
    instrument,
    kinds,
    only,
    quote,
    submit,
)
from tests.support.facts import facts

pytestmark = pytest.mark.unit

SHORT = OrderSide.SELL_SHORT


def closed_at(px: Number = 100, covered: bool = True) -> Desk:
    """A desk that may sell short, on the day after a close."""
    desk = Desk()
    desk.run(cmd.SetReference((instrument(covered=covered),), prices=((SYMBOL, dec(px)),)))
    desk.run(cmd.SetRiskPolicy(RiskPolicy(short_sale=True)))
    desk.run(cmd.GrantLocate(Locate("L1", ALPHA, SYMBOL, dec(100_000))))
    desk.next_day()
    return desk


def market(desk: Desk, bid: Number, ask: Number) -> None:
    desk.market.quotes["XNAS"] = quote("XNAS", [(bid, 100)], [(ask, 100)])


def moved(desk: Desk, last: Number | None = None) -> Outcome:
    return desk.run(cmd.MarketMoved(SYMBOL, None if last is None else dec(last)))


def short(desk: Desk, name: str, price: Number) -> str:
    desk.run(submit(name, 100, price, side=SHORT, special=SpecialTerms(locate_id="L1")))
    return desk.figures(name)[0]


def binds(desk: Desk) -> bool:
    return SYMBOL in desk.state.risk.price_tests


def test_behaviour_17_a_last_price_a_tenth_below_the_close_begins_the_test_and_a_tick_less_does_not() -> None:
    desk = closed_at(100)
    assert moved(desk, "90.01").entry is None
    event = only(moved(desk, 90), PriceTestTriggered)
    assert facts(event.close, event.px, event.by) == (100, 90, "last")
    assert moved(desk, 80).entry is None
    market(desk, 90, "90.02")
    assert [short(desk, "A", 90), short(desk, "B", "90.01")] == ["REJECTED", "ROUTED"]


def test_behaviour_17_the_middle_of_the_market_counts_where_no_trade_is_reported() -> None:
    desk = closed_at(100)
    market(desk, "89.99", "90.01")
    assert only(moved(desk), PriceTestTriggered).by == "mid"


def test_behaviour_17_a_reference_price_of_the_day_counts() -> None:
    desk = closed_at(100)
    outcome = desk.run(cmd.SetReference(prices=((SYMBOL, dec(89)),)))
    assert kinds(outcome) == ["ReferenceSet", "PriceTestTriggered"]
    assert desk.state.risk.closes[SYMBOL] == 100


def test_behaviour_17_a_short_sale_is_refused_in_a_fallen_market_before_anybody_has_said_that_it_moved() -> (
    None
):
    desk = closed_at(100)
    market(desk, 85, "85.02")
    assert [short(desk, "A", 85), short(desk, "B", "85.01")] == ["REJECTED", "ROUTED"]
    assert not binds(desk)


def test_behaviour_17_the_test_binds_for_the_day_and_the_next_and_ends_with_it() -> None:
    desk = closed_at(100)
    moved(desk, 90)
    desk.restart(from_journal=True)
    desk.next_day()
    assert binds(desk)
    desk.next_day()
    assert not binds(desk)


def test_behaviour_17_another_fall_on_the_second_day_begins_it_anew() -> None:
    desk = closed_at(100)
    moved(desk, 90)
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(91)),)))
    desk.next_day()
    assert only(moved(desk, "81.90"), PriceTestTriggered).close == 91
    desk.next_day()
    assert binds(desk)


def test_behaviour_17_what_staff_set_stands_until_they_lift_it() -> None:
    desk = closed_at(100)
    desk.run(cmd.SetPriceTest(SYMBOL, True, "by hand"))
    assert moved(desk, 50).entry is None
    desk.next_day()
    assert binds(desk)
    desk.run(cmd.SetPriceTest(SYMBOL, False))
    assert not binds(desk)


def test_behaviour_17_a_security_that_is_not_covered_is_never_tested_by_itself() -> None:
    desk = closed_at(100, covered=False)
    assert moved(desk, 50).entry is None
    market(desk, 50, "50.02")
    assert short(desk, "A", 50) == "ROUTED"


def test_the_previous_close_is_the_reference_price_at_the_open_else_the_first_of_the_day() -> None:
    desk = Desk()
    desk.run(cmd.SetReference((instrument(covered=True),)))
    assert desk.state.risk.closes == {}
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(100)),)))
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(95)),)))
    assert desk.state.risk.closes[SYMBOL] == 100
    desk.next_day()
    assert desk.state.risk.closes[SYMBOL] == 95
