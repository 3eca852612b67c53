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
    Liquidity,
    Locate,
    PartyKind,
    Policies,
    RiskPolicy,
    Venue,
    VenueStatus,
)
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import AssetClass, Child, Currency, Order, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.core.special import Link, Peg, SpecialTerms
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State

DAYS = ("2024-07-08", "2024-07-09")
START_NS = 1_720_445_400_000_000_000
_STEP_NS = 1_000_000
_MINUTE_NS = 60_000_000_000
_HOUR_NS = 60 * _MINUTE_NS
VENUE, SYMBOL, RARE = "XNAS", "ACME", "RARE"
ALPHA, BETA = "alpha", "beta"
BUY, SELL = OrderSide.BUY, OrderSide.SELL


class Story:
    """A kernel, one venue that says what the script says, and the records so far.

    Attributes:
        entries: the records, in order; those of one epoch stand together.
        day: index of the trading date in `DAYS`.
        traded: volume of `SYMBOL` that has printed today, in units.
        blind: reading the market fails, so that the engine quarantines what needs it.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.kernel = Kernel(State())
        self.day = 0
        self.blind = False
        self.traded = ZERO
        self._books: dict[str, ConsolidatedBook] = {}
        self._now_ns = START_NS
        self._seq = 0
        self._executions = 0

    def book(self, symbol: str) -> ConsolidatedBook | None:
        """Implements `MarketView`: what the script has quoted; while `blind`, it fails."""
        if self.blind:
            raise LookupError(f"no market for {symbol}")
        found = self._books.get(symbol)
        return None if found is None else msgspec.structs.replace(found, traded=self.traded)

    def pass_time(self, to_ns: int) -> None:
        """Let the clock stand at a later moment, UTC nanoseconds."""
        self._now_ns = max(self._now_ns, to_ns)

    def run(self, command: cmd.AnyCommand, actor: str = "desk") -> None:
        self._now_ns += _STEP_NS
        inbound = cmd.Inbound(command, actor, f"c{len(self.entries)}", self._now_ns - 1_000)
        outcome = self.kernel.execute(inbound, self._now_ns, self)
        if outcome.entry is not None:
            self.entries.append(outcome.entry)

    @property
    def now_ns(self) -> int:
        return self._now_ns

    # --- asking -------------------------------------------------------------------------------------------

    def submit(
        self, name: str, qty: int = 100, price: str = "50", *, account: str = ALPHA, **terms: Any
    ) -> None:
        """A limit order to buy, with whatever else is named."""
        self.run(order_of(name, qty, price, account=account, **terms), account)

    def working(self, name: str, qty: int = 100, price: str = "50", **terms: Any) -> None:
        """The same, acknowledged by the venue."""
        self.submit(name, qty, price, **terms)
        self.say(ReportKind.ACK, name, account=terms.get("account", ALPHA), venue_order_id=f"V-{name}")

    def cancel(self, name: str, account: str = ALPHA) -> None:
        self.run(cmd.CancelOrder(account, f"{name}-c", name), account)

    def replace(self, new: str, name: str, qty: int, price: str | None = None, account: str = ALPHA) -> None:
        limit = None if price is None else Decimal(price)
        self.run(cmd.ReplaceOrder(account, new, name, Decimal(qty), limit), account)

    # --- the market and the venue ---------------------------------------------------------------------------

    def quote(self, bid: str, ask: str, last: str | None = None) -> None:
        """The market stands at these prices, and the engine is told."""
        size = Decimal(1_000)
        shown = VenueQuote(VENUE, ((Decimal(bid), size),), ((Decimal(ask), size),), self._now_ns)
        self._books[SYMBOL] = ConsolidatedBook(SYMBOL, (shown,))
        self.run(cmd.MarketMoved(SYMBOL, None if last is None else Decimal(last)), "market")

    def order(self, name: str, account: str = ALPHA) -> Order:
        """An order that the script has sent.

        Raises:
            LookupError: the engine does not know it.
        """
        found = self.kernel.state.find_order(account, name)
        if found is None:
            raise LookupError(f"no order {name} of {account}")
        return found

    def child(self, name: str, account: str = ALPHA) -> Child:
        """The newest child of an order."""
        return self.kernel.state.children[self.order(name, account).children[-1]]

    def say(self, kind: ReportKind, name: str, *, account: str = ALPHA, **fields: Any) -> None:
        """The venue's next message, about an order's child unless `cl_ord_id` names another id."""
        self._seq += 1
        about = fields.pop("cl_ord_id", None) or self.child(name, account).cl_ord_id
        fields = {"session": "S1", "trade_date": DAYS[self.day], **fields}
        report = VenueReport(kind, VENUE, about, self._seq, **fields)
        self.run(cmd.RecordVenueReport(report), f"venue:{VENUE}")

    def fill(self, name: str, qty: int, px: str, exec_id: str = "", account: str = ALPHA) -> None:
        self._executions += 1
        terms = {"qty": Decimal(qty), "px": Decimal(px), "exec_id": exec_id or f"E{self._executions}"}
        self.say(ReportKind.FILL, name, account=account, liquidity=Liquidity.REMOVED, **terms)

    def link(self, status: VenueStatus) -> None:
        self.run(cmd.SetVenueStatus(VENUE, status, "script"), "link")


def order_of(
    name: str, qty: int = 100, price: str | None = "50", *, account: str = ALPHA, **terms: Any
) -> cmd.SubmitOrder:
    """An order to buy for the day; LIMIT with a price, MARKET without, unless the terms say otherwise."""
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    limit = None if price is None else Decimal(price)
    plain = cmd.SubmitOrder(account, name, SYMBOL, BUY, kind, TimeInForce.DAY, Decimal(qty), limit)
    return msgspec.structs.replace(plain, **terms)


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
    terms = AlgoTerms("TWAP", open_ns + _STEP_NS, end_ns, max_participation=Decimal("0.5"), slices=2)
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


SCENES = (
    _open,
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
)
