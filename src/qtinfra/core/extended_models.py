"""Reference data and results: instruments, accounts, venues, executions, risk limits."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ONE, ZERO, is_multiple
from qtinfra.core.models import AssetClass, Currency

_UNBOUNDED = Decimal("Infinity")


class TickBand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From price `floor` (inclusive) upwards, prices are multiples of `tick`."""

    floor: Decimal
    tick: Decimal


class LotBand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From price `floor` (inclusive) upwards, a round lot has `lot` units."""

    floor: Decimal
    lot: Decimal


class LotKind(StrEnum):
    """A quantity against the round lot: whole round lots, less than one, or more with an odd part."""

    ROUND = "ROUND"
    ODD = "ODD"
    MIXED = "MIXED"


class TermsChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Trading terms that count from a trade date (ISO 8601) on, instead of those before."""

    from_date: str
    lot_size: Decimal
    ticks: tuple[TickBand, ...]
    round_lots: tuple[LotBand, ...] = ()


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """A tradable instrument.

    Attributes:
        symbol: our identifier, `[A-Z0-9.\\-/]{1,24}`.
        isin: ISO 6166 identifier, empty where none exists.
        listings: MIC codes (ISO 10383) of the venues that trade it, the primary listing first.
        ticks: tick table, ascending by floor; the last band whose floor is at or below the price counts.
        lot_size: order quantities are multiples of it.
        multiplier: currency value of a price move of 1 per unit (1 for shares).
        round_lots: units of a round lot, ascending by the floor of the reference price; empty: `lot_size`.
        odd_lots: whether quantities may have a part that is less than a round lot.
        changes: terms that will count from later trade dates on, ascending.
        covered: a covered security of 17 CFR 242.201(a)(1): the short-sale price test triggers by itself.
    """

    symbol: str
    asset_class: AssetClass
    currency: Currency
    listings: tuple[str, ...]
    ticks: tuple[TickBand, ...]
    lot_size: Decimal = ONE
    multiplier: Decimal = ONE
    isin: str = ""
    name: str = ""
    round_lots: tuple[LotBand, ...] = ()
    odd_lots: bool = True
    changes: tuple[TermsChange, ...] = ()
    covered: bool = False

    def as_of(self, trade_date: str) -> Instrument:
        """The instrument with the terms that count on a trade date; no date yet means those as given."""
        found = None
        for change in self.changes:
            if change.from_date <= trade_date:
                found = change
        if found is None:
            return self
        return msgspec.structs.replace(
            self, lot_size=found.lot_size, ticks=found.ticks, round_lots=found.round_lots
        )

    def round_lot_at(self, price: Decimal) -> Decimal:
        """Units of a round lot at a reference price."""
        lot = self.lot_size
        for band in self.round_lots:
            if band.floor > price:
                break
            lot = band.lot
        return lot

    def lot_kind(self, qty: Decimal, price: Decimal) -> LotKind:
        """What a quantity is against the round lot at a reference price."""
        lot = self.round_lot_at(price)
        if qty < lot:
            return LotKind.ODD
        return LotKind.MIXED if qty % lot else LotKind.ROUND

    def tick_at(self, price: Decimal) -> Decimal:
        """The tick that applies at a price."""
        tick = self.ticks[0].tick
        for band in self.ticks:
            if band.floor > price:
                break
            tick = band.tick
        return tick

    def tick_bounds(self, price: Decimal) -> tuple[Decimal, Decimal]:
        """The prices around this one where the same tick applies: from the first on, below the second."""
        low, high = -_UNBOUNDED, _UNBOUNDED
        for band in self.ticks[1:]:
            if band.floor > price:
                high = band.floor
                break
            low = band.floor
        return low, high

    def on_tick(self, price: Decimal) -> bool:
        return is_multiple(price, self.tick_at(price))

    def nearest_prices(self, price: Decimal) -> tuple[Decimal, Decimal]:
        """The valid prices just below and just above an invalid one."""
        tick = self.tick_at(price)
        below = (price // tick) * tick
        return below, below + tick


#: US equities: a cent from one dollar up, a hundredth of a cent below (17 CFR 242.612).
US_EQUITY_TICKS = (TickBand(ZERO, Decimal("0.0001")), TickBand(ONE, Decimal("0.01")))

#: US equities: 100, 40, 10 or 1 units by the primary listing's average closing price (17 CFR 242.600(b)(93)).
US_ROUND_LOTS = (
    LotBand(ZERO, Decimal(100)),
    LotBand(Decimal("250.01"), Decimal(40)),
    LotBand(Decimal("1000.01"), Decimal(10)),
    LotBand(Decimal("10000.01"), ONE),
)


class AckPolicy(StrEnum):
    """When a client hears New: at our acceptance, or when the first venue answers."""

    ON_ACCEPT = "on_accept"
    ON_VENUE = "on_venue"


class ChainedReplace(StrEnum):
    """A replace that comes while another is in flight: refused, or worked after it."""

    REJECT = "reject"
    QUEUE = "queue"


class HaltPolicy(StrEnum):
    """Resting orders when trading halts: cancelled, or suspended until it resumes."""

    CANCEL = "cancel"
    SUSPEND = "suspend"


class RealisedAt(StrEnum):
    """The rate that turns realised P&L and fees into base: of the trade, or of the end of its day."""

    TRADE_TIME = "TRADE_TIME"
    END_OF_DAY = "END_OF_DAY"


class SelfMatch(StrEnum):
    """What venues take out when two orders of one firm would trade with each other; NONE asks for nothing."""

    NONE = ""
    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"


class Policies(msgspec.Struct, frozen=True, gc=False):
    """How an account wants ambiguous situations handled.

    Attributes:
        self_match: sent to venues with every order of the account, under its firm's id.
        realised_at: keep profit and loss in the base currency, FX apart, converted at this moment's rates;
            None keeps none.
    """

    ack: AckPolicy = AckPolicy.ON_VENUE
    chained_replace: ChainedReplace = ChainedReplace.REJECT
    halt: HaltPolicy = HaltPolicy.CANCEL
    self_match: SelfMatch = SelfMatch.NONE
    realised_at: RealisedAt | None = None


class Account(msgspec.Struct, frozen=True, gc=False):
    """Whose orders and positions they are. Ids are pseudonyms: no personal data enters the journal."""

    account: str
    client: str
    base_currency: Currency
    desk: str = ""
    firm: str = ""
    policies: Policies = Policies()
    enabled: bool = True


class VenueStatus(StrEnum):
    """CONNECTED: takes orders. DISCONNECTED: what is in flight there is in doubt. CLOSED: no trading."""

    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    CLOSED = "CLOSED"


class Venue(msgspec.Struct, frozen=True, gc=False):
    """A place that executes orders.

    Attributes:
        mic: ISO 10383 code, the venue's id here.
        take_fee: currency per unit for removing displayed size; negative is a rebate.
        make_fee: currency per unit for providing it; negative is a rebate.
    """

    mic: str
    name: str
    currency: Currency
    take_fee: Decimal = ZERO
    make_fee: Decimal = ZERO
    order_types: tuple[str, ...] = ("LIMIT", "MARKET")
    time_in_force: tuple[str, ...] = ("DAY", "GTC", "IOC", "FOK")


class Liquidity(StrEnum):
    """Whether an execution provided or removed displayed size (FIX 851)."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    UNKNOWN = "UNKNOWN"


class ExecutionState(StrEnum):
    LIVE = "LIVE"
    CORRECTED = "CORRECTED"
    BUSTED = "BUSTED"


class Execution(msgspec.Struct, array_like=True, gc=False):
    """One trade print. `reported_qty`/`reported_px` are the venue's words; `qty`, `px` what counts today.

    `qty`, `px` and `value` (exactly what was paid per multiplier) follow corrections and corporate-action
    ratios; a busted execution counts for nothing. `fee` is the venue's, `commission` the
    client's by its schedule; both follow corrections.
    """

    key: str
    exec_id: str
    order_id: str
    child_id: str
    venue: str
    trade_date: str
    ts_ns: int
    reported_qty: Decimal
    reported_px: Decimal
    qty: Decimal
    px: Decimal
    value: Decimal
    liquidity: Liquidity
    fee: Decimal = ZERO
    state: ExecutionState = ExecutionState.LIVE
    late: bool = False
    commission: Decimal = ZERO


class LimitRule(StrEnum):
    """Pre-trade controls that take a number. The value is the rule id that a refusal names."""

    MAX_ORDER_QTY = "max_order_qty"
    MAX_ORDER_VALUE = "max_order_value"
    PRICE_COLLAR = "price_collar"
    POSITION_LIMIT = "position_limit"
    MAX_ORDER_VALUE_BASE = "max_order_value_base"
    PERIOD_COLLAR = "period_collar"
    CAPITAL = "capital"
    CONCENTRATION = "concentration"
    GROSS_EXPOSURE = "gross_exposure"
    NET_EXPOSURE = "net_exposure"
    CREDIT_THRESHOLD = "credit_threshold"
    MAX_MESSAGES = "max_messages"
    MAX_BOOK_MESSAGES = "max_book_messages"
    DUPLICATE_FLOW = "duplicate_flow"
    ALGO_EXECUTIONS = "algo_executions"


class KillScope(StrEnum):
    """What a kill switch stops."""

    FIRM = "FIRM"
    CLIENT = "CLIENT"
    DESK = "DESK"
    TRADER = "TRADER"
    ACCOUNT = "ACCOUNT"
    SYMBOL = "SYMBOL"
    VENUE = "VENUE"
    ALGO = "ALGO"


#: Stands for "every account" or "every symbol" in a limit or a restriction.
ANY = "*"


class RestrictedPolicy(StrEnum):
    """Open orders in a symbol that comes onto the restricted list: flagged to a person, or cancelled."""

    FLAG = "flag"
    CANCEL = "cancel"


class PartyKind(StrEnum):
    """Who must have been approved before (17 CFR 240.15c3-5(c)(2)(iii)).

    RISK_STAFF are the designated persons who set limits, release algos and grant overrides.
    """

    TRADER = "TRADER"
    ACCOUNT = "ACCOUNT"
    ALGO = "ALGO"
    RISK_STAFF = "RISK_STAFF"


class RiskPolicy(msgspec.Struct, frozen=True, gc=False):
    """How the pre-trade controls of a shard work, besides their limits.

    Attributes:
        base_currency: the one currency of exposure, credit, capital and `max_order_value_base`.
        restricted_orders: what happens to open orders when their symbol is restricted.
        approved_only: kinds of parties that may act only once they are approved.
        short_sale: sells of shares and ETFs follow Regulation SHO (marking, locates, price test).
        message_window_ns, duplicate_window_ns, drift_window_ns: the periods that the message rate,
            duplicate flow and the period collar look back.
        reference_max_age_ns: a journaled reference price older than this is stale; 0 for never. Quotes of
            a live feed do not age.
        fx_max_age_ns: the same for a rate.
    """

    base_currency: Currency = Currency.USD
    restricted_orders: RestrictedPolicy = RestrictedPolicy.FLAG
    approved_only: tuple[PartyKind, ...] = ()
    short_sale: bool = False
    message_window_ns: int = 1_000_000_000
    duplicate_window_ns: int = 500_000_000
    drift_window_ns: int = 60_000_000_000
    reference_max_age_ns: int = 0
    fx_max_age_ns: int = 0


class Locate(msgspec.Struct, frozen=True, gc=False):
    """Shares that may be borrowed to deliver on a short sale (17 CFR 242.203(b)(1)).

    `trade_date` (ISO 8601) is the only day it is good for; empty for any day.
    """

    locate_id: str
    account: str
    symbol: str
    qty: Decimal
    source: str = ""
    trade_date: str = ""
