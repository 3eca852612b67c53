"""The short way to a fill's report says what `execution_report` says, letter by letter."""

from __future__ import annotations

from decimal import Decimal
from math import ceil

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.core.events import AnyEvent, OrderFilled
from qtinfra.core.models import Capacity, Order, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.reports import Effect, ExecType, ReportKind, VenueReport
from qtinfra.engine.effects import EFFECTS, execution_report
from qtinfra.engine.usual_reports import take_usual
from qtinfra.positions.book import PositionBook
from qtinfra.positions.booking import violations
from tests.support.builders import DAYS, Desk

PRICES = st.sampled_from(["62.50", "62.5", "62.45", "62", "0.01", "62.123456789", "6E+1"])
PARTS = st.lists(st.tuples(st.sampled_from(["1", "3", "40", "0.5"]), PRICES), min_size=1, max_size=5)


def _order(qty: Decimal) -> Order:
    return Order(
        "O-1", "ACC", "C-1", "AAA", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, qty, Decimal("70"),
        ZERO, Capacity.AGENCY, "T", Origin.CLIENT, 1, 1, qty, qty, Decimal("70"),
    )  # fmt: skip


@given(parts=PARTS, rest=st.sampled_from([0, 2]))
@settings(deadline=None)
def test_a_fill_is_reported_as_by_the_general_way(parts: list[tuple[str, str]], rest: int) -> None:
    desk = Desk(checked=False)
    desk.working("X", ceil(sum(Decimal(qty) for qty, _ in parts)) + rest, 70)
    for number, (qty, px) in enumerate(parts):
        report = VenueReport(
            ReportKind.FILL, "XNAS", desk.child("X").child_id, desk.state.inbound["XNAS"] + 1,
            desk.state.sessions["XNAS"], DAYS[0], exec_id=f"E{number}", qty=Decimal(qty), px=Decimal(px),
        )  # fmt: skip
        events, effects = list[AnyEvent](), list[Effect]()
        with exact():
            take_usual(desk.state, (report,), 1, effects, events)
            desk.state.seq += len(events)
            expected = EFFECTS[OrderFilled](desk.state, events[0])
        assert msgspec.json.encode(effects) == msgspec.json.encode(expected)


@given(st.sampled_from(["0", "-0"]))
def test_a_report_is_written_alike_whichever_zero_the_order_has(zero: str) -> None:
    with exact():
        order, other = _order(Decimal(3)), _order(Decimal(3))
        other.cum_qty, other.notional = Decimal(zero), Decimal(zero)
        written = msgspec.json.encode(execution_report(other, ExecType.NEW, last_qty=Decimal(zero)))
    assert written == msgspec.json.encode(execution_report(order, ExecType.NEW))
    assert b'"0"' not in written.replace(b'"exec_type":"0"', b"").replace(b'"ord_status":"0"', b"")


@given(st.lists(st.tuples(st.sampled_from(["1", "-1", "3", "-2", "-3"]), PRICES), min_size=1, max_size=8))
@settings(deadline=None)
def test_booking_answers_what_is_held_and_its_numbers_are_those_of_the_trades(
    trades: list[tuple[str, str]],
) -> None:
    book, held = PositionBook(), ZERO
    with exact():
        for number, (qty, px) in enumerate(trades):
            held += Decimal(qty)
            found = book.apply("ACC", "AAA", f"V||D|{number}", Decimal(qty), Decimal(px), ZERO, "D", ONE)
            assert found == held
            position = book.accounts["ACC"]["AAA"]
            in_lots = sum((lot.qty for lot in position.open_lots), ZERO)
            assert (position.qty, in_lots) == (held, held)
            assert violations(position) == []
