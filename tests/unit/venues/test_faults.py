"""Injected faults: each does what it says, by script or by rate, and the same plan does it again."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import count

import pytest

from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.dark import DarkVenue
from qtinfra.venues.simulated.faults import Fault, FaultPlan, FaultyMarket, FaultyVenue
from qtinfra.venues.simulated.flow import SyntheticInstrument, SyntheticMarket, SyntheticVenue
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from qtinfra.venues.simulated.model import SimulatedMarket, VenueModel
from qtinfra.venues.simulated.nbbo import NbboVenue

pytestmark = pytest.mark.unit

D = Decimal
K = ReportKind
MS = 1_000_000


class Desk:
    """A matching venue behind a plan; 1,000 units are offered at 10.00."""

    def __init__(self, plan: FaultPlan) -> None:
        self.inner = MatchingVenue("XSIM", [Listing("ABC")])
        self.venue = FaultyVenue(self.inner, plan)
        self.inner.background_add("ABC", BookOrder(1, False, 1_000, 1000), 0)
        self.ids = count(2)
        self.now_ns = 0

    def buy(self, cl_ord_id: str, qty: int = 10, price: str = "10.00") -> list[str]:
        terms = OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, D(qty), D(price)
        return said(self.venue.submit(VenueNewOrder("XSIM", cl_ord_id, "ABC", *terms), self.now_ns))

    def status(self, cl_ord_id: str) -> VenueReport:
        return self.venue.submit(VenueStatusRequest("XSIM", cl_ord_id), self.now_ns)[-1]

    def sold(self, units: int, cents: int) -> list[str]:
        order = BookOrder(next(self.ids), False, units, cents)
        return said(self.venue.pass_on(self.inner.background_add("ABC", order, self.now_ns), self.now_ns))

    def wait(self, ns: int) -> list[str]:
        self.now_ns += ns
        return said(self.venue.release(self.now_ns))


def said(reports: list[VenueReport]) -> list[str]:
    return [f"{report.cl_ord_id} {report.kind}" for report in reports]


def scripted(fault: Fault, **terms: int) -> Desk:
    return Desk(FaultPlan(script=((1, fault),), **terms))  # type: ignore[arg-type]


def test_without_faults_the_venue_answers_as_it_does() -> None:
    desk = Desk(FaultPlan())
    model: VenueModel = desk.venue
    assert desk.buy("a") == ["a ACK", "a FILL"]
    assert model.quote("ABC", 0) == desk.inner.quote("ABC", 0)
    assert (model.mic, desk.venue.next_ns(), desk.venue.injected) == ("XSIM", None, [])


def test_a_rejected_message_never_reaches_the_venue() -> None:
    desk = scripted(Fault.REJECT)
    assert desk.buy("a") == ["a REJECT"]
    assert desk.status("a").kind is K.UNKNOWN_ORDER
    assert desk.buy("b") == ["b ACK", "b FILL"]
    assert desk.venue.injected == [("a", Fault.REJECT)]


def test_a_lost_message_has_no_answer_and_the_venue_does_not_know_it() -> None:
    desk = scripted(Fault.LOST)
    assert desk.buy("a") == []
    assert desk.status("a").kind is K.UNKNOWN_ORDER


def test_a_silent_order_works_at_the_venue_and_only_a_status_tells() -> None:
    desk = scripted(Fault.SILENCE)
    assert desk.buy("a", 10, "9.99") == []
    assert desk.sold(4, 999) == []
    status = desk.status("a")
    assert (status.kind, status.cum_qty, status.leaves_qty) == (K.STATUS, D(4), D(6))


def test_after_a_disconnect_messages_are_lost_and_reports_wait_for_the_line() -> None:
    desk = scripted(Fault.DISCONNECT, down_ns=100 * MS)
    assert desk.buy("a", 10, "9.99") == []
    assert desk.buy("b") == []
    assert desk.sold(4, 999) == []
    quote = desk.venue.quote("ABC", desk.now_ns)
    assert quote is not None
    assert not quote.live
    assert desk.wait(99 * MS) == []
    assert desk.venue.next_ns() == 100 * MS
    assert desk.wait(1 * MS) == ["a ACK", "a FILL"]
    assert desk.status("b").kind is K.UNKNOWN_ORDER


def test_a_duplicate_report_is_the_same_execution_again() -> None:
    desk = scripted(Fault.DUPLICATE)
    terms = OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, D(10), D(10)
    reports = desk.venue.submit(VenueNewOrder("XSIM", "a", "ABC", *terms), 0)
    assert said(reports) == ["a ACK", "a ACK", "a FILL", "a FILL"]
    assert reports[2] == reports[3]


def test_late_reports_are_overtaken_by_later_ones() -> None:
    desk = scripted(Fault.LATE, late_ns=50 * MS)
    assert desk.buy("a") == []
    assert desk.buy("b") == ["b ACK", "b FILL"]
    assert desk.wait(50 * MS) == ["a ACK", "a FILL"]


def test_out_of_order_reports_come_in_reverse() -> None:
    assert scripted(Fault.OUT_OF_ORDER).buy("a") == ["a FILL", "a ACK"]


def test_a_bust_follows_the_first_fill_and_counts_at_the_venue() -> None:
    desk = scripted(Fault.BUST, bust_ns=20 * MS)
    assert desk.buy("a", 10, "9.99") == ["a ACK"]
    assert desk.sold(4, 999) == ["a FILL"]
    assert desk.sold(6, 999) == ["a FILL"]
    assert desk.wait(20 * MS) == ["a BUST"]
    assert desk.inner.orders()[0].cum_qty == D(6)


def test_latency_delays_reports_and_keeps_their_order() -> None:
    desk = Desk(FaultPlan(seed=3, latency_ns=5 * MS, jitter_ns=10 * MS))
    for number in range(20):
        desk.buy(f"o{number}")
        desk.now_ns += MS // 10
    assert desk.wait(5 * MS - 21 * (MS // 10)) == []
    arrived = desk.wait(20 * MS)
    assert arrived == [f"o{number} {kind}" for number in range(20) for kind in ("ACK", "FILL")]


def test_cancels_and_replaces_fail_too_and_requests_for_status_do_not() -> None:
    desk = Desk(FaultPlan(rates=((Fault.REJECT, 1.0),)))
    assert desk.buy("a") == ["a REJECT"]
    assert said(desk.venue.submit(VenueCancel("XSIM", "b", "a"), 0)) == ["b CANCEL_REJECT"]
    assert said(desk.venue.submit(VenueReplace("XSIM", "c", "a", D(5), None), 0)) == ["c REPLACE_REJECT"]
    assert desk.status("a").kind is K.UNKNOWN_ORDER


def trial(seed: int) -> tuple[list[list[str]], Counter[Fault]]:
    rates = tuple((fault, 0.1) for fault in Fault)
    desk = Desk(FaultPlan(seed=seed, rates=rates, latency_ns=MS, jitter_ns=MS, down_ns=MS, late_ns=5 * MS))
    heard = []
    for number in range(300):
        heard.append(desk.buy(f"o{number}", 1, "9.99" if number % 2 else "10.00"))
        heard.append(desk.sold(1, 999))
        heard.append(desk.wait(MS))
    return heard, Counter(fault for _, fault in desk.venue.injected)


def test_the_same_seed_gives_the_same_faults_and_every_fault_comes_at_its_rate() -> None:
    first, again, other = trial(1), trial(1), trial(2)
    assert first == again
    assert first != other
    assert all(10 <= first[1][fault] <= 60 for fault in Fault)


def test_a_plan_must_make_sense() -> None:
    venue = MatchingVenue("XSIM", [Listing("ABC")])
    for rates in (((Fault.LOST, -0.1),), ((Fault.LOST, 0.6), (Fault.LATE, 0.6))):
        with pytest.raises(ValueError):
            FaultyVenue(venue, FaultPlan(rates=rates))


@pytest.mark.parametrize(
    "model",
    [
        MatchingVenue("XSIM", [Listing("ABC")]),
        DarkVenue("XDRK", [Listing("ABC")], lambda symbol, now_ns: None),
        NbboVenue("ABC", "2024-07-08", (0, 1)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_any_venue_that_keeps_its_executions_can_bust(model: VenueModel) -> None:
    assert FaultyVenue(model, FaultPlan(script=((1, Fault.BUST),))).mic == model.mic


def test_a_faulty_market_numbers_what_comes_out_without_gaps() -> None:
    def play() -> list[VenueReport]:
        instruments = [SyntheticInstrument("AAA", D(100), 0.02, 5_000_000)]
        venues = [SyntheticVenue("XNAS", 1.0), SyntheticVenue("BATS", 1.0)]
        times = {"open_ns": 0, "close_ns": 20_000 * MS}
        inner = SyntheticMarket(5, instruments, venues, trade_date="2024-07-08", **times)
        rates = tuple((fault, 0.1) for fault in Fault)
        plan = FaultPlan(rates=rates, latency_ns=MS, late_ns=900 * MS, down_ns=500 * MS)
        market: SimulatedMarket = FaultyMarket(inner, {"XNAS": plan})
        reports: list[VenueReport] = []
        for number in count():
            now_ns = market.next_ns()
            if now_ns is None:
                return reports
            reports += market.step()
            if number % 20 == 0 and number < 2_000:
                mic = ("XNAS", "BATS")[number // 20 % 2]
                quote = market.sessions[mic].model.quote("AAA", now_ns)
                price = quote.bids[0][0] if quote is not None and quote.bids else D(100)
                terms = OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, D(20), price
                order = VenueNewOrder(mic, f"o{number}", "AAA", *terms)
                reports += market.sessions[mic].submit(order, now_ns)
        return reports

    heard = play()
    assert heard == play()
    for mic in ("XNAS", "BATS"):
        numbers = [report.seq for report in heard if report.venue == mic]
        assert numbers == list(range(1, len(numbers) + 1))
    executions = Counter((r.venue, r.exec_id) for r in heard if r.kind is K.FILL)
    assert max(executions.values()) == 2
    assert {mic for (mic, _), times in executions.items() if times == 2} == {"XNAS"}
