"""What a proof came to: the figures of every part, where and when they were measured, what was violated."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from qtinfra import __version__
from qtinfra.testing.faultsim import PlantedResult, SeedReport
from qtinfra.testing.prove.golden import Golden, Replayed
from qtinfra.testing.prove.kills import KillReport
from qtinfra.testing.prove.power import PowerReport
from qtinfra.testing.prove.shim import StorageReport
from qtinfra.testing.prove.tamper import TamperReport

_CPUINFO = Path("/proc/cpuinfo")


class Plan(msgspec.Struct, frozen=True):
    """How much is asked for. 0 leaves a part out, and the report says so.

    Attributes:
        seeds: of the fault simulation, each of `events` events or more, from `first_seed` on.
        budget: most seeds for each planted bug. kills: of the engine's process.
        storage: lives on a disk that fails. cuts: of the power. tamper: changes of a journal.
        seed: of kills, storage faults, cuts and changes. workers: processes.
    """

    seeds: int = 5_000
    events: int = 300
    first_seed: int = 1
    budget: int = 200
    kills: int = 1_000
    storage: int = 100
    cuts: int = 100
    tamper: int = 1_000
    seed: int = 1
    workers: int = 2


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured. `load` is the one-minute load average when the run began."""

    cpu: str
    cores: int
    system: str
    python: str
    load: float


class GoldenResult(msgspec.Struct, frozen=True):
    """One folder of the golden corpus: what it says and what its files led to."""

    folder: str
    golden: Golden
    found: tuple[Replayed, ...]

    @property
    def passed(self) -> bool:
        """Every file led to the recorded state and facts."""
        return bool(self.found) and all(one.is_as(self.golden) for one in self.found)


class Parts(msgspec.Struct):
    """The reports of the parts that were run; None or empty for one that was not."""

    simulation: SeedReport | None = None
    planted: list[PlantedResult] = []
    kills: KillReport | None = None
    storage: StorageReport | None = None
    power: PowerReport | None = None
    tamper: TamperReport | None = None
    golden: list[GoldenResult] = []


class ProveReport(msgspec.Struct, frozen=True):
    """A whole proof.

    Attributes:
        commit: the revision that was run; "-dirty" at its end when the tree had other changes.
        began: UTC, ISO 8601. seconds: of all; durations_s: of each part.
        violations: what must hold and did not, in words; empty when all held.
        skipped: parts that were asked for and could not be run, with the reason.
        summary: the figures that people ask for, by name.
        parts: everything else.
    """

    version: str
    commit: str
    began: str
    seconds: float
    machine: Machine
    plan: Plan
    durations_s: dict[str, float]
    passed: bool
    violations: tuple[str, ...]
    skipped: dict[str, str]
    summary: dict[str, str]
    parts: Parts


def assemble(plan: Plan, parts: Parts, began: str, durations_s: dict[str, float], load: float) -> ProveReport:
    """Join the parts and judge them."""
    skipped = dict(skips(plan, parts))
    found = tuple(violations(parts))
    return ProveReport(
        version=__version__,
        commit=commit(),
        began=began,
        seconds=round(sum(durations_s.values()), 1),
        machine=this_machine(load),
        plan=plan,
        durations_s={name: round(seconds, 1) for name, seconds in durations_s.items()},
        passed=not found,
        violations=found,
        skipped=skipped,
        summary=dict(summary(parts)),
        parts=parts,
    )


def violations(parts: Parts) -> Iterator[str]:
    """Everything that did not hold, one text for each."""
    if parts.simulation is not None:
        for failure in parts.simulation.failures:
            yield f"simulation, seed {failure.seed}: {failure.violations[0]}"
    for bug in parts.planted:
        if not bug.found:
            yield f"planted bug {bug.name} ({bug.fault}) was not found in {bug.seeds_tried} seeds"
    yield from _of_crashes(parts)
    if parts.tamper is not None and not parts.tamper.passed:
        missed = parts.tamper.attempts - parts.tamper.found
        yield f"tampering: {missed} of {parts.tamper.attempts} changes not found: {parts.tamper.examples}"
    for result in parts.golden:
        if not result.passed:
            yield f"golden corpus {result.folder} leads to another state than recorded"


def _of_crashes(parts: Parts) -> Iterator[str]:
    for name, report in (("kills", parts.kills), ("storage", parts.storage), ("power", parts.power)):
        if report is None or report.passed or _skip_reason(report):
            continue
        kinds = {kind: count for kind, count in report.disagreements.items() if count}
        blind = [control.bug for control in report.controls if not control.found]
        text = f"{name}: disagreements {kinds}, controls not found {blind}"
        if isinstance(report, PowerReport) and report.blind:
            text += ", blind: nothing was lost without syncs"
        yield f"{text}; first {report.examples[0]}" if report.examples else text


def _skip_reason(report: KillReport | StorageReport | PowerReport) -> str:
    if isinstance(report, StorageReport):
        return report.skipped
    if isinstance(report, PowerReport) and not report.cuts:
        return "; ".join(f"{name}: {reason}" for name, reason in report.skipped.items())
    return ""


def skips(plan: Plan, parts: Parts) -> Iterator[tuple[str, str]]:
    """Parts that were not run, and why."""
    reports = {"kills": parts.kills, "storage": parts.storage, "power": parts.power}
    for name, report in reports.items():
        reason = _skip_reason(report) if report is not None else ""
        if reason:
            yield name, reason
    if parts.power is not None and parts.power.cuts:
        for system, reason in parts.power.skipped.items():
            yield f"power on {system}", reason
    wanted = (
        ("simulation", plan.seeds),
        ("planted bugs", plan.budget),
        ("kills", plan.kills),
        ("storage", plan.storage),
        ("power", plan.cuts),
        ("tamper", plan.tamper),
    )
    for name, count in wanted:
        if not count:
            yield name, "not asked for"


def summary(parts: Parts) -> Iterator[tuple[str, str]]:
    """The figures that the promises are about, each as found out of how many."""
    simulation = parts.simulation
    if simulation is not None:
        yield "seeds violated", f"{len(simulation.failures)}/{simulation.seeds}"
        yield "events simulated", str(simulation.events)
        yield "least events of a seed", str(simulation.least_events)
        yield "simulated crashes", str(simulation.crashes)
        yield "seeds repeated bit-equal", str(simulation.repeated)
    if parts.planted:
        yield "planted bugs found", f"{sum(bug.found for bug in parts.planted)}/{len(parts.planted)}"
    kills = parts.kills
    if kills is not None:
        yield "kills with a disagreement", f"{sum(kills.disagreements.values())}/{kills.kills}"
        yield "acknowledged orders lost by kills", f"{kills.disagreements['acknowledged_lost']}"
        if kills.recovery.count:
            yield "recovery after kill p50 ms", str(kills.recovery.p50_ms)
            yield "recovery after kill p99 ms", str(kills.recovery.p99_ms)
        yield "kill controls found", _controls(kills)
    if parts.storage is not None and not parts.storage.skipped:
        storage = parts.storage
        yield "storage faults fired", str(sum(storage.fired.values()))
        yield "storage disagreements", f"{sum(storage.disagreements.values())}/{storage.lives}"
        yield "storage controls found", _controls(storage)
    yield from _power_summary(parts.power)
    if parts.tamper is not None:
        tamper = parts.tamper
        yield "tampering found", f"{tamper.found}/{tamper.attempts}"
        yield "tampering after the newest signed head (cannot be seen)", str(sum(tamper.blind.values()))
    if parts.golden:
        files = [one for result in parts.golden for one in result.found]
        as_recorded = sum(one.is_as(result.golden) for result in parts.golden for one in result.found)
        yield "golden journals as recorded", f"{as_recorded}/{len(files)}"


def _power_summary(power: PowerReport | None) -> Iterator[tuple[str, str]]:
    if power is None or not power.cuts:
        return
    yield "power cuts with a disagreement", f"{sum(power.disagreements.values())}/{sum(power.cuts.values())}"
    yield "acknowledged orders lost by power cuts", f"{power.disagreements['acknowledged_lost']}"
    if power.recovery.count:
        yield "recovery after power cut p50 ms", str(power.recovery.p50_ms)
    yield "builds without sync that lost orders", _controls(power)


def _controls(report: KillReport | StorageReport | PowerReport) -> str:
    return f"{sum(bool(control.found) for control in report.controls)}/{len(report.controls)}"


# --- where it was measured ----------------------------------------------------------------------------------


def this_machine(load: float) -> Machine:
    """This machine. `load` is the one-minute load average when the run began."""
    system = f"{platform.system()} {platform.release()}"
    return Machine(_cpu_model(), os.cpu_count() or 1, system, platform.python_version(), round(load, 2))


def _cpu_model() -> str:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def commit() -> str:
    """The revision of the tree that runs; "unknown" outside of one or without git."""
    git, here = shutil.which("git"), Path(__file__).parent
    if git is None:
        return "unknown"
    revision = subprocess.run(
        [git, "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    if revision.returncode != 0:
        return "unknown"
    changed = subprocess.run(
        [git, "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=False
    )
    return revision.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")
