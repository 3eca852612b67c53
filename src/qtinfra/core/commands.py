"""What may be asked of the engine. Commands are imperative and frozen; whether they happen is decided."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.calendar import VenueCalendar
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.extended_models import (
    Account,
    Instrument,
    KillScope,
    LimitRule,
    Locate,
    PartyKind,
    RiskPolicy,
    Venue,
    VenueStatus,
)
from qtinfra.core.fees import FeeSchedule, RegulatoryFee
from qtinfra.core.marking import MarkPolicy, MarkSource
from qtinfra.core.models import Capacity, Currency, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.reports import VenueReport
from qtinfra.core.routing import OrderProtection, RoutingPolicy, VenueLimit
from qtinfra.core.special import Link, SpecialTerms


class Command(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of all commands. The tag carries the version once a type has a second one ("Name@2")."""


class SubmitOrder(Command, frozen=True, gc=False):
    """A new order. `cl_ord_id` is unique per account for ever. `min_qty`: least execution, None is 0.

    `poss_resend` (FIX 97) is kept for the record and decides nothing: a repeated order is known by its id and
    content, whether its sender flags it or not.
    """

    account: str
    cl_ord_id: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    price: Decimal | None = None
    min_qty: Decimal | None = None
    capacity: Capacity = Capacity.AGENCY
    trader: str = ""
    origin: Origin = Origin.CLIENT
    poss_resend: bool = False
    special: SpecialTerms | None = None
    algo: AlgoTerms | None = None


class Terms:
    """What an order's command asks for, by the same names, for an event that holds the command.

    A property costs as much as a call: who reads several takes them from `command`.
    """

    __slots__ = ()

    command: SubmitOrder

    @property
    def account(self) -> str:
        return self.command.account

    @property
    def cl_ord_id(self) -> str:
        return self.command.cl_ord_id

    @property
    def symbol(self) -> str:
        return self.command.symbol

    @property
    def side(self) -> OrderSide:
        return self.command.side

    @property
    def order_type(self) -> OrderType:
        return self.command.order_type

    @property
    def tif(self) -> TimeInForce:
        return self.command.tif

    @property
    def qty(self) -> Decimal:
        return self.command.qty

    @property
    def price(self) -> Decimal | None:
        return self.command.price

    @property
    def min_qty(self) -> Decimal | None:
        return self.command.min_qty

    @property
    def capacity(self) -> Capacity:
        return self.command.capacity

    @property
    def trader(self) -> str:
        return self.command.trader

    @property
    def origin(self) -> Origin:
        return self.command.origin


class ReplaceOrder(Command, frozen=True, gc=False):
    """New total quantity, price and special terms for an order; None keeps what it has.

    Of the special terms those that are set replace the order's; marks, links and locates stay. `algo`
    replaces an algo order's terms as a whole; what is left is planned anew.
    """

    account: str
    cl_ord_id: str
    orig_cl_ord_id: str
    qty: Decimal | None = None
    price: Decimal | None = None
    origin: Origin = Origin.CLIENT
    special: SpecialTerms | None = None
    algo: AlgoTerms | None = None


class CancelOrder(Command, frozen=True, gc=False):
    account: str
    cl_ord_id: str
    orig_cl_ord_id: str
    origin: Origin = Origin.CLIENT
    reason: str = ""


class OrderStatusRequest(Command, frozen=True, gc=False):
    """A read through the order path: it sees every command before it, and changes nothing."""

    account: str
    cl_ord_id: str


class MassCancel(Command, frozen=True, gc=False):
    """Cancel every open order of the account, or of one symbol in it."""

    account: str
    request_id: str
    symbol: str = ""
    origin: Origin = Origin.CLIENT


class RecordVenueReport(Command, frozen=True, gc=False):
    report: VenueReport


#: Reports that one command may hold.
MAX_REPORTS = 64


class RecordVenueReports(Command, frozen=True, gc=False):
    """Several reports that arrived together, in the order of their arrival, from one venue or several.

    Each is decided and applied as if it had come alone, one after the other; they share a record.
    """

    reports: tuple[VenueReport, ...]


#: New orders that one record may hold.
MAX_ORDERS = 64


class SubmitOrders(Command, frozen=True, gc=False):
    """New orders of one sender that followed each other, and were accepted and routed one after the other as
    if each had come alone; they share a record, whose acceptances hold the orders.

    Only records have it: what is asked for is always a `SubmitOrder`.

    Attributes:
        waits_ns: for each order but the first, how much later than the one before it was received,
            nanoseconds; none at all when they were received together.
    """

    waits_ns: tuple[int, ...] = ()


class TimerKind(StrEnum):
    """DAY_CLOSE ends the trading day at a venue; DAY_OPEN begins trading date `trade_date`.

    EXPIRY ends what is due now by the journaled calendars and the orders' own times. ALGO looks at the
    parents that algorithms work.
    """

    DAY_CLOSE = "DAY_CLOSE"
    DAY_OPEN = "DAY_OPEN"
    EXPIRY = "EXPIRY"
    ALGO = "ALGO"


class TimerFired(Command, frozen=True, gc=False):
    """A scheduled moment came. `venue` empty means all venues; `trade_date` is ISO 8601.

    ALGO looks at every `parts`-th parent, from number `part` on, so that thousands of them do not hold up
    orders.
    """

    kind: TimerKind
    trade_date: str
    venue: str = ""
    part: int = 0
    parts: int = 1


class StartEpoch(Command, frozen=True, gc=False):
    """A new owner has taken the shard; every later record carries its epoch."""

    epoch: int
    owner: str = ""


class SetReference(Command, frozen=True, gc=False):
    """Reference data, journaled so that no later change of a file or library alters a replay."""

    instruments: tuple[Instrument, ...] = ()
    accounts: tuple[Account, ...] = ()
    venues: tuple[Venue, ...] = ()
    prices: tuple[tuple[str, Decimal], ...] = ()


class SetLimit(Command, frozen=True, gc=False):
    """Set one limit; `value` None removes it. "*" stands for every account or symbol.

    The value is a quantity (max_order_qty, position_limit), an amount in the instrument's currency
    (max_order_value) or in the base currency (max_order_value_base, gross_exposure, net_exposure,
    credit_threshold, capital), a fraction of the reference price (price_collar, period_collar: 0.1 is ten
    percent) or of the capital (concentration), or a number of messages or orders (max_messages,
    max_book_messages, duplicate_flow, algo_executions).

    `account` names an account; for exposure and credit also "CLIENT:<id>" or "FIRM:<id>", and for
    algo_executions "ALGO:<id>", each with "*" for every one of them. `author` and `reason` say who set it
    and why.
    """

    rule: LimitRule
    value: Decimal | None
    account: str = "*"
    symbol: str = "*"
    author: str = ""
    reason: str = ""


class RestrictSymbol(Command, frozen=True, gc=False):
    """Put a symbol on an account's restricted list, or take it off. "*" is every account.

    `account` may also be "CLIENT:<id>", "DESK:<id>" or "TRADER:<id>".
    """

    symbol: str
    account: str = "*"
    restricted: bool = True


class SetFxRate(Command, frozen=True, gc=False):
    """1 unit of `base` is worth `rate` units of `quote`."""

    base: Currency
    quote: Currency
    rate: Decimal


class HaltInstrument(Command, frozen=True, gc=False):
    symbol: str
    halted: bool
    reason: str = ""


class SetVenueStatus(Command, frozen=True, gc=False):
    """The link to a venue changed. `resumed_session`: connected again with nothing missed so far."""

    venue: str
    status: VenueStatus
    reason: str = ""


class EngageKillSwitch(Command, frozen=True, gc=False):
    """Refuse new flow in a scope at once and cancel what is open in it. FIRM ignores `value`."""

    scope: KillScope
    value: str = ""
    reason: str = ""


class ReleaseKillSwitch(Command, frozen=True, gc=False):
    scope: KillScope
    value: str = ""
    reason: str = ""


class ResolveUnknown(Command, frozen=True, gc=False):
    """A person's word on a child in doubt: the venue never had it, or it is gone. Executions still book."""

    child_id: str
    outcome: str
    reason: str = ""


class SubmitList(Command, frozen=True, gc=False):
    """Orders that hang together, accepted all or none; one account, one symbol.

    OCO: two or more of one quantity. BRACKET: the entry first, then its exits on the other side.
    """

    link: Link
    orders: tuple[SubmitOrder, ...]


class MarketMoved(Command, frozen=True, gc=False):
    """The market of a symbol has changed: triggers, trailing stops and pegs are looked at.

    Nothing is journaled unless something follows.

    Attributes:
        last_px: price of the last trade, where one is known.
    """

    symbol: str
    last_px: Decimal | None = None


class SetCalendar(Command, frozen=True, gc=False):
    """The sessions of a venue, in place of those known before."""

    calendar: VenueCalendar


class ActionKind(StrEnum):
    """What an issuer does that changes open orders (FINRA Rule 5330)."""

    CASH_DIVIDEND = "CASH_DIVIDEND"
    SPLIT = "SPLIT"
    REVERSE_SPLIT = "REVERSE_SPLIT"


class CorporateAction(Command, frozen=True, gc=False):
    """Adjust the open orders of a symbol before trading on the ex-date, and positions at its open.

    Positions are those held before the first trade of the ex-date: a dividend is income of longs and paid by
    shorts, a split scales. What a split leaves of a unit is paid in cash at the reference price in force at
    the open, which is still that of old units and is scaled then; one set afterwards is of new units.

    Attributes:
        action_id: unique for ever; the same one again changes nothing.
        ex_date: ISO 8601.
        amount: of a cash dividend, in the instrument's currency per unit.
        ratio_num, ratio_den: of a split, new units for old: 2/1 for two-for-one, 1/10 for a reverse split.
    """

    action_id: str
    symbol: str
    kind: ActionKind
    ex_date: str
    amount: Decimal = ZERO
    ratio_num: Decimal = ONE
    ratio_den: Decimal = ONE


class SetRiskPolicy(Command, frozen=True, gc=False):
    """How the pre-trade controls work; replaces the whole policy."""

    policy: RiskPolicy
    author: str = ""
    reason: str = ""


class ApproveParty(Command, frozen=True, gc=False):
    """Approve a trader, account, algo or risk officer by id, or take the approval back."""

    kind: PartyKind
    party: str
    approved: bool = True
    author: str = ""


class GrantLocate(Command, frozen=True, gc=False):
    """Shares located for short sales of one account; its id is never used again."""

    locate: Locate


class SetPriceTest(Command, frozen=True, gc=False):
    """Put the short-sale price test of 17 CFR 242.201 on a symbol, or lift it."""

    symbol: str
    active: bool
    reason: str = ""


class EnableAlgo(Command, frozen=True, gc=False):
    """A designated person re-enables an algo that the execution throttle has disabled; it counts anew."""

    algo: str
    staff: str
    reason: str = ""


class RequestOverride(Command, frozen=True, gc=False):
    """Ask that one order may pass a soft limit, up to `value`, until `expires_ns`.

    `account` is the account, client or firm whose limit it is, as in SetLimit.
    """

    override_id: str
    rule: LimitRule
    account: str
    symbol: str
    value: Decimal
    expires_ns: int
    staff: str
    reason: str = ""


class ApproveOverride(Command, frozen=True, gc=False):
    """The second person's yes to an override; the first cannot give it."""

    override_id: str
    staff: str


class Unfreeze(Command, frozen=True, gc=False):
    """Let an order or account work again that our own fault had frozen."""

    subject: str
    reason: str = ""


class LoadPosition(Command, frozen=True, gc=False):
    """What an account holds of a symbol before its first trade in it; again before that, it is replaced.

    Attributes:
        qty: units, negative when short; 0 takes an earlier load back.
        avg_cost: price per unit in the instrument's currency.
        trade_date: the day that begins with it, ISO 8601; not before the engine's.
    """

    account: str
    symbol: str
    qty: Decimal
    avg_cost: Decimal
    trade_date: str


class SetFeeSchedule(Command, frozen=True, gc=False):
    """A client's commissions from a trade date on. A change is a schedule of its own, under a new id."""

    schedule: FeeSchedule
    author: str = ""


class LoadCash(Command, frozen=True, gc=False):
    """What an account has in a currency before its first trade; from then on its cash is kept.

    Attributes:
        amount: in the currency, negative when overdrawn.
        trade_date: the day that begins with it, ISO 8601; not before the engine's.
    """

    account: str
    currency: Currency
    amount: Decimal
    trade_date: str


class PauseAlgo(Command, frozen=True, gc=False):
    """Stop an algo order where it stands: its children are asked back, its end time stays."""

    account: str
    cl_ord_id: str
    reason: str = ""


class ResumeAlgo(Command, frozen=True, gc=False):
    """Let a paused algo order go on: what is left is planned over what is left of its time."""

    account: str
    cl_ord_id: str
    reason: str = ""


class SetVolumeCurve(Command, frozen=True, gc=False):
    """How a symbol's volume spreads over a session; replaces the one before.

    Attributes:
        trade_date: the session's, ISO 8601.
        open_ns, close_ns: its ends, UTC nanoseconds.
        bins: volume of equally long bins between them, of any scale.
    """

    symbol: str
    trade_date: str
    open_ns: int
    close_ns: int
    bins: tuple[Decimal, ...]


class SetMarketProfile(Command, frozen=True, gc=False):
    """What planners expect of a symbol's day; replaces the profile before. None is not known.

    Attributes:
        daily_volume, close_volume: units in the day, and in the closing auction.
        daily_volatility: standard deviation of a day's return; 0.02 is two percent.
        spread: in price units.
    """

    symbol: str
    daily_volume: Decimal | None = None
    daily_volatility: Decimal | None = None
    spread: Decimal | None = None
    close_volume: Decimal | None = None


class SetRegulatoryFees(Command, frozen=True, gc=False):
    """Fees that regulators levy on executions, from a trade date on until the next row of the same name."""

    rows: tuple[RegulatoryFee, ...]
    author: str = ""


class PayCash(Command, frozen=True, gc=False):
    """Money paid into an account that keeps cash, or out of it.

    Attributes:
        payment_id: unique for ever; the same payment again changes nothing.
        amount: in the currency, negative when paid out.
    """

    payment_id: str
    account: str
    currency: Currency
    amount: Decimal
    author: str = ""
    reason: str = ""


class ExchangeCash(Command, frozen=True, gc=False):
    """One currency of an account's cash dealt for another; both amounts are positive.

    `payment_id` is unique for ever, together with those of payments.
    """

    payment_id: str
    account: str
    sold: Currency
    sold_amount: Decimal
    bought: Currency
    bought_amount: Decimal
    author: str = ""


class SetMarkPolicy(Command, frozen=True, gc=False):
    """Which price values positions; replaces the policy before."""

    policy: MarkPolicy
    author: str = ""


class SetMark(Command, frozen=True, gc=False):
    """A price that positions may be valued at: set by hand, a last trade, or a close.

    Attributes:
        px: None takes the price away.
        observed_ns: when it was made, UTC nanoseconds; 0 for now.
    """

    symbol: str
    px: Decimal | None
    source: MarkSource = MarkSource.MANUAL
    observed_ns: int = 0
    author: str = ""


class SetRetention(Command, frozen=True, gc=False):
    """How many trading days trades stay open to a bust; older ones fold into their positions' opening."""

    days: int
    author: str = ""


class SetRoutingPolicy(Command, frozen=True, gc=False):
    """How orders are routed; replaces the whole policy. The first one turns scored routing on."""

    policy: RoutingPolicy
    author: str = ""
    reason: str = ""


class SetVenueLimit(Command, frozen=True, gc=False):
    """What may stand at a venue; replaces its limit before."""

    venue: str
    limit: VenueLimit
    author: str = ""
    reason: str = ""


class SetOrderProtection(Command, frozen=True, gc=False):
    """A rule against trading through protected quotes; replaces those of its id that begin on its date."""

    rule: OrderProtection
    author: str = ""


AnyCommand = (
    SubmitOrder
    | ReplaceOrder
    | CancelOrder
    | OrderStatusRequest
    | MassCancel
    | RecordVenueReport
    | RecordVenueReports
    | SubmitOrders
    | TimerFired
    | StartEpoch
    | SetReference
    | SetLimit
    | RestrictSymbol
    | SetFxRate
    | HaltInstrument
    | SetVenueStatus
    | EngageKillSwitch
    | ReleaseKillSwitch
    | ResolveUnknown
    | SubmitList
    | MarketMoved
    | SetCalendar
    | CorporateAction
    | SetRiskPolicy
    | ApproveParty
    | GrantLocate
    | SetPriceTest
    | EnableAlgo
    | RequestOverride
    | ApproveOverride
    | Unfreeze
    | LoadPosition
    | SetFeeSchedule
    | LoadCash
    | PauseAlgo
    | ResumeAlgo
    | SetVolumeCurve
    | SetMarketProfile
    | SetRoutingPolicy
    | SetVenueLimit
    | SetOrderProtection
    | SetRegulatoryFees
    | PayCash
    | ExchangeCash
    | SetMarkPolicy
    | SetMark
    | SetRetention
)


class Inbound(msgspec.Struct, frozen=True, gc=False):
    """A command on its way in, with who asked and what it belongs to.

    Attributes:
        actor: who is responsible (an identity, "venue:XNAS", "timer", "staff:ann").
        correlation_id: joins everything that follows from one request.
        received_ns: when it reached us; `ts_ns` of its record is when it was decided.
    """

    command: AnyCommand
    actor: str = ""
    correlation_id: str = ""
    received_ns: int = 0
