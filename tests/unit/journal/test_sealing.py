"""Which entries a chain seals: the next one, of its own shard and epoch, with events; others move nothing."""

from typing import Any

import msgspec
import pytest

from qtinfra.core.events import Entry
from qtinfra.core.exceptions import JournalCorruptError, JournalError
from qtinfra.core.market import ConsolidatedBook
from qtinfra.journal.codec import (
    GENESIS,
    Chain,
    Frame,
    FrameError,
    WrittenBooks,
    chain_hash,
    decode_frame,
    encode_entry,
    encode_frame,
)
from qtinfra.testing.journal_contract import sample_entries

pytestmark = pytest.mark.unit


def test_a_new_chain_stands_at_the_beginning() -> None:
    chain = Chain(3)
    assert (chain.shard, chain.epoch, chain.seq, chain.hash) == (3, 0, 0, GENESIS)


@pytest.mark.parametrize(
    "change", [{"shard": 1}, {"epoch": 2}, {"seq": 2}, {"seq": 0}, {"events": ()}], ids=str
)
def test_an_entry_out_of_place_is_refused_with_what_was_expected(change: dict[str, Any]) -> None:
    chain = Chain(0, epoch=1)
    entry = msgspec.structs.replace(sample_entries(1)[0], **change)
    with pytest.raises(JournalError, match=r"sequence 1 of shard 0, epoch 1, is next") as refused:
        chain.seal([entry])
    expected = {"seq": entry.seq, "expected_seq": 1, "epoch": entry.epoch, "expected_epoch": 1}
    assert refused.value.context == expected
    assert (chain.seq, chain.hash) == (0, GENESIS)


def test_a_second_entry_that_does_not_follow_the_first_is_refused_and_the_chain_has_not_moved() -> None:
    chain = Chain(0, epoch=1)
    first, second = sample_entries(2)
    late = msgspec.structs.replace(second, seq=second.seq + 1)
    with pytest.raises(JournalError, match=f"sequence {second.seq} of shard 0"):
        chain.seal([first, late])
    assert (chain.seq, chain.hash) == (0, GENESIS)
    chain.seal([first, second])
    assert chain.seq == second.last_seq


@pytest.mark.parametrize("damage", [b"XXXX", b"QTJ1", b"QTJ1\x90"])
def test_bytes_that_are_no_frame_are_refused_in_words(damage: bytes) -> None:
    with pytest.raises(FrameError, match="not a frame in its written form"):
        decode_frame(damage)
    whole = encode_frame(Chain(0, epoch=1).seal(sample_entries(1)))
    with pytest.raises(FrameError, match="not a frame in its written form"):
        decode_frame(whole + b"\x00")


# --- what damage is called ----------------------------------------------------------------------------------

FIRST, SECOND = sample_entries(2)


def damaged(name: str) -> Frame:
    """A frame of two records with one thing wrong; hashes are right but where they are what is wrong."""
    frame = Chain(0, epoch=1).seal([FIRST, SECOND])
    header, records = frame.header, frame.records
    later = msgspec.structs.replace(SECOND, seq=SECOND.seq + 1)
    match name:
        case "elsewhere":
            return Frame(msgspec.structs.replace(header, prev_hash=bytes(31) + b"x"), records)
        case "empty":
            return Frame(header, [])
        case "hash":
            return Frame(header, [records[0], (records[1][0], bytes(32))])
        case "no entry":
            return Frame(header, [records[0], (b"\x90", chain_hash(records[0][1], b"\x90"))])
        case "gap":
            data = encode_entry(later)
            return Frame(header, [records[0], (data, chain_hash(records[0][1], data))])
        case "epoch of the frame":
            return Frame(msgspec.structs.replace(header, epoch=2), records)
    return Frame(msgspec.structs.replace(header, last_seq=header.last_seq + 1), records)


@pytest.mark.parametrize(
    ("name", "seq", "reason"),
    [
        ("elsewhere", FIRST.seq, "the frame does not follow the one before"),
        ("empty", FIRST.seq, "the frame has no records"),
        ("hash", SECOND.seq, "the hash does not verify"),
        ("no entry", SECOND.seq, "the record is not an entry"),
        ("gap", SECOND.seq, "the record is out of place"),
        ("epoch of the frame", FIRST.seq, "the record has another epoch than its frame"),
        ("end", FIRST.seq, "the frame does not end where it says"),
    ],
)
def test_damage_is_named_by_its_sequence_and_in_words(name: str, seq: int, reason: str) -> None:
    with pytest.raises(JournalCorruptError) as found:
        list(Chain(0).check_frame(damaged(name)))
    assert found.value.message == f"journal corrupt at sequence {seq}: {reason}"
    assert found.value.first_bad_seq == seq


def test_an_older_epoch_than_the_one_before_is_named_in_words() -> None:
    frame = Chain(0, epoch=1).seal([FIRST])
    with pytest.raises(JournalCorruptError) as found:
        Chain(0, epoch=2).check(frame.records[0])
    reason = "the record has an older epoch than the one before"
    assert found.value.message == f"journal corrupt at sequence 1: {reason}"


def test_a_frame_without_entries_is_refused_in_words() -> None:
    with pytest.raises(JournalError) as refused:
        Chain(0, epoch=1).seal([])
    assert refused.value.message == "a frame needs at least one entry"


def seen(entry: Entry, book: ConsolidatedBook) -> Entry:
    return msgspec.structs.replace(entry, market=(book,))


def write(books: WrittenBooks, book: ConsolidatedBook) -> None:
    Chain(0, epoch=1).seal([seen(FIRST, book)], books)


def test_a_book_is_written_once_as_long_as_it_is_the_same_object_and_few_are_remembered() -> None:
    books = WrittenBooks(most=2)
    same = [ConsolidatedBook(symbol, ()) for symbol in ("AAPL", "IBM", "MSFT")]
    write(books, same[0])
    written = books.known["AAPL"][1]
    write(books, same[0])
    assert books.known["AAPL"][1] is written
    write(books, ConsolidatedBook("AAPL", ()))
    assert books.known["AAPL"][1] is not written
    write(books, same[1])
    assert list(books.known) == ["AAPL", "IBM"]
    write(books, same[2])
    assert list(books.known) == ["MSFT"]


def test_by_default_books_of_a_few_thousand_symbols_are_remembered() -> None:
    books = WrittenBooks()
    for number in range(4_097):
        assert len(books.known) == number
        write(books, ConsolidatedBook(f"S{number}", ()))
    assert len(books.known) == 1


def test_a_chain_that_is_given_remembered_books_uses_them() -> None:
    books = WrittenBooks()
    entry = seen(FIRST, ConsolidatedBook("AAPL", ()))
    with_books, without = Chain(0, epoch=1).seal([entry], books), Chain(0, epoch=1).seal([entry])
    assert with_books == without
    assert list(books.known) == ["AAPL"]
