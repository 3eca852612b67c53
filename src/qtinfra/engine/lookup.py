"""What decisions look up again and again, derived from the state and remembered until it changes.

None of this is state: it is not encoded, not hashed, and built again from the state whenever it is missing.
`evolve` calls `forget` on every event that may change it.
"""

from __future__ import annotations

from qtinfra.core.extended_models import KillScope
from qtinfra.core.strategies.registry import BUILT_IN, Registry
from qtinfra.engine.state import State
from qtinfra.router.sor import VenueTerms
from qtinfra.router.strategies import BUILT_IN_ROUTING, RoutingRegistry

_FIRM = KillScope.FIRM

_KEY = "open_venues"
_STRATEGIES = "strategies"
_ROUTING = "routing_strategies"


def forget(state: State) -> None:
    """The state changed in a way that these tables depend on."""
    state.__dict__.pop(_KEY, None)
    memo = state.risk.memo
    memo.buys.clear()
    memo.sells.clear()
    memo.opened = object()
    if state.routing is not None:
        state.routing.memo.clear()


def kill_key(scope: KillScope, value: str) -> str:
    """How an engaged kill switch is filed: "FIRM:" or "ACCOUNT:alpha"."""
    return "FIRM:" if scope is _FIRM else f"{scope._value_}:{value}"


def open_venues(state: State, symbol: str) -> tuple[VenueTerms, ...]:
    """Venues that list the symbol, are connected and not killed, the primary listing first."""
    venues: dict[str, tuple[VenueTerms, ...]] = state.__dict__.setdefault(_KEY, {})
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
    if state.routing is not None:
        state.routing.memo.clear()


def routing_of(state: State) -> RoutingRegistry:
    """The strategies that orders are routed by."""
    found: RoutingRegistry = state.__dict__.get(_ROUTING, BUILT_IN_ROUTING)
    return found
