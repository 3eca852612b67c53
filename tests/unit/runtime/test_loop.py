"""A frame: what a batch leads to, made durable as one piece, and released only then."""

import pytest

from qtinfra.core.commands import (
    AnyCommand,
    Inbound,
    OrderStatusRequest,
    SetReference,
    SetVenueStatus,
    SubmitOrder,
)
from qtinfra.core.events import AnyEvent, CommandQuarantined, OrderAccepted
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.market import NO_MARKET, ConsolidatedBook, MarketView, RecordedMarket
from qtinfra.core.reports import Effect, VenueNewOrder
from qtinfra.engine import evolve as evolve_module
from qtinfra.engine.decide import DECIDE
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
from qtinfra.infra.clock import ManualClock
from qtinfra.journal.memory import MemoryJournal
from qtinfra.runtime.inbox import Item
from qtinfra.runtime.loop import Frame, ShardLoop
from tests.support.builders import ALPHA, START_NS, SYMBOL, account, instrument, quote, submit, venue

pytestmark = pytest.mark.unit

SETUP = (
    SetReference((instrument(),), (account(),), (venue("XNAS"),)),
    SetVenueStatus("XNAS", VenueStatus.CONNECTED),
)


class Ticking(ManualClock):
    """A nanosecond later at each look."""

    def now_ns(self) -> int:
        self.advance_to(super().now_ns() + 1)
        return super().now_ns()


def batch(*commands: AnyCommand) -> list[Item[int]]:
    return [(Inbound(command), number) for number, command in enumerate(commands)]


def make_loop(clock: ManualClock | None = None, not_before_ns: int = 0) -> ShardLoop[int]:
    journal = MemoryJournal.fresh()
    kernel = Kernel(State(epoch=journal.epoch))
    clock = clock or ManualClock(START_NS)
    loop: ShardLoop[int] = ShardLoop(kernel, journal, clock, NO_MARKET, not_before_ns=not_before_ns)
    loop.append(loop.compute(batch(*SETUP)))
    return loop


def break_evolving(monkeypatch: pytest.MonkeyPatch, cl_ord_id: str) -> None:
    """Evolving the acceptance of this client order breaks an invariant."""
    accepted = evolve_module._EVOLVE[OrderAccepted]

    def broken(state: State, event: AnyEvent) -> None:
        if isinstance(event, OrderAccepted) and event.cl_ord_id == cl_ord_id:
            raise InvariantBrokenError("planted")
        accepted(state, event)

    monkeypatch.setitem(evolve_module._EVOLVE, OrderAccepted, broken)


def test_computing_a_batch_makes_nothing_durable() -> None:
    loop = make_loop()
    before = loop.journal.head
    frame = loop.compute(batch(submit("A"), submit("B")))
    assert loop.journal.head == before
    assert len(frame) == len(frame.entries) == 2


def test_a_frame_grows_until_it_is_appended_and_is_one_append() -> None:
    loop = make_loop()
    frame = loop.compute(batch(submit("A")))
    assert loop.compute(batch(submit("B")), frame) is frame
    loop.append(frame)
    assert loop.journal.head.seq == frame.entries[-1].last_seq
    assert [entry.command for entry in loop.journal.read(frame.entries[0].seq - 1)] == [
        submit("A"),
        submit("B"),
    ]


def test_effects_are_released_in_the_order_of_their_commands() -> None:
    loop = make_loop()
    frame = loop.compute(batch(submit("A", qty=1), submit("B", qty=2)))
    released: list[Effect] = []
    loop.release(frame, released.append)
    sent = [effect.qty for effect in released if isinstance(effect, VenueNewOrder)]
    assert sent == [1, 2]


def test_a_batch_of_reads_has_answers_and_nothing_to_append() -> None:
    loop = make_loop()
    before = loop.journal.head
    frame = loop.compute(batch(OrderStatusRequest(ALPHA, "A")))
    loop.append(frame)
    assert (len(frame), frame.entries, loop.journal.head) == (1, [], before)


def test_decisions_are_never_dated_before_the_last_journaled_moment_or_each_other() -> None:
    clock = ManualClock(START_NS)
    loop = make_loop(clock, not_before_ns=START_NS + 500)
    early = loop.compute(batch(submit("A"))).entries[0].ts_ns
    clock.advance_to(START_NS + 900)
    late = loop.compute(batch(submit("B"))).entries[0].ts_ns
    assert (early, late) == (START_NS + 500, START_NS + 900)


def test_commands_that_waited_together_are_dated_alike_and_later_ones_later() -> None:
    loop = make_loop(Ticking(START_NS))
    frame = loop.compute(batch(submit("A"), submit("B")))
    loop.compute(batch(submit("C")), frame)
    first, second, third = (entry.ts_ns for entry in frame.entries)
    assert first == second == third - 1


@pytest.mark.parametrize("stage", ["decide", "evolve"])
def test_a_command_for_which_memory_ran_out_is_not_quarantined_so_that_it_may_come_again(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    loop = make_loop()

    def out_of_memory(*_: object) -> None:
        raise MemoryError(stage)

    with monkeypatch.context() as patch:
        if stage == "decide":
            patch.setitem(DECIDE, SubmitOrder, out_of_memory)
        else:
            patch.setitem(evolve_module._EVOLVE, OrderAccepted, out_of_memory)
        frame: Frame[int] = Frame()
        with pytest.raises(MemoryError, match=stage):
            loop.compute(batch(submit("A")), frame)
    assert (frame.entries, frame.results) == ([], [])


def test_a_record_has_the_books_that_its_own_command_read_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = make_loop()
    book = ConsolidatedBook(SYMBOL, (quote("XNAS", [(49, 100)], [(51, 100)]),))
    loop.market = RecordedMarket((book,))

    def read_and_run_out(
        state: State, command: SubmitOrder, now_ns: int, market: MarketView, _: object
    ) -> None:
        assert market.book(SYMBOL) is book
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setitem(DECIDE, SubmitOrder, read_and_run_out)
        with pytest.raises(MemoryError):
            loop.compute(batch(submit("A")))
    frame = loop.compute(batch(SetVenueStatus("XNAS", VenueStatus.DISCONNECTED), submit("A", price=50)))
    loop.market = NO_MARKET
    frame = loop.compute(batch(submit("B", price=50)), frame)
    assert [entry.market for entry in frame.entries] == [(), (book,), ()]


def test_a_command_that_breaks_the_state_ends_the_frame_with_its_quarantine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = make_loop()
    break_evolving(monkeypatch, "BAD")
    frame: Frame[int] = loop.compute(batch(submit("GOOD"), submit("BAD"), submit("AFTER")))
    assert [token for _, token in frame.results] == [0]
    assert frame.unknown == [1, 2]
    assert frame.stopped is not None
    assert [type(entry.events[0]) for entry in frame.entries] == [OrderAccepted, CommandQuarantined]
    loop.append(frame)
