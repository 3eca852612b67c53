"""What the API answers, as typed, frozen records. Numbers are exact decimals, times are UTC.

Members that the server adds later are passed over, so that an older client reads a newer server.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from qtinfra.core.models import OrderSide, OrderStatus, OrderType, TimeInForce
from qtinfra.core.special import Link, Peg

Row = TypeVar("Row")


class Page(msgspec.Struct, Generic[Row], frozen=True):
    """One page of a list; `next_cursor` asks for the one after it."""

    items: tuple[Row, ...]
    next_cursor: str | None = None


class RoutingDecision(msgspec.Struct, frozen=True):
    """Where most of an order went. Shares are None as long as nothing was measured."""

    selected_venue: str
    confidence_score: float | None = None
    expected_fill_rate: float | None = None


class PegTerms(msgspec.Struct, frozen=True):
    """What a pegged order follows; an offset above 0 is better (towards the own side)."""

    type: Peg
    offset: Decimal = Decimal(0)


class RoutingTerms(msgspec.Struct, frozen=True):
    """How an order asked to be routed; urgency is 0 to 1."""

    strategy: str
    urgency: Decimal


class Order(msgspec.Struct, frozen=True):
    """An order as the server sees it. `version` is for `replace` and `cancel`.

    `link` and `list_id` are of the list it came in; what it does not have is None or empty.
    """

    id: str
    status: OrderStatus
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal | None
    order_type: OrderType
    created_at: datetime
    client_order_id: str = ""
    account_id: str = ""
    time_in_force: TimeInForce = TimeInForce.DAY
    min_quantity: Decimal = Decimal(0)
    filled_quantity: Decimal = Decimal(0)
    remaining_quantity: Decimal = Decimal(0)
    average_price: Decimal | None = None
    updated_at: datetime | None = None
    version: int = 0
    routing_decision: RoutingDecision | None = None
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    display_quantity: Decimal | None = None
    peg: PegTerms | None = None
    expire_at: str = ""
    locate_id: str = ""
    self_match_id: str = ""
    do_not_reduce: bool = False
    do_not_increase: bool = False
    routing: RoutingTerms | None = None
    link: Link | None = None
    list_id: str = ""


class OrderList(msgspec.Struct, frozen=True):
    """Orders that hang together; a bracket's entry is the first."""

    link: Link
    list_id: str
    orders: tuple[Order, ...]


class Child(msgspec.Struct, frozen=True):
    """The part of an order at one venue."""

    id: str
    venue: str
    status: str
    quantity: Decimal
    price: Decimal | None = None
    filled_quantity: Decimal = Decimal(0)
    remaining_quantity: Decimal = Decimal(0)
    venue_order_id: str = ""


class Execution(msgspec.Struct, frozen=True):
    """One execution; quantity and price follow corrections. The order's members are empty inside an order."""

    id: str
    exec_id: str
    venue: str
    quantity: Decimal
    price: Decimal
    executed_at: datetime
    fee: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    liquidity: str = ""
    state: str = ""
    trade_date: str = ""
    order_id: str = ""
    account_id: str = ""
    symbol: str = ""
    side: OrderSide | None = None


class Rejection(msgspec.Struct, frozen=True):
    """Why an order was refused: the rule and its words."""

    code: str
    message: str


class OrderDetail(Order, frozen=True):
    """An order with its parts at venues, its executions, and why it was refused if it was."""

    children: tuple[Child, ...] = ()
    executions: tuple[Execution, ...] = ()
    rejection: Rejection | None = None


class Position(msgspec.Struct, frozen=True):
    """What an account holds of an instrument, in the instrument's currency; P&L under average cost.

    `mark_price` is the market's midpoint when asked; without one it and `unrealised_pnl` are None.
    """

    account_id: str
    symbol: str
    currency: str
    quantity: Decimal
    average_cost: Decimal
    realised_pnl: Decimal
    fees: Decimal
    updated_at: datetime
    mark_price: Decimal | None = None
    unrealised_pnl: Decimal | None = None


class Venue(msgspec.Struct, frozen=True):
    """A venue and how it is connected. Fees are per unit, negative for a rebate."""

    mic: str
    name: str
    currency: str
    status: str
    take_fee: Decimal = Decimal(0)
    make_fee: Decimal = Decimal(0)
    order_types: tuple[str, ...] = ()
    time_in_force: tuple[str, ...] = ()


class RouteLeg(msgspec.Struct, frozen=True):
    """One venue order of a plan."""

    venue: str
    quantity: Decimal
    price: Decimal | None
    order_type: OrderType
    time_in_force: TimeInForce


class RoutePreview(msgspec.Struct, frozen=True):
    """What an order would lead to now; nothing was sent.

    Attributes:
        reason: why the router chose so; None when the order would be held and not routed.
    """

    symbol: str
    side: OrderSide
    quantity: Decimal
    legs: tuple[RouteLeg, ...]
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None
    reason: str | None = None
    routing_decision: RoutingDecision | None = None


class Limit(msgspec.Struct, frozen=True):
    """One limit in force; `*` stands for every account or symbol. `version` counts its changes."""

    rule: str
    account_id: str
    symbol: str
    value: Decimal
    version: int = 0
    author: str = ""
    reason: str = ""


class Revocation(msgspec.Struct, frozen=True):
    """A token id, or all tokens of a subject from before a moment, that are refused until `expires_at`."""

    expires_at: datetime
    revoked_at: datetime
    token_id: str | None = None
    subject: str | None = None
    issued_before: datetime | None = None
    author: str = ""
    reason: str = ""


class Locate(msgspec.Struct, frozen=True):
    """Shares located for short sales of an account; `left` is what no short sale has taken."""

    locate_id: str
    account_id: str
    symbol: str
    quantity: Decimal
    left: Decimal
    source: str = ""
    trade_date: str = ""


class KillSwitch(msgspec.Struct, frozen=True):
    """A kill switch that is engaged."""

    scope: str
    value: str = ""
    reason: str = ""


class KillOutcome(msgspec.Struct, frozen=True):
    """What engaging or releasing led to, as order ids: those that are over, those whose venues were asked."""

    scope: str
    value: str
    engaged: bool
    cancelled: tuple[str, ...] = ()
    requested: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True):
    """Whether the server takes orders."""

    status: str
