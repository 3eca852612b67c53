"""Optimal placement when venues may never hold more than the order, as for a router that cannot overfill.

Then `M + sum L_k = S`, nothing executes beyond S, and the cost of `queues` (theta is constant) separates:

    (h + f) M + sum [lambda_u L_k - (h + r_k + lambda_u) E[B_k(L_k)]]

`E[B_k]` is concave in L_k, so that at the best L_k the last share posted is worth the same mu everywhere,
`F_k(Q_k + L_k) = 1 - (lambda_u - h - f + mu) / (h + r_k + lambda_u)`, and mu is 0 where something is taken.
For one venue this is proposition 2 of Cont and Kukanov (2017). It needs neither independence of the venues
nor numerical integration.
"""

from __future__ import annotations

from collections.abc import Sequence

from qtinfra.core.impact.queues import Placement, PlacementTerms, Queue

_BISECTIONS = 60


def place_within(terms: PlacementTerms, queues: Sequence[Queue]) -> Placement:
    """The placement of least expected cost among those that send the quantity and no more."""
    limits = _posted(terms, queues, 0.0)
    if sum(limits) > terms.quantity:
        low, high = 0.0, 2 * (terms.half_spread + terms.lambda_under) + abs(terms.market_fee) + _most(queues)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if sum(_posted(terms, queues, middle)) > terms.quantity:
                low = middle
            else:
                high = middle
        limits = _between(_posted(terms, queues, low), _posted(terms, queues, high), terms.quantity)
    return Placement(max(0.0, terms.quantity - sum(limits)), limits)


def _between(more: tuple[float, ...], fewer: tuple[float, ...], quantity: float) -> tuple[float, ...]:
    """The mixture of two placements that sums to the quantity, the one summing to more, the other not.

    Two neighbouring values of mu may lie whole shares apart where an outflow hardly ever reaches the end of
    the queue. Their rest would be taken, although a posted share is worth mu more.
    """
    above, below = sum(more), sum(fewer)
    part = (quantity - below) / (above - below)
    return tuple(few + part * (many - few) for many, few in zip(more, fewer, strict=True))


def _most(queues: Sequence[Queue]) -> float:
    return max((abs(queue.rebate) for queue in queues), default=0.0)


def _posted(terms: PlacementTerms, queues: Sequence[Queue], worth: float) -> tuple[float, ...]:
    """Shares to post at each venue so that the last one is worth so much more than taking it."""
    short = terms.lambda_under - terms.half_spread - terms.market_fee + worth
    found = []
    for queue in queues:
        gain = terms.half_spread + queue.rebate + terms.lambda_under
        if short <= 0:
            found.append(terms.quantity)
        elif short >= gain:
            found.append(0.0)
        else:
            reach = queue.outflow.quantile(1 - short / gain) - queue.ahead
            found.append(min(max(reach, 0.0), terms.quantity))
    return tuple(found)
