"""The live shard: pipelined group commit, release after durability, and what happens when it stops."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import pytest

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    OrderStatusRequest,
    RecordVenueReports,
    SetFxRate,
    SetReference,
    SubmitOrder,
)
from qtinfra.core.events import AmendRefused, AnyEvent, ChildAcked, CommandQuarantined, Entry, OrderAccepted
from qtinfra.core.exceptions import ExternalServiceError, JournalError, OutcomeUnknownError, OverloadedError
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.models import ChildStatus, Currency
from qtinfra.core.ports import Happened, Head, Snapshot
from qtinfra.core.reports import (
    Alert,
    ExecutionReport,
    OrderCancelReject,
    ReportKind,
    ToVenue,
    VenueNewOrder,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.engine import evolve as evolve_module
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.state import State, state_hash
from qtinfra.infra.clock import ManualClock
from qtinfra.journal.memory import MemoryJournal
from qtinfra.runtime import disk_thread
from qtinfra.runtime.live import SLICE, LiveShard
from qtinfra.runtime.recovery import recover
from qtinfra.runtime.snapshots import SnapshotPolicy
from tests.support.builders import ALPHA, BETA, START_NS, account, instrument, submit, venue

pytestmark = pytest.mark.unit

MIC = "XNAS"
SETUP = (SetReference((instrument(),), (account(), account(BETA)), (venue(MIC),)),)
PATIENCE_S = 30.0  # an upper bound for waiting, never a measurement


class TestJournal:
    """A journal on a disk in memory whose appends can be held up, and fail when told to."""

    __test__ = False

    def __init__(self, inner: MemoryJournal | None = None) -> None:
        self.inner = inner or MemoryJournal.fresh()
        self.appends: list[int] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.append_error: BaseException | None = None
        self.snapshot_error: JournalError | None = None

    @property
    def head(self) -> Head:
        return self.inner.head

    def append(self, entries: Sequence[Entry]) -> Head:
        self.entered.release()
        assert self.gate.wait(PATIENCE_S)
        if self.append_error is not None:
            raise self.append_error
        self.appends.append(len(entries))
        return self.inner.append(entries)

    def seal(self, entries: Sequence[Entry]) -> Callable[[], Head]:
        return partial(self.append, entries)

    def read(self, after_seq: int = 0) -> Iterator[Entry]:
        return self.inner.read(after_seq)

    def happened(self, after_seq: int = 0) -> Iterator[Happened | Entry]:
        return self.inner.happened(after_seq)

    def last_entry(self) -> Entry | None:
        return self.inner.last_entry()

    def save_snapshot(self, snapshot: Snapshot) -> None:
        if self.snapshot_error is not None:
            raise self.snapshot_error
        self.inner.save_snapshot(snapshot)

    def latest_snapshot(self) -> Snapshot | None:
        return self.inner.latest_snapshot()

    def close(self) -> None:
        self.inner.close()

    async def held(self) -> None:
        """Wait until an append has begun; it stays where it is while the gate is closed."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE_S)


class TestVenue:
    """A gateway that keeps what it is given, or refuses as a broken link does."""

    __test__ = False

    def __init__(self, shard: LiveShard) -> None:
        self.sent: list[ToVenue] = []
        self.refuses = False
        self._shard = shard

    @property
    def venue(self) -> str:
        return MIC

    def send(self, message: ToVenue) -> None:
        if self.refuses:
            self._shard.venue_status(MIC, VenueStatus.DISCONNECTED, "not sent")
            raise ExternalServiceError("not connected", code="venue_disconnected")
        self.sent.append(message)


class Rig:
    """A started shard with one venue, and everything that left it."""

    def __init__(self, journal: TestJournal, **options: object) -> None:
        self.journal = journal
        self.reports: list[ExecutionReport | OrderCancelReject] = []
        self.alerts: list[Alert] = []
        recovery = recover(journal)
        sinks = {"on_report": self.reports.append, "on_alert": self.alerts.append}
        clock = options.pop("clock", ManualClock(START_NS))
        self.shard = LiveShard(
            recovery.state,
            journal,
            clock,  # type: ignore[arg-type]
            epoch=journal.inner.epoch,
            **{**sinks, **options},  # type: ignore[arg-type]
        )
        self.venue = TestVenue(self.shard)

    async def start(self) -> None:
        await self.shard.start("test", () if self.shard.state.instruments else SETUP)
        self.shard.connect(self.venue)
        await self.say(VenueStatus.CONNECTED)
        self.journal.appends.clear()
        while self.journal.entered.acquire(blocking=False):
            continue

    async def say(self, status: VenueStatus) -> None:
        """Say the link's status, and wait until that is durable."""
        self.shard.venue_status(MIC, status, "test")
        await self.shard.submit(SetFxRate(Currency.EUR, Currency.USD, Decimal(1)), "test")

    def offer(self, command: AnyCommand) -> "asyncio.Future[Outcome]":
        return self.shard.offer(command, "client")

    def knows(self, cl_ord_id: str) -> bool:
        return self.shard.state.find_order(ALPHA, cl_ord_id) is not None

    @property
    def ordered(self) -> list[Decimal]:
        return [message.qty for message in self.venue.sent if isinstance(message, VenueNewOrder)]


@asynccontextmanager
async def running(journal: TestJournal | None = None, **options: object) -> AsyncIterator[Rig]:
    rig = Rig(journal or TestJournal(), **options)
    await rig.start()
    yield rig
    rig.journal.gate.set()
    await rig.shard.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


async def a_few_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def unknown(*waiters: "asyncio.Future[Outcome]") -> bool:
    """Whether each of them is told that its outcome is unknown."""
    answers = await asyncio.gather(*waiters, return_exceptions=True)
    return all(isinstance(answer, OutcomeUnknownError) for answer in answers)


def orders(first: int, last: int) -> list[SubmitOrder]:
    return [submit(f"O{number}", qty=number) for number in range(first, last)]


def restarted(journal: TestJournal) -> TestJournal:
    """What the next owner finds on the disk."""
    journal.close()
    return TestJournal(MemoryJournal.open("journal", disk=journal.inner.disk))


# -- durability before release ---------------------------------------------------------------------


def test_nothing_leaves_before_its_frame_is_durable() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.journal.gate.clear()
            waiter = rig.offer(submit("A"))
            await rig.journal.held()
            await a_few_turns()
            assert (waiter.done(), rig.venue.sent, rig.reports) == (False, [], [])
            rig.journal.gate.set()
            assert (await waiter).entry is not None
            assert len(rig.venue.sent) == len(rig.reports) == 1

    asyncio.run(scenario())


def test_the_next_frame_is_computed_while_the_one_before_it_is_being_appended() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.journal.gate.clear()
            first = rig.offer(submit("A", qty=1))
            await rig.journal.held()
            second = rig.offer(submit("B", qty=2))
            await until(lambda: rig.knows("B"))
            assert (first.done(), second.done(), rig.ordered) == (False, False, [])
            rig.journal.gate.set()
            await asyncio.gather(first, second)
            assert rig.ordered == [1, 2]
            assert rig.journal.appends == [1, 1]

    asyncio.run(scenario())


def test_the_disk_has_the_next_frame_before_the_one_that_is_durable_is_released() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.journal.gate.clear()
            first = rig.offer(submit("A", qty=1))
            await rig.journal.held()
            second = rig.offer(submit("B", qty=2))
            await until(lambda: rig.knows("B"))
            left: list[int] = []

            def seal(entries: Sequence[Entry]) -> Callable[[], Head]:
                left.append(len(rig.ordered))
                return partial(rig.journal.append, entries)

            rig.journal.seal = seal  # type: ignore[method-assign]
            rig.journal.gate.set()
            await asyncio.gather(first, second)
            assert left[0] == 0, "nothing of the first frame had left"
            assert rig.ordered == [1, 2]

    asyncio.run(scenario())


def test_a_frame_that_the_journal_does_not_take_stops_the_shard() -> None:
    async def scenario() -> None:
        rig = Rig(TestJournal())
        await rig.start()
        rig.journal.seal = _refuse  # type: ignore[method-assign]
        assert await unknown(rig.offer(submit("A")))
        await rig.shard.wait_stopped()
        assert (rig.venue.sent, rig.reports) == ([], [])
        assert isinstance(rig.shard.stopped, JournalError)
        await rig.shard.close()

    asyncio.run(scenario())


def _refuse(entries: Sequence[Entry]) -> Callable[[], Head]:
    raise JournalError(f"no room for {len(entries)}")


def test_what_comes_while_a_frame_syncs_becomes_durable_in_one_append() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.journal.gate.clear()
            waiters = [rig.offer(submit("A"))]
            await rig.journal.held()
            for order in orders(1, 101):
                waiters.append(rig.offer(order))
                await asyncio.sleep(0)
            rig.journal.gate.set()
            await asyncio.gather(*waiters)
            assert rig.journal.appends == [1, 100]

    asyncio.run(scenario())


def test_a_frame_holds_at_most_a_batch() -> None:
    async def scenario() -> None:
        async with running(batch=8) as rig:
            await asyncio.gather(*[rig.offer(order) for order in orders(1, 31)])
            assert rig.journal.appends == [8, 8, 8, 6]

    asyncio.run(scenario())


def test_a_frame_that_has_become_durable_is_released_between_two_slices_of_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = threading.Event()
    tell = disk_thread._tell

    def telling(*what: object) -> None:
        tell(*what)  # type: ignore[arg-type]
        told.set()

    async def scenario() -> None:
        decided: list[Entry] = []
        journal = TestJournal()

        def note(entries: Sequence[Entry]) -> None:
            decided.extend(entries)
            if not journal.gate.is_set() and len(decided) > before + 1:
                told.clear()
                journal.gate.set()
                assert told.wait(PATIENCE_S)

        rig = Rig(journal, on_decided=note, batch=10_000)
        before = 10**9
        await rig.start()
        before = len(decided)
        journal.gate.clear()
        first = rig.offer(submit("A"))
        await journal.held()
        seen: list[int] = []
        first.add_done_callback(lambda _: seen.append(len(decided) - before))
        rest = [rig.offer(order) for order in orders(1, 5 * SLICE)]
        await asyncio.gather(first, *rest)
        assert SLICE < seen[0] <= 3 * SLICE + 1, "it did not wait for all five slices"
        await rig.shard.close()

    monkeypatch.setattr(disk_thread, "_tell", telling)
    asyncio.run(scenario())


def test_a_read_waits_for_what_it_rests_on() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.journal.gate.clear()
            write = rig.offer(submit("A"))
            await rig.journal.held()
            read = rig.offer(OrderStatusRequest(ALPHA, "A"))
            await a_few_turns()
            assert not read.done()
            rig.journal.gate.set()
            assert write.done() is False
            answer = (await read).effects[0]
            assert isinstance(answer, ExecutionReport)
            assert answer.order_id == rig.shard.state.client_ids[ALPHA]["A"]
            assert write.done()

    asyncio.run(scenario())


def test_answers_and_reports_come_in_the_order_of_the_commands() -> None:
    async def scenario() -> None:
        done: list[str] = []
        async with running(batch=4) as rig:
            for order in orders(1, 40):
                waiter = rig.offer(order)
                waiter.add_done_callback(partial(_note, done, order.cl_ord_id))
            await waiter
            expected = [order.cl_ord_id for order in orders(1, 40)]
            assert done[: len(expected)] == expected
            assert [report.cl_ord_id for report in rig.reports] == expected
            assert rig.ordered == [order.qty for order in orders(1, 40)]

    asyncio.run(scenario())


def _note(done: list[str], name: str, _: object) -> None:
    done.append(name)


def test_two_thousand_concurrent_callers_each_get_their_own_answer_in_few_appends() -> None:
    async def scenario() -> None:
        async with running() as rig:
            commands = orders(1, 2001)
            outcomes = await asyncio.gather(*[rig.shard.submit(order, "client") for order in commands])
            for order, outcome in zip(commands, outcomes, strict=True):
                told = outcome.effects[0]
                assert isinstance(told, ExecutionReport)
                assert (told.cl_ord_id, told.order_qty) == (order.cl_ord_id, order.qty)
            assert len(rig.journal.appends) < 40
            assert len(set(rig.shard.state.orders)) == 2000

    asyncio.run(scenario())


def test_closing_decides_and_makes_durable_what_waits() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        async with running(journal, batch=3) as rig:
            waiters = [rig.offer(order) for order in orders(1, 20)]
        assert all(waiter.done() for waiter in waiters)
        assert len(recover(restarted(journal)).state.orders) == 19
        with pytest.raises(OutcomeUnknownError):
            rig.offer(submit("LATE"))

    asyncio.run(scenario())


def test_a_full_inbox_refuses_before_anything_is_journaled() -> None:
    async def scenario() -> None:
        async with running(capacity=3) as rig:
            waiters = [rig.offer(order) for order in orders(1, 4)]
            with pytest.raises(OverloadedError):
                rig.offer(submit("D"))
            await asyncio.gather(*waiters)
            assert not rig.knows("D")

    asyncio.run(scenario())


def test_orders_offered_together_get_their_durable_outcomes_in_order_as_if_offered_one_by_one() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.journal.gate.clear()
            before = rig.shard.offer(submit("A"), "client")
            offered = rig.shard.offer_all([*orders(1, 5), submit("O1", qty=99)], "client", "c-1")
            after = rig.shard.offer(submit("Z"), "client")
            await until(lambda: rig.knows("Z"))
            assert not offered.decided.done()
            rig.journal.gate.set()
            results = await offered.results()
            assert offered.taken == 5
            entries = [result.entry for result in results if isinstance(result, Outcome) and result.entry]
            assert [entry.command.cl_ord_id for entry in entries[:4]] == ["O1", "O2", "O3", "O4"]  # type: ignore[union-attr]
            assert {entry.correlation_id for entry in entries} == {"c-1"}
            assert isinstance(results[4], Outcome)
            assert not any(isinstance(event, OrderAccepted) for event in results[4].events)
            first, last = (await before).entry, (await after).entry
            assert first is not None
            assert last is not None
            assert first.seq < entries[0].seq < entries[3].seq < last.seq

    asyncio.run(scenario())


def test_of_orders_offered_together_only_those_beyond_the_room_are_refused() -> None:
    async def scenario() -> None:
        async with running(capacity=3) as rig:
            waiting = rig.offer(submit("A"))
            offered = rig.shard.offer_all(orders(1, 6), "client")
            results = await offered.results()
            assert offered.taken == 2
            assert [type(result) for result in results] == [Outcome] * 2 + [OverloadedError] * 3
            assert [rig.knows(f"O{number}") for number in range(1, 6)] == [True, True, False, False, False]
            await waiting
            assert await rig.shard.offer_all([], "client").results() == []

    asyncio.run(scenario())


def test_a_cancel_waits_behind_orders_that_were_offered_together() -> None:
    async def scenario() -> None:
        async with running() as rig:
            offered = rig.shard.offer_all(orders(1, 3), "client")
            cancel = rig.offer(CancelOrder(ALPHA, "C", "O2"))
            late = rig.shard.offer_all(orders(3, 5), "client")
            later = rig.offer(CancelOrder(ALPHA, "C2", "O4"))
            await asyncio.gather(offered.results(), cancel, late.results(), later)
            for done in (cancel, later):
                assert not any(isinstance(event, AmendRefused) for event in done.result().events)

    asyncio.run(scenario())


def test_a_caller_that_no_longer_waits_for_orders_offered_together_undoes_nothing() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.journal.gate.clear()
            offered = rig.shard.offer_all(orders(1, 3), "client")
            waiting = asyncio.create_task(offered.results())
            await until(lambda: rig.knows("O2"))
            waiting.cancel()
            await asyncio.wait([waiting])
            assert not offered.decided.done()
            rig.journal.gate.set()
            assert len(await offered.results()) == 2

    asyncio.run(scenario())


def test_when_the_shard_stops_each_of_the_orders_offered_together_says_what_is_known_of_it() -> None:
    async def scenario() -> None:
        rig = Rig(TestJournal(), batch=2)
        await rig.start()
        rig.journal.gate.clear()
        offered = rig.shard.offer_all(orders(1, 7), "client")
        await rig.journal.held()
        rig.journal.gate.set()
        await until(lambda: len(rig.journal.appends) == 1)
        rig.journal.append_error = JournalError("disk full")
        results = await offered.results()
        known = sum(isinstance(result, Outcome) for result in results)
        assert [type(result) for result in results] == [Outcome] * known + [OutcomeUnknownError] * (6 - known)
        assert known < 6
        after = await rig.shard.offer_all(orders(8, 10), "client").results()
        assert [type(result) for result in after] == [OutcomeUnknownError] * 2

    asyncio.run(scenario())


# -- the shard stops -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [JournalError("disk full"), OSError("I/O error"), MemoryError("no memory")])
def test_when_an_append_fails_nothing_leaves_and_every_caller_learns_that_the_outcome_is_unknown(
    error: BaseException,
) -> None:
    async def scenario() -> None:
        rig = Rig(TestJournal())
        await rig.start()
        before = rig.journal.head
        rig.journal.gate.clear()
        rig.journal.append_error = error
        waiters = [rig.offer(submit("A"))]
        await rig.journal.held()
        waiters += [rig.offer(order) for order in orders(1, 4)]
        await until(lambda: rig.knows("O3"))
        rig.journal.gate.set()
        assert await unknown(*waiters)
        await rig.shard.wait_stopped()
        assert (rig.venue.sent, rig.reports, rig.journal.head) == ([], [], before)
        assert rig.shard.stopped is error
        assert [alert.kind for alert in rig.alerts] == ["shard_stopped"]

    asyncio.run(scenario())


def test_when_the_shard_stops_those_who_wait_to_be_decided_are_told_too() -> None:
    async def scenario() -> None:
        rig = Rig(TestJournal(), batch=1)
        await rig.start()
        rig.journal.gate.clear()
        rig.journal.append_error = JournalError("disk full")
        waiters = [rig.offer(order) for order in orders(1, 6)]
        await rig.journal.held()
        await until(lambda: rig.knows("O2"))
        rig.shard.report_all([VenueReport(ReportKind.ACK, MIC, "1", seq) for seq in range(1, 9)])
        assert rig.shard.waiting == 4
        rig.journal.gate.set()
        assert await unknown(*waiters)
        assert rig.shard.waiting == 0

    asyncio.run(scenario())


def test_a_stopped_shard_takes_no_commands_and_leaves_reports_for_the_next_owner() -> None:
    async def scenario() -> None:
        rig = Rig(TestJournal())
        await rig.start()
        rig.journal.append_error = JournalError("disk full")
        assert await unknown(rig.offer(submit("A")))
        with pytest.raises(OutcomeUnknownError):
            rig.offer(submit("B"))
        rig.shard.report(VenueReport(ReportKind.ACK, MIC, "1", seq=1))
        rig.shard.venue_status(MIC, VenueStatus.DISCONNECTED, "test")
        assert rig.shard.waiting == 0
        await rig.shard.close()
        assert recover(restarted(rig.journal)).state.inbound == {}

    asyncio.run(scenario())


def test_a_sink_that_raises_stops_the_shard_and_no_caller_is_left_waiting() -> None:
    async def scenario() -> None:
        rig = Rig(TestJournal(), on_report=_raise)
        await rig.start()
        waiters = [rig.offer(order) for order in orders(1, 4)]
        assert await unknown(*waiters)
        with pytest.raises(ZeroDivisionError):
            await rig.shard.close()

    asyncio.run(scenario())


def _raise(report: ExecutionReport | OrderCancelReject) -> None:
    raise ZeroDivisionError(report.cl_ord_id)


def test_a_cancelled_shard_leaves_no_caller_waiting() -> None:
    async def scenario() -> None:
        rig = Rig(TestJournal())
        await rig.start()
        rig.journal.gate.clear()
        waiter = rig.offer(submit("A"))
        await rig.journal.held()
        for task in asyncio.all_tasks():
            if task.get_name() == "shard":
                task.cancel()
        assert await unknown(waiter)
        rig.journal.gate.set()

    asyncio.run(scenario())


def test_a_command_that_breaks_the_state_is_quarantined_durably_and_passed_over_by_the_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted = evolve_module._EVOLVE[OrderAccepted]

    def broken(state: State, event: AnyEvent) -> None:
        if isinstance(event, OrderAccepted) and event.cl_ord_id == "BAD":
            raise InvariantBrokenError("planted")
        accepted(state, event)

    async def scenario() -> None:
        journal = TestJournal()
        rig = Rig(journal)
        await rig.start()
        monkeypatch.setitem(evolve_module._EVOLVE, OrderAccepted, broken)
        good, bad, after = (rig.offer(submit(name)) for name in ("GOOD", "BAD", "AFTER"))
        assert (await good).entry is not None
        assert await unknown(bad, after)
        assert len(rig.venue.sent) == 1
        assert type(list(journal.read(0))[-1].events[-1]) is CommandQuarantined
        with pytest.raises(OutcomeUnknownError):
            rig.offer(submit("LATER"))
        await rig.shard.close()
        async with running(restarted(journal)) as again:
            assert (again.knows("GOOD"), again.knows("BAD"), again.knows("AFTER")) == (True, False, False)
            outcome = await again.offer(submit("NEXT", name=BETA))
            assert isinstance(outcome.events[0], OrderAccepted)

    asyncio.run(scenario())


# -- venues ----------------------------------------------------------------------------------------


def test_an_order_that_a_gateway_refuses_is_in_doubt_and_asked_about_when_the_venue_is_back() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.venue.refuses = True
            await rig.offer(submit("A"))
            await rig.say(VenueStatus.DISCONNECTED)
            child = next(iter(rig.shard.state.children.values()))
            assert child.status is ChildStatus.UNKNOWN
            assert "not_sent" in [alert.kind for alert in rig.alerts]
            rig.venue.refuses = False
            await rig.say(VenueStatus.CONNECTED)
            assert rig.venue.sent == [VenueStatusRequest(MIC, child.child_id)]

    asyncio.run(scenario())


def test_what_was_in_flight_when_the_owner_died_is_asked_about_and_never_sent_again() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        async with running(journal) as rig:
            await rig.offer(submit("A"))
            child_id = next(iter(rig.shard.state.children))
        async with running(restarted(journal)) as again:
            assert again.venue.sent == [VenueStatusRequest(MIC, child_id)]
            assert again.shard.state.epoch == 2

    asyncio.run(scenario())


def test_starting_returns_when_the_takeover_is_durable() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        rig = Rig(journal)
        await rig.shard.start("test", SETUP)
        entries = [type(entry.command) for entry in journal.read(0)]
        assert entries[-1] is SetReference
        await rig.shard.close()

    asyncio.run(scenario())


def test_a_takeover_that_cannot_be_made_durable_says_so() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        journal.append_error = JournalError("fenced")
        rig = Rig(journal)
        with pytest.raises(OutcomeUnknownError):
            await rig.shard.start("test", SETUP)

    asyncio.run(scenario())


def test_a_link_that_breaks_while_the_shard_closes_does_not_disturb_it() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        async with running(journal) as rig:
            rig.venue.refuses = True
            waiter = rig.offer(submit("A"))
        assert waiter.done()
        assert rig.shard.stopped is None
        async with running(restarted(journal)) as again:
            assert [type(message) for message in again.venue.sent] == [VenueStatusRequest]

    asyncio.run(scenario())


def test_reports_are_journaled_with_their_session_number() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        async with running(journal) as rig:
            await rig.offer(submit("A"))
            child_id = next(iter(rig.shard.state.children))
            for seq in (1, 1):
                rig.shard.report(VenueReport(ReportKind.ACK, MIC, child_id, seq=seq, venue_order_id="V1"))
        recorded = [entry for entry in journal.read(0) if isinstance(entry.command, RecordVenueReports)]
        assert [[type(event) for event in entry.events] for entry in recorded] == [[ChildAcked]]
        assert recover(restarted(journal)).state.inbound == {MIC: 1}

    asyncio.run(scenario())


# -- snapshots -------------------------------------------------------------------------------------


def test_snapshots_are_taken_off_the_loop_and_shorten_the_next_recovery() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        async with running(journal, snapshots=SnapshotPolicy(every_events=50)) as rig:
            for order in orders(1, 200):
                await rig.offer(order)
            state = state_hash(rig.shard.state)
        recovery = recover(restarted(journal))
        assert recovery.snapshot_seq > 0
        assert recovery.records < 200
        assert state_hash(recovery.state) == state
        assert rig.alerts == []

    asyncio.run(scenario())


def test_a_snapshot_that_cannot_be_saved_costs_the_snapshot_only() -> None:
    async def scenario() -> None:
        journal = TestJournal()
        journal.snapshot_error = JournalError("no space")
        async with running(journal, snapshots=SnapshotPolicy(every_events=1)) as rig:
            await rig.offer(submit("A"))
            await rig.offer(submit("B"))
        assert {alert.kind for alert in rig.alerts} == {"snapshot_failed"}
        assert rig.shard.stopped is None
        assert len(recover(restarted(journal)).state.orders) == 2

    asyncio.run(scenario())


def test_a_replica_that_cannot_follow_says_so_and_is_given_up() -> None:
    async def scenario() -> None:
        async with running(snapshots=SnapshotPolicy(every_events=1)) as rig:
            before, replica = rig.journal.head.seq, rig.shard._replica
            assert replica is not None
            replica._state.seq += 1
            for order in orders(1, 6):
                await rig.offer(order)
        assert [alert.kind for alert in rig.alerts] == ["replica_differs"]
        snapshot = rig.journal.latest_snapshot()
        assert snapshot is None or snapshot.seq <= before
        assert rig.shard.stopped is None

    asyncio.run(scenario())
