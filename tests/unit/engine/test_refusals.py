"""Wrong commands: a typed event with a stable code, and nothing else changes."""

import re
from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from qtinfra.core import commands as cmd
from qtinfra.core.events import AmendRefused, CommandQuarantined, CommandRefused, OrderRejected
from qtinfra.core.extended_models import KillScope, LimitRule, TickBand, VenueStatus
from qtinfra.core.models import Currency, OrderType, TimeInForce
from qtinfra.engine import decide as decide_package
from qtinfra.engine import evolve as evolve_module
from qtinfra.engine.kernel import Kernel, KernelStoppedError, decide_again, replay
from qtinfra.engine.state import State, encode_state, state_hash
from tests.support.builders import ALPHA, BETA, SYMBOL, Desk, account, dec, instrument, kinds, submit, venue

pytestmark = pytest.mark.unit

#: What a refusal may change: the sequence, and the refused order's own record.
OWN_RECORD = ("seq", "closing", "orders", "client_ids")


def rest(desk: Desk) -> dict[str, bytes]:
    """The state but for what a refused order leaves, field by field. Which orders are open is part of it, not
    what is said of each: a request that is refused is remembered with its order.
    """
    encode = msgspec.msgpack.encode
    state = desk.state
    found = {name: encode(getattr(state, name)) for name in state.__struct_fields__ if name not in OWN_RECORD}
    return found | {"open_orders": encode([*state.open_orders])}


ORDERS: list[tuple[str, cmd.SubmitOrder]] = [
    ("unknown_symbol", submit("N", symbol="NOPE")),
    ("must_be_positive", submit("N", 0)),
    ("must_be_positive", submit("N", "-0")),
    ("must_be_positive", submit("N", -1)),
    ("must_be_positive", submit("N", 1, 0)),
    ("must_be_positive", submit("N", 1, -5)),
    ("number_out_of_range", submit("N", "1e18")),
    ("number_out_of_range", submit("N", "1e400")),
    ("number_out_of_range", submit("N", 1, "50.1234567891")),
    ("number_out_of_range", submit("N", 1, "5." + "1" * 200)),
    ("notional_out_of_range", submit("N", "1e17", "1e12")),
    ("tick_size", submit("N", 1, "10.005")),
    ("lot_size", submit("N", "1.5")),
    ("price_required", submit("N", 1, None, order_type=OrderType.LIMIT)),
    ("price_not_allowed", submit("N", 1, 50, order_type=OrderType.MARKET)),
    ("min_qty", submit("N", 10, min_qty=dec(11))),
    ("min_qty", submit("N", 10, min_qty=dec(-1))),
    ("min_qty", submit("N", 10, min_qty=dec("NaN"))),
    ("max_length", submit("")),
    ("max_length", submit("x" * 65)),
    ("control_char", submit("a\x01b")),
    ("control_char", submit("ordér")),
    *[
        ("unsupported_order_type", submit("N", 1, 50, order_type=kind))
        for kind in OrderType
        if kind not in (OrderType.LIMIT, OrderType.MARKET)
    ],
    *[
        ("unsupported_time_in_force", submit("N", 1, 50, tif=tif))
        for tif in (TimeInForce.GTD, TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE)
    ],
]


@pytest.mark.parametrize(("code", "order"), ORDERS)
def test_a_wrong_order_is_refused_by_its_rule_and_changes_nothing_else(
    code: str, order: cmd.SubmitOrder
) -> None:
    desk = Desk()
    desk.working("X", 100)
    before, sent, orders = rest(desk), len(desk.sent), len(desk.state.orders)
    outcome = desk.run(order)
    (event,) = outcome.events
    assert isinstance(event, OrderRejected)
    assert (event.code, event.field != "") == (code, True)
    assert rest(desk) == before
    assert len(desk.state.orders) == orders + 1
    assert len(desk.sent) == sent
    assert desk.last().ord_status == "8"


@pytest.mark.parametrize(
    "order",
    [
        submit("N", "NaN"),
        submit("N", "sNaN"),
        submit("N", "Infinity"),
        submit("N", 1, "NaN"),
        submit("N", 1, "-Infinity"),
    ],
)
def test_what_is_not_a_number_never_becomes_an_order(order: cmd.SubmitOrder) -> None:
    desk = Desk()
    desk.working("X", 100)
    before = encode_state(desk.state)
    (event,) = desk.run(order).events
    assert isinstance(event, CommandRefused) and event.code == "number_out_of_range"
    desk.state.seq -= 1
    assert encode_state(desk.state) == before
    assert desk.last().order_id == "NONE"


def test_an_unknown_or_disabled_account_is_refused() -> None:
    desk = Desk()
    (event,) = desk.new("N", name="nobody").events
    assert isinstance(event, CommandRefused) and event.code == "unknown_account"
    desk.run(cmd.SetReference(accounts=(account(BETA, enabled=False),)))
    desk.new("N", name=BETA)
    assert desk.last().code == "account_disabled"


def test_rules_run_in_the_order_range_reference_state_business_risk() -> None:
    desk = Desk()
    desk.limit(LimitRule.MAX_ORDER_QTY, 1)
    desk.halt()
    order = submit("", "-1.5", "10.005", symbol="NOPE", tif=TimeInForce.GTD)
    mended: list[tuple[str, dict[str, object]]] = [
        ("must_be_positive", {}),
        ("unknown_symbol", {"qty": dec("1.5")}),
        ("instrument_halted", {"symbol": SYMBOL}),
        ("unsupported_time_in_force", {}),
        ("lot_size", {"tif": TimeInForce.DAY}),
        ("tick_size", {"qty": dec(2)}),
        ("max_order_qty", {"price": dec(10)}),
    ]
    for number, (code, change) in enumerate(mended):
        if code == "unsupported_time_in_force":
            desk.halt(False)
        order = msgspec.structs.replace(order, cl_ord_id=f"A{number}", **change)
        desk.run(order)
        assert desk.last().code == code


def test_without_a_connected_venue_an_order_is_refused() -> None:
    desk = Desk()
    desk.disconnect("XNAS")
    desk.new("N")
    assert desk.last().code == "no_venue"
    desk.run(cmd.SetVenueStatus("XNAS", VenueStatus.CLOSED))
    desk.new("M")
    assert desk.last().code == "no_venue"


AMENDS: list[tuple[str, Callable[[Desk], object]]] = [
    ("unknown_order", lambda desk: desk.cancel("C", "missing")),
    ("unknown_order", lambda desk: desk.replace("R", "missing", qty=5)),
    ("duplicate_client_order_id", lambda desk: desk.cancel("X", "X")),
    ("duplicate_client_order_id", lambda desk: desk.replace("OTHER", "X", qty=5)),
    ("max_length", lambda desk: desk.cancel("", "X")),
    ("max_length", lambda desk: desk.replace("y" * 65, "X", qty=5)),
    ("control_char", lambda desk: desk.replace("y\n", "X", qty=5)),
    ("must_be_positive", lambda desk: desk.replace("R", "X", qty=0)),
    ("number_out_of_range", lambda desk: desk.replace("R", "X", qty="NaN")),
    ("number_out_of_range", lambda desk: desk.replace("R", "X", price="Infinity")),
    ("lot_size", lambda desk: desk.replace("R", "X", qty="99.5")),
    ("tick_size", lambda desk: desk.replace("R", "X", price="50.001")),
    ("qty_below_filled", lambda desk: desk.replace("R", "X", qty=39)),
    ("too_late", lambda desk: desk.replace("R", "DONE", qty=500)),
    ("too_late", lambda desk: desk.cancel("C", "DONE")),
    ("too_late", lambda desk: desk.cancel("C", "REFUSED")),
    ("too_late", lambda desk: desk.replace("R", "REFUSED", qty=500)),
]


@pytest.mark.parametrize(("code", "ask"), AMENDS)
def test_a_wrong_cancel_or_replace_is_refused_and_changes_nothing_else(
    code: str, ask: Callable[[Desk], object]
) -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.fill(desk.child("X"), 40)
    desk.working("OTHER", 10)
    desk.working("DONE", 10)
    desk.canceled(desk.child("DONE"))
    desk.new("REFUSED", 10, "50.001")
    before, sent = rest(desk), len(desk.sent)
    figures = [desk.figures(name) for name in ("X", "OTHER", "DONE")]
    ask(desk)
    (event,) = desk.entries[-1].events
    assert isinstance(event, AmendRefused)
    assert (event.code, event.clears) == (code, False)
    assert rest(desk) == before
    assert len(desk.sent) == sent
    assert [desk.figures(name) for name in ("X", "OTHER", "DONE")] == figures
    if event.cl_ord_id:
        assert desk.last_reject().code == code
    else:
        assert desk.alert_kinds() == ["cancel_refused"]


def test_in_the_wrong_state_a_request_is_refused_as_already_pending() -> None:
    desk = Desk()
    desk.working("X", 100)
    desk.cancel("C")
    desk.cancel("D")
    assert (desk.last_reject().code, desk.last_reject().reason) == ("cancel_pending", 3)
    desk.replace("R", qty=50)
    assert (desk.last_reject().code, desk.last_reject().reason) == ("cancel_pending", 3)


def test_a_replace_is_refused_while_a_venue_of_the_order_is_away_or_in_doubt() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.new("X", 100)
    desk.disconnect("XNAS")
    desk.replace("R", qty=50)
    assert desk.last_reject().code == "venue_disconnected"
    desk.connect("XNAS")
    desk.replace("S", qty=50)
    assert desk.last_reject().code == "outcome_unknown"


def test_a_malformed_replace_is_refused_before_it_is_queued() -> None:
    desk = Desk(policies=account().policies)
    desk.run(
        cmd.SetReference(
            accounts=(account(policies=msgspec.structs.replace(account().policies, chained_replace="queue")),)
        )
    )
    desk.working("X", 100)
    desk.replace("R", qty=50)
    desk.replace("S", "R", qty="NaN")
    assert desk.last_reject().code == "number_out_of_range"
    assert not desk.order().queued


CONTROLS: list[tuple[str, cmd.AnyCommand]] = [
    ("stale_epoch", cmd.StartEpoch(1, "late")),
    ("stale_epoch", cmd.StartEpoch(0, "late")),
    ("bad_reference", cmd.SetReference((instrument(venues=("NOPE",)),))),
    ("bad_reference", cmd.SetReference((instrument(venues=()),))),
    ("bad_reference", cmd.SetReference((instrument(lot=0),))),
    ("bad_reference", cmd.SetReference((instrument(lot="NaN"),))),
    ("bad_reference", cmd.SetReference((instrument(multiplier=dec(-1)),))),
    ("bad_reference", cmd.SetReference((instrument(ticks=()),))),
    ("bad_reference", cmd.SetReference((instrument(ticks=(TickBand(dec(1), dec("0.01")),)),))),
    ("bad_reference", cmd.SetReference((instrument(ticks=(TickBand(dec(0), dec(0)),)),))),
    ("bad_reference", cmd.SetReference((instrument(ticks=(TickBand(dec(0), dec("NaN")),)),))),
    (
        "bad_reference",
        cmd.SetReference((instrument(ticks=tuple(TickBand(dec(f), dec(1)) for f in (0, 5, 5))),)),
    ),
    ("bad_reference", cmd.SetReference(venues=(venue("XLON", take="NaN"),))),
    ("must_be_positive", cmd.SetReference(prices=((SYMBOL, dec(0)),))),
    ("must_be_positive", cmd.SetReference(prices=((SYMBOL, dec("NaN")),))),
    ("must_not_be_negative", cmd.SetLimit(LimitRule.MAX_ORDER_QTY, dec(-1))),
    ("must_not_be_negative", cmd.SetLimit(LimitRule.PRICE_COLLAR, dec("NaN"))),
    ("must_be_positive", cmd.SetFxRate(Currency.EUR, Currency.USD, dec(0))),
    ("unknown_symbol", cmd.HaltInstrument("NOPE", True)),
    ("unknown_venue", cmd.SetVenueStatus("NOPE", VenueStatus.CONNECTED)),
    ("value_required", cmd.EngageKillSwitch(KillScope.ACCOUNT)),
    ("not_engaged", cmd.ReleaseKillSwitch(KillScope.FIRM)),
    ("not_unknown", cmd.ResolveUnknown("missing", "CANCELLED")),
    ("unknown_account", cmd.MassCancel("nobody", "M")),
    ("trade_date", cmd.TimerFired(cmd.TimerKind.DAY_OPEN, "2024-07-08")),
    ("trade_date", cmd.TimerFired(cmd.TimerKind.DAY_OPEN, "tomorrow")),
    ("trade_date", cmd.TimerFired(cmd.TimerKind.DAY_CLOSE, "2024-07-07")),
]


@pytest.mark.parametrize(("code", "command"), CONTROLS)
def test_a_wrong_control_is_refused_and_changes_nothing(code: str, command: cmd.AnyCommand) -> None:
    desk = Desk()
    desk.working("X", 100)
    before, sent = encode_state(desk.state), len(desk.sent)
    (event,) = desk.run(command).events
    assert isinstance(event, CommandRefused)
    assert event.code == code
    desk.state.seq -= 1
    assert encode_state(desk.state) == before
    assert len(desk.sent) == sent


def test_only_a_child_in_doubt_may_be_resolved_and_only_with_a_known_outcome() -> None:
    desk = Desk()
    desk.working("X", 100)
    child = desk.child().child_id
    (event,) = desk.run(cmd.ResolveUnknown(child, "CANCELLED")).events
    assert isinstance(event, CommandRefused) and event.code == "not_unknown"
    desk.new("Y", 100)
    desk.disconnect("XNAS")
    (event,) = desk.run(cmd.ResolveUnknown(desk.child("Y").child_id, "FILLED")).events
    assert isinstance(event, CommandRefused) and event.code == "bad_outcome"


def test_a_report_for_an_order_that_is_not_ours_is_a_break() -> None:
    desk = Desk(["XNAS", "XNYS"])
    desk.working("X", 100)
    report = desk.entries[-1].command
    assert isinstance(report, cmd.RecordVenueReport)
    stray = msgspec.structs.replace(report.report, venue="XNYS", seq=9)
    assert kinds(desk.run(cmd.RecordVenueReport(stray))) == ["ReportIgnored", "BreakRaised"]
    assert desk.alert_kinds() == ["unknown_order_at_venue"]


# --- our own faults ---


def _broken(*_: object) -> None:
    raise ZeroDivisionError("planted")


def test_a_fault_in_deciding_a_new_order_is_journaled_and_freezes_the_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(checked=False)
    desk.working("X", 100)
    with monkeypatch.context() as planted:
        planted.setitem(decide_package.DECIDE, cmd.SubmitOrder, _broken)
        (event,) = desk.new("Y").events
    assert isinstance(event, CommandQuarantined)
    assert (event.stage, event.account, event.order_id) == ("decide", ALPHA, "")
    assert re.search("ZeroDivisionError", event.error)
    assert desk.alert_kinds() == ["quarantined"]
    desk.new("Z")
    assert desk.last().code == "frozen"
    desk.replace("R", "X", qty=200)
    assert desk.last_reject().code == "frozen"
    desk.cancel("C", "X")
    assert desk.figures("X")[0] == "PENDING_CANCEL", "cancels still pass"
    desk.new("B", name=BETA)
    assert desk.order("B", BETA).children, "other accounts go on"
    desk.restart(from_journal=True)
    desk.new("Z2")
    assert desk.last().code == "frozen"


def test_a_fault_in_deciding_on_an_order_freezes_that_order_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(checked=False)
    desk.working("X", 100)
    with monkeypatch.context() as planted:
        planted.setitem(decide_package.DECIDE, cmd.ReplaceOrder, _broken)
        (event,) = desk.replace("R", "X", qty=50).events
    assert isinstance(event, CommandQuarantined)
    assert event.order_id == desk.order().order_id
    desk.replace("S", "X", qty=50)
    assert desk.last_reject().code == "frozen"
    desk.new("Y")
    assert desk.order("Y").children
    desk.cancel("C", "X")
    desk.canceled(desk.child())
    assert desk.figures()[0] == "CANCELLED"


def test_a_fault_on_a_venue_report_freezes_its_order_and_moves_the_session_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(checked=False)
    desk.new("X", 100)
    with monkeypatch.context() as planted:
        planted.setitem(decide_package.DECIDE, cmd.RecordVenueReport, _broken)
        (event,) = desk.ack(desk.child()).events
    assert isinstance(event, CommandQuarantined)
    assert (event.order_id, event.venue, event.seq) == (desk.order().order_id, "XNAS", 1)
    assert desk.state.inbound == {"XNAS": 1}
    desk.fill(desk.child(), 100)
    assert desk.figures()[0] == "FILLED", "executions of a frozen order are booked"


def test_a_fault_in_a_follow_up_keeps_what_was_decided_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(["XNAS", "XNYS"], checked=False)
    desk.new("X", 100)
    with monkeypatch.context() as planted:
        planted.setattr("qtinfra.engine.decide.outcome.review_end", _broken)
        outcome = desk.reject(desk.child())
    assert kinds(outcome) == ["ChildRejected", "CommandQuarantined"]
    desk.restart(from_journal=True)
    assert desk.child().status == "REJECTED"


def test_a_fault_in_evolve_stops_the_shard_and_a_restart_passes_over_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(checked=False)
    desk.working("X", 100)
    good = list(desk.entries)
    with monkeypatch.context() as planted:
        planted.setitem(evolve_module._EVOLVE, type(good[-1].events[-1]), _broken)
        desk.new("Y", 100)
        good.append(desk.entries[-1])
        with pytest.raises(KernelStoppedError) as stopped:
            desk.ack(desk.child("Y"))
    entry = stopped.value.entry
    (event,) = entry.events
    assert isinstance(event, CommandQuarantined)
    assert (event.stage, entry.seq) == ("evolve", good[-1].last_seq + 1)
    state = State()
    for record in [*good, entry]:
        replay(state, record)
    kernel = Kernel(state)
    desk.kernel = kernel
    assert state.inbound == {"XNAS": 2}
    desk.fill(desk.child("Y"), 100)
    assert desk.figures("Y")[0] == "FILLED"
    desk.replace("R", "Y", qty=200)
    assert desk.last_reject().code in ("frozen", "outcome_unknown")


def test_a_record_out_of_sequence_is_refused_by_replay() -> None:
    desk = Desk()
    with pytest.raises(ValueError, match="does not follow"):
        replay(State(), desk.entries[1])


def test_deciding_again_depends_on_the_recorded_market_and_not_on_today_s() -> None:
    desk = Desk()
    desk.run(cmd.SetReference(prices=((SYMBOL, Decimal(50)),)))
    desk.limit(LimitRule.PRICE_COLLAR, "0.1")
    desk.new("X", 100, 55)
    again = Kernel(State())
    for entry in desk.entries:
        assert decide_again(again, entry) == entry
    assert state_hash(again.state) == state_hash(desk.state)
