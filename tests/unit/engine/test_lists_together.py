"""Behaviours 17, 19 and 26: the orders of one list count against the limits together, all or nothing."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.events import OrderAccepted, OrderRejected, OverrideUsed
from qtinfra.core.extended_models import KillScope, LimitRule, Locate
from qtinfra.core.models import Currency, OrderSide, OrderType
from qtinfra.core.special import Link, SpecialTerms
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.risk_sums import totals_of
from tests.support.builders import (
    ALPHA,
    BUY,
    GTC,
    SELL,
    SYMBOL,
    Desk,
    Number,
    dec,
    instrument,
    kinds,
    quote,
    submit,
)
from tests.support.facts import facts

pytestmark = pytest.mark.unit

SHORT = OrderSide.SELL_SHORT


def leg(cl_ord_id: str, price: Number = 50, qty: Number = 100, **more: Any) -> cmd.SubmitOrder:
    return submit(cl_ord_id, qty, price, tif=GTC, **more)


def stop(
    cl_ord_id: str, stop_px: Number, qty: Number = 100, limit: Number | None = None, **more: Any
) -> cmd.SubmitOrder:
    terms = SpecialTerms(stop_px=dec(stop_px), **more.pop("terms", {}))
    kind = OrderType.STOP if limit is None else OrderType.STOP_LIMIT
    return submit(cl_ord_id, qty, limit, tif=GTC, special=terms, order_type=kind, **more)


def oco(desk: Desk, *orders: cmd.SubmitOrder) -> Outcome:
    return desk.run(cmd.SubmitList(Link.OCO, orders))


def codes(outcome: Outcome) -> list[str]:
    return [event.code for event in outcome.events if isinstance(event, OrderRejected)]


def set_policy(desk: Desk, **changes: object) -> None:
    desk.run(cmd.SetRiskPolicy(msgspec.structs.replace(desk.state.risk.policy, **changes)))


def untouched(desk: Desk) -> bool:
    """Nothing of a list is open, sent or counted."""
    state = desk.state
    nothing = not (state.open_orders or state.lists or state.specials or desk.sent)
    quiet = not any(state.risk.messages.values()) and not state.risk.flow.current
    return nothing and quiet and totals_of(state, ALPHA).home.used == 0


# --- at the limit passes, one unit over refuses the whole list --------------------------------------------

#: Rule; the most that two buys of 100 at 50 need; one unit less.
TOGETHER = [
    (LimitRule.POSITION_LIMIT, "200", "199"),
    (LimitRule.CREDIT_THRESHOLD, "10000", "9999.99"),
    (LimitRule.GROSS_EXPOSURE, "10000", "9999.99"),
    (LimitRule.NET_EXPOSURE, "10000", "9999.99"),
    (LimitRule.MAX_MESSAGES, "2", "1"),
    (LimitRule.MAX_BOOK_MESSAGES, "2", "1"),
    (LimitRule.DUPLICATE_FLOW, "2", "1"),
]


@pytest.mark.parametrize(("rule", "enough", "short_of"), TOGETHER)
def test_behaviour_19_a_list_may_reach_a_limit_and_not_pass_it_by_its_orders_together(
    rule: LimitRule, enough: str, short_of: str
) -> None:
    desk = Desk()
    desk.limit(rule, enough)
    assert kinds(oco(desk, leg("A"), leg("B"))).count("OrderAccepted") == 2
    desk = Desk()
    desk.limit(rule, short_of)
    refused = codes(oco(desk, leg("A"), leg("B")))
    code = "max_messages" if rule is LimitRule.MAX_BOOK_MESSAGES else rule.value
    assert (refused, untouched(desk)) == (["list_refused", code], True)


@pytest.mark.parametrize("scope", ["CLIENT:*", "FIRM:*", ALPHA])
@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_list_counts_in_every_scope_and_on_either_side(scope: str, side: OrderSide) -> None:
    for value, refused in (("10000", []), ("9999.99", ["list_refused", "credit_threshold"])):
        desk = Desk()
        desk.limit(LimitRule.CREDIT_THRESHOLD, value, scope)
        assert codes(oco(desk, leg("A", side=side), stop("B", 50, side=side))) == refused


def test_the_value_of_a_list_in_another_currency_counts_in_the_base_currency() -> None:
    for value, refused in (("20000", []), ("19999.99", ["list_refused", "credit_threshold"])):
        desk = Desk()
        desk.run(cmd.SetReference((instrument(currency=Currency.EUR),)))
        desk.run(cmd.SetFxRate(Currency.EUR, Currency.USD, dec(2)))
        desk.limit(LimitRule.CREDIT_THRESHOLD, value)
        assert codes(oco(desk, leg("A"), leg("B"))) == refused


def test_concentration_counts_the_orders_of_a_list_together() -> None:
    for capital, refused in ((20_000, []), (19_999, ["list_refused", "concentration"])):
        desk = Desk()
        desk.limit(LimitRule.CAPITAL, capital, ALPHA)
        desk.limit(LimitRule.CONCENTRATION, "0.5")
        assert codes(oco(desk, leg("A"), leg("B"))) == refused


def test_stop_limit_orders_with_one_limit_price_are_duplicates_of_each_other() -> None:
    desk = Desk()
    desk.limit(LimitRule.DUPLICATE_FLOW, 1)
    assert codes(oco(desk, stop("A", 55, limit=56), stop("B", 54, limit=56))) == [
        "list_refused",
        "duplicate_flow",
    ]
    assert codes(oco(desk, leg("C"), leg("D", 49))) == []


def test_an_algo_has_one_execution_for_each_order_of_a_list() -> None:
    for most, refused in ((2, []), (1, ["list_refused", "algo_executions"])):
        desk = Desk()
        desk.limit(LimitRule.ALGO_EXECUTIONS, most, "ALGO:twap")
        terms = SpecialTerms(algo="twap")
        legs = leg("A", special=terms), leg("B", 49, special=terms)
        assert sorted(codes(oco(desk, *legs))) == sorted(refused)


# --- locates, marks, overrides ----------------------------------------------------------------------------


def located(*orders: cmd.SubmitOrder, qty: Number, link: Link = Link.OCO) -> tuple[list[str], Decimal]:
    """What the list is refused with, and what is left of the locate."""
    desk = Desk()
    set_policy(desk, short_sale=True)
    desk.run(cmd.GrantLocate(Locate("L1", ALPHA, SYMBOL, dec(qty))))
    outcome = desk.run(cmd.SubmitList(link, orders))
    return codes(outcome), desk.state.risk.locates["L1"].left


def test_behaviour_17_the_short_sales_of_a_list_each_take_of_their_locate() -> None:
    terms = SpecialTerms(locate_id="L1")
    legs = [leg(name, side=SHORT, special=terms) for name in "AB"]
    assert facts(*located(*legs, qty=200)) == ([], 0)
    assert facts(*located(*legs, qty=199)) == (["list_refused", "locate_insufficient"], 199)


def test_an_exit_that_is_a_short_sale_takes_of_its_locate_too() -> None:
    exits = [
        leg("P", 60, side=SHORT, special=SpecialTerms(locate_id="L1")),
        stop("L", 45, side=SHORT, terms={"locate_id": "L1"}),
    ]
    assert facts(*located(leg("E"), *exits, qty=200, link=Link.BRACKET)) == ([], 0)
    refused, left = located(leg("E"), *exits, qty=199, link=Link.BRACKET)
    assert facts(refused, left) == (["list_refused", "list_refused", "locate_insufficient"], 199)


def test_of_two_sells_that_cancel_each_other_neither_is_short_when_the_shares_are_owned_once() -> None:
    desk = Desk()
    set_policy(desk, short_sale=True)
    desk.working("OWN", 100, 50)
    desk.fill(desk.child("OWN"), 100, 50)
    assert codes(oco(desk, leg("P", 60, side=SELL), stop("L", 45, side=SELL))) == []
    assert codes(desk.new("MORE", 1, 60, side=SELL)) == ["short_sale_mark"]


def override(desk: Desk, name: str) -> None:
    expires = desk._now_ns + 1_000_000_000
    rule = LimitRule.MAX_ORDER_QTY
    desk.run(cmd.RequestOverride(name, rule, ALPHA, SYMBOL, dec(100), expires, "ann", "block"))
    desk.run(cmd.ApproveOverride(name, "bea"))


def test_an_override_lets_one_order_of_a_list_pass_and_not_two() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_ORDER_QTY, 99)
    override(desk, "O1")
    assert codes(oco(desk, leg("A"), leg("B"))) == ["list_refused", "max_order_qty"]
    assert (list(desk.state.risk.overrides), untouched(desk)) == (["O1"], True)
    override(desk, "O2")
    outcome = oco(desk, leg("C"), leg("D"))
    used = [event.override_id for event in outcome.events if isinstance(event, OverrideUsed)]
    assert (used, desk.state.risk.overrides) == (["O1", "O2"], {})


# --- brackets ---------------------------------------------------------------------------------------------


def test_the_exits_of_a_bracket_add_messages_and_no_exposure() -> None:
    legs = (leg("E"), leg("P", 60, side=SELL), stop("L", 45, side=SELL))
    for most, refused in ((3, []), (2, ["list_refused", "list_refused", "max_messages"])):
        desk = Desk()
        desk.limit(LimitRule.POSITION_LIMIT, 100)
        desk.limit(LimitRule.CREDIT_THRESHOLD, 5_000)
        desk.limit(LimitRule.MAX_MESSAGES, most)
        assert codes(desk.run(cmd.SubmitList(Link.BRACKET, legs))) == refused


# --- one by one is the measure ----------------------------------------------------------------------------

LIMITS: list[tuple[LimitRule, st.SearchStrategy[Decimal]]] = [
    (LimitRule.POSITION_LIMIT, st.integers(1, 9).map(Decimal)),
    (LimitRule.CREDIT_THRESHOLD, st.integers(50, 500).map(Decimal)),
    (LimitRule.GROSS_EXPOSURE, st.integers(50, 500).map(Decimal)),
    (LimitRule.NET_EXPOSURE, st.integers(50, 500).map(Decimal)),
    (LimitRule.MAX_MESSAGES, st.integers(1, 6).map(Decimal)),
    (LimitRule.DUPLICATE_FLOW, st.integers(1, 3).map(Decimal)),
    (LimitRule.PERIOD_COLLAR, st.sampled_from([Decimal("0.01"), Decimal("0.2")])),
]
LEGS = st.lists(st.tuples(st.booleans(), st.integers(48, 52), st.booleans()), min_size=2, max_size=5)


@st.composite
def limits_of(draw: Callable[[Any], Any]) -> list[tuple[LimitRule, Decimal]]:
    chosen = draw(st.lists(st.sampled_from(range(len(LIMITS))), max_size=4, unique=True))
    return [(LIMITS[number][0], draw(LIMITS[number][1])) for number in chosen]


@settings(max_examples=120, deadline=None)
@given(limits_of(), LEGS, st.integers(1, 3))
def test_a_list_is_taken_exactly_when_its_orders_would_be_taken_one_after_the_other(
    limits: list[tuple[LimitRule, Decimal]], legs: list[tuple[bool, int, bool]], qty: int
) -> None:
    orders = []
    for number, (buying, price, triggered) in enumerate(legs):
        make = stop if triggered else leg
        orders.append(make(f"N{number}", price, qty, side=BUY if buying else SELL))
    together, apart = Desk(checked=False), Desk(checked=False)
    for desk in (together, apart):
        desk.market.quotes["XNAS"] = quote("XNAS", [(49, 100)], [(51, 100)])
        desk.working("OWN", 2, 51)
        for rule, value in limits:
            desk.limit(rule, value)
    refused = codes(oco(together, *orders))
    one_by_one = [codes(apart.run(order)) for order in orders]
    first = next((found[0] for found in one_by_one if found), "")
    assert [code for code in refused if code != "list_refused"] == ([first] if first else [])
    if not first:
        assert together.state.risk.cells == apart.state.risk.cells
        assert together.state.risk.figures == apart.state.risk.figures
    else:
        assert not together.state.lists


def test_a_list_of_which_no_order_finds_a_venue_leaves_nothing() -> None:
    desk = Desk()
    desk.limit(LimitRule.DUPLICATE_FLOW, 9)
    desk.kill(KillScope.VENUE, "XNAS")
    outcome = oco(desk, stop("A", 55), leg("B"))
    assert sorted(codes(outcome)) == ["list_refused", "no_venue"]
    assert not [event for event in outcome.events if isinstance(event, OrderAccepted)]
    assert untouched(desk)
