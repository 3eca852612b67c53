"""Plain new orders of one sender that follow each other share a record, which says of each what its own
would.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core import commands as cmd
from qtinfra.core.decimals import exact
from qtinfra.core.events import AnyEvent, CommandQuarantined, Entry, OrderAccepted, OrderRejected, OrderRouted
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.core.routing import BreakerTerms, RoutingPolicy
from qtinfra.core.routing_events import BreakerProbed, RouteScored
from qtinfra.core.runs import each, joined, last_ns
from qtinfra.engine import kernel as kernel_module
from qtinfra.engine.decide import DECIDE
from qtinfra.engine.evolve import evolve_plain
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import Kernel, KernelStoppedError, Outcome, decide_again, replay
from qtinfra.engine.state import State, state_hash
from qtinfra.journal.codec import Chain, WrittenBooks, encode_entry
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.versions import decode_entry, decode_happened
from qtinfra.posttrade.tca_facts import gather
from qtinfra.runtime.recovery import recover
from qtinfra.runtime.replay import replay_journal
from tests.support.builders import ALPHA, BETA, BUY, SELL, Desk, dec, quote, submit

pytestmark = pytest.mark.unit

_NOW = 1_720_445_400_500_000_000

#: The child of the order that is routed first under a policy; reports execute it.
_SCORED = "0-1-d"

#: Routing by fees alone, and scored.
_BOTH_WAYS = [None, RoutingPolicy()]

Results = list[tuple[Outcome, int]]


def _desk(routing: RoutingPolicy | None = None) -> Desk:
    """Two venues, so that whoever routes an order looks at the market; the accounts' first orders, which take
    the general way, are through.

    Args:
        routing: the policy in force from then on.
    """
    desk = Desk(("XNAS", "BATS"), checked=False)
    desk.market.quotes["BATS"] = quote("BATS", [("48", 100)], [("52", 100)])
    for name in (ALPHA, BETA):
        desk.run(submit("first", 10, 51, name=name))
    if routing is not None:
        desk.run(cmd.SetRoutingPolicy(routing))
        desk.run(submit("scored", 50, 51, tif=TimeInForce.IOC))
        assert desk.child("scored").child_id == _SCORED and desk.child("scored").venue == "XNAS"
    return desk


class Batch:
    """Commands on their way in, and what the market shows when the turn of each comes."""

    def __init__(self, inbounds: list[cmd.Inbound], sizes: list[int]) -> None:
        self.inbounds, self.sizes = inbounds, sizes

    def show(self, desk: Desk, place: int) -> None:
        size = self.sizes[place % len(self.sizes)]
        desk.market.quotes["XNAS"] = quote("XNAS", [("49", size)], [("51", size)])

    def together(self, desk: Desk, start: int, end: int, results: Results, entries: list[Entry]) -> None:
        """Execute some of them as one batch."""
        places = iter(range(start, end))

        def clock() -> int:
            place = next(places)
            self.show(desk, place)
            return _NOW + place

        batch = [(self.inbounds[place], place) for place in range(start, end)]
        with exact():
            desk.kernel.execute_all(batch, clock, desk.market, results, entries)

    def alone(self, desk: Desk) -> list[Outcome]:
        """Execute them one by one."""
        outcomes = []
        for place, inbound in enumerate(self.inbounds):
            self.show(desk, place)
            outcomes.append(desk.kernel.execute(inbound, _NOW + place, desk.market))
        return outcomes


def _plain(count: int, **said: Any) -> list[cmd.Inbound]:
    orders = [submit(f"O{place}", 10, 51, tif=TimeInForce.IOC, name=ALPHA) for place in range(count)]
    return [cmd.Inbound(order, "ann", "c", _NOW - 5, **said) for order in orders]


def _run_of(inbounds: list[cmd.Inbound], desk: Desk | None = None) -> tuple[Results, list[Entry]]:
    results, entries = Results(), list[Entry]()
    Batch(inbounds, [100]).together(desk or _desk(), 0, len(inbounds), results, entries)
    return results, entries


def _command(kind: str, place: int, order: cmd.SubmitOrder) -> cmd.AnyCommand:
    named: Callable[..., cmd.SubmitOrder] = lambda **said: msgspec.structs.replace(order, **said)  # noqa: E731
    match kind:
        case "again":
            return named(cl_ord_id="O0", account=ALPHA)
        case "stop":
            return named(cl_ord_id=f"O{place}", order_type=OrderType.STOP, price=None)
        case "cancel":
            return cmd.CancelOrder(ALPHA, f"O{place}", "O0")
        case "read":
            return cmd.OrderStatusRequest(ALPHA, "O0")
        case "report":
            return cmd.RecordVenueReport(VenueReport(ReportKind.ACK, "XNAS", "nobody", place + 1))
        case "fill":
            return cmd.RecordVenueReport(
                VenueReport(
                    ReportKind.FILL, "XNAS", _SCORED, place + 1, qty=dec(10), px=dec(51), exec_id=f"E{place}"
                )
            )
    return named(cl_ord_id=f"O{place}")


_ORDERS = st.builds(
    lambda qty, price, side, tif, name: submit("", qty, price, side=side, tif=tif, name=name),
    st.sampled_from(["50", "50.0", "100", "150", "1E+2", "0.5"]),
    st.sampled_from(["49", "50", "51", "51.00", None]),
    st.sampled_from([BUY, BUY, SELL]),
    st.sampled_from([TimeInForce.DAY, TimeInForce.IOC]),
    st.sampled_from([ALPHA, ALPHA, BETA]),
)
_KINDS = st.sampled_from(["new"] * 12 + ["again", "stop", "cancel", "read", "report", "fill"])
_SENT = st.tuples(
    _KINDS,
    _ORDERS,
    st.sampled_from(["ann", "ann", "ann", "ben"]),
    st.sampled_from(["", "", "", "c"]),
    st.integers(-3, 3) | st.just(0),
)


def _written(entry: Entry | None) -> bytes:
    assert entry is not None
    return msgspec.msgpack.encode(entry)


@given(
    sent=st.lists(_SENT, min_size=1, max_size=30),
    sizes=st.lists(st.sampled_from([100, 100, 120, 50]), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    routing=st.sampled_from([None, RoutingPolicy(), RoutingPolicy(dark=("BATS",), breaker=None)]),
)
@settings(max_examples=160, deadline=None)
def test_orders_in_runs_end_in_what_they_end_in_one_by_one(
    sent: list[Any], sizes: list[int], cuts: list[int], routing: RoutingPolicy | None
) -> None:
    inbounds = [
        cmd.Inbound(_command(kind, place, order), actor, belongs, _NOW - 100 + place * (wait != 0) + wait)
        for place, (kind, order, actor, belongs, wait) in enumerate(sent)
    ]
    batch, together, apart = Batch(inbounds, sizes), _desk(routing), _desk(routing)
    again, begun = Kernel(State()), list(together.entries)
    results, entries = Results(), list[Entry]()
    bounds = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    for start, end in pairwise(bounds):
        batch.together(together, start, end, results, entries)
    outcomes = batch.alone(apart)
    assert [place for _, place in results] == list(range(len(sent)))
    assert repr([(made.effects, made.answers, made.depends_on, made.events) for made, _ in results]) == repr(
        [(made.effects, made.answers, made.depends_on, made.events) for made in outcomes]
    )
    by_order = [one for entry in entries for one in each(entry)]
    assert repr(by_order) == repr([made.entry for made in outcomes if made.entry is not None])
    for (made, _), one in zip(results, outcomes, strict=True):
        assert (made.entry is None) == (one.entry is None)
        assert made.entry is None or one.entry in each(made.entry)
    assert state_hash(together.state) == state_hash(apart.state)
    replayed = State()
    for entry in begun:
        replay(replayed, entry)
        assert decide_again(again, entry) == entry
    for entry in entries:
        read = decode_entry(encode_entry(entry))
        assert read == entry
        replay(replayed, read)
        assert [_written(decide_again(again, read)), _written(joined(each(read)))] == [_written(entry)] * 2
    assert state_hash(replayed) == state_hash(again.state) == state_hash(together.state)


@pytest.mark.parametrize("routing", _BOTH_WAYS)
@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (2, [2]), (64, [64]), (65, [64, 1]), (130, [64, 64, 2])]
)
def test_a_record_holds_so_many_orders_and_one_alone_has_its_own_command(
    count: int, sizes: list[int], routing: RoutingPolicy | None
) -> None:
    results, entries = _run_of(_plain(count), _desk(routing))
    assert [len(each(entry)) for entry in entries] == sizes
    for entry in entries:
        alone = len(each(entry)) == 1
        assert type(entry.command) is (cmd.SubmitOrder if alone else cmd.SubmitOrders)
        assert encode_entry(entry) == encode_entry(decode_entry(encode_entry(entry)))
    owners = [entry for entry, size in zip(entries, sizes, strict=True) for _ in range(size)]
    assert all(outcome.entry is owner for (outcome, _), owner in zip(results, owners, strict=True))
    scored = [RouteScored] if routing is not None else []
    kinds = [OrderAccepted, *scored, OrderRouted]
    assert [[type(event) for event in outcome.events] for outcome, _ in results] == [kinds] * count


def _with(**said: Any) -> Callable[[cmd.Inbound], cmd.Inbound]:
    return lambda inbound: msgspec.structs.replace(inbound, **said)


def _bad(inbound: cmd.Inbound) -> cmd.Inbound:
    return msgspec.structs.replace(inbound, command=submit("bad", "0.5", 51, name=ALPHA))


@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        (_with(actor="ben"), [2, 1, 2]),
        (_with(correlation_id="other"), [2, 1, 2]),
        (_with(received_ns=_NOW - 1), [5]),
        (_with(command=cmd.OrderStatusRequest(ALPHA, "O0")), [2, 2]),
        (_with(command=submit("O0", 10, 51, tif=TimeInForce.IOC, name=ALPHA)), [2, 2]),
        (_bad, [2, 1, 2]),
    ],
    ids=["sender", "correlation", "received", "read", "repeated", "refused"],
)
@pytest.mark.parametrize("routing", _BOTH_WAYS)
def test_what_ends_a_run(
    change: Callable[[cmd.Inbound], cmd.Inbound], sizes: list[int], routing: RoutingPolicy | None
) -> None:
    inbounds = _plain(5)
    inbounds[2] = change(inbounds[2])
    _, entries = _run_of(inbounds, _desk(routing))
    assert [len(each(entry)) for entry in entries] == sizes


def test_an_order_that_tries_a_venue_again_has_a_record_of_its_own() -> None:
    desk = _desk(RoutingPolicy(breaker=BreakerTerms(failures=1)))
    desk.disconnect("XNAS")
    desk.connect("XNAS")
    routing, results, entries = desk.state.routing, Results(), list[Entry]()
    assert routing is not None
    until_ns = routing.breakers["XNAS"].until_ns
    times = iter(range(until_ns - 2, until_ns + 3))
    with exact():
        desk.kernel.execute_all(
            [(one, 0) for one in _plain(5)], lambda: next(times), desk.market, results, entries
        )
    assert [len(each(entry)) for entry in entries] == [2, 1, 2]
    kinds = [type(event) for event in entries[1].events]
    assert kinds == [OrderAccepted, RouteScored, BreakerProbed, OrderRouted]
    again, replayed = Kernel(State()), State()
    for entry in (*desk.entries, *entries):
        replay(replayed, entry)
        assert decide_again(again, entry) == entry
    assert state_hash(again.state) == state_hash(replayed) == state_hash(desk.state)


def test_a_market_that_nobody_quotes_leaves_each_order_its_record() -> None:
    desk = _desk()
    inbounds, results, entries = _plain(3), Results(), list[Entry]()
    desk.market.quotes.clear()
    desk.kernel.execute_all([(one, 0) for one in inbounds], lambda: _NOW, desk.market, results, entries)
    assert [len(entry.market) for entry in entries] == [0, 0, 0]
    assert [outcome.entry for outcome, _ in results] == entries


def test_an_order_that_saw_two_books_has_a_record_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    decide, desk = DECIDE[cmd.SubmitOrder], _desk()
    show = desk.market.book
    monkeypatch.setattr(
        desk.market, "book", lambda symbol: ConsolidatedBook("ELSE", ()) if symbol == "ELSE" else show(symbol)
    )

    def curious(state: State, command: cmd.SubmitOrder, now_ns: int, market: Any, out: Any) -> None:
        decide(state, command, now_ns, market, out)
        if command.cl_ord_id == "O1":
            market.book("ELSE")

    monkeypatch.setitem(DECIDE, cmd.SubmitOrder, curious)
    _, entries = _run_of(_plain(4), desk)
    assert [[book.symbol for book in entry.market] for entry in entries] == [
        ["ACME"],
        ["ACME", "ELSE"],
        ["ACME", "ACME"],
    ]


def test_a_run_belongs_to_the_epoch_in_which_its_orders_were_decided() -> None:
    inbounds = _plain(5)
    inbounds[2] = msgspec.structs.replace(inbounds[2], command=cmd.StartEpoch(2, "next"))
    _, entries = _run_of(inbounds)
    assert (len(each(entries[0])), entries[0].epoch) == (2, 1)
    assert {entry.epoch for entry in entries[1:]} == {2}


@pytest.mark.parametrize("waits", [(0, 0), (0, 1), (5, -3)])
def test_when_each_order_was_received_is_kept(waits: tuple[int, int]) -> None:
    first = _NOW - 50
    received = [first, first + waits[0], first + sum(waits)]
    inbounds = [
        msgspec.structs.replace(one, received_ns=at) for one, at in zip(_plain(3), received, strict=True)
    ]
    _, (entry,) = _run_of(inbounds)
    assert entry.command == cmd.SubmitOrders(waits if any(waits) else ())
    assert [one.received_ns for one in each(decode_entry(encode_entry(entry)))] == received
    assert [one.ts_ns for one in each(entry)] == [_NOW, _NOW + 1, _NOW + 2]


def test_a_record_of_other_waits_is_not_what_is_decided_again() -> None:
    desk = _desk()
    again = Kernel(State())
    for entry in desk.entries:
        decide_again(again, entry)
    _, (entry,) = _run_of(_plain(3), desk)
    forged = msgspec.structs.replace(entry, command=cmd.SubmitOrders((1,)))
    assert decide_again(again, forged) not in (None, forged)


# --- faults ---


def test_an_order_that_cannot_be_decided_is_quarantined_between_two_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide = DECIDE[cmd.SubmitOrder]

    def failing(state: State, command: cmd.SubmitOrder, *rest: Any) -> None:
        if command.cl_ord_id == "O2":
            raise ValueError("planted")
        decide(state, command, *rest)

    monkeypatch.setitem(DECIDE, cmd.SubmitOrder, failing)
    inbounds = _plain(6)
    inbounds[3:] = [
        msgspec.structs.replace(one, command=msgspec.structs.replace(one.command, account=BETA))
        for one in inbounds[3:]
    ]  # the first account is frozen by then, and the other's next order looked at closely
    _, entries = _run_of(inbounds)
    assert [len(each(entry)) for entry in entries] == [2, 1, 1, 2]
    assert [type(event) for event in entries[1].events] == [CommandQuarantined]


@pytest.mark.parametrize(
    "error", [InvariantBrokenError("planted"), MemoryError()], ids=["invariant", "memory"]
)
@pytest.mark.parametrize("where", ["decide", "evolve"])
def test_orders_before_one_that_cannot_be_taken_are_journaled(
    error: Exception, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, results, entries = _desk(), Results(), list[Entry]()
    decide, evolve = DECIDE[cmd.SubmitOrder], evolve_plain

    def failing(state: State, command: cmd.SubmitOrder, *rest: Any) -> None:
        if command.cl_ord_id == "O2" and isinstance(error, MemoryError):
            raise error
        decide(state, command, *rest)

    def breaking(state: State, events: tuple[AnyEvent, ...], passed: Any) -> Any:
        if getattr(events[0], "cl_ord_id", "") == "O2":
            raise error
        return evolve(state, events, passed)

    if where == "decide" and isinstance(error, MemoryError):
        monkeypatch.setitem(DECIDE, cmd.SubmitOrder, failing)
    else:
        monkeypatch.setattr(kernel_module, "evolve_plain", breaking)
    stops = KernelStoppedError if isinstance(error, InvariantBrokenError) else MemoryError
    with pytest.raises(stops) as stopped:
        Batch(_plain(5), [100]).together(desk, 0, 5, results, entries)
    (entry,) = entries
    assert [outcome.entry for outcome, _ in results] == [entry, entry]
    assert len(each(entry)) == 2 and entry.last_seq == desk.state.seq
    if isinstance(stopped.value, KernelStoppedError):
        assert stopped.value.entry.seq == entry.last_seq + 1
        assert stopped.value.entry.command == _plain(5)[2].command


def test_nobody_can_ask_for_a_run() -> None:
    desk = _desk()
    assert cmd.SubmitOrders not in DECIDE
    entry = desk.run(cmd.SubmitOrders()).entry
    assert entry is not None
    assert [type(event) for event in entry.events] == [CommandQuarantined]
    assert each(entry) == (entry,)


# --- who reads records ---


def _journal(routing: RoutingPolicy | None = None) -> tuple[MemoryJournal, list[Entry], State]:
    desk = _desk(routing)
    inbounds = _plain(5)
    inbounds[1] = _bad(inbounds[1])
    _, entries = _run_of(inbounds, desk)
    journal = MemoryJournal.fresh()
    journal.append([*desk.entries, *entries])
    return journal, [*desk.entries, *entries], desk.state


@pytest.mark.parametrize("routing", _BOTH_WAYS)
def test_a_run_is_recovered_replayed_and_decided_again(routing: RoutingPolicy | None) -> None:
    journal, entries, state = _journal(routing)
    recovered = recover(journal)
    assert state_hash(recovered.state) == state_hash(state)
    assert recovered.last_ns == last_ns(entries[-1]) == _NOW + 4 > entries[-1].ts_ns
    result = replay_journal(journal, decide=True)
    assert (result.decide_equal, result.first_difference) == (True, None)
    journal.close()


@pytest.mark.parametrize("most", [1, 4096])
def test_a_run_is_sealed_with_the_books_that_its_orders_saw(most: int) -> None:
    desk, results, entries = _desk(), Results(), list[Entry]()
    batch = Batch(_plain(8), [100, 100, 120])
    for start in (0, 4):
        batch.together(desk, start, start + 4, results, entries)
    chain, books = Chain(0, epoch=1, seq=entries[0].seq - 1), WrittenBooks(most)
    sealed = [record[0] for entry in entries for record in chain.seal([entry], books).records]
    assert sealed == [encode_entry(entry) for entry in entries]
    read = [decode_entry(data) for data in sealed]
    assert [[book.quotes[1].asks[0][1] for book in entry.market] for entry in read] == [
        [dec(size) for size in sizes] for sizes in ([100, 100, 120, 100], [100, 120, 100, 100])
    ]


def test_the_last_moment_of_a_record_is_read_without_its_command() -> None:
    _, entries = _run_of(_plain(3))
    assert last_ns(decode_happened(encode_entry(entries[0]))) == _NOW + 2


@pytest.mark.parametrize("routing", _BOTH_WAYS)
def test_cost_analysis_is_told_of_each_order(routing: RoutingPolicy | None) -> None:
    journal, entries, _ = _journal(routing)
    by_order = [one for entry in entries for one in each(entry)]
    together, apart = gather(entries), gather(by_order)
    assert (together.records, apart.records) == (len(entries), len(by_order))
    apart.records = together.records
    assert together == apart
    assert together.rejected == 1 and any(isinstance(e, OrderRejected) for one in entries for e in one.events)
    assert dec("50") in {order.decision_px for order in together.orders.values()}
    journal.close()
