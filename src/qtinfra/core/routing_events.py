"""What happened in routing: why a route was chosen, and what became of venues that fail. See `events`."""

from __future__ import annotations

import msgspec

from qtinfra.core.routing import OrderProtection, RoutingPolicy, VenueLimit, VenueScore


class RoutingEvent(msgspec.Struct, frozen=True, tag=True, array_like=True, gc=False):
    """Base of these events. The tag carries the version once a type has a second one ("Name@2")."""


class RoutingPolicySet(RoutingEvent, frozen=True, gc=False):
    policy: RoutingPolicy
    author: str
    reason: str


class VenueLimitSet(RoutingEvent, frozen=True, gc=False):
    venue: str
    limit: VenueLimit
    author: str
    reason: str


class OrderProtectionSet(RoutingEvent, frozen=True, gc=False):
    rule: OrderProtection
    author: str


class RouteScored(RoutingEvent, frozen=True, gc=False):
    """Why the OrderRouted after it in the record goes where it does; said when there was a choice.

    Attributes:
        strategy: that planned it.
        venues: every venue that was looked at, the primary listing first.
        confidence_ppm: probability that every child executes in full, in parts of a million.
        expected_fill_ppm: expected part of the quantity that executes, likewise.
        iso: the children sweep protected quotes together (intermarket sweep orders, 17 CFR 242.600(b)).
    """

    order_id: str
    strategy: str
    venues: tuple[VenueScore, ...]
    confidence_ppm: int
    expected_fill_ppm: int
    iso: bool
    ts_ns: int


class VenueFailed(RoutingEvent, frozen=True, gc=False):
    """A venue refused an order, left one in doubt, or its link broke (`lost_link`)."""

    venue: str
    lost_link: bool
    reason: str
    ts_ns: int


class BreakerOpened(RoutingEvent, frozen=True, gc=False):
    """Nothing is routed to the venue before `until_ns`; then one order may try it."""

    venue: str
    failures: int
    until_ns: int
    reason: str
    ts_ns: int


class BreakerProbed(RoutingEvent, frozen=True, gc=False):
    """The cool-down is over: the child of the OrderRouted after it tries the venue, no other until the answer
    or `until_ns`.
    """

    venue: str
    order_id: str
    until_ns: int
    ts_ns: int


class BreakerClosed(RoutingEvent, frozen=True, gc=False):
    """The venue answered the probe: it takes orders as before."""

    venue: str
    ts_ns: int


AnyRoutingEvent = (
    RoutingPolicySet
    | VenueLimitSet
    | OrderProtectionSet
    | RouteScored
    | VenueFailed
    | BreakerOpened
    | BreakerProbed
    | BreakerClosed
)
