"""The desk rig: a restart is a new rig on the same files and the same street."""

from pathlib import Path

import pytest

from qtinfra.bootstrap import Evidence
from qtinfra.core.extended_models import Account
from qtinfra.core.models import Currency, OrderStatus
from qtinfra.core.reports import VenueNewOrder, VenueStatusRequest
from qtinfra.core.validation.errors import MessageRefused
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.audit import audit
from qtinfra.engine.state import state_hash
from qtinfra.infra.clock import ManualClock
from qtinfra.testing.desk_rig import START_NS, DeskRig, Street, Turn, durable_entries, order_message

pytestmark = pytest.mark.unit

ACCOUNT, SYMBOL = "alpha", "AAPL"


def order(cl_ord_id: str, qty: int = 100, price: str = "150.20") -> bytes:
    fields = {"symbol": SYMBOL, "side": "BUY", "quantity": str(qty), "price": price, "order_type": "LIMIT"}
    return order_message({**fields, "client_order_id": cl_ord_id, "account_id": ACCOUNT})


@pytest.fixture
def street() -> Street:
    made = Street(ManualClock(START_NS), (SYMBOL,))
    made.others("ARCX", SYMBOL, 300, "150.23")
    made.others("XNAS", SYMBOL, 500, "150.24")
    return made


@pytest.fixture
def files(tmp_path: Path) -> Evidence:
    return Evidence.of(tmp_path / "journal.sqlite")


def open_rig(files: Evidence, street: Street) -> DeskRig:
    return DeskRig(files, street, accounts=[Account(ACCOUNT, "north", Currency.USD)])


def test_everything_a_turn_led_to_is_durable_when_it_returns(files: Evidence, street: Street) -> None:
    rig = open_rig(files, street)
    turn = rig.receive(order("A1", 800, "150.24"))
    assert rig.order(ACCOUNT, "A1").status is OrderStatus.FILLED
    assert rig.position(ACCOUNT, SYMBOL) == 800
    assert turn.reports
    assert durable_entries(files)[-1].last_seq == rig.state.seq
    assert audit(rig.state) == []
    rig.close()


def test_a_refused_message_leaves_no_record(files: Evidence, street: Street) -> None:
    rig = open_rig(files, street)
    before = rig.state.seq
    with pytest.raises(MessageRefused):
        rig.receive(b"{}")
    assert rig.state.seq == before
    with pytest.raises(LookupError):
        rig.order(ACCOUNT, "A1")
    rig.close()


def test_a_decision_that_was_not_synced_is_gone_after_a_kill(files: Evidence, street: Street) -> None:
    rig = open_rig(files, street)
    rig.decide(parse_new_order(order("A1")), ACCOUNT)
    rig.kill()
    rig = open_rig(files, street)
    assert rig.state.find_order(ACCOUNT, "A1") is None
    rig.close()


def test_an_order_synced_but_not_sent_is_asked_about_before_it_is_placed(
    files: Evidence, street: Street
) -> None:
    rig = open_rig(files, street)
    rig.commit(rig.decide(parse_new_order(order("A1")), ACCOUNT))
    before = state_hash(rig.state)
    rig.kill()
    assert street.received == []
    rig = open_rig(files, street)
    assert rig.recovery.records
    assert before != state_hash(rig.state)
    assert [type(sent) for sent in street.received] == [VenueStatusRequest, VenueNewOrder]
    assert rig.order(ACCOUNT, "A1").status is OrderStatus.ROUTED
    rig.close()


def test_a_fill_that_nobody_heard_is_booked_once_after_a_restart(files: Evidence, street: Street) -> None:
    rig = open_rig(files, street)
    frame = rig.decide(parse_new_order(order("A1", 300, "150.23")), ACCOUNT)
    rig.commit(frame)
    rig.release(frame, Turn())
    rig.kill()
    for _ in range(2):
        rig = open_rig(files, street)
        assert rig.position(ACCOUNT, SYMBOL) == 300
        rig.close()
    assert len([sent for sent in street.received if isinstance(sent, VenueNewOrder)]) == 1


def test_what_is_sent_over_a_broken_link_is_lost(files: Evidence, street: Street) -> None:
    rig = open_rig(files, street)
    street.cut("XNAS")
    rig.receive(order("A1"))
    assert street.received == []
    rig.disconnect("XNAS")
    assert rig.order(ACCOUNT, "A1").status is OrderStatus.UNKNOWN
    rig.connect("XNAS")
    assert rig.order(ACCOUNT, "A1").status is OrderStatus.ROUTED
    rig.close()
