"""The generic repository: typed rows out of one projected table, by key or by query, within a scope.

It only reads. The scope stands in every statement, counts and continued pages included, and is the first
thing that is added to it. Field names reach SQL only as columns looked up in the allow-list; values only as
bound parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Row, Select, Table, and_, false, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from qtinfra.core.exceptions import DatabaseError, OrderStateError
from qtinfra.repository.cursor import CursorCodec, Place
from qtinfra.repository.query import Field, FieldSet, Filter, Kind, Op, Query, Scope, SortKey, Value
from qtinfra.repository.sortable import NO_KEY, number_columns

RowT = TypeVar("RowT", bound=msgspec.Struct)

_Compare = Callable[[ColumnElement[Any], Sequence[Any]], ColumnElement[bool]]


class Page(msgspec.Struct, Generic[RowT], frozen=True):
    """One page of rows; `next_cursor` continues after it, None when it is the last."""

    rows: tuple[RowT, ...]
    next_cursor: str | None
    limit: int
    offset: int


class Repository(Generic[RowT]):
    """Rows of one table.

    Args:
        engine: for reading.
        table: a projected table.
        row: the struct of its rows; its fields are columns of the table.
        fields: what may be asked for.
        cursors: writes and reads cursors.
        scope_column: the column with the account; None for rows that belong to nobody (venues, instruments).
    """

    def __init__(
        self,
        engine: AsyncEngine,
        table: Table,
        row: type[RowT],
        fields: FieldSet,
        cursors: CursorCodec,
        *,
        scope_column: str | None = "account",
    ) -> None:
        self._engine = engine
        self._table = table
        self._name = str(table.name)
        self._row = row
        self.fields = fields
        self._cursors = cursors
        self._scope = None if scope_column is None else table.c[scope_column]
        self._names = row.__struct_fields__
        self._columns = [table.c[name] for name in self._names]
        self._key = tuple(table.primary_key.columns)

    # --- reading ------------------------------------------------------------------------------------------

    async def get(self, *key: str | int, scope: Scope, expected_version: int | None = None) -> RowT | None:
        """The row with this primary key; None when there is none within the scope.

        Args:
            expected_version: what the caller last saw, for rows that have a version.

        Raises:
            OrderStateError: `version_conflict`: the row has changed since.
            DatabaseError: the database did not answer.
        """
        found = self._select(scope).where(
            *(column == part for column, part in zip(self._key, key, strict=True))
        )
        rows = await self._rows(found)
        if not rows:
            return None
        version = getattr(rows[0], "version", None)
        if expected_version is not None and version != expected_version:
            raise OrderStateError(
                f"{self._name}: version {expected_version} was expected, it has {version}",
                code="version_conflict",
                context={"expected_version": expected_version, "version": version},
            )
        return rows[0]

    async def page(self, query: Query, scope: Scope) -> Page[RowT]:
        """One page of the rows that match.

        Between two pages new rows may come: a cursor still leads over every row that was there once and in
        order, as long as the sorted fields of a row do not change meanwhile.

        Raises:
            QueryError: `bad_cursor`.
            DatabaseError: the database did not answer.
        """
        keys = self._sort(query)
        found = self._matching(query, scope)
        if query.cursor:
            found = found.where(self._beyond(keys, self._cursors.read(self._name, query, scope)))
        elif query.offset:
            found = found.offset(query.offset)
        orders = [column.desc() if key.descending else column.asc() for key, column in keys]
        found = found.order_by(*orders).limit(query.limit + 1)
        found = found.add_columns(*(column.label(f"_at{number}") for number, (_, column) in enumerate(keys)))
        raw = await self._fetch(found)
        rows, more = raw[: query.limit], len(raw) > query.limit
        place: Place = list(rows[-1][len(self._names) :]) if more else []
        next_cursor = self._cursors.write(self._name, query, scope, place) if more else None
        return Page(tuple(self._read(row) for row in rows), next_cursor, query.limit, query.offset)

    async def count(self, query: Query, scope: Scope) -> int:
        """How many rows match, whatever the page.

        Raises:
            DatabaseError: the database did not answer.
        """
        inner = self._matching(query, scope).with_only_columns(func.count()).select_from(self._table)
        return int((await self._fetch(inner))[0][0])

    async def of(self, column: str, value: str, scope: Scope, order: str, limit: int) -> tuple[RowT, ...]:
        """The rows with this value in an indexed column, in order of another one."""
        found = self._select(scope).where(self._table.c[column] == value)
        found = found.order_by(self._table.c[order], *self._key).limit(limit)
        return tuple(await self._rows(found))

    # --- statements ---------------------------------------------------------------------------------------

    def _select(self, scope: Scope) -> Select[Any]:
        found = select(*self._columns)
        if self._scope is None or scope.accounts is None:
            return found
        return found.where(self._scope.in_(scope.accounts) if scope.accounts else false())

    def _matching(self, query: Query, scope: Scope) -> Select[Any]:
        return self._select(scope).where(*(self._condition(item) for item in query.filters))

    def _condition(self, item: Filter) -> ColumnElement[bool]:
        field = self.fields[item.field]
        column = self._compared(field)
        holds = _COMPARISONS[item.op](column, [_bound(field, value) for value in item.values])
        if not field.optional and field.kind is not Kind.NUMBER:
            return holds
        there = column != NO_KEY if field.kind is Kind.NUMBER else column.is_not(None)
        return or_(holds, ~there) if item.op is Op.NE else and_(holds, there)

    def _compared(self, field: Field) -> ColumnElement[Any]:
        """The column whose order is the field's."""
        return self._table.c[f"{field.column}_key" if field.kind is Kind.NUMBER else field.column]

    def _sort(self, query: Query) -> list[tuple[SortKey, ColumnElement[Any]]]:
        """The sort's columns, then the primary key's, so that no two rows are equal."""
        chosen = query.sort or self.fields.default_sort
        keys = [(key, self._compared(self.fields[key.field])) for key in chosen]
        named = [column for _, column in keys]
        last = keys[-1][0].descending
        rest = [column for column in self._key if all(column is not known for known in named)]
        return keys + [(SortKey(column.name, last), column) for column in rest]

    def _beyond(
        self, keys: Sequence[tuple[SortKey, ColumnElement[Any]]], place: Place
    ) -> ColumnElement[bool]:
        """Rows after a place in the sort: later in the first column, or equal there and later in the next.

        The first column's bound stands alone as well, so that an index on it can be entered there.
        """
        beyond: ColumnElement[bool] = false()
        for (key, column), value in reversed(list(zip(keys, place, strict=True))):
            later = column < value if key.descending else column > value
            beyond = or_(later, and_(column == value, beyond))
        (key, column), value = keys[0], place[0]
        return and_(column <= value if key.descending else column >= value, beyond)

    # --- rows ---------------------------------------------------------------------------------------------

    async def _rows(self, statement: Select[Any]) -> list[RowT]:
        return [self._read(row) for row in await self._fetch(statement)]

    async def _fetch(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        try:
            async with self._engine.connect() as connection:
                return await _all(connection, statement)
        except SQLAlchemyError as error:
            raise DatabaseError(f"{self._name} cannot be read: {error}") from error

    def _read(self, row: Row[Any]) -> RowT:
        named: Mapping[str, Any] = dict(zip(self._names, row, strict=False))
        return msgspec.convert(named, self._row, strict=False)


async def _all(connection: AsyncConnection, statement: Select[Any]) -> Sequence[Row[Any]]:
    found: Sequence[Row[Any]] = (await connection.execute(statement)).all()
    return found


def _bound(field: Field, value: Value) -> str | int | bool:
    """The value as it is compared: a number by its key."""
    if isinstance(value, Decimal):
        return number_columns(value)[1]
    if field.kind is Kind.NUMBER:
        raise TypeError(f"{field.name} is compared with a Decimal, not {value!r}")
    return value


def _like(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """`*` at either end stands for anything; all else, the wildcards of SQL included, for itself."""
    text: str = values[0]
    if text == "*":
        return column.is_not(None)
    before, after = text.startswith("*"), text.endswith("*")
    stem = text[before : len(text) - after]
    if before and after:
        return column.contains(stem, autoescape=True)
    if before:
        return column.endswith(stem, autoescape=True)
    return column.startswith(stem, autoescape=True) if after else column == stem


_COMPARISONS: Mapping[Op, _Compare] = {
    Op.EQ: lambda column, values: column == values[0],
    Op.NE: lambda column, values: column != values[0],
    Op.LT: lambda column, values: column < values[0],
    Op.LTE: lambda column, values: column <= values[0],
    Op.GT: lambda column, values: column > values[0],
    Op.GTE: lambda column, values: column >= values[0],
    Op.IN: lambda column, values: column.in_(values),
    Op.BETWEEN: lambda column, values: column.between(values[0], values[1]),
    Op.LIKE: _like,
}
