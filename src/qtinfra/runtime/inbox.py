"""The bounded inbox of a shard, in three lanes.

Venue reports and timers are never refused. Cancels and controls go before new orders, but a cancel never
passes an earlier command of its own order. When the order lane is full, new orders are refused before
anything is journaled.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    Inbound,
    MassCancel,
    OrderStatusRequest,
    RecordVenueReport,
    ReplaceOrder,
    StartEpoch,
    SubmitOrder,
    TimerFired,
)
from qtinfra.core.exceptions import OverloadedError

T = TypeVar("T")

#: Commands that wait in the order lane; all others but reports and timers take the fast lane.
_ORDER_LANE = (SubmitOrder, ReplaceOrder, OrderStatusRequest)
_NEVER_REFUSED = (RecordVenueReport, TimerFired, StartEpoch)

Item = tuple[Inbound, T]


class Inbox(Generic[T]):
    """Waiting commands, each with a token that says whom to answer.

    Args:
        capacity: how many may wait in the order lane; the fast lane holds as many again.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._reports: deque[Item[T]] = deque()
        self._fast: deque[Item[T]] = deque()
        self._orders: deque[Item[T]] = deque()
        self._waiting: dict[tuple[str, str], int] = {}
        self._accounts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._reports) + len(self._fast) + len(self._orders)

    def put(self, inbound: Inbound, token: T) -> None:
        """Queue a command in its lane.

        Raises:
            OverloadedError: the lane is full; nothing was taken, the sender may try again later.
        """
        command = inbound.command
        if isinstance(command, _NEVER_REFUSED):
            self._reports.append((inbound, token))
            return
        if isinstance(command, _ORDER_LANE) or self._must_queue_behind(command):
            if len(self._orders) >= self._capacity:
                raise OverloadedError(
                    "too many orders wait; try again later", context={"waiting": len(self._orders)}
                )
            self._orders.append((inbound, token))
            self._count(command, 1)
            return
        if len(self._fast) >= self._capacity:
            raise OverloadedError("too many cancels wait", context={"waiting": len(self._fast)})
        self._fast.append((inbound, token))

    def take(self, most: int) -> list[Item[T]]:
        """The next commands, at most `most`: reports first, then cancels and controls, then orders."""
        taken: list[Item[T]] = []
        for lane in (self._reports, self._fast):
            while lane and len(taken) < most:
                taken.append(lane.popleft())
        while self._orders and len(taken) < most:
            item = self._orders.popleft()
            self._count(item[0].command, -1)
            taken.append(item)
        return taken

    def _must_queue_behind(self, command: AnyCommand) -> bool:
        """Whether an earlier command of the same order, or account, still waits."""
        if isinstance(command, CancelOrder):
            return (command.account, command.orig_cl_ord_id) in self._waiting
        return isinstance(command, MassCancel) and command.account in self._accounts

    def _count(self, command: AnyCommand, change: int) -> None:
        account = getattr(command, "account", "")
        _add(self._accounts, account, change)
        for name in ("cl_ord_id", "orig_cl_ord_id"):
            cl_ord_id = getattr(command, name, "")
            if cl_ord_id:
                _add(self._waiting, (account, cl_ord_id), change)


K = TypeVar("K")


def _add(counts: dict[K, int], key: K, change: int) -> None:
    left = counts.get(key, 0) + change
    if left:
        counts[key] = left
    else:
        counts.pop(key, None)
