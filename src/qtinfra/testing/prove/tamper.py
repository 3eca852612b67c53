"""Tampering with journals: random edits of files and rows, and whether verification finds and places each.

A session's journal is kept as SQLite file with snapshots, as log file and as exported text, with signed heads
up to some way before its end. Each attempt damages a copy of one of them and lets `journal verify` judge it,
as the command does. What the attempt has really changed is found out by comparing records and snapshots, not
from what verify says.

Not every change can be seen. What stands after the newest signed head can be cut off, or written anew by
somebody who knows the format, and nothing shows it: such attempts are counted apart (`blind`). An attempt
that leaves every record and snapshot as it was (a byte in an unused part of a database) is no tampering, nor
is the loss of a snapshot, after which a start replays more: both are counted apart (`unchanged`). The wanted
number of attempts is reached without those two.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from qtinfra.bootstrap import Verification, reading, verify
from qtinfra.core.events import Entry
from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.ports import Snapshot
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State, encode_state
from qtinfra.journal.anchor import AnchorFile, KeyFile
from qtinfra.journal.codec import StoredRecord
from qtinfra.journal.export import read_export, write_export
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.testing.prove.golden import epochs
from qtinfra.testing.prove.golden_story import tell
from qtinfra.testing.prove.tamper_edits import (
    EDITS,
    MEDIA,
    TABLE_EDITS,
    Damage,
    History,
    Place,
    units_of,
)
from qtinfra.testing.prove.tamper_snapshots import SNAPSHOT_EDITS, snapshots_in

#: Signed heads are this far apart, in frames; the last of them stands `BLIND_FRAMES` before the end.
ANCHOR_EVERY_FRAMES = 4
BLIND_FRAMES = 6
FRAME_RECORDS = 3
#: A snapshot is kept at so many frames, each before the newest signed head.
SNAPSHOT_FRAMES = (9, 21, 33)
_SHOWN = 10
_MOST_DRAWS = 20
_EDITS = {**EDITS, **TABLE_EDITS, **SNAPSHOT_EDITS}


class Kind(NamedTuple):
    """A way of damaging one medium."""

    medium: str
    name: str


#: Every way on every medium, in turn; columns, and snapshots in the same file, are only in SQLite.
KINDS = tuple(Kind(medium, name) for name in _EDITS for medium in (MEDIA if name in EDITS else ("sqlite",)))


class TamperReport(msgspec.Struct, frozen=True):
    """What verification made of so many changed journals.

    Attributes:
        attempts: changes that it had to find; found: those that it did.
        named: the sequence named is the first damaged one, or the next where a forger has made the damaged
            record verify by itself; for bytes of a database, none after the first row that reads otherwise.
        named_by_interval: a history that was written anew is contradicted by the first signed head after it;
            named is the first sequence after the last head that holds.
        refused: the file was not even opened as a journal; no sequence can be named.
        missed: not found, or a sequence named that stands after the damage.
        blind: changes of nothing but what follows the newest signed head, by kind; none can be found.
        torn: of these, damage to the last frame of a log that was reported as a torn tail.
        unchanged: changes of the file that changed no record, and no snapshot but by taking it away.
        kinds: attempts by medium and kind.
        examples: what was missed, in words.
    """

    attempts: int
    seed: int
    seconds: float
    found: int
    named: int
    named_by_interval: int
    refused: int
    missed: int
    blind: dict[str, int]
    torn: int
    unchanged: dict[str, int]
    kinds: dict[str, int]
    last_seq: int
    anchored_seq: int
    examples: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Every change was found, and none was placed too late."""
        return self.attempts > 0 and self.found == self.attempts and not self.missed


class Judged(msgspec.Struct, frozen=True):
    """What verification said of one damaged file: `outcome` is a field of the report, `text` why."""

    outcome: str
    text: str


def run_tamper(count: int, seed: int) -> TamperReport:
    """Change journals until `count` changes were made that verification has to find.

    Args:
        count: changes to be found, over all media and kinds in turn.
        seed: of every choice; the same seed makes the same changes.
    """
    began = time.monotonic()
    rng = Random(seed)
    tally: dict[str, Counter[str]] = {"kinds": Counter(), "blind": Counter(), "unchanged": Counter()}
    outcomes: Counter[str] = Counter()
    examples: list[str] = []
    with TemporaryDirectory(prefix="qtinfra-tamper-") as name:
        bench = Bench(Path(name))
        number = draws = 0
        while number < count and draws < count * _MOST_DRAWS:
            kind = KINDS[draws % len(KINDS)]
            draws += 1
            judged = bench.attempt(kind.medium, kind.name, rng)
            outcomes[judged.outcome] += 1
            label = f"{kind.medium} {kind.name}"
            if judged.outcome in ("blind", "torn", "unchanged"):
                tally["unchanged" if judged.outcome == "unchanged" else "blind"][label] += 1
                continue
            number += 1
            tally["kinds"][label] += 1
            if judged.outcome == "missed":
                examples.append(f"{label}: {judged.text}")
        return _report(number, seed, time.monotonic() - began, outcomes, tally, bench.history, examples)


def _report(
    attempts: int,
    seed: int,
    seconds: float,
    outcomes: Counter[str],
    tally: dict[str, Counter[str]],
    history: History,
    examples: list[str],
) -> TamperReport:
    return TamperReport(
        attempts=attempts,
        seed=seed,
        seconds=round(seconds, 1),
        found=outcomes["named"] + outcomes["named_by_interval"] + outcomes["refused"],
        named=outcomes["named"],
        named_by_interval=outcomes["named_by_interval"],
        refused=outcomes["refused"],
        missed=outcomes["missed"],
        blind=dict(sorted(tally["blind"].items())),
        torn=outcomes["torn"],
        unchanged=dict(sorted(tally["unchanged"].items())),
        kinds=dict(sorted(tally["kinds"].items())),
        last_seq=history.last_seq,
        anchored_seq=history.anchored_seq,
        examples=tuple(examples[:_SHOWN]),
    )


class Bench:
    """A sound journal in three forms, with signed heads, and copies of it to be damaged.

    Attributes:
        history: its frames and where the signed heads are.
        anchors, key: the files that verification gets.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.anchors = folder / "heads.jsonl"
        self.key = folder / "key.pem"
        self._originals = {medium: folder / f"journal.{medium}" for medium in MEDIA}
        self._older: dict[str, list[tuple[int, Path]]] = {medium: [] for medium in MEDIA}
        entries = tell()
        self._states = _states_after(entries)
        self.history = self._write(entries)
        self._snapshots = snapshots_in(self._originals["sqlite"])
        self._units = {medium: units_of(self.history, medium, FRAME_RECORDS) for medium in MEDIA}

    def _write(self, entries: Sequence[Entry]) -> History:
        """The sound journal: log and SQLite file in step, heads signed on the way, older copies kept."""
        signer, heads = KeyFile.load_or_create(self.key), AnchorFile(self.anchors)
        total = sum(-(-len(epoch) // FRAME_RECORDS) for epoch in epochs(entries))
        done, signed = 0, [0]
        for epoch in epochs(entries):
            with (
                closing(SqliteJournal.open(self._originals["sqlite"], owner="tamper")) as table,
                closing(LogJournal.open(self._originals["log"], owner="tamper")) as log,
            ):
                for start in range(0, len(epoch), FRAME_RECORDS):
                    frame = epoch[start : start + FRAME_RECORDS]
                    head = table.append(frame)
                    log.append(frame)
                    done += 1
                    if done in SNAPSHOT_FRAMES:
                        table.save_snapshot(Snapshot(0, head.seq, head.hash, self._states[head.seq]))
                    if done % ANCHOR_EVERY_FRAMES == 0 and done <= total - BLIND_FRAMES:
                        heads.append(head, entries[0].ts_ns + done, signer)
                        signed.append(head.seq)
                    if done % (ANCHOR_EVERY_FRAMES + 1) == 0:
                        self._keep_copy(head.seq)
        with reading(self._originals["sqlite"]) as journal:
            write_export(journal.records(), self._originals["jsonl"])
        return History.of(self._originals["log"], tuple(signed))

    def _keep_copy(self, seq: int) -> None:
        """Yesterday's files: what somebody puts back who wants a day undone."""
        log, table = (self._folder / f"older-{seq}.{medium}" for medium in ("log", "sqlite"))
        shutil.copyfile(self._originals["log"], log)
        with (
            closing(sqlite3.connect(self._originals["sqlite"])) as source,
            closing(sqlite3.connect(table)) as target,
        ):
            source.backup(target)
        export = self._folder / f"older-{seq}.jsonl"
        with reading(log) as journal:
            write_export(journal.records(), export)
        for medium, path in zip(MEDIA, (table, log, export), strict=True):
            self._older[medium].append((seq, path))

    def attempt(self, medium: str, kind: str, rng: Random) -> Judged:
        """Damage a copy in one way, and judge what verification says of it."""
        copy = self._folder / f"copy.{medium}"
        for left in self._folder.glob("copy.*"):
            left.unlink()
        shutil.copyfile(self._originals[medium], copy)
        place = Place(copy, medium, self.history, self._units[medium], self._older[medium], self._states)
        damage = _EDITS[kind](place, rng)
        try:
            said = verify(copy, self.anchors, str(self.key))
        except QtInfraError as error:
            return Judged("refused", error.message)
        return self._judge(copy, medium, damage, said)

    def _judge(self, copy: Path, medium: str, damage: Damage, said: Verification) -> Judged:
        if not said.ok:
            return _placed(damage, said)
        sound = self.history.records
        left = [(record.entry_bytes, record.hash) for record in records_of(copy, medium)]
        if medium == "sqlite" and not {*snapshots_in(copy)} <= {*self._snapshots}:
            return Judged("missed", f"{damage.text}: verifies")
        if left == sound and said.recovered is None:
            return Judged("unchanged", damage.text)
        anchored = self.history.anchored_records
        if left[:anchored] == sound[:anchored] and said.unanchored_events >= 0 and anchored <= len(left):
            return Judged("torn" if said.recovered is not None else "blind", damage.text)
        return Judged("missed", f"{damage.text}: verifies")


def _states_after(entries: Sequence[Entry]) -> dict[int, bytes]:
    """The state after each record, encoded, by the record's last sequence."""
    state, found = State(), dict[int, bytes]()
    for entry in entries:
        replay(state, entry)
        found[entry.last_seq] = encode_state(state)
    return found


def _placed(damage: Damage, said: Verification) -> Judged:
    named = said.first_bad_seq or 0
    if damage.exact <= named <= damage.high:
        return Judged("named", said.reason)
    if damage.low <= named < damage.exact:
        return Judged("named_by_interval", said.reason)
    text = f"{damage.text}: named {named} instead of {damage.low} to {damage.high}: {said.reason}"
    return Judged("missed", text)


def records_of(path: Path, medium: str) -> list[StoredRecord]:
    """The records that a reader gets.

    Raises:
        JournalCorruptError: it does not verify.
    """
    if medium == "jsonl":
        return list(read_export(path))
    with reading(path) as journal:
        return list(journal.records())
