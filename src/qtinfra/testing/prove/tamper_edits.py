"""Ways of damaging a journal's file, each with the sequences that verification may name for it.

The journal is a list of units: frames in a log or SQLite file, lines in an export. Edits work on that list,
as somebody would who knows the format, or on the bytes of the file.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

from qtinfra.core.commands import RestrictSymbol
from qtinfra.core.events import Entry, SymbolRestricted
from qtinfra.journal.codec import Chain, Frame, FrameHeader, Record, StoredRecord, encode_entry, encode_frame
from qtinfra.journal.export import export_line
from qtinfra.journal.log import LogJournal, wrap
from qtinfra.journal.versions import decode_entry

MEDIA = ("sqlite", "log", "jsonl")
_MOST_BYTES = 24
_COLUMNS = ("shard", "last_seq", "epoch", "prev_hash", "hash", "blob")
_INSERT = (
    "INSERT INTO frame (shard, first_seq, last_seq, epoch, prev_hash, hash, blob) VALUES (0,?,?,?,?,?,?)"
)
_ROW = "SELECT blob FROM frame WHERE shard = 0 AND first_seq = ?"


class Damage(msgspec.Struct, frozen=True):
    """What was done, in words, and which sequences are right answers to it.

    Attributes:
        exact, high: the first damaged one; higher than `exact` where the damaged record verifies by itself.
        low: where the first signed head after it may put the blame: after the last head that holds.
    """

    text: str
    low: int
    exact: int
    high: int


class Unit(NamedTuple):
    """A frame or a line. `slot` is its key in a table: its first sequence, unless somebody moved it."""

    slot: int
    frame: Frame


class History(msgspec.Struct, frozen=True):
    """The sound journal: its frames, all records, and the sequences of its signed heads, 0 first."""

    frames: list[Frame]
    records: list[Record]
    signed: tuple[int, ...]

    @classmethod
    def of(cls, log: Path, signed: tuple[int, ...]) -> History:
        """Read it from a log file; `frames` hold one record each."""
        journal = LogJournal.open_readonly(log)
        try:
            frames = [_framed((one.entry_bytes, one.hash), one.entry) for one in journal.records()]
        finally:
            journal.close()
        linked = _linked(frames)
        return cls(linked, [frame.records[0] for frame in linked], signed)

    @property
    def last_seq(self) -> int:
        return self.frames[-1].header.last_seq

    @property
    def anchored_seq(self) -> int:
        return self.signed[-1]

    @property
    def anchored_records(self) -> int:
        """How many records the newest signed head stands for."""
        return sum(frame.header.last_seq <= self.anchored_seq for frame in self.frames)

    def blame(self, seq: int) -> int:
        """The first sequence after the last signed head before `seq`."""
        return 1 + max(signed for signed in self.signed if signed < seq)


def _framed(record: Record, entry: Entry) -> Frame:
    return Frame(FrameHeader(entry.shard, entry.epoch, entry.seq, entry.last_seq, b""), [record])


def _linked(frames: Sequence[Frame]) -> list[Frame]:
    """The frames with the hash before each in its header."""
    before, made = bytes(32), []
    for frame in frames:
        made.append(Frame(msgspec.structs.replace(frame.header, prev_hash=before), frame.records))
        before = frame.last_hash
    return made


class Place(msgspec.Struct, frozen=True):
    """A copy to damage: the file, its medium, the sound history and units, older sound copies and states by
    sequence. States are of every record's end; snapshots are kept of some of them."""

    path: Path
    medium: str
    history: History
    units: list[Unit]
    older: list[tuple[int, Path]]
    states: Mapping[int, bytes]

    def read(self) -> bytearray:
        return bytearray(self.path.read_bytes())


Edit = Callable[[Place, Random], Damage]


# --- writing what somebody has made of it -------------------------------------------------------------------


def units_of(history: History, medium: str, per_frame: int) -> list[Unit]:
    """The sound units of a medium: lines of one record, frames of up to `per_frame` within an epoch."""
    if medium == "jsonl":
        return [Unit(frame.header.first_seq, frame) for frame in history.frames]
    groups: list[list[Frame]] = []
    for frame in history.frames:
        fits = groups and len(groups[-1]) < per_frame and groups[-1][0].header.epoch == frame.header.epoch
        if fits:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return [Unit(group[0].header.first_seq, _joined(group)) for group in groups]


def _joined(group: list[Frame]) -> Frame:
    header = msgspec.structs.replace(group[0].header, last_seq=group[-1].header.last_seq)
    return Frame(header, [record for frame in group for record in frame.records])


def write_units(path: Path, medium: str, units: Sequence[Unit]) -> None:
    """Make the file say what the units say, in the form of its medium."""
    if medium == "sqlite":
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN")
            db.execute("DELETE FROM frame")
            db.executemany(_INSERT, [_row(unit) for unit in units])
            db.execute("COMMIT")
        return
    path.write_bytes(b"".join(_payload(medium, unit.frame) for unit in units))


def _row(unit: Unit) -> tuple[object, ...]:
    header, frame = unit.frame.header, unit.frame
    return unit.slot, header.last_seq, header.epoch, header.prev_hash, frame.last_hash, encode_frame(frame)


def _payload(medium: str, frame: Frame) -> bytes:
    if medium == "log":
        return wrap(encode_frame(frame))
    data, digest = frame.records[0]
    line = export_line(StoredRecord(data, digest, decode_entry(data)), frame.header.prev_hash)
    return line.encode() + b"\n"


# --- forging ------------------------------------------------------------------------------------------------


def _span(record: Record) -> tuple[int, int]:
    entry = decode_entry(record[0])
    return entry.seq, entry.last_seq


def _forged(record: Record, rng: Random) -> bytes:
    """The record with another quantity, author, time or correlation."""
    entry = decode_entry(record[0])
    command = entry.command
    qty = getattr(command, "qty", None)
    if qty is not None and rng.random() < 0.5:
        changed = msgspec.structs.replace(command, qty=qty + 1)
        return encode_entry(msgspec.structs.replace(entry, command=changed))
    changes = ({"actor": entry.actor + "x"}, {"ts_ns": entry.ts_ns + 1}, {"correlation_id": "other"})
    return encode_entry(msgspec.structs.replace(entry, **rng.choice(changes)))


def _before(frame: Frame, number: int) -> bytes:
    """The chain's hash before a record of the frame."""
    return frame.records[number - 1][1] if number else frame.header.prev_hash


def _with_record(unit: Unit, number: int, record: Record) -> Unit:
    records = [*unit.frame.records]
    records[number] = record
    return Unit(unit.slot, Frame(unit.frame.header, records))


def _pick(place: Place, rng: Random) -> tuple[int, int, Record]:
    """A record: number of its unit, number within, itself."""
    at = rng.randrange(len(place.units))
    number = rng.randrange(len(place.units[at].frame.records))
    return at, number, place.units[at].frame.records[number]


# --- edits of units -----------------------------------------------------------------------------------------


def _field(place: Place, rng: Random) -> Damage:
    at, number, record = _pick(place, rng)
    units = [*place.units]
    units[at] = _with_record(units[at], number, (_forged(record, rng), record[1]))
    write_units(place.path, place.medium, units)
    first, _ = _span(record)
    return Damage(f"the record of {first} changed", first, first, first)


def _field_and_hash(place: Place, rng: Random) -> Damage:
    at, number, record = _pick(place, rng)
    units = [*place.units]
    data = _forged(record, rng)
    units[at] = _with_record(
        units[at], number, (data, sha256(_before(units[at].frame, number) + data).digest())
    )
    write_units(place.path, place.medium, units)
    first, last = _span(record)
    return Damage(f"the record of {first} and its hash changed", place.history.blame(first), first, last + 1)


def _rewrite(place: Place, rng: Random) -> Damage:
    """Everything from one record on is chained anew: a valid journal that says something else."""
    at, number, record = _pick(place, rng)
    data, units = _forged(record, rng), [*place.units]
    units[at] = _with_record(units[at], number, (data, b""))
    before = _before(units[at].frame, 0)
    for i in range(at, len(units)):
        header = msgspec.structs.replace(units[i].frame.header, prev_hash=before)
        records: list[Record] = []
        for data, digest in units[i].frame.records:
            kept = i == at and len(records) < number
            before = digest if kept else sha256(before + data).digest()
            records.append((data, before))
        units[i] = Unit(units[i].slot, Frame(header, records))
    write_units(place.path, place.medium, units)
    first, _ = _span(record)
    return Damage(f"history written anew from {first}", place.history.blame(first), first, first)


def _delete(place: Place, rng: Random) -> Damage:
    at = rng.randrange(len(place.units))
    write_units(place.path, place.medium, [*place.units[:at], *place.units[at + 1 :]])
    first = place.units[at].frame.header.first_seq
    return Damage(f"the unit of {first} deleted", first, first, first)


def _delete_record(place: Place, rng: Random) -> Damage:
    at, number, record = _pick(place, rng)
    unit = place.units[at]
    if len(unit.frame.records) == 1:
        return _delete(place, rng)
    records = [*unit.frame.records[:number], *unit.frame.records[number + 1 :]]
    units = [*place.units]
    units[at] = Unit(unit.slot, Frame(unit.frame.header, records))
    write_units(place.path, place.medium, units)
    first, start = _span(record)[0], unit.frame.header.first_seq
    return Damage(f"the record of {first} taken out of its frame", start, start, first)


def _swap(place: Place, rng: Random) -> Damage:
    one, other = sorted(rng.sample(range(len(place.units)), 2))
    units = [*place.units]
    units[one] = Unit(place.units[one].slot, place.units[other].frame)
    units[other] = Unit(place.units[other].slot, place.units[one].frame)
    write_units(place.path, place.medium, units)
    first = place.units[one].frame.header.first_seq
    return Damage(
        f"the units of {first} and {units[one].frame.header.first_seq} swapped", first, first, first
    )


def _after(place: Place, at: int) -> int | None:
    """A free key between a unit and the next one; None when there is none."""
    slot = place.units[at].slot + 1
    end = place.units[at + 1].slot if at + 1 < len(place.units) else slot + 1
    return slot if slot < end or place.medium != "sqlite" else None


def _duplicate(place: Place, rng: Random) -> Damage:
    at, slot = _free(place, rng)
    unit = place.units[at]
    write_units(
        place.path,
        place.medium,
        [*place.units[: at + 1], Unit(slot, unit.frame), *place.units[at + 1 :]],
    )
    following = unit.frame.header.last_seq + 1
    return Damage(f"the unit that ends before {following} stands twice", following, following, following)


def _insert(place: Place, rng: Random) -> Damage:
    """A well made frame is put between two others: it verifies, what follows it does not any more."""
    at, slot = _free(place, rng)
    header, digest = place.units[at].frame.header, place.units[at].frame.last_hash
    following = header.last_seq + 1
    chain = Chain(header.shard, epoch=header.epoch, seq=header.last_seq, hash=digest)
    event = SymbolRestricted("GME", "*", False)
    command = RestrictSymbol("GME", restricted=False)
    entry = Entry(header.shard, header.epoch, following, 1, 1, "nobody", "", command, (), (event,))
    units = [*place.units[: at + 1], Unit(slot, chain.seal([entry])), *place.units[at + 1 :]]
    write_units(place.path, place.medium, units)
    low = place.history.blame(following)
    return Damage(f"a forged record inserted as {following}", low, following, following + 1)


def _free(place: Place, rng: Random) -> tuple[int, int]:
    """A unit after which one more fits, and the key for it."""
    while True:
        at = rng.randrange(len(place.units))
        slot = _after(place, at)
        if slot is not None:
            return at, slot


def _cut(place: Place, rng: Random) -> Damage:
    keep = rng.randrange(1, len(place.units))
    write_units(place.path, place.medium, place.units[:keep])
    first = place.units[keep].frame.header.first_seq
    return Damage(f"cut before {first}", first, first, first)


def _roll_back(place: Place, rng: Random) -> Damage:
    seq, older = rng.choice(place.older)
    shutil.copyfile(older, place.path)
    return Damage(f"rolled back to {seq}", seq + 1, seq + 1, seq + 1)


def _column(place: Place, rng: Random) -> Damage:
    """One value of one row changed by SQL, the blob included."""
    unit, column = rng.choice(place.units), rng.choice(_COLUMNS)
    with closing(sqlite3.connect(place.path, isolation_level=None)) as db:
        value = db.execute(f"SELECT {column} FROM frame WHERE first_seq = ?", (unit.slot,)).fetchone()[0]  # noqa: S608
        other = value + 1 if isinstance(value, int) else flipped(value, rng)
        db.execute(f"UPDATE frame SET {column} = ? WHERE first_seq = ?", (other, unit.slot))  # noqa: S608
    header = unit.frame.header
    return Damage(f"{column} of row {unit.slot} changed", header.first_seq, header.first_seq, header.last_seq)


# --- edits of bytes -----------------------------------------------------------------------------------------


def flipped(data: bytes, rng: Random) -> bytes:
    """The bytes with one bit the other way."""
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _bit(place: Place, rng: Random) -> Damage:
    data = place.read()
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    return _written(place, at, data, "a bit flipped")


def _byte(place: Place, rng: Random) -> Damage:
    data = place.read()
    at = rng.randrange(len(data))
    data[at] ^= rng.randrange(1, 256)
    return _written(place, at, data, "a byte changed")


def _zeros(place: Place, rng: Random) -> Damage:
    data = place.read()
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.randrange(1, _MOST_BYTES))
    data[at:end] = bytes(end - at)
    return _written(place, at, data, "bytes set to zero")


def _remove_bytes(place: Place, rng: Random) -> Damage:
    data = place.read()
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, _MOST_BYTES)]
    return _written(place, at, data, "bytes removed")


def _insert_bytes(place: Place, rng: Random) -> Damage:
    data = place.read()
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.randrange(1, _MOST_BYTES))
    return _written(place, at, data, "bytes inserted")


def _cut_bytes(place: Place, rng: Random) -> Damage:
    data = place.read()
    at = rng.randrange(1, len(data))
    del data[at:]
    return _written(place, at, data, "cut")


def _written(place: Place, at: int, data: bytearray, what: str) -> Damage:
    place.path.write_bytes(data)
    low, high = _rows(place) if place.medium == "sqlite" else _unit_at(place, at)
    return Damage(f"{what} at byte {at}", low, low, high)


def _unit_at(place: Place, at: int) -> tuple[int, int]:
    """The sequences of the unit that stands at a byte of the sound file."""
    ends = accumulate(len(_payload(place.medium, unit.frame)) for unit in place.units)
    header = next(unit.frame.header for unit, end in zip(place.units, ends, strict=True) if at < end)
    return header.first_seq, header.last_seq


def _rows(place: Place) -> tuple[int, int]:
    """Damage to a database may show anywhere up to the first row that does not read as it was."""
    for unit in place.units:
        if not _reads_alike(place.path, unit):
            return 1, unit.frame.header.last_seq
    return 1, place.history.last_seq + 1


def _reads_alike(path: Path, unit: Unit) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            row = db.execute(_ROW, (unit.slot,)).fetchone()
    except (sqlite3.Error, UnicodeDecodeError):  # the latter from a name in a damaged schema
        return False
    return row is not None and row[0] == encode_frame(unit.frame)


#: Ways that work on records, rows and bytes, by name. A way of `TABLE_EDITS` is for a SQLite file only.
EDITS: dict[str, Edit] = {
    "bit": _bit,
    "field": _field,
    "byte": _byte,
    "field and hash": _field_and_hash,
    "deletion": _delete,
    "swap": _swap,
    "zeros": _zeros,
    "insertion": _insert,
    "duplication": _duplicate,
    "cut tail": _cut,
    "cut at a byte": _cut_bytes,
    "roll back": _roll_back,
    "rewritten history": _rewrite,
    "bytes removed": _remove_bytes,
    "bytes inserted": _insert_bytes,
    "record taken out": _delete_record,
}
TABLE_EDITS: dict[str, Edit] = {"column": _column}
