"""A list of orders on the wire: `{"link": "OCO", "orders": [{...}, {...}]}`.

Each order is what POST /orders takes. The errors of all of them come in the order of `errors`, their fields
named as "orders[1].price".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from msgspec.structs import replace

from qtinfra.core.commands import SubmitList, SubmitOrder
from qtinfra.core.special import Link
from qtinfra.core.validation.errors import FieldError, MessageRefused, Stage, in_order
from qtinfra.core.validation.fields import Field, enum_field, error, type_error
from qtinfra.core.validation.wire import NEW_ORDER, decode_object, field_values, order_of

#: Fewest and most orders of a list.
MIN_ORDERS, MAX_ORDERS = 2, 16


def _orders_field(field: str, raw: object) -> object:
    if not isinstance(raw, list):
        return type_error(field, "an array", raw)
    if MIN_ORDERS <= len(raw) <= MAX_ORDERS:
        return raw
    text = f"a list has {MIN_ORDERS} to {MAX_ORDERS} orders"
    return error(field, "list_length", Stage.RANGE, str(MAX_ORDERS), str(len(raw)), text)


LIST = (
    Field("link", enum_field(Link), required=True),
    Field("orders", _orders_field, required=True),
)


def parse_order_list(
    data: bytes, *, account: str | None = None, cl_ord_id: Callable[[int], str] | None = None
) -> SubmitList:
    """The command in the body of POST /orders:list.

    Args:
        account: stands in for orders that name none.
        cl_ord_id: gives the id of an order that has none, by its place from 0.

    Raises:
        MessageRefused: with everything found, in order; list_length for too few or too many.
    """
    message, errors = decode_object(data)
    values, wrong = field_values(message, LIST)
    errors += wrong
    names = [field.name for field in LIST]
    orders: list[SubmitOrder] = []
    for place, raw in enumerate(cast(list[object], values.get("orders", []))):
        names += [f"orders[{place}].{field.name}" for field in NEW_ORDER]
        stand_in = None if cl_ord_id is None else cl_ord_id(place)
        found = _order(place, raw, {"account_id": account, "client_order_id": stand_in})
        if isinstance(found, SubmitOrder):
            orders.append(found)
        else:
            errors += found
    if errors:
        raise MessageRefused(in_order(errors, tuple(names)))
    return SubmitList(cast(Link, values["link"]), tuple(orders))


def _order(place: int, raw: object, given: dict[str, str | None]) -> SubmitOrder | list[FieldError]:
    field = f"orders[{place}]"
    if not isinstance(raw, dict):
        return [type_error(field, "an object", raw)]
    values, wrong = field_values(raw, NEW_ORDER, given=given)
    if not wrong:
        return order_of(values)
    return [replace(item, field=f"{field}.{item.field}") for item in wrong]
