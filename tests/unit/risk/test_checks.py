"""The pre-trade controls, each on its own facts."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.decisions import RiskApproved, RiskRefused
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.risk.checks import (
    CONTROLS,
    PERMISSIONS,
    RiskFacts,
    approve,
    check_frozen,
    check_kill_switch,
    check_max_order_qty,
    check_max_order_value,
    check_position_limit,
    check_price_collar,
    check_restricted,
)
from qtinfra.risk.limits import Limits, LimitTable, limits_for, set_limit, tightest
from tests.support.builders import ALPHA, SYMBOL, dec

pytestmark = pytest.mark.unit

NONE = Limits(None, None, None, None)
FACTS = RiskFacts(
    ALPHA,
    SYMBOL,
    OrderSide.BUY,
    OrderType.LIMIT,
    TimeInForce.DAY,
    dec(100),
    dec(100),
    dec(50),
    ZERO,
    dec(50),
    ONE,
    ZERO,
    ZERO,
    ZERO,
    NONE,
)
sizes = st.integers(0, 10_000).map(Decimal)


def test_without_limits_everything_passes_and_the_approval_is_for_what_is_added() -> None:
    verdict = approve(replace(FACTS, adds=dec(30)))
    assert isinstance(verdict, RiskApproved)
    assert verdict.qty == 30


@given(sizes, sizes)
def test_the_quantity_limit_bounds_the_order_and_nothing_below(limit: Decimal, qty: Decimal) -> None:
    refusal = check_max_order_qty(replace(FACTS, qty=qty, limits=replace(NONE, max_order_qty=limit)))
    assert (refusal is None) is (qty <= limit)
    if refusal is not None:
        assert (refusal.code, refusal.limit, refusal.observed) == ("max_order_qty", str(limit), str(qty))


def test_the_value_counts_the_multiplier_and_a_market_order_at_the_reference() -> None:
    limits = replace(NONE, max_order_value=dec(500_000))
    assert check_max_order_value(replace(FACTS, multiplier=dec(100), limits=limits)) is None
    over = check_max_order_value(replace(FACTS, multiplier=dec("100.01"), limits=limits))
    assert over is not None and over.code == "max_order_value"
    market = replace(FACTS, price=None, reference=dec(6_000), limits=limits)
    assert check_max_order_value(market) is not None
    assert check_max_order_value(replace(market, reference=dec(5_000))) is None
    stale = check_max_order_value(replace(market, reference=None))
    assert stale is not None and stale.code == "stale_reference"


@given(st.integers(1, 100_000), st.integers(0, 100), st.integers(1, 200_000))
def test_the_collar_bounds_only_the_side_that_could_do_harm(
    cents: int, percent: int, price_cents: int
) -> None:
    reference, collar = Decimal(cents) / 100, Decimal(percent) / 100
    price = Decimal(price_cents) / 100
    facts = replace(FACTS, price=price, reference=reference, limits=replace(NONE, price_collar=collar))
    assert (check_price_collar(facts) is None) is (price <= reference * (1 + collar))
    selling = replace(facts, side=OrderSide.SELL_SHORT)
    assert (check_price_collar(selling) is None) is (price >= reference * (1 - collar))


def test_the_collar_lets_a_market_order_pass_only_with_a_reference() -> None:
    facts = replace(FACTS, price=None, limits=replace(NONE, price_collar=dec("0.1")))
    assert check_price_collar(facts) is None
    stale = check_price_collar(replace(facts, reference=None))
    assert stale is not None and stale.code == "stale_reference"


@given(st.integers(-5_000, 5_000).map(Decimal), sizes, sizes, sizes, sizes)
def test_the_position_limit_bounds_the_worst_case_of_the_own_side(
    position: Decimal, bought: Decimal, sold: Decimal, adds: Decimal, limit: Decimal
) -> None:
    facts = replace(
        FACTS,
        adds=adds,
        position=position,
        open_buy=bought,
        open_sell=sold,
        limits=replace(NONE, position_limit=limit),
    )
    assert (check_position_limit(facts) is None) is (position + bought + adds <= limit)
    selling = replace(facts, side=OrderSide.SELL)
    assert (check_position_limit(selling) is None) is (position - sold - adds >= -limit)


def test_an_order_towards_zero_passes_though_the_limit_was_lowered_below_the_position() -> None:
    facts = replace(
        FACTS, side=OrderSide.SELL, position=dec(500), limits=replace(NONE, position_limit=dec(100))
    )
    assert check_position_limit(facts) is None


@pytest.mark.parametrize(
    ("change", "control", "code"),
    [
        ({"frozen": "KeyError"}, check_frozen, "frozen"),
        ({"killed": "FIRM:"}, check_kill_switch, "kill_switch"),
        ({"restricted": True}, check_restricted, "restricted_symbol"),
    ],
)
def test_permissions_refuse_and_bind_children_alike(
    change: dict[str, object], control: object, code: str
) -> None:
    assert control in PERMISSIONS and control in CONTROLS
    verdict = approve(replace(FACTS, **change), PERMISSIONS)
    assert isinstance(verdict, RiskRefused)
    assert verdict.refusal.code == code
    assert isinstance(approve(FACTS, PERMISSIONS), RiskApproved)


def test_the_first_refusal_in_the_order_of_the_controls_counts() -> None:
    everything = replace(
        FACTS,
        frozen="fault",
        killed="FIRM:",
        restricted=True,
        limits=Limits(ZERO, ZERO, ZERO, ZERO),
        price=dec(51),
    )
    found = []
    for change in (
        {},
        {"frozen": ""},
        {"killed": ""},
        {"restricted": False},
        {"limits": Limits(None, ZERO, ZERO, ZERO)},
        {"limits": Limits(None, None, ZERO, ZERO)},
        {"limits": Limits(None, None, None, ZERO)},
    ):
        everything = replace(everything, **change)
        verdict = approve(everything)
        assert isinstance(verdict, RiskRefused)
        found.append(verdict.refusal.code)
    assert found == [
        "frozen",
        "kill_switch",
        "restricted_symbol",
        "max_order_qty",
        "max_order_value",
        "price_collar",
        "position_limit",
    ]


# --- limits as data ---


def test_the_tightest_of_the_limits_that_apply_counts() -> None:
    table: LimitTable = {}
    for account, symbol, value in (
        ("*", "*", 900),
        ("*", SYMBOL, 700),
        (ALPHA, "*", 800),
        (ALPHA, SYMBOL, 950),
    ):
        set_limit(table, LimitRule.MAX_ORDER_QTY, account, symbol, dec(value))
    assert tightest(table, "max_order_qty", ALPHA, SYMBOL) == 700
    assert tightest(table, "max_order_qty", ALPHA, "OTHER") == 800
    assert tightest(table, "max_order_qty", "other", "OTHER") == 900
    assert limits_for(table, ALPHA, SYMBOL) == Limits(dec(700), None, None, None)


def test_a_limit_is_removed_with_none_and_the_wider_ones_count_again() -> None:
    table: LimitTable = {}
    set_limit(table, LimitRule.POSITION_LIMIT, "*", "*", dec(10))
    set_limit(table, LimitRule.POSITION_LIMIT, ALPHA, SYMBOL, dec(5))
    set_limit(table, LimitRule.POSITION_LIMIT, ALPHA, SYMBOL, None)
    assert limits_for(table, ALPHA, SYMBOL).position_limit == 10
    set_limit(table, LimitRule.POSITION_LIMIT, "*", "*", None)
    assert limits_for(table, ALPHA, SYMBOL).position_limit is None


def test_a_limit_of_zero_is_a_limit() -> None:
    table: LimitTable = {}
    set_limit(table, LimitRule.MAX_ORDER_QTY, "*", "*", ZERO)
    assert limits_for(table, ALPHA, SYMBOL).max_order_qty == 0
