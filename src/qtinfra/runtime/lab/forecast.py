"""What an order shall cost, said before it: the cost model, and a band that knows when prices move.

A day's variance does not come evenly: the first half hour has several times that of noon. An order that
trades early is exposed to it, so that a band from the day's average is too narrow for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from math import hypot
from statistics import NormalDist

import msgspec

from qtinfra.core.algo import Schedule
from qtinfra.core.impact.estimate import CostEstimate, CostInputs, estimate_cost, timing_risk
from qtinfra.core.impact.power_law import PowerLaw
from qtinfra.core.strategies.inputs import PlanInputs, curve_weights
from qtinfra.marketdata.bars import MINUTE_NS
from qtinfra.marketdata.estimators import DAY_MINUTES
from qtinfra.runtime.lab.days import LabDay
from qtinfra.runtime.lab.history import DayFacts
from qtinfra.runtime.lab.play import CURVE_UNITS, LabOrder, Played, Setup, in_units

#: How the cost model calls the planners; others are forecast as TWAP.
COST_NAMES = {"TWAP": "twap", "VWAP": "vwap", "POV": "pov", "IS": "shortfall"}
CONFIDENCE = 0.95
#: The forecast's law: the lab's street has no permanent impact, so its forecast has none either.
LAB_LAW = PowerLaw(gamma=0.0)
#: Time within which the open part of an order falls evenly, for the risk.
STEP_MINUTES = 5
_BPS = 10_000


def forecast_cost(
    setup: Setup, order: LabOrder, day: LabDay, facts: DayFacts, played: Played
) -> CostEstimate:
    """The order's cost as seen before the first slice; every slice crosses.

    Expected cost and the doubt about the impact are the cost model's; the timing risk is that of the first
    schedule, its time measured by the variance that earlier days had at that time of day.
    """
    minutes = (order.end_ns - order.start_ns) / MINUTE_NS
    known = estimate_cost(
        COST_NAMES.get(setup.algo, "twap"),
        CostInputs(
            float(order.qty),
            facts.daily_volume,
            facts.volatility,
            facts.spread_bps,
            horizon_days=min(1.0, minutes / DAY_MINUTES),
            participation=float(setup.rate),
            urgency=setup.urgency,
            curve=_window_curve(order, day, facts),
            spread_share=1.0,
        ),
        CONFIDENCE,
        LAB_LAW,
    )
    risk = _BPS * schedule_risk(order, day, facts, setup, played.planned)
    width = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * hypot(risk, known.components.model_error)
    return msgspec.structs.replace(
        known,
        low=known.expected_bps - width,
        high=known.expected_bps + width,
        components=msgspec.structs.replace(known.components, timing_risk=risk),
    )


def schedule_risk(order: LabOrder, day: LabDay, facts: DayFacts, setup: Setup, planned: Schedule) -> float:
    """Standard deviation of the schedule's cost from the price's moves, as a fraction of the price.

    POV plans no quantities: it gets what its rate takes of the expected volume, and what that leaves stays
    open to the end.
    """
    bins = -((order.start_ns - order.end_ns) // (STEP_MINUTES * MINUTE_NS))
    length = order.end_ns - order.start_ns
    ends = tuple(order.start_ns + length * place // bins for place in range(bins + 1))
    if setup.algo == "POV":
        scale = facts.daily_volume * float(setup.rate / (1 - setup.rate)) / order.qty
        weights = [scale * volume for volume in shares_between(facts.curve, order, day, ends)]
        weights = _until_done(weights)
    else:
        reached = [float(done_by(planned, moment)) / order.qty for moment in ends]
        reached[-1] = 1.0
        weights = [after - before for before, after in pairwise(reached)]
    return timing_risk(weights, shares_between(facts.variance, order, day, ends), facts.volatility)


def done_by(planned: Schedule, moment: int) -> Decimal:
    """What the schedule has released before a moment."""
    place = bisect_left(planned.releases, moment) - 1
    return planned.targets[place] if place >= 0 else planned.base_qty


def shares_between(
    shares: Sequence[float], order: LabOrder, day: LabDay, ends: tuple[int, ...]
) -> list[float]:
    """Shares of the day between consecutive moments, even within a bin."""
    inputs = PlanInputs(
        order.buy,
        Decimal(order.qty),
        Decimal(0),
        Decimal(1),
        order.start_ns,
        day.open_ns,
        day.close_ns,
        curve=in_units(shares),
    )
    parts, unit = curve_weights(inputs, ends)
    return [part / (unit * CURVE_UNITS) for part in parts]


def _until_done(weights: Sequence[float]) -> list[float]:
    left, found = 1.0, []
    for weight in weights:
        found.append(min(weight, left))
        left -= found[-1]
    return found


def _window_curve(order: LabOrder, day: LabDay, facts: DayFacts) -> tuple[float, ...]:
    """Shares of the day's volume in equal parts of the order's time, as many as the curve has bins."""
    count, length = len(facts.curve), order.end_ns - order.start_ns
    ends = tuple(order.start_ns + length * place // count for place in range(count + 1))
    return tuple(shares_between(facts.curve, order, day, ends))
