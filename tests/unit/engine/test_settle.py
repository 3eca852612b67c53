"""What follows every change of an order: the table of statuses, versions, the open set, ended children.

The mutation tests showed that nothing else held these.
"""

import pytest

from qtinfra.core.decimals import ZERO
from qtinfra.core.models import TRANSITIONS, ChildStatus, OrderStatus, may_become
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.risk_sums import totals_of
from qtinfra.engine.settle import end_children, release, settle
from tests.support.builders import ALPHA, DAYS, GTC, Desk, dec

pytestmark = pytest.mark.unit


def test_every_edge_of_the_table_has_its_reason_in_words() -> None:
    edges = [reason for targets in TRANSITIONS.values() for reason in targets.values()]
    assert len(edges) > 40
    assert all(len(reason) > 3 for reason in edges)


def test_a_status_that_the_table_does_not_allow_breaks_an_invariant_that_names_both() -> None:
    desk = Desk()
    desk.working()
    order = desk.order()
    order.status = OrderStatus.REJECTED
    assert not may_become(OrderStatus.REJECTED, OrderStatus.ROUTED)
    with pytest.raises(InvariantBrokenError, match=r"status follows the table \(REJECTED, ROUTED\)"):
        settle(desk.state, order, 1)


def test_an_order_has_one_version_more_after_each_change_of_it() -> None:
    desk = Desk()
    desk.new()
    before = desk.order().version
    settle(desk.state, desk.order(), 7)
    assert (desk.order().version, desk.order().updated_ns) == (before + 1, 7)
    settle(desk.state, desk.order(), 8)
    assert desk.order().version == before + 2


def test_an_order_that_is_over_leaves_the_open_set_even_while_a_venue_holds_a_part() -> None:
    desk = Desk()
    desk.working()
    order = desk.order()
    order.closed = OrderStatus.CANCELLED
    settle(desk.state, order, 1)
    assert desk.child().leaves > ZERO
    assert order.reserved == desk.child().leaves
    assert order.order_id not in desk.state.open_orders


def test_an_order_with_nothing_left_stays_open_while_its_replace_is_not_answered() -> None:
    desk = Desk()
    desk.working(qty=100)
    desk.replace("Y", qty=150)
    desk.fill(desk.child(), 100)
    order = desk.order()
    order.pending_replace.qty = dec(100)  # type: ignore[union-attr]
    settle(desk.state, order, 1)
    assert order.reserved == ZERO
    assert order.order_id in desk.state.open_orders
    order.pending_replace = None
    settle(desk.state, order, 2)
    assert order.order_id not in desk.state.open_orders


def test_children_that_end_with_their_day_have_expired_and_hold_nothing() -> None:
    desk = Desk(venues=("XNAS",))
    desk.working(qty=100)
    order, child = desk.order(), desk.child()
    end_children(desk.state, order)
    assert (child.status, child.leaves) == (ChildStatus.EXPIRED, ZERO)
    assert desk.state.find_order(ALPHA, "X") is order


def test_a_child_that_stops_working_answers_the_requests_on_it_and_no_others() -> None:
    desk = Desk(venues=("XNAS", "XNYS"))
    desk.working(qty=100)
    desk.replace("Y", qty=150)
    order, child = desk.order(), desk.child()
    pending = order.pending_replace
    assert pending is not None and child.replace_id
    pending.waiting = 3
    release(order, child, ChildStatus.CANCELLED)
    assert pending.waiting == 2
    assert (child.cancel_id, child.replace_id, child.leaves) == ("", "", ZERO)
    release(order, child, ChildStatus.CANCELLED)
    assert pending.waiting == 2, "no request is on the child any more"


def test_a_cancel_waits_for_one_venue_less_when_its_child_stops_working() -> None:
    desk = Desk()
    desk.working(qty=100)
    desk.cancel("C", "X")
    order, child = desk.order(), desk.child()
    pending = order.pending_cancel
    assert pending is not None and child.cancel_id
    pending.waiting = 3
    release(order, child, ChildStatus.CANCELLED)
    release(order, child, ChildStatus.CANCELLED)
    assert (pending.waiting, child.cancel_id) == (2, "")


def test_an_execution_of_yesterday_that_is_told_today_uses_none_of_today_s_credit() -> None:
    desk = Desk()
    desk.working("X", tif=GTC)
    desk.close_day()
    desk.next_day()
    traded = totals_of(desk.state, ALPHA).home
    desk.fill(desk.child(), 40, trade_date=DAYS[0])
    assert traded.traded == 0
    desk.fill(desk.child(), 60)
    assert traded.traded == 60 * 50
