"""The projector: journal records in, rows out, with how far it is in the same transaction.

It evolves a state of its own with the engine's `replay` and writes the rows that each batch touched. Nothing
that decides reads what it writes. It may be stopped at any moment: the next one continues after the last
committed batch, and a journal that does not hold the checkpoint's hash at its sequence is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Table, case, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from qtinfra.core.decimals import exact
from qtinfra.core.events import Entry
from qtinfra.core.exceptions import DatabaseError, JournalError
from qtinfra.core.ports import Head
from qtinfra.core.runs import each, last_ns
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State, decode_state
from qtinfra.journal.base import FrameJournal
from qtinfra.journal.codec import GENESIS, StoredRecord
from qtinfra.repository import tables
from qtinfra.repository.progress import Progress
from qtinfra.repository.shaping import (
    Values,
    account_values,
    child_values,
    execution_values,
    history_values,
    instrument_values,
    order_values,
    position_values,
    venue_values,
)
from qtinfra.repository.touched import Touched, note, opens_day

#: Most records in one transaction.
BATCH_RECORDS = 4_096

_UNFIT = (InvariantBrokenError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_Insert = sqlite.Insert | postgresql.Insert
_INSERTS: dict[str, Callable[[Table], _Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
#: Columns that count when the row is new, and keep their value when it is written again.
_FIRST_ONLY = {"first_cl_ord_id", "number", "sent_ns"}
#: Columns that keep their value when the new row says nothing in the column named beside them.
_LAST_GIVEN = {
    "reason_code": "reason",
    "reason": "reason",
    "confidence_ppm": "confidence_ppm",
    "expected_fill_ppm": "confidence_ppm",
}


class ProjectionError(DatabaseError):
    """The projector cannot go on from what it has; context says where. Rebuild, or look at the journal."""

    code = "projection_error"
    retryable = False


class Checkpoint(msgspec.Struct, frozen=True):
    """How far the rows are: the last record's sequence, the chain's hash there, its moment."""

    seq: int = 0
    hash: bytes = GENESIS
    ts_ns: int = 0


class Upsert:
    """One table's statement for many rows: new ones are inserted, known ones overwritten.

    Args:
        engine: for writing; SQLite and PostgreSQL have the statement in the same words.
    """

    def __init__(self, table: Table, engine: Engine) -> None:
        dialect = engine.dialect
        made = _INSERTS[dialect.name](table)
        key = [column.name for column in table.primary_key.columns]
        changes: dict[str, Any] = {}
        for column in table.columns:
            if column.name in key or column.name in _FIRST_ONLY:
                continue
            new: ColumnElement[Any] = made.excluded[column.name]
            if column.name in _LAST_GIVEN:
                said = made.excluded[_LAST_GIVEN[column.name]]
                new = case((said.is_not(None), new), else_=column)
            changes[column.name] = new
        names = [column.name for column in table.columns]
        statement = made.on_conflict_do_update(index_elements=key, set_=changes)
        compiled = statement.compile(dialect=dialect, column_keys=names)
        if compiled.positiontup != names:
            raise ProjectionError(f"{dialect.name} does not take the columns of {table.name} in their order")
        self._sql = str(compiled)

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Write the rows, their values in the order of the table's columns."""
        if rows:
            connection.exec_driver_sql(self._sql, list(rows))


class Projector:
    """Writes one shard's rows. Not for concurrent calls; any one thread may make them.

    Args:
        engine: for writing, as `tables.writing_engine` makes it.
        progress: told after each commit.
        shard: whose journal it follows.

    Attributes:
        records: how many records it has applied since it was made.
    """

    def __init__(self, engine: Engine, progress: Progress, *, shard: int = 0) -> None:
        tables.prepare(engine)
        self.records = 0
        self._engine = engine
        self._progress = progress
        self._shard = shard
        self._state = State(shard=shard)
        self._at = self._stored_checkpoint()
        self._ready = False
        self._orders = Upsert(tables.orders, engine)
        self._children = Upsert(tables.children, engine)
        self._executions = Upsert(tables.executions, engine)
        self._positions = Upsert(tables.positions, engine)
        self._accounts = Upsert(tables.accounts, engine)
        self._venues = Upsert(tables.venues, engine)
        self._instruments = Upsert(tables.instruments, engine)
        self._history = Upsert(tables.history, engine)

    @property
    def checkpoint(self) -> Checkpoint:
        """How far the committed rows are."""
        return self._at

    def close(self) -> None:
        """Close the connections to the tables."""
        self._engine.dispose()

    # --- following the journal ----------------------------------------------------------------------------

    def restore(self, journal: FrameJournal) -> None:
        """Bring the projector's state to the checkpoint: from a snapshot that is not ahead of it, and the
        records after that.

        Raises:
            ProjectionError: `other_journal`: this is not the journal that the rows were made from.
            JournalCorruptError: a record does not verify.
        """
        at = self._at
        try:
            known = journal.head_at(at.seq)
        except JournalError as error:
            raise self._foreign(journal, error.message) from error
        if known != at.hash:
            raise self._foreign(journal, "its chain has another hash there")
        snapshot = journal.latest_snapshot()
        state = State(shard=self._shard)
        if snapshot is not None and snapshot.seq <= at.seq:
            try:
                state = decode_state(snapshot.state)
            except msgspec.DecodeError:
                state = State(shard=self._shard)
        for entry in journal.read(state.seq):
            if entry.seq > at.seq:
                break
            _evolve(state, entry)
        self._state = state
        self._ready = True
        self._progress.advance(at.seq)

    def catch_up(self, journal: FrameJournal, *, batch: int = BATCH_RECORDS) -> int:
        """Project everything up to the journal's end, a transaction for every `batch` records.

        Returns:
            How many records.

        Raises:
            ProjectionError: as `apply`.
            JournalCorruptError: a record does not verify; what came before it is committed.
        """
        before = self.records
        if not self._ready:
            self.restore(journal)
        for records in _batches(journal.records(self._at.seq), batch):
            last = records[-1]
            head = Head(self._shard, last.entry.epoch, last.entry.last_seq, last.hash)
            self.apply([record.entry for record in records], head)
        return self.records - before

    def apply(self, entries: Sequence[Entry], head: Head) -> None:
        """Project durable records that follow the checkpoint, in one transaction.

        When it fails, the projector is of no use any more: make a new one, which continues after the last
        transaction that was committed.

        Args:
            head: the journal's end after the last of them.

        Raises:
            ProjectionError: `projection_gap`: they do not follow; `projection_conflict`: another projector
                writes these tables; `projection_error`: a record does not apply.
            DatabaseError: the database refused; nothing of the batch was written.
        """
        if not entries:
            return
        self._require_next(entries, head)
        touched = Touched()
        for entry in chain.from_iterable(map(each, entries)):
            open_before = list(self._state.open_orders) if opens_day(entry) else ()
            _evolve(self._state, entry)
            note(touched, self._state, entry, open_before)
        at = Checkpoint(head.seq, head.hash, last_ns(entries[-1]))
        self._ready = False
        try:
            with tables.projecting(self._engine) as connection:
                self._advance(connection, at)
                self._write(connection, touched)
        except SQLAlchemyError as error:
            raise DatabaseError(f"records up to {head.seq} cannot be projected: {error}") from error
        self._ready = True
        self._at = at
        self.records += len(entries)
        self._progress.advance(at.seq)

    def _require_next(self, entries: Sequence[Entry], head: Head) -> None:
        first, last = entries[0], entries[-1]
        if self._ready and first.seq == self._at.seq + 1 and head.seq == last.last_seq:
            return
        raise ProjectionError(
            f"records {first.seq} to {last.last_seq} do not follow the checkpoint at {self._at.seq}"
            f" to the head at {head.seq}" + ("" if self._ready else ": its state has not been restored"),
            code="projection_gap",
            context={"seq": self._at.seq, "first_seq": first.seq, "head_seq": head.seq},
        )

    def _foreign(self, journal: FrameJournal, why: str) -> ProjectionError:
        return ProjectionError(
            f"the read tables stand at sequence {self._at.seq} of another journal than this one, which ends "
            f"at {journal.head.seq}: {why}. Rebuild them, or use the journal they were made from",
            code="other_journal",
            context={"seq": self._at.seq, "head_seq": journal.head.seq},
        )

    # --- writing ------------------------------------------------------------------------------------------

    def _write(self, connection: Connection, touched: Touched) -> None:
        state = self._state
        orders = state.orders
        with exact():
            self._orders.run(
                connection,
                [order_values(state, orders[key], seq, touched) for key, seq in touched.orders.items()],
            )
            self._children.run(
                connection, [child_values(state, key, seq, touched) for key, seq in touched.children.items()]
            )
            self._executions.run(
                connection, [execution_values(state, key, seq) for key, seq in touched.executions.items()]
            )
            self._history.run(
                connection,
                [history_values(state, seq, key, event, entry) for seq, key, event, entry in touched.events],
            )
            self._write_positions(connection, touched)
        self._accounts.run(connection, _known(account_values, state, touched.accounts))
        self._venues.run(connection, _known(venue_values, state, touched.venues))
        self._instruments.run(connection, _known(instrument_values, state, touched.instruments))

    def _write_positions(self, connection: Connection, touched: Touched) -> None:
        """A position that a bust or a load has taken away leaves the table."""
        rows = []
        table = tables.positions.c
        for (account, symbol), at in touched.positions.items():
            values = position_values(self._state, account, symbol, at)
            if values is not None:
                rows.append(values)
            else:
                gone = (table.account == account) & (table.symbol == symbol)
                connection.execute(delete(tables.positions).where(gone))
        self._positions.run(connection, rows)

    def _advance(self, connection: Connection, to: Checkpoint) -> None:
        """Move the checkpoint, if it still stands where this projector left it."""
        table, before = tables.checkpoint, self._at
        values = {"seq": to.seq, "hash": to.hash.hex(), "ts_ns": to.ts_ns}
        mine = (table.c.shard == self._shard) & (table.c.seq == before.seq)
        mine &= table.c.hash == before.hash.hex()
        if connection.execute(update(table).where(mine).values(**values)).rowcount == 1:
            return
        stored = self._read_checkpoint(connection)
        if stored is not None or before.seq:
            raise ProjectionError(
                f"another projector has moved the checkpoint from {before.seq} to {stored and stored.seq}",
                code="projection_conflict",
                context={"seq": before.seq, "stored_seq": stored and stored.seq},
            )
        connection.execute(insert(table).values(shard=self._shard, **values))

    def _stored_checkpoint(self) -> Checkpoint:
        try:
            with self._engine.connect() as connection:
                return self._read_checkpoint(connection) or Checkpoint()
        except SQLAlchemyError as error:
            raise DatabaseError(f"the checkpoint cannot be read: {error}") from error

    def _read_checkpoint(self, connection: Connection) -> Checkpoint | None:
        table = tables.checkpoint.c
        wanted = select(table.seq, table.hash, table.ts_ns).where(table.shard == self._shard)
        found = connection.execute(wanted).one_or_none()
        return None if found is None else Checkpoint(found.seq, bytes.fromhex(found.hash), found.ts_ns)


def clear(engine: Engine) -> None:
    """Empty every projected table and forget the checkpoint: the next projector begins at the first record.

    Raises:
        DatabaseError: the database refused; nothing was emptied.
    """
    tables.prepare(engine)
    try:
        with tables.projecting(engine) as connection:
            for table in tables.PROJECTED:
                connection.execute(delete(table))
    except SQLAlchemyError as error:
        raise DatabaseError(f"the read tables cannot be emptied: {error}") from error


def row_counts(engine: Engine) -> dict[str, int]:
    """How many rows each projected table has.

    Raises:
        DatabaseError: the database did not answer.
    """
    try:
        with engine.connect() as connection:
            return {
                str(table.name): connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in tables.PROJECTED
                if table is not tables.checkpoint
            }
    except SQLAlchemyError as error:
        raise DatabaseError(f"the read tables cannot be read: {error}") from error


def _evolve(state: State, entry: Entry) -> None:
    try:
        replay(state, entry)
    except _UNFIT as error:
        raise ProjectionError(
            f"record {entry.seq} does not apply to the projector's state: {error!r}",
            context={"seq": entry.seq, "state_seq": state.seq},
        ) from error


def _known(shape: Any, state: State, touched: dict[str, int]) -> list[Values]:
    rows = (shape(state, key, seq) for key, seq in touched.items())
    return [row for row in rows if row is not None]


def _batches(records: Iterable[StoredRecord], size: int) -> Iterator[list[StoredRecord]]:
    source = iter(records)
    while batch := list(islice(source, size)):
        yield batch
