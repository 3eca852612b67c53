"""A whole trading system in virtual time: clients, engine, journal and venues on one event queue.

Batching changes nothing but the number of frames: a command is decided at its own moment with the market of
that moment, and whatever leaves the engine arrives later by a latency. A frame is made durable when it is
full, or when the first thing that rests on it is about to arrive somewhere: durable before wire, as in
live trading.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from qtinfra.core.algo_events import AlgoPlanned
from qtinfra.core.commands import (
    AnyCommand,
    Inbound,
    MarketMoved,
    RecordVenueReport,
    SetVenueStatus,
    SubmitOrder,
    TimerFired,
    TimerKind,
)
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import AnyEvent, Entry, OrderFilled
from qtinfra.core.extended_models import Liquidity, VenueStatus
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.ports import Head, Journal
from qtinfra.core.reports import Alert, Effect, ExecutionReport, OrderCancelReject, ToVenue, VenueReport
from qtinfra.engine.audit import audit, audit_order
from qtinfra.engine.decide.algos import first_look_ns, next_look_ns
from qtinfra.engine.decide.price_test import looked_at
from qtinfra.engine.kernel import Kernel
from qtinfra.infra.heap import LongLivedHeap
from qtinfra.runtime.traders import Trader
from qtinfra.venues.simulated.model import PrintsVolume, SimulatedMarket


class VenueQuotes:
    """The market view of a simulation: what the venues display at this moment.

    `prints`: whether volume printed is part of the view; only algos read it.
    """

    def __init__(self, market: SimulatedMarket) -> None:
        self.now_ns = 0
        self.prints = False
        self._sessions = [market.sessions[mic] for mic in sorted(market.sessions)]
        models = [session.model for session in self._sessions]
        self._printers = [model for model in models if isinstance(model, PrintsVolume)]

    def book(self, symbol: str) -> ConsolidatedBook | None:
        quotes: list[VenueQuote] = []
        for session in self._sessions:
            quote = session.model.quote(symbol, self.now_ns)
            if quote is not None:
                quotes.append(quote)
        if not quotes:
            return None
        traded, last = ZERO, None
        if self.prints:
            traded, last = self._printed(symbol)
        return ConsolidatedBook(symbol, tuple(quotes), traded, last)

    def _printed(self, symbol: str) -> tuple[Decimal, Decimal | None]:
        """Volume over all venues, and the last price of the first one that printed."""
        traded, last = ZERO, None
        for model in self._printers:
            units, price = model.printed(symbol)
            traded += units
            last = price if last is None else last
        return traded, last


class Latency(msgspec.Struct, frozen=True):
    """One-way delays in nanoseconds: to a venue, from a venue, and to a client."""

    to_venue_ns: int = 250_000
    from_venue_ns: int = 250_000
    to_client_ns: int = 100_000


class Counts(msgspec.Struct):
    """What happened in a simulation."""

    commands: int = 0
    records: int = 0
    events: int = 0
    frames: int = 0
    fills: int = 0
    passive_fills: int = 0
    queued_fills: int = 0
    kinds: dict[str, int] = {}
    violations: list[str] = []


class _Due(msgspec.Struct, frozen=True, order=True):
    """Something that arrives at a moment; equal moments in the order in which they were sent."""

    at_ns: int
    number: int
    seq: int
    deliver: Callable[[int], None] = msgspec.field(default=lambda _: None)


class Simulation:
    """Runs clients against a market through the real kernel and a real journal.

    Args:
        market: the venues and what moves them.
        kernel: the shard's engine.
        journal: where its records go; open for writing.
        traders: the clients, by account.
        batch: most records in a frame.
        on_alert: told of every alert.
        on_entry: gets each record once it is durable.
        on_durable: gets the journal's head after each frame (to anchor it).
    """

    def __init__(
        self,
        market: SimulatedMarket,
        kernel: Kernel,
        journal: Journal,
        traders: Sequence[Trader],
        *,
        batch: int = 64,
        latency: Latency = Latency(),  # noqa: B008 - frozen
        on_alert: Callable[[Alert], None] | None = None,
        on_entry: Callable[[Entry], None] | None = None,
        on_durable: Callable[[Head], None] | None = None,
    ) -> None:
        self.kernel = kernel
        self.counts = Counts()
        self.now_ns = 0
        self._market = market
        self._view = VenueQuotes(market)
        self._journal = journal
        self._traders = list(traders)
        self._by_account = {getattr(trader, "account", ""): trader for trader in traders}
        self._batch = batch
        self._latency = latency
        self._on_alert = on_alert
        self._on_entry = on_entry
        self._on_durable = on_durable
        self._algo_ns: int | None = None
        self._links: dict[str, int] = {}  # per venue, how often its link changed; odd: it is down
        self._heap = LongLivedHeap()
        self._waiting: list[Entry] = []
        self._queue: list[_Due] = []
        self._number = 0
        self._durable_seq = kernel.state.seq
        self._kinds: Counter[str] = Counter()

    # --- commands and their effects -----------------------------------------------------------------------

    def submit(self, command: AnyCommand, actor: str = "simulation") -> Sequence[AnyEvent]:
        """Have a command decided now; its effects go when it is durable."""
        return self._execute(Inbound(command, actor, received_ns=self.now_ns))

    def _execute(self, inbound: Inbound) -> Sequence[AnyEvent]:
        self._view.now_ns = self.now_ns
        command = inbound.command
        self._view.prints = bool(self.kernel.state.algos.parents) or (
            isinstance(command, SubmitOrder) and command.algo is not None
        )
        outcome = self.kernel.execute(inbound, self.now_ns, self._view)
        self.counts.commands += 1
        self._heap.note(1)
        if outcome.entry is not None:
            self._waiting.append(outcome.entry)
            self._note(outcome.events)
        for effect in outcome.effects:
            self._send(effect, outcome.depends_on)
        if len(self._waiting) >= self._batch:
            self.flush()
        return outcome.events

    def _note(self, events: Sequence[AnyEvent]) -> None:
        state = self.kernel.state
        touched: dict[str, None] = {}
        for event in events:
            self._kinds[type(event).__name__] += 1
            order_id = getattr(event, "order_id", "")
            if order_id in state.orders:
                touched[order_id] = None
            if isinstance(event, AlgoPlanned):
                at_ns = first_look_ns(event.schedule, self.now_ns)
                self._algo_ns = at_ns if self._algo_ns is None else min(self._algo_ns, at_ns)
            if isinstance(event, OrderFilled):
                self.counts.fills += 1
                self.counts.passive_fills += event.liquidity is Liquidity.ADDED
                self.counts.queued_fills += bool(event.queue_ahead)
        self.counts.events += len(events)
        for order_id in touched:
            broken = audit_order(state, state.orders[order_id])
            self.counts.violations.extend(f"{order_id} at {state.seq}: {text}" for text in broken)

    def _send(self, effect: Effect, seq: int) -> None:
        if isinstance(effect, Alert):
            if self._on_alert is not None:
                self._on_alert(effect)
            return
        if isinstance(effect, ExecutionReport | OrderCancelReject):
            trader = self._by_account.get(effect.account)
            if trader is not None:
                report = effect
                self._later(self._latency.to_client_ns, seq, lambda now_ns: trader.hear(report, now_ns))
            return
        self._later(self._latency.to_venue_ns, seq, self._carrier(effect))

    def _carrier(self, message: ToVenue) -> Callable[[int], None]:
        link = self._links.get(message.venue, 0)

        def carry(now_ns: int) -> None:
            if self._arrives(message.venue, link):
                self._hear(self._market.sessions[message.venue].submit(message, now_ns))

        return carry

    def _hear(self, reports: Sequence[VenueReport]) -> None:
        for report in reports:
            self._later(self._latency.from_venue_ns, 0, self._recorder(report))

    def _recorder(self, report: VenueReport) -> Callable[[int], None]:
        link = self._links.get(report.venue, 0)

        def record(now_ns: int) -> None:
            del now_ns
            if self._arrives(report.venue, link):
                self._record(report)

        return record

    def _record(self, report: VenueReport) -> None:
        self._execute(Inbound(RecordVenueReport(report), f"venue:{report.venue}", received_ns=self.now_ns))

    def _later(self, delay_ns: int, seq: int, deliver: Callable[[int], None]) -> None:
        self._number += 1
        heapq.heappush(self._queue, _Due(self.now_ns + delay_ns, self._number, seq, deliver))

    def at(self, at_ns: int, action: Callable[[int], None]) -> None:
        """Do something at a moment of virtual time."""
        self._number += 1
        heapq.heappush(self._queue, _Due(at_ns, self._number, 0, action))

    def hear_from_venue(self, reports: Sequence[VenueReport]) -> None:
        """Reports that a venue sends by itself (a bust, a correction): they travel like any other."""
        self._hear(reports)

    # --- links to venues ----------------------------------------------------------------------------------

    def _arrives(self, venue: str, link: int) -> bool:
        """Whether what left on that link is not lost: it was up, and has not broken since."""
        return link % 2 == 0 and self._links.get(venue, 0) == link

    def disconnect(self, venue: str, reason: str = "") -> Sequence[AnyEvent]:
        """Break the link: what is on its way is lost, both ways. The venue itself trades on without us."""
        if self._links.get(venue, 0) % 2 == 0:
            self._links[venue] = self._links.get(venue, 0) + 1
        return self.submit(SetVenueStatus(venue, VenueStatus.DISCONNECTED, reason), f"venue:{venue}")

    def reconnect(self, venue: str, reason: str = "") -> Sequence[AnyEvent]:
        """Mend the link: the venue first sends again what we missed, then takes our questions."""
        if self._links.get(venue, 0) % 2:
            self._links[venue] += 1
        for report in self._market.sessions[venue].resend(self.kernel.state.inbound.get(venue, 0)):
            self._record(report)
        return self.submit(SetVenueStatus(venue, VenueStatus.CONNECTED, reason), f"venue:{venue}")

    # --- durability ---------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make everything decided so far durable, as one frame."""
        if not self._waiting:
            return
        head = self._journal.append(self._waiting)
        self.counts.records += len(self._waiting)
        self.counts.frames += 1
        if self._on_entry is not None:
            for entry in self._waiting:
                self._on_entry(entry)
        self._durable_seq = self._waiting[-1].last_seq
        self._waiting = []
        if self._on_durable is not None:
            self._on_durable(head)

    # --- time ---------------------------------------------------------------------------------------------

    def run(self, until_ns: int | None = None) -> Counts:
        """Let time pass until everything has happened, or until a moment.

        At equal moments the market moves first, then what was sent arrives, then clients act.
        """
        while True:
            at_ns, act = self._next()
            if act is None or (until_ns is not None and at_ns > until_ns):
                break
            self.now_ns = max(self.now_ns, at_ns)
            act(self.now_ns)
        if until_ns is not None:
            self.now_ns = max(self.now_ns, until_ns)
        self.flush()
        self.counts.kinds = dict(sorted(self._kinds.items()))
        return self.counts

    def _next(self) -> tuple[int, Callable[[int], None] | None]:
        best: tuple[int, Callable[[int], None] | None] = (0, None)
        at_ns = self._market.next_ns()
        if at_ns is not None:
            best = (at_ns, self._step)
        if self._queue and (best[1] is None or self._queue[0].at_ns < best[0]):
            best = (self._queue[0].at_ns, self._deliver)
        if self._algo_ns is not None and (best[1] is None or self._algo_ns < best[0]):
            best = (self._algo_ns, self._look)
        for trader in self._traders:
            at_ns = trader.next_ns()
            if at_ns is not None and (best[1] is None or at_ns < best[0]):
                best = (at_ns, self._actor(trader))
        return best

    def _step(self, now_ns: int) -> None:
        del now_ns
        reports = self._market.step()
        if reports:
            self._hear(reports)
        for symbol in looked_at(self.kernel.state):
            self.submit(MarketMoved(symbol), "market")

    def _look(self, now_ns: int) -> None:
        """The ALGO timer: all parents are looked at."""
        self._algo_ns = None
        self.submit(TimerFired(TimerKind.ALGO, ""), "timer")
        self._algo_ns = next_look_ns(self.kernel.state, now_ns)

    def _deliver(self, now_ns: int) -> None:
        due = heapq.heappop(self._queue)
        if due.seq > self._durable_seq:
            self.flush()
        due.deliver(now_ns)

    def _actor(self, trader: Trader) -> Callable[[int], None]:
        def act(now_ns: int) -> None:
            self._view.now_ns = now_ns
            for inbound in trader.act(now_ns, self._view):
                self._execute(inbound)

        return act

    def audit(self) -> list[str]:
        """Every violation seen so far, and the invariants of the whole state now."""
        return self.counts.violations + audit(self.kernel.state)
