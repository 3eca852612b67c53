"""The result of deciding, built up event by event, with the ids that the events' sequence numbers give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtinfra.core import ids
from qtinfra.core.events import Answer, AnyEvent
from qtinfra.core.market import MarketView
from qtinfra.engine.state import State


class Decision:
    """Events and answers of one step. Ids come from the sequence number of the event to be added next.

    A decision that depends on what its own events change is a follow-up: it is decided on the evolved
    state, and its events belong to the same record.
    """

    __slots__ = ("_epoch", "_next", "_shard", "add", "answers", "events", "follow_ups")

    def __init__(self, state: State) -> None:
        self.events: list[AnyEvent] = []
        #: Adds an event.
        self.add: Callable[[AnyEvent], None] = self.events.append
        self.answers: Sequence[Answer] = ()
        self.follow_ups: Sequence[FollowUp] = ()
        self._shard = state.shard
        self._epoch = state.epoch
        self._next = state.seq + 1

    def answer(self, answer: Answer) -> None:
        self.answers = (*self.answers, answer)

    def then(self, follow_up: FollowUp) -> None:
        """Decide this next, once the events so far have been applied."""
        self.follow_ups = (*self.follow_ups, follow_up)

    def order_id(self) -> str:
        """The id of an order that the next event creates."""
        return ids.order_id(self._shard, self._epoch, self._next + len(self.events))

    def venue_id(self, leg: int = 0) -> str:
        """The venue client order id for leg number `leg` of the next event."""
        return ids.venue_cl_ord_id(self._shard, self._epoch, self._next + len(self.events), leg)


#: A further step: reads the evolved state, adds to a new Decision.
FollowUp = Callable[[State, int, MarketView, Decision], None]
