"""Venues in the engine's process: order of messages, ids over restarts, what ended with the last life."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueCancel, VenueNewOrder, VenueReport
from qtinfra.infra.clock import ManualClock
from qtinfra.venues.simulated.local import LocalMarketView, LocalVenueGateway, timer_s
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from qtinfra.venues.simulated.model import VenueSession

pytestmark = pytest.mark.unit

MIC = "XNAS"


def venue() -> VenueSession:
    listing = Listing("AAPL", Decimal("0.01"), Decimal(1))
    return VenueSession(MatchingVenue(MIC, [listing], "2025-03-03"), "XNAS-1")


def gateway(session: VenueSession, heard: list[VenueReport], **more: Any) -> LocalVenueGateway:
    options: dict[str, Any] = {"epoch": 7, "clock": ManualClock(), "latency_ns": 0, **more}
    return LocalVenueGateway(session, on_reports=heard.extend, **options)


def limit(cl_ord_id: str, side: OrderSide, price: str = "10.00") -> VenueNewOrder:
    return VenueNewOrder(
        MIC, cl_ord_id, "AAPL", side, OrderType.LIMIT, TimeInForce.DAY, Decimal(100), Decimal(price)
    )


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_messages_arrive_in_order_and_reports_come_back_in_order() -> None:
    heard: list[VenueReport] = []

    async def scenario() -> None:
        link = gateway(venue(), heard)
        link.send(limit("A", OrderSide.BUY))
        link.send(VenueCancel(MIC, "B", "A"))
        link.send(limit("C", OrderSide.BUY))
        await turns()

    play(scenario)
    assert [report.kind for report in heard] == [ReportKind.ACK, ReportKind.CANCELED, ReportKind.ACK]
    assert [report.seq for report in heard] == [1, 2, 3]


def test_nothing_arrives_before_the_delay_has_passed_each_way() -> None:
    heard: list[VenueReport] = []
    clock = ManualClock()

    async def scenario() -> None:
        link = gateway(venue(), heard, clock=clock, latency_ns=1_000_000)
        link.send(limit("A", OrderSide.BUY))
        for moment, count in ((999_999, 0), (1_000_000, 0), (1_999_999, 0), (2_000_000, 1)):
            clock.advance_to(moment)
            await asyncio.sleep(0.005)
            assert len(heard) == count, moment

    play(scenario)


@given(st.floats(1e-9, 10.0))
def test_a_wait_is_whole_milliseconds_and_never_shorter_than_asked(delay_s: float) -> None:
    waits_ms = timer_s(delay_s) * 1_000
    assert waits_ms == pytest.approx(round(waits_ms))
    assert round(waits_ms) >= 1
    assert delay_s - 1e-9 <= timer_s(delay_s) < delay_s + 0.001 + 1e-9


def test_execution_ids_carry_the_epoch_so_that_they_never_come_twice() -> None:
    heard: list[VenueReport] = []

    async def scenario() -> None:
        link = gateway(venue(), heard)
        link.send(limit("A", OrderSide.BUY))
        link.send(limit("B", OrderSide.SELL))
        await turns()
        assert (link.stats.sent_orders, link.stats.sent_qty) == (2, Decimal(200))
        assert (link.stats.fills, link.stats.filled_qty) == (2, Decimal(200))
        assert (link.stats.answered, link.stats.answer_ns) == (2, 0)

    play(scenario)
    fills = [report.exec_id for report in heard if report.kind is ReportKind.FILL]
    assert len(set(fills)) == 2
    assert all(exec_id.endswith("-7") for exec_id in fills)


def test_what_the_venue_held_before_is_cancelled_by_its_end_before_anything_else() -> None:
    heard: list[VenueReport] = []

    async def scenario() -> None:
        link = gateway(venue(), heard, ended=("old-1", "old-2"))
        link.start()
        link.send(limit("A", OrderSide.BUY))
        await turns()

    play(scenario)
    assert [(report.kind, report.cl_ord_id, report.seq) for report in heard] == [
        (ReportKind.CANCELED, "old-1", 1),
        (ReportKind.CANCELED, "old-2", 2),
        (ReportKind.ACK, "A", 3),
    ]


def test_after_close_nothing_arrives() -> None:
    heard: list[VenueReport] = []

    async def scenario() -> None:
        link = gateway(venue(), heard)
        link.send(limit("A", OrderSide.BUY))
        link.close()
        await turns()

    play(scenario)
    assert heard == []


class Market:
    """Sessions without any events."""

    def __init__(self, session: VenueSession) -> None:
        self.sessions = {MIC: session}
        self.symbols = ("AAPL",)

    def next_ns(self) -> int | None:
        return None

    def step(self) -> list[VenueReport]:
        return []


def test_the_view_shows_one_book_until_a_venue_displays_something_else() -> None:
    session = venue()
    view = LocalMarketView(Market(session))
    before = view.book("AAPL")
    assert view.book("AAPL") is before
    session.submit(limit("A", OrderSide.BUY), 1)
    assert view.book("AAPL") is before
    assert view.book("OTHER") is None
