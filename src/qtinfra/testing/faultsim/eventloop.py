"""An asyncio event loop on virtual time: the live code runs on it unchanged, and every run is the same.

Nothing happens by itself. `run_until` lets time pass; callbacks that are due run one by one, in the order of
their moments and, at equal moments, of their making. Each callback belongs to an owner (an engine's life, or
the outside world): what an owner had planned can be dropped, as when its process is killed, or put aside and
given back, as when it is stopped and continued.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any

from qtinfra.core.exceptions import QtInfraError
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.runtime.recovery import UNFIT

#: The owner of what no engine does: venues, networks, clients.
OUTSIDE = 0

_SECOND = 1_000_000_000
#: What work on an executor may raise and its caller then gets.
_HANDED_ON = (QtInfraError, InvariantBrokenError, OSError, *UNFIT)


class PowerCut(SystemExit):
    """The machine stops here. As a SystemExit it passes through tasks up to the loop's caller."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in virtual time, in this thread, one at a time.

    Attributes:
        now_ns: time since the loop was made, nanoseconds; monotonic.
        owner: whose callback runs, and whom new callbacks belong to.
        errors: what callbacks and tasks raised that nobody caught, in words.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self.owner = OUTSIDE
        self.turns = 0
        self.errors: list[str] = []
        self.disk_ns: Callable[[], int] = lambda: 0
        self.before_turn: Callable[[], None] = lambda: None
        self.connect: Callable[[Callable[[], asyncio.Protocol], int], Any] | None = None
        self.listen: Callable[[Callable[[], asyncio.Protocol], int], Any] | None = None
        self._queue: list[tuple[int, int, int, asyncio.Handle]] = []
        self._number = 0
        self._aside: dict[int, list[tuple[int, int, int, asyncio.Handle]]] = {}
        self._begun: dict[int, list[Coroutine[Any, Any, Any]]] = {}

    # --- letting time pass --------------------------------------------------------------------------------

    def run_until(self, at_ns: int) -> None:
        """Run what is due up to a moment, which then is now.

        Raises:
            PowerCut: a callback ended its machine; its owner is `owner`. Call again to go on.
        """
        while self._queue and self._queue[0][0] <= at_ns:
            self.turn()
        self.now_ns = max(self.now_ns, at_ns)

    def turn(self) -> bool:
        """Run the next callback, whenever it is due; false when there is none."""
        while self._queue:
            due_ns, _, owner, handle = heapq.heappop(self._queue)
            if handle.cancelled():
                continue
            self.now_ns = max(self.now_ns, due_ns)
            self.owner = owner
            self.turns += 1
            self.before_turn()
            handle._run()
            self.owner = OUTSIDE
            return True
        return False

    @property
    def next_ns(self) -> int | None:
        """When the next callback is due; None when nothing is planned."""
        while self._queue and self._queue[0][3].cancelled():
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def drop(self, owner: int) -> None:
        """Forget all that an owner had planned."""
        self._aside.pop(owner, None)
        for coro in self._begun.pop(owner, []):
            if getcoroutinestate(coro) == CORO_CREATED:
                coro.close()
        self._queue = [item for item in self._queue if item[2] != owner]
        heapq.heapify(self._queue)

    def put_aside(self, owner: int) -> None:
        """Stop an owner: what it had planned waits for `give_back`, and so does what is planned for it."""
        self._aside[owner] = [item for item in self._queue if item[2] == owner]
        self._queue = [item for item in self._queue if item[2] != owner]
        heapq.heapify(self._queue)

    def give_back(self, owner: int) -> None:
        """Let a stopped owner go on: what has become due meanwhile is due now."""
        for due_ns, _, _, handle in sorted(self._aside.pop(owner, []), key=lambda item: item[:2]):
            self._push(max(due_ns, self.now_ns), owner, handle)

    def call_for(
        self, owner: int, delay_ns: int, callback: Callable[..., object], *args: Any
    ) -> asyncio.Handle:
        """Plan a callback that belongs to somebody else, such as data that arrives there."""
        handle = asyncio.Handle(callback, args, self)
        self._push(self.now_ns + delay_ns, owner, handle)
        return handle

    def _push(self, due_ns: int, owner: int, handle: asyncio.Handle) -> None:
        self._number += 1
        item = (due_ns, self._number, owner, handle)
        if owner in self._aside:
            self._aside[owner].append(item)
        else:
            heapq.heappush(self._queue, item)

    # --- what asyncio asks of a loop ----------------------------------------------------------------------

    def time(self) -> float:
        return self.now_ns / _SECOND

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._push(self.now_ns, self.owner, handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there is one thread

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._push(max(self.now_ns, round(when * _SECOND)), self.owner, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its turn comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        self._begun.setdefault(self.owner, []).append(coro)
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """The work is done at one later moment, as the disk takes its time."""
        del executor
        done = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except PowerCut:
                raise
            except _HANDED_ON as error:
                done.set_exception(error)
            else:
                done.set_result(result)

        self.call_for(self.owner, self.disk_ns(), work)
        return done

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> Any:
        del host
        if self.connect is None:
            raise OSError("no network")
        return await self.connect(protocol_factory, port)

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> Any:
        del host
        if self.listen is None:
            raise OSError("no network")
        return self.listen(protocol_factory, port)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error in a callback is a finding; of tasks that a crash has cut off nothing is said."""
        error = context.get("exception")
        if error is not None and "handle" in context:
            self.errors.append(f"{context.get('message')}: {error!r}")
