"""Lists from the read tables: orders, executions, positions, accounts, venues, instruments."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from qtinfra.api.deps import Caller, answer
from qtinfra.api.docs import listing
from qtinfra.api.terms import terms_view
from qtinfra.api.views import ExecutionView, OrderView, kept_decision, rfc3339, written
from qtinfra.core.security.permissions import Permission
from qtinfra.repository.base import Page
from qtinfra.repository.orders import EXECUTION_FIELDS, ORDER_FIELDS, POSITION_FIELDS
from qtinfra.repository.reference import ACCOUNT_FIELDS, INSTRUMENT_FIELDS, VENUE_FIELDS
from qtinfra.repository.rows import (
    AccountRow,
    ExecutionRow,
    InstrumentRow,
    OrderRow,
    PositionRow,
    VenueRow,
)

RowT = TypeVar("RowT")
router = APIRouter()


class OrderExecution(ExecutionView, frozen=True):
    """An execution in a list: with its order, account and symbol."""

    order_id: str
    account_id: str
    symbol: str
    side: str
    late: bool


class PositionView(msgspec.Struct, frozen=True):
    """What an account holds of an instrument; P&L under average cost in the instrument's currency.

    Attributes:
        mark_price: midpoint of the consolidated book now; null without one. `unrealised_pnl` is by it.
    """

    account_id: str
    symbol: str
    currency: str
    quantity: Decimal
    average_cost: Decimal
    realised_pnl: Decimal
    fees: Decimal
    mark_price: Decimal | None
    unrealised_pnl: Decimal | None
    updated_at: str


class AccountView(msgspec.Struct, frozen=True):
    """An account. Cash by currency, null where none was ever loaded."""

    account_id: str
    client: str
    base_currency: str
    desk: str
    firm: str
    enabled: bool
    frozen: bool
    cash: dict[str, Decimal] | None


class VenueView(msgspec.Struct, frozen=True):
    """A venue. Fees are per unit, negative for a rebate."""

    mic: str
    name: str
    currency: str
    status: str
    take_fee: Decimal
    make_fee: Decimal
    order_types: tuple[str, ...]
    time_in_force: tuple[str, ...]


class TickView(msgspec.Struct, frozen=True):
    """From this price upwards prices are multiples of the tick."""

    floor: Decimal
    tick: Decimal


class InstrumentView(msgspec.Struct, frozen=True):
    """A tradable instrument. `halted` is the reason of a halt, null while it trades."""

    symbol: str
    asset_class: str
    currency: str
    isin: str
    name: str
    lot_size: Decimal
    multiplier: Decimal
    listings: tuple[str, ...]
    ticks: list[TickView]
    halted: str | None
    reference_price: Decimal | None


def page(found: Page[Any], show: Callable[[Any], Any]) -> Response:
    """One page; `next_cursor` continues after it and is null on the last."""
    return answer(
        {
            "items": [show(row) for row in found.rows],
            "next_cursor": found.next_cursor,
            "limit": found.limit,
            "offset": found.offset,
        }
    )


@router.get("/orders", **listing("Orders", OrderView, ORDER_FIELDS))
async def orders(request: Request) -> Response:
    """Orders within the caller's accounts, the newest first unless sorted."""
    caller = Caller(request)
    scope, query = caller.scope(Permission.ORDERS_READ), caller.query(ORDER_FIELDS)
    await caller.reads_own_writes()
    return page(await caller.platform.readmodel.orders(query, scope), listed_order)


@router.get("/executions", **listing("Executions", OrderExecution, EXECUTION_FIELDS))
async def executions(request: Request) -> Response:
    """Executions within the caller's accounts, the newest first unless sorted."""
    caller = Caller(request)
    scope, query = caller.scope(Permission.ORDERS_READ), caller.query(EXECUTION_FIELDS)
    await caller.reads_own_writes()
    return page(await caller.platform.readmodel.executions(query, scope), listed_execution)


@router.get("/positions", **listing("Positions", PositionView, POSITION_FIELDS))
async def positions(request: Request) -> Response:
    """Positions within the caller's accounts, by account and symbol unless sorted."""
    caller = Caller(request)
    scope, query = caller.scope(Permission.POSITIONS_READ), caller.query(POSITION_FIELDS)
    await caller.reads_own_writes()
    found = await caller.platform.readmodel.positions(query, scope)

    def show(row: PositionRow) -> PositionView:
        book = caller.platform.book(row.symbol)
        return listed_position(row, book.mid() if book is not None else None)

    return page(found, show)


@router.get("/accounts", **listing("Accounts", AccountView, ACCOUNT_FIELDS))
async def accounts(request: Request) -> Response:
    """The accounts within the caller's reach."""
    caller = Caller(request)
    scope, query = caller.scope(Permission.ORDERS_READ), caller.query(ACCOUNT_FIELDS)
    await caller.reads_own_writes()
    return page(await caller.platform.readmodel.accounts(query, scope), _account)


@router.get("/venues", **listing("Venues", VenueView, VENUE_FIELDS))
async def venues(request: Request) -> Response:
    """Where orders may go."""
    caller = Caller(request)
    scope, query = caller.scope(Permission.REFERENCE_READ), caller.query(VENUE_FIELDS)
    await caller.reads_own_writes()
    return page(await caller.platform.readmodel.venues(query, scope), _venue)


@router.get("/instruments", **listing("Instruments", InstrumentView, INSTRUMENT_FIELDS))
async def instruments(request: Request) -> Response:
    """What can be traded."""
    caller = Caller(request)
    scope, query = caller.scope(Permission.REFERENCE_READ), caller.query(INSTRUMENT_FIELDS)
    await caller.reads_own_writes()
    return page(await caller.platform.readmodel.instruments(query, scope), _instrument)


def listed_order(row: OrderRow) -> OrderView:
    """An order as a list shows it."""
    return OrderView(
        row.order_id,
        row.status,
        row.symbol,
        row.side,
        row.qty,
        row.price,
        row.order_type,
        rfc3339(row.created_ns),
        kept_decision(row, row.venues[0]) if row.venues else None,
        row.cl_ord_id,
        row.account,
        row.tif,
        row.min_qty,
        row.capacity,
        row.trader,
        row.cum_qty,
        row.leaves_qty,
        row.avg_px if row.cum_qty else None,
        rfc3339(row.updated_ns),
        row.version,
        **terms_view(row.special, None),
    )


def listed_execution(row: ExecutionRow) -> OrderExecution:
    """An execution as a list shows it."""
    return OrderExecution(
        row.key,
        row.exec_id,
        row.venue,
        row.qty,
        row.px,
        row.fee,
        row.commission,
        row.liquidity,
        row.state,
        row.trade_date,
        rfc3339(row.ts_ns),
        row.order_id,
        row.account,
        row.symbol,
        row.side,
        row.late,
    )


def listed_position(row: PositionRow, mark: Decimal | None) -> PositionView:
    """A position as a list shows it, valued at `mark`."""
    unrealised = None if mark is None else (row.qty * mark - row.qty * row.avg_cost) * row.multiplier
    return PositionView(
        row.account,
        row.symbol,
        row.currency,
        row.qty,
        row.avg_cost,
        row.realised,
        row.fees,
        written(mark),
        written(unrealised),
        rfc3339(row.updated_ns),
    )


def _account(row: AccountRow) -> AccountView:
    cash = None if row.cash is None else {currency.value: amount for currency, amount in row.cash.items()}
    return AccountView(
        row.account, row.client, row.base_currency, row.desk, row.firm, row.enabled, row.frozen, cash
    )


def _venue(row: VenueRow) -> VenueView:
    return VenueView(
        row.mic,
        row.name,
        row.currency,
        row.status,
        row.take_fee,
        row.make_fee,
        row.order_types,
        row.time_in_force,
    )


def _instrument(row: InstrumentRow) -> InstrumentView:
    return InstrumentView(
        row.symbol,
        row.asset_class,
        row.currency,
        row.isin,
        row.name,
        row.lot_size,
        row.multiplier,
        row.listings,
        [TickView(band.floor, band.tick) for band in row.ticks],
        row.halted,
        row.reference_price,
    )
