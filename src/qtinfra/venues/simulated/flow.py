"""A seeded synthetic market: other people's orders for several correlated symbols on several venues.

Each symbol has an efficient price that nobody sees. It moves on a half-second grid by a one-factor model: one
market move shared by all, weighted by `market_loading`, and one of its own. Around it each venue's book lives
from Poisson streams of limit orders, cancels and market orders, busier near the open and the close (U shape).
Market makers pull quotes that a move has made stale and quote the new touch; what is still stale then (an
order of ours, say) is traded through by the next arrival. Background bids stay below the background offers of
all venues, so the consolidated market is not crossed unless we cross it.

Floats drive intensities and the efficient price only; what reaches a book is whole ticks and units. Every
arrival draws the same count of random numbers, so our orders do not change who comes when.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from random import Random

import msgspec

from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.reports import VenueReport
from qtinfra.venues.simulated.book import BookOrder, Grid
from qtinfra.venues.simulated.matching import Listing, MatchingVenue
from qtinfra.venues.simulated.model import VenueSession

NS = 1_000_000_000
#: Length of the day that volatility and volume refer to, in seconds (6.5 hours).
FULL_DAY_S = 23_400
#: The efficient price moves this often.
GRID_NS = NS // 2
#: Background levels that every side of every book keeps while trading.
MIN_LEVELS = 5

_MAX_TRADES = 12_000  # market orders per symbol and day; above, they are larger instead of more
_MARKET_SHARE = 0.10  # of all arrivals
_TYPICAL_TRADE = 150.0  # units
_TARGET_ORDERS = 60  # resting background orders on each side of a book
_DECAY = math.log(0.74)  # of the chance that a limit order joins one tick further away
_MAX_OFFSET = 40
_MAKER_ORDERS = 8  # market makers' orders per side of a book
_REQUOTE_CHANCE = 0.9
_IMPROVE_CHANCE = 0.05  # limit orders inside a spread of three ticks and more


class SyntheticInstrument(msgspec.Struct, frozen=True):
    """A symbol and how it behaves.

    Attributes:
        start_price: efficient price at the open; a positive multiple of the tick.
        daily_volatility: standard deviation of the day's return, as a fraction (0.02 is two percent).
        average_daily_volume: units per full day over all venues.
        spread_ticks: the touch when it is quoted on both sides.
        market_loading: correlation with the market factor, -1 to 1; two symbols correlate by the product.
    """

    symbol: str
    start_price: Decimal
    daily_volatility: float
    average_daily_volume: int
    spread_ticks: int = 1
    tick: Decimal = Decimal("0.01")
    lot: Decimal = ONE
    market_loading: float = 0.6


class SyntheticVenue(msgspec.Struct, frozen=True):
    """A venue, its share of the flow (relative to the others') and its fees, currency per unit."""

    mic: str
    share: float
    take_fee: Decimal = ZERO
    make_fee: Decimal = ZERO


#: Six US names and three US venues with round numbers, for demonstrations.
US_INSTRUMENTS = (
    SyntheticInstrument("AAPL", Decimal("210.00"), 0.016, 50_000_000, 1),
    SyntheticInstrument("MSFT", Decimal("430.00"), 0.015, 20_000_000, 3),
    SyntheticInstrument("NVDA", Decimal("125.00"), 0.030, 200_000_000, 1),
    SyntheticInstrument("JPM", Decimal("205.00"), 0.014, 9_000_000, 2),
    SyntheticInstrument("XOM", Decimal("112.00"), 0.014, 15_000_000, 1, market_loading=0.4),
    SyntheticInstrument("KO", Decimal("64.00"), 0.009, 13_000_000, 1, market_loading=0.4),
)
US_VENUES = (
    SyntheticVenue("ARCX", 0.30, Decimal("0.0030"), Decimal("-0.0020")),
    SyntheticVenue("BATS", 0.25, Decimal("0.0029"), Decimal("-0.0018")),
    SyntheticVenue("XNAS", 0.45, Decimal("0.0030"), Decimal("-0.0022")),
)


class _Asset:
    """One symbol's hidden state: efficient price, and the touch that follows from it, in ticks."""

    __slots__ = (
        "ask",
        "bid",
        "daily_units",
        "improve",
        "loading",
        "log_ticks",
        "own_loading",
        "size",
        "spec",
        "step_sd",
    )

    def __init__(self, spec: SyntheticInstrument) -> None:
        self.spec = spec
        ticks = Grid(spec.tick, spec.lot).ticks(spec.start_price)
        if ticks is None or spec.spread_ticks < 1 or not -1 <= spec.market_loading <= 1:
            raise ValueError(f"{spec.symbol}: price off the tick, no spread, or a loading beyond one")
        if spec.average_daily_volume <= 0 or spec.daily_volatility < 0:
            raise ValueError(f"{spec.symbol}: volume must be positive and volatility not negative")
        self.log_ticks = math.log(ticks)
        self.loading = spec.market_loading
        self.own_loading = math.sqrt(1 - spec.market_loading**2)
        self.step_sd = spec.daily_volatility * math.sqrt(GRID_NS / NS / FULL_DAY_S)
        self.daily_units = float(spec.average_daily_volume / spec.lot)
        self.size = max(_TYPICAL_TRADE, self.daily_units / _MAX_TRADES)
        self.improve = 1 if spec.spread_ticks >= 3 else 0
        self.bid = self.ask = 0
        self.retarget()

    @property
    def events_per_s(self) -> float:
        """Arrivals per second over all venues, averaged over the day."""
        return self.daily_units / self.size / _MARKET_SHARE / FULL_DAY_S

    def move(self, market: float, own: float, activity: float) -> bool:
        """One step of the grid; whether the touch moved."""
        scale = self.step_sd * math.sqrt(activity)
        self.log_ticks += scale * (self.loading * market + self.own_loading * own)
        before = self.bid
        self.retarget()
        return self.bid != before

    def retarget(self) -> None:
        spread = self.spec.spread_ticks
        self.bid = max(MIN_LEVELS, math.floor(self.ticks - spread / 2 + 0.5))
        self.ask = self.bid + spread

    @property
    def ticks(self) -> float:
        return math.exp(self.log_ticks)

    def units(self, draw: float) -> int:
        """An exponential size; from 100 up in round lots."""
        units = 1 - int(self.size * math.log1p(-draw))
        return units - units % 100 if units >= 100 else units

    def buy_chance(self) -> float:
        """Takers lean to the side that the efficient price favours."""
        lean = (self.ticks - (self.bid + self.ask) / 2) / self.spec.spread_ticks
        return 0.5 + 0.3 * max(-1.0, min(1.0, lean))


class _Stream:
    """Everybody else at one venue in one symbol."""

    __slots__ = ("_makers", "_resting", "asset", "book", "ids", "session", "symbol", "venue")

    def __init__(self, asset: _Asset, venue: MatchingVenue, session: VenueSession) -> None:
        self.asset = asset
        self.venue = venue
        self.session = session
        self.symbol = asset.spec.symbol
        self.book = venue.book(self.symbol)
        self.ids = 0
        self._resting: tuple[list[BookOrder], list[BookOrder]] = ([], [])  # by side: sells, buys
        self._makers: tuple[deque[BookOrder], deque[BookOrder]] = (deque(), deque())

    def limit(self, buy: bool, price: int, units: int, now_ns: int) -> tuple[BookOrder, list[VenueReport]]:
        self.ids += 1
        order = BookOrder(self.ids, buy, units, max(1, price))
        return order, self.venue.background_add(self.symbol, order, now_ns)

    def market(self, buy: bool, units: int, now_ns: int) -> list[VenueReport]:
        self.ids += 1
        order = BookOrder(self.ids, buy, units, None, rests=False)
        return self.venue.background_add(self.symbol, order, now_ns)

    def join(self, buy: bool, draw: float, units: int, now_ns: int) -> list[VenueReport]:
        """A limit order arrives: the further from the touch, the rarer."""
        asset = self.asset
        if asset.improve and draw < _IMPROVE_CHANCE:
            offset = -1
        else:
            offset = min(_MAX_OFFSET, int(math.log1p(-draw) / _DECAY))
        price = asset.bid - offset if buy else asset.ask + offset
        order, reports = self.limit(buy, price, units, now_ns)
        if order.level is not None:
            self._resting[buy].append(order)
        return reports

    def leave(self, buy: bool, draw: float, now_ns: int) -> None:
        """One resting order, any with the same chance, is cancelled."""
        resting = self._resting[buy]
        while resting:
            index = int(draw * len(resting))
            resting[index], resting[-1] = resting[-1], resting[index]
            order = resting.pop()
            if order.level is not None:
                self.venue.background_cancel(self.symbol, order.order_id, now_ns)
                return

    def wants_to_leave(self, buy: bool, draw: float) -> bool:
        """The fuller a side, the more of its arrivals are cancels: it hovers around the target."""
        crowd = len(self._resting[buy])
        return draw < crowd / (crowd + _TARGET_ORDERS)

    def requote(self, rng: Random, now_ns: int) -> list[VenueReport]:
        """Quotes that are better than the efficient price allows are pulled, and the new touch is quoted."""
        asset = self.asset
        if self.venue.is_halted(self.symbol):
            return []
        for buy, bound in ((True, asset.bid + asset.improve), (False, asset.ask - asset.improve)):
            for order in self.book.better_than(buy, bound):
                if not order.own:
                    self.venue.background_cancel(self.symbol, order.order_id, now_ns)
        reports: list[VenueReport] = []
        for buy, touch in ((True, asset.bid), (False, asset.ask)):
            chance, size = rng.random(), rng.random()
            if chance < _REQUOTE_CHANCE and not self.book.units_at(buy, touch, own=False):
                reports += self._make(buy, touch, asset.units(size), now_ns)
            makers = self._makers[buy]
            while len(makers) > _MAKER_ORDERS:
                self.venue.background_cancel(self.symbol, makers.popleft().order_id, now_ns)
        return reports

    def _make(self, buy: bool, price: int, units: int, now_ns: int) -> list[VenueReport]:
        order, reports = self.limit(buy, price, units, now_ns)
        self._makers[buy].append(order)
        return reports

    def replenish(self, now_ns: int) -> list[VenueReport]:
        """Keep `MIN_LEVELS` background levels on both sides: who quotes last quotes the typical size."""
        book, asset = self.book, self.asset
        if not self.venue.is_halted(self.symbol) and any(self._thin(book.depth(MIN_LEVELS, own=False))):
            reports: list[VenueReport] = []
            for buy, touch, step in ((True, asset.bid, -1), (False, asset.ask, 1)):
                for offset in range(MIN_LEVELS):
                    price = touch + step * offset
                    if not book.units_at(buy, price, own=False):
                        reports += self._make(buy, price, int(asset.size), now_ns)
            return reports
        return []

    @staticmethod
    def _thin(depth: tuple[tuple[object, ...], tuple[object, ...]]) -> tuple[bool, bool]:
        return len(depth[0]) < MIN_LEVELS, len(depth[1]) < MIN_LEVELS

    def populate(self, rng: Random, now_ns: int) -> None:
        """The book as it stands when trading opens."""
        for buy in (True, False):
            for _ in range(_TARGET_ORDERS):
                self.join(buy, rng.random(), self.asset.units(rng.random()), now_ns)
        self.requote(rng, now_ns)
        self.replenish(now_ns)


class SyntheticMarket:
    """Other people's orders over several venues; implements `SimulatedMarket`.

    The last event is the close: the venues expire our DAY orders and refuse new ones.

    Args:
        seed: the same seed and the same orders of ours at the same times give the same market.
        instruments: what is traded, on every venue.
        venues: where; shares of flow are relative.
        open_ns, close_ns: the session, UTC nanoseconds. A session shorter than 6.5 hours has its share of the
            daily volume and variance; the U shape spans the session.
        trade_date: ISO 8601.

    Raises:
        ValueError: nothing to trade, no venue, a name twice, a negative share, or it closes before it opens.
    """

    def __init__(
        self,
        seed: int,
        instruments: Sequence[SyntheticInstrument],
        venues: Sequence[SyntheticVenue],
        *,
        open_ns: int,
        close_ns: int,
        trade_date: str,
    ) -> None:
        self.instruments = tuple(instruments)
        self.venues = tuple(venues)
        _check(self.instruments, self.venues, open_ns, close_ns)
        self._open_ns, self._close_ns = open_ns, close_ns
        self._arrivals = Random(f"{seed}/arrivals")
        self._prices = Random(f"{seed}/prices")
        self._makers = Random(f"{seed}/makers")
        listings = [Listing(spec.symbol, spec.tick, spec.lot) for spec in self.instruments]
        self._matching = {item.mic: MatchingVenue(item.mic, listings, trade_date) for item in self.venues}
        self._sessions = {
            mic: VenueSession(venue, f"{mic}-{trade_date}") for mic, venue in self._matching.items()
        }
        self._assets = [_Asset(spec) for spec in self.instruments]
        self._streams: list[_Stream] = []
        self._by_asset: list[list[_Stream]] = []
        rates = self._make_streams()
        self._cumulative = list(accumulate(rates))
        self._rate = self._cumulative[-1]
        self._begin()

    def _begin(self) -> None:
        """The first events of the session."""
        self._grid_ns = self._open_ns + GRID_NS
        self._arrival_ns = self._open_ns + self._wait_ns(self._open_ns)
        self._closed = self._calling = False

    @property
    def calling(self) -> bool:
        """Whether the venues collect orders for the next session and nothing trades."""
        return self._calling

    def call(self) -> None:
        """Collect orders until `open`: limit orders rest without trading."""
        self._calling = True
        for venue in self._matching.values():
            for symbol in self.symbols:
                venue.begin_call(symbol)

    def open(self, now_ns: int) -> list[VenueReport]:
        """End the call: each book is uncrossed, then trading goes on until the close.

        Returns:
            Numbered reports about our orders that traded.

        Raises:
            ValueError: there is no call, or the session is over.
        """
        if not self._calling or now_ns >= self._close_ns:
            raise ValueError("only a call before the close can end in an open")
        self._open_ns = now_ns
        reports: list[VenueReport] = []
        for mic, venue in self._matching.items():
            traded = [report for symbol in self.symbols for report in venue.open_auction(symbol, now_ns)]
            reports += self._sessions[mic].stamp(traded)
        self._begin()
        return reports

    def start_day(self, close_ns: int, trade_date: str) -> None:
        """Call for another session: books, prices and GTC orders are those of the close.

        Args:
            close_ns: its end, UTC nanoseconds.
            trade_date: ISO 8601.

        Raises:
            ValueError: a session runs.
        """
        if not (self._closed or self._calling):
            raise ValueError("a session runs: end it first")
        self._close_ns = close_ns
        for venue in self._matching.values():
            venue.start_day(trade_date)
        self.call()

    def end_day(self, now_ns: int) -> list[VenueReport]:
        """Close now instead of at the session's end; numbered reports, empty when it has closed before."""
        self._close_ns = min(self._close_ns, now_ns)
        return self._close()

    def _make_streams(self) -> list[float]:
        rates: list[float] = []
        shares = sum(item.share for item in self.venues)
        for asset in self._assets:
            streams: list[_Stream] = []
            for item in self.venues:
                stream = _Stream(asset, self._matching[item.mic], self._sessions[item.mic])
                stream.populate(self._makers, self._open_ns)
                streams.append(stream)
                rates.append(asset.events_per_s * item.share / shares)
            self._streams += streams
            self._by_asset.append(streams)
        return rates

    @property
    def sessions(self) -> Mapping[str, VenueSession]:
        """The venues' sessions by MIC, in the order given."""
        return self._sessions

    @property
    def matching(self) -> Mapping[str, MatchingVenue]:
        """The venues themselves by MIC: their books, their records of our orders, busts and halts."""
        return self._matching

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(spec.symbol for spec in self.instruments)

    def activity(self, now_ns: int) -> float:
        """Intensity of trading relative to the session's average: 1.8 at open and close, 0.6 at midday."""
        position = 2 * (now_ns - self._open_ns) / (self._close_ns - self._open_ns) - 1
        return 0.6 + 1.2 * position * position

    def next_ns(self) -> int | None:
        """When the next event happens; None once the session has closed, and in a call."""
        if self._closed or self._calling:
            return None
        return min(self._arrival_ns, self._grid_ns, self._close_ns)

    def step(self) -> list[VenueReport]:
        """Let the next event happen; numbered reports about our orders. Empty after the close."""
        arrival_ns, grid_ns = self._arrival_ns, self._grid_ns
        if min(arrival_ns, grid_ns) >= self._close_ns:
            return self._close()
        return self._arrive(arrival_ns) if arrival_ns <= grid_ns else self._move(grid_ns)

    def _arrive(self, now_ns: int) -> list[VenueReport]:
        draw = self._arrivals.random
        who, kind, side, where, size = draw(), draw(), draw(), draw(), draw()
        self._arrival_ns = now_ns + self._wait_ns(now_ns)
        index = min(bisect_right(self._cumulative, who * self._rate), len(self._streams) - 1)
        stream = self._streams[index]
        if stream.venue.is_halted(stream.symbol):
            return []
        reports: list[VenueReport] = []
        units, buy = stream.asset.units(size), side < 0.5
        if kind < _MARKET_SHARE:
            reports = stream.market(side < stream.asset.buy_chance(), units, now_ns)
        elif stream.wants_to_leave(buy, (kind - _MARKET_SHARE) / (1 - _MARKET_SHARE)):
            stream.leave(buy, where, now_ns)
        else:
            reports = stream.join(buy, where, units, now_ns)
        reports += stream.replenish(now_ns)
        return stream.session.stamp(reports) if reports else reports

    def _move(self, now_ns: int) -> list[VenueReport]:
        """The efficient prices move; where the touch moves with them, quotes follow."""
        self._grid_ns = now_ns + GRID_NS
        activity, market = self.activity(now_ns), self._prices.gauss(0.0, 1.0)
        caused: list[VenueReport] = []
        for asset, streams in zip(self._assets, self._by_asset, strict=True):
            moved = asset.move(market, self._prices.gauss(0.0, 1.0), activity)
            for stream in streams:
                reports = stream.requote(self._makers, now_ns) if moved else []
                reports += stream.replenish(now_ns)
                if reports:
                    caused += stream.session.stamp(reports)
        return caused

    def _wait_ns(self, now_ns: int) -> int:
        return 1 + int(NS * self._arrivals.expovariate(self._rate * self.activity(now_ns)))

    def _close(self) -> list[VenueReport]:
        if self._closed:
            return []
        self._closed = True
        expired: list[VenueReport] = []
        for mic, venue in self._matching.items():
            expired += self._sessions[mic].stamp(venue.end_day(self._close_ns))
        return expired


def _check(
    instruments: Sequence[SyntheticInstrument], venues: Sequence[SyntheticVenue], open_ns: int, close_ns: int
) -> None:
    names = [spec.symbol for spec in instruments]
    mics = [item.mic for item in venues]
    if not names or not mics or len(set(names)) < len(names) or len(set(mics)) < len(mics):
        raise ValueError("a market needs instruments and venues, each named once")
    if any(item.share <= 0 for item in venues):
        raise ValueError("a venue's share of the flow must be positive")
    if close_ns <= open_ns:
        raise ValueError("a session closes after it opens")
