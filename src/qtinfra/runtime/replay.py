"""Replaying a journal: what state it leads to, and whether today's rules would decide it again."""

from __future__ import annotations

import msgspec

from qtinfra.core.ports import Journal
from qtinfra.engine.kernel import Kernel, decide_again, replay
from qtinfra.engine.state import State, state_hash


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
        JournalCorruptError: a record does not verify.
    """
    state = State(shard=shard)
    kernel = Kernel(State(shard=shard))
    encoder = msgspec.msgpack.Encoder()
    records = events = 0
    first_difference: int | None = None
    for entry in journal.read(0):
        replay(state, entry)
        records += 1
        events += len(entry.events)
        if decide and first_difference is None:
            again = decide_again(kernel, entry)
            if again is None or encoder.encode(again) != encoder.encode(entry):
                first_difference = entry.seq
    equal = first_difference is None if decide else None
    if decide and equal and state_hash(kernel.state) != state_hash(state):
        equal = False
    return ReplayResult(records, events, state.seq, state_hash(state), equal, first_difference)
