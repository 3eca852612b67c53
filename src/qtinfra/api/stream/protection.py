"""Cancel on disconnect: a connection that asked for it leaves no open orders behind.

A protected session has a name, unique within its subject, and the orders that came in over it. When its
connection ends, for whatever reason, it may be taken over under the same name within its grace period; else
its open orders are cancelled by the usual command, as the system's act. When the server stops in order, no
grace is left to anybody. It is not journaled: a server that dies keeps the orders, and their owner finds them
open when he comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256

from qtinfra.api.errors import refusal
from qtinfra.bootstrap.serving import Platform
from qtinfra.core.commands import CancelOrder, SubmitOrder
from qtinfra.core.exceptions import OutcomeUnknownError, OverloadedError
from qtinfra.core.models import Origin
from qtinfra.engine.kernel import Outcome
from qtinfra.runtime.offered import Result

LOG = logging.getLogger("qtinfra.stream")

#: Sessions of one subject that may wait for their owner; beyond that the one that has waited longest ends.
MAX_WAITING = 64
#: Open orders of a protected session; further ones are refused.
MAX_OPEN = 10_000
#: Cancels that are under way at a time, so that they do not fill the lane of controls.
AT_ONCE = 256
#: When that lane is full, cancels are tried again after so many seconds.
PAUSE_S = 0.05

REASON = "cancel_on_disconnect"

_Key = tuple[str, str]
#: Done when the order, or all that came with it, is decided and durable.
_Decided = asyncio.Future[Outcome] | asyncio.Future[Sequence[Result]]


class Guard:
    """A protected session. `hold` and `release` of its `Protection` say whose connection it is now.

    Attributes:
        name: the client's, unique within the subject.
        grace_s: how long its orders outlive its connection, seconds.
    """

    def __init__(self, platform: Platform, subject: str, name: str) -> None:
        self.subject = subject
        self.name = name
        self.grace_s = 0
        self.displace: Callable[[], None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._platform = platform
        self._orders: dict[_Key, _Decided] = {}
        self._prune_at = 2 * MAX_OPEN

    def note(self, command: SubmitOrder, decided: _Decided) -> None:
        """An order came in over the session.

        Args:
            decided: done when it is decided; until then it counts as open.
        """
        self._orders[command.account, command.cl_ord_id] = decided
        if len(self._orders) >= self._prune_at:
            self.open_orders()

    def require_room(self, count: int) -> None:
        """Refuse orders beyond the bound.

        Raises:
            Problem: 422 `protected_orders`.
        """
        if len(self._orders) + count > MAX_OPEN and len(self.open_orders()) + count > MAX_OPEN:
            text = f"a session with cancel_on_disconnect has {MAX_OPEN} open orders at most"
            raise refusal(422, "protected_orders", text, field="items", limit=str(MAX_OPEN), value=str(count))

    def open_orders(self) -> list[_Key]:
        """Account and client id of the orders that are open or not decided yet; the others are forgotten."""
        self._orders = {key: made for key, made in self._orders.items() if self._is_open(key, made)}
        self._prune_at = max(2 * MAX_OPEN, 2 * len(self._orders))
        return list(self._orders)

    def _is_open(self, key: _Key, decided: _Decided) -> bool:
        if not decided.done():
            return True
        order_id = self._platform.state.client_ids.get(key[0], {}).get(key[1])
        return order_id is not None and order_id in self._platform.state.open_orders

    def cancel_of(self, key: _Key) -> CancelOrder:
        """The command that cancels one of its orders, also one that still waits to be decided."""
        account, cl_ord_id = key
        state = self._platform.state
        order_id = state.client_ids.get(account, {}).get(cl_ord_id)
        order = state.orders[order_id] if order_id is not None else None
        about = f"{cl_ord_id}|{len(order.amends)}" if order is not None else cl_ord_id
        request = "cod-" + sha256(f"{account}|{about}".encode()).hexdigest()[:40]
        named = order.cl_ord_id if order is not None else cl_ord_id
        return CancelOrder(account, request, named, Origin.SYSTEM, REASON)


class Protection:
    """All protected sessions of one server."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._guards: dict[_Key, Guard] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def hold(self, subject: str, name: str, grace_s: int, displace: Callable[[], None]) -> tuple[Guard, bool]:
        """Protect a connection's orders, or go on with those of a session that has lost its connection.

        Args:
            displace: called when another connection takes the session over; it must end this one.

        Returns:
            The session, and whether it was there before.
        """
        guard = self._guards.pop((subject, name), None)
        resumed = guard is not None
        if guard is None:
            guard = Guard(self._platform, subject, name)
        if guard.timer is not None:
            guard.timer.cancel()
            guard.timer = None
        if guard.displace is not None and guard.displace != displace:
            guard.displace()
        guard.displace, guard.grace_s = displace, grace_s
        self._guards[subject, name] = guard
        return guard, resumed

    def drop(self, guard: Guard) -> None:
        """The session is not protected any more; its orders stay."""
        self._guards.pop((guard.subject, guard.name), None)

    def release(self, guard: Guard, displace: Callable[[], None]) -> None:
        """A connection has ended: unless the session was taken over, its grace period begins."""
        if guard.displace != displace or self._guards.get((guard.subject, guard.name)) is not guard:
            return
        guard.displace = None
        waiting = [
            one for one in self._guards.values() if one.subject == guard.subject and one.displace is None
        ]
        for oldest in waiting[:-MAX_WAITING]:
            self._end(oldest)
        loop = asyncio.get_running_loop()
        guard.timer = loop.call_later(guard.grace_s, self._end, guard)

    async def close(self) -> None:
        """The server stops: the orders of every protected session are cancelled, grace or not."""
        for guard in list(self._guards.values()):
            self._end(guard)
        while self._ending:
            await asyncio.wait(self._ending)

    def _end(self, guard: Guard) -> None:
        if guard.timer is not None:
            guard.timer.cancel()
        self.drop(guard)
        task = asyncio.create_task(self._cancel(guard))
        self._ending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("cancel on disconnect failed", exc_info=error)

    async def _cancel(self, guard: Guard) -> None:
        """Cancel what is open, in parts; the shard's end ends it."""
        keys = guard.open_orders()
        try:
            for start in range(0, len(keys), AT_ONCE):
                part = [await self._offer(guard, key) for key in keys[start : start + AT_ONCE]]
                await asyncio.gather(*part)
        except OutcomeUnknownError:
            LOG.warning("session %s of %s: the engine stopped first", guard.name, guard.subject)
            return
        LOG.info("session %s of %s is gone: cancelled %d orders", guard.name, guard.subject, len(keys))

    async def _offer(self, guard: Guard, key: _Key) -> asyncio.Future[Outcome]:
        while True:
            try:
                return self._platform.shard.offer(guard.cancel_of(key), guard.subject)
            except OverloadedError:
                await asyncio.sleep(PAUSE_S)
