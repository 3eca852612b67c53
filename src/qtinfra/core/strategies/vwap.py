"""VWAP: the quantity follows the volume that the day's curve expects, and then the day itself."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.decimals import ZERO
from qtinfra.core.strategies.inputs import (
    PlanInputs,
    curve_weights,
    edges,
    in_lots,
    split_auctions,
    target_in_time,
)
from qtinfra.core.strategies.steering import expected_rate


class Vwap:
    """Volume-weighted: needs the symbol's curve; given its daily volume, what prints steers the plan.

    Source:
        Konishi, Optimal slice of a VWAP trade (2002): the best static schedule follows expected volume.
    """

    name = "VWAP"
    follows_market = False
    resolves = False

    def __init__(self, *, steered: bool = True) -> None:
        """`steered`: expect a volume, so that what prints moves the order along its plan (`steering`)."""
        self._steered = steered

    def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
        """See `Strategy.plan`; without a curve it is refused."""
        ends = edges(terms, inputs)
        weights, unit = curve_weights(inputs, ends)
        split = split_auctions(terms, inputs)
        rate = None
        if self._steered and inputs.daily_volume is not None:
            rate = expected_rate(split[1], _expected(inputs, inputs.daily_volume, sum(weights), unit))
        basis = f"curve of {len(inputs.curve)} bins"
        return in_lots(terms, inputs, ends, weights, basis, split, rate)

    def target(self, schedule: Schedule, now_ns: int, others: Decimal) -> Decimal:
        """See `Strategy.target`; `execution.parent` steers by what has printed."""
        del others
        return target_in_time(schedule, now_ns)


def _expected(inputs: PlanInputs, daily_volume: Decimal, weight: int, unit: int) -> Decimal:
    """Whole units of the day's volume that its curve expects where it has `weight` / `unit`."""
    volume, parts = daily_volume.as_integer_ratio()
    total, scale = sum(inputs.curve, ZERO).as_integer_ratio()
    return Decimal(volume * weight * scale // (parts * unit * total))
