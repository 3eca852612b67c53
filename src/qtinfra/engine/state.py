"""The state of one shard: everything a decision may read besides the market. Built by `evolve` only.

All containers keep insertion order, which is the order of events: two replays of one journal hold equal
bytes. There are no sets and no floats here.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

import msgspec

from qtinfra.core.calendar import VenueCalendar
from qtinfra.core.decimals import ZERO
from qtinfra.core.extended_models import (
    ANY,
    Account,
    AckPolicy,
    Execution,
    Instrument,
    Policies,
    Venue,
    VenueStatus,
)
from qtinfra.core.models import Child, Order, Origin
from qtinfra.core.special import Link, SpecialTerms
from qtinfra.engine.algo_state import AlgoState
from qtinfra.engine.risk_state import RiskState
from qtinfra.positions.book import PositionBook
from qtinfra.positions.cash import CashLedger
from qtinfra.positions.fee_book import FeeBook
from qtinfra.risk.limits import LimitTable


class Exposure(msgspec.Struct, gc=False):
    """Quantity open in an account's orders of one symbol, by side. Doubtful children count in full."""

    buy: Decimal = ZERO
    sell: Decimal = ZERO


class OrderList(msgspec.Struct, gc=False):
    """Orders that hang together. `qty` is what the list may execute; a bracket's first order is its entry."""

    link: Link
    qty: Decimal
    orders: list[str]


class State(msgspec.Struct, dict=True):
    """One shard's state after event `seq`.

    Besides its fields, which are all that is encoded and hashed, it may carry what `engine.lookup` derives.
    `closed_days` has the last trading date that ended, by venue ("" for all at once). `specials` are the open
    orders with special terms, `watched` those that the market may move, by symbol, with the best price that a
    trailing stop has seen; `submitted_terms` the first terms of orders whose special terms have changed.
    `fees` is None until a fee schedule is set, `cash` until cash is loaded (it has the accounts that did).
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
    exposure: dict[str, dict[str, Exposure]] = {}
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

    def find_order(self, account: str, cl_ord_id: str) -> Order | None:
        """The order that any of its client ids names: the first, a replace's, a cancel's."""
        order_id = self.client_ids.get(account, _NO_IDS).get(cl_ord_id)
        return self.orders[order_id] if order_id is not None else None

    def policies(self, account: str) -> Policies:
        known = self.accounts.get(account)
        return known.policies if known is not None else _DEFAULT_POLICIES

    def acks_on_accept(self, account: str, origin: Origin) -> bool:
        """Whether New is said at acceptance: by policy, and always for an order taken by phone."""
        return origin is Origin.STAFF or self.policies(account).ack is AckPolicy.ON_ACCEPT

    def open_quantity(self, account: str, symbol: str) -> Exposure:
        return self.exposure.get(account, _NO_EXPOSURE).get(symbol, _ZERO_EXPOSURE)

    def net_position(self, account: str, symbol: str) -> Decimal:
        position = self.positions.get(account, symbol)
        return position.qty if position is not None else ZERO

    def is_restricted(self, account: str, symbol: str) -> bool:
        accounts = self.restricted.get(symbol)
        return accounts is not None and (account in accounts or ANY in accounts)

    def connected(self, venue: str) -> bool:
        return self.venue_status.get(venue) is VenueStatus.CONNECTED

    def working_children(self, order: Order) -> list[Child]:
        """The order's children that a venue may still execute, oldest first."""
        found = []
        for child_id in order.children:
            child = self.children[child_id]
            if child.working:
                found.append(child)
        return found


_NO_IDS: dict[str, str] = {}
_NO_EXPOSURE: dict[str, Exposure] = {}
_ZERO_EXPOSURE = Exposure()
_DEFAULT_POLICIES = Policies()

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(State)


def encode_state(state: State) -> bytes:
    """The whole state as bytes: equal histories give equal bytes, in any process."""
    return _ENCODER.encode(state)


def decode_state(data: bytes) -> State:
    """Inverse of `encode_state`; raises `msgspec.ValidationError` on foreign bytes."""
    return _DECODER.decode(data)


def state_hash(state: State) -> str:
    """SHA-256 of the encoded state, hex."""
    return hashlib.sha256(encode_state(state)).hexdigest()
