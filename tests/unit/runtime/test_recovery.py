"""From a journal back to the state: snapshots are a shortcut, and damage is named."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pytest

from qtinfra.core.commands import AnyCommand, Inbound, SetReference, SetVenueStatus
from qtinfra.core.events import Entry, OrderCancelled
from qtinfra.core.exceptions import FencedError, JournalCorruptError
from qtinfra.core.extended_models import VenueStatus
from qtinfra.core.market import NO_MARKET
from qtinfra.core.ports import Journal, Snapshot
from qtinfra.engine.kernel import Kernel
from qtinfra.engine.state import State, encode_state, state_hash
from qtinfra.journal.base import Verify
from qtinfra.journal.codec import encode_snapshot
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.recovery import Recovery, open_and_recover, recover, snapshot_of
from qtinfra.runtime.snapshots import Replica, SnapshotPolicy
from tests.support.builders import START_NS, account, instrument, submit, venue

pytestmark = pytest.mark.unit

SETUP = (
    SetReference((instrument(),), (account(),), (venue("XNAS"),)),
    SetVenueStatus("XNAS", VenueStatus.CONNECTED),
)


def play(kernel: Kernel, journal: Journal, commands: list[AnyCommand]) -> list[Entry]:
    """Decide the commands, one frame each."""
    entries = []
    for number, command in enumerate(commands):
        entry = kernel.execute(Inbound(command), START_NS + number, NO_MARKET).entry
        if entry is not None:
            journal.append([entry])
            entries.append(entry)
    return entries


def orders(first: int, last: int) -> list[AnyCommand]:
    return [submit(f"O{number}", qty=number) for number in range(first, last)]


def begun(journal: MemoryJournal | SqliteJournal, count: int = 20) -> Kernel:
    kernel = Kernel(State(epoch=journal.epoch))
    play(kernel, journal, [*SETUP, *orders(1, count)])
    return kernel


def test_an_empty_journal_gives_an_empty_state() -> None:
    recovery = recover(MemoryJournal.fresh(shard=3), shard=3)
    assert (recovery.state, recovery.records, recovery.last_ns) == (State(shard=3), 0, 0)


def test_replaying_every_record_gives_the_state_that_wrote_them() -> None:
    journal = MemoryJournal.fresh()
    kernel = begun(journal)
    recovery = recover(journal)
    assert msgspec.structs.replace(recovery.state, epoch=journal.epoch) == kernel.state
    assert (recovery.snapshot_seq, recovery.records) == (0, 21)
    assert recovery.last_ns == START_NS + 20


def test_a_snapshot_and_the_records_after_it_give_the_state_of_a_full_replay() -> None:
    journal = MemoryJournal.fresh()
    kernel = begun(journal)
    full_then = recover(journal).state
    journal.save_snapshot(snapshot_of(full_then, journal.head.hash))
    play(kernel, journal, orders(50, 60))
    recovery = recover(journal)
    assert (recovery.snapshot_seq, recovery.records) == (full_then.seq, 10)
    assert state_hash(recovery.state) == state_hash(_replayed(journal))


def _replayed(journal: MemoryJournal) -> State:
    """The state by full replay: a copy of the journal without its snapshots."""
    bare = MemoryJournal.fresh()
    bare.append(list(journal.read(0)))
    return recover(bare).state


def test_time_does_not_run_backwards_after_a_snapshot_without_later_records() -> None:
    journal = MemoryJournal.fresh()
    begun(journal)
    journal.save_snapshot(snapshot_of(recover(journal).state, journal.head.hash))
    recovery = recover(journal)
    assert recovery.records == 0
    assert recovery.last_ns == START_NS + 20


def test_time_does_not_run_backwards_when_the_last_record_before_the_snapshot_touched_no_order() -> None:
    journal = MemoryJournal.fresh()
    kernel = begun(journal)
    late = kernel.execute(
        Inbound(SetVenueStatus("XNAS", VenueStatus.DISCONNECTED)), START_NS + 900, NO_MARKET
    )
    assert late.entry is not None
    journal.append([late.entry])
    journal.save_snapshot(snapshot_of(recover(journal).state, journal.head.hash))
    recovery = recover(journal)
    assert (recovery.records, recovery.last_ns) == (0, START_NS + 900)


@pytest.mark.parametrize("state", [b"", b"\x80", b"garbage", msgspec.msgpack.encode(["not", "a", "state"])])
def test_a_snapshot_that_this_version_cannot_read_is_passed_over(state: bytes) -> None:
    journal = MemoryJournal.fresh()
    begun(journal)
    expected = recover(journal)
    journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, state))
    assert recover(journal) == expected


def test_a_snapshot_whose_packed_orders_are_indexed_by_half_a_word_is_passed_over() -> None:
    journal = MemoryJournal.fresh()
    begun(journal)
    expected = recover(journal)
    sound = encode_state(expected.state)
    version, fields, _ = msgspec.msgpack.decode(sound, type=tuple[str, msgspec.Raw, msgspec.Raw])
    half = msgspec.msgpack.encode((version, fields, ([], [(0, 1, b"half")], [])))
    journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, half))
    assert recover(journal) == expected


@pytest.mark.parametrize("state", [State(seq=3), State(shard=9)])
def test_a_snapshot_whose_state_is_of_another_sequence_or_shard_is_passed_over(state: State) -> None:
    journal = MemoryJournal.fresh()
    begun(journal)
    expected = recover(journal)
    wrong = snapshot_of(state, journal.head.hash)
    journal.save_snapshot(msgspec.structs.replace(wrong, seq=journal.head.seq, shard=0))
    assert recover(journal) == expected


def test_a_snapshot_damaged_on_the_disk_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(SqliteJournal.open(path)) as journal:
        begun(journal)
        expected = recover(journal)
        journal.save_snapshot(snapshot_of(expected.state, journal.head.hash))
    with closing(sqlite3.connect(path)) as db, db:
        blob = bytearray(db.execute("SELECT blob FROM snapshot").fetchone()[0])
        blob[len(blob) // 2] ^= 1
        db.execute("UPDATE snapshot SET blob = ?", (bytes(blob),))
    with closing(SqliteJournal.open(path, verify="tail")) as journal:
        assert recover(journal) == expected


def test_corruption_in_the_middle_refuses_to_start_and_names_the_sequence(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(SqliteJournal.open(path)) as journal:
        begun(journal)
    with closing(sqlite3.connect(path)) as db, db:
        first, blob = db.execute("SELECT first_seq, blob FROM frame WHERE first_seq > 10").fetchone()
        damaged = blob[:-9] + bytes([blob[-9] ^ 1]) + blob[-8:]
        db.execute("UPDATE frame SET blob = ? WHERE first_seq = ?", (damaged, first))
    with pytest.raises(JournalCorruptError) as refused:
        SqliteJournal.open(path)
    assert refused.value.first_bad_seq == first


def test_corruption_that_comes_after_opening_is_named_by_the_replay(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(SqliteJournal.open(path)) as journal:
        begun(journal)
        with closing(sqlite3.connect(path)) as db, db:
            first = db.execute("SELECT first_seq FROM frame WHERE first_seq > 10").fetchone()[0]
            db.execute("DELETE FROM frame WHERE first_seq = ?", (first,))
        with pytest.raises(JournalCorruptError) as refused:
            recover(journal)
    assert refused.value.first_bad_seq == first


def test_a_record_that_verifies_and_does_not_apply_is_named() -> None:
    journal = MemoryJournal.fresh()
    kernel = begun(journal)
    seq = kernel.state.seq + 1
    never = OrderCancelled("no-such-order", "", "", START_NS)
    command = submit("X")
    journal.append([Entry(0, journal.epoch, seq, START_NS, 0, "", "", command, (), (never,))])
    with pytest.raises(JournalCorruptError) as refused:
        recover(journal)
    assert refused.value.first_bad_seq == seq


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(SqliteJournal.open(path, owner="first")) as journal:
        begun(journal)
        with pytest.raises(FencedError, match="first"):
            SqliteJournal.open(path, owner="second")
        play(recover_kernel(journal), journal, orders(70, 72))
    with closing(SqliteJournal.open(path, owner="second")) as journal:
        assert journal.epoch == 2


def recover_kernel(journal: SqliteJournal) -> Kernel:
    state = recover(journal).state
    state.epoch = journal.epoch
    return Kernel(state)


# -- recovery while the journal is opened ----------------------------------------------------------


def stored(path: Path, *, snapshot: bytes | None = None, after: int = 5) -> Recovery:
    """A journal on disk, with a snapshot before its last records if one is given; how it recovers alone."""
    with closing(SqliteJournal.open(path)) as journal:
        kernel = begun(journal)
        if snapshot is not None:
            state = snapshot or encode_state(kernel.state)
            journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, state))
        play(kernel, journal, orders(50, 50 + after))
    with closing(SqliteJournal.open_readonly(path)) as reader:
        return recover(reader)


def followed(path: Path, verify: Verify) -> Recovery:
    journal, recovery = open_and_recover(partial(SqliteJournal.open, path, verify=verify))
    journal.close()
    return recovery


@pytest.mark.parametrize("verify", ["full", "tail"])
@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("snapshot", [None, b"", b"garbage"], ids=["none", "sound", "unreadable"])
def test_recovery_while_opening_gives_what_recovery_gives(
    tmp_path: Path, verify: Verify, snapshot: bytes | None, after: int
) -> None:
    path = tmp_path / "journal.db"
    expected = stored(path, snapshot=snapshot, after=after)
    assert followed(path, verify) == expected
    assert (expected.snapshot_seq > 0) == (snapshot == b"")


def test_recovery_while_opening_passes_over_a_snapshot_that_lies_on_another_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    expected = stored(path)
    elsewhere = encode_snapshot(snapshot_of(expected.state, b"x" * 32))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO snapshot VALUES (0, ?, ?)", (expected.state.seq, elsewhere))
    assert followed(path, "tail") == expected


def test_an_empty_journal_is_recovered_while_it_is_opened(tmp_path: Path) -> None:
    assert followed(tmp_path / "journal.db", "full") == Recovery(State(), 0, 0)


def test_recovery_while_opening_reads_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    expected = stored(path)
    monkeypatch.setattr(SqliteJournal, "happened", None)
    assert followed(path, "full") == expected


def test_a_record_that_does_not_apply_ends_the_opening_and_nothing_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(SqliteJournal.open(path)) as journal:
        seq = begun(journal).state.seq + 1
        never = OrderCancelled("no-such-order", "", "", START_NS)
        journal.append([Entry(0, journal.epoch, seq, START_NS, 0, "", "", submit("X"), (), (never,))])
    with pytest.raises(JournalCorruptError, match="does not apply") as refused:
        followed(path, "full")
    assert refused.value.first_bad_seq == seq
    with closing(SqliteJournal.open(path)) as journal:
        assert journal.epoch == 2


def test_damage_is_named_before_a_record_that_does_not_apply(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(SqliteJournal.open(path)) as journal:
        seq = begun(journal).state.seq + 1
        never = OrderCancelled("no-such-order", "", "", START_NS)
        for at in (seq, seq + 1):
            journal.append([Entry(0, journal.epoch, at, START_NS, 0, "", "", submit("X"), (), (never,))])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE frame SET blob = ? WHERE first_seq = ?", (b"gone", seq + 1))
    with pytest.raises(JournalCorruptError) as refused:
        followed(path, "full")
    assert refused.value.first_bad_seq == seq + 1


@pytest.mark.parametrize("verify", ["full", "tail"])
def test_corruption_is_named_by_a_recovery_while_opening(tmp_path: Path, verify: Verify) -> None:
    path = tmp_path / "journal.db"
    stored(path, snapshot=b"")
    with closing(sqlite3.connect(path)) as db, db:
        first, blob = db.execute("SELECT first_seq, blob FROM frame ORDER BY first_seq DESC").fetchone()
        damaged = blob[:-9] + bytes([blob[-9] ^ 1]) + blob[-8:]
        db.execute("UPDATE frame SET blob = ? WHERE first_seq = ?", (damaged, first))
    with pytest.raises(JournalCorruptError) as refused:
        followed(path, verify)
    assert refused.value.first_bad_seq == first


# -- the replica -----------------------------------------------------------------------------------


def test_a_replica_fed_by_durable_records_gives_the_state_as_of_the_head() -> None:
    journal = MemoryJournal.fresh()
    kernel = begun(journal)
    replica = Replica(kernel.state, SnapshotPolicy(every_events=10))
    assert not replica.due
    replica.feed(play(kernel, journal, orders(50, 53)), journal.head)
    assert not replica.due
    replica.feed(play(kernel, journal, orders(53, 60)), journal.head)
    assert replica.due
    snapshot = replica.take(*replica.begin())
    assert not replica.due
    assert snapshot == snapshot_of(kernel.state, journal.head.hash)
    journal.save_snapshot(snapshot)
    assert recover(journal).records == 0


def test_a_replica_that_does_not_reach_the_head_gives_no_snapshot() -> None:
    journal = MemoryJournal.fresh()
    kernel = begun(journal)
    replica = Replica(kernel.state, SnapshotPolicy(every_events=1))
    lost = play(kernel, journal, orders(50, 53))
    with pytest.raises(ValueError, match="no durable frame"):
        replica.begin()
    replica.feed(lost[:-1], journal.head)
    with pytest.raises(ValueError, match="the replica is at sequence"):
        replica.take(*replica.begin())


def test_a_policy_needs_a_distance() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SnapshotPolicy(every_events=0)
