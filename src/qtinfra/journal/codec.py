"""What the bytes of a journal mean: records, the hash chain over them, and frames.

A record is the canonical MessagePack form of one `Entry` and a SHA-256 hash over the hash before it and those
bytes; the first follows 32 zero bytes. The chain runs over records, so it does not depend on how they were
grouped into frames. A frame holds the records of one durable append:

    b"QTJ1"  MessagePack [[shard, epoch, first_seq, last_seq, prev_hash], [[entry, hash], ...]]

An entry is written field by field, with one exception: None stands in place of a command that its events have
in them, to the last digit (`command_in`): a new order in its acceptance, or venues' reports in the
acknowledgements and executions that they led to.

Every frame has exactly one written form; `decode_frame` refuses any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from operator import is_
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import astuple

from qtinfra.core.commands import AnyCommand, RecordVenueReport, RecordVenueReports, SubmitOrders
from qtinfra.core.events import AnyEvent, ChildAcked, Entry, OrderAccepted, OrderFilled
from qtinfra.core.exceptions import JournalCorruptError, JournalError
from qtinfra.core.market import ConsolidatedBook
from qtinfra.core.ports import Snapshot
from qtinfra.core.reports import VenueReport

FRAME_MAGIC = b"QTJ1"
SNAPSHOT_MAGIC = b"QTS1"
_MAGIC_BYTES = 4
HASH_BYTES = 32
#: The hash before the first record.
GENESIS = bytes(HASH_BYTES)

#: Entry bytes and the chain's hash after them.
Record = tuple[bytes, bytes]

#: A frame in its written form, as it was read or in the buffer that it was written into; nobody changes it.
Blob = bytes | bytearray

_MALFORMED = "not a frame in its written form"


class FrameHeader(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a frame says of itself. `first_seq`, `last_seq` count events; `prev_hash` is the chain before."""

    shard: int
    epoch: int
    first_seq: int
    last_seq: int
    prev_hash: bytes


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The records of one durable append."""

    header: FrameHeader
    records: list[Record]

    @property
    def last_hash(self) -> bytes:
        """The chain's hash after the last record."""
        return self.records[-1][1] if self.records else self.header.prev_hash


class SealedFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame that is ready to be written: the records are in the blob only."""

    header: FrameHeader
    last_hash: bytes
    blob: Blob


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as stored and as read: the original bytes, the chain's hash there, and the entry."""

    entry_bytes: bytes
    hash: bytes
    entry: Entry


class Outline(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of an entry that places it in the journal; the same in every version of its contents."""

    shard: int
    epoch: int
    seq: int
    ts_ns: int
    received_ns: int
    actor: str
    correlation_id: str
    command: msgspec.Raw
    market: msgspec.Raw
    events: list[msgspec.Raw]

    @property
    def last_seq(self) -> int:
        return self.seq + len(self.events) - 1


class FrameError(ValueError):
    """The bytes are not a frame, or not in a frame's one written form."""


class Placed(Protocol):
    """Something that was read from a record and says where the record stands."""

    @property
    def shard(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def last_seq(self) -> int: ...


P = TypeVar("P", bound=Placed)

_ENCODER = msgspec.msgpack.Encoder()
_FRAMES = msgspec.msgpack.Decoder(Frame)
_OUTLINES = msgspec.msgpack.Decoder(Outline)
_SNAPSHOTS = msgspec.msgpack.Decoder(tuple[int, int, bytes, bytes])

_encode_into = _ENCODER.encode_into

#: More than a record takes beside its entry's bytes, or a frame beside its records: hash, numbers, heads.
_BESIDE = 128


#: In place of a symbol's book that was never written.
_NOT_WRITTEN: tuple[ConsolidatedBook | None, tuple[msgspec.Raw, ...]] = (None, ())


class WrittenBooks:
    """The written form of the book that was written last for each symbol: the next order often saw the same.

    Books are immutable, so the same object has the same bytes; another one is written anew.

    Attributes:
        known: by symbol, a book and what is written for an entry that saw this book alone.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self.known: dict[str, tuple[ConsolidatedBook, tuple[msgspec.Raw]]] = {}

    def add(self, book: ConsolidatedBook) -> tuple[msgspec.Raw]:
        """Write a book that is not `known` and remember it."""
        if len(self.known) >= self._most:
            self.known.clear()
        written = (msgspec.Raw(_ENCODER.encode(book)),)
        self.known[book.symbol] = (book, written)
        return written

    def written(self, market: Sequence[ConsolidatedBook]) -> tuple[msgspec.Raw, ...]:
        """What is written for a record that saw several books."""
        known, written = self.known, list[msgspec.Raw]()
        for book in market:
            seen, alone = known.get(book.symbol, _NOT_WRITTEN)
            written += alone if seen is book else self.add(book)
        return tuple(written)


def chain_hash(prev_hash: bytes, entry_bytes: bytes) -> bytes:
    """SHA-256 over the hash before and the entry's bytes."""
    return sha256(prev_hash + entry_bytes).digest()


def _linked(digest: bytes, bodies: Sequence[bytes]) -> list[Record]:
    """Written entries, each with the chain's hash after it (`chain_hash`); `digest` is the one before them.

    A loop of its own: when hashing and writing take turns, each finds the other's machine code in the
    processor's instruction cache, for every record of a frame.
    """
    records: list[Record] = []
    for body in bodies:
        link = sha256(digest)
        link.update(body)
        digest = link.digest()
        records.append((body, digest))
    return records


def encode_entry(entry: Entry) -> bytes:
    """The written form of an entry: its fields, with None for a command that its events have in them;
    `versions.decode_entry` reads it.
    """
    *placed, command, market, events = astuple(entry)
    if _stands_in(events, command):
        command = None
    return _ENCODER.encode((*placed, command, market, events))


def command_in(events: Sequence[AnyEvent]) -> AnyCommand | None:
    """The command of a record as far as its events have one in them: the new order that was accepted, or the
    reports of acknowledgements and executions, in their order; one alone came alone.
    """
    for event in events:
        if type(event) is OrderAccepted:
            return event.command
    reports = _reports_in(events)
    if len(reports) > 1:
        return RecordVenueReports(tuple(reports))
    return RecordVenueReport(reports[0]) if reports else None


def _reports_in(events: Sequence[AnyEvent]) -> list[VenueReport]:
    """The reports that events hold, in their order. Mostly each event has one."""
    try:
        return [event.report for event in events]  # type: ignore[union-attr]
    except AttributeError:
        return [event.report for event in events if type(event) is ChildAcked or type(event) is OrderFilled]


def _stands_in(events: Sequence[AnyEvent], command: AnyCommand) -> bool:
    """Whether `command_in` the events is the command, as it is written: mostly they are the same objects.

    The command of a run says of its orders what no event says, and so is written.
    """
    if type(command) is SubmitOrders:
        return False
    if events and type(first := events[0]) is OrderAccepted:
        return first.command is command or _alike(first.command, command)
    if type(command) is RecordVenueReports and len(command.reports) > 1:
        reports = command.reports
    elif type(command) is RecordVenueReport:
        reports = (command.report,)
    else:
        return False
    if _each_holds(events, reports):
        return True
    found = _reports_in(events)
    return len(found) == len(reports) and (all(map(is_, found, reports)) or _alike(tuple(found), reports))


def _each_holds(events: Sequence[AnyEvent], reports: Sequence[VenueReport]) -> bool:
    """Whether there is an event for each report, in their order, that holds this very object: mostly so."""
    if len(events) != len(reports):
        return False
    try:
        for event, report in zip(events, reports, strict=True):
            if event.report is not report:  # type: ignore[union-attr]
                return False
    except AttributeError:
        return False
    return True


def _alike(one: object, other: object) -> bool:
    """Whether two things are written alike, to the last digit."""
    return _ENCODER.encode(one) == _ENCODER.encode(other)


def outline(entry_bytes: bytes) -> Outline:
    """Where an entry stands, without reading its contents.

    Raises:
        msgspec.DecodeError: the bytes are not an entry.
    """
    return _OUTLINES.decode(entry_bytes)


def encode_frame(frame: Frame, size: int = 0) -> bytearray:
    """The frame's written form.

    Args:
        size: how long it will be, where that is known. The buffer has room from the start for what it will
            hold at most: one that grows is copied as it does.
    """
    blob = bytearray(size or sum([len(body) + _BESIDE for body, _ in frame.records], _BESIDE))
    blob[:_MAGIC_BYTES] = FRAME_MAGIC
    _encode_into(frame, blob, _MAGIC_BYTES)
    return blob


def decode_frame(blob: Blob) -> Frame:
    """Read a frame. Says nothing of its hashes: `Chain.check_frame` does.

    Raises:
        FrameError: another magic, damaged, or written in another form than `encode_frame` writes.
    """
    if blob[:_MAGIC_BYTES] != FRAME_MAGIC:
        raise FrameError(_MALFORMED)
    try:
        frame = _FRAMES.decode(memoryview(blob)[_MAGIC_BYTES:])
    except msgspec.DecodeError as error:
        raise FrameError(_MALFORMED) from error
    if encode_frame(frame, len(blob)) != blob:
        raise FrameError(_MALFORMED)
    return frame


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot's written form: magic, contents, SHA-256 over the contents."""
    body = _ENCODER.encode((snapshot.shard, snapshot.seq, snapshot.chain_hash, snapshot.state))
    return SNAPSHOT_MAGIC + sha256(body).digest() + body


def decode_snapshot(blob: bytes) -> Snapshot | None:
    """Read a snapshot; None when it is damaged in any way."""
    start = len(SNAPSHOT_MAGIC) + HASH_BYTES
    body = blob[start:]
    if blob[:start] != SNAPSHOT_MAGIC + sha256(body).digest():
        return None
    try:
        shard, seq, at, state = _SNAPSHOTS.decode(body)
    except msgspec.DecodeError:
        return None
    return Snapshot(shard, seq, at, state)


class Chain:
    """The moving end of one shard's chain: extends it with new entries, or checks stored records against it.

    Attributes:
        seq: last sequence number; 0 at the beginning.
        hash: hash of the last record; `GENESIS` at the beginning.
        epoch: epoch of the last record; epochs never go down.
    """

    __slots__ = ("epoch", "hash", "seq", "shard")

    def __init__(self, shard: int, *, epoch: int = 0, seq: int = 0, hash: bytes = GENESIS) -> None:
        self.shard = shard
        self.epoch = epoch
        self.seq = seq
        self.hash = hash

    def seal(self, entries: Sequence[Entry], books: WrittenBooks | None = None) -> Frame:
        """Encode and chain new entries of the chain's own epoch; the chain moves to their end.

        Args:
            books: remembers the written form of books from one call to the next.

        Raises:
            JournalError: no entries, another shard or epoch, a gap, or a record without events. The chain
                has not moved.
        """
        if not entries:
            raise JournalError("a frame needs at least one entry")
        bodies, following = self._written(entries, books or WrittenBooks())
        records = _linked(self.hash, bodies)
        header = FrameHeader(self.shard, self.epoch, self.seq + 1, following - 1, self.hash)
        self.seq, self.hash = following - 1, records[-1][1]
        return Frame(header, records)

    def _written(self, entries: Sequence[Entry], books: WrittenBooks) -> tuple[list[bytes], int]:
        """The written forms of entries that follow the chain's end, and the sequence that follows them."""
        shard, epoch, following = self.shard, self.epoch, self.seq + 1
        known, bodies, data = books.known, list[bytes](), bytearray()
        market: tuple[ConsolidatedBook | msgspec.Raw, ...]
        command: AnyCommand | None
        for entry in entries:
            command, market, events = entry.command, entry.market, entry.events
            if entry.seq != following or entry.shard != shard or entry.epoch != epoch or not events:
                raise _misplaced(entry, shard, epoch, following)
            if len(market) == 1:
                book = market[0]
                try:
                    seen, market = known[book.symbol]
                except KeyError:
                    seen = None
                if seen is not book:
                    market = books.add(book)
            elif market:
                market = books.written(market)
            first = events[0]
            if (type(first) is OrderAccepted and first.command is command) or _stands_in(events, command):
                command = None
            # The fields of an `Entry` in their order: written as one, with the remembered bytes of its book.
            _encode_into(
                (
                    shard,
                    epoch,
                    following,
                    entry.ts_ns,
                    entry.received_ns,
                    entry.actor,
                    entry.correlation_id,
                    command,
                    market,
                    events,
                ),
                data,
            )
            bodies.append(b"" + data)  # a copy, for less than a call of `bytes`
            following += len(events)
        return bodies, following

    def check_frame(self, frame: Frame) -> Iterator[tuple[Outline, Record]]:
        """Follow the chain through a stored frame: where each record stands, and the record.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
        """
        return self.read_frame(frame, outline)

    def read_frame(self, frame: Frame, read: Callable[[bytes], P]) -> Iterator[tuple[P, Record]]:
        """As `check_frame`, with what `read` makes of each record in place of its outline.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
            JournalError: `read` does not know the record's version.
        """
        header = frame.header
        if (header.shard, header.first_seq, header.prev_hash) != (self.shard, self.seq + 1, self.hash):
            raise self.broken("the frame does not follow the one before")
        if not frame.records:
            raise self.broken("the frame has no records")
        for record in frame.records:
            place = self._check(record, read)
            if place.epoch != header.epoch:
                raise corrupt(place.seq, "the record has another epoch than its frame")
            yield place, record
        if self.seq != header.last_seq:
            raise corrupt(header.first_seq, "the frame does not end where it says")

    def check(self, record: Record) -> Outline:
        """Check one stored record: its hash, its place, its epoch. The chain moves to its end.

        Raises:
            JournalCorruptError: names the record's first sequence.
        """
        return self._check(record, outline)

    def _check(self, record: Record, read: Callable[[bytes], P]) -> P:
        data, digest = record
        if sha256(self.hash + data).digest() != digest:
            raise self.broken("the hash does not verify")
        try:
            place = read(data)
        except (JournalError, msgspec.DecodeError):
            self._place_unread(data)
            raise
        self._follow(place)
        self.hash = digest
        return place

    def _place_unread(self, data: bytes) -> None:
        """A record that could not be read: where it is out of place, or no entry, that is named instead."""
        try:
            self._follow(outline(data))
        except msgspec.DecodeError as error:
            raise self.broken("the record is not an entry") from error

    def _follow(self, place: Placed) -> None:
        first, last = place.seq, place.last_seq
        if place.shard != self.shard or first != self.seq + 1 or last < first:
            raise self.broken("the record is out of place")
        if place.epoch < self.epoch:
            raise self.broken("the record has an older epoch than the one before")
        self.seq, self.epoch = last, place.epoch

    def broken(self, why: str) -> JournalCorruptError:
        """The error that names the sequence after the last good one."""
        return corrupt(self.seq + 1, why)


def corrupt(seq: int, why: str) -> JournalCorruptError:
    """The journal does not verify from `seq` on."""
    return JournalCorruptError(f"journal corrupt at sequence {seq}: {why}", first_bad_seq=seq)


def _misplaced(entry: Entry, shard: int, epoch: int, seq: int) -> JournalError:
    return JournalError(
        f"entry {entry.seq} of shard {entry.shard}, epoch {entry.epoch}, with {len(entry.events)} events "
        f"cannot be written: sequence {seq} of shard {shard}, epoch {epoch}, is next",
        context={"seq": entry.seq, "expected_seq": seq, "epoch": entry.epoch, "expected_epoch": epoch},
    )
