"""Sessions and journals for the command line.

Each function here puts together one thing that a person can ask for and runs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from qtinfra.core.exceptions import JournalCorruptError, JournalError, SecurityError
from qtinfra.core.ports import Clock, Head
from qtinfra.core.routing import RoutingPolicy
from qtinfra.core.strategies.registry import BUILT_IN, ENTRY_POINT_GROUP, Registry, registry
from qtinfra.engine.routing_analytics import RoutingAnalytics, routing_analytics
from qtinfra.engine.state import State
from qtinfra.infra.clock import SystemClock
from qtinfra.journal.anchor import (
    Anchorer,
    AnchorFile,
    KeyFile,
    VerifyResult,
    key_id,
    verify_journal,
)
from qtinfra.journal.base import FrameJournal
from qtinfra.journal.codec import FRAME_MAGIC
from qtinfra.journal.export import export_lines, verify_export, write_export
from qtinfra.journal.log import LogJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.router.strategies import BUILT_IN_ROUTING, RoutingRegistry, routing_registry
from qtinfra.router.strategies import ENTRY_POINT_GROUP as ROUTING_GROUP
from qtinfra.runtime.demo import CLOSE_NS, DemoResult, run_demo
from qtinfra.runtime.demo_board import Watch
from qtinfra.runtime.nbbo_session import run_nbbo_session
from qtinfra.runtime.recorded_session import run_recorded_session
from qtinfra.runtime.replay import ReplayResult, replay_journal
from qtinfra.runtime.session import Progress, RandomFlow, SessionResult
from qtinfra.runtime.snapshot_check import SnapshotCheck, SnapshotFinding, judged
from qtinfra.runtime.synthetic_session import OPEN_NS, SECOND_NS, TRADE_DATE, run_synthetic_session
from qtinfra.venues.simulated.flow import US_INSTRUMENTS, US_VENUES, SyntheticMarket
from qtinfra.venues.simulated.nbbo import NbboMarket
from qtinfra.venues.simulated.recorded import LobsterMarket

#: What the synthetic market can trade.
SYNTHETIC_SYMBOLS = tuple(spec.symbol for spec in US_INSTRUMENTS)
#: A head is anchored after so many events, and once more at the end.
ANCHOR_EVERY_EVENTS = 500

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_LOG_MAGIC_AT = 8
_SQLITE_MAGIC = b"SQLite format 3\0"


def installed_strategies() -> Registry:
    """The algos that come with the engine and those that installed packages announce.

    A package names its own under the entry point group "qtinfra.strategies": a class without arguments, or an
    instance, that follows `core.strategies.inputs.Strategy`.

    Raises:
        ValueError: two strategies have one name, or one has none.
    """
    found = list(BUILT_IN.values())
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        loaded = entry.load()
        found.append(loaded() if isinstance(loaded, type) else loaded)
    return registry(found)


def installed_routing() -> RoutingRegistry:
    """The routing strategies that come with the engine and those that installed packages announce.

    A package names its own under the entry point group "qtinfra.routing": a class without arguments, or an
    instance, that follows `router.strategies.RoutingStrategy`.

    Raises:
        ValueError: two strategies have one name, or one has none.
    """
    found = list(BUILT_IN_ROUTING.values())
    for entry in entry_points(group=ROUTING_GROUP):
        loaded = entry.load()
        found.append(loaded() if isinstance(loaded, type) else loaded)
    return routing_registry(found)


class Evidence(msgspec.Struct, frozen=True):
    """The files of a journal: itself, its signed heads, the key that signs and the one that verifies.

    All stand beside the journal here. Where it matters, keep heads and keys on another disk, under another
    user: whoever can write all of them can write a new history.
    """

    journal: Path
    anchors: Path
    key: Path
    public_key: Path

    @staticmethod
    def of(journal: Path) -> Evidence:
        """The files that belong to a journal by their names."""
        return Evidence(
            journal,
            journal.with_name(f"{journal.name}.anchors.jsonl"),
            journal.with_name(f"{journal.name}.key.pem"),
            journal.with_name(f"{journal.name}.pub.pem"),
        )


class Verification(msgspec.Struct, frozen=True):
    """What was found out about a journal or an export of one.

    Attributes:
        records: how many verified; None when the file could not be opened far enough to count them.
        anchors: how many signed heads it was held against.
        recovered: what opening had to leave out (a torn tail), in words; None when nothing.
        snapshots: what was found out about each that is kept in it or beside it.
    """

    path: str
    kind: str
    ok: bool
    records: int | None
    events: int
    first_bad_seq: int | None
    reason: str
    anchors: int
    last_anchored_seq: int
    unanchored_events: int
    key_id: str
    size_bytes: int
    recovered: str | None
    snapshots: tuple[SnapshotFinding, ...] = ()


class SimulateOutcome(msgspec.Struct, frozen=True):
    """A simulated session, and the verification of the journal it wrote.

    `routing` is there when scored routing was asked for.
    """

    session: SessionResult
    verification: Verification
    routing: RoutingAnalytics | None = None


class DemoOutcome(msgspec.Struct, frozen=True):
    """The demonstration, the files it left, and the verification of its journal."""

    demo: DemoResult
    files: Evidence
    verification: Verification


# --- writing -----------------------------------------------------------------------------------------------


class Recorder:
    """An open SQLite journal whose heads are signed into the anchor file as it grows."""

    def __init__(self, journal: SqliteJournal, files: Evidence, clock: Clock) -> None:
        self.journal = journal
        key = KeyFile.load_or_create(files.key)
        files.public_key.write_bytes(
            key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self._clock = clock
        self._anchorer = Anchorer(journal, AnchorFile(files.anchors), key, ANCHOR_EVERY_EVENTS)

    def on_durable(self, head: Head) -> None:
        """Anchor the head when it is due."""
        self._anchorer.maybe_anchor(head, self._clock.now_ns())

    def close(self) -> None:
        """Anchor the end and close."""
        if self.journal.head.seq:
            self._anchorer.anchor(self.journal.head, self._clock.now_ns())
        self.journal.close()


@contextmanager
def recording(files: Evidence, owner: str) -> Iterator[Recorder]:
    """A new journal with its evidence beside it, closed in any case.

    Raises:
        JournalError: the file could not be used.
    """
    with ExitStack() as stack:
        journal = SqliteJournal.open(files.journal, owner=owner)
        stack.callback(journal.close)
        recorder = Recorder(journal, files, SystemClock())
        yield recorder
        recorder.close()


@contextmanager
def _place(journal: Path | None) -> Iterator[Evidence]:
    """Where a journal goes; without a path into a directory that is removed afterwards."""
    with ExitStack() as stack:
        if journal is None:
            journal = Path(stack.enter_context(TemporaryDirectory(prefix="qtinfra-"))) / "journal.sqlite"
        yield Evidence.of(journal)


def _verified(files: Evidence) -> Verification:
    return verify(files.journal, files.anchors, str(files.public_key))


# --- sessions ----------------------------------------------------------------------------------------------


def synthetic_market(seed: int, symbols: Sequence[str], close_ns: int) -> SyntheticMarket:
    """The synthetic US market, open from `OPEN_NS` on; `symbols` are out of `SYNTHETIC_SYMBOLS`."""
    instruments = [spec for spec in US_INSTRUMENTS if spec.symbol in symbols]
    return SyntheticMarket(
        seed, instruments, US_VENUES, open_ns=OPEN_NS, close_ns=close_ns, trade_date=TRADE_DATE
    )


def simulate_lobster(
    messages: Path,
    seed_messages: Path,
    seed_book: Path,
    flow: RandomFlow,
    *,
    official_bbo: Path | None,
    journal: Path | None,
    progress: Progress | None = None,
) -> SimulateOutcome:
    """Trade against a recorded order book.

    Args:
        journal: a file that does not exist yet; None for one that is verified and thrown away.

    Raises:
        RecordedDataError: a recorded file is malformed, or the files do not belong together.
        OSError: a file cannot be read.
    """
    market = LobsterMarket.from_files(messages, seed_messages, seed_book)
    bbo = str(official_bbo) if official_bbo is not None else None
    run = partial(run_recorded_session, official_bbo=bbo, progress=progress)
    return _simulated(journal, market, flow, run)


def simulate_nbbo(
    quotes: Path,
    trades: Path,
    flow: RandomFlow,
    *,
    journal: Path | None,
    progress: Progress | None = None,
) -> SimulateOutcome:
    """Trade against a day of recorded best quotes and trades.

    Raises:
        RecordedDataError: a recorded file is malformed, or the files do not belong together.
        OSError: a file cannot be read.
    """
    market = NbboMarket.from_files(quotes, trades)
    return _simulated(journal, market, flow, partial(run_nbbo_session, progress=progress))


def simulate_synthetic(
    symbols: Sequence[str],
    minutes: int,
    flow: RandomFlow,
    *,
    journal: Path | None,
    progress: Progress | None = None,
    scored: bool = False,
) -> SimulateOutcome:
    """Trade on the synthetic market for some minutes after its open.

    Args:
        scored: route by the default routing policy, and keep its analytics.
    """
    found: list[RoutingAnalytics] = []

    def on_end(state: State) -> None:
        if scored:
            found.append(routing_analytics(state))

    market = synthetic_market(flow.seed, symbols, OPEN_NS + minutes * 60 * SECOND_NS)
    run = partial(
        run_synthetic_session,
        minutes=minutes,
        progress=progress,
        routing=RoutingPolicy() if scored else None,
        on_end=on_end,
    )
    outcome = _simulated(journal, market, flow, run)
    return msgspec.structs.replace(outcome, routing=found[0] if found else None)


def _simulated(
    journal: Path | None, market: object, flow: RandomFlow, run: Callable[..., SessionResult]
) -> SimulateOutcome:
    """Run a session in a market, with a journal of its own, and verify what it wrote.

    Args:
        run: one of the `run_..._session` functions, with what only that one takes already in it.
    """
    with _place(journal) as files:
        with recording(files, "simulate") as recorder:
            epoch, on_durable = recorder.journal.epoch, recorder.on_durable
            session = run(market, recorder.journal, flow, epoch=epoch, on_durable=on_durable)
        return SimulateOutcome(session, _verified(files))


def demo(directory: Path | None, *, orders: int, seed: int, watch: Watch | None = None) -> DemoOutcome:
    """Run the demonstration; its journal stays in `directory`, or in a new one below the system's own.

    Args:
        watch: shown the algo orders now and then.

    Raises:
        OSError: the directory cannot be made.
    """
    if directory is None:
        directory = Path(mkdtemp(prefix="qtinfra-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    files = Evidence.of(directory / "journal.sqlite")
    market = synthetic_market(seed, SYNTHETIC_SYMBOLS, CLOSE_NS)
    with recording(files, "demo") as recorder:
        result = run_demo(
            market,
            recorder.journal,
            epoch=recorder.journal.epoch,
            orders=orders,
            seed=seed,
            watch=watch,
            on_durable=recorder.on_durable,
        )
    return DemoOutcome(result, files, _verified(files))


# --- reading -----------------------------------------------------------------------------------------------


def journal_kind(path: Path) -> str:
    """What a file is by its name and first bytes: "export", "log", or else "sqlite"."""
    with path.open("rb") as file:
        start = file.read(_LOG_MAGIC_AT + len(FRAME_MAGIC))
    if path.suffix == ".jsonl" or start[:1] == b"{":
        return "export"
    return "log" if start[_LOG_MAGIC_AT:] == FRAME_MAGIC else "sqlite"


def _is_something_else(path: Path) -> bool:
    """Whether a file does not begin as SQLite's do. Beside signed heads that is damage, not a mistake."""
    with path.open("rb") as file:
        start = file.read(len(_SQLITE_MAGIC))
    return bool(start) and start != _SQLITE_MAGIC and not Evidence.of(path).anchors.exists()


@contextmanager
def reading(path: Path) -> Iterator[FrameJournal]:
    """A journal open for reading; every record has been verified.

    Raises:
        JournalCorruptError: names the first sequence that does not verify.
        JournalError: it is no journal, or an export of one.
    """
    kind = journal_kind(path)
    if kind == "export":
        raise JournalError(f"JOURNAL {path}: an export; this needs the journal itself", code="not_a_journal")
    if kind == "sqlite" and _is_something_else(path):
        raise JournalError(f"JOURNAL {path}: no journal, and no log or export of one", code="not_a_journal")
    kinds: dict[str, type[LogJournal] | type[SqliteJournal]] = {"log": LogJournal, "sqlite": SqliteJournal}
    try:
        journal = kinds[kind].open_readonly(path)
    except JournalCorruptError:
        raise
    except JournalError as error:
        raise JournalError(f"JOURNAL {path}: {error.message}", code="not_a_journal") from error
    with ExitStack() as stack:
        stack.callback(journal.close)
        yield journal


def replay(path: Path, *, decide: bool) -> tuple[ReplayResult, str | None]:
    """Replay a journal; the result, and what opening had to leave out.

    Raises:
        JournalCorruptError: a record does not verify or does not apply.
    """
    with reading(path) as journal:
        return replay_journal(journal, decide=decide), journal.recovered


def head(path: Path) -> tuple[Head, str | None]:
    """The end of a journal, and what opening had to leave out."""
    with reading(path) as journal:
        return journal.head, journal.recovered


def export(path: Path, out: Path) -> int:
    """Write a journal as JSON Lines; how many records."""
    with reading(path) as journal:
        return write_export(journal.records(), out)


def exported(path: Path) -> Iterator[str]:
    """A journal as lines of JSON, without their ends."""
    with reading(path) as journal:
        yield from export_lines(journal.records())


def public_key(text: str) -> Ed25519PublicKey:
    """A public key from 64 hex digits, or from a PEM file that holds it or its private key.

    Raises:
        SecurityError: it is neither.
    """
    if _HEX_KEY.fullmatch(text):
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    try:
        pem = Path(text).read_bytes()
        key = load_pem_private_key(pem, password=None) if b"PRIVATE KEY" in pem else load_pem_public_key(pem)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SecurityError(f"{text[:100]} is neither 64 hex digits nor a readable PEM file") from error
    found = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    if not isinstance(found, Ed25519PublicKey):
        raise SecurityError(f"{text[:100]} holds no Ed25519 key")
    return found


def verify(
    path: Path,
    anchors: Path | None,
    key: str | None,
    *,
    replays: bool = True,
    progress: Progress | None = None,
) -> Verification:
    """Verify the chain of a journal or an export from its beginning, its signed heads and its snapshots.

    Args:
        anchors: the signed heads; None to check the chain alone.
        key: the public key they are signed with, as for `public_key`.
        replays: whether the journal is replayed as far as it has snapshots, to compare their states.
        progress: told how far that replay is: sequences done, and all.

    Raises:
        SecurityError: the key cannot be read.
        JournalError: the anchor file cannot be read, or the path is no journal.
    """
    signed = AnchorFile(anchors).read() if anchors is not None else []
    verifier = public_key(key) if key is not None else None
    kind, recovered = journal_kind(path), None
    snapshots: tuple[SnapshotFinding, ...] = ()
    try:
        if kind == "export":
            found = verify_export(path, signed, verifier)
        else:
            with reading(path) as journal:
                recovered = journal.recovered
                end, stored = journal.head, journal.stored_snapshots()
                check = SnapshotCheck(stored, end.shard, end.seq, replays=replays, progress=progress)
                found = verify_journal(check.follow(journal.records()), signed, verifier)
                snapshots = check.findings
                found = judged(found, snapshots)
        records: int | None = found.records
    except JournalCorruptError as error:
        bad = error.first_bad_seq
        found = VerifyResult(False, 0, bad - 1, bad, error.message, 0, bad - 1)
        records = None
    return Verification(
        path=str(path),
        kind=kind,
        ok=found.ok,
        records=records,
        events=found.events,
        first_bad_seq=found.first_bad_seq,
        reason=found.reason,
        anchors=len(signed),
        last_anchored_seq=found.last_anchored_seq,
        unanchored_events=found.unanchored_events,
        key_id=key_id(verifier) if verifier is not None else "",
        size_bytes=path.stat().st_size,
        recovered=recovered,
        snapshots=snapshots,
    )
