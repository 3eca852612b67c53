"""Icebergs, hidden orders, stops, pegs and self-match prevention at the matching venue."""

from __future__ import annotations

from decimal import Decimal
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueCancel, VenueNewOrder, VenueReplace, VenueReport
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.matching import Listing, MatchingVenue, OrderRecord
from qtinfra.venues.simulated.selfmatch import SmpMode
from qtinfra.venues.simulated.terms import Peg, PegTerms, peg_price

pytestmark = pytest.mark.unit

D = Decimal
K = ReportKind
T = OrderType
BUY, SELL = OrderSide.BUY, OrderSide.SELL


class Desk:
    """A venue that lists ABC, with short-hand; other people's prices are in cents."""

    def __init__(self) -> None:
        self.venue = MatchingVenue("XSIM", [Listing("ABC")])
        self.ids = count(1)
        self.firms: dict[str, str] = {}

    def new(
        self, cl_ord_id: str, side: OrderSide, kind: OrderType, qty: int, price: str | None, **terms: Any
    ) -> list[VenueReport]:
        limit = None if price is None else D(price)
        tif = terms.pop("tif", TimeInForce.DAY)
        self.firms[cl_ord_id] = terms.get("smp_id", "")
        return self.venue.submit(
            VenueNewOrder("XSIM", cl_ord_id, "ABC", side, kind, tif, D(qty), limit, **terms), 1
        )

    def cancel(self, cl_ord_id: str, orig: str) -> list[VenueReport]:
        return self.venue.submit(VenueCancel("XSIM", cl_ord_id, orig), 1)

    def replace(self, cl_ord_id: str, orig: str, qty: int, price: str | None) -> list[VenueReport]:
        limit = None if price is None else D(price)
        return self.venue.submit(VenueReplace("XSIM", cl_ord_id, orig, D(qty), limit), 1)

    def others(self, buy: bool, units: int, cents: int | None) -> list[VenueReport]:
        order = BookOrder(next(self.ids), buy, units, cents, rests=cents is not None)
        return self.venue.background_add("ABC", order, 2)

    def depth(self, *, own: bool = True) -> tuple[tuple[tuple[int, int], ...], ...]:
        return self.venue.book("ABC").depth(9, own=own)

    def record(self, index: int = -1) -> OrderRecord:
        return self.venue.orders()[index]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def said(reports: list[VenueReport]) -> list[str]:
    return [
        f"{r.cl_ord_id} {r.qty}@{r.px}" if r.kind is K.FILL else f"{r.cl_ord_id} {r.kind} {r.reason}".rstrip()
        for r in reports
    ]


# -- icebergs and hidden orders --------------------------------------------------------------------


def test_an_iceberg_fills_slice_by_slice_and_its_next_slice_waits_behind_the_queue(desk: Desk) -> None:
    desk.new("ice", BUY, T.ICEBERG, 100, "10.00", display_qty=D(20))
    desk.others(True, 30, 1000)
    assert desk.depth() == (((1000, 50),), ())
    assert said(desk.others(False, 25, 1000)) == ["ice 20@10"]
    assert desk.others(False, 25, 1000) == []
    assert said(desk.others(False, 45, 1000)) == ["ice 20@10", "ice 20@10", "ice 5@10"]
    assert (desk.record().cum_qty, desk.record().leaves_qty) == (D(65), D(35))
    assert said(desk.others(False, 99, 1000)) == ["ice 15@10", "ice 20@10"]
    assert not desk.record().live


def test_a_limit_order_with_a_display_quantity_is_an_iceberg(desk: Desk) -> None:
    desk.new("ice", SELL, T.LIMIT, 100, "10.00", display_qty=D(10))
    assert desk.depth() == ((), ((1000, 10),))
    assert desk.depth(own=False) == ((), ())


def test_an_arriving_iceberg_takes_with_its_whole_quantity_first(desk: Desk) -> None:
    desk.others(False, 70, 1000)
    assert said(desk.new("ice", BUY, T.ICEBERG, 100, "10.00", display_qty=D(20)))[1:] == ["ice 70@10"]
    assert desk.depth() == (((1000, 20),), ())


def test_a_hidden_order_is_not_quoted_and_its_fill_says_that_it_was_hidden(desk: Desk) -> None:
    desk.others(True, 10, 999)
    desk.new("dark", BUY, T.LIMIT, 40, "10.00", hidden=True)
    quote = desk.venue.quote("ABC", 1)
    assert quote is not None
    assert (desk.depth(), quote.bids) == ((((999, 10),), ()), ((D("9.99"), D(10)),))
    (fill,) = desk.others(False, 15, 999)
    assert (fill.qty, fill.px, fill.flag) == (D(15), D(10), "hidden")


def test_a_hidden_order_waits_behind_what_is_displayed_at_its_price(desk: Desk) -> None:
    desk.new("dark", BUY, T.LIMIT, 40, "10.00", hidden=True)
    desk.others(True, 30, 1000)
    assert desk.others(False, 30, 1000) == []
    assert said(desk.others(False, 30, 1000)) == ["dark 30@10"]


# -- stops -----------------------------------------------------------------------------------------


def test_a_stop_waits_for_a_trade_at_its_price_and_then_goes_to_the_market(desk: Desk) -> None:
    desk.others(False, 10, 1000)
    desk.others(False, 50, 1002)
    assert said(desk.new("stop", BUY, T.STOP, 20, None, stop_px=D("10.01"))) == ["stop ACK"]
    assert desk.depth()[0] == ()
    assert desk.others(True, 10, 1000) == []
    assert said(desk.others(True, 10, 1002)) == ["stop RESTATED triggered", "stop 20@10.02"]
    assert desk.depth()[1] == ((1002, 20),)


def test_a_stop_limit_rests_at_its_limit_once_triggered(desk: Desk) -> None:
    desk.others(True, 30, 1000)
    desk.new("stop", SELL, T.STOP_LIMIT, 20, "10.01", stop_px=D("10.00"))
    assert said(desk.others(False, 10, 1000)) == ["stop RESTATED triggered"]
    assert desk.depth() == (((1000, 20),), ((1001, 20),))


def test_a_stop_whose_price_has_traded_already_is_triggered_on_arrival(desk: Desk) -> None:
    desk.others(True, 30, 1000)
    desk.others(False, 10, 1000)
    reports = desk.new("stop", SELL, T.STOP, 5, None, stop_px=D("10.05"))
    assert said(reports) == ["stop ACK", "stop RESTATED triggered", "stop 5@10"]


def test_one_stop_may_trigger_the_next_and_they_go_in_order_of_arrival(desk: Desk) -> None:
    for cents, units in ((1000, 10), (999, 10), (998, 10)):
        desk.others(True, units, cents)
    desk.new("second", SELL, T.STOP, 10, None, stop_px=D("9.99"))
    desk.new("first", SELL, T.STOP, 10, None, stop_px=D("10.00"))
    assert said(desk.others(False, 10, 1000)) == [
        "first RESTATED triggered",
        "first 10@9.99",
        "second RESTATED triggered",
        "second 10@9.98",
    ]


def test_a_waiting_stop_can_be_replaced_and_cancelled_and_expires(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.new(name, SELL, T.STOP_LIMIT, 20, "10.00", stop_px=D("10.00"))
    assert said(desk.replace("a2", "a", 30, "9.99")) == ["a2 REPLACED"]
    assert said(desk.cancel("c", "b")) == ["c CANCELED"]
    desk.others(True, 50, 1000)
    assert said(desk.others(False, 5, 1000)) == ["a2 RESTATED triggered", "a2 30@10"]
    desk.new("d", BUY, T.STOP, 20, None, stop_px=D("11.00"))
    assert said(desk.venue.end_day(9)) == ["d EXPIRED end_of_day"]


# -- pegs ------------------------------------------------------------------------------------------


def test_a_primary_peg_follows_its_side_to_its_limit_and_back(desk: Desk) -> None:
    desk.others(True, 10, 1000)
    desk.new("peg", BUY, T.PEGGED, 20, "10.02", peg="PRIMARY")
    assert desk.depth()[0] == ((1000, 30),)
    desk.others(True, 10, 1001)
    assert desk.depth()[0] == ((1001, 30), (1000, 10))
    desk.others(True, 10, 1005)
    assert desk.depth()[0] == ((1005, 10), (1002, 20), (1001, 10), (1000, 10))
    for order_id in (2, 3):
        desk.venue.background_cancel("ABC", order_id, 3)
    desk.venue.requote("ABC", 3)
    assert desk.depth()[0] == ((1000, 30),)


def test_a_peg_does_not_follow_itself_or_another_peg_and_waits_without_a_quote(desk: Desk) -> None:
    desk.others(True, 10, 1000)
    for name in ("a", "b"):
        desk.new(name, BUY, T.PEGGED, 20, None, peg="PRIMARY", peg_offset=D("0.01"))
    assert desk.depth()[0] == ((1001, 40), (1000, 10))
    desk.venue.background_cancel("ABC", 1, 3)
    desk.venue.requote("ABC", 3)
    assert desk.depth()[0] == ()
    assert desk.record().live
    desk.others(True, 10, 990)
    assert desk.depth()[0] == ((991, 40), (990, 10))


def test_a_market_peg_follows_the_other_side_with_its_offset(desk: Desk) -> None:
    desk.others(False, 10, 1010)
    desk.new("peg", BUY, T.PEGGED, 20, None, peg="MARKET", peg_offset=D("-0.03"))
    assert desk.depth()[0] == ((1007, 20),)
    desk.others(False, 10, 1009)
    assert desk.depth()[0] == ((1006, 20),)
    assert said(desk.new("take", BUY, T.PEGGED, 5, None, peg="MARKET")) == ["take ACK", "take 5@10.09"]


def test_a_midpoint_peg_is_hidden_and_gives_the_better_price_to_who_trades_with_it(desk: Desk) -> None:
    desk.others(True, 10, 1000)
    desk.others(False, 10, 1005)
    desk.new("peg", SELL, T.PEGGED, 20, None, peg="MIDPOINT")
    assert desk.depth() == (((1000, 10),), ((1005, 10),))
    assert said(desk.others(True, 5, 1005)) == ["peg 5@10.03"]


@pytest.mark.parametrize(
    ("peg", "is_buy", "offset", "limit", "price"),
    [
        (Peg.PRIMARY, True, 0, None, 1000),
        (Peg.PRIMARY, False, 0, None, 1005),
        (Peg.MARKET, True, -1, None, 1004),
        (Peg.MIDPOINT, True, 0, None, 1002),
        (Peg.MIDPOINT, False, 0, None, 1003),
        (Peg.MIDPOINT, True, 0, 1001, 1001),
        (Peg.MARKET, False, 0, 1003, 1003),
        (Peg.PRIMARY, True, -2000, None, None),
    ],
)
def test_what_a_peg_stands_at_with_1000_bid_and_1005_offered(
    peg: Peg, is_buy: bool, offset: int, limit: int | None, price: int | None
) -> None:
    assert peg_price(PegTerms(peg, offset, limit), is_buy, 1000, 1005) == price


def test_a_replaced_peg_moves_by_its_new_limit_and_a_cancelled_one_is_gone(desk: Desk) -> None:
    desk.others(True, 10, 1000)
    desk.new("peg", BUY, T.PEGGED, 20, "10.02", peg="PRIMARY")
    assert said(desk.replace("p2", "peg", 30, "9.95")) == ["p2 REPLACED"]
    assert desk.depth()[0] == ((1000, 10), (995, 30))
    desk.cancel("c", "p2")
    desk.others(True, 10, 1001)
    assert desk.depth()[0] == ((1001, 10), (1000, 10))


# -- self-match prevention -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reports"),
    [
        ("", ["new ACK", "new CANCELED self_match"]),
        ("cancel_newest", ["new ACK", "new CANCELED self_match"]),
        ("cancel_oldest", ["new ACK", "new 40@10", "old CANCELED self_match"]),
        ("cancel_both", ["new ACK", "old CANCELED self_match", "new CANCELED self_match"]),
        ("decrement", ["new ACK", "new 40@10", "old CANCELED self_match", "new RESTATED self_match"]),
    ],
)
def test_orders_of_one_id_do_not_trade_and_the_reports_say_why(
    desk: Desk, mode: str, reports: list[str]
) -> None:
    desk.new("old", SELL, T.LIMIT, 30, "10.00", smp_id="FIRM")
    desk.others(False, 40, 1000)
    assert said(desk.new("new", BUY, T.LIMIT, 100, "10.00", smp_id="FIRM", smp_mode=mode)) == reports
    assert all(execution.qty == 40 for record in desk.venue.orders() for execution in record.executions)


def test_a_decrement_restates_the_order_that_is_left_to_its_new_total(desk: Desk) -> None:
    desk.new("old", SELL, T.LIMIT, 100, "10.00", smp_id="FIRM")
    desk.others(True, 10, 1000)
    reports = desk.new("new", BUY, T.LIMIT, 30, "10.00", smp_id="FIRM", smp_mode="decrement")
    assert said(reports) == ["new ACK", "old RESTATED self_match", "new CANCELED self_match"]
    assert (reports[1].qty, reports[1].px) == (D(70), D(10))
    old = desk.record(0)
    assert (old.qty, old.cum_qty, old.leaves_qty, old.live) == (D(70), D(10), D(60), True)


def test_different_ids_and_orders_without_one_trade(desk: Desk) -> None:
    desk.new("a", SELL, T.LIMIT, 10, "10.00", smp_id="FIRM")
    desk.new("b", SELL, T.LIMIT, 10, "10.00")
    assert said(desk.new("c", BUY, T.LIMIT, 20, "10.00", smp_id="OTHER"))[1:] == [
        "c 10@10",
        "a 10@10",
        "c 10@10",
        "b 10@10",
    ]


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "price", "terms", "reason"),
    [
        (T.ICEBERG, "10.00", {}, "invalid_display"),
        (T.ICEBERG, "10.00", {"display_qty": D(101)}, "invalid_display"),
        (T.ICEBERG, "10.00", {"display_qty": D("NaN")}, "invalid_display"),
        (T.ICEBERG, None, {"display_qty": D(10)}, "invalid_price"),
        (T.ICEBERG, "10.00", {"display_qty": D(10), "tif": TimeInForce.IOC}, "unsupported"),
        (T.LIMIT, "10.00", {"display_qty": D(10), "hidden": True}, "unsupported"),
        (T.MARKET, None, {"display_qty": D(10)}, "unsupported"),
        (T.STOP, None, {"stop_px": D("10.005")}, "invalid_stop"),
        (T.STOP, None, {"stop_px": D(10), "tif": TimeInForce.IOC}, "unsupported"),
        (T.STOP_LIMIT, None, {"stop_px": D(10)}, "invalid_price"),
        (T.PEGGED, None, {}, "invalid_peg"),
        (T.PEGGED, None, {"peg": "LAST"}, "invalid_peg"),
        (T.PEGGED, None, {"peg": "PRIMARY", "peg_offset": D("0.001")}, "invalid_peg"),
        (T.PEGGED, None, {"peg": "PRIMARY", "peg_offset": D("Infinity")}, "invalid_peg"),
        (T.PEGGED, "10.001", {"peg": "PRIMARY"}, "invalid_price"),
        (T.PEGGED, None, {"peg": "PRIMARY", "min_qty": D(5)}, "unsupported"),
        (T.LIMIT, "10.00", {"smp_id": "F", "smp_mode": "whatever"}, "invalid_smp_mode"),
    ],
)
def test_an_order_whose_instructions_make_no_sense_is_refused(
    desk: Desk, kind: OrderType, price: str | None, terms: dict[str, Any], reason: str
) -> None:
    (report,) = desk.new("a", BUY, kind, 100, price, **terms)
    assert (report.kind, report.reason) == (K.REJECT, reason)


# -- all of it at once -----------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["plain", "iceberg", "hidden", "stop", "peg", "others", "others", "cancel", "replace"]
        ),
        st.booleans(),
        st.integers(1, 9),
        st.integers(998, 1003),
        st.sampled_from(["", "F"]),
        st.sampled_from(list(SmpMode)),
    ),
    max_size=40,
)


def act(desk: Desk, number: int, step: tuple[str, bool, int, int, str, SmpMode]) -> list[VenueReport]:
    verb, is_buy, qty, cents, smp, mode = step
    name, side, price = f"n{number}", BUY if is_buy else SELL, f"{D(cents) / 100}"
    terms = {"smp_id": smp, "smp_mode": mode.value}
    match verb:
        case "plain":
            return desk.new(name, side, T.LIMIT, qty, price, **terms)
        case "iceberg":
            return desk.new(name, side, T.ICEBERG, qty, price, display_qty=D(min(qty, 2)), **terms)
        case "hidden":
            return desk.new(name, side, T.LIMIT, qty, price, hidden=True, **terms)
        case "stop":
            return desk.new(name, side, T.STOP_LIMIT, qty, price, stop_px=D(price), **terms)
        case "peg":
            return desk.new(name, side, T.PEGGED, qty, price, peg=list(Peg)[qty % 3].value, **terms)
        case "others":
            return desk.others(is_buy, qty, cents)
    known = f"n{cents % max(number, 1)}"
    return desk.cancel(name, known) if verb == "cancel" else desk.replace(name, known, qty, price)


def firm(desk: Desk, fill: VenueReport) -> bool:
    """Whether the order of a fill carries a self-match prevention id, by the step that sent it."""
    record = next(r for r in desk.venue.orders() if fill.cl_ord_id in r.cl_ord_ids)
    return desk.firms[record.cl_ord_ids[0]] != ""


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_reports_add_up_to_the_record_and_no_id_trades_with_itself(
    steps: list[tuple[str, bool, int, int, str, SmpMode]],
) -> None:
    desk, filled = Desk(), D(0)
    book = desk.venue.book("ABC")
    for number, step in enumerate(steps):
        before = book.traded_units
        reports = act(desk, number, step)
        fills = [report for report in reports if report.kind is K.FILL]
        filled += sum((report.quantity for report in fills), D(0))
        assert sum((report.quantity for report in fills), D(0)) <= 2 * (book.traded_units - before)
        assert not book.crossed
        for taken, made in pairwise(fills):
            met = (taken.liquidity, made.liquidity) == (Liquidity.REMOVED, Liquidity.ADDED)
            assert not met or not firm(desk, taken) or not firm(desk, made)
    records = desk.venue.orders()
    assert sum((record.cum_qty for record in records), D(0)) == filled
    for record in records:
        assert record.live is (record.leaves_qty > 0)
        assert not record.live or record.cum_qty + record.leaves_qty == record.qty
    resting = sum(o.leaves for buys in (True, False) for o in book.resting(buys) if o.own)
    waiting = sum(record.leaves_qty for record in records) - resting
    assert waiting >= 0
