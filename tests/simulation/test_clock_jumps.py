"""FM-19: the wall clock jumps while an algo works; its slices go out as planned, neither early nor twice."""

from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest

from qtinfra.core.algo import AlgoTerms
from qtinfra.core.commands import SubmitOrder
from qtinfra.core.extended_models import Policies
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ToVenue, VenueNewOrder
from qtinfra.testing.faultsim import world as world_module
from qtinfra.testing.faultsim.engine import ACCOUNTS, SYMBOLS
from qtinfra.testing.faultsim.world import World

pytestmark = pytest.mark.simulation

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
SLICES, EVERY_S, QTY = 10, 10, 120

#: What is done to the wall clock, by the second after the start.
JUMPS: dict[str, dict[int, int]] = {
    "forwards by an hour": {25: HOUR},
    "backwards by an hour": {25: -HOUR},
    "backwards by five seconds": {33: -5 * SECOND},
    "a leap second, smeared or not": {41: SECOND, 42: -SECOND},
    "there and back again and again": {second: HOUR * (-1) ** second for second in range(3, 95, 2)},
    "daylight saving time, taken for UTC": {50: HOUR, 70: -HOUR},
}


class WallClock:
    """A clock that believes the wall: what this test has to find out."""

    def __init__(self, wall_ns: Callable[[], int], _: object) -> None:
        self.now_ns = wall_ns


def sent(jumps: Mapping[int, int]) -> list[tuple[float, Decimal]]:
    """When the slices of a TWAP reached venues (real seconds after its start), and how much each was."""
    world = World(3, Policies())
    found: list[tuple[float, Decimal]] = []
    with world.entered():
        world.start()
        world.run_for(SECOND)
        assert world.life is not None and world.life.ready
        began_ns = world.loop.now_ns

        def note(message: ToVenue) -> None:
            if isinstance(message, VenueNewOrder):
                found.append(((world.loop.now_ns - began_ns) / SECOND, message.qty))

        for host in world.hosts.values():
            host.venue.told_to = note
        start_ns = world.life.clock.now_ns()
        terms = AlgoTerms(
            "TWAP", start_ns, start_ns + SLICES * EVERY_S * SECOND, slices=SLICES, passive=False
        )
        kind, day, price = OrderType.LIMIT, TimeInForce.DAY, Decimal("50.10")
        order = SubmitOrder(
            ACCOUNTS[0], "T1", SYMBOLS[0], OrderSide.BUY, kind, day, Decimal(QTY), price, algo=terms
        )
        world.send(order)
        for second in range(SLICES * EVERY_S + 20):
            world.wall_ns += jumps.get(second, 0)
            world.run_for(SECOND)
        assert world.violations() == []
        world.end()
    return found


def as_planned(slices: list[tuple[float, Decimal]]) -> bool:
    """Each slice within a second and a half of its time, for its quantity, and all of them."""
    times = [number * EVERY_S <= at < number * EVERY_S + 1.5 for number, (at, _) in enumerate(slices)]
    return [qty for _, qty in slices] == [QTY // SLICES] * SLICES and all(times)


def test_without_a_jump_the_slices_go_out_as_planned() -> None:
    assert as_planned(sent({}))


@pytest.mark.parametrize("name", JUMPS)
def test_fm_19_slices_neither_burst_nor_stall_when_the_wall_clock_jumps(name: str) -> None:
    slices = sent(JUMPS[name])
    assert as_planned(slices), slices


def test_an_engine_that_believes_the_wall_clock_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_module, "SystemClock", WallClock)
    assert as_planned(sent({}))
    assert not as_planned(sent(JUMPS["forwards by an hour"]))
