"""What a kernel remembers beside its state only makes it quicker: no decision may depend on it.

Random commands run on one kernel, which remembers what it has seen: books that stand while orders come,
plans, candidates, rooms in its tables. Before each command its state is copied twice, by `clone_state` and
through its written form. The copies remember nothing; given the same command, time and market they must
record the same, say the same and come to the same state.
"""

import random
from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from qtinfra.core import commands as cmd
from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.core.events import CommandQuarantined
from qtinfra.core.extended_models import (
    US_EQUITY_TICKS,
    AckPolicy,
    Instrument,
    KillScope,
    LimitRule,
    Liquidity,
    Locate,
    PartyKind,
    Policies,
    RiskPolicy,
    TermsChange,
    VenueStatus,
)
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.models import AssetClass, Child, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.core.routing import BreakerTerms, OrderProtection, RouteStyle, RoutingPolicy, VenueLimit
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.archive import Packing
from qtinfra.engine.audit import audit
from qtinfra.engine.kernel import Kernel, Outcome
from qtinfra.engine.state import State, clone_state, decode_state, encode_state, state_hash
from qtinfra.journal.codec import encode_entry
from tests.support.builders import ALPHA, BETA, DAYS, START_NS, account, dec, quote, venue

pytestmark = pytest.mark.simulation

MICS = ("XNAS", "XNYS", "BATS", "DARK")
SYMBOLS = ("ACME", "ZETA", "EURO")
OFTEN = ("ACME", "ZETA", "EURO", "ACME", "ACME", "ACME")
NAMES = (ALPHA, BETA, "gamma")
DAY_NS = 86_400_000_000_000
_EFFECTS = msgspec.msgpack.Encoder()


class Market:
    """Books that are the same objects until somebody moves them."""

    def __init__(self) -> None:
        self.books: dict[str, ConsolidatedBook] = {}

    def book(self, symbol: str) -> ConsolidatedBook | None:
        return self.books.get(symbol)


def shares(symbol: str, later_lot: int = 10) -> Instrument:
    """Listed on all venues, with a larger lot from the third day on; EURO trades in another currency."""
    currency = Currency.EUR if symbol == "EURO" else Currency.USD
    change = TermsChange(DAYS[2], dec(later_lot), US_EQUITY_TICKS)
    return Instrument(symbol, AssetClass.EQUITY, currency, MICS, US_EQUITY_TICKS, changes=(change,))


class World:
    """A kernel that remembers, and the acts that hypothesis chooses from; a whim decides the rest."""

    def __init__(self, keep: int, block: int) -> None:
        self.kernel = Kernel(State(packing=Packing(keep, block)))
        self.market = Market()
        self.now_ns, self.day, self.count = START_NS, 0, 0
        self.seqs: dict[str, int] = {}
        accounts = tuple(
            replace(account(name, Policies(ack=ack)), client="both" if name != "gamma" else "gamma")
            for name, ack in zip(NAMES, (*AckPolicy, AckPolicy.ON_VENUE), strict=False)
        )
        self.run(cmd.StartEpoch(1, "world"))
        places = tuple(venue(mic, f"0.00{number}") for number, mic in enumerate(MICS))
        self.run(cmd.SetReference(tuple(map(shares, SYMBOLS)), accounts, places))
        self.run(cmd.SetReference(prices=tuple((symbol, dec(50)) for symbol in SYMBOLS)))
        self.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[0]))
        for mic in MICS:
            self.run(cmd.SetVenueStatus(mic, VenueStatus.CONNECTED))
        for number in range(len(SYMBOLS)):
            self.move_market(number)

    @property
    def state(self) -> State:
        return self.kernel.state

    def run(self, command: cmd.AnyCommand) -> None:
        """Execute on the kernel and on copies of it that remember nothing."""
        self.now_ns += 1_000_000
        copies = clone_state(self.state), decode_state(encode_state(self.state))
        inbound = cmd.Inbound(command, "world", f"c{self.count}", self.now_ns - 1)
        outcome = self.kernel.execute(inbound, self.now_ns, self.market)
        assert not [event for event in outcome.events if isinstance(event, CommandQuarantined)], outcome
        for copy in copies:
            alone = Kernel(copy).execute(inbound, self.now_ns, self.market)
            assert alone.events == outcome.events, "what is remembered decides nothing"
            assert _written(alone) == _written(outcome), "to the last digit"
            assert state_hash(copy) == state_hash(self.state), "nor does it change the state"
        assert audit(self.state) == []
        for child in self.state.tables.children.live().values():
            asked = {child.cancel_id, child.replace_id} - {""}
            if asked or child.replace_qty or child.replace_price is not None:
                assert asked <= set(child.requests or ()), "whatever a venue was asked is among the requests"
                assert child.requests, "and stays there when it has answered"

    # --- orders ---

    def submit(self, whim: int) -> None:
        """One of a few prices and sizes, which come again and again."""
        self.count += 1
        tif = (TimeInForce.DAY, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC)[
            min(whim % 7, 3) * (whim % 3 == 0)
        ]
        price = None if whim % 9 == 0 else (dec("49.99"), dec("50.00"), dec("50.01"), dec("50.1"))[whim % 4]
        order = cmd.SubmitOrder(
            NAMES[whim % 5 % 3],
            f"O{self.count}",
            OFTEN[whim // 3 % 6],
            OrderSide.SELL if whim % 13 % 4 == 0 else OrderSide.BUY,
            OrderType.MARKET if price is None else OrderType.LIMIT,
            tif,
            dec((5, 10, 10, 30, 100, "10.0")[whim // 5 % 6]),
            price,
            trader=("", "bob", "eve")[whim // 11 % 3],
        )
        self.run(order)

    def order(self, symbol: str, qty: int, price: str, name: str) -> None:
        """A plain buy of the first account."""
        kind, tif = OrderType.LIMIT, TimeInForce.DAY
        self.run(cmd.SubmitOrder(ALPHA, name, symbol, OrderSide.BUY, kind, tif, dec(qty), dec(price)))

    def submit_special(self, whim: int) -> None:
        self.count += 1
        sell = whim % 5 == 0
        kind = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.ICEBERG, OrderType.LIMIT)[whim % 4]
        terms = (
            SpecialTerms(stop_px=dec("50.05")),
            SpecialTerms(stop_px=dec("50.05")),
            SpecialTerms(display_qty=dec(10)),
            SpecialTerms(
                routing=RouteStyle(("SWEEP", "DARK_FIRST", "none")[whim // 4 % 3]),
                locate_id="L" if sell else "",
            ),
        )[whim % 4]
        order = cmd.SubmitOrder(
            NAMES[whim % 3],
            f"S{self.count}",
            SYMBOLS[whim % 2],
            OrderSide.SELL if sell else OrderSide.BUY,
            kind,
            TimeInForce.DAY,
            dec(30),
            None if kind is OrderType.STOP else dec("50.01"),
            special=terms,
        )
        self.run(order)

    def _open_order(self, whim: int) -> tuple[str, str]:
        state = self.state
        working = [state.orders[order_id] for order_id in state.open_orders]
        if not working:
            return NAMES[0], "O1"
        order = working[whim % len(working)]
        return order.account, order.cl_ord_id

    def cancel(self, whim: int) -> None:
        self.count += 1
        name, orig = self._open_order(whim)
        self.run(cmd.CancelOrder(name, f"C{self.count}", orig))

    def amend(self, whim: int) -> None:
        self.count += 1
        name, orig = self._open_order(whim)
        price = (None, dec("50.00"), dec("50.02"))[whim % 3]
        self.run(cmd.ReplaceOrder(name, f"R{self.count}", orig, dec(10 + whim % 30), price))

    def ask(self, whim: int) -> None:
        """Whatever there ever was, packed orders too: its status, or the same order again."""
        order = tuple(self.state.orders.values())
        if order:
            known = order[whim % len(order)]
            self.run(cmd.OrderStatusRequest(known.account, known.cl_ord_id))

    # --- venues ---

    def _report(self, kind: ReportKind, child: Child, whim: int) -> VenueReport:
        seq = self.seqs[child.venue] = self.seqs.get(child.venue, 0) + 1
        report = VenueReport(
            kind, child.venue, child.cl_ord_id, seq, "S", DAYS[self.day], venue_order_id=f"V{child.child_id}"
        )
        if kind is ReportKind.FILL:
            qty = child.leaves if whim % 3 or child.leaves < 2 else Decimal(int(child.leaves) // 2)
            return replace(report, qty=qty, px=dec("50.01"), exec_id=f"E{seq}", liquidity=Liquidity.REMOVED)
        if kind is ReportKind.CANCELED and child.cancel_id:
            return replace(report, cl_ord_id=child.cancel_id, orig_cl_ord_id=child.cl_ord_id)
        if kind is ReportKind.REPLACED:
            return replace(report, cl_ord_id=child.replace_id, orig_cl_ord_id=child.cl_ord_id)
        return report

    def _working(self) -> list[Child]:
        state = self.state
        orders = [state.orders[order_id] for order_id in state.open_orders]
        return [child for order in orders for child in state.working_children(order)]

    def acknowledge(self, whim: int) -> None:
        working = [child for child in self._working() if not child.venue_order_id]
        self.now_ns += (whim % 5) * 40_000_000
        if working:
            self.run(cmd.RecordVenueReport(self._report(ReportKind.ACK, working[whim % len(working)], whim)))

    def fill(self, whim: int) -> None:
        working = [child for child in self._working() if child.leaves]
        if working:
            self.run(
                cmd.RecordVenueReport(self._report(ReportKind.FILL, working[-1 - whim % len(working)], whim))
            )

    def report_together(self, whim: int) -> None:
        """First words and executions of all that was sent, in one record."""
        working = [child for child in self._working() if child.leaves][: 1 + whim % 6]
        first = [self._report(ReportKind.ACK, child, whim) for child in working if not child.venue_order_id]
        reports = (
            *first,
            *(self._report(ReportKind.FILL, child, whim + at) for at, child in enumerate(working)),
        )
        if reports:
            self.run(cmd.RecordVenueReports(reports))

    def end_there(self, whim: int) -> None:
        working = self._working()
        if not working:
            return
        child = working[whim % len(working)]
        kind = (ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECT)[whim % 3]
        if child.replace_id and whim % 2:
            kind = ReportKind.REPLACED
        self.run(cmd.RecordVenueReport(self._report(kind, child, whim)))

    def change_execution(self, whim: int) -> None:
        """A bust or a correction of any execution there ever was."""
        executions = [item for item in self.state.executions.values() if item.qty]
        if not executions:
            return
        item = executions[whim % len(executions)]
        child = self.state.children[item.child_id]
        kind = ReportKind.BUST if whim % 2 else ReportKind.CORRECT
        report = replace(self._report(kind, child, whim), ref_exec_id=item.exec_id)
        if kind is ReportKind.CORRECT:
            report = replace(report, qty=item.qty, px=dec("50.02"))
        self.run(cmd.RecordVenueReport(report))

    def come_late(self, whim: int) -> None:
        """An execution of a child that may have ended, and been packed, long ago."""
        children = tuple(self.state.children.values())
        if children:
            child = children[whim % len(children)]
            report = self._report(ReportKind.FILL, child, 1)
            self.run(cmd.RecordVenueReport(replace(report, qty=report.qty or dec(1))))

    def set_line(self, whim: int) -> None:
        mic = MICS[whim % 4]
        status = VenueStatus.DISCONNECTED if self.state.connected(mic) else VenueStatus.CONNECTED
        self.run(cmd.SetVenueStatus(mic, status))

    # --- the market ---

    def move_market(self, whim: int) -> None:
        symbol, now_ns = OFTEN[whim % 6], self.now_ns
        shift = Decimal(whim // 3 % 3) / 100
        quotes = []
        for number, mic in enumerate(MICS[:3]):
            best = quote(
                mic, [(dec("49.98") + shift, 40)], [(dec("50.00") + shift + number * dec("0.01"), 35)]
            )
            age = (whim // 7 % 3) * number * 1_000_000_000
            quotes.append(replace(best, ts_ns=now_ns - age, live=whim % 17 != number))
        self.market.books[symbol] = ConsolidatedBook(symbol, tuple(quotes))
        if whim % 2:
            self.run(cmd.MarketMoved(symbol))

    def wait(self, whim: int) -> None:
        self.now_ns += (1, 300, 900, 2_000, 6_000, 61_000)[whim % 6] * 1_000_000

    # --- staff ---

    def limit(self, whim: int) -> None:
        rule = tuple(LimitRule)[whim % len(LimitRule)]
        low = {
            LimitRule.PRICE_COLLAR: "0.0005",
            LimitRule.PERIOD_COLLAR: "0.0005",
            LimitRule.MAX_ORDER_QTY: "30",
            LimitRule.MAX_MESSAGES: "4",
            LimitRule.MAX_BOOK_MESSAGES: "5",
            LimitRule.DUPLICATE_FLOW: "2",
            LimitRule.ALGO_EXECUTIONS: "3",
            LimitRule.POSITION_LIMIT: "120",
        }.get(rule, "4000")
        value = None if whim % 4 == 0 else dec(low) * (1 + whim // 4 % 2)
        self.run(
            cmd.SetLimit(rule, value, ("*", *NAMES)[whim // 8 % 4], ("*", "*", *SYMBOLS)[whim // 32 % 5])
        )

    def collar(self, whim: int) -> None:
        """How far prices may be from the reference, or from those of the period; mostly on."""
        rule = LimitRule.PRICE_COLLAR if whim // 8 % 2 else LimitRule.PERIOD_COLLAR
        self.run(cmd.SetLimit(rule, dec("0.0003") * (1 + whim % 4) if whim % 8 else None))

    def kill(self, whim: int) -> None:
        for key in tuple(self.state.kills):
            scope, _, value = key.partition(":")
            self.run(cmd.ReleaseKillSwitch(KillScope(scope), value))
        scope, value = (
            (KillScope.TRADER, "bob"),
            (KillScope.ACCOUNT, BETA),
            (KillScope.VENUE, MICS[whim // 8 % 4]),
            (KillScope.SYMBOL, "ACME"),
            (KillScope.FIRM, ""),
            (KillScope.CLIENT, "both"),
        )[whim % 6]
        if whim % 3:
            self.run(cmd.EngageKillSwitch(scope, value))

    def control(self, whim: int) -> None:
        symbol = SYMBOLS[whim // 9 % 3]
        command: cmd.AnyCommand = (
            cmd.HaltInstrument(symbol, symbol not in self.state.halted),
            cmd.RestrictSymbol(symbol, ("*", ALPHA)[whim // 30 % 2], whim % 2 == 0),
            cmd.SetFxRate(Currency.EUR, Currency.USD, dec(("1.1", "1.2")[whim // 30 % 2])),
            cmd.ApproveParty(PartyKind.TRADER, "bob", whim % 2 == 0),
            cmd.GrantLocate(Locate("L", ALPHA, "ACME", dec(100))),
            cmd.SetPriceTest(symbol, whim % 2 == 0),
            cmd.SetRiskPolicy(
                RiskPolicy(
                    approved_only=(PartyKind.TRADER,) if whim % 4 == 0 else (),
                    short_sale=whim % 3 == 0,
                    reference_max_age_ns=5_000_000_000 * (whim % 2),
                    drift_window_ns=2_000_000_000,
                )
            ),
        )[whim % 7]
        self.run(command)

    def reference(self, whim: int) -> None:
        fee, symbol = dec(("0.001", "0.02", "-0.002")[whim % 3]), SYMBOLS[whim // 3 % 3]
        if whim % 4 == 0:
            self.run(cmd.SetReference(venues=(venue(MICS[whim // 4 % 4], fee),)))
        elif whim % 4 == 1:
            self.run(cmd.SetReference(prices=((symbol, dec(("50", "50.02", "49")[whim // 12 % 3])),)))
        elif whim % 4 == 2:
            policies = Policies(ack=tuple(AckPolicy)[whim // 4 % len(AckPolicy)])
            self.run(
                cmd.SetReference(accounts=(account(NAMES[whim // 8 % 3], policies, enabled=whim % 5 > 0),))
            )
        else:
            turned = MICS[::-1] if whim % 8 == 3 else MICS[:3]
            self.run(cmd.SetReference(instruments=(replace(shares(symbol), listings=turned),)))

    def split(self, whim: int) -> None:
        """Two for one, today or tomorrow."""
        self.count += 1
        date = DAYS[min(self.day + whim % 2, len(DAYS) - 1)]
        self.run(
            cmd.CorporateAction(
                f"A{self.count}",
                SYMBOLS[whim % 2],
                cmd.ActionKind.SPLIT,
                date,
                ratio_num=dec(2),
                ratio_den=dec(1),
            )
        )

    def calendar(self, whim: int) -> None:
        """Hours of a primary listing: open for some seconds, or all day, with or without a break."""
        ends = self.now_ns + (2_000_000_000 if whim % 3 == 0 else DAY_NS)
        pause = ((self.now_ns + 500_000_000, self.now_ns + 1_500_000_000),) if whim % 5 == 0 else ()
        day = DAYS[self.day]
        session = TradingSession(day, self.now_ns - 1, ends, breaks=pause)
        self.run(cmd.SetCalendar(VenueCalendar(MICS[whim % 2 * 3 % 4], day, day, (session,))))

    def turn_day(self, whim: int) -> None:
        if self.day + 1 < len(DAYS):
            self.run(cmd.TimerFired(cmd.TimerKind.DAY_CLOSE, DAYS[self.day]))
            self.day += 1
            self.run(cmd.TimerFired(cmd.TimerKind.DAY_OPEN, DAYS[self.day]))

    def routing(self, whim: int) -> None:
        styles = ((BETA, RouteStyle("DARK_FIRST")),) if whim % 2 else ()
        command: cmd.AnyCommand = (
            cmd.SetRoutingPolicy(
                RoutingPolicy(
                    accounts=styles,
                    latency_ticks_per_ms=dec("0.05"),
                    max_quote_age_ns=(0, 1_500_000_000)[whim // 2 % 2],
                    dark=("DARK",) if whim % 3 else (),
                    breaker=BreakerTerms(2, 5_000_000_000, 400_000_000) if whim % 5 else None,
                )
            ),
            cmd.SetVenueLimit(MICS[whim // 4 % 4], VenueLimit(dec(2000 + whim % 3000), None)),
            cmd.SetVenueLimit(MICS[whim // 4 % 4], VenueLimit(None, dec(6000) if whim % 8 else None)),
            cmd.SetOrderProtection(OrderProtection("R", "US", MICS[:3], DAYS[whim // 4 % 2], DAYS[1])),
        )[whim % 4]
        self.run(command)


def _written(outcome: Outcome) -> tuple[bytes, bytes, int]:
    record = encode_entry(outcome.entry) if outcome.entry is not None else b""
    return record, _EFFECTS.encode(outcome.effects), outcome.depends_on


ORDERS = (
    World.submit,
    World.submit,
    World.submit,
    World.submit,
    World.report_together,
    World.acknowledge,
    World.fill,
)
CONTROLS = (
    World.limit,
    World.collar,
    World.kill,
    World.control,
    World.reference,
    World.wait,
    World.move_market,
)
ROUTING = (World.routing, World.move_market, World.end_there, World.set_line, World.wait)
DAYS_TURN = (World.turn_day, World.split, World.collar, World.calendar, World.wait)
LATE = (World.ask, World.change_execution, World.come_late, World.cancel, World.amend, World.end_there)
ALL = tuple(dict.fromkeys((*CONTROLS, *ROUTING, *DAYS_TURN, *LATE, World.submit_special)))
Acts = tuple[Callable[[World, int], None], ...]
GROUPS: dict[str, Acts] = {
    "controls": CONTROLS,
    "routing": ROUTING,
    "days": DAYS_TURN,
    "late": LATE,
    "all": ALL,
}


@pytest.mark.parametrize("group", GROUPS)
@settings(max_examples=30, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(seed=st.integers(0, 1 << 32))
def test_a_copy_that_remembers_nothing_decides_the_same(group: str, seed: int) -> None:
    """Mostly orders and what venues say of them, and now and then something else. The seed alone decides:
    acts that hypothesis draws one by one are few and alike, and what is remembered shows in long histories.
    """
    chance = random.Random(seed)
    world = World(*chance.choice(((0, 1), (1, 2), (2_048, 64))))
    if group == "routing":
        world.routing(4 * chance.randrange(200))
    if group in ("controls", "days"):
        world.collar(chance.randrange(100))
    for _ in range(chance.randrange(30, 80)):
        act = chance.choice(ORDERS if chance.random() < 0.6 else GROUPS[group])
        act(world, chance.randrange(10_008))


def test_a_split_of_today_begins_the_period_of_prices_anew() -> None:
    world = World(2_048, 64)
    world.collar(3)
    for name in ("before", "after", "again"):
        world.order("ACME", 10, "50.00", name)
        if name == "before":
            world.split(0)
    assert world.state.risk.drift["ACME"].lows


def test_the_larger_lot_of_a_new_day_binds_in_a_book_that_has_not_moved() -> None:
    world = World(2_048, 64)
    routed = []
    for day in range(3):
        world.order("ACME", 100, "50.01", f"day{day}")
        order = world.state.find_order(ALPHA, f"day{day}")
        assert order is not None
        routed.append([int(world.state.children[child_id].qty) for child_id in order.children])
        world.turn_day(0)
    assert routed == [[35, 65], [35, 65], [30, 70]]


def test_an_answer_that_comes_late_counts_from_the_next_order_on() -> None:
    world = World(2_048, 64)
    world.routing(0)
    world.order("ACME", 10, "49.99", "first")
    world.wait(2)
    world.acknowledge(0)
    world.order("ACME", 10, "49.99", "second")
    first, second = (world.state.find_order(ALPHA, name) for name in ("first", "second"))
    assert first is not None and second is not None
    venues = [world.state.children[order.children[0]].venue for order in (first, second)]
    assert venues[0] != venues[1], "one that answers slowly costs more"
