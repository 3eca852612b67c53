"""What a client order is sent as: its venue orders, as they were planned."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import msgspec

from qtinfra.core.models import OrderType, TimeInForce


class ChildOrder(msgspec.Struct, frozen=True, tag="child", array_like=True, gc=False):
    """A venue order of any kind."""

    child_id: str
    venue: str
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal | None


class TakingOrder(msgspec.Struct, frozen=True, tag="take", array_like=True, gc=False):
    """A venue order that takes what is there: a limit, immediate or cancel, of which any part may execute.

    Of the only leg of a new order `price` and `qty` are None where they are the order's own limit and
    quantity, written alike: `limit` and `units` have them.
    """

    child_id: str
    venue: str
    price: Decimal | None = None
    qty: Decimal | None = None

    order_type: ClassVar[OrderType] = OrderType.LIMIT
    tif: ClassVar[TimeInForce] = TimeInForce.IOC
    min_qty: ClassVar[Decimal | None] = None


#: A venue order as planned: the intent that is durable before it is sent.
Leg = ChildOrder | TakingOrder


def units(leg: Leg, of: Decimal) -> Decimal:
    """How much a leg sends of an order of `of` units."""
    return leg.qty if leg.qty is not None else of


def limit(leg: Leg, of: Decimal | None) -> Decimal | None:
    """The price of a leg of an order whose limit is `of`; None at the market."""
    return of if leg.price is None and isinstance(leg, TakingOrder) else leg.price
