"""The gate's short way agrees with the controls, whatever the limits, the state and the order."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.algo import AlgoTerms
from qtinfra.core.decimals import exact
from qtinfra.core.decisions import RiskRefused
from qtinfra.core.extended_models import (
    ANY,
    KillScope,
    LimitRule,
    PartyKind,
    RiskPolicy,
    TermsChange,
    TickBand,
)
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import RoutingPolicy
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.rules import check_new
from qtinfra.engine.decide import quick_gate
from qtinfra.engine.decide.quick_gate import (
    approval,
    gate_new,
    note_fit,
)
from qtinfra.engine.decide.risk_gate import gate
from qtinfra.engine.risk_state import REFERENCE, TOP, PlainPass
from qtinfra.risk.checks import RiskPassed
from tests.support.builders import (
    ALPHA,
    BETA,
    BUY,
    SELL,
    SYMBOL,
    Desk,
    account,
    dec,
    instrument,
    quote,
    submit,
)
from tests.support.short_way import pass_plain, plainly_passes

pytestmark = pytest.mark.unit

_NOW = 1_720_445_400_500_000_000

#: Limits around what the orders below come to, each side of it.
_AMOUNTS = st.sampled_from([None, 0, 100, 2_500, 5_000, 5_050, 10_000, 12_500, 1_000_000])
_UNITS = st.sampled_from([None, 0, 50, 100, 150, 200, 250, 100_000])
_SHARES = st.sampled_from([None, "0", "0.01", "0.02", "0.1", "1"])
_COUNTS = st.sampled_from([None, 0, 1, 2, 3, 100])
_VALUES: dict[LimitRule, st.SearchStrategy[Any]] = {
    LimitRule.MAX_ORDER_QTY: _UNITS,
    LimitRule.MAX_ORDER_VALUE: _AMOUNTS,
    LimitRule.MAX_ORDER_VALUE_BASE: _AMOUNTS,
    LimitRule.POSITION_LIMIT: _UNITS,
    LimitRule.PRICE_COLLAR: _SHARES,
    LimitRule.PERIOD_COLLAR: _SHARES,
    LimitRule.CAPITAL: _AMOUNTS,
    LimitRule.CONCENTRATION: _SHARES,
    LimitRule.GROSS_EXPOSURE: _AMOUNTS,
    LimitRule.NET_EXPOSURE: _AMOUNTS,
    LimitRule.CREDIT_THRESHOLD: _AMOUNTS,
    LimitRule.MAX_MESSAGES: _COUNTS,
    LimitRule.MAX_BOOK_MESSAGES: _COUNTS,
    LimitRule.DUPLICATE_FLOW: _COUNTS,
}
_SCOPED = (LimitRule.GROSS_EXPOSURE, LimitRule.NET_EXPOSURE, LimitRule.CREDIT_THRESHOLD)
_SCOPES = (ANY, ALPHA, f"CLIENT:client-{ALPHA}", "CLIENT:*", "FIRM:firm", "FIRM:*")
_ORDERS = st.builds(
    lambda cl_ord_id, qty, price, side, name, trader: submit(
        cl_ord_id, qty, price, side=side, name=name, trader=trader
    ),
    st.uuids().map(str),
    st.sampled_from([50, 100, 150, 200]),
    st.sampled_from([49, 50, 51, "50.5", None]),
    st.sampled_from([BUY, SELL]),
    st.sampled_from([ALPHA, BETA]),
    st.sampled_from(["", "bob", "eve"]),
)


def _quote(live: bool = True) -> VenueQuote:
    return quote("XNAS", [(49, 100)], [(51, 100)], live=live)


def _by_controls(desk: Desk, order: cmd.SubmitOrder, now_ns: int) -> RiskPassed | RiskRefused:
    return gate(
        desk.state,
        desk.market,
        account=order.account,
        trader=order.trader,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        tif=order.tif,
        qty=order.qty,
        adds=order.qty,
        price=order.price,
        min_qty=order.min_qty or dec(0),
        now_ns=now_ns,
    )


def _agree(desk: Desk, order: cmd.SubmitOrder, now_ns: int = _NOW) -> bool:
    """Compare both readers twice, the second time with what the first has remembered; whether both pass."""
    with exact():
        for _ in range(2):
            slow = _by_controls(desk, order, now_ns)
            quick = plainly_passes(desk.state, desk.market, order, now_ns)
            assert quick is None or approval(order, quick[REFERENCE]) == slow, (
                "what the short way approves the controls approve alike"
            )
        assert gate_new(desk.state, desk.market, order, now_ns) == slow
    return quick is not None


@st.composite
def _limit(draw: st.DrawFn) -> cmd.SetLimit:
    rule = draw(st.sampled_from(sorted(_VALUES)))
    value = draw(_VALUES[rule])
    account, symbol = draw(st.sampled_from(_SCOPES if rule in _SCOPED else (ANY, ALPHA))), ANY
    if rule in (LimitRule.MAX_ORDER_QTY, LimitRule.PRICE_COLLAR, LimitRule.POSITION_LIMIT):
        symbol = draw(st.sampled_from([ANY, SYMBOL]))
    if rule is LimitRule.MAX_BOOK_MESSAGES:
        account = ANY
    return cmd.SetLimit(rule, None if value is None else dec(value), account, symbol)


_CONTROLS: st.SearchStrategy[cmd.AnyCommand] = st.one_of(
    _limit(),
    _limit(),
    _limit(),
    st.builds(cmd.RestrictSymbol, st.just(SYMBOL), st.sampled_from([ANY, BETA, "TRADER:bob"]), st.booleans()),
    st.sampled_from(
        [
            cmd.EngageKillSwitch(KillScope.TRADER, "eve", "test"),
            cmd.ReleaseKillSwitch(KillScope.TRADER, "eve", "test"),
            cmd.EngageKillSwitch(KillScope.ACCOUNT, BETA, "test"),
            cmd.ReleaseKillSwitch(KillScope.ACCOUNT, BETA, "test"),
            cmd.SetRiskPolicy(RiskPolicy(approved_only=(PartyKind.TRADER,))),
            cmd.SetRiskPolicy(RiskPolicy(short_sale=True)),
            cmd.SetRiskPolicy(RiskPolicy()),
            cmd.ApproveParty(PartyKind.TRADER, "bob"),
            cmd.SetReference(prices=((SYMBOL, dec(50)),)),
        ]
    ),
)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_what_the_short_way_approves_every_control_approves_with_the_same_result(data: st.DataObject) -> None:
    desk = Desk(["XNAS"], checked=False)
    desk.market.quotes["XNAS"] = _quote(data.draw(st.booleans(), "feed is live"))
    for number in range(data.draw(st.integers(1, 12), "steps")):
        step = data.draw(st.one_of(_CONTROLS, _ORDERS, _ORDERS), f"step {number}")
        outcome = desk.run(step)
        if isinstance(step, cmd.SubmitOrder) and data.draw(st.booleans(), "filled"):
            for effect in outcome.effects:
                child_id = getattr(effect, "cl_ord_id", "")
                if child_id in desk.state.children:
                    child = desk.state.children[child_id]
                    desk.ack(child)
                    desk.fill(child, int(child.qty) // 2, 50)
        _agree(desk, data.draw(_ORDERS, "asked"), _NOW + data.draw(st.sampled_from([0, 10**9, 10**11])))


#: The same objects come again and again, as those that the wire's reader remembers.
_SHARED = list(map(dec, ("0", "-1", "1", "1.5", "50", "50.0", "50.00", "50.001", "0.0001", "1E+2", "1E+11")))
_PLAIN_OR_NOT = st.builds(
    lambda cl_ord_id, **changes: msgspec.structs.replace(submit(cl_ord_id, 100, 50, trader="bob"), **changes),
    st.sampled_from(["a", "a", "x" * 64, "x" * 65, "", "a b", "\t", "é"]),
    qty=st.sampled_from(_SHARED) | st.sampled_from(_SHARED).map(str).map(dec),
    price=st.sampled_from([None, *_SHARED]) | st.sampled_from(_SHARED).map(str).map(dec),
    order_type=st.sampled_from([OrderType.LIMIT, OrderType.LIMIT, OrderType.MARKET, OrderType.STOP]),
    tif=st.sampled_from([TimeInForce.DAY, TimeInForce.IOC, TimeInForce.GTD]),
    min_qty=st.sampled_from([dec(0), dec(0), dec(1), dec(1_000)]),
)


@given(st.lists(st.tuples(_PLAIN_OR_NOT, st.integers(0, 5)), min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_what_passes_the_short_way_keeps_every_rule(steps: list[tuple[cmd.SubmitOrder, int]]) -> None:
    desk = _limited()
    state, instrument = desk.state, desk.state.instruments[SYMBOL]
    for order, halt in steps:
        if halt < 2:
            desk.halt(halt == 0)
        with exact():
            refusal = check_new(order, state.accounts[ALPHA], instrument, SYMBOL in state.halted)
            passed = pass_plain(state, desk.market, order, _NOW)
            if refusal is not None:
                assert passed is None
                continue
            by_controls = plainly_passes(state, desk.market, order, _NOW)
            assert passed is None or _seen(passed) == _seen(by_controls)
            note_fit(state, order, instrument)
            known = pass_plain(state, desk.market, order, _NOW)
            small = order.price is None or max(order.price, order.qty) < 10**10
            in_units = order.qty.as_tuple().exponent <= 0  # type: ignore[operator]  # it is finite
            assert _seen(known) == (_seen(by_controls) if small and in_units and not order.min_qty else None)


def _seen(passed: PlainPass | None) -> tuple[object, ...] | None:
    """All that an approval says, what is met first in the market by content: books are made anew."""
    if passed is None:
        return None
    top = passed[TOP]
    met = (top.offer, top.venues, top.quotes, top.bid, top.ask) if top is not None else None
    return (*passed[:TOP], met, *passed[TOP + 1 :])


@pytest.mark.parametrize(
    "changes",
    [
        {"tif": TimeInForce.GTD},
        {"cl_ord_id": ""},
        {"cl_ord_id": "x" * 65},
        {"cl_ord_id": "\t"},
        {"cl_ord_id": "é"},
        {"min_qty": dec(1)},
        {"order_type": OrderType.MARKET},
        {"order_type": OrderType.STOP},
        {"price": None},
        {"price": Decimal("NaN")},
        {"price": Decimal("sNaN")},
        {"qty": Decimal("sNaN")},
        {"qty": Decimal("100.0")},
        {"price": Decimal("50." + "0" * 61)},
        {"special": SpecialTerms()},
        {"algo": AlgoTerms("TWAP", 0, 1)},
    ],
)
def test_one_field_that_a_rule_might_refuse_is_enough_for_a_closer_look(changes: dict[str, Any]) -> None:
    desk = _limited()
    desk.new("plans", 100, 50)
    order = submit("x" * 64, 100, 50)
    with exact():
        assert pass_plain(desk.state, desk.market, order, _NOW) is not None
        changed = msgspec.structs.replace(order, **changes)
        assert pass_plain(desk.state, desk.market, changed, _NOW) is None
        desk.halt()
        assert pass_plain(desk.state, desk.market, order, _NOW) is None


@pytest.mark.parametrize(("qty", "price"), [("1E+11", "1E+11"), ("5E+9", "1E+11"), ("1E+11", "5E+9")])
def test_numbers_whose_product_could_be_too_large_are_looked_at_each_time(qty: str, price: str) -> None:
    desk = _limited()
    desk.new("plans", 100, 50)
    many = msgspec.structs.replace(submit("many", 100, 50), qty=Decimal(qty))
    dear = msgspec.structs.replace(submit("dear", 100, 50), price=Decimal(price))
    with exact():
        for order in (many, dear):
            assert check_new(order, desk.state.accounts[ALPHA], desk.state.instruments[SYMBOL], False) is None
            note_fit(desk.state, order, desk.state.instruments[SYMBOL])
        both = msgspec.structs.replace(many, price=dear.price)
        assert pass_plain(desk.state, desk.market, both, _NOW) is None


def test_a_price_that_makes_some_products_too_large_is_looked_at_each_time_whatever_passed_at_it() -> None:
    desk = Desk(["XNAS", "BATS"], checked=False)
    for mic in ("XNAS", "BATS"):
        desk.market.quotes[mic] = quote(mic, [("1E+11", 100)], [("1E+11", 100)])
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    dear = msgspec.structs.replace(submit("dear", 100, 50), price=Decimal("1E+11"))
    many = msgspec.structs.replace(submit("many", 100, 50), qty=Decimal(5_000_000_000))
    for cl_ord_id in ("gathers", "plans", "passes"):
        assert desk.run(msgspec.structs.replace(dear, cl_ord_id=cl_ord_id)).events
    with exact():
        assert note_fit(desk.state, many, desk.state.instruments[SYMBOL])
        market = _Standing(desk)
        assert plainly_passes(desk.state, market, dear, _NOW) is not None
        both = msgspec.structs.replace(many, price=dear.price)
        assert check_new(both, desk.state.accounts[ALPHA], desk.state.instruments[SYMBOL], False) is not None
        assert pass_plain(desk.state, market, both, _NOW) is None


@pytest.mark.parametrize(("held", "side", "most"), [(-150, SELL, 50), (-150, BUY, 350), (150, BUY, 50)])
def test_what_is_held_counts_towards_the_position_on_the_side_that_it_is_on(
    held: int, side: OrderSide, most: int
) -> None:
    desk = _limited()
    desk.run(cmd.LoadPosition(BETA, SYMBOL, dec(held), dec(50), "2024-07-08"))
    desk.limit(LimitRule.POSITION_LIMIT, 200)
    assert _agree(desk, submit("at the limit", most, 50, side=side, name=BETA))
    assert not _agree(desk, submit("over it", most + 1, 50, side=side, name=BETA))


def test_numbers_that_fit_are_forgotten_with_the_instrument_s_terms_and_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = _limited()
    order = submit("next", 100, "50.01")

    def passes() -> bool:
        with exact():
            return pass_plain(desk.state, desk.market, order, _NOW) is not None

    desk.run(msgspec.structs.replace(order, cl_ord_id="as before"))
    desk.new("plan again", 100, 50)
    assert passes()
    wider = instrument(ticks=(TickBand(dec(0), dec("0.05")),))
    desk.run(cmd.SetReference(instruments=(wider,)))
    for cl_ord_id in ("gathers", "plans"):
        desk.new(cl_ord_id, 100, 50)
    assert not passes()
    desk.run(order)
    assert desk.order("next").status == "REJECTED"
    desk.run(cmd.SetReference(instruments=(instrument(changes=(_FINER,)),)))
    for cl_ord_id in ("more", "and more"):
        desk.run(msgspec.structs.replace(order, cl_ord_id=cl_ord_id))
    assert passes()
    desk.next_day()
    assert not passes()
    monkeypatch.setattr(quick_gate, "MAX_FITS", 1)
    desk.new("gathers anew", 100, 45)
    for price in (45, 48, 51):
        desk.new(f"at {price}", 100, price)
        assert len(desk.state.risk.memo.symbols[SYMBOL].fits.prices) == 1


def test_what_sizes_are_worth_at_the_last_limit_is_remembered_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(["XNAS", "BATS"], checked=False)
    for mic in ("XNAS", "BATS"):
        desk.market.quotes[mic] = quote(mic, [("49", 100)], [("50", 100)])
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    market = _Standing(desk)
    price, other = dec("50"), dec("50.01")
    sizes = [dec(text) for text in ("100", "200", "300.0")]

    def worth(limit: Decimal, qty: Decimal) -> str | None:
        order = msgspec.structs.replace(submit("next", 100, 50), qty=qty, price=limit)
        with exact():
            passed = pass_plain(desk.state, market, order, _NOW)
        return None if passed is None else str(passed[4])

    for place, (limit, qty) in enumerate((limit, qty) for limit in (price, other) for qty in sizes):
        desk.run(msgspec.structs.replace(submit(f"O{place}", 100, 50), qty=qty, price=limit))
    plans = desk.state.risk.memo.of_accounts[ALPHA].plans
    assert plans is not None
    bound = plans[SYMBOL].buying
    for _ in range(2):
        assert [worth(price, qty) for qty in sizes] == ["5000", "10000", "15000.0"]
        assert bound.within is price
        assert len(bound.values) == 3
        assert worth(price, dec("100.0")) is None
        assert [worth(other, qty) for qty in sizes] == ["5001.00", "10002.00", "15003.000"]
        assert bound.within is other
    assert worth(other, Decimal("sNaN")) is None
    monkeypatch.setattr(quick_gate, "MAX_FITS", 1)
    assert [worth(price, qty) for qty in sizes] == ["5000", "10000", "15000.0"]
    assert len(bound.values) == 1


def test_where_scores_route_the_last_limit_that_passes_is_remembered_too() -> None:
    desk = Desk(["XNAS", "BATS"], checked=False)
    for mic in ("XNAS", "BATS"):
        desk.market.quotes[mic] = quote(mic, [("49", 100)], [("50", 100)])
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    desk.run(cmd.SetRoutingPolicy(RoutingPolicy()))
    desk.new("gathers anew", 100, 45)
    market = _Standing(desk)
    taking, resting, far, qty = dec("50"), dec("49"), dec("60"), dec(100)
    for place, limit in enumerate((taking, resting, far)):
        desk.run(msgspec.structs.replace(submit(f"O{place}", 100, 50), qty=qty, price=limit))
    plans = desk.state.risk.memo.of_accounts[ALPHA].plans
    assert plans is not None
    bound = plans[SYMBOL].buying
    for limit, remembered in ((taking, taking), (resting, resting), (far, resting), (taking, taking)):
        order = msgspec.structs.replace(submit("next", 100, 50), qty=qty, price=limit)
        with exact():
            passed = pass_plain(desk.state, market, order, _NOW)
        assert (passed is None) == (limit is far)
        assert passed is None or (passed[TOP] is None and passed[4] == qty * limit)
        assert bound.within is remembered
        assert bound.values == {qty: (qty, qty * remembered)}


_FINER = TermsChange("2024-07-09", dec(1), (TickBand(dec(0), dec("0.03")),))


def test_an_account_that_may_not_trade_is_refused_at_once() -> None:
    desk = _limited()
    desk.new("second", 100, 50)
    with exact():
        assert pass_plain(desk.state, desk.market, desk_order(desk), _NOW) is not None
    desk.run(cmd.SetReference(accounts=(account(ALPHA, enabled=False),)))
    desk.run(desk_order(desk))
    assert desk.order("next").status == "REJECTED"


def desk_order(desk: Desk) -> cmd.SubmitOrder:
    """An order of the numbers that the desk's first one had, the same objects."""
    first = desk.order("first")
    return msgspec.structs.replace(submit("next", 100, 50), qty=first.qty, price=first.price)


def _limited() -> Desk:
    desk = Desk(["XNAS"], checked=False)
    desk.market.quotes["XNAS"] = _quote()
    desk.new("first", 100, 50)
    return desk


_AT = {
    LimitRule.MAX_ORDER_QTY: ("100", "99"),
    LimitRule.MAX_ORDER_VALUE: ("5000", "4999.99"),
    LimitRule.MAX_ORDER_VALUE_BASE: ("5000", "4999.99"),
    LimitRule.POSITION_LIMIT: ("200", "199"),
    LimitRule.GROSS_EXPOSURE: ("10000", "9999.99"),
    LimitRule.NET_EXPOSURE: ("10000", "9999.99"),
    LimitRule.CREDIT_THRESHOLD: ("10000", "9999.99"),
}


@pytest.mark.parametrize("rule", _AT)
def test_at_the_limit_the_short_way_passes_and_one_unit_over_the_control_refuses(rule: LimitRule) -> None:
    desk, (at, over) = _limited(), _AT[rule]
    order = submit("next", 100, 50)
    desk.limit(rule, at)
    assert _agree(desk, order)
    desk.limit(rule, over)
    assert not _agree(desk, order)
    with exact():
        refused = gate_new(desk.state, desk.market, order, _NOW)
    assert isinstance(refused, RiskRefused)
    assert refused.refusal.code == rule.value


@pytest.mark.parametrize("rule", _SCOPED)
@pytest.mark.parametrize("largest", ["5000", "7500", "1000000"])
def test_totals_that_no_order_can_take_to_the_limit_are_told_from_those_that_one_can(
    rule: LimitRule, largest: str
) -> None:
    desk, (at, over) = _limited(), _AT[rule]
    desk.limit(LimitRule.MAX_ORDER_VALUE, largest)
    for bound, passes in ((at, True), (over, False), ("1000000", True), ("5000", False)):
        desk.limit(rule, bound)
        assert _agree(desk, submit("next", 100, 50)) is passes


def test_what_was_traded_today_uses_credit_on_the_short_way_too() -> None:
    desk = _limited()
    desk.ack(desk.child("first"))
    desk.fill(desk.child("first"), 100)
    desk.working("sold", 100, 50, side=SELL)
    desk.fill(desk.child("sold"), 100)
    desk.limit(LimitRule.MAX_ORDER_VALUE, 5_000)
    for bound, passes in ((20_000, True), (15_000, True), ("14999.99", False)):
        desk.limit(LimitRule.CREDIT_THRESHOLD, bound)
        assert _agree(desk, submit("next", 100, 50)) is passes


@pytest.mark.parametrize(
    ("scope", "alpha_passes"), [(ALPHA, True), (f"CLIENT:client-{ALPHA}", True), ("FIRM:*", False)]
)
def test_figures_in_other_currencies_need_a_closer_look_where_a_limit_of_a_scope_counts_them(
    scope: str, alpha_passes: bool
) -> None:
    desk = _limited()
    desk.run(cmd.SetFxRate(Currency.EUR, Currency.USD, dec("1.1")))
    desk.run(cmd.SetReference((instrument("EURO", currency=Currency.EUR),)))
    for rule in (LimitRule.CREDIT_THRESHOLD, LimitRule.GROSS_EXPOSURE):
        desk.limit(rule, 1_000_000, name=scope if rule is LimitRule.GROSS_EXPOSURE else ALPHA)
    desk.run(submit("euro", 10, 50, name=BETA, symbol="EURO"))
    assert _agree(desk, submit("next", 100, 50)) is alpha_passes
    assert desk.run(submit("more", 10, 50, symbol="EURO")).events
    assert not _agree(desk, submit("next", 100, 50))


def test_numbers_of_an_instrument_without_odd_lots_are_looked_at_each_time() -> None:
    desk = _limited()
    desk.run(cmd.SetReference((instrument(odd_lots=False),)))
    desk.new("whole", 100, 50)
    desk.new("again", 100, 50)
    with exact():
        assert pass_plain(desk.state, desk.market, submit("next", 100, 50), _NOW) is None


def test_collars_pass_at_the_bound_on_the_short_way_and_not_a_cent_beyond() -> None:
    desk = _limited()
    desk.limit(LimitRule.PRICE_COLLAR, "0.02")
    assert _agree(desk, submit("buy", 100, 51))
    assert not _agree(desk, submit("buy", 100, "51.01"))
    assert _agree(desk, submit("sell", 100, 49, side=SELL))
    assert not _agree(desk, submit("sell", 100, "48.99", side=SELL))


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_market_order_is_worth_the_reference_price_and_without_one_takes_the_long_way(
    side: OrderSide,
) -> None:
    desk = _limited()
    for rule in (LimitRule.PRICE_COLLAR, LimitRule.PERIOD_COLLAR):
        desk.limit(rule, "0.02")
    desk.limit(LimitRule.MAX_ORDER_VALUE, 5_000)
    desk.new("at 50", 10, 50)
    order = submit("market", 100, None, side=side)
    assert _agree(desk, order)
    assert not _agree(desk, submit("market", 101, None, side=side))
    desk.market.quotes["XNAS"] = quote("XNAS", [("50.9", 100)], [("51.2", 100)])
    desk.limit(LimitRule.MAX_ORDER_VALUE, 10_000)
    assert _agree(desk, order) is (side is SELL), "a buy at 51.05 is more than 2% above 50"
    desk.market.quotes["XNAS"] = _quote(live=False)
    assert not _agree(desk, order)


def test_an_order_of_unknown_parties_takes_the_long_way() -> None:
    desk = _limited()
    desk.limit(LimitRule.MAX_ORDER_QTY, 1000)
    desk.kill(KillScope.TRADER, "eve")
    assert not _agree(desk, submit("killed", 100, 50, trader="eve"))
    assert _agree(desk, submit("free", 100, 50, trader="bob"))


def test_an_unfrozen_account_trades_at_once() -> None:
    desk = _limited()
    desk.state.frozen[ALPHA] = "ZeroDivisionError"
    desk.state.risk.memo.clear()
    desk.new("frozen", 100, 50)
    assert desk.order("frozen").status == "REJECTED"
    desk.run(cmd.Unfreeze(ALPHA, "looked at"))
    desk.new("free", 100, 50)
    assert desk.order("free").status == "ROUTED"


def test_remembered_sheets_and_traders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_gate, "MAX_SHEETS", 1)
    monkeypatch.setattr(quick_gate, "MAX_TRADERS", 1)
    desk = _limited()
    desk.limit(LimitRule.MAX_ORDER_QTY, 50, name=BETA)
    desk.new("other", 10, 50, name=BETA)
    for name, trader in ((ALPHA, "bob"), (BETA, "eve"), (ALPHA, "bob")):
        assert _agree(desk, submit("next", 10, 50, name=name, trader=trader))
        memo = desk.state.risk.memo
        assert (sum(map(len, memo.kinds.values())), len(memo.traders)) == (1, 1)
    assert not _agree(desk, submit("next", 51, 50, name=BETA))


def test_a_book_that_has_moved_is_looked_at_again() -> None:
    desk = _limited()
    desk.limit(LimitRule.PRICE_COLLAR, "0.02")
    assert _agree(desk, submit("buy", 100, 51))
    desk.market.quotes["XNAS"] = quote("XNAS", [(39, 100)], [(41, 100)])
    assert not _agree(desk, submit("buy", 100, 51))
    order = msgspec.structs.replace(submit("low", 100, 40), price=Decimal(40))
    assert _agree(desk, order)


def _refusal(desk: Desk, order: cmd.SubmitOrder) -> str:
    """The code that both readers refuse with; empty when both pass."""
    if _agree(desk, order):
        return ""
    with exact():
        verdict = gate_new(desk.state, desk.market, order, _NOW)
    return verdict.refusal.code if isinstance(verdict, RiskRefused) else ""


@pytest.mark.parametrize("rule", [LimitRule.MAX_MESSAGES, LimitRule.MAX_BOOK_MESSAGES])
def test_so_many_messages_as_the_limit_pass_the_short_way_and_the_next_does_not(rule: LimitRule) -> None:
    desk = _limited()
    desk.limit(rule, 2)
    for number in range(2):
        assert not _refusal(desk, submit("next", 10, 50))
        desk.new(f"message {number}", 10, 50)
    assert _refusal(desk, submit("next", 10, 50)) == "max_messages"
    assert _agree(desk, submit("next", 10, 50), _NOW + 10**10), "the window has passed"
    desk.limit(rule, 0)
    assert not _agree(desk, submit("next", 10, 50), _NOW + 10**10), "none at all"


def test_equal_orders_up_to_the_limit_pass_the_short_way_and_the_next_does_not() -> None:
    desk = _limited()
    desk.limit(LimitRule.DUPLICATE_FLOW, 1)
    assert not _refusal(desk, submit("next", 10, 50))
    desk.new("same", 10, 50)
    assert _refusal(desk, submit("next", 10, 50)) == "duplicate_flow"
    assert not _refusal(desk, submit("next", 10, 49))
    desk.limit(LimitRule.DUPLICATE_FLOW, 0)
    assert _refusal(desk, submit("next", 10, 49)) == "duplicate_flow"


def test_the_period_s_extremes_bind_the_short_way() -> None:
    desk = _limited()
    desk.limit(LimitRule.PERIOD_COLLAR, "0.02")
    desk.new("at 50", 10, 50)
    desk.market.quotes["XNAS"] = quote("XNAS", [(59, 100)], [(61, 100)])
    assert not _refusal(desk, submit("buy", 10, 51))
    assert _refusal(desk, submit("buy", 10, "51.01")) == "period_collar"
    assert not _refusal(desk, submit("sell", 10, 49, side=SELL))
    assert _refusal(desk, submit("sell", 10, "48.99", side=SELL)) == "period_collar"


def test_a_trader_without_the_approval_that_the_policy_wants_does_not_pass() -> None:
    desk = _limited()
    desk.run(cmd.SetRiskPolicy(RiskPolicy(approved_only=(PartyKind.TRADER,))))
    assert _refusal(desk, submit("next", 10, 50, trader="bob")) == "unauthorised"
    desk.run(cmd.ApproveParty(PartyKind.TRADER, "bob"))
    assert not _refusal(desk, submit("next", 10, 50, trader="bob"))


def test_where_regulation_sho_binds_purchases_and_sales_of_what_is_owned_pass_the_short_way() -> None:
    desk = _limited()
    desk.run(cmd.LoadPosition(BETA, SYMBOL, dec(300), dec(50), "2024-07-08"))
    desk.run(cmd.SetRiskPolicy(RiskPolicy(short_sale=True)))
    desk.new("open", 100, 51, side=SELL, name=BETA)
    assert _agree(desk, submit("buy", 100, 50))
    assert _agree(desk, submit("sell", 200, 51, side=SELL, name=BETA))
    assert not _agree(desk, submit("more", 201, 51, side=SELL, name=BETA))
    assert not _agree(desk, submit("short", 100, 51, side=OrderSide.SELL_SHORT, name=BETA))


class _Standing:
    """A market that gives the same book again and again."""

    def __init__(self, desk: Desk) -> None:
        self.found = desk.market.book(SYMBOL)

    def book(self, symbol: str) -> ConsolidatedBook | None:
        del symbol
        return self.found


def _passes_at(desk: Desk, market: _Standing, order: cmd.SubmitOrder, now_ns: int = _NOW) -> bool:
    with exact():
        return plainly_passes(desk.state, market, order, now_ns) is not None


def test_a_bound_of_a_book_that_stands_moves_with_the_period_s_extreme() -> None:
    desk, order = _limited(), submit("buy", 10, 51)
    desk.limit(LimitRule.PERIOD_COLLAR, "0.02")
    desk.new("at 50", 10, 50)
    market = _Standing(desk)
    assert _passes_at(desk, market, order)
    assert _passes_at(desk, market, order)
    desk.market.quotes["XNAS"] = quote("XNAS", [(48, 100)], [(50, 100)])
    desk.new("at 49", 10, 49, side=SELL)
    assert not _passes_at(desk, market, order)


def test_a_journaled_reference_grows_stale_beside_a_book_that_stands() -> None:
    desk, order = _limited(), submit("buy", 10, 50)
    desk.run(cmd.SetRiskPolicy(RiskPolicy(reference_max_age_ns=10**9)))
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(50)),)))
    desk.limit(LimitRule.PRICE_COLLAR, "0.02")
    desk.new("gathers", 10, 50)
    desk.market.quotes["XNAS"] = quote("XNAS", [(49, 100)], [])
    market = _Standing(desk)
    assert _passes_at(desk, market, order)
    assert not _passes_at(desk, market, order, _NOW + 2 * 10**9)


def test_equal_orders_of_the_generation_before_count_while_they_are_young() -> None:
    desk, began = _limited(), _NOW
    desk.limit(LimitRule.DUPLICATE_FLOW, 1)
    for after_ms, price in ((0, 48), (300, 50), (520, 49)):
        desk._now_ns = began + after_ms * 1_000_000
        desk.new(f"after {after_ms}", 10, price)
    assert desk.state.risk.flow.previous
    assert not _agree(desk, submit("next", 10, 50), began + 600_000_000)
    assert _agree(desk, submit("next", 10, 50), began + 900_000_000)
