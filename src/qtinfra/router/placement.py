"""From an optimal placement to whole lots: how many to take and how many to post on which venue.

`core.impact.queues` solves in floats; only decimals in whole lots leave this module, to be journaled with the
decision and never computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.impact.queues import Placement, PlacementTerms, Queue, place
from qtinfra.core.impact.within import place_within

_HALF = Fraction(1, 2)
#: A placement that passes the quantity by less than a part in a million just fills it.
_MORE = 1 + Fraction(1, 10**6)


class VenueQueue(msgspec.Struct, frozen=True):
    """A venue that may be posted on, by MIC, and its queue."""

    mic: str
    queue: Queue


class PlacementPlan(msgspec.Struct, frozen=True, gc=False):
    """What to send, in units of the instrument.

    Attributes:
        take: quantity to take at the market, the odd lot of the order included.
        posts: MIC and quantity to post, whole lots above 0, in the order of the venues. With several venues
            their sum and `take` may pass the order's quantity: the router must cancel the rest when it is
            complete.
    """

    take: Decimal
    posts: tuple[tuple[str, Decimal], ...]

    @property
    def sent(self) -> Decimal:
        """All that is sent."""
        return EXACT.add(self.take, sum((qty for _, qty in self.posts), ZERO))


def plan_placement(
    qty: Decimal, lot: Decimal, terms: PlacementTerms, venues: Sequence[VenueQueue], oversend: bool = True
) -> PlacementPlan:
    """Split a quantity between taking and posting by expected cost.

    Args:
        qty: units of the order; `terms.quantity` must say the same.
        lot: units of a round lot.
        venues: where it may be posted.
        oversend: whether more than the quantity may rest in total. That takes seconds for several venues;
            without it the best placement that sends the quantity only is found in microseconds.

    Raises:
        ValueError: quantity or lot is not above 0, `terms` speak of another quantity, or a model value is
            out of its range.
    """
    if qty <= 0 or lot <= 0:
        raise ValueError(f"quantity and lot: above 0, not {qty} and {lot}")
    if Fraction(terms.quantity) != Fraction(qty):
        raise ValueError(f"terms.quantity: {qty} as ordered, not {terms.quantity}")
    placement = (place if oversend else place_within)(terms, [venue.queue for venue in venues])
    posts = _lots(placement, qty, lot, oversend)
    named = tuple(
        (venue.mic, canonical(EXACT.multiply(Decimal(lots), lot)))
        for venue, lots in zip(venues, posts, strict=True)
        if lots
    )
    posted = sum((part for _, part in named), ZERO)
    take = EXACT.subtract(qty, posted)
    if oversend and placement.market + sum(placement.limits) > terms.quantity * _MORE:
        wanted = min(_nearest(Fraction(placement.market) / Fraction(lot)), int(qty // lot))
        take = max(take, EXACT.multiply(Decimal(wanted), lot))
    return PlacementPlan(canonical(take), named)


def _lots(placement: Placement, qty: Decimal, lot: Decimal, oversend: bool) -> list[int]:
    """Whole lots to post per venue: running totals are rounded, so that no more than half a lot is lost."""
    exact = [Fraction(limit) for limit in placement.limits]
    room = Fraction(qty) - Fraction(placement.market)
    total = sum(exact, Fraction(0))
    if not oversend and total > room:
        exact = [part * room / total for part in exact]
    most = int(qty // lot)
    reached, done, lots = 0, Fraction(0), []
    for part in exact:
        done += part
        target = _nearest(done / Fraction(lot))
        if not oversend:
            target = min(target, most)
        lots.append(min(target - reached, most))
        reached = target
    return lots


def _nearest(value: Fraction) -> int:
    return int(value + _HALF)
