"""What decisions look up again and again, derived from the state and remembered until it changes.

None of this is state: it is not encoded, not hashed, and built again from the state whenever it is missing.
`evolve` calls `forget` on every event that may change it.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.extended_models import KillScope
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.strategies.registry import BUILT_IN, Registry
from qtinfra.engine.state import State
from qtinfra.router.sor import Offer, Offers, VenueTerms
from qtinfra.router.strategies import BUILT_IN_ROUTING, RoutingRegistry

_KEY = "lookup"
_STRATEGIES = "strategies"
_ROUTING = "routing_strategies"


class Top:
    """What an order on one side of a book meets first.

    Attributes:
        offers: what it takes from at all open venues.
        offer: the best of them; None when all have to be looked at, or when there is one venue only.
        venues: those that are open.
        quotes, bid, ask: of the live venues, and their touch.
    """

    __slots__ = ("ask", "bid", "book", "offer", "offers", "quotes", "venues")

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


class Lookup:
    """Derived tables by symbol: the venues that may take an order, and what buys and sells meet in the last
    book that was routed over.
    """

    __slots__ = ("buys", "sells", "venues")

    def __init__(self) -> None:
        self.venues: dict[str, tuple[VenueTerms, ...]] = {}
        self.buys: dict[str, Top] = {}
        self.sells: dict[str, Top] = {}


def forget(state: State) -> None:
    """The state changed in a way that these tables depend on."""
    state.__dict__.pop(_KEY, None)
    if state.routing is not None:
        state.routing.memo.clear()


def kill_key(scope: KillScope, value: str) -> str:
    """How an engaged kill switch is filed: "FIRM:" or "ACCOUNT:alpha"."""
    return f"{scope}:" if scope is KillScope.FIRM else f"{scope}:{value}"


def lookup_of(state: State) -> Lookup:
    """The tables as the state is now."""
    found: Lookup | None = state.__dict__.get(_KEY)
    if found is None:
        found = state.__dict__[_KEY] = Lookup()
    return found


def tops_of(state: State, buying: bool) -> dict[str, Top]:
    """By symbol, what orders of one side met in the last book that was routed over."""
    lookup = state.__dict__.get(_KEY) or lookup_of(state)
    tops: dict[str, Top] = lookup.buys if buying else lookup.sells
    return tops


def open_venues(state: State, symbol: str) -> tuple[VenueTerms, ...]:
    """Venues that list the symbol, are connected and not killed, the primary listing first."""
    venues = lookup_of(state).venues
    known = venues.get(symbol)
    if known is None:
        known = venues[symbol] = tuple(
            VenueTerms(mic, state.venues[mic].take_fee, state.venues[mic].make_fee)
            for mic in state.instruments[symbol].listings
            if state.connected(mic) and kill_key(KillScope.VENUE, mic) not in state.kills
        )
    return known


def use_strategies(state: State, strategies: Registry) -> None:
    """Have this state's parents planned by these strategies; they are no part of it, nor of a snapshot."""
    state.__dict__[_STRATEGIES] = strategies


def strategies_of(state: State) -> Registry:
    """The strategies that parents are planned by."""
    found: Registry = state.__dict__.get(_STRATEGIES, BUILT_IN)
    return found


def use_routing(state: State, strategies: RoutingRegistry) -> None:
    """Have this state's orders routed by these strategies; they are no part of it, nor of a snapshot."""
    state.__dict__[_ROUTING] = strategies


def routing_of(state: State) -> RoutingRegistry:
    """The strategies that orders are routed by."""
    found: RoutingRegistry = state.__dict__.get(_ROUTING, BUILT_IN_ROUTING)
    return found
