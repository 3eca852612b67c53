"""Numbers that a venue's report leaves out: None, and 0 in the records of before, mean the same."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from qtinfra.core.decimals import ZERO
from qtinfra.core.events import OrderFilled
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.engine.state import state_hash
from tests.support.builders import Desk, kinds

pytestmark = pytest.mark.unit

NAMES = ("cum_qty", "leaves_qty", "queue_ahead")


def test_a_report_says_none_of_them_unless_it_is_told() -> None:
    report = VenueReport(ReportKind.ACK, "XNAS", "c")
    assert [getattr(report, name) for name in NAMES] == [None, None, None]


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
