"""The midpoint pool: its price, its minimum quantities, and when it does not trade."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.market import VenueQuote
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueCancel, VenueNewOrder, VenueReplace, VenueReport
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.dark import DarkVenue, midpoint
from qtinfra.venues.simulated.model import VenueModel
from qtinfra.venues.simulated.orders import Listing

pytestmark = pytest.mark.unit

D = Decimal
K = ReportKind
BUY, SELL = OrderSide.BUY, OrderSide.SELL


def quoted(bid: str | None, ask: str | None, live: bool = True) -> VenueQuote:
    bids = ((D(bid), D(100)),) if bid is not None else ()
    asks = ((D(ask), D(100)),) if ask is not None else ()
    return VenueQuote("NBBO", bids, asks, 1, live)


class Desk:
    """A pool for ABC under a reference that a test sets."""

    def __init__(self) -> None:
        self.reference: VenueQuote | None = quoted("10.00", "10.01")
        self.venue = DarkVenue("XDRK", [Listing("ABC")], lambda symbol, now_ns: self.reference, "2024-07-08")
        self.ids = count(1)

    def new(
        self, cl_ord_id: str, side: OrderSide, qty: int, price: str | None = None, **terms: Any
    ) -> list[VenueReport]:
        kind = terms.pop("kind", OrderType.LIMIT if price is not None else OrderType.PEGGED)
        tif = terms.pop("tif", TimeInForce.DAY)
        peg = "MIDPOINT" if kind is OrderType.PEGGED else ""
        terms = {"peg": peg, "min_qty": D(terms.pop("min_qty", 0)), **terms}
        limit = None if price is None else D(price)
        return self.venue.submit(
            VenueNewOrder("XDRK", cl_ord_id, "ABC", side, kind, tif, D(qty), limit, **terms), 1
        )

    def others(self, buy: bool, units: int, cents: int | None = None, minimum: int = 0) -> list[VenueReport]:
        order = BookOrder(next(self.ids), buy, units, cents, minimum=minimum)
        return self.venue.background_add("ABC", order, 2)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def said(reports: list[VenueReport]) -> list[str]:
    return [
        f"{r.cl_ord_id} {r.qty}@{r.px}" if r.kind is K.FILL else f"{r.cl_ord_id} {r.kind} {r.reason}".rstrip()
        for r in reports
    ]


@pytest.mark.parametrize(
    ("quote", "price"),
    [
        (quoted("10.00", "10.01"), "10.005"),
        (quoted("10.00", "10.02"), "10.01"),
        (quoted("10.00", "10.00"), None),
        (quoted("10.01", "10.00"), None),
        (quoted("10.00", None), None),
        (quoted("10.00", "10.01", live=False), None),
        (None, None),
    ],
)
def test_the_price_is_the_exact_middle_of_a_live_quote_that_is_not_locked_or_crossed(
    desk: Desk, quote: VenueQuote | None, price: str | None
) -> None:
    desk.reference = quote
    desk.new("a", BUY, 10)
    fills = [report.px for report in desk.others(False, 10)]
    assert fills == ([] if price is None else [D(price)])
    assert midpoint(quote) == (None if price is None else D(price))


def test_orders_meet_in_time_order_and_fills_say_that_they_are_at_the_midpoint(desk: Desk) -> None:
    model: VenueModel = desk.venue
    desk.new("first", BUY, 10)
    desk.new("second", BUY, 10, "10.50")
    reports = desk.new("taker", SELL, 15, "9.00", tif=TimeInForce.IOC)
    assert said(reports) == [
        "taker ACK",
        "taker 10@10.005",
        "first 10@10.005",
        "taker 5@10.005",
        "second 5@10.005",
    ]
    assert {report.flag for report in reports[1:]} == {"midpoint"}
    quote = model.quote("ABC", 1)
    assert quote is not None
    assert (quote.bids, quote.asks, model.quote("XYZ", 1)) == ((), (), None)


def test_a_limit_worse_than_the_midpoint_waits_until_the_reference_comes_to_it(desk: Desk) -> None:
    desk.new("a", BUY, 10, "10.00")
    assert said(desk.new("b", SELL, 10, "9.99")) == ["b ACK"]
    assert desk.venue.reference_changed("ABC", 3) == []
    desk.reference = quoted("9.98", "10.00")
    assert said(desk.venue.reference_changed("ABC", 3)) == ["a 10@9.99", "b 10@9.99"]


def test_a_resting_minimum_keeps_small_orders_away(desk: Desk) -> None:
    desk.new("big", BUY, 1_000, min_qty=500)
    assert desk.others(False, 400) == []
    assert said(desk.others(False, 600)) == ["big 600@10.005"]
    assert said(desk.others(False, 300)) == []
    assert said(desk.others(False, 450)) == ["big 400@10.005"]


@pytest.mark.parametrize(
    ("there", "reports"),
    [
        (400, ["a ACK", "a CANCELED min_qty"]),
        (600, ["a ACK", "a 300@10.005", "a 300@10.005", "a CANCELED ioc"]),
    ],
)
def test_ioc_1000_with_a_minimum_of_500_counts_all_that_it_meets(
    desk: Desk, there: int, reports: list[str]
) -> None:
    for _ in range(2):
        desk.others(False, there // 2)
    assert said(desk.new("a", BUY, 1_000, "10.05", tif=TimeInForce.IOC, min_qty=500)) == reports


def test_fill_or_kill_trades_all_or_nothing(desk: Desk) -> None:
    desk.others(False, 900)
    assert said(desk.new("a", BUY, 1_000, "10.05", tif=TimeInForce.FOK)) == ["a ACK", "a CANCELED fok"]
    assert said(desk.new("b", BUY, 900, "10.05", tif=TimeInForce.FOK)) == ["b ACK", "b 900@10.005"]


def test_fewer_units_keep_the_place_and_a_cancelled_order_trades_no_more(desk: Desk) -> None:
    desk.new("a", BUY, 20)
    desk.new("b", BUY, 20)
    desk.venue.submit(VenueReplace("XDRK", "a2", "a", D(10), None), 1)
    desk.venue.submit(VenueCancel("XDRK", "c", "b"), 1)
    assert said(desk.others(False, 50)) == ["a2 10@10.005"]


@pytest.mark.parametrize(
    ("mode", "reports"),
    [
        ("cancel_newest", ["new ACK", "new CANCELED self_match"]),
        ("cancel_oldest", ["new ACK", "old CANCELED self_match", "new 5@10.005"]),
        ("cancel_both", ["new ACK", "old CANCELED self_match", "new CANCELED self_match"]),
        ("decrement", ["new ACK", "old CANCELED self_match", "new RESTATED self_match", "new 5@10.005"]),
    ],
)
def test_orders_of_one_id_do_not_trade(desk: Desk, mode: str, reports: list[str]) -> None:
    desk.new("old", SELL, 30, smp_id="F")
    desk.others(False, 5)
    assert said(desk.new("new", BUY, 50, smp_id="F", smp_mode=mode)) == reports


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"kind": OrderType.STOP, "price": "10.00"}, "unsupported"),
        ({"price": "10.00", "display_qty": D(5)}, "unsupported"),
        ({"peg": "PRIMARY"}, "invalid_peg"),
        ({"price": "10.005"}, "invalid_price"),
        ({"price": "10.00", "min_qty": 11}, "invalid_qty"),
        ({"price": "10.00", "tif": TimeInForce.AT_CLOSE}, "unsupported"),
    ],
)
def test_what_the_pool_does_not_do_is_refused(desk: Desk, terms: dict[str, Any], reason: str) -> None:
    (report,) = desk.new("a", BUY, 10, **terms)
    assert (report.kind, report.reason) == (K.REJECT, reason)


def test_day_orders_expire_and_a_closed_pool_refuses(desk: Desk) -> None:
    desk.new("a", BUY, 10)
    assert said(desk.venue.end_day(9)) == ["a EXPIRED end_of_day"]
    assert desk.new("b", BUY, 10)[0].reason == "closed"


ORDERS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 9), st.integers(998, 1003), st.integers(0, 9)), max_size=20
)


@settings(max_examples=150, deadline=None)
@given(ORDERS)
def test_every_fill_is_inside_its_limit_and_meets_the_minimum_of_both_orders(
    orders: list[tuple[bool, int, int, int]],
) -> None:
    desk = Desk()
    for number, (is_buy, units, cents, minimum) in enumerate(orders):
        least = min(minimum, units)
        before = {r.cl_ord_ids[0]: r.leaves_qty for r in desk.venue.orders()}
        reports = desk.new(f"n{number}", BUY if is_buy else SELL, units, f"{D(cents) / 100}", min_qty=least)
        fills = [report for report in reports if report.kind is K.FILL]
        own = [report.quantity for report in fills if report.cl_ord_id == f"n{number}"]
        assert not own or sum(own) >= least
        for report in fills:
            is_buy_there, _, limit, least_there = orders[int(report.cl_ord_id[1:])]
            assert report.px == D("10.005")
            assert (D("10.005") - D(limit) / 100) * (1 if is_buy_there else -1) <= 0
            if report.cl_ord_id in before:
                assert report.quantity >= min(D(least_there), before[report.cl_ord_id])
