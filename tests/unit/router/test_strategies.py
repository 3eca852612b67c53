"""Routing strategies: legs sum, stay within the limit, rooms and protected quotes, and say where they go."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.core.decisions import RiskApproved, RouteLeg, RoutePlan
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.routing import SWEEP, Activity, RouteStyle, RoutingPolicy
from qtinfra.router.costs import all_in, miss_penalty
from qtinfra.router.scoring import (
    Candidate,
    RouteRequest,
    Sight,
    activity_of,
    best_opposite,
    expectation,
    field_of,
    scores,
    traded_through,
    wrong_plan,
)
from qtinfra.router.sor import VenueTerms, plan_route
from qtinfra.router.stats import Chance
from qtinfra.router.strategies import (
    BUILT_IN_ROUTING,
    DARK_FIRST,
    PLACEMENT,
    POST,
    RoutingStrategy,
    routing_registry,
)
from tests.support.builders import BUY, DAY, FOK, IOC, SELL, SYMBOL, approved, dec, quote

pytestmark = pytest.mark.unit

TICK = dec("0.01")


def candidate(mic: str, take: str = "0.003", make: str = "-0.002", **more: object) -> Candidate:
    fees = VenueTerms(mic, dec(take), dec(make))
    chance = Chance(500_000, 500_000)
    made = Candidate(fees, fees, Chance(900_000, 950_000), chance, Chance(200_000, 250_000), chance)
    return msgspec.structs.replace(made, **more)


def ask_of(
    order: RiskApproved,
    quotes: Mapping[str, VenueQuote],
    *venues: Candidate,
    **more: object,
) -> RouteRequest:
    bid, offer = ConsolidatedBook(SYMBOL, tuple(quotes.values())).touch()
    made = RouteRequest(order, field_of(venues), RouteStyle(), dict(quotes), bid, offer, ONE, TICK, TICK * 10)
    return msgspec.structs.replace(made, **more)


def plan(name: str, ask: RouteRequest) -> RoutePlan:
    with exact():
        return BUILT_IN_ROUTING[name].plan(ask)


def sizes(found: RoutePlan) -> dict[str, int]:
    total: dict[str, int] = {}
    for leg in found.legs:
        total[leg.venue] = total.get(leg.venue, 0) + int(leg.qty)
    return total


QUOTES = {
    "XNAS": quote("XNAS", [("49.99", 200)], [("50.01", 100)]),
    "XNYS": quote("XNYS", [("49.99", 300)], [("50.02", 100)]),
    "BATS": quote("BATS", [("49.98", 100)], [("50.02", 100)]),
}
ALL = tuple(candidate(mic) for mic in QUOTES)

# --- any request -------------------------------------------------------------------------------------------

levels = st.lists(st.integers(1, 12), max_size=3, unique=True)
rooms = st.one_of(st.none(), st.integers(0, 400).map(Decimal))


@st.composite
def requests(draw: st.DrawFn) -> RouteRequest:
    """Books that are not crossed, venues with and without rooms and capabilities, any order."""
    mics = ("XNAS", "XNYS", "BATS", "XDRK")
    quotes = {}
    for mic in mics[:3]:
        bids = sorted((dec(5_000 - away) / 100 for away in draw(levels)), reverse=True)
        asks = sorted(dec(5_000 + away) / 100 for away in draw(levels))
        size = st.integers(1, 300)
        quotes[mic] = quote(mic, [(px, draw(size)) for px in bids], [(px, draw(size)) for px in asks])
    venues = [
        candidate(
            mic,
            draw(st.sampled_from(("0.003", "-0.01", "0.02"))),
            draw(st.sampled_from(("-0.002", "0.001"))),
            hidden=mic == "XDRK",
            room=draw(rooms),
            takes=draw(st.booleans()),
            posts=draw(st.booleans()),
            markets=draw(st.booleans()),
        )
        for mic in mics
    ]
    side, tif = draw(st.sampled_from((BUY, SELL))), draw(st.sampled_from((DAY, IOC, FOK)))
    limit = draw(st.one_of(st.none(), st.integers(4_980, 5_020).map(lambda cents: dec(cents) / 100)))
    order = approved(draw(st.integers(1, 900)), limit, side, tif)
    protected = draw(st.sampled_from(((), ("XNAS", "XNYS"), mics[:3])))
    return ask_of(order, quotes, *venues, protected=protected, dark_min_qty=dec(10))


@settings(max_examples=60)
@given(requests(), st.sampled_from(sorted(BUILT_IN_ROUTING)))
def test_every_plan_sums_keeps_limit_and_rooms_and_trades_through_nothing(
    ask: RouteRequest, name: str
) -> None:
    with exact():
        found = BUILT_IN_ROUTING[name].plan(ask)
        assert wrong_plan(ask, found) == ""
        if found.legs:
            confidence, expected = expectation(ask, found)
            assert 0 <= confidence <= 1_000_000 >= expected >= 0
    for leg in found.legs:
        venue = ask.field.by_mic[leg.venue]
        assert venue.markets or leg.order_type is not OrderType.MARKET


@given(requests())
def test_a_score_has_the_cost_of_the_best_price_within_the_limit_and_none_beyond_it(
    ask: RouteRequest,
) -> None:
    buying, limit = ask.order.side is BUY, ask.order.price
    with exact():
        sight = Sight(ask.field, dict(ask.quotes or {}), buying, ask.lot, bool(ask.protected))
        found = scores(ask)
        assert scores(msgspec.structs.replace(ask, sight=sight)) == found
        assert [score.venue for score in found] == [venue.mic for venue in ask.field.venues]
        for venue, score in zip(ask.field.venues, found, strict=True):
            best = best_opposite((ask.quotes or {}).get(venue.mic), buying)
            within = best is not None and (
                limit is None or (best[0] <= limit if buying else best[0] >= limit)
            )
            fee = venue.fees.take_fee
            cost = None if best is None or not within else best[0] + fee if buying else best[0] - fee
            assert score.all_in == cost
        if ask.quotes is not None:
            assert plan(SWEEP, msgspec.structs.replace(ask, sight=sight)) == plan(SWEEP, ask)


@given(requests())
def test_without_features_the_sweep_is_the_plain_plan(ask: RouteRequest) -> None:
    venues = tuple(candidate(mic) for mic in QUOTES)
    plain = msgspec.structs.replace(ask, field=field_of(venues), protected=())
    book = ConsolidatedBook(SYMBOL, tuple((ask.quotes or {}).values()))
    assert plan(SWEEP, plain) == plan_route(ask.order, book, tuple(venue.fees for venue in venues))


# --- costs and scores --------------------------------------------------------------------------------------


def test_the_penalty_prices_misses_and_waiting_in_ticks() -> None:
    policy = RoutingPolicy(miss_ticks=dec(2), latency_ticks_per_ms=dec("0.1"))
    assert miss_penalty(policy, 750_000, 3_000) == dec("0.8")
    fees = VenueTerms("XNAS", dec("0.003"), dec("-0.002"))
    found = all_in(policy, fees, Chance(0, 750_000), Chance(0, 500_000), 3_000, TICK)
    assert (found.take_fee, found.make_fee) == (dec("0.011"), dec("0.011"))


def test_a_venue_that_misses_often_loses_against_a_dearer_one_that_does_not() -> None:
    policy = RoutingPolicy()
    cheap = VenueTerms("XNAS", dec("0.001"), ZERO)
    bad = all_in(policy, cheap, Chance(0, 300_000), Chance(0, 0), 0, TICK)
    worse = candidate("XNAS", fees=bad)
    quotes = {mic: quote(mic, [], [("50.01", 500)]) for mic in ("XNAS", "XNYS")}
    assert sizes(plan(SWEEP, ask_of(approved(100, "50.01"), quotes, worse, candidate("XNYS")))) == {
        "XNYS": 100
    }


@pytest.mark.parametrize(
    ("side", "price", "tif", "tries"),
    [
        (BUY, "50.01", DAY, Activity.TAKE),
        (BUY, "49.99", DAY, Activity.POST),
        (BUY, "50.00", DAY, Activity.POST),
        (BUY, "49.98", DAY, Activity.BEHIND),
        (BUY, "49.98", IOC, Activity.TAKE),
        (SELL, "49.99", DAY, Activity.TAKE),
        (SELL, "50.01", DAY, Activity.POST),
        (SELL, "50.02", DAY, Activity.BEHIND),
    ],
)
def test_what_a_leg_tries_follows_from_its_price(
    side: OrderSide, price: str, tif: TimeInForce, tries: Activity
) -> None:
    leg = RouteLeg("XNAS", OrderType.LIMIT, tif, ONE, dec(price), ZERO)
    assert activity_of(leg, side is BUY, dec("49.99"), dec("50.01")) is tries


def test_scores_name_every_venue_with_its_all_in_price() -> None:
    found = scores(ask_of(approved(100, "50.01"), QUOTES, *ALL))
    assert [(item.venue, item.all_in) for item in found] == [
        ("XNAS", dec("50.013")),
        ("XNYS", None),
        ("BATS", None),
    ]


def test_expectations_multiply_over_legs_and_weigh_by_quantity() -> None:
    ask = ask_of(approved(300, "50.01"), QUOTES, *ALL)
    legs = (
        RouteLeg("XNAS", OrderType.LIMIT, IOC, dec(100), dec("50.01"), ZERO),
        RouteLeg("XNYS", OrderType.LIMIT, DAY, dec(200), dec("49.99"), ZERO),
    )
    assert expectation(ask, RoutePlan(legs, "")) == (450_000, 650_000)


# --- protection --------------------------------------------------------------------------------------------


def test_a_leg_beyond_a_protected_quote_is_found_unless_that_quote_is_swept_too() -> None:
    ask = ask_of(approved(300, "50.02"), QUOTES, *ALL, protected=("XNAS",))
    beyond = RouteLeg("XNYS", OrderType.LIMIT, IOC, dec(100), dec("50.02"), ZERO)
    assert traded_through(ask, (beyond,)) == "XNAS"
    assert traded_through(ask, (beyond, RouteLeg("XNAS", OrderType.LIMIT, IOC, dec(99), dec("50.01"), ZERO)))
    swept = RouteLeg("XNAS", OrderType.LIMIT, IOC, dec(100), dec("50.01"), ZERO)
    assert traded_through(ask, (beyond, swept)) == ""


def test_a_fill_or_kill_order_is_priced_at_the_protected_quotes_of_others() -> None:
    found = plan(SWEEP, ask_of(approved(50, "50.05", tif=FOK), QUOTES, *ALL, protected=tuple(QUOTES)))
    (leg,) = found.legs
    assert leg.price == (dec("50.02") if leg.venue == "XNAS" else dec("50.01"))


# --- dark, post, placement ---------------------------------------------------------------------------------


def test_the_dark_is_asked_at_the_midpoint_with_a_least_quantity_and_not_twice() -> None:
    venues = (*ALL, candidate("XDRK", hidden=True))
    ask = ask_of(approved(200, "50.01"), QUOTES, *venues, dark_min_qty=dec(50))
    (leg,) = plan(DARK_FIRST, ask).legs
    assert leg == RouteLeg("XDRK", OrderType.LIMIT, IOC, dec(200), dec(50), dec(50))
    again = plan(DARK_FIRST, msgspec.structs.replace(ask, asked=("XDRK",)))
    assert again == plan(SWEEP, ask)


def test_half_a_tick_goes_to_the_own_side() -> None:
    quotes = {"XNAS": quote("XNAS", [("49.99", 100)], [("50.00", 100)])}
    dark = candidate("XDRK", hidden=True)
    for side, price in ((BUY, "49.99"), (SELL, "50.00")):
        ask = ask_of(approved(100, None, side), quotes, candidate("XNAS"), dark)
        assert plan(DARK_FIRST, ask).legs[0].price == dec(price)


def test_a_posting_order_never_crosses() -> None:
    (leg,) = plan(POST, ask_of(approved(200, "50.05"), QUOTES, *ALL)).legs
    assert (leg.price, leg.tif) == (dec("49.99"), DAY)


def test_urgency_moves_quantity_from_posting_to_taking() -> None:
    taken = []
    for urgency in ("0", "0.5", "1"):
        ask = ask_of(approved(300, "50.05"), QUOTES, *ALL, style=RouteStyle(PLACEMENT, dec(urgency)))
        found = plan(PLACEMENT, ask)
        taken.append(sum(int(leg.qty) for leg in found.legs if leg.price != dec("49.99")))
    assert taken == sorted(taken)
    assert taken[0] < taken[-1]


# --- the registry ------------------------------------------------------------------------------------------


class Everything:
    """A user's strategy: all to the first venue."""

    name = "FIRST"

    def plan(self, ask: RouteRequest) -> RoutePlan:
        order = ask.order
        leg = RouteLeg(ask.field.venues[0].mic, order.order_type, order.tif, order.qty, order.price, ZERO)
        return RoutePlan((leg,), "first")


def test_a_registry_takes_users_strategies_once_each() -> None:
    own: RoutingStrategy = Everything()
    assert routing_registry((*BUILT_IN_ROUTING.values(), own))["FIRST"] is own
    with pytest.raises(ValueError, match="one strategy each"):
        routing_registry((own, own))


def test_a_wrong_plan_is_named() -> None:
    ask = ask_of(approved(100, "50.01"), QUOTES, *ALL)
    leg = RouteLeg("XNAS", OrderType.LIMIT, IOC, dec(100), dec("50.01"), ZERO)
    for changes, why in (
        ({"qty": dec(99)}, "sum"),
        ({"venue": "XXXX"}, "eligible"),
        ({"price": dec("50.02")}, "beyond the limit"),
    ):
        assert why in wrong_plan(ask, RoutePlan((msgspec.structs.replace(leg, **changes),), ""))
