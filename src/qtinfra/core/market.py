"""The market as a decision sees it: quotes per venue, joined into one consolidated book."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import msgspec

from qtinfra.core.decimals import ZERO

#: One price level: price, displayed size.
Level = tuple[Decimal, Decimal]


class VenueQuote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one venue displays: levels best first. `live` is the feed's liveness, not the quote's age."""

    venue: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts_ns: int
    live: bool = True


class ConsolidatedBook(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All venues' quotes for one symbol at one moment, in the order of the venues' names.

    `traded` is the regular volume printed today by then, ours included, blocks and crosses not; `last_px` the
    last trade's price. A view that does not know them has 0 and None.
    """

    symbol: str
    quotes: tuple[VenueQuote, ...]
    traded: Decimal = ZERO
    last_px: Decimal | None = None

    def best_bid(self) -> Decimal | None:
        """The highest displayed bid of the live venues."""
        return self.touch()[0]

    def best_ask(self) -> Decimal | None:
        """The lowest displayed offer of the live venues."""
        return self.touch()[1]

    def touch(self) -> tuple[Decimal | None, Decimal | None]:
        """The highest bid and the lowest offer that live venues display; None for an empty side."""
        bid: Decimal | None = None
        ask: Decimal | None = None
        for quote in self.quotes:
            if not quote.live:
                continue
            if quote.bids:
                price = quote.bids[0][0]
                if bid is None or price > bid:
                    bid = price
            if quote.asks:
                price = quote.asks[0][0]
                if ask is None or price < ask:
                    ask = price
        return bid, ask

    def mid(self) -> Decimal | None:
        """Midpoint of the best bid and offer; None when a side is missing or the market is crossed."""
        bid, ask = self.touch()
        if bid is None or ask is None or bid > ask:
            return None
        return (bid + ask) / 2


class MarketView(Protocol):
    """What decide may see of the market. Empty means stale: after a restart nothing is known."""

    def book(self, symbol: str) -> ConsolidatedBook | None:
        """The consolidated book of the symbol, or None when no venue has quoted it."""
        ...


class NoMarket:
    """A market view that knows nothing."""

    def book(self, symbol: str) -> ConsolidatedBook | None:
        del symbol
        return None


class RecordedMarket:
    """The books that one journaled command saw, for deciding it again."""

    def __init__(self, books: tuple[ConsolidatedBook, ...]) -> None:
        self._books = {book.symbol: book for book in books}

    def book(self, symbol: str) -> ConsolidatedBook | None:
        return self._books.get(symbol)


class RecordingMarket:
    """Passes books through from another view and keeps those that were asked for.

    Attributes:
        kept: in the order in which they were asked for; mostly one. Made empty again when a command begins.
        others: all but the first, by symbol; made anew with the first.
    """

    __slots__ = ("kept", "others", "source")

    def __init__(self, source: MarketView) -> None:
        self.source = source
        self.kept: tuple[ConsolidatedBook, ...] = ()
        self.others: dict[str, ConsolidatedBook] = {}

    def book(self, symbol: str) -> ConsolidatedBook | None:
        kept = self.kept
        if not kept:
            found = self.source.book(symbol)
            if found is not None:
                self.kept = (found,)
                if self.others:
                    self.others = {}
            return found
        known = kept[0] if kept[0].symbol == symbol else self.others.get(symbol)
        if known is None:
            known = self.source.book(symbol)
            if known is not None:
                self.others[symbol] = known
                self.kept = (*kept, known)
        return known

    def peek(self, symbol: str) -> ConsolidatedBook | None:
        """The book without keeping it: who then decides something asks for it by `book` as well."""
        kept = self.kept
        if kept:
            known = kept[0] if kept[0].symbol == symbol else self.others.get(symbol)
            if known is not None:
                return known
        return self.source.book(symbol)


def peek(market: MarketView, symbol: str) -> ConsolidatedBook | None:
    """The book, not kept in the record; who then decides something asks for it by `MarketView.book`."""
    return market.peek(symbol) if isinstance(market, RecordingMarket) else market.book(symbol)


NO_MARKET = NoMarket()
