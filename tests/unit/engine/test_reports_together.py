"""Several reports in one command: each is decided alone, and a fault in one concerns only itself."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.algo import AlgoTerms
from qtinfra.core.events import CommandQuarantined, OrderFilled
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import OrderStatus, Origin
from qtinfra.core.reports import ExecType, ExecutionReport, ReportKind, VenueReport
from qtinfra.core.routing import RoutingPolicy
from qtinfra.engine import evolve as evolve_module
from qtinfra.engine import kernel as kernel_module
from qtinfra.engine import usual_reports
from qtinfra.engine.decide import venue as venue_module
from qtinfra.engine.evolve_venue import AT_HAND
from qtinfra.engine.kernel import Kernel, KernelStoppedError, replay
from qtinfra.engine.state import State, clone_state, state_hash
from qtinfra.runtime.inbox import VENUES, joined
from tests.support.builders import DAYS, Desk, dec, submit, venue

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
    desk.run(cmd.SetReference(venues=(venue("XNAS", take="0.003", make="-0.002"),)))
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
    known = venue_module.execution_key

    def broken(report: VenueReport, exec_id: str, trade_date: str) -> str:
        if report.seq == 2:
            raise ZeroDivisionError("planted")
        return known(report, exec_id, trade_date)

    def broken_head(venue: str, session: str, trade_date: str) -> str:
        raise ZeroDivisionError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(venue_module, "execution_key", broken)
        planted.setattr(usual_reports, "execution_head", broken_head)
        outcome = desk.run(cmd.RecordVenueReports(_reports(desk)))
    (quarantined,) = [event for event in outcome.events if isinstance(event, CommandQuarantined)]
    assert (quarantined.order_id, quarantined.seq) == (desk.order("X").order_id, 2)
    assert desk.state.inbound == {"XNAS": 4}
    assert desk.order("Y").cum_qty == 40, "the report behind it counts"
    assert desk.order("X").order_id in desk.state.frozen
    desk.restart(from_journal=True)


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize(
    ("failing", "before"),
    [
        (2, ["VenueSessionStarted", "ChildAcked"]),
        (4, ["VenueSessionStarted", "ChildAcked", "OrderFilled", "ChildAcked"]),
    ],
)
def test_a_report_that_cannot_be_applied_stops_the_shard_and_keeps_those_before_it(
    monkeypatch: pytest.MonkeyPatch, failing: int, before: list[str], short: bool
) -> None:
    desk = _with_two_orders(checked=False)
    reports = _reports(desk)
    known = evolve_module._EVOLVE[OrderFilled]
    known_at_hand = AT_HAND[known]

    def broken(state: State, event: Any, *at_hand: Any) -> None:
        if event.seq == failing:
            raise ZeroDivisionError("planted")
        (known_at_hand if at_hand else known)(state, event, *at_hand)

    with monkeypatch.context() as planted:
        if short:
            planted.setitem(AT_HAND, known, broken)
        else:
            planted.setitem(evolve_module._EVOLVE, OrderFilled, broken)
        with pytest.raises(KernelStoppedError) as stopped:
            desk.run(cmd.RecordVenueReports(reports))
    entry = stopped.value.entry
    assert [type(event).__name__ for event in entry.events] == [*before, "CommandQuarantined"]
    assert entry.seq == desk.entries[-1].last_seq + 1
    state = State()
    for record in [*desk.entries, entry]:
        replay(state, record)
    assert state.inbound == {"XNAS": failing}, "the venue is asked for what follows the report that failed"
    desk.kernel = Kernel(state)
    desk.run(cmd.RecordVenueReports((*reports, _fill(5, desk.child("Y").child_id, 40))))
    assert desk.order("Y").cum_qty == {2: 80, 4: 40}[failing]


def test_deciding_a_record_of_several_reports_again_gives_an_equal_state() -> None:
    desk = _with_two_orders()
    desk.run(cmd.RecordVenueReports(_reports(desk)))
    state = State()
    for entry in desk.entries:
        replay(state, entry)
    assert state_hash(state) == state_hash(desk.state)


_ACK_X, _ACK_Y = ((ReportKind.ACK, name, "0", None, "") for name in "XY")

_UNUSUAL = ("again", "gap", "session", "foreign", "date", "ahead", "behind", "cum", "zero", "exec", "before")

#: What a venue may say of one of two orders: kind, order, quantity, price, and what else is unusual.
_SAID = st.sampled_from([_ACK_X, _ACK_Y]) | st.tuples(
    st.sampled_from([ReportKind.ACK, ReportKind.FILL, ReportKind.FILL, ReportKind.CANCELED, ReportKind.BUST]),
    st.sampled_from(["X", "Y"]),
    st.sampled_from(["100", "40", "60", "60.0", "4E+1", "0", "-1", "140", "0.5", "1E-12", "1E+19"]),
    st.sampled_from(["50", "50.25", "50.1", "-3", "0", "1E-12", "1E+19", None]),
    st.sampled_from(
        [
            "",
            "",
            "",
            "",
            "",
            *["again", "gap", "session", "foreign", "date", "ahead", "behind", "cum", "zero", "exec"],
        ]
    ),
)


_CUM = {"cum": Decimal("1E-12"), "zero": Decimal(0)}
_AHEAD = {"ahead": Decimal(300), "behind": Decimal("1E-12"), "zero": Decimal(0)}


def _executed(
    qty: str, px: str = "50.25", unusual: str = "", name: str = "X"
) -> tuple[ReportKind, str, str, str, str]:
    return ReportKind.FILL, name, qty, px, unusual


def _said(numbered: list[Any], desk: Desk) -> tuple[VenueReport, ...]:
    reports: list[VenueReport] = []
    seq, session = 0, "S1"
    for place, (kind, name, qty, px, unusual) in enumerate(numbered):
        seq += {"again": 0, "gap": 5}.get(unusual, 1)
        if unusual == "session":
            session, seq = f"S{place}", 1
        child_id = "nobody" if unusual == "foreign" else desk.child(name).child_id
        report = VenueReport(
            kind,
            "XNAS",
            child_id,
            seq,
            session,
            {"date": "", "before": "2024-07-05"}.get(unusual, DAYS[0]),
            exec_id="E" if unusual == "exec" else f"E{place}",
            ref_exec_id=f"E{place - 1}",
            qty=Decimal(qty),
            px=None if px is None else Decimal(px),
            cum_qty=_CUM.get(unusual),
            queue_ahead=_AHEAD.get(unusual),
            liquidity=Liquidity.ADDED if place % 2 else Liquidity.REMOVED,
            venue_order_id=f"V{place}",
        )
        reports.append(report)
    return tuple(reports)


@given(numbered=st.lists(_SAID, max_size=8), usual=st.booleans())
@example(numbered=[_executed("4E+1")], usual=True)
@example(numbered=[_executed("40"), (ReportKind.FILL, "Y", "40", "50", "")], usual=True)
@example(numbered=[_executed("140")], usual=True)
@example(numbered=[_executed("60"), _executed("60"), _executed("40")], usual=True)
@example(numbered=[_executed("40", unusual="exec"), _executed("40", unusual="exec")], usual=True)
@example(numbered=[_executed("40", px="1E-12"), _executed("40", px="1E+19")], usual=True)
@example(numbered=[_executed("40"), _executed("40", unusual="again")], usual=True)
@example(
    numbered=[(ReportKind.ACK, "X", "0", None, ""), (ReportKind.ACK, "Y", "1E+19", None, "")], usual=False
)
@example(
    numbered=[(ReportKind.ACK, "X", "0", None, ""), (ReportKind.ACK, "Y", "0", "1E+19", "")], usual=False
)
@example(numbered=[_executed("40", unusual="cum"), _executed("40", unusual="ahead")], usual=True)
@example(numbered=[_executed("40", unusual="behind"), _executed("40", unusual="zero")], usual=True)
@example(
    numbered=[(ReportKind.ACK, "X", "0", None, "cum"), (ReportKind.ACK, "Y", "0", None, "zero")], usual=False
)
def test_usual_reports_end_in_what_they_end_in_when_each_is_performed_alone(
    numbered: list[Any], usual: bool
) -> None:
    short, general = _with_two_orders(checked=False), _with_two_orders(checked=False)
    if usual:  # both orders acknowledged first, so that executions meet what is live
        numbered = [_ACK_X, _ACK_Y, *numbered]
    outcome = short.run(cmd.RecordVenueReports(_said(numbered, short)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel_module, "take_usual", lambda *_: None)
        expected = general.run(cmd.RecordVenueReports(_said(numbered, general)))
    assert [repr(event) for event in outcome.events] == [repr(event) for event in expected.events]
    assert [repr(effect) for effect in outcome.effects] == [repr(effect) for effect in expected.effects]
    assert state_hash(short.state) == state_hash(general.state)


@given(said=st.lists(_SAID, max_size=4), asked=st.booleans())
@example(said=[_executed("100"), _executed("100")], asked=False)
@example(said=[_executed("40"), _executed("60"), _executed("40")], asked=False)
@example(said=[_executed("40"), _executed("70")], asked=False)
@example(said=[_executed("100.0")], asked=False)
@example(said=[_executed("100." + 60 * "0")], asked=False)
@example(said=[_executed("100", px="50.123456789")], asked=False)
@example(said=[_executed("100", px="1E+19")], asked=False)
@example(said=[_executed("100", unusual="again")], asked=False)
@example(said=[_executed("100", unusual="session")], asked=False)
@example(said=[_executed("100", unusual="cum")], asked=False)
@example(said=[_executed("100", unusual="date")], asked=False)
@example(said=[_executed("100", unusual="behind")], asked=False)
@example(said=[_executed("100", unusual="ahead")], asked=False)
@example(said=[_executed("40", unusual="exec"), _ACK_Y, _executed("40", unusual="exec")], asked=False)
@example(
    said=[_executed("100", unusual="exec"), _ACK_Y, _executed("9", unusual="exec", name="Y")], asked=False
)
@example(said=[_executed("40"), _executed("60", unusual="before")], asked=False)
@example(said=[_executed("100"), (ReportKind.ACK, "Y", "0", None, "again")], asked=False)
@example(said=[_ACK_Y, _executed("100")], asked=False)
@example(said=[_executed("100")], asked=True)
@example(said=[_executed("40"), _ACK_Y, _executed("60", px="50.1")], asked=True)
@example(said=[(ReportKind.FILL, "Y", "100", "50", "")], asked=False)
def test_what_follows_an_acknowledged_child_finds_it_as_it_stands_then(said: list[Any], asked: bool) -> None:
    numbered = [_ACK_X, *said]
    short, general = _with_two_orders(checked=False), _with_two_orders(checked=False)
    for desk in (short, general):  # an order is packed as soon as it has ended
        desk.state.packing.keep, desk.state.packing.block = 0, 1
        if asked:  # the venue has not answered to its cancel
            desk.cancel("C1", "X")
    begun = VenueReport(ReportKind.ACK, "XNAS", "nobody", 1, "S1")
    reports = [msgspec.structs.replace(report, seq=report.seq + 1) for report in _said(numbered, short)]
    _end_alike(short, general, (begun, *reports))


def test_an_execution_in_the_very_object_of_the_orders_quantity_ends_as_one_in_an_equal_one() -> None:
    short, general = _with_two_orders(checked=False), _with_two_orders(checked=False)
    (whole,) = (order.qty for order in short.state.orders.values() if order.cl_ord_id == "X")
    acked, filled = _said([_ACK_X, _executed("100")], short)
    _end_alike(short, general, (acked, msgspec.structs.replace(filled, qty=whole)))
    (done,) = short.state.executions.values()
    assert done.qty is whole


def _end_alike(short: Desk, general: Desk, reports: tuple[VenueReport, ...]) -> None:
    outcome = short.run(cmd.RecordVenueReports(reports))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel_module, "take_usual", lambda *_: None)
        expected = general.run(cmd.RecordVenueReports(reports))
    assert [repr(event) for event in outcome.events] == [repr(event) for event in expected.events]
    assert [repr(effect) for effect in outcome.effects] == [repr(effect) for effect in expected.effects]
    assert state_hash(short.state) == state_hash(general.state)
    assert short.state.packing.rows == general.state.packing.rows


def test_an_order_that_staff_places_is_acknowledged_once() -> None:
    short, general = Desk(checked=False), Desk(checked=False)
    for desk in (short, general):
        desk.new("X", 100, origin=Origin.STAFF)
    begun, x = VenueReport(ReportKind.ACK, "XNAS", "nobody", 1, "S1"), short.child("X").child_id
    _end_alike(short, general, (begun, _report(2, ReportKind.ACK, x), _fill(3, x, 100)))
    said = [type(report) is ExecutionReport and report.exec_type for report in short.reports]
    assert said == [ExecType.NEW, ExecType.TRADE]


@pytest.mark.parametrize("other", [{"venue": "XNYS"}, {"session": "S2"}, {"seq": 2}])
def test_an_execution_from_elsewhere_does_not_follow_an_acknowledgement(other: dict[str, Any]) -> None:
    desk = _with_two_orders(checked=False)
    begun, x = VenueReport(ReportKind.ACK, "XNAS", "nobody", 1, "S1"), desk.child("X").child_id
    desk.run(cmd.RecordVenueReport(begun))
    acked, filled = _report(2, ReportKind.ACK, x), msgspec.structs.replace(_fill(3, x, 100), **other)
    assert _taken(desk, (acked, filled)) == ["ChildAcked"]


def _taken(desk: Desk, reports: tuple[VenueReport, ...]) -> list[str]:
    """The events of those reports that are usual; the desk stays as it is."""
    events: list[Any] = []
    usual_reports.take_usual(clone_state(desk.state), reports, 1, [], events)
    return [type(event).__name__ for event in events]


def test_the_usual_reports_of_a_plain_order_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = _with_two_orders()
    reports = _reports(desk)
    desk.run(cmd.RecordVenueReports(reports[:1]))  # begins the session
    taken: list[str] = []
    known = usual_reports.take_usual

    def watched(state: State, reports: Any, now_ns: int, effects: Any, events: list[Any]) -> None:
        before = len(events)
        known(state, reports, now_ns, effects, events)
        taken.extend(type(event).__name__ for event in events[before:])

    monkeypatch.setattr(kernel_module, "take_usual", watched)
    desk.checked = False
    desk.run(cmd.RecordVenueReports(reports[1:]))
    assert taken == ["OrderFilled", "ChildAcked", "OrderFilled"]


def test_an_execution_beyond_what_its_child_holds_or_of_an_ended_order_is_not_usual() -> None:
    desk = _with_two_orders(checked=False)
    reports = _reports(desk)
    desk.run(cmd.RecordVenueReports(reports[:1]))

    def usual() -> int:
        return len(_taken(desk, reports[2:3]))

    assert usual() == 1
    desk.child("X").leaves = dec(99)
    assert usual() == 0
    desk.child("X").leaves = dec(100)
    desk.order("X").qty = dec(50)
    assert usual() == 0
    desk.order("X").qty = dec(100)
    desk.order("X").closed = OrderStatus.CANCELLED
    assert usual() == 0


def test_an_execution_of_a_slice_that_an_algo_has_sent_is_not_usual() -> None:
    desk = _with_two_orders(checked=False)
    reports = _reports(desk)
    desk.run(cmd.RecordVenueReports(reports[:1]))
    desk.order("X").algo = AlgoTerms("TWAP", 0, 1)
    assert _taken(desk, reports[2:3]) == []


def test_while_a_venue_has_failed_lately_none_of_its_reports_is_usual_under_a_routing_policy() -> None:
    desk = _with_two_orders(checked=False)
    reports = _reports(desk)
    desk.run(cmd.RecordVenueReports(reports[:1]))
    desk.run(cmd.SetRoutingPolicy(RoutingPolicy()))
    assert _taken(desk, reports[2:3]) == ["OrderFilled"]
    desk.run(cmd.RecordVenueReport(_report(2, ReportKind.REJECT, desk.child("Y").child_id)))
    assert desk.state.routing is not None and desk.state.routing.breakers
    assert _taken(desk, (_fill(3, desk.child("X").child_id, 100),)) == []


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
