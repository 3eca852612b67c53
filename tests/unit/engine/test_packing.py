"""Closed orders are packed, and to everybody who asks they are as they were.

Every other test of the engine runs beside a kernel that packs at once (`Desk.run`); here are the rules of
packing themselves, and each late event on an order of which it is certain that it was packed.
"""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.events import DuplicateAnswered, DuplicateRefused
from qtinfra.core.extended_models import ExecutionState
from qtinfra.core.ids import venue_cl_ord_id
from qtinfra.core.models import ChildStatus, OrderStatus, Origin, PendingCancel, PendingReplace
from qtinfra.core.reports import ExecType, ReportKind
from qtinfra.engine.archive import Archive, Packing, _head_of_sent, _heads_alike, _heads_of_sent
from qtinfra.engine.audit import audit
from qtinfra.engine.kernel import Kernel, replay
from qtinfra.engine.packing import may_all_be_packed, may_pack
from qtinfra.engine.state import State, clone_state, decode_state, encode_state, state_hash, state_version
from tests.support.builders import ALPHA, GTC, Desk, dec, only, submit, values

pytestmark = pytest.mark.unit


def packing_desk(keep: int = 0, block: int = 1) -> Desk:
    """A desk whose own state packs."""
    desk = Desk(checked=False)
    state = State(packing=Packing(keep=keep, block=block))
    for entry in desk.entries:
        replay(state, entry)
    desk.kernel = Kernel(state)
    return desk


def live(desk: Desk) -> list[str]:
    """Client ids of the orders that are not packed."""
    return [order.cl_ord_id for order in desk.state.tables.orders.live().values()]


def filled(desk: Desk, cl_ord_id: str = "X", qty: int = 100) -> None:
    desk.working(cl_ord_id, qty)
    desk.fill(desk.child(cl_ord_id), qty, exec_id=f"E-{cl_ord_id}")


def packed() -> Desk:
    """One order, filled and packed."""
    desk = packing_desk()
    filled(desk)
    assert live(desk) == []
    assert len(desk.state.orders) == 1
    return desk


# --- when -------------------------------------------------------------------------------------------------


def test_the_oldest_of_those_that_ended_are_packed_in_blocks_once_enough_have_ended_after_them() -> None:
    desk = packing_desk(keep=2, block=2)
    for name in "ABC":
        filled(desk, name)
    assert live(desk) == ["A", "B", "C"]
    filled(desk, "D")
    assert live(desk) == ["C", "D"]
    filled(desk, "E")
    assert live(desk) == ["C", "D", "E"]
    assert [order.cl_ord_id for order in desk.state.orders.values()] == list("ABCDE")
    assert audit(desk.state) == []


def test_a_refused_a_cancelled_and_an_expired_order_are_packed_too() -> None:
    desk = packing_desk()
    desk.new("R", 0)
    desk.working("C")
    desk.cancel("C2", "C")
    assert live(desk) == ["C"], "its cancel pends"
    desk.canceled(desk.child("C"))
    desk.working("D")
    desk.close_day()
    assert live(desk) == []
    statuses = {order.cl_ord_id: order.status for order in desk.state.orders.values()}
    assert statuses == {"R": OrderStatus.REJECTED, "C": OrderStatus.CANCELLED, "D": OrderStatus.EXPIRED}


@pytest.mark.parametrize(
    "happens",
    [
        lambda desk: desk.working("X"),
        lambda desk: (desk.working("X"), desk.fill(desk.child(), 60)),
        lambda desk: (desk.working("X"), desk.replace("Y", "X", qty=150), desk.fill(desk.child(), 100)),
        lambda desk: (desk.working("X"), desk.disconnect("XNAS"), desk.cancel("Y", "X")),
        lambda desk: (desk.working("X", tif=GTC), desk.close_day()),
    ],
    ids=["working", "partly filled", "filled, a replace is out", "in doubt", "done for the day"],
)
def test_an_order_that_may_still_change_by_itself_stays_live(happens: Callable[[Desk], object]) -> None:
    desk = packing_desk()
    happens(desk)
    assert len(live(desk)) == 1


def test_only_of_an_order_that_was_sent_acknowledged_and_executed_nothing_else_is_noted() -> None:
    desk = packing_desk(keep=100)

    def noted(name: str) -> bool:
        return desk.state.closing[desk.order(name).order_id]

    filled(desk, "A")
    desk.working("B")
    desk.fill(desk.child("B"), 60)
    desk.fill(desk.child("B"), 40)
    desk.working("G")
    desk.fill(desk.child("G"), 60, trade_date="2000-01-03")
    desk.fill(desk.child("G"), 40)
    desk.new("C", 100)
    desk.fill(desk.child("C"), 100)
    desk.working("D")
    desk.cancel("D2", "D")
    desk.fill(desk.child("D"), 100)
    desk.cancel_refused(desk.child("D"))
    filled(desk, "E")
    desk.working("F")
    desk.fill(desk.child("F"), 100, trade_date="2000-01-03")
    assert not noted("A")
    assert not noted("E")
    assert not noted("B")
    assert noted("G"), "in part on an earlier day"
    assert noted("C"), "before it was acknowledged"
    assert noted("D"), "while a cancel was out"
    assert noted("F"), "on an earlier day"
    execution = desk.state.executions[desk.order("E").executions[0]]
    desk.bust(desk.child("E"), execution.exec_id)
    assert desk.order("E").order_id in desk.state.open_orders
    assert audit(desk.state) == []
    for name in "CD":
        desk.state.closing[desk.order(name).order_id] = False
    assert [text for text in audit(desk.state) if "not just sent once" in text] == [
        f"{desk.order('D').order_id} was not just sent once, acknowledged and executed"
    ], "of C, the acknowledgement that is missing says nothing"


def all_may_be_packed(desk: Desk) -> bool:
    """What packing asks of the desk's order together with others."""
    order = desk.order()
    return may_all_be_packed(desk.state, [order.order_id], [order])


def may_be_packed(desk: Desk) -> bool:
    """Whether the desk's order may be packed; asked with others at once, it is answered alike."""
    found = may_pack(desk.state, desk.order())
    assert all_may_be_packed(desk) is found
    return found


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("closed", [None, OrderStatus.CANCELLED])
@pytest.mark.parametrize("executed", ["99", "100"])
def test_orders_are_never_packed_together_of_which_one_would_not_be_packed_alone(
    status: OrderStatus, closed: OrderStatus | None, executed: str
) -> None:
    desk = packing_desk(keep=1)
    filled(desk)
    order = desk.order()
    order.status, order.closed, order.cum_qty = status, closed, dec(executed)
    assert may_pack(desk.state, order) or not all_may_be_packed(desk)


@pytest.mark.parametrize("of", ["frozen", "open_orders"])
def test_an_order_that_is_frozen_or_open_is_not_packed_with_others(of: str) -> None:
    desk = packing_desk(keep=1)
    filled(desk)
    assert may_be_packed(desk)
    getattr(desk.state, of)[desk.order().order_id] = True
    assert not may_be_packed(desk)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unknown_children", 1),
        ("pending_cancel", PendingCancel("C", "X", Origin.CLIENT, 1)),
        ("pending_replace", PendingReplace("R", "X", Origin.CLIENT, dec(100), None, 1)),
    ],
)
def test_an_order_of_which_anything_pends_stays_live(name: str, value: object) -> None:
    """The short form of a packed order has no place for it."""
    desk = packing_desk(keep=1)
    filled(desk)
    assert may_be_packed(desk)
    setattr(desk.order(), name, value)
    assert not may_be_packed(desk)


def test_an_order_is_not_packed_while_a_venue_may_still_execute_a_child() -> None:
    desk = packing_desk(keep=1)
    filled(desk)
    assert may_be_packed(desk)
    for status in ChildStatus:
        desk.child().status = status
        working = status in (ChildStatus.SENT, ChildStatus.LIVE, ChildStatus.UNKNOWN)
        assert may_be_packed(desk) is not working


def test_a_frozen_order_stays_live_until_a_person_lets_it_go() -> None:
    desk = packing_desk(keep=1)
    filled(desk, "X")
    desk.state.frozen[desk.order("X").order_id] = "ZeroDivisionError"
    filled(desk, "Y")
    filled(desk, "Z")
    assert live(desk) == ["X", "Z"]
    desk.run(cmd.Unfreeze(desk.order("X").order_id))
    filled(desk, "V")
    filled(desk, "W")
    assert live(desk) == ["W"]


# --- late ---------------------------------------------------------------------------------------------------


def test_a_late_bust_brings_the_order_back_and_takes_the_execution_out() -> None:
    desk = packed()
    desk.bust(desk.child(), "E-X")
    assert desk.figures() == ("ROUTED", 100, 0, 100)
    assert live(desk) == ["X"], "what a bust re-opens is held for staff"
    assert desk.state.net_position(ALPHA, desk.order().symbol) == 0
    assert desk.last().exec_type is ExecType.TRADE_CANCEL
    assert audit(desk.state) == []


def test_a_late_correction_changes_the_books_and_the_order_is_packed_again_under_a_new_number() -> None:
    desk = packed()
    desk.correct(desk.child(), "E-X", 100, 49)
    assert live(desk) == []
    assert (desk.state.packing.rows, list(desk.state.packing.gone)) == (2, [0])
    order = desk.order()
    assert values(order.cum_qty, order.notional) == (100, 4_900)
    assert desk.state.executions[order.executions[0]].state is ExecutionState.CORRECTED
    assert desk.state.positions.get(ALPHA, order.symbol).cash == -4_900  # type: ignore[union-attr]
    assert audit(desk.state) == []


def test_a_late_fill_of_a_cancelled_order_is_booked() -> None:
    desk = packing_desk()
    desk.working("X")
    desk.cancel("Y", "X")
    desk.canceled(desk.child())
    assert live(desk) == []
    desk.fill(desk.child(), 30)
    assert desk.figures() == ("CANCELLED", 100, 30, 0)
    assert desk.last().text == "late fill"
    assert audit(desk.state) == []


def test_an_execution_that_comes_again_is_not_booked_twice_and_brings_nothing_back() -> None:
    desk = packed()
    desk.fill(desk.child(), 100, exec_id="E-X")
    assert desk.figures() == ("FILLED", 100, 100, 0)
    assert (desk.state.packing.rows, desk.state.packing.gone) == (1, {})


def test_an_execution_id_of_a_packed_order_on_another_order_is_a_break() -> None:
    desk = packed()
    desk.working("Z")
    desk.fill(desk.child("Z"), 10, exec_id="E-X")
    assert desk.alert_kinds()[-1] == "execution_differs"
    assert desk.figures("Z") == ("ROUTED", 100, 0, 100)


def test_a_status_request_is_answered_from_the_row() -> None:
    desk = packed()
    desk.run(cmd.OrderStatusRequest(ALPHA, "X"))
    report = desk.last()
    assert (report.exec_type, report.status, report.order_id) == (
        ExecType.ORDER_STATUS,
        OrderStatus.FILLED,
        desk.order().order_id,
    )
    assert desk.state.packing.gone == {}


def test_a_cancel_and_a_replace_come_too_late_and_their_ids_are_taken() -> None:
    desk = packed()
    desk.cancel("C1", "X")
    assert desk.last_reject().code == "too_late"
    desk.replace("R1", "X", qty=50)
    assert desk.last_reject().code == "too_late"
    assert live(desk) == []
    desk.cancel("C1", "X")
    assert desk.last_reject().code == "too_late", "the first answer again"
    desk.new("R1")
    assert desk.last().code == "duplicate_client_order_id"
    assert audit(desk.state) == []


def test_a_larger_replace_opens_a_packed_filled_order_again() -> None:
    desk = packed()
    desk.replace("Y", "X", qty=150)
    desk.replaced(desk.child())
    assert desk.figures("Y") == ("PARTIALLY_FILLED", 150, 100, 50)
    desk.fill(desk.child("Y"), 50)
    assert live(desk) == []
    assert desk.figures("X") == desk.figures("Y") == ("FILLED", 150, 150, 0)


def test_a_client_id_of_a_packed_order_gets_the_first_answer_or_is_refused() -> None:
    desk = packed()
    again = desk.run(submit("X"))
    assert [type(answer) for answer in again.answers] == [DuplicateAnswered]
    assert again.entry is None
    refused = only(desk.run(submit("X", 101)), DuplicateRefused)
    assert refused.order_id == desk.order().order_id
    assert len(desk.state.orders) == 1


def test_an_id_of_a_packed_order_is_not_given_to_the_order_that_reuses_it() -> None:
    desk = packed()
    first = desk.order("X")
    desk.working("Z")
    desk.cancel("X", "Z")
    assert desk.last_reject().code == "duplicate_client_order_id"
    assert desk.order("X").order_id == first.order_id
    assert live(desk) == ["Z"]


def test_a_fill_that_names_an_id_from_before_a_replace_finds_the_packed_order() -> None:
    desk = packing_desk()
    desk.working("X")
    first = desk.child().cl_ord_id
    desk.replace("Y", "X", qty=80)
    desk.replaced(desk.child())
    second = desk.child().cl_ord_id
    desk.fill(desk.child(), 80)
    assert live(desk) == []
    assert first != second
    for number, name in enumerate((first, second)):
        desk.say(ReportKind.FILL, "XNAS", name, qty=dec(1), px=dec(50), exec_id=f"L{number}")
    assert desk.order("X").cum_qty == 82
    assert desk.state.children[first].status is ChildStatus.FILLED


def test_venue_ids_name_a_child_by_its_own_id_and_by_those_of_requests_live_and_packed() -> None:
    desk = packing_desk()
    desk.working("X")
    first = desk.child().child_id
    assert dict(desk.state.venue_ids.items()) == {first: first}
    desk.replace("Y", "X", qty=80)
    desk.replaced(desk.child())
    ids = [first, desk.child().cl_ord_id]
    for name in ids:
        assert desk.state.venue_ids[name] == desk.state.venue_ids.get(name) == first
    desk.fill(desk.child(), 80)
    assert live(desk) == []
    assert dict(desk.state.venue_ids.items()) == dict.fromkeys(ids, first)
    assert len(desk.state.venue_ids) == 2
    assert [name for name in (*ids, "nobody") if name in desk.state.venue_ids] == ids
    with pytest.raises(KeyError):
        desk.state.venue_ids["nobody"]


def test_a_report_for_an_id_that_nobody_gave_is_still_a_break() -> None:
    desk = packed()
    for name in ("nobody", "0-1-zzzz", "0-1-" + "z" * 30, desk.order().order_id):
        desk.say(ReportKind.FILL, "XNAS", name, qty=dec(1), px=dec(50), exec_id="E9")
        assert desk.alert_kinds()[-1] == "unknown_order_at_venue"


# --- the written state --------------------------------------------------------------------------------------


def played(keep: int, block: int) -> Desk:
    """A dozen orders, filled, busted, corrected, cancelled."""
    desk = packing_desk(keep, block)
    for number in range(12):
        filled(desk, f"O{number}", 100 + number)
    desk.bust(desk.child("O3"), "E-O3")
    desk.correct(desk.child("O5"), "E-O5", 105, 48)
    desk.cancel("C6", "O6")
    return desk


def test_the_records_do_not_depend_on_what_is_packed_when() -> None:
    never, once, blocks = played(1_000, 1), played(0, 1), played(3, 4)
    assert never.entries == once.entries == blocks.entries
    assert never.reports == once.reports == blocks.reports
    assert never.state.packing.rows == 0
    assert once.state.packing.rows > blocks.state.packing.rows > 0


def test_equal_records_and_packing_give_equal_states_by_replay() -> None:
    desk = played(3, 4)
    again = State(packing=Packing(keep=3, block=4))
    for entry in desk.entries:
        replay(again, entry)
    assert again == desk.state
    assert state_hash(again) == state_hash(desk.state)
    assert encode_state(again) == encode_state(desk.state)


def test_a_state_that_was_written_and_read_is_equal_and_goes_on_alike() -> None:
    first, second = played(1, 2), played(1, 2)
    second.kernel = Kernel(decode_state(encode_state(second.state)))
    assert second.state == first.state
    for desk in (first, second):
        desk.bust(desk.child("O1"), "E-O1")
        filled(desk, "N")
        filled(desk, "M")
        desk.run(submit("O2", 1))
    assert first.entries == second.entries
    assert encode_state(first.state) == encode_state(second.state)
    assert audit(second.state) == []


def test_a_copy_of_a_state_has_its_own_archive() -> None:
    desk = played(0, 1)
    copy = msgspec.structs.replace(desk.state, shard=desk.state.shard)
    clone = clone_state(desk.state)
    assert clone == desk.state
    written, rows = encode_state(clone), clone.packing.rows
    desk.correct(desk.child("O7"), "E-O7", 107, 47)
    assert (copy.packing.rows, clone.packing.rows, desk.state.packing.rows) == (rows, rows, rows + 1)
    assert len(copy.orders) == len(desk.state.orders) == 12
    assert encode_state(clone) == written


def test_a_state_of_another_version_is_refused() -> None:
    written = encode_state(played(0, 1).state)
    version = state_version().encode()
    assert written.count(version) == 1
    other = version[:-1] + (b"0" if version[-1:] != b"0" else b"1")
    with pytest.raises(msgspec.ValidationError, match="a state of version"):
        decode_state(written.replace(version, other))


def test_a_version_is_of_what_is_written_and_not_of_what_docstrings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = state_version()
    state_version.cache_clear()
    try:
        monkeypatch.setattr(State, "__doc__", "Said in other words.")
        assert state_version() == before
        state_version.cache_clear()
        monkeypatch.setattr(Packing, "__annotations__", Packing.__annotations__ | {"rows": str})
        assert state_version() != before
    finally:
        state_version.cache_clear()


def test_a_state_without_all_of_its_rows_is_refused() -> None:
    desk = played(0, 1)
    desk.state.tables.archive.blocks.pop()
    with pytest.raises(msgspec.ValidationError, match="packed orders that the state counts"):
        decode_state(encode_state(desk.state))


def test_the_hash_of_a_state_covers_what_is_packed() -> None:
    one, other = packing_desk(), packing_desk()
    for desk, px in ((one, 50), (other, 49)):
        desk.working("X")
        desk.fill(desk.child(), 100, px)
    digests = [desk.state.packing.digest for desk in (one, other)]
    assert digests[0] != digests[1]
    other.state.packing.digest = digests[0]
    assert one.state.tables.orders.live() == other.state.tables.orders.live() == {}


def test_the_audit_looks_into_the_rows() -> None:
    whole = played(0, 1).state
    blocks, index = whole.tables.archive.dump()
    swapped = [blocks[1], blocks[0], *blocks[2:]]
    for parts, missing in (
        ((swapped, index), ("not found by",)),
        ((blocks, None), ("not found by",)),
        ((blocks[:-1], index), ("does not hold the rows",)),
    ):
        state = decode_state(encode_state(whole))
        state.keep_in(Archive(state.packing, *parts))
        for what in missing:
            assert any(what in text for text in audit(state))


@pytest.mark.parametrize(("keep", "block"), [(-1, 1), (0, 0)])
def test_a_packing_that_packs_nothing_or_less_is_refused(keep: int, block: int) -> None:
    with pytest.raises(ValueError, match="keep at least 0 and pack at least 1"):
        Packing(keep, block)


@pytest.mark.parametrize("exec_id", ["E", "E" * 12, "BATS-E100-11", "A-B-C-D-E", "E-1-2-3-4-5-6-7-8-9"])
def test_executions_of_packed_orders_are_listed_whatever_their_key_looks_like(exec_id: str) -> None:
    desk = packing_desk()
    for number in range(3):
        for pad in range(16):
            name = f"X{number}-{pad}"
            desk.working(name, 100)
            desk.fill(desk.child(name), 100, exec_id=f"{exec_id}{'0' * pad}{number}")
    keys = list(desk.state.executions)
    assert len(keys) == 48
    assert audit(desk.state) == []


_SENT = st.builds(
    venue_cl_ord_id,
    st.just(0),
    st.integers(1, 2),
    st.integers(0, 80) | st.integers(1_250, 1_400) | st.integers(46_600, 46_700),
    st.integers(0, 5),
)


@given(st.lists(_SENT, min_size=1))
def test_venue_ids_are_noted_by_their_heads_however_many_are_asked_at_once(venue_ids: list[str]) -> None:
    heads = _heads_of_sent(venue_ids)
    assert len(heads) == len(set(heads))
    assert {_head_of_sent(venue_id) for venue_id in venue_ids} == set(heads)


def test_the_heads_of_a_blocks_venue_ids_are_found_in_their_text() -> None:
    for begin in (40_000, 1_296 * 40 - 60):
        usual = [venue_cl_ord_id(0, 1, seq, leg) for seq in range(begin, begin + 128, 2) for leg in range(2)]
        heads = {_head_of_sent(venue_id) for venue_id in usual}
        assert sorted(heads) == _heads_alike(usual) == _heads_alike(usual[::-1])
        assert 4 <= len(heads) <= 5
