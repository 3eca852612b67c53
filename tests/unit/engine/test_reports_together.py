"""Several reports in one command: each is decided alone, and a fault in one concerns only itself."""

from typing import Any

import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.events import CommandQuarantined, OrderFilled
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.engine import evolve as evolve_module
from qtinfra.engine.decide import venue as venue_module
from qtinfra.engine.kernel import Kernel, KernelStoppedError, replay
from qtinfra.engine.state import State, state_hash
from qtinfra.runtime.inbox import VENUES, joined
from tests.support.builders import DAYS, Desk, dec, submit

pytestmark = pytest.mark.unit


def _report(seq: int, kind: ReportKind, child_id: str, **fields: Any) -> VenueReport:
    return VenueReport(kind, "XNAS", child_id, seq, "S1", DAYS[0], **fields)


def _fill(seq: int, child_id: str, qty: int) -> VenueReport:
    return _report(seq, ReportKind.FILL, child_id, exec_id=f"E{seq}", qty=dec(qty), px=dec(50))


def _reports(desk: Desk) -> tuple[VenueReport, ...]:
    """Acknowledgement, repetition, fill of X, then acknowledgement and fill of Y."""
    x, y = desk.child("X").child_id, desk.child("Y").child_id
    return (
        _report(1, ReportKind.ACK, x, venue_order_id="V1"),
        _report(1, ReportKind.ACK, x, venue_order_id="V1"),
        _fill(2, x, 100),
        _report(3, ReportKind.ACK, y, venue_order_id="V2"),
        _fill(4, y, 40),
    )


def _with_two_orders(*, checked: bool = True) -> Desk:
    desk = Desk(checked=checked)
    desk.new("X", 100)
    desk.new("Y", 100)
    return desk


def test_reports_together_cause_the_events_and_effects_that_they_cause_alone() -> None:
    together, alone = _with_two_orders(), _with_two_orders()
    outcome = together.run(cmd.RecordVenueReports(_reports(together)))
    for report in _reports(alone):
        alone.run(cmd.RecordVenueReport(report))
    untimed = [[type(event) for event in events] for events in (outcome.events, _events(alone)[2:])]
    assert untimed[0] == untimed[1][-len(untimed[0]) :]
    assert [type(said) for said in together.reports] == [type(said) for said in alone.reports]
    assert together.figures("X") == alone.figures("X")
    assert together.figures("Y") == alone.figures("Y")
    assert together.state.seq == alone.state.seq
    assert outcome.entry is not None
    assert len(together.entries) == len(alone.entries) - 3


def _events(desk: Desk) -> list[Any]:
    return [event for entry in desk.entries for event in entry.events]


def test_reports_that_change_nothing_leave_no_record() -> None:
    desk = _with_two_orders()
    reports = _reports(desk)
    desk.run(cmd.RecordVenueReports(reports))
    assert desk.run(cmd.RecordVenueReports(reports)).entry is None
    assert desk.run(cmd.RecordVenueReports(())).entry is None


def test_a_report_that_our_code_fails_on_is_quarantined_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = _with_two_orders(checked=False)
    known = venue_module._HANDLERS[ReportKind.FILL]

    def broken(at: Any, report: VenueReport) -> None:
        if report.seq == 2:
            raise ZeroDivisionError("planted")
        known(at, report)

    with monkeypatch.context() as planted:
        planted.setitem(venue_module._HANDLERS, ReportKind.FILL, broken)
        outcome = desk.run(cmd.RecordVenueReports(_reports(desk)))
    (quarantined,) = [event for event in outcome.events if isinstance(event, CommandQuarantined)]
    assert (quarantined.order_id, quarantined.seq) == (desk.order("X").order_id, 2)
    assert desk.state.inbound == {"XNAS": 4}
    assert desk.order("Y").cum_qty == 40, "the report behind it counts"
    assert desk.order("X").order_id in desk.state.frozen
    desk.restart(from_journal=True)


def test_a_report_that_cannot_be_applied_stops_the_shard_and_keeps_those_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = _with_two_orders(checked=False)
    reports = _reports(desk)
    filled = evolve_module._EVOLVE

    def broken(state: State, event: Any) -> None:
        raise ZeroDivisionError("planted")

    with monkeypatch.context() as planted:
        planted.setitem(filled, OrderFilled, broken)
        with pytest.raises(KernelStoppedError) as stopped:
            desk.run(cmd.RecordVenueReports(reports))
    entry = stopped.value.entry
    assert [type(event).__name__ for event in entry.events] == [
        "VenueSessionStarted",
        "ChildAcked",
        "CommandQuarantined",
    ]
    assert entry.seq == desk.entries[-1].last_seq + 1
    state = State()
    for record in [*desk.entries, entry]:
        replay(state, record)
    assert state.inbound == {"XNAS": 2}, "the venue is asked for what follows the report that failed"
    desk.kernel = Kernel(state)
    desk.run(cmd.RecordVenueReports(reports))
    assert desk.order("Y").cum_qty == 40


def test_deciding_a_record_of_several_reports_again_gives_an_equal_state() -> None:
    desk = _with_two_orders()
    desk.run(cmd.RecordVenueReports(_reports(desk)))
    state = State()
    for entry in desk.entries:
        replay(state, entry)
    assert state_hash(state) == state_hash(desk.state)


def _item(seq: int, venue: str = "XNAS", token: object = None) -> tuple[cmd.Inbound, object]:
    report = VenueReport(ReportKind.ACK, venue, "1", seq)
    return cmd.Inbound(cmd.RecordVenueReport(report), f"venue:{venue}", "", 100 + seq), token


def test_reports_that_follow_each_other_are_joined_and_keep_their_order() -> None:
    order = (cmd.Inbound(submit("A"), "client"), None)
    first, second, third, last = joined(
        [_item(1), _item(2), order, _item(3), _item(4, "XNYS"), _item(5), order]
    )
    assert isinstance(first[0].command, cmd.RecordVenueReports)
    assert ([r.seq for r in first[0].command.reports], first[0].actor, first[0].received_ns) == (
        [1, 2],
        "venue:XNAS",
        101,
    )
    assert (second, last) == (order, order)
    assert isinstance(third[0].command, cmd.RecordVenueReports)
    assert ([r.seq for r in third[0].command.reports], third[0].actor) == ([3, 4, 5], VENUES)


def test_a_report_alone_stays_as_it_is_and_one_that_somebody_waits_for_is_not_joined() -> None:
    alone, waiter = _item(1), object()
    assert joined([alone]) == [alone]
    items = [_item(1), _item(2, token=waiter), _item(3)]
    assert joined(items) == items


def test_no_command_holds_more_reports_than_the_bound() -> None:
    found = joined([_item(seq) for seq in range(1, cmd.MAX_REPORTS + 3)])
    sizes = [
        len(c.reports) if isinstance(c := item[0].command, cmd.RecordVenueReports) else 1 for item in found
    ]
    assert sizes == [cmd.MAX_REPORTS, 2]


def test_reports_that_came_together_are_joined_with_those_before_and_after_and_never_parted() -> None:
    def together(first: int, last: int) -> tuple[cmd.Inbound, object]:
        reports = tuple(VenueReport(ReportKind.ACK, "XNYS", "1", seq) for seq in range(first, last + 1))
        return cmd.Inbound(cmd.RecordVenueReports(reports), "venue:XNYS", "", 100 + first), None

    found = joined([_item(1), together(2, 4), _item(5), together(6, 64), together(65, 66)])
    records = [item[0].command for item in found]
    seqs = [[r.seq for r in c.reports] for c in records if isinstance(c, cmd.RecordVenueReports)]
    assert seqs == [list(range(1, 65)), [65, 66]]
    assert [(item[0].actor, item[0].received_ns) for item in found] == [(VENUES, 101), ("venue:XNYS", 165)]
    whole = together(1, 60)
    assert joined([whole, together(61, 70)]) == [whole, together(61, 70)]
