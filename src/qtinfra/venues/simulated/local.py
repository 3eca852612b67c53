"""Simulated venues inside the engine's own process, on real time.

The venues live as long as the process does. A new process has new venues under a new session name, with empty
books: what they held before was cancelled by their end, and the gateway says so before it is connected.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from math import ceil

import msgspec
from msgspec.structs import replace

from qtinfra.core.decimals import ZERO
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.ports import Clock
from qtinfra.core.reports import ReportKind, ToVenue, VenueNewOrder, VenueReport
from qtinfra.venues.simulated.model import SimulatedMarket, VenueModel, VenueSession

_NS = 1_000_000_000
# Members by name: looking them up in their class costs more than comparing them.
_FILL, _REJECT = ReportKind.FILL, ReportKind.REJECT
#: At most this many market events happen in one turn of the event loop; the rest follows in the next.
MAX_EVENTS_PER_TURN = 64
#: The market never sleeps longer than this: a clock that is slewed is looked at again.
MAX_SLEEP_S = 1.0


def timer_s(delay_s: float) -> float:
    """A wait in whole milliseconds, upwards: the loop's timers count in them, and rounded down to nothing a
    wait of some microseconds would keep the loop turning until it is over.
    """
    return ceil(delay_s * 1_000) / 1_000


class VenueStats(msgspec.Struct):
    """What was measured on one venue's link since the process began; nothing is estimated.

    Attributes:
        sent_orders, sent_qty: new orders handed to the venue, and their quantity in units.
        filled_qty: units that executions reported.
        rejected: orders that the venue refused.
        answered, answer_ns: first answers to new orders, and the sum of their delays.
    """

    sent_orders: int = 0
    sent_qty: Decimal = ZERO
    filled_qty: Decimal = ZERO
    fills: int = 0
    rejected: int = 0
    answered: int = 0
    answer_ns: int = 0


class LocalVenueGateway:
    """`core.ports.VenueGateway` to a venue in this process, with a delay each way.

    Args:
        session: the venue's session; its name must be new for every process.
        epoch: of the shard's owner. It makes execution ids unique over the lives of the process.
        clock: UTC nanoseconds.
        latency_ns: one way; the order of messages is kept.
        on_reports: gets the reports that arrive together, numbered, in order; never none.
        ended: our ids of the orders that the venue held in the process's earlier life; they ended with it.
    """

    def __init__(
        self,
        session: VenueSession,
        *,
        epoch: int,
        clock: Clock,
        latency_ns: int,
        on_reports: Callable[[Sequence[VenueReport]], None],
        ended: Sequence[str] = (),
    ) -> None:
        self.session = session
        self.stats = VenueStats()
        self._epoch = epoch
        self._clock = clock
        self._latency_ns = latency_ns
        self._on_reports = on_reports
        self._ended = ended
        self._under_way: deque[tuple[int, ToVenue | VenueReport]] = deque()
        self._waiting: dict[str, int] = {}
        self._timer: asyncio.Handle | None = None
        self._closed = False

    @property
    def venue(self) -> str:
        return self.session.model.mic

    def start(self) -> None:
        """Say what ended with the venue's earlier life. CONNECTED may be said after that."""
        now_ns = self._clock.now_ns()
        if self._ended:
            self._on_reports([self._stamped_end(cl_ord_id, now_ns) for cl_ord_id in self._ended])

    def _stamped_end(self, cl_ord_id: str, now_ns: int) -> VenueReport:
        report = VenueReport(
            ReportKind.CANCELED, self.venue, cl_ord_id, reason="venue_restart", source_ns=now_ns
        )
        return self.session.stamp([report])[0]

    def send(self, message: ToVenue) -> None:
        """Hand one message over; it arrives after the delay."""
        now_ns = self._clock.now_ns()
        if isinstance(message, VenueNewOrder):
            self.stats.sent_orders += 1
            self.stats.sent_qty += message.qty
            self._waiting[message.cl_ord_id] = now_ns
        self._put(now_ns, message)

    def hear(self, reports: Sequence[VenueReport]) -> None:
        """Reports that the market caused, numbered: they travel like any other."""
        now_ns = self._clock.now_ns()
        for report in reports:
            self._put(now_ns, report)

    def close(self) -> None:
        """Nothing arrives any more, in either direction."""
        self._closed = True
        self._under_way.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _put(self, now_ns: int, item: ToVenue | VenueReport) -> None:
        self._under_way.append((now_ns + self._latency_ns, item))
        self._arm(now_ns)

    def _arm(self, now_ns: int) -> None:
        if self._timer is None and self._under_way and not self._closed:
            delay_s = (self._under_way[0][0] - now_ns) / _NS
            loop = asyncio.get_running_loop()
            if delay_s <= 0:
                self._timer = loop.call_soon(self._arrive)
            else:
                self._timer = loop.call_later(timer_s(delay_s), self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        now_ns = self._clock.now_ns()
        waiting, due_ns, submit = self._under_way, now_ns + self._latency_ns, self.session.submit
        reports: list[VenueReport] = []
        for _ in range(len(waiting)):
            if waiting[0][0] > now_ns:
                break
            item = waiting.popleft()[1]
            if type(item) is VenueReport:
                reports.append(self._report(item, now_ns))
            else:
                for report in submit(item, now_ns):  # type: ignore[arg-type]
                    waiting.append((due_ns, report))
        if reports:
            self._on_reports(reports)
        self._arm(now_ns)

    def _report(self, report: VenueReport, now_ns: int) -> VenueReport:
        """Count a report that has arrived; as it is told, with an execution id that no other life has."""
        self._count(report, now_ns)
        if not report.exec_id:
            return report
        ref = f"{report.ref_exec_id}-{self._epoch}" if report.ref_exec_id else ""
        return replace(report, exec_id=f"{report.exec_id}-{self._epoch}", ref_exec_id=ref)

    def _count(self, report: VenueReport, now_ns: int) -> None:
        stats = self.stats
        if report.kind is _FILL:
            stats.fills += 1
            stats.filled_qty += report.quantity
        elif report.kind is _REJECT:
            stats.rejected += 1
        sent_ns = self._waiting.pop(report.cl_ord_id, None)
        if sent_ns is not None:
            stats.answered += 1
            stats.answer_ns += now_ns - sent_ns


class LocalMarketView:
    """`core.market.MarketView` of venues in this process: what they display at this moment."""

    def __init__(self, market: SimulatedMarket) -> None:
        self._models = [market.sessions[mic].model for mic in sorted(market.sessions)]
        self._known: dict[str, tuple[list[tuple[VenueModel, VenueQuote | None]], ConsolidatedBook]] = {}

    def book(self, symbol: str) -> ConsolidatedBook | None:
        """The consolidated book now: the same object as long as no venue's quote is another one."""
        known = self._known.get(symbol)
        if known is not None:
            for model, quote in known[0]:
                if model.quote(symbol, 0) is not quote:
                    break
            else:
                return known[1]
        shown = [(model, model.quote(symbol, 0)) for model in self._models]
        quotes = tuple([quote for _, quote in shown if quote is not None])
        if not quotes:
            return None
        book = ConsolidatedBook(symbol, quotes)
        self._known[symbol] = (shown, book)
        return book


async def run_market(
    market: SimulatedMarket,
    clock: Clock,
    gateways: Sequence[LocalVenueGateway],
    moved: Callable[[], None],
) -> None:
    """Let the market's events happen when they are due; returns after the last one.

    Args:
        moved: called after every turn in which something happened.
    """
    by_venue = {gateway.venue: gateway for gateway in gateways}
    while (next_ns := market.next_ns()) is not None:
        delay_s = (next_ns - clock.now_ns()) / _NS
        if delay_s > 0:
            await asyncio.sleep(min(timer_s(delay_s), MAX_SLEEP_S))
            continue
        for _ in range(MAX_EVENTS_PER_TURN):
            for report in market.step():
                by_venue[report.venue].hear([report])
            due_ns = market.next_ns()
            if due_ns is None or due_ns > clock.now_ns():
                break
        moved()
        await asyncio.sleep(0)
