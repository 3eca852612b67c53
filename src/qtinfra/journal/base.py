"""What all journals of frames do alike: appending, walking the chain, snapshots. Adapters only keep bytes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, Protocol

import msgspec

from qtinfra.core.events import Entry
from qtinfra.core.exceptions import FencedError, JournalCorruptError, JournalError
from qtinfra.core.ports import Happened, Head, Snapshot
from qtinfra.journal.codec import (
    GENESIS,
    Chain,
    Frame,
    FrameError,
    FrameHeader,
    Outline,
    P,
    Record,
    SealedFrame,
    StoredRecord,
    WrittenBooks,
    corrupt,
    decode_frame,
    decode_snapshot,
    encode_frame,
    encode_snapshot,
    outline,
)
from qtinfra.journal.reserve import Reserve
from qtinfra.journal.versions import UPCASTERS, Upcasters, decode_entry, decode_happened

#: How much an opening verifies: every record, or those since the newest intact snapshot.
Verify = Literal["full", "tail"]

#: Older snapshots are dropped when a new one is saved.
KEPT_SNAPSHOTS = 3


class Follower(Protocol):
    """Takes in what an opening verifies, so that who needs the records need not read them again."""

    def begin(self, snapshot: Snapshot | None) -> bool:
        """Whether it wants the records after this snapshot, which lies on the chain; None: all records."""
        ...

    def take(self, entry: Happened | Entry) -> None:
        """A record that has been verified."""
        ...

    def end(self) -> None:
        """All of the chain has been verified. What this raises ends the opening."""
        ...


class StoredFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame's blob, and what the store says of it beside the blob, if it says anything."""

    blob: bytes
    header: FrameHeader | None = None
    hash: bytes = b""


def holder_note(owner: str) -> str:
    """What a lock file says: the process, and the owner's name if it has one."""
    return f"pid {os.getpid()} {owner}".rstrip()


class FrameJournal(ABC):
    """One shard's journal, open for writing by one owner or for reading by anybody.

    Implements `core.ports.Journal`. Not for concurrent calls; any thread may make them.

    Attributes:
        recovered: what an opening had to repair (a torn tail), in words; None when nothing.
    """

    def __init__(self, shard: int, *, writable: bool, upcasters: Upcasters = UPCASTERS) -> None:
        self.recovered: str | None = None
        self._shard = shard
        self._epoch = 0
        self._upcasters = upcasters
        self._reserve: Reserve | None = None
        self._writable = writable
        self._books = WrittenBooks()
        self._head = Head(shard, 0, 0, GENESIS)
        self._refusal = "" if writable else "it is open for reading only"

    # --- what an adapter keeps ----------------------------------------------------------------------------

    @abstractmethod
    def _stored(self, seq: int) -> Iterator[StoredFrame]:
        """Frames in order, from the one that holds `seq` (or an earlier one) to the end."""

    @abstractmethod
    def _write(self, frame: SealedFrame) -> None:
        """Make a frame durable if this journal still owns the shard and its end is where it was left.

        Raises:
            FencedError: it is not so; nothing was written.
            JournalError: not written, or not known to be.
        """

    @abstractmethod
    def _snapshots(self) -> list[tuple[int, bytes]]:
        """Stored snapshots as (sequence, blob), newest first."""

    @abstractmethod
    def _keep_snapshots(self, seq: int, blob: bytes, drop: list[int]) -> None:
        """Store one durably, then drop those of the given sequences.

        Raises:
            JournalError: the store refused.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the shard; later calls fail. Closing again does nothing."""

    # --- writing ------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch that this owner's entries carry; for a reader, that of the last record."""
        return self._epoch

    @property
    def on_reserve(self) -> bool:
        """Whether the disk is full and appends live on the space that was held back: no new orders then."""
        return self._reserve is not None and self._reserve.used

    @property
    def head(self) -> Head:
        """The last durable record; sequence 0 and 32 zero bytes when empty. Its epoch is `epoch`."""
        return self._head

    def append(self, entries: Sequence[Entry]) -> Head:
        """Write the entries as one frame, durable when the call returns.

        Raises:
            FencedError: another owner has taken the shard; nothing was written.
            JournalError: the entries do not follow the head (nothing was written; the journal goes on), or
                the write is not known to have succeeded: the journal then refuses everything until reopened.
        """
        return self.seal(entries)()

    def seal(self, entries: Sequence[Entry]) -> Callable[[], Head]:
        """Encode and chain the entries as one frame; what is returned writes it and may be called by another
        thread. Nothing else may be appended between the two.

        Raises:
            JournalError: as `append`; and so does what is returned.
        """
        self._refuse_more()
        head = self._head
        chain = Chain(self._shard, epoch=self._epoch, seq=head.seq, hash=head.hash)
        frame = chain.seal(entries, self._books)
        return partial(self._commit, SealedFrame(frame.header, chain.hash, encode_frame(frame)))

    def _commit(self, frame: SealedFrame) -> Head:
        """Write a sealed frame, durable when the call returns."""
        self._refuse_more()
        if frame.header.prev_hash != self._head.hash:
            raise JournalError("something else was appended since the frame was sealed; nothing was written")
        self._refusal = "an append did not end well"
        self._write(frame)
        self._refusal = ""
        self._head = Head(self._shard, self._epoch, frame.header.last_seq, frame.last_hash)
        return self._head

    def _refuse_more(self) -> None:
        if self._refusal:
            raise JournalError(f"the journal takes no more entries, reopen it: {self._refusal}")

    def _fenced(self, *, epoch: int, seq: int | None = None) -> FencedError:
        """Another owner's epoch or records are in the store."""
        where = "" if seq is None else f" at sequence {seq}"
        return FencedError(
            f"shard {self._shard} has changed under its owner: the store has epoch {epoch}{where}, "
            f"ours is epoch {self._epoch} at sequence {self._head.seq}",
            context={
                "epoch": self._epoch,
                "stored_epoch": epoch,
                "expected_seq": self._head.seq,
                "stored_seq": seq,
            },
        )

    # --- reading ------------------------------------------------------------------------------------------

    def read(self, after_seq: int = 0) -> Iterator[Entry]:
        """Entries that follow `after_seq` (the end of a record), in order, each checked against the chain.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
            JournalError: no record ends at `after_seq`, or a record is of a version that nobody knows.
        """
        for entry, _ in self._after(after_seq, self._entry):
            yield entry

    def happened(self, after_seq: int = 0) -> Iterator[Happened | Entry]:
        """As `read`, checked alike, with commands and books as they are written: half of the time."""
        for entry, _ in self._after(after_seq, self._happened):
            yield entry

    def _entry(self, data: bytes) -> Entry:
        return decode_entry(data, self._upcasters)

    def _happened(self, data: bytes) -> Happened | Entry:
        return decode_happened(data, self._upcasters)

    def last_entry(self) -> Entry | None:
        """The record at the head; None when the journal is empty.

        Raises:
            JournalCorruptError: the frame that holds it does not verify.
            JournalError: the record is of a version that nobody knows.
        """
        data = b""
        for place, record in self._walk(self._head.seq, outline) if self._head.seq else ():
            if place.last_seq <= self._head.seq:
                data = record[0]
        return decode_entry(data, self._upcasters) if data else None

    def records(self, after_seq: int = 0) -> Iterator[StoredRecord]:
        """As `read`, with the original bytes and the chain's hash of each record."""
        for entry, (data, digest) in self._after(after_seq, self._entry):
            yield StoredRecord(data, digest, entry)

    def head_at(self, seq: int) -> bytes:
        """The chain's hash at the end of the record that ends with `seq`.

        Raises:
            JournalCorruptError: the frame that holds it does not verify.
            JournalError: no record ends there.
        """
        found = self._hash_at(seq)
        if found is None:
            raise JournalError(f"no record ends at sequence {seq}", context={"seq": seq})
        return found

    def _hash_at(self, seq: int) -> bytes | None:
        if seq == self._head.seq:
            return self._head.hash
        if not 0 < seq < self._head.seq:
            return GENESIS if seq == 0 else None
        for place, record in self._walk(seq, outline):
            if place.last_seq >= seq:
                return record[1] if place.last_seq == seq else None
        raise corrupt(seq, "the journal ends before its head")

    def _after(self, after_seq: int, read: Callable[[bytes], P]) -> Iterator[tuple[P, Record]]:
        head = self._head
        if not 0 <= after_seq <= head.seq:
            raise JournalError(f"no record ends at sequence {after_seq}: the journal ends at {head.seq}")
        if after_seq == head.seq:
            return
        reached, digest = 0, GENESIS
        for place, record in self._walk(after_seq, read):
            reached, digest = place.last_seq, record[1]
            if place.seq <= after_seq < reached:
                raise JournalError(f"no record ends at sequence {after_seq}", context={"seq": after_seq})
            if place.seq > after_seq:
                yield place, record
            if reached >= head.seq:
                break
        if digest != head.hash:
            raise corrupt(max(reached, after_seq) + 1, "the journal does not lead to its head")

    def _walk(self, seq: int, read: Callable[[bytes], P]) -> Iterator[tuple[P, Record]]:
        """Records in order, each verified, from the frame that holds `seq` (or an earlier one) to the end."""
        chain: Chain | None = None
        for stored in self._stored(seq):
            try:
                frame = decode_frame(stored.blob)
            except FrameError as error:
                raise corrupt(chain.seq + 1 if chain else max(seq, 1), str(error)) from error
            if chain is None:
                chain = _start(self._shard, frame.header, seq)
            _compare(stored, frame, chain)
            yield from chain.read_frame(frame, read)

    def _verify(self, start: Snapshot | None = None, follower: Follower | None = None) -> None:
        """Walk the chain to its end, which becomes the head; from a snapshot on if it lies on the chain.

        Args:
            follower: gets the records after the snapshot, if that lies on the chain; without one all records.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
        """
        place: Outline | Happened | Entry | None = None
        digest, seen = GENESIS, start is None
        wanted = seen and follower is not None and follower.begin(None)

        def read(data: bytes) -> Outline | Happened | Entry:
            return self._happened(data) if wanted else outline(data)

        for place, (_, digest) in self._walk(start.seq if start else 0, read):
            if follower is not None and isinstance(place, (Happened, Entry)):
                follower.take(place)
            elif start is not None and (digest, place.last_seq) == (start.chain_hash, start.seq):
                seen = True
                wanted = follower is not None and follower.begin(start)
        if place is not None:
            self._head = Head(self._shard, place.epoch, place.last_seq, digest)
        self._epoch = 0 if place is None else place.epoch
        if not seen:
            self._verify()
        elif follower is not None:
            follower.end()

    # --- snapshots ----------------------------------------------------------------------------------------

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot of the state at the end of a durable record; the newest three are kept.

        Raises:
            JournalError: it does not lie on this journal's chain, or could not be written.
        """
        if self._refusal:
            raise JournalError(f"the journal takes no snapshot, reopen it: {self._refusal}")
        if snapshot.shard != self._shard or self._hash_at(snapshot.seq) != snapshot.chain_hash:
            raise JournalError(
                f"the snapshot of shard {snapshot.shard} at sequence {snapshot.seq} is not of this journal",
                context={"seq": snapshot.seq, "head_seq": self._head.seq},
            )
        older = [seq for seq, _ in self._snapshots() if seq != snapshot.seq]
        drop = sorted([*older, snapshot.seq])[:-KEPT_SNAPSHOTS]
        self._keep_snapshots(snapshot.seq, encode_snapshot(snapshot), [seq for seq in drop if seq in older])

    def latest_snapshot(self) -> Snapshot | None:
        """The newest snapshot that is intact and lies on this journal's chain; else None.

        A reader passes over those that a living writer has saved since it opened.

        Raises:
            JournalCorruptError: an intact snapshot lies ahead of the head: the journal has lost its tail.
        """
        for snapshot in self._intact_snapshots():
            if self._writable:
                self._refuse_shorter_than(snapshot)
            if self._hash_at(snapshot.seq) == snapshot.chain_hash:
                return snapshot
        return None

    def stored_snapshots(self) -> list[tuple[int, Snapshot | None]]:
        """Every snapshot by the sequence it is kept under, newest first; None where its checksum is wrong."""
        return [(seq, decode_snapshot(blob)) for seq, blob in self._snapshots()]

    def _intact_snapshots(self) -> Iterator[Snapshot]:
        for seq, snapshot in self.stored_snapshots():
            if snapshot is not None and (snapshot.shard, snapshot.seq) == (self._shard, seq):
                yield snapshot

    def _newest_intact(self) -> Snapshot | None:
        """The newest snapshot that is whole, on this chain or not. An opening looks for it before the head,
        so that a living writer's next one is not taken for a lost tail."""
        return next(self._intact_snapshots(), None)

    def _refuse_shorter_than(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None and snapshot.seq > self._head.seq:
            raise JournalCorruptError(
                f"journal is shorter than its snapshot: it ends at sequence {self._head.seq}, "
                f"the snapshot is of {snapshot.seq}",
                first_bad_seq=self._head.seq + 1,
            )


def _start(shard: int, header: FrameHeader, seq: int) -> Chain:
    """The chain just before the frame from which a walk starts."""
    if seq <= 1 or header.first_seq <= 1:
        return Chain(shard)
    if header.first_seq > seq:
        raise corrupt(seq, "its frame is missing")
    return Chain(shard, seq=header.first_seq - 1, hash=header.prev_hash)


def _compare(stored: StoredFrame, frame: Frame, chain: Chain) -> None:
    """What the store says of a frame must be what the frame says."""
    if stored.header is not None and (stored.header, stored.hash) != (frame.header, frame.last_hash):
        raise chain.broken("the frame is not what its row says")
