"""Call auctions: the rule on cases computed by hand and by brute force, and the venue that holds them."""

from __future__ import annotations

from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
)
from qtinfra.venues.simulated.auction import AuctionOrder, Clearing, allocate, clear, run
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.matching import AuctionTimes, HaltEntry, Listing, MatchingVenue
from qtinfra.venues.simulated.selfmatch import SmpMode

pytestmark = pytest.mark.unit

D = Decimal
K = ReportKind
OPEN, CLOSE = TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE
MINUTE = 60_000_000_000
CLOSING = 1_000 * MINUTE
CUTOFF = CLOSING - 10 * MINUTE


def book(*orders: tuple[str, int, int | None]) -> list[AuctionOrder]:
    """Orders as ("B" or "S", units, price), numbered from 1 in time order."""
    return [
        AuctionOrder(number, side == "B", price, units, number)
        for number, (side, units, price) in enumerate(orders, 1)
    ]


# -- the price, by hand ----------------------------------------------------------------------------


def test_the_price_that_executes_most_wins() -> None:
    # Demand at 99/100/101: 90/60/20. Supply: 30/70/90. Executed: 30/60/20.
    orders = book(
        ("B", 30, 99), ("B", 40, 100), ("B", 20, 101), ("S", 30, 99), ("S", 40, 100), ("S", 20, 101)
    )
    assert clear(orders, 99) == Clearing(price=100, units=60, imbalance=-10)


def test_of_equal_volumes_the_smaller_imbalance_wins() -> None:
    # 50 trade at 100 and at 101; demand there is 80 and 50.
    orders = book(("B", 50, 101), ("B", 30, 100), ("S", 50, 100))
    assert clear(orders, 100) == Clearing(price=101, units=50, imbalance=0)


def test_with_orders_left_over_the_price_is_the_limit_of_the_first_of_them() -> None:
    orders = book(("B", 10, 105), ("B", 10, 105), ("S", 10, 100))
    assert clear(orders, 100) == Clearing(price=105, units=10, imbalance=10)


@pytest.mark.parametrize(("reference", "price"), [(90, 100), (102, 102), (110, 105), (None, 100)])
def test_between_equals_the_price_nearest_to_the_reference_wins(reference: int | None, price: int) -> None:
    orders = book(("B", 10, 105), ("S", 10, 100))
    assert clear(orders, reference) == Clearing(price, 10, 0)


def test_market_orders_alone_trade_at_the_reference() -> None:
    orders = book(("B", 70, None), ("S", 50, None))
    assert clear(orders, 123) == Clearing(123, 50, 20)
    assert clear(orders, None) is None


def test_nothing_trades_when_no_prices_meet() -> None:
    assert clear(book(("B", 10, 99), ("S", 10, 101)), 100) is None
    assert clear([], 100) is None


def test_market_orders_trade_first_then_better_limits_then_who_came_first() -> None:
    orders = book(("B", 10, 101), ("B", 10, 101), ("B", 10, 102), ("B", 10, None), ("S", 35, 101))
    clearing = clear(orders, 101)
    assert clearing == Clearing(101, 35, 5)
    assert allocate(orders, clearing) == ((4, 10), (3, 10), (1, 10), (2, 5), (5, 35))


# -- the price, by brute force ---------------------------------------------------------------------

ORDERS = st.lists(
    st.tuples(st.sampled_from("BS"), st.integers(1, 9), st.one_of(st.none(), st.integers(3, 12))), max_size=10
)


def executed(orders: list[AuctionOrder], price: int) -> tuple[int, int]:
    """Volume and absolute imbalance at a price, straight from the definition."""
    demand = sum(o.units for o in orders if o.buy and (o.price is None or o.price >= price))
    supply = sum(o.units for o in orders if not o.buy and (o.price is None or o.price <= price))
    return min(demand, supply), abs(demand - supply)


@settings(max_examples=300, deadline=None)
@given(ORDERS, st.integers(1, 15))
def test_no_price_executes_more_or_as_much_with_less_imbalance(
    terms: list[tuple[str, int, int | None]], reference: int
) -> None:
    orders = book(*terms)
    best = max(executed(orders, price)[0] for price in range(1, 20))
    clearing = clear(orders, reference)
    assert (clearing.units if clearing is not None else 0) == best
    if clearing is not None:
        volume, imbalance = executed(orders, clearing.price)
        assert (volume, imbalance) == (best, abs(clearing.imbalance))
        assert imbalance == min(
            left for price in range(1, 20) for units, left in [executed(orders, price)] if units == best
        )


@settings(max_examples=300, deadline=None)
@given(ORDERS, st.integers(1, 15))
def test_no_limit_order_better_than_the_price_is_left_over_and_none_worse_trades(
    terms: list[tuple[str, int, int | None]], reference: int
) -> None:
    orders = book(*terms)
    outcome = run(orders, reference)
    if outcome.clearing is None:
        assert outcome.fills == ()
        return
    done, price = dict(outcome.fills), outcome.clearing.price
    for side in (True, False):
        assert sum(done.get(o.order_id, 0) for o in orders if o.buy is side) == outcome.clearing.units
    for order in orders:
        edge = 0 if order.price is None else (order.price - price) * (1 if order.buy else -1)
        if edge > 0:
            assert done[order.order_id] == order.units
        if edge < 0:
            assert order.order_id not in done


@settings(max_examples=200, deadline=None)
@given(ORDERS, st.integers(1, 15), st.lists(st.sampled_from(["", "F", "G"]), min_size=10, max_size=10))
def test_no_id_trades_on_both_sides_of_an_auction(
    terms: list[tuple[str, int, int | None]], reference: int, ids: list[str]
) -> None:
    modes = list(SmpMode)
    orders = [
        AuctionOrder(o.order_id, o.buy, o.price, o.units, o.arrival, smp, modes[o.units % 4])
        for o, smp in zip(book(*terms), ids, strict=False)
    ]
    done = dict(run(orders, reference).fills)
    buyers = {o.smp for o in orders if o.buy and o.order_id in done and o.smp}
    sellers = {o.smp for o in orders if not o.buy and o.order_id in done and o.smp}
    assert not buyers & sellers


# -- the venue -------------------------------------------------------------------------------------


class Desk:
    """A venue that holds auctions, and short-hand for our orders and other people's."""

    def __init__(self, halt_entry: HaltEntry = HaltEntry.REJECT) -> None:
        times = AuctionTimes(on_close_cutoff_ns=CUTOFF)
        self.venue = MatchingVenue("XSIM", [Listing("ABC")], auctions=times, halt_entry=halt_entry)
        self.ids = count(1)
        self.now_ns = MINUTE

    def new(
        self, cl_ord_id: str, side: OrderSide, qty: int, price: str | None, tif: TimeInForce, smp_id: str = ""
    ) -> list[VenueReport]:
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        limit = None if price is None else D(price)
        message = VenueNewOrder("XSIM", cl_ord_id, "ABC", side, kind, tif, D(qty), limit, smp_id=smp_id)
        return self.venue.submit(message, self.now_ns)

    def buy(
        self, cl_ord_id: str, qty: int, price: str | None, tif: TimeInForce = TimeInForce.DAY
    ) -> list[VenueReport]:
        return self.new(cl_ord_id, OrderSide.BUY, qty, price, tif)

    def sell(
        self, cl_ord_id: str, qty: int, price: str | None, tif: TimeInForce = TimeInForce.DAY
    ) -> list[VenueReport]:
        return self.new(cl_ord_id, OrderSide.SELL, qty, price, tif)

    def cancel(self, cl_ord_id: str, orig: str) -> VenueReport:
        (report,) = self.venue.submit(VenueCancel("XSIM", cl_ord_id, orig), self.now_ns)
        return report

    def replace(self, cl_ord_id: str, orig: str, qty: int, price: str | None) -> VenueReport:
        limit = None if price is None else D(price)
        return self.venue.submit(VenueReplace("XSIM", cl_ord_id, orig, D(qty), limit), self.now_ns)[0]

    def others(self, buy: bool, units: int, cents: int) -> list[VenueReport]:
        return self.venue.background_add("ABC", BookOrder(next(self.ids), buy, units, cents), self.now_ns)


def said(reports: list[VenueReport]) -> list[str]:
    return [
        f"{r.cl_ord_id} {r.qty}@{r.px} {r.flag}" if r.kind is K.FILL else f"{r.cl_ord_id} {r.kind} {r.reason}"
        for r in reports
    ]


def test_orders_of_a_call_rest_without_trading_and_the_opening_trades_them_at_one_price() -> None:
    desk = Desk()
    desk.venue.begin_call("ABC")
    assert [r.kind for r in desk.buy("day", 50, "10.05")] == [K.ACK]
    assert [r.kind for r in desk.buy("moo", 30, None, OPEN)] == [K.ACK]
    assert desk.others(False, 60, 1000) == []
    assert desk.venue.book("ABC").crossed
    assert desk.venue.imbalance("ABC", OPEN) == Clearing(1005, 60, 20)
    reports = desk.venue.open_auction("ABC", desk.now_ns)
    assert said(reports) == ["moo 30@10.05 auction", "day 30@10.05 auction"]
    assert all(report.liquidity is Liquidity.UNKNOWN for report in reports)
    assert (desk.venue.book("ABC").trades, desk.venue.book("ABC").last_price) == (1, 1005)
    assert [r.kind for r in desk.sell("after", 20, "10.05")] == [K.ACK, K.FILL, K.FILL]


def test_what_an_on_open_order_did_not_trade_is_canceled_and_a_day_order_goes_on() -> None:
    desk = Desk()
    desk.venue.begin_call("ABC")
    desk.buy("loo", 30, "9.00", OPEN)
    desk.buy("day", 30, "9.00")
    desk.others(False, 10, 1000)
    assert said(desk.venue.open_auction("ABC", desk.now_ns)) == ["loo CANCELED auction_remainder"]
    assert desk.venue.orders()[1].live


def test_on_open_orders_are_taken_in_the_call_only_and_immediate_orders_not_at_all() -> None:
    desk = Desk()
    assert desk.buy("early", 10, None, OPEN)[0].reason == "cut_off"
    desk.venue.begin_call("ABC")
    assert desk.buy("ioc", 10, "10.00", TimeInForce.IOC)[0].reason == "unsupported"
    assert desk.buy("moo", 10, None, OPEN)[0].kind is K.ACK
    desk.venue.open_auction("ABC", desk.now_ns)
    assert desk.buy("late", 10, None, OPEN)[0].reason == "cut_off"


def test_the_closing_trades_on_close_orders_with_the_book() -> None:
    desk = Desk()
    desk.others(True, 40, 999)
    desk.others(False, 40, 1001)
    desk.sell("moc", 60, None, CLOSE)
    desk.buy("loc", 30, "10.00", CLOSE)
    # At 9.99 demand is 70 and supply 60: all of moc trades, the loc order before the bid in the book.
    assert said(desk.venue.close_auction("ABC", CLOSING)) == ["loc 30@9.99 auction", "moc 60@9.99 auction"]
    assert desk.venue.book("ABC").depth(5) == (((999, 10),), ((1001, 40),))
    assert desk.buy("late", 10, None, CLOSE)[0].reason == "cut_off"
    assert desk.venue.end_day(CLOSING) == []


def test_other_peoples_on_close_orders_count() -> None:
    desk = Desk()
    desk.buy("loc", 30, "10.00", CLOSE)
    desk.venue.background_on_auction("ABC", BookOrder(next(desk.ids), False, 20, None), CLOSE)
    assert said(desk.venue.close_auction("ABC", CLOSING)) == [
        "loc 20@10 auction",
        "loc CANCELED auction_remainder",
    ]


def test_from_the_cut_off_on_close_orders_cannot_be_entered_cancelled_or_replaced() -> None:
    desk = Desk()
    desk.now_ns = CUTOFF - 1
    desk.buy("moc", 30, None, CLOSE)
    desk.buy("loc", 30, "10.00", CLOSE)
    assert desk.replace("r", "loc", 20, "10.01").kind is K.REPLACED
    assert desk.cancel("c", "moc").kind is K.CANCELED
    desk.now_ns = CUTOFF
    assert desk.buy("late", 30, None, CLOSE)[0].reason == "cut_off"
    assert (desk.cancel("c2", "r").kind, desk.cancel("c3", "r").reason) == (K.CANCEL_REJECT, "cut_off")
    assert (desk.replace("r2", "r", 10, None).kind, desk.replace("r3", "r", 10, None).reason) == (
        K.REPLACE_REJECT,
        "cut_off",
    )
    assert desk.buy("day", 30, "9.00")[0].kind is K.ACK
    assert desk.cancel("c4", "day").kind is K.CANCELED


def test_a_venue_without_auctions_refuses_orders_for_them() -> None:
    venue = MatchingVenue("XSIM", [Listing("ABC")])
    terms = OrderSide.BUY, OrderType.MARKET, CLOSE, D(10), None
    assert venue.submit(VenueNewOrder("XSIM", "a", "ABC", *terms), 1)[0].reason == "unsupported"


@pytest.mark.parametrize(
    ("mode", "reports"),
    [
        ("cancel_newest", ["s CANCELED self_match", "b CANCELED auction_remainder"]),
        ("cancel_oldest", ["b CANCELED self_match", "s CANCELED auction_remainder"]),
        ("cancel_both", ["b CANCELED self_match", "s CANCELED self_match"]),
        ("decrement", ["b RESTATED self_match", "s CANCELED self_match", "b CANCELED auction_remainder"]),
    ],
)
def test_an_auction_prints_nothing_between_orders_of_one_id(mode: str, reports: list[str]) -> None:
    desk = Desk()
    for name, side, qty in (("b", OrderSide.BUY, 30), ("s", OrderSide.SELL, 20)):
        terms = side, OrderType.LIMIT, CLOSE, D(qty), D(10)
        order = VenueNewOrder("XSIM", name, "ABC", *terms, smp_id="FIRM", smp_mode=mode)
        desk.venue.submit(order, MINUTE)
    assert said(desk.venue.close_auction("ABC", CLOSING)) == reports
    assert desk.venue.book("ABC").trades == 0


# -- halts -----------------------------------------------------------------------------------------


def test_in_a_halt_nothing_prints_and_resting_orders_stay() -> None:
    desk = Desk()
    desk.buy("a", 50, "10.00")
    desk.venue.halt("ABC", True)
    assert desk.others(False, 50, 1000) == []
    assert desk.buy("b", 10, "10.00")[0].reason == "halted"
    assert desk.venue.book("ABC").trades == 0
    assert desk.venue.orders()[0].leaves_qty == D(50)
    desk.venue.halt("ABC", False)
    assert said(desk.others(False, 50, 1000)) == ["a 50@10 "]


def test_orders_queue_through_a_halt_where_the_venue_says_so_and_an_auction_resumes() -> None:
    desk = Desk(HaltEntry.QUEUE)
    desk.others(False, 40, 1002)
    desk.venue.halt("ABC", True)
    assert [r.kind for r in desk.buy("a", 50, "10.05")] == [K.ACK]
    assert desk.buy("ioc", 50, "10.05", TimeInForce.IOC)[0].reason == "halted"
    assert desk.replace("a2", "a", 60, "10.06").kind is K.REPLACED
    assert desk.others(False, 30, 1003) == []
    assert (desk.venue.book("ABC").trades, desk.venue.book("ABC").crossed) == (0, True)
    with pytest.raises(ValueError):
        desk.venue.halt("ABC", False)
    with pytest.raises(ValueError):
        desk.venue.close_auction("ABC", desk.now_ns)
    # 70 are offered up to 10.03 and 60 bid: of the offers at 10.03 ten are left over.
    assert said(desk.venue.resume("ABC", desk.now_ns, D("10.05"))) == ["a2 60@10.03 auction"]
    assert (desk.venue.is_halted("ABC"), desk.venue.book("ABC").crossed) == (False, False)


def test_stops_and_pegs_wait_for_the_end_of_a_halt() -> None:
    desk = Desk(HaltEntry.QUEUE)
    desk.others(True, 10, 1000)
    stop = VenueNewOrder(
        "XSIM", "stop", "ABC", OrderSide.SELL, OrderType.STOP, TimeInForce.DAY, D(5), None, stop_px=D("10.01")
    )
    desk.venue.submit(stop, desk.now_ns)
    desk.venue.halt("ABC", True)
    desk.buy("a", 5, "10.01")
    desk.others(False, 5, 1001)
    assert said(desk.venue.resume("ABC", desk.now_ns)) == [
        "a 5@10.01 auction",
        "stop RESTATED triggered",
        "stop 5@10 ",
    ]


def test_a_peg_that_an_auction_fills_is_gone() -> None:
    desk = Desk()
    desk.others(True, 10, 1000)
    terms = OrderSide.BUY, OrderType.PEGGED, TimeInForce.DAY, D(20), None
    desk.venue.submit(VenueNewOrder("XSIM", "peg", "ABC", *terms, peg="PRIMARY"), desk.now_ns)
    desk.sell("moc", 30, None, CLOSE)
    reports = desk.venue.close_auction("ABC", CLOSING)
    assert said(reports) == ["peg 20@10 auction", "moc 30@10 auction"]
    assert [r.kind for r in desk.buy("next", 5, "9.00")] == [K.ACK]
