"""Algos on the synthetic market: they work their parents soundly, and all of it replays."""

from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from qtinfra.bootstrap import synthetic_market
from qtinfra.core.algo import AlgoTerms, Completion
from qtinfra.core.commands import (
    CancelOrder,
    HaltInstrument,
    PauseAlgo,
    ReplaceOrder,
    ResumeAlgo,
    SetLimit,
    SetMarketProfile,
    SetVolumeCurve,
    SubmitOrder,
    TimerFired,
    TimerKind,
)
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State, decode_state, encode_state, state_hash
from qtinfra.journal.memory import MemoryJournal
from qtinfra.runtime.replay import replay_journal
from qtinfra.runtime.simulate import Simulation, VenueQuotes
from qtinfra.runtime.synthetic_session import OPEN_NS, SECOND_NS, TRADE_DATE, open_session
from qtinfra.venues.simulated.flow import SyntheticMarket

pytestmark = pytest.mark.simulation

SYMBOL = "AAPL"
CLOSE_NS = OPEN_NS + 400 * SECOND_NS
START_NS, END_NS = OPEN_NS + 10 * SECOND_NS, OPEN_NS + 310 * SECOND_NS


def begin(batch: int = 64) -> tuple[Simulation, MemoryJournal, SyntheticMarket]:
    market = synthetic_market(7, (SYMBOL,), CLOSE_NS)
    journal = MemoryJournal.fresh(owner="test")
    simulation = Simulation(market, Kernel(State()), journal, [], batch=batch)
    simulation.now_ns = OPEN_NS
    open_session(simulation, market, epoch=journal.head.epoch)
    simulation.submit(SetLimit(LimitRule.MAX_ORDER_QTY, None), "risk")
    simulation.submit(SetLimit(LimitRule.POSITION_LIMIT, None), "risk")
    simulation.submit(SetLimit(LimitRule.MAX_ORDER_VALUE, None), "risk")
    bins = tuple(Decimal(10 + place) for place in range(4))
    simulation.submit(SetVolumeCurve(SYMBOL, TRADE_DATE, OPEN_NS, CLOSE_NS, bins), "staff")
    profile = SetMarketProfile(SYMBOL, Decimal(50_000_000), Decimal("0.02"), Decimal("0.01"))
    simulation.submit(profile, "staff")
    simulation.run(OPEN_NS + 5 * SECOND_NS)
    return simulation, journal, market


def parent(name: str, algo: str, qty: int, side: OrderSide = OrderSide.BUY, **terms: Any) -> SubmitOrder:
    known: dict[str, Any] = {"slices": 10, "completion": Completion.CROSS} | terms
    asked = AlgoTerms(algo, START_NS, END_NS, **known)
    market = OrderType.MARKET
    return SubmitOrder("alpha", name, SYMBOL, side, market, TimeInForce.DAY, Decimal(qty), algo=asked)


PARENTS = (
    parent("T", "TWAP", 3000, randomise_size=Decimal("0.3"), randomise_time=Decimal("0.5"), seed=11),
    parent("V", "VWAP", 3000, OrderSide.SELL),
    parent("P", "POV", 100_000, target_rate=Decimal("0.1"), completion=Completion.CANCEL),
    parent("I", "IS", 3000, OrderSide.SELL, risk_aversion=Decimal("0.001")),
    parent("C", "TWAP", 50_000, max_participation=Decimal("0.05"), completion=Completion.CANCEL),
)


def play(batch: int = 64) -> tuple[Simulation, MemoryJournal]:
    simulation, journal, _ = begin(batch)
    for command in PARENTS:
        simulation.submit(command, "client")
    simulation.run(CLOSE_NS)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, TRADE_DATE), "timer")
    simulation.run()
    return simulation, journal


def test_every_algo_works_its_parent_soundly_ends_aloud_and_replays() -> None:
    simulation, journal = play()
    assert simulation.audit() == []
    state = simulation.kernel.state
    orders = {name: state.find_order("alpha", name) for name in "TVPIC"}
    for name in "TVI":
        order = orders[name]
        assert order is not None
        assert order.filled, name
    assert not state.algos.parents
    assert simulation.counts.kinds["AlgoFinished"] == len(PARENTS)
    again = replay_journal(journal, decide=True)
    assert again.decide_equal
    assert again.state_hash == state_hash(state)


def test_the_size_of_batches_changes_nothing() -> None:
    states = [state_hash(play(batch)[0].kernel.state) for batch in (1, 64)]
    assert states[0] == states[1]


def test_pov_keeps_its_rate_and_a_cap_holds_on_every_interval() -> None:
    simulation, _, market = begin()
    view = VenueQuotes(market)
    view.prints = True
    for command in PARENTS[2], PARENTS[4]:
        simulation.submit(command, "client")
    marks: list[tuple[Decimal, Decimal, Decimal]] = []
    state = simulation.kernel.state
    for place in range(11):
        simulation.run(START_NS + 30 * place * SECOND_NS)
        view.now_ns = simulation.now_ns
        book = view.book(SYMBOL)
        cums = [order.cum_qty for order in (state.find_order("alpha", name) for name in "PC") if order]
        assert book is not None
        marks.append((book.traded, cums[0], cums[1]))
    (before, _, _), (after, pov, _) = marks[0], marks[-1]
    assert abs(pov / (after - before) - Decimal("0.1")) < Decimal("0.01")
    for (start, _, had), (end, _, has) in pairwise(marks):
        assert has - had <= Decimal("0.05") * (end - start)


def test_a_snapshot_in_mid_schedule_goes_on_with_the_same_plan() -> None:
    simulation, _, _ = begin()
    simulation.submit(PARENTS[0], "client")
    simulation.run(START_NS + 100 * SECOND_NS)
    state = simulation.kernel.state
    before = state_hash(state)
    restored = decode_state(encode_state(state))
    assert state_hash(restored) == before
    simulation.kernel = Kernel(restored)
    simulation.run(CLOSE_NS)
    order = restored.find_order("alpha", "T")
    assert order is not None
    assert order.filled
    assert simulation.counts.kinds["AlgoPlanned"] == 1


def disturb(simulation: Simulation, random: Random, number: int) -> None:
    """Something that staff, clients, venues or the exchange may do at any moment."""
    name = random.choice("TVPIC")
    state = simulation.kernel.state
    order = state.find_order("alpha", name)
    mic = random.choice(sorted(state.venues))
    match random.randrange(9):
        case 0:
            simulation.submit(PauseAlgo("alpha", name), "staff")
        case 1 | 2:
            simulation.submit(ResumeAlgo("alpha", name), "staff")
        case 3:
            simulation.submit(HaltInstrument(SYMBOL, SYMBOL not in state.halted), "staff")
        case 4 if order is not None:
            qty = max(Decimal(1), order.cum_qty + random.randrange(-200, 3000))
            request = ReplaceOrder("alpha", f"R{number}", order.cl_ord_id, qty)
            simulation.submit(request, "client")
        case 5:
            simulation.disconnect(mic)
        case 6 | 7:
            simulation.reconnect(mic)
        case 8 if random.random() < 0.1:
            simulation.submit(CancelOrder("alpha", f"C{number}", name), "client")


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_parents_stay_sound_end_aloud_and_replay(seed: int) -> None:
    simulation, journal, _ = begin()
    random = Random(seed)
    for command in PARENTS:
        simulation.submit(command, "client")
    for number in range(60):
        simulation.run(simulation.now_ns + random.randrange(1, 10) * SECOND_NS)
        disturb(simulation, random, number)
    for mic in sorted(simulation.kernel.state.venues):
        simulation.reconnect(mic)
    simulation.submit(HaltInstrument(SYMBOL, False), "staff")
    simulation.run(CLOSE_NS)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, TRADE_DATE), "timer")
    simulation.run()
    assert simulation.audit() == []
    kinds = simulation.counts.kinds
    assert "CommandQuarantined" not in kinds
    assert not simulation.kernel.state.algos.parents
    assert kinds["AlgoFinished"] == len(PARENTS)
    again = replay_journal(journal, decide=True)
    assert again.decide_equal
    assert again.state_hash == state_hash(simulation.kernel.state)
