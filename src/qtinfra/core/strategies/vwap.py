"""VWAP: the quantity follows the volume that the day's curve expects."""

from __future__ import annotations

from collections.abc import Sequence
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


def steered(expected: Sequence[float], part: float, seen: float, done: float) -> tuple[float, ...]:
    """Volumes from which `Vwap.plan` holds, at the end of the first bin, the day's part of the order.

    A plan made in mid-day spreads what is left over the volume still to come, so that what the order is
    behind or ahead of the day's volume stays. These volumes bring it back within the running bin and no
    faster: an order that is ahead waits there.

    Args:
        expected: of the bins from the running one to the order's end, as whole bins, any unit.
        part: how much of the running bin is still to come, above 0 and up to 1.
        seen: printed from the order's start until now, in the same unit.
        done: executed part of the order, from 0 to 1.

    Source:
        Konishi (2002): the error is that of the executed part against the day's; where the price is a
        martingale the best aim is the expected share of the volume at every moment.
    """
    after = sum(expected[1:])
    total = seen + expected[0] * part + after
    now = max(0.0, total * (1 - done) - after)
    return (now / part, *expected[1:]) if now or after else tuple(expected)
