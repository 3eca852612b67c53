"""The short way of routing, over what is remembered of a book, ends where the plan over all offers does."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.commands import Inbound, SetReference, SetVenueStatus, StartEpoch
from qtinfra.core.decimals import exact
from qtinfra.core.decisions import RiskApproved
from qtinfra.core.events import AnyEvent, OrderRouted
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.legs import limit, units
from qtinfra.core.market import NO_MARKET, ConsolidatedBook, RecordedMarket, VenueQuote
from qtinfra.core.models import OrderSide, TimeInForce
from qtinfra.core.routing import Activity, RoutingPolicy
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.routing import eligible_venues, route
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.routing_state import RoutingState
from qtinfra.engine.state import State
from qtinfra.router.sor import Offer, Offers, plan_over
from qtinfra.router.stats import Tally
from tests.support.builders import (
    BUY,
    DAY,
    FOK,
    IOC,
    SELL,
    START_NS,
    SYMBOL,
    approved,
    dec,
    instrument,
    quote,
    values,
    venue,
)

pytestmark = pytest.mark.unit

MICS = ("XNAS", "XNYS", "BATS")
sizes = st.integers(1, 30).map(lambda tens: 10 * tens) | st.integers(0, 300)
levels = st.lists(st.tuples(st.integers(4_997, 5_003), sizes), max_size=3, unique_by=lambda item: item[0])
orders = st.builds(
    approved,
    st.integers(1, 400),
    st.none() | st.integers(4_995, 5_005).map(lambda cents: Decimal(cents) / 100),
    st.sampled_from([BUY, SELL]),
    st.sampled_from([DAY, DAY, IOC, FOK]),
    st.sampled_from([0, 0, 0, 5]),
)


class Undivided(Offers):
    """Offers whose best one is not told: a plan has to look at all of them."""

    def best(self) -> Offer | None:
        return None


def stage(fees: tuple[str, ...], lot: int, mics: tuple[str, ...] = MICS) -> State:
    kernel = Kernel(State())
    venues = tuple(venue(mic, dec(fee)) for mic, fee in zip(mics, fees, strict=True))
    kernel.execute(Inbound(StartEpoch(1)), 1, NO_MARKET)
    reference = SetReference((instrument(venues=mics, lot=lot),), (), venues)
    kernel.execute(Inbound(reference), 1, NO_MARKET)
    for mic in mics:
        kernel.execute(Inbound(SetVenueStatus(mic, VenueStatus.CONNECTED)), 1, NO_MARKET)
    return kernel.state


def shown(mic: str, bids: list[tuple[int, int]], asks: list[tuple[int, int]], live: bool) -> VenueQuote:
    best_bids = [(Decimal(cents) / 100, size) for cents, size in sorted(bids, reverse=True)]
    return quote(mic, best_bids, [(Decimal(cents) / 100, size) for cents, size in sorted(asks)], live)


def by_all_offers(
    state: State, order: RiskApproved, book: ConsolidatedBook, refused: list[str]
) -> tuple[object, ...]:
    """What a plan over all offers, none of them remembered, comes to."""
    venues, lot = eligible_venues(state, SYMBOL, refused), state.instruments[SYMBOL].lot_size
    quotes = {item.venue: item for item in book.quotes if item.live}
    bid, ask = book.touch()
    everything = Undivided(order.side is BUY, quotes, venues, lot)
    plan = plan_over(order, quotes, bid, ask, venues, lot, offers=everything)
    legs = [
        (leg.venue, leg.order_type, leg.tif, str(leg.qty), str(leg.price), str(leg.min_qty))
        for leg in plan.legs
    ]
    return legs, plan.reason, plan.best_bid, plan.best_ask


def as_routed(
    state: State, order: RiskApproved, book: ConsolidatedBook, refused: list[str]
) -> tuple[object, ...]:
    out = Decision(state)
    assert route(state, "order", order, refused, START_NS, RecordedMarket((book,)), out)
    routed = out.events[-1]
    assert isinstance(routed, OrderRouted)
    legs = [
        (
            leg.venue,
            leg.order_type,
            leg.tif,
            str(units(leg, order.qty)),
            str(limit(leg, order.price)),
            str(leg.min_qty or 0),
        )
        for leg in routed.children
    ]
    assert len({leg.child_id for leg in routed.children}) == len(legs)
    assert routed.touch is None  # it is that of the book, which the record has
    return legs, routed.reason, *book.touch()


@given(
    st.lists(orders, min_size=1, max_size=6),
    st.tuples(*[st.tuples(levels, levels, st.sampled_from([True, True, True, False]))] * 3),
    st.tuples(*[st.sampled_from(["-0.002", "0", "0.003"])] * 3),
    st.sampled_from([1, 10]),
    st.sampled_from([[], [], ["XNAS"], ["XNAS", "XNYS"]]),
)
def test_every_order_is_routed_as_over_all_offers(
    placed: list[RiskApproved],
    displayed: tuple[tuple[list[tuple[int, int]], list[tuple[int, int]], bool], ...],
    fees: tuple[str, ...],
    lot: int,
    refused: list[str],
) -> None:
    with exact():
        state = stage(fees, lot)
        quotes = tuple(shown(mic, *found) for mic, found in zip(MICS, displayed, strict=True))
        book = ConsolidatedBook(SYMBOL, quotes)
        for order in placed:  # the later ones find the book remembered
            expected = by_all_offers(state, order, book, refused)
            assert as_routed(state, order, book, refused) == expected


@pytest.mark.parametrize(
    ("qty", "price", "side", "tif", "venue_tif", "reason"),
    [
        (100, "50.01", BUY, DAY, IOC, "sweep 1"),
        (101, "50.01", BUY, DAY, DAY, "sweep 1, rest 1 at XNAS"),
        (100, "50.00", BUY, DAY, DAY, "post at XNAS"),
        (100, "49.99", SELL, IOC, IOC, "sweep 1"),
        (100, "50.01", BUY, FOK, FOK, "in one piece"),
    ],
)
def test_an_order_that_the_first_offer_covers_goes_there_at_once_and_no_other_does(
    qty: int, price: str, side: OrderSide, tif: TimeInForce, venue_tif: TimeInForce, reason: str
) -> None:
    with exact():
        state = stage(("0", "0.003"), 1, MICS[:2])
        book = ConsolidatedBook(SYMBOL, (shown("XNAS", [(4_999, 100)], [(5_001, 100)], True),))
        order = approved(qty, price, side, tif)
        legs, why, *_ = as_routed(state, order, book, [])
        assert values(why, legs) == values(reason, by_all_offers(state, order, book, [])[0])
        assert isinstance(legs, list) and legs[-1][2] is venue_tif


def scored(
    state: State,
    order: RiskApproved,
    book: ConsolidatedBook,
    refused: list[str],
    now_ns: int = START_NS,
) -> tuple[AnyEvent, ...]:
    out = Decision(state)
    route(state, "order", order, refused, now_ns, RecordedMarket((book,)), out)
    return out.events


@given(
    st.lists(st.tuples(orders, st.integers(0, 1), st.sampled_from(["", "", *MICS])), min_size=1, max_size=8),
    st.tuples(*[st.tuples(*[st.tuples(levels, levels, st.sampled_from([True, True, False]))] * 3)] * 2),
    st.sampled_from([[], [], ["XNAS"]]),
)
def test_scored_routes_over_what_is_remembered_are_those_over_what_is_found_anew(
    placed: list[tuple[RiskApproved, int, str]],
    displayed: tuple[tuple[tuple[list[tuple[int, int]], list[tuple[int, int]], bool], ...], ...],
    refused: list[str],
) -> None:
    """Between orders the book changes and a venue's statistics do."""
    with exact():
        state = stage(("0", "0.001", "0.003"), 1)
        routing = state.routing = RoutingState()
        books = [
            ConsolidatedBook(SYMBOL, tuple(shown(mic, *found) for mic, found in zip(MICS, side, strict=True)))
            for side in displayed
        ]
        for order, number, changed in placed:
            if changed:
                routing.record(changed).tallies.setdefault(Activity.TAKE, Tally()).missed += 1
                routing.memo.forget(changed)
            found = scored(state, order, books[number], refused)
            kept = scored(state, order, books[number], refused)
            routing.memo.clear()
            state.risk.memo.books.clear()
            assert found == kept == scored(state, order, books[number], refused)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.tuples(*[st.integers(0, 40)] * 3))
def test_quotes_that_are_remembered_as_fresh_are_those_that_are(
    looks: list[int], given: tuple[int, ...]
) -> None:
    with exact():
        state = stage(("0", "0.001", "0.003"), 1)
        routing = state.routing = RoutingState(RoutingPolicy(max_quote_age_ns=10))
        quotes = tuple(
            msgspec.structs.replace(shown(mic, [], [(5_001 - number, 100)], True), ts_ns=ts_ns)
            for number, (mic, ts_ns) in enumerate(zip(MICS, given, strict=True))
        )
        book = ConsolidatedBook(SYMBOL, quotes)
        for now_ns in looks:
            found = scored(state, approved(100, "50.01"), book, [], now_ns)
            routed = found[-1]
            assert isinstance(routed, OrderRouted)
            asks = [quote.asks[0][0] for quote in quotes if quote.ts_ns >= now_ns - 10]
            assert routed.touch is not None and routed.touch[1] == min(asks, default=None)
            kept = dict(routing.memo.fresh)
            routing.memo.clear()
            assert scored(state, approved(100, "50.01"), book, [], now_ns) == found
            routing.memo.fresh.update(kept)
