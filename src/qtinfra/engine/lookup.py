"""What decisions look up again and again, derived from the state and remembered until it changes.

None of this is state: it is not encoded, not hashed, and built again from the state whenever it is missing.
`evolve` calls `forget` on every event that may change it.
"""

from __future__ import annotations

from qtinfra.core.extended_models import ANY, KillScope
from qtinfra.engine.state import State
from qtinfra.risk.limits import Limits, limits_for, tighter_limits
from qtinfra.router.sor import VenueTerms

_KEY = "lookup"
_NOBODY = "\x00"  # an account that no limit names


class Lookup:
    """Derived tables: eligible venues by symbol, limits by symbol for all and by account for all symbols."""

    __slots__ = ("by_account", "by_symbol", "venues")

    def __init__(self) -> None:
        self.venues: dict[str, tuple[VenueTerms, ...]] = {}
        self.by_symbol: dict[str, Limits] = {}
        self.by_account: dict[str, Limits | None] = {}


def _lookup(state: State) -> Lookup:
    known: Lookup | None = state.__dict__.get(_KEY)
    if known is None:
        known = state.__dict__[_KEY] = Lookup()
    return known


def forget(state: State) -> None:
    """The state changed in a way that these tables depend on."""
    state.__dict__.pop(_KEY, None)


def kill_key(scope: KillScope, value: str) -> str:
    """How an engaged kill switch is filed: "FIRM:" or "ACCOUNT:alpha"."""
    return f"{scope}:" if scope is KillScope.FIRM else f"{scope}:{value}"


def open_venues(state: State, symbol: str) -> tuple[VenueTerms, ...]:
    """Venues that list the symbol, are connected and not killed, the primary listing first."""
    venues = _lookup(state).venues
    known = venues.get(symbol)
    if known is None:
        known = venues[symbol] = tuple(
            VenueTerms(mic, state.venues[mic].take_fee, state.venues[mic].make_fee)
            for mic in state.instruments[symbol].listings
            if state.connected(mic) and kill_key(KillScope.VENUE, mic) not in state.kills
        )
    return known


def limits_of(state: State, account: str, symbol: str) -> Limits:
    """The limits of one account and symbol: `limits_for`, put together from two remembered halves."""
    tables = _lookup(state)
    every = tables.by_symbol.get(symbol)
    if every is None:
        every = tables.by_symbol[symbol] = limits_for(state.limits, _NOBODY, symbol)
    if account in tables.by_account:
        own = tables.by_account[account]
    else:
        own = tables.by_account[account] = _own_limits(state, account)
    return limits_for(state.limits, account, symbol) if own is None else tighter_limits(own, every)


def _own_limits(state: State, account: str) -> Limits | None:
    """The account's limits for all symbols; None when it has one for a single symbol."""
    found = []
    for rule in ("max_order_qty", "max_order_value", "price_collar", "position_limit"):
        own = state.limits.get(rule, {}).get(account, {})
        if any(symbol != ANY for symbol in own):
            return None
        found.append(own.get(ANY))
    return Limits(*found)
