"""Clients for simulations: seeded order flow that joins, improves and takes, and changes its mind."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Protocol

import msgspec

from qtinfra.core.commands import AnyCommand, CancelOrder, Inbound, ReplaceOrder, SubmitOrder
from qtinfra.core.market import ConsolidatedBook, MarketView
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ExecutionReport, OrderCancelReject


class Trader(Protocol):
    """A client of the simulated system: acts at its own times and hears what it is told."""

    def next_ns(self) -> int | None:
        """When it acts next; None when it has nothing planned."""
        ...

    def act(self, now_ns: int, market: MarketView) -> list[Inbound]:
        """What it sends now."""
        ...

    def hear(self, report: ExecutionReport | OrderCancelReject, now_ns: int) -> None:
        """A report about one of its orders."""
        ...


class OrderMix(msgspec.Struct, frozen=True):
    """Shares of the kinds of orders; what is left over joins the best quote on its own side.

    Attributes:
        take: limit orders priced through the opposite quote.
        market, ioc, fok: orders of these kinds.
        improve: limit orders one tick inside a spread that is wide enough.
        cancels, replaces: share of resting orders that are cancelled, or replaced, some time later.
    """

    take: float = 0.15
    market: float = 0.05
    ioc: float = 0.08
    fok: float = 0.04
    improve: float = 0.2
    cancels: float = 0.45
    replaces: float = 0.25


class _Plan(msgspec.Struct, frozen=True, order=True):
    at_ns: int
    number: int
    kind: str
    cl_ord_id: str = ""


class RandomTrader:
    """Sends a fixed number of orders at random moments; the same seed gives the same flow.

    Args:
        account: whose orders they are.
        symbols: what it trades, one drawn per order.
        orders: how many new orders it sends.
        start_ns, end_ns: the interval of its new orders.
        tick: price step of the symbols.
        sizes: quantities to draw from.
        lifetime_ns: mean time until a resting order is cancelled or replaced.
    """

    def __init__(
        self,
        account: str,
        symbols: Sequence[str],
        *,
        orders: int,
        start_ns: int,
        end_ns: int,
        seed: int,
        tick: Decimal = Decimal("0.01"),
        sizes: Sequence[int] = (10, 25, 50, 100, 100, 100, 200, 300),
        lifetime_ns: int = 60_000_000_000,
        mix: OrderMix = OrderMix(),  # noqa: B008 - frozen
    ) -> None:
        self.account = account
        self.sent = 0
        self._symbols = tuple(symbols)
        self._rng = Random(seed)
        self._tick = tick
        self._sizes = tuple(sizes)
        self._lifetime_ns = lifetime_ns
        self._mix = mix
        self._number = 0
        self._open: dict[str, SubmitOrder] = {}
        moments = sorted(self._rng.randrange(start_ns, end_ns) for _ in range(orders))
        self._plans = [_Plan(at_ns, number, "new") for number, at_ns in enumerate(moments)]
        self._planned = orders
        heapq.heapify(self._plans)

    def next_ns(self) -> int | None:
        return self._plans[0].at_ns if self._plans else None

    def act(self, now_ns: int, market: MarketView) -> list[Inbound]:
        commands: list[AnyCommand] = []
        while self._plans and self._plans[0].at_ns <= now_ns:
            plan = heapq.heappop(self._plans)
            command = self._carry_out(plan, now_ns, market)
            if command is not None:
                commands.append(command)
        return [Inbound(command, self.account, received_ns=now_ns) for command in commands]

    def hear(self, report: ExecutionReport | OrderCancelReject, now_ns: int) -> None:
        del now_ns
        if isinstance(report, ExecutionReport) and not report.leaves_qty:
            self._open.pop(report.cl_ord_id.partition("/")[0], None)

    def _carry_out(self, plan: _Plan, now_ns: int, market: MarketView) -> AnyCommand | None:
        if plan.kind == "new":
            return self._new(now_ns, market)
        order = self._open.get(plan.cl_ord_id)
        if order is None:
            return None
        self._number += 1
        request_id = f"{order.cl_ord_id}/{self._number}"
        if plan.kind == "cancel":
            return CancelOrder(self.account, request_id, order.cl_ord_id)
        return self._replace(order, request_id, market)

    def _new(self, now_ns: int, market: MarketView) -> AnyCommand | None:
        rng = self._rng
        symbol = self._symbols[rng.randrange(len(self._symbols))]
        side = OrderSide.BUY if rng.random() < 0.5 else OrderSide.SELL
        qty = Decimal(self._sizes[rng.randrange(len(self._sizes))])
        draw = rng.random()
        book = market.book(symbol)
        touch = _touch(book, side)
        if touch is None:
            return None
        self.sent += 1
        cl_ord_id = f"{self.account}-{self.sent}"
        order_type, tif, price = self._terms(draw, side, touch)
        command = SubmitOrder(self.account, cl_ord_id, symbol, side, order_type, tif, qty, price)
        if tif is TimeInForce.DAY and order_type is OrderType.LIMIT:
            self._open[cl_ord_id] = command
            self._plan_second_thoughts(cl_ord_id, now_ns)
        return command

    def _terms(
        self, draw: float, side: OrderSide, touch: tuple[Decimal, Decimal]
    ) -> tuple[OrderType, TimeInForce, Decimal | None]:
        mix, (own, opposite) = self._mix, touch
        step = self._tick if side is OrderSide.BUY else -self._tick
        for share, terms in (
            (mix.market, (OrderType.MARKET, TimeInForce.IOC, None)),
            (mix.ioc, (OrderType.LIMIT, TimeInForce.IOC, opposite)),
            (mix.fok, (OrderType.LIMIT, TimeInForce.FOK, opposite + step)),
            (mix.take, (OrderType.LIMIT, TimeInForce.DAY, opposite + step)),
        ):
            if draw < share:
                return terms
            draw -= share
        wide = abs(opposite - own) > self._tick
        price = own + step if draw < mix.improve and wide else own
        return OrderType.LIMIT, TimeInForce.DAY, price

    def _plan_second_thoughts(self, cl_ord_id: str, now_ns: int) -> None:
        draw = self._rng.random()
        wait_ns = int(self._rng.expovariate(1.0) * self._lifetime_ns) + 1
        if draw < self._mix.cancels:
            self._plan(now_ns + wait_ns, "cancel", cl_ord_id)
        elif draw < self._mix.cancels + self._mix.replaces:
            self._plan(now_ns + wait_ns, "replace", cl_ord_id)

    def _plan(self, at_ns: int, kind: str, cl_ord_id: str) -> None:
        self._planned += 1
        heapq.heappush(self._plans, _Plan(at_ns, self._planned, kind, cl_ord_id))

    def _replace(self, order: SubmitOrder, request_id: str, market: MarketView) -> AnyCommand | None:
        touch = _touch(market.book(order.symbol), order.side)
        if touch is None:
            return None
        qty = order.qty if self._rng.random() < 0.5 else order.qty + self._sizes[0]
        return ReplaceOrder(self.account, request_id, order.cl_ord_id, qty, touch[0])


def _touch(book: ConsolidatedBook | None, side: OrderSide) -> tuple[Decimal, Decimal] | None:
    """Best price on the order's own side and on the opposite one; None when a side is empty."""
    if book is None:
        return None
    bid, ask = book.best_bid(), book.best_ask()
    if bid is None or ask is None:
        return None
    return (bid, ask) if side is OrderSide.BUY else (ask, bid)
