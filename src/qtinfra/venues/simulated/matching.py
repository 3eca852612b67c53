"""A venue with a real book per symbol: our orders and other people's meet under price-display-time priority.

Our side speaks `submit` and gets reports; the other side is the market that drives it (`background_*`).
What an exchange would call its order database is `orders()`: the venue's own record, for reconciliation.

Beside displayed limit, market, IOC and FOK orders it takes icebergs and hidden orders (see `book`), stops
that the last trade here triggers, pegs that follow the best displayed prices of orders that are not pegged
themselves, and, where it holds auctions, orders for the opening and the closing (see `auction`). In a call
before an auction, and in a halt if the venue queues then, limit orders rest without trading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from qtinfra.core.decimals import EXACT
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.market import VenueQuote
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import (
    ReportKind,
    ToVenue,
    VenueCancel,
    VenueMassStatusRequest,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
    VenueStatusRequest,
)
from qtinfra.venues.simulated import auction, reasons
from qtinfra.venues.simulated.book import BookOrder, OrderBook, Trade
from qtinfra.venues.simulated.market import DISPLAYED_LEVELS, AuctionTimes, HaltEntry, Market
from qtinfra.venues.simulated.orders import (
    LAST_DIGITS,
    ExecutionRecord,
    Listing,
    OrderDatabase,
    OrderRecord,
    VenueOrder,
    WholeTrade,
)
from qtinfra.venues.simulated.selfmatch import SmpMode
from qtinfra.venues.simulated.terms import RESTING, Terms, is_plain, on_auction, plain_entry, read_terms

# Members by name: looking them up in their class costs more than comparing them.
_KIND_REJECT = ReportKind.REJECT
_KIND_ACK = ReportKind.ACK
_KIND_FILL = ReportKind.FILL
_KIND_CANCELED = ReportKind.CANCELED
_LIQUIDITY_UNKNOWN = Liquidity.UNKNOWN
_LIQUIDITY_REMOVED = Liquidity.REMOVED
_LIQUIDITY_ADDED = Liquidity.ADDED
_KIND_RESTATED = ReportKind.RESTATED
_FOK = TimeInForce.FOK
_DAY = TimeInForce.DAY
_IOC = TimeInForce.IOC
_GTC = TimeInForce.GTC
_LIMIT = OrderType.LIMIT
_BUY = OrderSide.BUY

__all__ = [
    "DISPLAYED_LEVELS",
    "AuctionTimes",
    "ExecutionRecord",
    "HaltEntry",
    "Listing",
    "MatchingVenue",
    "OrderRecord",
]


class MatchingVenue:
    """A limit order book venue; implements `VenueModel`.

    Args:
        mic: ISO 10383 code.
        listings: what it trades.
        trade_date: ISO 8601 date that its reports carry, until `start_day`.
        auctions: its cut-offs; None: it holds no opening and closing auctions and takes no orders for them.
        halt_entry: what happens to new orders during a halt.
        smp_mode: self-match prevention of orders that carry an id but no mode.
    """

    def __init__(
        self,
        mic: str,
        listings: Iterable[Listing],
        trade_date: str = "",
        *,
        auctions: AuctionTimes | None = None,
        halt_entry: HaltEntry = HaltEntry.REJECT,
        smp_mode: SmpMode = SmpMode.CANCEL_NEWEST,
    ) -> None:
        self._mic = mic
        self._open = True
        self._auctions = auctions
        self._queues_in_halts = halt_entry is HaltEntry.QUEUE
        self._smp_mode = smp_mode
        self._markets = {item.symbol: Market.of(item) for item in listings}
        grids = {symbol: market.grid for symbol, market in self._markets.items()}
        self._db = OrderDatabase(mic, trade_date, grids)

    # --- what venues have in common -----------------------------------------------------------------------

    @property
    def mic(self) -> str:
        return self._mic

    def submit(self, message: ToVenue, now_ns: int) -> list[VenueReport]:
        """Take one message; the reports it causes for our orders, in order, not yet numbered.

        Raises:
            TypeError: a message that no venue knows.
        """
        match message:
            case VenueNewOrder():
                return self._new(message, now_ns)
            case VenueCancel():
                return self._cancel(message, now_ns)
            case VenueReplace():
                return self._replace(message, now_ns)
            case VenueStatusRequest():
                return [self._db.status(message.cl_ord_id, now_ns)]
            case VenueMassStatusRequest():
                return self._db.mass_status(message.cl_ord_id, now_ns)
        raise TypeError(f"not a message to a venue: {type(message).__name__}")

    def quote(self, symbol: str, now_ns: int) -> VenueQuote | None:
        """The five best levels without our own orders.

        `ts_ns` is when the book last changed, or up to a tenth of a second (`CONFIRMED_EVERY_NS`) before that
        if what is displayed has not changed since: a quote that stands stays one object.
        """
        del now_ns  # the book is as of the last message
        market = self._markets.get(symbol)
        if market is None:
            return None
        if market.quoted is not None and market.quoted_version == market.book.version:
            return market.quoted
        return market.quote(self._mic)

    def printed(self, symbol: str) -> tuple[Decimal, Decimal | None]:
        """Volume traded in the symbol, auctions included, and the last price."""
        market = self._markets.get(symbol)
        if market is None:
            return Decimal(0), None
        book, grid = market.book, market.grid
        last = grid.price(book.last_price) if book.last_price is not None else None
        return grid.quantity(book.traded_units), last

    def orders(self) -> tuple[OrderRecord, ...]:
        """The venue's record of all our orders, refused ones included, in order of arrival."""
        return self._db.records()

    def book(self, symbol: str) -> OrderBook:
        """The symbol's book, to read. KeyError when not listed."""
        return self._markets[symbol].book

    def bust(self, exec_id: str, now_ns: int = 0) -> list[VenueReport]:
        """Cancel an execution. The quantity does not come back into the book.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before.
        """
        return [self._db.bust(exec_id, now_ns)]

    def correct(self, exec_id: str, qty: Decimal, px: Decimal, now_ns: int = 0) -> list[VenueReport]:
        """Change quantity and price of an execution, which keeps its id.

        Raises:
            KeyError: not an execution of ours here.
            ValueError: busted before, or quantity or price is not positive.
        """
        return [self._db.correct(exec_id, qty, px, now_ns)]

    # --- the rest of the market ---------------------------------------------------------------------------

    def background_add(self, symbol: str, order: BookOrder, now_ns: int) -> list[VenueReport]:
        """Somebody else's order enters; the reports about our orders that it causes.

        `order` carries a positive id, unique per symbol; it tells afterwards what rests. While the symbol
        is halted or the venue closed, nothing happens and `order.level` stays None; where limit orders
        queue for an auction, they do.

        Raises:
            KeyError: the symbol is not listed.
            ValueError: id not positive or in use, quantity or price not positive.
        """
        market = self._markets[symbol]
        if order.order_id <= 0:
            raise ValueError("ids of other people's orders are positive")
        if not self._open or (market.halted and not self._queues_in_halts):
            return []
        if market.call or market.halted:
            if order.price is not None and order.rests:
                market.book.enqueue(order)
                market.changed_ns = now_ns
            return []
        market.changed_ns = now_ns
        trades = market.book.add(order)
        reports = self._report_trades(market, trades, now_ns) if trades or market.book.prevented else []
        return reports + self._follow(market, now_ns) if market.stops or market.pegs else reports

    def background_cancel(self, symbol: str, order_id: int, now_ns: int) -> bool:
        """Somebody else's order leaves; False when it no longer rests. `requote` lets pegs follow."""
        market = self._markets[symbol]
        if order_id <= 0 or market.book.order(order_id) is None:
            return False
        market.book.cancel(order_id)
        market.changed_ns = now_ns
        return True

    def requote(self, symbol: str, now_ns: int) -> list[VenueReport]:
        """Let pegged orders follow what `background_cancel` has changed; the reports this causes."""
        return self._follow(self._markets[symbol], now_ns)

    def background_on_auction(self, symbol: str, order: BookOrder, tif: TimeInForce) -> None:
        """Somebody else's order for the opening or the closing auction.

        Raises:
            KeyError: the symbol is not listed.
            ValueError: the id is not positive, or it is for no auction.
        """
        if order.order_id <= 0 or not on_auction(tif):
            raise ValueError("ids of other people's orders are positive, and an auction opens or closes")
        self._markets[symbol].on_auction.append((tif, order))

    # --- the day ------------------------------------------------------------------------------------------

    def start_day(self, trade_date: str, auctions: AuctionTimes | None = None) -> None:
        """Open for a trading date (ISO 8601). GTC orders of the day before still rest."""
        self._db.trade_date = trade_date
        self._auctions = auctions or self._auctions
        self._open = True
        for market in self._markets.values():
            market.close_held = False

    def end_day(self, now_ns: int) -> list[VenueReport]:
        """Close: DAY orders expire, new orders are refused until `start_day`."""
        self._open = False
        expired: list[VenueReport] = []
        for own in self._db.live():
            if own.terms.tif is not TimeInForce.GTC:
                self._take_out(own, now_ns)
                expired.append(self._db.end(own, ReportKind.EXPIRED, reasons.END_OF_DAY, now_ns))
        return expired

    def halt(self, symbol: str, halted: bool) -> None:
        """Stop or resume trading in a symbol; while halted, resting orders stay and may be cancelled.

        Raises:
            ValueError: orders have queued that would trade: resume by an auction (`resume`).
        """
        market = self._markets[symbol]
        if not halted and market.halted and market.book.crossed:
            raise ValueError(f"{symbol}: queued orders cross, an auction must resume trading")
        market.halted = halted

    def is_halted(self, symbol: str) -> bool:
        return self._markets[symbol].halted

    # --- auctions -----------------------------------------------------------------------------------------

    def begin_call(self, symbol: str) -> None:
        """Stop continuous trading and collect orders for the opening auction."""
        self._markets[symbol].call = True

    def imbalance(
        self, symbol: str, tif: TimeInForce | None, reference: Decimal | None = None
    ) -> auction.Clearing | None:
        """What the auction would do now; None when nothing would trade. Prices in ticks, sizes in lots."""
        market = self._markets[symbol]
        return auction.run(market.auction_orders(tif), market.reference(reference)).clearing

    def open_auction(self, symbol: str, now_ns: int, reference: Decimal | None = None) -> list[VenueReport]:
        """Uncross what the call has collected, then trade continuously.

        Args:
            reference: decides between equal prices; by default the last trade here, else the lowest limit.
        """
        return self._auction(self._markets[symbol], TimeInForce.AT_OPEN, reference, now_ns)

    def close_auction(self, symbol: str, now_ns: int, reference: Decimal | None = None) -> list[VenueReport]:
        """Uncross on-close orders and the book. `end_day` follows."""
        market = self._markets[symbol]
        market.close_held = True
        return self._auction(market, TimeInForce.AT_CLOSE, reference, now_ns)

    def resume(self, symbol: str, now_ns: int, reference: Decimal | None = None) -> list[VenueReport]:
        """End a halt by an auction of what rests and has queued."""
        return self._auction(self._markets[symbol], None, reference, now_ns)

    def _auction(
        self, market: Market, tif: TimeInForce | None, reference: Decimal | None, now_ns: int
    ) -> list[VenueReport]:
        if market.halted and tif is not None:
            raise ValueError(f"{market.symbol} is halted: only `resume` trades")
        outcome = auction.run(market.auction_orders(tif), market.reference(reference))
        reports: list[VenueReport] = []
        for done in outcome.prevented:
            for order_id, units, ends in (
                (done.maker, done.maker_units, done.maker_ends),
                (done.taker, done.taker_units, done.taker_ends),
            ):
                reports += self._lose(market, order_id, units, ends, now_ns) if units else []
        if outcome.clearing is not None:
            px = market.grid.price(outcome.clearing.price)
            for order_id, units in outcome.fills:
                market.execute(order_id, units)
                if order_id < 0:
                    own, flag = self._db.get(order_id), reasons.AUCTION_FLAG
                    reports.append(self._db.fill(own, units, px, Liquidity.UNKNOWN, now_ns, flag))
            market.book.print_auction(outcome.clearing.price, outcome.clearing.units)
        for order in market.end_auction(tif):
            if order.order_id < 0 and order.leaves:
                own, reason = self._db.get(order.order_id), reasons.AUCTION_REMAINDER
                reports.append(self._db.end(own, ReportKind.CANCELED, reason, now_ns))
        market.halted = market.call = False
        market.changed_ns = now_ns
        return reports + self._follow(market, now_ns)

    def _lose(self, market: Market, order_id: int, units: int, ends: bool, now_ns: int) -> list[VenueReport]:
        """Take units off an order of the call that would have traded with another of its id."""
        market.withdraw(order_id, units)
        if order_id > 0:
            return []
        own = self._db.get(order_id)
        if ends:
            return [self._db.end(own, ReportKind.CANCELED, reasons.SELF_MATCH, now_ns)]
        return [self._db.decrement(own, units, now_ns)]

    def _collecting(self, market: Market) -> bool:
        """Whether limit orders rest without trading."""
        return market.call or (market.halted and self._queues_in_halts)

    def _cut_off(self, tif: TimeInForce, market: Market, now_ns: int) -> bool:
        """Whether orders for the auction can no longer be entered, changed or cancelled."""
        if not on_auction(tif) or self._auctions is None:
            return False
        held = not market.call if tif is TimeInForce.AT_OPEN else market.close_held
        return held or self._auctions.over(tif, now_ns)

    # --- our orders ---------------------------------------------------------------------------------------

    def _new(self, message: VenueNewOrder, now_ns: int) -> list[VenueReport]:
        db, cl_ord_id = self._db, message.cl_ord_id
        if cl_ord_id in db.known:
            return [db.say(_KIND_REJECT, cl_ord_id, now_ns, reason=reasons.DUPLICATE_CL_ORD_ID)]
        market = self._markets.get(message.symbol)
        if market is not None and self._open and not (market.halted or market.call) and is_plain(message):
            return self._new_plain(message, market, now_ns)
        terms = self._terms(message, market, now_ns)
        if not isinstance(terms, Terms) or market is None:
            db.enter(message, None, None)
            return [db.say(_KIND_REJECT, cl_ord_id, now_ns, reason=str(terms))]
        own = db.enter(message, terms.entry, market.grid)
        reports = [db.say(_KIND_ACK, cl_ord_id, now_ns, own)]
        reports += self._place(own, market, terms, now_ns)
        return reports + self._follow(market, now_ns) if market.stops or market.pegs else reports

    def _new_plain(self, message: VenueNewOrder, market: Market, now_ns: int) -> list[VenueReport]:
        """As `_new`, of a limit order without instructions while the symbol trades continuously."""
        db, grid, book = self._db, market.grid, market.book
        entry = plain_entry(message, grid, db.next_number, self._smp_mode)
        if isinstance(entry, str):
            db.enter(message, None, None)
            return [db.say(_KIND_REJECT, message.cl_ord_id, now_ns, reason=entry)]
        own = db.enter(message, entry, grid)
        reports = [db.acked(own, now_ns)]
        market.changed_ns = now_ns
        trades, level = book.add(entry), entry.level
        if trades or book.prevented or level is None:
            reports += self._settle(own, market, trades, now_ns)
        elif (ahead := level.units - entry.leaves) > 0:
            own.queue_ahead = grid.quantity(ahead)
        return reports + self._follow(market, now_ns) if market.stops or market.pegs else reports

    def trade_whole(
        self, order: VenueNewOrder, now_ns: int, session: str, sent: list[VenueReport | WholeTrade]
    ) -> list[VenueReport] | None:
        """A plain order that trades in full with the first in the queue, who is somebody else and shows more.

        As `submit` and numbering its reports would do, in one straight function: nothing enters the book.
        None: not so, and nothing has changed.
        """
        market = self._markets.get(symbol := order.symbol)
        if market is None or not self._open or market.halted or market.call or market.stops or market.pegs:
            return None
        limit, tif, qty = order.price, order.tif, order.qty
        if limit is None or order.order_type is not _LIMIT or order.stop_px is not None or order.peg:
            return None
        if order.min_qty or order.display_qty or order.hidden or order.smp_mode:
            return None
        if not (tif is _DAY or tif is _IOC or tif is _GTC or tif is _FOK):
            return None  # by now: whatever is not `is_plain`
        book, grid, side = market.book, market.grid, order.side
        level = book.asks.first if side is _BUY else book.bids.first
        try:
            size = grid.sizes[qty]
        except TypeError:  # a signaling NaN
            return None
        if level is None or size is None:
            return None
        units, filled = size
        price, maker = level.price, level.head
        if level.reached_by is not limit:
            ticks = grid.ticks(limit)
            if ticks is None or (price > ticks if side is _BUY else price < ticks):
                return None
            level.reached_by, level.px = limit, grid.prices[price]
        if maker is None or maker.own:
            return None
        left, smp = maker.leaves - units, order.smp_id
        if left <= maker.reserve or (smp and maker.smp == smp):
            return None
        db, cl_ord_id = self._db, order.cl_ord_id
        kept, execs = db.kept, db.execs
        number = len(kept) + 1
        if db.known.setdefault(cl_ord_id, number) is not number:
            return None
        maker.leaves, level.units = left, level.units - units
        book.version += 1
        book.others += 1
        book.trades += 1
        book.traded_units += units
        book.last_price, market.changed_ns = price, now_ns
        if book.prevented:
            book.prevented = []
        execs.append(number)
        count, seq = len(execs), len(sent)
        mic, px, trade_date = self._mic, level.px, db.trade_date
        trade = WholeTrade(number, count, cl_ord_id, symbol, side, tif, qty, limit, px, trade_date, now_ns)
        kept.append(trade)
        sent.append(trade)
        sent.append(trade)
        ids, fills = db.order_ids, db.exec_ids
        order_id = ids.head + LAST_DIGITS[number % 1000] if number < ids.until else ids.begin(number)
        exec_id = fills.head + LAST_DIGITS[count % 1000] if count < fills.until else fills.begin(count)
        ack = VenueReport(
            _KIND_ACK, mic, cl_ord_id, seq + 1, session, trade_date, "", order_id, "", "", None, None, None,
            None, False, _LIQUIDITY_UNKNOWN, None, "", "", now_ns,
        )  # fmt: skip
        fill = VenueReport(
            _KIND_FILL, mic, cl_ord_id, seq + 2, session, trade_date, "", order_id, exec_id, "", filled, px,
            None, None, False, _LIQUIDITY_REMOVED, None, "", "", now_ns,
        )  # fmt: skip
        return [ack, fill]

    def _terms(self, message: VenueNewOrder, market: Market | None, now_ns: int) -> Terms | str:
        """The order for the book, or the reason to refuse it."""
        if market is None:
            return reasons.UNKNOWN_SYMBOL
        if not self._open:
            return reasons.CLOSED
        collecting, auctioned = self._collecting(market), on_auction(message.tif)
        if market.halted and not collecting:
            return reasons.HALTED
        if auctioned and self._auctions is None:
            return reasons.UNSUPPORTED
        terms = read_terms(message, market.grid, self._db.next_number, self._smp_mode)
        if not isinstance(terms, Terms):
            return terms
        if auctioned and self._cut_off(message.tif, market, now_ns):
            return reasons.CUT_OFF
        if collecting and not terms.entry.rests:
            waits = auctioned or terms.stop is not None or terms.peg is not None
            return terms if waits else reasons.HALTED if market.halted else reasons.UNSUPPORTED
        return terms

    def _place(self, own: VenueOrder, market: Market, terms: Terms, now_ns: int) -> list[VenueReport]:
        """Let a new order do what it came for."""
        if on_auction(own.terms.tif):
            market.on_auction.append((own.terms.tif, own.entry))
        elif terms.stop is not None:
            market.stops[own.entry.order_id] = (terms.stop, own.entry)
        elif terms.peg is not None:
            market.pegs[own.entry.order_id] = (terms.peg, own.entry)
            own.entry.price = None  # what it follows prices it
        else:
            return self._work(own, market, now_ns)
        return []

    def _work(self, own: VenueOrder, market: Market, now_ns: int) -> list[VenueReport]:
        """Match an order of ours, or let it rest for the auction."""
        market.changed_ns = now_ns
        if self._collecting(market):
            market.book.enqueue(own.entry)
            own.queue_ahead = market.queue_ahead(own.entry)
            return []
        return self._settle(own, market, market.book.add(own.entry), now_ns)

    def _settle(
        self, own: VenueOrder, market: Market, trades: Sequence[Trade], now_ns: int
    ) -> list[VenueReport]:
        """Reports for what an order of ours did on arrival; its end if it does not rest."""
        reports = self._report_trades(market, trades, now_ns, own)
        entry = own.entry
        if entry.level is not None:
            own.queue_ahead = market.queue_ahead(entry)
            return reports
        market.pegs.pop(entry.order_id, None)
        if own.live:
            reason = reasons.SELF_MATCH if entry.blocked else _why_cancelled(own, bool(trades))
            reports.append(self._db.end(own, _KIND_CANCELED, reason, now_ns))
        return reports

    def _report_trades(
        self, market: Market, trades: Sequence[Trade], now_ns: int, taker: VenueOrder | None = None
    ) -> list[VenueReport]:
        """Fills of ours in the order of the trades, then what self-match prevention took."""
        reports: list[VenueReport] = []
        db, price = self._db, market.grid.price
        for trade in trades:
            px = price(trade.price)
            if taker is not None:
                reports.append(db.fill(taker, trade.units, px, _LIQUIDITY_REMOVED, now_ns))
            if trade.maker < 0:
                maker = self._db.get(trade.maker)
                flag = reasons.HIDDEN_FLAG if maker.entry.hidden else ""
                reports.append(self._db.fill(maker, trade.units, px, _LIQUIDITY_ADDED, now_ns, flag))
                if not maker.live:
                    market.pegs.pop(trade.maker, None)
        return reports + self._report_prevented(market, now_ns) if market.book.prevented else reports

    def _report_prevented(self, market: Market, now_ns: int) -> list[VenueReport]:
        reports: list[VenueReport] = []
        for done in market.book.prevented:
            if done.maker < 0 and done.maker_ends:
                market.pegs.pop(done.maker, None)
                own, reason = self._db.get(done.maker), reasons.SELF_MATCH
                reports.append(self._db.end(own, _KIND_CANCELED, reason, now_ns))
            elif done.maker < 0 and done.maker_units:
                reports.append(self._db.decrement(self._db.get(done.maker), done.maker_units, now_ns))
            if done.taker < 0 and done.taker_units and not done.taker_ends:
                reports.append(self._db.decrement(self._db.get(done.taker), done.taker_units, now_ns))
        return reports

    def _follow(self, market: Market, now_ns: int) -> list[VenueReport]:
        """Stops that the last trade triggers, then pegs that the quote moves, until nothing does."""
        reports: list[VenueReport] = []
        if not (market.stops or market.pegs) or market.halted or market.call or not self._open:
            return reports
        while True:
            stop, peg = market.triggered(), market.moved_peg()
            if stop is not None:
                del market.stops[stop]
                own = self._db.get(stop)
                live = self._db.say(_KIND_RESTATED, own.ids[-1], now_ns, own, reason=reasons.TRIGGERED)
                reports += [live, *self._work(own, market, now_ns)]
            elif peg is not None:
                entry_id, price = peg
                own = self._db.get(entry_id)
                market.lift(own.entry)
                own.entry.price = price
                reports += self._work(own, market, now_ns) if price is not None else []
            else:
                return reports

    def _cancel(self, message: VenueCancel, now_ns: int) -> list[VenueReport]:
        own, reason = self._db.target(message.cl_ord_id, message.orig_cl_ord_id)
        if own is not None and not reason and self._cut_off(own.terms.tif, self._market(own), now_ns):
            reason = reasons.CUT_OFF
        if own is None or reason:
            kind, orig = ReportKind.CANCEL_REJECT, message.orig_cl_ord_id
            return [self._db.say(kind, message.cl_ord_id, now_ns, own, reason=reason, orig=orig)]
        orig = own.ids[-1]
        self._take_out(own, now_ns)
        self._db.close(own)
        canceled = self._db.say(ReportKind.CANCELED, message.cl_ord_id, now_ns, own, orig=orig)
        return [canceled, *self._follow(self._market(own), now_ns)]

    def _replace(self, message: VenueReplace, now_ns: int) -> list[VenueReport]:
        own, reason = self._db.target(message.cl_ord_id, message.orig_cl_ord_id)
        reason = reason or (self._replace_refusal(message, own, now_ns) if own is not None else "")
        if own is None or reason:
            kind, orig = ReportKind.REPLACE_REJECT, message.orig_cl_ord_id
            return [self._db.say(kind, message.cl_ord_id, now_ns, own, reason=reason, orig=orig)]
        orig, cum, market = own.ids[-1], own.cum, self._market(own)
        own.ids.append(message.cl_ord_id)
        price = own.terms.price if message.price is None else message.price
        own.terms = replace(own.terms, qty=message.qty, price=price)
        replaced = self._db.say(ReportKind.REPLACED, message.cl_ord_id, now_ns, own, orig=orig)
        if message.qty <= cum:
            self._take_out(own, now_ns)
            self._db.close(own)
            return [replaced, *self._follow(market, now_ns)]
        units = market.grid.units(EXACT.subtract(message.qty, cum)) or 0
        ticks = market.grid.ticks(price) if price is not None else None
        reports = self._amend(own, market, units, ticks, now_ns)
        return [replaced, *reports, *self._follow(market, now_ns)]

    def _amend(
        self, own: VenueOrder, market: Market, units: int, ticks: int | None, now_ns: int
    ) -> list[VenueReport]:
        """New terms: fewer units at the same price keep the place, everything else arrives anew."""
        entry = own.entry
        if entry.order_id in market.pegs:
            market.amend_peg(entry, units, ticks)
            return []
        if entry.level is None:
            market.amend_waiting(entry, units, ticks)
            return []
        market.changed_ns = now_ns
        if ticks == entry.price and units <= entry.leaves:
            market.book.amend(entry.order_id, units, entry.price or 0)
            return []
        market.lift(entry)
        entry.leaves, entry.price, entry.minimum = units, ticks, 0
        return self._work(own, market, now_ns)

    def _replace_refusal(self, message: VenueReplace, own: VenueOrder, now_ns: int) -> str:
        market = self._market(own)
        if not self._open:
            return reasons.CLOSED
        if market.halted and not self._collecting(market):
            return reasons.HALTED
        if self._cut_off(own.terms.tif, market, now_ns):
            return reasons.CUT_OFF
        if message.price is not None and market.grid.ticks(message.price) is None:
            return reasons.INVALID_PRICE
        if market.grid.units(message.qty) is None:
            return reasons.INVALID_QTY
        rest = EXACT.subtract(message.qty, own.cum)
        return reasons.INVALID_QTY if rest > 0 and market.grid.units(rest) is None else ""

    def _market(self, own: VenueOrder) -> Market:
        return self._markets[own.terms.symbol]

    def _take_out(self, own: VenueOrder, now_ns: int) -> None:
        market = self._market(own)
        market.remove(own.entry)
        market.changed_ns = now_ns


def _why_cancelled(own: VenueOrder, traded: bool) -> str:
    if own.terms.tif is _FOK:
        return reasons.FOK
    if own.entry.minimum and not traded:
        return reasons.MIN_QTY
    return reasons.NO_LIQUIDITY if own.terms.tif in RESTING else reasons.IOC
