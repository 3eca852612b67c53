"""The ALGO timer of the live shard: it works parents, one look at a time, and stops with them."""

import asyncio
from typing import Any

import msgspec
import pytest

from qtinfra.bootstrap import installed_strategies
from qtinfra.core.algo import AlgoTerms
from qtinfra.core.commands import CancelOrder, TimerFired, TimerKind
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.strategies.registry import BUILT_IN
from qtinfra.engine.decide.algos import first_look_ns, next_look_ns
from qtinfra.engine.state import State
from qtinfra.execution.parent import LOOK_NS
from qtinfra.infra.clock import ManualClock
from qtinfra.runtime.algo_timer import MOST_AT_ONCE, AlgoTimer
from tests.support.builders import ALPHA, START_NS, quote, submit
from tests.unit.runtime.test_live import MIC, Rig, TestJournal, a_few_turns, restarted, running, until

pytestmark = pytest.mark.unit

MINUTE = 60_000_000_000


class Quoted:
    """A market that stands still."""

    def book(self, symbol: str) -> ConsolidatedBook | None:
        return ConsolidatedBook(symbol, (quote(MIC, bids=[("49.98", 500)], asks=[("50.02", 500)]),))


def parent(name: str = "X", start_ns: int = START_NS) -> Any:
    terms = AlgoTerms("TWAP", start_ns, start_ns + 10 * MINUTE, slices=10, passive=False)
    return submit(name, 1000, None, algo=terms)


def fired(rig: Rig) -> int:
    found = [entry.command for entry in rig.journal.read() if isinstance(entry.command, TimerFired)]
    return len([command for command in found if command.kind is TimerKind.ALGO])


def test_a_parent_is_worked_by_the_shards_own_timer() -> None:
    async def scenario() -> None:
        clock = ManualClock(START_NS)
        async with running(clock=clock, market=Quoted()) as rig:
            await rig.offer(parent(start_ns=START_NS + MINUTE))
            await a_few_turns()
            assert rig.ordered == []
            clock.advance_to(START_NS + MINUTE)
            rig.shard._algos.arm()
            await until(lambda: rig.ordered == [100])
            assert fired(rig) == 1

    asyncio.run(scenario())


def test_a_restart_arms_the_timer_and_resumes_without_a_burst() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        clock = ManualClock(START_NS)
        async with running(journal, clock=clock, market=Quoted()) as rig:
            await rig.offer(parent())
            await until(lambda: rig.ordered == [100])
        later = ManualClock(START_NS + 5 * MINUTE)
        async with running(restarted(journal), clock=later, market=Quoted()) as rig:
            await until(lambda: fired(rig) > 1)
            await a_few_turns()
            assert sum(rig.ordered) <= 200

    asyncio.run(scenario())


def test_without_parents_no_timer_is_set() -> None:
    async def scenario() -> None:
        async with running(clock=ManualClock(START_NS), market=Quoted()) as rig:
            assert rig.shard._algos.at_ns is None
            await rig.offer(parent(start_ns=START_NS + MINUTE))
            assert rig.shard._algos.at_ns == START_NS + MINUTE
            await rig.offer(CancelOrder(ALPHA, "C", "X"))
            rig.shard._algos.arm()
            assert rig.shard._algos.at_ns is None

    asyncio.run(scenario())


def test_many_parents_are_looked_at_in_parts_that_take_turns_within_a_second() -> None:
    async def scenario() -> None:
        clock, parts = ManualClock(START_NS), list[tuple[int, int]]()
        async with running(clock=clock) as rig:
            await rig.offer(parent(start_ns=START_NS + MINUTE))
            state = State()
            (one,) = rig.shard.state.algos.parents.values()
            for number in range(2 * MOST_AT_ONCE + 1):
                state.algos.parents[str(number)] = msgspec.structs.replace(one, number=number)
            timer = AlgoTimer(lambda: state, clock, lambda part, of: parts.append((part, of)))
            clock.advance_to(START_NS + 2 * MINUTE)
            timer.arm()
            for _ in range(4):
                timer._look()
                assert timer.at_ns == clock.now_ns() + LOOK_NS // 3
                clock.advance_to(timer.at_ns)
            timer.cancel()
            assert timer.at_ns is None
        assert parts == [(0, 3), (1, 3), (2, 3), (0, 3)]

    asyncio.run(scenario())


def test_the_first_look_is_at_the_start_and_the_next_a_second_later() -> None:
    async def scenario() -> None:
        async with running(clock=ManualClock(START_NS)) as rig:
            await rig.offer(parent(start_ns=START_NS + MINUTE))
            (one,) = rig.shard.state.algos.parents.values()
            assert first_look_ns(one.schedule, START_NS) == START_NS + MINUTE
            assert next_look_ns(rig.shard.state, START_NS) == START_NS + MINUTE
            assert next_look_ns(rig.shard.state, START_NS + MINUTE) == START_NS + MINUTE + LOOK_NS
            assert next_look_ns(State(), START_NS) is None

    asyncio.run(scenario())


def test_the_composition_root_knows_the_algos_that_come_with_the_engine() -> None:
    assert set(BUILT_IN) <= set(installed_strategies())
