"""Reference data and results: instruments, accounts, venues, executions, risk limits."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ONE, ZERO, is_multiple
from qtinfra.core.models import AssetClass, Currency


class TickBand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From price `floor` (inclusive) upwards, prices are multiples of `tick`."""

    floor: Decimal
    tick: Decimal


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """A tradable instrument.

    Attributes:
        symbol: our identifier, `[A-Z0-9.\\-/]{1,24}`.
        isin: ISO 6166 identifier, empty where none exists.
        listings: MIC codes (ISO 10383) of the venues that trade it, the primary listing first.
        ticks: tick table, ascending by floor; the last band whose floor is at or below the price counts.
        lot_size: order quantities are multiples of it.
        multiplier: currency value of a price move of 1 per unit (1 for shares).
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

    def tick_at(self, price: Decimal) -> Decimal:
        """The tick that applies at a price."""
        tick = self.ticks[0].tick
        for band in self.ticks:
            if band.floor > price:
                break
            tick = band.tick
        return tick

    def on_tick(self, price: Decimal) -> bool:
        return is_multiple(price, self.tick_at(price))

    def nearest_prices(self, price: Decimal) -> tuple[Decimal, Decimal]:
        """The valid prices just below and just above an invalid one."""
        tick = self.tick_at(price)
        below = (price // tick) * tick
        return below, below + tick


#: US equities: a cent from one dollar up, a hundredth of a cent below (17 CFR 242.612).
US_EQUITY_TICKS = (TickBand(ZERO, Decimal("0.0001")), TickBand(ONE, Decimal("0.01")))


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


class Policies(msgspec.Struct, frozen=True, gc=False):
    """How an account wants ambiguous situations handled."""

    ack: AckPolicy = AckPolicy.ON_VENUE
    chained_replace: ChainedReplace = ChainedReplace.REJECT
    halt: HaltPolicy = HaltPolicy.CANCEL


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


class Execution(msgspec.Struct, gc=False):
    """One trade print. `reported_qty`/`reported_px` are the venue's words; `qty`, `px` what counts today.

    `qty`, `px` and `value` (exactly what was paid per multiplier) follow corrections and corporate-action
    ratios; a busted execution counts for nothing.
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


class LimitRule(StrEnum):
    """Pre-trade controls that take a number. The value is the rule id that a refusal names."""

    MAX_ORDER_QTY = "max_order_qty"
    MAX_ORDER_VALUE = "max_order_value"
    PRICE_COLLAR = "price_collar"
    POSITION_LIMIT = "position_limit"


class KillScope(StrEnum):
    """What a kill switch stops."""

    FIRM = "FIRM"
    CLIENT = "CLIENT"
    DESK = "DESK"
    TRADER = "TRADER"
    ACCOUNT = "ACCOUNT"
    SYMBOL = "SYMBOL"
    VENUE = "VENUE"


#: Stands for "every account" or "every symbol" in a limit or a restriction.
ANY = "*"
