"""What may be asked of the engine. Commands are imperative and frozen; whether they happen is decided."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Account, Instrument, KillScope, LimitRule, Venue, VenueStatus
from qtinfra.core.models import Capacity, Currency, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.reports import VenueReport


class Command(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of all commands. The tag carries the version once a type has a second one ("Name@2")."""


class SubmitOrder(Command, frozen=True, gc=False):
    """A new order. `cl_ord_id` is unique per account for ever."""

    account: str
    cl_ord_id: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None = None
    min_qty: Decimal = ZERO
    capacity: Capacity = Capacity.AGENCY
    trader: str = ""
    origin: Origin = Origin.CLIENT
    poss_resend: bool = False


class ReplaceOrder(Command, frozen=True, gc=False):
    """New total quantity and price for an order; None keeps what it has."""

    account: str
    cl_ord_id: str
    orig_cl_ord_id: str
    qty: Decimal | None = None
    price: Decimal | None = None
    origin: Origin = Origin.CLIENT


class CancelOrder(Command, frozen=True, gc=False):
    account: str
    cl_ord_id: str
    orig_cl_ord_id: str
    origin: Origin = Origin.CLIENT
    reason: str = ""


class OrderStatusRequest(Command, frozen=True, gc=False):
    """A read through the order path: it sees every command before it, and changes nothing."""

    account: str
    cl_ord_id: str


class MassCancel(Command, frozen=True, gc=False):
    """Cancel every open order of the account, or of one symbol in it."""

    account: str
    request_id: str
    symbol: str = ""
    origin: Origin = Origin.CLIENT


class RecordVenueReport(Command, frozen=True, gc=False):
    report: VenueReport


class TimerKind(StrEnum):
    """DAY_CLOSE ends the trading day at a venue; DAY_OPEN begins trading date `trade_date`."""

    DAY_CLOSE = "DAY_CLOSE"
    DAY_OPEN = "DAY_OPEN"


class TimerFired(Command, frozen=True, gc=False):
    """A scheduled moment came. `venue` empty means all venues; `trade_date` is ISO 8601."""

    kind: TimerKind
    trade_date: str
    venue: str = ""


class StartEpoch(Command, frozen=True, gc=False):
    """A new owner has taken the shard; every later record carries its epoch."""

    epoch: int
    owner: str = ""


class SetReference(Command, frozen=True, gc=False):
    """Reference data, journaled so that no later change of a file or library alters a replay."""

    instruments: tuple[Instrument, ...] = ()
    accounts: tuple[Account, ...] = ()
    venues: tuple[Venue, ...] = ()
    prices: tuple[tuple[str, Decimal], ...] = ()


class SetLimit(Command, frozen=True, gc=False):
    """Set one limit; `value` None removes it. "*" stands for every account or symbol.

    The value is a quantity (max_order_qty, position_limit), an amount in the instrument's currency
    (max_order_value) or a fraction of the reference price (price_collar: 0.1 is ten percent).
    """

    rule: LimitRule
    value: Decimal | None
    account: str = "*"
    symbol: str = "*"


class RestrictSymbol(Command, frozen=True, gc=False):
    """Put a symbol on an account's restricted list, or take it off. "*" is every account."""

    symbol: str
    account: str = "*"
    restricted: bool = True


class SetFxRate(Command, frozen=True, gc=False):
    """1 unit of `base` is worth `rate` units of `quote`."""

    base: Currency
    quote: Currency
    rate: Decimal


class HaltInstrument(Command, frozen=True, gc=False):
    symbol: str
    halted: bool
    reason: str = ""


class SetVenueStatus(Command, frozen=True, gc=False):
    """The link to a venue changed. `resumed_session`: connected again with nothing missed so far."""

    venue: str
    status: VenueStatus
    reason: str = ""


class EngageKillSwitch(Command, frozen=True, gc=False):
    """Refuse new flow in a scope at once and cancel what is open in it. FIRM ignores `value`."""

    scope: KillScope
    value: str = ""
    reason: str = ""


class ReleaseKillSwitch(Command, frozen=True, gc=False):
    scope: KillScope
    value: str = ""
    reason: str = ""


class ResolveUnknown(Command, frozen=True, gc=False):
    """A person's word on a child in doubt: the venue never had it, or it is gone. Executions still book."""

    child_id: str
    outcome: str
    reason: str = ""


class Unfreeze(Command, frozen=True, gc=False):
    """Let an order or account work again that our own fault had frozen."""

    subject: str
    reason: str = ""


AnyCommand = (
    SubmitOrder
    | ReplaceOrder
    | CancelOrder
    | OrderStatusRequest
    | MassCancel
    | RecordVenueReport
    | TimerFired
    | StartEpoch
    | SetReference
    | SetLimit
    | RestrictSymbol
    | SetFxRate
    | HaltInstrument
    | SetVenueStatus
    | EngageKillSwitch
    | ReleaseKillSwitch
    | ResolveUnknown
    | Unfreeze
)


class Inbound(msgspec.Struct, frozen=True, gc=False):
    """A command on its way in, with who asked and what it belongs to.

    Attributes:
        actor: who is responsible (an identity, "venue:XNAS", "timer", "staff:ann").
        correlation_id: joins everything that follows from one request.
        received_ns: when it reached us; `ts_ns` of its record is when it was decided.
    """

    command: AnyCommand
    actor: str = ""
    correlation_id: str = ""
    received_ns: int = 0
