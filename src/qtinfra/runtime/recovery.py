"""From a journal to a running state: newest valid snapshot, then every record after it."""

from __future__ import annotations

import msgspec

from qtinfra.core.exceptions import JournalCorruptError
from qtinfra.core.ports import Journal, Snapshot
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State, decode_state, encode_state


class Recovery(msgspec.Struct, frozen=True):
    """How a state was rebuilt: from which snapshot, with how many records after it."""

    state: State
    snapshot_seq: int
    records: int


def recover(journal: Journal, shard: int = 0) -> Recovery:
    """Rebuild the state of a shard.

    Raises:
        JournalCorruptError: a record does not verify or does not apply; names its sequence.
    """
    snapshot = journal.latest_snapshot()
    state = State(shard=shard)
    if snapshot is not None:
        state = decode_state(snapshot.state)
    start = state.seq
    records = 0
    for entry in journal.read(start):
        try:
            replay(state, entry)
        except (InvariantBrokenError, KeyError, ValueError) as error:
            text = f"record {entry.seq} does not apply to the state before it: {error}"
            raise JournalCorruptError(text, first_bad_seq=entry.seq) from error
        records += 1
    return Recovery(state, start, records)


def snapshot_of(state: State, chain_hash: bytes) -> Snapshot:
    """A snapshot of a state that is durable up to its sequence; `chain_hash` is the journal's there."""
    return Snapshot(state.shard, state.seq, chain_hash, encode_state(state))
