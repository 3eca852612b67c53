"""From a journal to a running state: newest valid snapshot, then every record after it."""

from __future__ import annotations

import msgspec

from qtinfra.core.decimals import exact
from qtinfra.core.exceptions import JournalCorruptError
from qtinfra.core.ports import Journal, Snapshot
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import apply_record
from qtinfra.engine.state import State, decode_state, encode_state
from qtinfra.infra.heap import LongLivedHeap

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


def recover(journal: Journal, shard: int = 0) -> Recovery:
    """Rebuild the state of a shard. A snapshot that this version cannot read is passed over.

    Raises:
        JournalCorruptError: a record does not verify or does not apply; names its sequence.
    """
    state = _from_snapshot(journal.latest_snapshot(), shard)
    start = state.seq
    heap = LongLivedHeap()
    records = last_ns = 0
    with exact():
        for entry in journal.happened(start):
            try:
                apply_record(state, entry)
            except UNFIT as error:
                text = f"record {entry.seq} does not apply to the state before it: {error!r}"
                raise JournalCorruptError(text, first_bad_seq=entry.seq) from error
            last_ns = entry.ts_ns
            records += 1
            heap.note(1)
    if not records and (last := journal.last_entry()) is not None:
        last_ns = last.ts_ns
    return Recovery(state, start, records, last_ns)


def _from_snapshot(snapshot: Snapshot | None, shard: int) -> State:
    """The snapshot's state; an empty one when there is none, or none that fits."""
    if snapshot is not None:
        try:
            state = decode_state(snapshot.state)
        except (msgspec.DecodeError, ValueError):
            return State(shard=shard)
        if (state.shard, state.seq) == (shard, snapshot.seq):
            return state
    return State(shard=shard)


def snapshot_of(state: State, chain_hash: bytes) -> Snapshot:
    """A snapshot of a state that is durable up to its sequence; `chain_hash` is the journal's there."""
    return Snapshot(state.shard, state.seq, chain_hash, encode_state(state))
