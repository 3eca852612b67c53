"""The client of a proof: a seeded mix of commands, and a record of every one of them and every answer."""

from __future__ import annotations

import random
from decimal import Decimal

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    MassCancel,
    OrderStatusRequest,
    ReplaceOrder,
    SubmitOrder,
)
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ExecutionReport
from qtinfra.testing.prove.engine import ACCOUNTS, SYMBOLS, Reply, Request
from qtinfra.testing.prove.reconcile import Ledger

#: Commands without an answer at any moment.
WINDOW = 24
_KINDS = (SubmitOrder, CancelOrder, ReplaceOrder, OrderStatusRequest, MassCancel)
_WEIGHTS = (56, 22, 16, 4, 2)
_TIFS = (TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)


class Client:
    """Sends a seeded mix of commands and remembers every one of them and every answer."""

    def __init__(self, rng: random.Random) -> None:
        self.ledger = Ledger()
        self.unanswered: dict[int, AnyCommand] = {}
        self.refused: list[Reply] = []
        self._rng = rng
        self._recent: list[SubmitOrder] = []
        self._last = 0

    @property
    def last(self) -> int:
        """Number of the newest command."""
        return self._last

    def next_requests(self) -> list[Request]:
        """As many new commands as the window has room for."""
        return [self._request(self._next()) for _ in range(WINDOW - len(self.unanswered))]

    def again(self) -> list[Request]:
        """What was never seen acknowledged, under the same ids, in the same order."""
        return [Request(n, command) for n, command in self.unanswered.items()]

    def hear(self, replies: list[Reply]) -> None:
        """Remember what the engine has said."""
        for reply in replies:
            match reply.kind:
                case "ack":
                    self.ledger.acknowledged.setdefault(reply.n, []).append(reply.reports)
                    self.unanswered.pop(reply.n, None)
                case "refused" | "stopped" | "stuck":
                    self.refused.append(reply)
                case "report":
                    self._hear_fill(reply)

    def _hear_fill(self, reply: Reply) -> None:
        for report in reply.reports:
            if isinstance(report, ExecutionReport):
                self.ledger.fills[report.venue, report.exec_id] = (report.last_qty, report.last_px)

    def _request(self, command: AnyCommand) -> Request:
        self._last += 1
        self.ledger.sent[self._last] = self.unanswered[self._last] = command
        return Request(self._last, command)

    def _next(self) -> AnyCommand:
        kind = self._rng.choices(_KINDS, _WEIGHTS)[0] if self._recent else SubmitOrder
        number = self._last + 1
        if kind is SubmitOrder:
            return self._submit(number)
        if kind is MassCancel:
            return MassCancel(self._rng.choice(ACCOUNTS), f"M{number}", self._rng.choice(SYMBOLS))
        order = self._rng.choice(self._recent)
        if kind is CancelOrder:
            return CancelOrder(order.account, f"C{number}", order.cl_ord_id)
        if kind is OrderStatusRequest:
            return OrderStatusRequest(order.account, order.cl_ord_id)
        qty = order.qty + self._rng.randint(-20, 40)
        return ReplaceOrder(order.account, f"R{number}", order.cl_ord_id, max(qty, Decimal(1)), self._price())

    def _submit(self, number: int) -> SubmitOrder:
        if self._recent and self._rng.random() < 0.03:
            return self._rng.choice(self._recent)  # the client repeats itself without any crash
        order = SubmitOrder(
            self._rng.choice(ACCOUNTS),
            f"O{number}",
            self._rng.choice(SYMBOLS),
            self._rng.choice((OrderSide.BUY, OrderSide.SELL)),
            OrderType.LIMIT,
            self._rng.choices(_TIFS, (70, 10, 15, 5))[0],
            Decimal(self._rng.randint(1, 310)),
            self._price(),
        )
        self._recent = [*self._recent[-40:], order]
        return order

    def _price(self) -> Decimal:
        return Decimal(self._rng.randint(9990, 10010)) / 100
