"""What clients are told, as JSON: a member that is absent has its default, or follows from the others."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from qtinfra.core.decimals import ZERO
from qtinfra.core.models import OrderStatus
from qtinfra.core.reports import ExecType, ExecutionReport, OrderCancelReject

Reply = ExecutionReport | OrderCancelReject

TEXTS = st.sampled_from(["", "a", "late fill", 'quote " and é'])
NUMBERS = st.sampled_from([ZERO, Decimal("0"), Decimal("0.00"), Decimal(100), Decimal("101.25")])
EXECUTION_REPORTS = st.builds(
    ExecutionReport,
    *(TEXTS,) * 3,
    st.sampled_from(ExecType),
    TEXTS,
    st.sampled_from(OrderStatus),
    NUMBERS,
    *(TEXTS,) * 2,
    NUMBERS,
    st.none() | NUMBERS,
    TEXTS,
    *(st.none() | NUMBERS,) * 3,
    *(TEXTS,) * 2,
    st.none() | st.integers(0, 99),
    *(TEXTS,) * 2,
)
CANCEL_REJECTS = st.builds(
    OrderCancelReject, *(TEXTS,) * 5, st.integers(1, 2), st.integers(0, 99), *(TEXTS,) * 2
)


@given(EXECUTION_REPORTS | CANCEL_REJECTS)
def test_a_reply_is_read_back_as_it_was(reply: Reply) -> None:
    assert msgspec.json.decode(msgspec.json.encode(reply), type=Reply) == reply


@given(EXECUTION_REPORTS | CANCEL_REJECTS)
def test_what_is_absent_has_its_default_and_what_is_required_is_never_absent(reply: Reply) -> None:
    written = json.loads(msgspec.json.encode(reply))
    assert written.pop("type") == type(reply).__name__
    for field in fields(type(reply)):
        value, name = getattr(reply, field.name), field.encode_name
        if name not in written:
            assert not field.required
            assert value == field.default
        else:
            assert written.pop(name) == (str(value) if isinstance(value, Decimal) else value)
    assert not written


@given(EXECUTION_REPORTS)
def test_a_reader_who_knows_the_rules_alone_reads_the_same_figures(report: ExecutionReport) -> None:
    """The rules as the documentation states them, applied to plain JSON."""
    said = json.loads(msgspec.json.encode(report))
    qty, status = said["order_qty"], said["status"]
    executed = said.get("cum_qty", qty if status == "FILLED" else "0")
    left = said.get("leaves_qty", qty if status in ("VALIDATED", "ROUTED") else "0")
    average = said.get("avg_px", said.get("last_px", "0"))
    assert (report.cum_qty, report.leaves_qty) == (Decimal(executed), Decimal(left))
    assert report.avg_px == Decimal(average)
    assert report.last_qty == Decimal(said.get("last_qty", "0"))


def _report(exec_type: ExecType, status: OrderStatus, *figures: Decimal | None) -> ExecutionReport:
    last_qty, last_px, executed, left, average = figures
    return ExecutionReport(
        "A1", "1-1", "c1", exec_type, "1", status, Decimal(100), "ABC", "XNAS", last_qty or ZERO, last_px, "",
        executed, left, average,
    )  # fmt: skip


def _figures(report: ExecutionReport) -> list[Decimal]:
    return [report.cum_qty, report.leaves_qty, report.avg_px]


def test_an_average_that_is_not_said_is_the_last_price_to_eight_places() -> None:
    px = Decimal("1.123456785")
    report = _report(ExecType.TRADE, OrderStatus.FILLED, Decimal(100), px, None, None, None)
    assert report.avg_px == Decimal("1.12345678")


@pytest.mark.parametrize(
    ("status", "figures"),
    [
        (OrderStatus.VALIDATED, [0, 100, 0]),
        (OrderStatus.ROUTED, [0, 100, 0]),
        (OrderStatus.FILLED, [100, 0, 0]),
        (OrderStatus.PARTIALLY_FILLED, [0, 0, 0]),
        (OrderStatus.CANCELLED, [0, 0, 0]),
        (OrderStatus.REJECTED, [0, 0, 0]),
    ],
)
def test_quantities_that_are_not_said_follow_from_the_status(status: OrderStatus, figures: list[int]) -> None:
    report = _report(ExecType.ORDER_STATUS, status, None, None, None, None, None)
    assert _figures(report) == figures


def test_figures_that_are_said_count_whatever_the_status() -> None:
    for status in OrderStatus:
        report = _report(
            ExecType.TRADE, status, Decimal(10), Decimal(7), Decimal(30), Decimal(70), Decimal("6.5")
        )
        assert _figures(report) == [30, 70, 6.5]


def test_a_new_order_is_told_nothing_about_executions() -> None:
    report = ExecutionReport("A1", "1-1", "c1", ExecType.NEW, "0", OrderStatus.ROUTED, Decimal(100), "ABC")
    assert _figures(report) == [0, 100, 0]
    assert msgspec.json.encode(report) == (
        b'{"type":"ExecutionReport","account":"A1","order_id":"1-1","cl_ord_id":"c1",'
        b'"exec_type":"0","ord_status":"0","status":"ROUTED","order_qty":"100","symbol":"ABC"}'
    )


def test_an_order_that_trades_whole_is_told_of_one_execution() -> None:
    report = ExecutionReport(
        "A1", "1-1", "c1", ExecType.TRADE, "2", OrderStatus.FILLED, Decimal(100), "ABC", "XNAS", Decimal(100),
        Decimal("10.5"), "E1",
    )  # fmt: skip
    assert _figures(report) == [100, 0, 10.5]
    assert msgspec.json.encode(report) == (
        b'{"type":"ExecutionReport","account":"A1","order_id":"1-1","cl_ord_id":"c1","exec_type":"F",'
        b'"ord_status":"2","status":"FILLED","order_qty":"100","symbol":"ABC","venue":"XNAS","last_qty":"100",'
        b'"last_px":"10.5","exec_id":"E1"}'
    )
