"""A whole routing decision with every feature on, next to the plain plan over the same books."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.bench.decisions import offers_of, route_cases, stage
from qtinfra.bench.harness import BenchResult, Progress, compare, micro, over, sized
from qtinfra.bench.mix import MICS, START_NS, TRADE_DATE, StandingMarket, scaled_mix, standing_market
from qtinfra.core.commands import AnyCommand, Inbound, SetOrderProtection, SetRoutingPolicy, SetVenueLimit
from qtinfra.core.decimals import exact
from qtinfra.core.decisions import RiskApproved
from qtinfra.core.events import OrderRouted
from qtinfra.core.routing import PPM, Activity, OrderProtection, RoutingPolicy, VenueLimit
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.smart_routing import smart_route
from qtinfra.engine.routing_state import VenueRecord
from qtinfra.engine.state import State
from qtinfra.router.sor import plan_route
from qtinfra.router.stats import Tally

_ITEMS = 20_000
_ROUNDS = 9
_LEVELS = 3
_QUOTE_AGE_NS = 1_000_000_000


class RoutingBench:
    """Calls scored routing as the engine does for a new order: from the approved quantity to the events."""

    def __init__(self, state: State, market: StandingMarket) -> None:
        self.state = state
        self.market = market

    def decide(self, approved: RiskApproved) -> Decision:
        """Venues with statistics, a limit and protected quotes; RouteScored and OrderRouted."""
        out, routing = Decision(self.state), self.state.routing
        if routing is not None:
            smart_route(self.state, routing, "order", approved, [], None, START_NS, self.market, out)
        return out


def _policies() -> list[AnyCommand]:
    rule = OrderProtection("17 CFR 242.611", "US", MICS, TRADE_DATE)
    wide = VenueLimit(Decimal(10**12), Decimal(10**12))
    return [
        SetRoutingPolicy(RoutingPolicy(max_quote_age_ns=_QUOTE_AGE_NS)),
        SetOrderProtection(rule),
        SetVenueLimit(MICS[0], wide),
    ]


def _records() -> dict[str, VenueRecord]:
    """Venues that have answered a thousand orders each, one worse than the other."""
    found = {}
    for rank, mic in enumerate(MICS):
        filled = 950 - 20 * rank
        tally = Tally(1_000, filled, 0, 1_000 - filled, filled * PPM)
        found[mic] = VenueRecord({Activity.TAKE: tally}, {100 + rank: 1_000})
    return found


def bench_routing(scale: float, progress: Progress) -> BenchResult:
    """Scored decisions over six venues; the control sorts the displayed offers by price."""
    progress("routing: orders")
    mix = scaled_mix(scale)
    cases = route_cases(mix, sized(_ITEMS, scale, 200))
    kernel, market = stage(mix), standing_market(mix, _LEVELS)
    for command in _policies():
        kernel.execute(Inbound(command, "bench"), 1, market)
    if kernel.state.routing is not None:
        kernel.state.routing.venues = _records()
    bench = RoutingBench(kernel.state, market)
    items = [(approved,) for approved, _, _ in cases]
    rounds = sized(_ROUNDS, scale, 3)
    with exact():
        routed = [bench.decide(*item).events[-1] for item in items]
        legs = sum(len(event.children) for event in routed if isinstance(event, OrderRouted))
        plain, _ = compare(over(cases, plan_route), over(items, bench.decide), rounds)
        return micro(
            "routing",
            "order",
            items,
            bench.decide,
            (
                "sorted() of the 18 offers by price",
                [(offers_of(order, book),) for order, book, _ in cases],
                sorted,
            ),
            rounds=rounds,
            target_per_s=200_000,
            at_scale=scale >= 1,
            note=f"six venues with {_LEVELS} levels a side: statistics, penalties, protected quotes, "
            "age of quotes, a venue limit, scores; from the approved quantity to the events",
            figures={"legs_per_order": legs / len(items), "plain_plans_per_s": plain.ops_per_s},
        )
