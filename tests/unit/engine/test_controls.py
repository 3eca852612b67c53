"""The pre-trade controls in the engine, each test named by the row of the control catalogue that it proves.

RC rows: 17 CFR 240.15c3-5, Regulation SHO, Commission Delegated Regulation (EU) 2017/589 (RTS 6).
"""

from decimal import Decimal

import msgspec
import pytest

from qtinfra.core import commands as cmd
from qtinfra.core import events as ev
from qtinfra.core.extended_models import (
    KillScope,
    LimitRule,
    Locate,
    PartyKind,
    RestrictedPolicy,
    RiskPolicy,
)
from qtinfra.core.models import Currency, OrderSide, OrderType
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.risk_sums import totals_of
from tests.support.builders import (
    ALPHA,
    BETA,
    DAYS,
    SELL,
    SYMBOL,
    Desk,
    Number,
    account,
    dec,
    instrument,
    kinds,
    only,
    quote,
)

SHORT, EXEMPT = OrderSide.SELL_SHORT, OrderSide.SELL_SHORT_EXEMPT
SECOND = 1_000_000_000


def code(outcome: Outcome) -> str:
    """The code that the order was refused with; empty when it was accepted."""
    refused = [event for event in outcome.events if isinstance(event, ev.OrderRejected)]
    return refused[0].code if refused else ""


def refusal(outcome: Outcome) -> tuple[str, str, str]:
    event = only(outcome, ev.OrderRejected)
    return event.code, event.limit, event.observed


def policy(desk: Desk, **changes: object) -> Outcome:
    return desk.run(cmd.SetRiskPolicy(msgspec.structs.replace(desk.state.risk.policy, **changes)))


def market(desk: Desk, bid: Number, ask: Number, live: bool = True) -> None:
    desk.market.quotes["XNAS"] = quote("XNAS", [(bid, 1000)], [(ask, 1000)], live=live)


def reference(desk: Desk, price: Number) -> None:
    desk.run(cmd.SetReference(prices=((SYMBOL, dec(price)),)))


def approve(desk: Desk, kind: PartyKind, *parties: str) -> None:
    for party in parties:
        desk.run(cmd.ApproveParty(kind, party))


def refused_command(outcome: Outcome) -> str:
    return str(only(outcome, ev.CommandRefused).code)


# --- RC-01: credit and capital, open orders counted ------------------------------------------------------

SCOPES = ("*", "CLIENT:*", "FIRM:*", ALPHA, f"CLIENT:client-{ALPHA}", "FIRM:firm")


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    "rule", [LimitRule.CREDIT_THRESHOLD, LimitRule.GROSS_EXPOSURE, LimitRule.NET_EXPOSURE]
)
def test_rc_01_open_orders_may_sum_to_the_limit_and_not_to_a_cent_more(rule: LimitRule, scope: str) -> None:
    desk = Desk()
    desk.limit(rule, "10000", scope)
    assert code(desk.new("A", 100, 60)) == ""
    assert refusal(desk.new("B", 1, "4000.01")) == (rule.value, "10000", "10000.01")
    assert "B" not in [order.cl_ord_id for order in desk.state.orders.values() if order.children]
    assert code(desk.new("C", 1, 4000)) == ""


def test_rc_01_of_a_pair_that_each_fit_alone_exactly_one_passes() -> None:
    desk = Desk()
    desk.limit(LimitRule.CREDIT_THRESHOLD, "9000", "FIRM:*")
    assert [code(desk.new("A", 100, 50)), code(desk.new("B", 100, 50, name=BETA))] == ["", "credit_threshold"]


def test_rc_01_usage_is_identical_after_a_replay_and_after_a_restart() -> None:
    desk = Desk()
    desk.limit(LimitRule.CREDIT_THRESHOLD, "10000")
    desk.working("A", 100, 60)
    desk.fill(desk.child("A"), 40, 60)
    for from_journal in (True, False):
        desk.restart(from_journal)
        assert totals_of(desk.state, ALPHA).home.used == 6000
        assert code(desk.new(f"B{from_journal}", 1, "4000.01")) == "credit_threshold"


def test_rc_01_credit_is_given_back_by_cancels_and_busts_and_by_the_next_day() -> None:
    desk = Desk()
    desk.working("A", 100, 60)
    desk.fill(desk.child("A"), 40, 60, exec_id="E")
    desk.cancel("A1", "A")
    desk.canceled(desk.child("A"))
    used = totals_of(desk.state, "FIRM:firm").home
    assert used.used == 2400
    desk.bust(desk.child("A"), "E")
    assert used.used == 0
    desk.working("B", 10, 60)
    desk.fill(desk.child("B"), 10, 60)
    desk.close_day()
    desk.next_day()
    used = totals_of(desk.state, "FIRM:firm").home
    assert [used.used, used.traded, used.gross] == [dec(0), dec(0), dec(600)]


def test_an_order_that_only_reduces_a_position_adds_no_gross_exposure() -> None:
    desk = Desk()
    desk.working("A", 100, 50)
    desk.fill(desk.child("A"), 100, 50)
    desk.limit(LimitRule.GROSS_EXPOSURE, 5000)
    assert code(desk.new("B", 1, 50)) == "gross_exposure"
    assert code(desk.new("C", 100, 49, side=SELL)) == ""


def test_a_replace_is_counted_at_the_larger_value_while_it_is_out() -> None:
    desk = Desk()
    desk.limit(LimitRule.CREDIT_THRESHOLD, 6000)
    desk.working("A", 100, 50)
    desk.replace("A1", "A", price="60.01")
    assert desk.last_reject().code == "credit_threshold"
    desk.replace("A2", "A", price=60)
    assert totals_of(desk.state, ALPHA).home.used == 6000
    desk.replace_refused(desk.child("A"))
    assert totals_of(desk.state, ALPHA).home.used == 5000


def test_concentration_is_a_fraction_of_the_capital_and_nothing_passes_without_one() -> None:
    desk = Desk()
    desk.limit(LimitRule.CONCENTRATION, "0.25")
    assert code(desk.new("A", 1, 50)) == "concentration"
    desk.limit(LimitRule.CAPITAL, 40_000)
    assert code(desk.new("B", 100, 100)) == ""
    assert refusal(desk.new("C", 1, 1)) == ("concentration", "10000", "10001")


def test_totals_follow_an_account_to_another_client() -> None:
    desk = Desk()
    desk.working("A", 100, 50)
    desk.run(cmd.SetReference(accounts=(account(ALPHA, client="other"),)))
    assert totals_of(desk.state, "CLIENT:other").home.used == 5000
    assert totals_of(desk.state, f"CLIENT:client-{ALPHA}").home.used == 0


# --- RC-02: erroneous and duplicate orders ----------------------------------------------------------------


def test_rc_02_a_tenfold_price_and_a_hundredfold_size_are_refused_with_limit_and_observed_value() -> None:
    desk = Desk()
    market(desk, "49.99", "50.01")
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    desk.limit(LimitRule.MAX_ORDER_QTY, 1000)
    assert refusal(desk.new("A", 100, 500)) == ("price_collar", "55", "500")
    assert refusal(desk.new("B", 10_000, 50)) == ("max_order_qty", "1000", "10000")


def test_rc_02_of_three_identical_orders_in_half_a_second_the_second_and_third_are_refused() -> None:
    desk = Desk()
    desk.limit(LimitRule.DUPLICATE_FLOW, 1)
    assert [code(desk.new(name)) for name in "ABC"] == ["", "duplicate_flow", "duplicate_flow"]
    assert code(desk.new("D", 101)) == ""
    assert code(desk.new("E", name=BETA)) == ""
    desk._now_ns += 499_000_000
    assert code(desk.new("F")) == ""


# --- RC-03, RC-34, BI-053: short sales --------------------------------------------------------------------


def short_desk() -> Desk:
    desk = Desk()
    policy(desk, short_sale=True)
    return desk


def locate(desk: Desk, qty: Number, locate_id: str = "L1", **changes: object) -> Outcome:
    granted = Locate(locate_id, ALPHA, SYMBOL, dec(qty))
    return desk.run(cmd.GrantLocate(msgspec.structs.replace(granted, **changes)))


def short(desk: Desk, cl_ord_id: str, qty: Number, price: Number | None = 50, **more: object) -> Outcome:
    terms = SpecialTerms(locate_id=str(more.pop("locate_id", "L1")))
    return desk.new(cl_ord_id, qty, price, **{"side": SHORT, "special": terms, **more})


def test_rc_34_a_sell_beyond_the_position_and_the_open_sells_must_be_marked_short() -> None:
    desk = short_desk()
    desk.working("A", 100, 50)
    desk.fill(desk.child("A"), 100)
    assert code(desk.new("B", 60, 51, side=SELL)) == ""
    assert refusal(desk.new("C", 41, 51, side=SELL)) == ("short_sale_mark", "40", "41")
    assert code(desk.new("D", 40, 51, side=SELL)) == ""


def test_rc_03_bi_053_a_short_sale_needs_a_locate_that_is_large_enough() -> None:
    desk = short_desk()
    assert code(desk.new("A", 100, 50, side=SHORT)) == "locate_missing"
    assert code(short(desk, "B", 100)) == "locate_missing"
    locate(desk, 50)
    assert refusal(short(desk, "C", 100)) == ("locate_insufficient", "50", "100")
    assert code(short(desk, "D", 50)) == ""
    assert code(short(desk, "E", 1)) == "locate_insufficient"


def test_rc_34_a_locate_is_used_up_once_and_the_unexecuted_rest_comes_back() -> None:
    desk = short_desk()
    locate(desk, 100)
    short(desk, "A", 100)
    desk.ack(desk.child("A"))
    desk.fill(desk.child("A"), 30)
    assert desk.state.risk.locates["L1"].left == 0
    desk.cancel("A1", "A")
    desk.canceled(desk.child("A"))
    assert desk.state.risk.locates["L1"].left == 70
    short(desk, "B", 70)
    desk.reject(desk.child("B"))
    assert desk.state.risk.locates["L1"].left == 70
    assert refused_command(locate(desk, 100)) == "duplicate_locate"


def test_a_late_fill_takes_its_shares_of_the_locate_again() -> None:
    desk = short_desk()
    locate(desk, 100)
    short(desk, "A", 100)
    desk.ack(desk.child("A"))
    desk.cancel("A1", "A")
    desk.canceled(desk.child("A"))
    desk.fill(desk.child("A"), 25)
    assert desk.state.risk.locates["L1"].left == 75


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"account": BETA}, "locate_missing"),
        ({"trade_date": DAYS[1]}, "locate_expired"),
        ({"trade_date": DAYS[0]}, ""),
    ],
)
def test_a_locate_is_good_for_its_account_and_day_only(changes: dict[str, str], expected: str) -> None:
    desk = short_desk()
    locate(desk, 100, **changes)
    assert code(short(desk, "A", 100)) == expected


def test_bi_053_under_the_price_test_a_short_at_the_bid_is_refused_unless_exempt() -> None:
    desk = short_desk()
    locate(desk, 1000)
    market(desk, "50.00", "50.02")
    desk.run(cmd.SetPriceTest(SYMBOL, active=True, reason="down 10%"))
    assert refusal(short(desk, "A", 10, 50)) == ("price_test", "50.00", "50")
    assert code(short(desk, "B", 10, None)) == "price_test"
    assert code(short(desk, "C", 10, "50.01")) == ""
    assert code(short(desk, "D", 10, 50, side=EXEMPT)) == ""
    desk.market.quotes.clear()
    assert code(short(desk, "E", 10, 60)) == "stale_reference"
    desk.run(cmd.SetPriceTest(SYMBOL, active=False))
    assert code(short(desk, "F", 10, 50)) == ""


# --- RC-04: restricted list -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("*", "restricted_symbol"),
        (ALPHA, "restricted_symbol"),
        (f"CLIENT:client-{ALPHA}", "restricted_symbol"),
        (f"DESK:desk-{ALPHA}", "restricted_symbol"),
        ("TRADER:bob", "restricted_symbol"),
        (BETA, ""),
        ("TRADER:eve", ""),
    ],
)
def test_rc_04_a_symbol_is_restricted_for_an_account_a_client_a_desk_or_a_trader(
    who: str, expected: str
) -> None:
    desk = Desk()
    desk.run(cmd.RestrictSymbol(SYMBOL, who))
    assert code(desk.new("A", trader="bob")) == expected
    desk.run(cmd.RestrictSymbol(SYMBOL, who, restricted=False))
    assert code(desk.new("B", trader="bob")) == ""


def test_rc_04_open_orders_in_a_newly_restricted_symbol_are_flagged_or_cancelled_by_policy() -> None:
    desk = Desk()
    desk.working("A")
    desk.working("B", name=BETA)
    desk.run(cmd.RestrictSymbol(SYMBOL, ALPHA))
    assert desk.alert_kinds() == ["restricted_order"]
    policy(desk, restricted_orders=RestrictedPolicy.CANCEL)
    outcome = desk.run(cmd.RestrictSymbol(SYMBOL, ALPHA))
    assert only(outcome, ev.CancelRequested).order_id == desk.order("A").order_id


# --- RC-05: approved persons, accounts, algos -------------------------------------------------------------


def test_rc_05_only_approved_traders_accounts_and_algos_may_send() -> None:
    desk = Desk()
    policy(desk, approved_only=(PartyKind.TRADER, PartyKind.ACCOUNT, PartyKind.ALGO))
    terms = SpecialTerms(algo="twap")
    missing = []
    for number, kind in enumerate((PartyKind.ACCOUNT, PartyKind.TRADER, PartyKind.ALGO)):
        event = only(desk.new(f"A{number}", trader="bob", special=terms), ev.OrderRejected)
        missing.append((event.code, event.field))
        approve(desk, kind, {"ACCOUNT": ALPHA, "TRADER": "bob", "ALGO": "twap"}[kind])
    assert missing == [("unauthorised", field) for field in ("account", "trader", "algo")]
    assert code(desk.new("B", trader="bob", special=terms)) == ""
    assert code(desk.new("C")) == "unauthorised"
    desk.run(cmd.ApproveParty(PartyKind.TRADER, "bob", approved=False))
    assert code(desk.new("D", trader="bob")) == "unauthorised"


def test_rc_05_a_replace_and_a_reroute_by_one_who_is_not_approved_any_more_are_refused_too() -> None:
    desk = Desk(["XNAS", "XNYS"])
    approve(desk, PartyKind.TRADER, "bob")
    policy(desk, approved_only=(PartyKind.TRADER,))
    desk.working("A", trader="bob")
    desk.new("B", trader="bob")
    desk.run(cmd.ApproveParty(PartyKind.TRADER, "bob", approved=False))
    desk.replace("A1", "A", qty=200)
    assert desk.last_reject().code == "unauthorised"
    desk.reject(desk.child("B"))
    assert len(desk.children("B")) == 1


# --- RC-07, RC-17: who sets limits ------------------------------------------------------------------------


def test_rc_17_limits_are_versioned_with_author_and_reason() -> None:
    desk = Desk()
    for value in (100, 200):
        desk.run(cmd.SetLimit(LimitRule.MAX_ORDER_QTY, dec(value), ALPHA, author="ann", reason="review"))
    version = desk.state.risk.limit_versions[f"max_order_qty|{ALPHA}|*"]
    assert (version.version, version.author, version.reason) == (2, "ann", "review")
    assert version.value == 200


def test_rc_07_when_the_policy_says_so_only_designated_staff_set_limits_and_approve() -> None:
    desk = Desk()
    approve(desk, PartyKind.RISK_STAFF, "ann")
    policy(desk, approved_only=(PartyKind.RISK_STAFF,))
    assert refused_command(desk.limit(LimitRule.MAX_ORDER_QTY, 100)) == "unauthorised"
    assert refused_command(desk.run(cmd.ApproveParty(PartyKind.RISK_STAFF, "eve", author="eve"))) == (
        "unauthorised"
    )
    assert refused_command(desk.run(cmd.SetRiskPolicy(RiskPolicy(), "eve"))) == "unauthorised"
    assert kinds(desk.run(cmd.SetLimit(LimitRule.MAX_ORDER_QTY, dec(100), author="ann"))) == ["LimitSet"]


@pytest.mark.parametrize(
    ("rule", "value", "name", "symbol"),
    [
        (LimitRule.MAX_MESSAGES, 100, "*", SYMBOL),
        (LimitRule.MAX_BOOK_MESSAGES, 100, ALPHA, "*"),
        (LimitRule.MAX_MESSAGES, "1.5", "*", "*"),
        (LimitRule.MAX_MESSAGES, 10_001, "*", "*"),
        (LimitRule.ALGO_EXECUTIONS, 5, "*", "*"),
        (LimitRule.MAX_ORDER_QTY, 5, "FIRM:*", "*"),
        (LimitRule.CREDIT_THRESHOLD, 5, "*", SYMBOL),
    ],
)
def test_a_limit_that_could_not_work_is_refused(
    rule: LimitRule, value: Number, name: str, symbol: str
) -> None:
    assert refused_command(Desk().limit(rule, value, name, symbol)) == "bad_limit"


# --- RC-09: kill switches ---------------------------------------------------------------------------------

KILLS = [
    (KillScope.FIRM, ""),
    (KillScope.CLIENT, f"client-{ALPHA}"),
    (KillScope.DESK, f"desk-{ALPHA}"),
    (KillScope.TRADER, "bob"),
    (KillScope.ACCOUNT, ALPHA),
    (KillScope.ALGO, "twap"),
    (KillScope.SYMBOL, SYMBOL),
]


@pytest.mark.parametrize(("scope", "value"), KILLS)
def test_rc_09_a_kill_blocks_new_flow_at_once_and_cancels_what_is_open(scope: KillScope, value: str) -> None:
    desk = Desk()
    terms = SpecialTerms(algo="twap")
    desk.working("Z", trader="bob", special=terms)
    desk.canceled(desk.child("Z"))
    desk.working("A", trader="bob", special=terms)
    outcome = desk.kill(scope, value)
    assert only(outcome, ev.CancelRequested).order_id == desk.order("A").order_id
    assert code(desk.new("B", trader="bob", special=terms)) == "kill_switch"
    desk.run(cmd.ReleaseKillSwitch(scope, value))
    assert code(desk.new("C", trader="bob", special=terms)) == ""


def test_rc_09_a_kill_leaves_other_algos_and_traders_alone() -> None:
    desk = Desk()
    desk.kill(KillScope.ALGO, "twap")
    desk.kill(KillScope.TRADER, "eve")
    assert code(desk.new("A", trader="bob", special=SpecialTerms(algo="vwap"))) == ""
    assert code(desk.new("B")) == ""


# --- RC-11, BI-049: collars and staleness -----------------------------------------------------------------


@pytest.mark.parametrize(("side", "at", "beyond"), [(OrderSide.BUY, "55", "55.01"), (SELL, "45", "44.99")])
def test_rc_11_at_the_collar_passes_and_a_tick_beyond_is_blocked(
    side: OrderSide, at: str, beyond: str
) -> None:
    desk = Desk()
    market(desk, "49.99", "50.01")
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    assert code(desk.new("A", 100, at, side=side)) == ""
    assert code(desk.new("B", 100, beyond, side=side)) == "price_collar"


def test_rc_11_twenty_orders_that_drift_by_a_percent_each_are_stopped_by_the_period_collar() -> None:
    desk = Desk()
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    desk.limit(LimitRule.PERIOD_COLLAR, "0.1")
    codes = []
    for step in range(20):
        middle = Decimal(50) + step * Decimal("0.50")
        market(desk, middle - Decimal("0.01"), middle + Decimal("0.01"))
        codes.append(code(desk.new(f"A{step}", 10, middle)))
    assert codes == [""] * 11 + ["period_collar"] * 9
    desk._now_ns += 61 * SECOND
    assert code(desk.new("B", 10, 60)) == ""


def test_bi_049_a_silent_feed_fails_closed_and_lets_cancels_and_risk_reducing_orders_pass() -> None:
    desk = Desk()
    market(desk, "49.99", "50.01")
    desk.working("A", 100, 50)
    desk.fill(desk.child("A"), 100)
    desk.working("O", 100, 50)
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    desk.limit(LimitRule.MAX_ORDER_VALUE, 100_000)
    desk.limit(LimitRule.CREDIT_THRESHOLD, 100_000)
    assert code(desk.new("B", 100, 60)) == "price_collar"
    market(desk, "49.99", "50.01", live=False)
    reference(desk, 50)
    assert refusal(desk.new("C", 100, None)) == ("stale_reference", "max_order_value", "none")
    assert code(desk.new("D", 100, 50)) == "stale_reference"
    assert code(desk.new("E", 100, None, side=SELL)) == ""
    assert code(desk.new("F", 1, None, side=SELL)) == "stale_reference"
    assert kinds(desk.cancel("O1", "O")) == ["CancelRequested"]


def test_bi_049_a_journaled_reference_ages_and_a_quote_of_a_live_feed_does_not() -> None:
    desk = Desk()
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    policy(desk, reference_max_age_ns=10 * SECOND)
    reference(desk, 50)
    assert code(desk.new("A", 100, 50)) == ""
    desk._now_ns += 10 * SECOND
    assert code(desk.new("B", 100, 50)) == "stale_reference"
    market(desk, "49.99", "50.01")
    desk._now_ns += 3600 * SECOND
    assert code(desk.new("C", 100, 50)) == ""


# --- RC-12, BI-050: size and value, in base currency ------------------------------------------------------


def test_rc_12_bi_050_the_largest_order_passes_and_a_unit_or_a_cent_more_does_not() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_ORDER_QTY, 100)
    assert [code(desk.new("A", 100)), code(desk.new("B", 101))] == ["", "max_order_qty"]
    desk.limit(LimitRule.MAX_ORDER_VALUE, 5000)
    assert code(desk.new("C", 100, 50)) == ""
    assert refusal(desk.new("D", 1, "5000.01")) == ("max_order_value", "5000", "5000.01")


def euro_desk() -> Desk:
    desk = Desk()
    euro = instrument(venues=desk.venues, currency=Currency.EUR)
    desk.run(cmd.SetReference(instruments=(euro,)))
    return desk


def rate(desk: Desk, value: Number, base: Currency = Currency.EUR, into: Currency = Currency.USD) -> None:
    desk.run(cmd.SetFxRate(base, into, dec(value)))


@pytest.mark.parametrize("rule", [LimitRule.MAX_ORDER_VALUE_BASE, LimitRule.CREDIT_THRESHOLD])
def test_rc_12_a_foreign_value_counts_at_the_journaled_rate_and_fails_closed_without_a_fresh_one(
    rule: LimitRule,
) -> None:
    desk = euro_desk()
    desk.limit(rule, 5500)
    assert code(desk.new("A", 100, 50)) == "stale_fx"
    rate(desk, "1.1")
    policy(desk, fx_max_age_ns=SECOND)
    assert refusal(desk.new("B", 1, "5000.01"))[:2] == (rule.value, "5500")
    assert code(desk.new("C", 100, 50)) == ""
    desk._now_ns += SECOND
    assert code(desk.new("D", 1, 1)) == "stale_fx"


def test_rc_12_exposure_in_several_currencies_is_one_figure_and_follows_the_rate() -> None:
    desk = euro_desk()
    rate(desk, "1.1")
    desk.new("A", 100, 50)
    desk.run(cmd.SetReference(instruments=(instrument("HOME", desk.venues),)))
    desk.limit(LimitRule.GROSS_EXPOSURE, 6500)
    assert code(desk.new("B", 100, 10, symbol="HOME")) == ""
    rate(desk, "1.2")
    assert refusal(desk.new("C", 1, 1, symbol="HOME")) == ("gross_exposure", "6500", "7001")
    policy(desk, base_currency=Currency.EUR)
    rate(desk, "0.5", Currency.USD, Currency.EUR)
    assert totals_of(desk.state, ALPHA).home.gross == 5000
    assert refusal(desk.new("D", 1000, 2)) == ("gross_exposure", "6500", "7500")
    assert code(desk.new("E", 500, 2)) == ""


# --- RC-13, BI-051: message rate --------------------------------------------------------------------------


def test_rc_13_bi_051_the_message_after_the_limit_is_refused_within_the_window_whatever_it_is() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_MESSAGES, 3)
    desk.working("A", 100, 50)
    desk.replace("A1", "A", price=49)
    desk.replaced(desk.child("A"))
    assert code(desk.new("B")) == ""
    assert refusal(desk.new("C")) == ("max_messages", "3", "4")
    desk.replace("A2", "A1", price=48)
    assert desk.last_reject().code == "max_messages"
    assert code(desk.new("D", name=BETA)) == ""
    desk._now_ns += SECOND
    assert code(desk.new("E")) == ""


def test_rc_13_the_window_slides_exactly() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_MESSAGES, 1)
    desk.new("A")
    sent = desk._now_ns
    desk._now_ns = sent + SECOND - 1_000_001
    assert code(desk.new("B")) == "max_messages"
    desk._now_ns = sent + SECOND - 1_000_000
    assert code(desk.new("C")) == ""


def test_rc_13_an_order_book_has_a_limit_for_everybody_and_cancels_and_kills_always_pass() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_BOOK_MESSAGES, 2, symbol=SYMBOL)
    desk.working("A")
    desk.working("B", name=BETA)
    assert code(desk.new("C")) == "max_messages"
    assert kinds(desk.cancel("A1", "A")) == ["CancelRequested"]
    assert "CancelRequested" in kinds(desk.kill(KillScope.FIRM))


# --- RC-15: repeated executions of an algo ----------------------------------------------------------------


def test_rc_15_an_algo_is_disabled_at_one_too_many_until_designated_staff_re_enable_it() -> None:
    desk = Desk()
    desk.limit(LimitRule.ALGO_EXECUTIONS, 2, "ALGO:twap")
    terms = SpecialTerms(algo="twap")
    assert [code(desk.new(name, special=terms)) for name in "AB"] == ["", ""]
    stopped = desk.new("C", special=terms)
    assert kinds(stopped) == ["AlgoDisabled", "OrderRejected"]
    assert code(stopped) == "algo_executions"
    desk.limit(LimitRule.ALGO_EXECUTIONS, 100, "ALGO:twap")
    desk.restart()
    desk.close_day()
    desk.next_day()
    assert code(desk.new("D", special=terms)) == "algo_disabled"
    assert code(desk.new("E", special=SpecialTerms(algo="vwap"))) == ""
    assert refused_command(desk.run(cmd.EnableAlgo("twap", "eve"))) == "unauthorised"
    approve(desk, PartyKind.RISK_STAFF, "ann")
    assert kinds(desk.run(cmd.EnableAlgo("twap", "ann", "checked"))) == ["AlgoEnabled"]
    assert code(desk.new("F", special=terms)) == ""


# --- RC-16: overrides -------------------------------------------------------------------------------------


def request(
    desk: Desk,
    value: Number = 200,
    rule: LimitRule = LimitRule.MAX_ORDER_QTY,
    staff: str = "ann",
    name: str = ALPHA,
    seconds: int = 60,
) -> Outcome:
    expires = desk._now_ns + seconds * SECOND
    return desk.run(cmd.RequestOverride("O1", rule, name, SYMBOL, dec(value), expires, staff, "block"))


def test_rc_16_an_override_needs_two_persons_and_is_good_for_one_order() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_ORDER_QTY, 100)
    request(desk)
    assert code(desk.new("A", 200)) == "max_order_qty"
    assert refused_command(desk.run(cmd.ApproveOverride("O1", "ann"))) == "four_eyes"
    desk.run(cmd.ApproveOverride("O1", "bea"))
    assert code(desk.new("B", 201)) == "max_order_qty"
    assert code(desk.new("C", 200, name=BETA)) == "max_order_qty"
    assert kinds(desk.new("D", 200)) == ["OverrideUsed", "OrderAccepted", "OrderRouted"]
    assert code(desk.new("E", 200)) == "max_order_qty"


def test_rc_16_an_override_expires() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_ORDER_QTY, 100)
    request(desk)
    desk.run(cmd.ApproveOverride("O1", "bea"))
    desk._now_ns += 60 * SECOND
    assert code(desk.new("A", 200)) == "max_order_qty"
    assert refused_command(desk.run(cmd.ApproveOverride("O1", "cat"))) == "unknown_override"


def test_rc_16_an_override_of_one_scope_does_not_lift_the_limit_of_another() -> None:
    desk = Desk()
    desk.limit(LimitRule.CREDIT_THRESHOLD, 5000)
    desk.limit(LimitRule.CREDIT_THRESHOLD, 6000, "FIRM:*")
    request(desk, 10_000, LimitRule.CREDIT_THRESHOLD)
    desk.run(cmd.ApproveOverride("O1", "bea"))
    assert code(desk.new("A", 121, 50)) == "credit_threshold"
    assert code(desk.new("B", 120, 50)) == ""


def test_rc_16_an_override_that_cannot_be_is_refused() -> None:
    desk = Desk()
    assert refused_command(request(desk, rule=LimitRule.MAX_MESSAGES)) == "hard_limit"
    assert refused_command(request(desk, staff="")) == "unauthorised"
    assert refused_command(request(desk, -1)) == "must_not_be_negative"
    assert refused_command(request(desk, seconds=0)) == "already_expired"
    assert kinds(request(desk)) == ["OverrideRequested"]
    assert refused_command(request(desk)) == "duplicate_override"


def test_a_stop_limit_order_counts_at_its_limit_when_it_is_checked_and_when_it_is_open() -> None:
    desk = Desk()
    desk.limit(LimitRule.CREDIT_THRESHOLD, 5500)
    terms = SpecialTerms(stop_px=dec(50))
    assert code(desk.new("A", 100, "55.01", order_type=OrderType.STOP_LIMIT, special=terms)) == (
        "credit_threshold"
    )
    assert code(desk.new("B", 100, 55, order_type=OrderType.STOP_LIMIT, special=terms)) == ""
    assert totals_of(desk.state, ALPHA).home.used == 5500
    desk.new("C", 1, 1)
    assert desk.last().code == "credit_threshold"


def test_a_market_order_counts_at_the_reference_that_it_was_measured_against() -> None:
    desk = Desk()
    desk.limit(LimitRule.CREDIT_THRESHOLD, 5000)
    assert code(desk.new("A", 1, None)) == "stale_reference"
    market(desk, "49.99", "50.01")
    assert refusal(desk.new("B", 101, None)) == ("credit_threshold", "5000", "5050")
    accepted = only(desk.new("C", 100, None), ev.OrderAccepted)
    assert accepted.reference == 50
    assert totals_of(desk.state, ALPHA).home.used == 5000
