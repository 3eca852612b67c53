"""One consolidated venue whose market is a recording of trades and the national best bid and offer.

The rule. It is deliberately conservative: whatever the tape cannot prove to have reached us does not trade.

1. The recorded quote is never altered by us. Suspicious rows change nothing.
2. An order of ours that arrives takes what is displayed on the other side within its limit, once: what we
   took at a price stays taken until the quote leaves that price for a worse one, and is never more than what
   is quoted there. Of a locked or crossed quote, too, only the displayed size trades. More than the best
   price is not known, so nothing beyond it trades.
3. An order that rests at the best price queues behind all shares quoted there; priced better, it is first;
   priced worse, its queue is not known until its price is the best, and then all that is quoted is ahead.
4. The queue moves up when a trade prints at its price (by its size), and when less is quoted there than the
   queue: cancellations come off the end of what is quoted, behind us first. Shares that a quote has shown to
   be gone are not counted again when the trade that took them prints up to a second later.
5. A trade at our price beyond the queue fills us up to what is left of its size; a trade through our price
   fills us up to its size, at our price; best price first, then in time order, bids before offers. Each
   printed share fills at most one of ours, and shares that we took before fill nobody again.
6. Only prints that a displayed order could have met count: not off-exchange, late, average-price,
   extended-hours or auction prints (`NOT_AT_MARKET`). In one millisecond trades come before quotes.
7. Our orders never trade with each other. Nothing trades outside regular hours: orders are refused, and DAY
   orders expire at the close.
8. While the quote is locked, crossed, one-sided or outside regular hours it is not live for the router.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from qtinfra.core.extended_models import Liquidity
from qtinfra.core.market import Level, VenueQuote
from qtinfra.core.models import OrderType, TimeInForce
from qtinfra.core.reports import ReportKind, VenueNewOrder, VenueReport
from qtinfra.marketdata.lobster import BboCounter, RecordedDataError, dollars
from qtinfra.marketdata.nbbo import (
    ASK,
    BID,
    REGULAR_HOURS_MS,
    Nbbo,
    NbboQuote,
    NbboTrade,
    describe,
    hours_ns,
    read_quotes,
    read_trades,
)
from qtinfra.venues.simulated import reasons
from qtinfra.venues.simulated.book import BookOrder
from qtinfra.venues.simulated.desk import OrderDesk
from qtinfra.venues.simulated.grid import Grid
from qtinfra.venues.simulated.model import VenueSession
from qtinfra.venues.simulated.nbbo_overlay import NbboOverlay
from qtinfra.venues.simulated.orders import VenueOrder
from qtinfra.venues.simulated.selfmatch import SmpMode
from qtinfra.venues.simulated.terms import ON_AUCTION, read_terms

#: ISO 10383's code for no particular market: the consolidated tape has none of its own.
NO_MIC = "XXXX"


class NbboVenue(OrderDesk):
    """One symbol played from recorded ticks; implements `VenueModel`.

    Args:
        symbol: the only one traded here.
        hours: first moment of trading and the first after it (UTC nanoseconds).
        tick: price step of our orders, in dollars; a multiple of 0.0001.
    """

    def __init__(
        self,
        symbol: str,
        trade_date: str,
        hours: tuple[int, int],
        mic: str = NO_MIC,
        tick: Decimal = Decimal("0.01"),
    ) -> None:
        super().__init__(mic, trade_date)
        self.symbol = symbol
        self.overlay = NbboOverlay()
        self._hours = hours
        self._grid = Grid(tick)
        self._step = int(tick.scaleb(4))
        self._quoted: tuple[int, bool, VenueQuote] | None = None
        self._printed, self._last_price = 0, 0

    @property
    def nbbo(self) -> Nbbo:
        """The recorded quote, to read."""
        return self.overlay.nbbo

    def quote(self, symbol: str, now_ns: int) -> VenueQuote | None:
        """The best bid and offer less what we took; `live` by clause 8."""
        if symbol != self.symbol:
            return None
        overlay = self.overlay
        live = self.nbbo.firm and self._trading(now_ns)
        if self._quoted is None or self._quoted[:2] != (overlay.version, live):
            bids, asks = self._levels(BID), self._levels(ASK)
            quote = VenueQuote(self._mic, bids, asks, overlay.changed_ns, live)
            self._quoted = (overlay.version, live, quote)
        return self._quoted[2]

    def _levels(self, side: int) -> tuple[Level, ...]:
        price, size = self.overlay.displayed(side)
        return ((dollars(price), Decimal(size)),) if price and size else ()

    def queue_ahead(self, cl_ord_id: str) -> Decimal | None:
        """Quoted shares ahead of a resting order of ours; None when it does not rest or it is not known."""
        own = self._db.find(cl_ord_id)
        order = self.overlay.find(own.entry) if own is not None and own.live else None
        return Decimal(order.queue) if order is not None and order.queue is not None else None

    def printed(self, symbol: str) -> tuple[Decimal, Decimal | None]:
        """Shares printed at the market in regular hours, ours that took included, and the last price."""
        last = dollars(self._last_price) if self._last_price and symbol == self.symbol else None
        return Decimal(self._printed if symbol == self.symbol else 0), last

    def apply_quote(self, quote: NbboQuote) -> None:
        """Let a recorded quote happen."""
        self.overlay.quote(quote)

    def apply_trade(self, trade: NbboTrade) -> list[VenueReport]:
        """Let a recorded trade happen; the fills of our resting orders, none outside regular hours."""
        if not self._trading(trade.ts_ns):
            return []
        if trade.at_market:
            self._printed += trade.size
            self._last_price = trade.price
        reports: list[VenueReport] = []
        for order, units in self.overlay.trade(trade):
            own = self._db.get(order.entry.order_id)
            own.queue_ahead = Decimal(order.began)
            px = dollars(order.price)
            reports.append(self._db.fill(own, units, px, Liquidity.ADDED, trade.ts_ns))
        return reports

    # --- the desk's hooks -----------------------------------------------------------------------------------

    def _trading(self, now_ns: int) -> bool:
        return self._open and self._hours[0] <= now_ns < self._hours[1]

    def _read(self, message: VenueNewOrder, now_ns: int) -> tuple[BookOrder, Grid] | str:
        del now_ns
        if message.symbol != self.symbol:
            return reasons.UNKNOWN_SYMBOL
        plain = message.order_type in (OrderType.LIMIT, OrderType.MARKET) and message.tif not in ON_AUCTION
        if not plain or message.hidden or message.display_qty:
            return reasons.UNSUPPORTED
        terms = read_terms(message, self._grid, self._db.next_number, SmpMode.CANCEL_NEWEST)
        if isinstance(terms, str):
            return terms
        if terms.entry.price is not None:
            terms.entry.price *= self._step
        return terms.entry, self._grid

    def _price(self, own: VenueOrder, price: Decimal) -> int | None:
        ticks = self._grid.ticks(price)
        return ticks * self._step if ticks is not None else None

    def _arrive(self, own: VenueOrder, now_ns: int) -> list[VenueReport]:
        entry, reports = own.entry, list[VenueReport]()
        traded = 0
        if self.overlay.reachable(entry)[1] >= entry.minimum:
            price, traded = self.overlay.take(entry, now_ns)
        if traded:
            self._printed += traded
            self._last_price = price
            reports.append(self._db.fill(own, traded, dollars(price), Liquidity.REMOVED, now_ns))
        if entry.leaves and entry.rests:
            own.queue_ahead = Decimal(self.overlay.rest(entry).began)
        elif entry.leaves:
            reason = _why_cancelled(own, bool(traded))
            reports.append(self._db.end(own, ReportKind.CANCELED, reason, now_ns))
        return reports

    def _withdraw(self, own: VenueOrder) -> None:
        self.overlay.remove(own.entry)


def _why_cancelled(own: VenueOrder, traded: bool) -> str:
    if own.terms.tif is TimeInForce.FOK:
        return reasons.FOK
    if own.entry.minimum and not traded:
        return reasons.MIN_QTY
    return reasons.IOC if own.terms.tif is TimeInForce.IOC else reasons.NO_LIQUIDITY


class NbboMarket:
    """A recorded day of one symbol as a market that moves by itself; implements `SimulatedMarket`.

    It begins with the quote as it stood when regular trading began; its last event is the close.

    Args:
        quotes, trades: of the whole day, in time order.
        hours_ms: regular hours, milliseconds after midnight in New York; a half day ends at 46,800,000.

    Raises:
        RecordedDataError: nothing is recorded within the hours.
    """

    def __init__(
        self,
        quotes: Sequence[NbboQuote],
        trades: Sequence[NbboTrade],
        *,
        symbol: str,
        trade_date: date,
        hours_ms: tuple[int, int] = REGULAR_HOURS_MS,
        mic: str = NO_MIC,
    ) -> None:
        self.hours = open_ns, close_ns = hours_ns(trade_date, hours_ms)
        self.venue = NbboVenue(symbol, trade_date.isoformat(), self.hours, mic)
        self._session = VenueSession(self.venue, f"{mic}-{trade_date.isoformat()}")
        self._bbo = BboCounter()
        self.crossed = self.locked = self.quotes = self.trades = 0
        inside = [trade for trade in trades if open_ns <= trade.ts_ns < close_ns]
        later = [quote for quote in quotes if open_ns <= quote.ts_ns < close_ns]
        if not inside or not later:
            raise RecordedDataError(f"{symbol} {trade_date}: no quotes or no trades in regular hours")
        for quote in quotes:
            if quote.ts_ns >= open_ns:
                break
            self.venue.apply_quote(quote)
        # Sorting is stable: in one millisecond trades come first (clause 6).
        self._ticks: list[NbboQuote | NbboTrade] = [*inside, *later]
        self._ticks.sort(key=lambda tick: tick.ts_ns)
        self._next = 0
        self._closed = False

    @classmethod
    def from_files(
        cls,
        quotes: str | Path,
        trades: str | Path,
        *,
        hours_ms: tuple[int, int] = REGULAR_HOURS_MS,
        mic: str = NO_MIC,
    ) -> NbboMarket:
        """Read a day's two files; symbol and date are in their names.

        Raises:
            RecordedDataError: a file is malformed, or they are of different symbols or dates.
            OSError: a file cannot be read.
        """
        one, other = describe(quotes), describe(trades)
        if (one.symbol, one.trade_date) != (other.symbol, other.trade_date):
            raise RecordedDataError("the recorded files are of different symbols or dates")
        return cls(
            read_quotes(quotes),
            read_trades(trades),
            symbol=one.symbol,
            trade_date=one.trade_date,
            hours_ms=hours_ms,
            mic=mic,
        )

    @property
    def sessions(self) -> Mapping[str, VenueSession]:
        return {self.venue.mic: self._session}

    @property
    def symbols(self) -> tuple[str, ...]:
        return (self.venue.symbol,)

    @property
    def bbo(self) -> BboCounter:
        """States of the quote within the hours so far, consecutive repeats removed."""
        return self._bbo

    @property
    def played(self) -> int:
        """How many ticks have happened."""
        return self._next

    def next_ns(self) -> int | None:
        """Time of the next tick, then of the close (UTC nanoseconds); None after it."""
        if self._next < len(self._ticks):
            return self._ticks[self._next].ts_ns
        return None if self._closed else self.hours[1]

    def step(self) -> list[VenueReport]:
        """Let the next tick happen, or the close; the numbered reports about our own orders."""
        if self._next >= len(self._ticks):
            return self._close()
        tick = self._ticks[self._next]
        self._next += 1
        if isinstance(tick, NbboTrade):
            self.trades += 1
            reports = self.venue.apply_trade(tick)
            return self._session.stamp(reports) if reports else reports
        self.quotes += 1
        self.venue.apply_quote(tick)
        nbbo = self.venue.nbbo
        self.crossed += nbbo.crossed
        self.locked += nbbo.locked
        self._bbo.observe(nbbo.state)
        return []

    def _close(self) -> list[VenueReport]:
        if self._closed:
            return []
        self._closed = True
        return self._session.stamp(self.venue.end_day(self.hours[1]))
