"""What the controls read about one request, and how they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, plain
from qtinfra.core.decisions import Refusal
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import REJ_EXCEEDS_LIMIT
from qtinfra.core.writes import quick_writes
from qtinfra.risk.ledger import Amounts, Cell, LocateUse, Override, Sums
from qtinfra.risk.limits import AccountLimits, Limits, SymbolLimits
from qtinfra.risk.sheet import Fits, ScopeSheet


class Rate(msgspec.Struct, frozen=True, gc=False):
    """Units of the base currency that one unit of a currency is worth; stale after `until_ns` (0: never)."""

    rate: Decimal
    until_ns: int = 0


class AccountProfile(msgspec.Struct, gc=False):
    """What is fixed for an account: its limits, the names on restricted lists, whether it may trade.

    Attributes:
        free: nothing about the account itself calls for a closer look at its orders.
        at_home: its base currency is the shard's.
        scopes: the limits of account, client and firm with their totals.
    """

    limits: AccountLimits
    subjects: tuple[str, ...]
    killed: str
    frozen: str
    unapproved: str
    free: bool
    at_home: bool
    scopes: tuple[ScopeSheet, ...]


class SymbolProfile(msgspec.Struct, frozen=True, gc=False):
    """What is fixed for a symbol; the fields are those of `RiskProfile`.

    Attributes:
        free: nothing about the symbol itself calls for a closer look at its orders.
        fits: numbers of orders that fit its lots and ticks.
    """

    limits: SymbolLimits
    multiplier: Decimal
    currency: str
    short_sale: bool
    restricted_for: Mapping[str, bool]
    killed: str
    free: bool
    fits: Fits


class RiskProfile(msgspec.Struct, gc=False):
    """What is fixed for an account and symbol until a control changes.

    Attributes:
        controls: the controls that can refuse here, in order.
        currency: the instrument's; empty when it is the base currency.
        rates: of every currency but the base one.
        cell: the account's exposure in the symbol, live.
        needs_reference: whether a control reads the market even when the order has a limit price.
        restricted: whether the symbol is restricted for the account; `restricted_for` has whom else.
        killed: the engaged kill switch that covers the account or symbol, as "SCOPE:value"; empty if none.
        frozen: why the account is frozen; empty if it is not.
        unapproved: the account, as "ACCOUNT:alpha", when it needs an approval and has none.
    """

    account: str
    symbol: str
    limits: Limits
    controls: tuple[Control, ...]
    multiplier: Decimal
    currency: str
    rates: Mapping[str, Rate]
    cell: Cell
    needs_reference: bool
    short_sale: bool
    restricted: bool
    restricted_for: Mapping[str, bool]
    killed: str
    frozen: str
    unapproved: str


class ShortFacts(msgspec.Struct, gc=False):
    """What the short-sale controls read: best displayed bid, Rule 201, the locate, the trading date."""

    best_bid: Decimal | None
    price_test: bool
    locate_id: str
    locate: LocateUse | None
    trade_date: str


class AlgoFacts(msgspec.Struct, gc=False):
    """What the throttle reads: executions since the algo was enabled, their limit, whether it is stopped."""

    algo: str
    executions: int
    limit: int | None
    disabled: bool


class Waivers(msgspec.Struct, gc=False):
    """Overrides that may lift a soft limit for this request, those used, and the limits they lifted."""

    known: Mapping[str, Override]
    used: tuple[str, ...] = ()
    waived: tuple[tuple[str, str], ...] = ()


@quick_writes
class RiskFacts(msgspec.Struct, gc=False):
    """Everything the controls read about one request. Quantities in units, amounts in the currency named.

    Attributes:
        qty: quantity that the order would have open and executed (the new total for a replace).
        adds: quantity that the request adds to what is open already.
        price: the limit price; an order without one is valued at its trigger, else at the reference.
        position: net position, bought positive.
        open_buy, open_sell: quantity open in the account's orders of the symbol before the request.
        reference: price the collars are measured against; None when there is no live one.
        order_value: value of the whole order, instrument's currency; None without a price.
        value: what the request adds to the open value, instrument's currency; None without a price.
        base_value: the same in the base currency; None without a price or a fresh rate.
        worst: the largest absolute value of the position, instrument's currency, if what is open on this
            side and the request execute; None without a price.
        new: a new order, not a replace.
        killed, unapproved: as in the profile, for trader and algo.
        messages, book_messages: when the account sent messages, and everybody to the symbol (ns).
        duplicates: equal orders within the window.
        drift_low, drift_high: extremes of the reference within the period.
        rival_sell: the part of `open_sell` that executes instead of this order, never along with it: sells of
            the same list.
        scope: the account, client or firm whose limit the last refusal was about.
    """

    profile: RiskProfile
    limits: Limits
    side: OrderSide
    buying: bool
    order_type: OrderType
    tif: TimeInForce
    qty: Decimal
    adds: Decimal
    price: Decimal | None
    min_qty: Decimal
    now_ns: int
    position: Decimal
    open_buy: Decimal
    open_sell: Decimal
    reference: Decimal | None = None
    order_value: Decimal | None = None
    value: Decimal | None = None
    base_value: Decimal | None = None
    worst: Decimal | None = None
    new: bool = True
    trader: str = ""
    killed: str = ""
    frozen: str = ""
    unapproved: str = ""
    messages: list[int] | None = None
    book_messages: list[int] | None = None
    message_since_ns: int = 0
    duplicates: int = 0
    drift_low: Decimal | None = None
    drift_high: Decimal | None = None
    algo: AlgoFacts | None = None
    short: ShortFacts | None = None
    waivers: Waivers | None = None
    rival_sell: Decimal = ZERO
    scope: str = ""


#: A control: facts in, a refusal or None out.
Control = Callable[[RiskFacts], Refusal | None]


def reduces(facts: RiskFacts) -> bool:
    """Whether the order can only bring the position nearer to zero, everything open on its side counted."""
    if facts.buying:
        return facts.position < ZERO and facts.position + facts.open_buy + facts.adds <= ZERO
    return facts.position > ZERO and facts.position - facts.open_sell - facts.adds >= ZERO


def base_rate(profile: RiskProfile, currency: str, now_ns: int) -> Decimal | None:
    """The rate of a currency into the base one; None when there is none, or it is stale."""
    known = profile.rates.get(currency)
    if known is None or (known.until_ns and now_ns > known.until_ns):
        return None
    return known.rate


def in_base(facts: RiskFacts, amount: Decimal) -> Decimal | None:
    """An amount of the instrument's currency in the base currency; None when the rate is missing or stale."""
    if not facts.profile.currency:
        return amount
    rate = base_rate(facts.profile, facts.profile.currency, facts.now_ns)
    return None if rate is None else amount * rate


def foreign(facts: RiskFacts, sums: Mapping[str, Amounts | Sums], name: str) -> Decimal | None:
    """One figure of the currencies other than the base one, in base; None when a rate is missing."""
    total = ZERO
    for currency, amounts in sums.items():
        amount: Decimal = getattr(amounts, name)
        if amount:
            rate = base_rate(facts.profile, currency, facts.now_ns)
            if rate is None:
                return None
            total += amount * rate
    return total


def waived(facts: RiskFacts, rule: str, scope: str) -> bool:
    """Whether an override has lifted the limit for this request."""
    return facts.waivers is not None and (rule, scope) in facts.waivers.waived


def over(code: str, field: str, limit: Decimal, observed: Decimal, who: str = "") -> Refusal:
    """A limit is exceeded."""
    of = f" of {who}" if who else ""
    most, was = _shortest(limit), _shortest(observed)
    text = f"{code}: {was} is beyond the limit {most}{of}"
    return Refusal(code, text, field, most, was, REJ_EXCEEDS_LIMIT)


def _shortest(value: Decimal) -> str:
    """`plain` of the `canonical` number, without making that."""
    text = plain(value)
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if value else "0"


def stale_reference(rule: str) -> Refusal:
    """The control cannot be computed without a live reference: it fails closed."""
    text = f"{rule} needs a reference price and there is no live one"
    return Refusal("stale_reference", text, "price", rule, "none", REJ_EXCEEDS_LIMIT)


def stale_fx(facts: RiskFacts, rule: str) -> Refusal:
    """The control cannot be computed without a fresh rate: it fails closed."""
    text = f"{rule} needs a fresh rate into the base currency and there is none"
    currency = facts.profile.currency or "foreign exposure"
    return Refusal("stale_fx", text, "currency", rule, currency, REJ_EXCEEDS_LIMIT)
