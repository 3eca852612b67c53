"""How packed orders are written: by columns, without what nearly all of them have in common.

Most orders are plain ones that venues have filled, and nothing else ever happened to them: a `ShortOrder`,
with a `ShortChild` and a `ShortExecution` for each of its own, says all there is to say of such an order. A
block has these as columns, first all orders' ids, then all accounts and so on. An order of one child and one
execution, each of its whole quantity, needs no more; how another is made up is `Several`. One that was
refused as it came is an order without children. Any order of which more is to be said stands in the block as
it is. Which form a row takes depends on its values alone, to the last digit that is written: equal histories
give equal bytes.

A column that is the same in each line has one entry, and a column of texts is one text with a line for each.
What ids have in common is written once, and times of creation count from the first of them. The orders that
stand as they are repeat themselves most: they are a part of their own, which is compressed, if there are
enough of them to be worth it; the rest is not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import EnumType
from typing import Any, NamedTuple, TypeVar

import msgspec

from qtinfra.core.decimals import EXACT, ZERO
from qtinfra.core.extended_models import Execution, ExecutionState
from qtinfra.core.models import (
    Child,
    ChildStatus,
    Order,
    OrderStatus,
)
from qtinfra.engine.invariants import invariant
from qtinfra.engine.rowshort import (
    AS_ORDERED,
    Several,
    ShortChild,
    ShortExecution,
    ShortOrder,
    ShortRows,
    price_is_same,
    shorten,
    shorten_pair,
)

_ORDER_FILLED, _ORDER_REJECTED = OrderStatus.FILLED, OrderStatus.REJECTED
_CHILD_FILLED, _EXECUTION_LIVE = ChildStatus.FILLED, ExecutionState.LIVE
_multiply, _add = EXACT.multiply, EXACT.add


class Row(msgspec.Struct, array_like=True, gc=False):
    """One packed order; `client_ids` are those that name it, its own and its requests'."""

    order: Order
    children: list[Child]
    executions: list[Execution]
    client_ids: list[str]


class Leaving(NamedTuple):
    """Orders that are to be packed; the children and the executions of all of them, one after another.

    `changed` is what `State.closing` says of each order, and true where other client ids than its own name
    it, or none does: `client_ids` has these by the order's place.
    """

    orders: list[Order]
    children: list[Child]
    executions: list[Execution]
    changed: list[bool]
    client_ids: Mapping[int, list[str]]


T = TypeVar("T")
#: A column as it is written, in one of several forms.
Written = Any


class _Parts(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A block: orders that stand as they are, and the columns, both as they are written."""

    others: bytes
    tables: bytes
    deflated: bool = False


_ENCODER = msgspec.msgpack.Encoder()
_PARTS = msgspec.msgpack.Decoder(_Parts)
_OTHERS = msgspec.msgpack.Decoder(dict[int, Any])
_TABLES = msgspec.msgpack.Decoder(
    tuple[
        tuple[str, str | list[str]],
        list[str | list[Any]],
        list[str | list[Any]],
        list[str | list[Any]],
        str | list[str],
        dict[int, Several],
        dict[int, Decimal],
    ]
)
#: Level of zlib: what a higher one saves in memory it costs in time. No header and no checksum of its own:
#: the state's hash covers what is written.
_LEVEL, _RAW = 1, -zlib.MAX_WBITS
#: So many bytes are worth being compressed: to begin costs as much as 600 of them.
_WORTH = 1_024


def write_block(leaving: Leaving) -> bytes:
    """The rows of a block as they are written. To be called under `core.decimals.exact()`.

    Raises:
        InvariantBrokenError: there are other children or executions than the orders have.
    """
    _, sent, filled, changed, client_ids = leaving
    zero, short = ZERO, ShortRows()
    orders, children, executions = short.orders, short.children, short.executions
    others: dict[int, Row] = {}
    child_at = item_at = 0
    for place, order in enumerate(leaving.orders):
        if not changed[place] and len(order.children) == 1:  # nothing else happened: mostly executed at once
            child, item, qty = sent[child_at], filled[item_at], order.qty
            venue, sent_qty, filled_qty = item.venue, child.qty, item.qty
            if (
                (sent_qty is qty or not qty.compare_total(sent_qty))
                and (filled_qty is qty or not qty.compare_total(filled_qty))
                and item.commission is zero
                and (child.venue is venue or child.venue == venue)
                and order.min_qty is zero
                and child.min_qty is zero
                and order.algo is None
                and not item.late
            ):
                created_ns, updated_ns = order.created_ns, order.updated_ns
                price, sent_px = order.price, child.price
                orders += (
                    order.order_id, order.account, order.cl_ord_id, order.symbol, order.side,
                    order.order_type, order.tif, qty, price, order.capacity, order.trader, order.origin,
                    created_ns, updated_ns - created_ns, order.version, order.route_attempts,
                )  # fmt: skip
                children += (
                    child.child_id, child.order_type, child.tif,
                    AS_ORDERED if sent_px is price or price_is_same(sent_px, price) else sent_px,
                    child.venue_order_id,
                )  # fmt: skip
                executions += (
                    item.key, item.exec_id, venue, item.trade_date, updated_ns - item.ts_ns, item.px,
                    item.liquidity, item.fee,
                )  # fmt: skip
                child_at += 1
                item_at += 1
                continue
        first_child, first_item = child_at, item_at
        child_at += len(order.children)
        item_at += len(order.executions)
        own, parts = sent[first_child:child_at], filled[first_item:item_at]
        number = place - len(others)
        if len(own) == 2 and not changed[place] and shorten_pair(order, own, parts, number, short):
            continue
        if place in client_ids or not shorten(order, own, parts, changed[place], number, short):
            others[place] = Row(order, own, parts, client_ids.get(place, [order.cl_ord_id]))
    invariant(child_at == len(sent) and item_at == len(filled), "orders leave with all of their own")
    encode = _ENCODER.encode
    return encode((encode(others) if others else b"", encode(_tables(short))))


def compressed(written: bytes, level: int = _LEVEL) -> bytes:
    """Rows as written, as a block is kept: a copy, since what an encoder gives keeps half as much again."""
    kept = _PARTS.decode(written)
    if len(kept.others) >= _WORTH:
        written = _ENCODER.encode(_Parts(zlib.compress(kept.others, level, _RAW), kept.tables, True))
    return bytes(memoryview(written))


def decompressed(block: bytes) -> bytes:
    """Inverse of `compressed`.

    Raises:
        msgspec.DecodeError, zlib.error: the bytes are no block.
    """
    kept = _PARTS.decode(block)
    return _ENCODER.encode((zlib.decompress(kept.others, _RAW), kept.tables)) if kept.deflated else block


# --- columns ---------------------------------------------------------------------------------------------


def _as_it_is(column: Sequence[Any]) -> Written:
    return column


def _own_text(column: Sequence[str]) -> Written:
    """One text, a line for each: ids that `core.ids` has made have no line breaks."""
    return "\n".join(column)


def _text(column: Sequence[str]) -> Written:
    """One text, a line for each; the column itself if there are other line breaks."""
    text = "\n".join(column)
    return text if text.count("\n") == len(column) - 1 else column


def _alike(column: Sequence[Any]) -> Written:
    """One entry, if all are the same."""
    return column[:1] if column.count(column[0]) == len(column) else column


def _alike_text(column: Sequence[str]) -> Written:
    return column[:1] if column.count(column[0]) == len(column) else _text(column)


def _as_ordered(column: Sequence[Any]) -> Written:
    """One entry, if all prices are their orders'. Others are not compared: 2 and 2.0 are equal and differ."""
    return column[:1] if column.count(AS_ORDERED) == len(column) else column


def _from_first(column: Sequence[int]) -> Written:
    """The first number, and by how much the others are larger."""
    first = column[0]
    return first, [number - first for number in column]


def _whole(column: Any) -> list[int]:
    """Inverse of `_from_first`; a column of whole numbers, as it was once written, stays."""
    first, larger = (0, column) if len(column) != 2 or isinstance(column[1], int) else column
    return [first + number for number in larger]


def _lines(column: str | list[Any], size: int) -> list[Any]:
    """A column that was written, an entry for each line."""
    if isinstance(column, str):
        return column.split("\n")
    return column if len(column) == size else column * size


def _entry(column: str | list[Any], line: int) -> Any:
    """One line's entry of a column that was written."""
    if isinstance(column, str):
        return column.split("\n", line + 1)[line]
    return column[line] if len(column) > 1 else column[0]


def _writer(form: type, field: msgspec.structs.FieldInfo) -> Callable[[Sequence[Any]], Written]:
    """How the column of a field is written."""
    name, kind = field.name, field.type
    if isinstance(kind, EnumType) or name in ("venue", "trade_date"):
        return _alike_text
    if name in ("version", "route_attempts", "before_ns"):
        return _alike
    if name == "child_id":
        return _own_text
    if name == "price" and form is ShortChild:
        return _as_ordered
    if name == "created_ns":
        return _from_first
    return _text if kind is str else _as_it_is


_ORDER, _CHILD, _EXECUTION = (
    [_writer(form, field) for field in msgspec.structs.fields(form)]
    for form in (ShortOrder, ShortChild, ShortExecution)
)
#: Where an execution's venue stands.
_VENUE = ShortExecution.__struct_fields__.index("venue")
#: Where an order's account and client id stand, in both of its forms.
_ACCOUNT, _CL_ORD_ID = 1, 2
#: Where the column of the times at which orders were created stands.
_CREATED = ShortOrder.__struct_fields__.index("created_ns") - 1
#: Where a child's requests stand in the full form.
_REQUESTS = Child.__struct_fields__.index("requests")
#: What order ids of so many sequences have in common is all but so many characters.
_TAIL = 4


def _tables(short: ShortRows) -> tuple[Written, ...]:
    """The columns of what is short, as `_TABLES` reads them."""
    orders, children, executions = short.orders, short.children, short.executions
    if not orders:
        return ("", ()), (), (), (), (), {}, {}
    written = _columns(executions, _EXECUTION, 1) if executions else []
    return (
        _cut(orders[:: len(_ORDER)]),
        _columns(orders, _ORDER, 1),
        _columns(children, _CHILD, 0) if children else [],
        written,
        _keys(executions, written) if executions else [],
        short.several,
        short.commissions,
    )


def _columns(flat: list[Any], writers: list[Callable[[Sequence[Any]], Written]], first: int) -> list[Written]:
    """The columns from the one at `first` on of a table whose lines stand one after another."""
    width = len(writers)
    return [writers[at](flat[at::width]) for at in range(first, width)]


def _keys(executions: list[Any], written: list[Written]) -> Written:
    """The keys of executions: what stands between venue and own id in all of them, or else the keys."""
    width, of_ids, of_venues = len(_EXECUTION), written[0], written[_VENUE - 1]
    keys, exec_ids, venues = executions[::width], executions[1::width], executions[_VENUE::width]
    plain = isinstance(of_ids, str) and (isinstance(of_venues, str) or "\n" not in venues[0])
    return (plain and _middle(keys, exec_ids, venues)) or keys


def _cut(ids: list[str]) -> tuple[str, Written]:
    """What all order ids begin with, but for their last characters, and these: first the first of each id,
    then the second of each and so on. Nothing and the ids as they are, if they differ in length or head.
    """
    text, width, size = "\n".join([*ids, ""]), len(ids[0]), len(ids)
    head, step = ids[0][:-_TAIL], width + 1
    if not head or text[width::step] != "\n" * size or len(text) != step * size:
        return "", ids
    ordered = sorted(ids)
    if not (ordered[0].startswith(head) and ordered[-1].startswith(head)):
        return "", ids
    return head, "".join([text[at::step] for at in range(width - _TAIL, width)])


def _uncut(head: str, tails: str | list[str]) -> list[str]:
    """Inverse of `_cut`."""
    if isinstance(tails, list):
        return tails
    size = len(tails) // _TAIL
    parts = [tails[at : at + size] for at in range(0, len(tails), size or 1)]
    return [head + "".join(tail) for tail in zip(*parts, strict=True)]


def _middle(keys: list[str], exec_ids: list[str], venues: list[str]) -> str:
    """What stands between the venue and its own id in all keys of executions; nothing, if that is not all
    there is to each of them. None of the venues and of their ids has line breaks.
    """
    middle = keys[0].removeprefix(venues[0]).removesuffix(exec_ids[0])
    parts = ["", middle, "", "\n"] * len(keys)
    parts[::4], parts[2::4] = venues, exec_ids
    return middle if "\n" not in middle and "".join(parts) == "\n".join([*keys, ""]) else ""


class Block:
    """The rows of one block, each restored when it is asked for.

    Args:
        written: what `write_block` gave.

    Raises:
        msgspec.DecodeError: foreign bytes.
    """

    __slots__ = ("_commissions", "_ids", "_keys", "_others", "_several", "_sizes", "_tables")

    def __init__(self, written: bytes) -> None:
        parts = _PARTS.decode(written)
        self._others: dict[int, Any] = _OTHERS.decode(parts.others) if parts.others else {}
        ids, *self._tables, self._keys, self._several, self._commissions = _TABLES.decode(parts.tables)
        self._ids = _uncut(*ids)
        if self._ids:
            self._tables[0][_CREATED] = _whole(self._tables[0][_CREATED])
        made = self._several.items()
        self._sizes = (
            {number: len(one.children) for number, one in made},
            {number: len(one.executions) for number, one in made},
        )

    def _column(self, table: int, place: int) -> list[Any]:
        """A column of the orders, 0, of the children, 1, or of the executions, 2, an entry for each line; the
        ids of orders and the keys of executions are not among them.
        """
        columns, size = self._tables[table], len(self._ids)
        if table:
            size += sum(self._sizes[table - 1].values()) - len(self._several)
        return _lines(columns[place], size) if columns else []

    def _key(self, line: int) -> str:
        """The key of an execution."""
        if isinstance(self._keys, list):
            return self._keys[line]
        exec_ids, venues = self._tables[2][0], self._tables[2][_VENUE - 1]
        return f"{_entry(venues, line)}{self._keys}{_entry(exec_ids, line)}"

    def _place(self, number: int) -> int:
        """The place of the row of a short order."""
        for other in self._others:
            if other > number:
                break
            number += 1
        return number

    def row(self, place: int) -> Row:
        """The row that stands at `place`, from 0: order, children and executions as they were."""
        other = self._others.get(place)
        if other is not None:
            return msgspec.convert(other, Row)
        number = place - sum([other < place for other in self._others])
        of_children, of_executions = (_lines_of(number, sizes) for sizes in self._sizes)
        orders, children, executions = self._tables
        return _restored(
            _line(ShortOrder, orders, number, self._ids[number]),
            [_line(ShortChild, children, at) for at in of_children],
            [_line(ShortExecution, executions, at, self._key(at)) for at in of_executions],
            [self._commissions.get(at, ZERO) for at in of_executions],
            self._several.get(number),
        )

    def __iter__(self) -> Iterator[Row]:
        self._tables = [
            [self._column(table, place) for place in range(len(columns))]
            for table, columns in enumerate(self._tables)
        ]
        return map(self.row, range(len(self._ids) + len(self._others)))

    def of_order(self, order_id: str) -> int | None:
        """The place of an order's row, None if it is not here."""
        if order_id in self._ids:
            return self._place(self._ids.index(order_id))
        for place, (order, *_) in self._others.items():
            if order[0] == order_id:
                return place
        return None

    def of_execution(self, key: str) -> int | None:
        """The place of the row that holds an execution, None if it is not here."""
        line = self._line_of(key)
        if line is not None:
            return self._place(_number_of(line, self._sizes[1]))
        for place, (_, _, executions, _) in self._others.items():
            if any(item[0] == key for item in executions):
                return place
        return None

    def _line_of(self, key: str) -> int | None:
        """The line of an execution among those of short orders, None if it is not there."""
        if isinstance(self._keys, list):
            return self._keys.index(key) if key in self._keys else None
        ends = [line for line, exec_id in enumerate(self._column(2, 0)) if key.endswith(exec_id)]
        return next((line for line in ends if self._key(line) == key), None)

    def of_client_id(self, account: str, cl_ord_id: str) -> int | None:
        """The place of the row of the order that a client id names, None if it is not here."""
        accounts, names = self._column(0, _ACCOUNT - 1), self._column(0, _CL_ORD_ID - 1)
        if cl_ord_id in names:
            for number, own in enumerate(zip(accounts, names, strict=True)):
                if own == (account, cl_ord_id):
                    return self._place(number)
        for place, (order, _, _, others) in self._others.items():
            if order[_ACCOUNT] == account and cl_ord_id in others:
                return place
        return None

    def of_venue_id(self, venue_id: str) -> int | None:
        """The place of the row whose child has this id, or was asked something under it; None without one."""
        ids = self._column(1, 0)
        if venue_id in ids:
            return self._place(_number_of(ids.index(venue_id), self._sizes[0]))
        for place, (_, children, *_) in self._others.items():
            for child in children:
                if venue_id == child[0] or venue_id in (child[_REQUESTS] or ()):
                    return place
        return None


def _lines_of(number: int, sizes: dict[int, int]) -> range:
    """The lines of a short order in a table of which each order has one, but for those with these sizes."""
    first = number + sum([size - 1 for other, size in sizes.items() if other < number])
    return range(first, first + sizes.get(number, 1))


def _number_of(line: int, sizes: dict[int, int]) -> int:
    """The number of the short order that a line belongs to."""
    for number, size in sizes.items():
        if line < number + size:
            return min(line, number)
        line -= size - 1
    return line


def _line(form: type[T], columns: list[str | list[Any]], line: int, *first: str) -> T:
    """One line of a table that is kept by columns, `first` before them."""
    return msgspec.convert([*first, *[_entry(column, line) for column in columns]], form)


def _restored(
    short: ShortOrder,
    sent: list[ShortChild],
    filled: list[ShortExecution],
    commissions: list[Decimal],
    several: Several | None,
) -> Row:
    """The row, executed as evolve counted it (`settle.count_in_order`)."""
    qty, price, created_ns = short.qty, short.price, short.created_ns
    made = Several([qty], [qty], None) if several is None else several
    if not made.children:
        return _refused(short)
    children = [_child(short, child, size) for child, size in zip(sent, made.children, strict=True)]
    places = range(len(sent)) if made.places is None else made.places
    executions, cum, notional = [], ZERO, ZERO
    for part, size, commission, at in zip(filled, made.executions, commissions, places, strict=True):
        child = children[at]
        child.venue = part.venue
        item = _execution(short, child, part, size, commission)
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


def _refused(short: ShortOrder) -> Row:
    """The row of an order that was refused as it came."""
    qty, price, created_ns = short.qty, short.price, short.created_ns
    order = Order(
        short.order_id, short.account, short.cl_ord_id, short.symbol, short.side,
        short.order_type, short.tif, qty, price, ZERO, short.capacity, short.trader,
        short.origin, created_ns, created_ns + short.lasted_ns, ZERO, qty, price,
        version=short.version, status=_ORDER_REJECTED, route_attempts=short.route_attempts,
        closed=_ORDER_REJECTED,
    )  # fmt: skip
    return Row(order, [], [], [order.cl_ord_id])


def _child(of: ShortOrder, short: ShortChild, qty: Decimal) -> Child:
    """The child before its executions, which name its venue."""
    price = of.price if isinstance(short.price, tuple) else short.price
    return Child(
        short.child_id, of.order_id, "", of.symbol, of.side, short.order_type, short.tif, qty, price, ZERO,
        short.child_id, ZERO, ZERO, _CHILD_FILLED, short.venue_order_id,
    )  # fmt: skip


def _execution(
    of: ShortOrder, child: Child, short: ShortExecution, qty: Decimal, commission: Decimal
) -> Execution:
    px = short.px
    return Execution(
        short.key, short.exec_id, of.order_id, child.child_id, child.venue, short.trade_date,
        of.created_ns + of.lasted_ns - short.before_ns, qty, px, qty, px, _multiply(qty, px),
        short.liquidity, short.fee, commission=commission,
    )  # fmt: skip
