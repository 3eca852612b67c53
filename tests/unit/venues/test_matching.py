"""The matching venue: what it reports for our messages and for what other people do to our orders."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    ToVenue,
    VenueCancel,
    VenueMassStatusRequest,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.market import CONFIRMED_EVERY_NS
from qtinfra.venues.simulated.matching import Listing, MatchingVenue, OrderRecord
from qtinfra.venues.simulated.model import VenueModel, VenueSession

pytestmark = pytest.mark.unit

NOW = 1_000
D = Decimal
ACK, FILL, CANCELED, REJECT = ReportKind.ACK, ReportKind.FILL, ReportKind.CANCELED, ReportKind.REJECT
CANCEL_REJECT, REPLACED = ReportKind.CANCEL_REJECT, ReportKind.REPLACED
REPLACE_REJECT, STATUS = ReportKind.REPLACE_REJECT, ReportKind.STATUS


class Desk:
    """Shorthand for messages to one venue that lists ABC."""

    def __init__(self) -> None:
        self.venue = MatchingVenue("XSIM", [Listing("ABC"), Listing("XYZ", D("0.05"), D(10))], "2024-07-08")
        self.ids = count(1)

    def new(
        self,
        cl_ord_id: str,
        qty: int | str,
        price: str | None,
        *,
        side: OrderSide = OrderSide.BUY,
        tif: TimeInForce = TimeInForce.DAY,
        order_type: OrderType | None = None,
        min_qty: int = 0,
        symbol: str = "ABC",
    ) -> list[VenueReport]:
        kind = order_type or (OrderType.MARKET if price is None else OrderType.LIMIT)
        limit = None if price is None else D(price)
        return self.send(
            VenueNewOrder("XSIM", cl_ord_id, symbol, side, kind, tif, D(qty), limit, min_qty=D(min_qty))
        )

    def cancel(self, cl_ord_id: str, orig: str) -> VenueReport:
        (report,) = self.send(VenueCancel("XSIM", cl_ord_id, orig))
        return report

    def replace(self, cl_ord_id: str, orig: str, qty: int, price: str | None) -> list[VenueReport]:
        return self.send(VenueReplace("XSIM", cl_ord_id, orig, D(qty), None if price is None else D(price)))

    def status(self, cl_ord_id: str) -> VenueReport:
        (report,) = self.send(VenueStatusRequest("XSIM", cl_ord_id))
        return report

    def send(self, message: ToVenue) -> list[VenueReport]:
        return self.venue.submit(message, NOW)

    def others(self, buy: bool, units: int, price: int | None) -> list[VenueReport]:
        """Somebody else's order; price in cents."""
        order = BookOrder(next(self.ids), buy, units, price, rests=price is not None)
        return self.venue.background_add("ABC", order, NOW + 1)

    def record(self, index: int = -1) -> OrderRecord:
        return self.venue.orders()[index]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def kinds(reports: list[VenueReport]) -> list[ReportKind]:
    return [report.kind for report in reports]


def fills(reports: list[VenueReport]) -> list[tuple[Decimal, Decimal | None]]:
    return [(report.quantity, report.px) for report in reports if report.kind is FILL]


# new orders


def test_a_resting_order_is_acknowledged_with_the_venues_id(desk: Desk) -> None:
    model: VenueModel = desk.venue
    (ack,) = desk.new("a", 100, "10.00")
    assert (ack.kind, ack.cl_ord_id, ack.venue, ack.trade_date) == (ACK, "a", model.mic, "2024-07-08")
    assert ack.venue_order_id
    assert ack.source_ns == NOW


def test_an_aggressive_order_is_acknowledged_then_filled_as_removing_liquidity(desk: Desk) -> None:
    desk.others(False, 60, 1000)
    desk.others(False, 60, 1001)
    reports = desk.new("a", 100, "10.01")
    assert kinds(reports) == [ACK, FILL, FILL]
    assert fills(reports) == [(D(60), D("10")), (D(40), D("10.01"))]
    assert all(report.liquidity is Liquidity.REMOVED for report in reports[1:])
    assert all(report.queue_ahead is None for report in reports)
    assert not desk.record().live


def test_a_passive_fill_names_the_quantity_that_stood_before_us_on_arrival(desk: Desk) -> None:
    desk.others(True, 70, 1000)
    desk.others(True, 30, 1000)
    desk.new("a", 100, "10.00")
    desk.others(True, 500, 1000)
    assert desk.others(False, 100, 1000) == []
    (fill,) = desk.others(False, 40, 1000)
    assert (fill.liquidity, fill.queue_ahead, fill.qty) == (Liquidity.ADDED, D(100), D(40))
    assert fill.source_ns == NOW + 1


def test_execution_ids_are_unique_at_the_venue(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.new("b", 100, "10.00", side=OrderSide.SELL)
    desk.others(False, 10, 1001)
    desk.new("c", 10, "10.01")
    ids = [execution.exec_id for record in desk.venue.orders() for execution in record.executions]
    assert len(ids) == len(set(ids)) == 3


def test_two_orders_of_ours_that_meet_are_both_filled(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    reports = desk.new("b", 100, "9.99", side=OrderSide.SELL_SHORT)
    assert [(r.kind, r.cl_ord_id, r.liquidity) for r in reports[1:]] == [
        (FILL, "b", Liquidity.REMOVED),
        (FILL, "a", Liquidity.ADDED),
    ]


def test_the_remainder_of_an_ioc_is_canceled_without_being_asked(desk: Desk) -> None:
    desk.others(False, 900, 1000)
    reports = desk.new("a", 1_000, "10.00", tif=TimeInForce.IOC)
    assert kinds(reports) == [ACK, FILL, CANCELED]
    assert (reports[-1].orig_cl_ord_id, reports[-1].reason) == ("", "ioc")
    assert (desk.record().cum_qty, desk.record().leaves_qty) == (D(900), D(0))


def test_fok_1000_against_900_is_canceled_without_a_fill(desk: Desk) -> None:
    desk.others(False, 900, 1000)
    reports = desk.new("a", 1_000, "10.00", tif=TimeInForce.FOK)
    assert kinds(reports) == [ACK, CANCELED]
    assert reports[-1].reason == "fok"


@pytest.mark.parametrize(("there", "filled", "reason"), [(400, 0, "min_qty"), (600, 600, "ioc")])
def test_ioc_1000_with_minimum_500(desk: Desk, there: int, filled: int, reason: str) -> None:
    desk.others(False, there, 1000)
    reports = desk.new("a", 1_000, "10.00", tif=TimeInForce.IOC, min_qty=500)
    assert sum(qty for qty, _ in fills(reports)) == filled
    assert (reports[-1].kind, reports[-1].reason) == (CANCELED, reason)


def test_a_market_order_sweeps_and_its_remainder_is_canceled(desk: Desk) -> None:
    desk.others(False, 10, 1000)
    desk.others(False, 10, 1500)
    reports = desk.new("a", 50, None)
    assert fills(reports) == [(D(10), D(10)), (D(10), D(15))]
    assert (reports[-1].kind, reports[-1].reason) == (CANCELED, "no_liquidity")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"symbol": "NONE"}, "unknown_symbol"),
        ({"price": "10.005"}, "invalid_price"),
        ({"price": "0"}, "invalid_price"),
        ({"price": "-1"}, "invalid_price"),
        ({"price": None, "order_type": OrderType.LIMIT}, "invalid_price"),
        ({"order_type": OrderType.STOP}, "invalid_stop"),
        ({"order_type": OrderType.TRAILING_STOP}, "unsupported"),
        ({"tif": TimeInForce.AT_CLOSE}, "unsupported"),
        ({"min_qty": 50}, "unsupported"),
        ({"min_qty": 101, "tif": TimeInForce.IOC}, "invalid_qty"),
        ({"qty": "0"}, "invalid_qty"),
        ({"qty": "0.5"}, "invalid_qty"),
        ({"qty": "15", "symbol": "XYZ"}, "invalid_qty"),
        ({"price": "10.01", "symbol": "XYZ"}, "invalid_price"),
    ],
)
def test_a_bad_order_is_rejected_with_its_reason(desk: Desk, changes: dict[str, object], reason: str) -> None:
    terms: dict[str, object] = {"qty": 100, "price": "10.00", **changes}
    (report,) = desk.new("a", **terms)  # type: ignore[arg-type]
    assert (report.kind, report.reason, report.cl_ord_id) == (REJECT, reason, "a")
    assert desk.record().rejected
    status = desk.status("a")
    assert (status.kind, status.live, status.cum_qty, status.leaves_qty) == (STATUS, False, D(0), D(0))
    assert desk.cancel("b", "a").reason == "too_late"


def test_a_second_order_under_the_same_id_is_rejected_and_the_first_untouched(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    (report,) = desk.new("a", 200, "11.00")
    assert (report.kind, report.reason) == (REJECT, "duplicate_cl_ord_id")
    assert desk.status("a").leaves_qty == D(100)
    assert len(desk.venue.orders()) == 1


def test_a_message_that_no_venue_knows_is_an_error(desk: Desk) -> None:
    with pytest.raises(TypeError):
        desk.send(ToVenue("XSIM", "a"))


# halt, close


def test_while_halted_nothing_trades_but_orders_can_be_cancelled(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.new("b", 100, "10.00")
    desk.venue.halt("ABC", True)
    assert desk.new("c", 100, "10.00")[0].reason == "halted"
    assert desk.replace("d", "a", 50, None)[0].reason == "halted"
    assert desk.others(False, 500, 1000) == []
    assert desk.venue.book("ABC").trades == 0
    assert desk.cancel("e", "a").kind is CANCELED
    desk.venue.halt("ABC", False)
    assert fills(desk.others(False, 500, 1000)) == [(D(100), D(10))]


def test_day_orders_expire_at_the_close_and_gtc_orders_go_on(desk: Desk) -> None:
    desk.new("day", 100, "10.00")
    desk.new("gtc", 100, "9.00", tif=TimeInForce.GTC)
    (expired,) = desk.venue.end_day(NOW + 5)
    assert (expired.kind, expired.cl_ord_id) == (ReportKind.EXPIRED, "day")
    assert desk.new("late", 100, "10.00")[0].reason == "closed"
    assert desk.replace("r", "gtc", 50, None)[0].reason == "closed"
    assert desk.others(False, 100, 900) == []
    desk.venue.start_day("2024-07-09")
    (fill,) = desk.others(False, 100, 900)
    assert (fill.cl_ord_id, fill.trade_date) == ("gtc", "2024-07-09")


# cancels


def test_a_cancel_answers_with_both_ids_and_keeps_what_had_traded(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.others(False, 30, 1000)
    report = desk.cancel("b", "a")
    assert (report.kind, report.cl_ord_id, report.orig_cl_ord_id) == (CANCELED, "b", "a")
    record = desk.record()
    assert (record.cum_qty, record.leaves_qty, record.live) == (D(30), D(0), False)


def test_a_cancel_after_the_last_fill_is_too_late(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.others(False, 100, 1000)
    report = desk.cancel("b", "a")
    assert (report.kind, report.reason, report.orig_cl_ord_id) == (CANCEL_REJECT, "too_late", "a")


def test_a_cancel_of_an_order_never_seen_is_refused_as_unknown(desk: Desk) -> None:
    assert desk.cancel("b", "a").reason == "unknown_order"
    assert desk.status("b").kind is ReportKind.UNKNOWN_ORDER


def test_an_id_used_before_is_refused_for_cancels_and_replaces(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    assert desk.cancel("a", "a").reason == "duplicate_cl_ord_id"
    assert desk.replace("a", "a", 50, None)[0].reason == "duplicate_cl_ord_id"
    assert desk.status("a").live


# replaces


def test_a_smaller_quantity_at_the_same_price_keeps_the_place_in_the_queue(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.others(True, 100, 1000)
    (report,) = desk.replace("b", "a", 60, "10.00")
    assert (report.kind, report.cl_ord_id, report.orig_cl_ord_id) == (REPLACED, "b", "a")
    assert fills(desk.others(False, 60, 1000)) == [(D(60), D(10))]


def test_a_larger_quantity_goes_to_the_end_of_the_queue(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.others(True, 80, 1000)
    desk.replace("b", "a", 110, "10.00")
    assert desk.others(False, 80, 1000) == []
    (fill,) = desk.others(False, 110, 1000)
    assert (fill.cl_ord_id, fill.qty, fill.queue_ahead) == ("b", D(110), D(80))


def test_a_replaced_price_that_crosses_trades_after_the_confirmation(desk: Desk) -> None:
    desk.others(False, 40, 1001)
    desk.new("a", 100, "10.00")
    reports = desk.replace("b", "a", 100, "10.01")
    assert kinds(reports) == [REPLACED, FILL]
    assert (reports[1].cl_ord_id, reports[1].liquidity) == ("b", Liquidity.REMOVED)
    assert desk.status("b").leaves_qty == D(60)


def test_the_new_quantity_is_the_total_with_what_has_traded(desk: Desk) -> None:
    desk.new("a", 10_000, "10.00")
    desk.others(False, 1_600, 1000)
    desk.replace("b", "a", 8_000, None)
    status = desk.status("b")
    assert (status.qty, status.cum_qty, status.leaves_qty) == (D(8_000), D(1_600), D(6_400))


@pytest.mark.parametrize("qty", [30, 20])
def test_a_replace_to_what_has_traded_or_less_cancels_the_balance(desk: Desk, qty: int) -> None:
    desk.new("a", 100, "10.00")
    desk.others(False, 30, 1000)
    assert kinds(desk.replace("b", "a", qty, "10.00")) == [REPLACED]
    assert (desk.record().live, desk.record().leaves_qty) == (False, D(0))
    assert desk.venue.book("ABC").best_bid() is None


def test_a_replace_of_a_filled_or_unknown_order_is_refused(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.others(False, 100, 1000)
    assert [(r.kind, r.reason) for r in desk.replace("b", "a", 200, None)] == [(REPLACE_REJECT, "too_late")]
    assert desk.replace("c", "never", 200, None)[0].reason == "unknown_order"


@pytest.mark.parametrize(
    ("qty", "price", "reason"), [(100, "10.005", "invalid_price"), (0, "10.00", "invalid_qty")]
)
def test_a_replace_with_bad_terms_changes_nothing(desk: Desk, qty: int, price: str, reason: str) -> None:
    desk.new("a", 100, "10.00")
    assert desk.replace("b", "a", qty, price)[0].reason == reason
    assert desk.record().cl_ord_ids == ("a",)
    assert desk.status("a").leaves_qty == D(100)


def test_a_replaced_order_goes_by_its_new_id_and_old_ids_still_resolve(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.replace("b", "a", 90, None)
    (report,) = desk.replace("c", "b", 80, None)
    assert (report.cl_ord_id, report.orig_cl_ord_id) == ("c", "b")
    assert desk.others(False, 10, 1000)[0].cl_ord_id == "c"
    assert [desk.status(name).leaves_qty for name in "abc"] == [D(70)] * 3
    assert desk.record().cl_ord_ids == ("a", "b", "c")
    assert desk.cancel("d", "c").orig_cl_ord_id == "c"


# status


def test_status_tells_what_the_venue_knows(desk: Desk) -> None:
    desk.new("a", 100, "10.00")
    desk.others(False, 30, 1000)
    status = desk.status("a")
    assert (status.kind, status.cl_ord_id, status.live) == (STATUS, "a", True)
    assert (status.cum_qty, status.leaves_qty) == (D(30), D(70))


def test_an_id_never_seen_is_answered_as_unknown(desk: Desk) -> None:
    assert desk.status("never").kind is ReportKind.UNKNOWN_ORDER


def test_mass_status_lists_open_orders_and_then_ends(desk: Desk) -> None:
    for name in "abc":
        desk.new(name, 100, "10.00")
    desk.cancel("x", "b")
    reports = desk.send(VenueMassStatusRequest("XSIM", "m"))
    assert [(report.kind, report.cl_ord_id) for report in reports] == [
        (STATUS, "a"),
        (STATUS, "c"),
        (ReportKind.MASS_STATUS_END, "m"),
    ]


# quotes


def test_the_quote_leaves_our_own_orders_out(desk: Desk) -> None:
    desk.others(True, 50, 999)
    desk.new("a", 100, "10.00")
    desk.new("b", 100, "9.99")
    quote = desk.venue.quote("ABC", NOW)
    assert quote is not None
    assert (quote.venue, quote.bids, quote.asks) == ("XSIM", ((D("9.99"), D(50)),), ())
    assert desk.venue.quote("NONE", NOW) is None


def test_the_quote_shows_five_levels_and_follows_the_book(desk: Desk) -> None:
    for cents in range(1000, 1007):
        desk.others(False, 10, cents)
    first = desk.venue.quote("ABC", NOW)
    desk.others(True, 10, 1000)
    second = desk.venue.quote("ABC", NOW)
    assert first is not None
    assert second is not None
    assert (len(first.asks), first.asks[0], second.asks[0]) == (5, (D(10), D(10)), (D("10.01"), D(10)))


def test_a_quote_stays_as_it_is_while_our_own_orders_come_and_go_and_is_confirmed_in_time(desk: Desk) -> None:
    venue = desk.venue
    desk.others(True, 50, 999)
    first = venue.quote("ABC", NOW)
    assert first is not None
    own = VenueNewOrder("XSIM", "a", "ABC", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, D(5), D("9.98"))
    venue.submit(own, NOW + 1)
    assert venue.quote("ABC", NOW) is first
    venue.submit(VenueCancel("XSIM", "b", "a"), first.ts_ns + CONFIRMED_EVERY_NS - 1)
    assert venue.quote("ABC", NOW) is first
    venue.submit(msgspec.structs.replace(own, cl_ord_id="c"), first.ts_ns + CONFIRMED_EVERY_NS)
    confirmed = venue.quote("ABC", NOW)
    assert confirmed == msgspec.structs.replace(first, ts_ns=first.ts_ns + CONFIRMED_EVERY_NS)


def test_what_others_do_beyond_the_displayed_levels_leaves_the_quote_as_it_is(desk: Desk) -> None:
    for cents in range(1000, 1006):
        desk.others(False, 10, cents)
    first = desk.venue.quote("ABC", NOW)
    desk.others(False, 10, 1005)
    assert desk.venue.quote("ABC", NOW) is first
    desk.others(False, 10, 1004)
    second = desk.venue.quote("ABC", NOW)
    assert second is not None
    assert second.asks[-1] == (D("10.04"), D(20))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(1, 9), st.integers(995, 1005), st.integers(0, 3)),
        max_size=30,
    )
)
def test_a_quote_is_always_what_the_book_displays_without_our_orders(
    steps: list[tuple[bool, bool, int, int, int]],
) -> None:
    desk, names = Desk(), count()
    grid = desk.venue._markets["ABC"].grid
    for ours, buy, units, ticks, what in steps:
        name = next(names)
        if ours:
            side = OrderSide.BUY if buy else OrderSide.SELL
            desk.new(f"o{name}", units, f"{ticks / 100:.2f}", side=side)
            if what == 0:
                desk.send(VenueCancel("XSIM", f"c{name}", f"o{name}"))
            elif what == 1:
                desk.send(VenueReplace("XSIM", f"r{name}", f"o{name}", D(units + 1), None))
        elif what:
            desk.others(buy, units, ticks)
        else:
            others = [order.order_id for order in desk.venue.book("ABC").resting(buy) if not order.own]
            if others:
                desk.venue.background_cancel("ABC", others[0], NOW)
        quote = desk.venue.quote("ABC", NOW)
        assert quote is not None
        shown = tuple(
            tuple((grid.price(price), grid.quantity(size)) for price, size in side)
            for side in desk.venue.book("ABC").depth(5, own=False)
        )
        assert (quote.bids, quote.asks) == shown


# busts and corrections


def test_a_bust_and_a_correction_name_the_original_and_count_at_the_venue(desk: Desk) -> None:
    desk.new("a", 10_000, "110.00")
    first = desk.others(False, 1_000, 11000)[0].exec_id
    second = desk.others(False, 9_000, 11000)[0].exec_id
    (bust,) = desk.venue.bust(first, NOW)
    (correct,) = desk.venue.correct(second, D(9_000), D("100.035"), NOW)
    assert (bust.kind, bust.ref_exec_id, bust.cl_ord_id) == (ReportKind.BUST, first, "a")
    assert (correct.kind, correct.ref_exec_id) == (ReportKind.CORRECT, second)
    assert (correct.qty, correct.px) == (D(9_000), D("100.035"))
    record = desk.record()
    assert (record.cum_qty, record.leaves_qty) == (D(9_000), D(0))
    assert [(e.busted, e.px) for e in record.executions] == [(True, D(110)), (False, D("100.035"))]


def test_an_execution_is_busted_once_and_only_if_it_exists(desk: Desk) -> None:
    desk.new("a", 10, "10.00")
    exec_id = desk.others(False, 10, 1000)[0].exec_id
    desk.venue.bust(exec_id)
    with pytest.raises(ValueError):
        desk.venue.bust(exec_id)
    with pytest.raises(ValueError):
        desk.venue.correct(exec_id, D(1), D(1))
    with pytest.raises(ValueError):
        desk.venue.correct(exec_id, D(0), D(1))
    busts_id = desk.venue.orders()[0].executions[0].exec_id.replace("-E1", "-E2")
    for unknown in ("never", exec_id.replace("-E", "-E0"), "OTHER-E1", "XSIM-E0", "XSIM-E99", busts_id):
        with pytest.raises(KeyError):
            desk.venue.bust(unknown)


# the other side of the market


def test_other_people_can_cancel_their_orders_but_not_ours(desk: Desk) -> None:
    desk.others(True, 50, 999)
    desk.new("a", 100, "10.00")
    assert desk.venue.background_cancel("ABC", 1, NOW)
    assert not desk.venue.background_cancel("ABC", 1, NOW)
    assert not desk.venue.background_cancel("ABC", -1, NOW)
    assert desk.status("a").live
    with pytest.raises(ValueError):
        desk.venue.background_add("ABC", BookOrder(-1, True, 1, 1), NOW)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["new", "cancel", "replace", "others", "bust"]),
        st.booleans(),
        st.integers(1, 8),
        st.integers(998, 1002),
        st.sampled_from([TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
        st.integers(0, 9),
    ),
    max_size=40,
)
Step = tuple[str, bool, int, int, TimeInForce, int]


def act(desk: Desk, step: Step, name: str, known: list[str]) -> list[VenueReport]:
    verb, is_buy, units, cents, tif, pick = step
    price = f"{cents // 100}.{cents % 100:02}"
    if verb == "new":
        known.append(name)
        return desk.new(name, units, price, side=OrderSide.BUY if is_buy else OrderSide.SELL, tif=tif)
    if verb == "others":
        return desk.others(is_buy, units, cents)
    if not known:
        return []
    orig = known[pick % len(known)]
    if verb == "cancel":
        return [desk.cancel(name, orig)]
    if verb == "replace":
        known.append(name)
        return desk.replace(name, orig, units, price)
    live = [e.exec_id for record in desk.venue.orders() for e in record.executions if not e.busted]
    return desk.venue.bust(live[pick % len(live)]) if live else []


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_venues_record_is_what_its_reports_add_up_to(steps: list[Step]) -> None:
    desk, known = Desk(), list[str]()
    session = VenueSession(desk.venue, "S")
    traded: dict[str, Decimal] = {}
    for number, step in enumerate(steps):
        for report in session.stamp(act(desk, step, f"n{number}", known)):
            if report.kind is FILL:
                traded[report.exec_id] = report.quantity
            elif report.kind is ReportKind.BUST:
                del traded[report.ref_exec_id]
    records = desk.venue.orders()
    assert sum(record.cum_qty for record in records) == sum(traded.values())
    resting = sum(units for side in desk.venue.book("ABC").depth(99) for _, units in side)
    others = sum(units for side in desk.venue.book("ABC").depth(99, own=False) for _, units in side)
    assert sum(record.leaves_qty for record in records) == resting - others
    assert all(record.leaves_qty > 0 for record in records if record.live)
    assert [report.seq for report in session.resend(0)] == list(range(1, session.last_seq + 1))


# the short way of a session


class LongWay:
    """A venue that `VenueSession` knows no short way of."""

    def __init__(self, venue: MatchingVenue) -> None:
        self.mic, self.submit, self.quote = venue.mic, venue.submit, venue.quote


class Pair:
    """Two equal venues behind their sessions; one session may take the short way, the other one cannot."""

    def __init__(self) -> None:
        self.venues = [Desk().venue, Desk().venue]
        models: list[VenueModel] = [self.venues[0], LongWay(self.venues[1])]
        self.sessions = [VenueSession(model, "S7") for model in models]
        self.ids = count(1)

    def send(self, message: ToVenue) -> list[VenueReport]:
        short, long = (session.submit(message, NOW) for session in self.sessions)
        assert msgspec.json.encode(short) == msgspec.json.encode(long)
        return short

    def others(self, order: BookOrder) -> None:
        order.order_id = next(self.ids)
        short, long = (
            session.stamp(venue.background_add("ABC", msgspec.structs.replace(order), NOW + 1))
            for venue, session in zip(self.venues, self.sessions, strict=True)
        )
        assert short == long

    def assert_equal(self) -> None:
        short, long = self.venues
        assert short.orders() == long.orders()
        assert short.printed("ABC") == long.printed("ABC")
        assert short.quote("ABC", NOW) == long.quote("ABC", NOW)
        last = self.sessions[1].last_seq
        for after_seq in (0, *range(max(0, last - 4), last + 2)):
            assert letters(self.sessions[0], after_seq) == letters(self.sessions[1], after_seq)
        for own in (True, False):
            assert short.book("ABC").depth(9, own=own) == long.book("ABC").depth(9, own=own)
        counted = [(book.version, book.others, book.trades) for book in (v.book("ABC") for v in self.venues)]
        assert counted[0] == counted[1]
        for side in (short.book("ABC").bids, short.book("ABC").asks):
            assert side.first is (side.levels[side.keys[-1]] if side.keys else None)


def letters(session: VenueSession, after_seq: int) -> list[bytes]:
    """What a session sends again, letter by letter: equal numbers can be written in two ways."""
    return [msgspec.json.encode(report) for report in session.resend(after_seq)]


#: One decimal per text, as from a parser that remembers numbers.
remembered = functools.cache(D)


def order(cl_ord_id: str, qty: str, price: str | None, **more: object) -> VenueNewOrder:
    terms = {"side": OrderSide.BUY, "order_type": OrderType.LIMIT, "tif": TimeInForce.DAY, "symbol": "ABC"}
    limit = None if price is None else remembered(price)
    return VenueNewOrder(venue="XSIM", cl_ord_id=cl_ord_id, qty=D(qty), price=limit, **(terms | more))  # type: ignore[arg-type]


def trades_whole(pair: Pair, message: VenueNewOrder) -> bool:
    """Whether the next order goes the short way."""
    return pair.venues[0].trade_whole(message, NOW, "S7", []) is not None


def test_an_order_that_trades_in_full_with_the_first_of_the_queue_goes_the_short_way() -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 500, 1000))
    assert trades_whole(pair, order("a", "100", "10.00"))
    record = pair.venues[0].orders()[0]
    assert (record.cl_ord_ids, record.cum_qty, record.live, record.rejected) == (("a",), D(100), False, False)
    assert pair.venues[0].book("ABC").depth(1) == ((), ((1000, 400),))
    assert pair.venues[0].printed("ABC") == (D(100), D(10))


@pytest.mark.parametrize(
    "message",
    [
        order("a", "500", "10.00"),  # takes all of it
        order("a", "100", "9.99"),
        order("a", "100", "10.001"),
        order("a", "0.5", "10"),
        order("a", "NaN", "10"),
        order("a", "100", "-10"),
        order("a", "100", "9.99", side=OrderSide.SELL),
        order("a", "100", "10", symbol="XYZ"),
        order("a", "100", "10", symbol="NONE"),
        order("a", "100", None, order_type=OrderType.MARKET),
        order("a", "100", "10", hidden=True),
        order("a", "100", "10", min_qty=D(50)),
        order("a", "100", "10", smp_id="me"),
        order("a", "100", "10", smp_mode="CANCEL_OLDEST"),
        order("a", "100", "10", peg="PRIMARY"),
        order("a", "100", "10", stop_px=D(10)),
        order("a", "100", "10", display_qty=D(50)),
        order("a", "100", "10", order_type=OrderType.ICEBERG, display_qty=D(50)),
        order("known", "100", "10"),
        order("a", "100", "10", tif=TimeInForce.AT_CLOSE),
    ],
    ids=str,
)
def test_what_does_not_go_the_short_way_changes_nothing_on_it(message: VenueNewOrder) -> None:
    pair = Pair()
    pair.send(order("known", "1", "5"))
    pair.others(BookOrder(0, False, 500, 1000, smp="me"))
    assert not trades_whole(pair, message)
    pair.assert_equal()
    pair.send(message)
    pair.assert_equal()


def test_nothing_goes_the_short_way_while_the_symbol_or_the_venue_does_not_trade() -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 500, 1000))
    pauses: list[tuple[Callable[[MatchingVenue], object], Callable[[MatchingVenue], object]]] = [
        (lambda v: v.halt("ABC", True), lambda v: v.halt("ABC", False)),
        (lambda v: v.begin_call("ABC"), lambda v: v.open_auction("ABC", NOW)),
        (lambda v: v.end_day(NOW), lambda v: v.start_day("2024-07-09")),
    ]
    for number, (begin, end) in enumerate(pauses):
        for venue in pair.venues:
            begin(venue)
        assert not trades_whole(pair, order(f"a{number}", "1", "10"))
        pair.send(order(f"a{number}", "1", "9"))
        for venue in pair.venues:
            end(venue)
        pair.send(order(f"b{number}", "1", "10"))
        pair.assert_equal()


def test_nothing_goes_the_short_way_while_a_stop_waits_for_the_trade_that_sets_it_off() -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 500, 1000))
    pair.send(order("stop", "10", None, order_type=OrderType.STOP, stop_px=D("10.00")))
    assert not trades_whole(pair, order("a", "100", "10.00"))
    said = pair.send(order("a", "100", "10.00"))
    assert [report.cl_ord_id for report in said if report.kind is ReportKind.FILL] == ["a", "stop"]
    pair.assert_equal()
    assert trades_whole(pair, order("b", "1", "10.00")), "the stop is gone"


def test_a_limit_that_has_reached_a_queue_reaches_only_that_one_again() -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 150, 1000))
    pair.others(BookOrder(0, False, 500, 1001))
    assert [len(pair.send(order(f"a{n}", "100", "10.00"))) for n in range(3)] == [2, 2, 1]
    assert len(pair.send(order("b", "100", "10.01"))) == 2
    assert len(pair.send(order("c", "100", "10.00", side=OrderSide.SELL))) == 5, "trades with what rested"
    pair.assert_equal()


def test_ids_count_on_whichever_way_an_order_goes() -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 10_000, 1000))
    for number in range(2_100):
        pair.send(order(f"a{number}", "1", "10.00" if number % 7 else "9.00"))
    last = pair.sessions[0].resend(0)[-1]
    assert (last.venue_order_id, last.exec_id) == ("XSIM-O2100", "XSIM-E1800")
    pair.assert_equal()


def test_reports_of_an_order_that_traded_whole_are_sent_again_as_they_were_whatever_has_come_since() -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 5_000, 1000))
    first = [msgspec.json.encode(report) for report in pair.send(order("a", "100.0", "1E+1"))]
    pair.send(order("b", "1", "9.00"))
    for venue in pair.venues:
        venue.start_day("2024-07-09")
        venue.bust("XSIM-E1")
    last = pair.send(order("c", "2", "10.5"))
    assert [id(report) for report in pair.sessions[0].resend(3)] == [id(report) for report in last]
    later = [msgspec.json.encode(report) for report in last]
    pair.send(order("d", "1", "9.00"))
    assert letters(pair.sessions[0], 0)[:2] == first
    assert letters(pair.sessions[0], 1)[0] == first[1], "its fill alone"
    assert letters(pair.sessions[0], 3)[:2] == later
    assert letters(pair.sessions[0], 6) == []
    pair.assert_equal()


@pytest.mark.parametrize(
    ("qty", "price"), [("sNaN", "10"), ("100", "sNaN"), ("NaN", "10"), ("100", "Infinity")]
)
def test_what_is_no_number_is_refused_on_either_way(qty: str, price: str) -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 500, 1000))
    assert not trades_whole(pair, order("a", qty, price))
    assert kinds(pair.send(order("a", qty, price))) == [ReportKind.REJECT]


def test_an_execution_of_an_order_that_traded_whole_is_found_busted_and_corrected() -> None:
    pair = Pair()
    pair.others(BookOrder(0, False, 500, 1000))
    fills = [pair.send(order(name, "100", "10.00"))[1] for name in ("a", "b")]
    for venue, session in zip(pair.venues, pair.sessions, strict=True):
        session.stamp(venue.correct(fills[1].exec_id, D(90), D("9.5")))
        session.stamp(venue.bust(fills[0].exec_id))
        with pytest.raises(ValueError, match="busted before"):
            venue.bust(fills[0].exec_id)
    assert [record.cum_qty for record in pair.venues[0].orders()] == [0, 90]
    assert pair.send(VenueStatusRequest("XSIM", "b"))[0].cum_qty == 90
    assert kinds(pair.send(order("a", "1", "10.00"))) == [ReportKind.REJECT]
    pair.assert_equal()


class Listening(MatchingVenue):
    """A venue that does more with a message than others."""

    def submit(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        self.heard = message.cl_ord_id
        return super().submit(message, now_ns)


def test_a_venue_with_a_submit_of_its_own_hears_of_every_order() -> None:
    venue = Listening("XSIM", [Listing("ABC")])
    venue.background_add("ABC", BookOrder(1, False, 500, 1000), NOW)
    reports = VenueSession(venue, "S7").submit(order("a", "100", "10.00"), NOW)
    assert (kinds(reports), venue.heard) == ([ACK, FILL], "a")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["new", "new", "others", "others", "cancel", "bust", "status"]),
            st.booleans(),
            st.integers(1, 6),
            st.integers(998, 1002),
            st.sampled_from(
                [
                    {},
                    {},
                    {},
                    {"tif": TimeInForce.IOC},
                    {"tif": TimeInForce.FOK},
                    {"smp_id": "me"},
                    {"hidden": True},
                    {"display_qty": D(1)},
                    {"order_type": OrderType.STOP_LIMIT, "stop_px": D("10.01")},
                    {"order_type": OrderType.PEGGED, "peg": "PRIMARY"},
                ]
            ),
            st.integers(0, 9),
        ),
        max_size=40,
    )
)
def test_the_short_way_ends_where_the_long_one_does(
    steps: list[tuple[str, bool, int, int, dict[str, object], int]],
) -> None:
    pair, known = Pair(), ["never"]
    for number, (verb, is_buy, units, cents, more, pick) in enumerate(steps):
        name = f"n{number}"
        if verb == "new":
            known.append(name)
            side = OrderSide.BUY if is_buy else OrderSide.SELL
            pair.send(order(name, str(units), f"{cents // 100}.{cents % 100:02}", side=side, **more))
        elif verb == "others":
            smp = str(more.get("smp_id", ""))
            hidden = bool(more.get("hidden"))
            pair.others(BookOrder(0, is_buy, units * 2, cents, smp=smp, hidden=hidden))
        elif verb == "cancel":
            pair.send(VenueCancel("XSIM", name, known[pick % len(known)]))
        elif verb == "status":
            pair.send(VenueStatusRequest("XSIM", known[pick % len(known)]))
        else:
            live = [e.exec_id for r in pair.venues[1].orders() for e in r.executions if not e.busted]
            for venue, session in zip(pair.venues, pair.sessions, strict=True):
                session.stamp(venue.bust(live[pick % len(live)]) if live else [])
    pair.assert_equal()
