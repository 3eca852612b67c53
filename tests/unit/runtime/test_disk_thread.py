"""One thread does disk work in order, and the loop's own future has what came of it."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from qtinfra.runtime.disk_thread import DiskThread

pytestmark = pytest.mark.unit

PATIENCE_S = 30.0  # an upper bound for waiting, never a measurement


def test_work_is_done_in_order_in_one_thread_that_is_not_the_loops() -> None:
    async def scenario() -> None:
        disk, done = DiskThread("disk"), list[tuple[int, str]]()

        def work(number: int) -> int:
            done.append((number, threading.current_thread().name))
            return number

        loop = asyncio.get_running_loop()
        found = await asyncio.gather(*(loop.run_in_executor(disk, work, number) for number in range(50)))
        disk.shutdown()
        assert found == list(range(50))
        assert done == [(number, "disk") for number in range(50)]

    asyncio.run(scenario())


def test_the_future_is_the_loops_own_and_no_copy_of_another() -> None:
    async def scenario() -> None:
        disk = DiskThread("disk")
        given = disk.submit(int)
        assert asyncio.get_running_loop().run_in_executor(_Gives(given), int) is given
        assert await given == 0
        disk.shutdown()

    asyncio.run(scenario())


class _Gives(DiskThread):
    """An executor that always answers with one and the same future."""

    def __init__(self, given: object) -> None:
        super().__init__("none")
        self.given = given

    def submit(self, *_: object, **__: object) -> object:  # type: ignore[override]
        return self.given


@pytest.mark.parametrize("work", [int, lambda: 1 // 0], ids=["done", "failed"])
def test_who_asked_for_it_is_told_when_the_future_is_complete_before_the_futures_own_callbacks(
    work: Callable[[], int],
) -> None:
    async def scenario() -> list[str]:
        disk, told = DiskThread("disk"), list[str]()
        waiting = disk.begin(work, lambda: told.append(f"after, {waiting.done()}"))
        waiting.add_done_callback(lambda _: told.append("callback"))
        await asyncio.wait([waiting])
        disk.shutdown()
        return told

    assert asyncio.run(scenario()) == ["after, True", "callback"]


@pytest.mark.parametrize("kind", [OSError, MemoryError, ZeroDivisionError, SystemExit])
def test_whatever_the_work_raises_reaches_who_waits(kind: type[BaseException]) -> None:
    async def scenario() -> BaseException | None:
        disk = DiskThread("disk")

        def fail() -> None:
            raise kind("planted")

        waiting = disk.submit(fail)
        await asyncio.wait([waiting])
        again = disk.submit(int)
        await asyncio.wait([again])
        disk.shutdown()
        assert again.result() == 0, "the thread goes on"
        return waiting.exception()

    assert type(asyncio.run(scenario())) is kind


def test_a_future_that_was_cancelled_does_not_disturb_the_thread() -> None:
    async def scenario() -> None:
        disk, gate = DiskThread("disk"), threading.Event()
        first, second = disk.submit(gate.wait, PATIENCE_S), disk.submit(int)
        first.cancel()
        gate.set()
        assert await second == 0
        disk.shutdown()

    asyncio.run(scenario())


def test_a_shutdown_waits_for_what_was_handed_over_and_takes_no_more() -> None:
    async def scenario() -> None:
        disk, done = DiskThread("disk"), list[int]()
        for number in range(100):
            disk.submit(done.append, number)
        disk.shutdown()
        assert done == list(range(100))
        with pytest.raises(RuntimeError, match="ended"):
            disk.submit(int)
        disk.shutdown()

    asyncio.run(scenario())


def test_a_loop_that_has_closed_meanwhile_does_not_disturb_the_thread() -> None:
    disk, gate = DiskThread("disk"), threading.Event()

    async def leave() -> None:
        disk.submit(gate.wait, PATIENCE_S)

    async def come_back() -> int:
        return await disk.submit(int)

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(come_back()) == 0
    disk.shutdown()


def test_the_thread_ends_when_nobody_holds_it_any_more() -> None:
    disk = DiskThread("forgotten")

    async def use(disk: DiskThread) -> None:
        await disk.submit(int)

    asyncio.run(use(disk))
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "forgotten")
    gone = weakref.ref(disk)
    del disk
    gc.collect()
    assert gone() is None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
