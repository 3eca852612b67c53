"""Snapshots off the critical path: a replica follows the durable records and is what gets encoded.

The live state is ahead of the disk while a frame syncs, and encoding it would hold up the loop. The replica
holds what is durable, is advanced in a thread of its own, and proves on the way that the records replay.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from qtinfra.core.events import Entry
from qtinfra.core.ports import Head, Snapshot
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State, clone_state
from qtinfra.runtime.recovery import snapshot_of


class SnapshotPolicy(msgspec.Struct, frozen=True):
    """When to take one: after every `every_events` events (at least 1).

    A restart then replays about this many events at most. Taking one costs the replica a replay of them and
    one encoding of the whole state.
    """

    every_events: int = 50_000

    def __post_init__(self) -> None:
        if self.every_events < 1:
            raise ValueError(f"every_events must be at least 1, not {self.every_events}")


class Replica:
    """A second state of the shard, fed by records that are durable.

    `feed` and `due` belong to the loop's thread; `take` may run in any other, one call at a time.

    Args:
        state: the recovered state; it is copied.
    """

    def __init__(self, state: State, policy: SnapshotPolicy) -> None:
        self._state = clone_state(state)
        self._policy = policy
        self._fed: list[Entry] = []
        self._head: Head | None = None
        self._last_seq = state.seq

    @property
    def due(self) -> bool:
        """Whether enough has happened since the last snapshot that was begun."""
        return self._head is not None and self._head.seq - self._last_seq >= self._policy.every_events

    def feed(self, entries: Sequence[Entry], head: Head) -> None:
        """Note a durable frame: its records and the journal's head after it."""
        self._fed.extend(entries)
        self._head = head

    def begin(self) -> tuple[list[Entry], Head]:
        """What `take` is to work on; the next snapshot is due that much later.

        Raises:
            ValueError: nothing was fed.
        """
        if self._head is None:
            raise ValueError("no durable frame yet")
        fed, self._fed = self._fed, []
        self._last_seq = self._head.seq
        return fed, self._head

    def take(self, fed: Sequence[Entry], head: Head) -> Snapshot:
        """Advance the replica by the records and encode it as of `head`.

        Raises:
            recovery.UNFIT: a durable record does not apply: a restart would refuse it.
            ValueError: the records do not lead from the replica's sequence to the head's.
        """
        for entry in fed:
            replay(self._state, entry)
        if self._state.seq != head.seq:
            raise ValueError(f"the replica is at sequence {self._state.seq}, the journal at {head.seq}")
        return snapshot_of(self._state, head.hash)
