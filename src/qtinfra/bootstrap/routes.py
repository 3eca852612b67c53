"""What the router expected of orders when it routed them, for whoever asks about them later."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from qtinfra.core.events import Entry
from qtinfra.core.routing_events import RouteScored

#: Orders whose latest expectation is kept; the one that was routed longest ago goes first.
KEPT_ROUTES = 50_000


class RouteScores:
    """The latest confidence and expected fill of the orders routed in this life of the process.

    Args:
        kept: most orders that are remembered.
    """

    def __init__(self, kept: int = KEPT_ROUTES) -> None:
        self._kept = kept
        # Ordered, because a plain dict looks for its first key among all that were deleted before it.
        self._found: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def note(self, entries: Sequence[Entry]) -> None:
        """Take from these records what they say about routes."""
        for entry in entries:
            for event in entry.events:
                if type(event) is RouteScored:
                    self._keep(event)

    def of(self, order_id: str) -> tuple[int, int] | None:
        """Confidence and expected fill in parts of a million; None when the router said nothing, or too long
        ago.
        """
        return self._found.get(order_id)

    def forgot(self, order_id: str, before: bool) -> bool:
        """Whether the router may have said something about the order that is not remembered here.

        Args:
            before: the order is older than this life of the process.
        """
        found = self._found
        return order_id not in found and (before or len(found) >= self._kept)

    def _keep(self, event: RouteScored) -> None:
        found = self._found
        found[event.order_id] = event.confidence_ppm, event.expected_fill_ppm
        found.move_to_end(event.order_id)
        if len(found) > self._kept:
            found.popitem(last=False)
