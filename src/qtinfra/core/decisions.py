"""Results that pass between risk, router and engine. The router takes only `RiskApproved`."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import REJ_OTHER


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why something may not happen: the rule, the field it reads, its limit and what was observed."""

    code: str
    text: str
    field: str = ""
    limit: str = ""
    observed: str = ""
    fix_reason: int = REJ_OTHER


class RiskApproved(msgspec.Struct, frozen=True, gc=False):
    """A quantity of an order that every control has passed. Made by `risk.checks` only."""

    account: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal


class RiskRefused(msgspec.Struct, frozen=True, gc=False):
    refusal: Refusal


class RouteLeg(msgspec.Struct, frozen=True, gc=False):
    """One venue order to be."""

    venue: str
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    min_qty: Decimal


class RoutePlan(msgspec.Struct, frozen=True, gc=False):
    """Where an approved quantity goes. The legs' quantities sum to it; no legs means nowhere."""

    legs: tuple[RouteLeg, ...]
    reason: str
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None
