"""Everything that can be asked of the read tables, behind one object. Nothing here decides anything."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from qtinfra.core.exceptions import DatabaseError
from qtinfra.repository import tables
from qtinfra.repository.base import Page
from qtinfra.repository.cursor import CursorCodec
from qtinfra.repository.orders import ExecutionRepository, OrderRepository, PositionRepository
from qtinfra.repository.progress import Progress
from qtinfra.repository.query import Query, Scope
from qtinfra.repository.reference import AccountRepository, InstrumentRepository, VenueRepository
from qtinfra.repository.rows import (
    AccountRow,
    ExecutionRow,
    InstrumentRow,
    OrderDetail,
    OrderRow,
    PositionRow,
    VenueRow,
)


class ReadModel:
    """Queries over the projected tables.

    Args:
        engine: for reading, as `tables.reading_engine` makes it.
        cursor_key: at least 32 secret bytes that authenticate cursors.
        progress: of the projector that writes these tables.

    Attributes:
        order_rows, execution_rows, position_rows, account_rows, venue_rows, instrument_rows: the
            repositories, for what the methods do not offer (`fields`, `count`, `get`).
    """

    def __init__(self, engine: AsyncEngine, cursor_key: bytes, progress: Progress) -> None:
        cursors = CursorCodec(cursor_key)
        self._engine = engine
        self._progress = progress
        self.order_rows = OrderRepository(engine, cursors)
        self.execution_rows = ExecutionRepository(engine, cursors)
        self.position_rows = PositionRepository(engine, cursors)
        self.account_rows = AccountRepository(engine, cursors)
        self.venue_rows = VenueRepository(engine, cursors)
        self.instrument_rows = InstrumentRepository(engine, cursors)

    @classmethod
    def on(cls, path: Path, cursor_key: bytes, progress: Progress, *, connections: int = 4) -> ReadModel:
        """A read model on a SQLite file; `close` it."""
        return cls(tables.reading_engine(path, connections=connections), cursor_key, progress)

    async def orders(self, query: Query, scope: Scope) -> Page[OrderRow]:
        """One page of orders; the newest first unless the query sorts them.

        Raises:
            QueryError: `bad_cursor`.
            DatabaseError: the database did not answer; so do all methods.
        """
        return await self.order_rows.page(query, scope)

    async def order(self, order_id: str, scope: Scope) -> OrderDetail | None:
        """An order with its children, executions and events; None when there is none within the scope."""
        return await self.order_rows.detail(order_id, scope)

    async def executions(self, query: Query, scope: Scope) -> Page[ExecutionRow]:
        """One page of executions, the newest first unless the query sorts them."""
        return await self.execution_rows.page(query, scope)

    async def positions(self, query: Query, scope: Scope) -> Page[PositionRow]:
        """One page of positions by account and symbol, flat ones that have traded included."""
        return await self.position_rows.page(query, scope)

    async def accounts(self, query: Query, scope: Scope) -> Page[AccountRow]:
        """One page of accounts."""
        return await self.account_rows.page(query, scope)

    async def venues(self, query: Query, scope: Scope) -> Page[VenueRow]:
        """One page of venues: the same for every scope."""
        return await self.venue_rows.page(query, scope)

    async def instruments(self, query: Query, scope: Scope) -> Page[InstrumentRow]:
        """One page of instruments: the same for every scope."""
        return await self.instrument_rows.page(query, scope)

    async def count(self, query: Query, scope: Scope) -> int:
        """How many orders match."""
        return await self.order_rows.count(query, scope)

    async def wait_for(self, seq: int, timeout_s: float = 1.0) -> None:
        """Return once the tables hold what was journaled up to `seq`: a caller then reads his own writes.

        Raises:
            TimeoutError: `projection_behind`: it was not so within `timeout_s` seconds.
            OverloadedError: too many readers wait.
        """
        await self._progress.wait_for(seq, timeout_s)

    async def checkpoint_seq(self, shard: int = 0) -> int:
        """The sequence that the committed rows have reached, as the database says; 0 before the first."""
        wanted = select(tables.checkpoint.c.seq).where(tables.checkpoint.c.shard == shard)
        try:
            async with self._engine.connect() as connection:
                found = (await connection.execute(wanted)).scalar()
        except SQLAlchemyError as error:
            raise DatabaseError(f"the checkpoint cannot be read: {error}") from error
        return int(found or 0)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()
