"""A whole order path in one process: bytes in, bytes out, durable in between.

Each turn is one frame: new orders from bytes, and what the venues have said since the frame before. What the
frame decides is appended to the journal, and only then do messages reach the venues and replies their
clients. An order is through after two turns; with a thread for the disk, which syncs one frame while the next
is computed as the live shard does, after four.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future

import msgspec

from qtinfra.bench.mix import Mix, StandingMarket, resting_orders, setup_commands, standing_market
from qtinfra.bench.street import ScriptedStreet, Street
from qtinfra.core.commands import MAX_REPORTS, AnyCommand, Inbound, RecordVenueReports, SubmitOrder
from qtinfra.core.events import Entry, OrderAccepted, OrderFilled, OrderRejected
from qtinfra.core.ports import Clock, Happened, Head, Journal
from qtinfra.core.reports import ExecutionReport, OrderCancelReject, ToVenue, VenueNewOrder, VenueReport
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State
from qtinfra.infra.heap import LongLivedHeap
from qtinfra.runtime.inbox import VENUES, Item
from qtinfra.runtime.loop import Frame, ShardLoop

_ENCODER = msgspec.json.Encoder()
encode_reply = _ENCODER.encode


class Tally(msgspec.Struct):
    """What went through a desk: orders in, what became of them, events, and bytes of replies."""

    orders: int = 0
    refused: int = 0
    fills: int = 0
    events: int = 0
    replies: int = 0
    reply_bytes: int = 0

    def send(self, replies: list[bytes]) -> None:
        """Count the replies that have left, and let them go."""
        self.replies += len(replies)
        self.reply_bytes += sum(map(len, replies))
        replies.clear()

    def read(self, records: Iterable[Happened | Entry]) -> None:
        """Count what records say has happened."""
        kinds = Counter(type(event) for record in records for event in record.events)
        self.events += kinds.total()
        self.fills += kinds[OrderFilled]
        self.refused += kinds[OrderRejected]
        self.orders += kinds[OrderAccepted] + kinds[OrderRejected]


class Desk:
    """One shard between clients' bytes and venues.

    Args:
        mix: who trades what.
        journal: open for writing and empty.
        clock: UTC nanoseconds.
        street: the venues.
        epoch: of the journal's owner.
        disk: where a sealed frame is written while the next one is computed; None writes it in the caller's
            thread.
        reports_per_record: how many of the venues' reports share a record at most.
    """

    def __init__(
        self,
        mix: Mix,
        journal: Journal,
        clock: Clock,
        street: Street,
        *,
        epoch: int,
        market: StandingMarket | None = None,
        disk: Executor | None = None,
        reports_per_record: int = MAX_REPORTS,
    ) -> None:
        self.mix = mix
        self.replies: list[bytes] = []
        self.frames = 0
        self._street = street
        self._clock = clock
        self._heard: list[VenueReport] = []
        self._disk = disk
        self._reports_per_record = reports_per_record
        self._heap = LongLivedHeap()
        self._syncing: tuple[Frame[None], Future[Head]] | None = None
        self.loop: ShardLoop[None] = ShardLoop(
            Kernel(State()), journal, clock, market or standing_market(mix)
        )
        self.decide(setup_commands(mix, epoch), "bench")

    @property
    def state(self) -> State:
        return self.loop.kernel.state

    def decide(self, commands: Iterable[AnyCommand], actor: str) -> Frame[None]:
        """Have commands decided as one frame; what leaves, leaves when it is durable."""
        received_ns = self._clock.now_ns()
        return self._frame([(Inbound(command, actor, "", received_ns), None) for command in commands])

    def turn(self, messages: Sequence[bytes]) -> Frame[None]:
        """One frame: what the venues said since the last one, joined as in a live shard, then new orders."""
        received_ns = self._clock.now_ns()
        heard, self._heard, each = self._heard, [], self._reports_per_record
        items: list[Item[None]] = [
            (Inbound(RecordVenueReports(tuple(heard[at : at + each])), VENUES, "", received_ns), None)
            for at in range(0, len(heard), each)
        ]
        items += [(Inbound(parse_new_order(data), "client", "", received_ns), None) for data in messages]
        return self._frame(items)

    def settle(self) -> list[Frame[None]]:
        """Turns without new orders until nothing is under way any more; their frames."""
        frames: list[Frame[None]] = []
        while self._heard or self._syncing is not None:
            frames.append(self.turn(()))
        return frames

    def _frame(self, items: list[Item[None]]) -> Frame[None]:
        frame = self.loop.compute(items)
        if frame.stopped is not None:
            raise frame.stopped
        self.frames += 1
        self._heap.note(len(frame.results))
        if self._disk is None:
            self.loop.append(frame)
            self._release(frame)
            return frame
        before, self._syncing = self._syncing, None
        if before is not None:
            before[1].result()
        if frame.entries:
            # encoded here, as in the live shard: two threads would compete for the interpreter
            self._syncing = (frame, self._disk.submit(self.loop.journal.seal(frame.entries)))
        if before is not None:
            self._release(before[0])
        return frame

    def _release(self, frame: Frame[None]) -> None:
        """Encode a durable frame's replies, and hand its messages to the venues."""
        replies, heard, send, now_ns = self.replies, self._heard, self._street.send, self._clock.now_ns()
        encode_into, written = _ENCODER.encode_into, bytearray()  # a buffer that has grown to their size
        for effect in frame.effects():
            if type(effect) is ExecutionReport or type(effect) is OrderCancelReject:
                encode_into(effect, written)
                replies.append(b"" + written)  # a copy, for less than a call of `bytes`
            elif type(effect) is VenueNewOrder or isinstance(effect, ToVenue):
                heard += send(effect, now_ns)


def open_orders(desk: Desk, count: int, batch: int = 256) -> None:
    """Let so many orders rest in the market."""
    waiting: list[SubmitOrder] = []
    for order in resting_orders(desk.mix, count):
        waiting.append(order)
        if len(waiting) == batch:
            desk.decide(waiting, "client")
            waiting = []
    desk.decide(waiting, "client")
    desk.settle()
    desk.replies.clear()


def rest(street: ScriptedStreet, desk: Desk, count: int) -> None:
    """`open_orders` on a street that fills by script."""
    street.resting = True
    open_orders(desk, count)
    street.resting = False
