"""Orders and positions of a running server as tables, and as facts for `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
#: What a terminal that is too narrow for all columns of an order goes without, in this order. Ids stay
#: whole in lists, since other commands ask for them; the live view shows how they end.
_LEFT_OUT = ("created", "average", "price", "filled")
_ID_END = 8
_UNBOUNDED = 10_000
#: Fields that `orders show` tells of where an order has them.
_SPECIAL = (
    "min_quantity",
    "stop_price",
    "trail_amount",
    "display_quantity",
    "peg",
    "expire_at",
    "locate_id",
    "self_match_id",
    "routing",
    "link",
    "list_id",
)
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


def picture_of(out: Console, picture: Picture) -> RenderableType:
    """Orders, positions, and the note if there is one, for this terminal."""
    parts: list[RenderableType] = [
        orders_table(out, picture.orders, whole_ids=False),
        positions_table(picture.positions),
    ]
    if picture.note:
        parts.append(Text(_clean(picture.note), style="yellow"))
    return Group(*parts)


def orders_table(out: Console, orders: Sequence[Order], *, whole_ids: bool = True) -> Table:
    """One line an order, with as many columns as the terminal has room for.

    Args:
        whole_ids: keep ids whole where there is no room for all columns.
    """
    unbounded = out.options.update(max_width=_UNBOUNDED)
    for ids, left_out in _widest_first(whole_ids):
        table = _orders(orders, left_out, whole_ids=ids)
        if out.measure(table, options=unbounded).maximum <= out.width:
            break
    return table


def _widest_first(whole_ids: bool) -> Iterator[tuple[bool, Sequence[str]]]:
    """Whether ids are whole, and the columns that are left out: everything first, then less and less."""
    yield True, ()
    for count in range(1 if whole_ids else 0, len(_LEFT_OUT) + 1):
        yield whole_ids, _LEFT_OUT[:count]


def _orders(orders: Iterable[Order], left_out: Sequence[str], *, whole_ids: bool) -> Table:
    rows = []
    for order in orders:
        rows.append(
            {
                "id": Text(_clean(order.id if whole_ids else order.id[-_ID_END:]), style=_QUIET),
                "status": Text(order.status.value, style=_TONES.get(order.status, "")),
                "symbol": Text(_clean(order.symbol)),
                "side": Text(order.side.value),
                "quantity": _number(order.quantity),
                "filled": _number(order.filled_quantity),
                "average": _rounded(order.average_price, 4),
                "price": _price(order),
                "created": Text(_moment(order.created_at), style=_QUIET),
            }
        )
    headings = ("id", "status", "symbol", "side", "quantity", "filled", "average", "price", "created")
    shown = [heading for heading in headings if heading not in left_out]
    table = _table(*shown)
    if not whole_ids:
        table.columns[0].header = "id ends"
    for row in rows:
        table.add_row(*(row[heading] for heading in shown))
    return table


def positions_table(positions: Iterable[Position]) -> Table:
    """One line a position, P&L in the instrument's currency; `--json` has the exact figures."""
    table = _table(
        "account", "symbol", "quantity", "avg cost", "mark", "realised", "unrealised", "fees", "ccy"
    )
    for position in positions:
        table.add_row(
            Text(_clean(position.account_id)),
            Text(_clean(position.symbol)),
            _number(position.quantity),
            _rounded(position.average_cost, 4),
            _rounded(position.mark_price, 4),
            _rounded(position.realised_pnl, 2),
            _rounded(position.unrealised_pnl, 2),
            _rounded(position.fees, 2),
            Text(_clean(position.currency)),
        )
    return table


def show_order(out: Console, order: OrderDetail) -> None:
    """An order, why it was refused if it was, its parts at venues, its executions."""
    out.print(orders_table(out, [order]))
    words = (
        f"account {order.account_id}  client id {order.client_order_id}  {order.order_type.value} "
        f"{order.time_in_force.value}  version {order.version}"
    )
    out.print(Text(_clean(words), style=_QUIET))
    if terms := _special_terms(order):
        out.print(Text(_clean(terms), style=_QUIET))
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
    "average",
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
        table.add_column(heading, justify=side, no_wrap=True)
    return table


def _number(value: Decimal | None, none: str = "") -> Text:
    """An exact number as it was given."""
    if value is None:
        return Text(none, style=_QUIET)
    return Text(plain(value), style="red" if value < 0 else "")


def _price(order: Order) -> Text:
    """The limit; where there is none, what sets the order off, or that it is a market order."""
    if order.price is not None:
        return _number(order.price)
    if order.stop_price is not None:
        return Text(f"stop {plain(order.stop_price)}", style=_QUIET)
    if order.trail_amount is not None:
        return Text(f"trail {plain(order.trail_amount)}", style=_QUIET)
    return Text(order.order_type.value.lower(), style=_QUIET)


def _special_terms(order: Order) -> str:
    """The terms that only some orders have, as their fields are called."""
    named = msgspec.to_builtins(order)
    terms = {name: named[name] for name in _SPECIAL if getattr(order, name)}
    return "  ".join(f"{name.replace('_', ' ')} {_term(value)}" for name, value in terms.items())


def _term(value: object) -> str:
    """A term of one value, or of several with their names."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)


def _rounded(value: Decimal | None, places: int) -> Text:
    """A figure that was reckoned, to so many decimals."""
    if value is None:
        return Text("")
    return Text(f"{value:,.{places}f}", style="red" if value < 0 else "")


def _moment(at: datetime) -> str:
    return at.strftime("%H:%M:%S")


def _clean(text: str) -> str:
    """Text of the server without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
