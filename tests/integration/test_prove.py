"""`python -m qtinfra.testing.prove`: one file with every figure, status 1 when anything was violated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qtinfra.testing.faultsim import Failure, PlantedResult, Script, SeedReport, run_seeds
from qtinfra.testing.faultsim.script import draw_policies
from qtinfra.testing.prove import __main__ as command
from qtinfra.testing.prove.__main__ import corpus_folders, main
from qtinfra.testing.prove.kills import Control, KillReport
from qtinfra.testing.prove.power import PowerReport
from qtinfra.testing.prove.recovery_time import RecoveryTimes
from qtinfra.testing.prove.report import Parts, Plan, ProveReport, assemble, commit
from qtinfra.testing.prove.shim import StorageReport
from qtinfra.testing.prove.tamper import TamperReport, run_tamper
from tests.support.requirements import REPO_ROOT

pytestmark = pytest.mark.integration

NOTHING = ["--seeds=0", "--kills=0", "--cuts=0", "--storage=0", "--budget=0"]


def assembled(parts: Parts, **plan: int) -> ProveReport:
    return assemble(Plan(**plan), parts, "2026-01-01T00:00:00+00:00", {"kills": 1.0}, 0.0)


def kills(**changes: Any) -> KillReport:
    whole: dict[str, Any] = {
        name: () if name in ("examples", "controls") else 0 for name in KillReport.__struct_fields__
    }
    facts: dict[str, Any] = {
        "at_steps": {},
        "kills": 9,
        "disagreements": {"acknowledged_lost": 0},
        "recovery": RecoveryTimes(),
    }
    return KillReport(**{**whole, **facts, **changes})


def test_a_run_writes_its_figures_with_plan_commit_machine_and_what_was_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "prove.json"
    assert main([*NOTHING, "--tamper=40", "--seed=5", f"--corpus={tmp_path}", f"--out={out}"]) == 0
    report = msgspec.json.decode(out.read_bytes(), type=ProveReport)
    assert (report.passed, report.violations) == (True, ())
    assert report.summary["tampering found"] == "40/40"
    assert (report.plan.tamper, report.plan.seed) == (40, 5)
    assert report.machine.cores > 0 and report.machine.cpu and report.commit
    assert set(report.durations_s) == {"tamper"}
    left_out = {"simulation", "planted bugs", "kills", "storage", "power"}
    assert {name for name, why in report.skipped.items() if why == "not asked for"} == left_out
    said = capfd.readouterr().err
    assert "prove: tamper: 40" in said and "skipped kills: not asked for" in said and "passed in" in said


def test_a_run_with_a_violation_leaves_with_status_1_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def blind(count: int, seed: int) -> TamperReport:
        sound = run_tamper(count, seed)
        return msgspec.structs.replace(sound, found=count - 1, missed=1, examples=("log bit: verifies",))

    monkeypatch.setattr(command, "run_tamper", blind)
    out = tmp_path / "prove.json"
    assert main([*NOTHING, "--tamper=10", f"--corpus={tmp_path}", f"--out={out}"]) == 1
    assert "VIOLATED tampering: 1 of 10 changes not found" in capfd.readouterr().err
    assert not msgspec.json.decode(out.read_bytes(), type=ProveReport).passed


def test_a_count_that_is_no_whole_number_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seeds=-1"])
    assert "'-1' is not a whole number" in capfd.readouterr().err


def test_a_simulation_alone_is_judged_by_its_seeds() -> None:
    report = assembled(Parts(simulation=run_seeds(1, 2, 40, 1)), seeds=2)
    assert report.passed
    assert report.summary["seeds violated"] == "0/2"


def _failed_simulation() -> Parts:
    failure = Failure(17, ("an acknowledged order is lost",), Script(17, draw_policies(17), ()))
    return Parts(simulation=SeedReport(1, 9, 9, 0, 1, 1, 1, 0, 0, {}, {}, (failure,)))


VIOLATED: dict[str, tuple[Callable[[], Parts], str]] = {
    "seed": (_failed_simulation, "simulation, seed 17: an acknowledged order is lost"),
    "planted": (
        lambda: Parts(planted=[PlantedResult("no_sync", "FM-02", "w", False, 0, 200, 9, "")]),
        "planted bug no_sync (FM-02) was not found in 200 seeds",
    ),
    "lost": (
        lambda: Parts(kills=kills(disagreements={"acknowledged_lost": 2}, examples=("order 7",))),
        "kills: disagreements {'acknowledged_lost': 2}, controls not found []; first order 7",
    ),
    "blind control": (
        lambda: Parts(kills=kills(controls=(Control("blind_resend", 60),))),
        "kills: disagreements {}, controls not found ['blind_resend']",
    ),
    "power": (
        lambda: Parts(
            power=PowerReport(
                1, cuts={"ext4 journal.db": 3}, disagreements={"acknowledged_lost": 0}, blind=True
            )
        ),
        "power: disagreements {}, controls not found [], blind: nothing was lost without syncs",
    ),
}


@pytest.mark.parametrize("name", VIOLATED)
def test_what_does_not_hold_is_a_violation_in_words(name: str) -> None:
    parts, text = VIOLATED[name]
    report = assembled(parts())
    assert report.violations == (text,)
    assert not report.passed


def test_what_could_not_be_run_is_skipped_with_its_reason_and_violates_nothing() -> None:
    parts = Parts(power=PowerReport(1, skipped={"ext4": "not root"}), storage=StorageReport(skipped="no gcc"))
    report = assembled(parts)
    assert report.passed
    assert (report.skipped["power"], report.skipped["storage"]) == ("ext4: not root", "no gcc")
    assert "power cuts with a disagreement" not in report.summary


def test_a_recovery_that_was_never_timed_has_no_figure() -> None:
    unmeasured, measured = RecoveryTimes(), RecoveryTimes(3, 20.0, 30.0, 30.0, 500.0)
    for times, there in ((unmeasured, False), (measured, True)):
        power = PowerReport(1, cuts={"ext4": 4}, disagreements={"acknowledged_lost": 0}, recovery=times)
        summary = assembled(Parts(kills=kills(recovery=times), power=power)).summary
        assert ("recovery after kill p50 ms" in summary) is there
        assert ("recovery after power cut p50 ms" in summary) is there


def test_the_corpus_is_read_oldest_first_and_a_missing_one_is_left_out(tmp_path: Path) -> None:
    for name in ("10", "9", "notes"):
        (tmp_path / name).mkdir()
    assert [path.name for path in corpus_folders(tmp_path)] == ["9", "10"]
    assert corpus_folders(tmp_path / "nowhere") == corpus_folders(None) == []
    assert corpus_folders(REPO_ROOT / "tests" / "golden")[0].name == "1"


def test_the_commit_is_a_revision_or_unknown() -> None:
    revision = commit().removesuffix("-dirty")
    assert revision == "unknown" or len(revision) == 40
