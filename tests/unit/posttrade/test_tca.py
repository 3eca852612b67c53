"""What the tables of the cost analysis say of journals written by hand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.algo import AlgoTerms, Schedule, SliceKind
from qtinfra.core.events import (
    ChildRejected,
    DayOpened,
    ExecutionBusted,
    ExecutionCorrected,
    OrderReplaced,
    OrderRestated,
)
from qtinfra.core.models import Currency, OrderSide
from qtinfra.core.special import Link, SpecialTerms
from qtinfra.core.special_events import OrderTriggered
from qtinfra.marketdata.lobster import RecordedDataError
from qtinfra.posttrade.shortfall import effective_half_spread_bps, markout_bps, spread_capture
from qtinfra.posttrade.tca import AnalysisError, Tca, analyse
from qtinfra.posttrade.tca_groups import COMPONENTS
from qtinfra.posttrade.tca_tape import read_tape
from tests.unit.posttrade.story import DATE, SECOND, Story, at, book, schedule_of, twap_day

pytestmark = pytest.mark.unit

D = Decimal
BUY, SELL = OrderSide.BUY, OrderSide.SELL


def order(tca: Tca, number: int = 0) -> dict[str, Any]:
    return tca.orders.to_dicts()[number]


def bought(*, side: OrderSide = BUY, fee: str = "0") -> Story:
    """1,000 decided at 10.00, routed at 10.05, 700 filled at 10.07, the rest cancelled at 10.08."""
    story = Story()
    story.accept(0, "A", "1000", side=side, seen=book("ABC", "9.99", "10.01"))
    story.route(5, "A", "C1", "1000", "10.04", "10.06")
    story.ack(5.002, "A", "C1")
    story.fill(6, "A", "C1", "700", "10.07", fee=fee, commission="4")
    story.quote(9, "ABC", "10.07", "10.09")
    story.cancel(10, "A")
    return story


def test_the_textbook_order_splits_into_delay_trading_opportunity_and_fees() -> None:
    found = order(bought(fee="10").analysed())
    assert [found[name] for name in COMPONENTS] == [D(35), D(14), D(24), D(14)]
    assert (found["total"], found["paper_value"], found["total_bps"]) == (D(87), D(10_000), pytest.approx(87))
    assert (found["decision_px"], found["arrival_px"], found["end_px"]) == (D(10), D("10.05"), D("10.08"))
    assert (found["status"], found["fill_rate"], found["note"]) == ("CANCELLED", 0.7, "")


def test_the_same_prices_are_gains_for_a_sale() -> None:
    found = order(bought(side=SELL).analysed())
    assert [found[name] for name in COMPONENTS] == [D(-35), D(-14), D(-24), D(4)]


def test_amounts_carry_the_instruments_multiplier() -> None:
    story = Story(currency=Currency.EUR, multiplier=D(50))
    story.accept(0, "A", "2", seen=book("ABC", "99", "101"))
    story.route(0, "A", "C1", "2", "99", "101")
    story.fill(1, "A", "C1", "2", "101", fee="3")
    found = order(story.analysed())
    assert (found["trading"], found["notional"], found["total"]) == (D(100), D(10_100), D(103))
    assert (found["paper_value"], found["currency"]) == (D(10_000), "EUR")


def test_an_order_that_no_quote_met_is_not_measured_and_says_why() -> None:
    story = Story()
    story.accept(0, "A", "100")
    story.route(0, "A", "C1", "100", None, "10.01")
    story.fill(1, "A", "C1", "100", "10.01", fee="2")
    tca = story.analysed()
    found = order(tca)
    assert (found["total"], found["note"]) == (None, "no two-sided quote when it was decided")
    assert found["fees"] == D(2)
    total = tca.total.to_dicts()[0]
    assert (total["orders"], total["measured"], total["fees"]) == (1, 0, D(0))


def test_a_stop_is_decided_when_it_triggers() -> None:
    story = Story()
    story.accept(0, "A", "100", seen=book("ABC", "9.99", "10.01"))
    trigger = OrderTriggered("O-A", D("10.5"), D("10.51"), "ask", at(60))
    story.record(60, trigger, books=(book("ABC", "10.50", "10.52"),))
    story.route(60, "A", "C1", "100", "10.50", "10.52")
    story.fill(61, "A", "C1", "100", "10.52")
    found = order(story.analysed())
    assert (found["decision_ns"], found["decision_px"]) == (at(60), D("10.51"))
    assert (found["delay"], found["trading"]) == (D(0), D(1))


def test_busts_leave_and_corrections_change_what_is_measured() -> None:
    story = Story()
    story.accept(0, "A", "200", seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "200", "9.99", "10.01")
    first = story.fill(1, "A", "C1", "100", "10.05")
    second = story.fill(2, "A", "C1", "100", "10.05", fee="1")
    story.record(3, ExecutionBusted("XNAS", 0, "O-A", first, at(3)))
    story.record(4, ExecutionCorrected("XNAS", 0, "O-A", second, D(80), D("10.02"), at(4), D("0.8")))
    tca = story.analysed()
    found = order(tca)
    assert (found["filled_qty"], found["avg_px"], found["fees"]) == (D(80), D("10.02"), D("0.8"))
    assert (found["status"], tca.summary["fills_busted"], tca.fills.height) == ("PARTIALLY_FILLED", 1, 1)


def test_an_order_is_measured_on_its_last_quantity() -> None:
    story = bought()
    story.entries.insert(-2, story.entries[-1])
    del story.entries[-1]
    story.record(7, OrderReplaced("O-A", "A2", "A", D(800), None, at(7)))
    found = order(story.analysed())
    assert (found["qty"], found["opportunity"]) == (D(800), D(8))


def test_an_overfill_is_measured_on_all_that_was_bought() -> None:
    story = Story()
    story.accept(0, "A", "100", seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "100", "9.99", "10.01")
    story.fill(1, "A", "C1", "110", "10.01")
    found = order(story.analysed())
    assert (found["trading"], found["opportunity"], found["paper_value"]) == (D("1.1"), D(0), D(1100))


def test_an_order_of_a_list_owes_nothing_for_what_its_sibling_did() -> None:
    story = Story()
    linked = SpecialTerms(link=Link.OCO, link_id="L")
    for name in ("A", "B"):
        story.accept(0, name, "100", side=SELL, seen=book("ABC", "9.99", "10.01"), special=linked)
    story.route(0, "A", "C1", "100", "9.99", "10.01")
    story.fill(1, "A", "C1", "60", "10.01")
    story.quote(2, "ABC", "8.99", "9.01")
    story.cancel(2, "A")
    story.cancel(2, "B")
    tca = story.analysed()
    assert (order(tca)["opportunity"], order(tca)["paper_value"]) == (D(0), D(600))
    assert (order(tca, 1)["total"], order(tca, 1)["note"]) == (None, "one of a list, not executed")


def test_an_order_through_a_split_is_left_out() -> None:
    story = bought()
    split = OrderRestated("XNAS", 0, "O-A", D(2000), None, D(2), D(1), "", "corporate_action", at(11))
    story.record(11, split)
    assert order(story.analysed())["note"] == "its units changed by a split"


def test_an_amount_that_the_tables_cannot_hold_is_refused_by_name() -> None:
    story = Story(multiplier=D("1e-13"))
    story.accept(0, "A", "0.123456789", seen=book("ABC", "9.99", "10.01"))
    with pytest.raises(AnalysisError, match=r"paper_value of order O-A: at most 18 digits"):
        story.analysed()


def test_an_open_order_is_valued_at_the_last_quote_of_the_journal() -> None:
    story = Story()
    story.accept(0, "A", "100", seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "100", "9.99", "10.01")
    story.quote(50, "ABC", "10.09", "10.11")
    found = order(story.analysed())
    assert (found["status"], found["opportunity"], found["end_ns"]) == ("ROUTED", D(10), at(50))


price = st.integers(1, 99_999).map(lambda cents: D(cents) / 100)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Several orders with any prices, fills, fees and ends."""
    story = Story("ABC", "XYZ")
    second = 0
    for number in range(draw(st.integers(1, 4))):
        name, side = f"A{number}", draw(st.sampled_from(list(OrderSide)))
        symbol = draw(st.sampled_from(["ABC", "XYZ"]))
        bid = draw(price)
        seen = book(symbol, str(bid), str(bid + D("0.03")))
        story.accept(second, name, "1000", side=side, symbol=symbol, seen=seen)
        low = draw(price)
        story.route(second + 1, name, f"{name}C", "1000", str(low), str(low + D("0.01")))
        for part in draw(st.lists(st.integers(1, 200), max_size=5)):
            second += 2
            story.fill(
                second,
                name,
                f"{name}C",
                str(part),
                str(draw(price)),
                fee=str(draw(price)),
                added=draw(st.booleans()),
            )
        if draw(st.booleans()):
            story.cancel(second + 3, name)
        second += 5
    return story


@settings(max_examples=40, deadline=None)
@given(stories())
def test_components_sum_to_the_total_exactly_for_orders_and_for_every_group(story: Story) -> None:
    tca = story.analysed()
    parts = sum((pl.col(name) for name in COMPONENTS[1:]), pl.col(COMPONENTS[0]))
    for table in (tca.orders, tca.by_symbol, tca.by_trader, tca.by_algo, tca.by_account, tca.total):
        assert table.select((parts == pl.col("total")).all()).item()
    for table in (tca.by_symbol, tca.by_trader, tca.by_algo, tca.by_account, tca.total):
        for name in (*COMPONENTS, "total", "notional"):
            assert table[name].sum() == tca.orders[name].sum(), name


@settings(max_examples=40, deadline=None)
@given(stories())
def test_spreads_and_markouts_are_those_of_the_documented_formulas(story: Story) -> None:
    tca = story.analysed(max_age_s=3600)
    for found in tca.orders.to_dicts():
        fills = tca.fills.filter((pl.col("order_id") == found["order_id"]) & pl.col("mid").is_not_null())
        if fills.is_empty():
            continue
        side, pairs = OrderSide(found["side"]), list(zip(fills["qty"], fills["px"], strict=True))
        quotes = list(zip(fills["bid"], fills["ask"], strict=True))
        mids = [(bid + ask) / 2 for bid, ask in quotes]
        assert found["effective_bps"] == pytest.approx(float(effective_half_spread_bps(side, pairs, mids)))
        assert found["capture"] == pytest.approx(float(spread_capture(side, pairs, quotes)), rel=1e-6)
        later = fills.filter(pl.col("mid_10s").is_not_null())
        if later.height:
            kept = list(zip(later["qty"], later["px"], strict=True))
            expected = markout_bps(side, kept, [D(str(mid)) for mid in later["mid_10s"]])
            assert found["markout_10s_bps"] == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


def test_a_sampled_quote_counts_only_while_it_is_fresh() -> None:
    story = Story()
    story.accept(0, "A", "300", seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "300", "9.99", "10.01")
    story.fill(1, "A", "C1", "100", "10.01")
    story.fill(1.5, "A", "C1", "100", "10.01")
    tca = story.analysed()
    assert tca.fills["mid"].to_list() == [pytest.approx(10.0), None]
    assert tca.summary["quoted_share"] == pytest.approx(0.5)


def test_a_markout_needs_news_from_the_second_half_of_its_horizon() -> None:
    story = Story()
    story.accept(0, "A", "100", seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "100", "9.99", "10.01")
    story.fill(0, "A", "C1", "100", "10.00")
    story.quote(4, "ABC", "10.09", "10.11")
    story.quote(31, "ABC", "10.19", "10.21")
    found = story.analysed().fills.to_dicts()[0]
    assert found["markout_1s_bps"] is None
    assert found["markout_10s_bps"] is None
    assert found["markout_60s_bps"] == pytest.approx(200)
    assert found["markout_300s_bps"] is None


def test_reversion_is_measured_from_the_last_fill() -> None:
    story = Story()
    story.accept(0, "A", "200", side=SELL, seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "200", "9.99", "10.01")
    story.fill(0, "A", "C1", "100", "9.99")
    story.fill(10, "A", "C1", "100", "9.95")
    story.quote(65, "ABC", "9.97", "9.99")
    found = order(story.analysed())
    assert found["reversion_60s_bps"] == pytest.approx(0.03 / 9.95 * 1e4)


def test_interval_vwap_and_participation_come_from_what_had_printed() -> None:
    story = Story()
    story.quote(-10, "ABC", "9.99", "10.01", "5000", "10.00")
    story.accept(0, "A", "100", seen=book("ABC", "9.99", "10.01", "5000", "10.00"))
    story.route(0, "A", "C1", "100", "9.99", "10.01", slice_of=SliceKind.CROSS)
    story.quote(5, "ABC", "9.99", "10.01", "5300", "10.10")
    story.quote(6, "ABC", "9.99", "10.01", "5400", "10.50")
    story.fill(7, "A", "C1", "100", "10.20")
    story.quote(8, "ABC", "9.99", "10.01", "9000", "11.00")
    found = order(story.analysed())
    assert (found["volume"], found["vwap"]) == (400, pytest.approx(10.2))
    assert (found["participation"], found["vwap_bps"]) == (0.25, pytest.approx(0, abs=1e-6))
    assert (found["open_px"], found["close_px"]) == (10.1, 11.0)


def test_volume_of_the_day_before_is_not_printed_again() -> None:
    story = Story()
    story.quote(0, "ABC", "9.99", "10.01", "5000", "10.00")
    story.quote(5, "ABC", "9.99", "10.01", "5100", "10.00")
    story.record(86_400, DayOpened("2024-01-09"))
    story.quote(86_401, "ABC", "9.99", "10.01", "7000", "10.00")
    story.quote(86_402, "ABC", "9.99", "10.01", "7030", "10.00")
    assert [size for _, _, _, size in story.facts().prints] == [D(100), D(30)]


def test_volume_that_a_view_did_not_know_is_no_print_when_it_becomes_known() -> None:
    story = Story()
    story.quote(0, "ABC", "9.99", "10.01")
    story.quote(5, "ABC", "9.99", "10.01", "5000", "10.00")
    story.quote(6, "ABC", "9.99", "10.01", "5100", "10.00")
    assert [size for _, _, _, size in story.facts().prints] == [D(100)]


def test_what_had_printed_by_the_moment_of_the_order_is_no_part_of_its_interval() -> None:
    story = Story()
    story.quote(-10, "ABC", "9.99", "10.01", "5000", "10.00")
    story.accept(0, "A", "100", seen=book("ABC", "9.99", "10.01", "9000", "10.00"))
    story.route(0, "A", "C1", "100", "9.99", "10.01", slice_of=SliceKind.CROSS)
    story.quote(6, "ABC", "9.99", "10.01", "9400", "10.00")
    story.fill(7, "A", "C1", "100", "10.00")
    found = order(story.analysed())
    assert (found["volume"], found["participation"]) == (400, 0.25)


def test_children_know_their_latency_slice_and_venue() -> None:
    story = Story()
    story.accept(0, "A", "300", seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "100", "9.99", "10.01", slice_of=SliceKind.PASSIVE)
    story.ack(0.004, "A", "C1")
    story.fill(0.1, "A", "C1", "50", "9.99", added=True)
    story.route(1, "A", "C2", "200", "9.99", "10.01", venue="BATS")
    story.record(1.002, ChildRejected("BATS", 0, "C2", "O-A", "no", at(1.002)))
    tca = story.analysed()
    first, second = tca.children.to_dicts()
    assert (first["ack_ms"], first["first_fill_ms"], first["slice"]) == (4.0, 100.0, "PASSIVE")
    assert (first["fill_rate"], first["avg_px"]) == (0.5, pytest.approx(9.99))
    assert (second["ended_as"], second["ack_ms"], second["filled_qty"]) == ("REJECTED", None, D(0))
    venues = {row["venue"]: row for row in tca.by_venue.to_dicts()}
    assert (venues["XNAS"]["share"], venues["BATS"]["rejected"]) == (1.0, 1)
    assert (venues["XNAS"]["capture"], venues["XNAS"]["passive"]) == (pytest.approx(1.0), 1.0)


def test_a_plan_counts_until_the_next_one_replaces_it() -> None:
    story = Story()
    terms = AlgoTerms("TWAP", at(0), at(300))
    story.accept(0, "A", "300", seen=book("ABC", "9.99", "10.01"), algo=terms)
    times = tuple(at(60 * n) for n in range(5))
    story.plan(0, "A", terms, Schedule(times, times, tuple(D(60 * n) for n in range(1, 6)), at(300)))
    story.plan(130, "A", terms, Schedule((at(200),), (at(200),), (D(300),), at(300)), "resumed")
    steps = story.analysed().schedules
    assert steps["target_qty"].to_list() == [D(60), D(120), D(180), D(300)]
    assert order(story.analysed())["algo"] == "TWAP"


def test_a_plan_that_follows_the_market_keeps_its_rate() -> None:
    story = Story()
    terms = AlgoTerms("POV", at(0), at(300), target_rate=D("0.1"))
    story.accept(0, "A", "300", algo=terms)
    story.plan(0, "A", terms, schedule_of("POV", 5))
    row = story.analysed().schedules.to_dicts()[0]
    assert (row["target_qty"], row["rate"]) == (None, D("0.1"))


def test_algos_are_told_apart_and_an_algo_day_is_measured_whole() -> None:
    tca = twap_day(parents=3, slices=10).analysed()
    assert tca.by_algo["algo"].to_list() == ["POV", "TWAP", "VWAP"]
    assert tca.by_algo["fill_rate"].to_list() == [1.0, 1.0, 1.0]
    assert tca.orders["participation"].drop_nulls().is_between(0.01, 0.2).all()


def test_a_journal_without_orders_gives_empty_tables() -> None:
    tca = Story().analysed()
    assert {name: table.height for name, table in tca.tables().items()} == dict.fromkeys(tca.tables(), 0)


# --- market files ---


def filled_once() -> Story:
    story = Story()
    story.accept(0, "A", "100", seen=book("ABC", "9.99", "10.01"))
    story.route(0, "A", "C1", "100", "9.99", "10.01")
    story.fill(1, "A", "C1", "100", "10.01")
    return story


def market_file(path: Path) -> Path:
    frame = pl.DataFrame(
        {
            "symbol": ["ABC"] * 4,
            "ts_ns": [at(-100), at(0.5), at(9), at(20)],
            "bid": ["9.98", "9.99", "10.09", None],
            "ask": ["10.00", "10.01", "10.11", None],
            "px": [None, "10.00", None, "10.2"],
            "size": [None, "400", None, "10"],
        }
    )
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.with_columns(pl.col("bid", "ask", "px", "size").cast(pl.Float64)).write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["market.csv", "market.parquet"])
def test_a_market_file_holds_every_quote_so_that_none_is_too_old(tmp_path: Path, name: str) -> None:
    facts = filled_once().facts()
    tca = analyse(facts, read_tape(market_file(tmp_path / name), facts))
    fill = tca.fills.to_dicts()[0]
    assert (fill["bid"], fill["ask"]) == (D("9.99"), D("10.01"))
    assert fill["markout_1s_bps"] == pytest.approx(-0.01 / 10.01 * 1e4)
    assert fill["markout_10s_bps"] is None  # the last quote of the file is before
    found = order(tca)
    assert (found["volume"], found["vwap"], found["participation"]) == (400, 10.0, 0.25)
    assert (found["open_px"], found["close_px"], found["trade_date"]) == (10.0, 10.2, DATE)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("m.txt", "symbol", r"\.csv or \.parquet, not \.txt"),
        ("m.csv", "ts_ns,bid,ask\n1,2,3\n", "column missing: symbol"),
        ("m.csv", "symbol,ts_ns,bid\nABC,1,2\n", "column missing: ask"),
        ("m.csv", "symbol,ts_ns\nABC,1\n", "column missing: bid and ask, or px and size"),
        ("m.csv", "symbol,ts_ns,px,size\nABC,1,many,2\n", "m.csv"),
        ("m.parquet", "no parquet at all", "m.parquet"),
        ("m.csv", "", "m.csv"),
    ],
)
def test_a_market_file_that_is_none_is_refused_by_name(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RecordedDataError, match=complaint):
        read_tape(path, filled_once().facts())


def test_the_seconds_of_the_stories_are_nanoseconds() -> None:
    assert at(1) - at(0) == SECOND
