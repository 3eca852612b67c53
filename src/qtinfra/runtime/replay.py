"""Replaying a journal: what state it leads to, and whether today's rules would decide it again."""

from __future__ import annotations

import msgspec

from qtinfra.core.events import Entry
from qtinfra.core.exceptions import JournalCorruptError
from qtinfra.core.ports import Journal
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import Kernel, KernelStoppedError, decide_again, replay
from qtinfra.engine.state import State, decode_state, encode_state, state_hash
from qtinfra.infra.heap import LongLivedHeap


class ReplayResult(msgspec.Struct, frozen=True):
    """What a replay found.

    Attributes:
        decide_equal: whether deciding again gave equal bytes for every record; None when not asked.
        first_difference: sequence of the first record that is decided otherwise today; None when none is.
    """

    records: int
    events: int
    last_seq: int
    state_hash: str
    decide_equal: bool | None
    first_difference: int | None


def replay_journal(journal: Journal, *, shard: int = 0, decide: bool = False) -> ReplayResult:
    """Replay from the first record.

    Args:
        decide: decide every command again from its recorded inputs and compare the records' bytes.

    Raises:
        JournalCorruptError: a record does not verify, or does not apply to the state before it.
    """
    state = State(shard=shard)
    kernel = Kernel(State(shard=shard))
    records = events = 0
    first_difference: int | None = None
    heap = LongLivedHeap()
    for entry in journal.read(0):
        _apply(state, entry)
        records += 1
        events += len(entry.events)
        heap.note(1)
        if decide and first_difference is None and not _decides_alike(kernel, entry, state):
            first_difference = entry.seq
    equal = first_difference is None if decide else None
    if decide and equal and state_hash(kernel.state) != state_hash(state):
        equal = False
    return ReplayResult(records, events, state.seq, state_hash(state), equal, first_difference)


def _apply(state: State, entry: Entry) -> None:
    try:
        replay(state, entry)
    except (InvariantBrokenError, KeyError, ValueError) as error:
        text = f"record {entry.seq} does not apply to the state before it: {error}"
        raise JournalCorruptError(text, first_bad_seq=entry.seq) from error


def _decides_alike(kernel: Kernel, entry: Entry, after: State) -> bool:
    """Whether today's rules make the same record of the command, byte for byte.

    Args:
        after: the state that the journal leads to with this record. A command that stops the kernel again, as
            it did then, is quarantined again; the kernel goes on from there, as the restart did.
    """
    try:
        again = decide_again(kernel, entry)
    except KernelStoppedError as stopped:
        again = stopped.entry
        kernel.state = decode_state(encode_state(after))
    encode = msgspec.msgpack.encode
    return again is not None and encode(again) == encode(entry)
