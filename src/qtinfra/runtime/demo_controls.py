"""Scenes with the pre-trade controls: one request against each, and what two persons may let pass.

They run before the random clients begin: a limit is set, met, and lifted again.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from qtinfra.core.commands import (
    ApproveOverride,
    ApproveParty,
    CancelOrder,
    EnableAlgo,
    EngageKillSwitch,
    GrantLocate,
    MassCancel,
    ReleaseKillSwitch,
    RequestOverride,
    SetLimit,
    SetPriceTest,
    SetRiskPolicy,
)
from qtinfra.core.extended_models import KillScope, LimitRule, Locate, PartyKind
from qtinfra.core.models import OrderSide, OrderType
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.risk_sums import totals_of
from qtinfra.runtime.demo_orders import special
from qtinfra.runtime.demo_script import BUY, CENT, MS, SECOND, SELL, Scene, Stage, number, refusal

#: The random clients do not trade it, so that figures are the script's own. It trades in lots of 100.
SYMBOL = "NVDA"
#: Designated risk staff, and an algo of the client's own that is approved.
STAFF, ALGO = ("ann", "bob"), "scalper"

SHORT = OrderSide.SELL_SHORT


def designate(stage: Stage) -> None:
    """From now on limits are set by designated staff, and algos are approved before they trade."""
    policy = stage.state.risk.policy
    for person in STAFF:
        stage.ask("risk", ApproveParty(PartyKind.RISK_STAFF, person))
    stage.ask("risk", ApproveParty(PartyKind.ALGO, ALGO, author=STAFF[0]))
    kinds = (PartyKind.ALGO, PartyKind.RISK_STAFF)
    stage.ask(
        "risk", SetRiskPolicy(msgspec.structs.replace(policy, approved_only=kinds), STAFF[0], "opening")
    )


def _limit(
    stage: Stage, rule: LimitRule, value: Decimal | str | None, account: str, symbol: str = "*"
) -> None:
    amount = None if value is None else Decimal(value)
    stage.ask(STAFF[0], SetLimit(rule, amount, account, symbol, STAFF[0], "drill"))


def _far(stage: Stage) -> Decimal:
    """A price at which a buy rests and does not trade."""
    return stage.touch(SYMBOL)[0] - 50 * CENT


def exposure_limits(stage: Stage) -> Iterator[int]:
    """Amounts: what one order, one symbol, one account, client or firm may come to."""
    cases = (
        (LimitRule.MAX_ORDER_VALUE_BASE, "10000", "beta", SYMBOL, "over beta's value per order"),
        (LimitRule.CONCENTRATION, "0.1", "beta", SYMBOL, "over 10% of beta's capital"),
        (LimitRule.GROSS_EXPOSURE, "10000", "beta", "*", "over beta's gross exposure"),
        (LimitRule.NET_EXPOSURE, "10000", "CLIENT:north", "*", "over the client's net exposure"),
        (LimitRule.CREDIT_THRESHOLD, "10000", "FIRM:demo", "*", "over the firm's credit"),
    )
    _limit(stage, LimitRule.CAPITAL, "100000", "beta")
    for place, (rule, value, scope, symbol, words) in enumerate(cases):
        _limit(stage, rule, value, scope, symbol)
        totals = totals_of(stage.state, scope)
        shorter = totals.home.short > totals.home.long
        side = SELL if rule is LimitRule.NET_EXPOSURE and shorter else BUY
        price = stage.touch(SYMBOL)[side is BUY]
        events = stage.limit("beta", f"S20{place}", SYMBOL, side, 100, price)
        asked = f"{side} 100 {SYMBOL}, {words}"
        stage.tell(stage.now_ns, "beta", asked, refusal(events))
        _limit(stage, rule, None, scope, symbol)
        yield SECOND
    _limit(stage, LimitRule.CAPITAL, None, "beta")


def flow_limits(stage: Stage) -> Iterator[int]:
    """How often, how equal, and how far within a period."""
    cases: tuple[tuple[LimitRule, str, str, str, str], ...] = (
        (LimitRule.DUPLICATE_FLOW, "1", "beta", SYMBOL, "the same order twice in half a second"),
        (LimitRule.MAX_MESSAGES, "2", "beta", "*", "a third message in the second"),
        (LimitRule.MAX_BOOK_MESSAGES, "2", "*", SYMBOL, "a third message to the book of NVDA"),
    )
    for place, (rule, value, account, symbol, asked) in enumerate(cases):
        _limit(stage, rule, value, account, symbol)
        step = Decimal(0) if rule is LimitRule.DUPLICATE_FLOW else CENT
        sent = 2 if rule is LimitRule.DUPLICATE_FLOW else 3
        for turn in range(sent):
            events = stage.limit("beta", f"S21{place}{turn}", SYMBOL, BUY, 100, _far(stage) - turn * step)
        stage.tell(stage.now_ns, "beta", asked, refusal(events))
        _limit(stage, rule, None, account, symbol)
        yield 2 * SECOND
    _limit(stage, LimitRule.PERIOD_COLLAR, "0.01", "beta", SYMBOL)
    stage.limit("beta", "S218", SYMBOL, BUY, 100, _far(stage))
    price = (stage.touch(SYMBOL)[1] * Decimal("1.02")).quantize(CENT)
    events = stage.limit("beta", "S219", SYMBOL, BUY, 100, price)
    asked = f"BUY 100 {SYMBOL} at {number(price)}, 2% above the minute's lowest"
    stage.tell(stage.now_ns, "beta", asked, refusal(events))
    _limit(stage, LimitRule.PERIOD_COLLAR, None, "beta", SYMBOL)
    stage.ask("beta", MassCancel("beta", "S2199", SYMBOL))
    yield SECOND


def _by_algo(stage: Stage, cl_ord_id: str, algo: str) -> str:
    command = special(
        "beta", cl_ord_id, SYMBOL, BUY, OrderType.LIMIT, 100, _far(stage), SpecialTerms(algo=algo)
    )
    answer = refusal(stage.ask("beta", command))
    taken = stage.state.find_order("beta", cl_ord_id)
    return "accepted" if taken is not None and taken.open else answer


def algos(stage: Stage) -> Iterator[int]:
    """An algo must be approved, is throttled, stays off until staff re-enable it, and can be killed."""

    def tell(who: str, asked: str, answered: str) -> int:
        stage.tell(stage.now_ns, who, asked, answered)
        return SECOND

    yield tell("beta", "an order by the algo rogue", _by_algo(stage, "S220", "rogue"))
    _limit(stage, LimitRule.ALGO_EXECUTIONS, "2", f"ALGO:{ALGO}")
    _by_algo(stage, "S221", ALGO)
    _by_algo(stage, "S222", ALGO)
    yield tell("beta", f"a third order by the algo {ALGO}", _by_algo(stage, "S223", ALGO))
    yield tell("beta", "and a fourth", _by_algo(stage, "S224", ALGO))
    events = stage.ask("carl", EnableAlgo(ALGO, "carl"))
    yield tell("carl", f"re-enables {ALGO}", refusal(events))
    stage.ask("ann", EnableAlgo(ALGO, "ann", "looked at"))
    yield tell("ann", f"re-enables {ALGO}; one more order", _by_algo(stage, "S225", ALGO))
    stage.ask("risk", EngageKillSwitch(KillScope.ALGO, ALGO, "drill"))
    yield tell("risk", f"kill switch for {ALGO}; one more order", _by_algo(stage, "S226", ALGO))
    stage.ask("risk", ReleaseKillSwitch(KillScope.ALGO, ALGO, "drill over"))
    stage.ask("beta", MassCancel("beta", "S229", SYMBOL))
    yield SECOND


def short_sale(stage: Stage) -> Iterator[int]:
    """Regulation SHO: marking, locates that are used once, the price test."""
    policy = stage.state.risk.policy
    stage.ask("risk", SetRiskPolicy(msgspec.structs.replace(policy, short_sale=True), STAFF[0], "drill"))
    grants = (Locate("L1", "beta", SYMBOL, Decimal(300)), Locate("L0", "beta", SYMBOL, Decimal(300)))
    stage.ask("lending", GrantLocate(grants[0]))
    stage.ask("lending", GrantLocate(msgspec.structs.replace(grants[1], trade_date="2025-02-28")))
    stage.ask("risk", SetPriceTest(SYMBOL, True, "down ten percent"))
    ask = stage.touch(SYMBOL)[1] + 20 * CENT
    cases: tuple[tuple[OrderSide, int, str, bool, str], ...] = (
        (SELL, 100, "", False, "not owned"),
        (SHORT, 100, "", False, "no locate"),
        (SHORT, 100, "L0", False, "locate of another day"),
        (SHORT, 400, "L1", False, "locate for 300"),
        (SHORT, 300, "L1", True, "at the bid, price test on"),
        (SHORT, 300, "L1", False, "located, above the bid"),
    )
    for place, (side, qty, locate_id, at_bid, note) in enumerate(cases):
        price, name = stage.touch(SYMBOL)[0] if at_bid else ask, f"S23{place}"
        terms = SpecialTerms(locate_id=locate_id) if locate_id else None
        at = stage.now_ns
        events = stage.ask("beta", special("beta", name, SYMBOL, side, OrderType.LIMIT, qty, price, terms))
        yield 5 * MS
        taken = stage.state.find_order("beta", name)
        accepted = taken is not None and taken.open
        answered = stage.outcome("beta", name) if accepted else refusal(events)
        stage.tell(at, "beta", f"{_words(side)} {qty} {SYMBOL}, {note}", answered)
        yield SECOND
    stage.ask("beta", MassCancel("beta", "S239", SYMBOL))
    stage.ask("risk", SetPriceTest(SYMBOL, False, "drill over"))
    stage.ask("risk", SetRiskPolicy(policy, STAFF[0], "drill over"))


def _words(side: OrderSide) -> str:
    return side.value.replace("_", " ")


def override(stage: Stage) -> Iterator[int]:
    """A soft limit gives way to two persons, for one order; a hard one to nobody."""
    qty, price = 7_000, _far(stage)
    asked = f"BUY {qty:,} {SYMBOL} at {number(price)}"
    stage.tell(stage.now_ns, "alpha", asked, refusal(stage.limit("alpha", "S240", SYMBOL, BUY, qty, price)))
    yield SECOND
    ends = stage.now_ns + 60 * SECOND
    wish = RequestOverride("O1", LimitRule.MAX_ORDER_QTY, "alpha", SYMBOL, Decimal(qty), ends, "ann", "block")
    hard = msgspec.structs.replace(wish, override_id="O0", rule=LimitRule.DUPLICATE_FLOW)
    stage.tell(stage.now_ns, "ann", "asks to override duplicate_flow", refusal(stage.ask("ann", hard)))
    yield SECOND
    stage.ask("ann", wish)
    events = stage.ask("ann", ApproveOverride("O1", "ann"))
    stage.tell(stage.now_ns, "ann", f"asks to pass {qty:,}, and approves it too", refusal(events))
    yield SECOND
    at = stage.now_ns
    stage.ask("bob", ApproveOverride("O1", "bob"))
    stage.limit("alpha", "S241", SYMBOL, BUY, qty, price)
    yield 5 * MS
    stage.tell(at, "bob", f"approves it; {asked} again", stage.outcome("alpha", "S241"))
    yield SECOND
    events = stage.limit("alpha", "S242", SYMBOL, BUY, qty, price)
    stage.tell(stage.now_ns, "alpha", "the same once more: the override is used", refusal(events))
    stage.ask("alpha", CancelOrder("alpha", "S243", "S241"))
    yield SECOND
    events = stage.ask("carl", SetLimit(LimitRule.MAX_ORDER_QTY, Decimal(9_000), "alpha", author="carl"))
    stage.tell(stage.now_ns, "carl", "sets a limit of 9,000 for alpha", refusal(events))


#: When each scene begins, in seconds after the open.
CONTROL_SCENES: tuple[tuple[int, Scene], ...] = (
    (50, exposure_limits),
    (56, flow_limits),
    (66, algos),
    (74, short_sale),
    (84, override),
)
