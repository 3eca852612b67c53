"""Making the read tables of a journal again from its first record."""

from __future__ import annotations

from pathlib import Path

import msgspec

from qtinfra.bootstrap.sessions import reading
from qtinfra.repository import tables
from qtinfra.repository.progress import Progress
from qtinfra.repository.projector import Projector, clear, row_counts


class RebuildResult(msgspec.Struct, frozen=True):
    """What a rebuild made: `rows` by table, as of the journal's sequence `seq` with the chain's `hash`."""

    journal: str
    tables: str
    records: int
    seq: int
    hash: str
    rows: dict[str, int]


def tables_of(journal: Path) -> Path:
    """Where the read tables of a journal stand by its name."""
    return journal.with_name(f"{journal.name}.tables.sqlite")


def rebuild_tables(journal: Path, path: Path) -> RebuildResult:
    """Empty the read tables and project the journal into them from its first record.

    A projector that runs on them meanwhile notices and begins again where this one is.

    Raises:
        JournalCorruptError: names the first sequence that does not verify.
        JournalError: it is no journal, or an export of one.
        DatabaseError: the tables cannot be written, or are of another version.
    """
    with reading(journal) as source:
        engine = tables.writing_engine(path)
        try:
            clear(engine)
            projector = Projector(engine, Progress())
            records = projector.catch_up(source)
            at = projector.checkpoint
            rows = row_counts(engine)
        finally:
            engine.dispose()
    return RebuildResult(str(journal), str(path), records, at.seq, at.hash.hex(), rows)
