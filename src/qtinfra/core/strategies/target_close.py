"""Target close: the closing auction takes what it can bear, the rest is traded on the way there."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.decimals import EXACT, ONE, ZERO
from qtinfra.core.strategies.inputs import (
    PlanInputs,
    curve_weights,
    edges,
    in_lots,
    split_auctions,
    target_in_time,
)
from qtinfra.core.strategies.pov import own_volume
from qtinfra.core.strategies.schedule import ScheduleError


class TargetClose:
    """The benchmark is the official close.

    The auction gets `close_share` of the quantity, all of it when none is named, but no more than the cap
    allows of the volume expected there. What that leaves is traded before, back-loaded: the later, the closer
    to the benchmark. The curve gives the weights where there is one, times how far the way has come.
    """

    name = "TARGET_CLOSE"
    follows_market = False
    resolves = False

    def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
        """See `Strategy.plan`; it needs a closing auction that can still be reached."""
        if inputs.close_cutoff_ns <= inputs.now_ns:
            raise ScheduleError(
                "close_cutoff_ns", "the closing auction takes no more orders, or is not known"
            )
        at_open, continuous, at_close = split_auctions(terms, inputs)
        left = EXACT.add(continuous, at_close)
        wanted = at_close if terms.close_share else left
        at_close = min(wanted, left, self._bearable(terms, inputs, left))
        ends = edges(terms, inputs)
        basis = f"{at_close} at the close"
        weights = self._weights(inputs, ends)
        return in_lots(
            terms, inputs, ends, weights, basis, (at_open, EXACT.subtract(left, at_close), at_close)
        )

    def _bearable(self, terms: AlgoTerms, inputs: PlanInputs, left: Decimal) -> Decimal:
        """What the cap allows of the volume expected at the close; all of it where either is not known."""
        cap = terms.max_participation
        if cap is None or cap >= ONE or inputs.close_volume is None:
            return left
        return own_volume(cap, max(ZERO, inputs.close_volume), inputs.lot)

    def _weights(self, inputs: PlanInputs, ends: tuple[int, ...]) -> list[int]:
        count = len(ends) - 1
        volumes = curve_weights(inputs, ends)[0] if inputs.curve else [1] * count
        weights = [volume * (place + 1) for place, volume in enumerate(volumes)]
        return weights if any(weights) else [1] * count

    def target(self, schedule: Schedule, now_ns: int, others: Decimal) -> Decimal:
        """See `Strategy.target`."""
        del others
        return target_in_time(schedule, now_ns)
