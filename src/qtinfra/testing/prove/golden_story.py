"""The session that the golden corpus is made of: one script through every event that the engine can emit.

Everything is fixed by the script: times, ids, quotes, what the venues say. The same version of the program
writes the same records from it, byte for byte.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from qtinfra.core import commands as cmd
from qtinfra.core.algo import AlgoTerms
from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import Entry
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    Account,
    ChainedReplace,
    HaltPolicy,
    Instrument,
    KillScope,
    LimitRule,
    Locate,
    PartyKind,
    Policies,
    RealisedAt,
    RiskPolicy,
    SelfMatch,
    Venue,
    VenueStatus,
)
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier, RegulatoryFee
from qtinfra.core.marking import MarkPolicy, MarkRule, MarkSource
from qtinfra.core.models import SELL_SIDES, AssetClass, Currency, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.reports import ReportKind
from qtinfra.core.routing import BreakerTerms, OrderProtection, RouteStyle, RoutingPolicy, VenueLimit
from qtinfra.core.special import Link, Peg, SpecialTerms
from qtinfra.testing.prove.golden_stage import (
    ALPHA,
    BETA,
    DAYS,
    GAMMA,
    OTHER,
    PAIR,
    RARE,
    SELL,
    START_NS,
    STEP_NS,
    SYMBOL,
    VENUE,
    Story,
    order_of,
)

_MINUTE_NS = 60_000_000_000
_HOUR_NS = 60 * _MINUTE_NS


def tell() -> list[Entry]:
    """The whole session, as records of two epochs."""
    story = Story()
    for scene in SCENES:
        scene(story)
    return story.entries


# --- scenes -------------------------------------------------------------------------------------------------


def _open(story: Story) -> None:
    """A new shard: reference data, the trading day, the link to the venue."""
    story.run(cmd.StartEpoch(1, "first owner"), "system")
    shares = [
        Instrument(symbol, AssetClass.EQUITY, Currency.USD, (VENUE,), US_EQUITY_TICKS)
        for symbol in (SYMBOL, RARE)
    ]
    patient = Policies(chained_replace=ChainedReplace.QUEUE, halt=HaltPolicy.SUSPEND)
    accounts = [
        Account(name, f"client-{name}", Currency.USD, desk="desk", firm="firm", policies=policies)
        for name, policies in ((ALPHA, Policies()), (BETA, patient))
    ]
    place = Venue(VENUE, "scripted venue", Currency.USD, Decimal("0.0030"), Decimal("-0.0020"))
    prices = ((SYMBOL, Decimal(50)),)
    story.run(cmd.SetReference(tuple(shares), tuple(accounts), (place,), prices), "system")
    session = TradingSession(DAYS[0], START_NS - _HOUR_NS, START_NS + 6 * _HOUR_NS)
    following = TradingSession(DAYS[1], START_NS + 23 * _HOUR_NS, START_NS + 30 * _HOUR_NS)
    calendar = VenueCalendar(VENUE, DAYS[0], DAYS[1], (session, following), source="script")
    story.run(cmd.SetCalendar(calendar), "system")
    story.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[0]), "timer")
    story.link(VenueStatus.CONNECTED)


def _together(story: Story) -> None:
    """Three orders that wait together: two share a record, one asks for a closer look. All are filled."""
    story.show(SYMBOL, "49.99", {VENUE: "50"})
    names = ("first", "second", "third")
    orders = (order_of("first"), order_of("second", 200, "50.5"), order_of("third", 300, None))
    story.submit_together(*orders)
    for name, order in zip(names, orders, strict=True):
        story.say(ReportKind.ACK, name, venue_order_id=f"V-{name}")
        story.fill(name, int(order.qty), "50")


def _controls(story: Story) -> None:
    """What risk staff set before trading, and one wrong limit that is refused."""
    story.run(cmd.SetRiskPolicy(RiskPolicy(), "ann", "start"), "staff:ann")
    story.run(cmd.ApproveParty(PartyKind.TRADER, "tim", author="ann"), "staff:ann")
    story.run(cmd.SetLimit(LimitRule.MAX_ORDER_QTY, Decimal(5_000), author="ann"), "staff:ann")
    story.run(cmd.SetLimit(LimitRule.ALGO_EXECUTIONS, Decimal(1), "ALGO:twap"), "staff:ann")
    story.run(cmd.SetLimit(LimitRule.MAX_MESSAGES, Decimal("1.5")), "staff:ann")
    story.run(cmd.RestrictSymbol(RARE), "staff:ann")
    story.run(cmd.SetFxRate(Currency.EUR, Currency.USD, Decimal("1.0825")), "feed")
    story.run(cmd.SetPriceTest(SYMBOL, active=True, reason="down 10 percent"), "staff:ann")
    story.run(cmd.GrantLocate(Locate("L1", ALPHA, SYMBOL, Decimal(500), "lender")), "staff:ann")
    story.run(cmd.LoadPosition(BETA, SYMBOL, Decimal(1_000), Decimal("48.5"), DAYS[0]), "system")
    story.run(cmd.LoadCash(BETA, Currency.USD, Decimal("250000.00"), DAYS[0]), "system")
    rates = (FeeLine((FeeTier(ZERO, per_unit=Decimal("0.005")),)),)
    schedule = FeeSchedule("F1", "*", Currency.USD, DAYS[0], rates, minimum=Decimal("1.00"))
    story.run(cmd.SetFeeSchedule(schedule, "ann"), "staff:ann")


def _refusals(story: Story) -> None:
    """A limit exceeded and then lifted for one order by two persons; an id used twice; an algo stopped."""
    story.submit("big", 6_000)
    expires = story.now_ns + _HOUR_NS
    request = cmd.RequestOverride(
        "O1", LimitRule.MAX_ORDER_QTY, ALPHA, SYMBOL, Decimal(6_000), expires, "ann", "block"
    )
    story.run(request, "staff:ann")
    story.run(cmd.ApproveOverride("O1", "bea"), "staff:bea")
    story.working("block", 6_000)
    story.submit("block", 10)
    story.cancel("block")
    story.say(
        ReportKind.CANCELED,
        "block",
        cl_ord_id=story.child("block").cancel_id,
        orig_cl_ord_id=story.child("block").cl_ord_id,
    )
    for name in ("algo-1", "algo-2"):
        story.submit(name, special=SpecialTerms(algo="twap"))
    story.run(cmd.ApproveParty(PartyKind.RISK_STAFF, "ann", author="ann"), "staff:ann")
    story.run(cmd.EnableAlgo("twap", "ann", "checked"), "staff:ann")
    story.run(cmd.CancelOrder(ALPHA, "nothing-c", "nothing"), ALPHA)


def _trades(story: Story) -> None:
    """Fills, a repeated one, a bust, a correction, one after the end, one of an order nobody knows."""
    story.working("trade", 300)
    story.fill("trade", 100, "49.99", "T1")
    story.fill("trade", 100, "49.99", "T1")
    story.fill("trade", 100, "50", "T2")
    story.say(ReportKind.BUST, "trade", ref_exec_id="T1")
    correction: dict[str, Any] = {"ref_exec_id": "T2", "qty": Decimal(90), "px": Decimal("49.98")}
    story.say(ReportKind.CORRECT, "trade", **correction)
    story.say(ReportKind.STOPPED, "trade", qty=Decimal(50), px=Decimal(50))
    story.say(ReportKind.CANCELED, "trade", reason="venue")
    story.fill("trade", 10, "50", "T3")
    story.say(ReportKind.FILL, "", cl_ord_id="STRANGER", qty=Decimal(1), px=Decimal(50), exec_id="T4")
    story.submit("sold", 200, "55", account=BETA, side=SELL)
    story.fill("sold", 200, "55", account=BETA)
    story.submit("refused")
    story.say(ReportKind.REJECT, "refused", reason="closed")


def _amendments(story: Story) -> None:
    """A replace taken, one refused by the venue, two chained, a cancel refused, terms replaced."""
    story.working("amend", 300)
    story.replace("amend-2", "amend", 200, "49.50")
    _replaced(story, "amend-2")
    story.replace("amend-3", "amend-2", 250)
    child = story.child("amend-2")
    story.say(
        ReportKind.REPLACE_REJECT, "amend-2", cl_ord_id=child.replace_id, orig_cl_ord_id=child.cl_ord_id
    )
    story.cancel("amend-2")
    child = story.child("amend-2")
    story.say(ReportKind.CANCEL_REJECT, "amend-2", cl_ord_id=child.cancel_id, orig_cl_ord_id=child.cl_ord_id)
    story.working("chain", 300, account=BETA)
    story.replace("chain-2", "chain", 200, account=BETA)
    story.replace("chain-3", "chain-2", 150, account=BETA)
    _replaced(story, "chain", BETA)
    _replaced(story, "chain-2", BETA)
    story.say(ReportKind.RESTATED, "chain-3", account=BETA, qty=Decimal(120), reason="venue")


def _replaced(story: Story, name: str, account: str = ALPHA) -> None:
    child = story.child(name, account)
    story.say(
        ReportKind.REPLACED,
        name,
        account=account,
        cl_ord_id=child.replace_id,
        orig_cl_ord_id=child.cl_ord_id,
    )


def _held_orders(story: Story) -> None:
    """A stop, a trailing stop, a peg, an iceberg, a bracket and an OCO list, and a market that moves."""
    story.quote("49.90", "50.10", "50")
    stop = SpecialTerms(stop_px=Decimal("50.60"))
    story.submit("stop", price="51", order_type=OrderType.STOP_LIMIT, special=stop)
    story.run(
        cmd.ReplaceOrder(ALPHA, "stop-2", "stop", special=SpecialTerms(stop_px=Decimal("50.50"))), ALPHA
    )
    trail = {"order_type": OrderType.TRAILING_STOP, "price": None}
    trailing = SpecialTerms(trail=Decimal("0.50"))
    story.run(order_of("trail", 50, account=BETA, side=SELL, special=trailing, **trail), BETA)
    pegged = SpecialTerms(peg=Peg.PRIMARY)
    story.submit("peg", price="52", order_type=OrderType.PEGGED, special=pegged)
    story.say(ReportKind.ACK, "peg")
    story.submit(
        "ice", 500, "49", order_type=OrderType.ICEBERG, special=SpecialTerms(display_qty=Decimal(50))
    )
    entry = order_of("entry", 100, "50", account=BETA)
    exits = [
        order_of("profit", 100, "60", account=BETA, side=SELL),
        order_of(
            "loss",
            100,
            None,
            account=BETA,
            side=SELL,
            order_type=OrderType.STOP,
            special=SpecialTerms(stop_px=Decimal(40)),
        ),
    ]
    story.run(cmd.SubmitList(Link.BRACKET, (entry, *exits)), BETA)
    story.fill("entry", 100, "50", account=BETA)
    story.quote("50.20", "50.40", "50.30")
    story.quote("50.45", "50.70", "50.60")
    story.quote("50.10", "50.20", "50.15")


def _short_sale(story: Story) -> None:
    """A short sale with its locate, and the issuer's dividend and split under open orders."""
    terms = SpecialTerms(locate_id="L1")
    story.submit("short", 100, "53", side=OrderSide.SELL_SHORT, special=terms)
    story.working("gtc", 300, "45", tif=TimeInForce.GTC)
    dividend = cmd.CorporateAction(
        "CA1", SYMBOL, cmd.ActionKind.CASH_DIVIDEND, DAYS[1], amount=Decimal("0.125")
    )
    story.run(dividend, "system")


def _fault(story: Story) -> None:
    """Our own code fails on an order: quarantined, its account frozen until a person has looked."""
    story.blind = True
    story.submit("poison", account=BETA)
    story.blind = False
    story.submit("frozen", account=BETA)
    story.run(cmd.Unfreeze(BETA, "looked at"), "staff:ann")


def _doubt(story: Story) -> None:
    """The link dies with orders out: in doubt, then one is found alive, one is ended by a person's word."""
    story.submit("lost-1")
    story.submit("lost-2")
    story.link(VenueStatus.DISCONNECTED)
    story.link(VenueStatus.CONNECTED)
    story.say(ReportKind.STATUS, "lost-1", live=True, leaves_qty=Decimal(100))
    story.run(
        cmd.ResolveUnknown(story.child("lost-2").child_id, "NOT_RECEIVED", "asked by telephone"), "staff"
    )
    story.say(ReportKind.MASS_STATUS_END, "", cl_ord_id="M1")


def _algos(story: Story) -> None:
    """A parent worked under a cap: planned, sliced, paused, resumed, amended, finished."""
    story.quote("49.98", "50.02")
    open_ns = story.now_ns
    bins = (Decimal(600), Decimal(400))
    end_ns = open_ns + 2 * _MINUTE_NS
    story.run(cmd.SetVolumeCurve(SYMBOL, DAYS[0], open_ns, end_ns, bins), "system")
    story.run(cmd.SetMarketProfile(SYMBOL, Decimal(1_000_000), Decimal("0.02"), Decimal("0.04")), "system")
    terms = AlgoTerms("TWAP", open_ns + STEP_NS, end_ns, max_participation=Decimal("0.5"), slices=2)
    story.run(order_of("parent", 400, "51", algo=terms), ALPHA)
    for part in range(1, 4):
        story.traded += Decimal(1_000)
        story.pass_time(open_ns + part * _MINUTE_NS // 4)
        story.run(cmd.TimerFired(cmd.TimerKind.ALGO, ""), "timer")
    story.run(cmd.PauseAlgo(ALPHA, "parent", "news"), ALPHA)
    story.run(cmd.ResumeAlgo(ALPHA, "parent", "over"), ALPHA)
    wider = msgspec.structs.replace(terms, max_participation=Decimal("0.6"), passive=False)
    story.run(cmd.ReplaceOrder(ALPHA, "parent-2", "parent", algo=wider), ALPHA)
    story.pass_time(end_ns)
    story.run(cmd.TimerFired(cmd.TimerKind.ALGO, ""), "timer")


def _stops_by_hand(story: Story) -> None:
    """A halt that suspends and reinstates, a kill switch engaged and released, a mass cancel."""
    story.run(cmd.HaltInstrument(SYMBOL, halted=True, reason="news"), "feed")
    story.run(cmd.HaltInstrument(SYMBOL, halted=False, reason="over"), "feed")
    story.run(cmd.EngageKillSwitch(KillScope.ACCOUNT, BETA, "drill"), "staff:ann")
    story.run(cmd.ReleaseKillSwitch(KillScope.ACCOUNT, BETA, "drill over"), "staff:ann")
    story.run(cmd.MassCancel(ALPHA, "mass-1", SYMBOL, Origin.STAFF), "staff:ann")


def _next_day(story: Story) -> None:
    """Another owner takes the shard; the day ends and the next begins."""
    story.run(cmd.StartEpoch(2, "second owner"), "system")
    story.working("overnight", 100, "44", tif=TimeInForce.GTC)
    story.working("today", 100, "44")
    story.run(cmd.TimerFired(cmd.TimerKind.DAY_CLOSE, DAYS[0]), "timer")
    story.day = 1
    story.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[1]), "timer")
    story.submit("last", 100, "44")
    story.fill("last", 40, "44")


# --- scenes of a second venue and of days to come -----------------------------------------------------------


def _second_venue(story: Story) -> None:
    """A security listed at two venues, and an account that keeps its profit in another currency."""
    pair = Instrument(PAIR, AssetClass.EQUITY, Currency.USD, (VENUE, OTHER), US_EQUITY_TICKS, covered=True)
    policies = Policies(self_match=SelfMatch.CANCEL_NEWEST, realised_at=RealisedAt.TRADE_TIME)
    gamma = Account(GAMMA, f"client-{GAMMA}", Currency.EUR, desk="desk", firm="firm", policies=policies)
    place = Venue(OTHER, "scripted venue too", Currency.USD, Decimal("0.0025"), Decimal("-0.0015"))
    story.run(cmd.SetReference((pair,), (gamma,), (place,), ((PAIR, Decimal(20)),)), "system")
    story.link(VenueStatus.CONNECTED, OTHER)


def _books(story: Story) -> None:
    """Levies on sales, cash paid in and out and dealt, which price values positions, a price set by hand."""
    levies = (
        RegulatoryFee("SEC_31", Currency.USD, DAYS[1], per_value=Decimal("0.0000278"), sides=SELL_SIDES),
        RegulatoryFee("FINRA_TAF", Currency.USD, DAYS[1], per_unit=Decimal("0.000166"), cap=Decimal("8.30")),
    )
    story.run(cmd.SetRegulatoryFees(levies, "ann"), "staff:ann")
    story.run(cmd.LoadCash(GAMMA, Currency.USD, Decimal("50000.00"), DAYS[1]), "system")
    for payment, amount in (("P1", "1500.00"), ("P2", "-400.25"), ("P1", "1500.00"), ("P1", "7")):
        paid = cmd.PayCash(payment, GAMMA, Currency.USD, Decimal(amount), "ann", "client's order")
        story.run(paid, "staff:ann")
    dealt = cmd.ExchangeCash(
        "P3", GAMMA, Currency.USD, Decimal("1082.50"), Currency.EUR, Decimal("1000.00"), "ann"
    )
    story.run(dealt, "staff:ann")
    rules = (MarkRule(MarkSource.MID), MarkRule(MarkSource.LAST, _MINUTE_NS), MarkRule(MarkSource.MANUAL))
    story.run(cmd.SetMarkPolicy(MarkPolicy(rules), "ann"), "staff:ann")
    story.run(cmd.SetMark(PAIR, Decimal("20.05"), author="ann"), "staff:ann")
    story.run(cmd.SetMark(SYMBOL, Decimal("44.5"), MarkSource.LAST, story.now_ns), "feed")
    story.run(cmd.LoadPosition(BETA, PAIR, Decimal(105), Decimal("18.25"), DAYS[1]), "system")


def _routes(story: Story) -> None:
    """Scored routing: a sweep of protected quotes as far as a venue's limit lets it, and a sale."""
    breaker = BreakerTerms(failures=2, window_ns=_HOUR_NS, cooldown_ns=_MINUTE_NS)
    policy = RoutingPolicy(accounts=((BETA, RouteStyle(urgency=Decimal(1))),), breaker=breaker)
    story.run(cmd.SetRoutingPolicy(policy, "ann", "two venues"), "staff:ann")
    rule = OrderProtection("17 CFR 242.611", "US", (VENUE, OTHER), DAYS[1])
    story.run(cmd.SetOrderProtection(rule, "ann"), "staff:ann")
    limit = VenueLimit(open_notional=Decimal(2_500), credit=Decimal(100_000))
    story.run(cmd.SetVenueLimit(OTHER, limit, "ann", "new venue"), "staff:ann")
    story.show(PAIR, "19.99", {VENUE: "20.00", OTHER: "20.01"}, size=150)
    _pair(story, "sweep", 300, "20.01")
    taken = story.order("sweep", GAMMA).children[0]
    story.fill("sweep", 150, "20.00", account=GAMMA, cl_ord_id=taken)
    story.fill("sweep", 124, "20.01", account=GAMMA, venue=OTHER)
    story.say(ReportKind.ACK, "sweep", account=GAMMA)
    story.fill("sweep", 26, "20.00", account=GAMMA)
    _pair(story, "sold-pair", 95, "19.99", side=SELL)
    story.fill("sold-pair", 95, "19.99", account=GAMMA, venue=OTHER)


def _pair(story: Story, name: str, qty: int, price: str, **terms: Any) -> None:
    story.submit(name, qty, price, account=GAMMA, symbol=PAIR, **terms)


def _failures(story: Story) -> None:
    """The second venue refuses twice and is left alone, until a probe is answered; then its link breaks."""
    story.show(PAIR, "19.99", {VENUE: "20.02", OTHER: "20.00"}, size=150)
    for name in ("fails-1", "fails-2"):
        _pair(story, name, 100, "20.00", tif=TimeInForce.IOC)
        story.say(ReportKind.REJECT, name, account=GAMMA, venue=OTHER, reason="busy")
        story.say(ReportKind.CANCELED, name, account=GAMMA, reason="nothing at the limit")
    _pair(story, "avoids", 100, "20.02")
    story.fill("avoids", 100, "20.02", account=GAMMA)
    story.pass_time(story.now_ns + _MINUTE_NS)
    _pair(story, "probes", 100, "20.00")
    story.say(ReportKind.ACK, "probes", account=GAMMA, venue=OTHER)
    story.fill("probes", 100, "20.00", account=GAMMA, venue=OTHER)
    story.link(VenueStatus.DISCONNECTED, OTHER)
    story.link(VenueStatus.CONNECTED, OTHER)


def _fall(story: Story) -> None:
    """The covered security falls by a tenth: a short sale at the bid is refused from then on."""
    story.run(cmd.SetRiskPolicy(RiskPolicy(short_sale=True), "ann", "short sales"), "staff:ann")
    story.run(cmd.GrantLocate(Locate("L2", ALPHA, PAIR, Decimal(500), "lender")), "staff:ann")
    story.show(PAIR, "17.95", {VENUE: "18.00", OTHER: "18.00"})
    story.run(cmd.MarketMoved(PAIR, Decimal(18)), "market")
    _short(story, "short-at-bid", "17.95")


def _short(story: Story, name: str, price: str) -> None:
    terms = SpecialTerms(locate_id="L2")
    story.submit(name, 10, price, symbol=PAIR, side=OrderSide.SELL_SHORT, special=terms)


def _later_days(story: Story) -> None:
    """A reverse split with fractions paid in cash; old trades fold; the price test ends by itself."""
    action = cmd.CorporateAction(
        "CA2",
        PAIR,
        cmd.ActionKind.REVERSE_SPLIT,
        DAYS[2],
        ratio_num=Decimal(1),
        ratio_den=Decimal(10),
    )
    story.run(action, "system")
    story.run(cmd.SetRetention(1, "ann"), "staff:ann")
    for day in (2, 3):
        story.run(cmd.TimerFired(cmd.TimerKind.DAY_CLOSE, DAYS[day - 1]), "timer")
        story.pass_time(START_NS + day * 24 * _HOUR_NS)
        story.day = day
        story.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[day]), "timer")
    story.say(ReportKind.BUST, "trade", ref_exec_id="T2")
    story.show(PAIR, "182.00", {VENUE: "182.10", OTHER: "182.10"})
    _short(story, "short-again", "182.00")
    story.fill("short-again", 10, "182.00", venue=OTHER)


SCENES = (
    _open,
    _together,
    _controls,
    _refusals,
    _trades,
    _amendments,
    _held_orders,
    _short_sale,
    _fault,
    _doubt,
    _algos,
    _stops_by_hand,
    _next_day,
    _second_venue,
    _books,
    _routes,
    _failures,
    _fall,
    _later_days,
)
