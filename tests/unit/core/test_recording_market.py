"""What a decision has read of the market is what its record keeps, once each and in the order of reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtinfra.core.market import ConsolidatedBook, RecordingMarket, peek

pytestmark = pytest.mark.unit

_KNOWN = ("AAA", "BBB", "CCC")


class _Source:
    """Makes a new book at every look, of the symbols that it knows."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def book(self, symbol: str) -> ConsolidatedBook | None:
        self.asked.append(symbol)
        return ConsolidatedBook(symbol, ()) if symbol in _KNOWN else None


_COMMANDS = st.lists(st.lists(st.tuples(st.booleans(), st.sampled_from([*_KNOWN, "unknown"])), max_size=12))


@given(_COMMANDS)
def test_books_that_a_command_has_read_are_kept_and_those_it_peeked_at_are_not(
    commands: list[list[tuple[bool, str]]],
) -> None:
    source = _Source()
    market = RecordingMarket(source)
    for looks in commands:
        market.kept = tuple[ConsolidatedBook, ...]()
        first = dict[str, ConsolidatedBook]()
        for keep, symbol in looks:
            asked = len(source.asked)
            book = market.book(symbol) if keep else peek(market, symbol)
            assert (book is None) == (symbol not in _KNOWN)
            if symbol in first:
                assert book is first[symbol]
                assert len(source.asked) == asked
            else:
                assert len(source.asked) == asked + 1
                if keep and book is not None:
                    first[symbol] = book
        assert [id(book) for book in market.kept] == [id(book) for book in first.values()]
