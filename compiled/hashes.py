"""`python compiled/hashes.py DATA`: what this build decides, as hashes; two builds have to print the same.

The benchmark's mix goes through parser, engine, journal and matching venues; a recorded session is played
from DATA/lobster, and said to be absent where that is not there. Clocks and seeds are fixed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from qtinfra.bench.desk import Desk, open_orders
from qtinfra.bench.mix import START_NS, make_mix, taking_orders, wire_bytes
from qtinfra.bench.street import MatchingStreet
from qtinfra.cli import main
from qtinfra.engine.state import state_hash
from qtinfra.infra.build import compiled_modules
from qtinfra.journal.sqlite import SqliteJournal

ORDERS, RESTING, BATCH = 20_000, 2_000, 256
SESSION = "AAPL_2012-06-21"


class _Ticks:
    """A clock that is a microsecond later at each look."""

    def __init__(self) -> None:
        self._ns = START_NS

    def now_ns(self) -> int:
        self._ns += 1_000
        return self._ns


def mix_hashes() -> Iterator[str]:
    """The mix: hash of the state, of the chain over the journal, of all replies."""
    mix = make_mix()
    messages = [wire_bytes(order) for order in taking_orders(mix, ORDERS)]
    with TemporaryDirectory(prefix="qtinfra-hashes-") as folder:
        journal = SqliteJournal.open(Path(folder) / "journal.db", owner="hashes")
        desk = Desk(mix, journal, _Ticks(), MatchingStreet(mix), epoch=journal.epoch)
        open_orders(desk, RESTING)
        for at in range(0, ORDERS, BATCH):
            desk.turn(messages[at : at + BATCH])
        desk.settle()
        yield f"mix state {state_hash(desk.state)}"
        yield f"mix chain {journal.head.hash.hex()} at {journal.head.seq}"
        yield f"mix replies {hashlib.sha256(b''.join(desk.replies)).hexdigest()}"
        journal.close()


def session_hashes(data: Path) -> Iterator[str]:
    """A recorded hour: hashes of state and chain, of the replay, and whether all was decided again alike."""
    files = {
        "--messages": f"{SESSION}_34200000_37800000_message_50.csv.gz",
        "--seed-messages": f"{SESSION}_message_10_first1000.csv.gz",
        "--seed-book": f"{SESSION}_orderbook_10_first1000.csv.gz",
    }
    paths = {option: data / "lobster" / name for option, name in files.items()}
    if not all(path.exists() for path in paths.values()):
        yield f"session absent from {data}"
        return
    options = [part for option, path in paths.items() for part in (option, str(path))]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main(["simulate", "--feed", "lobster", "--orders", "500", "--seed", "1", "--json", *options])
    session = json.loads(said.getvalue())
    for name in ("state_hash", "replay_state_hash", "chain_hash", "decide_equal", "journal_verified"):
        yield f"session {name} {session[name]}"


if __name__ == "__main__":
    sys.stderr.write(f"{len(compiled_modules())} modules compiled\n")
    for line in (*mix_hashes(), *session_hashes(Path(sys.argv[1]))):
        sys.stdout.write(f"{line}\n")
