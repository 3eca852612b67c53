"""News of the market and the expiry timer in the live shard."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from qtinfra.core.calendar import TradingSession, VenueCalendar
from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    Inbound,
    MarketMoved,
    RecordVenueReport,
    SetCalendar,
    SubmitOrder,
    TimerFired,
    TimerKind,
)
from qtinfra.core.models import OrderStatus, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.core.special import SpecialTerms
from qtinfra.engine.decide.expiry import next_expiry_ns
from qtinfra.engine.state import State
from qtinfra.infra.clock import ManualClock
from qtinfra.runtime.inbox import Inbox
from qtinfra.runtime.recovery import recover
from qtinfra.runtime.timers import RETRY_NS, ExpiryTimer
from tests.support.builders import ALPHA, DAYS, GTC, SELL, START_NS, SYMBOL, Number, dec, submit
from tests.unit.runtime.test_live import MIC, Rig, TestJournal, a_few_turns, restarted, running, until

pytestmark = pytest.mark.unit

MILLISECOND, HOUR = 1_000_000, 3_600_000_000_000
EXPIRY = TimerFired(TimerKind.EXPIRY, "")
DAY_OPEN = TimerFired(TimerKind.DAY_OPEN, DAYS[0])


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def stop(cl_ord_id: str, price: Number) -> SubmitOrder:
    terms = SpecialTerms(stop_px=dec(price))
    return submit(cl_ord_id, 100, None, side=SELL, tif=GTC, order_type=OrderType.STOP, special=terms)


def good_till(cl_ord_id: str, expire_ns: int) -> SubmitOrder:
    return submit(cl_ord_id, tif=TimeInForce.GTD, special=SpecialTerms(expire_ns=expire_ns))


def calendar(close_ns: int) -> SetCalendar:
    """One session today, from an hour ago to `close_ns`."""
    today = TradingSession(DAYS[0], START_NS - HOUR, close_ns)
    return SetCalendar(VenueCalendar(MIC, DAYS[0], DAYS[0], (today,)))


def commands(rig: Rig, *kinds: type) -> list[AnyCommand]:
    """What was journaled, of these kinds."""
    return [entry.command for entry in rig.journal.read() if isinstance(entry.command, kinds)]


def status(rig: Rig, cl_ord_id: str) -> OrderStatus:
    order = rig.shard.state.find_order(ALPHA, cl_ord_id)
    assert order is not None
    return order.status


# --- the market -------------------------------------------------------------------------------------------


def test_a_trade_through_its_stop_sends_the_order() -> None:
    async def scenario() -> None:
        async with running() as rig:
            await rig.offer(stop("S", 95))
            assert rig.ordered == []
            rig.shard.market_moved(SYMBOL, dec(94))
            await until(lambda: rig.ordered != [])
            assert rig.ordered == [100]

    run(scenario())


def test_a_symbol_without_held_orders_costs_nothing() -> None:
    async def scenario() -> None:
        async with running() as rig:
            await rig.offer(submit("A"))
            rig.shard.market_moved(SYMBOL, dec(94))
            assert rig.shard.waiting == 0

    run(scenario())


def test_at_most_one_move_of_a_symbol_waits_and_the_newest_counts() -> None:
    async def scenario() -> None:
        async with running() as rig:
            await rig.offer(stop("S", 95))
            rig.shard.market_moved(SYMBOL, dec(94))
            for px in range(100, 1_000):
                rig.shard.market_moved(SYMBOL, dec(px))
            assert rig.shard.waiting == 1
            await until(lambda: rig.shard.waiting == 0)
            await a_few_turns()
            assert (rig.ordered, commands(rig, MarketMoved)) == ([], [])
            rig.shard.market_moved(SYMBOL, dec(93))
            rig.shard.market_moved(SYMBOL)  # a quote changed: the last trade is still the last one
            await until(lambda: rig.ordered != [])
            assert commands(rig, MarketMoved) == [MarketMoved(SYMBOL, dec(93))]

    run(scenario())


def test_a_full_inbox_still_takes_news_of_the_market() -> None:
    async def scenario() -> None:
        async with running(capacity=1) as rig:
            await rig.offer(stop("S", 95))
            waiter = rig.offer(submit("A", 7))
            rig.shard.market_moved(SYMBOL, dec(94))
            assert rig.shard.waiting == 2
            await waiter
            await until(lambda: len(rig.ordered) == 2)
            assert rig.ordered == [100, 7]

    run(scenario())


def test_a_shard_that_is_over_takes_no_news() -> None:
    async def scenario() -> None:
        async with running() as rig:
            await rig.offer(stop("S", 95))
        rig.shard.market_moved(SYMBOL, dec(94))
        assert rig.shard.waiting == 0

    run(scenario())


def test_moves_go_behind_reports_and_before_all_else_and_leave_half_of_the_room() -> None:
    inbox: Inbox[int] = Inbox()
    symbols = [f"S{number}" for number in range(6)]
    for symbol in symbols:
        inbox.put_move(symbol, None, 0, 1, "market")
    assert len(inbox) == 6
    report = RecordVenueReport(VenueReport(ReportKind.ACK, MIC, "1"))
    put(inbox, submit("A"), CancelOrder(ALPHA, "C", "B"), report)
    taken = [[inbound.command for inbound, _ in inbox.take(5)] for _ in range(3)]
    moves = [MarketMoved(symbol) for symbol in symbols]
    assert taken[0] == [report, *moves[:2], CancelOrder(ALPHA, "C", "B"), submit("A")]
    assert taken[1:] == [moves[2:], []]


def put(inbox: Inbox[int], *waiting: AnyCommand) -> None:
    for command in waiting:
        inbox.put(Inbound(command), 0)


# --- the next expiry --------------------------------------------------------------------------------------


def test_nothing_ends_by_itself_without_orders_and_calendars() -> None:
    assert next_expiry_ns(State()) is None


def test_the_next_expiry_is_the_earliest_end_of_an_order_or_a_session() -> None:
    async def scenario() -> None:
        async with running() as rig:
            state = rig.shard.state
            await rig.offer(submit("GTC", tif=GTC))
            await rig.offer(submit("DAY"))
            assert next_expiry_ns(state) is None
            await rig.offer(good_till("D", START_NS + 3 * HOUR))
            assert next_expiry_ns(state) == START_NS + 3 * HOUR
            await rig.offer(DAY_OPEN)
            await rig.offer(calendar(START_NS + 2 * HOUR))
            assert next_expiry_ns(state) == START_NS + 2 * HOUR
            assert next_expiry_ns(state, START_NS + 2 * HOUR) == START_NS + 3 * HOUR
            assert next_expiry_ns(state, START_NS + 3 * HOUR) is None

    run(scenario())


# --- the timer --------------------------------------------------------------------------------------------


def test_a_gtd_order_ends_at_its_time_by_the_injected_clock() -> None:
    async def scenario() -> None:
        clock = ManualClock(START_NS)
        async with running(clock=clock) as rig:
            await rig.offer(good_till("X", START_NS + 3 * MILLISECOND))
            await rig.offer(good_till("Y", START_NS + 2 * MILLISECOND))
            await rig.offer(good_till("Z", START_NS + HOUR))
            await asyncio.sleep(0.01)  # the clock stands still
            assert commands(rig, TimerFired) == []
            clock.advance_to(START_NS + 2 * MILLISECOND)
            await until(lambda: status(rig, "Y") is not OrderStatus.ROUTED)
            assert status(rig, "X") is OrderStatus.ROUTED
            clock.advance_to(START_NS + 3 * MILLISECOND)
            await until(lambda: status(rig, "X") is not OrderStatus.ROUTED)
            assert status(rig, "Z") is OrderStatus.ROUTED

    run(scenario())


def test_the_close_of_a_journaled_calendar_ends_day_orders() -> None:
    async def scenario() -> None:
        clock = ManualClock(START_NS)
        async with running(clock=clock) as rig:
            await rig.offer(submit("X"))
            await rig.offer(DAY_OPEN)
            await rig.offer(calendar(START_NS + 2 * MILLISECOND))
            clock.advance_to(START_NS + 2 * MILLISECOND)
            await until(lambda: EXPIRY in commands(rig, TimerFired))
            assert status(rig, "X") is OrderStatus.EXPIRED

    run(scenario())


def test_what_became_due_while_nobody_ran_ends_after_the_restart() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        async with running(journal) as rig:
            terms = SpecialTerms(stop_px=dec(95), expire_ns=START_NS + HOUR)
            held = stop("X", 95)
            await rig.offer(msgspec.structs.replace(held, tif=TimeInForce.GTD, special=terms))
        async with running(restarted(journal), clock=ManualClock(START_NS + HOUR)) as rig:
            await until(lambda: status(rig, "X") is OrderStatus.EXPIRED)

    run(scenario())


def test_what_was_due_and_could_not_end_is_looked_at_again_but_not_at_once() -> None:
    async def scenario() -> None:
        fired: list[int] = []
        clock = ManualClock(START_NS)
        async with running() as rig:
            await rig.offer(good_till("X", START_NS + MILLISECOND))
            await rig.offer(good_till("Y", START_NS + RETRY_NS))
            timer = ExpiryTimer(lambda: rig.shard.state, clock, lambda: fired.append(clock.now_ns()))
            timer.arm()
            assert timer.at_ns == START_NS + MILLISECOND
            clock.advance_to(START_NS + MILLISECOND)
            await until(lambda: fired != [])
            timer.arm()  # nothing has ended: the venue has not answered
            assert timer.at_ns == START_NS + RETRY_NS
            clock.advance_to(START_NS + RETRY_NS)
            timer.cancel()
            await asyncio.sleep(0.005)
            assert fired == [START_NS + MILLISECOND]

    run(scenario())


def test_no_timer_fires_once_the_shard_is_closed() -> None:
    async def scenario() -> None:
        clock = ManualClock(START_NS)
        journal = TestJournal()
        async with running(journal, clock=clock) as rig:
            await rig.offer(good_till("X", START_NS + MILLISECOND))
        clock.advance_to(START_NS + HOUR)
        await asyncio.sleep(0.005)
        assert not [item for item in recover(restarted(journal)).state.orders.values() if item.pending_cancel]

    run(scenario())
