"""Numbers that reports and records leave out: None, and 0 in the records of before, mean the same."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from qtinfra.core.decimals import ZERO
from qtinfra.core.events import Entry, OrderAccepted, OrderFilled, OrderRejected, OrderRouted
from qtinfra.core.legs import ChildOrder, TakingOrder, limit, units
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.reports import ReportKind, VenueNewOrder, VenueReport
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State, state_hash
from qtinfra.journal.codec import encode_entry
from qtinfra.journal.versions import decode_entry
from qtinfra.posttrade.tca_facts import gather
from qtinfra.repository.shaping import history_values
from tests.support.builders import IOC, Desk, kinds, quote

pytestmark = pytest.mark.unit

NAMES = ("cum_qty", "leaves_qty", "queue_ahead")


def test_a_report_says_none_of_them_unless_it_is_told() -> None:
    report = VenueReport(ReportKind.ACK, "XNAS", "c")
    assert [getattr(report, name) for name in NAMES] == [None, None, None]


def test_a_quantity_that_is_not_said_is_zero() -> None:
    report = VenueReport(ReportKind.ACK, "XNAS", "c")
    assert (report.qty, report.quantity) == (None, ZERO)
    assert VenueReport(ReportKind.FILL, "XNAS", "c", qty=Decimal(7)).quantity == 7


@pytest.mark.parametrize("px", [None, Decimal(50)])
@pytest.mark.parametrize("acked", [True, False])
@pytest.mark.parametrize("kind", ReportKind)
def test_a_quantity_of_zero_and_none_lead_to_the_same(
    kind: ReportKind, acked: bool, px: Decimal | None
) -> None:
    desks = Desk(), Desk()
    for desk, qty in zip(desks, (None, ZERO), strict=True):
        desk.new("X", 100)
        if acked:
            desk.ack(desk.child())
        desk.say(
            kind, "XNAS", desk.child().cl_ord_id, qty=qty, px=px, exec_id="E", ref_exec_id="E", live=True
        )
        desk.fill(desk.child(), 30)
    left_out, zero = desks
    assert state_hash(left_out.state) == state_hash(zero.state)
    assert [repr(effect) for effect in left_out.reports] == [repr(effect) for effect in zero.reports]
    assert left_out.alert_kinds() == zero.alert_kinds()


@pytest.mark.parametrize("said", [{}, dict.fromkeys(NAMES, ZERO)], ids=["left out", "zero"])
def test_a_report_reads_back_with_what_it_said(said: dict[str, Any]) -> None:
    report = VenueReport(ReportKind.ACK, "XNAS", "c", **said)
    written = msgspec.msgpack.encode(report)
    again = msgspec.msgpack.decode(written, type=VenueReport)
    assert again == report
    assert msgspec.msgpack.encode(again) == written


def filled(**said: Any) -> Desk:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 30, **said)
    return desk


def test_left_out_or_zero_an_execution_leads_to_the_same_state() -> None:
    left_out, zero = filled(), filled(**dict.fromkeys(NAMES, ZERO))
    assert state_hash(left_out.state) == state_hash(zero.state)
    assert left_out.figures() == zero.figures() == ("PARTIALLY_FILLED", 100, 30, 70)


@pytest.mark.parametrize("ahead", [None, ZERO, Decimal(7)])
def test_an_execution_is_recorded_with_the_queue_that_the_venue_told(ahead: Decimal | None) -> None:
    desk = Desk()
    desk.working("X", 100)
    outcome = desk.fill(desk.child(), 30, queue_ahead=ahead)
    (event,) = [event for event in outcome.events if isinstance(event, OrderFilled)]
    assert event.queue_ahead is ahead


@pytest.mark.parametrize("cum", [None, ZERO])
def test_a_status_without_a_quantity_says_that_nothing_has_traded(cum: Decimal | None) -> None:
    desk = filled()
    child = desk.child()
    outcome = desk.say(ReportKind.STATUS, child.venue, child.cl_ord_id, live=True, cum_qty=cum)
    assert "BreakRaised" in kinds(outcome)
    assert desk.alert_kinds() == ["cum_qty_differs"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [Decimal("NaN"), Decimal("1e30"), Decimal("-1e30")], ids=str)
def test_one_of_them_out_of_range_makes_the_report_malformed(name: str, number: Decimal) -> None:
    desk = Desk()
    desk.working("X", 100)
    said: dict[str, Any] = {name: number}
    desk.fill(desk.child(), 30, **said)
    assert desk.order().cum_qty == 0
    assert desk.alert_kinds() == ["malformed_report"]


# --- what our own records leave out -----------------------------------------------------------------------


def traded(min_qty: Decimal | None, quote_first: bool) -> Desk:
    """Orders that were accepted, refused and executed, with or without a book to route by."""
    desk = Desk()
    if quote_first:
        desk.market.quotes["XNAS"] = quote("XNAS", bids=[(49, 100)], asks=[(50, 100)])
    desk.new("X", 100, min_qty=min_qty, tif=IOC)
    desk.ack(desk.child())
    desk.fill(desk.child(), 100)
    desk.new("Y", 100, price=-1, min_qty=min_qty)
    return desk


def in_old_form(event: Any, books: tuple[ConsolidatedBook, ...]) -> Any:
    """The event as the records of before have it: every number written, nothing left out."""
    if isinstance(event, OrderAccepted):
        command = msgspec.structs.replace(event.command, min_qty=event.min_qty or Decimal(0))
        return msgspec.structs.replace(event, command=command)
    if isinstance(event, OrderRejected):
        return msgspec.structs.replace(event, min_qty=event.min_qty or Decimal(0))
    if isinstance(event, OrderRouted):
        children = tuple(
            ChildOrder(
                child.child_id,
                child.venue,
                child.order_type,
                child.tif,
                units(child, Decimal(100)),
                limit(child, Decimal(50)),
                child.min_qty or Decimal(0),
            )
            for child in event.children
        )
        touch = books[0].touch() if books else (None, None)
        return msgspec.structs.replace(event, children=children, touch=touch)
    if isinstance(event, OrderFilled):
        return msgspec.structs.replace(event, commission=event.commission or Decimal(0))
    return event


def in_old_records(desk: Desk) -> list[Entry]:
    return [
        msgspec.structs.replace(
            entry, events=tuple(in_old_form(event, entry.market) for event in entry.events)
        )
        for entry in desk.entries
    ]


@pytest.mark.parametrize("quote_first", [True, False], ids=["quoted", "no book"])
def test_an_order_without_a_minimum_is_recorded_without_one(quote_first: bool) -> None:
    events = [event for entry in traded(None, quote_first).entries for event in entry.events]
    orders = [event for event in events if isinstance(event, OrderAccepted | OrderRejected)]
    assert [(type(event).__name__, event.min_qty) for event in orders] == [
        ("OrderAccepted", None),
        ("OrderRejected", None),
    ]
    (routed,) = [event for event in events if isinstance(event, OrderRouted)]
    assert [child.min_qty for child in routed.children] == [None]
    assert [child.qty for child in routed.children if isinstance(child, TakingOrder)] == [None]
    (filled,) = [event for event in events if isinstance(event, OrderFilled)]
    assert filled.commission is None


@pytest.mark.parametrize("quote_first", [True, False], ids=["quoted", "no book"])
@pytest.mark.parametrize("min_qty", [None, Decimal(0), Decimal(10)])
def test_records_with_every_number_written_lead_to_the_same_state(
    min_qty: Decimal | None, quote_first: bool
) -> None:
    desk, before = traded(min_qty, quote_first), State()
    for entry in in_old_records(desk):
        replay(before, decode_entry(encode_entry(entry)))
    assert state_hash(before) == state_hash(desk.state)
    child = desk.child()
    assert desk.order().min_qty == child.min_qty == (min_qty or 0)
    assert [order.min_qty for order in desk.sent if isinstance(order, VenueNewOrder)] == [min_qty or 0]


@pytest.mark.parametrize("quote_first", [True, False], ids=["quoted", "no book"])
def test_the_analysis_finds_the_numbers_that_are_not_said(quote_first: bool) -> None:
    desk = traded(None, quote_first)
    facts = gather(desk.entries)
    (child,) = facts.children.values()
    assert (child.qty, child.bid, child.ask) == (100, *((49, 50) if quote_first else (None, None)))
    assert facts == gather(in_old_records(desk))


@pytest.mark.parametrize("quote_first", [True, False], ids=["quoted", "no book"])
def test_the_history_of_an_order_says_them(quote_first: bool) -> None:
    desk = traded(None, quote_first)
    entry = next(entry for entry in desk.entries if isinstance(entry.events[-1], OrderRouted))
    values = history_values(desk.state, entry.last_seq, desk.order().order_id, entry.events[-1], entry)
    told = next(json.loads(value) for value in values if isinstance(value, str) and "best_bid" in value)
    (leg,) = told["children"]
    assert (leg["order_type"], leg["tif"], leg["qty"], leg["price"]) == ("LIMIT", "IOC", "100", "50")
    assert (told["best_bid"], told["best_ask"]) == (("49", "50") if quote_first else (None, None))


def test_the_same_order_with_and_without_a_zero_is_a_repetition() -> None:
    desk = traded(None, quote_first=False)
    assert desk.new("X", 100, min_qty=ZERO, tif=IOC).entry is None
    assert kinds(desk.new("X", 100, min_qty=Decimal(1), tif=IOC)) == ["DuplicateRefused"]
