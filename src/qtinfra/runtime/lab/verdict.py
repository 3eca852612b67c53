"""What a study says: parameters from training dates, figures and paired intervals from reported ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from math import fsum
from statistics import median

import msgspec

from qtinfra.runtime.lab.play import Setup
from qtinfra.runtime.lab.resample import Interval, block_bootstrap
from qtinfra.runtime.lab.score import Score
from qtinfra.runtime.lab.study import LeakError, Split

#: A candidate must execute this part of what was ordered to be chosen.
LEAST_FILLED = 0.99

#: One order by two algorithms.
Pair = tuple[Score, Score]


class AlgoFigures(msgspec.Struct, frozen=True):
    """One algorithm on the reported dates.

    Attributes:
        orders: a buy and a sell on every stock-day. filled: part of what was ordered.
        tracking_bps: median of |average price - interval VWAP|, costs in it.
        schedule_bps: the same at the minutes' recorded prices, without half-spread and impact.
        cost_bps: mean of half-spread and impact paid. spread_bps: mean of the half-spread in it.
        floor_bps: median of what each order paid: `tracking_bps` if every schedule met the VWAP.
        shortfall_bps, predicted_bps: mean against arrival, and mean of the forecasts.
        coverage: part of the orders whose shortfall lies in the forecast's 95% band.
        rate: median of own / (own + others).
        rate_within: part of the orders within one percentage point of the rate asked for; POV's.
    """

    setup: Setup
    orders: int
    filled: float
    tracking_bps: Interval
    schedule_bps: Interval
    cost_bps: Interval
    spread_bps: float
    floor_bps: float
    shortfall_bps: Interval
    predicted_bps: float
    coverage: Interval
    rate: Interval
    rate_within: float


class Comparison(msgspec.Struct, frozen=True):
    """One algorithm against another on the same orders.

    Attributes:
        pairs: orders that both executed.
        reduction: 1 - median tracking error / the other's, all costs in.
        difference_bps: the other's median less this one's.
        schedule_reduction: as `reduction` without half-spread and impact.
        cost_difference_bps: mean cost that the other paid less what this one paid.
    """

    algo: str
    against: str
    pairs: int
    reduction: Interval
    difference_bps: Interval
    schedule_reduction: Interval
    cost_difference_bps: Interval


def choose(candidates: Sequence[Setup], scores: Sequence[Sequence[Score]], split: Split) -> Setup:
    """The candidate with the least objective on training dates: POV's distance from its rate, else tracking.

    Among candidates that executed at least `LEAST_FILLED`; among all when none did. The first of equals wins.
    POV follows volume and need not finish.

    Raises:
        LeakError: a score is of a date after the training dates.
        ValueError: no candidates or no scores.
    """
    late = [item.trade_date for found in scores for item in found if not _trains(item, split)]
    if late:
        raise LeakError(f"{late[0]}: not a training date, they end {split.train_to}")
    if not candidates or not all(scores):
        raise ValueError("candidates: at least one, each with scores")
    complete = [
        at
        for at, found in enumerate(scores)
        if candidates[at].algo == "POV" or filled_part(found) >= LEAST_FILLED
    ]
    places = complete or list(range(len(candidates)))
    return candidates[min(places, key=lambda at: (objective(candidates[at], scores[at]), at))]


def objective(setup: Setup, scores: Sequence[Score]) -> float:
    """What `choose` minimises."""
    if setup.algo == "POV":
        return median(abs(item.rate - float(setup.rate)) for item in scores)
    return median(_tracking(scores))


def figures(setup: Setup, scores: Sequence[Score], split: Split, seed: int) -> AlgoFigures:
    """One algorithm's figures with intervals by date.

    Raises:
        LeakError: a score is not of a reported date.
        ValueError: no scores.
    """
    days = by_date(_reported(scores, split))

    def over(statistic: Callable[[Sequence[Score]], float]) -> Interval:
        return block_bootstrap(days, statistic, seed)

    return AlgoFigures(
        setup,
        len(scores),
        filled_part(scores),
        over(lambda found: median(_tracking(found))),
        over(lambda found: median([item.schedule_bps for item in found if item.schedule_bps is not None])),
        over(_mean_cost),
        fsum(item.spread_bps or 0.0 for item in scores) / len(scores),
        median(item.cost_bps or 0.0 for item in scores),
        over(lambda found: fsum(item.shortfall_bps for item in found) / len(found)),
        fsum(item.predicted_bps for item in scores) / len(scores),
        over(lambda found: sum(item.in_band for item in found) / len(found)),
        over(lambda found: median(item.rate for item in found)),
        sum(abs(item.rate - float(setup.rate)) <= 0.01 for item in scores) / len(scores),
    )


def compare(ours: Sequence[Score], theirs: Sequence[Score], split: Split, seed: int) -> Comparison:
    """Two algorithms on the orders that both executed, both sides of a pair resampled together.

    Raises:
        LeakError: a score is not of a reported date.
        ValueError: no pairs, or a pair's orders differ in size.
    """
    other = {_order(item): item for item in _reported(theirs, split)}
    pairs = [(item, other[_order(item)]) for item in _reported(ours, split) if _order(item) in other]
    pairs = [pair for pair in pairs if all(item.tracking_bps is not None for item in pair)]
    for one, two in pairs:
        if one.ordered != two.ordered:
            raise ValueError(f"{one.symbol} {one.trade_date}: the two orders are not the same")
    ordered = sorted(pairs, key=lambda pair: (pair[0].trade_date, *_order(pair[0])))
    days = [list(group) for _, group in groupby(ordered, key=lambda pair: pair[0].trade_date)]
    return Comparison(
        ours[0].algo,
        theirs[0].algo,
        len(pairs),
        block_bootstrap(days, lambda found: _reduction(found, "tracking_bps"), seed),
        block_bootstrap(days, _difference, seed),
        block_bootstrap(days, lambda found: _reduction(found, "schedule_bps"), seed),
        block_bootstrap(days, _cost_difference, seed),
    )


def filled_part(scores: Sequence[Score]) -> float:
    """Mean over orders of the part executed."""
    return fsum(item.filled / item.ordered for item in scores) / len(scores)


def by_date(scores: Sequence[Score]) -> list[list[Score]]:
    """The scores of each date, dates in order."""
    ordered = sorted(scores, key=lambda item: (item.trade_date, *_order(item)))
    return [list(group) for _, group in groupby(ordered, key=lambda item: item.trade_date)]


def _trains(item: Score, split: Split) -> bool:
    return split.train_from <= item.trade_date <= split.train_to


def _reported(scores: Sequence[Score], split: Split) -> Sequence[Score]:
    for item in scores:
        if not split.report_from <= item.trade_date <= split.report_to:
            raise LeakError(f"{item.trade_date}: not a reported date, they begin {split.report_from}")
    return scores


def _tracking(scores: Sequence[Score]) -> list[float]:
    """Tracking errors of the orders with fills; one that got nothing at all is infinitely far off."""
    found = [item.tracking_bps for item in scores if item.tracking_bps is not None]
    return found or [float("inf")]


def _medians(pairs: Sequence[Pair], field: str) -> tuple[float, float]:
    ours, theirs = (median(getattr(pair[side], field) for pair in pairs) for side in (0, 1))
    return ours, theirs


def _reduction(pairs: Sequence[Pair], field: str) -> float:
    ours, theirs = _medians(pairs, field)
    return 1 - ours / theirs if theirs else 0.0


def _difference(pairs: Sequence[Pair]) -> float:
    ours, theirs = _medians(pairs, "tracking_bps")
    return theirs - ours


def _order(item: Score) -> tuple[str, str, bool]:
    return item.symbol, item.trade_date, item.buy


def _mean_cost(scores: Sequence[Score]) -> float:
    costs = [item.cost_bps for item in scores if item.cost_bps is not None]
    return fsum(costs) / len(costs) if costs else 0.0


def _cost_difference(pairs: Sequence[Pair]) -> float:
    return _mean_cost([two for _, two in pairs]) - _mean_cost([one for one, _ in pairs])
