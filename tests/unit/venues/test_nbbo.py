"""The rule of the consolidated venue, clause by clause, and what holds for any recording and any orders."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueCancel, VenueNewOrder, VenueReplace, VenueReport
from qtinfra.marketdata.lobster import RecordedDataError
from qtinfra.marketdata.nbbo import ASK, BID, NbboQuote, NbboTrade, hours_ns
from qtinfra.venues.simulated.model import SimulatedMarket, VenueModel
from qtinfra.venues.simulated.nbbo import NbboMarket, NbboVenue
from qtinfra.venues.simulated.nbbo_overlay import PRINT_LAG_NS

pytestmark = pytest.mark.unit

D = Decimal
K = ReportKind
BUY, SELL = OrderSide.BUY, OrderSide.SELL
SECOND = 1_000_000_000
HOURS = (1_000 * SECOND, 2_000 * SECOND)


class Desk:
    """A venue quoted 100.00 x 100.02, 300 and 200 shares; prices in dollars."""

    def __init__(self) -> None:
        self.venue = NbboVenue("ABC", "2013-10-07", HOURS)
        self.now_ns = HOURS[0]
        self.bid("100", 300)
        self.ask("100.02", 200)

    def bid(self, price: str, size: int, *, suspicious: bool = False) -> None:
        self._quote(BID, price, size, suspicious)

    def ask(self, price: str, size: int) -> None:
        self._quote(ASK, price, size, False)

    def _quote(self, side: int, price: str, size: int, suspicious: bool) -> None:
        self.now_ns += 1
        ticks = int(D(price) * 10_000)
        self.venue.apply_quote(NbboQuote(self.now_ns, side, ticks, size, "N", 1, suspicious))

    def trade(self, price: str, size: int, exchange: str = "N", conditions: int = 1) -> list[str]:
        self.now_ns += 1
        ticks = int(D(price) * 10_000)
        return fills(self.venue.apply_trade(NbboTrade(self.now_ns, ticks, size, exchange, conditions, False)))

    def new(
        self,
        cl_ord_id: str,
        side: OrderSide,
        qty: int,
        price: str | None,
        tif: TimeInForce = TimeInForce.DAY,
        *,
        min_qty: int = 0,
        kind: OrderType | None = None,
    ) -> list[VenueReport]:
        order_type = kind or (OrderType.MARKET if price is None else OrderType.LIMIT)
        limit = None if price is None else D(price)
        terms = side, order_type, tif, D(qty), limit, D(min_qty)
        return self.venue.submit(VenueNewOrder("XXXX", cl_ord_id, "ABC", *terms), self.now_ns)

    def ahead(self, cl_ord_id: str) -> int | None:
        ahead = self.venue.queue_ahead(cl_ord_id)
        return None if ahead is None else int(ahead)

    def shown(self) -> tuple[list[str], list[str], bool]:
        quote = self.venue.quote("ABC", self.now_ns)
        assert quote is not None
        bids, asks = ([f"{size}@{price}" for price, size in side] for side in (quote.bids, quote.asks))
        return bids, asks, quote.live


def fills(reports: Iterable[VenueReport]) -> list[str]:
    return [f"{r.cl_ord_id} {r.qty}@{r.px}" for r in reports if r.kind is K.FILL]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# -- clause 2: taking ------------------------------------------------------------------------------


def test_an_arriving_order_takes_the_displayed_size_once(desk: Desk) -> None:
    model: VenueModel = desk.venue
    assert model.mic == "XXXX"
    assert fills(desk.new("a", BUY, 150, "100.02", TimeInForce.IOC)) == ["a 150@100.02"]
    assert desk.shown() == (["300@100"], ["50@100.02"], True)
    assert fills(desk.new("b", BUY, 150, None, TimeInForce.IOC)) == ["b 50@100.02"]
    assert desk.shown()[1] == []
    assert fills(desk.new("c", BUY, 10, "100.05", TimeInForce.IOC)) == []


def test_what_we_took_stays_taken_while_the_price_is_quoted_or_behind_a_better_one(desk: Desk) -> None:
    desk.new("a", BUY, 150, "100.02")
    desk.ask("100.02", 180)
    assert desk.shown()[1] == ["30@100.02"]
    desk.ask("100.01", 100)
    assert desk.shown()[1] == ["100@100.01"]
    desk.ask("100.02", 180)
    assert desk.shown()[1] == ["30@100.02"]
    desk.ask("100.03", 500)
    desk.ask("100.02", 180)
    assert desk.shown()[1] == ["180@100.02"]


def test_never_more_is_missing_than_is_quoted(desk: Desk) -> None:
    desk.new("a", BUY, 150, "100.02")
    desk.ask("100.02", 100)
    assert desk.shown()[1] == []
    desk.ask("100.02", 120)
    assert desk.shown()[1] == ["20@100.02"]


def test_nothing_beyond_the_best_price_trades_and_the_rest_goes_by_its_terms(desk: Desk) -> None:
    reports = desk.new("a", BUY, 500, "101", TimeInForce.IOC)
    assert (fills(reports), reports[-1].reason) == (["a 200@100.02"], "ioc")
    assert desk.new("b", SELL, 301, "100", TimeInForce.FOK)[-1].reason == "fok"
    assert desk.new("c", SELL, 400, "100", TimeInForce.IOC, min_qty=301)[-1].reason == "min_qty"
    assert desk.new("d", SELL, 400, None)[-1].reason == "no_liquidity"


def test_of_a_crossed_quote_only_the_displayed_size_trades_and_it_is_not_live(desk: Desk) -> None:
    desk.bid("100.05", 400)
    assert desk.shown() == (["400@100.05"], ["200@100.02"], False)
    assert fills(desk.new("a", BUY, 900, "100.05", TimeInForce.IOC)) == ["a 200@100.02"]
    assert fills(desk.new("b", BUY, 900, "100.05", TimeInForce.IOC)) == []
    assert fills(desk.new("c", SELL, 900, "100", TimeInForce.IOC)) == ["c 400@100.05"]


def test_a_locked_or_one_sided_quote_is_not_live(desk: Desk) -> None:
    desk.bid("100.02", 100)
    assert not desk.shown()[2]
    desk.bid("100.01", 100)
    assert desk.shown()[2]
    empty = NbboVenue("ABC", "2013-10-07", HOURS).quote("ABC", HOURS[0])
    assert empty is not None
    assert (empty.bids, empty.asks, empty.live) == ((), (), False)
    assert desk.venue.quote("XYZ", desk.now_ns) is None


# -- clauses 3 and 4: the queue --------------------------------------------------------------------


def test_a_resting_order_queues_behind_what_is_quoted_at_its_price(desk: Desk) -> None:
    desk.new("at", BUY, 50, "100")
    desk.new("inside", BUY, 50, "100.01")
    desk.new("below", BUY, 50, "99.99")
    assert [desk.ahead(name) for name in ("at", "inside", "below")] == [300, 0, None]


def test_the_queue_of_a_deeper_order_is_all_that_is_quoted_when_its_price_becomes_the_best(
    desk: Desk,
) -> None:
    desk.new("below", BUY, 50, "99.99")
    assert desk.trade("99.99", 40) == []
    desk.bid("99.99", 700)
    assert desk.ahead("below") == 700
    desk.bid("99.99", 900)
    assert desk.ahead("below") == 700


def test_trades_at_the_price_move_the_queue_and_the_excess_fills(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    assert desk.trade("100", 250) == []
    assert desk.ahead("a") == 50
    assert desk.trade("100", 80) == ["a 30@100"]
    assert desk.trade("100", 500) == ["a 70@100"]


def test_cancellations_come_off_behind_us_until_less_is_quoted_than_the_queue(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    desk.bid("100", 500)
    desk.bid("100", 320)
    assert desk.ahead("a") == 300
    desk.bid("100", 120)
    assert desk.ahead("a") == 120
    desk.bid("99.99", 100)
    assert desk.ahead("a") == 0


def test_shares_that_a_quote_showed_to_be_gone_are_not_counted_again_when_they_print(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    desk.bid("100", 100)
    assert desk.trade("100", 200) == []
    assert desk.ahead("a") == 100
    assert desk.trade("100", 130) == ["a 30@100"]


def test_a_trade_long_after_the_quote_fell_is_a_trade_of_its_own(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    desk.bid("100", 100)
    desk.now_ns += PRINT_LAG_NS
    assert desk.trade("100", 130) == ["a 30@100"]


def test_a_smaller_quantity_keeps_the_place_and_a_new_price_or_more_does_not(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    desk.trade("100", 250)
    desk.venue.submit(VenueReplace("XXXX", "b", "a", D(80), None), desk.now_ns)
    assert desk.ahead("b") == 50
    desk.venue.submit(VenueReplace("XXXX", "c", "b", D(90), None), desk.now_ns)
    assert desk.ahead("c") == 300
    desk.venue.submit(VenueCancel("XXXX", "d", "c"), desk.now_ns)
    assert desk.trade("99", 1_000) == []


# -- clause 5: fills -------------------------------------------------------------------------------


def test_a_trade_through_the_price_fills_whatever_the_queue_at_our_price(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    assert desk.trade("99.9999", 60) == ["a 60@100"]
    desk.new("b", SELL, 30, "100.03")
    assert desk.trade("100.05", 40) == ["b 30@100.03"]


def test_after_a_trade_through_the_price_nothing_is_ahead(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    assert desk.trade("99.99", 60) == ["a 60@100"]
    assert desk.ahead("a") == 0
    assert desk.trade("100", 10) == ["a 10@100"]


def test_one_print_fills_best_price_first_then_in_time_order_and_each_share_once(desk: Desk) -> None:
    desk.new("late", BUY, 10, "100")
    desk.new("later", BUY, 10, "100")
    desk.new("best", BUY, 10, "100.01")
    assert desk.trade("99.99", 25) == ["best 10@100.01", "late 10@100", "later 5@100"]


def test_shares_that_we_took_before_fill_nobody_when_they_print(desk: Desk) -> None:
    desk.new("taker", BUY, 200, "100.02")
    desk.new("maker", SELL, 50, "100.01")
    desk.new("other", SELL, 50, "100.02")
    assert desk.trade("100.02", 200) == []
    assert desk.trade("100.02", 60) == ["maker 50@100.01", "other 10@100.02"]


def test_a_passive_fill_says_the_queue_it_began_in(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    (fill,) = desk.venue.apply_trade(NbboTrade(desk.now_ns + 1, 1_000_000, 400, "N", 1, False))
    assert (fill.liquidity, fill.queue_ahead, fill.qty) == (Liquidity.ADDED, D(300), D(100))


# -- clauses 1, 6 and 7 ----------------------------------------------------------------------------


@pytest.mark.parametrize(("exchange", "conditions"), [("D", 1), ("N", 0x40), ("N", 0x100000), ("P", 0x2000)])
def test_prints_that_a_displayed_order_could_not_meet_do_nothing(
    desk: Desk, exchange: str, conditions: int
) -> None:
    desk.new("a", BUY, 100, "100")
    assert desk.trade("99", 500, exchange, conditions) == []
    assert desk.trade("100", 300, exchange, conditions) == []
    assert desk.ahead("a") == 300


def test_suspicious_quotes_change_nothing(desk: Desk) -> None:
    desk.bid("100.01", 900, suspicious=True)
    assert desk.shown()[0] == ["300@100"]


def test_nothing_trades_outside_regular_hours(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100")
    desk.now_ns = HOURS[1]
    assert desk.trade("99", 500) == []
    assert desk.new("b", BUY, 100, "100")[0].reason == "closed"
    assert not desk.shown()[2]
    (expired,) = desk.venue.end_day(desk.now_ns)
    assert (expired.kind, expired.cl_ord_id) == (K.EXPIRED, "a")


def test_our_orders_do_not_trade_with_each_other(desk: Desk) -> None:
    desk.new("a", BUY, 100, "100.01")
    assert [report.kind for report in desk.new("b", SELL, 100, "100.01")] == [K.ACK]


@pytest.mark.parametrize(
    ("price", "tif", "kind", "reason"),
    [
        ("100.005", TimeInForce.DAY, None, "invalid_price"),
        ("100", TimeInForce.AT_CLOSE, None, "unsupported"),
        ("100", TimeInForce.DAY, OrderType.ICEBERG, "unsupported"),
        (None, TimeInForce.DAY, OrderType.STOP, "unsupported"),
    ],
)
def test_what_the_venue_cannot_play_is_refused(
    desk: Desk, price: str | None, tif: TimeInForce, kind: OrderType | None, reason: str
) -> None:
    (report,) = desk.new("a", BUY, 100, price, tif, kind=kind)
    assert (report.kind, report.reason) == (K.REJECT, reason)


# -- any recording, any orders ---------------------------------------------------------------------

TICKS = st.lists(
    st.tuples(
        st.sampled_from(["bid", "ask", "trade", "trade", "order", "order", "order"]),
        st.integers(9_998, 10_003),
        st.integers(1, 9),
        st.booleans(),
        st.sampled_from([TimeInForce.DAY, TimeInForce.IOC]),
    ),
    max_size=50,
)


@settings(max_examples=250, deadline=None)
@given(TICKS)
def test_no_share_fills_twice_no_limit_is_broken_and_the_recording_is_not_altered(
    ticks: list[tuple[str, int, int, bool, TimeInForce]],
) -> None:
    desk, alone = Desk(), Desk()
    limits: dict[str, tuple[OrderSide, Decimal]] = {}
    for number, (verb, cents, size, is_buy, tif) in enumerate(ticks):
        price = f"{D(cents) / 100}"
        if verb in ("bid", "ask"):
            for one in (desk, alone):
                (one.bid if verb == "bid" else one.ask)(price, size * 10)
        elif verb == "trade":
            got = desk.trade(price, size * 10)
            alone.trade(price, size * 10)
            assert sum(int(fill.split()[1].split("@")[0]) for fill in got) <= size * 10
        else:
            side = BUY if is_buy else SELL
            limits[f"n{number}"] = (side, D(price))
            bids, asks, _ = desk.shown()
            before = asks if is_buy else bids
            taken = sum(
                r.quantity for r in desk.new(f"n{number}", side, size * 10, price, tif) if r.kind is K.FILL
            )
            assert taken <= (int(before[0].split("@")[0]) if before else 0)
        assert desk.venue.nbbo.state == alone.venue.nbbo.state
    for record in desk.venue.orders():
        side, limit = limits[record.cl_ord_ids[0]]
        assert record.cum_qty <= record.qty
        assert all((e.px - limit) * (1 if side is BUY else -1) <= 0 for e in record.executions)


# -- the market ------------------------------------------------------------------------------------

DAY = date(2013, 10, 7)
OPEN, CLOSE = hours_ns(DAY)


def quote(ts_ns: int, side: int, price: int) -> NbboQuote:
    return NbboQuote(ts_ns, side, price, 100, "N", 1, False)


def test_the_market_opens_with_the_quote_of_before_and_ends_with_the_close() -> None:
    quotes = [quote(OPEN - 9, BID, 1_000_000), quote(OPEN - 8, ASK, 1_000_200), quote(OPEN, BID, 1_000_300)]
    quotes += [quote(OPEN + 1, ASK, 1_000_300), quote(CLOSE, BID, 1)]
    trades = [NbboTrade(OPEN - 1, 990_000, 900, "N", 1, False), NbboTrade(OPEN, 999_900, 70, "N", 1, False)]
    market = NbboMarket(quotes, trades, symbol="ABC", trade_date=DAY)
    playing: SimulatedMarket = market
    assert (playing.symbols, playing.next_ns()) == (("ABC",), OPEN)
    session = playing.sessions["XXXX"]
    terms = BUY, OrderType.LIMIT, TimeInForce.DAY, D(100), D(100)
    session.submit(VenueNewOrder("XXXX", "a", "ABC", *terms), OPEN)
    assert fills(playing.step()) == ["a 70@100"]
    assert (playing.step(), playing.step()) == ([], [])
    assert (market.crossed, market.locked, market.quotes, market.trades, market.played) == (1, 1, 2, 1, 3)
    assert playing.next_ns() == CLOSE
    (expired,) = playing.step()
    assert (expired.kind, expired.seq) == (K.EXPIRED, 3)
    assert (playing.next_ns(), playing.step()) == (None, [])


def test_a_market_needs_something_recorded_in_its_hours() -> None:
    with pytest.raises(RecordedDataError):
        NbboMarket([quote(OPEN - 1, BID, 1)], [], symbol="ABC", trade_date=DAY)
