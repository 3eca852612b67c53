"""The repositories of reference data: accounts, venues, instruments."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.models import AssetClass
from qtinfra.repository import tables
from qtinfra.repository.base import Repository
from qtinfra.repository.cursor import CursorCodec
from qtinfra.repository.query import Field, FieldSet, Kind
from qtinfra.repository.rows import AccountRow, InstrumentRow, VenueRow

ACCOUNT_FIELDS = FieldSet(
    (
        Field("account_id", "account"),
        Field("client", "client"),
        Field("base_currency", "base_currency"),
        Field("desk", "desk"),
        Field("firm", "firm"),
        Field("enabled", "enabled", Kind.FLAG, sortable=False),
    ),
    default_sort="account_id",
)

VENUE_FIELDS = FieldSet(
    (
        Field("mic", "mic"),
        Field("currency", "currency"),
        Field("status", "status", Kind.CHOICE, tuple(item.value for item in VenueStatus)),
    ),
    default_sort="mic",
)

INSTRUMENT_FIELDS = FieldSet(
    (
        Field("symbol", "symbol"),
        Field("asset_class", "asset_class", Kind.CHOICE, tuple(item.value for item in AssetClass)),
        Field("currency", "currency"),
        Field("isin", "isin"),
        Field("halted", "halted", sortable=False, optional=True),
    ),
    default_sort="symbol",
)


class AccountRepository(Repository[AccountRow]):
    """Accounts; a caller sees those of his scope."""

    def __init__(self, engine: AsyncEngine, cursors: CursorCodec) -> None:
        super().__init__(engine, tables.accounts, AccountRow, ACCOUNT_FIELDS, cursors)


class VenueRepository(Repository[VenueRow]):
    """Venues; the same for everybody."""

    def __init__(self, engine: AsyncEngine, cursors: CursorCodec) -> None:
        super().__init__(engine, tables.venues, VenueRow, VENUE_FIELDS, cursors, scope_column=None)


class InstrumentRepository(Repository[InstrumentRow]):
    """Instruments; the same for everybody."""

    def __init__(self, engine: AsyncEngine, cursors: CursorCodec) -> None:
        super().__init__(
            engine, tables.instruments, InstrumentRow, INSTRUMENT_FIELDS, cursors, scope_column=None
        )
