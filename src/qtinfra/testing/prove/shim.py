"""Disks that fail under a real engine: a sync refused, a write torn in two, no space, death around a sync.

`fsfault.c` is compiled by the machine's C compiler and preloaded into the engine's process; each life gets
one fault, at a random place. After an error of the disk the shard has to stop at once, without another sync,
and to tell every caller that has no durable answer that the outcome is unknown. The next life verifies and
goes on; what was acknowledged is compared as after any kill.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import msgspec

from qtinfra.core.exceptions import OutcomeUnknownError
from qtinfra.testing.prove.engine import DISK_COUNTS, Life, Reply, Request
from qtinfra.testing.prove.kills import Control
from qtinfra.testing.prove.lives import Lives
from qtinfra.testing.prove.processes import engine_processes, venue_process
from qtinfra.testing.prove.reconcile import KINDS, Disagreement

#: The faults, by what `fsfault.c` calls them without its prefix.
FAULTS = ("FAIL_SYNC", "KILL_BEFORE_SYNC", "KILL_AFTER_SYNC", "TORN_WRITE", "NO_SPACE")
#: Those after which the process lives and has to stop by itself.
ERRORS = ("FAIL_SYNC", "NO_SPACE")
JOURNALS = ("journal.db", "journal.log")
EPISODE_LIVES = 40
RECONCILE_EVERY = 10
_PATIENCE_S = 0.6
_SHOWN = 10
_SETTINGS = ("EXACT", "NO_SYNC", *FAULTS)


class Fault(msgspec.Struct, frozen=True):
    """One fault of the disk.

    Attributes:
        kind: one of `FAULTS`.
        value: which sync or write, or how many bytes, as in `fsfault.c`.
        suffix: only of the file that is the journal's path with this at its end; None for every file.
    """

    kind: str
    value: str
    suffix: str | None = None


class StorageReport(msgspec.Struct, frozen=True):
    """What so many faults have shown.

    Attributes:
        skipped: why nothing was run; empty when it was.
        fired: how often each fault struck, by journal and kind; `not_reached` were planned and did not.
        stops: fail-stops of a shard, or of an opening, because the disk gave an error.
        told_unknown: callers that were told that their outcome is unknown.
        disagreements: by kind (`reconcile.KINDS`); `state` counts shards that did not stop as they must.
        controls: builds with a planted bug, each of which must have been found.
    """

    lives: int = 0
    seed: int = 0
    seconds: float = 0.0
    skipped: str = ""
    fired: dict[str, int] = {}
    not_reached: int = 0
    stops: int = 0
    told_unknown: int = 0
    reconciliations: int = 0
    acknowledged: int = 0
    disagreements: dict[str, int] = {}
    examples: tuple[str, ...] = ()
    controls: tuple[Control, ...] = ()

    @property
    def passed(self) -> bool:
        """It was run, nothing disagreed, and every planted bug was found."""
        clean = not any(self.disagreements.values())
        return not self.skipped and clean and all(control.found for control in self.controls)


def compiler() -> str:
    """Path of a C compiler; empty when there is none."""
    return shutil.which("gcc") or shutil.which("cc") or ""


def build_shim(folder: Path) -> Path:
    """Compile `fsfault.c` into a folder.

    Raises:
        FileNotFoundError: no C compiler.
        subprocess.CalledProcessError: it does not compile.
    """
    cc = compiler()
    if not cc:
        raise FileNotFoundError("no C compiler")
    library = folder / "fsfault.so"
    with as_file(files("qtinfra.testing.prove") / "fsfault.c") as source:
        options = ["-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
        subprocess.run([cc, *options], check=True, capture_output=True)
    return library


def settings(fault: Fault | None, journal: Path) -> dict[str, str]:
    """The shim's environment for one life; without a fault it only counts."""
    plan = {f"FSFAULT_{name}": "" for name in _SETTINGS}
    plan["FSFAULT_PATH"] = f"{journal.parent}/"
    if fault is not None:
        plan[f"FSFAULT_{fault.kind}"] = fault.value
        if fault.suffix is not None:
            plan["FSFAULT_PATH"], plan["FSFAULT_EXACT"] = f"{journal}{fault.suffix}", "1"
    return plan


class FaultyLives:
    """Lives with a fault each, on one journal.

    Attributes:
        fired: faults that struck, by kind.
        stops, told_unknown, not_reached: as in `StorageReport`.
    """

    def __init__(self, lives: Lives, rng: random.Random, bug: str = "") -> None:
        self.lives = lives
        self.fired: Counter[str] = Counter()
        self.stops = self.told_unknown = self.not_reached = 0
        self._rng = rng
        self._bug = bug
        self._place = Path(lives.journal)

    @property
    def found(self) -> list[Disagreement]:
        """What was wrong so far."""
        return self.lives.tally.found

    def healthy(self) -> None:
        """A life without a fault, in which the three records are compared."""
        self.lives.client.refused.clear()  # each of them was judged when its shard stopped
        self._begin(None)
        if self.lives.hear_until("ready") is None:
            self._wrong("an engine on a sound disk could not begin")
        elif self.lives.load(0.02):
            self.found.extend(self.lives.settle())
        self.lives.kill()

    def faulty(self, fault: Fault) -> None:
        """A life in which the disk fails; what the shard makes of it is judged."""
        self._begin(fault)
        first = self.lives.client.last + 1
        alive, heard = self._until_it_strikes()
        if not alive:
            self.fired[fault.kind] += 1
            if fault.kind in ERRORS:
                self._wrong(f"{fault}: the engine died of an error")
        else:
            self._judge(fault, heard, first)
        self.lives.kill()

    def _begin(self, fault: Fault | None) -> None:
        number = self.lives.tally.lives
        faults = settings(fault, self._place)
        self.lives.begin(Life(number, self._rng.random() < 0.5, faults=faults, bug=self._bug))

    def _until_it_strikes(self) -> tuple[bool, list[Reply]]:
        """Load until the process has died (false), or has stopped, or nothing has happened for long."""
        heard: list[Reply] = []
        deadline = time.monotonic() + _PATIENCE_S
        loaded = False
        while time.monotonic() < deadline:
            replies = self.lives.listen(0.003)
            if replies is None:
                return False, heard
            heard += replies
            kinds = {reply.kind for reply in replies}
            if kinds & {"stopped", "failed"}:
                return True, heard
            if "started" in kinds:
                loaded = True
                self.lives.send_again()
            if loaded:
                self.lives.send_more()
        return True, heard

    def _judge(self, fault: Fault, heard: list[Reply], first: int) -> None:
        """The process lives: either nothing has struck, or it must have stopped as it should."""
        last = _end(heard)
        if last is None:
            if not _count(self._echo(heard), "faults"):
                self.not_reached += 1
                return
            last = self._end_after_fault(heard)
        if last is None:
            self.fired[fault.kind] += 1
            self._wrong(f"{fault}: the disk gave an error and the shard goes on")
            return
        if not _count(last, "faults"):
            self._wrong(f"{fault}: the engine stopped without an error of the disk: {last.text}")
            return
        self.fired[fault.kind] += 1
        self.stops += 1
        if fault.kind == "FAIL_SYNC" and _count(last, "syncs_after_fault"):
            self._wrong(f"{fault}: synced {_count(last, 'syncs_after_fault')} times more after the error")
        if last.kind == "stopped":
            self._echo(heard)
            self._judge_answers(fault, heard, first)

    def _end_after_fault(self, heard: list[Reply]) -> Reply | None:
        """The end of a shard whose disk has struck; it may say so a moment later than the disk counts it."""
        deadline = time.monotonic() + _PATIENCE_S
        while _end(heard) is None and time.monotonic() < deadline:
            heard += self.lives.listen(0.003) or []
        return _end(heard)

    def _echo(self, heard: list[Reply]) -> Reply | None:
        """Wait until everything that was sent has been dealt with."""
        self.lives.engines.send([Request(0, ask="echo")])
        more, echo = self.lives.engines.hear_until(("echo",))
        self.lives.take(more)
        heard += more
        return echo

    def _judge_answers(self, fault: Fault, heard: list[Reply], first: int) -> None:
        """No acknowledgement after the stop, and every caller without one was told that it is unknown."""
        stopped = next(i for i, reply in enumerate(heard) if reply.kind == "stopped")
        late = [reply.n for reply in heard[stopped:] if reply.kind == "ack"]
        if late:
            self._wrong(f"{fault}: acknowledged after the stop: {late}")
        told = {reply.n: reply.code for reply in heard if reply.kind == "refused"}
        self.told_unknown += len(told)
        for n in self.lives.client.unanswered:
            if n >= first and told.get(n) != OutcomeUnknownError.code:
                self._wrong(f"{fault}: command {n} has no answer, but {told.get(n)!r}")

    def _wrong(self, text: str) -> None:
        self.found.append(Disagreement("state", text))


def _end(heard: list[Reply]) -> Reply | None:
    """The reply that says that the shard has stopped, or did not start."""
    return next((reply for reply in heard if reply.kind in ("stopped", "failed")), None)


def _count(reply: Reply | None, name: str) -> int:
    return reply.disk[DISK_COUNTS.index(name)] if reply is not None and reply.disk else 0


def any_fault(rng: random.Random, journal: str) -> Fault:
    """A fault somewhere in the first seconds of a life, recovery included."""
    kind = rng.choice(FAULTS)
    suffix = rng.choice((None, "", "-wal")) if journal.endswith(".db") and kind == "FAIL_SYNC" else None
    nth = rng.randint(1, 3) if suffix == "" else rng.randint(1, 60)
    if kind == "TORN_WRITE":
        return Fault(kind, f"{nth}:{rng.choice((0, 1, 7, 24, 100, 512, 4000))}")
    if kind == "NO_SPACE":
        return Fault(kind, str(rng.randint(0, 300_000)))
    return Fault(kind, str(nth), suffix)


@contextmanager
def faulty_lives(library: Path, journal: str, seed: int, bug: str = "") -> Iterator[FaultyLives]:
    """Venues, engines with the shim preloaded, and a client, on a journal in a folder of its own."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="qtinfra-disk-") as name, venue_process(seed) as venues:
        folder = Path(name)
        place = folder / "disk" / journal
        place.parent.mkdir()
        with engine_processes(place, venues, folder, {"LD_PRELOAD": str(library)}) as engines:
            yield FaultyLives(Lives(engines, venues, place, rng), rng, bug)


def run_storage_faults(count: int, seed: int, *, control: bool = True) -> StorageReport:
    """Let the disk fail `count` times under journals of both kinds.

    Args:
        count: lives with a fault each.
        seed: of the client, the market and the choice of faults.
        control: also run a build that syncs again after an error, which must be found.
    """
    if not compiler():
        return StorageReport(seed=seed, skipped="no C compiler")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qtinfra-shim-") as name:
        library = build_shim(Path(name))
        done = [
            _episode(library, journal, lives, seed * 1_000_003 + i)
            for i, (journal, lives) in enumerate(_shares(count))
        ]
        controls = (_control(library, seed),) if control else ()
    return _report(done, seed, time.monotonic() - began, controls)


def _shares(count: int) -> list[tuple[str, int]]:
    number = max(-(-count // EPISODE_LIVES), min(2, count))
    return [(JOURNALS[i % 2], count // number + (i < count % number)) for i in range(number)]


def _episode(library: Path, journal: str, count: int, seed: int) -> tuple[str, FaultyLives]:
    rng = random.Random(seed)
    with faulty_lives(library, journal, seed) as faulty:
        for number in range(count):
            faulty.faulty(any_fault(rng, journal))
            if number % RECONCILE_EVERY == RECONCILE_EVERY - 1 or number == count - 1:
                faulty.healthy()
            if faulty.found:
                break
    return journal, faulty


def _control(library: Path, seed: int) -> Control:
    """A log that syncs again after an error: the error is swallowed, and that must be seen."""
    with faulty_lives(library, "journal.log", seed, bug="retry_sync") as faulty:
        for number in range(1, 11):
            faulty.faulty(Fault("FAIL_SYNC", str(5 + number), suffix=""))
            if faulty.found:
                return Control("retry_sync", number, faulty.found[0].text)
    return Control("retry_sync", 10)


def _report(
    done: Sequence[tuple[str, FaultyLives]], seed: int, seconds: float, controls: tuple[Control, ...]
) -> StorageReport:
    fired: Counter[str] = Counter()
    for journal, one in done:
        fired.update({f"{journal} {kind}": n for kind, n in one.fired.items()})
    found = [one for _, faulty in done for one in faulty.found]
    kinds = Counter(one.kind for one in found)
    every = [faulty for _, faulty in done]
    return StorageReport(
        lives=sum(one.lives.tally.lives for one in every),
        seed=seed,
        seconds=round(seconds, 1),
        fired=dict(sorted(fired.items())),
        not_reached=sum(one.not_reached for one in every),
        stops=sum(one.stops for one in every),
        told_unknown=sum(one.told_unknown for one in every),
        reconciliations=sum(one.lives.tally.reconciliations for one in every),
        acknowledged=sum(one.lives.tally.acknowledged for one in every),
        disagreements={kind: kinds[kind] for kind in KINDS},
        examples=tuple(one.text for one in found[:_SHOWN]),
        controls=controls,
    )
