"""The golden corpus: journals of every version of the records that was ever kept, and where each must lead.

`python -m qtinfra.testing.prove.golden write DIR` makes the corpus of this version:
the session of `golden_story` as a log file, as a SQLite file with a snapshot in its middle, and
`expected.json`. Files are compressed. Once released, a folder is never written again: later versions must
read it as it is.

`... check DIR` replays a folder and prints what it leads to as one JSON object; status 1 when it is not what
`expected.json` says. `... rehash DIR` is for a changed layout of the state. `... coverage` lists the events
that the session does not have.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import typing
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from qtinfra import __version__
from qtinfra.bootstrap import reading
from qtinfra.core.decimals import plain
from qtinfra.core.events import AnyEvent, Entry, OrderAccepted, OrderRejected
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State, state_hash
from qtinfra.journal.base import FrameJournal
from qtinfra.journal.codec import FRAME_MAGIC
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.recovery import recover, snapshot_of
from qtinfra.runtime.replay import replay_journal
from qtinfra.testing.prove.golden_story import tell

EXPECTED = "expected.json"
JOURNALS = ("journal.log", "journal.sqlite")
_PER_FRAME = 3

#: Events that no session can have, with the reason; empty while every one is in the corpus.
NOT_COVERED: dict[str, str] = {}


class Golden(msgspec.Struct, frozen=True):
    """What a journal of the corpus is and leads to.

    Attributes:
        format: the magic of its frames. written_by: the version of the program.
        head_hash: the chain's hash at `last_seq`, hex.
        written_state_hash: of the state that the program which wrote it had at the end.
        state_hash: of the state after a replay, and after a recovery. The same, until the layout of the state
            itself changes: then `rehash` records it anew, and only if `facts_hash` holds.
        facts_hash: of what orders and positions came to (`facts`), which no version may change.
    """

    format: str
    written_by: str
    records: int
    events: int
    last_seq: int
    head_hash: str
    written_state_hash: str
    state_hash: str
    facts_hash: str


class Replayed(msgspec.Struct, frozen=True):
    """What one file of a folder led to in this process, by replay and by recovery.

    `snapshot_seq`: where the recovery began; 0 when there is no snapshot, or none that this version reads.
    """

    file: str
    records: int
    last_seq: int
    snapshot_seq: int
    head_hash: str
    state_hash: str
    recovered_hash: str
    facts_hash: str

    def is_as(self, golden: Golden) -> bool:
        """Whether it is what the corpus says."""
        same = self.has_facts_of(golden) and self.state_hash == golden.state_hash
        return same and self.recovered_hash == golden.state_hash

    def has_facts_of(self, golden: Golden) -> bool:
        """Whether the records are those of the corpus and lead to the same facts."""
        mine = self.records, self.last_seq, self.head_hash, self.facts_hash
        return mine == (golden.records, golden.last_seq, golden.head_hash, golden.facts_hash)


def current_format() -> str:
    """The name of the format that this version writes."""
    return FRAME_MAGIC.decode("ascii")


def event_names() -> set[str]:
    """Every event type that a record may hold."""
    return {kind.__name__ for kind in typing.get_args(AnyEvent)}


def not_in(entries: Sequence[Entry]) -> list[str]:
    """The event types that these records do not have, by name."""
    return sorted(event_names() - {type(event).__name__ for entry in entries for event in entry.events})


def facts(entries: Sequence[Entry], state: State) -> list[str]:
    """What every order of these records came to, and the position of every account, one a line.

    In words that do not depend on how the state is kept, so that any two versions can be compared.
    """
    lines = [f"{state.seq} {state.trade_date} open {' '.join(sorted(state.open_orders))}"]
    for entry in entries:
        for event in entry.events:
            if isinstance(event, OrderAccepted | OrderRejected):
                lines.append(_order_line(state, event.account, event.cl_ord_id))
    held = ((account, symbol) for account in state.accounts for symbol in state.instruments)
    for account, symbol in sorted(held):
        lines.append(f"{account} {symbol} {plain(state.net_position(account, symbol))}")
    return lines


def _order_line(state: State, account: str, cl_ord_id: str) -> str:
    order = state.find_order(account, cl_ord_id)
    if order is None:
        return f"{account} {cl_ord_id} is not known"
    price = "none" if order.price is None else plain(order.price)
    numbers = plain(order.qty), plain(order.cum_qty), plain(order.leaves_qty), plain(order.avg_px)
    return " ".join((order.order_id, order.account, order.cl_ord_id, order.status, price, *numbers))


def _facts_hash(entries: Sequence[Entry], state: State) -> str:
    return sha256("\n".join(facts(entries, state)).encode()).hexdigest()


# --- writing ------------------------------------------------------------------------------------------------


def write(folder: Path) -> Golden:
    """Write the corpus of the current format into a new folder.

    Raises:
        FileExistsError: the folder exists.
    """
    folder.mkdir(parents=True)
    entries = tell()
    with TemporaryDirectory(prefix="qtinfra-golden-") as name:
        place = Path(name)
        for file in JOURNALS:
            write_journal(place / file, entries, snapshot=file == "journal.sqlite")
            _compress(place / file, folder / f"{file}.gz")
        golden = _described(place / JOURNALS[0])
    _keep(folder, golden)
    return golden


def write_journal(path: Path, entries: Sequence[Entry], *, snapshot: bool = False) -> None:
    """A journal with these records, opened anew by its owner at each epoch; with a snapshot if asked."""
    state = State()
    for epoch in epochs(entries):
        with closing(_opened(path)) as journal:
            for frame in _frames(epoch):
                journal.append(frame)
                for entry in frame:
                    replay(state, entry)
            if snapshot and journal.epoch == 1:
                journal.save_snapshot(snapshot_of(state, journal.head.hash))


def epochs(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The records of each owner, in order."""
    return [list(epoch) for _, epoch in groupby(entries, key=lambda entry: entry.epoch)]


def _opened(path: Path) -> FrameJournal:
    if path.suffix == ".log":
        return LogJournal.open(path, owner="golden")
    return SqliteJournal.open(path, owner="golden")


def _frames(entries: list[Entry]) -> Iterator[list[Entry]]:
    for start in range(0, len(entries), _PER_FRAME):
        yield entries[start : start + _PER_FRAME]


def _compress(source: Path, target: Path) -> None:
    target.write_bytes(gzip.compress(source.read_bytes(), compresslevel=9, mtime=0))


def _described(path: Path) -> Golden:
    found = _read(path)
    return Golden(
        format=current_format(),
        written_by=__version__,
        records=found.records,
        events=found.last_seq,
        last_seq=found.last_seq,
        head_hash=found.head_hash,
        written_state_hash=found.state_hash,
        state_hash=found.state_hash,
        facts_hash=found.facts_hash,
    )


def rehash(folder: Path) -> Golden:
    """Record the state's hash anew, because the layout of the state has changed and nothing else.

    Raises:
        ValueError: the journals lead to other facts than recorded, or not both to the same state.
    """
    golden, found = expected(folder), check(folder)
    hashes = {each for one in found for each in (one.state_hash, one.recovered_hash)}
    if len(hashes) != 1 or not all(one.has_facts_of(golden) for one in found):
        raise ValueError(f"{folder} does not lead to the facts that it recorded: this is no change of layout")
    golden = msgspec.structs.replace(golden, state_hash=hashes.pop())
    _keep(folder, golden)
    return golden


def _keep(folder: Path, golden: Golden) -> None:
    (folder / EXPECTED).write_bytes(msgspec.json.format(msgspec.json.encode(golden), indent=2) + b"\n")


# --- reading ------------------------------------------------------------------------------------------------


def expected(folder: Path) -> Golden:
    """What the corpus says of itself."""
    return msgspec.json.decode((folder / EXPECTED).read_bytes(), type=Golden)


def check(folder: Path) -> list[Replayed]:
    """Replay every journal of a folder of the corpus, and recover it from its snapshot.

    Raises:
        JournalError: this version cannot read one of them.
    """
    with TemporaryDirectory(prefix="qtinfra-golden-") as name:
        return [_replayed(packed, Path(name)) for packed in sorted(folder.glob("*.gz"))]


def _replayed(packed: Path, place: Path) -> Replayed:
    path = place / packed.stem
    with gzip.open(packed) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return _read(path)


def entries_in(folder: Path) -> list[Entry]:
    """The records of a folder of the corpus, lifted to today's version."""
    with TemporaryDirectory(prefix="qtinfra-golden-") as name:
        path = Path(name) / JOURNALS[0]
        path.write_bytes(gzip.decompress((folder / f"{JOURNALS[0]}.gz").read_bytes()))
        with reading(path) as journal:
            return list(journal.read())


def _read(path: Path) -> Replayed:
    with reading(path) as journal:
        found = replay_journal(journal)
        again = recover(journal)
        return Replayed(
            file=path.name,
            records=found.records,
            last_seq=found.last_seq,
            snapshot_seq=again.snapshot_seq,
            head_hash=journal.head.hash.hex(),
            state_hash=found.state_hash,
            recovered_hash=state_hash(again.state),
            facts_hash=_facts_hash(list(journal.read()), again.state),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The commands `write`, `check` and `rehash` of a folder, and `coverage`; the exit status."""
    parser = argparse.ArgumentParser(prog="qtinfra.testing.prove.golden", description="The golden corpus.")
    parser.add_argument("command", choices=("write", "check", "rehash", "coverage"))
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of the corpus, one per format")
    options = parser.parse_args(arguments)
    if options.command == "coverage":
        missing = not_in(tell())
        _say({"events": len(event_names()), "not_covered": missing})
        return 0
    if options.folder is None:
        parser.error(f"{options.command} needs DIR")
    if options.command == "write":
        _say(write(options.folder))
        return 0
    if options.command == "rehash":
        _say(rehash(options.folder))
        return 0
    found, golden = check(options.folder), expected(options.folder)
    _say({"expected": golden, "found": found})
    return 0 if found and all(one.is_as(golden) for one in found) else 1


def _say(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


if __name__ == "__main__":
    sys.exit(main())
