"""Power cuts: the file system under the journal is shut down as if the power had gone, under load.

An ext4 or XFS on a loop device is stopped by its shutdown ioctl without flushing its log: what was not synced
is gone, which kill -9 alone cannot show. Then the engine is killed, the file system is mounted again, and the
journal must have everything whose acknowledgement the client had read before the cut, and every order that a
venue has.

The engine is frozen (SIGSTOP) just before the cut, in the middle of whatever it does, as a machine without
power is. One that ran on would be told lies: an fsync that is under way while the ioctl runs may return
success for bytes that are gone (seen on ext4 and on XFS).

A build whose syncs do nothing must lose acknowledged orders by the same method; else the method is blind.

The run happens in a mount and process namespace of its own (`unshare`), so that whatever ends it, mounts,
loop devices and processes end with it. It needs root, Linux, loop devices and the file systems' mkfs.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from qtinfra.core.exceptions import JournalError
from qtinfra.testing.prove.engine import Life
from qtinfra.testing.prove.kills import Control
from qtinfra.testing.prove.lives import Lives, Tally
from qtinfra.testing.prove.processes import engine_processes, venue_process
from qtinfra.testing.prove.reconcile import KINDS, Disagreement, lost, replay_all
from qtinfra.testing.prove.recovery_time import RecoveryTimes, recovery_times

FILE_SYSTEMS = ("ext4", "xfs")
JOURNALS = ("journal.db", "journal.log")
#: Cuts on one file system with one set of venues, and how often the three records are compared.
EPISODE_CUTS = 25
RECONCILE_EVERY = 12
CONTROL_CUTS = 5
#: _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN; 2: without flushing the log.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_IMAGE_BYTES = 320 << 20  # the smallest XFS is 300 MiB; the image is sparse
_ENDS = (-9, -7, 1)  # killed; SIGBUS from a mapped file that went away; gave up by itself
_SHOWN = 10
_TOOLS = ("setpriv", "unshare", "mount", "umount", "losetup")


class PowerReport(msgspec.Struct, frozen=True):
    """What so many power cuts have shown.

    Attributes:
        cuts: by file system and journal.
        skipped: file systems (or "all") that were not tried, and why.
        while_recovering: cuts before the engine had begun to serve.
        acknowledged: commands acknowledged before a cut, over all journals.
        disagreements: by kind (`reconcile.KINDS`).
        recovery: from the cut to the first new order accepted, mounting included.
        controls: builds that do not sync; each must have lost what it had acknowledged.
        blind: nothing was lost where it had to be, so that the figures above show nothing.
    """

    seed: int
    cuts: dict[str, int] = {}
    skipped: dict[str, str] = {}
    seconds: float = 0.0
    cuts_per_minute: float = 0.0
    while_recovering: int = 0
    reconciliations: int = 0
    commands: int = 0
    acknowledged: int = 0
    orders: int = 0
    executions: int = 0
    disagreements: dict[str, int] = {}
    examples: tuple[str, ...] = ()
    recovery: RecoveryTimes = RecoveryTimes()
    controls: tuple[Control, ...] = ()
    blind: bool = False

    @property
    def passed(self) -> bool:
        """Power was cut, nothing was lost, and the control has lost something."""
        return bool(self.cuts) and not any(self.disagreements.values()) and not self.blind


def unavailable(file_system: str) -> str:
    """Why power cannot be cut under this file system here; empty when it can be tried."""
    if sys.platform != "linux":
        return "not Linux"
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in (*_TOOLS, f"mkfs.{file_system}") if shutil.which(tool) is None]
    if missing:
        return f"no {missing[0]}"
    with tempfile.TemporaryDirectory(prefix="qtinfra-power-") as folder:
        script = 'truncate -s 320M image && "mkfs.$1" -q image && mkdir at && mount -o loop image at'
        command = [*_namespace(), "sh", "-c", f"{script} && umount at", "sh", file_system]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"cannot mount: {done.stderr.strip()}"


def _namespace() -> list[str]:
    """Where a command runs: it dies with us, its children with it, and with them what they mounted."""
    with_us = ["setpriv", "--pdeathsig", "KILL"]
    return [*with_us, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]


def run_power_cuts(count: int, seed: int, *, control: bool = True) -> PowerReport:
    """Cut the power `count` times, on both file systems under journals of both kinds.

    Args:
        count: cuts in all.
        seed: of the client, the market and the moments; the machine's timing differs between runs.
        control: also run the build that does not sync.

    Raises:
        subprocess.CalledProcessError: the run itself failed; its stderr has been passed on.
    """
    reasons = {name: unavailable(name) for name in FILE_SYSTEMS}
    usable = [name for name in FILE_SYSTEMS if not reasons[name]]
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if not usable:
        return PowerReport(seed, skipped=skipped)
    arguments = [str(count), str(seed), ",".join(usable), "control" if control else ""]
    module = [sys.executable, "-m", "qtinfra.testing.prove.power", *arguments]
    done = subprocess.run([*_namespace(), *module], stdout=subprocess.PIPE, check=True)
    report = msgspec.json.decode(done.stdout, type=PowerReport)
    return msgspec.structs.replace(report, skipped=skipped)


# --- inside the namespace ---------------------------------------------------------------------------


class LoopDisk:
    """A file system in a file, mounted at `at`, whose power can be cut."""

    def __init__(self, folder: Path, file_system: str) -> None:
        self.at = folder / "disk"
        self._image = folder / "image"
        self.at.mkdir()
        self._image.touch()
        os.truncate(self._image, _IMAGE_BYTES)
        _run(f"mkfs.{file_system}", "-q", str(self._image))
        self._mounted = False

    def mount(self) -> None:
        """Attach it; a log that was cut off is replayed by the kernel."""
        _run("mount", "-o", "loop", str(self._image), str(self.at))
        self._mounted = True

    def cut(self) -> None:
        """From here on nothing reaches the disk, and what has not reached it is gone."""
        handle = os.open(self.at, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        """Detach it; the loop device goes with it."""
        if self._mounted:
            _run("umount", str(self.at))
            self._mounted = False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class CutLives:
    """Lives on one disk, each ended by a power cut."""

    def __init__(self, lives: Lives, disk: LoopDisk, rng: random.Random, bug: str) -> None:
        self.lives = lives
        self.cuts = 0
        self._disk = disk
        self._rng = rng
        self._bug = bug

    def cut(self, *, settle: bool, early: bool) -> None:
        """One life, the cut, and what the disk has when the power is back.

        Args:
            settle: compare the three records before the cut.
            early: cut while the engine still recovers.
        """
        lives = self.lives
        lives.begin(Life(lives.tally.lives, self._rng.random() < 0.5, bug=self._bug))
        if early:
            lives.tally.while_recovering += 1
            time.sleep(self._rng.uniform(0.0, 0.05))
        elif lives.hear_until("ready" if settle else "started") is None:
            lives.tally.found.append(Disagreement("state", "the engine could not begin after a cut"))
        elif lives.load(self._rng.uniform(0.01, 0.08)) and settle:
            lives.tally.found += lives.settle()
        lives.engines.freeze()
        self._disk.cut()
        self.cuts += 1
        lives.kill(hear=False, allowed=_ENDS)
        self._disk.unmount()
        self._disk.mount()
        lives.tally.found += self._lost()

    def _lost(self) -> list[Disagreement]:
        """What the client had read before the cut and the disk does not have."""
        ledger = self.lives.client.ledger
        if not ledger.acknowledged:
            return []
        try:
            replayed = replay_all(self.lives.journal)
        except JournalError as error:
            return [Disagreement("acknowledged_lost", f"{len(ledger.acknowledged)} acknowledged: {error}")]
        return [Disagreement("acknowledged_lost", text) for text in lost(ledger, replayed)]


@contextmanager
def _cut_lives(file_system: str, journal: str, seed: int, bug: str = "") -> Iterator[CutLives]:
    """A fresh disk, venues, engines and a client."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="qtinfra-power-") as name:
        folder = Path(name)
        disk = LoopDisk(folder, file_system)
        disk.mount()
        try:
            place = disk.at / journal
            with venue_process(seed) as venues, engine_processes(place, venues, folder) as engines:
                yield CutLives(Lives(engines, venues, place, rng), disk, rng, bug)
        finally:
            disk.unmount()


def _episode(file_system: str, journal: str, cuts: int, seed: int) -> Tally:
    rng = random.Random(seed)
    with _cut_lives(file_system, journal, seed) as cut_lives:
        while cut_lives.cuts < cuts and not cut_lives.lives.tally.found:
            number = cut_lives.cuts
            settle = number == cuts - 1 or number % RECONCILE_EVERY == RECONCILE_EVERY - 1
            cut_lives.cut(settle=settle, early=not settle and number > 0 and rng.random() < 0.15)
        return cut_lives.lives.tally


def _control(file_system: str, journal: str, seed: int) -> Control:
    """A build that does not sync, each cut on a fresh disk."""
    bug = f"no_sync on {file_system}, {journal}"
    for number in range(1, CONTROL_CUTS + 1):
        with _cut_lives(file_system, journal, seed + number, bug="no_sync") as cut_lives:
            cut_lives.cut(settle=False, early=False)
            found = cut_lives.lives.tally.found
        if found:
            return Control(bug, number, found[0].text)
    return Control(bug, CONTROL_CUTS)


def cut_here(count: int, seed: int, file_systems: Sequence[str], *, control: bool) -> PowerReport:
    """As `run_power_cuts`, in this process and its mount namespace."""
    began = time.monotonic()
    pairs = [(fs, journal) for journal in JOURNALS for fs in file_systems]
    number = max(-(-count // EPISODE_CUTS), min(len(pairs), count))
    shares = [count // number + (i < count % number) for i in range(number)]
    done: list[tuple[str, Tally]] = []
    for i, share in enumerate(shares):
        fs, journal = pairs[i % len(pairs)]
        done.append((f"{fs} {journal}", _episode(fs, journal, share, seed * 1_000_003 + i)))
    seconds = time.monotonic() - began
    controls = tuple(_control(fs, journal, seed) for fs, journal in pairs) if control else ()
    return _report(done, seed, seconds, controls)


def _report(
    done: Sequence[tuple[str, Tally]], seed: int, seconds: float, controls: tuple[Control, ...]
) -> PowerReport:
    cuts: Counter[str] = Counter()
    for name, tally in done:
        cuts[name] += tally.lives
    tallies = [tally for _, tally in done]
    found = [one for tally in tallies for one in tally.found]
    kinds = Counter(one.kind for one in found)
    return PowerReport(
        seed=seed,
        cuts=dict(sorted(cuts.items())),
        seconds=round(seconds, 1),
        cuts_per_minute=round(cuts.total() * 60 / seconds, 1) if seconds else 0.0,
        while_recovering=sum(tally.while_recovering for tally in tallies),
        reconciliations=sum(tally.reconciliations for tally in tallies),
        commands=sum(tally.commands for tally in tallies),
        acknowledged=sum(tally.acknowledged for tally in tallies),
        orders=sum(tally.orders for tally in tallies),
        executions=sum(tally.executions for tally in tallies),
        disagreements={kind: kinds[kind] for kind in KINDS},
        examples=tuple(one.text for one in found[:_SHOWN]),
        recovery=recovery_times([ms for tally in tallies for ms in tally.restarts_ms], []),
        controls=controls,
        blind=any(not control.found for control in controls),
    )


def main(arguments: Sequence[str]) -> None:
    """COUNT SEED FILE_SYSTEMS CONTROL: cut, and write the report as JSON."""
    count, seed, names, control = arguments
    report = cut_here(int(count), int(seed), names.split(","), control=bool(control))
    sys.stdout.write(msgspec.json.encode(report).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
