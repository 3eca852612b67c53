"""Orders and positions of a running server as tables, and as facts for `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from heapq import nlargest
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from qtinfra.client import Execution, Order, OrderDetail, Position, Update
from qtinfra.core.decimals import plain
from qtinfra.core.models import OrderStatus

_QUIET = "dim"
_ID_LENGTH = 36
#: The live view keeps the newest orders and no more.
_KEPT_ORDERS = 10_000
_TONES = {
    OrderStatus.FILLED: "green",
    OrderStatus.REJECTED: "yellow",
    OrderStatus.UNKNOWN: "magenta",
    OrderStatus.CANCELLED: "dim",
    OrderStatus.EXPIRED: "dim",
}


class Picture(msgspec.Struct, frozen=True):
    """What the live view shows."""

    orders: Sequence[Order] = ()
    positions: Sequence[Position] = ()
    note: str = ""

    def with_note(self, note: str) -> Picture:
        """The same picture with a note below."""
        return msgspec.structs.replace(self, note=note)


class Board:
    """Orders and positions as a stream tells them.

    Args:
        shown: how many of the newest orders the picture has.
    """

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._orders: dict[str, Order] = {}
        self._positions: dict[tuple[str, str], Position] = {}
        self._waits_for = {"orders", "positions"}

    @property
    def complete(self) -> bool:
        """Whether the snapshots are all there."""
        return not self._waits_for

    def take(self, news: Update) -> None:
        """Take in what the stream says."""
        if news.fresh:
            (self._orders if news.topic == "orders" else self._positions).clear()
        for record in news.records:
            if isinstance(record, Order):
                known = self._orders.get(record.id)
                if known is None or known.version <= record.version:
                    self._orders[record.id] = record
            elif isinstance(record, Position):
                self._positions[record.account_id, record.symbol] = record
        if news.complete:
            self._waits_for.discard(news.topic)
        if len(self._orders) > _KEPT_ORDERS:
            self._orders = {order.id: order for order in self._newest(_KEPT_ORDERS // 2)}

    def _newest(self, count: int) -> list[Order]:
        return nlargest(count, self._orders.values(), key=lambda order: (order.created_at, order.id))

    def picture(self) -> Picture:
        """The newest orders, and the positions by account and symbol."""
        return Picture(self._newest(self._shown), [self._positions[key] for key in sorted(self._positions)])


def facts(record: object) -> Any:
    """A record of the client as JSON-ready values, decimals and times as text."""
    return msgspec.to_builtins(record)


def picture_of(picture: Picture) -> RenderableType:
    """Orders, positions, and the note if there is one."""
    parts: list[RenderableType] = [orders_table(picture.orders), positions_table(picture.positions)]
    if picture.note:
        parts.append(Text(_clean(picture.note), style="yellow"))
    return Group(*parts)


def orders_table(orders: Iterable[Order]) -> Table:
    """One line an order; the id is whole, since the other commands ask for it."""
    table = _table("id", "status", "symbol", "side", "quantity", "filled", "price", "created")
    for order in orders:
        table.add_row(
            Text(_clean(order.id), style=_QUIET),
            Text(order.status.value, style=_TONES.get(order.status, "")),
            Text(_clean(order.symbol)),
            Text(order.side.value),
            _number(order.quantity),
            _number(order.filled_quantity),
            _number(order.price, none=order.order_type.value.lower()),
            Text(_moment(order.created_at), style=_QUIET),
        )
    return table


def positions_table(positions: Iterable[Position]) -> Table:
    """One line a position, P&L in the instrument's currency."""
    table = _table(
        "account", "symbol", "quantity", "avg cost", "mark", "realised", "unrealised", "fees", "ccy"
    )
    for position in positions:
        table.add_row(
            Text(_clean(position.account_id)),
            Text(_clean(position.symbol)),
            _number(position.quantity),
            _number(position.average_cost),
            _number(position.mark_price),
            _number(position.realised_pnl),
            _number(position.unrealised_pnl),
            _number(position.fees),
            Text(_clean(position.currency)),
        )
    return table


def show_order(out: Console, order: OrderDetail) -> None:
    """An order, why it was refused if it was, its parts at venues, its executions."""
    out.print(orders_table([order]))
    words = (
        f"account {order.account_id}  client id {order.client_order_id}  {order.order_type.value} "
        f"{order.time_in_force.value}  version {order.version}"
    )
    out.print(Text(_clean(words), style=_QUIET))
    if order.rejection is not None:
        refused = f"refused: {order.rejection.code}: {order.rejection.message}"
        out.print(Text(_clean(refused), style="yellow"))
    parts = _table("venue", "status", "quantity", "filled", "price", "venue's id")
    for child in order.children:
        parts.add_row(
            Text(_clean(child.venue)),
            Text(_clean(child.status)),
            _number(child.quantity),
            _number(child.filled_quantity),
            _number(child.price),
            Text(_clean(child.venue_order_id), style=_QUIET),
        )
    for table, rows in ((parts, order.children), (_executions(order.executions), order.executions)):
        if rows:
            out.print(table)


def _executions(executions: Iterable[Execution]) -> Table:
    table = _table("executed", "venue", "quantity", "price", "fee", "liquidity", "state")
    for item in executions:
        table.add_row(
            Text(_moment(item.executed_at), style=_QUIET),
            Text(_clean(item.venue)),
            _number(item.quantity),
            _number(item.price),
            _number(item.fee),
            Text(_clean(item.liquidity)),
            Text(_clean(item.state)),
        )
    return table


_RIGHT = (
    "quantity",
    "filled",
    "price",
    "fee",
    "fees",
    "avg cost",
    "mark",
    "realised",
    "unrealised",
)


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in headings:
        side: JustifyMethod = "right" if heading in _RIGHT else "left"
        width = _ID_LENGTH if heading == "id" else None
        table.add_column(heading, justify=side, no_wrap=True, min_width=width)
    return table


def _number(value: Decimal | None, none: str = "") -> Text:
    if value is None:
        return Text(none, style=_QUIET)
    return Text(plain(value), style="red" if value < 0 else "")


def _moment(at: datetime) -> str:
    return at.strftime("%H:%M:%S")


def _clean(text: str) -> str:
    """Text of the server without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
