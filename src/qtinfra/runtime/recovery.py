"""From a journal to a running state: newest valid snapshot, then every record after it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Protocol, TypeVar

import msgspec

from qtinfra.core.decimals import exact
from qtinfra.core.events import Entry
from qtinfra.core.exceptions import JournalCorruptError
from qtinfra.core.ports import Happened, Journal, Snapshot
from qtinfra.core.runs import last_ns
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import apply_record
from qtinfra.engine.state import State, decode_state, encode_state
from qtinfra.infra.heap import LongLivedHeap
from qtinfra.journal.base import Follower, FrameJournal

J = TypeVar("J", bound=FrameJournal)
J_co = TypeVar("J_co", bound=FrameJournal, covariant=True)

#: What evolving a record raises when it does not fit the state.
UNFIT = (InvariantBrokenError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Recovery(msgspec.Struct, frozen=True):
    """How a state was rebuilt: from which snapshot (0: none), with how many records after it.

    Attributes:
        last_ns: when the last record was decided (UTC nanoseconds; 0 without any); no later decision may be
            dated before it.
    """

    state: State
    snapshot_seq: int
    records: int
    last_ns: int = 0


class _Rebuilding:
    """A state that grows by the records that follow a snapshot; a `journal.base.Follower`."""

    def __init__(self, shard: int) -> None:
        self.state = State(shard=shard)
        self._shard = shard
        self._begun = False
        self._snapshot_seq = 0
        self._records = 0
        self._last_ns = 0
        self._heap = LongLivedHeap()
        self._unfit: JournalCorruptError | None = None

    def begin(self, snapshot: Snapshot | None) -> bool:
        """Start from the snapshot (None: from nothing); whether this version can read it."""
        if snapshot is not None:
            state = _state_of(snapshot, self._shard)
            if state is None:
                return False
            self.state, self._snapshot_seq = state, snapshot.seq
        self._begun = True
        return True

    def take(self, entry: Happened | Entry) -> None:
        """Apply the next record; if it does not fit, `end` says so, for damage further on comes before it."""
        if self._unfit is None:
            try:
                self.apply(entry)
            except JournalCorruptError as error:
                self._unfit = error

    def end(self) -> None:
        """All records are verified.

        Raises:
            JournalCorruptError: the first that did not apply.
        """
        if self._unfit is not None:
            raise self._unfit

    def apply(self, entry: Happened | Entry) -> None:
        """Apply the next record, in `core.decimals.exact()`.

        Raises:
            JournalCorruptError: it does not apply; names its sequence.
        """
        try:
            apply_record(self.state, entry)
        except UNFIT as error:
            text = f"record {entry.seq} does not apply to the state before it: {error!r}"
            raise JournalCorruptError(text, first_bad_seq=entry.seq) from error
        self._last_ns = last_ns(entry)
        self._records += 1
        self._heap.note(1)

    def reached(self, journal: Journal) -> bool:
        """Whether the state is that of the journal's head."""
        return self._begun and self.state.seq == journal.head.seq

    def found(self, journal: Journal) -> Recovery:
        """What was rebuilt."""
        moment = self._last_ns
        if not self._records and (last := journal.last_entry()) is not None:
            moment = last_ns(last)
        return Recovery(self.state, self._snapshot_seq, self._records, moment)


def recover(journal: Journal, shard: int = 0) -> Recovery:
    """Rebuild the state of a shard. A snapshot that this version cannot read is passed over.

    Raises:
        JournalCorruptError: a record does not verify or does not apply; names its sequence.
    """
    rebuilding = _Rebuilding(shard)
    rebuilding.begin(journal.latest_snapshot())
    with exact():
        for entry in journal.happened(rebuilding.state.seq):
            rebuilding.apply(entry)
    return rebuilding.found(journal)


class Opening(Protocol[J_co]):
    """Opens a journal and has the records followed while they are verified."""

    def __call__(self, *, follower: Follower) -> J_co: ...


def open_and_recover(opening: Opening[J], shard: int = 0) -> tuple[J, Recovery]:
    """Open a journal and rebuild its state, which is that of `recover`, while its records are verified.

    Args:
        opening: `partial(SqliteJournal.open, path, ...)`.

    Raises:
        JournalCorruptError: a record does not verify or does not apply; names its sequence.
        JournalError: what the opening raises otherwise.
    """
    rebuilding = _Rebuilding(shard)
    with exact():
        journal = opening(follower=rebuilding)
    if rebuilding.reached(journal):
        return journal, rebuilding.found(journal)
    with ExitStack() as stack:
        stack.callback(journal.close)
        recovery = recover(journal, shard)
        stack.pop_all()
    return journal, recovery


def _state_of(snapshot: Snapshot, shard: int) -> State | None:
    """The snapshot's state; None when this version cannot read it, or when it is another's."""
    try:
        state = decode_state(snapshot.state)
    except (msgspec.DecodeError, ValueError):
        return None
    return state if (state.shard, state.seq) == (shard, snapshot.seq) else None


def snapshot_of(state: State, chain_hash: bytes) -> Snapshot:
    """A snapshot of a state that is durable up to its sequence; `chain_hash` is the journal's there."""
    return Snapshot(state.shard, state.seq, chain_hash, encode_state(state))
