"""What a refusal says: rule, field, limit, observed value, reason for FIX, and words with the same numbers.

Clients and people read these; the mutation tests showed that nothing else held them.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.decimals import canonical, plain
from qtinfra.core.decisions import Refusal
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import REJ_EXCEEDS_LIMIT, REJ_OTHER
from qtinfra.risk import checks
from qtinfra.risk import facts as facts_module
from qtinfra.risk.exposure import (
    check_concentration,
    check_credit,
    check_gross_exposure,
    check_net_exposure,
    check_position_limit,
)
from qtinfra.risk.facts import AlgoFacts, Control, Rate, RiskFacts, RiskProfile, ShortFacts
from qtinfra.risk.flow import check_algo_executions, check_book_messages, check_duplicates, check_messages
from qtinfra.risk.ledger import Amounts, Cell, LocateUse
from qtinfra.risk.limits import Limits, ScopeLimit
from qtinfra.risk.permission import check_approved, check_frozen, check_kill_switch, check_restricted
from qtinfra.risk.price import check_period_collar, check_price_collar
from qtinfra.risk.short_sale import check_locate, check_price_test, check_short_mark
from qtinfra.risk.size import check_max_order_qty, check_max_order_value, check_max_order_value_base

pytestmark = pytest.mark.unit

BUY, SELL, SHORT = OrderSide.BUY, OrderSide.SELL, OrderSide.SELL_SHORT
D = Decimal
EXCEEDS = REJ_EXCEEDS_LIMIT
NOW_NS = 100


def profile(currency: str = "", rates: dict[str, Rate] | None = None, **more: str | bool) -> RiskProfile:
    at = RiskProfile(
        "alpha",
        "ACME",
        Limits(),
        checks.CONTROLS,
        D(1),
        currency,
        rates or {},
        Cell(),
        False,
        False,
        False,
        {},
        "",
        "",
        "",
    )
    for name, value in more.items():
        setattr(at, name, value)
    return at


def facts(
    limits: Limits, at: RiskProfile | None = None, side: OrderSide = BUY, qty: int = 10, **more: object
) -> RiskFacts:
    """An order of ten at fifty, decided at nanosecond 100."""
    found = RiskFacts(
        at or profile(),
        limits,
        side,
        side is BUY,
        OrderType.LIMIT,
        TimeInForce.DAY,
        D(qty),
        D(qty),
        D(50),
        D(0),
        NOW_NS,
        D(0),
        D(0),
        D(0),
    )
    found.order_value = found.value = found.base_value = found.worst = D(qty) * 50
    for name, value in more.items():
        setattr(found, name, value)
    return found


def scopes(value: int, foreign: dict[str, Amounts] | None = None, **home: int) -> tuple[ScopeLimit, ...]:
    sums = Amounts(**{name: D(amount) for name, amount in home.items()})
    return (ScopeLimit("FIRM:firm", D(value), sums, foreign or {}),)


def over(code: str, limit: str, observed: str, who: str = "", field: str = "quantity") -> Refusal:
    text = f"{code}: {observed} is beyond the limit {limit}{who}"
    return Refusal(code, text, field, limit, observed, EXCEEDS)


OF_FIRM = " of FIRM:firm"
EUR = Amounts(long=D(7), short=D(9), gross=D(16), traded=D(4))
GBP = Amounts(long=D(1), short=D(2), gross=D(3), traded=D(1))
ABROAD = {"EUR": EUR, "GBP": GBP}
RATES = {"EUR": Rate(D(2)), "GBP": Rate(D(10))}

Case = tuple[Control, Callable[[], RiskFacts], Refusal]

LIMITS: list[Case] = [
    (check_max_order_qty, lambda: facts(Limits(max_order_qty=D(9))), over("max_order_qty", "9", "10")),
    (
        check_max_order_value,
        lambda: facts(Limits(max_order_value=D(499))),
        over("max_order_value", "499", "500"),
    ),
    (
        check_max_order_value_base,
        lambda: facts(Limits(max_order_value_base=D(999)), profile("EUR", RATES)),
        over("max_order_value_base", "999", "1000"),
    ),
    (
        check_position_limit,
        lambda: facts(Limits(position_limit=D(9)), side=SELL),
        over("position_limit", "9", "10"),
    ),
    (
        check_concentration,
        lambda: facts(Limits(concentration=D(999)), profile("EUR", RATES)),
        over("concentration", "999", "1000"),
    ),
    (
        check_concentration,
        lambda: facts(Limits(concentration=D("499.50"))),
        over("concentration", "499.5", "500"),
    ),
    (
        check_price_collar,
        lambda: facts(Limits(price_collar=D("0.1")), reference=D(40)),
        over("price_collar", "44", "50", field="price"),
    ),
    (
        check_price_collar,
        lambda: facts(Limits(price_collar=D("0.1")), side=SELL, reference=D(60)),
        over("price_collar", "54", "50", field="price"),
    ),
    (
        check_period_collar,
        lambda: facts(Limits(period_collar=D("0.1")), drift_low=D(40)),
        over("period_collar", "44", "50", field="price"),
    ),
    (
        check_period_collar,
        lambda: facts(Limits(period_collar=D("0.1")), side=SELL, drift_high=D(60)),
        over("period_collar", "54", "50", field="price"),
    ),
    (
        check_gross_exposure,
        lambda: facts(Limits(gross=scopes(599, gross=100))),
        over("gross_exposure", "599", "600", OF_FIRM),
    ),
    (
        check_gross_exposure,
        lambda: facts(Limits(gross=scopes(1061, ABROAD)), profile("EUR", RATES)),
        over("gross_exposure", "1061", "1062", OF_FIRM),
    ),
    (
        check_net_exposure,
        lambda: facts(Limits(net=scopes(523, ABROAD)), profile(rates=RATES)),
        over("net_exposure", "523", "524", OF_FIRM),
    ),
    (
        check_net_exposure,
        lambda: facts(Limits(net=scopes(537, ABROAD)), profile(rates=RATES), side=SELL),
        over("net_exposure", "537", "538", OF_FIRM),
    ),
    (
        check_credit,
        lambda: facts(Limits(credit=scopes(579, ABROAD)), profile(rates=RATES)),
        over("credit_threshold", "579", "580", OF_FIRM),
    ),
]


@pytest.mark.parametrize(("control", "at", "refusal"), LIMITS)
def test_a_limit_that_is_exceeded_is_named_with_its_value_and_the_observed_one(
    control: Control, at: Callable[[], RiskFacts], refusal: Refusal
) -> None:
    assert control(at()) == refusal


@pytest.mark.parametrize("control", [check_gross_exposure, check_net_exposure, check_credit])
def test_the_scope_whose_limit_refused_is_noted_for_overrides(control: Control) -> None:
    bound = scopes(1)
    asked = facts(Limits(gross=bound, net=bound, credit=bound))
    assert control(asked) is not None
    assert asked.scope == "FIRM:firm"


# --- what cannot be computed fails closed --------------------------------------------------------------


def no_rate(rule: str, currency: str = "EUR") -> Refusal:
    text = f"{rule} needs a fresh rate into the base currency and there is none"
    return Refusal("stale_fx", text, "currency", rule, currency, EXCEEDS)


def no_price(rule: str) -> Refusal:
    text = f"{rule} needs a reference price and there is no live one"
    return Refusal("stale_reference", text, "price", rule, "none", EXCEEDS)


BY_RULE: dict[str, tuple[Control, Limits]] = {
    "max_order_value": (check_max_order_value, Limits(max_order_value=D(1))),
    "max_order_value_base": (check_max_order_value_base, Limits(max_order_value_base=D(1))),
    "concentration": (check_concentration, Limits(concentration=D(1))),
    "gross_exposure": (check_gross_exposure, Limits(gross=scopes(1))),
    "net_exposure": (check_net_exposure, Limits(net=scopes(1))),
    "credit_threshold": (check_credit, Limits(credit=scopes(1))),
    "price_collar": (check_price_collar, Limits(price_collar=D(1))),
    "period_collar": (check_period_collar, Limits(period_collar=D(1))),
}
VALUED = [rule for rule in BY_RULE if rule not in ("price_collar", "period_collar", "max_order_value")]
MEASURED_ABROAD = ["gross_exposure", "net_exposure", "credit_threshold"]


def unpriced(side: OrderSide = BUY, position: int = 0, limits: Limits | None = None) -> RiskFacts:
    return facts(
        limits or Limits(),
        side=side,
        position=D(position),
        price=None,
        order_value=None,
        value=None,
        base_value=None,
        worst=None,
    )


@pytest.mark.parametrize("rule", BY_RULE)
def test_without_a_price_a_control_refuses_unless_the_order_only_reduces_risk(rule: str) -> None:
    control, limits = BY_RULE[rule]
    assert control(unpriced(limits=limits)) == no_price(rule)
    assert control(unpriced(SELL, 10, limits)) is None
    assert control(unpriced(BUY, -10, limits)) is None
    assert control(unpriced(SELL, 9, limits)) == no_price(rule)
    assert control(unpriced(BUY, -9, limits)) == no_price(rule)


@pytest.mark.parametrize("rule", VALUED)
def test_without_a_rate_a_control_refuses_and_names_the_currency(rule: str) -> None:
    control, limits = BY_RULE[rule]
    assert control(facts(limits, profile("EUR"), base_value=None)) == no_rate(rule)


@pytest.mark.parametrize("rule", ["max_order_value_base", "net_exposure", "credit_threshold"])
def test_without_a_rate_an_order_that_only_reduces_risk_passes(rule: str) -> None:
    control, limits = BY_RULE[rule]
    assert control(facts(limits, profile("EUR"), side=SELL, position=D(10), base_value=None)) is None


@pytest.mark.parametrize("rule", MEASURED_ABROAD)
def test_foreign_exposure_without_a_rate_refuses(rule: str) -> None:
    bound = scopes(10_000, ABROAD)
    limits = Limits(gross=bound, net=bound, credit=bound)
    control = BY_RULE[rule][0]
    assert control(facts(limits, profile(rates=RATES))) is None
    assert control(facts(limits, profile(rates={"EUR": Rate(D(2))}))) == no_rate(rule, "foreign exposure")
    if rule != "gross_exposure":
        assert control(facts(limits, profile(), side=SELL, position=D(10))) is None


@pytest.mark.parametrize(("until_ns", "fresh"), [(0, True), (NOW_NS, True), (NOW_NS - 1, False)])
def test_a_rate_is_good_up_to_and_at_its_last_nanosecond(until_ns: int, fresh: bool) -> None:
    rates = {"EUR": Rate(D(2), until_ns), "GBP": Rate(D(10), until_ns)}
    control, limits = BY_RULE["max_order_value_base"]
    refusal = control(facts(limits, profile("EUR", rates)))
    assert refusal is not None and (refusal.code == "max_order_value_base") is fresh
    bound = Limits(credit=scopes(10_000, ABROAD))
    assert (check_credit(facts(bound, profile(rates=rates))) is None) is fresh


# --- permissions, flow, short sales --------------------------------------------------------------------

LOCATED = LocateUse("alpha", "ACME", D(20), D(9), "2024-07-08")
NO_LOCATE = "a short sale needs a locate of the account for the symbol (Reg SHO 203(b)(1))"
STAMPS = [40, 50]


def short(locate: LocateUse | None, bid: int | None = 50, date: str = "2024-07-08") -> ShortFacts:
    return ShortFacts(None if bid is None else D(bid), True, "L1", locate, date)


OTHERS: list[Case] = [
    (
        check_frozen,
        lambda: facts(Limits(), profile(frozen="decide")),
        Refusal("frozen", "frozen after a fault: decide", "account", "", "alpha"),
    ),
    (
        check_kill_switch,
        lambda: facts(Limits(), killed="ALGO:twap"),
        Refusal("kill_switch", "kill switch ALGO:twap is engaged", "", "ALGO:twap", "ACME"),
    ),
    (
        check_restricted,
        lambda: facts(Limits(), profile(restricted=True)),
        Refusal("restricted_symbol", "ACME is restricted", "symbol", "", "ACME"),
    ),
    (
        check_approved,
        lambda: facts(Limits(), unapproved="TRADER:tim:2"),
        Refusal("unauthorised", "trader 'tim:2' is not approved", "trader", "approved", "tim:2"),
    ),
    (
        check_messages,
        lambda: facts(Limits(messages=2), messages=STAMPS, message_since_ns=39),
        Refusal(
            "max_messages",
            "max_messages: alpha has sent 2 messages within the window",
            "account",
            "2",
            "3",
            EXCEEDS,
        ),
    ),
    (
        check_book_messages,
        lambda: facts(Limits(book_messages=2), book_messages=STAMPS, message_since_ns=39),
        Refusal(
            "max_messages",
            "max_messages: ACME has sent 2 messages within the window",
            "symbol",
            "2",
            "3",
            EXCEEDS,
        ),
    ),
    (
        check_duplicates,
        lambda: facts(Limits(duplicates=2), duplicates=2),
        Refusal(
            "duplicate_flow",
            "duplicate_flow: 3 equal orders within the window, 2 may be",
            "quantity",
            "2",
            "3",
            EXCEEDS,
        ),
    ),
    (
        check_algo_executions,
        lambda: facts(Limits(), algo=AlgoFacts("twap", 2, 2, False)),
        Refusal(
            "algo_executions",
            "algo_executions: algo twap has used up its 2 executions",
            "algo",
            "2",
            "3",
            EXCEEDS,
        ),
    ),
    (
        check_algo_executions,
        lambda: facts(Limits(), algo=AlgoFacts("twap", 0, None, True)),
        Refusal("algo_disabled", "algo twap is disabled until staff re-enable it", "algo", "", "twap"),
    ),
    (
        check_short_mark,
        lambda: facts(Limits(), side=SELL, position=D(9)),
        Refusal(
            "short_sale_mark",
            "a sell of 10 with 9 owned must be marked short (Reg SHO 200(g))",
            "side",
            "9",
            "10",
        ),
    ),
    (
        check_locate,
        lambda: facts(Limits(), side=SHORT, short=short(None)),
        Refusal("locate_missing", NO_LOCATE, "locate_id", "", "L1"),
    ),
    (
        check_locate,
        lambda: facts(Limits(), side=SHORT, short=short(LOCATED, date="2024-07-09")),
        Refusal(
            "locate_expired", "locate L1 is good for 2024-07-08 only", "locate_id", "2024-07-08", "2024-07-09"
        ),
    ),
    (
        check_locate,
        lambda: facts(Limits(), side=SHORT, short=short(LOCATED)),
        Refusal("locate_insufficient", "locate L1 has 9 left for 10", "locate_id", "9", "10"),
    ),
    (
        check_price_test,
        lambda: facts(Limits(), side=SHORT, short=short(None, None)),
        Refusal(
            "stale_reference",
            "the short-sale price test needs a live best bid and there is none",
            "price",
            "price_test",
            "none",
        ),
    ),
    (
        check_price_test,
        lambda: facts(Limits(), side=SHORT, short=short(None)),
        Refusal("price_test", "short sale at 50, best bid 50 (Reg SHO 201(b))", "price", "50", "50"),
    ),
    (
        check_price_test,
        lambda: facts(Limits(), side=SHORT, price=None, short=short(None)),
        Refusal("price_test", "short sale at market, best bid 50 (Reg SHO 201(b))", "price", "50", "market"),
    ),
]


@pytest.mark.parametrize(("control", "at", "refusal"), OTHERS)
def test_every_other_refusal_is_said_in_full(
    control: Control, at: Callable[[], RiskFacts], refusal: Refusal
) -> None:
    assert control(at()) == refusal
    assert refusal.fix_reason in (EXCEEDS, REJ_OTHER)


@given(
    st.decimals(-(10**15), 10**15, places=9)
    | st.sampled_from(list(map(Decimal, ("0.00", "-0.00", "1E+3", "100", "-1.50", "0E+4", "1E-8"))))
)
def test_limit_and_observed_value_are_said_in_their_shortest_plain_form(value: Decimal) -> None:
    said = facts_module.over("rule", "field", value, value)
    assert said.limit == said.observed == plain(canonical(value))
    assert said.text == f"rule: {said.limit} is beyond the limit {said.limit}"
