"""The router: best all-in price, sweep, posting, one piece; its legs always sum to the approved quantity."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.decisions import RoutePlan
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.router.sor import Offer, Offers, VenueTerms, covers, plan_over, plan_route
from tests.support.builders import BUY, DAY, FOK, IOC, SELL, SYMBOL, approved, dec, quote

pytestmark = pytest.mark.unit

FREE = tuple(VenueTerms(mic, dec(0), dec(0)) for mic in ("XNAS", "XNYS", "BATS"))


def book(*quotes: VenueQuote) -> ConsolidatedBook:
    return ConsolidatedBook(SYMBOL, tuple(sorted(quotes, key=lambda item: item.venue)))


def legs(plan: RoutePlan) -> list[tuple[str, str, int, str]]:
    return [(leg.venue, leg.tif.value, int(leg.qty), str(leg.price)) for leg in plan.legs]


class Undivided(Offers):
    """Offers whose best one is not told: a plan has to look at all of them."""

    def best(self) -> Offer | None:
        return None


def test_without_a_venue_there_is_no_plan() -> None:
    assert plan_route(approved(10, 50), None, ()).legs == ()


def test_an_only_venue_takes_everything_as_it_is() -> None:
    plan = plan_route(approved(10, 50, tif=IOC, min_qty=5), book(), FREE[:1])
    (leg,) = plan.legs
    assert (leg.venue, leg.tif, leg.qty, leg.min_qty) == ("XNAS", IOC, dec(10), dec(5))


def test_the_best_price_is_taken_first_and_the_listing_order_breaks_ties() -> None:
    plan = plan_route(
        approved(50, "50.02"),
        book(
            quote("XNAS", [], [("50.02", 30)]),
            quote("XNYS", [], [("50.01", 30)]),
            quote("BATS", [], [("50.02", 30)]),
        ),
        FREE,
    )
    assert legs(plan) == [("XNYS", "IOC", 30, "50.01"), ("XNAS", "IOC", 20, "50.02")]
    assert (plan.best_bid, plan.best_ask) == (None, dec("50.01"))


@pytest.mark.parametrize(("side", "fee_moves_to"), [(BUY, "XNYS"), (SELL, "XNYS")])
def test_fees_count_in_the_price(side: OrderSide, fee_moves_to: str) -> None:
    venues = (VenueTerms("XNAS", dec("0.003"), dec(0)), VenueTerms("XNYS", dec("-0.001"), dec(0)))
    price = "50.02" if side is BUY else "49.98"
    levels = [(50, 30)]
    both = book(
        quote("XNAS", levels if side is SELL else [], levels if side is BUY else []),
        quote("XNYS", levels if side is SELL else [], levels if side is BUY else []),
    )
    assert legs(plan_route(approved(20, price, side), both, venues))[0][0] == fee_moves_to


def test_the_rest_is_posted_where_that_is_cheapest() -> None:
    venues = (
        VenueTerms("XNAS", dec(0), dec("0.001")),
        VenueTerms("XNYS", dec(0), dec("-0.002")),
        VenueTerms("BATS", dec(0), dec(0)),
    )
    plan = plan_route(approved(100, 50), book(quote("XNAS", [], [(50, 30)])), venues)
    assert legs(plan) == [("XNAS", "IOC", 30, "50"), ("XNYS", "DAY", 70, "50")]
    passive = plan_route(approved(100, 49), book(quote("XNAS", [], [(50, 30)])), venues)
    assert legs(passive) == [("XNYS", "DAY", 100, "49")]


def test_what_lies_beyond_the_limit_is_not_taken() -> None:
    plan = plan_route(
        approved(100, "50.00", SELL),
        book(quote("XNAS", [("50.01", 10), ("50.00", 10), ("49.99", 80)], [])),
        FREE,
    )
    assert legs(plan) == [("XNAS", "DAY", 100, "50.00")]


def test_a_dead_feed_is_not_traded_against() -> None:
    plan = plan_route(
        approved(10, 51),
        book(quote("XNAS", [], [(49, 100)], live=False), quote("XNYS", [], [(51, 10)])),
        FREE,
    )
    assert legs(plan) == [("XNYS", "IOC", 10, "51")]


def test_a_market_order_sweeps_with_limits_and_its_rest_rides_on_the_first_leg() -> None:
    plan = plan_route(approved(100), book(quote("XNAS", [], [(50, 30)]), quote("XNYS", [], [(51, 30)])), FREE)
    first, second = plan.legs
    assert (first.order_type, first.qty, first.price) == (OrderType.MARKET, dec(70), None)
    assert (second.order_type, second.tif, second.price) == (OrderType.LIMIT, IOC, dec(51))


@pytest.mark.parametrize(("tif", "minimum"), [(FOK, 0), (IOC, 50)])
def test_what_must_trade_in_one_piece_goes_where_most_is_displayed(tif: TimeInForce, minimum: int) -> None:
    plan = plan_route(
        approved(100, 51, tif=tif, min_qty=minimum),
        book(quote("XNAS", [], [(50, 40)]), quote("XNYS", [], [(51, 30), (51, 31)])),
        FREE,
    )
    (leg,) = plan.legs
    assert (leg.venue, leg.tif, leg.qty) == ("XNYS", tif, dec(100))


def test_without_a_book_everything_goes_to_the_primary_listing() -> None:
    assert legs(plan_route(approved(100, 50), None, FREE)) == [("XNAS", "DAY", 100, "50")]


def test_displayed_size_counts_in_whole_lots() -> None:
    plan = plan_route(
        approved(300, 50), book(quote("XNYS", [], [(50, 137)]), quote("BATS", [], [(50, 99)])), FREE, dec(100)
    )
    assert legs(plan) == [("XNYS", "IOC", 100, "50"), ("XNAS", "DAY", 200, "50")]


def test_an_empty_level_makes_no_leg() -> None:
    plan = plan_route(approved(10, 50), book(quote("XNYS", [], [(50, 0), (50, 10)])), FREE)
    assert legs(plan) == [("XNYS", "IOC", 10, "50")]


levels = st.lists(st.tuples(st.integers(4_990, 5_010), st.integers(0, 300)), max_size=4)


@given(
    st.integers(1, 1_000),
    st.one_of(st.none(), st.integers(4_985, 5_015)),
    st.sampled_from([BUY, SELL]),
    st.sampled_from([DAY, IOC, FOK]),
    st.tuples(levels, levels, levels),
    st.sampled_from([1, 10, 100]),
)
def test_the_legs_sum_to_the_quantity_and_respect_limit_lot_and_display(
    lots: int,
    cents: int | None,
    side: OrderSide,
    tif: TimeInForce,
    displayed: tuple[list[tuple[int, int]], ...],
    lot: int,
) -> None:
    price = None if cents is None else Decimal(cents) / 100
    sides = [
        sorted(((Decimal(p) / 100, n) for p, n in side_levels), reverse=side is SELL)
        for side_levels in displayed
    ]
    quotes = [
        quote(venue.mic, *((found, []) if side is SELL else ([], found)))
        for venue, found in zip(FREE, sides, strict=True)
    ]
    order = approved(lots * lot, price, side, tif)
    plan = plan_route(order, book(*quotes), FREE, dec(lot))
    assert sum(leg.qty for leg in plan.legs) == order.qty
    assert len({leg.venue for leg in plan.legs}) == len(plan.legs)
    for leg in plan.legs:
        assert leg.qty > 0 and not leg.qty % lot
        if price is not None and leg.price is not None:
            assert leg.price <= price if side is BUY else leg.price >= price
    if tif is FOK:
        assert len(plan.legs) == 1
    assert plan == plan_route(order, book(*quotes), FREE, dec(lot)), "the same facts give the same plan"


@given(
    st.integers(1, 400),
    st.one_of(st.none(), st.integers(4_985, 5_015)),
    st.sampled_from([BUY, SELL]),
    st.sampled_from([DAY, IOC, FOK]),
    st.tuples(levels, levels, levels),
    st.tuples(*[st.sampled_from(["-0.002", "0", "0.003"])] * 3),
    st.sampled_from([1, 10, 100]),
)
def test_the_best_offer_found_for_any_limit_leads_to_the_plan_over_all_offers(
    qty: int,
    cents: int | None,
    side: OrderSide,
    tif: TimeInForce,
    displayed: tuple[list[tuple[int, int]], ...],
    fees: tuple[str, ...],
    lot: int,
) -> None:
    venues = tuple(VenueTerms(free.mic, dec(fee), dec(0)) for free, fee in zip(FREE, fees, strict=True))
    found = [sorted(side_levels, reverse=side is SELL) for side_levels in displayed]
    sides = [[(Decimal(p) / 100, n) for p, n in side_levels] for side_levels in found]
    quotes = {
        venue.mic: quote(venue.mic, *((shown, []) if side is SELL else ([], shown)))
        for venue, shown in zip(venues, sides, strict=True)
    }
    order = approved(qty * lot, None if cents is None else Decimal(cents) / 100, side, tif)
    every = Undivided(side is BUY, quotes, venues, dec(lot))
    expected = plan_over(order, quotes, None, None, venues, dec(lot), offers=every)
    assert plan_over(order, quotes, None, None, venues, dec(lot)) == expected
    known = Offers(side is BUY, quotes, venues, dec(lot))
    for _ in range(2):
        assert plan_over(order, quotes, None, None, venues, dec(lot), offers=known) == expected
    bid, ask = book(*quotes.values()).touch()
    touched = plan_over(order, quotes, bid, ask, venues, dec(lot))
    assert (touched.legs, touched.reason) == (expected.legs, expected.reason)


def test_an_offer_covers_an_order_within_its_limit_and_of_no_more_than_its_size() -> None:
    offer = (dec("50.01"), 0, dec("50.01"), dec(100), "XNAS")
    assert covers(offer, approved(100, "50.01"))
    assert covers(offer, approved(100))
    assert not covers(offer, approved(101, "50.01"))
    assert not covers(offer, approved(100, "50.00"))
    assert covers(offer, approved(100, "50.01", SELL))
    assert not covers(offer, approved(100, "50.02", SELL))
    assert not covers(offer, approved(100, "50.01", tif=FOK))
    assert not covers(offer, approved(100, "50.01", tif=IOC, min_qty=1))
