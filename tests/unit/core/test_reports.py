"""What clients are told, as JSON: a member that is absent has its default."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
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
    *(NUMBERS,) * 4,
    st.none() | NUMBERS,
    *(TEXTS,) * 3,
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
        value = getattr(reply, field.name)
        if field.name not in written:
            assert not field.required
            assert value == field.default
        else:
            assert written.pop(field.name) == (str(value) if isinstance(value, Decimal) else value)
    assert not written


def test_a_new_order_is_told_nothing_about_executions() -> None:
    qty = Decimal(100)
    report = ExecutionReport(
        "A1", "1-1", "c1", ExecType.NEW, "0", OrderStatus.ROUTED, qty, "ABC", leaves_qty=qty
    )
    assert msgspec.json.encode(report) == (
        b'{"type":"ExecutionReport","account":"A1","order_id":"1-1","cl_ord_id":"c1","exec_type":"0",'
        b'"ord_status":"0","status":"ROUTED","order_qty":"100","symbol":"ABC","leaves_qty":"100"}'
    )
