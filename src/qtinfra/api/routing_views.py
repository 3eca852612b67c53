"""The JSON of the routing analytics: rank, fill rates, delays, costs and breaker of each venue.

Counts and amounts tell of the orders of others: only a caller who may see every account gets them, and a rate
without them only once it is made of many orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from qtinfra.api.views import written
from qtinfra.core.decimals import canonical, exact
from qtinfra.core.routing import Activity
from qtinfra.engine.routing_analytics import (
    ActivityAnalytics,
    CostBreakdown,
    ReliabilityBin,
    VenueAnalytics,
    routing_analytics,
)
from qtinfra.engine.state import State
from qtinfra.router.breaker import BreakerPhase
from qtinfra.venues.simulated.local import VenueStats

#: A rate is stated without its counts once so many orders have gone there, and is null before.
MIN_ORDERS_MEASURED = 50


class ActivityView(msgspec.Struct, frozen=True):
    """How orders of one kind fared at a venue since scored routing began.

    Attributes:
        sent, filled, partly, missed: orders; null for a caller who may not see every account.
        fill_rate: probability (0 to 1) that such an order executes in full; null without the counts until 50
            orders have ended.
        fill_rate_low, fill_rate_high: its 95% credible interval; null without the counts.
        fill_share: expected share (0 to 1) that executes; null like the rate.
    """

    activity: Activity
    sent: int | None
    filled: int | None
    partly: int | None
    missed: int | None
    fill_rate: float | None
    fill_rate_low: float | None
    fill_rate_high: float | None
    fill_share: float | None


class CostsView(msgspec.Struct, frozen=True):
    """What executions at a venue cost, in the currency of what trades there; negative is a gain.

    Attributes:
        notional, open_notional, fees, rebates, slippage: null for a caller who may not see every account.
        net_bps: fees less rebates plus slippage, in basis points of the notional; null before the first one.
    """

    notional: Decimal | None
    open_notional: Decimal | None
    fees: Decimal | None
    rebates: Decimal | None
    slippage: Decimal | None
    net_bps: Decimal | None


class LatencyView(msgspec.Struct, frozen=True):
    """Delays from routing to the first answer, milliseconds; null before the first one."""

    answers: int | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


class BreakerView(msgspec.Struct, frozen=True):
    """The circuit breaker of a venue: openings so far, and orders that tried it after a failure."""

    phase: BreakerPhase
    openings: int
    probes: int


class ScoredVenue(msgspec.Struct, frozen=True):
    """What the router holds of one venue, from the journal.

    Attributes:
        rank: 1 is the one that it prefers at equal prices.
        penalty_ticks: what failing and waiting there costs a unit that takes, in ticks, without fees; null as
            the rates are.
    """

    rank: int
    take_fee: Decimal
    make_fee: Decimal
    penalty_ticks: Decimal | None
    activities: list[ActivityView]
    latency: LatencyView
    costs: CostsView
    breaker: BreakerView


class VenueMeasured(msgspec.Struct, frozen=True):
    """What a venue's link measured since the process began, over all accounts, and the router's scores.

    Attributes:
        orders, quantity, filled_quantity, fills, rejected: null for a caller who may not see every account.
        fill_rate: executed share (0 to 1) of the quantity sent; null until enough orders went there.
        mean_answer_ms: mean delay of the first answer to a new order, milliseconds; null likewise.
        scores: null when routing is not scored.
    """

    venue: str
    status: str
    orders: int | None
    quantity: Decimal | None
    filled_quantity: Decimal | None
    fills: int | None
    rejected: int | None
    fill_rate: float | None
    mean_answer_ms: float | None
    scores: ScoredVenue | None


class ReliabilityView(msgspec.Struct, frozen=True):
    """Orders whose predicted probability lay in one tenth: its mean, and the share that executed in full."""

    low: float
    high: float
    orders: int
    predicted: float
    realised: float


class AnalyticsView(msgspec.Struct, frozen=True):
    """Routing analytics by venue, the best ranked first.

    Attributes:
        scored: whether routing is scored; without it nothing but the links is measured.
        reliability: by tenths of the prediction; null for a caller who may not see every account.
        calibration_error: mean distance of predicted and realised, weighted by orders; null before the first
            order has ended, and likewise.
    """

    scored: bool
    venues: list[VenueMeasured]
    reliability: list[ReliabilityView] | None
    calibration_error: float | None


def analytics_view(state: State, links: Mapping[str, VenueStats], everything: bool) -> AnalyticsView:
    """The analytics of the state and of the venues' links.

    Args:
        links: what each link measured, by MIC.
        everything: the caller may see every account.
    """
    with exact():
        found = routing_analytics(state)
    scores = {venue.venue: venue for venue in found.venues}
    ranked = sorted(links, key=lambda mic: (scores[mic].rank if mic in scores else 0, mic))
    error = found.calibration_error
    return AnalyticsView(
        found.enabled,
        [_venue(mic, state.venue_status[mic], links[mic], scores.get(mic), everything) for mic in ranked],
        [_tenth(item) for item in found.reliability] if everything else None,
        float(error) if everything and error is not None else None,
    )


def _venue(
    mic: str, status: str, stats: VenueStats, scored: VenueAnalytics | None, everything: bool
) -> VenueMeasured:
    answered = stats.answered >= MIN_ORDERS_MEASURED
    sent = stats.sent_orders >= MIN_ORDERS_MEASURED and bool(stats.sent_qty)
    return VenueMeasured(
        mic,
        status,
        stats.sent_orders if everything else None,
        canonical(stats.sent_qty) if everything else None,
        canonical(stats.filled_qty) if everything else None,
        stats.fills if everything else None,
        stats.rejected if everything else None,
        min(1.0, round(float(stats.filled_qty / stats.sent_qty), 4)) if sent else None,
        round(stats.answer_ns / stats.answered / 1e6, 3) if answered else None,
        _scores(scored, everything) if scored is not None else None,
    )


def _scores(venue: VenueAnalytics, everything: bool) -> ScoredVenue:
    shown = everything or venue.answers >= MIN_ORDERS_MEASURED
    return ScoredVenue(
        venue.rank,
        canonical(venue.take_fee),
        canonical(venue.make_fee),
        written(venue.penalty_ticks) if shown else None,
        [_activity(item, everything) for item in venue.activities],
        LatencyView(
            venue.answers if everything else None,
            _ms(venue.p50_ns) if shown else None,
            _ms(venue.p90_ns) if shown else None,
            _ms(venue.p99_ns) if shown else None,
        ),
        _costs(venue.costs, everything, shown),
        BreakerView(venue.breaker, venue.openings, venue.probes),
    )


def _activity(item: ActivityAnalytics, everything: bool) -> ActivityView:
    """One activity; the interval with its rate would give the counts away."""
    ended = item.filled + item.partly + item.missed
    shown = everything or ended >= MIN_ORDERS_MEASURED
    places = 6 if everything else 2
    return ActivityView(
        item.activity,
        item.sent if everything else None,
        item.filled if everything else None,
        item.partly if everything else None,
        item.missed if everything else None,
        round(float(item.fill_rate), places) if shown else None,
        float(item.fill_rate_low) if everything else None,
        float(item.fill_rate_high) if everything else None,
        round(float(item.fill_share), places) if shown else None,
    )


def _costs(costs: CostBreakdown, everything: bool, shown: bool) -> CostsView:
    return CostsView(
        canonical(costs.notional) if everything else None,
        canonical(costs.open_notional) if everything else None,
        canonical(costs.fees) if everything else None,
        canonical(costs.rebates) if everything else None,
        canonical(costs.slippage) if everything else None,
        written(costs.net_bps) if shown else None,
    )


def _tenth(item: ReliabilityBin) -> ReliabilityView:
    return ReliabilityView(
        float(item.low), float(item.high), item.trials, float(item.predicted), float(item.realised)
    )


def _ms(ns: int | None) -> float | None:
    return round(ns / 1e6, 3) if ns is not None else None
