"""The scripted part of the demonstration: scenes that ask for something and read what the system answered.

A scene is a generator: it acts, yields how long to wait (nanoseconds of market time), and goes on. What it
tells is read from the engine's own events and state, so a scene cannot claim what did not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import msgspec

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    EngageKillSwitch,
    MassCancel,
    ReleaseKillSwitch,
    ReplaceOrder,
    SubmitOrder,
)
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import AmendRefused, AnyEvent, CommandRefused, DuplicateRefused, OrderRejected
from qtinfra.core.extended_models import Execution, KillScope
from qtinfra.core.models import ChildStatus, Order, OrderSide, OrderStatus, OrderType, Origin, TimeInForce
from qtinfra.core.reports import VenueReport
from qtinfra.engine.state import State
from qtinfra.runtime.blotter import venue_quantities
from qtinfra.runtime.simulate import Simulation, VenueQuotes
from qtinfra.runtime.synthetic_session import OPEN_NS
from qtinfra.venues.simulated.flow import SyntheticMarket

MS = 1_000_000
SECOND = 1_000 * MS
CENT = Decimal("0.01")
#: How long the session lasts, and when it ends, UTC nanoseconds.
MINUTES = 20
CLOSE_NS = OPEN_NS + MINUTES * 60 * SECOND

BUY, SELL = OrderSide.BUY, OrderSide.SELL
#: A symbol on the restricted list, one traded in lots of 100, and one with a small limit for gamma.
RESTRICTED, ROUND_LOTS, LIMITED = "XOM", "NVDA", "AAPL"
LIMITED_TO = Decimal(300)


class Moment(msgspec.Struct, frozen=True):
    """One line of the timeline: when, who, what was asked, and what the system made of it."""

    ts_ns: int
    who: str
    asked: str
    answered: str


Scene = Callable[["Stage"], Iterator[int]]


class Stage:
    """What scenes act on: the simulation, the venues themselves, and the timeline they write."""

    def __init__(self, simulation: Simulation, market: SyntheticMarket) -> None:
        self.moments: list[Moment] = []
        self.sweep: Order | None = None
        self.simulation = simulation
        self.market = market
        self._view = VenueQuotes(market)

    @property
    def now_ns(self) -> int:
        return self.simulation.now_ns

    @property
    def state(self) -> State:
        return self.simulation.kernel.state

    def schedule(self, at_ns: int, scene: Scene) -> None:
        """Let a scene begin at a moment of market time."""
        acts = scene(self)
        self.simulation.at(at_ns, lambda _: self._advance(acts))

    def _advance(self, acts: Iterator[int]) -> None:
        wait_ns = next(acts, None)
        if wait_ns is not None:
            self.simulation.at(self.now_ns + wait_ns, lambda _: self._advance(acts))

    def tell(self, ts_ns: int, who: str, asked: str, answered: str) -> None:
        self.moments.append(Moment(ts_ns, who, asked, answered))

    # --- asking -------------------------------------------------------------------------------------------

    def limit(
        self,
        account: str,
        cl_ord_id: str,
        symbol: str,
        side: OrderSide,
        qty: Decimal | int,
        price: Decimal,
        tif: TimeInForce = TimeInForce.DAY,
    ) -> Sequence[AnyEvent]:
        """Send a limit order for an account."""
        terms = symbol, side, OrderType.LIMIT, tif, Decimal(qty), price
        return self.ask(account, SubmitOrder(account, cl_ord_id, *terms))

    def ask(self, actor: str, command: AnyCommand) -> Sequence[AnyEvent]:
        return self.simulation.submit(command, actor)

    def venue_says(self, venue: str, reports: Iterable[VenueReport]) -> None:
        """Reports that the venue sends by itself."""
        self.simulation.hear_from_venue(self.market.sessions[venue].stamp(reports))

    # --- reading ------------------------------------------------------------------------------------------

    def order(self, account: str, cl_ord_id: str) -> Order:
        """An order that must exist by now.

        Raises:
            LookupError: it does not.
        """
        found = self.state.find_order(account, cl_ord_id)
        if found is None:
            raise LookupError(f"no order {cl_ord_id} of {account}")
        return found

    def outcome(self, account: str, cl_ord_id: str) -> str:
        """How an order stands, in words."""
        return describe(self.state, self.order(account, cl_ord_id))

    def open_orders(self, account: str) -> int:
        return sum(self.state.orders[order_id].account == account for order_id in self.state.open_orders)

    def touch(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Best bid and offer over all venues; they always quote both sides."""
        book = self._view.book(symbol)
        bid, ask = (book.best_bid(), book.best_ask()) if book is not None else (None, None)
        if bid is None or ask is None:
            raise LookupError(f"{symbol} is not quoted on both sides")
        return bid, ask

    def offers(self, symbol: str) -> list[tuple[Decimal, str, Decimal]]:
        """Displayed offers of all venues as (price, venue, size), the cheapest first."""
        book = self._view.book(symbol)
        quotes = book.quotes if book is not None else ()
        return sorted((price, quote.venue, size) for quote in quotes for price, size in quote.asks)


# --- words -----------------------------------------------------------------------------------------------


def number(value: Decimal) -> str:
    """A quantity or price for people: thousands separated, no trailing zeros beyond the cents."""
    text = f"{value:,.4f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents.ljust(2, '0')}" if cents else whole


def describe(state: State, order: Order) -> str:
    """An order's state in words: status, executed quantity by venue, what is open."""
    parts = [order.status.value if order.open else f"{order.status}, nothing traded"]
    if order.cum_qty:
        by_venue = ", ".join(
            f"{venue} {number(qty)}" for venue, qty in venue_quantities(state, order).items()
        )
        parts = [f"{order.status}: {number(order.cum_qty)} at {number(order.avg_px)} ({by_venue})"]
    working = [child.venue for child in state.working_children(order)]
    if order.leaves_qty and working:
        parts.append(f"{number(order.leaves_qty)} open at {', '.join(dict.fromkeys(working))}")
    return "; ".join(parts)


def refusal(events: Iterable[AnyEvent]) -> str:
    """Why the first refused request among the events was refused."""
    for event in events:
        if isinstance(event, DuplicateRefused):
            return "refused, duplicate_client_order_id: the first order is untouched"
        if isinstance(event, OrderRejected | AmendRefused | CommandRefused):
            return f"refused, {event.code}: {event.text.removeprefix(event.code + ': ')}"
    return "not refused"


# --- scenes ----------------------------------------------------------------------------------------------


def sweep(stage: Stage) -> Iterator[int]:
    """A buy larger than any one venue displays is taken from several, best all-in price first."""
    total, worst, seen = ZERO, ZERO, dict.fromkeys(stage.market.sessions, ZERO)
    for price, venue, size in stage.offers("JPM"):
        seen[venue] += size
        total, worst = total + size, price
        if all(seen.values()):
            break
    qty = max(Decimal(100), min(Decimal(5_000), total - total % 100))
    at = stage.now_ns
    stage.limit("alpha", "S01", "JPM", BUY, qty, worst)
    asked = f"BUY {number(qty)} JPM at {number(worst)} or better"
    yield 5 * MS
    stage.sweep = stage.order("alpha", "S01")
    stage.tell(at, "alpha", asked, stage.outcome("alpha", "S01"))
    yield 5 * SECOND
    at, before = stage.now_ns, len(stage.state.orders)
    stage.limit("alpha", "S01", "JPM", BUY, qty, worst)
    created = len(stage.state.orders) - before
    stage.tell(at, "alpha", "the same message again", f"the first answer again; {created} orders created")
    yield 2 * SECOND
    events = stage.limit("alpha", "S01", "JPM", BUY, qty + 100, worst)
    stage.tell(stage.now_ns, "alpha", "the same id for another quantity", refusal(events))


def refusals(stage: Stage) -> Iterator[int]:
    """One request against each control."""
    asks = {symbol: stage.touch(symbol)[1] for symbol in stage.market.symbols}
    far = (asks["JPM"] * Decimal("1.05")).quantize(CENT)
    cases: tuple[tuple[str, str, OrderSide, int, Decimal, str], ...] = (
        ("gamma", "KO", BUY, 7_000, asks["KO"], ""),
        ("alpha", "MSFT", BUY, 5_000, asks["MSFT"], ""),
        ("beta", "JPM", BUY, 100, far, ", 5% above the market"),
        ("gamma", LIMITED, BUY, 400, asks[LIMITED], ""),
        ("alpha", RESTRICTED, BUY, 100, asks[RESTRICTED], ""),
        ("beta", "KO", SELL, 100, asks["KO"] + CENT / 2, ""),
        ("gamma", ROUND_LOTS, BUY, 150, asks[ROUND_LOTS], ""),
        ("alpha", "QQQQQ", BUY, 100, Decimal(10), ""),
    )
    for place, (account, symbol, side, qty, price, note) in enumerate(cases):
        events = stage.limit(account, f"S{10 + place}", symbol, side, qty, price)
        asked = f"{side} {qty:,} {symbol} at {number(price)}{note}"
        stage.tell(stage.now_ns, account, asked, refusal(events))
        yield SECOND


def replace_and_cancel(stage: Stage) -> Iterator[int]:
    """An order that rests, gets new terms, and is cancelled; then once too late, and once by a wrong id."""
    price = stage.touch("MSFT")[0] - 50 * CENT
    at = stage.now_ns
    stage.limit("alpha", "S20", "MSFT", BUY, 400, price)
    yield 5 * MS
    stage.tell(at, "alpha", f"BUY 400 MSFT at {number(price)}", stage.outcome("alpha", "S20"))
    yield 4 * SECOND
    at = stage.now_ns
    stage.ask("alpha", ReplaceOrder("alpha", "S21", "S20", Decimal(600), price + 5 * CENT))
    yield 5 * MS
    order = stage.order("alpha", "S21")
    asked = f"replace by 600 at {number(price + 5 * CENT)}"
    accepted = f"replaced; now {order.cl_ord_id} for {number(order.qty)}: {stage.outcome('alpha', 'S21')}"
    stage.tell(at, "alpha", asked, accepted)
    yield 4 * SECOND
    at = stage.now_ns
    stage.ask("alpha", CancelOrder("alpha", "S22", "S21"))
    yield 5 * MS
    stage.tell(at, "alpha", "cancel it", stage.outcome("alpha", "S21"))
    yield SECOND
    events = stage.ask("alpha", CancelOrder("alpha", "S23", "S21"))
    stage.tell(stage.now_ns, "alpha", "cancel it once more", refusal(events))
    yield SECOND
    events = stage.ask("beta", CancelOrder("beta", "S24", "S21"))
    stage.tell(stage.now_ns, "beta", "cancel alpha's order", refusal(events))


def all_or_nothing(stage: Stage) -> Iterator[int]:
    """Fill-or-kill for more than the deepest venue displays; immediate-or-cancel for the same."""
    best, venue_sizes = stage.touch("JPM")[1], dict.fromkeys(stage.market.sessions, ZERO)
    for price, venue, size in stage.offers("JPM"):
        venue_sizes[venue] += size if price == best else ZERO
    deepest = max(venue_sizes.values())
    qty = min(deepest - deepest % 100 + 500, Decimal(6_000))
    for cl_ord_id, tif in (("S30", TimeInForce.FOK), ("S31", TimeInForce.IOC)):
        at = stage.now_ns
        stage.limit("beta", cl_ord_id, "JPM", BUY, qty, best, tif)
        yield 5 * MS
        asked = f"BUY {number(qty)} JPM at {number(best)}, {tif}"
        stage.tell(at, "beta", asked, stage.outcome("beta", cl_ord_id))
        yield SECOND


def bust_and_correct(stage: Stage) -> Iterator[int]:
    """A venue takes an execution of the sweep back and gives another one a new price."""
    order = stage.sweep
    if order is None or len(order.executions) < 2:
        return
    first, last = (stage.state.executions[order.executions[place]] for place in (0, -1))
    at, held = stage.now_ns, stage.state.net_position("alpha", "JPM")
    fill = f"fill of {number(first.qty)} at {number(first.px)}"
    stage.venue_says(first.venue, stage.market.matching[first.venue].bust(first.exec_id, stage.now_ns))
    yield 5 * MS
    now_held = stage.state.net_position("alpha", "JPM")
    moved = f"position {number(held)} to {number(now_held)}"
    kept = f"{number(order.unallocated)} re-opened, held for staff"
    stage.tell(at, first.venue, f"busts its {fill}", f"{stage.outcome('alpha', 'S01')}; {moved}; {kept}")
    yield 2 * SECOND
    yield from _correct(stage, order, last)
    yield 2 * SECOND
    at = stage.now_ns
    stage.ask("staff:desk", CancelOrder("alpha", "S02", "S01", Origin.STAFF, "client called"))
    yield 5 * MS
    stage.tell(at, "desk", "cancels what the bust re-opened", stage.outcome("alpha", "S01"))


def _correct(stage: Stage, order: Order, execution: Execution) -> Iterator[int]:
    at, average = stage.now_ns, order.avg_px
    new_px, old_px, qty = execution.px - CENT, execution.px, execution.qty
    venue = stage.market.matching[execution.venue]
    stage.venue_says(execution.venue, venue.correct(execution.exec_id, qty, new_px, stage.now_ns))
    yield 5 * MS
    asked = f"corrects its fill of {number(qty)} from {number(old_px)} to {number(new_px)}"
    answered = f"average {number(average)} to {number(order.avg_px)}; cost and P&L follow"
    stage.tell(at, execution.venue, asked, answered)


def mass_cancel(stage: Stage) -> Iterator[int]:
    """All open orders of one account, by one request."""
    for place, symbol in enumerate(("AAPL", "MSFT", "JPM")):
        stage.limit("beta", f"S4{place}", symbol, BUY, 100, stage.touch(symbol)[0] - 30 * CENT)
    yield SECOND
    at, before = stage.now_ns, stage.open_orders("beta")
    stage.ask("beta", MassCancel("beta", "S49"))
    yield 5 * MS
    after = stage.open_orders("beta")
    stage.tell(at, "beta", f"mass cancel, {before} orders open", f"{before - after} cancelled, {after} left")


def outage(stage: Stage) -> Iterator[int]:
    """A link breaks with an acknowledgement, an order and a cancel under way; nothing is sent twice."""
    ids, price = ("S50", "S51", "S52"), stage.touch("JPM")[0] - 40 * CENT
    stage.limit("alpha", ids[0], "JPM", BUY, 100, price)
    yield 2 * SECOND
    at = stage.now_ns
    stage.limit("alpha", ids[1], "JPM", BUY, 200, price)
    yield MS * 3 // 10  # it has reached the venue, its acknowledgement is on the way back
    stage.limit("alpha", ids[2], "JPM", BUY, 300, price)
    stage.ask("alpha", CancelOrder("alpha", "S53", ids[0]))
    sent = [_posted_at(stage, cl_ord_id) for cl_ord_id in ids]
    failing = sent[1]
    answered = f"{sent.count(failing)} of 3 on the wire to {failing}"
    stage.tell(at, "alpha", "BUY 200 and BUY 300 JPM, cancel BUY 100", answered)
    yield MS // 10
    at = stage.now_ns
    stage.simulation.disconnect(failing, "link lost")
    doubt = [child for child in stage.state.children.values() if child.status is ChildStatus.UNKNOWN]
    held = sum((child.leaves for child in doubt), ZERO)
    answered = (
        f"{len(doubt)} outcomes UNKNOWN, {number(held)} shares in doubt counted as exposure, none resent"
    )
    stage.tell(at, failing, "the link breaks", answered)
    yield 15 * SECOND
    at = stage.now_ns
    stage.limit("beta", "S54", "JPM", BUY, 200, stage.touch("JPM")[0] - 10 * CENT)
    yield 5 * MS
    stage.tell(at, "beta", f"BUY 200 JPM while {failing} is away", stage.outcome("beta", "S54"))
    yield 30 * SECOND
    at = stage.now_ns
    stage.simulation.reconnect(failing, "link restored")
    yield 10 * MS
    for cl_ord_id, asked in zip(ids, ("the cancelled BUY 100", "BUY 200", "BUY 300"), strict=True):
        fate = f"{_fate(stage, cl_ord_id)}: {stage.outcome('alpha', cl_ord_id)}"
        stage.tell(at, failing, f"the link is back: what of {asked}?", fate)


def _posted_at(stage: Stage, cl_ord_id: str) -> str:
    """The venue that an order of alpha's was first sent to."""
    return stage.state.children[stage.order("alpha", cl_ord_id).children[0]].venue


def _fate(stage: Stage, cl_ord_id: str) -> str:
    """What the venue's resend and its answers have shown about an order's first child."""
    words = {
        ChildStatus.LIVE: "it had arrived, its acknowledgement was sent again",
        ChildStatus.NOT_RECEIVED: "it never arrived, so it was placed anew",
        ChildStatus.CANCELLED: "it was live there, the lost cancel went out again",
    }
    status = stage.state.children[stage.order("alpha", cl_ord_id).children[0]].status
    return words.get(status, status.value)


def kill_switch(stage: Stage) -> Iterator[int]:
    """Everything of one client is stopped, then let go again."""
    for place, symbol in enumerate(("KO", "MSFT")):
        stage.limit("gamma", f"S6{place}", symbol, BUY, 200, stage.touch(symbol)[0] - 30 * CENT)
    yield SECOND
    at, before = stage.now_ns, stage.open_orders("gamma")
    stage.ask("risk", EngageKillSwitch(KillScope.CLIENT, "south", "drill"))
    yield 5 * MS
    gone = f"{before - stage.open_orders('gamma')} of {before} open orders cancelled; new ones are blocked"
    stage.tell(at, "risk", "kill switch for client south", gone)
    yield 5 * SECOND
    events = stage.limit("gamma", "S65", "KO", BUY, 100, stage.touch("KO")[1])
    stage.tell(stage.now_ns, "gamma", "BUY 100 KO", refusal(events))
    yield 20 * SECOND
    at = stage.now_ns
    stage.ask("risk", ReleaseKillSwitch(KillScope.CLIENT, "south", "drill over"))
    stage.limit("gamma", "S66", "KO", BUY, 100, stage.touch("KO")[1])
    yield 5 * MS
    stage.tell(at, "risk", "kill switch released; BUY 100 KO", stage.outcome("gamma", "S66"))


def good_till_cancelled(stage: Stage) -> Iterator[int]:
    """An order that outlives the day."""
    at, price = stage.now_ns, stage.touch("KO")[0] - 80 * CENT
    stage.limit("beta", "S70", "KO", BUY, 300, price, TimeInForce.GTC)
    yield 5 * MS
    stage.tell(at, "beta", f"BUY 300 KO at {number(price)}, GTC", stage.outcome("beta", "S70"))


def tell_close(stage: Stage, ts_ns: int) -> None:
    """The last line, once the day is closed."""
    counts = dict.fromkeys((OrderStatus.EXPIRED, OrderStatus.DONE_FOR_DAY), 0)
    for order in stage.state.orders.values():
        if order.status in counts:
            counts[order.status] += 1
    ended = ", ".join(f"{count} {status}" for status, count in counts.items())
    gtc = stage.outcome("beta", "S70")
    stage.tell(ts_ns, "timer", "the close", f"{ended}; beta's GTC order: {gtc}")


#: When each scene begins, in seconds after the open.
SCENES: tuple[tuple[int, Scene], ...] = (
    (30, sweep),
    (40, refusals),
    (180, replace_and_cancel),
    (270, all_or_nothing),
    (360, bust_and_correct),
    (480, mass_cancel),
    (600, outage),
    (780, kill_switch),
    (960, good_till_cancelled),
)
