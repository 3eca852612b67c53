"""Old records stay readable: upcasters lift a command or event from an old tag to the next one.

The first version of a type has its plain name as tag, later ones "Name@2", "Name@3" and so on. When a type
changes, its tag moves on and an upcaster from the tag before is registered here. The bytes on the disk, and
so their hashes, are never rewritten: a record is lifted each time it is read.

A new field at the end with a default needs no version. A changed part without a tag of its own (a child
order, a venue report) counts as a change of the command or event that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from qtinfra.core.commands import (
    AnyCommand,
    RecordVenueReport,
    RecordVenueReports,
    SubmitList,
    SubmitOrder,
)
from qtinfra.core.events import AnyEvent, ChildAcked, Entry, OrderAccepted, OrderFilled
from qtinfra.core.exceptions import JournalError
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.ports import Happened
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.journal.codec import command_in

#: Lifts one command or event, as a list whose first item is its tag, to the next version.
Upcaster = Callable[[list[object]], list[object]]
Upcasters = Mapping[str, Upcaster]


def _terms_in_their_command(item: list[object]) -> list[object]:
    """An acceptance had the terms of its command as fields of its own."""
    order_id, terms, (ts_ns, *rest) = item[1], item[2:14], item[14:]
    special, reference, algo = (*rest, None, None, None)[:3]
    asked = ["SubmitOrder", *terms, False, special, algo]
    return ["OrderAccepted@2", order_id, asked, ts_ns, special, reference, algo]


def _ack_in_its_report(item: list[object]) -> list[object]:
    """An acknowledgement had what it needed of its report as fields of its own."""
    _, venue, seq, child_id, order_id, venue_order_id, first, ts_ns = item
    report = ["ACK", venue, child_id, seq, "", "", "", venue_order_id]
    return ["ChildAcked@2", report, child_id, order_id, first, ts_ns]


def _fill_in_its_report(item: list[object]) -> list[object]:
    """An execution had what it needed of its report, and account, symbol and side of its order, as fields of
    its own.
    """
    _, venue, seq, child_id, order_id, _, _, _, key, exec_id, trade_date, qty, px, liquidity, *ours = item
    fee, ahead, late, ts_ns, *commission = ours
    report = [
        "FILL", venue, child_id, seq, "", trade_date, "", "", exec_id, "", qty, px, None, None, False,
        liquidity, ahead,
    ]  # fmt: skip
    return ["OrderFilled@2", report, child_id, order_id, key, trade_date, fee, late, ts_ns, *commission]


def _legs_of_two_kinds(item: list[object]) -> list[object]:
    """A routing always said the touch, and its legs were of one kind."""
    _, order_id, legs, reason, bid, ask, ts_ns = item
    children = [["child", *leg] for leg in legs] if isinstance(legs, list) else legs
    return ["OrderRouted@2", order_id, children, reason, ts_ns, [bid, ask]]


#: Old tag -> its upcaster.
UPCASTERS: dict[str, Upcaster] = {
    "OrderAccepted": _terms_in_their_command,
    "ChildAcked": _ack_in_its_report,
    "OrderFilled": _fill_in_its_report,
    "OrderRouted": _legs_of_two_kinds,
}


class WrittenEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An `Entry` as it is written: None stands for a command that its events have in them."""

    shard: int
    epoch: int
    seq: int
    ts_ns: int
    received_ns: int
    actor: str
    correlation_id: str
    command: AnyCommand | None
    market: tuple[ConsolidatedBook, ...]
    events: tuple[AnyEvent, ...]

    def entry(self) -> Entry:
        """The whole entry.

        Raises:
            JournalError: code `journal_version`: no command is written, and no event has one in it.
        """
        command = self.command if self.command is not None else command_in(self.events)
        if command is None:
            raise _unreadable("it has no command")
        return Entry(
            self.shard, self.epoch, self.seq, self.ts_ns, self.received_ns, self.actor, self.correlation_id,
            command, self.market, self.events,
        )  # fmt: skip


_COMMAND = 7
_EVENTS = 9
_MAX_STEPS = 64
_DECODER = msgspec.msgpack.Decoder(WrittenEntry)
_EVENTS_ONLY = msgspec.msgpack.Decoder(Happened)


def decode_entry(data: bytes, upcasters: Upcasters = UPCASTERS) -> Entry:
    """Read an entry; older versions of its command and events are lifted to today's.

    Raises:
        JournalError: code `journal_version`: no version of ours describes these bytes.
    """
    try:
        return _DECODER.decode(data).entry()
    except msgspec.ValidationError:
        return _decode_old(data, upcasters)
    except msgspec.DecodeError as error:
        raise _unreadable(str(error)) from error


def decode_happened(data: bytes, upcasters: Upcasters = UPCASTERS) -> Happened | Entry:
    """As `decode_entry`, the events only, unless some of them are of an older version.

    Raises:
        JournalError: as `decode_entry`.
    """
    try:
        return _EVENTS_ONLY.decode(data)
    except msgspec.ValidationError:
        return _decode_old(data, upcasters)
    except msgspec.DecodeError as error:
        raise _unreadable(str(error)) from error


def _decode_old(data: bytes, upcasters: Upcasters) -> Entry:
    raw = msgspec.msgpack.decode(data)
    if not isinstance(raw, list) or len(raw) <= _EVENTS or not isinstance(raw[_EVENTS], list):
        raise _unreadable("not an entry")
    raw[_COMMAND] = upcast(raw[_COMMAND], upcasters)
    raw[_EVENTS] = [upcast(event, upcasters) for event in raw[_EVENTS]]
    try:
        return _with_its_reports(_with_its_command(msgspec.convert(raw, WrittenEntry).entry()))
    except msgspec.ValidationError as error:
        raise _unreadable(str(error)) from error


def _with_its_command(entry: Entry) -> Entry:
    """An old acceptance says the terms only; the command of its record, which has them too, has the rest."""
    said = entry.command.orders if isinstance(entry.command, SubmitList) else (entry.command,)
    asked = {one.cl_ord_id: one for one in said if isinstance(one, SubmitOrder)}
    events = [
        msgspec.structs.replace(event, command=asked[event.cl_ord_id])
        if isinstance(event, OrderAccepted) and event.cl_ord_id in asked
        else event
        for event in entry.events
    ]
    return msgspec.structs.replace(entry, events=tuple(events))


def _with_its_reports(entry: Entry) -> Entry:
    """Old acknowledgements and executions say the most of their reports; the command of their record has them
    whole, in the same order.
    """
    command = entry.command
    if not isinstance(command, RecordVenueReport | RecordVenueReports):
        return entry
    told = iter((command.report,) if isinstance(command, RecordVenueReport) else command.reports)
    events = [
        msgspec.structs.replace(event, report=_first_alike(told, event.report))
        if isinstance(event, ChildAcked | OrderFilled)
        else event
        for event in entry.events
    ]
    return msgspec.structs.replace(entry, events=tuple(events))


def _first_alike(told: Iterator[VenueReport], said: VenueReport) -> VenueReport:
    """The first of the reports that says what is known of one; without such a one just that."""
    return next((report for report in told if _facts(report) == _facts(said)), said)


def _facts(report: VenueReport) -> tuple[object, ...]:
    """What an old event said of its report, numbers by their digits."""
    whose = report.kind, report.venue, report.seq
    if report.kind is not ReportKind.FILL:
        return *whose, report.venue_order_id
    numbers = str(report.qty), str(report.px), str(report.queue_ahead)
    return *whose, report.exec_id, report.liquidity, *numbers


def upcast(item: object, upcasters: Upcasters) -> object:
    """Lift one command or event, as decoded to plain lists, until no upcaster knows its tag.

    Raises:
        JournalError: the registered upcasters run in a circle.
    """
    for _ in range(_MAX_STEPS):
        if not isinstance(item, list) or not item or not isinstance(item[0], str):
            return item
        step = upcasters.get(item[0])
        if step is None:
            return item
        item = step(item)
    raise _unreadable("its upcasters do not come to an end")


def _unreadable(why: str) -> JournalError:
    return JournalError(f"cannot read the record: {why}", code="journal_version")
