"""The seams: what the core needs from the world. Each has one contract suite for all adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from qtinfra.core.events import AnyEvent, Entry
from qtinfra.core.reports import ToVenue, VenueReport


class Clock(Protocol):
    """Time as an input: UTC nanoseconds that never go backwards."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z, monotonic within the process."""
        ...


class Head(msgspec.Struct, frozen=True, gc=False):
    """The end of a journal: the last durable sequence and the chain's hash there (32 bytes)."""

    shard: int
    epoch: int
    seq: int
    hash: bytes


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """State as of `seq`, with the chain's hash there: it belongs to that journal and to no other."""

    shard: int
    seq: int
    chain_hash: bytes
    state: bytes


class Happened(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An `Entry` read for what it caused: the command and what it saw are left as they are written."""

    shard: int
    epoch: int
    seq: int
    ts_ns: int
    received_ns: int
    actor: str
    correlation_id: str
    command: msgspec.Raw
    market: msgspec.Raw
    events: tuple[AnyEvent, ...]

    @property
    def last_seq(self) -> int:
        return self.seq + len(self.events) - 1


class Journal(Protocol):
    """Durable, ordered, append-only record of one shard, open for writing by one owner."""

    @property
    def head(self) -> Head:
        """The last durable record; sequence 0 and 32 zero bytes when empty."""
        ...

    def append(self, entries: Sequence[Entry]) -> Head:
        """Write the entries as one frame, durable when the call returns.

        Raises:
            FencedError: another owner has taken the shard; nothing was written.
            JournalError: not written, or not known to be (the caller must stop and reopen).
        """
        ...

    def seal(self, entries: Sequence[Entry]) -> Callable[[], Head]:
        """The two halves of `append`: encodes the entries, and gives what writes them.

        Nothing else is appended between the two calls. Each raises as `append` does.
        """
        ...

    def read(self, after_seq: int = 0) -> Iterator[Entry]:
        """Records that follow `after_seq`, in order, each checked against the chain.

        Raises:
            JournalCorruptError: names the first sequence that does not verify.
        """
        ...

    def happened(self, after_seq: int = 0) -> Iterator[Happened | Entry]:
        """As `read`, for whoever needs the events only: commands and books need not be decoded."""
        ...

    def last_entry(self) -> Entry | None:
        """The record at the head; None when the journal is empty."""
        ...

    def save_snapshot(self, snapshot: Snapshot) -> None: ...

    def latest_snapshot(self) -> Snapshot | None:
        """The newest snapshot that is intact and lies on this journal's chain; else None."""
        ...

    def close(self) -> None: ...


class VenueGateway(Protocol):
    """One session with a venue. Reports arrive through the callback given to the adapter."""

    @property
    def venue(self) -> str:
        """MIC of the venue."""
        ...

    def send(self, message: ToVenue) -> None:
        """Hand one message to the session, in order. Called only after its intent is durable."""
        ...


#: Called by a gateway for each report, in the order of the session.
ReportSink = Callable[[VenueReport], None]
