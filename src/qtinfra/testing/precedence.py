"""The order of precedence of statuses, checked against `core.models.order_status`.

`order_status_precedence.csv` ranks the FIX statuses: when several apply to an order, the highest is reported.
Each pair of statuses that one order can have at once is put on an order, and the reported one compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from qtinfra.core.decimals import ZERO
from qtinfra.core.models import (
    Capacity,
    Order,
    OrderSide,
    OrderStatus,
    OrderType,
    Origin,
    PendingCancel,
    PendingReplace,
    TimeInForce,
    fix_status,
    order_status,
)
from qtinfra.testing.scenarios import ConformanceFileError, read_records

_QTY = Decimal(100)


def _order() -> Order:
    return Order(
        order_id="O",
        account="ACC",
        cl_ord_id="X",
        symbol="SYM",
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        tif=TimeInForce.DAY,
        qty=_QTY,
        price=Decimal(50),
        min_qty=ZERO,
        capacity=Capacity.AGENCY,
        trader="",
        origin=Origin.CLIENT,
        created_ns=0,
        updated_ns=0,
        unallocated=ZERO,
        submitted_qty=_QTY,
        submitted_price=Decimal(50),
        acked=True,
    )


def _pending_cancel(order: Order) -> None:
    order.pending_cancel = PendingCancel("C", "X", Origin.CLIENT, 1)


def _pending_replace(order: Order) -> None:
    order.pending_replace = PendingReplace("R", "X", Origin.CLIENT, _QTY, order.price, 1)


def _set(name: str, value: object) -> Callable[[Order], None]:
    return lambda order: setattr(order, name, value)


# How an order comes to have a status (FIX 39).
_FEATURES: dict[str, Callable[[Order], None]] = {
    "6": _pending_cancel,
    "E": _pending_replace,
    "3": _set("done_for_day", True),
    "2": _set("cum_qty", _QTY),
    "7": _set("stopped", True),
    "9": _set("suspended", True),
    "4": _set("closed", OrderStatus.CANCELLED),
    "C": _set("closed", OrderStatus.EXPIRED),
    "1": _set("cum_qty", _QTY - 1),
    "0": _set("acked", True),
    "A": _set("acked", False),
    "8": _set("closed", OrderStatus.REJECTED),
}
# Pairs that no order has at once; a rejected order (8) never had any other status.
_EXCLUSIVE = (("2", "1"), ("4", "C"), ("0", "A"))
_ALONE = ("8",)


def load_precedence(path: Path) -> dict[str, int]:
    """Read rank by FIX status; a higher rank goes first.

    Raises:
        ConformanceFileError: a column is missing, or a rank is not a whole number.
    """
    try:
        return {
            record["OrdStatus"]: int(record["precedence"])
            for record in read_records(path, ("precedence", "OrdStatus"))
        }
    except ValueError as error:
        raise ConformanceFileError(f"{path.name}: {error}") from error


def precedence_failures(ranks: dict[str, int]) -> list[str]:
    """Compare every status alone and in pairs; what differs, in words."""
    known = [status for status in ranks if status in _FEATURES]
    failures = [
        f"{status} alone is reported as {_reported(status)}"
        for status in known
        if _reported(status) != status
    ]
    for one, other in itertools.combinations(known, 2):
        if ranks[one] == ranks[other] or not _together(one, other):
            continue
        highest = one if ranks[one] > ranks[other] else other
        got = _reported(one, other)
        if got != highest:
            failures.append(f"{one} and {other} apply: expected {highest}, got {got}")
    return failures


def _together(one: str, other: str) -> bool:
    if one in _ALONE or other in _ALONE:
        return False
    return (one, other) not in _EXCLUSIVE and (other, one) not in _EXCLUSIVE


def _reported(*statuses: str) -> str:
    order = _order()
    for status in statuses:
        _FEATURES[status](order)
    order.status = order_status(order)
    return fix_status(order)
