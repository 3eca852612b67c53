"""How packed orders are written: by columns, without what nearly all of them have in common.

Most orders are plain ones that venues have filled, and nothing else ever happened to them: a `ShortOrder`,
with a `ShortChild` and a `ShortExecution` for each of its own, says all there is to say of such an order. A
block has these as columns, first all orders' ids, then all accounts and so on. Any other order stands in the
block as it is. Which form a row takes depends on its values alone, to the last digit that is written: equal
histories give equal bytes.

A column that is the same in each line has one entry, and a column of texts is one text with a line for each.
What repeats most stands in a part of its own: the orders' ids, the executions' keys, and the orders that
stand as they are. It is worth being compressed, the rest is not.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from enum import EnumType
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import msgspec

from qtinfra.core.decimals import EXACT, ZERO
from qtinfra.core.extended_models import Execution, ExecutionState, Liquidity
from qtinfra.core.models import (
    Capacity,
    Child,
    ChildStatus,
    Order,
    OrderSide,
    OrderStatus,
    OrderType,
    Origin,
    TimeInForce,
)

_ORDER_FILLED = OrderStatus.FILLED
_CHILD_FILLED, _EXECUTION_LIVE = ChildStatus.FILLED, ExecutionState.LIVE
_multiply, _add = EXACT.multiply, EXACT.add


class Row(msgspec.Struct, array_like=True, gc=False):
    """One packed order; `client_ids` are those that name it, its own and its requests'."""

    order: Order
    children: list[Child]
    executions: list[Execution]
    client_ids: list[str]


class Leaving(NamedTuple):
    """Orders that are to be packed; the children and the executions of all of them, one after another; for
    each order the client ids that name it, None where that is its own and no other.
    """

    orders: list[Order]
    children: list[Child]
    executions: list[Execution]
    client_ids: list[list[str] | None]


class ShortOrder(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A plain order that is filled; `lasted_ns` is from its creation to its last change. What was executed,
    and for how much, follows from the executions; `children` and `executions` say how many there are.
    """

    order_id: str
    account: str
    cl_ord_id: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None
    capacity: Capacity
    trader: str
    origin: Origin
    created_ns: int
    lasted_ns: int
    version: int
    route_attempts: int
    children: int
    executions: int


class ShortChild(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A child that its venue has filled as it was sent; `cum` follows from its executions. `qty` is None of
    an only child that has its order's.
    """

    child_id: str
    venue: str
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal | None
    price: Decimal | None
    venue_order_id: str


class ShortExecution(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An execution that stands as it was reported; `child` counts the order's children from 0, `before_ns`
    the nanoseconds to the order's last change. `commission` is None where it is zero.
    """

    key: str
    exec_id: str
    child: int
    trade_date: str
    before_ns: int
    qty: Decimal
    px: Decimal
    liquidity: Liquidity
    fee: Decimal
    commission: Decimal | None


T = TypeVar("T")
#: The values of one line of a table.
Values = tuple[Any, ...]
#: A column as it is written, in one of several forms.
Written = Any

_ENCODER = msgspec.msgpack.Encoder()
_COLUMN = msgspec.msgpack.Decoder(str | list[Any])
_PARTS = msgspec.msgpack.Decoder(tuple[bytes, msgspec.Raw])
_OFTEN = msgspec.msgpack.Decoder(tuple[list[msgspec.Raw], list[msgspec.Raw], dict[int, Any]])
_TABLES = msgspec.msgpack.Decoder(tuple[list[msgspec.Raw], list[msgspec.Raw], list[msgspec.Raw]])
#: Level of zlib: what a higher one saves in memory it costs in time. No header and no checksum of its own:
#: the state's hash covers what is written.
_LEVEL, _RAW = 1, -zlib.MAX_WBITS


def write_block(leaving: Leaving) -> bytes:
    """The rows of a block as they are written. To be called under `core.decimals.exact()`."""
    _, sent, filled, client_ids = leaving
    orders: list[Values] = []
    children: list[Values] = []
    executions: list[Values] = []
    others: dict[int, Row] = {}
    child = item = 0
    for place, order in enumerate(leaving.orders):
        first_child, first_item, names = child, item, client_ids[place]
        child += len(order.children)
        item += len(order.executions)
        if (
            names is None
            and child - first_child == 1 == item - first_item
            and _shorten_usual(order, sent[first_child], filled[first_item], orders, children, executions)
        ):
            continue
        own, parts = sent[first_child:child], filled[first_item:item]
        if names is not None or not (
            (len(own) == len(parts) and _shorten_pairs(order, own, parts, orders, children, executions))
            or _shorten(order, own, parts, orders, children, executions)
        ):
            others[place] = Row(order, own, parts, [order.cl_ord_id] if names is None else names)
    of_orders, of_children = _columns(orders, _ORDER), _columns(children, _CHILD)
    of_executions = _columns(executions, _EXECUTION)
    often = _ENCODER.encode((of_orders[:1], of_executions[:1], others))
    return _ENCODER.encode((often, (of_orders[1:], of_children, of_executions[1:])))


def compressed(written: bytes, level: int = _LEVEL) -> bytes:
    """Rows as written, as a block is kept: a copy, since what an encoder gives keeps half as much again."""
    often, tables = _PARTS.decode(written)
    return bytes(memoryview(_ENCODER.encode((zlib.compress(often, level, _RAW), tables))))


def decompressed(block: bytes) -> bytes:
    """Inverse of `compressed`.

    Raises:
        msgspec.DecodeError, zlib.error: the bytes are no block.
    """
    often, tables = _PARTS.decode(block)
    return _ENCODER.encode((zlib.decompress(often, _RAW), tables))


# --- columns ---------------------------------------------------------------------------------------------


def _as_it_is(column: Sequence[Any]) -> Written:
    return column


def _text(column: Sequence[str]) -> Written:
    """One text, a line for each; the column itself if there are other line breaks."""
    text = "\n".join(column)
    return text if text.count("\n") == len(column) - 1 else column


def _alike(column: Sequence[Any]) -> Written:
    """One entry, if all are the same; numbers that are equal may be written in several ways."""
    first = column[0]
    return column[:1] if type(first) is not Decimal and column.count(first) == len(column) else column


def _alike_text(column: Sequence[str]) -> Written:
    return column[:1] if column.count(column[0]) == len(column) else _text(column)


def _lines(column: msgspec.Raw, size: int) -> list[Any]:
    """The column that was written, an entry for each line."""
    written: str | list[Any] = _COLUMN.decode(column)
    if isinstance(written, str):
        return written.split("\n")
    return written if len(written) == size else written * size


#: Numbers that often are the same in a whole block, or None.
_OFTEN_ALIKE = {"version", "route_attempts", "children", "executions", "child", "before_ns", "commission"}


def _writer(
    form: type[msgspec.Struct], field: msgspec.structs.FieldInfo
) -> Callable[[Sequence[Any]], Written]:
    """How the column of a field is written."""
    name, kind = field.name, field.type
    if isinstance(kind, EnumType) or name in ("venue", "trade_date"):
        return _alike_text
    if name in _OFTEN_ALIKE or (form, name) == (ShortChild, "qty"):
        return _alike
    return _text if kind is str else _as_it_is


_ORDER, _CHILD, _EXECUTION = (
    {field.name: _writer(form, field) for field in msgspec.structs.fields(form)}
    for form in (ShortOrder, ShortChild, ShortExecution)
)
#: Where an order's account and client id stand, in both of its forms.
_ACCOUNT, _CL_ORD_ID = 1, 2
#: Where a child's requests stand in the full form.
_REQUESTS = Child.__struct_fields__.index("requests")


def _columns(table: list[Values], writers: dict[str, Callable[[Sequence[Any]], Written]]) -> list[Written]:
    return [write(column) for write, column in zip(writers.values(), zip(*table, strict=True), strict=False)]


class Block:
    """The rows of one block, each restored when it is asked for.

    Args:
        written: what `write_block` gave.

    Raises:
        msgspec.DecodeError: foreign bytes.
    """

    __slots__ = ("_firsts", "_ids", "_others", "_places", "_tables", "_written")

    def __init__(self, written: bytes) -> None:
        often, tables = _PARTS.decode(written)
        ids, keys, self._others = _OFTEN.decode(often)
        orders, children, executions = _TABLES.decode(tables)
        orders = ids + orders
        self._written = orders, children, keys + executions
        self._ids: list[str] = _lines(orders[0], 0) if orders else []
        counts = [_lines(column, len(self._ids)) for column in orders[-2:]] or [[], []]
        self._firsts = [[0, *accumulate(each)] for each in counts]
        size = len(self._ids) + len(self._others)
        self._places = [place for place in range(size) if place not in self._others]
        self._tables: list[list[list[Any]]] = []

    def _column(self, table: int, place: int) -> list[Any]:
        """A column of the orders, 0, of the children, 1, or of the executions, 2."""
        columns = self._written[table]
        size = self._firsts[table - 1][-1] if table else len(self._ids)
        return _lines(columns[place], size) if columns else []

    def row(self, place: int) -> Row:
        """The row that stands at `place`, from 0: order, children and executions as they were."""
        other = self._others.get(place)
        if other is not None:
            return msgspec.convert(other, Row)
        if not self._tables:
            self._tables = [
                [self._column(table, place) for place in range(len(columns))]
                for table, columns in enumerate(self._written)
            ]
        orders, children, executions = self._tables
        number = bisect_left(self._places, place)
        order = _line(orders, number, ShortOrder)
        child, execution = (first[number] for first in self._firsts)
        sent = [_line(children, at, ShortChild) for at in range(child, child + order.children)]
        filled = [
            _line(executions, at, ShortExecution) for at in range(execution, execution + order.executions)
        ]
        return _restored(order, sent, filled)

    def __iter__(self) -> Iterator[Row]:
        return map(self.row, range(len(self._places) + len(self._others)))

    def of_order(self, order_id: str) -> int | None:
        """The place of an order's row, None if it is not here."""
        if order_id in self._ids:
            return self._places[self._ids.index(order_id)]
        for place, (order, *_) in self._others.items():
            if order[0] == order_id:
                return place
        return None

    def of_execution(self, key: str) -> int | None:
        """The place of the row that holds an execution, None if it is not here."""
        keys = self._column(2, 0)
        if key in keys:
            return self._places[bisect_right(self._firsts[1], keys.index(key)) - 1]
        for place, (_, _, executions, _) in self._others.items():
            if any(item[0] == key for item in executions):
                return place
        return None

    def of_client_id(self, account: str, cl_ord_id: str) -> int | None:
        """The place of the row of the order that a client id names, None if it is not here."""
        accounts, names = self._column(0, _ACCOUNT), self._column(0, _CL_ORD_ID)
        if cl_ord_id in names:
            for place, *own in zip(self._places, accounts, names, strict=True):
                if own == [account, cl_ord_id]:
                    return place
        for place, (order, _, _, others) in self._others.items():
            if order[_ACCOUNT] == account and cl_ord_id in others:
                return place
        return None

    def of_venue_id(self, venue_id: str) -> int | None:
        """The place of the row whose child has this id, or was asked something under it; None without one."""
        ids = self._column(1, 0)
        if venue_id in ids:
            return self._places[bisect_right(self._firsts[0], ids.index(venue_id)) - 1]
        for place, (_, children, *_) in self._others.items():
            for child in children:
                if venue_id == child[0] or venue_id in (child[_REQUESTS] or ()):
                    return place
        return None


def _line(table: list[list[Any]], number: int, form: type[T]) -> T:
    """One line of a table that is kept by columns."""
    return msgspec.convert([column[number] for column in table], form)


def _restored(short: ShortOrder, sent: list[ShortChild], filled: list[ShortExecution]) -> Row:
    """The row, executed as evolve counted it (`settle.count_in_order`)."""
    qty, price, created_ns = short.qty, short.price, short.created_ns
    children = [_child(short, child) for child in sent]
    executions, cum, notional = [], ZERO, ZERO
    for part in filled:
        child = children[part.child]
        item = _execution(short, child, part)
        executions.append(item)
        total = qty if not cum and item.qty == qty else _add(cum, item.qty)
        child.cum = total if child.cum is cum else _add(child.cum, item.qty)
        cum, notional = total, _add(notional, item.value) if notional else item.value
    order = Order(
        short.order_id, short.account, short.cl_ord_id, short.symbol, short.side,
        short.order_type, short.tif, qty, price, ZERO, short.capacity, short.trader,
        short.origin, created_ns, created_ns + short.lasted_ns, ZERO, qty, price, acked=True,
        cum_qty=cum, notional=notional, version=short.version, status=_ORDER_FILLED,
        route_attempts=short.route_attempts,
        children=tuple([child.child_id for child in children]),
        executions=tuple([item.key for item in executions]),
    )  # fmt: skip
    return Row(order, children, executions, [order.cl_ord_id])


def _child(of: ShortOrder, short: ShortChild) -> Child:
    """The child before its executions."""
    qty = of.qty if short.qty is None else short.qty
    return Child(
        short.child_id, of.order_id, short.venue, of.symbol, of.side, short.order_type, short.tif, qty,
        short.price, ZERO, short.child_id, ZERO, ZERO, _CHILD_FILLED, short.venue_order_id,
    )  # fmt: skip


def _execution(of: ShortOrder, child: Child, short: ShortExecution) -> Execution:
    qty, px = short.qty, short.px
    return Execution(
        short.key, short.exec_id, of.order_id, child.child_id, child.venue, short.trade_date,
        of.created_ns + of.lasted_ns - short.before_ns, qty, px, qty, px, _multiply(qty, px),
        short.liquidity, short.fee, commission=ZERO if short.commission is None else short.commission,
    )  # fmt: skip


# --- what may be left out --------------------------------------------------------------------------------
#
# Sums and products are left out where evolve's own arithmetic gives them again. All else is compared as it
# is written: 2 and 2.0 differ. Whether it is the same object is asked first, and without a call. Of an order
# that may be packed nothing pends or is in doubt (`packing.may_pack`), and whatever a venue was asked about a
# child stands under an id among its `requests`.


def _shorten_usual(
    order: Order,
    child: Child,
    item: Execution,
    orders: list[Values],
    children: list[Values],
    executions: list[Values],
) -> bool:
    """`_shorten` of a plain order with one child and one execution, whose numbers are the very objects that
    evolve has put there; any other is left to `_shorten`, which writes the same of equal ones.
    """
    zero, qty, price = ZERO, order.qty, order.price
    child_id, venue = child.child_id, child.venue
    filled, px, value = item.qty, item.px, item.value
    created_ns, updated_ns = order.created_ns, order.updated_ns
    if (
        order.status is not _ORDER_FILLED
        or not order.acked
        or order.closed is not None
        or order.special is not None
        or order.algo is not None
        or (order.amends or order.queued or order.refused_venues)
        or (order.done_for_day or order.suspended or order.stopped)
        or order.open_px is not None
        or order.submitted_qty is not qty
        or order.submitted_price is not price
        or order.cum_qty is not qty
        or order.unallocated is not zero
        or order.min_qty is not zero
        or order.reserved is not zero
        or order.open_value is not zero
        or order.day_base_cum is not zero
        or child.status is not _CHILD_FILLED
        or child.requests is not None
        or child.cl_ord_id is not child_id
        or child.qty is not qty
        or child.cum is not qty
        or child.leaves is not zero
        or child.min_qty is not zero
        or item.state is not _EXECUTION_LIVE
        or item.late
        or item.venue is not venue
        or item.reported_qty is not filled
        or item.reported_px is not px
        or item.commission is not zero
        or order.notional is not value
        or filled != qty
        or value != filled * px
    ):
        return False
    line: Values = (
        order.order_id, order.account, order.cl_ord_id, order.symbol, order.side, order.order_type,
        order.tif, qty, price, order.capacity, order.trader, order.origin, created_ns,
        updated_ns - created_ns, order.version, order.route_attempts, 1, 1,
    )  # fmt: skip
    orders.append(line)
    children.append((child_id, venue, child.order_type, child.tif, None, child.price, child.venue_order_id))
    line = (
        item.key, item.exec_id, 0, item.trade_date, updated_ns - item.ts_ns, filled, px, item.liquidity,
        item.fee, None,
    )  # fmt: skip
    executions.append(line)
    return True


def _shorten_pairs(
    order: Order,
    sent: list[Child],
    filled: list[Execution],
    orders: list[Values],
    children: list[Values],
    executions: list[Values],
) -> bool:
    """As `_shorten_usual`, for several children with one execution of each, in their order."""
    if len(sent) < 2 or not _plain(order):
        return False
    zero, updated_ns = ZERO, order.updated_ns
    cum = notional = zero
    parts: list[Values] = []
    items: list[Values] = []
    for place in range(len(sent)):
        child, item = sent[place], filled[place]
        child_id, venue, qty, px, value = child.child_id, child.venue, item.qty, item.px, item.value
        if (
            item.child_id is not child_id
            or child.status is not _CHILD_FILLED
            or child.requests is not None
            or child.cl_ord_id is not child_id
            or child.leaves is not zero
            or child.min_qty is not zero
            or item.state is not _EXECUTION_LIVE
            or item.late
            or item.venue is not venue
            or item.reported_qty is not qty
            or item.reported_px is not px
            or item.commission is not zero
            or child.cum != qty
            or value != qty * px
        ):
            return False
        cum, notional = cum + qty, notional + value
        parts.append(
            (child_id, venue, child.order_type, child.tif, child.qty, child.price, child.venue_order_id)
        )
        line: Values = (
            item.key, item.exec_id, place, item.trade_date, updated_ns - item.ts_ns, qty, px, item.liquidity,
            item.fee, None,
        )  # fmt: skip
        items.append(line)
    if order.cum_qty != cum or order.notional != notional:
        return False
    orders.append(_short_order(order))
    children += parts
    executions += items
    return True


def _shorten(
    order: Order,
    sent: list[Child],
    filled: list[Execution],
    orders: list[Values],
    children: list[Values],
    executions: list[Values],
) -> bool:
    """Add an order and all of its own to the tables, if the short forms say all of them."""
    if not _plain(order):
        return False
    parts: list[Values] = []
    for child in sent:
        part = _short_child(child, order)
        if part is None:
            return False
        parts.append(part)
    items = _short_executions(order, sent, filled)
    if len(items) < len(filled):
        return False
    orders.append(_short_order(order))
    children += parts
    executions += items
    return True


def _short_order(order: Order) -> Values:
    """The fields of a `ShortOrder`."""
    created_ns = order.created_ns
    return (
        order.order_id, order.account, order.cl_ord_id, order.symbol, order.side, order.order_type,
        order.tif, order.qty, order.price, order.capacity, order.trader, order.origin, created_ns,
        order.updated_ns - created_ns, order.version, order.route_attempts, len(order.children),
        len(order.executions),
    )  # fmt: skip


def _plain(order: Order) -> bool:
    qty, price, first, zero = order.qty, order.price, order.submitted_price, ZERO
    return (
        order.status is _ORDER_FILLED
        and order.acked
        and order.closed is None
        and order.special is None
        and order.algo is None
        and not (order.amends or order.queued or order.refused_venues)
        and not (order.done_for_day or order.suspended or order.stopped)
        and (order.submitted_qty is qty or not qty.compare_total(order.submitted_qty))
        and (first is price or not (first is None or price is None or price.compare_total(first)))
        and ((left := order.unallocated) is zero or not zero.compare_total(left))
        and ((least := order.min_qty) is zero or not zero.compare_total(least))
        and order.open_px is None
        and ((held := order.reserved) is zero or not zero.compare_total(held))
        and ((value := order.open_value) is zero or not zero.compare_total(value))
        and ((before := order.day_base_cum) is zero or not zero.compare_total(before))
    )


def _short_child(child: Child, order: Order) -> Values | None:
    """The fields of a `ShortChild`, if it says all of the child."""
    zero, name, qty, whole = ZERO, child.child_id, child.qty, order.qty
    if (
        child.status is not _CHILD_FILLED
        or child.requests is not None
        or child.cl_ord_id != name
        or ((left := child.leaves) is not zero and zero.compare_total(left))
        or ((least := child.min_qty) is not zero and zero.compare_total(least))
    ):
        return None
    told = len(order.children) == 1 and (qty is whole or not whole.compare_total(qty))
    own = None if told else qty
    return name, child.venue, child.order_type, child.tif, own, child.price, child.venue_order_id


def _short_execution(item: Execution, child: Child, place: int, changed_ns: int) -> Values | None:
    """The fields of a `ShortExecution`, if it says all of the execution."""
    qty, px, commission = item.qty, item.px, item.commission
    if (
        item.state is not _EXECUTION_LIVE
        or item.late
        or item.venue != child.venue
        or ((said := item.reported_qty) is not qty and qty.compare_total(said))
        or ((said := item.reported_px) is not px and px.compare_total(said))
        or item.value != qty * px
    ):
        return None
    return (
        item.key, item.exec_id, place, item.trade_date, changed_ns - item.ts_ns,
        qty, px, item.liquidity, item.fee,
        None if commission is ZERO or not ZERO.compare_total(commission) else commission,
    )  # fmt: skip


def _short_executions(order: Order, children: list[Child], executions: list[Execution]) -> list[Values]:
    """The fields of a `ShortExecution` for each of several; none if what was executed of the order and its
    children is not the sum of them.
    """
    changed_ns, names = order.updated_ns, order.children
    cums: dict[str, Decimal] = {}
    cum = notional = ZERO
    found: list[Values] = []
    for item in executions:
        child_id, qty, value = item.child_id, item.qty, item.value
        place = names.index(child_id)
        short = _short_execution(item, children[place], place, changed_ns)
        if short is None:
            return []
        cums[child_id] = cums[child_id] + qty if child_id in cums else qty
        cum = cum + qty if found else qty
        notional = notional + value if found else value
        found.append(short)
    if order.cum_qty != cum or order.notional != notional:
        return []
    for child in children:
        if cums.get(child.child_id, ZERO) != child.cum:
            return []
    return found
