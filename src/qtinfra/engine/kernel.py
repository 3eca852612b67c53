"""The kernel: one command in, one journal record and its effects out. The same in live, replay and tests.

It keeps no clock and does no I/O. The caller makes the record durable before it releases the effects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import getcontext, setcontext
from typing import TypeVar

import msgspec

from qtinfra.core.commands import AnyCommand, Command, Inbound, RecordVenueReport, RecordVenueReports
from qtinfra.core.decimals import EXACT, exact
from qtinfra.core.events import Answer, AnyEvent, CommandQuarantined, Entry
from qtinfra.core.market import MarketView, RecordedMarket, RecordingMarket
from qtinfra.core.ports import Happened
from qtinfra.core.reports import Effect, VenueReport
from qtinfra.core.strategies.registry import Registry
from qtinfra.engine.decide import decide
from qtinfra.engine.decide.algos import algo_aftermath
from qtinfra.engine.decide.decision import Decision, FollowUp
from qtinfra.engine.decide.lists import aftermath
from qtinfra.engine.decide.smart_routing import routing_aftermath
from qtinfra.engine.decide.venue import USUAL_KINDS, plain_events
from qtinfra.engine.effects import EFFECTS, effects_of_answer
from qtinfra.engine.evolve import evolve, evolve_all, evolve_each
from qtinfra.engine.lookup import use_routing, use_strategies
from qtinfra.engine.state import State
from qtinfra.router.strategies import RoutingRegistry

T = TypeVar("T")

#: Follow-ups of one command; more would be a loop in our own rules.
MAX_STEPS = 64


class KernelStoppedError(Exception):
    """Evolve failed: the state in memory is not to be trusted any more and the shard must stop.

    `entry` quarantines the command that did it. It is journaled before the stop, so that a restart passes
    over the command instead of failing on it again.
    """

    def __init__(self, entry: Entry, cause: BaseException) -> None:
        super().__init__(f"{type(entry.command).__name__} at sequence {entry.seq}: {cause!r}")
        self.entry = entry


class Outcome(msgspec.Struct, gc=False):
    """What one command led to.

    Attributes:
        entry: the record to journal; None when nothing happened (a read, a repetition).
        effects: to be released when everything up to `depends_on` is durable.
        answers: which of them answer a read or a repeated request.
        depends_on: sequence number that the effects rest on.
    """

    entry: Entry | None
    effects: list[Effect]
    answers: Sequence[Answer]
    depends_on: int
    events: list[AnyEvent]


class _Work(msgspec.Struct, gc=False):
    """What executing one command gathers; `first` is the sequence number of its first event."""

    inbound: Inbound
    now_ns: int
    market: RecordingMarket
    first: int
    events: list[AnyEvent]
    effects: list[Effect]


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
        before = getcontext()
        if before is self.context:
            return self._execute(inbound, now_ns, RecordingMarket(market))
        setcontext(self.context)
        try:
            return self._execute(inbound, now_ns, RecordingMarket(market))
        finally:
            setcontext(before)

    def _execute(self, inbound: Inbound, now_ns: int, market: RecordingMarket) -> Outcome:
        state, command = self.state, inbound.command
        work = _Work(inbound, now_ns, market, state.seq + 1, [], [])
        answers: Sequence[Answer] = ()
        if type(command) is RecordVenueReports:
            self._take_reports(work, command.reports)
        elif type(command) is RecordVenueReport:
            self._take_reports(work, (command.report,))
        else:
            answers = self._perform(work, command)
            for answer in answers:
                work.effects += effects_of_answer(state, answer)
        entry = self._entry(work, work.events) if work.events else None
        return Outcome(entry, work.effects, answers, state.seq, work.events)

    def _perform(self, work: _Work, command: AnyCommand) -> Sequence[Answer]:
        """Decide and apply a command, or one of several reports of a command, to its last follow-up."""
        state, mark = self.state, len(work.events)
        try:
            decision = decide(state, command, work.now_ns, work.market)
        except MemoryError:
            raise  # the machine's fault, not the command's: a report that was passed over would be lost
        except Exception as error:  # noqa: BLE001 - our own fault becomes a record, never a crash loop
            decision = self._quarantine(command, "decide", error)
        self._apply(work, command, mark, decision)
        if decision.follow_ups:
            self._follow_up(work, command, mark, list(decision.follow_ups))
        return decision.answers

    def _take_reports(self, work: _Work, reports: Sequence[VenueReport]) -> None:
        """Decide and apply reports one by one: runs of plain ones, which have an event each and no
        consequences, and any other as a command of its own.
        """
        state, events = self.state, work.events
        while reports:
            mark = len(events)
            if reports[0].kind in USUAL_KINDS:
                plain = _decided(plain_events(state, reports, work.now_ns))
                try:
                    evolve_each(state, plain, EFFECTS, work.effects, events)
                except MemoryError:
                    raise
                except Exception as error:
                    failed = RecordVenueReport(reports[len(events) - mark])
                    raise self._stopped(work, failed, len(events), error) from error
                reports = reports[len(events) - mark :]
            if reports:
                self._perform(work, RecordVenueReport(reports[0]))
                reports = reports[1:]

    def _follow_up(self, work: _Work, command: AnyCommand, mark: int, follow_ups: list[FollowUp]) -> None:
        state, steps = self.state, 0
        while follow_ups:
            steps += 1
            step = Decision(state)
            try:
                if steps > MAX_STEPS:
                    raise RecursionError(f"more than {MAX_STEPS} follow-ups of one command")
                follow_ups.pop(0)(state, work.now_ns, work.market, step)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                step = self._quarantine(command, "follow-up", error)
                follow_ups.clear()
            self._apply(work, command, mark, step)
            follow_ups.extend(step.follow_ups)

    def _apply(self, work: _Work, command: AnyCommand, mark: int, decision: Decision) -> None:
        """Let events change the state, and have decided next what that calls for. When one cannot, the record
        that stops the shard keeps what was done before this command, or report, and quarantines it; later
        reports of the record were never taken.
        """
        state, events = self.state, decision.events
        try:
            evolve_all(state, events, EFFECTS, work.effects)
        except MemoryError:
            raise
        except Exception as error:
            raise self._stopped(work, command, mark, error) from error
        work.events += events
        if state.specials:
            aftermath(state, events, decision)
        if state.algos.parents:
            algo_aftermath(state, events, decision)
        if state.routing is not None:
            routing_aftermath(state, events, decision)

    def _stopped(self, work: _Work, command: AnyCommand, mark: int, error: Exception) -> KernelStoppedError:
        """What stops the shard: a record of what was done before a command, or report, and its quarantine."""
        poisoned = self._quarantine(command, "evolve", error).events
        return KernelStoppedError(self._entry(work, [*work.events[:mark], *poisoned]), error)

    def _entry(self, work: _Work, events: list[AnyEvent]) -> Entry:
        inbound = work.inbound
        return Entry(
            self.state.shard,
            self.state.epoch,
            work.first,
            work.now_ns,
            inbound.received_ns,
            inbound.actor,
            inbound.correlation_id,
            inbound.command,
            work.market.take(),
            tuple(events),
        )

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


def _decided(events: Iterator[T]) -> Iterator[T]:
    """Events as far as our own code can decide them: where it fails, the report is performed as a command
    of its own, which fails again and is quarantined.
    """
    try:
        yield from events
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as in `Kernel._perform`
        return


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
    for event in entry.events:
        evolve(state, event)


def decide_again(kernel: Kernel, entry: Entry) -> Entry | None:
    """Decide a journaled command again from its recorded inputs; the record that this gives.

    The kernel's state advances by the new decision. Equal records mean that today's rules decide as those
    that wrote the journal.
    """
    inbound = Inbound(entry.command, entry.actor, entry.correlation_id, entry.received_ns)
    return kernel.execute(inbound, entry.ts_ns, RecordedMarket(entry.market)).entry
