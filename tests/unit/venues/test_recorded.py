"""The rule of the overlay, clause by clause, and the recorded hour with 500 orders of ours in it."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
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
from qtinfra.marketdata.lobster import (
    BUY,
    DELETE,
    EXECUTION,
    HALT,
    HALTED,
    HIDDEN_EXECUTION,
    NEW,
    PARTIAL_CANCEL,
    QUOTING,
    RESUMED,
    SELL,
    BookRow,
    LobsterMessage,
    RecordedBook,
    RecordedDataError,
    read_messages,
    read_orderbook,
)
from qtinfra.venues.simulated.recorded import LobsterMarket, RecordedVenue
from tests.support.requirements import require_data

K = ReportKind
DAY = "lobster/AAPL_2012-06-21_"
#: Asks 101 x 30, 102 x 40; bids 100 x 20, 99 x 50: anonymous seed levels.
ROW: BookRow = (1010000, 30, 1000000, 20, 1020000, 40, 990000, 50)
FIRST = LobsterMessage(1, HALT, 0, 0, RESUMED, SELL)


class Desk:
    """A recorded venue, messages in dollars, and short-hand for our orders."""

    def __init__(self) -> None:
        self.venue = RecordedVenue(RecordedBook(ROW, FIRST), "ABC", "2012-06-21")
        self.now_ns = 1

    def tape(self, kind: int, order_id: int, size: int, dollars: str, side: int = BUY) -> list[str]:
        """Let a recorded message happen; our fills as "order quantity@price"."""
        self.now_ns += 1
        price = int(Decimal(dollars) * 10_000)
        message = LobsterMessage(self.now_ns, kind, order_id, size, price, side)
        return fills(self.venue.apply(message))

    def halt(self, what: int) -> None:
        self.now_ns += 1
        self.venue.apply(LobsterMessage(self.now_ns, HALT, 0, 0, what, SELL))

    def send(self, message: ToVenue) -> list[VenueReport]:
        return self.venue.submit(message, self.now_ns)

    def order(
        self,
        cl_ord_id: str,
        side: OrderSide,
        qty: int | str,
        price: str | None = None,
        tif: TimeInForce = TimeInForce.DAY,
        *,
        min_qty: int | str = 0,
    ) -> list[VenueReport]:
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        limit = None if price is None else Decimal(price)
        return self.send(
            VenueNewOrder("XNAS", cl_ord_id, "ABC", side, kind, tif, Decimal(qty), limit, Decimal(min_qty))
        )

    def buy(self, cl_ord_id: str, qty: int, price: str | None = None) -> list[VenueReport]:
        return self.order(cl_ord_id, OrderSide.BUY, qty, price)

    def sell(self, cl_ord_id: str, qty: int, price: str | None = None) -> list[VenueReport]:
        return self.order(cl_ord_id, OrderSide.SELL, qty, price)

    def replace(self, new_id: str, orig: str, qty: int, price: str | None) -> list[VenueReport]:
        limit = None if price is None else Decimal(price)
        return self.send(VenueReplace("XNAS", new_id, orig, Decimal(qty), limit))

    def cancel(self, new_id: str, orig: str) -> VenueReport:
        (report,) = self.send(VenueCancel("XNAS", new_id, orig))
        return report

    def ahead(self, cl_ord_id: str) -> int:
        ahead = self.venue.queue_ahead(cl_ord_id)
        assert ahead is not None
        return int(ahead)

    def asks(self) -> list[str]:
        quote = self.venue.quote("ABC", self.now_ns)
        assert quote is not None
        return [f"{size}@{price}" for price, size in quote.asks]

    def bids(self) -> list[str]:
        quote = self.venue.quote("ABC", self.now_ns)
        assert quote is not None
        return [f"{size}@{price}" for price, size in quote.bids]


def fills(reports: Iterable[VenueReport]) -> list[str]:
    return [f"{report.cl_ord_id} {report.qty}@{report.px}" for report in reports if report.kind is K.FILL]


def kinds(reports: Iterable[VenueReport]) -> list[ReportKind]:
    return [report.kind for report in reports]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# -- clause 2: the queue ---------------------------------------------------------------------------


def test_a_resting_order_queues_behind_the_recorded_size_at_its_price(desk: Desk) -> None:
    desk.tape(NEW, 1, 15, "100")
    assert kinds(desk.buy("a", 10, "100")) == [K.ACK]
    assert desk.ahead("a") == 35


def test_cancellations_and_executions_ahead_move_us_up_and_do_not_fill_us(desk: Desk) -> None:
    desk.tape(NEW, 1, 15, "100")
    desk.buy("a", 10, "100")
    assert desk.tape(PARTIAL_CANCEL, 1, 5, "100") == []
    assert desk.ahead("a") == 30
    assert desk.tape(EXECUTION, 99, 12, "100") == []
    assert desk.ahead("a") == 18
    assert desk.tape(DELETE, 1, 10, "100") == []
    assert desk.ahead("a") == 8


def test_recorded_orders_that_come_later_stand_behind_us(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    desk.tape(NEW, 1, 500, "100")
    assert desk.ahead("a") == 20
    desk.tape(DELETE, 1, 500, "100")
    assert desk.ahead("a") == 20


def test_our_own_earlier_orders_at_the_price_are_ahead_of_our_later_ones(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    desk.buy("b", 10, "100")
    assert desk.ahead("b") == 30
    desk.cancel("c", "a")
    assert desk.ahead("b") == 20


# -- clause 3: recorded trading reaches us ---------------------------------------------------------


def test_an_execution_behind_us_at_our_price_fills_us_up_to_its_size(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    desk.tape(NEW, 1, 40, "100")
    assert desk.tape(EXECUTION, 1, 4, "100") == ["a 4@100"]
    assert desk.tape(EXECUTION, 1, 30, "100") == ["a 6@100"]
    assert desk.tape(EXECUTION, 1, 6, "100") == []


def test_an_execution_at_a_worse_price_fills_us_at_our_price(desk: Desk) -> None:
    desk.buy("a", 10, "100.5")
    assert desk.tape(EXECUTION, 99, 7, "100") == ["a 7@100.5"]
    desk.sell("b", 5, "100.9")
    assert desk.tape(EXECUTION, 98, 8, "101", SELL) == ["b 5@100.9"]


def test_an_execution_on_the_other_side_or_at_a_better_price_does_not_reach_us(desk: Desk) -> None:
    desk.buy("a", 10, "99")
    assert desk.tape(EXECUTION, 99, 7, "101", SELL) == []
    assert desk.tape(EXECUTION, 99, 7, "100") == []
    assert desk.tape(HIDDEN_EXECUTION, 0, 7, "100.5") == []


def test_one_execution_fills_our_orders_best_price_first_then_in_time_order(desk: Desk) -> None:
    desk.buy("late", 10, "100.2")
    desk.buy("later", 10, "100.2")
    desk.buy("best", 10, "100.4")
    assert desk.tape(EXECUTION, 99, 20, "100") == ["best 10@100.4", "late 10@100.2"]
    desk.tape(NEW, 1, 60, "100")
    assert desk.tape(EXECUTION, 1, 3, "100") == ["later 3@100.2"]


def test_between_our_orders_a_recorded_one_keeps_its_place(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    desk.tape(NEW, 1, 15, "100")
    desk.buy("b", 10, "100")
    assert desk.tape(EXECUTION, 1, 12, "100") == ["a 10@100"]
    assert desk.ahead("b") == 20 + 3


def test_a_hidden_execution_at_a_worse_price_fills_us(desk: Desk) -> None:
    desk.buy("a", 10, "100.5")
    assert desk.tape(HIDDEN_EXECUTION, 0, 6, "100.4999") == ["a 6@100.5"]
    assert desk.tape(HIDDEN_EXECUTION, 0, 6, "100.6") == []


def test_a_hidden_execution_at_our_price_fills_us_only_once_nothing_is_ahead(desk: Desk) -> None:
    desk.tape(NEW, 1, 15, "100.5")
    desk.buy("a", 10, "100.5")
    assert desk.tape(HIDDEN_EXECUTION, 0, 6, "100.5") == []
    desk.tape(NEW, 2, 15, "100.5")
    desk.tape(DELETE, 1, 15, "100.5")
    assert desk.tape(HIDDEN_EXECUTION, 0, 6, "100.5") == ["a 6@100.5"]


def test_every_passive_fill_says_the_queue_it_began_in_and_when_it_happened(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    desk.tape(NEW, 1, 40, "100")
    desk.now_ns += 1
    message = LobsterMessage(desk.now_ns, EXECUTION, 1, 4, 1000000, BUY)
    (fill,) = desk.venue.apply(message)
    assert (fill.queue_ahead, fill.liquidity) == (Decimal(20), Liquidity.ADDED)
    assert (fill.source_ns, fill.trade_date, fill.venue_order_id) == (desk.now_ns, "2012-06-21", "XNAS-O1")


# -- clause 4: recorded orders through ours --------------------------------------------------------


def test_a_recorded_order_priced_through_ours_does_not_fill_it(desk: Desk) -> None:
    desk.sell("a", 10, "100.5")
    assert desk.tape(NEW, 1, 40, "100.7") == []
    assert desk.bids()[0] == "40@100.7"
    assert desk.tape(EXECUTION, 1, 40, "100.7") == []


# -- clauses 1 and 5: taking -----------------------------------------------------------------------


def test_an_aggressive_order_takes_best_price_first_then_oldest_within_its_limit(desk: Desk) -> None:
    desk.tape(NEW, 1, 5, "101", SELL)
    desk.tape(NEW, 2, 6, "101.5", SELL)
    reports = desk.buy("a", 60, "101.5")
    assert kinds(reports) == [K.ACK, K.FILL, K.FILL, K.FILL]
    assert fills(reports) == ["a 30@101", "a 5@101", "a 6@101.5"]
    assert {(r.liquidity, r.queue_ahead) for r in reports[1:]} == {(Liquidity.REMOVED, None)}
    assert desk.ahead("a") == 0


def test_what_we_took_is_gone_for_us_but_not_from_the_recorded_book(desk: Desk) -> None:
    desk.buy("a", 12, "101")
    assert desk.venue.book.bbo() == ROW[:4]
    assert desk.asks() == ["18@101", "40@102"]
    assert fills(desk.buy("b", 30, "101")) == ["b 18@101"]
    assert desk.asks() == ["40@102"]
    assert fills(desk.order("c", OrderSide.BUY, 5, "101", TimeInForce.IOC)) == []


def test_recorded_executions_of_shares_we_took_fill_no_resting_order(desk: Desk) -> None:
    desk.tape(NEW, 1, 10, "100.8", SELL)
    desk.buy("taker", 7, "100.8")
    desk.sell("maker", 50, "100.7")
    assert desk.tape(EXECUTION, 1, 10, "100.8", SELL) == ["maker 3@100.7"]
    assert desk.venue.book.bbo() == ROW[:4]


def test_a_recorded_cancel_meets_the_shares_that_we_left_first(desk: Desk) -> None:
    desk.tape(NEW, 1, 10, "100.8", SELL)
    desk.buy("a", 6, "100.8")
    desk.tape(PARTIAL_CANCEL, 1, 3, "100.8", SELL)
    assert desk.asks()[0] == "1@100.8"
    desk.tape(PARTIAL_CANCEL, 1, 3, "100.8", SELL)
    assert desk.asks()[0] == "30@101"
    assert desk.venue.book.bbo()[:2] == (1008000, 4)


def test_shares_that_we_took_stand_ahead_of_nobody(desk: Desk) -> None:
    desk.sell("a", 20, "100")
    desk.buy("b", 5, "100")
    assert desk.ahead("b") == 0
    assert desk.tape(HIDDEN_EXECUTION, 0, 5, "100") == ["b 5@100"]


def test_a_new_recorded_order_at_a_price_we_emptied_is_there_to_take(desk: Desk) -> None:
    desk.buy("a", 30, "101")
    desk.tape(NEW, 1, 8, "101", SELL)
    assert desk.asks() == ["8@101", "40@102"]
    assert fills(desk.buy("b", 30, "101")) == ["b 8@101"]


def test_a_sell_takes_bids_down_to_its_limit(desk: Desk) -> None:
    reports = desk.order("a", OrderSide.SELL_SHORT, 100, "99.5", TimeInForce.IOC)
    assert fills(reports) == ["a 20@100"]
    assert (reports[-1].kind, reports[-1].reason) == (K.CANCELED, "ioc")


def test_a_quote_shows_ten_levels_and_when_they_last_changed(desk: Desk) -> None:
    for number in range(12):
        desk.tape(NEW, number + 1, 1, f"{98 - number}")
    assert desk.bids() == ["20@100", "50@99", *(f"1@{98 - n}" for n in range(8))]
    first = desk.venue.quote("ABC", 0)
    desk.tape(NEW, 50, 1, "80")
    assert desk.venue.quote("ABC", 0) is first
    desk.tape(NEW, 51, 1, "95.5")
    assert desk.bids()[5:7] == ["1@95.5", "1@95"]
    second = desk.venue.quote("ABC", 0)
    assert second is not None
    assert second.ts_ns == desk.now_ns
    assert desk.venue.quote("XYZ", 0) is None


# -- clause 6: no trade with ourselves -------------------------------------------------------------


def test_our_orders_never_trade_with_each_other(desk: Desk) -> None:
    desk.sell("a", 10, "100.5")
    assert fills(desk.buy("b", 40, "101")) == ["b 30@101"]
    assert [order.live for order in desk.venue.orders()] == [True, True]
    assert fills(desk.order("c", OrderSide.SELL, 5, "100.5", TimeInForce.IOC)) == []


# -- clause 7: halts -------------------------------------------------------------------------------


def test_while_halted_new_orders_and_replaces_are_refused_and_nothing_fills(desk: Desk) -> None:
    desk.buy("a", 10, "100.5")
    desk.buy("d", 10, "100.5")
    desk.halt(HALTED)
    (refused,) = desk.buy("b", 10, "100.5")
    assert (refused.kind, refused.reason) == (K.REJECT, "halted")
    (refused,) = desk.replace("c", "a", 5, "100.5")
    assert (refused.kind, refused.reason) == (K.REPLACE_REJECT, "halted")
    assert desk.tape(EXECUTION, 99, 5, "100") == []
    desk.halt(QUOTING)
    assert desk.tape(EXECUTION, 99, 5, "100") == []
    assert desk.cancel("e", "d").kind is K.CANCELED
    desk.halt(RESUMED)
    assert desk.tape(EXECUTION, 99, 5, "100") == ["a 5@100.5"]


# -- order handling --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qty", "tif", "min_qty", "filled", "reason"),
    [
        (70, TimeInForce.FOK, 0, 70, ""),
        (71, TimeInForce.FOK, 0, 0, "fok"),
        (100, TimeInForce.IOC, 0, 70, "ioc"),
        (100, TimeInForce.IOC, 70, 70, "ioc"),
        (100, TimeInForce.IOC, 71, 0, "min_qty"),
    ],
)
def test_fill_or_kill_and_minimum_quantity_are_met_at_once_or_not_at_all(
    desk: Desk, qty: int, tif: TimeInForce, min_qty: int, filled: int, reason: str
) -> None:
    reports = desk.order("a", OrderSide.BUY, qty, "102", tif, min_qty=min_qty)
    assert sum(report.quantity for report in reports) == filled
    ends = [
        (report.cl_ord_id, report.orig_cl_ord_id, report.reason) for report in reports[1:] if not report.qty
    ]
    assert ends == ([("a", "", reason)] if reason else [])
    assert [order.live for order in desk.venue.orders()] == [False]


def test_the_rest_of_a_market_order_is_cancelled(desk: Desk) -> None:
    reports = desk.buy("a", 75)
    assert fills(reports) == ["a 30@101", "a 40@102"]
    assert (reports[-1].kind, reports[-1].reason) == (K.CANCELED, "no_liquidity")


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"qty": "0", "price": "100"}, "invalid_qty"),
        ({"qty": "1.5", "price": "100"}, "invalid_qty"),
        ({"qty": "5", "price": "100.005"}, "invalid_price"),
        ({"qty": "5", "price": "-1"}, "invalid_price"),
        ({"qty": "5", "price": "100", "tif": TimeInForce.GTD}, "unsupported"),
        ({"qty": "5", "price": "100", "min_qty": "2"}, "unsupported"),
        ({"qty": "5", "price": "100", "tif": TimeInForce.IOC, "min_qty": "6"}, "invalid_qty"),
    ],
)
def test_an_order_that_the_venue_cannot_take_is_rejected_with_a_reason(
    desk: Desk, order: dict[str, str | TimeInForce], reason: str
) -> None:
    (report,) = desk.order("a", OrderSide.BUY, **order)  # type: ignore[arg-type]
    assert (report.kind, report.reason) == (K.REJECT, reason)
    assert [(record.live, record.rejected) for record in desk.venue.orders()] == [(False, True)]


def test_an_id_is_never_used_twice(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    (again,) = desk.buy("a", 10, "100")
    assert (again.kind, again.reason) == (K.REJECT, "duplicate_cl_ord_id")
    report = desk.cancel("a", "a")
    assert (report.kind, report.reason) == (K.CANCEL_REJECT, "duplicate_cl_ord_id")
    assert desk.ahead("a") == 20


def test_a_cancel_takes_the_order_out_and_a_second_one_is_too_late(desk: Desk) -> None:
    desk.buy("a", 10, "100.5")
    done = desk.cancel("b", "a")
    assert (done.kind, done.cl_ord_id, done.orig_cl_ord_id) == (K.CANCELED, "b", "a")
    late, unknown = desk.cancel("c", "a"), desk.cancel("d", "zzz")
    assert (late.kind, late.reason) == (K.CANCEL_REJECT, "too_late")
    assert (unknown.kind, unknown.reason) == (K.CANCEL_REJECT, "unknown_order")
    assert desk.tape(EXECUTION, 99, 5, "100") == []


def test_fewer_shares_at_the_same_price_keep_the_queue_place(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    desk.tape(NEW, 1, 40, "100")
    (done,) = desk.replace("b", "a", 8, "100")
    assert (done.kind, done.cl_ord_id, done.orig_cl_ord_id) == (K.REPLACED, "b", "a")
    assert desk.ahead("b") == 20
    assert desk.tape(EXECUTION, 1, 30, "100") == ["b 8@100"]


@pytest.mark.parametrize(("qty", "price", "ahead"), [(11, "100", 60), (10, "99", 50), (5, "99", 50)])
def test_more_shares_or_another_price_go_to_the_back(desk: Desk, qty: int, price: str, ahead: int) -> None:
    desk.buy("a", 10, "100")
    desk.tape(NEW, 1, 40, "100")
    assert kinds(desk.replace("b", "a", qty, price)) == [K.REPLACED]
    assert desk.ahead("b") == ahead


def test_a_replace_may_take_what_its_new_price_reaches(desk: Desk) -> None:
    desk.buy("a", 50, "100.5")
    desk.tape(EXECUTION, 99, 4, "100")
    reports = desk.replace("b", "a", 44, "101")
    assert kinds(reports) == [K.REPLACED, K.FILL]
    assert fills(reports) == ["b 30@101"]
    assert desk.venue.orders()[0].leaves_qty == 10


@pytest.mark.parametrize("qty", [4, 3])
def test_a_replace_to_what_has_traded_or_less_cancels_the_balance(desk: Desk, qty: int) -> None:
    desk.buy("a", 10, "100.5")
    desk.tape(EXECUTION, 99, 4, "100")
    assert kinds(desk.replace("b", "a", qty, None)) == [K.REPLACED]
    (record,) = desk.venue.orders()
    assert (record.live, int(record.cum_qty), int(record.leaves_qty)) == (False, 4, 0)
    (late,) = desk.replace("c", "b", 20, None)
    assert (late.kind, late.reason) == (K.REPLACE_REJECT, "too_late")


def test_status_and_mass_status_tell_what_the_venue_knows(desk: Desk) -> None:
    desk.buy("a", 10, "100.5")
    desk.buy("b", 10, "100")
    desk.buy("c", 5)
    desk.tape(EXECUTION, 99, 4, "100")
    (status,) = desk.send(VenueStatusRequest("XNAS", "a"))
    assert (status.kind, status.live, status.px) == (K.STATUS, True, Decimal("100.5"))
    assert [int(qty or 0) for qty in (status.qty, status.cum_qty, status.leaves_qty)] == [10, 4, 6]
    (done,) = desk.send(VenueStatusRequest("XNAS", "c"))
    assert (done.live, int(done.cum_qty or 0), done.leaves_qty == Decimal(0)) == (False, 5, True)
    (unknown,) = desk.send(VenueStatusRequest("XNAS", "zzz"))
    assert unknown.kind is K.UNKNOWN_ORDER
    reports = desk.send(VenueMassStatusRequest("XNAS", "m"))
    assert [(report.kind, report.cl_ord_id) for report in reports] == [
        (K.STATUS, "a"),
        (K.STATUS, "b"),
        (K.MASS_STATUS_END, "m"),
    ]


def test_at_the_close_day_orders_expire_and_good_till_cancelled_ones_stay(desk: Desk) -> None:
    desk.buy("a", 10, "100")
    desk.order("b", OrderSide.BUY, 10, "100", TimeInForce.GTC)
    (expired,) = desk.venue.end_day(desk.now_ns)
    assert (expired.kind, expired.cl_ord_id) == (K.EXPIRED, "a")
    assert [order.live for order in desk.venue.orders()] == [False, True]
    (refused,) = desk.buy("c", 10, "100")
    assert (refused.kind, refused.reason) == (K.REJECT, "closed")


# -- the market ------------------------------------------------------------------------------------


def small_market(tape: Sequence[LobsterMessage]) -> LobsterMarket:
    return LobsterMarket([FIRST, *tape], [FIRST], [ROW], symbol="ABC", trade_date="2012-06-21")


def test_a_step_is_one_message_and_its_reports_are_numbered() -> None:
    tape = [
        LobsterMessage(5, NEW, 1, 10, 1000000, BUY),
        LobsterMessage(7, EXECUTION, 99, 10, 1000000, BUY),
    ]
    market = small_market(tape)
    session = market.sessions["XNAS"]
    order = VenueNewOrder(
        "XNAS", "a", "ABC", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, Decimal(3), Decimal("100.5")
    )
    assert [report.seq for report in session.submit(order, 2)] == [1]
    assert (market.symbols, market.next_ns(), market.step()) == (("ABC",), 5, [])
    (fill,) = market.step()
    assert (fill.seq, fill.session, fill.source_ns) == (2, "XNAS-2012-06-21", 7)
    assert market.next_ns() is None
    with pytest.raises(IndexError):
        market.step()
    assert (market.bbo_changes, market.bbo_crossed) == (3, 0)


def test_a_recording_that_does_not_begin_with_the_seed_rows_message_is_refused() -> None:
    other = LobsterMessage(2, NEW, 1, 10, 1000000, BUY)
    for messages, seeds in (([other], [FIRST]), ([], [FIRST]), ([FIRST], [])):
        with pytest.raises(RecordedDataError):
            LobsterMarket(messages, seeds, [ROW], symbol="ABC", trade_date="2012-06-21")


def test_files_of_different_symbols_are_refused(tmp_path: Path) -> None:
    messages, book = tmp_path / "A_2012-06-21_message_5.csv", tmp_path / "B_2012-06-21_orderbook_5.csv"
    with pytest.raises(RecordedDataError, match="different symbols"):
        LobsterMarket.from_files(messages, messages, book)


# -- nothing is altered, nothing is used twice -----------------------------------------------------


class Audit:
    """Plays a market with random orders of ours and counts every share they got, by its source."""

    def __init__(self, market: LobsterMarket, messages: Sequence[LobsterMessage], row: BookRow) -> None:
        self.market = market
        self.messages = messages
        self.reports: list[VenueReport] = []
        self.seq_of = {
            message.order_id: seq for seq, message in enumerate(messages, 1) if message.kind == NEW
        }
        seeded = RecordedBook(row, messages[0])
        self.displayed = {seq: messages[seq - 1].size for seq in self.seq_of.values()}
        for side in (seeded.bids, seeded.asks):
            for level in side.ladder():
                self.displayed.update((order.seq, order.size) for order in level.orders.values())
        self.passive: Counter[int] = Counter()  # passive fills by the recorded order that was executed

    def submit(self, message: ToVenue, now_ns: int) -> None:
        self.reports += self.market.sessions["XNAS"].submit(message, now_ns)

    def step(self, message: LobsterMessage) -> None:
        reports = self.market.step()
        filled = int(sum(report.quantity for report in reports))
        assert all(r.kind is K.FILL and r.liquidity is Liquidity.ADDED for r in reports)
        assert not filled or message.kind in (EXECUTION, HIDDEN_EXECUTION)
        assert filled <= message.size
        if message.kind == EXECUTION and message.order_id in self.seq_of:
            self.passive[self.seq_of[message.order_id]] += filled
        self.reports += reports

    def check(self) -> None:
        consumed = self.market.venue.overlay.consumed
        assert all(shares <= self.displayed[seq] for seq, shares in consumed.items())
        for seq, shares in self.passive.items():
            assert shares + consumed.get(seq, 0) <= self.displayed[seq]
        fills = [report for report in self.reports if report.kind is K.FILL]
        removed = sum(report.quantity for report in fills if report.liquidity is Liquidity.REMOVED)
        assert removed == sum(consumed.values())
        assert len({report.exec_id for report in fills}) == len(fills)
        for order in self.market.venue.orders():
            assert order.cum_qty == sum(execution.qty for execution in order.executions) <= order.qty
            assert not order.live or order.leaves_qty == order.qty - order.cum_qty

    def play(self, rng: random.Random, orders: int) -> None:
        at = Counter(rng.randrange(1, len(self.messages)) for _ in range(orders))
        for index, message in enumerate(self.messages[1:], 1):
            for turn in range(at[index]):
                self.act(rng, f"{index}.{turn}", message.ts_ns)
            self.step(message)
        self.check()

    def act(self, rng: random.Random, new_id: str, now_ns: int) -> None:
        quote = self.market.venue.quote(self.market.symbols[0], now_ns)
        assert quote is not None
        side = rng.choice((OrderSide.BUY, OrderSide.SELL))
        near, far = (quote.bids, quote.asks) if side is OrderSide.BUY else (quote.asks, quote.bids)
        price = rng.choice([level[0] for level in (*near[:2], *near[:2], *far[:3])] or [Decimal(100)])
        kind = rng.choice((OrderType.LIMIT, OrderType.LIMIT, OrderType.LIMIT, OrderType.MARKET))
        tif = rng.choice(
            (TimeInForce.DAY, TimeInForce.DAY, TimeInForce.DAY, TimeInForce.IOC, TimeInForce.FOK)
        )
        limit = price if kind is OrderType.LIMIT else None
        qty = Decimal(rng.randint(1, 300))
        symbol = self.market.symbols[0]
        self.submit(VenueNewOrder("XNAS", new_id, symbol, side, kind, tif, qty, limit), now_ns)
        live = [order for order in self.market.venue.orders() if order.live]
        if live and rng.random() < 0.3:
            order = rng.choice(live)
            orig = order.cl_ord_ids[-1]
            if order.side is side and rng.random() < 0.7:
                change = VenueReplace("XNAS", f"{new_id}r", orig, max(qty, order.cum_qty), price)
                self.submit(change, now_ns)
            else:
                self.submit(VenueCancel("XNAS", f"{new_id}x", orig), now_ns)


def test_500_random_orders_leave_the_recorded_hour_untouched_and_use_no_share_twice() -> None:
    messages = read_messages(require_data(f"{DAY}34200000_37800000_message_50.csv.gz"))
    rows = read_orderbook(require_data(f"{DAY}orderbook_10_first1000.csv.gz"))
    untouched, ours = (
        LobsterMarket(messages, messages[:1], rows, symbol="AAPL", trade_date="2012-06-21") for _ in range(2)
    )
    while untouched.next_ns() is not None:
        untouched.step()
    audit = Audit(ours, messages, rows[0])
    audit.play(random.Random(1), 500)
    assert ours.bbo_states == untouched.bbo_states
    assert (ours.bbo_changes, ours.bbo_crossed) == (23_439, 0)
    passive = [report for report in audit.reports if report.liquidity is Liquidity.ADDED]
    assert len(passive) >= 50
    assert any(report.queue_ahead for report in passive)
    assert sum(order.live for order in ours.venue.orders()) < 500


def random_tape(rng: random.Random, length: int) -> list[LobsterMessage]:
    """A consistent recording: executions are at the best price and hit its oldest known order."""
    book, tape = RecordedBook(ROW, FIRST), [FIRST]
    while len(tape) < length:
        side, draw = rng.choice((BUY, SELL)), rng.random()
        best = book.side(side).best()
        known = list(book.orders.values())
        price = (rng.randint(97, 100) if side == BUY else rng.randint(101, 104)) * 10_000
        kind, order_id, size = NEW, len(tape), rng.randint(1, 40)
        if best is not None and draw < 0.3:
            order = next(iter(best.orders.values()))
            kind, order_id, price = EXECUTION, order.order_id, best.price
            size = rng.randint(1, order.size)
        elif best is not None and draw < 0.4:
            kind, order_id, price = HIDDEN_EXECUTION, 0, best.price
        elif known and draw < 0.6:
            order = rng.choice(known)
            kind, order_id, side, price, size = DELETE, order.order_id, order.side, order.price, order.size
        message = LobsterMessage(len(tape) + 1, kind, order_id, size, price, side)
        book.apply(message)
        tape.append(message)
    return tape


@given(st.integers(0, 2**32))
def test_on_any_recording_no_share_is_used_twice(seed: int) -> None:
    rng = random.Random(seed)
    tape = random_tape(rng, 80)
    untouched, ours = small_market(tape[1:]), small_market(tape[1:])
    while untouched.next_ns() is not None:
        untouched.step()
    Audit(ours, tape, ROW).play(rng, 30)
    assert ours.bbo_states == untouched.bbo_states
