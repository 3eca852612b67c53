"""The short form of a packed order says all there is to say of it, or is not used."""

from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.ids import order_id
from qtinfra.core.models import Amend, Order, OrderStatus, Origin, QueuedReplace
from qtinfra.core.special import SpecialTerms
from qtinfra.engine import rowform, rowshort
from qtinfra.engine.archive import Packing
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import Kernel, replay
from qtinfra.engine.rowform import Block, Leaving, Row, compressed, decompressed, write_block
from qtinfra.engine.state import State
from tests.support.builders import Desk

pytestmark = pytest.mark.unit

_ENCODE = msgspec.msgpack.Encoder().encode
_ROWS = msgspec.msgpack.Decoder(list[Row]).decode
#: What a child and an execution say of their order, and an order of its children: fixed when they are made.
#: And what can only be so of an order that is not packed, or of a child that has requests.
_TIES = {
    "Child": {"child_id", "order_id", "symbol", "side", "cancel_id", "replace_id", "replace_qty"},
    "Execution": {"key", "order_id", "child_id"},
    "Order": {"order_id", "symbol", "side", "children", "executions", "unknown_children"},
}


def filled_rows() -> list[Row]:
    """Rows of plain orders, filled at once and in parts."""
    desk = Desk(checked=False)
    desk.kernel = Kernel(State(packing=Packing(keep=0, block=1)))
    for entry in desk.entries:
        replay(desk.state, entry)
    for name, parts in (("X", ("100",)), ("Y", ("30", "70")), ("Z", ("0.50", "99.5"))):
        desk.working(name)
        for part in parts:
            desk.fill(desk.child(name), part, "50.10", liquidity=Liquidity.REMOVED)
    return list(desk.state.tables.archive.all_rows())


def leaving(*rows: Row) -> Leaving:
    named = {
        place: row.client_ids for place, row in enumerate(rows) if row.client_ids != [row.order.cl_ord_id]
    }
    return Leaving(
        [row.order for row in rows],
        [child for row in rows for child in row.children],
        [item for row in rows for item in row.executions],
        [True] * len(rows),
        named,
    )


def written(*rows: Row) -> bytes:
    """The block; equal rows that are other objects, so that the general way is taken, give the same."""
    block = write_block(leaving(*rows))
    assert write_block(leaving(*_ROWS(_ENCODE(rows)))) == block
    return block


def restored(*rows: Row) -> list[Row]:
    return list(Block(written(*rows)))


def is_short(row: Row) -> bool:
    others, _ = msgspec.msgpack.decode(written(row))
    return not others


def test_a_plain_filled_order_takes_the_short_form_and_comes_back_as_it_was() -> None:
    rows = filled_rows()
    assert [row.order.cl_ord_id for row in rows] == ["X", "Y", "Z"]
    for row in rows:
        assert is_short(row)
        assert _ENCODE(restored(row)) == _ENCODE([row])
        assert len(write_block(leaving(row))) < 0.7 * len(_ENCODE(row))


def test_the_usual_orders_take_the_short_ways_and_equal_ones_the_general_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    general = rowshort.shorten

    def noted(order: Order, *args: Any) -> bool:
        asked.append(order.cl_ord_id)
        return general(order, *args)

    waiting = left_of_desk()
    again = [*filled_rows(), twofold(filled_rows()[0])]
    monkeypatch.setattr(rowform, "shorten", noted)
    block = write_block(waiting)
    assert asked == ["Y", "Z"], "a child of these was executed in two parts"
    asked.clear()
    assert write_block(waiting._replace(changed=[True] * 3)) == block
    assert asked == ["X", "Y", "Z"]
    asked.clear()
    block = write_block(leaving(*again))
    assert write_block(leaving(*_ROWS(_ENCODE(again)))) == block
    assert asked == ["X", "Y", "Z", "X"] * 2


def left_of_desk() -> Leaving:
    """The orders of `filled_rows` as they leave the tables."""
    desk = Desk()
    for name, parts in (("X", ("100",)), ("Y", ("30", "70")), ("Z", ("0.50", "99.5"))):
        desk.working(name)
        for part in parts:
            desk.fill(desk.child(name), part, "50.10", liquidity=Liquidity.REMOVED)
    tables = desk.state.tables
    return tables.leave([*tables.orders.live()])[0]


def whole(**fields: Any) -> Leaving:
    """An order that was filled at once, as it leaves, with another value in one of its parts."""
    found = left_of_desk()
    parts = found.orders[0], found.children[0], found.executions[0]
    for name, value in fields.items():
        part = next(part for part in parts if name in part.__struct_fields__)
        setattr(part, name, value)
    return Leaving([parts[0]], [parts[1]], [parts[2]], [False], {})


#: What may be so of an order to which nothing else happened.
USUAL_FIELDS = [
    ("algo", AlgoTerms("TWAP", 0, 1)),
    ("min_qty", Decimal(1)),
    ("min_qty", Decimal("0.0")),
    ("account", "a\nb"),
    ("route_attempts", 7),
    ("venue_order_id", ""),
    ("exec_id", "other"),
    ("late", True),
    ("commission", Decimal("0.1")),
    ("commission", Decimal("0.0")),
    ("fee", Decimal("-0.10")),
    ("trade_date", "2024-01-09"),
]


@pytest.mark.parametrize(("name", "value"), USUAL_FIELDS)
def test_what_may_still_be_so_of_an_order_filled_at_once_is_asked_or_written(name: str, value: Any) -> None:
    found = whole(**{name: value})
    block = write_block(found)
    assert write_block(found._replace(changed=[True])) == block
    (row,) = Block(block)
    assert _ENCODE((row.order, row.children, row.executions)) == _ENCODE(
        (found.orders[0], found.children, found.executions)
    )


def of_two(**fields: Any) -> Leaving:
    """An order that two venues filled, as it leaves, with another value in it or the last of its parts."""
    row = twofold(filled_rows()[0])
    (one, other), (first, last) = row.children, row.executions
    one.qty, other.qty, first.qty, last.qty = Decimal(40), Decimal(160), Decimal(40), Decimal(160)
    one.cum, other.cum, first.reported_qty, last.reported_qty = one.qty, other.qty, first.qty, last.qty
    first.value, last.value = first.qty * first.px, last.qty * last.px
    first.ts_ns -= 7
    for name, value in fields.items():
        part = next(part for part in (row.order, other, last) if name in part.__struct_fields__)
        setattr(part, name, value)
    return Leaving([row.order], row.children, row.executions, [False], {})


@pytest.mark.parametrize(("name", "value"), USUAL_FIELDS)
def test_what_may_still_be_so_of_an_order_that_two_venues_filled_is_asked_or_written(
    name: str, value: Any
) -> None:
    found = of_two(**{name: value})
    block = write_block(found)
    assert write_block(found._replace(changed=[True])) == block
    (row,) = Block(block)
    assert _ENCODE((row.order, row.children, row.executions)) == _ENCODE(
        (found.orders[0], found.children, found.executions)
    )


def in_turn_of_the_other() -> Leaving:
    found = of_two()
    found.executions.reverse()
    found.orders[0].executions = found.orders[0].executions[::-1]
    return found


def in_parts() -> Leaving:
    """The second child was executed in two parts."""
    found = of_two()
    order, last = found.orders[0], found.executions[1]
    third = msgspec.structs.replace(last, key="C")
    for part in (last, third):
        part.qty = part.reported_qty = Decimal(80)
        part.value = part.qty * part.px
    found.executions.append(third)
    order.executions += ("C",)
    return found


@pytest.mark.parametrize(
    ("made", "asked"),
    [(of_two, 0), (in_turn_of_the_other, 1), (in_parts, 1), (lambda: of_two(venue="EDGX"), 1)],
)
def test_two_children_executed_one_after_the_other_take_a_short_way(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[], Leaving], asked: int
) -> None:
    calls: list[str] = []
    general = rowshort.shorten

    def noted(order: Order, *args: Any) -> bool:
        calls.append(order.order_id)
        return general(order, *args)

    found = made()
    monkeypatch.setattr(rowform, "shorten", noted)
    block = write_block(found)
    assert len(calls) == asked
    assert write_block(found._replace(changed=[True])) == block
    (row,) = Block(block)
    assert _ENCODE((row.order, row.children, row.executions)) == _ENCODE(
        (found.orders[0], found.children, found.executions)
    )


@pytest.mark.parametrize("size", ["100", "100.0", "1E+2"])
def test_an_order_filled_at_once_takes_the_short_way_if_its_sizes_are_other_objects(
    monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    found = left_of_desk()
    child, item = found.children[0], found.executions[0]
    child.qty, item.qty = Decimal(size), Decimal(size)
    one = Leaving(found.orders[:1], [child], [item], [False], {})
    calls: list[int] = []
    general = rowshort.shorten

    def noted(*args: Any) -> bool:
        calls.append(1)
        return general(*args)

    monkeypatch.setattr(rowform, "shorten", noted)
    block = write_block(one)
    assert len(calls) == (size != "100"), "2 and 2.0 differ"
    item.reported_qty = item.qty
    item.value = item.qty * item.px
    one.orders[0].notional = item.value
    assert write_block(one._replace(changed=[True])) == block
    (row,) = Block(block)
    assert _ENCODE((row.children[0].qty, row.executions[0].qty)) == _ENCODE((child.qty, item.qty))


#: What else may be so of an order, beside numbers, texts and flags.
_SET_BY_NAME: list[tuple[str, Any]] = [
    ("amends", [Amend("C", "X", cancel=True)]),
    ("refused_venues", ["XNYS"]),
    ("closed", OrderStatus.FILLED),
    ("open_px", Decimal("50.10")),
    ("special", SpecialTerms()),
    ("algo", AlgoTerms("TWAP", 0, 1)),
    ("queued", [QueuedReplace("R", "X", Decimal(50), None, Origin.CLIENT)]),
]


def refused_row() -> Row:
    """An order that was refused as it came."""
    desk = Desk(checked=False)
    desk.kernel = Kernel(State(packing=Packing(keep=0, block=1)))
    for entry in desk.entries:
        replay(desk.state, entry)
    desk.new("R", 0)
    (row,) = desk.state.tables.archive.all_rows()
    assert row.order.status is OrderStatus.REJECTED
    return row


def test_a_refused_order_takes_the_short_form_alone_and_among_others() -> None:
    row = refused_row()
    assert is_short(row)
    assert len(write_block(leaving(*[row] * 20))) < 0.5 * len(_ENCODE([row] * 20))
    row.order.order_id = f"{row.order.order_id[:-1]}b"  # another one's than those of the other desk
    first, second, third = filled_rows()
    for rows in ([row], [row, row], [second, row, twofold(first), row, third], [row, first], [third, row]):
        assert _ENCODE(restored(*rows)) == _ENCODE(rows)
        block = Block(write_block(leaving(*rows)))
        assert [block.row(place) for place in range(len(rows))] == rows
        for place, one in enumerate(rows):
            found = [block.of_venue_id(child.child_id) for child in one.children[:1]]
            found += [block.of_execution(item.key) for item in one.executions]
            assert found == [place] * len(found)
            assert block.of_order(one.order.order_id) == rows.index(one)
            assert block.of_client_id(one.order.account, one.order.cl_ord_id) == rows.index(one)
        assert block.of_venue_id("nobody") is None
        assert block.of_execution("nobody") is None


def test_whatever_else_is_true_of_a_refused_order_is_kept() -> None:
    row = refused_row()
    order, plain = row.order, _ENCODE(row)
    short = {"order_id", "account", "cl_ord_id", "symbol", "trader", "created_ns", "updated_ns", "version",
             "route_attempts", "side", "order_type", "tif", "capacity", "origin"}  # fmt: skip
    for name in order.__struct_fields__:
        value = getattr(order, name)
        for other in others(value) or [("A",)] * isinstance(value, tuple):
            if name in ("queued", "amends", "children", "executions", "unknown_children"):
                continue
            setattr(order, name, other)
            row.client_ids[:] = [order.cl_ord_id]
            assert _ENCODE(restored(row)) == _ENCODE([row]), (name, other)
            same = _ENCODE(other) == _ENCODE(value)
            assert is_short(row) == (same or name in short), (name, other)
        setattr(order, name, value)
        row.client_ids[:] = [order.cl_ord_id]
    assert _ENCODE(row) == plain
    for name, set_to in _SET_BY_NAME:
        setattr(order, name, set_to)
        assert not is_short(row), name
        assert _ENCODE(restored(row)) == _ENCODE([row]), name
        setattr(order, name, getattr(refused_row().order, name))
    order.price = order.submitted_price = None
    assert is_short(row)
    assert _ENCODE(restored(row)) == _ENCODE([row])


@pytest.mark.parametrize("whole", ["50.10", None])
@pytest.mark.parametrize("sent", ["50.10", "50.1", "1", None])
def test_a_child_has_the_price_that_it_was_sent_with(whole: str | None, sent: str | None) -> None:
    first, second, third = filled_rows()
    first.order.price = first.order.submitted_price = None if whole is None else Decimal(whole)
    pair = twofold(filled_rows()[0])
    for child in (first.children[0], pair.children[1]):
        child.price = None if sent is None else Decimal(sent)
    for rows in ([first], [first, second], [first, pair], [pair], [third, first, pair]):
        assert all(map(is_short, rows))
        assert _ENCODE(restored(*rows)) == _ENCODE(rows)
        block = Block(write_block(leaving(*rows)))
        assert _ENCODE([block.row(place) for place in range(len(rows))]) == _ENCODE(rows)


@cache
def of_each_form() -> list[bytes]:
    """An order filled at once, two in parts, one by two venues, one refused, and one written in full."""
    stopped = filled_rows()[0]
    stopped.order.stopped = True
    rows = [*filled_rows(), twofold(filled_rows()[0]), refused_row(), stopped]
    return [_ENCODE([row]) for row in rows]


_PRICES = st.sampled_from([None, *map(Decimal, ("50.10", "50.1", "1", "1.0", "0", "-2.5"))])
_TIMES = st.integers(0, 2**62) | st.integers(10**18, 10**18 + 9)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), _PRICES, _PRICES, _TIMES, st.integers(0, 9)), min_size=1, max_size=9
    )
)
def test_orders_of_all_forms_come_back_from_one_block(
    made: list[tuple[int, Decimal | None, Decimal | None, int, int]],
) -> None:
    rows: list[Row] = []
    for form, price, sent, created_ns, before_ns in made:
        (row,) = _ROWS(of_each_form()[form])
        order, later = row.order, created_ns - row.order.created_ns
        order.created_ns, order.updated_ns = created_ns, order.updated_ns + later + before_ns
        order.price = order.submitted_price = price
        for child in row.children:
            child.price = sent
        for item in row.executions:
            item.ts_ns += later
        rows.append(row)
    assert _ENCODE(restored(*rows)) == _ENCODE(rows)
    block = Block(write_block(leaving(*rows)))
    assert _ENCODE([block.row(place) for place in range(len(rows))]) == _ENCODE(rows)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_numbers_come_back_from_the_first_one_and_the_others_by_how_much_they_are_larger(
    numbers: list[int],
) -> None:
    assert rowform._whole(list(rowform._from_first(numbers))) == numbers
    assert rowform._whole(numbers) == numbers, "as they were once written"


def test_blocks_of_before_with_prices_and_times_in_full_are_read() -> None:
    rows = filled_rows()
    others_written, tables = msgspec.msgpack.decode(write_block(leaving(*rows)))
    columns = msgspec.msgpack.decode(tables, strict=False)
    columns[1][rowform._CREATED] = [row.order.created_ns for row in rows]
    at = rowshort.ShortChild.__struct_fields__.index("price")
    columns[2][at] = [child.price for row in rows for child in row.children]
    old = _ENCODE((others_written, _ENCODE(columns)))
    assert _ENCODE(list(Block(old))) == _ENCODE(rows)


def test_an_order_does_not_leave_without_some_of_its_own() -> None:
    found = left_of_desk()
    for parts in (
        found._replace(children=found.children + found.children[:1]),
        found._replace(executions=found.executions + found.executions[:1]),
    ):
        with pytest.raises(InvariantBrokenError, match="all of their own"):
            write_block(parts)


def twofold(row: Row) -> Row:
    """The row as if two venues had got, and filled, as much as one of it."""
    order, child, item = row.order, row.children[0], row.executions[0]
    row.children.append(msgspec.structs.replace(child, child_id="0-1-b", cl_ord_id="0-1-b", venue="BATS"))
    row.children[1].cl_ord_id = row.children[1].child_id
    row.executions.append(msgspec.structs.replace(item, key="B", venue="BATS"))
    row.executions[1].child_id = row.children[1].child_id
    order.children, order.executions = (child.child_id, "0-1-b"), (item.key, "B")
    order.qty = order.submitted_qty = order.cum_qty = order.cum_qty * 2
    order.notional = order.notional * 2
    return row


@pytest.mark.parametrize("rows", [filled_rows, lambda: [twofold(filled_rows()[0])]])
def test_what_was_executed_of_other_parts_than_the_order_says_is_kept(rows: Callable[[], list[Row]]) -> None:
    for row in rows():
        *before, item = row.executions
        item.qty = item.reported_qty = item.qty + 1
        item.value = item.qty * item.px
        row.order.notional = sum((part.value for part in before), ZERO) + item.value if before else item.value
        assert not is_short(row)
        assert _ENCODE(restored(row)) == _ENCODE([row])


def test_executions_stay_with_their_children_and_children_with_their_quantity() -> None:
    row = twofold(filled_rows()[0])
    row.children[1].venue = row.executions[1].venue = row.children[0].venue
    row.executions.reverse()
    row.order.executions = row.order.executions[::-1]
    row.children[0].qty = row.order.qty
    assert is_short(row)
    assert _ENCODE(restored(row)) == _ENCODE([row])
    row.executions.reverse()
    row.order.executions = row.order.executions[::-1]
    assert is_short(row)
    assert _ENCODE(restored(row)) == _ENCODE([row])


def test_what_an_order_has_executed_at_once_is_its_own_quantity_as_evolve_has_it() -> None:
    row = filled_rows()[0]
    item = row.executions[0]
    item.qty = item.reported_qty = Decimal("100.0")
    item.value = item.qty * item.px
    row.order.notional = item.value
    assert is_short(row)
    assert _ENCODE(restored(row)) == _ENCODE([row])


def test_numbers_that_are_equal_and_written_in_two_ways_stay_so_beside_each_other() -> None:
    first, _, second = filled_rows()
    first.executions[0].commission, second.executions[0].commission = Decimal("0.10"), Decimal("0.1")
    second.executions[1].commission = Decimal("0.1")
    first.order.price = first.order.submitted_price = Decimal("50.1")
    assert _ENCODE(restored(first, second)) == _ENCODE([first, second])
    assert _ENCODE(restored(second, first)) == _ENCODE([second, first])


@pytest.mark.parametrize("other", ["a\nb", "\n", "", "a\r\x85"])
@pytest.mark.parametrize("name", ["account", "cl_ord_id", "trader"])
def test_texts_with_line_breaks_are_kept(name: str, other: str) -> None:
    first, second, third = filled_rows()
    setattr(second.order, name, other)
    second.client_ids[:] = [second.order.cl_ord_id]
    for rows in ([second], [first, second, third], [second, second]):
        assert is_short(second)
        assert _ENCODE(restored(*rows)) == _ENCODE(rows)


#: Sums and products of what is kept: they come back as evolve's arithmetic writes them.
_DERIVED = {"Child": {"cum"}, "Execution": {"value"}, "Order": {"cum_qty", "notional"}}


def others(value: Any) -> list[Any]:
    """Other values that a field may have, numbers written in another way among them."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, Enum):
        return [member for member in type(value) if member is not value]
    if isinstance(value, Decimal):
        return [value + 1, -value, Decimal(f"{value}.0") if "." not in str(value) else Decimal(f"{value}0")]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, str):
        return [value + "x"]
    return []


def test_the_rows_of_a_block_come_back_in_their_order_whatever_their_forms() -> None:
    rows = filled_rows()
    rows[1].order.stopped = True
    several = [rows[2], rows[0], rows[1], rows[0], rows[2]]
    assert _ENCODE(restored(*several)) == _ENCODE(several)
    block = Block(write_block(leaving(*several)))
    for row, place in ((rows[2], 0), (rows[0], 1), (rows[1], 2)):
        assert block.of_order(row.order.order_id) == place
        assert [block.of_venue_id(child.child_id) for child in row.children] == [place]
        assert [block.of_execution(item.key) for item in row.executions] == [place] * len(row.executions)
        assert [block.of_client_id(row.order.account, name) for name in row.client_ids] == [place]
        assert block.of_client_id("nobody", row.order.cl_ord_id) is None
    assert block.of_order("nobody") is None
    assert block.of_execution("nobody") is None
    assert block.of_client_id(rows[0].order.account, "nobody") is None
    assert block.of_venue_id("nobody") is None
    assert list(Block(write_block(leaving()))) == []


def test_whatever_else_is_true_of_an_order_is_kept_to_the_last_digit() -> None:
    tried = 0
    for row in (*filled_rows(), twofold(filled_rows()[0])):
        plain = _ENCODE(row)
        for part in (row.order, *row.children, *row.executions):
            for name in part.__struct_fields__:
                value = getattr(part, name)
                if name in _TIES[type(part).__name__]:
                    continue
                derived = name in _DERIVED[type(part).__name__]
                for other in others(value):
                    if derived and other == value:
                        continue
                    setattr(part, name, other)
                    tried += 1
                    assert _ENCODE(restored(row)) == _ENCODE([row]), (name, other)
                setattr(part, name, value)
        assert _ENCODE(row) == plain
    assert tried > 300


@pytest.mark.parametrize(("name", "value"), [*_SET_BY_NAME, ("price", None), ("submitted_price", None)])
def test_an_order_with_a_history_is_written_in_full(name: str, value: object) -> None:
    row = filled_rows()[0]
    setattr(row.order, name, value)
    assert not is_short(row)
    assert _ENCODE(restored(row)) == _ENCODE([row])


def test_every_field_is_tried_above_or_fixed_or_can_only_be_so_of_an_order_that_is_not_packed() -> None:
    """One that is None or empty in a plain order has to be among those that are set by name."""
    by_name = {"amends", "refused_venues", "closed", "open_px", "special", "algo", "queued"}
    pending = {"pending_cancel", "pending_replace"}  # `packing.may_pack` leaves such an order where it is
    asked = {"requests", "replace_price"}  # a request that had a price is among the requests
    row = filled_rows()[0]
    for part in (row.order, row.children[0], row.executions[0]):
        kind = type(part).__name__
        untried = {name for name in part.__struct_fields__ if not others(getattr(part, name))}
        assert untried - _TIES[kind] <= by_name | pending | asked


def test_a_block_is_kept_smaller_and_comes_back_as_it_was_written() -> None:
    rows = filled_rows()
    rows[1].order.stopped = True
    block = written(*rows * 20)
    assert decompressed(compressed(block)) == decompressed(compressed(block, 9)) == block
    assert len(compressed(block)) < 0.6 * len(block)


def test_an_order_that_none_of_its_client_ids_names_is_kept_so() -> None:
    row = filled_rows()[0]
    row.client_ids.clear()
    assert restored(row) == [row]


def test_an_order_that_other_client_ids_name_too_is_written_in_full() -> None:
    row = filled_rows()[0]
    row.client_ids.append("Y")
    assert not is_short(row)
    assert restored(row) == [row]


def test_a_child_that_has_had_requests_is_written_in_full() -> None:
    row = filled_rows()[0]
    row.children[0].requests = ["0-1-zz"]
    assert not is_short(row)
    assert restored(row) == [row]


def test_a_value_that_is_not_price_times_quantity_is_kept_with_the_notional_that_has_it() -> None:
    for row in (*filled_rows(), twofold(filled_rows()[0])):
        *before, item = row.executions
        item.value += 1
        row.order.notional = row.order.notional + 1 if before else item.value
        assert not is_short(row)
        assert restored(row) == [row]


_ORDER_IDS = st.builds(order_id, st.just(0), st.integers(1, 2), st.integers(0, 70_000))


@given(st.lists(_ORDER_IDS, min_size=1, max_size=9) | st.lists(st.text("a-0", min_size=1), min_size=1))
def test_ids_come_back_whatever_they_have_in_common(ids: list[str]) -> None:
    assert rowform._uncut(*rowform._cut(ids)) == ids


def test_what_the_ids_of_a_block_have_in_common_is_written_once() -> None:
    ids = [order_id(0, 1, seq) for seq in range(1_000, 1_064)]
    head, tails = rowform._cut(ids)
    assert [head + tail for tail in ("03e8", "03e9")] == ids[:2]
    assert len(tails) == 4 * len(ids)


_EXEC_IDS = st.text("E1|S", max_size=4)


@given(
    st.lists(st.tuples(st.sampled_from(["XNAS", "X", "N|"]), _EXEC_IDS), min_size=1),
    st.text("|S1", max_size=3),
)
def test_keys_are_made_of_what_stands_between_the_venue_and_its_id(
    named: list[tuple[str, str]], middle: str
) -> None:
    venues, exec_ids = [venue for venue, _ in named], [exec_id for _, exec_id in named]
    keys = [f"{venue}{middle}{exec_id}" for venue, exec_id in named]
    assert rowform._middle(keys, exec_ids, venues) == middle
    assert not rowform._middle([f"{keys[0]}\n", *keys[1:]], exec_ids, venues)
    assert not rowform._middle([*keys, f"{keys[0]}x"], [*exec_ids, exec_ids[0]], [*venues, venues[0]])


@pytest.mark.parametrize("key", ["other", "XNAS|S2|2024-01-08|E1", "E1", "XNAS\n|E"])
def test_an_execution_with_a_key_of_its_own_form_is_found_beside_others(key: str) -> None:
    rows = filled_rows()
    rows[0].executions[0].key = key
    rows[0].order.executions = (key,)
    assert _ENCODE(restored(*rows)) == _ENCODE(rows)
    block = Block(write_block(leaving(*rows)))
    for place, row in enumerate(rows):
        assert [block.of_execution(item.key) for item in row.executions] == [place] * len(row.executions)
