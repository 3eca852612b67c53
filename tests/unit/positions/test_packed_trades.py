"""Trades and lots that are kept as bytes count like those in the list; trades can be busted and corrected."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtinfra.core.decimals import ONE, ZERO, exact
from qtinfra.positions.book import PositionBook, Trade, violations
from qtinfra.positions.position import RECENT, Past, list_trades

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
        st.tuples(st.just("list"), st.just(0), st.just(0)),
    ),
    max_size=60,
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
            day, multiplier = DAYS[number * 3 // 61], Decimal(1 + number // 23)
            book.apply("A", "S", f"T{number}", Decimal(first), Decimal(second), ZERO, day, multiplier)
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
def test_a_book_whose_trades_are_in_the_list_now_and_then_is_like_one_that_has_them_as_bytes(
    script: list[tuple[str, int, int]],
) -> None:
    changing, plain = PositionBook(), PositionBook()
    for number, step in enumerate(script):
        position = changing.get("A", "S")
        if step[0] != "list":
            assert take(changing, number, step) == take(plain, number, step)
        elif position is not None:
            list_trades(position, position.trades)
        assert seen(changing) == seen(plain)
    assert [text for _, position in plain.positions() for text in violations(position)] == []


@settings(deadline=None)
@given(steps)
def test_a_book_read_from_its_bytes_now_and_then_is_written_like_one_that_never_was(
    script: list[tuple[str, int, int]],
) -> None:
    read, kept_on = PositionBook(), PositionBook()
    for number, step in enumerate(script):
        if step[0] == "list":
            read = msgspec.msgpack.decode(msgspec.msgpack.encode(read), type=PositionBook)
        else:
            assert take(read, number, step) == take(kept_on, number, step)
        assert msgspec.msgpack.encode(read) == msgspec.msgpack.encode(kept_on)


def traded(count: int) -> PositionBook:
    book = PositionBook()
    for number in range(count):
        book.apply("A", "S", f"T{number}", ONE, ONE, ZERO, DAYS[0], ONE)
    return book


def kept(book: PositionBook) -> tuple[int, int]:
    """How many trades are in the list, how many are bytes."""
    position = book.get("A", "S")
    assert position is not None
    past = position.past or Past()
    return len(past.listed or ()), past.packed_count + position.recent_count


def test_trades_are_bytes_from_the_start_and_a_bust_has_them_in_the_list() -> None:
    book = traded(10)
    assert kept(book) == (0, 10)
    book.bust("A", "S", "T3")
    assert kept(book) == (9, 0)


def test_a_bust_that_is_refused_leaves_the_bytes_as_they_are() -> None:
    book = traded(10)
    with pytest.raises(ValueError, match="no trade 'T10' in S of A"):
        book.bust("A", "S", "T10")
    assert kept(book) == (0, 10)


KEYS = (
    "V|S|d|1",
    "V|S|d|2",
    "W|S|d|2",
    "V|S|d|3",
    "V|S|d|3|x",
    "plain",
    "plain too",
    "V|S|d|4",
    "|",
    "V|S|d|",
    "",
)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(KEYS),
            st.sampled_from((*DAYS, "")),
            st.sampled_from((ONE, Decimal(10))),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_keys_days_and_multipliers_come_back_whatever_they_have_in_common(
    script: list[tuple[str, str, Decimal, bool]],
) -> None:
    book, made = PositionBook(), []
    for key, day, multiplier, listed in script:
        made.append(Trade(key, Decimal(-1), Decimal("1.50"), ONE, multiplier, day))
        book.apply("A", "S", key, Decimal(-1), Decimal("1.50"), ONE, day, multiplier)
        position = book.get("A", "S")
        assert position is not None
        if listed:
            list_trades(position, position.trades)
        assert position.trades == made


def test_trades_that_are_no_longer_the_latest_are_put_together_and_read_as_before() -> None:
    book = PositionBook()
    for number in range(3 * RECENT + 1):
        multiplier = ONE if number < RECENT + 3 else Decimal(10)
        book.apply("A", "S", f"T{number}", ONE, Decimal(number), ONE, DAYS[number // RECENT % 3], multiplier)
    position = book.get("A", "S")
    assert position is not None
    assert position.past is not None
    assert (position.past.packed_count, position.recent_count) == (3 * RECENT, 1)
    assert [trade.px for trade in position.trades] == list(range(3 * RECENT + 1))
    assert [trade.trade_date for trade in position.trades] == [
        DAYS[n // RECENT % 3] for n in range(3 * RECENT + 1)
    ]
    assert [trade.multiplier for trade in position.trades] == [ONE] * (RECENT + 3) + [10] * (2 * RECENT - 2)
    assert violations(position) == []


def test_the_trades_come_back_in_the_order_of_their_arrival_with_all_that_they_were() -> None:
    book = PositionBook()
    made = [
        Trade("T0", Decimal(2), Decimal("10.50"), ZERO, ONE, DAYS[0]),
        Trade("T1", Decimal(2), Decimal(20), Decimal("0.3"), ONE, DAYS[0]),
        Trade("T2", Decimal(-3), Decimal(30), ZERO, Decimal(10), DAYS[0]),
        Trade("T3", Decimal(4), Decimal(-40), ZERO, Decimal(10), DAYS[1]),
        Trade("T4", Decimal(-1), Decimal(50), Decimal("-0.1"), ONE, DAYS[0]),
    ]
    for item in made:
        book.apply("A", "S", item.key, item.qty, item.px, item.fee, item.trade_date, item.multiplier)
    position = book.get("A", "S")
    assert position is not None
    assert position.trades == made
    book.bust("A", "S", "T3")
    del made[3]
    assert position.trades == made
    assert book.holds("A", "S", "T4")
    assert not book.holds("A", "S", "T3")


def test_a_list_that_a_bust_left_gets_short_again() -> None:
    book = traded(1_000)
    book.bust("A", "S", "T0")
    for number in range(600):
        book.apply("A", "S", f"N{number}", ONE, ONE, ZERO, DAYS[0], ONE)
    assert kept(book)[0] < 64
    assert sum(kept(book)) == 1_599


def test_a_position_that_lists_a_corporate_action_keeps_its_trades_in_the_list() -> None:
    book = traded(3)
    book.scale("A", "S", Decimal(2), ONE)
    assert kept(book) == (3, 0)
    for number in range(3, 3 + RECENT):
        book.apply("A", "S", f"T{number}", ONE, ONE, ZERO, DAYS[0], ONE)
    assert kept(book) == (3 + RECENT, 0)


def test_lots_that_wait_behind_the_oldest_keep_cost_and_residue() -> None:
    book = PositionBook()
    book.load("A", "S", Decimal(3), Decimal("3.33333333"), ONE, Decimal(10))
    for px in ("1.10", "2.20", "3.30"):
        book.apply("A", "S", f"B{px}", Decimal(5), Decimal(px), ZERO, DAYS[0], ONE)
    book.scale("A", "S", Decimal(7), Decimal(3))
    position = book.get("A", "S")
    assert position is not None
    lots = position.open_lots
    assert len(lots) == 4
    assert sum(lot.cost for lot in lots) == position.fifo_cost == Decimal("43.0")
    assert any(lot.residue for lot in lots[1:])
    for number, lot in enumerate(lots[:-1]):
        before = position.fifo_cost
        book.apply("A", "S", f"S{number}", -lot.qty, ONE, ZERO, DAYS[0], ONE)
        assert position.fifo_cost == before - lot.cost
    assert position.open_lots == lots[-1:]
