"""Queries on projected tables against a filter in Python over the same rows: nothing leaks or is lost."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from qtinfra.core import commands as cmd
from qtinfra.core.exceptions import OrderStateError
from qtinfra.core.models import OrderSide
from qtinfra.repository import (
    EVERYTHING,
    ORDER_FIELDS,
    Op,
    Progress,
    Query,
    QueryError,
    ReadModel,
    Scope,
    tables,
)
from qtinfra.repository.query import Kind, Value, parse_query
from qtinfra.repository.rows import OrderRow
from tests.support.builders import ALPHA, BETA, SELL, SYMBOL, Desk, account, dec
from tests.support.read_tables import head_after, journal_of, projector_on

pytestmark = pytest.mark.integration

T = TypeVar("T")
KEY = b"k" * 32
NAMES = ("a", "ab", "a_b", "a%b", "A", "AB", "b*", "b", "x'--", "é")
ACCOUNTS = (ALPHA, BETA, "gamma")
thorough = settings(
    max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def desk_of(count: int) -> Desk:
    """Orders of three accounts, some without a price, some executed, under awkward client ids."""
    desk = Desk(checked=False)
    desk.run(cmd.SetReference((), (account("gamma"),), ()))
    for number in range(count):
        name = ACCOUNTS[number % 3]
        cl_ord_id = NAMES[number % len(NAMES)] + (str(number // 30) if number >= 30 else "")
        price = None if number % 5 == 0 else dec(9 + number % 3) + dec("0.5") * (number % 2)
        desk.new(
            cl_ord_id, 90 + number % 20, price, name=name, side=SELL if number % 4 == 0 else OrderSide.BUY
        )
        order = desk.state.find_order(name, cl_ord_id)
        if order is not None and order.children and number % 3 == 0:
            child = desk.state.children[order.children[0]]
            desk.ack(child)
            desk.fill(child, 1 + number, 10)
    return desk


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("read") / "tables.sqlite"
    journal = journal_of(desk_of(60).entries)
    projector = projector_on(path)
    projector.catch_up(journal)
    projector.close()
    journal.close()
    yield path


def ask(path: Path, question: Callable[[ReadModel], Awaitable[T]], progress: Progress | None = None) -> T:
    """Ask a read model that is opened for it and closed after."""

    async def asking() -> T:
        model = ReadModel.on(path, KEY, progress or Progress(), connections=2)
        try:
            return await question(model)
        finally:
            await model.close()

    return asyncio.run(asking())


async def walk(model: ReadModel, query: Query, scope: Scope) -> list[OrderRow]:
    """All pages, by cursor."""
    found: list[OrderRow] = []
    for _ in range(200):
        page = await model.orders(query, scope)
        found += page.rows
        if page.next_cursor is None:
            return found
        query = query.after(page.next_cursor)
    raise AssertionError("the pages do not end")


# --- the same in Python ------------------------------------------------------------------------------------


def holds(row: OrderRow, name: str, op: Op, values: Sequence[Value]) -> bool:
    """What a filter means, told in Python."""
    value: Any = getattr(row, ORDER_FIELDS[name].column)
    value = str(value) if ORDER_FIELDS[name].kind in (Kind.TEXT, Kind.CHOICE) and value is not None else value
    if value is None:
        return op is Op.NE
    first: Any = values[0]
    tests: dict[Op, Callable[[], bool]] = {
        Op.EQ: lambda: value == first,
        Op.NE: lambda: value != first,
        Op.LT: lambda: _bytes(value) < _bytes(first),
        Op.LTE: lambda: _bytes(value) <= _bytes(first),
        Op.GT: lambda: _bytes(value) > _bytes(first),
        Op.GTE: lambda: _bytes(value) >= _bytes(first),
        Op.IN: lambda: value in values,
        Op.BETWEEN: lambda: _bytes(first) <= _bytes(value) <= _bytes(values[1]),
        Op.LIKE: lambda: like(value, first),
    }
    return tests[op]()


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def like(value: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    before, after = pattern.startswith("*"), pattern.endswith("*")
    stem = pattern[before : len(pattern) - after]
    if before and after:
        return stem in value
    if before:
        return value.endswith(stem)
    return value.startswith(stem) if after else value == stem


FILTERED = (
    "client_order_id",
    "symbol",
    "side",
    "status",
    "quantity",
    "price",
    "filled_quantity",
    "account_id",
)


def _value(name: str) -> st.SearchStrategy[Value]:
    field = ORDER_FIELDS[name]
    if field.kind is Kind.NUMBER:
        return st.sampled_from(
            [Decimal(text) for text in ("-1", "0", "9.5", "10", "10.5", "95", "100", "1E+9")]
        )
    if field.kind is Kind.CHOICE:
        return st.sampled_from(field.choices)
    words = (
        *NAMES,
        *ACCOUNTS,
        SYMBOL,
        "",
        "*",
        "%",
        "_",
        "a*",
        "*b",
        "*_*",
        "*%*",
        "a_*",
        "A*",
        "' OR 1=1 --",
    )
    return st.sampled_from(words)


@st.composite
def filters(draw: st.DrawFn) -> tuple[str, Op, tuple[Value, ...]]:
    name = draw(st.sampled_from(FILTERED))
    op = draw(st.sampled_from(ORDER_FIELDS[name].operators))
    size = {Op.BETWEEN: 2, Op.IN: draw(st.integers(1, 4))}.get(op, 1)
    return name, op, tuple(draw(_value(name)) for _ in range(size))


scopes = st.one_of(
    st.just(EVERYTHING), st.lists(st.sampled_from((*ACCOUNTS, "nobody"))).map(lambda a: Scope(tuple(a)))
)
sorts = st.lists(
    st.sampled_from(
        ("-created_at", "created_at", "symbol", "-symbol", "price", "-price", "quantity", "status")
    ),
    max_size=3,
    unique_by=lambda key: key.removeprefix("-"),
)


@thorough
@given(asked=st.lists(filters(), max_size=3), scope=scopes, sort=sorts, limit=st.integers(1, 40))
def test_pages_and_counts_hold_exactly_the_rows_of_the_scope_that_match(
    rows_file: Path,
    asked: list[tuple[str, Op, tuple[Value, ...]]],
    scope: Scope,
    sort: list[str],
    limit: int,
) -> None:
    query = Query(limit=limit).order_by(*sort) if sort else Query(limit=limit)
    for name, op, values in asked:
        query = query.where(name, op, *values)

    async def both(model: ReadModel) -> tuple[list[OrderRow], list[OrderRow], int]:
        every = await walk(model, Query(limit=500), EVERYTHING)
        return every, await walk(model, query, scope), await model.count(query, scope)

    every, found, counted = ask(rows_file, both)
    wanted = [row for row in every if scope.covers(row.account) and all(holds(row, *one) for one in asked)]
    assert len(every) == 60
    assert sorted(row.order_id for row in found) == sorted(row.order_id for row in wanted)
    assert counted == len(wanted)
    for one, next_one in pairwise(found):
        assert _in_order(one, next_one, sort or ["-created_at"]), f"{one} before {next_one} by {sort}"


def _in_order(one: OrderRow, other: OrderRow, sort: Sequence[str]) -> bool:
    for key in sort:
        column = ORDER_FIELDS[key.removeprefix("-")].column
        a, b = (getattr(row, column) for row in (one, other))
        if a != b:
            before = a is None or (b is not None and _bytes(a) < _bytes(b))
            return before is not key.startswith("-")
    return True


def test_a_page_lists_each_row_once_while_rows_are_added(tmp_path: Path) -> None:
    path = tmp_path / "tables.sqlite"
    entries = desk_of(60).entries
    journal = journal_of(entries)
    projector = projector_on(path)
    projector.restore(journal)
    half = len(entries) // 2
    projector.apply(entries[:half], head_after(journal, entries[:half]))
    rest = entries[half:]

    async def walking(model: ReadModel, query: Query) -> list[str]:
        seen: list[str] = []
        added = False
        while True:
            page = await model.orders(query, EVERYTHING)
            seen += [row.order_id for row in page.rows]
            if not added:
                projector.apply(rest, head_after(journal, rest))
                added = True
            if page.next_cursor is None:
                return seen
            query = query.after(page.next_cursor)

    query = Query(limit=4).order_by("created_at")
    seen = ask(path, functools.partial(walking, query=query))
    everything = ask(path, lambda model: walk(model, Query(limit=500).order_by("created_at"), EVERYTHING))
    assert seen == [row.order_id for row in everything], (
        "what was there is seen once, what came later after it"
    )
    projector.close()
    journal.close()


def test_an_order_is_found_with_its_parts_in_its_own_scope_only(rows_file: Path) -> None:
    async def asking(model: ReadModel) -> None:
        executed = Query().where("filled_quantity", Op.GT, Decimal(0)).where("account_id", Op.EQ, ALPHA)
        row = (await model.orders(executed, EVERYTHING)).rows[0]
        detail = await model.order(row.order_id, Scope((ALPHA,)))
        assert detail is not None and detail.order == row
        assert [child.order_id for child in detail.children] == [row.order_id] * len(row.venues)
        assert sum(item.qty for item in detail.executions) == row.cum_qty
        assert [event.kind for event in detail.history][:2] == ["OrderAccepted", "OrderRouted"]
        routed = detail.history[1].detail
        assert {leg["child_id"] for leg in routed["children"]} <= {
            child.child_id for child in detail.children
        }
        assert all(Decimal(leg["qty"]) > 0 for leg in routed["children"])
        assert {"best_bid", "best_ask", "reason", "ts_ns"} < set(routed)
        assert [event.seq for event in detail.history] == sorted(event.seq for event in detail.history)
        for scope in (Scope((BETA,)), Scope(()), Scope(("nobody",))):
            assert await model.order(row.order_id, scope) is None
            assert (await model.executions(Query().where("order_id", Op.EQ, row.order_id), scope)).rows == ()
            assert (await model.order_rows.get(row.order_id, scope=scope)) is None
        assert {item.account for item in (await model.positions(Query(), Scope((BETA,)))).rows} <= {BETA}
        assert {item.account for item in (await model.accounts(Query(), Scope((BETA,)))).rows} == {BETA}
        assert await model.order("' OR '1'='1", EVERYTHING) is None

    ask(rows_file, asking)


def test_a_cursor_of_one_tenant_is_refused_for_another(rows_file: Path) -> None:
    async def asking(model: ReadModel) -> str:
        page = await model.orders(Query(limit=1), Scope((ALPHA,)))
        assert page.next_cursor is not None
        with pytest.raises(QueryError) as caught:
            await model.orders(Query(limit=1).after(page.next_cursor), Scope((BETA,)))
        return caught.value.error_code

    assert ask(rows_file, asking) == "bad_cursor"


@pytest.mark.parametrize(
    "hostile", ["'; DROP TABLE orders; --", '" OR ""="', "\\'; --", "%", "_", "x' UNION SELECT 1"]
)
def test_hostile_text_is_a_value_like_any_other(rows_file: Path, hostile: str) -> None:
    params = [("symbol", hostile), ("client_order_id[like]", f"{hostile}*"), ("account_id[ne]", hostile)]

    async def asking(model: ReadModel) -> tuple[int, int]:
        return await model.count(parse_query(params, ORDER_FIELDS), EVERYTHING), await model.count(
            Query(), EVERYTHING
        )

    assert ask(rows_file, asking) == (0, 60)


def test_the_reading_engine_cannot_write(rows_file: Path) -> None:
    async def writing() -> None:
        engine = tables.reading_engine(rows_file)
        try:
            async with engine.begin() as connection:
                await connection.execute(insert(tables.gate).values(only=2, open=1))
        finally:
            await engine.dispose()

    with pytest.raises(SQLAlchemyError, match="readonly"):
        asyncio.run(writing())


def test_an_older_version_than_expected_is_a_conflict(rows_file: Path) -> None:
    async def asking(model: ReadModel) -> None:
        row = (await model.orders(Query(limit=1), EVERYTHING)).rows[0]
        assert await model.order_rows.get(row.order_id, scope=EVERYTHING, expected_version=row.version) == row
        with pytest.raises(OrderStateError) as caught:
            await model.order_rows.get(row.order_id, scope=EVERYTHING, expected_version=row.version + 1)
        assert caught.value.error_code == "version_conflict"

    ask(rows_file, asking)


def test_like_tells_cases_apart_and_takes_only_an_outer_star_for_a_wildcard(rows_file: Path) -> None:
    async def asking(model: ReadModel) -> dict[str, set[str]]:
        found = {}
        for pattern in ("a*", "A*", "*b", "a_*", "a%*", "*_*", "a"):
            query = Query(limit=500).where("client_order_id", Op.LIKE, pattern)
            found[pattern] = {row.cl_ord_id for row in (await model.orders(query, EVERYTHING)).rows}
        return found

    every = {name + tail for name in NAMES for tail in ("", "1")}
    for pattern, names in ask(rows_file, asking).items():
        assert names == {name for name in every if like(name, pattern)}, pattern
