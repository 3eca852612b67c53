"""Routing analytics from the state: per venue how orders fare, how long answers take and what they cost.

Everything is computed from journaled events, so two replicas of a shard show the same figures.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.decimals import ZERO, canonical, quotient
from qtinfra.core.routing import PPM, Activity, RoutingPolicy
from qtinfra.engine.routing_state import RoutingState, VenueRecord
from qtinfra.engine.state import State
from qtinfra.router.breaker import BreakerPhase
from qtinfra.router.costs import miss_penalty
from qtinfra.router.stats import chance, interval, percentile_ns

_PLACES = -6


class ActivityAnalytics(msgspec.Struct, frozen=True):
    """How orders of one activity fared.

    Attributes:
        sent: orders; `filled`, `partly` and `missed` of them have ended.
        fill_rate: posterior mean of the probability to execute in full, 0 to 1, and its 95% interval.
        fill_share: posterior mean of the part that executes, 0 to 1.
    """

    activity: Activity
    sent: int
    filled: int
    partly: int
    missed: int
    fill_rate: Decimal
    fill_rate_low: Decimal
    fill_rate_high: Decimal
    fill_share: Decimal


class CostBreakdown(msgspec.Struct, frozen=True):
    """What executions at a venue cost, in the currency of what trades there.

    Attributes:
        notional: executed; `open_notional` stands there now.
        fees, rebates: of the venue.
        slippage: against the best opposite price seen at routing; negative when executions were better.
        net_bps: fees less rebates plus slippage, in basis points of the notional; None before the first one.
    """

    notional: Decimal
    open_notional: Decimal
    fees: Decimal
    rebates: Decimal
    slippage: Decimal
    net_bps: Decimal | None


class VenueAnalytics(msgspec.Struct, frozen=True):
    """One venue.

    Attributes:
        rank: 1 is the one that the router prefers at equal prices.
        penalty_ticks: what failing and waiting there costs a unit that takes, in ticks, fees not included.
        p50_ns, p90_ns, p99_ns: delay of its first answers, to within an eighth and never understated.
        breaker: CLOSED, OPEN or HALF_OPEN; `openings` so far, `probes` sent.
    """

    venue: str
    rank: int
    penalty_ticks: Decimal
    take_fee: Decimal
    make_fee: Decimal
    activities: tuple[ActivityAnalytics, ...]
    answers: int
    p50_ns: int | None
    p90_ns: int | None
    p99_ns: int | None
    costs: CostBreakdown
    breaker: BreakerPhase
    openings: int
    probes: int


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Ended orders whose predicted probability lay in one tenth: its mean, and the part that executed."""

    low: Decimal
    high: Decimal
    trials: int
    predicted: Decimal
    realised: Decimal


class RoutingAnalytics(msgspec.Struct, frozen=True):
    """Venues by rank, and how far predictions can be trusted.

    Attributes:
        enabled: whether scored routing is on; without it nothing is counted.
        calibration_error: mean distance of predicted and realised over the tenths, weighted by orders; None
            before the first order has ended.
    """

    enabled: bool
    venues: tuple[VenueAnalytics, ...]
    reliability: tuple[ReliabilityBin, ...]
    calibration_error: Decimal | None


def routing_analytics(state: State) -> RoutingAnalytics:
    """The analytics of a shard at its present sequence."""
    routing = state.routing
    if routing is None:
        return RoutingAnalytics(False, (), (), None)
    found = [_venue(state, routing, mic) for mic in state.venues]
    found.sort(
        key=lambda venue: (venue.take_fee + venue.penalty_ticks * _tick(state, venue.venue), venue.venue)
    )
    ranked = tuple(msgspec.structs.replace(venue, rank=rank) for rank, venue in enumerate(found, 1))
    bins = reliability(routing)
    return RoutingAnalytics(True, ranked, bins, _calibration_error(bins))


def reliability(routing: RoutingState) -> tuple[ReliabilityBin, ...]:
    """Predicted against realised by tenths of the probability that an order executes in full."""
    found = []
    for part in sorted(routing.reliability):
        counted = routing.reliability[part]
        found.append(
            ReliabilityBin(
                Decimal(part).scaleb(-1),
                Decimal(part + 1).scaleb(-1),
                counted.trials,
                _ratio(counted.predicted_ppm, counted.trials * PPM),
                _ratio(counted.filled, counted.trials),
            )
        )
    return tuple(found)


def _calibration_error(bins: tuple[ReliabilityBin, ...]) -> Decimal | None:
    trials = sum(item.trials for item in bins)
    if not trials:
        return None
    apart = sum((abs(item.predicted - item.realised) * item.trials for item in bins), ZERO)
    return canonical(quotient(apart, Decimal(trials)))


def _venue(state: State, routing: RoutingState, mic: str) -> VenueAnalytics:
    record = routing.venues.get(mic) or VenueRecord()
    breaker = routing.breakers.get(mic)
    venue = state.venues[mic]
    return VenueAnalytics(
        mic,
        0,
        _penalty(routing.policy, record),
        venue.take_fee,
        venue.make_fee,
        tuple(_activity(record, kind) for kind in Activity if kind in record.tallies),
        sum(record.delays.values()),
        percentile_ns(record.delays, 50),
        percentile_ns(record.delays, 90),
        percentile_ns(record.delays, 99),
        _costs(record),
        breaker.phase if breaker is not None else BreakerPhase.CLOSED,
        record.openings,
        record.probes,
    )


def _penalty(policy: RoutingPolicy, record: VenueRecord) -> Decimal:
    share = chance(record.tallies.get(Activity.TAKE), Activity.TAKE).share_ppm
    return canonical(miss_penalty(policy, share, (percentile_ns(record.delays, 50) or 0) // 1_000))


def _tick(state: State, mic: str) -> Decimal:
    """The finest tick of what the venue lists: a common unit for fees and penalties."""
    ticks = [
        band.tick
        for instrument in state.instruments.values()
        if mic in instrument.listings
        for band in instrument.ticks
    ]
    return min(ticks, default=ZERO)


def _activity(record: VenueRecord, kind: Activity) -> ActivityAnalytics:
    tally = record.tallies[kind]
    expected, (low, high) = chance(tally, kind), interval(tally, kind)
    return ActivityAnalytics(
        kind,
        tally.sent,
        tally.filled,
        tally.partly,
        tally.missed,
        *(Decimal(ppm).scaleb(_PLACES) for ppm in (expected.full_ppm, low, high, expected.share_ppm)),
    )


def _costs(record: VenueRecord) -> CostBreakdown:
    net = record.fees - record.rebates + record.slippage
    return CostBreakdown(
        canonical(record.executed),
        canonical(record.open_notional),
        canonical(record.fees),
        canonical(record.rebates),
        canonical(record.slippage),
        canonical(quotient(net * 10_000, record.executed)) if record.executed else None,
    )


def _ratio(part: int, whole: int) -> Decimal:
    return canonical(quotient(Decimal(part), Decimal(whole)))


def reliability_table(analytics: RoutingAnalytics) -> str:
    """The reliability as aligned text: tenths, orders, predicted and realised."""
    lines = ["predicted   orders   mean predicted   executed in full"]
    lines += [
        f"{item.low}-{item.high:<8} {item.trials:>5}   {item.predicted:>14.4f}   {item.realised:>16.4f}"
        for item in analytics.reliability
    ]
    if analytics.calibration_error is not None:
        lines.append(f"mean distance, weighted by orders: {analytics.calibration_error:.4f}")
    return "\n".join(lines)
