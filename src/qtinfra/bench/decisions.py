"""Single steps of a decision: parsing, business rules, risk controls; the cases of the routing benchmark."""

from __future__ import annotations

import json
from decimal import Decimal

from qtinfra.bench.harness import BenchResult, Progress, micro, sized
from qtinfra.bench.mix import (
    OPEN_ORDERS,
    Mix,
    StandingMarket,
    resting_orders,
    scaled_mix,
    setup_commands,
    standing_market,
    taking_orders,
    wire_messages,
)
from qtinfra.core.commands import Inbound, SubmitOrder
from qtinfra.core.decimals import ZERO, exact
from qtinfra.core.decisions import Refusal, RiskApproved, RiskRefused
from qtinfra.core.exceptions import OrderValidationError
from qtinfra.core.extended_models import Account, Instrument
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.models import OrderSide
from qtinfra.core.validation.rules import check_new
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.decide.quick_gate import gate_new
from qtinfra.engine.decide.routing import eligible_venues
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
from qtinfra.router.sor import VenueTerms

_ITEMS = 20_000
_ROUNDS = 9
#: Levels per venue that the router sees.
_LEVELS = 3


def _rounds(scale: float) -> int:
    return sized(_ROUNDS, scale, 3)


# --- parse -----------------------------------------------------------------------------------------------


def _parse(data: bytes) -> SubmitOrder | None:
    try:
        return parse_new_order(data)
    except OrderValidationError:
        return None


def bench_parse(scale: float, progress: Progress) -> BenchResult:
    """Bytes to a strict command; the control reads the same bytes with `json.loads` and checks nothing."""
    progress("parse: messages")
    messages = wire_messages(scaled_mix(scale), sized(_ITEMS, scale, 200))
    items = [(data,) for data in messages]
    refused = sum(_parse(data) is None for data in messages)
    return micro(
        "parse",
        "message",
        items,
        _parse,
        ("json.loads of the same bytes", items, json.loads),
        rounds=_rounds(scale),
        target_per_s=200_000,
        at_scale=scale >= 1,
        note="an order of nine fields, numbers as text; malformed ones raise and are caught",
        figures={
            "refused_share": refused / len(messages),
            "bytes_per_message": sum(map(len, messages)) / len(messages),
        },
    )


# --- rules -----------------------------------------------------------------------------------------------

_RuleCase = tuple[SubmitOrder, Account, Instrument | None, bool]


def _plain_check(
    order: SubmitOrder, account: Account, instrument: Instrument | None, halted: bool
) -> str | None:
    """A control: the same call with three comparisons of decimals and no strictness."""
    if order.qty <= 0 or halted:
        return "refused"
    if order.price is not None and order.price <= 0:
        return "refused"
    return None if instrument is not None and account.enabled else "refused"


def rule_cases(mix: Mix, count: int) -> list[_RuleCase]:
    """Orders with account and instrument, as the engine hands them to the rules."""
    state = stage(mix).state
    return [
        (order, state.accounts[order.account], state.instruments.get(order.symbol), False)
        for order in taking_orders(mix, count)
    ]


def bench_rules(scale: float, progress: Progress) -> BenchResult:
    """The business rules of a new order."""
    progress("rules: orders")
    cases = rule_cases(scaled_mix(scale), sized(_ITEMS, scale, 200))
    with exact():
        refused = sum(check_new(*case) is not None for case in cases)
        return micro(
            "rules",
            "order",
            cases,
            check_new,
            ("the same call with three comparisons", cases, _plain_check),
            rounds=_rounds(scale),
            target_per_s=300_000,
            at_scale=scale >= 1,
            note="numbers, terms, account, halt, type, time in force, lot and tick",
            figures={"refused_share": refused / len(cases)},
        )


# --- risk ------------------------------------------------------------------------------------------------


def stage(mix: Mix) -> Kernel:
    """A kernel with the mix's reference data and limits."""
    kernel = Kernel(State())
    for command in setup_commands(mix, 1):
        kernel.execute(Inbound(command, "bench"), 1, StandingMarket({}))
    return kernel


def crowded_stage(mix: Mix, market: StandingMarket, open_orders: int) -> Kernel:
    """`stage` with open orders, whose quantity every position control counts."""
    kernel = stage(mix)
    for order in resting_orders(mix, open_orders):
        kernel.execute(Inbound(order, "client"), 1, market)
    return kernel


class RiskBench:
    """Calls the risk gate as the engine does for a new order."""

    def __init__(self, state: State, market: StandingMarket) -> None:
        self.state = state
        self.market = market
        self.now_ns = 2

    def check(self, order: SubmitOrder) -> RiskApproved | RiskRefused:
        """The verdict on a new order: limits and facts looked up, every control run."""
        return gate_new(self.state, self.market, order, self.now_ns)


class _PlainRisk:
    """A control: four look-ups and comparisons per order, decimals and dictionaries, nothing else."""

    def __init__(self, limits: dict[str, Decimal]) -> None:
        self._limits = limits

    def check(self, order: SubmitOrder) -> Refusal | None:
        price = order.price if order.price is not None else order.qty
        if order.qty > self._limits["qty"] or order.qty * price > self._limits["value"]:
            return None
        if price > self._limits["high"] or order.qty > self._limits["position"]:
            return None
        return None


def bench_risk(scale: float, progress: Progress) -> BenchResult:
    """Every pre-trade control on a new order, from the state to the verdict."""
    progress("risk: open orders")
    mix = scaled_mix(scale)
    market = standing_market(mix)
    kernel = crowded_stage(mix, market, sized(OPEN_ORDERS, scale, 20))
    risk = RiskBench(kernel.state, market)
    limits = dict.fromkeys(("qty", "value", "high", "position"), Decimal(10**12))
    items = [(order,) for order in taking_orders(mix, sized(_ITEMS, scale, 200))]
    with exact():
        refused = sum(isinstance(risk.check(*item), RiskRefused) for item in items)
        return micro(
            "risk",
            "order",
            items,
            risk.check,
            ("four look-ups and comparisons of decimals", items, _PlainRisk(limits).check),
            rounds=_rounds(scale),
            target_per_s=200_000,
            at_scale=scale >= 1,
            note="all controls with limits per firm, account and symbol; ticks and lots belong to the rules",
            figures={
                "refused_share": refused / len(items),
                "open_orders": float(len(kernel.state.open_orders)),
            },
        )


# --- routing ---------------------------------------------------------------------------------------------

_RouteCase = tuple[RiskApproved, ConsolidatedBook | None, tuple[VenueTerms, ...]]


def route_cases(mix: Mix, count: int) -> list[_RouteCase]:
    """Approved orders with the book of six venues, half of them larger than one venue displays."""
    market = standing_market(mix, _LEVELS)
    state = stage(mix).state
    cases = []
    for order in taking_orders(mix, count):
        approved = RiskApproved(
            order.account,
            order.symbol,
            order.side,
            order.order_type,
            order.tif,
            order.qty,
            order.price,
            order.min_qty or ZERO,
        )
        cases.append((approved, market.book(order.symbol), eligible_venues(state, order.symbol, [])))
    return cases


def offers_of(order: RiskApproved, book: ConsolidatedBook | None) -> list[tuple[Decimal, Decimal, str]]:
    """What the six venues display on the side that the order takes from."""
    if book is None:
        return []
    buying = order.side is OrderSide.BUY
    return [
        (price, size, quote.venue)
        for quote in book.quotes
        for price, size in (quote.asks if buying else quote.bids)
    ]
