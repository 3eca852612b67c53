"""The repositories of orders and of what belongs to them, each with its allow-list of fields."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from qtinfra.core.extended_models import ExecutionState, Liquidity
from qtinfra.core.models import Capacity, OrderSide, OrderStatus, OrderType, Origin, TimeInForce
from qtinfra.repository import tables
from qtinfra.repository.base import Repository
from qtinfra.repository.cursor import CursorCodec
from qtinfra.repository.query import Field, FieldSet, Kind, Scope
from qtinfra.repository.rows import ChildRow, ExecutionRow, HistoryRow, OrderDetail, OrderRow, PositionRow

#: Most children, executions and events that the detail of one order lists; lists of executions have pages.
MAX_DETAIL_ROWS = 5_000


def _choice(name: str, column: str, values: type[StrEnum]) -> Field:
    return Field(name, column, Kind.CHOICE, tuple(item.value for item in values))


def _number(name: str, column: str, *, optional: bool = False) -> Field:
    return Field(name, column, Kind.NUMBER, optional=optional)


ORDER_FIELDS = FieldSet(
    (
        Field("id", "order_id"),
        Field("account_id", "account"),
        Field("client_order_id", "cl_ord_id"),
        Field("original_client_order_id", "first_cl_ord_id"),
        Field("symbol", "symbol"),
        _choice("side", "side", OrderSide),
        _choice("order_type", "order_type", OrderType),
        _choice("time_in_force", "tif", TimeInForce),
        _choice("status", "status", OrderStatus),
        _choice("capacity", "capacity", Capacity),
        _choice("origin", "origin", Origin),
        Field("trader", "trader"),
        Field("algo", "algo"),
        Field("reason_code", "reason_code", sortable=False, optional=True),
        _number("quantity", "qty"),
        _number("price", "price", optional=True),
        _number("filled_quantity", "cum_qty"),
        _number("remaining_quantity", "leaves_qty"),
        _number("average_price", "avg_px"),
        Field("created_at", "created_ns", Kind.MOMENT),
        Field("updated_at", "updated_ns", Kind.MOMENT),
    ),
    default_sort="-created_at",
)

EXECUTION_FIELDS = FieldSet(
    (
        Field("id", "key"),
        Field("exec_id", "exec_id"),
        Field("order_id", "order_id"),
        Field("account_id", "account"),
        Field("symbol", "symbol"),
        _choice("side", "side", OrderSide),
        Field("venue", "venue"),
        Field("trade_date", "trade_date", Kind.DATE),
        _choice("liquidity", "liquidity", Liquidity),
        _choice("state", "state", ExecutionState),
        Field("late", "late", Kind.FLAG, sortable=False),
        _number("quantity", "qty"),
        _number("price", "px"),
        Field("executed_at", "ts_ns", Kind.MOMENT),
    ),
    default_sort="-executed_at",
)

POSITION_FIELDS = FieldSet(
    (
        Field("account_id", "account"),
        Field("symbol", "symbol"),
        Field("currency", "currency"),
        _number("quantity", "qty"),
        _number("average_cost", "avg_cost"),
        _number("realised_pnl", "realised"),
        Field("updated_at", "updated_ns", Kind.MOMENT),
    ),
    default_sort="account_id,symbol",
)

CHILD_FIELDS = FieldSet((Field("order_id", "order_id"), Field("venue", "venue")), default_sort="order_id")

HISTORY_FIELDS = FieldSet((Field("order_id", "order_id"), Field("kind", "kind")), default_sort="order_id")


class OrderRepository(Repository[OrderRow]):
    """Orders, and what became of each."""

    def __init__(self, engine: AsyncEngine, cursors: CursorCodec) -> None:
        super().__init__(engine, tables.orders, OrderRow, ORDER_FIELDS, cursors)
        self._children = Repository(engine, tables.children, ChildRow, CHILD_FIELDS, cursors)
        self._executions = ExecutionRepository(engine, cursors)
        self._history = Repository(engine, tables.history, HistoryRow, HISTORY_FIELDS, cursors)

    async def detail(self, order_id: str, scope: Scope) -> OrderDetail | None:
        """The order with its children, executions and events; None when there is none within the scope.

        Raises:
            DatabaseError: the database did not answer.
        """
        order = await self.get(order_id, scope=scope)
        if order is None:
            return None
        most = MAX_DETAIL_ROWS
        return OrderDetail(
            order,
            await self._children.of("order_id", order_id, scope, "number", most),
            await self._executions.of("order_id", order_id, scope, "ts_ns", most),
            await self._history.of("order_id", order_id, scope, "seq", most),
        )


class ExecutionRepository(Repository[ExecutionRow]):
    """Executions."""

    def __init__(self, engine: AsyncEngine, cursors: CursorCodec) -> None:
        super().__init__(engine, tables.executions, ExecutionRow, EXECUTION_FIELDS, cursors)


class PositionRepository(Repository[PositionRow]):
    """Positions, flat ones that have traded included."""

    def __init__(self, engine: AsyncEngine, cursors: CursorCodec) -> None:
        super().__init__(engine, tables.positions, PositionRow, POSITION_FIELDS, cursors)
