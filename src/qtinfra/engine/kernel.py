"""The kernel: one command in, one journal record and its effects out. The same in live, replay and tests.

It keeps no clock and does no I/O. The caller makes the record durable before it releases the effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import getcontext, setcontext
from typing import Generic, TypeVar

import msgspec

from qtinfra.core.commands import (
    MAX_ORDERS,
    AnyCommand,
    Command,
    Inbound,
    RecordVenueReport,
    RecordVenueReports,
    SubmitOrder,
)
from qtinfra.core.decimals import EXACT, exact
from qtinfra.core.events import Answer, AnyEvent, CommandQuarantined, Entry
from qtinfra.core.market import NO_MARKET, ConsolidatedBook, MarketView, RecordedMarket, RecordingMarket
from qtinfra.core.ports import Happened
from qtinfra.core.reports import Effect, VenueReport
from qtinfra.core.runs import each, joined, record_of
from qtinfra.core.strategies.registry import Registry
from qtinfra.core.writes import quick_writes
from qtinfra.engine.decide import DECIDE
from qtinfra.engine.decide.algos import algo_aftermath
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.lists import aftermath
from qtinfra.engine.decide.smart_routing import routing_aftermath
from qtinfra.engine.effects import EFFECTS, effects_of_answer
from qtinfra.engine.evolve import Seen, evolve_all, evolve_plain
from qtinfra.engine.lookup import use_routing, use_strategies
from qtinfra.engine.state import State
from qtinfra.engine.usual_reports import take_usual
from qtinfra.router.strategies import RoutingRegistry

T = TypeVar("T")

#: Follow-ups of one command; more would be a loop in our own rules.
MAX_STEPS = 64

#: For a replay: what events make leave has left long ago.
_NOTHING_LEAVES: Seen = {}


class KernelStoppedError(Exception):
    """Evolve failed: the state in memory is not to be trusted any more and the shard must stop.

    `entry` quarantines the command that did it. It is journaled before the stop, so that a restart passes
    over the command instead of failing on it again.
    """

    def __init__(self, entry: Entry, cause: BaseException) -> None:
        super().__init__(f"{type(entry.command).__name__} at sequence {entry.seq}: {cause!r}")
        self.entry = entry


class _ReportNotAppliedError(Exception):
    """An event of one of several reports could not be applied: which report, and why."""

    def __init__(self, command: RecordVenueReport, fault: Exception) -> None:
        super().__init__(repr(fault))
        self.command, self.fault = command, fault


@quick_writes
class Outcome(msgspec.Struct, gc=False):
    """What one command led to.

    Attributes:
        entry: the record to journal, which new orders that followed each other share; None when nothing
            happened (a read, a repetition).
        effects: to be released when everything up to `depends_on` is durable.
        answers: which of them answer a read or a repeated request.
        depends_on: sequence number that the effects rest on.
        events: what this command caused.
    """

    entry: Entry | None
    effects: list[Effect]
    answers: Sequence[Answer]
    depends_on: int
    events: tuple[AnyEvent, ...] = ()


class _Run(Generic[T]):
    """Plain new orders of one sender that follow each other: their record is made when the run ends.

    Attributes:
        first: the first order's command; `seq`, `ts_ns`: its first event's sequence and its moment.
        received: when each order was received; empty between runs.
        books, events: the one book that each order saw, and all events.
        results: of all commands; the run's are the last, and have no record yet.
    """

    __slots__ = ("books", "entries", "events", "first", "received", "results", "seq", "state", "ts_ns")

    first: Inbound
    seq: int
    ts_ns: int

    def __init__(self, state: State, results: list[tuple[Outcome, T]], entries: list[Entry]) -> None:
        self.state, self.results, self.entries = state, results, entries
        self.received: list[int] = []
        self.books: list[ConsolidatedBook] = []
        self.events: list[AnyEvent] = []

    def begin(self, first: Inbound, seq: int, ts_ns: int) -> None:
        """End the run before; another one begins with this order."""
        self.end()
        self.first, self.seq, self.ts_ns = first, seq, ts_ns

    def end(self) -> None:
        """Make the record of the orders that are there, if any."""
        received, books, events, state = self.received, self.books, self.events, self.state
        if not received:
            return
        at = state.shard, state.epoch, self.seq, self.ts_ns
        entry = record_of(at, self.first, received, tuple(books), tuple(events))
        for outcome, _ in self.results[-len(received) :]:
            outcome.entry = entry
        self.entries.append(entry)
        received.clear()
        books.clear()
        events.clear()

    def follow(self, outcome: Outcome, token: T) -> None:
        """End the run and take the outcome of what came after it."""
        self.end()
        if outcome.entry is not None:
            self.entries.append(outcome.entry)
        self.results.append((outcome, token))


class Kernel:
    """Applies commands to one shard's state, one after the other.

    Args:
        state: the shard's.
        strategies: what plans algo orders; None for those that come with the engine.
        routing: what routes orders; likewise.

    Attributes:
        context: the decimal context of decisions. A caller with many commands may enter it once for all.
    """

    def __init__(
        self, state: State, strategies: Registry | None = None, routing: RoutingRegistry | None = None
    ) -> None:
        self.state = state
        self.context = EXACT.copy()
        self._market = RecordingMarket(NO_MARKET)
        if strategies is not None:
            use_strategies(state, strategies)
        if routing is not None:
            use_routing(state, routing)

    def execute(self, inbound: Inbound, now_ns: int, market: MarketView) -> Outcome:
        """Decide and apply one command.

        Args:
            inbound: the command, who asked, and when it arrived.
            now_ns: UTC nanoseconds of the decision; the caller keeps it from going backwards.
            market: what is known of the market now.

        Raises:
            KernelStoppedError: an event could not be applied; stop the shard.
            MemoryError: likewise, and nothing of the command is to be journaled: it may be tried again.
        """
        results: list[tuple[Outcome, None]] = []
        before = getcontext()
        setcontext(self.context)
        try:
            self.execute_all([(inbound, None)], lambda: now_ns, market, results, [])
        finally:
            setcontext(before)
        return results[0][0]

    def execute_all(
        self,
        batch: Iterable[tuple[Inbound, T]],
        read_clock: Callable[[], int],
        market: MarketView,
        results: list[tuple[Outcome, T]],
        entries: list[Entry],
        last_ns: int = 0,
    ) -> int:
        """Decide and apply commands in turn, each dated when its turn comes; for a caller that has entered
        `context`.

        Args:
            read_clock: the moment, in UTC nanoseconds.
            results: takes the outcome of each command, with its token; `entries` takes the records.
            last_ns: no decision is dated earlier.

        Returns:
            What the last decision was dated.

        Raises:
            KernelStoppedError, MemoryError: as `execute`, of the command after those that have results.
        """
        recording = self._market
        if recording.source is not market:
            recording = self._market = RecordingMarket(market)
        run: _Run[T] = _Run(self.state, results, entries)
        try:
            return self._execute_all(batch, read_clock, recording, run, last_ns)
        finally:
            run.end()

    def _execute_all(
        self,
        batch: Iterable[tuple[Inbound, T]],
        read_clock: Callable[[], int],
        recording: RecordingMarket,
        run: _Run[T],
        last_ns: int,
    ) -> int:
        state, decide_new, step = self.state, DECIDE[SubmitOrder], Decision(self.state)
        received, books, events, results = run.received, run.books, run.events, run.results
        actor, correlation_id = "", ""
        for inbound, token in batch:
            now_ns = read_clock()
            if now_ns > last_ns:  # noqa: PLR1730 - `max` costs ten times as much
                last_ns = now_ns
            command, seq = inbound.command, state.seq + 1
            recording.kept = ()
            if type(command) is not SubmitOrder:
                run.end()
                outcome = self._execute(inbound, last_ns, recording)
            else:
                effects = None
                try:
                    decide_new(state, command, last_ns, recording, step)
                except MemoryError:
                    raise
                except Exception as error:  # noqa: BLE001 - our own fault becomes a record, never a crash loop
                    step = self._quarantine(command, "decide", error)
                passed, made = step.passed, step.events
                if passed is not None:
                    try:
                        effects = evolve_plain(state, made, passed)
                    except MemoryError:
                        raise
                    except Exception as error:
                        raise self._stopped(inbound, seq, last_ns, error) from error
                kept = recording.kept
                if (
                    (effects is not None and not (state.specials or state.algos.parents))
                    and (kept and not recording.others)
                ):  # fmt: skip
                    if (
                        not 0 < len(received) < MAX_ORDERS
                        or (inbound.actor != actor or inbound.correlation_id != correlation_id)
                    ):  # fmt: skip
                        run.begin(inbound, seq, last_ns)
                        actor, correlation_id = inbound.actor, inbound.correlation_id
                    received.append(inbound.received_ns)
                    books.append(kept[0])
                    events += made
                    results.append((Outcome(None, effects, (), state.seq, made), token))
                    step.events, step.passed = (), None  # as good as new: nothing else was written
                    continue
                outcome = self._finish(inbound, seq, last_ns, recording, step, effects)
                step = Decision(state)
            run.follow(outcome, token)
        return last_ns

    def _execute(self, inbound: Inbound, now_ns: int, market: RecordingMarket) -> Outcome:
        """Decide and apply any command."""
        command, seq = inbound.command, self.state.seq + 1
        if isinstance(command, RecordVenueReports):
            return self._execute_reports(inbound, command.reports, now_ns, market)
        if isinstance(command, RecordVenueReport):
            return self._execute_reports(inbound, (command.report,), now_ns, market)
        return self._finish(inbound, seq, now_ns, market, self._decide(command, now_ns, market), None)

    def _decide(self, command: AnyCommand, now_ns: int, market: RecordingMarket) -> Decision:
        """The first step of a command."""
        step = Decision(self.state)
        try:
            DECIDE[type(command)](self.state, command, now_ns, market, step)
        except MemoryError:
            raise  # the machine's fault, not the command's: a report that was passed over would be lost
        except Exception as error:  # noqa: BLE001 - our own fault becomes a record, never a crash loop
            step = self._quarantine(command, "decide", error)
        return step

    def _finish(
        self,
        inbound: Inbound,
        seq: int,
        now_ns: int,
        market: RecordingMarket,
        step: Decision,
        effects: list[Effect] | None,
    ) -> Outcome:
        """The outcome of a command whose first event is to be, or was, the one at `seq`.

        Args:
            effects: what its first step makes leave; None while that is yet to be applied.
        """
        state = self.state
        try:
            if effects is None:
                effects = []
                evolve_all(state, step.events, EFFECTS, effects)
            self._follow_up(inbound.command, now_ns, market, step, effects)
        except MemoryError:
            raise
        except Exception as error:
            raise self._stopped(inbound, seq, now_ns, error) from error
        for answer in step.answers:
            effects += effects_of_answer(state, answer)
        return self._outcome(inbound, seq, now_ns, step.events, effects, step.answers)

    def _outcome(
        self,
        inbound: Inbound,
        seq: int,
        now_ns: int,
        events: Sequence[AnyEvent],
        effects: list[Effect],
        answers: Sequence[Answer],
    ) -> Outcome:
        """The outcome of a command with a record of its own, if anything happened."""
        entry = self._record(inbound, seq, now_ns, events) if events else None
        return Outcome(entry, effects, answers, self.state.seq, entry.events if entry is not None else ())

    def _execute_reports(
        self, inbound: Inbound, reports: Sequence[VenueReport], now_ns: int, market: RecordingMarket
    ) -> Outcome:
        seq = self.state.seq + 1
        events: list[AnyEvent] = []
        effects: list[Effect] = []
        try:
            self._take_reports(reports, now_ns, market, events, effects)
        except _ReportNotAppliedError as error:
            events += self._quarantine(error.command, "evolve", error.fault).events
            raise KernelStoppedError(self._record(inbound, seq, now_ns, events), error.fault) from error.fault
        return self._outcome(inbound, seq, now_ns, events, effects, ())

    def _stopped(self, inbound: Inbound, seq: int, now_ns: int, error: Exception) -> KernelStoppedError:
        """What stops the shard when an event of the command could not be applied."""
        failed = self._quarantine(inbound.command, "evolve", error).events
        return KernelStoppedError(self._record(inbound, seq, now_ns, failed), error)

    def _record(self, inbound: Inbound, seq: int, now_ns: int, events: Sequence[AnyEvent]) -> Entry:
        """The record of a command that has led to these events, the first of them at `seq`."""
        return Entry(
            self.state.shard,
            self.state.epoch,
            seq,
            now_ns,
            inbound.received_ns,
            inbound.actor,
            inbound.correlation_id,
            inbound.command,
            self._market.kept,
            tuple(events),
        )

    def _take_reports(
        self,
        reports: Sequence[VenueReport],
        now_ns: int,
        market: RecordingMarket,
        events: list[AnyEvent],
        effects: list[Effect],
    ) -> None:
        """Decide and apply reports one by one: runs of plain ones, which have an event each and no
        consequences, and any other as a command of its own.

        Raises:
            _ReportNotAppliedError: an event of a report could not be applied.
        """
        while reports:
            mark = len(events)
            try:
                self._take_usual(reports, now_ns, events, effects)
                reports, mark = reports[len(events) - mark :], len(events)
                if reports:
                    events += self._perform(RecordVenueReport(reports[0]), now_ns, market, effects).events
                    reports = reports[1:]
            except MemoryError:
                raise
            except Exception as error:
                failed = RecordVenueReport(reports[len(events) - mark])
                raise _ReportNotAppliedError(failed, error) from error

    def _take_usual(
        self, reports: Sequence[VenueReport], now_ns: int, events: list[AnyEvent], effects: list[Effect]
    ) -> None:
        """`take_usual`, as far as our own code can decide: a report that it fails on is performed as a
        command of its own, which fails again and is quarantined.
        """
        state, before = self.state, len(events)
        try:
            take_usual(state, reports, now_ns, effects, events)
        except MemoryError:
            raise
        except Exception:
            if state.tables.writing:  # decided, but not applied
                raise
        state.seq += len(events) - before

    def _perform(
        self, command: RecordVenueReport, now_ns: int, market: RecordingMarket, effects: list[Effect]
    ) -> Decision:
        """Decide and apply one of the reports of a command, to its last follow-up.

        The decision has the events of all of it. An exception means that one of them could not be applied:
        the record that stops the shard keeps what was done before this report, and quarantines it; later
        reports of the record were never taken.
        """
        step = self._decide(command, now_ns, market)
        evolve_all(self.state, step.events, EFFECTS, effects)
        self._follow_up(command, now_ns, market, step, effects)
        return step

    def _follow_up(
        self,
        command: AnyCommand,
        now_ns: int,
        market: RecordingMarket,
        begun: Decision,
        effects: list[Effect],
    ) -> None:
        """Decide and apply what the applied events of a step call for, what that calls for, and so on; the
        events join the step's.
        """
        state, steps = self.state, 0
        _look_after(state, begun)
        if not begun.follow_ups:
            return
        follow_ups = list(begun.follow_ups)
        while follow_ups:
            steps += 1
            step = Decision(state)
            try:
                if steps > MAX_STEPS:
                    raise RecursionError(f"more than {MAX_STEPS} follow-ups of one command")
                follow_ups.pop(0)(state, now_ns, market, step)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                step = self._quarantine(command, "follow-up", error)
                follow_ups.clear()
            evolve_all(state, step.events, EFFECTS, effects)
            _look_after(state, step)
            begun.events += step.events
            follow_ups.extend(step.follow_ups)

    def _quarantine(self, command: Command, stage: str, error: Exception) -> Decision:
        """The record of a command that our own code failed on; what it concerns is frozen."""
        order_id, account = _concerned(self.state, command)
        decision = Decision(self.state)
        why = f"{type(error).__name__}: {error}"
        if isinstance(command, RecordVenueReport):
            report = command.report
            decision.add(CommandQuarantined(stage, why, order_id, account, report.venue, report.seq))
        else:
            decision.add(CommandQuarantined(stage, why, order_id, account))
        return decision


def _look_after(state: State, step: Decision) -> None:
    """Have decided next what the applied events of a step call for."""
    if state.specials:
        aftermath(state, step.events, step)
    if state.algos.parents:
        algo_aftermath(state, step.events, step)
    if state.routing is not None:
        routing_aftermath(state, step.events, step)


def _concerned(state: State, command: Command) -> tuple[str, str]:
    """The order that a command is about, or else its account."""
    account = getattr(command, "account", "")
    if isinstance(command, RecordVenueReport):
        report = command.report
        child_id = state.venue_ids.get(report.cl_ord_id) or state.venue_ids.get(report.orig_cl_ord_id)
        return (state.children[child_id].order_id, "") if child_id is not None else ("", "")
    known = state.find_order(account, getattr(command, "orig_cl_ord_id", ""))
    return (known.order_id, "") if known is not None else ("", account)


def replay(state: State, entry: Entry | Happened) -> None:
    """Apply a journaled record to the state: evolve only, nothing is decided.

    Raises:
        InvariantBrokenError: an event does not fit the state.
        ValueError: the record does not follow the state's sequence.
    """
    with exact():
        apply_record(state, entry)


def apply_record(state: State, entry: Entry | Happened) -> None:
    """As `replay`, for a caller with many records: it enters `core.decimals.exact()` once for all of them."""
    if entry.seq != state.seq + 1:
        raise ValueError(f"record {entry.seq} does not follow sequence {state.seq}")
    evolve_all(state, entry.events, _NOTHING_LEAVES, [])


def decide_again(kernel: Kernel, entry: Entry) -> Entry | None:
    """Decide a journaled command again from its recorded inputs, each order of a run by itself; the record
    that this gives.

    The kernel's state advances by the new decision. Equal records mean that today's rules decide as those
    that wrote the journal.
    """
    made: list[Entry] = []
    for one in each(entry):
        inbound = Inbound(one.command, one.actor, one.correlation_id, one.received_ns)
        again = kernel.execute(inbound, one.ts_ns, RecordedMarket(one.market)).entry
        if again is not None:
            made.append(again)
    return joined(made) if made else None
