"""The read tables, and what keeps everybody but the projector from writing them.

They can be thrown away at any time: the journal is the record, and the projector builds them again. Numbers
stand as exact text, with a key beside it where a query may compare or sort (`sortable`); times are UTC
nanoseconds; lists and nested terms are JSON text.

Every table but the gate refuses rows unless the gate is open, and it is open only inside the projector's own
transactions, so that nobody else ever sees it so. This stops mistakes, not somebody who wants to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.types import TypeDecorator

from qtinfra.core.exceptions import DatabaseError

#: Version of the tables and of what the projector writes into them; another one means: rebuild.
SCHEMA_VERSION = 2
_BUSY_SECONDS = 5

metadata = MetaData()


class Json(TypeDecorator[Any]):
    """JSON text that is read as plain values. The projector writes the text itself."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        del dialect
        return None if value is None else msgspec.json.decode(value)


def _text() -> String:
    """Text that compares by its bytes in every database."""
    return String().with_variant(String(collation="C"), "postgresql")


def _key(name: str) -> Column[str]:
    return Column(name, _text(), primary_key=True)


def _words(*names: str) -> list[Column[Any]]:
    return [Column(name, _text(), nullable=False) for name in names]


def _numbers(*names: str) -> list[Column[Any]]:
    """Exact numbers that no query compares."""
    return [Column(name, _text(), nullable=False) for name in names]


def _sortable(name: str, *, optional: bool = False) -> list[Column[Any]]:
    """An exact number and its key; the key of an absent number is the empty text."""
    return [
        Column(name, _text(), nullable=optional),
        Column(f"{name}_key", _text(), nullable=False),
    ]


def _big(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _json(name: str) -> Column[Any]:
    return Column(name, Json, nullable=True)


def _maybe(name: str) -> Column[Any]:
    return Column(name, _text(), nullable=True)


orders = Table(
    "orders",
    metadata,
    _key("order_id"),
    *_words("account", "cl_ord_id", "first_cl_ord_id", "symbol", "side", "order_type", "tif"),
    *_sortable("qty"),
    *_sortable("price", optional=True),
    *_numbers("min_qty"),
    *_words("capacity", "trader", "origin", "status", "fix_status"),
    *_sortable("cum_qty"),
    *_sortable("leaves_qty"),
    *_sortable("avg_px"),
    *_numbers("notional"),
    *_words("algo"),
    _json("special"),
    _json("venues"),
    _maybe("reason_code"),
    _maybe("reason"),
    Column("confidence_ppm", Integer, nullable=True),
    Column("expected_fill_ppm", Integer, nullable=True),
    _flag("frozen"),
    _big("version"),
    _big("created_ns"),
    _big("updated_ns"),
    _big("seq"),
    Index("orders_by_account", "account", "created_ns", "order_id"),
    Index("orders_by_time", "created_ns", "order_id"),
    Index("orders_by_client_id", "account", "cl_ord_id"),
)

children = Table(
    "children",
    metadata,
    _key("child_id"),
    *_words("order_id", "account", "venue", "symbol", "side", "order_type", "tif"),
    *_numbers("qty"),
    _maybe("price"),
    *_numbers("min_qty"),
    *_words("cl_ord_id", "venue_order_id", "status"),
    *_numbers("cum_qty", "leaves_qty"),
    Column("number", Integer, nullable=False),
    _big("sent_ns"),
    _big("seq"),
    Index("children_of_order", "order_id", "number"),
)

executions = Table(
    "executions",
    metadata,
    _key("key"),
    *_words("exec_id", "order_id", "child_id", "account", "symbol", "side", "venue", "trade_date"),
    *_words("currency", "liquidity", "state"),
    *_sortable("qty"),
    *_sortable("px"),
    *_numbers("value", "reported_qty", "reported_px", "fee", "commission"),
    _flag("late"),
    _big("ts_ns"),
    _big("seq"),
    Index("executions_of_order", "order_id", "ts_ns"),
    Index("executions_by_account", "account", "ts_ns", "key"),
)

positions = Table(
    "positions",
    metadata,
    _key("account"),
    _key("symbol"),
    *_words("currency"),
    *_sortable("qty"),
    *_sortable("avg_cost"),
    *_sortable("realised"),
    *_numbers("cost", "fees", "bought_qty", "bought_value", "sold_qty", "sold_value", "multiplier"),
    _big("updated_ns"),
    _big("seq"),
)

history = Table(
    "history",
    metadata,
    Column("shard", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    *_words("order_id", "account", "kind", "command", "actor", "correlation_id"),
    _json("detail"),
    _big("ts_ns"),
    Index("history_of_order", "order_id", "seq"),
)

accounts = Table(
    "accounts",
    metadata,
    _key("account"),
    *_words("client", "base_currency", "desk", "firm"),
    _flag("enabled"),
    _flag("frozen"),
    _json("policies"),
    _json("cash"),
    _big("seq"),
)

venues = Table(
    "venues",
    metadata,
    _key("mic"),
    *_words("name", "currency", "status"),
    *_numbers("take_fee", "make_fee"),
    _json("order_types"),
    _json("time_in_force"),
    _big("seq"),
)

instruments = Table(
    "instruments",
    metadata,
    _key("symbol"),
    *_words("asset_class", "currency", "isin", "name"),
    *_numbers("lot_size", "multiplier"),
    _json("listings"),
    _json("ticks"),
    _maybe("halted"),
    _maybe("reference_price"),
    _big("seq"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    _big("seq"),
    Column("hash", String(64), nullable=False),
    _big("ts_ns"),
)

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

gate = Table(
    "projection_gate",
    metadata,
    Column("only", Integer, primary_key=True, autoincrement=False),
    Column("open", Integer, nullable=False),
    UniqueConstraint("only"),
)

#: What a rebuild empties and writes again.
PROJECTED = (orders, children, executions, positions, history, accounts, venues, instruments, checkpoint)


# --- engines -----------------------------------------------------------------------------------------------


def writing_engine(path: Path) -> Engine:
    """The projector's engine on a SQLite file. Its transactions begin with the write lock."""
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_writer)
    event.listen(engine, "begin", _begin_writing)
    return engine


def reading_engine(path: Path, *, connections: int = 4) -> AsyncEngine:
    """An engine for queries on a SQLite file; its connections cannot write.

    Args:
        connections: how many queries run at once; further ones wait.
    """
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": _BUSY_SECONDS},
        pool_size=connections,
        max_overflow=0,
    )
    event.listen(engine.sync_engine, "connect", _prepare_reader)
    return engine


def _prepare_writer(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "case_sensitive_like = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_reader(connection: Any, record: object) -> None:
    """LIKE tells cases apart, as elsewhere."""
    del record
    cursor = connection.cursor()
    for pragma in ("query_only = ON", "case_sensitive_like = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


# --- making and opening ------------------------------------------------------------------------------------


def prepare(engine: Engine) -> None:
    """Make the tables and their guards in an empty database, or check that they are of this version.

    Raises:
        DatabaseError: tables of another version (`schema_version`): rebuild them; or the database refused.
    """
    try:
        with engine.begin() as connection:
            if inspect(connection).get_table_names():
                _check_version(connection)
                return
            metadata.create_all(connection)
            for statement in _guards(engine.dialect.name):
                connection.execute(text(statement))
            connection.execute(insert(gate).values(only=1, open=0))
            connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
    except SQLAlchemyError as error:
        raise DatabaseError(f"the read tables cannot be opened: {error}") from error


def _check_version(connection: Connection) -> None:
    known = inspect(connection).has_table(schema_version.name)
    found = connection.execute(select(schema_version.c.version)).scalar() if known else None
    if found != SCHEMA_VERSION:
        raise DatabaseError(
            f"the read tables have version {found}, this program writes version {SCHEMA_VERSION}: "
            "move the file away and rebuild them from the journal",
            code="schema_version",
            context={"found": found, "expected": SCHEMA_VERSION},
        )


_GUARD = (
    "CREATE TRIGGER {table}_{change}_guard BEFORE {change} ON {table} "
    "WHEN (SELECT open FROM {gate} WHERE only = 1) IS NOT 1 "
    "BEGIN SELECT RAISE(ABORT, '{table} is projected from the journal: only the projector writes it'); END"
)


def _guards(dialect: str) -> Iterator[str]:
    """One trigger per table and kind of change.

    Raises:
        DatabaseError: no guards are written for this kind of database.
    """
    if dialect != "sqlite":
        raise DatabaseError(f"no write guards for {dialect} yet", code="unsupported_database")
    for table in PROJECTED:
        for change in ("INSERT", "UPDATE", "DELETE"):
            yield _GUARD.format(table=table.name, change=change, gate=gate.name)


@contextmanager
def projecting(engine: Engine) -> Iterator[Connection]:
    """A transaction in which the projected tables may be written; all or nothing."""
    with engine.begin() as connection:
        connection.execute(update(gate).values(open=1))
        yield connection
        connection.execute(update(gate).values(open=0))


def number_names(table: Table) -> Sequence[str]:
    """The columns that have a sort key beside them."""
    return [column.name for column in table.columns if f"{column.name}_key" in table.columns]
