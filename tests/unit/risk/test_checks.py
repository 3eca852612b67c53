"""Each control by itself: at the limit passes, one unit over fails, and the refusal names limit and value."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from qtinfra.core.decisions import Refusal
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.risk import checks
from qtinfra.risk.exposure import (
    check_concentration,
    check_credit,
    check_gross_exposure,
    check_net_exposure,
    check_position_limit,
)
from qtinfra.risk.facts import Control, Rate, RiskFacts, RiskProfile
from qtinfra.risk.flow import check_duplicates
from qtinfra.risk.ledger import Amounts, Cell, Override
from qtinfra.risk.limits import Limits, ScopeLimit, limits_for, set_limit, tightest
from qtinfra.risk.price import check_period_collar, check_price_collar
from qtinfra.risk.size import check_max_order_qty, check_max_order_value, check_max_order_value_base

BUY, SELL = OrderSide.BUY, OrderSide.SELL
D = Decimal


def scope(value: int, **sums: int) -> tuple[ScopeLimit, ...]:
    ends = max(sums.get("long", 0), sums.get("short", 0))  # the gross exposure is never less
    home = Amounts(**{name: D(amount) for name, amount in ({"gross": ends} | sums).items()})
    return (ScopeLimit("FIRM:firm", D(value), home, {}),)


def profile(limits: Limits, currency: str = "", rate: Rate | None = None, **cell: int) -> RiskProfile:
    return RiskProfile(
        "alpha",
        "ACME",
        limits,
        checks.CONTROLS,
        D(1),
        currency,
        {} if rate is None else {currency: rate},
        Cell(**{name: D(amount) for name, amount in cell.items()}),
        False,
        False,
        False,
        {},
        "",
        "",
        "",
    )


def facts(
    limits: Limits, qty: int = 10, price: int | None = 50, side: OrderSide = BUY, **more: object
) -> RiskFacts:
    """An order of ten at fifty: value 500."""
    place = more.pop("place", None)
    at = place if isinstance(place, RiskProfile) else profile(limits)
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    limit = None if price is None else D(price)
    found = RiskFacts(
        at, limits, side, side is BUY, kind, TimeInForce.DAY, D(qty), D(qty), limit, D(0), 0, D(0), D(0), D(0)
    )
    if limit is not None:
        found.order_value = found.value = found.base_value = D(qty) * limit
        found.worst = abs(at.cell.long + found.value)
    for name, value in more.items():
        setattr(found, name, value)
    return found


Case = tuple[Control, Callable[[int], RiskFacts], str]

CASES: list[Case] = [
    (check_max_order_qty, lambda slack: facts(Limits(max_order_qty=D(10 + slack))), "max_order_qty"),
    (check_max_order_value, lambda slack: facts(Limits(max_order_value=D(500 + slack))), "max_order_value"),
    (
        check_max_order_value_base,
        lambda slack: facts(
            Limits(max_order_value_base=D(1000 + slack)), place=profile(Limits(), "EUR", Rate(D(2)))
        ),
        "max_order_value_base",
    ),
    (
        check_price_collar,
        lambda slack: facts(Limits(price_collar=D(0)), reference=D(50 + slack)),
        "price_collar",
    ),
    (
        check_period_collar,
        lambda slack: facts(Limits(period_collar=D(0)), drift_low=D(50 + slack)),
        "period_collar",
    ),
    (
        check_position_limit,
        lambda slack: facts(Limits(position_limit=D(17 + slack)), position=D(3), open_buy=D(4)),
        "position_limit",
    ),
    (
        check_position_limit,
        lambda slack: facts(Limits(position_limit=D(11 + slack)), side=SELL, position=D(3), open_sell=D(4)),
        "position_limit",
    ),
    (
        check_concentration,
        lambda slack: facts(Limits(concentration=D(600 + slack)), place=profile(Limits(), held=100)),
        "concentration",
    ),
    (
        check_gross_exposure,
        lambda slack: facts(Limits(gross=scope(700 + slack, gross=200))),
        "gross_exposure",
    ),
    (check_net_exposure, lambda slack: facts(Limits(net=scope(700 + slack, long=200))), "net_exposure"),
    (
        check_net_exposure,
        lambda slack: facts(Limits(net=scope(700 + slack, short=200)), side=SELL),
        "net_exposure",
    ),
    (check_credit, lambda slack: facts(Limits(credit=scope(700 + slack, traded=200))), "credit_threshold"),
    (
        check_credit,
        lambda slack: facts(Limits(credit=scope(700 + slack, long=150, short=50))),
        "credit_threshold",
    ),
    (check_duplicates, lambda slack: facts(Limits(duplicates=2 + slack), duplicates=1), "duplicate_flow"),
]


@pytest.mark.parametrize(("control", "with_slack", "code"), CASES)
def test_at_the_limit_passes_and_a_unit_over_fails(
    control: Control, with_slack: Callable[[int], RiskFacts], code: str
) -> None:
    assert control(with_slack(0)) is None
    assert control(with_slack(1)) is None
    refused = control(with_slack(-1))
    assert isinstance(refused, Refusal)
    assert refused.code == code
    assert D(refused.limit) != D(refused.observed)


@pytest.mark.parametrize(
    ("control", "limits"),
    [
        (check_max_order_value, Limits(max_order_value=D(1))),
        (check_max_order_value_base, Limits(max_order_value_base=D(1))),
        (check_price_collar, Limits(price_collar=D(1))),
        (check_period_collar, Limits(period_collar=D(1))),
        (check_concentration, Limits(concentration=D(1))),
        (check_gross_exposure, Limits(gross=scope(1))),
        (check_net_exposure, Limits(net=scope(1))),
        (check_credit, Limits(credit=scope(1))),
    ],
)
def test_without_a_price_a_control_fails_closed_except_for_what_reduces_the_position(
    control: Control, limits: Limits
) -> None:
    refused = control(facts(limits, price=None))
    assert refused is not None
    assert refused.code == "stale_reference"
    assert control(facts(limits, price=None, side=SELL, position=D(10))) is None
    assert control(facts(limits, price=None, side=SELL, position=D(9))) is not None
    assert control(facts(limits, price=None, position=D(-10))) is None
    assert control(facts(limits, price=None, position=D(-10), open_buy=D(1))) is not None


@pytest.mark.parametrize(("rate", "now_ns", "code"), [(None, 0, "stale_fx"), (Rate(D(2), 5), 6, "stale_fx")])
def test_without_a_fresh_rate_a_base_limit_fails_closed(rate: Rate | None, now_ns: int, code: str) -> None:
    limits = Limits(max_order_value_base=D(10**6))
    refused = check_max_order_value_base(facts(limits, place=profile(limits, "EUR", rate), now_ns=now_ns))
    assert refused is not None
    assert refused.code == code


def test_every_control_names_its_source() -> None:
    for control in checks.CONTROLS:
        text = f"{control.__doc__}"
        assert any(source in text for source in ("RTS 6", "CFR", "fault", "capital", "Bound per")), control


def test_the_tightest_limit_of_account_symbol_and_everybody_counts() -> None:
    table: dict[str, dict[str, dict[str, Decimal]]] = {}
    rule = LimitRule.MAX_ORDER_QTY
    for name, symbol, value in (("*", "*", 9), ("alpha", "*", 7), ("*", "ACME", 8), ("alpha", "ACME", 10)):
        set_limit(table, rule, name, symbol, D(value))
    assert tightest(table, rule.value, "alpha", "ACME") == 7
    set_limit(table, rule, "alpha", "*", None)
    assert limits_for(table, "alpha", "ACME").max_order_qty == 8
    assert limits_for(table, "beta", "OTHER").max_order_qty == 9
    set_limit(table, rule, "beta", "ACME", D(5))
    assert limits_for(table, "beta", "ACME").max_order_qty == 5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"approved_by": ""}, False),
        ({"expires_ns": 9}, False),
        ({"rule": "max_order_value"}, False),
        ({"value": D(119)}, False),
    ],
)
def test_an_override_covers_a_refusal_only_within_all_of_its_terms(
    changes: dict[str, object], expected: bool
) -> None:
    terms: dict[str, object] = {
        "rule": "max_order_qty",
        "account": "alpha",
        "symbol": "*",
        "value": D(120),
        "expires_ns": 10,
        "requested_by": "ann",
        "approved_by": "bea",
        **changes,
    }
    refusal = Refusal("max_order_qty", "", "quantity", "100", "120")
    assert checks.may_pass(Override(**terms), refusal, 10) is expected  # type: ignore[arg-type]
