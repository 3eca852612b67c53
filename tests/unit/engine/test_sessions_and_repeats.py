"""Sessions of a venue that begin again, requests that come again, faults looked at, late corrections."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core import commands as cmd
from qtinfra.core.reports import OrderCancelReject, ReportKind, VenueReport
from tests.support.builders import Desk


def _fill(desk: Desk, session: str, seq: int, exec_id: str, qty: int) -> VenueReport:
    child = desk.child()
    return VenueReport(
        ReportKind.FILL,
        child.venue,
        child.cl_ord_id,
        seq,
        session=session,
        trade_date="2024-01-08",
        exec_id=exec_id,
        qty=Decimal(qty),
        px=Decimal(50),
    )


def test_a_new_session_of_a_venue_counts_its_reports_from_one_again() -> None:
    desk = Desk()
    desk.working("X", 100)
    venue = desk.child().venue
    before = desk.state.inbound[venue]
    desk.run(cmd.RecordVenueReport(_fill(desk, "next", 1, "E1", 30)))
    assert before >= 1
    assert (desk.state.sessions[venue], desk.state.inbound[venue]) == ("next", 1)
    assert desk.order("X").cum_qty == 30


def test_within_a_session_a_report_number_counts_once() -> None:
    desk = Desk()
    desk.working("X", 100)
    report = _fill(desk, "next", 1, "E1", 30)
    desk.run(cmd.RecordVenueReport(report))
    again = msgspec.structs.replace(report, exec_id="E2")
    assert desk.run(cmd.RecordVenueReport(again)).entry is None
    assert desk.order("X").cum_qty == 30


def test_a_refused_replace_that_comes_again_gets_its_first_refusal_and_leaves_nothing() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 60)
    request = cmd.ReplaceOrder(desk.order("X").account, "Y", "X", Decimal(50), Decimal(50))
    first = desk.run(request)
    again = desk.run(request)
    refusals = [effect for effect in first.effects if isinstance(effect, OrderCancelReject)]
    repeated = [effect for effect in again.effects if isinstance(effect, OrderCancelReject)]
    assert [(r.reason, r.code, r.text) for r in refusals] == [(r.reason, r.code, r.text) for r in repeated]
    assert refusals[0].code == "qty_below_filled"
    assert again.entry is None
    assert [amend.cl_ord_id for amend in desk.order("X").amends] == ["Y"]


def test_the_id_of_a_refused_replace_with_other_content_is_a_duplicate() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 60)
    account = desk.order("X").account
    desk.run(cmd.ReplaceOrder(account, "Y", "X", Decimal(50), Decimal(50)))
    other = desk.run(cmd.ReplaceOrder(account, "Y", "X", Decimal(90), Decimal(50)))
    (refusal,) = [effect for effect in other.effects if isinstance(effect, OrderCancelReject)]
    assert refusal.code == "duplicate_client_order_id"
    assert len(desk.order("X").amends) == 1


def test_an_account_that_a_fault_had_frozen_works_again_once_a_person_says_so() -> None:
    desk = Desk()
    desk.working("X", 100)
    account = desk.order("X").account
    desk.state.frozen[account] = "ZeroDivisionError"
    desk.checked = False
    refused = desk.run(cmd.Unfreeze("nobody"))
    assert [getattr(event, "code", "") for event in refused.events] == ["not_frozen"]
    desk.run(cmd.Unfreeze(account, "looked at"))
    assert account not in desk.state.frozen


def test_a_correction_upwards_comes_out_of_what_the_venue_still_holds_also_after_a_bust() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child(), 30, exec_id="A")
    desk.fill(desk.child(), 20, exec_id="B")
    desk.bust(desk.child(), "A")
    desk.correct(desk.child(), "B", 25, 50)
    order, child = desk.order("X"), desk.child()
    assert (order.cum_qty, order.leaves_qty) == (Decimal(25), Decimal(75))
    assert (child.leaves, order.unallocated) == (Decimal(45), Decimal(30))
