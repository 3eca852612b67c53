"""How packed orders are written: by columns, without what nearly all of them have in common.

Most orders are plain ones that venues have filled, and nothing else ever happened to them: a `ShortOrder`,
with a `ShortChild` and a `ShortExecution` for each of its own, says all there is to say of such an order. A
block has these as columns, first all orders' ids, then all accounts and so on. Any other order stands in the
block as it is. Which form a row takes depends on its values alone, to the last digit that is written: equal
histories give equal bytes.

What repeats most stands in a part of its own: ids that count up, and the orders that stand as they are. It is
worth being compressed, the rest is not.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from enum import EnumType
from itertools import accumulate
from operator import sub
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
    """A child that its venue has filled as it was sent; `cum` follows from its executions."""

    child_id: str
    venue: str
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
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
#: The values of one row of a table, and a table by columns.
Values = tuple[Any, ...]
Columns = Sequence[Sequence[Any]]

#: Where the orders' column of `created_ns` stands.
_CREATED = ShortOrder.__struct_fields__.index("created_ns")
#: Where an order's account and client id stand, in both of its forms.
_ACCOUNT, _CL_ORD_ID = 1, 2
#: Where a child's `requests` stand.
_REQUESTS = Child.__struct_fields__.index("requests")


#: Columns of ids that count up, in each table.
_COUNTED = ("order_id",), ("child_id", "venue_order_id"), ("key", "exec_id")


def _places(form: type[msgspec.Struct], names: Iterable[str]) -> list[int]:
    return [form.__struct_fields__.index(name) for name in names]


def _often_alike(form: type[msgspec.Struct]) -> list[int]:
    """Which fields mostly have one value in a whole block: members of enumerations, the day of trading."""
    return [
        number
        for number, field in enumerate(msgspec.structs.fields(form))
        if isinstance(field.type, EnumType) or field.name == "trade_date"
    ]


_FORMS: tuple[type[msgspec.Struct], ...] = ShortOrder, ShortChild, ShortExecution
_ORDER_ALIKE, _CHILD_ALIKE, _EXECUTION_ALIKE = map(_often_alike, _FORMS)
#: Where the columns of `_COUNTED` stand, and where all others do.
_IDS = [_places(form, names) for form, names in zip(_FORMS, _COUNTED, strict=True)]
_REST = [
    [place for place in range(len(form.__struct_fields__)) if place not in ids]
    for form, ids in zip(_FORMS, _IDS, strict=True)
]
_ENCODER = msgspec.msgpack.Encoder()
_COLUMN = msgspec.msgpack.Decoder(list[Any])
_PARTS = msgspec.msgpack.Decoder(tuple[bytes, msgspec.Raw])
_ALIKE = msgspec.msgpack.Decoder(tuple[list[list[msgspec.Raw]], dict[int, Any]])
_TABLES = msgspec.msgpack.Decoder(list[list[msgspec.Raw]])
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
        if names is not None or not _plain(order):
            short = False
        elif child - first_child == 1 == item - first_item:
            short = _shorten_one(order, sent[first_child], filled[first_item], children, executions)
        else:
            own = sent[first_child:child], filled[first_item:item]
            short = _shorten_several(order, *own, children, executions)
        if short:
            orders.append(_short_order(order))
        else:
            names = [order.cl_ord_id] if names is None else names
            others[place] = Row(order, sent[first_child:child], filled[first_item:item], names)
    columns = _columns(orders, _ORDER_ALIKE)
    if columns:
        created = columns[_CREATED]
        columns[_CREATED] = (created[0], *map(sub, created[1:], created))
    tables = columns, _columns(children, _CHILD_ALIKE), _columns(executions, _EXECUTION_ALIKE)
    ids = [_chosen(table, places) for table, places in zip(tables, _IDS, strict=True)]
    rest = [_chosen(table, places) for table, places in zip(tables, _REST, strict=True)]
    return _ENCODER.encode((_ENCODER.encode((ids, others)), rest))


def _chosen(table: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [table[place] for place in places] if table else []


def compressed(written: bytes, level: int = _LEVEL) -> bytes:
    """Rows as written, as a block is kept."""
    alike, tables = _PARTS.decode(written)
    return _ENCODER.encode((zlib.compress(alike, level, _RAW), tables))


def decompressed(block: bytes) -> bytes:
    """Inverse of `compressed`.

    Raises:
        msgspec.DecodeError, zlib.error: the bytes are no block.
    """
    alike, tables = _PARTS.decode(block)
    return _ENCODER.encode((zlib.decompress(alike, _RAW), tables))


def _columns(table: list[Values], alike: Sequence[int]) -> list[Values]:
    """The table by columns; of those often alike, one that is the same in each line has one entry."""
    columns = [*zip(*table, strict=True)]
    for number in alike if columns else ():
        column = columns[number]
        if column.count(column[0]) == len(table):
            columns[number] = column[:1]
    return columns


def _merged(
    ids: list[msgspec.Raw], rest: list[msgspec.Raw], id_places: Sequence[int], rest_places: Sequence[int]
) -> list[msgspec.Raw]:
    """The columns of a table, in their places."""
    found = dict(zip(id_places, ids, strict=False)) | dict(zip(rest_places, rest, strict=False))
    return [found[place] for place in range(len(found))]


def _lengthened(columns: list[list[Any]]) -> list[list[Any]]:
    """The columns with an entry for each line."""
    size = len(columns[0]) if columns else 0
    return [column if len(column) == size else column * size for column in columns]


class Block:
    """The rows of one block, each restored when it is asked for.

    Args:
        written: what `write_block` gave.

    Raises:
        msgspec.DecodeError: foreign bytes.
    """

    __slots__ = ("_firsts", "_others", "_places", "_tables", "_written")

    def __init__(self, written: bytes) -> None:
        parts, tables = _PARTS.decode(written)
        ids, self._others = _ALIKE.decode(parts)
        self._written = [
            _merged(*table) for table in zip(ids, _TABLES.decode(tables), _IDS, _REST, strict=True)
        ]
        counts = [_COLUMN.decode(column) for column in self._written[0][-2:]] or [[], []]
        self._firsts = [[0, *accumulate(each)] for each in counts]
        size = len(counts[0]) + len(self._others)
        self._places = [place for place in range(size) if place not in self._others]
        self._tables: list[list[list[Any]]] = []

    def _ids(self, table: int) -> list[str]:
        """The ids of the orders, 0, of the children, 1, or of the executions, 2."""
        columns = self._written[table]
        return _COLUMN.decode(columns[0]) if columns else []

    def row(self, place: int) -> Row:
        """The row that stands at `place`, from 0: order, children and executions as they were."""
        other = self._others.get(place)
        if other is not None:
            return msgspec.convert(other, Row)
        if not self._tables:
            self._tables = [_lengthened([*map(_COLUMN.decode, table)]) for table in self._written]
            created = self._tables[0]
            created[_CREATED] = [*accumulate(created[_CREATED])]
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
        ids = self._ids(0)
        if order_id in ids:
            return self._places[ids.index(order_id)]
        for place, (order, *_) in self._others.items():
            if order[0] == order_id:
                return place
        return None

    def of_execution(self, key: str) -> int | None:
        """The place of the row that holds an execution, None if it is not here."""
        keys = self._ids(2)
        if key in keys:
            return self._places[bisect_right(self._firsts[1], keys.index(key)) - 1]
        for place, (_, _, executions, _) in self._others.items():
            if any(item[0] == key for item in executions):
                return place
        return None

    def of_client_id(self, account: str, cl_ord_id: str) -> int | None:
        """The place of the row of the order that a client id names, None if it is not here."""
        columns = self._written[0]
        accounts, names = (_COLUMN.decode(columns[at]) if columns else [] for at in (_ACCOUNT, _CL_ORD_ID))
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
        ids = self._ids(1)
        if venue_id in ids:
            return self._places[bisect_right(self._firsts[0], ids.index(venue_id)) - 1]
        for place, (_, children, *_) in self._others.items():
            for child in children:
                if venue_id == child[0] or venue_id in (child[_REQUESTS] or ()):
                    return place
        return None


def _line(table: Columns, number: int, form: type[T]) -> T:
    """One line of a table that is kept by columns."""
    return msgspec.convert([column[number] for column in table], form)


def _restored(short: ShortOrder, sent: list[ShortChild], filled: list[ShortExecution]) -> Row:
    children = [_child(short, child) for child in sent]
    executions, cum, notional = [], ZERO, ZERO
    for part in filled:
        child = children[part.child]
        item = _execution(short, child, part)
        executions.append(item)
        child.cum = _add(child.cum, item.qty)
        cum, notional = _add(cum, item.qty), _add(notional, item.value)
    qty, price, created_ns = short.qty, short.price, short.created_ns
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
    return Child(
        short.child_id, of.order_id, short.venue, of.symbol, of.side, short.order_type, short.tif, short.qty,
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


def _shorten_one(
    order: Order, child: Child, item: Execution, children: list[Values], executions: list[Values]
) -> bool:
    """Add a plain order's only child and execution to the tables, if the short forms say all of the three."""
    qty = item.qty
    notional, value = order.notional, item.value
    if order.cum_qty != qty or child.cum != qty or (notional is not value and notional != value):
        return False
    part, short = _short_child(child), _short_execution(item, child, 0, order.updated_ns)
    if part is None or short is None:
        return False
    children.append(part)
    executions.append(short)
    return True


def _shorten_several(
    order: Order,
    sent: list[Child],
    filled: list[Execution],
    children: list[Values],
    executions: list[Values],
) -> bool:
    """As `_shorten_one`, for any number of children and executions."""
    parts = [part for child in sent if (part := _short_child(child)) is not None]
    items = _short_executions(order, sent, filled)
    if len(parts) < len(sent) or len(items) < len(filled):
        return False
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


def _short_child(child: Child) -> Values | None:
    """The fields of a `ShortChild`, if it says all of the child."""
    zero, name = ZERO, child.child_id
    if (
        child.status is not _CHILD_FILLED
        or child.requests is not None
        or child.cl_ord_id != name
        or ((left := child.leaves) is not zero and zero.compare_total(left))
        or ((least := child.min_qty) is not zero and zero.compare_total(least))
    ):
        return None
    return name, child.venue, child.order_type, child.tif, child.qty, child.price, child.venue_order_id


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
    changed_ns, places = order.updated_ns, {child_id: place for place, child_id in enumerate(order.children)}
    cums = [ZERO] * len(children)
    cum = notional = ZERO
    found = []
    for item in executions:
        place, qty = places[item.child_id], item.qty
        short = _short_execution(item, children[place], place, changed_ns)
        if short is None:
            return []
        found.append(short)
        cums[place] += qty
        cum += qty
        notional += item.value
    summed = order.cum_qty == cum and order.notional == notional
    return found if summed and [child.cum for child in children] == cums else []
