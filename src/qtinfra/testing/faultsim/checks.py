"""What must hold, computed beside the engine: from the durable bytes and from the venues' own record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from struct import Struct
from zlib import crc32

from qtinfra.core.decimals import ZERO
from qtinfra.core.events import CommandQuarantined, Entry
from qtinfra.core.exceptions import JournalCorruptError
from qtinfra.core.models import Child, ChildStatus, signed
from qtinfra.core.reports import (
    NO_ORDER,
    ExecutionReport,
    OrderCancelReject,
    ToVenue,
    VenueCancel,
    VenueMassStatusRequest,
    VenueNewOrder,
    VenueReplace,
)
from qtinfra.core.runs import last_ns
from qtinfra.engine.audit import audit, audit_order
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State
from qtinfra.journal.codec import Chain, FrameError, decode_frame, encode_entry
from qtinfra.journal.versions import UPCASTERS, decode_entry
from qtinfra.runtime.recovery import UNFIT
from qtinfra.testing.faultsim.disk import FaultDisk
from qtinfra.venues.simulated.matching import OrderRecord

_HEADER = Struct(">II")
_AUDIT_EVERY = 48
#: FIX execution types that answer a cancel or a replace.
_ON_REQUEST = ("5", "6", "E")


class Durable:
    """What the disk would give back after a power cut, read from its bytes as they become durable.

    It verifies the chain, replays every record into a state of its own and audits what the record touched.

    Attributes:
        state: after the last durable record. records: the bytes of each, by first sequence.
        found: violations. events: how many events were seen.
    """

    def __init__(self, disk: FaultDisk, path: Path) -> None:
        self.state = State()
        self.records: dict[int, bytes] = {}
        self.found: list[str] = []
        self.quarantined: list[CommandQuarantined] = []
        self.events = 0
        self._disk = disk
        self._path = path
        self._offset = 0
        self._chain = Chain(0)
        self._last_ns = 0
        self._since_audit = 0

    @property
    def seq(self) -> int:
        return self._chain.seq

    @property
    def hash(self) -> bytes:
        return self._chain.hash

    def follow(self, path: Path) -> None:
        """Read what has become durable of the journal; other files are passed over."""
        if path == self._path and not self.found:
            try:
                self._follow()
            except (JournalCorruptError, FrameError) as error:
                self.found.append(f"the durable journal is broken: {error}")

    def _follow(self) -> None:
        if self._disk.durable_size(self._path) < self._offset:
            self.found.append("durable bytes of the journal were cut off")
            return
        tail = self._disk.durable_bytes(self._path, self._offset)
        at = 0
        while len(tail) - at >= _HEADER.size:
            length, crc = _HEADER.unpack_from(tail, at)
            blob = tail[at + _HEADER.size : at + _HEADER.size + length]
            if not length or len(blob) < length or crc32(blob) != crc:
                break
            for _, record in self._chain.check_frame(decode_frame(blob)):
                self._take(record[0])
            at += _HEADER.size + length
            self._offset += _HEADER.size + length

    def _take(self, data: bytes) -> None:
        entry = decode_entry(data, UPCASTERS)
        self.records[entry.seq] = data
        self.events += len(entry.events)
        if entry.ts_ns < self._last_ns:
            self.found.append(f"record {entry.seq} is dated before the one before it")
        self._last_ns = last_ns(entry)
        try:
            replay(self.state, entry)
        except UNFIT as error:
            self.found.append(f"record {entry.seq} does not apply: {error!r}")
            return
        self._audit(entry)

    def _audit(self, entry: Entry) -> None:
        state = self.state
        touched: dict[str, None] = {}
        for event in entry.events:
            if isinstance(event, CommandQuarantined):
                self.quarantined.append(event)
            order_id = getattr(event, "order_id", "")
            if order_id in state.orders:
                touched[order_id] = None
        for order_id in touched:
            broken = audit_order(state, state.orders[order_id])
            self.found += [f"order {order_id} at {entry.seq}: {text}" for text in broken]
        self._since_audit += 1
        if self._since_audit >= _AUDIT_EVERY:
            self.audit()

    def audit(self) -> None:
        """Every invariant of the whole state."""
        self._since_audit = 0
        self.found += [f"at {self.state.seq}: {text}" for text in audit(self.state)]

    # --- what leaves --------------------------------------------------------------------------------------

    def holds(self, entry: Entry | None, depends_on: int) -> str:
        """Why an answer may not leave; empty when all that it rests on is durable."""
        if depends_on > self.seq:
            return f"answer rests on sequence {depends_on}, durable is {self.seq}"
        if entry is not None and self.records.get(entry.seq) != encode_entry(entry):
            return f"record {entry.seq} was acknowledged, the journal has another one there"
        return ""

    def covers_report(self, report: ExecutionReport | OrderCancelReject) -> str:
        """Why a client's report may not leave."""
        if report.order_id == NO_ORDER:
            return ""
        order = self.state.orders.get(report.order_id)
        if order is None:
            return f"client is told of order {report.order_id}, which is not durable"
        if isinstance(report, ExecutionReport):
            if report.exec_type == "F" and not any(
                self.state.executions[key].exec_id == report.exec_id for key in order.executions
            ):
                return f"client is told of execution {report.exec_id}, which is not durable"
            if report.exec_type == "4" and order.closed is None:
                return f"client is told that {report.order_id} is cancelled, durably it is open"
        known = self.state.client_ids.get(report.account, {})
        asked = isinstance(report, ExecutionReport) and report.exec_type in _ON_REQUEST
        if asked and report.cl_ord_id not in known:
            return f"client is told of request {report.cl_ord_id}, which is not durable"
        return ""

    def covers_message(self, message: ToVenue) -> str:
        """Why a message to a venue may not leave: its intent has to be durable."""
        state = self.state
        if isinstance(message, VenueNewOrder):
            known = message.cl_ord_id in state.children
        elif isinstance(message, VenueCancel | VenueReplace):
            known = message.cl_ord_id in state.venue_ids
        else:
            known = isinstance(message, VenueMassStatusRequest) or message.cl_ord_id in state.venue_ids
        return "" if known else f"{type(message).__name__} {message.cl_ord_id} left without durable intent"


# --- engine against venues -------------------------------------------------------------------------------

Records = Mapping[str, Sequence[OrderRecord]]


def compare(state: State, venues: Records) -> Iterator[str]:
    """Every disagreement between the engine and the venues' own record when nothing is under way."""
    for mic, records in venues.items():
        for record in records:
            yield from _order(state, mic, record)
    yield from _children(state, venues)
    yield from _executions(state, venues)
    yield from _positions(state, venues)


def _order(state: State, mic: str, record: OrderRecord) -> Iterator[str]:
    child = state.children.get(record.cl_ord_ids[0])
    if child is None or child.venue != mic:
        yield f"{mic} has order {record.cl_ord_ids[0]}, which the journal does not know"
        return
    if record.rejected:
        if child.working or child.cum:
            yield f"child {child.child_id} is {child.status}, {mic} rejected it"
        return
    ours = (_works(state, child), child.cum, child.leaves)
    theirs = (record.live, record.cum_qty, record.leaves_qty)
    if ours != theirs:
        yield f"child {child.child_id}: live, cum, leaves are {_said(ours)}, at {mic} {_said(theirs)}"
    if record.live and (child.qty, child.price) != (record.qty, record.price):
        yield f"child {child.child_id} is {child.qty}@{child.price}, at {mic} {record.qty}@{record.price}"


def _works(state: State, child: Child) -> bool:
    """Whether a venue may still execute the child. One that is executed in full when its order ends by a bust
    may keep a request without an answer; nothing of it is left to execute, and nobody asks again."""
    return child.working and (child.leaves > ZERO or state.orders[child.order_id].closed is None)


def _said(values: tuple[bool, Decimal, Decimal]) -> str:
    return f"({values[0]}, {values[1]}, {values[2]})"


def _children(state: State, venues: Records) -> Iterator[str]:
    there = {record.cl_ord_ids[0] for records in venues.values() for record in records}
    for child in state.children.values():
        if child.status is ChildStatus.NOT_RECEIVED and child.child_id in there:
            yield f"child {child.child_id} counts as never received, the venue has it"
        if not _works(state, child):
            continue
        if child.child_id not in there:
            yield f"child {child.child_id} is {child.status}, no venue has it"
        if child.status in (ChildStatus.SENT, ChildStatus.UNKNOWN):
            yield f"child {child.child_id} stays {child.status}"
        if child.cancel_id:
            yield f"child {child.child_id} waits for ever for the answer to {child.cancel_id}"


def _executions(state: State, venues: Records) -> Iterator[str]:
    busted = {(mic, e.exec_id): e.busted for mic, rs in venues.items() for r in rs for e in r.executions}
    theirs = {
        (mic, e.exec_id): (r.cl_ord_ids[0], e.qty, e.px)
        for mic, rs in venues.items()
        for r in rs
        for e in r.executions
    }
    ours: dict[tuple[str, str], tuple[str, Decimal, Decimal]] = {}
    for execution in state.executions.values():
        key = (execution.venue, execution.exec_id)
        if key in ours:
            yield f"execution {key} is booked twice"
        ours[key] = (execution.child_id, execution.qty, execution.px)
        if (execution.state == "BUSTED") != busted.get(key, False):
            yield f"execution {key} is {execution.state}, busted at the venue: {busted.get(key)}"
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in ours or key not in theirs:
            yield f"execution {key}: booked {ours.get(key)}, the venue has {theirs.get(key)}"
        elif not busted[key] and ours[key] != theirs[key]:
            yield f"execution {key}: booked {ours[key]}, the venue has {theirs[key]}"


def _positions(state: State, venues: Records) -> Iterator[str]:
    """Positions and averages, from the venues' executions alone."""
    positions: dict[tuple[str, str], Decimal] = {}
    values: dict[str, list[Decimal]] = {}
    for records in venues.values():
        for record in records:
            child = state.children.get(record.cl_ord_ids[0])
            if child is None:
                continue
            key = (state.orders[child.order_id].account, record.symbol)
            positions[key] = positions.get(key, ZERO) + signed(record.side, record.cum_qty)
            sums = values.setdefault(child.order_id, [ZERO, ZERO])
            for execution in record.executions:
                if not execution.busted:
                    sums[0] += execution.qty
                    sums[1] += execution.qty * execution.px
    for key, qty in positions.items():
        if state.net_position(*key) != qty:
            yield f"position of {key} is {state.net_position(*key)}, the venues' executions make {qty}"
    for order_id, (qty, value) in values.items():
        order = state.orders[order_id]
        if (order.cum_qty, order.notional) != (qty, value):
            yield f"order {order_id}: {order.cum_qty} worth {order.notional}, executed {qty} worth {value}"


def unsettled(state: State) -> list[str]:
    """What still waits for an answer from a venue, in words."""
    found = []
    for order_id in state.open_orders:
        order = state.orders[order_id]
        for child in state.working_children(order):
            if _waits(child):
                found.append(f"child {child.child_id} is {child.status}")
        if order.pending_cancel is not None or order.pending_replace is not None or order.queued:
            found.append(f"order {order.cl_ord_id} is {order.status}")
    return found


def _waits(child: Child) -> bool:
    return child.status is not ChildStatus.LIVE or bool(child.cancel_id or child.replace_id)
