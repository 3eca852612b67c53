"""The LOBSTER readers, the book as recorded, and the figures that the recorded hour is known to give."""

import gzip
import random
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.marketdata.lobster import (
    BUY,
    DELETE,
    EXECUTION,
    HALT,
    HALTED,
    HIDDEN_EXECUTION,
    NEW,
    NO_ASK,
    NO_BID,
    PARTIAL_CANCEL,
    QUOTING,
    RESUMED,
    SEARCH_AHEAD,
    SELL,
    BboCounter,
    BboState,
    BookRow,
    LobsterMessage,
    RecordedBook,
    RecordedDataError,
    describe,
    dollars,
    found_in_order,
    midnight_ns,
    official_share,
    read_messages,
    read_orderbook,
    time_ns,
)
from tests.support.requirements import require_data

DAY = "lobster/AAPL_2012-06-21_"
MESSAGES_NAME = "ABC_2012-06-21_34200000_37800000_message_2.csv"
BOOK_NAME = "ABC_2012-06-21_34200000_37800000_orderbook_2.csv"
ROW: BookRow = (1010000, 30, 1000000, 20, 1020000, 40, 990000, 50)


def said(
    kind: int, order_id: int, size: int, price: int, side: int = BUY, ts_ns: int = 1_000
) -> LobsterMessage:
    return LobsterMessage(ts_ns, kind, order_id, size, price, side)


def written(folder: Path, text: str, name: str = MESSAGES_NAME) -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return path


# -- the recorded hour -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording() -> list[LobsterMessage]:
    return read_messages(require_data(f"{DAY}34200000_37800000_message_50.csv.gz"))


@pytest.fixture(scope="module")
def seed_row() -> BookRow:
    return read_orderbook(require_data(f"{DAY}orderbook_10_first1000.csv.gz"))[0]


@pytest.fixture(scope="module")
def replayed(recording: list[LobsterMessage], seed_row: BookRow) -> tuple[RecordedBook, BboCounter]:
    book, counter = RecordedBook(seed_row, recording[0]), BboCounter()
    counter.observe(book.bbo())
    for message in recording[1:]:
        book.apply(message)
        counter.observe(book.bbo())
    return book, counter


def test_the_recorded_hour_has_91_997_messages_of_the_published_types(
    recording: list[LobsterMessage],
) -> None:
    counts = Counter(message.kind for message in recording)
    assert len(recording) == 91_997
    assert counts == {
        NEW: 44_256,
        DELETE: 41_004,
        EXECUTION: 4_067,
        HIDDEN_EXECUTION: 2_201,
        PARTIAL_CANCEL: 469,
    }


def test_the_replay_gives_23_439_states_and_is_never_crossed(
    replayed: tuple[RecordedBook, BboCounter],
) -> None:
    book, counter = replayed
    assert (counter.changes, len(set(counter.states)), counter.crossed) == (23_439, 16_425, 0)
    assert book.unknown_messages == 84


def test_nearly_all_states_are_found_in_order_in_the_official_file(
    replayed: tuple[RecordedBook, BboCounter],
) -> None:
    official = require_data(f"{DAY}34200000_57600000_orderbook_1.csv.gz")
    share = official_share(replayed[1].states, official)
    assert share == 23_422 / 23_439
    assert share >= 0.999


def test_the_seed_row_belongs_to_the_first_message_of_both_message_files(
    recording: list[LobsterMessage], seed_row: BookRow
) -> None:
    seed_messages = read_messages(require_data(f"{DAY}message_10_first1000.csv.gz"))
    assert (len(seed_messages), seed_messages[0]) == (999, recording[0])
    assert RecordedBook(seed_row, recording[0]).bbo() == seed_row[:4]


# -- files -----------------------------------------------------------------------------------------


def test_a_file_name_says_symbol_date_content_and_levels() -> None:
    described = describe("some/where/AAPL_2012-06-21_message_10_first1000.csv.gz")
    assert (described.symbol, described.trade_date) == ("AAPL", date(2012, 6, 21))
    assert (described.content, described.levels) == ("message", 10)


@pytest.mark.parametrize(
    "name",
    [
        "AAPL.csv",
        "AAPL_2012-06-21_message_0.csv",
        "AAPL_2012-13-21_message_5.csv",
        "AAPL_2012-06-21_trades_5.csv",
    ],
)
def test_another_file_name_is_refused(name: str) -> None:
    with pytest.raises(RecordedDataError):
        describe(name)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_plain_and_gzip_files_with_either_line_end_read_the_same(
    tmp_path: Path, ending: str, suffix: str
) -> None:
    lines = ["34200.004241176,1,16,18,5853300,1", "34200.5,7,0,0,-1,-1", "34201,5,0,7,5853350,-1"]
    path = written(tmp_path, ending.join(lines) + ending, MESSAGES_NAME + suffix)
    open_ns = int(datetime(2012, 6, 21, 13, 30, tzinfo=UTC).timestamp()) * 10**9
    assert read_messages(path) == [
        LobsterMessage(open_ns + 4_241_176, NEW, 16, 18, 5853300, BUY),
        LobsterMessage(open_ns + 500_000_000, HALT, 0, 0, HALTED, SELL),
        LobsterMessage(open_ns + 1_000_000_000, HIDDEN_EXECUTION, 0, 7, 5853350, SELL),
    ]


def test_a_last_line_without_an_end_counts(tmp_path: Path) -> None:
    path = written(tmp_path, "1010000,30,1000000,20,9999999999,0,-9999999999,0", BOOK_NAME)
    assert read_orderbook(path) == [(1010000, 30, 1000000, 20, NO_ASK, 0, NO_BID, 0)]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("34200.,1,16,18,5853300,1", "time"),
        ("-1,1,16,18,5853300,1", "time"),
        ("3.42e4,1,16,18,5853300,1", "time"),
        ("34199.9,1,16,18,5853300,1", "time"),
        ("34200.1,6,16,18,5853300,1", "type"),
        ("34200.1,1,x,18,5853300,1", "order id"),
        ("34200.1,1,16,1_8,5853300,1", "size"),
        ("34200.1,1,16,0,5853300,1", "size"),
        ("34200.1,1,16,18,+5853300,1", "price"),
        ("34200.1,1,16,18,-1,1", "price"),
        ("34200.1,7,0,0,2,-1", "price"),
        ("34200.1,1,16,18,5853300,0", "direction"),
        ("34200.1,1,16,18,5853300, 1", "direction"),
        ("34200.1,1,16,18,5853300", "number of fields (5, not 6)"),
        ("34200.1,1,16,18,5853300,1,9", "number of fields (7, not 6)"),
        ("", "number of fields (1, not 6)"),
        ("34200.1,1,16,18,58533００,1", "price"),
    ],
)
def test_a_malformed_message_names_file_line_and_field(tmp_path: Path, line: str, field: str) -> None:
    path = written(tmp_path, f"34200.05,1,15,18,5853300,1\n{line}\n34200.2,3,15,18,5853300,1\n")
    with pytest.raises(RecordedDataError) as caught:
        read_messages(path)
    assert caught.value.context == {"file": MESSAGES_NAME, "line": 2, "field": field}
    assert f"{MESSAGES_NAME}, line 2: bad {field}" in caught.value.message


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("1010000,30,1000000,20,1020000,40,990000", "number of fields (7, not 8)"),
        ("1010000,30,1000000,20,1020000,-40,990000,5", "ask size 2"),
        ("1010000,30,1000000.5,20,1020000,40,990000,5", "bid price 1"),
    ],
)
def test_a_malformed_book_row_names_file_line_and_field(tmp_path: Path, line: str, field: str) -> None:
    path = written(tmp_path, line + "\n", BOOK_NAME)
    with pytest.raises(RecordedDataError) as caught:
        read_orderbook(path)
    assert caught.value.context == {"file": BOOK_NAME, "line": 1, "field": field}


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordedDataError, match="empty"):
        read_messages(written(tmp_path, ""))


def test_a_damaged_gzip_file_is_refused_by_name(tmp_path: Path) -> None:
    whole = gzip.compress(b"34200.1,1,15,18,5853300,1\n" * 2_000)
    path = tmp_path / f"{MESSAGES_NAME}.gz"
    for damaged in (whole[: len(whole) // 2], b"not gzip at all"):
        path.write_bytes(damaged)
        with pytest.raises(RecordedDataError, match="damaged compression"):
            read_messages(path)


def test_a_book_file_is_no_message_file(tmp_path: Path) -> None:
    with pytest.raises(RecordedDataError, match="a message file is needed"):
        read_messages(written(tmp_path, "1,1,1,1\n", BOOK_NAME))


# -- units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "fraction", "expected"),
    [
        ("34200", "", 34_200_000_000_000),
        ("34200", "5", 34_200_500_000_000),
        ("34200", "004241176", 34_200_004_241_176),
        ("35821", "088778456004", 35_821_088_778_456),
        ("0", "0000000005", 1),
    ],
)
def test_times_are_exact_nanoseconds(seconds: str, fraction: str, expected: int) -> None:
    assert time_ns(seconds, fraction) == expected


@given(st.integers(0, 86_399), st.integers(0, 999_999_999))
def test_nine_digits_lose_nothing(seconds: int, nanos: int) -> None:
    assert time_ns(str(seconds), f"{nanos:09d}") == seconds * 10**9 + nanos


def test_midnight_is_that_of_new_york_in_summer_and_in_winter() -> None:
    hours = [midnight_ns(date(2012, month, 2)) // 10**9 // 3600 % 24 for month in (1, 6)]
    assert hours == [5, 4]


def test_prices_become_canonical_dollars() -> None:
    assert [str(dollars(price)) for price in (5853300, 5850000, 1)] == ["585.33", "585", "0.0001"]
    assert dollars(5853350) == Decimal("585.335")


# -- the book as recorded --------------------------------------------------------------------------


def test_each_message_type_does_to_the_book_what_the_format_says() -> None:
    book = RecordedBook(ROW)
    book.apply(said(NEW, 1, 15, 1005000))
    assert book.bbo() == (1010000, 30, 1005000, 15)
    book.apply(said(PARTIAL_CANCEL, 1, 5, 1005000))
    assert book.bbo() == (1010000, 30, 1005000, 10)
    book.apply(said(EXECUTION, 1, 4, 1005000))
    assert book.bbo() == (1010000, 30, 1005000, 6)
    book.apply(said(HIDDEN_EXECUTION, 0, 4, 1006000))
    assert book.bbo() == (1010000, 30, 1005000, 6)
    book.apply(said(DELETE, 1, 6, 1005000))
    assert book.bbo() == ROW[:4]
    assert book.orders == {}


def test_a_message_about_an_unknown_order_acts_on_the_anonymous_rest_at_its_price() -> None:
    book = RecordedBook(ROW)
    book.apply(said(NEW, 1, 5, 1010000, SELL))
    book.apply(said(EXECUTION, 77, 10, 1010000, SELL))
    assert book.bbo() == (1010000, 25, 1000000, 20)
    book.apply(said(DELETE, 78, 500, 1010000, SELL))
    assert book.bbo() == (1010000, 5, 1000000, 20)
    book.apply(said(DELETE, 79, 10, 1055000, SELL))
    assert (book.bbo(), book.unknown_messages) == ((1010000, 5, 1000000, 20), 3)


def test_the_order_of_the_seed_rows_message_is_known_by_its_id() -> None:
    book = RecordedBook(ROW, said(NEW, 9, 12, 1000000))
    level = book.bids.levels[1000000]
    assert [(order.order_id, order.size) for order in level.orders.values()] == [(0, 8), (9, 12)]
    book.apply(said(DELETE, 9, 12, 1000000))
    assert (book.bbo(), book.unknown_messages) == ((1010000, 30, 1000000, 8), 0)


def test_a_halt_lasts_until_trading_resumes_and_leaves_the_book_alone() -> None:
    book = RecordedBook(ROW)
    states = []
    for price in (HALTED, QUOTING, RESUMED):
        book.apply(said(HALT, 0, 0, price, SELL))
        states.append((book.halted, book.bbo()))
    assert states == [(True, ROW[:4]), (True, ROW[:4]), (False, ROW[:4])]


def test_an_empty_side_shows_the_formats_dummy_price() -> None:
    book = RecordedBook((1010000, 30, NO_BID, 0))
    assert book.bbo() == (1010000, 30, NO_BID, 0)
    book.apply(said(DELETE, 5, 30, 1010000, SELL))
    assert book.bbo() == (NO_ASK, 0, NO_BID, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        said(NEW, 1, 5, 1000000),
        said(EXECUTION, 1, 11, 1005000),
        said(DELETE, 1, 9, 1005000),
        said(PARTIAL_CANCEL, 1, 5, 1004000),
        said(EXECUTION, 1, 5, 1005000, SELL),
    ],
)
def test_a_message_that_contradicts_the_book_is_an_error(wrong: LobsterMessage) -> None:
    book = RecordedBook(ROW)
    book.apply(said(NEW, 1, 10, 1005000))
    with pytest.raises(RecordedDataError, match="contradicts"):
        book.apply(wrong)


def random_message(rng: random.Random, book: RecordedBook, order_id: int) -> LobsterMessage:
    known = list(book.orders.values())
    if not known or rng.random() < 0.5:
        side = rng.choice((BUY, SELL))
        price = rng.randint(96, 100) if side == BUY else rng.randint(101, 105)
        return said(NEW, order_id, rng.randint(1, 50), price * 10_000, side)
    order = rng.choice(known)
    kind = rng.choice((PARTIAL_CANCEL, DELETE, EXECUTION))
    size = order.size if kind == DELETE else rng.randint(1, order.size)
    return said(kind, order.order_id, size, order.price, order.side)


@given(st.integers(0, 2**32))
def test_a_level_is_the_sum_of_its_orders_and_prices_stay_sorted(seed: int) -> None:
    rng, book = random.Random(seed), RecordedBook(ROW)
    for order_id in range(1, 60):
        book.apply(random_message(rng, book, order_id))
        for side in (book.bids, book.asks):
            levels = list(side.ladder())
            assert [-side.side * level.price for level in levels] == sorted(side.keys)
            assert len(levels) == len(side.levels)
            assert all(level.size == sum(o.size for o in level.orders.values()) > 0 for level in levels)


# -- states ----------------------------------------------------------------------------------------


def state(number: int) -> BboState:
    return (1_000_000 + number, 1, 999_999, 1)


def test_consecutive_repeats_are_one_state_and_a_return_is_a_new_one() -> None:
    counter = BboCounter()
    for number in (1, 1, 2, 2, 1):
        counter.observe(state(number))
    assert counter.states == [state(1), state(2), state(1)]
    assert (counter.changes, counter.crossed) == (3, 0)


def test_a_bid_at_the_ask_counts_as_crossed_once_per_state() -> None:
    counter = BboCounter()
    for _ in range(2):
        counter.observe((1000000, 1, 1000000, 1))
    assert counter.crossed == 1


def test_states_are_found_only_behind_the_one_before() -> None:
    official = [state(1), state(2), state(3)]
    assert found_in_order([state(1), state(2), state(3)], official) == 3
    assert found_in_order([state(2), state(1), state(3)], official) == 2
    assert found_in_order([state(1), state(1)], official) == 1


def test_a_state_that_is_not_within_reach_is_skipped() -> None:
    official = [state(number) for number in range(SEARCH_AHEAD + 1)]
    assert found_in_order([state(SEARCH_AHEAD)], official) == 0
    assert found_in_order([state(SEARCH_AHEAD - 1)], official) == 1
    assert found_in_order([state(SEARCH_AHEAD), state(0), state(SEARCH_AHEAD)], official) == 2


def test_the_share_compares_without_consecutive_repeats(tmp_path: Path) -> None:
    row = "1000001,1,999999,1\n"
    path = written(tmp_path, row * 3, "ABC_2012-06-21_orderbook_1.csv")
    assert official_share([state(1), state(1)], path) == 0.5
    assert official_share([], path) == 0
    with pytest.raises(RecordedDataError, match="one level"):
        official_share([state(1)], written(tmp_path, "1,1,1,1,1,1,1,1\n", BOOK_NAME))
