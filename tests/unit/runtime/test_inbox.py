"""The inbox's lanes: what goes first, what never passes what, what is refused when it is full."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qtinfra.core.commands import (
    MAX_REPORTS,
    AnyCommand,
    CancelOrder,
    EngageKillSwitch,
    Inbound,
    MassCancel,
    OrderStatusRequest,
    RecordVenueReport,
    RecordVenueReports,
    ReplaceOrder,
    SetVenueStatus,
    TimerFired,
    TimerKind,
)
from qtinfra.core.exceptions import OverloadedError
from qtinfra.core.extended_models import KillScope, VenueStatus
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.runtime.inbox import Inbox
from tests.support.builders import ALPHA, BETA, submit

pytestmark = pytest.mark.unit

REPORT = RecordVenueReport(VenueReport(ReportKind.ACK, "XNAS", "1"))
CONNECTED = SetVenueStatus("XNAS", VenueStatus.CONNECTED)
DAY_OPEN = TimerFired(TimerKind.DAY_OPEN, "2024-07-08")
KILL = EngageKillSwitch(KillScope.FIRM)


def cancel(orig: str, cl_ord_id: str = "C1", account: str = ALPHA) -> CancelOrder:
    return CancelOrder(account, cl_ord_id, orig)


def replace(orig: str, cl_ord_id: str = "R1", account: str = ALPHA) -> ReplaceOrder:
    return ReplaceOrder(account, cl_ord_id, orig)


def filled_with(commands: Iterable[AnyCommand], inbox: Inbox[int] | None = None) -> Inbox[int]:
    inbox = inbox if inbox is not None else Inbox()
    for number, command in enumerate(commands):
        inbox.put(Inbound(command), number)
    return inbox


def commands_of(inbox: Inbox[int], most: int = 1000) -> list[AnyCommand]:
    return [inbound.command for inbound, _ in inbox.take(most)]


def test_reports_go_first_then_cancels_and_controls_then_orders() -> None:
    new, other = submit("A"), submit("B")
    commands: list[AnyCommand] = [new, cancel("old"), other, KILL, REPORT, DAY_OPEN]
    inbox = filled_with(commands)
    assert commands_of(inbox) == [REPORT, DAY_OPEN, cancel("old"), KILL, new, other]


def test_a_link_that_is_up_again_is_said_after_the_reports_that_were_missed() -> None:
    commands: list[AnyCommand] = [cancel("old"), REPORT, CONNECTED]
    assert commands_of(filled_with(commands)) == [REPORT, CONNECTED, cancel("old")]


def test_tokens_stay_with_their_commands_and_at_most_so_many_are_taken() -> None:
    inbox = filled_with([submit("A"), cancel("old"), submit("B")])
    assert [token for _, token in inbox.take(2)] == [1, 0]
    assert len(inbox) == 1
    assert [token for _, token in inbox.take(2)] == [2]
    assert not inbox.take(2)


def test_a_cancel_never_passes_its_own_order() -> None:
    commands: list[AnyCommand] = [submit("B"), submit("A"), cancel("A")]
    assert commands_of(filled_with(commands)) == commands


def test_a_cancel_never_passes_a_replace_of_its_order_whichever_id_it_uses() -> None:
    for orig in ("A", "R1"):
        commands: list[AnyCommand] = [submit("B"), replace("A"), cancel(orig)]
        assert commands_of(filled_with(commands)) == commands


def test_a_cancel_finds_its_order_by_an_id_that_left_the_inbox_long_ago() -> None:
    known = {"A": "order-1", "R1": "order-1"}
    inbox: Inbox[int] = Inbox(name_of=lambda account, cl_ord_id: known.get(cl_ord_id, ""))
    second, late = replace("R1", "R2"), cancel("A")
    filled_with([submit("B"), second, late], inbox)
    assert commands_of(inbox) == [submit("B"), second, late]


def test_a_cancel_finds_its_order_while_only_a_later_link_of_the_chain_still_waits() -> None:
    second, late = replace("R1", "R2"), cancel("A")
    inbox = filled_with([submit("A"), replace("A"), second])
    assert len(inbox.take(2)) == 2
    filled_with([late], inbox)
    assert commands_of(inbox) == [second, late]


def test_a_second_cancel_does_not_pass_the_first() -> None:
    commands: list[AnyCommand] = [submit("A"), cancel("A"), cancel("C1", "C2")]
    assert commands_of(filled_with(commands)) == commands


def test_a_cancel_passes_other_accounts_orders_of_the_same_id() -> None:
    new = submit("A", name=BETA)
    assert commands_of(filled_with([new, cancel("A")])) == [cancel("A"), new]


def test_a_cancel_passes_new_orders_again_once_its_own_are_gone() -> None:
    inbox = filled_with([submit("A")])
    inbox.take(1)
    assert commands_of(filled_with([submit("B"), cancel("A")], inbox)) == [cancel("A"), submit("B")]


def test_a_mass_cancel_waits_behind_its_accounts_orders_and_no_others() -> None:
    mine, theirs = MassCancel(ALPHA, "M1"), MassCancel(BETA, "M2")
    commands: list[AnyCommand] = [submit("A"), mine, theirs]
    assert commands_of(filled_with(commands)) == [theirs, submit("A"), mine]


def test_a_full_order_lane_refuses_orders_and_reads_and_still_takes_cancels_and_kills() -> None:
    inbox = filled_with([submit("A"), submit("B")], Inbox(capacity=2))
    for command in (submit("C"), replace("A"), OrderStatusRequest(ALPHA, "A")):
        with pytest.raises(OverloadedError) as refused:
            inbox.put(Inbound(command), 9)
        assert refused.value.context == {"waiting": 2}
    late: list[AnyCommand] = [cancel("A"), MassCancel(ALPHA, "M1"), KILL]
    filled_with(late, inbox)
    assert commands_of(inbox) == [KILL, submit("A"), submit("B"), cancel("A"), MassCancel(ALPHA, "M1")]


def test_cancels_are_bounded_too_and_a_kill_switch_is_not() -> None:
    inbox = filled_with([submit("A"), cancel("A"), cancel("old")], Inbox(capacity=2))
    with pytest.raises(OverloadedError):
        inbox.put(Inbound(cancel("older")), 9)
    filled_with([KILL, submit("B")], inbox)
    assert len(inbox) == 5


def test_reports_links_and_timers_are_never_refused() -> None:
    inbox = filled_with([submit("A"), cancel("old")], Inbox(capacity=1))
    filled_with([REPORT, CONNECTED, DAY_OPEN] * 1000, inbox)
    assert len(inbox) == 3002


def test_a_cancel_that_names_a_waiting_cancel_waits_behind_its_order_too() -> None:
    inbox: Inbox[int] = Inbox(name_of=lambda account, cl_ord_id: "order" if cl_ord_id == "A" else "")
    first, asked, second = cancel("A", "C1"), OrderStatusRequest(ALPHA, "A"), cancel("C1", "C2")
    assert commands_of(filled_with([first, asked, second], inbox)) == [first, asked, second]


def test_cancels_that_name_each_other_are_taken() -> None:
    around: list[AnyCommand] = [submit("A"), cancel("C1", "C2"), cancel("C2", "C1"), cancel("C1", "C3")]
    assert commands_of(filled_with(around)) == [*around[1:], around[0]]


# -- properties ------------------------------------------------------------------------------------


class Clients:
    """Draws commands on three orders, each under any of the ids that it has had so far."""

    def __init__(self) -> None:
        self.ids: list[list[str]] = [[], [], []]
        self.known: dict[str, str] = {}
        self.order_of: list[int] = []
        self.commands: list[AnyCommand] = []

    def draw(self, which: int, kind: int, pick: int) -> AnyCommand:
        ids = self.ids[which]
        new_id = f"N{len(self.commands)}"
        if not ids:
            command: AnyCommand = submit(new_id)
        elif kind == 0:
            command = cancel(ids[pick % len(ids)], new_id)
        elif kind == 1:
            command = OrderStatusRequest(ALPHA, ids[pick % len(ids)])
        else:
            command = replace(ids[pick % len(ids)], new_id)
        ids.append(new_id if kind != 1 or not ids else ids[-1])
        self.order_of.append(which)
        self.commands.append(command)
        return command

    def decide(self, command: AnyCommand, which: int) -> None:
        """The engine learns ids as commands reach it."""
        cl_ord_id = getattr(command, "cl_ord_id", "")
        self.known.setdefault(cl_ord_id, f"order-{which}")


MOVES = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 50)),
        st.integers(1, 4),
    ),
    max_size=80,
)


@given(MOVES)
@example([(1, 0, 0), 1, (1, 0, 0), (1, 1, 0), (1, 0, 1)])
def test_commands_of_one_order_leave_in_the_order_in_which_they_came(
    moves: list[tuple[int, int, int] | int],
) -> None:
    clients = Clients()
    inbox: Inbox[int] = Inbox(name_of=lambda account, cl_ord_id: clients.known.get(cl_ord_id, ""))
    taken: list[int] = []

    def take(most: int) -> None:
        for inbound, number in inbox.take(most):
            clients.decide(inbound.command, clients.order_of[number])
            taken.append(number)

    for move in moves:
        if isinstance(move, int):
            take(move)
        else:
            command = clients.draw(*move)
            inbox.put(Inbound(command), len(clients.commands) - 1)
    take(1000)
    assert sorted(taken) == list(range(len(clients.commands)))
    for which in range(3):
        own = [number for number in taken if clients.order_of[number] == which]
        assert own == sorted(own)
    assert len(inbox) == 0
    waiting = inbox._waiting
    assert (waiting._order_of, waiting._ids, waiting._accounts, waiting._cancelled) == ({}, {}, {}, {})


# reports that came together


def reports(first: int, last: int) -> list[VenueReport]:
    return [VenueReport(ReportKind.ACK, "XNAS", "1", seq) for seq in range(first, last + 1)]


def seqs(item: tuple[Inbound, int]) -> list[int]:
    command = item[0].command
    if isinstance(command, RecordVenueReports):
        return [report.seq for report in command.reports]
    return [command.report.seq] if isinstance(command, RecordVenueReport) else []


def test_reports_that_came_together_wait_in_records_of_the_bound_at_most() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put_reports(reports(1, MAX_REPORTS + 1), "venue:XNAS", 5, 0)
    assert [seqs(item) for item in inbox.take(1000)] == [list(range(1, MAX_REPORTS + 1)), [MAX_REPORTS + 1]]


def test_each_report_counts_as_a_command_and_what_came_together_is_taken_together() -> None:
    inbox: Inbox[int] = filled_with([submit("A"), submit("B"), cancel("old"), KILL])
    inbox.put_reports(reports(1, 3), "venue:XNAS", 5, 0)
    inbox.put_reports(reports(4, 6), "venue:XNAS", 6, 0)
    assert [seqs(item) for item in inbox.take(2)] == [[1, 2, 3]]
    assert [seqs(item) for item in inbox.take(4)] == [[4, 5, 6], []]
    assert commands_of(inbox) == [KILL, submit("A"), submit("B")]


def test_reports_of_one_venue_and_a_change_of_its_link_keep_their_order() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put_reports(reports(1, 1), "venue:XNAS", 5, 0)
    inbox.put_reports(reports(2, 3), "venue:XNAS", 6, 0)
    inbox.put(Inbound(CONNECTED), 0)
    inbox.put_reports(reports(4, 4), "venue:XNAS", 7, 0)
    taken = inbox.take(1000)
    assert [seqs(item) for item in taken] == [[1, 2, 3], [], [4]]
    assert (taken[0][0].received_ns, taken[1][0].command) == (5, CONNECTED)


@given(st.lists(st.integers(1, 150), max_size=12), st.integers(1, 80))
def test_every_report_is_taken_once_in_order_whatever_came_together(sizes: list[int], most: int) -> None:
    inbox: Inbox[int] = Inbox()
    last = 0
    for size in sizes:
        inbox.put_reports(reports(last + 1, last + size), "venue:XNAS", last, 0)
        last += size
    taken: list[int] = []
    while inbox:
        records = [seqs(item) for item in inbox.take(most)]
        assert all(len(record) <= MAX_REPORTS for record in records)
        assert len(records) == 1 or sum(map(len, records)) <= most
        taken += [seq for record in records for seq in record]
    assert taken == list(range(1, last + 1))
