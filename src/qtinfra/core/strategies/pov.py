"""POV: a constant part of the volume, own volume counted in the whole."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.algo import AlgoTerms, Schedule
from qtinfra.core.decimals import EXACT, ONE, ZERO
from qtinfra.core.strategies.inputs import PlanInputs, close_send_ns, edges, split_auctions
from qtinfra.core.strategies.schedule import ScheduleError


def own_volume(rate: Decimal, others: Decimal, lot: Decimal) -> Decimal:
    """Own volume that makes own / (own + others) = rate: rate / (1 - rate) x others, down to whole lots.

    Args:
        rate: 0 to below 1. others: units that others have printed. lot: units of a round lot.

    Raises:
        ScheduleError: the rate is not below 1.
    """
    if not ZERO <= rate < ONE:
        raise ScheduleError("rate", f"{rate} is not from 0 to below 1")
    return EXACT.multiply(EXACT.divide_int(rate * others, (ONE - rate) * lot), lot)


class Pov:
    """Percentage of volume: follows what prints, in both directions of pace; it has no targets in time."""

    name = "POV"
    follows_market = True
    resolves = False

    def plan(self, terms: AlgoTerms, inputs: PlanInputs) -> Schedule:
        """See `Strategy.plan`. Volume counts from the moment of planning on."""
        rate = terms.target_rate
        if rate is None or not ZERO < rate < ONE:
            raise ScheduleError("target_rate", "POV needs a rate above 0 and below 1")
        times = edges(terms, inputs)
        at_open, _, at_close = split_auctions(terms, inputs)
        close_ns = close_send_ns(terms, inputs) if at_close else 0
        return Schedule(
            times[:-1],
            times[:-1],
            (),
            times[-1],
            at_open,
            at_close,
            close_ns,
            rate,
            inputs.filled,
            "volume printed from now on",
        )

    def target(self, schedule: Schedule, now_ns: int, others: Decimal) -> Decimal:
        """See `Strategy.target`."""
        del now_ns
        if schedule.rate is None:
            return schedule.base_qty
        wanted = own_volume(schedule.rate, others, ONE)
        return EXACT.add(EXACT.add(schedule.base_qty, schedule.open_qty), wanted)
