"""VWAP: the quantity follows the volume that the day's curve expects."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.strategies.inputs import PlanInputs, curve_weights, edges, in_lots, target_in_time


class Vwap:
    """Volume-weighted: needs the symbol's volume curve.

    Source:
        Konishi, Optimal slice of a VWAP trade (2002): the best static schedule follows expected volume.
    """

    name = "VWAP"
    follows_market = False
    resolves = False

    def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
        """See `Strategy.plan`; without a curve it is refused."""
        ends = edges(terms, inputs)
        return in_lots(terms, inputs, ends, curve_weights(inputs, ends), f"curve of {len(inputs.curve)} bins")

    def target(self, schedule: Schedule, now_ns: int, others: Decimal) -> Decimal:
        """See `Strategy.target`."""
        del others
        return target_in_time(schedule, now_ns)
