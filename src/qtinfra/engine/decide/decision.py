"""The result of deciding, built up event by event, with the ids that the events' sequence numbers give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from qtinfra.core import ids
from qtinfra.core.events import Answer, AnyEvent
from qtinfra.core.market import MarketView
from qtinfra.core.writes import quick_writes
from qtinfra.engine.risk_state import PlainPass
from qtinfra.engine.state import State


@quick_writes
class Decision(msgspec.Struct, gc=False):
    """Events and answers of one step. Ids come from the sequence number of the event to be added next, and
    so are asked for while the state is as it was when the step began.

    A decision that depends on what its own events change is a follow-up: it is decided on the evolved
    state, and its events belong to the same record.

    Attributes:
        passed: of a plain new order, whose OrderAccepted and OrderRouted are the events, or a RouteScored
            between them, nothing else.
    """

    state: State
    events: tuple[AnyEvent, ...] = ()
    answers: Sequence[Answer] = ()
    follow_ups: Sequence[FollowUp] = ()
    passed: PlainPass | None = None

    def add(self, event: AnyEvent) -> None:
        self.events += (event,)

    def answer(self, answer: Answer) -> None:
        self.answers = (*self.answers, answer)

    def then(self, follow_up: FollowUp) -> None:
        """Decide this next, once the events so far have been applied."""
        self.follow_ups = (*self.follow_ups, follow_up)

    def order_id(self) -> str:
        """The id of an order that the next event creates."""
        state = self.state
        return ids.order_id(state.shard, state.epoch, state.seq + 1 + len(self.events))

    def venue_id(self, leg: int = 0) -> str:
        """The venue client order id for leg number `leg` of the next event."""
        state = self.state
        return ids.venue_cl_ord_id(state.shard, state.epoch, state.seq + 1 + len(self.events), leg)


#: A further step: reads the evolved state, adds to a new Decision.
FollowUp = Callable[[State, int, MarketView, Decision], None]
