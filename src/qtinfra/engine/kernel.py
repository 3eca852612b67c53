"""The kernel: one command in, one journal record and its effects out. The same in live, replay and tests.

It keeps no clock and does no I/O. The caller makes the record durable before it releases the effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import getcontext, setcontext

from qtinfra.core.commands import Command, Inbound, RecordVenueReport
from qtinfra.core.decimals import EXACT, exact
from qtinfra.core.events import Answer, AnyEvent, CommandQuarantined, Entry
from qtinfra.core.market import MarketView, RecordedMarket, RecordingMarket
from qtinfra.core.reports import Effect
from qtinfra.core.strategies.registry import Registry
from qtinfra.engine.decide import decide
from qtinfra.engine.decide.algos import algo_aftermath
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.lists import aftermath
from qtinfra.engine.effects import effects_of, effects_of_answer
from qtinfra.engine.evolve import evolve
from qtinfra.engine.lookup import use_strategies
from qtinfra.engine.state import State

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


@dataclass(slots=True)
class Outcome:
    """What one command led to.

    Attributes:
        entry: the record to journal; None when nothing happened (a read, a repetition).
        effects: to be released when everything up to `depends_on` is durable.
        answers: which of them answer a read or a repeated request.
        depends_on: sequence number that the effects rest on.
    """

    entry: Entry | None
    effects: list[Effect]
    answers: list[Answer]
    depends_on: int
    events: list[AnyEvent] = field(default_factory=list)


class Kernel:
    """Applies commands to one shard's state, one after the other.

    Args:
        state: the shard's.
        strategies: what plans algo orders; None for those that come with the engine.
    """

    def __init__(self, state: State, strategies: Registry | None = None) -> None:
        self.state = state
        if strategies is not None:
            use_strategies(state, strategies)
        self._context = EXACT.copy()

    def execute(self, inbound: Inbound, now_ns: int, market: MarketView) -> Outcome:
        """Decide and apply one command.

        Args:
            inbound: the command, who asked, and when it arrived.
            now_ns: UTC nanoseconds of the decision; the caller keeps it from going backwards.
            market: what is known of the market now.

        Raises:
            KernelStoppedError: an event could not be applied; stop the shard.
        """
        before = getcontext()
        setcontext(self._context)
        try:
            return self._execute(inbound, now_ns, RecordingMarket(market))
        finally:
            setcontext(before)

    def _execute(self, inbound: Inbound, now_ns: int, market: RecordingMarket) -> Outcome:
        state = self.state
        first = state.seq + 1
        effects: list[Effect] = []
        events: list[AnyEvent] = []
        try:
            decision = decide(state, inbound.command, now_ns, market)
        except Exception as error:  # noqa: BLE001 - our own fault becomes a record, never a crash loop
            decision = self._quarantine(inbound.command, "decide", error)
        self._apply(inbound, now_ns, market, decision, events, effects)
        if state.specials:
            aftermath(state, decision.events, decision)
        if state.algos.parents:
            algo_aftermath(state, decision.events, decision)
        answers, follow_ups = decision.answers, decision.follow_ups
        steps = 0
        while follow_ups:
            steps += 1
            step = Decision(state)
            try:
                if steps > MAX_STEPS:
                    raise RecursionError(f"more than {MAX_STEPS} follow-ups of one command")
                follow_ups.pop(0)(state, now_ns, market, step)
            except Exception as error:  # noqa: BLE001 - as above
                step = self._quarantine(inbound.command, "follow-up", error)
                follow_ups.clear()
            self._apply(inbound, now_ns, market, step, events, effects)
            if state.specials:
                aftermath(state, step.events, step)
            if state.algos.parents:
                algo_aftermath(state, step.events, step)
            follow_ups.extend(step.follow_ups)
        for answer in answers:
            effects.extend(effects_of_answer(state, answer))
        entry = self._entry(inbound, now_ns, market, first, events) if events else None
        return Outcome(entry, effects, answers, state.seq, events)

    def _apply(
        self,
        inbound: Inbound,
        now_ns: int,
        market: RecordingMarket,
        decision: Decision,
        events: list[AnyEvent],
        effects: list[Effect],
    ) -> None:
        state = self.state
        first = state.seq + 1 - len(events)
        try:
            for event in decision.events:
                evolve(state, event)
                effects += effects_of(state, event)
        except Exception as error:
            poisoned = self._quarantine(inbound.command, "evolve", error).events
            entry = self._entry(inbound, now_ns, market, first, poisoned)
            raise KernelStoppedError(entry, error) from error
        events += decision.events

    def _entry(
        self,
        inbound: Inbound,
        now_ns: int,
        market: RecordingMarket,
        first: int,
        events: list[AnyEvent],
    ) -> Entry:
        return Entry(
            self.state.shard,
            self.state.epoch,
            first,
            now_ns,
            inbound.received_ns,
            inbound.actor,
            inbound.correlation_id,
            inbound.command,
            market.take(),
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


def _concerned(state: State, command: Command) -> tuple[str, str]:
    """The order that a command is about, or else its account."""
    account = getattr(command, "account", "")
    if isinstance(command, RecordVenueReport):
        report = command.report
        child_id = state.venue_ids.get(report.cl_ord_id) or state.venue_ids.get(report.orig_cl_ord_id)
        return (state.children[child_id].order_id, "") if child_id is not None else ("", "")
    known = state.find_order(account, getattr(command, "orig_cl_ord_id", ""))
    return (known.order_id, "") if known is not None else ("", account)


def replay(state: State, entry: Entry) -> None:
    """Apply a journaled record to the state: evolve only, nothing is decided.

    Raises:
        InvariantBrokenError: an event does not fit the state.
        ValueError: the record does not follow the state's sequence.
    """
    if entry.seq != state.seq + 1:
        raise ValueError(f"record {entry.seq} does not follow sequence {state.seq}")
    with exact():
        for event in entry.events:
            evolve(state, event)


def decide_again(kernel: Kernel, entry: Entry) -> Entry | None:
    """Decide a journaled command again from its recorded inputs; the record that this gives.

    The kernel's state advances by the new decision. Equal records mean that today's rules decide as those
    that wrote the journal.
    """
    inbound = Inbound(entry.command, entry.actor, entry.correlation_id, entry.received_ns)
    return kernel.execute(inbound, entry.ts_ns, RecordedMarket(entry.market)).entry
