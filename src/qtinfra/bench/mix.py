"""The fixed mix that all benchmarks share: who trades what where, under which limits; seeded.

1,000 accounts, 100 symbols listed on six venues, 10,000 open orders, every limit set, accounts and traders
approved, 5% of the orders refused: an equal share by each of eight rules and controls. The short-sale policy
is off: the mix sells without positions, and its orders are plain ones that name no locate.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from random import Random

import msgspec

from qtinfra.bench.harness import sized
from qtinfra.core.commands import (
    AnyCommand,
    ApproveParty,
    EngageKillSwitch,
    RestrictSymbol,
    SetLimit,
    SetOrderProtection,
    SetReference,
    SetRiskPolicy,
    SetRoutingPolicy,
    SetVenueStatus,
    StartEpoch,
    SubmitOrder,
    TimerFired,
    TimerKind,
)
from qtinfra.core.decimals import EXACT, ONE, ZERO, canonical, plain
from qtinfra.core.extended_models import (
    ANY,
    US_EQUITY_TICKS,
    Account,
    Instrument,
    KillScope,
    LimitRule,
    PartyKind,
    RiskPolicy,
    Venue,
    VenueStatus,
)
from qtinfra.core.market import ConsolidatedBook, Level, VenueQuote
from qtinfra.core.models import AssetClass, Currency, OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import OrderProtection, RoutingPolicy

SEED = 20_240_108
TRADE_DATE = "2024-01-08"
START_NS = 1_704_724_200_000_000_000
MICS = ("XNAS", "XNYS", "ARCX", "BATS", "EDGX", "IEXG")
TAKE_FEES = ("0.0030", "0.0030", "0.0030", "0.0028", "0.0029", "0.0009")
TICK = Decimal("0.01")

ACCOUNTS, SYMBOLS, OPEN_ORDERS = 1_000, 100, 10_000
REFUSED_SHARE = 0.05
#: Displayed size of each level; orders are 100 to 500, so the larger ones take from two venues.
DISPLAYED = Decimal(400)
SIZES = tuple(Decimal(size) for size in (100, 100, 100, 200, 200, 300, 400, 500))

MAX_ORDER_QTY = Decimal(10_000)
MAX_ORDER_VALUE = Decimal(400_000)
COLLAR = Decimal("0.1")
POSITION_LIMIT = Decimal(1_000_000)
#: Wide enough that it never refuses: an amount of the base currency, and a number of messages or orders.
WIDE_AMOUNT = Decimal(10**12)
WIDE_COUNT = Decimal(10_000)
TRADERS = tuple(f"T{number}" for number in range(10))

#: Refusals by what refuses, each an equal share of the refused.
REFUSALS = (
    "tick_size",
    "lot_size",
    "max_order_qty",
    "max_order_value",
    "price_collar",
    "position_limit",
    "restricted_symbol",
    "kill_switch",
)


class StandingMarket:
    """A market view of quotes that stand: whoever takes from them, market makers fill them up at once."""

    def __init__(self, books: dict[str, ConsolidatedBook]) -> None:
        self.books = books

    def book(self, symbol: str) -> ConsolidatedBook | None:
        return self.books.get(symbol)


class Mix(msgspec.Struct, frozen=True, dict=True):
    """The cast of a benchmark. The last two accounts and the last symbol are there to be refused."""

    accounts: tuple[str, ...]
    symbols: tuple[str, ...]
    mids: dict[str, Decimal]

    @cached_property
    def trading(self) -> tuple[str, ...]:
        return self.accounts[:-2]

    @cached_property
    def traded(self) -> tuple[str, ...]:
        return self.symbols[:-1]


def make_mix(accounts: int = ACCOUNTS, symbols: int = SYMBOLS) -> Mix:
    """The mix with so many accounts and symbols, each at least four."""
    names = tuple(f"A{number:05}" for number in range(max(accounts, 4)))
    tickers = tuple(f"SYM{number:03}" for number in range(max(symbols, 4)))
    return Mix(names, tickers, {symbol: Decimal(20 + number) for number, symbol in enumerate(tickers)})


def scaled_mix(scale: float) -> Mix:
    """The mix at a scale."""
    return make_mix(sized(ACCOUNTS, scale), sized(SYMBOLS, scale))


# --- setting the stage -----------------------------------------------------------------------------------


def setup_commands(mix: Mix, epoch: int) -> list[AnyCommand]:
    """Everything that makes an empty shard trade the mix with every control on."""
    venues = tuple(
        Venue(mic, mic, Currency.USD, Decimal(fee), Decimal("-0.0020"))
        for mic, fee in zip(MICS, TAKE_FEES, strict=True)
    )
    instruments = tuple(
        Instrument(symbol, AssetClass.EQUITY, Currency.USD, MICS, US_EQUITY_TICKS) for symbol in mix.symbols
    )
    accounts = tuple(
        Account(name, f"client-{number // 4}", Currency.USD, f"desk-{number % 10}", "firm")
        for number, name in enumerate(mix.accounts)
    )
    commands: list[AnyCommand] = [
        StartEpoch(epoch, "bench"),
        SetReference(instruments, accounts, venues, tuple(mix.mids.items())),
        TimerFired(TimerKind.DAY_OPEN, TRADE_DATE),
    ]
    commands += [SetVenueStatus(mic, VenueStatus.CONNECTED) for mic in MICS]
    return commands + _approvals(mix) + _limits(mix) + _wide_limits()


def _approvals(mix: Mix) -> list[AnyCommand]:
    """Only approved accounts and traders may trade, and all of them are."""
    policy = RiskPolicy(approved_only=(PartyKind.ACCOUNT, PartyKind.TRADER))
    commands: list[AnyCommand] = [SetRiskPolicy(policy)]
    commands += [ApproveParty(PartyKind.ACCOUNT, account) for account in mix.accounts]
    return commands + [ApproveParty(PartyKind.TRADER, trader) for trader in TRADERS]


def _wide_limits() -> list[AnyCommand]:
    """Controls that are looked at and refuse nothing; exposure and credit per account, client and firm."""
    commands: list[AnyCommand] = [
        SetLimit(LimitRule.MAX_ORDER_VALUE_BASE, WIDE_AMOUNT),
        SetLimit(LimitRule.PERIOD_COLLAR, ONE),
        SetLimit(LimitRule.CAPITAL, WIDE_AMOUNT),
        SetLimit(LimitRule.CONCENTRATION, ONE),
        SetLimit(LimitRule.MAX_MESSAGES, WIDE_COUNT),
        SetLimit(LimitRule.MAX_BOOK_MESSAGES, WIDE_COUNT),
        SetLimit(LimitRule.DUPLICATE_FLOW, WIDE_COUNT),
        SetLimit(LimitRule.ALGO_EXECUTIONS, WIDE_COUNT, "ALGO:*"),
    ]
    for rule in (LimitRule.GROSS_EXPOSURE, LimitRule.NET_EXPOSURE, LimitRule.CREDIT_THRESHOLD):
        commands += [SetLimit(rule, WIDE_AMOUNT, scope) for scope in (ANY, "CLIENT:*", "FIRM:*")]
    return commands


def _limits(mix: Mix) -> list[AnyCommand]:
    killed, capped = mix.accounts[-1], mix.accounts[-2]
    commands: list[AnyCommand] = [
        SetLimit(LimitRule.MAX_ORDER_QTY, MAX_ORDER_QTY),
        SetLimit(LimitRule.MAX_ORDER_VALUE, MAX_ORDER_VALUE * 10),
        SetLimit(LimitRule.PRICE_COLLAR, COLLAR),
        SetLimit(LimitRule.POSITION_LIMIT, POSITION_LIMIT * 10),
        RestrictSymbol(mix.symbols[-1]),
        EngageKillSwitch(KillScope.ACCOUNT, killed, "bench"),
        SetLimit(LimitRule.POSITION_LIMIT, ONE, capped),
    ]
    for account in mix.trading:
        commands.append(SetLimit(LimitRule.MAX_ORDER_VALUE, MAX_ORDER_VALUE, account))
        commands.append(SetLimit(LimitRule.POSITION_LIMIT, POSITION_LIMIT, account))
    commands += [SetLimit(LimitRule.PRICE_COLLAR, COLLAR, symbol=symbol) for symbol in mix.symbols]
    return commands


def scored_routing() -> list[AnyCommand]:
    """Orders go where scores say, quotes are protected: what `qtinfra serve` turns on at its first start."""
    rule = OrderProtection("611", "US", MICS, TRADE_DATE)
    return [SetOrderProtection(rule, "bench"), SetRoutingPolicy(RoutingPolicy(), "bench", "scored routing")]


def standing_market(mix: Mix, levels: int = 1) -> StandingMarket:
    """Six venues' quotes per symbol, a tick either side of the middle, so many levels deep."""
    return StandingMarket({symbol: _book(symbol, mid, levels) for symbol, mid in mix.mids.items()})


def _book(symbol: str, mid: Decimal, levels: int) -> ConsolidatedBook:
    quotes = []
    for mic in sorted(MICS):
        bids: list[Level] = []
        asks: list[Level] = []
        for depth in range(1, levels + 1):
            bids.append((ticks_from(mid, -depth), DISPLAYED))
            asks.append((ticks_from(mid, depth), DISPLAYED))
        quotes.append(VenueQuote(mic, tuple(bids), tuple(asks), START_NS))
    return ConsolidatedBook(symbol, tuple(quotes))


def ticks_from(mid: Decimal, ticks: int) -> Decimal:
    """The price so many ticks above (below, when negative) a whole one."""
    return canonical(EXACT.add(mid, EXACT.multiply(TICK, ticks)))


# --- orders ----------------------------------------------------------------------------------------------


def taking_orders(
    mix: Mix, count: int, seed: int = SEED, name: str = "t", refused_share: float = REFUSED_SHARE
) -> Iterator[SubmitOrder]:
    """Limit orders at the opposite touch, a share of them such that a rule or a control refuses them."""
    rng = Random(seed)
    for number in range(count):
        buy = rng.random() < 0.5
        symbol = mix.traded[rng.randrange(len(mix.traded))]
        order = SubmitOrder(
            mix.trading[rng.randrange(len(mix.trading))],
            f"{name}{number}",
            symbol,
            OrderSide.BUY if buy else OrderSide.SELL,
            OrderType.LIMIT,
            TimeInForce.DAY,
            SIZES[rng.randrange(len(SIZES))],
            ticks_from(mix.mids[symbol], 1 if buy else -1),
            trader=TRADERS[number % len(TRADERS)],
        )
        if rng.random() < refused_share:
            order = spoilt(mix, order, REFUSALS[rng.randrange(len(REFUSALS))])
        yield order


def resting_orders(mix: Mix, count: int, seed: int = SEED + 1) -> Iterator[SubmitOrder]:
    """Limit orders far from the touch: they rest, and stay open."""
    rng = Random(seed)
    for number in range(count):
        buy = rng.random() < 0.5
        symbol = mix.traded[rng.randrange(len(mix.traded))]
        away = rng.randrange(5, 50)
        yield SubmitOrder(
            mix.trading[rng.randrange(len(mix.trading))],
            f"r{number}",
            symbol,
            OrderSide.BUY if buy else OrderSide.SELL,
            OrderType.LIMIT,
            TimeInForce.GTC,
            SIZES[rng.randrange(len(SIZES))],
            ticks_from(mix.mids[symbol], -away if buy else away),
            trader=TRADERS[number % len(TRADERS)],
        )


def spoilt(mix: Mix, order: SubmitOrder, code: str) -> SubmitOrder:
    """The order changed so that it is refused with this code."""
    replace = msgspec.structs.replace
    price = order.price if order.price is not None else ZERO
    if code == "tick_size":
        return replace(order, price=EXACT.add(price, Decimal("0.005")))
    if code == "lot_size":
        return replace(order, qty=EXACT.add(order.qty, Decimal("0.5")))
    if code == "max_order_qty":
        return replace(order, qty=MAX_ORDER_QTY + 1)
    if code == "max_order_value":
        dear = mix.traded[-1]
        price = Decimal(100)
        qty = MAX_ORDER_QTY
        return replace(order, symbol=dear, qty=qty, price=price)
    if code == "price_collar":
        mid = mix.mids[order.symbol]
        far = mid * 2 if order.side is OrderSide.BUY else Decimal(1)
        return replace(order, qty=Decimal(100), price=far)
    if code == "position_limit":
        return replace(order, account=mix.accounts[-2])
    if code == "restricted_symbol":
        return replace(order, symbol=mix.symbols[-1])
    return replace(order, account=mix.accounts[-1])


def wire_bytes(order: SubmitOrder) -> bytes:
    """The order as a client sends it."""
    fields = {
        "client_order_id": order.cl_ord_id,
        "account_id": order.account,
        "symbol": order.symbol,
        "side": order.side.value,
        "order_type": order.order_type.value,
        "time_in_force": order.tif.value,
        "quantity": plain(order.qty),
        "trader": order.trader,
    }
    if order.price is not None:
        fields["price"] = plain(order.price)
    return msgspec.json.encode(fields)


#: Ways to spoil a message so that the parser refuses it: text to find, what stands there instead.
MALFORMED = (
    (b'"quantity":"', b'"quantity":"-'),
    (b'"quantity":"', b'"quantity":"1_'),
    (b'"side":"', b'"side":"x'),
    (b'"symbol":"', b'"symbol":"a '),
    (b'"price":', b'"limit":'),
)


def wire_messages(mix: Mix, count: int, seed: int = SEED) -> list[bytes]:
    """Orders as bytes, 5% of them malformed in one of five ways."""
    rng = Random(seed)
    messages = []
    for order in taking_orders(mix, count, seed):
        data = wire_bytes(order)
        if rng.random() < REFUSED_SHARE:
            found, instead = MALFORMED[rng.randrange(len(MALFORMED))]
            data = data.replace(found, instead, 1)
        messages.append(data)
    return messages
