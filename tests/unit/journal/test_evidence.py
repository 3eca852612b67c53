"""Signed heads, export, and what tampering they show."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import pytest

from qtinfra.core.events import Entry
from qtinfra.core.exceptions import JournalCorruptError, JournalError, SecurityError
from qtinfra.core.ports import Head
from qtinfra.journal.anchor import (
    Anchor,
    Anchorer,
    AnchorFile,
    KeyFile,
    VerifyResult,
    sign_head,
    verify_journal,
)
from qtinfra.journal.codec import GENESIS, Chain, Frame, StoredRecord, encode_frame
from qtinfra.journal.export import export_lines, parse_export, read_export, verify_export, write_export
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.journal_contract import fill, follow, sample_entries

pytestmark = pytest.mark.unit


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile.load_or_create(tmp_path / "key.pem")


def anchored(journal: MemoryJournal, key: KeyFile, frames: int) -> list[Anchor]:
    """Append frames, anchoring the head after each."""
    anchors = []
    for number in range(frames):
        journal.append(follow(journal, 3, seed=number))
        anchors.append(sign_head(journal.head, number, key))
    return anchors


# --- keys and anchors -------------------------------------------------------------------------------------


def test_a_key_is_made_once_readable_by_its_owner_only_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    first, second = KeyFile.load_or_create(path), KeyFile.load_or_create(path)
    assert first.key_id == second.key_id
    assert path.stat().st_mode & 0o777 == 0o600
    assert [other.name for other in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    KeyFile.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(SecurityError):
        KeyFile.load_or_create(path)
    path.chmod(0o600)
    path.write_text("-----BEGIN NOTHING-----")
    with pytest.raises(SecurityError):
        KeyFile.load_or_create(path)


def test_an_anchor_is_one_json_line_and_its_signature_covers_every_field(
    tmp_path: Path, key: KeyFile
) -> None:
    file = AnchorFile(tmp_path / "anchors.jsonl")
    anchor = file.append(Head(0, 3, 17, bytes(range(32))), 123, key)
    (line,) = file.path.read_text().splitlines()
    assert list(json.loads(line)) == ["shard", "epoch", "seq", "hash", "ts_ns", "key_id", "signature"]
    assert file.read() == [anchor]
    assert anchor.signed_by(key.public_key)
    for field in ("shard", "epoch", "seq", "ts_ns"):
        changed = msgspec.structs.replace(anchor, **{field: getattr(anchor, field) + 1})
        assert not changed.signed_by(key.public_key)
    for field in ("hash", "key_id", "signature"):
        assert not msgspec.structs.replace(anchor, **{field: "00" * 32}).signed_by(key.public_key)


def test_a_torn_last_anchor_is_ignored_and_overwritten(tmp_path: Path, key: KeyFile) -> None:
    file = AnchorFile(tmp_path / "anchors.jsonl")
    first = file.append(Head(0, 1, 1, GENESIS), 1, key)
    with file.path.open("ab") as raw:
        raw.write(b'{"shard":0,"ep')
    assert file.read() == [first]
    second = file.append(Head(0, 1, 2, GENESIS), 2, key)
    assert file.read() == [first, second]


def test_an_unreadable_anchor_is_an_error(tmp_path: Path) -> None:
    file = AnchorFile(tmp_path / "anchors.jsonl")
    assert file.read() == []
    file.path.write_text("{}\n")
    with pytest.raises(JournalError, match="anchor 1"):
        file.read()


def test_the_head_is_anchored_every_so_many_events_or_after_so_long(tmp_path: Path, key: KeyFile) -> None:
    journal = MemoryJournal.fresh()
    file = AnchorFile(tmp_path / "anchors.jsonl")
    anchorer = Anchorer(journal, file, key, every_events=10, every_ns=1_000)
    assert anchorer.maybe_anchor(journal.head, 5_000) is None
    while journal.head.seq < 10:
        assert anchorer.maybe_anchor(journal.head, 0) is None
        journal.append(follow(journal, 1))
    due = anchorer.maybe_anchor(journal.head, 100)
    assert due is not None
    assert (due.seq, due.hash) == (journal.head.seq, journal.head.hash.hex())
    assert anchorer.maybe_anchor(journal.head, 9_999) is None
    journal.append(follow(journal, 1))
    assert anchorer.maybe_anchor(journal.head, 1_099) is None
    assert anchorer.maybe_anchor(journal.head, 1_100) is not None
    assert len(file.read()) == 2


def test_an_anchorer_refuses_a_journal_that_does_not_bear_out_the_newest_anchor(
    tmp_path: Path, key: KeyFile
) -> None:
    file = AnchorFile(tmp_path / "anchors.jsonl")
    journal = MemoryJournal.fresh()
    fill(journal, frames=2)
    file.append(journal.head, 1, key)
    Anchorer(journal, file, key, every_events=1)
    shorter, other = MemoryJournal.fresh(), MemoryJournal.fresh()
    fill(shorter, frames=1)
    other.append(sample_entries(50, seed=9))
    for wrong in (shorter, other):
        with pytest.raises(JournalError):
            Anchorer(wrong, file, key, every_events=1)
    stranger = KeyFile.load_or_create(tmp_path / "other.pem")
    with pytest.raises(JournalCorruptError, match="not signed by our key"):
        Anchorer(journal, file, stranger, every_events=1)


# --- verification -----------------------------------------------------------------------------------------


def test_a_good_journal_verifies_and_says_what_its_anchors_cannot_see(key: KeyFile) -> None:
    journal = MemoryJournal.fresh()
    anchors = anchored(journal, key, frames=4)
    result = verify_journal(journal.records(), anchors, key.public_key)
    assert result.ok
    at = journal.head.seq
    assert (result.records, result.events, result.last_anchored_seq) == (12, at, at)
    fill(journal, frames=1)
    later = verify_journal(journal.records(), anchors, key.public_key)
    assert later.ok
    assert (later.last_anchored_seq, later.unanchored_events) == (at, journal.head.seq - at)
    assert f"the last {journal.head.seq - at} events follow the newest anchor" in later.reason


def test_without_anchors_the_result_says_that_a_cut_tail_cannot_be_seen(key: KeyFile) -> None:
    journal = MemoryJournal.fresh()
    fill(journal, frames=2)
    result = verify_journal(journal.records())
    assert (result.ok, result.last_anchored_seq, result.unanchored_events) == (True, 0, journal.head.seq)
    assert "cut tail cannot be seen" in result.reason
    assert verify_journal([], [], key.public_key).ok


def test_a_chain_written_anew_is_found_by_the_anchor(key: KeyFile) -> None:
    journal, forged = MemoryJournal.fresh(), MemoryJournal.fresh()
    anchors = anchored(journal, key, frames=3)
    ends = [anchor.seq for anchor in anchors]
    entries = list(journal.read())
    forged.append([msgspec.structs.replace(entry, actor="eve") for entry in entries])
    assert verify_journal(forged.records()).ok
    result = verify_journal(forged.records(), anchors, key.public_key)
    assert (result.ok, result.first_bad_seq) == (False, 1)
    forged_later = MemoryJournal.fresh()
    forged_later.append([*entries[:5], *(msgspec.structs.replace(e, actor="eve") for e in entries[5:])])
    result = verify_journal(forged_later.records(), anchors, key.public_key)
    assert (result.ok, result.first_bad_seq, result.last_anchored_seq) == (False, ends[0] + 1, ends[0])


def test_anchors_unsigned_reordered_or_signed_by_another_key_prove_nothing(
    tmp_path: Path, key: KeyFile
) -> None:
    journal = MemoryJournal.fresh()
    anchors = anchored(journal, key, frames=3)
    stranger = KeyFile.load_or_create(tmp_path / "other.pem")
    records = list(journal.records())
    wrong: list[list[Anchor]] = [
        [anchors[1], anchors[0]],
        [msgspec.structs.replace(anchors[0], seq=anchors[0].seq + 1)],
        [sign_head(journal.head, 1, stranger)],
    ]
    for bad in wrong:
        assert not verify_journal(records, bad, key.public_key).ok
    assert not verify_journal(records, anchors).ok
    assert verify_journal(records, anchors, key.public_key).ok


# --- export -----------------------------------------------------------------------------------------------


def test_an_export_names_fields_and_reads_back_to_the_same_records(tmp_path: Path, key: KeyFile) -> None:
    journal = MemoryJournal.fresh()
    anchors = anchored(journal, key, frames=3)
    path = tmp_path / "journal.jsonl"
    assert write_export(journal.records(), path) == 9
    assert list(read_export(path)) == list(journal.records())
    assert verify_export(path, anchors, key.public_key).ok
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines[0]["prev_hash"] == "00" * 32
    assert lines[1]["prev_hash"] == lines[0]["hash"]
    fills = [event for line in lines for event in line["events"] if event["type"] == "OrderFilled@2"]
    assert fills[0]["fee"] == "-0.0030"
    assert {"order_id", "key", "report"} <= fills[0].keys()
    assert {"qty", "px", "liquidity"} <= fills[0]["report"].keys()
    commands = {line["command"]["type"] for line in lines}
    assert commands <= {"SubmitOrder", "RecordVenueReport", "RestrictSymbol"}


# --- tampering: a hundred random cases each, all found ----------------------------------------------------

T = TypeVar("T")


def flip(item: bytes, random: Random) -> bytes:
    changed = bytearray(item)
    changed[random.randrange(len(item))] ^= 1 << random.randrange(8)
    return bytes(changed)


def tamper(items: list[T], edit: Callable[[T], T], case: int, random: Random) -> list[T]:
    """A list with one item edited, deleted, swapped, inserted, or with its tail cut, by turns."""
    changed = list(items)
    at, other = random.sample(range(len(items)), 2)
    match case % 5:
        case 0:
            changed[at] = edit(changed[at])
        case 1:
            del changed[at]
        case 2:
            changed[at], changed[other] = changed[other], changed[at]
        case 3:
            changed.insert(at, changed[other])
        case _:
            del changed[-1 - at :]
    return changed


def verify_file(path: Path, anchor: Anchor, key: KeyFile) -> VerifyResult | JournalError:
    try:
        journal = SqliteJournal.open_readonly(path)
    except JournalError as error:
        return error
    result = verify_journal(journal.records(), [anchor], key.public_key)
    journal.close()
    return result


def seal_anew(entries: list[Entry]) -> Frame:
    """A frame of all entries, numbered and chained as if they had always been so."""
    numbered, seq = [], 1
    for entry in entries:
        numbered.append(msgspec.structs.replace(entry, seq=seq))
        seq = numbered[-1].last_seq + 1
    return Chain(0, epoch=1).seal(numbered)


def rewrite_rows(path: Path, frame: Frame) -> None:
    """Put one frame, with columns that agree with it, in the place of all rows."""
    header = frame.header
    row = (header.last_seq, header.epoch, header.prev_hash, frame.last_hash, encode_frame(frame))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM frame")
        db.execute("INSERT INTO frame VALUES (0, 1, ?, ?, ?, ?, ?)", row)


def change_rows(path: Path, case: int, random: Random) -> None:
    """Tamper with whole rows; a row moved or inserted takes the place of another."""
    with closing(sqlite3.connect(path)) as db, db:
        rows = db.execute("SELECT * FROM frame ORDER BY first_seq").fetchall()
        changed = tamper(rows, lambda row: (*row[:6], flip(row[6], random)), case, random)
        db.execute("DELETE FROM frame")
        firsts = [*(row[1] for row in rows), rows[-1][2] + 1]
        moved = case % 5 in (2, 3)
        for first, row in zip(firsts, changed, strict=False):
            values = (0, first if moved else row[1], *row[2:])
            db.execute("INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def test_every_tampering_with_the_rows_of_a_journal_is_found(tmp_path: Path, key: KeyFile) -> None:
    path, random = tmp_path / "shard.db", Random(2)
    journal = SqliteJournal.open(path)
    fill(journal, frames=8)
    anchor = sign_head(journal.head, 1, key)
    records = [(record.entry_bytes, record.hash) for record in journal.records()]
    journal.close()
    good = path.read_bytes()
    header = Chain(0, epoch=1).seal(sample_entries(1)).header
    whole = msgspec.structs.replace(header, last_seq=anchor.seq)
    rewrite_rows(path, Frame(whole, records))
    assert getattr(verify_file(path, anchor, key), "ok", False)
    for case in range(100):
        path.write_bytes(good)
        if case % 2:
            change_rows(path, case, random)
        else:
            changed = tamper(records, lambda record: (flip(record[0], random), record[1]), case, random)
            rewrite_rows(path, Frame(whole, changed))
        result = verify_file(path, anchor, key)
        assert isinstance(result, JournalCorruptError) or (isinstance(result, VerifyResult) and not result.ok)
        assert result.first_bad_seq is not None, case


def test_a_forger_who_computes_the_whole_chain_anew_is_found_by_the_anchor(
    tmp_path: Path, key: KeyFile
) -> None:
    path, random = tmp_path / "shard.db", Random(4)
    journal = SqliteJournal.open(path)
    entries = fill(journal, frames=8)
    anchor = sign_head(journal.head, 1, key)
    journal.close()
    rewrite_rows(path, seal_anew(entries))
    assert getattr(verify_file(path, anchor, key), "ok", False)
    for case in range(50):
        forged = tamper(entries, lambda entry: msgspec.structs.replace(entry, actor="eve"), case, random)
        rewrite_rows(path, seal_anew(forged))
        result = verify_file(path, anchor, key)
        assert isinstance(result, VerifyResult)
        assert (result.ok, result.first_bad_seq is not None) == (False, True), case


def test_every_tampering_with_an_exported_file_is_found(tmp_path: Path, key: KeyFile) -> None:
    journal = MemoryJournal.fresh()
    fill(journal, frames=8)
    anchor = sign_head(journal.head, 1, key)
    lines = [line.encode() + b"\n" for line in export_lines(journal.records())]
    path, random = tmp_path / "journal.jsonl", Random(3)
    for case in range(150):
        changed = tamper(lines, lambda line: flip(line, random), case, random)
        path.write_bytes(b"".join(changed))
        result = verify_export(path, [anchor], key.public_key)
        assert (result.ok, result.first_bad_seq is not None) == (False, True), case


def test_an_edit_of_the_readable_part_alone_is_found_and_named() -> None:
    journal = MemoryJournal.fresh()
    entries = fill(journal, frames=1, per_frame=4)
    lines = list(export_lines(journal.records()))
    lines[2] = lines[2].replace('"actor":"ann"', '"actor":"eve"')
    with pytest.raises(JournalCorruptError, match="readable part") as error:
        list(parse_export(lines))
    assert error.value.first_bad_seq == entries[2].seq


def test_records_in_memory_verify_like_stored_ones_and_a_bad_one_is_named() -> None:
    entries = sample_entries(5)
    frame: Frame = Chain(0, epoch=1).seal(entries)
    assert encode_frame(frame).startswith(b"QTJ1")
    records = [
        StoredRecord(data, digest, entry)
        for (data, digest), entry in zip(frame.records, entries, strict=True)
    ]
    assert verify_journal(records).ok
    bad = [*records[:3], StoredRecord(records[3].entry_bytes, bytes(32), entries[3]), *records[4:]]
    result = verify_journal(bad)
    assert (result.records, result.events, result.first_bad_seq) == (3, entries[2].last_seq, entries[3].seq)
    assert not verify_journal([StoredRecord(b"\xc1", bytes(32), entries[0])]).ok
