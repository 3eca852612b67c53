"""TWAP: equal parts of the quantity in equal parts of the time."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.strategies.inputs import PlanInputs, edges, in_lots, target_in_time


class Twap:
    """Time-weighted: reads no market data."""

    name = "TWAP"
    follows_market = False
    resolves = False

    def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
        """See `Strategy.plan`."""
        ends = edges(terms, inputs)
        weights = [after - start for start, after in pairwise(ends)]
        return in_lots(terms, inputs, ends, weights, "equal parts of the time")

    def target(self, schedule: Schedule, now_ns: int, others: Decimal) -> Decimal:
        """See `Strategy.target`."""
        del others
        return target_in_time(schedule, now_ns)
