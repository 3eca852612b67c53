"""Runs: plain new orders of one sender that followed each other and share a record.

Orders that wait together are decided and applied one after the other, each at a moment of its own, and are
journaled in one record (`commands.SubmitOrders`) to have one header and one hash. It says of each order what
the order's record alone would say: whoever reads records by order reads them by `each`.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub

from qtinfra.core.commands import Inbound, SubmitOrders
from qtinfra.core.events import AnyEvent, Entry, OrderAccepted, OrderRouted
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.ports import Happened


def record_of(
    at: tuple[int, int, int, int],
    first: Inbound,
    received: list[int],
    market: tuple[ConsolidatedBook, ...],
    events: tuple[AnyEvent, ...],
) -> Entry:
    """The record of new orders of one sender; one alone has its own command there.

    Args:
        at: shard, epoch, sequence of the first event, and moment of the first decision in UTC nanoseconds.
        first: the first of the orders.
        received: when each was received, UTC nanoseconds.
        market: the one book that each saw; of one alone, whatever it saw.
        events: what they caused, in their order.
    """
    command = first.command
    if len(received) > 1:
        together = received.count(received[0]) == len(received)
        command = SubmitOrders(() if together else tuple(map(sub, received[1:], received)))
    return Entry(*at, first.received_ns, first.actor, first.correlation_id, command, market, events)


def each(entry: Entry) -> Sequence[Entry]:
    """The records that the orders of a run would have alone, in turn; any other record as it is."""
    command, events, received_ns = entry.command, entry.events, entry.received_ns
    if type(command) is not SubmitOrders:
        return (entry,)
    accepted = [(place, event) for place, event in enumerate(events) if isinstance(event, OrderAccepted)]
    if not accepted:  # nothing of ours makes such a record; it says what it says
        return (entry,)
    ends = [*(place for place, _ in accepted[1:]), len(events)]
    waits_ns = (0, *command.waits_ns) if command.waits_ns else (0,) * len(accepted)
    alone: list[Entry] = []
    for (start, first), end, wait_ns, book in zip(accepted, ends, waits_ns, entry.market, strict=False):
        received_ns += wait_ns
        alone.append(
            Entry(
                entry.shard, entry.epoch, entry.seq + start, first.ts_ns, received_ns, entry.actor,
                entry.correlation_id, first.command, (book,), events[start:end],
            )
        )  # fmt: skip
    return alone


def joined(alone: Sequence[Entry]) -> Entry:
    """The record that orders share, from those that they would have alone: the opposite of `each`."""
    first = alone[0]
    if len(alone) == 1:
        return first
    return record_of(
        (first.shard, first.epoch, first.seq, first.ts_ns),
        Inbound(first.command, first.actor, first.correlation_id, first.received_ns),
        [one.received_ns for one in alone],
        tuple(book for one in alone for book in one.market),
        tuple(event for one in alone for event in one.events),
    )


def last_ns(entry: Entry | Happened) -> int:
    """When the last decision of a record was made, UTC nanoseconds: of a run, that of its last order."""
    last = entry.events[-1]
    return last.ts_ns if type(last) is OrderRouted else entry.ts_ns
