"""Orders that the engine holds, on the synthetic market: they follow it, and all of it replays."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import pytest

from qtinfra.bootstrap import synthetic_market
from qtinfra.core.commands import AnyCommand, SetReference, SubmitList, SubmitOrder, TimerFired, TimerKind
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.special import Link, Peg, SpecialTerms
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State, state_hash
from qtinfra.journal.memory import MemoryJournal
from qtinfra.runtime.replay import replay_journal
from qtinfra.runtime.simulate import Simulation
from qtinfra.runtime.synthetic_session import OPEN_NS, SECOND_NS, TRADE_DATE, open_session

pytestmark = pytest.mark.simulation

SYMBOL = "AAPL"
CLOSE_NS = OPEN_NS + 180 * SECOND_NS


def play(native: Sequence[str], batch: int) -> tuple[Simulation, MemoryJournal]:
    """Three minutes with held orders around the market; `native` is what the venues take themselves."""
    market = synthetic_market(7, (SYMBOL,), CLOSE_NS)
    journal = MemoryJournal.fresh(owner="test")
    simulation = Simulation(market, Kernel(State()), journal, [], batch=batch)
    simulation.now_ns = OPEN_NS
    open_session(simulation, market, epoch=journal.head.epoch)
    state = simulation.kernel.state
    kinds = ("LIMIT", "MARKET", *native)
    venues = tuple(msgspec.structs.replace(item, order_types=kinds) for item in state.venues.values())
    simulation.submit(SetReference(venues=venues), "system")
    simulation.run(OPEN_NS + 5 * SECOND_NS)
    for command in held_orders(state.reference_prices[SYMBOL]):
        simulation.submit(command, "client")
    simulation.run(CLOSE_NS)
    simulation.submit(TimerFired(TimerKind.DAY_CLOSE, TRADE_DATE), "timer")
    simulation.run()
    return simulation, journal


def order(
    name: str,
    kind: OrderType,
    side: OrderSide,
    qty: int,
    price: Decimal | None = None,
    terms: SpecialTerms | None = None,
) -> SubmitOrder:
    return SubmitOrder("alpha", name, SYMBOL, side, kind, TimeInForce.DAY, Decimal(qty), price, special=terms)


def held_orders(mid: Decimal) -> list[AnyCommand]:
    """Stops both ways, trailing stops, icebergs, pegs, an OCO and a bracket, near the market."""
    buy, sell, cent = OrderSide.BUY, OrderSide.SELL, Decimal("0.01")
    mid = mid.quantize(cent)
    stop, iceberg, pegged = OrderType.STOP, OrderType.ICEBERG, OrderType.PEGGED
    commands: list[AnyCommand] = []
    for number in range(1, 5):
        away = number * 4 * cent
        commands += [
            order(f"SB{number}", stop, buy, 100, None, SpecialTerms(stop_px=mid + away)),
            order(f"SS{number}", stop, sell, 100, None, SpecialTerms(stop_px=mid - away)),
            order(f"TR{number}", OrderType.TRAILING_STOP, sell, 100, None, SpecialTerms(trail=away)),
        ]
    shown = SpecialTerms(display_qty=Decimal(100))
    commands += [
        order("IB", iceberg, buy, 1_000, mid + 10 * cent, shown),
        order("PM", pegged, buy, 500, None, SpecialTerms(peg=Peg.MIDPOINT)),
        order("PP", pegged, sell, 500, None, SpecialTerms(peg=Peg.PRIMARY)),
        SubmitList(
            Link.OCO,
            (
                order("O1", OrderType.LIMIT, sell, 200, mid + 6 * cent),
                order("O2", stop, sell, 200, None, SpecialTerms(stop_px=mid - 6 * cent)),
            ),
        ),
        SubmitList(
            Link.BRACKET,
            (
                order("BE", OrderType.LIMIT, buy, 300, mid + 5 * cent),
                order("BP", OrderType.LIMIT, sell, 300, mid + 9 * cent),
                order("BL", stop, sell, 300, None, SpecialTerms(stop_px=mid - 9 * cent)),
            ),
        ),
    ]
    return commands


@pytest.mark.parametrize("native", [(), ("STOP", "ICEBERG", "PEGGED")], ids=["held", "at the venue"])
def test_held_orders_follow_the_market_soundly_and_their_journal_replays(native: tuple[str, ...]) -> None:
    simulation, journal = play(native, 64)
    assert simulation.audit() == []
    kinds = simulation.counts.kinds
    assert kinds["OrderFilled"] > 10
    assert kinds["WatermarkMoved"] > 0
    if not native:
        assert min(kinds["OrderTriggered"], kinds["PegRepriced"]) > 0
    again = replay_journal(journal, decide=True)
    assert again.decide_equal
    assert again.state_hash == state_hash(simulation.kernel.state)


def test_the_size_of_batches_changes_nothing() -> None:
    states = [state_hash(play((), batch)[0].kernel.state) for batch in (1, 64)]
    assert states[0] == states[1]
