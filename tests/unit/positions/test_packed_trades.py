"""Trades that are kept as bytes count like those in the list, and can be busted and corrected like them."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.positions.book import PositionBook

pytestmark = pytest.mark.unit

DAYS = ("2024-01-08", "2024-01-09", "2024-01-10")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.integers(-5, 5).filter(bool), st.integers(1, 9)),
        st.tuples(st.just("bust"), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("correct"), st.integers(0, 50), st.integers(1, 9)),
        st.tuples(st.just("fee"), st.integers(0, 50), st.integers(0, 3)),
        st.tuples(st.just("scale"), st.integers(1, 3), st.integers(1, 3)),
        st.tuples(st.just("fold"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("pack"), st.integers(1, 4), st.just(0)),
    ),
    max_size=40,
)


@pytest.fixture(autouse=True)
def _exact_context() -> Iterator[None]:
    with exact():
        yield


def take(book: PositionBook, number: int, step: tuple[str, int, int]) -> object:
    """One step; the error when it is refused."""
    kind, first, second = step
    key = f"T{first}"
    try:
        if kind == "apply":
            day = DAYS[number * 3 // 41]
            book.apply("A", "S", f"T{number}", Decimal(first), Decimal(second), ZERO, day, ONE)
        elif kind == "bust":
            book.bust("A", "S", key)
        elif kind == "correct":
            book.correct("A", "S", key, Decimal(second), Decimal(second), ONE)
        elif kind == "fee":
            book.set_fee("A", "S", key, Decimal(second))
        elif kind == "scale":
            book.scale("A", "S", Decimal(first), Decimal(second))
        elif kind == "fold":
            return book.fold_before(DAYS[first])
    except ValueError as error:
        return str(error)
    return None


def seen(book: PositionBook) -> object:
    """The position by its figures and by the keys that can be busted."""
    position = book.get("A", "S")
    if position is None:
        return None
    names = ("qty", "cash", "cost", "fifo_cost", "bought_qty", "bought_value", "fees", "open_lots", "opening")
    figures = [getattr(position, name) for name in names]
    return figures, [book.holds("A", "S", f"T{number}") for number in range(51)]


@settings(deadline=None)
@given(steps)
def test_a_book_whose_trades_are_packed_now_and_then_is_like_one_whose_never_are(
    script: list[tuple[str, int, int]],
) -> None:
    packed, plain = PositionBook(), PositionBook()
    for number, step in enumerate(script):
        if step[0] == "pack":
            packed.pack("A", "S", step[1])
        else:
            assert take(packed, number, step) == take(plain, number, step)
        assert seen(packed) == seen(plain)


def traded(count: int) -> PositionBook:
    book = PositionBook()
    for number in range(count):
        book.apply("A", "S", f"T{number}", ONE, ONE, ZERO, DAYS[0], ONE)
    return book


def listed(book: PositionBook) -> tuple[int, int]:
    """How many trades are in the list, how many packed."""
    position = book.get("A", "S")
    assert position is not None
    return len(position.trades), position.packed_count


def test_packing_moves_the_oldest_and_a_bust_has_them_back_in_the_list() -> None:
    book = traded(10)
    book.pack("A", "S", 4)
    assert listed(book) == (6, 4)
    book.pack("A", "S", 99)
    assert listed(book) == (0, 10)
    book.bust("A", "S", "T3")
    assert listed(book) == (9, 0)


def test_the_trades_come_back_in_the_order_of_their_arrival() -> None:
    book, plain = PositionBook(), PositionBook()
    for number, (qty, px) in enumerate([(2, 10), (2, 20), (-3, 30), (4, 40), (-1, 50)]):
        for each in (book, plain):
            each.apply("A", "S", f"T{number}", Decimal(qty), Decimal(px), ZERO, DAYS[0], ONE)
        book.pack("A", "S", 1 if number % 2 else 0)
    book.bust("A", "S", "T3")
    plain.bust("A", "S", "T3")
    assert book == plain
    position = book.get("A", "S")
    assert position is not None
    assert [trade.key for trade in position.trades] == ["T0", "T1", "T2", "T4"]


def test_a_long_list_gets_short_again() -> None:
    book = traded(1_000)
    for _ in range(300):
        book.pack("A", "S", 1)
    assert listed(book)[0] < 64


def test_a_position_that_lists_a_corporate_action_keeps_its_trades_as_they_are() -> None:
    book = traded(3)
    book.scale("A", "S", Decimal(2), ONE)
    book.pack("A", "S", 3)
    assert listed(book) == (3, 0)


def test_a_position_that_does_not_exist_has_nothing_to_pack() -> None:
    book = PositionBook()
    book.pack("A", "S", 1)
    assert book.accounts == {}
