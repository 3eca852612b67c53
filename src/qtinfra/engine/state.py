"""The state of one shard: everything a decision may read besides the market. Built by `evolve` only.

All containers keep insertion order, which is the order of events: two replays of one journal hold equal
bytes. There are no sets and no floats here.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec

from qtinfra.core.calendar import VenueCalendar
from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import (
    ANY,
    Account,
    Execution,
    Instrument,
    Policies,
    Venue,
    VenueStatus,
)
from qtinfra.core.models import Child, Order
from qtinfra.core.special import Link, SpecialTerms
from qtinfra.core.writes import quick_writes
from qtinfra.engine.algo_state import AlgoState
from qtinfra.engine.archive import Archive, Packing
from qtinfra.engine.book_state import BookState
from qtinfra.engine.keyindex import Written, salt_of
from qtinfra.engine.risk_state import RiskState
from qtinfra.engine.routing_state import RoutingState
from qtinfra.engine.rowform import Row
from qtinfra.engine.rows import Table, Tables
from qtinfra.engine.rowshort import Several, ShortChild, ShortExecution, ShortOrder
from qtinfra.positions.base_pnl import PnlLedger
from qtinfra.positions.book import PositionBook
from qtinfra.positions.cash import CashLedger
from qtinfra.positions.fee_book import FeeBook
from qtinfra.risk.ledger import Cell
from qtinfra.risk.limits import LimitTable

# Members by name: looking them up in their class costs more than comparing them.
_VENUE_CONNECTED = VenueStatus.CONNECTED


class OrderList(msgspec.Struct, gc=False):
    """Orders that hang together. `qty` is what the list may execute; a bracket's first order is its entry."""

    link: Link
    qty: Decimal
    orders: list[str]


class _Kept:
    """What a state keeps beside its fields: neither encoded nor hashed.

    `tables` has the live orders and what goes with them, and the archive of the packed ones behind them.
    """

    __slots__ = ("tables",)

    tables: Tables


@quick_writes
class State(msgspec.Struct, _Kept, dict=True):
    """One shard's state after event `seq`.

    Besides its fields, which are all that is encoded and hashed, it may carry what `engine.lookup` derives.
    `closed_days` has the last trading date that ended, by venue ("" for all at once). `specials` are the open
    orders with special terms, `watched` those that the market may move, by symbol, with the best price that a
    trailing stop has seen; `submitted_terms` the first terms of orders whose special terms have changed.
    `open_orders` are those, and `closing` the ones that have ended and wait to be packed, and whether more
    has happened to each than that it was sent, acknowledged and executed (`engine.packing`); `packing` stands
    for those that are packed, and the tables of orders, children, venue ids and executions find both
    (`engine.rows`).
    `fees` is None until a fee schedule is set, `cash` until cash is loaded (it has the accounts that did),
    `pnl` until an account asks for profit and loss in its base currency (it has those that did),
    `routing` until a routing policy, venue limit or protection rule is set.
    """

    shard: int = 0
    epoch: int = 0
    seq: int = 0
    trade_date: str = ""
    closed_days: dict[str, str] = {}
    instruments: dict[str, Instrument] = {}
    accounts: dict[str, Account] = {}
    venues: dict[str, Venue] = {}
    venue_status: dict[str, VenueStatus] = {}
    reference_prices: dict[str, Decimal] = {}
    fx_rates: dict[str, Decimal] = {}
    limits: LimitTable = {}
    restricted: dict[str, dict[str, bool]] = {}
    halted: dict[str, str] = {}
    kills: dict[str, str] = {}
    frozen: dict[str, str] = {}
    orders: dict[str, Order] = {}
    open_orders: dict[str, bool] = {}
    client_ids: dict[str, dict[str, str]] = {}
    children: dict[str, Child] = {}
    venue_ids: dict[str, str] = {}
    executions: dict[str, Execution] = {}
    positions: PositionBook = msgspec.field(default_factory=PositionBook)
    sessions: dict[str, str] = {}
    inbound: dict[str, int] = {}
    breaks: int = 0
    calendars: dict[str, VenueCalendar] = {}
    specials: dict[str, bool] = {}
    watched: dict[str, dict[str, Decimal | None]] = {}
    lists: dict[str, OrderList] = {}
    submitted_terms: dict[str, SpecialTerms | None] = {}
    corporate_actions: dict[str, bool] = {}
    risk: RiskState = msgspec.field(default_factory=RiskState)
    fees: FeeBook | None = None
    cash: CashLedger | None = None
    algos: AlgoState = msgspec.field(default_factory=AlgoState)
    closing: dict[str, bool] = {}
    packing: Packing = msgspec.field(default_factory=Packing)
    routing: RoutingState | None = None
    books: BookState = msgspec.field(default_factory=BookState)
    pnl: PnlLedger | None = None

    def __post_init__(self) -> None:
        before = self.orders
        archive = before.archive.copy() if isinstance(before, Table) else Archive(self.packing)
        self.keep_in(archive)

    def keep_in(self, archive: Archive) -> None:
        """Put an archive behind the tables; its packing is the state's from now on."""
        self.packing = archive.packing
        tables = Tables(
            archive,
            self.closing,
            self.client_ids,
            self.orders,
            self.children,
            self.venue_ids,
            self.executions,
        )
        self.orders, self.children = tables.orders, tables.children
        self.venue_ids, self.executions = tables.venue_ids, tables.executions
        self.tables = tables

    def find_order(self, account: str, cl_ord_id: str) -> Order | None:
        """The order that any of its client ids names: the first, a replace's, a cancel's."""
        names = self.client_ids.get(account)
        if names is not None and cl_ord_id in names:
            return self.orders[names[cl_ord_id]]
        tables = self.tables
        if not tables.may_know(account, cl_ord_id, salt_of(account)):
            return None
        number = tables.archive.of_client_id(account, cl_ord_id)
        return tables.reach(number).order if number is not None else None

    def policies(self, account: str) -> Policies:
        known = self.accounts.get(account)
        return known.policies if known is not None else _DEFAULT_POLICIES

    def open_quantity(self, account: str, symbol: str) -> Cell:
        """What is open in the account's orders: `buy` and `sell`, in units. To be read only."""
        return self.risk.cell(account, symbol) or _NO_CELL

    def net_position(self, account: str, symbol: str) -> Decimal:
        position = self.positions.get(account, symbol)
        return position.qty if position is not None else ZERO

    def is_restricted(self, account: str, symbol: str) -> bool:
        accounts = self.restricted.get(symbol)
        return accounts is not None and (account in accounts or ANY in accounts)

    def connected(self, venue: str) -> bool:
        return self.venue_status.get(venue) is _VENUE_CONNECTED

    def working_children(self, order: Order) -> list[Child]:
        """The order's children that a venue may still execute, oldest first."""
        found = []
        for child_id in order.children:
            child = self.children[child_id]
            if child.working:
                found.append(child)
        return found


_NO_CELL = Cell()
_DEFAULT_POLICIES = Policies()

#: What a snapshot's bytes mean besides the names and types of its fields. Add one when evolve comes to read
#: the same fields in another way.
_RULES = 5


class _Image(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A state as written: the version that wrote it, its fields, and the archive of its packed orders."""

    version: str
    state: msgspec.Raw
    archive: msgspec.Raw


_ENCODER = msgspec.msgpack.Encoder()
_IMAGES = msgspec.msgpack.Decoder(_Image)
_STATES = msgspec.msgpack.Decoder(State)
_ARCHIVES = msgspec.msgpack.Decoder(tuple[list[bytes], Written])


@cache
def state_version() -> str:
    """The version of a state's written form: of the rules, and of every field's name, type and default."""
    forms = (State, Row, ShortOrder, ShortChild, ShortExecution, Several)
    schema = _undescribed(msgspec.json.schema_components(forms))
    written = msgspec.json.encode(schema, order="sorted")
    return f"{_RULES}-{hashlib.sha256(written).hexdigest()[:16]}"


def _undescribed(schema: Any) -> Any:
    """A schema without what docstrings say: they change nothing that is written."""
    if isinstance(schema, dict):
        return {
            key: _undescribed(value)
            for key, value in schema.items()
            if key != "description" or not isinstance(value, str)
        }
    return [_undescribed(item) for item in schema] if isinstance(schema, list | tuple) else schema


def encode_state(state: State) -> bytes:
    """The whole state as bytes, packed orders as they are kept. Equal histories give equal bytes, in any
    process with the same compressor; for a comparison between any two take `state_hash`.
    """
    return _ENCODER.encode((state_version(), state, state.tables.archive.dump()))


def version_of(data: bytes) -> str:
    """The version that wrote an encoded state, whether or not this one can read it.

    Raises:
        msgspec.DecodeError: foreign bytes.
    """
    return _IMAGES.decode(data).version


def decode_state(data: bytes) -> State:
    """Inverse of `encode_state`. Packed orders stay packed.

    Raises:
        msgspec.ValidationError: foreign bytes, or written by another version of the state or its rules.
    """
    image = _IMAGES.decode(data)
    if image.version != state_version():
        raise msgspec.ValidationError(f"a state of version {image.version}, not {state_version()}")
    state = _STATES.decode(image.state)
    state.keep_in(Archive(state.packing, *_ARCHIVES.decode(image.archive)))
    if not state.tables.archive.complete:
        raise msgspec.ValidationError(f"not the {state.packing.rows} packed orders that the state counts")
    return state


def clone_state(state: State) -> State:
    """An equal state that changes by itself; the blocks of packed orders, which never change, are shared."""
    clone = _STATES.decode(_ENCODER.encode(state))
    clone.keep_in(Archive(clone.packing, *state.tables.archive.dump()))
    return clone


def state_hash(state: State) -> str:
    """SHA-256, hex, of the encoded fields; those of packed orders are covered by `Packing.digest`."""
    return hashlib.sha256(_ENCODER.encode(state)).hexdigest()
