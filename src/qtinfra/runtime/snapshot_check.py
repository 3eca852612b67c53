"""Stored snapshots held against their journal: is each the state that the records lead to?

A snapshot's checksum shows damage and no more: whoever can write the file can make it anew over a state of
their own, and a start would go on from that. Here the records are replayed beside their verification, one
pass for both, up to the last snapshot that can be compared; the packed orders are compared with the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from qtinfra.core.exceptions import JournalCorruptError
from qtinfra.core.ports import Snapshot
from qtinfra.engine.kernel import replay
from qtinfra.engine.rowform import decompressed
from qtinfra.engine.state import State, decode_state, state_hash, state_version, version_of
from qtinfra.infra.heap import LongLivedHeap
from qtinfra.journal.anchor import VerifyResult
from qtinfra.journal.codec import StoredRecord
from qtinfra.runtime.recovery import UNFIT

#: Told how far a replay has come: sequences done, and all.
Progress = Callable[[int, int], None]

Verdict = Literal["agrees", "wrong", "not comparable", "not checked"]

_PROGRESS_EVERY = 1_024


class SnapshotFinding(msgspec.Struct, frozen=True):
    """What was found out about the snapshot that is kept under a sequence.

    Attributes:
        verdict: "agrees" with the journal; "wrong": damaged, forged, or of another journal; "not comparable":
            another version wrote it, which a start passes over; "not checked": the reason says why.
        reason: in words.
    """

    seq: int
    verdict: Verdict
    reason: str


class SnapshotCheck:
    """Compares stored snapshots with the records that pass by.

    Args:
        stored: the snapshots by the sequence each is kept under; None for one whose checksum is wrong.
        shard: the journal's.
        last_seq: where the journal ends; snapshots after it were saved since it was opened and are left out.
        replays: whether states are compared; else no more than the chain's hash at each snapshot.
        progress: told now and then how far the replay is.
    """

    def __init__(
        self,
        stored: Sequence[tuple[int, Snapshot | None]],
        shard: int,
        last_seq: int,
        *,
        replays: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self._replays = replays
        self._progress = progress
        self._found: dict[int, SnapshotFinding] = {}
        self._waiting: list[Snapshot] = []
        for seq, snapshot in sorted(stored, key=lambda one: one[0]):
            why = _unfit(seq, snapshot, shard)
            if why or snapshot is None:
                self._note(seq, "wrong", why)
            elif seq <= last_seq:
                self._waiting.append(snapshot)
        comparable = [one.seq for one in self._waiting if replays and _comparable(one)]
        self._replay_to = max(comparable, default=0)
        self._state = State(shard=shard)

    @property
    def findings(self) -> tuple[SnapshotFinding, ...]:
        """One for each snapshot, in ascending order; those that the records did not reach are not checked."""
        rest = [
            SnapshotFinding(one.seq, "not checked", "the journal does not verify up to there")
            for one in self._waiting
        ]
        return tuple(sorted([*self._found.values(), *rest], key=lambda one: one.seq))

    def follow(self, records: Iterable[StoredRecord]) -> Iterator[StoredRecord]:
        """The same records; each is looked at when the next one is asked for, so that it has been verified.

        Raises:
            JournalCorruptError: a record does not apply to the state before it.
        """
        heap = LongLivedHeap()
        for number, record in enumerate(records):
            yield record
            if record.entry.seq <= self._replay_to:
                self._apply(record)
                heap.note(1)
                if self._progress is not None and number % _PROGRESS_EVERY == 0:
                    self._progress(record.entry.seq, self._replay_to)
            while self._waiting and self._waiting[0].seq <= record.entry.last_seq:
                self._compare(self._waiting.pop(0), record)

    def _apply(self, record: StoredRecord) -> None:
        seq = record.entry.seq
        try:
            replay(self._state, record.entry)
        except UNFIT as error:
            text = f"record {seq} does not apply to the state before it: {error!r}"
            raise JournalCorruptError(text, first_bad_seq=seq) from error

    def _compare(self, snapshot: Snapshot, record: StoredRecord) -> None:
        seq = snapshot.seq
        if (seq, snapshot.chain_hash) != (record.entry.last_seq, record.hash):
            self._note(seq, "wrong", "it does not lie on this journal's chain")
        elif not _comparable(snapshot):
            self._note(seq, "not comparable", "another version wrote its state: a start passes it over")
        elif not self._replays:
            self._note(seq, "not checked", "no replay was wanted: its state was not compared")
        elif is_of(snapshot, self._state):
            self._note(seq, "agrees", "its state is the one that the journal leads to")
        else:
            self._note(seq, "wrong", "its state is not the one that the journal leads to")

    def _note(self, seq: int, verdict: Verdict, reason: str) -> None:
        self._found[seq] = SnapshotFinding(seq, verdict, reason)


def judged(found: VerifyResult, findings: Sequence[SnapshotFinding]) -> VerifyResult:
    """The verification of a journal together with what was found out about its snapshots.

    Of a journal that verifies, the first wrong snapshot is named; of one that does not, its first bad record.
    """
    if not found.ok or not findings:
        return found
    wrong = next((one for one in findings if one.verdict == "wrong"), None)
    if wrong is not None:
        reason = f"the snapshot of sequence {wrong.seq} is wrong: {wrong.reason}"
        return msgspec.structs.replace(found, ok=False, first_bad_seq=wrong.seq, reason=reason)
    said = "; ".join(f"snapshot {one.seq} {one.verdict}" for one in findings)
    return msgspec.structs.replace(found, reason=f"{found.reason}; {said}")


def _unfit(seq: int, snapshot: Snapshot | None, shard: int) -> str:
    """What is wrong with a snapshot by itself; empty when nothing is."""
    if snapshot is None:
        return "its checksum does not verify"
    if (snapshot.shard, snapshot.seq) != (shard, seq):
        return f"it says that it is of shard {snapshot.shard} at sequence {snapshot.seq}"
    return ""


def _comparable(snapshot: Snapshot) -> bool:
    """Whether this version wrote its state; the first versions did not write which one they were."""
    try:
        return version_of(snapshot.state) == state_version()
    except msgspec.DecodeError:
        return False


def is_of(snapshot: Snapshot, state: State) -> bool:
    """Whether a start from the snapshot would have exactly this state, packed orders included."""
    try:
        stored = decode_state(snapshot.state)
        return state_hash(stored) == state_hash(state) and _packed(stored) == _packed(state)
    except (msgspec.DecodeError, ValueError, zlib.error):
        return False


def _packed(state: State) -> tuple[object, ...]:
    """What the state's hash has no more than a digest of: packed orders, and what they are found by."""
    blocks, index = state.tables.archive.dump()
    return [decompressed(block) for block in blocks], index
