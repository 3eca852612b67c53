"""A venue that misbehaves: a wrapper around any venue that delays answers and injects faults, reproducibly.

The venue inside does what it does; the faults are on the way to it and back. One random number is drawn for
every message that could go wrong and one for every report that is delayed, so the same plan and the same
messages give the same faults. Reports get their session numbers after the faults: a report that comes late or
twice has a number of its own, and its execution id tells what it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Protocol, runtime_checkable

import msgspec

from qtinfra.core.market import VenueQuote
from qtinfra.core.reports import (
    ReportKind,
    ToVenue,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
)
from qtinfra.venues.simulated.model import SimulatedMarket, VenueModel, VenueSession

#: Reason of a refusal that a plan injects.
INJECTED = "injected_fault"

_REFUSALS: dict[type[ToVenue], ReportKind] = {
    VenueNewOrder: ReportKind.REJECT,
    VenueCancel: ReportKind.CANCEL_REJECT,
    VenueReplace: ReportKind.REPLACE_REJECT,
}


class Fault(StrEnum):
    """What goes wrong with a message, and with the reports that carry its id.

    REJECT: refused on the way. LOST: it never arrives. SILENCE: it arrives, and nothing under its id is ever
    reported. DISCONNECT: it arrives, and the connection is down from then on for `down_ns`. DUPLICATE: its
    reports come twice. LATE: they come `late_ns` later, later ones may overtake them. OUT_OF_ORDER: reports
    that come together come in reverse. BUST: its first fill is busted `bust_ns` later.
    """

    REJECT = "reject"
    LOST = "lost"
    SILENCE = "silence"
    DISCONNECT = "disconnect"
    DUPLICATE = "duplicate"
    LATE = "late"
    OUT_OF_ORDER = "out_of_order"
    BUST = "bust"


class FaultPlan(msgspec.Struct, frozen=True):
    """Which faults, when; times in nanoseconds.

    Attributes:
        rates: chance (0 to 1) of a fault for each new order, cancel and replace; at most one each.
        script: faults of new orders by their number, from 1; they go before rates.
        latency_ns, jitter_ns: each report is delayed by the first and up to the second more, in order.
    """

    seed: int = 0
    rates: tuple[tuple[Fault, float], ...] = ()
    script: tuple[tuple[int, Fault], ...] = ()
    latency_ns: int = 0
    jitter_ns: int = 0
    late_ns: int = 5_000_000_000
    down_ns: int = 10_000_000_000
    bust_ns: int = 1_000_000_000


@runtime_checkable
class Busting(Protocol):
    """A venue that can cancel an execution."""

    def bust(self, exec_id: str, now_ns: int = 0) -> list[VenueReport]: ...


class FaultyVenue:
    """A venue behind a bad connection; implements `VenueModel`.

    Args:
        model: the venue.
        plan: what goes wrong.

    Raises:
        ValueError: rates that are no chances, or busts at a venue that cannot bust.
    """

    def __init__(self, model: VenueModel, plan: FaultPlan) -> None:
        chances = [rate for _, rate in plan.rates]
        if any(rate < 0 for rate in chances) or sum(chances) > 1:
            raise ValueError(f"chances of faults are not negative and at most 1 together: {chances}")
        planned = {fault for fault, _ in plan.rates} | {fault for _, fault in plan.script}
        if Fault.BUST in planned and not isinstance(model, Busting):
            raise ValueError(f"{model.mic} cannot bust executions")
        self.model = model
        self.plan = plan
        self.injected: list[tuple[str, Fault]] = []
        self._script = dict(plan.script)
        self._draws = Random(f"{plan.seed}/faults/{model.mic}")
        self._delays = Random(f"{plan.seed}/delays/{model.mic}")
        self._marks: dict[str, Fault] = {}
        self._waiting: list[tuple[int, int, VenueReport]] = []
        self._number = self._orders = 0
        self._last_due_ns = self._down_until_ns = 0

    @property
    def mic(self) -> str:
        return self.model.mic

    def quote(self, symbol: str, now_ns: int) -> VenueQuote | None:
        """What the venue displays; while the connection is down it is not live."""
        quote = self.model.quote(symbol, now_ns)
        if quote is None or self.connected(now_ns):
            return quote
        return msgspec.structs.replace(quote, live=False)

    def connected(self, now_ns: int) -> bool:
        """Whether messages get through."""
        return now_ns >= self._down_until_ns

    def submit(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        """Take one message, or not; the reports that are due by now."""
        if not self.connected(now_ns):
            return []
        fault = self._fault(message)
        if fault is not None:
            self.injected.append((message.cl_ord_id, fault))
        if fault is Fault.LOST:
            return self.release(now_ns)
        if fault is Fault.REJECT:
            return self.pass_on([self._refusal(message, now_ns)], now_ns)
        if fault is Fault.DISCONNECT:
            self._down_until_ns = now_ns + self.plan.down_ns
        elif fault is not None:
            self._marks[message.cl_ord_id] = fault
        return self.pass_on(self.model.submit(message, now_ns), now_ns)

    def pass_on(self, reports: Sequence[VenueReport], now_ns: int) -> list[VenueReport]:
        """Reports of the venue enter the connection; those that are due by now come out."""
        marks = [self._marks.get(report.cl_ord_id) for report in reports]
        ordered = list(zip(reports, marks, strict=True))
        if Fault.OUT_OF_ORDER in marks:
            ordered.reverse()
        for report, mark in ordered:
            self._enter(report, mark, now_ns)
        return self.release(now_ns)

    def next_ns(self) -> int | None:
        """When the next report that is on its way arrives."""
        return max(self._waiting[0][0], self._down_until_ns) if self._waiting else None

    def release(self, now_ns: int) -> list[VenueReport]:
        """The reports that have arrived by now; none while the connection is down."""
        arrived: list[VenueReport] = []
        while self.connected(now_ns) and self._waiting and self._waiting[0][0] <= now_ns:
            arrived.append(heapq.heappop(self._waiting)[2])
        return arrived

    def _fault(self, message: ToVenue) -> Fault | None:
        if type(message) not in _REFUSALS:
            return None
        scripted = None
        if isinstance(message, VenueNewOrder):
            self._orders += 1
            scripted = self._script.get(self._orders)
        draw = self._draws.random()
        if scripted is not None:
            return scripted
        for fault, rate in self.plan.rates:
            if draw < rate:
                return fault
            draw -= rate
        return None

    def _refusal(self, message: ToVenue, now_ns: int) -> VenueReport:
        orig = message.orig_cl_ord_id if isinstance(message, VenueCancel | VenueReplace) else ""
        kind, mic = _REFUSALS[type(message)], self.mic
        return VenueReport(
            kind, mic, message.cl_ord_id, orig_cl_ord_id=orig, reason=INJECTED, source_ns=now_ns
        )

    def _enter(self, report: VenueReport, mark: Fault | None, now_ns: int) -> None:
        if mark is Fault.SILENCE and report.kind is not ReportKind.STATUS:
            return
        due_ns = now_ns + self.plan.latency_ns
        if self.plan.jitter_ns:
            due_ns += self._delays.randrange(self.plan.jitter_ns + 1)
        due_ns = self._last_due_ns = max(due_ns, self._last_due_ns)
        self._wait(report, due_ns + (self.plan.late_ns if mark is Fault.LATE else 0))
        if mark is Fault.DUPLICATE:
            self._wait(report, due_ns)
        if mark is Fault.BUST and report.kind is ReportKind.FILL and isinstance(self.model, Busting):
            del self._marks[report.cl_ord_id]
            for bust in self.model.bust(report.exec_id, now_ns):
                self._wait(bust, due_ns + self.plan.bust_ns)

    def _wait(self, report: VenueReport, due_ns: int) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (due_ns, self._number, report))


class FaultyMarket:
    """A market whose venues are behind bad connections; implements `SimulatedMarket`.

    Args:
        market: the market; its own sessions must not be used beside this.
        plans: by MIC; a venue without one works as it should.
    """

    def __init__(self, market: SimulatedMarket, plans: Mapping[str, FaultPlan]) -> None:
        self.market = market
        self.venues = {
            mic: FaultyVenue(session.model, plans.get(mic, FaultPlan()))
            for mic, session in market.sessions.items()
        }
        names = {mic: session.name for mic, session in market.sessions.items()}
        self._sessions = {mic: VenueSession(venue, names[mic]) for mic, venue in self.venues.items()}

    @property
    def sessions(self) -> Mapping[str, VenueSession]:
        return self._sessions

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.market.symbols

    def next_ns(self) -> int | None:
        """When the next report arrives or the next market event happens."""
        return min(self._moments(), default=None)

    def step(self) -> list[VenueReport]:
        """Let that happen; the numbered reports that come out."""
        now_ns, market_ns = self.next_ns(), self.market.next_ns()
        if now_ns is None:
            return []
        caused = self.market.step() if market_ns == now_ns else []
        reports: list[VenueReport] = []
        for mic, venue in self.venues.items():
            arrived = venue.pass_on([report for report in caused if report.venue == mic], now_ns)
            reports += self._sessions[mic].stamp(arrived)
        return reports

    def _moments(self) -> Iterable[int]:
        for moment in (self.market.next_ns(), *(venue.next_ns() for venue in self.venues.values())):
            if moment is not None:
                yield moment
