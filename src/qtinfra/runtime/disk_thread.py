"""One thread that does a shard's disk work in order, for a caller on an event loop.

A pool's thread completes a future of its own, which completes the loop's in a second step; with small frames
that is a good part of what a frame costs. Here the thread completes the loop's future: `submit` gives an
`asyncio.Future`, and `run_in_executor` hands on a future of asyncio as it is.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_After = Callable[[], None]
_Work = tuple[Callable[[], object], asyncio.AbstractEventLoop, "asyncio.Future[object]", _After]
_Queue = SimpleQueue[_Work | None]


class DiskThread(Executor):
    """An executor of one thread, for `run_in_executor` of the running loop only.

    The thread begins with the first work and ends with `shutdown`, or when nobody holds this any more. It
    does not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: _Queue = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._over = False

    def submit(  # type: ignore[override]
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Have `fn` called in the thread; the running loop's future has what it returns or raises.

        Raises:
            RuntimeError: after `shutdown`.
        """
        return self.begin(partial(fn, *args, **kwargs), _nothing)

    def begin(self, work: Callable[[], T], after: Callable[[], None]) -> asyncio.Future[T]:
        """As `submit`; `after` is called on the loop when the future is complete, in the same turn, where a
        callback of the future would wait for the next one.

        Raises:
            RuntimeError: after `shutdown`.
        """
        if self._over:
            raise RuntimeError("the disk's thread has ended")
        if self._thread is None:
            self._thread = threading.Thread(target=_run, args=(self._queue,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._queue.put, None).atexit = False
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._queue.put((work, loop, done, after))  # type: ignore[arg-type]
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more work; what was handed over is done first.

        Args:
            wait: return when it is done.
        """
        del cancel_futures
        self._over = True
        self._queue.put(None)
        if wait and self._thread is not None:
            self._thread.join()


def _run(queue: _Queue) -> None:
    while (work := queue.get()) is not None:
        _perform(*work)
        del work


def _perform(
    work: Callable[[], object],
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[object],
    after: _After,
) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it belongs to who waits on the loop
        _tell(loop, _fail, done, error, after)
    else:
        _tell(loop, _complete, done, result, after)


def _tell(loop: asyncio.AbstractEventLoop, how: Callable[..., None], *what: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(how, *what)


def _complete(done: asyncio.Future[object], result: object, after: _After) -> None:
    if not done.done():
        done.set_result(result)
    after()


def _fail(done: asyncio.Future[object], error: BaseException, after: _After) -> None:
    if not done.done():
        done.set_exception(error)
    after()


def _nothing() -> None:
    """Afterwards there is nothing to do."""
