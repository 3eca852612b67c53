"""The short way to a fill's report says what `execution_report` says, letter by letter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.core.events import OrderFilled
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import Capacity, Order, OrderSide, OrderStatus, OrderType, Origin, TimeInForce
from qtinfra.core.reports import ExecType
from qtinfra.engine.averages import average_at
from qtinfra.engine.effects import execution_report, report_fill
from qtinfra.positions.book import PositionBook
from qtinfra.positions.booking import violations

PRICES = st.sampled_from(["62.50", "62.5", "62.45", "62", "0.01", "62.123456789", "6E+1"])
PARTS = st.lists(st.tuples(st.sampled_from(["1", "3", "40", "0.5"]), PRICES), min_size=1, max_size=5)


def _order(qty: Decimal) -> Order:
    return Order(
        "O-1", "ACC", "C-1", "AAA", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, qty, Decimal("70"),
        ZERO, Capacity.AGENCY, "T", Origin.CLIENT, 1, 1, qty, qty, Decimal("70"),
    )  # fmt: skip


def _event(qty: Decimal, px: Decimal) -> OrderFilled:
    return OrderFilled(
        "XNAS", 1, "CH", "O-1", "ACC", "AAA", OrderSide.BUY, "XNAS||D|E1", "E1", "D", qty, px,
        Liquidity.REMOVED, ZERO, None, False, 1,
    )  # fmt: skip


@given(PARTS, st.sampled_from(["0", "2"]))
@settings(deadline=None)
def test_a_fill_is_reported_as_by_the_general_way(parts: list[tuple[str, str]], rest: str) -> None:
    with exact():
        order = _order(sum((Decimal(qty) for qty, _ in parts), Decimal(rest)))
        for qty, px in parts:
            event = _event(Decimal(qty), Decimal(px))
            order.cum_qty += event.qty
            order.notional += event.qty * event.px
            order.status = OrderStatus.FILLED if order.filled else OrderStatus.PARTIALLY_FILLED
            general: dict[str, Any] = {"last_qty": event.qty, "last_px": event.px, "exec_id": "E1"}
            expected = execution_report(order, ExecType.TRADE, venue="XNAS", **general)
            assert msgspec.json.encode(
                report_fill(event, order, average_at(str(event.px)))
            ) == msgspec.json.encode(expected)


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
