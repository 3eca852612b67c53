"""A stored snapshot has to hold the state that the journal's records lead to, whatever its checksum says."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from qtinfra.core.ports import Snapshot
from qtinfra.engine.archive import Packing
from qtinfra.engine.kernel import Kernel, replay
from qtinfra.engine.rowform import compressed, decompressed
from qtinfra.engine.state import State, decode_state, encode_state, state_hash
from qtinfra.journal.anchor import VerifyResult, verify_journal
from qtinfra.journal.base import FrameJournal
from qtinfra.journal.log import LogJournal
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.recovery import recover, snapshot_of
from qtinfra.runtime.snapshot_check import SnapshotCheck, SnapshotFinding, is_of, judged
from tests.support.builders import ALPHA, Desk

pytestmark = pytest.mark.unit

WRONG_STATE = "its state is not the one that the journal leads to"
Stored = list[tuple[int, Snapshot | None]]


def session() -> Desk:
    """Some orders, one of them filled; about twenty events."""
    desk = Desk(checked=False)
    for name in ("A", "B", "C"):
        desk.working(name)
    desk.fill(desk.child("B"), 40)
    return desk


def written(journal: FrameJournal, desk: Desk, snapshots_at: tuple[int, ...]) -> None:
    """The desk's records, one frame each, with sound snapshots after the records of these numbers."""
    state = State()
    for number, entry in enumerate(desk.entries):
        journal.append([entry])
        replay(state, entry)
        if number in snapshots_at:
            journal.save_snapshot(snapshot_of(state, journal.head.hash))


def begun(snapshots_at: tuple[int, ...] = (3, 8)) -> MemoryJournal:
    journal = MemoryJournal.fresh()
    written(journal, session(), snapshots_at)
    return journal


def checked(
    journal: FrameJournal, stored: Stored | None = None, *, replays: bool = True, last_seq: int | None = None
) -> tuple[VerifyResult, tuple[SnapshotFinding, ...]]:
    """What `journal verify` makes of the records and of these snapshots."""
    end = journal.head
    kept = journal.stored_snapshots() if stored is None else stored
    check = SnapshotCheck(kept, end.shard, last_seq or end.seq, replays=replays)
    found = verify_journal(check.follow(journal.records()))
    return judged(found, check.findings), check.findings


def forged(snapshot: Snapshot | None, lie: Callable[[State], object]) -> Snapshot:
    assert snapshot is not None
    state = decode_state(snapshot.state)
    lie(state)
    return msgspec.structs.replace(snapshot, state=encode_state(state))


def test_sound_snapshots_agree_and_the_reason_says_so() -> None:
    journal = begun()
    result, findings = checked(journal)
    assert result.ok and result.events == journal.head.seq
    assert [one.verdict for one in findings] == ["agrees", "agrees"]
    assert findings[0].seq < findings[1].seq
    assert f"snapshot {findings[0].seq} agrees; snapshot {findings[1].seq} agrees" in result.reason


@pytest.mark.parametrize("kind", [LogJournal, SqliteJournal])
def test_a_forged_state_under_a_right_checksum_is_believed_by_a_start_and_found_by_the_check(
    kind: type[LogJournal] | type[SqliteJournal], tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    with closing(kind.open(path)) as journal:
        written(journal, session(), (3, 8))
        (seq, newest), *_ = journal.stored_snapshots()
        journal.save_snapshot(forged(newest, lambda state: setattr(state, "breaks", 9)))
        assert recover(journal).snapshot_seq == seq
    with closing(kind.open_readonly(path)) as journal:
        result, findings = checked(journal)
    assert (result.ok, result.first_bad_seq) == (False, seq)
    assert result.reason == f"the snapshot of sequence {seq} is wrong: {WRONG_STATE}"
    assert [one.verdict for one in findings] == ["agrees", "wrong"]


def test_any_field_that_differs_is_found_whichever_snapshot_has_it() -> None:
    journal = begun()
    stored = journal.stored_snapshots()
    for at, (seq, sound) in enumerate(stored):
        for lie in (lambda s: setattr(s, "breaks", 1), lambda s: setattr(s, "trade_date", "2031-01-06")):
            result, findings = checked(journal, [*stored[:at], (seq, forged(sound, lie)), *stored[at + 1 :]])
            assert (result.ok, result.first_bad_seq) == (False, seq)
            assert sorted(one.verdict for one in findings) == ["agrees", "wrong"]


def test_packed_orders_are_compared_although_the_states_hash_has_only_their_digest() -> None:
    desk = session()
    state = State(packing=Packing(keep=0, block=1))
    desk.kernel = Kernel(state)
    for entry in desk.entries:
        replay(state, entry)
    desk.fill(desk.child("A"), 100)
    sound = snapshot_of(state, bytes(32))
    assert len(state.tables.archive) == 1
    assert is_of(sound, state)
    lying = decode_state(sound.state)
    blocks = lying.tables.archive.blocks
    unusual, tables = msgspec.msgpack.decode(decompressed(blocks[0]))
    ids, orders, *others = msgspec.msgpack.decode(tables, strict=False)
    assert orders[0] == ALPHA
    orders[0] = "nobody"
    blocks[0] = compressed(msgspec.msgpack.encode([unusual, msgspec.msgpack.encode([ids, orders, *others])]))
    assert state_hash(lying) == state_hash(state)
    assert not is_of(snapshot_of(lying, bytes(32)), state)
    lying.tables.archive.blocks[0] = b"no block"
    assert not is_of(snapshot_of(lying, bytes(32)), state)


def test_packed_orders_that_are_compressed_otherwise_are_the_same_orders() -> None:
    desk = session()
    state = State(packing=Packing(keep=0, block=4))
    desk.kernel = Kernel(state)
    for entry in desk.entries:
        replay(state, entry)
    for name in "CDEF":
        desk.working(name)
        desk.cancel(f"{name}2", name)
        desk.canceled(desk.child(name))
    assert len(state.tables.archive) == 4
    other = decode_state(encode_state(state))
    blocks = other.tables.archive.blocks
    blocks[0] = compressed(decompressed(blocks[0]), 9)
    assert encode_state(other) != encode_state(state)
    assert is_of(snapshot_of(other, bytes(32)), state)


def test_a_snapshot_of_another_version_is_not_comparable_and_no_damage() -> None:
    journal = begun()
    (seq, sound), *others = journal.stored_snapshots()
    assert sound is not None
    _, fields, archive = msgspec.msgpack.decode(sound.state, type=tuple[str, msgspec.Raw, msgspec.Raw])
    for state in (msgspec.msgpack.encode(("1-0123456789abcdef", fields, archive)), b"as before versions"):
        other = msgspec.structs.replace(sound, state=state)
        result, findings = checked(journal, [(seq, other), *others])
        assert result.ok
        assert findings[-1].verdict == "not comparable"
        assert "a start passes it over" in findings[-1].reason
        assert f"snapshot {seq} not comparable" in result.reason
        assert recover(journal).state == recover(begun()).state


def test_a_damaged_snapshot_and_one_of_another_place_are_wrong() -> None:
    journal = begun()
    (seq, sound), *others = journal.stored_snapshots()
    assert sound is not None
    cases: dict[str, Snapshot | None] = {
        "its checksum does not verify": None,
        f"it says that it is of shard 4 at sequence {seq}": msgspec.structs.replace(sound, shard=4),
        f"it says that it is of shard 0 at sequence {seq - 1}": msgspec.structs.replace(sound, seq=seq - 1),
        "it does not lie on this journal's chain": msgspec.structs.replace(sound, chain_hash=bytes(32)),
    }
    for reason, snapshot in cases.items():
        result, findings = checked(journal, [(seq, snapshot), *others])
        assert (result.ok, result.first_bad_seq) == (False, seq)
        assert (findings[-1].verdict, findings[-1].reason) == ("wrong", reason)


def test_a_snapshot_in_the_middle_of_a_record_does_not_lie_on_the_chain() -> None:
    journal = begun(())
    record = next(one for one in journal.records() if one.entry.last_seq > one.entry.seq)
    state = encode_state(State(seq=record.entry.seq))
    inside = Snapshot(0, record.entry.seq, record.hash, state)
    result, (finding,) = checked(journal, [(inside.seq, inside)])
    assert not result.ok
    assert finding.reason == "it does not lie on this journal's chain"


def test_without_a_replay_the_answer_says_what_was_not_checked() -> None:
    journal = begun()
    (seq, sound), *others = journal.stored_snapshots()
    lying = forged(sound, lambda state: setattr(state, "breaks", 9))
    result, findings = checked(journal, [(seq, lying), *others], replays=False)
    assert result.ok
    assert [one.verdict for one in findings] == ["not checked", "not checked"]
    assert f"snapshot {seq} not checked" in result.reason
    elsewhere = msgspec.structs.replace(lying, chain_hash=bytes(32))
    assert not checked(journal, [(seq, elsewhere), *others], replays=False)[0].ok


def test_a_snapshot_that_a_writer_has_saved_since_the_opening_is_left_out() -> None:
    journal = begun()
    newest = journal.stored_snapshots()[0]
    result, findings = checked(journal, [newest], last_seq=newest[0] - 1)
    assert result.ok and findings == ()


def test_behind_a_bad_record_snapshots_are_not_checked_and_the_record_is_named() -> None:
    journal = begun()
    records = list(journal.records())
    bad = records[5]
    records[5] = msgspec.structs.replace(bad, hash=bytes(32))
    check = SnapshotCheck(journal.stored_snapshots(), 0, journal.head.seq)
    found = judged(verify_journal(check.follow(records)), check.findings)
    assert (found.ok, found.first_bad_seq) == (False, bad.entry.seq)
    assert [one.verdict for one in check.findings] == ["agrees", "not checked"]
    assert check.findings[-1].reason == "the journal does not verify up to there"


def test_a_record_that_does_not_apply_is_named_like_one_that_does_not_verify() -> None:
    desk = session()
    journal = MemoryJournal.fresh()
    journal.append(desk.entries[:1])
    fill = next(entry for entry in desk.entries if "OrderFilled" in {type(e).__name__ for e in entry.events})
    misplaced = msgspec.structs.replace(fill, seq=journal.head.seq + 1)
    head = journal.append([misplaced])
    later = Snapshot(0, head.seq, head.hash, encode_state(State(seq=head.seq)))
    result, (finding,) = checked(journal, [(later.seq, later)])
    assert (result.ok, result.first_bad_seq) == (False, misplaced.seq)
    assert "does not apply to the state before it" in result.reason
    assert finding.verdict == "not checked"


def test_a_journal_without_snapshots_is_not_replayed_and_its_reason_stays() -> None:
    journal = begun(())
    result, findings = checked(journal)
    assert findings == ()
    assert result == verify_journal(journal.records())


def test_progress_is_told_up_to_the_last_comparable_snapshot() -> None:
    journal = begun()
    told: list[tuple[int, int]] = []
    check = SnapshotCheck(
        journal.stored_snapshots(), 0, journal.head.seq, progress=lambda *now: told.append(now)
    )
    assert verify_journal(check.follow(journal.records())).ok
    assert told == [(1, journal.stored_snapshots()[0][0])]
