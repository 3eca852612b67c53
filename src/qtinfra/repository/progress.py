"""How far a projection is, told across threads: the projector advances it, readers wait on it."""

from __future__ import annotations

import asyncio
import builtins
import threading
from heapq import heapify, heappop, heappush
from itertools import count

from qtinfra.core.exceptions import OverloadedError, TimeoutError

#: Most readers that wait at once.
MAX_WAITING = 10_000

_Waiter = tuple[int, int, asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Progress:
    """The sequence that the read tables have reached, and who waits for a later one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0
        self._waiting: list[_Waiter] = []
        self._number = count()

    @property
    def seq(self) -> int:
        """Last journal sequence whose rows are committed."""
        return self._seq

    def advance(self, seq: int) -> None:
        """The rows up to `seq` are committed; called by the projector, from any thread.

        A projection that starts over (a rebuild) goes back.
        """
        with self._lock:
            self._seq = seq
            due = []
            while self._waiting and self._waiting[0][0] <= seq:
                due.append(heappop(self._waiting))
        for _, _, loop, waiter in due:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, waiter)

    async def wait_for(self, seq: int, timeout_s: float) -> None:
        """Return once the rows up to `seq` are committed.

        Args:
            timeout_s: seconds, at most.

        Raises:
            TimeoutError: `projection_behind`: it was not so in time.
            OverloadedError: too many wait already.
        """
        if self._seq >= seq:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._seq >= seq:
                return
            if len(self._waiting) >= MAX_WAITING:
                self._waiting = [item for item in self._waiting if not item[3].done()]
                heapify(self._waiting)
            if len(self._waiting) >= MAX_WAITING:
                raise OverloadedError(f"{MAX_WAITING} readers wait for the read tables already")
            heappush(self._waiting, (seq, next(self._number), loop, waiter))
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except builtins.TimeoutError as error:
            raise TimeoutError(
                f"the read tables are at sequence {self._seq}, {seq} was asked for",
                code="projection_behind",
                context={"seq": self._seq, "wanted_seq": seq},
            ) from error


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
