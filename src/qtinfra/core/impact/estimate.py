"""What an order will cost before it is sent: expected cost per algo, with a band.

Expected: half the spread as far as it is crossed, fees, the permanent and temporary impact of Almgren, Thum,
Hauptmann and Li along the algo's schedule. Band: the timing risk of what is still open, and the standard
errors of the impact coefficients. All in basis points of the arrival price; positive is a cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from math import ceil, fsum, isfinite, sqrt
from statistics import NormalDist

import msgspec

from qtinfra.core.impact.power_law import ETA_ERROR, GAMMA_ERROR, PowerLaw
from qtinfra.core.impact.trajectory import Liquidation, solve

#: What share of the half-spread each algo pays on average: 1 always crosses, 0 earns as often as it pays.
#: Conventions, to be replaced by the desk's own TCA.
SPREAD_SHARE = {"twap": 0.5, "vwap": 0.5, "pov": 0.6, "shortfall": 0.7, "close": 0.0}
ALGOS = tuple(SPREAD_SHARE)

_BPS = 10_000.0
#: An order that "pov" would work for longer than this is refused.
_MAX_HORIZONS = 1_000
#: Intervals of a schedule whose day has no curve.
_FLAT_BINS = 26


class CostInputs(msgspec.Struct, frozen=True):
    """An order and its market.

    Attributes:
        shares: size, above 0.
        adv_shares: average daily volume V.
        daily_volatility: sigma, fraction of the price.
        spread_bps: quoted spread.
        horizon_days: clock time allowed, in trading days, up to 1; with "pov" only a bound on the time it
            takes.
        outstanding_shares: Theta; 150 days of volume when 0.
        participation: rate of "pov": own / (own + others), above 0 and below 1.
        fee_bps: fees and commissions, rebates negative.
        urgency: of "shortfall": risk aversion per basis point of standard deviation (lambda in bp per bp^2).
        auction_share: of the daily volume that trades in the closing auction, for "close".
        curve: shares of a day's volume per bin over the horizon; flat when empty. Its sum is the share of
            the day's volume that is expected within the horizon.
        spread_share: share of the half-spread paid; `SPREAD_SHARE` of the algo when None.

    Raises:
        ValueError: a value is out of its range.
    """

    shares: float
    adv_shares: float
    daily_volatility: float
    spread_bps: float
    horizon_days: float = 1.0
    outstanding_shares: float = 0.0
    participation: float = 0.1
    fee_bps: float = 0.0
    urgency: float = 1e-2
    auction_share: float = 0.08
    curve: tuple[float, ...] = ()
    spread_share: float | None = None

    def __post_init__(self) -> None:
        for name in ("shares", "adv_shares", "horizon_days"):
            _in_range(name, getattr(self, name), above=0.0)
        for name in ("daily_volatility", "spread_bps", "outstanding_shares", "urgency"):
            _in_range(name, getattr(self, name))
        _in_range("horizon_days", self.horizon_days, most=1.0)
        for name in ("participation", "auction_share"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name}: above 0 and below 1, not {value}")
        if self.curve and (min(self.curve) < 0 or not fsum(self.curve) > 0):
            raise ValueError("curve: shares of at least 0, one above 0")


class CostComponents(msgspec.Struct, frozen=True):
    """Parts of the expected cost, and the risks around it as standard deviations; basis points."""

    spread: float
    fees: float
    permanent: float
    temporary: float
    timing_risk: float
    model_error: float


class CostEstimate(msgspec.Struct, frozen=True):
    """Expected cost and its band in basis points of the arrival price.

    Attributes:
        low, high: the cost lies between them with the probability asked for.
        horizon_days: clock time that the algo needs, trading days; it passes the horizon allowed where "pov"
            cannot finish within it.
    """

    expected_bps: float
    low: float
    high: float
    components: CostComponents
    horizon_days: float


class _Plan(msgspec.Struct, frozen=True):
    """Shares of the order per interval, shares of a day's volume in it, its length in days."""

    weights: tuple[float, ...]
    volumes: tuple[float, ...]
    lengths: tuple[float, ...]


def estimate_cost(
    algo: str, inputs: CostInputs, confidence: float = 0.95, law: PowerLaw | None = None
) -> CostEstimate:
    """Expected cost of an order by algo, and a band around it.

    Args:
        algo: one of `ALGOS`.
        confidence: probability that the cost lies within the band, above 0 and below 1.

    Raises:
        ValueError: an unknown algo, or a confidence out of range.
    """
    if algo not in SPREAD_SHARE:
        raise ValueError(f"algo: one of {', '.join(ALGOS)}, not {algo!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: above 0 and below 1, not {confidence}")
    law, plan = law or PowerLaw(), _plan(algo, inputs)
    share = SPREAD_SHARE[algo] if inputs.spread_share is None else inputs.spread_share
    parts = _components(inputs, plan, law, share)
    expected = parts.spread + parts.fees + parts.permanent + parts.temporary
    width = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt(parts.timing_risk**2 + parts.model_error**2)
    return CostEstimate(expected, expected - width, expected + width, parts, fsum(plan.lengths))


def timing_risk(weights: Sequence[float], lengths_days: Sequence[float], daily_volatility: float) -> float:
    """Standard deviation of the cost while a schedule runs, as a fraction of the price.

    `sigma sqrt(sum dt_k (x_k-1^2 + x_k-1 x_k + x_k^2) / 3)`, x the share of the order that is open, falling
    evenly
    within an interval: `sigma sqrt(T / 3)` for TWAP.

    Args:
        weights: shares of the order per interval, summing to 1.
        lengths_days: clock length of each interval, days.
    """
    left, parts = 1.0, []
    for weight, length in zip(weights, lengths_days, strict=True):
        after = left - weight
        parts.append(length * (left * left + left * after + after * after) / 3)
        left = after
    return daily_volatility * sqrt(fsum(parts))


def _components(inputs: CostInputs, plan: _Plan, law: PowerLaw, spread_share: float) -> CostComponents:
    size = inputs.shares / inputs.adv_shares
    outstanding = inputs.outstanding_shares / inputs.adv_shares or 150.0
    scale = _BPS * inputs.daily_volatility
    permanent = scale * law.gamma * size * outstanding**law.delta / 2
    temporary = (
        scale
        * law.eta
        * fsum(
            weight * (weight * size / volume) ** law.beta
            for weight, volume in zip(plan.weights, plan.volumes, strict=True)
            if weight > 0
        )
    )
    doubt = sqrt(
        (permanent * GAMMA_ERROR / PowerLaw().gamma) ** 2 + (temporary * ETA_ERROR / PowerLaw().eta) ** 2
    )
    risk = _BPS * timing_risk(plan.weights, plan.lengths, inputs.daily_volatility)
    return CostComponents(
        inputs.spread_bps / 2 * spread_share, inputs.fee_bps, permanent, temporary, risk, doubt
    )


def _plan(algo: str, inputs: CostInputs) -> _Plan:
    bins = inputs.curve or tuple([inputs.horizon_days / _FLAT_BINS] * _FLAT_BINS)
    count, length = len(bins), inputs.horizon_days / len(bins)
    match algo:
        case "vwap":
            return _Plan(_shares(bins), bins, (length,) * count)
        case "pov":
            return _pov_plan(inputs, bins, length)
        case "shortfall":
            return _Plan(_front_loaded(inputs, bins, length), _traded(bins), (length,) * count)
        case "close":
            return _Plan((0.0, 1.0), (1.0, inputs.auction_share), (inputs.horizon_days, 0.0))
    return _Plan((1 / count,) * count, _traded(bins), (length,) * count)


def _pov_plan(inputs: CostInputs, bins: Sequence[float], length: float) -> _Plan:
    """Own volume at the rate of all volume, bin after bin, and days like this one until the order is done."""
    rate = inputs.participation
    own_per_other = rate / (1 - rate)
    left, day = inputs.shares / inputs.adv_shares, fsum(bins) * own_per_other
    rounds = ceil(left / day)
    if rounds > _MAX_HORIZONS:
        raise ValueError(f"participation: at most {_MAX_HORIZONS} horizons, {rounds} are needed at {rate}")
    weights, volumes, lengths = [], [], []
    for volume in chain.from_iterable(repeat(bins, rounds + 1)):
        own = min(left, volume * own_per_other)
        # The bin that ends the order is used as far as it is needed, so that the rate stays the rate.
        used = own / own_per_other
        weights.append(own)
        volumes.append(used)
        lengths.append(length * used / volume if volume else length)
        left -= own
        if left <= 0:
            break
    return _Plan(_shares(weights), tuple(volumes), tuple(lengths))


def _front_loaded(inputs: CostInputs, bins: Sequence[float], length: float) -> tuple[float, ...]:
    """Weights of the Almgren-Chriss trajectory, temporary impact linear around the even rate."""
    size, volume = inputs.shares / inputs.adv_shares, fsum(bins)
    law, scale = PowerLaw(), _BPS * inputs.daily_volatility
    even = scale * law.eta * (size / volume) ** law.beta
    if not even:
        return (1 / len(bins),) * len(bins)
    problem = Liquidation(
        1.0, length * len(bins), len(bins), scale, 0.0, 0.0, even * length * len(bins), inputs.urgency
    )
    return solve(problem).trades


def _traded(bins: Sequence[float]) -> tuple[float, ...]:
    """Volumes for a schedule that does not follow them: no bin is thinner than a tenth of the mean."""
    floor = fsum(bins) / len(bins) / 10
    return tuple(max(volume, floor) for volume in bins)


def _shares(weights: Sequence[float]) -> tuple[float, ...]:
    total = fsum(weights)
    return tuple(weight / total for weight in weights)


def _in_range(name: str, value: float, above: float | None = None, most: float | None = None) -> None:
    if not isfinite(value) or value < 0 or (above is not None and value <= above):
        raise ValueError(f"{name}: {'above' if above is not None else 'at least'} 0, not {value}")
    if most is not None and value > most:
        raise ValueError(f"{name}: at most {most}, not {value}")
