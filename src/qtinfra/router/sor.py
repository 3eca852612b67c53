"""The smart order router: best net price after fees over the consolidated book, sweep, residual posting.

It is a pure function from an approved quantity, the book and the venues to a plan. What is displayed within
the limit is taken at the best all-in price (price plus take fee), venue by venue; what remains of an order
that may rest is posted where posting is cheapest. Legs that take are immediate-or-cancel at the worst
price they need, so that a quote that moved away costs nothing but another round.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.decisions import RiskApproved, RouteLeg, RoutePlan
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import OrderSide, OrderType, TimeInForce

# Members by name: looking them up in their class costs more than comparing them.
_FOK = TimeInForce.FOK
_LIMIT = OrderType.LIMIT
_BUY = OrderSide.BUY
_IOC = TimeInForce.IOC

RESTING = (TimeInForce.DAY, TimeInForce.GTC)
#: The limit of no order.
_NO_LIMIT = Decimal("Infinity")


class VenueTerms(msgspec.Struct, frozen=True, gc=False):
    """A venue that may take the order, with its fees per unit (negative: rebate)."""

    mic: str
    take_fee: Decimal
    make_fee: Decimal


def plan_route(
    order: RiskApproved, book: ConsolidatedBook | None, venues: tuple[VenueTerms, ...], lot: Decimal = ONE
) -> RoutePlan:
    """Plan where the quantity goes. `venues` are the eligible ones, the primary listing first.

    Displayed size counts in whole lots of `lot` units: no venue is sent a part of one.

    Returns:
        A plan whose legs sum to the order's quantity, or one without legs when no venue is eligible.
    """
    if book is None:
        return plan_over(order, None, None, None, venues, lot)
    bid, ask = book.touch()
    quotes = {quote.venue: quote for quote in book.quotes if quote.live}
    return plan_over(order, quotes, bid, ask, venues, lot)


def plan_over(
    order: RiskApproved,
    quotes: dict[str, VenueQuote] | None,
    bid: Decimal | None,
    ask: Decimal | None,
    venues: tuple[VenueTerms, ...],
    lot: Decimal = ONE,
    by_price: bool = False,
    offers: Offers | None = None,
) -> RoutePlan:
    """`plan_route` over the live quotes by venue (None: there is no book) and their touch.

    Args:
        by_price: better displayed prices come first whatever they cost all in: none is traded through.
        offers: what the order takes from, where it is at hand already.
    """
    if not venues:
        return RoutePlan((), "no venue")
    if len(venues) == 1:
        return RoutePlan((_whole(order, venues[0].mic),), "only venue", bid, ask)
    ranking: Sequence[Offer] = ()
    if quotes and in_reach(order, bid, ask):
        if offers is None:
            offers = Offers(order.side is _BUY, quotes, venues, lot, by_price)
        best = offers.best()
        if best is not None and covers(best, order):
            return RoutePlan((_leg(order, best[4], ZERO + order.qty, best[2], False),), "sweep 1", bid, ask)
        ranking = offers.ranking()
    if order.tif is _FOK or order.min_qty:
        return RoutePlan((_whole(order, deepest(within(order, ranking), venues)),), "in one piece", bid, ask)
    legs, reason = sweep(order, ranking, venues)
    if legs:
        return RoutePlan(legs, reason, bid, ask)
    if order.tif in RESTING and order.order_type is _LIMIT and quotes is not None:
        mic = cheapest_to_post(venues).mic
        return RoutePlan((_whole(order, mic),), f"post at {mic}", bid, ask)
    return RoutePlan((_whole(order, venues[0].mic),), "nothing displayed: primary listing", bid, ask)


def _whole(order: RiskApproved, mic: str) -> RouteLeg:
    return RouteLeg(mic, order.order_type, order.tif, order.qty, order.price, order.min_qty)


#: Displayed size: all-in price, rank of the venue, price, size, venue.
Offer = tuple[Decimal, int, Decimal, Decimal, str]


class Offers:
    """What one side takes from at some venues. It is found when it is asked for, and once: orders that meet
    the same quotes share it. The arguments are those of `ranked`.
    """

    __slots__ = ("_best", "_facts", "_ranking", "_sought")

    def __init__(
        self,
        buying: bool,
        quotes: dict[str, VenueQuote],
        venues: tuple[VenueTerms, ...],
        lot: Decimal,
        by_price: bool = False,
    ) -> None:
        self._facts = (buying, quotes, venues, lot, by_price)
        self._best: Offer | None = None
        self._sought = False
        self._ranking: list[Offer] | None = None

    def best(self) -> Offer | None:
        """See `best_offer`."""
        if not self._sought:
            self._best, self._sought = best_offer(*self._facts), True
        return self._best

    def ranking(self) -> list[Offer]:
        """See `ranked`."""
        if self._ranking is None:
            self._ranking = ranked(*self._facts)
        return self._ranking


class Top:
    """What an order on one side of a book meets first.

    Attributes:
        offers: what it takes from at all open venues.
        offer: the best of them; None when all have to be looked at, or when there is one venue only.
        venues: those that are open.
        quotes, bid, ask: of the live venues, and their touch.
        limit: the last limit that was the price of `offer`, written alike.
    """

    __slots__ = ("ask", "bid", "book", "limit", "offer", "offers", "quotes", "venues")

    def __init__(
        self,
        book: ConsolidatedBook,
        offers: Offers,
        offer: Offer | None,
        venues: tuple[VenueTerms, ...],
        quotes: dict[str, VenueQuote],
        bid: Decimal | None,
        ask: Decimal | None,
    ) -> None:
        self.book = book
        self.offers = offers
        self.offer = offer
        self.venues = venues
        self.quotes = quotes
        self.bid = bid
        self.ask = ask
        self.limit = _NO_LIMIT

    def is_at(self, limit: Decimal | None) -> bool:
        """Whether a limit is the price of the offer, written alike: then it is remembered as `limit`."""
        offer = self.offer
        if offer is None or limit is None or offer[2] != limit or offer[2].compare_total(limit):
            return False
        self.limit = limit
        return True

    def takes(self, limit: Decimal | None, buying: bool) -> bool:
        """Whether an order with this limit takes the offer; None is a market order."""
        offer = self.offer
        return offer is not None and (limit is None or (offer[2] <= limit if buying else offer[2] >= limit))


def ranked(
    buying: bool,
    quotes: dict[str, VenueQuote],
    venues: tuple[VenueTerms, ...],
    lot: Decimal,
    by_price: bool = False,
) -> list[Offer]:
    """All displayed size that the side takes from, in whole lots, in the order in which it is taken: best
    all-in price first; at equal cost the listing order decides. `by_price` as in `plan_over`.
    """
    found: list[Offer] = []
    lot = ZERO + lot  # written in units, as the sizes then are
    for rank, venue in enumerate(venues):
        mic, fee = venue.mic, venue.take_fee
        quote = quotes.get(mic)
        if quote is None:
            continue
        for price, size in quote.asks if buying else quote.bids:
            part = size % lot
            whole = size - part if part or not size.same_quantum(lot) else size
            if whole > ZERO:
                found.append((price + fee if buying else fee - price, rank, price, whole, mic))
    found.sort()
    if by_price:
        found.sort(key=_price_of, reverse=not buying)
    return found


def within(order: RiskApproved, ranking: Sequence[Offer]) -> list[Offer]:
    """Those of the offers that the order's limit allows."""
    limit = order.price
    if limit is None:
        return list(ranking)
    if order.side is _BUY:
        return [offer for offer in ranking if offer[2] <= limit]
    return [offer for offer in ranking if offer[2] >= limit]


def _price_of(offer: Offer) -> Decimal:
    return offer[2]


def in_reach(order: RiskApproved, bid: Decimal | None, ask: Decimal | None) -> bool:
    """Whether anything may be displayed within the order's limit: the touch is, or it is not known."""
    limit = order.price
    if limit is None:
        return True
    if order.side is _BUY:
        return ask is None or limit >= ask
    return bid is None or limit <= bid


def covers(offer: Offer, order: RiskApproved) -> bool:
    """Whether the best of all offers is within the limit and enough for the whole order, as it mostly is:
    then the others need not be listed.
    """
    limit, price = order.price, offer[2]
    if limit is not None and (price > limit if order.side is _BUY else price < limit):
        return False
    return order.qty <= offer[3] and order.tif is not _FOK and not order.min_qty


def posts(order: RiskApproved, bid: Decimal | None, ask: Decimal | None) -> bool:
    """Whether an order may rest and nothing can be displayed within its limit: then all of it is posted."""
    if order.min_qty or order.order_type is not _LIMIT or order.tif not in RESTING:
        return False
    return not in_reach(order, bid, ask)


def best_offer(
    buying: bool,
    quotes: dict[str, VenueQuote],
    venues: tuple[VenueTerms, ...],
    lot: Decimal,
    by_price: bool = False,
) -> Offer | None:
    """The offer that is taken first, whatever an order's limit: found without listing the others.

    None when nothing is displayed, or when a best quote is not in whole lots; then all offers have to be
    looked at.
    """
    best: Offer | None = None
    top: Decimal | None = None
    for rank, venue in enumerate(venues):
        quote = quotes.get(venue.mic)
        levels = quote and (quote.asks if buying else quote.bids)
        if not levels:
            continue
        price, size = levels[0]
        cost = price + venue.take_fee if buying else venue.take_fee - price
        if best is None or cost < best[0]:
            best = (cost, rank, price, size, venue.mic)
        if size < lot:
            return None
        if by_price and (top is None or (price < top if buying else price > top)):
            top = price
    if top is not None and best is not None and best[2] != top:
        return None
    if best is None or best[3] % lot or not best[3].same_quantum(lot):
        return None
    return best


def deepest(offers: list[Offer], venues: tuple[VenueTerms, ...]) -> str:
    """The venue that displays most within the limit; the primary listing when none displays anything."""
    depth: dict[str, Decimal] = {}
    for _, _, _, size, mic in offers:
        depth[mic] = depth.get(mic, ZERO) + size
    return max(depth, key=lambda mic: depth[mic]) if depth else venues[0].mic


def cheapest_to_post(venues: tuple[VenueTerms, ...]) -> VenueTerms:
    return min(venues, key=lambda venue: venue.make_fee)


def sweep(
    order: RiskApproved, ranking: Sequence[Offer], venues: tuple[VenueTerms, ...]
) -> tuple[tuple[RouteLeg, ...], str]:
    """Split the quantity over the offers within the limit; the rest is posted, or rides on the first leg.

    No legs when there is no such offer.
    """
    take, worst, left = fill_from(ranking, order.price, order.side is _BUY, ZERO + order.qty)
    if not take:
        return (), ""
    post, reason = "", f"sweep {len(worst)}"
    if left:
        rests = order.tif in RESTING and order.order_type is _LIMIT
        post = cheapest_to_post(venues).mic if rests else next(iter(take))
        take[post] = take.get(post, ZERO) + left
        reason = f"{reason}, rest {left} at {post}"
    return tuple(_leg(order, mic, qty, worst.get(mic), mic == post) for mic, qty in take.items()), reason


def fill_from(
    ranking: Sequence[Offer], limit: Decimal | None, buying: bool, qty: Decimal
) -> tuple[dict[str, Decimal], dict[str, Decimal], Decimal]:
    """Take a quantity, written in units, from offers within the limit, the first ones first.

    Returns:
        By venue what is taken there and the worst price of it; what no offer is left for.
    """
    left = qty
    take: dict[str, Decimal] = {}
    worst: dict[str, Decimal] = {}
    for _, _, price, size, mic in ranking:
        if limit is not None and (price > limit if buying else price < limit):
            continue
        known = take.get(mic)
        worst[mic] = price
        if size >= left:
            take[mic] = left if known is None else known + left
            return take, worst, ZERO
        take[mic] = size if known is None else known + size
        left -= size
    return take, worst, left


def _leg(order: RiskApproved, mic: str, qty: Decimal, worst: Decimal | None, rests: bool) -> RouteLeg:
    """A leg that takes goes in as IOC at the worst price it needs; the one with the rest keeps the terms."""
    if rests:
        return RouteLeg(mic, order.order_type, order.tif, qty, order.price, ZERO)
    return RouteLeg(mic, _LIMIT, _IOC, qty, worst, ZERO)
