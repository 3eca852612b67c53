"""A scored decision over what is remembered is that of a copy that remembers nothing, and that by a
strategy's plan: at venues that learn, fail, fill up and do not display, over quotes that grow old.
"""

import random
from collections.abc import Sequence
from decimal import Decimal

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from qtinfra.core import routing_events as re
from qtinfra.core.commands import AnyCommand, Inbound, SetReference, SetVenueStatus, StartEpoch
from qtinfra.core.decimals import exact
from qtinfra.core.decisions import RiskApproved
from qtinfra.core.events import AnyEvent, OrderRouted
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.market import NO_MARKET, ConsolidatedBook, RecordedMarket
from qtinfra.core.models import TimeInForce
from qtinfra.core.routing import SWEEP, Activity, OrderProtection, RouteStyle, RoutingPolicy, VenueLimit
from qtinfra.engine.decide import smart_routing
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.routing import route
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.lookup import forget, use_routing
from qtinfra.engine.routing_state import RoutingMemo, RoutingState, VenueRecord, prospect_of
from qtinfra.engine.state import State, clone_state
from qtinfra.router.breaker import Breaker, BreakerPhase
from qtinfra.router.stats import Tally, chance, percentile_ns
from qtinfra.router.strategies import BUILT_IN_ROUTING, DARK_FIRST
from tests.support.builders import (
    BUY,
    DAY,
    FOK,
    IOC,
    SELL,
    START_NS,
    approved,
    dec,
    instrument,
    quote,
    submit,
    venue,
)

pytestmark = pytest.mark.unit

MICS = ("XNAS", "XNYS", "BATS", "DARK")
SYMBOLS = ("ACME", "ZETA", "CENT")
TIFS = (DAY, DAY, IOC, IOC, FOK, TimeInForce.GTC)
AGE_NS = 2_000
_EVENTS = msgspec.msgpack.Encoder()


class Desk:
    """Venues, statistics and books that are changed at random between orders; CENT trades at about a dollar,
    where the tick changes.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_ns = START_NS
        kernel = Kernel(State())
        self.state = kernel.state
        places = [venue(mic, f"0.00{rank}", f"-0.00{rank}") for rank, mic in enumerate(MICS)]
        plain = chance.random() < 0.8
        if not plain:
            places[1] = replace(places[1], order_types=("LIMIT",))
            places[2] = replace(places[2], time_in_force=(DAY,))
        listed = tuple(instrument(symbol, MICS, chance.choice((1, 1, 10))) for symbol in SYMBOLS)
        commands: list[AnyCommand] = [StartEpoch(1), SetReference(listed, (), tuple(places))]
        commands += [SetVenueStatus(mic, VenueStatus.CONNECTED) for mic in MICS]
        for command in commands:
            kernel.execute(Inbound(command), 1, NO_MARKET)
        self.routing = self.state.routing = RoutingState()
        self.policy()
        self.books: dict[str, ConsolidatedBook] = {}
        for symbol in SYMBOLS:
            self.move(symbol)

    def move(self, symbol: str) -> None:
        """A new book; what it displays, and since when, is drawn."""
        at, step = (dec("0.998"), dec("0.001")) if symbol == "CENT" else (dec(50), dec("0.01"))
        quotes = []
        for mic in MICS:
            if self.chance.random() < 0.1:
                continue
            sizes = [self.chance.choice((5, 40, 100, 100, 300, 1_000)) for _ in range(4)]
            ask, bid = at + self.chance.randrange(4) * step, at - self.chance.randrange(1, 4) * step
            shown = quote(
                mic,
                [(bid, sizes[0]), (bid - step, sizes[1])],
                [(ask, sizes[2]), (ask + step, sizes[3])],
                self.chance.random() < 0.9,
            )
            quotes.append(replace(shown, ts_ns=self.now_ns - self.chance.randrange(AGE_NS)))
        self.books[symbol] = ConsolidatedBook(symbol, tuple(quotes))

    def policy(self) -> None:
        dark = self.chance.choice(((), (), ("DARK",), MICS))
        age = self.chance.choice((0, AGE_NS))
        style = RouteStyle(DARK_FIRST if self.chance.random() < 0.2 else SWEEP)
        self.routing.policy = RoutingPolicy(
            style,
            dark=dark,
            max_quote_age_ns=age,
            latency_ticks_per_ms=dec(self.chance.choice(("0.01", "5"))),
        )
        self.routing.rules = [OrderProtection("R", "US", MICS[:3], "")] if self.chance.random() < 0.5 else []
        self.routing.memo.clear()

    def learn(self) -> None:
        """An order has ended, or a first answer has come; an equal delay moves nothing."""
        mic = self.chance.choice(MICS)
        record = self.routing.record(mic)
        if self.chance.random() < 0.5:
            tally = record.tallies.setdefault(self.chance.choice(tuple(Activity)), Tally())
            tally.filled += 1
            tally.share_ppm += 1_000_000
            tally.missed += self.chance.randrange(2)
        else:
            bucket = self.chance.choice((100, 100, 130))
            record.delays[bucket] = record.delays.get(bucket, 0) + 1
        self.routing.memo.forget(mic)

    def fill_up(self) -> None:
        """A limit of a venue, and what stands there."""
        mic = self.chance.choice(MICS)
        if self.chance.random() < 0.4:
            self.routing.limits.pop(mic, None)
        else:
            self.routing.limits[mic] = VenueLimit(dec(self.chance.choice((600, 5_000, 10**9))), None)
        self.routing.record(mic).open_notional = dec(self.chance.choice((0, 500)))
        self.routing.memo.clear()

    def fail(self) -> None:
        """A breaker counts, opens, or lets a probe through."""
        mic = self.chance.choice(MICS)
        if self.chance.random() < 0.5:
            self.routing.breakers.pop(mic, None)
            return
        phase = self.chance.choice(tuple(BreakerPhase))
        until_ns = self.now_ns + self.chance.choice((-1, 10_000))
        self.routing.breakers[mic] = Breaker(phase, [self.now_ns], until_ns=until_ns)

    def line(self) -> None:
        """A venue's link breaks or comes back."""
        mic = self.chance.choice(MICS)
        up = self.state.connected(mic)
        self.state.venue_status[mic] = VenueStatus.DISCONNECTED if up else VenueStatus.CONNECTED
        forget(self.state)

    def relieve(self) -> None:
        """Nothing stands in the way of a venue any more."""
        self.routing.breakers.clear()
        self.routing.limits.clear()
        self.state.venue_status.update(dict.fromkeys(MICS, VenueStatus.CONNECTED))
        forget(self.state)

    def order(self) -> RiskApproved:
        symbol, tif = self.chance.choice(SYMBOLS), self.chance.choice(TIFS)
        prices = ("0.9", "0.9979", "1.01", "1.1") if symbol == "CENT" else ("49.9", "49.98", "50.020", "50.1")
        price = None if self.chance.random() < 0.1 else dec(self.chance.choice(prices))
        least = 5 if tif is IOC and self.chance.random() < 0.2 else 0
        qty = Decimal(self.chance.choice(("10", "10.0", "30", "1E+1", "200", "700")))
        side = self.chance.choice((BUY, SELL))
        return replace(approved(10, price, side, tif, least), symbol=symbol, qty=qty)

    def decide(self, state: State, order: RiskApproved, refused: Sequence[str]) -> tuple[AnyEvent, ...]:
        out = Decision(state)
        market = RecordedMarket((self.books[order.symbol],))
        route(state, "order", order, refused, self.now_ns, market, out)
        return out.events

    def plainly(self, state: State, order: RiskApproved, found: Sequence[AnyEvent]) -> bytes | None:
        """What the short way says of the order, as journaled; None where it leaves it to the general one."""
        assert state.routing is not None
        asked = submit("O", 10, None, name=order.account)
        told = ("symbol", "side", "order_type", "tif", "qty", "price")
        asked = replace(asked, **{name: getattr(order, name) for name in told})
        routed, market = found[-1] if found else None, RecordedMarket((self.books[order.symbol],))
        child_id = routed.children[0].child_id if isinstance(routed, OrderRouted) else ""
        events = smart_routing.route_plain(
            state, state.routing, "order", child_id, asked, self.now_ns, market
        )
        return None if events is None else _EVENTS.encode(events)


@settings(max_examples=150, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(seed=st.integers(0, 1 << 32))
def test_a_scored_decision_is_that_of_a_copy_that_remembers_nothing_and_that_of_a_plan(seed: int) -> None:
    chance = random.Random(seed)
    with exact():
        desk = Desk(chance)
        seldom = (desk.policy, desk.fill_up, desk.fail, desk.line, desk.relieve)
        for _ in range(30):
            desk.now_ns += chance.choice((1, 1, 300))
            if chance.random() < 0.5:
                desk.learn()
            if chance.random() < 0.15:
                chance.choice(seldom)()
            if chance.random() < 0.1:
                desk.move(chance.choice(SYMBOLS))
            order, refused = desk.order(), chance.choice(([], [], [], [], ["XNAS"]))
            alone, planned, early = (clone_state(desk.state) for _ in range(3))
            found = desk.decide(desk.state, order, refused)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(smart_routing, "_goes_whole", lambda *_: False)
                by_plan = desk.decide(planned, order, refused)
            assert found == desk.decide(alone, order, refused) == by_plan
            assert _EVENTS.encode(found) == _EVENTS.encode(by_plan), "to the last digit"
            if not refused and not order.min_qty and str(order.qty).isdigit():
                for state in (early, desk.state, clone_state(desk.state)):
                    assert desk.plainly(state, order, found) in (None, _EVENTS.encode(found))


def test_an_order_that_the_best_offer_covers_is_scored_and_taken_there() -> None:
    with exact():
        desk = Desk(random.Random(3))
        desk.routing.policy, desk.routing.rules = RoutingPolicy(), []
        forget(desk.state)
        asks = [("50.01", 100), ("50.00", 50), ("50.02", 10)]
        quotes = tuple(quote(mic, (), [ask]) for mic, ask in zip(MICS, asks, strict=False))
        desk.books["ACME"] = ConsolidatedBook("ACME", quotes)
        scored, routed = desk.decide(desk.state, replace(approved(50, "50.01"), symbol="ACME"), [])
        assert isinstance(scored, re.RouteScored) and isinstance(routed, OrderRouted)
        within = [score.venue for score in scored.venues if score.all_in is not None]
        assert within == ["XNAS", "XNYS"] and scored.confidence_ppm == 900_000
        assert [(leg.venue, leg.price, leg.tif) for leg in routed.children] == [("XNYS", dec("50.00"), IOC)]
        assert routed.touch == (None, dec("50.00")) and routed.reason == "sweep 1"


def test_a_plain_order_is_routed_without_a_plan_where_no_venue_stands_back() -> None:
    with exact():
        desk = Desk(random.Random(3))
        state, routing = desk.state, desk.routing
        routing.policy, routing.rules = RoutingPolicy(), []
        forget(state)
        quotes = tuple(quote(mic, [("49.90", 100)], [("50.00", 100)]) for mic in MICS)
        desk.books["ACME"] = ConsolidatedBook("ACME", quotes)

        def plainly(qty: int, limit: str | None) -> bool:
            asked = replace(approved(qty, limit), symbol="ACME")
            found = desk.decide(clone_state(state), asked, [])
            made = desk.plainly(state, asked, found)
            assert made in (None, _EVENTS.encode(found))
            return made is not None

        for _ in range(2):
            assert plainly(50, "50.00"), "the best offer covers it"
            assert plainly(500, "49.95"), "it rests"
            assert plainly(250, "50.00"), "three venues have enough"
            assert not plainly(401, "50.00"), "more than is displayed"
            assert not plainly(50, None), "at the market"
            assert plainly(50, "0.50"), "another tick"
        routing.breakers["XNAS"] = Breaker()
        assert not plainly(50, "50.00"), "a venue has failed"
        routing.breakers.clear()
        routing.limits["XNAS"] = VenueLimit(dec(1), None)
        assert not plainly(50, "50.00"), "a venue has a limit"
        routing.limits.clear()
        assert plainly(50, "50.00")
        use_routing(state, {SWEEP: BUILT_IN_ROUTING[DARK_FIRST]})
        asked = replace(approved(50, "50.00"), symbol="ACME")
        assert desk.plainly(state, asked, ()) is None, "another strategy has that name"
        use_routing(state, BUILT_IN_ROUTING)
        assert plainly(50, "50.00")
        routing.policy = RoutingPolicy(accounts=(("alpha", RouteStyle(DARK_FIRST)),))
        routing.memo.clear()
        assert not plainly(50, "50.00"), "an account has a style of its own"


@pytest.mark.parametrize(
    ("limit", "expected"), [("49.95", Activity.POST), ("49.90", Activity.POST), ("49.80", Activity.BEHIND)]
)
def test_an_order_that_nothing_displayed_can_meet_rests_where_that_is_cheapest(
    limit: str, expected: Activity
) -> None:
    with exact():
        desk = Desk(random.Random(3))
        desk.routing.policy, desk.routing.rules, desk.routing.venues = RoutingPolicy(), [], {}
        forget(desk.state)
        sides = [([("49.90", 100)], [("50.00", 100)]), ([("49.85", 100)], [("50.01", 50)]), ([], [])]
        quotes = tuple(quote(mic, *both) for mic, both in zip(MICS, sides, strict=False))
        desk.books["ACME"] = ConsolidatedBook("ACME", quotes)
        asked = replace(approved(500, limit), symbol="ACME")
        scored, routed = desk.decide(desk.state, asked, [])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(smart_routing, "_goes_whole", lambda *_: False)
            assert (scored, routed) == desk.decide(clone_state(desk.state), asked, [])
        assert isinstance(scored, re.RouteScored) and isinstance(routed, OrderRouted)
        cheapest = min(desk.state.venues.values(), key=lambda venue: venue.make_fee).mic
        assert [(leg.venue, leg.price, leg.qty) for leg in routed.children] == [
            (cheapest, dec(limit), dec(500))
        ]
        assert routed.reason == f"post at {cheapest}"
        assert scored.confidence_ppm == chance(None, expected).full_ppm
        assert [score.venue for score in scored.venues if score.all_in is not None] == []


def test_what_is_built_on_a_prospect_stays_until_that_is_another_one() -> None:
    records = {"XNAS": VenueRecord({Activity.TAKE: Tally(1, 1, 0, 0, 1_000_000)}, {100: 1})}
    memo = RoutingMemo()
    memo.prospects["XNAS"] = prospect_of(records["XNAS"])
    before = memo.fields
    records["XNAS"].delays[100] += 1
    memo.forget("XNAS")
    memo.refresh(records)
    assert memo.fields is before and not memo.stale
    records["XNAS"].delays[200] = 9
    memo.forget("XNAS")
    memo.refresh(records)
    assert memo.fields is not before
    assert memo.prospects["XNAS"] == prospect_of(records["XNAS"])


def test_a_prospect_has_the_chance_of_every_activity_and_the_median_delay() -> None:
    tallies = {activity: Tally(9, 3 + rank, 1, 2, 4_000_000) for rank, activity in enumerate(Activity)}
    found = prospect_of(VenueRecord(tallies, {120: 2, 40: 1}))
    expected = [chance(tally, activity) for activity, tally in tallies.items()]
    assert [found.take, found.post, found.behind, found.dark] == expected
    assert found.latency_us == (percentile_ns({120: 2, 40: 1}, 50) or 0) // 1_000
    priors = prospect_of(None)
    assert priors == prospect_of(VenueRecord())
    assert [priors.take.full_ppm, priors.post.share_ppm] == [900_000, 500_000]
    assert priors.latency_us == 0
