"""Our orders over a recorded national best bid and offer: what they take, when recorded trades reach them.

The rule is in `nbbo`. Prices are integers in 1/10,000 dollar, quantities whole shares.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Final

import msgspec

from qtinfra.marketdata.nbbo import ASK, BID, Nbbo, NbboQuote, NbboTrade
from qtinfra.venues.simulated.book import BookOrder

#: A quote may show a trade this much earlier than the tape prints it, in nanoseconds.
PRINT_LAG_NS: Final = 1_000_000_000


class NbboOrder(msgspec.Struct, eq=False):
    """A resting order of ours.

    Attributes:
        queue: quoted shares ahead of it; None while its price has never been the best since it came.
        began: what the queue was when it was first known.
        unprinted: shares ahead that a quote showed to be gone at `unprinted_ns`, and no trade has explained.
    """

    entry: BookOrder
    place: int
    queue: int | None
    began: int
    unprinted: int = 0
    unprinted_ns: int = 0

    @property
    def side(self) -> int:
        return BID if self.entry.buy else ASK

    @property
    def price(self) -> int:
        return self.entry.price or 0

    @property
    def key(self) -> tuple[int, int]:
        """Ascends from the best price of the side, then in time."""
        return -self.side * self.price, self.place

    def shrink(self, size: int, ts_ns: int) -> None:
        """No more than `size` is quoted at its price: what was ahead beyond that has gone."""
        if self.queue is not None and self.queue > size:
            self.unprinted += self.queue - size
            self.unprinted_ns = ts_ns
            self.queue = size

    def pass_ahead(self, shares: int, ts_ns: int) -> int:
        """Shares trade at its price: those that are left for it once the queue has had its part."""
        if self.queue is None:
            return 0
        if ts_ns - self.unprinted_ns > PRINT_LAG_NS:
            self.unprinted = 0
        explained = min(self.unprinted, shares)
        self.unprinted -= explained
        ahead = min(self.queue, shares - explained)
        self.queue -= ahead
        return shares - explained - ahead


class NbboOverlay:
    """What is quoted less what we took, and our resting orders; only `quote` and `trade` move the market.

    Attributes:
        nbbo: the recorded quote, never altered by us.
        version: grows when what is displayed may have changed; `changed_ns` is when that was last.
    """

    def __init__(self) -> None:
        self.nbbo = Nbbo()
        self.version = 0
        self.changed_ns = 0
        self._taken: dict[int, dict[int, int]] = {BID: {}, ASK: {}}  # by side and price
        self._charges: dict[int, dict[int, int]] = {BID: {}, ASK: {}}  # taken, not yet seen on the tape
        self._resting: dict[int, list[NbboOrder]] = {BID: [], ASK: []}
        self._places = 0

    # --- what is displayed ----------------------------------------------------------------------------------

    def displayed(self, side: int) -> tuple[int, int]:
        """Best price of a side and the shares that are left of it for us; 0 when there is none."""
        nbbo = self.nbbo
        price, size = (nbbo.bid, nbbo.bid_size) if side == BID else (nbbo.ask, nbbo.ask_size)
        return price, max(0, size - self._taken[side].get(price, 0))

    def reachable(self, entry: BookOrder) -> tuple[int, int]:
        """Price and shares that an arriving order could take now."""
        price, size = self.displayed(ASK if entry.buy else BID)
        limit = entry.price
        inside = limit is None or (price <= limit if entry.buy else price >= limit)
        return price, size if price and inside else 0

    def take(self, entry: BookOrder, now_ns: int) -> tuple[int, int]:
        """Take what is displayed within the limit, once: price and shares."""
        price, size = self.reachable(entry)
        units = min(size, entry.leaves)
        if units:
            side = ASK if entry.buy else BID
            for counts in (self._taken[side], self._charges[side]):
                counts[price] = counts.get(price, 0) + units
            entry.leaves -= units
            self._changed(now_ns)
        return price, units

    def _changed(self, ts_ns: int) -> None:
        self.version += 1
        self.changed_ns = ts_ns

    # --- our resting orders ---------------------------------------------------------------------------------

    def rest(self, entry: BookOrder) -> NbboOrder:
        """Queue behind what is displayed at the price now, and behind our earlier orders there."""
        self._places += 1
        side = BID if entry.buy else ASK
        best, size = self.displayed(side)
        deeper = bool(best) and (best - (entry.price or 0)) * side > 0
        queue = None if deeper else size if best == entry.price else 0
        order = NbboOrder(entry, self._places, queue, queue or 0)
        insort(self._resting[side], order, key=lambda resting: resting.key)
        return order

    def remove(self, entry: BookOrder) -> None:
        """Take an order out of its queue, if it rests."""
        side = BID if entry.buy else ASK
        self._resting[side] = [order for order in self._resting[side] if order.entry is not entry]

    def find(self, entry: BookOrder) -> NbboOrder | None:
        """The resting order of an entry."""
        side = BID if entry.buy else ASK
        return next((order for order in self._resting[side] if order.entry is entry), None)

    # --- the recording --------------------------------------------------------------------------------------

    def quote(self, quote: NbboQuote) -> None:
        """A side of the quote changes: queues that it shows to be shorter are."""
        if not self.nbbo.apply(quote):
            return
        self._changed(quote.ts_ns)
        side, best, size = quote.side, quote.price, quote.size
        for counts in (self._taken[side], self._charges[side]):
            for price in [price for price in counts if (price - best) * side > 0]:
                del counts[price]
            if best in counts:
                counts[best] = min(counts[best], size)
        left = self.displayed(side)[1]
        for order in self._resting[side]:
            if (best - order.price) * side > 0:
                break
            if order.queue is None:
                order.queue = order.began = left if order.price == best else 0
            else:
                order.shrink(left if order.price == best else 0, quote.ts_ns)

    def trade(self, trade: NbboTrade) -> list[tuple[NbboOrder, int]]:
        """A print: the fills of our resting orders, whose `leaves` shrink."""
        if not trade.at_market:
            return []
        shares = trade.size
        for side in (BID, ASK):
            charge = min(shares, self._charges[side].get(trade.price, 0))
            if charge:
                self._charges[side][trade.price] -= charge
                shares -= charge
        fills: list[tuple[NbboOrder, int]] = []
        for side in (BID, ASK):
            for order, units in self._reach(side, trade, shares):
                shares -= units
                fills.append((order, units))
                if not order.entry.leaves:
                    self.remove(order.entry)
        return fills

    def _reach(self, side: int, trade: NbboTrade, shares: int) -> Iterator[tuple[NbboOrder, int]]:
        for order in tuple(self._resting[side]):
            distance = (order.price - trade.price) * side
            if distance < 0 or not shares:
                return
            if distance > 0:
                order.queue, order.unprinted = 0, 0
            left = shares if distance else order.pass_ahead(shares, trade.ts_ns)
            units = min(left, order.entry.leaves)
            if units:
                shares -= units
                order.entry.leaves -= units
                yield order, units
