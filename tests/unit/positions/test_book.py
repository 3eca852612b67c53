"""Positions and P&L: worked examples first, then properties against independent, naive reckonings."""

from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, canonical, exact
from qtinfra.positions.book import (
    CostMethod,
    Lot,
    Position,
    PositionBook,
    cost_price,
    pnl,
    realised,
    unrealised,
    violations,
)
from qtinfra.positions.position import list_trades

pytestmark = pytest.mark.unit

D = Decimal
DAY = "2024-07-08"


@pytest.fixture(autouse=True)
def _exact_context() -> Iterator[None]:
    with exact():
        yield


def trade(
    book: PositionBook,
    key: str,
    qty: str,
    px: str,
    fee: str = "0",
    multiplier: str = "1",
    account: str = "ACC",
    symbol: str = "SYM",
) -> None:
    book.apply(account, symbol, key, D(qty), D(px), D(fee), DAY, D(multiplier))


def numbers(*values: int | Decimal) -> tuple[Decimal, ...]:
    return tuple(D(value) for value in values)


def traded(*trades: tuple[str, str]) -> PositionBook:
    """A book with trades T1, T2, … of (signed quantity, price)."""
    book = PositionBook()
    for number, (qty, px) in enumerate(trades, 1):
        trade(book, f"T{number}", qty, px)
    return book


def only(book: PositionBook) -> Position:
    position = book.get("ACC", "SYM")
    assert position is not None
    assert violations(position) == []
    return position


# --- worked examples -------------------------------------------------------------------------------------


def test_a_bust_and_a_correction_change_the_average_cost_as_if_the_trades_had_been_so_from_the_start() -> (
    None
):
    book = traded(("1000", "100"), ("9000", "110"))
    assert only(book).avg_cost == 109
    book.bust("ACC", "SYM", "T1")
    assert (only(book).qty, only(book).avg_cost) == numbers(9000, 110)
    book.correct("ACC", "SYM", "T2", D(9000), D(100))
    assert only(book).avg_cost == 100
    trade(book, "T3", "1000", "120")
    assert (only(book).qty, only(book).avg_cost, only(book).cost) == numbers(10000, 102, 1_020_000)
    assert unrealised(only(book), D(105)) == 30_000


def test_the_cost_is_the_exact_notional_and_the_average_is_derived_half_even_to_eight_places() -> None:
    position = only(traded(("100", "10.01"), ("200", "10.02"), ("3", "10.035")))
    assert position.cost == D("3035.105")
    assert position.avg_cost == D("10.01684818")


def test_a_sale_realises_against_the_average_or_against_the_oldest_lots() -> None:
    position = only(traded(("100", "10"), ("100", "12"), ("-150", "13")))
    assert (position.qty, position.avg_cost, position.realised) == numbers(50, 11, 300)
    assert (position.fifo_cost, position.realised_fifo) == numbers(600, 350)
    assert position.open_lots == [Lot(D(50), D(12))]
    assert cost_price(position, CostMethod.FIFO) == 12


def test_a_short_position_earns_when_the_price_falls() -> None:
    position = only(traded(("-100", "50"), ("40", "45")))
    assert (position.qty, position.avg_cost, position.realised) == numbers(-60, 50, 200)
    assert position.cost == -3000
    assert unrealised(position, D(44)) == 360


def test_crossing_through_zero_closes_the_old_side_and_opens_the_new_one_at_the_trade_price() -> None:
    book = traded(("100", "10"), ("-250", "12"))
    assert (only(book).qty, only(book).avg_cost, only(book).realised) == numbers(-150, 12, 200)
    trade(book, "T3", "200", "11")
    assert (only(book).qty, only(book).avg_cost, only(book).realised) == numbers(50, 11, 350)
    assert only(book).open_lots == [Lot(D(50), D(11))]


def test_a_flat_position_has_no_cost_and_its_realised_profit_is_its_cash_flow() -> None:
    position = only(traded(("3", "10"), ("-1", "11"), ("-2", "9.5")))
    assert (position.qty, position.cost, position.fifo_cost, position.avg_cost) == numbers(0, 0, 0, 0)
    assert position.realised == position.realised_fifo == position.cash == 0
    assert unrealised(position, D(1000)) == 0


def test_rounding_of_a_partial_close_stays_in_the_open_cost_and_leaves_with_the_last_unit() -> None:
    book = traded(("1", "100"), ("2", "101"), ("-1", "100"))
    assert only(book).cost == D("201.33333333")
    assert only(book).realised == D("-0.66666667")
    trade(book, "T4", "-2", "100")
    assert (only(book).cost, only(book).realised) == numbers(0, -2)


def test_a_currency_without_minor_units_stays_in_whole_numbers_where_nothing_divides() -> None:
    position = only(traded(("300", "1234"), ("100", "1250"), ("-400", "1240")))
    assert position.realised == position.realised_fifo == 400 * 1240 - 300 * 1234 - 100 * 1250
    assert canonical(position.realised).as_tuple().exponent == 0


def test_the_multiplier_scales_cost_and_profit_but_not_the_average_price() -> None:
    book = PositionBook()
    trade(book, "T1", "2", "4500.25", multiplier="50")
    trade(book, "T2", "-1", "4510.25", multiplier="50")
    position = only(book)
    assert (position.avg_cost, position.realised) == numbers(D("4500.25"), 500)
    assert unrealised(position, D("4500.75")) == 25


def test_prices_may_be_zero_or_negative() -> None:
    position = only(traded(("10", "-37.63"), ("-10", "0")))
    assert position.realised == D("376.3")


def test_bought_and_sold_totals_count_every_live_trade_once() -> None:
    book = traded(("100", "10"), ("-30", "11"), ("-100", "12"), ("5", "13"))
    book.bust("ACC", "SYM", "T4")
    position = only(book)
    assert (position.bought_qty, position.bought_value) == numbers(100, 1000)
    assert (position.sold_qty, position.sold_value) == numbers(130, 1530)


def test_the_blotter_line_nets_profit_and_fees_and_the_net_does_not_depend_on_the_method() -> None:
    book = PositionBook()
    trade(book, "T1", "100", "10", fee="0.30")
    trade(book, "T2", "100", "12", fee="0.30")
    trade(book, "T3", "-150", "13", fee="-0.10")
    line = pnl(only(book), D("13.5"))
    assert (line.qty, line.avg_cost, line.mark) == numbers(50, 11, D("13.5"))
    assert (line.realised, line.unrealised, line.fees, line.net) == numbers(300, 125, D("0.5"), D("424.5"))
    fifo = pnl(only(book), D("13.5"), CostMethod.FIFO)
    assert (fifo.avg_cost, fifo.realised, fifo.unrealised, fifo.net) == numbers(12, 350, 75, line.net)


def test_a_busted_trade_gives_its_fee_back_and_a_corrected_one_keeps_it() -> None:
    book = PositionBook()
    trade(book, "T1", "100", "10", fee="0.30")
    trade(book, "T2", "100", "12", fee="0.20")
    book.correct("ACC", "SYM", "T1", D(50), D(10))
    assert only(book).fees == D("0.5")
    book.bust("ACC", "SYM", "T1")
    assert only(book).fees == D("0.2")


def test_many_small_lots_are_used_up_oldest_first() -> None:
    book = traded(*((("1", str(px))) for px in range(1, 201)))
    for number in range(150):
        trade(book, f"S{number}", "-1", "0")
    position = only(book)
    assert [lot.unit_cost for lot in position.open_lots] == list(range(151, 201))
    assert position.fifo_cost == sum(range(151, 201))


def test_reading_is_exact_whatever_the_context_of_the_reader() -> None:
    position = only(traded(("123456789012345678", "1234567890.123456789"), ("-1", "1")))
    mark = D("0.000000001")
    expected = (
        realised(position),
        unrealised(position, mark),
        position.sold_value,
        position.open_lots[0].cost,
    )
    with localcontext(Context(prec=5)):
        read = (
            realised(position),
            unrealised(position, mark),
            position.sold_value,
            position.open_lots[0].cost,
        )
    assert read == expected


# --- corporate actions -----------------------------------------------------------------------------------


def test_a_split_multiplies_the_quantity_divides_the_average_and_keeps_the_cost() -> None:
    book = traded(("100", "50"), ("200", "56"))
    book.scale("ACC", "SYM", D(2), D(1))
    position = only(book)
    assert (position.qty, position.avg_cost, position.cost) == numbers(600, 27, 16_200)
    assert position.open_lots == [Lot(D(200), D(25)), Lot(D(400), D(28))]
    assert position.realised == position.realised_fifo == 0
    trade(book, "T3", "-300", "30")
    assert (only(book).realised, only(book).realised_fifo) == numbers(900, 1200)


def test_a_split_that_does_not_divide_the_price_loses_nothing() -> None:
    book = traded(("100", "10"))
    book.scale("ACC", "SYM", D(3), D(1))
    assert (only(book).qty, only(book).avg_cost, only(book).cost) == numbers(300, D("3.33333333"), 1000)
    trade(book, "T2", "-299", "4")
    trade(book, "T3", "-1", "4")
    assert only(book).realised == only(book).realised_fifo == 200


def test_a_reverse_split_rounds_the_fraction_once_for_the_whole_position() -> None:
    book = traded(("10", "30"), ("10", "30"), ("10", "33"))
    book.scale("ACC", "SYM", D(1), D(7))
    position = only(book)
    assert position.qty == D("4.28571429")
    assert [lot.qty for lot in position.open_lots] == [D("1.42857143"), D("1.42857143"), D("1.42857143")]
    assert position.cost == position.fifo_cost == 930
    assert sum(lot.cost for lot in position.open_lots) == 930


def test_lots_that_a_reverse_split_wipes_out_leave_their_cost_to_a_neighbour() -> None:
    book = traded(("0.000000001", "1000"), ("1", "5"), ("0.000000001", "2000"))
    book.scale("ACC", "SYM", D(1), D(10))
    position = only(book)
    assert [(lot.qty, lot.cost) for lot in position.open_lots] == [(D("0.1"), D("5.000003"))]


def test_a_position_scaled_down_to_nothing_realises_its_cost() -> None:
    book = traded(("0.00000001", "100"))
    book.scale("ACC", "SYM", D(1), D(10))
    position = only(book)
    assert (position.qty, position.cost, position.realised) == numbers(0, 0, D("-0.000001"))


def test_a_trade_from_before_a_split_is_corrected_in_the_units_of_its_day() -> None:
    book = traded(("100", "50"), ("100", "60"))
    book.scale("ACC", "SYM", D(2), D(1))
    trade(book, "T3", "100", "30")
    book.correct("ACC", "SYM", "T1", D(50), D(52))
    assert only(book).qty == 50 * 2 + 100 * 2 + 100
    assert only(book).cost == 50 * 52 + 100 * 60 + 100 * 30
    book.bust("ACC", "SYM", "T2")
    book.bust("ACC", "SYM", "T1")
    assert (only(book).qty, only(book).cost) == numbers(100, 3000)


def test_a_bust_of_the_first_trade_after_a_split_leaves_the_split_to_those_before_it() -> None:
    book = traded(("100", "50"))
    book.scale("ACC", "SYM", D(2), D(1))
    trade(book, "T2", "30", "26")
    trade(book, "T3", "40", "27")
    book.bust("ACC", "SYM", "T2")
    assert (only(book).qty, only(book).cost) == numbers(100 * 2 + 40, 100 * 50 + 40 * 27)


def test_a_corporate_action_leaves_an_account_without_a_position_alone() -> None:
    book = traded(("100", "50"))
    book.scale("OTHER", "SYM", D(2), D(1))
    book.scale("ACC", "OTHER", D(2), D(1))
    assert [key for key, _ in book.positions()] == [("ACC", "SYM")]


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "symbol", "key"), [("ACC", "SYM", "T9"), ("ACC", "X", "T1"), ("B", "SYM", "T1")]
)
def test_a_bust_or_correction_of_an_unknown_trade_is_refused_by_name(
    account: str, symbol: str, key: str
) -> None:
    book = traded(("100", "50"))
    before = msgspec.msgpack.encode(book)
    with pytest.raises(ValueError, match=f"'{key}' in {symbol} of {account}"):
        book.bust(account, symbol, key)
    with pytest.raises(ValueError, match=f"'{key}' in {symbol} of {account}"):
        book.correct(account, symbol, key, ONE, ONE)
    assert msgspec.msgpack.encode(book) == before


def test_a_second_bust_of_the_same_trade_is_refused_by_name() -> None:
    book = traded(("100", "50"), ("100", "51"))
    book.bust("ACC", "SYM", "T1")
    with pytest.raises(ValueError, match=r"'T1'.*busted already"):
        book.bust("ACC", "SYM", "T1")
    book.bust("ACC", "SYM", "T2")
    with pytest.raises(ValueError, match=r"'T2'.*busted already"):
        book.bust("ACC", "SYM", "T2")


def test_a_correction_to_zero_is_a_bust_and_to_less_is_refused() -> None:
    corrected, busted = traded(("100", "50"), ("-30", "51")), traded(("100", "50"), ("-30", "51"))
    with pytest.raises(ValueError, match="'T1' to a negative quantity"):
        corrected.correct("ACC", "SYM", "T1", D(-1), D(50))
    corrected.correct("ACC", "SYM", "T1", ZERO, D(50))
    busted.bust("ACC", "SYM", "T1")
    assert corrected == busted


def test_the_only_trade_of_a_position_takes_the_position_with_it_when_busted() -> None:
    book = traded(("100", "50"))
    book.bust("ACC", "SYM", "T1")
    assert book == PositionBook()
    assert book.get("ACC", "SYM") is None


@pytest.mark.parametrize(("num", "den"), [("0", "1"), ("1", "0"), ("-2", "1")])
def test_a_ratio_that_is_not_positive_is_refused(num: str, den: str) -> None:
    with pytest.raises(ValueError, match="ratio must be positive"):
        traded(("100", "50")).scale("ACC", "SYM", D(num), D(den))


def test_a_trade_without_quantity_is_refused_and_leaves_no_position() -> None:
    book = PositionBook()
    with pytest.raises(ValueError, match="'T1' has no quantity"):
        trade(book, "T1", "0", "10")
    assert list(book.positions()) == []


def test_positions_are_listed_by_account_in_order_of_their_first_trade() -> None:
    book = PositionBook()
    for account, symbol in (("B", "Y"), ("A", "Z"), ("B", "X"), ("B", "Y")):
        trade(book, f"{account}{symbol}", "1", "1", account=account, symbol=symbol)
    assert [key for key, _ in book.positions()] == [("B", "Y"), ("B", "X"), ("A", "Z")]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("qty", D(7), "do not sum to the quantity"),
        ("cost", D(7), "cost is not what the trades come to"),
        ("sold_value", D(7), "sold_value is not what the trades come to"),
        ("fees", D(7), "fees is not what the trades come to"),
        ("multiplier", D(7), "multiplier is not what the trades come to"),
        ("qty", ZERO, "flat position has open cost"),
        ("qty", D(-10), "wrong side"),
        ("bought_qty", ONE, "less bought than held"),
    ],
)
def test_a_position_whose_parts_disagree_is_found(field: str, value: Decimal, complaint: str) -> None:
    position = only(traded(("10", "5")))
    setattr(position, field, value)
    assert any(complaint in text for text in violations(position))


# --- properties ------------------------------------------------------------------------------------------

quantities = st.integers(-500, 500).filter(bool).map(D)
fractional = st.integers(-(10**9), 10**9).filter(bool).map(lambda n: D(n).scaleb(-4))
prices = st.integers(-100, 100_000).map(lambda n: D(n).scaleb(-2))
fills = st.lists(st.tuples(quantities | fractional, prices), min_size=1, max_size=30)


def booked(trades: list[tuple[Decimal, Decimal]]) -> Position:
    book = PositionBook()
    for number, (qty, px) in enumerate(trades):
        book.apply("ACC", "SYM", f"T{number}", qty, px, ZERO, DAY, ONE)
    return only(book)


def naive_average(trades: list[tuple[Decimal, Decimal]]) -> tuple[Fraction, Fraction]:
    """(open cost, realised) by the textbook: what is closed takes its share of the cost, rounded."""
    held = cost = earned = Fraction(0)
    for qty, px in ((Fraction(qty), Fraction(px)) for qty, px in trades):
        closing = Fraction(0) if held * qty >= 0 else max(-abs(held), -abs(qty)) * (1 if held > 0 else -1)
        if closing:
            share = cost if closing == -held else round(cost * -closing / held, 8)
            cost -= share
            earned += -closing * px - share
            held += closing
        cost += (qty - closing) * px
        held += qty - closing
    return cost, earned


def naive_fifo(trades: list[tuple[Decimal, Decimal]]) -> tuple[Fraction, Fraction]:
    """(open cost, realised) by matching every closing trade with the oldest open ones."""
    queue: list[tuple[Fraction, Fraction]] = []
    earned = Fraction(0)
    for traded_qty, traded_px in trades:
        qty, px = Fraction(traded_qty), Fraction(traded_px)
        while qty and queue and queue[0][0] * qty < 0:
            open_qty, open_px = queue.pop(0)
            matched = min(abs(qty), abs(open_qty)) * (1 if open_qty > 0 else -1)
            earned += matched * (px - open_px)
            qty += matched
            if open_qty != matched:
                queue.insert(0, (open_qty - matched, open_px))
        if qty:
            queue.append((qty, px))
    return sum((qty * px for qty, px in queue), Fraction(0)), earned


@settings(deadline=None)
@given(fills)
def test_average_cost_agrees_with_the_textbook_to_the_last_digit(
    trades: list[tuple[Decimal, Decimal]],
) -> None:
    position = booked(trades)
    assert (Fraction(position.cost), Fraction(position.realised)) == naive_average(trades)


@settings(deadline=None)
@given(fills)
def test_fifo_agrees_with_matching_trade_by_trade(trades: list[tuple[Decimal, Decimal]]) -> None:
    position = booked(trades)
    assert (Fraction(position.fifo_cost), Fraction(position.realised_fifo)) == naive_fifo(trades)


@settings(deadline=None)
@given(fills, prices)
def test_total_profit_is_the_same_under_both_methods_and_equals_cash_flow_plus_market_value(
    trades: list[tuple[Decimal, Decimal]], mark: Decimal
) -> None:
    position = booked(trades)
    cash_flow = -sum((qty * px for qty, px in trades), ZERO)
    total = cash_flow + sum((qty for qty, _ in trades), ZERO) * mark
    assert realised(position) + unrealised(position, mark) == total
    assert realised(position, CostMethod.FIFO) + unrealised(position, mark, CostMethod.FIFO) == total
    assert cash_flow + position.cost == position.realised
    assert position.bought_qty - position.sold_qty == position.qty
    assert position.sold_value - position.bought_value == cash_flow


@settings(deadline=None)
@given(fills)
def test_a_short_history_is_the_mirror_image_of_the_long_one(trades: list[tuple[Decimal, Decimal]]) -> None:
    long, short = booked(trades), booked([(-qty, px) for qty, px in trades])
    assert (short.qty, short.cost, short.fifo_cost) == (-long.qty, -long.cost, -long.fifo_cost)
    assert (short.realised, short.realised_fifo) == (-long.realised, -long.realised_fifo)
    assert (short.bought_qty, short.bought_value) == (long.sold_qty, long.sold_value)
    assert short.avg_cost == long.avg_cost


ratios = st.sampled_from([(D(2), ONE), (D(3), ONE), (ONE, D(4)), (D(3), D(7))])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.sampled_from(("X", "Y")), quantities | fractional, prices),
        st.tuples(st.just("scale"), st.sampled_from(("X", "Y")), ratios),
        st.tuples(st.just("bust"), st.integers(0, 30)),
        st.tuples(st.just("correct"), st.integers(0, 30), quantities.map(abs) | st.just(ZERO), prices),
    ),
    max_size=30,
)


class History:
    """The same steps twice: applied to a book as they come, and kept as what should have happened."""

    def __init__(self) -> None:
        self.book = PositionBook()
        self.count = 0
        self.should: list[tuple[str, str, Decimal, Decimal]] = []  # key ("" a scaling), symbol, two numbers

    def take(self, step: tuple[object, ...]) -> None:
        match step:
            case ("trade", str(symbol), Decimal() as qty, Decimal() as px):
                self.count += 1
                key = f"K{self.count}"
                self.book.apply("ACC", symbol, key, qty, px, abs(qty), DAY, ONE)
                self.should.append((key, symbol, qty, px))
            case ("scale", str(symbol), (Decimal() as num, Decimal() as den)):
                self.book.scale("ACC", symbol, num, den)
                self.should.append(("", symbol, num, den))
            case ("bust", int(pick)):
                self.amend(pick, ZERO, None)
            case ("correct", int(pick), Decimal() as qty, Decimal() as px):
                self.amend(pick, qty, px)

    def amend(self, pick: int, qty: Decimal, px: Decimal | None) -> None:
        live = [index for index, entry in enumerate(self.should) if entry[0]]
        if not live:
            return
        index = live[pick % len(live)]
        key, symbol, old_qty, _ = self.should[index]
        if px is None:
            self.book.bust("ACC", symbol, key)
        else:
            self.book.correct("ACC", symbol, key, qty, px)
        if px is None or not qty:
            del self.should[index]
        else:
            self.should[index] = (key, symbol, qty if old_qty > 0 else -qty, px)

    def rebuilt(self, fees: dict[str, Decimal]) -> PositionBook:
        book = PositionBook()
        for key, symbol, first, second in self.should:
            if key:
                book.apply("ACC", symbol, key, first, second, fees[key], DAY, ONE)
            else:
                book.scale("ACC", symbol, first, second)
        return book


@settings(deadline=None)
@given(steps)
def test_busts_and_corrections_equal_a_history_in_which_they_had_been_so_from_the_start(
    script: list[tuple[object, ...]],
) -> None:
    history = History()
    for step in script:
        history.take(step)
    fees = {trade.key: trade.fee for _, position in history.book.positions() for trade in position.trades}
    rebuilt = history.rebuilt(fees)
    for book in (history.book, rebuilt):
        for _, position in book.positions():
            list_trades(position, position.trades)
    assert history.book == rebuilt
    assert [violations(position) for _, position in history.book.positions() if violations(position)] == []


@settings(deadline=None)
@given(steps, steps)
def test_a_book_that_was_encoded_and_decoded_is_equal_and_goes_on_identically(
    before: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    first, second = History(), History()
    for step in before:
        first.take(step)
        second.take(step)
    state = msgspec.msgpack.encode(first.book)
    second.book = msgspec.msgpack.decode(state, type=PositionBook)
    assert second.book == first.book
    assert msgspec.msgpack.encode(second.book) == state
    for step in after:
        first.take(step)
        second.take(step)
    assert msgspec.msgpack.encode(second.book) == msgspec.msgpack.encode(first.book)


@settings(deadline=None)
@given(fills, ratios)
def test_a_corporate_action_changes_no_cost_no_cash_and_no_realised_profit(
    trades: list[tuple[Decimal, Decimal]], ratio: tuple[Decimal, Decimal]
) -> None:
    book = PositionBook()
    for number, (qty, px) in enumerate(trades):
        book.apply("ACC", "SYM", f"T{number}", qty, px, ZERO, DAY, ONE)
    before = only(book)
    figures = (before.cost, before.fifo_cost, before.cash, before.realised, before.realised_fifo)
    book.scale("ACC", "SYM", *ratio)
    after = only(book)
    assert (after.cost, after.fifo_cost, after.cash, after.realised, after.realised_fifo) == figures


_SIGNED = st.sampled_from(["100", "-100", "40", "-40", "0.5", "-0.5", "33"])
_PX = st.sampled_from(["10", "9.99", "0", "-1.5", "3.3333"])


@given(
    st.lists(st.tuples(_SIGNED, _PX, st.sampled_from(["0", "0.3", "-0.02"])), max_size=40),
    st.sampled_from(["1", "0.5", "100"]),
)
@settings(max_examples=100, deadline=None)
def test_booking_a_trade_changes_the_numbers_as_computing_them_anew_from_the_trades(
    trades: list[tuple[str, str, str]], multiplier: str
) -> None:
    book = PositionBook()
    with exact():
        for number, (qty, px, fee) in enumerate(trades):
            before = book.get("ACC", "SYM")
            held = ZERO if before is None else before.qty
            units = book.apply("ACC", "SYM", f"T{number}", D(qty), D(px), D(fee), DAY, D(multiplier))
            position = book.accounts["ACC"]["SYM"]
            assert units == position.qty == held + D(qty)
            assert violations(position) == []
