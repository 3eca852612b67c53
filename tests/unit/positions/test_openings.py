"""Start-of-day positions and the folding of old trades: examples, then properties against all trades."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, exact, quotient
from qtinfra.positions.book import (
    FoldedTradeError,
    Lot,
    Position,
    PositionBook,
    Scaling,
    unrealised,
    violations,
)

pytestmark = pytest.mark.unit

D = Decimal


@pytest.fixture(autouse=True)
def _exact_context() -> Iterator[None]:
    with exact():
        yield


def day(number: int) -> str:
    return f"2024-07-{number:02d}"


def trade(book: PositionBook, key: str, qty: str, px: str, on: int = 8, fee: str = "0") -> None:
    book.apply("ACC", "SYM", key, D(qty), D(px), D(fee), day(on), ONE)


def numbers(*values: int | str) -> tuple[Decimal, ...]:
    return tuple(D(value) for value in values)


def load(book: PositionBook, qty: str, px: str, cost: str | None = None) -> None:
    book.load("ACC", "SYM", D(qty), D(px), ONE, None if cost is None else D(cost))


def only(book: PositionBook) -> Position:
    position = book.get("ACC", "SYM")
    assert position is not None
    assert violations(position) == []
    return position


def figures(position: Position) -> tuple[object, ...]:
    """Everything a reader can see, apart from the list of trades."""
    return (
        position.qty,
        position.cash,
        position.cost,
        position.fifo_cost,
        position.bought_qty,
        position.bought_value,
        position.sold_qty,
        position.sold_value,
        position.fees,
        position.realised,
        position.realised_fifo,
        position.avg_cost,
        position.open_lots,
    )


# --- start of day ----------------------------------------------------------------------------------------


def test_a_loaded_position_starts_both_cost_methods_and_has_earned_nothing() -> None:
    book = PositionBook()
    load(book, "100", "10.50")
    position = only(book)
    assert (position.qty, position.avg_cost, position.cost, position.fifo_cost) == numbers(
        100, "10.5", 1050, 1050
    )
    assert position.realised == position.realised_fifo == position.fees == 0
    assert position.open_lots == [Lot(D(100), D("10.5"))]
    assert unrealised(position, D(11)) == 50


def test_a_loaded_short_position_earns_when_it_is_bought_back_cheaper() -> None:
    book = PositionBook()
    load(book, "-100", "50")
    trade(book, "T1", "40", "45")
    assert (only(book).qty, only(book).avg_cost, only(book).realised) == numbers(-60, 50, 200)


def test_what_was_loaded_is_the_oldest_lot() -> None:
    book = PositionBook()
    load(book, "100", "10")
    trade(book, "T1", "100", "12")
    trade(book, "T2", "-150", "13")
    assert (only(book).realised, only(book).realised_fifo) == numbers(300, 350)


def test_a_load_carries_the_exact_cost_where_the_average_was_rounded() -> None:
    book = PositionBook()
    load(book, "3", "33.33333333", cost="100")
    assert (only(book).cost, only(book).fifo_cost, only(book).avg_cost) == numbers(100, 100, "33.33333333")
    trade(book, "T1", "-3", "40")
    assert only(book).realised == only(book).realised_fifo == 20


def test_the_multiplier_of_a_load_counts_in_its_cost() -> None:
    book = PositionBook()
    book.load("ACC", "SYM", D(2), D(4500), D(50))
    assert (only(book).cost, only(book).avg_cost) == numbers(450_000, 4500)


def test_a_second_load_replaces_the_first_and_a_load_of_nothing_takes_it_back() -> None:
    book = PositionBook()
    load(book, "100", "10")
    load(book, "70", "11")
    assert (only(book).qty, only(book).cost) == numbers(70, 770)
    load(book, "0", "0")
    assert book == PositionBook()
    load(book, "0", "0")
    assert book == PositionBook()


def test_a_load_over_a_position_that_has_traded_is_refused_and_replaces_nothing() -> None:
    book = PositionBook()
    load(book, "100", "10")
    trade(book, "T1", "1", "10")
    before = msgspec.msgpack.encode(book)
    with pytest.raises(ValueError, match="SYM of ACC has traded"):
        load(book, "70", "11")
    assert msgspec.msgpack.encode(book) == before
    book.bust("ACC", "SYM", "T1")
    load(book, "70", "11")
    assert only(book).qty == 70


def test_a_load_over_folded_trades_is_refused() -> None:
    book = PositionBook()
    trade(book, "T1", "1", "10", on=1)
    book.fold_before(day(2))
    with pytest.raises(ValueError, match="has traded"):
        load(book, "70", "11")


def test_a_load_survives_the_bust_of_every_trade_after_it() -> None:
    book, untouched = PositionBook(), PositionBook()
    load(book, "100", "10")
    load(untouched, "100", "10")
    trade(book, "T1", "-250", "12")
    trade(book, "T2", "30", "11")
    book.bust("ACC", "SYM", "T1")
    book.bust("ACC", "SYM", "T2")
    assert book == untouched


def test_a_split_after_a_load_scales_it_whatever_is_busted_afterwards() -> None:
    book = PositionBook()
    load(book, "100", "10")
    trade(book, "T1", "50", "16")
    book.scale("ACC", "SYM", D(2), D(1))
    book.bust("ACC", "SYM", "T1")
    assert (only(book).qty, only(book).avg_cost) == numbers(200, 5)
    assert only(book).scalings == []
    book.scale("ACC", "SYM", D(1), D(4))
    assert only(book).scalings == []
    trade(book, "T2", "10", "22")
    book.correct("ACC", "SYM", "T2", D(10), D(26))
    assert (only(book).qty, only(book).cost) == numbers(60, 1260)


# --- fees of single trades -------------------------------------------------------------------------------


def test_a_correction_may_bring_a_new_fee_and_a_fee_alone_may_change() -> None:
    book = PositionBook()
    trade(book, "T1", "100", "10", fee="1.00")
    trade(book, "T2", "100", "10", fee="0.50")
    book.correct("ACC", "SYM", "T1", D(50), D(10), D("0.75"))
    assert only(book).fees == D("1.25")
    book.set_fee("ACC", "SYM", "T2", D("-0.10"))
    assert only(book).fees == D("0.65")
    book.bust("ACC", "SYM", "T1")
    assert only(book).fees == D("-0.10")
    with pytest.raises(ValueError, match="'T1'"):
        book.set_fee("ACC", "SYM", "T1", ZERO)


# --- folding ---------------------------------------------------------------------------------------------


def test_trades_from_before_the_date_leave_and_no_figure_changes() -> None:
    book = PositionBook()
    trade(book, "T1", "100", "10", on=1, fee="0.3")
    trade(book, "T2", "-30", "11", on=2)
    trade(book, "T3", "5", "12", on=3)
    before = figures(only(book))
    assert book.fold_before(day(3)) == 2
    assert [t.key for t in only(book).trades] == ["T3"]
    assert figures(only(book)) == before
    assert book.fold_before(day(3)) == 0


def test_a_bust_or_correction_of_a_folded_trade_is_a_typed_error_that_names_it() -> None:
    book = PositionBook()
    trade(book, "T1", "100", "10", on=1)
    trade(book, "T2", "-30", "11", on=2)
    book.fold_before(day(2))
    assert not book.holds("ACC", "SYM", "T1")
    assert book.holds("ACC", "SYM", "T2")
    before = msgspec.msgpack.encode(book)
    with pytest.raises(FoldedTradeError, match=r"'T1'.*before 2024-07-02") as caught:
        book.bust("ACC", "SYM", "T1")
    assert (caught.value.account, caught.value.symbol, caught.value.key) == ("ACC", "SYM", "T1")
    with pytest.raises(FoldedTradeError):
        book.correct("ACC", "SYM", "T1", ONE, ONE)
    assert msgspec.msgpack.encode(book) == before


def test_a_trade_still_listed_after_a_fold_can_be_busted_and_corrected() -> None:
    book = PositionBook()
    trade(book, "T1", "1", "100", on=1)
    trade(book, "T2", "2", "101", on=1)
    trade(book, "T3", "-1", "100", on=2)
    book.fold_before(day(2))
    book.bust("ACC", "SYM", "T3")
    assert (only(book).qty, only(book).cost, only(book).realised) == numbers(3, 302, 0)
    with pytest.raises(FoldedTradeError):
        book.bust("ACC", "SYM", "T3")


def test_an_old_trade_that_arrived_behind_one_that_stays_stays_too() -> None:
    book = PositionBook()
    trade(book, "T1", "1", "10", on=3)
    trade(book, "T2", "1", "10", on=1)
    assert book.fold_before(day(2)) == 0
    assert book.fold_before(day(4)) == 2
    trade(book, "LATE", "1", "10", on=1)
    assert book.fold_before(day(2)) == 1
    with pytest.raises(FoldedTradeError, match="before 2024-07-04"):
        book.bust("ACC", "SYM", "LATE")


def test_a_split_between_folded_trades_goes_with_them_and_a_later_one_keeps_its_place() -> None:
    book = PositionBook()
    trade(book, "T1", "100", "40", on=1)
    book.scale("ACC", "SYM", D(2), D(1))
    trade(book, "T2", "100", "20", on=2)
    trade(book, "T3", "50", "22", on=3)
    book.scale("ACC", "SYM", D(5), D(1))
    trade(book, "T4", "10", "5", on=4)
    assert book.fold_before(day(2)) == 1
    assert only(book).scalings == [Scaling(2, D(5), ONE)]
    assert book.fold_before(day(3)) == 1
    assert only(book).scalings == [Scaling(1, D(5), ONE)]
    book.correct("ACC", "SYM", "T3", D(60), D(20))
    assert (only(book).qty, only(book).cost) == numbers((300 + 60) * 5 + 10, 4000 + 2000 + 1200 + 50)
    book.bust("ACC", "SYM", "T3")
    assert (only(book).qty, only(book).cost) == numbers(300 * 5 + 10, 4000 + 2000 + 50)
    assert only(book).scalings == []


def test_a_flat_position_keeps_what_it_has_earned_when_all_its_trades_have_left() -> None:
    book = PositionBook()
    trade(book, "T1", "100", "10", on=1)
    trade(book, "T2", "-100", "12", on=1)
    book.fold_before(day(9))
    assert (only(book).qty, only(book).realised) == numbers(0, 200)
    assert only(book).trades == []


quantities = st.integers(-300, 300).filter(bool).map(D)
prices = st.integers(-100, 10_000).map(lambda n: D(n).scaleb(-2))
ratios = st.sampled_from([(D(2), ONE), (ONE, D(4)), (D(3), D(7))])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), quantities, prices),
        st.tuples(st.just("scale"), ratios),
        st.tuples(st.just("bust"), st.integers(0, 30)),
        st.tuples(st.just("correct"), st.integers(0, 30), quantities.map(abs), prices),
        st.tuples(st.just("fold"), st.integers(1, 28)),
        st.tuples(st.just("day"), st.just(1)),
    ),
    max_size=30,
)
openings = st.none() | st.tuples(quantities, prices)


class Twins:
    """The same history in a book that folds and in one that does not."""

    def __init__(self, opening: tuple[Decimal, Decimal] | None) -> None:
        self.folding, self.whole = PositionBook(), PositionBook()
        self.count, self.today = 0, 1
        if opening is not None:
            for book in self.books():
                book.load("ACC", "SYM", *opening, ONE)

    def books(self) -> tuple[PositionBook, PositionBook]:
        return self.folding, self.whole

    def take(self, step: tuple[object, ...]) -> None:
        match step:
            case ("trade", Decimal() as qty, Decimal() as px):
                self.count += 1
                for book in self.books():
                    book.apply("ACC", "SYM", f"K{self.count}", qty, px, abs(qty), day(self.today), ONE)
            case ("scale", (Decimal() as num, Decimal() as den)):
                for book in self.books():
                    book.scale("ACC", "SYM", num, den)
            case ("bust", int(pick)):
                self.amend(pick, ZERO, ZERO)
            case ("correct", int(pick), Decimal() as qty, Decimal() as px):
                self.amend(pick, qty, px)
            case ("fold", int(before)):
                self.folding.fold_before(day(min(before, self.today)))
            case ("day", int()):
                self.today = min(28, self.today + 1)

    def amend(self, pick: int, qty: Decimal, px: Decimal) -> None:
        position = self.folding.get("ACC", "SYM")
        if position is None or not position.trades:
            return
        key = position.trades[pick % len(position.trades)].key
        for book in self.books():
            book.correct("ACC", "SYM", key, qty, px)


@settings(deadline=None)
@given(openings, steps)
def test_a_book_that_folds_shows_the_same_figures_for_ever_as_one_that_keeps_every_trade(
    opening: tuple[Decimal, Decimal] | None, script: list[tuple[object, ...]]
) -> None:
    twins = Twins(opening)
    for step in script:
        twins.take(step)
        folded, whole = twins.folding.get("ACC", "SYM"), twins.whole.get("ACC", "SYM")
        assert (folded is None) == (whole is None)
        if folded is not None and whole is not None:
            assert figures(folded) == figures(whole)
            assert violations(folded) == []


@settings(deadline=None)
@given(openings, steps)
def test_a_folded_book_that_was_encoded_and_decoded_is_equal(
    opening: tuple[Decimal, Decimal] | None, script: list[tuple[object, ...]]
) -> None:
    twins = Twins(opening)
    for step in script:
        twins.take(step)
    state = msgspec.msgpack.encode(twins.folding)
    assert msgspec.msgpack.decode(state, type=PositionBook) == twins.folding


@settings(deadline=None)
@given(quantities, prices, st.lists(st.tuples(quantities, prices), max_size=10))
def test_a_load_is_to_the_profit_what_a_trade_at_its_average_would_be(
    qty: Decimal, px: Decimal, trades: list[tuple[Decimal, Decimal]]
) -> None:
    loaded, bought = PositionBook(), PositionBook()
    loaded.load("ACC", "SYM", qty, px, ONE)
    bought.apply("ACC", "SYM", "T0", qty, px, ZERO, day(1), ONE)
    for number, (more, at) in enumerate(trades, 1):
        for book in (loaded, bought):
            book.apply("ACC", "SYM", f"T{number}", more, at, ZERO, day(1), ONE)
    assert figures(only(loaded)) == figures(only(bought))


@given(st.integers(1, 10**12), st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_partial_close_takes_out_the_correctly_rounded_share_of_the_cost(
    cents: int, held: int, closed: int
) -> None:
    held += closed
    cost = D(cents).scaleb(-2)
    book = PositionBook()
    book.load("ACC", "SYM", D(held), ZERO, ONE, cost)
    book.apply("ACC", "SYM", "T1", D(-closed), ONE, ZERO, day(1), ONE)
    assert only(book).cost == cost - quotient(cost * closed, D(held))
