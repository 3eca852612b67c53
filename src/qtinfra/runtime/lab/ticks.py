"""Lab days from recorded quotes and trades: the national best bid and offer, and a rebuilt order book."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from qtinfra.marketdata import lobster
from qtinfra.marketdata.bars import MINUTE_NS
from qtinfra.marketdata.lobster import LobsterMessage, RecordedBook, RecordedDataError, read_messages
from qtinfra.marketdata.nbbo import Nbbo, NbboQuote, describe, hours_ns, read_quotes, read_trades
from qtinfra.marketdata.volume import is_continuous
from qtinfra.runtime.lab.days import LabDay, Minute, Quote, QuoteTimes, totals_of

#: How often an order is looked at.
STEP_NS = 1_000_000_000
#: Prices of both formats are whole numbers of 1 / this dollar.
_SCALE = 10_000

#: A print: when (UTC nanoseconds), shares, price in 1/10,000 dollar.
Print = tuple[int, int, int]


def from_nbbo(quotes: str | Path, trades: str | Path) -> LabDay:
    """A day of trades and best quotes; prints that are no continuous volume (blocks, crosses) are left out.

    Raises:
        RecordedDataError: a file breaks its format, or the two are of different symbols or dates.
        OSError: a file cannot be read.
    """
    about, other = describe(quotes), describe(trades)
    if (about.symbol, about.trade_date) != (other.symbol, other.trade_date):
        raise RecordedDataError(f"{Path(quotes).name} and {Path(trades).name}: not of one symbol and date")
    open_ns, close_ns = hours_ns(about.trade_date)
    prints = [
        (trade.ts_ns, trade.size, trade.price)
        for trade in read_trades(trades)
        if is_continuous(trade) and open_ns <= trade.ts_ns < close_ns
    ]
    return tick_day(
        about.symbol,
        about.trade_date.isoformat(),
        (open_ns, close_ns),
        prints,
        nbbo_quotes(read_quotes(quotes)),
    )


def nbbo_quotes(rows: Iterable[NbboQuote]) -> QuoteTimes:
    """The quote from each moment on, filled forward; None while it is locked, crossed or has one side."""
    nbbo, times = Nbbo(), list[int]()
    states: list[Quote | None] = []
    for row in rows:
        if nbbo.apply(row):
            times.append(row.ts_ns)
            states.append(_quote(nbbo.bid, nbbo.bid_size, nbbo.ask, nbbo.ask_size) if nbbo.firm else None)
    return QuoteTimes(tuple(times), tuple(states))


def from_lobster(messages: str | Path, seed_messages: str | Path, seed_book: str | Path) -> LabDay:
    """The recorded part of a day, from its first whole minute to its last; executions are its prints.

    Args:
        messages: the message file that is played.
        seed_messages, seed_book: files whose first message and row are the book to begin with.

    Raises:
        RecordedDataError: a file breaks its format, or the messages do not last two whole minutes.
        OSError: a file cannot be read.
    """
    about = lobster.describe(messages)
    played = read_messages(messages)
    midnight = lobster.midnight_ns(about.trade_date)
    first = midnight - (midnight - played[0].ts_ns) // MINUTE_NS * MINUTE_NS
    last = midnight + (played[-1].ts_ns + 1 - midnight) // MINUTE_NS * MINUTE_NS
    opened, _ = hours_ns(about.trade_date)
    # A recording that begins within the first second of the session has its first minute whole.
    if played[0].ts_ns - opened < STEP_NS:
        first = opened
    last += MINUTE_NS if last + MINUTE_NS - played[-1].ts_ns <= STEP_NS else 0
    if last < first + 2 * MINUTE_NS:
        raise RecordedDataError(f"{Path(messages).name}: less than two whole minutes")
    book = RecordedBook(lobster.read_orderbook(seed_book)[0], read_messages(seed_messages)[0])
    quotes = _book_quotes(book, played[1:])
    prints = [
        (message.ts_ns, message.size, message.price)
        for message in played
        if message.kind in (lobster.EXECUTION, lobster.HIDDEN_EXECUTION) and first <= message.ts_ns < last
    ]
    return tick_day(about.symbol, about.trade_date.isoformat(), (first, last), prints, quotes)


def _book_quotes(book: RecordedBook, messages: Iterable[LobsterMessage]) -> QuoteTimes:
    times, before = list[int](), None
    states: list[Quote | None] = []
    for message in messages:
        book.apply(message)
        state = book.bbo()
        if state != before:
            ask, ask_size, bid, bid_size = before = state
            firm = bool(ask_size and bid_size and bid < ask and not book.halted)
            times.append(message.ts_ns)
            states.append(_quote(bid, bid_size, ask, ask_size) if firm else None)
    return QuoteTimes(tuple(times), tuple(states))


def tick_day(
    symbol: str, trade_date: str, hours: tuple[int, int], prints: Sequence[Print], quotes: QuoteTimes
) -> LabDay:
    """A day from its prints in order and its quotes; a print is known from the nanosecond after it."""
    minutes: dict[int, list[Print]] = {}
    for item in prints:
        minutes.setdefault((item[0] - hours[0]) // MINUTE_NS, []).append(item)
    volumes = tuple(size for _, size, _ in prints)
    return LabDay(
        symbol,
        trade_date,
        *hours,
        False,
        tuple(ts_ns + 1 for ts_ns, _, _ in prints),
        volumes,
        tuple(price / _SCALE for _, _, price in prints),
        totals_of(volumes),
        {number: _minute(found) for number, found in minutes.items()},
        quotes,
        STEP_NS,
    )


def _minute(prints: Sequence[Print]) -> Minute:
    shares = sum(size for _, size, _ in prints)
    notional = sum(size * price for _, size, price in prints)
    prices = [price for _, _, price in prints]
    return Minute(shares, notional / shares / _SCALE, min(prices) / _SCALE, max(prices) / _SCALE)


def _quote(bid: int, bid_size: int, ask: int, ask_size: int) -> Quote:
    return Quote(bid / _SCALE, ask / _SCALE, bid_size, ask_size)
