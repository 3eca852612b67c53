# ruff: noqa: S101  (asserts are what a suite of tests consists of)
"""The contract of `core.ports.Journal`: a suite of tests that every adapter inherits.

A test module subclasses `JournalContract`, fills in how to open one, and pytest runs all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec
import pytest

from qtinfra.core.commands import AnyCommand, RecordVenueReport, RestrictSymbol, SubmitOrder
from qtinfra.core.events import AnyEvent, Entry, OrderAccepted, OrderFilled, OrderRejected, SymbolRestricted
from qtinfra.core.exceptions import FencedError, JournalCorruptError, JournalError
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.models import Capacity, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.ports import Head, Snapshot
from qtinfra.core.reports import ReportKind, VenueReport
from qtinfra.journal.base import FrameJournal, Verify
from qtinfra.journal.codec import GENESIS, encode_entry, encode_snapshot

_START_NS = 1_700_000_000_000_000_000


def sample_entries(
    count: int, *, shard: int = 0, epoch: int = 1, after_seq: int = 0, seed: int = 1
) -> list[Entry]:
    """Valid entries of one to three events each that follow `after_seq`; the same for the same arguments."""
    random = Random(seed)
    entries, seq = [], after_seq + 1
    for _ in range(count):
        entry = _entry(random, shard, epoch, seq)
        entries.append(entry)
        seq = entry.last_seq + 1
    return entries


def _entry(random: Random, shard: int, epoch: int, seq: int) -> Entry:
    now = _START_NS + seq * 1_000
    qty, px = Decimal(random.randint(1, 999)), Decimal(random.randint(1, 99_999)).scaleb(-2)
    command, market, events = random.choice((_order, _fill, _restriction))(f"c{seq}", qty, px, now)
    return Entry(shard, epoch, seq, now, now - 500, "ann", f"r{seq}", command, market, events)


_Parts = tuple[AnyCommand, tuple[ConsolidatedBook, ...], tuple[AnyEvent, ...]]


def _order(name: str, qty: Decimal, px: Decimal, now: int) -> _Parts:
    side, kind, tif = OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY
    command = SubmitOrder("a1", name, "AAPL", side, kind, tif, qty, px)
    book = ConsolidatedBook("AAPL", (VenueQuote("XNAS", ((px, qty),), (), now),))
    terms = (
        "a1",
        name,
        "AAPL",
        side,
        kind,
        tif,
        qty,
        px,
        Decimal(0),
        Capacity.AGENCY,
        "",
        Origin.CLIENT,
        now,
    )
    accepted = OrderAccepted(f"o-{name}", command, now)
    rejected = OrderRejected(f"p-{name}", *terms, "risk", "qty", "1", str(qty), "too “large”", 3)
    return command, (book,), (accepted, rejected, RESTRICTED)


RESTRICTED = SymbolRestricted("GME", "*", True)


def _fill(name: str, qty: Decimal, px: Decimal, now: int) -> _Parts:
    report = VenueReport(
        ReportKind.FILL, "XNAS", name, seq=7, exec_id="e1", qty=qty, px=px, liquidity=Liquidity.ADDED
    )
    filled = OrderFilled(report, name, "o1", f"k{name}", "2023-11-14", Decimal("-0.0030"), False, now)
    return RecordVenueReport(report), (), (filled, RESTRICTED)


def _restriction(name: str, qty: Decimal, px: Decimal, now: int) -> _Parts:
    del name, qty, px, now
    return RestrictSymbol("GME"), (), (RESTRICTED,)


def follow(journal: FrameJournal, count: int, seed: int = 1) -> list[Entry]:
    """Sample entries that the journal takes next."""
    head = journal.head
    return sample_entries(count, shard=head.shard, epoch=journal.epoch, after_seq=head.seq, seed=seed)


def fill(journal: FrameJournal, frames: int, per_frame: int = 3) -> list[Entry]:
    """Append sample frames; their entries."""
    written: list[Entry] = []
    for number in range(frames):
        entries = follow(journal, per_frame, seed=number)
        journal.append(entries)
        written += entries
    return written


class JournalContract:
    """What every adapter promises. Subclasses give the five methods that raise NotImplementedError."""

    def open(self, place: Path, *, shard: int = 0, owner: str = "", verify: Verify = "full") -> FrameJournal:
        """Open the journal at `place` for writing."""
        raise NotImplementedError

    def open_readonly(self, place: Path) -> FrameJournal:
        """Open the journal at `place` for reading."""
        raise NotImplementedError

    def break_lock(self, place: Path) -> None:
        """Take the lock away from its living holder."""
        raise NotImplementedError

    def plant_snapshot(self, place: Path, seq: int, blob: bytes) -> None:
        """Put a snapshot's bytes into the store of a closed journal, unchecked."""
        raise NotImplementedError

    def cut_frames(self, place: Path, count: int) -> None:
        """Remove the last frames of a closed journal, whole."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "shard.journal"

    @pytest.fixture
    def journal(self, place: Path) -> Iterator[FrameJournal]:
        journal = self.open(place, owner="first")
        yield journal
        journal.close()

    # --- appending and reading ----------------------------------------------------------------------------

    def test_an_empty_journal_ends_at_sequence_zero_with_32_zero_bytes(self, journal: FrameJournal) -> None:
        assert journal.head == Head(0, 1, 0, bytes(32))
        assert list(journal.read()) == []
        assert journal.recovered is None

    def test_what_was_appended_is_read_back_equal_and_in_order(self, journal: FrameJournal) -> None:
        written = fill(journal, frames=5)
        assert list(journal.read()) == written

    def test_the_head_is_the_sha256_chain_over_the_entries(self, journal: FrameJournal) -> None:
        digest = bytes(32)
        for entry in fill(journal, frames=3):
            digest = sha256(digest + encode_entry(entry)).digest()
        assert journal.head.hash == digest

    def test_append_returns_the_new_head(self, journal: FrameJournal) -> None:
        entries = follow(journal, 4)
        head = journal.append(entries)
        assert head == journal.head
        assert (head.shard, head.epoch, head.seq) == (0, journal.epoch, entries[-1].last_seq)

    def test_the_chain_does_not_depend_on_how_records_are_grouped_into_frames(self, place: Path) -> None:
        heads = []
        for size in (1, 64):
            journal = self.open(place.with_name(f"by-{size}"))
            entries = sample_entries(64)
            for start in range(0, 64, size):
                journal.append(entries[start : start + size])
            heads.append(journal.head)
            journal.close()
        assert heads[0] == heads[1]

    def test_reading_starts_after_the_given_sequence_also_within_a_frame(self, journal: FrameJournal) -> None:
        written = fill(journal, frames=70, per_frame=3)
        for at in (0, 1, 2, 3, 100, len(written) - 2, len(written) - 1):
            assert list(journal.read(written[at].last_seq)) == written[at + 1 :]

    def test_what_happened_is_read_with_equal_events_and_the_rest_as_it_is_written(
        self, journal: FrameJournal
    ) -> None:
        written = fill(journal, frames=20, per_frame=3)
        for at in (0, 1, len(written) - 2):
            happened = list(journal.happened(written[at].last_seq))
            assert [entry.events for entry in happened] == [entry.events for entry in written[at + 1 :]]
            assert [msgspec.msgpack.encode(entry) for entry in happened] == [
                encode_entry(entry) for entry in written[at + 1 :]
            ]

    def test_reading_after_a_sequence_where_no_record_ends_is_refused(self, journal: FrameJournal) -> None:
        written = fill(journal, frames=4)
        inside = next(entry for entry in written if entry.last_seq > entry.seq)
        for seq in (inside.seq, journal.head.seq + 1, -1):
            with pytest.raises(JournalError):
                list(journal.read(seq))

    def test_records_carry_original_bytes_and_hashes(self, journal: FrameJournal) -> None:
        written = fill(journal, frames=3)
        records = list(journal.records())
        assert [record.entry for record in records] == written
        assert [record.entry_bytes for record in records] == [encode_entry(entry) for entry in written]
        assert records[-1].hash == journal.head.hash

    def test_head_at_is_the_hash_at_the_end_of_a_record(self, journal: FrameJournal) -> None:
        fill(journal, frames=4)
        assert journal.head_at(0) == GENESIS
        for record in journal.records():
            assert journal.head_at(record.entry.last_seq) == record.hash
        with pytest.raises(JournalError):
            journal.head_at(journal.head.seq + 1)

    def test_it_may_be_used_from_another_thread_than_the_one_that_opened_it(
        self, journal: FrameJournal
    ) -> None:
        worker = threading.Thread(target=fill, args=(journal, 2))
        worker.start()
        worker.join()
        assert len(list(journal.read())) == 6

    # --- refusals before writing --------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("what", "wrong"),
        [
            ("a gap", lambda: sample_entries(1, after_seq=1)),
            ("another shard", lambda: sample_entries(1, shard=1)),
            ("an older epoch", lambda: sample_entries(1, epoch=0)),
            ("a later epoch", lambda: sample_entries(1, epoch=2)),
            ("a gap within", lambda: [*sample_entries(1), *sample_entries(1, after_seq=9)]),
            ("the same twice", lambda: sample_entries(1) * 2),
            ("nothing", list),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_entries_that_do_not_follow_the_head_are_refused_and_nothing_is_written(
        self, journal: FrameJournal, what: str, wrong: Callable[[], list[Entry]]
    ) -> None:
        before = journal.head
        with pytest.raises(JournalError):
            journal.append(wrong())
        assert (journal.head, list(journal.read())) == (before, []), what
        journal.append(sample_entries(1))

    def test_a_record_without_events_is_refused(self, journal: FrameJournal) -> None:
        empty = Entry(0, 1, 1, 1, 1, "", "", RestrictSymbol("GME"), (), ())
        with pytest.raises(JournalError):
            journal.append([empty])

    # --- owners -------------------------------------------------------------------------------------------

    def test_reopening_finds_the_same_end_and_begins_a_new_epoch(self, place: Path) -> None:
        first = self.open(place)
        written = fill(first, frames=3)
        end = first.head
        first.close()
        again = self.open(place)
        assert (again.head.seq, again.head.hash) == (end.seq, end.hash)
        assert (again.epoch, again.head.epoch) == (2, 2)
        written += fill(again, frames=1)
        assert list(again.read()) == written
        again.close()

    def test_a_second_writer_is_refused_while_the_first_lives_and_is_told_who_it_is(
        self, place: Path, journal: FrameJournal
    ) -> None:
        with pytest.raises(FencedError, match=r"pid \d+ first"):
            self.open(place, owner="second")
        fill(journal, frames=1)

    def test_a_stale_writer_is_fenced_and_writes_nothing(self, place: Path) -> None:
        stale = self.open(place, owner="stale")
        fill(stale, frames=2)
        late = follow(stale, 2)
        self.break_lock(place)
        successor = self.open(place, owner="successor")
        assert successor.epoch == stale.epoch + 1
        with pytest.raises(FencedError) as fenced:
            stale.append(late)
        assert (fenced.value.context["epoch"], fenced.value.context["stored_epoch"]) == (1, 2)
        fill(successor, frames=1)
        assert len(list(successor.read())) == 9
        with pytest.raises(JournalError, match="reopen"):
            stale.append(late)
        stale.close()
        successor.close()

    def test_a_closed_journal_takes_nothing_more(self, place: Path) -> None:
        journal = self.open(place)
        journal.close()
        journal.close()
        with pytest.raises(JournalError):
            journal.append(sample_entries(1))

    def test_reading_needs_no_ownership_and_gives_none(self, place: Path, journal: FrameJournal) -> None:
        written = fill(journal, frames=3)
        reader = self.open_readonly(place)
        assert list(reader.read()) == written
        assert (reader.head, reader.epoch) == (journal.head, 1)
        with pytest.raises(JournalError, match="reading only"):
            reader.append(follow(journal, 1))
        reader.close()
        fill(journal, frames=1)

    def test_opening_what_does_not_exist_for_reading_is_an_error(self, place: Path) -> None:
        with pytest.raises(JournalError):
            self.open_readonly(place)

    # --- snapshots ----------------------------------------------------------------------------------------

    def test_without_a_snapshot_there_is_none(self, journal: FrameJournal) -> None:
        assert journal.latest_snapshot() is None

    def test_the_newest_snapshot_is_found_also_after_reopening(self, place: Path) -> None:
        journal = self.open(place)
        for number in range(5):
            fill(journal, frames=1)
            journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, b"state %d" % number))
        newest = journal.latest_snapshot()
        assert newest == Snapshot(0, journal.head.seq, journal.head.hash, b"state 4")
        journal.close()
        for verify in ("full", "tail"):
            again = self.open(place, verify=verify)
            assert again.latest_snapshot() == newest
            assert len(list(again.read())) == 15
            again.close()

    def test_a_snapshot_may_lie_at_any_record_also_within_a_frame(self, place: Path) -> None:
        journal = self.open(place)
        fill(journal, frames=3)
        record = list(journal.records())[4]
        snapshot = Snapshot(0, record.entry.last_seq, record.hash, b"s")
        journal.save_snapshot(snapshot)
        journal.close()
        again = self.open(place, verify="tail")
        assert again.latest_snapshot() == snapshot
        assert len(list(again.read(snapshot.seq))) == 4
        again.close()

    def test_a_snapshot_of_another_chain_shard_or_place_is_not_saved(self, journal: FrameJournal) -> None:
        fill(journal, frames=2)
        head = journal.head
        for wrong in (
            Snapshot(0, head.seq, bytes(32), b""),
            Snapshot(1, head.seq, head.hash, b""),
            Snapshot(0, head.seq - 1, head.hash, b""),
            Snapshot(0, head.seq + 1, head.hash, b""),
        ):
            with pytest.raises(JournalError):
                journal.save_snapshot(wrong)
        assert journal.latest_snapshot() is None

    def test_a_snapshot_off_the_chain_or_damaged_is_ignored_for_an_older_good_one(self, place: Path) -> None:
        journal = self.open(place)
        fill(journal, frames=1)
        good = Snapshot(0, journal.head.seq, journal.head.hash, b"good")
        journal.save_snapshot(good)
        fill(journal, frames=2)
        ends = [record.entry.last_seq for record in journal.records()]
        journal.close()
        damaged = bytearray(encode_snapshot(Snapshot(0, ends[6], bytes(32), b"state")))
        damaged[-1] ^= 1
        self.plant_snapshot(place, ends[6], bytes(damaged))
        self.plant_snapshot(place, ends[5], encode_snapshot(Snapshot(0, ends[5], bytes(32), b"other chain")))
        for verify in ("full", "tail"):
            again = self.open(place, verify=verify)
            assert again.latest_snapshot() == good
            assert len(list(again.read())) == 9
            again.close()

    def test_a_reader_passes_over_snapshots_newer_than_its_head(
        self, place: Path, journal: FrameJournal
    ) -> None:
        fill(journal, frames=1)
        old = Snapshot(0, journal.head.seq, journal.head.hash, b"old")
        journal.save_snapshot(old)
        reader = self.open_readonly(place)
        fill(journal, frames=1)
        journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, b"new"))
        assert reader.latest_snapshot() == old
        reader.close()

    @pytest.mark.parametrize("left", [0, 2])
    def test_a_journal_shorter_than_its_snapshot_is_refused(self, place: Path, left: int) -> None:
        journal = self.open(place)
        fill(journal, frames=left)
        kept = journal.head.seq
        fill(journal, frames=2)
        journal.save_snapshot(Snapshot(0, journal.head.seq, journal.head.hash, b"s"))
        journal.close()
        self.cut_frames(place, 2)
        for verify in ("full", "tail"):
            with pytest.raises(JournalCorruptError, match="journal is shorter than its snapshot") as shorter:
                self.open(place, verify=verify)
            assert shorter.value.first_bad_seq == kept + 1
