"""What smart routing is told and what it remembers in words: policy, limits of venues, protection, scores."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import ONE, ZERO

#: The strategy that takes what is displayed at the best all-in price and posts the rest.
SWEEP = "SWEEP"

#: Probabilities are whole parts of a million: exact, small on disk, equal on every machine.
PPM = 1_000_000


class Activity(StrEnum):
    """What a venue order tries; each has statistics of its own.

    TAKE goes for displayed size. POST rests at its own side's best price or better, BEHIND at a worse one.
    DARK asks a venue that displays nothing.
    """

    TAKE = "TAKE"
    POST = "POST"
    BEHIND = "BEHIND"
    DARK = "DARK"


class RouteStyle(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How an order wants to be routed.

    Attributes:
        strategy: a registered name.
        urgency: 0 to 1; how much falling short costs where a strategy weighs taking against posting.
    """

    strategy: str = SWEEP
    urgency: Decimal = Decimal("0.5")


class BreakerTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When a venue is left alone.

    Attributes:
        failures: refusals, orders in doubt and lost links, without an answer between, that open the breaker.
            A lost link still counts after an answer: a link that comes and goes is not sound.
        window_ns: they count for so long.
        cooldown_ns: from opening to the first probe; it doubles with each probe that fails.
        max_doublings: how often at most.
    """

    failures: int = 5
    window_ns: int = 60_000_000_000
    cooldown_ns: int = 5_000_000_000
    max_doublings: int = 6


class RoutingPolicy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a shard routes. Without one the router ranks by fees alone and keeps no statistics.

    Attributes:
        style: for orders and accounts that ask for nothing else.
        accounts: account and the style of its orders.
        miss_ticks: what an order that comes back unfilled costs, in ticks per unit.
        latency_ticks_per_ms: what waiting for a venue's answer costs, in ticks per unit and millisecond.
        max_quote_age_ns: older quotes are not routed to; 0 for no limit.
        dark: MICs of venues that execute without displaying.
        dark_min_qty: smallest execution, in units, that an order to them accepts.
        market_collar_ticks: how far beyond the best opposite price a market order goes as a limit order,
            where a venue takes no market orders.
        breaker: None for none.
    """

    style: RouteStyle = RouteStyle()
    accounts: tuple[tuple[str, RouteStyle], ...] = ()
    miss_ticks: Decimal = ONE
    latency_ticks_per_ms: Decimal = Decimal("0.01")
    max_quote_age_ns: int = 0
    dark: tuple[str, ...] = ()
    dark_min_qty: Decimal = ZERO
    market_collar_ticks: int = 10
    breaker: BreakerTerms | None = BreakerTerms()


class VenueLimit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What may stand at a venue, in the currency of what trades there; None for no limit.

    Attributes:
        open_notional: of orders there that are not executed yet.
        credit: of those and of today's executions, bought and sold added up.
    """

    open_notional: Decimal | None = None
    credit: Decimal | None = None


class OrderProtection(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rule against trading through protected quotes, such as 17 CFR 242.611 (Regulation NMS).

    Attributes:
        rule_id: the rule's name, one version per date.
        country: ISO 3166 code whose venues it protects.
        venues: MICs whose best displayed quotes are protected.
        from_date, to_date: first and last trading date, ISO 8601; an empty last one is open.
        symbols: instruments it covers; none means all.
    """

    rule_id: str
    country: str
    venues: tuple[str, ...]
    from_date: str
    to_date: str = ""
    symbols: tuple[str, ...] = ()

    def covers(self, symbol: str, trade_date: str) -> bool:
        """Whether it protects quotes in the symbol on that date."""
        begun = self.from_date <= trade_date and (not self.to_date or trade_date <= self.to_date)
        return begun and (not self.symbols or symbol in self.symbols)


class VenueScore(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the router thought of one venue.

    Attributes:
        all_in: best displayed price within the limit with fee and penalty, per unit; None without one.
        fill_ppm: probability that what is displayed there can be had, in parts of a million.
        latency_us: median delay of its answers in microseconds; 0 when unknown.
    """

    venue: str
    all_in: Decimal | None
    fill_ppm: int
    latency_us: int
